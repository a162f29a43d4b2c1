"""A session and a model of a server, over connections that are cut anywhere: nothing is lost, nothing comes twice."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from iotwire.mqtt import Connect, ConnectionEnded, Delivery, Publish, Session
from model_server import ModelServer


class Lossy(RuleBasedStateMachine):
    """Rules in any order; at the end the link is good again, and all accounts must balance."""

    @initialize(
        version=st.sampled_from([4, 5]),
        receive_maximum=st.integers(1, 4),
        aliases=st.integers(0, 3),
        max_in_flight=st.integers(1, 5),
    )
    def begin(self, version: int, receive_maximum: int, aliases: int, max_in_flight: int) -> None:
        self.server = ModelServer(version, receive_maximum=receive_maximum, topic_alias_maximum=aliases)
        self.session = Session(version, max_in_flight=max_in_flight)
        self.most_in_flight = min(max_in_flight, receive_maximum if version == 5 else 65535)
        self.now = 0.0
        self.to_server = b""
        self.is_linked = False
        self.published: dict[bytes, Delivery] = {}
        self.finished: Counter[bytes] = Counter()
        self.delivered: list[Publish] = []
        self.unacknowledged: list[Publish] = []
        self.sent: dict[bytes, int] = {}
        self.number = 0
        self.sessions_lost = 0
        self.connect()

    def connect(self) -> None:
        self.server.open()
        self.to_server = b""
        self.session.connect(Connect("c", clean_start=False, keep_alive=0), self.now)
        self.is_linked = True

    def note(self, events: list[object]) -> None:
        for event in events:
            match event:
                case Publish():
                    self.delivered.append(event)
                    if event.qos:
                        self.unacknowledged.append(event)
                case Delivery():
                    assert event.is_done
                    self.finished[event.context] += 1
                case ConnectionEnded(error=error):
                    assert error is None or not self.is_linked, error

    def next_payload(self) -> bytes:
        self.number += 1
        return b"%d" % self.number

    @rule(qos=st.integers(1, 2), topic=st.sampled_from(["to/server/one", "to/server/two", "to/server/three"]))
    def publish(self, qos: int, topic: str) -> None:
        payload = self.next_payload()
        delivery = self.session.publish(topic, payload, qos)
        delivery.context = payload
        self.published[payload] = delivery

    @rule(qos=st.integers(1, 2))
    def send(self, qos: int) -> None:
        payload = self.next_payload()
        self.sent[payload] = qos
        self.server.send("to/client", payload, qos)

    @rule(which=st.integers(0, 5))
    def acknowledge(self, which: int) -> None:
        if self.unacknowledged:
            self.session.acknowledge(self.unacknowledged.pop(which % len(self.unacknowledged)))

    @rule(size=st.integers(0, 60))
    def carry_to_server(self, size: int) -> None:
        if self.is_linked:
            self.to_server += b"".join(self.session.take_output(self.now))
            self.server.receive(self.to_server[:size])
            self.to_server = self.to_server[size:]

    @rule(size=st.integers(0, 60))
    def carry_to_client(self, size: int) -> None:
        if self.is_linked:
            waiting = b"".join(self.server.output)
            self.server.output = [waiting[size:]]
            self.note(self.session.receive(waiting[:size], self.now))

    @rule(forgets=st.sampled_from([False, False, False, True]))
    def cut(self, forgets: bool) -> None:
        self.is_linked = False
        self.session.connection_lost()
        self.note(self.session.take_events())
        if forgets and self.server.has_session:
            self.server.forget()
            self.sessions_lost += 1
        self.connect()

    @invariant()
    def no_more_is_in_flight_than_both_sides_allow(self) -> None:
        if hasattr(self, "server"):
            in_flight = sum(1 for each in self.published.values() if each.packet_id and not each.is_done)
            assert in_flight <= self.most_in_flight

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        self.cut(forgets=False)
        for _ in range(2000):
            self.carry_to_server(1 << 20)
            self.carry_to_client(1 << 20)
            while self.unacknowledged:
                self.session.acknowledge(self.unacknowledged.pop(0))
            if not self.session.unfinished and not self.server.sent:
                break
        else:
            raise AssertionError(
                f"{self.session.unfinished} and {len(self.server.sent)} messages never came to their end"
            )
        self.balance()

    def balance(self) -> None:
        taken = Counter(self.server.taken)
        for payload, delivery in self.published.items():
            assert self.finished[payload] == 1
            assert delivery.reason_code == 0
            assert taken[payload] >= 1
            if delivery.qos == 2 and not delivery.may_be_duplicate:
                assert taken[payload] == 1
        assert taken.keys() == self.published.keys()
        received = Counter(message.payload for message in self.delivered)
        assert all(received[payload] == 1 for payload, qos in self.sent.items() if qos == 2 and received[payload])
        if not self.sessions_lost:
            assert received.keys() == self.sent.keys()


TestLossy = Lossy.TestCase
TestLossy.settings = settings(max_examples=3 * settings.default.max_examples, stateful_step_count=60, deadline=None)
