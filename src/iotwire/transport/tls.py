"""TLS contexts for the client's side. TLS 1.2 at least; certificate and name are verified, always.

What can be known to be wrong with the client's own certificate is said before a packet is sent.
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from .._lock import ForkSafeLock
from ..clock import show_time
from ..credentials import X509, Source, stamp_source
from ..errors import CredentialsError
from ..route import TlsPlan
from .pem import Validity, encode_pem, find_certificate, is_encrypted_key, is_pem, name_key, read_validity

__all__ = [
    "ClientContext",
    "TlsContexts",
    "keep_session",
    "load_authorities",
    "load_certificate",
    "make_client_context",
]

# Bytes of the largest file that is read: the certificate authorities of a whole system are a quarter of it.
MAX_FILE_BYTES = 1024 * 1024
WRONG_FILE = "not a PEM or DER file of that kind, or encrypted with another password"
# What OpenSSL calls a key that is not the certificate's: another one of its kind, one of another kind.
MISMATCHES = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})


class ClientContext(ssl.SSLContext):
    """A context whose next connection goes on with `session`, where the server still knows it (RFC 8446, 2.2).

    asyncio has no way to pass a session on; it wraps its connections here, though.
    """

    session: ssl.SSLSession | None = None
    validity: Validity | None = None  # of the client's own certificate

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session or self.session)


def keep_session(connection: ssl.SSLObject | socket.socket | None) -> None:
    """Have the next connection of a `ClientContext` go on with what the server has given this one, if it has TLS.

    In TLS 1.3 each connection brings a ticket, which is to be used once (RFC 8446, C.4). One of TLS 1.2 that was
    resumed has the session that is kept already, and to take it costs a copy: with OpenSSL 3.0 a quarter of a
    millisecond on a fast machine, more than the handshake.
    """
    if not isinstance(connection, (ssl.SSLObject, ssl.SSLSocket)) or not isinstance(connection.context, ClientContext):
        return
    if not (connection.session_reused and connection.version() == "TLSv1.2"):
        connection.context.session = connection.session or connection.context.session


class TlsContexts:
    """The context of one client, made anew when the plan, or a file of it, has changed. For threads.

    A context remembers the session of its latest connection, and reading the operating system's certificate authorities
    takes a board tens of milliseconds: connections that are opened at once are to have one.
    """

    def __init__(self) -> None:
        self._making = ForkSafeLock()
        self._key: Any = None
        self._context: ClientContext | None = None

    def get(self, plan: TlsPlan, *, now: datetime | None = None) -> ClientContext:
        """As `make_client_context`."""
        with self._making.of_process():
            key = (plan, [stamp_source(source) for source in _sources_of(plan)])
            context = self._context
            if context is None or key != self._key:
                context = self._context = make_client_context(plan, now=now)
                self._key = key
            else:
                _check_dates(plan.certificate, context.validity, now)  # time has gone on
            return context


def _sources_of(plan: TlsPlan) -> list[Source]:
    sources = [] if plan.ca is None else [plan.ca]
    if plan.certificate is not None:
        sources += [plan.certificate.cert, plan.certificate.key]
    return sources


def make_client_context(plan: TlsPlan, *, now: datetime | None = None) -> ClientContext:
    """A context for connections of this plan. Reads files, so not to be called on an event loop's thread.

    now: an aware time to judge the client's certificate by; None for the clock's.

    Raises CredentialsError, which names the file, where one is missing, unreadable or does not fit, and where the
    client's certificate is not valid at that time.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)  # with CERT_REQUIRED and check_hostname
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if plan.alpn:
        context.set_alpn_protocols(list(plan.alpn))
    if plan.ca is None:
        context.load_default_certs()
    else:
        load_authorities(context, plan.ca)
    if plan.certificate is not None:
        context.validity = load_certificate(context, plan.certificate)
        _check_dates(plan.certificate, context.validity, now)
    return context


def load_authorities(context: ssl.SSLContext, ca: Source) -> None:
    """Trust these certificate authorities. Raises CredentialsError, which names the file."""
    try:
        data = _read(ca)
        # As text it has to be ASCII, and what people write between the certificates need not be.
        context.load_verify_locations(cadata=data.decode("ascii", "ignore") if is_pem(data) else data)
    except (OSError, ValueError) as error:
        reason = _reason(error, "not a PEM or DER file of certificates")
        raise CredentialsError(f"ca: cannot read {_name(ca)}: {reason}") from error


def load_certificate(context: ssl.SSLContext, certificate: X509) -> Validity | None:
    """Load a certificate and its key, and tell when it is valid; None where its dates cannot be read.

    Raises CredentialsError, which names both files but nothing of what they hold.
    """
    password = certificate.password
    what = f"the certificate {_name(certificate.cert)} and its key {_name(certificate.key)}"
    is_locked = False

    def give_password() -> str | bytes:
        # Without a function OpenSSL would ask for the password on the terminal, and a service would wait for ever.
        return b"" if password is None else password

    try:
        cert, key = _read(certificate.cert), _read(certificate.key)
        is_locked = password is None and is_encrypted_key(key)
        with (
            _as_pem_file(certificate.cert, cert, "CERTIFICATE") as cert_path,
            _as_pem_file(certificate.key, key, None) as key_path,
        ):
            context.load_cert_chain(cert_path, key_path, give_password)
    except (OSError, ValueError) as error:
        reason = "the key is encrypted, and no password is given" if is_locked else _reason(error, WRONG_FILE)
        # `from None`: OpenSSL's own texts are harmless, but a ValueError may quote the password.
        raise CredentialsError(f"cannot use {what}: {reason}") from None
    try:
        return read_validity(find_certificate(cert))
    except ValueError:
        return None  # OpenSSL takes it nevertheless: the server is to judge


def _check_dates(certificate: X509 | None, validity: Validity | None, now: datetime | None) -> None:
    """Raise CredentialsError unless the certificate is valid now, as far as is known."""
    if certificate is None or validity is None:
        return
    now = now or datetime.now(UTC)
    if now < validity.not_before:
        wrong = f"is not valid before {show_time(validity.not_before)}"
    elif now > validity.not_after:
        wrong = f"has expired: it was valid until {show_time(validity.not_after)}"
    else:
        return
    raise CredentialsError(
        f"the certificate {_name(certificate.cert)} {wrong}, and this machine's clock says {show_time(now)}. "
        "If the clock is wrong, set it; else the device needs a new certificate"
    )


def _name(source: Source) -> str:
    return "given as bytes" if isinstance(source, bytes) else os.fspath(source)


def _read(source: Source) -> bytes:
    """What is in it."""
    if isinstance(source, bytes):
        return source
    with open(source, "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(None, f"it has more than {MAX_FILE_BYTES} bytes")
    return data


@contextmanager
def _as_pem_file(source: Source, data: bytes, label: str | None) -> Iterator[str]:
    """A path where OpenSSL, which loads them from PEM files alone, finds a certificate or a key for a moment.

    data: what was read of the source. label: what it is called where it is DER; None for a key: see `name_key`.
    """
    has_pem = is_pem(data)
    if not isinstance(source, bytes) and has_pem and stat.S_ISREG(os.stat(source).st_mode):
        yield os.fspath(source)
        return
    if not has_pem:
        try:
            data = encode_pem(label or name_key(data), data)
        except ValueError:
            raise OSError(None, WRONG_FILE) from None
    with _as_file(data) as path:
        yield path


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A file with these bytes that this user alone can read, and that is gone afterwards; in memory if possible."""
    descriptor = _make_memory_file(data)
    if descriptor is not None:
        try:
            yield _path_of(descriptor)
        finally:
            os.close(descriptor)
        return
    import tempfile  # a megabyte that few need

    descriptor, path = tempfile.mkstemp(prefix="iotwire-")  # readable by this user alone
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        yield path
    finally:
        os.unlink(path)


def _make_memory_file(data: bytes) -> int | None:
    """The descriptor of a file that is nowhere on a disk; None where there is none, or none that has a path."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        descriptor = os.memfd_create("iotwire")
    except OSError:
        return None
    try:
        os.fchmod(descriptor, 0o600)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.close(os.open(_path_of(descriptor), os.O_RDONLY))  # /proc may not be mounted, or not for this
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _path_of(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _reason(error: Exception, wanted: str) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason in MISMATCHES:
            return "the key does not belong to the certificate"
        return f"{wanted} ({error.reason or 'no PEM data'})"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__
