"""The client for threads against a real mosquitto and the emulator's TLS."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from brokers import Mosquitto
from iotwire import BlockingClient
from iotwire.mqtt import PacketType

pytestmark = pytest.mark.broker

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])
BOUND_S = 20.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto"), further=["set_tcp_nodelay true"]) as running:
        yield running


@BOTH_VERSIONS
def test_each_quality_of_service_arrives(broker: Mosquitto, version: int) -> None:
    with BlockingClient(broker.route(), f"threads-{version}", version=version) as client:
        assert client.subscribe("threads/#", 2, timeout_s=BOUND_S) == (2,)
        messages = client.messages("threads/#")
        for qos in (0, 1, 2):
            client.publish(f"threads/{qos}", b"%d" % qos, qos)
        received = [messages.get(BOUND_S) for _ in range(3)]
        assert [(message.topic, message.qos) for message in received if message] == [
            ("threads/0", 0),
            ("threads/1", 1),
            ("threads/2", 2),
        ]
        assert client.unsubscribe("threads/#", timeout_s=BOUND_S) == ((0,) if version == 5 else ())


@BOTH_VERSIONS
def test_threads_share_a_client_and_nothing_is_lost(broker: Mosquitto, version: int) -> None:
    each, threads = 100, 6
    with (
        BlockingClient(broker.route(), f"shared-out-{version}", version=version) as sender,
        BlockingClient(broker.route(), f"shared-in-{version}", version=version) as receiver,
    ):
        receiver.subscribe("shared/#", 1)
        messages = receiver.messages("shared/#")

        def publish(name: int) -> None:
            for number in range(each):
                sender.publish(f"shared/{name}", b"%d" % number, 1)

        running = [threading.Thread(target=publish, args=(name,)) for name in range(threads)]
        for thread in running:
            thread.start()
        seen: Counter[tuple[str, bytes]] = Counter()
        order: dict[str, list[int]] = {}
        for _ in range(each * threads):
            message = messages.get(BOUND_S)
            assert message is not None
            seen[message.topic, bytes(message.payload)] += 1
            order.setdefault(message.topic, []).append(int(message.payload))
        for thread in running:
            thread.join(BOUND_S)
            assert not thread.is_alive()
        assert set(seen.values()) == {1}
        assert all(numbers == list(range(each)) for numbers in order.values())
        assert sender.stats().sent[PacketType.PUBLISH].packets == each * threads


@BOTH_VERSIONS
def test_a_restart_of_the_broker_is_outlived(broker: Mosquitto, version: int) -> None:
    with BlockingClient(broker.route(), f"restart-{version}", version=version) as client:
        client.subscribe("restart/#", 1)
        messages = client.messages("restart/#")
        client.publish("restart/before", b"", 1)
        broker.restart()
        client.publish("restart/after", b"", 1, timeout_s=BOUND_S)
        topics = set()
        while "restart/after" not in topics and (message := messages.get(BOUND_S)) is not None:
            topics.add(message.topic)
            if "restart/after" not in topics:  # it went out before the subscription was there again
                client.publish("restart/after", b"", 1, timeout_s=BOUND_S)
        assert topics == {"restart/before", "restart/after"}


def test_many_messages_go_out_as_fast_as_they_are_taken(broker: Mosquitto) -> None:
    with BlockingClient(broker.route(), "many") as client:
        for qos in (0, 1, 2):
            report = client.publish_many(((f"many/{i % 7}", bytes(300)) for i in range(1500)), qos=qos)
            assert (report.acknowledged, report.failures) == (1500, [])
