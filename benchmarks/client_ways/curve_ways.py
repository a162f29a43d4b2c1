"""Our ways for curves.py: each does the same work with one thing more of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bare import Answering, connect_answering
from task import (
    FENCE,
    HOST,
    TOPIC,
    Feed,
    Figures,
    Section,
    Task,
    measure,
    measure_memory,
    resident_bytes,
    run,
    user_properties,
)

from iotwire import Broker, Client, Outbox
from iotwire.mqtt import PreparedPublish, TopicTree

CONNECTS = 50  # connections that are made at once, and that are measured where making them is


def _payloads(task: Task, count: int) -> Iterator[bytes]:
    return islice(cycle([bytes([number]) * task.payload_size for number in range(16)]), count)


def _properties(task: Task) -> dict[str, Any]:
    return {"user_properties": user_properties(task.user_properties)} if task.user_properties else {}


def _client(task: Task, name: str = "curve", **options: Any) -> Client:
    return Client(Broker(HOST, task.port), name, **options)


async def publish(task: Task) -> Figures:
    """QoS 0, one call for each."""
    properties = _properties(task)
    async with _client(task) as client:

        async def publish(count: int) -> None:
            for payload in _payloads(task, count):
                await client.publish(TOPIC, payload, **properties)
            await client.publish(FENCE, b"", qos=1)

        return await measure(task, publish)


async def publish_acknowledged(task: Task) -> Figures:
    """QoS 1: each message is awaited by one of as many tasks as may be in flight."""
    properties = _properties(task)
    async with _client(task, max_in_flight=task.in_flight) as client:

        async def publish(count: int) -> None:
            waiting = _payloads(task, count)

            async def work() -> None:
                for payload in waiting:
                    await client.publish(TOPIC, payload, qos=1, **properties)

            async with asyncio.TaskGroup() as group:
                for _ in range(task.in_flight):
                    group.create_task(work())

        return await measure(task, publish)


async def receive(task: Task) -> Figures:
    """QoS 0; topic, payload and user properties are read."""
    async with _client(task) as client:
        return await _receive(task, client)


async def _receive(task: Task, client: Client) -> Figures:
    feed = Feed(task)
    stream = client.messages(TOPIC, max_messages=100_000, max_bytes=1 << 30)
    await client.subscribe(TOPIC)

    async def take(count: int) -> None:
        for size in feed.windows(count):
            left = size * (len(TOPIC) + task.payload_size + task.user_properties)
            async for message in stream:
                left -= len(message.topic) + len(message.payload) + len(message.user_properties)
                if not left:
                    break

    figures = await measure(task, take)
    assert stream.dropped == 0
    return figures


async def receive_among(task: Task) -> Figures:
    """QoS 0, with task.subscriptions filters, each with a stream of its own, of which one gets all the messages."""
    with ExitStack() as others:
        async with _client(task) as client:
            filters = [f"sites/{number}/rooms/+/temperature" for number in range(task.subscriptions - 1)]
            for first in range(0, len(filters), 100):
                await client.subscribe(filters[first : first + 100])
            for topic_filter in filters:
                others.enter_context(client.messages(topic_filter))
            return await _receive(task, client)


async def _in_groups(numbers: range, connect: Callable[[int], Awaitable[Any]]) -> list[Any]:
    found: list[Any] = []
    for first in range(numbers.start, numbers.stop, CONNECTS):
        group = range(first, min(first + CONNECTS, numbers.stop))
        found += await asyncio.gather(*(connect(number) for number in group))
    return found


def _connecting(task: Task) -> Callable[[int], Awaitable[Client]]:
    async def connect(number: int) -> Client:
        client = _client(task, f"curve-{number}")
        await client.connect()
        return client

    return connect


async def publish_in_turn(task: Task) -> Figures:
    """QoS 1, one message at a time, over one connection after the other."""
    clients = await _in_groups(range(task.connections), _connecting(task))

    async def publish(count: int) -> None:
        for client, payload in zip(cycle(clients), _payloads(task, count), strict=False):
            await client.publish(TOPIC, payload, qos=1)

    return await measure(task, publish)


async def bare_in_turn(task: Task) -> Figures:
    """The same with asyncio's transport and packets made beforehand."""
    links = await _in_groups(range(task.connections), lambda number: connect_answering(task.port, number))
    prepared = PreparedPublish(TOPIC, qos=1)
    packets = [prepared.encode(payload, 1) for payload in _payloads(task, 16)]

    async def publish(count: int) -> None:
        for link, packet, _ in zip(cycle(links), cycle(packets), range(count), strict=False):
            await link.exchange(packet)

    return await measure(task, publish)


async def bare_window(task: Task) -> Figures:
    """As many exchanges at a time as may be in flight, each awaited; acknowledgements are only counted."""
    link: Answering = await connect_answering(task.port, 0)
    prepared = PreparedPublish(TOPIC, qos=1)
    packets = cycle([prepared.encode(payload, number) for number, payload in enumerate(_payloads(task, 1000), 1)])

    async def publish(count: int) -> None:
        left = count
        sent = min(count, task.in_flight)
        link.write(b"".join(islice(packets, sent)))
        while left:
            answered = await link.answers()
            left -= answered
            more = min(answered, count - sent)
            sent += more
            link.write(b"".join(islice(packets, more)))

    return await measure(task, publish)


async def connect_more(task: Task) -> Figures:
    """One more connection, where there are so many."""
    connect = _connecting(task)
    keep = await _in_groups(range(task.connections), connect)
    with Section() as section:
        keep += await _in_groups(range(task.connections, task.connections + CONNECTS), connect)
    return section.for_each(CONNECTS)


async def backlog_in_memory(task: Task) -> Figures:
    """QoS 1: all are handed over before the first may leave, then delivered, 200 in flight."""
    limits = {"max_queued": task.messages + task.warm_up + 1, "max_queued_bytes": 1 << 30}
    async with _client(task, max_in_flight=task.in_flight, **limits) as client:

        async def publish(count: int) -> None:
            for payload in _payloads(task, count):
                client.publish_nowait(TOPIC, payload, qos=1)
            await client.drain()

        return await measure(task, publish)


async def _store(path: str, task: Task) -> None:
    limits = {"max_queued": 1000, "max_queued_bytes": 1 << 30}
    async with Client(Broker(HOST, 1), "curve", outbox=Outbox(path), drain_timeout_s=0, **limits) as client:
        report = await client.publish_many(((TOPIC, payload) for payload in _payloads(task, task.messages)), qos=1)
        assert report.acknowledged == task.messages


async def backlog_stored(task: Task) -> Figures:
    """QoS 1, on disk, without a connection."""
    with TemporaryDirectory() as folder:
        with Section() as section:
            await _store(f"{folder}/outbox.db", task)
        return section.for_each(task.messages)


async def backlog_delivered(task: Task) -> Figures:
    """The same once there is a connection: read, sent, acknowledged, removed."""
    with TemporaryDirectory() as folder:
        path = f"{folder}/outbox.db"
        await _store(path, task)
        with Section() as section:
            async with _client(task, outbox=Outbox(path)) as client:
                while client.stats().outbox.messages:  # type: ignore[union-attr]  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        return section.for_each(task.messages)


async def memory_of_connections(task: Task) -> Figures:
    return await measure_memory(task, _connecting(task))


async def bare_memory(task: Task) -> Figures:
    return await measure_memory(task, lambda number: connect_answering(task.port, number))


@contextmanager
def _silent_server() -> Iterator[Broker]:
    command = [sys.executable, str(Path(__file__).with_name("silent.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield Broker(HOST, int(server.stdout.readline()))


async def memory_in_flight(task: Task) -> Figures:
    """Of a message of QoS 1 that is sent and not acknowledged, its payload and topic among it."""
    with _silent_server() as route:
        limits = {"max_in_flight": 65535, "max_queued": 65535, "max_queued_bytes": 1 << 30}
        async with Client(route, "curve", keep_alive=0, drain_timeout_s=0, **limits) as client:

            async def send(count: int) -> None:
                for number in range(count):
                    client.publish_nowait(TOPIC, number.to_bytes(8, "big") * (task.payload_size // 8), qos=1)
                    if not number % 100:
                        await asyncio.sleep(0)
                await asyncio.sleep(0.2)

            half = task.messages // 2
            await send(half)  # fills what the start of the interpreter left free
            before = resident_bytes()
            await send(task.messages - half)
            assert client.stats().messages_sent == task.messages
            size = resident_bytes() - before
    return {"bytes": size / (task.messages - half)}


def _bytes_for_each(add: Callable[[range], None], half: int, count: int) -> float:
    """Of the second half: the first has filled what the start of the interpreter left free."""
    add(range(half))
    before = resident_bytes()
    add(range(half, count))
    return (resident_bytes() - before) / (count - half)


def memory_of_filters(task: Task) -> Figures:
    """Of a filter of four levels in a TopicTree, without its own text and value."""
    filters = [f"sites/{number // 100}/rooms/{number % 100}" for number in range(task.subscriptions)]
    tree: TopicTree[int] = TopicTree()
    half = task.subscriptions // 2

    def add(numbers: range) -> None:
        for number in numbers:
            tree.add(filters[number], number)

    return {"bytes": _bytes_for_each(add, half, task.subscriptions)}


async def memory_of_streams(task: Task) -> Figures:
    """Of a filter with a stream of its own, `messages(topic_filter)`, its text among it."""
    async with _client(task) as client:
        with ExitStack() as streams:

            def add(numbers: range) -> None:
                for number in numbers:
                    streams.enter_context(client.messages(f"sites/{number // 100}/rooms/{number % 100}"))

            return {"bytes": _bytes_for_each(add, task.subscriptions // 2, task.subscriptions)}


run(
    "iotwire",
    {
        each.__name__: each
        for each in (
            publish,
            publish_acknowledged,
            receive,
            receive_among,
            publish_in_turn,
            bare_in_turn,
            bare_window,
            connect_more,
            backlog_in_memory,
            backlog_stored,
            backlog_delivered,
            memory_of_connections,
            bare_memory,
            memory_in_flight,
            memory_of_filters,
            memory_of_streams,
        )
    },
)
