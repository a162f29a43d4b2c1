"""What a session knows of itself: bytes and packets by kind and topic, and what is still on its way."""

from __future__ import annotations

from typing import Any

import pytest

from iotwire.errors import EncodeError, OutboxFullError, PacketTooLargeError, ProtocolViolationError
from iotwire.mqtt import (
    ConnAck,
    Connect,
    ConnectionEnded,
    Decoder,
    Disconnect,
    Packet,
    PacketType,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Session,
    SubAck,
    Subscription,
    UnsubAck,
)

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])


def receive(session: Session, *packets: Packet, step: int | None = None) -> list[Any]:
    wire = b"".join(packet.encode(session.version) for packet in packets)
    step = step or len(wire)
    return [event for at in range(0, len(wire), step) for event in session.receive(wire[at : at + step], 0.0)]


def connected(version: int = 5, connack: ConnAck | None = None, **options: Any) -> Session:
    session = Session(version, **options)
    session.connect(Connect("c"), 0.0)
    session.take_output(0.0)
    receive(session, connack or ConnAck(0))
    return session


def reconnect(session: Session, **connack: Any) -> list[Any]:
    session.connection_lost()
    session.connect(Connect("c", clean_start=False), 0.0)
    session.take_output(0.0)
    return receive(session, ConnAck(0, **connack))


def taken(session: Session) -> list[Packet]:
    return Decoder(session.version).feed(b"".join(session.take_output(0.0)))


def count(*packets: Packet, version: int = 5) -> dict[int, tuple[int, int]]:
    """(packets, bytes) by type."""
    counted: dict[int, tuple[int, int]] = {}
    for packet in packets:
        kind = PacketType[type(packet).__name__.upper()]
        number, size = counted.get(kind, (0, 0))
        counted[kind] = (number + 1, size + len(packet.encode(version)))
    return counted


# Bytes and packets.


@BOTH_VERSIONS
def test_what_went_out_is_counted_to_the_byte(version: int) -> None:
    session = Session(version)
    assert session.sent == ({}, {})
    session.connect(Connect("c"), 0.0)
    receive(session, ConnAck(0))
    session.publish("sensors/1", b"x" * 200)
    session.publish("sensors/2", b"y", 1, True)
    session.publish("sensors", b"y", 2)
    session.publish("/leading", b"")
    session.subscribe([Subscription("a")])
    session.unsubscribe(["b"])
    receive(session, PubAck(1), PubRec(2), Publish("in", b"", qos=1, packet_id=9))
    session.disconnect()
    wire = b"".join(session.take_output(0.0))
    packets = Decoder(version).feed(wire)
    by_type, by_level = session.sent
    assert by_type == count(*packets, version=version)
    assert sum(size for _, size in by_type.values()) == len(wire)
    published = [packet for packet in packets if isinstance(packet, Publish)]
    for level in ("sensors", ""):
        own = [packet for packet in published if packet.topic.split("/")[0] == level]
        assert by_level[level] == count(*own, version=version)[PacketType.PUBLISH]
    assert by_level.keys() == {"sensors", ""}


@BOTH_VERSIONS
@pytest.mark.parametrize("step", [None, 1, 3])
def test_what_came_in_is_counted_to_the_byte_however_it_is_split(version: int, step: int | None) -> None:
    session = connected(version)
    session.publish("a", b"", 1)
    session.publish("a", b"", 2)
    request, undone = session.subscribe([Subscription("a")]), session.unsubscribe(["b"])
    packets = [
        PubAck(1),
        PubRec(2),
        PubComp(2),
        SubAck(request.packet.packet_id, (0,)),
        UnsubAck(undone.packet.packet_id, (0,) if version == 5 else ()),
        PingResp(),
        Publish("x/1", b"z" * 300),
        Publish("x/2", b"", qos=1, packet_id=7),
        Publish("y", b"", qos=2, packet_id=8),
    ]
    receive(session, *packets, step=step)
    by_type, by_level = session.received
    assert by_type == count(ConnAck(0), *packets, version=version)
    assert by_level == {
        "x": count(*packets[6:8], version=version)[PacketType.PUBLISH],
        "y": count(packets[8], version=version)[PacketType.PUBLISH],
    }


def test_topic_aliases_are_counted_as_the_bytes_they_are_under_the_topic_they_stand_for() -> None:
    session = connected(connack=ConnAck(0, topic_alias_maximum=1))
    for _ in range(3):
        session.publish("long/topic/name", b"x")
    sent = taken(session)
    assert [packet.topic for packet in sent if isinstance(packet, Publish)] == ["long/topic/name", "", ""]
    assert session.sent[1] == {"long": count(*sent)[PacketType.PUBLISH]}
    session.connection_lost()
    session.connect(Connect("c", topic_alias_maximum=5), 0.0)
    session.take_output(0.0)
    packets = [Publish("in/1", b"", topic_alias=5), Publish("", b"x", topic_alias=5)]
    receive(session, ConnAck(0), *packets)
    assert session.received[1] == {"in": count(*packets)[PacketType.PUBLISH]}


def test_so_many_levels_are_told_apart_and_the_others_are_one() -> None:
    session = connected()
    for at in range(100):
        session.publish(f"level{at}/x", b"")
        receive(session, Publish(f"level{at}", b""))
    for at in (0, 63, 64, 99):
        session.publish(f"level{at}/y", b"")
    for _, by_level in (session.sent, session.received):
        assert len(by_level) == 65
        assert [level for level in by_level if level is not None] == [f"level{at}" for at in range(64)]
    assert {level: session.sent[1][level][0] for level in ("level0", "level63", "level1", None)} == {
        "level0": 2,
        "level63": 2,
        "level1": 1,
        None: 38,
    }


def test_counts_hold_for_more_topics_than_are_remembered() -> None:
    session = connected()
    for turn in range(2):
        for at in range(1000):
            session.publish(f"{at % 7}/{at}/{turn}", b"")
    assert sum(number for number, _ in session.sent[1].values()) == 2000
    assert session.sent[1].keys() == {str(at) for at in range(7)}


def test_counts_go_on_over_connections_and_what_is_sent_again_counts_again() -> None:
    session = connected()
    session.publish("a", b"x", 1)
    reconnect(session, session_present=True)
    session.send_waiting()
    assert session.sent[0][PacketType.PUBLISH][0] == 2
    assert session.sent[1]["a"][0] == 2
    assert session.sent[0][PacketType.CONNECT][0] == session.received[0][PacketType.CONNACK][0] == 2


def test_a_packet_that_is_refused_or_waits_is_not_counted() -> None:
    session = connected(connack=ConnAck(0, maximum_qos=1, receive_maximum=1))
    for arguments in (("a/#", b""), ("a", b"", 2), ("a", "text")):
        with pytest.raises(Exception):  # noqa: B017
            session.publish(*arguments)  # type: ignore[arg-type]
    session.publish("a", b"", 1)
    session.publish("waits", b"", 1)
    assert session.sent[0][PacketType.PUBLISH][0] == 1
    assert session.sent[1].keys() == {"a"}


def test_counts_are_copies() -> None:
    session = connected()
    by_type, by_level = session.sent
    by_type.clear()
    by_level["x"] = (9, 9)
    assert session.sent == (count(Connect("c")), {})


# What waits to be written.


def test_output_bytes_are_what_take_output_gives() -> None:
    session = Session()
    assert session.output_bytes == 0
    session.connect(Connect("c"), 0.0)
    assert session.output_bytes == len(Connect("c").encode(5))
    receive(session, ConnAck(0))
    session.publish("a", b"x" * 1000)
    session.publish("a", b"x", 1)
    size = session.output_bytes
    assert size == sum(map(len, session.take_output(0.0)))
    assert session.output_bytes == 0
    session.publish("a", b"x")
    session.connection_lost()
    assert session.output_bytes == 0
    assert session.take_output(0.0) == []


# What is on its way.


@pytest.mark.parametrize("qos", [1, 2])
def test_unfinished_bytes_grow_and_shrink_with_what_is_kept(qos: int) -> None:
    session = connected(connack=ConnAck(0, receive_maximum=1), max_in_flight=5)
    sizes = [len(Publish("a", b"x" * size, qos=qos, packet_id=1).encode(5)) for size in (10, 200)]
    session.publish("a", b"x" * 10, qos)
    session.publish("a", b"x" * 200, qos)
    session.publish("a", b"never kept", 0)
    assert (session.unfinished, session.unfinished_bytes) == (2, sum(sizes))
    session.connection_lost()
    assert (session.unfinished, session.unfinished_bytes) == (2, sum(sizes))
    reconnect(session, session_present=True)
    for left in (sizes[1], 0):
        packet_id = session.deliveries()[0].packet_id or 0
        if qos == 1:
            receive(session, PubAck(packet_id))
        else:
            receive(session, PubRec(packet_id))
            assert session.unfinished_bytes == left  # the message is the server's: nothing of it is kept
            receive(session, PubComp(packet_id))
        assert session.unfinished_bytes == left
    assert (session.unfinished, session.peak_unfinished) == (0, 2)


def test_peak_unfinished_is_the_most_ever() -> None:
    session = connected()
    for most in (3, 1, 5, 2):
        deliveries = [session.publish("a", b"", 1) for _ in range(most)]
        receive(session, *(PubAck(each.packet_id) for each in deliveries if each is not None))
    assert (session.unfinished, session.peak_unfinished) == (0, 5)


def test_deliveries_and_undelivered_come_in_order_and_are_told_apart_by_who_has_the_message() -> None:
    session = connected(connack=ConnAck(0, receive_maximum=3, topic_alias_maximum=4))
    properties: dict[str, Any] = {"content_type": "t", "user_properties": (("k", "v"),), "correlation_data": b"7"}
    sent = [
        session.publish("a", b"0", 1, True),
        session.publish("a", b"1", 2, **properties),
        session.publish("a", b"2", 2),
        session.publish("b", b"3", 1),
        session.publish("a", b"4", 2, **properties),
    ]
    assert session.deliveries() == sent
    receive(session, PubRec(3))
    assert session.deliveries() == sent
    undelivered = session.undelivered()
    assert undelivered == [
        Publish("a", b"0", qos=1, retain=True),
        Publish("a", b"1", qos=2, **properties),
        Publish("b", b"3", qos=1),
        Publish("a", b"4", qos=2, **properties),
    ]
    assert {message.packet_id for message in undelivered} == {None}
    receive(session, PubAck(1), PubComp(3), PubRec(2, 0x97))
    assert session.deliveries() == sent[3:]
    assert [message.payload for message in session.undelivered()] == [b"3", b"4"]
    session.disconnect()
    assert [message.payload for message in session.undelivered()] == [b"3", b"4"]


def test_a_message_is_withdrawn_only_while_nothing_of_it_has_left() -> None:
    session = connected(connack=ConnAck(0, receive_maximum=1))
    first, second, third = (session.publish("a", b"%d" % at, 1) for at in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert not session.withdraw(first)
    assert session.withdraw(second)
    assert not session.withdraw(second)
    assert session.deliveries() == [first, third]
    assert session.unfinished_bytes == 2 * len(Publish("a", b"0", qos=1, packet_id=1).encode(5))
    receive(session, PubAck(1))
    assert [packet.payload for packet in taken(session) if isinstance(packet, Publish)] == [b"0", b"2"]
    assert not session.withdraw(first)
    assert not session.withdraw(third)


def test_a_message_that_may_have_left_on_an_earlier_connection_is_not_withdrawn() -> None:
    session = connected()
    delivery = session.publish("a", b"x", 1)
    assert delivery is not None
    session.connection_lost()
    assert not session.withdraw(delivery)
    reconnect(session, receive_maximum=1)
    assert delivery.may_be_duplicate
    assert not session.withdraw(delivery)
    session = Session()
    unsent = session.publish("a", b"x", 1)
    assert unsent is not None
    assert session.withdraw(unsent)
    assert (session.unfinished, session.unfinished_bytes, session.undelivered()) == (0, 0, [])


def test_withdrawing_makes_room_for_another() -> None:
    session = Session(max_waiting=1)
    delivery = session.publish("a", b"x", 1)
    assert delivery is not None
    with pytest.raises(OutboxFullError):
        session.publish("a", b"x", 1)
    assert session.withdraw(delivery)
    session.publish("a", b"x", 1)


# Bounds on what the server may do.


@pytest.mark.parametrize(("options", "most"), [({"max_unacknowledged": 5}, 5), ({}, 6)])
def test_so_many_messages_may_be_unacknowledged_and_no_more(options: dict[str, int], most: int) -> None:
    session = Session(**options)
    session.connect(Connect("c", receive_maximum=3), 0.0)
    session.take_output(0.0)
    receive(session, ConnAck(0))
    events = receive(session, *(Publish("a", b"", qos=1, packet_id=at) for at in range(1, most + 1)))
    assert len(events) == session.unacknowledged == most
    [*_, ended] = receive(session, Publish("a", b"", qos=1, packet_id=most + 1))
    assert isinstance(ended, ConnectionEnded)
    assert isinstance(ended.error, ProtocolViolationError)
    assert ended.error.reason_code == 0x93
    assert taken(session) == [Disconnect(0x93)]
    assert session.unacknowledged == 0


def test_unacknowledged_messages_are_those_whose_answer_has_not_left() -> None:
    session = connected()
    first, second, third = receive(session, *(Publish("a", b"", qos=1, packet_id=at) for at in (1, 2, 3)))
    session.acknowledge(second)
    assert session.unacknowledged == 3  # its turn has not come
    session.acknowledge(first)
    assert session.unacknowledged == 1
    assert taken(session) == [PubAck(1), PubAck(2)]
    session.acknowledge(third)
    assert session.unacknowledged == 0


@BOTH_VERSIONS
@pytest.mark.parametrize(("own", "of_connect", "most"), [(100, None, 100), (1000, 100, 100), (100, 1000, 100)])
def test_the_lower_of_two_bounds_on_packets_wins(version: int, own: int, of_connect: int | None, most: int) -> None:
    if version == 4:
        of_connect = None
        most = own
    session = Session(version, max_packet_size=own)
    session.connect(Connect("c", maximum_packet_size=of_connect), 0.0)
    session.take_output(0.0)
    receive(session, ConnAck(0))
    largest = next(size for size in range(most) if len(Publish("a", b"x" * size).encode(version)) == most)
    assert [event.topic for event in receive(session, Publish("a", b"x" * largest))] == ["a"]
    before = session.received[0][PacketType.PUBLISH]
    [ended] = receive(session, Publish("a", b"x" * (largest + 1)))
    assert isinstance(ended.error, PacketTooLargeError)
    assert session.received[0][PacketType.PUBLISH] == before


@pytest.mark.parametrize("name", ["max_unacknowledged", "max_packet_size", "max_in_flight", "max_waiting"])
def test_bounds_out_of_range_are_refused(name: str) -> None:
    for wrong in (-1, 1 << 40, "1", 1.5):
        with pytest.raises(EncodeError) as caught:
            Session(**{name: wrong})  # type: ignore[arg-type]
        assert caught.value.field == name


def test_pings_count_like_everything_else() -> None:
    session = Session()
    session.connect(Connect("c", keep_alive=10), 0.0)
    session.take_output(0.0)
    receive(session, ConnAck(0))
    session.tick(9.5)
    assert taken(session) == [PingReq()]
    receive(session, PingResp())
    assert session.sent[0][PacketType.PINGREQ] == session.received[0][PacketType.PINGRESP] == (1, 2)


def test_releases_count_like_everything_else() -> None:
    session = connected()
    session.publish("a", b"", 2)
    receive(session, PubRec(1))
    assert session.sent[0][PacketType.PUBREL] == count(PubRel(1))[PacketType.PUBREL]
