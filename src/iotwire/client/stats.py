"""What a client has done so far, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..mqtt import PacketType

if TYPE_CHECKING:
    from ..outbox import OutboxStats

__all__ = ["ClientStats", "RouteStats", "Traffic"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """So many packets, and their bytes: MQTT packets whole, without what TLS and TCP add to them."""

    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class RouteStats:
    """What went over one of a client's routes. Bytes are those of MQTT packets, as in `ClientStats`.

    server, interface: as the route has them; an interface of None is the routing table's choice. attempts: to connect.
    connections: those of them that a server accepted.
    """

    server: str
    interface: str | None
    attempts: int = 0
    connections: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(frozen=True, slots=True)
class ClientStats:
    """What a client has sent and received since it was made, over all its connections.

    A message that is sent again after a reconnect counts again. A packet counts as sent when it is handed over to be
    written; what a connection that broke had not sent by then is included.

    bytes_sent, bytes_received: of all packets. by packet type: `sent`, `received`. Messages by the first level of their
        topic: `sent_by_topic`, `received_by_topic`; the first 64 levels are told apart, what comes after stands under
        None.
    messages_dropped: QoS 0 messages that found no room, and those that a stream still held when it was closed.
    messages_unclaimed: messages that are kept because nobody has asked for them yet.
    messages_queued: messages to the server that have no final answer yet, or wait to leave; peak_queued: the most ever.
    peak_unread: the most messages that one stream or callback had waiting.
    connections: how often the server has accepted this client. reconnects: how often that was not for the first time.
    routes: what went over each of its routes, in their order.
    outbox: what is on disk, and what became of it; None without an outbox.
    """

    messages_sent: int
    messages_received: int
    bytes_sent: int
    bytes_received: int
    messages_dropped: int
    messages_unclaimed: int
    messages_queued: int
    peak_queued: int
    peak_unread: int
    connections: int
    reconnects: int
    sent: Mapping[PacketType, Traffic]
    received: Mapping[PacketType, Traffic]
    sent_by_topic: Mapping[str | None, Traffic]
    received_by_topic: Mapping[str | None, Traffic]
    routes: tuple[RouteStats, ...] = ()
    outbox: OutboxStats | None = None
