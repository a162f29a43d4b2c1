"""Timing statements against each other in one process.

A statement is compiled into a loop `for _ in repeat(None, n)` whose body holds it `unroll` times, so that the loop
itself costs each operation well under a nanosecond (`loop_overhead_ns` says how much). Contenders run in turns,
A B C A B C, a couple of milliseconds each; what is reported is the median over the rounds of the ratio within a round,
because two neighbours in time share the machine's mood and two runs do not. The clock is the thread's processor time:
these operations never wait, and what other processes take of a shared machine is none of theirs. The garbage collector
is off while a clock runs, as in `timeit`, unless asked otherwise: none of these operations makes cycles.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from statistics import median, quantiles
from time import thread_time_ns
from typing import Any, NamedTuple

SLOT_NS = 2_000_000  # a turn: long enough to drown the clock's own microsecond, short enough that neighbours are alike


class Loop(NamedTuple):
    """A compiled statement: `run(n)` executes it n * `unroll` times."""

    run: Callable[[int], None]
    unroll: int


class Spread(NamedTuple):
    """The middle of some measurements, and where four fifths of them lie."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        tenths = quantiles(values, n=10, method="inclusive") if len(values) > 1 else [values[0]] * 9
        return cls(median(values), tenths[0], tenths[-1])

    def __str__(self) -> str:
        """Three figures that count: 9.83 (9.12-10.4)."""
        return f"{_shown(self.median)} ({_shown(self.low)}-{_shown(self.high)})"


def _shown(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def compile_loop(statement: str, names: Mapping[str, Any], unroll: int = 10) -> Loop:
    """Make a loop of a statement; `names` are the globals it sees."""
    body = "\n".join(f"        {statement}" for _ in range(unroll))
    namespace: dict[str, Any] = {**names, "_repeat": repeat}
    exec(compile(f"def run(_n):\n    for _ in _repeat(None, _n):\n{body}\n", f"<{statement}>", "exec"), namespace)
    return Loop(namespace["run"], unroll)


def interleave(loops: Sequence[Loop], rounds: int, *, collect_garbage: bool = False) -> list[list[float]]:
    """Nanoseconds for one execution of each statement: one list for each loop, one figure for each round."""
    counts = [_iterations_for_a_slot(loop) for loop in loops]
    figures: list[list[float]] = [[] for _ in loops]
    was_enabled = gc.isenabled()
    gc.collect()
    (gc.enable if collect_garbage else gc.disable)()
    try:
        for _ in range(rounds):
            for loop, count, times in zip(loops, counts, figures, strict=True):
                loop.run(1)  # brings code and data back into the caches that the one before has filled
                started = thread_time_ns()
                loop.run(count)
                times.append((thread_time_ns() - started) / (count * loop.unroll))
    finally:
        (gc.enable if was_enabled else gc.disable)()
    return figures


def loop_overhead_ns(unroll: int = 10) -> float:
    """What the loop around a statement adds to it, in nanoseconds, measured as an empty statement."""
    return median(interleave([compile_loop("pass", {}, unroll)], 20)[0])


def _iterations_for_a_slot(loop: Loop) -> int:
    loop.run(20)  # the adaptive interpreter needs some turns to specialise the statement
    count = 1
    while True:
        started = thread_time_ns()
        loop.run(count)
        elapsed = thread_time_ns() - started
        if elapsed >= SLOT_NS // 4:
            return max(1, count * SLOT_NS // elapsed)
        count *= 2
