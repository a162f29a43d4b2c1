"""What is measured: the packets, as plain values, and their bytes.

The bytes are put together here by hand, by none of the codecs under test, so that every codec is held to the same
image before a clock starts. Nothing in this module is ever timed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

STREAM_LENGTH = 200
TOPIC = "sites/berlin/rooms/e4/temperature"
NON_ASCII_TOPIC = "werk/münchen/öfen/e4/temperatur-℃"
CONTENT_TYPE = "application/json"
USER_PROPERTIES = (("site", "berlin"), ("unit", "celsius"))


@dataclass(frozen=True)
class Message:
    """One PUBLISH, in no library's terms."""

    topic: str = TOPIC
    payload: bytes = bytes(range(256))
    qos: int = 1
    packet_id: int | None = 1234
    version: int = 5
    content_type: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()

    @property
    def has_properties(self) -> bool:
        return self.content_type is not None or bool(self.user_properties)

    @property
    def body(self) -> bytes:
        """The packet after its fixed header."""
        topic = _prefixed(self.topic)
        packet_id = b"" if self.packet_id is None else self.packet_id.to_bytes(2, "big")
        return topic + packet_id + (self._property_block if self.version == 5 else b"") + self.payload

    @property
    def wire(self) -> bytes:
        """The whole packet, properties in ascending order of their identifiers."""
        return bytes([0x30 | self.qos << 1]) + _variable_byte_integer(len(self.body)) + self.body

    @property
    def fields(self) -> tuple[object, ...]:
        """What every decoder must have found."""
        return (self.topic, self.payload, self.qos, self.packet_id, self.content_type, self.user_properties)

    @property
    def properties(self) -> bytes:
        """The MQTT 5 properties without the length before them."""
        content_type = b"" if self.content_type is None else b"\x03" + _prefixed(self.content_type)
        pairs = b"".join(b"\x26" + _prefixed(name) + _prefixed(value) for name, value in self.user_properties)
        return content_type + pairs

    @property
    def property_identifiers(self) -> list[int]:
        return [0x03] * (self.content_type is not None) + [0x26] * bool(self.user_properties)

    @property
    def _property_block(self) -> bytes:
        return _variable_byte_integer(len(self.properties)) + self.properties


def stream_of(message: Message, *, distinct_topics: bool = False, distinct_properties: bool = False) -> list[Message]:
    """STREAM_LENGTH packets like `message`: ids and payloads always differ, the rest on request (of equal length)."""
    return [
        replace(
            message,
            topic=f"{message.topic[:-4]}{number:04d}" if distinct_topics else message.topic,
            payload=(message.payload + message.payload)[number % 256 :][: len(message.payload)],
            packet_id=None if message.qos == 0 else number,
            user_properties=tuple(
                (name, f"{value[:-4]}{number:04d}" if distinct_properties else value)
                for name, value in message.user_properties
            ),
        )
        for number in range(1, STREAM_LENGTH + 1)
    ]


def wire_of(messages: list[Message]) -> bytes:
    return b"".join(message.wire for message in messages)


def puback(packet_id: int) -> bytes:
    """A PUBACK of success: the four-byte form, the same in both versions of the protocol."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def _prefixed(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def _variable_byte_integer(value: int) -> bytes:
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
