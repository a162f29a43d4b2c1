"""Malformed packets: SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK."""

from __future__ import annotations

from iotwire.errors import MalformedPacketError, ProtocolViolationError, WireError
from vectors.mqtt.vector import Malformed

MALFORMED = (
    Malformed(
        "a SUBSCRIBE without a filter",
        (4,),
        """
        82 {02}  # SUBSCRIBE
        0001     # packet identifier 1, and no filter
        """,
        ProtocolViolationError,
        (0x82,),
        "MQTT-3.8.3-2",
    ),
    Malformed(
        "a SUBSCRIBE of MQTT 5 without a filter",
        (5,),
        """
        82 {03}  # SUBSCRIBE
        0001     # packet identifier 1
        {00}     # no properties, and no filter
        """,
        ProtocolViolationError,
        (0x82,),
        "MQTT-3.8.3-2",
    ),
    Malformed(
        "a SUBSCRIBE with packet identifier 0",
        (4,),
        """
        82 {06}    # SUBSCRIBE
        0000       # packet identifier 0
        [0001] 61  # topic filter "a"
        00         # QoS 0
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-2.2.1-3",
    ),
    Malformed(
        "a SUBSCRIBE without the options of its last filter",
        (5,),
        """
        82 {06}    # SUBSCRIBE
        0001       # packet identifier 1
        {00}       # no properties
        [0001] 61  # topic filter, and no options "a"
        """,
        MalformedPacketError,
        (0x81,),
        "3.8.3",
    ),
    Malformed(
        "a SUBSCRIBE with an empty filter",
        (5,),
        """
        82 {06}  # SUBSCRIBE
        0001     # packet identifier 1
        {00}     # no properties
        [0000]   # topic filter: empty
        00       # options: QoS 0
        """,
        WireError,
        (),
        "MQTT-4.7.3-1",
    ),
    Malformed(
        "a SUBSCRIBE with a number sign before the end of its filter",
        (5,),
        """
        82 {0b}            # SUBSCRIBE
        0001               # packet identifier 1
        {00}               # no properties
        [0005] 612f232f62  # topic filter "a/#/b"
        00                 # options: QoS 0
        """,
        WireError,
        (),
        "MQTT-4.7.1-1",
    ),
    Malformed(
        "a SUBSCRIBE with a plus sign beside other characters",
        (5,),
        """
        82 {0a}          # SUBSCRIBE
        0001             # packet identifier 1
        {00}             # no properties
        [0004] 612f622b  # topic filter "a/b+"
        00               # options: QoS 0
        """,
        WireError,
        (),
        "MQTT-4.7.1-2",
    ),
    Malformed(
        "a SUBSCRIBE to a shared subscription without a filter",
        (5,),
        """
        82 {11}                        # SUBSCRIBE
        0001                           # packet identifier 1
        {00}                           # no properties
        [000b] 2473686172652f706f6f6c  # topic filter "$share/pool"
        00                             # options: QoS 0
        """,
        WireError,
        (),
        "MQTT-4.8.2-2",
    ),
    Malformed(
        "a SUBSCRIBE to a shared subscription with an empty name",
        (5,),
        """
        82 {0f}                    # SUBSCRIBE
        0001                       # packet identifier 1
        {00}                       # no properties
        [0009] 2473686172652f2f61  # topic filter "$share//a"
        00                         # options: QoS 0
        """,
        WireError,
        (),
        "MQTT-4.8.2-1",
    ),
    Malformed(
        "a SUBSCRIBE to a shared subscription with a wildcard in its name",
        (5,),
        """
        82 {11}                        # SUBSCRIBE
        0001                           # packet identifier 1
        {00}                           # no properties
        [000b] 2473686172652f702b2f61  # topic filter "$share/p+/a"
        00                             # options: QoS 0
        """,
        WireError,
        (),
        "MQTT-4.8.2-2",
    ),
    Malformed(
        "a SUBSCRIBE to a shared subscription with no local",
        (5,),
        """
        82 {13}                            # SUBSCRIBE
        0001                               # packet identifier 1
        {00}                               # no properties
        [000d] 2473686172652f706f6f6c2f61  # topic filter "$share/pool/a"
        04                                 # options: no local
        """,
        ProtocolViolationError,
        (0x82,),
        "MQTT-3.8.3-4",
    ),
    Malformed(
        "a SUBSCRIBE with QoS 3",
        (5,),
        """
        82 {07}    # SUBSCRIBE
        0001       # packet identifier 1
        {00}       # no properties
        [0001] 61  # topic filter "a"
        03         # options: QoS 3
        """,
        WireError,
        (0x81, 0x82),
        "3.8.3.1",
    ),
    Malformed(
        "a SUBSCRIBE with retain handling 3",
        (5,),
        """
        82 {07}    # SUBSCRIBE
        0001       # packet identifier 1
        {00}       # no properties
        [0001] 61  # topic filter "a"
        30         # options: retain handling 3
        """,
        ProtocolViolationError,
        (0x82,),
        "3.8.3.1",
    ),
    Malformed(
        "a SUBSCRIBE with reserved option bits",
        (5,),
        """
        82 {07}    # SUBSCRIBE
        0001       # packet identifier 1
        {00}       # no properties
        [0001] 61  # topic filter "a"
        40         # options: a reserved bit
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-3.8.3-5",
    ),
    Malformed(
        "a SUBSCRIBE of MQTT 3.1.1 with an option of MQTT 5",
        (4,),
        """
        82 {06}    # SUBSCRIBE
        0001       # packet identifier 1
        [0001] 61  # topic filter "a"
        04         # bit 2 is reserved in 3.1.1
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.8.3-4",
    ),
    Malformed(
        "a SUBSCRIBE with two subscription identifiers",
        (5,),
        """
        82 {0b}    # SUBSCRIBE
        0001       # packet identifier 1
        {04}       # properties
        0b 01      # subscription identifier 1
        0b 02      # subscription identifier 2
        [0001] 61  # topic filter "a"
        00         # options: QoS 0
        """,
        ProtocolViolationError,
        (0x82,),
        "3.8.2.1.2",
    ),
    Malformed(
        "a SUBSCRIBE with subscription identifier 0",
        (5,),
        """
        82 {09}    # SUBSCRIBE
        0001       # packet identifier 1
        {02}       # properties
        0b 00      # subscription identifier 0
        [0001] 61  # topic filter "a"
        00         # options: QoS 0
        """,
        ProtocolViolationError,
        (0x82,),
        "3.8.2.1.2",
    ),
    Malformed(
        "a SUBACK without reason codes",
        (5,),
        """
        90 {03}  # SUBACK
        0001     # packet identifier 1
        {00}     # no properties, and no reason codes
        """,
        WireError,
        (),
        "3.9.3",
    ),
    Malformed(
        "a SUBACK of MQTT 3.1.1 without return codes",
        (4,),
        """
        90 {02}  # SUBACK
        0001     # packet identifier 1, and no return codes
        """,
        WireError,
        (),
        "3.9.3",
    ),
    Malformed(
        "a SUBACK with a reason code of no packet",
        (5,),
        """
        90 {04}  # SUBACK
        0001     # packet identifier 1
        {00}     # no properties
        55       # no reason code at all
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.9.3-2",
    ),
    Malformed(
        "a SUBACK of MQTT 3.1.1 with a reason code of MQTT 5",
        (4,),
        """
        90 {03}  # SUBACK
        0001     # packet identifier 1
        87       # 3.1.1 has 0, 1, 2 and 0x80
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.9.3-2",
    ),
    Malformed(
        "an UNSUBSCRIBE without a filter",
        (4,),
        """
        a2 {02}  # UNSUBSCRIBE
        0001     # packet identifier 1, and no filter
        """,
        ProtocolViolationError,
        (0x82,),
        "MQTT-3.10.3-2",
    ),
    Malformed(
        "an UNSUBSCRIBE of MQTT 5 without a filter",
        (5,),
        """
        a2 {03}  # UNSUBSCRIBE
        0001     # packet identifier 1
        {00}     # no properties, and no filter
        """,
        ProtocolViolationError,
        (0x82,),
        "MQTT-3.10.3-2",
    ),
    Malformed(
        "an UNSUBSCRIBE with packet identifier 0",
        (4,),
        """
        a2 {05}    # UNSUBSCRIBE
        0000       # packet identifier 0
        [0001] 61  # topic filter "a"
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-2.2.1-3",
    ),
    Malformed(
        "an UNSUBSCRIBE with an empty filter after a good one",
        (5,),
        """
        a2 {08}    # UNSUBSCRIBE
        0001       # packet identifier 1
        {00}       # no properties
        [0001] 61  # topic filter "a"
        [0000]     # topic filter: empty
        """,
        WireError,
        (),
        "MQTT-4.7.3-1",
    ),
    Malformed(
        "an UNSUBSCRIBE with a malformed filter",
        (4,),
        """
        a2 {07}        # UNSUBSCRIBE
        0001           # packet identifier 1
        [0003] 232f61  # topic filter "#/a"
        """,
        WireError,
        (),
        "MQTT-4.7.1-1",
    ),
    Malformed(
        "an UNSUBSCRIBE whose filter is longer than the packet",
        (5,),
        """
        a2 {06}    # UNSUBSCRIBE
        0001       # packet identifier 1
        {00}       # no properties
        [0002] 61  # topic filter: 2 announced, 1 there
        """,
        MalformedPacketError,
        (0x81,),
        "1.5.4",
    ),
    Malformed(
        "an UNSUBACK of MQTT 3.1.1 with a reason code",
        (4,),
        """
        b0 {03}  # UNSUBACK of 3.1.1 has two bytes
        0001     # packet identifier 1
        00       # a byte too many
        """,
        MalformedPacketError,
        (0x81,),
        "3.11",
    ),
    Malformed(
        "an UNSUBACK of MQTT 5 without reason codes",
        (5,),
        """
        b0 {03}  # UNSUBACK
        0001     # packet identifier 1
        {00}     # no properties, and no reason codes
        """,
        WireError,
        (),
        "3.11.3",
    ),
    Malformed(
        "an UNSUBACK with a reason code of SUBACK",
        (5,),
        """
        b0 {04}  # UNSUBACK
        0001     # packet identifier 1
        {00}     # no properties
        01       # granted QoS 1: not of an UNSUBACK
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.11.3-2",
    ),
)
