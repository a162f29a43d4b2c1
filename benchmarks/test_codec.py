"""pytest-benchmark suites of the codec: `make bench`. One group for each operation, everybody in it.

A round runs the statement 1000 times, so the microseconds that pytest-benchmark prints are the nanoseconds of one
execution; a stream is decoded once a round, so there they are those of 200 packets. The clock is processor time and the
garbage collector is off, as in compare.py. Statistics of one machine over time: ratios are compare.py's business.
"""

from __future__ import annotations

from time import thread_time
from typing import Any

import pytest
from comparisons import Comparison, Comparisons
from contenders import Contender
from floor import load_floor
from ours import Iotwire
from peers import installed_peers
from timing import compile_loop

EXECUTIONS = 1000
COMPARISONS = list(Comparisons(Iotwire(), installed_peers()[0], load_floor()).main())
CASES = [
    pytest.param(comparison, contender, id=f"{comparison.name}-{contender.who}-{number}")
    for comparison in COMPARISONS
    for number, contender in enumerate(comparison.contenders())
]


@pytest.mark.benchmark(timer=thread_time, disable_gc=True)
@pytest.mark.parametrize(("comparison", "contender"), CASES)
def test_what_it_costs(benchmark: Any, comparison: Comparison, contender: Contender) -> None:
    contender.check(comparison.expected)
    benchmark.group = comparison.name
    benchmark.extra_info["statement"] = contender.statement
    benchmark.extra_info["executions"] = EXECUTIONS if comparison.operations == 1 else 1
    loop = compile_loop(contender.statement, contender.names, comparison.unroll)
    times = EXECUTIONS // loop.unroll if comparison.operations == 1 else 1
    benchmark.pedantic(loop.run, args=(times,), rounds=30, warmup_rounds=3)
