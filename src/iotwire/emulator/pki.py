"""The emulator's own certificate authority: EC P-256, because a small board makes such keys in milliseconds.

`cryptography` is imported when the first certificate is made: it is an extra where it has no wheel.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..credentials import X509
from ..errors import CredentialsError
from ..route import is_ip_literal

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Authority"]

LIFETIME = timedelta(days=30)
# Backdated: the clock of a board without a battery jumps when it first hears the time.
BACKDATED = timedelta(days=1)


class Authority:
    """A certificate authority in a folder, with the certificates it issues beside it.

    Keys are readable by the owner alone.
    Raises CredentialsError, which says what to install, without `cryptography`.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import cryptography  # noqa: F401
        except ImportError:
            raise CredentialsError(
                "the emulator makes its certificates with the package cryptography: pip install iotwire[crypto]"
            ) from None
        self._folder = folder
        self._key, self._certificate = self._make("iotwire emulator CA", None, is_authority=True)
        self.ca = self._write("ca.pem", _pem_of_certificate(self._certificate), mode=0o644)

    def issue_server(self, names: Sequence[str]) -> X509:
        """A certificate for a server with these DNS names and IP addresses."""
        return self._issue("server", names[0], names)

    def issue_device(self, name: str) -> X509:
        """A certificate for a client, with `ca` set to this authority. name: a plain word; files are named after it."""
        return self._issue(name, name, None)

    def _issue(self, file_name: str, common_name: str, server_names: Sequence[str] | None) -> X509:
        key, certificate = self._make(common_name, server_names, is_authority=False)
        return X509(
            self._write(f"{file_name}.pem", _pem_of_certificate(certificate), mode=0o644),
            self._write(f"{file_name}.key", _pem_of_key(key), mode=0o600),
            ca=self.ca,
        )

    def _make(
        self, common_name: str, server_names: Sequence[str] | None, *, is_authority: bool
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
        signing_key, issuer = (key, subject) if is_authority else (self._key, self._certificate.subject)
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(_key_usage(is_authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if not is_authority:
            purpose = ExtendedKeyUsageOID.CLIENT_AUTH if server_names is None else ExtendedKeyUsageOID.SERVER_AUTH
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key())
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            builder = builder.add_extension(identifier, critical=False)
        if server_names is not None:
            names: list[x509.GeneralName] = [
                x509.IPAddress(ip_address(name)) if is_ip_literal(name) else x509.DNSName(name) for name in server_names
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return key, builder.sign(signing_key, hashes.SHA256())

    def _write(self, name: str, data: bytes, *, mode: int) -> str:
        path = self._folder / name
        path.touch(mode=mode)  # made with its mode: never readable by others, not even for a moment
        path.write_bytes(data)
        return str(path)


def _key_usage(is_authority: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _pem_of_certificate(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
