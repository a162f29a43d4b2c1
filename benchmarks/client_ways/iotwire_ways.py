"""Our ways."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from statistics import median
from time import perf_counter_ns

from bare import Link
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

import iotwire
from iotwire import Broker, Client, OutboxFullError
from iotwire.mqtt import PreparedPublish


async def publish_many(task: Task) -> Figures:
    async with Client(Broker(HOST, task.port), "publisher") as client:

        async def publish(count: int) -> None:
            report = await client.publish_many(((TOPIC, payload) for payload in payloads(count)), qos=0)
            assert report.acknowledged == count
            await client.publish(FENCE, b"", qos=1)

        return await measure(task, publish)


async def publish_nowait(task: Task) -> Figures:
    async with Client(Broker(HOST, task.port), "publisher") as client:

        async def publish(count: int) -> None:
            publish_nowait = client.publish_nowait
            for payload in payloads(count):
                while True:
                    try:
                        publish_nowait(TOPIC, payload)
                        break
                    except OutboxFullError:
                        await client.drain()
            await client.publish(FENCE, b"", qos=1)

        return await measure(task, publish)


async def publish_one_by_one(task: Task) -> Figures:
    async with Client(Broker(HOST, task.port), "publisher") as client:

        async def publish(count: int) -> None:
            for payload in payloads(count):
                await client.publish(TOPIC, payload)
            await client.publish(FENCE, b"", qos=1)

        return await measure(task, publish)


async def publish_acknowledged(task: Task) -> Figures:
    """QoS 1: each message is awaited by one of as many tasks as may be in flight."""
    async with Client(Broker(HOST, task.port), "publisher", max_in_flight=task.in_flight) as client:

        async def publish(count: int) -> None:
            waiting = payloads_to_acknowledge(task, count)

            async def work() -> None:
                for payload in waiting:
                    await client.publish(TOPIC, payload, qos=1)

            async with asyncio.TaskGroup() as group:
                for _ in range(task.in_flight):
                    group.create_task(work())

        return await measure(task, publish)


async def receive(task: Task) -> Figures:
    """With task.subscriptions filters, each with a stream of its own, of which one gets all the messages."""
    feed = Feed(task)
    async with Client(Broker(HOST, task.port), "receiver") as client:
        with ExitStack() as others:
            filters = [f"sites/{number}/rooms/+/temperature" for number in range(task.subscriptions - 1)]
            for first in range(0, len(filters), 100):
                await client.subscribe(filters[first : first + 100])
            for topic_filter in filters:
                others.enter_context(client.messages(topic_filter))
            stream = client.messages(TOPIC, max_messages=100_000, max_bytes=100_000_000)
            await client.subscribe(TOPIC)

            async def take(count: int) -> None:
                for size in feed.windows(count):
                    left = size * MESSAGE_SIZE
                    async for message in stream:
                        left -= len(message.topic) + len(message.payload)
                        if not left:
                            break

            figures = await measure(task, take)
            assert stream.dropped == 0
            assert stream.waiting == 0
            return figures


def blocking(task: Task) -> Figures:
    """Microseconds until a QoS 1 message is acknowledged, ours and a bare socket's in turns of 50."""
    if not hasattr(iotwire, "BlockingClient"):
        raise MissingError("there is no BlockingClient yet")
    prepared = PreparedPublish(TOPIC, qos=1)
    with Link(task.port, "bare") as link, iotwire.BlockingClient(Broker(HOST, task.port), "blocking") as client:
        ours: list[int] = []
        bare: list[int] = []
        for turn in range((task.warm_up + task.messages) // 50):
            if turn == task.warm_up // 50:
                ours.clear()
                bare.clear()
            for payload in payloads(50):
                started = perf_counter_ns()
                client.publish(TOPIC, payload, qos=1)
                ours.append(perf_counter_ns() - started)
            packets = [prepared.encode(payload, number) for number, payload in enumerate(payloads(50), 1)]
            for packet in packets:
                started = perf_counter_ns()
                link.exchange(packet)
                bare.append(perf_counter_ns() - started)
    return {"latency": median(ours) / 1000, "bare": median(bare) / 1000}


async def connections(task: Task) -> Figures:
    async def connect(number: int) -> Client:
        client = Client(Broker(HOST, task.port), f"idle-{number}")
        await client.connect()
        return client

    return await measure_memory(task, connect)


run(
    "iotwire",
    {
        each.__name__: each
        for each in (
            publish_many,
            publish_nowait,
            publish_one_by_one,
            publish_acknowledged,
            receive,
            blocking,
            connections,
        )
    },
)
