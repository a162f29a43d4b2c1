"""A client with several routes: where one fails the next is taken, and a better one is gone back to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from either import KINDS, either
from iotwire import Backoff, Broker, ConnectError, Failover, Outbox
from iotwire.client import uplinks as uplinks_room
from iotwire.client.uplinks import Prober
from iotwire.mqtt import ConnAck, Connect, Disconnect, PubAck, Publish, ReasonCode, Subscribe
from networks import black_hole
from scripted_threads import Peer, Server, closing_and_judging, happened, scripted, until

pytestmark = pytest.mark.parametrize("kind", KINDS)

QUICK: dict[str, Any] = {"reconnect": Backoff(base_s=0.001, max_s=0.01), "close_timeout_s": 0.2}


@pytest.fixture(autouse=True)
def probing_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplinks_room, "PROBE_EVERY_S", 0.02)


class Node:
    """A server that takes all, on a port that stays its own; it can be away. seen: what came, by connection."""

    def __init__(self) -> None:
        self.seen: list[list[Any]] = []
        self.connects: list[Connect] = []
        self.session_present = False
        self.answers = True
        with socket.socket() as finding:
            finding.bind(("127.0.0.1", 0))
            self.port = finding.getsockname()[1]
        self.route = Broker("127.0.0.1", self.port)
        self._server: Server | None = None

    def begin(self) -> None:
        self._server = Server(self._serve, 5, None, 0, port=self.port)

    def end(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            _drop(server)
            with closing_and_judging(server):
                pass

    def drop(self) -> None:
        """Lose all connections, and be there for others."""
        assert self._server is not None
        _drop(self._server)

    def _serve(self, peer: Peer) -> None:
        packet = peer.receive()
        if packet is None:  # somebody only looked whether it is there
            return
        assert isinstance(packet, Connect)
        self.connects.append(packet)
        seen: list[Any] = []
        self.seen.append(seen)
        with suppress(OSError):  # it may be away by now
            peer.send(ConnAck(session_present=self.session_present and not packet.clean_start))
            while (packet := peer.receive()) is not None:
                seen.append(packet)
                if self.answers:
                    peer.answer(packet)

    @property
    def payloads(self) -> list[bytes]:
        return [bytes(packet.payload) for seen in self.seen for packet in seen if isinstance(packet, Publish)]


def _drop(server: Server) -> None:
    for peer in server.peers:
        with suppress(OSError):
            peer.socket.shutdown(socket.SHUT_RDWR)


@contextmanager
def nodes(count: int = 2) -> Iterator[list[Node]]:
    made = [Node() for _ in range(count)]
    try:
        for node in made:
            node.begin()
        yield made
    finally:
        for node in made:
            node.end()


def test_where_the_first_route_is_dead_the_second_is_taken_without_a_pause(kind: str) -> None:
    slow = Backoff(base_s=3600, max_s=3600)
    with nodes() as (first, second):
        first.end()
        with either(kind, Failover(first.route, second.route), "c", reconnect=slow) as client:
            client.publish("t", b"x", 1)
            routes = client.stats().routes
    assert second.payloads == [b"x"]
    assert [(each.server, each.attempts, each.connections) for each in routes] == [
        (f"127.0.0.1:{first.port}", 1, 0),
        (f"127.0.0.1:{second.port}", 1, 1),
    ]
    assert (routes[0].bytes_sent, routes[0].bytes_received) == (0, 0)
    assert routes[1].bytes_sent > 0 < routes[1].bytes_received


def test_where_all_are_dead_the_error_is_raised_after_one_round(kind: str) -> None:
    with nodes() as (first, second):
        first.end()
        second.end()
        with (
            pytest.raises(ConnectError, match=str(second.port)),
            either(kind, Failover(first.route, second.route), "c"),
        ):
            pass


def test_without_reconnecting_a_client_has_a_choice_once(kind: str) -> None:
    with nodes() as (first, second):
        first.end()
        with either(kind, Failover(first.route, second.route), "c", reconnect=None) as client:
            second.end()
            until(lambda: not client.is_running)


def test_what_a_dead_server_had_not_acknowledged_goes_to_the_next(kind: str, tmp_path: Path) -> None:
    with nodes() as (first, second), Outbox(tmp_path / "outbox.db") as outbox:
        first.answers = False
        routes = Failover(first.route, second.route)
        with either(kind, routes, "c", session_expiry_interval=3600, outbox=outbox, **QUICK) as client:
            for qos in (1, 2):
                client.publish("t", b"%d" % qos, qos)
            until(lambda: len(first.payloads) == 2)
            first.end()
            until(lambda: outbox.stats().messages == 0)
    assert sorted(second.payloads) == [b"1", b"2"]


def test_a_better_route_that_answers_again_is_gone_back_to_and_nothing_is_lost(kind: str) -> None:
    with nodes() as (first, second):
        first.end()
        routes = Failover(first.route, second.route, return_after_s=0.1)
        with either(kind, routes, "c", **QUICK) as client:
            client.publish("t", b"0", 1)
            second.answers = False
            waiting = client.publish_nowait("t", b"1", 1)
            first.begin()
            until(lambda: first.connects)
            until(lambda: waiting.is_done)
            client.publish("t", b"2", 1)
            until(lambda: client.stats().connections == 2)
    assert first.payloads == [b"1", b"2"]
    assert isinstance(second.seen[0][-1], Disconnect)


def test_a_route_that_is_good_enough_is_kept_until_it_is_lost(kind: str) -> None:
    with nodes() as (first, second):
        first.end()
        routes = Failover(first.route, second.route, return_after_s=None)
        with either(kind, routes, "c", **QUICK) as client:
            first.begin()
            for _ in range(20):
                client.publish("t", b"x", 1)
            assert not first.connects
            second.end()
            until(lambda: first.connects)


def test_a_better_route_that_comes_and_goes_is_not_gone_back_to(kind: str) -> None:
    with nodes() as (first, second):
        first.end()
        routes = Failover(first.route, second.route, return_after_s=3600)
        with either(kind, routes, "c", **QUICK) as client:
            prober = client._prober
            until(lambda: prober.silent == {0})
            first.begin()
            until(lambda: prober.silent == set())
            first.end()
            until(lambda: prober.silent == {0})
            assert not first.connects
            # It is known to be dead, so it is not waited for now.
            attempts = client.stats().routes[0].attempts
            second.drop()
            until(lambda: client.stats().connections == 2)
            assert client.stats().routes[0].attempts == attempts


def test_a_session_is_begun_anew_with_another_server_and_gone_on_with_on_the_same(kind: str) -> None:
    options = {"session_expiry_interval": 3600, **QUICK}
    with nodes() as (first, second):
        first.session_present = second.session_present = True
        with either(kind, Failover(first.route, second.route, return_after_s=None), "c", **options) as client:
            client.subscribe("a/#", 1)
            first.end()
            until(lambda: any(isinstance(each, Subscribe) for seen in second.seen for each in seen))
            second.end()
            second.begin()
            until(lambda: len(second.connects) == 2)
            until(lambda: client.is_connected)
            first.begin()
            second.end()
            until(lambda: len(first.connects) == 2)
            until(lambda: any(isinstance(each, Subscribe) for each in first.seen[1]))
    assert [each.clean_start for each in second.connects] == [True, False]
    assert [each.clean_start for each in first.connects] == [True, True]


def test_nodes_of_a_cluster_go_on_with_one_session(kind: str) -> None:
    options = {"session_expiry_interval": 3600, **QUICK}
    with nodes() as (first, second):
        second.session_present = True
        routes = Failover(first.route, second.route, shares_session=True, return_after_s=None)
        with either(kind, routes, "c", **options) as client:
            client.subscribe("a/#", 1)
            first.end()
            until(lambda: second.connects)
            client.publish("t", b"x", 1)
    assert [each.clean_start for each in second.connects] == [False]
    assert not any(isinstance(each, Subscribe) for each in second.seen[0])


def test_what_is_kept_of_a_session_is_of_the_server_that_has_it(kind: str, tmp_path: Path) -> None:
    """A message of QoS 2 that the second server has taken is not published again by a process that comes after."""
    options = {"session_expiry_interval": 3600, "clean_start": False, **QUICK}
    path = tmp_path / "outbox.db"
    with nodes() as (first, second):
        first.end()
        second.answers = False
        second.session_present = True
        with either(kind, Failover(first.route, second.route), "c", outbox=Outbox(path), **options) as client:
            client.publish("t", b"x", 2)
            until(lambda: second.payloads)
        second.answers = True
        with either(kind, second.route, "c", outbox=Outbox(path), **options) as client:
            until(lambda: client.stats().outbox.messages == 0)
    again = second.seen[1][0]
    assert (again.dup, again.packet_id) == (True, second.seen[0][0].packet_id)


def test_a_black_hole_is_left_after_its_time_out_and_not_waited_for_again(kind: str) -> None:
    with nodes(1) as (second,), black_hole() as address:
        routes = Failover(Broker(*address), second.route)
        with either(kind, routes, "c", connect_timeout_s=0.3, **QUICK) as client:
            until(lambda: client._prober.silent == {0})
            second.drop()
            began = client.stats().routes[0].attempts
            until(lambda: client.stats().connections == 2)
            assert client.stats().routes[0].attempts == began


def test_a_server_reference_is_followed_and_what_is_sent_there_arrives(kind: str) -> None:
    with nodes(1) as (other,):

        def send_on(peer: Peer) -> None:
            peer.expect(Connect)
            peer.send(ConnAck(ReasonCode.USE_ANOTHER_SERVER, server_reference=f"127.0.0.1:{other.port}"))

        with scripted(send_on) as route, either(kind, route, "c", **QUICK) as client:
            client.publish("t", b"x", 1)
    assert other.payloads == [b"x"]


def test_a_server_that_moves_takes_its_clients_along_and_they_look_there_from_then_on(kind: str) -> None:
    asked = 0
    with nodes(1) as (other,):

        def move(peer: Peer) -> None:
            nonlocal asked
            asked += 1
            peer.accept()
            publish = peer.expect(Publish)
            peer.send(PubAck(publish.packet_id))
            reference = f"127.0.0.1:{other.port}"
            peer.send(Disconnect(ReasonCode.SERVER_MOVED, server_reference=reference))

        with scripted(move) as route, either(kind, route, "c", **QUICK) as client:
            client.publish("t", b"1", 1)
            client.publish("t", b"2", 1)
            until(lambda: other.payloads == [b"2"])
            other.drop()
            client.publish("t", b"3", 1)
            until(lambda: other.payloads == [b"2", b"3"])
    assert asked == 1


def test_references_in_a_circle_end_and_the_error_says_what_the_server_said(kind: str) -> None:
    asked = 0
    ports: list[int] = []

    def send_back(peer: Peer) -> None:
        nonlocal asked
        asked += 1
        peer.expect(Connect)
        peer.send(ConnAck(ReasonCode.USE_ANOTHER_SERVER, server_reference=f"127.0.0.1:{ports[0]}"))

    with scripted(send_back) as route:
        ports.append(route.port)
        with pytest.raises(ConnectError) as caught, either(kind, route, "c", max_server_references=2):
            pass
    assert caught.value.reason_code == ReasonCode.USE_ANOTHER_SERVER
    assert asked == 3


def test_a_route_that_accepts_and_drops_is_as_good_as_one_that_fails(kind: str) -> None:
    """A proxy in front of a dead broker, say."""
    with nodes(1) as (second,):

        def drop(peer: Peer) -> None:
            if isinstance(peer.receive(), Connect):
                peer.send(ConnAck())

        with (
            scripted(drop) as route,
            either(kind, Failover(route, second.route, return_after_s=None), "c", **QUICK) as client,
        ):
            client.publish("t", b"x", 1)
            until(lambda: second.payloads == [b"x"])


def test_a_client_that_is_closed_while_it_probes_leaves_nothing_running(kind: str) -> None:
    with nodes(1) as (second,), black_hole() as address:
        with either(kind, Failover(Broker(*address), second.route), "c", connect_timeout_s=0.2, **QUICK):
            pass
        until(lambda: not [each for each in threading.enumerate() if each.name.startswith("iotwire")])


def test_a_prober_tells_once_the_better_routes_first_and_not_after_its_end(kind: str) -> None:
    told: list[int] = []
    is_told = threading.Event()

    def tell(index: int) -> None:
        told.append(index)
        is_told.set()

    with nodes(3) as (first, second, third):
        second.end()
        Prober([(each.route, 0.0, None) for each in (second, third, first)], tell)
        happened(is_told)
        assert told == [1]
        stopped = Prober([(first.route, 0.05, None)], tell)
        stopped.stop()
        until(lambda: "iotwire uplinks" not in [each.name for each in threading.enumerate()])
    assert told == [1]
