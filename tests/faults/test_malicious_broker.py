"""A broker that wants to do harm: the client does not crash, grow or spin, and works with an honest one afterwards.

What one bad packet does is in tests/unit/test_client_faults.py; here it is what comes after it, and what comes
without end.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from faultruns import BACKOFF, run_clean
from iotwire import Backoff, Client, IotwireError, PublishError, SubscribeError
from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
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
    Will,
)
from scripted import Peer, Script, asynchronous, scripted, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])
POLICIES = pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest", "pause"])
MEGABYTE = 1024 * 1024


async def be_honest(peer: Peer, **connack: Any) -> None:
    """A broker of one client: whatever is published comes back."""
    await peer.accept(**connack)
    await go_on_honestly(peer)


async def go_on_honestly(peer: Peer) -> None:
    while (packet := await peer.receive()) is not None:
        match packet:
            case Publish():
                if packet.qos:
                    peer.send(PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id))
                    peer.send(Publish(packet.topic, packet.payload, qos=1, packet_id=packet.packet_id))
            case PubRel():
                peer.send(PubComp(packet.packet_id))
            case Subscribe():
                peer.send(SubAck(packet.packet_id, [each.qos for each in packet.subscriptions]))
            case Unsubscribe():
                peer.send(UnsubAck(packet.packet_id, [0] * len(packet.topic_filters) if peer.version == 5 else []))
            case PingReq():
                peer.send(PingResp())
            case Disconnect():
                return


@asynccontextmanager
async def first(misbehave: Script, *, version: int = 5, times: int = 1, **options: Any) -> AsyncIterator[Client]:
    """A client whose broker does something so many times before it is honest."""
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        with suppress(ConnectionError):
            await (misbehave(peer) if connections <= times else be_honest(peer))

    defaults: dict[str, Any] = {"reconnect": BACKOFF, "wait_for_server": True, "ping_timeout_s": 2.0}
    defaults |= {"drain_timeout_s": 1.0, "close_timeout_s": 0.2}
    async with (
        scripted(script, version=version) as route,
        Client(route, "c", version=version, **defaults | options) as client,
    ):
        yield client


async def check_usable(client: Client) -> None:
    """All that a client is for works, sooner or later."""
    assert await client.subscribe("check/#", 1) == (1,)
    messages = client.messages("check/#")
    for qos in (1, 2):
        assert await client.publish("check/a", b"%d" % qos, qos=qos) == 0
        assert (await anext(messages)).payload == b"%d" % qos
    await client.unsubscribe("check/#")
    messages.close()


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# One thing that is wrong, and the next connection is honest.


async def _acknowledge_wrongly(peer: Peer) -> None:
    await peer.accept()
    while (packet := await peer.receive()) is not None:
        if isinstance(packet, Subscribe):
            peer.send(SubAck(packet.packet_id, [1]))
        elif isinstance(packet, Publish):
            peer.send(PubComp(packet.packet_id))


async def _flood_before_connack(peer: Peer) -> None:
    await peer.expect(Connect)
    for _ in range(100):
        peer.send(Publish("a", bytes(1000)))
    await peer.receive()


async def _connack_twice(peer: Peer) -> None:
    await peer.accept()
    peer.send(ConnAck())
    await peer.receive()


async def _never_connack(peer: Peer) -> None:
    await peer.expect(Connect)
    await peer.receive()


async def _promise_much(peer: Peer) -> None:
    """The header of 256 MB."""
    await peer.accept()
    peer.send(b"\x30\xff\xff\xff\x7f", bytes(100_000))
    await peer.receive()


async def _promise_what_is_allowed_and_stop(peer: Peer) -> None:
    """A packet of the largest size that the client takes, of which only a half comes, and no PINGRESP in it."""
    await peer.accept()
    peer.send(b"\x30\x80\x80\x10\x00\x01a", bytes(100_000))
    await peer.receive()
    await peer.receive()


async def _authenticate_without_end(peer: Peer) -> None:
    await peer.accept()
    for _ in range(1000):
        peer.send(Auth(0x18, authentication_method="x", authentication_data=bytes(1000)))
    await peer.receive()


async def _reset(peer: Peer) -> None:
    await peer.accept()
    linger = struct.pack("ii", 1, 0)
    peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    peer.writer.transport.abort()


def _send_after_connack(*items: Any) -> Script:
    async def misbehave(peer: Peer) -> None:
        await peer.accept()
        peer.send(*items)
        await peer.receive()

    return misbehave


def _refuse(code: int) -> Script:
    async def misbehave(peer: Peer) -> None:
        await peer.accept(reason_code=code)

    return misbehave


ONCE: dict[str, Script] = {
    "a wrong acknowledgement": _acknowledge_wrongly,
    "a flood before CONNACK": _flood_before_connack,
    "CONNACK twice": _connack_twice,
    "no CONNACK": _never_connack,
    "a length of 256 MB": _promise_much,
    "half of the largest packet": _promise_what_is_allowed_and_stop,
    "AUTH without end": _authenticate_without_end,
    "a reset": _reset,
    "alias 0": _send_after_connack(b"\x30\x07\x00\x01a\x03\x23\x00\x00"),
    "an alias out of range": _send_after_connack(Publish("a", b"", topic_alias=17)),
    "an alias that was never given": _send_after_connack(Publish("", b"", topic_alias=1)),
    "a session that nobody wanted": _send_after_connack(ConnAck(session_present=True)),
    "DISCONNECT": _send_after_connack(Disconnect(ReasonCode.SERVER_BUSY)),
    "SERVER_UNAVAILABLE": _refuse(0x88),
    "QUOTA_EXCEEDED": _refuse(0x97),
    "BAD_USER_NAME_OR_PASSWORD": _refuse(0x86),
}


@pytest.mark.parametrize("name", ONCE)
@asynchronous
async def test_a_client_works_after_a_broker_has_sent(name: str) -> None:
    async with first(ONCE[name], times=3, connect_timeout_s=0.3, keep_alive=1, ping_timeout_s=0.3) as client:
        await check_usable(client)


@BOTH_VERSIONS
@asynchronous
async def test_answers_to_nothing_change_nothing(version: int) -> None:
    codes = [0] if version == 5 else []

    async def answer_nothing(peer: Peer) -> None:
        await peer.accept()
        for packet_id in range(1, 65536, 97):
            peer.send(PubAck(packet_id), PubComp(packet_id), SubAck(packet_id, [0]), UnsubAck(packet_id, codes))
        await peer.writer.drain()
        await go_on_honestly(peer)

    async with first(answer_nothing, version=version) as client:
        await check_usable(client)
        assert client.stats().connections == 1


@BOTH_VERSIONS
@asynchronous
async def test_a_server_that_sends_byte_by_byte_is_understood(version: int) -> None:
    async def drip(peer: Peer) -> None:
        write = peer.writer.write
        due: asyncio.Queue[bytes] = asyncio.Queue()
        peer.writer.write = due.put_nowait  # type: ignore[method-assign]

        async def trickle() -> None:
            while True:
                for byte in await due.get():
                    write(bytes((byte,)))
                    await asyncio.sleep(0)

        task = asyncio.ensure_future(trickle())
        try:
            await be_honest(peer)
        finally:
            task.cancel()

    async with first(drip, version=version) as client:
        await check_usable(client)
        assert client.stats().connections == 1


@asynchronous
async def test_pingresp_without_end_is_read_and_no_more() -> None:
    async def ping(peer: Peer) -> None:
        await peer.accept()
        for _ in range(100):
            peer.writer.write(PingResp().encode(5) * 10_000)
            await peer.writer.drain()
        await go_on_honestly(peer)

    async with first(ping) as client:
        before = resident_bytes()
        await check_usable(client)
        assert client.stats().connections == 1
        assert client.stats().sent.keys().isdisjoint({12})  # no PINGREQ was due
        assert resident_bytes() - before < 8 * MEGABYTE


# What CONNACK allows.


@asynchronous
async def test_a_connack_with_every_limit_at_its_least_leaves_what_fits() -> None:
    async def script(peer: Peer) -> None:
        await be_honest(
            peer,
            receive_maximum=1,
            maximum_qos=1,
            retain_available=False,
            maximum_packet_size=40,
            topic_alias_maximum=0xFFFF,
            server_keep_alive=1,
            session_expiry_interval=0,
            wildcard_subscription_available=False,
            subscription_identifier_available=False,
            shared_subscription_available=False,
            assigned_client_identifier="x" * 0xFFFF,
            reason_string="y" * 0xFFFF,
        )

    will = Will("will", b"gone", qos=2, retain=True)
    async with (
        scripted(script) as route,
        Client(route, "", will=will, drain_timeout_s=1, close_timeout_s=0.2) as client,
    ):
        assert len(client.client_id) == 0xFFFF
        with pytest.raises(PublishError):
            await client.publish("a", bytes(100), qos=1)
        with pytest.raises(PublishError):
            await client.publish("a", bytes(100))
        with pytest.raises(PublishError):
            await client.publish("a", b"", qos=2)
        with pytest.raises(PublishError):
            await client.publish("a", b"", qos=1, retain=True)
        for refused in ("a/#", "$share/a/b"):
            with pytest.raises(SubscribeError):
                await client.subscribe(refused)
        with pytest.raises(SubscribeError):
            await client.subscribe("a", subscription_identifier=1)
        # Topics of their own, each of which would get an alias; and more at once than may be in flight.
        report = await client.publish_many([(f"topic/number/{number}", b"x") for number in range(2000)], qos=1)
        assert (report.acknowledged, report.failures) == (2000, [])
        filters = [f"filter/number/{number}" for number in range(100)]
        assert await client.subscribe(filters) == (0,) * 100
        await client.unsubscribe(filters)


@asynchronous
async def test_a_filter_that_no_packet_may_carry_is_a_subscribe_error() -> None:
    async with first(lambda peer: be_honest(peer, maximum_packet_size=20)) as client:
        with pytest.raises(SubscribeError) as told:
            await client.subscribe("a/filter/of/more/than/twenty/bytes")
        assert told.value.reason_codes == {"a/filter/of/more/than/twenty/bytes": ReasonCode.PACKET_TOO_LARGE}


# Connections that come to nothing.


async def _accept_and_drop(peer: Peer) -> None:
    await peer.accept()


async def _accept_send_and_drop(peer: Peer) -> None:
    await peer.accept()
    peer.send(Publish("a", b"so it seems to work", qos=0))


async def _drop(peer: Peer) -> None:
    await peer.expect(Connect)


async def _throw_out(peer: Peer) -> None:
    await peer.accept()
    peer.send(Disconnect(ReasonCode.SESSION_TAKEN_OVER))


@pytest.mark.parametrize(
    ("misbehave", "most"),
    [
        pytest.param(_accept_and_drop, 40, id="accepts and drops"),
        pytest.param(_drop, 40, id="drops"),
        # It does what it is for, so each attempt is the first one after a success: 25 ms in the mean.
        pytest.param(_accept_send_and_drop, 120, id="accepts, sends a message and drops"),
        pytest.param(_throw_out, 10, id="throws out"),
    ],
)
@asynchronous
async def test_a_broker_that_drops_its_clients_does_not_make_them_spin(misbehave: Script, most: int) -> None:
    turns = connects = 0
    is_leaving = False
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    select = selector.select

    def count_turn(timeout: float | None) -> Any:
        nonlocal turns
        turns += 1
        return select(timeout)

    selector.select = count_turn

    async def script(peer: Peer) -> None:
        nonlocal connects
        connects += 1
        try:
            await misbehave(peer)
        except ConnectionError:
            pass
        except AssertionError:
            if not is_leaving:  # else it may have gone before it had said CONNECT
                raise

    backoff = Backoff(base_s=0.05, max_s=0.3)
    async with scripted(script) as route:
        client = Client(route, "c", reconnect=backoff, wait_for_server=True, drain_timeout_s=0, close_timeout_s=0.1)
        starting = asyncio.ensure_future(client.connect())
        await asyncio.sleep(0)
        calls = [asyncio.ensure_future(call) for call in (client.publish("a", b"", qos=1), client.subscribe("a"))]
        await asyncio.sleep(1.5)
        assert 3 <= connects <= most
        assert turns <= 40 * connects  # both ends of each connection, and the thread that prepares it
        is_leaving = True
        await client.disconnect()
        outcomes = await asyncio.gather(starting, *calls, return_exceptions=True)
        assert all(isinstance(each, ConnAck | IotwireError) for each in outcomes), outcomes


@pytest.mark.timeout(60)
def test_a_storm_of_reconnects_leaves_nothing() -> None:
    async def test() -> None:
        peers: set[Peer] = set()

        async def script(peer: Peer) -> None:
            peers.add(peer)
            with suppress(ConnectionError):
                await be_honest(peer)
            peers.discard(peer)

        async with scripted(script) as route:
            options: dict[str, Any] = {"reconnect": Backoff(base_s=0.01, max_s=0.1), "close_timeout_s": 0.2}
            clients = [Client(route, f"c{number}", **options) for number in range(50)]
            await asyncio.gather(*(client.connect() for client in clients))
            for _ in range(10):
                for peer in [*peers]:
                    peer.writer.transport.abort()
                outcomes = await asyncio.gather(*(client.publish("a", b"", qos=1) for client in clients))
                assert outcomes == [0] * len(clients)
            await asyncio.gather(*(client.disconnect() for client in clients))

    run_clean(test, 50)


# Floods. The bound of a stream is a megabyte; what one read and the sockets hold comes on top, and the interpreter's
# own.

FLOOD_BYTES = 96 * MEGABYTE
GROWTH = 24 * MEGABYTE
STREAM = {"max_messages": 10_000, "max_bytes": MEGABYTE}


async def _flood(peer: Peer, make: Callable[[int], bytes], told: list[int]) -> None:
    """Write as fast as it is taken. told: how many bytes were."""
    for number in range(FLOOD_BYTES // 65536):
        chunk = make(number)
        peer.writer.write(chunk)
        await peer.writer.drain()
        told[0] += len(chunk)


def _qos_0(_: int) -> bytes:
    return Publish("flood", bytes(1000), retain=True).encode(5) * 64


def _qos_1(number: int) -> bytes:
    """Ever new packet ids."""
    ids = (1 + (number * 64 + each) % 65535 for each in range(64))
    return b"".join(Publish("flood", bytes(1000), qos=1, packet_id=packet_id).encode(5) for packet_id in ids)


async def _wait_until_still(told: list[int]) -> None:
    """Until nothing more is taken."""
    before = -1
    while told[0] != before:
        before = told[0]
        await asyncio.sleep(0.3)


def _flooding(make: Callable[[int], bytes], told: list[int]) -> Script:
    async def script(peer: Peer) -> None:
        await peer.accept()
        reading = asyncio.ensure_future(go_on_honestly(peer))
        try:
            await _flood(peer, make, told)
            await reading
        finally:
            reading.cancel()

    return script


@POLICIES
@asynchronous
async def test_a_flood_of_qos_0_that_nobody_reads_is_bounded(when_full: Any) -> None:
    told = [0]
    async with first(_flooding(_qos_0, told)) as client:
        messages = client.messages("flood", when_full=when_full, **STREAM)
        before = resident_bytes()
        await _wait_until_still(told)
        assert resident_bytes() - before < GROWTH
        assert messages.waiting <= 2 * MEGABYTE // 1000
        if when_full == "pause":
            assert told[0] < GROWTH
        else:
            assert told[0] == FLOOD_BYTES // 65536 * len(_qos_0(0))
            assert messages.dropped > 0
        messages.close()  # and what it held back comes
        await check_usable(client)


@POLICIES
@asynchronous
async def test_a_flood_of_qos_0_with_a_slow_reader_is_bounded_and_pausing_loses_nothing(when_full: Any) -> None:
    told = [0]
    async with first(_flooding(_qos_0, told)) as client:
        messages = client.messages("flood", when_full=when_full, **STREAM)
        before = resident_bytes()
        read = 0
        async for _ in messages:
            read += 1
            if not read % 64:
                await asyncio.sleep(0)
            if read + messages.dropped >= FLOOD_BYTES // 65536 * 64:
                break
        assert resident_bytes() - before < GROWTH
        assert when_full != "pause" or not messages.dropped
        messages.close()
        await check_usable(client)


@POLICIES
@asynchronous
async def test_a_flood_of_qos_1_that_nobody_reads_is_bounded(when_full: Any) -> None:
    told = [0]
    async with first(_flooding(_qos_1, told)) as client:
        messages = client.messages("flood", when_full=when_full, **STREAM)
        before = resident_bytes()
        await _wait_until_still(told)
        assert resident_bytes() - before < GROWTH
        assert told[0] < GROWTH  # it stops reading
        assert not messages.dropped
        messages.close()
        await check_usable(client)


@asynchronous
async def test_a_flood_of_qos_1_is_bounded_while_a_call_waits_for_an_answer() -> None:
    # Then the client has to go on reading: the answer may stand behind all of it.
    def make(number: int) -> bytes:
        return Publish("flood", bytes(200_000), qos=1, packet_id=1 + number).encode(5)

    async def script(peer: Peer) -> None:
        await peer.accept()
        for number in range(1000):
            peer.writer.write(make(number))
            await peer.writer.drain()
        await peer.receive()

    async with first(script, receive_maximum=10) as client:
        messages = client.messages("flood", **STREAM)
        before = resident_bytes()
        # 10 of 256 KiB are what the client allows, and a call may wait while more comes.
        assert await client.publish("a", b"", qos=1) == 0
        assert resident_bytes() - before < GROWTH
        messages.close()
        await check_usable(client)


@asynchronous
async def test_messages_that_come_again_with_each_connection_do_not_pile_up() -> None:
    """Nobody reads, and the broker sends what is unacknowledged each time: that is honest, if unlucky."""
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        if not isinstance(await peer.receive(), Connect):
            return  # the test is over
        connections += 1
        dup = connections > 1
        peer.send(ConnAck(session_present=dup))
        peer.send(*(Publish("flood", bytes(1000), qos=1, packet_id=each, dup=dup) for each in range(1, 21)))
        await peer.writer.drain()
        await asyncio.sleep(0.02)

    async with scripted(script) as route:
        backoff = Backoff(base_s=0.001, max_s=0.001)
        async with Client(
            route, "c", reconnect=backoff, session_expiry_interval=60, clean_start=False, drain_timeout_s=0,
            close_timeout_s=0.1,
        ) as client:  # fmt: skip
            messages = client.messages("flood", max_messages=10)
            await until(lambda: connections >= 20)
            assert messages.waiting <= 3 * 20
