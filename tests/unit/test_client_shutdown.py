"""How a client ends: what it still delivers, what it gives back, and what goes out on the next connection."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest

from iotwire import Backoff, Broker, Client, ConnectionLostError
from iotwire.client.blocking import BlockingClient
from iotwire.mqtt import Disconnect, PubAck, PubComp, Publish, PubRec, PubRel
from scripted import Peer, Taking, asynchronous, in_turn, one_connection, reconnecting, scripted, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])


@asynchronous
async def test_a_server_that_closed_just_before_does_not_make_disconnect_fail() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        client = one_connection(Broker(*listener.getsockname()), "c")
        connecting = asyncio.create_task(client.connect())
        accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
        assert (await asyncio.get_running_loop().sock_recv(accepted, 1000))[:1] == b"\x10"
        await asyncio.get_running_loop().sock_sendall(accepted, b"\x20\x03\x00\x00\x00")
        await connecting
        accepted.close()  # the client's loop has not seen it yet: DISCONNECT is answered with a reset
        assert await client.disconnect() == []
        assert not client.is_connected


@BOTH_VERSIONS
@asynchronous
async def test_a_disconnect_waits_until_everything_queued_is_acknowledged(version: int) -> None:
    seen: list[Any] = []

    async with scripted(lambda peer: _in_order(peer, seen), version=version) as route:
        client = Client(route, "c", version=version, max_in_flight=2)
        await client.connect()
        receipts = [client.publish_nowait("a", b"%d" % at, qos) for at, qos in enumerate((1, 2, 0, 1, 1))]
        closing = asyncio.create_task(client.disconnect())
        await asyncio.sleep(0)
        with pytest.raises(ConnectionLostError, match="closing"):
            client.publish_nowait("a", b"too late", 1)
        assert await closing == []
        assert [receipt.reason_code for receipt in receipts] == [0] * 5
    assert sorted(each.payload for each in seen[:-1]) == [b"%d" % at for at in range(5)]
    assert seen[-1] == Disconnect()


async def _in_order(peer: Peer, seen: list[Any]) -> None:
    """A server that acknowledges what comes, and notes it."""
    await peer.accept()
    while (packet := await peer.receive()) is not None:
        if isinstance(packet, Publish):
            seen.append(packet)
            if packet.qos:
                peer.send(PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id))
        elif isinstance(packet, PubRel):
            peer.send(PubComp(packet.packet_id))
        elif isinstance(packet, Disconnect):
            seen.append(packet)


@pytest.mark.parametrize("version", [4, 5])
@asynchronous
async def test_what_was_not_delivered_in_time_is_given_back_and_goes_out_on_the_next_connection(
    version: int, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    async def says_nothing(peer: Peer) -> None:
        await peer.accept()
        while not isinstance(await peer.receive(), Disconnect):
            pass

    properties: dict[str, Any] = {"content_type": "text/plain"} if version == 5 else {}
    messages = [
        Publish("a", b"1", qos=1, retain=True, **properties),
        Publish("b", b"2", qos=2, **properties),
        Publish("a", b"3", qos=1, **properties),
    ]
    async with scripted(in_turn(says_nothing, lambda peer: _in_order(peer, seen)), version=version) as route:
        client = Client(route, "c", version=version, max_in_flight=2, drain_timeout_s=0.05)
        await client.connect()
        receipts = [client.publish_nowait(m.topic, m.payload, m.qos, m.retain, **properties) for m in messages]
        assert client.undelivered == messages
        assert await client.disconnect() == messages
        for receipt in receipts:
            with pytest.raises(ConnectionLostError):
                await receipt
        assert client.undelivered == messages
        assert await client.disconnect() == messages
        assert caplog.record_tuples == [
            ("iotwire.client", logging.WARNING, "c was closed before 3 messages were delivered")
        ]
        async with client:
            await until(lambda: not client.undelivered)
        assert client.undelivered == []
    assert [(each.topic, each.payload, each.qos, each.retain, each.dup) for each in seen[:-1]] == [
        (each.topic, each.payload, each.qos, each.retain, False) for each in messages
    ]


@asynchronous
async def test_a_message_that_the_server_has_is_not_given_back() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        first, second = [await peer.expect(Publish) for _ in range(2)]
        peer.send(PubRec(first.packet_id), PubRec(second.packet_id, 0x97))
        assert await peer.expect(PubRel) == PubRel(first.packet_id)
        peer.send(Publish("end"))
        await peer.expect(Disconnect)

    async with scripted(script) as route:
        client = one_connection(route, "c")
        await client.connect()
        has_it, refused = client.publish_nowait("a", b"1", 2), client.publish_nowait("a", b"2", 2)
        await anext(client.messages("end"))
        assert refused.is_done
        assert not has_it.is_done
        assert client.undelivered == []
        assert await client.disconnect() == []
        with pytest.raises(ConnectionLostError):
            await has_it


@asynchronous
async def test_a_disconnect_delivers_over_a_reconnect() -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)

    seen: list[Any] = []
    async with scripted(in_turn(first, lambda peer: _in_order(peer, seen))) as route:
        client = reconnecting(route, "c", drain_timeout_s=5.0)
        await client.connect()
        client.publish_nowait("a", b"1", 1)
        assert await client.disconnect() == []
    assert [each.payload for each in seen[:-1]] == [b"1"]
    assert seen[-1] == Disconnect()


@asynchronous
async def test_a_disconnect_does_not_wait_for_a_connection_that_nobody_makes_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)

    async with scripted(script) as route:
        client = Client(route, "c", reconnect=None, drain_timeout_s=1000.0)
        await client.connect()
        client.publish_nowait("a", b"1", 1)
        async with asyncio.timeout(5):
            assert [each.payload for each in await client.disconnect()] == [b"1"]


@asynchronous
async def test_callbacks_have_a_while_to_finish() -> None:
    begun, may_finish = asyncio.Event(), asyncio.Event()
    outcomes: list[str] = []

    async def slow(message: Publish) -> None:
        begun.set()
        try:
            await may_finish.wait()
            outcomes.append("finished")
        except asyncio.CancelledError:
            outcomes.append("cancelled")
            raise

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(Publish("a"))
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "c", close_timeout_s=5.0)
        client.on_message("a", slow)
        async with client:
            await begun.wait()
            asyncio.get_running_loop().call_soon(may_finish.set)
        may_finish.clear()
        begun.clear()
        hasty = one_connection(route, "c", close_timeout_s=0.05)
        hasty.on_message("a", slow)
        async with hasty:
            await begun.wait()
        await until(lambda: len(outcomes) == 2)
    assert outcomes == ["finished", "cancelled"]


@asynchronous
async def test_a_callback_may_disconnect_its_own_client() -> None:
    is_over = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(Publish("a"))
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "c")

        async def leave(message: Publish) -> None:
            await client.disconnect()
            is_over.set()

        client.on_message("a", leave)
        await client.connect()
        await is_over.wait()
        assert not client.is_connected


@asynchronous
async def test_two_disconnects_at_once_both_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        await peer.expect(Disconnect)

    async with scripted(script) as route:
        client = Client(route, "c", drain_timeout_s=0.05)
        await client.connect()
        client.publish_nowait("a", b"1", 1)
        given = await asyncio.gather(client.disconnect(), client.disconnect())
        assert [[each.payload for each in messages] for messages in given] == [[b"1"], [b"1"]]


# The client for threads.


@asynchronous
async def test_a_blocking_publish_goes_on_waiting_over_a_reconnect() -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)

    async with (
        scripted(in_turn(first, first, Taking())) as route,
        asyncio.timeout(10),
    ):
        client = BlockingClient(route, "c", reconnect=Backoff(base_s=0.01, max_s=0.02), drain_timeout_s=0.0)
        await asyncio.to_thread(client.connect)
        try:
            publishing = [asyncio.to_thread(client.publish, "a", b"%d" % qos, qos) for qos in (1, 2)]
            assert await asyncio.gather(*publishing) == [0, 0]
        finally:
            await asyncio.to_thread(client.disconnect)


@asynchronous
async def test_a_blocking_disconnect_delivers_over_a_reconnect() -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)

    seen: list[Any] = []
    async with scripted(in_turn(first, first, lambda peer: _in_order(peer, seen))) as route:
        client = BlockingClient(route, "c", reconnect=Backoff(base_s=0.01, max_s=0.02))
        await asyncio.to_thread(client.connect)
        client.publish_nowait("a", b"1", 1)
        assert await asyncio.to_thread(client.disconnect) == []
        assert client.stats().connections == 3
    assert [each.payload for each in seen[:-1]] == [b"1"]
    assert seen[-1] == Disconnect()


@asynchronous
async def test_a_blocking_disconnect_does_not_wait_for_a_connection_that_nobody_makes_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)

    async with scripted(script) as route:
        client = BlockingClient(route, "c", reconnect=None, drain_timeout_s=1000.0)
        await asyncio.to_thread(client.connect)
        client.publish_nowait("a", b"1", 1)
        async with asyncio.timeout(5):
            assert [each.payload for each in await asyncio.to_thread(client.disconnect)] == [b"1"]
