"""Enhanced authentication through both clients: what they say in AUTH, and whom they do not go on with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import scripted_threads
from iotwire import (
    BlockingClient,
    Broker,
    ConnectError,
    ConnectionLostError,
    CredentialsError,
    EncodeError,
    EnhancedAuthentication,
    IotwireError,
    RequestTimeoutError,
)
from iotwire.mqtt import Auth, ConnAck, Connect, Disconnect, Publish, Subscribe
from scripted import Peer, asynchronous, in_turn, one_connection, reconnecting, scripted, until

METHOD = "reversed"


class Reversed(EnhancedAuthentication):
    """Answers each challenge with its bytes from the back to the front."""

    def __init__(self, wrong: Callable[[], None] | None = None, at: str = "") -> None:
        self.finished: list[bytes | None] = []
        self._wrong = wrong
        self._at = at

    @property
    def method(self) -> str:
        return METHOD

    def begin(self) -> bytes | None:
        self._go_wrong("begin")
        return b"hello"

    def answer(self, data: bytes | None) -> bytes | None:
        self._go_wrong("answer")
        return (data or b"")[::-1]

    def finish(self, data: bytes | None) -> None:
        self._go_wrong("finish")
        self.finished.append(data)

    def _go_wrong(self, at: str) -> None:
        if self._wrong is not None and self._at == at:
            self._wrong()


def auth(code: int, data: bytes | None = None) -> Auth:
    return Auth(code, authentication_method=METHOD, authentication_data=data)


def accepted(data: bytes | None = None, **properties: Any) -> ConnAck:
    return ConnAck(0, authentication_method=METHOD, authentication_data=data, **properties)


async def challenge(peer: Peer) -> None:
    connect = await peer.expect(Connect)
    assert (connect.authentication_method, connect.authentication_data) == (METHOD, b"hello")
    peer.send(auth(0x18, b"abc"))
    assert await peer.expect(Auth) == auth(0x18, b"cba")


@asynchronous
async def test_a_challenge_before_connack_is_answered_and_the_servers_last_word_is_told() -> None:
    async def script(peer: Peer) -> None:
        await challenge(peer)
        peer.send(auth(0x18))
        assert await peer.expect(Auth) == auth(0x18, b"")
        peer.send(accepted(b"well done"))
        await peer.answer_pings_until_close()

    authentication = Reversed()
    async with scripted(script) as route, one_connection(route, "c", authentication=authentication) as client:
        assert client.is_connected
    assert authentication.finished == [b"well done"]


@asynchronous
async def test_each_connection_is_authenticated_anew() -> None:
    async def first(peer: Peer) -> None:
        await challenge(peer)
        peer.send(accepted())

    async def second(peer: Peer) -> None:
        await challenge(peer)
        peer.send(accepted())
        await peer.answer_pings_until_close()

    async with scripted(in_turn(first, second)) as route, reconnecting(route, "c", authentication=Reversed()) as client:
        await until(lambda: client.stats().connections == 2)


@asynchronous
async def test_a_server_that_refuses_says_so() -> None:
    async def script(peer: Peer) -> None:
        await challenge(peer)
        peer.send(ConnAck(0x87))

    async with scripted(script) as route:
        with pytest.raises(ConnectError) as caught:
            await one_connection(route, "c", authentication=Reversed()).connect()
    assert caught.value.reason_code == 0x87


def refuse() -> None:
    raise CredentialsError("this is not the server it says it is")


def fail() -> None:
    raise ValueError("hunter2")


@pytest.mark.parametrize("at", ["begin", "answer", "finish"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [(refuse, "this is not the server it says it is"), (fail, "the enhanced authentication failed: ValueError")],
)
@asynchronous
async def test_what_the_application_raises_ends_the_attempt(wrong: Callable[[], None], message: str, at: str) -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        with suppress(AssertionError):
            await challenge(peer)
            peer.send(accepted(), Publish("a", b"not for the like of you", qos=1, packet_id=1))
            while (packet := await peer.receive()) is not None:
                seen.append(packet)

    async with scripted(script) as route:
        client = one_connection(route, "c", authentication=Reversed(wrong, at))
        messages = client.messages()
        with pytest.raises(CredentialsError) as caught:
            await client.connect()
        assert str(caught.value) == message
        assert "hunter2" not in str(caught.value)
        assert not client.is_connected
        assert client.stats().connections == 0
        assert messages.waiting == 0
    assert seen in ([], [Disconnect(0x80)])


@asynchronous
async def test_a_client_authenticates_again_while_it_publishes() -> None:
    async def script(peer: Peer) -> None:
        await challenge(peer)
        peer.send(accepted())
        assert await peer.expect(Auth) == auth(0x19, b"hello")
        assert (await peer.expect(Publish)).payload == b"meanwhile"
        peer.send(auth(0x18, b"xyz"))
        assert await peer.expect(Auth) == auth(0x18, b"zyx")
        peer.send(auth(0, b"again"))
        await peer.answer_pings_until_close()

    authentication = Reversed()
    async with scripted(script) as route, one_connection(route, "c", authentication=authentication) as client:
        again = asyncio.create_task(client.reauthenticate())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await client.publish("a", b"meanwhile")
        with pytest.raises(IotwireError, match="already"):
            await client.reauthenticate()
        await again
        assert authentication.finished == [None, b"again"]
        assert client.is_connected


@asynchronous
async def test_a_new_connection_is_as_good_as_authenticating_again() -> None:
    async def first(peer: Peer) -> None:
        await challenge(peer)
        peer.send(accepted())
        await peer.expect(Auth)

    async def second(peer: Peer) -> None:
        await challenge(peer)
        peer.send(accepted())
        await peer.answer_pings_until_close()

    async with scripted(in_turn(first, second)) as route, reconnecting(route, "c", authentication=Reversed()) as client:
        await client.reauthenticate()
        assert client.stats().connections == 2


@asynchronous
async def test_a_server_that_is_not_trusted_again_is_left() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Connect)
        peer.send(accepted())
        await peer.expect(Auth)
        peer.send(auth(0x18), Publish("a", b"after", qos=1, packet_id=1))
        assert await peer.expect(Disconnect) == Disconnect(0x80)
        await peer.expect_close()

    async with scripted(script) as route:
        client = one_connection(route, "c", authentication=Reversed(refuse, "answer"))
        await client.connect()
        messages = client.messages()
        with pytest.raises(ConnectionLostError, match="not the server"):
            await client.reauthenticate()
        assert messages.waiting == 0
        await client.disconnect()


@asynchronous
async def test_authenticating_again_that_is_cancelled_may_be_asked_for_anew() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Connect)
        peer.send(accepted())
        await peer.expect(Auth)
        await peer.expect(Auth)
        peer.send(auth(0))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c", authentication=Reversed()) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.reauthenticate()
        await client.reauthenticate()


@asynchronous
async def test_authenticating_again_needs_a_method_and_a_running_client() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "c")
        with pytest.raises(ConnectionLostError):
            await client.reauthenticate()
        async with client:
            with pytest.raises(EncodeError, match="authentication"):
                await client.reauthenticate()


def test_mqtt_3_1_1_has_no_enhanced_authentication() -> None:
    with pytest.raises(EncodeError, match="authentication_method"):
        one_connection(Broker("127.0.0.1", 1883), "c", version=4, authentication=Reversed())


# BlockingClient.


def challenge_a_thread(peer: scripted_threads.Peer) -> None:
    connect = peer.expect(Connect)
    assert (connect.authentication_method, connect.authentication_data) == (METHOD, b"hello")
    peer.send(auth(0x18, b"abc"))
    assert peer.expect(Auth) == auth(0x18, b"cba")
    peer.send(accepted(b"well done"))


def test_a_blocking_client_authenticates_and_again() -> None:
    def script(peer: scripted_threads.Peer) -> None:
        challenge_a_thread(peer)
        peer.answer(peer.expect(Subscribe))
        assert peer.expect(Auth) == auth(0x19, b"hello")
        peer.send(auth(0x18, b"xyz"))
        assert peer.expect(Auth) == auth(0x18, b"zyx")
        peer.send(auth(0, b"again"))
        assert peer.expect(Auth) == auth(0x19, b"hello")  # and no answer
        peer.answer_until_close()

    authentication = Reversed()
    with (
        scripted_threads.scripted(script) as route,
        BlockingClient(route, "c", authentication=authentication) as client,
    ):
        client.subscribe("a")
        client.reauthenticate(timeout_s=10)
        assert authentication.finished == [b"well done", b"again"]
        with pytest.raises(RequestTimeoutError):
            client.reauthenticate(timeout_s=0.05)
        client.publish("a", b"still here", qos=1)


def test_a_blocking_client_leaves_a_server_that_it_does_not_trust() -> None:
    def script(peer: scripted_threads.Peer) -> None:
        with suppress(AssertionError):
            challenge_a_thread(peer)

    with scripted_threads.scripted(script) as route:
        client = BlockingClient(route, "c", reconnect=None, authentication=Reversed(refuse, "finish"))
        with pytest.raises(CredentialsError, match="not the server"):
            client.connect()
        assert not client.is_connected
