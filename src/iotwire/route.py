"""The route matrix of AWS IoT Core as data, and what a route is.

A `Route` knows how to reach one broker: which port, which ALPN name, which credentials. It makes an `Attempt`, all that
one connection needs, afresh each time, because signatures expire and certificates are rotated. No socket is opened
here: that is the transport's work.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from types import EllipsisType

from .credentials import X509
from .errors import RouteError

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
    ca: str | os.PathLike[str] | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """All that one connection attempt needs.

    host: the name or address to connect to, without brackets. tls: None for plain TCP.
    username, password: for CONNECT; neither is in the repr, because a user name may carry a token.
    """

    host: str
    port: int
    tls: TlsPlan | None = None
    username: str | None = field(default=None, repr=False)
    password: bytes | None = field(default=None, repr=False)


class Route(ABC):
    """How to reach one broker. Made by `Endpoint.route`, or directly as a `Broker`."""

    @property
    @abstractmethod
    def protocol(self) -> str:
        """What is spoken: "mqtt" for MQTT over a stream of bytes."""

    @abstractmethod
    def prepare(self, now: datetime) -> Attempt:
        """Everything for one connection attempt, afresh: call it again for the next one.

        now: an aware time, for what is signed or expires. May read files, so a client calls it away from its loop.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS settings of a `Broker`. Verification of its certificate and name is always on.

    certificate: the client's own, or None where the broker asks for none. ca: as in `X509`; it wins over that one's.
    alpn: one name to offer, or None. server_name: what SNI and the certificate check use in place of the host.
    """

    certificate: X509 | None = None
    ca: str | os.PathLike[str] | None = None
    alpn: str | None = None
    server_name: str | None = None


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


def read_port(port: int, name: str = "port") -> int:
    """The port itself. Raises RouteError unless it is 1 to 65535."""
    if type(port) is not int or not 1 <= port <= 65535:
        raise RouteError(f"{name}: an int from 1 to 65535 is expected, not {port!r}")
    return port


def read_alpn(alpn: str | EllipsisType | None, default: str | None = None) -> tuple[str, ...]:
    """The protocol names to offer: the given one, none for None, `default` for `...`."""
    name = default if isinstance(alpn, EllipsisType) else alpn
    if name is None:
        return ()
    if not name.isascii() or not 1 <= len(name) <= 255:
        raise RouteError("alpn: a name of 1 to 255 ASCII characters, None or ... is expected")
    return (name,)
