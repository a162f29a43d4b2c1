"""What waits while there is no connection goes on when there is one again, and what was cancelled leaves nothing."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from faultruns import BACKOFF
from iotwire import Client
from iotwire.mqtt import ConnAck, Connect, PubAck, PubComp, Publish, PubRec, PubRel
from scripted import Peer, asynchronous, scripted, until

OPTIONS: dict[str, Any] = {"reconnect": BACKOFF, "close_timeout_s": 0.2, "drain_timeout_s": 1.0}


async def acknowledge_until_close(peer: Peer) -> None:
    while (packet := await peer.receive()) is not None:
        if isinstance(packet, Publish) and packet.qos:
            peer.send(PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id))
        elif isinstance(packet, PubRel):
            peer.send(PubComp(packet.packet_id))


def reset(peer: Peer) -> None:
    peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.writer.transport.abort()


@pytest.mark.parametrize("qos", [0, 1])
@asynchronous
async def test_everyone_who_waits_for_room_gets_it(qos: int) -> None:
    mended = asyncio.Event()
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await peer.accept()
            return
        await peer.expect(Connect)
        await mended.wait()
        peer.send(ConnAck())
        await acknowledge_until_close(peer)

    async with scripted(script) as route, Client(route, "c", max_queued=5, **OPTIONS) as client:
        await until(lambda: not client.is_connected)
        calls = [asyncio.ensure_future(client.publish("a", b"%d" % number, qos)) for number in range(30)]
        await asyncio.sleep(0)
        mended.set()
        await asyncio.gather(*calls)


@asynchronous
async def test_a_full_stream_does_not_keep_a_client_from_connecting_again() -> None:
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await peer.accept()
            peer.send(*[Publish("full", b"x")] * 10)
            await peer.expect(Publish)
            reset(peer)
            return
        await peer.expect(Connect)
        await asyncio.sleep(0.1)
        peer.send(ConnAck())
        await acknowledge_until_close(peer)

    async with scripted(script) as route:
        client = Client(route, "c", connect_timeout_s=1.0, **OPTIONS)
        messages = client.messages("full", max_messages=1, when_full="pause")
        await client.connect()
        await until(lambda: messages.waiting >= 1)
        while client.stats().connections < 2:
            assert connections <= 2
            client.publish_nowait("a", b"a reading, whatever happens")
            await asyncio.sleep(0.01)
        await client.disconnect()


@asynchronous
async def test_calls_that_are_cancelled_while_there_is_no_connection_leave_nothing() -> None:
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.expect(Connect)
        if connections == 1:
            peer.send(ConnAck())
        else:
            await peer.receive()

    async with (
        scripted(script) as route,
        Client(route, "c", max_queued=1, **OPTIONS | {"drain_timeout_s": 0.0}) as client,
    ):
        await until(lambda: not client.is_connected)
        client.publish_nowait("a", b"", qos=1)
        calls = [
            call
            for _ in range(100)
            for call in (client.publish("a", b"", qos=1), client.subscribe("a"), client.drain(), client.request("a"))
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not client._room_waiters
        assert not client._connection_waiters
        assert not client._answers


@asynchronous
async def test_a_connection_that_breaks_while_it_is_drained_is_made_again() -> None:
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.accept()
        if connections == 1:
            await peer.expect(Publish)
            return
        await acknowledge_until_close(peer)

    async with scripted(script) as route:
        client = Client(route, "c", **OPTIONS | {"drain_timeout_s": 5.0})
        await client.connect()
        client.publish_nowait("a", b"not to be lost", qos=1)
        assert await client.disconnect() == []
        assert connections == 2


@asynchronous
async def test_a_message_that_is_acknowledged_by_hand_after_a_reconnect_is_acknowledged() -> None:
    mended = asyncio.Event()
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.accept(session_present=connections > 1)
        peer.send(Publish("a", b"x", qos=2, packet_id=7, dup=connections > 1))
        if connections == 1:
            await mended.wait()
            return
        peer.send(Publish("a", b"y", qos=1, packet_id=8))
        assert await peer.expect(PubRec) == PubRec(7)
        assert await peer.expect(PubAck) == PubAck(8)
        mended.clear()
        await peer.receive()

    options = OPTIONS | {"session_expiry_interval": 60, "clean_start": False}
    async with scripted(script) as route:
        client = Client(route, "c", **options)
        messages = client.messages("a", manual_acknowledgement=True)
        await client.connect()
        first = await anext(messages)
        mended.set()
        await until(lambda: client.stats().reconnects == 1)
        second = await anext(messages)
        assert (first.payload, second.payload) == (b"x", b"y")  # QoS 2: it comes once
        client.acknowledge(first)
        client.acknowledge(second)
        await until(lambda: not mended.is_set())
        await client.disconnect()
