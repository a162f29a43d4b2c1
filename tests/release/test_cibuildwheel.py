"""Which wheels cibuildwheel would make for each platform, in its own words, written down.

A release of cibuildwheel that drops a Python or adds one changes this list, and somebody has to say yes to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.util import find_spec

import pytest

from support import CHECKOUT, absent

if find_spec("cibuildwheel") is None:
    absent("release-tools", "cibuildwheel is not installed (extra: workflows)")

PYTHONS = ["cp311", "cp312", "cp313", "cp314", "cp314t", "cp315", "cp315t"]
PLATFORMS = [
    # platform and architecture, as options of cibuildwheel; what its identifiers end in
    ("linux", "x86_64", ["manylinux_x86_64", "musllinux_x86_64"]),
    ("linux", "aarch64", ["manylinux_aarch64", "musllinux_aarch64"]),
    ("linux", "armv7l", ["manylinux_armv7l", "musllinux_armv7l"]),
    ("macos", "arm64", ["macosx_arm64"]),
    ("macos", "x86_64", ["macosx_x86_64"]),
    ("windows", "AMD64", ["win_amd64"]),
    ("windows", "ARM64", ["win_arm64"]),
]
every_platform = pytest.mark.parametrize(
    ("platform", "architecture", "endings"), PLATFORMS, ids=[f"{platform}-{arch}" for platform, arch, _ in PLATFORMS]
)


def identifiers(platform: str, architecture: str, **environment: str) -> list[str]:
    """What cibuildwheel says it would build; its settings of the machine at hand do not count."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CIBW_")}
    options = ["--platform", platform, "--archs", architecture, "--print-build-identifiers"]
    done = subprocess.run(
        [sys.executable, "-m", "cibuildwheel", *options, str(CHECKOUT)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=clean | environment,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split()


@every_platform
def test_every_supported_python_gets_its_own_wheel(platform: str, architecture: str, endings: list[str]) -> None:
    built = identifiers(platform, architecture)
    assert sorted(built) == sorted(f"{python}-{ending}" for python in PYTHONS for ending in endings)


@every_platform
def test_the_wheel_for_pythons_to_come_is_built_on_the_oldest_and_tried_on_the_newest(
    platform: str, architecture: str, endings: list[str]
) -> None:
    # cibuildwheel does not build again what a wheel it has made already fits: on 3.15 it only tests.
    built = identifiers(platform, architecture, CIBW_BUILD="cp311-* cp315-*", IOTWIRE_LIMITED_API="1")
    assert sorted(built) == sorted(f"{python}-{ending}" for python in ("cp311", "cp315") for ending in endings)


def test_every_image_is_named_and_every_linux_wheel_is_stripped() -> None:
    linux = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["cibuildwheel"]["linux"]
    architectures = [architecture for platform, architecture, _ in PLATFORMS if platform == "linux"]
    named = {key for key in linux if key.endswith("-image")}
    assert named == {f"{kind}linux-{machine}-image" for kind in ("many", "musl") for machine in architectures}
    assert "--strip" in linux["repair-wheel-command"]
