"""HTTP/1.1 on one connection, the client's side, without a socket: a request in, bytes out, bytes in, an answer out.

h11 knows the grammar (RFC 9112). What is added here: one bound on all the bytes of an answer, and the rule that the
status is the answer. Once its head has come, nothing that goes wrong with the rest changes what the server has done
with the message: a body that is cut, malformed or endless costs the connection, and what it may have told in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import h11

from ..errors import WireError
from ..transport.quoting import mask_secrets, printable

if TYPE_CHECKING:
    from .authorization import Authorization
    from .request import Request

__all__ = ["MAYBE", "Answer", "Conversation"]

MAYBE = "The message may have been published"

# Bytes of a head; h11's own bound for what it cannot parse yet.
MAX_HEAD_BYTES = 16 * 1024
# What is received at once. An answer of the service has some 300 bytes.
READ_BYTES = 4 * 1024


class Answer(NamedTuple):
    """What a server said to a request. headers: names in lower case. body: what there is of it.

    is_whole: whether that is all of it, as far as HTTP can tell.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    is_whole: bool = True

    def header(self, name: bytes) -> str | None:
        """The first header of this name, in lower case."""
        for each, value in self.headers:
            if each == name:
                return value.decode("latin-1")
        return None


class Conversation:
    """Requests and answers of one connection, one after another.

    authority: what Host says. authorization: what says in each request who asks; None for nothing of the kind.
    max_answer_bytes: of everything that is read for one request, interim answers, heads and
    framing included.
    """

    def __init__(self, authority: str, max_answer_bytes: int, authorization: Authorization | None = None) -> None:
        self.authorization = authorization
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._host = (b"Host", authority.encode())
        self._max_answer_bytes = max_answer_bytes
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._head: h11.Response | None = None
        self._body: list[bytes] = []
        self._received = 0
        self.is_waiting = False  # for an answer
        self.is_over = False  # no other request can follow
        self.answers = 0

    @property
    def _secrets(self) -> list[str]:
        return [] if self.authorization is None else self.authorization.secrets

    @property
    def has_begun_answer(self) -> bool:
        """Whether any byte has come since the latest request."""
        return self._received > 0

    @property
    def is_stale(self) -> bool:
        """Whether another connection is to be made for the next request: what says who asks has come to its end."""
        return self.authorization is not None and self.authorization.is_stale

    def ask(self, request: Request) -> bytes:
        """The bytes of a request. Only while none waits and the conversation is not over."""
        assert not self.is_waiting
        assert not self.is_over
        if self.authorization is not None:
            request = self.authorization.apply(request)
        self.is_waiting = True  # first: whoever is interrupted (Ctrl-C) in the midst of this leaves h11 in between
        head = h11.Request(method=request.method, target=request.target, headers=[self._host, *request.headers])
        written = (self._h11.send(head), self._h11.send(h11.Data(request.body)), self._h11.send(h11.EndOfMessage()))
        self._head = None
        self._body.clear()
        self._received = 0
        return b"".join(filter(None, written))

    def get_buffer(self, sizehint: int = -1) -> memoryview:  # noqa: ARG002 -- asyncio's
        """Memory to receive into, until the next call."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> Answer | None:
        """So many bytes have come; 0 for the end of the connection. The answer, once it is complete, or None.

        Bytes that nobody asked for, which a server sends that closes an idle connection, end the conversation.
        Raises WireError for what is no head of an answer. After the end of the connection, None means that it had none.
        """
        if not self.is_waiting:
            self.is_over = True
            return None
        self._received += nbytes
        try:
            self._h11.receive_data(bytes(self._buffer[:nbytes]))
            return self._read(is_at_end=nbytes == 0)
        except h11.RemoteProtocolError as error:
            if not nbytes or self._head is not None:
                return self.give_up()
            # h11's words tell what is wrong, but may quote it at any length, and it may be an echo of the request.
            told = printable(mask_secrets(str(error), self._secrets), 120)
        # Not in the `except`: its error would go along as the context of ours.
        self._stop()
        raise WireError(f"the server's answer is not HTTP/1.1: {told}. {MAYBE}")

    def give_up(self) -> Answer | None:
        """Wait no more: the answer, if its head has come."""
        head = self._head if self.is_waiting else None
        self._stop()
        return None if head is None else self._make_answer(head, is_whole=False)

    def _read(self, *, is_at_end: bool) -> Answer | None:
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Response):
                if not event.http_version.startswith(b"1."):  # h11 takes any digit
                    raise h11.RemoteProtocolError("another version of HTTP")
                self._head = event
            elif isinstance(event, h11.Data):
                self._body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                assert self._head is not None
                answer = self._make_answer(self._head, is_whole=True)
                self._next_cycle()
                return answer
            elif isinstance(event, h11.InformationalResponse):
                continue  # such as 100 and 103 [RFC 9110, 15.2]
            elif is_at_end:
                return self.give_up()
            elif self._received > self._max_answer_bytes:
                if self._head is not None:
                    return self.give_up()
                self._stop()
                raise WireError(f"the server's answer is longer than {self._max_answer_bytes} bytes. {MAYBE}")
            else:
                return None

    def _make_answer(self, head: h11.Response, *, is_whole: bool) -> Answer:
        self.answers += 1
        return Answer(head.status_code, list(head.headers), b"".join(self._body), is_whole)

    def _next_cycle(self) -> None:
        connection = self._h11
        # What comes behind an answer would be taken for the next one's; and behind the end nothing comes.
        has_more = connection.trailing_data != (b"", False)
        if connection.our_state is h11.DONE and connection.their_state is h11.DONE and not has_more:
            connection.start_next_cycle()
        else:
            self.is_over = True
        self.is_waiting = False  # last, as it is first in `ask`

    def _stop(self) -> None:
        self.is_over = True
        self.is_waiting = False
