"""pytest-benchmark suite of WebSocket frames: `make bench`. wss.py has what they add to a whole message.

A round frames 1000 times, or takes 1000 frames off. A frame is taken off where it lies, so it is put there anew each
time, and the floor of that is putting it there. Under framing lies one exact bytes object.
"""

from __future__ import annotations

from typing import Any

import pytest
from contenders import Contender
from floor import Floor, load_floor
from inputs import Message
from suite import cases, present, take_time, timed

from iotwire._websocket import FrameReader, encode_frame

MASK = b"\x9a\x31\xc4\x5e"
PAYLOADS = {
    "0B": b"",
    "297B": Message().wire,
    "4KiB": bytes(range(256)) * 16,
    "128KiB": bytes(range(256)) * 512,
}


def frame(payload: bytes, mask: bytes | None) -> bytes:
    """A binary frame, by hand (RFC 6455, 5.2)."""
    size, masked = len(payload), 0x80 if mask else 0
    if size < 126:
        head = bytes([0x82, masked | size])
    elif size < 1 << 16:
        head = bytes([0x82, masked | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x82, masked | 127]) + size.to_bytes(8, "big")
    if mask is None:
        return head + payload
    keys = int.from_bytes(mask * (size // 4 + 1), "big") >> 8 * (4 - size % 4)
    return head + mask + (int.from_bytes(payload, "big") ^ keys).to_bytes(size, "big")


def encoders(payload: bytes, mask: bytes | None) -> list[Contender]:
    names = {"encode_frame": encode_frame, "payload": payload, "mask": mask}
    ours = Contender("iotwire", "result = encode_frame(payload, mask)", names, lambda made: made)
    floor = load_floor()
    return [ours, *(present(floor.copy(frame(payload, mask))) if isinstance(floor, Floor) else [])]


def strippers(payload: bytes, mask: bytes | None) -> list[Contender]:
    wire = frame(payload, mask)
    buffer = bytearray(wire)
    names = {"strip": FrameReader(is_masked=mask is not None).strip, "buffer": buffer, "wire": wire, "size": len(wire)}
    statement = "buffer[:] = wire; result = strip(buffer, size)"
    ours = Contender("iotwire", statement, names, lambda size: bytes(buffer[:size]))
    names = {"buffer": bytearray(wire), "wire": wire, "payload": payload}
    floor = Contender("floor", "buffer[:] = wire; result = payload", names, lambda found: found)
    return [ours, floor]


@timed
@pytest.mark.parametrize(
    ("group", "expected", "contender"),
    cases(
        group
        for size, payload in PAYLOADS.items()
        for kind, mask in (("client", MASK), ("server", None))
        for group in (
            (f"frame-of-a-{kind}-{size}", frame(payload, mask), encoders(payload, mask)),
            (f"strip-frame-of-a-{kind}-{size}", payload, strippers(payload, mask)),
        )
    ),
)
def test_what_a_frame_costs(benchmark: Any, group: str, expected: object, contender: Contender) -> None:
    contender.check(expected)
    take_time(benchmark, group, contender, 1000 if len(contender.names.get("payload", b"")) < 1 << 16 else 100)
