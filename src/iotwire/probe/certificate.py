"""Who signed a server's certificate: TLS 1.2 sends it in the clear. Nothing of it is verified here.

A proxy that opens TLS has to show a certificate of its own making, and its issuer tells on it.
"""

from __future__ import annotations

__all__ = ["find_certificate", "read_issuer"]

RECORD_HEADER, MESSAGE_HEADER = 5, 4
HANDSHAKE = 22  # a content type (RFC 5246, 6.2.1)
SERVER_HELLO, CERTIFICATE = 2, 11  # types of handshake messages (RFC 5246, 7.4)


def find_certificate(data: bytes | bytearray) -> bytes | None:
    """The server's own certificate, as DER, in the records of its first flight (RFC 5246, 7.4.2).

    Empty where something else is in its place; None while it is incomplete.
    """
    messages = bytearray()
    pos = 0
    while pos + RECORD_HEADER <= len(data) and data[pos] == HANDSHAKE:
        end = pos + RECORD_HEADER + int.from_bytes(data[pos + 3 : pos + 5], "big")
        messages += data[pos + RECORD_HEADER : end]
        pos = end
    is_over = pos < len(data) and data[pos] != HANDSHAKE  # an alert
    pos = 0
    while pos + MESSAGE_HEADER <= len(messages) and messages[pos] == SERVER_HELLO:
        pos += MESSAGE_HEADER + int.from_bytes(messages[pos + 1 : pos + 4], "big")
    # The message's header, the length of the list, that of the first certificate, and it.
    start = pos + MESSAGE_HEADER + 6
    if start <= len(messages) and messages[pos] == CERTIFICATE:
        end = start + int.from_bytes(messages[start - 3 : start], "big")
        if end <= len(messages):
            return bytes(messages[start:end])
    elif pos < len(messages) and messages[pos] != CERTIFICATE:
        return b""
    return b"" if is_over else None


def read_issuer(certificate: bytes) -> str | None:
    """The issuer of a certificate in DER, such as "CN=Amazon RSA 2048 M01,O=Amazon,C=US" (RFC 4514).

    None where it cannot be read, or the package cryptography is not there to do it.
    """
    try:
        from cryptography.x509 import load_der_x509_certificate
    except ImportError:
        return None
    try:
        issuer = load_der_x509_certificate(certificate).issuer.rfc4514_string()
    except Exception:  # noqa: BLE001 -- whatever a stranger's certificate makes of it, the probe goes on
        return None
    return "".join(each if each.isprintable() else "?" for each in issuer)  # it may go to a terminal
