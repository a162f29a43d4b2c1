"""What a device proves its identity with.

This room holds values, not sockets: `X509` names files, or holds what is in them, and the transport reads the files
anew for each connection, so that a certificate that was rotated on disk is used by the next connection without a
restart. `SigV4` holds credentials of AWS, or asks whoever has them for each connection.

The providers of credentials for Signature Version 4, which ask services, stand above the transport, in
`iotwire.providers`. This is where they are imported from; each is loaded when it is first asked for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

from .errors import CredentialsError, IotwireError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from typing import Any

    from .providers import (
        BotocoreCredentials,
        ContainerCredentials,
        EnvironmentCredentials,
        InstanceCredentials,
        IotCredentials,
        ProviderChain,
        Refreshing,
        SharedFilesCredentials,
        StaticCredentials,
    )
    from .sigv4 import Credentials

__all__ = [
    "X509",
    "Authentication",
    "BotocoreCredentials",
    "ContainerCredentials",
    "Credentials",
    "CredentialsProvider",
    "EnvironmentCredentials",
    "InstanceCredentials",
    "IotCredentials",
    "ProviderChain",
    "Refreshing",
    "SharedFilesCredentials",
    "SigV4",
    "Source",
    "StaticCredentials",
    "describe_source",
    "read_source",
    "stamp_source",
]

# Where a certificate or key comes from: the path of a file, or the bytes that are in one.
Source: TypeAlias = str | os.PathLike[str] | bytes


class Authentication(Protocol):
    """What `Endpoint.route` takes as `auth`: it says which rows of the matrix it can be used on."""

    @property
    def authentication(self) -> str:
        """One of the `authentication` values of `iotwire.ROUTES`: "x509", "sigv4" or "custom"."""
        ...


class CredentialsProvider(Protocol):
    """Where a signature's credentials come from: whatever has this method, such as `IotCredentials`."""

    def get(self, now: datetime) -> Credentials:
        """Credentials that are valid at that time, an aware one.

        May read files and wait for answers of the network, so a client calls it away from its event loop. Several
        threads may call it at once. Raises CredentialsError where there are none.
        """
        ...


@dataclass(frozen=True, slots=True, repr=False)
class X509:
    """A client certificate and its private key, RSA or EC.

    Each of `cert`, `key` and `ca` is the path of a file (str or os.PathLike), or what is in one (bytes); PEM or DER.

    cert: the certificate, followed by intermediate certificates if it needs any (PEM).
    key: its private key. password: what it is encrypted with, or None. Both stay out of every repr and message.
    ca: the certificate authorities that the server's certificate is checked against; None means those that the
        operating system trusts. The check itself is never off. The Amazon Trust Services roots are not part of this
        package: a system that does not trust them needs ca="AmazonRootCA1.pem", from
        https://www.amazontrust.com/repository/ (for an endpoint whose certificate is of another root, that one).

    Files are read when a connection is made, again for each where they have changed: a certificate that was rotated is
    used by the next connection. Before a packet is sent, CredentialsError says which file is missing, unreadable or of
    another kind, that the key does not belong to the certificate, or that the certificate is not valid yet or no more.

    Raises CredentialsError where an argument is neither a path nor bytes that can be PEM or DER.
    """

    cert: Source
    key: Source
    password: str | bytes | None = field(default=None, kw_only=True)
    ca: Source | None = field(default=None, kw_only=True)

    authentication: ClassVar[str] = "x509"

    def __post_init__(self) -> None:
        read_source(self.cert, "cert")
        read_source(self.key, "key")
        if self.ca is not None:
            read_source(self.ca, "ca")
        if self.password is not None and not isinstance(self.password, (str, bytes)):
            raise CredentialsError("password: str, bytes or None is expected")

    def __repr__(self) -> str:
        secret = ", password=***" if self.password is not None else ""
        ca = None if self.ca is None else describe_source(self.ca)
        return f"X509(cert={describe_source(self.cert)}, key=***{secret}, ca={ca})"


class SigV4:
    """Signature Version 4: requests are signed with credentials of AWS, and no certificate is presented.

    credentials: `iotwire.sigv4.Credentials`; a `CredentialsProvider`, which is asked for each connection attempt; or a
        callable without arguments that returns Credentials.
    service: what the signature is for; None means "iotdevicegateway" over WebSockets and "iotdata" over HTTPS.
    expires: seconds that a signed URL counts, 1 to 604800, or None to leave that to the service.

    The region is the endpoint's. Nothing of the credentials is in the repr or in an error.
    Raises CredentialsError, which names the argument.
    """

    __slots__ = ("_credentials", "_expires", "_service")

    authentication: ClassVar[str] = "sigv4"

    def __init__(
        self,
        credentials: Credentials | CredentialsProvider | Callable[[], Credentials],
        *,
        service: str | None = None,
        expires: int | None = 86400,
    ) -> None:
        from .sigv4 import Credentials

        if not isinstance(credentials, Credentials) and not callable(getattr(credentials, "get", credentials)):
            raise CredentialsError(
                "credentials: Credentials, a provider with get(now) or a callable that returns Credentials is "
                f"expected, not {type(credentials).__name__}"
            )
        named: object = service
        if named is not None and not (isinstance(named, str) and named.isascii() and named.isalnum()):
            raise CredentialsError('service: a name such as "iotdevicegateway" is expected, or None')
        if expires is not None and (type(expires) is not int or not 1 <= expires <= 604_800):
            raise CredentialsError("expires: 1 to 604800 seconds are expected, or None")
        self._credentials = credentials
        self._service = service
        self._expires = expires

    @property
    def service(self) -> str | None:
        """What the signature is for; None for what the protocol wants."""
        return self._service

    @property
    def expires(self) -> int | None:
        """Seconds that a signed URL counts."""
        return self._expires

    def __repr__(self) -> str:
        return f"SigV4(***, service={self._service!r}, expires={self._expires!r})"

    def get(self, now: datetime) -> Credentials:
        """Credentials for a request that is signed now, an aware time. May block: not for an event loop's thread.

        Raises CredentialsError where there are none, or where they have expired.
        """
        from .sigv4 import Credentials

        source = self._credentials
        try:
            if isinstance(source, Credentials):
                found: object = source
            else:
                found = source() if not hasattr(source, "get") else source.get(now)
        except IotwireError:
            raise
        except Exception as error:
            raise CredentialsError(f"credentials: who supplies them raised {type(error).__name__}") from error
        if not isinstance(found, Credentials):
            raise CredentialsError(f"credentials: who supplies them gave a {type(found).__name__}")
        if found.expiration is not None and found.expiration <= now:
            from .clock import show_time  # which loads `logging`

            raise CredentialsError(
                f"credentials: they expired at {show_time(found.expiration)}, and it is {show_time(now)}"
            )
        return found


def read_source(source: object, name: str) -> Source:
    """The source itself. Raises CredentialsError, which names the argument, where it can be none."""
    if isinstance(source, bytes):
        if b"-----BEGIN " not in source and source[:1] != b"\x30":  # every certificate and key in DER is a SEQUENCE
            raise CredentialsError(f"{name}: bytes are what a PEM or DER file holds; the path of one is a str")
        return source
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        # A PEM text passed by mistake must not end up in an error message as a file that was not found.
        if isinstance(path, str) and "-----BEGIN" not in path:
            return source
    raise CredentialsError(f"{name}: the path of a PEM or DER file is expected, or its contents as bytes")


def describe_source(source: Source) -> str:
    """A source for people: a path in quotes, or how many bytes; never the bytes."""
    return f"<{len(source)} bytes>" if isinstance(source, bytes) else repr(os.fspath(source))


def stamp_source(source: Source) -> tuple[int, ...] | None:
    """What changes when a file does; None for bytes, and for what is no file: whoever reads it says what is wrong."""
    if isinstance(source, bytes):
        return None
    try:
        found = os.stat(source)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def __getattr__(name: str) -> Any:
    """The names that stand in other rooms: see there."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    room = "sigv4" if name == "Credentials" else "providers"
    value: Any = getattr(import_module(f".{room}", __package__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
