"""What a client asks of a server: publish, subscribe, ping; one exchange at a time."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from iotwire import (
    ConnectionLostError,
    EncodeError,
    PublishError,
    SubscribeError,
)
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
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from leaping import Leaping, leap
from scripted import Peer, asynchronous, asynchronous_on, one_connection, scripted

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])


# Publishing.


@BOTH_VERSIONS
@asynchronous
async def test_publish_returns_when_its_quality_of_service_is_reached(version: int) -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        seen.append(await peer.receive())
        seen.append(first := await peer.expect(Publish))
        peer.send(PubAck(first.packet_id))
        seen.append(second := await peer.expect(Publish))
        peer.send(PubRec(second.packet_id))
        seen.append(await peer.expect(PubRel))
        peer.send(PubComp(second.packet_id))
        await peer.answer_pings_until_close()

    async with scripted(script, version=version) as route, one_connection(route, "a", version=version) as client:
        assert await client.publish("t/0", b"zero") == ReasonCode.SUCCESS
        assert await client.publish("t/1", bytearray(b"one"), 1, True) == ReasonCode.SUCCESS
        assert await client.publish("t/2", memoryview(b"two"), qos=2) == ReasonCode.SUCCESS
        stats = client.stats()
    assert seen == [
        Publish("t/0", b"zero"),
        Publish("t/1", b"one", qos=1, retain=True, packet_id=1),
        Publish("t/2", b"two", qos=2, packet_id=2),
        PubRel(2),
    ]
    assert stats.messages_sent == 3
    assert stats.bytes_sent > stats.bytes_received > 0


@asynchronous
async def test_publish_carries_the_properties_of_mqtt_5() -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.accept(topic_alias_maximum=2)
        seen.append(await peer.expect(Publish))
        seen.append(await peer.expect(Publish))
        await peer.answer_pings_until_close()

    properties: dict[str, Any] = {
        "payload_format_indicator": 1,
        "message_expiry_interval": 60,
        "response_topic": "answers",
        "correlation_data": b"\x01",
        "user_properties": (("a", "1"), ("a", "2")),
        "content_type": "application/json",
    }
    async with scripted(script) as route, one_connection(route, "a") as client:
        await client.publish("a/topic", b"{}", **properties)
        await client.publish("a/topic", b"{}")
    assert seen == [Publish("a/topic", b"{}", topic_alias=1, **properties), Publish("", b"{}", topic_alias=1)]


@asynchronous
async def test_acknowledgements_may_come_in_any_order() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        ids = [(await peer.expect(Publish)).packet_id for _ in range(3)]
        peer.send(PubAck(ids[2]), PubAck(ids[0], 0x10), PubAck(ids[1], 0x87))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "a") as client:
        calls = [client.publish(f"t/{i}", b"", qos=1) for i in range(3)]
        first, second, third = await asyncio.gather(*calls, return_exceptions=True)
    assert first == ReasonCode.NO_MATCHING_SUBSCRIBERS
    assert isinstance(second, PublishError)
    assert third == ReasonCode.SUCCESS


@pytest.mark.parametrize(
    ("qos", "answers", "code"),
    [
        (1, [lambda i: PubAck(i, 0x87)], 0x87),
        (1, [lambda i: PubAck(i, 0x97)], 0x97),
        (2, [lambda i: PubRec(i, 0x90)], 0x90),
    ],
)
@asynchronous
async def test_a_message_that_the_server_refuses_is_a_publish_error(qos: int, answers: list[Any], code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(receive_maximum=1)
        for answer in answers:
            packet = await peer.receive()
            peer.send(answer(packet.packet_id))  # type: ignore[union-attr]
        peer.send(PubAck((await peer.expect(Publish)).packet_id))  # the place of the refused one is free again
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "a") as client:
        with pytest.raises(PublishError, match=f"0x{code:02X}") as caught:
            await client.publish("t", b"", qos=qos)
        assert caught.value.reason_code == code
        await client.publish("t", b"", qos=1)


@asynchronous
async def test_what_connack_rules_out_is_refused_before_it_is_sent() -> None:
    after: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.accept(
            maximum_qos=0, retain_available=False, maximum_packet_size=64, topic_alias_maximum=1, receive_maximum=1
        )
        after.append(await peer.receive())
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "a") as client:
        for code, arguments in (
            (0x9B, {"qos": 1}),
            (0x9B, {"qos": 2}),
            (0x9A, {"retain": True}),
            (0x95, {"payload": bytes(64)}),
        ):
            with pytest.raises(PublishError) as caught:
                await client.publish(**{"topic": "t", **arguments})  # type: ignore[arg-type]
            assert caught.value.reason_code == code
        with pytest.raises(SubscribeError, match="bytes"):
            await client.subscribe("x" * 100)
        await client.publish("t", b"the first to be sent")
    assert after == [Publish("t", b"the first to be sent")]


@asynchronous
async def test_a_mistake_of_the_caller_costs_no_packet_id_and_no_place() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(receive_maximum=2)
        packet = await peer.expect(Publish)
        assert packet.topic == "t"
        peer.send(PubAck(packet.packet_id))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "a") as client:
        for _ in range(5):
            for arguments in ({"topic": "a/#"}, {"qos": 3}, {"qos": "1"}, {"payload": "text", "qos": 1}, {"topic": 7}):
                with pytest.raises(EncodeError):
                    await client.publish(**{"topic": "t", "qos": 1, **arguments})  # type: ignore[arg-type]
            with pytest.raises(EncodeError, match="topic_alias"):
                await client.publish("t", topic_alias=1)  # type: ignore[call-arg]
            with pytest.raises(EncodeError, match="subscription_identifiers"):
                await client.publish("t", subscription_identifiers=(1,))  # type: ignore[call-arg]
            with pytest.raises(EncodeError):
                await client.subscribe([])
            with pytest.raises(EncodeError):
                await client.subscribe("a/b#")
        await client.publish("t", b"", qos=1)


@asynchronous
async def test_the_servers_receive_maximum_is_kept_and_waiters_go_in_order() -> None:
    order: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.accept(receive_maximum=2)
        waiting = [await peer.expect(Publish), await peer.expect(Publish)]
        for _ in range(4):
            # Nothing may be on its way beyond the two: the next packet comes only after an acknowledgement.
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await peer.receive()
            done = waiting.pop(0)
            order.append(done.topic)
            peer.send(PubAck(done.packet_id))
            waiting.append(await peer.expect(Publish))
        for packet in waiting:
            order.append(packet.topic)
            peer.send(PubAck(packet.packet_id))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "a") as client:
        await asyncio.gather(*(client.publish(f"t/{i}", b"", qos=1) for i in range(6)))
    assert order == [f"t/{i}" for i in range(6)]


@asynchronous
async def test_a_cancelled_publish_keeps_its_place_until_the_server_has_answered() -> None:
    has_arrived, may_answer = asyncio.Event(), asyncio.Event()
    seen: list[Publish] = []

    async def script(peer: Peer) -> None:
        await peer.accept(receive_maximum=1)
        seen.append(await peer.expect(Publish))
        has_arrived.set()
        await may_answer.wait()
        peer.send(PubRec(seen[0].packet_id))
        await peer.expect(PubRel)
        peer.send(PubComp(seen[0].packet_id))
        seen.append(await peer.expect(Publish))
        peer.send(PubAck(seen[1].packet_id))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "a") as client:
        cancelled = asyncio.create_task(client.publish("first", b"", qos=2))
        await has_arrived.wait()
        cancelled.cancel()
        impatient = asyncio.create_task(client.publish("never sent", b"", qos=1))
        following = asyncio.create_task(client.publish("second", b"", qos=1))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.gather(cancelled, impatient, return_exceptions=True)
        assert not following.done()
        may_answer.set()
        await following
    assert [packet.topic for packet in seen] == ["first", "second"]
    assert seen[0].packet_id != seen[1].packet_id


# Subscribing.


@BOTH_VERSIONS
@asynchronous
async def test_subscribe_and_unsubscribe_await_their_answers(version: int) -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        seen.append(packet := await peer.expect(Subscribe))
        peer.send(SubAck(packet.packet_id, (1, 0)))
        seen.append(packet := await peer.expect(Unsubscribe))
        peer.send(UnsubAck(packet.packet_id, (0, 0x11) if version == 5 else ()))
        await peer.answer_pings_until_close()

    async with scripted(script, version=version) as route, one_connection(route, "a", version=version) as client:
        granted = await client.subscribe(["a/#", Subscription("b", 2)], qos=1)
        ended = await client.unsubscribe(["a/#", "b"])
    assert granted == (ReasonCode.GRANTED_QOS_1, ReasonCode.GRANTED_QOS_0)
    assert ended == ((ReasonCode.SUCCESS, ReasonCode.NO_SUBSCRIPTION_EXISTED) if version == 5 else ())
    assert seen == [
        Subscribe(1, (Subscription("a/#", 1), Subscription("b", 2))),
        Unsubscribe(2, ("a/#", "b")),
    ]


@BOTH_VERSIONS
@asynchronous
async def test_refused_filters_are_a_subscribe_error_by_filter(version: int) -> None:
    refusal = 0x87 if version == 5 else 0x80

    async def script(peer: Peer) -> None:
        await peer.accept()
        packet = await peer.expect(Subscribe)
        peer.send(SubAck(packet.packet_id, (1, refusal, 0)))
        await peer.answer_pings_until_close()

    async with scripted(script, version=version) as route, one_connection(route, "a", version=version) as client:
        with pytest.raises(SubscribeError, match=r"refused b: ") as caught:
            await client.subscribe(["a", "b", "c"], 1)
    assert caught.value.reason_codes == {"a": 1, "b": refusal, "c": 0}


@asynchronous
async def test_a_refused_unsubscribe_is_an_error_too() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        packet = await peer.expect(Unsubscribe)
        peer.send(UnsubAck(packet.packet_id, (0x87,)))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "a") as client:
        with pytest.raises(SubscribeError) as caught:
            await client.unsubscribe("a")
    assert caught.value.reason_codes == {"a": 0x87}


@asynchronous
async def test_subscriptions_that_connack_rules_out_are_refused_before_they_are_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(
            wildcard_subscription_available=False,
            subscription_identifier_available=False,
            shared_subscription_available=False,
        )
        packet = await peer.expect(Subscribe)
        assert [each.topic_filter for each in packet.subscriptions] == ["plain"]
        peer.send(SubAck(packet.packet_id, (0,)))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "a") as client:
        for topic_filter, code in (("a/+", 0xA2), ("a/#", 0xA2), ("$share/g/a", 0x9E)):
            with pytest.raises(SubscribeError) as caught:
                await client.subscribe(topic_filter)
            assert caught.value.reason_codes == {topic_filter: code}
        with pytest.raises(SubscribeError) as caught:
            await client.subscribe("a", subscription_identifier=7)
        assert caught.value.reason_codes == {"a": 0xA1}
        await client.subscribe("plain")


@asynchronous
async def test_a_cancelled_subscribe_does_not_confuse_the_next() -> None:
    has_arrived, may_answer = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        first = await peer.expect(Subscribe)
        has_arrived.set()
        await may_answer.wait()
        second = await peer.expect(Subscribe)
        assert first.packet_id != second.packet_id
        peer.send(SubAck(first.packet_id, (0x80,)), SubAck(second.packet_id, (1,)))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "a") as client:
        cancelled = asyncio.create_task(client.subscribe("a"))
        await has_arrived.wait()
        cancelled.cancel()
        may_answer.set()
        assert await client.subscribe("b", 1) == (ReasonCode.GRANTED_QOS_1,)


# Keep alive.


@BOTH_VERSIONS
@asynchronous_on(Leaping)
async def test_a_silent_client_pings_within_its_keep_alive(version: int) -> None:
    pings: list[float] = []
    enough = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        for _ in range(3):
            await peer.expect(PingReq)
            pings.append(asyncio.get_running_loop().time())
            peer.send(PingResp())
        enough.set()
        await peer.answer_pings_until_close()

    async with (
        scripted(script, version=version) as route,
        one_connection(route, "a", version=version, keep_alive=4, ping_timeout_s=5) as client,
    ):
        leap()
        await enough.wait()
        assert client.is_connected
    for earlier, later in itertools.pairwise(pings):
        assert 2 <= later - earlier < 4


@asynchronous
async def test_the_keep_alive_of_the_server_wins() -> None:
    pinged = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept(server_keep_alive=1)
        await peer.expect(PingReq)
        pinged.set()
        await peer.expect(Disconnect)

    async with scripted(script) as route, one_connection(route, "a", keep_alive=600):
        await pinged.wait()


@asynchronous
async def test_a_server_that_falls_silent_is_noticed_by_everyone_who_waits() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        while await peer.receive() is not None:
            pass

    async with scripted(script) as route, one_connection(route, "a", keep_alive=1, ping_timeout_s=0.1) as client:
        with client.messages() as messages:
            outcomes = await asyncio.gather(
                client.publish("a", b"", qos=1), client.subscribe("a"), anext(messages), return_exceptions=True
            )
    assert [type(each) for each in outcomes] == [ConnectionLostError] * 3
    assert "PINGREQ" in str(outcomes[0])
    assert len({id(each) for each in outcomes}) == 3


@asynchronous
async def test_a_server_that_sends_anything_is_not_silent() -> None:
    """PINGRESP may stand behind a large message on a slow link: any byte is a sign of life."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        large = Publish("t", bytes(2000)).encode()
        await peer.expect(PingReq)
        peer.send(large[:1000])
        await peer.expect(PingReq)  # well after the time-out of the first, which was never answered
        peer.send(large[1000:])
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "a", keep_alive=1, ping_timeout_s=0.5) as client:
        message = await anext(client.messages())
        assert len(message.payload) == 2000
        assert client.is_connected
