"""Opening a connection, and telling in words why it could not be opened."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from ..errors import ConnectError
from ..route import Attempt
from .stream import PacketStream
from .tcp import connect_tcp
from .tls import make_client_context

__all__ = ["describe_tls_error", "open_stream"]

# Seconds that TLS waits for the peer's close_notify. `PacketStream.close` has a bound of its own.
CLOSE_NOTIFY_S = 5.0


async def open_stream(attempt: Attempt, make_stream: Callable[[], PacketStream], *, timeout_s: float) -> PacketStream:
    """Connect, over TCP or TLS, within `timeout_s` seconds (more than 0).

    Raises ConnectError where that fails, CredentialsError where a file of the attempt cannot be used.
    """
    place = f"[{attempt.host}]:{attempt.port}" if ":" in attempt.host else f"{attempt.host}:{attempt.port}"
    try:
        async with asyncio.timeout(timeout_s):
            return await _open(attempt, make_stream, timeout_s)
    except TimeoutError as error:  # ours, or the operating system's ETIMEDOUT
        limit = "" if error.errno else f" within {timeout_s:g} s"
        raise ConnectError(f"no answer from {place}{limit}") from None
    except ssl.SSLError as error:
        raise ConnectError(f"TLS with {place} failed: {describe_tls_error(error)}") from error
    except socket.gaierror as error:
        raise ConnectError(f"cannot resolve {attempt.host}: {error.strerror}") from error
    except UnicodeError as error:
        raise ConnectError(f"{attempt.host} is not a name that DNS can carry") from error
    except OSError as error:
        raise ConnectError(f"cannot connect to {place}: {error.strerror or error}") from error


async def _open(attempt: Attempt, make_stream: Callable[[], PacketStream], timeout_s: float) -> PacketStream:
    loop = asyncio.get_running_loop()
    tls: dict[str, Any] = {}
    if attempt.tls is not None:
        tls = {
            # In a thread: the operating system's certificate authorities take tens of milliseconds on a board.
            "ssl": await asyncio.to_thread(make_client_context, attempt.tls),
            "server_hostname": attempt.tls.server_name,  # no SNI for an IP address, but the certificate must name it
            "ssl_handshake_timeout": timeout_s,
            "ssl_shutdown_timeout": CLOSE_NOTIFY_S,
        }
    connected = await connect_tcp(attempt.host, attempt.port)
    _, stream = await loop.create_connection(make_stream, sock=connected, **tls)
    return stream


def describe_tls_error(error: ssl.SSLError) -> str:
    """What went wrong, in words: a verification failure, the peer's alert, or OpenSSL's name of the failure."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not accepted: {error.verify_message}"
    reason = (error.reason or "").replace("_", " ").lower()
    for prefix in ("tlsv1 alert ", "tlsv13 alert ", "sslv3 alert ", "tlsv1 ", "sslv3 "):
        if reason.startswith(prefix):
            return f'the server sent the alert "{reason.removeprefix(prefix)}"'
    return reason or "the connection was closed during the handshake"
