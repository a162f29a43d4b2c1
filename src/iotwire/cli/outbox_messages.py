"""The messages of an outbox on the command line: which are meant, and what a line of JSON says of each."""

from __future__ import annotations

import argparse
import binascii
import json
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import EncodeError
from ..mqtt import topic_matches, validate_topic_filter
from ..outbox import DEFAULT_PRIORITY, OutboxView, StoredMessage, ViewedMessage
from .printing import PROPERTY_NAMES, as_time, describe_payload, describe_properties, printable

__all__ = [
    "add_topic_argument",
    "damage_status",
    "describe_stored",
    "matching",
    "moment_of",
    "read_stored",
    "refuse_list_options",
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS = 253_402_300_799_999  # of the year 9999; a damaged file may say anything
KEYS = frozenset(
    {"topic", "payload", "payload_base64", "qos", "retain", "properties", "priority", "stored_at", "expires_at"}
)
PROPERTIES = frozenset(PROPERTY_NAMES) - {"correlation_data"} | {"correlation_data_base64"}


def topic_filter(text: str) -> str:
    """A topic filter of MQTT."""
    try:
        validate_topic_filter(text)
    except EncodeError as error:
        raise argparse.ArgumentTypeError(f"a topic filter {error.message}") from None
    return text


def add_topic_argument(parser: argparse.ArgumentParser, default: Any = None) -> None:
    parser.add_argument(
        "-t",
        "--topic",
        type=topic_filter,
        default=default,
        metavar="FILTER",
        help="only messages on topics that match, such as plant/+/temperature",
    )


def refuse_list_options(options: argparse.Namespace, *names: str) -> None:
    """Leave with a usage error where options that stand before the action are of no use to it."""
    for name in names:
        if getattr(options, name) is not None:
            options.parser.error(f"--{name}: has no use with {options.action}")


def matching(view: OutboxView, wanted: str | None) -> Iterator[ViewedMessage]:
    """The messages on topics that match a filter; all of them without one."""
    for viewed in view.messages():
        if wanted is None or topic_matches(wanted, viewed.message.topic):
            yield viewed


def damage_status(view: OutboxView) -> int:
    """The exit status when all has been read; a file that is damaged is told."""
    if not view.is_damaged:
        return 0
    print(
        f"iotwire: {printable(str(view.path))} is damaged: this is what can be read of it; the next client that opens "
        "it sets the file aside, and stores that again",
        file=sys.stderr,
    )
    return 1


def moment_of(milliseconds: int) -> datetime:
    """A time of an outbox."""
    return EPOCH + timedelta(milliseconds=min(max(milliseconds, 0), LAST_MS))


def describe_stored(viewed: ViewedMessage) -> dict[str, Any]:
    """All of a message, as `read_stored` reads it."""
    message = viewed.message
    return {
        "topic": message.topic,
        **describe_payload(message.payload),
        "qos": message.qos,
        "retain": message.retain,
        "properties": describe_properties(message.properties),
        "priority": viewed.priority,
        "stored_at": as_time(moment_of(viewed.stored_ms)),
        "expires_at": None if viewed.expires_ms is None else as_time(moment_of(viewed.expires_ms)),
    }


def read_stored(line: bytes) -> ViewedMessage:
    """What `describe_stored` said, in JSON. Raises EncodeError that names the key.

    Of what may be left out, `qos` is 1, `stored_at` is now, and `expires_at` what message_expiry_interval makes it.
    What a PUBLISH can carry, `Outbox.restore` knows.
    """
    found = _read_object(line)
    for name in found.keys() - KEYS:
        raise EncodeError("is no key of a message", field=name)
    properties = _read_properties(found.get("properties", {}))
    stored_ms = _read_time(found, "stored_at")
    if stored_ms is None:
        stored_ms = time.time_ns() // 1_000_000
    expires_ms = _read_time(found, "expires_at")
    expiry_s = properties.get("message_expiry_interval")
    if "expires_at" not in found and type(expiry_s) is int:
        expires_ms = stored_ms + expiry_s * 1000
    retain = found.get("retain", False)
    if type(retain) is not bool:
        raise EncodeError("true or false is expected", field="retain")
    message = StoredMessage(0, found.get("topic", ""), _read_payload(found), found.get("qos", 1), retain, properties)
    return ViewedMessage(message, found.get("priority", DEFAULT_PRIORITY), stored_ms, expires_ms, 0)


def _read_object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise EncodeError("an object of JSON is expected")
    return found


def _read_payload(found: dict[str, Any]) -> bytes:
    if ("payload" in found) == ("payload_base64" in found):
        raise EncodeError("either this or payload_base64 is expected", field="payload")
    if "payload_base64" in found:
        return _read_base64(found["payload_base64"], "payload_base64")
    try:
        return bytes(found["payload"].encode())
    except (AttributeError, UnicodeEncodeError):
        raise EncodeError("a text is expected", field="payload") from None


def _read_base64(text: Any, field: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise EncodeError("base64 is expected", field=field) from None


def _read_properties(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise EncodeError("an object of JSON is expected", field="properties")
    for name in given.keys() - PROPERTIES:
        raise EncodeError("is no property of a PUBLISH", field=name)
    properties = dict(given)
    if "correlation_data_base64" in properties:
        data = properties.pop("correlation_data_base64")
        properties["correlation_data"] = _read_base64(data, "correlation_data_base64")
    if "user_properties" in properties:
        pairs = properties["user_properties"]
        if not (isinstance(pairs, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)):
            raise EncodeError("pairs of texts are expected", field="user_properties")
        properties["user_properties"] = tuple(map(tuple, pairs))
    return properties


def _read_time(found: dict[str, Any], name: str) -> int | None:
    """Milliseconds since 1970; None where there is none."""
    text = found.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return max(0, (moment - EPOCH) // timedelta(milliseconds=1))
    except (TypeError, ValueError, OverflowError):
        raise EncodeError("a time such as 2026-01-31T12:00:00.000Z is expected", field=name) from None
