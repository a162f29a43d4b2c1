"""What the Decoder holds: with hostile peers it is bounded by what arrived, and it is given back."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from decoding import anything, calls, feed_whole, outcome, receive, story
from iotwire.errors import EncodeError, PacketTooLargeError, WireError
from iotwire.mqtt import (
    Connect,
    Decoder,
    Packet,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    Will,
    decode,
    encode_publish,
    topic_matches,
)
from support import IS_EMULATED
from vectors.mqtt import CASES, MALFORMED_CASES

if TYPE_CHECKING:
    from collections.abc import Callable


PING = b"\xd0\x00"
MIB = 1 << 20


class _allocations:  # noqa: N801  # reads as the `with` statement it is for
    """How much more than at the start was allocated, at the worst moment."""

    def __enter__(self) -> Callable[[], int]:
        gc.collect()
        tracemalloc.start()
        self.before = tracemalloc.get_traced_memory()[0]
        return lambda: self.peak

    def __exit__(self, *_: object) -> None:
        self.peak = tracemalloc.get_traced_memory()[1] - self.before
        tracemalloc.stop()


def test_what_a_too_large_packet_brings_is_not_stored() -> None:
    decoder = Decoder(max_packet_size=1000)
    flood = b"\x30\xff\xff\x7f" + bytes(2 * MIB)
    with _allocations() as peak:
        with pytest.raises(PacketTooLargeError):
            decoder.feed(flood)
        for _ in range(50):
            with pytest.raises(WireError):
                decoder.feed(flood)
    assert peak() < MIB // 4
    assert decoder.buffered == 0


@pytest.mark.parametrize("payload", ["bytes", "view"])
def test_memory_grows_with_what_arrived_and_not_with_what_a_header_promises(payload: str) -> None:
    with _allocations() as peak:
        decoder = Decoder(payload=anything(payload))
        assert decoder.feed(b"\x30\xff\xff\xff\x7f\x00\x01t\x00") == []
        for _ in range(100):
            assert decoder.feed(b"x" * 10) == []
    assert peak() < MIB // 8
    assert decoder.buffered == 1009


@pytest.mark.parametrize("payload", ["bytes", "view"])
def test_memory_received_into_grows_with_what_arrived(payload: str) -> None:
    with _allocations() as peak:
        decoder = Decoder(payload=anything(payload))
        list(receive(decoder, b"\x30\xff\xff\xff\x7f\x00\x01t\x00", 65536))
        for _ in range(100):
            list(receive(decoder, b"x" * 10, 65536))
    assert peak() < MIB


def test_many_decoders_that_wait_for_large_packets_stay_small() -> None:
    with _allocations() as peak:
        decoders = [Decoder(5) for _ in range(200)]
        for decoder in decoders:
            decoder.feed(b"\x30\xff\xff\xff\x7f\x00\x01t\x00" + b"x" * 100)
    assert peak() < 200 * 4096


@pytest.mark.parametrize("payload", ["bytes", "view"])
def test_memory_is_given_back_when_a_large_packet_is_through(payload: str) -> None:
    large = encode_publish("t", bytes(4 * MIB))
    decoder = Decoder(payload=anything(payload))
    with _allocations():
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            assert decoder.feed(large[:100]) == []
            assert len(decoder.feed(large[100:])) == 1
            assert len(list(receive(decoder, large, 65536))) == 1
        after = tracemalloc.get_traced_memory()[0]
    assert after - before < MIB // 2


@pytest.mark.parametrize("payload", ["bytes", "view"])
def test_an_endless_stream_of_small_packets_takes_no_memory(payload: str) -> None:
    # Every chunk ends inside a packet, so that the decoder never gets to start afresh.
    one = encode_publish("t", b"x" * 40)
    stream = one * 100
    decoder = Decoder(payload=anything(payload))
    decoder.feed(one[:7])
    chunk = (stream + one)[7 : len(stream) + 7]
    with _allocations() as peak:
        for _ in range(200):
            assert len(decoder.feed(chunk)) == 100
            assert decoder.buffered == 7
    assert peak() < MIB // 2


@pytest.mark.parametrize("payload", ["bytes", "view"])
def test_a_large_packet_may_arrive_byte_by_byte(payload: str) -> None:
    # Were the bytes held so far copied for each that arrives, this would copy two terabytes and not end.
    wire = encode_publish("t", bytes(range(256)) * 8192)
    decoder = Decoder(payload=anything(payload))
    feed = decoder.feed
    for at in range(len(wire) - 1):
        feed(wire[at : at + 1])
    assert decoder.buffered == len(wire) - 1
    [packet] = feed(wire[-1:])
    assert packet.encode() == wire


def test_a_large_packet_may_be_received_a_few_bytes_at_a_time() -> None:
    wire = encode_publish("t", bytes(range(256)) * 4096)
    decoder = Decoder(payload="view")
    for sizehint, step in ((-1, 9), (0, 5), (1, 1), (7, 7)):
        start = 0
        packets: list[Packet] = []
        part = wire if sizehint == -1 else encode_publish("t", bytes(20000))
        while start < len(part):
            buffer = decoder.get_buffer(sizehint)
            size = min(step, len(buffer), len(part) - start)
            buffer[:size] = part[start : start + size]
            packets += decoder.buffer_updated(size)
            start += size
        assert [packet.encode() for packet in packets] == [part]


# Leaks.


def use(wire: bytes, version: int) -> None:
    """Take bytes through what makes and drops objects, and fail half-way where they are wrong."""
    packets, _ = story(feed_whole(wire, version))
    for packet in packets:
        packet.encode(version)
        repr(packet)
        hash(packet)
        for name in dir(packet):
            if not name.startswith("_"):
                getattr(packet, name)
        with contextlib.suppress(EncodeError):
            packet.encode(9 - version)
    story(receive(Decoder(version, payload="view"), wire, step=7))
    outcome(wire, version)


@pytest.mark.parametrize("version", [4, 5])
def test_nothing_leaks_whether_packets_are_right_or_wrong(version: int) -> None:
    wires = [vector.wire for vector, of in CASES if of == version and len(vector.wire) < 300]
    wires += [vector.wire for vector, of in MALFORMED_CASES if of == version and len(vector.wire) < 300]
    wires += [wire[:-1] + bytes([wire[-1] ^ 0xFF]) for wire in wires]

    def use_all() -> None:
        for wire in wires:
            use(wire, version)

    # One object lost for one kind of packet would be ten objects a round here, of 50 bytes and more.
    rounds = 3 if IS_EMULATED else 10
    assert growth_of(use_all, rounds) < 200 * rounds


def collect_all() -> None:
    """Collect twice: of what other objects held, free-threaded CPython gives the last only the second time."""
    gc.collect()
    gc.collect()


def growth_of(work: Callable[[], None], rounds: int) -> int:
    """Bytes that the second half of twice `rounds` of work leaves behind."""
    tracemalloc.start()
    # What is made once and kept (caches of all kinds) is made, and counted, in the first rounds.
    for _ in range(rounds):
        work()
    collect_all()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(rounds):
        work()
    collect_all()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


def test_calls_that_fail_leave_no_object_behind() -> None:
    def mistakes() -> None:
        for make in calls(
            lambda: Publish("t", content_type="x", user_properties=[("a", "b"), ("c", 1)]),  # type: ignore[list-item]
            lambda: Publish("t", qos=1, packet_id=0, user_properties=[("a", "b")]),
            lambda: encode_publish("#", bytearray(100), user_properties=[("a", "b")]),
            lambda: encode_publish("t", bytearray(100), 1, False, 70000),
            lambda: Connect("c", will=Will("w", bytearray(10)), receive_maximum=0),
            lambda: Subscribe(1, [Subscription("a"), Subscription("a/#/b")]),
            lambda: SubAck(1, [0, 1, 2, 300]),
            lambda: decode(bytearray(b"\x30\x05\x00\x03a/#")),
            lambda: topic_matches("a/#", "\ud800"),
        ):
            with contextlib.suppress(EncodeError, WireError):
                make()

    rounds = 200 if IS_EMULATED else 1000
    assert growth_of(mistakes, rounds) < 20 * rounds
