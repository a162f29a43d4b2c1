"""A session and a server that sends whatever it likes: no exception, no growth, no word after the end."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotwire.errors import IotwireError
from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
    ConnectionEnded,
    Decoder,
    Disconnect,
    Packet,
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

ids = st.integers(1, 4)
codes = st.sampled_from([0, 0x10, 0x80, 0x87])
packets: st.SearchStrategy[Packet] = st.one_of(
    st.builds(ConnAck, st.just(0), session_present=st.booleans(), receive_maximum=st.integers(1, 3)),
    st.just(ConnAck(0x87)),
    st.builds(Publish, st.sampled_from(["a", "b/c"]), st.binary(max_size=3)),
    st.builds(Publish, st.just("a"), qos=st.integers(1, 2), packet_id=ids, dup=st.booleans()),
    st.builds(Publish, st.sampled_from(["a", ""]), topic_alias=st.integers(1, 3)),
    st.builds(PubAck, ids, codes),
    st.builds(PubRec, ids, codes),
    st.builds(PubRel, ids, st.sampled_from([0, 0x92])),
    st.builds(PubComp, ids, st.sampled_from([0, 0x92])),
    st.builds(SubAck, ids, st.lists(st.sampled_from([0, 1, 0x80]), min_size=1, max_size=2)),
    st.builds(UnsubAck, ids, st.lists(st.sampled_from([0, 0x11]), min_size=1, max_size=2)),
    st.builds(Auth, st.sampled_from([0, 0x18, 0x19]), authentication_method=st.sampled_from(["x", "y"])),
    st.builds(Disconnect, st.sampled_from([0x8B, 0x9D])),
    st.sampled_from([PingReq(), PingResp(), Connect("c")]),
)
commands = st.sampled_from(
    ["publish 0", "publish 1", "publish 2", "subscribe", "unsubscribe", "lost", "connect", "disconnect"]
)
steps = st.lists(
    st.one_of(packets, packets, commands, st.binary(max_size=6), st.floats(0, 40), st.just("acknowledge")), max_size=60
)


def command(session: Session, what: str, now: float) -> None:
    match what.split():
        case ["publish", qos]:
            session.publish("a", b"x", int(qos))
        case ["subscribe"]:
            session.subscribe([Subscription("a")])
        case ["unsubscribe"]:
            session.unsubscribe(["a"])
        case ["lost"]:
            session.connection_lost()
        case ["connect"]:
            session.connect(Connect("c", authentication_method="x", topic_alias_maximum=2, receive_maximum=3), now)
        case ["disconnect"]:
            session.disconnect()


@settings(max_examples=10 * settings.default.max_examples)
@given(steps)
def test_whatever_a_server_sends_the_session_keeps_its_word(steps: list[Any]) -> None:
    session = Session(max_waiting=5)
    now = 0.0
    command(session, "connect", now)
    session.take_output(now)
    messages: list[Publish] = []
    for step in steps:
        was_connected = session.is_connected
        match step:
            case Packet():
                events = session.receive(step.encode(), now)
            case bytes():
                events = session.receive(step, now)
            case float():
                now += step
                events = session.tick(now)
            case "acknowledge":
                if messages:
                    session.acknowledge(messages.pop())
                events = session.take_events()
            case _:
                with contextlib.suppress(IotwireError):
                    command(session, step, now)
                events = session.take_events()
        messages += [event for event in events if isinstance(event, Publish) and event.qos]
        assert sum(isinstance(event, ConnectionEnded) for event in events) <= 1
        if was_connected and not session.is_connected:
            assert isinstance(events[-1], ConnectionEnded)
        # What leaves is well-formed, and DISCONNECT is the last of it.
        sent = Decoder(5).feed(b"".join(session.take_output(now)))
        assert not any(isinstance(packet, Disconnect) for packet in sent[:-1])
        assert session.unacknowledged <= 2 * 3
        assert session.unfinished <= 5 + 65535


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_bytes_may_come_in_any_pieces(size: int) -> None:
    wire = b"".join(
        packet.encode()
        for packet in (Publish("a", b"1", qos=2, packet_id=1), PubAck(1), Publish("b"), Disconnect(0x8B))
    )
    session = Session()
    session.connect(Connect("c"), 0.0)
    session.receive(ConnAck(0).encode(), 0.0)
    session.publish("x", b"", 1)
    events = [event for at in range(0, len(wire), size) for event in session.receive(wire[at : at + size], 0.0)]
    assert [type(event).__name__ for event in events] == [
        "Publish", "Delivery", "Publish", "Disconnect", "ConnectionEnded",
    ]  # fmt: skip


def test_a_transport_may_receive_into_the_session() -> None:
    session = Session()
    session.connect(Connect("c"), 0.0)
    wire = ConnAck(0).encode() + Publish("a", b"x").encode()
    session.get_buffer()[: len(wire)] = wire
    assert session.buffer_updated(len(wire), 0.0) == [ConnAck(0), Publish("a", b"x")]
