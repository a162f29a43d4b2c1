"""A program with an outbox, for long runs: stores a backlog while there is no server, and keeps it up while it leaves.

`long_publisher.py KIND PATH PORT BACKLOG TOTAL`: it stores BACKLOG messages, waits for a line on its standard input,
publishes on, with as many waiting, up to TOTAL, and ends when all have left. It says "idle BYTES" of its memory before
the first message, "stored NUMBER" as it goes, and "peak BYTES" of its memory since idle.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iotwire import Backoff, BlockingClient, Broker, Client, Outbox
from iotwire.mqtt import Publish

TOGETHER = 1000
TOPICS = 4
FILLER = b"." * 60  # a reading as it usually is


def message(number: int) -> Publish:
    """Topics have one quality of service each: in the order of a topic lies what MQTT promises."""
    topic = number % TOPICS
    return Publish(f"long/{topic}", b"%d:%b" % (number, FILLER), qos=1 + topic % 2)


def batches(first: int, end: int) -> Iterator[list[Publish]]:
    for start in range(first, end, TOGETHER):
        yield [message(number) for number in range(start, min(start + TOGETHER, end))]


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def say(*words: Any) -> None:
    print(*words, flush=True)


def options(path: str) -> dict[str, Any]:
    return {
        "outbox": Outbox(path, commit_window_s=0.01, sync="interval", max_bytes=1 << 32),
        "clean_start": False,
        "session_expiry_interval": 3600,
        "reconnect": Backoff(base_s=0.05, max_s=0.5),
        "drain_timeout_s": 0.0,
    }


async def run(path: str, route: Broker, backlog: int, total: int) -> None:
    async with Client(route, "publisher", **options(path)) as client:

        def waiting() -> int:
            outbox = client.stats().outbox
            assert outbox is not None
            return outbox.messages

        await asyncio.sleep(0.5)
        forget_peak()
        say("idle", resident_bytes())
        count = 0
        for batch in itertools.chain(batches(0, backlog), [[]], batches(backlog, total)):
            if not batch:
                say("waiting")
                await asyncio.to_thread(sys.stdin.readline)
                continue
            while count >= backlog and waiting() >= backlog:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            report = await client.publish_many(batch)
            assert report.acknowledged == len(batch), report
            count += len(batch)
            say("stored", count)
        while waiting():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        say("peak", peak_bytes())


def run_blocking(path: str, route: Broker, backlog: int, total: int) -> None:
    import time

    with BlockingClient(route, "publisher", **options(path)) as client:

        def waiting() -> int:
            outbox = client.stats().outbox
            assert outbox is not None
            return outbox.messages

        time.sleep(0.5)
        forget_peak()
        say("idle", resident_bytes())
        count = 0
        for batch in itertools.chain(batches(0, backlog), [[]], batches(backlog, total)):
            if not batch:
                say("waiting")
                sys.stdin.readline()
                continue
            while count >= backlog and waiting() >= backlog:
                time.sleep(0.005)
            report = client.publish_many(batch)
            assert report.acknowledged == len(batch), report
            count += len(batch)
            say("stored", count)
        while waiting():
            time.sleep(0.05)
        say("peak", peak_bytes())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("asyncio", "blocking"))
    parser.add_argument("path")
    for name in ("port", "backlog", "total"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    route = Broker("127.0.0.1", given.port)
    if given.kind == "asyncio":
        asyncio.run(run(given.path, route, given.backlog, given.total))
    else:
        run_blocking(given.path, route, given.backlog, given.total)


if __name__ == "__main__":
    main()
