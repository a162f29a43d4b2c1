"""The client's end of a connection: a `Session` over an asyncio transport."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any, Protocol

from ..errors import IotwireError, WireError
from ..mqtt import Connect, Session
from ..transport import Stream
from ..transport.explain import describe_end
from ..transport.wakeups import WakeupLimiter
from .outcomes import with_cause

__all__ = ["Link"]


# While so many messages are with the server, it does not wait for more of them. Then they are held back until they are
# one in HELD_PART of those, or for HOLD_S seconds: sent one by one, each would wake both sides for itself.
BUSY_MESSAGES = 128
HELD_PART = 8
HOLD_S = 0.001
# Bytes that are handed to the transport at once.
WRITE_BYTES = 256 * 1024


class LinkOwner(Protocol):
    def _handle(self, events: list[Any]) -> None: ...


class Link(Stream):
    """One connection of a session. What it says leaves once in a turn of the event loop, and its deadline is kept.

    owner: who takes the session's events. presents_certificate: for a better word where the server just closes.
    """

    def __init__(self, session: Session, owner: LinkOwner, *, presents_certificate: bool) -> None:
        super().__init__(session)
        self._session = session
        self._owner = owner
        self._presents_certificate = presents_certificate
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        self._wakeups: WakeupLimiter | None = None
        self._hold_timer: asyncio.TimerHandle | None = None
        self._packed: deque[bytes] | None = None
        self._packed_bytes = 0

    def take_socket(self, connected: socket.socket) -> None:
        self._wakeups = WakeupLimiter.of(connected)

    def begin(self, connect: Connect) -> None:
        """The transport is open: say CONNECT."""
        self._session.connect(connect, self._loop.time())
        self.flush()
        self.keep_deadline()

    def keep_deadline(self) -> None:
        """Have the session's `tick` called in time. A deadline that has moved on is seen when the old one comes."""
        deadline = self._session.deadline
        if self._timer is not None and (deadline is None or deadline < self._timer.when()):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and deadline is not None and not self._is_lost:
            self._timer = self._loop.call_at(deadline, self._tick)

    def end_session(self, error: IotwireError | None, timeout_s: float) -> None:
        """The session has ended: write what it still has to say, and close."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Whoever says DISCONNECT lets the other side close.
        self.close(timeout_s, linger=error is None or isinstance(error, WireError))

    def drop(self, message: str = "this client closed the connection") -> None:
        """Over, at once, whatever state it is in."""
        self.abort()
        self._end(message)

    def flush_soon(self) -> None:
        """Hand over what is written at the end of this turn, or a little later where the server has enough to do."""
        if not self.flush_is_due:
            self.flush_is_due = True
            self._loop.call_soon(self._flush_or_hold)

    def _flush_or_hold(self) -> None:
        session = self._session
        in_flight = session.in_flight_now
        if in_flight < BUSY_MESSAGES or session.output_packets * HELD_PART >= in_flight:
            self.flush()
        else:
            self.flush_is_due = False
            if self._hold_timer is None:
                self._hold_timer = self._loop.call_later(HOLD_S, self.flush)

    def flush(self) -> None:
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None
        super().flush()

    def make_room(self, most: int) -> bool:
        """Much is written: hand it over, or else pack it, up to so many bytes. False where there are that many.

        Packed while it is in the processor's cache, it need not come back there message by message.
        """
        if self.is_writing:
            self.flush()
            return True
        if self._packed_bytes >= most:
            return False
        if self._packed is None:
            self._packed = deque()
        try:
            piece = b"".join(self._session.take_output(self._loop.time()))
        except MemoryError:  # as in `Stream`
            self.abort()
            raise
        self._packed.append(piece)
        self._packed_bytes += len(piece)
        return self._packed_bytes < most

    # What `Stream` asks for.

    def _receive(self, nbytes: int) -> None:
        session = self._session
        now = self._loop.time()
        events = session.buffer_updated(nbytes, now)
        if self._wakeups is not None:
            self._wakeups.note_read(nbytes, now)
        if events or session.has_changes:
            self._owner._handle(events)
        elif session.output_bytes:
            self.flush_soon()

    def _take_written(self) -> list[bytes]:
        if self._packed:
            piece = self._packed.popleft()
            self._packed_bytes -= len(piece)
            return [piece]
        return self._session.take_output(self._loop.time(), WRITE_BYTES)

    @property
    def _written_bytes(self) -> int:
        return self._packed_bytes + self._session.output_bytes

    def _lose(self, error: Exception | None) -> None:
        has_connack = self._session.limits is not None
        message = describe_end(error, has_connack=has_connack, presents_certificate=self._presents_certificate)
        self._end(message, error)

    def _end(self, message: str, cause: Exception | None = None) -> None:
        if self._is_over:  # asyncio's word on a connection that was dropped comes late: the session may be on its next
            return
        self._is_over = self._is_lost = True
        if self._wakeups is not None:
            self._wakeups.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._session.connection_lost(message)
        self._owner._handle(with_cause(self._session.take_events(), cause))

    def _tick(self) -> None:
        self._timer = None
        self._session.is_reading = self.is_reading
        events = self._session.tick(self._loop.time())
        self._owner._handle(events)
        self.keep_deadline()
