"""Machine instructions for one operation, counted by valgrind: `python benchmarks/instructions.py`.

A count does not depend on what else the machine is doing, so a change of one per cent can be told from noise where a
clock cannot. All operations run in one interpreter under callgrind, which writes down and resets its counters whenever
the C library's `getppid` is entered: called before and after each loop it marks off exactly the loop. An empty
statement is counted likewise and taken off. Counts say nothing of cache misses and branches: `compare.py` says what a
change is worth in time.
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

# Runs in the interpreter under valgrind: argv holds the names of the operations.
DRIVER = """
import gc, sys
from os import getppid as mark
sys.path.insert(0, {here!r})
from instructions import iterations_of, operations
from timing import compile_loop
every = operations()
gc.disable()
for name in sys.argv[1:]:
    statement, names, packets = every[name]
    loop = compile_loop(statement, names, 10)
    loop.run(20)
    gc.collect()
    mark()
    loop.run(iterations_of(packets))
    mark()
"""


def operations() -> dict[str, tuple[str, dict[str, object], int]]:
    """By name: a statement, the names it uses, and how many packets it handles."""
    from contenders import Contender, Missing, Read
    from floor import load_floor
    from inputs import CONTENT_TYPE, USER_PROPERTIES, Message, puback, stream_of
    from ours import Iotwire

    ours, message = Iotwire(), Message()
    described = Message(content_type=CONTENT_TYPE, user_properties=USER_PROPERTIES)
    messages = stream_of(message)
    pubacks = b"".join(puback(number) for number in range(1, len(messages) + 1))
    floor = load_floor()
    found: dict[str, tuple[Contender, int]] = {
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
    if not isinstance(floor, Missing):
        found["floor: one exact copy"] = (floor.copy(message.wire), 1)
        found["floor: a stream"] = (floor.publishes(messages), len(messages))
        found["floor: a stream of PUBACK"] = (floor.pubacks(list(range(1, len(messages) + 1))), len(messages))
    statements = {name: (entry.statement, dict(entry.names), packets) for name, (entry, packets) in found.items()}
    return {EMPTY: ("pass", {}, 1)} | statements


def iterations_of(packets: int) -> int:
    """How often a loop runs: often enough that the marks around it do not show."""
    return 1000 if packets == 1 else 20


def count(names: list[str], valgrind: str) -> list[int]:
    """Instructions of each operation's whole loop, by callgrind."""
    with tempfile.TemporaryDirectory() as scratch:
        profile = Path(scratch) / "profile"
        driver = Path(scratch) / "driver.py"
        driver.write_text(DRIVER.format(here=str(HERE)))
        subprocess.run(
            [
                *(valgrind, "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={profile}"),
                *(sys.executable, str(driver), *names),
            ],
            check=True,
            capture_output=True,
            # One seed for string hashes: dictionaries then probe alike in every run.
            env=os.environ | {"PYTHONHASHSEED": "0"},
        )
        # Odd dumps hold what came before a loop, even ones the loop.
        return [_total(Path(f"{profile}.{2 * number}")) for number in range(1, len(names) + 1)]


def _total(profile: Path) -> int:
    total = re.search(r"^(?:totals|summary): (\d+)", profile.read_text(), re.MULTILINE)
    if total is None:
        raise SystemExit(f"callgrind wrote no total into {profile.name}")
    return int(total[1])


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
    totals = count([EMPTY, *chosen], valgrind)
    overhead = totals[0] / iterations_of(1)
    counts: dict[str, float] = {}
    print(f"{'instructions for one packet':36} {'now':>8}{'   before   change' if earlier else ''}")
    for (name, packets), total in zip(chosen.items(), totals[1:], strict=True):
        counts[name] = round((total / iterations_of(packets) - overhead) / (10 * packets), 1)
        before = earlier.get(name)
        change = "" if before is None else f" {before:8.1f} {counts[name] / before - 1:+8.1%}"
        print(f"{name:36} {counts[name]:8.1f}{change}")
    if options.json:
        options.json.write_text(json.dumps(counts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
