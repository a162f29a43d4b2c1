"""Draws instruction counts as an SVG file: a panel for each operation, in it a pair of bars for each architecture.

The same figures give the same file, byte for byte, so a drawing that is kept changes only when a count does. paho has
no bars: it takes a hundred times as many instructions, and ours would be a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

COLUMNS = 2
PEER = "mqtt5"
# Filled against hatched white: they can be told apart in print, and by whoever sees no colours.
OURS = {"facecolor": "#5b9bd5", "edgecolor": "#1f4e79"}
THEIRS = {"facecolor": "white", "edgecolor": "#555555", "hatch": "///"}
AIMED = {"color": "black", "linewidth": 2}
SETTINGS = {
    "svg.hashsalt": "iotwire",
    "svg.fonttype": "none",  # text stays text: a change of a figure is a readable change of the file
    "font.size": 9,
    "hatch.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(
    figures: Mapping[str, Mapping[str, float]],
    compared: Sequence[tuple[str, str]],
    aims: Sequence[tuple[str, str, float]],
    path: Path,
) -> None:
    """Write `path`, in the format of its suffix: a panel for each two operations in `compared`, ours and the peer's."""
    aimed_at = {ours: times for ours, _, times in aims}
    rows = -(-len(compared) // COLUMNS)
    with rc_context(SETTINGS):
        figure = Figure(figsize=(9, 2.3 * rows + 0.9))
        panels = figure.subplots(rows, COLUMNS, squeeze=False)
        for axes, (ours, theirs) in zip(panels.flat, compared, strict=False):
            counts = [
                (board, found[ours], found[f"{PEER}: {theirs}"])
                for board, found in figures.items()
                if f"{PEER}: {theirs}" in found
            ]
            _panel(axes, ours, counts, aimed_at.get(ours))
        for axes in panels.flat[len(compared) :]:
            axes.set_axis_off()
        figure.suptitle("Instructions for one packet: lower is better", fontsize=12, fontweight="bold", y=0.995)
        keys = (Patch(label="iotwire", **OURS), Patch(label=PEER, **THEIRS), Line2D([], [], label="aim", **AIMED))
        figure.legend(handles=keys, loc="upper center", bbox_to_anchor=(0.5, 0.975), ncols=len(keys), frameon=False)
        figure.tight_layout(rect=(0, 0, 1, 0.95), h_pad=1.6, w_pad=2.0)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A date would make every run another file.
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(axes: Axes, title: str, counts: Sequence[tuple[str, float, float]], aim: float | None) -> None:
    """Bars of one operation; over ours how many, over theirs how many and how many times as many that is."""
    most = max(theirs for _, _, theirs in counts)
    for place, (_, ours, theirs) in enumerate(counts):
        axes.bar(place - 0.2, ours, 0.38, **OURS)
        axes.bar(place + 0.2, theirs, 0.38, **THEIRS)
        allowed = theirs / aim if aim else 0
        if aim:
            axes.plot((place - 0.42, place + 0.02), (allowed, allowed), **AIMED)
        gap, centred = most * 0.025, {"ha": "center", "va": "bottom"}
        axes.text(place - 0.2, max(ours, allowed) + gap, f"{ours:,.0f}", **centred)
        axes.text(place + 0.2, theirs + gap, f"{theirs:,.0f}\n{theirs / ours:.1f} times", **centred)
    axes.set_title(f"{title} (aim: {aim:g} times)" if aim else title, loc="left", fontsize=10, pad=8)
    axes.set_ylim(0, most * 1.32)
    axes.set_xticks(range(len(counts)), [board for board, _, _ in counts])
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
