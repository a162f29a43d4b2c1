"""`iotwire outbox PATH drain`, run as people run it: what is on disk is delivered, and what is not stays there."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_cli_outbox import BARE, TIME_LIMIT_S, messages_in, put_numbers

from iotwire.mqtt import Disconnect, PubAck, Publish, ReasonCode
from iotwire.outbox import Outbox, StoredMessage, ViewedMessage
from scripted_threads import Peer, scripted, until

pytestmark = pytest.mark.slow  # each test starts the command


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@contextmanager
def draining(path: Path, port: int, *options: str, **keywords: Any) -> Iterator[subprocess.Popen[bytes]]:
    place = ["--broker", "-h", "127.0.0.1", "-p", str(port)]
    command = [sys.executable, "-m", "iotwire", "outbox", str(path), "drain", *place, *options]
    keywords.setdefault("stderr", subprocess.PIPE)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=BARE, **keywords) as process:
        try:
            yield process
        finally:
            process.kill()


def drain(path: Path, port: int, *options: str) -> tuple[int, bytes, bytes]:
    with draining(path, port, *options) as process:
        out, err = process.communicate(timeout=TIME_LIMIT_S)
    return process.returncode, out, err


class TakesAll:
    """A server that takes messages and notes them; a payload in `refused` is refused."""

    def __init__(self, *refused: bytes) -> None:
        self.seen: list[bytes] = []
        self._refused = refused

    def __call__(self, peer: Peer) -> None:
        peer.accept()
        while not isinstance(packet := peer.receive(), Disconnect | None):
            if isinstance(packet, Publish):
                payload = bytes(packet.payload)
                self.seen.append(payload)
                code = ReasonCode.NOT_AUTHORIZED if payload in self._refused else ReasonCode.SUCCESS
                if packet.qos:
                    peer.send(PubAck(packet.packet_id, code))


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("qos", [0, 1])
def test_all_is_delivered_in_order_and_nothing_is_left(path: Path, qos: int, version: str) -> None:
    put_numbers(path, 300, qos)
    taking = TakesAll()
    with scripted(taking, version=int(version)) as route:
        assert drain(path, route.port, "-V", version) == (0, b"300 delivered, 0 refused, 0 expired, 0 left\n", b"")
    assert taking.seen == [b"%d" % number for number in range(300)]
    assert messages_in(path) == []


def test_an_empty_outbox_needs_no_server(path: Path) -> None:
    put_numbers(path, 0)
    assert drain(path, 1) == (0, b"0 delivered, 0 refused, 0 expired, 0 left\n", b"")


def test_a_message_that_is_refused_is_told_and_no_success(path: Path) -> None:
    put_numbers(path, 3)
    with scripted(TakesAll(b"1")) as route:
        status, out, err = drain(path, route.port)
    assert (status, out) == (1, b"2 delivered, 1 refused, 0 expired, 0 left\n")
    assert b"a stored message on t is given up" in err
    assert messages_in(path) == []


def test_what_has_expired_is_counted_and_no_failure(path: Path) -> None:
    put_numbers(path, 2)
    with Outbox(path) as outbox:
        message = StoredMessage(0, "old", b"", 1, False, {})
        outbox.restore(ViewedMessage(message, 4, 0, 1, 0))
    with scripted(TakesAll()) as route:
        status, out, _ = drain(path, route.port)
    assert (status, out) == (0, b"2 delivered, 0 refused, 1 expired, 0 left\n")


def test_a_server_that_is_not_there_is_told_at_once_and_all_is_left(path: Path) -> None:
    put_numbers(path, 2)
    status, out, err = drain(path, 1)
    assert (status, out) == (1, b"0 delivered, 0 refused, 0 expired, 2 left\n")
    assert b"127.0.0.1:1" in err
    assert err.count(b"\n") == 1
    assert len(messages_in(path)) == 2


class TakesOne:
    """A server that acknowledges one message, and no other."""

    def __init__(self) -> None:
        self.seen = 0
        self.goodbye: object = None

    def __call__(self, peer: Peer) -> None:
        peer.accept()
        while not isinstance(packet := peer.receive(), Disconnect | None):
            if isinstance(packet, Publish):
                self.seen += 1
                if self.seen == 1:
                    peer.send(PubAck(packet.packet_id))
        self.goodbye = packet


def test_time_that_is_over_leaves_the_rest_where_it_is(path: Path) -> None:
    put_numbers(path, 5)
    with scripted(TakesOne()) as route:
        status, out, err = drain(path, route.port, "--timeout", "1")
    assert (status, out, err.splitlines()[-1]) == (
        27,
        b"1 delivered, 0 refused, 0 expired, 4 left\n",
        b"iotwire: 1 s are over",
    )
    assert [each.message.payload for each in messages_in(path)] == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_what_is_left_stays(path: Path, number: signal.Signals, expected: int) -> None:
    put_numbers(path, 5)
    taking = TakesOne()
    with scripted(taking) as route, draining(path, route.port) as process:
        until(lambda: taking.seen == 5)
        process.send_signal(number)
        out, err = process.communicate(timeout=TIME_LIMIT_S)
        assert process.returncode == expected
        assert out == b"1 delivered, 0 refused, 0 expired, 4 left\n"
        assert b"Traceback" not in err
    assert isinstance(taking.goodbye, Disconnect)
    assert [each.message.payload for each in messages_in(path)] == [b"1", b"2", b"3", b"4"]


def test_a_connection_that_is_lost_is_made_again(path: Path) -> None:
    put_numbers(path, 5)
    taking = TakesAll()
    lives = iter((TakesFew(2), taking))
    with scripted(lambda peer: next(lives)(peer)) as route:
        status, out, _ = drain(path, route.port)
    assert (status, out) == (0, b"5 delivered, 0 refused, 0 expired, 0 left\n")
    assert taking.seen[-3:] == [b"2", b"3", b"4"]


class TakesFew:
    """A server that vanishes after some messages."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, peer: Peer) -> None:
        peer.accept()
        for _ in range(self._count):
            peer.send(PubAck(peer.expect(Publish).packet_id))


def test_a_terminal_sees_how_far_it_is(path: Path) -> None:
    put_numbers(path, 5)
    leader, follower = pty.openpty()
    taking = TakesOne()
    with scripted(taking) as route, draining(path, route.port, "--timeout", "1", stderr=follower) as process:
        os.close(follower)
        out, _ = process.communicate(timeout=TIME_LIMIT_S)
    shown = os.read(leader, 65536)
    os.close(leader)
    assert b"1 delivered, 0 refused, 0 expired, 4 left\x1b[K\r" in shown
    assert out.count(b"\n") == 1


def test_https_delivers_no_outbox(path: Path) -> None:
    put_numbers(path, 1)
    words = ["-h", "a.test", "--protocol", "https", "--auth", "sigv4", "--region", "eu-central-1"]
    done = subprocess.run(
        [sys.executable, "-m", "iotwire", "outbox", str(path), "drain", *words],
        capture_output=True,
        timeout=TIME_LIMIT_S,
        check=False,
        env=BARE | {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "x"},
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"iotwire: --protocol https: an outbox is drained over MQTT; take mqtt or wss\n"
    assert len(messages_in(path)) == 1
