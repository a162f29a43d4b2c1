"""The first bytes of TLS, 1.2 and 1.3: ClientHello, ServerHello and alerts.

What a client offers (SNI, ALPN, versions) and what a server selects, read and written without a TLS session: to see
what another stack sends, to ask an endpoint what it takes, to route a connection by its first bytes.

Compiled, without sockets, clocks or threads; imports neither `ssl`, `asyncio` nor `cryptography`.
"""

from __future__ import annotations

from iotwire._tls import (
    EXTENSIONS,
    MAX_HELLO_SIZE,
    Alert,
    ClientHello,
    ServerHello,
    alpn_extension,
    server_name_extension,
)
from iotwire._tls_tables import ALERTS
from iotwire.errors import TlsDecodeError

__all__ = [
    "ALERTS",
    "EXTENSIONS",
    "MAX_HELLO_SIZE",
    "Alert",
    "ClientHello",
    "ServerHello",
    "TlsDecodeError",
    "alpn_extension",
    "is_grease",
    "server_name_extension",
]


def is_grease(number: int) -> bool:
    """Whether a two-byte number is one of those that are reserved to keep peers tolerant (RFC 8701, 2)."""
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF
