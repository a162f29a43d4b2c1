"""A lock for what one thread asks at a time."""

from __future__ import annotations

import os
import threading
from types import TracebackType

__all__ = ["AskingLock"]


class AskingLock:
    """A lock that is free in a child of fork, whichever thread of the parent held it: none will release it there."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True) -> bool:
        if self._process != os.getpid():
            self._renew()
        return self._lock.acquire(blocking)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
