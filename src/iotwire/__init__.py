"""The wire layer of AWS IoT devices, compiled: codecs, routes, transports and clients for MQTT 3.1.1 and 5.0.

The names below are made when they are first asked for (PEP 562), so that a device pays for what it uses:
`import iotwire.mqtt` loads neither `ssl`, `asyncio` nor `cryptography`, and `from iotwire import Client` loads no
emulator.
"""

from __future__ import annotations

from ._lazy import lazy_names

# What `typing.TYPE_CHECKING` is, without the 1.7 MB of memory that importing `typing` takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .client import (
        Backoff,
        BlockingClient,
        BlockingMessageHandler,
        BlockingMessageStream,
        BlockingReceipt,
        Client,
        ClientStats,
        EnhancedAuthentication,
        MessageHandler,
        MessageStream,
        PublishReport,
        Receipt,
        RouteStats,
        Traffic,
    )
    from .credentials import (
        X509,
        BotocoreCredentials,
        ContainerCredentials,
        CredentialsProvider,
        EnvironmentCredentials,
        InstanceCredentials,
        IotCredentials,
        ProviderChain,
        Refreshing,
        SharedFilesCredentials,
        SigV4,
        StaticCredentials,
    )
    from .custom_auth import CustomAuth
    from .endpoint import Broker, Endpoint
    from .errors import (
        ConnectError,
        ConnectionLostError,
        CredentialsError,
        EncodeError,
        IotwireError,
        MalformedPacketError,
        NoCredentialsError,
        OutboxError,
        OutboxFullError,
        PacketTooLargeError,
        ProtocolViolationError,
        PublishError,
        RequestTimeoutError,
        RouteError,
        SubscribeError,
        TlsDecodeError,
        WireError,
    )
    from .failover import Budget, Failover, Metered
    from .https import BlockingHttpsPublisher, HttpsPublisher
    from .limits import AwsIotLimits
    from .outbox import Outbox
    from .proxy import Proxy
    from .route import ROUTES, Route, ServiceRoute, Tls
    from .transport import StepTimeouts

    __version__: str

__all__ = [
    "ROUTES",
    "X509",
    "AwsIotLimits",
    "Backoff",
    "BlockingClient",
    "BlockingHttpsPublisher",
    "BlockingMessageHandler",
    "BlockingMessageStream",
    "BlockingReceipt",
    "BotocoreCredentials",
    "Broker",
    "Budget",
    "Client",
    "ClientStats",
    "ConnectError",
    "ConnectionLostError",
    "ContainerCredentials",
    "CredentialsError",
    "CredentialsProvider",
    "CustomAuth",
    "EncodeError",
    "Endpoint",
    "EnhancedAuthentication",
    "EnvironmentCredentials",
    "Failover",
    "HttpsPublisher",
    "InstanceCredentials",
    "IotCredentials",
    "IotwireError",
    "MalformedPacketError",
    "MessageHandler",
    "MessageStream",
    "Metered",
    "NoCredentialsError",
    "Outbox",
    "OutboxError",
    "OutboxFullError",
    "PacketTooLargeError",
    "ProtocolViolationError",
    "ProviderChain",
    "Proxy",
    "PublishError",
    "PublishReport",
    "Receipt",
    "Refreshing",
    "RequestTimeoutError",
    "Route",
    "RouteError",
    "RouteStats",
    "ServiceRoute",
    "SharedFilesCredentials",
    "SigV4",
    "StaticCredentials",
    "StepTimeouts",
    "SubscribeError",
    "Tls",
    "TlsDecodeError",
    "Traffic",
    "WireError",
    "__version__",
]

_ROOMS = {
    "client": (
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
        "PublishReport",
        "Receipt",
        "RouteStats",
        "Traffic",
    ),
    "credentials": (
        "X509",
        "BotocoreCredentials",
        "ContainerCredentials",
        "CredentialsProvider",
        "EnvironmentCredentials",
        "InstanceCredentials",
        "IotCredentials",
        "ProviderChain",
        "Refreshing",
        "SharedFilesCredentials",
        "SigV4",
        "StaticCredentials",
    ),
    "custom_auth": ("CustomAuth",),
    "endpoint": ("Broker", "Endpoint"),
    "failover": ("Budget", "Failover", "Metered"),
    "https": ("BlockingHttpsPublisher", "HttpsPublisher"),
    "limits": ("AwsIotLimits",),
    "outbox": ("Outbox",),
    "proxy": ("Proxy",),
    "route": ("ROUTES", "Route", "ServiceRoute", "Tls"),
    "transport": ("StepTimeouts",),
}
# Whatever has no room of its own is an error class.
_ROOMS["errors"] = tuple(sorted({*__all__} - {"__version__"}.union(*_ROOMS.values())))
_find = lazy_names(__name__, _ROOMS)


def __getattr__(name: str) -> Any:
    if name != "__version__":
        return _find(name)
    from importlib.metadata import version

    globals()[name] = found = version("iotwire")
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
