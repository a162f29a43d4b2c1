"""What is built, and what it is tried on: one row for each. Everything else in this folder reads it here."""

from __future__ import annotations

from dataclasses import dataclass

ZIG = "0.17.1"

# The Debian release with a CPython: its headers are built against, its interpreter runs the tests. A cross build runs
# setuptools in an interpreter of the target's version, so the environment of this checkout decides which it is.
SUITES = {"3.11": "bookworm", "3.13": "trixie"}
# Emulation and counting always use this release's QEMU: instruction counts are compared from run to run.
EMULATOR_SUITE = "bookworm"


@dataclass(frozen=True)
class Target:
    """A platform to build a wheel for."""

    name: str
    zig: str  # what zig calls it; for glibc with the oldest version the wheel has to run with
    machine: str  # as in the wheel's platform tag
    debian: str  # the Debian architecture whose CPython headers it is built with
    triplet: str  # what CPython puts into the names of its extension modules
    cpu: str = ""  # the instructions that every board of the kind has, where zig's default has more
    thumb: bool = False  # whether it is compiled to Thumb-2, which is smaller than what ARM starts in
    repaired: bool = True  # whether there is a manylinux or musllinux tag for it
    released: bool = True  # whether it becomes part of a release, or is built for a test alone

    @property
    def musl(self) -> bool:
        return "musl" in self.zig

    @property
    def arm32(self) -> bool:
        return self.zig.startswith("arm-")


# ARMv7 with the smallest FPU that Debian armhf asks for. zig's own default has NEON, which not all boards have, and
# with NEON come 32 registers, which stay when it alone is taken away.
_ARMV7 = "generic+v7a+vfp3d16-neon-d32"
_ARM1176 = "arm1176jzf_s"  # Raspberry Pi 1 and Zero

TARGETS = (
    Target("manylinux-x86_64", "x86_64-linux-gnu.2.17", "x86_64", "amd64", "x86_64-linux-gnu"),
    Target("musllinux-x86_64", "x86_64-linux-musl", "x86_64", "amd64", "x86_64-linux-musl"),
    Target("manylinux-aarch64", "aarch64-linux-gnu.2.17", "aarch64", "arm64", "aarch64-linux-gnu"),
    Target("musllinux-aarch64", "aarch64-linux-musl", "aarch64", "arm64", "aarch64-linux-musl"),
    Target(
        "manylinux-armv7l", "arm-linux-gnueabihf.2.31", "armv7l", "armhf", "arm-linux-gnueabihf", cpu=_ARMV7,
        thumb=True,
    ),
    Target(
        "musllinux-armv7l", "arm-linux-musleabihf", "armv7l", "armhf", "arm-linux-musleabihf", cpu=_ARMV7, thumb=True,
    ),
    Target(
        "linux-armv6l", "arm-linux-gnueabihf.2.31", "armv6l", "armhf", "arm-linux-gnueabihf", cpu=_ARM1176,
        repaired=False,
    ),
    # The same for Debian's soft-float ABI: no other system here has a CPython whose every instruction an ARM1176 knows.
    Target(
        "test-armv6l", "arm-linux-gnueabi.2.31", "armv6l", "armel", "arm-linux-gnueabi", cpu=_ARM1176,
        repaired=False, released=False,
    ),
    # No board, but the nearest big-endian CPython.
    Target(
        "test-s390x", "s390x-linux-gnu.2.31", "s390x", "s390x", "s390x-linux-gnu", repaired=False, released=False,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Board:
    """An emulated machine: a processor model, and the target whose wheel it runs on a system of that C library.

    For glibc the system is Debian's; for musl it is the CPython that musl.py builds.
    """

    name: str
    target: str
    qemu: str  # which of QEMU's user-mode emulators
    cpu: str  # the least processor that the wheel is for: what takes more for granted dies there
    usual_cpu: str = ""  # what most of these boards have, where that is more; instructions are counted on it
    extras: tuple[str, ...] = ("test",)  # of iotwire, to be installed for the tests
    further: tuple[str, ...] = ()  # Debian packages for what has no wheel there
    constraints: tuple[str, ...] = ()  # what pip has to keep to there
    codec_only: bool = False  # whether there is no cryptography to have, and so no emulator to run clients against
    counted: bool = False  # whether instructions are counted for the figures
    version: str = ""  # of CPython, where it is another than the one that builds wheels
    platform: str = ""  # what its Python is told that it runs on, where that is not what it sees
    bare: bool = False  # whether wheels are installed on it and no other tests are run


BOARDS = (
    Board("x86_64", "manylinux-x86_64", "x86_64", "qemu64", counted=True),
    # Raspberry Pi 3 with a 64-bit system.
    Board("aarch64", "manylinux-aarch64", "aarch64", "cortex-a53", counted=True),
    # Raspberry Pi 2, its NEON taken out. cffi has no armv7 wheel, so Debian's serves, for which cryptography from 46
    # on is too new.
    Board(
        "armv7l", "manylinux-armv7l", "arm", "cortex-a7,neon=off", "cortex-a7", extras=("test", "crypto"),
        further=("python3-cffi",), constraints=("cryptography<46",), counted=True,
    ),
    # Raspberry Pi 1 and Zero: the codec alone, as cryptography has no wheel for it.
    Board("armv6l", "test-armv6l", "arm", "arm1176", codec_only=True),
    Board("s390x", "test-s390x", "s390x", "max", codec_only=True),
    # For the wheels that none of these takes.
    Board("musl-x86_64", "musllinux-x86_64", "x86_64", "qemu64", bare=True),
    Board("musl-aarch64", "musllinux-aarch64", "aarch64", "cortex-a53", bare=True),
    Board("musl-armv7l", "musllinux-armv7l", "arm", "cortex-a7,neon=off", bare=True),
    # CPython for the hard-float ABI is Debian's armhf, which an ARM1176 cannot run: an ARMv7 that calls itself ARMv6.
    # That the wheel itself keeps to ARMv6 is seen from its build attributes, and on the board `armv6l`.
    Board("armv6l-hard-float", "linux-armv6l", "arm", "cortex-a7,neon=off", platform="linux-armv6l", bare=True),
    # Wheels for the limited API are for Pythons to come as well.
    Board("aarch64-3.13", "manylinux-aarch64", "aarch64", "cortex-a53", version="3.13", bare=True),
)  # fmt: skip


def target_named(name: str) -> Target:
    """The target of that name."""
    return next(target for target in TARGETS if target.name == name)


def board_named(name: str) -> Board:
    """The board of that name."""
    return next(board for board in BOARDS if board.name == name)
