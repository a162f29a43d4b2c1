"""Callers who do two things at once that they should not: from several threads, and from inside the codec's own calls.

What threads may share is in test_mqtt_races.py.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from decoding import anything, calls
from iotwire.errors import EncodeError, IotwireError, WireError
from iotwire.mqtt import (
    Connect,
    Decoder,
    PubAck,
    Publish,
    Subscribe,
    decode,
    encode_publish,
)
from racing import run_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


PING = b"\xd0\x00"
ROUNDS = 300

pytestmark = pytest.mark.usefixtures("frequent_thread_switches")


@pytest.mark.parametrize("payload", ["bytes", "view"])
def test_two_threads_that_feed_one_decoder_do_not_crash_it(payload: str) -> None:
    wire = encode_publish("t", b"x" * 1000, 1, False, 7, content_type="t") + PING
    decoder = Decoder(payload=anything(payload))
    counts: list[int] = []

    def feed() -> None:
        for _ in range(ROUNDS):
            with contextlib.suppress(IotwireError):
                # Whole packets, so that in whatever order they arrive the stream makes sense.
                counts.append(len(decoder.feed(bytearray(wire))))

    run_together(feed, feed)
    assert sum(counts) <= 4 * ROUNDS


def test_two_threads_that_feed_pieces_to_one_decoder_do_not_crash_it() -> None:
    wire = encode_publish("t", b"x" * 100, content_type="t") * 3

    def feed_pieces(decoder: Decoder) -> Callable[[], None]:
        def feed() -> None:
            for at in itertools.islice(itertools.cycle(range(0, len(wire), 7)), ROUNDS):
                try:
                    decoder.feed(wire[at : at + 7])
                except IotwireError:
                    return

        return feed

    for _ in range(10):
        decoder = Decoder(payload="view")
        run_together(feed_pieces(decoder), feed_pieces(decoder))


def test_two_threads_that_receive_into_one_decoder_do_not_crash_it() -> None:
    wire = encode_publish("t", b"x" * 3000)

    def receive_into(decoder: Decoder) -> Callable[[], None]:
        def run() -> None:
            for _ in range(ROUNDS):
                try:
                    buffer = decoder.get_buffer(1000)
                    size = min(len(buffer), len(wire))
                    buffer[:size] = wire[:size]
                    decoder.buffer_updated(size)
                except IotwireError:
                    return

        return run

    for _ in range(10):
        decoder = Decoder()
        run_together(receive_into(decoder), receive_into(decoder))


def test_a_bytearray_that_another_thread_changes_during_feed_does_not_crash() -> None:
    wire = bytearray(encode_publish("topic", b"x" * 5000, content_type="type", user_properties=(("k", "v"),)) * 3)
    good = bytes(wire)
    done = threading.Event()

    def change() -> None:
        for at in itertools.cycle(range(64)):
            if done.is_set():
                return
            wire[at] ^= 0xFF

    def feed() -> None:
        try:
            for _ in range(ROUNDS):
                with contextlib.suppress(IotwireError):
                    Decoder().feed(wire)
                with contextlib.suppress(IotwireError):
                    decode(wire)
        finally:
            done.set()

    run_together(change, feed)
    wire[:] = good
    assert len(Decoder().feed(wire)) == 3


def test_a_bytearray_that_another_thread_resizes_does_not_crash() -> None:
    buffer = bytearray(encode_publish("topic", b"x" * 5000))
    done = threading.Event()

    def resize() -> None:
        while not done.is_set():
            try:
                buffer.extend(bytes(5000))
                del buffer[10:]
                buffer[:] = encode_publish("topic", b"x" * 5000)
            except BufferError:  # it was being read: that is how Python protects it
                pass

    readers = calls(
        lambda: Decoder().feed(buffer),
        lambda: decode(buffer),
        lambda: encode_publish("t", buffer),
        lambda: Publish("t", buffer).encode(),
    )

    def use() -> None:
        try:
            for _ in range(ROUNDS):
                for call in readers:
                    with contextlib.suppress(IotwireError):
                        call()
        finally:
            done.set()

    run_together(resize, use)


def test_packets_may_be_read_by_many_threads() -> None:
    [packet] = Decoder().feed(encode_publish("t", b"x", content_type="type", user_properties=(("k", "v"),) * 50))
    assert isinstance(packet, Publish)

    def read() -> None:
        for _ in range(ROUNDS):
            assert packet.user_properties == (("k", "v"),) * 50
            assert packet.content_type == "type"
            assert packet == packet
            assert hash(packet)

    run_together(read, read, read)


# Python code that runs in the middle of a call.


@pytest.mark.parametrize("payload", ["bytes", "view"])
def test_a_decoder_called_again_from_inside_its_own_call_is_not_confused(payload: str) -> None:
    wire = b"".join(
        encode_publish("t", bytes([n]) * 100, content_type="t", user_properties=(("k", "v"),)) for n in range(200)
    )
    decoder = Decoder(payload=anything(payload))
    inner: list[str] = []
    meddle = calls(lambda: decoder.feed(PING), lambda: decoder.get_buffer(10), lambda: decoder.buffer_updated(0))

    def collected(phase: str, info: dict[str, int]) -> None:
        for call in meddle:
            try:
                call()
            except IotwireError as error:
                inner.append(str(error))

    threshold = gc.get_threshold()
    gc.callbacks.append(collected)
    gc.set_threshold(1)
    try:
        # Building packets collects garbage, and collecting it calls back.
        first = decoder.feed(wire[:-50])
        second = decoder.feed(bytearray(wire[-50:]))
    except WireError:
        # A PINGRESP that got between the pieces of a packet makes nonsense of the stream: refused, not a crash.
        return
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collected)
    publishes = [packet for packet in first + second if isinstance(packet, Publish)]
    assert [bytes(packet.payload) for packet in publishes] == [bytes([n]) * 100 for n in range(200)]


class Meddler:
    """Reads as a (name, value) pair, and meddles while it is read."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        self.meddle = meddle

    def __len__(self) -> int:
        self.meddle()
        return 2

    def __iter__(self) -> Iterator[str]:
        self.meddle()
        yield "k"
        self.meddle()
        yield "v"


def test_a_payload_that_is_resized_while_other_arguments_are_read_does_not_crash() -> None:
    payload = bytearray(b"x" * 10000)

    def shrink() -> None:
        with contextlib.suppress(BufferError):
            payload.clear()

    class Pairs(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            shrink()
            yield ("k", "v")
            shrink()

    class Identifier(int):
        def __index__(self) -> int:
            shrink()
            return 7

    for arguments in (
        {"user_properties": Pairs()},
        {"user_properties": anything([Meddler(shrink)])},
        {"packet_id": Identifier(7), "qos": Identifier(1)},
        {"subscription_identifiers": anything(Identifier(n) for n in range(1, 3))},
    ):
        payload[:] = b"x" * 10000
        for make in (encode_publish, lambda *a, **k: Publish(*a, **k).encode()):
            try:
                wire = make("t", payload, **anything(arguments))
            except IotwireError:
                continue
            assert isinstance(wire, bytes)


def test_a_list_of_properties_that_changes_while_it_is_read_does_not_crash() -> None:
    pairs: list[Any] = []

    class Name(str):
        __slots__ = ()

        def __str__(self) -> str:
            pairs.clear()
            return "k"

    for _ in range(20):
        pairs[:] = [[Name("k"), Name("v")] for _ in range(50)]
        with contextlib.suppress(IotwireError):
            Publish("t", user_properties=pairs).encode()

    class Odd(list[Any]):
        def __len__(self) -> int:
            return 2

    # A pair that lies about its length is refused, or read as its first two items: never past its end.
    for items in (["a", "b", "c"], ["a"], []):
        with contextlib.suppress(EncodeError):
            Publish("t", user_properties=anything([Odd(items)])).encode()


def test_objects_that_were_never_initialised_do_not_crash() -> None:
    for cls in (Publish, PubAck, Connect, Subscribe):
        packet, other = cls.__new__(cls), cls.__new__(cls)
        for use in (repr, hash, other.__eq__, cls.encode, cls.encoded_size, public_values):
            with contextlib.suppress(IotwireError, TypeError, AttributeError, ValueError):
                use(packet)


def public_values(packet: object) -> list[object]:
    return [getattr(packet, name) for name in dir(packet) if not name.startswith("_")]


def test_decoders_are_not_pickled_by_accident() -> None:
    import pickle

    with pytest.raises(TypeError):
        pickle.dumps(Decoder())
