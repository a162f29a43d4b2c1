"""What of a session has to outlive its process: said in time, waited for, and enough for QoS 2 to stay exactly once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from iotwire.errors import EncodeError, IotwireError
from iotwire.mqtt import (
    ConnAck,
    Connect,
    Decoder,
    Delivery,
    Disconnect,
    Packet,
    PingReq,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Session,
)
from iotwire.outbox import Change
from iotwire.outbox.state import SessionState
from model_server import ModelServer


def said(session: Session) -> list[Packet]:
    return Decoder(5).feed(b"".join(session.take_output(0.0)))


def told(session: Session, *packets: Packet) -> list[Any]:
    return session.receive(b"".join(packet.encode(5) for packet in packets), 0.0)


def connected(session: Session, *, session_present: bool = False, **connect: Any) -> Session:
    session.connect(Connect("c", **connect), 0.0)
    assert isinstance(said(session)[0], Connect)
    told(session, ConnAck(0, session_present=session_present))
    return session


def keep(session: Session) -> list[tuple[str, Any]]:
    changes = session.take_changes()
    session.changes_kept()
    return changes


# What waits for what.


def test_a_session_that_keeps_nothing_has_no_changes_and_waits_for_nothing() -> None:
    session = connected(Session())
    session.publish("a", b"1", 2)
    assert session.take_changes() == []
    assert [type(packet) for packet in said(session)] == [Publish]


def test_a_qos_2_message_leaves_when_its_packet_id_is_kept() -> None:
    session = connected(Session(keeps_changes=True))
    session.publish("a", b"0", 1)
    delivery = session.publish("a", b"1", 2)
    session.publish("a", b"2", 1)  # in order, so it waits too
    assert session.has_changes
    assert [packet.payload for packet in said(session)] == [b"0"]
    assert session.take_changes() == [("sent", delivery)]
    assert not session.has_changes
    assert said(session) == []
    assert session.output_bytes == 0
    session.changes_kept()
    assert [packet.payload for packet in said(session)] == [b"1", b"2"]


def test_pubrel_leaves_when_it_is_kept_that_pubrec_has_come() -> None:
    session = connected(Session(keeps_changes=True))
    delivery = session.publish("a", b"1", 2)
    keep(session)
    said(session)
    told(session, PubRec(1))
    assert said(session) == []
    assert keep(session) == [("released", delivery)]
    assert said(session) == [PubRel(1)]
    assert told(session, PubComp(1)) == [delivery]
    assert keep(session) == []


def test_pubrec_and_pubcomp_leave_when_it_is_kept_what_was_received() -> None:
    session = connected(Session(keeps_changes=True))
    [message] = told(session, Publish("a", b"1", qos=2, packet_id=7))
    session.acknowledge(message)
    assert said(session) == []
    assert keep(session) == [("received", 7)]
    assert said(session) == [PubRec(7)]
    told(session, PubRel(7))
    assert said(session) == []
    assert keep(session) == [("completed", 7)]
    assert said(session) == [PubComp(7)]


def test_qos_1_waits_for_nothing() -> None:
    session = connected(Session(keeps_changes=True))
    session.publish("a", b"1", 1)
    [message] = told(session, Publish("a", b"1", qos=1, packet_id=7))
    session.acknowledge(message)
    assert [type(packet) for packet in said(session)] == [Publish, PubAck]
    assert session.take_changes() == []


def test_what_comes_while_changes_are_being_kept_waits_for_its_own() -> None:
    session = connected(Session(keeps_changes=True))
    session.publish("a", b"1", 2)
    session.take_changes()
    second = session.publish("a", b"2", 2)
    session.changes_kept()
    assert [packet.payload for packet in said(session)] == [b"1"]
    assert keep(session) == [("sent", second)]
    assert [packet.payload for packet in said(session)] == [b"2"]


def test_a_connection_that_ends_takes_what_has_waited_with_it() -> None:
    session = connected(Session(keeps_changes=True), session_expiry_interval=60)
    delivery = session.publish("a", b"1", 2)
    session.disconnect()
    assert said(session) == [Disconnect()]
    session.connection_lost()
    session.connect(Connect("c", clean_start=False), 0.0)
    assert isinstance(said(session)[0], Connect)  # which depends on nothing
    told(session, ConnAck(0, session_present=True))
    session.send_waiting()
    assert said(session) == []
    assert keep(session) == [("sent", delivery)]
    [again] = said(session)
    assert (again.payload, again.dup, again.packet_id) == (b"1", True, 1)


def test_pings_wait_with_the_rest() -> None:
    session = connected(Session(keeps_changes=True), keep_alive=10)
    session.publish("a", b"1", 2)
    session.tick(9.5)
    keep(session)
    assert [type(packet) for packet in said(session)] == [Publish, PingReq]


def test_a_session_that_the_server_has_lost_voids_what_was_kept() -> None:
    session = connected(Session(keeps_changes=True), session_expiry_interval=60)
    sent, released = session.publish("a", b"1", 2), session.publish("a", b"2", 2)
    told(session, PubRec(2))
    keep(session)
    session.connection_lost()
    connected(session, clean_start=False, session_present=False)
    session.send_waiting()
    assert keep(session) == [("begun", None), ("sent", sent)]
    assert released.is_done
    assert released.reason_code == 0
    assert [packet.packet_id for packet in said(session)] == [3]


def test_a_clean_start_completes_what_was_received() -> None:
    session = Session(keeps_changes=True)
    session.restore_received(5)
    session.connect(Connect("c", clean_start=True), 0.0)
    assert session.take_changes() == [("completed", 5)]


# Restored.


@pytest.mark.parametrize("version", [4, 5])
def test_a_restored_session_goes_on_where_the_other_one_was(version: int) -> None:
    session = Session(version, keeps_changes=True)
    first = session.restore(65535, "a", b"1", True)
    second = session.restore(1, "b", is_released=True)
    session.restore_received(9)
    assert repr(first) == "<Delivery 'a' qos=2 packet_id=65535 sent>"
    assert repr(second) == "<Delivery 'b' qos=2 packet_id=1 released>"
    assert session.unfinished == 2
    session.connect(Connect("c", clean_start=False), 0.0)
    session.take_output(0.0)
    session.receive(ConnAck(0, session_present=True).encode(version), 0.0)
    session.publish("c", b"3", 2)
    session.send_waiting()
    keep(session)
    packets = Decoder(version).feed(b"".join(session.take_output(0.0)))
    assert packets == [
        PubRel(1),
        Publish("a", b"1", qos=2, retain=True, dup=True, packet_id=65535),
        Publish("c", b"3", qos=2, packet_id=2),
    ]
    assert session.receive(Publish("d", b"", qos=2, dup=True, packet_id=9).encode(version), 0.0) == []
    keep(session)
    assert Decoder(version).feed(b"".join(session.take_output(0.0))) == [PubRec(9)]
    assert session.receive(PubComp(1).encode(version), 0.0) == [second]


def test_restored_properties_go_with_the_message() -> None:
    session = Session()
    session.restore(1, "a", b"1", content_type="text/plain")
    connected(session, session_present=True, clean_start=False)
    assert said(session) == [Publish("a", b"1", qos=2, dup=True, packet_id=1, content_type="text/plain")]


def test_what_cannot_be_restored_is_refused() -> None:
    session = Session()
    session.restore(1, "a")
    session.restore_received(1)
    for call in (lambda: session.restore(1, "a"), lambda: session.restore_received(1)):
        with pytest.raises(EncodeError, match="restored already"):
            call()
    for number in (0, 65536):
        with pytest.raises(EncodeError, match="packet_id"):
            session.restore(number, "a")
        with pytest.raises(EncodeError, match="packet_id"):
            session.restore_received(number)
    with pytest.raises(EncodeError, match="topic"):
        session.restore(2, "a/#")
    session.connect(Connect("c"), 0.0)
    for call in (lambda: session.restore(2, "a"), lambda: session.restore_received(2)):
        with pytest.raises(IotwireError, match="before its first connection"):
            call()


# And all of it together.


# Bytes that a connection carries before something else happens: mostly all that is there.
SIZES = st.sampled_from([1000, 1000, 1000, 9, 2])


class Crashing(RuleBasedStateMachine):
    """A process that is killed anywhere, with a disk that has what was kept, and a server that keeps its session."""

    @initialize(version=st.sampled_from([4, 5]), max_in_flight=st.integers(1, 4), forgets=st.booleans())
    def begin(self, version: int, max_in_flight: int, forgets: bool) -> None:
        self.server = ModelServer(version, last_packet_id=2)  # so that they are used again soon
        self.forgets = forgets  # the server's session is lost now and then
        self.options: dict[str, Any] = {"version": version, "max_in_flight": max_in_flight, "keeps_changes": True}
        self.number = 0
        # The disk.
        self.stored: dict[int, bytes] = {}
        self.state = SessionState()
        self.processed: Counter[bytes] = Counter()
        # What happened.
        self.was_published: set[bytes] = set()
        self.may_be_twice: set[bytes] = set()
        self.was_sent: set[bytes] = set()
        self.start()

    def start(self) -> None:
        """A new process."""
        self.session = Session(**self.options)
        self.done: set[int] = set()  # not removed yet
        self.unacknowledged: list[Publish] = []
        self.acknowledged: dict[int, bytes] = {}
        restored = set()
        for packet_id, (message_id, is_released) in self.state.sent.items():
            if message_id in self.stored:
                restored.add(message_id)
                payload = self.stored[message_id]
                delivery = self.session.restore(packet_id, "to/server", payload, is_released=is_released)
                delivery.context = message_id
        for packet_id in self.state.received:
            self.session.restore_received(packet_id)
        for message_id, payload in self.stored.items():
            if message_id not in restored:
                self.session.publish("to/server", payload, 2).context = message_id  # type: ignore[union-attr]
        self.connect()

    def connect(self) -> None:
        self.server.open()
        self.to_server = b""
        self.session.connect(Connect("c", clean_start=False, keep_alive=0), 0.0)

    @rule()
    def publish(self) -> None:
        self.number += 1
        payload = b"%d" % self.number
        self.stored[self.number] = payload
        self.was_published.add(payload)
        self.session.publish("to/server", payload, 2).context = self.number  # type: ignore[union-attr]

    @rule()
    def send(self) -> None:
        self.number += 1
        self.was_sent.add(b"%d" % self.number)
        self.server.send("to/client", b"%d" % self.number, 2)

    @rule(which=st.integers(0, 5))
    def acknowledge(self, which: int) -> None:
        if self.unacknowledged:
            message = self.unacknowledged.pop(which % len(self.unacknowledged))
            self.acknowledged[message.packet_id or 0] = bytes(message.payload)
            self.session.acknowledge(message)

    @rule()
    def keep(self) -> None:
        """One transaction: what is done goes, the changes, and what the application made of the messages."""
        for what, about in self.session.take_changes():
            if isinstance(about, Delivery):
                self.state.apply(Change(what, about.packet_id or 0, about.context))
            else:
                self.state.apply(Change(what, about or 0))
            if what == "received":
                self.processed[self.acknowledged.pop(about)] += 1
        for message_id in self.done:
            self.stored.pop(message_id, None)
        self.state.forget(self.done)
        self.done.clear()
        self.session.changes_kept()

    @rule(size=SIZES)
    def carry_to_server(self, size: int) -> None:
        self.to_server += b"".join(self.session.take_output(0.0))
        self.server.receive(self.to_server[:size])
        self.to_server = self.to_server[size:]

    @rule(size=SIZES)
    def carry_to_client(self, size: int) -> None:
        waiting = b"".join(self.server.output)
        self.server.output = [waiting[size:]]
        for event in self.session.receive(waiting[:size], 0.0):
            match event:
                case Publish():
                    self.unacknowledged.append(event)
                case Delivery():
                    self.done.add(event.context)

    @rule(is_kept=st.booleans(), size=SIZES)
    def go_on(self, is_kept: bool, size: int) -> None:
        """What comes before the next step of a handshake, all at once."""
        self.carry_to_server(1000)
        self.carry_to_client(size)
        self.acknowledge(0)
        if is_kept:
            self.keep()

    def lose_session(self, forgets: bool) -> None:
        if forgets and self.forgets and self.server.has_session:
            self.may_be_twice |= {payload for payload in self.stored.values() if payload in self.server.taken}
            self.server.forget()

    @rule(forgets=st.sampled_from([False, False, False, True]))
    def crash(self, forgets: bool) -> None:
        self.lose_session(forgets)
        self.start()

    @rule(forgets=st.sampled_from([False, False, False, True]))
    def cut(self, forgets: bool) -> None:
        self.lose_session(forgets)
        self.session.connection_lost()
        self.session.take_events()
        self.connect()

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        self.crash(forgets=False)
        for _ in range(2000):
            self.keep()
            self.carry_to_server(1 << 20)
            self.carry_to_client(1 << 20)
            while self.unacknowledged:
                self.acknowledge(0)
            if not (self.session.unfinished or self.server.sent or self.stored):
                break
        else:
            raise AssertionError("some messages never came to their end")
        taken = Counter(self.server.taken)
        assert taken.keys() == self.was_published
        for payload, count in taken.items():
            assert count == 1 or payload in self.may_be_twice, payload
        if not self.forgets:
            assert self.processed == Counter(self.was_sent)


TestCrashing = Crashing.TestCase
TestCrashing.settings = settings(max_examples=200, stateful_step_count=60)
