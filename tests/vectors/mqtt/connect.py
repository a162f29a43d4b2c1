"""CONNECT (MQTT 5.0, 3.1)."""

from __future__ import annotations

from iotwire.mqtt import Connect, Will
from vectors.mqtt.vector import Vector

VECTORS = (
    Vector(
        "a CONNECT of MQTT 5 with nothing but defaults",
        (5,),
        Connect,
        """
        10 {0d}          # CONNECT, remaining length 13
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        02               # connect flags: clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0000]           # client identifier: the server shall choose one
        """,
    ),
    Vector(
        "a CONNECT of MQTT 3.1.1 with nothing but defaults",
        (4,),
        Connect,
        """
        10 {0c}          # CONNECT, remaining length 12
        [0004] 4d515454  # protocol name "MQTT"
        04               # protocol level 4
        02               # connect flags: clean session
        003c             # keep alive 60 s
        [0000]           # client identifier: the server shall choose one
        """,
    ),
    Vector(
        "a CONNECT of MQTT 3.1.1 that resumes a session",
        (4,),
        lambda: Connect("gateway-7", clean_start=False, keep_alive=1200),
        """
        10 {15}                    # CONNECT, remaining length 21
        [0004] 4d515454            # protocol name "MQTT"
        04                         # protocol level 4
        00                         # connect flags: none
        04b0                       # keep alive 1200 s
        [0009] 676174657761792d37  # client identifier "gateway-7"
        """,
    ),
    Vector(
        "a CONNECT of MQTT 3.1.1 with will, username and password",
        (4,),
        lambda: Connect(
            "gateway-7",
            clean_start=False,
            keep_alive=30,
            username="pi",
            password=b"\x00\xffbytes",
            will=Will("status/7", b"gone", qos=2, retain=True),
        ),
        """
        10 {32}                    # CONNECT, remaining length 50
        [0004] 4d515454            # protocol name "MQTT"
        04                         # protocol level 4
        f4                         # connect flags: username, password, will retain, will QoS 2, will
        001e                       # keep alive 30 s
        [0009] 676174657761792d37  # client identifier "gateway-7"
        [0008] 7374617475732f37    # will topic "status/7"
        [0004] 676f6e65            # will message "gone"
        [0002] 7069                # username "pi"
        [0007] 00ff6279746573      # password: bytes, not text
        """,
    ),
    Vector(
        "a CONNECT of MQTT 3.1.1 with a username and no password",
        (4,),
        lambda: Connect("gateway-7", username="pi"),
        """
        10 {19}                    # CONNECT, remaining length 25
        [0004] 4d515454            # protocol name "MQTT"
        04                         # protocol level 4
        82                         # connect flags: username, clean session
        003c                       # keep alive 60 s
        [0009] 676174657761792d37  # client identifier "gateway-7"
        [0002] 7069                # username "pi"
        """,
    ),
    Vector(
        "a CONNECT of MQTT 3.1.1 with a client identifier outside ASCII",
        (4,),
        lambda: Connect("Füße-𝄞"),
        """
        10 {17}                        # CONNECT, remaining length 23 (bytes, not characters)
        [0004] 4d515454                # protocol name "MQTT"
        04                             # protocol level 4
        02                             # connect flags: clean session
        003c                           # keep alive 60 s
        [000b] 46c3bcc39f652df09d849e  # client identifier: two- and four-byte characters "Füße-𝄞"
        """,
    ),
    Vector(
        "a CONNECT of MQTT 3.1.1 with a client identifier of 65535 bytes",
        (4,),
        lambda: Connect("c" * 65535),
        """
        10 {8b8004}      # CONNECT, remaining length 65547
        [0004] 4d515454  # protocol name "MQTT"
        04               # protocol level 4
        02               # connect flags: clean session
        003c             # keep alive 60 s
        [ffff] 63*65535  # client identifier "c" x 65535
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 with a password and no username",
        (5,),
        lambda: Connect("gateway-7", password=b"secret"),
        """
        10 {1e}                    # CONNECT, remaining length 30
        [0004] 4d515454            # protocol name "MQTT"
        05                         # protocol level 5
        42                         # connect flags: password (3.1.1 forbade it without a username), clean start
        003c                       # keep alive 60 s
        {00}                       # no properties
        [0009] 676174657761792d37  # client identifier "gateway-7"
        [0006] 736563726574        # password
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 with empty username, password and will payload",
        (5,),
        lambda: Connect("a", username="", password=b"", will=Will("w", b"")),
        """
        10 {18}          # CONNECT, remaining length 24
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        c6               # connect flags: username, password, will QoS 0, will, clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        {00}             # no will properties
        [0001] 77        # will topic "w"
        [0000]           # will payload: empty, but there
        [0000]           # username: empty, but there
        [0000]           # password: empty, but there
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 that turns keep alive off",
        (5,),
        lambda: Connect("a", clean_start=False, keep_alive=0),
        """
        10 {0e}          # CONNECT, remaining length 14
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        00               # connect flags: none
        0000             # keep alive 0: off
        {00}             # no properties
        [0001] 61        # client identifier "a"
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 with the longest keep alive",
        (5,),
        lambda: Connect("a", keep_alive=65535),
        """
        10 {0e}          # CONNECT, remaining length 14
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        02               # connect flags: clean start
        ffff             # keep alive 65535 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 with every property, and a will with every property",
        (5,),
        lambda: Connect(
            "gateway-7",
            keep_alive=300,
            username="pi",
            password=b"raspberry",
            will=Will(
                "status/7",
                b'{"up":false}',
                qos=1,
                retain=True,
                payload_format_indicator=1,
                message_expiry_interval=86400,
                content_type="application/json",
                response_topic="status/7/reply",
                correlation_data=b"\x01\x02",
                will_delay_interval=30,
                user_properties=(("site", "roof"),),
            ),
            session_expiry_interval=3600,
            authentication_method="SCRAM-SHA-256",
            authentication_data=b"n,,n=pi",
            request_problem_information=True,
            request_response_information=True,
            receive_maximum=20,
            topic_alias_maximum=8,
            user_properties=(("build", "7"), ("arch", "armv7")),
            maximum_packet_size=149504,
        ),
        """
        10 {c701}                                   # CONNECT, remaining length 199
        [0004] 4d515454                             # protocol name "MQTT"
        05                                          # protocol level 5
        ee                                          # username, password, will retain, will QoS 1, will, clean start
        012c                                        # keep alive 300 s
        {47}                                        # 71 bytes of properties
        11 00000e10                                 # session expiry interval 3600 s
        15 [000d] 534352414d2d5348412d323536        # authentication method "SCRAM-SHA-256"
        16 [0007] 6e2c2c6e3d7069                    # authentication data "n,,n=pi"
        17 01                                       # request problem information
        19 01                                       # request response information
        21 0014                                     # receive maximum 20
        22 0008                                     # topic alias maximum 8
        26 [0005] 6275696c64 [0001] 37              # user property "build", "7"
        26 [0004] 61726368 [0005] 61726d7637        # user property "arch", "armv7"
        27 00024800                                 # maximum packet size 149504
        [0009] 676174657761792d37                   # client identifier "gateway-7"
        {42}                                        # 66 bytes of will properties
        01 01                                       # payload format indicator: UTF-8
        02 00015180                                 # message expiry interval 86400 s
        03 [0010] 6170706c69636174696f6e2f6a736f6e  # content type "application/json"
        08 [000e] 7374617475732f372f7265706c79      # response topic "status/7/reply"
        09 [0002] 0102                              # correlation data
        18 0000001e                                 # will delay interval 30 s
        26 [0004] 73697465 [0004] 726f6f66          # user property "site", "roof"
        [0008] 7374617475732f37                     # will topic "status/7"
        [000c] 7b227570223a66616c73657d             # will payload {"up":false}
        [0002] 7069                                 # username "pi"
        [0009] 726173706265727279                   # password
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 with every number at its lowest",
        (5,),
        lambda: Connect(
            "a",
            session_expiry_interval=0,
            request_problem_information=False,
            request_response_information=False,
            receive_maximum=1,
            topic_alias_maximum=0,
            maximum_packet_size=1,
            will=Will("w", payload_format_indicator=0, message_expiry_interval=0, will_delay_interval=0),
        ),
        """
        10 {34}          # CONNECT, remaining length 52
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        06               # connect flags: will QoS 0, will, clean start
        003c             # keep alive 60 s
        {14}             # 20 bytes of properties
        11 00000000      # session expiry interval 0
        17 00            # request problem information
        19 00            # request response information
        21 0001          # receive maximum 1
        22 0000          # topic alias maximum 0
        27 00000001      # maximum packet size 1
        [0001] 61        # client identifier "a"
        {0c}             # 12 bytes of will properties
        01 00            # payload format indicator: bytes
        02 00000000      # message expiry interval 0
        18 00000000      # will delay interval 0
        [0001] 77        # will topic "w"
        [0000]           # will payload
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 with every number at its highest",
        (5,),
        lambda: Connect(
            "a",
            session_expiry_interval=4294967295,
            receive_maximum=65535,
            topic_alias_maximum=65535,
            maximum_packet_size=4294967295,
            will=Will("w", message_expiry_interval=4294967295, will_delay_interval=4294967295),
        ),
        """
        10 {2e}          # CONNECT, remaining length 46
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        06               # connect flags: will QoS 0, will, clean start
        003c             # keep alive 60 s
        {10}             # 16 bytes of properties
        11 ffffffff      # session expiry interval: never
        21 ffff          # receive maximum 65535
        22 ffff          # topic alias maximum 65535
        27 ffffffff      # maximum packet size 4294967295
        [0001] 61        # client identifier "a"
        {0a}             # 10 bytes of will properties
        02 ffffffff      # message expiry interval 4294967295 s
        18 ffffffff      # will delay interval 4294967295 s
        [0001] 77        # will topic "w"
        [0000]           # will payload
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 with empty strings and empty data in its properties",
        (5,),
        lambda: Connect(
            "a",
            authentication_method="",
            authentication_data=b"",
            user_properties=(("", ""),),
            will=Will("w", content_type="", correlation_data=b"", user_properties=(("", ""),)),
        ),
        """
        10 {2a}           # CONNECT, remaining length 42
        [0004] 4d515454   # protocol name "MQTT"
        05                # protocol level 5
        06                # connect flags: will QoS 0, will, clean start
        003c              # keep alive 60 s
        {0b}              # 11 bytes of properties
        15 [0000]         # authentication method
        16 [0000]         # authentication data
        26 [0000] [0000]  # user property
        [0001] 61         # client identifier "a"
        {0b}              # 11 bytes of will properties
        03 [0000]         # content type
        09 [0000]         # correlation data
        26 [0000] [0000]  # user property
        [0001] 77         # will topic "w"
        [0000]            # will payload
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 with user properties that repeat and are not sorted",
        (5,),
        lambda: Connect("a", user_properties=(("b", "2"), ("a", "1"), ("b", "2"), ("a", "0"))),
        """
        10 {2a}                 # CONNECT, remaining length 42
        [0004] 4d515454         # protocol name "MQTT"
        05                      # protocol level 5
        02                      # connect flags: clean start
        003c                    # keep alive 60 s
        {1c}                    # 28 bytes of properties
        26 [0001] 62 [0001] 32  # user property "b", "2"
        26 [0001] 61 [0001] 31  # user property "a", "1"
        26 [0001] 62 [0001] 32  # user property: the same pair again "b", "2"
        26 [0001] 61 [0001] 30  # user property: the same name again "a", "0"
        [0001] 61               # client identifier "a"
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 with its properties in descending order",
        (5,),
        lambda: Connect("a", session_expiry_interval=5, receive_maximum=7, user_properties=(("k", "v"),)),
        """
        10 {1d}                 # CONNECT, remaining length 29
        [0004] 4d515454         # protocol name "MQTT"
        05                      # protocol level 5
        02                      # connect flags: clean start
        003c                    # keep alive 60 s
        {0f}                    # 15 bytes of properties
        26 [0001] 6b [0001] 76  # user property "k", "v"
        21 0007                 # receive maximum 7
        11 00000005             # session expiry interval 5 s
        [0001] 61               # client identifier "a"
        """,
        form="own order",
    ),
    Vector(
        "a CONNECT of MQTT 5 with the byte order mark and a noncharacter kept in its client identifier",
        (5,),
        lambda: Connect("\ufeffa\uffff"),
        """
        10 {14}                # CONNECT, remaining length 20
        [0004] 4d515454        # protocol name "MQTT"
        05                     # protocol level 5
        02                     # connect flags: clean start
        003c                   # keep alive 60 s
        {00}                   # no properties
        [0007] efbbbf61efbfbf  # client identifier [MQTT-1.5.4-3] "\ufeffa\uffff"
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 for a custom authorizer",
        (5,),
        lambda: Connect("meter-1", username="?x-amz-customauthorizer-name=Door", password=b"\x80"),
        """
        10 {3a}                                         # CONNECT, remaining length 58
        [0004] 4d515454                                 # protocol name "MQTT"
        05                                              # protocol level 5
        c2                                              # connect flags: username, password, clean start
        003c                                            # keep alive 60 s
        {00}                                            # no properties
        [0007] 6d657465722d31                           # client identifier "meter-1"
        [0021]  # username "?x-amz-customauthorizer-name=Door"
        3f782d616d7a2d637573746f6d617574686f72697a65722d6e616d653d446f6f
        72
        [0001] 80                                       # password: not UTF-8
        """,
    ),
    Vector(
        "a CONNECT of MQTT 5 whose properties take two bytes to count",
        (5,),
        lambda: Connect("a", user_properties=(("k", "v" * 122),)),
        """
        10 {8f01}                   # CONNECT, remaining length 143
        [0004] 4d515454             # protocol name "MQTT"
        05                          # protocol level 5
        02                          # connect flags: clean start
        003c                        # keep alive 60 s
        {8001}                      # 128 bytes of properties
        26 [0001] 6b [007a] 76*122  # user property "k", "v" x 122
        [0001] 61                   # client identifier "a"
        """,
    ),
)
