"""ohmqtt's ways: a thread of its own, and a handle for each message, which can be waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
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
    from ohmqtt.client import Client
except ImportError as error:
    MISSING: str | None = f"not installed ({error})"
else:
    MISSING = None


@contextmanager
def _connected(task: Task, client_id: str) -> Iterator[Any]:
    if MISSING:
        raise MissingError(MISSING)
    with Client() as client:
        client.connect(f"mqtt://{HOST}:{task.port}", client_id=client_id, clean_start=True)
        client.wait_for_connect(TIMEOUT_S)
        yield client
        client.disconnect()


def publish(task: Task) -> Figures:
    with _connected(task, "publisher") as client:

        def publish(count: int) -> None:
            for payload in payloads(count):
                client.publish(TOPIC, payload)
            client.publish(FENCE, b"", qos=1).wait_for_ack(TIMEOUT_S)

        return measure_blocking(task, publish)


def acknowledged_handles(task: Task) -> Figures:
    """QoS 1: the oldest of those in flight is waited for before another is sent."""
    with _connected(task, "publisher") as client:

        def publish(count: int) -> None:
            handles: deque[Any] = deque()
            for payload in payloads_to_acknowledge(task, count):
                if len(handles) == task.in_flight:
                    handles.popleft().wait_for_ack(TIMEOUT_S)
                handles.append(client.publish(TOPIC, payload, qos=1))
            for handle in handles:
                handle.wait_for_ack(TIMEOUT_S)

        return measure_blocking(task, publish)


def receive_callback(task: Task) -> Figures:
    receiver = BlockingReceiver(task)
    took = receiver.took
    with _connected(task, "receiver") as client:
        client.subscribe(TOPIC, lambda _client, packet: took(packet.topic, packet.payload)).wait_for_ack(TIMEOUT_S)
        return receiver.measure()


run("ohmqtt", {each.__name__: each for each in (publish, acknowledged_handles, receive_callback)})
