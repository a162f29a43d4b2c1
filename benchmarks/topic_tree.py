"""What matching a topic costs in a TopicTree: against the number of filters, and against the topic's depth.

Run: `python benchmarks/topic_tree.py`. The cost should grow with the depth and stay flat along the number of filters;
the second table counts the memory of one filter, as resident memory of a fresh interpreter that holds many.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from timing import Spread, compile_loop, interleave

FILTERS = (10, 100, 1_000, 10_000, 100_000)
DEPTHS = (1, 2, 4, 8, 16)


def topic_of(number: int, depth: int) -> str:
    """Topic `number` of a family that branches ten ways at each level; the first takes the digits left over."""
    digits = f"{number:0{depth}d}"
    first, rest = digits[: len(digits) - depth + 1], digits[len(digits) - depth + 1 :]
    return "/".join([f"site{first}", *(f"room{digit}" for digit in rest)])


def filters_for(count: int, depth: int) -> list[str]:
    """Filters as a gateway would have them: most of them exact, one in ten with `+`, one in ten with `#`.

    Of one level only exact ones: there every wildcard matches every topic, and the answer itself would grow.
    """
    filters = []
    for number in range(count):
        levels = topic_of(number, depth).split("/")
        if depth > 1 and number % 10 == 3:
            levels[number // 10 % depth] = "+"
        elif depth > 1 and number % 10 == 7:
            levels[-1] = "#"
        filters.append("/".join(levels))
    return filters


def tree_of(filters: list[str]) -> Any:
    """A TopicTree that holds each filter with a value."""
    from iotwire.mqtt import TopicTree

    tree: Any = TopicTree()
    for number, topic_filter in enumerate(filters):
        tree.add(topic_filter, number)
    return tree


def matching_cost(rounds: int) -> dict[tuple[int, int], tuple[Spread, int]]:
    """By number of filters and depth: ns for one match of a topic that has an exact filter, and how many it found."""
    from iotwire.mqtt import topic_matches

    cells: dict[tuple[int, int], tuple[Spread, int]] = {}
    for depth in DEPTHS:
        loops, found = [], []
        for count in FILTERS:
            filters, topic = filters_for(count, depth), topic_of(count // 2, depth)
            tree = tree_of(filters)
            matched = tree.match(topic)
            if count <= 10_000:  # every filter tried one by one, as the answer to compare with
                assert sorted(matched) == [n for n, one in enumerate(filters) if topic_matches(one, topic)]
            found.append(len(matched))
            loops.append(compile_loop("match(topic)", {"match": tree.match, "topic": topic}))
        for count, figures, matches in zip(FILTERS, interleave(loops, rounds), found, strict=True):
            cells[count, depth] = (Spread.of(figures), matches)
    return cells


def memory_per_filter(count: int, depth: int) -> float:
    """Bytes of resident memory for one filter; its own str and the int that stands for its value are not counted."""
    code = f"""
import gc, sys
sys.path.insert(0, {str(Path(__file__).resolve().parent)!r})
from topic_tree import filters_for, tree_of
def resident():
    gc.collect()
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
filters = filters_for({count}, {depth})
tree_of(filters[:10])
before = resident()
tree = tree_of(filters)
print((resident() - before) * 1024 / {count})
"""
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="turns each size takes (default: 30)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE")
    options = parser.parse_args(arguments)

    cells = matching_cost(options.rounds)
    print("ns for one match (in brackets: filters that matched)")
    print(f"{'filters':>10}" + "".join(f"{f'depth {depth}':>14}" for depth in DEPTHS))
    for count in FILTERS:
        row = [cells[count, depth] for depth in DEPTHS]
        print(f"{count:10,d}" + "".join(f"{f'{spread.median:.0f} ({matches})':>14}" for spread, matches in row))

    memory = {(count, depth): memory_per_filter(count, depth) for count in (10_000, 100_000) for depth in (4, 8)}
    print("\nbytes for one filter")
    for (count, depth), size in memory.items():
        print(f"{count:10,d} filters of depth {depth}: {size:6.0f}")
    if options.json:
        figures = {
            "match_ns": {f"{count}x{depth}": spread.median for (count, depth), (spread, _) in cells.items()},
            "bytes_per_filter": {f"{count}x{depth}": size for (count, depth), size in memory.items()},
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
