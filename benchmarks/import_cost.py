"""What `import iotwire.mqtt` costs a device: time, resident memory, bytes on disk. `python benchmarks/import_cost.py`.

Each figure is a median over fresh interpreters that take turns (bare Python, ours, a peer, bare Python, ...). Inside
each one a clock of processor time runs around the import alone; resident memory is the kernel's VmRSS after it, less
that of bare Python.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from statistics import median

TIME_LIMIT_MS = 5.0
MEMORY_LIMIT_MB = 1.5
SIZE_LIMIT_BYTES = 1_000_000

# What a program imports to encode and decode, then what it imports to have a client.
MODULES = ("iotwire.mqtt", "mqtt5", "mqttium.packets", "ohmqtt.packet", "zmqtt", "paho.mqtt.client", "iotwire")

# Collected before the import, so that garbage of the start-up is not counted for or against a module.
PROBE = """
import gc, sys, time
gc.collect()
before = set(sys.modules)
started = time.process_time_ns()
{statement}
elapsed = time.process_time_ns() - started
new = sorted(set(sys.modules) - before)
with open("/proc/self/status") as status:
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(elapsed, resident, ",".join(new))
"""


@dataclass(frozen=True)
class Probe:
    """One fresh interpreter: how long its import took, what it then held, and what came with it."""

    ms: float
    resident_kb: int
    modules: tuple[str, ...]


def probe(statement: str, bytecode: str) -> Probe:
    """Start an interpreter, run the import in it, and read the figures it prints. `bytecode`: where .pyc files go."""
    command = [sys.executable, "-c", PROBE.format(statement=statement)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = bytecode
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    elapsed, resident, modules = printed.split(" ")
    return Probe(int(elapsed) / 1e6, int(resident), tuple(filter(None, modules.strip().split(","))))


def stripped_sizes(directory: Path) -> dict[str, int]:
    """Bytes of each compiled module in `directory`, without its symbols; as they are where there is no `strip`."""
    strip = shutil.which("strip")
    sizes = {}
    with tempfile.TemporaryDirectory() as scratch:
        for module in sorted(directory.glob("*.so")):
            copy = Path(shutil.copy2(module, scratch))
            if strip:
                subprocess.run([strip, "--strip-unneeded", copy], check=True)
            sizes[module.name.split(".")[0]] = copy.stat().st_size
    return sizes


def installed_bytes(name: str) -> int | None:
    """Bytes on disk of an installed distribution; None where it is not there."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return None
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file())


def verdict(value: float, limit: float, unit: str) -> str:
    """Whether a limit is kept, in words."""
    return f"reached (at most {limit:g} {unit})" if value <= limit else f"BELOW TARGET: {value:.2f} of {limit:g} {unit}"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=25, help="fresh interpreters for each module (default: 25)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE")
    parser.add_argument("--modules", action="store_true", help="also list the modules that come with iotwire.mqtt")
    options = parser.parse_args(arguments)

    present = [name for name in MODULES if find_spec(name.split(".")[0])]
    statements = {"bare Python": "pass"} | {name: f"import {name}" for name in present}
    probes: dict[str, list[Probe]] = {name: [] for name in statements}
    with tempfile.TemporaryDirectory() as bytecode:
        for statement in statements.values():
            probe(statement, bytecode)  # fills the page cache and writes the .pyc files, which a device has too
        for _ in range(options.runs):
            for name, statement in statements.items():
                probes[name].append(probe(statement, bytecode))

    figures: dict[str, dict[str, float]] = {}
    bare_kb = median(found.resident_kb for found in probes["bare Python"])
    print(f"Python {sys.version.split()[0]}, {options.runs} fresh interpreters each, medians")
    print(f"{'import':20} {'ms':>8} {'+MB':>8} {'modules':>8}")
    for name, found in probes.items():
        ms = median(one.ms for one in found)
        megabytes = (median(one.resident_kb for one in found) - bare_kb) / 1024
        figures[name] = {"ms": ms, "megabytes": megabytes, "modules": len(found[0].modules)}
        shown = f"{bare_kb / 1024:.1f} in all" if name == "bare Python" else f"{megabytes:8.2f}"
        print(f"{name:20} {ms:8.2f} {shown:>8} {len(found[0].modules):8d}")
    if options.modules:
        print("\ncome with iotwire.mqtt:", ", ".join(probes["iotwire.mqtt"][0].modules))

    spec = find_spec("iotwire")
    assert spec is not None
    assert spec.submodule_search_locations
    sizes: dict[str, int] = {}
    for directory in spec.submodule_search_locations:
        sizes |= stripped_sizes(Path(directory))
    total = sum(sizes.values())
    print("\nbuilt modules, stripped:", ", ".join(f"{name} {size / 1000:.0f} kB" for name, size in sizes.items()))
    on_disk = {
        name: size for name in ("mqtt5", "mqttium", "ohmqtt", "zmqtt", "paho-mqtt") if (size := installed_bytes(name))
    }
    print("peers, installed:", ", ".join(f"{name} {size / 1000:.0f} kB" for name, size in on_disk.items()))

    ours = figures["iotwire.mqtt"]
    print(f"\ntime   {verdict(ours['ms'], TIME_LIMIT_MS, 'ms')}")
    print(f"memory {verdict(ours['megabytes'], MEMORY_LIMIT_MB, 'MB')}")
    print(f"size   {verdict(total / 1000, SIZE_LIMIT_BYTES / 1000, 'kB')}: {total / 1000:.0f} kB")
    if options.json:
        options.json.write_text(json.dumps({"imports": figures, "stripped_bytes": sizes}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
