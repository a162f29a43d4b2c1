"""The benchmark of whole clients still runs: ours alone, with very few messages. What it finds is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from brokers import find_program
from support import CHECKOUT

pytestmark = [pytest.mark.broker, pytest.mark.slow]

COMMAND = [sys.executable, str(CHECKOUT / "benchmarks" / "clients.py"), "--rounds", "1", "--peers"]


def test_every_table_has_figures_of_ours(tmp_path: Path) -> None:
    find_program("mosquitto")
    written = tmp_path / "figures.json"
    subprocess.run([*COMMAND, "--scale", "0.02", "--json", str(written)], check=True, timeout=100)
    tables = {table["name"]: table for table in json.loads(written.read_text())["tables"]}
    assert list(tables) == [
        "publish-0",
        "publish-1",
        "publish-1-bursts",
        "receive-0",
        "receive-0-bursts",
        "latency",
        "memory",
        "flatness",
    ]
    for name, ways in {
        "publish-0": {"publish_many", "publish_nowait", "publish_one_by_one"},
        "publish-1": {"publish_acknowledged"},
        "publish-1-bursts": {"publish_acknowledged"},
        "receive-0": {"receive"},
        "receive-0-bursts": {"receive"},
    }.items():
        ours = [line for line in tables[name]["lines"] if line["who"] == "iotwire"]
        assert {line["way"] for line in ours} == ways
        assert all(line["cpu"] > 0 for line in ours)
    assert {line["who"] for line in tables["memory"]["lines"]} == {"bare", "iotwire"}
    assert [len(line["cells"]) for line in tables["flatness"]["lines"]] == [4, 4, 3]
