"""Where to connect: `Endpoint` for AWS IoT Core, `Broker` for any other MQTT broker."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import EllipsisType
from typing import Any, Literal, cast

from .credentials import X509, Authentication, SigV4, Source, read_source
from .custom_auth import CustomAuth
from .errors import RouteError
from .limits import AwsIotLimits
from .proxy import Proxy
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
    join_host_port,
    read_alpn,
    read_host,
    read_interface,
    read_port,
    read_source_address,
)

__all__ = ["ROUTES", "Broker", "Endpoint", "EndpointRoute", "Route", "ServiceRoute"]

# The classes that can be used on a row, by its `authentication`.
_KINDS = {"x509": X509, "sigv4": SigV4, "custom": CustomAuth}
# Where a custom authorizer's credentials can go, by protocol; the first of them is taken where nothing is said.
_PLACES = {"mqtt": ("connect",), "wss": ("headers", "query", "connect"), "https": ("headers", "query")}
# What the service asks a WebSocket for, and how many seconds it keeps one open.
WEBSOCKET_PATH = "/mqtt"
WEBSOCKET_MAX_S = 86_400.0
# The service's own names, and those of its VPC endpoints, in each partition of AWS:
#   a1b2c3-ats.iot.eu-central-1.amazonaws.com, a1b2c3.iot.cn-north-1.amazonaws.com.cn, data.iot-fips.us-gov-west-1...
#   vpce-0a1b-2c3d.data.iot.eu-central-1.vpce.amazonaws.com (the documentation has iot.data in places)
_SERVICE_NAME = re.compile(
    r"(?:[a-z0-9_-]+\.)*(?:iot(?:-fips)?|vpce-[a-z0-9-]+\.iot\.(?:data|credentials))"
    r"\.(?P<region>[a-z]+(?:-[a-z]+)+-\d+)(?:\.vpce)?\.amazonaws\.(?:com|com\.cn|eu)"
)


Place = Literal["headers", "query", "connect"]


@dataclass(frozen=True, slots=True)
class EndpointRoute(Route):
    """A route to AWS IoT Core: one row of the matrix (`row`) for one endpoint. Made by `Endpoint.route`."""

    row: ServiceRoute
    server_name: str
    host: str
    port: int
    alpn: tuple[str, ...]
    auth: X509 | SigV4 | CustomAuth
    proxy: Proxy | None = None
    interface: str | None = None
    source_address: str | None = None
    region: str | None = None
    place: Place | None = None
    ca: Source | None = field(default=None, repr=False)

    @property
    def protocol(self) -> str:
        return self.row.protocol

    @property
    def server(self) -> str:
        return self.server_name  # whatever port and protocol it is reached by

    @property
    def limits(self) -> AwsIotLimits:
        return AwsIotLimits()

    @property
    def max_connection_s(self) -> float | None:
        return WEBSOCKET_MAX_S if self.row.protocol == "wss" else None

    @property
    def is_signed(self) -> bool:
        return isinstance(self.auth, SigV4)

    def prepare(self, now: datetime) -> Attempt:
        certificate = self.auth if isinstance(self.auth, X509) else None
        ca = self.ca if self.ca is not None or certificate is None else certificate.ca
        attempt = Attempt(
            self.host,
            self.port,
            TlsPlan(self.server_name, self.alpn, certificate=certificate, ca=ca),
            # The service's own port, whatever local one it is mapped to: a request is for the service.
            authority=join_host_port(self.server_name, self.row.port, 443),
            proxy=self.proxy,
            interface=self.interface,
            source_address=self.source_address,
            websocket_path=WEBSOCKET_PATH if self.row.protocol == "wss" else None,
        )
        if isinstance(self.auth, SigV4):
            return self._prepare_signed(attempt, self.auth, now)
        if isinstance(self.auth, CustomAuth):
            return self._prepare_custom(attempt, self.auth)
        return attempt

    def _prepare_signed(self, attempt: Attempt, auth: SigV4, now: datetime) -> Attempt:
        from .signing import HttpsSigner, sign_websocket_path

        assert self.region is not None  # Endpoint.route has seen to that
        if self.row.protocol == "wss":
            path = sign_websocket_path(auth, self.server_name, self.region, now)
            return replace(attempt, websocket_path=path)
        return replace(attempt, signer=HttpsSigner(auth, self.region, now))

    def _prepare_custom(self, attempt: Attempt, auth: CustomAuth) -> Attempt:
        if self.place == "connect":
            username: str | None = auth.mqtt_username()
            attempt = replace(attempt, username=username or None, password=auth.password)
        else:
            if self.place == "query":
                attempt = replace(attempt, query=auth.query())
            else:
                attempt = replace(attempt, headers=tuple(auth.headers().items()))
            if self.row.protocol == "wss":  # the authorizer sees the MQTT user name and password too
                attempt = replace(attempt, username=auth.username or None, password=auth.password)
                if attempt.query:
                    attempt = replace(attempt, websocket_path=f"{WEBSOCKET_PATH}?{attempt.query}", query="")
        if attempt.password is not None and attempt.username is None:
            attempt = replace(attempt, username="")  # MQTT 3.1.1 has no password without a user name [MQTT-3.1.2-22]
        return attempt


class Endpoint:
    """An endpoint of AWS IoT Core, such as "a1b2c3d4e5-ats.iot.eu-central-1.amazonaws.com".

    host: its full DNS name. The service wants it in SNI, so an IP address is a RouteError.
    region: of the service, where a signature needs it. It is read from `host` where that is one of the service's own
        names or of its VPC endpoints; a region given here wins. None for a custom domain without one.
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
        self.region = _region_of(bare) if region is None else region
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
        proxy: Proxy | None = None,
        interface: str | None = None,
        source_address: str | None = None,
        place: Place | None = None,
        ca: Source | None = None,
    ) -> EndpointRoute:
        """The route for a protocol ("mqtt", "wss" or "https") and a way to authenticate: `X509`, `SigV4`, `CustomAuth`.

        port: of the service; None means the first that the matrix has for this pair.
        alpn: `...` means what the matrix says, None no ALPN at all (for configurable endpoints), or a name.
        proxy: what to go through, such as Proxy("http://proxy.example:3128").
        interface: the network interface to leave by, such as "eth0" or "wwan0", on Linux (SO_BINDTODEVICE; before Linux
            5.7 that needs CAP_NET_RAW). source_address: an IPv4 or IPv6 address of this machine to connect from: only
            addresses of its family are tried. Both steer this connection (with a proxy, the one to the proxy), and not
            DNS: names are resolved as the system is set up, which may be over another interface.
        place: where a `CustomAuth` goes over WebSockets and HTTPS: "headers" (None means that), "query", or, with
            WebSockets, "connect" for user name and password of CONNECT, for which some endpoints want alpn="mqtt".
        ca: as in `X509`, for those that have none of their own; it wins over that one's.

        Raises RouteError, which says what is accepted, where the service does not accept the combination; where a
        signature needs a region and none is known; and CredentialsError where `ca` can be no file.
        """
        row = _find_row(protocol, auth, port)
        kind = _KINDS[row.authentication]
        if not isinstance(auth, (X509, SigV4, CustomAuth)) or not isinstance(auth, kind):
            raise RouteError(f"auth: {kind.__name__}(...) is expected, not a {type(auth).__name__}")
        if isinstance(auth, SigV4) and self.region is None:
            raise RouteError(
                f"region: a signature needs the region of the service, and {self.host} does not tell it: "
                'give it, as in Endpoint(host, region="eu-central-1")'
            )
        if ca is not None:
            read_source(ca, "ca")
        return EndpointRoute(
            row=row,
            server_name=self.host,
            host=self.address or self.host,
            port=self.ports.get(row.port, row.port),
            alpn=read_alpn(alpn, default=row.alpn),
            auth=auth,
            proxy=_read_proxy(proxy),
            interface=read_interface(interface),
            source_address=read_source_address(source_address),
            region=self.region,
            place=_read_place(place, row),
            ca=ca,
        )


def _region_of(host: str) -> str | None:
    found = _SERVICE_NAME.fullmatch(host.lower())
    return None if found is None else found["region"]


def _read_proxy(proxy: Proxy | None) -> Proxy | None:
    if proxy is not None and not isinstance(proxy, Proxy):
        raise RouteError(f"proxy: Proxy(...) or None is expected, not a {type(proxy).__name__}")  # a URL has secrets
    return proxy


def _read_place(place: object, row: ServiceRoute) -> Place | None:
    if row.authentication != "custom":
        if place is not None:
            raise RouteError("place: is for a CustomAuth; other credentials have one place alone")
        return None
    allowed = _PLACES[row.protocol]
    if place is None:
        place = allowed[0]
    if place not in allowed:
        shown = " or ".join(f'"{each}"' for each in allowed)
        raise RouteError(f"place: {shown} is expected for {PROTOCOL_NAMES[row.protocol]}, not {place!r}")
    return cast("Place", place)


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


# What a request's target may hold (RFC 3986, 3.3 and 3.4), and what its header fields may (RFC 9110, 5.6.2 and 5.5).
_TARGET = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?|")
# Those that make the request what it is.
_OWN_HEADERS = frozenset({"connection", "content-length", "host", "transfer-encoding", "upgrade"})


def _read_path(path: object) -> str | None:
    if path is None:
        return None
    if isinstance(path, str) and _TARGET.fullmatch(path):
        return path
    raise RouteError('websocket_path: a path from "/" on is expected, percent-encoded, with or without a query')


def _read_headers(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    pairs: tuple[tuple[Any, Any], ...] = tuple((headers or {}).items())
    for name, value in pairs:
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise RouteError("websocket_headers: a name is not one of a header field")
        if name.lower() in _OWN_HEADERS or name.lower().startswith("sec-websocket-"):
            raise RouteError(f"websocket_headers: {name} is what makes the request one for a WebSocket")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise RouteError(f"websocket_headers: the value of {name} is not printable ASCII")
    return pairs


class Broker(Route):
    """A route to any other MQTT broker.

    host: a DNS name, an IPv4 or an IPv6 address (in brackets or not).
    tls: None for plain TCP; True for TLS against the operating system's certificate authorities; an `X509` for
        mutual TLS; a `Tls` for all settings. For a host that is an IP address no SNI is sent, and the broker's
        certificate must name that address.
    username, password: for CONNECT. They go unencrypted over plain TCP.
    websocket_path: what to ask a WebSocket for, such as "/mqtt", where the broker speaks MQTT over WebSockets; it may
        have a query. None for MQTT without them. websocket_headers: what the request for it carries besides.
    proxy, interface, source_address: as for `Endpoint.route`.
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
        websocket_headers: Mapping[str, str] | None = None,
        proxy: Proxy | None = None,
        interface: str | None = None,
        source_address: str | None = None,
    ) -> None:
        self.host = read_host(host)
        self.port = read_port(port)
        self._tls_setting = tls
        self._tls = self._plan_tls(tls)
        self._username = username
        self._password = password.encode() if isinstance(password, str) else password
        self._proxy = _read_proxy(proxy)
        self._interface = read_interface(interface)
        self._source_address = read_source_address(source_address)
        self._path = _read_path(websocket_path)
        self._headers = _read_headers(websocket_headers)
        if self._headers and self._path is None:
            raise RouteError("websocket_headers: are of no use without websocket_path")

    def __repr__(self) -> str:
        # The user name is left out too: brokers are known that take a token there.
        ways = {"proxy": self._proxy, "interface": self._interface, "source_address": self._source_address}
        shown = "".join(f", {name}={way!r}" for name, way in ways.items() if way is not None)
        if self._path is not None:  # a query, and headers, may have a token in them
            path, mark, _ = self._path.partition("?")
            shown += f", websocket_path={path + ('?***' if mark else '')!r}"
        return f"Broker({self.host!r}, {self.port}, tls={self._tls!r}{shown})"

    @property
    def protocol(self) -> str:
        return "mqtt" if self._path is None else "ws" if self._tls is None else "wss"

    @property
    def interface(self) -> str | None:
        return self._interface

    def moved_to(self, host: str, port: int | None) -> Broker | None:
        moved = copy.copy(self)
        try:
            moved.host = read_host(host)
            moved.port = self.port if port is None else read_port(port)
            moved._tls = moved._plan_tls(self._tls_setting)  # the certificate is to be that server's
        except RouteError:
            return None
        return moved

    def prepare(self, now: datetime) -> Attempt:  # noqa: ARG002 -- nothing here depends on the time
        return Attempt(
            self.host,
            self.port,
            self._tls,
            self._username,
            self._password,
            proxy=self._proxy,
            interface=self._interface,
            source_address=self._source_address,
            authority="" if self._path is None else self._authority,
            websocket_path=self._path,
            headers=self._headers,
        )

    @property
    def _authority(self) -> str:
        host = self.host.partition("%")[0]  # a zone is this machine's
        return join_host_port(host, self.port, 80 if self._tls is None else 443)

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
