"""`iotwire emulator`: run as people run it, and connected to as its folder says."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from iotwire import Client, CustomAuth, Endpoint, HttpsPublisher, SigV4
from iotwire.cli import main
from iotwire.emulator.pki import make_token_key
from iotwire.sigv4 import Credentials
from iotwire.tls import Alert, ClientHello
from scripted import asynchronous

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

TIME_LIMIT_S = 60


PROGRAMS = ("mosquitto_sub", "mosquitto_pub", "curl", "printf", "iotwire", "set")

OPEN_GATE = """
def authorize(event):
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policies = [{"Version": "2012-10-17", "Statement": everything}]
    return {"isAuthenticated": True, "principalId": "anyone", "policyDocuments": policies}
"""


class Running:
    """An emulator in a process of its own, that is ready."""

    def __init__(self, process: subprocess.Popen[str], head: str) -> None:
        self.process = process
        self.head = head
        self.log = ""
        ports = re.findall(r"^  port (\d+) +(\d+) ", head, re.MULTILINE)
        self.ports = {int(service): int(local) for service, local in ports}

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Ask it to end, and read what else it had to say."""
        self.process.send_signal(number)
        rest, self.log = self.process.communicate(timeout=TIME_LIMIT_S)
        assert (self.process.returncode, "Traceback" in self.log) == (0, False), self.log
        return rest


@contextlib.contextmanager
def emulator(folder: Path, *arguments: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "iotwire", "emulator", "--folder", str(folder), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=folder.parent) as process:
        try:
            assert process.stdout is not None
            head = ""
            for line in process.stdout:
                head += line
                if "Ctrl-C" in line:
                    break
            else:
                pytest.fail(f"it did not start: {head}{process.stderr and process.stderr.read()}")
            yield Running(process, head)
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with emulator(tmp_path / "folder") as running:
        assert set(running.ports) == {8883, 443, 8443}
        assert str(tmp_path / "folder") in running.head
        assert "a1b2c3-ats.iot.local.test" in running.head
        assert "\x1b" not in running.head
        rest = running.end(number)
    assert "0 accepted, 0 refused" in rest


@pytest.mark.parametrize("options", ["", "--auth sigv4", "--protocol https"])
def test_its_variables_are_all_that_iotwire_pub_needs(tmp_path: Path, options: str) -> None:
    folder = tmp_path / "a folder"
    with emulator(folder, "--address", "127.0.0.1") as running:
        script = f'set -a; . "$1"; exec "$2" -m iotwire pub -t a/b -m 21.5 {options}'
        done = subprocess.run(
            ["sh", "-c", script, "sh", str(folder / "emulator.env"), sys.executable],
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert "1 received" in running.end()


def test_what_it_writes_connects(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    with emulator(folder, "--address", "127.0.0.1", "--device", "pump") as running:
        done = subprocess.run(
            [sys.executable, str(folder / "connect.py")],
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert re.findall(r"'readings/row(\d)', b'0.5', qos=1", done.stdout) == ["1", "2", "4", "6", "7", "8"]
        variables = dict(
            line.split("=", 1) for line in shlex.split((folder / "emulator.env").read_text(), comments=True)
        )
        assert variables["IOTWIRE_ENDPOINT"] == "a1b2c3-ats.iot.local.test"
        assert int(variables["IOTWIRE_PORT_8883"]) == running.ports[8883]
        for name in ("CA", "CERT", "KEY"):
            assert Path(variables[f"IOTWIRE_{name}"]).parent == folder
            assert Path(variables[f"IOTWIRE_{name}"]).read_text().startswith("-----BEGIN")
        assert (folder / "pump.pem").exists()
        commands = (folder / "commands.sh").read_text()
        assert re.findall(r"^# row (\d)", commands, re.MULTILINE) == ["1", "2", "4", "6", "7", "8"]
        assert "--authorizer NAME=MODULE:FUNCTION" in commands  # what rows 3, 5 and 9 want
        for line in commands.splitlines():
            if line and not line.startswith("#"):
                assert shlex.split(line)[0] in PROGRAMS
        assert "6 received" in running.end()


@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
def test_what_it_writes_connects_by_an_authorizer_too(tmp_path: Path, is_signed: bool) -> None:
    (tmp_path / "gate_of_a_test.py").write_text(OPEN_GATE)
    folder = tmp_path / "a folder"
    arguments = ["--address", "127.0.0.1", "--authorizer", "gate=gate_of_a_test:authorize"]
    variables = {}
    if is_signed:
        private_key, public_key = make_token_key()
        (tmp_path / "token.key").write_bytes(private_key)
        (tmp_path / "token.pem").write_bytes(public_key)
        arguments += ["--token-key-name", "GateToken", "--public-key", str(tmp_path / "token.pem")]
        variables = {"IOTWIRE_TOKEN": "a token", "IOTWIRE_SIGNING_KEY": str(tmp_path / "token.key")}
    with emulator(folder, *arguments) as running:
        environment = {**os.environ, **variables}
        done = subprocess.run(
            [sys.executable, str(folder / "connect.py")],
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        assert re.findall(r"'readings/row(\d)', b'0.5', qos=1", done.stdout) == list("123456789")
        commands = (folder / "commands.sh").read_text()
        assert re.findall(r"^# row (\d)", commands, re.MULTILINE) == list("123456789")
        # Its commands of iotwire: what a shell makes of them.
        own = [line for line in commands.splitlines() if line.startswith(("set ", "iotwire "))]
        assert len(own) == 6
        script = "\n".join(["set -e", 'iotwire() { "$PROGRAM" -m iotwire "$@"; }', *own])
        done = subprocess.run(
            ["sh", "-c", script],
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
            env={**environment, "PROGRAM": sys.executable},
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "14 received" in running.end()
    assert "a token" not in running.log


def test_it_shows_who_connects_and_who_is_refused_and_why(tmp_path: Path) -> None:
    with emulator(tmp_path / "folder", "--address", "127.0.0.1") as running:
        with socket.create_connection(("127.0.0.1", running.ports[8883]), TIME_LIMIT_S) as stranger:
            stranger.sendall(ClientHello("another-ats.iot.local.test").encode())
            assert stranger.recv(100) == Alert(112).encode()
        subprocess.run([sys.executable, str(tmp_path / "folder" / "connect.py")], timeout=TIME_LIMIT_S, check=True)
        assert "6 accepted, 1 refused" in running.end()
    assert re.search(r"127\.0\.0\.1:\d+: a ClientHello for another endpoint, .*unrecognized_name", running.log)
    assert re.search(r"row2 at 127\.0\.0\.1:\d+ has connected: MQTT 5\.0", running.log)


def test_the_next_start_finds_its_certificates_and_says_the_new_ports(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with emulator(folder) as running:
        before = [(folder / name).read_bytes() for name in ("ca.pem", "device.pem", "device.key")]
        port = running.ports[8883]
        running.end()
    with emulator(folder, "--port", f"8883={port}") as running:
        assert running.ports[8883] == port
        assert [(folder / name).read_bytes() for name in ("ca.pem", "device.pem", "device.key")] == before
        other = tmp_path / "other"
        assert main(["emulator", "--folder", str(folder)]) == 1
        assert main(["emulator", "--folder", str(other), "--port", f"8883={port}"]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--folder", "."], "are not the emulator's"),
        (["--port", "1883=0"], "the emulator serves"),
        (["--address", "192.0.2.1"], "has none of 192.0.2.1"),
        (["--host", "127.0.0.1"], "host"),
        (["--device", "a/b"], "name"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mine").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["emulator", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("iotwire: ")
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("pair", ["8883", "8883:1", "x=1", "8883=65536", "8883=-1", "=", "\u0661=1"])
def test_a_wrong_port_is_a_usage_error(pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["emulator", "--port", pair])
    assert caught.value.code == 2
    assert "8883=18883" in capsys.readouterr().err


def test_without_cryptography_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['cryptography'] = None; from iotwire.cli import main; sys.exit(main(['emulator']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install iotwire[crypto]" in done.stderr
    assert os.listdir(tmp_path) in ([], ["iotwire-emulator"])


GATE = """
def authorize(event):
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    return {
        "isAuthenticated": event["protocolData"]["http"]["headers"].get("authorization") == "Bearer pump",
        "principalId": "pump",
        "policyDocuments": [{"Version": "2012-10-17", "Statement": everything}],
    }
"""


@asynchronous
async def test_its_authorizer_and_its_credentials_open_the_rows_without_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "gate_of_a_test.py").write_text(GATE)
    folder = tmp_path / "folder"
    arguments = ("--address", "127.0.0.1", "--authorizer", "gate=gate_of_a_test:authorize")
    with emulator(folder, *arguments) as running:
        settings = configparser.ConfigParser()
        settings.read(folder / "aws-credentials")
        assert stat.S_IMODE((folder / "aws-credentials").stat().st_mode) == 0o600
        found = settings["default"]
        own = Credentials(found["aws_access_key_id"], found["aws_secret_access_key"])
        assert own.secret_access_key not in running.head
        endpoint = Endpoint(
            "a1b2c3-ats.iot.local.test", region=found["region"], ports=running.ports, address="127.0.0.1"
        )
        ca = str(folder / "ca.pem")
        bearer = CustomAuth("gate", token_key_name="Authorization", token="Bearer pump")
        for auth in (SigV4(own), bearer):
            async with HttpsPublisher(endpoint.route("https", auth, ca=ca)) as publisher:
                await publisher.publish("readings/a", b"0.5", qos=1)
        async with Client(endpoint.route("wss", SigV4(own), ca=ca), "pump") as client:
            await client.publish("readings/a", b"0.5", qos=1)
        assert "3 received" in running.end()
    assert own.secret_access_key not in running.log


@pytest.mark.parametrize(
    "arguments",
    [
        ["--authorizer", "gate=no_such_module:f"],
        ["--authorizer", "gate=json:nothing"],
        ["--authorizer", "a b=json:loads"],
    ],
)
def test_an_authorizer_that_cannot_be_is_one_sentence(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["emulator", "--folder", str(tmp_path / "folder"), *arguments]) == 1
    assert capsys.readouterr().err.count("\n") == 1
