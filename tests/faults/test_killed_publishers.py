"""A program with an outbox that is killed anywhere, and its broker and its link with it: what was stored arrives.

QoS 1 at least once, QoS 2 once. Each fault comes IOTWIRE_FAULTS times (5 unless it is set). What can be asked of a
broker is what it promises:

- mosquitto keeps what it has over an orderly stop only: it writes its file then and every half hour, and with
  `autosave_on_changes` after it has acknowledged, not before. So it is stopped, with TERM, where all has to arrive.
  Where it is killed, what it had acknowledged may be lost, and of QoS 2 come twice, since it forgets packet ids too;
  what it had not acknowledged has to arrive.
- NATS and RabbitMQ keep what they have acknowledged over SIGKILL; neither takes QoS 2 here (see brokers.py). RabbitMQ
  takes six seconds to start, so it is killed once where others are five times.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from functools import partial
from pathlib import Path

import pytest

from brokers import Mosquitto, Nats, RabbitMq, RealBroker
from faultruns import FAULTS
from programs import PATIENCE_S, AcknowledgedWire, Publisher, drain, taking
from relays import BREAKING, DIRECTIONS, SLOWING, Corrupt, Relay, relay
from tallies import Tally, chance_of

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(180 + 15 * FAULTS)]

PatientMosquitto = partial(Mosquitto, further=["max_queued_messages 0"])


class Run:
    """The program is started, met by a fault, and killed, again and again; then what is left leaves the outbox."""

    def __init__(self, broker: RealBroker, kind: str, fault: str, outbox: Path, levels: tuple[int, ...]) -> None:
        name = f"{kind} program, {broker.name}, {fault}"
        self.tally = Tally(name, levels)
        self._broker = broker
        self._version = 5 if 5 in broker.versions else 4
        self._kind = kind
        self._fault = getattr(self, f"_{fault.replace(' ', '_')}")
        self._outbox = str(outbox)
        self._chance = chance_of(name)
        kinds = [*BREAKING, *SLOWING]
        self._chance.shuffle(kinds)
        self._link_faults = itertools.cycle(kinds)
        self._wire = AcknowledgedWire(self._version, self.tally)
        self.context: ssl.SSLContext | None = None
        self.words: list[str] = []  # for the program

    async def __call__(self, times: int) -> None:
        version = ["--version", str(self._version)]
        user = [] if self._broker.username is None else ["--user", self._broker.username]
        async with (
            taking(self._broker, self.tally, self._version) as taker,
            relay(self._broker.port, self._wire, self.context) as inner,
            relay(inner.port) as way,
        ):
            words = [self._kind, self._outbox, str(way.port), *version, *user, *self.words]
            for number in range(times):
                async with Publisher(self.tally, *words[:3], str(number), *words[3:]) as publisher:
                    await publisher.has_stored()
                    await self._pause(0.15)
                    await self._fault(publisher, way)
                self.tally.faults["process"] += 1
                assert not publisher.errors
                await way.mend()
                if not self._broker.is_running:
                    await self._pause(0.1)
                    await asyncio.to_thread(self._broker.start)
            await drain(self.tally, *words[:3], "", *words[3:])
            if self._broker.keeps_over_kill:
                await taker.has_all()
            await taker.end()

    async def _pause(self, most_s: float) -> None:
        await asyncio.sleep(self._chance.uniform(0, most_s))

    async def _program(self, publisher: Publisher, way: Relay) -> None:
        """Nothing else goes wrong."""

    async def _link(self, publisher: Publisher, way: Relay) -> None:
        way.cut()
        self.tally.faults["link"] += 1
        await self._pause(0.1)
        await way.mend()
        await self._pause(0.2)

    async def _poor_link(self, publisher: Publisher, way: Relay) -> None:
        kind = next(self._link_faults)
        self.tally.faults["link" if kind in BREAKING else "slow link"] += 1
        fault = {**BREAKING, **SLOWING}[kind](self._chance)
        way.impose(fault, *self._chance.choice((DIRECTIONS, DIRECTIONS[:1], DIRECTIONS[1:])))
        await self._pause(0.3)
        if self._chance.random() < 0.5:  # else the program does not live to see it
            await way.mend()
            await self._pause(0.1)

    async def _corrupt_link(self, publisher: Publisher, way: Relay) -> None:
        """One bit, and it must be noticed: the connection over which it passed ends, at whichever end."""
        fault = Corrupt(self._chance, self._chance.randrange(1500))
        way.impose(fault, self._chance.choice(DIRECTIONS))
        self.tally.faults["link"] += 1
        async with asyncio.timeout(PATIENCE_S):
            while fault.struck is None or fault.struck in way.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await self._pause(0.1)

    async def _broker_stopped(self, publisher: Publisher, way: Relay) -> None:
        await asyncio.to_thread(self._broker.stop)
        self.tally.faults["broker"] += 1
        await self._pause(0.1)

    async def _broker_killed(self, publisher: Publisher, way: Relay) -> None:
        await asyncio.to_thread(self._broker.kill)
        self.tally.faults["broker"] += 1
        await self._pause(0.1)

    async def _both(self, publisher: Publisher, way: Relay) -> None:
        """The program too, before or after or while the broker ends."""
        end = self._broker.kill if self._broker.keeps_over_kill else self._broker.stop
        ending = asyncio.create_task(asyncio.to_thread(end))
        await self._pause(0.02)
        publisher.kill()
        await ending
        self.tally.faults["broker"] += 1


@pytest.fixture(params=["asyncio", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run_with(broker: RealBroker, kind: str, fault: str, outbox: Path, *levels: int, times: int = FAULTS) -> Run:
    run = Run(broker, kind, fault, outbox, levels)
    try:
        asyncio.run(run(times))
    except BaseException:
        run.tally.report()
        raise
    return run


@pytest.mark.parametrize("fault", ["program", "link", "poor link", "broker stopped", "both"])
def test_what_a_killed_program_has_stored_arrives_and_qos_2_once(kind: str, fault: str, tmp_path: Path) -> None:
    with PatientMosquitto(tmp_path) as broker:
        run = run_with(broker, kind, fault, tmp_path / "outbox.db", 1, 2)
    run.tally.check()
    assert run.tally.faults.total() >= FAULTS


@pytest.mark.parametrize("fault", ["broker killed", "both"])
def test_what_a_program_has_stored_arrives_whose_broker_is_killed(kind: str, fault: str, tmp_path: Path) -> None:
    with Nats(tmp_path, ack_wait="1s") as broker:
        run_with(broker, kind, fault, tmp_path / "outbox.db", 1).tally.check()


@pytest.mark.parametrize(("kind", "fault"), [("asyncio", "both"), ("blocking", "broker killed")][: FAULTS // 5])
def test_what_a_program_has_stored_arrives_whose_slow_broker_is_killed(kind: str, fault: str, tmp_path: Path) -> None:
    with RabbitMq(tmp_path) as broker:
        run_with(broker, kind, fault, tmp_path / "outbox.db", 1, times=max(1, FAULTS // 5)).tally.check()


def test_what_a_killed_broker_had_not_acknowledged_arrives(kind: str, tmp_path: Path) -> None:
    with PatientMosquitto(tmp_path) as broker:
        run = run_with(broker, kind, "broker killed", tmp_path / "outbox.db", 1, 2)
    acknowledged = set()
    for counts in run.tally.counts.values():
        acknowledged |= counts.acknowledged
        counts.sent_anew.update(counts.duplicated)
    run.tally.check(may_be_lost=acknowledged, because="forgotten by the broker")


def test_a_bit_that_tips_over_on_the_way_is_noticed_by_tls_and_nothing_comes_that_was_not_sent(
    kind: str, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography", reason="the server's certificate is made with the package cryptography")
    from iotwire.emulator.pki import Authority

    authority = Authority(tmp_path)
    server = authority.issue_server(["127.0.0.1"])
    with PatientMosquitto(tmp_path) as broker:
        run = Run(broker, kind, "corrupt link", tmp_path / "outbox.db", (1, 2))
        run.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        run.context.load_cert_chain(server.cert, server.key)
        run.words = ["--ca", str(authority.ca)]
        asyncio.run(run(FAULTS))
    run.tally.check()
