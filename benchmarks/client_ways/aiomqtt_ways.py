"""aiomqtt's ways: paho on an event loop. Its publish waits until paho has written the message, or has its answer."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from task import (
    FENCE,
    HOST,
    MESSAGE_SIZE,
    TOPIC,
    Feed,
    Figures,
    MissingError,
    Task,
    measure,
    measure_memory,
    payloads,
    payloads_to_acknowledge,
    run,
)

try:
    from aiomqtt import Client, ProtocolVersion
except ImportError as error:
    MISSING: str | None = f"not installed ({error})"
else:
    MISSING = None


def _client(task: Task, client_id: str) -> Any:
    if MISSING:
        raise MissingError(MISSING)
    return Client(
        HOST, task.port, identifier=client_id, protocol=ProtocolVersion.V5, max_inflight_messages=task.in_flight
    )


async def _publish(task: Task, tasks: int) -> Figures:
    async with _client(task, "publisher") as client:

        async def publish(count: int) -> None:
            waiting = payloads(count)

            async def work() -> None:
                for payload in waiting:
                    await client.publish(TOPIC, payload)

            async with asyncio.TaskGroup() as group:
                for _ in range(tasks):
                    group.create_task(work())
            await client.publish(FENCE, b"", qos=1)

        return await measure(task, publish)


async def publish_one_by_one(task: Task) -> Figures:
    return await _publish(task, 1)


async def publish_tasks(task: Task) -> Figures:
    return await _publish(task, task.in_flight)


async def acknowledged_tasks(task: Task) -> Figures:
    """QoS 1: each message is awaited by one of as many tasks as may be in flight."""
    async with _client(task, "publisher") as client:

        async def publish(count: int) -> None:
            waiting = payloads_to_acknowledge(task, count)

            async def work() -> None:
                for payload in waiting:
                    await client.publish(TOPIC, payload, qos=1)

            async with asyncio.TaskGroup() as group:
                for _ in range(task.in_flight):
                    group.create_task(work())

        return await measure(task, publish)


async def receive_messages(task: Task) -> Figures:
    feed = Feed(task)
    async with _client(task, "receiver") as client:
        await client.subscribe(TOPIC)
        messages = client.messages

        async def take(count: int) -> None:
            for size in feed.windows(count):
                left = size * MESSAGE_SIZE
                async for message in messages:
                    left -= len(message.topic.value) + len(message.payload)
                    if not left:
                        break

        return await measure(task, take)


async def connections(task: Task) -> Figures:
    async with AsyncExitStack() as stack:

        async def connect(number: int) -> Any:
            return await stack.enter_async_context(_client(task, f"idle-{number}"))

        return await measure_memory(task, connect)


run(
    "aiomqtt",
    {
        each.__name__: each
        for each in (publish_one_by_one, publish_tasks, acknowledged_tasks, receive_messages, connections)
    },
)
