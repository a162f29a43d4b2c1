"""The `iotwire` command: run as people run it, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from iotwire import ROUTES, X509, __version__
from iotwire.cli import COMMANDS, main
from iotwire.cli.arguments import place
from iotwire.cli.readings import gateway_name, read_machine

TIME_LIMIT_S = 60


def run(*arguments: str, code: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["-m", "iotwire"] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, *command, *arguments],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
        env={**os.environ, **environment},
    )


def test_the_version_is_printed() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"iotwire {__version__}\n")


def test_the_version_costs_no_more_than_the_version() -> None:
    code = """
import sys
from iotwire.cli import main
try:
    main(["--version"])
finally:
    print(*(name for name in sys.modules if name.partition(".")[0] in ("iotwire", "asyncio", "ssl", "cryptography")))
"""
    printed = run(code=code).stdout.splitlines()[-1].split()
    assert set(printed) == {"iotwire", "iotwire._lazy", "iotwire.cli", "iotwire.errors"}


def test_a_reader_that_has_seen_enough_is_no_traceback(tmp_path: Path) -> None:
    # The pipe has nobody at its end when the first line is printed.
    reader, writer = os.pipe()
    os.close(reader)
    arguments = ("preflight", "a.test", "--cert", str(tmp_path / "c"), "--key", str(tmp_path / "k"))
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "iotwire", *arguments],
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_the_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^    {command}\b", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help_of_its_own(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"usage: iotwire {command}" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [(), ("dance",), ("demo", "--seconds", "0"), ("demo", "--seconds", "x"), ("demo", "--version", "3")],
)
def test_a_wrong_command_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: iotwire" in done.stderr


@pytest.mark.parametrize("version", ["4", "5"])
def test_the_demo_sends_readings_of_this_machine_and_all_arrive(version: str) -> None:
    pytest.importorskip("cryptography")
    if not read_machine():
        pytest.skip("this machine shows no readings in /proc and /sys")
    done = run("demo", "--seconds", "0.5", "--interval", "0.2", "--version", version)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    # A line for each row of the matrix: what was agreed on, sent, arrived, back by subscriptions, latency and bytes.
    table = re.compile(
        r"^  (\d)  +(MQTT|MQTT over WSS|HTTPS)  +(.*?)  +(\d+)  +(\S+)  +TLSv1\.\d  IPv[46]  +[\d.]+ ms"
        r"  +(\d+)  +(\d+)  +(\S+)  +[\d.]+ ms  +(\d+)  ok$",
        re.MULTILINE,
    )
    rows = table.findall(done.stdout)
    assert [int(row[0]) for row in rows] == list(range(1, 10)), done.stdout
    assert [(row[3], row[4]) for row in rows] == [(str(row.port), row.alpn or "none") for row in ROUTES]
    assert [row[7] for row in rows] == ["3" if "subscribe" in row.operations else "-" for row in ROUTES]
    counts = {int(count) for row in rows for count in row[5:7]}
    assert len(counts) == 1
    assert min(counts) >= 3
    sizes = [int(row[8]) for row in rows]
    assert all(100 < size < 2000 for size in sizes)
    assert max(sizes[:5]) < min(sizes[5:])  # what HTTP costs
    # And one for each reading, with nine latencies.
    lines = re.findall(r"^  \d\d:\d\d:\d\d  [\w/.-]+(?: +[\d.]+){9}  \S", done.stdout, re.MULTILINE)
    assert len(lines) == counts.pop()
    for words in ("port 8883, no ALPN", "443, ALPN x-amzn-mqtt-ca", "443, ALPN x-amzn-http-ca", "8443, no ALPN"):
        assert words in done.stdout
    assert f"gateways/{gateway_name()}/row" in done.stdout
    assert "TLSv1.3" in done.stdout
    assert "\x1b" not in done.stdout  # nobody looks at a pipe's colours


def test_the_demo_sends_a_text_of_ones_own() -> None:
    pytest.importorskip("cryptography")
    done = run("demo", "--seconds", "0.1", "--payload", "21.5 °C")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^  \S+  text .* 21.5 ", done.stdout, re.MULTILINE)


def test_without_cryptography_one_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['cryptography'] = None; from iotwire.cli import main; sys.exit(main(['demo']))"
    done = run(code=code)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "pip install iotwire[crypto]" in done.stderr


def test_a_reading_that_is_missing_shows_in_the_exit_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")
    from iotwire.cli import demo
    from iotwire.emulator.hub import Hub

    publish = Hub.publish

    lost: list[str] = []

    def lose_one(hub: Hub, message, publisher):  # type: ignore[no-untyped-def]
        if "/reading/" in message.topic and not lost:
            lost.append(message.topic)
            return 0
        return publish(hub, message, publisher)

    monkeypatch.setattr(Hub, "publish", lose_one)
    monkeypatch.setattr(demo, "ARRIVAL_TIMEOUT_S", 0.2)
    assert main(["demo", "--seconds", "0.2", "--interval", "0.1", "--payload", "x"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("  1 missing\n") == 1
    assert re.search(r"^  \S+  text .* missing .* x$", printed, re.MULTILINE)
    assert "not every reading" in printed


def test_readings_are_taken_from_where_linux_shows_them(tmp_path: Path) -> None:
    files = {
        "proc/loadavg": "0.52 0.48 0.44 2/345 6789\n",
        "proc/meminfo": "MemTotal:        1000000 kB\nMemFree: 1 kB\nMemAvailable:     250000 kB\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/class/thermal/thermal_zone1/temp": "",  # a sensor that is asleep
        "sys/class/hwmon/hwmon3/name": "nvme\n",
        "sys/class/hwmon/hwmon3/temp1_input": "-1500\n",
        "sys/class/hwmon/hwmon3/temp1_label": "Composite\n",
        "sys/class/hwmon/hwmon3/fan1_input": "900\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    readings = {reading.name: json.loads(reading.payload) for reading in read_machine(tmp_path)}
    assert readings == {
        "load": {"1min": 0.52, "5min": 0.48, "15min": 0.44, "running": 2, "tasks": 345},
        "memory": {"total_kib": 1000000, "available_kib": 250000, "used_percent": 75.0},
        "temperature/thermal_zone0": {"sensor": "cpu-thermal", "celsius": 48.312},
        "temperature/hwmon3-temp1": {"sensor": "nvme Composite", "celsius": -1.5},
    }
    assert read_machine(tmp_path / "nothing") == []


def test_a_machine_without_readings_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from iotwire.cli import demo

    monkeypatch.setattr(demo, "read_machine", list)
    assert main(["demo"]) == 1
    assert "--payload" in capsys.readouterr().err


def test_the_name_of_a_gateway_fits_into_a_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, level in (("pi-4.local", "pi-4.local"), ("a/b+c#d", "a-b-c-d"), ("", "gateway")):
        monkeypatch.setattr("platform.node", lambda name=name: name)
        assert gateway_name() == level


@pytest.fixture
def device(tmp_path: Path) -> X509:
    pytest.importorskip("cryptography")
    from iotwire.emulator.pki import Authority

    return Authority(tmp_path).issue_device("device")


ENDPOINT = "a1b2c3d4e5-ats.iot.eu-central-1.amazonaws.com"


def files_of(device: X509, key: object = None) -> tuple[str, ...]:
    return "--cert", str(device.cert), "--key", str(key or device.key), "--ca", str(device.ca)


def test_preflight_shows_what_will_be_sent(device: X509) -> None:
    done = run("preflight", ENDPOINT, *files_of(device), "--port", "443")
    assert (done.returncode, done.stderr) == (0, "")
    assert "row 2 of the matrix: MQTT, X.509 client certificate, port 443, ALPN x-amzn-mqtt-ca" in done.stdout
    assert re.search(rf"^  ok +SNI +{re.escape(ENDPOINT)}$", done.stdout, re.MULTILINE)
    assert re.search(r"^  ok +ALPN +x-amzn-mqtt-ca$", done.stdout, re.MULTILINE)
    assert "TLS_AES_128_GCM_SHA256" in done.stdout
    assert done.stdout.endswith("no errors, no warnings; nothing was sent\n")


def test_preflight_fails_with_an_error_among_the_findings(device: X509) -> None:
    os.remove(device.key)
    done = run("preflight", ENDPOINT, *files_of(device), "--alpn", "none")
    assert done.returncode == 1
    assert re.search(r"^  error +certificate +.*device\.key", done.stdout, re.MULTILINE)
    assert "1 error, no warnings" in done.stdout


def test_preflight_reads_the_password_of_a_key_from_a_file(device: X509, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(Path(device.key).read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"hidden")
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)  # type: ignore[arg-type]
    )
    password = tmp_path / "password"
    password.write_text("hidden\n")
    arguments = ("preflight", ENDPOINT, *files_of(device, encrypted))
    done = run(*arguments, "--key-password-file", str(password))
    assert (done.returncode, done.stderr) == (0, "")
    assert "hidden" not in done.stdout
    assert run(*arguments).returncode == 1
    done = run(*arguments, "--key-password-file", str(tmp_path / "nothing"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "nothing" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("preflight",),
        ("preflight", ENDPOINT),
        ("preflight", ENDPOINT, "--cert", "c", "--key", "k", "--protocol", "smoke"),
        ("probe",),
        ("probe", "https://a.test/"),
        ("probe", "a.test:x"),
        ("probe", "a.test:0"),
        ("probe", "a.test:"),
        ("probe", "a.test", "--timeout", "0"),
        ("probe", "a.test", "-4", "-6"),
    ],
)
def test_wrong_arguments_are_a_usage_error(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_of:
        main(arguments)
    assert exit_of.value.code == 2
    assert f"usage: iotwire {arguments[0]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.test", ("a.test", None)),
        ("a.test:8883", ("a.test", 8883)),
        ("192.0.2.7:443", ("192.0.2.7", 443)),
        ("::1", ("::1", None)),
        ("[::1]", ("::1", None)),
        ("[::1]:443", ("::1", 443)),
        ("2001:db8::443", ("2001:db8::443", None)),
    ],
)
def test_a_place_is_a_host_with_a_port_or_without(text: str, expected: tuple[str, int | None]) -> None:
    assert place(text) == expected


def test_probe_shows_what_is_selected_and_what_to_think_of_it(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from iotwire.emulator.pki import Authority

    server = Authority(tmp_path).issue_server(["a.test"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    context.set_alpn_protocols(["mqtt"])

    def serve() -> None:
        with suppress(OSError):  # it is closed below
            while True:
                accepted, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(accepted, server_side=True):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        done = run("probe", f"127.0.0.1:{port}", "-4", "--sni", "a.test", "--alpn", "mqtt", "--alpn", "x-amzn-mqtt-ca")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(TIME_LIMIT_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"127.0.0.1:{port}, 12 hellos\n")
    with_sni, _, without_sni = done.stdout.partition("without SNI")
    for part in (with_sni, without_sni):
        assert re.search(r"^  none +1\.3 +[\d.]+ ms  TLS_AES_\w+$", part, re.MULTILINE)
        assert re.search(r"^  mqtt +1\.2 +[\d.]+ ms  TLS_ECDHE_\w+, ALPN mqtt$", part, re.MULTILINE)
        assert re.search(r"^  x-amzn-mqtt-ca +1\.2 +[\d.]+ ms  TLS_ECDHE_\w+, no ALPN$", part, re.MULTILINE)
        assert re.search(r"^  mqtt +1\.3 +[\d.]+ ms  TLS_AES_\w+, ALPN encrypted in 1\.3$", part, re.MULTILINE)
    assert "ALPN x-amzn-mqtt-ca is offered and nothing is selected" in done.stdout
    assert "\x1b" not in done.stdout


def test_probe_of_what_is_not_tls_fails_and_says_what_answered() -> None:
    def serve() -> None:
        with suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                with suppress(OSError), accepted:
                    if accepted.recv(65536):
                        accepted.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        done = run("probe", f"127.0.0.1:{listener.getsockname()[1]}")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(TIME_LIMIT_S)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count('not TLS: "HTTP/1.0 400 Bad Request"') == 2
    assert "Ask for the address of the proxy" in done.stdout.replace("\n  ", " ")


def test_probe_of_a_port_where_nothing_listens_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = run("probe", f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"127.0.0.1:{port}" in done.stderr
