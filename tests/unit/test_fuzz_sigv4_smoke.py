"""The fuzzer of Signature Version 4: that it runs, gets past the first checks, and can find a fault."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from fuzz import fuzz_sigv4
from fuzz.frame import BrokenError
from fuzz.fuzz_sigv4 import Input, run
from support import CHECKOUT


def test_some_thousand_requests_break_nothing() -> None:
    tally = run(20261121, range(3000))
    assert tally.inputs == 3000
    assert tally.signed > 2000
    assert tally.refused > 100
    assert tally.changed > 2000


def test_an_input_is_told_by_its_seed_and_number() -> None:
    first = [Input.make(random.Random(f"7/{number}")) for number in range(50)]
    assert first == [Input.make(random.Random(f"7/{number}")) for number in range(50)]
    assert len({repr(one) for one in first}) > 40


def test_a_rule_that_is_another_is_found_and_printed_with_its_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz_sigv4, "model_of_query", lambda query: query)
    with pytest.raises(BrokenError):
        run(5, range(1000))
    assert "again: python" in capsys.readouterr().err


def test_the_fuzzer_runs_as_a_program() -> None:
    program = CHECKOUT / "tests" / "fuzz" / "fuzz_sigv4.py"
    done = subprocess.run(
        [sys.executable, program, "--inputs", "50", "--seed", "3"],
        check=False, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("seed 3: 50 inputs, ")
