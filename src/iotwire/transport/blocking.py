"""The same for threads: a connected socket, plain or TLS, that never blocks, and a way to wait for it.

Whoever reads holds the caller's lock only while bytes are moved; waiting is done without it.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..route import Attempt
from .explain import explaining
from .proxies import Tunnel, make_tunnel
from .resolver import resolve_blocking
from .steps import Interruption, Progress, StepTimeouts
from .tcp import NEXT_ADDRESS_S, Uplink, pick_addresses, watch_link
from .tls import TlsContexts

if TYPE_CHECKING:
    from .upgrade import Upgrade

__all__ = ["open_connection", "open_socket"]


def open_socket(
    attempt: Attempt,
    *,
    timeout_s: float,
    dead_link_timeout_s: float | None,
    contexts: TlsContexts,
    step_timeouts: StepTimeouts | None = None,
) -> socket.socket:
    """A socket that is connected, over TCP or TLS, and does not block. Raises as `open_stream` does."""
    connected, _ = open_connection(
        attempt,
        timeout_s=timeout_s,
        dead_link_timeout_s=dead_link_timeout_s,
        contexts=contexts,
        step_timeouts=step_timeouts,
    )
    return connected


def open_connection(
    attempt: Attempt,
    *,
    timeout_s: float,
    dead_link_timeout_s: float | None,
    contexts: TlsContexts,
    step_timeouts: StepTimeouts | None = None,
    interruption: Interruption | None = None,
) -> tuple[socket.socket, bytes | None]:
    """The same, and where it is a WebSocket the bytes that came behind the answer to its upgrade; else None."""
    progress = Progress(timeout_s, step_timeouts, interruption)
    with explaining(attempt, progress):
        context = None if attempt.tls is None else contexts.get(attempt.tls)
        proxy = attempt.proxy
        host, port = (attempt.host, attempt.port) if proxy is None else (proxy.host, proxy.port)
        connected = _connect(host, port, Uplink(attempt.interface, attempt.source_address), progress)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if dead_link_timeout_s is not None:
                watch_link(connected, dead_link_timeout_s)
            if proxy is not None:
                progress.enter("proxy")
                _talk(connected, make_tunnel(proxy, attempt.host, attempt.port), progress)
            if context is not None and attempt.tls is not None:
                progress.enter("tls")
                connected.settimeout(progress.left())  # for the handshake as a whole
                connected = context.wrap_socket(
                    connected, server_hostname=attempt.tls.server_name, session=context.session
                )
            rest = _open_websocket(connected, attempt, progress) if attempt.websocket_path is not None else None
            connected.setblocking(False)
        except BaseException:
            connected.close()
            raise
    return connected, rest


def _open_websocket(connected: socket.socket, attempt: Attempt, progress: Progress) -> bytes:
    from .upgrade import Upgrade  # what few routes need

    progress.enter("websocket")
    upgrade = Upgrade(attempt)
    try:
        _talk(connected, upgrade, progress)
    except TimeoutError:
        upgrade.give_up()
        raise
    return upgrade.rest


def _connect(host: str, port: int, uplink: Uplink, progress: Progress) -> socket.socket:
    """A connection to the first address that answers (RFC 8305)."""
    progress.enter("dns")
    waiting = deque(pick_addresses(resolve_blocking(host, port, progress), host, uplink))
    progress.enter("tcp")
    failures: list[OSError] = []
    woken, waker = socket.socketpair()
    with (
        woken,
        waker,
        progress.interruption.calling(partial(waker.send, b"x")),
        selectors.DefaultSelector() as running,
    ):
        running.register(woken, selectors.EVENT_READ)
        try:
            while waiting or len(running.get_map()) > 1:
                if waiting:
                    family, address = waiting.popleft()
                    progress.tried[address[0]] = None
                    try:
                        begun = _begin_to_connect(uplink, family, address)
                    except OSError as error:  # no way to that network, or no such family here
                        failures.append(error)
                        progress.tried[address[0]] = error
                        continue
                    running.register(begun, selectors.EVENT_WRITE, address[0])
                left = progress.left()
                for key, _ in running.select(min(NEXT_ADDRESS_S, left) if waiting else left):
                    if key.fileobj is woken:
                        raise TimeoutError
                    assert isinstance(key.fileobj, socket.socket)
                    failure = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    running.unregister(key.fileobj)
                    if not failure:
                        progress.address = key.data
                        return key.fileobj
                    failures.append(OSError(failure, os.strerror(failure)))
                    progress.tried[key.data] = failures[-1]
                    key.fileobj.close()
        finally:
            for key in list((running.get_map() or {}).values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()
    raise failures[0]


def _begin_to_connect(uplink: Uplink, family: int, address: Any) -> socket.socket:
    attempt = uplink.open_socket(family)
    try:
        with suppress(BlockingIOError):
            attempt.connect(address)
    except BaseException:
        attempt.close()
        raise
    return attempt


def _talk(connected: socket.socket, tunnel: Tunnel | Upgrade, progress: Progress) -> None:
    """Say and hear what has to be, until it is open."""
    said = tunnel.start()
    while True:
        connected.settimeout(progress.left())
        if said:
            connected.sendall(said)
            connected.settimeout(progress.left())
        if tunnel.is_open:
            return
        said = tunnel.receive(connected.recv(4096))
