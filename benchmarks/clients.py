"""Whole clients against a mosquitto of this machine: `make bench-clients`, or `python benchmarks/clients.py`.

What is compared is the processor time of the client's process, user and system, for one message of 256 bytes over
MQTT 5. Every contender gets a fresh interpreter for each turn, and they take turns; a peer's time is divided by ours of
the same round, and the table shows the median over the rounds, and the 10th to the 90th percentile. A peer that has
several ways is held to its cheapest. Before publishers are measured, a subscriber must have got from each exactly the
messages that were asked for, with their QoS; otherwise the run stops.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from broker import mosquitto, mosquitto_program, mosquitto_version
from provenance import describe_run
from timing import Spread
from witness import Witness

WAYS = Path(__file__).resolve().parent / "client_ways"
sys.path.insert(0, str(WAYS))

from task import PAYLOAD_SIZE, TOPIC, payloads  # noqa: E402

OURS = "iotwire"
TIMEOUT_S = 300.0  # for one turn of one contender

Figures = dict[str, Any]


ACKNOWLEDGED = {
    "bare": ("acknowledged",),
    "mqttium": ("acknowledged_tasks", "acknowledged_callbacks", "acknowledged_many"),
    "gmqtt": ("acknowledged_tasks", "acknowledged_callbacks"),
    "paho": ("acknowledged_semaphore", "acknowledged_callbacks"),
    "awscrt": ("acknowledged_futures", "acknowledged_callbacks"),
    "aiomqtt": ("acknowledged_tasks",),
    "zmqtt": ("acknowledged_tasks",),
    "ohmqtt": ("acknowledged_handles",),
}
ACKNOWLEDGED_AIMS = {"mqttium": 6, "gmqtt": 2.5, "awscrt": 6}
RECEIVERS = {
    "bare": ("receive",),
    "mqttium": ("receive_messages", "receive_callback"),
    "gmqtt": ("receive_callback",),
    "paho": ("receive_callback",),
    "awscrt": ("receive_callback",),
    "aiomqtt": ("receive_messages",),
    "zmqtt": ("receive_messages", "receive_calls"),
    "ohmqtt": ("receive_callback",),
}
RECEIVE_AIMS = {"mqttium": 2, "gmqtt": 1.4, "paho": 5}
PEERS = ("mqttium", "gmqtt", "paho", "awscrt", "aiomqtt", "zmqtt", "ohmqtt")
SLOW = ("aiomqtt", "zmqtt")  # a tenth of the messages takes them longer than all of them take us
CHECKED = 300  # messages that are looked at before a publisher is measured


@dataclass(frozen=True)
class Row:
    """One thing to do. ours, peers: ways to do it, by function of the contender's script in client_ways/.

    The peer "bare" is no client: it has packets that were made beforehand, and counts bytes.

    messages: how many are measured in a turn; a tenth of them of a peer in SLOW. qos: of what is published; None where
    messages are received. aims: how many times our figure each peer's is to be. ours_too: further ways of ours, which
    nobody is held against.
    """

    name: str
    title: str
    messages: int
    ours: tuple[str, ...]
    peers: dict[str, tuple[str, ...]]
    aims: dict[str, float] = field(default_factory=dict)
    qos: int | None = None
    is_fed: bool = False
    burst: bool = False
    ours_too: tuple[str, ...] = ()


ROWS = (
    Row(
        "publish-0",
        "publish QoS 0, until the broker has answered what came after",
        100_000,
        ("publish_many", "publish_nowait"),
        {
            "bare": ("publish",),
            "mqttium": ("publish_many", "publish_nowait"),
            "gmqtt": ("publish", "publish_unyielding"),
            "paho": ("publish_threaded", "publish_inline"),
            "awscrt": ("publish_batches",),
            "aiomqtt": ("publish_one_by_one", "publish_tasks"),
            "zmqtt": ("publish_one_by_one",),
            "ohmqtt": ("publish",),
        },
        {"mqttium": 8, "gmqtt": 5, "paho": 30, "awscrt": 30},
        qos=0,
        ours_too=("publish_one_by_one",),
    ),
    Row(
        "publish-1",
        "publish QoS 1, 200 in flight, ours each awaited by a task; at the broker's pace, which wakes for few",
        20_000,
        ("publish_acknowledged",),
        ACKNOWLEDGED,
        ACKNOWLEDGED_AIMS,
        qos=1,
    ),
    Row(
        "publish-1-bursts",
        "publish QoS 1, 200 in flight, ours each awaited by a task; woken for 100 acknowledgements",
        20_000,
        ("publish_acknowledged",),
        ACKNOWLEDGED,
        ACKNOWLEDGED_AIMS,
        qos=1,
        burst=True,
    ),
    Row(
        "receive-0",
        "receive QoS 0, reading topic and payload; at the broker's pace, which wakes for few",
        50_000,
        ("receive",),
        RECEIVERS,
        RECEIVE_AIMS,
        is_fed=True,
    ),
    Row(
        "receive-0-bursts",
        "receive QoS 0, reading topic and payload; 1000 at once, sent by the broker before the client wakes",
        100_000,
        ("receive",),
        RECEIVERS,
        RECEIVE_AIMS,
        is_fed=True,
        burst=True,
    ),
)

LATENCY_LIMIT = 1.25
LATENCY = {OURS: ("blocking",), "paho": ("blocking",)}
MEMORY_LIMIT_KB = 12.0
MEMORY = ("bare", OURS, "mqttium", "gmqtt", "aiomqtt", "zmqtt")
FLATNESS_MESSAGES = (1_000, 10_000, 100_000, 1_000_000)
FLATNESS_SUBSCRIPTIONS = (1, 100, 10_000)
NAMES = (*(row.name for row in ROWS), "latency", "memory", "flatness")


class KilledError(Exception):
    """A contender crashed."""


class Arena:
    """Where the contenders are started, one at a time."""

    def __init__(self, port: int, *, uvloop: bool) -> None:
        self._port = port
        self._uvloop = uvloop
        self.versions: dict[str, str] = {}

    def turn(self, who: str, way: str, **task: Any) -> Figures:
        """One turn of one contender: the figures it printed. A peer that a signal kills gets its turn again, once."""
        try:
            figures = self._turn(who, way, **task)
        except KilledError as error:
            if who == OURS:
                raise
            print(f"\n{error}: once more", file=sys.stderr)
            figures = self._turn(who, way, **task)
        if "version" in figures:
            self.versions[who] = figures["version"]
        return figures

    def check(self, who: str, way: str, qos: int) -> bool:
        """Have a publisher publish with a witness by; False where there is no such publisher.

        Raises DifferentWorkError unless the broker got all it was asked to publish, and nothing else.
        """
        with Witness(self._port, TOPIC) as witness:
            if "missing" in self.turn(who, way, messages=CHECKED, warm_up=CHECKED):
                return False
            witness.check(f"{who} {way}", [*payloads(CHECKED), *payloads(CHECKED)], qos)
            return True

    def _turn(self, who: str, way: str, *, is_fed: bool = False, burst: bool = False, **task: int) -> Figures:
        with ExitStack() as stack:
            shape = [str(task.get("payload_size", PAYLOAD_SIZE)), str(task.get("user_properties", 0))]
            feed = stack.enter_context(self._feeder(shape, burst=burst)) if is_fed else -1
            order = {"way": way, "port": self._port, "uvloop": self._uvloop, "burst": burst, "feed": feed, **task}
            figures: Figures = json.loads(self._run(f"{who}_ways.py", json.dumps(order), feed))
        return figures

    @contextmanager
    def _feeder(self, shape: Sequence[str], *, burst: bool) -> Iterator[int]:
        """A feeder at work, of messages of that shape: bytes of payload, user properties.

        The value is the descriptor to ask it by; it ends when nobody has that any more.
        """
        ours, its = socket.socketpair()
        with ours:
            with its:
                words = [str(WAYS / "feeder.py"), str(self._port), str(its.fileno()), str(int(burst)), *shape]
                process = subprocess.Popen([sys.executable, *words], pass_fds=[its.fileno()])
            try:
                yield ours.fileno()
                ours.close()
                process.wait(10)
            finally:
                process.kill()
                process.wait()

    def _run(self, script: str, order: str, feed: int) -> str:
        process = subprocess.Popen(
            [sys.executable, str(WAYS / script), order],
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[] if feed < 0 else [feed],
        )
        try:
            printed, _ = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
            process.wait()
        if process.returncode < 0:
            raise KilledError(f"{script} was killed by signal {-process.returncode}: {order}")
        if process.returncode:
            raise RuntimeError(f"{script} failed with {process.returncode}: {order}")
        return printed


@dataclass
class Line:
    """One way of one contender, over the rounds."""

    who: str
    way: str
    turns: list[Figures] = field(default_factory=list)

    @property
    def missing(self) -> str | None:
        return self.turns[0].get("missing")

    def middle(self, figure: str) -> float:
        return median(turn[figure] for turn in self.turns)

    def times(self, ours: Line, figure: str = "cpu") -> Spread:
        """How many times ours this is: the ratios within a round."""
        return Spread.of([his[figure] / our[figure] for his, our in zip(self.turns, ours.turns, strict=True)])


def interleave(lines: list[Line], rounds: int, turn: Callable[[Line], Figures]) -> None:
    """Give each its turns, A B C A B C. One that is missing has only one."""
    for number in range(rounds):
        for line in lines:
            if not number or line.missing is None:
                line.turns.append(turn(line))
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def compare(arena: Arena, row: Row, rounds: int, scale: float, peers: Sequence[str]) -> Figures:
    """Measure a row and print it."""
    ours = [Line(OURS, way) for way in row.ours]
    others = [Line(OURS, way) for way in row.ours_too]
    others += [Line(who, way) for who, ways in row.peers.items() if who in ("bare", *peers) for way in ways]
    messages = max(1, round(row.messages * scale))
    how = {"is_fed": row.is_fed, "burst": row.burst}

    def turn(line: Line) -> Figures:
        count = max(1, messages // 10) if line.who in SLOW else messages
        return arena.turn(line.who, line.way, messages=count, warm_up=min(2000, count), **how)

    if row.qos is not None:
        for line in ours + others:
            if line.who != "bare":  # counts bytes of answers that say nobody has subscribed
                arena.check(line.who, line.way, row.qos)
    interleave(ours + others, rounds, turn)

    print(f"\n{row.title}; {messages} messages, {rounds} rounds; microseconds for one")
    columns = "".join(f"{'of ' + line.way:>25}" for line in ours)
    print(f"{'':8} {'way':24} {'cpu':>8} {'wall':>8}{columns}  aim")
    found: list[Figures] = []
    for line in ours + others:
        if line.missing is not None:
            print(f"{line.who:8} {line.way:24} {line.missing}")
            continue
        figures = {name: line.middle(name) for name in ("cpu", "user", "system", "wall")}
        spread = Spread.of([turn["cpu"] for turn in line.turns])
        times = {our.way: line.times(our)._asdict() for our in ours} if line.who != OURS else {}
        entry = {"who": line.who, "way": line.way, "times": times, **figures}
        found.append({**entry, "cpu_low": spread.low, "cpu_high": spread.high})
    for who in dict.fromkeys(entry["who"] for entry in found):
        entries = [entry for entry in found if entry["who"] == who]
        cheapest = min(entries, key=lambda entry: entry["cpu"])
        for entry in entries:
            entry["is_cheapest"] = entry is cheapest
            cells = "".join(f"{entry[name]:>9.2f}" for name in ("cpu", "wall"))
            ratios = "".join(f"{Spread(**times)!s:>25}" for times in entry["times"].values())
            aim = row.aims.get(who) if entry is cheapest else None
            entry["aim"] = aim
            verdict = "" if aim is None else f"  {aim:g}x {_verdict(entry['times'].values(), aim)}"
            print(f"{who:8} {entry['way']:24}{cells}{ratios}{verdict}")
    return {"name": row.name, "messages": messages, "rounds": rounds, "lines": found}


def _verdict(times: Any, aim: float) -> str:
    return "reached" if all(each["median"] >= aim for each in times) else "BELOW"


def compare_latency(arena: Arena, rounds: int, scale: float, peers: Sequence[str]) -> Figures:
    """A blocking publish against a bare socket."""
    lines = [Line(who, way) for who, ways in LATENCY.items() if who in (OURS, *peers) for way in ways]
    messages = max(50, round(2000 * scale) // 50 * 50)
    interleave(lines, rounds, lambda line: arena.turn(line.who, line.way, messages=messages, warm_up=messages // 4))
    print(f"\nblocking publish QoS 1, one by one; {messages} messages, {rounds} rounds; median microseconds for one")
    found: list[Figures] = []
    for line in lines:
        if line.missing is not None:
            print(f"{line.who:8} {line.missing}; aim: {LATENCY_LIMIT:g} times a bare socket's at most")
            continue
        ratio = median(turn["latency"] / turn["bare"] for turn in line.turns)
        entry = {"who": line.who, "latency": line.middle("latency"), "bare": line.middle("bare"), "times": ratio}
        found.append(entry)
        verdict = f"  at most {LATENCY_LIMIT:g}: {'reached' if ratio <= LATENCY_LIMIT else 'ABOVE'}"
        print(
            f"{line.who:8} {entry['latency']:8.1f}, a bare socket {entry['bare']:.1f}: {ratio:.2f} times"
            f"{verdict if line.who == OURS else ''}"
        )
    return {"name": "latency", "messages": messages, "rounds": rounds, "lines": found}


def compare_memory(arena: Arena, rounds: int, scale: float, peers: Sequence[str]) -> Figures:
    """What an idle connection takes, beyond asyncio's transport."""
    count = max(50, round(1000 * scale))
    lines = [Line(who, "connections") for who in MEMORY if who in ("bare", OURS, *peers)]
    interleave(lines, rounds, lambda line: arena.turn(line.who, line.way, connections=count))
    print(f"\nmemory of an idle connection, {count} in one process; {rounds} rounds; KB (1024 bytes) for each")
    bare, found = lines[0], []
    for line in lines:
        if line.missing is not None:
            print(f"{line.who:8} {line.missing}")
            continue
        kilobytes = line.middle("bytes") / 1024
        beyond = median(his["bytes"] - its["bytes"] for his, its in zip(line.turns, bare.turns, strict=True)) / 1024
        found.append({"who": line.who, "kilobytes": kilobytes, "beyond": beyond})
        verdict = f"  at most {MEMORY_LIMIT_KB:g}: {'reached' if beyond <= MEMORY_LIMIT_KB else 'ABOVE'}"
        cell = "" if line is bare else f", {beyond:.1f} beyond asyncio's transport"
        print(f"{line.who:8} {kilobytes:8.1f}{cell}{verdict if line.who == OURS else ''}")
    return {"name": "memory", "connections": count, "rounds": rounds, "lines": found}


def compare_flatness(arena: Arena, rounds: int, scale: float) -> Figures:
    """Ours alone: whether a message costs the same however many there are, and however many subscriptions."""
    counts = [max(1, round(count * scale)) for count in FLATNESS_MESSAGES]
    subscriptions = [max(1, round(count * min(scale, 1))) for count in FLATNESS_SUBSCRIPTIONS]
    print(f"\nflatness of ours; {rounds} rounds; microseconds of CPU for one message, and times the first")
    found: list[Figures] = []
    warm_up = min(counts[1], 2000)

    def show(title: str, way: str, tasks: dict[int, dict[str, int]], *, is_fed: bool = False) -> None:
        lines = {key: Line(OURS, way) for key in tasks}
        by_line = {id(line): tasks[key] for key, line in lines.items()}
        interleave(
            list(lines.values()),
            rounds,
            lambda line: arena.turn(
                line.who, line.way, is_fed=is_fed, burst=is_fed, warm_up=warm_up, **by_line[id(line)]
            ),
        )
        first = next(iter(lines.values()))
        cells = {key: (line.middle("cpu"), line.times(first).median) for key, line in lines.items()}
        found.append({"title": title, "cells": {str(key): cell for key, cell in cells.items()}})
        text = "".join(f"{f'{key}: {cpu:.2f} ({times:.2f})':>24}" for key, (cpu, times) in cells.items())
        print(f"{title:32}{text}")

    by_count = {count: {"messages": count} for count in counts}
    show("publish_many QoS 0, messages", "publish_many", by_count)
    show("receive QoS 0, messages", "receive", by_count, is_fed=True)
    by_subscriptions = {count: {"messages": counts[2] // 5, "subscriptions": count} for count in subscriptions}
    show("receive QoS 0, subscriptions", "receive", by_subscriptions, is_fed=True)
    return {"name": "flatness", "rounds": rounds, "lines": found}


def allow_many_connections() -> None:
    """For this process and those it starts, the broker among them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the figures down if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns each contender takes (default: 5)")
    parser.add_argument("--only", metavar="NAME", action="append", choices=NAMES, help=f"only {', '.join(NAMES)}")
    parser.add_argument("--peers", metavar="NAME", nargs="*", default=list(PEERS))
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the numbers of messages and connections")
    parser.add_argument("--uvloop", action="store_true", help="all that run on asyncio run on uvloop")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE")
    options = parser.parse_args(arguments)
    program = mosquitto_program()
    if program is None:
        print("mosquitto is not installed (tools/install-brokers.sh installs it)", file=sys.stderr)
        return 2

    allow_many_connections()
    chosen = options.only or NAMES
    rounds, scale, peers = options.rounds, options.scale, options.peers
    loop = "uvloop" if options.uvloop else "asyncio"
    run = describe_run({}, rounds=rounds, scale=scale, loop=loop)
    print(f"{run['implementation']} {run['python']}, {loop}, {run['processor']}, {run['processors']} processors")
    print(
        "cpu: user and system time of the client's process; a peer's is divided by ours of the same round, and of that"
    )
    print("comes the median (and the 10th to the 90th percentile)")
    tables: list[Figures] = []
    with mosquitto(program) as port:
        arena = Arena(port, uvloop=options.uvloop)
        tables += [compare(arena, row, rounds, scale, peers) for row in ROWS if row.name in chosen]
        if "latency" in chosen:
            tables.append(compare_latency(arena, rounds, scale, peers))
        if "memory" in chosen:
            tables.append(compare_memory(arena, rounds, scale, peers))
        if "flatness" in chosen:
            tables.append(compare_flatness(arena, rounds, scale))
    print("\n" + ", ".join(f"{who} {version}" for who, version in arena.versions.items()))
    if options.json:
        run["versions"] = {**arena.versions, "mosquitto": mosquitto_version(program)}
        options.json.write_text(json.dumps({"run": run, "tables": tables}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
