"""MQTT 3.1.1 and 5.0: packets, their bytes, and topics.

Compiled, without sockets, clocks or threads; imports neither `ssl`, `asyncio` nor `cryptography`.
"""

from __future__ import annotations

from iotwire._decoder import Decoder
from iotwire._mqtt import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
    decode,
)
from iotwire._publish import PreparedPublish, encode_publish, encode_publish_header
from iotwire._topics import TopicTree, topic_matches, validate_topic_filter, validate_topic_name

TYPE_CHECKING = False  # as in `typing`, which costs more memory to import than all of this
if TYPE_CHECKING:
    from typing import Any

    from iotwire._enums import ConnectReturnCode, PacketType, QoS, ReasonCode, RetainHandling
    from iotwire._session import ConnectionEnded, Delivery, Request, ServerLimits, Session

__all__ = [
    "Auth",
    "ConnAck",
    "Connect",
    "ConnectReturnCode",
    "ConnectionEnded",
    "Decoder",
    "Delivery",
    "Disconnect",
    "Packet",
    "PacketType",
    "PingReq",
    "PingResp",
    "PreparedPublish",
    "PubAck",
    "PubComp",
    "PubRec",
    "PubRel",
    "Publish",
    "QoS",
    "ReasonCode",
    "Request",
    "RetainHandling",
    "ServerLimits",
    "Session",
    "SubAck",
    "Subscribe",
    "Subscription",
    "TopicTree",
    "UnsubAck",
    "Unsubscribe",
    "Will",
    "decode",
    "encode_publish",
    "encode_publish_header",
    "topic_matches",
    "validate_topic_filter",
    "validate_topic_name",
]


def __getattr__(name: str) -> Any:
    """What a codec can do without, made when it is first asked for: `enum` alone costs more than all of the rest."""
    module: Any
    if name in ("ConnectReturnCode", "PacketType", "QoS", "ReasonCode", "RetainHandling"):
        from iotwire import _enums as module
    elif name in ("ConnectionEnded", "Delivery", "Request", "ServerLimits", "Session"):
        from iotwire import _session as module
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: Any = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
