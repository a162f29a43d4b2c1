"""A wall clock that jumps by hours, forward and back, while messages wait: none expires that has not lived its time.

What an outbox documents: while it is open, setting the clock changes no message's age. Between two programs the time
that has passed is what the clock says, and never less than none: where it was set back, nothing was.

The clock is that of the program alone (shifted_clock.c). It jumps IOTWIRE_FAULTS times (5 unless it is set), to a whole
hour; messages live for some hours and a half, so that how long the test takes makes no difference.
"""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path

import pytest

from brokers import Mosquitto
from faultruns import FAULTS
from outbox_publisher import expiry_s_of
from programs import AcknowledgedWire, Publisher, drain, taking
from relays import relay
from support import build_preloaded
from tallies import Tally, chance_of

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(180 + 15 * FAULTS)]

HOUR_S = 3600
# Of the real time that the test takes.
MOST_S = HOUR_S // 2


class Clock:
    """Of a program that has this environment."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "shift"
        self.hours = 0
        self.jump(0)
        library = build_preloaded("shifted_clock.c", folder)
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._file)}

    def jump(self, hours: int) -> None:
        self.hours += hours
        with open(self._file, "r+b" if self._file.exists() else "wb") as file:  # the file that is mapped
            file.write(struct.pack("=q", self.hours * HOUR_S))


@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
def test_messages_expire_when_they_have_lived_their_time_whatever_the_clock_does(kind: str, tmp_path: Path) -> None:
    tally = Tally(f"{kind} program, a clock that jumps")
    chance = chance_of(tally.run)
    clock = Clock(tmp_path)
    wire = AcknowledgedWire(5, tally)
    opened_at: list[int] = []  # for each program, in hours by the clock of the outbox

    def note_opening() -> int:
        opened_at.append(max([clock.hours, *opened_at]))
        return opened_at[-1]

    async def run(broker: Mosquitto) -> None:
        async with taking(broker, tally) as taker, relay(broker.port, wire) as way:
            way.refuse()
            words = [kind, str(tmp_path / "outbox.db"), str(way.port)]
            left = FAULTS
            while left:
                number = len(opened_at)
                note_opening()
                async with Publisher(
                    tally, *words, str(number), "--expiry", environment=clock.environment
                ) as publisher:
                    await publisher.has_stored()
                    for _ in range(min(left, chance.choice((1, 1, 2)))):
                        left -= 1
                        tally.faults["clock"] += 1
                        clock.jump(chance.choice((-24, -5, -2, -1, 1, 2, 3, 5)))
                        await publisher.has_stored()
                tally.faults["process"] += 1
            note_opening()
            await way.mend()
            await drain(tally, *words, "", environment=clock.environment)
            await taker.end()

    with Mosquitto(tmp_path, further=["max_queued_messages 0"]) as broker:
        asyncio.run(run(broker))

    expired = set()
    for name in {name for counts in tally.counts.values() for name in counts.sent}:
        assert isinstance(name, str)
        lives_s = expiry_s_of(name)
        has_arrived = any(name in counts.arrived for counts in tally.counts.values())
        if lives_s is None:
            assert wire.expiries.get(name) is None
            continue
        left_s = lives_s - (opened_at[-1] - opened_at[int(name.partition(":")[0])]) * HOUR_S
        if left_s < 0:
            assert not has_arrived, f"{tally}: {name} came {-left_s} s after its time"
            expired.add(name)
        elif has_arrived:
            told_s = wire.expiries[name]
            assert told_s is not None
            assert left_s - MOST_S < told_s <= left_s, f"{tally}: {name} had {left_s} s, and was sent with {told_s} s"
    tally.notes.append(f"{len(expired)} had expired, and did not come")
    tally.check(may_be_lost=expired, because="expired")
