"""Topic names, topic filters, which matches which, and the tree of many filters (MQTT 5.0, 4.7 and 4.8.2)."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoding import anything, calls
from iotwire.errors import EncodeError, IotwireError
from iotwire.mqtt import TopicTree, topic_matches, validate_topic_filter, validate_topic_name

if TYPE_CHECKING:
    from collections.abc import Callable


# Names.

GOOD_NAMES = [
    "a",
    "/",
    "//",
    "a/b",
    "/a",
    "a/",
    "a//b",
    " ",
    "my topic",
    "$SYS/x",
    "$share/a/b",
    "$aws/rules/r/t",
    "ü/€/𝄞",
    "\ufeff",
    "\x01",
    "\uffff",
    "t" * 65535,
    "/" * 65535,
    "ü" * 32767,
]
BAD_NAMES = ["", "#", "+", "a/#", "a/+/b", "a#", "+a", "\0", "a\0b", "\ud800", "a\udfff", "t" * 65536, "ü" * 32768]


@pytest.mark.parametrize("topic", GOOD_NAMES, ids=lambda topic: ascii(topic[:20]))
def test_a_good_topic_name_is_taken(topic: str) -> None:
    validate_topic_name(topic)


@pytest.mark.parametrize("topic", BAD_NAMES, ids=lambda topic: ascii(topic[:20]))
def test_a_bad_topic_name_is_refused(topic: str) -> None:
    with pytest.raises(EncodeError) as caught:
        validate_topic_name(topic)
    assert caught.value.field == "topic"


# Filters.

GOOD_FILTERS = [
    "a",
    "/",
    "#",
    "+",
    "/#",
    "+/#",
    "a/#",
    "a/+/b",
    "+/+/+",
    "a//#",
    "/+",
    " /+",
    "$SYS/#",
    "$share/group/a",
    "$share/group/#",
    "$share/group//",
    "$share/group/$SYS/#",
    "$share/ü/+/a",
    "$shared",
    "$shared/a/b",
    "$SHARE/g",
    "a/$share",
    "x/$share/a",
    "\ufeff/+",
    "f" * 65535,
    "/" * 65535,
    "+/" * 32767 + "#",
]
BAD_FILTERS = [
    "",
    "##",
    "a#",
    "#a",
    "a/#/b",
    "#/a",
    "a/b#",
    "a/#b",
    "++",
    "a+",
    "+a",
    "a/+b",
    "a/b+/c",
    "+#",
    "#+",
    "$share",
    "$share/",
    "$share/g",
    "$share/g/",
    "$share//",
    "$share//a",
    "$share/+/a",
    "$share/#/a",
    "$share/g+/a",
    "$share/g#/a",
    "$share/g/a#",
    "$share/g/#/a",
    "$share/g/a+",
    "\0",
    "a/\0",
    "\ud800",
    "f" * 65536,
]


@pytest.mark.parametrize("topic_filter", GOOD_FILTERS, ids=lambda text: ascii(text[:30]))
def test_a_good_filter_is_taken(topic_filter: str) -> None:
    validate_topic_filter(topic_filter)
    tree: TopicTree[Any] = TopicTree()
    tree.add(topic_filter, 1)


@pytest.mark.parametrize("topic_filter", BAD_FILTERS, ids=lambda text: ascii(text[:30]))
def test_a_bad_filter_is_refused(topic_filter: str) -> None:
    with pytest.raises(EncodeError) as caught:
        validate_topic_filter(topic_filter)
    assert caught.value.field == "topic_filter"
    tree: TopicTree[Any] = TopicTree()
    with pytest.raises(EncodeError):
        tree.add(topic_filter, 1)
    assert tree.match("a") == []


@pytest.mark.parametrize("value", [b"a", None, 7, ["a"]], ids=repr)
def test_what_is_no_str_is_refused(value: object) -> None:
    tree: TopicTree[Any] = TopicTree()
    for call in calls(
        lambda: validate_topic_name(anything(value)),
        lambda: validate_topic_filter(anything(value)),
        lambda: topic_matches(anything(value), "a"),
        lambda: topic_matches("a", anything(value)),
        lambda: tree.add(anything(value), 1),
        lambda: tree.remove(anything(value), 1),
        lambda: tree.match(anything(value)),
    ):
        with pytest.raises(EncodeError):
            call()


def test_arguments_may_be_given_by_name() -> None:
    validate_topic_name(topic="a")
    validate_topic_filter(topic_filter="a/#")
    assert topic_matches(topic_filter="a/#", topic="a")
    tree: TopicTree[Any] = TopicTree()
    tree.add(topic_filter="a", value=1)
    assert tree.match(topic="a") == [1]
    assert tree.remove(topic_filter="a", value=1)


# Matching: the examples of the standard (4.7.1 to 4.7.3), and what follows from them.

MATCHES = [
    ("sport/tennis/player1/#", "sport/tennis/player1"),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
    ("sport/#", "sport"),
    ("#", "a"),
    ("#", "/"),
    ("#", "a/b/c"),
    ("sport/tennis/+", "sport/tennis/player1"),
    ("sport/+", "sport/"),
    ("+/+", "/finance"),
    ("/+", "/finance"),
    ("+/tennis/#", "sport/tennis"),
    ("+/tennis/#", "sport/tennis/x/y"),
    ("sport/+/player1", "sport/x/player1"),
    ("$SYS/#", "$SYS/"),
    ("$SYS/#", "$SYS"),
    ("$SYS/monitor/+", "$SYS/monitor/Clients"),
    ("ACCOUNTS", "ACCOUNTS"),
    ("a/$b/+", "a/$b/c"),
    ("+/$b", "a/$b"),
    ("#", "a/$b"),
    ("/", "/"),
    ("//", "//"),
    ("+/+/+", "//"),
    ("+//+", "//"),
    ("a/+/#", "a/"),
    ("a/+/#", "a/b"),
    ("/#", "/"),
    ("/#", "/a"),
    ("$share/g/a/#", "a"),
    ("$share/g/#", "a/b"),
    ("$share/g/+", "a"),
    ("$share/g/$SYS/#", "$SYS/x"),
    ("$shared/a/b", "$shared/a/b"),
    ("ü/+", "ü/𝄞"),
    ("\ufeff", "\ufeff"),
]
MISMATCHES = [
    ("sport/tennis/+", "sport/tennis/player1/ranking"),
    ("sport/+", "sport"),
    ("+", "/finance"),
    ("+", "a/b"),
    ("#", "$SYS/monitor"),
    ("#", "$"),
    ("+/monitor/Clients", "$SYS/monitor/Clients"),
    ("+", "$SYS"),
    ("+/#", "$SYS/x"),
    ("ACCOUNTS", "Accounts"),
    ("a", "/a"),
    ("a", "a/"),
    ("a/", "a"),
    ("a", "ab"),
    ("ab", "a"),
    ("a/b", "a"),
    ("a", "a/b"),
    ("a/#", "ab"),
    ("a/#", "b"),
    ("a/+/c", "a/b/d"),
    ("a/+/c", "a/b/c/d"),
    ("a/+/#", "a"),
    ("/#", "a"),
    ("//", "/"),
    ("$share/g/a", "$share/g/a"),
    ("$share/g/a", "b"),
    ("$share/g/#", "$SYS/x"),
    ("$share/g/+/x", "$SYS/x"),
    ("$SYS/#", "$sys/a"),
    ("\ufeffa", "a"),
    ("é", "e\u0301"),
]
# A malformed filter matches nothing, and nothing matches a malformed name.
MALFORMED_PAIRS = [
    *((topic_filter, "a") for topic_filter in BAD_FILTERS),
    *((topic_filter, "a/#/b") for topic_filter in ("#", "a/#/b", "a/#")),
    *(("#", topic) for topic in BAD_NAMES),
    ("", ""),
    ("+", "+"),
    ("a+", "a+"),
    ("$share/g", "$share/g"),
]


@pytest.mark.parametrize(("topic_filter", "topic"), MATCHES)
def test_a_filter_matches(topic_filter: str, topic: str) -> None:
    assert topic_matches(topic_filter, topic) is True
    tree: TopicTree[Any] = TopicTree()
    tree.add(topic_filter, "value")
    assert tree.match(topic) == ["value"]


@pytest.mark.parametrize(("topic_filter", "topic"), MISMATCHES)
def test_a_filter_does_not_match(topic_filter: str, topic: str) -> None:
    assert topic_matches(topic_filter, topic) is False
    tree: TopicTree[Any] = TopicTree()
    tree.add(topic_filter, "value")
    assert tree.match(topic) == []


@pytest.mark.parametrize(("topic_filter", "topic"), MALFORMED_PAIRS, ids=lambda text: ascii(text[:20]))
def test_what_is_malformed_matches_nothing(topic_filter: str, topic: str) -> None:
    # Text that MQTT cannot carry at all (U+0000, a surrogate, too long) may be an error instead.
    try:
        assert topic_matches(topic_filter, topic) is False
    except EncodeError:
        encoded = (topic_filter + topic).encode(errors="replace")
        assert b"\0" in encoded or b"?" in encoded or len(encoded) > 65535


def test_a_malformed_name_matches_nothing_in_a_tree() -> None:
    tree: TopicTree[Any] = TopicTree()
    for topic_filter in ("#", "+", "a/#", "+/+"):
        tree.add(topic_filter, topic_filter)
    for topic in ("", "#", "+", "a/#", "a/+"):
        assert tree.match(topic) == []


# A second reading of 4.7, slow and plain: levels against levels.


def model_matches(topic_filter: str, topic: str) -> bool:
    levels = topic_filter.split("/")
    if levels[0] == "$share":
        levels = levels[2:]
    names = topic.split("/")
    if topic.startswith("$") and levels[0] in ("+", "#"):
        return False
    return _levels_match(levels, names)


def _levels_match(levels: list[str], names: list[str]) -> bool:
    if not levels:
        return not names
    if levels[0] == "#":
        return True
    if not names:
        return False
    return levels[0] in ("+", names[0]) and (_levels_match(levels[1:], names[1:]))


def _model_with_parent(topic_filter: str, topic: str) -> bool:
    # "a/#" matches "a": as if "/#" at the end could also be nothing.
    return model_matches(topic_filter, topic) or (
        topic_filter.endswith("/#") and model_matches(topic_filter.removesuffix("/#"), topic)
    )


# Few letters, so that matches are common.
levels = st.sampled_from(["a", "b", "ab", "", "$x", "ü"])
names = st.lists(levels, min_size=1, max_size=5).map("/".join).filter(bool)
filters = (
    st.tuples(
        st.sampled_from(["", "", "", "$share/g/"]),
        st.lists(levels | st.just("+"), min_size=1, max_size=5),
        st.booleans(),
    )
    .map(lambda parts: parts[0] + "/".join([*parts[1], *(["#"] if parts[2] else [])]))
    .filter(lambda text: text not in ("", "$share/g/"))
)


@given(filters, names)
def test_matching_agrees_with_a_second_reading_of_the_standard(topic_filter: str, topic: str) -> None:
    validate_topic_filter(topic_filter)
    assert topic_matches(topic_filter, topic) is _model_with_parent(topic_filter, topic)


def test_matching_agrees_on_all_short_filters_and_names() -> None:
    letters = ["", "a", "$b", "+", "#"]
    all_filters = ["/".join(parts) for size in (1, 2, 3) for parts in itertools.product(letters, repeat=size)]
    all_names = ["/".join(parts) for size in (1, 2, 3, 4) for parts in itertools.product(letters[:3], repeat=size)]
    good_filters = [f for f in all_filters if f and "#" not in f[:-1]]
    for topic_filter in good_filters:
        for topic in filter(None, all_names):
            assert topic_matches(topic_filter, topic) is _model_with_parent(topic_filter, topic), (topic_filter, topic)
    for topic_filter in set(all_filters) - set(good_filters):
        assert not any(topic_matches(topic_filter, topic) for topic in all_names)


# The tree.


@given(
    st.lists(st.tuples(filters, st.integers(0, 3)), max_size=30), st.lists(names, min_size=1, max_size=10), st.data()
)
def test_a_tree_agrees_with_trying_every_filter(
    kept: list[tuple[str, int]], topics: list[str], data: st.DataObject
) -> None:
    tree: TopicTree[Any] = TopicTree()
    model: list[tuple[str, int]] = []
    for topic_filter, value in kept:
        tree.add(topic_filter, value)
        model.append((topic_filter, value))
        if data.draw(st.integers(0, 3)) == 0:
            wanted = data.draw(st.sampled_from([*model, ("a/b", 0), ("#", 3)]))
            # The share name is no part of where a filter stands.
            found = next((entry for entry in model if _same_place(entry, wanted)), None)
            assert tree.remove(*wanted) is (found is not None)
            if found is not None:
                model.remove(found)
        for topic in topics:
            expected = sorted(value for topic_filter, value in model if topic_matches(topic_filter, topic))
            assert sorted(tree.match(topic)) == expected


def _same_place(entry: tuple[str, int], other: tuple[str, int]) -> bool:
    return entry[1] == other[1] and entry[0].removeprefix("$share/g/") == other[0].removeprefix("$share/g/")


def test_each_add_is_one_entry_and_each_remove_takes_one() -> None:
    tree: TopicTree[Any] = TopicTree()
    value = object()
    for _ in range(3):
        tree.add("a/+", value)
    assert tree.match("a/b") == [value] * 3
    assert tree.remove("a/+", value) is True
    assert tree.match("a/b") == [value] * 2
    assert tree.remove("a/#", value) is False
    assert tree.remove("a/+", object()) is False
    assert tree.remove("a/+", value) is True
    assert tree.remove("a/+", value) is True
    assert tree.remove("a/+", value) is False
    assert tree.match("a/b") == []


def test_values_may_be_anything() -> None:
    tree: TopicTree[Any] = TopicTree()
    values: list[Any] = [None, [], {}, lambda: None, tree, "x"]
    for value in values:
        tree.add("#", value)
    assert tree.match("a") == values
    for value in values:
        assert tree.remove("#", value)
    assert tree.match("a") == []


def test_a_tree_lets_go_of_what_is_removed() -> None:
    tree: TopicTree[Any] = TopicTree()
    value = object()
    before = sys.getrefcount(value)
    for number in range(100):
        tree.add(f"a/{number}/+/b/#", value)
    for number in range(100):
        assert tree.remove(f"a/{number}/+/b/#", value)
    assert sys.getrefcount(value) == before


def test_a_list_of_matches_is_the_callers_own() -> None:
    tree: TopicTree[Any] = TopicTree()
    tree.add("a", 1)
    tree.match("a").append(2)
    assert tree.match("a") == [1]


def test_ten_thousand_filters_give_each_topic_its_own_matches() -> None:
    tree: TopicTree[Any] = TopicTree()
    for number in range(10_000):
        tree.add(f"building/{number % 100}/room/{number // 100}/+", number)
    tree.add("building/#", "all")
    tree.add("+/7/#", "seven")
    for number in range(0, 10_000, 37):
        building = number % 100
        topic = f"building/{building}/room/{number // 100}/temperature"
        assert set(tree.match(topic)) == {number, "all"} | ({"seven"} if building == 7 else set())
    assert tree.match("elsewhere/1") == []
    for number in range(10_000):
        assert tree.remove(f"building/{number % 100}/room/{number // 100}/+", number)
    assert tree.match("building/7/room/7/x") in (["all", "seven"], ["seven", "all"])


def test_matching_looks_at_the_topics_levels_and_not_at_the_filters() -> None:
    # A level is compared with another only where their hashes meet, so comparisons count the work: with a thousand
    # filters of one depth, a match may make a handful for each level.
    compared = 0

    class Value:
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return self is other

        __hash__ = None  # type: ignore[assignment]

    tree: TopicTree[Any] = TopicTree()
    values = [Value() for _ in range(1000)]
    for number, value in enumerate(values):
        tree.add(f"a/{number}/c", value)
    assert tree.match("a/500/c") == [values[500]]
    compared = 0
    assert tree.remove("a/500/c", values[500])
    # No value of another filter was looked at.
    assert compared <= 1


@pytest.mark.parametrize(
    "deep", ["/" * 65535, "a/" * 32767 + "a", "+/" * 32767 + "#"], ids=["slashes", "names", "wild"]
)
def test_the_deepest_filters_overflow_nothing(deep: str) -> None:
    topic = deep.replace("+", "a").replace("#", "a")
    tree: TopicTree[Any] = TopicTree()
    tree.add(deep, 1)
    tree.add(deep, 2)
    assert tree.match(topic) == [1, 2]
    assert topic_matches(deep, topic)
    assert tree.match("b") == []
    assert tree.remove(deep, 1)
    assert tree.match(topic) == [2]
    # The last reference: freeing it must not recurse by its depth.
    del tree


def test_a_deep_tree_is_freed_on_a_thread_with_a_small_stack() -> None:
    def build_and_drop() -> None:
        for topic_filter in ("/" * 65535, "a/" * 32767 + "a"):
            tree: TopicTree[Any] = TopicTree()
            tree.add(topic_filter, 1)
            del tree

    size = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=build_and_drop)
        thread.start()
        thread.join(timeout=60)
    finally:
        threading.stack_size(size)
    assert not thread.is_alive()


def test_many_wildcards_on_one_path_do_not_multiply_without_end() -> None:
    # Both "a" and "+" at each of 12 levels: 4096 filters match, and no filter is visited twice.
    tree: TopicTree[Any] = TopicTree()
    for number, parts in enumerate(itertools.product("a+", repeat=12)):
        tree.add("/".join(parts), number)
    assert sorted(tree.match("/".join("a" * 12))) == list(range(4096))


# Threads, and values that meddle.


@pytest.mark.usefixtures("frequent_thread_switches")
def test_a_tree_changed_by_another_thread_while_it_matches_does_not_crash() -> None:
    tree: TopicTree[Any] = TopicTree()
    topic_filters = ["/".join(parts) for parts in itertools.product(["a", "+", "b"], repeat=3)] + ["a/#", "#"]
    done = threading.Event()
    failures: list[BaseException] = []

    def guarded(target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as failure:  # noqa: BLE001  # handed to the test's own thread
            failures.append(failure)
            done.set()

    def change() -> None:
        while not done.is_set():
            for topic_filter in topic_filters:
                tree.add(topic_filter, topic_filter)
            for topic_filter in topic_filters:
                tree.remove(topic_filter, topic_filter)

    def match() -> None:
        for _ in range(3000):
            with contextlib.suppress(IotwireError):
                for found in tree.match("a/b/a"):
                    assert topic_matches(found, "a/b/a")
        done.set()

    threads = [threading.Thread(target=guarded, args=(target,)) for target in (change, change, match)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


def test_a_value_that_changes_the_tree_while_it_is_compared_does_not_crash() -> None:
    tree: TopicTree[Any] = TopicTree()

    class Meddler:
        def __eq__(self, other: object) -> bool:
            for _ in range(5):
                tree.remove("a/b", "other")
            tree.add("a/b/c", "more")
            return False

        __hash__ = None  # type: ignore[assignment]

    for _ in range(5):
        tree.add("a/b", "other")
    meddler = Meddler()
    tree.add("a/b", meddler)
    tree.remove("a/b", Meddler())
    assert tree.match("a/b") == [meddler]
    tree.remove("a/b", meddler)
    assert set(tree.match("a/b/c")) <= {"more"}


def test_an_error_from_a_value_leaves_the_tree_whole() -> None:
    class Sore:
        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

        __hash__ = None  # type: ignore[assignment]

    tree: TopicTree[Any] = TopicTree()
    tree.add("a", Sore())
    tree.add("a", 1)
    with pytest.raises(ZeroDivisionError):
        tree.remove("a", 2)
    assert len(tree.match("a")) == 2
