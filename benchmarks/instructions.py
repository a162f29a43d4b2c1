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

from counted import DRIVER, EMPTY, ENVIRONMENT, for_one_packet, operations


def count(names: list[str], valgrind: str) -> dict[str, int]:
    """Instructions of each operation's whole loop, by callgrind."""
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
        return {name: _total(Path(f"{profile}.{2 * number}")) for number, name in enumerate(names, 1)}


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
    parser.add_argument("--peers", action="store_true", help="count mqtt5 and paho too")
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
    counts = for_one_packet(count([EMPTY, *(name for name in chosen if name != EMPTY)], valgrind), every)
    print(f"{'instructions for one packet':36} {'now':>8}{'   before   change' if earlier else ''}")
    for name, now in counts.items():
        before = earlier.get(name)
        change = "" if before is None else f" {before:8.1f} {now / before - 1:+8.1%}"
        print(f"{name:36} {now:8.1f}{change}")
    if options.json:
        options.json.write_text(json.dumps(counts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
