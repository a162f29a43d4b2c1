"""Messages to the client: exactly-once, aliases, streams, and acknowledgements that wait for room."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from iotwire import ConnectionLostError, EncodeError
from iotwire.mqtt import Disconnect, PubAck, PubComp, Publish, PubRec, PubRel, SubAck, Subscribe
from scripted import Peer, asynchronous, one_connection, scripted, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])


async def expect_nothing(peer: Peer) -> None:
    """Nothing arrives in a moment that is long for a loopback."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(peer.receive(), 0.05)


async def take(messages: Any, count: int) -> list[bytes]:
    return [bytes((await anext(messages)).payload) for _ in range(count)]


# Quality of service.


@BOTH_VERSIONS
@asynchronous
async def test_each_message_is_answered_as_its_quality_of_service_wants(version: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(
            Publish("a", b"0"),
            Publish("a", b"1", qos=1, packet_id=9),
            Publish("a", b"2", qos=2, packet_id=7, retain=True),
        )
        assert await peer.receive() == PubAck(9)
        assert await peer.receive() == PubRec(7)
        peer.send(PubRel(7))
        assert await peer.receive() == PubComp(7)
        peer.send(Publish("end"))
        await peer.answer_pings_until_close()

    async with scripted(script, version=version) as route, one_connection(route, "c", version=version) as client:
        messages = client.messages("a")
        received = [await anext(messages) for _ in range(3)]
        await anext(client.messages("end"))
        assert client.stats().messages_received == 4
    assert [(m.topic, m.payload, m.qos, m.retain) for m in received] == [
        ("a", b"0", 0, False),
        ("a", b"1", 1, False),
        ("a", b"2", 2, True),
    ]


@BOTH_VERSIONS
@asynchronous
async def test_a_qos_2_message_sent_twice_is_delivered_once(version: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(Publish("a", b"once", qos=2, packet_id=7))
        assert await peer.receive() == PubRec(7)
        peer.send(Publish("a", b"once", qos=2, packet_id=7, dup=True))
        assert await peer.receive() == PubRec(7)
        peer.send(PubRel(7))
        assert await peer.receive() == PubComp(7)
        # Released: the id is free, and this is another message, whatever its DUP says.
        peer.send(Publish("a", b"another", qos=2, packet_id=7, dup=True))
        assert await peer.receive() == PubRec(7)
        peer.send(PubRel(7))
        assert await peer.receive() == PubComp(7)
        peer.send(Publish("a", b"end"))
        await peer.answer_pings_until_close()

    async with scripted(script, version=version) as route, one_connection(route, "c", version=version) as client:
        assert await take(client.messages(), 3) == [b"once", b"another", b"end"]


@pytest.mark.parametrize(("version", "code"), [(4, 0), (5, 0x92)])
@asynchronous
async def test_a_release_of_an_unknown_message_is_answered(version: int, code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(PubRel(99))
        assert await peer.receive() == PubComp(99, code)
        peer.send(PubRec(98))
        assert await peer.receive() == PubRel(98, code)
        peer.send(PubAck(97), PubComp(96))  # late answers to nobody
        peer.send(Publish("a", b"alive"))
        await peer.answer_pings_until_close()

    async with scripted(script, version=version) as route, one_connection(route, "c", version=version) as client:
        assert await take(client.messages(), 1) == [b"alive"]


# Topic aliases.


@asynchronous
async def test_topic_aliases_are_resolved_and_everything_else_is_kept() -> None:
    properties: dict[str, Any] = {
        "payload_format_indicator": 1,
        "message_expiry_interval": 60,
        "response_topic": "answers",
        "correlation_data": b"\x01",
        "user_properties": (("k", "1"), ("k", "2")),
        "subscription_identifiers": (3, 4),
        "content_type": "text/plain",
    }

    async def script(peer: Peer) -> None:
        connect = await peer.accept()
        assert connect.topic_alias_maximum == 16
        peer.send(
            Publish("a/b", b"1", topic_alias=16),
            Publish("", b"2", qos=1, packet_id=5, retain=True, topic_alias=16, **properties),
            Publish("c", b"3", topic_alias=16),
            Publish("", b"4", topic_alias=16),
        )
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c") as client:
        messages = client.messages()
        received = [await anext(messages) for _ in range(4)]
    assert received == [
        Publish("a/b", b"1"),
        Publish("a/b", b"2", qos=1, packet_id=5, retain=True, **properties),
        Publish("c", b"3"),
        Publish("c", b"4"),
    ]


@pytest.mark.parametrize(
    ("packet", "maximum", "code"),
    [
        (Publish("a", b"", topic_alias=5), 4, 0x94),
        (Publish("a", b"", topic_alias=1), 0, 0x94),
        (Publish("", b"", topic_alias=65535), 16, 0x94),
        (Publish("", b"", topic_alias=3), 16, 0x82),
    ],
)
@asynchronous
async def test_an_alias_out_of_range_or_unknown_ends_the_connection(packet: Publish, maximum: int, code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(packet)
        assert await peer.receive() == Disconnect(code)
        await peer.expect_close()

    async with scripted(script) as route, one_connection(route, "c", topic_alias_maximum=maximum) as client:
        with pytest.raises(ConnectionLostError, match="alias"):
            await anext(client.messages())


# Streams.


@asynchronous
async def test_a_message_goes_to_every_stream_that_it_matches() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(Publish("a/x", b"1"), Publish("b/x", b"2"), Publish("$aws/events", b"3"), Publish("a", b"4"))
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "c")
        # Opened before connecting: nothing can be missed.
        streams = {name: client.messages(name) for name in ("a/#", "+/x", "#", "$share/group/b/+")}
        everything, again = client.messages(), client.messages("a/#")
        async with client:
            assert await take(everything, 4) == [b"1", b"2", b"3", b"4"]
        received = {name: [message.payload async for message in stream] for name, stream in streams.items()}
        assert [message.payload async for message in again] == [b"1", b"4"]
    assert received == {
        "a/#": [b"1", b"4"],
        "+/x": [b"1", b"2"],
        "#": [b"1", b"2", b"4"],  # not what begins with $, which a stream without a filter does get
        "$share/group/b/+": [b"2"],
    }


@asynchronous
async def test_what_nobody_has_asked_for_waits_for_the_first_who_does(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(*(Publish(f"direct/{i % 2}", b"%d" % i, qos=i % 2, packet_id=i if i % 2 else None) for i in range(6)))
        assert [(await peer.expect(PubAck)).packet_id for _ in range(3)] == [1, 3, 5]
        peer.send(Publish("other", b"end"))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c") as client:
        await take(client.messages("other"), 1)
        assert client.stats().messages_unclaimed == 6
        assert caplog.text.count("nobody has asked for") == 1
        assert await take(client.messages("direct/1"), 3) == [b"1", b"3", b"5"]
        assert await take(client.messages(), 3) == [b"0", b"2", b"4"]
        assert client.stats().messages_unclaimed == 0
        assert client.stats().messages_dropped == 0


@asynchronous
async def test_a_full_queue_drops_its_oldest_qos_0_message_and_counts_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(*(Publish("a", b"%d" % i) for i in range(10)), Publish("end"))
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "c")
        messages, end = client.messages("a", max_messages=3), client.messages("end")
        async with client:
            await anext(end)
            assert messages.waiting == 3
            assert messages.dropped == 7
            assert client.stats().messages_dropped == 7
            assert await take(messages, 3) == [b"7", b"8", b"9"]


@asynchronous
async def test_a_queue_is_bounded_in_bytes_too_but_lets_one_large_message_through() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(*(Publish("a", b"%d" % i * 1000) for i in range(4)), Publish("a", bytes(50_000)), Publish("end"))
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "c")
        messages, end = client.messages("a", max_bytes=3000), client.messages("end")
        async with client:
            await anext(end)
            assert messages.dropped == 4
            assert len((await anext(messages)).payload) == 50_000


@BOTH_VERSIONS
@asynchronous
async def test_an_acknowledgement_is_withheld_until_there_is_room(version: int) -> None:
    may_read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(*(Publish("a", b"%d" % i, qos=1 + i % 2, packet_id=i) for i in range(1, 6)))
        assert await peer.receive() == PubRec(1)
        assert await peer.receive() == PubAck(2)
        await expect_nothing(peer)
        peer.send(Publish("a", b"3", qos=2, packet_id=3, dup=True))  # impatient: the answer will be one for both
        await expect_nothing(peer)
        may_read.set()
        assert [await peer.receive() for _ in range(3)] == [PubRec(3), PubAck(4), PubRec(5)]
        peer.send(Publish("a", b"end"))
        await peer.answer_pings_until_close()

    async with scripted(script, version=version) as route:
        client = one_connection(route, "c", version=version)
        messages = client.messages("a", max_messages=2)
        async with client:
            await may_read.wait()
            assert await take(messages, 6) == [b"1", b"2", b"3", b"4", b"5", b"end"]
            assert messages.dropped == 0


@asynchronous
async def test_acknowledgements_leave_in_the_order_of_arrival() -> None:
    may_read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(
            Publish("full", b"1", qos=1, packet_id=1),
            Publish("full", b"2", qos=1, packet_id=2),
            Publish("free", b"3", qos=1, packet_id=3),
        )
        assert await peer.receive() == PubAck(1)
        await expect_nothing(peer)  # the third waits for the second [MQTT-4.6.0-2]
        may_read.set()
        assert await peer.receive() == PubAck(2)
        assert await peer.receive() == PubAck(3)
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "c")
        full, free = client.messages("full", max_messages=1), client.messages("free")
        async with client:
            assert await take(free, 1) == [b"3"]
            await may_read.wait()
            assert await take(full, 2) == [b"1", b"2"]


@asynchronous
async def test_qos_0_messages_give_way_and_assured_ones_stay_in_order() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(
            Publish("a", b"A", qos=1, packet_id=1),
            Publish("a", b"z0"),
            Publish("a", b"B", qos=1, packet_id=2),
            Publish("a", b"z1"),
            Publish("a", b"z2"),
            Publish("a", b"C", qos=1, packet_id=3),
            Publish("end"),
        )
        assert await peer.receive() == PubAck(1)
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "c")
        messages, end = client.messages("a", max_messages=2), client.messages("end")
        async with client:
            await anext(end)
            assert messages.waiting == 4
            assert messages.dropped == 2
            assert await take(messages, 4) == [b"A", b"B", b"z2", b"C"]


@asynchronous
async def test_a_server_that_exceeds_the_receive_maximum_is_read_only_for_the_answer_to_a_call() -> None:
    async def script(peer: Peer) -> None:
        connect = await peer.accept()
        assert connect.receive_maximum == 3
        peer.send(*(Publish("a", b"%d" % i, qos=1 + i % 2, packet_id=i) for i in range(1, 6)))
        assert await peer.receive() == PubRec(1)
        subscribe = await peer.expect(Subscribe)
        peer.send(SubAck(subscribe.packet_id, (0,)), Publish("b", b"behind the answer"))
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "c", receive_maximum=3)
        messages = client.messages("a", max_messages=1)
        async with client:
            assert client._link is not None
            await until(lambda: not client._link.is_reading)
            await client.subscribe("b")
            assert await take(client.messages("b"), 1) == [b"behind the answer"]
            await until(lambda: not client._link.is_reading)
            assert await take(messages, 5) == [b"1", b"2", b"3", b"4", b"5"]
            assert client._link.is_reading


@pytest.mark.parametrize("qos", [1, 2])
@asynchronous
async def test_a_server_that_exceeds_the_receive_maximum_in_bursts_is_put_up_with(qos: int) -> None:
    """Mosquitto 2.0.11, the one of Debian 12, sends a burst with each acknowledgement that it gets."""
    total = 40

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(*(Publish("a", b"%d" % i, qos=qos, packet_id=i) for i in range(1, total + 1)))
        for i in range(1, total + 1):
            assert await peer.receive() == (PubAck(i) if qos == 1 else PubRec(i))
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "c", receive_maximum=3)
        messages = client.messages("a", max_messages=2)
        async with client:
            assert await take(messages, total) == [b"%d" % i for i in range(1, total + 1)]


@asynchronous
async def test_a_3_1_1_server_is_held_back_by_not_reading() -> None:
    """MQTT 3.1.1 has no Receive Maximum: TCP has to hold the server back."""
    total = 400
    may_read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        acknowledged = 0
        for i in range(1, total + 1):
            peer.send(Publish("a", b"%5d" % i + bytes(60_000), qos=1, packet_id=i))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await peer.writer.drain()
        may_read.set()
        while acknowledged < total:
            await peer.expect(PubAck)
            acknowledged += 1
        await peer.answer_pings_until_close()

    async with scripted(script, version=4) as route:
        client = one_connection(route, "c", version=4, receive_maximum=5)
        messages = client.messages("a", max_messages=1)
        async with client:
            await may_read.wait()
            # One in the queue, five unacknowledged, and what one read of 64 KiB may have brought beside them.
            assert messages.waiting <= 8
            assert [int(payload[:5]) for payload in await take(messages, total)] == list(range(1, total + 1))


@asynchronous
async def test_a_stream_that_is_closed_lets_go_of_what_it_held() -> None:
    may_close = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(*(Publish("a", b"%d" % i, qos=1, packet_id=i) for i in range(1, 5)))
        assert await peer.receive() == PubAck(1)
        await expect_nothing(peer)
        may_close.set()
        assert [await peer.receive() for _ in range(3)] == [PubAck(2), PubAck(3), PubAck(4)]
        peer.send(Publish("a", b"later"))
        await peer.answer_pings_until_close()

    async with scripted(script) as route:
        client = one_connection(route, "c")
        messages = client.messages("a", max_messages=1)
        await client.connect()
        with messages:
            await may_close.wait()
        assert messages.dropped == 4
        assert client.stats().messages_dropped == 4
        assert [message async for message in messages] == []
        messages.close()
        assert await take(client.messages("a"), 1) == [b"later"]
        await client.disconnect()


@asynchronous
async def test_leaving_a_loop_closes_its_stream() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(Publish("a", b"1"))
        assert isinstance(await peer.receive(), Publish)
        peer.send(Publish("a", b"2"))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c") as client:
        async for message in client.messages("a"):
            assert message.payload == b"1"
            break
        gc.collect()
        await client.publish("go", b"")
        # Taken by the stream that is left, it would be lost.
        assert await take(client.messages("a"), 1) == [b"2"]


@asynchronous
async def test_several_tasks_may_read_one_stream_and_cancelling_one_loses_nothing() -> None:
    are_waiting = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await are_waiting.wait()
        peer.send(*(Publish("a", b"%d" % i) for i in range(3)))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c") as client:
        messages = client.messages("a")
        readers = [asyncio.ensure_future(anext(messages)) for _ in range(4)]
        await asyncio.sleep(0)
        readers[0].cancel()
        are_waiting.set()
        done = await asyncio.gather(*readers[1:])
        assert sorted(message.payload for message in done) == [b"0", b"1", b"2"]


@asynchronous
async def test_a_reader_that_is_cancelled_just_as_it_is_woken_leaves_the_message_to_the_next() -> None:
    client_messages = one_connection(await _unused_route(), "c")
    stream = client_messages.messages("a")
    first, second = asyncio.ensure_future(anext(stream)), asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    client_messages._distributor.deliver(Publish("a", b"1"))  # wakes the first
    first.cancel()
    assert (await second).payload == b"1"
    assert first.cancelled()


async def _unused_route() -> Any:
    from iotwire import Broker

    return Broker("broker.example", 1883)


@asynchronous
async def test_a_stream_with_impossible_options_is_refused() -> None:
    client = one_connection(await _unused_route(), "c")
    for arguments in (("a/#/b",), ("",), ("a+",), ("$share/g",)):
        with pytest.raises(EncodeError):
            client.messages(*arguments)
    for options in ({"max_messages": 0}, {"max_bytes": 0}, {"max_messages": "1"}):
        with pytest.raises(EncodeError):
            client.messages("a", **options)  # type: ignore[arg-type]
