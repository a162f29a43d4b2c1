"""The emulator's HTTPS interface on the wire: kept-alive connections, bounds, and messages that cross to MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emulated import BOTH_VERSIONS, HttpPeer, a_client, an_emulator, device_context, http_connection
from iotwire import X509
from iotwire.emulator import EmulatorLimits
from iotwire.emulator.pki import Authority
from scripted import asynchronous, until

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

WAYS = pytest.mark.parametrize(
    ("port", "alpn"),
    [(8443, None), (443, "x-amzn-http-ca"), (8443, "http/1.1")],
    ids=["row 8", "row 7", "row 8 as an ordinary HTTP client comes"],
)


def post(target: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [f"POST {target} HTTP/1.1", "Host: a1b2c3-ats.iot.local.test", f"Content-Length: {size}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


# Messages.


@WAYS
@BOTH_VERSIONS
@asynchronous
async def test_a_message_crosses_from_https_to_mqtt(version: int, port: int, alpn: str | None) -> None:
    async with an_emulator() as emulator, a_client(emulator, "display", version=version) as client:
        await client.subscribe("readings/#", 1)
        messages = client.messages("readings/#")
        async with http_connection(emulator, port=port, alpn=alpn) as peer:
            for number, qos in enumerate((0, 1, 0)):
                target = f"/topics/readings%2Fload?qos={qos}"
                status, headers, body = await peer.ask(post(target, str(number).encode()))
                assert (status, body["message"]) == (200, "OK")
                assert headers["content-type"] == "application/json"
                assert headers["x-amzn-requestid"] == body["traceId"]
                message = await anext(messages)
                assert (message.topic, message.payload, message.qos) == ("readings/load", str(number).encode(), qos)


@asynchronous
async def test_the_properties_of_mqtt_5_cross_too() -> None:
    async with an_emulator() as emulator, a_client(emulator, "display") as client:
        await client.subscribe("a", 1)
        pairs = b64encode(json.dumps([{"unit": "°C"}, {"unit": "K"}]).encode()).decode()
        request = post(
            "/topics/a?contentType=text%2Fplain&responseTopic=answers&messageExpiry=600",
            b"21.5",
            f"x-amz-mqtt5-user-properties: {pairs}",
            "X-Amz-Mqtt5-Payload-Format-Indicator: UTF8_DATA",
            f"x-amz-mqtt5-correlation-data: {b64encode(b'1').decode()}",
        )
        async with http_connection(emulator) as peer:
            assert (await peer.ask(request))[0] == 200
        message = await anext(client.messages("a"))
        assert message.content_type == "text/plain"
        assert message.response_topic == "answers"
        assert message.user_properties == (("unit", "°C"), ("unit", "K"))
        assert message.payload_format_indicator == 1
        assert message.correlation_data == b"1"
        assert message.message_expiry_interval is not None
        assert 590 < message.message_expiry_interval <= 600


@asynchronous
async def test_a_retained_message_of_either_side_is_the_others_too() -> None:
    async with an_emulator() as emulator, http_connection(emulator) as peer, a_client(emulator, "device") as client:
        assert (await peer.ask(post("/topics/state%2Fa?retain=true&qos=1", b"by HTTPS")))[0] == 200
        await client.publish("state/b", b"by MQTT", qos=1, retain=True)
        assert (await peer.ask(post("/topics/state%2Fb?retain=true")))[0] == 200  # empty: deleted
        await client.subscribe("state/#", 1)
        messages = client.messages("state/#")
        message = await anext(messages)
        assert (message.topic, message.payload, message.retain) == ("state/a", b"by HTTPS", True)
        await client.publish("state/end", b"", qos=1)
        assert (await anext(messages)).topic == "state/end"


@asynchronous
async def test_no_more_is_retained_than_there_is_room_for() -> None:
    limits = EmulatorLimits(max_retained_messages=1)
    async with an_emulator(limits) as emulator, http_connection(emulator) as peer:
        assert (await peer.ask(post("/topics/a?retain=true", b"x")))[0] == 200
        status, headers, _ = await peer.ask(post("/topics/b?retain=true", b"x"))
        assert (status, headers["x-amzn-errortype"]) == (429, "ThrottlingException")


# Requests.


@asynchronous
async def test_a_request_that_is_wrong_leaves_the_connection_as_it_is() -> None:
    async with an_emulator() as emulator, http_connection(emulator) as peer:
        for request, status, kind in (
            (post("/topics/a?qos=2"), 400, "InvalidRequestException"),
            (post("/topics/a%"), 400, "InvalidRequestException"),
            (post("/things/a"), 404, "ResourceNotFoundException"),
        ):
            answered, headers, body = await peer.ask(request)
            assert (answered, headers["x-amzn-errortype"]) == (status, kind)
            assert body["message"]
        for method in (b"GET", b"HEAD", b"DELETE"):
            request = method + b" /topics/a HTTP/1.1\r\nHost: x\r\n\r\n"
            answered, headers, _ = await peer.ask(request, method=method)
            assert (answered, headers["allow"]) == (405, "POST")
        assert (await peer.ask(post("/topics/a")))[0] == 200
        assert emulator.stats().accepted_connections == 1


@asynchronous
async def test_requests_in_a_row_are_answered_in_their_order() -> None:
    async with an_emulator() as emulator, http_connection(emulator) as peer:
        peer.writer.write(b"".join(post("/topics/a" if each % 2 else "/topics/%", b"x" * each) for each in range(50)))
        assert [(await peer.answer())[0] for _ in range(50)] == [400, 200] * 25


@asynchronous
async def test_a_request_may_come_byte_by_byte_and_in_chunks() -> None:
    async with an_emulator() as emulator, http_connection(emulator) as peer:
        request = post("/topics/a?qos=1", b"21.5")
        for each in range(len(request)):
            peer.writer.write(request[each : each + 1])
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert (await peer.answer())[0] == 200
        chunked = (
            b"POST /topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n21\r\n2\r\n.5\r\n0\r\n\r\n"
        )
        assert (await peer.ask(chunked))[0] == 200
        assert emulator.stats().messages_received == 2


@asynchronous
async def test_a_client_that_waits_for_100_continue_is_told_to_go_on() -> None:
    async with an_emulator() as emulator, http_connection(emulator) as peer:
        peer.writer.write(post("/topics/a", b"", "Expect: 100-continue", length=4))
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        assert (await peer.ask(b"21.5"))[0] == 200
        status, _, _ = await peer.ask(post("/topics/a", b"", "Expect: 100-continue", length=1024 * 1024))
        assert status == 413
        await peer.expect_close()


@pytest.mark.parametrize("request_", [post("/topics/a", b"x", "Connection: close"), b"POST /topics/a HTTP/1.0\r\n\r\n"])
@asynchronous
async def test_a_connection_is_closed_after_the_answer_when_the_client_asks_for_that(request_: bytes) -> None:
    async with an_emulator() as emulator, http_connection(emulator) as peer:
        assert (await peer.ask(request_))[0] == 200
        await peer.expect_close()


@asynchronous
async def test_a_client_that_has_said_all_it_has_to_say_gets_its_answer() -> None:
    async with an_emulator() as emulator:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = device_context(emulator).wrap_bio(incoming, outgoing, server_hostname=emulator.host)
        reader, writer = await asyncio.open_connection(emulator.addresses[0], emulator.ports[8443])

        async def until_done(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    received = await reader.read(65536)
                    assert received
                    incoming.write(received)

        await until_done(session.do_handshake)
        session.write(post("/topics/a", b"21.5"))
        with pytest.raises(ssl.SSLWantReadError):
            session.unwrap()  # our side's end, in the same bytes as the request
        writer.write(outgoing.read())
        answer = b""
        while received := await reader.read(65536):
            incoming.write(received)
            with contextlib.suppress(ssl.SSLError):
                answer += session.read(65536)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        writer.close()


@asynchronous
async def test_an_upgrade_is_not_agreed_to() -> None:
    async with an_emulator() as emulator, http_connection(emulator) as peer:
        request = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        assert (await peer.ask(request, method=b"GET"))[0] == 404
        request = b"CONNECT host:1 HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await peer.ask(request, method=b"CONNECT"))[0] == 404
        assert (await peer.ask(post("/topics/a")))[0] == 200


# Who may.


@pytest.mark.parametrize("alpn", [None, "http/1.1"])
@asynchronous
async def test_https_on_443_without_a_signature_or_an_authorizer_is_forbidden(alpn: str | None) -> None:
    async with (
        an_emulator() as emulator,
        http_connection(emulator, port=443, alpn=alpn, certificate=False) as peer,
    ):
        status, headers, _ = await peer.ask(post("/topics/a", b"x"))
        assert (status, headers["x-amzn-errortype"]) == (403, "ForbiddenException")
        assert headers["date"]
        assert emulator.stats().messages_received == 0


@WAYS
@asynchronous
async def test_without_a_certificate_of_this_authority_nothing_is_published(
    port: int, alpn: str | None, tmp_path: Path
) -> None:
    async with an_emulator() as emulator:
        stranger = Authority(tmp_path).issue_device("stranger")
        for certificate in (None, X509(stranger.cert, stranger.key)):
            context = device_context(emulator)
            if certificate is not None:
                context.load_cert_chain(certificate.cert, certificate.key)
            else:
                context = ssl.create_default_context(cafile=emulator.device.ca)
            if alpn is not None:
                context.set_alpn_protocols([alpn])
            reader, writer = await asyncio.open_connection(
                emulator.addresses[0], emulator.ports[port], ssl=context, server_hostname=emulator.host
            )
            writer.write(post("/topics/a", b"x"))
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await reader.read(1)
            writer.transport.abort()
        await until(lambda: emulator.stats().refused_connections == 2)
        assert emulator.stats().messages_received == 0


# Bounds.


@pytest.mark.parametrize(
    ("bytes_", "status"),
    [
        (b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00", 400),
        (b"GARBAGE\r\n\r\n", 400),
        (b"POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /topics/a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400),
        (b"POST /topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /topics/" + b"a" * 70_000, 431),
        (b"POST /topics/a HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000, 431),
        (post("/topics/a", length=128 * 1024 + 1), 413),
        (post("/topics/a", length=10**18), 413),
        (post("/topics/a", length=10**4000), 400),
        (b"POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST /topics/a HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"POST /topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n" + b"a" * 140_000, 413),
    ],
)
@asynchronous
async def test_what_is_no_request_or_too_large_is_answered_and_closed(bytes_: bytes, status: int) -> None:
    async with an_emulator() as emulator, http_connection(emulator) as peer:
        answered, headers, _ = await peer.ask(bytes_)
        assert (answered, headers["connection"]) == (status, "close")
        await peer.expect_close()
        assert emulator.stats().messages_received == 0


@asynchronous
async def test_no_damage_to_requests_upsets_the_emulator() -> None:
    chance = random.Random(8443)
    chunked = b"POST /topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n21\r\n2\r\n.5\r\n0\r\n\r\n"
    properties = b64encode(b'[{"a":"b"}]').decode()
    rich = post("/topics/a%2Fb?qos=1&messageExpiry=60", b"21.5", f"x-amz-mqtt5-user-properties: {properties}")
    expecting = post("/topics/a", b"21.5", "Expect: 100-continue")
    samples = [
        rich,
        chunked,
        expecting,
        rich + chunked,
        post("/topics/a", b"", "Connection: Upgrade", "Upgrade: websocket"),
    ]

    async with an_emulator(EmulatorLimits(http_request_timeout_s=0.05, http_idle_timeout_s=0.05)) as emulator:

        async def send_damaged(sent: bytearray) -> None:
            for _ in range(chance.choice((1, 1, 2, 8))):
                place = chance.randrange(len(sent))
                match chance.randrange(3):
                    case 0:
                        sent[place] = chance.randrange(256)
                    case 1:
                        del sent[place : place + chance.randrange(1, 9)]
                    case _:
                        sent[place:place] = chance.randbytes(chance.randrange(1, 9))
            async with http_connection(emulator) as peer:
                peer.writer.write(sent)
                while await peer.reader.read(4096):
                    pass

        for _ in range(10):
            await asyncio.gather(*(send_damaged(bytearray(chance.choice(samples))) for _ in range(6)))
        async with http_connection(emulator) as peer:
            assert (await peer.ask(post("/topics/a")))[0] == 200


@asynchronous
async def test_the_largest_payload_is_taken() -> None:
    async with an_emulator() as emulator, a_client(emulator, "display") as client, http_connection(emulator) as peer:
        await client.subscribe("a", 1)
        assert (await peer.ask(post("/topics/a?qos=1", b"x" * 128 * 1024)))[0] == 200
        assert len((await anext(client.messages("a"))).payload) == 128 * 1024


@pytest.mark.parametrize("sent", [b"", b"POST /topics/a HTTP/1.1\r\n", post("/topics/a", b"x", length=2)])
@asynchronous
async def test_a_request_that_does_not_come_in_time_is_not_waited_for(sent: bytes) -> None:
    limits = EmulatorLimits(connect_timeout_s=10.0 if sent else 0.05, http_request_timeout_s=0.05)
    async with an_emulator(limits) as emulator, http_connection(emulator) as peer:
        if sent:
            assert (await peer.ask(sent))[0] == 408
        await peer.expect_close()
        assert emulator.stats().messages_received == 0


@asynchronous
async def test_an_idle_connection_is_closed_in_time() -> None:
    async with an_emulator(EmulatorLimits(http_idle_timeout_s=0.05)) as emulator, http_connection(emulator) as peer:
        assert (await peer.ask(post("/topics/a")))[0] == 200
        await peer.expect_close()


@asynchronous
async def test_answers_that_nobody_reads_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iotwire.transport.stream.BACKLOG_BYTES", 64 * 1024)  # a megabyte of them takes a board a while
    async with an_emulator() as emulator, http_connection(emulator, receive_buffer=4096) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        request = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 1000

        async def flood() -> None:
            while True:
                peer.writer.write(request)
                await peer.writer.drain()

        flooding = asyncio.create_task(flood())
        await until(lambda: bool(emulator._connections))
        [connection] = emulator._connections
        await until(lambda: not connection.stream.is_reading)
        assert connection.stream.backlog_bytes < 1024 * 1024
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


@asynchronous
async def test_the_end_of_the_emulator_ends_its_connections() -> None:
    async with an_emulator() as emulator:
        context = http_connection(emulator)
        peer: HttpPeer = await context.__aenter__()
        assert (await peer.ask(post("/topics/a")))[0] == 200
    await peer.expect_close()
    await context.__aexit__(None, None, None)
