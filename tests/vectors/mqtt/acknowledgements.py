"""PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5.0, 3.4 to 3.7): four packets of one shape."""

from __future__ import annotations

from iotwire.mqtt import PubAck, PubComp, PubRec, PubRel
from vectors.mqtt.vector import Vector

VECTORS = (
    Vector(
        "a PUBACK of two bytes",
        (4, 5),
        lambda: PubAck(1),
        """
        40 {02}  # PUBACK, remaining length 2
        0001     # packet identifier 1
        """,
    ),
    Vector(
        "a PUBACK with the highest packet identifier",
        (4, 5),
        lambda: PubAck(65535, 0),
        """
        40 {02}  # PUBACK, remaining length 2
        ffff     # packet identifier 65535
        """,
    ),
    Vector(
        "a PUBACK of three bytes",
        (5,),
        lambda: PubAck(4660, 0x10),
        """
        40 {03}  # PUBACK, remaining length 3: no property length at all
        1234     # packet identifier 4660
        10       # no matching subscribers
        """,
    ),
    Vector(
        "a PUBACK that spells out success",
        (5,),
        lambda: PubAck(4660),
        """
        40 {03}  # PUBACK, remaining length 3
        1234     # packet identifier 4660
        00       # success
        """,
        form="long",
    ),
    Vector(
        "a PUBACK that spells out success and no properties",
        (5,),
        lambda: PubAck(4660),
        """
        40 {04}  # PUBACK, remaining length 4
        1234     # packet identifier 4660
        00       # success
        {00}     # no properties
        """,
        form="long",
    ),
    Vector(
        "a PUBACK that spells out no properties",
        (5,),
        lambda: PubAck(4660, 0x10),
        """
        40 {04}  # PUBACK, remaining length 4
        1234     # packet identifier 4660
        10       # no matching subscribers
        {00}     # no properties
        """,
        form="long",
    ),
    Vector(
        "a PUBACK with every property",
        (5,),
        lambda: PubAck(2, 0x10, reason_string="because", user_properties=(("b", "1"), ("a", "2"), ("b", "1"))),
        """
        40 {23}                   # PUBACK, remaining length 35
        0002                      # packet identifier 2
        10                        # no matching subscribers
        {1f}                      # 31 bytes of properties
        1f [0007] 62656361757365  # reason string "because"
        26 [0001] 62 [0001] 31    # user property "b", "1"
        26 [0001] 61 [0001] 32    # user property "a", "2"
        26 [0001] 62 [0001] 31    # user property "b", "1"
        """,
    ),
    Vector(
        "a PUBACK of success with an empty reason string",
        (5,),
        lambda: PubAck(2, reason_string=""),
        """
        40 {07}    # PUBACK, remaining length 7
        0002       # packet identifier 2
        00         # success
        {03}       # 3 bytes of properties
        1f [0000]  # reason string
        """,
    ),
    Vector(
        "a PUBACK with its properties in descending order",
        (5,),
        lambda: PubAck(2, reason_string="r", user_properties=(("k", "v"),)),
        """
        40 {0f}                 # PUBACK, remaining length 15
        0002                    # packet identifier 2
        00                      # success
        {0b}                    # 11 bytes of properties
        26 [0001] 6b [0001] 76  # user property "k", "v"
        1f [0001] 72            # reason string "r"
        """,
        form="own order",
    ),
    Vector(
        "a PUBREC of two bytes",
        (4, 5),
        lambda: PubRec(1),
        """
        50 {02}  # PUBREC, remaining length 2
        0001     # packet identifier 1
        """,
    ),
    Vector(
        "a PUBREC with the highest packet identifier",
        (4, 5),
        lambda: PubRec(65535, 0),
        """
        50 {02}  # PUBREC, remaining length 2
        ffff     # packet identifier 65535
        """,
    ),
    Vector(
        "a PUBREC of three bytes",
        (5,),
        lambda: PubRec(4660, 0x97),
        """
        50 {03}  # PUBREC, remaining length 3: no property length at all
        1234     # packet identifier 4660
        97       # quota exceeded
        """,
    ),
    Vector(
        "a PUBREC that spells out success",
        (5,),
        lambda: PubRec(4660),
        """
        50 {03}  # PUBREC, remaining length 3
        1234     # packet identifier 4660
        00       # success
        """,
        form="long",
    ),
    Vector(
        "a PUBREC that spells out success and no properties",
        (5,),
        lambda: PubRec(4660),
        """
        50 {04}  # PUBREC, remaining length 4
        1234     # packet identifier 4660
        00       # success
        {00}     # no properties
        """,
        form="long",
    ),
    Vector(
        "a PUBREC that spells out no properties",
        (5,),
        lambda: PubRec(4660, 0x97),
        """
        50 {04}  # PUBREC, remaining length 4
        1234     # packet identifier 4660
        97       # quota exceeded
        {00}     # no properties
        """,
        form="long",
    ),
    Vector(
        "a PUBREC with every property",
        (5,),
        lambda: PubRec(2, 0x97, reason_string="because", user_properties=(("b", "1"), ("a", "2"), ("b", "1"))),
        """
        50 {23}                   # PUBREC, remaining length 35
        0002                      # packet identifier 2
        97                        # quota exceeded
        {1f}                      # 31 bytes of properties
        1f [0007] 62656361757365  # reason string "because"
        26 [0001] 62 [0001] 31    # user property "b", "1"
        26 [0001] 61 [0001] 32    # user property "a", "2"
        26 [0001] 62 [0001] 31    # user property "b", "1"
        """,
    ),
    Vector(
        "a PUBREC of success with an empty reason string",
        (5,),
        lambda: PubRec(2, reason_string=""),
        """
        50 {07}    # PUBREC, remaining length 7
        0002       # packet identifier 2
        00         # success
        {03}       # 3 bytes of properties
        1f [0000]  # reason string
        """,
    ),
    Vector(
        "a PUBREC with its properties in descending order",
        (5,),
        lambda: PubRec(2, reason_string="r", user_properties=(("k", "v"),)),
        """
        50 {0f}                 # PUBREC, remaining length 15
        0002                    # packet identifier 2
        00                      # success
        {0b}                    # 11 bytes of properties
        26 [0001] 6b [0001] 76  # user property "k", "v"
        1f [0001] 72            # reason string "r"
        """,
        form="own order",
    ),
    Vector(
        "a PUBREL of two bytes",
        (4, 5),
        lambda: PubRel(1),
        """
        62 {02}  # PUBREL, remaining length 2
        0001     # packet identifier 1
        """,
    ),
    Vector(
        "a PUBREL with the highest packet identifier",
        (4, 5),
        lambda: PubRel(65535, 0),
        """
        62 {02}  # PUBREL, remaining length 2
        ffff     # packet identifier 65535
        """,
    ),
    Vector(
        "a PUBREL of three bytes",
        (5,),
        lambda: PubRel(4660, 0x92),
        """
        62 {03}  # PUBREL, remaining length 3: no property length at all
        1234     # packet identifier 4660
        92       # packet identifier not found
        """,
    ),
    Vector(
        "a PUBREL that spells out success",
        (5,),
        lambda: PubRel(4660),
        """
        62 {03}  # PUBREL, remaining length 3
        1234     # packet identifier 4660
        00       # success
        """,
        form="long",
    ),
    Vector(
        "a PUBREL that spells out success and no properties",
        (5,),
        lambda: PubRel(4660),
        """
        62 {04}  # PUBREL, remaining length 4
        1234     # packet identifier 4660
        00       # success
        {00}     # no properties
        """,
        form="long",
    ),
    Vector(
        "a PUBREL that spells out no properties",
        (5,),
        lambda: PubRel(4660, 0x92),
        """
        62 {04}  # PUBREL, remaining length 4
        1234     # packet identifier 4660
        92       # packet identifier not found
        {00}     # no properties
        """,
        form="long",
    ),
    Vector(
        "a PUBREL with every property",
        (5,),
        lambda: PubRel(2, 0x92, reason_string="because", user_properties=(("b", "1"), ("a", "2"), ("b", "1"))),
        """
        62 {23}                   # PUBREL, remaining length 35
        0002                      # packet identifier 2
        92                        # packet identifier not found
        {1f}                      # 31 bytes of properties
        1f [0007] 62656361757365  # reason string "because"
        26 [0001] 62 [0001] 31    # user property "b", "1"
        26 [0001] 61 [0001] 32    # user property "a", "2"
        26 [0001] 62 [0001] 31    # user property "b", "1"
        """,
    ),
    Vector(
        "a PUBREL of success with an empty reason string",
        (5,),
        lambda: PubRel(2, reason_string=""),
        """
        62 {07}    # PUBREL, remaining length 7
        0002       # packet identifier 2
        00         # success
        {03}       # 3 bytes of properties
        1f [0000]  # reason string
        """,
    ),
    Vector(
        "a PUBREL with its properties in descending order",
        (5,),
        lambda: PubRel(2, reason_string="r", user_properties=(("k", "v"),)),
        """
        62 {0f}                 # PUBREL, remaining length 15
        0002                    # packet identifier 2
        00                      # success
        {0b}                    # 11 bytes of properties
        26 [0001] 6b [0001] 76  # user property "k", "v"
        1f [0001] 72            # reason string "r"
        """,
        form="own order",
    ),
    Vector(
        "a PUBCOMP of two bytes",
        (4, 5),
        lambda: PubComp(1),
        """
        70 {02}  # PUBCOMP, remaining length 2
        0001     # packet identifier 1
        """,
    ),
    Vector(
        "a PUBCOMP with the highest packet identifier",
        (4, 5),
        lambda: PubComp(65535, 0),
        """
        70 {02}  # PUBCOMP, remaining length 2
        ffff     # packet identifier 65535
        """,
    ),
    Vector(
        "a PUBCOMP of three bytes",
        (5,),
        lambda: PubComp(4660, 0x92),
        """
        70 {03}  # PUBCOMP, remaining length 3: no property length at all
        1234     # packet identifier 4660
        92       # packet identifier not found
        """,
    ),
    Vector(
        "a PUBCOMP that spells out success",
        (5,),
        lambda: PubComp(4660),
        """
        70 {03}  # PUBCOMP, remaining length 3
        1234     # packet identifier 4660
        00       # success
        """,
        form="long",
    ),
    Vector(
        "a PUBCOMP that spells out success and no properties",
        (5,),
        lambda: PubComp(4660),
        """
        70 {04}  # PUBCOMP, remaining length 4
        1234     # packet identifier 4660
        00       # success
        {00}     # no properties
        """,
        form="long",
    ),
    Vector(
        "a PUBCOMP that spells out no properties",
        (5,),
        lambda: PubComp(4660, 0x92),
        """
        70 {04}  # PUBCOMP, remaining length 4
        1234     # packet identifier 4660
        92       # packet identifier not found
        {00}     # no properties
        """,
        form="long",
    ),
    Vector(
        "a PUBCOMP with every property",
        (5,),
        lambda: PubComp(2, 0x92, reason_string="because", user_properties=(("b", "1"), ("a", "2"), ("b", "1"))),
        """
        70 {23}                   # PUBCOMP, remaining length 35
        0002                      # packet identifier 2
        92                        # packet identifier not found
        {1f}                      # 31 bytes of properties
        1f [0007] 62656361757365  # reason string "because"
        26 [0001] 62 [0001] 31    # user property "b", "1"
        26 [0001] 61 [0001] 32    # user property "a", "2"
        26 [0001] 62 [0001] 31    # user property "b", "1"
        """,
    ),
    Vector(
        "a PUBCOMP of success with an empty reason string",
        (5,),
        lambda: PubComp(2, reason_string=""),
        """
        70 {07}    # PUBCOMP, remaining length 7
        0002       # packet identifier 2
        00         # success
        {03}       # 3 bytes of properties
        1f [0000]  # reason string
        """,
    ),
    Vector(
        "a PUBCOMP with its properties in descending order",
        (5,),
        lambda: PubComp(2, reason_string="r", user_properties=(("k", "v"),)),
        """
        70 {0f}                 # PUBCOMP, remaining length 15
        0002                    # packet identifier 2
        00                      # success
        {0b}                    # 11 bytes of properties
        26 [0001] 6b [0001] 76  # user property "k", "v"
        1f [0001] 72            # reason string "r"
        """,
        form="own order",
    ),
)
