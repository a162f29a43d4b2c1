"""`iotwire pub` and `iotwire sub` with a real broker, and with mosquitto's own commands at the other end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import Mosquitto, find_program, free_ports
from iotwire.outbox import Outbox

pytestmark = pytest.mark.broker

TIME_LIMIT_S = 60
IOTWIRE = (sys.executable, "-m", "iotwire")
BARE = {name: value for name, value in os.environ.items() if not name.startswith(("IOTWIRE_", "AWS_"))}


class Place:
    """A broker: its port, and that for WebSockets."""

    def __init__(self, port: int, websocket_port: int) -> None:
        self.port = port
        self.websocket_port = websocket_port


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    [websocket_port] = free_ports(1)
    further = [f"listener {websocket_port} 127.0.0.1", "protocol websockets", "allow_anonymous true"]
    with Mosquitto(tmp_path_factory.mktemp("mosquitto"), further=further) as broker:
        yield Place(broker.port, websocket_port)


def run(*words: str, status: int = 0) -> bytes:
    """What a command prints."""
    done = subprocess.run(words, check=False, capture_output=True, timeout=TIME_LIMIT_S, env=BARE)
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_the_same_options_do_the_same_as_mosquittos_commands(mosquitto: Place, version: str, qos: str) -> None:
    shared = ["-h", "127.0.0.1", "-p", str(mosquitto.port), "-V", version, "-q", qos, "-t", f"cli/{version}/{qos}"]
    ours = ([*IOTWIRE, "pub", *shared], [*IOTWIRE, "sub", *shared, "-v"])
    theirs = ([find_program("mosquitto_pub"), *shared], [find_program("mosquitto_sub"), *shared, "-v"])
    for text, (publish, _), (_, subscribe) in (("21.5", ours, theirs), ("22.5", theirs, ours)):
        run(*publish, "-m", text, "-r")  # kept for who comes later
        assert run(*subscribe, "-C", "1") == f"cli/{version}/{qos} {text}\n".encode()


@pytest.mark.parametrize("version", ["4", "5"])
def test_a_broker_over_websockets(mosquitto: Place, version: str) -> None:
    shared = ["-h", "127.0.0.1", "-p", str(mosquitto.websocket_port), "--protocol", "ws", "-V", version, "-t", "ws"]
    run(*IOTWIRE, "pub", *shared, "-m", "21.5", "-r")
    assert run(*IOTWIRE, "sub", *shared, "-C", "1") == b"21.5\n"


def test_a_session_that_is_kept_brings_what_was_missed(mosquitto: Place) -> None:
    shared = ["-h", "127.0.0.1", "-p", str(mosquitto.port), "-q", "1", "-t", "kept"]
    subscribe = [*IOTWIRE, "sub", *shared, "-i", "sleeper", "-c", "-x", "600"]
    run(*subscribe, "-W", "0.5", status=27)
    for text in ("one", "two", "three"):
        run(*IOTWIRE, "pub", *shared, "-m", text)
    # What has come, but was not printed, was not acknowledged either.
    assert run(*subscribe, "-C", "1") == b"one\n"
    assert run(*subscribe, "-C", "2") == b"two\nthree\n"


@pytest.mark.parametrize("version", ["4", "5"])
def test_an_outbox_is_drained_into_a_broker(mosquitto: Place, version: str, tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    place = ["-h", "127.0.0.1", "-p", str(mosquitto.port), "-V", version]
    subscribe = [*IOTWIRE, "sub", *place, "-q", "1", "-t", "drained", "-i", f"drained-{version}", "-c"]
    subscribe += ["-x", "600"] if version == "5" else []
    run(*subscribe, "-W", "0.5", status=27)
    with Outbox(path) as outbox:
        for number in range(60):
            outbox.put("drained", b"%d" % number, number % 3)
    drain = [*IOTWIRE, "outbox", str(path), "drain", *place]
    assert run(*drain) == b"60 delivered, 0 refused, 0 expired, 0 left\n"
    # mosquitto keeps none of QoS 0 for a client that is away, and sends those of QoS 2 when it has their PUBREL.
    assert sorted(map(int, run(*subscribe, "-C", "40").split())) == [number for number in range(60) if number % 3]
    assert run(*drain) == b"0 delivered, 0 refused, 0 expired, 0 left\n"


@pytest.mark.parametrize("words", [("pub", "-n"), ("sub",)], ids=" ".join)
def test_a_broker_that_is_not_there_is_one_sentence(words: tuple[str, ...]) -> None:
    [port] = free_ports(1)
    command = [*IOTWIRE, *words, "-h", "127.0.0.1", "-p", str(port), "-t", "a"]
    done = subprocess.run(command, check=False, capture_output=True, timeout=TIME_LIMIT_S, env=BARE)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert f"127.0.0.1:{port}".encode() in done.stderr
