"""Machine instructions for one operation, counted by valgrind: `python benchmarks/instructions.py`.

A count does not depend on what else the machine is doing, so a change of one per cent can be told from noise where a
clock cannot. A statement runs N and then 2 N times in interpreters of their own; the difference divided by N is what
one execution costs, and start-up, imports and warming cancel. An empty statement is measured likewise and taken off.
It says nothing of cache misses and branches: `compare.py` says what a change is worth in time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
EMPTY = "empty statement"

# Runs in the interpreter under valgrind: argv is the name of the operation and how often to run it.
DRIVER = """
import gc, sys
sys.path.insert(0, {here!r})
from instructions import operations
from timing import compile_loop
statement, names, _ = operations()[sys.argv[1]]
loop = compile_loop(statement, names, 10)
loop.run(20)
gc.collect()
gc.disable()
loop.run(int(sys.argv[2]))
"""


def operations() -> dict[str, tuple[str, dict[str, object], int]]:
    """By name: a statement, the names it uses, and how many packets it handles."""
    from contenders import Iotwire, Read
    from inputs import CONTENT_TYPE, USER_PROPERTIES, Message, puback, stream_of

    ours, message = Iotwire(), Message()
    described = Message(content_type=CONTENT_TYPE, user_properties=USER_PROPERTIES)
    messages = stream_of(message)
    pubacks = b"".join(puback(number) for number in range(1, len(messages) + 1))
    found = {
        "encode_publish, positional": (ours.encode_positional(message), 1),
        "encode_publish, by keyword": (ours.encode_by_keyword(message), 1),
        "encode_publish, with properties": (ours.encode_positional(described), 1),
        "Publish(...).encode()": (ours.encode_object(message), 1),
        "PreparedPublish.encode": (ours.encode_prepared(message), 1),
        "decode one": (ours.decode(message, Read.NOTHING), 1),
        "decode one, with properties": (ours.decode(described, Read.NOTHING), 1),
        "decode a stream": (ours.decode_stream(messages), len(messages)),
        "decode a stream of PUBACK": (ours.decode_pubacks(pubacks), len(messages)),
        "PUBACK: encode": (ours.encode_puback(1234), 1),
    }
    statements = {name: (entry.statement, dict(entry.names), packets) for name, (entry, packets) in found.items()}
    return {EMPTY: ("pass", {}, 1)} | statements


def count(name: str, iterations: int, valgrind: str) -> int:
    """Instructions of a whole interpreter that runs the operation `iterations` times."""
    with tempfile.TemporaryDirectory() as scratch:
        profile = Path(scratch) / "callgrind"
        driver = Path(scratch) / "driver.py"
        driver.write_text(DRIVER.format(here=str(HERE)))
        subprocess.run(
            [
                *(valgrind, "--tool=callgrind", f"--callgrind-out-file={profile}"),
                *(sys.executable, str(driver), name, str(iterations)),
            ],
            check=True,
            capture_output=True,
            # One seed for string hashes: dictionaries then probe alike in every run.
            env=os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        totals = re.search(r"^(?:totals|summary): (\d+)", profile.read_text(), re.MULTILINE)
    assert totals, "callgrind wrote no total"
    return int(totals[1])


def instructions_per_packet(name: str, packets: int, valgrind: str) -> float:
    """What one packet costs, start-up cancelled."""
    iterations = 1000 if packets == 1 else 20
    once, twice = (count(name, iterations * times, valgrind) for times in (1, 2))
    return (twice - once) / (iterations * 10 * packets)


def main(arguments: list[str] | None = None) -> int:
    """Count, print, write down or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME", action="append", help="only operations whose name contains NAME")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the counts to FILE")
    parser.add_argument("--compare", metavar="FILE", type=Path, help="show the change against counts written earlier")
    options = parser.parse_args(arguments)
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("valgrind is not installed (on Debian: apt-get install valgrind); nothing counted")
        return 0

    earlier: dict[str, float] = json.loads(options.compare.read_text()) if options.compare else {}
    chosen = {
        name: packets
        for name, (_, _, packets) in operations().items()
        if name != EMPTY and (not options.only or any(part in name for part in options.only))
    }
    overhead = instructions_per_packet(EMPTY, 1, valgrind)
    counts: dict[str, float] = {}
    print(f"{'instructions for one packet':36} {'now':>8}{'   before   change' if earlier else ''}")
    for name, packets in chosen.items():
        counts[name] = round(instructions_per_packet(name, packets, valgrind) - overhead / packets, 1)
        before = earlier.get(name)
        change = "" if before is None else f" {before:8.1f} {counts[name] / before - 1:+8.1%}"
        print(f"{name:36} {counts[name]:8.1f}{change}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(counts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
