"""Malformed packets: CONNECT."""

from __future__ import annotations

from iotwire.errors import MalformedPacketError, ProtocolViolationError, WireError
from vectors.mqtt.vector import Malformed

MALFORMED = (
    Malformed(
        "a CONNECT with the name of MQTT 3.1",
        (4, 5),
        """
        10 {0f}              # CONNECT
        [0006] 4d5149736470  # protocol name of MQTT 3.1 "MQIsdp"
        03                   # protocol level 3
        02                   # connect flags: clean session
        003c                 # keep alive 60 s
        [0001] 61            # client identifier "a"
        """,
        WireError,
        (),
        "MQTT-3.1.2-1",
    ),
    Malformed(
        "a CONNECT with a protocol name in small letters",
        (4,),
        """
        10 {0d}          # CONNECT
        [0004] 6d717474  # protocol name "mqtt"
        04               # protocol level 4
        02               # connect flags: clean session
        003c             # keep alive 60 s
        [0001] 61        # client identifier "a"
        """,
        WireError,
        (),
        "MQTT-3.1.2-1",
    ),
    Malformed(
        "a CONNECT with protocol level 3",
        (4, 5),
        """
        10 {0d}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        03               # protocol level 3
        02               # connect flags: clean session
        003c             # keep alive 60 s
        [0001] 61        # client identifier "a"
        """,
        ProtocolViolationError,
        (0x84,),
        "MQTT-3.1.2-2",
    ),
    Malformed(
        "a CONNECT with protocol level 6",
        (4, 5),
        """
        10 {0e}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        06               # protocol level 6
        02               # connect flags: clean session
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        """,
        ProtocolViolationError,
        (0x84,),
        "MQTT-3.1.2-2",
    ),
    Malformed(
        "a CONNECT with the bridge bit in its protocol level",
        (4,),
        """
        10 {0d}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        84               # protocol level 0x84, as mosquitto's bridges once sent it
        02               # connect flags: clean session
        003c             # keep alive 60 s
        [0001] 61        # client identifier "a"
        """,
        ProtocolViolationError,
        (0x84,),
        "MQTT-3.1.2-2",
    ),
    Malformed(
        "a CONNECT of MQTT 5 where MQTT 3.1.1 is spoken",
        (4,),
        """
        10 {0e}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        02               # connect flags: clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        """,
        ProtocolViolationError,
        (0x84,),
        "MQTT-3.1.2-2",
    ),
    Malformed(
        "a CONNECT of MQTT 3.1.1 where MQTT 5 is spoken",
        (5,),
        """
        10 {0d}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        04               # protocol level 4
        02               # connect flags: clean session
        003c             # keep alive 60 s
        [0001] 61        # client identifier "a"
        """,
        ProtocolViolationError,
        (0x84,),
        "MQTT-3.1.2-2",
    ),
    Malformed(
        "a CONNECT with its reserved flag",
        (4,),
        """
        10 {0d}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        04               # protocol level 4
        03               # connect flags: clean session and the reserved bit
        003c             # keep alive 60 s
        [0001] 61        # client identifier "a"
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-3.1.2-3",
    ),
    Malformed(
        "a CONNECT of MQTT 5 with its reserved flag",
        (5,),
        """
        10 {0e}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        03               # connect flags: clean start and the reserved bit
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-3.1.2-3",
    ),
    Malformed(
        "a CONNECT with a will QoS and no will",
        (5,),
        """
        10 {0e}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        0a               # connect flags: will QoS 1, clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.1.2-11",
    ),
    Malformed(
        "a CONNECT with will retain and no will",
        (5,),
        """
        10 {0e}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        22               # connect flags: will retain, clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.1.2-13",
    ),
    Malformed(
        "a CONNECT with a will of QoS 3",
        (5,),
        """
        10 {14}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        1e               # connect flags: will QoS 3, will, clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        {00}             # no will properties
        [0001] 77        # will topic "w"
        [0000]           # will payload
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-3.1.2-12",
    ),
    Malformed(
        "a CONNECT of MQTT 3.1.1 with a will of QoS 3",
        (4,),
        """
        10 {12}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        04               # protocol level 4
        1e               # connect flags: will QoS 3, will, clean session
        003c             # keep alive 60 s
        [0001] 61        # client identifier "a"
        [0001] 77        # will topic "w"
        [0000]           # will message
        """,
        WireError,
        (0x81, 0x82),
        "MQTT-3.1.2-14",
    ),
    Malformed(
        "a CONNECT of MQTT 3.1.1 with a password and no username",
        (4,),
        """
        10 {10}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        04               # protocol level 4
        42               # connect flags: password, clean session
        003c             # keep alive 60 s
        [0001] 61        # client identifier "a"
        [0001] 78        # password
        """,
        WireError,
        (),
        "MQTT-3.1.2-22",
    ),
    Malformed(
        "a CONNECT of MQTT 3.1.1 with neither client identifier nor clean session",
        (4,),
        """
        10 {0c}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        04               # protocol level 4
        00               # connect flags: none
        003c             # keep alive 60 s
        [0000]           # client identifier: empty
        """,
        WireError,
        (),
        "MQTT-3.1.3-8",
    ),
    Malformed(
        "a CONNECT that ends before its client identifier",
        (4,),
        """
        10 {0a}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        04               # protocol level 4
        02               # connect flags: clean session
        003c             # keep alive 60 s
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-3.1.3-3",
    ),
    Malformed(
        "a CONNECT without the will that its flags announce",
        (4,),
        """
        10 {0d}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        04               # protocol level 4
        06               # connect flags: will, clean session
        003c             # keep alive 60 s
        [0001] 61        # client identifier "a"
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-3.1.2-9",
    ),
    Malformed(
        "a CONNECT without the username that its flags announce",
        (5,),
        """
        10 {0e}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        82               # connect flags: username, clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-3.1.2-17",
    ),
    Malformed(
        "a CONNECT with a username that its flags do not announce",
        (5,),
        """
        10 {12}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        02               # connect flags: clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        [0002] 7069      # username that no flag announces "pi"
        """,
        MalformedPacketError,
        (0x81,),
        "MQTT-3.1.2-16",
    ),
    Malformed(
        "a CONNECT with a wildcard in its will topic",
        (5,),
        """
        10 {16}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        06               # connect flags: will, clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        {00}             # no will properties
        [0003] 772f23    # will topic "w/#"
        [0000]           # will payload
        """,
        WireError,
        (0x81, 0x82, 0x90),
        "MQTT-4.7.1-1",
    ),
    Malformed(
        "a CONNECT with an empty will topic",
        (5,),
        """
        10 {13}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        06               # connect flags: will, clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        {00}             # no will properties
        [0000]           # will topic: empty
        [0000]           # will payload
        """,
        WireError,
        (0x81, 0x82, 0x90),
        "MQTT-4.7.3-1",
    ),
    Malformed(
        "a CONNECT with authentication data and no method",
        (5,),
        """
        10 {12}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        02               # connect flags: clean start
        003c             # keep alive 60 s
        {04}             # properties
        16 [0001] 78     # authentication data
        [0001] 61        # client identifier "a"
        """,
        ProtocolViolationError,
        (0x82,),
        "3.1.2.11.10",
    ),
    Malformed(
        "a CONNECT with receive maximum 0",
        (5,),
        """
        10 {11}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        02               # connect flags: clean start
        003c             # keep alive 60 s
        {03}             # properties
        21 0000          # receive maximum
        [0001] 61        # client identifier "a"
        """,
        ProtocolViolationError,
        (0x82,),
        "3.1.2.11.3",
    ),
    Malformed(
        "a CONNECT with maximum packet size 0",
        (5,),
        """
        10 {13}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        02               # connect flags: clean start
        003c             # keep alive 60 s
        {05}             # properties
        27 00000000      # maximum packet size
        [0001] 61        # client identifier "a"
        """,
        ProtocolViolationError,
        (0x82,),
        "3.1.2.11.4",
    ),
    Malformed(
        "a CONNECT with request problem information of 2",
        (5,),
        """
        10 {10}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        02               # connect flags: clean start
        003c             # keep alive 60 s
        {02}             # properties
        17 02            # request problem information
        [0001] 61        # client identifier "a"
        """,
        ProtocolViolationError,
        (0x82,),
        "3.1.2.11.7",
    ),
    Malformed(
        "a CONNECT with a will delay outside its will",
        (5,),
        """
        10 {13}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        02               # connect flags: clean start
        003c             # keep alive 60 s
        {05}             # properties
        18 00000001      # will delay interval: a will property
        [0001] 61        # client identifier "a"
        """,
        MalformedPacketError,
        (0x81,),
        "2.2.2.2",
    ),
    Malformed(
        "a CONNECT with a session expiry inside its will",
        (5,),
        """
        10 {19}          # CONNECT
        [0004] 4d515454  # protocol name "MQTT"
        05               # protocol level 5
        06               # connect flags: will, clean start
        003c             # keep alive 60 s
        {00}             # no properties
        [0001] 61        # client identifier "a"
        {05}             # will properties
        11 00000001      # session expiry interval: not of a will
        [0001] 77        # will topic "w"
        [0000]           # will payload
        """,
        MalformedPacketError,
        (0x81,),
        "2.2.2.2",
    ),
)
