"""MQTT over WebSockets at the emulator: the upgrade, frames however they are cut, and the end of a connection."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from emulated import (
    BOTH_VERSIONS,
    add_authorizer,
    an_emulator,
    custom_auth,
    presigned_target,
    upgrade_request,
    websocket_connection,
)
from iotwire import Client, ConnectError
from iotwire.credentials import SigV4
from iotwire.emulator import EmulatorLimits
from iotwire.mqtt import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    Publish,
    Subscribe,
    Subscription,
)
from iotwire.sigv4 import Credentials
from scripted import asynchronous

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

BINARY, CONTINUATION, TEXT, CLOSE, PING, PONG = 2, 0, 1, 8, 9, 10


@BOTH_VERSIONS
@pytest.mark.parametrize("family", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("way", ["sigv4", "headers", "query", "connect", "connect with ALPN"])
@asynchronous
async def test_a_reading_arrives_over_a_websocket_of_every_kind(way: str, family: str, version: int) -> None:
    async with an_emulator() as emulator:
        if family not in emulator.addresses:
            pytest.skip(f"this machine has no {family}")
        add_authorizer(emulator)
        auth: Any = SigV4(emulator.credentials[0]) if way == "sigv4" else custom_auth()
        more: dict[str, Any] = {} if way == "sigv4" else {"place": way.partition(" ")[0]}
        if way.endswith("ALPN"):
            more["alpn"] = "mqtt"
        route = emulator.endpoint_at(family).route("wss", auth, ca=emulator.ca, **more)
        async with Client(route, "device", version=version) as client:
            await client.subscribe("readings/+", 1)
            await client.publish("readings/load", b"0.5" * 20_000, qos=1)
            message = await anext(client.messages("readings/#"))
            assert (message.topic, message.payload, message.qos) == ("readings/load", b"0.5" * 20_000, 1)
            [info] = emulator.connections()
            assert (info.row, info.client_id) == (4 if way == "sigv4" else 5, "device")
            assert info.alpn == more.get("alpn")
            assert info.bytes_received is not None
            assert info.bytes_received > 60_000


@pytest.mark.parametrize(
    ("changes", "leave_out", "method", "status"),
    [
        ((), "Upgrade", "GET", 426),
        (("Upgrade: h2c",), "", "GET", 426),
        ((), "Connection", "GET", 426),
        (("Connection: keep-alive",), "", "GET", 426),
        (("Sec-WebSocket-Version: 8",), "", "GET", 426),
        ((), "Sec-WebSocket-Version", "GET", 426),
        ((), "Sec-WebSocket-Key", "GET", 400),
        (("Sec-WebSocket-Key: AAEC",), "", "GET", 400),
        (("Sec-WebSocket-Key: not base64 at all!!!",), "", "GET", 400),
        ((), "Sec-WebSocket-Protocol", "GET", 400),
        (("Sec-WebSocket-Protocol: wamp",), "", "GET", 400),
        (("Content-Length: 0",), "", "HEAD", 405),
    ],
)
@asynchronous
async def test_an_upgrade_that_is_none_is_refused_with_its_status(
    changes: tuple[str, ...], leave_out: str, method: str, status: int
) -> None:
    async with an_emulator() as emulator:
        add_authorizer(emulator, is_default=True)
        request = upgrade_request(emulator, "/mqtt", *changes, leave_out=leave_out, method=method)
        async with websocket_connection(emulator, request) as peer:
            head = (await peer.reader.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith(f"HTTP/1.1 {status} ")
            assert "date: " in head.lower()
            assert ("sec-websocket-version: 13" in head.lower()) == (status == 426)


@asynchronous
async def test_the_answer_to_an_upgrade_is_the_standards() -> None:
    async with an_emulator() as emulator:
        request = upgrade_request(emulator, "/mqtt", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        async with websocket_connection(emulator, request) as peer:
            status, headers, _ = await peer.take_answer()
            assert status == 101
            assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3
            assert headers["sec-websocket-protocol"] == "mqtt"
            assert (headers["upgrade"], headers["connection"]) == ("websocket", "Upgrade")
            assert "sec-websocket-extensions" not in headers


@BOTH_VERSIONS
@asynchronous
async def test_frames_may_be_cut_anywhere_and_hold_any_number_of_packets(version: int) -> None:
    async with an_emulator() as emulator:
        request = upgrade_request(emulator, presigned_target(emulator))
        connect = Connect("device").encode(version)
        async with websocket_connection(emulator, request, version=version) as peer:
            assert (await peer.take_answer())[0] == 101
            for byte in connect[:-1]:
                peer.send_frame(bytes([byte]))
            peer.send_frame(b"now", PING)
            assert await peer.take_frame() == (PONG, b"now")
            peer.send_frame(connect[-1:])
            assert (await peer.take_packet()).reason_code == 0
            peer.send(Subscribe(1, [Subscription("a", 1)]), Publish("a", b"1", qos=1, packet_id=2), PingReq())
            got = [await peer.take_packet() for _ in range(4)]
            assert sorted(type(each).__name__ for each in got) == ["PingResp", "PubAck", "Publish", "SubAck"]
            peer.send_frame(b"are you there?", PING)
            assert await peer.take_frame() == (PONG, b"are you there?")
            peer.send_frame((1000).to_bytes(2, "big") + b"goodbye", CLOSE)
            await peer.expect_close(1000)


@asynchronous
async def test_frames_that_come_together_with_the_request_are_not_lost() -> None:
    async with an_emulator() as emulator:
        from iotwire._websocket import encode_frame

        request = upgrade_request(emulator, presigned_target(emulator))
        frames = encode_frame(Connect("device").encode(5), b"mask") + encode_frame(PingReq().encode(5), b"1234")
        async with websocket_connection(emulator, request + frames) as peer:
            assert (await peer.take_answer())[0] == 101
            assert isinstance(await peer.take_packet(), ConnAck)
            assert isinstance(await peer.take_packet(), PingResp)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ((b"\xc0\x00", BINARY, None), 1002),  # not masked
        ((b"text", TEXT, b"mask"), 1003),
        ((b"x", 0x0B, b"mask"), 1002),  # an opcode that is none
        ((b"x", CONTINUATION, b"mask"), 1002),  # of what?
        ((b"\x03", CLOSE, b"mask"), 1002),
    ],
)
@asynchronous
async def test_a_frame_against_the_rules_ends_the_connection_with_its_status(
    frame: tuple[bytes, int, bytes | None], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "iotwire.emulator")
    async with an_emulator() as emulator:
        async with websocket_connection(emulator, upgrade_request(emulator, presigned_target(emulator))) as peer:
            assert (await peer.take_answer())[0] == 101
            payload, opcode, mask = frame
            peer.send_frame(payload, opcode, mask=mask)
            await peer.expect_close(code)
        assert emulator.stats().messages_received == 0
    assert "broke the protocol of WebSockets" in caplog.text


@asynchronous
async def test_a_frame_that_announces_too_much_is_refused_before_it_comes() -> None:
    async with an_emulator(EmulatorLimits(max_frame_bytes=1000)) as emulator:
        request = upgrade_request(emulator, presigned_target(emulator))
        async with websocket_connection(emulator, request) as peer:
            assert (await peer.take_answer())[0] == 101
            peer.writer.write(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"mask")
            await peer.expect_close(1009)


@asynchronous
async def test_a_packet_that_is_too_large_is_refused_whatever_its_frames() -> None:
    async with an_emulator() as emulator:
        request = upgrade_request(emulator, presigned_target(emulator))
        async with websocket_connection(emulator, request) as peer:
            assert (await peer.take_answer())[0] == 101
            peer.send(Connect("device"))
            assert (await peer.take_packet()).reason_code == 0
            peer.send_frame(b"\x30\xff\xff\xff\x7f")  # 256 MiB to come
            assert (await peer.take_packet()) == Disconnect(0x95)


@asynchronous
async def test_a_websocket_without_connect_does_not_stay() -> None:
    async with an_emulator(EmulatorLimits(connect_timeout_s=0.2)) as emulator:
        for target in (presigned_target(emulator), "/mqtt"):
            async with websocket_connection(emulator, upgrade_request(emulator, target)) as peer:
                assert (await peer.take_answer())[0] == 101
                for _ in range(3):
                    peer.send_frame(b"", PING)  # which is no CONNECT
                await peer.expect_close(1000)
        assert emulator.stats().accepted_connections == 0
        assert emulator.stats().refused_connections == 2


@BOTH_VERSIONS
@asynchronous
async def test_a_websocket_ends_after_its_time(version: int) -> None:
    async with an_emulator(EmulatorLimits(max_websocket_s=0.3)) as emulator:
        request = upgrade_request(emulator, presigned_target(emulator))
        async with websocket_connection(emulator, request, version=version) as peer:
            assert (await peer.take_answer())[0] == 101
            peer.send(Connect("device"))
            assert (await peer.take_packet()).reason_code == 0
            if version == 5:
                assert await peer.take_packet() == Disconnect(0x98)
            await peer.expect_close(1000)
        # A client of ours goes on with the next one.
        route = emulator.endpoint.route("wss", SigV4(emulator.credentials[0]), ca=emulator.ca)
        async with Client(route, "another", version=version) as client:
            await client.publish("a", b"x", qos=1)


@asynchronous
async def test_a_head_without_end_is_refused() -> None:
    async with an_emulator() as emulator:
        request = upgrade_request(emulator, "/mqtt", "X-Long: " + "x" * 100_000)
        async with websocket_connection(emulator, request) as peer:
            status, _, _ = await peer.take_answer()
            assert status == 431
            assert await peer.reader.read() == b""


@asynchronous
async def test_many_websockets_at_once_do_not_mix() -> None:
    async with an_emulator() as emulator:
        route = emulator.endpoint.route("wss", SigV4(emulator.credentials[0]), ca=emulator.ca)

        async def converse(number: int) -> None:
            async with Client(route, f"device{number}") as client:
                await client.subscribe(f"a/{number}", 1)
                messages = client.messages(f"a/{number}")
                for each in range(20):
                    await client.publish(f"a/{number}", f"{number}:{each}".encode(), qos=1)
                    assert (await anext(messages)).payload == f"{number}:{each}".encode()

        await asyncio.gather(*map(converse, range(8)))


@asynchronous
async def test_a_client_of_ours_sees_why_a_websocket_is_refused() -> None:
    async with an_emulator() as emulator:
        stranger = Credentials("AKIDSTRANGER", "another+secret")
        route = emulator.endpoint.route("wss", SigV4(stranger), ca=emulator.ca)
        with pytest.raises(ConnectError, match=r"the access key id .* is not known") as caught:
            await Client(route, "device").connect()
        assert caught.value.http_status == 403
        assert emulator.stats().accepted_connections == 0
