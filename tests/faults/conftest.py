"""What the fault runs have counted is said when all tests are over, whether they passed or not."""

from __future__ import annotations

import pytest

from tallies import ALL, SEED, summary


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ALL:
        terminalreporter.section(f"fault runs, IOTWIRE_FAULT_SEED={SEED}")
        for line in summary():
            terminalreporter.write_line(line)
