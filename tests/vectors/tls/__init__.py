"""TLS hellos as objects and bytes, and bytes that are none: one list for tests and fuzzing."""

from __future__ import annotations

from vectors.tls.hellos import VECTORS, Vector
from vectors.tls.malformed import (
    MALFORMED,
    SERVER_MALFORMED,
    Malformed,
    put_body,
    put_extension,
    put_message,
    put_record,
    put_vector,
)

__all__ = [
    "MALFORMED",
    "SERVER_MALFORMED",
    "VECTORS",
    "Malformed",
    "Vector",
    "put_body",
    "put_extension",
    "put_message",
    "put_record",
    "put_vector",
]
