"""The session by itself: what it says, what it refuses, and what it makes of a server that breaks the rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from iotwire.errors import (
    ConnectError,
    ConnectionLostError,
    EncodeError,
    IotwireError,
    MalformedPacketError,
    OutboxFullError,
    ProtocolViolationError,
    PublishError,
    SubscribeError,
)
from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
    ConnectionEnded,
    Decoder,
    Delivery,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Request,
    Session,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)


def output_of(session: Session, now: float = 0.0) -> list[Packet]:
    return Decoder(session.version).feed(b"".join(session.take_output(now)))


def receive(session: Session, *packets: Packet, now: float = 0.0) -> list[Any]:
    return session.receive(b"".join(packet.encode(session.version) for packet in packets), now)


def connected(
    version: int = 5, connack: ConnAck | None = None, connect: Connect | None = None, **options: Any
) -> Session:
    session = Session(version, **options)
    session.connect(connect or Connect("c"), 0.0)
    [_] = session.take_output(0.0)
    events = receive(session, connack or ConnAck(0))
    assert [type(event) for event in events] == [ConnAck]
    return session


def reconnected(session: Session, *, present: bool, **limits: Any) -> list[Any]:
    session.connection_lost()
    session.connect(Connect("c", clean_start=False), 0.0)
    [_] = session.take_output(0.0)
    return session.take_events() + receive(session, ConnAck(0, session_present=present, **limits))


# The beginning.


def test_connect_is_the_first_thing_said() -> None:
    session = Session()
    session.connect(Connect("gateway-7", keep_alive=30), 5.0)
    assert output_of(session) == [Connect("gateway-7", keep_alive=30)]
    assert not session.is_connected
    assert session.deadline == 35.0


def test_a_connack_that_refuses_ends_the_connection_with_its_reason() -> None:
    session = Session()
    session.connect(Connect("c"), 0.0)
    connack, ended = receive(session, ConnAck(0x87, server_reference="elsewhere"))
    assert connack == ConnAck(0x87, server_reference="elsewhere")
    assert isinstance(ended.error, ConnectError)
    assert ended.error.reason_code == 0x87
    assert "NOT_AUTHORIZED" in str(ended.error)


def test_no_connack_in_time_ends_the_connection() -> None:
    session = Session(connect_timeout_s=3.0)
    session.connect(Connect("c"), 10.0)
    assert session.tick(12.9) == []
    [ended] = session.tick(13.0)
    assert isinstance(ended.error, ConnectError)


def test_a_session_connects_once_at_a_time() -> None:
    session = connected()
    with pytest.raises(IotwireError, match="already"):
        session.connect(Connect("c"), 0.0)


def test_the_client_id_is_the_servers_where_it_chose_one() -> None:
    session = connected(connect=Connect(""), connack=ConnAck(0, assigned_client_identifier="chosen"))
    assert session.client_id == "chosen"


# The end.


def test_disconnect_is_the_last_thing_said() -> None:
    session = connected()
    session.disconnect(Disconnect(0x04))
    assert output_of(session) == [Disconnect(0x04)]
    [ended] = session.take_events()
    assert ended.error is None
    with pytest.raises(ConnectionLostError):
        session.publish("a", b"")


def test_requests_end_with_the_connection() -> None:
    session = connected()
    request = session.subscribe([Subscription("a")])
    session.connection_lost("cut")
    assert session.take_events()[:1] == [request]
    assert request.answer is None


def test_the_servers_disconnect_is_an_event_and_the_end() -> None:
    session = connected()
    packet, ended = receive(session, Disconnect(0x9D, server_reference="elsewhere"))
    assert packet == Disconnect(0x9D, server_reference="elsewhere")
    assert ended.error.reason_code == 0x9D
    assert output_of(session) == []


# What a server may not do. Each row: the packets that come, the reason code that goes out.

BROKEN: dict[str, tuple[list[Packet], int]] = {
    "a second CONNACK": ([ConnAck(0)], 0x82),
    "a CONNECT": ([Connect("c")], 0x82),
    "a SUBSCRIBE": ([Subscribe(1, [Subscription("a")])], 0x82),
    "an UNSUBSCRIBE": ([Unsubscribe(1, ["a"])], 0x82),
    "a PINGREQ": ([PingReq()], 0x82),
    "an AUTH that nobody asked for": ([Auth(0x18, authentication_method="x")], 0x82),
    "an alias over the maximum": ([Publish("a", topic_alias=3)], 0x94),
    "an alias without a topic": ([Publish("", topic_alias=1)], 0x82),
    "a PUBACK for QoS 2": ([PubAck(1)], 0x82),
    "a PUBREC for QoS 1": ([PubRec(2)], 0x82),
    "a PUBCOMP before PUBREC": ([PubComp(1)], 0x82),
    "a SUBACK of the wrong length": ([SubAck(3, [0, 0])], 0x82),
    "an UNSUBACK for a SUBSCRIBE": ([UnsubAck(3, [0])], 0x82),
    "a PUBREL before PUBREC": ([Publish("a", qos=2, packet_id=9), PubRel(9)], 0x82),
}


def test_what_was_taken_does_not_grow() -> None:
    session = connected()
    taken = session.take_output(0)
    assert taken == []
    session.publish("a", b"1")
    assert taken == []
    assert len(session.take_output(0)) == 1


def test_a_fault_whose_code_a_disconnect_cannot_carry_is_a_protocol_error() -> None:
    session = connected()
    wire = bytearray(Connect("c").encode(5))
    wire[4] = ord("N")  # "NQTT": 0x84, which is a code of CONNACK only
    (ended,) = session.receive(bytes(wire), 1)
    assert isinstance(ended, ConnectionEnded)
    assert output_of(session) == [Disconnect(0x82)]


@pytest.mark.parametrize("name", BROKEN)
def test_a_server_that_breaks_a_rule_is_told_which_and_left(name: str) -> None:
    packets, code = BROKEN[name]
    session = connected(connect=Connect("c", topic_alias_maximum=2))
    session.publish("a", b"", 2)
    session.publish("a", b"", 1)
    session.subscribe([Subscription("a")])
    output_of(session)
    *_, ended = receive(session, *packets)
    assert isinstance(ended, ConnectionEnded)
    assert isinstance(ended.error, ProtocolViolationError)
    assert ended.error.clause
    assert [packet for packet in output_of(session) if isinstance(packet, Disconnect)] == [Disconnect(code)]


def test_bytes_that_are_no_packet_are_answered_with_their_reason_code() -> None:
    session = connected()
    message, ended = session.receive(Publish("a").encode() + b"\xf5\x00\xff", 0.0)
    assert message == Publish("a")
    assert isinstance(ended.error, MalformedPacketError)
    assert output_of(session) == [Disconnect(0x81)]


@pytest.mark.parametrize("packet", [Publish("a"), PingResp(), SubAck(1, [0]), Disconnect(0x8B)], ids=type)
def test_nothing_may_come_before_connack(packet: Packet) -> None:
    session = Session()
    session.connect(Connect("c"), 0.0)
    session.take_output(0.0)
    [ended] = receive(session, packet)
    assert isinstance(ended.error, ProtocolViolationError)
    assert output_of(session) == []  # DISCONNECT is for connections that were accepted


def test_answers_to_nothing_are_ignored() -> None:
    session = connected()
    assert receive(session, PubAck(7), PubComp(7), SubAck(7, [0]), UnsubAck(7, [0])) == []
    assert session.is_connected


def test_what_comes_after_the_end_is_nobodys() -> None:
    session = connected()
    session.disconnect()
    session.take_events()
    assert receive(session, Publish("a"), PubAck(1)) == []


# Messages to the server.


def test_qos_0_is_sent_at_once_and_leaves_nothing_behind() -> None:
    session = connected()
    assert session.publish("a/b", b"x", 0, True) is None
    assert output_of(session) == [Publish("a/b", b"x", retain=True)]
    assert session.unfinished == 0


def test_qos_1_ends_with_puback() -> None:
    session = connected()
    delivery = session.publish("a/b", b"x", 1)
    assert output_of(session) == [Publish("a/b", b"x", qos=1, packet_id=1)]
    assert receive(session, PubAck(1, 0x10)) == [delivery]
    assert (delivery.is_done, delivery.reason_code, session.unfinished) == (True, 0x10, 0)


def test_qos_2_ends_with_pubcomp() -> None:
    session = connected()
    delivery = session.publish("a/b", b"x", 2)
    assert receive(session, PubRec(1)) == []
    assert output_of(session) == [Publish("a/b", b"x", qos=2, packet_id=1), PubRel(1)]
    assert receive(session, PubComp(1)) == [delivery]
    assert delivery.reason_code == 0


@pytest.mark.parametrize(("qos", "answer"), [(1, PubAck(1, 0x87)), (2, PubRec(1, 0x87))])
def test_a_refusal_is_the_end_of_a_message(qos: int, answer: Packet) -> None:
    session = connected()
    delivery = session.publish("a/b", b"x", qos)
    assert receive(session, answer) == [delivery]
    assert delivery.reason_code == 0x87


def test_messages_wait_for_the_servers_receive_maximum() -> None:
    session = connected(connack=ConnAck(0, receive_maximum=2))
    deliveries = [session.publish("a", b"%d" % number, 1) for number in range(4)]
    assert [each.packet_id for each in deliveries] == [1, 2, None, None]
    receive(session, PubAck(2), PubAck(1))
    assert [each.packet_id for each in deliveries] == [1, 2, 3, 4]
    assert [packet.payload for packet in output_of(session) if isinstance(packet, Publish)] == [b"0", b"1", b"2", b"3"]


def test_only_so_many_messages_wait() -> None:
    session = Session(max_waiting=2)
    for _ in range(2):
        session.publish("a", b"", 1)
    with pytest.raises(OutboxFullError):
        session.publish("a", b"", 1)


LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "QoS 2": ({"maximum_qos": 1}, {"qos": 2}, 0x9B),
    "QoS 1": ({"maximum_qos": 0}, {"qos": 1}, 0x9B),
    "retain": ({"retain_available": False}, {"retain": True}, 0x9A),
    "size": ({"maximum_packet_size": 100}, {"payload": bytes(100)}, 0x95),
    "size of QoS 1": ({"maximum_packet_size": 100}, {"payload": bytes(100), "qos": 1}, 0x95),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_connack_ruled_out_does_not_leave(name: str) -> None:
    limits, message, code = LIMITS[name]
    session = connected(connack=ConnAck(0, **limits))
    with pytest.raises(PublishError) as refused:
        session.publish("a", **message)
    assert refused.value.reason_code == code
    assert output_of(session) == []


@pytest.mark.parametrize("name", [name for name, row in LIMITS.items() if row[1].get("qos")])
def test_what_was_accepted_before_connack_and_is_ruled_out_by_it_is_reported(name: str) -> None:
    limits, message, code = LIMITS[name]
    session = Session()
    delivery = session.publish("a", **message)
    session.connect(Connect("c"), 0.0)
    session.take_output(0.0)
    _, reported = receive(session, ConnAck(0, **limits))
    assert reported is delivery
    assert (delivery.reason_code, type(delivery.error)) == (code, PublishError)
    assert output_of(session) == []


def test_a_topic_alias_is_the_sessions_own() -> None:
    session = connected(connack=ConnAck(0, topic_alias_maximum=2))
    for topic in ("one/topic", "one/topic", "two/topic", "three/topic", "two/topic", "one/topic"):
        session.publish(topic, b"")
    assert [(packet.topic, packet.topic_alias) for packet in output_of(session)] == [  # type: ignore[attr-defined]
        ("one/topic", 1), ("", 1), ("two/topic", 2), ("three/topic", 1), ("", 2), ("one/topic", 1),
    ]  # fmt: skip
    with pytest.raises(EncodeError, match="topic_alias"):
        session.publish("a", b"", topic_alias=1)


def test_aliases_keep_every_property_and_end_with_the_connection() -> None:
    session = connected(connack=ConnAck(0, topic_alias_maximum=2))
    given = {"content_type": "text/plain", "user_properties": (("a", "b"), ("a", "c")), "correlation_data": b"7"}
    session.publish("one/topic", b"x", 1, True, **given)
    session.publish("one/topic", b"y", 2, **given)
    first, second = output_of(session)
    assert first == Publish("one/topic", b"x", qos=1, retain=True, packet_id=1, topic_alias=1, **given)
    assert second == Publish("", b"y", qos=2, packet_id=2, topic_alias=1, **given)
    reconnected(session, present=True)
    again = output_of(session)
    assert again == [
        Publish("one/topic", b"x", qos=1, retain=True, dup=True, packet_id=1, **given),
        Publish("one/topic", b"y", qos=2, dup=True, packet_id=2, **given),
    ]


# After a reconnect.


def test_a_resumed_session_sends_again_in_order() -> None:
    session = connected()
    for number, qos in enumerate((1, 2, 2, 1)):
        session.publish("a", b"%d" % number, qos)
    receive(session, PubRec(3))
    output_of(session)
    reconnected(session, present=True)
    assert output_of(session) == [
        PubRel(3),
        Publish("a", b"0", qos=1, dup=True, packet_id=1),
        Publish("a", b"1", qos=2, dup=True, packet_id=2),
        Publish("a", b"3", qos=1, dup=True, packet_id=4),
    ]


def test_a_resumed_session_keeps_to_a_lower_receive_maximum() -> None:
    session = connected()
    for number in range(3):
        session.publish("a", b"%d" % number, 1)
    output_of(session)
    reconnected(session, present=True, receive_maximum=1)
    for number in range(3):
        assert output_of(session) == [Publish("a", b"%d" % number, qos=1, dup=True, packet_id=number + 1)]
        receive(session, PubAck(number + 1))


@pytest.mark.parametrize("acknowledgement", [PubAck, PubRec])
def test_what_is_acknowledged_before_it_was_sent_again_is_not_and_the_receive_maximum_holds(
    acknowledgement: type[PubAck | PubRec],
) -> None:
    qos = 1 if acknowledgement is PubAck else 2
    session = connected()
    for number in range(4):
        session.publish("a", b"%d" % number, qos)
    output_of(session)
    reconnected(session, present=True, receive_maximum=2)
    assert [each.packet_id for each in output_of(session) if isinstance(each, Publish)] == [1, 2]
    receive(session, acknowledgement(4))  # of the connection before: the last of them had arrived
    assert not any(isinstance(each, Publish) for each in output_of(session))
    if qos == 2:
        receive(session, PubComp(4))
        assert output_of(session) == []
    for number in (1, 2, 3):
        receive(session, acknowledgement(number))
        if qos == 2:
            output_of(session)
            receive(session, PubComp(number))
        assert [each.packet_id for each in output_of(session)] == ([3] if number == 1 else [])
    assert session.unfinished == 0
    for number in range(4):
        session.publish("a", b"%d" % number, qos)
    assert len(output_of(session)) == 2


def test_a_lost_session_publishes_anew_what_the_server_may_not_have() -> None:
    session = connected()
    released, sent = session.publish("a", b"0", 2), session.publish("a", b"1", 2)
    receive(session, PubRec(1))
    output_of(session)
    events = reconnected(session, present=False)
    assert [event for event in events if isinstance(event, Delivery)] == [released]
    assert (released.reason_code, released.may_be_duplicate) == (0, False)
    assert sent.may_be_duplicate
    assert output_of(session) == [Publish("a", b"1", qos=2, packet_id=3)]


@pytest.mark.parametrize("present", [True, False])
def test_what_waits_for_a_connection_leaves_after_the_subscriptions_that_its_answers_need(present: bool) -> None:
    session = connected()
    session.publish("sent before", b"", 1)
    output_of(session)
    session.connection_lost()
    session.publish("while away", b"", 1)
    session.connect(Connect("c", clean_start=False), 0.0)
    output_of(session)
    receive(session, ConnAck(0, session_present=present))
    assert session.output_bytes == 0
    session.subscribe([Subscription("answers")])
    assert [_name_of(packet) for packet in output_of(session)] == ["SUBSCRIBE", "sent before", "while away"]


@pytest.mark.parametrize("qos", [0, 1])
def test_what_is_published_as_a_connection_begins_leaves_after_what_has_waited_for_it(qos: int) -> None:
    session = Session()
    session.publish("first", b"", 1)
    session.connect(Connect("c"), 0.0)
    output_of(session)
    receive(session, ConnAck(0))
    session.publish("second", b"", qos)
    assert [_name_of(packet) for packet in output_of(session)] == ["first", "second"]


def _name_of(packet: Packet) -> str:
    return packet.topic if isinstance(packet, Publish) else type(packet).__name__.upper()


def test_a_session_is_not_trusted_after_a_connect_that_was_not_answered() -> None:
    # The server may have lost the session, begun a new one with that CONNECT, and found it present at the next.
    session = connected()
    delivery = session.publish("a", b"x", 2)
    session.connection_lost()
    session.connect(Connect("c", clean_start=False), 0.0)
    reconnected(session, present=True)
    assert delivery.may_be_duplicate


def test_what_a_new_connection_rules_out_is_not_sent_again() -> None:
    session = connected()
    refused, small = session.publish("a", bytes(100), 1), session.publish("a", b"", 1)
    session.take_output(0)
    assert refused in reconnected(session, present=True, maximum_packet_size=50)
    assert refused is not None
    assert isinstance(refused.error, PublishError)
    assert [packet.packet_id for packet in output_of(session) if isinstance(packet, Publish)] == [2]
    assert session.deliveries() == [small]


def test_a_server_that_forgot_what_was_released_has_it() -> None:
    session = connected()
    delivery = session.publish("a", b"x", 2)
    receive(session, PubRec(1))
    reconnected(session, present=True)
    assert receive(session, PubComp(1, 0x92)) == [delivery]
    assert delivery.reason_code == 0


def test_a_session_that_nobody_kept_may_not_be_present() -> None:
    session = Session()
    session.connect(Connect("c", clean_start=True), 0.0)
    [ended] = receive(session, ConnAck(0, session_present=True))
    assert isinstance(ended.error, ProtocolViolationError)


def test_messages_wait_for_a_connection() -> None:
    session = Session()
    session.publish("a", b"x", 1)
    with pytest.raises(ConnectionLostError):
        session.publish("a", b"x", 0)
    session.connect(Connect("c"), 0.0)
    session.take_output(0.0)
    receive(session, ConnAck(0))
    assert output_of(session) == [Publish("a", b"x", qos=1, packet_id=1)]


# Messages from the server.


def test_acknowledgements_leave_in_the_order_of_arrival() -> None:
    session = connected()
    messages = receive(session, *(Publish("a", qos=qos, packet_id=number) for number, qos in enumerate((1, 2, 1), 1)))
    session.acknowledge(messages[2])
    session.acknowledge(messages[1])
    assert output_of(session) == []
    assert session.unacknowledged == 3
    session.acknowledge(messages[0])
    assert output_of(session) == [PubAck(1), PubRec(2), PubAck(3)]
    receive(session, PubRel(2))
    assert output_of(session) == [PubComp(2)]


def test_a_qos_2_message_comes_once_however_often_it_is_sent() -> None:
    session = connected()
    message = Publish("a", b"x", qos=2, packet_id=5)
    again = Publish("a", b"x", qos=2, packet_id=5, dup=True)
    [first] = receive(session, message)
    reconnected(session, present=True)
    assert receive(session, again) == []
    session.acknowledge(first)
    assert output_of(session) == [PubRec(5)]
    reconnected(session, present=True)
    assert receive(session, again) == []
    assert output_of(session) == [PubRec(5)]
    receive(session, PubRel(5))
    assert receive(session, message) == [message]


def test_a_message_that_comes_again_is_answered_in_its_turn() -> None:
    # [MQTT-4.6.0-3]: aedes sends again, among what is new, what was on its way when a connection broke.
    session = connected(connect=Connect("c", clean_start=False))
    session.acknowledge(receive(session, Publish("a", b"x", qos=2, packet_id=5))[0])
    assert output_of(session) == [PubRec(5)]
    reconnected(session, present=True)
    again = Publish("a", b"x", qos=2, packet_id=5, dup=True)
    [new] = receive(session, Publish("a", b"y", qos=2, packet_id=6), again)
    assert output_of(session) == []
    session.acknowledge(new)
    assert output_of(session) == [PubRec(6), PubRec(5)]


def test_an_acknowledgement_for_an_earlier_connection_answers_nothing_new() -> None:
    session = connected()
    [old] = receive(session, Publish("a", b"old", qos=1, packet_id=1))
    reconnected(session, present=True)
    [new] = receive(session, Publish("a", b"new", qos=1, packet_id=1))
    session.acknowledge(old)
    assert output_of(session) == []
    session.acknowledge(new)
    assert output_of(session) == [PubAck(1)]


def test_a_message_that_the_application_refuses_is_refused_with_its_code() -> None:
    session = connected()
    one, two = receive(session, Publish("a", qos=1, packet_id=1), Publish("a", qos=2, packet_id=2))
    session.acknowledge(one, 0x97)
    session.acknowledge(two, 0x97)
    assert output_of(session) == [PubAck(1, 0x97), PubRec(2, 0x97)]


def test_a_server_that_floods_past_the_receive_maximum_is_left() -> None:
    session = connected(connect=Connect("c", receive_maximum=3))
    events = receive(session, *(Publish("a", qos=1, packet_id=number) for number in range(1, 20)))
    assert len([event for event in events if isinstance(event, Publish)]) == 6
    assert output_of(session) == [Disconnect(0x93)]


def test_inbound_aliases_are_spelt_out_and_taken_away() -> None:
    session = connected(connect=Connect("c", topic_alias_maximum=2))
    first = Publish("a/b", b"1", topic_alias=2, content_type="x", user_properties=(("k", "v"),))
    second = Publish("", b"2", topic_alias=2)
    assert receive(session, first, second) == [
        Publish("a/b", b"1", content_type="x", user_properties=(("k", "v"),)), Publish("a/b", b"2"),
    ]  # fmt: skip


# SUBSCRIBE and UNSUBSCRIBE.


@pytest.mark.parametrize("version", [4, 5])
def test_requests_end_with_their_answers(version: int) -> None:
    session = connected(version, connect=Connect("c"))
    asked = session.subscribe([Subscription("a", 1), Subscription("b/#")])
    left = session.unsubscribe(["a"])
    assert output_of(session) == [
        Subscribe(1, [Subscription("a", 1), Subscription("b/#")]), Unsubscribe(2, ["a"]),
    ]  # fmt: skip
    suback, unsuback = SubAck(1, [1, 0x80]), UnsubAck(2, [0] if version == 5 else [])
    assert receive(session, unsuback, suback) == [left, asked]
    assert isinstance(asked, Request)
    assert (asked.answer, left.answer) == (suback, unsuback)


SUBSCRIPTION_LIMITS: dict[str, tuple[dict[str, Any], str, dict[str, Any], int]] = {
    "wildcards": ({"wildcard_subscription_available": False}, "a/+", {}, 0xA2),
    "shared": ({"shared_subscription_available": False}, "$share/g/a", {}, 0x9E),
    "identifiers": ({"subscription_identifier_available": False}, "a", {"subscription_identifier": 1}, 0xA1),
    "size": ({"maximum_packet_size": 20}, "a/filter/of/some/length", {}, 0x95),
}


@pytest.mark.parametrize("name", SUBSCRIPTION_LIMITS)
def test_a_subscription_that_connack_ruled_out_does_not_leave(name: str) -> None:
    limits, topic_filter, options, code = SUBSCRIPTION_LIMITS[name]
    session = connected(connack=ConnAck(0, **limits))
    with pytest.raises(SubscribeError) as refused:
        session.subscribe([Subscription(topic_filter)], **options)
    assert refused.value.reason_codes == {topic_filter: code}
    assert output_of(session) == []


# Enhanced authentication.


def test_authentication_in_steps_and_again() -> None:
    session = Session()
    session.connect(Connect("c", authentication_method="steps", authentication_data=b"1"), 0.0)
    output_of(session)
    challenge = Auth(0x18, authentication_method="steps", authentication_data=b"2")
    answer = Auth(0x18, authentication_method="steps", authentication_data=b"3")
    again = Auth(0x19, authentication_method="steps", authentication_data=b"4")
    with pytest.raises(EncodeError):
        session.authenticate(again)
    assert receive(session, challenge) == [challenge]
    session.authenticate(answer)
    receive(session, ConnAck(0, authentication_method="steps"))
    session.authenticate(again)
    assert output_of(session) == [answer, again]
    done = Auth(0, authentication_method="steps")
    assert receive(session, done) == [done]
    [ended] = receive(session, Auth(0x18, authentication_method="other"))
    assert isinstance(ended.error, ProtocolViolationError)


def test_authentication_needs_a_method_in_connect() -> None:
    with pytest.raises(EncodeError, match="authentication_method"):
        connected().authenticate(Auth(0x18, authentication_method="x"))


# Time.


def test_pingreq_leaves_when_nothing_else_did() -> None:
    session = connected(connect=Connect("c", keep_alive=10))
    assert session.deadline == 9.0
    session.tick(8.9)
    assert output_of(session, 8.9) == []
    session.tick(9.0)
    assert output_of(session, 9.0) == [PingReq()]
    assert session.deadline == 18.0
    receive(session, PingResp(), now=9.5)
    assert session.tick(18.5) == []


def test_a_silent_server_is_left_and_told() -> None:
    session = connected(connect=Connect("c", keep_alive=10), ping_timeout_s=5.0)
    session.tick(9.0)
    assert session.deadline == 14.0
    [ended] = session.tick(14.0)
    assert isinstance(ended.error, ConnectionLostError)
    assert output_of(session, 14.0)[-1] == Disconnect(0x8D)


def test_a_sign_of_life_counts_that_comes_within_the_tick_of_the_clock_in_which_pingreq_left() -> None:
    session = connected(connect=Connect("c", keep_alive=10), ping_timeout_s=5.0)
    session.tick(9.0)
    assert output_of(session, 9.0) == [PingReq()]
    session.receive(Publish("a", b"x" * 100).encode(5)[:50], 9.0)
    assert session.tick(14.0) == []
    assert session.is_connected
    session.tick(18.0)
    assert output_of(session, 18.0) == [PingReq()]
    [ended] = session.tick(23.0)
    assert isinstance(ended.error, ConnectionLostError)


def test_the_servers_keep_alive_wins() -> None:
    session = connected(connect=Connect("c", keep_alive=10), connack=ConnAck(0, server_keep_alive=100))
    assert session.deadline == 90.0
    session = connected(connect=Connect("c", keep_alive=10), connack=ConnAck(0, server_keep_alive=0))
    assert session.deadline is None


def test_a_server_is_not_silent_while_nobody_reads() -> None:
    session = connected(connect=Connect("c", keep_alive=10), ping_timeout_s=5.0)
    session.is_reading = False
    for now in (9.0, 14.0, 19.0, 24.0):
        assert session.tick(now) == []
    session.is_reading = True
    [ended] = session.tick(29.1)
    assert isinstance(ended.error, ConnectionLostError)


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.subscribe([Subscription("a")]),
        lambda session: session.unsubscribe(["a"]),
        lambda session: session.publish("a"),
        lambda session: session.authenticate(Auth(0x18, authentication_method="x")),
    ],
)
def test_what_needs_a_connection_says_so(use: Callable[[Session], object]) -> None:
    with pytest.raises(ConnectionLostError):
        use(Session())
