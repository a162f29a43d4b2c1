"""What breaks: bad bytes, a server that does not keep to the protocol, connections that end, calls that are cancelled.

aiomqtt 3 dies of one topic that is not UTF-8: the exception passes by every handler, and whoever waits waits for ever.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from iotwire import Broker, ConnectionLostError, IotwireError, PublishError, WireError
from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from iotwire.transport import stream as stream_module
from iotwire.transport.stream import WRITE_HIGH_BYTES
from scripted import Peer, asynchronous, one_connection, scripted, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])

BAD_UTF8_TOPIC = b"\x30\x04\x00\x02\xff\xfe"

MALFORMED = {
    "a topic that is not UTF-8": b"\x30\x05\x00\x02\xff\xfe\x00",
    "a topic with U+0000": b"\x30\x05\x00\x02a\x00\x00",
    "QoS 3": b"\x36\x06\x00\x01a\x00\x01\x00",
    "a reserved packet type": b"\x00\x00",
    "a length of five bytes": b"\x30\xff\xff\xff\xff\x7f",
    "a wildcard in a topic": b"\x30\x04\x00\x01#\x00",
    "a packet larger than announced": b"\x30\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("name", MALFORMED)
@asynchronous
async def test_a_malformed_packet_ends_every_wait_and_is_answered(name: str) -> None:
    data = MALFORMED[name]
    with pytest.raises(WireError) as verdict:
        Decoder(5, max_packet_size=256 * 1024).feed(data)

    async def script(peer: Peer) -> None:
        await peer.accept()
        for _ in range(4):
            await peer.receive()
        peer.send(Publish("before", b"the last good one"), data, Publish("after", b"never seen"))
        disconnect = await peer.expect(Disconnect)
        assert disconnect.reason_code == verdict.value.reason_code
        await peer.expect_close()

    async with scripted(script) as route, one_connection(route, "c", close_timeout_s=0.5) as client:
        messages = client.messages()
        outcomes = await asyncio.gather(
            client.publish("a", b"", qos=1),
            client.publish("a", b"", qos=2),
            client.subscribe("a"),
            client.unsubscribe("a"),
            _read_until_error(messages),
            return_exceptions=True,
        )
        assert [type(each) for each in outcomes[:4]] == [ConnectionLostError] * 4
        assert outcomes[4] == [b"the last good one"]
        assert not client.is_connected


@pytest.mark.parametrize("data", [BAD_UTF8_TOPIC, b"\x00\x00", b"\x36\x05\x00\x01a\x00\x01"])
@asynchronous
async def test_a_malformed_packet_of_3_1_1_closes_the_connection(data: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        peer.send(data)
        await peer.expect_close()  # 3.1.1 has no way to say why

    async with (
        scripted(script, version=4) as route,
        one_connection(route, "c", version=4, close_timeout_s=1) as client,
    ):
        with pytest.raises(ConnectionLostError, match="broke the protocol"):
            await client.publish("a", b"", qos=1)
        with pytest.raises(ConnectionLostError):
            await client.publish("a", b"")


async def _read_until_error(messages: Any) -> list[bytes]:
    payloads: list[bytes] = []
    while True:
        try:
            payloads.append((await anext(messages)).payload)
        except ConnectionLostError:
            return payloads


NOT_FROM_A_SERVER: list[Any] = [
    Connect("x"),
    ConnAck(),
    Subscribe(1, (Subscription("a"),)),
    Unsubscribe(1, ("a",)),
    PingReq(),
    Auth(),
]


@pytest.mark.parametrize("packet", NOT_FROM_A_SERVER, ids=lambda packet: type(packet).__name__)
@asynchronous
async def test_a_packet_that_only_clients_send_ends_the_connection(packet: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(packet)
        assert await peer.receive() == Disconnect(0x82)
        await peer.expect_close()

    async with scripted(script) as route, one_connection(route, "c", close_timeout_s=0.5) as client:
        with pytest.raises(ConnectionLostError, match=f"(?i){type(packet).__name__}"):
            await anext(client.messages())


@asynchronous
async def test_a_3_1_1_server_may_not_disconnect() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(b"\xe0\x00")
        await peer.expect_close()

    async with (
        scripted(script, version=4) as route,
        one_connection(route, "c", version=4, close_timeout_s=1) as client,
    ):
        with pytest.raises(ConnectionLostError, match="Disconnect is not for a server to send"):
            await anext(client.messages())


@pytest.mark.parametrize(
    ("qos", "answer"),
    [
        (1, lambda i: PubRec(i)),
        (1, lambda i: PubComp(i)),
        (2, lambda i: PubAck(i)),
        (2, lambda i: PubComp(i)),
    ],
    ids=["PUBREC for QoS 1", "PUBCOMP for QoS 1", "PUBACK for QoS 2", "PUBCOMP before PUBREC"],
)
@asynchronous
async def test_an_answer_of_the_wrong_kind_ends_the_connection(qos: int, answer: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(answer((await peer.expect(Publish)).packet_id))
        assert await peer.receive() == Disconnect(0x82)
        await peer.expect_close()

    async with scripted(script) as route, one_connection(route, "c", close_timeout_s=0.5) as client:
        with pytest.raises(ConnectionLostError, match="packet id 1"):
            await client.publish("a", b"", qos=qos)


@pytest.mark.parametrize(
    "answer", [SubAck(1, (0,)), SubAck(1, (0, 0, 0)), UnsubAck(1, (0, 0))], ids=["too few", "too many", "UNSUBACK"]
)
@asynchronous
async def test_a_suback_that_does_not_fit_ends_the_connection(answer: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Subscribe)
        peer.send(answer)
        assert await peer.receive() == Disconnect(0x82)
        await peer.expect_close()

    async with scripted(script) as route, one_connection(route, "c", close_timeout_s=0.5) as client:
        with pytest.raises(ConnectionLostError, match="where SubAck with 2 is due"):
            await client.subscribe(["a", "b"])


@pytest.mark.parametrize(
    "packets",
    [
        [Publish("a", b"", qos=2, packet_id=1), Publish("a", b"", qos=1, packet_id=1)],
        [Publish("b", b"", qos=2, packet_id=1), PubRel(1)],
    ],
    ids=["an id of QoS 2 used for QoS 1", "PUBREL before PUBREC"],
)
@asynchronous
async def test_a_qos_2_exchange_out_of_order_ends_the_connection(packets: list[Any]) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(*packets)
        while isinstance(packet := await peer.receive(), (PubRec, PubAck)):
            pass
        assert packet == Disconnect(0x82)
        await peer.expect_close()

    async with scripted(script) as route:
        client = one_connection(route, "c", close_timeout_s=0.5)
        stream, full = client.messages("a"), client.messages("b", max_messages=1)
        client._distributor.deliver(Publish("b", b"fills it"))
        async with client:
            await anext(stream) if packets[0].topic == "a" else None
            with pytest.raises(ConnectionLostError, match="packet id 1"):
                await client.publish("c", b"", qos=1)
        del full


@asynchronous
async def test_a_connection_that_is_reset_ends_every_wait() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        connection = peer.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.writer.transport.abort()

    async with scripted(script) as route, one_connection(route, "c") as client:
        with pytest.raises(ConnectionLostError, match="connection ended"):
            await client.publish("a", b"", qos=1)


@BOTH_VERSIONS
@asynchronous
async def test_a_connection_that_ends_within_a_packet_ends_every_wait(version: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        peer.send(b"\x30\x40\x00\x01a")

    async with scripted(script, version=version) as route, one_connection(route, "c", version=version) as client:
        with pytest.raises(ConnectionLostError, match="the server closed the connection"):
            await client.publish("a", b"", qos=1)


@asynchronous
async def test_random_bytes_end_in_an_error_of_this_library() -> None:
    import random

    generator = random.Random(2)

    async def script(peer: Peer) -> None:
        if generator.random() < 0.5:
            await peer.accept()
        peer.send(generator.randbytes(200))
        while await peer.reader.read(4096):
            pass

    for _ in range(30):
        async with scripted(script) as route:
            client = one_connection(route, "c", close_timeout_s=0.1, connect_timeout_s=0.5, keep_alive=0)
            with pytest.raises((IotwireError, TimeoutError)):
                async with asyncio.timeout(1), client:
                    await client.publish("a", b"", qos=1)


# Cancellation.


async def answer_everything(peer: Peer) -> None:
    """A server that acknowledges whatever comes."""
    await peer.accept(receive_maximum=2)
    while (packet := await peer.receive()) is not None:
        if isinstance(packet, Publish) and packet.qos:
            peer.send(PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id))
        elif isinstance(packet, PubRel):
            peer.send(PubComp(packet.packet_id))
        elif isinstance(packet, Subscribe):
            peer.send(SubAck(packet.packet_id, (0,)))
        elif isinstance(packet, Unsubscribe):
            peer.send(UnsubAck(packet.packet_id, (0,)))
        elif isinstance(packet, PingReq):
            peer.send(PingResp())


@pytest.mark.parametrize("turns", range(8))
@asynchronous
async def test_a_call_that_is_cancelled_anywhere_leaves_the_client_usable(turns: int) -> None:
    async with scripted(answer_everything) as route, one_connection(route, "c") as client:
        calls = [
            lambda: client.publish("a", b"", qos=0),
            lambda: client.publish("a", b"", qos=1),
            lambda: client.publish("a", b"", qos=2),
            lambda: client.subscribe("a"),
            lambda: client.unsubscribe("a"),
            lambda: anext(client.messages("never")),
        ]
        for call in calls:
            for _ in range(5):  # more than there are places
                task = asyncio.ensure_future(call())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await client.publish("a", b"", qos=1)
            await client.publish("a", b"", qos=2)
            await client.subscribe("a")


@asynchronous
async def test_a_disconnect_that_is_cancelled_still_ends_the_connection() -> None:
    has_disconnected, stop = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Disconnect)
        has_disconnected.set()
        await stop.wait()

    async with scripted(script) as route:
        client = one_connection(route, "c", close_timeout_s=60)
        await client.connect()
        closing = asyncio.create_task(client.disconnect())
        await has_disconnected.wait()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        assert not client.is_connected
        stop.set()


# Flow control.


@asynchronous
async def test_a_server_that_does_not_read_holds_publishers_back() -> None:
    stop_waiting = asyncio.Event()
    total = 2000
    payload = bytes(10_000)

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stop_waiting.wait()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(total):
            await peer.expect(Publish)
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c") as client:

        async def publish_all() -> None:
            for _ in range(total):
                await client.publish("a", payload)

        publishing = asyncio.create_task(publish_all())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(publishing), 0.5)
        assert client._link is not None
        assert client._link.backlog_bytes < 2 * WRITE_HIGH_BYTES + 2 * len(payload)
        stop_waiting.set()
        await publishing


@asynchronous
async def test_a_publisher_that_never_waits_lets_other_tasks_run() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c") as client:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        for _ in range(100):
            await client.publish("a", bytes(10_000))
        counting.cancel()
    assert turns >= 10


@pytest.mark.slow
@asynchronous
async def test_answers_to_a_server_that_does_not_read_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each PUBREL is answered with a PUBCOMP, which the server never takes: the client stops reading."""
    bound = 2 * WRITE_HIGH_BYTES  # the real one takes seconds to reach
    monkeypatch.setattr(stream_module, "BACKLOG_BYTES", bound)
    has_looked = asyncio.Event()

    async def send_without_end(peer: Peer) -> None:
        release = b"".join(PubRel(i).encode() for i in range(1, 5001))
        while True:
            peer.send(release)
            await peer.writer.drain()

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        sending = asyncio.create_task(send_without_end(peer))
        await has_looked.wait()
        sending.cancel()
        peer.writer.transport.abort()

    async with scripted(script) as route, one_connection(route, "c") as client:
        assert client._link is not None
        stream = client._link
        await until(lambda: not stream.is_reading)
        # Beyond the bound only the answers to what one read had brought.
        assert bound < stream.backlog_bytes < bound + 2 * 64 * 1024
        has_looked.set()


@asynchronous
async def test_a_publish_that_waits_for_room_fails_with_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await is_stuck.wait()
        peer.writer.transport.abort()

    is_stuck = asyncio.Event()
    async with scripted(script) as route, one_connection(route, "c") as client:

        async def publish_for_ever() -> None:
            while True:
                await client.publish("a", bytes(50_000))

        publishing = [asyncio.create_task(publish_for_ever()) for _ in range(3)]
        done, _ = await asyncio.wait(publishing, timeout=0.3)
        assert not done
        is_stuck.set()
        outcomes = await asyncio.gather(*publishing, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ConnectionLostError] * 3


@asynchronous
async def test_a_message_larger_than_announced_never_gets_into_memory() -> None:
    async def script(peer: Peer) -> None:
        connect = await peer.accept()
        assert connect.maximum_packet_size == 1000
        peer.send(Publish("a", bytes(900)), Publish("a", bytes(1000)).encode()[:10])
        assert await peer.receive() == Disconnect(0x95)
        await peer.expect_close()

    async with (
        scripted(script) as route,
        one_connection(route, "c", max_packet_size=1000) as client,
    ):
        messages = client.messages()
        assert len((await anext(messages)).payload) == 900
        with pytest.raises(ConnectionLostError):
            await anext(messages)


def test_publish_errors_carry_no_payload() -> None:
    error = PublishError("the server refused the message", reason_code=0x87)
    assert error.reason_code == 0x87


def test_a_broker_needs_no_loop() -> None:
    assert one_connection(Broker("broker.example", 1883), "c").is_connected is False
