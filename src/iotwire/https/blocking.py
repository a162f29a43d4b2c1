"""`BlockingHttpsPublisher`: the same for threads."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
from contextlib import suppress
from itertools import count
from time import monotonic
from types import TracebackType
from typing import Self, Unpack

from ..errors import ConnectionLostError, CredentialsError, IotwireError
from ..transport.blocking import open_socket
from ..transport.explain import alert_of
from ..transport.tls import keep_session
from .base import PublisherBase
from .conversation import Answer, Conversation
from .policy import CLOSED_MEANWHILE, end_of, no_answer
from .request import MessageProperties, Request, make_request

__all__ = ["BlockingHttpsPublisher"]


class _UnsentError(Exception):
    """An idle connection ended before the whole of its next request was handed over: nobody can have published that."""


class BlockingHttpLink:
    """One connection and the conversation on it, for one thread at a time. The socket never blocks; `ask` waits."""

    def __init__(self, connected: socket.socket, conversation: Conversation, *, presents_certificate: bool) -> None:
        self._socket = connected
        self.conversation = conversation
        self._presents_certificate = presents_certificate
        self._poll = select.poll()
        self._poll.register(connected.fileno(), select.POLLIN)
        self._is_closed = False
        self._idle_since = monotonic()

    @property
    def is_usable(self) -> bool:
        conversation = self.conversation
        return not (self._is_closed or conversation.is_over or conversation.is_waiting or conversation.is_stale)

    def settle(self, max_idle_s: float) -> bool:
        """Read what came while the link was idle. Whether it is still usable, and was not idle for too long."""
        if not self.is_usable or monotonic() - self._idle_since >= max_idle_s:
            return False
        if self._poll.poll(0):
            try:
                nbytes = self._read()
            except OSError:
                nbytes = 0
            if nbytes is not None:  # the end, or what nobody asked for; TLS reads its tickets by itself
                self.abort()
        return self.is_usable

    def ask(self, request: Request, timeout_s: float) -> Answer:
        """Send a request, and wait for its answer. Where that is interrupted, the link is not usable any more."""
        deadline = monotonic() + timeout_s
        conversation = self.conversation
        unsent = memoryview(conversation.ask(request))
        may_read = False
        while True:
            try:
                if unsent:
                    unsent = unsent[self._send(unsent) :]
                nbytes = self._read() if may_read else None
            except OSError as error:
                return self._end(error, is_unsent=bool(unsent))
            if nbytes is not None:
                if nbytes == 0:
                    return self._end(None, is_unsent=bool(unsent))
                answer = conversation.buffer_updated(nbytes)
                if answer is not None:
                    self._idle_since = monotonic()
                    if conversation.answers == 1:
                        keep_session(self._socket)
                    if unsent:  # answered before it was sent: the rest would be taken for another request
                        self.abort()
                    return answer
                continue  # TLS may hold more, of which no poll tells
            left = deadline - monotonic()
            if left <= 0:
                given = conversation.give_up()
                if given is None:
                    raise no_answer(timeout_s)
                return given
            self._poll.modify(self._socket.fileno(), select.POLLIN | (select.POLLOUT if unsent else 0))
            self._poll.poll(left * 1000)
            may_read = True

    def _send(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0

    def _read(self) -> int | None:
        """How many bytes have come; 0 at the end, None for not now."""
        try:
            return self._socket.recv_into(self.conversation.get_buffer())
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLEOFError:
            return 0

    def _end(self, error: OSError | None, *, is_unsent: bool) -> Answer:
        """The connection has ended: an answer that had begun, or the error to raise."""
        self._is_closed = True
        answer = None
        try:  # where writing failed there may be something to read, such as an alert or an early answer
            while answer is None and (nbytes := self._read()):
                answer = self.conversation.buffer_updated(nbytes)
        except OSError as last:
            error = last if alert_of(last) is not None else error
        answer = answer or self.conversation.buffer_updated(0)
        if answer is not None:
            return answer
        if is_unsent and self.conversation.answers and alert_of(error) is None:
            raise _UnsentError from error
        raise end_of(self.conversation, error, was_sent=not is_unsent, presents_certificate=self._presents_certificate)

    def interrupt(self) -> None:
        """End the connection under a thread that uses it, which is told so. The descriptor stays that thread's."""
        self._is_closed = True
        with suppress(OSError):
            # Not an SSLSocket's own, which would leave the other thread with the bare socket.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def abort(self) -> None:
        self._is_closed = True
        self._socket.close()

    def close(self) -> None:
        """Tell the other side, where it can be told at once, and close."""
        if isinstance(self._socket, ssl.SSLSocket) and self.is_usable:
            with suppress(OSError, ValueError):
                self._socket.unwrap()  # sends close_notify, and does not wait for the other one
        self.abort()


class Place:
    """Room for one connection. Its lock is held by the call that uses it, and for as long."""

    __slots__ = ("link", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.link: BlockingHttpLink | None = None


class BlockingHttpsPublisher(PublisherBase):
    """Publishes over HTTPS, for scripts and threads: `with BlockingHttpsPublisher(route) as publisher`.

    For the keyword arguments see `PublisherBase`, whose they are; for what it does see `HttpsPublisher`.

    Several threads may publish at once: they share the connections, of which each request has one for itself, and
    wait for one another only where `max_connections` are in use. A call that is interrupted (Ctrl-C) drops its
    connection. After a fork the child makes connections of its own.
    """

    def _prepare(self) -> None:
        self._closed = threading.Event()
        self._turns = count()
        self._make_places()

    def _make_places(self) -> None:
        self._process = os.getpid()
        self._places = [Place() for _ in range(self._max_connections)]

    @property
    def _is_closed(self) -> bool:
        return self._closed.is_set()

    def __enter__(self) -> Self:
        self._closed.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publish(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview = b"",
        qos: int = 0,
        retain: bool | None = None,
        **properties: Unpack[MessageProperties],
    ) -> None:
        """Publish a message, and wait until the service has taken it: as `HttpsPublisher.publish`."""
        request = make_request(self._limits, topic, payload, qos, retain, **properties)
        attempts = self._attempts()
        while (error := self._try(request)) is not None:
            self._closed.wait(attempts.wait_s(error))

    def close(self) -> None:
        """Close all connections. Calls of other threads end with ConnectionLostError, once they have a connection."""
        self._closed.set()
        for place in self._places:
            is_free = place.lock.acquire(blocking=False)
            try:
                if place.link is not None and is_free:
                    place.link.close()
                elif place.link is not None:
                    place.link.interrupt()
            finally:
                if is_free:
                    place.lock.release()

    def _try(self, request: Request) -> IotwireError | None:
        """One attempt: None, or the failure that another one might follow."""
        place = self._choose_place()
        # A lock and no semaphore, which is written in Python: Ctrl-C in the midst of it would lose a place for ever.
        with place.lock:
            self._raise_if_closed()
            link = place.link
            if link is not None and not link.settle(self._max_idle_s):
                link.abort()
                link = None
            if link is None:
                link = self._open_in(place)
            try:
                answer = self._ask(link, request)
            except _UnsentError:
                link = self._open_in(place)
                answer = self._ask(link, request)
            if isinstance(answer, Answer) and self._can_mend(link.conversation, answer):
                link.abort()
                link = self._open_in(place)
                answer = self._ask(link, request)
        return answer if isinstance(answer, IotwireError) else self._error_of(answer, link.conversation)

    def _open_in(self, place: Place) -> BlockingHttpLink:
        place.link = link = self._open()
        self._raise_if_closed()
        return link

    def _ask(self, link: BlockingHttpLink, request: Request) -> Answer | IotwireError:
        """The answer to a request, or what came in its place."""
        try:
            return link.ask(request, self._response_timeout_s)
        except CredentialsError:
            raise
        except IotwireError as error:
            if self._is_closed:
                raise ConnectionLostError(CLOSED_MEANWHILE) from None
            return error
        finally:
            if self._is_closed or not link.is_usable:
                link.abort()

    def _choose_place(self) -> Place:
        """A free one, the first of them: its connection was used last. Where none is, threads spread over them."""
        if self._process != os.getpid():  # a child of fork: nobody would ever release the locks of other threads
            for place in self._places:
                if place.link is not None:
                    place.link.abort()
            self._make_places()
        for place in self._places:
            if not place.lock.locked():
                return place
        return self._places[next(self._turns) % len(self._places)]

    def _open(self) -> BlockingHttpLink:
        attempt = self._make_attempt()
        connected = open_socket(
            attempt,
            timeout_s=self._connect_timeout_s,
            dead_link_timeout_s=self._dead_link_timeout_s,
            contexts=self._contexts,
            step_timeouts=self._step_timeouts,
        )
        return BlockingHttpLink(
            connected, self._make_conversation(attempt), presents_certificate=attempt.presents_certificate
        )
