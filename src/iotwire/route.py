"""The route matrix of AWS IoT Core as data, and what a route is.

A `Route` knows how to reach one broker: which port, which ALPN name, which credentials. It makes an `Attempt`, all that
one connection needs, afresh each time, because signatures expire and certificates are rotated. No socket is opened
here: that is the transport's work.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from types import EllipsisType
from typing import TYPE_CHECKING, Protocol

from .credentials import X509, Source, describe_source, read_source
from .errors import RouteError
from .limits import AwsIotLimits

if TYPE_CHECKING:
    from .preflight import Preflight
    from .proxy import Proxy

__all__ = ["ROUTES", "Attempt", "Route", "ServiceRoute", "Tls", "TlsPlan"]

AUTHENTICATION_NAMES = {
    "x509": "X.509 client certificate",
    "sigv4": "Signature Version 4",
    "custom": "custom authorizer",
}
PROTOCOL_NAMES = {"mqtt": "MQTT", "wss": "MQTT over WSS", "https": "HTTPS"}


@dataclass(frozen=True, slots=True)
class ServiceRoute:
    """One row of the matrix: a way to reach the service that it accepts.

    protocol: "mqtt", "wss" or "https". authentication: "x509", "sigv4" or "custom".
    port: of the service, before `Endpoint(ports=...)` maps it. alpn: the name to offer, or None for no ALPN at all.
    operations: what can be done over it, of "publish" and "subscribe".
    """

    number: int
    protocol: str
    authentication: str
    port: int
    alpn: str | None
    operations: tuple[str, ...]

    def __str__(self) -> str:
        alpn = f"ALPN {self.alpn}" if self.alpn else "no ALPN"
        protocol, authentication = PROTOCOL_NAMES[self.protocol], AUTHENTICATION_NAMES[self.authentication]
        return f"{protocol}, {authentication}, port {self.port}, {alpn}"


_BOTH = ("publish", "subscribe")
_PUBLISH = ("publish",)

ROUTES = (
    ServiceRoute(1, "mqtt", "x509", 8883, None, _BOTH),
    ServiceRoute(2, "mqtt", "x509", 443, "x-amzn-mqtt-ca", _BOTH),
    ServiceRoute(3, "mqtt", "custom", 443, "mqtt", _BOTH),
    ServiceRoute(4, "wss", "sigv4", 443, None, _BOTH),
    ServiceRoute(5, "wss", "custom", 443, None, _BOTH),
    ServiceRoute(6, "https", "sigv4", 443, None, _PUBLISH),
    ServiceRoute(7, "https", "x509", 443, "x-amzn-http-ca", _PUBLISH),
    ServiceRoute(8, "https", "x509", 8443, None, _PUBLISH),
    ServiceRoute(9, "https", "custom", 443, None, _PUBLISH),
)


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """What the TLS handshake of one attempt needs.

    server_name: what the server's certificate must be for. A name is sent as SNI; an IP address is not, because SNI
        cannot carry one (RFC 6066, 3).
    alpn: the protocol names to offer, in order; empty for none. ca: as in `X509`.
    """

    server_name: str
    alpn: tuple[str, ...] = ()
    certificate: X509 | None = None
    ca: Source | None = None

    def __repr__(self) -> str:
        ca = None if self.ca is None else describe_source(self.ca)
        return f"TlsPlan({self.server_name!r}, alpn={self.alpn!r}, certificate={self.certificate!r}, ca={ca})"


@dataclass(frozen=True, slots=True)
class Attempt:
    """All that one connection attempt needs.

    host: the name or address to connect to, without brackets. tls: None for plain TCP.
    username, password: for CONNECT; neither is in the repr, because a user name may carry a token.
    authority: what the Host field of a request names (RFC 9110, 7.2), for HTTPS and WebSockets.
    proxy: what the connection goes through. interface, source_address: what it leaves by; see `Endpoint.route`.
    websocket_path: what a WebSocket is asked for, with its query, such as "/mqtt"; None for MQTT without one. Signed,
        it is a secret: not in the repr.
    headers: names and values that a WebSocket upgrade, or each HTTPS request, carries besides. query: what the target
        of each HTTPS request has besides. signer: signs each HTTPS request. None of them is in the repr.
    """

    host: str
    port: int
    tls: TlsPlan | None = None
    username: str | None = field(default=None, repr=False)
    password: bytes | None = field(default=None, repr=False)
    authority: str = ""
    proxy: Proxy | None = None
    interface: str | None = None
    source_address: str | None = None
    websocket_path: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: str = field(default="", repr=False)
    signer: RequestSigner | None = field(default=None, repr=False)

    @property
    def presents_certificate(self) -> bool:
        """Whether a server that asks for a certificate gets one: some that do not accept it just close."""
        return self.tls is not None and self.tls.certificate is not None


class RequestSigner(Protocol):
    """Signs the HTTPS requests of one connection."""

    def sign(
        self, method: str, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, now: datetime
    ) -> dict[str, str]:
        """The headers to add. now: an aware time."""
        ...

    def is_stale(self, now: datetime) -> bool:
        """Whether what it signs with ends soon, so that another connection is to be made."""
        ...


class Route(ABC):
    """How to reach one broker. Made by `Endpoint.route`, or directly as a `Broker`."""

    @property
    @abstractmethod
    def protocol(self) -> str:
        """What is spoken: "mqtt", "wss" for MQTT over WebSockets (without TLS "ws"), or "https" for HTTP/1.1."""

    @property
    def server(self) -> str:
        """Where a session is that is begun over this route: routes that have the same lead to one server.

        This stands in log lines and statistics, too. A route of your own may name its server as it likes.
        """
        return f"{getattr(self, 'host', '')}:{getattr(self, 'port', '')}"

    @property
    def interface(self) -> str | None:
        """The network interface that it leaves by, None where the routing table has the choice."""
        return None

    def moved_to(self, host: str, port: int | None) -> Route | None:  # noqa: ARG002 -- see `Broker`
        """The same route to another server, which this one's has named (MQTT 5.0, 4.13); None where that is no use.

        port: None for the same one.
        """
        return None

    @property
    def limits(self) -> AwsIotLimits | None:
        """What the service allows one connection beyond what its CONNACK can tell; None where nothing is known."""
        return None

    @property
    def max_connection_s(self) -> float | None:
        """How many seconds the service keeps one connection open; None for as long as it is used.

        A client is back on another one before that.
        """
        return None

    @property
    def is_signed(self) -> bool:
        """Whether what `prepare` makes is signed with the time, so that it counts with a clock that is right alone."""
        return False

    @abstractmethod
    def prepare(self, now: datetime) -> Attempt:
        """Everything for one connection attempt, afresh: call it again for the next one.

        now: an aware time, for what is signed or expires. May read files, or ask for credentials over a network, so a
        client calls it away from its loop.
        """

    def preflight(self, *, now: datetime | None = None) -> Preflight:
        """Look at what a client will send first over this route, without sending anything.

        The report has the ClientHello that the `ssl` module makes for it, decoded, and what was checked: SNI and ALPN
        against what the service accepts, versions, the files of the certificate, and what was overridden. Each finding
        says what to do. Reads files, so not to be called on an event loop's thread.

        now: an aware time to judge dates by; None for the clock's.
        """
        from .preflight import check_route

        return check_route(self, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS settings of a `Broker`. Verification of its certificate and name is always on.

    certificate: the client's own, or None where the broker asks for none. ca: as in `X509`; it wins over that one's.
    alpn: one name to offer, or None. server_name: what SNI and the certificate check use in place of the host.

    Raises CredentialsError where `ca` can be neither a path nor what is in a file.
    """

    certificate: X509 | None = None
    ca: Source | None = None
    alpn: str | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if self.ca is not None:
            read_source(self.ca, "ca")

    def __repr__(self) -> str:
        ca = None if self.ca is None else describe_source(self.ca)
        return f"Tls(certificate={self.certificate!r}, ca={ca}, alpn={self.alpn!r}, server_name={self.server_name!r})"


# The letters of host names, and the underscore that some private networks use. Upper case is as good as lower case.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def is_ip_literal(host: str) -> bool:
    """Whether this is an IPv4 or IPv6 address, with a zone ("fe80::1%eth0") or without."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_host_name(host: str) -> bool:
    """Whether this is a DNS name that SNI can carry.

    A last label of digits alone is refused, because resolvers take such names ("127.1") for IPv4 addresses.
    """
    labels = host.split(".")
    return len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdecimal()


def read_host(host: str) -> str:
    """The host to connect to, without brackets. Raises RouteError unless it is a DNS name or an IP address."""
    if isinstance(host, str):
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if is_ip_literal(bare) and (bare is host or ":" in bare):
            return bare
        if is_host_name(host):
            return host
    raise RouteError(f"host: a DNS name or an IP address is expected, without scheme, port or path, not {host!r}")


def join_host_port(host: str, port: int, default_port: int | None = None) -> str:
    """Both as a URL and a Host header have them (RFC 3986, 3.2): an IPv6 address in brackets, no default port."""
    host = f"[{host}]" if ":" in host else host
    return host if port == default_port else f"{host}:{port}"


def read_port(port: int, name: str = "port") -> int:
    """The port itself. Raises RouteError unless it is 1 to 65535."""
    if type(port) is not int or not 1 <= port <= 65535:
        raise RouteError(f"{name}: an int from 1 to 65535 is expected, not {port!r}")
    return port


def read_interface(interface: object) -> str | None:
    """The name of a network interface, or None. Raises RouteError unless Linux could have one of that name."""
    if interface is None:
        return None
    # IFNAMSIZ is 16, with the zero byte at the end; dev_valid_name() of the kernel refuses these.
    if not isinstance(interface, str) or not re.fullmatch(r"(?!\.{1,2}$)[!-.0-9;-~]{1,15}", interface):
        raise RouteError('interface: the name of a network interface is expected, such as "eth0" or "wwan0"')
    return interface


def read_source_address(address: object) -> str | None:
    """An address to connect from, without brackets, or None. Raises RouteError unless it is an IPv4 or IPv6 address."""
    if address is None:
        return None
    if isinstance(address, str):
        bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
        if is_ip_literal(bare):
            return bare
    raise RouteError("source_address: an IPv4 or IPv6 address of this machine is expected")


def read_alpn(alpn: str | EllipsisType | None, default: str | None = None) -> tuple[str, ...]:
    """The protocol names to offer: the given one, none for None, `default` for `...`."""
    name = default if isinstance(alpn, EllipsisType) else alpn
    if name is None:
        return ()
    if not name.isascii() or not 1 <= len(name) <= 255:
        raise RouteError("alpn: a name of 1 to 255 ASCII characters, None or ... is expected")
    return (name,)
