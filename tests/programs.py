"""A program that publishes (outbox_publisher.py), seen from outside while it is killed, and who takes what it has sent.

All that they do is counted in a `Tally`.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

from brokers import RealBroker
from faultruns import BACKOFF, Connection, Wire
from iotwire import Client
from iotwire.mqtt import Packet, PubAck, Publish, PubRec
from outbox_publisher import name_of
from tallies import Tally

PROGRAM = Path(__file__).with_name("outbox_publisher.py")
# For whatever does not happen; a machine may be busy.
PATIENCE_S = 60.0
END = b"end"


def qos_of(name: str, levels: tuple[int, ...]) -> int:
    return levels[int(name.rpartition(":")[2]) % len(levels)]


class Publisher:
    """One run of the program, whose lines go into the tally. errors: what calls have failed with."""

    def __init__(self, tally: Tally, *words: str, environment: Mapping[str, str] | None = None) -> None:
        self._tally = tally
        self._levels = tuple(tally.counts)
        self._words = words if len(self._levels) > 1 else (*words, "--qos", str(self._levels[0]))
        self._environment = environment
        self._changed = asyncio.Event()
        self.stored = 0
        self.errors: list[str] = []
        self._complaints = b""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            *self._words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            limit=1 << 20,
        )
        self._reading = asyncio.gather(self._read(), self._read_complaints())
        return self

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while (line := await self._process.stdout.readline()).endswith(b"\n"):
            word, _, rest = line.decode().rstrip().partition(" ")
            if word == "error":
                self.errors.append(rest)
            else:
                names = rest.split()
                for name in names:
                    getattr(self._tally.counts[qos_of(name, self._levels)], word).add(name)
                self.stored += len(names) if word == "stored" else 0
            self._changed.set()
        await self._process.wait()
        self._changed.set()

    async def _read_complaints(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(65536):
            self._complaints = (self._complaints + data)[-4000:]

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        await self._reading
        await self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    @property
    def last_words(self) -> str:
        """The end of what it has written to its standard error."""
        return self._complaints.decode(errors="replace").rstrip()

    @property
    def pid(self) -> int:
        return self._process.pid

    def terminate(self) -> None:
        """Have it send what it has, and end."""
        self._process.terminate()

    def limit(self, what: int, most: int) -> None:
        """Of a resource, from now on, if it has not ended."""
        with suppress(ProcessLookupError):
            resource.prlimit(self.pid, what, (most, resource.RLIM_INFINITY))

    async def until(self, condition: Callable[[], bool]) -> None:
        """As soon as one of its lines has made it so."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    assert not self.has_ended, f"it has ended: {self.last_words}"
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"it stands still: {self.errors[-3:]}, {self.last_words}") from None

    async def has_stored(self) -> None:
        """More than it had."""
        before = self.stored
        await self.until(lambda: self.stored > before)

    async def has_stored_or_ended(self) -> None:
        before = self.stored
        await self.until(lambda: self.stored > before or self.has_ended)

    async def has_failed(self, times: int) -> None:
        """Calls of it, so often more than they had."""
        before = len(self.errors)
        await self.until(lambda: len(self.errors) >= before + times)

    async def end(self) -> int:
        """Wait until it has ended by itself."""
        try:
            return await asyncio.wait_for(self._process.wait(), PATIENCE_S)
        except TimeoutError:
            raise AssertionError(f"it does not end: {self.errors[-3:]}, {self.last_words}") from None


class AcknowledgedWire(Wire):
    """Notes in the tally what the server has said that it has; a packet id outlives connections."""

    def __init__(self, version: int, tally: Tally) -> None:
        super().__init__(version)
        self._tally = tally
        self._sent: dict[int, tuple[int, str]] = {}
        self.expiries: dict[str, int | None] = {}

    def said(self, connection: Connection, packet: Packet) -> None:
        if isinstance(packet, Publish) and packet.packet_id is not None:
            name = name_of(bytes(packet.payload))
            self._sent[packet.packet_id] = packet.qos, name
            self.expiries[name] = packet.message_expiry_interval

    def heard(self, connection: Connection, packet: Packet) -> None:
        if isinstance(packet, PubAck | PubRec) and packet.reason_code < 0x80 and packet.packet_id in self._sent:
            qos, name = self._sent[packet.packet_id]
            self._tally.counts[qos].acknowledged.add(name)


class Taker:
    """Takes what arrives, into the tally."""

    def __init__(self, client: Client, tally: Tally) -> None:
        self._client = client
        self._tally = tally
        self._levels = tuple(tally.counts)
        self._messages = client.messages("k", max_messages=2_000_000, max_bytes=1 << 31)
        self._arrived = asyncio.Event()
        self._task = asyncio.create_task(self._take())

    async def _take(self) -> None:
        async for message in self._messages:
            if message.payload == END:
                break
            name = name_of(bytes(message.payload))
            self._tally.counts[qos_of(name, self._levels) if ":" in name else 1].arrived[name] += 1
            self._arrived.set()

    async def has_all(self) -> None:
        """Until nothing is missing of what was stored, or for so long nothing more came."""
        while any(counts.lost for counts in self._tally.counts.values()):
            self._arrived.clear()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._arrived.wait()
            except TimeoutError:
                return

    async def end(self) -> None:
        """What was on its way, maybe twice, has come before this has."""
        async with asyncio.timeout(PATIENCE_S):
            await self._client.publish("k", END, max(self._levels))
            await self._task


@asynccontextmanager
async def taking(broker: RealBroker, tally: Tally, version: int = 5) -> AsyncIterator[Taker]:
    async with Client(
        broker.route(),
        "subscriber",
        version=version,
        clean_start=False,
        session_expiry_interval=3600 if version == 5 else None,
        receive_maximum=1000,
        reconnect=BACKOFF,
        wait_for_server=True,
    ) as subscriber:
        taker = Taker(subscriber, tally)
        await subscriber.subscribe("k", max(tally.counts))
        await asyncio.sleep(broker.writes_sessions_after_s)
        yield taker


async def drain(tally: Tally, *words: str, environment: Mapping[str, str] | None = None) -> None:
    """What is left in the outbox leaves it."""
    async with Publisher(tally, *words, "--drain", environment=environment) as publisher:
        assert await publisher.end() == 0, publisher.last_words
