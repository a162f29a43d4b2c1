"""Running a program as a service: SIGTERM and SIGINT end it in an orderly way, within a bound.

A signal ends `main` as cancelling does, or Ctrl-C: `async with Client(...)` and `with BlockingClient(...)` send what is
queued, say goodbye and close their outbox. A second signal ends the process at once, and so does the bound. The
handlers are there in a container too, where the program is process 1, which the default ones do not reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from . import systemd
from .errors import EncodeError, IotwireError

__all__ = ["run", "run_blocking"]

_log = logging.getLogger("iotwire.service")

T = TypeVar("T")

NUMBERS = (signal.SIGTERM, signal.SIGINT)
# What a process exits with that has not ended within its bound.
TOO_LATE = 1


def run(
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    stop_timeout_s: float = 15.0,
    is_well: Callable[[], bool] | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T | None:
    """Run a program of asyncio until it ends by itself or by a signal: `run(main)`, as `asyncio.run(main())`.

    main: is cancelled by the first SIGTERM or SIGINT. What it raises comes out of here; what it returns is the result,
        None where a signal has ended it. It says `systemd.ready()` itself, when it is; STOPPING=1 is said for it.
    stop_timeout_s: how long the process may take from that signal to its end, with all that comes after this call.
        Then it exits with 1, as it does with 128 and the signal's number for a second signal. More than a client's
        `drain_timeout_s` and `close_timeout_s` together, less than TimeoutStopSec= of the unit.
    is_well: whether systemd's watchdog may have its sign of life, besides that the event loop runs; see `Watchdog`.

    Call it in the main thread, as the last thing that a program does. Raises IotwireError in another thread,
    EncodeError for a time that is none.
    """
    with _Signals(stop_timeout_s) as signals, asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_serve(main, signals, systemd.Watchdog(is_well)))


def run_blocking(main: Callable[[], T], *, stop_timeout_s: float = 15.0) -> T | None:
    """The same for a program of threads, whose main thread the first signal interrupts as Ctrl-C does.

    As with Ctrl-C, a signal that comes in the very moment in which the thread begins to wait is seen when that wait is
    over: give waits a time. For the watchdog `main` has a `systemd.Watchdog` of its own.
    """
    with _Signals(stop_timeout_s) as signals:
        try:
            signals.begin(_interrupt)
            result = main()
            signals.begin(None)
        except _Stopped:
            signals.log_end()
            return None
        return result


class _Stopped(KeyboardInterrupt):
    """A signal has come. Not an Exception: nothing on the way is to take it for a failure that it knows."""


def _interrupt() -> None:
    raise _Stopped


async def _serve(main: Callable[[], Coroutine[Any, Any, T]], signals: _Signals, watchdog: systemd.Watchdog) -> T | None:
    if signals.received() is not None:
        return None  # it came before there was anything to end
    loop = asyncio.get_running_loop()
    with _woken_by_signals(loop):
        work = loop.create_task(main())
        alive = loop.create_task(watchdog.keep())
        signals.begin(lambda: loop.call_soon_threadsafe(work.cancel))
        try:
            return await work
        except asyncio.CancelledError:
            if signals.received() is None or not work.cancelled():
                raise
            signals.log_end()
            return None
        finally:
            signals.begin(None)
            alive.cancel()


@contextlib.contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """A signal that comes just before a loop begins to wait would be noticed when that wait is over; now it ends it."""
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        if before != -1:  # uvloop has its own
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        loop.add_reader(reading, reading.recv, 4096)
        try:
            yield
        finally:
            loop.remove_reader(reading)
            now = signal.set_wakeup_fd(-1)
            if now != writing.fileno():
                signal.set_wakeup_fd(now, warn_on_full_buffer=False)


class _Signals:
    """Who takes the signals while a program runs, and what is still to come of them afterwards."""

    def __init__(self, stop_timeout_s: float) -> None:
        if type(stop_timeout_s) not in (int, float) or not 0 < stop_timeout_s <= 86400:
            raise EncodeError("must be more than 0 and at most 86400 seconds", field="stop_timeout_s")
        self._stop_timeout_s = stop_timeout_s
        self._stop: Callable[[], object] | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._received: signal.Signals | None = None

    def received(self) -> signal.Signals | None:
        """The signal that has come, if any."""
        return self._received

    def log_end(self) -> None:
        if self._received is not None:
            _log.info("ended by %s", self._received.name)

    def begin(self, stop: Callable[[], object] | None) -> None:
        """From here on a signal is to do this; None for nothing, because all is ending anyway."""
        self._stop = stop
        if self._received is not None:  # it came just before
            self._stop_once()

    def _stop_once(self) -> None:
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise IotwireError("a service runs in the main thread, which alone is told of signals")
        for number in NUMBERS:
            self._handlers[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._received is None:
            systemd.stopping()
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        # Else the process is on its way out: the bound, and what a second signal does, are to hold to its very end.

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- called by signal
        """Called by the interpreter, in the main thread, between any two of its steps: also while a loop hangs."""
        if self._received is not None:
            os._exit(128 + number)
        self._received = signal.Signals(number)
        # A thread, for the main thread may be the one that does not end.
        guard = threading.Timer(self._stop_timeout_s, os._exit, [TOO_LATE])
        guard.daemon = True
        with contextlib.suppress(RuntimeError):  # there are too many: it goes without the bound
            guard.start()
        systemd.stopping()
        self._stop_once()
