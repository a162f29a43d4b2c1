"""What is written to an outbox by one transaction, and who waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import suppress
from typing import Any

from ..errors import OutboxError
from ..mqtt import ReasonCode
from .store import Row

__all__ = ["Ticket", "Window"]


class Window:
    """Rows that are written together. Its attributes are for who holds the lock of `written`.

    due: when to write them, on the monotonic clock. written: whoever waits in a thread is told here.
    """

    __slots__ = ("due", "error", "is_over", "rows", "size", "waiters", "written")

    def __init__(self, due: float, written: threading.Condition) -> None:
        self.due = due
        self.written = written
        self.rows: list[Row] = []
        self.size = 0  # bytes of their packets
        self.is_over = False
        self.error: OutboxError | None = None
        self.waiters: list[tuple[asyncio.AbstractEventLoop | None, Any]] = []

    def end(self, error: OutboxError | None) -> None:
        """They are written or, with an error, not: tell everybody who waits."""
        self.error = error
        self.is_over = True
        self.rows = []
        by_loop: dict[asyncio.AbstractEventLoop | None, list[Any]] = {}
        for loop, waiter in self.waiters:
            by_loop.setdefault(loop, []).append(waiter)
        self.waiters = []
        for loop, waiters in by_loop.items():
            if loop is None:
                _tell(waiters, error)
            else:
                with suppress(RuntimeError):  # a loop that was closed: nobody waits there any more
                    loop.call_soon_threadsafe(_tell, waiters, error)
        self.written.notify_all()


def _tell(waiters: list[Any], error: OutboxError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(ReasonCode.SUCCESS)
        else:
            waiter.set_exception(error)


class Ticket:
    """Of a message that was put: await it, or `wait()`, until it is on disk. Raises OutboxError where it is not.

    May be shared between threads and event loops. id: of the message, as `Outbox.fetch` gives it.
    """

    __slots__ = ("_window", "id")

    def __init__(self, window: Window, message_id: int) -> None:
        self._window = window
        self.id = message_id

    @property
    def is_stored(self) -> bool:
        return self._window.is_over and self._window.error is None

    @property
    def error(self) -> OutboxError | None:
        """Why it was not stored, where that is known."""
        return self._window.error

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait in this thread. Raises TimeoutError."""
        window = self._window
        with window.written:
            if not window.written.wait_for(lambda: window.is_over, timeout_s):
                raise TimeoutError(f"not stored within {timeout_s} s")
        if window.error is not None:
            raise window.error

    def tell(self, waiter: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        """Call `set_result` or `set_exception` of a waiter, in the loop or, for None, in whichever thread it is."""
        window = self._window
        with window.written:
            if not window.is_over:
                window.waiters.append((loop, waiter))
                return
        _tell([waiter], window.error)

    def __await__(self) -> Generator[Any, None, None]:
        if not self._window.is_over:
            loop = asyncio.get_running_loop()
            stored = loop.create_future()
            self.tell(stored, loop)
            yield from stored
        elif self._window.error is not None:
            raise self._window.error

    def __repr__(self) -> str:
        state = "waiting" if not self._window.is_over else "stored" if self.is_stored else repr(self._window.error)
        return f"<Ticket {self.id} {state}>"
