"""A program with an outbox, for tests that kill it: publishes, and says on its standard output what is stored.

outbox_publisher.py KIND PATH PORT RUN [drain]: KIND is "asyncio" or "blocking"; messages carry RUN and a number, every
second one is of QoS 2. With "drain" it publishes nothing, and ends when the outbox is empty.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from typing import Any

from iotwire import Backoff, BlockingClient, Broker, Client, Outbox

TOGETHER = 10  # messages that are put at once


def options(path: str) -> dict[str, Any]:
    return {
        "outbox": Outbox(path, commit_window_s=0.002),
        "clean_start": False,
        "session_expiry_interval": 3600,
        "reconnect": Backoff(base_s=0.01, max_s=0.1),
        "max_in_flight": 20,
    }


def say(run: str, numbers: range) -> None:
    print(*(f"{run}:{number}" for number in numbers), flush=True)


def ranges() -> Any:
    return (range(first, first + TOGETHER) for first in itertools.count(0, TOGETHER))


def qos_of(number: int) -> int:
    return 1 + number % 2


async def publish(path: str, route: Broker, run: str, *, drains: bool) -> None:
    async with Client(route, "publisher", **options(path)) as client:
        while drains and client.stats().outbox.messages:  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for numbers in () if drains else ranges():
            receipts = [client.publish_nowait("k", f"{run}:{each}".encode(), qos_of(each)) for each in numbers]
            for receipt in receipts:
                await receipt
            say(run, numbers)


def publish_blocking(path: str, route: Broker, run: str, *, drains: bool) -> None:
    with BlockingClient(route, "publisher", **options(path)) as client:
        while drains and client.stats().outbox.messages:  # type: ignore[union-attr]
            time.sleep(0.01)
        for numbers in () if drains else ranges():
            receipts = [client.publish_nowait("k", f"{run}:{each}".encode(), qos_of(each)) for each in numbers]
            for receipt in receipts:
                receipt.wait()
            say(run, numbers)


def main() -> None:
    kind, path, port, run = sys.argv[1:5]
    route, drains = Broker("127.0.0.1", int(port)), "drain" in sys.argv[5:]
    if kind == "asyncio":
        asyncio.run(publish(path, route, run, drains=drains))
    else:
        publish_blocking(path, route, run, drains=drains)


if __name__ == "__main__":
    main()
