"""Brokers that crash, restart, stand still and are cut off, under traffic: nothing is lost, and QoS 2 comes once.

Each fault comes IOTWIRE_FAULTS times (5 unless it is set; `make faults` takes 100). What the client owes is judged by
what passes over the wire, with every broker. That everything arrives, and once, is asked for only where the broker
does its part:

- NATS keeps what it has acknowledged over SIGKILL, but not what it acknowledges while it ends in an orderly way. It
  sends again, after `ack_wait` and among what is new, what was unacknowledged when a connection broke.
- aedes 1.2.0 acknowledges QoS 1 before it stores it, and stores the packet id of QoS 2 before the message: SIGKILL
  loses both. It drops, as duplicates, messages that overtake each other on their way through it, and begins each
  connection with a packet id of chance, which an older message may have. So it is asked for nothing that has to
  arrive; but it restarts under QoS 2 like no other. With QoS 1 beside it, one packet id for two messages would end
  each connection (MQTT-2.2.1-4).
- mosquitto keeps all over an orderly stop, and writes nothing at SIGKILL. 2.0.11 forgets queued messages of QoS 2 for
  3.1.1 clients at a restart, so its runs with QoS 2 are of 5.0. It drops what does not fit into its queue for a
  client that is away, 1000 messages unless it is told otherwise.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from brokers import Aedes, Mosquitto, Nats, RealBroker
from faultruns import FAULTS, FaultRun, InThreads, run_clean
from iotwire import Client
from relays import BREAKING, DIRECTIONS, SLOWING

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(120 + 12 * FAULTS)]

# Seconds of a run at most: start, end, and for each fault its own time and the recovery from it.
RUN_TIMEOUT_S = 90 + 10 * FAULTS


@dataclass(frozen=True)
class Setup:
    """A broker, over which faults it keeps what it has acknowledged, and the client that is tried with it."""

    make: Callable[[Path], RealBroker]
    keeps_over: frozenset[str]
    version: int = 4
    levels: tuple[int, ...] = (1, 2)
    keeps_order: bool = True  # also where it is the subscriber that was away
    make_client: Callable[..., Any] = Client


PatientMosquitto = partial(Mosquitto, further=["max_queued_messages 0"])
SETUPS = {
    "aedes": Setup(Aedes, frozenset(), levels=(2,)),
    "nats": Setup(partial(Nats, ack_wait="1s"), frozenset({"kill", "freeze", "cut"}), levels=(1,), keeps_order=False),
    "mosquitto-5.0": Setup(PatientMosquitto, frozenset({"stop", "freeze", "cut"}), version=5),
    "mosquitto-5.0-blocking": Setup(
        PatientMosquitto, frozenset({"stop", "freeze", "cut"}), version=5, make_client=InThreads
    ),
    "mosquitto-3.1.1": Setup(PatientMosquitto, frozenset({"stop", "freeze", "cut"}), levels=(1,)),
}


@pytest.fixture(scope="module", params=SETUPS)
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, RealBroker]]:
    with SETUPS[request.param].make(tmp_path_factory.mktemp(request.param)) as broker:
        yield request.param, broker


@asynccontextmanager
async def traffic(at: tuple[str, RealBroker], fault: str, where: str = "", **options: Any) -> AsyncIterator[FaultRun]:
    name, broker = at
    setup = SETUPS[name]
    keeps_all = ("cut" if fault == "poor link" else fault) in setup.keeps_over
    run = FaultRun(
        broker,
        setup.version,
        seed=f"{fault}{where} {name}",
        levels=setup.levels,
        make_client=setup.make_client,
        keeps_all=keeps_all,
        keeps_order=setup.keeps_order or where == "-publisher",
        **options,
    )
    async with run:
        yield run
        await run.finish()


@pytest.mark.parametrize("fault", ["kill", "stop"])
def test_nothing_is_lost_to_a_broker_that_ends_and_starts_again(at: tuple[str, RealBroker], fault: str) -> None:
    async def test() -> None:
        broker = at[1]
        async with traffic(at, fault) as run:
            for _ in range(FAULTS):
                await run.progress()
                run.tally.faults["broker"] += 1
                await asyncio.to_thread(getattr(broker, fault))  # in a thread: the clients are to notice
                await run.pause(0.0, 0.3)
                await asyncio.to_thread(broker.start)

    run_clean(test, RUN_TIMEOUT_S)


def test_nothing_is_lost_to_a_broker_that_stands_still_for_longer_than_the_clients_wait(
    at: tuple[str, RealBroker],
) -> None:
    async def test() -> None:
        # PINGREQ after 0.9 s, and 0.5 s for the answer.
        async with traffic(at, "freeze", keep_alive=1, timeout_s=0.5) as run:
            for _ in range(FAULTS):
                await run.progress()
                run.tally.faults["still broker"] += 1
                at[1].freeze()
                try:
                    await run.pause(1.6, 2.4)
                finally:
                    at[1].thaw()

    run_clean(test, RUN_TIMEOUT_S)


@pytest.mark.parametrize("end", ["publisher", "subscriber"])
def test_nothing_is_lost_to_a_link_that_is_cut(at: tuple[str, RealBroker], end: str) -> None:
    async def test() -> None:
        async with traffic(at, "cut", f"-{end}") as run:
            way = run.publisher_way if end == "publisher" else run.subscriber_way
            for _ in range(FAULTS):
                await run.progress()
                run.tally.faults["link"] += 1
                way.cut()
                await run.pause(0.0, 0.3)
                await way.mend()

    run_clean(test, RUN_TIMEOUT_S)


def test_nothing_is_lost_to_a_link_that_is_torn_or_still_or_slow(at: tuple[str, RealBroker]) -> None:
    """Of either client, to one side or both; each kind in turn, for longer than the clients wait or shorter."""

    async def test() -> None:
        async with traffic(at, "poor link", keep_alive=1, timeout_s=0.5) as run:
            kinds = [*BREAKING, *SLOWING]
            run.random.shuffle(kinds)
            for kind, _ in zip(itertools.cycle(kinds), range(FAULTS), strict=False):
                await run.progress()
                run.tally.faults["link" if kind in BREAKING else "slow link"] += 1
                way = run.random.choice((run.publisher_way, run.subscriber_way))
                fault = {**BREAKING, **SLOWING}[kind](run.random)
                way.impose(fault, *run.random.choice((DIRECTIONS, DIRECTIONS[:1], DIRECTIONS[1:])))
                await run.pause(0.1, 1.9)
                await way.mend()

    run_clean(test, RUN_TIMEOUT_S)
