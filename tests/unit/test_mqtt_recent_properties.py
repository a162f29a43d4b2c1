"""Properties that a decoder recognises: the right ones are given, whatever came before them and whatever is sent."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotwire.errors import MalformedPacketError, WireError
from iotwire.mqtt import ConnAck, Connect, Decoder, PubAck, Publish, Session, decode, encode_publish

Properties = dict[str, Any]

DESCRIBED: Properties = {
    "content_type": "application/json",
    "user_properties": (("site", "berlin"), ("unit", "celsius")),
    "correlation_data": b"7",
    "message_expiry_interval": 60,
}


def by_feed() -> Callable[[bytes], Publish]:
    decoder = Decoder()

    def take(wire: bytes) -> Publish:
        [packet] = decoder.feed(wire)
        assert isinstance(packet, Publish)
        return packet

    return take


def by_decode() -> Callable[[bytes], Publish]:
    def take(wire: bytes) -> Publish:
        decoded = decode(wire)
        assert decoded is not None
        packet, size = decoded
        assert size == len(wire)
        assert isinstance(packet, Publish)
        return packet

    return take


WAYS = {"Decoder": by_feed, "decode": by_decode}


def properties_of(packet: Publish) -> Properties:
    return {name: getattr(packet, name) for name in DESCRIBED}


def wire_of(properties: Properties, topic: str = "plant/boiler") -> bytes:
    return encode_publish(topic, b"81.5", **properties)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [*range(20), 240, 250, 251, 252, 253, 254, 255, 256, 257, 300, 65535])
def test_properties_of_any_size_come_out_right_each_time(way: str, size: int) -> None:
    take = WAYS[way]()
    for letter in "ab":
        properties = DESCRIBED | {"content_type": letter * size}
        for _ in range(4):
            packet = take(wire_of(properties))
            assert properties_of(packet) == properties
            assert packet.encode() == wire_of(properties)


@pytest.mark.parametrize("way", WAYS)
def test_properties_that_differ_in_any_one_byte_are_others(way: str) -> None:
    take = WAYS[way]()
    known = "abcdefghijklmnopqrstuvwxyz"
    for place in range(len(known)):
        other = known[:place] + "_" + known[place + 1 :]
        for text in (known, known, other, other, known):
            assert take(wire_of({"content_type": text})).content_type == text


@pytest.mark.parametrize("way", WAYS)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "content_type": st.text("ab/ü", max_size=9),
                "user_properties": st.lists(
                    st.tuples(st.text("ab", max_size=5), st.text("aü", max_size=5)), min_size=1, max_size=3
                ).map(tuple),
                "correlation_data": st.binary(max_size=5),
                "message_expiry_interval": st.integers(0, 3),
            },
        ),
        min_size=1,
        max_size=12,
    )
)
def test_any_sequence_of_properties_comes_out_as_it_went_in(way: str, sequence: list[Properties]) -> None:
    take = WAYS[way]()
    absent: Properties = {name: () if name == "user_properties" else None for name in DESCRIBED}
    for properties in sequence * 3:
        packet = take(wire_of(properties))
        # Twice: what is read again may be what was kept.
        assert properties_of(packet) == properties_of(packet) == absent | properties
        assert packet == Publish("plant/boiler", b"81.5", **properties)


@pytest.mark.parametrize("way", WAYS)
def test_packets_that_are_kept_keep_their_own_properties(way: str) -> None:
    take = WAYS[way]()
    wanted = [DESCRIBED | {"user_properties": (("number", f"{number:04}"),)} for number in range(100)]
    packets = [take(wire_of(properties)) for properties in wanted for _ in range(3)]
    assert [properties_of(packet) for packet in packets] == [each for each in wanted for _ in range(3)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", range(0, 16, 5))
def test_properties_one_byte_from_known_ones_are_checked_like_any_other(way: str, place: int) -> None:
    take = WAYS[way]()
    good = wire_of(DESCRIBED)
    at = good.index(b"application/json") + place
    for _ in range(3):
        take(good)
    for odd in (b"\0", b"\xff"):
        with pytest.raises(WireError):
            WAYS[way]()(good[:at] + odd + good[at + 1 :])


def test_what_a_publish_may_carry_is_not_known_of_another_packet() -> None:
    decoder = Decoder()
    for _ in range(3):
        decoder.feed(wire_of({"content_type": "application/json"}))
    block = b"\x13\x03\x00\x10application/json"
    with pytest.raises(MalformedPacketError, match="content_type"):
        decoder.feed(b"\x40\x17\x00\x01\x00" + block)
    pairs = (("site", "berlin"), ("unit", "celsius"))
    decoder = Decoder()
    decoder.feed(wire_of({"user_properties": pairs}) * 3)
    [acknowledgement] = decoder.feed(PubAck(1, user_properties=pairs).encode())
    assert isinstance(acknowledgement, PubAck)
    assert acknowledgement.user_properties == pairs


def test_a_session_takes_the_alias_from_known_properties() -> None:
    session = Session()
    session.connect(Connect("c", topic_alias_maximum=2), 0.0)
    session.take_output(0.0)
    session.receive(ConnAck(0).encode(), 0.0)
    [first] = session.receive(wire_of(DESCRIBED | {"topic_alias": 1}), 0.0)
    for _ in range(3):
        [message] = session.receive(wire_of(DESCRIBED | {"topic_alias": 1}, topic=""), 0.0)
        assert message == first == Publish("plant/boiler", b"81.5", **DESCRIBED)
        assert (message.topic_alias, properties_of(message)) == (None, DESCRIBED)


def test_a_flood_of_properties_holds_a_few_of_them_only() -> None:
    decoder = Decoder()
    for number in range(2000):
        for _ in range(2):
            [packet] = decoder.feed(wire_of({"content_type": f"flood/{number:08}/{'x' * 200}"}))
            assert isinstance(packet, Publish)
            assert packet.content_type is not None
    gc.collect()
    before = sys.getallocatedblocks()
    del decoder, packet
    assert before - sys.getallocatedblocks() <= 40


def test_the_size_of_a_packet_is_right_however_large_it_is() -> None:
    take = by_decode()
    for size in [*range(1100), 65535, 65536]:
        take(encode_publish("a", bytes(size)))


@pytest.mark.parametrize("held_bytes", [0, 1, 16, 65536])
def test_a_message_within_a_bound_is_the_same_and_no_more_is_taken(held_bytes: int) -> None:
    one, other = Session(), Session()
    for session in (one, other):
        session.connect(Connect("c"), 0.0)
        session.take_output(0.0)
        session.receive(ConnAck(0, topic_alias_maximum=1).encode(), 0.0)
    for number in range(20):
        is_free = one.output_bytes < held_bytes
        assert one.publish_within(held_bytes, "plant/boiler", b"x", 0, bool(number % 2)) is is_free
        if is_free:
            other.publish("plant/boiler", b"x", 0, bool(number % 2))
    assert one.take_output(0.0) == other.take_output(0.0)
    assert one.sent == other.sent
