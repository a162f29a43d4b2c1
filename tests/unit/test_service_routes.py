"""Rows 3, 4, 5, 6 and 9 on the wire: what an endpoint is sent by each client and publisher, byte for byte."""

from __future__ import annotations

import json
import logging
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

pytest.importorskip("cryptography")
pytest.importorskip("h11")

from iotwire import ConnectError, CredentialsError, CustomAuth, Endpoint, PublishError, SigV4, clock
from iotwire.clock import Clock
from iotwire.emulator.pki import Authority
from iotwire.mqtt import Connect
from iotwire.sigv4 import Credentials, verify_request
from scripted_http import BOTH, OK, HttpPeer, HttpRequest, Taking, answer, http_server
from scripted_websocket import LoopClient, ThreadClient, WebSocketPeer, scripted_websocket

HOST = "a1b2c3d4e5-ats.iot.eu-central-1.amazonaws.com"
REGION = "eu-central-1"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "session-token-of-a-role/with+signs=="
KEYS = Credentials("ASIAEXAMPLEKEYID", SECRET, TOKEN)
CUSTOM = CustomAuth(
    "Some=Name", token_key_name="TokenKey", token="a token/1", token_signature="c2lnbmF0dXI=", password=b"pass-word"
)
QUERY = "x-amz-customauthorizer-name=Some%3DName&x-amz-customauthorizer-signature=c2lnbmF0dXI%3D&TokenKey=a%20token%2F1"
ON_BOTH = pytest.mark.parametrize("make_client", [LoopClient, ThreadClient], ids=["asyncio", "threads"])
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = authority.issue_server([HOST])
    found.load_cert_chain(server.cert, server.key)
    found.set_alpn_protocols(["mqtt"])
    return found


class Service:
    """Where an endpoint's connections end: names in SNI, ALPN names, requests and CONNECT packets as they came."""

    def __init__(self, context: ssl.SSLContext, *, is_websocket: bool = True) -> None:
        context.sni_callback = lambda _, name, __: self.names.append(name)
        self.names: list[str | None] = []
        self.alpn: list[str | None] = []
        self.requests: list[str] = []
        self.connects: list[Connect] = []
        self._is_websocket = is_websocket

    def __call__(self, peer: WebSocketPeer) -> None:
        self.alpn.append(peer.socket.selected_alpn_protocol())
        if self._is_websocket:
            self.requests.append(peer.read_request())
            self.connects.append(peer.upgrade().accept())
            peer.answer_until_close()
        else:
            plain = super(WebSocketPeer, peer)
            while (packet := plain.receive()) is not None:
                if isinstance(packet, Connect):
                    self.connects.append(packet)
                    peer.send_raw(b"\x20\x03\x00\x00\x00")


def endpoint_at(port: int) -> Endpoint:
    return Endpoint(HOST, ports={443: port}, address="127.0.0.1")


def request_for(path: str, key: str, further: str = "") -> str:
    return (
        f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n{further}\r\n"
    )


def key_in(request: str) -> str:
    found = re.search(r"Sec-WebSocket-Key: (\S{24})\r\n", request)
    assert found is not None
    return found[1]


HEADERS = (
    "x-amz-customauthorizer-name: Some=Name\r\n"
    "x-amz-customauthorizer-signature: c2lnbmF0dXI=\r\n"
    "TokenKey: a token/1\r\n"
)


@ON_BOTH
@pytest.mark.parametrize(
    ("place", "alpn", "path", "further", "username"),
    [
        (None, ..., "/mqtt", HEADERS, ""),
        ("query", None, f"/mqtt?{QUERY}", "", ""),
        ("connect", "mqtt", "/mqtt", "", f"?{QUERY}"),
    ],
)
def test_row_5_is_sent_where_it_is_wanted(
    context: ssl.SSLContext,
    authority: Authority,
    make_client: Make,
    place: Any,
    alpn: Any,
    path: str,
    further: str,
    username: str,
) -> None:
    service = Service(context)
    with scripted_websocket(service, context=context) as broker:
        route = endpoint_at(broker.port).route("wss", CUSTOM, place=place, alpn=alpn, ca=authority.ca)
        with make_client(route, "c", reconnect=None) as client:
            client.publish("t", b"x", 1)
    (request,) = service.requests
    assert request == request_for(path, key_in(request), further)
    assert service.alpn == ["mqtt" if alpn == "mqtt" else None]
    assert service.names == [HOST]
    assert [(each.username, each.password) for each in service.connects] == [(username, b"pass-word")]


@ON_BOTH
def test_row_4_is_signed_for_each_connection(context: ssl.SSLContext, authority: Authority, make_client: Make) -> None:
    service = Service(context)
    with scripted_websocket(service, context=context) as broker:
        route = endpoint_at(broker.port).route("wss", SigV4(KEYS), ca=authority.ca)
        with make_client(route, "c", reconnect=None) as client:
            client.publish("t", b"x", 1)
    (request,) = service.requests
    path = request.split(" ")[1]
    assert request == request_for(path, key_in(request))
    assert path.endswith("&X-Amz-Security-Token=session-token-of-a-role%2Fwith%2Bsigns%3D%3D")
    verified = verify_request(
        "GET",
        path,
        [("Host", HOST)],
        b"",
        lambda _: KEYS,
        now=datetime.now(UTC),
        region=REGION,
        service="iotdevicegateway",
    )
    assert verified is not None
    assert service.alpn == [None]
    assert [(each.username, each.password) for each in service.connects] == [(None, None)]


@ON_BOTH
def test_row_3_has_alpn_and_all_of_it_in_connect(
    context: ssl.SSLContext, authority: Authority, make_client: Make
) -> None:
    service = Service(context, is_websocket=False)
    with scripted_websocket(service, context=context) as broker:
        route = endpoint_at(broker.port).route("mqtt", CUSTOM, ca=authority.ca)
        with make_client(route, "c", reconnect=None):
            pass
    assert (service.alpn, service.names) == (["mqtt"], [HOST])
    assert [(each.username, each.password) for each in service.connects] == [(f"?{QUERY}", b"pass-word")]


# ---- HTTPS


def publish(server: Any, context: ssl.SSLContext, authority: Authority, make: Make, auth: Any, **options: Any) -> None:
    """Two messages."""
    with http_server(server, context=context) as local:
        route = endpoint_at(local.port).route("https", auth, ca=authority.ca, **options)
        with make(route, retries=None) as publisher:
            publisher.publish("sensors/room ü", b"hello", 1, content_type="text/plain")
            publisher.publish("b", b"", 0, retain=True)


@BOTH
@pytest.mark.parametrize("place", [None, "headers", "query"])
def test_row_9_has_it_in_each_request(context: ssl.SSLContext, authority: Authority, make: Make, place: Any) -> None:
    server = Taking()
    publish(server, context, authority, make, CUSTOM, place=place)
    further = f"&{QUERY}" if place == "query" else ""
    assert server.targets == [
        f"/topics/sensors%2Froom%20%C3%BC?qos=1&contentType=text%2Fplain{further}",
        f"/topics/b?qos=0&retain=true{further}",
    ]
    custom = {
        "x-amz-customauthorizer-name": "Some=Name",
        "x-amz-customauthorizer-signature": "c2lnbmF0dXI=",
        "tokenkey": "a token/1",
    }
    for number, request in server.seen:
        assert number == 0
        assert request.headers == {
            "host": HOST,
            "content-type": "application/octet-stream",
            "content-length": str(len(request.body)),
            **({} if place == "query" else custom),
        }


def verify(request: HttpRequest, now: datetime) -> None:
    verified = verify_request(
        "POST",
        request.target,
        list(request.headers.items()),
        request.body,
        lambda _: KEYS,
        now=now,
        region=REGION,
        service="iotdata",
    )
    assert verified is not None
    assert "x-amz-security-token" in verified.signed_headers


@BOTH
def test_row_6_is_signed_with_each_request(context: ssl.SSLContext, authority: Authority, make: Make) -> None:
    server = Taking()
    publish(server, context, authority, make, SigV4(KEYS))
    assert server.connections == [0, 0]
    for _, request in server.seen:
        verify(request, datetime.now(UTC))
        assert set(request.headers) == {
            *("host", "content-type", "content-length", "authorization", "x-amz-date", "x-amz-security-token")
        }


def with_date(status: int, date: datetime) -> bytes:
    return answer(status, b'{"message":"no"}', f"Date: {format_datetime(date, usegmt=True)}")


@BOTH
def test_the_clock_is_learned_from_a_403_and_the_message_is_signed_again_once(
    context: ssl.SSLContext, authority: Authority, make: Make
) -> None:
    told = datetime.now(UTC) + timedelta(hours=3)
    server = Taking(with_date(403, told))
    publish(server, context, authority, make, SigV4(KEYS))
    assert server.connections == [0, 1, 1]
    for _, request in server.seen[1:]:
        verify(request, told)


@BOTH
@pytest.mark.parametrize("auth", [SigV4(KEYS), CUSTOM], ids=["sigv4", "custom"])
def test_what_is_refused_on_a_new_connection_with_a_clock_that_is_right_is_refused(
    context: ssl.SSLContext, authority: Authority, make: Make, auth: Any
) -> None:
    server = Taking(with_date(403, datetime.now(UTC)))
    with pytest.raises(PublishError) as caught:
        publish(server, context, authority, make, auth)
    assert caught.value.http_status == 403
    assert server.connections == [0]


@BOTH
@pytest.mark.parametrize("status", [401, 403])
def test_what_is_refused_on_an_old_connection_is_asked_for_with_a_fresh_token(
    context: ssl.SSLContext, authority: Authority, make: Make, status: int
) -> None:
    tokens = iter(["one", "two", "three"])
    auth = CustomAuth(token_key_name="Key", token=lambda: next(tokens))
    server = Taking(OK, answer(status))
    publish(server, context, authority, make, auth)
    assert server.connections == [0, 0, 1]
    assert [request.headers["key"] for _, request in server.seen] == ["one", "one", "two"]


@BOTH
def test_a_refusal_is_mended_once_and_then_told(context: ssl.SSLContext, authority: Authority, make: Make) -> None:
    later = datetime.now(UTC) + timedelta(hours=3)
    server = Taking(with_date(403, later), with_date(403, later + timedelta(hours=3)))
    with pytest.raises(PublishError, match="403"):
        publish(server, context, authority, make, SigV4(KEYS))
    assert server.connections == [0, 1]


@BOTH
def test_a_connection_is_not_used_beyond_its_credentials(
    context: ssl.SSLContext, authority: Authority, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime.now(UTC)
    times = [began]
    monkeypatch.setattr(Clock, "now", lambda _: times[-1])
    given: list[Credentials] = []

    def give() -> Credentials:
        given.append(Credentials(f"ASIA{len(given)}", SECRET, TOKEN, times[-1] + timedelta(hours=1)))
        return given[-1]

    server = Taking()
    with http_server(server, context=context) as local:
        route = endpoint_at(local.port).route("https", SigV4(give), ca=authority.ca)
        with make(route) as publisher:
            for minutes in (0, 54, 56, 57):
                times.append(began + timedelta(minutes=minutes))
                publisher.publish("t", b"x")
    assert len(given) == 2
    assert server.connections == [0, 0, 1, 1]
    for number, request in server.seen:
        assert f"Credential=ASIA{number}/" in request.headers["authorization"]


@BOTH
def test_a_clock_that_was_set_back_is_told_with_the_next_message(
    context: ssl.SSLContext, authority: Authority, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the midst of a connection, whose credentials would have to be looked at."""
    temporary = Credentials("ASIA", SECRET, TOKEN, datetime.now(UTC) + timedelta(hours=1))
    with http_server(Taking(), context=context) as local:
        route = endpoint_at(local.port).route("https", SigV4(temporary), ca=authority.ca)
        with make(route) as publisher:
            publisher.publish("t", b"x")
            with monkeypatch.context() as patch:
                patch.setattr(clock, "EARLIEST", datetime.now(UTC) + timedelta(days=1))
                with pytest.raises(CredentialsError, match="this machine's clock says"):
                    publisher.publish("t", b"x")
            publisher.publish("t", b"x")


@BOTH
def test_a_request_that_cannot_be_signed_is_an_error(context: ssl.SSLContext, authority: Authority, make: Make) -> None:
    def fail() -> Credentials:
        raise OSError(SECRET)

    with pytest.raises(CredentialsError, match="raised OSError"):
        publish(Taking(), context, authority, make, SigV4(fail))


# ---- secrets


@ON_BOTH
@pytest.mark.parametrize("auth", [SigV4(KEYS), CUSTOM], ids=["sigv4", "custom"])
@pytest.mark.parametrize("is_refused", [False, True])
def test_no_secret_is_in_logs_reprs_and_errors_of_clients(
    context: ssl.SSLContext,
    authority: Authority,
    make_client: Make,
    auth: Any,
    is_refused: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[Any] = []

    def script(peer: WebSocketPeer) -> None:
        request = peer.read_request()
        if is_refused:
            body = f"<pre>{request}</pre>".encode()
            peer.socket.sendall(b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        else:
            peer.upgrade().accept()
            peer.answer_until_close()

    with scripted_websocket(script, context=context) as broker:
        places = ["headers", "query", "connect"] if auth is CUSTOM else [None]
        for place in places:
            route = endpoint_at(broker.port).route("wss", auth, place=place, ca=authority.ca)
            client = make_client(route, "c", reconnect=None)
            try:
                with client:
                    told += [repr(client.client), repr(route)]
            except ConnectError as error:
                told += [str(error), repr(error), vars(error), repr(error.__cause__), vars(error.__cause__)]
            assert bool(is_refused) == isinstance(told[-1], dict)
    shown = f"{told}{caplog.text}"
    for secret in (SECRET, "session-token", "a token", "a%20token", "c2lnbmF0dXI", "pass-word"):
        assert secret not in shown
    assert not re.search(r"Signature=[0-9a-f]", shown)


@BOTH
@pytest.mark.parametrize("auth", [SigV4(KEYS), CUSTOM], ids=["sigv4", "custom"])
def test_no_secret_is_in_logs_reprs_and_errors_of_publishers(
    context: ssl.SSLContext, authority: Authority, make: Make, auth: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    class Echoing(Taking):
        def __call__(self, peer: HttpPeer) -> None:
            request = peer.expect()
            for name in ("content-type", "content-length"):
                del request.headers[name]
            words = f"{request.target.partition('qos=')[2]} {list(reversed(request.headers.items()))}"
            peer.send(answer(403, json.dumps({"message": words}).encode()))

    for place in [None] if auth is not CUSTOM else ["headers", "query"]:
        with pytest.raises(PublishError, match="403") as caught:
            publish(Echoing(), context, authority, make, auth, place=place)
        shown = f"{caught.value}{caught.value!r}{vars(caught.value)}{caplog.text}"
        for secret in (SECRET, "session-token", "a token", "a%20token", "c2lnbmF0dXI", "pass-word"):
            assert secret not in shown
        assert not re.search(r"Signature=[0-9a-f]", shown)
