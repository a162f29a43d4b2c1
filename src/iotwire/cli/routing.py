"""Where a command connects, by which way, and as whom: the options that all of them have, and the route they make."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

from ..credentials import X509
from ..endpoint import ROUTES, Broker, Endpoint, EndpointRoute
from ..errors import CredentialsError
from ..proxy import Proxy
from ..route import Tls, is_ip_literal
from .arguments import Commands, port_or_pair, proxy_url, username, wrapped
from .proofs import (
    add_certificate_arguments,
    add_credentials_arguments,
    add_custom_arguments,
    check_stdin,
    guess_authentication,
    make_auth,
    make_certificate,
    named_authentication,
    read_password,
    read_username,
)
from .secrets import RefuseSecret
from .settings import described, setting

__all__ = [
    "VARIABLES",
    "Target",
    "add_host_arguments",
    "add_host_option",
    "add_route_arguments",
    "add_route_parser",
    "add_uplink_arguments",
    "find_target",
    "make_endpoint",
    "make_route",
    "read_alpn",
    "read_way",
    "take_host",
]

# What the help of a command that connects has at its end.
VARIABLES = "environment variables, which options win over:\n" + described(
    "IOTWIRE_ENDPOINT",
    "IOTWIRE_ADDRESS",
    "IOTWIRE_PORT_8883",
    "IOTWIRE_CERT",
    "IOTWIRE_KEY",
    "IOTWIRE_KEY_PASSWORD",
    "IOTWIRE_CA",
    "IOTWIRE_CLIENT_ID",
    "IOTWIRE_USERNAME",
    "IOTWIRE_PASSWORD",
    "IOTWIRE_AUTHORIZER",
    "IOTWIRE_TOKEN_KEY_NAME",
    "IOTWIRE_TOKEN",
    "IOTWIRE_TOKEN_SIGNATURE",
    "IOTWIRE_SIGNING_KEY",
    "IOTWIRE_SIGNING_KEY_PASSWORD",
    "IOTWIRE_PROXY",
    "AWS_REGION",
)
TLS_PORTS = frozenset({443, 8443, 8883})


def add_route_parser(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    description: str,
    epilog: str = VARIABLES,
) -> argparse.ArgumentParser:
    """The parser of a command that makes a route. `-h` is the host there, as in mosquitto's commands."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=wrapped(description),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--help", action="help", help="show this help message and exit")
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_host_option(parser: argparse.ArgumentParser) -> None:
    """The host of a command that connects."""
    parser.add_argument(
        "-h", "--host", metavar="HOST", help="the endpoint's full DNS name, or a broker (IOTWIRE_ENDPOINT)"
    )


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """The host of a command that looks at one: by itself, or as an option like in those that connect."""
    parser.add_argument("given_host", nargs="?", metavar="HOST", help="the endpoint's full DNS name (IOTWIRE_ENDPOINT)")
    parser.add_argument("-h", "--host", metavar="HOST", help="the same, as `iotwire pub` has it")


def take_host(options: argparse.Namespace) -> None:
    """Read what `add_host_arguments` added. Leaves with a usage error where that is no host."""
    if options.given_host and options.host:
        options.parser.error("HOST is given twice")
    options.host = options.host or options.given_host
    check_stdin(options)


def add_route_arguments(parser: argparse.ArgumentParser) -> None:
    """All that `make_route` reads, but for the host: that is an option for some commands, and none for others."""
    group = parser.add_argument_group("where to, and as whom")
    group.add_argument(
        "-p",
        "--port",
        type=port_or_pair,
        metavar="N",
        help="of the service or the broker; SERVICE=LOCAL for a local port in the place of the service's",
    )
    group.add_argument(
        "--protocol",
        choices=("mqtt", "wss", "https", "ws"),
        help="(default: mqtt, with signatures wss); ws, without TLS, for brokers alone",
    )
    group.add_argument(
        "--auth",
        choices=("x509", "sigv4", "custom"),
        help="how to prove who this is (default: by what is given: a certificate, a profile, an authorizer)",
    )
    group.add_argument(
        "--broker", action="store_true", help="HOST is an MQTT broker of another kind, and no endpoint of AWS IoT Core"
    )
    group.add_argument("--tls", action="store_true", help="TLS to a broker (default: with --cafile, --cert, port 8883)")
    group.add_argument("--websocket-path", metavar="PATH", default="/mqtt", help="of a broker (default: /mqtt)")
    group.add_argument("-u", "--username", type=username, metavar="NAME", help="the MQTT user name, without a token")
    group.add_argument("--password-file", metavar="FILE", help="the MQTT password (IOTWIRE_PASSWORD itself)")
    group.add_argument(
        "-P",
        "--pw",
        "--password",
        dest="password",
        action=RefuseSecret,
        instead="set IOTWIRE_PASSWORD, or give --password-file",
    )
    add_certificate_arguments(parser)
    add_credentials_arguments(parser)
    add_custom_arguments(parser)
    _add_way_arguments(parser)


def _add_way_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the way there")
    group.add_argument(
        "--address", metavar="ADDRESS", help="connect to this in place of HOST, whose name stays (IOTWIRE_ADDRESS)"
    )
    group.add_argument(
        "--alpn", "--tls-alpn", metavar="NAME", help='the ALPN name, or "none" (default: what the service has there)'
    )
    add_uplink_arguments(group)


def add_uplink_arguments(group: argparse._ActionsContainer) -> None:
    """What a connection goes through and leaves by: `probe` has that too."""
    group.add_argument(
        "--proxy", type=proxy_url, metavar="URL", help="http://HOST:PORT or socks5://HOST:PORT (IOTWIRE_PROXY)"
    )
    group.add_argument("--interface", metavar="NAME", help="the network interface to leave by, such as eth0")
    group.add_argument("-A", "--source-address", metavar="ADDRESS", help="an address of this machine to leave by")


@dataclass(frozen=True, slots=True)
class Target:
    """The host that is meant. is_named: by IOTWIRE_ENDPOINT, so that the other variables of that endpoint hold."""

    host: str
    is_endpoint: bool
    is_named: bool


def find_target(options: argparse.Namespace) -> Target:
    """Which host, and whether it is an endpoint of AWS IoT Core. Leaves with a usage error where there is none."""
    named = os.environ.get("IOTWIRE_ENDPOINT") or None
    host: str = options.host or named or ""
    if not host:
        options.parser.error("no host: give -h HOST, or set IOTWIRE_ENDPOINT")
    is_named = named is not None and host.lower() == named.lower()
    is_endpoint = not options.broker and (
        is_named
        or bool(options.auth or options.region or options.protocol == "https" or named_authentication(options))
        or (not is_ip_literal(host.strip("[]")) and Endpoint(host).region is not None)
    )
    if is_endpoint and options.protocol == "ws":
        options.parser.error("--protocol ws: the service wants TLS; wss is what it takes")
    if options.broker and (options.auth or named_authentication(options) or options.protocol == "https"):
        options.parser.error("--broker: a broker has neither --auth, and what belongs to it, nor --protocol https")
    return Target(host, is_endpoint, is_named)


def make_endpoint(options: argparse.Namespace, target: Target) -> Endpoint:
    """The endpoint, at its local address and ports where it has some."""
    ports, address = {}, options.address
    if target.is_named:
        address = setting(address, "IOTWIRE_ADDRESS")
        for service in sorted({row.port for row in ROUTES}):
            if text := os.environ.get(f"IOTWIRE_PORT_{service}"):
                try:
                    ports[service] = int(text)
                except ValueError:
                    raise CredentialsError(f"IOTWIRE_PORT_{service}: a port is expected, not {text}") from None
    if isinstance(options.port, tuple):
        ports |= dict([options.port])
    endpoint = Endpoint(target.host, region=options.region, ports=ports, address=address)
    if endpoint.region is None:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None
        endpoint = Endpoint(target.host, region=region, ports=ports, address=address)
    return endpoint


def make_route(options: argparse.Namespace) -> EndpointRoute | Broker:
    """The route that the options mean. Raises RouteError and CredentialsError; leaves with a usage error."""
    target = find_target(options)
    if not target.is_endpoint:
        return _make_broker(options, target)
    kind = guess_authentication(options, options.protocol)
    protocol = options.protocol or ("wss" if kind == "sigv4" else "mqtt")
    way = read_way(options)
    auth = make_auth(options, kind, way)
    if kind != "custom" and (options.username or options.password_file):
        options.parser.error(f"--username, --password-file: have no use with --auth {kind}")
    return make_endpoint(options, target).route(
        protocol,
        auth,
        port=options.port[0] if isinstance(options.port, tuple) else options.port,
        alpn=read_alpn(options),
        **way,
        place=options.place if kind == "custom" else None,
        ca=setting(options.cafile, "IOTWIRE_CA"),
    )


def read_way(options: argparse.Namespace) -> dict[str, Any]:
    """By which way, as arguments of `Endpoint.route` and `Broker`."""
    url = setting(options.proxy, "IOTWIRE_PROXY")
    return {
        "proxy": None if url is None else Proxy(url),
        "interface": options.interface,
        "source_address": options.source_address,
    }


def read_alpn(options: argparse.Namespace) -> str | EllipsisType | None:
    """As `Endpoint.route` takes it."""
    found: str | None = options.alpn
    return ... if found is None else None if found == "none" else found


def _make_broker(options: argparse.Namespace, target: Target) -> Broker:
    host = target.host
    # A user name and a password in the variables of one endpoint are not for a broker that is named beside it.
    has_variables = target.is_named or not os.environ.get("IOTWIRE_ENDPOINT")
    is_websocket = options.protocol in ("ws", "wss")
    is_tls = options.protocol == "wss" or (
        options.protocol != "ws" and bool(options.tls or options.cafile or options.cert or options.port in TLS_PORTS)
    )
    if isinstance(options.port, tuple):
        options.parser.error("--port SERVICE=LOCAL: is for endpoints of AWS IoT Core; a broker has one port")
    certificate: X509 | None = None
    if is_tls:  # else the variables, which are for an endpoint, do not concern it
        certificate = make_certificate(options)
    alpn = None if options.alpn == "none" else options.alpn
    address = options.address or host
    tls = Tls(
        certificate=certificate,
        ca=setting(options.cafile, "IOTWIRE_CA"),
        alpn=alpn,
        server_name=host if options.address else None,
    )
    usual = (443 if is_tls else 80) if is_websocket else 8883 if is_tls else 1883
    return Broker(
        address,
        options.port or usual,
        tls=tls if is_tls else None,
        username=read_username(options) if has_variables else options.username,
        password=read_password(options) if has_variables or options.password_file else None,
        websocket_path=options.websocket_path if is_websocket else None,
        **read_way(options),
    )
