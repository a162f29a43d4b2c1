"""Requests that await an answer on a response topic (MQTT 5.0, 4.10)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from iotwire import (
    Broker,
    ConnectionLostError,
    EncodeError,
    PublishError,
    RequestTimeoutError,
    SubscribeError,
)
from iotwire.mqtt import ConnAck, Connect, PubAck, Publish, SubAck, Subscribe, Subscription
from scripted import Peer, asynchronous, one_connection, reconnecting, scripted, until


class Responder:
    """A server that grants what is asked for, and answers requests as `answer` says."""

    def __init__(self, answer: Any = None, code: int = 1, **connack: Any) -> None:
        self.subscribed: list[Subscription] = []
        self.asked: list[Publish] = []
        self.acknowledged: list[int] = []
        self._answer = answer or (lambda request: [reply(request)])
        self._code = code
        self._connack = connack

    async def __call__(self, peer: Peer) -> None:
        await peer.accept(**self._connack)
        while (packet := await peer.receive()) is not None:
            if isinstance(packet, Subscribe):
                self.subscribed += packet.subscriptions
                peer.send(SubAck(packet.packet_id, (self._code,) * len(packet.subscriptions)))
            elif isinstance(packet, Publish):
                self.asked.append(packet)
                if packet.qos:
                    peer.send(PubAck(packet.packet_id))
                peer.send(*self._answer(packet))
            elif isinstance(packet, PubAck):
                self.acknowledged.append(packet.packet_id)


def reply(request: Publish, payload: bytes | None = None, **options: Any) -> Publish:
    assert request.response_topic is not None
    return Publish(
        request.response_topic,
        payload if payload is not None else b"re: " + request.payload,
        correlation_data=request.correlation_data,
        **options,
    )


@pytest.mark.parametrize("qos", [0, 1])
@asynchronous
async def test_a_request_gets_its_own_answer_and_subscribes_once(qos: int) -> None:
    server = Responder()
    async with scripted(server) as route, one_connection(route, "gateway-7") as client:
        for number in range(3):
            answer = await client.request("sums", b"%d" % number, qos, content_type="text/plain")
            assert answer.payload == b"re: %d" % number
        assert client.stats().messages_unclaimed == 0
    assert server.subscribed == [Subscription("responses/gateway-7", 1)]
    assert {(each.topic, each.qos, each.response_topic, each.content_type) for each in server.asked} == {
        ("sums", qos, "responses/gateway-7", "text/plain")
    }
    correlations = [each.correlation_data or b"" for each in server.asked]
    assert len(set(correlations)) == 3
    assert all(len(each) == 16 for each in correlations)


@pytest.mark.parametrize(
    ("connack", "given", "topic"),
    [
        ({}, None, "responses/c"),
        ({"response_information": "tenants/9/answers"}, None, "tenants/9/answers/c"),
        ({"assigned_client_identifier": "chosen"}, None, "responses/chosen"),
        ({"response_information": "ignored"}, "my/own", "my/own"),
    ],
)
@asynchronous
async def test_answers_come_where_the_call_or_the_server_says(
    connack: dict[str, Any], given: str | None, topic: str
) -> None:
    server = Responder(**connack)
    client_id = "" if "assigned_client_identifier" in connack else "c"
    async with scripted(server) as route, one_connection(route, client_id) as client:
        await client.request("sums", b"1", response_topic=given)
    assert server.subscribed == [Subscription(topic, 1)]
    assert server.asked[0].response_topic == topic


@asynchronous
async def test_many_requests_at_once_are_answered_in_any_order() -> None:
    waiting: list[Publish] = []

    def answer(request: Publish) -> list[Publish]:
        waiting.append(request)
        return [reply(each) for each in reversed(waiting)] if len(waiting) == 10 else []

    async with scripted(Responder(answer)) as route, one_connection(route, "c") as client:
        await client.subscribe("responses/c", 1)
        answers = await asyncio.gather(*(client.request("sums", b"%d" % at) for at in range(10)))
    assert [each.payload for each in answers] == [b"re: %d" % at for at in range(10)]


@asynchronous
async def test_an_answer_of_qos_1_is_acknowledged_and_goes_to_nobody_else() -> None:
    server = Responder(lambda request: [reply(request, qos=1, packet_id=77)])
    async with scripted(server) as route, one_connection(route, "c") as client:
        everything = client.messages()
        await client.request("sums", b"1")
        await until(lambda: server.acknowledged == [77])
        assert everything.waiting == 0


@asynchronous
async def test_an_answer_that_nobody_waits_for_is_a_message_like_any_other() -> None:
    def answer(request: Publish) -> list[Publish]:
        strange = Publish(request.response_topic or "", b"strange", correlation_data=b"never seen")
        bare = Publish(request.response_topic or "", b"bare")
        return [strange, bare, reply(request, b"first"), reply(request, b"second")]

    async with scripted(Responder(answer)) as route, one_connection(route, "c") as client:
        messages = client.messages("responses/#")
        assert (await client.request("sums", b"1")).payload == b"first"
        assert [(await anext(messages)).payload for _ in range(3)] == [b"strange", b"bare", b"second"]


@asynchronous
async def test_a_request_without_an_answer_runs_into_its_time_out_and_leaves_nothing() -> None:
    late: list[Publish] = []

    def answer(request: Publish) -> list[Publish]:
        late.append(request)
        return [] if len(late) == 1 else [reply(late[0], b"late"), reply(request)]

    async with scripted(Responder(answer)) as route, one_connection(route, "c") as client:
        with pytest.raises(RequestTimeoutError, match=r"on a request to sums within 0\.05 s") as caught:
            await client.request("sums", b"secret", timeout_s=0.05)
        assert isinstance(caught.value, TimeoutError)
        assert "secret" not in str(caught.value)
        assert (await client.request("sums", b"2")).payload == b"re: 2"
        assert (await anext(client.messages("responses/c"))).payload == b"late"


@asynchronous
async def test_a_request_that_is_cancelled_leaves_the_client_usable() -> None:
    def answer(request: Publish) -> list[Publish]:
        return [] if request.payload == b"no answer" else [reply(request)]

    server = Responder(answer)
    async with scripted(server) as route, one_connection(route, "c") as client:
        for turns in range(10):
            asking = asyncio.create_task(client.request("sums", b"no answer"))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        assert (await client.request("sums", b"1")).payload == b"re: 1"


@asynchronous
async def test_a_time_out_of_the_caller_is_told_from_one_of_the_request() -> None:
    async with scripted(Responder(lambda _: [])) as route, one_connection(route, "c") as client:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05):
                await client.request("sums", b"1")
        assert not isinstance(caught.value, RequestTimeoutError)


@asynchronous
async def test_what_the_server_refuses_is_told_as_by_subscribe_and_publish() -> None:
    async with scripted(Responder(code=0x87)) as route, one_connection(route, "c") as client:
        for _ in range(2):  # it is asked for again: the refusal may not be for ever
            with pytest.raises(SubscribeError) as caught:
                await client.request("sums", b"1")
            assert caught.value.reason_codes == {"responses/c": 0x87}

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(SubAck((await peer.expect(Subscribe)).packet_id, (1,)))
        peer.send(PubAck((await peer.expect(Publish)).packet_id, 0x97))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c") as client:
        with pytest.raises(PublishError):
            await client.request("sums", b"1")


@pytest.mark.parametrize(
    "arguments",
    [("sums/#", b""), ("sums", "text"), ("sums", b"", 3), ("sums", None)],
)
@asynchronous
async def test_a_request_that_cannot_be_sent_is_refused(arguments: Any) -> None:
    async with scripted(Responder()) as route, one_connection(route, "c") as client:
        with pytest.raises(EncodeError):
            await client.request(*arguments)
        assert (await client.request("sums", b"1")).payload == b"re: 1"


@asynchronous
async def test_requests_need_mqtt_5_and_a_client_that_runs() -> None:
    with pytest.raises(ConnectionLostError):
        await one_connection(Broker("broker.example", 1883), "c").request("a")

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.answer_pings_until_close()

    async with scripted(script, version=4) as route, one_connection(route, "c", version=4) as client:
        with pytest.raises(EncodeError) as caught:
            await client.request("a", b"1")
        assert caught.value.field == "version"


@asynchronous
async def test_a_request_ends_with_its_client() -> None:
    server = Responder(lambda _: [])
    async with scripted(server) as route:
        client = one_connection(route, "c")
        await client.connect()
        asking = [asyncio.create_task(client.request("sums", b"%d" % at)) for at in range(2)]
        await until(lambda: len(server.asked) == 2)
        await client.disconnect()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ConnectionLostError] * 2


@asynchronous
async def test_a_request_waits_for_a_connection_and_for_the_topic_that_it_brings() -> None:
    connections = 0
    server = Responder(response_information="of the second connection")

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        if connections > 1:
            await server(peer)
        else:
            await peer.expect(Connect)
            peer.send(ConnAck(response_information="of the first connection"))

    async with scripted(script) as route, reconnecting(route, "c") as client:
        await until(lambda: not client.is_connected)
        assert (await client.request("sums", b"1")).payload == b"re: 1"
    assert server.asked[0].response_topic == "of the second connection/c"


@asynchronous
async def test_an_answer_is_read_while_a_queue_is_full() -> None:
    def answer(request: Publish) -> list[Publish]:
        return [*(Publish("flood", b"x" * 1000) for _ in range(500)), reply(request)]

    async with scripted(Responder(answer)) as route, one_connection(route, "c") as client:
        flood = client.messages("flood", max_messages=2, when_full="pause")
        for _ in range(3):
            assert (await client.request("sums", b"1")).payload == b"re: 1"
        assert flood.waiting >= 2
