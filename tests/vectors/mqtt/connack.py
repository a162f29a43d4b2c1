"""CONNACK (MQTT 5.0, 3.2)."""

from __future__ import annotations

from iotwire.mqtt import ConnAck
from vectors.mqtt.vector import Vector

VECTORS = (
    Vector(
        "a CONNACK of MQTT 3.1.1 that accepts",
        (4,),
        ConnAck,
        """
        20 {02}  # CONNACK, remaining length 2
        00       # no session present
        00       # accepted
        """,
    ),
    Vector(
        "a CONNACK of MQTT 3.1.1 that finds the session",
        (4,),
        lambda: ConnAck(session_present=True),
        """
        20 {02}  # CONNACK, remaining length 2
        01       # session present
        00       # accepted
        """,
    ),
    Vector(
        "a CONNACK of MQTT 3.1.1 that refuses the protocol version",
        (4,),
        lambda: ConnAck(1),
        """
        20 {02}  # CONNACK, remaining length 2
        00       # no session present
        01       # unacceptable protocol version
        """,
    ),
    Vector(
        "a CONNACK of MQTT 3.1.1 that does not authorize",
        (4,),
        lambda: ConnAck(5),
        """
        20 {02}  # CONNACK, remaining length 2
        00       # no session present
        05       # not authorized
        """,
    ),
    Vector(
        "a CONNACK of MQTT 5 that accepts",
        (5,),
        ConnAck,
        """
        20 {03}  # CONNACK, remaining length 3
        00       # no session present
        00       # success
        {00}     # no properties
        """,
    ),
    Vector(
        "a CONNACK of MQTT 5 that finds the session",
        (5,),
        lambda: ConnAck(0, session_present=True),
        """
        20 {03}  # CONNACK, remaining length 3
        01       # session present
        00       # success
        {00}     # no properties
        """,
    ),
    Vector(
        "a CONNACK of MQTT 5 that refuses and says why",
        (5,),
        lambda: ConnAck(0x87, reason_string="no policy allows iot:Connect"),
        """
        20 {22}                                         # CONNACK, remaining length 34
        00                                              # no session present
        87                                              # not authorized
        {1f}                                            # 31 bytes of properties
        1f [001c]  # reason string "no policy allows iot:Connect"
        6e6f20706f6c69637920616c6c6f777320696f743a436f6e6e656374
        """,
    ),
    Vector(
        "a CONNACK of MQTT 5 with every property",
        (5,),
        lambda: ConnAck(
            0,
            session_present=True,
            session_expiry_interval=7200,
            assigned_client_identifier="$GEN/0001",
            server_keep_alive=1200,
            authentication_method="SCRAM-SHA-256",
            authentication_data=b"v=rmF9",
            response_information="reply/7/",
            server_reference="b.example:8883",
            reason_string="welcome",
            receive_maximum=100,
            topic_alias_maximum=8,
            maximum_qos=1,
            retain_available=True,
            user_properties=(("region", "eu-west-1"), ("zone", "b")),
            maximum_packet_size=149504,
            wildcard_subscription_available=True,
            subscription_identifier_available=False,
            shared_subscription_available=True,
        ),
        """
        20 {8a01}                                       # CONNACK, remaining length 138
        01                                              # session present
        00                                              # success
        {8601}                                          # 134 bytes of properties
        11 00001c20                                     # session expiry interval 7200 s
        12 [0009] 2447454e2f30303031                    # assigned client identifier "$GEN/0001"
        13 04b0                                         # server keep alive 1200 s
        15 [000d] 534352414d2d5348412d323536            # authentication method "SCRAM-SHA-256"
        16 [0006] 763d726d4639                          # authentication data "v=rmF9"
        1a [0008] 7265706c792f372f                      # response information "reply/7/"
        1c [000e] 622e6578616d706c653a38383833          # server reference "b.example:8883"
        1f [0007] 77656c636f6d65                        # reason string "welcome"
        21 0064                                         # receive maximum 100
        22 0008                                         # topic alias maximum 8
        24 01                                           # maximum QoS 1
        25 01                                           # retain available
        26 [0006] 726567696f6e [0009] 65752d776573742d31  # user property "region", "eu-west-1"
        26 [0004] 7a6f6e65 [0001] 62                    # user property "zone", "b"
        27 00024800                                     # maximum packet size 149504
        28 01                                           # wildcard subscription available
        29 00                                           # subscription identifier available: no
        2a 01                                           # shared subscription available
        """,
    ),
    Vector(
        "a CONNACK of MQTT 5 with every number at its lowest",
        (5,),
        lambda: ConnAck(
            session_expiry_interval=0,
            server_keep_alive=0,
            receive_maximum=1,
            topic_alias_maximum=0,
            maximum_qos=0,
            retain_available=False,
            maximum_packet_size=1,
            wildcard_subscription_available=False,
            subscription_identifier_available=False,
            shared_subscription_available=False,
        ),
        """
        20 {20}      # CONNACK, remaining length 32
        00           # no session present
        00           # success
        {1d}         # 29 bytes of properties
        11 00000000  # session expiry interval 0
        13 0000      # server keep alive 0: off
        21 0001      # receive maximum 1
        22 0000      # topic alias maximum 0
        24 00        # maximum QoS 0
        25 00        # retain available: no
        27 00000001  # maximum packet size 1
        28 00        # wildcard subscription available: no
        29 00        # subscription identifier available: no
        2a 00        # shared subscription available: no
        """,
    ),
    Vector(
        "a CONNACK of MQTT 5 with every number at its highest",
        (5,),
        lambda: ConnAck(
            session_expiry_interval=4294967295,
            server_keep_alive=65535,
            receive_maximum=65535,
            topic_alias_maximum=65535,
            maximum_packet_size=4294967295,
            subscription_identifier_available=True,
        ),
        """
        20 {18}      # CONNACK, remaining length 24
        00           # no session present
        00           # success
        {15}         # 21 bytes of properties
        11 ffffffff  # session expiry interval: never
        13 ffff      # server keep alive 65535 s
        21 ffff      # receive maximum 65535
        22 ffff      # topic alias maximum 65535
        27 ffffffff  # maximum packet size 4294967295
        29 01        # subscription identifier available
        """,
    ),
    Vector(
        "a CONNACK of MQTT 5 with empty strings and empty data",
        (5,),
        lambda: ConnAck(
            assigned_client_identifier="",
            authentication_method="",
            authentication_data=b"",
            response_information="",
            server_reference="",
            reason_string="",
            user_properties=(("", ""),),
        ),
        """
        20 {1a}           # CONNACK, remaining length 26
        00                # no session present
        00                # success
        {17}              # 23 bytes of properties
        12 [0000]         # assigned client identifier
        15 [0000]         # authentication method
        16 [0000]         # authentication data
        1a [0000]         # response information
        1c [0000]         # server reference
        1f [0000]         # reason string
        26 [0000] [0000]  # user property
        """,
    ),
    Vector(
        "a CONNACK of MQTT 5 with user properties between its other properties",
        (5,),
        lambda: ConnAck(
            0x9D, server_reference="c.example", receive_maximum=9, user_properties=(("a", "1"), ("a", "2"))
        ),
        """
        20 {20}                       # CONNACK, remaining length 32
        00                            # no session present
        9d                            # server moved
        {1d}                          # 29 bytes of properties
        26 [0001] 61 [0001] 31        # user property "a", "1"
        21 0009                       # receive maximum 9
        26 [0001] 61 [0001] 32        # user property "a", "2"
        1c [0009] 632e6578616d706c65  # server reference "c.example"
        """,
        form="own order",
    ),
    Vector(
        "a CONNACK of MQTT 5 with a server reference of 65535 bytes",
        (5,),
        lambda: ConnAck(0x9C, server_reference="s" * 65535),
        """
        20 {878004}         # CONNACK, remaining length 65543
        00                  # no session present
        9c                  # use another server
        {828004}            # 65538 bytes of properties
        1c [ffff] 73*65535  # server reference "s" x 65535
        """,
    ),
)
