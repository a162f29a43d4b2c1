"""The wire layer of AWS IoT devices, compiled: codecs, routes, transports and clients for MQTT 3.1.1 and 5.0.

The names below are made when they are first asked for (PEP 562), so that a device pays for what it uses:
`import iotwire.mqtt` loads neither `ssl`, `asyncio` nor `cryptography`, and `from iotwire import Client` loads no
emulator.
"""

from __future__ import annotations

# What `typing.TYPE_CHECKING` is, without the 1.7 MB of memory that importing `typing` takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .client import Client, ClientStats, MessageStream
    from .credentials import X509
    from .endpoint import Broker, Endpoint
    from .errors import (
        ConnectError,
        ConnectionLostError,
        CredentialsError,
        EncodeError,
        IotwireError,
        MalformedPacketError,
        OutboxFullError,
        PacketTooLargeError,
        ProtocolViolationError,
        PublishError,
        RouteError,
        SubscribeError,
        TlsDecodeError,
        WireError,
    )
    from .route import ROUTES, Route, ServiceRoute, Tls

    __version__: str

__all__ = [
    "ROUTES",
    "X509",
    "Broker",
    "Client",
    "ClientStats",
    "ConnectError",
    "ConnectionLostError",
    "CredentialsError",
    "EncodeError",
    "Endpoint",
    "IotwireError",
    "MalformedPacketError",
    "MessageStream",
    "OutboxFullError",
    "PacketTooLargeError",
    "ProtocolViolationError",
    "PublishError",
    "Route",
    "RouteError",
    "ServiceRoute",
    "SubscribeError",
    "Tls",
    "TlsDecodeError",
    "WireError",
    "__version__",
]

_ROOMS = {
    "client": ("Client", "ClientStats", "MessageStream"),
    "credentials": ("X509",),
    "endpoint": ("Broker", "Endpoint"),
    "route": ("ROUTES", "Route", "ServiceRoute", "Tls"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("iotwire")
    elif name in __all__:
        from importlib import import_module

        # Whatever has no room of its own is an error class.
        value = getattr(import_module(f".{_ROOM_OF.get(name, 'errors')}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
