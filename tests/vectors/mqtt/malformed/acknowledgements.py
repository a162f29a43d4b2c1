"""Malformed packets: PUBACK, PUBREC, PUBREL and PUBCOMP."""

from __future__ import annotations

from iotwire.errors import MalformedPacketError, WireError
from vectors.mqtt.vector import Malformed

MALFORMED = (
    Malformed(
        "a PUBACK with packet identifier 0",
        (4, 5),
        """
        40 {02}  # PUBACK
        0000     # packet identifier 0
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-2.2.1-3",
    ),
    Malformed(
        "a PUBREC with packet identifier 0",
        (4, 5),
        """
        50 {02}  # PUBREC
        0000     # packet identifier 0
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-2.2.1-3",
    ),
    Malformed(
        "a PUBREL with packet identifier 0",
        (4, 5),
        """
        62 {02}  # PUBREL
        0000     # packet identifier 0
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-2.2.1-3",
    ),
    Malformed(
        "a PUBCOMP with packet identifier 0",
        (4, 5),
        """
        70 {02}  # PUBCOMP
        0000     # packet identifier 0
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-2.2.1-3",
    ),
    Malformed(
        "a PUBACK of one byte",
        (4, 5),
        """
        40 {01}  # PUBACK
        00       # half a packet identifier
        """,
        MalformedPacketError,
        (0x81,),
        "3.4.2",
    ),
    Malformed(
        "a PUBACK of MQTT 3.1.1 with a reason code",
        (4,),
        """
        40 {03}  # PUBACK of 3.1.1 has two bytes
        0001     # packet identifier 1
        00       # a byte too many
        """,
        MalformedPacketError,
        (0x81,),
        "3.4",
    ),
    Malformed(
        "a PUBACK with a reason code of no packet",
        (5,),
        """
        40 {03}  # PUBACK
        0001     # packet identifier 1
        c1       # no reason code at all
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.4.2-1",
    ),
    Malformed(
        "a PUBREL with a reason code of PUBACK",
        (5,),
        """
        62 {03}  # PUBREL
        0001     # packet identifier 1
        10       # no matching subscribers: not of a PUBREL
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.6.2-1",
    ),
    Malformed(
        "a PUBCOMP with bytes after its properties",
        (5,),
        """
        70 {06}  # PUBCOMP
        0001     # packet identifier 1
        00       # success
        {00}     # no properties
        0909     # bytes too many
        """,
        MalformedPacketError,
        (0x81,),
        "3.7.2",
    ),
    Malformed(
        "a PUBACK whose property length is beyond the packet",
        (5,),
        """
        40 {04}  # PUBACK
        0001     # packet identifier 1
        00       # success
        {01}     # one byte of properties announced, none there
        """,
        MalformedPacketError,
        (0x81,),
        "3.4.2.2.1",
    ),
)
