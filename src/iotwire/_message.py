"""What travels with a message besides its topic and its payload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from .mqtt import Publish

__all__ = ["PublishOptions", "PublishProperties", "properties_of"]


class PublishProperties(TypedDict, total=False):
    """The MQTT 5 properties that a client may give a message (MQTT 5.0, 3.3.2.3)."""

    payload_format_indicator: int | None
    message_expiry_interval: int | None
    response_topic: str | None
    correlation_data: bytes | None
    user_properties: Sequence[tuple[str, str]]
    content_type: str | None


class PublishOptions(PublishProperties, total=False):
    """Those, and what an outbox is told. priority: 0 to 9, the higher leave first. urgent: to be stored at once."""

    priority: int
    urgent: bool


_NAMES = tuple(PublishProperties.__annotations__)


def properties_of(message: Publish) -> dict[str, Any]:
    """Those that a message has, as arguments for another one."""
    return {name: value for name in _NAMES if (value := getattr(message, name)) not in (None, ())}
