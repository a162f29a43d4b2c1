"""ClientHello, ServerHello and alerts of TLS 1.2 and 1.3.

Hellos are immutable, equal by value, picklable, and may be shared between threads. Making one checks every argument;
what the protocol forbids is an EncodeError that names it. Decoding checks every byte; what is wrong is a TlsDecodeError
with the alert that a server would send.
"""

from collections.abc import Iterable
from typing import Final, final

from typing_extensions import Buffer, disjoint_base

EXTENSIONS: Final[tuple[tuple[int, str, str], ...]]
"""(type, name, clause) of each extension that the codec knows, such as (51, "key_share", "RFC 8446 4.2.8")."""

MAX_HELLO_SIZE: Final[int]
"""A hello may have 65536 bytes with its header of four. A longer one is refused as soon as its length is there."""

@disjoint_base
class Hello:
    """A hello message."""

    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def encode(self) -> bytes:
        """The whole TLS records of this message, of at most 16384 bytes each [RFC 8446 5.1].

        What was decoded gives the same handshake bytes; records that split it elsewhere are not kept.
        """

    @property
    def handshake(self) -> bytes:
        """The handshake message, with its header of four bytes and without records."""

    @property
    def record_version(self) -> int:
        """The version in the header of the (first) record; it says nothing, and is 0x0301 in most hellos."""

    @property
    def legacy_version(self) -> int:
        """The version field of the message, 0x0303 for TLS 1.2 and later ones."""

    @property
    def random(self) -> bytes:
        """32 bytes."""

    @property
    def session_id(self) -> bytes:
        """0 to 32 bytes."""

    @property
    def extensions(self) -> tuple[tuple[int, bytes], ...]:
        """All extensions as (type, data) in wire order: known ones, unknown ones and GREASE."""

@final
class ClientHello(Hello):
    """The first message of a TLS client [RFC 8446 4.1.2], for TLS 1.2 and 1.3."""

    __match_args__ = ("server_name", "alpn_protocols")

    def __init__(
        self,
        server_name: str | None = None,
        alpn_protocols: Iterable[str | Buffer] = (),
        *,
        versions: Iterable[int] = (0x0304, 0x0303),
        cipher_suites: Iterable[int] | None = None,
        groups: Iterable[int] = (29, 23, 24),
        signature_algorithms: Iterable[int] = ...,
        session_id: Buffer = b"",
        random: Buffer | None = None,
        key_shares: Iterable[tuple[int, Buffer]] | None = (),
        extensions: Iterable[tuple[int, Buffer] | int] = (),
        extended_master_secret: bool = True,
        max_fragment_length: int | None = None,
        record_size_limit: int | None = None,
        ec_point_formats: Iterable[int] | None = None,
        session_ticket: Buffer | None = None,
        psk_key_exchange_modes: Iterable[int] = (),
        compression_methods: Iterable[int] | None = None,
        legacy_version: int | None = None,
        record_version: int = 0x0301,
    ) -> None:
        """What an argument is stands at the attribute of its name, and here what else there is to say.

        server_name: at most 255 bytes; no IP address, no dot at its end. One that is not ASCII is for the caller to
        turn into its A-label (IDNA). alpn_protocols: 1 to 255 bytes each; bytes need not be made into str.
        versions: one that legacy_version says alone makes no supported_versions extension.
        cipher_suites: None offers the usual ones of these versions.
        groups, signature_algorithms, psk_key_exchange_modes, ec_point_formats: where there are none, the extension is
        not sent. ec_point_formats and compression_methods are (0,) where they are None.
        random: None takes it from the system.
        key_shares: with TLS 1.3 and none, an empty list is sent, which a server answers with a HelloRetryRequest; None
        sends no list.
        extensions: sent after all others. They may be of known types: then they are checked, and stand for an argument
        that was left to its default. A type alone says where the extension of an argument stands.
        legacy_version, record_version: 0x0300 to 0x03FF. A legacy_version of None is what the versions ask for.

        Raises EncodeError, which names the argument.
        """

    @staticmethod
    def decode(data: Buffer) -> ClientHello | None:
        """The ClientHello that the TLS records in `data` begin with; None while it is incomplete.

        data: any C-contiguous buffer; what follows the last record of the hello is not looked at.
        Raises TlsDecodeError as soon as the records cannot become right, and at once for a message over 65536 bytes.
        """

    @property
    def server_name(self) -> str | None:
        """The host that is wanted [RFC 6066 3]. A peer may have sent an IP address, which it must not."""

    @property
    def alpn_protocols(self) -> tuple[str, ...]:
        """Protocol names in order of preference [RFC 7301 3.1], each byte as one character (Latin-1)."""

    @property
    def versions(self) -> tuple[int, ...]:
        """In order of preference: supported_versions, or where that is absent legacy_version, TLS 1.2 at most."""

    @property
    def supported_versions(self) -> tuple[int, ...]:
        """The extension of that name [RFC 8446 4.2.1]; () where it is absent."""

    @property
    def cipher_suites(self) -> tuple[int, ...]:
        """In order of preference."""

    @property
    def compression_methods(self) -> tuple[int, ...]:
        """(0,) in any hello of today."""

    @property
    def groups(self) -> tuple[int, ...]:
        """Groups for the key exchange [RFC 8446 4.2.7]; () where the extension is absent."""

    @property
    def signature_algorithms(self) -> tuple[int, ...]:
        """In order of preference [RFC 8446 4.2.3]; () where the extension is absent."""

    @property
    def key_shares(self) -> tuple[tuple[int, bytes], ...]:
        """(group, key) pairs [RFC 8446 4.2.8]; () where there are none, or the extension is absent."""

    @property
    def extended_master_secret(self) -> bool:
        """Whether the extension is there [RFC 7627 5.1]."""

    @property
    def max_fragment_length(self) -> int | None:
        """The record content that the client has room for: 512, 1024, 2048 or 4096 bytes [RFC 6066 4]."""

    @property
    def record_size_limit(self) -> int | None:
        """The same, newer: 64 to 65535 bytes [RFC 8449 4]."""

    @property
    def ec_point_formats(self) -> tuple[int, ...]:
        """[RFC 8422 5.1.2]; () where the extension is absent."""

    @property
    def session_ticket(self) -> bytes | None:
        """b"" asks for a ticket, bytes are one [RFC 5077 3.2]."""

    @property
    def psk_key_exchange_modes(self) -> tuple[int, ...]:
        """[RFC 8446 4.2.9]; () where the extension is absent."""

@final
class ServerHello(Hello):
    """A server's answer to a ClientHello [RFC 8446 4.1.3]; a HelloRetryRequest is one too. It is decoded only."""

    def __init__(self, /, *args: object, **kwargs: object) -> None: ...
    @staticmethod
    def decode(data: Buffer) -> ServerHello | None:
        """The ServerHello that the TLS records in `data` begin with; None while it is incomplete.

        data: any C-contiguous buffer; what follows the hello, in its record too, is not looked at.
        Raises TlsDecodeError as soon as the records cannot become right; an alert in its place is one, see `Alert`.
        """

    @property
    def version(self) -> int:
        """The version that was selected, 0x0304 for TLS 1.3."""

    @property
    def supported_version(self) -> int | None:
        """What the extension supported_versions says [RFC 8446 4.2.1]; None before TLS 1.3."""

    @property
    def cipher_suite(self) -> int:
        """The one that was selected."""

    @property
    def alpn_protocol(self) -> str | None:
        """The protocol that was selected [RFC 7301 3.1]; TLS 1.3 says it later, encrypted."""

    @property
    def is_hello_retry_request(self) -> bool:
        """Whether the server asks for another ClientHello, with a share for `selected_group` [RFC 8446 4.1.4]."""

    @property
    def selected_group(self) -> int | None:
        """The group of key_share, in both kinds; None before TLS 1.3."""

    @property
    def key_share(self) -> tuple[int, bytes] | None:
        """(group, key) [RFC 8446 4.2.8]; None in a HelloRetryRequest."""

    @property
    def cookie(self) -> bytes | None:
        """What a HelloRetryRequest wants to be given back [RFC 8446 4.2.2]."""

    @property
    def extended_master_secret(self) -> bool:
        """Whether the server agrees."""

    @property
    def max_fragment_length(self) -> int | None:
        """What the server agrees to, in bytes."""

    @property
    def record_size_limit(self) -> int | None:
        """The limit of the server itself."""

    @property
    def ec_point_formats(self) -> tuple[int, ...]:
        """Those of the server; () where the extension is absent."""

    @property
    def session_ticket(self) -> bytes | None:
        """b"" where the server will send a ticket."""

@final
class Alert:
    """An alert in the clear, as it is before there are keys [RFC 8446 6]. Immutable, equal by value, picklable."""

    __match_args__ = ("description", "level")

    def __new__(cls, description: int, level: int = 2) -> Alert:
        """Raises EncodeError, which names the argument."""

    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def description(self) -> int:
        """0 to 255, such as 112 for unrecognized_name."""

    @property
    def level(self) -> int:
        """1 is a warning, 2 is fatal."""

    @property
    def name(self) -> str:
        """The registered name of the description, such as "unrecognized_name"; "unassigned" where it has none."""

    def encode(self, record_version: int = 0x0303) -> bytes:
        """The alert as a TLS record of seven bytes."""

    @staticmethod
    def decode(data: Buffer) -> Alert | None:
        """The alert that the TLS record in `data` holds; None while it is incomplete.

        data: any C-contiguous buffer; what follows the record is not looked at. Raises TlsDecodeError.
        """

def server_name_extension(name: str) -> bytes:
    """A server_name extension [RFC 6066 3] with its type and length; the rules of `ClientHello`. Raises EncodeError."""

def alpn_extension(names: Iterable[str | Buffer]) -> bytes:
    """An ALPN extension [RFC 7301 3.1] with its type and length; at least one name. Raises EncodeError."""
