"""Every call of `BlockingClient`, against servers that do exactly what a test says."""

from __future__ import annotations

import logging
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from iotwire import (
    Backoff,
    BlockingClient,
    Broker,
    ConnectError,
    ConnectionLostError,
    EncodeError,
    OutboxFullError,
    PublishError,
    RequestTimeoutError,
    Route,
    SubscribeError,
)
from iotwire.client import blocking
from iotwire.mqtt import (
    ConnAck,
    Connect,
    Disconnect,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from iotwire.transport.blocking import open_socket
from iotwire.transport.tls import TlsContexts
from networks import black_hole
from scripted_threads import InThread, Peer, happened, nothing_left, one_connection, scripted, serve_all, until

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])
AT_ONCE = Backoff(base_s=0.01, max_s=0.01)


@pytest.fixture(params=["epoll", "poll"], autouse=True)
def way_to_wait(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test twice: as on Linux, and as on a system without epoll, where no call reads for itself."""
    if request.param == "poll":
        monkeypatch.setattr(blocking.Watch, "can_be_told", False)
    elif not hasattr(select, "epoll"):
        pytest.skip("this system has no epoll")
    return str(request.param)


# The connection.


@BOTH_VERSIONS
def test_a_client_connects_and_disconnects_and_leaves_nothing(version: int) -> None:
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        seen.append(peer.accept())
        seen.extend(peer.answer_until_close())

    with scripted(script, version=version) as route, nothing_left():
        with one_connection(route, "gateway-7", version=version, keep_alive=45) as client:
            assert client.is_connected
            assert client.client_id == "gateway-7"
            assert client.security == "none"
            assert "gateway-7" in repr(client)
            with pytest.raises(ConnectError, match="already"):
                client.connect()
        assert not client.is_connected
        assert client.disconnect() == []
    assert isinstance(seen[0], Connect)
    assert seen[0].keep_alive == 45
    assert seen[1:] == [Disconnect()]


def test_a_disconnect_with_a_reason_reaches_the_server() -> None:
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        seen.extend(peer.answer_until_close())

    with scripted(script) as route:
        client = one_connection(route, "a")
        client.connect()
        with pytest.raises(EncodeError):
            client.disconnect(0x03)
        assert client.is_connected
        client.disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)
    assert seen == [Disconnect(0x04)]


@pytest.mark.parametrize(("version", "code"), [(5, 0x87), (4, 5)])
def test_a_refused_connection_tells_the_servers_reason(version: int, code: int) -> None:
    with scripted(lambda peer: peer.accept(reason_code=code), version=version) as route, nothing_left():
        client = one_connection(route, "a", version=version)
        with pytest.raises(ConnectError) as caught:
            client.connect()
    assert caught.value.reason_code == code


def test_a_server_that_closes_without_connack_is_a_connect_error() -> None:
    with (
        scripted(lambda peer: peer.expect(Connect)) as route,
        pytest.raises(ConnectError, match="closed the connection before its CONNACK"),
    ):
        one_connection(route, "a").connect()


def test_a_server_that_says_nothing_runs_into_the_time_out() -> None:
    def script(peer: Peer) -> None:
        peer.expect(Connect)
        peer.expect_close()

    with scripted(script) as route, pytest.raises(ConnectError, match=r"no CONNACK within 0\.05 s"):
        one_connection(route, "a", connect_timeout_s=0.05).connect()


def test_garbage_instead_of_a_connack_is_a_connect_error() -> None:
    def script(peer: Peer) -> None:
        peer.expect(Connect)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.expect_close()

    with scripted(script) as route, pytest.raises(ConnectError, match="broke the protocol"):
        one_connection(route, "a", close_timeout_s=0.2).connect()


def test_nobody_listening_and_names_that_do_not_resolve_are_connect_errors() -> None:
    with scripted(serve_all) as route:
        pass
    with nothing_left():
        with pytest.raises(ConnectError, match=f"cannot connect to 127.0.0.1:{route.port}"):
            one_connection(route, "a").connect()
        with pytest.raises(ConnectError, match=r"cannot resolve no-such-host\.invalid"):
            one_connection(Broker("no-such-host.invalid", 1883), "a").connect()


def test_an_address_without_a_way_to_it_does_not_keep_a_client_from_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host whose resolver knows of IPv6, and whose network does not."""
    no_way = ("255.255.255.255", 1883)  # refused by the system at once: it is for broadcasts

    def resolve(host: str, port: int, **options: Any) -> list[Any]:
        return [
            (-1, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", no_way),  # a family that this kernel has not
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", no_way),
            *([(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))] if port != 9 else []),
        ]

    with scripted(serve_all) as route:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        with one_connection(Broker("gateway.example", route.port), "a") as client:
            assert client.is_connected
        with pytest.raises(ConnectError, match=r"cannot connect to gateway\.example:9"):
            one_connection(Broker("gateway.example", 9), "a").connect()


def test_a_connection_that_nobody_answers_runs_into_the_time_out() -> None:
    with black_hole() as address:
        attempt = Broker(*address).prepare(None)  # type: ignore[arg-type]
        with pytest.raises(ConnectError, match=r"no answer from .* within 0\.1 s"):
            open_socket(attempt, timeout_s=0.1, dead_link_timeout_s=None, contexts=TlsContexts())


def test_a_client_waits_for_its_server_if_it_is_told_to() -> None:
    def script(peer: Peer) -> None:
        if peer.number:
            serve_all(peer)
        else:
            peer.expect(Connect)

    with scripted(script) as route:
        client = BlockingClient(route, "a", reconnect=AT_ONCE, wait_for_server=True)
        assert isinstance(client.connect(), ConnAck)
        assert client.publish("t", b"x", qos=1) == 0
        client.disconnect()


def test_a_client_that_gives_up_says_why() -> None:
    with scripted(lambda peer: peer.accept(reason_code=0x88)) as route, nothing_left():
        client = BlockingClient(route, "a", reconnect=Backoff(0.001, 0.001, attempts=3), wait_for_server=True)
        with pytest.raises(ConnectError) as caught:
            client.connect()
        assert caught.value.reason_code == 0x88


def test_a_route_that_raises_ends_the_connecting() -> None:
    class Failing(Route):
        protocol = "mqtt"

        def prepare(self, now: Any) -> Any:
            raise RuntimeError("no credentials today")

    with nothing_left(), pytest.raises(ConnectError, match="the route failed: RuntimeError") as caught:
        one_connection(Failing(), "a").connect()
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_disconnecting_while_connecting_ends_the_attempt() -> None:
    was_asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(Connect)
        was_asked.set()
        assert not isinstance(peer.receive(), Publish)

    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a")
        connecting = InThread(client.connect)
        happened(was_asked)
        client.disconnect()
        with pytest.raises(ConnectError, match="this client closed"):
            connecting.result(2)


def test_disconnecting_while_waiting_to_connect_again_ends_that() -> None:
    with scripted(Peer.accept) as route, nothing_left():
        client = BlockingClient(route, "a", reconnect=Backoff(base_s=3600, max_s=3600), drain_timeout_s=0.05)
        client.connect()
        until(lambda: not client.is_connected)
        waiting = InThread(client.publish, "t", b"x", qos=1)
        until(lambda: client.undelivered)
        assert [each.payload for each in client.disconnect()] == [b"x"]
        with pytest.raises(ConnectionLostError, match="this client closed"):
            waiting.result()


def test_what_waits_for_the_next_connection_is_delivered_before_the_client_is_closed() -> None:
    closing = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        if peer.number:
            happened(closing)
            peer.answer_until_close()

    with scripted(script) as route, nothing_left():
        client = BlockingClient(route, "a", reconnect=Backoff(base_s=0.1, max_s=0.1), drain_timeout_s=60)
        client.connect()
        until(lambda: not client.is_connected)
        receipt = client.publish_nowait("t", b"x", qos=1)
        ending = InThread(client.disconnect)
        until(lambda: client._drained is not None)
        closing.set()
        assert ending.result() == []
        assert receipt.reason_code == 0


@pytest.mark.parametrize("step", ["pipes", "second pipe", "thread"])
def test_a_connect_for_which_the_system_has_nothing_left_can_be_repeated(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    class Wakeup(blocking.Wakeup):
        def __init__(self) -> None:
            nonlocal made
            made += 1
            if step == "pipes" or (step == "second pipe" and made == 2):
                raise OSError(24, "Too many open files")
            super().__init__()

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with scripted(serve_all) as route:
        client = one_connection(route, "a")
        with nothing_left(), monkeypatch.context() as patch:
            patch.setattr(blocking, "Wakeup", Wakeup)
            if step == "thread":
                patch.setattr(threading.Thread, "start", start)
            with pytest.raises((OSError, RuntimeError)):
                client.connect()
            with pytest.raises(ConnectionLostError, match="not connected"):
                client.publish("t", b"x", qos=1)
        with client:
            assert client.publish("t", b"x", qos=1) == 0


def test_a_client_that_is_not_connected_says_so() -> None:
    client = one_connection(Broker("broker.example", 1883), "a")
    for call in (
        lambda: client.publish("a"),
        lambda: client.publish("a", qos=1),
        lambda: client.publish_nowait("a"),
        lambda: client.publish_many([("a", b"")]),
        lambda: client.subscribe("a"),
        lambda: client.unsubscribe("a"),
        lambda: client.request("a"),
        client.drain,
    ):
        with pytest.raises(ConnectionLostError, match="not connected"):
            call()
    assert client.disconnect() == []
    assert client.undelivered == []


def test_a_client_connects_again_after_its_end_and_its_streams_and_callbacks_go_on() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.answer_until_close(echoes=True)

    called: list[bytes] = []
    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a")
        messages = client.messages("stream")
        client.on_message("callback", lambda message: called.append(message.payload))
        for number in range(3):
            with client:
                payload = b"%d" % number
                client.publish("stream", payload, qos=1)
                client.publish("callback", payload, qos=1)
                received = messages.get(5)
                assert received is not None
                assert received.payload == payload
                until(lambda: len(called) == number + 1)  # noqa: B023 -- called at once
            assert messages.get(5) is None
    assert called == [b"0", b"1", b"2"]
    assert client.stats().connections == 3


def test_a_server_that_ends_the_connection_ends_a_client_without_reconnect() -> None:
    goes = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(Publish("t", b"x"))
        happened(goes)
        peer.send(Disconnect(0x8B))

    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a")
        client.connect()
        arrived = threading.Event()
        client.on_message("t", lambda message: arrived.set())
        happened(arrived)
        messages = client.messages("#")
        waiting = [InThread(messages.get), InThread(client.publish, "t", b"x", qos=1)]
        waiting.append(InThread(client.subscribe, "t"))
        goes.set()
        for each in waiting:
            with pytest.raises(ConnectionLostError) as caught:
                each.result()
            assert caught.value.reason_code == 0x8B
        with pytest.raises(ConnectionLostError):
            client.publish("t", b"x", qos=1)
    # Nobody has called `disconnect`, and yet there is no thread any more.


@pytest.mark.parametrize("way", ["close", "reset", "garbage"])
@BOTH_VERSIONS
def test_every_call_that_waits_is_told_of_a_lost_connection(version: int, way: str) -> None:
    asked = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        peer.accept()
        for _ in range(3):
            peer.receive()
            asked.release()
        if way == "reset":
            peer.reset()
        elif way == "garbage":
            peer.send(b"\x00\x00")
            assert not isinstance(peer.receive(), Publish)

    with scripted(script, version=version) as route, nothing_left():
        client = one_connection(route, "a", version=version, close_timeout_s=0.2)
        client.connect()
        waiting = [InThread(client.publish, "t", b"x", qos=qos) for qos in (1, 2)]
        waiting.append(InThread(client.subscribe, "t"))
        for each in waiting:
            with pytest.raises(ConnectionLostError):
                each.result()


# Messages to the server.


@BOTH_VERSIONS
def test_publish_returns_when_its_quality_of_service_is_reached(version: int) -> None:
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        seen.extend(peer.answer_until_close())

    with scripted(script, version=version) as route, one_connection(route, "a", version=version) as client:
        for qos in (0, 1, 2):
            assert client.publish(f"t/{qos}", bytearray(b"x"), qos, retain=True) == ReasonCode.SUCCESS
        for qos in (0, 1, 2):
            assert client.publish("t", memoryview(b"y"), qos=qos, timeout_s=5) == ReasonCode.SUCCESS
    published = [packet for packet in seen if isinstance(packet, Publish)]
    assert [(each.topic, each.payload, each.qos, each.retain) for each in published] == [
        *((f"t/{qos}", b"x", qos, True) for qos in (0, 1, 2)),
        *(("t", b"y", qos, False) for qos in (0, 1, 2)),
    ]
    assert sum(isinstance(packet, PubRel) for packet in seen) == 2


@pytest.mark.parametrize("timeout_s", [None, 5.0])
def test_the_result_is_the_servers_reason_code_and_a_refusal_an_error(timeout_s: float | None) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(PubAck(peer.expect(Publish).packet_id, 0x10))
        peer.send(PubAck(peer.expect(Publish).packet_id, 0x87))
        peer.send(PubRec(peer.expect(Publish).packet_id, 0x97))
        peer.send(PubRec(peer.expect(Publish).packet_id))
        peer.send(PubComp(peer.expect(PubRel).packet_id))
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a") as client:
        assert client.publish("t", qos=1, timeout_s=timeout_s) is ReasonCode.NO_MATCHING_SUBSCRIBERS
        with pytest.raises(PublishError) as caught:
            client.publish("t", qos=1, timeout_s=timeout_s)
        assert caught.value.reason_code == 0x87
        with pytest.raises(PublishError) as caught:
            client.publish("t", qos=2, timeout_s=timeout_s)
        assert caught.value.reason_code == 0x97
        assert client.publish("t", qos=2, timeout_s=timeout_s) is ReasonCode.SUCCESS
        assert client.publish("t", qos=1, timeout_s=timeout_s) is ReasonCode.SUCCESS


def test_publish_carries_the_properties_of_mqtt_5_and_says_what_is_wrong_with_them() -> None:
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        seen.extend(peer.answer_until_close())

    with scripted(script) as route, one_connection(route, "a") as client:
        client.publish("t", b"x", qos=1, content_type="text/plain", user_properties=[("a", "b")])
        for qos in (0, 1):
            with pytest.raises(EncodeError):
                client.publish("t/#", b"x", qos=qos)
            with pytest.raises(EncodeError):
                client.publish("t", b"x", qos=qos, subscription_identifiers=(1,))  # type: ignore[call-arg]
        client.publish("t", b"y", qos=1)
    assert seen[0].content_type == "text/plain"
    assert [each.payload for each in seen[:-1]] == [b"x", b"y"]


def test_other_things_that_come_before_the_answer_are_taken_too() -> None:
    """The message, the acknowledgement, and both in pieces."""

    def script(peer: Peer) -> None:
        peer.accept()
        for cut in range(1, 12):
            packet_id = peer.expect(Publish).packet_id
            data = Publish("in", b"%d" % cut, qos=1, packet_id=cut).encode(5) + PubAck(packet_id).encode(5)
            peer.send(data[:cut])
            # What is sent next comes by itself: the client has read this before it sends its PUBACK or waits again.
            time.sleep(0.002)
            peer.send(data[cut:])
            assert peer.receive() == PubAck(cut)
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a") as client:
        messages = client.messages("in")
        for cut in range(1, 12):
            assert client.publish("t", b"x", qos=1) == 0
            received = messages.get(5)
            assert received is not None
            assert received.payload == b"%d" % cut


def test_a_message_larger_than_what_the_system_buffers_arrives() -> None:
    payload = bytes(range(256)) * 40_000
    reads = threading.Event()
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        happened(reads)
        seen.extend(peer.answer_until_close())

    with (
        scripted(script, receive_buffer=4096) as route,
        one_connection(route, "a", keep_alive=0, max_queued_bytes=1 << 28, close_timeout_s=5) as client,
    ):
        for qos in (1, 2, 1):
            publishing = InThread(client.publish, "t", payload, qos=qos)
            until(lambda: client.stats().messages_queued)
            reads.set()
            assert publishing.result() == 0
        client.publish("t", payload)
        client.publish("t", b"the last")
    sizes = [len(packet.payload) for packet in seen if isinstance(packet, Publish)]
    assert sizes == [len(payload)] * 4 + [8]


def test_a_publish_without_an_answer_ends_after_its_time() -> None:
    seen: list[Any] = []
    answers = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept(receive_maximum=1)
        first = peer.expect(Publish)
        happened(answers)
        peer.answer(first)
        seen.extend(peer.answer_until_close())

    with scripted(script) as route, one_connection(route, "a") as client:
        began = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            client.publish("sent", qos=1, timeout_s=0.05)
        assert time.monotonic() - began < 5
        with pytest.raises(RequestTimeoutError):
            client.publish("not sent", qos=1, timeout_s=0.05)
        with pytest.raises(RequestTimeoutError):
            client.publish("not sent", qos=2, timeout_s=0)
        assert [each.topic for each in client.undelivered] == ["sent"]
        answers.set()
        assert client.publish("third", qos=1, timeout_s=5) == 0
    assert [packet.topic for packet in seen if isinstance(packet, Publish)] == ["third"]


def test_a_call_that_ran_out_of_time_while_it_waited_for_room_takes_nobodys_place() -> None:
    answers = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        first = peer.expect(Publish)
        happened(answers)
        peer.answer(first)
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a", max_queued=1) as client:
        first = client.publish_nowait("first", qos=1)
        with pytest.raises(OutboxFullError):
            client.publish_nowait("no room", qos=1)
        with pytest.raises(RequestTimeoutError):
            client.drain(timeout_s=0.02)
        with pytest.raises(RequestTimeoutError):
            client.publish("too late", qos=1, timeout_s=0.02)
        third = InThread(client.publish, "third", qos=1)
        drained = InThread(client.drain)
        until(lambda: len(client._room_waiters) == 2)
        answers.set()
        assert third.result() == 0
        drained.result()
        assert first.wait(5) == 0


def test_room_that_a_lone_answer_makes_is_given_on() -> None:
    """Whoever has its answer with one system call has to think of the others."""
    answers = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        first = peer.expect(Publish)
        happened(answers)
        peer.answer(first)
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a", max_queued=1) as client:
        first = InThread(client.publish, "first", qos=1)
        until(lambda: client.stats().messages_queued == 1)
        second = InThread(client.publish, "second", qos=1)
        until(lambda: client._room_waiters)
        answers.set()
        assert first.result() == 0
        assert second.result() == 0


def test_the_next_message_in_the_session_leaves_when_a_lone_answer_makes_way() -> None:
    answers = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept(receive_maximum=1)
        first = peer.expect(Publish)
        happened(answers)
        peer.answer(first)
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a") as client:
        first = InThread(client.publish, "first", qos=1)
        until(lambda: client.stats().messages_queued == 1)
        second = client.publish_nowait("second", qos=1)
        answers.set()
        assert first.result() == 0
        assert second.wait(5) == 0


def test_receipts_of_publish_nowait_tell_what_became_of_each() -> None:
    answers = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        packets = [peer.expect(Publish) for _ in range(4)]
        assert [packet.qos for packet in packets] == [0, 1, 1, 2]
        happened(answers)
        peer.send(PubAck(packets[1].packet_id), PubAck(packets[2].packet_id, 0x87), PubRec(packets[3].packet_id))
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a") as client:
        receipts = [client.publish_nowait("t", b"x", qos=qos) for qos in (0, 1, 1, 2)]
        assert [receipt.is_done for receipt in receipts] == [True, False, False, False]
        assert receipts[0].wait() == 0
        for _ in range(3):
            with pytest.raises(RequestTimeoutError):
                receipts[1].wait(timeout_s=0.01)
        assert not receipts[1]._waiters
        waiting = [InThread(receipts[3].wait) for _ in range(3)]
        answers.set()
        assert receipts[1].wait(5) == 0
        with pytest.raises(PublishError):
            receipts[2].wait(5)
        assert [each.result() for each in waiting] == [0, 0, 0]
        assert receipts[1].wait(0) == 0
        assert "SUCCESS" in repr(receipts[3])


def test_what_publish_nowait_gathers_leaves_by_itself_each_time() -> None:
    arrived = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        while (packet := peer.receive()) is not None:
            if packet == Publish("now"):
                arrived.set()
            else:
                peer.answer(packet)

    with scripted(script) as route, one_connection(route, "a") as client:
        for _ in range(50):
            client.publish_nowait("gathered")
            client.publish("takes it along", qos=1)
            client.publish_nowait("now")
            happened(arrived)
            arrived.clear()


@pytest.mark.parametrize("qos", [0, 1, 2])
@BOTH_VERSIONS
def test_publish_many_publishes_many(version: int, qos: int) -> None:
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        seen.extend(peer.answer_until_close())

    count = 2000
    with scripted(script, version=version) as route, one_connection(route, "a", version=version) as client:
        report = client.publish_many((("t", b"%d" % number) for number in range(count)), qos=qos)
        assert (report.acknowledged, report.failures) == (count, [])
        assert client.publish_many([]).acknowledged == 0
        report = client.publish_many([("t", b"x"), "nothing", ("t/#", b"x"), Publish("t", b"y", qos=1)], qos=qos)
        assert report.acknowledged == 2
        assert [item for item, _ in report.failures] == ["nothing", ("t/#", b"x")]
    payloads = [packet.payload for packet in seen if isinstance(packet, Publish)]
    assert payloads == [*(b"%d" % number for number in range(count)), b"x", b"y"]


@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_of_publish_many_does_not_wait_for_the_next(qos: int) -> None:
    arrived = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        peer.accept()
        while (packet := peer.receive()) is not None:
            arrived.release()
            peer.answer(packet)

    def readings() -> Iterator[tuple[str, bytes]]:
        for number in range(5):
            yield "t", b"%d" % number
            assert arrived.acquire(timeout=5), "it has not left"

    with scripted(script) as route, one_connection(route, "a") as client:
        assert client.publish_many(readings(), qos=qos).acknowledged == 5


def test_publish_many_reports_what_was_lost_and_stops() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        for _ in range(10):
            peer.answer(peer.expect(Publish))

    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a", max_in_flight=5)
        client.connect()
        report = client.publish_many((("t", b"%d" % number) for number in range(1_000_000)), qos=1)
        assert report.acknowledged >= 1
        assert report.failures
        assert all(isinstance(error, ConnectionLostError) for _, error in report.failures)
        client.disconnect()


def test_a_server_that_does_not_read_holds_publishers_of_qos_0_back() -> None:
    reads = threading.Event()
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        happened(reads)
        seen.extend(peer.answer_until_close())

    payload = bytes(100_000)
    with scripted(script, receive_buffer=4096) as route, one_connection(route, "a", close_timeout_s=5) as client:
        sent = 0
        try:
            while True:
                client.publish("t", payload, timeout_s=0.05)
                sent += 1
                assert sent < 1000
        except RequestTimeoutError:
            pass
        waiting = [InThread(client.publish, "t", payload) for _ in range(3)]
        waiting.append(InThread(client.drain))
        for each in waiting:
            each.thread.join(0.01)
        assert not any(each.is_done for each in waiting)
        reads.set()
        for each in waiting:
            each.result()
    assert sum(isinstance(packet, Publish) for packet in seen) == sent + 3


# Subscriptions.


@BOTH_VERSIONS
def test_subscribe_and_unsubscribe_wait_for_their_answers(version: int) -> None:
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        seen.extend(peer.answer_until_close())

    with scripted(script, version=version) as route, one_connection(route, "a", version=version) as client:
        assert client.subscribe("a/#", 1) == (1,)
        assert client.subscribe(["b", Subscription("c", 2)], timeout_s=5) == (0, 2)
        client.unsubscribe(["a/#", "b"])
        client.unsubscribe("c", timeout_s=5)
        with pytest.raises(EncodeError):
            client.subscribe([])
    assert [packet.subscriptions for packet in seen if isinstance(packet, Subscribe)] == [
        (Subscription("a/#", 1),),
        (Subscription("b"), Subscription("c", 2)),
    ]
    assert [packet.topic_filters for packet in seen if isinstance(packet, Unsubscribe)] == [("a/#", "b"), ("c",)]


@BOTH_VERSIONS
def test_refused_filters_are_a_subscribe_error_by_filter(version: int) -> None:
    code = 0x87 if version == 5 else 0x80

    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(SubAck(peer.expect(Subscribe).packet_id, (1, code)))
        if version == 5:
            peer.send(UnsubAck(peer.expect(Unsubscribe).packet_id, (0x87,)))
        peer.answer_until_close()

    with scripted(script, version=version) as route, one_connection(route, "a", version=version) as client:
        with pytest.raises(SubscribeError) as caught:
            client.subscribe(["a", "b"], 1)
        assert caught.value.reason_codes == {"a": 1, "b": code}
        assert [each for each in ("a", "b") if each in client._subscriptions] == ["a"]
        if version == 5:
            with pytest.raises(SubscribeError):
                client.unsubscribe("a")


def test_a_subscribe_without_an_answer_ends_after_its_time() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        first = peer.expect(Subscribe)
        second = peer.expect(Subscribe)
        peer.send(SubAck(first.packet_id, (2,)), SubAck(second.packet_id, (1,)))
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a") as client:
        with pytest.raises(RequestTimeoutError):
            client.subscribe("a", timeout_s=0.02)
        assert client.subscribe("b", 1, timeout_s=5) == (1,)


def test_a_call_that_waits_for_a_connection_ends_after_its_time_and_leaves_nothing() -> None:
    with scripted(Peer.accept) as route:
        client = BlockingClient(route, "a", reconnect=Backoff(base_s=3600, max_s=3600))
        client.connect()
        until(lambda: not client.is_connected)
        for _ in range(3):
            with pytest.raises(RequestTimeoutError):
                client.subscribe("a", timeout_s=0.01)
            with pytest.raises(RequestTimeoutError):
                client.publish("a", qos=1, timeout_s=0.01)
            with pytest.raises(RequestTimeoutError):
                client.publish("a", qos=0, timeout_s=0.01)
        assert not client._connection_waiters
        assert not client._sleepers
        assert client.disconnect() == []


# Messages from the server.


@BOTH_VERSIONS
def test_messages_of_every_quality_of_service_arrive_and_are_answered(version: int) -> None:
    answers: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(*(Publish("t", b"%d" % qos, qos=qos, packet_id=qos or None) for qos in (0, 1, 2)))
        answers.append(peer.receive())
        answers.append(peer.receive())
        peer.send(PubRel(2))
        answers.append(peer.receive())
        peer.send(Publish("end"))
        peer.answer_until_close()

    with scripted(script, version=version) as route, one_connection(route, "a", version=version) as client:
        payloads = []
        with client.messages() as messages:
            for message in messages:
                if message.topic == "end":
                    break
                payloads.append(message.payload)
        assert payloads == [b"0", b"1", b"2"]
        assert messages.waiting == 0
        assert messages.dropped == 0
    assert answers == [PubAck(1), PubRec(2), PubComp(2)]


def test_get_with_a_time_out_waits_no_longer() -> None:
    goes = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        happened(goes)
        peer.send(Publish("t", b"1"), Publish("t", b"2"))
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a") as client:
        messages = client.messages("t")
        for timeout_s in (0, 0.01, 0.05):
            with pytest.raises(RequestTimeoutError):
                messages.get(timeout_s)
        assert not messages._inbox.readers
        goes.set()
        first, second = messages.get(5), messages.get(0)
        assert first is not None
        assert second is not None
        assert (first.payload, second.payload) == (b"1", b"2")


def test_a_stream_that_another_thread_closes_ends_for_all_who_wait() -> None:
    with scripted(serve_all) as route, one_connection(route, "a") as client:
        messages = client.messages("t")
        waiting = [InThread(messages.get) for _ in range(4)]
        until(lambda: len(messages._inbox.readers or ()) == 4)
        messages.close()
        assert [each.result() for each in waiting] == [None] * 4
        assert client.publish("t", b"x", qos=1) == 0


def test_each_message_goes_to_one_of_several_readers() -> None:
    count = 500

    def script(peer: Peer) -> None:
        peer.accept()
        peer.expect(Subscribe)
        for number in range(count):
            peer.send(Publish("t", b"%d" % number, qos=1, packet_id=number + 1))
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a") as client:
        messages = client.messages("t")
        taken: list[bytes] = []

        def read() -> None:
            taken.extend(message.payload for message in messages)

        readers = [InThread(read) for _ in range(4)]
        asking = InThread(client.subscribe, "other", timeout_s=30)
        until(lambda: len(taken) == count)
        messages.close()
        for each in readers:
            each.result()
        client.disconnect()
        with pytest.raises(ConnectionLostError):
            asking.result()
    assert sorted(map(int, taken)) == list(range(count))


def test_a_stream_ends_with_the_client_and_says_why_where_it_was_lost() -> None:
    goes = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        if peer.number:
            happened(goes)
        else:
            peer.answer_until_close()

    with scripted(script) as route:
        client = one_connection(route, "a")
        messages = client.messages("t")
        client.connect()
        waiting = InThread(list, messages)
        until(lambda: messages._inbox.readers)
        client.disconnect()
        assert waiting.result() == []
        client.connect()
        waiting = InThread(messages.get)
        until(lambda: messages._inbox.readers)
        goes.set()
        with pytest.raises(ConnectionLostError, match="the server closed"):
            waiting.result()
        client.disconnect()


@BOTH_VERSIONS
def test_callbacks_are_called_in_a_thread_and_may_call_the_client(version: int) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(*(Publish("in", b"%d" % number, qos=1, packet_id=number + 1) for number in range(10)))
        peer.send(Publish("elsewhere", b"x"))
        seen.extend(packet for packet in peer.answer_until_close() if isinstance(packet, Publish))

    seen: list[Any] = []
    threads: set[str] = set()
    other = threading.Event()
    with scripted(script, version=version) as route, nothing_left():
        with one_connection(route, "a", version=version) as client:

            def forward(message: Publish) -> None:
                threads.add(threading.current_thread().name)
                number = int(message.payload)
                client.publish("out", message.payload, qos=number % 3)
                if number == 5:
                    raise ValueError("a callback may fail")

            handler = client.on_message("in", forward)
            client.on_unmatched(lambda message: other.set())
            until(lambda: len(seen) or other.is_set())
            happened(other)
            until(lambda: client.stats().messages_sent == 10)
            handler.close()
            handler.close()
        assert threads == {"iotwire callbacks"}
    assert [int(packet.payload) for packet in seen] == list(range(10))


def test_a_callback_that_fails_is_logged_and_the_next_is_called(caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(Publish("t", b"1"), Publish("t", b"2"))
        peer.answer_until_close()

    called: list[bytes] = []

    def fail(message: Publish) -> None:
        called.append(message.payload)
        raise ValueError("today not")

    with scripted(script) as route, one_connection(route, "a") as client:
        client.on_message("t", fail)
        until(lambda: len(called) == 2)
        until(lambda: sum("the callback for a message on t failed" in line for line in caplog.messages) == 2)

    async def wrong(message: Publish) -> None:
        pass

    with pytest.raises(EncodeError):
        client.on_message("t", wrong)


def test_messages_that_were_there_before_their_callback_are_all_handled() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(*(Publish("t", b"%d" % number) for number in range(5)))
        peer.answer_until_close()

    for way in ("on_message", "on_unmatched"):
        called: list[bytes] = []

        def note(message: Publish) -> None:
            called.append(message.payload)  # noqa: B023 -- called in this turn

        with scripted(script) as route, one_connection(route, "a") as client:
            until(lambda: client.stats().messages_unclaimed == 5)
            if way == "on_message":
                client.on_message("t", note)
            else:
                client.on_unmatched(note)
            until(lambda: len(called) == 5)  # noqa: B023
        assert called == [b"%d" % number for number in range(5)]


def test_a_callback_may_disconnect_the_client() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(Publish("stop", b"x"))
        peer.answer_until_close()

    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a")
        client.on_message("stop", lambda message: client.disconnect())
        client.connect()
        assert list(client.messages("never")) == []


def test_a_message_is_acknowledged_when_the_application_says_so() -> None:
    acknowledged: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        peer.send(Publish("t", b"1", qos=1, packet_id=1), Publish("t", b"2", qos=1, packet_id=2))
        while (packet := peer.receive()) is not None:
            if isinstance(packet, PubAck):
                acknowledged.append(packet.packet_id)
            else:
                peer.answer(packet)

    with scripted(script) as route:
        client = one_connection(route, "a")
        messages = client.messages("t", manual_acknowledgement=True)
        client.connect()
        first, second = messages.get(5), messages.get(5)
        assert first is not None
        assert second is not None
        client.publish("a round", qos=1)
        assert acknowledged == []
        client.acknowledge(first)
        client.publish("a round", qos=1)
        assert acknowledged == [1]
        client.acknowledge(second)
        client.acknowledge(second)
        client.publish("a round", qos=1)
        assert acknowledged == [1, 2]
        client.disconnect()


def test_a_full_stream_pauses_reading_and_whoever_waits_meanwhile_reads_on_afterwards() -> None:
    goes = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        for number in range(20):
            peer.send(Publish("full", b"%d" % number))
        happened(goes)
        peer.send(Publish("other", b"at last"))
        peer.answer_until_close()

    with scripted(script) as route:
        client = one_connection(route, "a")
        full = client.messages("full", max_messages=2, when_full="pause")
        other = client.messages("other")
        client.connect()
        until(lambda: client._is_paused)
        waiting = [InThread(other.get), InThread(other.get, 5)]
        until(lambda: len(client._sleepers) == 2)
        taken = []
        while len(taken) + full.dropped < 20:
            message = full.get(5)
            assert message is not None
            taken.append(message.payload)
        goes.set()
        until(lambda: any(each.is_done for each in waiting))
        other.close()
        assert sorted(each.result() is None for each in waiting) == [False, True]
        assert full.dropped == 0
        assert taken == [b"%d" % number for number in range(20)]
        client.disconnect()


# Requests.


def test_a_request_gets_its_own_answer() -> None:
    def script(peer: Peer) -> None:
        peer.accept(response_information="answers")
        while (packet := peer.receive()) is not None:
            peer.answer(packet)
            if isinstance(packet, Publish) and packet.response_topic is not None:
                wrong = Publish(packet.response_topic, b"wrong", correlation_data=b"another's")
                right = Publish(
                    packet.response_topic,
                    b"to " + packet.payload,
                    qos=1,
                    packet_id=7,
                    correlation_data=packet.correlation_data,
                )
                peer.send(wrong, right)
                assert peer.expect(PubAck).packet_id == 7

    with scripted(script) as route, one_connection(route, "a") as client:
        assert client.request("t", b"1").payload == b"to 1"
        assert client.request("t", b"2", timeout_s=5).topic == "answers/a"
        assert client.stats().messages_unclaimed == 2
    with pytest.raises(EncodeError):
        one_connection(route, "a", version=4).request("t")


def test_a_request_without_an_answer_ends_after_its_time() -> None:
    with scripted(serve_all) as route, one_connection(route, "a") as client:
        with pytest.raises(RequestTimeoutError):
            client.request("t", b"1", timeout_s=0.05)
        assert not client._answers
        assert client.publish("t", qos=1) == 0


# Connecting again.


@BOTH_VERSIONS
def test_what_was_not_acknowledged_goes_out_again_and_streams_go_on(version: int) -> None:
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept(session_present=peer.number > 0)
        if peer.number == 0:
            peer.answer(peer.expect(Subscribe))
            seen.append(peer.expect(Publish))
            return
        peer.send(Publish("in", b"%d" % peer.number))
        while (packet := peer.receive()) is not None:
            seen.append(packet)
            peer.answer(packet)

    options: dict[str, Any] = {"session_expiry_interval": 60} if version == 5 else {"clean_start": False}
    with (
        scripted(script, version=version) as route,
        BlockingClient(route, "a", version=version, reconnect=AT_ONCE, **options) as client,
    ):
        messages = client.messages("in")
        client.subscribe("in")
        assert client.publish("out", b"x", qos=1) == 0
        received = messages.get(5)
        assert received is not None
        assert received.payload == b"1"
        assert client.stats().reconnects == 1
    assert [(each.payload, each.dup) for each in seen[:2]] == [(b"x", False), (b"x", True)]


@BOTH_VERSIONS
def test_subscriptions_are_made_again_where_the_server_has_lost_them(version: int) -> None:
    restored: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        if peer.number == 0:
            for _ in range(2):
                peer.answer(peer.expect(Subscribe))
            return
        subscribe = peer.expect(Subscribe)
        restored.append(subscribe.subscriptions)
        peer.answer(subscribe)
        peer.answer_until_close()

    with (
        scripted(script, version=version) as route,
        BlockingClient(route, "a", version=version, reconnect=AT_ONCE) as client,
    ):
        client.subscribe("a", 1)
        client.subscribe("b", 2)
        until(lambda: restored)
        assert client.publish("t", qos=1) == 0
    assert restored == [(Subscription("a", 1), Subscription("b", 2))]


def test_every_call_that_waits_while_there_is_no_connection_goes_on_with_the_next() -> None:
    goes = threading.Event()

    def script(peer: Peer) -> None:
        if peer.number == 0:
            peer.accept()
            return
        peer.expect(Connect)
        happened(goes)
        peer.send(ConnAck())
        peer.answer_until_close(echoes=True)

    with scripted(script) as route, BlockingClient(route, "a", reconnect=AT_ONCE) as client:
        messages = client.messages("t/#")
        waiting = [InThread(messages.get) for _ in range(2)]
        until(lambda: not client.is_connected)
        waiting += [InThread(client.publish, f"t/{qos}", b"x", qos=qos) for qos in (1, 2, 1)]
        waiting += [InThread(client.subscribe, "t", 1), InThread(client.subscribe, "t", 2)]
        waiting.append(InThread(client.publish_many, [("t/3", b"x")], qos=1))
        until(lambda: client.stats().messages_queued == 4 and len(client._connection_waiters) == 2)
        goes.set()
        for each in waiting:
            each.result()


def test_a_call_whose_connection_is_lost_while_it_reads_goes_on_with_the_next() -> None:
    """Lost after each of the packets of an exchange, and the call does not notice."""
    for qos, packets in ((1, 1), (2, 1), (2, 2)):

        def script(peer: Peer) -> None:
            peer.accept(session_present=peer.number > 0)
            if peer.number % 2 == 0:
                for number in range(packets):  # noqa: B023 -- called in this turn
                    packet = peer.receive()
                    if number + 1 < packets:  # noqa: B023
                        peer.answer(packet)  # type: ignore[arg-type]
                return
            peer.answer_until_close()

        with (
            scripted(script) as route,
            BlockingClient(route, "a", reconnect=AT_ONCE, session_expiry_interval=60) as client,
        ):
            assert client.publish("t", b"x", qos=qos) == 0


# Disconnecting.


@pytest.mark.parametrize("exchanging", [False, True])
def test_disconnect_waits_until_all_is_acknowledged(exchanging: bool) -> None:
    answers = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        packets = [peer.expect(Publish) for _ in range(1 if exchanging else 5)]
        happened(answers)
        for packet in packets:
            peer.answer(packet)
        peer.answer_until_close()

    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a", drain_timeout_s=60)
        client.connect()
        publishing = InThread(client.publish, "t", b"x", qos=1)
        until(lambda: client.stats().messages_queued == 1)
        if not exchanging:
            for number in range(4):
                client.publish_nowait("t", b"%d" % number, qos=1)
        ending = InThread(client.disconnect)
        until(lambda: client._drained is not None)
        with pytest.raises(ConnectionLostError, match="closing"):
            client.publish("too late", qos=1)
        answers.set()
        assert ending.result() == []
        assert publishing.result() == 0


def test_disconnect_gives_back_what_was_not_delivered_in_time(caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        while peer.receive() is not None:
            pass

    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a", drain_timeout_s=0.05)
        client.connect()
        receipts = [client.publish_nowait("t", b"%d" % number, qos=1) for number in range(3)]
        undelivered = client.disconnect()
        assert [each.payload for each in undelivered] == [b"0", b"1", b"2"]
        assert client.undelivered == undelivered
        assert all(isinstance(receipt.error, ConnectionLostError) for receipt in receipts)
        with pytest.raises(ConnectionLostError):
            receipts[0].wait()
    assert any("before 3 messages were delivered" in line for line in caplog.messages)


def test_a_connection_lost_while_draining_ends_the_drain() -> None:
    drains = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        peer.expect(Publish)
        happened(drains)

    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a", drain_timeout_s=3600)
        client.connect()
        client.publish_nowait("t", b"x", qos=1)
        ending = InThread(client.disconnect)
        until(lambda: client._drained is not None)
        drains.set()
        assert [each.payload for each in ending.result()] == [b"x"]


def test_two_threads_that_disconnect_both_wait_for_the_drain() -> None:
    answers = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        packet = peer.expect(Publish)
        happened(answers)
        peer.answer(packet)
        assert peer.receive() == Disconnect()

    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a", drain_timeout_s=3600)
        client.connect()
        client.publish_nowait("t", b"x", qos=1)
        endings = [InThread(client.disconnect) for _ in range(3)]
        until(lambda: client._drained is not None)
        answers.set()
        assert [each.result() for each in endings] == [[], [], []]


def test_a_server_that_never_closes_holds_up_a_close_only_so_long() -> None:
    ends = threading.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        peer.expect(Disconnect)
        happened(ends)

    with scripted(script) as route:
        client = one_connection(route, "a", close_timeout_s=0.2)
        client.connect()
        began = time.monotonic()
        client.disconnect()
        assert time.monotonic() - began < 2
        ends.set()


def test_an_error_of_the_body_comes_through_and_the_connection_is_closed() -> None:
    with scripted(serve_all) as route, nothing_left():
        with pytest.raises(ZeroDivisionError), one_connection(route, "a") as client:
            _ = 1 // 0
        assert not client.is_connected


def test_a_silent_server_is_noticed_by_everyone_who_waits() -> None:
    def script(peer: Peer) -> None:
        peer.accept(server_keep_alive=1)
        while peer.receive() is not None:
            pass

    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a", ping_timeout_s=0.05, close_timeout_s=0.2)
        client.connect()
        waiting = [InThread(client.publish, "t", qos=1), InThread(client.messages("t").get)]
        waiting.append(InThread(client.subscribe, "t"))
        for each in waiting:
            with pytest.raises(ConnectionLostError):
                each.result()


# KeyboardInterrupt.


class Interrupt:
    """Ctrl-C in the main thread, as soon as something is so."""

    def __init__(self, condition: Any) -> None:
        self._main = threading.get_ident()
        self._condition = condition
        self._thread = threading.Thread(target=self._run)
        self._before: Any = None
        self._has_come = False

    def _interrupt(self, number: int, frame: Any) -> None:
        if not self._has_come:
            self._has_come = True
            raise KeyboardInterrupt

    def _run(self) -> None:
        until(self._condition)
        # It is to come while the call waits, and nobody can tell when it has begun to: a little later, it has. Just
        # before, a signal is noted and wakes nothing, in any Python program: then it takes another one.
        while not self._has_come:
            time.sleep(0.02)
            signal.pthread_kill(self._main, signal.SIGINT)

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._interrupt)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._has_come = True  # also where the call ended otherwise: it has nobody to come to
        self._thread.join()
        signal.signal(signal.SIGINT, self._before)


@pytest.mark.parametrize(
    "call", ["exchange", "with a time-out", "behind another", "subscribe", "get", "get behind another", "wait", "drain"]
)
def test_keyboard_interrupt_in_a_call_that_waits_leaves_the_client_usable(call: str) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        waiting: list[Any] = []
        while (packet := peer.receive()) != Publish("on"):
            waiting.append(packet)
        for packet in waiting:
            peer.answer(packet)
        peer.answer_until_close()

    with scripted(script) as route, one_connection(route, "a", max_queued=2, keep_alive=0) as client:
        messages = client.messages("never")
        others: list[InThread] = []
        if "behind another" in call:
            others.append(InThread(messages.get))
            until(lambda: client._reader is not None or client._sleepers)
        calls: dict[str, Any] = {
            "exchange": lambda: client.publish("t", qos=1),
            "with a time-out": lambda: client.publish("t", qos=1, timeout_s=60),
            "behind another": lambda: client.publish("t", qos=1),
            "subscribe": lambda: client.subscribe("t"),
            "get": messages.get,
            "get behind another": messages.get,
            "wait": lambda: client.publish_nowait("t", qos=1).wait(),
            "drain": lambda: [client.publish_nowait("t", qos=1) for _ in range(2)] and client.drain(),
        }
        began = len(others)
        with (
            pytest.raises(KeyboardInterrupt),
            Interrupt(lambda: (client._reader is not None) + len(client._sleepers) > began),
        ):
            calls[call]()
        assert client._reader is not None or call != "get behind another" or not blocking.Watch.can_be_told
        client.publish_nowait("on")
        assert client.publish("after it", qos=1, timeout_s=5) == 0
        assert client.publish("after it", qos=1) == 0
        assert client.subscribe("a", timeout_s=5) == (0,)
        messages.close()
        for each in others:
            assert each.result() is None


def test_keyboard_interrupt_while_connecting_and_disconnecting_ends_both() -> None:
    was_asked = threading.Event()

    def script(peer: Peer) -> None:
        if peer.number == 0:
            peer.expect(Connect)
            was_asked.set()
            assert not isinstance(peer.receive(), Publish)
            return
        peer.accept()
        while peer.receive() is not None:
            pass

    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a", drain_timeout_s=3600)
        with pytest.raises(KeyboardInterrupt), Interrupt(was_asked.is_set):
            client.connect()
        client.connect()
        client.publish_nowait("t", b"x", qos=1)
        with pytest.raises(KeyboardInterrupt), Interrupt(lambda: client._drained is not None):
            client.disconnect()
        until(lambda: not client.is_connected)
        assert [each.payload for each in client.disconnect()] == [b"x"]


def test_keyboard_interrupt_in_the_moment_it_is_connected_says_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept()
        taken.extend(peer.answer_until_close())

    def be_interrupted(waiter: Any, timeout_s: float | None) -> None:
        until(lambda: client.is_connected)
        raise KeyboardInterrupt

    with scripted(script) as route, nothing_left():
        client = one_connection(route, "a")
        monkeypatch.setattr(blocking.ThreadWaiter, "sleep", be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.connect()
    assert [type(packet) for packet in taken] == [Disconnect]


def test_an_interrupt_just_after_something_was_read_gives_the_connection_up_rather_than_bytes() -> None:
    if not blocking.Watch.can_be_told:
        pytest.skip("no call reads for itself here")
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        peer.accept(session_present=peer.number > 0)
        seen.extend(packet for packet in peer.answer_until_close() if isinstance(packet, Publish))

    options: dict[str, Any] = {"session_expiry_interval": 60, "reconnect": AT_ONCE}
    with scripted(script) as route, BlockingClient(route, "a", **options) as client:
        wire = client._wire
        assert wire is not None
        read = wire.wait_and_read

        def read_and_be_interrupted(buffer: Any) -> int:
            read(buffer)
            raise KeyboardInterrupt

        wire.wait_and_read = read_and_be_interrupted  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt):
            client.publish("t", b"1", qos=1)
        assert client.publish("t", b"2", qos=1) == 0
        until(lambda: not client.undelivered)
    assert [(packet.payload, packet.dup) for packet in seen][:2] == [(b"1", False), (b"1", True)]


def test_stats_count_what_was_sent_and_received() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.answer_until_close(echoes=True)

    with scripted(script) as route, one_connection(route, "a") as client:
        messages = client.messages("t")
        for qos in (0, 1, 2):
            client.publish("t", b"x", qos=qos)
            assert messages.get(5) is not None
        stats = client.stats()
        assert (stats.messages_sent, stats.messages_received, stats.connections) == (3, 3, 1)
        assert stats.messages_queued == stats.messages_dropped == 0
        assert client.server_limits.receive_maximum == 65535
        assert client.connack.reason_code == 0


def test_losing_a_connection_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        if peer.number:
            peer.answer_until_close()

    with caplog.at_level(logging.WARNING, "iotwire.client"), scripted(script) as route:
        with BlockingClient(route, "a", reconnect=AT_ONCE) as client:
            until(lambda: client.stats().reconnects == 1)
        assert sum("state=lost" in line for line in caplog.messages) == 1
