"""gmqtt's ways. Its publish writes at once and tells nothing; acknowledgements are seen by the storage it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from task import (
    FENCE,
    HOST,
    TOPIC,
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
    from gmqtt import Client
    from gmqtt.storage import PersistentStorage
except ImportError as error:
    MISSING: str | None = f"not installed ({error})"
    PersistentStorage = object
else:
    MISSING = None

UNYIELDING = 256  # messages published before the event loop gets a turn


class Storage(PersistentStorage):
    """The client's own storage, which tells who was acknowledged. last: the packet id of the message just published."""

    last = 0
    acknowledged: Callable[[int], None] | None = None

    def push_message(self, mid: int, raw_package: bytes) -> None:
        self.last = mid
        super().push_message(mid, raw_package)

    def remove_message_by_mid(self, mid: int) -> None:
        super().remove_message_by_mid(mid)
        if self.acknowledged is not None:
            self.acknowledged(mid)


async def _connected(task: Task, client_id: str, storage: Any = None, on_message: Any = None) -> Any:
    if MISSING:
        raise MissingError(MISSING)
    client = Client(client_id, persistent_storage=storage)
    if on_message is not None:
        client.on_message = on_message
    await client.connect(HOST, task.port)
    return client


async def _publish(task: Task, breathe: int) -> Figures:
    storage = Storage()
    client = await _connected(task, "publisher", storage)

    async def publish(count: int) -> None:
        for number, payload in enumerate(payloads(count), 1):
            client.publish(TOPIC, payload)
            if not number % breathe:
                await asyncio.sleep(0)
        client.publish(FENCE, b"", qos=1)
        await storage.wait_empty()

    figures = await measure(task, publish)
    await client.disconnect()
    return figures


async def publish(task: Task) -> Figures:
    return await _publish(task, UNYIELDING)


async def publish_unyielding(task: Task) -> Figures:
    """All at once: what the socket does not take lies in memory, however much it is."""
    return await _publish(task, task.messages + task.warm_up + 1)


async def acknowledged_tasks(task: Task) -> Figures:
    """QoS 1: each message is awaited by one of as many tasks as may be in flight."""
    storage = Storage()
    client = await _connected(task, "publisher", storage)

    async def publish(count: int) -> None:
        waiting = payloads_to_acknowledge(task, count)
        loop = asyncio.get_running_loop()
        futures: dict[int, asyncio.Future[None]] = {}
        storage.acknowledged = lambda mid: futures.pop(mid).set_result(None)

        async def work() -> None:
            for payload in waiting:
                client.publish(TOPIC, payload, qos=1)
                future = futures[storage.last] = loop.create_future()
                await future

        async with asyncio.TaskGroup() as group:
            for _ in range(task.in_flight):
                group.create_task(work())

    figures = await measure(task, publish)
    await client.disconnect()
    return figures


async def acknowledged_callbacks(task: Task) -> Figures:
    """QoS 1: the acknowledgement of one message publishes the next."""
    storage = Storage()
    client = await _connected(task, "publisher", storage)

    async def publish(count: int) -> None:
        waiting = payloads_to_acknowledge(task, count)
        done = asyncio.get_running_loop().create_future()
        left = count

        def acknowledged(mid: int) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)
            publish_next()

        def publish_next() -> None:
            for payload in waiting:
                client.publish(TOPIC, payload, qos=1)
                break

        storage.acknowledged = acknowledged
        for _ in range(task.in_flight):
            publish_next()
        await done

    figures = await measure(task, publish)
    await client.disconnect()
    return figures


async def receive_callback(task: Task) -> Figures:
    receiver = Receiver(task)
    took = receiver.took

    def on_message(client: Any, topic: str, payload: bytes, qos: int, properties: Any) -> None:
        took(topic, payload)

    client = await _connected(task, "receiver", on_message=on_message)
    subscribed = asyncio.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.subscribe(TOPIC)
    await subscribed.wait()
    figures = await receiver.measure()
    await client.disconnect()
    return figures


async def connections(task: Task) -> Figures:
    async def connect(number: int) -> Any:
        return await _connected(task, f"idle-{number}")

    return await measure_memory(task, connect)


run(
    "gmqtt",
    {
        each.__name__: each
        for each in (
            publish,
            publish_unyielding,
            acknowledged_tasks,
            acknowledged_callbacks,
            receive_callback,
            connections,
        )
    },
)
