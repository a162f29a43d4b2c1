"""awscrt's ways: its client works on a thread of its own and answers by futures, and calls back from that thread."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
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
    from awscrt import mqtt5
    from awscrt.io import ClientBootstrap, DefaultHostResolver, EventLoopGroup
except ImportError as error:
    MISSING: str | None = f"not installed ({error})"
else:
    MISSING = None

BATCH = 100  # QoS 0 messages that are given to it before one is waited for


def _connected(task: Task, client_id: str, on_publish: Any = None) -> tuple[Any, Any]:
    """The client, and what stops it."""
    if MISSING:
        raise MissingError(MISSING)
    loops = EventLoopGroup(1)
    connected: Future[object] = Future()
    stopped = threading.Event()
    client = mqtt5.Client(
        mqtt5.ClientOptions(
            host_name=HOST,
            port=task.port,
            bootstrap=ClientBootstrap(loops, DefaultHostResolver(loops)),
            connect_options=mqtt5.ConnectPacket(client_id=client_id, keep_alive_interval_sec=60),
            on_publish_callback_fn=on_publish,
            on_lifecycle_event_connection_success_fn=connected.set_result,
            on_lifecycle_event_connection_failure_fn=lambda data: connected.set_exception(data.exception),
            on_lifecycle_event_stopped_fn=lambda _: stopped.set(),
            disable_metrics=True,
        )
    )
    client.start()
    connected.result(TIMEOUT_S)

    def stop() -> None:
        client.stop()
        assert stopped.wait(TIMEOUT_S)

    return client, stop


def _packet(payload: bytes, qos: Any, topic: str = TOPIC) -> Any:
    return mqtt5.PublishPacket(topic=topic, qos=qos, payload=payload)


def publish_batches(task: Task) -> Figures:
    client, stop = _connected(task, "publisher")
    qos0, qos1 = mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE

    def publish(count: int) -> None:
        for number, payload in enumerate(payloads(count), 1):
            future = client.publish(_packet(payload, qos0))
            if not number % BATCH:
                future.result(TIMEOUT_S)
        client.publish(_packet(b"", qos1, FENCE)).result(TIMEOUT_S)

    figures = measure_blocking(task, publish)
    stop()
    return figures


def acknowledged_futures(task: Task) -> Figures:
    """QoS 1: the oldest future is waited for, then one more message is published."""
    client, stop = _connected(task, "publisher")
    qos1 = mqtt5.QoS.AT_LEAST_ONCE

    def publish(count: int) -> None:
        waiting: deque[Any] = deque()
        for payload in payloads_to_acknowledge(task, count):
            if len(waiting) == task.in_flight:
                waiting.popleft().result(TIMEOUT_S)
            waiting.append(client.publish(_packet(payload, qos1)))
        while waiting:
            waiting.popleft().result(TIMEOUT_S)

    figures = measure_blocking(task, publish)
    stop()
    return figures


def acknowledged_callbacks(task: Task) -> Figures:
    """QoS 1: the future's callback publishes the next."""
    client, stop = _connected(task, "publisher")
    qos1 = mqtt5.QoS.AT_LEAST_ONCE

    def publish(count: int) -> None:
        waiting = payloads_to_acknowledge(task, count)
        turn = threading.Lock()  # the first ones are published by this thread while answers arrive on the other
        done = threading.Event()
        left = count

        def publish_next(future: Any = None) -> None:
            nonlocal left
            with turn:
                if future is not None:
                    future.result()
                    left -= 1
                    if not left:
                        done.set()
                payload = next(waiting, None)
            if payload is not None:
                client.publish(_packet(payload, qos1)).add_done_callback(publish_next)

        for _ in range(task.in_flight):
            publish_next()
        assert done.wait(TIMEOUT_S)

    figures = measure_blocking(task, publish)
    stop()
    return figures


def receive_callback(task: Task) -> Figures:
    receiver = BlockingReceiver(task)
    took = receiver.took

    def on_publish(data: Any) -> None:
        took(data.publish_packet.topic, data.publish_packet.payload)

    client, stop = _connected(task, "receiver", on_publish)
    subscription = mqtt5.Subscription(topic_filter=TOPIC, qos=mqtt5.QoS.AT_MOST_ONCE)
    client.subscribe(mqtt5.SubscribePacket(subscriptions=[subscription])).result(TIMEOUT_S)
    figures = receiver.measure()
    stop()
    return figures


run(
    "awscrt",
    {each.__name__: each for each in (publish_batches, acknowledged_futures, acknowledged_callbacks, receive_callback)},
)
