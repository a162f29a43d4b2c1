"""What is known of a connection from its first byte on, and what anyone may know of it: `ConnectionInfo`."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..route import ROUTES
from .peek import WEB_ALPN

__all__ = ["Arrival", "ConnectionInfo", "CountingSocket"]


class CountingSocket(socket.socket):
    """A socket that knows how many bytes went through it: the TLS records that a metered link is paid for by.

    asyncio's own event loop calls the methods below; others, which take the descriptor instead, leave both counts 0.
    """

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self.setblocking(False)
        self.bytes_received = 0
        self.bytes_sent = 0

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = super().recv(bufsize, flags)
        self.bytes_received += len(data)
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        count = super().recv_into(buffer, nbytes, flags)
        self.bytes_received += count
        return count

    def send(self, data: Any, flags: int = 0, /) -> int:
        count = super().send(data, flags)
        self.bytes_sent += count
        return count

    def sendmsg(self, buffers: Iterable[Any], /, *rest: Any) -> int:
        count = super().sendmsg(buffers, *rest)
        self.bytes_sent += count
        return count


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One connection that was let in, as the endpoint sees it.

    row: of the matrix. client_id: empty over HTTPS. alpn: the name both sides agreed on, or None. security: version and
        cipher of TLS.
    handshake_s: from the accepted connection to the end of the TLS handshake.
    bytes_received, bytes_sent: through its socket so far, TLS records whole; None on event loops that do not tell.
    """

    row: int
    client_id: str
    peer: str
    alpn: str | None
    security: str
    handshake_s: float
    bytes_received: int | None
    bytes_sent: int | None


@dataclass(slots=True)
class Arrival:
    """A connection on its way in. port: of the service. started_at: on the event loop's clock."""

    accepted: CountingSocket
    peer: str
    port: int
    started_at: float
    server_name: str = ""
    handshake_s: float = 0.0

    def describe(
        self, protocol: str, authentication: str, client_id: str, alpn: str | None, security: str
    ) -> ConnectionInfo:
        """protocol: "mqtt", "wss" or "https". authentication: "x509", "sigv4" or "custom"."""
        rows = [row for row in ROUTES if (row.protocol, row.authentication) == (protocol, authentication)]
        named = None if alpn == WEB_ALPN else alpn
        number = next((row.number for row in rows if row.port == self.port and row.alpn == named), rows[0].number)
        accepted = self.accepted
        is_counted = accepted.bytes_received > 0
        return ConnectionInfo(
            number,
            client_id,
            self.peer,
            alpn,
            security,
            self.handshake_s,
            accepted.bytes_received if is_counted else None,
            accepted.bytes_sent if is_counted else None,
        )
