"""pytest-benchmark suite of the topic tree: `make bench`. A round matches 1000 times; topic_tree.py has the table.

Under a match lies the making of the list that it gives. A filter is added and taken away again, 1000 times.
"""

from __future__ import annotations

from typing import Any

import pytest
from contenders import Contender
from suite import take_time, timed
from topic_tree import FILTERS, filters_for, topic_of, tree_of


@timed
@pytest.mark.parametrize("depth", [2, 8])
@pytest.mark.parametrize("filters", FILTERS)
def test_what_a_match_costs(benchmark: Any, filters: int, depth: int) -> None:
    tree, topic = tree_of(filters_for(filters, depth)), topic_of(filters // 2, depth)
    contender = Contender("iotwire", "result = match(topic)", {"match": tree.match, "topic": topic}, sorted)
    assert filters // 2 in tree.match(topic)
    take_time(benchmark, f"match-depth-{depth}", contender, 1000)


@timed
@pytest.mark.parametrize("depth", [2, 8])
def test_the_floor_of_a_match(benchmark: Any, depth: int) -> None:
    found = tree_of(filters_for(FILTERS[-1], depth)).match(topic_of(FILTERS[-1] // 2, depth))
    floor = Contender("floor", "result = found.copy()", {"found": found}, sorted)
    take_time(benchmark, f"match-depth-{depth}", floor, 1000)


@timed
@pytest.mark.parametrize("filters", FILTERS)
def test_what_adding_and_removing_costs(benchmark: Any, filters: int) -> None:
    tree = tree_of(filters_for(filters, 8))
    names = {"add": tree.add, "remove": tree.remove, "one": "/".join(["new", *topic_of(7, 8).split("/")[1:]])}
    contender = Contender("iotwire", "add(one, 0); result = remove(one, 0)", names, bool)
    contender.check(True)
    take_time(benchmark, "add-and-remove-depth-8", contender, 1000)
