"""Malformed packets: CONNACK."""

from __future__ import annotations

from iotwire.errors import MalformedPacketError, ProtocolViolationError, WireError
from vectors.mqtt.vector import Malformed

MALFORMED = (
    Malformed(
        "a CONNACK with reserved acknowledge flags",
        (4, 5),
        """
        20 {02}  # CONNACK
        02       # acknowledge flags: bit 1 is reserved
        00       # success
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.2.2-1",
    ),
    Malformed(
        "a CONNACK that finds a session and refuses",
        (5,),
        """
        20 {03}  # CONNACK
        01       # session present
        87       # not authorized
        {00}     # no properties
        """,
        WireError,
        (),
        "MQTT-3.2.2-6",
    ),
    Malformed(
        "a CONNACK of MQTT 3.1.1 that finds a session and refuses",
        (4,),
        """
        20 {02}  # CONNACK
        01       # session present
        05       # not authorized
        """,
        WireError,
        (),
        "MQTT-3.2.2-4",
    ),
    Malformed(
        "a CONNACK of MQTT 3.1.1 with a return code that 3.1.1 reserves",
        (4,),
        """
        20 {02}  # CONNACK
        00       # no session present
        06       # reserved
        """,
        WireError,
        (),
        "3.2.2.3",
    ),
    Malformed(
        "a CONNACK of MQTT 5 with a return code of MQTT 3.1.1",
        (5,),
        """
        20 {03}  # CONNACK
        00       # no session present
        05       # a code of 3.1.1
        {00}     # no properties
        """,
        WireError,
        (),
        "MQTT-3.2.2-8",
    ),
    Malformed(
        "a CONNACK of MQTT 5 without a property length",
        (5,),
        """
        20 {02}  # CONNACK
        00       # no session present
        00       # success, and nothing after it
        """,
        MalformedPacketError,
        (0x81,),
        "3.2.2.3",
    ),
    Malformed(
        "a CONNACK of MQTT 3.1.1 with a property length",
        (4,),
        """
        20 {03}  # CONNACK of 3.1.1 has two bytes
        00       # no session present
        00       # accepted
        00       # a byte too many
        """,
        MalformedPacketError,
        (0x81,),
        "3.2.1",
    ),
    Malformed(
        "a CONNACK of one byte",
        (4, 5),
        """
        20 {01}  # CONNACK
        00       # no session present, and nothing after it
        """,
        MalformedPacketError,
        (0x81,),
        "3.2.2",
    ),
    Malformed(
        "a CONNACK with a maximum QoS of 2",
        (5,),
        """
        20 {05}  # CONNACK
        00       # no session present
        00       # success
        {02}     # properties
        24 02    # maximum QoS: 2 is said by leaving it out
        """,
        ProtocolViolationError,
        (0x82,),
        "3.2.2.3.4",
    ),
    Malformed(
        "a CONNACK with retain available of 2",
        (5,),
        """
        20 {05}  # CONNACK
        00       # no session present
        00       # success
        {02}     # properties
        25 02    # retain available
        """,
        ProtocolViolationError,
        (0x82,),
        "3.2.2.3.5",
    ),
    Malformed(
        "a CONNACK with two reason strings",
        (5,),
        """
        20 {0b}       # CONNACK
        00            # no session present
        00            # success
        {08}          # properties
        1f [0001] 61  # reason string "a"
        1f [0001] 61  # reason string again "a"
        """,
        ProtocolViolationError,
        (0x82,),
        "3.2.2.3.9",
    ),
    Malformed(
        "a CONNACK with a byte after its properties",
        (5,),
        """
        20 {04}  # CONNACK
        00       # no session present
        00       # success
        {00}     # no properties
        00       # a byte too many
        """,
        MalformedPacketError,
        (0x81,),
        "3.2.3",
    ),
)
