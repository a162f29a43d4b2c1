"""Many messages with one call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from iotwire import ConnectionLostError, EncodeError, PublishError
from iotwire.mqtt import PubAck, Publish
from scripted import Peer, Taking, asynchronous, in_turn, one_connection, reconnecting, scripted, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])


class Counted:
    """Pairs without an end, or as many as asked for, which know how many were taken."""

    def __init__(self, count: int = 1 << 30, size: int = 0) -> None:
        self._left = count
        self._size = size
        self.taken = 0

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        while self._left:
            self._left -= 1
            self.taken += 1
            yield "a", b"%d" % self.taken + b"x" * self._size

    async def __aiter__(self) -> AsyncIterator[tuple[str, bytes]]:
        for item in self.__iter__():
            yield item


class Both:
    """The same, for those that would rather have only one of the two."""

    @staticmethod
    def plain(counted: Counted) -> Iterator[tuple[str, bytes]]:
        yield from counted.__iter__()

    @staticmethod
    def asynchronous(counted: Counted) -> AsyncIterator[tuple[str, bytes]]:
        return counted.__aiter__()


KINDS: dict[str, Callable[[Counted], Any]] = {
    "generator": Both.plain,
    "async generator": Both.asynchronous,
    "list": lambda counted: list(counted.__iter__()),
}
ENDLESS = [name for name in KINDS if name != "list"]


@BOTH_VERSIONS
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("qos", [0, 1, 2])
@asynchronous
async def test_all_of_an_iterable_arrives_in_order(version: int, kind: str, qos: int) -> None:
    server = Taking()
    async with (
        scripted(server, version=version) as route,
        one_connection(route, "c", version=version, max_in_flight=10) as client,
    ):
        report = await client.publish_many(KINDS[kind](Counted(250)), qos=qos, retain=True)
        assert (report.acknowledged, report.failures) == (250, [])
        assert repr(report) == "<PublishReport acknowledged=250 failures=0>"
        assert (await client.publish_many([], qos=qos)).acknowledged == 0
        await until(lambda: len(server.seen) == 250)
        assert client.stats().messages_queued == 0
    assert server.payloads == [b"%d" % at for at in range(1, 251)]
    assert {(each.topic, each.qos, each.retain) for each in server.seen} == {("a", qos, True)}


@asynchronous
async def test_packets_have_their_own_options_and_pairs_those_of_the_call() -> None:
    given: dict[str, Any] = {
        "payload_format_indicator": 1,
        "message_expiry_interval": 60,
        "response_topic": "answers",
        "correlation_data": b"7",
        "user_properties": (("k", "1"), ("k", "2")),
        "content_type": "text/plain",
    }
    server = Taking()
    async with scripted(server) as route, one_connection(route, "c") as client:
        report = await client.publish_many(
            [("a", b"0"), Publish("b", b"1", qos=2, retain=True, **given), ["c", bytearray(b"2")], Publish("d", b"3")],
            qos=1,
        )
        assert report.acknowledged == 4
        await until(lambda: len(server.seen) == 4)
    assert server.seen == [
        Publish("a", b"0", qos=1, packet_id=1),
        Publish("b", b"1", qos=2, retain=True, packet_id=2, **given),
        Publish("c", b"2", qos=1, packet_id=3),
        Publish("d", b"3"),
    ]


@pytest.mark.parametrize("qos", [1, 2])
@asynchronous
async def test_what_the_server_refuses_is_told_with_its_item(qos: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        for at in range(6):
            packet = await peer.expect(Publish)
            code = 0x97 if at % 3 == 1 else 0
            if qos == 1:
                peer.send(PubAck(packet.packet_id, code))
            elif code:
                peer.send(b"\x50\x03" + (packet.packet_id or 0).to_bytes(2, "big") + bytes([code]))
            else:
                peer.send(b"\x50\x02" + (packet.packet_id or 0).to_bytes(2, "big"))
                peer.send(b"\x70\x02" + ((await peer.receive()).packet_id).to_bytes(2, "big"))  # type: ignore[union-attr]
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c", max_in_flight=1) as client:
        report = await client.publish_many(Counted(6).__iter__(), qos=qos)
    assert report.acknowledged == 4
    assert [item for item, _ in report.failures] == [("a", b"2"), ("a", b"5")]
    assert [(type(error), error.reason_code) for _, error in report.failures] == [(PublishError, 0x97)] * 2


@pytest.mark.parametrize("qos", [0, 1, 2])
@asynchronous
async def test_what_is_no_message_is_a_failure_and_the_others_go_out(qos: int) -> None:
    bad: list[Any] = [
        None,
        7,
        "ab",
        ("a",),
        ("a", b"", 1),
        ("a/#", b""),
        (5, b""),
        (None, b""),
        ("a", "text"),
        ("a", None),
        ("a", 5),
        ["a", 5],
        ("", b""),
        ("nul\0", b""),
        Publish("a", subscription_identifiers=(1,)) if qos else ("x" * 65536, b""),
    ]
    good = ("good", b"")
    server = Taking()
    async with scripted(server) as route, one_connection(route, "c") as client:
        items = [each for item in bad for each in (good, item)]
        report = await client.publish_many(items, qos=qos)
        await until(lambda: len(server.seen) >= len(bad))
        assert [item for item, _ in report.failures] == [item for item in bad if not isinstance(item, Publish)]
        assert all(isinstance(error, EncodeError) for _, error in report.failures)
        assert report.acknowledged == len(items) - len(report.failures)
        assert client.stats().messages_queued == 0


@asynchronous
async def test_what_the_iterable_raises_comes_through_and_the_client_goes_on() -> None:
    def failing() -> Iterator[tuple[str, bytes]]:
        yield "a", b"1"
        raise KeyError("of the application")

    server = Taking()
    async with scripted(server) as route, one_connection(route, "c") as client:
        for qos in range(3):
            with pytest.raises(KeyError, match="of the application"):
                await client.publish_many(failing(), qos=qos)
        await client.publish("a", b"end", 1)
    assert server.payloads == [b"1", b"1", b"1", b"end"]


# Bounds.


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize(
    ("options", "most"),
    [({"max_queued": 7}, 7), ({"max_in_flight": 2}, 8), ({"max_in_flight": 1, "max_queued": 100}, 4)],
)
@asynchronous
async def test_an_iterable_is_read_no_further_than_there_is_room(kind: str, options: dict[str, int], most: int) -> None:
    server = Taking()
    counted = Counted()
    async with scripted(server) as route, one_connection(route, "c", **options) as client:
        server.may_answer.clear()
        publishing = asyncio.create_task(client.publish_many(KINDS[kind](counted), qos=1))
        await until(lambda: bool(server.seen))
        assert client.stats().messages_queued <= most
        assert counted.taken <= most + 1
        server.may_answer.set()
        await until(lambda: len(server.seen) > 5 * most)
        assert counted.taken <= len(server.seen) + most + 1
        assert client.stats().peak_queued <= most
        publishing.cancel()
        await asyncio.wait([publishing])


@pytest.mark.parametrize("kind", ENDLESS)
@asynchronous
async def test_qos_0_is_held_back_by_a_server_that_does_not_read(kind: str) -> None:
    has_stopped = asyncio.Event()
    counted = Counted(size=10_000)

    async def script(peer: Peer) -> None:
        await peer.accept()
        await has_stopped.wait()

    async with scripted(script) as route, one_connection(route, "c", max_in_flight=2) as client:
        publishing = asyncio.create_task(client.publish_many(KINDS[kind](counted)))
        taken = -1
        while taken != counted.taken:  # what the sockets' buffers hold, and a few of our own
            taken = counted.taken
            await asyncio.sleep(0.05)
        assert 0 < taken < 10_000
        has_stopped.set()
        report = await publishing
        assert not client.is_connected
    assert counted.taken <= taken + 20
    assert report.acknowledged + len(report.failures) == counted.taken


@pytest.mark.parametrize("qos", [0, 1])
@asynchronous
async def test_other_tasks_run_while_many_messages_leave(qos: int) -> None:
    server = Taking()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with scripted(server) as route, one_connection(route, "c") as client:
        counting = asyncio.create_task(count_turns())
        await client.publish_many(Counted(3000, 100).__iter__(), qos=qos)
        counting.cancel()
        await until(lambda: len(server.seen) == 3000)
    assert turns > 3


# Ends.


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("qos", [0, 1, 2])
@asynchronous
async def test_a_call_that_is_cancelled_midway_takes_no_more_and_leaves_the_client_usable(kind: str, qos: int) -> None:
    server = Taking()
    counted = Counted(size=1000)
    async with scripted(server) as route, one_connection(route, "c") as client:
        publishing = asyncio.create_task(client.publish_many(KINDS[kind](counted), qos=qos))
        await until(lambda: len(server.seen) > 50)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        taken = counted.taken
        await client.publish("a", b"end", 1)
        assert counted.taken == taken
        assert await client.disconnect() == []
    assert server.payloads[-1] == b"end"


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("qos", [0, 1, 2])
@asynchronous
async def test_a_client_that_is_closed_midway_reports_what_became_of_each(kind: str, qos: int) -> None:
    server = Taking()
    counted = Counted(size=1000)
    async with scripted(server) as route:
        client = one_connection(route, "c", max_in_flight=4)
        await client.connect()
        publishing = asyncio.create_task(client.publish_many(KINDS[kind](counted), qos=qos))
        await until(lambda: len(server.seen) > 50)
        await client.disconnect()
        report = await publishing
    assert report.acknowledged >= 50 - 16
    assert report.acknowledged + len(report.failures) == counted.taken
    assert {type(error) for _, error in report.failures} == {ConnectionLostError}
    with pytest.raises(ConnectionLostError):
        await client.publish_many([("a", b"")], qos=qos)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("qos", [0, 1, 2])
@asynchronous
async def test_a_connection_that_is_lost_midway_costs_no_message_of_qos_1_and_2(kind: str, qos: int) -> None:
    seen: list[bytes] = []

    async def losing(peer: Peer) -> None:
        await peer.accept()
        for _ in range(30 if qos < 2 else 8):  # QoS 2 stays in flight, and so no more come
            packet = await peer.expect(Publish)
            seen.append(bytes(packet.payload))
            if qos == 1:
                peer.send(PubAck(packet.packet_id))

    server = Taking()
    async with (
        scripted(in_turn(losing, losing, server)) as route,
        reconnecting(route, "c", max_in_flight=8) as client,
    ):
        report = await client.publish_many(KINDS[kind](Counted(200, 10_000 if not qos else 0)), qos=qos)
        assert (report.acknowledged, report.failures) == (200, [])
        if qos:
            assert client.stats().connections == 3
            assert {int(payload) for payload in (*seen, *server.payloads)} == set(range(1, 201))
        assert client.undelivered == []
