"""The only code that touches sockets: TCP and TLS for asyncio, feeding the decoder directly."""

from __future__ import annotations

from .connect import open_stream
from .stream import PacketReceiver, PacketStream
from .tls import make_client_context

__all__ = ["PacketReceiver", "PacketStream", "make_client_context", "open_stream"]
