"""`iotwire probe`: what an endpoint answers to ClientHellos of each kind, as a table."""

from __future__ import annotations

import argparse
import asyncio
import socket
from itertools import groupby
from textwrap import fill

from ..probe import TLS_1_3, ProbeHello, ProbeResult, advise, probe_endpoint
from .arguments import Commands, place, positive
from .routing import add_uplink_arguments, read_way
from .terminal import LINE_WIDTH, Style

__all__ = ["add_parser", "run"]

DEFAULT_PORT = 443


def add_parser(commands: Commands) -> None:
    parser = commands.add_parser(
        "probe",
        help="ask an endpoint what TLS it accepts, without a certificate",
        description="Send ClientHellos for TLS 1.3 and 1.2, with and without SNI, and with each ALPN name and none, "
        "and show what the endpoint, or something on the way to it, selects or which alert it answers. It needs no "
        "certificate, and finishes no handshake: a tool for networks in which a port does not work. The exit status "
        "is 1 if no hello is accepted.",
    )
    parser.add_argument("place", type=place, metavar="HOST[:PORT]", help="the endpoint (default port: 443)")
    parser.add_argument(
        "--alpn",
        action="append",
        metavar="NAME",
        help="an ALPN name to offer; may be repeated (default: on port 443 those of AWS IoT Core, elsewhere none)",
    )
    parser.add_argument("--sni", metavar="NAME", help="the name for SNI (default: HOST)")
    parser.add_argument(
        "--timeout", type=positive, default=10.0, metavar="S", help="seconds for each connection, and for each answer"
    )
    add_uplink_arguments(parser)
    families = parser.add_mutually_exclusive_group()
    for digit, family in (("4", socket.AF_INET), ("6", socket.AF_INET6)):
        families.add_argument(
            f"-{digit}", dest="family", action="store_const", const=family, default=0, help=f"over IPv{digit} alone"
        )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    host, port = options.place
    results = asyncio.run(
        probe_endpoint(
            host,
            port or DEFAULT_PORT,
            alpn=options.alpn,
            server_name=options.sni,
            timeout_s=options.timeout,
            family=options.family,
            **read_way(options),
        )
    )
    _print_results(Style.of_terminal(), results)
    return 0 if any(result.is_accepted for result in results) else 1


def _print_results(style: Style, results: list[ProbeResult]) -> None:
    """A line for each hello, those with the same SNI under one head, and what to think of it."""
    width = max(len(_alpn_of(result.hello)) for result in results)
    print(f"{style.strong(results[0].peer)}, {len(results)} hellos")
    for name, group in groupby(results, key=lambda result: result.hello.server_name):
        print(f"\n  {style.strong('without SNI' if name is None else f'SNI {name}')}")
        print(style.dim(f"  {'ALPN':<{width}}  TLS         time  answer"))
        for result in group:
            version = "1.3" if result.hello.version == TLS_1_3 else "1.2"
            mark = style.good if result.is_accepted else style.bad
            took = f"{result.elapsed_s * 1000:>9.1f} ms"
            print(f"  {_alpn_of(result.hello):<{width}}  {version}{took}  {mark(result.text)}")
    for issuer in dict.fromkeys(result.issuer for result in results if result.issuer is not None):
        print(f"\n  {style.dim('The certificate is issued by')} {issuer}")
    print()
    for sentence in advise(results):
        print(fill(sentence, LINE_WIDTH, initial_indent="  ", subsequent_indent="  "))


def _alpn_of(hello: ProbeHello) -> str:
    return ", ".join(hello.alpn) or "none"
