"""The server's side of TLS: as strict as the service, and it says why it refuses."""

from __future__ import annotations

import logging
import ssl

from ..credentials import X509
from ..transport.tls import load_certificate

__all__ = ["make_server_context"]

_log = logging.getLogger("iotwire.emulator")


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


def make_server_context(certificate: X509, names: frozenset[str], alpn: str | None) -> ssl.SSLContext:
    """TLS 1.2 or 1.3, with SNI for one of these names (in lower case), and a client certificate of the same authority.

    alpn: the name to agree on with a device that offers it; whether it has done so is seen after the handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _AnsweringObject
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=certificate.ca)
    load_certificate(context, certificate)
    context.num_tickets = 0  # the service offers none: TLS 1.3, and
    context.options |= ssl.OP_NO_TICKET  # TLS 1.2
    if alpn is not None:
        context.set_alpn_protocols([alpn])

    def check_server_name(_: object, name: str | None, __: ssl.SSLContext) -> int | None:
        # Called for every ClientHello; the name is None where it has no SNI.
        if name is not None and name.lower() in names:
            return None
        _log.info("a ClientHello %s is refused", "without SNI" if name is None else "for another endpoint")
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = check_server_name
    return context
