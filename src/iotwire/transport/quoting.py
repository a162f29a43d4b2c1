"""A server's own words, for people to read: bounded, printable, and without what it repeats of a request's secrets.

Error pages like to show the request that they are about, and with it a token or a signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = [
    "MAX_QUOTED",
    "describe_status",
    "mask_secrets",
    "printable",
    "quote_words",
    "values_of_headers",
    "values_of_query",
]

# Characters of a refusal's own words that are passed on.
MAX_QUOTED = 200
# Characters of a word that count as one of a secret, and those between words.
MIN_SECRET = 6
WORD = re.compile(r"[^\s\"'<>&?=;,()]+")


# Of what a signature has in a query, these are to be kept; the rest explains a refusal.
SECRET_PARAMETERS = frozenset({"X-Amz-Signature", "X-Amz-Security-Token"})
AUTHORIZER_NAME = "x-amz-customauthorizer-name"


def values_of_query(query: str) -> list[str]:
    """What may be secret in a query."""
    pairs = [each.partition("=")[::2] for each in query.split("&")]
    return [value for name, value in pairs if not name.startswith("X-Amz-") or name in SECRET_PARAMETERS]


def values_of_headers(headers: Iterable[tuple[str, str]]) -> list[str]:
    """What may be secret in headers."""
    return [value for name, value in headers if name != AUTHORIZER_NAME]


def mask_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text with *** for words that are secret.

    secrets: values that were sent, as they were sent. A word is secret that is a part of one, or has one as its part,
    encoded for a URL or for HTML or not.
    """
    from urllib.parse import unquote_plus

    if "&" in text:
        from html import unescape  # half a megabyte, for a refusal alone

        text = unescape(text)
    hidden = [form for secret in secrets for form in {secret, unquote_plus(secret)} if len(form) >= MIN_SECRET]

    def mask(word: re.Match[str]) -> str:
        forms = {word[0], unquote_plus(word[0])}
        is_secret = any(len(form) >= MIN_SECRET and (form in each or each in form) for form in forms for each in hidden)
        return "***" if is_secret else word[0]

    return WORD.sub(mask, text) if hidden else text


def quote_words(text: str, secrets: Iterable[str], most: int) -> str:
    """At most so many characters of a text, in one line, and none of the secrets: see `mask_secrets`."""
    return printable(" ".join(mask_secrets(text, secrets).split()), most)


def printable(text: str, most: int) -> str:
    """What a server said, fit for a message: at most so many characters of it, and no control characters."""
    shown = "".join(each if each.isprintable() else "?" for each in text[:most])
    return shown if len(text) <= most else shown + "..."


def describe_status(status: int) -> str:
    """A status of HTTP with the standard's phrase for it: the server's own may say anything."""
    from http import HTTPStatus  # what a refusal alone needs

    return f"{status} {next((each.phrase for each in HTTPStatus if each == status), 'no status of HTTP')}"
