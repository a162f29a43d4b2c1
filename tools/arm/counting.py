"""Counts guest instructions of an emulated board's Python: see count.c."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import debian
from emulation import command_of
from places import kept, run
from targets import Board

SOURCE = Path(__file__).with_name("count.c")


def plugin() -> Path:
    """The plugin, compiled for this machine."""

    def make(place: Path) -> None:
        flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared")
        run(["cc", *flags, "-o", place / "count.so", SOURCE], log=place / "log")

    return kept("plugin", "count", make, made_from=(SOURCE.read_text(), debian.host_architecture())) / "count.so"


def counts(board: Board, python: Path, program: str, arguments: Sequence[str], env: Mapping[str, str]) -> list[int]:
    """Run a program in a board's environment; the instructions between each two marks that it made."""
    made = marks(board, python, program, arguments, env)
    return [after - before for before, after in zip(made[::2], made[1::2], strict=True)]


def marks(board: Board, python: Path, program: str, arguments: Sequence[str], env: Mapping[str, str]) -> list[int]:
    """The same, but at each mark the instructions since the interpreter was started."""
    command = command_of(board, python, options=("-plugin", str(plugin())), cpu=board.usual_cpu)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "program.py"
        source.write_text(program)
        done = subprocess.run(
            [*command, str(source), *arguments], env=os.environ | env, check=False, capture_output=True, text=True
        )
    if done.returncode:
        raise SystemExit(f"{board.name}: the counted program failed\n{done.stderr[-3000:]}")
    return [int(number) for number in re.findall(r"^counted (\d+)$", done.stderr, re.MULTILINE)]
