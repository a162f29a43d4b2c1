"""Threads that start at once, for tests of what happens then."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def run_together(*targets: Callable[[], object]) -> None:
    """Run all targets at once; the first exception fails the test."""
    failures: list[BaseException] = []
    start = threading.Barrier(len(targets))

    def guarded(target: Callable[[], object]) -> None:
        start.wait(timeout=10)
        try:
            target()
        except BaseException as failure:  # noqa: BLE001  # handed to the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    if failures:
        raise failures[0]
