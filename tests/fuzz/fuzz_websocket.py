"""A fuzzer of WebSocket frames that needs nothing but Python: `python tests/fuzz/fuzz_websocket.py --seconds 60`.

It makes streams of frames, right ones and wrong ones, and holds the reader to what must be true of any bytes at all:

- nothing leaves it: a broken rule is told by `fault`;
- it tells what a plain model of the rules, below, tells, in whatever pieces the bytes come;
- it writes to no byte but those it was given, and reads nothing behind a Close or a fault;
- it keeps no more than a control frame carries.

How it is run is in `frame`.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fuzz import frame
from fuzz.frame import BrokenError, change_blindly
from iotwire._websocket import FrameReader, encode_frame

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SIZES = (0, 1, 2, 7, 8, 9, 30, 124, 125, 126, 127, 300)

# First bytes, lengths in all their forms, and what a Close carries.
MORSELS = (
    *(bytes([value]) for value in (0x00, 0x01, 0x02, 0x7D, 0x7E, 0x7F, 0x80, 0x82, 0x88, 0x89, 0x8A, 0xFD, 0xFE, 0xFF)),
    b"\x7e\x00\x7d",
    b"\x7e\xff\xff",
    b"\x7f\x00\x00\x00\x00\x00\x00\xff\xff",
    b"\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x88\x02\x03\xe8",
    b"\x88\x05\x03\xe8\xe2\x82\xac",
    b"\xed\xa0\x80",
)


class Told(NamedTuple):
    """What a stream comes to. fault: the status alone."""

    carried: bytes
    ping: bytes | None = None
    close_code: int | None = None
    close_reason: str = ""
    fault: int | None = None


@dataclass
class Tally:
    """What a run has seen."""

    inputs: int = 0
    pings: int = 0
    closes: int = 0
    faults: int = 0
    statuses: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{self.inputs} inputs, {self.pings} with a Ping, {self.closes} closed, {self.faults} with a fault"


@dataclass
class Input:
    """What a peer sends, and what is expected of it."""

    wire: bytes
    is_masked: bool
    max_frame: int

    @classmethod
    def make(cls, chance: random.Random) -> Input:
        is_masked = chance.random() < 0.5
        wire, in_message = b"", False
        for _ in range(chance.choice((1, 2, 4, 8))):
            opcode = chance.choice((BINARY, BINARY, BINARY, BINARY, PING, PONG, CLOSE))
            is_last = opcode != BINARY or chance.random() < 0.5
            if opcode == BINARY:
                opcode, in_message = CONTINUATION if in_message else BINARY, not is_last
            payload = chance.randbytes(chance.choice(SIZES[: 9 if opcode >= CLOSE else len(SIZES)]))
            if chance.random() < 0.01:
                payload = bytes(chance.choice((65_535, 65_536)) if opcode < CLOSE else 125)
            if opcode == CLOSE and chance.random() < 0.8:
                code = chance.choice((999, 1000, 1003, 1004, 1006, 1007, 1014, 1015, 2999, 3000, 4999, 5000))
                payload = code.to_bytes(2, "big") + chance.choice((b"", b"bye", "für".encode(), b"\xff"))
            one = encode_frame(payload, chance.randbytes(4) if is_masked else None, opcode)
            wire += bytes([one[0] & 0x7F]) + one[1:] if not is_last else one
        kind = chance.random()
        if kind < 0.5:
            wire = change_blindly(wire, chance, MORSELS)
        elif kind < 0.7:
            wire = wire[: chance.randrange(len(wire) + 1)]
        return cls(wire, is_masked, chance.choice((1 << 28, 1 << 28, 1 << 28, 200, 100)))


def model_of(given: Input) -> Told:
    """The rules, as plainly as Python can say them."""
    wire, carried, in_message = given.wire, b"", False
    ping: bytes | None = None
    while wire:
        opcode, is_last = wire[0] & 15, wire[0] >> 7
        if opcode == TEXT and not wire[0] & 0x70:
            return Told(carried, ping, fault=1003)
        if wire[0] & 0x70 or opcode not in (CONTINUATION, BINARY, CLOSE, PING, PONG):
            return Told(carried, ping, fault=1002)
        if not is_last if opcode >= CLOSE else in_message != (opcode == CONTINUATION):
            return Told(carried, ping, fault=1002)
        if len(wire) < 2:
            break
        size = wire[1] & 0x7F
        if wire[1] >> 7 != given.is_masked or (opcode >= CLOSE and size > 125):
            return Told(carried, ping, fault=1002)
        extra = {126: 2, 127: 8}.get(size, 0)
        head = 2 + extra + 4 * given.is_masked
        if len(wire) < head:
            break
        if extra:
            size = int.from_bytes(wire[2 : 2 + extra], "big")
            if not (126 if extra == 2 else 65_536) <= size < 1 << 63:
                return Told(carried, ping, fault=1002)
        if size > given.max_frame:
            return Told(carried, ping, fault=1009)
        mask = wire[head - 4 : head] if given.is_masked else bytes(4)
        payload = bytes(byte ^ key for byte, key in zip(wire[head : head + size], cycle(mask), strict=False))
        wire = wire[head + size :]
        if opcode < CLOSE:
            carried, in_message = carried + payload, not is_last
        elif len(payload) < size:
            break
        elif opcode == PING:
            ping = payload
        elif opcode == CLOSE:
            return close_of(carried, ping, payload)
    return Told(carried, ping)


def close_of(carried: bytes, ping: bytes | None, payload: bytes) -> Told:
    if not payload:
        return Told(carried, ping, 1005)
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in (*range(1000, 1004), *range(1007, 1015)) or 3000 <= code < 5000):
        return Told(carried, ping, fault=1002)
    try:
        return Told(carried, ping, code, payload[2:].decode())
    except UnicodeDecodeError:
        return Told(carried, ping, fault=1007)


# What must be true.


def read(given: Input, sizes: Iterable[int]) -> Told:
    """What a reader tells that is given pieces of these sizes, each in a buffer with more in it."""
    reader = FrameReader(is_masked=given.is_masked, max_frame=given.max_frame)
    carried, at = b"", 0
    for size in sizes:
        piece = given.wire[at : at + size]
        buffer = bytearray(piece + b"\xee" * 4)
        was_over = reader.is_over
        kept = reader.strip(buffer, len(piece))
        if not 0 <= kept <= len(piece) * (not was_over) or buffer[len(piece) :] != b"\xee" * 4:
            raise BrokenError(f"{kept} bytes of {len(piece)}, which became {buffer.hex()}")
        carried += buffer[:kept]
        at += size
        if at >= len(given.wire):
            break
    if reader.is_over != (reader.close_code is not None or reader.fault is not None):
        raise BrokenError(f"over: {reader.is_over}, with {reader.close_code} and {reader.fault}")
    had_news = reader.has_news
    ping = reader.take_ping()
    if had_news != (ping is not None or reader.is_over) or reader.has_news != reader.is_over:
        raise BrokenError(f"news: {had_news}, with {ping!r} and {reader.is_over}")
    fault = reader.fault[0] if reader.fault else None
    return Told(carried, ping, reader.close_code, reader.close_reason, fault)


def check(given: Input, chance: random.Random, tally: Tally) -> None:
    tally.inputs += 1
    told = model_of(given)
    steps = chance.choice(((1,), (1, 2, 3), (1, 5, 40, 300), (125,)))
    for sizes in ((len(given.wire),), iter(lambda: chance.choice(steps), None)):
        found = read(given, sizes)
        if found != told:
            raise BrokenError(f"{found}, and not {told}")
    if len(told.ping or b"") > 125 or len(told.close_reason) > 123:
        raise BrokenError(f"more is kept than a control frame carries: {told}")
    tally.pings += told.ping is not None
    tally.closes += told.close_code is not None
    if told.fault is not None:
        tally.faults += 1
        tally.statuses.add(told.fault)


def run(seed: int, numbers: Iterable[int]) -> Tally:
    """Try the inputs of these numbers. A failure is printed and raised."""
    tally = Tally()
    frame.run_inputs(seed, numbers, Input.make, lambda given, chance: check(given, chance, tally), repr)
    return tally


if __name__ == "__main__":
    sys.exit(frame.main("Fuzz WebSocket frames.", lambda _: [], lambda _, seed, numbers: run(seed, numbers)))
