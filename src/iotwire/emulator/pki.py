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
from .folder import Folder

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

__all__ = ["Authority", "make_token_key"]

LIFETIME = timedelta(days=30)
KEPT_LIFETIME = timedelta(days=365)
# Kept certificates are made anew when they have less than this left: a device's working day is not cut short.
LEAST_LEFT = timedelta(days=1)
# Backdated: the clock of a board without a battery jumps when it first hears the time.
BACKDATED = timedelta(days=1)


class Authority:
    """A certificate authority in a folder, with the certificates it issues beside it.

    In a folder that is kept it goes on with what it finds there, as long as that is valid: then devices keep their
    certificates. Keys are readable by the owner alone.
    Raises CredentialsError, which says what to install, without `cryptography`.
    """

    def __init__(self, folder: Path | Folder) -> None:
        try:
            import cryptography  # noqa: F401
        except ImportError:
            raise CredentialsError(
                "the emulator makes its certificates with the package cryptography: pip install iotwire[crypto]"
            ) from None
        self._folder = folder if isinstance(folder, Folder) else Folder(folder)
        self._lifetime = KEPT_LIFETIME if self._folder.keeps else LIFETIME
        kept = self._load("ca", None)
        if kept is None:
            self._key, self._certificate = self._make("iotwire emulator CA", None, is_authority=True)
            if self._folder.keeps:
                self._folder.write("ca.key", _pem_of_key(self._key), mode=0o600)
            self.ca = self._folder.write("ca.pem", _pem_of_certificate(self._certificate), mode=0o644)
        else:
            self._key, self._certificate = kept
            self.ca = str(self._folder.path / "ca.pem")

    def issue_server(self, names: Sequence[str]) -> X509:
        """A certificate for a server with these DNS names and IP addresses."""
        return self._issue("server", names[0], names)

    def issue_device(self, name: str) -> X509:
        """A certificate for a client, with `ca` set to this authority. name: a plain word; files are named after it.

        One that was kept under this name is used as long as it is valid.
        """
        if self._load(name, self._certificate) is not None:
            folder = self._folder.path
            return X509(str(folder / f"{name}.pem"), str(folder / f"{name}.key"), ca=self.ca)
        return self._issue(name, name, None)

    def _issue(self, file_name: str, common_name: str, server_names: Sequence[str] | None) -> X509:
        key, certificate = self._make(common_name, server_names, is_authority=False)
        return X509(
            self._folder.write(f"{file_name}.pem", _pem_of_certificate(certificate), mode=0o644),
            self._folder.write(f"{file_name}.key", _pem_of_key(key), mode=0o600),
            ca=self.ca,
        )

    def _load(
        self, name: str, issuer: x509.Certificate | None
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None:
        """A key and its certificate that were kept, if they can be used. issuer: None for the authority itself."""
        if not self._folder.keeps:
            return None
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        pem, key_pem = self._folder.read(f"{name}.pem"), self._folder.read(f"{name}.key")
        if pem is None or key_pem is None:
            return None
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            key = load_pem_private_key(key_pem, None)
            certificate.verify_directly_issued_by(certificate if issuer is None else issuer)
        except (ValueError, TypeError, InvalidSignature):
            return None
        now = datetime.now(UTC)
        is_valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc - LEAST_LEFT
        if not is_valid or not isinstance(key, ec.EllipticCurvePrivateKey):
            return None
        return (key, certificate) if key.public_key() == certificate.public_key() else None

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
        end = now + self._lifetime
        if not is_authority:
            end = min(end, self._certificate.not_valid_after_utc)  # nothing outlives what vouches for it
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(end)
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


def make_token_key() -> tuple[bytes, bytes]:
    """A key pair for the tokens of a custom authorizer, as PEM texts: the private key, and the public one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _pem_of_key(key), public


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


def _pem_of_key(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
