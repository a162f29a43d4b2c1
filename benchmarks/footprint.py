"""What an installed iotwire takes on each architecture: bytes on disk, and what an import costs. `make footprint`.

No board is needed: the release's wheels are installed beside Debian's CPython and run under QEMU, as in boards.py. A
clock would time the emulator, so the work of an import is counted in instructions. Memory is the guest's own resident
pages, the emulator's left out (tools/arm/resident.py). Where this machine is of a measured architecture the same
interpreter also runs without QEMU, and the kernel's VmRSS stands beside the emulated figures, to judge these by.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tools" / "arm"))

from counting import marks  # noqa: E402
from cross import VERSION, build_wheels  # noqa: E402
from emulation import command_of, environment, install, native_command_of  # noqa: E402
from places import BUILD, say  # noqa: E402
from resident import TELL, resident_bytes  # noqa: E402
from targets import BOARDS, Board, target_named  # noqa: E402

# Of the MQTT codec and the session: what another client that builds on them needs.
SIZE_LIMIT_BYTES = 1_000_000
CODEC = "iotwire's codec and session alone"
# Its files and folders, without their endings: a module's name ends with the interpreter that it is for.
CODEC_PARTS = frozenset(
    (
        *("__init__", "_lazy", "errors", "mqtt", "py", "_codes", "_enums"),
        *(
            "_classes",
            "_cpu",
            "_decoder",
            "_faults",
            "_mqtt",
            "_properties",
            "_publish",
            "_session",
            "_text",
            "_topics",
        ),
        *("_arguments", "_capi", "_cursor", "_emit", "_frame", "_outgoing", "_recent", "_threads"),
    )
)
MEMORY_LIMIT_MB = 1.5

MEASURED = ("x86_64", "aarch64", "armv7l", "armv6l")
# What each peer is called where it is installed from; mqtt5 has no wheel for the rest.
PEERS = {"mqtt5": ("mqtt5==0.8.0", MEASURED[:3]), "paho_mqtt": ("paho-mqtt==2.2.0", MEASURED)}
BARE = "bare Python"
IMPORTS = {
    BARE: ("", "pass"),
    "iotwire.mqtt": ("iotwire", "import iotwire.mqtt"),
    "iotwire's Client, Endpoint and X509": ("iotwire", "from iotwire import Client, Endpoint, X509"),
    "mqtt5": ("mqtt5", "import mqtt5"),
    "paho.mqtt.client": ("paho_mqtt", "import paho.mqtt.client"),
}
# Collected before the import, so that garbage of the start-up is not counted for or against a module.
COUNTED = "from os import getppid as mark\nimport gc\ngc.collect()\nmark()\n{statement}\nmark()\n"
LOOKED_AT = "import gc\ngc.collect()\n{statement}\n" + TELL
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass
class Footprint:
    """The figures of one board."""

    bytes_on_disk: dict[str, int] = field(default_factory=dict)  # by distribution
    instructions: dict[str, int] = field(default_factory=dict)  # by import: what it adds; bare Python: its start-up
    resident_mb: dict[str, float] = field(default_factory=dict)  # the same
    native_mb: dict[str, float] = field(default_factory=dict)  # the same, measured without QEMU


def footprint_on(board: Board, wheel: Path, runs: int) -> Footprint:
    """Install, look at the files, and import in fresh interpreters."""
    board = replace(board, further=(), constraints=())  # bare: what Debian packages for tests is not on its path
    python = environment(board, BUILD / "boards" / f"{board.name}-footprint")
    peers = {name: wanted for name, (wanted, boards) in PEERS.items() if board.name in boards}
    install(board, python, "--no-deps", str(wheel), *peers.values())

    found, installed = Footprint(), ("iotwire", *peers)
    packages = python.parent.parent / "lib" / f"python{VERSION}" / "site-packages"
    found.bytes_on_disk = {name: bytes_of(packages, name) for name in installed}
    found.bytes_on_disk[CODEC] = bytes_of(packages, "iotwire", CODEC_PARTS)
    statements = {name: statement for name, (needed, statement) in IMPORTS.items() if needed in ("", *installed)}
    for name, statement in statements.items():
        started, ended = marks(board, python, COUNTED.format(statement=statement), (), ENVIRONMENT)
        found.instructions[name] = started if name == BARE else ended - started

    emulated = command_of(board, python, cpu=board.usual_cpu)
    found.resident_mb = added(emulated, python, statements, runs)
    if board.name == platform.machine():
        found.native_mb = added(native_command_of(board, python), python, statements, runs)
    say(f"{board.name}: measured")
    return found


def bytes_of(packages: Path, name: str, parts: frozenset[str] | None = None) -> int:
    """Bytes of an installed distribution's files, but for the bytecode, which is made on the device.

    parts: which files and folders of its package to count, named without their endings; None for all.
    """
    [record] = packages.glob(f"{name}-*.dist-info/RECORD")
    with record.open(newline="") as rows:
        files = [Path(path) for path, *_ in csv.reader(rows) if not path.endswith(".pyc")]
    counted = [
        path for path in files if parts is None or path.parts[0] != name or path.parts[1].partition(".")[0] in parts
    ]
    return sum((packages / path).stat().st_size for path in counted)


def added(command: tuple[str, ...], python: Path, statements: dict[str, str], runs: int) -> dict[str, float]:
    """Resident memory of bare Python and what each import adds to it, in MB: medians of runs that take turns."""
    program = python.with_name("looked_at.py")
    seen: dict[str, list[int]] = {name: [] for name in statements}
    for _ in range(runs + 1):
        for name, statement in statements.items():
            program.write_text(LOOKED_AT.format(statement=statement))
            seen[name].append(resident_bytes((*command, str(program)), os.environ | ENVIRONMENT))
    # The first of each brings the files into memory, where a device has them already.
    megabytes = {name: median(one[1:]) / 2**20 for name, one in seen.items()}
    return {name: one - (0 if name == BARE else megabytes[BARE]) for name, one in megabytes.items()}


Shown = Callable[[Footprint], dict[str, str]]


def table(title: str, figures: dict[str, Footprint], shown: Shown) -> Iterable[str]:
    """One kind of figure, as Markdown."""
    columns = {board: rows for board, found in figures.items() if (rows := shown(found))}
    yield f"| {title} | " + " | ".join(columns) + " |"
    yield "|---|" + "---:|" * len(columns)
    for name in next(iter(columns.values())):
        yield f"| {name} | " + " | ".join(rows.get(name, "-") for rows in columns.values()) + " |"
    yield ""


def tables(figures: dict[str, Footprint]) -> Iterable[str]:
    """All of them."""

    def kilobytes(found: Footprint) -> dict[str, str]:
        return {name: f"{size / 1000:,.0f}" for name, size in found.bytes_on_disk.items()}

    def millions(found: Footprint) -> dict[str, str]:
        return {_row(name): f"{count / 1e6:.1f}" for name, count in found.instructions.items()}

    def megabytes(found: Footprint) -> dict[str, str]:
        return {_row(name): f"{one:.2f}" for name, one in found.resident_mb.items()}

    def native(found: Footprint) -> dict[str, str]:
        return {
            _row(name): f"{one:.2f} ({found.resident_mb[name] / one - 1:+.0%})" for name, one in found.native_mb.items()
        }

    yield from table("installed, kB", figures, kilobytes)
    yield from table("million instructions", figures, millions)
    yield from table("resident memory, MB", figures, megabytes)
    if any(found.native_mb for found in figures.values()):
        yield from table("the same without QEMU (the emulated figure differs by)", figures, native)


def _row(name: str) -> str:
    return f"{name}, started" if name == BARE else f"+ {name}"


def missed(figures: dict[str, Footprint]) -> Iterable[str]:
    """A line for each aim that is not reached."""
    for board, found in figures.items():
        # A laptop has the room for it: the aim is of boards.
        if board != "x86_64" and (size := found.bytes_on_disk[CODEC]) > SIZE_LIMIT_BYTES:
            yield f"{board}: {size} bytes of codec and session installed; {SIZE_LIMIT_BYTES} is the aim"
        if (memory := found.resident_mb["iotwire.mqtt"]) > MEMORY_LIMIT_MB:
            yield f"{board}: import iotwire.mqtt adds {memory:.2f} MB; {MEMORY_LIMIT_MB} is the aim"


def main(arguments: list[str] | None = None) -> int:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("boards", nargs="*", default=MEASURED, help=f"of {', '.join(MEASURED)} (default: all)")
    parser.add_argument("--runs", type=int, default=5, help="fresh interpreters for each memory figure (default: 5)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE")
    options = parser.parse_args(arguments)

    boards = [board for board in BOARDS if board.name in options.boards]
    wheels = build_wheels([target_named(board.target) for board in boards])
    figures = {board.name: footprint_on(board, wheels[board.target], options.runs) for board in boards}
    print("\n".join(tables(figures)))
    if options.json:
        options.json.write_text(json.dumps({name: vars(found) for name, found in figures.items()}, indent=1) + "\n")
    complaints = list(missed(figures))
    print(*complaints, sep="\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
