"""What the contenders of clients.py share: the task, the messages, and the section that is measured.

Each contender is a script of its own that `benchmarks/clients.py` starts in a fresh interpreter, with a task as JSON
for its only argument. It connects, warms up, does the task within a `Section`, and prints the figures as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
TOPIC = "sites/berlin/rooms/e4/temperature"
FENCE = "sites/berlin/fence"
PAYLOAD_SIZE = 256
PAYLOADS = [number.to_bytes(8, "big") * (PAYLOAD_SIZE // 8) for number in range(1000)]
MESSAGE_SIZE = len(TOPIC) + PAYLOAD_SIZE  # what an application counts that reads topic and payload
WINDOW = 1000  # messages that are asked of the feeder at once
PUBACK_SIZE = 4  # at least
TIMEOUT_S = 60.0

Figures = dict[str, Any]


class MissingError(Exception):
    """This contender has no such way: a library, or a method of it, is not there."""


@dataclass(frozen=True)
class Task:
    """What to do.

    messages: those that are measured. payload_size, user_properties: of each, for the ways of curves.py. feed: the
    descriptor of the socket to the feeder. burst: a receiver sleeps until the broker has sent it a whole window, and
    who publishes QoS 1 until half of what is in flight is acknowledged.
    """

    way: str
    port: int
    messages: int = 1000
    warm_up: int = 1000
    in_flight: int = 200
    subscriptions: int = 1
    connections: int = 1000
    payload_size: int = PAYLOAD_SIZE
    user_properties: int = 0
    feed: int = -1
    burst: bool = False
    uvloop: bool = False


class Section:
    """User and system time of this process with all of its threads, and time on the wall, around a `with` block."""

    def __enter__(self) -> Self:
        gc.collect()
        self._wall = time.perf_counter()
        self._before = resource.getrusage(resource.RUSAGE_SELF)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        after = resource.getrusage(resource.RUSAGE_SELF)
        self.wall_s = time.perf_counter() - self._wall
        self.user_s = after.ru_utime - self._before.ru_utime
        self.system_s = after.ru_stime - self._before.ru_stime

    def for_each(self, count: int) -> Figures:
        """Microseconds for each of `count` messages."""
        user, system, wall = (seconds / count * 1e6 for seconds in (self.user_s, self.system_s, self.wall_s))
        return {"cpu": user + system, "user": user, "system": system, "wall": wall}


def payloads(count: int) -> Iterator[bytes]:
    """What every publisher iterates over."""
    return islice(cycle(PAYLOADS), count)


def user_properties(count: int) -> list[tuple[str, str]]:
    """So many, of 19 bytes of text each."""
    return [(f"name-{number:04d}", f"value-{number:04d}") for number in range(count)]


def payloads_to_acknowledge(task: Task, count: int) -> Iterator[bytes]:
    """`payloads`; in bursts this process is woken only when half of what may be in flight is acknowledged."""
    if task.burst:
        _wake_for(task.port, PUBACK_SIZE * task.in_flight // 2)
    yield from payloads(count)
    if task.burst:
        _wake_for(task.port, 1)


def _wake_for(port: int, size: int) -> None:
    """Let every socket of this process that is connected to `port` become readable with that many bytes."""
    for descriptor in os.listdir("/proc/self/fd"):
        if not Path("/proc/self/fd", descriptor).is_socket():
            continue
        with socket.socket(fileno=os.dup(int(descriptor))) as found:
            if found.family == socket.AF_INET and found.getpeername()[1] == port:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


async def measure(task: Task, do: Callable[[int], Awaitable[object]]) -> Figures:
    """Warm up, then measure. do: handles that many messages, and returns when the broker has or has sent them all."""
    await do(task.warm_up)
    with Section() as section:
        await do(task.messages)
    return section.for_each(task.messages)


def measure_blocking(task: Task, do: Callable[[int], object]) -> Figures:
    """`measure` without an event loop."""
    do(task.warm_up)
    with Section() as section:
        do(task.messages)
    return section.for_each(task.messages)


class Feed:
    """The receiver's end of the feeder: messages come when they are asked for, so that no queue grows or drops.

    ahead: how many windows are asked for before the first has come. In bursts that is one, and asking for it blocks the
    thread that reads the socket until the broker has sent all of it, or has no more room in the socket.
    """

    def __init__(self, task: Task) -> None:
        self._socket = socket.socket(fileno=task.feed)
        self._socket.setblocking(True)
        self._burst = task.burst
        self.ahead = 1 if task.burst else 2

    def ask(self, count: int) -> None:
        self._socket.sendall(count.to_bytes(4, "big"))
        if self._burst:
            assert self._socket.recv(1)

    def windows(self, count: int) -> Iterator[int]:
        """Ask for `count` messages; the sizes of the windows to receive."""
        sizes = in_windows(count)
        for size in sizes[: self.ahead]:
            self.ask(size)
        for number, size in enumerate(sizes):
            yield size
            if number + self.ahead < len(sizes):
                self.ask(sizes[number + self.ahead])


def in_windows(count: int) -> list[int]:
    """So many messages, in windows."""
    return [WINDOW] * (count // WINDOW) + ([count % WINDOW] if count % WINDOW else [])


class Countdown:
    """`Feed.windows` for a client with callbacks. `took` is for its message callback; done: called at the end.

    Messages may arrive on another thread before `start` has returned.
    """

    def __init__(self, feed: Feed, done: Callable[[], object]) -> None:
        left = 0
        current = 0
        sizes: list[int] = []

        def start(count: int) -> None:
            nonlocal left, current, sizes
            sizes = in_windows(count)
            current = 0
            left = sizes[0] * MESSAGE_SIZE
            for size in sizes[: feed.ahead]:
                feed.ask(size)

        def took(topic: str, payload: bytes) -> None:
            nonlocal left, current
            left -= len(topic) + len(payload)
            if left:
                return
            current += 1
            if current == len(sizes):
                done()
                return
            left = sizes[current] * MESSAGE_SIZE
            if current + feed.ahead <= len(sizes):
                feed.ask(sizes[current + feed.ahead - 1])

        self.start = start
        self.took = took


class Receiver:
    """A client on an event loop whose message callback calls `took` with topic and payload."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._done = asyncio.Event()
        self._countdown = Countdown(Feed(task), self._done.set)
        self.took = self._countdown.took

    async def measure(self) -> Figures:
        return await measure(self._task, self._take)

    async def _take(self, count: int) -> None:
        self._done.clear()
        self._countdown.start(count)
        await self._done.wait()


class BlockingReceiver:
    """The same where the callback is called on another thread."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._done = threading.Event()
        self._countdown = Countdown(Feed(task), self._done.set)
        self.took = self._countdown.took

    def measure(self) -> Figures:
        return measure_blocking(self._task, self._take)

    def _take(self, count: int) -> None:
        self._done.clear()
        self._countdown.start(count)
        assert self._done.wait(TIMEOUT_S)


def resident_bytes() -> int:
    """What the kernel keeps in memory of this process, after a garbage collection."""
    gc.collect()
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024


async def measure_memory(task: Task, connect: Callable[[int], Awaitable[object]]) -> Figures:
    """Resident bytes of one idle connection. connect: makes the connection of that number, which lives on."""
    keep = [await connect(number) for number in range(20)]  # threads, caches and code are here now
    before = resident_bytes()
    for first in range(20, 20 + task.connections, 50):
        numbers = range(first, min(first + 50, 20 + task.connections))
        keep += await asyncio.gather(*(connect(number) for number in numbers))
    after = resident_bytes()
    assert len(keep) == task.connections + 20
    return {"bytes": (after - before) / task.connections}


def run(distribution: str | None, ways: Mapping[str, Callable[[Task], Figures | Coroutine[Any, Any, Figures]]]) -> None:
    """The main function of a contender: do the task of the command line, print its figures.

    ways: a function for each, or a coroutine function, which gets an event loop.
    """
    task = Task(**json.loads(sys.argv[1]))
    logging.disable(logging.CRITICAL)
    try:
        found = ways[task.way](task)
        figures = found if isinstance(found, dict) else _run_in_loop(task, found)
    except MissingError as error:
        figures = {"missing": str(error)}
    if distribution is not None:
        try:
            figures["version"] = version(distribution)
        except PackageNotFoundError:
            figures["version"] = "?"
    print(json.dumps(figures), flush=True)


def _run_in_loop(task: Task, coroutine: Coroutine[Any, Any, Figures]) -> Figures:
    factory = None
    if task.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)
