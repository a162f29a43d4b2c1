"""check_dist_contents.py SDIST WHEEL: whether each holds what it must, and nothing that the build made by the way.

Every .pyx must have become a module with a stub and, where there is one, a .pxd beside it; the generated C stays out of
both, hand-written C belongs in the sdist; tests travel in the sdist and never in the wheel; the wheel says what it is
made of. What a wheel for other people's machines has to be besides is in check_wheels.py.
"""

from __future__ import annotations

import json
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from bill_of_materials import PLACE

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "ext").rglob("*") if path.is_file())
MODULES = [PurePosixPath(source).stem for source in SOURCES if source.endswith(".pyx")]


def complaints_about_sdist(names: set[str]) -> list[str]:
    """What is wrong with an sdist of these files, the folder of name and version left off."""
    wanted = {*SOURCES, "LICENSE", "README.md", "pyproject.toml", "setup.py", "tests/conftest.py"}
    generated = {f"ext/iotwire/{module}.c" for module in MODULES}
    found = [f"the sdist has no {name}" for name in sorted(wanted - generated - names)]
    found += [f"the sdist has {name}, which the build makes" for name in sorted(names & generated)]
    found += [f"the sdist has {name}, which is built" for name in sorted(names) if name.endswith((".so", ".o", ".pyc"))]
    return found


def complaints_about_wheel(names: set[str]) -> list[str]:
    """What is wrong with a wheel of these files."""
    headers = {f"iotwire/{PurePosixPath(source).name}" for source in SOURCES if source.endswith(".pxd")}
    stubs = {f"iotwire/{path.name}" for path in (ROOT / "src" / "iotwire").glob("*.pyi")}
    found = [f"the wheel has no {name}" for name in sorted(({"iotwire/py.typed"} | headers | stubs) - names)]
    compiled = {PurePosixPath(name).name.partition(".")[0] for name in names if name.endswith((".so", ".pyd"))}
    found += [f"the wheel has no compiled iotwire.{module}" for module in MODULES if module not in compiled]
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        found.append("the wheel has no licence")
    for name in sorted(names):
        if name.endswith((".c", ".pyx", ".pyc")):
            found.append(f"the wheel has {name}: only modules, stubs and headers belong there")
        elif not name.startswith(("iotwire/", "iotwire-")):
            found.append(f"the wheel has {name}, which is outside the package")
    return found


def complaints_about_bill_of_materials(archive: zipfile.ZipFile) -> list[str]:
    """What is wrong with the bill of materials in a wheel: it must be there, and be about this version."""
    # PACKAGE-VERSION.dist-info is the one folder of a wheel whose name says what it holds.
    (metadata,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    package, _, version = metadata.removesuffix(".dist-info").partition("-")
    place = f"{metadata}/{PLACE}"
    if place not in archive.namelist():
        return [f"the wheel has no {place}"]
    try:
        bill = json.loads(archive.read(place))
        kind = f"{bill['bomFormat']} {bill['specVersion']}"
        product = bill["metadata"]["component"]
        subject = f"{product['name']} {product['version']}"
        components = [part["name"] for part in bill["components"]]
    except (ValueError, KeyError, TypeError) as error:
        return [f"{place} cannot be read: {error!r}"]
    wanted = [("format", kind, "CycloneDX 1.6"), ("subject", subject, f"{package} {version}")]
    found = [f"{place} has the {what} {seen}, not {right}" for what, seen, right in wanted if seen != right]
    return found + ([] if "Cython" in components else [f"{place} does not name Cython, whose code is in every module"])


def main(sdist: str, wheel: str) -> int:
    """Print each complaint, and return how many there are."""
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        complaints = complaints_about_sdist(in_sdist) + complaints_about_wheel(set(archive.namelist()))
        complaints += complaints_about_bill_of_materials(archive)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return len(complaints)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
