"""As much of PEM (RFC 7468) and DER (X.690) as a client has to see for itself.

`ssl` loads certificates and keys and tells whether they belong together. It does not tell when a certificate of one's
own is valid, and it loads PEM alone: so this room finds a certificate's dates (RFC 5280, 4.1.2.5) and the name that
PEM has for a key. Nothing here judges a signature, or anything that OpenSSL judges later.

What is read is not trusted: every length is checked against what contains it, and nothing is looped over or recursed
into. `ValueError` says that the bytes are no such thing; no message repeats any of them.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["Validity", "encode_pem", "find_certificate", "is_encrypted_key", "is_pem", "name_key", "read_validity"]

# Tags (X.690, 8.1.2), each with the name for it in an error.
INTEGER, OCTET_STRING, UTC_TIME, GENERALIZED_TIME, SEQUENCE, VERSION = 0x02, 0x04, 0x17, 0x18, 0x30, 0xA0
_NAMES = {
    INTEGER: "INTEGER",
    OCTET_STRING: "OCTET STRING",
    UTC_TIME: "UTCTime",
    GENERALIZED_TIME: "GeneralizedTime",
    SEQUENCE: "SEQUENCE",
    VERSION: "a version",
}
# What OpenSSL takes for a certificate. In the last one more follows the certificate.
_CERTIFICATE = re.compile(
    rb"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----(.*?)-----END \1-----",
    flags=re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate is valid, both ends included; aware times in UTC."""

    not_before: datetime
    not_after: datetime


def is_pem(data: bytes) -> bool:
    """Whether this is a PEM text, with whatever else stands before it (RFC 7468, 2)."""
    return b"-----BEGIN " in data


def is_encrypted_key(data: bytes) -> bool:
    """Whether a PEM text has a key that needs a password (PKCS #8, and the older form of OpenSSL)."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data or b"Proc-Type: 4,ENCRYPTED" in data


def encode_pem(label: str, der: bytes) -> bytes:
    """The PEM text of these bytes (RFC 7468, 3)."""
    text = b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def find_certificate(data: bytes) -> bytes:
    """The first certificate of a PEM text, which is the one that a chain is for, as DER; DER as it is."""
    if not is_pem(data):
        return data
    found = _CERTIFICATE.search(data)
    if found is None:
        raise ValueError("there is no certificate")
    try:
        return b64decode(found[2])
    except ValueError:
        raise ValueError("the certificate is not base64") from None


class _Reader:
    """What one DER value contains, read from its beginning."""

    __slots__ = ("_data", "_end", "_pos")

    def __init__(self, data: bytes, pos: int, end: int) -> None:
        self._data = data
        self._pos = pos
        self._end = end

    @property
    def next_tag(self) -> int | None:
        """The tag of the next value; None where there is none."""
        return self._data[self._pos] if self._pos < self._end else None

    def read(self, *tags: int) -> _Reader:
        """The next value, which has one of these tags."""
        start = self._pos
        if self.next_tag not in tags:
            wanted = " or ".join(_NAMES[tag] for tag in tags)
            raise ValueError(f"{wanted} is expected at byte {start}")
        self._pos += 1
        length = self._take(1)[0]
        if length >= 0x80:  # the long form (X.690, 8.1.3.5); DER has no indefinite one (10.1)
            size = length & 0x7F
            if not 1 <= size <= 4:
                raise ValueError(f"a length at byte {start + 1} that DER does not have")
            length = int.from_bytes(self._take(size), "big")
        if length > self._end - self._pos:
            raise ValueError(f"the value at byte {start} goes beyond what contains it")
        inner = _Reader(self._data, self._pos, self._pos + length)
        self._pos += length
        return inner

    def skip(self, tag: int) -> None:
        """The next value where it has this tag, for what is optional."""
        if self.next_tag == tag:
            self.read(tag)

    def _take(self, size: int) -> bytes:
        if size > self._end - self._pos:
            raise ValueError(f"the data ends at byte {self._end}, in the midst of a length")
        taken = self._data[self._pos : self._pos + size]
        self._pos += size
        return taken

    @property
    def content(self) -> bytes:
        return self._data[self._pos : self._end]


def read_validity(certificate: bytes) -> Validity:
    """When a certificate is valid (RFC 5280, 4.1): DER, from its first byte; what follows it does not matter."""
    signed = _Reader(certificate, 0, len(certificate)).read(SEQUENCE).read(SEQUENCE)
    signed.skip(VERSION)
    signed.read(INTEGER)  # the serial number
    signed.read(SEQUENCE)  # the algorithm of the signature
    signed.read(SEQUENCE)  # the issuer
    validity = signed.read(SEQUENCE)
    return Validity(_read_time(validity), _read_time(validity))


# RFC 5280, 4.1.2.5.1 and 4.1.2.5.2: in UTC ("Z"), with seconds, without fractions of them.
_TIMES = {
    UTC_TIME: re.compile(rb"(\d\d)" + rb"(\d\d)" * 5 + rb"Z"),
    GENERALIZED_TIME: re.compile(rb"(\d{4})" + rb"(\d\d)" * 5 + rb"Z"),
}


def _read_time(validity: _Reader) -> datetime:
    tag = validity.next_tag
    text = validity.read(UTC_TIME, GENERALIZED_TIME).content
    assert tag is not None
    found = _TIMES[tag].fullmatch(text)
    if found is None:
        raise ValueError(f"a {_NAMES[tag]} that a certificate cannot have")
    year, month, day, hour, minute, second = map(int, found.groups())
    if tag == UTC_TIME:
        year += 1900 if year >= 50 else 2000
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def name_key(key: bytes) -> str:
    """The label that PEM has for a private key in DER, such as "EC PRIVATE KEY": the four kinds that OpenSSL loads."""
    fields = _Reader(key, 0, len(key)).read(SEQUENCE)
    if fields.next_tag == SEQUENCE:  # EncryptedPrivateKeyInfo (RFC 5958, 3) begins with its algorithm
        return "ENCRYPTED PRIVATE KEY"
    fields.read(INTEGER)  # a version
    if fields.next_tag == SEQUENCE:  # PrivateKeyInfo (RFC 5958, 2)
        return "PRIVATE KEY"
    if fields.next_tag == OCTET_STRING:  # ECPrivateKey (RFC 5915, 3)
        return "EC PRIVATE KEY"
    fields.read(INTEGER)  # RSAPrivateKey (RFC 8017, A.1.2) goes on with its modulus
    return "RSA PRIVATE KEY"
