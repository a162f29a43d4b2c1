"""TLS contexts for the client's side. TLS 1.2 at least; certificate and name are verified, always."""

from __future__ import annotations

import os
import ssl

from ..credentials import X509
from ..errors import CredentialsError
from ..route import TlsPlan

__all__ = ["make_client_context"]


def make_client_context(plan: TlsPlan) -> ssl.SSLContext:
    """A context for one attempt. Reads files, so not to be called on an event loop's thread.

    Raises CredentialsError, which names the file, where one is missing, unreadable or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # with CERT_REQUIRED and check_hostname
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if plan.alpn:
        context.set_alpn_protocols(list(plan.alpn))
    if plan.ca is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(cafile=os.fspath(plan.ca))
        except (OSError, ValueError) as error:
            raise CredentialsError(f"ca: cannot read {os.fspath(plan.ca)}: {_reason(error)}") from error
    if plan.certificate is not None:
        load_certificate(context, plan.certificate)
    return context


def load_certificate(context: ssl.SSLContext, certificate: X509) -> None:
    """Load a certificate and its key. Raises CredentialsError, which names both files but nothing of what they hold."""
    password = certificate.password

    def give_password() -> str | bytes:
        # Without a function OpenSSL would ask for the password on the terminal, and a service would wait for ever.
        return b"" if password is None else password

    try:
        context.load_cert_chain(os.fspath(certificate.cert), os.fspath(certificate.key), give_password)
    except (OSError, ValueError) as error:
        files = f"{os.fspath(certificate.cert)} and its key {os.fspath(certificate.key)}"
        # `from None`: OpenSSL's own texts are harmless, but a ValueError may quote the password.
        raise CredentialsError(f"cannot use the certificate {files}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key does not belong to the certificate"
        return f"not a PEM file of that kind, or encrypted with another password ({error.reason or 'no PEM data'})"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__
