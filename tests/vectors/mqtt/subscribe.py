"""SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (MQTT 5.0, 3.8 to 3.11)."""

from __future__ import annotations

from iotwire.mqtt import SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe
from vectors.mqtt.vector import Vector

VECTORS = (
    Vector(
        "a SUBSCRIBE of MQTT 3.1.1 to one filter",
        (4,),
        lambda: Subscribe(1, (Subscription("a/b"),)),
        """
        82 {08}        # SUBSCRIBE, remaining length 8
        0001           # packet identifier 1
        [0003] 612f62  # topic filter "a/b"
        00             # QoS 0
        """,
    ),
    Vector(
        "a SUBSCRIBE of MQTT 3.1.1 to three filters",
        (4,),
        lambda: Subscribe(65535, (Subscription("a/b", 2), Subscription("#", 1), Subscription("+/c/#", 0))),
        """
        82 {14}            # SUBSCRIBE, remaining length 20
        ffff               # packet identifier 65535
        [0003] 612f62      # topic filter "a/b"
        02                 # QoS 2
        [0001] 23          # topic filter "#"
        01                 # QoS 1
        [0005] 2b2f632f23  # topic filter "+/c/#"
        00                 # QoS 0
        """,
    ),
    Vector(
        "a SUBSCRIBE of MQTT 5 to one filter",
        (5,),
        lambda: Subscribe(1, (Subscription("a/b"),)),
        """
        82 {09}        # SUBSCRIBE, remaining length 9
        0001           # packet identifier 1
        {00}           # no properties
        [0003] 612f62  # topic filter "a/b"
        00             # options: QoS 0
        """,
    ),
    Vector(
        "a SUBSCRIBE of MQTT 5 with every option",
        (5,),
        lambda: Subscribe(
            65535,
            (
                Subscription("a/b", 2, no_local=True, retain_as_published=True, retain_handling=2),
                Subscription("a/+", 1, retain_handling=1),
                Subscription("a/#", no_local=True),
                Subscription("$share/pool/a/#", 1, retain_as_published=True),
            ),
        ),
        """
        82 {27}                                # SUBSCRIBE, remaining length 39
        ffff                                   # packet identifier 65535
        {00}                                   # no properties
        [0003] 612f62                          # topic filter "a/b"
        2e                                     # options: retain handling 2, retain as published, no local, QoS 2
        [0003] 612f2b                          # topic filter "a/+"
        11                                     # options: retain handling 1, QoS 1
        [0003] 612f23                          # topic filter "a/#"
        04                                     # options: no local, QoS 0
        [000f] 2473686172652f706f6f6c2f612f23  # topic filter of a shared subscription "$share/pool/a/#"
        09                                     # options: retain as published, QoS 1
        """,
    ),
    Vector(
        "a SUBSCRIBE of MQTT 5 with every property",
        (5,),
        lambda: Subscribe(
            10,
            (Subscription("a", 1),),
            subscription_identifier=300,
            user_properties=(("n", "1"), ("m", "2"), ("n", "1")),
        ),
        """
        82 {1f}                 # SUBSCRIBE, remaining length 31
        000a                    # packet identifier 10
        {18}                    # 24 bytes of properties
        0b ac02                 # subscription identifier 300
        26 [0001] 6e [0001] 31  # user property "n", "1"
        26 [0001] 6d [0001] 32  # user property "m", "2"
        26 [0001] 6e [0001] 31  # user property "n", "1"
        [0001] 61               # topic filter "a"
        01                      # options: QoS 1
        """,
    ),
    Vector(
        "a SUBSCRIBE of MQTT 5 with the lowest subscription identifier",
        (5,),
        lambda: Subscribe(10, (Subscription("a", 1),), subscription_identifier=1),
        """
        82 {09}    # SUBSCRIBE, remaining length 9
        000a       # packet identifier 10
        {02}       # 2 bytes of properties
        0b 01      # subscription identifier 1
        [0001] 61  # topic filter "a"
        01         # options: QoS 1
        """,
    ),
    Vector(
        "a SUBSCRIBE of MQTT 5 with the highest subscription identifier",
        (5,),
        lambda: Subscribe(10, (Subscription("a", 1),), subscription_identifier=268435455),
        """
        82 {0c}      # SUBSCRIBE, remaining length 12
        000a         # packet identifier 10
        {05}         # 5 bytes of properties
        0b ffffff7f  # subscription identifier 268435455
        [0001] 61    # topic filter "a"
        01           # options: QoS 1
        """,
    ),
    Vector(
        "a SUBSCRIBE of MQTT 5 with its properties in descending order",
        (5,),
        lambda: Subscribe(10, (Subscription("a"),), subscription_identifier=2, user_properties=(("k", "v"),)),
        """
        82 {10}                 # SUBSCRIBE, remaining length 16
        000a                    # packet identifier 10
        {09}                    # 9 bytes of properties
        26 [0001] 6b [0001] 76  # user property "k", "v"
        0b 02                   # subscription identifier 2
        [0001] 61               # topic filter "a"
        00                      # options: QoS 0
        """,
        form="own order",
    ),
    Vector(
        "a SUBSCRIBE to filters of slashes, spaces, dollars and characters outside ASCII",
        (5,),
        lambda: Subscribe(
            3,
            (
                Subscription("/"),
                Subscription("//+"),
                Subscription("my room/ü/#"),
                Subscription("$SYS/#"),
                Subscription("$shared/a/b"),
                Subscription("\ufeff𝄞"),
            ),
        ),
        """
        82 {3d}                          # SUBSCRIBE, remaining length 61
        0003                             # packet identifier 3
        {00}                             # no properties
        [0001] 2f                        # topic filter "/"
        00                               # options: QoS 0
        [0003] 2f2f2b                    # topic filter "//+"
        00                               # options: QoS 0
        [000c] 6d7920726f6f6d2fc3bc2f23  # topic filter "my room/ü/#"
        00                               # options: QoS 0
        [0006] 245359532f23              # topic filter "$SYS/#"
        00                               # options: QoS 0
        [000b] 247368617265642f612f62    # topic filter: not a shared subscription "$shared/a/b"
        00                               # options: QoS 0
        [0007] efbbbff09d849e            # topic filter "\ufeff\U0001d11e"
        00                               # options: QoS 0
        """,
    ),
    Vector(
        "a SUBSCRIBE to a filter of 65535 bytes",
        (5,),
        lambda: Subscribe(3, (Subscription("f" * 65535, 2),)),
        """
        82 {858004}      # SUBSCRIBE, remaining length 65541
        0003             # packet identifier 3
        {00}             # no properties
        [ffff] 66*65535  # topic filter "f" x 65535
        02               # options: QoS 2
        """,
    ),
    Vector(
        "a SUBACK of MQTT 3.1.1 with every return code",
        (4,),
        lambda: SubAck(1, (0, 1, 2, 0x80)),
        """
        90 {06}  # SUBACK, remaining length 6
        0001     # packet identifier 1
        00       # granted QoS 0
        01       # granted QoS 1
        02       # granted QoS 2
        80       # failure
        """,
    ),
    Vector(
        "a SUBACK of MQTT 5 for one filter",
        (5,),
        lambda: SubAck(65535, (1,)),
        """
        90 {04}  # SUBACK, remaining length 4
        ffff     # packet identifier 65535
        {00}     # no properties
        01       # granted QoS 1
        """,
    ),
    Vector(
        "a SUBACK of MQTT 5 with every property and every reason code",
        (5,),
        lambda: SubAck(
            4660,
            (0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2),
            reason_string="partly",
            user_properties=(("n", "2"), ("n", "1")),
        ),
        """
        90 {26}                 # SUBACK, remaining length 38
        1234                    # packet identifier 4660
        {17}                    # 23 bytes of properties
        1f [0006] 706172746c79  # reason string "partly"
        26 [0001] 6e [0001] 32  # user property "n", "2"
        26 [0001] 6e [0001] 31  # user property "n", "1"
        00                      # granted QoS 0
        01                      # granted QoS 1
        02                      # granted QoS 2
        80                      # unspecified error
        83                      # implementation specific error
        87                      # not authorized
        8f                      # topic filter invalid
        91                      # packet identifier in use
        97                      # quota exceeded
        9e                      # shared subscriptions not supported
        a1                      # subscription identifiers not supported
        a2                      # wildcard subscriptions not supported
        """,
    ),
    Vector(
        "a SUBACK of MQTT 5 with its properties in descending order",
        (5,),
        lambda: SubAck(2, (0,), reason_string="r", user_properties=(("k", "v"),)),
        """
        90 {0f}                 # SUBACK, remaining length 15
        0002                    # packet identifier 2
        {0b}                    # 11 bytes of properties
        26 [0001] 6b [0001] 76  # user property "k", "v"
        1f [0001] 72            # reason string "r"
        00                      # granted QoS 0
        """,
        form="own order",
    ),
    Vector(
        "an UNSUBSCRIBE of MQTT 3.1.1 from one filter",
        (4,),
        lambda: Unsubscribe(1, ("a/b",)),
        """
        a2 {07}        # UNSUBSCRIBE, remaining length 7
        0001           # packet identifier 1
        [0003] 612f62  # topic filter "a/b"
        """,
    ),
    Vector(
        "an UNSUBSCRIBE of MQTT 3.1.1 from three filters",
        (4,),
        lambda: Unsubscribe(65535, ("#", "a/+/c", "#")),
        """
        a2 {0f}            # UNSUBSCRIBE, remaining length 15
        ffff               # packet identifier 65535
        [0001] 23          # topic filter "#"
        [0005] 612f2b2f63  # topic filter "a/+/c"
        [0001] 23          # topic filter: the same again is no fault "#"
        """,
    ),
    Vector(
        "an UNSUBSCRIBE of MQTT 5 from one filter",
        (5,),
        lambda: Unsubscribe(1, ("a/b",)),
        """
        a2 {08}        # UNSUBSCRIBE, remaining length 8
        0001           # packet identifier 1
        {00}           # no properties
        [0003] 612f62  # topic filter "a/b"
        """,
    ),
    Vector(
        "an UNSUBSCRIBE of MQTT 5 with every property",
        (5,),
        lambda: Unsubscribe(10, ("$share/pool/a/#", "ü/+"), user_properties=(("n", "1"), ("m", ""), ("n", "1"))),
        """
        a2 {2e}                                # UNSUBSCRIBE, remaining length 46
        000a                                   # packet identifier 10
        {14}                                   # 20 bytes of properties
        26 [0001] 6e [0001] 31                 # user property "n", "1"
        26 [0001] 6d [0000]                    # user property "m"
        26 [0001] 6e [0001] 31                 # user property "n", "1"
        [000f] 2473686172652f706f6f6c2f612f23  # topic filter of a shared subscription "$share/pool/a/#"
        [0004] c3bc2f2b                        # topic filter "ü/+"
        """,
    ),
    Vector(
        "an UNSUBACK of MQTT 3.1.1",
        (4,),
        lambda: UnsubAck(1),
        """
        b0 {02}  # UNSUBACK, remaining length 2
        0001     # packet identifier 1: 3.1.1 says no more
        """,
    ),
    Vector(
        "an UNSUBACK of MQTT 5 for one filter",
        (5,),
        lambda: UnsubAck(65535, (0x11,)),
        """
        b0 {04}  # UNSUBACK, remaining length 4
        ffff     # packet identifier 65535
        {00}     # no properties
        11       # no subscription existed
        """,
    ),
    Vector(
        "an UNSUBACK of MQTT 5 with every property and every reason code",
        (5,),
        lambda: UnsubAck(
            4660,
            (0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91),
            reason_string="partly",
            user_properties=(("n", "2"), ("n", "1")),
        ),
        """
        b0 {21}                 # UNSUBACK, remaining length 33
        1234                    # packet identifier 4660
        {17}                    # 23 bytes of properties
        1f [0006] 706172746c79  # reason string "partly"
        26 [0001] 6e [0001] 32  # user property "n", "2"
        26 [0001] 6e [0001] 31  # user property "n", "1"
        00                      # success
        11                      # no subscription existed
        80                      # unspecified error
        83                      # implementation specific error
        87                      # not authorized
        8f                      # topic filter invalid
        91                      # packet identifier in use
        """,
    ),
    Vector(
        "an UNSUBACK of MQTT 5 with its properties in descending order",
        (5,),
        lambda: UnsubAck(2, (0,), reason_string="r", user_properties=(("k", "v"),)),
        """
        b0 {0f}                 # UNSUBACK, remaining length 15
        0002                    # packet identifier 2
        {0b}                    # 11 bytes of properties
        26 [0001] 6b [0001] 76  # user property "k", "v"
        1f [0001] 72            # reason string "r"
        00                      # success
        """,
        form="own order",
    ),
)
