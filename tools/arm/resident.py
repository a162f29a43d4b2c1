"""How much of an emulated program's memory is resident: its own pages, without the emulator's.

QEMU's user mode puts the guest into its own address space, beside its code, its tables and the code it translated, and
VmRSS is the sum of all. So the guest tells which addresses it has mapped (QEMU answers its /proc/self/maps with the
guest's own), and the kernel tells which pages of these are present (/proc/PID/pagemap of the emulator). That is
what VmRSS counts on a board: a page that was touched, whether of a file or not.
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PAGE = mmap.PAGESIZE
ENTRY = struct.Struct("=Q")
PRESENT, SWAPPED = 1 << 63, 1 << 62
END = "end of maps"

# Runs in the measured interpreter, after what it is measured for: says what it has mapped, and waits to be looked at.
TELL = f"""
import sys
with open("/proc/self/maps") as maps:
    sys.stdout.write(maps.read())
print({END!r}, flush=True)
sys.stdin.read()
"""


class Row(NamedTuple):
    """A row of a maps file."""

    start: int
    end: int
    offset: int
    path: str  # or a name in brackets, or nothing


def resident_bytes(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a command that ends in TELL, emulated or not, and count its own pages."""
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin
        assert program.stdout
        told = []
        for line in program.stdout:
            if line.strip() == END:
                break
            told.append(line)
        else:
            raise SystemExit(f"the measured program failed: {command[-1]}")
        place = Path("/proc", str(program.pid))
        own, whole = list(_rows(told)), list(_rows((place / "maps").read_text().splitlines()))
        found = _present(place / "pagemap", own, _base(own, whole))
        program.stdin.close()
    return found


def _rows(lines: Sequence[str]) -> Iterator[Row]:
    for line in lines:
        addresses, _, offset, _, _, *path = line.split(maxsplit=5)
        start, end = (int(address, 16) for address in addresses.split("-"))
        yield Row(start, end, int(offset, 16), path[0].strip() if path else "")


def _base(own: Sequence[Row], whole: Sequence[Row]) -> int:
    """What QEMU adds to an address of the guest: the same for the beginning of every file that both have mapped."""
    guests, hosts = (
        {row.path: row.start for row in rows if row.path.startswith("/") and row.offset == 0} for rows in (own, whole)
    )
    bases = {hosts[path] - start for path, start in guests.items() if path in hosts}
    if len(bases) != 1:
        raise SystemExit(f"the guest's memory cannot be told from the emulator's: it is at {sorted(bases)}")
    return bases.pop()


def _present(pagemap: Path, rows: Sequence[Row], base: int) -> int:
    found = 0
    with pagemap.open("rb", buffering=0) as entries:
        for row in rows:
            if row.path in {"[vsyscall]", "[vvar]", "[vvar_vclock]", "[vdso]"}:
                continue  # the kernel's, and no part of VmRSS
            first, pages = (row.start + base) // PAGE, (row.end - row.start) // PAGE
            data = os.pread(entries.fileno(), pages * ENTRY.size, first * ENTRY.size)
            found += sum(1 for (entry,) in ENTRY.iter_unpack(data) if entry & (PRESENT | SWAPPED))
    return found * PAGE
