"""Clusters whose nodes are killed under traffic: what was stored arrives, through the nodes that are left.

A publisher with an outbox and a subscriber with a lasting session are at different nodes. A node is killed, both go on
elsewhere, and it comes back: IOTWIRE_FAULTS times (2 where it is not set, and 20 at most, for each takes ten seconds).
All chance is seeded. What else docs/clusters.md says that the clusters do is tried here too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import RealBroker
from clusters import CLUSTERS, NatsCluster, RabbitMqCluster
from faultruns import BACKOFF, FaultRun, run_clean
from iotwire import Client, Failover, Outbox
from iotwire.errors import ConnectionLostError

AnyCluster = NatsCluster | RabbitMqCluster

KILLS = min(int(os.environ.get("IOTWIRE_FAULTS", "2")), 20)
# For whatever does not happen: NATS elects after 4 to 9 seconds, and a machine may be busy.
PATIENCE_S = 60.0
RUN_TIMEOUT_S = 4 * PATIENCE_S * (1 + KILLS)

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(2 * PATIENCE_S + RUN_TIMEOUT_S)]

VICTIMS = ("leader", "publisher's", "subscriber's", "third")


@pytest.fixture(scope="module", params=CLUSTERS, ids=lambda each: each.name)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyCluster]:
    folder = tmp_path_factory.mktemp(request.param.name)
    # What a broken connection had not acknowledged, NATS sends again after this time only.
    options = {"ack_wait": "1s"} if request.param is NatsCluster else {}
    with request.param(folder, **options) as made:
        yield made


def client_at(node: RealBroker, client_id: str, **options: Any) -> Client:
    """A client with a lasting session. NATS answers CONNECT after 4 seconds where it has just lost a leader."""
    options.setdefault("reconnect", BACKOFF)
    return Client(node.route(), client_id, version=4, clean_start=False, connect_timeout_s=10.0, **options)


def test_a_session_goes_on_at_another_node_and_ends_the_connection_at_the_first(cluster: AnyCluster) -> None:
    first, second, third = cluster.nodes

    async def test() -> None:
        async with client_at(third, "session out") as publisher:
            here = client_at(first, "session", reconnect=None)
            await here.connect()
            await here.subscribe("session", 1)
            messages_here = here.messages()
            # At another node while it is connected.
            there = client_at(second, "session", reconnect=None)
            messages_there = there.messages()
            assert (await there.connect()).session_present
            with pytest.raises(ConnectionLostError):
                await anext(messages_here)
            await publisher.publish("session", b"to the second", qos=1)
            assert (await anext(messages_there)).payload == b"to the second"
            await there.disconnect()
            # And once more after a time without a connection.
            await publisher.publish("session", b"kept meanwhile", qos=1)
            back = client_at(third, "session")
            messages_back = back.messages()
            assert (await back.connect()).session_present
            assert (await anext(messages_back)).payload == b"kept meanwhile"
            await back.disconnect()

    run_clean(test, PATIENCE_S)


async def first_message_at(node: RealBroker, topic: str) -> bytes:
    """What somebody gets first who subscribes at this node: a retained message, or what is published then."""
    async with Client(node.route(), "", version=4) as client:
        messages = client.messages()
        await client.subscribe(topic, 1)
        await client.publish(topic, b"live", qos=1)
        return bytes((await anext(messages)).payload)


def test_a_retained_message_is_at_the_other_nodes_where_the_cluster_shares_it(cluster: AnyCluster) -> None:
    first, *others = cluster.nodes

    async def test() -> None:
        async with client_at(first, "retained out") as publisher:
            await publisher.publish("retained", b"kept", qos=1, retain=True)
        assert await first_message_at(first, "retained") == b"kept"
        for node in others:
            if cluster.shares_retained:  # a moment after it was acknowledged
                while await first_message_at(node, "retained") != b"kept":
                    pass
            else:
                assert await first_message_at(node, "retained") == b"live"

    run_clean(test, PATIENCE_S)


def make_run(cluster: AnyCluster, name: str, folder: Path) -> FaultRun:
    """Traffic from the first node to the second, with the quality of service that the cluster has."""
    first, second, _ = cluster.nodes
    run = FaultRun(
        first,
        4,
        seed=f"{name} {cluster.name}",
        levels=tuple(range(1, first.max_qos + 1)),
        keeps_order=False,  # neither does, where it is the subscriber that was away
        outbox=Outbox(folder / "outbox.db"),
        pause_s=0.1,
        keep_alive=10,
        timeout_s=10.0,
        recovery_s=PATIENCE_S,
    )
    run.subscriber_way.target = second.port
    return run


def go_around(victim: RealBroker, cluster: AnyCluster, run: FaultRun) -> None:
    """From now on, connect to other nodes than this one, and each client to one of its own."""
    for way, other in ((run.publisher_way, run.subscriber_way), (run.subscriber_way, run.publisher_way)):
        if way.target == victim.port:
            ports = {node.port for node in cluster.nodes} - {victim.port, other.target}
            (way.target,) = ports


def find(which: str, cluster: AnyCluster, run: FaultRun) -> RealBroker:
    """One of VICTIMS."""
    at = {node.port: node for node in cluster.nodes}
    publishers, subscribers = at.pop(run.publisher_way.target), at.pop(run.subscriber_way.target)
    (third,) = at.values()
    if which == "leader":
        return cluster.leader(run.subscriber.client_id)
    return {"publisher's": publishers, "subscriber's": subscribers, "third": third}[which]


def test_without_a_majority_nothing_is_acknowledged_and_with_it_everything_arrives(
    cluster: AnyCluster, tmp_path: Path
) -> None:
    async def test() -> None:
        async with make_run(cluster, "minority", tmp_path) as run:
            first, second, third = cluster.nodes
            run.publisher_way.target = run.subscriber_way.target = third.port
            for way in (run.publisher_way, run.subscriber_way):
                way.cut()
                await way.mend()
            await run.passage()
            # Frozen and not killed: after a majority was gone, RabbitMQ takes another 100 s to come back.
            for node in (first, second):
                node.freeze()
            try:
                await run.backlog()
            finally:
                for node in (first, second):
                    node.thaw()
            took = await run.passage()
            await asyncio.to_thread(cluster.wait_until_whole)
            await run.finish()
            print(f"{cluster.name}: {took:.1f} s after the majority was back; {run.describe()}")

    run_clean(test, RUN_TIMEOUT_S)


def test_a_client_that_has_the_routes_to_all_nodes_goes_on_by_itself(cluster: AnyCluster, tmp_path: Path) -> None:
    async def test() -> None:
        first, second, third = cluster.nodes
        routes = Failover(first.route(), second.route(), third.route(), shares_session=True, return_after_s=1.0)
        options: dict[str, Any] = {"version": 4, "clean_start": False, "connect_timeout_s": 10.0, "reconnect": BACKOFF}
        async with (
            Client(routes, "all out", outbox=Outbox(tmp_path / "outbox.db"), **options) as publisher,
            Client(Failover(second.route(), third.route(), shares_session=True), "all in", **options) as subscriber,
        ):
            messages = subscriber.messages("all", max_messages=100_000)
            await subscriber.subscribe("all", 1)
            seen: set[int] = set()

            async def pass_through(numbers: range) -> None:
                for number in numbers:
                    await publisher.publish("all", b"%d" % number, qos=1)
                while not seen.issuperset(numbers):
                    seen.add(int((await anext(messages)).payload))

            await pass_through(range(50))
            await asyncio.to_thread(first.kill)
            await pass_through(range(50, 100))
            over_others = sum(each.connections for each in publisher.stats().routes[1:])
            assert over_others >= 1
            await asyncio.to_thread(first.start)
            await asyncio.to_thread(cluster.wait_until_whole)
            while publisher.stats().routes[0].connections < 2 or not publisher.is_connected:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await pass_through(range(100, 150))
            assert publisher.stats().outbox is not None
        print(f"{cluster.name}: {publisher.stats().routes}")

    run_clean(test, 4 * PATIENCE_S)


def test_what_was_stored_arrives_though_one_node_after_another_is_killed(cluster: AnyCluster, tmp_path: Path) -> None:
    async def test() -> None:
        async with make_run(cluster, "killed", tmp_path) as run:
            victims: list[str] = []
            while len(victims) < KILLS:
                victims += run.random.sample(VICTIMS, len(VICTIMS))
            for which in victims[:KILLS]:
                await run.progress()
                victim = await asyncio.to_thread(find, which, cluster, run)
                go_around(victim, cluster, run)
                await asyncio.to_thread(victim.kill)  # in a thread: the clients are to notice
                run.tally.faults["broker"] += 1
                took = await run.passage()
                print(f"{cluster.name}: {took:.1f} s after the {which} node was killed")
                await asyncio.to_thread(victim.start)
                await asyncio.to_thread(cluster.wait_until_whole)
            await run.finish()
            print(f"{cluster.name}: {run.describe()}")

    run_clean(test, RUN_TIMEOUT_S)
