"""The request for a WebSocket and its answer, without a socket: any answer opens it, refuses it, or is waited for."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("h11")

from iotwire import RouteError
from iotwire.route import Attempt
from iotwire.transport.quoting import quote_words, values_of_headers, values_of_query
from iotwire.transport.steps import UpgradeError
from iotwire.transport.upgrade import Upgrade


def make_upgrade() -> tuple[Upgrade, bytes]:
    """One that has asked, and what accepts it."""
    upgrade = Upgrade(Attempt("broker.example", 80, authority="broker.example", websocket_path="/mqtt"))
    key = upgrade.start().split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return upgrade, (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )


def test_each_request_has_a_key_of_its_own() -> None:
    assert len({make_upgrade()[0].start() for _ in range(100)}) == 100


@given(st.integers(1, 300), st.binary(max_size=300))
def test_an_answer_in_any_pieces_opens_it_and_what_is_behind_it_is_kept(step: int, behind: bytes) -> None:
    upgrade, answer = make_upgrade()
    wire = answer + behind
    for at in range(0, len(wire), step):
        if upgrade.is_open:
            assert upgrade.rest == wire[len(answer) : at]
            break
        assert upgrade.receive(wire[at : at + step]) == b""
    assert upgrade.is_open


def feed(upgrade: Upgrade, wire: bytes, step: int, *, with_end: bool) -> UpgradeError | None:
    """Give it the bytes of an answer in pieces, until it has an opinion: what it is, where it is a refusal."""
    try:
        for at in range(0, len(wire), step):
            upgrade.receive(wire[at : at + step])
            if upgrade.is_open:
                return None
        if with_end:
            upgrade.receive(b"")
        else:
            upgrade.give_up()
    except UpgradeError as error:
        return error
    return None


REFUSAL = b"HTTP/1.1 403 Forbidden\r\nDate: Tue, 02 Jan 2024 03:04:05 GMT\r\nContent-Length: 9\r\n\r\nForbidden"


@given(st.data())
def test_whatever_is_answered_opens_it_refuses_it_or_is_an_error_of_its_own(data: st.DataObject) -> None:
    upgrade, answer = make_upgrade()
    wire = bytearray(data.draw(st.sampled_from([answer, REFUSAL, b"HTTP/1.1 100 Continue\r\n\r\n" + answer])))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(wire)))
        wire[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    step = data.draw(st.integers(1, 400))
    with_end = data.draw(st.booleans())
    refusal = feed(upgrade, bytes(wire), step, with_end=with_end)
    if with_end or upgrade.is_open:
        assert upgrade.is_open == (refusal is None)
    assert len(str(refusal)) < 600


@given(st.binary(max_size=2000), st.integers(1, 2000))
def test_random_bytes_are_no_answer(data: bytes, step: int) -> None:
    upgrade, _ = make_upgrade()
    assert feed(upgrade, data, step, with_end=True) is not None
    assert not upgrade.is_open


@pytest.mark.parametrize(
    "fault",
    [
        {"websocket_path": "/a b"},
        {"websocket_path": "/ü"},
        {"authority": "a\r\nb"},
        {"headers": (("X-Token", "secret-word\r\n"),)},
        {"headers": (("X-Token", "secret-word-ü"),)},
        {"headers": (("X Token", "secret-word"),)},
    ],
)
def test_what_http_cannot_carry_is_an_error_of_the_route_that_does_not_show_it(fault: dict[str, Any]) -> None:
    known: dict[str, Any] = {"websocket_path": "/mqtt", "authority": "broker.example", **fault}
    with pytest.raises(RouteError) as caught:
        Upgrade(Attempt("broker.example", 80, **known))
    assert "secret-word" not in str(caught.value)
    assert caught.value.__suppress_context__


# ---- a server's words


def test_an_echo_of_the_request_is_no_answer_and_what_is_secret_in_it_is_not_told() -> None:
    path = "/mqtt?X-Amz-Signature=secret-word"
    upgrade = Upgrade(Attempt("broker.example", 80, websocket_path=path, headers=(("X-Token", "secret-word"),)))
    with pytest.raises(UpgradeError, match=r"not HTTP/1\.1") as caught:
        upgrade.receive(upgrade.start())
    assert caught.value.__context__ is None


def test_what_explains_a_refusal_is_told_and_what_is_secret_is_not() -> None:
    query = (
        "X-Amz-Credential=AKID%2F20240102%2Feu-central-1%2Fiotdata%2Faws4_request&X-Amz-Date=20240102T030405Z"
        "&X-Amz-Signature=0123456789abcdef&X-Amz-Security-Token=ab%2Bcd%2Fef&mine=token-value"
    )
    secrets = values_of_query(query) + values_of_headers(
        [("x-amz-customauthorizer-name", "Name12"), ("Key", "word-word")]
    )
    assert set(secrets) == {"0123456789abcdef", "ab%2Bcd%2Fef", "token-value", "word-word"}
    said = "Credential should be scoped to eu-central-1 of Name12, not 0123456789abcdef ab+cd/ef xtoken-valuex word-w"
    assert quote_words(said, secrets, 500) == (
        "Credential should be scoped to eu-central-1 of Name12, not *** *** *** ***"
    )


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("", ""),
        ("a  b\n\tc", "a b c"),
        ("x" * 30, "x" * 20 + "..."),
        ("a&amp;b &#115;ecret-word", "a&b ***"),
        ("ten secret-wor", "ten ***"),
        ("\x1b[31m", "?[31m"),
    ],
)
def test_a_servers_words_are_short_and_printable(said: str, shown: str) -> None:
    assert quote_words(said, ["secret-word"], 20) == shown
