"""Memory that cannot be had: a program goes on when there is some again, or ends; what it said was stored arrives.

The program's address space is bounded to little more than it has, IOTWIRE_FAULTS times (5 unless it is set), while it
publishes and its messages leave, and set free again. Some programs are killed before they could recover. The others
have to store again; and what was under way when there was no memory has to leave, in the same program.
"""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest

from brokers import Mosquitto
from faultruns import FAULTS
from programs import AcknowledgedWire, Publisher, drain, taking
from relays import relay
from tallies import Tally, chance_of

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(180 + 15 * FAULTS)]

# What the message of a program says that has ended over it.
REASONS = ("MemoryError", "OutboxError", "out of memory")


def address_space(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


async def press_again_and_again(broker: Mosquitto, kind: str, tally: Tally, outbox: Path) -> None:
    chance = chance_of(tally.run)
    wire = AcknowledgedWire(5, tally)
    pressed = runs = errors = ended = 0
    async with taking(broker, tally) as taker, relay(broker.port, wire) as way:
        words = [kind, str(outbox), str(way.port)]
        while pressed < FAULTS:
            runs += 1
            async with Publisher(tally, *words, f"big{runs}") as publisher:
                await publisher.has_stored()
                goes_on = True
                while goes_on and pressed < FAULTS and not publisher.has_ended:
                    pressed += 1
                    tally.faults["memory"] += 1
                    publisher.limit(resource.RLIMIT_AS, address_space(publisher.pid) + chance.randrange(0, 1 << 20))
                    await asyncio.sleep(chance.uniform(0.05, 0.4))
                    publisher.limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
                    goes_on = chance.random() < 0.7
                    if goes_on:
                        await publisher.has_stored_or_ended()
                if goes_on and not publisher.has_ended:
                    publisher.terminate()
                    assert await publisher.end() == 0
                elif publisher.has_ended:
                    ended += 1
                    last = publisher.last_words.rpartition("\n")[2]
                    assert any(reason in last for reason in REASONS), publisher.last_words
                else:
                    tally.faults["process"] += 1
            errors += len(publisher.errors)
        await drain(tally, *words, "")
        await taker.end()
    tally.notes.append(f"{runs} programs, {ended} of them ended, {errors} calls failed")


@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
def test_a_program_without_memory_goes_on_or_says_why_not_and_nothing_is_lost(kind: str, tmp_path: Path) -> None:
    tally = Tally(f"{kind} program, memory that cannot be had")
    with Mosquitto(tmp_path, further=["max_queued_messages 0"]) as broker:
        asyncio.run(press_again_and_again(broker, kind, tally, tmp_path / "outbox.db"))
    tally.check()
