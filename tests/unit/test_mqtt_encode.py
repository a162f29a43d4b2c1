"""The ways to encode a PUBLISH say the same bytes and refuse the same mistakes; and what all encoders share."""

from __future__ import annotations

import array
import contextlib
import functools
import mmap
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoding import anything, calls
from iotwire.errors import EncodeError
from iotwire.mqtt import (
    Auth,
    Connect,
    Decoder,
    Packet,
    PreparedPublish,
    Publish,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
    decode,
    encode_publish,
    encode_publish_header,
)
from strategies import packets, publishes
from support import IS_EMULATED
from vectors.mqtt import CASES, Vector

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISHES = [(vector, version) for vector, version in CASES if vector.wire[0] >> 4 == 3]

each_publish = pytest.mark.parametrize(
    ("vector", "version"), [pytest.param(*case, id=f"{case[0].id}, version {case[1]}") for case in PUBLISHES]
)

PROPERTY_NAMES = (
    "payload_format_indicator",
    "message_expiry_interval",
    "content_type",
    "response_topic",
    "correlation_data",
    "subscription_identifiers",
    "topic_alias",
    "user_properties",
)


def properties_of(packet: Publish) -> dict[str, Any]:
    return {name: getattr(packet, name) for name in PROPERTY_NAMES}


def ways_to_encode(packet: Publish, version: int) -> dict[str, bytes]:
    """The bytes of one PUBLISH by every way to make them."""
    properties = properties_of(packet)
    given_ones = {name: value for name, value in properties.items() if value is not None and value != ()}
    positional = (packet.topic, packet.payload, packet.qos, packet.retain, packet.packet_id, packet.dup, version)
    keywords: dict[str, Any] = {
        "payload": packet.payload,
        "qos": packet.qos,
        "retain": packet.retain,
        "packet_id": packet.packet_id,
        "dup": packet.dup,
        "version": version,
    }
    same = Publish(
        packet.topic,
        packet.payload,
        qos=packet.qos,
        retain=packet.retain,
        dup=packet.dup,
        packet_id=packet.packet_id,
        **properties,
    )
    made = {
        "a packet": same.encode(version),
        "encode_publish, positional": encode_publish(*positional, **properties),
        "encode_publish, positional, only what is there": encode_publish(*positional, **given_ones),
        "encode_publish, by keyword": encode_publish(packet.topic, **keywords, **properties),
        "encode_publish, all by keyword": encode_publish(topic=packet.topic, **keywords, **given_ones),
        "encode_publish_header": encode_publish_header(*positional, **properties) + bytes(packet.payload),
        "encode_publish_header, by keyword": encode_publish_header(packet.topic, **keywords, **given_ones)
        + bytes(packet.payload),
    }
    if not packet.dup:
        prepared = PreparedPublish(packet.topic, packet.qos, packet.retain, version, **properties)
        made["a prepared publish"] = prepared.encode(packet.payload, packet.packet_id)
        made["a prepared publish, used again"] = prepared.encode(packet.payload, packet_id=packet.packet_id)
        by_keyword = PreparedPublish(packet.topic, qos=packet.qos, retain=packet.retain, version=version, **given_ones)
        made["a prepared publish, by keyword"] = by_keyword.encode(payload=packet.payload, packet_id=packet.packet_id)
    return made


@each_publish
def test_all_ways_to_encode_a_vector_agree(vector: Vector, version: int) -> None:
    packet = vector.packet
    assert isinstance(packet, Publish)
    expected = vector.wire if vector.form == "canonical" else packet.encode(version)
    for way, wire in ways_to_encode(packet, version).items():
        assert wire == expected, way
        assert type(wire) is bytes


# Packets made by hypothesis.


@pytest.mark.parametrize("version", [4, 5])
def test_all_ways_to_encode_agree_whatever_the_publish(version: int) -> None:
    @given(publishes(version))
    def agree(packet: Publish) -> None:
        wires = ways_to_encode(packet, version)
        assert set(wires.values()) == {packet.encode(version)}
        assert decode(packet.encode(version), version) == (packet, packet.encoded_size(version))

    agree()


@given(packets)
def test_any_packet_decodes_to_itself(packet: Packet) -> None:
    wire = packet.encode()
    assert decode(wire) == (packet, len(wire))
    assert packet.encoded_size() == len(wire)
    [decoded] = Decoder().feed(wire)
    assert decoded.encode() == wire
    assert hash(decoded) == hash(packet)


@given(st.lists(packets, max_size=8), st.integers(1, 50))
def test_any_stream_of_packets_decodes_to_itself_in_chunks(sent: list[Packet], chunk: int) -> None:
    stream = b"".join(packet.encode() for packet in sent)
    for payload in ("bytes", "view"):
        decoder = Decoder(payload=anything(payload))
        received = [p for at in range(0, len(stream), chunk) for p in decoder.feed(stream[at : at + chunk])]
        assert received == sent
        assert decoder.buffered == 0


# Payloads: any buffer that is C-contiguous.


def _mapped(data: bytes) -> mmap.mmap:
    mapped = mmap.mmap(-1, len(data))
    mapped[:] = data
    return mapped


BUFFERS: dict[str, Callable[[bytes], Any]] = {
    "bytearray": bytearray,
    "memoryview": memoryview,
    "a part of a memoryview": lambda data: memoryview(b"__" + data + b"__")[2:-2],
    "array": lambda data: array.array("B", data),
    "array of doubles": lambda data: array.array("d", data),
    "mmap": _mapped,
    "two dimensions": lambda data: memoryview(data).cast("B", (2, len(data) // 2)),
}


@pytest.mark.parametrize("kind", BUFFERS)
def test_a_payload_may_be_any_buffer(kind: str) -> None:
    data = bytes(range(64))
    payload = BUFFERS[kind](data)
    expected = b"\x30\x44\x00\x01t\x00" + data
    assert encode_publish("t", payload) == expected
    assert encode_publish_header("t", payload) == expected[:6]
    assert PreparedPublish("t").encode(payload) == expected
    assert Publish("t", payload).encode() == expected
    assert Publish("t", payload) == Publish("t", data)
    assert type(Publish("t", payload).payload) is bytes
    assert Will("w", payload) == Will("w", data)
    assert Connect("c", password=payload) == Connect("c", password=data)
    assert Auth(0x18, authentication_method="m", authentication_data=payload) == Auth(
        0x18, authentication_method="m", authentication_data=data
    )


def test_a_packet_does_not_follow_the_buffer_it_was_made_from() -> None:
    payload = bytearray(b"abc")
    pairs = [("k", "v")]
    identifiers = [1, 2]
    packet = Publish("t", payload, user_properties=pairs, subscription_identifiers=identifiers)
    payload[:] = b"xyz"
    payload.clear()
    pairs.clear()
    identifiers.append(3)
    assert packet == Publish("t", b"abc", user_properties=(("k", "v"),), subscription_identifiers=(1, 2))


@pytest.mark.parametrize(
    "payload",
    [
        memoryview(bytes(64))[::2],
        memoryview(bytes(64))[::-1],
        memoryview(bytes(64)).cast("B", (8, 8))[::2],
    ],
    ids=["with gaps", "backwards", "rows left out"],
)
def test_a_payload_that_is_not_contiguous_is_refused(payload: memoryview) -> None:
    for call in calls(
        lambda: encode_publish("t", payload),
        lambda: encode_publish_header("t", payload),
        lambda: PreparedPublish("t").encode(payload),
        lambda: Publish("t", payload).encode(),
        lambda: Will("t", payload),
    ):
        with pytest.raises(EncodeError) as caught:
            call()
        assert caught.value.field == "payload"


@pytest.mark.parametrize("payload", ["text", None, 7, 1.5, [1, 2], object()], ids=repr)
def test_a_payload_that_is_no_buffer_is_refused(payload: object) -> None:
    for call in calls(
        lambda: encode_publish("t", anything(payload)),
        lambda: encode_publish_header("t", anything(payload)),
        lambda: PreparedPublish("t").encode(anything(payload)),
        lambda: Publish("t", anything(payload)).encode(),
    ):
        with pytest.raises(EncodeError) as caught:
            call()
        assert caught.value.field == "payload"
        assert "text" not in str(caught.value)


# What is refused is refused by every way.

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an empty topic": ({"topic": ""}, "topic"),
    "a topic with a wildcard": ({"topic": "a/#"}, "topic"),
    "a topic with a plus sign outside ASCII": ({"topic": "ü/+"}, "topic"),
    "a topic with U+0000": ({"topic": "a\0"}, "topic"),
    "a topic with U+0000 outside ASCII": ({"topic": "ü\0"}, "topic"),
    "a topic with a surrogate": ({"topic": "\ud800"}, "topic"),
    "a topic that is too long": ({"topic": "t" * 65536}, "topic"),
    "a topic that is too long outside ASCII": ({"topic": "ü" * 32768}, "topic"),
    "a topic of bytes": ({"topic": b"t"}, "topic"),
    "a topic of None": ({"topic": None}, "topic"),
    "QoS 3": ({"qos": 3, "packet_id": 1}, "qos"),
    "QoS -1": ({"qos": -1}, "qos"),
    "QoS of str": ({"qos": "1", "packet_id": 1}, "qos"),
    "QoS 2**64": ({"qos": 1 << 64, "packet_id": 1}, "qos"),
    "QoS 1 without an identifier": ({"qos": 1}, "packet_id"),
    "QoS 0 with an identifier": ({"packet_id": 1}, "packet_id"),
    "packet identifier 0": ({"qos": 1, "packet_id": 0}, "packet_id"),
    "packet identifier 65536": ({"qos": 1, "packet_id": 65536}, "packet_id"),
    "packet identifier 2**64": ({"qos": 1, "packet_id": 1 << 64}, "packet_id"),
    "packet identifier of str": ({"qos": 1, "packet_id": "1"}, "packet_id"),
    "packet identifier of float": ({"qos": 1, "packet_id": 1.0}, "packet_id"),
    "retain of str": ({"retain": "yes"}, "retain"),
    "retain of 2": ({"retain": 2}, "retain"),
    "version 3": ({"version": 3}, "version"),
    "version 6": ({"version": 6}, "version"),
    "a topic alias of 0": ({"topic_alias": 0}, "topic_alias"),
    "a topic alias of 65536": ({"topic_alias": 65536}, "topic_alias"),
    "a payload format of 2": ({"payload_format_indicator": 2}, "payload_format_indicator"),
    "an expiry of -1": ({"message_expiry_interval": -1}, "message_expiry_interval"),
    "a response topic with a wildcard": ({"response_topic": "a/+"}, "response_topic"),
    "correlation data of str": ({"correlation_data": "x"}, "correlation_data"),
    "user properties of a dict": ({"user_properties": {"ab": "cd"}}, "user_properties"),
    "a subscription identifier of 0": ({"subscription_identifiers": (0,)}, "subscription_identifiers"),
    "a property in MQTT 3.1.1": ({"content_type": "t", "version": 4}, "content_type"),
    "an alias without a topic in MQTT 3.1.1": ({"topic": "", "topic_alias": 1, "version": 4}, "topic_alias"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_by_every_way_to_encode(mistake: str) -> None:
    arguments, field = MISTAKES[mistake]
    arguments = {"topic": "t", "payload": b"x", **arguments}
    packet_id = arguments.get("packet_id")
    constant = {name: value for name, value in arguments.items() if name not in ("payload", "packet_id")}
    version = arguments.get("version", 5)
    packet_arguments = {name: value for name, value in arguments.items() if name != "version"}
    for call in calls(
        lambda: Publish(**packet_arguments).encode(version),
        lambda: encode_publish(**arguments),
        lambda: encode_publish_header(**arguments),
        lambda: PreparedPublish(**constant).encode(b"x", packet_id),
    ):
        with pytest.raises(EncodeError) as caught:
            call()
        assert caught.value.field == field or (version == 4 and caught.value.field), caught.value


@pytest.mark.parametrize("name", ["dup", "retain"])
@pytest.mark.parametrize("value", ["", None, 2, -1, 1.0])
def test_a_flag_is_a_bool_or_0_or_1(name: str, value: object) -> None:
    for call in calls(
        lambda: encode_publish("t", b"", 1, packet_id=1, **anything({name: value})),
        lambda: Publish("t", qos=1, packet_id=1, **anything({name: value})).encode(),
    ):
        with pytest.raises(EncodeError) as caught:
            call()
        assert caught.value.field == name
    assert encode_publish("t", b"", 1, packet_id=1, **anything({name: 1})) == encode_publish(
        "t", b"", 1, packet_id=1, **anything({name: True})
    )


def test_a_prepared_publish_is_immutable_and_may_be_used_again_and_again() -> None:
    prepared = PreparedPublish("t", 1, content_type="text", user_properties=(("k", "v"),))
    first = prepared.encode(b"a", 1)
    assert (
        prepared.encode(b"b" * 200, 65535)
        == Publish("t", b"b" * 200, qos=1, packet_id=65535, content_type="text", user_properties=(("k", "v"),)).encode()
    )
    with pytest.raises(EncodeError):
        prepared.encode(b"a", 0)
    with pytest.raises(EncodeError):
        prepared.encode(b"a")
    assert prepared.encode(b"a", 1) == first
    for name in ("topic", "qos", "something_new"):
        with pytest.raises(AttributeError):
            setattr(prepared, name, 1)
    with contextlib.suppress(Exception):
        anything(prepared).__init__("other")
    assert prepared.encode(b"a", 1) == first


@pytest.mark.parametrize("size", [0, 1, 122, 123, 124, 125, 16378, 16379, 16380, 2097146, 2097147, 2097148])
def test_remaining_lengths_grow_where_the_standard_says(size: int) -> None:
    payload = bytes(size)
    for wire in (
        encode_publish("t", payload),
        encode_publish_header("t", payload) + payload,
        PreparedPublish("t").encode(payload),
        Publish("t", payload).encode(),
    ):
        body = 4 + size
        length_bytes = 1 + (body > 127) + (body > 16383) + (body > 2097151)
        assert len(wire) == 1 + length_bytes + body
        assert decode(wire) == (Publish("t", payload), len(wire))


def test_a_remaining_length_over_268435455_is_refused_before_memory_is_taken() -> None:
    # Pages of an anonymous map cost nothing until they are touched.
    with mmap.mmap(-1, 268_435_456, access=mmap.ACCESS_READ) as large:
        view = memoryview(large)
        # Two bytes of length, "t", an empty property block.
        fits = view[: 268_435_455 - 4]
        header = encode_publish_header("t", fits)
        assert header == b"\x30\xff\xff\xff\x7f\x00\x01t\x00"
        for size in (268_435_455 - 3, 268_435_456):
            too_long = view[:size]
            for call in calls(
                lambda: encode_publish_header("t", too_long),  # noqa: B023  # called at once
                lambda: encode_publish("t", too_long),  # noqa: B023
                lambda: PreparedPublish("t").encode(too_long),  # noqa: B023
            ):
                with pytest.raises(EncodeError) as caught:
                    call()
                assert caught.value.field in ("payload", "packet")
            too_long.release()
        fits.release()
        view.release()


def test_a_packet_over_the_remaining_length_is_refused() -> None:
    payload = bytes(268_435_455 - 3)
    packet = Publish("t", payload)
    assert packet.payload is payload
    for call in calls(packet.encode, packet.encoded_size):
        with pytest.raises(EncodeError):
            call()
    assert packet.encoded_size(4) == 268_435_460
    many = tuple([("k", "v" * 65000)] * 4200)
    with pytest.raises(EncodeError):
        Publish("t", user_properties=many).encode()


LONGEST = "x" * 65535


@functools.cache
def longest_unsubscribe() -> Unsubscribe:
    """Made once: it takes seconds."""
    return Unsubscribe(1, [LONGEST] * 65_537)


# Each names one text so often that the bytes it asks for are a little over 4 GiB: where sizes have 32 bits, such a sum
# comes out as a small one, and what was allocated by it would be written far past its end.
OVER_4_GIB: dict[str, Callable[[], object]] = {
    "a SUBSCRIBE": lambda: Subscribe(1, [Subscription(LONGEST)] * 65_536).encode(),
    "a SUBSCRIBE of 3.1.1": lambda: Subscribe(1, [Subscription(LONGEST)] * 65_536).encode(4),
    "an UNSUBSCRIBE": lambda: longest_unsubscribe().encode(),
    "the size of an UNSUBSCRIBE": lambda: longest_unsubscribe().encoded_size(),
    "user properties": lambda: Publish("t", user_properties=((LONGEST, LONGEST),) * 32_768),
    "user properties without a packet": lambda: encode_publish("t", user_properties=((LONGEST, LONGEST),) * 32_768),
    "user properties of a will": lambda: Will("t", user_properties=[(LONGEST, LONGEST)] * 32_768),
}


@pytest.mark.skipif(IS_EMULATED and sys.maxsize > 1 << 32, reason="takes long, and sizes have 64 bits here")
@pytest.mark.parametrize("make", OVER_4_GIB.values(), ids=OVER_4_GIB)
def test_a_sum_of_sizes_does_not_wrap_where_they_have_32_bits(make: Callable[[], object]) -> None:
    with pytest.raises(EncodeError):
        make()


@pytest.mark.parametrize("size", [0x7FFF_FFFF, 0x4000_0000])
def test_a_buffer_that_reaches_the_end_of_a_32_bit_size_is_refused(size: int) -> None:
    try:
        large = mmap.mmap(-1, size, access=mmap.ACCESS_READ)
    except (OSError, MemoryError, OverflowError) as error:
        pytest.skip(f"no room for a map of {size} bytes here: {error}")
    with large, memoryview(large) as view:
        for call in calls(
            lambda: encode_publish("t", view),
            lambda: encode_publish("t", view, 1, False, 1),
            lambda: encode_publish_header("t", view),
            lambda: PreparedPublish("t").encode(view),
            lambda: Publish("t", view),
            lambda: Will("t", view),
        ):
            with pytest.raises(EncodeError) as caught:
                call()
            assert caught.value.field == "payload"


def test_subclasses_of_str_and_int_are_taken_for_what_they_are() -> None:
    class Name(str):
        __slots__ = ()

    class Number(int):
        pass

    plain = encode_publish("t", b"x", 1, False, 7, content_type="c", topic_alias=3, user_properties=(("k", "v"),))
    assert plain == encode_publish(
        Name("t"),
        b"x",
        Number(1),
        False,
        Number(7),
        content_type=Name("c"),
        topic_alias=Number(3),
        user_properties=((Name("k"), Name("v")),),
    )


def test_user_properties_may_come_from_any_iterable_of_pairs() -> None:
    expected = Publish("t", user_properties=(("a", "1"), ("b", "2")))
    for pairs in ([("a", "1"), ("b", "2")], [["a", "1"], ["b", "2"]], iter([("a", "1"), ("b", "2")])):
        assert Publish("t", user_properties=anything(pairs)) == expected
    assert Publish("t", user_properties={"a": "1", "b": "2"}.items()) == expected
