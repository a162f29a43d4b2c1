"""Memory that cannot be had: a program goes on, or ends and says why; what it said was stored arrives.

The program's address space is bounded to little more than it has, IOTWIRE_FAULTS times (5 unless it is set), while it
publishes and while its outbox is drained, and set free again.
"""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest

from brokers import Mosquitto
from faultruns import FAULTS
from programs import PATIENCE_S, AcknowledgedWire, Publisher, drain, taking
from relays import relay
from tallies import Tally, chance_of

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(180 + 15 * FAULTS)]


def address_space(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


async def press_again_and_again(broker: Mosquitto, kind: str, tally: Tally, outbox: Path) -> None:
    chance = chance_of(tally.run)
    wire = AcknowledgedWire(5, tally)
    pressed = runs = errors = 0
    async with taking(broker, tally) as taker, relay(broker.port, wire) as way:
        words = [kind, str(outbox), str(way.port)]
        while pressed < FAULTS:
            runs += 1
            async with Publisher(tally, *words, f"big{runs}") as publisher:
                await publisher.has_stored()
                while pressed < FAULTS and not publisher.has_ended:
                    pressed += 1
                    tally.faults["memory"] += 1
                    publisher.limit(resource.RLIMIT_AS, address_space(publisher.pid) + chance.randrange(0, 1 << 20))
                    await asyncio.sleep(chance.uniform(0.05, 0.4))
                    if publisher.has_ended:
                        break
                    publisher.limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
                    if chance.random() < 0.3:
                        break  # killed before it has recovered
                    before = publisher.stored
                    async with asyncio.timeout(PATIENCE_S):
                        while publisher.stored == before and not publisher.has_ended:
                            await asyncio.sleep(0.01)
            errors += len(publisher.errors)
            print(publisher.returncode, publisher.errors, publisher.complaints.decode())
            tally.faults["process"] += 1
        await drain(tally, *words, "")
        await taker.end()
    tally.notes.append(f"{errors} calls failed, {runs} programs")


@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
def test_a_program_without_memory_goes_on_or_says_why_not_and_nothing_is_lost(kind: str, tmp_path: Path) -> None:
    tally = Tally(f"{kind} program, memory that cannot be had")
    with Mosquitto(tmp_path, further=["max_queued_messages 0"]) as broker:
        asyncio.run(press_again_and_again(broker, kind, tally, tmp_path / "outbox.db"))
    tally.check()
