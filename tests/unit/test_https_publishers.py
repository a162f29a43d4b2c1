"""Both publishers against servers that do what a test says: connections, answers, attempts, time-outs."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

pytest.importorskip("h11")

from forking import in_child, needs_fork
from interrupts import Interrupts
from iotwire import (
    Backoff,
    BlockingClient,
    BlockingHttpsPublisher,
    Broker,
    Client,
    ConnectError,
    ConnectionLostError,
    CredentialsError,
    EncodeError,
    HttpsPublisher,
    PublishError,
    RequestTimeoutError,
    RouteError,
    WireError,
)
from iotwire.https import blocking
from iotwire.https.request import make_request
from iotwire.route import Attempt
from scripted import ON_EVERY_LOOP, asynchronous
from scripted_http import BOTH, OK, HttpPeer, HttpRoute, Taking, answer, http_server
from scripted_threads import BOUND_S, InThread, happened, nothing_left, until

AT_ONCE = Backoff(base_s=0.001, max_s=0.002, attempts=3)
Make = Callable[..., Any]


# Connections.


@BOTH
def test_messages_go_one_after_another_over_one_connection(make: Make) -> None:
    server = Taking()
    with http_server(server) as route, make(route) as publisher:
        publisher.publish("a/b", b"one", 1)
        publisher.publish("a/b", bytes(range(256)) * 512, retain=True)
        publisher.publish("c", message_expiry=60)
    assert server.connections == [0, 0, 0]
    assert server.targets == [
        "/topics/a%2Fb?qos=1",
        "/topics/a%2Fb?qos=0&retain=true",
        "/topics/c?qos=0&messageExpiry=60",
    ]
    assert [request.body for _, request in server.seen] == [b"one", bytes(range(256)) * 512, b""]
    assert {request.headers["host"] for _, request in server.seen} == {"iot.test"}
    assert {(request.method, request.protocol) for _, request in server.seen} == {("POST", "HTTP/1.1")}


@BOTH
def test_a_publisher_leaves_nothing_behind(make: Make) -> None:
    def use() -> None:
        with http_server(Taking()) as route, make(route) as publisher:
            publisher.publish("a")

    use()
    with nothing_left():
        use()


@BOTH
@pytest.mark.parametrize("how", ["close", "reset", "word"])
def test_a_connection_that_the_server_closed_meanwhile_is_made_again(make: Make, how: str) -> None:
    gone = threading.Event()
    taken: list[int] = []

    def script(peer: HttpPeer) -> None:
        while peer.receive() is not None:
            taken.append(peer.number)
            peer.send(OK)
            if peer.number == 0:
                if how == "word":
                    peer.send(answer(408, b"", "Connection: close"))
                (peer.reset if how == "reset" else peer.close)()
                gone.set()
                return

    with http_server(script) as route, make(route, retries=None) as publisher:
        publisher.publish("a", qos=1)
        happened(gone)
        for _ in range(2):
            publisher.publish("a", qos=1)
    assert taken == [0, 1, 1]


@BOTH
def test_a_connection_that_was_not_used_for_long_is_not_used_again(make: Make) -> None:
    server = Taking()
    with http_server(server) as route, make(route, max_idle_s=0) as publisher:
        for _ in range(3):
            publisher.publish("a")
    assert server.connections == [0, 1, 2]


@BOTH
@pytest.mark.parametrize(
    "last",
    [
        answer(200, b"", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK + b"rest",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(90_000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
    ids=["close", "old", "more", "long", "malformed"],
)
def test_an_answer_after_which_nothing_can_follow_costs_the_connection_alone(make: Make, last: bytes) -> None:
    seen: list[int] = []

    def script(peer: HttpPeer) -> None:
        while peer.receive() is not None:
            seen.append(peer.number)
            peer.send(last if peer.number == 0 else OK)
            if peer.number == 0:
                peer.expect_close()
                return

    with http_server(script) as route, make(route) as publisher:
        for _ in range(2):
            publisher.publish("a")
    assert seen == [0, 1]


@BOTH
def test_a_server_that_is_not_there_is_a_connect_error(make: Make) -> None:
    with http_server(Taking()) as route:
        pass
    with make(route) as publisher, pytest.raises(ConnectError, match="cannot connect"):
        publisher.publish("a")


def test_a_message_that_did_not_leave_is_sent_over_another_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the end of the connection had come just after it was looked for.
    monkeypatch.setattr(blocking.BlockingHttpLink, "settle", lambda link, _: link.is_usable)
    gone = threading.Event()
    taken: list[int] = []

    def script(peer: HttpPeer) -> None:
        while peer.receive() is not None:
            taken.append(peer.number)
            peer.send(OK)
            if peer.number == 0:
                peer.reset()
                gone.set()
                return

    with http_server(script) as route, BlockingHttpsPublisher(route, retries=None) as publisher:
        publisher.publish("a", qos=1)
        happened(gone)
        for _ in range(2):
            publisher.publish("a", qos=1)
    assert taken == [0, 1, 1]


class Failing(HttpRoute):
    """A route that cannot be prepared."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(1)
        self._failure = failure

    def prepare(self, now: datetime) -> Attempt:
        raise self._failure


@BOTH
def test_a_route_that_fails_is_told_of_without_its_words(make: Make) -> None:
    with make(Failing(RuntimeError("secret"))) as publisher:
        with pytest.raises(ConnectError, match="the route failed: RuntimeError") as caught:
            publisher.publish("a")
        assert "secret" not in str(caught.value)
    with make(Failing(CredentialsError("no file"))) as publisher, pytest.raises(CredentialsError, match="no file"):
        publisher.publish("a")


# Answers.


@BOTH
@pytest.mark.parametrize(
    "taken",
    [
        OK,
        answer(200, b'{"message":"OK","traceId":"x"}', "Content-Type: application/json"),
        answer(202),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["empty", "json", "202", "204", "interim", "chunked"],
)
def test_a_message_that_is_taken_needs_no_more_words(make: Make, taken: bytes) -> None:
    server = Taking(taken, taken)
    with http_server(server) as route, make(route) as publisher:
        publisher.publish("a")
        publisher.publish("a")
    assert server.connections == [0, 0]


STATUSES = [
    (301, "redirections are not followed"),
    (400, "check the topic and the properties"),
    (401, "registered and active"),
    (403, r"iot:Publish.*clock"),
    (404, "check the endpoint's name"),
    (405, "data endpoint"),
    (408, "may have been published"),
    (413, "128 KiB"),
    (418, "check the endpoint"),
    (429, "publish less often"),
    (500, "may have been published"),
    (502, "may have been published"),
    (503, "try again later"),
    (504, "may have been published"),
    (599, "may have been published"),
    (999, "check that this is the service"),
]


@BOTH
@pytest.mark.parametrize(("status", "advice"), STATUSES)
def test_every_status_says_what_to_do(make: Make, status: int, advice: str) -> None:
    server = Taking(answer(status, b'{"message":"No.","traceId":"4a-5b"}'))
    with http_server(server) as route, make(route, retries=None) as publisher:
        with pytest.raises(PublishError, match=advice) as caught:
            publisher.publish("secret/topic", b"secret payload")
        publisher.publish("a")
    assert caught.value.http_status == status
    assert caught.value.reason_code is None
    assert str(caught.value).startswith(f"HTTP {status}, ")
    assert str(caught.value).endswith("(No.; trace id 4a-5b)")
    assert "secret" not in str(caught.value)
    assert server.connections == [0, 0]


@BOTH
@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"\xff", b'{"message":5,"traceId":[]}', b"[" * 30_000, b'{"message":""}'],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_of_another_shape_is_left_alone(make: Make, body: bytes) -> None:
    with (
        http_server(Taking(answer(400, body))) as route,
        make(route) as publisher,
        pytest.raises(PublishError) as caught,
    ):
        publisher.publish("a")
    assert not str(caught.value).endswith(")")


@BOTH
def test_what_the_server_says_is_shortened_and_has_no_controls(make: Make) -> None:
    body = b'{"message":"a\\r\\n\\u001b[31m' + b"x" * 5000 + b'"}'
    with (
        http_server(Taking(answer(400, body))) as route,
        make(route) as publisher,
        pytest.raises(PublishError, match=r"\(a\?\?\?\[31mx+\.\.\.\)") as caught,
    ):
        publisher.publish("a")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@BOTH
def test_a_clock_that_is_wrong_is_told_of(make: Make) -> None:
    server = Taking(answer(403, b"", "Date: Wed, 01 Jan 2070 00:00:00 GMT"))
    with http_server(server) as route, make(route) as publisher, pytest.raises(PublishError, match=r"s ahead of this"):
        publisher.publish("a")


# Attempts.


@BOTH
@pytest.mark.parametrize("status", [429, 503])
def test_what_the_service_has_not_begun_with_is_sent_again(make: Make, status: int) -> None:
    server = Taking(answer(status), answer(status), answer(status, b"", "Connection: close"), OK)
    with http_server(server) as route, make(route, retries=AT_ONCE) as publisher:
        publisher.publish("a", b"x", 1)
    assert server.connections == [0, 0, 0, 1]
    assert {request.body for _, request in server.seen} == {b"x"}


@BOTH
def test_attempts_come_to_an_end(make: Make) -> None:
    server = Taking(*[answer(503)] * 10)
    with http_server(server) as route, make(route, retries=AT_ONCE) as publisher:
        with pytest.raises(PublishError, match="HTTP 503"):
            publisher.publish("a")
        assert len(server.seen) == 4


@BOTH
def test_without_retries_there_is_one_attempt(make: Make) -> None:
    server = Taking(answer(429))
    with (
        http_server(server) as route,
        make(route, retries=None, retry_ambiguous=True) as publisher,
        pytest.raises(PublishError, match="HTTP 429"),
    ):
        publisher.publish("a")
    assert len(server.seen) == 1


@BOTH
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413])
def test_what_would_be_refused_again_is_not_sent_again(make: Make, status: int) -> None:
    server = Taking(answer(status))
    with (
        http_server(server) as route,
        make(route, retries=AT_ONCE, retry_ambiguous=True) as publisher,
        pytest.raises(PublishError),
    ):
        publisher.publish("a")
    assert len(server.seen) == 1


def fail_once(fail: Callable[[HttpPeer], None], seen: list[bytes]) -> Callable[[HttpPeer], None]:
    """A script that takes a message, fails in some way on the first connection, and goes on well after it."""

    def script(peer: HttpPeer) -> None:
        while (request := peer.receive()) is not None:
            seen.append(request.body)
            if len(seen) == 1:
                fail(peer)
            else:
                peer.send(OK)

    return script


AMBIGUOUS: dict[str, tuple[Callable[[HttpPeer], None], type[Exception]]] = {
    "500": (lambda peer: peer.send(answer(500)), PublishError),
    "502": (lambda peer: peer.send(answer(502)), PublishError),
    "504": (lambda peer: peer.send(answer(504)), PublishError),
    "closed": (lambda peer: peer.close(), ConnectionLostError),
    "reset": (lambda peer: peer.reset(), ConnectionLostError),
    "half a head": (lambda peer: (peer.send(OK[:10]), peer.close())[1], ConnectionLostError),
    "not HTTP": (lambda peer: peer.send(b"\x20\x02\x00\x00\r\n\r\n"), WireError),
    "silent": (lambda peer: peer.expect_close(), RequestTimeoutError),
}
EVERY_AMBIGUITY = pytest.mark.parametrize(("fail", "kind"), list(AMBIGUOUS.values()), ids=list(AMBIGUOUS))


@BOTH
@EVERY_AMBIGUITY
def test_what_may_have_been_published_is_sent_again_for_those_who_allow_it_alone(
    make: Make, fail: Callable[[HttpPeer], None], kind: type[Exception]
) -> None:
    patience = 0.3 if kind is RequestTimeoutError else 10.0
    for allowed in (False, True):
        seen: list[bytes] = []
        options = {"retries": AT_ONCE, "retry_ambiguous": allowed, "response_timeout_s": patience}
        with http_server(fail_once(fail, seen)) as route, make(route, **options) as publisher:
            if allowed:
                publisher.publish("a", b"1", 1)
                assert seen == [b"1", b"1"]
            else:
                with pytest.raises(kind) as caught:
                    publisher.publish("a", b"1", 1)
                assert seen == [b"1"]
                assert "may have been published" in str(caught.value)
            publisher.publish("a", b"2")
            assert seen[-1] == b"2"


@BOTH
def test_the_time_that_the_server_asks_for_is_waited(make: Make) -> None:
    server = Taking(answer(429, b"", "Retry-After: 1"), OK)
    with http_server(server) as route, make(route, retries=AT_ONCE) as publisher:
        began = time.monotonic()
        publisher.publish("a")
        assert time.monotonic() - began >= 1
    assert len(server.seen) == 2


@BOTH
@pytest.mark.parametrize("asked", ["3600", "9" * 50, "Wed, 01 Jan 2070 00:00:00 GMT"])
def test_a_server_that_asks_for_too_much_time_is_not_waited_for(make: Make, asked: str) -> None:
    server = Taking(answer(429, b"", f"Retry-After: {asked}"))
    with http_server(server) as route, make(route, retries=AT_ONCE) as publisher, pytest.raises(PublishError) as caught:
        publisher.publish("a")
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s >= 3600


@BOTH
@pytest.mark.parametrize("asked", ["", "-5", "soon", "1.5", "\u00b2"])
def test_a_time_that_is_none_is_not_waited_for(make: Make, asked: str) -> None:
    server = Taking(answer(429, b"", f"Retry-After: {asked}".encode().decode("latin-1")), OK)
    with http_server(server) as route, make(route, retries=AT_ONCE) as publisher:
        publisher.publish("a")
    assert len(server.seen) == 2


# The end of a connection in the midst of things.


@BOTH
def test_a_server_that_closes_at_any_byte_has_answered_or_not(make: Make) -> None:
    whole = answer(200, b'{"message":"OK"}')
    head = whole.index(b"\r\n\r\n") + 4

    def script(peer: HttpPeer) -> None:
        peer.expect()
        peer.send(whole[: peer.number])
        peer.close()

    with http_server(script) as route, make(route) as publisher:
        for size in range(len(whole)):
            if size < head:
                with pytest.raises(ConnectionLostError):
                    publisher.publish("a")
            else:
                publisher.publish("a")


@BOTH
@pytest.mark.parametrize("how", ["close", "reset", "word"])
def test_a_server_that_ends_each_connection_at_once_is_told_of(make: Make, how: str) -> None:
    def script(peer: HttpPeer) -> None:
        if how == "word":
            peer.send(b"no")
        (peer.reset if how == "reset" else peer.close)()

    with http_server(script) as route, make(route) as publisher:
        for _ in range(20):
            with pytest.raises((ConnectionLostError, ConnectError, WireError)):
                publisher.publish("a")


@asynchronous
async def test_a_connection_that_ended_before_its_first_message_was_sent_is_a_connect_error() -> None:
    closed = threading.Event()

    def script(peer: HttpPeer) -> None:
        peer.close()
        closed.set()

    with http_server(script) as route:
        async with HttpsPublisher(route) as publisher:
            link = await publisher._open()
            await asyncio.to_thread(happened, closed)
            await until_lost(link)
            with pytest.raises(ConnectError, match="closed the connection without an answer"):
                await link.ask(make_request(None, "a"), 5.0)


async def until_lost(link: Any) -> None:
    async with asyncio.timeout(BOUND_S):
        await link.wait_lost()


@BOTH
@pytest.mark.parametrize("size", [0, 1, 20, 100_000])
def test_a_server_that_closes_while_a_message_is_sent_is_told_of(make: Make, size: int) -> None:
    def script(peer: HttpPeer) -> None:
        left = size
        while left:
            left -= len(peer.socket.recv(min(left, 65536)))
        peer.reset()

    with http_server(script) as route, make(route) as publisher, pytest.raises((ConnectionLostError, ConnectError)):
        publisher.publish("a", bytes(128 * 1024))


@BOTH
def test_an_answer_that_comes_before_the_message_is_sent_counts(make: Make) -> None:
    seen: list[int] = []
    answered = threading.Event()

    def script(peer: HttpPeer) -> None:
        seen.append(peer.number)
        if peer.number == 0:
            peer.receive_head()
            peer.send(answer(413))
            happened(answered)
            while peer._read():  # up to the end
                pass
        else:
            peer.expect()
            peer.send(OK)
            peer.expect_close()

    with http_server(script, receive_buffer=65536) as route, make(route, limits=None) as publisher:
        with pytest.raises(PublishError, match="HTTP 413"):
            publisher.publish("a", bytes(20_000_000))  # more than buffers hold
        answered.set()
        publisher.publish("a")
    assert seen == [0, 1]


@BOTH
def test_a_slow_answer_is_waited_for_and_a_stalled_one_is_not(make: Make) -> None:
    def script(peer: HttpPeer) -> None:
        while peer.receive() is not None:
            if peer.number == 0:
                for each in OK:
                    peer.send(bytes([each]))
            else:
                peer.send(OK[:-1])
                peer.expect_close()
                return

    with http_server(script) as route, make(route) as publisher:
        publisher.publish("a")
    stalled = threading.Event()

    def stall(peer: HttpPeer) -> None:
        peer.expect()
        peer.send(OK[:-1])
        peer.expect_close()
        stalled.set()

    with http_server(stall) as route, make(route, response_timeout_s=0.2) as publisher:
        with pytest.raises(RequestTimeoutError, match=r"within 0\.2 s"):
            publisher.publish("a")
        happened(stalled)


@BOTH
def test_a_body_that_stalls_costs_the_connection_and_not_the_answer(make: Make) -> None:
    def script(peer: HttpPeer) -> None:
        peer.expect()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12")
        peer.expect_close()

    with http_server(script) as route, make(route, response_timeout_s=0.2) as publisher:
        publisher.publish("a")


# Wrong arguments, wrong routes.


@BOTH
def test_nothing_is_sent_of_a_message_that_is_refused(make: Make) -> None:
    server = Taking()
    with http_server(server) as route, make(route) as publisher:
        for arguments in ({"topic": ".."}, {"topic": "a", "qos": 2}, {"topic": "a", "payload": "text"}):
            with pytest.raises(EncodeError):
                publisher.publish(**arguments)
        with pytest.raises(TypeError):
            publisher.publish("a", contentType="x")
    assert not server.seen


@pytest.mark.parametrize("make", [HttpsPublisher, BlockingHttpsPublisher])
@pytest.mark.parametrize(
    "options",
    [
        {"max_connections": 0},
        {"max_idle_s": -1},
        {"max_answer_bytes": 10},
        {"response_timeout_s": 0},
        {"connect_timeout_s": "5"},
        {"max_retry_after_s": -1},
        {"close_timeout_s": 0},
        {"dead_link_timeout_s": 0},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_by_name(make: Make, options: dict[str, Any]) -> None:
    with pytest.raises(EncodeError) as caught:
        make(HttpRoute(1), **options)
    assert caught.value.field in options


@pytest.mark.parametrize("make", [HttpsPublisher, BlockingHttpsPublisher])
def test_a_publisher_wants_an_https_route(make: Make) -> None:
    with pytest.raises(RouteError, match="Client and BlockingClient"):
        make(Broker("127.0.0.1", 1883))


@pytest.mark.parametrize("make", [Client, BlockingClient])
def test_a_client_does_not_want_an_https_route(make: Make) -> None:
    with pytest.raises(RouteError, match="HttpsPublisher and BlockingHttpsPublisher"):
        make(HttpRoute(1), "c")


# Many at once.


@asynchronous
async def test_tasks_share_connections_and_no_more_than_allowed() -> None:
    server = Taking()
    with http_server(server) as route:
        async with HttpsPublisher(route, max_connections=3) as publisher:
            await asyncio.gather(*(publisher.publish(f"t/{number}") for number in range(50)))
    assert sorted(server.targets) == sorted(f"/topics/t%2F{number}?qos=0" for number in range(50))
    assert set(server.connections) <= {0, 1, 2}


def test_threads_share_connections_and_no_more_than_allowed(frequent_thread_switches: None) -> None:
    server = Taking()
    with http_server(server) as route, BlockingHttpsPublisher(route, max_connections=3) as publisher:

        def work(number: int) -> None:
            for each in range(20):
                publisher.publish(f"t/{number}/{each}")

        for call in [InThread(work, number) for number in range(8)]:
            call.result(60)
    assert len(set(server.targets)) == len(server.targets) == 160
    assert set(server.connections) <= {0, 1, 2}


@ON_EVERY_LOOP
@asynchronous
async def test_a_call_that_is_cancelled_leaves_the_publisher_usable(make_loop: Any) -> None:
    server = Taking()
    with http_server(server) as route:
        async with HttpsPublisher(route, max_connections=1) as publisher:
            for turns in range(60):  # of the loop: at every await of a call
                task = asyncio.ensure_future(publisher.publish("cancelled", bytes(1000)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await publisher.publish(f"after/{turns}")
    after = [target for target in server.targets if "after" in target]
    assert after == [f"/topics/after%2F{turns}?qos=0" for turns in range(60)]


@asynchronous
async def test_a_call_that_waits_for_an_answer_can_be_cancelled() -> None:
    arrived = threading.Event()
    gone = threading.Event()

    def script(peer: HttpPeer) -> None:
        peer.expect()
        if peer.number == 0:
            arrived.set()
            peer.expect_close()
            gone.set()
        else:
            peer.send(OK)

    with http_server(script) as route:
        async with HttpsPublisher(route) as publisher:
            task = asyncio.ensure_future(publisher.publish("a"))
            await asyncio.to_thread(happened, arrived)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(happened, gone)
            await publisher.publish("b")


@asynchronous
async def test_closing_ends_the_calls_of_other_tasks() -> None:
    arrived = threading.Event()

    def script(peer: HttpPeer) -> None:
        peer.expect()
        arrived.set()
        peer.expect_close()

    with http_server(script) as route:
        publisher = HttpsPublisher(route, max_connections=1, retry_ambiguous=True)
        tasks = [asyncio.ensure_future(publisher.publish("a")) for _ in range(3)]
        await asyncio.to_thread(happened, arrived)
        await publisher.close()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, ConnectionLostError)
            assert "closed" in str(outcome)
        with pytest.raises(ConnectionLostError, match="closed"):
            await publisher.publish("a")


def test_closing_ends_the_calls_of_other_threads() -> None:
    arrived = threading.Event()

    def script(peer: HttpPeer) -> None:
        peer.expect()
        arrived.set()
        peer.expect_close()

    with http_server(script) as route:
        publisher = BlockingHttpsPublisher(route, max_connections=1, retry_ambiguous=True)
        calls = [InThread(publisher.publish, "a") for _ in range(3)]
        happened(arrived)
        publisher.close()
        for call in calls:
            with pytest.raises(ConnectionLostError, match="closed"):
                call.result()
        with pytest.raises(ConnectionLostError, match="closed"):
            publisher.publish("a")


@BOTH
def test_a_publisher_that_was_closed_can_be_used_again(make: Make) -> None:
    server = Taking()
    with http_server(server) as route:
        publisher = make(route)
        publisher.close()
        with publisher:
            publisher.publish("a")
    assert len(server.seen) == 1


@needs_fork
def test_a_child_of_fork_makes_connections_of_its_own() -> None:
    server = Taking()
    with http_server(server) as route, BlockingHttpsPublisher(route) as publisher:
        publisher.publish("before")
        assert in_child(lambda: publisher.publish("child")) == "None"
        publisher.publish("after")
        until(lambda: len(server.seen) == 3)
    assert sorted(zip(server.targets, server.connections, strict=True)) == [
        ("/topics/after?qos=0", 0),
        ("/topics/before?qos=0", 0),
        ("/topics/child?qos=0", 1),
    ]


@pytest.mark.filterwarnings("ignore:.*unclosed.*:ResourceWarning")  # between two steps nobody has a socket but Python
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", range(4))
def test_an_interruption_anywhere_leaves_a_publisher_that_works(seed: int) -> None:
    server = Taking()
    with http_server(server) as route, nothing_left(), BlockingHttpsPublisher(route, max_connections=1) as publisher:
        numbers = itertools.count()
        Interrupts(blocking, seed, 0.01).over(lambda: publisher.publish(f"interrupted/{next(numbers)}"), 100)
        for number in range(3):
            publisher.publish(f"after/{number}")
    assert server.targets[-3:] == [f"/topics/after%2F{number}?qos=0" for number in range(3)]
    assert len(set(server.targets)) == len(server.targets)  # none was sent twice


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system cannot send signals to threads")
def test_ctrl_c_ends_a_call_that_waits_for_an_answer() -> None:
    seen: list[int] = []
    noticed = threading.Event()
    main = threading.get_ident()

    def script(peer: HttpPeer) -> None:
        while peer.receive() is not None:
            seen.append(peer.number)
            if peer.number:
                peer.send(OK)
                continue
            while not noticed.is_set():  # a signal may come just before the call begins to wait
                signal.pthread_kill(main, signal.SIGINT)
                noticed.wait(0.5)

    with http_server(script) as route, BlockingHttpsPublisher(route, max_connections=1) as publisher:
        try:
            publisher.publish("a")
            pytest.fail("the call was answered")
        except KeyboardInterrupt:
            noticed.set()
        publisher.publish("b")
    assert seen == [0, 1]


def told_to_wait(answered: threading.Event) -> Callable[[HttpPeer], None]:
    def script(peer: HttpPeer) -> None:
        peer.expect()
        peer.send(answer(429, b"", "Retry-After: 20"))
        answered.set()
        peer.expect_close()

    return script


@asynchronous
async def test_closing_ends_the_wait_of_a_task_for_another_attempt() -> None:
    answered = threading.Event()
    with http_server(told_to_wait(answered)) as route:
        async with HttpsPublisher(route) as publisher:
            task = asyncio.ensure_future(publisher.publish("a"))
            await asyncio.to_thread(happened, answered)
        with pytest.raises(ConnectionLostError, match="closed"):
            await task


def test_closing_ends_the_wait_of_a_thread_for_another_attempt() -> None:
    answered = threading.Event()
    with http_server(told_to_wait(answered)) as route:
        with BlockingHttpsPublisher(route) as publisher:
            call = InThread(publisher.publish, "a")
            happened(answered)
        with pytest.raises(ConnectionLostError, match="closed"):
            call.result()


def test_a_publishers_repr_is_that_of_its_route() -> None:
    assert repr(BlockingHttpsPublisher(HttpRoute(7))) == "<BlockingHttpsPublisher HttpRoute(7)>"
