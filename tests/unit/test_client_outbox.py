"""Both clients with an outbox: publishing stores, and what is stored leaves the disk when its server has it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import scripted_threads
from iotwire import AwsIotLimits, Backoff, BlockingClient, Broker, Client
from iotwire.client.base import ClientBase
from iotwire.client.link import Link
from iotwire.errors import ConnectError, EncodeError, OutboxError, OutboxFullError, PublishError, RequestTimeoutError
from iotwire.mqtt import ConnAck, Connect, Disconnect, PubAck, PubComp, Publish, PubRec, PubRel, ReasonCode
from iotwire.outbox import Outbox
from iotwire.outbox.store import Store
from scripted import Peer, Taking, asynchronous, in_turn, scripted, until

QUICK = Backoff(base_s=0.001, max_s=0.008)
storing: Callable[..., Client] = partial(Client, reconnect=QUICK, drain_timeout_s=0.0)
storing_blocking: Callable[..., BlockingClient] = partial(BlockingClient, reconnect=QUICK, drain_timeout_s=0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def stored_in(path: Path) -> int:
    with Outbox(path) as outbox:
        return outbox.stats().messages


async def says_nothing(peer: Peer) -> None:
    """A server that takes whatever comes, and acknowledges none of it."""
    await peer.accept()
    while not isinstance(await peer.receive(), Disconnect | None):
        pass


@asynccontextmanager
async def no_server() -> AsyncIterator[Broker]:
    """Where nobody listens, but nobody else will."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    yield Broker("127.0.0.1", server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()


# Into the outbox.


@pytest.mark.parametrize("qos", [1, 2])
@asynchronous
async def test_publish_returns_when_the_message_is_stored_and_it_leaves_the_disk_when_its_handshake_is_over(
    qos: int, path: Path
) -> None:
    steps = [asyncio.Event(), asyncio.Event()]

    async def script(peer: Peer) -> None:
        await peer.accept()
        publish = await peer.expect(Publish)
        await steps[0].wait()
        if qos == 2:
            peer.send(PubRec(publish.packet_id))
            await peer.expect(PubRel)
            await steps[1].wait()
            peer.send(PubComp(publish.packet_id))
        else:
            await steps[1].wait()
            peer.send(PubAck(publish.packet_id))
        await peer.expect(Disconnect)

    async with scripted(script) as route, storing(route, "c", outbox=Outbox(path)) as client:
        assert await client.publish("a", b"1", qos) is ReasonCode.SUCCESS
        stats = client.stats().outbox
        assert stats is not None
        assert (stats.messages, stats.stored, stats.delivered) == (1, 1, 0)
        for step in steps:
            assert client.stats().outbox.messages == 1
            step.set()
        await until(lambda: client.stats().outbox.messages == 0)
        assert client.stats().outbox.delivered == 1


@asynchronous
async def test_a_client_starts_without_a_server_and_delivers_when_there_is_one(path: Path) -> None:
    taking = Taking()
    async with no_server() as nowhere, storing(nowhere, "c", outbox=Outbox(path)) as client:
        assert not client.is_connected
        for number in range(3):
            await client.publish("a", b"%d" % number, 1)
        receipt = client.publish_nowait("a", b"3", 2, urgent=True)
        assert not receipt.is_stored
        assert await receipt is ReasonCode.SUCCESS
        assert receipt.is_stored
        assert client.undelivered == []
    assert stored_in(path) == 4
    async with scripted(taking) as route, storing(route, "d", outbox=Outbox(path)) as client:
        await until(lambda: client.stats().outbox.messages == 0)
    assert taking.payloads == [b"0", b"1", b"2", b"3"]
    assert [each.qos for each in taking.seen] == [1, 1, 1, 2]
    assert stored_in(path) == 0


@asynchronous
async def test_what_no_server_has_acknowledged_is_for_the_next_client_whatever_its_id(path: Path) -> None:
    taking = Taking()
    async with scripted(in_turn(says_nothing, taking)) as route:
        async with storing(route, "c", outbox=Outbox(path), max_in_flight=3) as client:
            report = await client.publish_many((("a", b"%d" % number) for number in range(20)), qos=1)
            assert (report.acknowledged, report.failures) == (20, [])
            await until(lambda: client.stats().messages_queued == 6)  # of the others none is in memory
        assert stored_in(path) == 20
        async with storing(route, "another", outbox=Outbox(path)) as client:
            await until(lambda: client.stats().outbox.messages == 0)
    assert taking.payloads == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize("is_kept_open", [False, True], ids=["its own outbox", "an outbox that was open"])
@pytest.mark.parametrize("has_session", [False, True], ids=["a new session", "the same session"])
@asynchronous
async def test_a_client_that_begins_again_sends_what_it_holds_once(
    path: Path, has_session: bool, is_kept_open: bool
) -> None:
    taking = Taking(session_present=has_session)
    outbox = Outbox(path)
    if is_kept_open:
        outbox.open()
    with closing(outbox):
        async with scripted(in_turn(says_nothing, taking)) as route:
            client = storing(route, "c", outbox=outbox, max_in_flight=3, clean_start=False, session_expiry_interval=60)
            async with client:
                await client.publish_many((("a", b"%d" % number) for number in range(20)), qos=1)
                await until(lambda: client.stats().messages_queued == 6)
            assert outbox.is_open == is_kept_open
            async with client:
                await until(lambda: client.stats().outbox.messages == 0)
                assert client.stats().messages_queued == 0
        assert taking.payloads == [b"%d" % number for number in range(20)]
        assert [each.dup for each in taking.seen] == [has_session] * 3 + [False] * 17


@asynchronous
async def test_a_lost_session_loses_no_stored_message(path: Path) -> None:
    """The server forgets everything with each connection, and answers some messages before it goes."""
    seen: list[bytes] = []

    async def forgetful(peer: Peer) -> None:
        await peer.accept(session_present=False)
        for _ in range(7):
            publish = await peer.receive()
            if isinstance(publish, Publish):
                seen.append(bytes(publish.payload))
                peer.send(PubAck(publish.packet_id))

    async with scripted(forgetful) as route:
        async with storing(route, "c", outbox=Outbox(path), max_in_flight=5) as client:
            await client.publish_many((("a", b"%d" % number) for number in range(50)), qos=1)
            await until(lambda: client.stats().outbox.messages == 0)
        assert sorted({int(each) for each in seen}) == list(range(50))


@asynchronous
async def test_messages_leave_by_priority(path: Path) -> None:
    taking = Taking()
    async with no_server() as nowhere, storing(nowhere, "c", outbox=Outbox(path)) as client:
        await client.publish("log", b"1", 1, priority=1)
        await client.publish("reading", b"2", 1)
        await client.publish("alarm", b"3", 1, priority=9, urgent=True)
    async with scripted(taking) as route, storing(route, "c", outbox=Outbox(path)) as client:
        await until(lambda: client.stats().outbox.messages == 0)
    assert [each.topic for each in taking.seen] == ["alarm", "reading", "log"]


@asynchronous
async def test_qos_0_is_stored_too_until_it_is_written_to_a_connection(path: Path) -> None:
    taking = Taking()
    async with no_server() as nowhere, storing(nowhere, "c", outbox=Outbox(path)) as client:
        await client.publish("a", b"1")
    assert stored_in(path) == 1
    async with scripted(taking) as route, storing(route, "c", outbox=Outbox(path)) as client:
        await until(lambda: bool(taking.seen))
        await until(lambda: client.stats().outbox.messages == 0)
    assert [(each.qos, each.payload) for each in taking.seen] == [(0, b"1")]


# What is not stored.


async def _publish(client: Client, *arguments: Any, **keywords: Any) -> None:
    await client.publish(*arguments, **keywords)


async def _publish_nowait(client: Client, *arguments: Any, **keywords: Any) -> None:
    await client.publish_nowait(*arguments, **keywords)


@pytest.mark.parametrize("publish", [_publish, _publish_nowait])
@pytest.mark.parametrize(
    ("field", "arguments", "keywords"),
    [
        ("topic", ("a/+",), {}),
        ("qos", ("a", b"", 3), {}),
        ("qos", ("a", b"", 2), {}),  # the limits of the service
        ("payload", ("a", b"x" * 200_000, 1), {}),  # likewise
        ("priority", ("a", b"", 1), {"priority": 10}),
        ("subscription_identifiers", ("a", b"", 1), {"subscription_identifiers": (1,)}),
    ],
)
@asynchronous
async def test_what_could_never_be_sent_is_refused_before_it_is_stored(
    publish: Callable[..., Any], field: str, arguments: tuple[Any, ...], keywords: dict[str, Any], path: Path
) -> None:
    async with no_server() as nowhere, storing(nowhere, "c", outbox=Outbox(path), limits=AwsIotLimits()) as client:
        with pytest.raises((EncodeError, PublishError), match=field):
            await publish(client, *arguments, **keywords)
        assert client.stats().outbox.messages == 0


@asynchronous
async def test_publish_many_says_what_was_stored_and_what_not(path: Path) -> None:
    async with no_server() as nowhere, storing(nowhere, "c", outbox=Outbox(path, max_messages=3)) as client:

        async def items() -> AsyncIterator[Any]:
            for topic in ("a", "b/#", "c", "d", "e"):
                yield topic, b"1"

        report = await client.publish_many(items(), qos=1)
        assert report.acknowledged == 3
        assert [(item[0], type(error)) for item, error in report.failures] == [
            ("b/#", EncodeError),
            ("e", OutboxFullError),
        ]
        with pytest.raises(OutboxFullError):
            await client.publish("f", b"1", 1)
        await client.drain()


@asynchronous
async def test_a_request_waits_for_its_answer_and_is_not_stored(path: Path) -> None:
    """Nobody would wait for the answer any more by the time at which the outbox had it sent."""
    async with scripted(says_nothing) as route, storing(route, "c", outbox=Outbox(path)) as client:
        with pytest.raises(RequestTimeoutError):
            await client.request("a", b"?", response_topic="b", timeout_s=0.05)
        assert client.stats().outbox.stored == 0


# What a server will not have.


@asynchronous
async def test_a_message_that_the_server_refuses_is_reported_and_does_not_hold_up_others(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(maximum_packet_size=100)
        refused = await peer.expect(Publish)
        peer.send(PubAck(refused.packet_id, 0x87))
        taken = await peer.expect(Publish)
        assert taken.topic == "c"
        peer.send(PubAck(taken.packet_id))
        await peer.expect(Disconnect)

    async with no_server() as nowhere, storing(nowhere, "c", outbox=Outbox(path)) as client:
        await client.publish_many([("a", b"1"), ("b", b"x" * 200), ("c", b"3")], qos=1)
    async with scripted(script) as route, storing(route, "c", outbox=Outbox(path)) as client:
        await until(lambda: client.stats().outbox.messages == 0)
        stats = client.stats().outbox
        assert (stats.delivered, stats.refused) == (1, 2)
    texts = sorted(each.getMessage() for each in caplog.records if each.levelno == logging.ERROR)
    assert [text.partition(" is given up: ")[0] for text in texts] == ["a stored message on a", "a stored message on b"]
    assert "NOT_AUTHORIZED (0x87)" in texts[0]
    assert "100" in texts[1]


@asynchronous
async def test_a_311_client_sends_what_a_50_client_has_stored_without_properties(path: Path) -> None:
    taking = Taking()
    async with no_server() as nowhere, storing(nowhere, "c", outbox=Outbox(path)) as client:
        await client.publish("a", b"1", 1, content_type="text/plain", message_expiry_interval=60)
    async with scripted(taking, version=4) as route, storing(route, "c", outbox=Outbox(path), version=4) as client:
        with pytest.raises(EncodeError):
            await client.publish("a", b"2", 1, content_type="text/plain")
        await until(lambda: client.stats().outbox.messages == 0)
    assert taking.payloads == [b"1"]


# The end, and who has the outbox.


@asynchronous
async def test_a_client_that_has_given_up_stores_until_it_is_closed(path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()

    async with scripted(script) as route:
        client = storing(route, "c", outbox=Outbox(path), reconnect=None)
        async with client:
            await until(lambda: client.stats().connections == 1 and not client.is_connected)
            await client.publish("a", b"1", 1)
        with pytest.raises(OutboxError, match="is not open"):
            await client.publish("a", b"2", 1)
    assert stored_in(path) == 1


@asynchronous
async def test_connect_waits_for_the_server_and_closes_the_outbox_where_it_gives_up(path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Connect)
        peer.send(ConnAck(reason_code=0x87))

    outbox = Outbox(path)
    async with scripted(script) as route:
        with pytest.raises(ConnectError):
            await storing(route, "c", outbox=outbox, reconnect=None).connect()
        assert not outbox.is_open
    async with scripted(Taking()) as route:
        client = storing(route, "c", outbox=outbox)
        assert (await client.connect()).reason_code == 0
        assert outbox.is_open
        await client.disconnect()
        assert not outbox.is_open


@asynchronous
async def test_an_outbox_gives_its_messages_to_one_client(path: Path) -> None:
    async with no_server() as nowhere:
        with Outbox(path) as outbox:
            async with storing(nowhere, "c", outbox=outbox):
                with pytest.raises(OutboxError, match="another client takes"):
                    await storing(nowhere, "d", outbox=outbox).start()
            assert outbox.is_open
            async with storing(nowhere, "d", outbox=outbox):
                pass
        async with storing(nowhere, "c", outbox=Outbox(path)):
            with pytest.raises(OutboxError, match="one writer"):
                await storing(nowhere, "d", outbox=Outbox(path)).start()


@asynchronous
async def test_a_start_that_is_cancelled_or_comes_twice_leaves_the_outbox_as_it_was(path: Path) -> None:
    outbox = Outbox(path)
    async with no_server() as nowhere:
        client = storing(nowhere, "c", outbox=outbox)
        starting = asyncio.create_task(client.start())
        await asyncio.sleep(0)
        with pytest.raises(ConnectError, match="connecting, already"):
            await client.start()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not outbox.is_open
        async with client:
            with pytest.raises(ConnectError, match="connecting, already"):
                await client.start()
            await client.publish("a", b"1", 1)
        assert not outbox.is_open


def test_the_blocking_client_begins_again_while_its_outbox_gives_messages(path: Path) -> None:
    with scripted_threads.scripted(scripted_threads.serve_all) as route, Outbox(path) as outbox:
        client = storing_blocking(route, "c", outbox=outbox, max_in_flight=1)
        for number in range(30):
            with client:
                client.publish_many([("a", b"%d" % number)] * 5, qos=1)
        with client:
            scripted_threads.until(lambda: client.stats().outbox.messages == 0)


@asynchronous
async def test_closing_waits_for_what_is_in_flight_and_for_no_more(path: Path) -> None:
    taking = Taking()
    patient = partial(Client, max_in_flight=5, drain_timeout_s=10)
    async with scripted(taking) as route, patient(route, "c", outbox=Outbox(path)) as client:
        taking.may_answer.clear()
        await client.publish_many((("a", b"%d" % number) for number in range(100)), qos=1)
        await until(lambda: client.stats().messages_queued == 10)
        closing_task = asyncio.create_task(client.disconnect())
        await asyncio.sleep(0)
        taking.may_answer.set()
        await closing_task
    assert taking.payloads == [b"%d" % number for number in range(10)]
    assert stored_in(path) == 90


# The blocking client.


def test_the_blocking_client_stores_and_delivers(path: Path) -> None:
    serving = scripted_threads.scripted(scripted_threads.serve_all)
    with serving as route, storing_blocking(route, "c", outbox=Outbox(path)) as client:
        assert client.publish("a", b"1", 2) is ReasonCode.SUCCESS
        receipt = client.publish_nowait("a", b"2", 1, urgent=True)
        assert receipt.wait(scripted_threads.BOUND_S) is ReasonCode.SUCCESS
        assert receipt.is_stored
        report = client.publish_many([("a", b"3"), ("b/#", b"4"), ("c", b"5")], qos=1)
        assert report.acknowledged == 2
        assert [item for item, _ in report.failures] == [("b/#", b"4")]
        client.drain()
        scripted_threads.until(lambda: client.stats().outbox.messages == 0)
        assert client.stats().outbox.delivered == 4
    assert stored_in(path) == 0


def test_what_the_blocking_client_could_not_deliver_is_for_the_next_one(path: Path) -> None:
    seen: list[bytes] = []

    def script(peer: scripted_threads.Peer) -> None:
        peer.accept()
        if peer.number == 0:
            while not isinstance(peer.receive(), Disconnect | None):
                pass
        else:
            seen.extend(bytes(each.payload) for each in peer.answer_until_close() if isinstance(each, Publish))

    with scripted_threads.scripted(script) as route:
        client = storing_blocking(route, "c", outbox=Outbox(path), max_in_flight=3)
        with client:
            client.publish_many((("a", b"%d" % number) for number in range(20)), qos=1)
            scripted_threads.until(lambda: client.stats().messages_queued == 6)
        assert client.undelivered == []
        assert stored_in(path) == 20
        with client:
            scripted_threads.until(lambda: client.stats().outbox.messages == 0)
    assert seen == [b"%d" % number for number in range(20)]


def test_the_blocking_client_leaves_nothing_behind(path: Path) -> None:
    with scripted_threads.scripted(scripted_threads.serve_all) as route:
        for _ in range(2):  # the first one may keep something for good
            with scripted_threads.nothing_left():
                with storing_blocking(route, "c", outbox=Outbox(path)) as client:
                    client.publish("a", b"1", 1)
                with pytest.raises(OutboxError, match="is not open"):
                    client.publish("a", b"2", 1)


# QoS 2, over the end of the process.

resuming: Callable[..., Client] = partial(storing, clean_start=False, session_expiry_interval=60)


def as_if_killed(path: Path) -> Path:
    """What another process would find if this one was killed now."""
    there = path.with_name("killed")
    there.mkdir()
    for file in (path, path.with_name(f"{path.name}-wal")):
        shutil.copy(file, there)
    return there / path.name


@pytest.mark.parametrize("is_released", [False, True], ids=["before PUBREC", "after PUBREC"])
@asynchronous
async def test_a_qos_2_message_goes_on_in_the_next_process_where_it_was(is_released: bool, path: Path) -> None:
    reached = asyncio.Event()

    async def before(peer: Peer) -> None:
        await peer.accept()
        publish = await peer.expect(Publish)
        if is_released:
            peer.send(PubRec(publish.packet_id))
            assert (await peer.expect(PubRel)).packet_id == publish.packet_id
        reached.set()
        await peer.receive()

    async def after(peer: Peer) -> None:
        connect = await peer.accept(session_present=True)
        assert not connect.clean_start
        if not is_released:
            again = await peer.expect(Publish)
            assert (again.payload, again.dup, again.packet_id) == (b"1", True, 1)
            assert again.content_type == "text/plain"
            peer.send(PubRec(1))
        assert await peer.expect(PubRel) == PubRel(1)
        peer.send(PubComp(1))
        following = await peer.expect(Publish)
        assert (following.payload, following.dup, following.packet_id) == (b"2", False, 2)
        peer.send(PubRec(2))
        await peer.expect(PubRel)
        peer.send(PubComp(2))
        await peer.expect(Disconnect)

    async with scripted(in_turn(before, after)) as route:
        async with resuming(route, "c", outbox=Outbox(path), max_in_flight=1) as client:
            await client.publish("a", b"1", 2, content_type="text/plain")
            await reached.wait()
            left = as_if_killed(path)
        async with resuming(route, "c", outbox=Outbox(left), max_in_flight=1) as client:
            await client.publish("a", b"2", 2)
            await until(lambda: client.stats().outbox.messages == 0)
    assert stored_in(left) == 0


@asynchronous
async def test_a_qos_2_message_that_was_taken_is_not_taken_again_by_the_next_process(path: Path) -> None:
    answered = asyncio.Event()

    async def before(peer: Peer) -> None:
        await peer.accept()
        peer.send(Publish("a", b"1", qos=2, packet_id=7))
        assert await peer.expect(PubRec) == PubRec(7)
        answered.set()
        await peer.receive()

    async def after(peer: Peer) -> None:
        await peer.accept(session_present=True)
        peer.send(Publish("a", b"1", qos=2, packet_id=7, dup=True), Publish("a", b"2", qos=2, packet_id=8))
        assert await peer.expect(PubRec) == PubRec(7)
        assert await peer.expect(PubRec) == PubRec(8)
        peer.send(PubRel(7))
        assert await peer.expect(PubComp) == PubComp(7)
        peer.send(Publish("a", b"3", qos=2, packet_id=7))  # the packet id is free
        assert await peer.expect(PubRec) == PubRec(7)
        await peer.expect(Disconnect)

    async with scripted(in_turn(before, after)) as route:
        async with resuming(route, "c", outbox=Outbox(path)) as client:
            messages = client.messages("a", manual_acknowledgement=True)
            message = await anext(messages)
            assert not answered.is_set()
            client.acknowledge(message)
            await answered.wait()
            left = as_if_killed(path)
        async with resuming(route, "c", outbox=Outbox(left), drain_timeout_s=10) as client:
            messages = client.messages("a")
            assert [(await anext(messages)).payload for _ in range(2)] == [b"2", b"3"]


@asynchronous
async def test_another_server_is_told_nothing_of_what_the_first_one_knew(path: Path) -> None:
    """It may know a packet id from somewhere else, and take the message for one that it had."""
    reached = asyncio.Event()

    async def first(peer: Peer) -> None:
        await peer.accept()
        has, _ = [await peer.expect(Publish) for _ in range(2)]
        peer.send(PubRec(has.packet_id))
        await peer.expect(PubRel)
        reached.set()
        await peer.receive()

    taking = Taking(session_present=True)
    async with scripted(first) as route, resuming(route, "c", outbox=Outbox(path)) as client:
        await client.publish_many([("a", b"has it"), ("a", b"may have it")], qos=2)
        await reached.wait()
        left = as_if_killed(path)
    async with scripted(taking) as route, resuming(route, "c", outbox=Outbox(left)) as client:
        await until(lambda: client.stats().outbox.messages == 0)
    assert [(each.payload, each.dup) for each in taking.seen] == [(b"may have it", False)]


@asynchronous
async def test_where_the_disk_is_full_qos_2_goes_on_and_it_is_said_what_that_means(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write

    def fail(store: Store, added: Any, removed: Any, changes: Any = (), **keywords: Any) -> None:
        if changes:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        write(store, added, removed, **keywords)

    taking = Taking()
    async with scripted(taking) as route, storing(route, "c", outbox=Outbox(path)) as client:
        await client.publish("a", b"1", 1)
        monkeypatch.setattr(Store, "write", fail)
        await client.publish("a", b"2", 2)
        await until(lambda: taking.payloads == [b"1", b"2"])
        monkeypatch.undo()
    assert "messages of QoS 2 may come twice if this process ends now: " in caplog.text
    assert "the disk is full" in caplog.text


@asynchronous
async def test_a_message_that_there_was_no_memory_to_send_is_sent_a_second_later_and_in_its_place(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def submit(client: Client, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise MemoryError
        real(client, *arguments)

    real = ClientBase._submit
    monkeypatch.setattr(ClientBase, "_submit", submit)
    with Outbox(path) as outbox:
        for number in range(4):
            outbox.put("a", b"%d" % number, 1)
    taking = Taking()
    async with scripted(taking) as route, storing(route, "c", outbox=Outbox(path)) as client:
        await until(lambda: client.stats().outbox.messages == 0)
    assert taking.payloads == [b"0", b"1", b"2", b"3"]
    assert "there is no memory to send a stored message now" in caplog.text


def test_what_there_was_no_memory_to_write_is_written_to_the_next_connection(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[dict[str, Any]] = []
    fails = False

    def take_written(link: Link) -> list[bytes]:
        nonlocal fails
        written = real(link)
        if fails and written:
            fails = False
            raise MemoryError
        return written

    real = Link._take_written
    monkeypatch.setattr(Link, "_take_written", take_written)
    taking = Taking()

    async def test() -> None:
        nonlocal fails
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(20), scripted(taking) as route, storing(route, "c", outbox=Outbox(path)) as client:
            await client.publish("a", b"1", 1)
            await until(lambda: client.stats().outbox.messages == 0)
            fails = True
            await client.publish("a", b"2", 1)
            await until(lambda: client.stats().outbox.messages == 0)
            assert client.stats().reconnects == 1

    asyncio.run(test())
    assert taking.payloads == [b"1", b"2"]
    assert [type(each["exception"]) for each in complaints] == [MemoryError]


# Another process.

STORES_AND_IS_KILLED = """
import os, signal, sys
from iotwire import BlockingClient, Broker
from iotwire.outbox import Outbox

client = BlockingClient(Broker("127.0.0.1", int(sys.argv[2])), "gateway", outbox=Outbox(sys.argv[1]))
client.start()
for number in range(30):
    client.publish("a", b"%d" % number, 1)
client.publish_nowait("a", b"30", 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@asynchronous
async def test_what_a_killed_process_has_stored_is_delivered_by_the_next_one(path: Path) -> None:
    async with no_server() as nowhere:
        command = [sys.executable, "-c", STORES_AND_IS_KILLED, str(path), str(nowhere.port)]
        done = await asyncio.to_thread(subprocess.run, command, check=False, timeout=15)
        assert done.returncode == -9
    taking = Taking()
    async with scripted(taking) as route, storing(route, "gateway", outbox=Outbox(path)) as client:
        await until(lambda: client.stats().outbox.messages == 0)
    assert taking.payloads[:30] == [b"%d" % number for number in range(30)]
    assert len(taking.payloads) <= 31
