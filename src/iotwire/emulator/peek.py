"""The first look at a connection: its ClientHello, read before TLS starts, says where it goes.

As at the service, the server name must be the endpoint's, and port and ALPN name choose a row of the matrix. What is
refused is answered with the alert that says why. The bytes that were read are not lost: `iotwire.emulator.tls` gives
them to OpenSSL, which reads them for itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from ..errors import IotwireError, TlsDecodeError
from ..route import ROUTES
from ..tls import ClientHello

__all__ = ["WEB_ALPN", "HelloRefusedError", "Way", "find_name_fault", "find_way", "read_client_hello", "ways_of"]

# A hello with post-quantum key shares and a session ticket stays below 4 KiB.
MAX_HELLO_BYTES = 32 * 1024
# What ordinary HTTP clients offer by themselves. A server that does not know a name of a list may take another one
# (RFC 7301, 3.2), so where HTTPS needs no name this one is as good as none.
WEB_ALPN = "http/1.1"

DECODE_ERROR = 50
UNRECOGNIZED_NAME = 112
NO_APPLICATION_PROTOCOL = 120


class HelloRefusedError(IotwireError):
    """A ClientHello that is not served. alert: the TLS alert to answer with, by its number."""

    def __init__(self, message: str, alert: int) -> None:
        super().__init__(message)
        self.alert = alert


@dataclass(frozen=True, slots=True)
class Way:
    """Where a connection goes. protocol: "mqtt" or "https". alpn: the name to agree on, or None.

    is_x509: whether a client certificate is asked for; without, a signature or an authorizer says who it is.
    """

    protocol: str
    alpn: str | None
    is_x509: bool


def find_way(hello: ClientHello, port: int, names: Collection[str], *, wants_sni: bool = True) -> Way:
    """The way of a hello on a port of the service. names: of the endpoint, in lower case. Raises HelloRefusedError.

    wants_sni: whether one without a server name is refused too.
    """
    fault = find_name_fault(hello.server_name, names, wants_sni=wants_sni)
    if fault is not None:
        raise HelloRefusedError(f"a ClientHello {fault}", UNRECOGNIZED_NAME)
    return _choose_way(hello.alpn_protocols, port)


def find_name_fault(name: str | None, names: Collection[str], *, wants_sni: bool) -> str | None:
    """Why a hello with this server name is not for this endpoint; None where it is. Arguments as of `find_way`."""
    if name is None:
        return "without SNI" if wants_sni else None
    return None if name.lower() in names else "for another endpoint"


def ways_of(port: int) -> set[Way]:
    """All that `find_way` can give for a port."""
    ways = set()
    for offered in ((), (WEB_ALPN,), *((row.alpn,) for row in ROUTES if row.alpn is not None)):
        with suppress(HelloRefusedError):
            ways.add(_choose_way(offered, port))
    return ways


def _choose_way(offered: Collection[str], port: int) -> Way:
    rows = [row for row in ROUTES if row.port == port]
    alpn = agreed = next((row.alpn for row in rows if row.alpn in offered), None)
    if offered and alpn is None:
        if WEB_ALPN not in offered or all(row.protocol == "mqtt" for row in rows):
            raise HelloRefusedError(f"a ClientHello whose ALPN names have no row on {port}", NO_APPLICATION_PROTOCOL)
        agreed = WEB_ALPN
    rows = [row for row in rows if row.alpn == alpn]
    for row in rows:
        if row.authentication == "x509":
            return Way(row.protocol, agreed, is_x509=True)
    protocol = "mqtt" if all(row.protocol == "mqtt" for row in rows) else "https"
    return Way(protocol, agreed, is_x509=False)


async def read_client_hello(accepted: socket.socket) -> tuple[ClientHello, bytes]:
    """The hello, and all bytes that were read. The caller bounds the time.

    Raises HelloRefusedError where it never can become one, OSError where the peer closes before it is whole.
    """
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < MAX_HELLO_BYTES:
        some = await loop.sock_recv(accepted, MAX_HELLO_BYTES - len(received))
        if not some:
            raise ConnectionResetError("the connection was closed before it was whole")
        received += some
        try:
            hello = ClientHello.decode(received)
        except TlsDecodeError as error:
            raise HelloRefusedError(f"no ClientHello: {error}", error.alert) from error
        if hello is not None:
            return hello, bytes(received)
    raise HelloRefusedError(f"a ClientHello of more than {MAX_HELLO_BYTES} bytes", DECODE_ERROR)
