"""The recipe for OpenEmbedded says the same as the sources it builds. BitBake is not asked: it would take hours."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from support import CHECKOUT, absent

RECIPES = sorted((CHECKOUT / "packaging" / "yocto").rglob("python3-iotwire_*.bb"))
if not RECIPES:
    absent("release-tools", "this is not a checkout: there is no recipe")

SOURCES = CHECKOUT / "src" / "iotwire"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
RECIPE = re.sub(r"\\\n\s*", "", RECIPES[0].read_text())
SETTINGS = dict(re.findall(r'^([\w:${}-]+) \+?= "([^"]*)"$', RECIPE, flags=re.MULTILINE))
INHERITED = RECIPE[RECIPE.index("\ninherit ") :].split("\n")[1].split()[1:]
APART = SETTINGS["PACKAGE_BEFORE_PN"].split()

# Which package of OpenEmbedded-Core a module comes in, where it is not python3-core (its python3-manifest.json, and the
# packages of cryptography). A module that is in neither list stops the test: somebody has to look it up.
PACKED_IN = {
    "asyncio": "python3-asyncio",
    "base64": "python3-netclient",
    "contextvars": "python3-numbers",
    "cryptography": "python3-cryptography",
    "datetime": "python3-datetime",
    "email": "python3-email",
    "h11": "python3-h11",
    "hashlib": "python3-crypt",
    "html": "python3-html",
    "http": "python3-netclient",
    "importlib.metadata": "python3-email",
    "json": "python3-json",
    "logging": "python3-logging",
    "queue": "python3-threading",
    "random": "python3-math",
    "secrets": "python3-netclient",
    "shlex": "python3-shell",
    "shutil": "python3-shell",
    "socket": "python3-io",
    "sqlite3": "python3-sqlite3",
    "ssl": "python3-io",
    "statistics": "python3-statistics",
    "string": "python3-stringold",
    "tempfile": "python3-io",
    "uuid": "python3-netclient",
}
CORE = {
    "__future__", "abc", "argparse", "binascii", "collections", "configparser", "contextlib", "copy", "dataclasses",
    "enum", "errno", "fcntl", "functools", "importlib", "inspect", "ipaddress", "itertools", "os", "pathlib",
    "platform", "re", "select", "selectors", "signal", "stat", "struct", "sys", "textwrap", "threading", "time",
    "types", "typing", "urllib.parse", "weakref",
}  # fmt: skip
# Asked for by name only (PEP 562), as iotwire.__version__ is, or where a program uses that library itself.
ON_DEMAND = {
    ("${PN}", "importlib.metadata"),
    ("${PN}-client", "aiomqtt"),
    ("${PN}-client", "cryptography"),
    ("${PN}-client", "paho"),
}


def package_of(path: Path) -> str:
    """Which package of the recipe a source file ends up in."""
    installed = PurePosixPath("iotwire") / path.relative_to(SOURCES).as_posix()
    for package in APART:
        for pattern in SETTINGS[f"FILES:{package}"].split():
            if installed.is_relative_to(pattern.removeprefix("${PYTHON_SITEPACKAGES_DIR}/")):
                return package
    return "${PN}"


def imported_by(path: Path) -> Iterator[str]:
    """The modules outside iotwire that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def imports() -> set[tuple[str, str]]:
    """Each package of the recipe with each module that its files import."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        for module in imported_by(path):
            root = module.partition(".")[0]
            if root != "iotwire":
                found.add((package_of(path), module if module in PACKED_IN or module in CORE else root))
    return found - ON_DEMAND


def test_there_is_one_recipe_and_it_is_for_this_version() -> None:
    assert [recipe.name for recipe in RECIPES] == [f"python3-iotwire_{PROJECT['project']['version']}.bb"]


def test_the_licence_is_the_one_that_lies_here() -> None:
    checksum = hashlib.md5((CHECKOUT / "LICENSE").read_bytes(), usedforsecurity=False).hexdigest()
    assert SETTINGS["LIC_FILES_CHKSUM"] == f"file://LICENSE;md5={checksum}"
    assert SETTINGS["LICENSE"] == PROJECT["project"]["license"]


def test_the_recipe_brings_what_the_build_requires() -> None:
    brought_by = {"setuptools": "python_setuptools_build_meta", "Cython": "cython"}
    required = {re.split(r"[<>=]", requirement)[0] for requirement in PROJECT["build-system"]["requires"]}
    assert required == set(brought_by)
    assert set(INHERITED) >= set(brought_by.values())


@pytest.mark.parametrize("package", APART)
def test_what_is_packed_apart_exists(package: str) -> None:
    for pattern in SETTINGS[f"FILES:{package}"].split():
        folder, _, name = pattern.partition("/")
        if folder == "${bindir}":
            assert name in PROJECT["project"]["scripts"]
        else:
            assert (CHECKOUT / "src" / name).exists(), pattern


@pytest.mark.parametrize(("package", "module"), sorted(imports()))
def test_a_package_takes_along_what_its_files_import(package: str, module: str) -> None:
    if module not in CORE:
        assert PACKED_IN[module] in SETTINGS[f"RDEPENDS:{package}"].split()


def test_the_codec_loads_nothing_that_is_packed_apart() -> None:
    script = "import iotwire.mqtt, sys; print(*(name for name in sys.modules if name.startswith('iotwire.')))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert "iotwire.mqtt" in loaded
    places = [SOURCES / name.removeprefix("iotwire.").replace(".", "/") for name in loaded]
    assert {package_of(place if place.is_dir() else place.with_suffix(".py")) for place in places} == {"${PN}"}
