"""The plug is pulled at any write: what was reported stored is there when the power is back.

A program's writes are recorded, with every wait for the disk. A disk that loses its power has what was waited for, and
of what was written since any part: some writes and not others, and of a write some sectors and not others. Such disks
are made from the record, IOTWIRE_FAULTS (5 unless it is set) times 8, and the outbox is opened on each.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from faultruns import FAULTS
from iotwire.outbox import Outbox, OutboxView
from support import build_preloaded
from tallies import Tally, chance_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 12 * FAULTS)]

WRITE, TRUNCATE, SYNC, UNLINK = 1, 2, 3, 4
FOLDER = "recorded"
SECTOR_BYTES = 512
TOPIC = "k"

# Stores and removes, with a little of everything between; says what it has been told is stored, and what it gave up.
PROGRAM = """
import random, sys, threading
from iotwire.outbox import Change, Outbox

path, said, sync = sys.argv[1], open(sys.argv[2], "ab", buffering=0), sys.argv[3]
chance = random.Random(7)
with Outbox(path, sync=sync, sync_interval_s=0.05, commit_window_s=0.001) as outbox:
    outbox.attach("program", "c at s")
    number = 0
    for _ in range(120):
        tickets = []
        for _ in range(chance.randrange(1, 30)):
            size = chance.choice([0, 20, 200, 5000])
            tickets.append((number, outbox.put("k", b"%d:" % number + b"x" * size, 2)))
            number += 1
        for _, ticket in tickets:
            ticket.wait()
        said.write(b"".join(b"+%d\\n" % each for each, _ in tickets))
        arrived = threading.Event()
        taken = []
        def deliver(messages):
            taken.extend(messages)
            arrived.set()
        outbox.fetch(chance.randrange(1, 25), 1 << 20, deliver)
        arrived.wait()
        told = threading.Event()
        outbox.keep([Change("sent", 1 + each.id % 60000, each.id) for each in taken[:3]], lambda error: told.set())
        told.wait()
        said.write(b"".join(b"-%d\\n" % int(each.payload.partition(b":")[0]) for each in taken))
        for each in taken:
            outbox.done(each.id)
"""


class Record(NamedTuple):
    """Of the program. at: where in the file, or for TRUNCATE its new size."""

    what: int
    path: str
    at: int
    data: bytes


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_preloaded("record_writes.c", tmp_path_factory.mktemp("recorder"))


def record_program(recorder: Path, folder: Path, sync: str) -> list[Record]:
    recorded, log = folder / FOLDER, folder / "record"
    recorded.mkdir()
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(recorded / "outbox.db"), str(recorded / "said"), sync],
        env={**os.environ, "LD_PRELOAD": str(recorder), "RECORD": str(log), "RECORDED_FOLDER": str(recorded)},
        check=True,
        timeout=100,
    )
    return list(read_records(log.read_bytes()))


def read_records(data: bytes) -> Iterator[Record]:
    at = 0
    while at < len(data):
        what, place, size, path_size = struct.unpack_from("=4q", data, at)
        at += 32
        path = data[at : at + path_size].decode()
        at += path_size
        content = data[at : at + size] if what == WRITE else b""
        at += len(content)
        yield Record(what, Path(path).name, place, content)


def disk_at(records: list[Record], end: int, chance: random.Random) -> dict[str, bytearray]:
    """What the disk may have when the power goes after `end` records."""
    last_sync = {record.path: at for at, record in enumerate(records[:end]) if record.what == SYNC}
    share = chance.choice([0.0, 0.5, 0.9, 1.0])
    files: dict[str, bytearray] = {}
    for at, record in enumerate(records[:end]):
        if record.what == SYNC:
            continue
        # That a file is gone is the folder's to keep.
        is_safe = at < last_sync.get(FOLDER if record.what == UNLINK else record.path, -1)
        content = files.setdefault(record.path, bytearray())
        if record.what == UNLINK:
            if is_safe or chance.random() < share:
                del files[record.path]
        elif record.what == TRUNCATE:
            if is_safe or chance.random() < share:
                del content[record.at :]
                content.extend(bytes(record.at - len(content)))
        else:
            for start in range(0, len(record.data), SECTOR_BYTES):
                if is_safe or chance.random() < share:
                    piece = record.data[start : start + SECTOR_BYTES]
                    place = record.at + start
                    content.extend(bytes(max(0, place + len(piece) - len(content))))
                    content[place : place + len(piece)] = piece
    return files


def said_before(records: list[Record], end: int) -> tuple[set[int], set[int]]:
    """What the program had said was stored by then, and what it may have removed."""
    lines = b"".join(record.data for record in records[:end] if record.path == "said").split()
    return {int(line[1:]) for line in lines if line[:1] == b"+"}, {int(line[1:]) for line in lines if line[:1] == b"-"}


def numbers_in(path: Path) -> list[int]:
    with OutboxView(path) as view:
        return [int(each.message.payload.partition(b":")[0]) for each in view.messages()]


@pytest.mark.parametrize("sync", ["always", "interval"])
def test_what_was_reported_stored_survives_a_pulled_plug(sync: str, recorder: Path, tmp_path: Path) -> None:
    records = record_program(recorder, tmp_path, sync)
    forced = [at for at, record in enumerate(records) if record.what == SYNC and record.path == "outbox.db-wal"]
    tally = Tally(f"power cuts, sync={sync}", [2])
    chance = chance_of(tally.run)
    ends = [chance.randrange(forced[0] + 1, len(records)) for _ in range(8 * FAULTS)]
    counts = tally.counts[2]
    for number, end in enumerate(ends):
        # What counts is what had been said when the disk was waited for the last time; "always" waits before it says.
        promised = end if sync == "always" else max(at for at in forced if at < end)
        stored, _ = said_before(records, promised)
        _, removed = said_before(records, end)
        folder = tmp_path / f"disk-{number}"
        folder.mkdir()
        for name, content in disk_at(records, end, chance).items():
            if name != "said":
                (folder / name).write_bytes(content)
        with Outbox(folder / "outbox.db"):  # as a program does that is started again
            pass
        found = numbers_in(folder / "outbox.db")
        assert not list(folder.glob("*damaged*")), f"after {end} of {len(records)} records"
        assert len(found) == len(set(found))
        assert stored - removed <= set(found), f"after {end} of {len(records)} records"
        # What is found on a disk is what leaves it.
        tally.faults["power"] += 1
        counts.stored |= {(number, each) for each in stored - removed}
        counts.arrived.update((number, each) for each in found)
        for file in folder.iterdir():
            file.unlink()
    counts.sent |= counts.arrived.keys()
    tally.notes.append("delivered: found on the disk that was left, and it would leave")
    tally.check()
    assert len(counts.arrived) > 20 * FAULTS
