"""mqttium's ways."""

from __future__ import annotations

import asyncio
from typing import Any

from task import (
    FENCE,
    HOST,
    MESSAGE_SIZE,
    TOPIC,
    Feed,
    Figures,
    MissingError,
    Receiver,
    Task,
    measure,
    measure_memory,
    payloads,
    payloads_to_acknowledge,
    run,
)

try:
    from mqttium import FlowControlError, MQTTProtocolVersion
    from mqttium.api import AsyncClient, PublishMessage
except ImportError as error:
    MISSING: str | None = f"not installed ({error})"
else:
    MISSING = None


def _require(task: Task) -> None:
    if MISSING:
        raise MissingError(MISSING)
    if task.uvloop:
        raise MissingError("does not connect on uvloop, to which it gives happy_eyeballs_delay")


async def _connected(task: Task, client_id: str, **options: Any) -> Any:
    _require(task)
    client = AsyncClient(client_id, protocol=MQTTProtocolVersion.MQTTv5, **options)
    await client.connect(HOST, task.port)
    return client


async def _fence(client: Any) -> None:
    receipt = await client.publish(FENCE, b"", qos=1)
    await receipt.wait()


async def publish_many(task: Task) -> Figures:
    client = await _connected(task, "publisher")

    async def publish(count: int) -> None:
        await client.publish_many(PublishMessage(TOPIC, payload) for payload in payloads(count))
        await _fence(client)

    figures = await measure(task, publish)
    await client.disconnect()
    return figures


async def publish_nowait(task: Task) -> Figures:
    """What finds no room is published by the call that waits for it."""
    client = await _connected(task, "publisher")

    async def publish(count: int) -> None:
        for payload in payloads(count):
            try:
                client.publish_nowait(TOPIC, payload)
            except FlowControlError:
                await client.publish(TOPIC, payload)
        await _fence(client)

    figures = await measure(task, publish)
    await client.disconnect()
    return figures


async def acknowledged_tasks(task: Task) -> Figures:
    """QoS 1: each message is awaited by one of as many tasks as may be in flight."""
    client = await _connected(task, "publisher", max_outbound_inflight=task.in_flight)

    async def publish(count: int) -> None:
        waiting = payloads_to_acknowledge(task, count)

        async def work() -> None:
            for payload in waiting:
                receipt = await client.publish(TOPIC, payload, qos=1)
                await receipt.wait()

        async with asyncio.TaskGroup() as group:
            for _ in range(task.in_flight):
                group.create_task(work())

    figures = await measure(task, publish)
    await client.disconnect()
    return figures


async def acknowledged_callbacks(task: Task) -> Figures:
    """QoS 1: the callback of one message publishes the next."""
    client = await _connected(task, "publisher", max_outbound_inflight=task.in_flight)

    async def publish(count: int) -> None:
        waiting = payloads_to_acknowledge(task, count)
        done = asyncio.get_running_loop().create_future()
        left = count

        def publish_next(receipt: Any = None) -> None:
            nonlocal left
            if receipt is not None:
                assert receipt.exception() is None
                left -= 1
                if not left:
                    done.set_result(None)
            for payload in waiting:
                client.publish_nowait(TOPIC, payload, qos=1).add_done_callback(publish_next)
                break

        for _ in range(task.in_flight):
            publish_next()
        await done

    figures = await measure(task, publish)
    await client.disconnect()
    return figures


async def acknowledged_many(task: Task) -> Figures:
    """QoS 1: one receipt for all, which says how many failed."""
    client = await _connected(task, "publisher", max_outbound_inflight=task.in_flight)

    async def publish(count: int) -> None:
        batch = await client.publish_many(
            PublishMessage(TOPIC, payload, qos=1) for payload in payloads_to_acknowledge(task, count)
        )
        await batch.wait()

    figures = await measure(task, publish)
    await client.disconnect()
    return figures


async def receive_messages(task: Task) -> Figures:
    feed = Feed(task)
    client = await _connected(task, "receiver")
    await client.subscribe(TOPIC)
    messages = client.messages()

    async def take(count: int) -> None:
        for size in feed.windows(count):
            left = size * MESSAGE_SIZE
            async for message in messages:
                left -= len(message.topic) + len(message.payload)
                if not left:
                    break

    figures = await measure(task, take)
    await client.disconnect()
    return figures


async def receive_callback(task: Task) -> Figures:
    receiver = Receiver(task)
    took = receiver.took
    _require(task)
    client = AsyncClient("receiver", protocol=MQTTProtocolVersion.MQTTv5, message_delivery="callback")
    client.on_message = lambda message: took(message.topic, message.payload)
    await client.connect(HOST, task.port)
    await client.subscribe(TOPIC)
    figures = await receiver.measure()
    await client.disconnect()
    return figures


async def connections(task: Task) -> Figures:
    async def connect(number: int) -> Any:
        return await _connected(task, f"idle-{number}")

    return await measure_memory(task, connect)


run(
    "mqttium",
    {
        each.__name__: each
        for each in (
            publish_many,
            publish_nowait,
            acknowledged_tasks,
            acknowledged_callbacks,
            acknowledged_many,
            receive_messages,
            receive_callback,
            connections,
        )
    },
)
