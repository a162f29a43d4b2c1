"""Fixtures and rules for every test."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support import absent, is_required, shared_vectors_folder

# The same examples in every run: a test that fails does so for everybody. The fuzz targets are where chance lives.
settings.register_profile(
    "iotwire", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("iotwire")


@pytest.fixture(scope="session")
def shared_vectors() -> Path:
    """The folder of shared vectors; a test that asks for it skips (or fails, see `support.absent`) without it."""
    return shared_vectors_folder()


@pytest.fixture(scope="session")
def mosquitto_program() -> str:
    """The path of a mosquitto to start; a test that asks for it skips (or fails, see `support.absent`) without it."""
    # Debian installs it to /usr/sbin, which is not on every user's PATH.
    program = shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    if program is None:
        absent("broker", "mosquitto is not installed (tools/install-brokers.sh installs it)")
    return program


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
