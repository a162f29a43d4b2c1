"""What a probe says, and what it hears: the hellos, and the server's first words in answer. No socket is in here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from ..errors import TlsDecodeError
from ..route import ROUTES, is_ip_literal
from ..tls import Alert, ClientHello, ServerHello
from ..tls_names import suite_name, version_name
from .certificate import find_certificate, read_issuer

__all__ = ["SERVICE_PORT", "TLS_1_2", "TLS_1_3", "Answer", "ProbeHello", "ProbeResult", "plan_hellos"]

SERVICE_PORT = 443
# Those of the matrix, which the service tells apart on that port.
SERVICE_ALPN = tuple(dict.fromkeys(row.alpn for row in ROUTES if row.alpn is not None))

# A first answer is a kilobyte or two; whoever sends more before it makes sense speaks something else.
MAX_ANSWER_BYTES = 64 * 1024
MAX_WARNINGS = 4
STRANGER_BYTES = 60  # shown of something that is not TLS

TLS_1_2, TLS_1_3 = 0x0303, 0x0304
ALERT, HANDSHAKE = b"\x15", b"\x16"  # content types, each the first byte of a record (RFC 8446, 5.1)
RECORD_HEADER = 5
WARNING = 1  # an alert level, which TLS 1.2 has (RFC 5246, 7.2)
CLOSE_NOTIFY = 0
X25519 = 0x001D


@dataclass(frozen=True, slots=True)
class ProbeHello:
    """What one ClientHello offers.

    version: 0x0303 (TLS 1.2) or 0x0304 (TLS 1.3), one alone. server_name: None for no SNI. alpn: in order.
    """

    version: int
    server_name: str | None
    alpn: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The bytes of its records, with a random of their own each time.

        Raises EncodeError for a name that SNI or ALPN cannot carry.
        """
        # Any 32 bytes are a public key of X25519 (RFC 7748, 5): it need not be one that we could go on with.
        # What looks like the session of an older version is there for devices on the way (RFC 8446, D.4).
        is_newest = self.version == TLS_1_3
        return ClientHello(
            self.server_name,
            self.alpn,
            versions=(self.version,),
            key_shares=((X25519, os.urandom(32)),) if is_newest else (),
            session_id=os.urandom(32) if is_newest else b"",
        ).encode()


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What came back for one hello.

    outcome: "selected" (a ServerHello), "retry" (a HelloRetryRequest: the server wants another key share), "alert",
        "closed", "reset", "silent" (nothing within the time), "not-tls", or "unreachable" (no connection for it).
    version, cipher_suite: what the server selects, as numbers of the standards, or None.
    alpn: what it selects, in TLS 1.2; TLS 1.3 encrypts it. alert: the number of the alert that ended it, or None.
    issuer: who signed the server's certificate, in TLS 1.2; None where it is not seen or cannot be read.
    peer: what was connected to, such as "203.0.113.7:443". text: all of this in words.
    elapsed_s: seconds from the hello to the answer.
    """

    hello: ProbeHello
    peer: str
    outcome: str
    text: str
    elapsed_s: float
    version: int | None = None
    cipher_suite: int | None = None
    alpn: str | None = None
    alert: int | None = None
    issuer: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the server would go on with a handshake."""
        return self.outcome in ("selected", "retry")

    @property
    def is_dropped(self) -> bool:
        """Whether nothing was answered, though a connection was made."""
        return self.outcome in ("closed", "reset", "silent")


def plan_hellos(
    host: str, port: int, *, alpn: Sequence[str] | None = None, server_name: str | None = None
) -> list[ProbeHello]:
    """The hellos for an endpoint; the arguments are those of `probe_endpoint`."""
    if alpn is None:
        alpn = SERVICE_ALPN if port == SERVICE_PORT else ()
    name = server_name if server_name is not None else None if is_ip_literal(host) else host
    names: tuple[str | None, ...] = (None,) if name is None else (name, None)
    offers: list[tuple[str, ...]] = [(), *((each,) for each in dict.fromkeys(alpn))]
    return [ProbeHello(version, name, offer) for name in names for offer in offers for version in (TLS_1_3, TLS_1_2)]


class Answer:
    """What has come back for one hello so far. Its clock starts when it is made."""

    def __init__(self, hello: ProbeHello, peer: str) -> None:
        self._hello = hello
        self._peer = peer
        self._started = monotonic()
        self._received = bytearray()
        self._warnings: list[str] = []
        self._selected: ProbeResult | None = None  # of a ServerHello, after which the certificate is waited for

    @property
    def is_selected(self) -> bool:
        """Whether there is a ServerHello, and what is waited for is the certificate alone."""
        return self._selected is not None

    def feed(self, data: bytes) -> ProbeResult | None:
        """The result, or None while it takes more bytes. No bytes: the other side has closed."""
        if not data:
            return self.end("closed", "closed without an answer")
        self._received += data
        try:
            return self._understand()
        except TlsDecodeError as error:
            return self._tell("not-tls", f"not well-formed TLS: {error}")

    def end(self, outcome: str, text: str) -> ProbeResult:
        """The result where no more will come."""
        if self._selected is not None:
            return self._selected
        if self._received:
            text += f", after {len(self._received)} bytes"
        return self._tell(outcome, text)

    def _tell(self, outcome: str, text: str, **found: Any) -> ProbeResult:
        if self._warnings:
            text += f", after the warning {', '.join(self._warnings)}"
        return ProbeResult(self._hello, self._peer, outcome, text, monotonic() - self._started, **found)

    def _understand(self) -> ProbeResult | None:
        if self._selected is not None:
            return self._look_for_certificate(self._selected)
        while self._received[:1] == ALERT:
            alert = Alert.decode(self._received)
            if alert is None:
                return None
            is_last = alert.level != WARNING or alert.description == CLOSE_NOTIFY
            if is_last or len(self._warnings) == MAX_WARNINGS:
                text = f"alert {alert.name} ({alert.description})"
                return self._tell("alert", text, alert=alert.description)
            # "I do not know that name, but go on" (RFC 6066, 3): the ServerHello comes after it.
            self._warnings.append(alert.name)
            del self._received[: RECORD_HEADER + int.from_bytes(self._received[3:RECORD_HEADER], "big")]
        if self._received[:1] not in (b"", HANDSHAKE):
            return self._tell("not-tls", _describe_stranger(bytes(self._received)))
        hello = ServerHello.decode(self._received)
        if hello is not None:
            result = self._tell_of(hello)
            if result.outcome == "retry" or hello.version == TLS_1_3:
                return result
            self._selected = result
            return self._look_for_certificate(result)
        if len(self._received) > MAX_ANSWER_BYTES:
            return self._tell("not-tls", f"{len(self._received)} bytes without a ServerHello")
        return None

    def _tell_of(self, answer: ServerHello) -> ProbeResult:
        parts = [suite_name(answer.cipher_suite)]
        if answer.version != self._hello.version:  # it may not do that (RFC 8446, 4.2.1), and an old one might
            parts.insert(0, version_name(answer.version))
        if answer.is_hello_retry_request:
            parts.append("wants another key share")
        if answer.version == TLS_1_3:
            parts += ["ALPN encrypted in 1.3"] if self._hello.alpn else []
        elif self._hello.alpn or answer.alpn_protocol is not None:
            # In ASCII, for a server can select any bytes, and this may go to a terminal.
            name = answer.alpn_protocol
            parts.append("no ALPN" if name is None else f"ALPN {ascii(name)[1:-1]}")
        return self._tell(
            "retry" if answer.is_hello_retry_request else "selected",
            ", ".join(parts),
            version=answer.version,
            cipher_suite=answer.cipher_suite,
            alpn=answer.alpn_protocol,
        )

    def _look_for_certificate(self, result: ProbeResult) -> ProbeResult | None:
        """The result with what the certificate says, which TLS 1.2 sends in the clear; None while it is incomplete."""
        certificate = find_certificate(self._received)
        if certificate is None and len(self._received) <= MAX_ANSWER_BYTES:
            return None
        return replace(result, issuer=read_issuer(certificate)) if certificate else result


def _describe_stranger(data: bytes) -> str:
    """What something that does not speak TLS has said: its first line where it is text, some bytes otherwise."""
    line = data.partition(b"\n")[0].rstrip(b"\r")[:STRANGER_BYTES]
    if line and all(0x20 <= each < 0x7F for each in line):
        return f'not TLS: "{line.decode()}"'
    return f"not TLS: {data[:8].hex(' ')}"
