"""Draws the figures that are kept in docs/benchmarks/: `make bench-plots` measures them first, this draws alone.

Each plot says when, on what and by which command its figures were taken. The same figures give the same file, byte for
byte. What lies far apart is on a logarithmic axis; a cost that is to stay flat is on one that begins at 0, so that it
can be seen to.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import Any

from drawing import SETTINGS as COMMON
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
Figures = dict[str, Any]
# A short list of fonts and few ticks: both stand in the file for every text.
SETTINGS = {**COMMON, "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"]}

# Told apart without colours, too. (Okabe and Ito's, the dark ones.)
INK = "#222222"
STYLES = (
    ("#0072b2", "o", "-"),
    ("#d55e00", "s", "-"),
    ("#009e73", "^", "-"),
    ("#7b4f9e", "D", "-"),
    ("#8a6d00", "v", "-"),
    ("#666666", "P", "-"),
)
YARDSTICK = ("#888888", "x", ":")
OURS = "#0072b2"
THEIRS = "#777777"
LABEL_GAP = 0.085  # of a panel's height, between labels
NUMBERS = ("messages", "connections", "connecting", "filters")
SHAPES = ("payload", "properties", "window", "backlog")
MEMORY = ("memory-connection", "memory-in-flight", "memory-filter")
PEERS = ("mqtt5", "mqttium", "ohmqtt", "zmqtt", "paho")
CLIENT_TABLES = ("publish-0", "publish-1", "publish-1-bursts", "receive-0", "receive-0-bursts")
CLIENT_TITLES = {
    "publish-0": "publish, QoS 0",
    "publish-1": "publish, QoS 1,\n200 in flight,\nat the broker's pace",
    "publish-1-bursts": "publish, QoS 1,\n200 in flight, woken\nfor 100 answers",
    "receive-0": "receive, QoS 0,\nat the broker's pace",
    "receive-0-bursts": "receive, QoS 0,\n1000 before it wakes",
}


def spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """The same heights, in the same order, moved apart to at least `gap` where they are nearer."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    places = list(heights)
    for _ in range(100):
        moved = False
        for below, above in pairwise(order):
            missing = gap - (places[above] - places[below])
            if missing > 1e-9:
                places[below] -= missing / 2
                places[above] += missing / 2
                moved = True
        if not moved:
            break
    return places


def shown(value: float) -> str:
    """Three figures that count, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 1 else f"{value:#.3g}"


def footer(figure: Figure, run: Figures) -> None:
    """Where it comes from."""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    machine = f"{run['implementation']} {run['python']}, {run['system']}, {run['machine']}, {run['processor']}"
    how = f"{run['command']}; {run['rounds']} rounds, load average {run['load']} before"
    text = f"{run['date']}, commit {run['commit']}: {how}. {machine}. {versions}"
    width = int(figure.get_figwidth() * 19)
    figure.text(0.01, 0.006, fill(text, width), fontsize=7, color="#555555", va="bottom")


def draw_curve(axes: Axes, curve: Figures) -> None:
    """A panel: a line for each series, its name and its growth at its end."""
    is_straight = curve["kind"] == "flat"
    styles = iter(STYLES)
    ends = []
    for series in curve["series"]:
        colour, marker, dashes = next(styles) if series["is_ours"] else YARDSTICK
        xs = [point["x"] for point in series["points"]]
        ys = [point["median"] for point in series["points"]]
        lows, highs = ([point[name] for point in series["points"]] for name in ("low", "high"))
        axes.plot(xs, ys, color=colour, marker=marker, linestyle=dashes, markersize=4, linewidth=1.4)
        axes.fill_between(xs, lows, highs, color=colour, alpha=0.15, linewidth=0)
        ends.append((ys[-1], f"{series['name']}\n{fill(series['growth'], 38)}", colour))
    axes.set_xscale("log")
    axes.set_yscale("linear" if is_straight else "log")
    longest = max(curve["series"], key=lambda series: len(series["points"]))
    xs = [point["x"] for point in longest["points"]]
    axes.set_xticks(xs, [f"{x // 1024}Ki" if x % 1024 == 0 else f"{x:,}" for x in xs])
    if not is_straight:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    if is_straight:
        axes.set_ylim(0, 1.15 * max(point["high"] for series in curve["series"] for point in series["points"]))
    to_panel = axes.transData + axes.transAxes.inverted()
    heights = [to_panel.transform((1, y))[1] for y, _, _ in ends]
    gap = LABEL_GAP * max(1 + text.count("\n") for _, text, _ in ends)
    places = spread_out(heights, gap)
    too_high = max(0.0, max(places) - 0.95)
    for height, (_, text, colour) in zip([place - too_high for place in places], ends, strict=True):
        axes.text(1.02, height, text, color=colour, fontsize=7.5, va="center", transform=axes.transAxes)
    told = curve["shows"] if curve["holds"] else f"NOT SO: {curve['shows']}"
    axes.set_title(fill(told, 50), loc="left", fontsize=9, color=INK if curve["holds"] else "#b00000")
    axes.set_xlabel(curve["x"], fontsize=8)
    axes.set_ylabel({"us of CPU": "µs of CPU for one"}.get(curve["unit"], f"{curve['unit']} for one"), fontsize=8)
    axes.tick_params(labelsize=7.5)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def draw_curves(figures: Figures, names: Sequence[str], title: str, path: Path) -> None:
    """Panels of some curves."""
    curves = [curve for name in names for curve in figures["curves"] if curve["name"] == name]
    if not curves:
        return
    rows = -(-len(curves) // 2)
    with rc_context(SETTINGS):
        figure = Figure(figsize=(11.5, 2.75 * rows + 0.9))
        panels = figure.subplots(rows, 2, squeeze=False)
        height = figure.get_figheight()
        figure.subplots_adjust(0.065, 0.92 / height, 0.815, 1 - 0.87 / height, wspace=0.8, hspace=0.62)
        for axes, curve in zip(panels.flat, curves, strict=False):
            draw_curve(axes, curve)
        for axes in panels.flat[len(curves) :]:
            axes.set_axis_off()
        figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left", y=1 - 0.1 / height)
        footer(figure, figures["run"])
        save(figure, path)


def draw_start(figures: Figures, path: Path) -> None:
    """Bars: what a start costs, a panel for each figure, a bar for each program."""
    entries = list(reversed(figures["start"]["entries"]))
    kinds: list[tuple[str, Callable[[Figures], float]]] = [
        ("import,\nms of CPU", lambda entry: entry["import_ms"]["median"]),
        ("start to PUBACK,\nms of CPU", lambda entry: entry["cpu_ms"]["median"]),
        ("start to PUBACK,\nms on the wall", lambda entry: entry["wall_ms"]["median"]),
        ("resident memory,\nMB", lambda entry: entry["resident_mb"]["median"]),
        ("installed,\nMB", lambda entry: (entry["installed_kb"] or 0) / 1000),
    ]
    with rc_context(SETTINGS):
        figure = Figure(figsize=(11.5, 0.3 * len(entries) + 1.75))
        panels = figure.subplots(1, len(kinds), sharey=True)
        for axes, (title, value) in zip(panels, kinds, strict=True):
            values = [value(entry) for entry in entries]
            ours = [entry["name"].startswith("iotwire") for entry in entries]
            axes.barh(range(len(entries)), values, 0.62, color=[OURS if is_ours else "#c4c4c4" for is_ours in ours])
            for place, each in enumerate(values):
                axes.text(each, place, f" {shown(each)}" if each >= 0.005 else " 0", va="center", fontsize=8)
            axes.set_title(title, loc="left", fontsize=9)
            axes.set_xlim(0, max(values) * 1.28)
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(entries)), [entry["name"] for entry in entries])
        figure.suptitle(
            "From nothing to the first message that is acknowledged", fontsize=12, fontweight="bold", x=0.01, ha="left"
        )
        figure.tight_layout(rect=(0, 0.42 / figure.get_figheight(), 1, 1))
        footer(figure, figures["run"])
        save(figure, path)


def dots(axes: Axes, place: float, spread: Figures, colour: str, marker: str) -> None:
    """A median, and the line from the 10th to the 90th percentile."""
    axes.plot((spread["low"], spread["high"]), (place, place), color=colour, linewidth=1.2)
    axes.plot(spread["median"], place, color=colour, marker=marker, markersize=5, linestyle="none")


def draw_codec(figures: Figures, path: Path) -> None:
    """A row for each operation with a target, a dot for each peer: how many times as long as ours it takes."""
    lines = [line for line in figures["lines"] if line["target"] is not None or line["floor_limit"] is not None]
    with rc_context(SETTINGS):
        figure = Figure(figsize=(10.5, 0.36 * len(lines) + 1.7))
        axes = figure.subplots()
        for place, line in enumerate(reversed(lines)):
            if line["target"] is not None:
                axes.plot((line["target"],) * 2, (place - 0.38, place + 0.38), color=INK, linewidth=2)
            for peer, (colour, marker, _) in zip(PEERS, STYLES, strict=False):
                spread = line["times"].get(peer)
                if isinstance(spread, dict):
                    dots(axes, place, spread, colour, marker)
        axes.axvline(1, color=INK, linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xlim(0.9)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("times as long as iotwire takes; a bar is the aim, of mqtt5's time", fontsize=8)
        axes.set_yticks(
            range(len(lines)), [f"{line['operation'].strip()}   {line['ns']['low']:.0f} ns" for line in reversed(lines)]
        )
        axes.set_ylim(-0.6, len(lines) - 0.1)
        label_peers(axes, lines)
        axes.grid(axis="x", color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
        title = (
            "The codec against others': PUBLISH of QoS 1, 256 bytes, MQTT 5.0; behind each operation what ours takes"
        )
        figure.suptitle(title, fontsize=10.5, fontweight="bold", x=0.01, ha="left")
        figure.tight_layout(rect=(0, 0.42 / figure.get_figheight(), 1, 1))
        footer(figure, figures["run"])
        save(figure, path)


def label_peers(axes: Axes, lines: Sequence[Figures]) -> None:
    """The name of each peer, over its dot in the first row where it has one."""
    to_panel = axes.transData + axes.transAxes.inverted()
    rows: dict[int, list[tuple[float, str, str]]] = {}
    for peer, (colour, _, _) in zip(PEERS, STYLES, strict=False):
        for number, line in enumerate(lines):
            if isinstance(spread := line["times"].get(peer), dict):
                place = to_panel.transform((spread["median"], 0))[0]
                rows.setdefault(number, []).append((place, peer, colour))
                break
    for number, labels in rows.items():
        height = to_panel.transform((1, len(lines) - 1 - number + 0.3))[1]
        for place, (_, peer, colour) in zip(spread_out([label[0] for label in labels], 0.09), labels, strict=True):
            axes.text(place, height, peer, color=colour, fontsize=8.5, ha="center", transform=axes.transAxes)


def draw_clients(figures: Figures, path: Path) -> None:
    """A panel for each table, a dot for each client's cheapest way."""
    tables = [table for name in CLIENT_TABLES for table in figures["tables"] if table["name"] == name]
    whos = list(dict.fromkeys(line["who"] for table in tables for line in table["lines"]))
    whos.sort(key=lambda who: (who == "bare", who != "iotwire"))
    with rc_context(SETTINGS):
        figure = Figure(figsize=(11.5, 0.3 * len(whos) + 1.9))
        panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
        for axes, table in zip(panels, tables, strict=True):
            cheapest = {line["who"]: line for line in table["lines"] if line["is_cheapest"]}
            for place, who in enumerate(reversed(whos)):
                if who in cheapest:
                    draw_client(axes, place, cheapest[who], cheapest["iotwire"]["cpu"])
            axes.set_xscale("log")
            low, high = (bound(line["cpu"] for line in cheapest.values()) for bound in (min, max))
            axes.set_xlim(low / 1.6, high * (high / low) ** 0.75)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set_title(CLIENT_TITLES[table["name"]], loc="left", fontsize=9)
            axes.set_xlabel("µs of CPU for a message", fontsize=8)
            axes.tick_params(axis="y", length=0)
            axes.tick_params(axis="x", labelsize=7.5)
            axes.grid(axis="x", color="#e4e4e4", linewidth=0.6)
            axes.set_axisbelow(True)
        names = ["asyncio's transport" if who == "bare" else who for who in reversed(whos)]
        panels[0].set_yticks(range(len(whos)), names)
        title = "Whole clients: processor time of the client's process for a message of 256 bytes, and times ours"
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        figure.tight_layout(rect=(0, 0.42 / figure.get_figheight(), 1, 1))
        footer(figure, figures["run"])
        save(figure, path)


def draw_client(axes: Axes, place: float, line: Figures, ours: float) -> None:
    is_ours = line["who"] == "iotwire"
    colour = OURS if is_ours else THEIRS
    spread = {"median": line["cpu"], "low": line["cpu_low"], "high": line["cpu_high"]}
    dots(axes, place, spread, colour, "o" if is_ours else "s")
    times = "" if is_ours else f", {shown(line['cpu'] / ours)}x"
    axes.text(line["cpu_high"], place, f"  {shown(line['cpu'])}{times}", va="center", fontsize=8, color=INK)


def save(figure: Figure, path: Path) -> None:
    """A date would make every drawing another file; a tenth of a point is near enough for every place."""
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, facecolor="white")
    path.write_text(re.sub(r"<[^>]*>", rounded, text.getvalue()))
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def rounded(tag: re.Match[str]) -> str:
    """A tag with fewer decimals: one of places, two of what is small. What stands between tags stays."""

    def shorter(number: re.Match[str]) -> str:
        value = float(number[0])
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"

    return re.sub(r"-?\d+\.\d{3,}", shorter, tag[0])


def draw_all(folder: Path) -> Iterable[str]:
    """Everything whose figures lie in the folder; the names of those that do not."""
    for name in ("curves", "codec", "clients"):
        source = folder / f"{name}.json"
        if not source.exists():
            yield name
            continue
        figures = json.loads(source.read_text())
        if name == "curves":
            draw_curves(
                figures, NUMBERS, "What a message costs, by how many there are of other things", folder / "numbers.svg"
            )
            draw_curves(
                figures, SHAPES, "What a message costs, by its size, its company and its wait", folder / "messages.svg"
            )
            draw_curves(figures, MEMORY, "What things take of memory", folder / "memory.svg")
            if figures["start"]:
                draw_start(figures, folder / "start.svg")
        elif name == "codec":
            draw_codec(figures, folder / "codec.svg")
        else:
            draw_clients(figures, folder / "clients.svg")


def main(arguments: list[str] | None = None) -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where figures and plots lie (docs/benchmarks)")
    for name in draw_all(parser.parse_args(arguments).folder):
        print(f"{name}.json: not there")


if __name__ == "__main__":
    main()
