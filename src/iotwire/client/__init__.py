"""The clients: `Client` for asyncio, `BlockingClient` for threads. Each is loaded when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .authentication import EnhancedAuthentication
    from .backoff import Backoff
    from .blocking import BlockingClient
    from .blocking_streams import BlockingMessageHandler, BlockingMessageStream, BlockingReceipt
    from .client import Client, Receipt
    from .outcomes import PublishProperties, PublishReport
    from .stats import ClientStats, RouteStats, Traffic
    from .streams import MessageHandler, MessageStream

__all__ = [
    "Backoff",
    "BlockingClient",
    "BlockingMessageHandler",
    "BlockingMessageStream",
    "BlockingReceipt",
    "Client",
    "ClientStats",
    "EnhancedAuthentication",
    "MessageHandler",
    "MessageStream",
    "PublishProperties",
    "PublishReport",
    "Receipt",
    "RouteStats",
    "Traffic",
]

__getattr__ = lazy_names(
    __name__,
    {
        "authentication": ("EnhancedAuthentication",),
        "backoff": ("Backoff",),
        "blocking": ("BlockingClient",),
        "blocking_streams": ("BlockingMessageHandler", "BlockingMessageStream", "BlockingReceipt"),
        "client": ("Client", "Receipt"),
        "outcomes": ("PublishProperties", "PublishReport"),
        "stats": ("ClientStats", "RouteStats", "Traffic"),
        "streams": ("MessageHandler", "MessageStream"),
    },
)
