"""The benchmark of tokens still runs, and both ways make the same text. What it finds is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support import CHECKOUT

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, str(CHECKOUT / "benchmarks" / "tokens.py"), "--rounds", "2"]


def test_every_row_has_its_figures(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    written = tmp_path / "figures.json"
    done = subprocess.run([*COMMAND, "--json", str(written)], check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode in (0, 1), done.stderr  # 1: a target was missed, as it may be on a busy machine
    rows = json.loads(written.read_text())
    assert [row["operation"] for row in rows if row["target"]] == [
        "sign, 2048 bits",
        "sign, 3072 bits",
        "sign, 4096 bits",
        "mqtt_username, the same token",
        "mqtt_username, a fresh token",
        "query, a fresh token",
    ]
    assert all(row["ns"]["median"] > 0 and row["their_ns"]["median"] > 0 for row in rows)
