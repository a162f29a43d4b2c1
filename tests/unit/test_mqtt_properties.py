"""Every property x every packet (MQTT 5.0, Table 2-4): allowed, refused, repeated, out of range, cut short.

The table of this file is a second reading of the standard: nothing is imported from the codec's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from decoding import refused
from iotwire.errors import EncodeError, MalformedPacketError, ProtocolViolationError
from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from vectors.mqtt import put_binary, put_frame, put_string, put_varint

if TYPE_CHECKING:
    from collections.abc import Callable


# Properties x packets (MQTT 5.0, Table 2-4).


class Property(NamedTuple):
    name: str
    good: tuple[tuple[object, bytes], ...]  # values, and how they look on the wire without the identifier
    bad: tuple[tuple[object, bytes | None], ...]  # values out of range; None where the wire cannot carry them
    packets: str


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


BYTES_ON_THE_WIRE_OUT_OF_RANGE = ((2, b"\x02"), (255, b"\xff"), (-1, None), (256, None))
STRINGS = (("", put_string("")), ("text", put_string("text")), ("ü€𝄞", put_string("ü€𝄞")))
BAD_STRINGS: tuple[tuple[object, bytes | None], ...] = (
    ("a\0b", put_string("a\0b")),
    ("\ud800", b"\x00\x03\xed\xa0\x80"),
    ("x" * 65536, None),
    (b"text", None),
    (7, None),
)
DATA = ((b"", put_binary(b"")), (b"\x00\xff", put_binary(b"\x00\xff")))
BAD_DATA: tuple[tuple[object, bytes | None], ...] = ((b"x" * 65536, None), ("text", None), (7, None))
U16 = ((0, u16(0)), (1, u16(1)), (65535, u16(65535)))
U32 = ((0, u32(0)), (1, u32(1)), (4294967295, u32(4294967295)))
BAD_U16: tuple[tuple[object, bytes | None], ...] = (
    (-1, None),
    (65536, None),
    (1 << 80, None),
    ("1", None),
    (1.0, None),
)
BAD_U32: tuple[tuple[object, bytes | None], ...] = ((-1, None), (1 << 32, None), (1 << 80, None), ("1", None))
ANY_PACKET = (
    "CONNECT CONNACK PUBLISH Will PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT AUTH"
)
FLAG = ((False, b"\x00"), (True, b"\x01"), (0, b"\x00"), (1, b"\x01"))

PROPERTIES: dict[int, Property] = {
    0x01: Property(
        "payload_format_indicator",
        ((0, b"\0"), (1, b"\x01")),
        (*BYTES_ON_THE_WIRE_OUT_OF_RANGE, ("1", None)),
        "PUBLISH Will",
    ),
    0x02: Property("message_expiry_interval", U32, BAD_U32, "PUBLISH Will"),
    0x03: Property("content_type", STRINGS, BAD_STRINGS, "PUBLISH Will"),
    0x08: Property(
        "response_topic",
        (("a/b", put_string("a/b")), ("/", put_string("/"))),
        (*BAD_STRINGS, ("a/#", put_string("a/#")), ("+", put_string("+")), ("", put_string(""))),
        "PUBLISH Will",
    ),
    0x09: Property("correlation_data", DATA, BAD_DATA, "PUBLISH Will"),
    0x0B: Property(
        "subscription_identifier",
        ((1, b"\x01"), (128, b"\x80\x01"), (268435455, b"\xff\xff\xff\x7f")),
        ((0, b"\x00"), (-1, None), (268435456, b"\x80\x80\x80\x80\x01"), ("1", None)),
        "PUBLISH SUBSCRIBE",
    ),
    0x11: Property("session_expiry_interval", U32, BAD_U32, "CONNECT CONNACK DISCONNECT"),
    0x12: Property("assigned_client_identifier", STRINGS, BAD_STRINGS, "CONNACK"),
    0x13: Property("server_keep_alive", U16, BAD_U16, "CONNACK"),
    0x15: Property("authentication_method", STRINGS, BAD_STRINGS, "CONNECT CONNACK AUTH"),
    0x16: Property("authentication_data", DATA, BAD_DATA, "CONNECT CONNACK AUTH"),
    0x17: Property("request_problem_information", FLAG, (*BYTES_ON_THE_WIRE_OUT_OF_RANGE, ("", None)), "CONNECT"),
    0x18: Property("will_delay_interval", U32, BAD_U32, "Will"),
    0x19: Property("request_response_information", FLAG, (*BYTES_ON_THE_WIRE_OUT_OF_RANGE, ("", None)), "CONNECT"),
    0x1A: Property("response_information", STRINGS, BAD_STRINGS, "CONNACK"),
    0x1C: Property("server_reference", STRINGS, BAD_STRINGS, "CONNACK DISCONNECT"),
    0x1F: Property(
        "reason_string",
        STRINGS,
        BAD_STRINGS,
        "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH",
    ),
    0x21: Property("receive_maximum", U16[1:], (*BAD_U16, (0, u16(0))), "CONNECT CONNACK"),
    0x22: Property("topic_alias_maximum", U16, BAD_U16, "CONNECT CONNACK"),
    0x23: Property("topic_alias", U16[1:], (*BAD_U16, (0, u16(0))), "PUBLISH"),
    0x24: Property(
        "maximum_qos", ((0, b"\0"), (1, b"\x01")), (*BYTES_ON_THE_WIRE_OUT_OF_RANGE, ("1", None)), "CONNACK"
    ),
    0x25: Property("retain_available", FLAG, (*BYTES_ON_THE_WIRE_OUT_OF_RANGE, ("", None)), "CONNACK"),
    0x26: Property(
        "user_properties",
        (((("k", "v"),), put_string("k") + put_string("v")), ((("", ""),), put_string("") + put_string(""))),
        (
            ((("k\0", "v"),), put_string("k\0") + put_string("v")),
            ((("k", "\ud800"),), put_string("k") + b"\x00\x03\xed\xa0\x80"),
            ((("x" * 65536, "v"),), None),
            ((("k", "x" * 65536),), None),
            ((("k",),), None),
            ((("k", "v", "w"),), None),
            ((("k", 1),), None),
            (((b"k", "v"),), None),
            (("kv",), None),
            (7, None),
            ("kv", None),
        ),
        ANY_PACKET,
    ),
    0x27: Property("maximum_packet_size", U32[1:], (*BAD_U32, (0, u32(0))), "CONNECT CONNACK"),
    0x28: Property("wildcard_subscription_available", FLAG, (*BYTES_ON_THE_WIRE_OUT_OF_RANGE, ("", None)), "CONNACK"),
    0x29: Property("subscription_identifier_available", FLAG, (*BYTES_ON_THE_WIRE_OUT_OF_RANGE, ("", None)), "CONNACK"),
    0x2A: Property("shared_subscription_available", FLAG, (*BYTES_ON_THE_WIRE_OUT_OF_RANGE, ("", None)), "CONNACK"),
}


class Carrier(NamedTuple):
    """A packet with properties: its bytes around them, and the call that makes it."""

    wire: Callable[[bytes], bytes]
    make: Callable[..., Any]


def carry(first_byte: int, before: bytes, after: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda properties: put_frame(first_byte, before + put_varint(len(properties)) + properties + after)


def connect_with_will(**properties: Any) -> Connect:
    return Connect("c", will=Will("w", b"", **properties))


CONNECT_HEAD = put_string("MQTT") + b"\x05"
CARRIERS: dict[str, Carrier] = {
    "CONNECT": Carrier(
        carry(0x10, CONNECT_HEAD + b"\x02\x00\x3c", put_string("c")), lambda **properties: Connect("c", **properties)
    ),
    "Will": Carrier(
        carry(0x10, CONNECT_HEAD + b"\x06\x00\x3c\x00" + put_string("c"), put_string("w") + b"\0\0"), connect_with_will
    ),
    "CONNACK": Carrier(carry(0x20, b"\0\0"), lambda **properties: ConnAck(0, **properties)),
    "PUBLISH": Carrier(carry(0x30, put_string("t"), b"p"), lambda **properties: Publish("t", b"p", **properties)),
    "PUBACK": Carrier(carry(0x40, b"\0\x01\x10"), lambda **properties: PubAck(1, 0x10, **properties)),
    "PUBREC": Carrier(carry(0x50, b"\0\x01\x10"), lambda **properties: PubRec(1, 0x10, **properties)),
    "PUBREL": Carrier(carry(0x62, b"\0\x01\x92"), lambda **properties: PubRel(1, 0x92, **properties)),
    "PUBCOMP": Carrier(carry(0x70, b"\0\x01\x92"), lambda **properties: PubComp(1, 0x92, **properties)),
    "SUBSCRIBE": Carrier(
        carry(0x82, b"\0\x01", put_string("f") + b"\0"),
        lambda **properties: Subscribe(1, (Subscription("f"),), **properties),
    ),
    "SUBACK": Carrier(carry(0x90, b"\0\x01", b"\0"), lambda **properties: SubAck(1, (0,), **properties)),
    "UNSUBSCRIBE": Carrier(
        carry(0xA2, b"\0\x01", put_string("f")), lambda **properties: Unsubscribe(1, ("f",), **properties)
    ),
    "UNSUBACK": Carrier(carry(0xB0, b"\0\x01", b"\0"), lambda **properties: UnsubAck(1, (0,), **properties)),
    "DISCONNECT": Carrier(carry(0xE0, b"\x80"), lambda **properties: Disconnect(0x80, **properties)),
    "AUTH": Carrier(carry(0xF0, b"\x18"), lambda **properties: Auth(0x18, **properties)),
}

each_carrier = pytest.mark.parametrize("carrier", CARRIERS)
each_property = pytest.mark.parametrize(
    "identifier", [pytest.param(i, id=f"{i:#04x} {prop.name}") for i, prop in PROPERTIES.items()]
)
ALLOWED = [(i, carrier) for i, prop in PROPERTIES.items() for carrier in CARRIERS if carrier in prop.packets.split()]


def each_of(pairs: list[tuple[int, str]]) -> pytest.MarkDecorator:
    ids = [f"{identifier:#04x} {PROPERTIES[identifier].name} of {carrier}" for identifier, carrier in pairs]
    return pytest.mark.parametrize(("identifier", "carrier"), pairs, ids=ids)


each_allowed_pair = each_of(ALLOWED)
# The others are made with a reason code that 3.1.1 cannot say either.
each_pair_with_a_form_in_mqtt_3_1_1 = each_of(
    [pair for pair in ALLOWED if pair[1] in ("CONNECT", "Will", "CONNACK", "PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE")]
)


def companion(carrier: str, identifier: int) -> tuple[bytes, dict[str, object]]:
    """What has to stand beside a property: authentication data means nothing without a method (3.1.2.11.10)."""
    if identifier == 0x16 and carrier in PROPERTIES[0x15].packets.split():
        return b"\x15" + put_string("m"), {"authentication_method": "m"}
    return b"", {}


def keywords(carrier: str, identifier: int, value: object) -> dict[str, object]:
    name = PROPERTIES[identifier].name
    if carrier == "PUBLISH" and name == "subscription_identifier":
        return {"subscription_identifiers": (value,)}
    return {name: value, **companion(carrier, identifier)[1]}


def holder_of(packet: Any, carrier: str) -> Any:
    """What the properties are attributes of: the packet, or the will inside it."""
    return packet.will if carrier == "Will" else packet


@each_carrier
@each_property
def test_a_property_is_taken_by_the_packets_of_its_row_and_no_others(identifier: int, carrier: str) -> None:
    prop = PROPERTIES[identifier]
    wire, make = CARRIERS[carrier]
    beside = companion(carrier, identifier)[0]
    for value, encoded in prop.good:
        one = wire(beside + bytes([identifier]) + encoded)
        if carrier in prop.packets.split():
            made = make(**keywords(carrier, identifier, value))
            assert made.encode() == one
            [decoded] = Decoder(5).feed(one)
            assert decoded == made
            holder = holder_of(decoded, carrier)
            for name, expected in keywords(carrier, identifier, value).items():
                assert getattr(holder, name) == expected
                assert isinstance(getattr(holder, name), bool) is isinstance(prop.good[0][0], bool) or name != prop.name
        else:
            error = refused(one, 5, MalformedPacketError)
            assert error.reason_code == 0x81
            with pytest.raises(TypeError):
                make(**{prop.name: value})


@each_allowed_pair
def test_a_property_out_of_its_range_is_refused(identifier: int, carrier: str) -> None:
    prop = PROPERTIES[identifier]
    wire, make = CARRIERS[carrier]
    beside = companion(carrier, identifier)[0]
    for value, encoded in prop.bad:
        if encoded is not None:
            refused(wire(beside + bytes([identifier]) + encoded), 5)
        with pytest.raises(EncodeError) as caught:
            make(**keywords(carrier, identifier, value)).encode()
        name = "subscription_identifiers" if carrier == "PUBLISH" and identifier == 0x0B else prop.name
        assert caught.value.field.split(".")[-1].split("[")[0] == name, caught.value


@each_allowed_pair
def test_a_property_given_twice_is_refused_unless_it_may_repeat(identifier: int, carrier: str) -> None:
    prop = PROPERTIES[identifier]
    wire, _ = CARRIERS[carrier]
    beside = companion(carrier, identifier)[0]
    first, second = (bytes([identifier]) + prop.good[which][1] for which in (0, -1))
    for between in (b"", b"\x26" + put_string("k") + put_string("v")):
        twice = wire(beside + first + between + second)
        if identifier == 0x26 or (identifier, carrier) == (0x0B, "PUBLISH"):
            assert len(Decoder(5).feed(twice)) == 1
        else:
            assert refused(twice, 5, ProtocolViolationError).reason_code == 0x82
            assert refused(wire(beside + first + between + first), 5, ProtocolViolationError).reason_code == 0x82


@each_allowed_pair
def test_a_property_cut_short_is_refused(identifier: int, carrier: str) -> None:
    prop = PROPERTIES[identifier]
    wire, _ = CARRIERS[carrier]
    beside = companion(carrier, identifier)[0]
    for _, encoded in prop.good:
        for size in range(len(encoded)):
            if size and identifier == 0x26 and encoded[:size] == put_string("") + put_string(""):
                continue
            assert refused(wire(beside + bytes([identifier]) + encoded[:size]), 5).reason_code == 0x81


@each_carrier
def test_an_identifier_that_no_property_has_is_refused(carrier: str) -> None:
    wire, _ = CARRIERS[carrier]
    for identifier in range(128):
        if identifier not in PROPERTIES:
            assert refused(wire(bytes([identifier]) + b"\0\0\0\0"), 5, MalformedPacketError).reason_code == 0x81
    for identifier in (128, 0x81, 16383, 16384, 268435455):
        assert refused(wire(put_varint(identifier) + b"\0\0"), 5, MalformedPacketError).reason_code == 0x81


@each_carrier
def test_a_property_identifier_in_more_bytes_than_it_needs_is_refused(carrier: str) -> None:
    wire, _ = CARRIERS[carrier]
    assert refused(wire(b"\xa6\x00" + put_string("k") + put_string("v")), 5).reason_code == 0x81


@each_carrier
def test_properties_of_mqtt_5_cannot_be_encoded_as_mqtt_3_1_1(carrier: str) -> None:
    _, make = CARRIERS[carrier]
    with pytest.raises(EncodeError) as caught:
        make(user_properties=(("k", "v"),)).encode(4)
    assert caught.value.field


@each_pair_with_a_form_in_mqtt_3_1_1
def test_each_property_alone_keeps_a_packet_out_of_mqtt_3_1_1(identifier: int, carrier: str) -> None:
    prop = PROPERTIES[identifier]
    value = prop.good[-1][0]
    packet = CARRIERS[carrier].make(**keywords(carrier, identifier, value))
    with pytest.raises(EncodeError):
        packet.encode(4)
    with pytest.raises(EncodeError):
        packet.encoded_size(4)


@each_carrier
def test_properties_left_out_read_as_none_or_nothing(carrier: str) -> None:
    wire, make = CARRIERS[carrier]
    [decoded] = Decoder(5).feed(wire(b""))
    for packet in (decoded, make()):
        holder = holder_of(packet, carrier)
        for identifier, prop in PROPERTIES.items():
            many = (carrier, identifier) == ("PUBLISH", 0x0B)
            name = "subscription_identifiers" if many else prop.name
            if carrier in prop.packets.split():
                assert getattr(holder, name) == (() if many or identifier == 0x26 else None)
            else:
                assert not hasattr(holder, name)


def test_none_means_that_a_property_is_absent() -> None:
    for carrier, (wire, make) in CARRIERS.items():
        nothing = {
            prop.name: None
            for identifier, prop in PROPERTIES.items()
            if carrier in prop.packets.split()
            and prop.name != "user_properties"
            and (carrier, identifier) != ("PUBLISH", 0x0B)
        }
        assert make(**nothing) == make() == Decoder(5).feed(wire(b""))[0]
