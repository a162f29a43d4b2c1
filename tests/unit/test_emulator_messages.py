"""What the local endpoint does with messages, and the bounds that no device can make it exceed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from emulated import BOTH_VERSIONS, a_client, an_emulator, raw_connection, raw_device
from iotwire import (
    ConnectError,
    ConnectionLostError,
    PublishError,
    SubscribeError,
)
from iotwire.emulator import EmulatorLimits
from iotwire.mqtt import (
    Connect,
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
    Will,
)
from scripted import asynchronous, until

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")


# Messages.


@asynchronous
async def test_qos_2_is_refused_as_the_service_does() -> None:
    async with an_emulator() as emulator:
        async with a_client(emulator, "device") as client:
            with pytest.raises(PublishError) as caught:
                await client.publish("a", b"", qos=2)
            assert caught.value.reason_code == 0x9B
            assert await client.subscribe("a", 2) == (1,)
        async with raw_device(emulator, Connect("device")) as peer:
            peer.send(Publish("a", b"", qos=2, packet_id=1))
            assert await peer.receive() == Disconnect(0x9B)
            await peer.expect_close()
        async with raw_device(emulator, Connect("device"), version=4) as peer:
            peer.send(Subscribe(1, (Subscription("a", 2),)), Publish("a", b"", qos=2, packet_id=2), PingReq())
            assert await peer.receive() == PingResp()  # and no answer to the two before it


@BOTH_VERSIONS
@asynchronous
async def test_retained_messages_are_kept_replaced_and_deleted(version: int) -> None:
    async with an_emulator() as emulator, a_client(emulator, "device", version=version) as client:
        await client.publish("state/a", b"old", qos=1, retain=True)
        await client.publish("state/a", b"new", qos=1, retain=True)
        await client.publish("state/b", b"gone", qos=1, retain=True)
        await client.publish("state/b", b"", qos=1, retain=True)
        await client.publish("state/c", b"never retained", qos=1)
        await client.subscribe("state/+", 1)
        messages = client.messages()
        assert _seen(await anext(messages)) == ("state/a", b"new", 1, True)
        await client.publish("state/c", b"live", retain=True)
        assert _seen(await anext(messages)) == ("state/c", b"live", 0, False)
        assert messages.waiting == 0


def _seen(message: Publish) -> tuple[str, bytes, int, bool]:
    return message.topic, message.payload, message.qos, message.retain


@asynchronous
async def test_subscription_options_are_followed() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device") as client, a_client(emulator, "other") as other:
        await other.publish("r", b"retained", qos=1, retain=True)
        await client.subscribe(Subscription("r", 1, retain_handling=2, retain_as_published=True))
        await client.subscribe(Subscription("r", 1, retain_handling=1, retain_as_published=True))  # not new
        await client.subscribe(Subscription("own", 1, no_local=True))
        messages = client.messages()
        await client.publish("own", b"echo", qos=1)
        await other.publish("own", b"from the other", qos=1)
        await other.publish("r", b"as published", qos=1, retain=True)
        assert _seen(await anext(messages)) == ("own", b"from the other", 1, False)
        assert _seen(await anext(messages)) == ("r", b"as published", 1, True)
        await client.subscribe(Subscription("r", 1, retain_handling=0))
        assert _seen(await anext(messages)) == ("r", b"as published", 1, True)


@asynchronous
async def test_overlapping_subscriptions_bring_a_message_once_with_the_highest_qos() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device") as client:
        await client.subscribe([Subscription("a/b", 0), Subscription("a/+", 1), Subscription("#", 0)])
        await client.publish("a/b", b"1", qos=1)
        await client.publish("a/b", b"2", qos=0)
        messages = client.messages()
        assert _seen(await anext(messages)) == ("a/b", b"1", 1, False)
        assert _seen(await anext(messages)) == ("a/b", b"2", 0, False)
        await client.unsubscribe(["a/+", "#", "a/b"])
        await client.publish("a/b", b"3", qos=1)
        assert messages.waiting == 0
        assert await client.unsubscribe("a/b") == (0x11,)


@BOTH_VERSIONS
@asynchronous
async def test_shared_subscriptions_are_refused(version: int) -> None:
    async with an_emulator() as emulator:
        async with a_client(emulator, "device", version=version) as client:
            with pytest.raises(SubscribeError) as caught:
                await client.subscribe(["a", "$share/g/a"])
        assert caught.value.reason_codes["$share/g/a"] == (0x9E if version == 5 else 0x80)
        async with raw_device(emulator, Connect("device"), version=version) as peer:
            peer.send(Subscribe(1, (Subscription("a"), Subscription("$share/g/a"))))
            assert await peer.receive() == SubAck(1, (0, 0x9E if version == 5 else 0x80))


@asynchronous
async def test_subscription_identifiers_are_refused() -> None:
    async with an_emulator() as emulator:
        async with raw_device(emulator, Connect("device")) as peer:
            peer.send(Subscribe(1, (Subscription("a"),), subscription_identifier=7))
            assert await peer.receive() == Disconnect(0xA1)
        async with raw_device(emulator, Connect("device")) as peer:
            peer.send(Publish("a", b"", subscription_identifiers=(7,)))
            assert await peer.receive() == Disconnect(0x82)


@asynchronous
async def test_the_number_of_subscriptions_is_bounded() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device") as client:
        await client.subscribe([f"a/{i}" for i in range(50)])
        await client.subscribe("a/0", 1)  # one of them again
        with pytest.raises(SubscribeError) as caught:
            await client.subscribe("one/more")
        assert caught.value.reason_codes == {"one/more": 0x97}
        await client.unsubscribe("a/0")
        await client.subscribe("one/more")


@asynchronous
async def test_properties_travel_and_an_expiry_counts_down() -> None:
    properties: dict[str, Any] = {
        "payload_format_indicator": 0,
        "response_topic": "answers",
        "correlation_data": b"\x01",
        "user_properties": (("k", "1"), ("k", "2")),
        "content_type": "text/plain",
    }
    async with an_emulator() as emulator, a_client(emulator, "device") as client:
        await client.subscribe("a", 1)
        messages = client.messages()
        await client.publish("a", b"x", qos=1, message_expiry_interval=60, **properties)
        received = await anext(messages)
        assert received.message_expiry_interval in (59, 60)
        assert {name: getattr(received, name) for name in properties} == properties
        async with a_client(emulator, "old", version=4) as old:
            await old.subscribe("a", 1)
            await client.publish("a", b"y", qos=1, **properties)
            assert (await anext(old.messages())).payload == b"y"
            await old.publish("a", b"from 3.1.1", qos=1)
            assert [(await anext(messages)).payload for _ in range(2)] == [b"y", b"from 3.1.1"]


@asynchronous
async def test_a_retained_message_that_has_expired_is_not_sent() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device", limits=None) as client:
        await client.publish("a", b"short-lived", qos=1, retain=True, message_expiry_interval=0)
        await client.publish("b", b"lasting", qos=1, retain=True)
        await client.subscribe(["a", "b"], 1)
        assert (await anext(client.messages())).payload == b"lasting"


@asynchronous
async def test_topic_aliases_of_a_device_are_resolved() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device") as client:
        await client.subscribe("#", 1)
        topics = [f"topic/{i}" for i in range(9)] * 2
        for topic in topics:
            await client.publish(topic, b"", qos=1)
        messages = client.messages()
        assert [_seen(await anext(messages))[0] for _ in topics] == topics
        for packet, code in ((Publish("a", b"", topic_alias=9), 0x94), (Publish("", b"", topic_alias=1), 0x82)):
            async with raw_device(emulator, Connect("bad")) as peer:
                peer.send(packet)
                assert await peer.receive() == Disconnect(code)


@pytest.mark.parametrize("ending", ["abort", "0x04", "bad bytes", "keep alive", "takeover"])
@asynchronous
async def test_a_will_is_published_for_a_device_that_vanishes(ending: str) -> None:
    will = Will("gone", b"device", qos=1, content_type="text/plain")
    async with an_emulator() as emulator, a_client(emulator, "watcher") as watcher:
        await watcher.subscribe("gone", 1)
        async with raw_device(emulator, Connect("device", will=will, keep_alive=1)) as peer:
            if ending == "abort":
                peer.writer.transport.abort()
            elif ending == "0x04":
                peer.send(Disconnect(4))
            elif ending == "bad bytes":
                peer.send(b"\x00\x00")
            elif ending == "takeover":
                async with a_client(emulator, "device"):
                    pass
            message = await anext(watcher.messages())
            assert (message.payload, message.content_type) == (b"device", "text/plain")


@asynchronous
async def test_a_will_is_not_published_for_a_device_that_says_goodbye() -> None:
    async with an_emulator() as emulator, a_client(emulator, "watcher") as watcher:
        await watcher.subscribe("gone", 1)
        async with a_client(emulator, "device", will=Will("gone", b"device")):
            pass
        await watcher.publish("gone", b"end", qos=1)
        assert (await anext(watcher.messages())).payload == b"end"


@asynchronous
async def test_a_stop_tells_the_devices() -> None:
    async with an_emulator() as emulator:
        client = a_client(emulator, "device", will=Will("gone", b""), reconnect=None)
        await client.connect()
    with pytest.raises(ConnectionLostError) as caught:
        await anext(client.messages())
    assert caught.value.reason_code == 0x8B
    await client.disconnect()


# Bounds.


@asynchronous
async def test_a_device_gets_no_more_than_its_receive_maximum_at_once() -> None:
    async with (
        an_emulator() as emulator,
        a_client(emulator, "publisher") as publisher,
        raw_device(emulator, Connect("device", receive_maximum=2)) as peer,
    ):
        peer.send(Subscribe(1, (Subscription("a", 1),)))
        await peer.expect(SubAck)
        for i in range(5):
            await publisher.publish("a", b"%d" % i, qos=1)
        waiting = [await peer.expect(Publish), await peer.expect(Publish)]
        peer.send(PingReq())
        assert await peer.receive() == PingResp()
        payloads = []
        while waiting:
            done = waiting.pop(0)
            payloads.append(done.payload)
            peer.send(PubAck(done.packet_id))
            if len(payloads) + len(waiting) < 5:
                waiting.append(await peer.expect(Publish))
        assert payloads == [b"0", b"1", b"2", b"3", b"4"]


@asynchronous
async def test_a_device_that_does_not_acknowledge_is_disconnected_when_its_queue_is_full() -> None:
    limits = EmulatorLimits(max_queued_messages=10)
    async with (
        an_emulator(limits=limits) as emulator,
        a_client(emulator, "publisher") as publisher,
        raw_device(emulator, Connect("device", receive_maximum=1)) as peer,
    ):
        peer.send(Subscribe(1, (Subscription("a", 1),)))
        await peer.expect(SubAck)
        for _ in range(20):
            await publisher.publish("a", b"", qos=1)
        assert isinstance(await peer.receive(), Publish)
        assert await peer.receive() == Disconnect(0x97)


@asynchronous
async def test_a_device_that_does_not_read_loses_qos_0_messages_and_costs_no_memory() -> None:
    limits = EmulatorLimits(max_backlog_bytes=100_000)
    async with (
        an_emulator(limits=limits) as emulator,
        a_client(emulator, "publisher") as publisher,
        raw_device(emulator, Connect("device")) as peer,
    ):
        peer.send(Subscribe(1, (Subscription("a", 0),)))
        await peer.expect(SubAck)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while not emulator.stats().messages_dropped:
            await publisher.publish("a", bytes(100_000), qos=1)
        (device,) = (each for each in emulator._connections if each.client_id == "device")
        assert device.stream.backlog_bytes < 100_000 + 2 * 100_000


@asynchronous
async def test_a_device_gets_no_packet_larger_than_it_accepts() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device", max_packet_size=1000) as client:
        await client.subscribe("a", 1)
        await client.publish("a", bytes(2000), qos=1)
        await client.publish("a", b"small", qos=1)
        assert (await anext(client.messages())).payload == b"small"
        assert emulator.stats().messages_dropped == 1


@asynchronous
async def test_retained_messages_are_bounded() -> None:
    limits = EmulatorLimits(max_retained_messages=2, max_retained_bytes=1000)
    async with an_emulator(limits=limits) as emulator, a_client(emulator, "device") as client:
        await client.publish("a", bytes(400), qos=1, retain=True)
        with pytest.raises(PublishError, match="0x97"):
            await client.publish("b", bytes(700), qos=1, retain=True, user_properties=[("k", "v" * 100)])
        await client.publish("b", bytes(100), qos=1, retain=True)
        with pytest.raises(PublishError, match="0x97"):
            await client.publish("c", b"third", qos=1, retain=True)
        await client.publish("a", b"", qos=1, retain=True)
        await client.publish("c", b"third", qos=1, retain=True)


@asynchronous
async def test_connections_are_bounded_before_their_handshake() -> None:
    async with an_emulator(limits=EmulatorLimits(max_connections=2)) as emulator:
        silent = [await asyncio.open_connection("127.0.0.1", emulator.ports[8883]) for _ in range(2)]
        with pytest.raises(ConnectError):
            await a_client(emulator, "device").connect()
        for _, writer in silent:
            writer.transport.abort()
        await asyncio.gather(*(reader.read() for reader, _ in silent), return_exceptions=True)
        await until(lambda: not emulator._connections)
        async with a_client(emulator, "device") as client:
            assert client.is_connected


@asynchronous
async def test_a_handshake_that_never_ends_is_given_up() -> None:
    async with an_emulator(limits=EmulatorLimits(handshake_timeout_s=0.1)) as emulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", emulator.ports[8883])
        writer.write(b"\x16\x03\x01\x02\x00")
        assert await reader.read() == b""
        writer.close()


@asynchronous
async def test_any_bytes_are_survived() -> None:
    generator = random.Random(2)
    packets = [
        Connect("x", will=Will("w", b"1")).encode(),
        Publish("a/b", b"hello", qos=1, packet_id=1, topic_alias=1, user_properties=[("a", "b")]).encode(),
        Publish("a/b", b"hello", qos=2, packet_id=1).encode(),
        Subscribe(3, (Subscription("a/+", 1), Subscription("$share/x/y"))).encode(),
        Unsubscribe(4, ("a/+",)).encode(),
        PubAck(1).encode() + PubRec(1).encode() + PubRel(1).encode() + PubComp(1).encode(),
        PingReq().encode() + UnsubAck(1, (0,)).encode(),
        Disconnect(4).encode(),
    ]
    async with an_emulator() as emulator:
        for attempt in range(60):
            async with raw_connection(emulator) as peer:
                data = bytearray(packets[0] if attempt % 3 else b"")
                data += b"".join(generator.choices(packets, k=20))
                for _ in range(generator.randrange(4)):
                    data[generator.randrange(len(data))] = generator.randrange(256)
                peer.send(bytes(data))
                peer.writer.close()
                await asyncio.gather(peer.writer.wait_closed(), return_exceptions=True)
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", emulator.ports[443])
            writer.write(generator.randbytes(300))
            writer.write_eof()
            await asyncio.gather(reader.read(), return_exceptions=True)
            writer.close()
        async with a_client(emulator, "device") as client:
            await client.publish("still/alive", b"", qos=1)
