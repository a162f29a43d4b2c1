"""pytest-benchmark suites of the codec: `make bench`. One group for each operation, everybody in it.

A round runs the statement 1000 times, so the microseconds that pytest-benchmark prints are the nanoseconds of one
execution (of 200 packets, in a stream). Statistics of one machine over time; for ratios see compare.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from comparisons import Comparison, Comparisons
from contenders import Contender, Iotwire, installed_peers
from floor import load_floor
from timing import compile_loop

EXECUTIONS = 1000
COMPARISONS = list(Comparisons(Iotwire(), installed_peers()[0], load_floor()).main())
CASES = [
    pytest.param(comparison, contender, id=f"{comparison.name}-{contender.who}-{number}")
    for comparison in COMPARISONS
    for number, contender in enumerate(comparison.contenders())
]


@pytest.mark.parametrize(("comparison", "contender"), CASES)
def test_cost(benchmark: Any, comparison: Comparison, contender: Contender) -> None:
    contender.check(comparison.expected)
    benchmark.group = comparison.name
    benchmark.extra_info["statement"] = contender.statement
    benchmark.extra_info["executions"] = EXECUTIONS if comparison.operations == 1 else 1
    loop = compile_loop(contender.statement, contender.names, comparison.unroll)
    times = EXECUTIONS // loop.unroll if comparison.operations == 1 else 1
    benchmark.pedantic(loop.run, args=(times,), rounds=30, warmup_rounds=3)
