"""The only code that touches sockets: TCP and TLS, through proxies and over chosen uplinks."""

from __future__ import annotations

from .connect import open_stream
from .steps import StepTimeouts
from .stream import GatheringStream, PacketReceiver, PacketStream, Stream
from .tls import make_client_context

__all__ = [
    "GatheringStream",
    "PacketReceiver",
    "PacketStream",
    "StepTimeouts",
    "Stream",
    "make_client_context",
    "open_stream",
]
