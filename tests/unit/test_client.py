"""The client's connection, from CONNECT to its end, against servers that send exactly what a test says."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from iotwire import (
    Broker,
    ConnectError,
    ConnectionLostError,
    EncodeError,
    WireError,
)
from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    PubAck,
    Publish,
    ReasonCode,
    SubAck,
    Will,
)
from leaping import Leaping, leap
from scripted import Peer, asynchronous, asynchronous_on, one_connection, scripted

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])


# Connecting.


@BOTH_VERSIONS
@asynchronous
async def test_connect_carries_the_options_and_disconnect_ends_it(version: int) -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.accept())
        seen.append(await peer.expect(Disconnect))
        await peer.expect_close()

    will = Will("gateways/7/gone", b"bye", qos=1, retain=True)
    async with (
        scripted(script, version=version) as route,
        one_connection(route, "gateway-7", version=version, keep_alive=45, clean_start=False, will=will) as client,
    ):
        assert client.is_connected
        assert client.client_id == "gateway-7"
    limits: dict[str, Any] = {}
    if version == 5:
        limits = {"receive_maximum": 100, "maximum_packet_size": 256 * 1024, "topic_alias_maximum": 16}
    assert seen == [Connect("gateway-7", clean_start=False, keep_alive=45, will=will, **limits), Disconnect()]
    assert not client.is_connected


@asynchronous
async def test_an_option_that_says_what_the_standard_assumes_is_no_property_of_connect() -> None:
    seen: list[Connect] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.accept())
        await peer.answer_pings_until_close()

    assumed = {"receive_maximum": 65535, "max_packet_size": 268_435_460, "topic_alias_maximum": 0}
    async with scripted(script) as route, one_connection(route, "a", **assumed):
        pass
    assert seen == [Connect("a", keep_alive=60)]


@BOTH_VERSIONS
@asynchronous
async def test_connect_carries_user_name_and_password_of_the_broker(version: int) -> None:
    seen: list[Connect] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.accept())
        await peer.answer_pings_until_close()

    async with scripted(script, version=version) as route:
        authenticated = Broker(route.host, route.port, username="me", password=b"word")
        async with one_connection(authenticated, "a", version=version):
            pass
    assert (seen[0].username, seen[0].password) == ("me", b"word")


@pytest.mark.parametrize(("version", "code"), [(5, 0x87), (5, 0x8C), (4, 5), (4, 2)])
@asynchronous
async def test_a_refused_connection_tells_the_servers_reason(version: int, code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(reason_code=code)

    async with scripted(script, version=version) as route:
        client = one_connection(route, "a", version=version)
        with pytest.raises(ConnectError) as caught:
            await client.connect()
    assert caught.value.reason_code == code
    assert f"0x{code:02X}" in str(caught.value)
    assert not client.is_connected


@asynchronous
async def test_a_server_that_closes_without_connack_is_a_connect_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Connect)

    async with scripted(script) as route:
        with pytest.raises(ConnectError, match="closed the connection"):
            await one_connection(route, "a").connect()


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x02\x00\x00", b"\xff" * 16, b"\x20\xff\xff\xff\xff\x7f", b"\x00\x00"],
    ids=["http", "connack of 3.1.1", "garbage", "endless length", "reserved type"],
)
@asynchronous
async def test_an_answer_that_is_no_connack_is_a_connect_error(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Connect)
        peer.send(answer)
        await peer.expect_close()

    async with scripted(script) as route:
        with pytest.raises(ConnectError, match="broke the protocol") as caught:
            await one_connection(route, "a", close_timeout_s=0.2).connect()
    assert caught.value.reason_code is None


@pytest.mark.parametrize("packet", [Publish("a", b"1"), SubAck(1, (0,)), Auth(), Disconnect(0x89), PubAck(1)])
@asynchronous
async def test_nothing_but_connack_may_come_first(packet: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Connect)
        peer.send(packet, ConnAck())
        await peer.expect_close()

    async with scripted(script) as route:
        with pytest.raises(ConnectError, match=r"before CONNACK|AUTH without an authentication method"):
            await one_connection(route, "a", close_timeout_s=0.2).connect()


@asynchronous
async def test_a_server_that_says_nothing_runs_into_the_time_out() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Connect)
        await peer.expect_close()

    async with scripted(script) as route:
        with pytest.raises(ConnectError, match=r"no CONNACK within 0\.05 s"):
            await one_connection(route, "a", connect_timeout_s=0.05).connect()


@asynchronous
async def test_nobody_listening_is_a_connect_error() -> None:
    async with scripted(lambda peer: peer.expect_close()) as route:
        pass
    with pytest.raises(ConnectError, match=f"cannot connect to 127.0.0.1:{route.port}"):
        await one_connection(route, "a").connect()


@asynchronous
async def test_a_name_that_does_not_resolve_is_a_connect_error() -> None:
    with pytest.raises(ConnectError, match=r"cannot resolve no-such-host\.invalid"):
        await one_connection(Broker("no-such-host.invalid", 1883), "a").connect()


@asynchronous
async def test_what_connack_assigns_and_limits_is_known() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(assigned_client_identifier="chosen-9", server_keep_alive=77, receive_maximum=3, maximum_qos=1)
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "") as client:
        assert client.client_id == "chosen-9"
        assert client.server_limits.keep_alive == 77
        assert client.server_limits.receive_maximum == 3
        assert client.server_limits.maximum_qos == 1
        assert client.connack.server_keep_alive == 77
        with pytest.raises(ConnectError, match="already"):
            await client.connect()
        assert "chosen-9" in repr(client)


@asynchronous
async def test_a_client_that_is_not_connected_says_so() -> None:
    client = one_connection(Broker("broker.example", 1883), "a")
    for call in (client.publish("a"), client.publish("a", qos=1), client.subscribe("a"), client.unsubscribe("a")):
        with pytest.raises(ConnectionLostError, match="not connected"):
            await call
    with pytest.raises(ConnectionLostError):
        _ = client.connack
    with pytest.raises(ConnectionLostError):
        _ = client.server_limits
    await client.disconnect()


@asynchronous
async def test_a_client_connects_again_after_its_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(PubAck((await peer.expect(Publish)).packet_id))
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "a")
        for _ in range(3):
            async with client:
                await client.publish("t", b"x", qos=1)
    assert client.stats().messages_sent == 3


@pytest.mark.parametrize("turns", range(20))
@asynchronous
async def test_a_connect_that_is_cancelled_leaves_nothing_open_and_can_be_repeated(turns: int) -> None:
    async def script(peer: Peer) -> None:
        with suppress(ConnectionResetError):  # a connection that is given up may have had something to read
            if await peer.receive() is not None:
                peer.send(ConnAck())
                await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "a")
        attempt = asyncio.create_task(client.connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        await client.disconnect()
        async with client:
            assert client.is_connected


@asynchronous
async def test_disconnecting_while_connecting_ends_the_attempt() -> None:
    was_asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.expect(Connect)
        was_asked.set()
        await peer.expect_close()

    async with scripted(script) as route:
        client = one_connection(route, "a")
        attempt = asyncio.create_task(client.connect())
        await was_asked.wait()
        await client.disconnect()
        with pytest.raises(ConnectError, match="this client closed"):
            await attempt


def test_options_that_no_connect_can_carry_are_refused_at_once() -> None:
    route = Broker("broker.example", 1883)
    for options in (
        {"version": 3},
        {"version": "5"},
        {"keep_alive": -1},
        {"keep_alive": 65536},
        {"receive_maximum": 0},
        {"receive_maximum": 65536},
        {"max_packet_size": 0},
        {"topic_alias_maximum": -1},
        {"max_in_flight": 0},
        {"max_in_flight": 1.5},
        {"connect_timeout_s": 0},
        {"ping_timeout_s": -1},
        {"close_timeout_s": "2"},
        {"dead_link_timeout_s": 0.5},
        {"dead_link_timeout_s": 3601},
        {"dead_link_timeout_s": "30"},
        {"will": "gone"},
        {"user_properties": [("only a name",)]},
        {"version": 4, "session_expiry_interval": 60},
        {"version": 4, "user_properties": [("a", "b")]},
    ):
        with pytest.raises(EncodeError) as caught:
            one_connection(route, "a", **options)  # type: ignore[arg-type]
        assert caught.value.field in options, options
    with pytest.raises(EncodeError):
        one_connection(route, "nul\0")
    with pytest.raises(EncodeError):
        one_connection(route, "", version=4, clean_start=False)


# The end.


@asynchronous
async def test_a_disconnect_with_a_reason_reaches_the_server() -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        seen.append(await peer.expect(Disconnect))

    async with scripted(script) as route:
        client = one_connection(route, "a")
        await client.connect()
        await client.disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)
        with pytest.raises(ConnectionLostError, match="this client closed"):
            await client.publish("a")
    assert seen == [Disconnect(4)]


@asynchronous
async def test_closing_ends_streams_plainly_and_fails_calls_that_wait() -> None:
    has_arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        has_arrived.set()
        await peer.expect(Disconnect)
        await peer.expect_close()

    async with scripted(script) as route:
        client = one_connection(route, "a")
        await client.connect()
        reading = asyncio.create_task(_read_all(client.messages()))
        waiting = asyncio.create_task(client.publish("a", b"", qos=1))
        await has_arrived.wait()
        await client.disconnect()
        assert await reading == []
        with pytest.raises(ConnectionLostError):
            await waiting
        assert await _read_all(client.messages()) == []


async def _read_all(messages: Any) -> list[Publish]:
    return [message async for message in messages]


@asynchronous
async def test_a_disconnect_of_the_server_is_told_with_its_reason() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        peer.send(Publish("t", b"last words"), Disconnect(0x8E), Publish("t", b"after the end"))
        await peer.expect_close()

    async with scripted(script) as route, one_connection(route, "a") as client:
        messages = client.messages()
        with pytest.raises(ConnectionLostError, match="SESSION_TAKEN_OVER") as caught:
            await client.publish("a", b"", qos=1)
        assert caught.value.reason_code == 0x8E
        assert (await anext(messages)).payload == b"last words"
        with pytest.raises(ConnectionLostError):
            await anext(messages)
        with pytest.raises(ConnectionLostError):
            await anext(messages)


@asynchronous_on(Leaping)
async def test_a_server_that_never_closes_holds_up_a_close_only_so_long() -> None:
    stop = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Disconnect)
        await stop.wait()

    async with scripted(script) as route:
        client = one_connection(route, "a", close_timeout_s=20)
        await client.connect()
        leap()
        began = asyncio.get_running_loop().time()
        await client.disconnect()
        assert 5 < asyncio.get_running_loop().time() - began <= 20
        stop.set()


@asynchronous
async def test_an_error_of_the_body_comes_through_and_the_connection_is_closed() -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        seen.append(await peer.receive())

    async with scripted(script) as route:
        with pytest.raises(KeyError):
            async with one_connection(route, "a"):
                raise KeyError
    assert seen == [Disconnect()]


@asynchronous
async def test_the_error_of_the_wire_is_the_cause_of_the_lost_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        peer.send(b"\x00\x00")
        await peer.expect_close()

    async with scripted(lambda peer: _swallow(script, peer)) as route, one_connection(route, "a") as client:
        with pytest.raises(ConnectionLostError) as caught:
            await client.publish("a", b"", qos=1)
        assert isinstance(caught.value.__cause__, WireError)


async def _swallow(script: Any, peer: Peer) -> None:
    try:
        await script(peer)
    except AssertionError:  # a DISCONNECT comes before the close
        await peer.expect_close()
