"""The example of a gateway: examples/bridge.py as a process, between a mosquitto and the emulator."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import pytest

from brokers import HOST, Mosquitto
from iotwire import Client
from iotwire.emulator import Emulator
from relays import Relay, relay
from running_emulator import environment_of
from scripted import asynchronous_on
from strangers import an_emulator_at
from support import CHECKOUT, IS_EMULATED

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(sys.platform != "linux", reason="systemd is for Linux"),
    pytest.mark.skipif(IS_EMULATED, reason="no time for it: Python alone, which the machine itself has tried"),
]

EXAMPLES = CHECKOUT / "examples"
STOP_TIMEOUT_S = 15.0  # as the bridge has it


class Manager:
    """In systemd's place: the socket, and what came over it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self._told: list[str] = []

    @property
    def told(self) -> list[str]:
        """Lines, in order."""
        with suppress(BlockingIOError):
            while True:
                self._told += self.socket.recv(65536).decode().splitlines()
        return self._told


class Bridge:
    """The bridge, started as a unit would start it, any number of times."""

    def __init__(self, folder: Path, broker: Mosquitto, emulator: Emulator, uplink: Relay) -> None:
        self.manager = Manager(folder / "notify")
        self.metrics = folder / "bridge.prom"
        self.log = folder / "bridge.log"
        state = folder / "state"
        state.mkdir()
        self._environment = {
            **os.environ,
            **environment_of(emulator),
            "IOTWIRE_PORT_8883": str(uplink.port),
            "NOTIFY_SOCKET": str(self.manager.path),
            "STATE_DIRECTORY": str(state),
            "WATCHDOG_USEC": "2000000",
            "BRIDGE_HOST": HOST,
            "BRIDGE_PORT": str(broker.port),
            "BRIDGE_CLIENT_ID": "gateway-7",
            "BRIDGE_METRICS": str(self.metrics),
            "BRIDGE_REPORT_EVERY_S": "0.1",
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        self.manager.told.clear()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, str(EXAMPLES / "bridge.py"), env=self._environment, stdout=log, stderr=log
            )
        await self.until(lambda: "READY=1" in self.manager.told)

    async def end(self, number: signal.Signals) -> int:
        """Send it a signal that ends it: with which status it has, within its bound."""
        assert self._process is not None
        self._process.send_signal(number)
        return await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)

    async def close(self) -> None:
        self.manager.socket.close()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self._process is not None
            assert self._process.returncode is None, self.log.read_text()
            await asyncio.sleep(0.01)

    def on_disk(self) -> int:
        """What it has said last."""
        lines = [each for each in self.manager.told if each.startswith("STATUS=")]
        return int(lines[-1].split()[-3]) if lines else 0


@asynccontextmanager
async def a_bridge(folder: Path, broker: Mosquitto, emulator: Emulator, uplink: Relay) -> AsyncIterator[Bridge]:
    bridge = Bridge(folder, broker, emulator, uplink)
    try:
        yield bridge
    finally:
        await bridge.close()


class Cloud:
    """A client of the emulator that notes what the bridge forwards."""

    def __init__(self, emulator: Emulator) -> None:
        self.client = Client(emulator.endpoint.route("mqtt", emulator.device), "cloud")
        self.seen: list[tuple[str, bytes]] = []

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        self.client.on_message("gateways/#", lambda each: self.seen.append((each.topic, bytes(each.payload))))
        await self.client.subscribe("gateways/#", 1)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.client.disconnect()

    def has_all(self, count: int) -> bool:
        return len({payload for _, payload in self.seen}) == count


@asynchronous_on(None)
async def test_nothing_is_lost_when_it_is_killed_or_cut_off_and_sigterm_ends_it_in_time(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with (
            an_emulator_at(HOST) as emulator,
            relay(emulator.ports[8883]) as uplink,
            Cloud(emulator) as cloud,
            Client(broker.route(), "sensor") as sensor,
            a_bridge(tmp_path, broker, emulator, uplink) as bridge,
        ):
            numbers = iter(range(10_000))

            async def read(count: int) -> None:
                readings = [("sensors/load", b"%d" % next(numbers)) for _ in range(count)]
                report = await sensor.publish_many(readings, qos=1)
                assert report.acknowledged == count

            await bridge.start()
            await read(50)
            await bridge.until(lambda: cloud.has_all(50))

            uplink.cut()  # from here on all is for the disk
            await read(80)
            await bridge.until(lambda: bridge.on_disk() > 0)
            await read(20)
            assert await bridge.end(signal.SIGKILL) == -signal.SIGKILL
            await read(100)  # while there is no bridge: the local broker keeps them
            await bridge.start()
            await read(30)
            assert cloud.has_all(50)
            await uplink.mend()
            await bridge.until(lambda: cloud.has_all(280))

            await read(60)
            assert await bridge.end(signal.SIGKILL) == -signal.SIGKILL  # in the midst of forwarding
            await bridge.start()
            await bridge.until(lambda: cloud.has_all(340))
            await bridge.until(lambda: "WATCHDOG=1" in bridge.manager.told)
            await bridge.until(lambda: 'iotwire_outbox_messages{client="cloud"} 0\n' in bridge.metrics.read_text())
            assert await bridge.end(signal.SIGTERM) == 0, bridge.log.read_text()
            told = bridge.manager.told
            assert told.index("READY=1") < told.index("STOPPING=1")
            assert {topic for topic, _ in cloud.seen} == {"gateways/gateway-7/sensors/load"}
            assert 'iotwire_connections_total{client="local"} 1\n' in bridge.metrics.read_text()
            log = bridge.log.read_text()
            assert "state=connected client_id=gateway-7 host=127.0.0.1" in log
            assert "Traceback" not in log


@asynchronous_on(None)
async def test_it_ends_in_time_without_an_uplink_too_and_what_it_has_is_forwarded_later(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        async with (
            an_emulator_at(HOST) as emulator,
            relay(emulator.ports[8883]) as uplink,
            Cloud(emulator) as cloud,
            Client(broker.route(), "sensor") as sensor,
            a_bridge(tmp_path, broker, emulator, uplink) as bridge,
        ):
            uplink.cut()
            await bridge.start()
            await sensor.publish("sensors/load", b"21.5", 1)
            await sensor.publish("sensors/" + "a/" * 8, b"what the service never takes", 1)
            await bridge.until(lambda: bridge.on_disk() == 1)
            await bridge.until(lambda: "is not forwarded" in bridge.log.read_text())
            assert await bridge.end(signal.SIGTERM) == 0, bridge.log.read_text()
            await uplink.mend()
            await bridge.start()
            await bridge.until(lambda: cloud.has_all(1))
            assert await bridge.end(signal.SIGINT) == 0, bridge.log.read_text()


def test_the_bridge_is_short_enough_to_be_read() -> None:
    assert len((EXAMPLES / "bridge.py").read_text().splitlines()) < 120


def test_the_unit_fits_the_bridge() -> None:
    unit = (EXAMPLES / "iotwire-bridge.service").read_text()
    settings = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    assert settings["Type"] == "notify"
    assert float(settings["TimeoutStopSec"]) > STOP_TIMEOUT_S
    assert f"stop_timeout_s={STOP_TIMEOUT_S:g}" in (EXAMPLES / "bridge.py").read_text()
    assert float(settings["WatchdogSec"]) > 0
