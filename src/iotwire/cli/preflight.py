"""`iotwire preflight`: what a route will send first, looked at before anything is sent."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from textwrap import fill

from ..preflight import Finding, Preflight
from ..route import join_host_port
from ..tls_names import group_name, signature_name, suite_name
from .arguments import Commands
from .routing import add_host_arguments, add_route_arguments, add_route_parser, make_route, take_host
from .terminal import LINE_WIDTH, Style

__all__ = ["add_parser", "run"]


def add_parser(commands: Commands) -> None:
    parser = add_route_parser(
        commands,
        "preflight",
        run,
        summary="look at the TLS hello and the certificate of a route, without sending anything",
        description="Make the ClientHello that a client will send to an endpoint of AWS IoT Core or to a broker, "
        "decode it, and check it and the files against what the service asks for. Nothing is sent. The exit "
        "status is 1 if there is an error.",
    )
    add_host_arguments(parser)
    add_route_arguments(parser)


def run(options: argparse.Namespace) -> int:
    take_host(options)
    report = make_route(options).preflight()
    _print_report(Style.of_terminal(), report)
    return 0 if report.is_ok else 1


def _print_report(style: Style, report: Preflight) -> None:
    print(style.strong(join_host_port(report.host, report.port)))
    print(f"{report.description}\n")
    width = max(len(finding.subject) for finding in report.findings)
    for finding in report.findings:
        _print_finding(style, finding, width)
    hello = report.hello
    if hello is not None:
        print(f"\n  {style.dim('The ClientHello:')}")
        _print_list("suites", map(suite_name, hello.cipher_suites))
        _print_list("groups", map(group_name, hello.groups))
        _print_list("signatures", map(signature_name, hello.signature_algorithms))
    errors = sum(finding.level == "error" for finding in report.findings)
    warnings = sum(finding.level == "warning" for finding in report.findings)
    print(f"\n  {_count(errors, 'error')}, {_count(warnings, 'warning')}; nothing was sent")


def _print_finding(style: Style, finding: Finding, width: int) -> None:
    mark = {"ok": style.good, "error": style.bad, "warning": style.strong}[finding.level]
    print(f"  {mark(finding.level.ljust(7))}  {finding.subject:<{width}}  {finding.text}")
    if finding.advice:
        indent = " " * (13 + width)
        print(fill(finding.advice, LINE_WIDTH, initial_indent=indent, subsequent_indent=indent))


def _print_list(name: str, values: Iterable[str]) -> None:
    indent = " " * 16
    print(fill(", ".join(values), LINE_WIDTH, initial_indent=f"    {name:<12}", subsequent_indent=indent))


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
