"""What other libraries get wrong: each was seen in a published one, and named so that nobody has to learn it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from decoding import calls, refused
from iotwire.errors import EncodeError, IotwireError, MalformedPacketError, ProtocolViolationError
from iotwire.mqtt import (
    Auth,
    Connect,
    Decoder,
    Disconnect,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    decode,
    encode_publish,
)
from vectors.mqtt import CASES, put_binary, put_frame, put_string, put_varint

if TYPE_CHECKING:
    pass


# What peers got wrong (each was seen in a published library): named, so that nobody has to learn it again.


@pytest.mark.parametrize("topic", [b"a\xff\xfe", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80"])
@pytest.mark.parametrize("version", [4, 5])
def test_a_topic_of_bad_utf8_is_an_iotwire_error_not_a_base_exception(topic: bytes, version: int) -> None:
    # `BaseException`, so that one from outside `Exception` is a failure here and not the end of the run.
    with pytest.raises(BaseException) as caught:
        Decoder(version).feed(put_frame(0x30, put_binary(topic) + b"\0"))
    assert isinstance(caught.value, MalformedPacketError)
    assert caught.value.reason_code == 0x81


def test_a_memoryview_of_negative_stride_is_refused_and_not_read_past_its_end() -> None:
    wire = Publish("a/b", b"x" * 50).encode()
    backwards = memoryview(wire[::-1])[::-1]
    assert bytes(backwards) == wire
    for call in calls(
        lambda: decode(backwards),
        lambda: Decoder().feed(backwards),
        lambda: Publish("t", backwards).encode(),
        lambda: encode_publish("t", backwards),
    ):
        with pytest.raises(EncodeError) as caught:
            call()
        assert caught.value.field in ("data", "payload")


def test_a_memoryview_with_gaps_is_refused() -> None:
    gaps = memoryview(bytes(64))[::2]
    for call in calls(lambda: decode(gaps), lambda: Decoder().feed(gaps), lambda: encode_publish("t", gaps)):
        with pytest.raises(EncodeError):
            call()


@pytest.mark.parametrize("version", [4, 5])
def test_u_0000_is_refused_in_every_string(version: int) -> None:
    for vector, of in CASES:
        if of != version or len(vector.wire) > 400:
            continue
        for field in vector.lengths:
            length = int.from_bytes(vector.wire[field.offset : field.offset + 2], "big")
            start = field.offset + 2
            if field.is_varint or not length:
                continue
            wire = vector.wire[:start] + b"\0" + vector.wire[start + 1 :]
            try:
                decoded = decode(wire, version)
            except IotwireError:
                continue
            # Only binary data may hold it.
            assert decoded is not None
            assert b"\0" in _binary_fields(decoded[0]), (vector.id, field)


def _binary_fields(packet: Any) -> bytes:
    values = [getattr(packet, name, None) for name in ("password", "correlation_data", "authentication_data")]
    will = getattr(packet, "will", None)
    values += [will.payload, will.correlation_data] if will else []
    return b"".join(value for value in values if value)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    "head",
    [
        b"\x32\x06\x00\x01t",
        b"\x34\x06\x00\x01t",
        b"\x40\x02",
        b"\x50\x02",
        b"\x62\x02",
        b"\x70\x02",
        b"\x82\x07",
        b"\x90\x04",
        b"\xa2\x06",
        b"\xb0\x04",
    ],
    ids=[
        "PUBLISH QoS 1",
        "PUBLISH QoS 2",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
    ],
)
def test_packet_identifier_0_is_refused(head: bytes, version: int) -> None:
    body = head[2:] + b"\0\0" + b"\0\0\x01a\0"
    wire = head[:1] + head[1:2] + body[: head[1]]
    assert refused(wire, version).reason_code in (0x81, 0x82)


def test_repeated_properties_are_refused() -> None:
    for wire in (
        b"\x30\x0a\x00\x01t\x06\x23\x00\x01\x23\x00\x01",
        b"\x20\x09\x00\x00\x06\x21\x00\x64\x21\x00\x64",
        b"\xe0\x0a\x00\x08\x1f\x00\x01p\x1f\x00\x01q",
    ):
        assert refused(wire, 5, ProtocolViolationError).reason_code == 0x82


@pytest.mark.parametrize("first_byte", [0x10, 0x20, 0x30, 0x40, 0xC0, 0xD0, 0xE0, 0xF0])
def test_an_over_long_remaining_length_is_refused_and_not_waited_on(first_byte: int) -> None:
    for length in (b"\xff\xff\xff\xff\x7f", b"\xff\xff\xff\xff\xff", b"\x80\x80\x80\x80\x00", b"\xff\xff\xff\xff\x01"):
        assert refused(bytes([first_byte]) + length, 5, MalformedPacketError).reason_code == 0x81
    # The fourth byte already says that a fifth would follow.
    assert refused(bytes([first_byte]) + b"\xff\xff\xff\xff", 5, MalformedPacketError).reason_code == 0x81


@pytest.mark.parametrize("encoded", [b"\x80\x00", b"\x80\x80\x00", b"\x80\x80\x80\x00", b"\x82\x00", b"\xff\x80\x00"])
def test_a_variable_byte_integer_in_more_bytes_than_it_needs_is_refused(encoded: bytes) -> None:
    assert refused(b"\xd0" + encoded, 5, MalformedPacketError).reason_code == 0x81
    assert refused(put_frame(0x30, b"\x00\x01t" + encoded + bytes(200)), 5, MalformedPacketError).reason_code == 0x81
    assert (
        refused(put_frame(0x30, b"\x00\x01t" + put_varint(1 + len(encoded)) + b"\x0b" + encoded), 5).reason_code == 0x81
    )


def test_an_auth_of_zero_length_is_accepted() -> None:
    assert decode(b"\xf0\x00") == (Auth(), 2)
    assert Auth().encode() == b"\xf0\x00"


def test_a_disconnect_of_zero_length_is_accepted() -> None:
    assert decode(b"\xe0\x00") == (Disconnect(), 2)
    assert Disconnect().encode() == b"\xe0\x00"


@pytest.mark.parametrize(("cls", "failure"), [(PubAck, 0x97), (PubRec, 0x97), (PubRel, 0x92), (PubComp, 0x92)])
def test_acknowledgements_of_two_and_three_bytes_are_accepted(cls: type[PubAck], failure: int) -> None:
    head = cls(1).encode()[0]
    assert decode(bytes([head, 2, 0, 1])) == (cls(1), 4)
    assert decode(bytes([head, 3, 0, 1, 0])) == (cls(1), 5)
    assert decode(bytes([head, 3, 0, 1, failure])) == (cls(1, failure), 5)


def test_the_byte_order_mark_is_accepted_and_kept() -> None:
    wire = put_frame(0x30, put_string("\ufeffa\ufeff") + b"\0")
    decoded = decode(wire)
    assert decoded is not None
    [packet] = Decoder().feed(wire)
    assert isinstance(packet, Publish)
    assert packet.topic == "\ufeffa\ufeff"
    assert packet.encode() == wire


@pytest.mark.parametrize("client_id", ["ü", "Füße", "日本語", "𝄞𝄞", "a" * 100 + "ü" * 100])
@pytest.mark.parametrize("version", [4, 5])
def test_a_client_identifier_outside_ascii_has_the_right_remaining_length(client_id: str, version: int) -> None:
    wire = Connect(client_id).encode(version)
    assert decode(wire, version) == (Connect(client_id), len(wire))
    assert wire.endswith(put_string(client_id))


@pytest.mark.parametrize("beyond", [1, 2, 100, 127, 128, 16384, 268435455])
def test_a_property_length_beyond_the_packet_is_refused(beyond: int) -> None:
    announced = put_varint(4 + beyond) if beyond < 268435455 else put_varint(beyond)
    properties = b"\x26\x00\x00\x00"  # cut inside a user property, so that no byte of it could be a payload
    for head in (b"\x00\x00", b"\x00\x01t"):
        first_byte = 0x20 if head == b"\x00\x00" else 0x30
        # What stands after the packet belongs to the next one, and must not be read.
        wire = put_frame(first_byte, head + announced + properties) + b"\x00" * 300
        assert refused(wire, 5, MalformedPacketError).reason_code == 0x81


def test_a_nested_length_beyond_its_container_is_refused_even_where_the_packet_goes_on() -> None:
    # The user property fits into the packet, but not into its properties: "v" is the payload's.
    wire = put_frame(0x30, put_string("t") + b"\x06\x26" + put_string("k") + b"\x00\x01" + b"v" + b"rest")
    assert refused(wire, 5, MalformedPacketError).reason_code == 0x81


def test_a_will_that_is_longer_than_the_packet_is_refused() -> None:
    body = put_string("MQTT") + b"\x04\x06\x00\x3c" + put_string("c") + put_string("w") + b"\xff\xffx"
    assert refused(put_frame(0x10, body) + bytes(70000), 4, MalformedPacketError).reason_code == 0x81
