"""An HTTP server that does exactly what a test tells it to, and both publishers behind one blocking face.

A script runs for each connection, in a thread of its own, with an `HttpPeer`: it reads requests, which are parsed by
hand here, and sends any bytes. `PUBLISHERS` has both publishers, so that one table of tests holds for both.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Self

import pytest

from iotwire import BlockingHttpsPublisher, HttpsPublisher
from iotwire.route import Attempt, Route, TlsPlan
from scripted import LOOPS, MakeLoop
from scripted_threads import BOUND_S, Peer, scripted

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    """The bytes of an answer with a length."""
    head = [f"HTTP/1.1 {status} Whatever", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


class HttpRoute(Route):
    """A route to a server of a test, over plain TCP unless there is a plan for TLS."""

    def __init__(self, port: int, *, tls: TlsPlan | None = None, authority: str = "iot.test") -> None:
        self.port = port
        self.tls = tls
        self.authority = authority

    def __repr__(self) -> str:
        return f"HttpRoute({self.port})"

    @property
    def protocol(self) -> str:
        return "https"

    def prepare(self, now: datetime) -> Attempt:
        assert now.tzinfo is not None
        return Attempt("127.0.0.1", self.port, self.tls, authority=self.authority)


class HttpRequest:
    """A request as it was sent. headers: by name in lower case."""

    def __init__(self, raw_head: bytes, body: bytes) -> None:
        line, *fields = raw_head.decode("ascii").split("\r\n")
        self.method, self.target, self.protocol = line.split(" ")
        pairs = [field.split(": ", 1) for field in fields]
        self.headers = {name.lower(): value for name, value in pairs}
        assert len(self.headers) == len(pairs), "a header came twice"
        self.body = body


class HttpPeer:
    """The server's end of one connection. number: 0 for the first one."""

    def __init__(self, peer: Peer) -> None:
        self.socket = peer.socket
        self.number = peer.number
        self.close = peer.close
        self.reset = peer.reset
        self._received = b""

    def receive_head(self) -> bytes | None:
        """The next head without its last empty line; None where the client has closed."""
        while b"\r\n\r\n" not in self._received:
            if not self._read():
                assert not self._received, self._received
                return None
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        return head

    def receive(self) -> HttpRequest | None:
        """The next request, or None where the client has closed."""
        head = self.receive_head()
        if head is None:
            return None
        request = HttpRequest(head, b"")
        size = int(request.headers.get("content-length", 0))
        while len(self._received) < size:
            assert self._read(), "the client has closed in the midst of its message"
        request.body, self._received = self._received[:size], self._received[size:]
        return request

    def expect(self) -> HttpRequest:
        request = self.receive()
        assert request is not None
        return request

    def expect_close(self) -> None:
        assert self.receive_head() is None

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _read(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except OSError:  # a reset, an alert; or this side has closed
            return False
        self._received += data
        return bool(data)


HttpScript = Callable[[HttpPeer], Any]


@contextmanager
def http_server(
    script: HttpScript,
    *,
    context: ssl.SSLContext | None = None,
    tls: TlsPlan | None = None,
    receive_buffer: int = 0,
    address: str = "127.0.0.1",
) -> Iterator[HttpRoute]:
    """A server that runs the script for each connection. A failure in the script fails the test.

    context: the server's end of TLS, tls: the client's. receive_buffer, address: as of `scripted_threads.scripted`.
    """
    with scripted(
        lambda peer: script(HttpPeer(peer)), context=context, receive_buffer=receive_buffer, address=address
    ) as broker:
        yield HttpRoute(broker.port, tls=tls)


class Taking:
    """The script of a server that takes everything, and notes it. seen: (number of the connection, request)."""

    def __init__(self, *answers: bytes) -> None:
        self.seen: list[tuple[int, HttpRequest]] = []
        self._answers = list(answers)

    def __call__(self, peer: HttpPeer) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while (request := peer.receive()) is not None:
                self.seen.append((peer.number, request))
                peer.send(self._answers.pop(0) if self._answers else OK)

    @property
    def connections(self) -> list[int]:
        return [number for number, _ in self.seen]

    @property
    def targets(self) -> list[str]:
        return [request.target for _, request in self.seen]


class InLoop:
    """`HttpsPublisher` with calls that block. Between them its event loop stands still."""

    def __init__(self, make_loop: MakeLoop | None, route: Route, **options: Any) -> None:
        self._runner = asyncio.Runner(loop_factory=make_loop)
        self._publisher: HttpsPublisher = self._run(self._make(route, options))

    @staticmethod
    async def _make(route: Route, options: dict[str, Any]) -> HttpsPublisher:
        return HttpsPublisher(route, **options)

    def _run(self, work: Any) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(2 * BOUND_S):
                return await work

        return self._runner.run(bounded())

    def publish(self, *arguments: Any, **keywords: Any) -> None:
        self._run(self._publisher.publish(*arguments, **keywords))

    def close(self) -> None:
        self._run(self._publisher.close())

    def __enter__(self) -> Self:
        self._run(self._publisher.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.close()
        finally:
            self._runner.close()


PUBLISHERS: dict[str, Callable[..., Any]] = {
    "blocking": BlockingHttpsPublisher,
    **{name: functools.partial(InLoop, make_loop) for name, make_loop in LOOPS.items()},
}
BOTH = pytest.mark.parametrize("make", list(PUBLISHERS.values()), ids=list(PUBLISHERS))
