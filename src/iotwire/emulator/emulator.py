"""`Emulator`: listening sockets, the way of each connection, and the life of a local endpoint."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import socket
import ssl
import string
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from ..credentials import X509
from ..endpoint import ROUTES, Broker, Endpoint
from ..errors import ConnectError, RouteError
from ..route import join_host_port
from ..sigv4 import Credentials
from ..tls import Alert
from .access import Gate, Pass
from .arrival import Arrival, ConnectionInfo, CountingSocket
from .authorizers import AuthorizerFunction, Authorizers
from .device import Admission, DeviceConnection
from .folder import Folder, KeptFolder
from .http import HttpConnection
from .hub import EmulatorLimits, EmulatorStats, Exchange, Hub
from .local import HubConnection
from .peek import HelloRefusedError, Way, find_way, read_client_hello, ways_of
from .pki import Authority
from .policy import Policy
from .relay import Relay, RelayedConnection
from .tls import FIRST_BYTES, make_server_context
from .websocket import FramedStream, ServerWebSocket, give

__all__ = ["Emulator"]

_log = logging.getLogger("iotwire.emulator")

_SERVED_PORTS = tuple(sorted({row.port for row in ROUTES}, reverse=True))
_BIND_TRIES = 20

Connection = DeviceConnection | HttpConnection


class Emulator:
    """A local endpoint of AWS IoT Core, in this process: `async with Emulator() as emulator`.

    It serves all nine rows of the matrix on its stand-ins for the service's ports, and messages cross between them.
    With a client certificate: MQTT 3.1.1 and 5.0 on 8883 and, with ALPN `x-amzn-mqtt-ca`, on 443; `POST /topics/...` on
    8443 and, with ALPN `x-amzn-http-ca`, on 443. Signed, or by a custom authorizer: MQTT over WebSockets and
    `POST /topics/...` on 443 without ALPN; and by a custom authorizer MQTT on 443 with ALPN `mqtt`. Like the service it
    wants SNI with the endpoint's name (or "localhost") and a certificate of its own authority, offers no session
    tickets, refuses an ALPN name that has no row on the port in the handshake, and allows what policies allow.
    `iotwire.emulator.device` says what differs. Each refusal is one sentence in the log `iotwire.emulator`.

    host: the endpoint's name. ports: which service ports to serve, and where; 0 lets the system choose.
    addresses: what to listen on. One that this machine does not have (no IPv6) is left out; at least one must remain.
    folder: where the certificates are made, and found again the next time while they are valid; one that is new, empty,
        or written by an emulator. None makes them anew, in a temporary folder that goes away at the end. Only this
        user can read the keys.
    credentials: of AWS, that signatures may be made with; one pair is made where there are none. region, account: what
        signatures and policies name.
    broker: where messages go in place of what is built in: to a real MQTT broker or a cluster of them, so that devices
        of many emulators, and anybody else there, have them in common. `iotwire.emulator.relay` says what is whose.
    wants_sni: whether a connection without SNI is refused. What AWS documents disagrees: everywhere, or for custom
        domains, VPC endpoints and the like alone; its first SDK for Python sends none.

    `endpoint` and `device` connect to it: `emulator.endpoint.route("mqtt", emulator.device)`.
    Raises CredentialsError without `cryptography` or where the folder cannot be used, ConnectError where it cannot
    listen.
    """

    def __init__(
        self,
        host: str = "a1b2c3-ats.iot.local.test",
        *,
        ports: Mapping[int, int] | None = None,
        addresses: Sequence[str] = ("127.0.0.1", "::1"),
        folder: str | os.PathLike[str] | None = None,
        limits: EmulatorLimits | None = None,
        credentials: Sequence[Credentials] | None = None,
        region: str = "us-east-1",
        account: str = "123456789012",
        broker: Broker | None = None,
        wants_sni: bool = True,
    ) -> None:
        self.host = Endpoint(host).host
        self._wanted_ports = dict.fromkeys(_SERVED_PORTS, 0) if ports is None else dict(ports)
        for port in self._wanted_ports:
            if port not in _SERVED_PORTS:
                raise RouteError(f"ports: the emulator serves {sorted(_SERVED_PORTS)}, not {port}")
        self._wanted_addresses = tuple(addresses)
        self._wanted_folder = None if folder is None else Path(folder)
        limits = limits or EmulatorLimits()
        self._hub: Exchange
        if broker is None:
            self._hub = hub = Hub(limits)
            self._make_device: Callable[[Admission], DeviceConnection] = lambda admission: HubConnection(
                hub, admission, on_gone=self._connections.discard
            )
        else:
            self._hub = relay = Relay(broker, limits)
            self._make_device = lambda admission: RelayedConnection(relay, admission, on_gone=self._connections.discard)
        self._wants_sni = wants_sni
        self._names = frozenset({self.host.lower(), "localhost"})
        self.region = Endpoint(self.host).region or region
        authorizers = Authorizers(
            timeout_s=self._hub.limits.authorizer_timeout_s, least_s=self._hub.limits.least_authorizer_s
        )
        self._gate = Gate(self._names, self.region, account, authorizers)
        for each in [_make_credentials()] if credentials is None else credentials:
            self.add_credentials(each)
        self._temporary: TemporaryDirectory[str] | None = None
        self._folder: Folder | None = None
        self._authority: Authority | None = None
        self._device: X509 | None = None
        self._contexts: dict[Way, ssl.SSLContext] = {}
        self._listeners: list[socket.socket] = []
        self._acceptors: list[asyncio.Task[None]] = []
        self._arriving: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
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
        return Endpoint(self.host, ports=self.ports, address=address, region=self.region)

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

    @property
    def ca(self) -> str:
        """The file of the authority that the endpoint's certificate is to be checked against."""
        if self._authority is None:
            raise RouteError("the emulator is not running")
        return self._authority.ca

    # Who may come in.

    @property
    def credentials(self) -> tuple[Credentials, ...]:
        """What signatures may be made with. `SigV4(emulator.credentials[0])` opens the rows that take them."""
        return tuple(self._gate.credentials.values())

    def add_credentials(self, credentials: Credentials) -> None:
        """Accept signatures made with these too, in place of those with the same access key id."""
        self._gate.credentials[credentials.access_key_id] = credentials

    def add_authorizer(
        self,
        name: str,
        function: AuthorizerFunction,
        *,
        token_key_name: str | None = None,
        public_keys: Sequence[str | bytes] = (),
        signing_disabled: bool = False,
        is_default: bool = False,
        caches_http: bool = False,
    ) -> None:
        """Register a custom authorizer, in place of one with the same name.

        function: plain or async, in place of AWS Lambda: it gets AWS's event as a dict and returns AWS's answer as one
            (isAuthenticated, principalId, disconnectAfterInSeconds, refreshAfterInSeconds, policyDocuments). A plain
            one runs in a thread of its own. It has 5 s.
        token_key_name: what it calls its token. public_keys: PEM texts of the keys that tokens are signed with; the
            function is not asked about one that none of them has signed. Both are needed unless signing_disabled.
        is_default: it is asked where a device names none. caches_http: an answer counts for more requests on the same
            connection with the same token, for refreshAfterInSeconds.

        Raises RouteError, which names the argument, and CredentialsError for a key that is none.
        """
        self._gate.authorizers.add(
            name,
            function,
            token_key_name=token_key_name,
            public_keys=public_keys,
            signing_disabled=signing_disabled,
            is_default=is_default,
            caches_http=caches_http,
        )

    def set_policy(self, *documents: str | Mapping[str, Any], authentication: str) -> None:
        """What they may do who come with a certificate ("x509") or with a signature ("sigv4"): everything, until now.

        documents: AWS IoT policies, as JSON or as what that stands for; for connections from now on.
        Raises PolicyError where one cannot be evaluated.
        """
        if authentication not in ("x509", "sigv4"):
            raise RouteError(
                'authentication: "x509" or "sigv4" is expected; an authorizer answers with its own policies'
            )
        policy = Policy(*documents)
        if authentication == "x509":
            self._gate.device_policy = policy
        else:
            self._gate.signed_policy = policy

    def write_file(self, name: str, text: str, *, is_secret: bool = False) -> Path:
        """Write a file beside the certificates, such as how to connect. name: of a file, without folders.

        is_secret: whether this user alone may read it.
        """
        if self._folder is None or Path(name).name != name or name in ("", ".."):
            raise RouteError("name: the name of a file is expected, while the emulator runs")
        return Path(self._folder.write(name, text.encode(), mode=0o600 if is_secret else 0o644))

    def stats(self) -> EmulatorStats:
        """What has happened so far."""
        return replace(self._hub.stats)

    def connections(self) -> tuple[ConnectionInfo, ...]:
        """The connections that are let in and open now, in no order."""
        found = (connection.describe() for connection in self._connections)
        return tuple(each for each in found if each is not None)

    # Life.

    async def _start(self) -> None:
        if self._wanted_folder is None:
            self._temporary = TemporaryDirectory(prefix="iotwire-emulator-")  # made with mode 0700
            self._folder = Folder(Path(self._temporary.name))
        else:
            self._folder = KeptFolder(self._wanted_folder)
        listening: list[tuple[socket.socket, int]] = []
        for service_port, local_port in self._wanted_ports.items():
            listeners = _listen(self._wanted_addresses, local_port)
            self._listeners += listeners
            listening += [(listener, service_port) for listener in listeners]
            self.ports[service_port] = listeners[0].getsockname()[1]
            self.addresses = tuple(listener.getsockname()[0] for listener in listeners)
        # In a thread: making keys takes a noticeable moment on a board.
        await asyncio.to_thread(self._make_certificates, self._folder)
        loop = asyncio.get_running_loop()
        self._acceptors = [loop.create_task(self._accept(listener, port)) for listener, port in listening]

    def _make_certificates(self, folder: Folder) -> None:
        self._authority = Authority(folder)
        own = [address for address in self.addresses if not ip_address(address).is_unspecified]
        names = dict.fromkeys([self.host, "localhost", "127.0.0.1", "::1", *own])
        certificate = self._authority.issue_server(list(names))
        ways = set().union(*map(ways_of, self.ports))
        self._contexts = {
            way: make_server_context(certificate, self._names, way, wants_sni=self._wants_sni) for way in ways
        }

    async def _accept(self, listener: socket.socket, port: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listener)
            except OSError as error:  # the peer has gone already, or this process is out of file descriptors
                _log.warning("cannot accept a connection: %s", error)
                await asyncio.sleep(0.1)
                continue
            # Before the handshake: what a peer can make us hold is bounded from its first byte on.
            if len(self._arriving) + len(self._connections) >= self._hub.limits.max_connections:
                accepted.close()
                self._hub.stats.refused_connections += 1
                continue
            arrival = Arrival(CountingSocket(accepted), join_host_port(*address[:2]), port, loop.time())
            arriving = loop.create_task(self._receive(arrival))
            self._arriving.add(arriving)
            arriving.add_done_callback(self._arriving.discard)

    async def _receive(self, arrival: Arrival) -> None:
        """Look at the ClientHello, and serve or refuse the connection; the socket is closed in any case."""
        accepted, peer = arrival.accepted, arrival.peer
        deadline = asyncio.get_running_loop().time() + self._hub.limits.handshake_timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                hello, first_bytes = await read_client_hello(accepted)
            way = find_way(hello, arrival.port, self._names, wants_sni=self._wants_sni)
        except HelloRefusedError as refusal:
            _log.info("%s: %s, refused with the alert %s", peer, refusal, Alert(refusal.alert).name)
            self._hub.stats.refused_connections += 1
            await self._answer_with_alert(accepted, refusal.alert)
        except OSError as error:  # with TimeoutError
            _log.info("%s: no ClientHello, %s", peer, str(error) or "which did not come in time")
            self._hub.stats.refused_connections += 1
            accepted.close()
        except BaseException:
            accepted.close()
            raise
        else:
            arrival.server_name = hello.server_name or ""
            await self._shake_hands(arrival, way, first_bytes, deadline)

    async def _answer_with_alert(self, accepted: socket.socket, description: int) -> None:
        """Say why, and let the peer close first: a socket that is closed with unread input resets the connection."""
        loop = asyncio.get_running_loop()
        try:
            with suppress(OSError):
                async with asyncio.timeout(self._hub.limits.close_timeout_s):
                    await loop.sock_sendall(accepted, Alert(description).encode())
                    accepted.shutdown(socket.SHUT_WR)
                    while await loop.sock_recv(accepted, 16 * 1024):
                        pass
        finally:
            accepted.close()

    async def _shake_hands(self, arrival: Arrival, way: Way, first_bytes: bytes, deadline: float) -> None:
        limits = self._hub.limits
        loop = asyncio.get_running_loop()
        connection: Connection
        if way.protocol == "mqtt" and way.is_x509:
            admission = Admission(self._gate, arrival, way)
            connection = self._make_device(admission)
        else:
            connection = HttpConnection(
                self._hub,
                self._gate,
                arrival,
                way,
                on_device=self._serve_device,
                on_gone=self._connections.discard,
            )
        FIRST_BYTES.set(first_bytes)
        try:
            await loop.connect_accepted_socket(
                lambda: connection.stream,
                arrival.accepted,
                ssl=self._contexts[way],
                ssl_handshake_timeout=max(deadline - loop.time(), 0.001),
                ssl_shutdown_timeout=limits.close_timeout_s,
            )
        except OSError as error:  # with ssl.SSLError
            text = str(error) or type(error).__name__
            if getattr(error, "reason", None) == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
                text += "; signatures and custom authorizers, which need none, have port 443 without ALPN, or with mqtt"
            _log.info("%s: the TLS handshake failed: %s", arrival.peer, text)
            connection.stream_lost(error)
        except BaseException:
            connection.stream_lost(None)
            connection.stream.abort()
            raise
        else:
            arrival.handshake_s = loop.time() - arrival.started_at
            # It may have been lost, or have become another, by what came together with the end of the handshake.
            if not connection.stream.is_lost and not (
                isinstance(connection, HttpConnection) and connection.is_handed_over
            ):
                self._connections.add(connection)
                connection.begin()

    def _serve_device(self, http: HttpConnection, shown: Pass | None, rest: bytes) -> None:
        """A connection goes on as a device's, as a WebSocket where that was asked for. rest: what has come of that."""
        admission = Admission(self._gate, http.arrival, http.way, shown)
        device = self._make_device(admission)
        self._connections.discard(http)
        self._connections.add(device)
        device.begin()
        transport, stream = http.stream.transport, device.stream
        if isinstance(stream, FramedStream):
            ServerWebSocket(transport, stream, self._hub.limits.max_frame_bytes).begin(rest)
        else:
            transport.set_protocol(stream)
            stream.connection_made(transport)
            give(rest, stream)

    async def _stop(self) -> None:
        for task in (*self._acceptors, *self._arriving):
            task.cancel()
        await asyncio.gather(*self._acceptors, *self._arriving, return_exceptions=True)
        self._acceptors.clear()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        ending = list(self._connections)
        for connection in ending:
            connection.shut_down()
        await asyncio.gather(*(connection.stream.wait_lost() for connection in ending))
        await self._hub.close()
        if self._folder is not None:
            self._folder.close()
            self._folder = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
        self._authority = self._device = None
        self._contexts = {}
        self.ports, self.addresses = {}, ()


def _make_credentials() -> Credentials:
    """Credentials in the form of AWS's own, that no account has."""
    alphabet = string.ascii_uppercase + "234567"
    key_id = "AKIA" + "".join(secrets.choice(alphabet) for _ in range(16))
    return Credentials(key_id, secrets.token_urlsafe(30))


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
