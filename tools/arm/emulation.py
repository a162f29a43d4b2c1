"""Boards that are not here: CPython of another architecture, Debian's or our own, run by QEMU's user-mode emulator.

Each board gets an environment that looks like one of `python -m venv`. Its `bin/python` is a script that starts the
emulator, and that script is what Python takes for its own path (QEMU sets argv[0] on request): whatever starts
`sys.executable` gets the emulated interpreter again. Nothing is registered with the kernel, so it works without root,
and what a test starts besides (mosquitto, openssl) is this machine's own.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import zipfile
from pathlib import Path

import debian
import musl
from cross import VERSION, suite, tool_environment
from places import BUILD, run
from targets import EMULATOR_SUITE, Board, target_named


def emulator(name: str) -> tuple[str, ...]:
    """The command that runs a program for another processor.

    Its libraries are named on the command line: in LD_LIBRARY_PATH they would reach whatever the program starts.
    """
    architecture = debian.host_architecture()
    root = debian.packages(f"qemu-{architecture}", EMULATOR_SUITE, architecture, ("qemu-user",))
    [loader] = root.glob("lib/*-linux-gnu/ld-linux-*.so.*")
    return (str(loader), "--library-path", str(loader.resolve().parent), str(root / "usr" / "bin" / f"qemu-{name}"))


def version_of(board: Board) -> str:
    """The version of its CPython, as in 3.11."""
    return board.version or VERSION


def system_root(board: Board) -> Path:
    """A folder with CPython and what it needs, for the board's architecture and C library."""
    target, version = target_named(board.target), version_of(board)
    if target.musl:
        root = musl.system_root(target)
    else:
        wanted = (f"python{version}-minimal", f"libpython{version}-stdlib", f"python{version}-venv", "libgcc-s1")
        name = f"python{board.version}-{target.debian}"
        root = debian.packages(name, suite(version), target.debian, (*wanted, *board.further))

    library = root / "usr" / "lib" / f"python{version}"
    if version == VERSION and not (library / "__pycache__").is_dir():
        _compile(library)
    return root


def command_of(board: Board, python: Path, *, options: tuple[str, ...] = (), cpu: str = "") -> tuple[str, ...]:
    """What starts a board's interpreter so that it takes `python` for its own path."""
    root = system_root(board)
    interpreter = root / "usr" / "bin" / f"python{version_of(board)}"
    told = ("env", f"_PYTHON_HOST_PLATFORM={board.platform}") if board.platform else ()
    return (
        *told, *emulator(board.qemu), *options, "-cpu", cpu or board.cpu, "-L", str(root), "-0", str(python),
        str(interpreter),
    )  # fmt: skip


def native_command_of(board: Board, python: Path) -> tuple[str, ...]:
    """The same without an emulator, where this machine is of the board's architecture."""
    root = system_root(board)
    [loader] = root.glob("lib/*-linux-gnu/ld-linux-*.so.*")
    interpreter = root / "usr" / "bin" / f"python{VERSION}"
    return (str(loader), "--argv0", str(python), "--library-path", str(loader.parent), str(interpreter))


def environment(board: Board, place: Path) -> Path:
    """A new virtual environment with pip for the board, in `place`; its interpreter."""
    root, version = system_root(board), version_of(board)
    bin_folder, packages = place / "bin", place / "lib" / f"python{version}" / "site-packages"
    shutil.rmtree(place, ignore_errors=True)
    bin_folder.mkdir(parents=True)
    (place / "pyvenv.cfg").write_text(
        f"home = {root}/usr/bin\ninclude-system-site-packages = {'true' if board.further else 'false'}\n"
    )
    python, shown = bin_folder / "python", shown_to_pip(board, bin_folder / "python")
    _script(python, command_of(board, python))
    (bin_folder / "python3").symlink_to("python")
    if target_named(board.target).musl:
        _show_musl(board, shown)
    else:
        shown.symlink_to(root / "usr" / "bin" / shown.name)
    _script(bin_folder / "pip", (*command_of(board, shown), "-m", "pip", "--disable-pip-version-check"))
    # pip is the same file everywhere: unpacked here, where ensurepip would install it emulated for half a minute.
    [pip] = (root / "usr" / "share" / "python-wheels").glob("pip-*.whl")
    with zipfile.ZipFile(pip) as archive:
        archive.extractall(packages)
    if version == VERSION:
        _compile(packages)
    return python


def shown_to_pip(board: Board, python: Path) -> Path:
    """What pip is told is its interpreter: it looks into that file to learn its ABI, so it has to be the real one."""
    return python.with_name(f"python{version_of(board)}")


def _show_musl(board: Board, shown: Path) -> None:
    """To learn the version of musl, pip starts the loader that the interpreter names: here one that can be started."""
    root = system_root(board)
    [loader] = (root / "lib").glob("ld-musl-*.so.1")
    started = shown.parent.parent / "lib" / loader.name
    started.parent.mkdir()
    _script(started, (*emulator(board.qemu), "-cpu", board.cpu, str(loader)))
    shutil.copy2(root / "usr" / "bin" / shown.name, shown)
    run(["patchelf", "--set-interpreter", started, shown], env=tool_environment(), log=started.with_suffix(".log"))


def install(board: Board, python: Path, *wanted: str) -> None:
    """Have the board's own pip install something, wheels alone: nobody has a compiler there."""
    log = BUILD / "boards" / f"{board.name}-pip.log"
    run([python.with_name("pip"), "install", "-q", "--only-binary", ":all:", *wanted, *board.constraints], log=log)


def _script(path: Path, command: tuple[str, ...]) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    path.chmod(0o755)


def _compile(folder: Path) -> None:
    """Bytecode is the same for every processor, and making it emulated would take a minute."""
    run([sys.executable, "-m", "compileall", "-q", folder], log=BUILD / "bytecode.log")
