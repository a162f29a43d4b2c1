"""The server's side of TLS: as strict as the service, and it says why it refuses."""

from __future__ import annotations

import logging
import ssl
from contextvars import ContextVar

from ..credentials import X509
from ..transport.tls import load_authorities, load_certificate
from .peek import Way, find_name_fault

__all__ = ["FIRST_BYTES", "make_server_context"]

_log = logging.getLogger("iotwire.emulator")

# What was read of a connection before its TLS session is made, in the task that makes it: event loops carry the
# variable to where they wrap the connection, and so connections that arrive together do not mix.
FIRST_BYTES: ContextVar[bytes] = ContextVar("FIRST_BYTES", default=b"")


class _AnsweringObject(ssl.SSLObject):
    """A TLS session whose alert reaches the peer when the handshake fails.

    asyncio drops the connection as soon as `do_handshake` raises, and with it the alert that OpenSSL has just written:
    the device would see a reset, and no reason. "More input is wanted" makes asyncio send what is written first; the
    error follows with the peer's next byte, or its end.
    """

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self._failure = error
            raise ssl.SSLWantReadError from error


class _ReplayingContext(ssl.SSLContext):
    """A context whose connections begin with `FIRST_BYTES`."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        incoming.write(FIRST_BYTES.get())
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def make_server_context(
    certificate: X509, names: frozenset[str], way: Way, *, wants_sni: bool = True
) -> ssl.SSLContext:
    """TLS 1.2 or 1.3, with SNI for one of these names (in lower case), and what else this way asks for.

    wants_sni: whether a ClientHello without a server name is refused too.

    A client certificate must be of the same authority. That the name was checked before is no reason not to check what
    OpenSSL has read: what two readers take differently is how checks are got around.
    """
    context = _ReplayingContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _AnsweringObject
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if way.is_x509:
        context.verify_mode = ssl.CERT_REQUIRED
        assert certificate.ca is not None
        load_authorities(context, certificate.ca)
    load_certificate(context, certificate)
    context.num_tickets = 0  # the service offers none: TLS 1.3, and
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION  # TLS 1.2
    if way.alpn is not None:
        context.set_alpn_protocols([way.alpn])

    def check_server_name(_: object, name: str | None, __: ssl.SSLContext) -> int | None:
        # Called for every ClientHello; the name is None where it has no SNI.
        fault = find_name_fault(name, names, wants_sni=wants_sni)
        if fault is None:
            return None
        _log.info("a ClientHello %s is refused", fault)
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = check_server_name
    return context
