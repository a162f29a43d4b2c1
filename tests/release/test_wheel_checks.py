"""What tools/check_wheels.py finds wrong before a wheel is released: each fault, put into a good wheel.

The tools of others that it calls are not tried here; `make check-wheels` runs them on real wheels.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
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

Files = dict[str, bytes]


def elf_with_sections(*names: str) -> bytes:
    """The smallest 64-bit ELF file that has sections of these names."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in (*names, ".shstrtab"))
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 0, 64, 0, 64, 0, 0, 64, len(names) + 2, len(names) + 1
    )
    empty = bytes(64)
    named = [struct.pack("<IIQQQQIIQQ", strings.index(name.encode()), 1, 0, 0, 0, 0, 0, 0, 1, 0) for name in names]
    place = 64 + 64 * (len(names) + 2)
    last = struct.pack("<IIQQQQIIQQ", strings.index(b".shstrtab"), 3, 0, 0, place, len(strings), 0, 0, 1, 0)
    return header + b"".join([empty, *named, last]) + strings


def files_of_a_good_wheel() -> Files:
    """As setup.py packs them, with next to nothing in them."""
    files = {f"iotwire/{module}.cpython-313-x86_64-linux-gnu.so": elf_with_sections(".text") for module in MODULES}
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
    assert complaints_about(tmp_path, name, files_of_a_good_wheel()) == []


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
        (LINUX_X86_64, lambda files: files.update({"iotwire/big.bin": bytes(600_000)}), "are more than 600000"),
        (
            LINUX_ARM64,
            lambda files: files.update({"iotwire/big.bin": bytes(1_000_000)}),
            "unpacked, are more than 1000000",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_one_fault_is_one_complaint(tmp_path: Path, name: str, spoil: Callable[[Files], object], said: str) -> None:
    files = files_of_a_good_wheel()
    spoil(files)
    (complaint,) = complaints_about(tmp_path, name, files)
    assert said in complaint


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
