"""Messages that survive a dead uplink, a killed process and a pulled plug: a store on disk in front of a client."""

from __future__ import annotations

from .message import SavedSession, StoredMessage, ViewedMessage
from .outbox import DEFAULT_PRIORITY, FullPolicy, Outbox, OutboxStats
from .state import Change
from .store import SyncMode
from .view import OutboxView
from .window import Ticket

__all__ = [
    "DEFAULT_PRIORITY",
    "Change",
    "FullPolicy",
    "Outbox",
    "OutboxStats",
    "OutboxView",
    "SavedSession",
    "StoredMessage",
    "SyncMode",
    "Ticket",
    "ViewedMessage",
]
