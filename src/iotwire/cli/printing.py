"""What strangers send, shown so that it cannot do anything to a terminal."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..mqtt import Publish

__all__ = [
    "PROPERTY_NAMES",
    "as_json",
    "as_text",
    "as_time",
    "describe_message",
    "describe_payload",
    "describe_properties",
    "printable",
    "write_out",
]

# The properties of a PUBLISH that are shown: all that travel with a message. To import the client's own list of them is
# to import the client.
PROPERTY_NAMES = (
    "payload_format_indicator",
    "message_expiry_interval",
    "content_type",
    "response_topic",
    "correlation_data",
    "user_properties",
)
# What stays as it is in a payload besides what is printable.
KEPT = frozenset("\n\t")


def printable(text: str, kept: frozenset[str] = frozenset()) -> str:
    r"""A text without control characters: each is written as its escape, as `\x1b`.

    Those that turn the direction of writing, or show nothing at all, count as such.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in kept else each.encode("unicode_escape", "surrogatepass").decode("ascii")
        for each in text
    )


def as_text(payload: bytes | memoryview, *, is_terminal: bool) -> bytes:
    """A payload as it is; for a terminal without what would be an order to it."""
    data = bytes(payload)
    if not is_terminal:
        return data
    return printable(data.decode("utf-8", "backslashreplace"), KEPT).encode()


def as_json(value: object) -> str:
    """On one line, in ASCII: what a terminal may take for an order is an escape of JSON."""
    return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")


def describe_message(message: Publish) -> dict[str, Any]:
    """A message as JSON has it. A payload that is no UTF-8 is `payload_base64`, and so is correlation data."""
    found: dict[str, Any] = {
        "time": as_time(datetime.now(UTC)),
        "topic": message.topic,
        "qos": int(message.qos),
        "retain": message.retain,
    }
    given = {name: value for name in PROPERTY_NAMES if (value := getattr(message, name)) not in (None, ())}
    return found | describe_payload(bytes(message.payload)) | describe_properties(given)


def describe_payload(payload: bytes) -> dict[str, Any]:
    """Whichever is exact: `payload`, a text, or `payload_base64`."""
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": _base64(payload)}


def describe_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties of a PUBLISH as JSON has them."""
    found = dict(properties)
    if "correlation_data" in found:
        found["correlation_data_base64"] = _base64(found.pop("correlation_data"))
    if "user_properties" in found:
        found["user_properties"] = [list(pair) for pair in found["user_properties"]]
    return found


def as_time(moment: datetime) -> str:
    """A time in UTC, with milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def write_out(data: bytes) -> None:
    """Write to the standard output at once: someone may watch through a pipe."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
