"""What strangers send, shown so that it cannot do anything to a terminal."""

from __future__ import annotations

import base64
import json
import sys
from datetime import UTC, datetime
from typing import Any

from ..mqtt import Publish

__all__ = ["as_json", "as_text", "describe_message", "printable", "write_out"]

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
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "topic": message.topic,
        "qos": int(message.qos),
        "retain": message.retain,
    }
    payload = bytes(message.payload)
    try:
        found["payload"] = payload.decode()
    except UnicodeDecodeError:
        found["payload_base64"] = _base64(payload)
    properties = {
        name: getattr(message, name)
        for name in ("payload_format_indicator", "message_expiry_interval", "content_type", "response_topic")
    }
    found |= {name: value for name, value in properties.items() if value is not None}
    if message.correlation_data is not None:
        found["correlation_data_base64"] = _base64(message.correlation_data)
    if message.user_properties:
        found["user_properties"] = [list(pair) for pair in message.user_properties]
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def write_out(data: bytes) -> None:
    """Write to the standard output at once: someone may watch through a pipe."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
