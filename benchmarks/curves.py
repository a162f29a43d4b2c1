"""How what a message costs grows: `make bench-curves`, or `python benchmarks/curves.py`.

Each curve varies one thing: messages, connections, filters, payload, properties, messages in flight, backlog. Costs are
processor time of the client's process, user and system, with mosquitto in another process. There is no meter here, so
that stands for energy, too: it is proportional to it at best, and knows nothing of the radio. Memory is what the kernel
keeps in memory of the client's process. Every point is a fresh interpreter, and points take turns in rounds; shown are
the median and the 10th to the 90th percentile. Each curve says in a sentence what it is to show, and whether it does.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from broker import mosquitto, mosquitto_program, mosquitto_version
from clients import Arena, Figures, Line, allow_many_connections, interleave
from growth import exponent, last_exponent, line
from provenance import describe_run
from start import measure_start, print_start
from timing import Spread

WAYS = "curve"  # client_ways/curve_ways.py
CPU, BYTES = "us of CPU", "bytes"
FLAT = 0.1  # of an exponent: ten times as much of it, a quarter more cost
LINEAR = 1.15
KiB = 1024

Kind = Literal["flat", "linear", "shared", "free"]


@dataclass(frozen=True)
class Series:
    """A way of client_ways/curve_ways.py over `xs`. task: what else it is to do. is_ours: else it is a yardstick."""

    name: str
    way: str
    xs: tuple[int, ...]
    task: Callable[[int], dict[str, Any]]
    is_ours: bool = True


@dataclass(frozen=True)
class Curve:
    """A sentence and the series that are to show it.

    kind: what holds of every series of ours: "flat", the cost does not grow; "linear", it does so in proportion at
    most, on top of what there is without; "shared", more of it costs less.
    """

    name: str
    shows: str
    x: str
    series: tuple[Series, ...]
    kind: Kind = "flat"
    unit: str = CPU


@dataclass
class Measured:
    """A series with its figures."""

    series: Series
    points: list[tuple[int, Spread]] = field(default_factory=list)

    @property
    def xs(self) -> list[float]:
        return [x for x, _ in self.points]

    @property
    def ys(self) -> list[float]:
        return [spread.median for _, spread in self.points]

    def growth(self, kind: Kind) -> str:
        """The fit, in words."""
        if kind == "linear":
            found = line(self.xs, self.ys)
            at_end = last_exponent(self.xs, self.ys)
            return f"{found.base:.3g} us, and {found.slope:.2g} for each; at the end n^{at_end:.2f}"
        if kind == "shared":
            found = line([1 / x for x in self.xs], self.ys)
            return f"{found.base:.3g} us, and {found.slope:.3g}/n"
        times = self.ys[-1] / self.ys[0]
        return f"n^{exponent(self.xs, self.ys):.2f}, the last {times:.2f} times the first"

    def holds(self, kind: Kind) -> bool:
        if kind == "linear":
            return last_exponent(self.xs, self.ys) <= LINEAR
        if kind == "shared":
            return self.ys[-1] <= self.ys[0]
        return exponent(self.xs, self.ys) <= FLAT


def fed(**task: Any) -> dict[str, Any]:
    return {"is_fed": True, "burst": True, **task}


def fewer(x: int, most: int, least: int = 200) -> int:
    """As many messages as leave a point of a large x bearable."""
    return max(least, min(most, most * 200 // max(1, x)))


def turns_of(connections: int) -> dict[str, Any]:
    """Every connection has its turn once before it is measured, and four times meanwhile."""
    return {"connections": connections, "messages": max(10_000, 4 * connections), "warm_up": max(connections, 1000)}


MESSAGES = (1_000, 10_000, 100_000, 1_000_000)
CONNECTIONS = (1, 10, 100, 1_000, 5_000)
PAYLOADS = (16, 256, 1 * KiB, 4 * KiB, 32 * KiB, 128 * KiB)
PROPERTIES = (1, 2, 4, 8, 16, 32, 64)
WINDOWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
BACKLOGS = (100, 1_000, 10_000, 100_000)
# Of fewer, what the start of an interpreter left free in its heap hides a part.
IN_FLIGHT = (5_000, 20_000, 60_000)
FILTERS = (10_000, 30_000, 100_000)

CURVES = (
    Curve(
        "messages",
        "What a message costs does not grow with the number of messages.",
        "messages",
        (
            Series("published, QoS 0", "publish", MESSAGES, lambda n: {"messages": n}),
            Series("published, QoS 1", "publish_acknowledged", MESSAGES[:3], lambda n: {"messages": n}),
            Series("received, QoS 0", "receive", MESSAGES, lambda n: fed(messages=n)),
        ),
    ),
    Curve(
        "connections",
        "What a message costs does not grow with the number of connections in the process.",
        "connections",
        (
            Series(
                "a message of QoS 1, awaited",
                "publish_in_turn",
                CONNECTIONS,
                turns_of,
            ),
            Series(
                "the same by asyncio's transport alone",
                "bare_in_turn",
                CONNECTIONS,
                turns_of,
                is_ours=False,
            ),
        ),
    ),
    Curve(
        "connecting",
        "Nor does what one more connection costs.",
        "connections",
        (Series("one more connection", "connect_more", CONNECTIONS[1:], lambda n: {"connections": n}),),
    ),
    Curve(
        "filters",
        "What a received message costs does not grow with the number of filters.",
        "filters, each with a stream",
        (
            Series(
                "received, QoS 0",
                "receive_among",
                (1, 10, 100, 1_000, 10_000, 100_000),
                lambda n: fed(messages=20_000, subscriptions=n),
            ),
        ),
    ),
    Curve(
        "payload",
        "What a message costs grows no more than in proportion to its payload.",
        "bytes of payload",
        (
            Series(
                "published, QoS 0", "publish", PAYLOADS, lambda n: {"payload_size": n, "messages": fewer(n, 20_000)}
            ),
            Series(
                "published, QoS 1",
                "publish_acknowledged",
                PAYLOADS,
                lambda n: {"payload_size": n, "messages": fewer(n, 10_000), "in_flight": 20},
            ),
            Series("received, QoS 0", "receive", PAYLOADS, lambda n: fed(payload_size=n, messages=fewer(n, 20_000))),
        ),
        kind="linear",
    ),
    Curve(
        "properties",
        "What a message costs grows no more than in proportion to its user properties.",
        "user properties of 19 bytes",
        (
            Series("published, QoS 0", "publish", PROPERTIES, lambda n: {"user_properties": n, "messages": 10_000}),
            Series("received, QoS 0", "receive", PROPERTIES, lambda n: fed(user_properties=n, messages=10_000)),
        ),
        kind="linear",
    ),
    Curve(
        "window",
        "The more messages are in flight, the less one costs: they share what waking up takes.",
        "messages of QoS 1 in flight",
        (
            Series("published, QoS 1", "publish_acknowledged", WINDOWS, lambda n: {"in_flight": n, "messages": 10_000}),
            Series(
                "asyncio's transport alone",
                "bare_window",
                WINDOWS,
                lambda n: {"in_flight": n, "messages": 10_000},
                is_ours=False,
            ),
        ),
        kind="shared",
    ),
    Curve(
        "backlog",
        "What a message costs does not grow with the number that wait before it.",
        "messages of QoS 1 that wait",
        (
            Series("from memory", "backlog_in_memory", BACKLOGS, lambda n: {"messages": n}),
            Series("stored on disk", "backlog_stored", BACKLOGS, lambda n: {"messages": n}),
            Series("delivered from disk", "backlog_delivered", BACKLOGS, lambda n: {"messages": n}),
        ),
    ),
    Curve(
        "memory-connection",
        "What a connection takes of memory does not grow with their number.",
        "idle connections",
        (
            Series("an idle connection", "memory_of_connections", CONNECTIONS[2:], lambda n: {"connections": n}),
            Series(
                "asyncio's transport alone",
                "bare_memory",
                CONNECTIONS[2:],
                lambda n: {"connections": n},
                is_ours=False,
            ),
        ),
        unit=BYTES,
    ),
    Curve(
        "memory-in-flight",
        "What a message in flight takes of memory does not grow with their number.",
        "messages of QoS 1 in flight",
        (
            Series("256 bytes of payload", "memory_in_flight", IN_FLIGHT, lambda n: {"messages": n}),
            Series(
                "16 bytes of payload",
                "memory_in_flight",
                IN_FLIGHT,
                lambda n: {"messages": n, "payload_size": 16},
            ),
        ),
        unit=BYTES,
    ),
    Curve(
        "memory-filter",
        "What a filter takes of memory does not grow with their number.",
        "filters of four levels",
        (
            Series("in a TopicTree", "memory_of_filters", FILTERS, lambda n: {"subscriptions": n}),
            Series(
                "with a stream of its own",
                "memory_of_streams",
                FILTERS,
                lambda n: {"subscriptions": n},
            ),
        ),
        unit=BYTES,
    ),
)
NAMES = (*(curve.name for curve in CURVES), "start")


def measure(arena: Arena, curve: Curve, rounds: int, scale: float) -> list[Measured]:
    """Visit every point of a curve once in each round."""
    lines: list[tuple[Series, int, Line, dict[str, Any]]] = []
    for series in curve.series:
        for x in series.xs:
            if x <= max(series.xs[0], series.xs[-1] * scale):
                task = series.task(x)
                if scale < 1 and "messages" in task and task["messages"] != x:
                    task["messages"] = max(50, round(task["messages"] * scale))
                task.setdefault("warm_up", min(1000, task.get("messages", 1000)))
                lines.append((series, x, Line(WAYS, series.way), task))
    tasks = {id(one): task for _, _, one, task in lines}

    def turn(one: Line) -> Figures:
        return arena.turn(one.who, one.way, **tasks[id(one)])

    interleave([one for _, _, one, _ in lines], rounds, turn)
    figure = "cpu" if curve.unit == CPU else "bytes"
    measured = {series.name: Measured(series) for series in curve.series}
    for series, x, one, _ in lines:
        measured[series.name].points.append((x, Spread.of([each[figure] for each in one.turns])))
    return [each for each in measured.values() if each.points]


def show(curve: Curve, measured: Sequence[Measured], rounds: int) -> Figures:
    """Print a curve; its figures."""
    held = all(each.holds(curve.kind) for each in measured if each.series.is_ours)
    print(f"\n{curve.name}: {curve.shows} {'It is so.' if held else 'IT IS NOT SO.'}")
    print(f"{curve.unit} for one, by {curve.x}; {rounds} rounds")
    found = []
    for each in measured:
        print(f"  {each.series.name}: {each.growth(curve.kind)}")
        print("    " + "   ".join(f"{x:,}: {spread}" for x, spread in each.points))
        found.append(
            {
                "name": each.series.name,
                "is_ours": each.series.is_ours,
                "growth": each.growth(curve.kind),
                "points": [{"x": x, **spread._asdict()} for x, spread in each.points],
            }
        )
    return {
        "name": curve.name,
        "shows": curve.shows,
        "holds": held,
        "kind": curve.kind,
        "x": curve.x,
        "unit": curve.unit,
        "series": found,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the figures down if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="times each point is visited (default: 5)")
    parser.add_argument("--only", metavar="NAME", action="append", choices=NAMES, help=f"only {', '.join(NAMES)}")
    parser.add_argument("--scale", type=float, default=1.0, help="under 1: leave out the largest points, to try it")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE")
    options = parser.parse_args(arguments)
    program = mosquitto_program()
    if program is None:
        print("mosquitto is not installed (tools/install-brokers.sh installs it)", file=sys.stderr)
        return 2

    allow_many_connections()
    chosen = options.only or NAMES
    run = describe_run({"mosquitto": mosquitto_version(program)}, rounds=options.rounds, scale=options.scale)
    print(f"{run['implementation']} {run['python']}, {run['processor']}, {run['processors']} processors")
    curves: list[Figures] = []
    start: Figures | None = None
    for curve in CURVES:
        if curve.name in chosen:
            with mosquitto(program) as port:
                arena = Arena(port, uvloop=False)
                curves.append(show(curve, measure(arena, curve, options.rounds, options.scale), options.rounds))
                run["versions"]["iotwire"] = arena.versions[WAYS]
    if "start" in chosen:
        with mosquitto(program) as port:
            start = measure_start(port, max(options.rounds, 3))
        print_start(start)
        run["versions"] |= start["versions"]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"run": run, "curves": curves, "start": start}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
