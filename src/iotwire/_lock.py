"""A lock for what one thread does at a time while the others wait for what it gets."""

from __future__ import annotations

import os
import threading

__all__ = ["ForkSafeLock"]


class ForkSafeLock:
    """A lock that is free in a child of fork, whichever thread of the parent held it: none will release it there.

    `with lock.of_process():` takes Python's own, and no method written in Python, in the midst of which Ctrl-C would
    leave it locked for ever.
    """

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}

    def of_process(self) -> threading.Lock:
        return self._locks.setdefault(os.getpid(), threading.Lock())
