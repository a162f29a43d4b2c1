"""HTTP/1.1 without a socket: answers in any pieces, cut anywhere, too long, and not HTTP at all."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("h11")

from iotwire import WireError
from iotwire.https.authorization import Authorization
from iotwire.https.conversation import Answer, Conversation
from iotwire.https.request import make_request
from iotwire.route import Attempt

REQUEST = make_request(None, "a/b", b"payload", 1)


def asked(max_answer_bytes: int = 4096) -> Conversation:
    conversation = Conversation("iot.test:8443", max_answer_bytes)
    conversation.ask(REQUEST)
    return conversation


def feed(conversation: Conversation, data: bytes, size: int = 1 << 20) -> Answer | None:
    """In pieces of a size, and of what the buffer takes."""
    answer = None
    while data and answer is None and not conversation.is_over:
        buffer = conversation.get_buffer()
        piece, data = data[: min(size, len(buffer))], data[min(size, len(buffer)) :]
        buffer[: len(piece)] = piece
        answer = conversation.buffer_updated(len(piece))
    return answer


def test_an_echo_of_the_request_is_no_answer_and_what_is_secret_in_it_is_not_told() -> None:
    attempt = Attempt("iot.test", 443, query="token=secret-word")
    authorization = Authorization.of(attempt, lambda: datetime.now(UTC))
    conversation = Conversation("iot.test", 4096, authorization)
    with pytest.raises(WireError, match=r"not HTTP/1\.1: illegal status line.*token=\*\*\*") as caught:
        feed(conversation, conversation.ask(REQUEST))
    assert "secret-word" not in str(caught.value)
    assert caught.value.__context__ is None


JSON = b'{"message":"OK","traceId":"4a5b"}'
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
# id: bytes, status, body, whether another request can follow.
ANSWERS = {
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    "json": (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(JSON) + JSON, 200, JSON, True),
    "no reason": (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + JSON[:5] + b"\r\n"
        b"%x;extension=1\r\n" % len(JSON[5:]) + JSON[5:] + b"\r\n0\r\nTrailer: x\r\n\r\n",
        200,
        JSON,
        True,
    ),
    "interim": (
        INTERIM + b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        403,
        b"no",
        True,
    ),
    "closing": (b"HTTP/1.1 429 Slow\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 429, b"", False),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", False),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", 200, b"", True),
}
EVERY_ANSWER = pytest.mark.parametrize(("data", "status", "body", "goes_on"), list(ANSWERS.values()), ids=list(ANSWERS))


def test_a_request_is_written_with_its_host_and_length() -> None:
    assert Conversation("iot.test:8443", 4096).ask(REQUEST) == (
        b"POST /topics/a%2Fb?qos=1 HTTP/1.1\r\n"
        b"Host: iot.test:8443\r\n"
        b"Content-Type: application/octet-stream\r\n"
        b"Content-Length: 7\r\n"
        b"\r\n"
        b"payload"
    )


@EVERY_ANSWER
@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
def test_an_answer_in_pieces_is_the_same(data: bytes, status: int, body: bytes, goes_on: bool, size: int) -> None:
    conversation = asked()
    answer = feed(conversation, data, size)
    assert answer is not None
    assert (answer.status, answer.body) == (status, body)
    assert conversation.is_over != goes_on
    if goes_on:
        conversation.ask(REQUEST)
        assert feed(conversation, data) == answer


@EVERY_ANSWER
def test_an_answer_that_is_cut_counts_by_its_status_or_not_at_all(
    data: bytes, status: int, body: bytes, goes_on: bool
) -> None:
    # The final head's end: before it nobody knows what the server did, after it everybody does.
    end = data.index(b"\n\n") + 2 if b"\n\n" in data else data.index(b"\r\n\r\n", data.index(b" %d " % status)) + 4
    for size in range(len(data)):
        conversation = asked()
        assert feed(conversation, data[:size]) is None
        answer = conversation.buffer_updated(0)
        if size < end:
            assert answer is None
        else:
            assert answer is not None
            assert answer.status == status
            assert body.startswith(answer.body)
        assert conversation.is_over


@EVERY_ANSWER
def test_bytes_behind_an_answer_end_the_conversation(data: bytes, status: int, body: bytes, goes_on: bool) -> None:
    conversation = asked()
    answer = feed(conversation, data + b"H")
    assert answer is not None
    assert answer.status == status
    assert conversation.is_over


def test_a_body_that_ends_with_the_connection_is_whole() -> None:
    conversation = asked()
    assert feed(conversation, b"HTTP/1.1 200 OK\r\n\r\n" + JSON) is None
    answer = conversation.buffer_updated(0)
    assert answer is not None
    assert answer.body == JSON
    assert conversation.is_over


NO_ANSWERS = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "mqtt": b"\x20\x03\x00\x87\x00" * 10 + b"\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "version 2": b"HTTP/2.0 200 OK\r\n\r\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "name with a control": b"HTTP/1.1 200 OK\r\nA\0b: 0\r\n\r\n",
    "value with a zero": b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n",
    "length below zero": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "head without end": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 20_000,
    "head of many lines": b"HTTP/1.1 200 OK\r\n" + b"A: x\r\n" * 4000,
}


@pytest.mark.parametrize("data", list(NO_ANSWERS.values()), ids=list(NO_ANSWERS))
def test_what_is_no_answer_is_a_wire_error(data: bytes) -> None:
    conversation = asked(1 << 20)
    with pytest.raises(WireError, match="not HTTP") as caught:
        feed(conversation, data)
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()
    assert conversation.is_over


def test_interim_answers_without_end_are_too_long() -> None:
    conversation = asked(4096)
    with pytest.raises(WireError, match="longer than 4096 bytes"):
        feed(conversation, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


ENDLESS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n" + bytes(20_000),
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000,
    "one chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n" + bytes(20_000),
    "no length": b"HTTP/1.1 200 OK\r\n\r\n" + bytes(20_000),
}


@pytest.mark.parametrize("data", list(ENDLESS.values()), ids=list(ENDLESS))
def test_a_body_without_end_is_read_no_further_than_the_bound_and_its_status_counts(data: bytes) -> None:
    conversation = asked(4096)
    answer = feed(conversation, data)
    assert answer is not None
    assert answer.status == 200
    assert len(answer.body) <= 2 * 4096
    assert conversation.is_over


@pytest.mark.parametrize("rest", [b"zz\r\n", b"-1\r\n", b"2\r\nabcd\r\n", b"f" * 30 + b"\r\n"])
def test_a_body_that_is_malformed_costs_the_connection_and_not_the_status(rest: bytes) -> None:
    conversation = asked()
    answer = feed(conversation, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + rest)
    assert answer is not None
    assert answer.status == 200
    assert conversation.is_over


def test_bytes_that_nobody_asked_for_end_the_conversation() -> None:
    for before in (b"", ANSWERS["empty"][0]):
        conversation = Conversation("iot.test", 4096)
        if before:
            conversation.ask(REQUEST)
            feed(conversation, before)
        assert not conversation.is_over
        assert feed(conversation, b"HTTP/1.1 408 Request Timeout\r\n\r\n") is None
        assert conversation.is_over


PIECES = st.one_of(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.0 403 \r\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"\r\n",
            b"\n",
            b"3\r\nabc\r\n",
            b"0\r\n\r\n",
            b"abc",
        ]
    ),
    st.binary(max_size=20),
)


@given(st.lists(PIECES, max_size=12).map(b"".join), st.integers(1, 40), st.booleans())
def test_whatever_a_server_says_is_an_answer_or_an_error_or_waited_for(data: bytes, size: int, ends: bool) -> None:
    conversation = asked(1024)
    try:
        answer = feed(conversation, data, size)
        if answer is None and ends:
            answer = conversation.buffer_updated(0)
            assert conversation.is_over
    except WireError:
        assert conversation.is_over
        return
    if answer is not None:
        assert 200 <= answer.status <= 999
        assert not conversation.is_waiting
    if not conversation.is_over and not conversation.is_waiting:
        conversation.ask(REQUEST)  # it is what it says: ready
