"""PINGREQ, PINGRESP, DISCONNECT and AUTH (MQTT 5.0, 3.12 to 3.15)."""

from __future__ import annotations

from iotwire.mqtt import Auth, Disconnect, PingReq, PingResp
from vectors.mqtt.vector import Vector

VECTORS = (
    Vector(
        "a PINGREQ",
        (4, 5),
        PingReq,
        """
        c0 {00}  # PINGREQ, remaining length 0
        """,
    ),
    Vector(
        "a PINGRESP",
        (4, 5),
        PingResp,
        """
        d0 {00}  # PINGRESP, remaining length 0
        """,
    ),
    Vector(
        "a DISCONNECT of zero length",
        (4, 5),
        Disconnect,
        """
        e0 {00}  # DISCONNECT, remaining length 0: normal disconnection
        """,
    ),
    Vector(
        "a DISCONNECT of one byte",
        (5,),
        lambda: Disconnect(0x04),
        """
        e0 {01}  # DISCONNECT, remaining length 1: no property length at all
        04       # disconnect with will message
        """,
    ),
    Vector(
        "a DISCONNECT that spells out its normal reason",
        (5,),
        Disconnect,
        """
        e0 {01}  # DISCONNECT, remaining length 1
        00       # normal disconnection
        """,
        form="long",
    ),
    Vector(
        "a DISCONNECT that spells out no properties",
        (5,),
        lambda: Disconnect(0x8E),
        """
        e0 {02}  # DISCONNECT, remaining length 2
        8e       # session taken over
        {00}     # no properties
        """,
        form="long",
    ),
    Vector(
        "a DISCONNECT that spells out everything and says nothing",
        (5,),
        Disconnect,
        """
        e0 {02}  # DISCONNECT, remaining length 2
        00       # normal disconnection
        {00}     # no properties
        """,
        form="long",
    ),
    Vector(
        "a DISCONNECT with every property",
        (5,),
        lambda: Disconnect(
            0x9D,
            session_expiry_interval=60,
            reason_string="moved",
            server_reference="b.example",
            user_properties=(("z", "1"), ("a", "2"), ("z", "1")),
        ),
        """
        e0 {30}                       # DISCONNECT, remaining length 48
        9d                            # server moved
        {2e}                          # 46 bytes of properties
        11 0000003c                   # session expiry interval 60 s
        1c [0009] 622e6578616d706c65  # server reference "b.example"
        1f [0005] 6d6f766564          # reason string "moved"
        26 [0001] 7a [0001] 31        # user property "z", "1"
        26 [0001] 61 [0001] 32        # user property "a", "2"
        26 [0001] 7a [0001] 31        # user property "z", "1"
        """,
    ),
    Vector(
        "a DISCONNECT with the longest session expiry and empty strings",
        (5,),
        lambda: Disconnect(session_expiry_interval=4294967295, reason_string="", server_reference=""),
        """
        e0 {0d}      # DISCONNECT, remaining length 13
        00           # normal disconnection
        {0b}         # 11 bytes of properties
        11 ffffffff  # session expiry interval: never
        1c [0000]    # server reference
        1f [0000]    # reason string
        """,
    ),
    Vector(
        "a DISCONNECT with a session expiry of zero",
        (5,),
        lambda: Disconnect(session_expiry_interval=0),
        """
        e0 {07}      # DISCONNECT, remaining length 7
        00           # normal disconnection
        {05}         # 5 bytes of properties
        11 00000000  # session expiry interval 0
        """,
    ),
    Vector(
        "a DISCONNECT with its properties in an order of its own",
        (5,),
        lambda: Disconnect(0x98, reason_string="r", server_reference="s", user_properties=(("k", "v"),)),
        """
        e0 {11}                 # DISCONNECT, remaining length 17
        98                      # administrative action
        {0f}                    # 15 bytes of properties
        26 [0001] 6b [0001] 76  # user property "k", "v"
        1f [0001] 72            # reason string "r"
        1c [0001] 73            # server reference "s"
        """,
        form="own order",
    ),
    Vector(
        "an AUTH of zero length",
        (5,),
        Auth,
        """
        f0 {00}  # AUTH, remaining length 0: success
        """,
    ),
    Vector(
        "an AUTH that spells out success and no properties",
        (5,),
        Auth,
        """
        f0 {02}  # AUTH, remaining length 2
        00       # success
        {00}     # no properties
        """,
        form="long",
    ),
    Vector(
        "an AUTH that goes on, with every property",
        (5,),
        lambda: Auth(
            0x18,
            authentication_method="SCRAM-SHA-256",
            authentication_data=b"\x00\xff",
            reason_string="next",
            user_properties=(("z", "1"), ("a", "2"), ("z", "1")),
        ),
        """
        f0 {33}                               # AUTH, remaining length 51
        18                                    # continue authentication
        {31}                                  # 49 bytes of properties
        15 [000d] 534352414d2d5348412d323536  # authentication method "SCRAM-SHA-256"
        16 [0002] 00ff                        # authentication data
        1f [0004] 6e657874                    # reason string "next"
        26 [0001] 7a [0001] 31                # user property "z", "1"
        26 [0001] 61 [0001] 32                # user property "a", "2"
        26 [0001] 7a [0001] 31                # user property "z", "1"
        """,
    ),
    Vector(
        "an AUTH that starts again with a method and no data",
        (5,),
        lambda: Auth(0x19, authentication_method="K"),
        """
        f0 {06}       # AUTH, remaining length 6
        19            # re-authenticate
        {04}          # 4 bytes of properties
        15 [0001] 4b  # authentication method "K"
        """,
    ),
    Vector(
        "an AUTH of success with empty method and data",
        (5,),
        lambda: Auth(authentication_method="", authentication_data=b""),
        """
        f0 {08}    # AUTH, remaining length 8
        00         # success
        {06}       # 6 bytes of properties
        15 [0000]  # authentication method
        16 [0000]  # authentication data
        """,
    ),
    Vector(
        "an AUTH with its properties in descending order",
        (5,),
        lambda: Auth(0x18, authentication_method="K", authentication_data=b"d", reason_string="r"),
        """
        f0 {0e}       # AUTH, remaining length 14
        18            # continue authentication
        {0c}          # 12 bytes of properties
        1f [0001] 72  # reason string "r"
        16 [0001] 64  # authentication data
        15 [0001] 4b  # authentication method "K"
        """,
        form="own order",
    ),
)
