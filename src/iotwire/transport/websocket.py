"""MQTT in WebSocket frames (RFC 6455; MQTT 5.0, 6), between what sockets move and what sessions take.

`WebSocket` is what asyncio and threads share: frames around what goes out, frames off what comes in, and answers to
control frames; no socket. `WebSocketTransport` is the one of asyncio, a protocol to the transport below it and a
transport to the `Stream` above. The one of threads is `iotwire.client.wire.WebSocketWire`.

What is handed over at once leaves as one frame, however many packets it has. Coming in, nothing is stored: a frame may
be as long as the largest MQTT packet, and a packet's size is for the decoder to bound.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any, cast

from .._websocket import FrameReader, encode_frame
from .stream import WRITE_HIGH_BYTES, Stream
from .upgrade import Upgrade

__all__ = ["FrameReader", "WebSocket", "WebSocketEndedError", "WebSocketTransport", "encode_frame"]

CLOSE, PING, PONG = 8, 9, 10
NORMAL, PROTOCOL_ERROR = 1000, 1002
# Bytes waiting to leave beyond which a PONG is not added to them: a peer that does not read is owed one, not many.
MAX_UNSENT_BYTES = WRITE_HIGH_BYTES
# What is read at once before the WebSocket is open.
READ_BYTES = 4096


class WebSocketEndedError(ConnectionError):
    """Why the peer has ended a WebSocket, in its words, or which of its rules it broke."""


class WebSocket:
    """Both directions of an open connection. For one thread at a time."""

    def __init__(self) -> None:
        self._reader = FrameReader()
        self.strip = self._reader.strip
        self._late: bytes | None = None  # what a PONG carries that is still to be sent
        self.has_closed = False  # a Close is out
        self.failure: WebSocketEndedError | None = None  # why it is over, where the peer said more than nothing

    @property
    def has_news(self) -> bool:
        """After `strip`: whether `answer` is to be asked what to say."""
        return self._reader.has_news

    @property
    def is_over(self) -> bool:
        """Whether the peer has closed, or broken a rule."""
        return self._reader.is_over

    def frame(self, data: bytes) -> bytes:
        """Packets as one frame."""
        frame = encode_frame(data, os.urandom(4))
        return frame if self._late is None else self.late_pong() + frame

    def late_pong(self) -> bytes:
        """The PONG that there was no room for, if there is one."""
        ping, self._late = self._late, None
        return b"" if ping is None or self.has_closed else encode_frame(ping, os.urandom(4), PONG)

    def close(self, code: int = NORMAL) -> bytes:
        """A Close frame, once."""
        if self.has_closed:
            return b""
        self.has_closed = True
        return encode_frame(code.to_bytes(2, "big"), os.urandom(4), CLOSE)

    def answer(self, *, may_pong: bool = True) -> bytes:
        """What is to be said to control frames, or to a broken rule. may_pong: whether there is room for a PONG now."""
        reader = self._reader
        ping = reader.take_ping()
        if reader.fault is not None:
            code, text = reader.fault
            self.failure = WebSocketEndedError(f"the server broke the protocol of WebSockets: {text}")
            return self.close(code)
        if reader.close_code is not None:
            code = reader.close_code
            if code not in (NORMAL, 1005) or reader.close_reason:
                self.failure = WebSocketEndedError(f"the server closed it: {_describe(code, reader.close_reason)}")
            return self.close(NORMAL if code == 1005 else code)
        if ping is not None:
            self._late = ping  # in place of an earlier one [RFC 6455, 5.5.3]
        return self.late_pong() if may_pong else b""


STATUSES = {
    1001: "it is going away",
    1002: "a broken protocol",
    1003: "data that it does not take",
    1007: "ill-formed data",
    1008: "its policy",
    1009: "a message too big for it",
    1011: "an error of its own",
    1012: "it restarts",
    1013: "try again later",
}


def _describe(code: int, reason: str) -> str:
    said = "".join(each if each.isprintable() else "?" for each in reason)
    words = ", ".join(filter(None, (STATUSES.get(code, ""), said)))
    return f"{code} ({words})" if words else str(code)


class WebSocketTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The WebSocket of one connection for asyncio. Made before the connection is, and given to the loop as protocol.

    Once it is open (`upgraded`), `begin` lets the stream take over.
    """

    def __init__(self, upgrade: Upgrade) -> None:
        super().__init__()
        self._upgrade = upgrade
        self.upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._stream: Stream | None = None
        self._websocket: WebSocket | None = None
        self._buffer = memoryview(bytearray(READ_BYTES))  # what the latest read goes to
        self._is_closing = False
        self._is_lost = False

    @property
    def has_begun(self) -> bool:
        """Whether the stream has taken over."""
        return self._stream is not None

    def begin(self, stream: Stream) -> None:
        """The WebSocket is open: what goes through it is the stream's from now on."""
        self._websocket = WebSocket()
        self._stream = stream
        stream.connection_made(self)
        rest = self._upgrade.rest
        while rest and not self._is_closing:
            buffer = self.get_buffer(len(rest))
            size = min(len(rest), len(buffer))
            buffer[:size] = rest[:size]
            rest = rest[size:]
            self.buffer_updated(size)

    # What the transport below calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._upgrade.start())

    def get_buffer(self, sizehint: int) -> Any:
        if self._stream is not None:
            # Straight to where the packets are to be: the frames are taken off there.
            self._buffer = self._stream.get_buffer(sizehint)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        websocket, stream = self._websocket, self._stream
        if websocket is None or stream is None:
            self._shake_hands(bytes(self._buffer[:nbytes]))
            return
        size = websocket.strip(self._buffer, nbytes)
        if size:
            stream.buffer_updated(size)
        if websocket.has_news:
            self._answer(websocket)

    def eof_received(self) -> None:
        if self._websocket is None:
            self._shake_hands(b"")

    def pause_writing(self) -> None:
        if self._stream is not None:
            self._stream.pause_writing()

    def resume_writing(self) -> None:
        if self._stream is not None and self._websocket is not None:
            if (said := self._websocket.late_pong()) and self._transport is not None:
                self._transport.write(said)
            self._stream.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = self._is_lost = True
        if not self.upgraded.done():
            self.upgraded.set_exception(exc or ConnectionResetError("the server closed the connection"))
            self.upgraded.exception()  # nobody may be waiting any more
        websocket, stream = self._websocket, self._stream
        if stream is not None and websocket is not None:
            stream.connection_lost(websocket.failure or exc)

    def _shake_hands(self, data: bytes) -> None:
        if self.upgraded.done():
            # Between the answer and `begin`; it is a frame, and waits with what came together with the answer.
            self._upgrade.rest += data
            return
        try:
            self._upgrade.receive(data)
        except Exception as error:  # noqa: BLE001 -- for whoever waits
            self.upgraded.set_exception(error)
            self.upgraded.exception()
            self.abort()
            return
        if self._upgrade.is_open:
            self.upgraded.set_result(None)

    def give_up(self) -> None:
        """The time is over. Raises UpgradeError where it is known that the server refuses."""
        self._upgrade.give_up()

    def _answer(self, websocket: WebSocket) -> None:
        assert self._transport is not None
        said = websocket.answer(may_pong=self._transport.get_write_buffer_size() <= MAX_UNSENT_BYTES)
        if said and not self._is_lost:
            self._transport.write(said)
        if websocket.is_over and not self._is_closing:
            self._is_closing = True
            self._transport.close()

    # What the stream above calls.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._transport is not None and self._websocket is not None and not self._websocket.has_closed:
            self._transport.write(self._websocket.frame(cast("bytes", data)))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The last word: the peer answers it, and closes."""
        if self._transport is not None and self._websocket is not None and not self._is_lost:
            self._transport.write(self._websocket.close())

    def pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if self._transport is not None and not self._is_closing:
            self.write_eof()
            self._is_closing = True
            self._transport.close()

    def abort(self) -> None:
        self._is_closing = True
        if self._transport is not None:
            self._transport.abort()
