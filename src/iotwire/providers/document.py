"""What sources of credentials say, read strictly: JSON documents, times, settings.

Errors name what is wrong, and never repeat what was read: it may be a secret.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..errors import CredentialsError
from ..sigv4 import Credentials

__all__ = [
    "DocumentNames",
    "is_expired",
    "make_credentials",
    "read_credentials",
    "read_now",
    "read_object",
    "read_setting",
    "read_time",
]

# As the sources write it (RFC 3339, 5.6), such as 2026-11-21T12:00:00Z.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


class DocumentNames(NamedTuple):
    """What a source calls the members of its document."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: str


def read_now(now: datetime) -> datetime:
    """The time itself. Raises CredentialsError where it is not an aware one."""
    if getattr(now, "tzinfo", None) is None:
        raise CredentialsError("now: an aware datetime is expected, such as datetime.now(UTC)")
    return now


def is_expired(credentials: Credentials, now: datetime) -> bool:
    return credentials.expiration is not None and bool(credentials.expiration <= now)


def read_time(text: object) -> datetime | None:
    """A time as UTC; None for what is none."""
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_setting(environ: Mapping[str, str] | None, name: str) -> str:
    """An environment variable without blanks around it; "" where it is not set."""
    return (os.environ if environ is None else environ).get(name, "").strip()


def read_object(body: bytes, source: str) -> dict[str, Any]:
    """A JSON document that is an object. Raises CredentialsError that names the source."""
    try:
        found = json.loads(body.decode())
    except (ValueError, RecursionError):
        found = None
    # Not in the `except`: its error holds the document, and would go along as the context of ours.
    if not isinstance(found, dict):
        raise CredentialsError(f"{source}: the answer is not a JSON object")
    return found


def read_credentials(document: Mapping[str, Any], names: DocumentNames, source: str) -> Credentials:
    """The credentials in a document, all of whose members must be there. Raises CredentialsError that names one."""
    texts = []
    for name in names:
        text = document.get(name)
        if text is None:
            raise CredentialsError(f"{source}: the answer has no {name}")
        if not isinstance(text, str) or not text:
            raise CredentialsError(f"{source}: {name} of the answer must be a text, and not empty")
        texts.append(text)
    *keys, expiration_text = texts
    expiration = read_time(expiration_text)
    if expiration is None:
        raise CredentialsError(f"{source}: {names.expiration} of the answer must be a time like 2026-11-21T12:00:00Z")
    return make_credentials(source, *keys, expiration=expiration)


def make_credentials(
    source: str,
    access_key_id: str,
    secret_access_key: str,
    session_token: str | None,
    *,
    expiration: datetime | None = None,
) -> Credentials:
    """Credentials, or CredentialsError that names the source where they can be none."""
    try:
        return Credentials(access_key_id, secret_access_key, session_token, expiration)
    except CredentialsError as error:
        reason = str(error)
    raise CredentialsError(f"{source}: {reason}")
