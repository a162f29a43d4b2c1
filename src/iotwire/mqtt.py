"""MQTT 3.1.1 and 5.0: packets, their bytes, and topics.

Compiled, without sockets, clocks or threads; imports neither `ssl`, `asyncio` nor `cryptography`.
"""

from iotwire._codes import ConnectReturnCode, PacketType, QoS, ReasonCode, RetainHandling
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

__all__ = [
    "Auth",
    "ConnAck",
    "Connect",
    "ConnectReturnCode",
    "Decoder",
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
    "RetainHandling",
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
