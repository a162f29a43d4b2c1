"""Changes of this machine's network: what the system says of them, and clients that need not wait any longer."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from either import KINDS, either
from forking import in_child, needs_fork
from iotwire import Backoff, Broker, Failover
from iotwire.client import attempts
from iotwire.transport import linkwatch
from iotwire.transport.linkwatch import LinkChange, listen, read_changes
from linking import MAY_NOT
from networks import accept_mqtt, black_hole, serving
from scripted_threads import InThread, happened, scripted, serve_all, until

PROGRAM = Path(__file__).parents[1] / "linking.py"
ETH0, LO, WLAN0 = 2, 1, 3
UP, RUNNING, LOOPBACK = 0x1, 0x40, 0x8
UP_AND_RUNNING = UP | RUNNING


def message(kind: int, body: bytes) -> bytes:
    data = struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body
    return data + bytes(-len(data) % 4)


def link(index: int, flags: int, kind: int = linkwatch.NEWLINK) -> bytes:
    return message(kind, struct.pack("=BxHiII", 0, 1, index, flags, 0) + b"\x08\0\x03\0eth0")


def address(index: int, *, scope: int = 0, flags: int = 0) -> bytes:
    return message(linkwatch.NEWADDR, struct.pack("=BBBBI", socket.AF_INET, 24, flags, scope, index))


def route(prefix: int) -> bytes:
    return message(linkwatch.NEWROUTE, struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, 254, 2, 0, 1, 0))


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        pytest.param([link(ETH0, UP_AND_RUNNING)], [LinkChange(True, ETH0)], id="a link that is there"),
        pytest.param([link(ETH0, UP)], [LinkChange(False, ETH0)], id="no carrier"),
        pytest.param([link(ETH0, RUNNING)], [LinkChange(False, ETH0)], id="switched off"),
        pytest.param([link(LO, UP_AND_RUNNING | LOOPBACK)], [], id="loopback"),
        pytest.param([link(WLAN0, UP_AND_RUNNING)] * 3, [LinkChange(True, WLAN0)], id="said again: a wireless scan"),
        pytest.param(
            [link(ETH0, UP_AND_RUNNING), link(ETH0, UP), link(ETH0, UP_AND_RUNNING)],
            [LinkChange(True, ETH0), LinkChange(False, ETH0), LinkChange(True, ETH0)],
            id="a cable that is pulled and plugged in",
        ),
        pytest.param(
            [link(ETH0, UP_AND_RUNNING), link(ETH0, UP_AND_RUNNING, linkwatch.DELLINK), link(ETH0, UP_AND_RUNNING)],
            [LinkChange(True, ETH0), LinkChange(False, ETH0), LinkChange(True, ETH0)],
            id="a modem that is pulled out",
        ),
        pytest.param([address(ETH0)], [LinkChange(True, ETH0)], id="an address"),
        pytest.param([address(ETH0, scope=200)], [LinkChange(True, ETH0)], id="an address of a site"),
        pytest.param([address(ETH0, scope=253)], [], id="a link-local address"),
        pytest.param([address(ETH0, flags=0x40)], [], id="an address that may be another's yet"),
        pytest.param([route(0)], [LinkChange(True)], id="a default route"),
        pytest.param([route(24)], [], id="a route to somewhere"),
        pytest.param([message(3, b"")], [], id="the end of a list"),
        pytest.param([message(9999, b"1234567890123456")], [], id="what nobody knows"),
    ],
)
def test_what_rtnetlink_says_is_read_in_one_message_or_in_several(said: list[bytes], changes: list[LinkChange]) -> None:
    assert list(read_changes(b"".join(said), {})) == changes
    running: dict[int, bool] = {}
    assert [change for each in said for change in read_changes(each, running)] == changes


def test_messages_that_are_cut_off_or_lie_about_their_length_are_read_no_further() -> None:
    whole = link(ETH0, UP_AND_RUNNING) + address(ETH0) + route(0)
    for end in range(len(whole)):
        found = list(read_changes(whole[:end], {}))
        assert found == list(read_changes(whole, {}))[: len(found)]
    for length in (0, 1, 15, 0x7FFFFFFF, 0xFFFFFFFF):
        assert list(read_changes(struct.pack("=I", length) + whole[4:], {})) == []
    for kind in (linkwatch.NEWLINK, linkwatch.NEWADDR, linkwatch.NEWROUTE):
        assert list(read_changes(message(kind, b"\0\0"), {})) == []


def watching() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "iotwire links"]


def announce(change: LinkChange) -> None:
    """As the thread does."""
    for listener in list(linkwatch._watch._listeners):
        listener(change)


def test_there_is_a_thread_as_long_as_somebody_listens() -> None:
    until(lambda: not watching())
    ends = [listen(lambda change: None) for _ in range(3)]
    assert len(watching()) == 1
    for end in ends:
        assert watching()
        end()
        end()
    until(lambda: not watching())


@needs_fork
def test_a_child_of_fork_listens_by_itself() -> None:
    end = listen(lambda change: None)

    def listen_again() -> int:
        assert not linkwatch._watch._listeners
        end()
        listen(lambda change: None)
        return len(watching())

    assert in_child(listen_again) == "1"
    end()


def test_without_word_of_the_system_the_network_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    before = frozenset({("interface", "lo")})
    after = before | {("out", "192.0.2.1")}
    # What has gone is no reason to try again.
    states = [after, before, after, after, before, before]
    monkeypatch.setattr(linkwatch, "POLL_S", 0.001)
    monkeypatch.setattr(linkwatch._Polling, "_look", lambda _: states.pop() if states else after)
    monkeypatch.delattr(socket, "AF_NETLINK")
    changes: list[LinkChange] = []
    end = listen(changes.append)
    try:
        until(lambda: not states)
        until(lambda: changes == [LinkChange(True)] * 2)
    finally:
        end()


def test_what_is_looked_at_is_there() -> None:
    look = linkwatch._Polling._look()
    assert ("interface", "lo") in look or sys.platform != "linux"
    assert look == linkwatch._Polling._look()


# Clients.


@pytest.fixture
def patient() -> dict[str, Any]:
    return {"wait_for_server": True, "starts": True, "reconnect": Backoff(base_s=3600, max_s=3600)}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
@pytest.mark.parametrize("watch", ["netlink", "polled"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_waits_for_an_hour_connects_when_its_network_is_there(kind: str, watch: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (PROGRAM.parent, *sys.path)))}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), kind, watch],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    if done.returncode == MAY_NOT:
        pytest.skip("this process may not make a network of its own")
    assert done.returncode == 0, done.stderr
    print(f"{kind}, {watch}: connected {done.stdout.strip()} s after the address came")


@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_into_a_black_hole_is_given_up_when_the_network_is_another_one(
    kind: str, patient: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LET_ALONE_S", 0.0)
    with black_hole() as place, either(kind, Broker(*place), "c", connect_timeout_s=600, **patient) as client:
        for count in (1, 2, 3):
            until(lambda count=count: client.stats().routes[0].attempts == count)
            until(lambda: client._interruption is not None and client._interruption._interrupt)
            announce(LinkChange(True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_no_resolver_answers_for_is_asked_for_again_when_the_network_is_another_one(
    kind: str, patient: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LET_ALONE_S", 0.0)
    ends = threading.Event()
    asked: list[str] = []

    def ask(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        if len(asked) == 1:
            ends.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with serving(accept_mqtt) as port:
        monkeypatch.setattr("iotwire.transport.resolver._get_addresses", ask)
        with either(kind, Broker("gateway.example", port), "c", connect_timeout_s=600, **patient) as client:
            until(lambda: asked)
            until(lambda: client._interruption is not None and client._interruption._interrupt)
            announce(LinkChange(True))
            until(lambda: client.is_connected)
            ends.set()


@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_that_has_just_begun_and_one_that_has_an_answer_are_let_alone(
    kind: str, patient: dict[str, Any]
) -> None:
    asked = threading.Event()
    may_answer = threading.Event()

    def script(peer: Any) -> None:
        peer.receive()
        asked.set()
        happened(may_answer)
        peer.send(b"\x20\x03\x00\x00\x00")
        peer.answer_until_close()

    with scripted(script) as route, either(kind, route, "c", **patient) as client:
        happened(asked)
        announce(LinkChange(True))
        may_answer.set()
        until(lambda: client.is_connected)
        assert client.stats().routes[0].attempts == 1


@pytest.mark.parametrize("kind", KINDS)
def test_who_was_refused_is_refused_on_any_network(
    kind: str, patient: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(peer: Any) -> None:
        peer.receive()
        peer.send(b"\x20\x03\x00\x87\x00")

    with scripted(refuse) as route, either(kind, route, "c", **patient) as client:
        until(lambda: "state=refused" in caplog.text)
        announce(LinkChange(True))
        assert not client._is_hurried


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_that_goes_is_left_at_once_for_another_route(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else would tell: no packet comes back, not even one that says so."""
    monkeypatch.setattr(Broker, "interface", property(lambda self: "lo" if self is first else None))
    with scripted(serve_all) as first, scripted(serve_all) as second:
        slow = Backoff(base_s=3600, max_s=3600)
        with either(kind, Failover(first, second, return_after_s=None), "c", reconnect=slow) as client:
            announce(LinkChange(False, 77))
            announce(LinkChange(True, socket.if_nametoindex("lo")))
            assert client.is_connected
            announce(LinkChange(False, socket.if_nametoindex("lo")))
            until(lambda: client.stats().routes[1].connections == 1)
            assert client.stats().routes[0].attempts == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_is_connected_over_its_only_route_does_not_listen(kind: str) -> None:
    with scripted(serve_all) as route, either(kind, route, "c"):
        until(lambda: not watching())


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_while_a_client_is_closed_is_of_no_interest(kind: str, patient: dict[str, Any]) -> None:
    with either(kind, Broker("127.0.0.1", 1), "c", **patient) as client:
        until(lambda: client._may_hurry)
        listeners = list(linkwatch._watch._listeners)
        closing = InThread(client.disconnect)
        for _ in range(100):
            for listener in listeners:
                listener(LinkChange(True))
        closing.result()
    until(lambda: not watching())
