"""The server's end of MQTT over WebSockets (RFC 6455; MQTT 5.0, 6): the upgrade's syntax, and frames.

`ServerWebSocket` stands between the connection and a `Stream`: a protocol to the transport below, a transport to the
stream above. Frames are taken off in the stream's own buffer and nothing is put together, so a peer can make it store
nothing, however it cuts what it sends; control frames are answered unless too many answers wait to be read.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha1
from typing import Any

from ..transport import PacketStream
from ..transport.websocket import FrameReader, encode_frame
from .access import HttpRequest
from .requests import invalid

__all__ = ["WEBSOCKET_PATH", "FramedStream", "ServerWebSocket", "give", "judge_upgrade"]

WEBSOCKET_PATH = "/mqtt"
# The second is what AWS's first SDK for Python offers. Its keys have 128 bytes where the standard has 16. The service
# takes both, and so their bytes are not counted here.
SUBPROTOCOLS = ("mqtt", "mqttv3.1")
_KEY = re.compile(r"[A-Za-z0-9+/]{22,344}={0,2}")
KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
CLOSE, PONG = 8, 10
NORMAL, NO_STATUS = 1000, 1005
# Bytes waiting to leave beyond which a PONG is not added to them: a peer that does not read gets no answers.
MAX_UNSENT_BYTES = 64 * 1024


def judge_upgrade(request: HttpRequest) -> list[tuple[str, str]]:
    """The headers to agree with (RFC 6455, 4.2). Raises RequestError, which says what the request lacks."""
    told: dict[str, list[str]] = {}
    for name, value in request.headers:
        told.setdefault(name, []).append(value)
    if request.method != "GET":
        raise invalid(f"GET is expected for a WebSocket, not {request.method}", 405)
    if "websocket" not in _tokens(told.get("upgrade")) or "upgrade" not in _tokens(told.get("connection")):
        raise invalid("/mqtt is a WebSocket: `Connection: Upgrade` and `Upgrade: websocket` are expected", 426)
    if told.get("sec-websocket-version") != ["13"]:
        raise invalid("Sec-WebSocket-Version: 13 is expected", 426)
    keys = told.get("sec-websocket-key", [])
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise invalid("Sec-WebSocket-Key: one key in base64 is expected")
    if request.body:
        raise invalid("a request for a WebSocket has no body")
    offered = [token.strip() for value in told.get("sec-websocket-protocol", ()) for token in value.split(",")]
    agreed = next((name for name in SUBPROTOCOLS if name in offered), None)
    if agreed is None:
        raise invalid("Sec-WebSocket-Protocol: mqtt is expected [MQTT-6.0.0-3]")
    accept = b64encode(sha1(keys[0].encode() + KEY_SUFFIX, usedforsecurity=False).digest()).decode()
    # In small letters, and so they are found by that SDK too.
    return [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", accept),
        ("sec-websocket-protocol", agreed),
    ]


def _tokens(values: list[str] | None) -> set[str]:
    return {token.strip().lower() for value in values or () for token in value.split(",")}


def give(data: bytes, protocol: asyncio.BufferedProtocol) -> None:
    """Let a protocol have what was received before the connection was its own."""
    while data:
        buffer: Any = protocol.get_buffer(len(data))
        size = min(len(data), len(buffer))
        buffer[:size] = data[:size]
        data = data[size:]
        protocol.buffer_updated(size)


class FramedStream(PacketStream):
    """A stream that puts each packet into a frame of its own.

    A client has to take more of them (MQTT 5.0, 6), but AWS's first SDK for Python, which works with the service, sees
    the second packet of a frame when something else arrives, and not before.
    """

    def write(self, data: bytes) -> None:
        super().write(encode_frame(data))


class ServerWebSocket(asyncio.Transport, asyncio.BufferedProtocol):
    """The WebSocket of one connection, once the upgrade is agreed to.

    Given to the transport below as its protocol, and to the stream with `begin`.
    """

    def __init__(self, transport: asyncio.Transport, stream: FramedStream, max_frame_bytes: int) -> None:
        super().__init__()
        self._transport = transport
        self._stream = stream
        self._reader = FrameReader(is_masked=True, max_frame=max_frame_bytes)
        self._buffer = memoryview(b"")  # what the latest read goes to
        self._has_closed = False  # a Close is out
        self._is_closing = False
        self._is_lost = False
        self.failure: str | None = None  # the rule that the peer broke

    def begin(self, rest: bytes) -> None:
        """The stream takes over. rest: what came together with the upgrade: frames."""
        self._transport.set_protocol(self)
        self._stream.connection_made(self)
        give(rest, self)

    # What the transport below calls.

    def get_buffer(self, sizehint: int) -> Any:
        self._buffer = self._stream.get_buffer(sizehint)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        reader = self._reader
        size = reader.strip(self._buffer, nbytes)
        if size:
            self._stream.buffer_updated(size)
        if reader.has_news:
            self._answer()

    def pause_writing(self) -> None:
        self._stream.pause_writing()

    def resume_writing(self) -> None:
        self._stream.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = self._is_lost = True
        error = (
            None if self.failure is None else ConnectionError(f"it broke the protocol of WebSockets: {self.failure}")
        )
        self._stream.connection_lost(error or exc)

    def _answer(self) -> None:
        reader = self._reader
        ping = reader.take_ping()
        if reader.is_over:
            if reader.fault is not None:
                code, self.failure = reader.fault
            else:
                code = reader.close_code or NORMAL
            self._say_close(NORMAL if code == NO_STATUS else code)
            if not self._is_closing:
                self._is_closing = True
                self._transport.close()
        elif ping is not None and not (self._has_closed or self._is_lost or self._is_backed_up):
            self._transport.write(encode_frame(ping, None, PONG))

    @property
    def _is_backed_up(self) -> bool:
        return self._transport.get_write_buffer_size() >= MAX_UNSENT_BYTES

    def _say_close(self, code: int) -> None:
        if not self._has_closed and not self._is_lost:
            self._has_closed = True
            self._transport.write(encode_frame(code.to_bytes(2, "big"), None, CLOSE))

    # What the stream above calls.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """What comes from a `FramedStream` has its frames already."""
        if not self._has_closed and not self._is_lost:
            self._transport.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The last word: the peer answers it, and closes."""
        self._say_close(NORMAL)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._say_close(NORMAL)
            self._is_closing = True
            self._transport.close()

    def abort(self) -> None:
        self._is_closing = True
        self._transport.abort()
