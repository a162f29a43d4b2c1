"""What a vector is, and how its annotated bytes are read.

The notation: hexadecimal, spaces where they help the eye, and after `#` what the field is. Three marks stand for
themselves and for more:

    [0004]     a length of two bytes (TLS has such of one and three too)
    {8001}     a length (of the packet, or of its properties) as a variable byte integer
    61*65535   a byte that repeats

The marks let a test bend every length by one without knowing the packet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotwire.errors import WireError
    from iotwire.mqtt import Packet

Form = Literal["canonical", "own order", "long"]

_TOKEN = re.compile(
    r"\[(?P<length>(?:[0-9a-f]{2}){1,3})\]|\{(?P<varint>(?:[0-9a-f]{2})+)\}"
    r"|(?P<byte>[0-9a-f]{2})\*(?P<times>\d+)|(?P<hex>(?:[0-9a-f]{2})+)"
)


@dataclass(frozen=True, slots=True)
class LengthField:
    """Where a length stands in a packet: `size` bytes at `offset`."""

    offset: int
    size: int
    is_varint: bool

    def bent(self, wire: bytes, by: int) -> bytes | None:
        """`wire` with this length changed by `by`, or None where the field cannot hold that."""
        stop = self.offset + self.size
        if not self.is_varint:
            value = int.from_bytes(wire[self.offset : stop], "big") + by
            if not 0 <= value < 1 << 8 * self.size:
                return None
            return wire[: self.offset] + value.to_bytes(self.size, "big") + wire[stop:]
        value = read_varint(wire[self.offset : stop]) + by
        return wire[: self.offset] + put_varint(value) + wire[stop:] if value >= 0 else None

    def stretched(self, wire: bytes) -> bytes | None:
        """`wire` with this length in one byte more than it needs, or None where that is impossible."""
        stop = self.offset + self.size
        if not self.is_varint or self.size == 4:
            return None
        return wire[: stop - 1] + bytes([wire[stop - 1] | 0x80, 0x00]) + wire[stop:]


def put_varint(value: int) -> bytes:
    """A variable byte integer (MQTT 5.0, 1.5.5)."""
    encoded = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        encoded.append(low | 0x80 if value else low)
        if not value:
            return bytes(encoded)


def put_string(text: str) -> bytes:
    """A UTF-8 encoded string (1.5.4)."""
    return put_binary(text.encode())


def put_binary(data: bytes) -> bytes:
    """Binary data (1.5.6)."""
    return len(data).to_bytes(2, "big") + data


def put_frame(first_byte: int, body: bytes) -> bytes:
    """A whole packet: a fixed header (2.1) before the rest."""
    return bytes([first_byte]) + put_varint(len(body)) + body


def read_varint(encoded: bytes) -> int:
    """The value of a variable byte integer that takes up all of `encoded`."""
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded))


def read_annotated(annotated: str) -> tuple[bytes, tuple[LengthField, ...]]:
    """The bytes that annotated hexadecimal stands for, and where its lengths are."""
    wire = bytearray()
    lengths: list[LengthField] = []
    for line in annotated.splitlines():
        for word in line.partition("#")[0].split():
            token = _TOKEN.fullmatch(word)
            if token is None:
                raise ValueError(f"not in the notation of vectors: {word!r}")
            if mark := token["length"] or token["varint"]:
                lengths.append(LengthField(len(wire), len(mark) // 2, is_varint=token["varint"] is not None))
                wire += bytes.fromhex(mark)
            elif token["times"]:
                wire += bytes.fromhex(token["byte"]) * int(token["times"])
            else:
                wire += bytes.fromhex(token["hex"])
    return bytes(wire), tuple(lengths)


@dataclass(frozen=True)
class Vector:
    """A packet and its bytes.

    versions: those in which the packet has these bytes.
    form: "canonical" is what a constructed packet encodes to: no byte that may be left off, properties by ascending
        identifier. "own order" has its properties in another order, which a decoded packet keeps. "long" has bytes that
        may be left off.
    """

    id: str
    versions: tuple[int, ...]
    make: Callable[[], Packet]
    annotated: str
    form: Form = "canonical"

    @cached_property
    def packet(self) -> Packet:
        return self.make()

    @cached_property
    def wire(self) -> bytes:
        return read_annotated(self.annotated)[0]

    @cached_property
    def lengths(self) -> tuple[LengthField, ...]:
        return read_annotated(self.annotated)[1]


@dataclass(frozen=True)
class Malformed:
    """Bytes that a decoder must refuse.

    error: the class of the error, or one above it.
    reason_codes: what it may carry; empty where the standard leaves it open.
    clause: what the bytes break, for the reader: a decoder may name a neighbouring clause.
    """

    id: str
    versions: tuple[int, ...]
    annotated: str
    error: type[WireError]
    reason_codes: tuple[int, ...]
    clause: str

    @cached_property
    def wire(self) -> bytes:
        return read_annotated(self.annotated)[0]
