"""Opening a connection for asyncio."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from ..route import Attempt
from .explain import explaining
from .proxies import Tunnel, make_tunnel
from .steps import Interruption, Progress, StepTimeouts
from .stream import Stream
from .tcp import Uplink, connect_tcp, watch_link
from .tls import TlsContexts

__all__ = ["connect_socket", "open_stream"]

# Seconds that TLS waits for the peer's close_notify. `Stream.close` has a bound of its own.
CLOSE_NOTIFY_S = 5.0
# Seconds that asyncio would wait for the handshake after ours have run out: ours are to be told of.
HANDSHAKE_SLACK_S = 60.0


async def open_stream(
    attempt: Attempt,
    make_stream: Callable[[], Stream],
    *,
    timeout_s: float,
    dead_link_timeout_s: float | None = None,
    contexts: TlsContexts,
    step_timeouts: StepTimeouts | None = None,
    interruption: Interruption | None = None,
) -> Stream:
    """Connect, over TCP, TLS or a WebSocket, through a proxy or not, within `timeout_s` seconds (more than 0).

    dead_link_timeout_s: see `watch_link`; None leaves it to the operating system. contexts: where TLS contexts are.
    step_timeouts: for each step by itself. interruption: what can give it up while it waits for DNS or TCP.

    Raises ConnectError where that fails, CredentialsError where a file of the attempt cannot be used.
    """
    progress = Progress(timeout_s, step_timeouts, interruption)
    with explaining(attempt, progress):
        return await _open(attempt, make_stream, progress, dead_link_timeout_s, contexts)


async def _open(
    attempt: Attempt,
    make_stream: Callable[[], Stream],
    progress: Progress,
    dead_link_timeout_s: float | None,
    contexts: TlsContexts,
) -> Stream:
    loop = asyncio.get_running_loop()
    tls: dict[str, Any] = {}
    if attempt.tls is not None:
        async with asyncio.timeout(progress.left()):
            # In a thread: the operating system's certificate authorities take tens of milliseconds on a board.
            context = await asyncio.to_thread(contexts.get, attempt.tls)
    connected = await connect_socket(attempt, progress, dead_link_timeout_s)
    try:
        if attempt.tls is not None:
            progress.enter("tls")
            tls = {
                "ssl": context,
                "server_hostname": attempt.tls.server_name,  # no SNI for an IP address: the certificate must name it
                "ssl_handshake_timeout": progress.left() + HANDSHAKE_SLACK_S,
                "ssl_shutdown_timeout": CLOSE_NOTIFY_S,
            }
        left = progress.left()
    except BaseException:
        connected.close()
        raise
    if attempt.websocket_path is not None:
        stream = await _open_websocket(attempt, make_stream, connected, progress, tls)
    else:
        async with asyncio.timeout(left):
            _, stream = await loop.create_connection(make_stream, sock=connected, **tls)
    stream.take_socket(connected)
    return stream


async def _open_websocket(
    attempt: Attempt,
    make_stream: Callable[[], Stream],
    connected: socket.socket,
    progress: Progress,
    tls: dict[str, Any],
) -> Stream:
    """TLS, if the route has it, and the upgrade in it."""
    from .upgrade import Upgrade
    from .websocket import WebSocketTransport  # what few routes need

    loop = asyncio.get_running_loop()
    try:
        websocket = WebSocketTransport(Upgrade(attempt))
        left = progress.left()
    except BaseException:
        connected.close()
        raise
    try:
        async with asyncio.timeout(left):
            await loop.create_connection(lambda: websocket, sock=connected, **tls)
        progress.enter("websocket")
        async with asyncio.timeout(progress.left()):
            await websocket.upgraded
        stream = make_stream()
        websocket.begin(stream)
    except TimeoutError:
        websocket.give_up()
        raise
    finally:
        if not websocket.has_begun:
            websocket.abort()
    return stream


async def connect_socket(
    attempt: Attempt, progress: Progress, dead_link_timeout_s: float | None = None
) -> socket.socket:
    """A socket that reaches the endpoint, through a proxy or not; it does not block, and has no TLS yet.

    Raises what `explaining` can explain.
    """
    proxy = attempt.proxy
    host, port = (attempt.host, attempt.port) if proxy is None else (proxy.host, proxy.port)
    uplink = Uplink(attempt.interface, attempt.source_address)
    connected = await connect_tcp(host, port, progress, uplink)
    try:
        if dead_link_timeout_s is not None:
            watch_link(connected, dead_link_timeout_s)
        if proxy is not None:
            progress.enter("proxy")
            async with asyncio.timeout(progress.left()):
                await _open_tunnel(connected, make_tunnel(proxy, attempt.host, attempt.port))
    except BaseException:
        connected.close()
        raise
    return connected


async def _open_tunnel(connected: socket.socket, tunnel: Tunnel) -> None:
    loop = asyncio.get_running_loop()
    said = tunnel.start()
    while True:
        if said:
            await loop.sock_sendall(connected, said)
        if tunnel.is_open:
            return
        said = tunnel.receive(await loop.sock_recv(connected, 4096))
