"""`HttpsPublisher`: publishing over HTTPS for asyncio."""

from __future__ import annotations

import asyncio
import select
import socket
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Self, Unpack

from ..errors import ConnectionLostError, CredentialsError, IotwireError, WireError
from ..transport import open_stream
from ..transport.stream import Stream
from .base import PublisherBase
from .conversation import Answer, Conversation
from .policy import CLOSED_MEANWHILE, end_of, no_answer
from .request import MessageProperties, Request, make_request

__all__ = ["HttpsPublisher"]

# Turns of the loop in which it reads what had come before they began: one to be told, one to read, one to be sure.
TURNS_TO_READ = 3


class HttpLink(Stream):
    """One connection and the conversation on it."""

    def __init__(self, conversation: Conversation, *, presents_certificate: bool) -> None:
        super().__init__(conversation)
        self.conversation = conversation
        self._presents_certificate = presents_certificate
        self._output: list[bytes] = []
        self._answer: asyncio.Future[Answer] | None = None
        self._failure: Exception | None = None  # that has ended the connection
        self._arrivals = select.poll()
        self.idle_since = 0.0

    def take_socket(self, connected: socket.socket) -> None:
        self._arrivals.register(connected.fileno(), select.POLLIN)

    @property
    def is_usable(self) -> bool:
        conversation = self.conversation
        return not (self.is_closing or conversation.is_over or conversation.is_waiting or conversation.is_stale)

    async def settle(self) -> bool:
        """Have the loop read what came while the link was idle. Whether it is still usable."""
        if self.is_usable and self._arrivals.poll(0):
            for _ in range(TURNS_TO_READ):
                await asyncio.sleep(0)
        return self.is_usable

    async def ask(self, request: Request, timeout_s: float) -> Answer:
        """Send a request, and wait for its answer. Where that is cancelled, the link is not usable any more."""
        if not self.is_usable:  # a new one, of which the server did not want to hear
            raise self._end_of(was_sent=False)
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        self._output = [self.conversation.ask(request)]
        self._hand_over()  # and not `flush`, which stops reading while much is unsent: an answer may come before that
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            # It may have come in the very turn in which the time was over; or its head, which is what counts.
            is_answered = answer.done() and not answer.cancelled()
            given: Answer | None = answer.result() if is_answered else self.conversation.give_up()
            if given is None:
                raise no_answer(timeout_s) from None
            return given
        finally:
            self._answer = None

    def _tell(self, outcome: Answer | IotwireError) -> None:
        if self._answer is None or self._answer.done():
            return
        if isinstance(outcome, IotwireError):
            self._answer.set_exception(outcome)
        else:
            self._answer.set_result(outcome)

    # What `Stream` asks for.

    def _receive(self, nbytes: int) -> None:
        try:
            answer = self.conversation.buffer_updated(nbytes)
        except WireError as error:
            self._tell(error)
            self.abort()
            return
        if answer is not None:
            if self.conversation.answers == 1:
                self.remember_tls_session()
            self._tell(answer)
            if self.backlog_bytes:  # answered before it was sent: the rest would be taken for another request
                self.abort()
        elif self.conversation.is_over:
            self.abort()

    def eof_received(self) -> None:
        if self._answer is None:  # at once: TLS takes some turns of the loop to tell that a connection is lost
            self.abort()

    def _take_written(self) -> list[bytes]:
        output, self._output = self._output, []
        return output

    @property
    def _written_bytes(self) -> int:
        return sum(map(len, self._output))

    def _lose(self, error: Exception | None) -> None:
        self._failure = error
        self._tell(self.conversation.buffer_updated(0) or self._end_of(was_sent=True))

    def _end_of(self, *, was_sent: bool) -> IotwireError:
        return end_of(
            self.conversation, self._failure, was_sent=was_sent, presents_certificate=self._presents_certificate
        )


class HttpsPublisher(PublisherBase):
    """Publishes over HTTPS, for asyncio: `async with HttpsPublisher(route) as publisher`.

    For the keyword arguments see `PublisherBase`, whose they are.

    A connection is made when there is a message for it, and kept for the next one; where the server has closed it
    meanwhile, another one is made. Several tasks may publish at once. A call that is cancelled leaves the publisher
    usable: the connection of its request is dropped, and the message may have been published. A publisher belongs to
    one event loop.
    """

    def _prepare(self) -> None:
        self._places = asyncio.Semaphore(self._max_connections)
        self._closed = asyncio.Event()
        self._idle: list[HttpLink] = []  # the latest used last, and used first: the others may grow too old meanwhile
        self._busy: set[HttpLink] = set()

    @property
    def _is_closed(self) -> bool:
        return self._closed.is_set()

    async def __aenter__(self) -> Self:
        self._closed.clear()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def publish(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview = b"",
        qos: int = 0,
        retain: bool | None = None,
        **properties: Unpack[MessageProperties],
    ) -> None:
        """Publish a message, and wait until the service has taken it.

        topic: 1 to 256 bytes of UTF-8 with 7 slashes at most, no wildcards, neither "." nor "..".
        payload: 128 KiB at most. An empty one with `retain` deletes the message that is kept for the topic.
        qos: 0 or 1; with 1 the service answers when it has stored the message for its subscribers.
        retain: None leaves it to the service, which takes it for False. properties: see `MessageProperties`.

        Raises EncodeError, which names the argument, before anything is sent; ConnectError, CredentialsError and
        RouteError where no connection was made; PublishError with the `http_status` of an answer that refuses the
        message. After RequestTimeoutError, ConnectionLostError, WireError (the answer is not HTTP) and a PublishError
        of 500, 502 or 504 the message may have been published or not.
        """
        request = make_request(self._limits, topic, payload, qos, retain, **properties)
        attempts = self._attempts()
        while (error := await self._try(request)) is not None:
            delay = attempts.wait_s(error)  # which may raise the error
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._closed.wait()

    async def close(self) -> None:
        """Close all connections. Calls of other tasks end with ConnectionLostError, once they have a connection."""
        self._closed.set()
        links = [*self._idle, *self._busy]
        for link in self._busy:
            link.abort()
        while self._idle:
            self._idle.pop().close(self._close_timeout_s)
        for link in links:
            await link.wait_lost()

    async def _try(self, request: Request) -> IotwireError | None:
        """One attempt: None, or the failure that another one might follow."""
        async with self._places:
            self._raise_if_closed()
            link = await self._take_idle_alive() or await self._open()
            answer = await self._ask(link, request)
            if isinstance(answer, Answer) and self._can_mend(link.conversation, answer):
                link = await self._open()
                answer = await self._ask(link, request)
        return answer if isinstance(answer, IotwireError) else self._error_of(answer, link.conversation)

    async def _ask(self, link: HttpLink, request: Request) -> Answer | IotwireError:
        """The answer to a request, or what came in its place."""
        try:
            return await link.ask(request, self._response_timeout_s)
        except CredentialsError:
            raise
        except IotwireError as error:
            if self._is_closed:
                raise ConnectionLostError(CLOSED_MEANWHILE) from None
            return error
        finally:
            self._give_back(link)

    def _take_idle(self) -> HttpLink | None:
        """A connection that waits for use; None where another one has to be made."""
        while self._idle:
            link = self._idle.pop()
            if link.is_usable and monotonic() - link.idle_since < self._max_idle_s:
                self._busy.add(link)
                return link
            link.abort()
        return None

    def _give_back(self, link: HttpLink) -> None:
        """A request is over: keep its connection for the next one, or close it."""
        self._busy.discard(link)
        now = monotonic()
        while self._idle and now - self._idle[0].idle_since >= self._max_idle_s:
            self._idle.pop(0).abort()
        if link.is_usable and not self._is_closed:
            link.idle_since = now
            self._idle.append(link)
        else:
            link.abort()

    async def _take_idle_alive(self) -> HttpLink | None:
        while (link := self._take_idle()) is not None:
            is_alive = False
            try:
                is_alive = await link.settle()
            finally:
                if not is_alive:
                    self._give_back(link)
            if is_alive:
                return link
        return None

    async def _open(self) -> HttpLink:
        attempt = await asyncio.to_thread(self._make_attempt)
        link = HttpLink(self._make_conversation(attempt), presents_certificate=attempt.presents_certificate)
        try:
            await open_stream(
                attempt,
                lambda: link,
                timeout_s=self._connect_timeout_s,
                dead_link_timeout_s=self._dead_link_timeout_s,
                contexts=self._contexts,
                step_timeouts=self._step_timeouts,
            )
            self._raise_if_closed()
        except BaseException:
            link.abort()
            raise
        self._busy.add(link)
        return link
