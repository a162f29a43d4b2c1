"""Malformed packets: PUBLISH."""

from __future__ import annotations

from iotwire.errors import MalformedPacketError, ProtocolViolationError, WireError
from vectors.mqtt.vector import Malformed

MALFORMED = (
    Malformed(
        "a PUBLISH with both bits of QoS",
        (4, 5),
        """
        36 {06}    # PUBLISH, QoS 3
        [0001] 61  # topic name "a"
        0001       # packet identifier 1
        00         # no properties, or a payload
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-3.3.1-4",
    ),
    Malformed(
        "a PUBLISH with QoS 0 that says it is sent again",
        (4, 5),
        """
        38 {04}    # PUBLISH, dup, QoS 0
        [0001] 61  # topic name "a"
        00         # no properties, or a payload
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.3.1-2",
    ),
    Malformed(
        "a PUBLISH with QoS 1 and packet identifier 0",
        (4, 5),
        """
        32 {06}    # PUBLISH, QoS 1
        [0001] 61  # topic name "a"
        0000       # packet identifier 0
        00         # no properties, or a payload
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-2.2.1-3",
    ),
    Malformed(
        "a PUBLISH with QoS 2 and packet identifier 0",
        (4, 5),
        """
        34 {06}    # PUBLISH, QoS 2
        [0001] 61  # topic name "a"
        0000       # packet identifier 0
        00         # no properties, or a payload
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-2.2.1-3",
    ),
    Malformed(
        "a PUBLISH with QoS 1 that ends before its packet identifier",
        (4, 5),
        """
        32 {04}    # PUBLISH, QoS 1
        [0001] 61  # topic name "a"
        00         # half a packet identifier
        """,
        MalformedPacketError,
        (0x81,),
        "2.2.1",
    ),
    Malformed(
        "a PUBLISH whose topic is longer than the packet",
        (4, 5),
        """
        30 {05}        # PUBLISH, QoS 0
        [0004] 612f62  # topic name: 4 announced, 3 there
        """,
        MalformedPacketError,
        (0x81,),
        "1.5.4",
    ),
    Malformed(
        "a PUBLISH that ends inside the length of its topic",
        (4, 5),
        """
        30 {01}  # PUBLISH, QoS 0
        00       # half a length
        """,
        MalformedPacketError,
        (0x81,),
        "1.5.4",
    ),
    Malformed(
        "a PUBLISH of no bytes at all",
        (4, 5),
        """
        30 {00}  # PUBLISH, QoS 0, no topic
        """,
        MalformedPacketError,
        (0x81,),
        "3.3.2",
    ),
    Malformed(
        "a PUBLISH of MQTT 3.1.1 with an empty topic",
        (4,),
        """
        30 {03}  # PUBLISH, QoS 0
        [0000]   # topic name: empty
        78       # payload
        """,
        WireError,
        (),
        "MQTT-4.7.3-1",
    ),
    Malformed(
        "a PUBLISH of MQTT 5 with an empty topic and no alias",
        (5,),
        """
        30 {04}  # PUBLISH, QoS 0
        [0000]   # topic name: empty
        {00}     # no properties, so no alias
        78       # payload
        """,
        ProtocolViolationError,
        (0x82,),
        "3.3.2.1",
    ),
    Malformed(
        "a PUBLISH with a number sign in its topic",
        (4, 5),
        """
        30 {06}        # PUBLISH, QoS 0
        [0003] 612f23  # topic name "a/#"
        00             # no properties, or a payload
        """,
        WireError,
        (0x81, 0x82, 0x90),
        "MQTT-3.3.2-2",
    ),
    Malformed(
        "a PUBLISH with a plus sign in its topic",
        (4, 5),
        """
        30 {06}        # PUBLISH, QoS 0
        [0003] 612b62  # topic name "a+b"
        00             # no properties, or a payload
        """,
        WireError,
        (0x81, 0x82, 0x90),
        "MQTT-3.3.2-2",
    ),
    Malformed(
        "a PUBLISH with U+0000 in its topic",
        (4, 5),
        """
        30 {06}        # PUBLISH, QoS 0
        [0003] 610062  # topic name "a\x00b"
        00             # no properties, or a payload
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.4-2",
    ),
    Malformed(
        "a PUBLISH with a surrogate in its topic",
        (4, 5),
        """
        30 {06}        # PUBLISH, QoS 0
        [0003] eda080  # topic name "\ud800"
        00             # no properties, or a payload
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.4-1",
    ),
    Malformed(
        "a PUBLISH with a surrogate pair in its topic",
        (4, 5),
        """
        30 {09}              # PUBLISH, QoS 0
        [0006] eda0b4edb49e  # topic name: U+1D11E as CESU-8 "\ud834\udd1e"
        00                   # no properties, or a payload
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.4-1",
    ),
    Malformed(
        "a PUBLISH with bytes that are never UTF-8 in its topic",
        (4, 5),
        """
        30 {06}        # PUBLISH, QoS 0
        [0003] 61fffe  # topic name
        00             # no properties, or a payload
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.4-1",
    ),
    Malformed(
        "a PUBLISH with an over-long slash in its topic",
        (4, 5),
        """
        30 {05}      # PUBLISH, QoS 0
        [0002] c0af  # topic name: "/" in two bytes
        00           # no properties, or a payload
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.4-1",
    ),
    Malformed(
        "a PUBLISH with an over-long U+0000 in its topic",
        (4, 5),
        """
        30 {05}      # PUBLISH, QoS 0
        [0002] c080  # topic name: U+0000 in two bytes
        00           # no properties, or a payload
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.4-1",
    ),
    Malformed(
        "a PUBLISH whose topic ends inside a character",
        (4, 5),
        """
        30 {06}        # PUBLISH, QoS 0
        [0003] 61e282  # topic name: the third byte of "€" is outside
        ac             # payload: would complete it
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.4-1",
    ),
    Malformed(
        "a PUBLISH with a code point past U+10FFFF in its topic",
        (4, 5),
        """
        30 {07}          # PUBLISH, QoS 0
        [0004] f4908080  # topic name: U+110000
        00               # no properties, or a payload
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.4-1",
    ),
    Malformed(
        "a PUBLISH of MQTT 5 without a property length",
        (5,),
        """
        30 {03}    # PUBLISH, QoS 0
        [0001] 61  # topic name, and nothing after it "a"
        """,
        MalformedPacketError,
        (0x81,),
        "2.2.2.1",
    ),
    Malformed(
        "a PUBLISH whose property length is beyond the packet",
        (5,),
        """
        30 {06}    # PUBLISH, QoS 0
        [0001] 61  # topic name "a"
        {05}       # five bytes of properties announced, two there
        01 01      # payload format indicator
        """,
        MalformedPacketError,
        (0x81,),
        "2.2.2.1",
    ),
    Malformed(
        "a PUBLISH whose property length ends inside a property",
        (5,),
        """
        30 {09}      # PUBLISH, QoS 0
        [0001] 61    # topic name "a"
        {02}         # two bytes of properties announced
        02 00000001  # message expiry interval
        """,
        MalformedPacketError,
        (0x81,),
        "2.2.2.1",
    ),
    Malformed(
        "a PUBLISH whose property length is longer than it has to be",
        (5,),
        """
        30 {05}    # PUBLISH, QoS 0
        [0001] 61  # topic name "a"
        {8000}     # property length 0 in two bytes
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.5-1",
    ),
    Malformed(
        "a PUBLISH whose property length takes five bytes",
        (5,),
        """
        30 {08}       # PUBLISH, QoS 0
        [0001] 61     # topic name "a"
        {8080808001}  # property length in five bytes
        """,
        MalformedPacketError,
        (0x81,),
        "1.5.5",
    ),
    Malformed(
        "a PUBLISH whose property identifier is longer than it has to be",
        (5,),
        """
        30 {07}    # PUBLISH, QoS 0
        [0001] 61  # topic name "a"
        {03}       # properties
        8100 01    # payload format indicator, identifier in two bytes
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.5-1",
    ),
    Malformed(
        "a PUBLISH with an identifier that no property has",
        (5,),
        """
        30 {06}    # PUBLISH, QoS 0
        [0001] 61  # topic name "a"
        {02}       # properties
        7e 00      # identifier 0x7e
        """,
        MalformedPacketError,
        (0x81,),
        "2.2.2.2",
    ),
    Malformed(
        "a PUBLISH with a property of CONNECT",
        (5,),
        """
        30 {09}      # PUBLISH, QoS 0
        [0001] 61    # topic name "a"
        {05}         # properties
        11 00000001  # session expiry interval
        """,
        MalformedPacketError,
        (0x81,),
        "2.2.2.2",
    ),
    Malformed(
        "a PUBLISH with two content types",
        (5,),
        """
        30 {0c}       # PUBLISH, QoS 0
        [0001] 61     # topic name "a"
        {08}          # properties
        03 [0001] 78  # content type "x"
        03 [0001] 78  # content type again "x"
        """,
        ProtocolViolationError,
        (0x82,),
        "3.3.2.3.9",
    ),
    Malformed(
        "a PUBLISH with a payload format indicator of 2",
        (5,),
        """
        30 {06}    # PUBLISH, QoS 0
        [0001] 61  # topic name "a"
        {02}       # properties
        01 02      # payload format indicator
        """,
        WireError,
        (0x81, 0x82),
        "3.3.2.3.2",
    ),
    Malformed(
        "a PUBLISH with topic alias 0",
        (5,),
        """
        30 {07}    # PUBLISH, QoS 0
        [0001] 61  # topic name "a"
        {03}       # properties
        23 0000    # topic alias
        """,
        WireError,
        (0x81, 0x82, 0x94),
        "MQTT-3.3.2-8",
    ),
    Malformed(
        "a PUBLISH with subscription identifier 0",
        (5,),
        """
        30 {06}    # PUBLISH, QoS 0
        [0001] 61  # topic name "a"
        {02}       # properties
        0b 00      # subscription identifier
        """,
        ProtocolViolationError,
        (0x82,),
        "3.3.2.3.8",
    ),
    Malformed(
        "a PUBLISH with a subscription identifier longer than it has to be",
        (5,),
        """
        30 {07}    # PUBLISH, QoS 0
        [0001] 61  # topic name "a"
        {03}       # properties
        0b 8100    # subscription identifier 1 in two bytes
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.5-1",
    ),
    Malformed(
        "a PUBLISH with a wildcard in its response topic",
        (5,),
        """
        30 {0a}           # PUBLISH, QoS 0
        [0001] 61         # topic name "a"
        {06}              # properties
        08 [0003] 612f2b  # response topic "a/+"
        """,
        WireError,
        (0x81, 0x82, 0x90),
        "MQTT-3.3.2-14",
    ),
    Malformed(
        "a PUBLISH with an empty response topic",
        (5,),
        """
        30 {07}    # PUBLISH, QoS 0
        [0001] 61  # topic name "a"
        {03}       # properties
        08 [0000]  # response topic
        """,
        WireError,
        (0x81, 0x82, 0x90),
        "MQTT-4.7.3-1",
    ),
    Malformed(
        "a PUBLISH with ill-formed UTF-8 in a user property",
        (5,),
        """
        30 {0b}                 # PUBLISH, QoS 0
        [0001] 61               # topic name "a"
        {07}                    # properties
        26 [0001] 6b [0001] 80  # user property: a lone continuation byte "k"
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.4-1",
    ),
    Malformed(
        "a PUBLISH with U+0000 in a content type",
        (5,),
        """
        30 {08}       # PUBLISH, QoS 0
        [0001] 61     # topic name "a"
        {04}          # properties
        03 [0001] 00  # content type "\x00"
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-1.5.4-2",
    ),
    Malformed(
        "a PUBLISH with a user property that has no value",
        (5,),
        """
        30 {08}       # PUBLISH, QoS 0
        [0001] 61     # topic name "a"
        {04}          # properties
        26 [0001] 6b  # user property: the value is missing "k"
        """,
        MalformedPacketError,
        (0x81,),
        "1.5.7",
    ),
)
