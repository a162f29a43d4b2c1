"""What `BlockingClient` waits on, and what it waits for: a thread's gate, a socket, a wake-up."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import IotwireError

if TYPE_CHECKING:
    from ..transport.websocket import WebSocket

__all__ = ["ThreadWaiter", "Wakeup", "Watch", "WebSocketWire", "Wire"]


class ThreadWaiter:
    """What one thread waits on. Told once."""

    __slots__ = ("_error", "_gate", "_is_done", "_result", "poke")

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._is_done = False
        self._result: Any = None
        self._error: IotwireError | None = None
        self.poke: Callable[[], None] | None = None  # wakes it where it does not sleep, but reads

    def done(self) -> bool:
        return self._is_done

    def set_result(self, result: Any) -> None:
        self._result = result
        self._is_done = True
        self.wake()

    def set_exception(self, error: IotwireError) -> None:
        self._error = error
        self._is_done = True
        self.wake()

    def give_up(self) -> None:
        """Its thread waits no more: whoever would tell it something tells the next one."""
        self._is_done = True

    def wake(self) -> None:
        """Let it look around, done or not."""
        if self.poke is not None:
            self.poke()
        elif self._gate.locked():
            self._gate.release()

    def sleep(self, timeout_s: float | None) -> None:
        """Until it is woken. For one thread."""
        self._gate.acquire(timeout=-1 if timeout_s is None else max(0.0, min(timeout_s, threading.TIMEOUT_MAX)))

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result


class Wire:
    """One connection of a session: its socket, and what was not written to it yet.

    Reading and writing never wait, but for `wait_and_read`, which plain TCP has: an answer is then had with one system
    call, as on a bare socket. Whoever waits in it is woken by `break_off`.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.is_tls = isinstance(connected, ssl.SSLSocket)
        self._flags = 0 if self.is_tls else socket.MSG_DONTWAIT
        if not self.is_tls:
            connected.setblocking(True)
        # Waits for something to come. Not under TLS, and only where the client's own thread can be held off.
        self.can_exchange = not self.is_tls and Watch.can_be_told
        self.wait_and_read = connected.recv_into
        self.unsent: deque[memoryview] = deque()
        self.unsent_bytes = 0
        self.presents_certificate = False
        self.is_over = False  # the session is done with it
        self.is_lost = False  # the other side is gone, or has said its last word
        self.poll = select.poll()  # for the one who reads
        self.poll.register(connected.fileno(), select.POLLIN)

    def write(self, pieces: list[bytes]) -> None:
        """Hand over what the system takes; the rest waits."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if not self.unsent:
            sent = self._send(data)
            if sent == len(data):
                return
            self.unsent.append(memoryview(data)[sent:])
            self.unsent_bytes += len(data) - sent
        else:
            self.unsent.append(memoryview(data))
            self.unsent_bytes += len(data)

    def write_rest(self) -> None:
        """There may be room now."""
        while self.unsent:
            sent = self._send(self.unsent[0])
            if not sent:
                return
            self.unsent_bytes -= sent
            if sent < len(self.unsent[0]):
                self.unsent[0] = self.unsent[0][sent:]
            else:
                self.unsent.popleft()

    def _send(self, data: bytes | memoryview) -> int:
        try:
            return self.socket.send(data, self._flags)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError, InterruptedError):
            return 0
        except OSError:  # whoever reads is told the same, and more
            return len(data)

    def read(self, buffer: memoryview) -> int | None:
        """How many bytes have come; 0 at the end, None for not now. Raises OSError."""
        try:
            return self.socket.recv_into(buffer, 0, self._flags)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError, InterruptedError):
            return None
        except ssl.SSLEOFError:
            return 0

    def has_more(self) -> bool:
        """Whether TLS has something to give that no poll tells of."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def say_goodbye(self) -> None:
        """Nothing more is written: let the other side close."""
        try:
            if isinstance(self.socket, ssl.SSLSocket):
                self.socket.unwrap()
            else:
                self.socket.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            pass  # it is closed already, or has not answered yet

    def break_off(self) -> None:
        """Nothing more comes and goes; whoever waits in a read is told so."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.socket.close()


class WebSocketWire(Wire):
    """The same in WebSocket frames: what is written at once is one frame, and reading takes frames off.

    rest: frames that came together with the answer to the upgrade. wake: has the client's own thread look at `unsent`.
    """

    def __init__(self, connected: socket.socket, websocket: WebSocket, rest: bytes, wake: Callable[[], None]) -> None:
        super().__init__(connected)
        self.can_exchange = False  # what comes next need not be the answer: there are frames that carry none
        self._websocket = websocket
        self._rest = rest
        self._wake = wake

    def write(self, pieces: list[bytes]) -> None:
        if not self._websocket.has_closed:
            super().write([self._websocket.frame(pieces[0] if len(pieces) == 1 else b"".join(pieces))])

    def read(self, buffer: memoryview) -> int | None:
        websocket = self._websocket
        while not websocket.is_over:
            nbytes: int | None
            if self._rest:
                nbytes = min(len(self._rest), len(buffer))
                buffer[:nbytes] = self._rest[:nbytes]
                self._rest = self._rest[nbytes:]
            else:
                nbytes = super().read(buffer)
            if not nbytes:
                return nbytes
            size: int = websocket.strip(buffer, nbytes)
            if websocket.has_news:
                self._say(websocket.answer(may_pong=not self.unsent))
            if size:
                return size
        if websocket.failure is not None:
            raise websocket.failure
        return 0

    def write_rest(self) -> None:
        super().write_rest()
        if not self.unsent:
            self._say(self._websocket.late_pong())

    def has_more(self) -> bool:
        return bool(self._rest) or self._websocket.is_over or super().has_more()

    def say_goodbye(self) -> None:
        self._say(self._websocket.close())  # the other side answers it, and closes

    def _say(self, frame: bytes) -> None:
        if frame:
            super().write([frame])
            if self.unsent:
                self._wake()


class Wakeup:
    """A pipe whose end can be polled."""

    def __init__(self) -> None:
        self._is_closed = False
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)

    def wake(self) -> None:
        if not self._is_closed:
            with contextlib.suppress(BlockingIOError):  # full: it is awake
                os.write(self._writer, b"x")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.reader, 4096)

    def close(self) -> None:
        self._is_closed = True
        os.close(self.reader)
        os.close(self._writer)


class Watch:
    """What the client's own thread waits for: its socket and its wake-up.

    can_be_told: whether another thread can change what a wait under way is for. epoll can, without a wake-up.
    """

    can_be_told = hasattr(select, "epoll")

    def __init__(self, connected: socket.socket, wakeup: Wakeup) -> None:
        self.descriptor = connected.fileno()
        self._poll: Any = select.epoll() if self.can_be_told else select.poll()
        self._poll.register(wakeup.reader, select.POLLIN)
        self._poll.register(self.descriptor, 0)
        self.modify = self._poll.modify
        self.mask = 0

    def set(self, *, reads: bool, writes: bool) -> None:
        """What to wait for at the socket."""
        mask = (select.POLLIN if reads else 0) | (select.POLLOUT if writes else 0)
        if mask != self.mask:
            self.mask = mask
            self.modify(self.descriptor, mask)

    def wait(self, timeout_s: float | None) -> tuple[bool, bool, bool, bool]:
        """Whether the socket can be read, can be written, is broken; and whether there was a wake-up."""
        seconds_or_ms = timeout_s if self.can_be_told or timeout_s is None else timeout_s * 1000
        found = 0
        woken = False
        for descriptor, mask in self._poll.poll(seconds_or_ms):
            if descriptor == self.descriptor:
                found = mask
            else:
                woken = True
        broken = bool(found & (select.POLLHUP | select.POLLERR))
        return bool(found & select.POLLIN), bool(found & select.POLLOUT), broken, woken

    def close(self) -> None:
        if self.can_be_told:
            self._poll.close()
