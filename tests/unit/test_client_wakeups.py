"""Fewer wake-ups under load: bytes that gather before they are read, and messages that are held before they leave."""

from __future__ import annotations

import asyncio
import socket
import sys
from itertools import pairwise
from typing import Any

import pytest

from iotwire import EncodeError, PublishError
from iotwire.client.link import BUSY_MESSAGES, HELD_PART
from iotwire.mqtt import ConnAck, Connect, PubAck, Publish, Session
from iotwire.transport.wakeups import FIRST_BYTES, MOST_BYTES, PATIENCE_S, WINDOW_S, WakeupLimiter
from scripted import Peer, asynchronous, one_connection, scripted


class FakeSocket:
    """Remembers its low-water mark."""

    def __init__(self) -> None:
        self.marks = [1]
        self.is_closed = False

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        if self.is_closed:
            raise OSError
        self.marks.append(value)


class FakeLoop:
    """A clock that a test sets, and timers that it runs."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Any] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any) -> Any:
        self.timers.append((when, callback))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def run_timers(self) -> None:
        due, self.timers = (
            [each for each in self.timers if each[0] <= self.now],
            [each for each in self.timers if each[0] > self.now],
        )
        for _, callback in due:
            callback()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[WakeupLimiter, FakeSocket, FakeLoop]:
    loop, connected = FakeLoop(), FakeSocket()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return WakeupLimiter(connected), connected, loop  # type: ignore[arg-type]


def read(limiter: WakeupLimiter, loop: FakeLoop, *, every_s: float, nbytes: int, for_s: float) -> None:
    end = loop.now + for_s
    while loop.now < end:
        loop.now += every_s
        loop.run_timers()
        limiter.note_read(nbytes, loop.now)


def test_a_socket_that_is_read_now_and_then_is_left_alone(watched: Any) -> None:
    limiter, connected, loop = watched
    read(limiter, loop, every_s=0.001, nbytes=100, for_s=1)
    assert connected.marks == [1]


def test_bytes_gather_where_many_reads_bring_few(watched: Any) -> None:
    limiter, connected, loop = watched
    read(limiter, loop, every_s=0.0001, nbytes=20, for_s=2.5 * WINDOW_S)
    assert connected.marks[-1] == pytest.approx(100, abs=5)  # half a millisecond's


def test_no_more_is_waited_for_than_is_known_to_come_and_that_grows(watched: Any) -> None:
    limiter, connected, loop = watched
    read(limiter, loop, every_s=0.0001, nbytes=10_000, for_s=20 * WINDOW_S)
    grown = connected.marks[1:]
    assert grown[0] <= 2 * FIRST_BYTES
    assert all(later == 2 * earlier for earlier, later in pairwise(grown))
    assert grown[-1] == MOST_BYTES


def test_what_does_not_come_in_time_is_read_and_less_is_waited_for(watched: Any) -> None:
    limiter, connected, loop = watched
    read(limiter, loop, every_s=0.0001, nbytes=100, for_s=2.5 * WINDOW_S)
    mark = connected.marks[-1]
    assert mark > 1
    loop.now += 2 * PATIENCE_S
    loop.run_timers()
    assert connected.marks[-1] == 1
    limiter.note_read(5, loop.now)
    assert 1 < connected.marks[-1] < 0.6 * mark


def test_a_peer_that_waits_for_each_answer_is_waited_for_less_and_less(watched: Any) -> None:
    limiter, connected, loop = watched
    read(limiter, loop, every_s=0.0001, nbytes=30, for_s=2.5 * WINDOW_S)
    stalls = 0
    for _ in range(4000):
        mark = connected.marks[-1]
        loop.now += 0.0001
        if mark > 30:  # its one packet does not wake us
            loop.now += 2 * PATIENCE_S
            loop.run_timers()
            stalls += 1
        limiter.note_read(30, loop.now)
    assert stalls < 40


def test_traffic_that_ends_leaves_no_mark_and_no_timer(watched: Any) -> None:
    limiter, connected, loop = watched
    read(limiter, loop, every_s=0.0001, nbytes=100, for_s=2.5 * WINDOW_S)
    loop.now += 1
    loop.run_timers()
    assert connected.marks[-1] == 1
    assert loop.timers == []
    read(limiter, loop, every_s=0.05, nbytes=100, for_s=0.5)
    assert connected.marks[-1] == 1


def test_a_socket_that_is_closed_meanwhile_is_no_error(watched: Any) -> None:
    limiter, connected, loop = watched
    connected.is_closed = True
    read(limiter, loop, every_s=0.0001, nbytes=100, for_s=3 * WINDOW_S)
    limiter.stop()
    assert loop.timers == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not heed the mark")
@asynchronous
async def test_a_client_watches_its_socket() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c") as client:
        assert client._link is not None
        assert client._link._wakeups is not None


# Holding back.


async def read_until_quiet(peer: Peer) -> int:
    """How many messages have come by the time that nothing comes in half a second, which is long for a loopback."""
    count = 0
    while True:
        try:
            async with asyncio.timeout(0.5):
                packet = await peer.receive()
        except TimeoutError:
            return count
        count += isinstance(packet, Publish)


@asynchronous
async def test_messages_that_are_held_back_leave_soon() -> None:
    count = BUSY_MESSAGES + BUSY_MESSAGES // HELD_PART + 3
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        packets = [await peer.expect(Publish) for _ in range(count)]
        arrived.set()
        peer.send(*(PubAck(packet.packet_id) for packet in packets if packet.packet_id))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c", max_in_flight=1000) as client:
        receipts = []
        for number in range(count):  # in turns of the loop of their own: each could leave by itself
            receipts.append(client.publish_nowait("t", b"%d" % number, 1))
            await asyncio.sleep(0)
        await arrived.wait()
        for receipt in receipts:
            await receipt


@asynchronous
async def test_a_busy_server_gets_several_messages_at_once() -> None:
    started = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        for _ in range(BUSY_MESSAGES):
            await peer.expect(Publish)
        started.set()
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c", max_in_flight=1000) as client:
        for number in range(BUSY_MESSAGES):
            client.publish_nowait("t", b"%d" % number, 1)
        await started.wait()
        held = 0
        for number in range(BUSY_MESSAGES // HELD_PART - 2):
            client.publish_nowait("t", b"%d" % number, 1)
            await asyncio.sleep(0)
            held = max(held, client._session.output_packets)
        assert held > 1


# Lists of messages.


def connected(version: int = 5, **connack: Any) -> Session:
    session = Session(version)
    session.connect(Connect("c"), 0)
    session.take_output(0)
    session.receive(ConnAck(**connack).encode(version), 0)
    return session


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("aliases", [0, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_a_list_of_messages_is_the_same_bytes_as_one_by_one(version: int, aliases: int, retain: bool) -> None:
    connack = {"topic_alias_maximum": aliases} if version == 5 and aliases else {}
    items = [(f"topic/{i % 3}", bytes([i])) for i in range(12)] + [
        ("ä", bytearray(b"x")),
        ("topic/1", memoryview(b"y")),
    ]
    in_lists, singly = connected(version, **connack), connected(version, **connack)
    assert in_lists.publish_pairs(items, 0, retain) == len(items)
    for topic, payload in items:
        singly.publish(topic, payload, 0, retain)
    assert in_lists.take_output(1) == singly.take_output(1)
    assert in_lists.sent == singly.sent


def test_a_list_stops_at_what_is_no_pair_and_when_enough_is_written() -> None:
    session = connected()
    items: list[Any] = [("a", b"1"), ("b", b"2"), ["c", b"3"], ("d", b"4")]
    assert session.publish_pairs(items) == 2
    assert session.publish_pairs(items, 2) == 2
    assert session.publish_pairs(items, 3) == 4
    session.take_output(1)
    assert session.publish_pairs([("a", bytes(100))] * 10, 0, False, 250) == 3


def test_a_list_stops_before_what_is_wrong_and_raises_where_that_is_first() -> None:
    session = connected(maximum_packet_size=50)
    items: list[Any] = [("a", b"1"), ("a/#", b"2"), ("b", bytes(100)), ("c", b"3")]
    assert session.publish_pairs(items) == 1
    with pytest.raises(EncodeError):
        session.publish_pairs(items, 1)
    with pytest.raises(PublishError):
        session.publish_pairs(items, 2)
    assert session.publish_pairs(items, 3) == 4


def test_a_part_of_what_is_to_be_written_may_be_taken() -> None:
    session = connected()
    for number in range(10):
        session.publish("t", bytes(100), 1)
        assert session.output_packets == number + 1
    whole = session.output_bytes
    first = session.take_output(1, 250)
    assert len(first) == 3
    assert session.output_bytes == whole - sum(map(len, first))
    assert len(session.take_output(1)) == 7
    assert session.output_bytes == 0
    assert session.take_output(1) == []
