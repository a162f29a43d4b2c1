"""Installs wheels as a user does: with pip and nothing else, on each board that they are for by their names.

What pip there would take is compared with what it should: a board that takes everything proves nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from emulation import command_of, environment, shown_to_pip, version_of
from packaging.tags import Tag, parse_tag
from packaging.utils import parse_wheel_filename
from places import BUILD, ROOT
from targets import BOARDS, Board, target_named

FIRST_USE = Path(__file__).with_name("first_use.py")
# Asked of pip itself, which brings its own idea of tags along.
PRINT_TAGS = "from pip._internal.utils.compatibility_tags import get_supported; print(*get_supported())"


@dataclass(frozen=True)
class Trial:
    """A wheel on a board: what it takes up there, what it printed, or what went wrong."""

    wheel: Path
    board: str
    installed_bytes: int = 0
    printed: str = ""
    wrong: str = ""

    def __str__(self) -> str:
        outcome = f"FAILED: {self.wrong.splitlines()[-1]}" if self.wrong else f"OK: {self.printed}"
        return f"{self.wheel.name}  {self.board}  {self.installed_bytes} bytes  {outcome}"


def trials_of(wheels: Sequence[Path]) -> list[Trial]:
    """Every wheel on every board that it is for; a wheel without one has failed."""
    boards = [replace(board, further=(), extras=(), constraints=()) for board in BOARDS if _is_of_a_release(board)]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as workers:
        found = [trial for trials in workers.map(lambda board: _trials_on(board, wheels), boards) for trial in trials]
    tried = {trial.wheel for trial in found}
    return found + [Trial(wheel, "none", wrong="no board is for it") for wheel in wheels if wheel not in tried]


def is_for(wheel: Path, board: Board) -> bool:
    """Whether a wheel should run on a board, as its name says."""
    library, machine = board.target.split("-")
    return all(
        (tag.platform.startswith(library) and tag.platform.endswith(f"_{machine}"))
        and (tag.abi == "abi3" or tag.interpreter == f"cp{version_of(board).replace('.', '')}")
        for tag in _tags_of(wheel)
    )


def _is_of_a_release(board: Board) -> bool:
    return target_named(board.target).released


def _tags_of(wheel: Path) -> frozenset[Tag]:
    return parse_wheel_filename(wheel.name)[3]


def _trials_on(board: Board, wheels: Sequence[Path]) -> list[Trial]:
    expected = [wheel for wheel in wheels if is_for(wheel, board)]
    if not expected:
        return []
    place = BUILD / "installed" / board.name
    try:
        taken = _taken_by_pip(board, environment(board, place))
    except SystemExit as error:  # what the board needs could not be had: no reason to lose sight of the others
        return [Trial(wheel, board.name, wrong=str(error)) for wheel in expected]
    refused = [Trial(wheel, board.name, wrong="pip refuses it") for wheel in expected if not _tags_of(wheel) & taken]
    unexpected = [wheel for wheel in wheels if wheel not in expected and _tags_of(wheel) & taken]
    found = [Trial(wheel, board.name, wrong="pip takes it") for wheel in unexpected]
    return refused + found + [_trial(board, place, wheel) for wheel in expected if _tags_of(wheel) & taken]


def _taken_by_pip(board: Board, python: Path) -> set[Tag]:
    command = (*command_of(board, shown_to_pip(board, python)), "-c", PRINT_TAGS)
    printed = subprocess.run(command, env=_bare_environment(), check=True, capture_output=True, text=True).stdout
    return {tag for word in printed.split() for tag in parse_tag(word)}


def _trial(board: Board, place: Path, wheel: Path) -> Trial:
    python = environment(board, place)
    installed_bytes = 0
    for command in (
        (python.with_name("pip"), "install", "-q", "--no-index", "--no-deps", wheel),
        (python, FIRST_USE, ROOT / "tests"),
    ):
        done = subprocess.run(command, cwd=place, env=_bare_environment(), check=False, capture_output=True, text=True)
        if done.returncode:
            return Trial(wheel, board.name, installed_bytes, wrong=done.stderr.strip() or f"exit {done.returncode}")
        packages = place / "lib" / f"python{version_of(board)}" / "site-packages"
        installed_bytes = sum(path.stat().st_size for path in packages.glob("iotwire*/**/*") if path.is_file())
    return Trial(wheel, board.name, installed_bytes, done.stdout.strip())


def _bare_environment() -> dict[str, str]:
    """Without what the caller's own Python is told."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"}
