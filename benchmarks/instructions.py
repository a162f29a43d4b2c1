"""Machine instructions for one operation, counted by valgrind: `python benchmarks/instructions.py`.

A count does not depend on what else the machine is doing, so a change of one per cent can be told from noise where a
clock cannot. All operations run in one interpreter under callgrind, which writes down and resets its counters whenever
the C library's `getppid` is entered: called before and after each loop it marks off exactly the loop. An empty
statement is counted likewise and taken off. Counts say nothing of cache misses and branches: `compare.py` says what a
change is worth in time. `--where` says in which functions the instructions are, those of the loop around them included.
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
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from counted import DRIVER, EMPTY, ENVIRONMENT, UNROLL, Operation, for_one_packet, operations

SHOWN = 0.01  # of an operation's instructions: functions with fewer are not worth a line


def profiles(names: list[str], valgrind: str) -> dict[str, str]:
    """What callgrind wrote of each operation's whole loop."""
    with tempfile.TemporaryDirectory() as scratch:
        profile = Path(scratch) / "profile"
        driver = Path(scratch) / "driver.py"
        driver.write_text(DRIVER)
        subprocess.run(
            [
                *(valgrind, "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={profile}"),
                *(sys.executable, str(driver), *names),
            ],
            check=True,
            capture_output=True,
            env=os.environ | ENVIRONMENT,
        )
        # Odd dumps hold what came before a loop, even ones the loop.
        return {name: Path(f"{profile}.{2 * number}").read_text() for number, name in enumerate(names, 1)}


def _total(name: str, profile: str) -> int:
    total = re.search(r"^(?:totals|summary): (\d+)", profile, re.MULTILINE)
    if total is None:
        raise SystemExit(f"callgrind wrote no total of {name}")
    return int(total[1])


def by_function(profile: str) -> Counter[str]:
    """Instructions of each function itself, without those of the functions that it calls."""
    known: dict[str, str] = {}  # callgrind writes a name once, with a number, and then the number alone
    found: Counter[str] = Counter()
    here = ""
    is_of_a_call = False
    for line in profile.splitlines():
        named = re.match(r"(c?fn)=(\(\d+\)) ?(.*)", line)
        if named is not None:
            key, number, name = named.groups()
            known.setdefault(number, name)
            here = known[number] if key == "fn" else here
        elif line.startswith("calls="):
            is_of_a_call = True  # the line after it has what the called function took, all in all
        elif re.match(r"[+*-]?\d* ?\d+$", line):
            if not is_of_a_call:
                found[here] += int(line.rpartition(" ")[2])
            is_of_a_call = False
    return found


def where(profile: str, operation: Operation) -> Iterable[str]:
    """A line for each function that matters: its instructions for one packet, and their share."""
    found = by_function(profile)
    for name, instructions in found.most_common():
        share = instructions / found.total()
        if share < SHOWN:
            break
        one = instructions / (operation.iterations * UNROLL * operation.packets)
        yield f"    {name.removeprefix('__pyx_'):48} {one:8.1f} {share:6.1%}"


def main(arguments: list[str] | None = None) -> int:
    """Count, print, write down or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME", action="append", help="only operations whose name contains NAME")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the counts to FILE")
    parser.add_argument("--compare", metavar="FILE", type=Path, help="show the change against counts written earlier")
    parser.add_argument("--peers", action="store_true", help="count mqtt5 and paho too")
    parser.add_argument("--where", action="store_true", help="show in which functions they are")
    options = parser.parse_args(arguments)
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("valgrind is not installed (on Debian: apt-get install valgrind); nothing counted")
        return 0

    earlier: dict[str, float] = json.loads(options.compare.read_text()) if options.compare else {}
    every = operations()
    chosen = [name for name in every if not options.only or any(part in name for part in options.only)]
    if not options.only and not options.peers:
        chosen = [name for name in chosen if not name.startswith(("mqtt5:", "paho:"))]
    found = profiles([EMPTY, *(name for name in chosen if name != EMPTY)], valgrind)
    counts = for_one_packet({name: _total(name, profile) for name, profile in found.items()}, every)
    print(f"{'instructions for one packet':36} {'now':>8}{'   before   change' if earlier else ''}")
    for name, now in counts.items():
        before = earlier.get(name)
        change = "" if before is None else f" {before:8.1f} {now / before - 1:+8.1%}"
        print(f"{name:36} {now:8.1f}{change}")
        if options.where:
            print(*where(found[name], every[name]), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(counts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
