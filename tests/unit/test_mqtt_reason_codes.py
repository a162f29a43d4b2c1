"""Every reason code x every packet (MQTT 5.0, Table 2-6), and the return codes of 3.1.1.

The table of this file is a second reading of the standard: nothing is imported from the codec's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from decoding import refused
from iotwire.errors import EncodeError
from iotwire.mqtt import (
    Auth,
    ConnAck,
    ConnectReturnCode,
    Decoder,
    Disconnect,
    PubAck,
    PubComp,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    UnsubAck,
)
from vectors.mqtt import put_frame, put_string

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotwire.mqtt import Packet


# Reason codes x packets (MQTT 5.0, Table 2-6).

_ALL_ACKNOWLEDGED = "CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT"
REASON_CODES: dict[int, str] = {
    0x00: "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH",
    0x01: "SUBACK",
    0x02: "SUBACK",
    0x04: "DISCONNECT",
    0x10: "PUBACK PUBREC",
    0x11: "UNSUBACK",
    0x18: "AUTH",
    0x19: "AUTH",
    0x80: _ALL_ACKNOWLEDGED,
    0x81: "CONNACK DISCONNECT",
    0x82: "CONNACK DISCONNECT",
    0x83: _ALL_ACKNOWLEDGED,
    0x84: "CONNACK",
    0x85: "CONNACK",
    0x86: "CONNACK",
    0x87: _ALL_ACKNOWLEDGED,
    0x88: "CONNACK",
    0x89: "CONNACK DISCONNECT",
    0x8A: "CONNACK",
    0x8B: "DISCONNECT",
    0x8C: "CONNACK DISCONNECT",
    0x8D: "DISCONNECT",
    0x8E: "DISCONNECT",
    0x8F: "SUBACK UNSUBACK DISCONNECT",
    0x90: "CONNACK PUBACK PUBREC DISCONNECT",
    0x91: "PUBACK PUBREC SUBACK UNSUBACK",
    0x92: "PUBREL PUBCOMP",
    0x93: "DISCONNECT",
    0x94: "DISCONNECT",
    0x95: "CONNACK DISCONNECT",
    0x96: "DISCONNECT",
    0x97: "CONNACK PUBACK PUBREC SUBACK DISCONNECT",
    0x98: "DISCONNECT",
    0x99: "CONNACK PUBACK PUBREC DISCONNECT",
    0x9A: "CONNACK DISCONNECT",
    0x9B: "CONNACK DISCONNECT",
    0x9C: "CONNACK DISCONNECT",
    0x9D: "CONNACK DISCONNECT",
    0x9E: "SUBACK DISCONNECT",
    0x9F: "CONNACK DISCONNECT",
    0xA0: "DISCONNECT",
    0xA1: "SUBACK DISCONNECT",
    0xA2: "SUBACK DISCONNECT",
}


class Answer(NamedTuple):
    """A packet with a reason code: its bytes before and after it, and the call that makes it."""

    first_byte: int
    before: bytes
    after: bytes
    make: Callable[[int], Any]


ANSWERS: dict[str, Answer] = {
    "CONNACK": Answer(0x20, b"\0", b"\0", ConnAck),
    "PUBACK": Answer(0x40, b"\0\x01", b"", lambda code: PubAck(1, code)),
    "PUBREC": Answer(0x50, b"\0\x01", b"", lambda code: PubRec(1, code)),
    "PUBREL": Answer(0x62, b"\0\x01", b"", lambda code: PubRel(1, code)),
    "PUBCOMP": Answer(0x70, b"\0\x01", b"", lambda code: PubComp(1, code)),
    "SUBACK": Answer(0x90, b"\0\x01\0", b"", lambda code: SubAck(1, (code,))),
    "UNSUBACK": Answer(0xB0, b"\0\x01\0", b"", lambda code: UnsubAck(1, (code,))),
    "DISCONNECT": Answer(0xE0, b"", b"", Disconnect),
    "AUTH": Answer(0xF0, b"", b"\x04\x15" + put_string("m"), lambda code: Auth(code, authentication_method="m")),
}

each_answer = pytest.mark.parametrize("packet_name", ANSWERS)


def reason_codes_of(packet: Any) -> tuple[int, ...]:
    return packet.reason_codes if hasattr(packet, "reason_codes") else (packet.reason_code,)


@each_answer
def test_a_packet_takes_the_reason_codes_of_its_column(packet_name: str) -> None:
    first_byte, before, after, make = ANSWERS[packet_name]
    for code in (code for code, packets in REASON_CODES.items() if packet_name in packets.split()):
        wire = put_frame(first_byte, before + bytes([code]) + after)
        [packet] = Decoder(5).feed(wire)
        assert packet == make(code)
        [read] = reason_codes_of(packet)
        assert (read, type(read)) == (code, ReasonCode)
        if code:
            assert make(code).encode() == wire
        assert Decoder(5).feed(make(code).encode()) == [packet]


@each_answer
def test_a_packet_refuses_all_other_reason_codes(packet_name: str) -> None:
    first_byte, before, after, make = ANSWERS[packet_name]
    for code in (code for code in range(256) if packet_name not in REASON_CODES.get(code, "").split()):
        refused(put_frame(first_byte, before + bytes([code]) + after), 5)
        with pytest.raises(EncodeError) as caught:
            make(code).encode()
        assert caught.value.field.startswith("reason_code"), hex(code)


@pytest.mark.parametrize("code", range(6))
def test_a_connack_of_mqtt_3_1_1_has_six_return_codes(code: int) -> None:
    wire = bytes([0x20, 2, 0, code])
    [packet] = Decoder(4).feed(wire)
    assert isinstance(packet, ConnAck)
    assert packet == ConnAck(code)
    assert packet.reason_code is ConnectReturnCode(code)
    assert ConnAck(code).encode(4) == wire


def test_a_connack_of_mqtt_3_1_1_has_no_other_return_codes() -> None:
    for code in range(6, 256):
        refused(bytes([0x20, 2, 0, code]), 4)
        with pytest.raises(EncodeError) as caught:
            ConnAck(code).encode(4)
        assert caught.value.field == "reason_code"


def test_a_suback_of_mqtt_3_1_1_has_four_return_codes_and_no_others() -> None:
    for code in range(256):
        wire = bytes([0x90, 3, 0, 1, code])
        if code in (0, 1, 2, 0x80):
            assert Decoder(4).feed(wire) == [SubAck(1, (code,))]
            assert SubAck(1, (code,)).encode(4) == wire
        else:
            refused(wire, 4)
            with pytest.raises(EncodeError) as caught:
                SubAck(1, (code,)).encode(4)
            assert caught.value.field == "reason_codes"


@pytest.mark.parametrize(
    "make",
    [
        lambda: PubAck(1, 0x80),
        lambda: PubRec(1, 0x97),
        lambda: PubRel(1, 0x92),
        lambda: PubComp(1, 0x92),
        lambda: Disconnect(4),
        lambda: UnsubAck(1, (0x11,)),
    ],
)
def test_a_reason_that_mqtt_3_1_1_cannot_say_is_not_dropped_in_silence(make: Callable[[], Packet]) -> None:
    with pytest.raises(EncodeError) as caught:
        make().encode(4)
    assert caught.value.field.startswith("reason_code")


def test_auth_cannot_be_encoded_as_mqtt_3_1_1() -> None:
    with pytest.raises(EncodeError):
        Auth().encode(4)
