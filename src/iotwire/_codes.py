"""The numbers of the MQTT standards by name: packet types, QoS, retain handling, reason codes and return codes.

A fact about a number stands here once: the compiled codec reads these tables too.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ConnectReturnCode", "PacketType", "QoS", "ReasonCode", "RetainHandling"]


class PacketType(IntEnum):
    """MQTT Control Packet type, the high four bits of a packet's first byte (MQTT 5.0, 2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class QoS(IntEnum):
    """Quality of Service of a message (MQTT 5.0, 4.3)."""

    AT_MOST_ONCE = 0
    AT_LEAST_ONCE = 1
    EXACTLY_ONCE = 2


class RetainHandling(IntEnum):
    """When a server sends retained messages for a subscription (MQTT 5.0, 3.8.3.1)."""

    SEND = 0
    SEND_IF_NEW = 1
    DO_NOT_SEND = 2


class ConnectReturnCode(IntEnum):
    """The return code of a 3.1.1 CONNACK (MQTT 3.1.1, 3.2.2.3)."""

    ACCEPTED = 0
    UNACCEPTABLE_PROTOCOL_VERSION = 1
    IDENTIFIER_REJECTED = 2
    SERVER_UNAVAILABLE = 3
    BAD_USER_NAME_OR_PASSWORD = 4
    NOT_AUTHORIZED = 5


def _bits(*types: PacketType) -> int:
    return sum(1 << packet_type for packet_type in types)


_CONNACK = _bits(PacketType.CONNACK)
_PUBACK = _bits(PacketType.PUBACK)
_RECEIVED = _bits(PacketType.PUBACK, PacketType.PUBREC)
_RELEASED = _bits(PacketType.PUBREL, PacketType.PUBCOMP)
_SUBACK = _bits(PacketType.SUBACK)
_UNSUBACK = _bits(PacketType.UNSUBACK)
_DISCONNECT = _bits(PacketType.DISCONNECT)
_AUTH = _bits(PacketType.AUTH)


class ReasonCode(IntEnum):
    """Why, in one byte: under 0x80 success, from 0x80 failure (MQTT 5.0, 2.4, Table 2-6).

    Each row is the value and the packets that may carry it (bit n of `packets`: packets of type n), which is what the
    compiled decoder and encoder go by. The names that share 0x00 are aliases of the first.
    """

    packets: int

    def __new__(cls, value: int, packets: int = 0) -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.packets = packets
        return member

    SUCCESS = 0x00, _CONNACK | _RECEIVED | _RELEASED | _SUBACK | _UNSUBACK | _DISCONNECT | _AUTH
    NORMAL_DISCONNECTION = 0x00, 0
    GRANTED_QOS_0 = 0x00, 0
    GRANTED_QOS_1 = 0x01, _SUBACK
    GRANTED_QOS_2 = 0x02, _SUBACK
    DISCONNECT_WITH_WILL_MESSAGE = 0x04, _DISCONNECT
    NO_MATCHING_SUBSCRIBERS = 0x10, _RECEIVED
    NO_SUBSCRIPTION_EXISTED = 0x11, _UNSUBACK
    CONTINUE_AUTHENTICATION = 0x18, _AUTH
    RE_AUTHENTICATE = 0x19, _AUTH
    UNSPECIFIED_ERROR = 0x80, _CONNACK | _RECEIVED | _SUBACK | _UNSUBACK | _DISCONNECT
    MALFORMED_PACKET = 0x81, _CONNACK | _DISCONNECT
    PROTOCOL_ERROR = 0x82, _CONNACK | _DISCONNECT
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83, _CONNACK | _RECEIVED | _SUBACK | _UNSUBACK | _DISCONNECT
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, _CONNACK
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, _CONNACK
    BAD_USER_NAME_OR_PASSWORD = 0x86, _CONNACK
    NOT_AUTHORIZED = 0x87, _CONNACK | _RECEIVED | _SUBACK | _UNSUBACK | _DISCONNECT
    SERVER_UNAVAILABLE = 0x88, _CONNACK
    SERVER_BUSY = 0x89, _CONNACK | _DISCONNECT
    BANNED = 0x8A, _CONNACK
    SERVER_SHUTTING_DOWN = 0x8B, _DISCONNECT
    BAD_AUTHENTICATION_METHOD = 0x8C, _CONNACK | _DISCONNECT
    KEEP_ALIVE_TIMEOUT = 0x8D, _DISCONNECT
    SESSION_TAKEN_OVER = 0x8E, _DISCONNECT
    TOPIC_FILTER_INVALID = 0x8F, _SUBACK | _UNSUBACK | _DISCONNECT
    TOPIC_NAME_INVALID = 0x90, _CONNACK | _RECEIVED | _DISCONNECT
    PACKET_IDENTIFIER_IN_USE = 0x91, _RECEIVED | _SUBACK | _UNSUBACK
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, _RELEASED
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, _DISCONNECT
    TOPIC_ALIAS_INVALID = 0x94, _DISCONNECT
    PACKET_TOO_LARGE = 0x95, _CONNACK | _DISCONNECT
    MESSAGE_RATE_TOO_HIGH = 0x96, _DISCONNECT
    QUOTA_EXCEEDED = 0x97, _CONNACK | _RECEIVED | _SUBACK | _DISCONNECT
    ADMINISTRATIVE_ACTION = 0x98, _DISCONNECT
    PAYLOAD_FORMAT_INVALID = 0x99, _CONNACK | _RECEIVED | _DISCONNECT
    RETAIN_NOT_SUPPORTED = 0x9A, _CONNACK | _DISCONNECT
    QOS_NOT_SUPPORTED = 0x9B, _CONNACK | _DISCONNECT
    USE_ANOTHER_SERVER = 0x9C, _CONNACK | _DISCONNECT
    SERVER_MOVED = 0x9D, _CONNACK | _DISCONNECT
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, _SUBACK | _DISCONNECT
    CONNECTION_RATE_EXCEEDED = 0x9F, _CONNACK | _DISCONNECT
    MAXIMUM_CONNECT_TIME = 0xA0, _DISCONNECT
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1, _SUBACK | _DISCONNECT
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2, _SUBACK | _DISCONNECT
