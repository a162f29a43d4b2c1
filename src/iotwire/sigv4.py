"""Signature Version 4 of AWS: signed headers, presigned URLs, and the check of both.

Compiled, with a SHA-256 of its own; imports neither `ssl`, `asyncio` nor `cryptography`.
"""

from __future__ import annotations

from time import time

from iotwire._sigv4 import (
    UNSIGNED_HEADERS,
    UNSIGNED_PAYLOAD,
    Credentials,
    Signer,
    canonical_request,
    lend_clock,
    presign_mqtt_url,
    string_to_sign,
)

TYPE_CHECKING = False  # as in `typing`, which costs more memory to import than all of this
if TYPE_CHECKING:
    from typing import Any

    from iotwire._verification import VerifiedRequest, verify_request

__all__ = [
    "UNSIGNED_HEADERS",
    "UNSIGNED_PAYLOAD",
    "Credentials",
    "Signer",
    "VerifiedRequest",
    "canonical_request",
    "presign_mqtt_url",
    "string_to_sign",
    "verify_request",
]

lend_clock(time)


def __getattr__(name: str) -> Any:
    """What devices do without: they sign, and servers verify."""
    if name not in ("VerifiedRequest", "verify_request"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from iotwire import _verification

    value: Any = getattr(_verification, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
