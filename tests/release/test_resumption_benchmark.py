"""The benchmark of resumed TLS sessions still runs, a few rounds of it. What it finds is not judged here."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from brokers import find_program
from support import CHECKOUT

pytest.importorskip("cryptography")

pytestmark = [pytest.mark.broker, pytest.mark.slow]

COMMAND = [sys.executable, str(CHECKOUT / "benchmarks" / "resumption.py"), "--rounds", "2"]


def test_every_way_has_its_figures() -> None:
    find_program("mosquitto")
    printed = subprocess.run(COMMAND, check=True, timeout=100, capture_output=True, text=True).stdout
    for version in ("1.2", "1.3"):
        for kind in ("EC P-256", "RSA 2048"):
            for way in ("handshake alone", "BlockingClient", "Client"):
                assert re.search(rf"^{version} +{kind} +{way} +\d+ +\d+ +\d+ +\d\.\d\d", printed, re.MULTILINE), way
