"""What a request of the HTTPS interface says: `POST /topics/{topic}`, its query and its headers, as one `Publish`.

No socket in here, and no HTTP syntax: `iotwire.emulator.http` has both. The names are those of the service's publish
operation; where a request is wrong, `RequestError` has the status that the service answers with.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Iterable
from typing import Any

from ..errors import EncodeError
from ..mqtt import Publish

__all__ = [
    "MAX_USER_PROPERTIES",
    "RequestError",
    "invalid",
    "percent_decode",
    "printable",
    "read_publish",
    "split_target",
]

MAX_USER_PROPERTIES = 100
_TOPICS = "/topics/"
_USER_PROPERTIES = "x-amz-mqtt5-user-properties"
_FORMAT_INDICATOR = "x-amz-mqtt5-payload-format-indicator"
_CORRELATION_DATA = "x-amz-mqtt5-correlation-data"
_FORMATS = {"UNSPECIFIED_BYTES": 0, "UTF8_DATA": 1}
_QUERY_NAMES = ("qos", "retain", "contentType", "responseTopic", "messageExpiry")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


class RequestError(Exception):
    """A request that is answered with an error. status: of HTTP. kind: the service's own name for it."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


def invalid(message: str, status: int = 400) -> RequestError:
    """A request that is not as the service takes it."""
    return RequestError(status, "InvalidRequestException", message)


def read_publish(method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> Publish:
    """The message that a request publishes.

    target: as it stood in the request line. headers: names in lower case. Raises RequestError.
    """
    path, query = split_target(target)
    if not path.startswith(_TOPICS) or path == _TOPICS:
        raise RequestError(404, "ResourceNotFoundException", "only /topics/{topic} is served")
    if method != "POST":
        raise RequestError(405, "MethodNotAllowedException", f"POST is expected, not {method}")
    topic = percent_decode(path.removeprefix(_TOPICS).encode("latin-1"), "the topic")
    if topic in (".", ".."):
        # Every proxy and client library on the way takes them for steps in the path (RFC 3986, 5.2.4).
        raise invalid("the topics . and .. cannot be carried in a path")
    try:
        return Publish(topic, body, **_read_query(query), **_read_headers(headers))
    except EncodeError as error:
        raise invalid(str(error)) from error


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request's target, as they came.

    Every server has to take the absolute-form as well (RFC 9112, 3.2.2).
    """
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        target = "/" + rest.partition("/")[2]
    path, _, query = target.partition("?")
    return path, query


def printable(text: str) -> str:
    """A stranger's text for a line of the log, which stays one line whatever is in it."""
    return "".join(each if each.isprintable() else "?" for each in text)


def percent_decode(raw: bytes, name: str) -> str:
    """What percent-encoded UTF-8 stands for. A `+` stays one: this is no form.

    Raises RequestError, which has the name of what it is, and not the text.
    """
    if raw.count(b"%") != len(_ESCAPE.findall(raw)):
        raise invalid(f"{name}: % must be followed by two hexadecimal digits")
    try:
        return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), raw).decode()
    except UnicodeDecodeError:
        raise invalid(f"{name}: UTF-8 is expected") from None


def _read_query(query: str) -> dict[str, Any]:
    given: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name not in _QUERY_NAMES:
            continue  # of a custom authorizer, or of a signature
        if name in given:
            raise invalid(f"{name}: given twice")
        given[name] = percent_decode(value.encode("latin-1"), name)
    properties: dict[str, Any] = {
        "qos": _choose("qos", given.get("qos", "0"), {"0": 0, "1": 1}),
        "retain": _choose("retain", given.get("retain", "false").lower(), {"false": False, "true": True}),
        "content_type": given.get("contentType"),
        "response_topic": given.get("responseTopic"),
    }
    expiry = given.get("messageExpiry")
    if expiry is not None:
        if not expiry.isascii() or not expiry.isdecimal() or len(expiry) > 10:
            raise invalid("messageExpiry: a number of seconds is expected")
        properties["message_expiry_interval"] = int(expiry)
    return properties


def _read_headers(headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    given: dict[str, str] = {}
    for name, value in headers:
        if name.startswith("x-amz-mqtt5-"):
            if name in given:
                raise invalid(f"{name}: given twice")
            given[name] = value
    properties: dict[str, Any] = {}
    if _USER_PROPERTIES in given:
        properties["user_properties"] = _read_user_properties(given[_USER_PROPERTIES])
    if _FORMAT_INDICATOR in given:
        properties["payload_format_indicator"] = _choose(_FORMAT_INDICATOR, given[_FORMAT_INDICATOR], _FORMATS)
    if _CORRELATION_DATA in given:
        properties["correlation_data"] = _decode_base64(_CORRELATION_DATA, given[_CORRELATION_DATA])
    return properties


def _read_user_properties(value: str) -> tuple[tuple[str, str], ...]:
    """Base64 of a JSON array of objects with one pair each: so that order and repeats are kept."""
    try:
        pairs = json.loads(_decode_base64(_USER_PROPERTIES, value))
    except (ValueError, RecursionError):
        raise invalid(f"{_USER_PROPERTIES}: base64 of JSON is expected") from None
    if not isinstance(pairs, list) or len(pairs) > MAX_USER_PROPERTIES:
        raise invalid(f"{_USER_PROPERTIES}: an array of at most {MAX_USER_PROPERTIES} objects is expected")
    properties = []
    for pair in pairs:
        if not isinstance(pair, dict) or len(pair) != 1:
            raise invalid(f"{_USER_PROPERTIES}: each object must hold one pair")
        [(name, text)] = pair.items()
        if not isinstance(text, str):
            raise invalid(f"{_USER_PROPERTIES}: each value must be a string")
        properties.append((name, text))
    return tuple(properties)


def _decode_base64(name: str, value: str) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"{name}: base64 is expected") from None


def _choose(name: str, value: str, values: dict[str, Any]) -> Any:
    if value not in values:
        raise invalid(f"{name}: one of {', '.join(values)} is expected")
    return values[value]
