"""Outages of hours and backlogs of a hundred thousand: all arrives, in order, and memory stays what it was.

The sizes are those of IOTWIRE_FAULTS=100; with less they are as much smaller, and 2 % of it below 20 (it is 5 unless it
is set). Two hours at 100 messages per second are stored as fast as the disk takes them: what matters is how many they
are.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
import time
from pathlib import Path

import pytest

from brokers import Mosquitto
from faultruns import BACKOFF, FAULTS, Connection, Wire
from iotwire import Backoff, Client, Outbox
from iotwire.mqtt import Packet, PubAck, Publish, PubRec
from long_publisher import TOPICS
from programs import PATIENCE_S
from relays import Relay, relay
from tallies import Tally, chance_of

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(300 + 30 * FAULTS)]

PROGRAM = Path(__file__).parents[1] / "long_publisher.py"
# From a broker's return to the first message that goes on, besides what the backoff still waits.
RETURN_S = 1.5


class LongWire(Wire):
    """Counts what is acknowledged."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(5)
        self._tally = tally
        self._sent: dict[int, tuple[int, int]] = {}

    def said(self, connection: Connection, packet: Packet) -> None:
        if isinstance(packet, Publish) and packet.packet_id is not None:
            self._sent[packet.packet_id] = packet.qos, number_of(packet)

    def heard(self, connection: Connection, packet: Packet) -> None:
        if isinstance(packet, PubAck | PubRec) and packet.packet_id in self._sent:
            qos, number = self._sent[packet.packet_id]
            self._tally.counts[qos].acknowledged.add(number)


def number_of(packet: Publish) -> int:
    return int(bytes(packet.payload).partition(b":")[0])


def note_numbers(tally: Tally, what: str, first: int, end: int) -> None:
    for topic in range(TOPICS):
        numbers = range(first + (topic - first) % TOPICS, end, TOPICS)
        getattr(tally.counts[1 + topic % 2], what).update(numbers)


class Long:
    def __init__(self, tally: Tally, kind: str, backlog: int, total: int) -> None:
        self._tally = tally
        self._words = [kind, str(backlog), str(total)]
        self._total = total
        self._stored = 0
        self.idle_bytes = self.peak_bytes = 0
        self._is_waiting = asyncio.Event()
        self._arrived = asyncio.Event()
        self.out_of_order: list[tuple[int, int]] = []

    async def __call__(self, broker: Mosquitto, outbox: Path) -> None:
        kind, backlog, total = self._words
        async with (
            Client(broker.route(), "taker", receive_maximum=1000, reconnect=BACKOFF) as client,
            relay(broker.port, LongWire(self._tally)) as way,
        ):
            messages = client.messages("long/#", max_messages=1 << 22, max_bytes=1 << 31)
            await client.subscribe("long/#", 2)
            way.refuse()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(PROGRAM), kind, str(outbox), str(way.port), backlog, total),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            taking = asyncio.create_task(self._take(messages))
            reading = asyncio.create_task(self._read(process))
            try:
                await self._go_on(way, process)
                begun = time.monotonic()
                await self._until_all_has_come(taking)
                took_s = time.monotonic() - begun
                await asyncio.wait_for(reading, PATIENCE_S)
                assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                taking.cancel()
                await asyncio.gather(taking, reading, return_exceptions=True)
        self._tally.faults["link"] += 1
        self._tally.notes.append(
            f"idle {self.idle_bytes / 1e6:.1f} MB, at most {(self.peak_bytes - self.idle_bytes) / 1e6:.1f} MB above; "
            f"{self._total / took_s:.0f} messages/s once the server was there"
        )

    async def _go_on(self, way: Relay, process: asyncio.subprocess.Process) -> None:
        """When the backlog is there, so is the server."""
        while not self._is_waiting.is_set():
            before = self._stored
            try:
                await asyncio.wait_for(self._is_waiting.wait(), PATIENCE_S)
            except TimeoutError:
                assert self._stored > before, "it stores nothing any more"
        await way.mend()
        assert process.stdin is not None
        process.stdin.write(b"\n")

    async def _until_all_has_come(self, taking: asyncio.Task[None]) -> None:
        while sum(len(counts.arrived) for counts in self._tally.counts.values()) < self._total:
            self._arrived.clear()
            assert not taking.done(), taking.result()
            await asyncio.wait_for(self._arrived.wait(), PATIENCE_S)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            word, _, rest = line.decode().strip().partition(" ")
            if word == "idle":
                self.idle_bytes = int(rest)
            elif word == "peak":
                self.peak_bytes = int(rest)
            elif word == "stored":
                note_numbers(self._tally, "sent", self._stored, int(rest))
                note_numbers(self._tally, "stored", self._stored, int(rest))
                self._stored = int(rest)
            else:
                self._is_waiting.set()

    async def _take(self, messages: object) -> None:
        latest = dict.fromkeys(range(TOPICS), -1)
        async for message in messages:  # type: ignore[attr-defined]
            number = number_of(message)
            topic = number % TOPICS
            arrived = self._tally.counts[1 + topic % 2].arrived
            arrived[number] += 1
            if arrived[number] == 1:
                if number < latest[topic]:
                    self.out_of_order.append((latest[topic], number))
                latest[topic] = number
            self._arrived.set()


RUNS = {
    "a backlog of 100 000 that a million pass": (1_000, 10_000),
    "two hours without a server at 100 a second": (7_200, 7_200),
}


SHARE = FAULTS if FAULTS >= 20 else 2
# Of memory above that of the idle program, whatever the backlog. A small one, held as a whole, would not take 20 MB.
MOST_BYTES = 20_000_000 if SHARE == 100 else 4_500_000
# Where there is little time, each client has one of them.
PAIRS = [(kind, name) for name in RUNS for kind in ("asyncio", "blocking")]
if FAULTS < 20:
    PAIRS = PAIRS[1:3]


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_a_long_outage_is_made_up_for_in_order_and_in_bounded_memory(kind: str, name: str, tmp_path: Path) -> None:
    backlog, total = (SHARE * each for each in RUNS[name])
    tally = Tally(f"{kind} program, {name}, {SHARE} % of it")
    long = Long(tally, kind, backlog, total)
    with Mosquitto(tmp_path, further=["max_queued_messages 0", "max_inflight_messages 1000"]) as broker:
        asyncio.run(long(broker, tmp_path / "outbox.db"))
    tally.check()
    assert not long.out_of_order, long.out_of_order[:10]
    assert long.peak_bytes - long.idle_bytes <= MOST_BYTES


class FirstPublish(Wire):
    """When the first message came since it was asked for."""

    def __init__(self) -> None:
        super().__init__(5)
        self.at: asyncio.Future[float] | None = None

    def said(self, connection: Connection, packet: Packet) -> None:
        if isinstance(packet, Publish) and self.at is not None and not self.at.done():
            self.at.set_result(time.monotonic())


class Waits(logging.Handler):
    """How often the client has begun to wait for its next attempt, and when that is."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.until = 0.0
        self.changed = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "state", None) in ("waiting", "lost"):
            self.count += 1
            self.until = time.monotonic() + record.delay_s  # type: ignore[attr-defined]
            self.changed.set()


def test_messages_go_on_soon_after_a_broker_has_returned(tmp_path: Path) -> None:
    """The delay of the backoff that is under way when it returns is not the client's to shorten."""
    took: list[float] = []
    waited: list[float] = []
    chance = chance_of("returns")
    tally = Tally("returns of a broker", ())

    async def run(broker: Mosquitto) -> None:
        waits, first = Waits(), FirstPublish()
        log = logging.getLogger("iotwire.client")
        log.addHandler(waits)
        async with (
            relay(broker.port, first) as way,
            Client(
                broker.route(way.port),
                "publisher",
                clean_start=False,
                session_expiry_interval=3600,
                outbox=Outbox(tmp_path / "outbox.db", commit_window_s=0.002),
                reconnect=Backoff(base_s=0.2, max_s=1.0),
            ) as client,
        ):
            await client.publish("k", b"begins", 1)
            await client.drain()
            for number in range(FAULTS):
                way.cut()
                tally.faults["link"] += 1
                attempts = waits.count + chance.randrange(1, 5)
                async with asyncio.timeout(PATIENCE_S):
                    while waits.count < attempts:
                        waits.changed.clear()
                        await waits.changed.wait()
                await client.publish("k", b"%d" % number, 1 + number % 2)
                first.at = asyncio.get_running_loop().create_future()
                await way.mend()
                returned = time.monotonic()
                left = max(0.0, waits.until - returned)
                came = await asyncio.wait_for(first.at, PATIENCE_S)
                took.append(came - returned - left)
                waited.append(left)
        log.removeHandler(waits)

    with Mosquitto(tmp_path) as broker:
        asyncio.run(run(broker))
    median = statistics.median(took)
    tally.notes.append(
        f"from a broker's return to the first message: median {median:.3f} s, at most {max(took):.3f} s, besides a "
        f"backoff of {statistics.median(waited):.3f} s (median)"
    )
    tally.check()
    assert median < RETURN_S
