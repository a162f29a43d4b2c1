"""paho-mqtt's ways: with its thread (`loop_start`), and without one, where publish writes to the socket itself."""

from __future__ import annotations

import threading
from statistics import median
from time import perf_counter_ns
from typing import Any

from task import (
    FENCE,
    HOST,
    TIMEOUT_S,
    TOPIC,
    BlockingReceiver,
    Figures,
    MissingError,
    Task,
    measure_blocking,
    payloads,
    payloads_to_acknowledge,
    run,
)

try:
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion
except ImportError as error:
    MISSING: str | None = f"not installed ({error})"
else:
    MISSING = None


def _connected(task: Task, client_id: str, *, threaded: bool) -> Any:
    if MISSING:
        raise MissingError(MISSING)
    client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTv5)
    client.max_inflight_messages_set(task.in_flight)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect(HOST, task.port)
    if threaded:
        client.loop_start()
        assert connected.wait(TIMEOUT_S)
    else:
        while not connected.is_set():
            client.loop()
    return client


def _stop(client: Any) -> None:
    client.disconnect()
    client.loop_stop()


def publish_threaded(task: Task) -> Figures:
    client = _connected(task, "publisher", threaded=True)

    def publish(count: int) -> None:
        for payload in payloads(count):
            client.publish(TOPIC, payload)
        client.publish(FENCE, b"", qos=1).wait_for_publish(TIMEOUT_S)

    figures = measure_blocking(task, publish)
    _stop(client)
    return figures


def publish_inline(task: Task) -> Figures:
    client = _connected(task, "publisher", threaded=False)

    def publish(count: int) -> None:
        for payload in payloads(count):
            client.publish(TOPIC, payload)
            while client.want_write():
                client.loop()
        fence = client.publish(FENCE, b"", qos=1)
        while not fence.is_published():
            client.loop()

    figures = measure_blocking(task, publish)
    client.disconnect()
    return figures


def acknowledged_semaphore(task: Task) -> Figures:
    """QoS 1: on_publish, on the thread of paho, makes room for one more."""
    client = _connected(task, "publisher", threaded=True)

    def publish(count: int) -> None:
        room = threading.Semaphore(task.in_flight)
        client.on_publish = lambda *_: room.release()
        for payload in payloads_to_acknowledge(task, count):
            room.acquire()
            client.publish(TOPIC, payload, qos=1)
        for _ in range(task.in_flight):
            room.acquire()

    figures = measure_blocking(task, publish)
    _stop(client)
    return figures


def acknowledged_callbacks(task: Task) -> Figures:
    """QoS 1: on_publish publishes the next."""
    client = _connected(task, "publisher", threaded=False)

    def publish(count: int) -> None:
        waiting = payloads_to_acknowledge(task, count)
        left = count

        def publish_next(*_: object) -> None:
            for payload in waiting:
                client.publish(TOPIC, payload, qos=1)
                break

        def on_publish(*_: object) -> None:
            nonlocal left
            left -= 1
            publish_next()

        client.on_publish = on_publish
        for _ in range(task.in_flight):
            publish_next()
        while left:
            client.loop()

    figures = measure_blocking(task, publish)
    client.disconnect()
    return figures


def receive_callback(task: Task) -> Figures:
    receiver = BlockingReceiver(task)
    took = receiver.took
    client = _connected(task, "receiver", threaded=True)
    client.on_message = lambda _client, _data, message: took(message.topic, message.payload)
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.subscribe(TOPIC)
    assert subscribed.wait(TIMEOUT_S)
    figures = receiver.measure()
    _stop(client)
    return figures


def blocking(task: Task) -> Figures:
    """Microseconds until a QoS 1 message is acknowledged, paho's and a bare socket's in turns of 50."""
    # Here alone: in the other ways nothing of ours is in the peer's process.
    from bare import Link

    from iotwire.mqtt import PreparedPublish

    prepared = PreparedPublish(TOPIC, qos=1)
    client = _connected(task, "blocking", threaded=True)
    times: list[int] = []
    bare: list[int] = []
    with Link(task.port, "bare") as link:
        for turn in range((task.warm_up + task.messages) // 50):
            if turn == task.warm_up // 50:
                times.clear()
                bare.clear()
            for payload in payloads(50):
                started = perf_counter_ns()
                client.publish(TOPIC, payload, qos=1).wait_for_publish(TIMEOUT_S)
                times.append(perf_counter_ns() - started)
            packets = [prepared.encode(payload, number) for number, payload in enumerate(payloads(50), 1)]
            for packet in packets:
                started = perf_counter_ns()
                link.exchange(packet)
                bare.append(perf_counter_ns() - started)
    _stop(client)
    return {"latency": median(times) / 1000, "bare": median(bare) / 1000}


run(
    "paho-mqtt",
    {
        each.__name__: each
        for each in (
            publish_threaded,
            publish_inline,
            acknowledged_semaphore,
            acknowledged_callbacks,
            receive_callback,
            blocking,
        )
    },
)
