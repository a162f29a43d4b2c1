"""Malformed packets: PINGREQ, PINGRESP, DISCONNECT and AUTH."""

from __future__ import annotations

from iotwire.errors import MalformedPacketError, ProtocolViolationError, WireError
from vectors.mqtt.vector import Malformed

MALFORMED = (
    Malformed(
        "a PINGREQ with a body",
        (4, 5),
        """
        c0 {01}  # PINGREQ has no body
        00       # a byte too many
        """,
        MalformedPacketError,
        (0x81,),
        "3.12",
    ),
    Malformed(
        "a PINGRESP with a body",
        (4, 5),
        """
        d0 {01}  # PINGRESP has no body
        00       # a byte too many
        """,
        MalformedPacketError,
        (0x81,),
        "3.13",
    ),
    Malformed(
        "a DISCONNECT of MQTT 3.1.1 with a body",
        (4,),
        """
        e0 {01}  # DISCONNECT of 3.1.1 has no body
        00       # a reason code, which 3.1.1 does not have
        """,
        MalformedPacketError,
        (0x81,),
        "3.14",
    ),
    Malformed(
        "a DISCONNECT with a reason code of CONNACK",
        (5,),
        """
        e0 {01}  # DISCONNECT
        85       # client identifier not valid: not of a DISCONNECT
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.14.2-1",
    ),
    Malformed(
        "a DISCONNECT with a byte after its properties",
        (5,),
        """
        e0 {03}  # DISCONNECT
        00       # normal disconnection
        {00}     # no properties
        00       # a byte too many
        """,
        MalformedPacketError,
        (0x81,),
        "3.14.2",
    ),
    Malformed(
        "an AUTH with a reason code of DISCONNECT",
        (5,),
        """
        f0 {06}       # AUTH
        87            # not authorized: not of an AUTH
        {04}          # properties
        15 [0001] 4b  # authentication method "K"
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.15.2-1",
    ),
    Malformed(
        "an AUTH with two methods",
        (5,),
        """
        f0 {0a}       # AUTH
        18            # continue authentication
        {08}          # properties
        15 [0001] 4b  # authentication method "K"
        15 [0001] 4b  # authentication method again "K"
        """,
        ProtocolViolationError,
        (0x82,),
        "3.15.2.2.2",
    ),
)
