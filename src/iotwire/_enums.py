"""The numbers of the MQTT standards by name. `iotwire.mqtt` loads this room when one of them is first asked for."""

from __future__ import annotations

from enum import IntEnum

from iotwire._codes import REASON_CODES


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


# Made from the table; the stub spells the members out, and is checked against this.
ReasonCode = IntEnum(
    "ReasonCode",
    [(name, value) for value, _, names in REASON_CODES for name in names],
    module="iotwire.mqtt",
    qualname="ReasonCode",
)
ReasonCode.__doc__ = "Why, in one byte: under 0x80 success, from 0x80 failure (MQTT 5.0, 2.4)."
