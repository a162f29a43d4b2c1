"""check_wheels.py FOLDER: whether every wheel in it may be released.

Ours are the checks of what nobody else can know: contents, sizes, symbols, processors. The tools of others judge the
rest: twine the metadata, check-wheel-contents the layout, abi3audit the limited API, auditwheel the tag of the C
library.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

from check_dist_contents import complaints_about_bill_of_materials as complaints_about_bill_in
from check_dist_contents import complaints_about_wheel
from elftools.elf.elffile import ELFFile
from packaging.utils import parse_wheel_filename

ARM_MACHINES = ("aarch64", "armv7l", "armv6l")
MAXIMUM_X86_64_BYTES = 1_100_000
# A gateway's flash holds what was unpacked. The MQTT codec, which others build on, is to stay under a megabyte of it
# (benchmarks/footprint.py); the other codecs, the routes, the clients, the outbox, the emulator and the command line
# come on top.
MAXIMUM_UNPACKED_ARM_BYTES = 2_500_000

ELF_MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64", "armv7l": "EM_ARM", "armv6l": "EM_ARM"}
HARD_FLOAT = {"TAG_ABI_VFP_ARGS": {1}}
# What a module may ask of a 32-bit ARM processor, in the numbers of the ABI (Addenda32, build attributes). What it does
# not say is 0.
ARM_LIMITS = {
    "armv7l": HARD_FLOAT
    | {
        "TAG_CPU_ARCH": {*range(11)},  # up to v7
        "TAG_FP_ARCH": {0, 1, 2, 4},  # up to VFPv3-D16; 3 has 32 registers
        "TAG_ADVANCED_SIMD_ARCH": {0},  # no NEON
        "TAG_DIV_USE": {0, 1},  # no division, which came with a later ARMv7
    },
    "armv6l": HARD_FLOAT
    | {
        "TAG_CPU_ARCH": {*range(8), 9},  # up to v6KZ and v6K; 8 is v6T2
        "TAG_THUMB_ISA_USE": {0, 1},  # no Thumb-2
        "TAG_FP_ARCH": {0, 1, 2},  # up to VFPv2
        "TAG_ADVANCED_SIMD_ARCH": {0},
        "TAG_DIV_USE": {0, 1},
    },
}


@dataclass(frozen=True)
class Wheel:
    """One wheel, and what its name and its files say."""

    path: Path

    @cached_property
    def platforms(self) -> list[str]:
        """Its platform tags, such as manylinux_2_31_armv7l; those of a compressed set one by one."""
        return sorted({tag.platform for tag in parse_wheel_filename(self.path.name)[3]})

    @cached_property
    def abis(self) -> set[str]:
        return {tag.abi for tag in parse_wheel_filename(self.path.name)[3]}

    @cached_property
    def archive(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    def is_for_linux_on(self, *machines: str) -> bool:
        """Whether it is for Linux, and for one of these machines as `uname -m` calls them."""
        return all("linux" in platform and platform.endswith(machines) for platform in self.platforms)

    def elf_modules(self) -> Iterator[tuple[str, ELFFile]]:
        """The compiled modules that Linux would load, by name."""
        for name in self.archive.namelist():
            content = self.archive.read(name) if name.endswith(".so") else b""
            if content.startswith(b"\x7fELF"):
                yield name, ELFFile(BytesIO(content))


def complaints_about_contents(wheel: Wheel) -> list[str]:
    """Files that must be there, and files that must not."""
    return complaints_about_wheel(set(wheel.archive.namelist()))


def complaints_about_bill_of_materials(wheel: Wheel) -> list[str]:
    """The wheel says what it is made of."""
    return complaints_about_bill_in(wheel.archive)


def complaints_about_size(wheel: Wheel) -> list[str]:
    """A board pays for every byte, first on the line and then on its flash."""
    packed = wheel.path.stat().st_size
    unpacked = sum(file.file_size for file in wheel.archive.infolist())
    found = []
    if wheel.is_for_linux_on("x86_64") and packed > MAXIMUM_X86_64_BYTES:
        found.append(f"{packed} bytes are more than {MAXIMUM_X86_64_BYTES}")
    if wheel.is_for_linux_on(*ARM_MACHINES) and unpacked > MAXIMUM_UNPACKED_ARM_BYTES:
        found.append(f"{unpacked} bytes, unpacked, are more than {MAXIMUM_UNPACKED_ARM_BYTES}")
    return found


def complaints_about_symbols(wheel: Wheel) -> list[str]:
    """Symbol tables and debug information are of no use on a board."""
    return [
        f"{name} is not stripped: it has {section.name}"
        for name, module in wheel.elf_modules()
        for section in module.iter_sections()
        if section.name == ".symtab" or section.name.startswith(".debug")
    ]


def complaints_about_processor(wheel: Wheel) -> list[str]:
    """Every module is for the machine in the wheel's name, and asks for nothing that some of those boards lack.

    On 32-bit ARM a compiler writes into each object file what it was allowed to use, whether it did or not, and lld
    hands on what the first object says: for our modules, that is their own C. A function with a target attribute of its
    own does not count. That is as it should be: it is called where the processor turned out to have what it needs.
    """
    return [
        f"{name} is not for every {machine}: {complaint}"
        for machine, elf_machine in ELF_MACHINES.items()
        if wheel.is_for_linux_on(f"_{machine}")
        for name, module in wheel.elf_modules()
        for complaint in _more_than(machine, elf_machine, module)
    ]


def _more_than(machine: str, elf_machine: str, module: ELFFile) -> list[str]:
    if module["e_machine"] != elf_machine or not module.little_endian:
        return [f"it is {module['e_machine']}"]
    asked = _build_attributes(module)
    return [
        f"{tag} is {asked.get(tag, 0)}"
        for tag, allowed in ARM_LIMITS.get(machine, {}).items()
        if asked.get(tag, 0) not in allowed
    ]


def _build_attributes(module: ELFFile) -> dict[str, int]:
    section = module.get_section_by_name(".ARM.attributes")
    if section is None:
        return {}
    return {
        attribute.tag: attribute.value
        for vendor in section.iter_subsections("aeabi")
        for part in vendor.iter_subsubsections("TAG_FILE")
        for attribute in part.iter_attributes()
    }


def complaints_about_thumb(wheel: Wheel) -> list[str]:
    """ARMv7 runs two encodings, and what is compiled to Thumb-2 is a quarter smaller than what is compiled to ARM."""
    return [
        f"{name} is larger than it need be: it is ARM code, not Thumb-2"
        for name, module in wheel.elf_modules()
        if wheel.is_for_linux_on("_armv7l") and module["e_machine"] == "EM_ARM" and not _is_thumb(module)
    ]


def _is_thumb(module: ELFFile) -> bool:
    # Its build attributes allow both, whichever was chosen. The lowest bit of a function's address says what it is.
    exported = module.get_section_by_name(".dynsym")
    return any(
        symbol["st_value"] & 1
        for symbol in (exported.iter_symbols() if exported else ())
        if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF"
    )


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool that is installed beside this Python."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def complaints_of(module: str, *arguments: str) -> list[str]:
    """All that a tool said, where it was not content."""
    done = run(module, *arguments)
    return [f"{module} says: {(done.stdout + done.stderr).strip()}"] if done.returncode else []


def complaints_of_twine(wheel: Wheel) -> list[str]:
    """The package index would refuse it, or show a broken description."""
    return complaints_of("twine", "check", "--strict", str(wheel.path))


def complaints_of_check_wheel_contents(wheel: Wheel) -> list[str]:
    """The usual accidents of packing."""
    return complaints_of("check_wheel_contents", "--toplevel", "iotwire", str(wheel.path))


def complaints_of_abi3audit(wheel: Wheel) -> list[str]:
    """A wheel for Pythons to come uses only what those have promised to keep."""
    return complaints_of("abi3audit", "--strict", str(wheel.path)) if "abi3" in wheel.abis else []


def complaints_of_auditwheel(wheel: Wheel) -> list[str]:
    """No module asks for a newer C library than the wheel's name admits, nor for a library that is not everywhere."""
    # For armv6l there is no such tag: that wheel is called linux_armv6l, and promises nothing.
    promised = [platform for platform in wheel.platforms if platform.startswith(("manylinux_", "musllinux_"))]
    if not promised:
        return []
    done = run("auditwheel", "show", "--json", str(wheel.path))
    if done.returncode:
        return [f"auditwheel says: {done.stderr.strip()}"]
    needed = json.loads(done.stdout)["overall_tag"]
    return [
        f"it is called {platform}, and auditwheel finds {needed}"
        for platform in promised
        if library_of(needed) != library_of(platform) or version_of(needed) > version_of(platform)
    ]


def library_of(platform: str) -> str:
    """`manylinux` for manylinux_2_31_armv7l; `linux` for a tag that promises nothing."""
    return platform.partition("_")[0]


def version_of(platform: str) -> tuple[int, int]:
    """(2, 31) for manylinux_2_31_armv7l."""
    major, minor = platform.split("_")[1:3]
    return int(major), int(minor)


CHECKS: tuple[Callable[[Wheel], list[str]], ...] = (
    complaints_about_contents,
    complaints_about_bill_of_materials,
    complaints_about_size,
    complaints_about_symbols,
    complaints_about_processor,
    complaints_about_thumb,
    complaints_of_twine,
    complaints_of_check_wheel_contents,
    complaints_of_abi3audit,
    complaints_of_auditwheel,
)


def main(folder: str) -> int:
    """Print each complaint, and return 1 if there is any, or nothing to check."""
    wheels = [Wheel(path) for path in sorted(Path(folder).glob("*.whl"))]
    if not wheels:
        print(f"there is no wheel in {folder}", file=sys.stderr)
        return 1
    content = True
    for wheel in wheels:
        complaints = [complaint for check in CHECKS for complaint in check(wheel)]
        print(f"{wheel.path.name}: {wheel.path.stat().st_size} bytes, {'complaints' if complaints else 'good'}")
        for complaint in complaints:
            print(f"  {complaint}", file=sys.stderr)
        content = content and not complaints
    return 0 if content else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
