"""What a row of an outbox means: the message as it was put, and what the outbox knows of it besides."""

from __future__ import annotations

from typing import Any, NamedTuple

from .._message import properties_of
from ..mqtt import Publish, decode
from .store import Row, priority_of

__all__ = ["SavedSession", "StoredMessage", "ViewedMessage", "message_of", "view_of"]


class StoredMessage(NamedTuple):
    """A message taken out. properties: of a PUBLISH of MQTT 5.0, its expiry counted down."""

    id: int
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: dict[str, Any]


class ViewedMessage(NamedTuple):
    """A message that stays where it is. message: as it was put, its expiry not counted down.

    priority: 0 to 9. stored_ms, expires_ms: milliseconds since 1970, expires_ms is None for never. size: bytes of its
    packet, as `OutboxStats.bytes` counts them.
    """

    message: StoredMessage
    priority: int
    stored_ms: int
    expires_ms: int | None
    size: int


def message_of(row: Row) -> StoredMessage:
    """The message of a row that is whole."""
    packet = decode(row.packet, 5)
    assert packet is not None
    publish = packet[0]
    assert isinstance(publish, Publish)
    return StoredMessage(
        row.id, publish.topic, bytes(publish.payload), int(publish.qos), publish.retain, properties_of(publish)
    )


def view_of(row: Row) -> ViewedMessage:
    """The same, with what else is in the row."""
    return ViewedMessage(message_of(row), priority_of(row.id), row.stored_ms, row.expires_ms, len(row.packet))


class SavedSession(NamedTuple):
    """What was kept of a session. sent: packet id, whether PUBREC has come, and the message. received: packet ids."""

    sent: list[tuple[int, bool, StoredMessage]]
    received: list[int]
