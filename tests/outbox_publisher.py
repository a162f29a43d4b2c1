"""A program with an outbox, for tests that kill it: publishes, and says on its standard output what is stored.

`outbox_publisher.py KIND PATH PORT RUN`: KIND is "asyncio" or "blocking". A message is called RUN and a number; every
second one is of QoS 2 unless --qos says otherwise. A line is "sent NAME...", "stored NAME...", or "error CLASS TEXT"
for a call that failed, after which it goes on. With --drain, and from SIGTERM on, it publishes nothing, and ends when
the outbox is empty.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

from iotwire import Backoff, BlockingClient, Broker, Client, Outbox, Tls
from iotwire.errors import IotwireError

TOGETHER = 10  # messages that are put at once
SIZES = (0, 0, 0, 20, 200, 3000)
BIG_SIZES = (*SIZES, 100_000, 200_000)  # of a run that is called "big...": memory that the system has to be asked for


def payload_of(name: str) -> bytes:
    """The name, and behind it what the name says: packets end anywhere, and a byte that changed shows."""
    chance = random.Random(name)
    return f"{name}:".encode() + chance.randbytes(chance.choice(BIG_SIZES if name.startswith("big") else SIZES))


def name_of(payload: bytes) -> str:
    """The other way round; for a payload that is not what was sent, something that is no name."""
    run, number, _ = payload.split(b":", 2)
    name = f"{run.decode()}:{int(number)}"
    return name if payload_of(name) == payload else f"changed {payload!r}"


def expiry_s_of(name: str) -> int | None:
    """How long a message is to live, with --expiry: some hours and a half."""
    number = int(name.rpartition(":")[2])
    return None if number % 3 == 0 else (number % 7) * 3600 + 1800


class Program:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.run: str = arguments.run
        self.drains: bool = arguments.drain
        self._qos: int | None = arguments.qos
        self._expires: bool = arguments.expiry
        tls = None if arguments.ca is None else Tls(ca=arguments.ca)
        self.route = Broker("127.0.0.1", arguments.port, tls=tls, username=arguments.user, password=arguments.user)
        self.options: dict[str, Any] = {
            "version": arguments.version,
            "outbox": Outbox(arguments.path, commit_window_s=0.002),
            "clean_start": False,
            "session_expiry_interval": 3600 if arguments.version == 5 else None,
            "reconnect": Backoff(base_s=0.01, max_s=0.1),
            "keep_alive": 1,
            "ping_timeout_s": 1.0,
            "connect_timeout_s": 2.0,
            "max_in_flight": 20,
            # A killed broker that has forgotten the session asks for nothing better.
            "drain_timeout_s": 0.0,
        }

    def _drain(self, *_: object) -> None:
        self.drains = True

    def properties(self, name: str) -> dict[str, Any]:
        expiry_s = expiry_s_of(name) if self._expires else None
        return {} if expiry_s is None else {"message_expiry_interval": expiry_s}

    def batches(self) -> Iterator[list[tuple[str, int]]]:
        """Names and qualities of service, as many as are put at once."""
        signal.signal(signal.SIGTERM, self._drain)
        for first in itertools.count(0, TOGETHER):
            if self.drains:
                return
            yield [(f"{self.run}:{number}", self._qos or 1 + number % 2) for number in range(first, first + TOGETHER)]


def say(word: str, names: list[str]) -> None:
    if names:
        print(word, *names, flush=True)


def say_error(error: IotwireError | MemoryError) -> None:
    print("error", type(error).__name__, error, flush=True)


async def publish(program: Program) -> None:
    async with Client(program.route, "publisher", **program.options) as client:
        for batch in program.batches():
            say("sent", [name for name, _ in batch])
            stored = []
            try:
                receipts = [
                    (name, client.publish_nowait("k", payload_of(name), qos, **program.properties(name)))
                    for name, qos in batch
                ]
                for name, receipt in receipts:
                    await receipt
                    stored.append(name)
            except (IotwireError, MemoryError) as error:
                say_error(error)
                await asyncio.sleep(0.05)
            say("stored", stored)
        while client.stats().outbox.messages:  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def publish_blocking(program: Program) -> None:
    with BlockingClient(program.route, "publisher", **program.options) as client:
        for batch in program.batches():
            say("sent", [name for name, _ in batch])
            stored = []
            try:
                receipts = [
                    (name, client.publish_nowait("k", payload_of(name), qos, **program.properties(name)))
                    for name, qos in batch
                ]
                for name, receipt in receipts:
                    receipt.wait()
                    stored.append(name)
            except (IotwireError, MemoryError) as error:
                say_error(error)
                time.sleep(0.05)
            say("stored", stored)
        while client.stats().outbox.messages:  # type: ignore[union-attr]
            time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("asyncio", "blocking"))
    parser.add_argument("path")
    parser.add_argument("port", type=int)
    parser.add_argument("run")
    parser.add_argument("--drain", action="store_true")
    parser.add_argument("--qos", type=int)
    parser.add_argument("--version", type=int, default=5)
    parser.add_argument("--expiry", action="store_true")
    parser.add_argument("--ca")
    parser.add_argument("--user")
    program = Program(arguments := parser.parse_args())
    if arguments.kind == "asyncio":
        asyncio.run(publish(program))
    else:
        publish_blocking(program)


if __name__ == "__main__":
    main()
