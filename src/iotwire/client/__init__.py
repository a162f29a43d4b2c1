"""The asyncio client."""

from __future__ import annotations

from .client import Client, ClientStats, PublishProperties
from .inbox import MessageStream

__all__ = ["Client", "ClientStats", "MessageStream", "PublishProperties"]
