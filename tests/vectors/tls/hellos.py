"""ClientHellos as the call that makes them and as annotated bytes, in the notation of the MQTT vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from iotwire.tls import ClientHello
from vectors.mqtt.vector import LengthField, read_annotated

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM = bytes(range(32))


@dataclass(frozen=True)
class Vector:
    """A hello and its bytes, each length marked."""

    id: str
    make: Callable[[], ClientHello]
    annotated: str

    @cached_property
    def hello(self) -> ClientHello:
        return self.make()

    @cached_property
    def wire(self) -> bytes:
        return read_annotated(self.annotated)[0]

    @cached_property
    def lengths(self) -> tuple[LengthField, ...]:
        return read_annotated(self.annotated)[1]


VECTORS = (
    Vector(
        "no extension at all",
        lambda: ClientHello(
            versions=(0x0303,),
            cipher_suites=(0x002F,),
            groups=(),
            signature_algorithms=(),
            ec_point_formats=(),
            extended_master_secret=False,
            random=RANDOM,
        ),
        """
        16 0301 [002d]    # a record of handshake messages
        01 [000029]       # ClientHello
        0303              # legacy_version: TLS 1.2
        000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
        [00]              # no session id
        [0002] 002f       # TLS_RSA_WITH_AES_128_CBC_SHA
        [01] 00           # no compression
        """,
    ),
    Vector(
        "TLS 1.2 with a name, ALPN and what small boards need",
        lambda: ClientHello(
            "a.test",
            ("x-amzn-mqtt-ca", "mqtt"),
            versions=(0x0303,),
            cipher_suites=(0xC02B, 0xC02F),
            groups=(23,),
            signature_algorithms=(0x0403,),
            session_id=bytes(32),
            max_fragment_length=1024,
            record_size_limit=1025,
            session_ticket=b"",
            random=RANDOM,
        ),
        """
        16 0301 [00a3]    # a record of handshake messages
        01 [00009f]       # ClientHello
        0303              # legacy_version: TLS 1.2
        000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
        [20] 00*32        # session id
        [0004] c02bc02f   # cipher suites
        [01] 00           # no compression
        [0052]            # extensions
        0000 [000b]       # server_name
        [0009] 00 [0006] 612e74657374
        0017 [0000]       # extended_master_secret
        0001 [0001] 02    # max_fragment_length: 2^10
        001c [0002] 0401  # record_size_limit
        000a [0004]       # supported_groups
        [0002] 0017
        000b [0002]       # ec_point_formats
        [01] 00
        0023 [0000]       # session_ticket: one is asked for
        0010 [0016]       # ALPN
        [0014] [0e] 782d616d7a6e2d6d7174742d6361 [04] 6d717474
        000d [0004]       # signature_algorithms
        [0002] 0403
        """,
    ),
    Vector(
        "TLS 1.3 that asks for a HelloRetryRequest",
        lambda: ClientHello(
            "a.test",
            versions=(0x0304,),
            groups=(29, 23),
            signature_algorithms=(0x0804,),
            extended_master_secret=False,
            ec_point_formats=(),
            random=RANDOM,
        ),
        """
        16 0301 [0061]    # a record of handshake messages
        01 [00005d]       # ClientHello
        0303              # legacy_version: TLS 1.2
        000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
        [00]              # no session id
        [0006] 130113021303
        [01] 00           # no compression
        [002e]            # extensions
        0000 [000b]       # server_name
        [0009] 00 [0006] 612e74657374
        000a [0006]       # supported_groups
        [0004] 001d0017
        000d [0004]       # signature_algorithms
        [0002] 0804
        0033 [0002]       # key_share: no key yet
        [0000]
        002b [0003]       # supported_versions
        [02] 0304
        """,
    ),
    Vector(
        "TLS 1.3 with a key, GREASE and extensions that nobody knows, in an order of its own",
        lambda: ClientHello(
            versions=(0x0A0A, 0x0304),
            cipher_suites=(0x1A1A, 0x1301),
            groups=(0x2A2A, 29),
            signature_algorithms=(0x0403,),
            key_shares=((0x2A2A, b"\0"), (29, b"\x55" * 32)),
            psk_key_exchange_modes=(1,),
            ec_point_formats=(),
            extended_master_secret=False,
            extensions=((0x3A3A, b""), 51, 43, 45, (0x5555, b"?"), 10, 13, (21, bytes(5))),
            random=RANDOM,
            record_version=0x0303,
        ),
        """
        16 0303 [0093]    # a record of handshake messages
        01 [00008f]       # ClientHello
        0303              # legacy_version: TLS 1.2
        000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
        [00]              # no session id
        [0004] 1a1a1301   # GREASE, TLS_AES_128_GCM_SHA256
        [01] 00           # no compression
        [0062]            # extensions
        3a3a [0000]       # GREASE
        0033 [002b]       # key_share
        [0029] 2a2a [0001] 00 001d [0020] 55*32
        002b [0005]       # supported_versions
        [04] 0a0a0304
        002d [0002]       # psk_key_exchange_modes
        [01] 01
        5555 [0001] 3f    # nobody knows
        000a [0006]       # supported_groups
        [0004] 2a2a001d
        000d [0004]       # signature_algorithms
        [0002] 0403
        0015 [0005] 00*5  # padding
        """,
    ),
    Vector(
        "a pre-shared key, which is always the last",
        lambda: ClientHello(
            versions=(0x0304,),
            groups=(),
            signature_algorithms=(),
            key_shares=None,
            psk_key_exchange_modes=(0,),
            ec_point_formats=(),
            extended_master_secret=False,
            extensions=((41, b"\x00\x08\x00\x02id\x00\x00\x00\x07\x00\x21\x20" + bytes(32)),),
            random=RANDOM,
        ),
        """
        16 0301 [0071]    # a record of handshake messages
        01 [00006d]       # ClientHello
        0303              # legacy_version: TLS 1.2
        000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
        [00]              # no session id
        [0006] 130113021303
        [01] 00           # no compression
        [003e]            # extensions
        002d [0002]       # psk_key_exchange_modes
        [01] 00
        002b [0003]       # supported_versions
        [02] 0304
        0029 [002d]       # pre_shared_key
        [0008] [0002] 6964 00000007
        [0021] [20] 00*32
        """,
    ),
)
