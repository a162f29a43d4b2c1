"""Builds wheels for other boards and tries them on emulated ones: `python tools/arm VERB ...`.

wheels FOLDER      cross-build every wheel of a release into FOLDER; --abi3 TARGET ...: for the limited API these
install FOLDER     install each wheel of FOLDER on every board it is for, and run its codec there
test BOARD ...     the unit tests, the integration tests and the demo, on emulated boards; --parts: some of that
python BOARD ...   start a board's Python in the environment of its tests
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from cross import build_wheels
from emulation import command_of, environment, install
from installing import trials_of
from places import BUILD, ROOT, SHARED_VECTORS, say
from targets import BOARDS, TARGETS, Board, board_named, target_named

# Emulated, a test takes some ten times as long. A thread to watch over each would cost a megabyte, which QEMU keeps.
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=1800", "-o", "timeout_method=signal")

# What a board is tried by, unless it is told otherwise. "codec" is the part of "unit" that needs the codec alone.
WHOLE = ["unit", "integration", "demo", "text"]


def wheels(folder: Path, abi3: list[str]) -> int:
    """Every wheel of a release; of those for the limited API, where `abi3` names targets, theirs alone."""
    released = [target for target in TARGETS if target.released]
    limited = [target for target in released if not abi3 or target.name in abi3]
    built = [*build_wheels(released).values(), *build_wheels(limited, limited_api=True).values()]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for wheel in built:
        shutil.copy2(wheel, folder)
    print(*sorted(wheel.name for wheel in built), sep="\n")
    return 0


def install_each(folder: Path) -> int:
    """A line for each wheel and board; whether all is well."""
    trials = trials_of(sorted(folder.resolve().glob("*.whl")))
    for trial in trials:
        if trial.wrong:
            say(f"{trial.wheel.name} on {trial.board}: {trial.wrong}")
    print(*sorted(map(str, trials)), sep="\n")
    return 1 if not trials or any(trial.wrong for trial in trials) else 0


def test(boards: list[Board], kinds: list[str]) -> int:
    """Each board in a process of its own, and how each ended."""
    built = build_wheels([target_named(board.target) for board in boards])
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as workers:
        failed = list(workers.map(lambda board: _test(board, built[board.target], kinds), boards))
    return 1 if any(failed) else 0


def _test(board: Board, wheel: Path, kinds: list[str]) -> int:
    """Install the wheel as a user does, with what its tests need, and run them outside the checkout."""
    started = monotonic()
    place = BUILD / "boards" / board.name
    python = environment(board, place)
    install(board, python, f"{wheel}[{','.join(board.extras)}]")
    tree = place / "tree"
    # The sources are read by a test of the layers; the modules that run are the installed ones.
    for folder in ("tests", "ext", "src", "tools", "examples"):
        shutil.copytree(
            ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__")
        )
    shutil.copy2(ROOT / "pyproject.toml", tree)
    failed = 0
    for part in _parts(board, python, kinds):
        log = place / f"{part.name.replace(' ', '-')}.log"
        with log.open("wb") as output:
            done = subprocess.run(
                part.command, cwd=tree, env=part.environment, stdout=output, stderr=subprocess.STDOUT, check=False
            )
        lines = log.read_text(errors="replace").splitlines()
        shown = lines[-60:] if done.returncode else lines[-1:]
        verdict = "FAILED" if done.returncode else "passed"
        say("\n".join([f"{board.name}, {part.name}: {verdict}", *(f"  {line}" for line in shown)]))
        failed += done.returncode != 0
    say(f"{board.name}: {monotonic() - started:.0f} s")
    return failed


class Part(NamedTuple):
    """One of the runs that a board is tried by."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]


def _parts(board: Board, python: Path, kinds: list[str]) -> Iterator[Part]:
    env = os.environ | {"IOTWIRE_EMULATED": board.name, "PYTHONDONTWRITEBYTECODE": "1"}
    env.setdefault("IOTWIRE_SHARED_VECTORS", str(SHARED_VECTORS))
    if board.usual_cpu:
        env["IOTWIRE_EMULATED_NEON"] = "no"
    if board.codec_only:
        kinds = ["codec"]
    if "codec" in kinds:
        codec = sorted(
            str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "unit").glob("test_*.py") if is_codec(path)
        )
        yield Part("codec tests", (str(python), *PYTEST, "-m", "not slow", *codec), env)
    if "unit" in kinds:
        yield Part("unit tests", (str(python), *PYTEST, "tests/unit"), env | {"IOTWIRE_TESTS": "compiled"})
    if "integration" in kinds:
        yield Part("integration tests", (str(python), *PYTEST, "tests/integration"), env)
    if "demo" in kinds:
        yield Part("demo", (str(python), "-m", "iotwire", "demo"), env)
    if "text" in kinds and board.usual_cpu:
        usual = command_of(board, python, cpu=board.usual_cpu)
        text = (f"tests/unit/{name}.py" for name in ("test_cpu", "test_topics", "test_mqtt_vectors"))
        yield Part(f"text on {board.usual_cpu}", (*usual, *PYTEST, *text), env | {"IOTWIRE_EMULATED_NEON": "yes"})


def is_codec(test: Path) -> bool:
    """Whether a file of tests is about compiled code alone: then a board without cryptography has all that it needs."""
    return test.name.startswith(
        (
            *("test_mqtt_", "test_topics", "test_shared_vectors", "test_websocket_frames"),
            *("test_cpu", "test_custom_auth", "test_sha256", "test_sigv4_", "test_tls_"),
        )
    )


def main() -> int:
    """Take the command line."""
    parser = argparse.ArgumentParser(
        prog="tools/arm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    wheels_verb = verbs.add_parser("wheels")
    wheels_verb.add_argument("folder", type=Path)
    wheels_verb.add_argument(
        "--abi3", nargs="+", default=[], choices=[target.name for target in TARGETS if target.released]
    )
    verbs.add_parser("install").add_argument("folder", type=Path)
    names = [board.name for board in BOARDS if not board.bare]
    test_verb = verbs.add_parser("test")
    test_verb.add_argument("boards", nargs="+", choices=names)
    test_verb.add_argument("--parts", nargs="+", default=WHOLE, choices=["codec", *WHOLE])
    python = verbs.add_parser("python")
    python.add_argument("board", choices=names)
    python.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.verb == "wheels":
        return wheels(options.folder, options.abi3)
    if options.verb == "install":
        return install_each(options.folder)
    if options.verb == "test":
        return test([board_named(name) for name in options.boards], options.parts)
    place = BUILD / "boards" / options.board / "bin" / "python"
    if not place.exists():
        raise SystemExit(f"{options.board} has no environment yet: `python tools/arm test {options.board}` makes one")
    return subprocess.run([place, *options.arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
