"""`BlockingClient`: the same for threads.

Nobody hands bytes from thread to thread here. A call that waits for an answer reads the socket itself, so an exchange
takes hardly longer than on a bare socket; while no call does, a thread of the client's own reads, keeps the session's
deadlines and connects again. Which of them reads is `_reader`; the others sleep until they are told. All of it is
guarded by one lock, which nobody holds while waiting.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import queue
import select
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from ..errors import (
    ConnectError,
    ConnectionLostError,
    EncodeError,
    IotwireError,
    OutboxError,
    OutboxFullError,
    RequestTimeoutError,
    WireError,
)
from ..mqtt import ConnAck, Disconnect, Publish, ReasonCode, Request, SubAck, Subscription, UnsubAck
from ..transport.blocking import open_connection
from ..transport.explain import describe_end
from ..transport.stream import GATHER_BYTES, READ_BYTES, WRITE_HIGH_BYTES
from ..transport.tls import keep_session
from .backoff import Retries
from .base import DEFAULT_MAX_BYTES, DEFAULT_MAX_MESSAGES, ClientBase
from .blocking_streams import (
    BlockingMessageHandler,
    BlockingMessageStream,
    BlockingReceipt,
    BlockingStoredReceipt,
    wait_stored,
)
from .inbox import Inbox, WhenFull
from .outcomes import (
    REASONS,
    Outcome,
    Part,
    Pending,
    PublishOptions,
    PublishReport,
    as_lost,
    as_refused,
    describe_no_connack,
    raise_for_refusals,
    read_item,
    with_cause,
)
from .stats import ClientStats
from .wire import ThreadWaiter, Wakeup, Watch, WebSocketWire, Wire

if TYPE_CHECKING:
    from .stored import Feed

__all__ = ["BlockingClient"]

_log = logging.getLogger("iotwire.client")

# The clients of this process that have a thread.
_running: weakref.WeakSet[BlockingClient] = weakref.WeakSet()


class _ParentsLock:
    """What stands for the lock of a client in a child of fork, where no thread would ever release it."""

    def __enter__(self) -> None:
        raise IotwireError("this client was connected by another process: a child of fork makes its own")

    def __exit__(self, *error: object) -> None:
        pass


def _disown() -> None:
    for client in list(_running):
        client._disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)

# Who reads while a call has its answer with one system call: what it waits for, or `break_off`, wakes it.
_EXCHANGING = ThreadWaiter()
_EXCHANGING.poke = lambda: None

_WRITTEN = BlockingReceipt()
_WRITTEN.set_result(ReasonCode.SUCCESS)


class _Turn:
    """What is said under the lock is written at its end: `with client._lock, client._turn`.

    It does not take the lock itself: KeyboardInterrupt may come at the first step of any method written in Python, and
    a lock that is not released then is never released.

    Nobody knows what a turn that was interrupted has read, written or told. So the connection is broken off, and the
    session makes up for it on the next one: bytes that were taken from the socket, or from the session, and got lost
    would otherwise be waited for in vain.
    """

    __slots__ = ("_client", "_is_amid")

    def __init__(self, client: BlockingClient) -> None:
        self._client = client
        self._is_amid = False

    def __enter__(self) -> None:
        if self._is_amid:  # the turn before was interrupted at its very end
            self._client._break_off()
        self._is_amid = True

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._client._session.output_bytes:
            self._client._write()
        if kind is not None and not issubclass(kind, Exception):
            self._client._break_off()
        self._is_amid = False


class BlockingClient(ClientBase):
    """An MQTT client for scripts: `with BlockingClient(route, "gateway-7") as client`.

    For the keyword arguments see `ClientBase`, whose they are; for what the calls do see `Client`, whose names these
    are. Calls that wait take `timeout_s` and raise RequestTimeoutError; None waits for ever.

    Several threads may use one client. Callbacks of `on_message` are called one after another in a thread of their own,
    and may make any call. A client that was connected before a fork is not for the child; one that the child makes is.
    """

    def _prepare(self) -> None:
        self._lock: Any = threading.RLock()
        self._closing = threading.RLock()  # one thread starts it, or ends it, at a time
        self._turn = _Turn(self)
        self._wire: Wire | None = None
        self._thread: threading.Thread | None = None
        self._reader: ThreadWaiter | None = None  # who reads; None for the client's own thread
        self._reader_thread = 0
        self._sleepers: deque[ThreadWaiter] = deque()
        self._writers: deque[ThreadWaiter] = deque()
        self._first: ThreadWaiter | None = None
        self._arrivals: queue.SimpleQueue[Any] = queue.SimpleQueue()  # for callbacks
        self._caller: threading.Thread | None = None  # who calls them
        self._caller_before: threading.Thread | None = None  # on the connection before
        self._pump_at: float | None = None
        self._close_by: float | None = None
        self._renew_at: float | None = None
        self._connect_by = 0.0  # when the CONNACK has to be here
        self._has_gathered = False  # there is output that the client's own thread is to write
        self._is_parents = False  # this is a child of the process that connected it

    # The connection.

    def __enter__(self) -> Self:
        if self._feed is None:
            self.connect()
        else:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def start(self) -> None:
        """Start the client, and do not wait until it is connected: as `Client.start`."""
        self._start()

    def _start(self) -> ThreadWaiter:
        """Start the client; what is returned is told the first CONNACK, or why there was none."""
        with self._closing:
            if self._thread is not None and self._thread.is_alive():
                raise ConnectError("this client is connected, or connecting, already")
            if self._feed is not None:
                self._feed.open()  # without the lock, which the outbox's thread may be waiting for
            try:
                with self._lock:
                    return self._start_thread()
            except BaseException:
                self._close_feed()
                raise

    def _start_thread(self) -> ThreadWaiter:
        """Under the lock."""
        self._wakeup = Wakeup()
        try:
            self._reader_wakeup = Wakeup()
        except OSError:
            self._wakeup.close()
            raise
        self._begin()
        self._first = first = ThreadWaiter()
        self._thread = threading.Thread(target=self._supervise, name=f"iotwire {self._client_id}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # there are too many
            self._is_running = False
            self._wakeup.close()
            self._reader_wakeup.close()
            raise
        _running.add(self)
        return first

    def _close_feed(self) -> None:
        if self._feed is not None:
            self._feed.close()

    def connect(self) -> ConnAck:
        """Start the client, and wait until it is connected for the first time: as `Client.connect`."""
        first = self._start()
        try:
            while not first.done():
                first.sleep(None)
            connack: ConnAck = first.result()
        except BaseException as error:
            if not isinstance(error, IotwireError):  # KeyboardInterrupt, and it may be connected by now
                self._leave(Disconnect())
            assert self._thread is not None
            self._thread.join(self._close_timeout_s)
            self._close_feed()
            raise
        return connack

    def disconnect(self, reason_code: int = ReasonCode.NORMAL_DISCONNECTION) -> list[Publish]:
        """Wait until all that is queued is acknowledged, send DISCONNECT, and close: as `Client.disconnect`."""
        farewell = Disconnect(reason_code)
        farewell.encode(self._version)
        if self._is_parents:
            return []
        with self._closing:
            undelivered = self._close(farewell)
            self._close_feed()
        return undelivered

    def _close(self, farewell: Disconnect) -> list[Publish]:
        thread = self._thread
        if thread is None or not thread.is_alive():
            return self.undelivered
        drained = None
        with self._lock, self._turn:
            if self._has_connected and not self._is_closing and not self._is_drained:
                self._drained = drained = ThreadWaiter()
            self._is_closing, self._is_direct = True, False
        try:
            if drained is not None:
                with contextlib.suppress(RequestTimeoutError):
                    self._wait(drained, monotonic() + self._drain_timeout_s)
        finally:
            self._leave(farewell)
        if thread is not threading.current_thread():
            thread.join(self._close_timeout_s + 1)
        if thread.is_alive():  # resolving a name, or connecting: it ends by itself, and does nothing more
            with self._lock, self._turn:
                self._end(None)
        undelivered = self.undelivered
        if undelivered:
            _log.warning("%s was closed before %d messages were delivered", self.client_id, len(undelivered))
        return undelivered

    def _leave(self, farewell: Disconnect) -> None:
        """Send DISCONNECT where there is a connection, and let the client's thread end."""
        with self._lock, self._turn:
            self._drained = None
            self._is_closing, self._is_direct = True, False
            if self._session.is_connected:
                self._session.disconnect(farewell)
                self._handle(self._session.take_events())
            self._wakeup.wake()

    def _end(self, error: IotwireError | None) -> None:
        super()._end(error)
        self._end_callbacks()

    def _disown(self) -> None:
        """Nothing here belongs to this process, a child of the one that connected, and the threads are not in it.

        The socket is closed for the sake of the server, which would not see the parent's end otherwise.
        """
        self._lock = _ParentsLock()
        self._is_parents = True
        if self._wire is not None:
            self._wire.socket.close()

    @property
    def security(self) -> str:
        """How the connection is protected, such as "TLSv1.3, TLS_AES_256_GCM_SHA384"; "none" on plain TCP."""
        wire = self._wire
        if wire is None or not isinstance(wire.socket, ssl.SSLSocket):
            return "none"
        cipher = wire.socket.cipher()
        return "none" if cipher is None else f"{wire.socket.version()}, {cipher[0]}"

    @property
    def undelivered(self) -> list[Publish]:
        with self._lock, self._turn:
            return super().undelivered

    def stats(self) -> ClientStats:
        """Messages and bytes so far."""
        with self._lock, self._turn:
            return super().stats()

    # The client's own thread.

    def _supervise(self) -> None:
        """Connect, and again, until the client is closed or gives up."""
        retries = Retries(self._backoff)
        error: IotwireError | None = None
        try:
            while True:
                began = self._now()
                try:
                    error = self._live()
                except IotwireError as failure:
                    error = failure
                with self._lock:
                    delay = self._next_attempt_in(retries, error, began)
                if delay is None:
                    return
                if delay > 0 and self._is_woken_in(delay):
                    with self._lock:
                        delay = self._hurry_in(retries)
                    self._sleep(delay)
                if self._is_leaving:
                    return
        except Exception as failure:  # noqa: BLE001 -- a route of the application's own may raise anything
            error = ConnectError(f"the route failed: {type(failure).__name__}")
            error.__cause__ = failure
        finally:
            with self._lock:
                if self._is_closing:
                    error = None
                if self._first is not None and not self._first.done():
                    self._first.set_exception(error or ConnectError("this client closed the connection"))
                if self._is_running:
                    self._end(error)
                self._tell_drained()  # nothing more is acknowledged
                self._wakeup.close()
                self._reader_wakeup.close()
                _running.discard(self)

    def _is_woken_in(self, seconds: float) -> bool:
        """Wait for so long, or until the client is closed, or `_wake_early`: whether it was that."""
        self._sleep(seconds, lambda: self._is_hurried)
        return self._is_hurried

    def _sleep(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Until the time is over, or the client is closed."""
        until = self._now() + seconds
        waiting = select.poll()
        waiting.register(self._wakeup.reader, select.POLLIN)
        while not (self._is_leaving or is_over()) and (left := until - self._now()) > 0:
            if waiting.poll(left * 1000):
                self._wakeup.clear()

    def _live(self) -> IotwireError | None:
        """One connection, from its first packet to its end: why it ended. Raises IotwireError where there was none."""
        try:
            return self._live_once()
        except ConnectError as error:
            if not self._learns_from(error):
                raise
        return self._live_once()

    def _live_once(self) -> IotwireError | None:
        attempt = self._make_attempt()
        self._connect_by = self._now() + self._connect_timeout_s
        connected, rest = open_connection(
            attempt,
            timeout_s=self._connect_timeout_s,
            dead_link_timeout_s=self._dead_link_timeout_s,
            contexts=self._contexts,
            step_timeouts=self._step_timeouts,
            interruption=self._interruption,
        )
        wire = self._make_wire(connected, rest)
        wire.poll.register(self._reader_wakeup.reader, select.POLLIN)
        wire.presents_certificate = attempt.presents_certificate
        watch = Watch(connected, self._wakeup)
        try:
            with self._lock, self._turn:
                if self._is_leaving:
                    return None
                self._ending = None
                self._close_by = self._renew_at = None
                self._wire, self._watch = wire, watch
                self._session.connect(self._make_connect(attempt), self._now())
                while self._sleepers:  # there was nothing to read for them: now one of them is to
                    self._sleepers.popleft().wake()
            while not wire.is_lost:
                self._serve(wire, watch)
        finally:
            with self._lock, self._turn:
                # Also where it is lost: a call that lost it may have been interrupted (Ctrl-C) in the midst of that.
                self._lose(wire, None)
                self._on_lost()
                self._wire = None
                while self._sleepers:
                    self._sleepers.popleft().wake()
                if self._reader is not None:
                    self._reader.wake()
            while self._reader is not None:  # it is on its way out, and must not read another's descriptor
                time.sleep(0.0005)
            watch.close()
            wire.close()
        ending: IotwireError | None = self._ending
        if ending is None and self._is_renewing:
            return None
        return ending or ConnectionLostError("the connection was broken off")

    def _make_wire(self, connected: socket.socket, rest: bytes | None) -> Wire:
        if rest is None:
            return Wire(connected)
        from ..transport.websocket import WebSocket  # what few routes need

        if rest:
            self._wakeup.wake()  # no poll tells of it
        return WebSocketWire(connected, WebSocket(), rest, self._wakeup.wake)

    def _serve(self, wire: Wire, watch: Watch) -> None:
        """Wait for one thing to happen, and do it."""
        with self._lock, self._turn:
            dues = [
                due
                for due in (self._session.deadline, self._pump_at, self._close_by, self._renew_at)
                if due is not None
            ]
            if not (self._session.is_connected or wire.is_over):
                dues.append(self._connect_by)
            watch.set(
                reads=self._reader is None and not self._is_paused,
                writes=bool(wire.unsent),
            )
        readable, writable, broken, woken = watch.wait(None if not dues else max(0.0, min(dues) - self._now()))
        with self._lock, self._turn:
            now = self._now()
            if woken:
                self._wakeup.clear()
            if writable:
                wire.write_rest()
                if wire.is_over and not wire.unsent:
                    wire.say_goodbye()
                self._wake_writers()
            if self._reader is None and (broken or ((readable or woken) and not self._is_paused)):
                self._read(wire)
            if self._pump_at is not None and now >= self._pump_at:
                self._pump_at = None
                self._pump()
            if self._renew_at is not None and now >= self._renew_at:
                self._renew_at = None
                self._renew()
            if self._is_leaving and not self._session.is_connected and not (wire.is_over or wire.is_lost):
                self._lose(wire, None)  # nobody wants the CONNACK any more
            elif not (self._session.is_connected or wire.is_over) and now >= self._connect_by:
                self._lose(wire, None, describe_no_connack(self._connect_timeout_s))
            elif not wire.is_over:
                self._session.is_reading = not self._is_paused
                self._handle(self._session.tick(now))
            elif self._close_by is not None and now >= self._close_by and not wire.is_lost:
                self._lose(wire, None)
            if self._sleepers:
                self._pass_reading_on(wire)  # they came while there was nothing to read, or while nobody was to read

    # Reading and writing, under the lock.

    def _read(self, wire: Wire) -> None:
        """Take what has come."""
        session = self._session
        while not wire.is_lost:
            buffer = memoryview(bytearray(4096)) if wire.is_over else session.get_buffer(READ_BYTES)
            try:
                nbytes = wire.read(buffer)
            except OSError as error:
                self._lose(wire, error)
                return
            if nbytes is None:
                return
            if nbytes == 0:
                self._lose(wire, None)
                return
            if not wire.is_over:
                self._handle(session.buffer_updated(nbytes, self._now()))
            if not wire.has_more() or (self._is_paused and not wire.is_over):
                return

    def _break_off(self) -> None:
        """Have the client's own thread see the end of this connection."""
        self._is_direct = False
        wire = self._wire
        if wire is not None and not wire.is_lost:
            wire.break_off()
            self._watch.mask = -1  # whatever it is
            self._watch.set(reads=True, writes=False)
            self._wakeup.wake()

    def _write(self) -> None:
        """Write what the session has to say."""
        self._has_gathered = False
        wire = self._wire
        if wire is not None and not wire.is_lost:
            try:
                pieces = self._session.take_output(self._now())
                if pieces:
                    wire.write(pieces)
                    if wire.unsent:
                        self._wakeup.wake()  # it has to wait for room
            except BaseException:  # KeyboardInterrupt: what was taken may not have been written
                self._break_off()
                raise

    def _wake_writers(self) -> None:
        while self._writers and self._wire is not None and self._wire.unsent_bytes < WRITE_HIGH_BYTES:
            writer = self._writers.popleft()
            if not writer.done():
                writer.set_result(None)

    def _lose(self, wire: Wire, error: OSError | None, message: str = "") -> None:
        """The other side is gone. message: why, where that is known better than from the error."""
        wire.is_lost = True
        wire.break_off()
        self._session.connection_lost(
            message
            or describe_end(
                error, has_connack=self._session.limits is not None, presents_certificate=wire.presents_certificate
            )
        )
        self._handle(with_cause(self._session.take_events(), error))
        while self._writers:
            self._writers.popleft().set_result(None)
        self._wakeup.wake()

    # Waiting.

    def _wait(self, waiter: ThreadWaiter, deadline: float | None) -> Any:
        """What the waiter is told. The calling thread reads meanwhile, unless another one does."""
        slept = False
        try:
            while not waiter.done():
                with self._lock, self._turn:
                    wire = self._wire
                    if (
                        self._reader is None
                        and wire is not None
                        and not (wire.is_over or wire.is_lost or self._is_paused)
                        and Watch.can_be_told
                    ):
                        self._reader = waiter
                        self._reader_thread = threading.get_ident()
                        waiter.poke = self._poke_reader
                        self._watch.set(reads=False, writes=bool(wire.unsent))
                        if wire.has_more():
                            self._read(wire)
                    elif waiter.done():
                        break
                    else:
                        self._sleepers.append(waiter)
                        slept = True
                        wire = None
                if wire is not None:
                    self._read_until(waiter, wire, deadline)
                else:
                    waiter.sleep(None if deadline is None else deadline - self._now())
                with self._lock:
                    self._stop_waiting(waiter)
                    self._check_time(waiter, deadline)
        except BaseException:
            with self._lock:
                self._stop_waiting(waiter)
                waiter.give_up()
                self._pass_reading_on(self._wire)  # it may have been woken to read
            raise
        if slept:
            with self._lock:
                self._pass_reading_on(self._wire)
        return waiter.result()

    def _check_time(self, waiter: ThreadWaiter, deadline: float | None) -> None:
        if not waiter.done() and deadline is not None and self._now() >= deadline:
            raise RequestTimeoutError("no answer came in time")

    def _stop_waiting(self, waiter: ThreadWaiter) -> None:
        """It neither reads nor sleeps any more."""
        if self._reader is waiter:
            waiter.poke = None
            self._reader = None
            self._pass_reading_on(self._wire)
        elif waiter in self._sleepers:
            self._sleepers.remove(waiter)

    def _read_until(self, waiter: ThreadWaiter, wire: Wire, deadline: float | None) -> None:
        """Read, until the waiter is told, or somebody else has to go on."""
        while not (waiter.done() or wire.is_lost or wire.is_over or self._is_paused):
            ready = wire.poll.poll(None if deadline is None else max(0.0, (deadline - self._now()) * 1000))
            with self._lock, self._turn:
                for descriptor, _ in ready:
                    if descriptor == self._reader_wakeup.reader:
                        self._reader_wakeup.clear()
                    else:
                        self._read(wire)
            if not ready and deadline is not None and self._now() >= deadline:
                return

    def _poke_reader(self) -> None:
        if threading.get_ident() != self._reader_thread:
            self._reader_wakeup.wake()

    def _pass_reading_on(self, wire: Wire | None) -> None:
        """Where nobody reads now, the next who waits does, or else the client's own thread."""
        if self._reader is not None or wire is None or not Watch.can_be_told:
            return
        if not (wire.is_over or wire.is_lost or self._is_paused):
            while self._sleepers:
                sleeper = self._sleepers.popleft()
                if not sleeper.done():
                    sleeper.wake()
                    return
        if wire is self._wire:
            self._watch.set(reads=not self._is_paused, writes=bool(wire.unsent))

    def _wait_for_outcome(self, outcome: Outcome, timeout_s: float | None) -> None:
        waiter = ThreadWaiter()
        with self._lock:
            if outcome.is_done:
                return
            outcome._waiters = [*(outcome._waiters or ()), waiter]
        try:
            self._wait(waiter, _deadline(timeout_s))
        except BaseException:
            with self._lock:
                outcome._waiters = [each for each in outcome._waiters or () if each is not waiter]
            raise

    # What the shared part asks for.

    def _now(self) -> float:
        return monotonic()

    def _flush_soon(self) -> None:
        """Whoever holds the lock writes at the end of its turn."""

    def _update_reading(self) -> None:
        wants_pause = self._wants_pause
        if wants_pause != self._is_paused:
            self._is_paused = wants_pause
            if self._wire is not None:
                self._wakeup.wake()  # and with TLS there may be something to read that no poll will tell of

    def _call_from_thread(self, function: Callable[[], None]) -> None:
        with self._lock, self._turn:
            function()

    def _wake_early(self) -> None:
        self._wakeup.wake()

    def _give_connection_up(self, message: str) -> None:
        if self._wire is not None and not self._wire.is_lost:
            self._lose(self._wire, None, message)

    def _call_pump_in(self, seconds: float) -> None:
        if self._pump_at is None:
            self._pump_at = self._now() + seconds
            self._wakeup.wake()

    def _on_connack(self, connack: ConnAck) -> None:
        super()._on_connack(connack)
        renew_in = self._renew_in()
        self._renew_at = None if renew_in is None else self._now() + renew_in
        if self._wire is not None:
            keep_session(self._wire.socket)
        if self._first is not None and not self._first.done():
            self._first.set_result(connack)
        self._wakeup.wake()  # there is a new deadline

    def _close_connection(self, error: IotwireError | None) -> None:
        self._ending = as_lost(error)
        if (
            self._first is not None
            and not self._first.done()
            and not (self._wait_for_server or self._uplinks.has_another)
        ):
            self._first.set_exception(as_refused(None if self._is_closing else error))
        wire = self._wire
        if wire is None or wire.is_lost:
            return
        self._write()
        wire.is_over = True
        lingers = error is None or isinstance(error, WireError)
        if not wire.unsent:
            wire.say_goodbye()
        self._close_by = self._now() + (self._close_timeout_s / 2 if lingers or wire.unsent else 0.0)
        self._wakeup.wake()

    # Messages to the server.

    def publish(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview = b"",
        qos: int = 0,
        retain: bool = False,
        *,
        timeout_s: float | None = None,
        **properties: Unpack[PublishOptions],
    ) -> ReasonCode:
        """Publish a message, and wait until it is safe: as `Client.publish`. Raises RequestTimeoutError.

        Where the time is over, a message that was sent may still arrive; one that was not is withdrawn.
        """
        if self._feed is not None:
            wait_stored(self._feed.put(topic, payload, qos, retain, properties), timeout_s)
            return ReasonCode.SUCCESS
        return self._send_in_turn(topic, payload, qos, retain, properties, timeout_s)

    def _send_in_turn(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview,
        qos: int,
        retain: bool,
        properties: Any,
        timeout_s: float | None,
    ) -> ReasonCode:
        if qos and timeout_s is None and (code := self._exchange(topic, payload, qos, retain, properties)) is not None:
            return code
        deadline = _deadline(timeout_s)
        acknowledged = ThreadWaiter()
        with self._lock, self._turn:
            wire = self._wire
            is_sent = self._is_direct and wire is not None and wire.unsent_bytes < WRITE_HIGH_BYTES and self._has_room()
            if is_sent:
                delivery = self._session.publish(topic, payload, qos, retain, **properties)
                if delivery is None:
                    return ReasonCode.SUCCESS
                delivery.context = acknowledged
                if self._is_paused:
                    self._update_reading()
        try:
            if not is_sent:
                self._wait_for_room(qos, deadline)
                with self._lock, self._turn:
                    self._must_run()
                    self._submit(topic, payload, qos, retain, properties, acknowledged)
                    if self._is_paused:
                        self._update_reading()
            result: ReasonCode = self._wait(acknowledged, deadline)
        except BaseException:
            with self._lock, self._turn:
                self._withdraw(acknowledged)
            raise
        return result

    def _exchange(
        self, topic: str, payload: bytes | bytearray | memoryview, qos: int, retain: bool, properties: Any
    ) -> ReasonCode | None:
        """As `publish` where nothing else is going on: send, and read the answer. None where something is.

        Each line of it is part of what a call takes beyond the bare socket: so it stands in one piece.
        """
        session = self._session
        reads = is_amid = False
        wire = buffer = None
        try:
            with self._lock:
                wire = self._wire
                if (
                    wire is None
                    or self._reader is not None
                    or not self._is_direct
                    or session.unfinished
                    or not wire.can_exchange
                    or wire.unsent
                    or self._is_paused
                ):
                    return None
                is_amid = True
                if properties:
                    delivery = session.publish(topic, payload, qos, retain, **properties)
                else:
                    delivery = session.publish(topic, payload, qos, retain)
                assert delivery is not None
                self._reader = _EXCHANGING
                reads = True
                watch = self._watch
                watch.mask = 0
                watch.modify(watch.descriptor, 0)
                self._has_gathered = False
                wire.write(session.take_output(monotonic()))
                if wire.unsent:
                    self._wakeup.wake()  # the client's own thread writes the rest
                buffer = session.get_buffer(READ_BYTES)
                buffer[0] = 0  # which is no packet's first byte
                is_amid = False
            failure = None
            try:
                nbytes = wire.wait_and_read(buffer)
            except (BlockingIOError, InterruptedError):
                nbytes = -1
            except OSError as error:
                nbytes, failure = 0, error
            with self._lock:
                self._reader = None
                reads = False
                is_amid = True
                if nbytes > 0 and not wire.is_over and not wire.is_lost:
                    events = session.buffer_updated(nbytes, monotonic())
                    code = delivery.reason_code
                    if (
                        code is not None
                        and code < 0x80
                        and len(events) == 1
                        and not (self._room_waiters or self._is_closing or session.unfinished)
                    ):
                        self._made_progress = True
                        if self._sleepers:
                            self._pass_reading_on(wire)
                        else:
                            watch.mask = select.POLLIN
                            watch.modify(watch.descriptor, watch.mask)
                        return REASONS[code]
                else:
                    events = []
                # Something else has come, or nothing yet: wait as others do.
                delivery.context = acknowledged = ThreadWaiter()
                with self._turn:
                    self._handle(events)
                    if nbytes == 0 and not wire.is_lost:
                        self._lose(wire, failure)
                    self._pass_reading_on(wire)
                    if not self._is_running and not acknowledged.done():
                        acknowledged.set_exception(self._make_lost_error())
        except BaseException as error:
            if wire is not None:
                with self._lock:
                    is_lost = is_amid and not isinstance(error, Exception)  # KeyboardInterrupt, in the midst of a turn
                    if reads:
                        self._reader = None
                        is_lost = is_lost or (buffer is not None and buffer[0] != 0)  # and nobody knows how much it was
                    if is_lost:
                        self._break_off()
                    self._pass_reading_on(self._wire)
            raise
        result: ReasonCode = self._wait(acknowledged, None)
        return result

    def publish_nowait(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview = b"",
        qos: int = 0,
        retain: bool = False,
        **properties: Unpack[PublishOptions],
    ) -> BlockingReceipt:
        """Publish a message without waiting: as `Client.publish_nowait`."""
        if self._feed is not None:
            return BlockingStoredReceipt(self._feed.put(topic, payload, qos, retain, properties))
        with self._lock:
            wire = self._wire
            if not qos and self._is_direct and wire is not None:
                if wire.unsent_bytes >= self._max_queued_bytes:
                    raise OutboxFullError(f"{wire.unsent_bytes} bytes wait to be written")
                self._session.publish(topic, payload, qos, retain, **properties)  # type: ignore[misc]
                self._gather()
                return _WRITTEN
            self._must_run()
            if not self._has_room():
                raise OutboxFullError(f"{self._session.unfinished + len(self._line)} messages are queued")
            receipt = BlockingReceipt(self)
            self._submit(topic, payload, qos, retain, properties, receipt)
            self._write()
            return receipt

    def drain(self, timeout_s: float | None = None) -> None:
        """Wait until there is room for another message: as `Client.drain`."""
        if self._feed is not None:
            wait_stored(self._feed.outbox.flush(), timeout_s)
            return
        self._wait_for_room(0, _deadline(timeout_s))

    def publish_many(
        self, items: Iterable[tuple[str, Any] | Publish], *, qos: int = 0, retain: bool = False
    ) -> PublishReport:
        """Publish many messages, as fast as they are taken, and wait until all are safe: as `Client.publish_many`."""
        if self._feed is not None:
            return self._store_many(self._feed, items, qos, retain)
        report = PublishReport()
        pending = Pending(report)
        with self._lock:
            self._must_run()
        for item in items:
            try:
                topic, payload, item_qos, item_retain, properties = read_item(item, qos, retain)
                if pending.count >= self._max_pending:
                    self._wait_for_pending(pending, self._max_pending // 2)
                while not self._submit_part(pending, item, topic, payload, item_qos, item_retain, properties):
                    self._wait_for_room(item_qos, None)
            except IotwireError as error:
                report.failures.append((item, error))
                if not self._is_running or self._is_closing:
                    break
        self._wait_for_pending(pending, 0)
        return report

    def _store_many(self, feed: Feed, items: Iterable[Any], qos: int, retain: bool) -> PublishReport:
        from .stored import StoredMany

        many = StoredMany(feed, qos, retain)

        def settle() -> None:
            if many.latest is not None:
                with contextlib.suppress(OutboxError):  # it is in the report
                    many.latest.wait()
            many.settle()

        for item in items:
            if many.put(item):
                settle()
            if many.is_over:
                break
        settle()
        return many.report

    def _submit_part(
        self, pending: Pending, item: Any, topic: str, payload: Any, qos: int, retain: bool, properties: Any
    ) -> bool:
        """Send one message of many, if there is room for it."""
        with self._lock:
            self._must_run()
            if not self._can_take(qos):
                return False
            pending.count += 1
            try:
                self._submit(topic, payload, qos, retain, properties, Part(pending, item))
            except IotwireError:
                pending.count -= 1
                raise
            self._gather()
        return True

    def _gather(self) -> None:
        """Write much at once; what is left, the client's own thread writes as soon as it comes to it."""
        if self._session.output_bytes >= GATHER_BYTES:
            self._write()
        elif not self._has_gathered:
            self._has_gathered = True
            self._wakeup.wake()

    def _can_take(self, qos: int) -> bool:
        wire = self._wire
        return self._has_room() and (qos > 0 or wire is None or wire.is_lost or wire.unsent_bytes < WRITE_HIGH_BYTES)

    def _wait_for_pending(self, pending: Pending, most: int) -> None:
        while True:
            with self._lock, self._turn:
                if pending.count <= most:
                    return
                waiter = ThreadWaiter()
                pending.tell_at(most, waiter)
                self._update_reading()
            self._wait(waiter, None)

    def _wait_for_room(self, qos: int, deadline: float | None) -> None:
        while True:
            waiter = ThreadWaiter()
            with self._lock, self._turn:
                self._must_run()
                if self._can_take(qos):
                    return
                (self._writers if self._has_room() else self._room_waiters).append(waiter)
            try:
                self._wait(waiter, deadline)
            except BaseException:
                with self._lock, self._turn:  # what it was told goes to the next
                    self._room_waiters = [each for each in self._room_waiters if each is not waiter]
                    self._give_room()
                    if waiter in self._writers:
                        self._writers.remove(waiter)
                    self._wake_writers()
                raise

    # Subscriptions.

    def subscribe(
        self,
        filters: str | Subscription | Iterable[str | Subscription],
        qos: int = 0,
        *,
        subscription_identifier: int | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
        timeout_s: float | None = None,
    ) -> tuple[ReasonCode, ...]:
        """Subscribe to topic filters, and wait for the SUBACK: as `Client.subscribe`."""
        deadline = _deadline(timeout_s)
        with self._lock:
            self._must_run()
            wanted = self._subscriptions.read(filters, qos)
            parts = self._subscriptions.split(wanted)
        codes: list[ReasonCode] = []
        for part in parts:
            answer: SubAck = self._ask(
                partial(self._subscriptions.subscribe, part, subscription_identifier, user_properties), deadline
            )
            with self._lock:
                self._subscriptions.note_answer(part, answer.reason_codes)
            codes += answer.reason_codes
        raise_for_refusals([each.topic_filter for each in wanted], codes)
        return tuple(codes)

    def unsubscribe(
        self,
        filters: str | Iterable[str],
        *,
        user_properties: Sequence[tuple[str, str]] = (),
        timeout_s: float | None = None,
    ) -> tuple[ReasonCode, ...]:
        """End subscriptions, and wait for the UNSUBACK: as `Client.unsubscribe`."""
        deadline = _deadline(timeout_s)
        topic_filters = (filters,) if isinstance(filters, str) else tuple(filters)
        with self._lock:
            self._must_run()
            parts = self._subscriptions.split_filters(topic_filters)
        codes: list[ReasonCode] = []
        for part in parts:
            answer: UnsubAck = self._ask(partial(self._subscriptions.unsubscribe, part, user_properties), deadline)
            codes += answer.reason_codes
        raise_for_refusals(topic_filters, codes)
        return tuple(codes)

    def _ask(self, make_request: Callable[[], Request], deadline: float | None) -> Any:
        """The answer to a SUBSCRIBE or UNSUBSCRIBE, asked again on the next connection where one ends before it."""
        while True:
            self._wait_connected(deadline)
            waiter = ThreadWaiter()
            with self._lock, self._turn:
                if not self._session.is_connected:
                    continue
                request = make_request()
                request.context = waiter
                self._pending_requests += 1
                self._update_reading()
            try:
                answer = self._wait(waiter, deadline)
            finally:
                with self._lock, self._turn:
                    self._pending_requests -= 1
                    self._update_reading()
            if answer is not None:
                return answer

    def _wait_connected(self, deadline: float | None) -> None:
        while True:
            waiter = ThreadWaiter()
            with self._lock, self._turn:
                self._must_run()
                if self._session.is_connected:
                    return
                self._connection_waiters.append(waiter)
            try:
                self._wait(waiter, deadline)
            except BaseException:
                with self._lock:
                    self._connection_waiters = [each for each in self._connection_waiters if each is not waiter]
                raise

    # Messages from the server.

    def messages(
        self,
        topic_filter: str | None = None,
        *,
        max_messages: int = DEFAULT_MAX_MESSAGES,
        max_bytes: int = DEFAULT_MAX_BYTES,
        when_full: WhenFull = "drop_oldest",
        manual_acknowledgement: bool = False,
    ) -> BlockingMessageStream:
        """A stream of the messages that arrive on matching topics: as `Client.messages`, for `for`."""
        with self._lock, self._turn:
            inbox = self._distributor.make_inbox(
                topic_filter, max_messages, max_bytes, when_full, is_manual=manual_acknowledgement
            )
            self._distributor.add(inbox)
        return BlockingMessageStream(self, inbox)

    def on_message(
        self,
        topic_filter: str,
        callback: Callable[[Publish], Any],
        *,
        max_messages: int = DEFAULT_MAX_MESSAGES,
        max_bytes: int = DEFAULT_MAX_BYTES,
        when_full: WhenFull = "drop_oldest",
        manual_acknowledgement: bool = False,
    ) -> BlockingMessageHandler:
        """Have a function called with each message on matching topics, until the result is closed.

        All callbacks of a client are called one after another, in a thread of their own; what waits for one meanwhile
        stands in a queue: max_messages, max_bytes, when_full and manual_acknowledgement are those of `messages`. What a
        callback raises is logged, with its traceback.
        """
        return self._handle_with(
            callback, topic_filter, max_messages, max_bytes, when_full, is_manual=manual_acknowledgement
        )

    def on_unmatched(
        self,
        callback: Callable[[Publish], Any],
        *,
        max_messages: int = DEFAULT_MAX_MESSAGES,
        max_bytes: int = DEFAULT_MAX_BYTES,
        when_full: WhenFull = "drop_oldest",
        manual_acknowledgement: bool = False,
    ) -> BlockingMessageHandler:
        """Have a function called with what no stream and no other callback takes. There is one at most."""
        return self._handle_with(
            callback, None, max_messages, max_bytes, when_full, is_manual=manual_acknowledgement, is_unmatched=True
        )

    def _handle_with(
        self,
        callback: Callable[[Publish], Any],
        topic_filter: str | None,
        max_messages: int,
        max_bytes: int,
        when_full: WhenFull,
        *,
        is_manual: bool,
        is_unmatched: bool = False,
    ) -> BlockingMessageHandler:
        if inspect.iscoroutinefunction(callback):
            raise EncodeError("must be a plain function: async ones are for Client", field="callback")
        with self._lock, self._turn:
            inbox = self._distributor.make_inbox(topic_filter, max_messages, max_bytes, when_full, is_manual=is_manual)
            inbox.on_arrival = arrive = partial(self._have_called, inbox, callback)
            if is_unmatched:
                self._distributor.set_unmatched(inbox)
            else:
                self._distributor.add(inbox)
            for _ in range(len(inbox) - 1):  # of those that were here already, it was told once
                arrive()
            if not self._is_running:
                self._end_callbacks()
        return BlockingMessageHandler(self, inbox)

    def _have_called(self, inbox: Inbox, callback: Callable[[Publish], Any]) -> None:
        """A message has arrived for a callback."""
        self._arrivals.put((inbox, callback))
        if self._caller is None or not self._caller.is_alive():
            self._caller = threading.Thread(
                target=self._call_back,
                args=(self._arrivals, self._caller_before),
                name="iotwire callbacks",
                daemon=True,
            )
            self._caller.start()

    def _end_callbacks(self) -> None:
        """What has arrived is still handled; what comes later, on another connection, has another thread."""
        if self._caller is not None:
            self._arrivals.put(None)
            self._arrivals = queue.SimpleQueue()
            self._caller_before, self._caller = self._caller, None

    def _call_back(self, arrivals: queue.SimpleQueue[Any], before: threading.Thread | None) -> None:
        """Call callbacks, one for each arrival, until told to end. before: who did it on the connection before."""
        if before is not None:
            before.join()
        while (arrival := arrivals.get()) is not None:
            inbox, callback = arrival
            with self._lock, self._turn:
                message = inbox.pop()
            if message is not None:
                try:
                    callback(message)
                except Exception:  # noqa: BLE001 -- the application's own
                    _log.exception("the callback for a message on %s failed", message.topic)

    def reauthenticate(self, *, timeout_s: float | None = None) -> None:
        """Authenticate again on the open connection, and wait for it: as `Client.reauthenticate`."""
        deadline = _deadline(timeout_s)
        waiter = ThreadWaiter()
        while True:
            self._wait_connected(deadline)
            with self._lock, self._turn:
                exchange = self._must_authenticate()
                if self._session.is_connected:
                    exchange.begin_again(waiter)
                    self._update_reading()
                    break
        try:
            self._wait(waiter, deadline)
        finally:
            with self._lock, self._turn:
                exchange.waiter = None
                self._update_reading()

    def acknowledge(self, message: Publish) -> None:
        """The application has a message safe that was taken with manual_acknowledgement: as `Client.acknowledge`."""
        with self._lock, self._turn:
            self._distributor.acknowledge(message)

    def request(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview = b"",
        qos: int = 1,
        *,
        response_topic: str | None = None,
        timeout_s: float = 30.0,
        **properties: Any,
    ) -> Publish:
        """Publish a request, and wait for the answer that carries its correlation data: as `Client.request`."""
        deadline = _deadline(timeout_s)
        correlation = self._make_correlation()
        answered = ThreadWaiter()
        self._wait_connected(deadline)
        wanted = response_topic or self._make_response_topic()
        if wanted not in self._subscriptions:
            self.subscribe(Subscription(wanted, 1), timeout_s=_left(deadline))
        try:
            with self._lock, self._turn:
                self._answers[correlation] = answered
                self._update_reading()
            self._send_in_turn(
                topic,
                payload,
                qos,
                False,
                {**properties, "response_topic": wanted, "correlation_data": correlation},
                _left(deadline),
            )
            answer: Publish = self._wait(answered, deadline)
        finally:
            with self._lock, self._turn:
                self._answers.pop(correlation, None)
                self._update_reading()
        return answer


def _deadline(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else monotonic() + timeout_s


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - monotonic())
