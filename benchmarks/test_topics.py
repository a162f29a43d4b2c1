"""pytest-benchmark suite of the topic tree: `make bench`. A round matches 1000 times; topic_tree.py has the table."""

from __future__ import annotations

from time import thread_time
from typing import Any

import pytest
from timing import compile_loop
from topic_tree import filters_for, topic_of, tree_of


@pytest.mark.benchmark(group="topic-tree", timer=thread_time, disable_gc=True)
@pytest.mark.parametrize("depth", [2, 8])
@pytest.mark.parametrize("filters", [100, 10_000])
def test_what_a_match_costs(benchmark: Any, filters: int, depth: int) -> None:
    tree, topic = tree_of(filters_for(filters, depth)), topic_of(filters // 2, depth)
    assert filters // 2 in tree.match(topic)
    loop = compile_loop("match(topic)", {"match": tree.match, "topic": topic})
    benchmark.pedantic(loop.run, args=(100,), rounds=30, warmup_rounds=3)
