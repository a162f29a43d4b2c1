"""What AWS IoT Core allows a connection, by itself: the figures, the checks, and the pace."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotwire import AwsIotLimits, Broker, EncodeError, Endpoint, PublishError, SubscribeError
from iotwire.credentials import X509
from iotwire.limits import Pacer
from iotwire.mqtt import Subscription


def test_the_figures_are_those_of_the_service() -> None:
    assert {each.name: getattr(AwsIotLimits(), each.name) for each in fields(AwsIotLimits)} == {
        "max_payload_bytes": 131_072,
        "max_topic_bytes": 256,
        "max_topic_slashes": 7,
        "max_client_id_bytes": 128,
        "max_filters_per_subscribe": 8,
        "max_subscriptions": 50,
        "max_qos": 1,
        "max_keep_alive_s": 1200,
        "max_in_flight": 100,
        "publishes_per_s": 100,
        "bytes_per_s": 524_288,
        "max_content_type_bytes": 256,
        "max_correlation_data_bytes": 8192,
        "max_user_properties_bytes": 8192,
        "max_message_expiry_s": 604_800,
        "max_topic_aliases": 8,
        "connect_interval_s": 1.0,
    }


@pytest.mark.parametrize("name", [each.name for each in fields(AwsIotLimits)])
def test_each_figure_can_be_set_or_taken_away_and_nothing_else(name: str) -> None:
    assert getattr(AwsIotLimits(**{name: 3}), name) == 3
    assert getattr(AwsIotLimits(**{name: None}), name) is None
    for wrong in (0, -1, "8", True, float("nan"), *(() if name == "connect_interval_s" else (1.5,))):
        with pytest.raises(EncodeError) as caught:
            AwsIotLimits(**{name: wrong})
        assert caught.value.field == name


def test_limits_cannot_be_changed_afterwards() -> None:
    with pytest.raises(FrozenInstanceError):
        AwsIotLimits().max_in_flight = 7  # type: ignore[misc]


def test_endpoints_have_them_and_brokers_do_not() -> None:
    device = X509("device.pem", "device.key")
    assert Endpoint("a-ats.iot.eu-central-1.amazonaws.com").route("mqtt", device).limits == AwsIotLimits()
    assert Broker("broker.example", 1883).limits is None


# Messages, topics and filters: what is just allowed, what is just not, and which figure says so.

DEEP = "/".join("abcdefgh")  # seven slashes
PUBLISHES: list[tuple[str, tuple[Any, ...], tuple[Any, ...], int]] = [
    ("max_payload_bytes", ("a", 131_072, {}), ("a", 131_073, {}), 0x95),
    ("max_topic_bytes", ("x" * 256, 0, {}), ("x" * 257, 0, {}), 0x90),
    ("max_topic_bytes", ("é" * 128, 0, {}), ("é" * 129, 0, {}), 0x90),
    ("max_topic_slashes", (DEEP, 0, {}), (DEEP + "/", 0, {}), 0x90),
    ("max_topic_bytes", ("$aws/rules/name/" + "x" * 256, 0, {}), ("$aws/rules/name/" + "x" * 257, 0, {}), 0x90),
    ("max_topic_slashes", ("$aws/rules/name/" + DEEP, 0, {}), ("$aws/rules/name/" + DEEP + "/i", 0, {}), 0x90),
    ("max_content_type_bytes", ("a", 0, {"content_type": "x" * 256}), ("a", 0, {"content_type": "é" * 129}), 0x95),
    (
        "max_correlation_data_bytes",
        ("a", 0, {"correlation_data": b"x" * 8192}),
        ("a", 0, {"correlation_data": b"x" * 8193}),
        0x95,
    ),
    (
        "max_user_properties_bytes",
        ("a", 0, {"user_properties": [("k" * 96, "v" * 4000)] * 2}),
        ("a", 0, {"user_properties": [("k" * 96, "v" * 4000)] * 2 + [("k", "")]}),
        0x95,
    ),
    (
        "max_message_expiry_s",
        ("a", 0, {"message_expiry_interval": 604_800}),
        ("a", 0, {"message_expiry_interval": 604_801}),
        0x83,
    ),
    (
        "max_message_expiry_s",
        ("a", 0, {"message_expiry_interval": 1}),
        ("a", 0, {"message_expiry_interval": 0}),
        0x83,
    ),
]


@pytest.mark.parametrize(("name", "allowed", "beyond", "code"), PUBLISHES)
def test_a_message_beyond_a_limit_is_refused_with_its_name(
    name: str, allowed: tuple[Any, ...], beyond: tuple[Any, ...], code: int
) -> None:
    AwsIotLimits().check_publish(*allowed[:2], 1, *allowed[2:])
    with pytest.raises(PublishError, match=rf"\({name}\)") as caught:
        AwsIotLimits().check_publish(*beyond[:2], 1, *beyond[2:])
    assert caught.value.reason_code == code
    AwsIotLimits(**{name: None}).check_publish(*beyond[:2], 1, *beyond[2:])


def test_qos_2_is_refused_for_messages_and_where_no_suback_could_say_so() -> None:
    limits = AwsIotLimits()
    for qos in (0, 1):
        limits.check_publish("a", 0, qos, {})
    with pytest.raises(PublishError, match=r"\(max_qos\)") as refused:
        limits.check_publish("a", 0, 2, {})
    assert refused.value.reason_code == 0x9B
    wanted = [Subscription("a", 1), Subscription("b", 2)]
    limits.check_subscriptions(wanted, set(), 5)  # its SUBACK grants less
    with pytest.raises(SubscribeError, match=r"\(max_qos\)") as caught:
        limits.check_subscriptions(wanted, set(), 4)
    assert caught.value.reason_codes == {"b": 0x9B}
    AwsIotLimits(max_qos=None).check_publish("a", 0, 2, {})
    AwsIotLimits(max_qos=None).check_subscriptions(wanted, set(), 4)


@pytest.mark.parametrize(("given", "allowed"), [(0, 1200), (1, 1), (1200, 1200), (1201, 1200), (65535, 1200)])
def test_a_keep_alive_is_what_the_service_makes_of_it(given: int, allowed: int) -> None:
    assert AwsIotLimits().allowed_keep_alive(given) == allowed
    assert AwsIotLimits(max_keep_alive_s=None).allowed_keep_alive(given) == given


def check_filters(limits: AwsIotLimits, topic_filters: list[str], subscribed: set[str]) -> None:
    limits.check_subscriptions([Subscription(each) for each in topic_filters], subscribed, 5)


@pytest.mark.parametrize("prefix", ["", "$share/name/", "$aws/rules/name/"])
def test_filters_are_measured_like_topics_without_their_prefix(prefix: str) -> None:
    limits = AwsIotLimits()
    check_filters(limits, [prefix + DEEP, prefix + "x" * 256], set())
    with pytest.raises(SubscribeError) as caught:
        check_filters(limits, [prefix + "fine", prefix + DEEP + "/#", prefix + "x" * 257], set())
    assert caught.value.reason_codes == {prefix + DEEP + "/#": 0x8F, prefix + "x" * 257: 0x8F}
    assert "(max_topic_slashes)" in str(caught.value)
    assert "(max_topic_bytes)" in str(caught.value)


def test_other_topics_that_begin_with_a_dollar_count_whole() -> None:
    with pytest.raises(PublishError):
        AwsIotLimits().check_publish("$aws/things/" + DEEP, 0, 0, {})


def test_subscriptions_are_counted_together_and_once_each() -> None:
    limits = AwsIotLimits(max_subscriptions=3)
    check_filters(limits, ["a", "b", "c", "a"], set())
    check_filters(limits, ["a", "b"], {"a", "b", "c"})
    with pytest.raises(SubscribeError, match=r"\(max_subscriptions\)") as caught:
        check_filters(limits, ["a", "d"], {"a", "b", "c"})
    assert caught.value.reason_codes == {"d": 0x97}
    check_filters(replace(limits, max_subscriptions=None), ["a", "d"], {"a", "b", "c"})


def test_a_client_id_that_the_service_refuses_is_refused_here() -> None:
    AwsIotLimits().check_client_id("x" * 128)
    for wrong in ("x" * 129, "é" * 65, "$me"):
        with pytest.raises(EncodeError) as caught:
            AwsIotLimits().check_client_id(wrong)
        assert caught.value.field == "client_id"
        AwsIotLimits(max_client_id_bytes=None).check_client_id(wrong)


# The pace.


def leave(pacer: Pacer, sizes: list[int], now: float = 0.0, step: float = 0.0) -> list[float]:
    """When messages of these sizes leave, each as soon as it may, `step` seconds after the one before at least."""
    left: list[float] = []
    for size in sizes:
        while (wait := pacer.wait_s(now)) > 0:
            now += max(wait, 1e-6)  # a clock moves on, however short the wait
        pacer.spend(size, now)
        left.append(now)
        now += step
    return left


def most_in_a_second(times: list[float], n: int) -> bool:
    """Whether any n + 1 of these times lie within a second, but for what a float cannot tell."""
    return any(later - earlier < 1 - 1e-9 for earlier, later in zip(times, times[n:], strict=False))


@given(st.integers(1, 20), st.lists(st.floats(0, 2), max_size=60), st.floats(0, 1e6))
def test_no_second_has_more_messages_than_allowed(n: int, gaps: list[float], start: float) -> None:
    pacer = Pacer(AwsIotLimits(publishes_per_s=n, bytes_per_s=None))
    now, left = start, []
    for gap in gaps:
        now += gap / n
        [at] = leave(pacer, [0], now)
        left.append(now := at)
    assert not most_in_a_second(left, n)


def test_the_pace_costs_nothing_below_the_limit_and_no_more_than_needed_above_it() -> None:
    limits = AwsIotLimits(publishes_per_s=10, bytes_per_s=None)
    assert leave(Pacer(limits), [0] * 50, 100.0, step=0.1)[-1] == pytest.approx(104.9)
    assert leave(Pacer(limits), [0] * 10, 100.0) == [100.0] * 10
    assert leave(Pacer(limits), [0] * 25, 100.0)[-1] == pytest.approx(102.0)


@given(st.integers(1, 1000), st.lists(st.integers(0, 3000), min_size=1, max_size=60))
def test_bytes_are_held_to_their_average(rate: int, sizes: list[int]) -> None:
    left = leave(Pacer(AwsIotLimits(publishes_per_s=None, bytes_per_s=rate)), sizes, 5.0)
    # All that left before the last one fits into the time it took, and one second's share beside.
    assert sum(sizes[:-1]) <= rate * (left[-1] - left[0] + 1) * (1 + 1e-6)


def test_a_message_larger_than_a_seconds_share_leaves_and_those_after_it_wait() -> None:
    pacer = Pacer(AwsIotLimits(publishes_per_s=None, bytes_per_s=1000))
    assert leave(pacer, [3500, 1, 1], 10.0) == [10.0, pytest.approx(12.5), pytest.approx(12.501)]


def test_a_pause_saves_up_no_more_than_a_second() -> None:
    pacer = Pacer(AwsIotLimits(publishes_per_s=None, bytes_per_s=1000))
    assert leave(pacer, [1000, 500, 1], 1000.0) == [1000.0, 1000.0, pytest.approx(1000.5)]


def test_a_pacer_without_limits_never_waits() -> None:
    pacer = Pacer(AwsIotLimits(publishes_per_s=None, bytes_per_s=None))
    assert leave(pacer, [10**9] * 1000, 3.0) == [3.0] * 1000
