"""A client over several connections: what is made again, what is sent again, and what goes on waiting meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from iotwire import Broker, ConnectionLostError, CredentialsError, PublishError, SubscribeError
from iotwire.mqtt import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from iotwire.route import Attempt, Route
from scripted import Peer, asynchronous, in_turn, reconnecting, scripted, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])
# What makes a server keep the session.
KEPT: dict[int, dict[str, Any]] = {4: {"clean_start": False}, 5: {"session_expiry_interval": 300}}


async def accept_and_drop(peer: Peer) -> None:
    await peer.accept()


async def accept(peer: Peer) -> None:
    await peer.accept()
    await peer.answer_pings_until_close()


# Subscriptions.


@BOTH_VERSIONS
@asynchronous
async def test_a_stream_goes_on_over_a_reconnect(version: int) -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        peer.send(SubAck((await peer.expect(Subscribe)).packet_id, (1,)), Publish("a", b"before"))

    async def second(peer: Peer) -> None:
        await peer.accept()
        again = await peer.expect(Subscribe)
        assert again.subscriptions == (Subscription("a", 1),)
        peer.send(SubAck(again.packet_id, (1,)), Publish("a", b"after"))
        await peer.answer_pings_until_close()

    async with (
        scripted(in_turn(first, second), version=version) as route,
        reconnecting(route, "c", version=version) as client,
    ):
        await client.subscribe("a", 1)
        messages = client.messages("a")
        assert [(await anext(messages)).payload for _ in range(2)] == [b"before", b"after"]
        assert client.is_connected
        assert (client.stats().connections, client.stats().reconnects) == (2, 1)


@asynchronous
async def test_subscriptions_are_made_again_with_all_that_they_were_made_with() -> None:
    restored: list[Subscribe] = []
    with_options = Subscription("a/#", 1, no_local=True, retain_as_published=True, retain_handling=2)

    async def first(peer: Peer) -> None:
        await peer.accept()
        for codes in ((1, 0), (2,), (0x87, 0), (0,)):
            peer.send(SubAck((await peer.expect(Subscribe)).packet_id, codes))
        peer.send(UnsubAck((await peer.expect(Unsubscribe)).packet_id, (0,)))
        await peer.expect(Publish)

    async def second(peer: Peer) -> None:
        await peer.accept()
        for _ in range(3):
            restored.append(await peer.expect(Subscribe))
            peer.send(SubAck(restored[-1].packet_id, (0,) * len(restored[-1].subscriptions)))
        peer.send(Publish("end"))
        await peer.answer_pings_until_close()

    async with scripted(in_turn(first, second)) as route, reconnecting(route, "c") as client:
        marked: dict[str, Any] = {"subscription_identifier": 7, "user_properties": [("k", "v")]}
        await client.subscribe([with_options, "b"], **marked)
        await client.subscribe("c", 2)
        with pytest.raises(SubscribeError):
            await client.subscribe(["refused", "d"], user_properties=[("k", "w")])
        await client.subscribe("given up")
        await client.unsubscribe("given up")
        await client.publish("now drop me")
        await anext(client.messages("end"))
    assert [(each.subscriptions, each.subscription_identifier, each.user_properties) for each in restored] == [
        ((with_options, Subscription("b")), 7, (("k", "v"),)),
        ((Subscription("c", 2),), None, ()),
        ((Subscription("d"),), None, (("k", "w"),)),
    ]


@asynchronous
async def test_subscriptions_are_back_before_what_is_sent_again_is_answered_over_them() -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        peer.send(SubAck((await peer.expect(Subscribe)).packet_id, (1,)))
        await peer.expect(Publish)

    async def second(peer: Peer) -> None:
        await peer.accept()
        subscribe, asked = await peer.expect(Subscribe), await peer.expect(Publish)
        peer.send(SubAck(subscribe.packet_id, (1,)), PubAck(asked.packet_id), Publish("answer", b"yes"))
        await peer.answer_pings_until_close()

    async with scripted(in_turn(first, second)) as route, reconnecting(route, "c") as client:
        answers = client.messages("answer")
        await client.subscribe("answer", 1)
        await client.publish("question", qos=1)
        assert (await anext(answers)).payload == b"yes"


@BOTH_VERSIONS
@asynchronous
async def test_nothing_is_subscribed_again_where_the_server_has_kept_the_session(version: int) -> None:
    seen: list[Any] = []

    async def first(peer: Peer) -> None:
        await peer.accept()
        peer.send(SubAck((await peer.expect(Subscribe)).packet_id, (1,)))

    async def second(peer: Peer) -> None:
        connect = await peer.accept(session_present=True)
        assert not connect.clean_start
        seen.append(await peer.receive())
        peer.send(Publish("a", b"kept for me"))
        await peer.answer_pings_until_close()

    async with (
        scripted(in_turn(first, second), version=version) as route,
        reconnecting(route, "c", version=version, **KEPT[version]) as client,
    ):
        await client.subscribe("a", 1)
        await until(lambda: client.stats().connections == 2)
        await client.publish("b", b"the first packet")
        assert (await anext(client.messages("a"))).payload == b"kept for me"
    assert seen == [Publish("b", b"the first packet")]


@asynchronous
async def test_a_subscription_that_is_not_granted_again_is_told_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        peer.send(SubAck((await peer.expect(Subscribe)).packet_id, (0, 0)))

    async def second(peer: Peer) -> None:
        await peer.accept()
        peer.send(SubAck((await peer.expect(Subscribe)).packet_id, (0, 0x87)), Publish("a", b"on with it"))
        await peer.answer_pings_until_close()

    async with scripted(in_turn(first, second)) as route, reconnecting(route, "c") as client:
        await client.subscribe(["a", "b"])
        assert (await anext(client.messages("a"))).payload == b"on with it"
    assert "refused to restore the subscription b: NOT_AUTHORIZED (0x87)" in caplog.text


@asynchronous
async def test_a_subscription_that_the_new_connection_rules_out_is_told_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        peer.send(SubAck((await peer.expect(Subscribe)).packet_id, (0,)))

    async def second(peer: Peer) -> None:
        await peer.accept(wildcard_subscription_available=False)
        peer.send(Publish("a", b"on with it"))
        await peer.answer_pings_until_close()

    async with scripted(in_turn(first, second)) as route, reconnecting(route, "c") as client:
        await client.subscribe("a/#")
        assert (await anext(client.messages("a"))).payload == b"on with it"
    assert "cannot restore the subscriptions a/#" in caplog.text


# Messages on their way.


@BOTH_VERSIONS
@pytest.mark.parametrize("is_present", [True, False], ids=["kept", "lost"])
@asynchronous
async def test_what_was_not_acknowledged_goes_out_again(version: int, is_present: bool) -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        ids = [(await peer.expect(Publish)).packet_id for _ in range(4)]
        peer.send(PubAck(ids[0]), PubRec(ids[2]))
        assert await peer.expect(PubRel) == PubRel(ids[2])

    async def second(peer: Peer) -> None:
        await peer.accept(session_present=is_present)
        if is_present:
            peer.send(PubComp((await peer.expect(PubRel)).packet_id))
        again = [await peer.expect(Publish) for _ in range(2)]
        assert [(each.payload, each.qos, each.dup) for each in again] == [(b"1", 1, is_present), (b"3", 2, is_present)]
        peer.send(PubAck(again[0].packet_id), PubRec(again[1].packet_id))
        peer.send(PubComp((await peer.expect(PubRel)).packet_id))
        await peer.answer_pings_until_close()

    async with (
        scripted(in_turn(first, second), version=version) as route,
        reconnecting(route, "c", version=version, **KEPT[version]) as client,
    ):
        publishing = [client.publish("a", b"%d" % number, qos) for number, qos in enumerate((1, 1, 2, 2))]
        assert await asyncio.gather(*publishing) == [ReasonCode.SUCCESS] * 4
        assert client.undelivered == []


@asynchronous
async def test_a_publish_is_refused_on_the_connection_that_rules_it_out() -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)

    async def second(peer: Peer) -> None:
        await peer.accept(maximum_qos=0)
        await peer.answer_pings_until_close()

    async with scripted(in_turn(first, second)) as route, reconnecting(route, "c") as client:
        with pytest.raises(PublishError) as caught:
            await client.publish("a", b"", qos=1)
        assert caught.value.reason_code == 0x9B
        assert client.is_connected


@BOTH_VERSIONS
@asynchronous
async def test_subscribe_and_unsubscribe_ask_again_on_the_next_connection(version: int) -> None:
    async def lose(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()

    async def grant(peer: Peer) -> None:
        await peer.accept()
        # What it asked for on the connection that was lost may be restored and asked for anew: both are answered.
        while (packet := await peer.receive()) is not None:
            if isinstance(packet, Subscribe):
                peer.send(SubAck(packet.packet_id, (0,) * len(packet.subscriptions)))
            elif isinstance(packet, Publish):
                return

    async def end(peer: Peer) -> None:
        await peer.accept()
        while (packet := await peer.receive()) is not None:
            if isinstance(packet, Unsubscribe):
                peer.send(UnsubAck(packet.packet_id, (0,) if version == 5 else ()))

    async with (
        scripted(in_turn(lose, lose, grant, lose, end), version=version) as route,
        reconnecting(route, "c", version=version) as client,
    ):
        assert await client.subscribe("a") == (ReasonCode.GRANTED_QOS_0,)
        await client.publish("drop me")
        await until(lambda: client.stats().connections == 4)
        await client.unsubscribe("a")
        assert client.stats().connections == 5


@pytest.mark.parametrize("is_present", [True, False], ids=["kept", "lost"])
@asynchronous
async def test_a_request_is_answered_on_another_connection_than_it_was_asked_on(is_present: bool) -> None:
    asked: list[Publish] = []

    async def first(peer: Peer) -> None:
        await peer.accept()
        peer.send(SubAck((await peer.expect(Subscribe)).packet_id, (1,)))
        asked.append(await peer.expect(Publish))
        peer.send(PubAck(asked[0].packet_id))

    async def second(peer: Peer) -> None:
        await peer.accept(session_present=is_present)
        if not is_present:
            again = await peer.expect(Subscribe)
            assert again.subscriptions == (Subscription(asked[0].response_topic or "", 1),)
            peer.send(SubAck(again.packet_id, (1,)))
        peer.send(Publish(asked[0].response_topic or "", b"21", correlation_data=asked[0].correlation_data))
        await peer.answer_pings_until_close()

    async with (
        scripted(in_turn(first, second)) as route,
        reconnecting(route, "c", session_expiry_interval=60) as client,
    ):
        assert (await client.request("sums", b"3 * 7")).payload == b"21"


@asynchronous
async def test_qos_0_waits_for_a_connection_and_keeps_its_order() -> None:
    is_asked, may_accept = asyncio.Event(), asyncio.Event()
    seen: list[bytes] = []

    async def second(peer: Peer) -> None:
        is_asked.set()
        await may_accept.wait()
        await peer.accept()
        for _ in range(4):
            packet = await peer.expect(Publish)
            seen.append(bytes(packet.payload))
            if packet.packet_id is not None:
                peer.send(PubAck(packet.packet_id))
        await peer.answer_pings_until_close()

    async with scripted(in_turn(accept_and_drop, second)) as route, reconnecting(route, "c") as client:
        await is_asked.wait()
        waiting = [asyncio.create_task(client.publish("a", b"%d" % at, qos)) for at, qos in enumerate((0, 1, 0))]
        await until(lambda: client.stats().messages_queued == 3)
        receipt = client.publish_nowait("a", b"3")
        assert not receipt.is_done
        may_accept.set()
        await asyncio.gather(*waiting)
        assert await receipt == ReasonCode.SUCCESS
        await until(lambda: len(seen) == 4)
    assert seen == [b"0", b"1", b"2", b"3"]


# What each connection says of itself.


class Rotating(Route):
    """A route with another password for each attempt, or none at all."""

    def __init__(self, broker: Broker, *failures: Exception | None) -> None:
        self._broker = broker
        self._failures = [*failures]
        self.prepared_at: list[datetime] = []

    @property
    def protocol(self) -> str:
        return "mqtt"

    def prepare(self, now: datetime) -> Attempt:
        self.prepared_at.append(now)
        if self._failures and (failure := self._failures.pop(0)) is not None:
            raise failure
        number = len(self.prepared_at)
        return replace(self._broker.prepare(now), username="device", password=b"secret %d" % number)


@asynchronous
async def test_each_attempt_has_credentials_of_its_own() -> None:
    passwords: list[bytes | None] = []

    async def script(peer: Peer) -> None:
        passwords.append((await peer.accept()).password)
        if len(passwords) == 3:
            await peer.answer_pings_until_close()

    async with scripted(script) as broker:
        route = Rotating(broker, None, CredentialsError("the token service is down"))
        async with reconnecting(route, "c") as client:
            await until(lambda: len(passwords) == 3)
            await until(lambda: client.is_connected)
    assert passwords == [b"secret 1", b"secret 3", b"secret 4"]
    assert route.prepared_at == sorted(route.prepared_at)
    assert all(at.tzinfo is not None for at in route.prepared_at)


@asynchronous
async def test_a_route_that_fails_in_its_own_way_ends_the_client_and_everything_that_waits() -> None:
    async with scripted(in_turn(accept_and_drop)) as broker:
        client = reconnecting(Rotating(broker, None, KeyError("of the application")), "c")
        await client.connect()
        messages = client.messages()
        with pytest.raises(ConnectionLostError, match="the route failed: KeyError") as caught:
            await anext(messages)
        assert isinstance(caught.value.__cause__, KeyError)
        with pytest.raises(ConnectionLostError, match="the route failed"):
            await client.publish("a", b"", qos=1)
        assert await client.disconnect() == []


@pytest.mark.parametrize(
    ("version", "options", "said"),
    [
        (5, {}, [True, True, True]),
        (5, {"session_expiry_interval": 0}, [True, True, True]),
        (5, {"session_expiry_interval": 60}, [True, False, False]),
        (5, {"session_expiry_interval": 60, "clean_start": False}, [False, False, False]),
        (5, {"clean_start": False}, [False, False, False]),
        (4, {}, [True, True, True]),
        (4, {"clean_start": False}, [False, False, False]),
    ],
)
@asynchronous
async def test_a_session_is_begun_anew_on_the_first_connection_at_most_where_it_can_be_kept(
    version: int, options: dict[str, Any], said: list[bool]
) -> None:
    seen: list[Connect] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.accept())
        if len(seen) == 3:
            await peer.answer_pings_until_close()

    async with (
        scripted(script, version=version) as route,
        reconnecting(route, "c", version=version, **options) as client,
    ):
        await until(lambda: client.stats().connections == 3)
    assert [connect.clean_start for connect in seen] == said
    assert {connect.client_id for connect in seen} == {"c"}


@asynchronous
async def test_an_id_that_the_server_chose_is_kept() -> None:
    seen: list[str] = []

    async def script(peer: Peer) -> None:
        connect = await peer.expect(Connect)
        seen.append(connect.client_id)
        peer.send(ConnAck(assigned_client_identifier=None if connect.client_id else "chosen-9"))
        if len(seen) == 2:
            await peer.answer_pings_until_close()

    async with (
        scripted(script) as route,
        reconnecting(route, "", session_expiry_interval=60) as client,
    ):
        await until(lambda: client.stats().connections == 2)
        assert client.client_id == "chosen-9"
    assert seen == ["", "chosen-9"]


@asynchronous
async def test_a_new_connection_has_a_keep_alive_of_its_own() -> None:
    async def first(peer: Peer) -> None:
        await peer.accept(server_keep_alive=1)
        await peer.expect(PingReq)
        peer.send(Disconnect(0x8B))

    async def second(peer: Peer) -> None:
        await peer.accept(server_keep_alive=600)
        peer.send(Publish("a"))
        await peer.answer_pings_until_close()

    async with scripted(in_turn(first, second)) as route, reconnecting(route, "c", keep_alive=60) as client:
        await anext(client.messages("a"))
        assert client.server_limits.keep_alive == 600
