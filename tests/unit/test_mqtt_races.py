"""What threads may share, and what they get when they share what they should not: never another's bytes, never a crash.

Nothing here writes to memory while somebody else reads it, so that on a free-threaded CPython a thread sanitizer may
look on, to whom every report is an error (`make test-freethreaded`). Callers who do write are in test_mqtt_threads.py.
Bounded by rounds and not by time: on ordinary CPython too the file takes a few seconds.
"""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from decoding import anything
from iotwire.errors import EncodeError, IotwireError, MalformedPacketError, WireError
from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
    Decoder,
    Delivery,
    Disconnect,
    Packet,
    PingReq,
    PreparedPublish,
    PubAck,
    Publish,
    Session,
    SubAck,
    Subscribe,
    Subscription,
    TopicTree,
    UnsubAck,
    Unsubscribe,
    Will,
    decode,
    encode_publish,
    encode_publish_header,
    topic_matches,
)
from model_server import ModelServer
from racing import run_together

pytestmark = pytest.mark.usefixtures("frequent_thread_switches")

ROUNDS = 100
THREADS = 4
TOPIC = "pflanze/kessel/wärme"  # not ASCII: CPython makes its UTF-8 form when somebody first asks, and keeps it
PAIRS = (("Größe", "µm"), ("k", "v"))


def fresh(text: str) -> str:
    """A str of its own, which nobody has asked for its UTF-8 form."""
    return "".join(list(text))


def some_packets() -> list[Packet]:
    """Packets that nobody has looked at yet."""
    pairs = tuple((fresh(name), fresh(value)) for name, value in PAIRS)
    will = Will(fresh(TOPIC), b"gone", qos=1, user_properties=pairs)
    return [
        Connect("gateway-7", username="u", password=b"p", will=will, session_expiry_interval=60, user_properties=pairs),
        ConnAck(0x87, reason_string=fresh("nö")),
        Publish(fresh(TOPIC), b"81.5", qos=1, packet_id=7, content_type=fresh("Maß"), user_properties=pairs),
        PubAck(7, 0x10, user_properties=pairs),
        Subscribe(7, [Subscription(fresh(TOPIC + "/+"), 1, no_local=True)], subscription_identifier=9),
        SubAck(7, [0, 1, 0x80]),
        Unsubscribe(7, [fresh(TOPIC)], user_properties=pairs),
        UnsubAck(7, [0, 0x11]),
        PingReq(),
        Disconnect(0x8E, reason_string=fresh("Übernahme")),
        Auth(0x18, authentication_method=fresh("schlüssel"), authentication_data=b"x"),
    ]


def everything_about(packet: Packet) -> list[object]:
    attributes = [getattr(packet, name) for name in sorted(dir(packet)) if not name.startswith("_")]
    values = [value for value in attributes if not callable(value)]
    return [values, repr(packet), hash(packet), packet.encode(), packet.encoded_size(), pickle.dumps(packet)]


def in_threads(target: Callable[[int], object], threads: int = THREADS) -> None:
    run_together(*(lambda number=number: target(number) for number in range(threads)))  # type: ignore[misc]


def test_a_packet_reads_the_same_to_all_threads() -> None:
    expected = [everything_about(packet) for packet in some_packets()]
    for _ in range(ROUNDS // 10):
        made = some_packets()
        decoded = Decoder(version=None).feed(b"".join(packet.encode() for packet in made))
        for packets in (some_packets(), decoded):

            def read(number: int, packets: list[Packet] = packets, made: list[Packet] = made) -> None:
                assert [everything_about(packet) for packet in packets] == expected
                assert packets == made

            in_threads(read)


def test_packets_die_on_any_thread() -> None:
    wire = b"".join(packet.encode() for packet in some_packets())
    queues: list[list[Packet]] = [[] for _ in range(THREADS)]

    def pass_on(number: int) -> None:
        # What one thread has made, its neighbour has the last reference to.
        for _ in range(ROUNDS):
            queues[(number + 1) % THREADS].extend(Decoder(version=None).feed(wire))
            mine = queues[number]
            while len(mine) > 20:
                assert mine.pop().encode()

    in_threads(pass_on)


def test_views_of_one_chunk_may_be_dropped_by_different_threads() -> None:
    wire = b"".join(encode_publish("t", bytes([n]) * 50) for n in range(THREADS * 10))
    for _ in range(ROUNDS):
        packets = Decoder(payload="view").feed(wire)

        def drop(number: int, packets: list[Any] = packets) -> None:
            for n in range(number, len(packets), THREADS):
                assert packets[n].payload == bytes([n]) * 50
                packets[n] = None

        in_threads(drop)


def test_a_decoder_belongs_to_one_call_at_a_time() -> None:
    packets = some_packets()[2:4]
    wire = b"".join(packet.encode() for packet in packets)
    for payload in ("bytes", "view"):
        decoder = Decoder(payload=anything(payload))
        refused = [0] * THREADS

        def feed(number: int, decoder: Decoder = decoder, refused: list[int] = refused) -> None:
            for turn in range(ROUNDS):
                # Whole packets, so that the stream makes sense in whatever order they arrive. Every other time they
                # take the way through the decoder's own storage.
                data = wire if turn % 2 else bytearray(wire)
                try:
                    found = decoder.feed(data)
                except WireError:
                    raise
                except IotwireError:  # "in the middle of another call"
                    refused[number] += 1
                else:
                    assert found == packets
                assert decoder.buffered == 0
                assert decoder.version == 5

        in_threads(feed)
        assert decoder.feed(wire) == packets
        assert sum(refused) < THREADS * ROUNDS


def test_a_decoder_may_be_asked_what_it_holds_while_it_is_fed() -> None:
    wire = Connect("gateway-7").encode() + b"".join(packet.encode() for packet in some_packets()[2:])
    for _ in range(ROUNDS // 10):
        decoder = Decoder(version=None)
        seen: list[tuple[int | None, int]] = []

        def feed(number: int, decoder: Decoder = decoder, seen: list[tuple[int | None, int]] = seen) -> None:
            if number == 0:
                for at in range(0, len(wire), 5):
                    decoder.feed(wire[at : at + 5])
            else:
                seen.extend((decoder.version, decoder.buffered) for _ in range(ROUNDS))

        in_threads(feed, 2)
        assert {version for version, _ in seen} <= {None, 5}
        assert all(0 <= buffered < len(wire) for _, buffered in seen)
        assert (decoder.version, decoder.buffered) == (5, 0)


def test_a_decoder_that_failed_tells_every_thread_the_same() -> None:
    for _ in range(ROUNDS // 10):
        decoder = Decoder()
        messages: list[str] = []

        def feed(number: int, decoder: Decoder = decoder, messages: list[str] = messages) -> None:
            for _ in range(10):
                try:
                    decoder.feed(b"\xf1\x00")
                except WireError as error:
                    messages.append(str(error))
                except IotwireError:
                    pass

        in_threads(feed)
        assert len(set(messages)) == 1


def test_a_decoder_offers_its_memory_to_one_call_at_a_time() -> None:
    decoder = Decoder()
    wire = encode_publish("t", b"x" * 100)

    def receive(number: int) -> None:
        for _ in range(ROUNDS):
            try:
                assert len(decoder.get_buffer(200)) >= 200
                # Another call may have taken the offer back by now: then nothing may be said to have arrived.
                decoder.buffer_updated(0)
            except IotwireError:
                continue

    in_threads(receive)
    decoder.get_buffer(200)[: len(wire)] = wire
    assert decoder.buffer_updated(len(wire)) == [Publish("t", b"x" * 100)]


def test_arguments_may_be_shared_between_calls() -> None:
    for _ in range(ROUNDS // 10):
        topic, pairs, payload = fresh(TOPIC), [list(map(fresh, pair)) for pair in PAIRS], b"81.5"
        expected = Publish(TOPIC, b"81.5", qos=1, packet_id=7, content_type="c", user_properties=PAIRS).encode()

        def encode(
            number: int,
            topic: str = topic,
            pairs: list[Any] = pairs,
            payload: bytes = payload,
            expected: bytes = expected,
        ) -> None:
            options: dict[str, Any] = {"content_type": "c", "user_properties": pairs}
            for _ in range(10):
                assert encode_publish(topic, payload, 1, False, 7, **options) == expected
                assert encode_publish_header(topic, payload, 1, False, 7, **options) + payload == expected
                assert Publish(topic, payload, qos=1, packet_id=7, **options).encode() == expected
                assert topic_matches(topic, topic)

        in_threads(encode)


def test_a_prepared_publish_serves_all_threads() -> None:
    for _ in range(ROUNDS // 10):
        sensor = PreparedPublish(fresh(TOPIC), 1, user_properties=[list(pair) for pair in PAIRS])
        expected = [Publish(TOPIC, b"%d" % n, qos=1, packet_id=n, user_properties=PAIRS).encode() for n in range(1, 20)]

        def encode(number: int, sensor: PreparedPublish = sensor, expected: list[bytes] = expected) -> None:
            assert [sensor.encode(b"%d" % n, n) for n in range(1, 20)] == expected
            assert repr(sensor).startswith("PreparedPublish(")

        in_threads(encode)


def test_a_list_of_properties_may_grow_and_shrink_while_it_is_encoded() -> None:
    pairs: list[tuple[str, str]] = []

    def use(number: int) -> None:
        for _ in range(ROUNDS):
            if number == 0:
                pairs.extend([("k", "v")] * 10)
                pairs.clear()
            else:
                [packet] = Decoder().feed(encode_publish("t", b"", 0, user_properties=pairs))
                assert set(anything(packet).user_properties) <= {("k", "v")}

    in_threads(use)


def test_errors_are_made_by_all_threads() -> None:
    bad = [b"\x40\x02\x00\x00", b"\x30\x03\x00\x01+", b"\x20\x03\x00\x01\x00", b"\x82\x05\x00\x01\x00\x00\x00"]

    def fail(number: int) -> None:
        for _ in range(ROUNDS // 4):
            for wire in bad:
                with pytest.raises(WireError):
                    decode(wire)
            with pytest.raises(EncodeError):
                encode_publish("a/+")
            with pytest.raises(EncodeError):
                PubAck(7, 0x10).encode(4)

    in_threads(fail)


def test_of_two_threads_that_initialise_one_packet_one_wins() -> None:
    def check(make: Callable[[], Any], arguments: list[tuple[Any, ...]], encode: Callable[[Any], object]) -> None:
        packet = make()
        winners: list[int] = []

        def initialise(number: int) -> None:
            try:
                packet.__init__(*arguments[number])
                winners.append(number)
            except EncodeError:
                raise
            except IotwireError:  # "is immutable"
                pass

        def look_on() -> None:
            for _ in range(10):
                try:
                    seen.append(encode(packet))
                except (IotwireError, AttributeError):
                    continue

        seen: list[object] = []
        run_together(lambda: initialise(0), lambda: initialise(1), look_on)
        [winner] = winners
        whole = make()
        whole.__init__(*arguments[winner])
        assert packet == whole
        assert set(seen) <= {encode(whole)}

    publishes = [(fresh(TOPIC), b"one"), (fresh("t" * 50), b"two" * 50)]
    for _ in range(ROUNDS):
        check(lambda: Publish.__new__(Publish), publishes, lambda packet: packet.encode())
        check(lambda: PubAck.__new__(PubAck), [(1, 0), (2, 0x10)], lambda packet: packet.encode())
        check(lambda: Will.__new__(Will), [("a", b"1"), ("b", b"2")], lambda will: Connect("c", will=will).encode())


def test_a_packet_whose_init_failed_has_no_properties() -> None:
    packet = Publish.__new__(Publish)
    with pytest.raises(EncodeError):
        anything(packet).__init__("t", content_type="c", user_properties=7)
    assert packet.content_type is None
    with pytest.raises(IotwireError):
        packet.encode()


def test_the_codes_of_a_decoded_acknowledgement_are_those_that_were_checked() -> None:
    with pytest.raises(MalformedPacketError) as caught:
        decode(b"\x90\x05\x00\x01\x00\x00\x7f")
    assert caught.value.offset == 6


FIRST_USE = """
import sys, threading
from iotwire.mqtt import ConnAck, PubAck, SubAck, decode
packets = [PubAck(7, 0x10), SubAck(7, [0, 1, 2]), ConnAck(0x87), decode(bytes([0x20, 2, 0, 5]), 4)[0]]
start = threading.Barrier(4)
found = []
def read():
    start.wait()
    found.append([repr(packet) for packet in packets])
threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert found == found[:1] * 4, found
print(*found[0], sep="\\n")
"""


def test_the_enums_may_be_first_used_by_many_threads() -> None:
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", FIRST_USE], check=False, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "PubAck(7, ReasonCode.NO_MATCHING_SUBSCRIBERS)",
            "SubAck(7, (ReasonCode.SUCCESS, ReasonCode.GRANTED_QOS_1, ReasonCode.GRANTED_QOS_2))",
            "ConnAck(ReasonCode.NOT_AUTHORIZED)",
            "ConnAck(ConnectReturnCode.NOT_AUTHORIZED)",
        ]


def test_a_tree_counts_right_when_threads_add_and_remove() -> None:
    tree: TopicTree[int] = TopicTree()
    topic_filters = ["a/b/c", "a/+/c", "a/#", "#", "a/b/d", "$share/g/a/b/c"]
    removed = [0] * THREADS

    def change(number: int) -> None:
        for turn in range(ROUNDS):
            for topic_filter in topic_filters:
                tree.add(topic_filter, number)
                tree.add(topic_filter, -1)  # the same for all: they take each other's
            assert number in tree.match("a/b/c")
            assert len(tree) > 0
            for topic_filter in topic_filters:
                assert tree.remove(topic_filter, number)
                removed[number] += tree.remove(topic_filter, -1)
                assert not tree.remove("never/" + topic_filter[-1], turn)

    in_threads(change)
    assert sum(removed) == THREADS * ROUNDS * len(topic_filters)
    assert len(tree) == 0
    assert tree.match("a/b/c") == []


def test_a_tree_never_loses_what_another_thread_adds() -> None:
    # One thread takes the last value of a level away, and with it the level, where the other puts one.
    tree: TopicTree[int] = TopicTree()

    def change(number: int) -> None:
        for _ in range(ROUNDS * 5):
            tree.add("a/b", number)
            assert number in tree.match("a/b")
            assert tree.remove("a/b", number)

    in_threads(change)
    assert len(tree) == 0


def test_what_a_garbage_collection_does_in_the_middle_of_add_loses_nothing() -> None:
    # Up to CPython 3.11 an allocation may start one, and with it anybody's Python code, and other threads.
    remaining = -1

    def take_the_way_out(phase: str, info: dict[str, int]) -> None:
        nonlocal remaining
        remaining -= 1
        if remaining == 0:
            assert tree.remove("a/b", "old")

    thresholds = gc.get_threshold()
    gc.callbacks.append(take_the_way_out)
    gc.set_threshold(1)
    try:
        for later in range(1, 40):
            tree: TopicTree[str] = TopicTree()
            tree.add("a/b", "old")
            remaining = later
            tree.add("a/b/c/d/e", "new")
            remaining = -1
            assert tree.match("a/b/c/d/e") == ["new"]
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(take_the_way_out)


def test_deep_trees_are_freed_by_several_threads_at_once() -> None:
    def build_and_drop(number: int) -> None:
        for _ in range(3):
            tree: TopicTree[Any] = TopicTree()
            tree.add("a/" * 5000 + "a", 1)
            tree.add("a/" * 2000 + "b/" * 2000 + "a", copy.copy(tree.match("a")))
            del tree

    in_threads(build_and_drop)


def test_threads_publish_through_one_session_while_another_serves_it() -> None:
    session = Session(max_in_flight=20)
    server = ModelServer(topic_alias_maximum=2)
    made: list[Delivery] = []
    finished: list[Delivery] = []

    def exchange() -> None:
        server.receive(b"".join(session.take_output(0.0)))
        answers, server.output = b"".join(server.output), []
        finished.extend(event for event in session.receive(answers, 0.0) if isinstance(event, Delivery))

    def publish(number: int) -> None:
        for count in range(ROUNDS):
            delivery = session.publish(fresh(f"to/server/wärme/{count % 5}"), b"%d/%d" % (number, count), count % 3)
            if delivery is not None:
                made.append(delivery)
                assert delivery.packet_id is None or 1 <= delivery.packet_id <= 65535
            assert session.is_connected
            assert session.limits is not None
            assert session.unfinished <= ROUNDS * THREADS

    def serve() -> None:
        while len(server.taken) < ROUNDS * (THREADS - 1) or session.unfinished:
            exchange()

    session.connect(Connect("c"), 0.0)
    exchange()
    run_together(serve, *(lambda number=number: publish(number) for number in range(THREADS - 1)))  # type: ignore[misc]
    assert sorted(server.taken) == sorted(b"%d/%d" % (n, count) for n in range(THREADS - 1) for count in range(ROUNDS))
    assert {id(delivery) for delivery in finished} == {id(delivery) for delivery in made}
    assert all(delivery.reason_code == 0 for delivery in finished)


def test_a_session_that_threads_connect_use_and_lose_at_once_stays_a_session() -> None:
    session = Session(4, max_in_flight=5, max_waiting=1_000_000)
    everything = [ConnAck().encode(4), *(Publish("a", b"x", qos=q, packet_id=q).encode(4) for q in (1, 2))]

    def use(number: int) -> None:
        for count in range(ROUNDS):
            try:
                if number == 0:
                    session.connect(Connect("c"), float(count))
                elif number == 1:
                    for event in session.receive(everything[count % 3], float(count)):
                        if isinstance(event, Publish) and event.packet_id is not None:
                            session.acknowledge(event)
                elif number == 2:
                    session.publish("a", b"x", 1)
                    session.take_output(float(count))
                    session.tick(float(count))
                else:
                    session.connection_lost("gone")
                    assert session.deadline is None or session.deadline >= 0
                    assert session.client_id in (None, "c")
            except IotwireError:
                pass  # connected already, or not connected: as it falls

    in_threads(use)
    session.connection_lost()
    session.take_events()
    session.connect(Connect("c"), 0.0)
    session.receive(everything[0], 0.0)
    assert session.is_connected
    assert session.unfinished == ROUNDS
