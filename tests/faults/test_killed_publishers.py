"""A program with an outbox that is killed anywhere, and its broker and its link with it: what was stored arrives.

QoS 1 at least once, QoS 2 once. Each fault comes IOTWIRE_FAULTS times (5 unless it is set). mosquitto keeps what it has
over an orderly stop only, so that is how it ends here. All chance is seeded.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Self

import pytest

from brokers import Mosquitto, relay
from faultruns import BACKOFF, FAULTS
from iotwire import Client
from outbox_publisher import qos_of

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(120 + 12 * FAULTS)]

PROGRAM = Path(__file__).parents[1] / "outbox_publisher.py"
# For whatever does not happen; a machine may be busy.
PATIENCE_S = 60.0
END = b"end"


class Publisher:
    """One run of the program; what it has said is stored is in `stored`."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.stored: list[str] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), *self._words, stdout=asyncio.subprocess.PIPE
        )
        self.has_stored = asyncio.Event()
        self._reading = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while (line := await self._process.stdout.readline()).endswith(b"\n"):
            self.stored += line.decode().split()
            self.has_stored.set()

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._reading
        await self._process.wait()

    async def end(self) -> None:
        assert await asyncio.wait_for(self._process.wait(), PATIENCE_S) == 0


async def run_with(broker: Mosquitto, kind: str, fault: str, outbox: Path) -> tuple[list[str], Counter[str]]:
    """What was stored, and how often each message arrived."""
    chance = random.Random(f"{kind} {fault}")
    arrived: Counter[str] = Counter()
    stored: list[str] = []
    async with (
        Client(
            broker.route(), "subscriber", session_expiry_interval=3600, receive_maximum=1000, reconnect=BACKOFF
        ) as subscriber,
        relay(broker.port) as way,
    ):
        messages = subscriber.messages("k", max_messages=1_000_000, max_bytes=1 << 30)
        await subscriber.subscribe("k", 2)

        async def take() -> None:
            async for message in messages:
                if message.payload == END:
                    return
                arrived[message.payload.decode()] += 1

        taking = asyncio.create_task(take())
        for number in range(FAULTS):
            async with Publisher(kind, str(outbox), str(way.port), str(number)) as publisher:
                await asyncio.wait_for(publisher.has_stored.wait(), PATIENCE_S)
                await asyncio.sleep(chance.uniform(0, 0.15))
                if fault == "link":
                    way.cut()
                    await asyncio.sleep(chance.uniform(0, 0.1))
                    await way.mend()
                    await asyncio.sleep(chance.uniform(0, 0.2))
                elif fault == "broker":
                    await asyncio.to_thread(broker.stop)
                    await asyncio.sleep(chance.uniform(0, 0.1))
            stored += publisher.stored
            if fault == "broker":
                await asyncio.to_thread(broker.start)
        async with Publisher(kind, str(outbox), str(way.port), "", "drain") as publisher:
            await publisher.end()
        await asyncio.wait_for(subscriber.publish("k", END, 2), PATIENCE_S)
        await asyncio.wait_for(taking, PATIENCE_S)
    return stored, arrived


@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
@pytest.mark.parametrize("fault", ["program", "link", "broker"])
def test_what_a_killed_program_has_stored_arrives_and_qos_2_once(kind: str, fault: str, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, further=["max_queued_messages 0"]) as broker:
        stored, arrived = asyncio.run(run_with(broker, kind, fault, tmp_path / "outbox.db"))
    lost = [each for each in stored if each not in arrived]
    twice = {each: count for each, count in arrived.items() if count > 1}
    twice_of_2 = [each for each in twice if qos_of(int(each.partition(":")[2])) == 2]
    print(
        f"{kind}, {fault}: {len(stored)} stored, {arrived.total()} arrived, {len(twice)} of them more than once; "
        f"{len(lost)} lost; QoS 2: {len(twice_of_2)} more than once"
    )
    assert not lost
    assert not twice_of_2
    assert len(stored) >= FAULTS
