"""The client against four real brokers, in each version of MQTT that they speak: mosquitto, NATS, aedes and RabbitMQ.

What a broker does not have, or does against the standard, stands in its class in tests/brokers.py, with the clause.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from brokers import BROKERS, RealBroker
from iotwire import Client
from iotwire.mqtt import Subscription, Will
from relays import relay
from scripted import asynchronous

pytestmark = pytest.mark.broker

# How long a message that must not come is waited for, after one that came the same way.
SILENCE_S = 0.2


@dataclass(frozen=True)
class Spoken:
    """A running broker, and the version of MQTT to speak with it."""

    broker: RealBroker
    version: int

    def client(self, client_id: str, *, port: int | None = None, **options: Any) -> Client:
        return Client(self.broker.route(port), client_id, version=self.version, **options)

    def lasting_client(self, client_id: str) -> Client:
        """A client that continues its session, and whose session stays."""
        expiry = {"session_expiry_interval": 600} if self.version == 5 else {}
        return self.client(client_id, clean_start=False, **expiry)


def pairs(condition: str | None = None) -> list[Any]:
    """Brokers with the versions they speak; those only of which something is true, where it is named."""
    return [
        pytest.param((kind, version), id=f"{kind.name}-{'5.0' if version == 5 else '3.1.1'}")
        for kind in BROKERS
        if condition is None or getattr(kind, condition)
        for version in kind.versions
    ]


# A broker is started once for all tests, which pytest groups by it; the slowest to start comes last.
@pytest.fixture(scope="module", params=pairs())
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoken]:
    kind, version = request.param
    with kind(tmp_path_factory.mktemp(kind.name)) as broker:
        yield Spoken(broker, version)


def seen(message: Any) -> tuple[str, bytes, int, bool]:
    return message.topic, message.payload, message.qos, message.retain


async def is_silent(messages: Any) -> bool:
    try:
        await asyncio.wait_for(anext(messages), SILENCE_S)
    except TimeoutError:
        return True
    return False


@asynchronous
async def test_a_message_arrives_at_each_quality_of_service(at: Spoken) -> None:
    # RabbitMQ answers QoS 2 with PUBACK (3.1.1, MQTT-4.3.3-2), and NATS before 2.10 closes the connection.
    levels = range(at.broker.max_qos + 1)
    async with at.client("levels-in") as receiver, at.client("levels-out") as sender:
        filters = [Subscription(f"levels/{qos}", qos) for qos in levels]
        assert await receiver.subscribe(filters) == tuple(levels)
        messages = receiver.messages("levels/#")
        for qos in levels:
            await sender.publish(f"levels/{qos}", b"payload %d" % qos, qos=qos)
            assert seen(await anext(messages)) == (f"levels/{qos}", b"payload %d" % qos, qos, False)


@asynchronous
async def test_a_message_has_the_lower_quality_of_service_of_publisher_and_subscription(at: Spoken) -> None:
    async with at.client("lower") as client:
        assert await client.subscribe("lower/high", 2) == (at.broker.max_qos,)
        assert await client.subscribe("lower/low", 0) == (0,)
        messages = client.messages("lower/#")
        await client.publish("lower/high", b"", qos=0)
        assert seen(await anext(messages)) == ("lower/high", b"", 0, False)
        await client.publish("lower/low", b"", qos=1)
        assert seen(await anext(messages)) == ("lower/low", b"", 0, False)


@asynchronous
async def test_an_empty_payload_is_a_message_like_any_other(at: Spoken) -> None:
    async with at.client("empty") as client:
        await client.subscribe("empty", 1)
        messages = client.messages("empty")
        for qos in (0, 1):
            await client.publish("empty", b"", qos=qos)
            assert seen(await anext(messages)) == ("empty", b"", qos, False)


@asynchronous
async def test_topics_are_unicode_and_may_have_empty_levels(at: Spoken) -> None:
    topics = [
        "topics/Grüße/日本語/😀",
        "topics/e\u0301",
        "topics//x/",
        "/topics",
        "topics/a b",
        "topics/1.5",
        "topics/*",
    ]
    topics = [topic for topic in topics if not any(each in topic for each in at.broker.not_in_topics)]
    async with at.client("topics") as client:
        await client.subscribe(["topics/#", "/topics"], 1)
        messages = client.messages()
        for topic in topics:
            await client.publish(topic, topic.encode(), qos=1)
            assert seen(await anext(messages)) == (topic, topic.encode(), 1, False)
        # Two ways to write an accented letter are two topics (3.1.1 and 5.0, 4.7.3).
        await client.subscribe("precise/\u00e9", 1)
        await client.publish("precise/e\u0301", b"another", qos=1)
        await client.publish("precise/\u00e9", b"this", qos=1)
        assert seen(await anext(messages)) == ("precise/\u00e9", b"this", 1, False)


@asynchronous
async def test_wildcards_match_levels_until_they_are_unsubscribed(at: Spoken) -> None:
    async with at.client("wildcards") as client:
        await client.subscribe(["wild/+/temperature", "deep/#", "all"], 1)
        messages = client.messages()
        for topic, matches in (
            ("wild/a/temperature", True),
            ("wild/a/b/temperature", False),
            ("wild/a", False),
            ("wild//temperature", True),
            ("deep", True),
            ("deep/a/b/c", True),
            ("deeper", False),
            ("all", True),
        ):
            await client.publish(topic, topic.encode(), qos=1)
            if matches:
                assert seen(await anext(messages)) == (topic, topic.encode(), 1, False)
        await client.unsubscribe(["wild/+/temperature", "deep/#"])
        await client.publish("wild/a/temperature", b"", qos=1)
        await client.publish("deep/a", b"", qos=1)
        await client.publish("all", b"the end", qos=1)
        assert seen(await anext(messages)) == ("all", b"the end", 1, False)
        await client.unsubscribe("all")
        await client.publish("all", b"", qos=1)
        assert await is_silent(messages)


@asynchronous
async def test_retained_messages_come_with_the_subscription_until_an_empty_one_clears_them(at: Spoken) -> None:
    topics = ("retained/a", "retained/b/c")
    filters = ["retained/#"] if at.broker.sends_retained_to_wildcards else list(topics)
    async with at.client("retained-out") as sender:
        for topic in topics:
            await sender.publish(topic, b"before", qos=1, retain=True)
            await sender.publish(topic, b"state", qos=1, retain=True)
        async with at.client("retained-in") as receiver:
            await receiver.subscribe(filters, 1)
            messages = receiver.messages()
            assert sorted([seen(await anext(messages)) for _ in topics]) == [
                (topic, b"state", 1, True) for topic in topics
            ]
            await sender.publish("retained/a", b"next", qos=1, retain=True)
            assert seen(await anext(messages)) == ("retained/a", b"next", 1, False)
            await sender.publish("retained/a", b"", qos=1, retain=True)
            assert seen(await anext(messages)) == ("retained/a", b"", 1, False)
        async with at.client("retained-late") as late:
            await late.subscribe(filters, 1)
            messages = late.messages()
            assert seen(await anext(messages)) == ("retained/b/c", b"state", 1, True)
            await sender.publish("retained/b/c", b"", qos=1, retain=True)
            assert seen(await anext(messages)) == ("retained/b/c", b"", 1, False)


@asynchronous
async def test_a_will_is_published_at_an_abrupt_end_and_at_no_other(at: Spoken) -> None:
    async with at.client("wills-watcher") as watcher, relay(at.broker.port) as way:
        await watcher.subscribe("wills/#", 1)
        messages = watcher.messages()
        async with at.client("wills-polite", will=Will("wills/polite", b"?", qos=1)):
            pass
        async with at.client("wills-lost", port=way.port, will=Will("wills/lost", b"gone", qos=1)):
            way.cut()
            assert seen(await anext(messages)) == ("wills/lost", b"gone", 1, False)
        assert await is_silent(messages)


@asynchronous
async def test_a_will_may_be_retained(at: Spoken) -> None:
    async with at.client("retained-wills-watcher") as watcher, relay(at.broker.port) as way:
        await watcher.subscribe("retained-will", 1)
        will = Will("retained-will", b"gone", qos=1, retain=True)
        async with at.client("retained-wills-lost", port=way.port, will=will):
            way.cut()
            assert (await anext(watcher.messages())).payload == b"gone"
        async with at.client("retained-wills-late") as late:
            await late.subscribe("retained-will", 1)
            assert seen(await anext(late.messages())) == ("retained-will", b"gone", 1, True)
            await late.publish("retained-will", b"", qos=1, retain=True)


@asynchronous
async def test_messages_wait_in_the_session_of_a_client_that_is_away(at: Spoken) -> None:
    levels = range(1, at.broker.max_qos + 1)
    async with at.lasting_client("away") as client:
        assert not client.connack.session_present
        await client.subscribe("away/#", at.broker.max_qos)
    async with at.client("at-home") as sender:
        for qos in levels:
            for number in range(20):
                await sender.publish(f"away/{qos}", b"%d" % number, qos=qos)
    async with at.lasting_client("away") as client:
        assert client.connack.session_present
        messages = client.messages("away/#")
        waiting = [seen(await anext(messages)) for _ in range(20 * len(levels))]
        for qos in levels:
            topic = f"away/{qos}"
            assert [each for each in waiting if each[0] == topic] == [
                (topic, b"%d" % number, qos, False) for number in range(20)
            ]
        # The subscription is part of the session.
        await client.publish("away/1", b"here", qos=1)
        assert seen(await anext(messages)) == ("away/1", b"here", 1, False)
    async with at.client("away") as client:
        assert not client.connack.session_present
        await client.publish("away/1", b"too late", qos=1)
        assert await is_silent(client.messages())


@asynchronous
async def test_a_large_message_crosses_in_both_directions(at: Spoken) -> None:
    payload = os.urandom(200_000)
    async with at.client("large") as client:
        await client.subscribe("large", 1)
        messages = client.messages("large")
        for qos in range(2):
            await client.publish("large", payload, qos=qos)
            message = await anext(messages)
            assert message.qos == qos
            assert message.payload == payload


@asynchronous
async def test_a_thousand_messages_arrive_once_and_in_order(at: Spoken) -> None:
    payloads = [b"%d" % number for number in range(1000)]
    async with at.client("many-out") as sender, at.client("many-in") as receiver:
        await receiver.subscribe("many", 1)
        messages = receiver.messages("many")
        sending = asyncio.gather(*(sender.publish("many", payload, qos=1) for payload in payloads))
        assert [(await anext(messages)).payload for _ in payloads] == payloads
        await sending


@pytest.mark.parametrize("at", pairs("has_shared_subscriptions"), indirect=True)
@asynchronous
async def test_a_message_goes_to_one_of_those_who_share_a_subscription(at: Spoken) -> None:
    payloads = [b"%d" % number for number in range(20)]
    async with at.client("share-1") as one, at.client("share-2") as two, at.client("share-out") as sender:
        both = (one, two)
        for client in both:
            await client.subscribe("$share/group/shared/#", 1)
            await client.subscribe("ends", 1)
        for payload in payloads:
            await sender.publish("shared/a", payload, qos=1)
        await sender.publish("ends", b"", qos=1)
        got: list[list[bytes]] = []
        for client in both:
            got.append([])
            async for message in client.messages():
                if message.topic == "ends":
                    break
                got[-1].append(bytes(message.payload))
        assert all(got)
        assert sorted(got[0] + got[1]) == sorted(payloads)


@asynchronous
async def test_what_is_published_while_the_broker_stands_still_is_acknowledged_when_it_goes_on(at: Spoken) -> None:
    async with at.client("frozen") as client:
        await client.subscribe("frozen", 1)
        at.broker.freeze()
        try:
            publishing = asyncio.ensure_future(client.publish("frozen", b"patience", qos=1))
            done, _ = await asyncio.wait([publishing], timeout=SILENCE_S)
            assert not done
        finally:
            at.broker.thaw()
        await publishing
        assert seen(await anext(client.messages("frozen"))) == ("frozen", b"patience", 1, False)


def check_outliving(at: Spoken, client_id: str, end: str) -> None:
    """A session with a message in it and, where the broker ended in an orderly way, a retained message."""
    topic = f"outliving/{client_id}"

    @asynchronous
    async def leave() -> None:
        async with at.lasting_client(client_id) as client:
            await client.subscribe(topic, 1)
        async with at.client("outliving-out") as sender:
            await sender.publish(topic, b"kept", qos=1)
            await sender.publish(f"{topic}/retained", b"state", qos=1, retain=True)

    @asynchronous
    async def come_back() -> None:
        async with at.lasting_client(client_id) as client:
            assert client.connack.session_present
            message = await anext(client.messages(topic))
            assert (message.payload, message.qos) == (b"kept", 1)
            if end == "restart":
                await client.subscribe(f"{topic}/retained", 1)
                message = await anext(client.messages(f"{topic}/retained"))
                assert seen(message) == (f"{topic}/retained", b"state", 1, True)

    leave()
    if end == "kill":
        at.broker.kill()
    at.broker.restart()
    come_back()


@pytest.mark.slow
def test_a_session_outlives_a_restart_of_the_broker(at: Spoken) -> None:
    check_outliving(at, "over-restart", "restart")


@pytest.mark.slow
@pytest.mark.parametrize("at", pairs("keeps_over_kill"), indirect=True)
def test_a_session_outlives_a_crash_of_the_broker(at: Spoken) -> None:
    check_outliving(at, "over-crash", "kill")
