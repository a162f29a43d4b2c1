"""What tools/check_wheels.py finds wrong before a wheel is released: each fault, put into a good wheel.

The tools of others that it calls are not tried here; `make check-wheels` runs them on real wheels.
"""

from __future__ import annotations

import json
import struct
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bill_of_materials import PLACE, bill_of_a_wheel
from check_dist_contents import MODULES, SOURCES, complaints_about_sdist

from support import CHECKOUT, absent

try:
    import check_wheels
except ImportError as missing:
    absent("release-tools", f"{missing.name} is not installed (extra: wheels)")

LINUX_X86_64 = "iotwire-1.2.3-cp313-cp313-manylinux_2_28_x86_64.whl"
LINUX_ARM64 = "iotwire-1.2.3-cp313-cp313-manylinux_2_28_aarch64.whl"
METADATA = "iotwire-1.2.3.dist-info"
X86_64, AARCH64 = 62, 183  # e_machine

Files = dict[str, bytes]


def elf_with_sections(*names: str, machine: int = X86_64) -> bytes:
    """The smallest 64-bit ELF file that has sections of these names."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in (*names, ".shstrtab"))
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        3,
        machine,
        1,
        0,
        0,
        64,
        0,
        64,
        0,
        0,
        64,
        len(names) + 2,
        len(names) + 1,
    )
    empty = bytes(64)
    named = [struct.pack("<IIQQQQIIQQ", strings.index(name.encode()), 1, 0, 0, 0, 0, 0, 0, 1, 0) for name in names]
    place = 64 + 64 * (len(names) + 2)
    last = struct.pack("<IIQQQQIIQQ", strings.index(b".shstrtab"), 3, 0, 0, place, len(strings), 0, 0, 1, 0)
    return header + b"".join([empty, *named, last]) + strings


def files_of_a_good_wheel(name: str, compiled: bytes = b"") -> Files:
    """As setup.py packs them for a wheel of this name, with next to nothing in them; `compiled` is every module."""
    compiled = compiled or elf_with_sections(".text", machine=AARCH64 if "aarch64" in name else X86_64)
    files = {f"iotwire/{module}.cpython-313-x86_64-linux-gnu.so": compiled for module in MODULES}
    files |= {f"iotwire/{Path(source).name}": b"" for source in SOURCES if source.endswith(".pxd")}
    files |= {f"iotwire/{stub.name}": b"" for stub in (CHECKOUT / "src" / "iotwire").glob("*.pyi")}
    files |= {"iotwire/py.typed": b"", "iotwire/__init__.py": b"", f"{METADATA}/licenses/LICENSE": b"Apache"}
    files[f"{METADATA}/{PLACE}"] = bill_of_a_wheel("iotwire", "1.2.3", "Apache-2.0", "a wheel").encode()
    return files


def complaints_about(folder: Path, name: str, files: Files) -> list[str]:
    """What our own checks say of a wheel of this name and these files."""
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    wheel = check_wheels.Wheel(path)
    ours = [check for check in check_wheels.CHECKS if check.__name__.startswith("complaints_about_")]
    assert len(ours) >= 4
    return [complaint for check in ours for complaint in check(wheel)]


@pytest.mark.parametrize("name", [LINUX_X86_64, LINUX_ARM64, "iotwire-1.2.3-cp311-abi3-win_amd64.whl"])
def test_a_good_wheel_is_left_in_peace(tmp_path: Path, name: str) -> None:
    assert complaints_about(tmp_path, name, files_of_a_good_wheel(name)) == []


def bill_with(change: Callable[[dict[str, Any]], object]) -> Callable[[Files], None]:
    def spoil(files: Files) -> None:
        bill = json.loads(files[f"{METADATA}/{PLACE}"])
        change(bill)
        files[f"{METADATA}/{PLACE}"] = json.dumps(bill).encode()

    return spoil


A_MODULE = f"iotwire/{MODULES[0]}.cpython-313-x86_64-linux-gnu.so"


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        (LINUX_X86_64, lambda files: files.pop("iotwire/py.typed"), "has no iotwire/py.typed"),
        (LINUX_X86_64, lambda files: files.pop(A_MODULE), f"has no compiled iotwire.{MODULES[0]}"),
        (LINUX_X86_64, lambda files: files.pop(f"{METADATA}/licenses/LICENSE"), "has no licence"),
        (LINUX_X86_64, lambda files: files.update({"iotwire/_mqtt.c": b""}), "has iotwire/_mqtt.c"),
        (LINUX_X86_64, lambda files: files.update({"tests/conftest.py": b""}), "tests/conftest.py, which is outside"),
        (LINUX_X86_64, lambda files: files.pop(f"{METADATA}/{PLACE}"), "has no iotwire-1.2.3.dist-info/sboms/"),
        (LINUX_X86_64, lambda files: files.update({f"{METADATA}/{PLACE}": b"{"}), "cannot be read"),
        (LINUX_X86_64, lambda files: files.update({f"{METADATA}/{PLACE}": b"[]"}), "cannot be read"),
        (
            LINUX_X86_64,
            bill_with(lambda bill: bill.update(specVersion="1.4")),
            "format CycloneDX 1.4, not CycloneDX 1.6",
        ),
        (
            LINUX_X86_64,
            bill_with(lambda bill: bill["metadata"]["component"].update(version="1.2.2")),
            "subject iotwire 1.2.2, not iotwire 1.2.3",
        ),
        (LINUX_X86_64, bill_with(lambda bill: bill["components"].clear()), "does not name Cython"),
        (LINUX_X86_64, lambda files: files.update({A_MODULE: elf_with_sections(".symtab")}), "it has .symtab"),
        (LINUX_X86_64, lambda files: files.update({A_MODULE: elf_with_sections(".debug_info")}), "it has .debug_info"),
        (LINUX_X86_64, lambda files: files.update({"iotwire/big.bin": bytes(1_100_000)}), "are more than 1100000"),
        (LINUX_ARM64, lambda files: files.update({A_MODULE: elf_with_sections(".text")}), "it is EM_X86_64"),
        (
            LINUX_ARM64,
            lambda files: files.update({"iotwire/big.bin": bytes(2_500_000)}),
            "unpacked, are more than 2500000",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_one_fault_is_one_complaint(tmp_path: Path, name: str, spoil: Callable[[Files], object], said: str) -> None:
    files = files_of_a_good_wheel(name)
    spoil(files)
    (complaint,) = complaints_about(tmp_path, name, files)
    assert said in complaint


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """Compiles a module as the wheel of a target is compiled, but for what a test has different."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "tools" / "arm"))
    try:
        import ziglang  # noqa: F401
        from cross import compiler, tool_environment
        from targets import target_named
    except ImportError as missing:
        absent("release-tools", f"{missing.name} is not installed (extra: wheels)")

    def compile_for(
        target: str, source: str = "double twice(double x) { return 2 * x; }", **different: object
    ) -> bytes:
        (tmp_path / "module.c").write_text(source)
        command = [*compiler(replace(target_named(target), **different)), "-O2", "-shared", "-nostdlib", "-Wl,-s"]
        subprocess.run([*command, "module.c", "-o", "module.so"], cwd=tmp_path, env=tool_environment(), check=True)
        return (tmp_path / "module.so").read_bytes()

    return compile_for


LINUX_ARMV7 = "iotwire-1.2.3-cp313-cp313-manylinux_2_31_armv7l.whl"
LINUX_ARMV6 = "iotwire-1.2.3-cp313-cp313-linux_armv6l.whl"
FOR_NEON = """
__attribute__((target("neon"))) void twice(float *numbers) { for (int i = 0; i < 64; i++) numbers[i] *= 2; }
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "different", "said"),
    [
        (LINUX_ARM64, "manylinux-aarch64", {}, []),
        (LINUX_ARMV7, "manylinux-armv7l", {}, []),
        # Each function may ask the processor what it has; that is not the module's demand.
        (LINUX_ARMV7, "manylinux-armv7l", {"source": FOR_NEON}, []),
        (LINUX_ARMV7, "musllinux-armv7l", {}, []),
        # Both run there, and take more room.
        (LINUX_ARMV7, "manylinux-armv7l", {"thumb": False}, ["it is ARM code, not Thumb-2"]),
        (LINUX_ARMV7, "linux-armv6l", {}, ["it is ARM code, not Thumb-2"]),
        (LINUX_ARMV6, "linux-armv6l", {}, []),
        # What zig takes for granted, and what is left of it without NEON alone.
        (LINUX_ARMV7, "manylinux-armv7l", {"cpu": ""}, ["TAG_FP_ARCH is 3", "TAG_ADVANCED_SIMD_ARCH is 1"]),
        (LINUX_ARMV7, "manylinux-armv7l", {"cpu": "generic+v7a-neon"}, ["TAG_FP_ARCH is 3"]),
        (
            LINUX_ARMV7,
            "manylinux-armv7l",
            {"cpu": "cortex_a7"},
            ["TAG_FP_ARCH is 5", "TAG_ADVANCED_SIMD_ARCH is 2", "TAG_DIV_USE is 2"],
        ),
        (LINUX_ARMV7, "manylinux-armv7l", {"zig": "arm-linux-gnueabi"}, ["TAG_ABI_VFP_ARGS is 0"]),
        (LINUX_ARMV7, "manylinux-aarch64", {}, ["it is EM_AARCH64"]),
        (
            LINUX_ARMV6,
            "manylinux-armv7l",
            {},
            ["TAG_CPU_ARCH is 10", "TAG_THUMB_ISA_USE is 2", "TAG_FP_ARCH is 4"],
        ),
    ],
)
def test_a_module_asks_for_no_more_than_the_least_board_has(
    tmp_path: Path,
    compiled: Callable[..., bytes],
    name: str,
    target: str,
    different: dict[str, object],
    said: list[str],
) -> None:
    good = {LINUX_ARM64: "manylinux-aarch64", LINUX_ARMV7: "manylinux-armv7l", LINUX_ARMV6: "linux-armv6l"}[name]
    files = files_of_a_good_wheel(name, compiled(good))
    files[A_MODULE] = compiled(target, **different)
    found = complaints_about(tmp_path, name, files)
    assert [complaint.rpartition(": ")[2] for complaint in found] == said
    assert all(complaint.startswith(A_MODULE) for complaint in found)


def test_a_folder_without_wheels_is_not_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_wheels.main(str(tmp_path)) == 1
    assert "there is no wheel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "machines", "is_for_them"),
    [
        (LINUX_X86_64, ("x86_64",), True),
        (LINUX_X86_64, ("aarch64", "armv7l"), False),
        ("iotwire-1.2.3-cp313-cp313-manylinux2014_x86_64.manylinux_2_17_x86_64.whl", ("x86_64",), True),
        ("iotwire-1.2.3-cp313-cp313-linux_armv6l.whl", ("armv7l", "armv6l"), True),
        ("iotwire-1.2.3-cp313-cp313-macosx_10_13_x86_64.whl", ("x86_64",), False),
    ],
)
def test_the_limits_of_a_platform_are_for_that_platform(
    name: str, machines: tuple[str, ...], is_for_them: bool
) -> None:
    assert check_wheels.Wheel(Path(name)).is_for_linux_on(*machines) is is_for_them


def test_the_bill_of_materials_is_the_same_for_the_same_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    without_a_time = bill_of_a_wheel("iotwire", "1.2.3", "Apache-2.0", "a wheel")
    assert without_a_time == bill_of_a_wheel("iotwire", "1.2.3", "Apache-2.0", "a wheel")
    assert "timestamp" not in json.loads(without_a_time)["metadata"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert (
        json.loads(bill_of_a_wheel("iotwire", "1.2.3", "Apache-2.0", ""))["metadata"]["timestamp"]
        == "2023-11-14T22:13:20Z"
    )


def test_an_sdist_without_the_sources_or_with_what_is_made_of_them_is_refused() -> None:
    good = {*SOURCES, "LICENSE", "README.md", "pyproject.toml", "setup.py", "tests/conftest.py"}
    good -= {f"ext/iotwire/{module}.c" for module in MODULES}
    assert complaints_about_sdist(good) == []
    assert complaints_about_sdist(good - {"LICENSE"}) == ["the sdist has no LICENSE"]
    assert len(complaints_about_sdist(good | {f"ext/iotwire/{MODULES[0]}.c"})) == 1
