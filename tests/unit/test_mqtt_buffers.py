"""Whose memory it is: payloads as views, and inputs that change when the call is over."""

from __future__ import annotations

import array
import contextlib
import gc
import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from decoding import anything, calls, receive
from iotwire.errors import IotwireError
from iotwire.mqtt import (
    ConnAck,
    Connect,
    Decoder,
    PreparedPublish,
    Publish,
    Subscribe,
    Subscription,
    Will,
    decode,
    encode_publish,
    encode_publish_header,
)
from vectors.mqtt import CASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotwire.mqtt import Packet

PING = b"\xd0\x00"


# Payloads as views.


def payload_of(packet: Packet) -> Any:
    assert isinstance(packet, Publish)
    return packet.payload


@pytest.mark.parametrize("chunk", [1, 3, 50, 1000, 10**6])
def test_views_stay_valid_and_unchanged_whatever_comes_after(chunk: int) -> None:
    decoder = Decoder(payload="view")
    payloads = [bytes([n]) * (n * 7 % 300) for n in range(200)]
    stream = b"".join(encode_publish("t", payload) for payload in payloads)
    views = []
    for at in range(0, len(stream), chunk):
        views += [payload_of(packet) for packet in decoder.feed(stream[at : at + chunk])]
    decoder.feed(stream)
    assert views == payloads
    del decoder
    gc.collect()
    filler = [bytes(300) for _ in range(1000)]
    assert views == payloads
    assert len(filler) == 1000


@pytest.mark.parametrize("step", [1, 3, 50, 1000, 65536])
def test_views_of_received_bytes_stay_valid_and_unchanged(step: int) -> None:
    decoder = Decoder(payload="view")
    payloads = [bytes([n]) * (n * 7 % 300) for n in range(200)]
    stream = b"".join(encode_publish("t", payload) for payload in payloads)
    views = [payload_of(packet) for packet in receive(decoder, stream, step)]
    list(receive(decoder, stream, step))
    buffer = decoder.get_buffer(65536)
    buffer[:] = b"\xff" * len(buffer)
    assert views == payloads
    del decoder, buffer
    gc.collect()
    assert views == payloads


def test_a_view_cannot_be_written_to() -> None:
    for wire in (encode_publish("t", b"abc"), bytearray(encode_publish("t", b"abc"))):
        [packet] = Decoder(payload="view").feed(wire)
        view = payload_of(packet)
        assert view == b"abc"
        assert view.readonly
        with pytest.raises(TypeError):
            view[0] = 0


def test_a_view_does_not_hold_the_callers_memory() -> None:
    data = bytearray(encode_publish("t", b"abc") + PING)
    packets = Decoder(payload="view").feed(data)
    data[:] = bytes(len(data))
    data.clear()  # a BufferError here would mean that an export is left
    assert payload_of(packets[0]) == b"abc"


def test_a_packet_whose_view_was_released_fails_like_any_other_mistake() -> None:
    [packet] = Decoder(payload="view").feed(encode_publish("t", b"abc"))
    payload_of(packet).release()
    for use in calls(packet.encode, packet.encoded_size, lambda: hash(packet), lambda: repr(packet)):
        with contextlib.suppress(IotwireError, ValueError):
            use()


def test_a_view_of_nothing_is_empty() -> None:
    [packet] = Decoder(payload="view").feed(encode_publish("t"))
    assert bytes(payload_of(packet)) == b""
    assert packet == Publish("t")


# Inputs that can change under the decoder.


def _as_bytearray(wire: bytes) -> bytearray:
    return bytearray(wire)


def _as_array(wire: bytes) -> array.array[int]:
    return array.array("B", wire)


def _as_writable_view(wire: bytes) -> memoryview:
    return memoryview(bytearray(wire))


def _as_mmap(wire: bytes) -> mmap.mmap:
    mapped = mmap.mmap(-1, len(wire))
    mapped[:] = wire
    return mapped


MUTABLE: list[Callable[[bytes], Any]] = [_as_bytearray, _as_array, _as_writable_view, _as_mmap]


@pytest.mark.parametrize("kind", MUTABLE, ids=["bytearray", "array", "memoryview", "mmap"])
@pytest.mark.parametrize("payload", ["bytes", "view"])
def test_a_mutable_input_is_done_with_when_the_call_returns(kind: Callable[[bytes], Any], payload: str) -> None:
    wire = (
        encode_publish("some/topic", b"payload", 1, False, 7, content_type="text", user_properties=(("k", "v"),))
        + Subscribe(9, (Subscription("a/#"),), user_properties=(("n", "m"),)).encode()
        + ConnAck(0, reason_string="reason", assigned_client_identifier="id").encode()
    )
    data = kind(wire + wire[:20])
    decoder = Decoder(payload=anything(payload))
    packets = decoder.feed(data)
    data[:] = kind(b"\xff" * len(data))
    assert packets == Decoder().feed(wire)
    assert b"".join(packet.encode() for packet in packets) == wire
    assert decoder.feed(wire[20:]) == packets
    one = kind(wire)
    decoded = decode(one)
    assert decoded is not None
    one[:] = kind(b"\xff" * len(one))
    assert decoded[0] == packets[0]


@pytest.mark.parametrize("kind", MUTABLE, ids=["bytearray", "array", "memoryview", "mmap"])
def test_any_buffer_decodes_alike(kind: Callable[[bytes], Any]) -> None:
    for vector, version in CASES:
        if len(vector.wire) < 400:
            data = kind(vector.wire)
            assert decode(data, version) == (vector.packet, len(vector.wire))
            assert Decoder(version).feed(data) == [vector.packet]


def test_an_array_of_wider_items_is_read_as_its_bytes() -> None:
    wire = encode_publish("t", b"abc")
    padded = wire + bytes(-len(wire) % 4)
    assert decode(array.array("I", padded)) == (Publish("t", b"abc"), len(wire))


def test_a_file_that_is_mapped_can_be_fed(tmp_path: Path) -> None:
    wire = encode_publish("t", b"abc") * 100
    path = tmp_path / "capture"
    path.write_bytes(wire)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert Decoder().feed(mapped) == [Publish("t", b"abc")] * 100


def test_an_empty_input_is_not_yet_a_packet() -> None:
    for data in (b"", bytearray(), memoryview(b""), array.array("B")):
        assert Decoder().feed(data) == []
        assert decode(data) is None


def test_buffered_counts_what_is_not_yet_a_packet() -> None:
    wire = encode_publish("t", bytes(300))
    decoder = Decoder()
    assert decoder.buffered == 0
    decoder.feed(wire + wire[:10])
    assert decoder.buffered == 10
    decoder.feed(wire[10:100])
    assert decoder.buffered == 100
    decoder.feed(wire[100:])
    assert decoder.buffered == 0
    list(receive(decoder, wire[:50], 7))
    assert decoder.buffered == 50


def test_a_call_that_fails_lets_go_of_its_buffer() -> None:
    data = bytearray(b"\x30\x05\x00\x03a/#" + bytes(100))
    for call in calls(
        lambda: decode(data),
        lambda: Decoder().feed(data),
        lambda: encode_publish("#", data),
        lambda: encode_publish("t", data, 1),
        lambda: encode_publish_header("#", data),
        lambda: PreparedPublish("t", 1).encode(data, 0),
        lambda: Publish("t", data, qos=1, packet_id=0),
        lambda: Publish("#", data),
        lambda: Will("#", data),
        lambda: Connect("c", password=data).encode(4),
    ):
        with pytest.raises(IotwireError):
            call()
        # Python refuses to resize a bytearray that somebody still looks at.
        data.append(0)
