"""When a client connects again, when it gives up, and what it says about it."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from iotwire import Backoff, Broker, ConnectError, ConnectionLostError, CredentialsError, EncodeError, RouteError
from iotwire.client.backoff import Retries, is_refusal
from iotwire.mqtt import ConnAck, Connect, Disconnect, PubAck, Publish, SubAck, Subscribe
from iotwire.route import Attempt, Route
from scripted import Peer, asynchronous, in_turn, reconnecting, scripted, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])
LOST = ConnectionLostError("the server closed the connection")
Ranges = list[tuple[float, float]]


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> Ranges:
    """The ranges from which delays were drawn; the longest is what comes of each."""
    drawn: Ranges = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    return drawn


async def accept_and_drop(peer: Peer) -> None:
    await peer.accept()


async def accept(peer: Peer) -> None:
    await peer.accept()
    await peer.answer_pings_until_close()


# The delays.


def test_delays_grow_to_the_cap_and_are_drawn_from_zero_on(ranges: Ranges) -> None:
    retries = Retries(Backoff(base_s=1, max_s=20))
    assert [retries.delay_s(LOST, 0.0) for _ in range(7)] == [1, 2, 4, 8, 16, 20, 20]
    assert ranges == [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (0, 20), (0, 20)]


def test_delays_are_spread_over_their_range() -> None:
    delays = [Retries(Backoff(base_s=10, max_s=20)).delay_s(LOST, 0.0) or 0.0 for _ in range(400)]
    assert all(0 <= delay <= 10 for delay in delays)
    assert min(delays) < 1
    assert max(delays) > 9


def test_a_thousand_failures_do_not_overflow(ranges: Ranges) -> None:
    retries = Retries(Backoff(base_s=0.5, max_s=86400))
    assert [retries.delay_s(LOST, 0.0) for _ in range(2000)][-1] == 86400


@pytest.mark.parametrize(
    ("lasted_s", "makes_progress", "delay_s"), [(0.0, False, 8), (9.9, False, 8), (10.0, False, 1), (0.0, True, 1)]
)
def test_a_connection_that_lasts_or_does_its_work_begins_the_delays_again(
    ranges: Ranges, lasted_s: float, makes_progress: bool, delay_s: float
) -> None:
    retries = Retries(Backoff(base_s=1, max_s=20))
    for _ in range(3):
        retries.delay_s(LOST, 0.0)
    if makes_progress:
        retries.note_progress()
    assert retries.delay_s(LOST, lasted_s) == delay_s


def test_attempts_are_counted_in_a_row(ranges: Ranges) -> None:
    retries = Retries(Backoff(base_s=1, max_s=20, attempts=2))
    assert [retries.delay_s(LOST, 0.0) for _ in range(3)] == [1, 2, None]
    retries.note_progress()
    assert [retries.delay_s(LOST, 0.0) for _ in range(3)] == [1, 2, None]
    assert Retries(None).delay_s(LOST, 100.0) is None


def tls_error(kind: type[ssl.SSLError], reason: str | None) -> ssl.SSLError:
    error = kind(1, "handshake")
    error.reason = reason or ""
    return error


def caused(cause: Exception) -> ConnectError:
    error = ConnectError("TLS failed")
    error.__cause__ = cause
    return error


REFUSALS: dict[str, Exception] = {
    **{f"CONNACK {code:#x}": ConnectError("", reason_code=code) for code in (0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C)},
    **{f"CONNACK {code} of 3.1.1": ConnectError("", reason_code=code) for code in (1, 2, 4, 5)},
    **{f"DISCONNECT {code:#x}": ConnectionLostError("", reason_code=code) for code in (0x87, 0x8A, 0x8E)},
    "credentials": CredentialsError("expired"),
    "route": RouteError("not over 8884"),
    "alert": caused(tls_error(ssl.SSLError, "TLSV1_ALERT_UNKNOWN_CA")),
    "our own verdict": caused(tls_error(ssl.SSLCertVerificationError, "CERTIFICATE_VERIFY_FAILED")),
}
FAILURES: dict[str, Exception | None] = {
    **{f"CONNACK {code:#x}": ConnectError("", reason_code=code) for code in (3, 0x80, 0x88, 0x89, 0x97, 0x9F)},
    **{f"DISCONNECT {code:#x}": ConnectionLostError("", reason_code=code) for code in (0x00, 0x8B, 0x8D, 0x93)},
    "lost": LOST,
    "nobody listens": ConnectError("cannot connect"),
    "TLS broke off": caused(tls_error(ssl.SSLError, None)),
    "reset": caused(ConnectionResetError()),
    "nothing": None,
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_waits_from_half_of_the_cap_on(ranges: Ranges, name: str) -> None:
    assert is_refusal(REFUSALS[name])
    Retries(Backoff(base_s=1, max_s=20)).delay_s(REFUSALS[name], 0.0)
    assert ranges == [(10, 20)]


@pytest.mark.parametrize("name", FAILURES)
def test_what_is_no_refusal_waits_as_for_a_lost_link(ranges: Ranges, name: str) -> None:
    assert not is_refusal(FAILURES[name])
    Retries(Backoff(base_s=1, max_s=20)).delay_s(FAILURES[name], 0.0)
    assert ranges == [(0, 1)]


@pytest.mark.parametrize(
    ("field", "options"),
    [
        *[("base_s", {"base_s": value}) for value in (0, -1, 86401, "1", True, float("nan"), float("inf"))],
        *[("max_s", {"max_s": value}) for value in (0.5, 86401, None, "60", float("nan"))],
        *[("attempts", {"attempts": value}) for value in (0, -1, 1.5, True, "3")],
    ],
)
def test_a_backoff_out_of_range_is_refused(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(EncodeError) as caught:
        Backoff(**options)
    assert caught.value.field == field


# Over connections.


@asynchronous
async def test_a_server_that_accepts_and_drops_is_asked_ever_more_rarely(ranges: Ranges) -> None:
    asked: list[Connect] = []

    async def script(peer: Peer) -> None:
        asked.append(await peer.accept())

    async with scripted(script) as route:
        client = reconnecting(route, "c", reconnect=Backoff(base_s=0.001, max_s=0.006, attempts=4))
        await client.connect()
        with pytest.raises(ConnectionLostError):
            await anext(client.messages())
    assert ranges == [(0, 0.001), (0, 0.002), (0, 0.004), (0, 0.006)]
    assert len(asked) == 5


@asynchronous
async def test_a_server_that_drops_after_an_acknowledgement_is_asked_again_soon(ranges: Ranges) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(PubAck((await peer.expect(Publish)).packet_id))

    async with scripted(script) as route, reconnecting(route, "c") as client:
        for _ in range(4):
            await client.publish("a", b"", qos=1)
    assert set(ranges) == {(0, 0.001)}


@BOTH_VERSIONS
@pytest.mark.parametrize("ending", ["refused", "closed"])
@asynchronous
async def test_a_client_that_gives_up_ends_everything_that_waits(version: int, ending: str) -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        peer.send(SubAck((await peer.expect(Subscribe)).packet_id, (0,)), Publish("a", b"last"))
        for _ in range(2):
            await peer.receive()

    async def refuse(peer: Peer) -> None:
        if ending == "refused":
            await peer.accept(reason_code=0x87 if version == 5 else 5)

    async with scripted(in_turn(first, refuse), version=version) as route:
        backoff = Backoff(base_s=0.001, max_s=0.004, attempts=2)
        client = reconnecting(route, "c", version=version, reconnect=backoff)
        await client.connect()
        messages = client.messages()
        await client.subscribe("a")
        outcomes = await asyncio.gather(
            client.publish("a", b"", qos=1),
            client.publish("a", b"", qos=2),
            client.subscribe("b"),
            client.unsubscribe("c"),
            return_exceptions=True,
        )
        assert [type(each) for each in outcomes] == [ConnectionLostError] * 4
        assert len({id(each) for each in outcomes}) == 4
        assert (await anext(messages)).payload == b"last"
        for stream in (messages, client.messages("b")):
            with pytest.raises(ConnectionLostError):
                await anext(stream)
        assert not client.is_connected
        assert [each.qos for each in await client.disconnect()] == [1, 2]


@asynchronous
async def test_a_client_that_gave_up_starts_again_with_all_it_had() -> None:
    seen: list[Any] = []

    async def first(peer: Peer) -> None:
        await peer.accept()
        peer.send(SubAck((await peer.expect(Subscribe)).packet_id, (0,)))
        await peer.expect(Publish)

    async def last(peer: Peer) -> None:
        await peer.accept()
        for _ in range(2):
            seen.append(packet := await peer.receive())
            answer = SubAck if isinstance(packet, Subscribe) else PubAck
            peer.send(answer(packet.packet_id, (0,)) if answer is SubAck else answer(packet.packet_id))
        peer.send(Publish("a", b"here again"))
        await peer.answer_pings_until_close()

    async def nothing(peer: Peer) -> None:
        pass

    async with scripted(in_turn(first, nothing, last)) as route:
        client = reconnecting(route, "c", reconnect=Backoff(base_s=0.001, max_s=0.002, attempts=1))
        await client.connect()
        await client.subscribe("a")
        messages = client.messages("a")
        with pytest.raises(ConnectionLostError):
            await client.publish("b", b"kept", qos=1)
        assert [each.payload for each in client.undelivered] == [b"kept"]
        async with client:
            assert (await anext(messages)).payload == b"here again"
            assert client.undelivered == []
    assert {type(each) for each in seen} == {Subscribe, Publish}
    assert (client.stats().connections, client.stats().reconnects) == (2, 0)


@asynchronous
async def test_disconnecting_during_a_backoff_ends_it(ranges: Ranges) -> None:
    async with scripted(accept_and_drop) as route:
        client = reconnecting(route, "c", reconnect=Backoff(base_s=1000, max_s=1000))
        await client.connect()
        await until(lambda: bool(ranges))
        waiting = [
            asyncio.create_task(call)
            for call in (client.publish("a"), client.publish("a", b"1", qos=1), client.subscribe("a"))
        ]
        stream = asyncio.create_task(anext(client.messages(), None))
        await until(lambda: client.stats().messages_queued == 2)
        assert not client.is_connected
        async with asyncio.timeout(5):
            undelivered = await client.disconnect()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ConnectionLostError] * 3
        assert await stream is None
    assert {(each.payload, each.qos) for each in undelivered} == {(b"", 0), (b"1", 1)}


# The first connection.


@asynchronous
async def test_the_first_failure_is_raised_unless_the_server_may_be_waited_for(ranges: Ranges) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(reason_code=0x88)

    async with scripted(script) as route:
        with pytest.raises(ConnectError) as caught:
            await reconnecting(route, "c").connect()
    assert caught.value.reason_code == 0x88
    assert ranges == []


@pytest.mark.parametrize("attempts", [None, 3])
@asynchronous
async def test_a_server_is_waited_for_while_it_refuses(ranges: Ranges, attempts: int | None) -> None:
    async def unavailable(peer: Peer) -> None:
        await peer.accept(reason_code=0x88)

    async def silent(peer: Peer) -> None:
        await peer.expect(Connect)

    backoff = Backoff(base_s=0.001, max_s=0.008, attempts=attempts)
    async with (
        scripted(in_turn(unavailable, silent, unavailable, accept)) as route,
        reconnecting(route, "c", reconnect=backoff, wait_for_server=True) as client,
    ):
        assert client.is_connected
        assert client.stats().reconnects == 0
    assert ranges == [(0, 0.001), (0, 0.002), (0, 0.004)]


@asynchronous
async def test_a_server_is_waited_for_until_it_listens(ranges: Ranges) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        host, port = reserved.getsockname()
        client = reconnecting(Broker(host, port), "c", wait_for_server=True)
        connecting = asyncio.create_task(client.connect())
        await until(lambda: len(ranges) >= 2)
        reserved.listen()
        reserved.setblocking(False)
        accepted, _ = await asyncio.get_running_loop().sock_accept(reserved)
        reader, writer = await asyncio.open_connection(sock=accepted)
        await Peer(reader, writer, 5).accept()
        assert (await connecting).reason_code == 0
        await asyncio.gather(client.disconnect(), Peer(reader, writer, 5).expect(Disconnect))
        writer.close()


@asynchronous
async def test_a_server_is_waited_for_only_as_long_as_the_attempts_last() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(reason_code=0x87)

    backoff = Backoff(base_s=0.001, max_s=0.004, attempts=3)
    async with scripted(script) as route:
        with pytest.raises(ConnectError) as caught:
            await reconnecting(route, "c", reconnect=backoff, wait_for_server=True).connect()
    assert caught.value.reason_code == 0x87


@asynchronous
async def test_waiting_for_a_server_can_be_cancelled(ranges: Ranges) -> None:
    async with scripted(in_turn(lambda peer: peer.accept(reason_code=0x88), accept)) as route:
        client = reconnecting(route, "c", reconnect=Backoff(base_s=1000, max_s=1000), wait_for_server=True)
        connecting = asyncio.create_task(client.connect())
        await until(lambda: bool(ranges))
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        async with client:
            assert client.is_connected


# What the log says.


class WithSecrets(Route):
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @property
    def protocol(self) -> str:
        return "mqtt"

    def prepare(self, now: datetime) -> Attempt:
        return replace(self._broker.prepare(now), username="?token=T0KEN&signature=5IGN", password=b"PA55WORD")


LOGGED: dict[str, tuple[Callable[[Peer], Any], int, str]] = {
    "closed": (lambda peer: peer.accept(), logging.WARNING, "the server closed the connection"),
    "refused": (lambda peer: peer.accept(reason_code=0x87), logging.ERROR, "state=refused"),
    "no CONNACK": (lambda peer: peer.expect(Connect), logging.WARNING, "before its CONNACK"),
    "not MQTT": (
        lambda peer: _answer(peer, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        logging.WARNING,
        "broke the protocol",
    ),
    "taken over": (lambda peer: _answer(peer, ConnAck(), Disconnect(0x8E)), logging.ERROR, "SESSION_TAKEN_OVER"),
}


async def _answer(peer: Peer, *items: Any) -> None:
    await peer.expect(Connect)
    peer.send(*items)
    await peer.receive()


@pytest.mark.parametrize("name", LOGGED)
@asynchronous
async def test_the_log_says_what_happened_and_when_the_next_attempt_comes_but_no_secret(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    script, level, text = LOGGED[name]

    def told() -> list[logging.LogRecord]:
        return [each for each in caplog.records if each.name == "iotwire.client" and each.levelno >= logging.WARNING]

    async with (
        scripted(in_turn(accept_and_drop, script, accept)) as broker,
        reconnecting(WithSecrets(broker), "gateway-7", close_timeout_s=0.2) as client,
    ):
        await until(lambda: client.stats().connections >= 2 and len(told()) >= 2 and client.is_connected)
        repr(client)
    assert [record.levelno for record in told()] == [logging.WARNING, level]
    assert all("client_id=gateway-7 " in record.getMessage() for record in told())
    assert all(" delay_s=0.0 reason=" in record.getMessage() for record in told())
    assert text in told()[1].getMessage()
    for secret in ("T0KEN", "5IGN", "PA55WORD"):
        assert secret not in caplog.text
