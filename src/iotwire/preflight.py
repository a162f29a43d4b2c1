"""Looking at a route before it is used: the very ClientHello that will be sent, and whether it is as it has to be.

The hello comes from the `ssl` module, out of the context that the transport will use, into memory: no packet is sent.
No key, password or user name is in a report.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from .endpoint import EndpointRoute
from .errors import CredentialsError
from .route import Attempt, Route, ServiceRoute, TlsPlan, is_ip_literal
from .tls import ClientHello, is_grease
from .tls_names import version_name
from .transport.pem import Validity
from .transport.tls import ClientContext, make_client_context

__all__ = ["Finding", "Preflight", "check_route"]

TLS_1_2, TLS_1_3 = 0x0303, 0x0304
# What a TCP segment carries on an Ethernet link, with room for a tunnel's header (RFC 9293, 3.7.1).
SEGMENT_BYTES = 1400
# Before this code was written no clock can be right.
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
# A certificate that ends within that time is one to renew.
RENEW_WITHIN = timedelta(days=14)
# Names as "a1b2c3.iot.eu-central-1.amazonaws.com"; today's have "a1b2c3-ats.iot...", in China "a1b2c3.ats.iot...".
LEGACY_ENDPOINT = re.compile(r"[a-z0-9]+\.iot\.[a-z0-9-]+\.amazonaws\.com(\.cn)?", flags=re.IGNORECASE)
BROKERS = {"mqtt": "a broker", "ws": "a broker over WebSockets", "wss": "a broker over WebSockets"}
OTHER_SSL = "the ssl module does not send what it was told: look for code or an OpenSSL configuration that changes it"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. level: "ok", "warning" or "error". advice: what to do, or "" where all is well."""

    level: str
    subject: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.level}: {self.subject}: {self.text}" + (f" ({self.advice})" if self.advice else "")


@dataclass(frozen=True, slots=True)
class Preflight:
    """What `Route.preflight` has found.

    description: the route in words. host, port: what will be connected to.
    hello_bytes: the records that the client will send first, but for its random values; empty without TLS.
    hello: the same decoded, or None.
    """

    description: str
    host: str
    port: int
    findings: tuple[Finding, ...]
    hello_bytes: bytes = b""
    hello: ClientHello | None = None

    @property
    def is_ok(self) -> bool:
        """Whether there is no error among the findings."""
        return all(finding.level != "error" for finding in self.findings)

    def __str__(self) -> str:
        return "\n".join([self.description, *map(str, self.findings)])


def check_route(route: Route, *, now: datetime | None = None) -> Preflight:
    """As `Route.preflight`. now: an aware time to judge by; None for the clock's."""
    now = now or datetime.now(UTC)
    findings = list(_check_clock(now))
    if isinstance(route, EndpointRoute):
        description = f"row {route.row.number} of the matrix: {route.row}"
        findings += _check_place(route)
    else:
        description = BROKERS.get(route.protocol) or f"a server of {route.protocol}"
    try:
        attempt = route.prepare(now)
    except CredentialsError as error:
        findings.append(Finding("error", "credentials", str(error), "no connection will be tried before that is right"))
        place = (route.host, route.port) if isinstance(route, EndpointRoute) else ("", 0)
        return Preflight(description, *place, tuple(findings))
    findings += _check_way(attempt)
    plan = attempt.tls
    if plan is None:
        findings.append(_check_plain(attempt))
        return Preflight(description, attempt.host, attempt.port, tuple(findings))
    context, troubles = _make_context(plan, now)
    findings += troubles
    try:
        data = _first_words(context, plan)
    except ssl.SSLError as error:
        findings.append(Finding("error", "TLS", f"OpenSSL makes no hello: {error.reason or error}", OTHER_SSL))
        return Preflight(description, attempt.host, attempt.port, tuple(findings))
    hello = ClientHello.decode(data)
    assert hello is not None, "OpenSSL writes a hello as a whole"
    row = route.row if isinstance(route, EndpointRoute) else None
    findings += _check_server_name(hello, plan)
    findings += _check_alpn(hello, plan, row)
    findings += _check_versions(hello)
    findings += _check_size(data)
    return Preflight(description, attempt.host, attempt.port, tuple(findings), data, hello)


def _check_clock(now: datetime) -> Iterator[Finding]:
    if now < EARLIEST:
        yield Finding(
            "error",
            "clock",
            f"says {now:%Y-%m-%d %H:%M} UTC, which is in the past",
            "no certificate is valid then: set the clock (NTP) before connecting",
        )


def _check_place(route: EndpointRoute) -> Iterator[Finding]:
    """What of an endpoint's route is not as the service has it."""
    if LEGACY_ENDPOINT.fullmatch(route.server_name):
        yield Finding(
            "warning",
            "endpoint",
            "is one without -ats, whose certificate is of an authority that systems trust no more",
            "take the name that `aws iot describe-endpoint --endpoint-type iot:Data-ATS` gives",
        )
    if route.port != route.row.port:
        yield Finding(
            "warning",
            "port",
            f"{route.port} in place of the service's {route.row.port}",
            "right for a tunnel, a forwarded port or a test; leave ports= away for the service itself",
        )
    else:
        yield Finding("ok", "port", str(route.port))
    if route.host != route.server_name:
        yield Finding(
            "warning",
            "address",
            f"{route.host} in place of {route.server_name}",
            "right for a VPC endpoint, a tunnel or a test; leave address= away for the service itself",
        )


def _check_way(attempt: Attempt) -> Iterator[Finding]:
    """What the connection goes through, where that is not left to the system."""
    if attempt.proxy is not None:
        yield Finding("ok", "proxy", attempt.proxy.place)
    if attempt.interface is not None:
        yield Finding("ok", "interface", attempt.interface)
    if attempt.source_address is not None:
        yield Finding("ok", "source", attempt.source_address)


def _check_plain(attempt: Attempt) -> Finding:
    has_password = attempt.password is not None or attempt.username is not None
    return Finding(
        "warning",
        "TLS",
        "none: this is plain TCP" + (", which carries user name and password for all to read" if has_password else ""),
        "right for a broker on this machine; give tls= for any other",
    )


def _make_context(plan: TlsPlan, now: datetime) -> tuple[ClientContext, list[Finding]]:
    """The context that the transport will make, or what comes closest to it where files are missing or wrong."""
    findings: list[Finding] = []
    try:
        context = make_client_context(replace(plan, certificate=None))
    except CredentialsError as error:
        findings.append(Finding("error", "CA", str(error), "give the PEM file of the server's authority"))
        plan = replace(plan, ca=None)
        context = make_client_context(replace(plan, certificate=None))
    else:
        findings += _check_authorities(context, plan)
    if plan.certificate is not None:
        try:
            context = make_client_context(plan, now=now)
        except CredentialsError as error:
            advice = "no connection will be tried before that is right"
            findings.append(Finding("error", "certificate", str(error), advice))
        else:
            findings.append(_check_validity(context.validity, now))
    return context, findings


def _check_authorities(context: ClientContext, plan: TlsPlan) -> Iterator[Finding]:
    count = context.cert_store_stats()["x509_ca"]
    if plan.ca is not None and count:
        yield Finding("ok", "CA", f"{count} given" if count > 1 else "one given")
    elif plan.ca is not None:
        yield Finding(
            "warning", "CA", "what is given is no certificate authority", "give the root of the server's certificate"
        )
    elif count or _has_system_authorities():
        yield Finding("ok", "CA", "those that the operating system trusts")
    else:
        yield Finding(
            "error",
            "CA",
            "this system trusts none",
            "install the package ca-certificates, or give ca= (for AWS IoT: AmazonRootCA1.pem)",
        )


def _has_system_authorities() -> bool:
    """Whether there is a folder of them, which OpenSSL reads when it needs one."""
    folder = ssl.get_default_verify_paths().capath  # None where there is no such folder, whatever its stub says
    try:
        return bool(folder) and bool(os.listdir(folder))
    except OSError:
        return False


def _check_validity(validity: Validity | None, now: datetime) -> Finding:
    """That of a certificate which the transport accepts, so it is valid now."""
    text = "it and its key belong together"
    if validity is None:
        return Finding("ok", "certificate", text)
    text += f"; valid until {validity.not_after:%Y-%m-%d %H:%M} UTC"
    if validity.not_after - now < RENEW_WITHIN:
        return Finding("warning", "certificate", text, "renew it: the device cannot connect any more after that")
    return Finding("ok", "certificate", text)


def _first_words(context: ClientContext, plan: TlsPlan) -> bytes:
    """What a connection of this context sends first."""
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=plan.server_name)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def _check_server_name(hello: ClientHello, plan: TlsPlan) -> Iterator[Finding]:
    wanted = None if is_ip_literal(plan.server_name) else plan.server_name
    if hello.server_name == wanted:
        yield Finding("ok", "SNI", wanted or f"none, for {plan.server_name} is an IP address, which SNI cannot carry")
    else:
        yield Finding("error", "SNI", f"{hello.server_name or 'none'}, and {wanted or 'none'} is expected", OTHER_SSL)


def _check_alpn(hello: ClientHello, plan: TlsPlan, row: ServiceRoute | None) -> Iterator[Finding]:
    if hello.alpn_protocols != plan.alpn:
        sent, wanted = _or_none(hello.alpn_protocols), _or_none(plan.alpn)
        yield Finding("error", "ALPN", f"{sent}, and {wanted} is expected", OTHER_SSL)
    elif row is not None and plan.alpn != (() if row.alpn is None else (row.alpn,)):
        yield Finding(
            "warning",
            "ALPN",
            f"{_or_none(plan.alpn)} in place of {row.alpn or 'none'}, which row {row.number} has",
            "right for an endpoint that is configured so; leave alpn= away for any other",
        )
    else:
        yield Finding("ok", "ALPN", _or_none(plan.alpn))


def _check_versions(hello: ClientHello) -> Iterator[Finding]:
    versions = [version for version in hello.versions if not is_grease(version)]
    text = ", ".join(map(version_name, versions))
    if any(version < TLS_1_2 for version in versions):
        yield Finding("error", "versions", text, OTHER_SSL)
    elif TLS_1_3 not in versions:
        yield Finding("warning", "versions", text, "OpenSSL, or its configuration on this machine, leaves out TLS 1.3")
    elif TLS_1_2 not in versions:
        yield Finding("warning", "versions", text, "the OpenSSL configuration of this machine leaves out TLS 1.2")
    else:
        yield Finding("ok", "versions", text)


def _check_size(data: bytes) -> Iterator[Finding]:
    if len(data) > SEGMENT_BYTES:
        yield Finding(
            "warning",
            "size",
            f"{len(data)} bytes, which do not fit into one packet",
            "where it is not answered, a device on the way may look at the first packet alone: let OpenSSL offer fewer "
            "groups",
        )
    else:
        yield Finding("ok", "size", f"{len(data)} bytes, in one packet")


def _or_none(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
