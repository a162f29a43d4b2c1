"""A connection, as asyncio protocols for plain TCP and for TLS alike.

`Stream` is what both ends of a connection share: bytes are received straight into a decoder's buffer, and what is
written in one turn of the event loop leaves in one system call. `GatheringStream` is a server's end, `PacketStream` one
for MQTT: packets in and bytes out. The client's end, over a session, is `iotwire.client.link.Link`.

Nothing here grows without bound. Reading: the decoder stores at most one packet, of at most its `max_packet_size`.
Writing: callers that make data of their own accord wait in `writable`; answers to what was read are not waited for, but
when too many of them pile up, because the peer does not read, reading stops until they have left.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol, cast

from ..errors import WireError
from ..mqtt import Decoder, Packet
from ..route import join_host_port
from .tls import keep_session

__all__ = ["GatheringStream", "PacketReceiver", "PacketStream", "Source", "Stream"]

# Written bytes that are gathered before they are handed over within a turn of the loop.
GATHER_BYTES = 64 * 1024
# The transport's own mark for "wait". asyncio's default for TLS, 512 KiB, is much memory on a small board.
WRITE_HIGH_BYTES = 64 * 1024
# Bytes waiting to leave at which reading stops. Reading goes on well past the mark above: two peers that both stop
# reading as soon as the other does not read would wait for each other.
BACKLOG_BYTES = 1024 * 1024
# What is asked of the decoder at most; TLS asks for 256 KiB at a time otherwise.
READ_BYTES = 64 * 1024


class Source(Protocol):
    """Who gives a stream the memory to receive into: a `Decoder`, a `Session`, or what reads answers over HTTP."""

    def get_buffer(self, sizehint: int = -1) -> memoryview: ...


class Stream(asyncio.BufferedProtocol, ABC):
    """One connection. Made before the connection is, and given to the event loop as its protocol.

    source: whose buffer is received into.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.flush_is_due = False
        self._writing_paused = False
        self._writers: list[asyncio.Future[None]] = []
        self._reading_held_by: set[str] = set()
        self._scratch: bytearray | None = None  # once set, what arrives is thrown away
        self._is_ending = False  # all that is written is on its way to the transport
        self._is_closing = False
        self._is_lost = False
        self._end_timer: asyncio.TimerHandle | None = None
        self._lost = self._loop.create_future()
        self.peer = "unknown"  # the other end, such as "127.0.0.1:8883" or "[::1]:8883"

    def take_socket(self, connected: socket.socket) -> None:
        """Told which socket the transport has."""

    # What the two ends do in their own ways.

    @abstractmethod
    def _receive(self, nbytes: int) -> None:
        """So many bytes have come into the buffer."""

    @abstractmethod
    def _take_written(self) -> list[bytes]:
        """What is to leave now."""

    @property
    @abstractmethod
    def _written_bytes(self) -> int:
        """How many bytes that would be."""

    @abstractmethod
    def _lose(self, error: Exception | None) -> None:
        """The connection has ended: None after a clean end. Called once, and nothing after it."""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        address = transport.get_extra_info("peername")
        if isinstance(address, tuple):
            self.peer = join_host_port(*address[:2])

    def get_buffer(self, sizehint: int) -> Any:  # a memoryview: asyncio's stub has no better type
        if self._scratch is not None:
            return memoryview(self._scratch)
        return self._source.get_buffer(READ_BYTES if sizehint <= 0 else min(sizehint, READ_BYTES))

    def buffer_updated(self, nbytes: int) -> None:
        if self._scratch is None:
            self._receive(nbytes)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self.resume_reading("backlog")
        self.flush()
        if not self._writing_paused:
            self._wake_writers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = self._is_lost = True
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._wake_writers()
        if not self._lost.done():
            self._lost.set_result(None)
        self._lose(exc)

    # Writing.

    def flush_soon(self) -> None:
        """Hand over what is written at the end of this turn of the event loop."""
        if not self.flush_is_due:
            self.flush_is_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand over what is written now, without waiting for the end of the turn."""
        self.flush_is_due = False
        if not self._writing_paused:
            self._hand_over()
        # What the transport has no room for stays here: it would copy all it has with each write.
        if self._writing_paused and not self._is_closing and self.backlog_bytes > BACKLOG_BYTES:
            self.pause_reading("backlog")

    def _hand_over(self) -> None:
        """Give the transport what is written, until it says that it is too much."""
        if self._transport is None or self._is_lost:
            return
        try:
            while written := self._take_written():
                self._transport.write(written[0] if len(written) == 1 else b"".join(written))
                if self._writing_paused and not self._is_ending:
                    break
        except MemoryError:  # what was taken is gone, and only the next connection can say it again
            self.abort()
            raise

    @property
    def backlog_bytes(self) -> int:
        """Bytes written that have not left yet."""
        if self._transport is None or self._is_lost:
            return 0
        return self._written_bytes + self._transport.get_write_buffer_size()

    @property
    def is_writing(self) -> bool:
        """Whether the transport takes more."""
        return not self._writing_paused

    @property
    def is_writable(self) -> bool:
        """Whether `writable` would not wait."""
        return not self._writing_paused and self._written_bytes < GATHER_BYTES

    async def writable(self) -> None:
        """Wait until there is room to write, or until the connection is closing: look at `is_closing` then."""
        if self._written_bytes >= GATHER_BYTES:
            self.flush()
            # A caller that never has to wait would keep every other task from running.
            await asyncio.sleep(0)
        while self._writing_paused and not self._is_closing:
            writer = self._loop.create_future()
            self._writers.append(writer)
            try:
                await writer
            finally:
                if writer in self._writers:
                    self._writers.remove(writer)

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            if not writer.done():
                writer.set_result(None)

    # Reading.

    def pause_reading(self, reason: str) -> None:
        """Stop reading until every reason given here was given to `resume_reading`."""
        if not self._reading_held_by and self._transport is not None and not self._is_closing:
            self._transport.pause_reading()
        self._reading_held_by.add(reason)

    def resume_reading(self, reason: str) -> None:
        if reason in self._reading_held_by:
            self._reading_held_by.remove(reason)
            if not self._reading_held_by and self._transport is not None and not self._is_closing:
                self._transport.resume_reading()

    @property
    def is_reading(self) -> bool:
        return not self._reading_held_by

    def discard_input(self) -> None:
        """Throw away all that arrives from now on; the decoder is not touched again."""
        if self._scratch is None:
            self._scratch = bytearray(16 * 1024)

    # The end.

    def close(self, timeout_s: float, *, linger: bool = False) -> None:
        """Send what is written, close, and throw away what still arrives. After `timeout_s` seconds, abort.

        linger: wait for the peer to close first, for half of that time. For the side that sends DISCONNECT: a socket
            that is closed with unread input sends a reset, and a reset can overtake what was just written.
        """
        if self._is_closing or self._transport is None:
            return
        self.discard_input()
        self._is_ending = True
        self._hand_over()
        if self._reading_held_by:
            self._reading_held_by.clear()
            self._transport.resume_reading()
        self._is_closing = True
        self._wake_writers()
        if linger:
            if self._transport.can_write_eof():  # plain TCP: the peer sees the end and can still answer
                with suppress(OSError):  # the peer has closed, and answered what was written with a reset
                    self._transport.write_eof()
            self._end_timer = self._loop.call_later(timeout_s / 2, self._close_now, timeout_s / 2)
        else:
            self._close_now(timeout_s)

    def _close_now(self, timeout_s: float) -> None:
        assert self._transport is not None
        self._transport.close()
        self._end_timer = self._loop.call_later(timeout_s, self.abort)

    def abort(self) -> None:
        """Close now, and lose what is not yet sent."""
        self.discard_input()
        self._is_closing = True
        self._wake_writers()
        if self._transport is not None and not self._is_lost:
            self._transport.abort()

    @property
    def is_closing(self) -> bool:
        return self._is_closing

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return self._is_lost

    async def wait_lost(self) -> None:
        """Wait until the connection has ended."""
        await asyncio.shield(self._lost)

    # What is known of the connection.

    @property
    def alpn(self) -> str | None:
        """The protocol name that both sides have agreed on in the TLS handshake, or None."""
        session = self._tls_session
        return None if session is None else session.selected_alpn_protocol()

    @property
    def peer_certificate_name(self) -> str | None:
        """The common name of the certificate that the other side has shown, and that was checked; None without."""
        session = self._tls_session
        certificate: Any = None if session is None else session.getpeercert()
        names = {name: value for attributes in (certificate or {}).get("subject", ()) for name, value in attributes}
        return names.get("commonName")

    @property
    def security(self) -> str:
        """How the connection is protected, such as "TLSv1.3, TLS_AES_256_GCM_SHA384"; "none" on plain TCP."""
        session = self._tls_session
        cipher = None if session is None else session.cipher()
        return "none" if session is None or cipher is None else f"{session.version()}, {cipher[0]}"

    def remember_tls_session(self) -> None:
        """Keep what the server has given for the next connection to go on with."""
        keep_session(self._tls_session)

    @property
    def _tls_session(self) -> ssl.SSLObject | None:
        return None if self._transport is None else self._transport.get_extra_info("ssl_object")


class PacketReceiver(Protocol):
    """Whoever owns a `PacketStream` and gives its packets a meaning. Called from the event loop, never re-entered."""

    def packets_received(self, packets: Sequence[Packet]) -> None:
        """Take these packets, in order. A WireError raised in here is treated like one of the decoder's."""

    def peer_failed(self, error: WireError) -> None:
        """The peer broke the protocol. No more packets will come; answer, and close the stream."""

    def stream_lost(self, error: Exception | None) -> None:
        """The connection has ended: None after a clean end. Called once, and nothing after it."""


class GatheringStream(Stream):
    """A server's end of a connection: what is written in one turn of the event loop is gathered here."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0

    def write(self, data: bytes) -> None:
        """Send bytes, together with all else that is written in this turn of the event loop. Never waits."""
        if self._is_closing:
            return
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        self.flush_soon()

    def _take_written(self) -> list[bytes]:
        written, self._gathered = self._gathered, []
        self._gathered_bytes = 0
        return written

    @property
    def _written_bytes(self) -> int:
        return self._gathered_bytes


class PacketStream(GatheringStream):
    """A server's end of an MQTT connection: packets in, bytes out."""

    def __init__(self, decoder: Decoder, receiver: PacketReceiver) -> None:
        super().__init__(decoder)
        self._decoder = decoder
        self._receiver = receiver
        self.last_received_at = self._loop.time()

    def _receive(self, nbytes: int) -> None:
        self.last_received_at = self._loop.time()
        try:
            try:
                packets = self._decoder.buffer_updated(nbytes)
            except WireError as error:
                # What came before the error is as good as ever, and may be what explains it (a DISCONNECT).
                self._receiver.packets_received(error.packets)
                raise
            if packets:
                self._receiver.packets_received(packets)
        except WireError as error:
            if self._scratch is None:
                self.discard_input()
                self._receiver.peer_failed(error)

    def _lose(self, error: Exception | None) -> None:
        self._take_written()
        self._receiver.stream_lost(error)
