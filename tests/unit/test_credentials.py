"""X.509 credentials: where they come from, what is known to be wrong with them before a packet is sent."""

from __future__ import annotations

import os
import ssl
import stat
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from iotwire import X509, CredentialsError, RouteError, Tls
from iotwire.route import TlsPlan
from iotwire.transport import make_client_context
from iotwire.transport import tls as tls_room
from iotwire.transport.tls import TlsContexts

PASSWORD = "secret-word"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEYS = {"EC": ec.generate_private_key(ec.SECP256R1()), "RSA": rsa.generate_private_key(65537, 2048)}
OTHER_KEYS = {"EC": ec.generate_private_key(ec.SECP256R1()), "RSA": rsa.generate_private_key(65537, 2048)}


def make_certificate(key: Any, begin: datetime | None = None, end: datetime | None = None) -> x509.Certificate:
    name = x509.Name([])
    begin, end = begin or NOW - timedelta(days=1), end or NOW + timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, end)
    return builder.add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())


def pem_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def key_of(key: Any, encoding: Encoding = Encoding.PEM, format_: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(encoding, format_, NoEncryption())


def load(certificate: X509, *, now: datetime = NOW, ca: Any = None) -> ssl.SSLContext:
    return make_client_context(TlsPlan("broker.example", certificate=certificate, ca=ca), now=now)


# What an argument may be, out of the bytes of a file.
SOURCES: dict[str, Callable[[Path, bytes], Any]] = {
    "bytes": lambda path, data: data,
    "a str": lambda path, data: str(path),
    "a Path": lambda path, data: path,
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER], ids=["PEM", "DER"])
@pytest.mark.parametrize("format_", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS8", "older"])
@pytest.mark.parametrize("password", [None, PASSWORD], ids=["open", "encrypted"])
@pytest.mark.parametrize("kind", KEYS)
def test_a_certificate_and_its_key_are_loaded_from_what_they_are_given_as(
    tmp_path: Path, kind: str, password: str | None, format_: PrivateFormat, encoding: Encoding, source: str
) -> None:
    if password and encoding is Encoding.DER and format_ is PrivateFormat.TraditionalOpenSSL:
        pytest.skip("the older form is encrypted in PEM alone")
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    given = []
    for name, data in (
        ("cert", make_certificate(KEYS[kind]).public_bytes(encoding)),
        ("key", KEYS[kind].private_bytes(encoding, format_, encryption)),
        ("ca", make_certificate(KEYS[kind]).public_bytes(encoding)),
    ):
        (tmp_path / name).write_bytes(data)
        given.append(SOURCES[source](tmp_path / name, data))
    cert, key, ca = given
    context = load(X509(cert, key, password=password), ca=ca)
    assert context.cert_store_stats()["x509"] == 1
    if password:
        for wrong in ("another-word", None):
            with pytest.raises(CredentialsError, match="encrypted") as caught:
                load(X509(cert, key, password=wrong))
            assert "another-word" not in str(caught.value)


def test_no_password_is_said_to_be_missing_where_the_key_is_seen_to_be_encrypted() -> None:
    key = KEYS["EC"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    with pytest.raises(CredentialsError, match="the key is encrypted, and no password is given"):
        load(X509(pem_of(make_certificate(KEYS["EC"])), key))


@pytest.mark.parametrize("has_memfd", [True, False], ids=["in memory", "in a file"])
def test_bytes_are_in_a_file_of_this_user_for_no_longer_than_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_memfd: bool
) -> None:
    if has_memfd and not hasattr(os, "memfd_create"):
        pytest.skip("this system has no memfd_create")
    if not has_memfd:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with tls_room._as_file(b"of a key") as path:
        assert Path(path).read_bytes() == b"of a key"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert bool(list(tmp_path.iterdir())) != has_memfd
    assert not os.path.exists(path)
    with pytest.raises(KeyError), tls_room._as_file(b"of a key") as path:
        raise KeyError
    assert not os.path.exists(path)
    load(X509(pem_of(make_certificate(KEYS["EC"])), key_of(KEYS["EC"])))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lacks", ["the call", "its path"])
def test_where_no_memory_file_can_be_used_there_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    def refuse(name: str) -> int:
        raise PermissionError

    if lacks == "the call":
        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    else:
        monkeypatch.setattr(tls_room, "_path_of", lambda descriptor: str(tmp_path / "proc" / str(descriptor)))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with tls_room._as_file(b"of a key") as path:
        assert Path(path).parent == tmp_path
    load(X509(pem_of(make_certificate(KEYS["EC"])), key_of(KEYS["EC"])))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key_first", [False, True])
def test_a_certificate_and_its_key_may_be_in_one_file(tmp_path: Path, key_first: bool) -> None:
    parts = [pem_of(make_certificate(KEYS["EC"])), key_of(KEYS["EC"])]
    data = b"".join(reversed(parts) if key_first else parts)
    (tmp_path / "device.pem").write_bytes(data)
    for each in (data, tmp_path / "device.pem"):
        load(X509(each, each))
        with pytest.raises(CredentialsError, match="has expired"):
            load(X509(each, each), now=NOW + timedelta(days=2))


def test_a_chain_is_judged_by_its_first_certificate() -> None:
    own, over = make_certificate(KEYS["EC"]), make_certificate(KEYS["RSA"], end=NOW - timedelta(hours=1))
    load(X509(pem_of(own) + pem_of(over), key_of(KEYS["EC"])))
    with pytest.raises(CredentialsError, match="has expired"):
        load(X509(pem_of(over) + pem_of(own), key_of(KEYS["RSA"])))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_certificate_that_can_be_read_once_is_read_once(tmp_path: Path) -> None:
    """As by a shell's <(...)."""
    from threading import Thread

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_bytes, args=(pem_of(make_certificate(KEYS["EC"])),))
    writer.start()
    load(X509(pipe, key_of(KEYS["EC"])))
    writer.join(10)


# What is wrong.

DATES = {
    "not yet": (timedelta(hours=1), timedelta(days=1), r"is not valid before 2026-11-21 13:00:00 UTC"),
    "no more": (timedelta(days=-1), timedelta(hours=-1), r"has expired: it was valid until 2026-11-21 11:00:00 UTC"),
}


@pytest.mark.parametrize(("begin", "end", "message"), DATES.values(), ids=DATES)
@pytest.mark.parametrize("source", SOURCES)
def test_a_certificate_that_is_not_valid_is_an_error_with_its_dates_and_the_clocks(
    tmp_path: Path, source: str, begin: timedelta, end: timedelta, message: str
) -> None:
    data = pem_of(make_certificate(KEYS["EC"], NOW + begin, NOW + end))
    path = tmp_path / "device.pem"
    path.write_bytes(data)
    certificate = X509(SOURCES[source](path, data), key_of(KEYS["EC"]))
    with pytest.raises(CredentialsError, match=message) as caught:
        load(certificate)
    assert "clock says 2026-11-21 12:00:00 UTC" in str(caught.value)
    assert ("given as bytes" if source == "bytes" else str(path)) in str(caught.value)
    load(certificate, now=NOW + (begin + end) / 2)


def test_a_certificate_is_valid_from_its_first_second_to_its_last() -> None:
    begin, end = NOW, NOW + timedelta(hours=1)
    certificate = X509(pem_of(make_certificate(KEYS["EC"], begin, end)), key_of(KEYS["EC"]))
    for now in (begin, end):
        load(certificate, now=now)
    for now in (begin - timedelta(seconds=1), end + timedelta(seconds=1)):
        with pytest.raises(CredentialsError):
            load(certificate, now=now)


def test_a_certificate_that_expires_is_seen_although_its_context_is_kept() -> None:
    plan = TlsPlan("broker.example", certificate=X509(pem_of(make_certificate(KEYS["EC"])), key_of(KEYS["EC"])))
    contexts = TlsContexts()
    first = contexts.get(plan, now=NOW)
    with pytest.raises(CredentialsError, match="has expired"):
        contexts.get(plan, now=NOW + timedelta(days=2))
    with pytest.raises(CredentialsError, match="not valid before"):
        contexts.get(plan, now=NOW - timedelta(days=2))
    assert contexts.get(plan, now=NOW) is first


@pytest.mark.parametrize("of_certificate", KEYS)
@pytest.mark.parametrize("of_key", OTHER_KEYS)
def test_a_key_of_another_certificate_is_told_apart_from_a_broken_one(of_certificate: str, of_key: str) -> None:
    cert = pem_of(make_certificate(KEYS[of_certificate]))
    with pytest.raises(CredentialsError, match="the key does not belong to the certificate"):
        load(X509(cert, key_of(OTHER_KEYS[of_key])))
    with pytest.raises(CredentialsError, match="not a PEM or DER file of that kind"):
        load(X509(cert, cert))


@pytest.mark.parametrize("data", [b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", b"\x30\x03abc"])
@pytest.mark.parametrize("place", ["cert", "key", "ca"])
def test_what_is_no_certificate_or_key_is_an_error_that_does_not_repeat_it(place: str, data: bytes) -> None:
    parts: dict[str, Any] = {"cert": pem_of(make_certificate(KEYS["EC"])), "key": key_of(KEYS["EC"]), place: data}
    with pytest.raises(CredentialsError, match="bytes") as caught:
        load(X509(parts["cert"], parts["key"]), ca=parts.get("ca"))
    assert "MA==" not in str(caught.value)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("path", ["device\0.pem", "device\ud800.pem"])
def test_a_path_that_no_file_can_have_is_an_error_of_credentials(path: str) -> None:
    for plan in (TlsPlan("broker.example", ca=path), TlsPlan("broker.example", certificate=X509(path, path))):
        with pytest.raises(CredentialsError, match="device"):
            TlsContexts().get(plan)


def test_a_file_that_is_far_too_large_is_not_read_to_its_end() -> None:
    with pytest.raises(CredentialsError, match="1048576 bytes"):
        load(X509("/dev/zero", "/dev/zero"))


@pytest.mark.parametrize("argument", [b"/etc/device.pem", b"", None, 7, bytearray(b"-----BEGIN "), "-----BEGIN X-----"])
def test_what_is_neither_a_path_nor_contents_is_refused_at_once(argument: Any) -> None:
    for make in (
        lambda: X509(argument, "a.key"),
        lambda: X509("a.pem", argument),
        lambda: X509("a.pem", "a.key", ca=argument if argument is not None else 7),
        lambda: Tls(ca=argument if argument is not None else 7),
    ):
        with pytest.raises((CredentialsError, RouteError), match=r"cert|key|ca"):
            make()


def test_no_repr_shows_what_was_given_as_bytes() -> None:
    certificate = X509(b"-----BEGIN secret", b"-----BEGIN secret", password=b"secret", ca=b"-----BEGIN secret")
    plan = TlsPlan("broker.example", ("x",), certificate, certificate.ca)
    for each in (certificate, plan, Tls(certificate=certificate, ca=certificate.ca)):
        assert "secret" not in repr(each)
        assert "<17 bytes>" in repr(each)


def test_authorities_may_have_a_text_between_them_in_any_language(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes("Größe\n".encode() + pem_of(make_certificate(KEYS["EC"])) + pem_of(make_certificate(KEYS["RSA"])))
    for each in (ca, ca.read_bytes()):
        context = make_client_context(TlsPlan("broker.example", ca=each))
        assert context.cert_store_stats()["x509"] == 2
