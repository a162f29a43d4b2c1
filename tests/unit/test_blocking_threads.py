"""`BlockingClient` among many threads: nothing hangs, nothing is lost, nothing is left, and nobody waits busily."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from forking import in_child, needs_fork
from interrupts import Interrupts
from iotwire import Backoff, BlockingClient, IotwireError, RequestTimeoutError
from iotwire.client import blocking
from iotwire.mqtt import PubAck, Publish, PubRel, Subscribe
from scripted_threads import InThread, Peer, happened, nothing_left, one_connection, scripted, serve_all, until
from support import IS_EMULATED

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])
AT_ONCE = Backoff(base_s=0.002, max_s=0.002)


@pytest.fixture(params=["epoll", "poll"])
def way_to_wait(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As on Linux, and as on a system without epoll, where no call reads for itself."""
    if request.param == "poll":
        monkeypatch.setattr(blocking.Watch, "can_be_told", False)
    elif not hasattr(select, "epoll"):
        pytest.skip("this system has no epoll")
    return str(request.param)


class KeepingServer:
    """A server that keeps its session, and cuts the first connections after some packets."""

    def __init__(self, seed: int, cuts: int, outgoing: int) -> None:
        self._random = random.Random(seed)
        self._cuts = cuts
        self._lock = threading.Lock()
        self._released: set[int] = set()  # QoS 2 messages that are here, by id, until PUBREL
        self.outgoing = {number: b"%d" % number for number in range(1, outgoing + 1)}
        self.arrived: list[tuple[int, bytes]] = []

    def script(self, peer: Peer) -> None:
        peer.accept(session_present=peer.number > 0)
        with self._lock:
            left = self._random.randrange(1, 60) if peer.number < self._cuts else -1
            resets = self._random.random() < 0.5
            waiting = dict(self.outgoing)
        for number, payload in waiting.items():
            peer.send(Publish("in", payload, qos=1, packet_id=number, dup=peer.number > 0))
        while left and (packet := peer.receive()) is not None:
            left -= 1
            with self._lock:
                match packet:
                    case PubAck():
                        self.outgoing.pop(packet.packet_id, None)
                    case Publish(qos=2):
                        if packet.packet_id not in self._released:
                            self._released.add(packet.packet_id)
                            self.arrived.append((2, packet.payload))
                    case Publish():
                        self.arrived.append((packet.qos, packet.payload))
                    case PubRel():
                        self._released.discard(packet.packet_id)
            try:
                peer.answer(packet)
            except ConnectionError:
                return
        if resets and not left:
            peer.reset()


@pytest.mark.parametrize("seed", range(6))
@BOTH_VERSIONS
def test_many_threads_lose_nothing_though_the_server_cuts_the_connection_again_and_again(
    version: int, seed: int, way_to_wait: str, frequent_thread_switches: None
) -> None:
    each, incoming = 30, 60
    server = KeepingServer(seed, cuts=12, outgoing=incoming)
    options: dict[str, Any] = {"session_expiry_interval": 3600} if version == 5 else {"clean_start": False}
    taken: list[bytes] = []

    def publish(thread: int) -> None:
        chance = random.Random(f"{seed}/{thread}")
        for number in range(each):
            qos = chance.choice((1, 1, 2))
            client.publish("out", b"%d/%d" % (thread, number), qos=qos, timeout_s=chance.choice((None, 60.0)))

    def publish_nowait() -> None:
        receipts = [client.publish_nowait("out", b"nowait/%d" % number, qos=1 + number % 2) for number in range(each)]
        for receipt in receipts:
            assert receipt.wait(60) == 0

    def publish_many() -> None:
        items = (("out", b"many/%d" % number) for number in range(each))
        assert client.publish_many(items, qos=1).acknowledged == each

    def subscribe(thread: int) -> None:
        for number in range(10):
            client.subscribe(f"in/{thread}/{number}", number % 3)
            client.unsubscribe(f"in/{thread}/{number}")

    def hurry() -> None:
        for _ in range(20):
            with contextlib.suppress(RequestTimeoutError):
                client.subscribe("hurried", timeout_s=0.001)

    def read() -> None:
        taken.extend(message.payload for message in messages)

    with scripted(server.script, version=version) as route, nothing_left():
        client = BlockingClient(
            route, "a", version=version, reconnect=AT_ONCE, wait_for_server=True, drain_timeout_s=30, **options
        )
        messages = client.messages("in")
        with client:
            readers = [InThread(read) for _ in range(2)]
            calls = [InThread(publish, thread) for thread in range(4)]
            calls += [InThread(subscribe, thread) for thread in range(2)]
            calls += [InThread(publish_nowait), InThread(publish_many), InThread(hurry)]
            for call in calls:
                call.result(60)
            until(lambda: len(set(taken)) == incoming, "messages of the server were lost")
        for reader in readers:
            reader.result()
        assert client.undelivered == []
    wanted = {b"%d/%d" % (thread, number) for thread in range(4) for number in range(each)}
    wanted |= {b"%s/%d" % (way, number) for way in (b"nowait", b"many") for number in range(each)}
    assert {payload for _, payload in server.arrived} == wanted
    exactly_once = [payload for qos, payload in server.arrived if qos == 2]
    assert len(exactly_once) == len(set(exactly_once))
    assert client.stats().reconnects >= 5


def test_whoever_reads_hands_over_to_those_who_sleep(way_to_wait: str) -> None:
    """Answers come in any order, one at a time: whoever has its own leaves, and another one has to read."""
    count = 8

    def script(peer: Peer) -> None:
        peer.accept()
        chance = random.Random(5)
        for _ in range(20):
            packets = [peer.expect(Publish) for _ in range(count)]
            chance.shuffle(packets)
            for packet in packets:
                peer.send(PubAck(packet.packet_id))
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a", keep_alive=0) as client:
        gate = threading.Barrier(count)

        def publish() -> None:
            for _ in range(20):
                gate.wait(10)
                assert client.publish("t", b"x", qos=1) == 0

        for each in [InThread(publish) for _ in range(count)]:
            each.result()


def test_a_lone_exchange_hands_over_to_those_who_sleep(way_to_wait: str) -> None:
    goes = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        first = peer.expect(Publish)
        happened(goes)
        peer.answer(first)
        answers = [peer.expect(Publish), peer.expect(Subscribe)]
        peer.send(Publish("in", b"x"))
        for each in answers:
            peer.answer(each)
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a", keep_alive=0) as client:
        messages = client.messages("in")
        exchanging = InThread(client.publish, "t", qos=1)
        until(lambda: client.stats().messages_queued)
        waiting = [InThread(messages.get)]
        until(lambda: messages._inbox.readers)
        waiting.append(InThread(client.publish, "t", qos=1, timeout_s=60))
        until(lambda: client.stats().messages_queued == 2)
        waiting.append(InThread(client.subscribe, "t"))
        until(lambda: client._pending_requests)
        goes.set()
        assert exchanging.result() == 0
        for each in waiting:
            each.result()


def test_whoever_reads_and_runs_out_of_time_hands_over_too(way_to_wait: str) -> None:
    goes = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        happened(goes)
        peer.send(Publish("in", b"x"))
        peer.answer_until_close()

    for order in ("the one that leaves reads", "the one that leaves sleeps"):
        with scripted(script) as route, one_connection(route, "a", keep_alive=0) as client:
            messages = client.messages("in")
            timeouts = (0.1, None) if order == "the one that leaves reads" else (None, 0.1)
            waiting = []
            for number, timeout_s in enumerate(timeouts):
                waiting.append(InThread(messages.get, timeout_s))
                until(lambda: len(messages._inbox.readers or ()) == number + 1)  # noqa: B023 -- called at once
                until(lambda: (client._reader is not None) + len(client._sleepers) == number + 1)  # noqa: B023
            with pytest.raises(RequestTimeoutError):
                waiting[0 if timeouts[0] else 1].result()
            goes.set()
            assert waiting[1 if timeouts[0] else 0].result().payload == b"x"
        goes.clear()


def test_many_clients_leave_no_thread_and_no_descriptor(way_to_wait: str) -> None:
    with scripted(serve_all) as route:
        with one_connection(route, "first"):
            pass
        with nothing_left():
            for number in range(20):
                with one_connection(route, f"c{number}") as client:
                    client.on_message("t", print)
                    assert client.publish("t", b"x", qos=1) == 0


# Ctrl-C anywhere.


@pytest.mark.parametrize("seed", range(4))
def test_keyboard_interrupt_anywhere_leaves_a_client_that_works(seed: int, way_to_wait: str) -> None:
    server = KeepingServer(seed, cuts=0, outgoing=0)
    chance = random.Random(seed)
    with scripted(server.script) as route, nothing_left():
        client = BlockingClient(route, "a", reconnect=AT_ONCE, session_expiry_interval=3600, max_queued=1000)
        messages = client.messages("in")
        with client:
            calls: list[Callable[[], object]] = [
                lambda: client.publish("t", b"x", qos=1),
                lambda: client.publish("t", b"x", qos=1),
                lambda: client.publish("t", b"x", qos=2),
                lambda: client.publish("t", b"x", qos=1, timeout_s=5),
                lambda: client.publish("t", b"x"),
                lambda: client.publish_nowait("t", b"x", qos=1).wait(5),
                lambda: client.publish_many([("t", b"x")] * 3, qos=1),
                lambda: client.subscribe("in", timeout_s=5),
                client.stats,
            ]

            def call() -> None:
                try:
                    chance.choice(calls)()
                    messages.get(timeout_s=0.001)
                except RequestTimeoutError:
                    pass

            Interrupts(blocking, seed, 0.02).over(call, 100)
            for qos in (1, 2, 1):
                assert client.publish("after it", b"x", qos=qos, timeout_s=30) == 0
            assert InThread(client.publish, "after it", b"x", qos=1).result() == 0
            assert client.subscribe("after it", timeout_s=30) == (0,)
            until(lambda: not client.undelivered)  # and what was interrupted was not forgotten


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system cannot send signals to threads")
def test_ctrl_c_ends_a_call_that_waits_and_not_the_connection(way_to_wait: str) -> None:
    goes = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        packet = peer.expect(Publish)
        happened(goes)
        peer.answer(packet)
        peer.answer_until_close()

    def interrupt() -> None:
        until(lambda: client._reader is not None or client._sleepers)
        while not goes.is_set():  # until it is noticed: a signal may come just before a call begins to wait
            signal.pthread_kill(main, signal.SIGINT)
            goes.wait(0.5)

    main = threading.get_ident()
    with scripted(script) as route, one_connection(route, "a") as client:
        interrupting = InThread(interrupt)
        try:
            pytest.fail(f"the call gave {client.publish('t', b'x', qos=1)!r}")
        except KeyboardInterrupt:
            goes.set()
        interrupting.result()
        assert client.publish("t", b"x", qos=1, timeout_s=30) == 0
        assert client.stats().reconnects == 0


# Fork.


@needs_fork
def test_a_client_of_the_parent_is_not_for_the_child_and_is_not_disturbed_by_it() -> None:
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        seen.extend(peer.answer_until_close())

    with scripted(script) as route, one_connection(route, "a") as client:
        messages = client.messages("t")
        client.publish("before", b"x", qos=1)
        calls: list[Callable[[], object]] = [
            lambda: client.publish("from the child"),
            lambda: client.publish("from the child", qos=1),
            lambda: client.publish("from the child", qos=2, timeout_s=5),
            lambda: client.publish_nowait("from the child"),
            lambda: client.publish_nowait("from the child", qos=1),
            lambda: client.subscribe("t"),
            lambda: client.unsubscribe("t"),
            lambda: client.request("t"),
            lambda: messages.get(),
            lambda: client.messages("u"),
            lambda: client.on_message("u", print),
            client.drain,
            client.connect,
            client.stats,
        ]
        for call in calls:
            assert in_child(call) == (
                "IotwireError: this client was connected by another process: a child of fork makes its own"
            )
        assert "another process" in in_child(lambda: client.publish_many([("from the child", b"x")]))
        assert in_child(client.disconnect) == "[]"
        with client._lock:  # as another thread may have it at the moment of a fork
            assert "another process" in in_child(lambda: client.publish("from the child"))
        assert client.publish("after", b"x", qos=1) == 0
    assert [packet.topic for packet in seen if isinstance(packet, Publish)] == ["before", "after"]


@needs_fork
@pytest.mark.skipif(IS_EMULATED, reason="QEMU ends a child of fork that starts a thread")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_client_that_is_made_or_first_connected_in_a_child_works() -> None:
    with scripted(serve_all) as route, one_connection(route, "parent's") as client:
        never_connected = one_connection(route, "child's")

        def use(made: BlockingClient) -> tuple[Any, ...]:
            with made:
                return made.subscribe("t", 1), made.publish("t", b"x", qos=1), made.publish("t", b"x", qos=2)

        assert in_child(lambda: [int(each) for each in use(never_connected)[1:]]) == "[0, 0]"
        assert in_child(lambda: [int(each) for each in use(one_connection(route, "new"))[1:]]) == "[0, 0]"
        assert client.publish("t", b"x", qos=1) == 0


@needs_fork
def test_a_child_does_not_keep_the_parents_connection_open() -> None:
    """The server is to see when the parent ends, however long its children live."""
    ended = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        peer.answer_until_close()
        ended.set()

    with scripted(script) as route:
        client = one_connection(route, "a", close_timeout_s=0.2)
        client.connect()
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.write(writer, b"x")
            time.sleep(60)
            os._exit(0)
        os.read(reader, 1)  # the child is there
        wire = client._wire
        assert wire is not None
        os.close(wire.socket.detach())  # as the end of this process would do
        happened(ended)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
        wire.is_lost = True
        client._wakeup.wake()


# No busy waiting.


def cpu_of(wait: Callable[[], object]) -> float:
    """Seconds of CPU that this process takes while something waits."""
    began = time.process_time()
    wait()
    return time.process_time() - began


def test_an_idle_client_and_calls_that_wait_take_no_time(way_to_wait: str) -> None:
    with scripted(lambda peer: (peer.accept(), list(iter(peer.receive, None)))) as route:
        with one_connection(route, "a") as client:
            messages = client.messages("t")

            def ask(call: Callable[..., object], *arguments: Any, **keywords: Any) -> None:
                with pytest.raises(RequestTimeoutError):
                    call(*arguments, timeout_s=0.5, **keywords)

            assert cpu_of(lambda: threading.Event().wait(0.5)) < 0.05
            assert cpu_of(lambda: ask(messages.get)) < 0.05
            assert cpu_of(lambda: ask(client.publish, "t", qos=1)) < 0.05
            assert cpu_of(lambda: ask(client.subscribe, "t")) < 0.05
            several = [InThread(ask, messages.get) for _ in range(5)]
            assert cpu_of(lambda: [each.result() for each in several]) < 0.05
            lone = InThread(client.publish, "t", qos=2)
            assert cpu_of(lambda: threading.Event().wait(0.5)) < 0.05
        with pytest.raises(IotwireError):
            lone.result()


def test_a_client_that_cannot_write_or_is_paused_takes_no_time(way_to_wait: str) -> None:
    ends = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(*(Publish("full", b"%d" % number) for number in range(20)))
        happened(ends)

    with scripted(script, receive_buffer=4096) as route:
        client = one_connection(route, "a", close_timeout_s=0.2, max_queued_bytes=1 << 27)
        full = client.messages("full", max_messages=2, when_full="pause")
        client.connect()
        until(lambda: client._is_paused)
        waiting = InThread(client.messages("other").get)
        until(lambda: client._sleepers)
        assert cpu_of(lambda: threading.Event().wait(0.5)) < 0.05
        full.close()
        client.publish_nowait("t", bytes(8_000_000), qos=1)
        assert cpu_of(lambda: threading.Event().wait(0.5)) < 0.05
        client.disconnect()
        assert waiting.result() is None
        ends.set()


def test_a_client_between_two_attempts_takes_no_time(way_to_wait: str) -> None:
    with scripted(lambda peer: peer.accept() if not peer.number else None) as route:
        client = BlockingClient(route, "a", reconnect=Backoff(base_s=3600, max_s=3600), drain_timeout_s=0)
        client.connect()
        until(lambda: not client.is_connected)
        waiting = InThread(client.publish, "t", qos=1)
        until(lambda: client.undelivered)
        assert cpu_of(lambda: threading.Event().wait(0.5)) < 0.05
        client.disconnect()
        with pytest.raises(IotwireError):
            waiting.result()
