"""The package as a whole: which part may import which, what an import costs, what other projects get from it."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from iotwire import mqtt, tls
from support import CHECKOUT, IS_EMULATED

EXTENSION_SOURCES = sorted((CHECKOUT / "ext" / "iotwire").glob("_[a-z]*.p[yx][xd]"))
PACKAGE_SOURCES = sorted((CHECKOUT / "src" / "iotwire").rglob("*.py"))

# From the bottom to the top. Whoever adds a part says here where it stands.
LAYERS = [
    {
        "errors",
        "_codes",
        "_enums",
        "_hellos",
        "_lazy",
        "_release",
        "_tls_tables",
        "_verification",
        "mqtt",
        "sigv4",
        "tls",
        "tls_names",
        *(source.stem for source in EXTENSION_SOURCES),
    },
    {
        "_lock",
        "_message",
        "clock",
        "credentials",
        "custom_auth",
        "endpoint",
        "failover",
        "limits",
        "outbox",
        "proxy",
        "route",
        "service",
        "signing",
        "systemd",
    },
    {"transport"},
    {"client", "https", "metrics", "preflight", "probe"},
    {"providers"},
    {"adapters", "emulator", "cli", "__main__"},
]
# Methods that open what stands above them when they are called: the part they are in, and the one they import then.
DOORS = {("credentials", "providers"), ("route", "preflight")}
# What a device must not pay for when it wants the codec alone.
HEAVY = {"asyncio", "cryptography", "h11", "socket", "ssl"}

MAXIMUM_MEMORY_KB = 1_500
# Of all modules that MQTT needs together, and of each other one: a device that does not import that pays on disk alone.
MAXIMUM_STRIPPED_BYTES = 1_030_000
MAXIMUM_STRIPPED_BYTES_OF = {"_sigv4": 150_000, "_tls": 175_000, "_token": 60_000, "_websocket": 60_000}


def built_modules() -> list[Path]:
    """The compiled modules that this interpreter would load."""
    package = find_spec("iotwire")
    assert package is not None
    assert package.submodule_search_locations is not None
    (folder,) = package.submodule_search_locations
    found = (
        sorted(Path(folder).glob("*" + suffix)) for suffix in EXTENSION_SUFFIXES
    )  # in the order that it would look
    return next(filter(None, found), [])


# Whether the modules are those for every later Python (setup.py's IOTWIRE_LIMITED_API) and not for this one alone.
LIMITED_API = any(".abi3." in module.name for module in built_modules())


def layer_of(part: str) -> int:
    """The index in LAYERS of a part of the package, that is of `iotwire.<part>` and all below it."""
    for index, parts in enumerate(LAYERS):
        if part in parts:
            return index
    pytest.fail(f"iotwire.{part} stands in no layer: name it in LAYERS, at its place")


def modules_imported_by_python(source: Path) -> Iterator[str]:
    """Absolute names of the modules that a .py file imports, at any depth of it, for types alone too."""
    package = ["iotwire", *source.relative_to(CHECKOUT / "src" / "iotwire").parent.parts]
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def modules_imported_by_cython(source: Path) -> Iterator[str]:
    """Absolute names of the modules that a .pyx or .pxd file imports or cimports."""
    yield from re.findall(r"^\s*(?:from|c?import)\s+([\w.]+)", source.read_text(), flags=re.MULTILINE)


def part_of(module: str) -> str | None:
    """`transport` for iotwire.transport.tcp; None for what is not ours, and for iotwire itself."""
    root, _, rest = module.partition(".")
    return rest.partition(".")[0] or None if root == "iotwire" else None


def parts_imported_by(source: Path) -> set[str]:
    """The parts of iotwire that a file imports. A name that is no module of ours is one of `iotwire`'s lazy names."""
    imported = modules_imported_by_python if source.suffix == ".py" else modules_imported_by_cython
    known = set().union(*LAYERS)
    return {part for module in imported(source) if (part := part_of(module)) and part in known}


def python_part(source: Path) -> str:
    return source.relative_to(CHECKOUT / "src" / "iotwire").with_suffix("").parts[0]


@pytest.mark.parametrize(
    "source",
    [source for source in PACKAGE_SOURCES if python_part(source) != "__init__"] + EXTENSION_SOURCES,
    ids=lambda source: source.relative_to(CHECKOUT).as_posix(),
)
def test_imports_go_down_and_never_up(source: Path) -> None:
    part = python_part(source) if source.suffix == ".py" else source.stem
    here = layer_of(part)
    upwards = {other for other in parts_imported_by(source) if layer_of(other) > here and (part, other) not in DOORS}
    assert not upwards, f"{source.name} imports from a layer above its own"


def test_doors_to_what_stands_above_are_closed_until_they_are_used(run_python: Callable[[str], str]) -> None:
    for part, other in DOORS:
        program = f"import sys, iotwire.{part}; print('iotwire.{other}' in sys.modules)"
        assert run_python(program) == "False\n"


@pytest.mark.parametrize(
    "source",
    [source for source in PACKAGE_SOURCES if python_part(source) in LAYERS[-1]],
    ids=lambda source: source.relative_to(CHECKOUT).as_posix(),
)
def test_what_stands_on_top_uses_public_names_alone(source: Path) -> None:
    own = python_part(source)
    private = {
        module
        for module in modules_imported_by_python(source)
        if part_of(module) not in (None, own) and re.search(r"\._(?!_)", module)
    }
    assert not private


def test_compiled_code_is_independent_of_sockets_clocks_threads_and_logs() -> None:
    forbidden = {"asyncio", "datetime", "logging", "random", "select", "socket", "ssl", "threading", "time"}
    for source in EXTENSION_SOURCES:
        roots = {module.partition(".")[0] for module in modules_imported_by_cython(source)}
        assert not roots & forbidden, source.name


def output_of(command: list[str], **options: Any) -> str:
    """What a program prints. One that fails fails the test, in its own words."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run_python(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Run a program in a fresh interpreter that finds everything compiled to bytecode already, as on a device."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.mktemp("bytecode"))

    def run(program: str) -> str:
        return output_of([sys.executable, "-c", program], env=environment)

    run("import iotwire.mqtt")
    return run


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python always has its GIL")
def test_free_threaded_python_stays_so_when_it_imports_the_codec() -> None:
    # Importing a module that does not declare itself brings the GIL back, with a warning.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    program = "import sys; import iotwire.mqtt, iotwire.tls; print(sys._is_gil_enabled())"
    assert output_of([sys.executable, "-W", "error", "-c", program], env=environment) == "False\n"


@pytest.mark.parametrize("codec", ["mqtt", "sigv4", "tls"])
def test_a_codec_alone_loads_neither_ssl_nor_asyncio_nor_cryptography(
    run_python: Callable[[str], str], codec: str
) -> None:
    loaded = json.loads(
        run_python(
            f"import sys; before = set(sys.modules); import iotwire.{codec}; import json;"
            "print(json.dumps(sorted(set(sys.modules) - before)))"
        )
    )
    assert f"iotwire.{codec}" in loaded
    assert not {module.partition(".")[0] for module in loaded} & HEAVY
    # A device that wants one codec pays for one; what a hello is asked for seldom comes when it is asked.
    others = {
        "mqtt": {"iotwire._tls"},
        "sigv4": {"iotwire._mqtt", "iotwire._tls"},
        "tls": {"iotwire._mqtt", "iotwire._session", "iotwire._hellos"},
    }
    assert not others[codec] & set(loaded)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(IS_EMULATED, reason="/proc tells of the emulator's memory")
@pytest.mark.skipif(LIMITED_API, reason="Cython imports `inspect` into modules of the limited API")
def test_importing_the_codec_costs_little_memory(
    run_python: Callable[[str], str], record_property: Callable[[str, object], None]
) -> None:
    report = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')))"

    def resident_kb(program: str) -> float:
        return statistics.median(int(run_python(program + report)) for _ in range(7))

    cost = resident_kb("import iotwire.mqtt\n") - resident_kb("")
    record_property("import_memory_kb", cost)
    print(f"import iotwire.mqtt adds {cost:.0f} KiB to bare Python")
    assert cost <= MAXIMUM_MEMORY_KB


@pytest.mark.skipif(shutil.which("strip") is None, reason="strip, of binutils, is not installed")
@pytest.mark.skipif(IS_EMULATED, reason="strip is that of the machine that emulates")
def test_the_built_modules_together_are_small(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    modules = built_modules()
    assert {module.name.partition(".")[0] for module in modules} == {
        source.stem for source in EXTENSION_SOURCES if source.suffix == ".pyx"
    }
    sizes = {}
    for module in modules:
        stripped = tmp_path / module.name
        output_of(["strip", "-o", str(stripped), str(module)])
        sizes[module.name.partition(".")[0]] = stripped.stat().st_size
    record_property("stripped_bytes", sum(sizes.values()))
    print(f"stripped: {sizes}, together {sum(sizes.values())} bytes")
    for name, most in MAXIMUM_STRIPPED_BYTES_OF.items():
        assert sizes.pop(name) < most
    assert sum(sizes.values()) < MAXIMUM_STRIPPED_BYTES


def test_inspect_knows_what_a_packet_is_made_from() -> None:
    if LIMITED_API:  # a class has no signature but in a field that only the full API opens
        with pytest.raises(ValueError, match="no signature"):
            inspect.signature(mqtt.PubAck)
    else:
        shown = str(inspect.signature(mqtt.PubAck))
        assert shown == "(packet_id, reason_code=0, *, reason_string=None, user_properties=())"
        hello = str(inspect.signature(tls.ClientHello))
        assert hello.startswith("(server_name=None, alpn_protocols=(), *, versions=(772, 771), cipher_suites=None, ")
    if sysconfig.get_config_var("WITH_DOC_STRINGS"):  # an interpreter can be built without
        assert mqtt.PubAck.__doc__ == "PUBACK: the answer to a PUBLISH of QoS 1 [3.4]."


# What a client of another project does with the codec in C: takes the fields of a packet, and decodes one in place.
OTHER_PROJECT = """
# cython: language_level=3
from libc.stdint cimport uint8_t

from iotwire._cursor cimport Cursor, Fault, cursor_over
from iotwire._mqtt cimport Packet, Publish, decode_body
from iotwire._topics cimport TopicTree

cdef int fail(const Cursor* at, Fault fault) except -1:
    raise ValueError(f"at byte {at.base + (at.pos - at.start)}")

def topic_of(Publish packet):
    return packet.topic

def decode(int first, bytes body, int version):
    cdef Cursor cursor = cursor_over(<const uint8_t*> body, len(body), 2, fail)
    cdef Packet packet = decode_body(first, &cursor, version, None, NULL)
    return packet
"""
OTHER_PROGRAM = """
import other_project
from iotwire.mqtt import Publish

packet = Publish("a/b", b"21.5", qos=1, packet_id=7, content_type="text/plain")
print(other_project.topic_of(packet))
wire = packet.encode(5)
print(other_project.decode(wire[0], wire[2:], 5) == packet)
try:
    other_project.decode(wire[0], wire[2:8], 5)
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(IS_EMULATED, reason="there is no compiler for the emulated Python")
def test_another_cython_project_can_cimport_the_codec(tmp_path: Path) -> None:
    (tmp_path / "other_project.pyx").write_text(OTHER_PROJECT)
    # An installed iotwire has its headers beside the modules, where Cython looks; an editable one leaves them in ext/.
    is_editable = built_modules()[0].is_relative_to(CHECKOUT / "src")
    include_path = [str(CHECKOUT / "ext")] if is_editable else []
    (tmp_path / "setup.py").write_text(
        "from Cython.Build import cythonize\nfrom setuptools import setup\n"
        f"setup(name='other', ext_modules=cythonize('other_project.pyx', include_path={include_path!r}))\n"
    )
    output_of([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tmp_path)
    printed = output_of([sys.executable, "-c", OTHER_PROGRAM], cwd=tmp_path)
    assert printed == "a/b\nTrue\nat byte 7\n"
