"""Every way that bytes can reach the decoder, and what may come of bytes that are not known to be good.

Import it as `from decoding import outcome`: pytest puts tests/ on the path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iotwire.errors import IotwireError, MalformedPacketError, ProtocolViolationError, WireError
from iotwire.mqtt import Decoder, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from iotwire.mqtt import Packet


def feed_whole(wire: bytes, version: int | None) -> Iterator[Packet]:
    yield from Decoder(version).feed(wire)


def feed_bytewise(wire: bytes, version: int | None) -> Iterator[Packet]:
    decoder = Decoder(version)
    for at in range(len(wire)):
        yield from decoder.feed(wire[at : at + 1])


def feed_split(wire: bytes, version: int | None, at: int) -> Iterator[Packet]:
    decoder = Decoder(version)
    yield from decoder.feed(wire[:at])
    yield from decoder.feed(wire[at:])


def receive(decoder: Decoder, wire: bytes, step: int) -> Iterator[Packet]:
    """Hand `wire` over as an asyncio.BufferedProtocol would, at most `step` bytes at a time."""
    at = 0
    while at < len(wire):
        buffer = decoder.get_buffer(step)
        size = min(step, len(buffer), len(wire) - at)
        buffer[:size] = wire[at : at + size]
        buffer.release()
        at += size
        yield from decoder.buffer_updated(size)


WAYS: dict[str, Callable[[bytes, int | None], Iterator[Packet]]] = {
    "in one piece": feed_whole,
    "byte by byte": feed_bytewise,
    "through get_buffer": lambda wire, version: receive(Decoder(version), wire, step=65536),
    "through get_buffer, three bytes at a time": lambda wire, version: receive(Decoder(version), wire, step=3),
}


def facts_of(error: WireError) -> tuple[object, ...]:
    """What a caller can act on."""
    return type(error), error.reason_code, error.offset, error.clause, str(error)


def story(packets: Iterator[Packet]) -> tuple[list[Packet], tuple[object, ...] | None]:
    """All packets of a stream, and what ended it early, however they were spread over calls."""
    told: list[Packet] = []
    try:
        told.extend(packets)
    except WireError as error:
        return told + error.packets, facts_of(error)
    return told, None


def outcome(wire: bytes, version: int) -> Packet | IotwireError | None:
    """What `decode` makes of any bytes at all: a packet, an error of ours, or None for "not yet".

    Any other exception is let through: it is the failure that tests look for.
    """
    try:
        decoded = decode(wire, version)
    except IotwireError as error:
        return error
    if decoded is None:
        return None
    packet, size = decoded
    assert 2 <= size <= len(wire)
    return packet


def refused(wire: bytes, version: int | None, error: type[WireError] = WireError) -> WireError:
    """The error with which both `decode` and a `Decoder` refuse `wire`; it says all that an error should."""
    with pytest.raises(error) as caught:
        decode(wire, version)
    with pytest.raises(error) as by_decoder:
        Decoder(version).feed(wire)
    assert str(by_decoder.value) == str(caught.value)
    found = caught.value
    assert type(found) in (MalformedPacketError, ProtocolViolationError)
    assert 0x80 <= found.reason_code <= 0xFF
    assert 0 <= found.offset <= len(wire)
    assert isinstance(found.clause, str)
    assert found.clause
    return found


def anything(value: object) -> Any:
    """A value of the wrong type, past the type checker."""
    return value


def calls(*functions: Callable[[], object]) -> tuple[Callable[[], object], ...]:
    """Calls to try one after another: a tuple of lambdas, with the type that a bare one would not have."""
    return functions


def positions(size: int, limit: int = 400) -> Iterable[int]:
    """All of range(size), or where that is too many, both ends and a spread between them."""
    if size <= limit:
        return range(size)
    step = size // (limit // 2)
    return sorted({*range(limit // 4), *range(0, size, step), *range(size - limit // 4, size)})


# What a byte is changed to where all 256 values would take too long: some bits, and the edges of every range that the
# format knows.
FLIPS = (0x01, 0x02, 0x08, 0x40, 0x80)
EDGES = (0x00, 0x7F, 0x80, 0xFF)


def changed_bytes(wire: bytes, exhaustive_up_to: int = 24) -> Iterator[bytes]:
    """`wire` with one byte changed: every byte to every value where it is short, a spread where it is not."""
    for at in positions(len(wire)):
        old = wire[at]
        values = range(256) if len(wire) <= exhaustive_up_to else {old ^ flip for flip in FLIPS} | set(EDGES)
        for value in values:
            if value != old:
                yield wire[:at] + bytes([value]) + wire[at + 1 :]
