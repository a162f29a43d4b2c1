"""Calls cancelled at random turns, while connections come and go: the client stays usable, and nothing is left."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from faultruns import FAULTS, run_clean
from iotwire import Backoff, Client, IotwireError
from iotwire.mqtt import (
    ConnAck,
    Connect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from scripted import Peer, scripted

RECONNECTS = 5 * FAULTS
TASKS = 20


class MoodyServer:
    """One session. It answers what it gets, late or never, ends connections at random, and mostly keeps the session."""

    def __init__(self, version: int, seed: int) -> None:
        self._version = version
        self._random = random.Random(seed)
        self.is_moody = True
        self.received: set[bytes] = set()
        self._has_session = False

    async def __call__(self, peer: Peer) -> None:
        chance = self._random
        connect = await peer.expect(Connect)
        keeps = self._has_session and not connect.clean_start and (chance.random() < 0.8 or not self.is_moody)
        if self.is_moody and chance.random() < 0.2:
            return
        self._has_session = True
        peer.send(ConnAck(session_present=keeps))
        left = chance.randint(1, 60)
        while (packet := await peer.receive()) is not None:
            if self.is_moody:
                left -= 1
                if not left:
                    return
                for _ in range(chance.randint(0, 3)):
                    await asyncio.sleep(0)
            self._answer(peer, packet)

    def _answer(self, peer: Peer, packet: Any) -> None:
        match packet:
            case Publish():
                self.received.add(bytes(packet.payload))
                if packet.qos:
                    peer.send(PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id))
                if packet.response_topic and self._random.random() < 0.7:
                    peer.send(Publish(packet.response_topic, b"answer", correlation_data=packet.correlation_data))
            case PubRel():
                peer.send(PubComp(packet.packet_id))
            case Subscribe():
                peer.send(SubAck(packet.packet_id, [each.qos for each in packet.subscriptions]))
            case Unsubscribe():
                codes = [0] * len(packet.topic_filters) if self._version == 5 else []
                peer.send(UnsubAck(packet.packet_id, codes))
            case PingReq():
                peer.send(PingResp())


async def make_call(client: Client, chance: random.Random) -> None:
    """Any call that a client has."""
    topic = f"storm/{chance.randrange(5)}"
    qos = chance.randrange(3)
    which = chance.randrange(8 if client._version == 5 else 7)
    if which == 0:
        await client.publish(topic, b"x", qos)
    elif which == 1:
        await client.publish_nowait(topic, b"x", qos)
    elif which == 2:
        await client.publish_many([(topic, b"x")] * chance.randint(1, 50), qos=qos)
    elif which == 3:
        await client.subscribe([topic, "storm/#"], qos)
    elif which == 4:
        await client.unsubscribe(topic)
    elif which == 5:
        await client.drain()
    elif which == 6:
        with client.messages(topic, max_messages=5, when_full=chance.choice(("pause", "drop_oldest"))) as messages:
            await anext(messages)
    else:
        await client.request(topic, b"?", qos, timeout_s=chance.choice((0.01, 1.0)))


@pytest.mark.slow
@pytest.mark.timeout(60 + 6 * FAULTS)
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("seed", range(3))
def test_calls_that_are_cancelled_at_random_leave_a_usable_client(version: int, seed: int) -> None:
    async def test() -> None:
        chance = random.Random(seed)
        server = MoodyServer(version, seed)
        options = {"session_expiry_interval": 600} if version == 5 else {}
        async with scripted(server, version=version) as route:
            client = Client(
                route,
                "storm",
                version=version,
                clean_start=False,
                reconnect=Backoff(base_s=0.005, max_s=0.02),
                max_queued=30,
                max_in_flight=5,
                wait_for_server=True,
                close_timeout_s=0.2,
                connect_timeout_s=1.0,
                **options,
            )
            await client.connect()
            while client.stats().reconnects < RECONNECTS:
                tasks = [asyncio.ensure_future(make_call(client, chance)) for _ in range(TASKS)]
                for task in tasks:
                    for _ in range(chance.choice((0, 0, 1, 2, 5))):
                        await asyncio.sleep(0)
                    task.cancel()
                await asyncio.sleep(chance.choice((0, 0, 0.005)))
                for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(outcome, BaseException) and not isinstance(
                        outcome, IotwireError | asyncio.CancelledError
                    ):
                        raise outcome
            server.is_moody = False
            await check(client, server)
            # Nobody waits any more, so nothing does.
            assert not client._room_waiters
            assert not client._connection_waiters
            assert not client._answers
            assert not client._tasks
            assert client._pending_requests == 0
            assert await client.disconnect() == []
            assert client._session.unfinished == client._session.unfinished_bytes == 0
            assert client._line_bytes == 0

    run_clean(test, 50 + 5 * FAULTS)


async def check(client: Client, server: MoodyServer) -> None:
    """All that a client is for works, and there is all the room that it began with."""
    async with asyncio.timeout(20):
        for qos in (1, 2):
            await client.publish("check", b"%d" % qos, qos)
        report = await client.publish_many([("check", b"many %d" % number) for number in range(200)], qos=1)
        assert (report.acknowledged, report.failures) == (200, [])
        assert await client.subscribe("check/#", 1) == (1,)
        await client.unsubscribe("check/#")
        await client.drain()
        assert {b"1", b"2", *(b"many %d" % number for number in range(200))} <= server.received
        receipts = [client.publish_nowait("check", b"", qos=1) for _ in range(30)]
        for receipt in receipts:
            assert await receipt == 0
