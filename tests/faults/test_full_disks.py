"""A disk that is full: the program is told so and goes on, and what was stored before is there and arrives.

A disk is a small tmpfs where this user may mount one, and a bound on the size of the program's files anywhere. It fills
IOTWIRE_FAULTS times (5 unless it is set), and grows each time; every second time the program is killed while it is
full, and the next one starts on the full disk.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import Mosquitto
from faultruns import FAULTS
from programs import AcknowledgedWire, Publisher, drain, taking
from relays import relay
from tallies import Tally, chance_of

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(180 + 15 * FAULTS)]


class BoundedFiles:
    """As a disk to the program: no file of it grows beyond a size."""

    what = "bounded files"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, most: int, publisher: Publisher) -> None:
        publisher.limit(resource.RLIMIT_FSIZE, most)

    def close(self) -> None: ...


class SmallDisk:
    what = "tmpfs"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk"
        self.folder.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", self.folder], capture_output=True, text=True, check=False
        )
        if mounted.returncode:
            pytest.skip(f"nothing can be mounted here ({mounted.stderr.strip()}); bounded files are tried")

    def resize(self, most: int, publisher: Publisher) -> None:
        subprocess.run(["mount", "-o", f"remount,size={most}", self.folder], check=True)

    def close(self) -> None:
        subprocess.run(["umount", self.folder], check=True)


@contextmanager
def disk_in(folder: Path, kind: type[SmallDisk | BoundedFiles]) -> Iterator[SmallDisk | BoundedFiles]:
    try:
        disk = kind(folder)
    except FileNotFoundError:
        pytest.skip("there is no mount here; bounded files are tried")
    try:
        yield disk
    finally:
        disk.close()


async def fill_again_and_again(disk: SmallDisk | BoundedFiles, broker: Mosquitto, kind: str, tally: Tally) -> None:
    chance = chance_of(tally.run)
    wire = AcknowledgedWire(5, tally)
    most = 256 * 1024
    run = iter(range(1_000_000))
    async with taking(broker, tally) as taker, relay(broker.port, wire) as way:
        way.refuse()  # so that the disk fills
        words = [kind, str(disk.folder / "outbox.db"), str(way.port)]
        fills = 0
        while fills < FAULTS:
            async with Publisher(tally, *words, str(next(run))) as publisher:
                while fills < FAULTS:
                    disk.resize(most, publisher)
                    await publisher.has_failed(3)
                    assert all(each.startswith("OutboxError ") for each in publisher.errors), publisher.errors[-3:]
                    assert any("disk is full" in each or "disk I/O error" in each for each in publisher.errors), (
                        publisher.errors[-3:]
                    )
                    fills += 1
                    tally.faults["full disk"] += 1
                    most += chance.randrange(64, 512) * 1024
                    if fills % 2:
                        break
                    disk.resize(most, publisher)
                    await publisher.has_stored()
            tally.faults["process"] += 1
        await way.mend()
        disk.resize(most * 2, publisher)
        await drain(tally, *words, "")
        await taker.end()


@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
@pytest.mark.parametrize("disk_kind", [SmallDisk, BoundedFiles])
def test_a_full_disk_is_said_to_be_full_and_nothing_that_was_stored_is_lost(
    kind: str, disk_kind: type[SmallDisk | BoundedFiles], tmp_path: Path
) -> None:
    broker_folder = tmp_path / "broker"
    broker_folder.mkdir()
    tally = Tally(f"{kind} program, {disk_kind.what}")
    with (
        disk_in(tmp_path, disk_kind) as disk,
        Mosquitto(broker_folder, further=["max_queued_messages 0"]) as broker,
    ):
        asyncio.run(fill_again_and_again(disk, broker, kind, tally))
    assert not list(tmp_path.rglob("*damaged*"))
    tally.check()
