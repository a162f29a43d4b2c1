"""Certificates of both sides: those that are not accepted, those that are not valid, those that are replaced."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from iotwire import X509, Backoff, BlockingClient, Broker, CredentialsError, Proxy, Tls
from iotwire.client.backoff import is_refusal
from networks import (
    ON_EVERY_CLIENT,
    RelayingProxy,
    accept_mqtt,
    can_listen,
    failure_of,
    read_until_closed,
    serving,
)
from scripted_threads import until


class Certificates:
    """An authority, and contexts of servers that it has something to do with."""

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("cryptography")
        from iotwire.emulator.pki import Authority

        self._folder = folder
        self.authority = Authority(folder)

    def server(self, names: list[str] | None = None, *, asks: bool = False) -> ssl.SSLContext:
        issued = self.authority.issue_server(names or ["127.0.0.1", "::1", "broker.test"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.cert, issued.key)
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.authority.ca)
        return context

    def server_of(self, begin: timedelta, end: timedelta) -> ssl.SSLContext:
        """With a certificate that is valid from then to then, from now."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued = self.authority.issue_server(["127.0.0.1"])
        self.redate(issued, begin, end)
        context.load_cert_chain(issued.cert, issued.key)
        return context

    def redate(self, issued: X509, begin: timedelta, end: timedelta, serial: int = 5) -> None:
        """Replace its certificate by one that is valid from then to then, from now."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        path = Path(str(issued.cert))
        old = x509.load_pem_x509_certificate(path.read_bytes())
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            old.issuer, old.subject, old.public_key(), serial, now + begin, now + end, list(old.extensions)
        )
        signed = builder.sign(self.authority._key, hashes.SHA256())
        beside = path.with_suffix(".new")
        beside.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        beside.replace(path)

    def stranger(self) -> Any:
        from iotwire.emulator.pki import Authority

        folder = self._folder / "strange"
        folder.mkdir(exist_ok=True)
        return Authority(folder)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def serving_tls(context: ssl.SSLContext, host: str = "127.0.0.1") -> AbstractContextManager[int]:
    def serve(connected: socket.socket) -> None:
        tls = context.wrap_socket(connected, server_side=True, do_handshake_on_connect=False)
        try:
            tls.do_handshake()
        except ssl.SSLError:
            # The alert is on its way: a socket that is closed with unread input would send a reset after it.
            with socket.socket(fileno=tls.detach()) as plain:
                plain.settimeout(20)
                read_until_closed(plain)
            return
        with tls:
            accept_mqtt(tls)

    return serving(serve, host)


DAY = timedelta(days=1)
SERVERS: dict[str, Any] = {
    "of another authority": (
        lambda ours: ours.server(),
        lambda ours: Tls(ca=ours.stranger().ca),
        r"certificate is not accepted: .*AmazonRootCA1\.pem",
    ),
    "of none that the system trusts": (
        lambda ours: ours.server(),
        lambda ours: Tls(),
        r"certificate is not accepted: .*ca=",
    ),
    "expired": (
        lambda ours: ours.server_of(-2 * DAY, -DAY),
        lambda ours: Tls(ca=ours.authority.ca),
        r"certificate is not accepted: certificate has expired\. This machine's clock says \d{4}-\d\d-\d\d ",
    ),
    "not yet valid": (
        lambda ours: ours.server_of(DAY, 2 * DAY),
        lambda ours: Tls(ca=ours.authority.ca),
        r"certificate is not accepted: certificate is not yet valid\. This machine's clock says ",
    ),
    "for another name": (
        lambda ours: ours.server(["elsewhere.test"]),
        lambda ours: Tls(ca=ours.authority.ca, server_name="broker.test"),
        r"certificate is not accepted: Hostname mismatch, .*'broker\.test'",
    ),
    "for a name and no address": (
        lambda ours: ours.server(["elsewhere.test"]),
        lambda ours: Tls(ca=ours.authority.ca),
        r"certificate is not accepted: IP address mismatch, .*'127\.0\.0\.1'",
    ),
}


@ON_EVERY_CLIENT
@pytest.mark.parametrize("case", SERVERS)
def test_a_server_whose_certificate_is_not_accepted(certificates: Certificates, connect: Any, case: str) -> None:
    make_context, make_tls, message = SERVERS[case]
    with serving_tls(make_context(certificates)) as port:
        error = failure_of(connect, Broker("127.0.0.1", port, tls=make_tls(certificates)))
    assert error.step == "tls"
    assert error.alert is None
    assert re.search(message, str(error)), str(error)
    assert is_refusal(error)


@ON_EVERY_CLIENT
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=["1.3", "1.2"])
@pytest.mark.parametrize("has_one", [False, True], ids=["none", "of another authority"])
def test_a_client_certificate_that_is_not_accepted(
    certificates: Certificates, connect: Any, newest: ssl.TLSVersion, has_one: bool
) -> None:
    context = certificates.server(asks=True)
    context.maximum_version = newest
    own = certificates.stranger().issue_device("device") if has_one else None
    with serving_tls(context) as port:
        tls = Tls(ca=certificates.authority.ca, certificate=own)
        error = failure_of(connect, Broker("127.0.0.1", port, tls=tls))
    assert error.step == "tls"
    # 116 is new in TLS 1.3 (RFC 8446, 6.2); before, a missing certificate is a failed handshake.
    expected = 48 if has_one else 116 if newest == ssl.TLSVersion.TLSv1_3 else 40
    assert error.alert == expected
    assert "certificate" in str(error)
    assert is_refusal(error)


@ON_EVERY_CLIENT
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("scheme", [None, "http", "socks5"])
def test_a_server_that_is_the_one_over_both_families_and_through_proxies(
    certificates: Certificates, connect: Any, host: str, scheme: str | None
) -> None:
    if not can_listen(host):
        pytest.skip(f"this machine has no {host}")
    relay = RelayingProxy(scheme or "http", ("me", "pass word"), to=host)
    with serving_tls(certificates.server(asks=True), host) as port, serving(relay, host) as proxy_port:
        shown = f"[{host}]" if ":" in host else host
        proxy = None if scheme is None else Proxy(f"{scheme}://me:pass%20word@{shown}:{proxy_port}")
        own = certificates.authority.issue_device("device")
        assert connect(Broker(host, port, tls=own, proxy=proxy)).startswith("TLSv1.3")
        assert relay.asked == ([] if scheme is None else [(host, port)])
        if scheme is not None:  # a name that nobody but the proxy has to resolve, and that the certificate is for
            assert connect(Broker("broker.test", port, tls=own, proxy=proxy)).startswith("TLSv1.3")
            assert relay.asked[1:] == [("broker.test", port)]
            error = failure_of(connect, Broker("other.test", port, tls=own, proxy=proxy))
            assert error.step == "tls"
            assert "Hostname mismatch" in str(error)
            assert "through the proxy" in str(error)


# Files that are replaced.


def device_of(certificates: Certificates, begin: timedelta, end: timedelta) -> X509:
    """A device whose certificate is valid from then to then."""
    issued = certificates.authority.issue_device("device")
    certificates.redate(issued, begin, end)
    return issued


@ON_EVERY_CLIENT
@pytest.mark.parametrize(
    ("begin", "end", "message"), [(-2 * DAY, -DAY, "has expired"), (DAY, 2 * DAY, "is not valid before")]
)
def test_a_certificate_that_is_not_valid_is_told_before_a_packet_is_sent(
    certificates: Certificates, connect: Any, begin: timedelta, end: timedelta, message: str
) -> None:
    accepted: list[int] = []
    with serving(lambda connected: accepted.append(1)) as port:
        with pytest.raises(CredentialsError, match=message):
            connect(Broker("127.0.0.1", port, tls=device_of(certificates, begin, end)))
        one, other = (certificates.authority.issue_device(name) for name in ("one", "other"))
        with pytest.raises(CredentialsError, match="does not belong"):
            connect(Broker("127.0.0.1", port, tls=X509(one.cert, other.key, ca=one.ca)))
    assert not accepted


def test_a_blocking_client_uses_a_certificate_that_was_replaced_when_it_connects_again(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    context = certificates.server(asks=True)
    seen: list[str] = []

    def serve(connected: socket.socket) -> None:
        with context.wrap_socket(connected, server_side=True) as tls:
            peer = tls.getpeercert()
            assert peer is not None
            seen.append(str(peer["serialNumber"]))
            assert tls.recv(4096)[:1] == b"\x10"
            tls.sendall(b"\x20\x03\x00\x00\x00")
            if len(seen) < 3:
                certificates.redate(device, -2 * DAY, -DAY if len(seen) == 1 else DAY, serial=len(seen) + 100)
                if len(seen) == 1:
                    expired.set()
                return  # the connection is lost
            enough.set()
            tls.recv(4096)

    expired, enough = threading.Event(), threading.Event()
    device = certificates.authority.issue_device("device")
    with serving(serve) as port:
        client = BlockingClient(
            Broker("127.0.0.1", port, tls=device),
            "c",
            reconnect=Backoff(base_s=0.001, max_s=0.02),
            drain_timeout_s=0.0,
        )
        with client:
            assert expired.wait(20)
            until(lambda: "has expired" in caplog.text)
            certificates.redate(device, -DAY, DAY, serial=200)
            assert enough.wait(20)
    assert [int(serial, 16) for serial in seen[1:]] == [200, 102]
