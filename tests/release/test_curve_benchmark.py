"""The benchmark of curves still runs, with few points, and is drawn. What it finds is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from brokers import find_program
from support import CHECKOUT

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(300)]

CURVES = [sys.executable, str(CHECKOUT / "benchmarks" / "curves.py"), "--rounds", "1", "--scale", "0.001"]
PLOTS = [sys.executable, str(CHECKOUT / "benchmarks" / "plots.py"), "--folder"]
MOST_BYTES = 60_000


def test_every_curve_has_figures_and_the_same_figures_give_the_same_plots(tmp_path: Path) -> None:
    find_program("mosquitto")
    written = tmp_path / "curves.json"
    subprocess.run([*CURVES, "--json", str(written)], check=True, timeout=250)
    figures = json.loads(written.read_text())
    assert figures["run"]["command"].startswith("python benchmarks/curves.py")
    assert len(figures["curves"]) == 11
    for curve in figures["curves"]:
        assert curve["shows"].endswith(".")
        for series in curve["series"]:
            assert all(point["low"] <= point["median"] <= point["high"] for point in series["points"])
    assert {"bare Python", "iotwire Client"} <= {entry["name"] for entry in figures["start"]["entries"]}

    pytest.importorskip("matplotlib")
    drawn = []
    for _ in range(2):
        subprocess.run([*PLOTS, str(tmp_path)], check=True, timeout=60)
        drawn.append({path.name: path.read_bytes() for path in sorted(tmp_path.glob("*.svg"))})
    assert set(drawn[0]) == {"numbers.svg", "messages.svg", "memory.svg", "start.svg"}
    assert drawn[0] == drawn[1]
    assert all(len(image) < MOST_BYTES for image in drawn[0].values())
