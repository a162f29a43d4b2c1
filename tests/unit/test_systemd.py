"""What the service manager is told, over sockets of a test's own in its place."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from iotwire import systemd
from scripted import asynchronous
from service_manager import Manager

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is for Linux")


@pytest.fixture(params=["a path", "an abstract socket"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    is_path = request.param == "a path"
    made = Manager(str(tmp_path / "notify") if is_path else f"@iotwire-{secrets.token_hex(8)}")
    monkeypatch.setenv("NOTIFY_SOCKET", made.address)
    with made.socket:
        yield made


@pytest.mark.parametrize(
    ("call", "datagram"),
    [
        (lambda: systemd.ready(), "READY=1"),
        (lambda: systemd.ready("12 meters"), "READY=1\nSTATUS=12 meters"),
        (lambda: systemd.stopping(), "STOPPING=1"),
        (lambda: systemd.status("reading"), "STATUS=reading"),
        (lambda: systemd.status("a\nREADY=1\r\nb\n"), "STATUS=a READY=1 b"),  # a value begins no field of its own
        (lambda: systemd.status("\ud800 é"), "STATUS=? é"),
        (lambda: systemd.watchdog(), "WATCHDOG=1"),
        (lambda: systemd.notify(RELOADING=1, MONOTONIC_USEC=5), "RELOADING=1\nMONOTONIC_USEC=5"),
    ],
)
def test_each_call_is_one_datagram(manager: Manager, call: Callable[[], bool], datagram: str) -> None:
    assert call()
    assert manager.told() == [datagram]


@pytest.mark.parametrize("address", [None, ""])
def test_without_a_manager_nothing_is_said(
    address: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not systemd.ready()
    assert not caplog.records


@pytest.mark.parametrize(
    "address",
    [
        "/nobody/is/here",
        "@nobody-is-here",
        "/" + "x" * 200,
        "@" + "x" * 200,
        "relative",
        "vsock:2:1234",
        "/",
        "@",
        "/a\0b",
    ],
)
def test_a_manager_that_cannot_be_told_ends_nothing(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "environ", {"NOTIFY_SOCKET": address})
    assert not systemd.ready("a secret")
    [record] = caplog.records
    assert record.getMessage().startswith("the service manager was not told READY, STATUS: ")
    assert "a secret" not in record.getMessage()


def test_a_manager_that_does_not_listen_holds_nobody_up(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    began = time.monotonic()
    count = 0
    while systemd.watchdog():
        count += 1
        assert count < 100_000
    assert time.monotonic() - began < 5
    assert caplog.records
    assert manager.told() == ["WATCHDOG=1"] * count
    assert systemd.watchdog()


def test_the_sockets_are_closed(manager: Manager) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        systemd.status("reading")
    assert len(os.listdir("/proc/self/fd")) == before


# The watchdog.

OWN = str(os.getpid())


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("30000000", OWN, 30.0),
        ("1", OWN, 0.000001),
        ("30000000", None, 30.0),  # who started it says nothing of a process
        ("30000000", "1", None),  # this is a child of the one that is watched
        ("30000000", "", None),
        ("30000000", f"{OWN} ", None),
        ("0", OWN, None),
        ("-1", OWN, None),
        ("1.5", OWN, None),
        ("\u0661", OWN, None),
        ("", OWN, None),
        (None, OWN, None),
        (str((1 << 64) - 1), OWN, None),
        ("9" * 5000, OWN, None),
    ],
)
def test_the_interval_is_that_of_this_process(
    usec: str | None, pid: str | None, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert systemd.watchdog_interval_s() == expected


@pytest.fixture
def watched(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Manager:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setenv("WATCHDOG_PID", OWN)
    return manager


def gaps_of(manager: Manager, seconds: float) -> list[float]:
    """The times between the signs of life that come meanwhile."""
    times = [time.monotonic()]
    while times[0] + seconds > time.monotonic():
        times += [time.monotonic()] * manager.told().count("WATCHDOG=1")
        time.sleep(0.001)
    return [after - before for before, after in pairwise(times)]


@asynchronous
async def test_a_loop_gives_signs_at_half_the_interval(watched: Manager) -> None:
    watchdog = systemd.Watchdog()
    assert watchdog.beat_s == 0.05
    alive = asyncio.create_task(watchdog.keep())
    gaps = await asyncio.to_thread(gaps_of, watched, 0.6)
    alive.cancel()
    assert 4 <= len(gaps) <= 13
    assert sorted(gaps)[len(gaps) // 2] < 0.1


@asynchronous
async def test_a_loop_that_hangs_gives_none(watched: Manager) -> None:
    alive = asyncio.create_task(systemd.Watchdog().keep())
    await asyncio.sleep(0.12)
    assert watched.told()
    time.sleep(0.3)  # noqa: ASYNC251 -- that is what is tried
    assert watched.told() == []
    await asyncio.sleep(0.12)
    assert watched.told()
    alive.cancel()


@asynchronous
async def test_what_is_not_well_gives_none(watched: Manager) -> None:
    is_well = False
    alive = asyncio.create_task(systemd.Watchdog(lambda: is_well).keep())
    await asyncio.sleep(0.12)
    assert watched.told() == []
    is_well = True
    await asyncio.sleep(0.12)
    assert watched.told()
    alive.cancel()


@pytest.mark.parametrize("round_s", [0.001, 0.045, 0.05])
def test_a_thread_gives_signs_in_time_however_often_it_comes_round(watched: Manager, round_s: float) -> None:
    watchdog = systemd.Watchdog()
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(round_s):
            watchdog.beat()

    thread = threading.Thread(target=work)
    thread.start()
    gaps = gaps_of(watched, 0.6)
    ended.set()
    thread.join()
    assert 4 <= len(gaps) <= 25
    assert sorted(gaps)[len(gaps) // 2] < 0.1


@asynchronous
async def test_where_nobody_waits_for_signs_none_are_given(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    watchdog = systemd.Watchdog()
    assert watchdog.beat_s is None
    watchdog.beat()
    await watchdog.keep()
    assert manager.told() == []


def test_telling_the_manager_loads_no_asyncio() -> None:
    program = "import sys, iotwire.systemd; print('asyncio' in sys.modules, 'ssl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False False\n"
