"""A client that keeps to the limits of AWS IoT Core."""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import datetime
from typing import Any

import pytest

from iotwire import X509, AwsIotLimits, Backoff, Broker, Client, Endpoint, PublishError, SubscribeError
from iotwire.mqtt import PubAck, Publish, SubAck, Subscribe, UnsubAck, Unsubscribe
from iotwire.route import Attempt, Route
from leaping import Leaping, leap, until_leaping
from scripted import Peer, Taking, asynchronous, asynchronous_on, in_turn, one_connection, reconnecting, scripted, until

LIMITS = AwsIotLimits()


class Timed:
    """A server that notes when messages arrive, and may sit on its acknowledgements until a time of its own."""

    def __init__(self, answers_after_s: float = 0.0, **connack: Any) -> None:
        self.times: list[float] = []
        self.sizes: list[int] = []
        self.unanswered = 0
        self.most_unanswered = 0
        self._answers_after_s = answers_after_s
        self._connack = connack

    async def __call__(self, peer: Peer) -> None:
        loop = asyncio.get_running_loop()
        await peer.accept(**self._connack)
        began = loop.time()
        waiting: list[int] = []

        def answer() -> None:
            self.unanswered -= len(waiting)
            peer.send(*map(PubAck, waiting))
            waiting.clear()

        while (packet := await peer.receive()) is not None:
            if not isinstance(packet, Publish):
                continue
            self.times.append(loop.time())
            self.sizes.append(len(packet.payload))
            if packet.packet_id is None:
                continue
            self.unanswered += 1
            self.most_unanswered = max(self.most_unanswered, self.unanswered)
            waiting.append(packet.packet_id)
            if loop.time() >= began + self._answers_after_s:
                answer()
            elif len(waiting) == 1:
                loop.call_at(began + self._answers_after_s, answer)

    def most_in_a_second(self, leeway_s: float = 1e-6) -> int:
        """The most messages in any one second, less what rounding, or a clock that does not stand yet, may take."""
        return max(sum(at <= other < at + 1.0 - leeway_s for other in self.times) for at in self.times)


# Where they come from.


def test_a_route_to_the_service_brings_limits_and_the_caller_can_change_them() -> None:
    route = Endpoint("a-ats.iot.eu-central-1.amazonaws.com").route("mqtt", X509("a.pem", "a.key"))
    for given, client_limits in ((..., LIMITS), (None, None), (AwsIotLimits(max_in_flight=7),) * 2):
        assert Client(route, "c", limits=given)._limits == client_limits  # type: ignore[arg-type]
    assert Client(Broker("broker.example", 1883), "c")._limits is None
    assert Client(Broker("broker.example", 1883), "c", limits=LIMITS)._limits == LIMITS


@pytest.mark.parametrize(
    ("limits", "receive_maximum"),
    [(LIMITS, 100), (AwsIotLimits(max_in_flight=7), 7), (AwsIotLimits(max_in_flight=None), 500), (None, 500)],
)
@asynchronous
async def test_the_server_may_have_no_more_in_flight_than_the_service_has(
    limits: AwsIotLimits | None, receive_maximum: int
) -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.accept())
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c", limits=limits, receive_maximum=500):
        pass
    assert seen[0].receive_maximum == receive_maximum


# Requests.


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [(LIMITS, [8, 8, 4]), (AwsIotLimits(max_filters_per_subscribe=15), [15, 5]), (None, [20])],
    ids=["default", "15", "none"],
)
@asynchronous
async def test_a_long_list_of_filters_is_split(limits: AwsIotLimits | None, sizes: list[int]) -> None:
    seen: list[int] = []

    async def script(peer: Peer, *, drops: bool) -> None:
        await peer.accept()
        while (packet := await peer.receive()) is not None:
            if isinstance(packet, Subscribe):
                seen.append(len(packet.subscriptions))
                peer.send(SubAck(packet.packet_id, tuple(int(each.topic_filter) % 3 for each in packet.subscriptions)))
            elif isinstance(packet, Unsubscribe):
                seen.append(len(packet.topic_filters))
                peer.send(UnsubAck(packet.packet_id, (0,) * len(packet.topic_filters)))
            elif isinstance(packet, Publish) and drops:
                return

    filters = [str(at) for at in range(20)]
    async with (
        scripted(in_turn(lambda peer: script(peer, drops=True), lambda peer: script(peer, drops=False))) as route,
        reconnecting(
            route, "c", limits=limits and AwsIotLimits(**{**_values(limits), "connect_interval_s": None})
        ) as c,
    ):
        assert await c.subscribe(filters, 2) == tuple(at % 3 for at in range(20))
        await c.publish("drop me")
        await until(lambda: len(seen) == 2 * len(sizes))  # and so are those that are restored
        assert len(await c.unsubscribe(filters)) == 20
    assert seen == sizes * 3


def _values(limits: AwsIotLimits) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in AwsIotLimits.__dataclass_fields__}


@asynchronous
async def test_filters_beyond_a_limit_are_refused_and_nothing_is_sent() -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        while (packet := await peer.receive()) is not None:
            seen.append(packet)
            if isinstance(packet, Subscribe):
                peer.send(SubAck(packet.packet_id, (0,) * len(packet.subscriptions)))
            elif isinstance(packet, Unsubscribe):
                peer.send(UnsubAck(packet.packet_id, (0,) * len(packet.topic_filters)))

    limits = AwsIotLimits(max_subscriptions=10)
    async with scripted(script) as route, one_connection(route, "c", limits=limits) as client:
        for wrong in ("/" * 8, "x" * 257, "$share/s/" + "/" * 8):
            with pytest.raises(SubscribeError) as caught:
                await client.subscribe(["fine", wrong])
            assert caught.value.reason_codes == {wrong: 0x8F}
        with pytest.raises(SubscribeError, match="max_subscriptions"):
            await client.subscribe([str(at) for at in range(11)])
        await client.publish("nothing so far")
        await until(lambda: bool(seen))
        assert isinstance(seen[0], Publish)
        await client.subscribe([str(at) for at in range(10)])
        with pytest.raises(SubscribeError, match="max_subscriptions"):
            await client.subscribe("10")
        await client.subscribe(["0", "$share/s/" + "9"][:1])  # again: no more than before
        await client.unsubscribe("0")
        await client.subscribe("10")


# Messages.


@pytest.mark.parametrize(
    ("name", "arguments", "properties"),
    [
        ("max_payload_bytes", ("a", b"x" * 131_073), {}),
        ("max_payload_bytes", ("a", memoryview(bytearray(262_144)).cast("I")), {}),
        ("max_topic_bytes", ("x" * 257,), {}),
        ("max_topic_slashes", ("/" * 8,), {}),
        ("max_content_type_bytes", ("a",), {"content_type": "x" * 257}),
        ("max_correlation_data_bytes", ("a",), {"correlation_data": b"x" * 8193}),
        ("max_user_properties_bytes", ("a",), {"user_properties": [("k", "x" * 8192)]}),
        ("max_message_expiry_s", ("a",), {"message_expiry_interval": 604_801}),
    ],
)
@asynchronous
async def test_a_message_beyond_a_limit_is_refused_by_every_call(name: str, arguments: Any, properties: Any) -> None:
    server = Taking()
    async with scripted(server) as route, one_connection(route, "c", limits=LIMITS) as client:
        topic, payload = (*arguments, b"")[:2]
        for qos in range(2):
            with pytest.raises(PublishError, match=name):
                await client.publish(topic, payload, qos, **properties)
            with pytest.raises(PublishError, match=name):
                client.publish_nowait(topic, payload, qos, **properties)
            report = await client.publish_many([Publish(topic, bytes(payload), qos=qos, **properties), ("good", b"")])
            assert report.acknowledged == 1
            assert name in str(report.failures[0][1])
        await client.publish("$aws/rules/name/" + "/".join("abcdefgh"), b"x" * 131_072, 1)
        await until(lambda: len(server.seen) == 3)
    async with scripted(Taking()) as route, one_connection(route, "c", limits=AwsIotLimits(**{name: None})) as client:
        await client.publish(topic, payload, 1, **properties)


@pytest.mark.parametrize("version", [4, 5])
@asynchronous
async def test_qos_2_is_refused_by_every_call_and_a_subscription_with_it_where_it_could_not_be_answered(
    version: int,
) -> None:
    server = Taking()
    async with (
        scripted(server, version=version) as route,
        one_connection(route, "c", version=version, limits=LIMITS) as client,
    ):
        with pytest.raises(PublishError, match="max_qos"):
            await client.publish("a", b"", 2)
        with pytest.raises(PublishError, match="max_qos"):
            client.publish_nowait("a", b"", 2)
        report = await client.publish_many([("a", b""), Publish("b", qos=1)], qos=2)
        assert (report.acknowledged, [item for item, _ in report.failures]) == (1, [("a", b"")])
        if version == 4:
            with pytest.raises(SubscribeError, match="max_qos"):
                await client.subscribe("a", 2)
    assert [each.topic for each in server.seen] == ["b"]


@pytest.mark.parametrize(
    ("limits", "keep_alive"), [(LIMITS, 1200), (AwsIotLimits(max_keep_alive_s=None), 0), (None, 0)]
)
@asynchronous
async def test_no_keep_alive_becomes_the_longest_of_the_service(limits: AwsIotLimits | None, keep_alive: int) -> None:
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.accept())
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c", limits=limits, keep_alive=0):
        pass
    assert seen[0].keep_alive == keep_alive


@pytest.mark.parametrize(("given", "in_flight"), [(500, 5), (3, 3)])
@asynchronous_on(Leaping)
async def test_no_more_are_in_flight_than_the_service_takes(given: int, in_flight: int) -> None:
    server = Timed(answers_after_s=2)
    limits = AwsIotLimits(max_in_flight=5)
    async with scripted(server) as route, one_connection(route, "c", limits=limits, max_in_flight=given) as client:
        leap()
        report = await client.publish_many([("a", b"")] * 20, qos=1)
        assert report.acknowledged == 20
    assert server.most_unanswered == in_flight


# The pace.


@pytest.mark.parametrize("qos", [0, 1])
@asynchronous_on(Leaping)
async def test_no_second_has_more_messages_than_the_service_takes_and_none_is_lost(qos: int) -> None:
    server = Timed()
    limits = AwsIotLimits(publishes_per_s=20)
    async with scripted(server) as route, one_connection(route, "c", limits=limits) as client:
        leap()
        report = await client.publish_many([("a", b"")] * 40, qos=qos)
        receipts = [client.publish_nowait("a", b"", qos) for _ in range(15)]
        await asyncio.gather(*(client.publish("a", b"", qos) for _ in range(15)))
        assert report.acknowledged == 40
        assert all([await receipt == 0 for receipt in receipts])
        await until_leaping(lambda: len(server.times) == 70)
    assert server.most_in_a_second() <= 20
    assert 2.99 <= server.times[-1] - server.times[0] < 4.0


@asynchronous_on(Leaping)
async def test_bytes_are_paced_too() -> None:
    server = Timed()
    limits = AwsIotLimits(publishes_per_s=None, bytes_per_s=10_000)
    async with scripted(server) as route, one_connection(route, "c", limits=limits) as client:
        leap()
        for _ in range(40):
            await client.publish("a", b"x" * 1000, 1)
    assert 2.5 <= server.times[-1] - server.times[0] < 3.5


@asynchronous_on(Leaping)
async def test_messages_from_the_server_count_too() -> None:
    times: list[float] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        peer.send(*[Publish("b")] * 9)
        while isinstance(await peer.receive(), Publish):
            times.append(asyncio.get_running_loop().time())

    limits = AwsIotLimits(publishes_per_s=10)
    async with scripted(script) as route, one_connection(route, "c", limits=limits) as client:
        await client.publish("a")
        await until(lambda: client.stats().messages_received == 9)
        leap()
        began = asyncio.get_running_loop().time()
        await client.publish("a")
        await until_leaping(lambda: bool(times))
    assert 0.8 <= times[0] - began <= 1.2


@asynchronous_on(Leaping)
async def test_acknowledgements_that_come_late_and_all_at_once_do_not_undo_the_pace() -> None:
    server = Timed(answers_after_s=3.0)
    limits = AwsIotLimits(publishes_per_s=10, max_in_flight=5)
    async with scripted(server) as route, one_connection(route, "c", limits=limits) as client:
        leap()
        report = await client.publish_many([("a", b"")] * 40, qos=1)
        assert report.acknowledged == 40
        assert client.stats().messages_queued == 0
    assert server.most_in_a_second() <= 10
    assert server.most_unanswered <= 5


@asynchronous_on(Leaping)
async def test_what_is_sent_again_after_a_reconnect_counts() -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        for _ in range(8):
            await peer.expect(Publish)

    server = Timed(session_present=True)
    limits = AwsIotLimits(publishes_per_s=10, connect_interval_s=1.2)
    async with (
        scripted(in_turn(first, server)) as route,
        reconnecting(route, "c", limits=limits, session_expiry_interval=60) as client,
    ):
        publishing = asyncio.create_task(client.publish_many([("a", b"")] * 30, qos=1))
        await until(lambda: client.stats().connections == 2)
        leap()
        assert (await publishing).acknowledged == 30
    assert server.most_in_a_second(leeway_s=0.2) <= 10


class SlowAtFirst(Route):
    """A route whose first attempt takes a while to prepare, as a first handshake does."""

    def __init__(self, broker: Broker, seconds: float) -> None:
        self._broker = broker
        self._seconds = seconds

    @property
    def protocol(self) -> str:
        return "mqtt"

    def prepare(self, now: datetime) -> Attempt:
        seconds, self._seconds = self._seconds, 0.0
        time.sleep(seconds)
        return self._broker.prepare(now)


@asynchronous
async def test_two_connects_keep_their_distance_however_long_the_way_to_the_first_one() -> None:
    times: list[float] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        times.append(asyncio.get_running_loop().time())
        if len(times) == 3:
            await peer.answer_pings_until_close()

    limits = AwsIotLimits(connect_interval_s=0.2)
    backoff = Backoff(base_s=0.001, max_s=0.002)
    async with (
        scripted(script) as broker,
        reconnecting(SlowAtFirst(broker, 0.15), "c", limits=limits, reconnect=backoff) as client,
    ):
        await until(lambda: client.stats().connections == 3)
    assert all(later - earlier > 0.19 for earlier, later in itertools.pairwise(times))


@asynchronous
async def test_a_client_that_is_closed_delivers_what_the_pace_holds_up_or_gives_it_back() -> None:
    server = Taking()
    limits = AwsIotLimits(publishes_per_s=5)
    async with scripted(server) as route:
        client = one_connection(route, "c", limits=limits, drain_timeout_s=0.01)
        await client.connect()
        receipts = [client.publish_nowait("a", b"%d" % at, at % 2) for at in range(8)]
        undelivered = await client.disconnect()
    assert [each.payload for each in undelivered] == [b"5", b"6", b"7"]
    assert [receipt.error is None for receipt in receipts] == [True] * 5 + [False] * 3
