"""The figures of a client, against what the server at the other end of the wire has counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from iotwire import Broker, Traffic
from iotwire.mqtt import Decoder, Packet, PacketType, PubAck, PubComp, Publish, PubRec, PubRel, SubAck, Subscribe
from scripted import Peer, asynchronous, in_turn, one_connection, reconnecting, scripted, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])


class Wire:
    """What passed a server, as bytes."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.to_server = b""
        self.to_client = b""
        self._boundaries: list[tuple[int, int]] = []

    def watch(self, peer: Peer) -> Peer:
        read, write = peer.reader.read, peer.writer.write

        async def noted_read(n: int = -1) -> bytes:
            data = await read(n)
            self.to_server += data
            return data

        def noted_write(data: Any) -> None:
            self.to_client += data
            write(data)

        peer.reader.read = noted_read  # type: ignore[method-assign]
        peer.writer.write = noted_write  # type: ignore[method-assign]
        return peer

    def counts(self, wire: bytes) -> tuple[dict[PacketType, Traffic], dict[str, int]]:
        by_type: dict[PacketType, Traffic] = {}
        by_level: Counter[str] = Counter()
        for packet, size in _packets(wire, self.version):
            kind = PacketType[type(packet).__name__.upper()]
            before = by_type.get(kind, Traffic())
            by_type[kind] = Traffic(before.packets + 1, before.bytes + size)
            if isinstance(packet, Publish):
                by_level[packet.topic.split("/")[0]] += size
        return by_type, dict(by_level)


def _packets(wire: bytes, version: int) -> list[tuple[Packet, int]]:
    decoder, found, began = Decoder(version), [], 0
    for at in range(len(wire)):
        for packet in decoder.feed(wire[at : at + 1]):
            found.append((packet, at + 1 - began))
            began = at + 1
    return found


async def serve(peer: Peer, *, drop_on: bytes = b"never", **connack: Any) -> None:
    await peer.accept(**connack)
    while (packet := await peer.receive()) is not None:
        if isinstance(packet, Publish):
            if packet.payload == drop_on:
                return
            if packet.qos:
                peer.send(PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id))
        elif isinstance(packet, PubRel):
            peer.send(PubComp(packet.packet_id))
        elif isinstance(packet, Subscribe):
            peer.send(SubAck(packet.packet_id, (0,) * len(packet.subscriptions)))
            peer.send(Publish("in/1", b"x" * 500), Publish("in/2", b"", qos=1, packet_id=3), Publish("other", b"1"))


@BOTH_VERSIONS
@asynchronous
async def test_the_figures_are_those_of_the_wire_over_all_connections(version: int) -> None:
    wire = Wire(version)
    scripts = in_turn(lambda peer: serve(wire.watch(peer), drop_on=b"drop"), lambda peer: serve(wire.watch(peer)))
    async with scripted(scripts, version=version) as route:
        client = reconnecting(route, "c", version=version, drain_timeout_s=5)
        nothing = client.stats()
        assert (nothing.bytes_sent, nothing.sent, nothing.connections) == (0, {}, 0)
        await client.connect()
        messages = client.messages("#")
        await client.subscribe("in/#")
        for qos in range(3):
            await client.publish(f"out/{qos}", b"x" * 300, qos)
        await client.publish("elsewhere", b"drop", 1)
        for _ in range(6):
            await anext(messages)
        await client.disconnect()
    stats = client.stats()
    sent, sent_by_level = wire.counts(wire.to_server)
    received, received_by_level = wire.counts(wire.to_client)
    assert dict(stats.sent) == sent
    assert dict(stats.received) == received
    assert stats.bytes_sent == len(wire.to_server)
    assert stats.bytes_received == len(wire.to_client)
    assert (stats.messages_sent, stats.messages_received) == (5, 6)
    assert {level: traffic.bytes for level, traffic in stats.sent_by_topic.items()} == sent_by_level
    assert {level: traffic.bytes for level, traffic in stats.received_by_topic.items()} == received_by_level
    assert stats.sent_by_topic["elsewhere"].packets == 2
    assert sent_by_level.keys() == {"out", "elsewhere"}
    assert received_by_level.keys() == {"in", "other"}
    assert (stats.connections, stats.reconnects) == (2, 1)


@asynchronous
async def test_peaks_and_queues_are_told_while_they_last_and_after() -> None:
    may_answer = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept(receive_maximum=2)
        peer.send(*(Publish("a", b"%d" % at) for at in range(7)))
        await may_answer.wait()
        while (packet := await peer.receive()) is not None:
            if isinstance(packet, Publish) and packet.qos:
                peer.send(PubAck(packet.packet_id))

    async with scripted(script) as route, one_connection(route, "c") as client:
        messages = client.messages("a", max_messages=5)
        await until(lambda: client.stats().messages_received == 7)
        assert client.stats().peak_unread in (5, 7)  # those that came before the stream was there were kept for it
        receipts = [client.publish_nowait("b", b"", 1) for _ in range(9)]
        assert (client.stats().messages_queued, client.stats().peak_queued) == (9, 9)
        may_answer.set()
        for receipt in receipts:
            await receipt
        assert (client.stats().messages_queued, client.stats().peak_queued) == (0, 9)
        waiting, dropped = messages.waiting, messages.dropped
        assert waiting + dropped == 7
        assert client.stats().messages_dropped == dropped
        messages.close()
        assert client.stats().messages_dropped == 7
        del messages
        assert client.stats().messages_dropped == 7


@asynchronous
async def test_messages_that_wait_for_a_connection_are_queued_too() -> None:
    may_accept = asyncio.Event()

    async def second(peer: Peer) -> None:
        await may_accept.wait()
        await serve(peer)

    async with (
        scripted(in_turn(lambda peer: peer.accept(), second)) as route,
        reconnecting(route, "c") as client,
    ):
        await until(lambda: not client.is_connected)
        receipts = [client.publish_nowait("b", b"", qos) for qos in (2, 1, 0, 1)]
        assert (client.stats().messages_queued, client.stats().peak_queued) == (4, 4)
        may_accept.set()
        for receipt in receipts:
            await receipt
        assert (client.stats().messages_queued, client.stats().peak_queued) == (0, 4)


@asynchronous
async def test_many_levels_stand_under_none() -> None:
    async with scripted(serve) as route, one_connection(route, "c") as client:
        await client.publish_many((f"level{at}/x", b"") for at in range(100))
        levels = client.stats().sent_by_topic
        assert len(levels) == 65
        assert levels[None].packets == 36


@asynchronous
async def test_figures_are_values_that_do_not_change() -> None:
    async with scripted(serve) as route, one_connection(route, "c") as client:
        before = client.stats()
        await client.publish("a")
        assert before.messages_sent == 0
        assert client.stats().messages_sent == 1
        with pytest.raises(AttributeError):
            before.messages_sent = 5  # type: ignore[misc]


def test_a_client_that_was_never_connected_has_figures() -> None:
    stats = one_connection(Broker("broker.example", 1883), "c").stats()
    assert (stats.messages_sent, stats.peak_queued, stats.peak_unread, stats.received) == (0, 0, 0, {})
