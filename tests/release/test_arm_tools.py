"""The tools for boards that are not here: their tables fit together, what is kept is whole, what is linked is right."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import CHECKOUT

sys.path.append(str(CHECKOUT / "tools" / "arm"))

import debian
import places
import targets


def test_names_of_targets_and_boards_are_unique() -> None:
    for rows in (targets.TARGETS, targets.BOARDS):
        names = [row.name for row in rows]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("board", targets.BOARDS, ids=lambda board: board.name)
def test_a_board_runs_a_wheel_that_is_built(board: targets.Board) -> None:
    assert targets.target_named(board.target) in targets.TARGETS


@pytest.mark.parametrize(
    "target", [target for target in targets.TARGETS if target.released], ids=lambda target: target.name
)
def test_a_wheel_of_a_release_has_a_board_that_tries_it(target: targets.Target) -> None:
    assert [board for board in targets.BOARDS if board.target == target.name]


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda target: target.name)
def test_a_target_is_of_one_architecture_and_one_c_library(target: targets.Target) -> None:
    assert target.zig.startswith(target.triplet.partition("-")[0])
    assert target.musl == ("musl" in target.triplet)
    assert target.released or not target.repaired


def test_no_wheel_for_32_bit_arm_takes_neon_for_granted() -> None:
    for target in targets.TARGETS:
        if target.arm32:
            assert target.cpu == "arm1176jzf_s" or "-neon" in target.cpu, target.name


def test_32_bit_arm_is_thumb_wherever_the_processor_has_thumb_2() -> None:
    for target in targets.TARGETS:
        assert target.thumb == (target.arm32 and target.cpu != "arm1176jzf_s"), target.name


# ---- what is kept


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IOTWIRE_CACHE", str(tmp_path))
    return tmp_path


def write(text: str) -> Callable[[Path], None]:
    return lambda place: (place / "file").write_text(text) and None


def test_what_is_kept_is_made_once(cache: Path) -> None:
    first = places.kept("thing", "name", write("first"), made_from=1)
    assert places.kept("thing", "name", write("second"), made_from=1) == first
    assert (first / "file").read_text() == "first"
    assert cache in first.parents


def test_what_is_made_from_something_else_is_another(cache: Path) -> None:
    old = places.kept("thing", "name", write("old"), made_from="1.0")
    new = places.kept("thing", "name", write("new"), made_from="1.1")
    assert ((old / "file").read_text(), (new / "file").read_text()) == ("old", "new")


def test_what_was_interrupted_is_not_taken_for_whole(cache: Path) -> None:
    def fail(place: Path) -> None:
        (place / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        places.kept("thing", "name", fail)
    place = places.kept("thing", "name", write("whole"))
    assert [path.name for path in place.iterdir()] == ["file"]


def test_a_command_that_fails_says_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)what went wrong.*failed \(3\)"):
        places.run(["sh", "-c", "echo what went wrong; exit 3"], log=tmp_path / "log")


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt-get is not here")
def test_the_mirror_is_what_was_named_or_what_apt_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOTWIRE_DEBIAN_MIRROR", "http://mirror.example/debian")
    assert debian.mirror() == "http://mirror.example/debian"
    monkeypatch.delenv("IOTWIRE_DEBIAN_MIRROR")
    try:
        named = debian.mirror()
    except SystemExit as refusal:  # on Ubuntu
        named = str(refusal)
    assert "IOTWIRE_DEBIAN_MIRROR" in named or named.rstrip("/").endswith("/debian")


# ---- division for 32-bit ARM: quotient and remainder share 64 bits here, as they share two registers there


@pytest.fixture(scope="module")
def division(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is not here")
    library = tmp_path_factory.mktemp("division") / "division.so"
    source = CHECKOUT / "tools" / "arm" / "division.c"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-DHIDDEN=")
    subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    for function in (loaded.__aeabi_uidivmod, loaded.__aeabi_idivmod):
        function.restype = ctypes.c_uint64
    return loaded


UNSIGNED = st.one_of(st.sampled_from([0, 1, 2, 3, 2**31 - 1, 2**31, 2**32 - 1]), st.integers(0, 2**32 - 1))


@given(UNSIGNED, UNSIGNED.filter(bool))
def test_unsigned_division_is_that_of_whole_numbers(division: ctypes.CDLL, numerator: int, denominator: int) -> None:
    both = division.__aeabi_uidivmod(ctypes.c_uint32(numerator), ctypes.c_uint32(denominator))
    assert (both & 0xFFFF_FFFF, both >> 32) == divmod(numerator, denominator)


SIGNED = st.one_of(st.sampled_from([0, 1, -1, 2, -2, 2**31 - 1, -(2**31)]), st.integers(-(2**31), 2**31 - 1))


@given(SIGNED, SIGNED.filter(bool))
def test_signed_division_truncates_as_c_does(division: ctypes.CDLL, numerator: int, denominator: int) -> None:
    both = division.__aeabi_idivmod(ctypes.c_int32(numerator), ctypes.c_int32(denominator))
    quotient = abs(numerator) // abs(denominator) * (-1 if (numerator < 0) != (denominator < 0) else 1)
    remainder = numerator - quotient * denominator
    assert (both & 0xFFFF_FFFF, both >> 32) == (quotient & 0xFFFF_FFFF, remainder & 0xFFFF_FFFF)
