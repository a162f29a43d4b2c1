"""Fewer wake-ups while much arrives in small pieces.

A broker that acknowledges every message by itself wakes a fast client for each few bytes, and then waking up is what
costs: on a board more than all that MQTT does. As a network card does with its interrupts, a `WakeupLimiter` lets bytes
gather for half a millisecond: with SO_RCVLOWAT the system reports a socket as readable only once so many are there.
It does so only where the client is woken very often, and waits no longer than 2 ms. Where less has come by then, this
peer may send no more without an answer (one that waits for each answer sends one packet): less is waited for, until
more is tried again some time later.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress

__all__ = ["WakeupLimiter"]

# Reads are counted over so many seconds.
WINDOW_S = 0.01
# Reads a second from which on gathering pays.
MANY_READS = 3000
# What is waited for: the bytes of so many seconds, at the rate of the window before, and no more than MOST_BYTES.
GATHER_S = 0.0005
FIRST_BYTES, MOST_BYTES = 256, 16 * 1024
# Seconds without a read after which what is there is read.
PATIENCE_S = 0.002
# Seconds after that before more is waited for; doubled where that was too much again.
REST_S, MOST_REST_S = 0.02, 2.0


class WakeupLimiter:
    """Watches the reads of one socket, and sets its low-water mark. Told of every read; bound to the running loop."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._window_began = 0.0
        self._reads = 0
        self._bytes = 0
        self._mark = 1  # what the socket has
        self._wanted = 1  # what it is to have
        self._limit = (
            FIRST_BYTES  # of `_wanted`: what this peer sends without waiting for an answer, as far as is known
        )
        self._has_stalled = False
        self._has_grown = False  # in the window before
        self._rest_s = REST_S
        self._grows_after = 0.0
        self._last_read = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, connected: socket.socket) -> WakeupLimiter | None:
        """One where the system heeds the mark when it reports what is readable: Linux does."""
        return cls(connected) if sys.platform == "linux" else None

    def note_read(self, nbytes: int, now: float) -> None:
        """So many bytes were read."""
        self._reads += 1
        self._bytes += nbytes
        self._last_read = now
        if self._has_stalled:
            self._has_stalled = False
            self._limit = max(1, min(max(nbytes, self._limit // 2), MOST_BYTES))
            self._rest_s = min(2 * self._rest_s, MOST_REST_S) if self._has_grown else REST_S
            self._grows_after = now + self._rest_s
            self._has_grown = False
            self._wanted = min(self._wanted, self._limit)
        if now - self._window_began >= WINDOW_S:
            self._judge(now)
        if self._wanted > self._mark:
            self._set_mark(self._wanted)
            if self._timer is None:
                self._timer = self._loop.call_at(now + PATIENCE_S, self._look)

    def stop(self) -> None:
        """The connection is over."""
        self._wanted = 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _judge(self, now: float) -> None:
        span = now - self._window_began
        # Once it gathers, there are few reads: then what counts is that they go on.
        is_busy = self._reads >= MANY_READS * span if self._wanted == 1 else span < 2 * WINDOW_S
        wanted = int(self._bytes / span * GATHER_S) if is_busy else 1
        self._has_grown = wanted > self._limit < MOST_BYTES and now >= self._grows_after
        if self._has_grown:
            self._limit = min(2 * self._limit, MOST_BYTES)
        self._wanted = max(1, min(wanted, self._limit))
        if self._wanted < self._mark:
            self._set_mark(self._wanted)
        self._window_began = now
        self._reads = self._bytes = 0

    def _look(self) -> None:
        self._timer = None
        if self._mark == 1:
            return
        due = self._last_read + PATIENCE_S
        if self._loop.time() >= due:
            self._has_stalled = True
            self._set_mark(1)
        else:
            self._timer = self._loop.call_at(due, self._look)

    def _set_mark(self, mark: int) -> None:
        self._mark = mark
        with suppress(OSError):  # closed meanwhile
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark)
