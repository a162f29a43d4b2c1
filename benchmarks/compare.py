"""All codecs in one process, in turns: `make bench-compare`, or `python benchmarks/compare.py`.

Prints how long each of our operations takes, how many times longer each peer takes for the same result (the median
over the rounds of the ratio within a round, and where four fifths of the ratios lie), how near we are to the floor, and
whether the target is reached.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparisons import REFERENCE, Comparison, Comparisons, Row
from contenders import Entry, Missing
from floor import load_floor
from ours import Iotwire
from peers import installed_peers
from provenance import describe_run
from timing import Spread, compile_loop, interleave, loop_overhead_ns

Ratio = Spread | Missing


@dataclass(frozen=True)
class Line:
    """One row, measured: how many times longer each peer takes (`ratios`), how many times the floor we take."""

    name: str
    row: Row
    ns: Spread
    ratios: dict[str, Ratio]
    of_floor: Ratio

    @property
    def shortfalls(self) -> list[str]:
        """What is wanted and not reached; empty when all is well or nothing was set."""
        found = []
        against = self.ratios.get(REFERENCE)
        if self.row.target is not None:
            if not isinstance(against, Spread):
                found.append(f"{REFERENCE} was not measured")
            elif against.median < self.row.target:
                found.append(f"{against.median:.2f} of {self.row.target:g} times")
        if self.row.floor_limit is not None:
            if not isinstance(self.of_floor, Spread):
                found.append("the floor was not measured")
            elif self.of_floor.median > self.row.floor_limit:
                found.append(f"{self.of_floor.median:.2f} of the floor, {self.row.floor_limit:g} allowed")
        return found

    @property
    def target(self) -> str:
        times = "" if self.row.target is None else f"{self.row.target:g}x"
        return times if self.row.floor_limit is None else f"{times}, {self.row.floor_limit:g} fl"

    @property
    def verdict(self) -> str:
        if not self.target:
            return ""
        return f"BELOW TARGET: {'; '.join(self.shortfalls)}" if self.shortfalls else "reached"

    def as_json(self) -> dict[str, Any]:
        """The line as plain values."""
        return {
            "name": self.name,
            "operation": self.row.label.strip(),
            "statement": self.row.contender.statement,
            "ns": self.ns._asdict(),
            "times": {who: _ratio_as_json(ratio) for who, ratio in self.ratios.items()},
            "of_floor": _ratio_as_json(self.of_floor),
            "target": self.row.target,
            "floor_limit": self.row.floor_limit,
            "reached": None if not self.target else not self.shortfalls,
        }


def measure(comparison: Comparison, rounds: int, *, collect_garbage: bool = False) -> list[Line]:
    """Check that all make the same, then time them in turns."""
    comparison.check()
    contenders = list(comparison.contenders())
    loops = [compile_loop(entry.statement, entry.names, comparison.unroll) for entry in contenders]
    figures = interleave(loops, rounds, collect_garbage=collect_garbage)
    times = {
        id(entry): [ns / comparison.operations for ns in row] for entry, row in zip(contenders, figures, strict=True)
    }

    def ratio(above: Entry, below: Entry) -> Ratio:
        if isinstance(above, Missing):
            return above
        if isinstance(below, Missing):
            return below
        return Spread.of([a / b for a, b in zip(times[id(above)], times[id(below)], strict=True)])

    return [
        Line(
            comparison.name,
            row,
            Spread.of(times[id(row.contender)]),
            {peer.who: ratio(peer, row.contender) for peer in comparison.peers},
            ratio(row.contender, comparison.floor),
        )
        for row in comparison.rows
    ]


def print_table(title: str, lines: list[Line], peers: list[str]) -> None:
    """Print the lines, one under the other, with a column for each peer."""
    if not lines:
        return
    width = max(len(line.row.label) for line in lines)
    print(f"\n{title}")
    head = f"{'operation':{width}} {'ns':>7} " + "".join(f"{peer + ' x':>18}" for peer in peers)
    print(f"{head}{'of floor':>18}  {'target':<12} verdict".rstrip())
    for line in lines:
        cells = "".join(f"{_cell(line.ratios.get(peer)):>18}" for peer in peers)
        columns = f"{line.row.label:{width}} {line.ns.low:>7.1f} {cells}{_cell(line.of_floor):>18}"
        print(f"{columns}  {line.target:<12} {line.verdict}".rstrip())


def print_missing(lines: list[Line]) -> None:
    """Say why a cell has no figure."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        for ratio in line.ratios.values():
            if isinstance(ratio, Missing):
                reasons.setdefault((ratio.who, ratio.why), []).append(line.name)
    if reasons:
        print("\nnone: the library has no callable codec for it")
    for (who, why), names in reasons.items():
        print(f"  {who}: {why} ({', '.join(dict.fromkeys(names))})")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the figures down if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="turns each contender takes (default: 100)")
    parser.add_argument("--only", metavar="NAME", action="append", help="only comparisons whose name contains NAME")
    parser.add_argument("--main", action="store_true", help="only the rows that have targets")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE")
    parser.add_argument("--gc", action="store_true", help="leave the garbage collector on while a clock runs")
    parser.add_argument("--list", action="store_true", help="print the statements that would be timed, and stop")
    options = parser.parse_args(arguments)

    ours = Iotwire()
    peers, absent = installed_peers()
    comparisons = Comparisons(ours, peers, load_floor())
    tables = {"Against the targets": list(comparisons.main())}
    if not options.main:
        tables["Other packets and other ways (no targets)"] = list(comparisons.further())
    if options.only:
        tables = {
            title: [item for item in table if any(name in item.name for name in options.only)]
            for title, table in tables.items()
        }
    if options.list:
        print_statements([item for table in tables.values() for item in table])
        return 0

    versions = {ours.name: ours.version} | {peer.name: peer.version for peer in peers}
    run = describe_run(
        versions,
        rounds=options.rounds,
        garbage_collector="on" if options.gc else "off",
        loop_overhead_ns=round(loop_overhead_ns(), 2),
    )
    print(", ".join(f"{name} {version}" for name, version in run["versions"].items()))
    print(f"{run['implementation']} {run['python']}, {run['processor']}; {options.rounds} rounds;")
    print(f"garbage collector {run['garbage_collector']}; loop overhead {run['loop_overhead_ns']} ns, not subtracted;")
    print("ns: for one packet, the 10th percentile; x: a peer's time divided by ours within a round,")
    print("the median of the rounds (and the 10th to the 90th percentile)")
    for missing in absent:
        print(f"{missing.who}: {missing.why}")
    names = [peer.name for peer in peers]
    lines: list[Line] = []
    for title, table in tables.items():
        measured = [line for item in table for line in measure(item, options.rounds, collect_garbage=options.gc)]
        print_table(title, measured, names)
        lines += measured
    print_missing(lines)
    print_verdict(lines)
    if options.json:
        options.json.write_text(json.dumps({"run": run, "lines": [line.as_json() for line in lines]}, indent=1) + "\n")
    return 0


def print_statements(comparisons: list[Comparison]) -> None:
    """What is timed, word for word."""
    for comparison in comparisons:
        print(f"\n{comparison.name}")
        for contender in comparison.contenders():
            print(f"  {contender.who:8} {contender.statement}")


def print_verdict(lines: list[Line]) -> None:
    """The last word: how many targets are reached."""
    aimed = [line for line in lines if line.target]
    below = [line for line in aimed if line.shortfalls]
    if aimed:
        print(f"\n{len(aimed) - len(below)} of {len(aimed)} targets reached")
    for line in below:
        print(f"  below target: {line.row.label.strip()} ({line.name}): {'; '.join(line.shortfalls)}")


def _cell(ratio: Ratio | None) -> str:
    if ratio is None:
        return "-"
    return "none" if isinstance(ratio, Missing) else str(ratio)


def _ratio_as_json(ratio: Ratio) -> dict[str, Any] | str:
    return ratio.why if isinstance(ratio, Missing) else ratio._asdict()


if __name__ == "__main__":
    sys.exit(main())
