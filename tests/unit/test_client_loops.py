"""The client on every event loop that is there: asyncio's own, and uvloop where it is installed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from iotwire import ConnectError, ConnectionLostError
from iotwire.mqtt import (
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from scripted import ON_EVERY_LOOP, Peer, Taking, asynchronous, in_turn, one_connection, reconnecting, scripted, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])


async def echo(peer: Peer) -> None:
    """A broker for one client: what it publishes comes back, with QoS 1 at most."""
    await peer.accept()
    while (packet := await peer.receive()) is not None:
        if isinstance(packet, Subscribe):
            peer.send(SubAck(packet.packet_id, tuple(each.qos for each in packet.subscriptions)))
        elif isinstance(packet, Unsubscribe):
            peer.send(UnsubAck(packet.packet_id, (0,) * len(packet.topic_filters) if peer.version == 5 else ()))
        elif isinstance(packet, PingReq):
            peer.send(PingResp())
        elif isinstance(packet, PubRel):
            peer.send(PubComp(packet.packet_id))
        elif isinstance(packet, Disconnect):
            return
        elif isinstance(packet, Publish):
            if packet.qos:
                peer.send(PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id))
            qos = min(packet.qos, 1)
            peer.send(Publish(packet.topic, packet.payload, qos=qos, packet_id=7 if qos else None))
            await peer.writer.drain()


@ON_EVERY_LOOP
@BOTH_VERSIONS
@asynchronous
async def test_the_basic_exchange(make_loop: Any, version: int) -> None:
    async with scripted(echo, version=version) as route, one_connection(route, "c", version=version) as client:
        assert await client.subscribe("a/#", 1) == (ReasonCode.GRANTED_QOS_1,)
        messages = client.messages("a/#")
        for qos in range(3):
            for size in (0, 1, 1000, 200_000):
                await client.publish(f"a/{qos}", bytes(size), qos)
                assert (await anext(messages)).payload == bytes(size)
        await client.unsubscribe("a/#")
        assert (await client.publish_nowait("a", b"", 1)) == ReasonCode.SUCCESS
        assert (await client.publish_many([("a", b"")] * 500, qos=1)).acknowledged == 500
        assert await client.disconnect() == []


@ON_EVERY_LOOP
@BOTH_VERSIONS
@asynchronous
async def test_a_reconnect(make_loop: Any, version: int) -> None:
    async def losing(peer: Peer) -> None:
        await peer.accept()
        while not isinstance(packet := await peer.receive(), Publish):
            assert isinstance(packet, Subscribe)
            peer.send(SubAck(packet.packet_id, (1,)))
        if version == 5:
            peer.writer.transport.abort()

    async with (
        scripted(in_turn(losing, losing, echo), version=version) as route,
        reconnecting(route, "c", version=version) as client,
    ):
        messages = client.messages("a")
        await client.subscribe("a", 1)
        assert await client.publish("a", b"in the end", 1) == ReasonCode.SUCCESS
        assert (await anext(messages)).payload == b"in the end"
        assert client.stats().reconnects == 2


@ON_EVERY_LOOP
@asynchronous
async def test_nobody_listening(make_loop: Any) -> None:
    async with scripted(echo) as route:
        pass
    with pytest.raises(ConnectError, match="cannot connect to"):
        await one_connection(route, "c").connect()


@ON_EVERY_LOOP
@asynchronous
async def test_a_server_that_says_nothing_runs_into_the_time_out(make_loop: Any) -> None:
    async with scripted(lambda peer: peer.reader.read()) as route:
        with pytest.raises(ConnectError, match=r"no CONNACK within 0\.05 s"):
            await one_connection(route, "c", connect_timeout_s=0.05).connect()


@ON_EVERY_LOOP
@asynchronous
async def test_a_silent_server_is_left(make_loop: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(PingReq)
        assert await peer.receive() == Disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT)
        await peer.expect_close()

    async with (
        scripted(script) as route,
        one_connection(route, "c", keep_alive=1, ping_timeout_s=0.05, close_timeout_s=0.1) as client,
    ):
        with pytest.raises(ConnectionLostError, match="silent"):
            await anext(client.messages())


@ON_EVERY_LOOP
@pytest.mark.parametrize("when_full", ["drop_oldest", "pause"])
@asynchronous
async def test_a_full_queue_and_calls_that_wait_for_answers(make_loop: Any, when_full: Any) -> None:
    async with scripted(echo) as route, one_connection(route, "c") as client:
        messages = client.messages("flood", max_messages=3, when_full=when_full)
        for _ in range(20):
            await client.publish_many([("flood", bytes(10_000))] * 20)
            await client.publish("other", b"", 2)
            await anext(messages)
        assert client.is_connected


@ON_EVERY_LOOP
@asynchronous
async def test_a_server_that_does_not_read_holds_publishers_back(make_loop: Any) -> None:
    server = Taking()
    async with scripted(server) as route, one_connection(route, "c") as client:
        server.may_answer.clear()
        publishing = asyncio.create_task(client.publish_many([("a", bytes(10_000))] * 5000))
        sent = -1
        while sent != client.stats().messages_sent:  # what the sockets' buffers hold
            sent = client.stats().messages_sent
            await asyncio.sleep(0.05)
        assert sent < 5000
        server.may_answer.set()
        assert (await publishing).acknowledged == 5000
        await until(lambda: len(server.seen) == 5000)


@ON_EVERY_LOOP
@pytest.mark.parametrize("turns", [0, 1, 3, 10])
@asynchronous
async def test_calls_that_are_cancelled_leave_the_client_usable(make_loop: Any, turns: int) -> None:
    async with scripted(echo) as route, one_connection(route, "c") as client:
        for call in (
            client.publish("a", b"", 2),
            client.subscribe("a"),
            client.publish_many([("a", b"")] * 1000, qos=1),
            client.drain(),
        ):
            task = asyncio.create_task(call)
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        assert await client.publish("a", b"end", 1) == ReasonCode.SUCCESS
