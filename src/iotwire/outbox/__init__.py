"""Messages that survive a dead uplink, a killed process and a pulled plug: a store on disk in front of a client."""

from __future__ import annotations

from .outbox import DEFAULT_PRIORITY, FullPolicy, Outbox, OutboxStats, StoredMessage
from .store import SyncMode
from .window import Ticket

__all__ = ["DEFAULT_PRIORITY", "FullPolicy", "Outbox", "OutboxStats", "StoredMessage", "SyncMode", "Ticket"]
