"""A CPython for musl, cross-built from Debian's sources: Debian itself has none, and a musllinux wheel needs one.

Only what pip and the codec need is in it, linked statically: left to itself, the build of CPython 3.11 looks for the
rest in this machine's /usr/include. The loader, which is musl itself, is the one of Debian's package.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import debian
from cross import VERSION, compiler, suite, tool_environment
from places import kept, run
from targets import ZIG, Target

# By CPython's names for them, as its own list (Modules/Setup.stdlib.in) says how each is made.
MODULES = (
    *("array", "binascii", "fcntl", "grp", "math", "mmap", "pyexpat", "resource", "select", "termios", "unicodedata"),
    *("_bisect", "_contextvars", "_csv", "_datetime", "_heapq", "_json", "_multiprocessing", "_opcode", "_pickle"),
    *("_posixsubprocess", "_queue", "_random", "_socket", "_struct", "_typing"),
    *("_blake2", "_md5", "_sha1", "_sha256", "_sha3", "_sha512"),
)
# pip unpacks wheels with it, and CPython brings none along.
ZLIB = ("adler32", "crc32", "deflate", "inffast", "inflate", "inftrees", "trees", "zutil")
LEFT_OUT = ("test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "__pycache__")
SETTINGS = {
    "OPT": "-O1 -g0 -w -DNDEBUG -fwrapv -fPIC -fno-sanitize=undefined",
    # zig links programs for musl statically unless told otherwise, and a static one loads no extension modules.
    "LDFLAGS": "-dynamic",
    # In the libc.so that zig links with, all variables have one address: a program that is not position-independent
    # copies them on top of each other (environ, optind).
    "LINKFORSHARED": "-Xlinker -export-dynamic -pie",
    "PKG_CONFIG": "false",
    # What configure would run a program for.
    "ac_cv_file__dev_ptmx": "yes",
    "ac_cv_file__dev_ptc": "no",
    "ac_cv_buggy_getaddrinfo": "no",
    # zig's musl has them, and that of musllinux_1_2 does not.
    "ac_cv_func_preadv2": "no",
    "ac_cv_func_pwritev2": "no",
}
# Another than any target's, so that all are cross builds; and of musl, because CPython 3.11 takes the C library in the
# names of extension modules from the machine that builds.
BUILD_TRIPLET = "i686-linux-musl"


def system_root(target: Target) -> Path:
    """A folder with CPython, musl and pip's wheel in it, laid out as Debian does it."""
    if VERSION != "3.11":
        raise SystemExit(f"how to cross-build CPython {VERSION} for musl has not been found out; 3.11 is known")

    def make(place: Path) -> None:
        tree = place / "source"
        _unpack(debian.source(f"python{VERSION}", suite(), "*.orig.tar.*"), tree)
        _unpack(debian.source("zlib", suite(), "*.orig.tar.*"), tree / "Modules" / "zlib")
        _build(target, tree)
        _install(target, tree, place)
        shutil.rmtree(tree)

    made_from = (suite(), ZIG, target, MODULES, ZLIB, LEFT_OUT, SETTINGS)
    return kept("musl", f"python{VERSION}-{target.machine}", make, made_from=made_from)


def _unpack(tarball: Path, place: Path) -> None:
    with tarfile.open(tarball) as archive:
        archive.extractall(place, filter="tar")
    [inner] = place.iterdir()
    for path in inner.iterdir():
        path.rename(place / path.name)
    inner.rmdir()


def _build(target: Target, tree: Path) -> None:
    zig, *_ = compiler(target)
    # configure takes a compiler of one word.
    wrapper = tree / "cc"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(compiler(target))} "$@"\n')
    wrapper.chmod(0o755)
    tools = {
        "CC": str(wrapper),
        "AR": f"{zig} ar",
        "RANLIB": f"{zig} ranlib",
        "READELF": shutil.which("readelf") or "",  # configure takes the bare name for the wrong one
    }
    environment = tool_environment() | tools | SETTINGS
    options = (
        *(f"--host={target.triplet}", f"--build={BUILD_TRIPLET}", f"--with-build-python={sys.executable}"),
        *("--prefix=/usr", "--without-ensurepip", "--disable-test-modules"),
    )
    run(["./configure", "-q", *options], cwd=tree, env=environment, log=tree / "configure.log")
    # The first list that names a module decides how it is built, and this one is read first.
    lines = ["*static*", *_recipes((tree / "Modules" / "Setup.stdlib.in").read_text())]
    lines += [f"zlib zlibmodule.c {' '.join(f'zlib/{name}.c' for name in ZLIB)} -I$(srcdir)/Modules/zlib"]
    (tree / "Modules" / "Setup.local").write_text("\n".join(lines) + "\n")
    # `python` alone: the shared modules are the part that would look around on this machine.
    run(["make", "-j2", "python", "pybuilddir.txt"], cwd=tree, env=environment, log=tree / "make.log")


def _recipes(listed: str) -> Iterator[str]:
    """CPython's lines for our modules, without the marks by which configure leaves some out."""
    for name in MODULES:
        [recipe] = re.findall(rf"^@MODULE_\w+_TRUE@({name} .*)$", listed, re.MULTILINE)
        yield recipe


def _install(target: Target, tree: Path, root: Path) -> None:
    library = root / "usr" / "lib" / f"python{VERSION}"
    shutil.copytree(tree / "Lib", library, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (library / "lib-dynload").mkdir()  # by this folder CPython knows where it is installed
    built = tree / (tree / "pybuilddir.txt").read_text()
    [variables] = built.glob("_sysconfigdata_*.py")
    shutil.copy2(variables, library)
    (root / "usr" / "bin").mkdir()
    shutil.copy2(tree / "python", root / "usr" / "bin" / f"python{VERSION}")
    (root / "lib").mkdir()
    musl = debian.packages(f"musl-{target.debian}", suite(), target.debian, ("musl",), alone=True)
    [loader] = musl.glob("lib/ld-musl-*.so.1")
    shutil.copy2(loader.resolve(), root / "lib" / loader.name)
    pip = debian.packages("pip", suite(), debian.host_architecture(), ("python3-pip-whl",), alone=True)
    shutil.copytree(pip / "usr" / "share" / "python-wheels", root / "usr" / "share" / "python-wheels")
