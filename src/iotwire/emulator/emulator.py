"""`Emulator`: listening sockets, TLS, and the life of a local endpoint."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from ..credentials import X509
from ..endpoint import ROUTES, Endpoint
from ..errors import ConnectError, RouteError
from .device import DeviceConnection
from .hub import EmulatorLimits, EmulatorStats, Hub
from .pki import Authority
from .tls import make_server_context

__all__ = ["Emulator"]

_log = logging.getLogger("iotwire.emulator")

# The rows of the matrix that are served: port -> ALPN that a device must have negotiated.
_SERVED = {row.port: row.alpn for row in ROUTES if row.number in (1, 2)}
_BIND_TRIES = 20


class Emulator:
    """A local endpoint of AWS IoT Core, in this process: `async with Emulator() as emulator`.

    It serves rows 1 and 2 of the matrix: MQTT 3.1.1 and 5.0 over TLS 1.2 or 1.3 with a client certificate, on its
    stand-ins for port 8883 and, with ALPN `x-amzn-mqtt-ca`, for port 443. Like the service it wants SNI with the
    endpoint's name (or "localhost") and a certificate of its own authority, and offers no session tickets. QoS 0 and 1,
    retained messages, wildcards, wills, takeover and keep alive are there; `iotwire.emulator.device` says what differs.

    host: the endpoint's name. ports: which service ports to serve, and where; 0 lets the system choose.
    addresses: what to listen on. One that this machine does not have (no IPv6) is left out; at least one must remain.

    `endpoint` and `device` connect to it: `emulator.endpoint.route("mqtt", emulator.device)`. The certificates are made
    anew each time, in a temporary folder that only this user can read and that goes away at the end.
    Raises CredentialsError without `cryptography`, ConnectError where it cannot listen.
    """

    def __init__(
        self,
        host: str = "a1b2c3-ats.iot.local.test",
        *,
        ports: Mapping[int, int] | None = None,
        addresses: Sequence[str] = ("127.0.0.1", "::1"),
        limits: EmulatorLimits | None = None,
    ) -> None:
        self.host = Endpoint(host).host
        self._wanted_ports = dict.fromkeys(_SERVED, 0) if ports is None else dict(ports)
        for port in self._wanted_ports:
            if port not in _SERVED:
                raise RouteError(f"ports: the emulator serves {sorted(_SERVED)}, not {port}")
        self._wanted_addresses = tuple(addresses)
        self._hub = Hub(limits or EmulatorLimits())
        self._folder: TemporaryDirectory[str] | None = None
        self._authority: Authority | None = None
        self._device: X509 | None = None
        self._listeners: list[socket.socket] = []
        self._acceptors: list[asyncio.Task[None]] = []
        self._handshakes: set[asyncio.Task[None]] = set()
        self._connections: set[DeviceConnection] = set()
        self.ports: dict[int, int] = {}
        self.addresses: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    # What a client needs.

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint, at the first address that is listened on."""
        if not self.addresses:
            raise RouteError("the emulator is not running")
        return self.endpoint_at(self.addresses[0])

    def endpoint_at(self, address: str) -> Endpoint:
        """The endpoint at one of `addresses`, such as "::1"."""
        return Endpoint(self.host, ports=self.ports, address=address)

    @property
    def device(self) -> X509:
        """A device's certificate and key, and the authority that the endpoint's own is to be checked against."""
        if self._device is None:
            self._device = self.issue_device("device")
        return self._device

    def issue_device(self, name: str) -> X509:
        """The certificate of another device. name: letters, digits, `-` and `_`."""
        if self._authority is None or not name.replace("-", "").replace("_", "").isalnum() or name in ("ca", "server"):
            raise RouteError("name: letters, digits, - and _ are expected, while the emulator runs")
        return self._authority.issue_device(name)

    def stats(self) -> EmulatorStats:
        """What has happened so far."""
        return replace(self._hub.stats)

    # Life.

    async def _start(self) -> None:
        self._folder = TemporaryDirectory(prefix="iotwire-emulator-")  # made with mode 0700
        # In a thread: making keys takes a noticeable moment on a board.
        self._authority = await asyncio.to_thread(Authority, Path(self._folder.name))
        names = [self.host, "localhost", "127.0.0.1", "::1"]
        certificate = await asyncio.to_thread(self._authority.issue_server, names)
        loop = asyncio.get_running_loop()
        for service_port, local_port in self._wanted_ports.items():
            listeners = _listen(self._wanted_addresses, local_port)
            self._listeners += listeners
            self.ports[service_port] = listeners[0].getsockname()[1]
            self.addresses = tuple(listener.getsockname()[0] for listener in listeners)
            alpn = _SERVED[service_port]
            context = make_server_context(certificate, frozenset({self.host.lower(), "localhost"}), alpn)
            self._acceptors += [loop.create_task(self._accept(each, context, alpn)) for each in listeners]

    async def _accept(self, listener: socket.socket, context: ssl.SSLContext, alpn: str | None) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except OSError as error:  # the peer has gone already, or this process is out of file descriptors
                _log.warning("cannot accept a connection: %s", error)
                await asyncio.sleep(0.1)
                continue
            # Before the handshake: what a peer can make us hold is bounded from its first byte on.
            if len(self._connections) >= self._hub.limits.max_connections:
                accepted.close()
                self._hub.stats.refused_connections += 1
                continue
            handshake = loop.create_task(self._shake_hands(accepted, context, alpn))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, accepted: socket.socket, context: ssl.SSLContext, alpn: str | None) -> None:
        limits = self._hub.limits
        connection = DeviceConnection(self._hub, alpn, on_gone=self._connections.discard)
        self._connections.add(connection)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection.stream,
                accepted,
                ssl=context,
                ssl_handshake_timeout=limits.handshake_timeout_s,
                ssl_shutdown_timeout=limits.close_timeout_s,
            )
        except OSError as error:  # with ssl.SSLError
            _log.info("a TLS handshake failed: %s", error)
            connection.stream_lost(error)
            return
        except BaseException:
            connection.stream_lost(None)
            connection.stream.abort()
            raise

    async def _stop(self) -> None:
        for task in (*self._acceptors, *self._handshakes):
            task.cancel()
        await asyncio.gather(*self._acceptors, *self._handshakes, return_exceptions=True)
        self._acceptors.clear()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        ending = list(self._connections)
        for connection in ending:
            connection.shut_down()
        await asyncio.gather(*(connection.stream.wait_lost() for connection in ending))
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        self._authority = self._device = None
        self.ports, self.addresses = {}, ()


def _listen(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Sockets that listen on the same port of every address that this machine has.

    Port 0 is chosen by the system for the first address, and may be taken on the next: then another is tried.
    """
    tries = 1 if port else _BIND_TRIES
    while True:
        tries -= 1
        listeners: list[socket.socket] = []
        try:
            for address in addresses:
                listener = _listen_on(address, listeners[0].getsockname()[1] if listeners else port)
                if listener is not None:
                    listeners.append(listener)
        except OSError as error:
            for listener in listeners:
                listener.close()
            if error.errno != errno.EADDRINUSE or not tries:
                place = f"port {port}" if port else "a free port"
                raise ConnectError(f"the emulator cannot listen on {place}: {os.strerror(error.errno or 0)}") from error
            continue
        if not listeners:
            raise ConnectError(f"the emulator cannot listen: this machine has none of {', '.join(addresses)}")
        return listeners


def _listen_on(address: str, port: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        # The protocol is named because accepted sockets inherit it, and asyncio sets TCP_NODELAY only where it is:
        # without, a first message waits 40 ms for a delayed acknowledgement.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError:
        return None  # no such address family
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    return listener
