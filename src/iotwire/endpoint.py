"""Where to connect: `Endpoint` for AWS IoT Core, `Broker` for any other MQTT broker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import EllipsisType

from .credentials import X509, Authentication
from .errors import RouteError
from .route import (
    AUTHENTICATION_NAMES,
    PROTOCOL_NAMES,
    ROUTES,
    Attempt,
    Route,
    ServiceRoute,
    Tls,
    TlsPlan,
    is_host_name,
    is_ip_literal,
    read_alpn,
    read_host,
    read_port,
)

__all__ = ["ROUTES", "Broker", "Endpoint", "EndpointRoute", "Route", "ServiceRoute"]

# Rows of the matrix that this release has a transport for. The others are told apart from what no release will have.
_BUILT_ROWS = frozenset({1, 2})


@dataclass(frozen=True, slots=True)
class EndpointRoute(Route):
    """A route to AWS IoT Core: one row of the matrix (`row`) for one endpoint. Made by `Endpoint.route`."""

    row: ServiceRoute
    server_name: str
    host: str
    port: int
    alpn: tuple[str, ...]
    auth: X509

    @property
    def protocol(self) -> str:
        return self.row.protocol

    def prepare(self, now: datetime) -> Attempt:  # noqa: ARG002 -- a certificate is presented, not signed with the time
        tls = TlsPlan(self.server_name, self.alpn, certificate=self.auth, ca=self.auth.ca)
        return Attempt(self.host, self.port, tls)


class Endpoint:
    """An endpoint of AWS IoT Core, such as "a1b2c3d4e5-ats.iot.eu-central-1.amazonaws.com".

    host: its full DNS name. The service wants it in SNI, so an IP address is a RouteError.
    region: of the service, where a signature needs it.
    ports: local ports for the service's own, such as {8883: 41883}: for tests, tunnels and port forwarding.
    address: a name or an IPv4 or IPv6 address to connect to in place of `host`, which stays the name in SNI and in
        the certificate check: for VPC endpoints, tunnels and tests.
    """

    def __init__(
        self,
        host: str,
        *,
        region: str | None = None,
        ports: Mapping[int, int] | None = None,
        address: str | None = None,
    ) -> None:
        bare = read_host(host)
        if is_ip_literal(bare):
            raise RouteError(
                f"host: {host} is an IP address, which SNI cannot carry; the endpoint's DNS name is expected"
            )
        self.host = bare
        self.region = region
        self.ports = {
            read_port(service, "ports (service side)"): read_port(local, "ports (local side)")
            for service, local in (ports or {}).items()
        }
        self.address = None if address is None else read_host(address)

    def __repr__(self) -> str:
        return f"Endpoint({self.host!r}, region={self.region!r}, ports={self.ports!r}, address={self.address!r})"

    def route(
        self,
        protocol: str,
        auth: Authentication,
        *,
        port: int | None = None,
        alpn: str | EllipsisType | None = ...,
    ) -> EndpointRoute:
        """The route for a protocol ("mqtt", "wss" or "https") and a way to authenticate, such as `X509`.

        port: of the service; None means the first that the matrix has for this pair.
        alpn: `...` means what the matrix says, None no ALPN at all (for configurable endpoints), or a name.

        Raises RouteError, which says what is accepted, where the service does not accept the combination; and where
        it does, but this release has no transport for it.
        """
        row = _find_row(protocol, auth, port)
        if row.number not in _BUILT_ROWS or not isinstance(auth, X509):
            built = "; ".join(str(ROUTES[number - 1]) for number in sorted(_BUILT_ROWS))
            raise RouteError(f"not in this release: {row}, though the service accepts it. This release has: {built}")
        return EndpointRoute(
            row=row,
            server_name=self.host,
            host=self.address or self.host,
            port=self.ports.get(row.port, row.port),
            alpn=read_alpn(alpn, default=row.alpn),
            auth=auth,
        )


def _find_row(protocol: str, auth: Authentication, port: int | None) -> ServiceRoute:
    kind = getattr(auth, "authentication", None)
    if protocol not in PROTOCOL_NAMES:
        raise RouteError(f'protocol: one of "mqtt", "wss" and "https" is expected, not {protocol!r}')
    if kind not in AUTHENTICATION_NAMES:
        raise RouteError(f"auth: X509(...) or another way to authenticate is expected, not a {type(auth).__name__}")
    rows = [row for row in ROUTES if row.protocol == protocol]
    rows_of_pair = [row for row in rows if row.authentication == kind]
    for row in rows_of_pair:
        if port is None or row.port == port:
            return row
    asked = f"{PROTOCOL_NAMES[protocol]}, {AUTHENTICATION_NAMES[kind]}" + ("" if port is None else f", port {port}")
    accepted = "; ".join(map(str, rows_of_pair or rows))
    raise RouteError(f"the service does not accept {asked}. It accepts: {accepted}")


class Broker(Route):
    """A route to any other MQTT broker.

    host: a DNS name, an IPv4 or an IPv6 address (in brackets or not).
    tls: None for plain TCP; True for TLS against the operating system's certificate authorities; an `X509` for
        mutual TLS; a `Tls` for all settings. For a host that is an IP address no SNI is sent, and the broker's
        certificate must name that address.
    username, password: for CONNECT. They go unencrypted over plain TCP.
    websocket_path: not in this release.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: bool | X509 | Tls | None = None,
        username: str | None = None,
        password: str | bytes | None = None,
        websocket_path: str | None = None,
    ) -> None:
        if websocket_path is not None:
            raise RouteError("websocket_path: MQTT over WebSocket is not in this release")
        self.host = read_host(host)
        self.port = read_port(port)
        self._tls = self._plan_tls(tls)
        self._username = username
        self._password = password.encode() if isinstance(password, str) else password

    def __repr__(self) -> str:
        # The user name is left out too: brokers are known that take a token there.
        return f"Broker({self.host!r}, {self.port}, tls={self._tls!r})"

    @property
    def protocol(self) -> str:
        return "mqtt"

    def prepare(self, now: datetime) -> Attempt:  # noqa: ARG002 -- nothing here depends on the time
        return Attempt(self.host, self.port, self._tls, self._username, self._password)

    def _plan_tls(self, tls: bool | X509 | Tls | None) -> TlsPlan | None:
        if tls is None or tls is False:
            return None
        if tls is True:
            tls = Tls()
        elif isinstance(tls, X509):
            tls = Tls(certificate=tls)
        elif not isinstance(tls, Tls):
            raise RouteError(f"tls: None, True, X509(...) or Tls(...) is expected, not a {type(tls).__name__}")
        server_name = self.host.partition("%")[0] if tls.server_name is None else tls.server_name
        if not is_host_name(server_name) and not is_ip_literal(server_name):
            raise RouteError(f"server_name: a DNS name is expected, not {server_name!r}")
        ca = tls.ca if tls.ca is not None or tls.certificate is None else tls.certificate.ca
        return TlsPlan(server_name, read_alpn(tls.alpn), certificate=tls.certificate, ca=ca)
