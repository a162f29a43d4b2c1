"""A WebSocket server that does exactly what a test tells it to, frame by frame, and both clients behind one face.

Its frames are taken apart and put together in here, apart from the package's own code for that.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self

from iotwire import Broker, Client, Tls
from iotwire.mqtt import Packet
from iotwire.route import Attempt, Route
from scripted_threads import BOUND_S, Peer, Server, closing_and_judging

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def put_frame(payload: bytes, opcode: int = BINARY, *, fin: bool = True) -> bytes:
    """One frame of a server's."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 65_536:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes([opcode | (0x80 if fin else 0)]) + length + payload


class WebSocketPeer(Peer):
    """The server's end of a WebSocket, or of what is to be one.

    request: the first line of the client's request; headers: the others, as they came. frames: what was not binary
    among the client's frames, as pairs of opcode and payload; sizes: bytes in each of the binary ones.
    """

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer.socket, peer.version, peer.number)
        self.request = ""
        self.headers: list[tuple[str, str]] = []
        self.frames: list[tuple[int, bytes]] = []
        self.sizes: list[int] = []
        self._raw = b""

    # The upgrade.

    def read_request(self) -> str:
        """The client's request, byte for byte."""
        while b"\r\n\r\n" not in self._raw:
            data = self.socket.recv(65_536)
            assert data, "the client has closed"
            self._raw += data
        head, _, self._raw = self._raw.partition(b"\r\n\r\n")
        self.request, *lines = head.decode("ascii").split("\r\n")
        self.headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        return head.decode("ascii") + "\r\n\r\n"

    def header(self, name: str) -> str:
        (value,) = (value for each, value in self.headers if each.lower() == name.lower())
        return value

    def answer_upgrade(self, **changes: str | None) -> bytes:
        """What accepts the request. changes: other values of headers, or None to leave one out; "_" stands for "-"."""
        if not self.request:
            self.read_request()
        key = self.header("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        headers: dict[str, str | None] = {
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-accept": base64.b64encode(hashlib.sha1(key.encode()).digest()).decode(),
            "sec-websocket-protocol": "mqtt",
            **{name.replace("_", "-"): value for name, value in changes.items()},
        }
        lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
        return f"HTTP/1.1 101 Switching Protocols\r\n{''.join(lines)}\r\n".encode()

    def upgrade(self) -> WebSocketPeer:
        self.socket.sendall(self.answer_upgrade())
        return self

    # Frames.

    def receive_frame(self) -> tuple[int, bytes] | None:
        """The client's next frame, or None where it has closed."""
        while (found := self._take_frame()) is None:
            try:
                data = self.socket.recv(65_536)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                return None
            self._raw += data
        return found

    def _take_frame(self) -> tuple[int, bytes] | None:
        raw = self._raw
        if len(raw) < 2:
            return None
        assert raw[1] & 0x80, "the client did not mask a frame"
        assert raw[0] & 0xF0 == 0x80, "whole messages are expected, without extensions"
        extra = {126: 2, 127: 8}.get(raw[1] & 0x7F, 0)
        size = int.from_bytes(raw[2 : 2 + extra], "big") if extra else raw[1] & 0x7F
        at = 6 + extra
        if len(raw) < at + size:
            return None
        mask, masked = raw[at - 4 : at], raw[at : at + size]
        self._raw = raw[at + size :]
        key = (mask * (size // 4 + 1))[:size]
        return raw[0] & 0x0F, (int.from_bytes(masked, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")

    def receive(self) -> Packet | None:
        while not self._packets:
            frame = self.receive_frame()
            if frame is None or frame[0] == CLOSE:
                if frame is not None:
                    self.frames.append(frame)
                return None
            if frame[0] == BINARY:
                self.sizes.append(len(frame[1]))
                self._packets += self._decoder.feed(frame[1])
            else:
                self.frames.append(frame)
        return self._packets.pop(0)

    def expect_frame(self, opcode: int) -> bytes:
        """What the client's next frame carries, which is no binary one."""
        frame = self.receive_frame()
        assert frame is not None, "the client has closed"
        assert frame[0] == opcode, frame
        return frame[1]

    def send(self, *items: Packet | bytes) -> None:
        """All in one frame, and that in one write."""
        self.send_raw(
            put_frame(b"".join(each if isinstance(each, bytes) else each.encode(self.version) for each in items))
        )

    def send_raw(self, data: bytes) -> None:
        with self._sending:
            self.socket.sendall(data)

    def send_in_bits(self, data: bytes) -> None:
        """Each byte in a frame of its own, all of one message, with Pings between them."""
        frames = [
            put_frame(data[at : at + 1], CONTINUATION if at else BINARY, fin=at == len(data) - 1) + put_frame(b"", PING)
            for at in range(len(data))
        ]
        self.send_raw(b"".join(frames))


WebSocketScript = Callable[[WebSocketPeer], Any]


@contextmanager
def scripted_websocket(
    script: WebSocketScript,
    *,
    path: str = "/mqtt",
    version: int = 5,
    context: ssl.SSLContext | None = None,
    tls: Tls | None = None,
    **options: Any,
) -> Iterator[Broker]:
    """A server on 127.0.0.1 that runs the script for each connection. A failure in the script fails the test.

    context: the server's end of TLS, tls: the client's. options: of the route.
    """
    server = Server(lambda peer: script(WebSocketPeer(peer)), version, context, 0)
    with closing_and_judging(server):
        yield Broker("127.0.0.1", server.port, websocket_path=path, tls=tls, **options)


class LoopClient:
    """`Client` with the face of `BlockingClient`: its event loop runs in a thread of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self.complaints: list[dict[str, Any]] = []
        self._loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.client = Client(*arguments, **options)
        self._stream: Any = None

    def _call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        async def run() -> Any:
            result = function(*arguments, **options)
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(2 * BOUND_S)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        return (lambda *arguments, **options: self._call(found, *arguments, **options)) if callable(found) else found

    def next_message(self) -> Any:
        if self._stream is None:
            self._stream = self._call(self.client.messages)
        return self._call(self._stream.__anext__)

    def end(self) -> None:
        async def finish() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                await asyncio.wait(others, timeout=BOUND_S)
            await self._loop.shutdown_default_executor()

        self._call(finish)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND_S)
        self._loop.close()
        assert not self.complaints, self.complaints

    def __enter__(self) -> Self:
        try:
            self.connect()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.disconnect()
        finally:
            self.end()


class ThreadClient:
    """`BlockingClient` with the same face."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        from iotwire import BlockingClient

        self.client = BlockingClient(*arguments, **options)
        self._stream: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def next_message(self) -> Any:
        if self._stream is None:
            self._stream = self.client.messages()
        return self._stream.get(timeout_s=BOUND_S)

    def __enter__(self) -> Self:
        self.client.connect()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.disconnect()


class Wrapped(Route):
    """A route with something of its own."""

    def __init__(self, route: Broker, *, max_connection_s: float | None = None, is_signed: bool = False) -> None:
        self._route = route
        self._max = max_connection_s
        self._is_signed = is_signed
        self.prepared: list[datetime] = []

    @property
    def protocol(self) -> str:
        return self._route.protocol

    @property
    def max_connection_s(self) -> float | None:
        return self._max

    @property
    def is_signed(self) -> bool:
        return self._is_signed

    def prepare(self, now: datetime) -> Attempt:
        self.prepared.append(now)
        return self._route.prepare(now)
