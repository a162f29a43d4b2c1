"""zmqtt's ways. Its publish waits until the message is written, or has its answer."""

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
    from zmqtt import QoS, create_client
except ImportError as error:
    MISSING: str | None = f"not installed ({error})"
else:
    MISSING = None


def _client(task: Task, client_id: str) -> Any:
    if MISSING:
        raise MissingError(MISSING)
    return create_client(HOST, task.port, client_id=client_id, version="5.0")


async def publish_one_by_one(task: Task) -> Figures:
    async with _client(task, "publisher") as client:

        async def publish(count: int) -> None:
            for payload in payloads(count):
                await client.publish(TOPIC, payload)
            await client.publish(FENCE, b"", qos=QoS.AT_LEAST_ONCE)

        return await measure(task, publish)


async def acknowledged_tasks(task: Task) -> Figures:
    """QoS 1: each message is awaited by one of as many tasks as may be in flight."""
    async with _client(task, "publisher") as client:

        async def publish(count: int) -> None:
            waiting = payloads_to_acknowledge(task, count)

            async def work() -> None:
                for payload in waiting:
                    await client.publish(TOPIC, payload, qos=QoS.AT_LEAST_ONCE)

            async with asyncio.TaskGroup() as group:
                for _ in range(task.in_flight):
                    group.create_task(work())

        return await measure(task, publish)


async def receive_messages(task: Task) -> Figures:
    feed = Feed(task)
    async with _client(task, "receiver") as client, client.subscribe(TOPIC, receive_buffer_size=100_000) as messages:

        async def take(count: int) -> None:
            for size in feed.windows(count):
                left = size * MESSAGE_SIZE
                async for message in messages:
                    left -= len(message.topic) + len(message.payload)
                    if not left:
                        break

        return await measure(task, take)


async def receive_calls(task: Task) -> Figures:
    """By get_message, which its iteration is not."""
    feed = Feed(task)
    async with _client(task, "receiver") as client, client.subscribe(TOPIC, receive_buffer_size=100_000) as messages:

        async def take(count: int) -> None:
            for size in feed.windows(count):
                left = size * MESSAGE_SIZE
                while left:
                    message = await messages.get_message()
                    left -= len(message.topic) + len(message.payload)

        return await measure(task, take)


async def connections(task: Task) -> Figures:
    async with AsyncExitStack() as stack:

        async def connect(number: int) -> Any:
            return await stack.enter_async_context(_client(task, f"idle-{number}"))

        return await measure_memory(task, connect)


run(
    "zmqtt",
    {
        each.__name__: each
        for each in (publish_one_by_one, acknowledged_tasks, receive_messages, receive_calls, connections)
    },
)
