"""PEM and DER: the dates of certificates, and what a key is called, out of bytes that nobody vouches for."""

from __future__ import annotations

import random
import shutil
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from iotwire.transport.pem import (
    Validity,
    encode_pem,
    find_certificate,
    is_encrypted_key,
    is_pem,
    name_key,
    read_validity,
)
from networks import CERTIFICATE

# Of the certificate in networks.py.
VALIDITY = Validity(datetime(2026, 11, 30, 20, 22, 5, tzinfo=UTC), datetime(2026, 12, 1, 20, 22, 5, tzinfo=UTC))

TIMES = {
    # UTCTime (RFC 5280, 4.1.2.5.1): years 1950 to 2049.
    b"\x17\x0d500101000000Z": datetime(1950, 1, 1, tzinfo=UTC),
    b"\x17\x0d491231235959Z": datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
    b"\x17\x0d991231235959Z": datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
    b"\x17\x0d000229120000Z": datetime(2000, 2, 29, 12, tzinfo=UTC),
    # GeneralizedTime (4.1.2.5.2): from 2050 on, and 4.1.2.5's "no well-defined expiration date".
    b"\x18\x0f20500101000000Z": datetime(2050, 1, 1, tzinfo=UTC),
    b"\x18\x0f99991231235959Z": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
}
NO_TIMES = {
    "no seconds": b"\x17\x0b5001010000Z",
    "a zone": b"\x17\x11500101000000+0100",
    "no zone": b"\x17\x0c500101000000",
    "a fraction": b"\x18\x1120500101000000.5Z",
    "month 13": b"\x17\x0d501301000000Z",
    "29 February of no leap year": b"\x17\x0d490229000000Z",
    "hour 24": b"\x17\x0d490228240000Z",
    "signs for digits": b"\x17\x0d+1-1+1-1+1-1Z",
    "another tag": b"\x16\x0d500101000000Z",
    "a longer year": b"\x17\x0f20500101000000Z",
    "a shorter year": b"\x18\x0d500101000000Z",
    "nothing": b"",
}


def der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([0x82]) + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def certificate_with(not_before: bytes, not_after: bytes, *, version: bytes = b"\xa0\x03\x02\x01\x02") -> bytes:
    """RFC 5280, 4.1, as far as the dates; what follows them is left out."""
    serial, algorithm, issuer = der(0x02, b"\x01"), der(0x30), der(0x30, b"\x31" + b"\x00" * 200)
    return der(0x30, der(0x30, version, serial, algorithm, issuer, der(0x30, not_before, not_after)))


@pytest.mark.parametrize(("encoded", "expected"), TIMES.items(), ids=lambda value: str(value)[:30])
def test_a_time_is_read_as_its_type_says(encoded: bytes, expected: datetime) -> None:
    some = next(iter(TIMES))
    assert read_validity(certificate_with(encoded, some)).not_before == expected
    assert read_validity(certificate_with(some, encoded)).not_after == expected


@pytest.mark.parametrize("encoded", NO_TIMES.values(), ids=NO_TIMES)
def test_a_time_that_no_certificate_can_have_is_an_error(encoded: bytes) -> None:
    some = next(iter(TIMES))
    for certificate in (certificate_with(encoded, some), certificate_with(some, encoded)):
        with pytest.raises(ValueError):
            read_validity(certificate)


def test_a_certificate_of_version_1_has_no_version() -> None:
    some = next(iter(TIMES))
    assert read_validity(certificate_with(some, some, version=b"")).not_before == TIMES[some]


def test_the_dates_are_those_that_openssl_shows() -> None:
    certificate = find_certificate(CERTIFICATE.encode())
    assert certificate == ssl.PEM_cert_to_DER_cert(CERTIFICATE)
    assert read_validity(certificate) == VALIDITY
    assert read_validity(find_certificate(certificate)) == VALIDITY  # DER as it is


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl program")
@pytest.mark.parametrize("kind", [["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], ["rsa:2048"]], ids=["EC", "RSA"])
def test_the_dates_of_a_certificate_of_openssl(tmp_path: Path, kind: list[str]) -> None:
    made = tmp_path / "made.pem"
    call = ["openssl", "req", "-new", "-x509", "-nodes", "-subj", "/CN=a", "-days", "40", "-newkey", *kind]
    subprocess.run([*call, "-keyout", tmp_path / "key.pem", "-out", made], check=True, capture_output=True, timeout=60)
    shown = subprocess.run(
        ["openssl", "x509", "-in", made, "-noout", "-dates"], check=True, capture_output=True, text=True, timeout=60
    )
    dates = dict(line.split("=") for line in shown.stdout.splitlines())
    validity = read_validity(find_certificate(made.read_bytes()))
    assert validity.not_before.timestamp() == ssl.cert_time_to_seconds(dates["notBefore"])
    assert validity.not_after.timestamp() == ssl.cert_time_to_seconds(dates["notAfter"])


@pytest.mark.parametrize("year", [1950, 1999, 2026, 2049, 2050, 9999])
def test_the_dates_of_a_certificate_of_cryptography(year: int) -> None:
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    begin, end = datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(year, 11, 12, 13, 14, 15, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1 << 150, begin, end)
    certificate = builder.sign(key, hashes.SHA256())
    from cryptography.hazmat.primitives.serialization import Encoding

    assert read_validity(certificate.public_bytes(Encoding.DER)) == Validity(begin, end)


def test_every_truncation_is_an_error() -> None:
    certificate = find_certificate(CERTIFICATE.encode())
    for size in range(len(certificate)):
        with pytest.raises(ValueError):
            read_validity(certificate[:size])


def test_bytes_after_a_certificate_do_not_matter() -> None:
    assert read_validity(find_certificate(CERTIFICATE.encode()) + b"\x00" * 9) == VALIDITY


def test_whatever_a_byte_is_changed_to_there_are_dates_or_an_error() -> None:
    certificate = find_certificate(CERTIFICATE.encode())
    chance = random.Random(1)
    for _ in range(5000):
        bent = bytearray(certificate)
        for _ in range(chance.randint(1, 4)):
            bent[chance.randrange(160)] = chance.randrange(256)
        try:
            validity = read_validity(bytes(bent))
        except ValueError:
            continue
        assert isinstance(validity.not_after, datetime)


@pytest.mark.parametrize(
    "length", [b"\x80", b"\x85\x00\x00\x00\x00\x01", b"\x84\xff\xff\xff\xff", b"\x84\xff", b"\xff", b""], ids=bytes.hex
)
def test_a_length_that_der_does_not_have_or_that_leads_out_is_an_error(length: bytes) -> None:
    with pytest.raises(ValueError):
        read_validity(b"\x30" + length)
    with pytest.raises(ValueError):
        name_key(b"\x30" + length)


# PEM.


def test_the_first_certificate_of_a_chain_is_the_one_that_it_is_for() -> None:
    other = encode_pem("CERTIFICATE", b"\x30\x00")
    text = CERTIFICATE.encode()
    key = encode_pem("EC PRIVATE KEY", b"\x30\x00")
    for before in (b"", b"Bag Attributes: \xc3\xbc\n", key):
        assert find_certificate(before + text + other) == ssl.PEM_cert_to_DER_cert(CERTIFICATE)
        assert is_pem(before + text)
    assert find_certificate(text.replace(b"\n", b"\r\n")) == ssl.PEM_cert_to_DER_cert(CERTIFICATE)
    for label in (b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"):
        assert find_certificate(text.replace(b"CERTIFICATE", label)) == ssl.PEM_cert_to_DER_cert(CERTIFICATE)


@pytest.mark.parametrize(
    "text",
    [
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMA==\n-----END X509 CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n",
        b"-----BEGIN CERTIFICATE-----\nM\n-----END CERTIFICATE-----\n",
    ],
)
def test_a_text_without_a_certificate_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        find_certificate(text)


@pytest.mark.parametrize("size", [1, 47, 48, 49, 1000])
def test_what_is_encoded_is_what_the_standard_library_encodes(size: int) -> None:
    data = bytes(range(256)) * 4
    assert encode_pem("CERTIFICATE", data[:size]) == ssl.DER_cert_to_PEM_cert(data[:size]).encode()


KEYS: dict[str, Any] = {
    "PRIVATE KEY": der(0x30, der(0x02, b"\x00"), der(0x30), der(0x04)),
    "ENCRYPTED PRIVATE KEY": der(0x30, der(0x30), der(0x04)),
    "EC PRIVATE KEY": der(0x30, der(0x02, b"\x01"), der(0x04)),
    "RSA PRIVATE KEY": der(0x30, der(0x02, b"\x00"), der(0x02, b"\x00" * 300)),
}


@pytest.mark.parametrize(("label", "key"), KEYS.items(), ids=KEYS)
def test_a_key_is_called_what_it_is(label: str, key: bytes) -> None:
    assert name_key(key) == label
    for size in range(len(key)):
        with pytest.raises(ValueError):
            name_key(key[:size])


@pytest.mark.parametrize("key", [b"", b"secret", der(0x30), der(0x30, der(0x05)), der(0x30, der(0x02), der(0x05))])
def test_what_is_no_key_is_an_error_that_does_not_repeat_it(key: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        name_key(key)
    assert "secret" not in str(caught.value)


def test_an_encrypted_key_is_known_in_both_forms() -> None:
    assert is_encrypted_key(encode_pem("ENCRYPTED PRIVATE KEY", b""))
    assert is_encrypted_key(b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n")
    assert not is_encrypted_key(encode_pem("PRIVATE KEY", b""))
