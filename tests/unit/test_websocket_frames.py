"""WebSocket frames: RFC 6455's own examples, every split, every rule, and another implementation's opinion."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotwire import EncodeError
from iotwire._websocket import FrameReader, encode_frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = bytes.fromhex("37fa213d")


def frame(payload: bytes, opcode: int = BINARY, *, fin: bool = True, mask: bytes | None = None) -> bytes:
    """One frame, of a kind that `encode_frame` does not make too."""
    whole = encode_frame(payload, mask, opcode)
    return whole if fin else bytes([whole[0] & 0x7F]) + whole[1:]


def read(reader: FrameReader, data: bytes, step: int = 1 << 30) -> bytes:
    """What the frames carry, taken in pieces of so many bytes, each into a buffer with more in it."""
    found = b""
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        buffer = bytearray(piece + b"\xee" * 8)
        size = reader.strip(memoryview(buffer), len(piece))
        found += buffer[:size]
        assert buffer[len(piece) :] == b"\xee" * 8
    return found


@pytest.mark.parametrize(
    ("payload", "mask", "opcode", "expected"),
    [  # RFC 6455, 5.7
        (b"Hello", None, TEXT, "810548656c6c6f"),
        (b"Hello", MASK, TEXT, "818537fa213d7f9f4d5158"),
        (b"Hello", None, PING, "890548656c6c6f"),
        (b"Hello", MASK, PONG, "8a8537fa213d7f9f4d5158"),
        (bytes(256), None, BINARY, "827e0100" + "00" * 256),
        (bytes(65536), None, BINARY, "827f0000000000010000" + "00" * 65536),
        (b"", None, BINARY, "8200"),
        (b"", MASK, BINARY, "828037fa213d"),
        (b"\x03\xe8", None, CLOSE, "880203e8"),
    ],
)
def test_frames_are_as_the_standard_shows_them(payload: bytes, mask: Any, opcode: int, expected: str) -> None:
    assert encode_frame(payload, mask, opcode).hex() == expected


@pytest.mark.parametrize("size", [*range(20), 124, 125, 126, 127, 128, 65_535, 65_536, 65_543])
@pytest.mark.parametrize("mask", [None, MASK])
def test_what_is_encoded_is_read_back(size: int, mask: bytes | None) -> None:
    payload = random.Random(size).randbytes(size)
    whole = encode_frame(payload, mask)
    for step in (1, 2, 3, 7, 1 << 30) if size < 1000 else (1000, 1 << 30):
        reader = FrameReader(is_masked=mask is not None)
        assert read(reader, whole, step) == payload
        assert not reader.has_news
        assert not reader.is_over


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.sampled_from("bcpP")), max_size=8),
    st.integers(1, 40),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_any_frames_in_any_pieces_carry_the_same_bytes(
    frames: list[tuple[bytes, str]], step: int, is_masked: bool, chance: random.Random
) -> None:
    """b: a whole message, c: one in three frames with a Ping between them, p: a Ping, P: a Pong nobody asked for."""
    wire, carried, last_ping = b"", b"", None

    def add(payload: bytes, opcode: int, *, fin: bool = True) -> None:
        nonlocal wire
        wire += frame(payload, opcode, fin=fin, mask=chance.randbytes(4) if is_masked else None)

    for payload, kind in frames:
        if kind in "pP":
            add(payload[:125], PING if kind == "p" else PONG)
            last_ping = payload[:125] if kind == "p" else last_ping
            continue
        carried += payload
        if kind == "b":
            add(payload, BINARY)
        else:
            add(payload[:5], BINARY, fin=False)
            add(b"between", PING)
            last_ping = b"between"
            add(payload[5:100], CONTINUATION, fin=False)
            add(payload[100:], CONTINUATION)
    reader = FrameReader(is_masked=is_masked)
    assert read(reader, wire, step) == carried
    assert reader.has_news == (last_ping is not None)
    assert reader.take_ping() == last_ping
    assert not reader.has_news
    assert not reader.is_over


FAULTS = [
    (1003, frame(b"{}", TEXT)),
    (1002, frame(b"", CONTINUATION)),
    (1002, frame(b"a", fin=False) + frame(b"b")),
    *((1002, frame(b"", opcode)) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    *((1002, bytes([0x82 | bit, 0])) for bit in (0x10, 0x20, 0x40)),
    (1002, frame(b"a", mask=MASK)),
    (1002, frame(b"", PING, fin=False)),
    (1002, bytes.fromhex("897e007e") + bytes(126)),
    (1002, bytes.fromhex("897f")),
    (1002, bytes.fromhex("827e007d")),
    (1002, bytes.fromhex("827f000000000000ffff")),
    (1002, bytes.fromhex("827f8000000000000000")),
    (1009, bytes.fromhex("827f7fffffffffffffff")),
    (1009, bytes.fromhex("827f0000000010000005")),
    (1002, frame(b"\x03", CLOSE)),
    *((1002, frame(code.to_bytes(2, "big"), CLOSE)) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535)),
    (1007, frame(b"\x03\xe8\xff", CLOSE)),
    (1007, frame(b"\x03\xe8\xed\xa0\x80", CLOSE)),
]


@pytest.mark.parametrize(("code", "data"), FAULTS, ids=[data[:12].hex() for _, data in FAULTS])
@pytest.mark.parametrize("step", [1, 1 << 30])
def test_a_broken_rule_is_told_after_what_came_before_it_and_nothing_is_read_behind_it(
    code: int, data: bytes, step: int
) -> None:
    reader = FrameReader()
    assert read(reader, frame(b"before") + data + frame(b"behind"), step).startswith(b"before")
    assert reader.has_news
    assert reader.is_over
    assert reader.fault is not None
    assert reader.fault[0] == code
    assert reader.close_code is None
    assert read(reader, frame(b"more")) == b""


def test_a_client_that_does_not_mask_is_told_so() -> None:
    reader = FrameReader(is_masked=True)
    assert read(reader, frame(b"a")) == b""
    assert reader.fault == (1002, "a client's frame is not masked")


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(b"", 1005, ""), (b"\x03\xe8", 1000, ""), (b"\x03\xe9" + "für".encode(), 1001, "für"), (b"\x0f\xa0", 4000, "")],
)
def test_a_close_is_told_with_its_status_and_ends_all(payload: bytes, code: int, reason: str) -> None:
    for step in (1, 1 << 30):
        reader = FrameReader()
        assert read(reader, frame(b"a") + frame(payload, CLOSE) + frame(b"b"), step) == b"a"
        assert (reader.close_code, reader.close_reason, reader.fault) == (code, reason, None)
        assert reader.is_over


def test_a_close_may_come_in_the_midst_of_a_message() -> None:
    reader = FrameReader()
    assert read(reader, frame(b"a", fin=False) + frame(b"", CLOSE)) == b"a"
    assert reader.close_code == 1005


def test_of_many_pings_the_latest_is_kept() -> None:
    reader = FrameReader()
    assert read(reader, b"".join(frame(b"%d" % n, PING) for n in range(1000))) == b""
    assert reader.take_ping() == b"999"
    assert reader.take_ping() is None


@pytest.mark.parametrize("most", [1, 125, 126, 200, 65_536])
def test_what_one_frame_may_announce_is_bounded_whatever_form_its_length_has(most: int) -> None:
    reader = FrameReader(max_frame=most)
    assert read(reader, frame(bytes(most))) == bytes(most)
    assert read(reader, frame(bytes(most + 1))) == b""
    assert reader.fault == (1009, f"a frame announces {most + 1} bytes; at most {most} are taken")


def test_arguments_are_checked() -> None:
    for mask in (b"", b"abc", b"abcde", bytearray(4), 7):
        with pytest.raises(EncodeError, match="mask"):
            encode_frame(b"", mask)
    with pytest.raises(EncodeError, match="payload"):
        encode_frame(bytes(126), None, PING)
    for payload in ("text", None, memoryview(bytes(4))[::2]):
        with pytest.raises(EncodeError, match="payload"):
            encode_frame(payload)  # type: ignore[arg-type]
    with pytest.raises(EncodeError, match="opcode"):
        encode_frame(b"", None, 16)
    for size in (-1, 5):
        with pytest.raises(EncodeError, match="nbytes"):
            FrameReader().strip(bytearray(4), size)
    for buffer in (b"abcd", memoryview(b"abcd"), "abcd"):
        with pytest.raises((BufferError, TypeError)):
            FrameReader().strip(buffer, 4)  # type: ignore[arg-type]
    assert encode_frame(memoryview(bytearray(b"abc"))) == frame(b"abc")


@given(st.lists(st.binary(max_size=70_000), min_size=1, max_size=4), st.integers(1, 70_000))
def test_another_implementation_reads_and_writes_the_same_frames(payloads: list[bytes], step: int) -> None:
    frames = pytest.importorskip("websockets.frames")
    protocol = pytest.importorskip("websockets.protocol")
    server = protocol.Protocol(protocol.SERVER, max_size=None)
    ours = b"".join(encode_frame(payload, random.randbytes(4)) for payload in payloads)
    for at in range(0, len(ours), step):
        server.receive_data(ours[at : at + step])
    assert [event.data for event in server.events_received()] == payloads
    theirs = b"".join(frames.Frame(frames.Opcode.BINARY, payload).serialize(mask=False) for payload in payloads)
    assert read(FrameReader(), theirs, step) == b"".join(payloads)
