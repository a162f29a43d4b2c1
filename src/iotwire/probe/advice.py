"""What the answers to a probe mean for a device in that network, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .hello import TLS_1_2, TLS_1_3, ProbeResult

__all__ = ["advise"]

STRANGER = (
    "Something that does not speak TLS answers on this port: the service behind it does not, or a proxy or portal of "
    "this network answers in its place. Ask for the address of the proxy, and connect through it."
)
REFUSED = (
    "A TLS server answers, and refuses every hello: the alert says why. unrecognized_name is about the name in SNI, "
    "no_application_protocol about ALPN, protocol_version and handshake_failure about versions and cipher suites."
)
DROPPED = (
    "Connections are made, but no hello is answered: a firewall lets TCP pass and drops TLS, or the service on this "
    "port is another one. Try another port of the service (8883 or 443), or a proxy of this network."
)
NAME_REFUSED = (
    "Hellos are answered without SNI, and none with it: the name is not one of this endpoint's, or a filter on the way "
    "goes by the name. The service needs SNI: check the name, then ask for it to be let through."
)
NAME_NEEDED = "Without SNI the answer is another one: the endpoint goes by the name. Routes always send it."
NEWEST_REFUSED = "TLS 1.3 is not spoken here, and TLS 1.2 is: clients use that."
NEWEST_DROPPED = (
    "Hellos for TLS 1.3 are dropped, and those for TLS 1.2 answered: a device on the way does not know 1.3, and may "
    "drop clients that offer both."
)
OLDER_REFUSED = "TLS 1.2 is not spoken here, and TLS 1.3 is."
ALL_WELL = (
    "Every hello is answered: nothing on the way objects to the name, to ALPN or to a version. If connecting fails all "
    "the same, look at certificates and policies next: iotwire preflight."
)
ALPN_DROPPED = (
    "Hellos are dropped when they offer ALPN {}, and answered without: a device on the way filters by ALPN. Port 8883, "
    "where MQTT has no ALPN, or a proxy of this network may be open."
)
ALPN_REFUSED = "The endpoint, or what answers in its place, does not accept ALPN {}."
ALPN_IGNORED = (
    "ALPN {} is offered and nothing is selected: the server has no ALPN, or a proxy that opens TLS took it out. On "
    "port 443 the service tells by it which protocol a device with a certificate speaks."
)
OPENED = (
    "A certificate comes for this name that Amazon has not issued: a proxy of this network opens TLS, and no client "
    "certificate passes through it. Ask for this name to be let through unopened."
)
# Endpoints whose certificates are of Amazon's own authorities; older ones, without "ats", have them of others.
AMAZONS = re.compile(r".*[-.]ats\.iot\..*\.amazonaws\.com(\.cn)?", flags=re.IGNORECASE)


def advise(results: Sequence[ProbeResult]) -> list[str]:
    """Sentences for people, the most important first. results: of one `probe_endpoint`."""
    if any(result.outcome == "not-tls" for result in results):
        return [STRANGER]
    if not any(result.is_accepted for result in results):
        return [DROPPED if any(result.is_dropped for result in results) else REFUSED]
    named = [result for result in results if result.hello.server_name is not None]
    unnamed = [result for result in results if result.hello.server_name is None]
    if named and not any(result.is_accepted for result in named):
        return [NAME_REFUSED]
    if any(_is_opened(result) for result in named):
        return [OPENED]
    advice = _advise_on_alpn(named or unnamed) + _advise_on_versions(named or unnamed)
    if named and not any(result.is_accepted for result in unnamed):
        advice.append(NAME_NEEDED)
    return advice or [ALL_WELL]


def _advise_on_alpn(results: Sequence[ProbeResult]) -> list[str]:
    """About hellos that differ in ALPN alone."""
    plain = {result.hello.version for result in results if not result.hello.alpn and result.is_accepted}
    offering = [result for result in results if result.hello.alpn and result.hello.version in plain]
    found = (
        (ALPN_DROPPED, _names(result for result in offering if result.is_dropped)),
        (ALPN_REFUSED, _names(result for result in offering if result.outcome == "alert")),
        (
            ALPN_IGNORED,
            _names(r for r in offering if r.outcome == "selected" and r.version == TLS_1_2 and r.alpn is None),
        ),
    )
    return [text.format(names) for text, names in found if names]


def _advise_on_versions(results: Sequence[ProbeResult]) -> list[str]:
    newest = [result for result in results if result.hello.version == TLS_1_3]
    older = [result for result in results if result.hello.version == TLS_1_2]
    if any(result.is_accepted for result in newest) != any(result.is_accepted for result in older):
        if any(result.is_accepted for result in newest):
            return [OLDER_REFUSED]
        return [NEWEST_REFUSED if any(result.outcome == "alert" for result in newest) else NEWEST_DROPPED]
    return []


def _is_opened(result: ProbeResult) -> bool:
    if result.issuer is None or result.hello.server_name is None or not AMAZONS.fullmatch(result.hello.server_name):
        return False
    return not any(word in result.issuer for word in ("O=Amazon", "O=Starfield"))


def _names(results: Iterable[ProbeResult]) -> str:
    return ", ".join(dict.fromkeys(name for result in results for name in result.hello.alpn))
