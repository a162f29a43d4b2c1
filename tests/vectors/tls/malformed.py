"""Bytes that are no hello, each with the alert to answer it with, made of right parts with one thing wrong."""

from __future__ import annotations

from dataclasses import dataclass

RANDOM = bytes(range(32))


@dataclass(frozen=True)
class Malformed:
    """Records that a decoder must refuse. clause: what they break; an error must name it."""

    id: str
    wire: bytes
    alert: int
    clause: str


def put_vector(data: bytes, length_bytes: int = 2) -> bytes:
    return len(data).to_bytes(length_bytes, "big") + data


def put_extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + put_vector(data)


def put_body(
    *extensions: bytes,
    version: bytes = b"\x03\x03",
    session_id: bytes = b"",
    suites: bytes = b"\x13\x01",
    methods: bytes = b"\0",
    rest: bytes = b"",
) -> bytes:
    """The body of a ClientHello. rest: what follows the extensions."""
    fields = version + RANDOM + put_vector(session_id, 1) + put_vector(suites) + put_vector(methods, 1)
    return fields + put_vector(b"".join(extensions)) + rest


def put_message(body: bytes, kind: int = 1) -> bytes:
    return bytes([kind]) + put_vector(body, 3)


def put_record(content: bytes, kind: int = 22, version: bytes = b"\x03\x01") -> bytes:
    return bytes([kind]) + version + put_vector(content)


def _hello(*extensions: bytes, **fields: bytes) -> bytes:
    return put_record(put_message(put_body(*extensions, **fields)))


def _with(kind: int, data: bytes) -> bytes:
    return _hello(put_extension(kind, data))


def _server_name(name: bytes) -> bytes:
    return put_vector(b"\0" + put_vector(name))


_KEY_OF_1 = put_vector(put_vector(b"id") + bytes(4)) + put_vector(put_vector(bytes(32), 1))

UNEXPECTED_MESSAGE, RECORD_OVERFLOW, ILLEGAL_PARAMETER, DECODE_ERROR, PROTOCOL_VERSION = 10, 22, 47, 50, 70

MALFORMED = (
    # Records (RFC 8446, 5.1).
    Malformed("an HTTP request", b"GET / HTTP/1.1\r\n\r\n", UNEXPECTED_MESSAGE, "RFC 8446 5.1"),
    Malformed("an SSL 2.0 hello", bytes.fromhex("802e010002"), UNEXPECTED_MESSAGE, "RFC 8446 5.1"),
    Malformed("MQTT without TLS", bytes.fromhex("101000044d515454"), UNEXPECTED_MESSAGE, "RFC 8446 5.1"),
    Malformed("an alert", put_record(b"\x02\x28", 21), UNEXPECTED_MESSAGE, "RFC 8446 5.1"),
    Malformed("application data", put_record(b"secret", 23), UNEXPECTED_MESSAGE, "RFC 8446 5.1"),
    Malformed("a record of SSL 2", put_record(b"\1", 22, b"\x02\x00"), PROTOCOL_VERSION, "RFC 8446 5.1"),
    Malformed("a record of no version", put_record(b"\1", 22, b"\x00\x00"), PROTOCOL_VERSION, "RFC 8446 5.1"),
    Malformed("a record of DTLS", put_record(b"\1", 22, b"\xfe\xfd"), PROTOCOL_VERSION, "RFC 8446 5.1"),
    Malformed("an empty record", put_record(b""), UNEXPECTED_MESSAGE, "RFC 8446 5.1"),
    Malformed(
        "an empty record amid a hello", put_record(b"\1\0") + put_record(b""), UNEXPECTED_MESSAGE, "RFC 8446 5.1"
    ),
    Malformed("a record that is too long", bytes.fromhex("1603014001"), RECORD_OVERFLOW, "RFC 8446 5.1"),
    Malformed("an alert amid a hello", put_record(b"\1\0") + b"\x15", UNEXPECTED_MESSAGE, "RFC 8446 5.1"),
    Malformed(
        "another message in the record of the hello",
        put_record(put_message(put_body()) + b"\x14"),
        UNEXPECTED_MESSAGE,
        "RFC 8446 5.1",
    ),
    # Handshake messages (RFC 8446, 4).
    Malformed("a ServerHello", put_record(b"\2"), UNEXPECTED_MESSAGE, "RFC 8446 4"),
    Malformed("a HelloRequest", put_record(bytes(4)), UNEXPECTED_MESSAGE, "RFC 8446 4"),
    Malformed("a hello of 64 KiB", put_record(b"\1\1\0\0"), ILLEGAL_PARAMETER, "RFC 8446 4"),
    Malformed("a hello of 16 MiB", put_record(b"\1\xff\xff\xff"), ILLEGAL_PARAMETER, "RFC 8446 4"),
    # Fields (RFC 8446, 4.1.2).
    Malformed("an empty message", put_record(put_message(b"")), DECODE_ERROR, "RFC 8446 3.4"),
    Malformed("a version of SSL 2", _hello(version=b"\x02\x00"), PROTOCOL_VERSION, "RFC 8446 4.1.2"),
    Malformed("a version of DTLS", _hello(version=b"\xfe\xfd"), PROTOCOL_VERSION, "RFC 8446 4.1.2"),
    Malformed("a session id of 33 bytes", _hello(session_id=bytes(33)), DECODE_ERROR, "RFC 8446 3.4"),
    Malformed("no cipher suite", _hello(suites=b""), DECODE_ERROR, "RFC 8446 3.4"),
    Malformed("half a cipher suite", _hello(suites=b"\x13\x01\x13"), DECODE_ERROR, "RFC 8446 3.4"),
    Malformed("no compression method", _hello(methods=b""), DECODE_ERROR, "RFC 8446 3.4"),
    Malformed("compression alone", _hello(methods=b"\1"), ILLEGAL_PARAMETER, "RFC 5246 7.4.1.2"),
    Malformed(
        "compression in TLS 1.3",
        _hello(put_extension(43, b"\x02\x03\x04"), methods=b"\0\1"),
        ILLEGAL_PARAMETER,
        "RFC 8446 4.1.2",
    ),
    Malformed("a byte after the extensions", _hello(rest=b"\0"), DECODE_ERROR, "RFC 8446 3.4"),
    Malformed("half an extension", _hello(b"\0"), DECODE_ERROR, "RFC 8446 3.4"),
    Malformed("an extension without a length", _hello(b"\0\0"), DECODE_ERROR, "RFC 8446 3.4"),
    Malformed("an extension past the end", _hello(b"\x55\x55\0\1"), DECODE_ERROR, "RFC 8446 3.4"),
    # Extensions (RFC 8446, 4.2).
    Malformed("an extension twice", _hello(put_extension(23, b"") * 2), ILLEGAL_PARAMETER, "RFC 8446 4.2"),
    Malformed("an unknown one twice", _hello(put_extension(0x5555, b"") * 2), ILLEGAL_PARAMETER, "RFC 8446 4.2"),
    Malformed("GREASE twice", _hello(put_extension(0xAAAA, b"") * 2), ILLEGAL_PARAMETER, "RFC 8446 4.2"),
    Malformed(
        "the last of a hundred is one of them again",
        _hello(*(put_extension(1000 + n, b"") for n in range(100)), put_extension(1050, b"")),
        ILLEGAL_PARAMETER,
        "RFC 8446 4.2",
    ),
    Malformed(
        "an extension after pre_shared_key",
        _hello(put_extension(41, _KEY_OF_1), put_extension(45, b"\1\1")),
        ILLEGAL_PARAMETER,
        "RFC 8446 4.2.11",
    ),
    Malformed("pre_shared_key without an identity", _with(41, b"\0\0\0\x21\x20" + bytes(32)), 50, "RFC 8446 4.2.11"),
    Malformed("pre_shared_key without a binder", _with(41, b"\0\7\0\1i" + bytes(4) + b"\0\0"), 50, "RFC 8446 4.2.11"),
    Malformed(
        "two binders for one identity",
        _with(41, put_vector(put_vector(b"id") + bytes(4)) + put_vector(put_vector(bytes(32), 1) * 2)),
        ILLEGAL_PARAMETER,
        "RFC 8446 4.2.11",
    ),
    Malformed(
        "a binder that is too short", _with(41, put_vector(b"\0\1i" + bytes(4)) + b"\0\2\1\0"), 50, "RFC 8446 4.2.11"
    ),
    # server_name (RFC 6066, 3).
    Malformed("server_name without data", _with(0, b""), DECODE_ERROR, "RFC 6066 3"),
    Malformed("server_name without a name", _with(0, b"\0\0"), DECODE_ERROR, "RFC 6066 3"),
    Malformed("server_name with an empty name", _with(0, _server_name(b"")), DECODE_ERROR, "RFC 6066 3"),
    Malformed("server_name with a byte left over", _with(0, _server_name(b"a") + b"\0"), DECODE_ERROR, "RFC 6066 3"),
    Malformed("a name past its list", _with(0, b"\0\4\0\0\2a"), DECODE_ERROR, "RFC 6066 3"),
    Malformed("two names of hosts", _with(0, put_vector(b"\0\0\1a" * 2)), ILLEGAL_PARAMETER, "RFC 6066 3"),
    Malformed("a name with a dot at its end", _with(0, _server_name(b"a.test.")), ILLEGAL_PARAMETER, "RFC 6066 3"),
    Malformed("a name with an empty label", _with(0, _server_name(b"a..test")), ILLEGAL_PARAMETER, "RFC 6066 3"),
    Malformed("a name with a dot at its start", _with(0, _server_name(b".test")), ILLEGAL_PARAMETER, "RFC 6066 3"),
    Malformed("a label of 64 bytes", _with(0, _server_name(b"a" * 64)), ILLEGAL_PARAMETER, "RFC 6066 3"),
    Malformed("a name of 256 bytes", _with(0, _server_name(b"a." * 127 + b"bb")), ILLEGAL_PARAMETER, "RFC 6066 3"),
    Malformed("a name that is not ASCII", _with(0, _server_name("ü.test".encode())), ILLEGAL_PARAMETER, "RFC 6066 3"),
    Malformed("a name with NUL", _with(0, _server_name(b"a\0.test")), ILLEGAL_PARAMETER, "RFC 6066 3"),
    Malformed("a name with a line break", _with(0, _server_name(b"a\n.test")), ILLEGAL_PARAMETER, "RFC 6066 3"),
    Malformed("a name with a space", _with(0, _server_name(b"a b.test")), ILLEGAL_PARAMETER, "RFC 6066 3"),
    # ALPN (RFC 7301, 3.1).
    Malformed("ALPN without data", _with(16, b""), DECODE_ERROR, "RFC 7301 3.1"),
    Malformed("ALPN without a name", _with(16, b"\0\0"), DECODE_ERROR, "RFC 7301 3.1"),
    Malformed("ALPN with an empty name", _with(16, b"\0\1\0"), DECODE_ERROR, "RFC 7301 3.1"),
    Malformed("ALPN with an empty name after another", _with(16, b"\0\3\1a\0"), DECODE_ERROR, "RFC 7301 3.1"),
    Malformed("a protocol past its list", _with(16, b"\0\3\3ab"), DECODE_ERROR, "RFC 7301 3.1"),
    Malformed("ALPN with a byte left over", _with(16, b"\0\2\1a\0"), DECODE_ERROR, "RFC 7301 3.1"),
    # The others.
    Malformed("no version", _with(43, b"\0"), DECODE_ERROR, "RFC 8446 4.2.1"),
    Malformed("half a version", _with(43, b"\3\3\4\3"), DECODE_ERROR, "RFC 8446 4.2.1"),
    Malformed("no group", _with(10, b"\0\0"), DECODE_ERROR, "RFC 8446 4.2.7"),
    Malformed("half a group", _with(10, b"\0\1\0"), DECODE_ERROR, "RFC 8446 4.2.7"),
    Malformed("no signature algorithm", _with(13, b"\0\0"), DECODE_ERROR, "RFC 8446 4.2.3"),
    Malformed("no signature algorithm of certificates", _with(50, b"\0\0"), DECODE_ERROR, "RFC 8446 4.2.3"),
    Malformed("no point format", _with(11, b"\0"), DECODE_ERROR, "RFC 8422 5.1.2"),
    Malformed("no mode of key exchange", _with(45, b"\0"), DECODE_ERROR, "RFC 8446 4.2.9"),
    Malformed("a key share without a key", _with(51, b"\0\4\0\x1d\0\0"), DECODE_ERROR, "RFC 8446 4.2.8"),
    Malformed("a key past its list", _with(51, b"\0\5\0\x1d\0\2a"), DECODE_ERROR, "RFC 8446 4.2.8"),
    Malformed("two keys of a group", _with(51, put_vector(b"\0\x1d\0\1a" * 2)), ILLEGAL_PARAMETER, "RFC 8446 4.2.8"),
    Malformed("max_fragment_length without data", _with(1, b""), DECODE_ERROR, "RFC 6066 4"),
    Malformed("max_fragment_length 0", _with(1, b"\0"), ILLEGAL_PARAMETER, "RFC 6066 4"),
    Malformed("max_fragment_length 5", _with(1, b"\5"), ILLEGAL_PARAMETER, "RFC 6066 4"),
    Malformed("max_fragment_length of two bytes", _with(1, b"\1\1"), DECODE_ERROR, "RFC 6066 4"),
    Malformed("a record size limit under 64", _with(28, b"\0\x3f"), ILLEGAL_PARAMETER, "RFC 8449 4"),
    Malformed("a record size limit of one byte", _with(28, b"\x40"), DECODE_ERROR, "RFC 8449 4"),
    Malformed("extended_master_secret with data", _with(23, b"\0"), DECODE_ERROR, "RFC 7627 5.1"),
    Malformed("encrypt_then_mac with data", _with(22, b"\0"), DECODE_ERROR, "RFC 7366 2"),
    Malformed("post_handshake_auth with data", _with(49, b"\0"), DECODE_ERROR, "RFC 8446 4.2.6"),
    Malformed("early_data with data", _with(42, b"\0"), DECODE_ERROR, "RFC 8446 4.2.10"),
    Malformed("status_request without data", _with(5, b""), DECODE_ERROR, "RFC 6066 8"),
    Malformed("status_request without extensions", _with(5, b"\1\0\0"), DECODE_ERROR, "RFC 6066 8"),
    Malformed("status_request with a byte left over", _with(5, b"\1\0\0\0\0\0"), DECODE_ERROR, "RFC 6066 8"),
    Malformed("an empty cookie", _with(44, b"\0\0"), DECODE_ERROR, "RFC 8446 4.2.2"),
    Malformed("no authority", _with(47, b"\0\0"), DECODE_ERROR, "RFC 8446 4.2.4"),
    Malformed("renegotiation_info past its end", _with(65281, b"\1"), DECODE_ERROR, "RFC 5746 3.2"),
)


def _answer(
    *extensions: bytes, version: bytes = b"\x03\x03", session_id: bytes = b"", method: bytes = b"\0", rest: bytes = b""
) -> bytes:
    fields = version + RANDOM + put_vector(session_id, 1) + b"\x13\x01" + method
    return put_record(put_message(fields + put_vector(b"".join(extensions)) + rest, 2))


SERVER_MALFORMED = (
    Malformed("an alert", put_record(b"\x02\x28", 21), UNEXPECTED_MESSAGE, "RFC 8446 5.1"),
    Malformed("a ClientHello", _hello(), UNEXPECTED_MESSAGE, "RFC 8446 4"),
    Malformed("a page of HTML", b"HTTP/1.1 400 Bad Request\r\n", UNEXPECTED_MESSAGE, "RFC 8446 5.1"),
    Malformed("a version of DTLS", _answer(version=b"\xfe\xfd"), PROTOCOL_VERSION, "RFC 8446 4.1.2"),
    Malformed("a session id of 33 bytes", _answer(session_id=bytes(33)), DECODE_ERROR, "RFC 8446 3.4"),
    Malformed("compression", _answer(method=b"\1"), ILLEGAL_PARAMETER, "RFC 8446 4.1.3"),
    Malformed("a byte after the extensions", _answer(rest=b"\0"), DECODE_ERROR, "RFC 8446 3.4"),
    Malformed("an extension twice", _answer(put_extension(23, b"") * 2), ILLEGAL_PARAMETER, "RFC 8446 4.2"),
    Malformed("two protocols", _answer(put_extension(16, b"\0\4\1a\1b")), ILLEGAL_PARAMETER, "RFC 7301 3.1"),
    Malformed("no protocol", _answer(put_extension(16, b"\0\0")), DECODE_ERROR, "RFC 7301 3.1"),
    Malformed("a name in the answer", _answer(put_extension(0, _server_name(b"a"))), DECODE_ERROR, "RFC 6066 3"),
    Malformed("two versions", _answer(put_extension(43, b"\3\4\3\3")), DECODE_ERROR, "RFC 8446 4.2.1"),
    Malformed("a group without a key", _answer(put_extension(51, b"\0\x1d")), DECODE_ERROR, "RFC 8446 4.2.8"),
)
