"""Malformed packets: what is wrong before a packet's own fields begin."""

from __future__ import annotations

from iotwire.errors import MalformedPacketError, WireError
from vectors.mqtt.vector import Malformed

MALFORMED = (
    Malformed(
        "a packet of type 0",
        (4, 5),
        """
        00 {00}  # type 0 is reserved
        """,
        WireError,
        (),
        "2.1.2",
    ),
    Malformed(
        "a packet of type 15 in MQTT 3.1.1",
        (4,),
        """
        f0 {00}  # 3.1.1 has no AUTH
        """,
        WireError,
        (),
        "2.2.1",
    ),
    Malformed(
        "a CONNECT with a reserved flag",
        (5,),
        """
        11 {0e}          # CONNECT with reserved flag 0x1
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        02               # connect flags: clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-2.1.3-1",
    ),
    Malformed(
        "a PUBREL without its fixed flags",
        (4, 5),
        """
        60 {02}  # PUBREL must have flags 0x2
        0001     # packet identifier 1
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-2.1.3-1",
    ),
    Malformed(
        "a SUBSCRIBE without its fixed flags",
        (4,),
        """
        80 {06}    # SUBSCRIBE must have flags 0x2
        0001       # packet identifier 1
        [0001] 61  # topic filter "a"
        00         # QoS 0
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-3.8.1-1",
    ),
    Malformed(
        "an UNSUBSCRIBE without its fixed flags",
        (4,),
        """
        a0 {05}    # UNSUBSCRIBE must have flags 0x2
        0001       # packet identifier 1
        [0001] 61  # topic filter "a"
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-3.10.1-1",
    ),
    Malformed(
        "a PINGRESP with a reserved flag",
        (4, 5),
        """
        d1 {00}  # PINGRESP with reserved flag 0x1
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-2.1.3-1",
    ),
    Malformed(
        "a remaining length of five bytes",
        (4, 5),
        """
        30 {8080808001}  # remaining length in five bytes
        """,
        MalformedPacketError,
        (0x81,),
        "1.5.5",
    ),
    Malformed(
        "a remaining length longer than it has to be",
        (4, 5),
        """
        d0 {8000}  # remaining length 0 in two bytes
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.5-1",
    ),
    Malformed(
        "a remaining length of 127 in two bytes",
        (4,),
        """
        30 {ff00}  # remaining length 127 in two bytes
        [0001] 61  # topic name "a"
        70*124     # payload
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.5-1",
    ),
)
