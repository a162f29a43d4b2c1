"""What a server says to a ClientHello: ServerHello, HelloRetryRequest, alerts."""

from __future__ import annotations

import pickle
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from decoding import anything, changed_bytes
from iotwire.errors import EncodeError, IotwireError, TlsDecodeError
from iotwire.tls import ALERTS, Alert, ClientHello, ServerHello
from vectors.tls import put_extension, put_message, put_record, put_vector

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM = bytes(range(32))
RETRY = sha256(b"HelloRetryRequest").digest()  # RFC 8446, 4.1.3


def put_answer(
    *extensions: bytes, suite: int = 0xC02F, session_id: bytes = b"", random: bytes = RANDOM, block: bool = True
) -> bytes:
    """A ServerHello message; without `block` it has no extensions at all."""
    body = b"\x03\x03" + random + put_vector(session_id, 1) + suite.to_bytes(2, "big") + b"\0"
    return put_message(body + (put_vector(b"".join(extensions)) if block else b""), 2)


OF_TLS_1_2 = put_record(
    put_answer(
        put_extension(0, b""),
        put_extension(65281, b"\0"),
        put_extension(11, b"\1\0"),
        put_extension(35, b""),
        put_extension(16, b"\0\x0f\x0ex-amzn-mqtt-ca"),
        put_extension(23, b""),
        put_extension(1, b"\2"),
        session_id=b"s" * 32,
    ),
    version=b"\x03\x03",
)
OF_TLS_1_3 = put_record(
    put_answer(put_extension(51, b"\0\x1d" + put_vector(b"k" * 32)), put_extension(43, b"\3\4"), suite=0x1301)
)
OF_RETRY = put_record(
    put_answer(
        put_extension(43, b"\3\4"),
        put_extension(51, b"\0\x17"),
        put_extension(44, put_vector(b"cookie")),
        suite=0x1302,
        random=RETRY,
    )
)
ANSWERS = (OF_TLS_1_2, OF_TLS_1_3, OF_RETRY, put_record(put_answer(block=False)))


def decoded(wire: bytes) -> ServerHello:
    hello = ServerHello.decode(wire)
    assert hello is not None
    return hello


def test_an_answer_of_tls_1_2_tells_what_was_selected() -> None:
    hello = decoded(OF_TLS_1_2)
    assert (hello.version, hello.legacy_version, hello.supported_version) == (0x0303, 0x0303, None)
    assert hello.cipher_suite == 0xC02F
    assert hello.alpn_protocol == "x-amzn-mqtt-ca"
    assert (hello.random, hello.session_id) == (RANDOM, b"s" * 32)
    assert hello.record_version == 0x0303
    assert not hello.is_hello_retry_request
    assert (hello.selected_group, hello.key_share, hello.cookie) == (None, None, None)
    assert hello.extended_master_secret
    assert hello.session_ticket == b""
    assert hello.max_fragment_length == 1024
    assert hello.record_size_limit is None
    assert hello.ec_point_formats == (0,)
    assert [kind for kind, _ in hello.extensions] == [0, 65281, 11, 35, 16, 23, 1]


def test_an_answer_of_tls_1_3_tells_the_group_and_not_yet_the_protocol() -> None:
    hello = decoded(OF_TLS_1_3)
    assert (hello.version, hello.legacy_version, hello.supported_version) == (0x0304, 0x0303, 0x0304)
    assert hello.cipher_suite == 0x1301
    assert (hello.selected_group, hello.key_share) == (29, (29, b"k" * 32))
    assert hello.alpn_protocol is None
    assert not hello.extended_master_secret
    assert not hello.is_hello_retry_request


def test_a_request_to_try_again_is_known_by_its_random() -> None:
    hello = decoded(OF_RETRY)
    assert hello.is_hello_retry_request
    assert (hello.version, hello.cipher_suite) == (0x0304, 0x1302)
    assert (hello.selected_group, hello.key_share) == (23, None)
    assert hello.cookie == b"cookie"
    assert "HelloRetryRequest" in repr(hello)


def test_a_request_to_try_again_has_no_key() -> None:
    with_key = put_extension(51, b"\0\x17" + put_vector(b"k"))
    with pytest.raises(TlsDecodeError, match="key_share: bytes are left over"):
        ServerHello.decode(put_record(put_answer(with_key, random=RETRY)))


def test_an_answer_may_have_no_extensions() -> None:
    hello = decoded(ANSWERS[3])
    assert hello.version == 0x0303
    assert hello.extensions == ()
    assert hello.alpn_protocol is None


@pytest.mark.parametrize("wire", ANSWERS)
def test_an_answer_is_a_value(wire: bytes) -> None:
    hello = decoded(wire)
    assert hello.encode() == wire
    assert hello == decoded(wire)
    assert hash(hello) == hash(decoded(wire))
    assert hello != decoded(OF_TLS_1_2 if wire != OF_TLS_1_2 else OF_RETRY)
    assert pickle.loads(pickle.dumps(hello)) == hello
    assert f"0x{hello.cipher_suite:04X}" in repr(hello)
    with pytest.raises(AttributeError):
        hello.cipher_suite = 1  # type: ignore[misc]
    with pytest.raises(IotwireError):
        ServerHello()


@pytest.mark.parametrize("wire", ANSWERS)
def test_what_follows_an_answer_is_not_looked_at(wire: bytes) -> None:
    message = decoded(wire).handshake
    version = wire[1:3]
    for records in (
        wire + b"\x14\x03\x03\x00\x01\x01\x17\x03\x03",
        put_record(message + b"\x0b\x00\x10\x00certificates", version=version),
        put_record(message + b"\x0b", version=version) + b"\x16\x03\x03",
        put_record(message[:10], version=version) + put_record(message[10:] + b"\x0b\0", version=version),
    ):
        assert ServerHello.decode(records) == decoded(wire)


@pytest.mark.parametrize("wire", ANSWERS)
def test_every_truncation_of_an_answer_asks_for_more(wire: bytes) -> None:
    for size in range(len(wire)):
        assert ServerHello.decode(wire[:size]) is None
        if size > 5:
            halves = put_record(wire[5:size]) + put_record(wire[size:])
            assert decoded(halves).handshake == wire[5:]


@pytest.mark.parametrize("wire", ANSWERS)
def test_any_changed_byte_of_an_answer_gives_an_answer_none_or_an_error(wire: bytes) -> None:
    for changed in changed_bytes(wire):
        hello = outcome(changed)
        if isinstance(hello, ServerHello):
            assert hello.handshake == changed[5 : 5 + len(hello.handshake)]
            repr(hello)
        elif hello is not None:
            assert isinstance(hello, TlsDecodeError)
            assert hello.alert in ALERTS
            assert hello.clause


def outcome(
    wire: bytes, decode: Callable[[bytes], ServerHello | Alert | None] = ServerHello.decode
) -> ServerHello | Alert | TlsDecodeError | None:
    try:
        return decode(wire)
    except TlsDecodeError as error:
        return error


@pytest.mark.parametrize("decode", [ClientHello.decode, ServerHello.decode])
def test_each_side_refuses_the_hello_of_the_other(decode: Callable[[bytes], object]) -> None:
    other = OF_TLS_1_3 if decode is ClientHello.decode else ClientHello("a.test").encode()
    with pytest.raises(TlsDecodeError) as caught:
        decode(other)
    assert (caught.value.alert, caught.value.offset) == (10, 5)


# Alerts.


@pytest.mark.parametrize(("description", "name"), ALERTS.items())
def test_every_alert_goes_both_ways(description: int, name: str) -> None:
    for level in (1, 2):
        alert = Alert(description, level)
        assert alert.encode() == bytes([21, 3, 3, 0, 2, level, description])
        assert Alert.decode(alert.encode()) == alert
        assert (alert.name, alert.level, alert.description) == (name, level, description)
        assert eval(repr(alert), {"Alert": Alert}) == alert
        assert pickle.loads(pickle.dumps(alert)) == alert
        assert hash(alert) == hash(Alert(description, level))


def test_the_alerts_that_aws_iot_rules_need_are_there() -> None:
    assert Alert(112).name == "unrecognized_name"
    assert Alert(120).name == "no_application_protocol"
    assert Alert(40) != Alert(40, 1)
    assert Alert(40) != 40


def test_an_alert_without_a_name_is_an_alert() -> None:
    alert = Alert.decode(b"\x15\x03\x01\x00\x02\x02\xc8")
    assert alert == Alert(200)
    assert Alert(200).name == "unassigned"
    match alert:
        case Alert(200, 2):
            pass
        case _:
            pytest.fail("no match")


def test_an_alert_is_cut_at_its_record() -> None:
    wire = Alert(40).encode(0x0301)
    assert wire == b"\x15\x03\x01\x00\x02\x02\x28"
    for size in range(len(wire)):
        assert Alert.decode(wire[:size]) is None
    assert Alert.decode(bytearray(wire) + b"\x15\x03\x01") == Alert(40)


def test_any_changed_byte_of_an_alert_gives_the_alert_it_says_or_an_error() -> None:
    for changed in changed_bytes(Alert(40).encode()):
        told = outcome(changed, Alert.decode)
        if changed[0] == 21 and changed[1] == 3 and changed[3:5] == b"\0\2" and changed[5] in (1, 2):
            assert told == Alert(changed[6], changed[5])
        else:
            assert isinstance(told, TlsDecodeError)
            assert told.alert in ALERTS


@pytest.mark.parametrize(
    ("wire", "alert"),
    [
        (b"\x16\x03\x03\x00\x02\x02\x28", 10),
        (b"\x15\x02\x00\x00\x02\x02\x28", 70),
        (b"\x15\x03\x03\x00\x00", 10),
        (b"\x15\x03\x03\x40\x01", 22),
        (b"\x15\x03\x03\x00\x01\x02", 50),
        (b"\x15\x03\x03\x00\x03\x02\x28\x00", 50),
        (b"\x15\x03\x03\x00\x1a" + bytes(26), 50),  # encrypted
        (b"\x15\x03\x03\x00\x02\x00\x28", 47),
        (b"\x15\x03\x03\x00\x02\x03\x28", 47),
    ],
)
def test_a_record_that_is_no_alert_is_refused(wire: bytes, alert: int) -> None:
    with pytest.raises(TlsDecodeError) as caught:
        Alert.decode(wire)
    assert caught.value.alert == alert
    assert caught.value.clause.startswith("RFC 8446")


def test_an_alert_that_cannot_be_sent_is_refused() -> None:
    for make, field in (
        (lambda: Alert(256), "description"),
        (lambda: Alert(-1), "description"),
        (lambda: Alert(anything("40")), "description"),
        (lambda: Alert(40, 0), "level"),
        (lambda: Alert(40, 3), "level"),
        (lambda: Alert(40).encode(0x0400), "record_version"),
        (lambda: Alert.decode(anything("text")), "data"),
    ):
        with pytest.raises(EncodeError) as caught:
            make()
        assert caught.value.field == field
    with pytest.raises(AttributeError):
        Alert(40).level = 1  # type: ignore[misc]
