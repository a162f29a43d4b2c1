"""PUBLISH (MQTT 5.0, 3.3)."""

from __future__ import annotations

from iotwire.mqtt import Publish
from vectors.mqtt.vector import Vector

VECTORS = (
    Vector(
        "a PUBLISH of MQTT 3.1.1 with QoS 0",
        (4,),
        lambda: Publish("a/b", b"21.5"),
        """
        30 {09}        # PUBLISH, QoS 0, remaining length 9
        [0003] 612f62  # topic name "a/b"
        32312e35       # payload "21.5"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 3.1.1 with an empty payload that clears a retained message",
        (4,),
        lambda: Publish("a", b"", retain=True),
        """
        31 {03}    # PUBLISH, QoS 0, retain, remaining length 3
        [0001] 61  # topic name "a"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 3.1.1 with QoS 1 and the lowest packet identifier",
        (4,),
        lambda: Publish("a/b", b"\x00", qos=1, packet_id=1),
        """
        32 {08}        # PUBLISH, QoS 1, remaining length 8
        [0003] 612f62  # topic name "a/b"
        0001           # packet identifier 1
        00             # payload
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 3.1.1 with QoS 2, sent again, retained, and the highest packet identifier",
        (4,),
        lambda: Publish("a/b", b"x", qos=2, retain=True, dup=True, packet_id=65535),
        """
        3d {08}        # PUBLISH, dup, QoS 2, retain, remaining length 8
        [0003] 612f62  # topic name "a/b"
        ffff           # packet identifier 65535
        78             # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 3.1.1 whose payload looks like a packet",
        (4,),
        lambda: Publish("a", b"\xd0\x00\xd0\x00"),
        """
        30 {07}    # PUBLISH, QoS 0, remaining length 7
        [0001] 61  # topic name "a"
        d000d000   # payload: what would be two PINGRESPs
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with QoS 0",
        (5,),
        lambda: Publish("a/b", b"21.5"),
        """
        30 {0a}        # PUBLISH, QoS 0, remaining length 10
        [0003] 612f62  # topic name "a/b"
        {00}           # no properties
        32312e35       # payload "21.5"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with an empty payload",
        (5,),
        lambda: Publish("a/b"),
        """
        30 {06}        # PUBLISH, QoS 0, remaining length 6
        [0003] 612f62  # topic name "a/b"
        {00}           # no properties
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with QoS 1, sent again",
        (5,),
        lambda: Publish("a/b", b"x", qos=1, dup=True, packet_id=4660),
        """
        3a {09}        # PUBLISH, dup, QoS 1, remaining length 9
        [0003] 612f62  # topic name "a/b"
        1234           # packet identifier 4660
        {00}           # no properties
        78             # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with QoS 2 and the highest packet identifier",
        (5,),
        lambda: Publish("a/b", b"x", qos=2, packet_id=65535),
        """
        34 {09}        # PUBLISH, QoS 2, remaining length 9
        [0003] 612f62  # topic name "a/b"
        ffff           # packet identifier 65535
        {00}           # no properties
        78             # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with QoS 1, a 33-character topic and a payload of 256 bytes",
        (5,),
        lambda: Publish("building/7/floor/3/room/12/sensor", b"x" * 256, qos=1, packet_id=7),
        """
        32 {a602}                                       # PUBLISH, QoS 1, remaining length 294
        [0021]  # topic name "building/7/floor/3/room/12/sensor"
        6275696c64696e672f372f666c6f6f722f332f726f6f6d2f31322f73656e736f
        72
        0007                                            # packet identifier 7
        {00}                                            # no properties
        78*256                                          # payload
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with QoS 1, a content type and two user properties",
        (5,),
        lambda: Publish(
            "building/7/floor/3/room/12/sensor",
            b"x" * 256,
            qos=1,
            packet_id=7,
            content_type="application/json",
            user_properties=(("unit", "celsius"), ("device", "gateway-7")),
        ),
        """
        32 {dd02}                                       # PUBLISH, QoS 1, remaining length 349
        [0021]  # topic name "building/7/floor/3/room/12/sensor"
        6275696c64696e672f372f666c6f6f722f332f726f6f6d2f31322f73656e736f
        72
        0007                                            # packet identifier 7
        {37}                                            # 55 bytes of properties
        03 [0010] 6170706c69636174696f6e2f6a736f6e      # content type "application/json"
        26 [0004] 756e6974 [0007] 63656c73697573        # user property "unit", "celsius"
        26 [0006] 646576696365 [0009] 676174657761792d37  # user property "device", "gateway-7"
        78*256                                          # payload
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with every property",
        (5,),
        lambda: Publish(
            "cmd/7",
            b"\x00\x01\x02",
            qos=2,
            retain=True,
            dup=True,
            packet_id=10,
            payload_format_indicator=1,
            message_expiry_interval=3600,
            content_type="text/plain",
            response_topic="cmd/7/reply",
            correlation_data=b"\x00\xfe",
            subscription_identifiers=(1, 300),
            topic_alias=7,
            user_properties=(("n", "1"), ("n", "2")),
        ),
        """
        3d {4a}                           # PUBLISH, dup, QoS 2, retain, remaining length 74
        [0005] 636d642f37                 # topic name "cmd/7"
        000a                              # packet identifier 10
        {3d}                              # 61 bytes of properties
        01 01                             # payload format indicator: UTF-8
        02 00000e10                       # message expiry interval 3600 s
        03 [000a] 746578742f706c61696e    # content type "text/plain"
        08 [000b] 636d642f372f7265706c79  # response topic "cmd/7/reply"
        09 [0002] 00fe                    # correlation data
        0b 01                             # subscription identifier 1
        0b ac02                           # subscription identifier 300
        23 0007                           # topic alias 7
        26 [0001] 6e [0001] 31            # user property "n", "1"
        26 [0001] 6e [0001] 32            # user property "n", "2"
        000102                            # payload
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with every number at its lowest",
        (5,),
        lambda: Publish(
            "a",
            payload_format_indicator=0,
            message_expiry_interval=0,
            subscription_identifiers=(1,),
            topic_alias=1,
        ),
        """
        30 {10}      # PUBLISH, QoS 0, remaining length 16
        [0001] 61    # topic name "a"
        {0c}         # 12 bytes of properties
        01 00        # payload format indicator: bytes
        02 00000000  # message expiry interval 0
        0b 01        # subscription identifier 1
        23 0001      # topic alias 1
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with every number at its highest",
        (5,),
        lambda: Publish(
            "a",
            message_expiry_interval=4294967295,
            subscription_identifiers=(268435455,),
            topic_alias=65535,
        ),
        """
        30 {11}      # PUBLISH, QoS 0, remaining length 17
        [0001] 61    # topic name "a"
        {0d}         # 13 bytes of properties
        02 ffffffff  # message expiry interval 4294967295 s
        0b ffffff7f  # subscription identifier 268435455
        23 ffff      # topic alias 65535
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with empty strings and empty data in its properties",
        (5,),
        lambda: Publish("a", b"x", content_type="", correlation_data=b"", user_properties=(("", ""), ("", ""))),
        """
        30 {15}           # PUBLISH, QoS 0, remaining length 21
        [0001] 61         # topic name "a"
        {10}              # 16 bytes of properties
        03 [0000]         # content type
        09 [0000]         # correlation data
        26 [0000] [0000]  # user property
        26 [0000] [0000]  # user property
        78                # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with an empty topic and a topic alias",
        (5,),
        lambda: Publish("", b"x", topic_alias=3),
        """
        30 {07}  # PUBLISH, QoS 0, remaining length 7
        [0000]   # topic name: whatever alias 3 stands for
        {03}     # 3 bytes of properties
        23 0003  # topic alias 3
        78       # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with subscription identifiers of every length",
        (5,),
        lambda: Publish("a", b"x", subscription_identifiers=(127, 128, 16383, 16384, 2097151, 2097152, 5, 5)),
        """
        30 {1e}      # PUBLISH, QoS 0, remaining length 30
        [0001] 61    # topic name "a"
        {19}         # 25 bytes of properties
        0b 7f        # subscription identifier 127
        0b 8001      # subscription identifier 128
        0b ff7f      # subscription identifier 16383
        0b 808001    # subscription identifier 16384
        0b ffff7f    # subscription identifier 2097151
        0b 80808001  # subscription identifier 2097152
        0b 05        # subscription identifier 5
        0b 05        # subscription identifier 5: two subscriptions may share one
        78           # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with user properties that repeat and are not sorted",
        (5,),
        lambda: Publish("a", b"x", user_properties=(("z", "1"), ("a", "2"), ("z", "1"), ("A", "3"))),
        """
        30 {21}                 # PUBLISH, QoS 0, remaining length 33
        [0001] 61               # topic name "a"
        {1c}                    # 28 bytes of properties
        26 [0001] 7a [0001] 31  # user property "z", "1"
        26 [0001] 61 [0001] 32  # user property "a", "2"
        26 [0001] 7a [0001] 31  # user property: the same pair again "z", "1"
        26 [0001] 41 [0001] 33  # user property "A", "3"
        78                      # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with properties in an order of its own",
        (5,),
        lambda: Publish(
            "a",
            b"x",
            payload_format_indicator=1,
            content_type="t",
            subscription_identifiers=(2, 1),
            topic_alias=4,
            user_properties=(("k", "1"), ("k", "2")),
        ),
        """
        30 {20}                 # PUBLISH, QoS 0, remaining length 32
        [0001] 61               # topic name "a"
        {1b}                    # 27 bytes of properties
        26 [0001] 6b [0001] 31  # user property "k", "1"
        23 0004                 # topic alias 4
        0b 02                   # subscription identifier 2
        03 [0001] 74            # content type "t"
        26 [0001] 6b [0001] 32  # user property "k", "2"
        0b 01                   # subscription identifier 1
        01 01                   # payload format indicator: UTF-8
        78                      # payload "x"
        """,
        form="own order",
    ),
    Vector(
        "a PUBLISH of MQTT 5 with properties of 127 bytes",
        (5,),
        lambda: Publish("a", b"x", user_properties=(("k", "v" * 121),)),
        """
        30 {8401}                   # PUBLISH, QoS 0, remaining length 132
        [0001] 61                   # topic name "a"
        {7f}                        # 127 bytes of properties
        26 [0001] 6b [0079] 76*121  # user property "k", "v" x 121
        78                          # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with properties of 128 bytes",
        (5,),
        lambda: Publish("a", b"x", user_properties=(("k", "v" * 122),)),
        """
        30 {8601}                   # PUBLISH, QoS 0, remaining length 134
        [0001] 61                   # topic name "a"
        {8001}                      # 128 bytes of properties, a length of two bytes
        26 [0001] 6b [007a] 76*122  # user property "k", "v" x 122
        78                          # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH of MQTT 5 with correlation data of 65535 bytes",
        (5,),
        lambda: Publish("a", b"x", correlation_data=b"\xff" * 65535),
        """
        30 {898004}         # PUBLISH, QoS 0, remaining length 65545
        [0001] 61           # topic name "a"
        {828004}            # 65538 bytes of properties, a length of three bytes
        09 [ffff] ff*65535  # correlation data
        78                  # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH with a remaining length of 127",
        (4,),
        lambda: Publish("a", b"p" * 124),
        """
        30 {7f}    # PUBLISH, QoS 0, remaining length 127: the last of one byte
        [0001] 61  # topic name "a"
        70*124     # payload
        """,
    ),
    Vector(
        "a PUBLISH with a remaining length of 128",
        (4,),
        lambda: Publish("a", b"p" * 125),
        """
        30 {8001}  # PUBLISH, QoS 0, remaining length 128: the first of two bytes
        [0001] 61  # topic name "a"
        70*125     # payload
        """,
    ),
    Vector(
        "a PUBLISH with a remaining length of 16383",
        (5,),
        lambda: Publish("a", b"p" * 16379),
        """
        30 {ff7f}  # PUBLISH, QoS 0, remaining length 16383: the last of two bytes
        [0001] 61  # topic name "a"
        {00}       # no properties
        70*16379   # payload
        """,
    ),
    Vector(
        "a PUBLISH with a remaining length of 16384",
        (5,),
        lambda: Publish("a", b"p" * 16380),
        """
        30 {808001}  # PUBLISH, QoS 0, remaining length 16384: the first of three bytes
        [0001] 61    # topic name "a"
        {00}         # no properties
        70*16380     # payload
        """,
    ),
    Vector(
        "a PUBLISH with a topic of 65535 bytes",
        (5,),
        lambda: Publish("t" * 65535, b"x", qos=1, packet_id=1),
        """
        32 {858004}      # PUBLISH, QoS 1, remaining length 65541
        [ffff] 74*65535  # topic name "t" x 65535
        0001             # packet identifier 1
        {00}             # no properties
        78               # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH to a topic of one slash",
        (4,),
        lambda: Publish("/", b"x"),
        """
        30 {04}    # PUBLISH, QoS 0, remaining length 4
        [0001] 2f  # topic name: two empty levels "/"
        78         # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH to a topic with empty levels, a space and a dollar",
        (5,),
        lambda: Publish("$aws/rules//my rule/", b"x"),
        """
        30 {18}                                         # PUBLISH, QoS 0, remaining length 24
        [0014] 246177732f72756c65732f2f6d792072756c652f  # topic name "$aws/rules//my rule/"
        {00}                                            # no properties
        78                                              # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH to a topic of characters of two, three and four bytes",
        (5,),
        lambda: Publish("ü/€/𝄞", b"x"),
        """
        30 {0f}                        # PUBLISH, QoS 0, remaining length 15
        [000b] c3bc2fe282ac2ff09d849e  # topic name "ü/€/𝄞"
        {00}                           # no properties
        78                             # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH to a topic with the byte order mark, which is kept",
        (5,),
        lambda: Publish("\ufeffa", b"x"),
        """
        30 {08}          # PUBLISH, QoS 0, remaining length 8
        [0004] efbbbf61  # topic name [MQTT-1.5.4-3] "\ufeffa"
        {00}             # no properties
        78               # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH to a topic with a noncharacter and the last code point",
        (5,),
        lambda: Publish("\ufdd0\uffff\U0010ffff", b"x"),
        """
        30 {0e}                      # PUBLISH, QoS 0, remaining length 14
        [000a] efb790efbfbff48fbfbf  # topic name "\ufdd0\uffff\U0010ffff"
        {00}                         # no properties
        78                           # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH to a topic with control characters",
        (5,),
        lambda: Publish("\x01\x1f\x7f\x9f", b"x"),
        """
        30 {09}            # PUBLISH, QoS 0, remaining length 9
        [0005] 011f7fc29f  # topic name: the standard says SHOULD NOT, not MUST NOT "\x01\x1f\x7f\x9f"
        {00}               # no properties
        78                 # payload "x"
        """,
    ),
    Vector(
        "a PUBLISH to a topic at the edges of UTF-8",
        (5,),
        lambda: Publish("\u0080\u07ff\u0800\ud7ff\ue000\U00010000", b"x"),
        """
        30 {15}                  # PUBLISH, QoS 0, remaining length 21
        [0011] c280 dfbf e0a080  # topic name: U+0080, U+07FF, U+0800,
        ed9fbf ee8080 f0908080   # U+D7FF, U+E000 (the surrogates lie between), U+10000
        {00}                     # no properties
        78                       # payload "x"
        """,
    ),
)
