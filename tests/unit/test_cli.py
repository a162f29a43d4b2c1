"""The `iotwire` command: run as people run it, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from iotwire import __version__
from iotwire.cli import main
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


@pytest.mark.parametrize("arguments", [(), ("dance",), ("demo", "--seconds", "0"), ("demo", "--version", "3")])
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
    counts = [
        int(re.search(rf"^  {name} +(\d+)$", done.stdout, re.MULTILINE)[1])
        for name in ("sent", "acknowledged", "received")
    ]  # type: ignore[index]
    assert counts[0] >= 3
    assert len(set(counts)) == 1
    lines = [line for line in done.stdout.splitlines() if f"gateways/{gateway_name()}/" in line]
    assert len(lines) == counts[0]
    assert re.search(r"latency +[\d.]+ ms median, [\d.]+ ms worst", done.stdout)
    assert re.search(r"publisher +\d+ bytes of MQTT sent, \d+ received", done.stdout)
    assert "row 1 of the matrix" in done.stdout
    assert "TLSv1.3" in done.stdout
    assert "\x1b" not in done.stdout  # nobody looks at a pipe's colours


def test_the_demo_sends_a_text_of_ones_own() -> None:
    pytest.importorskip("cryptography")
    done = run("demo", "--seconds", "0.1", "--payload", "21.5 °C")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"gateways/{gateway_name()}/text" in done.stdout


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

    def lose_the_second(hub: Hub, message, publisher):  # type: ignore[no-untyped-def]
        if hub.stats.messages_received == 1:
            hub.stats.messages_received += 1
            return 0
        return publish(hub, message, publisher)

    monkeypatch.setattr(Hub, "publish", lose_the_second)
    monkeypatch.setattr(demo, "ARRIVAL_TIMEOUT_S", 0.2)
    assert main(["demo", "--seconds", "0.2", "--interval", "0.1", "--payload", "x"]) == 1
    printed = capsys.readouterr().out
    assert "1 missing" in printed
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
