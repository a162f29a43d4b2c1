"""Fixtures and rules for every test."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support import IS_EMULATED, is_required, shared_vectors_folder

# The same examples in every run: a test that fails does so for everybody. The fuzz targets are where chance lives.
settings.register_profile(
    "iotwire",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    # An emulator takes ten times as long; what differs between architectures, few examples show.
    max_examples=20 if IS_EMULATED else 100,
)
settings.load_profile("iotwire")

# Whoever tries another build of the modules (boards, sanitizers, the stable ABI) sets IOTWIRE_TESTS=compiled. Then what
# is Python alone is left out: it takes an emulator half an hour. The integration tests and the demo go through it.
PYTHON_ALONE = (
    *("budgets", "cli", "client", "credentials", "emulator", "endpoint", "failover", "https_", "linkwatch", "metrics"),
    *("outbox", "pem", "preflight", "probe", "providers_", "proxy", "route_", "service", "systemd", "transport_"),
    *("upgrade", "uplinks"),
)
collect_ignore_glob = (
    [f"unit/test_{name}*" for name in PYTHON_ALONE] if os.environ.get("IOTWIRE_TESTS") == "compiled" else []
)


# A shell starts what runs in the background with SIGINT ignored, and programs hand that on to those they start: tests
# of Ctrl-C would wait for something that nobody hears.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A command that a test calls in this process sets up its log, and goes on to the next test otherwise."""
    log = logging.getLogger("iotwire")
    level, handlers, propagates = log.level, log.handlers[:], log.propagate
    yield
    log.setLevel(level)
    log.handlers[:], log.propagate = handlers, propagates


@pytest.fixture(scope="session")
def shared_vectors() -> Path:
    """The folder of shared vectors; a test that asks for it skips (or fails, see `support.absent`) without it."""
    return shared_vectors_folder()


@pytest.fixture
def frequent_thread_switches() -> Iterator[None]:
    """Under the GIL, let another thread have it five hundred times as often as usual."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where brokers were promised, no test marked `broker` may skip, whatever its reason."""
    report = yield
    if report.skipped and item.get_closest_marker("broker") and is_required("broker"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} needs a broker, and one is required here: {report.longrepr}"
    return report
