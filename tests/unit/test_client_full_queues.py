"""What a queue that nobody reads does with more: each policy, and that none of them can stop a program for ever."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from iotwire import Client
from iotwire.mqtt import PingReq, PingResp, PubAck, PubComp, Publish, PubRec, PubRel, SubAck, Subscribe
from scripted import Peer, asynchronous, in_turn, one_connection, reconnecting, scripted, until

POLICIES = pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest", "pause"])


class Sending:
    """A server that sends so many QoS 0 messages as fast as they are taken, and answers what it is asked."""

    def __init__(self, count: int, size: int = 10, qos: int = 0, after: int = 0) -> None:
        self.sent = 0
        self.seen: list[Publish] = []
        self.unacknowledged = 0
        self._count = count
        self._padding = b"x" * size
        self._qos = qos
        self._after = after  # messages that it waits for before
        self._has_come = asyncio.Event()
        self._is_free = asyncio.Event()
        self._is_free.set()

    async def __call__(self, peer: Peer) -> None:
        await peer.accept()
        if not self._after:
            self._has_come.set()
        sending = asyncio.create_task(self._send(peer))
        try:
            while (packet := await peer.receive()) is not None:
                self._answer(peer, packet)
        finally:
            sending.cancel()

    async def _send(self, peer: Peer) -> None:
        await self._has_come.wait()
        while self.sent < self._count:
            await self._is_free.wait()
            if self._qos:
                self.unacknowledged += 1
                if self.unacknowledged == 5:
                    self._is_free.clear()
            packet_id = 1 + self.sent % 60_000 if self._qos else None
            peer.send(Publish("a", b"%d " % self.sent + self._padding, qos=self._qos, packet_id=packet_id))
            self.sent += 1
            await peer.writer.drain()

    def _answer(self, peer: Peer, packet: Any) -> None:
        if isinstance(packet, Publish):
            self.seen.append(packet)
            if len(self.seen) >= self._after:
                self._has_come.set()
            if packet.qos:
                peer.send(PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id))
        elif isinstance(packet, PubRel):
            peer.send(PubComp(packet.packet_id))
        elif isinstance(packet, PubRec):
            peer.send(PubRel(packet.packet_id))
        elif isinstance(packet, Subscribe):
            peer.send(SubAck(packet.packet_id, (0,) * len(packet.subscriptions)))
        elif isinstance(packet, PingReq):
            peer.send(PingResp())
        elif isinstance(packet, (PubAck, PubComp)):
            self.unacknowledged -= 1
            self._is_free.set()


def number_of(message: Publish) -> int:
    return int(message.payload.split()[0])


@pytest.mark.parametrize(
    ("when_full", "kept"), [("drop_oldest", [7, 8, 9]), ("drop_newest", [0, 1, 2]), ("pause", [*range(10)])]
)
@asynchronous
async def test_a_full_queue_drops_what_its_policy_says_and_counts_it(when_full: Any, kept: list[int]) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        peer.send(*(Publish("a", b"%d" % at) for at in range(10)))  # all with one read
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c") as client:
        messages = client.messages("a", max_messages=3, when_full=when_full)
        await client.publish("begin")
        await until(lambda: client.stats().messages_received == 10)
        assert messages.waiting == len(kept)
        assert messages.dropped == client.stats().messages_dropped == 10 - len(kept)
        assert [int((await anext(messages)).payload) for _ in kept] == kept
        assert client.stats().peak_unread == len(kept)


@asynchronous
async def test_pause_stops_reading_until_there_is_room_and_drops_nothing() -> None:
    server = Sending(4000, size=10_000)
    async with scripted(server) as route, one_connection(route, "c") as client:
        messages = client.messages("a", max_messages=5, when_full="pause")
        await until(lambda: messages.waiting >= 5)
        received = -1
        while received != client.stats().messages_received:
            received = client.stats().messages_received
            await asyncio.sleep(0.02)
        assert received < 4000
        assert [number_of(await anext(messages)) for _ in range(4000)] == list(range(4000))
        assert messages.dropped == 0
        assert client.stats().peak_unread < 50


@asynchronous
async def test_one_stream_that_pauses_holds_up_the_others_until_it_is_read_or_closed() -> None:
    server = Sending(2000, size=10_000, after=1)
    async with scripted(server) as route, one_connection(route, "c") as client:
        paused = client.messages("a", max_messages=5, when_full="pause")
        seen: list[int] = []
        client.on_message("#", lambda message: seen.append(number_of(message)))
        await client.publish("begin")
        await until(lambda: paused.waiting >= 5)
        for _ in range(3):
            await anext(paused)
        paused.close()
        await until(lambda: len(seen) == 2000)
    assert seen == list(range(2000))


@asynchronous
async def test_a_callback_that_pauses_takes_everything_in_order() -> None:
    seen: list[int] = []

    async def callback(message: Publish) -> None:
        seen.append(number_of(message))
        await asyncio.sleep(0)

    server = Sending(2000, size=2000)
    async with scripted(server) as route, one_connection(route, "c") as client:
        handler = client.on_message("a", callback, max_messages=3, when_full="pause")
        await until(lambda: len(seen) == 2000)
        handler.close()
        assert client.stats().messages_dropped == 0
    assert seen == list(range(2000))


@POLICIES
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("incoming", [0, 1, 2])
@asynchronous
async def test_publishing_within_a_message_loop_with_a_full_queue_never_stops(
    when_full: Any, qos: int, incoming: int
) -> None:
    # Enough that the queue is always full; each message is answered with one, and that waits for its acknowledgement,
    # which stands in the stream behind hundreds of messages that nobody reads meanwhile.
    server = Sending(300, size=2000, qos=incoming)
    async with scripted(server) as route, one_connection(route, "c", receive_maximum=5) as client:
        messages = client.messages("a", max_messages=2, when_full=when_full)
        taken: list[int] = []
        async for message in messages:
            taken.append(number_of(message))
            await client.publish("answers", message.payload[:20], qos)
            if len(taken) + messages.dropped == 300:
                break
        assert taken == sorted(set(taken))
        if incoming:
            assert messages.dropped == 0
        await until(lambda: len(server.seen) == len(taken))


@POLICIES
@asynchronous
async def test_every_call_that_waits_for_an_answer_gets_it_while_a_queue_is_full(when_full: Any) -> None:
    server = Sending(1 << 30, size=1000, after=1)
    async with scripted(server) as route, one_connection(route, "c") as client:
        messages = client.messages("a", max_messages=2, when_full=when_full)
        await client.publish("begin")
        await until(lambda: messages.waiting >= 2)
        for _ in range(5):
            await client.subscribe("b")
            await client.publish("b", b"", 2)
            await client.publish_many([("b", b"")] * 3, qos=1)
            await client.publish_nowait("b", b"", 1)
            await anext(messages)
        if when_full == "pause":
            # Reading goes on for the answer's sake, but memory is bounded all the same.
            assert messages.waiting <= 70


@POLICIES
@asynchronous
async def test_a_full_queue_does_not_keep_a_client_from_its_end(when_full: Any) -> None:
    server = Sending(1 << 30, size=1000)
    async with scripted(server) as route:
        client = Client(route, "c", close_timeout_s=0.2)
        await client.connect()
        messages = client.messages("a", max_messages=2, when_full=when_full)
        await until(lambda: messages.waiting >= 2)
        async with asyncio.timeout(5):
            assert await client.disconnect() == []
        waiting = messages.waiting
        assert len([message async for message in messages]) == waiting


@asynchronous
async def test_a_queue_that_pauses_goes_on_over_a_reconnect() -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        peer.send(*(Publish("a", b"%d" % at) for at in range(5)))
        await peer.receive()

    async def second(peer: Peer) -> None:
        await peer.accept()
        peer.send(*(Publish("a", b"%d" % at) for at in range(5, 10)))
        await peer.answer_pings_until_close()

    async with scripted(in_turn(first, second)) as route, reconnecting(route, "c") as client:
        messages = client.messages("a", max_messages=2, when_full="pause")
        await until(lambda: messages.waiting == 5)
        await client.publish("drop me")
        # The end of the connection stands behind what is not read.
        assert [number_of(await anext(messages)) for _ in range(10)] == list(range(10))
        assert messages.dropped == 0
        assert client.stats().connections == 2


@pytest.mark.parametrize("qos", [1, 2])
@asynchronous
async def test_messages_that_may_not_be_dropped_are_not_acknowledged_while_there_is_no_room(qos: int) -> None:
    server = Sending(200, qos=qos)
    async with scripted(server) as route, one_connection(route, "c", receive_maximum=5) as client:
        messages = client.messages("a", max_messages=3)
        for number in itertools.count():
            await until(lambda: server.unacknowledged == 5 or server.sent == 200)
            if number == 190:
                break
            assert messages.waiting <= 8
            assert number_of(await anext(messages)) == number
        assert messages.dropped == 0


async def _exchange_of(peer: Peer, answers: list[Any], *packets: Publish) -> None:
    """Send these when a message comes, and note what comes back."""
    await peer.accept()
    await peer.expect(Publish)
    peer.send(*packets)
    while (packet := await peer.receive()) is not None:
        answers.append(packet)


@asynchronous
async def test_a_message_that_is_read_before_there_was_room_for_it_is_acknowledged_then() -> None:
    answers: list[Any] = []
    packets = [Publish("a", b"%d" % at, qos=int(at == 2), packet_id=9 if at == 2 else None) for at in range(5)]
    async with (
        scripted(lambda peer: _exchange_of(peer, answers, *packets)) as route,
        one_connection(route, "c") as client,
    ):
        messages = client.messages("a", max_messages=2)
        await client.publish("begin")
        await until(lambda: client.stats().messages_received == 5)
        assert (messages.waiting, messages.dropped) == (3, 2)
        await client.publish("nothing so far")
        await until(lambda: len(answers) == 1)
        assert number_of(await anext(messages)) == 2
        await until(lambda: len(answers) == 2)
        assert [number_of(await anext(messages)) for _ in range(2)] == [3, 4]
    assert answers[1] == PubAck(9)


@asynchronous
async def test_a_message_that_waited_for_somebody_to_ask_is_acknowledged_when_one_has_room_for_it() -> None:
    answers: list[Any] = []
    packets = [Publish("b", b"%d" % at) for at in range(1000)]  # as many as are kept for nobody
    packets += [Publish("a", b"%d" % at, qos=1, packet_id=at + 1) for at in range(3)]
    async with (
        scripted(lambda peer: _exchange_of(peer, answers, *packets)) as route,
        one_connection(route, "c") as client,
    ):
        await client.publish("begin")
        await until(lambda: client.stats().messages_unclaimed == 1003)
        await client.publish("nothing so far")
        await until(lambda: len(answers) == 1)
        messages = client.messages("a", max_messages=2)
        await until(lambda: len(answers) == 3)
        assert answers[1:] == [PubAck(1), PubAck(2)]
        assert [number_of(await anext(messages)) for _ in range(3)] == [0, 1, 2]
        await until(lambda: len(answers) == 4)
        assert client.stats().messages_unclaimed == 1000
