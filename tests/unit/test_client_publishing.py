"""Publishing without waiting, with bounds, and many at once."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest

from iotwire import (
    Client,
    ConnectionLostError,
    EncodeError,
    OutboxFullError,
    PublishError,
)
from iotwire.mqtt import PubAck, Publish, ReasonCode
from scripted import Peer, Taking, asynchronous, in_turn, one_connection, reconnecting, scripted, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])


# Receipts.


@BOTH_VERSIONS
@asynchronous
async def test_a_receipt_tells_when_a_message_is_safe(version: int) -> None:
    server = Taking()
    async with scripted(server, version=version) as route, one_connection(route, "c", version=version) as client:
        server.may_answer.clear()
        receipts = [client.publish_nowait("a", b"%d" % qos, qos) for qos in range(3)]
        assert [receipt.is_done for receipt in receipts] == [True, False, False]
        assert receipts[0].reason_code == ReasonCode.SUCCESS
        assert repr(receipts[1]) == "<Receipt waiting>"
        server.may_answer.set()
        # By several at once, and once more when it is done.
        assert await asyncio.gather(*(_await(receipt) for receipt in receipts * 2)) == [ReasonCode.SUCCESS] * 6
        assert [await receipt for receipt in receipts] == [ReasonCode.SUCCESS] * 3
        assert all(receipt.error is None for receipt in receipts)
    assert server.payloads == [b"0", b"1", b"2"]


async def _await(receipt: Any) -> Any:
    return await receipt


@asynchronous
async def test_a_receipt_tells_what_the_server_says() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        for code in (0x10, 0x97):
            peer.send(PubAck((await peer.expect(Publish)).packet_id, code))
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c") as client:
        nobody, refused = client.publish_nowait("a", b"", 1), client.publish_nowait("a", b"secret", 1)
        assert await nobody == ReasonCode.NO_MATCHING_SUBSCRIBERS
        for _ in range(2):
            with pytest.raises(PublishError) as caught:
                await refused
        assert caught.value.reason_code == 0x97
        assert refused.error is caught.value
        assert refused.reason_code is None
        assert "QUOTA_EXCEEDED" in repr(refused)
        assert "secret" not in repr(refused)


@asynchronous
async def test_a_receipt_that_nobody_awaits_is_no_mistake(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.send(PubAck((await peer.expect(Publish)).packet_id, 0x97))
        await peer.expect(Publish)

    async with scripted(script) as route, one_connection(route, "c") as client:
        client.publish_nowait("a", b"", 1)
        client.publish_nowait("a", b"", 1)
        await until(lambda: not client.is_connected)
        gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


@asynchronous
async def test_awaiting_a_receipt_can_be_given_up() -> None:
    server = Taking()
    async with scripted(server) as route, one_connection(route, "c") as client:
        server.may_answer.clear()
        receipt = client.publish_nowait("a", b"1", 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_await(receipt), 0.01)
        server.may_answer.set()
        assert await receipt == ReasonCode.SUCCESS


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("a/#", b""), EncodeError),
        (("a", "text"), EncodeError),
        (("a", b"", 3), EncodeError),
        (("a", b"", 2), PublishError),
        (("a", b"", 0, True), PublishError),
        (("a", b"x" * 200), PublishError),
    ],
)
@asynchronous
async def test_what_cannot_be_sent_is_refused_at_once(arguments: Any, error: type[Exception]) -> None:
    server = Taking(maximum_qos=1, retain_available=False, maximum_packet_size=100)
    async with scripted(server) as route, one_connection(route, "c") as client:
        with pytest.raises(error):
            client.publish_nowait(*arguments)
        with pytest.raises(error):
            await client.publish(*arguments)
        [failure] = (await client.publish_many([Publish("a"), ("a", b"good"), arguments])).failures[-1:]
        assert failure[0] == arguments
        assert client.stats().messages_queued == 0


@asynchronous
async def test_a_receipt_fails_with_the_client_and_none_is_given_without_one() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(Publish)

    async with scripted(script) as route:
        client = one_connection(route, "c")
        with pytest.raises(ConnectionLostError, match="not connected"):
            client.publish_nowait("a")
        async with client:
            receipt = client.publish_nowait("a", b"", 1)
            with pytest.raises(ConnectionLostError):
                await receipt
            for qos in range(3):
                with pytest.raises(ConnectionLostError):
                    client.publish_nowait("a", b"", qos)


# The bound.


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("bound", [{"max_queued": 3}, {"max_queued_bytes": 250}], ids=["messages", "bytes"])
@asynchronous
async def test_a_full_queue_refuses_until_there_is_room(qos: int, bound: dict[str, int]) -> None:
    server = Taking()
    async with scripted(server) as route, one_connection(route, "c", **bound) as client:
        server.may_answer.clear()
        receipts = [client.publish_nowait("a", b"x" * 90, qos) for _ in range(3)]
        with pytest.raises(OutboxFullError):
            client.publish_nowait("a", b"x" * 90, qos)
        draining = asyncio.create_task(client.drain())
        await until(lambda: bool(server.seen))
        assert not draining.done()
        server.may_answer.set()
        await draining
        receipts.append(client.publish_nowait("a", b"x" * 90, qos))
        for receipt in receipts:
            await receipt
    assert len(server.seen) == 4


@pytest.mark.parametrize("qos", [0, 1])
@asynchronous
async def test_messages_that_wait_for_a_connection_are_bounded_too(qos: int) -> None:
    may_accept = asyncio.Event()
    server = Taking()

    async def second(peer: Peer) -> None:
        await may_accept.wait()
        await server(peer)

    async with (
        scripted(in_turn(lambda peer: peer.accept(), second)) as route,
        reconnecting(route, "c", max_queued=3) as client,
    ):
        await until(lambda: not client.is_connected)
        receipts = [client.publish_nowait("a", b"%d" % at, qos) for at in range(3)]
        with pytest.raises(OutboxFullError):
            client.publish_nowait("a", b"3", qos)
        waiting = asyncio.create_task(client.publish("a", b"4", qos))
        may_accept.set()
        await waiting
        for receipt in receipts:
            await receipt
        await until(lambda: len(server.seen) == 4)
        assert client.stats().peak_queued == 3
    assert server.payloads == [b"0", b"1", b"2", b"4"]


def publish_until_refused(client: Client, payload: bytes) -> None:
    for _ in range(10_000):
        client.publish_nowait("a", payload)


@asynchronous
async def test_qos_0_to_a_server_that_does_not_read_is_bounded() -> None:
    is_stuck = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await is_stuck.wait()
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c", max_queued_bytes=256 * 1024) as client:
        payload = b"x" * 16384
        with pytest.raises(OutboxFullError, match="bytes wait to be written"):
            publish_until_refused(client, payload)
        draining = asyncio.create_task(client.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        is_stuck.set()
        await draining
        client.publish_nowait("a", b"x" * 16384)


@asynchronous
async def test_all_that_was_taken_while_the_server_did_not_read_arrives_in_order() -> None:
    may_read = asyncio.Event()
    arrived: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await may_read.wait()
        while isinstance(packet := await peer.receive(), Publish):
            arrived.append(int(packet.payload))
            if packet.packet_id is not None:
                peer.send(PubAck(packet.packet_id))

    async with scripted(script) as route, one_connection(route, "c") as client:
        taken = 0
        for _ in range(3):
            with suppress(OutboxFullError):
                while True:
                    client.publish_nowait("a", b"%01000d" % taken)
                    taken += 1
            may_read.set()
            await client.drain()
        assert await client.publish("a", b"%d" % taken, 1) == 0
    assert taken * 1000 > 8 * 1024 * 1024
    assert arrived == list(range(taken + 1))


@asynchronous
async def test_publishers_that_wait_for_room_go_in_order() -> None:
    server = Taking()
    async with scripted(server) as route, one_connection(route, "c", max_queued=2) as client:
        server.may_answer.clear()
        waiting = [asyncio.create_task(client.publish("a", b"%d" % at, 1 + at % 2)) for at in range(20)]
        await until(lambda: bool(server.seen))
        assert client.stats().messages_queued == 2
        server.may_answer.set()
        await asyncio.gather(*waiting)
        assert client.stats().peak_queued == 2
    assert server.payloads == [b"%d" % at for at in range(20)]


@asynchronous
async def test_waiting_for_room_ends_with_the_client() -> None:
    server = Taking()
    async with scripted(server) as route:
        client = one_connection(route, "c", max_queued=1, close_timeout_s=0.1)
        await client.connect()
        server.may_answer.clear()
        waiting = [asyncio.create_task(client.publish("a", b"", 1)) for _ in range(3)]
        waiting.append(asyncio.create_task(client.drain()))
        await until(lambda: bool(server.seen))
        await client.disconnect()
        server.may_answer.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ConnectionLostError] * 4


@asynchronous
async def test_a_message_that_waited_is_refused_by_the_connection_that_rules_it_out() -> None:
    may_accept = asyncio.Event()

    async def second(peer: Peer) -> None:
        await may_accept.wait()
        await Taking(retain_available=False, maximum_packet_size=50)(peer)

    async with scripted(in_turn(lambda peer: peer.accept(), second)) as route, reconnecting(route, "c") as client:
        await until(lambda: not client.is_connected)
        receipts = [client.publish_nowait("a", b"", 0, True), client.publish_nowait("a", b"x" * 50, 1)]
        good = client.publish_nowait("a", b"", 1)
        may_accept.set()
        for receipt, code in zip(receipts, (0x9A, 0x95), strict=True):
            with pytest.raises(PublishError) as caught:
                await receipt
            assert caught.value.reason_code == code
        assert await good == ReasonCode.SUCCESS


# Cancelled.


@asynchronous
async def test_a_cancelled_publish_that_was_not_sent_is_never_sent() -> None:
    server = Taking()
    may_accept = asyncio.Event()

    async def second(peer: Peer) -> None:
        await may_accept.wait()
        await server(peer)

    async with (
        scripted(in_turn(lambda peer: peer.accept(), second)) as route,
        reconnecting(route, "c", max_queued=4) as client,
    ):
        await until(lambda: not client.is_connected)
        # QoS 0 and what follows it waits in the client; the first of QoS 1 in the session; the last two for room.
        tasks = [asyncio.create_task(client.publish("a", b"%d" % at, qos)) for at, qos in enumerate((1, 2, 0, 1, 0, 1))]
        await until(lambda: client.stats().messages_queued == 4)
        for at in (1, 2, 4):
            tasks[at].cancel()
        await asyncio.wait([tasks[at] for at in (1, 2, 4)])
        await until(lambda: client.stats().messages_queued == 3)
        may_accept.set()
        await asyncio.gather(*(tasks[at] for at in (0, 3, 5)))
        await client.publish("a", b"end", 1)
    assert server.payloads == [b"0", b"3", b"5", b"end"]


@asynchronous
async def test_a_cancelled_publish_that_was_sent_keeps_its_place_until_it_is_answered() -> None:
    server = Taking(receive_maximum=1)
    async with scripted(server) as route, one_connection(route, "c") as client:
        server.may_answer.clear()
        tasks = [asyncio.create_task(client.publish("a", b"%d" % at, 1)) for at in range(3)]
        await until(lambda: bool(server.seen))
        tasks[0].cancel()  # on its way
        tasks[1].cancel()  # waits for a place
        await asyncio.wait(tasks[:2])
        assert client.stats().messages_queued == 2
        server.may_answer.set()
        await tasks[2]
    assert server.payloads == [b"0", b"2"]


@asynchronous
async def test_room_that_is_given_to_a_cancelled_publisher_goes_to_the_next() -> None:
    server = Taking()
    async with scripted(server) as route, one_connection(route, "c", max_queued=1) as client:
        server.may_answer.clear()
        tasks = [asyncio.create_task(client.publish("a", b"%d" % at, 1)) for at in range(3)]
        await until(lambda: bool(server.seen))
        server.may_answer.set()
        tasks[0].add_done_callback(lambda _: tasks[1].cancel())  # in the turn in which it is given room
        await asyncio.wait(tasks)
        assert tasks[2].result() == ReasonCode.SUCCESS
