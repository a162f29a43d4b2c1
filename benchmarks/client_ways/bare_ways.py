"""What is no client: asyncio's own transport, and packets made beforehand."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice

from bare import Counting, connect
from task import (
    FENCE,
    HOST,
    PAYLOADS,
    TOPIC,
    Feed,
    Figures,
    Task,
    measure,
    measure_memory,
    payloads_to_acknowledge,
    run,
)

from iotwire.mqtt import Connect, PreparedPublish, Subscribe, Subscription

ANSWER_SIZE = 5  # a PUBACK that says NO_MATCHING_SUBSCRIBERS, which is what there are


async def publish(task: Task) -> Figures:
    """Packets made beforehand, 100 in a write."""
    prepared = PreparedPublish(TOPIC)
    packets = b"".join(prepared.encode(payload) for payload in PAYLOADS[:100])
    reader, writer = await asyncio.open_connection(HOST, task.port)
    writer.write(Connect("publisher", keep_alive=60).encode(5))
    assert await reader.read(100)

    async def publish(count: int) -> None:
        for _ in range(count // 100):
            writer.write(packets)
            await writer.drain()
        writer.write(PreparedPublish(FENCE, qos=1).encode(b"", 1))
        assert await reader.read(100)

    figures = await measure(task, publish)
    writer.close()
    return figures


async def acknowledged(task: Task) -> Figures:
    """Packets made beforehand; as many are written at once as acknowledgements have come, which are only counted."""
    prepared = PreparedPublish(TOPIC, qos=1)
    packets = [prepared.encode(payload, number) for number, payload in enumerate(PAYLOADS, 1)]
    reader, writer = await asyncio.open_connection(HOST, task.port)
    writer.write(Connect("publisher", keep_alive=60).encode(5))
    assert await reader.read(100)

    async def publish(count: int) -> None:
        waiting = (packet for packet, _ in zip(cycle(packets), payloads_to_acknowledge(task, count), strict=False))
        writer.write(b"".join(islice(waiting, task.in_flight)))
        unread = 0
        while count:
            answers = await reader.read(65536)
            unread += len(answers)
            answered, unread = divmod(unread, ANSWER_SIZE)
            count -= answered
            writer.write(b"".join(islice(waiting, answered)))

    figures = await measure(task, publish)
    writer.close()
    return figures


async def receive(task: Task) -> Figures:
    """Reads and counts bytes: what is left of receiving when there is no MQTT in it."""
    feed = Feed(task)
    wire_size = len(PreparedPublish(TOPIC).encode(PAYLOADS[0]))
    transport, protocol = await asyncio.get_running_loop().create_connection(Counting, HOST, task.port)

    transport.write(Connect("receiver", keep_alive=60).encode(5))
    await protocol.take_answer()
    transport.write(Subscribe(1, [Subscription(TOPIC)]).encode(5))
    await protocol.take_answer()

    async def take(count: int) -> None:
        for size in feed.windows(count):
            await protocol.take(size * wire_size)

    figures = await measure(task, take)
    transport.close()
    return figures


async def connections(task: Task) -> Figures:
    async def one_more(number: int) -> asyncio.Transport:
        return await connect(task.port, number)

    return await measure_memory(task, one_more)


run(None, {each.__name__: each for each in (publish, acknowledged, receive, connections)})
