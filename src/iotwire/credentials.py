"""What a device proves its identity with.

This room holds values, not sockets: `X509` names files, and the transport reads them anew for each connection, so
that a certificate that was rotated on disk is used by the next connection without a restart.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from .errors import CredentialsError

__all__ = ["X509", "Authentication"]


class Authentication(Protocol):
    """What `Endpoint.route` takes as `auth`: it says which rows of the matrix it can be used on."""

    @property
    def authentication(self) -> str:
        """One of the `authentication` values of `iotwire.ROUTES`: "x509", "sigv4" or "custom"."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class X509:
    """A client certificate and its private key, as paths of PEM files.

    cert: the certificate, followed by intermediate certificates if it needs any.
    key: its private key. password: what it is encrypted with, or None. Both stay out of every repr and message.
    ca: the certificate authorities that the server's certificate is checked against; None means those that the
        operating system trusts. The check itself is never off.

    Raises CredentialsError where an argument is not a path. The files are read when a connection is made.
    """

    cert: str | os.PathLike[str]
    key: str | os.PathLike[str]
    password: str | bytes | None = field(default=None, kw_only=True)
    ca: str | os.PathLike[str] | None = field(default=None, kw_only=True)

    authentication: ClassVar[str] = "x509"

    def __post_init__(self) -> None:
        for name in ("cert", "key", "ca"):
            value = getattr(self, name)
            if value is None and name == "ca":
                continue
            # A PEM text passed by mistake must not end up in an error message as a file that was not found.
            if not isinstance(value, (str, os.PathLike)) or "-----BEGIN" in os.fspath(value):
                raise CredentialsError(f"{name}: the path of a PEM file is expected, not its contents")
        if self.password is not None and not isinstance(self.password, (str, bytes)):
            raise CredentialsError("password: str, bytes or None is expected")

    def __repr__(self) -> str:
        secret = ", password=***" if self.password is not None else ""
        return f"X509(cert={os.fspath(self.cert)!r}, key=***{secret}, ca={self.ca and os.fspath(self.ca)!r})"
