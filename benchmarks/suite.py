"""What the pytest-benchmark suites share: how a statement is timed, and how the bare minimum is put beside it.

A round runs a statement `executions` times, and pytest-benchmark prints the time of a round: with 1000 executions its
microseconds are the nanoseconds of one. The clock is processor time, and the garbage collector is off, as in
compare.py. Statistics of one machine over time: ratios are for the scripts to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import thread_time
from typing import Any

import pytest
from contenders import Contender, Entry
from timing import compile_loop

ROUNDS, WARM_UP = 30, 3

timed = pytest.mark.benchmark(timer=thread_time, disable_gc=True)


def named(who: str, make: Callable[[], Any], outcome: Callable[[Any], Any] = lambda made: made) -> Contender:
    """A call as a contender."""
    return Contender(who, "result = make()", {"make": make}, outcome)


def present(*entries: Entry) -> list[Contender]:
    """Those that are there."""
    return [entry for entry in entries if isinstance(entry, Contender)]


def cases(groups: Iterable[tuple[str, object, Iterable[Contender]]]) -> list[Any]:
    """Parameters (group, expected, contender) for a test, one for each contender of each group."""
    return [
        pytest.param(group, expected, contender, id=f"{group}-{contender.who}-{number}")
        for group, expected, contenders in groups
        for number, contender in enumerate(contenders)
    ]


def take_time(
    benchmark: Any, group: str, contender: Contender, executions: int, *, unroll: int = 10, rounds: int = ROUNDS
) -> None:
    """Time a contender's statement, in its group."""
    loop = compile_loop(contender.statement, contender.names, min(unroll, executions))
    benchmark.group = group
    benchmark.extra_info["statement"] = contender.statement
    benchmark.extra_info["executions"] = executions
    benchmark.pedantic(loop.run, args=(executions // loop.unroll,), rounds=rounds, warmup_rounds=WARM_UP)
