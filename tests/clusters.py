"""Clusters of real brokers: three nodes each, every one a process of its own on free ports of 127.0.0.1.

`with RabbitMqCluster(folder) as cluster:` starts one, waits until its nodes have found each other and have elected who
leads, and ends it. The nodes are brokers like those of brokers.py, which may be killed and started again one by one;
`wait_until_whole` tells when one that came back takes part again.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import threading
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import pytest

from brokers import HOST, START_TIMEOUT_S, Nats, PortMapper, RabbitMq, RealBroker, find_program, free_ports

SIZE = 3
# The stream of NATS that all messages of QoS 1 and 2 go through.
MESSAGES = "$MQTT_msgs"
# Steps that a follower may be behind: under traffic it is so all the time.
CLOSE = 100

Node = TypeVar("Node", bound=RealBroker)


class Cluster(ABC, Generic[Node]):
    """Three nodes, running or not.

    shares_retained: whether a retained message is there on each node, whichever it came to.
    """

    name: ClassVar[str]
    shares_retained: ClassVar[bool] = True
    nodes: Sequence[Node]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all nodes for the first time, and wait until they are one cluster."""
        start_together(self.nodes)
        self.wait_until_whole()

    def stop(self) -> None:
        """End every node that runs, at the same time: the last one would look for the others."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda node: node.stop(), self.nodes))

    def wait_until_whole(self) -> None:
        """Until every node is in it, and takes part in all that is replicated, with one that leads."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while missing := self._what_is_missing():
            if time.monotonic() > deadline:
                logs = (f"\n{each.folder.name}: {each.end_of_log()}" for each in self.nodes)
                pytest.fail(f"{self.name}: {missing}{''.join(logs)}")
            threading.Event().wait(0.1)

    @abstractmethod
    def _what_is_missing(self) -> str:
        """What keeps it from being whole at this moment."""

    @abstractmethod
    def leader(self, client_id: str) -> Node:
        """The node that leads what a lasting session with subscriptions of QoS 1 depends upon."""


def start_together(nodes: Sequence[RealBroker]) -> None:
    """Start nodes at the same time: those of a whole cluster that was down wait for each other."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda node: node.start(), nodes))


# How many nodes run, and which Raft groups (the client ids, and each quorum queue) are not led and followed by all.
WHOLE = """
Nodes = rabbit_mnesia:cluster_nodes(running),
States = [rpc:call(Node, ets, tab2list, [ra_state], 5000) || Node <- Nodes],
Groups = lists:usort([Group || Each <- States, {Group, _} <- Each]),
Roles = [{Group, lists:sort([proplists:get_value(Group, Each) || Each <- States])} || Group <- Groups],
{length(Nodes), length(Groups) > 0, [Each || {_, Role} = Each <- Roles, Role =/= [follower, follower, leader]]}
"""
# Each quorum queue and the node that leads it; the place of any other queue is a process.
LEADERS = """
[{rabbit_misc:rs(amqqueue:get_name(Queue)), Node}
    || Queue <- rabbit_amqqueue:list(), {_, Node} <- [amqqueue:get_pid(Queue)]]
"""


class RabbitMqCluster(Cluster[RabbitMq]):
    """RabbitMQ, with a quorum queue for each lasting session. Who has which client id it keeps by Raft in any case.

    further: more lines of the configuration of each node.
    """

    name = "rabbitmq"
    shares_retained = False

    def __init__(self, folder: Path, *, further: Sequence[str] = ()) -> None:
        self._erl_call = find_program("erl_call")
        self._cookie = secrets.token_hex(8)
        self._port_mapper = PortMapper(folder)
        names = [f"iotwire{number}@localhost" for number in range(SIZE)]
        # The first one has nobody to look for, and each of the others those before it.
        peers = [f"cluster_formation.classic_config.nodes.{at} = {name}" for at, name in enumerate(names, 1)]
        settings = ["cluster_formation.peer_discovery_backend = classic_config"]
        settings += ["mqtt.durable_queue_type = quorum", *further]
        self.nodes = []
        for at, name in enumerate(names, 1):
            home = folder / name
            home.mkdir()
            (home / ".erlang.cookie").write_text(self._cookie)
            (home / ".erlang.cookie").chmod(0o400)  # Erlang refuses one that others could read
            node = RabbitMq(
                home,
                node=name,
                port_mapper=self._port_mapper,
                further=[*settings, *peers[:at]],
                # Three share a machine: one scheduler each, and none that spins while it waits.
                erl_arguments="+S 1:1 +sbwt none",
            )
            self.nodes.append(node)

    def start(self) -> None:
        self._port_mapper.start()
        # One after the other. Of new nodes that start at the same time, one may never hear of who leads the client ids,
        # and then it refuses every client ("client ID registration timed out", 3.10.8).
        for node in self.nodes:
            node.start()
        self.wait_until_whole()

    def stop(self) -> None:
        super().stop()
        self._port_mapper.stop()

    def leader(self, client_id: str) -> RabbitMq:
        # In Erlang's text a name is a list or a binary, as long as it is printable: what is looked for stands in it.
        told = self._ask(LEADERS)
        found = re.search(rf"mqtt-subscription-{re.escape(client_id)}qos1\D*?(iotwire\d@localhost)", told)
        assert found is not None, told
        return next(each for each in self.nodes if each.node == found[1])

    def _what_is_missing(self) -> str:
        told = self._ask(WHOLE)
        return "" if told == f"{{ok, {{{SIZE}, true, []}}}}" else told

    def _ask(self, expression: str) -> str:
        """What an Erlang expression gives on a node that runs. rabbitmqctl takes seconds to start."""
        node = next(each for each in self.nodes if each.is_running)
        command = [self._erl_call, "-c", self._cookie, "-n", node.node, "-timeout", "10", "-e"]
        environment = {"ERL_EPMD_PORT": str(self._port_mapper.port), "HOME": str(node.folder), "PATH": os.defpath}
        told = subprocess.run(
            command,
            input=f"{expression.strip()}.\n",
            capture_output=True,
            check=False,
            text=True,
            env=environment,
            timeout=START_TIMEOUT_S,
        )
        return told.stdout or told.stderr


class NatsCluster(Cluster[Nats]):
    """NATS with JetStream, where sessions and messages of MQTT are kept by all three.

    ack_wait: as for `Nats`.
    """

    name = "nats"

    def __init__(self, folder: Path, *, ack_wait: str = "30s") -> None:
        ports = free_ports(2 * SIZE)
        routes = ", ".join(f'"nats://{HOST}:{port}"' for port in ports[:SIZE])
        self.nodes = []
        self._monitors: dict[str, int] = {}
        for number, (route, monitor) in enumerate(zip(ports[:SIZE], ports[SIZE:], strict=True)):
            server = f"iotwire{number}"
            home = folder / server
            home.mkdir()
            further = [
                f'cluster {{ name: "iotwire", listen: "{HOST}:{route}", routes: [{routes}] }}',
                f'http: "{HOST}:{monitor}"',
            ]
            self.nodes.append(Nats(home, server=server, ack_wait=ack_wait, replicas=SIZE, further=further))
            self._monitors[server] = monitor

    def leader(self, client_id: str) -> Nats:
        """Of the stream that every message goes through, whoever it is for."""
        for node in self.nodes:
            for stream in _streams(self._look(node)):
                leader = stream["cluster"].get("leader") if stream["name"] == MESSAGES else None
                if leader:
                    return next(each for each in self.nodes if each.server == leader)
        raise AssertionError("nobody leads the messages")

    def _what_is_missing(self) -> str:
        views = {node.server: self._look(node) for node in self.nodes}
        led, missing = set(), set()
        for server, view in views.items():
            for group in _groups(view):
                cluster = group.get("cluster", {})
                followers = [each["name"] for each in cluster.get("replicas", ()) if _follows(each)]
                # Only who leads knows of the others.
                if cluster.get("leader") == server and len(followers) == SIZE - 1:
                    led.add(group["name"])
                else:
                    missing.add(group["name"])
        return "" if led and led >= missing else f"not led and followed: {sorted(missing - led)}; {views}"

    def _look(self, node: Nats) -> dict[str, Any]:
        """What a node says of JetStream; nothing where it does not answer."""
        url = f"http://{HOST}:{self._monitors[node.server]}/jsz?accounts=1&streams=1&consumers=1"
        try:
            with urllib.request.urlopen(url, timeout=START_TIMEOUT_S) as answer:
                view: dict[str, Any] = json.load(answer)
        except OSError:
            return {}
        return view


def _follows(replica: dict[str, Any]) -> bool:
    """Whether it has been heard of and is close; under traffic a follower may be a few steps behind all the time."""
    return bool(replica["current"] or (replica["active"] > 0 and replica.get("lag", 0) < CLOSE))


def _streams(view: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for account in view.get("account_details", ()):
        yield from account.get("stream_detail", ())


def _groups(view: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What elects a leader, and what clients depend upon: the nodes among themselves, each stream, each subscription.

    Each node has a consumer of retained messages besides, for itself; 2.9.10 leaves it without a leader now and then.
    """
    yield {"name": "the cluster", "cluster": view.get("meta_cluster", {})}
    for stream in _streams(view):
        yield stream
        if stream["name"] == MESSAGES:
            yield from stream.get("consumer_detail", ())


CLUSTERS: tuple[type[RabbitMqCluster | NatsCluster], ...] = (NatsCluster, RabbitMqCluster)
