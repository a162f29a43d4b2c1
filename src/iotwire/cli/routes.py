"""`iotwire routes`: the matrix of the service as a table, and which rows are open to what is given here."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from textwrap import fill
from typing import Any

from ..endpoint import ROUTES, Endpoint, EndpointRoute
from ..errors import IotwireError
from ..route import AUTHENTICATION_NAMES, PROTOCOL_NAMES, ServiceRoute, join_host_port
from .arguments import Commands
from .printing import as_json, printable
from .proofs import CUSTOM_VARIABLES, make_auth, make_certificate, named_authentication
from .routing import (
    VARIABLES,
    add_host_arguments,
    add_route_arguments,
    add_route_parser,
    find_target,
    make_endpoint,
    read_alpn,
    read_way,
    take_host,
)
from .settings import setting
from .terminal import LINE_WIDTH, Style

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    parser = add_route_parser(
        commands,
        "routes",
        run,
        summary="show the routes of AWS IoT Core, and which of them are open from here",
        description="Print the route matrix of AWS IoT Core. With an endpoint, say for each row whether this release "
        "and the certificate, credentials or authorizer that are given open it, and if not, why. Nothing is sent "
        "to the endpoint; who gives credentials is asked for them.",
        epilog=f"{VARIABLES}\n\n"
        "Exit status: 0, or 1 where an endpoint is given and no row is open, 2 for wrong arguments.",
    )
    add_host_arguments(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="(default: text)")
    add_route_arguments(parser)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What there is to say of one row from here."""

    is_open: bool
    text: str


def run(options: argparse.Namespace) -> int:
    take_host(options)
    if options.broker:
        options.parser.error("--broker: a broker of another kind has no such routes")
    verdicts: dict[int, Verdict] = {}
    heading = "AWS IoT Core"
    if options.host or os.environ.get("IOTWIRE_ENDPOINT"):
        options.auth = options.auth or "x509"  # whatever its name: a matrix is of an endpoint
        target = find_target(options)
        endpoint = make_endpoint(options, target)
        heading = endpoint.host + (f", region {endpoint.region}" if endpoint.region else ", region unknown")
        verdicts = _judge_all(options, endpoint)
    if options.format == "json":
        for row in ROUTES:
            print(as_json(_as_dict(row, verdicts.get(row.number))))
    else:
        _print_table(Style.of_terminal(), heading, verdicts)
    return 1 if verdicts and not any(verdict.is_open for verdict in verdicts.values()) else 0


def _judge_all(options: argparse.Namespace, endpoint: Endpoint) -> dict[int, Verdict]:
    now = datetime.now(UTC)
    auths: dict[str, Any] = {}
    closed: dict[str, str] = {}
    for kind in AUTHENTICATION_NAMES:
        try:
            auths[kind] = _find_auth(options, kind, now)
        except IotwireError as error:
            closed[kind] = str(error)
    found = {}
    for row in ROUTES:
        kind = row.authentication
        found[row.number] = (
            Verdict(False, closed[kind]) if kind in closed else _judge(options, endpoint, row, auths[kind], now)
        )
    return found


def _find_auth(options: argparse.Namespace, kind: str, now: datetime) -> Any:
    """What proves who this is in this way; raises IotwireError, whose text says what is missing."""
    if kind == "custom":
        is_given = named_authentication(options) == "custom" or any(map(os.environ.get, CUSTOM_VARIABLES))
        if not is_given and options.auth != "custom":  # which may be the endpoint's own one, without a name
            raise IotwireError("no authorizer is named: --authorizer-name, --token-key-name")
        return make_auth(options, kind, read_way(options))
    if kind == "x509" and make_certificate(options) is None:
        raise IotwireError("no certificate is given: --cert, --key")
    auth = make_auth(options, kind, read_way(options))
    if kind == "sigv4":
        auth.get(now)  # type: ignore[union-attr]
    return auth


def _judge(options: argparse.Namespace, endpoint: Endpoint, row: ServiceRoute, auth: Any, now: datetime) -> Verdict:
    """Whether a row can be used: a route is made, and all that one connection needs."""
    try:
        route: EndpointRoute = endpoint.route(
            row.protocol,
            auth,
            port=row.port,
            alpn=read_alpn(options),
            **read_way(options),
            ca=setting(options.cafile, "IOTWIRE_CA"),
        )
        route.prepare(now)
        report = route.preflight(now=now)
    except IotwireError as error:
        return Verdict(False, str(error))
    errors = [finding for finding in report.findings if finding.level == "error"]
    if errors:
        return Verdict(False, f"{errors[0].subject} {errors[0].text}")
    is_elsewhere = (route.host, route.port) != (endpoint.host, row.port)
    return Verdict(True, join_host_port(route.host, route.port) if is_elsewhere else "open")


def _as_dict(row: ServiceRoute, verdict: Verdict | None) -> dict[str, Any]:
    return {**asdict(row), **({} if verdict is None else {"is_open": verdict.is_open, "text": verdict.text})}


def _print_table(style: Style, heading: str, verdicts: dict[int, Verdict]) -> None:
    print(style.strong(heading))
    head = ("row", "protocol", "authentication", "port", "ALPN", "can", "from here" if verdicts else "")
    rows = [
        (
            str(row.number),
            PROTOCOL_NAMES[row.protocol],
            AUTHENTICATION_NAMES[row.authentication],
            str(row.port),
            row.alpn or "none",
            ", ".join(row.operations),
        )
        for row in ROUTES
    ]
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(rows[0]))]
    print("\n  " + style.dim("  ".join([*map(str.ljust, head, widths), head[-1]]).rstrip()))
    for row, line in zip(ROUTES, rows, strict=True):
        cells = "  ".join(map(str.ljust, line, widths))
        verdict = verdicts.get(row.number)
        if verdict is None:
            print(f"  {cells}".rstrip())
        elif verdict.is_open:
            print(f"  {cells}  {style.good(verdict.text)}")
        else:
            print(f"  {cells}  {style.bad('closed')}")
    reasons: dict[str, list[int]] = {}
    for number, verdict in verdicts.items():
        if not verdict.is_open:
            reasons.setdefault(verdict.text, []).append(number)
    for text, numbers in reasons.items():
        rows_named = f"row{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}: "
        print("\n" + fill(rows_named + printable(text), LINE_WIDTH, initial_indent="  ", subsequent_indent="  "))
