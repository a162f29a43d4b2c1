"""Callbacks, acknowledgements by hand, and what a full queue does."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from iotwire import EncodeError
from iotwire.mqtt import PubAck, PubComp, Publish, PubRec, PubRel
from scripted import Peer, asynchronous, in_turn, one_connection, reconnecting, scripted, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])


def sends(*packets: Publish) -> Any:
    """A server that sends these when it gets a message, and then minds its own business."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        peer.send(*packets)
        await peer.answer_pings_until_close()

    return script


def numbered(count: int, topic: str = "a", qos: int = 0, first: int = 0) -> list[Publish]:
    numbers = range(first, first + count)
    return [Publish(topic, b"%d" % at, qos=qos, packet_id=at + 1 if qos else None) for at in numbers]


# Callbacks.


@BOTH_VERSIONS
@asynchronous
async def test_a_plain_callback_is_called_at_once_in_order_and_acknowledges(version: int) -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(*numbered(3, "a/b"), Publish("other"), *numbered(2, "a/b", qos=1, first=3))
        assert [await peer.receive() for _ in range(2)] == [PubAck(4), PubAck(5)]
        peer.send(Publish("end"))
        await peer.answer_pings_until_close()

    async with scripted(script, version=version) as route, one_connection(route, "c", version=version) as client:
        client.on_message("a/+", lambda message: seen.append(message.payload))
        await anext(client.messages("end"))
        assert seen == [b"0", b"1", b"2", b"3", b"4"]
        assert client.stats().messages_unclaimed == 1


@asynchronous
async def test_an_async_callback_is_awaited_for_one_message_after_another() -> None:
    seen: list[bytes] = []
    running = 0

    async def callback(message: Publish) -> None:
        nonlocal running
        running += 1
        assert running == 1
        for _ in range(3):
            await asyncio.sleep(0)
        seen.append(message.payload)
        running -= 1

    async with scripted(sends(*numbered(20))) as route, one_connection(route, "c") as client:
        client.on_message("a", callback)
        await client.publish("begin")
        await until(lambda: len(seen) == 20)
        assert client.stats().peak_unread > 1
    assert seen == [b"%d" % at for at in range(20)]


@pytest.mark.parametrize("is_async", [False, True])
@asynchronous
async def test_what_a_callback_raises_is_logged_with_its_traceback_and_the_next_message_comes(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[bytes] = []

    def take(message: Publish) -> None:
        seen.append(message.payload)
        if message.payload == b"1":
            raise KeyError("of the application")

    async def take_async(message: Publish) -> None:
        take(message)

    async with scripted(sends(*numbered(3))) as route, one_connection(route, "c") as client:
        client.on_message("a", take_async if is_async else take)
        await client.publish("begin")
        await until(lambda: len(seen) == 3)
        assert client.is_connected
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "the callback for a message on a failed")
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


@pytest.mark.parametrize("is_async", [False, True])
@asynchronous
async def test_a_handler_that_is_closed_is_called_no_more(is_async: bool) -> None:
    seen: list[bytes] = []
    may_send = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(Publish("a", b"1"))
        await may_send.wait()
        peer.send(Publish("a", b"2"), Publish("b", b"3"))
        await peer.answer_pings_until_close()

    def take(message: Publish) -> None:
        seen.append(message.payload)

    async def take_async(message: Publish) -> None:
        take(message)

    async with scripted(script) as route, one_connection(route, "c") as client:
        handler = client.on_message("a", take_async if is_async else take)
        await until(lambda: bool(seen))
        handler.close()
        handler.close()
        may_send.set()
        await anext(client.messages("b"))
        assert client.stats().messages_unclaimed == 1
    assert seen == [b"1"]


@asynchronous
async def test_a_callback_may_close_its_own_handler_and_add_others() -> None:
    seen: list[str] = []

    async with scripted(sends(*numbered(4))) as route, one_connection(route, "c") as client:

        def first(message: Publish) -> None:
            seen.append(f"first {int(message.payload)}")
            handler.close()
            client.on_message("#", second)

        def second(message: Publish) -> None:
            seen.append(f"second {int(message.payload)}")

        handler = client.on_message("a", first)
        await client.publish("begin")
        await until(lambda: len(seen) == 4)
    assert seen == ["first 0", "second 1", "second 2", "second 3"]


@asynchronous
async def test_a_message_goes_to_every_callback_and_stream_that_it_matches() -> None:
    seen: list[str] = []
    async with scripted(sends(Publish("a/b", b"1"))) as route, one_connection(route, "c") as client:
        for topic_filter in ("a/b", "a/+", "#", "b"):
            client.on_message(topic_filter, lambda _, name=topic_filter: seen.append(name))
        await client.publish("begin")
        await anext(client.messages("a/#"))
    assert sorted(seen) == ["#", "a/+", "a/b"]


@pytest.mark.parametrize("is_async", [False, True])
@asynchronous
async def test_what_nobody_takes_goes_to_the_one_for_the_unmatched_even_if_it_came_before(is_async: bool) -> None:
    seen: list[str] = []
    may_send = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(Publish("early/1"), Publish("a"), Publish("early/2", b"", qos=1, packet_id=1))
        assert await peer.receive() == PubAck(1)
        await may_send.wait()
        peer.send(Publish("late"), Publish("$direct", b"", qos=1, packet_id=2), Publish("a"))
        assert await peer.receive() == PubAck(2)
        await peer.answer_pings_until_close()

    def take(message: Publish) -> None:
        seen.append(message.topic)

    async def take_async(message: Publish) -> None:
        take(message)

    async with scripted(script) as route, one_connection(route, "c") as client:
        messages = client.messages("a")
        await anext(messages)
        await until(lambda: client.stats().messages_unclaimed == 2)
        replaced = client.on_unmatched(lambda message: seen.append(f"replaced {message.topic}"))
        assert seen == ["replaced early/1", "replaced early/2"]
        client.on_unmatched(take_async if is_async else take)
        replaced.close()
        may_send.set()
        await anext(messages)
        await until(lambda: len(seen) == 4)
        assert client.stats().messages_unclaimed == 0
    assert seen[2:] == ["late", "$direct"]


@asynchronous
async def test_each_of_more_topics_than_are_remembered_goes_to_its_own_takers() -> None:
    seen: dict[str, list[str]] = {"even": [], "odd": []}
    packets = [Publish(f"{('even', 'odd')[at % 2]}/{at % 1500}") for at in range(3000)]
    async with scripted(sends(*packets)) as route, one_connection(route, "c") as client:
        for name, topics in seen.items():
            client.on_message(f"{name}/+", lambda message, topics=topics: topics.append(message.topic))
        await client.publish("begin")
        await until(lambda: len(seen["even"]) + len(seen["odd"]) == 3000)
    assert seen["even"] == [f"even/{at % 1500}" for at in range(0, 3000, 2)]
    assert seen["odd"] == [f"odd/{at % 1500}" for at in range(1, 3000, 2)]


@asynchronous
async def test_a_stream_that_another_thread_lets_go_of_takes_nothing_more() -> None:
    async with scripted(sends(*numbered(2))) as route, one_connection(route, "c") as client:
        streams = [client.messages("a")]
        await asyncio.to_thread(streams.clear)
        await client.publish("begin")
        await until(lambda: client.stats().messages_received == 2)
        assert client.stats().messages_unclaimed == 2


def test_a_callback_with_impossible_options_is_refused() -> None:
    from iotwire import Broker, Client

    client = Client(Broker("broker.example", 1883), "c")

    async def callback(message: Publish) -> None: ...

    for options in ({"max_messages": 0}, {"max_bytes": -1}, {"when_full": "wait"}, {"when_full": None}):
        with pytest.raises(EncodeError) as caught:
            client.on_message("a", callback, **options)  # type: ignore[arg-type]
        assert caught.value.field in options
    for function in (callback, print):
        with pytest.raises(EncodeError):
            client.on_message("a/#/b", function)


# Acknowledging by hand.


@pytest.mark.parametrize("taker", ["stream", "plain callback", "async callback", "unmatched"])
@asynchronous
async def test_an_acknowledgement_by_hand_leaves_when_it_is_given_in_the_order_of_arrival(taker: str) -> None:
    answers: list[Any] = []
    taken: list[Publish] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        peer.send(*numbered(3, "a", qos=1), Publish("a", b"3", qos=2, packet_id=4), Publish("a", b"qos 0"))
        while (packet := await peer.receive()) is not None:
            answers.append(packet)
            if isinstance(packet, PubRec):
                peer.send(PubRel(packet.packet_id))

    async def take_async(message: Publish) -> None:
        taken.append(message)

    async with scripted(script) as route, one_connection(route, "c") as client:
        if taker == "stream":
            messages = client.messages("a", manual_acknowledgement=True)
            await client.publish("begin")
            taken += [await anext(messages) for _ in range(5)]
        elif taker == "unmatched":
            client.on_unmatched(taken.append, manual_acknowledgement=True)
            await client.publish("begin")
        else:
            callback = taken.append if taker == "plain callback" else take_async
            client.on_message("a", callback, manual_acknowledgement=True)
            await client.publish("begin")
        await until(lambda: len(taken) == 5)
        await client.publish("nothing so far")
        client.acknowledge(taken[1])
        client.acknowledge(taken[4])  # QoS 0, and once more: nothing
        client.acknowledge(taken[1])
        await client.publish("nothing still")
        await until(lambda: len(answers) == 2)
        client.acknowledge(taken[0])
        await until(lambda: len(answers) == 4)
        client.acknowledge(taken[3])
        client.acknowledge(taken[2])
        await until(lambda: len(answers) == 7)
    assert [type(each) for each in answers[:2]] == [Publish, Publish]
    assert answers[2:7] == [PubAck(1), PubAck(2), PubAck(3), PubRec(4), PubComp(4)]


@asynchronous
async def test_a_message_that_several_take_is_acknowledged_when_the_last_one_has_done_so() -> None:
    answers: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        peer.send(*numbered(2, "a", qos=1))
        while (packet := await peer.receive()) is not None:
            answers.append(packet)

    async with scripted(script) as route, one_connection(route, "c") as client:
        by_hand = client.messages("a", manual_acknowledgement=True)
        by_itself = client.messages("#")
        await client.publish("begin")
        taken = [await anext(by_hand) for _ in range(2)]
        assert (await anext(by_itself)) is taken[0]
        await client.publish("nothing so far")
        await until(lambda: len(answers) == 1)
        for message in taken:
            client.acknowledge(message)
        await until(lambda: len(answers) == 3)
    assert answers[1:3] == [PubAck(1), PubAck(2)]


@BOTH_VERSIONS
@asynchronous
async def test_what_was_not_acknowledged_comes_again_on_the_next_connection(version: int) -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        peer.send(*numbered(3, "a", qos=1))
        assert await peer.receive() == PubAck(1)

    async def second(peer: Peer) -> None:
        await peer.accept(session_present=True)
        peer.send(*(Publish("a", b"%d" % at, qos=1, packet_id=at + 1, dup=True) for at in (1, 2)))
        assert [await peer.receive() for _ in range(2)] == [PubAck(2), PubAck(3)]
        peer.send(Publish("a", b"end"))
        await peer.answer_pings_until_close()

    options: dict[str, Any] = {"clean_start": False} if version == 4 else {"session_expiry_interval": 60}
    async with (
        scripted(in_turn(first, second), version=version) as route,
        reconnecting(route, "c", version=version, **options) as client,
    ):
        messages = client.messages("a", manual_acknowledgement=True)
        early = [await anext(messages) for _ in range(3)]
        client.acknowledge(early[0])
        await until(lambda: client.stats().connections == 2)
        client.acknowledge(early[1])  # of the connection that is gone: it comes again
        again = [await anext(messages) for _ in range(2)]
        assert [(each.payload, each.dup) for each in again] == [(b"1", True), (b"2", True)]
        for message in again:
            client.acknowledge(message)
        assert (await anext(messages)).payload == b"end"


@asynchronous
async def test_a_stream_that_is_closed_does_not_acknowledge_what_is_to_be_acknowledged_by_hand() -> None:
    answers: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)
        peer.send(*numbered(2, "a", qos=1))
        while (packet := await peer.receive()) is not None:
            answers.append(packet)

    async with scripted(script) as route, one_connection(route, "c") as client:
        messages = client.messages("a", manual_acknowledgement=True)
        await client.publish("begin")
        message = await anext(messages)
        messages.close()
        await client.publish("nothing so far")
        await until(lambda: len(answers) == 1)
        client.acknowledge(message)
        await until(lambda: len(answers) == 2)
    assert answers[1] == PubAck(1)
