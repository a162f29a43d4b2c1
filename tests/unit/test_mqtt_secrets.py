"""No password, token, key or authentication data in a repr, a message or an exception."""

from __future__ import annotations

import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from decoding import anything, outcome
from iotwire.errors import IotwireError
from iotwire.mqtt import Auth, ConnAck, Connect, Decoder, Publish, Will, encode_publish

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2-s3cret"
SECRET_BYTES = SECRET.encode()
SPELLINGS = (SECRET, SECRET_BYTES.hex(), SECRET_BYTES.hex(" "), str(list(SECRET_BYTES)), repr(SECRET)[1:-1])


def shows_secret(text: str) -> bool:
    return any(spelling in text for spelling in SPELLINGS)


HOLDERS: dict[str, Callable[[], object]] = {
    "a password": lambda: Connect("c", username="pi", password=SECRET_BYTES),
    "a custom authorizer's token in the username": lambda: Connect(
        "c", username=f"pi?x-amz-customauthorizer-name=Door&x-amz-customauthorizer-signature={SECRET}&key={SECRET}"
    ),
    "a custom authorizer's token without a user": lambda: Connect("c", username=f"?token={SECRET}"),
    "authentication data of a CONNECT": lambda: Connect(
        "c", authentication_method="m", authentication_data=SECRET_BYTES
    ),
    "authentication data of a CONNACK": lambda: ConnAck(authentication_method="m", authentication_data=SECRET_BYTES),
    "authentication data of an AUTH": lambda: Auth(0x18, authentication_method="m", authentication_data=SECRET_BYTES),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_repr_shows_no_secret(holder: str) -> None:
    packet = HOLDERS[holder]()
    for text in (repr(packet), str(packet), f"{packet}", repr([packet]), repr({"p": packet})):
        assert not shows_secret(text)
        assert "Connect(" in text or "ConnAck(" in text or "Auth(" in text


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_repr_of_a_decoded_packet_shows_no_secret(holder: str) -> None:
    packet: Any = HOLDERS[holder]()
    [decoded] = Decoder().feed(packet.encode())
    assert decoded == packet
    assert not shows_secret(repr(decoded))


def test_a_masked_repr_still_says_that_there_is_something() -> None:
    assert repr(Connect("c", username="pi", password=b"")) != repr(Connect("c", username="pi"))
    assert "pi" in repr(Connect("c", username="pi", password=b"x"))


# Calls that fail while they hold a secret.
MISTAKES: dict[str, Callable[[], object]] = {
    "a password of str": lambda: Connect("c", username="u", password=anything(SECRET)),
    "a password that is too long": lambda: Connect("c", username="u", password=SECRET_BYTES * 5000),
    "a password without a username": lambda: Connect("c", password=SECRET_BYTES).encode(4),
    "a username with U+0000": lambda: Connect("c", username=f"u?t={SECRET}\0"),
    "a username with a surrogate": lambda: Connect("c", username=f"u?t={SECRET}\ud800"),
    "a username that is too long": lambda: Connect("c", username=SECRET * 5000),
    "a username of bytes": lambda: Connect("c", username=anything(SECRET_BYTES)),
    "a bad keep alive beside a password": lambda: Connect("c", username="u", password=SECRET_BYTES, keep_alive=-1),
    "authentication data of str": lambda: Auth(0x18, authentication_method="m", authentication_data=anything(SECRET)),
    "authentication data without a method": lambda: Connect("c", authentication_data=SECRET_BYTES),
    "authentication data in MQTT 3.1.1": lambda: Connect(
        "c", authentication_method="m", authentication_data=SECRET_BYTES
    ).encode(4),
    "a payload of str": lambda: Publish("t", anything(SECRET)),
    "a payload of str to encode_publish": lambda: encode_publish("t", anything(SECRET)),
    "a payload beside a bad topic": lambda: encode_publish("#", SECRET_BYTES),
    "a payload beside a bad identifier": lambda: encode_publish("t", SECRET_BYTES, 1, False, 0),
    "a will payload of str": lambda: Will("w", anything(SECRET)),
    "a will payload that is too long": lambda: Will("w", SECRET_BYTES * 5000),
}


def everything_in(error: BaseException) -> str:
    """All that a log could show of an exception."""
    told = [str(error), repr(error), repr(error.args), repr(vars(error))]
    told += traceback.format_exception_only(error)
    told.append(str(pickle.loads(pickle.dumps(error))))
    return "\n".join(told)


def chain_of(error: BaseException | None) -> list[BaseException]:
    chain = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_error_shows_no_secret(mistake: str) -> None:
    with pytest.raises(IotwireError) as caught:
        MISTAKES[mistake]()
    assert not shows_secret(everything_in(caught.value))
    # A UnicodeEncodeError underneath would carry the whole text.
    for underneath in chain_of(caught.value)[1:]:
        assert not shows_secret(str(underneath) + repr(underneath.args)), type(underneath)


def test_a_malformed_packet_does_not_put_its_secrets_into_the_error() -> None:
    good = Connect("c", username=f"u?t={SECRET}", password=SECRET_BYTES, will=Will("w", SECRET_BYTES)).encode()
    for at in range(len(good)):
        for value in (0x00, 0x80, 0xFF, good[at] ^ 1):
            error = outcome(good[:at] + bytes([value]) + good[at + 1 :], 5)
            if isinstance(error, IotwireError):
                assert not shows_secret(everything_in(error))
                # A UnicodeDecodeError underneath would carry the whole string.
                for underneath in chain_of(error)[1:]:
                    assert not shows_secret(str(underneath) + repr(underneath.args)), type(underneath)
