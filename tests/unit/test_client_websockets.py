"""MQTT over WebSockets: both clients against a server that sends what it is told to."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

pytest.importorskip("h11")

from iotwire import (
    Backoff,
    Broker,
    Client,
    ConnectError,
    ConnectionLostError,
    CredentialsError,
    EncodeError,
    RouteError,
    StepTimeouts,
)
from iotwire._websocket import FrameReader
from iotwire.mqtt import ConnAck, Connect, Disconnect, PingReq, PubAck, Publish
from iotwire.route import Attempt
from iotwire.transport import open_stream
from iotwire.transport.tls import TlsContexts
from iotwire.transport.websocket import WebSocket
from scripted import ON_EVERY_LOOP, MakeLoop, asynchronous
from scripted_threads import happened, nothing_left, until
from scripted_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    LoopClient,
    ThreadClient,
    WebSocketPeer,
    Wrapped,
    put_frame,
    scripted_websocket,
)

MakeClient = Callable[..., Any]
ON_BOTH = pytest.mark.parametrize("make_client", [LoopClient, ThreadClient], ids=["asyncio", "threads"])
ALONE = {"reconnect": None, "drain_timeout_s": 0.0}


def serve(peer: WebSocketPeer) -> None:
    peer.upgrade().accept()
    peer.answer_until_close()


# ---- the upgrade


@ON_BOTH
def test_the_request_is_what_the_standard_wants_byte_for_byte(make_client: MakeClient) -> None:
    requests: list[str] = []

    def script(peer: WebSocketPeer) -> None:
        requests.append(peer.read_request())
        serve(peer)

    options = {"websocket_headers": {"X-Token": "a b"}}
    with scripted_websocket(script, path="/mqtt?a=%20b", **options) as route, make_client(route, "c", **ALONE):
        pass
    (request,) = requests
    key = next(line.partition(": ")[2] for line in request.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
    assert request == (
        "GET /mqtt?a=%20b HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{route.port}\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: mqtt\r\n"
        "X-Token: a b\r\n"
        "\r\n"
    )
    assert len(key) == 24


def answer(head: str, body: bytes = b"") -> Callable[[WebSocketPeer], None]:
    """The script of a server that says this to the request, and waits for the client to go."""

    def script(peer: WebSocketPeer) -> None:
        peer.read_request()
        peer.socket.sendall(f"HTTP/1.1 {head}\r\n\r\n".encode() + body)
        peer.expect_close()

    return script


def change(**changes: str | None) -> Callable[[WebSocketPeer], None]:
    def script(peer: WebSocketPeer) -> None:
        peer.socket.sendall(peer.answer_upgrade(**changes))
        peer.expect_close()

    return script


def say(data: bytes) -> Callable[[WebSocketPeer], None]:
    def script(peer: WebSocketPeer) -> None:
        peer.read_request()
        peer.socket.sendall(data)

    return script


REFUSED = {
    "403": (
        answer("403 Forbidden\r\nContent-Length: 23", b'{"message":"Forbidden"}'),
        403,
        r"answered 403 Forbidden: check that the clock .* \(\{\"message\":\"Forbidden\"\}\)",
    ),
    "401": (answer("401 Unauthorized\r\nContent-Length: 0"), 401, "401 Unauthorized: check the credentials"),
    "404 in HTML": (
        answer(
            "404 x\r\nTransfer-Encoding: chunked",
            b"1c\r\n<html><b>No such</b> page</html>\r\n0\r\n\r\n".replace(b"1c", b"21"),
        ),
        404,
        r"404 Not Found: it has no WebSocket under this path",
    ),
    "200": (answer("200 OK\r\nContent-Length: 2", b"hi"), 200, r"200 OK: what is there is no WebSocket \(hi\)"),
    "redirection": (
        answer("302 Found\r\nLocation: wss://elsewhere/\r\nContent-Length: 0"),
        302,
        "302 Found: redirections are not followed",
    ),
    "unknown status": (answer("599 x\r\nContent-Length: 0"), 599, "answered 599 no status of HTTP$"),
    "a body without an end": (answer("500 x\r\nContent-Length: 100000000", b"e" * 100_000), 500, r"\(e{200}\.\.\.\)"),
    "a body that is cut": (
        say(b"HTTP/1.1 503 x\r\nContent-Length: 100\r\n\r\nshort"),
        503,
        r"try again later \(short\)",
    ),
    "a body that is malformed": (
        say(b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\nno chunk"),
        503,
        "try again later",
    ),
    "no words but control characters": (
        answer("500 x\r\nContent-Length: 6", b"\x1b[2J\0\xff"),
        500,
        r"\(\?\[2J\?.\)",
    ),
    "nothing": (say(b""), None, "it closed the connection without an answer"),
    "half a head": (say(b"HTTP/1.1 101 Switch"), None, "it closed the connection in the midst of its answer"),
    "not HTTP": (say(b"\x20\x02\x00\x00 and more\r\n\r\n"), None, "not HTTP/1.1, or too long"),
    "a head without an end": (answer("101 x\r\nX: " + "y" * 100_000), None, "not HTTP/1.1, or too long"),
    "interim answers without an end": (
        say(b"HTTP/1.1 100 Continue\r\nX-Filling: 0123456789\r\n\r\n" * 5000),
        None,
        "longer than 65536 bytes",
    ),
    "wrong accept": (change(sec_websocket_accept="c2VjcmV0"), None, "Sec-WebSocket-Accept is not for this request"),
    "no accept": (change(sec_websocket_accept=None), None, "Sec-WebSocket-Accept is not for this request"),
    "wrong subprotocol": (change(sec_websocket_protocol="mqttv3.1"), 101, "another subprotocol"),
    "two subprotocols": (change(sec_websocket_protocol="mqtt, chat"), 101, "another subprotocol"),
    "no subprotocol": (change(sec_websocket_protocol=None), 101, "no subprotocol"),
    "an extension": (change(sec_websocket_extensions="permessage-deflate"), 101, "extension"),
    "another protocol": (change(upgrade="h2c"), 101, "another protocol than WebSocket"),
    "no protocol": (change(upgrade=None), 101, "another protocol than WebSocket"),
    "no Connection": (change(connection="close"), 101, "lacks `Connection: Upgrade`"),
}


@ON_BOTH
@pytest.mark.parametrize(("script", "status", "message"), REFUSED.values(), ids=REFUSED)
def test_a_connection_that_becomes_no_websocket_is_an_error_that_says_why(
    make_client: MakeClient, script: Any, status: int | None, message: str
) -> None:
    with scripted_websocket(script) as route, pytest.raises(ConnectError, match=message) as caught:
        make_client(route, "c", **ALONE).__enter__()
    assert caught.value.step == "websocket"
    assert caught.value.http_status == status
    assert f"127.0.0.1:{route.port} opened no WebSocket: " in str(caught.value)
    assert len(str(caught.value)) < 600


@ON_BOTH
@pytest.mark.parametrize("is_refused", [False, True])
def test_a_server_that_does_not_go_on_is_left_when_the_time_is_over(make_client: MakeClient, is_refused: bool) -> None:
    def script(peer: WebSocketPeer) -> None:
        peer.read_request()
        if is_refused:
            peer.socket.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno, beca")
        peer.expect_close()

    message = "no, beca" if is_refused else r"no answer from .* within 0\.2 s to the request for a WebSocket"
    with scripted_websocket(script) as route, pytest.raises(ConnectError, match=message) as caught:
        make_client(route, "c", step_timeouts=StepTimeouts(websocket_s=0.2), **ALONE).__enter__()
    assert (caught.value.step, caught.value.http_status) == ("websocket", 403 if is_refused else None)


@ON_BOTH
def test_the_answer_may_come_byte_by_byte_and_frames_behind_it_are_not_lost(make_client: MakeClient) -> None:
    pongs: list[bytes] = []

    def script(peer: WebSocketPeer) -> None:
        data = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + peer.answer_upgrade(
            Connection="keep-alive, UPGRADE", connection=None
        )
        for at in range(len(data) - 1):
            peer.socket.sendall(data[at : at + 1])
        peer.socket.sendall(data[-1:] + put_frame(b"early", PING))
        peer.accept()
        peer.answer_until_close()
        pongs.extend(payload for opcode, payload in peer.frames if opcode == PONG)

    with scripted_websocket(script) as route, make_client(route, "c", **ALONE) as client:
        assert client.publish("t", b"x", 1) == 0
    assert pongs == [b"early"]


@ON_BOTH
def test_a_route_that_http_cannot_carry_is_told_and_leaves_no_socket(make_client: MakeClient) -> None:
    class Wrong(Wrapped):
        def prepare(self, now: datetime) -> Attempt:
            return replace(super().prepare(now), headers=(("X-Token", "secret-word\r\n"),))

    def script(peer: WebSocketPeer) -> None:
        peer.expect_close()

    def use() -> None:
        with scripted_websocket(script) as broker, pytest.raises(RouteError, match="HTTP can carry"):
            make_client(Wrong(broker), "c", **ALONE).__enter__()

    use()
    with nothing_left():
        use()


def test_step_timeouts_know_the_websocket() -> None:
    assert StepTimeouts(websocket_s=1).websocket_s == 1
    with pytest.raises(EncodeError, match="websocket_s"):
        StepTimeouts(websocket_s=0)


SECRETS = ("s3cr3t+signature/of==", "token value", "header-secret-1234567890")


@ON_BOTH
@pytest.mark.parametrize(
    "echo",
    [
        "You asked for /mqtt?X-Amz-Signature=s3cr3t%2Bsignature%2Fof%3D%3D&amp;t=token%20value",
        "signature s3cr3t+signature/of== refused",
        "<a href='/mqtt?X-Amz-Signature=s3cr3t%2Bsignature%2Fof%3D%3D'>x</a> s3cr3t&#43;signature&#47;of&#61;&#61;",
        '{"x-token": "header-secret-1234567890"}',
        "cut: header-secret-12345",
    ],
)
def test_what_a_refusal_repeats_of_the_request_is_not_told(
    make_client: MakeClient, echo: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = echo.encode()
    path = "/mqtt?X-Amz-Signature=s3cr3t%2Bsignature%2Fof%3D%3D&t=token%20value"
    script = answer(f"403 Forbidden\r\nContent-Length: {len(body)}", body)
    options = {"websocket_headers": {"X-Token": SECRETS[2]}}
    with scripted_websocket(script, path=path, **options) as route, pytest.raises(ConnectError) as caught:
        make_client(route, "c", **ALONE).__enter__()
    told = f"{caught.value}{caught.value!r}{caught.value.__cause__!r}{vars(caught.value)}{route!r}{caplog.text}"
    for secret in (*SECRETS, "s3cr3t", "header-secret"):
        assert secret not in told


# ---- frames


@ON_BOTH
def test_packets_may_come_in_any_frames(make_client: MakeClient) -> None:
    def script(peer: WebSocketPeer) -> None:
        peer.upgrade()
        peer.expect(Connect)
        peer.send_in_bits(ConnAck().encode())
        messages = b"".join(Publish(f"t/{n}", b"%d" % n * 200).encode() for n in range(5))
        peer.send(messages)
        peer.send_raw(put_frame(b"", BINARY, fin=False) + put_frame(messages[:7], CONTINUATION, fin=False))
        peer.send_raw(put_frame(messages[7:], CONTINUATION) + put_frame(b""))
        peer.send_in_bits(messages)
        peer.send(Publish("large", bytes(200_000)))
        peer.answer_until_close()

    with scripted_websocket(script) as route, make_client(route, "c", **ALONE) as client:
        topics = [client.next_message().topic for _ in range(16)]
    assert topics == [f"t/{n}" for n in range(5)] * 3 + ["large"]


@ON_BOTH
def test_what_is_sent_together_leaves_in_few_frames(make_client: MakeClient) -> None:
    sizes: list[int] = []

    def script(peer: WebSocketPeer) -> None:
        serve(peer)
        sizes.extend(peer.sizes)

    with scripted_websocket(script) as route, make_client(route, "c", **ALONE) as client:
        client.publish_many([("t", bytes(256))] * 1000)
    assert sum(sizes) > 256_000
    assert len(sizes) < 50


@ON_BOTH
def test_pings_are_answered_and_only_the_latest_of_many(make_client: MakeClient) -> None:
    pongs: list[bytes] = []

    def script(peer: WebSocketPeer) -> None:
        peer.upgrade().accept()
        peer.send_raw(put_frame(b"one", PING) + put_frame(b"unasked", PONG))
        pongs.append(peer.expect_frame(PONG))
        peer.send_raw(b"".join(put_frame(b"%d" % n, PING) for n in range(100)))
        while pongs[-1] != b"99":
            pongs.append(peer.expect_frame(PONG))
        peer.send(Publish("done"))
        peer.answer_until_close()

    with scripted_websocket(script) as route, make_client(route, "c", **ALONE) as client:
        assert client.next_message().topic == "done"
    assert pongs[0] == b"one"
    assert len(pongs) < 100


def test_a_pong_that_there_was_no_room_for_is_sent_with_what_comes_next() -> None:
    def pong_in(data: bytes) -> list[bytes]:
        reader = FrameReader(is_masked=True)
        reader.strip(buffer := bytearray(data), len(buffer))
        return [] if (found := reader.take_ping()) is None else [found]

    def ping(websocket: WebSocket, payload: bytes) -> bytes:
        buffer = bytearray(put_frame(payload, PING))
        assert websocket.strip(buffer, len(buffer)) == 0
        assert websocket.has_news
        return websocket.answer(may_pong=False)

    for next_word in ("frame", "late_pong"):
        websocket = WebSocket()
        assert ping(websocket, b"one") == ping(websocket, b"two") == b""
        said = websocket.frame(b"x") if next_word == "frame" else websocket.late_pong()
        # The first byte of a Pong made into that of a Ping, which the reader tells of.
        assert pong_in(b"\x89" + said[1:]) == [b"two"]
        assert said[0] == 0x8A
        assert websocket.late_pong() == b""
    websocket = WebSocket()
    assert ping(websocket, b"one") == b""
    assert websocket.close() != b""
    assert websocket.late_pong() == websocket.close() == b""


@ON_EVERY_LOOP
@asynchronous
async def test_websockets_on_every_loop(make_loop: MakeLoop | None) -> None:
    def script(peer: WebSocketPeer) -> None:
        peer.upgrade().accept()
        peer.answer_until_close(echoes=True)

    with scripted_websocket(script) as route:
        async with Client(route, "c", reconnect=None) as client:
            stream = client.messages()
            for size in (0, 125, 126, 65_536, 200_000):
                await client.publish("t", bytes(size), 1)
                assert len((await anext(stream)).payload) == size
            report = await client.publish_many([("t", bytes(100))] * 500, qos=1)
            assert report.acknowledged == 500


@pytest.mark.parametrize("turns", range(20))
@asynchronous
async def test_a_connect_that_is_cancelled_in_the_upgrade_leaves_no_socket(turns: int) -> None:
    """An unclosed socket is a ResourceWarning, and those are errors here."""

    def script(peer: WebSocketPeer) -> None:
        with suppress(AssertionError, OSError):
            peer.read_request()
            peer.receive_frame()

    with scripted_websocket(script) as route:
        connecting = asyncio.create_task(
            open_stream(route.prepare(datetime.now(UTC)), pytest.fail, timeout_s=20, contexts=TlsContexts())
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


def test_connections_leave_no_thread_and_no_descriptor_behind() -> None:
    def use() -> None:
        for make_client in (LoopClient, ThreadClient):
            with scripted_websocket(serve) as route, make_client(route, "c", **ALONE) as client:
                client.publish("t", b"x", 1)
            with scripted_websocket(answer("403 x\r\nContent-Length: 0")) as route, pytest.raises(ConnectError):
                make_client(route, "c", **ALONE).__enter__()

    use()
    with nothing_left():
        use()


@ON_BOTH
def test_a_client_that_goes_says_disconnect_and_then_close_in_frames(make_client: MakeClient) -> None:
    frames: list[tuple[int, bytes]] = []

    def script(peer: WebSocketPeer) -> None:
        serve(peer)
        frames.extend(peer.frames)
        peer.send_raw(put_frame(b"\x03\xe8", CLOSE))

    with scripted_websocket(script) as route, make_client(route, "c", **ALONE):
        pass
    assert frames == [(CLOSE, b"\x03\xe8")]


BROKEN = {
    "text": (put_frame(b"{}", TEXT), 1003, "a text frame came"),
    "masked": (b"\x82\x80abcd", 1002, "a server's frame is masked"),
    "reserved": (b"\xc2\x00", 1002, "reserved bit"),
    "too long": (b"\x82\x7f" + b"\x7f" * 8, 1009, "announces"),
    "fragmented control": (put_frame(b"", PING, fin=False), 1002, "fragmented"),
    "bad status": (put_frame(b"\x03\xed", CLOSE), 1002, "status 1005"),
}


@ON_BOTH
@pytest.mark.parametrize(("data", "status", "message"), BROKEN.values(), ids=BROKEN)
def test_a_server_that_breaks_the_rules_is_told_its_fault_and_left(
    make_client: MakeClient, data: bytes, status: int, message: str
) -> None:
    closes: list[bytes] = []

    def script(peer: WebSocketPeer) -> None:
        peer.upgrade().accept()
        peer.send_raw(put_frame(Publish("before").encode()) + data)
        closes.append(peer.expect_frame(CLOSE))
        assert peer.receive_frame() is None

    with scripted_websocket(script) as route, make_client(route, "c", **ALONE) as client:
        assert client.next_message().topic == "before"
        until(lambda: not client.is_connected)
        with pytest.raises(ConnectionLostError, match=message):
            client.publish("t", b"", 1)
    assert closes == [status.to_bytes(2, "big")]


@ON_BOTH
@pytest.mark.parametrize(
    ("payload", "echo", "message"),
    [
        (b"", b"\x03\xe8", "the server closed the connection"),
        (b"\x03\xe8", b"\x03\xe8", "the server closed the connection"),
        (b"\x03\xe9maintenance", b"\x03\xe9", r"the server closed it: 1001 \(it is going away, maintenance\)"),
        (b"\x0f\xa0", b"\x0f\xa0", "the server closed it: 4000"),
    ],
)
def test_a_close_is_answered_and_ends_the_connection_with_its_words(
    make_client: MakeClient, payload: bytes, echo: bytes, message: str
) -> None:
    closes: list[bytes] = []

    def script(peer: WebSocketPeer) -> None:
        peer.upgrade().accept()
        peer.send_raw(put_frame(Publish("before").encode()) + put_frame(payload, CLOSE))
        closes.append(peer.expect_frame(CLOSE))
        assert peer.receive_frame() is None

    with scripted_websocket(script) as route, make_client(route, "c", **ALONE) as client:
        assert client.next_message().topic == "before"
        until(lambda: not client.is_connected)
        with pytest.raises(ConnectionLostError, match=message):
            client.publish("t", b"", 1)
    assert closes == [echo]


@ON_BOTH
def test_a_packet_that_is_too_large_is_refused_from_its_head_however_it_is_framed(make_client: MakeClient) -> None:
    def script(peer: WebSocketPeer) -> None:
        peer.upgrade().accept()
        peer.send_in_bits(b"\x30\xff\xff\xff\x7f")
        assert peer.expect(Disconnect).reason_code == 0x95

    with scripted_websocket(script) as route, make_client(route, "c", **ALONE) as client:
        until(lambda: not client.is_connected)
        with pytest.raises(ConnectionLostError, match="at most 262144 are allowed"):
            client.publish("t", b"", 1)


@ON_BOTH
def test_a_silent_websocket_is_found_out_by_mqtt(make_client: MakeClient) -> None:
    def script(peer: WebSocketPeer) -> None:
        peer.upgrade().accept()
        peer.expect(PingReq)
        peer.expect(Disconnect)
        peer.expect_close()

    options = {"keep_alive": 1, "ping_timeout_s": 0.1}
    with scripted_websocket(script) as route, make_client(route, "c", **ALONE, **options) as client:
        until(lambda: not client.is_connected)
        with pytest.raises(ConnectionLostError):
            client.publish("t", b"", 1)


@ON_BOTH
@pytest.mark.parametrize("version", [4, 5])
def test_messages_of_all_qualities_go_both_ways(make_client: MakeClient, version: int) -> None:
    def script(peer: WebSocketPeer) -> None:
        peer.upgrade().accept()
        peer.answer_until_close(echoes=True)

    with (
        scripted_websocket(script, version=version) as route,
        make_client(route, "c", version=version, **ALONE) as client,
    ):
        client.subscribe("t/#", 2)
        for qos in (0, 1, 2):
            client.publish(f"t/{qos}", bytes(70_000), qos)
        assert [client.next_message().topic for _ in range(3)] == ["t/0", "t/1", "t/2"]


# ---- the end of a connection that was foreseen


@ON_BOTH
def test_a_connection_makes_way_for_the_next_one_before_its_end_and_no_message_is_lost(make_client: MakeClient) -> None:
    seen: set[bytes] = set()
    ends: list[list[tuple[int, bytes]]] = []
    held = threading.Event()

    def script(peer: WebSocketPeer) -> None:
        peer.upgrade().accept(session_present=False)
        while (packet := peer.receive()) is not None:
            if isinstance(packet, Publish):
                if peer.number == 0 and packet.payload == b"held":
                    held.set()  # never acknowledged here
                    continue
                seen.add(bytes(packet.payload))
                if packet.qos:
                    peer.send(PubAck(packet.packet_id))
        ends.append(peer.frames)
        peer.send_raw(put_frame(b"\x03\xe8", CLOSE))

    with scripted_websocket(script) as broker:
        route = Wrapped(broker, max_connection_s=0.5)
        with make_client(route, "c", reconnect=Backoff(base_s=300, max_s=300)) as client:
            client.publish("t", b"before", 1)
            client.publish_nowait("t", b"held", 1)
            happened(held)
            until(lambda: b"held" in seen)  # on another connection, without a wait of minutes
            for n in range(50):
                client.publish("t", b"%d" % n, n % 2)
            until(lambda: len(ends) >= 2)
            client.publish("t", b"after", 1)
    assert len(route.prepared) >= 3
    assert seen == {b"before", b"held", b"after", *(b"%d" % n for n in range(50))}
    assert all(frames == [(CLOSE, b"\x03\xe8")] for frames in ends)


# ---- the clock


def refuse_with_date(date: datetime) -> bytes:
    return f"HTTP/1.1 403 Forbidden\r\nDate: {format_datetime(date, usegmt=True)}\r\nContent-Length: 0\r\n\r\n".encode()


@ON_BOTH
def test_the_clock_is_learned_from_a_refusal_and_the_next_attempt_is_made_at_once(make_client: MakeClient) -> None:
    told = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)

    def script(peer: WebSocketPeer) -> None:
        if peer.number == 0:
            peer.read_request()
            peer.socket.sendall(refuse_with_date(told))
        else:
            serve(peer)

    with scripted_websocket(script) as broker:
        route = Wrapped(broker, is_signed=True)
        with make_client(route, "c", **ALONE):
            pass
    first, second = route.prepared
    assert abs(first - datetime.now(UTC)) < timedelta(minutes=1)
    assert abs(second - told) < timedelta(minutes=1)


@ON_BOTH
@pytest.mark.parametrize("hours", [0, 5])
@pytest.mark.parametrize("is_signed", [False, True])
def test_a_refusal_that_the_clock_does_not_explain_is_final(
    make_client: MakeClient, hours: int, is_signed: bool
) -> None:
    def script(peer: WebSocketPeer) -> None:
        peer.read_request()
        peer.socket.sendall(refuse_with_date(datetime.now(UTC) + timedelta(hours=hours)))

    with scripted_websocket(script) as broker:
        route = Wrapped(broker, is_signed=is_signed)
        with pytest.raises(ConnectError) as caught:
            make_client(route, "c", **ALONE).__enter__()
    assert caught.value.http_status == 403
    assert len(route.prepared) == (2 if hours and is_signed else 1)


@ON_BOTH
def test_a_clock_before_this_release_is_told_before_anything_is_sent(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iotwire import clock

    monkeypatch.setattr(clock.Clock, "now", functools.partialmethod(_in_the_past))
    route = Wrapped(Broker("127.0.0.1", 9, websocket_path="/mqtt"), is_signed=True)
    with pytest.raises(CredentialsError, match="before this release"):
        make_client(route, "c", **ALONE).__enter__()
    assert not route.prepared


def _in_the_past(self: Any) -> datetime:
    raise CredentialsError("this machine's clock says 1970, which is before this release")
