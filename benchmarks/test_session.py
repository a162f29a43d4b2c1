"""pytest-benchmark suite of the session: `make bench`. A round is 200 messages, there or back, with all that answers.

What the server says was encoded beforehand. Beside each stands the codec alone, doing the same packets: what is over it
is the session's. Both begin anew in each round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from inputs import STREAM_LENGTH, Message, stream_of, wire_of
from suite import ROUNDS, WARM_UP, timed

from iotwire.mqtt import ConnAck, Connect, Decoder, PubAck, PubComp, PubRec, PubRel, Session, encode_publish

IDS = range(1, STREAM_LENGTH + 1)
CASES = [(qos, version) for qos in (0, 1, 2) for version in (4, 5)]
Packets = type[PubAck] | type[PubRec] | type[PubRel] | type[PubComp]


def connected(version: int) -> Session:
    session = Session(version)
    session.connect(Connect("bench", keep_alive=0), 0.0)
    session.take_output(0.0)
    session.receive(ConnAck().encode(version), 0.0)
    return session


def answers(packets: Packets, version: int) -> bytes:
    """One for each message of a stream."""
    return b"".join(packets(number).encode(version) for number in IDS)


def messages_of(qos: int, version: int) -> list[Message]:
    return stream_of(Message(qos=qos, packet_id=1 if qos else None, version=version))


def sending(qos: int, version: int) -> Callable[[Session], list[bytes]]:
    """Publish a stream and take its answers; what went out."""
    items = [(message.topic, message.payload) for message in messages_of(qos, version)]
    first = answers(PubAck if qos == 1 else PubRec, version) if qos else b""
    last = answers(PubComp, version) if qos == 2 else b""

    def send(session: Session) -> list[bytes]:
        publish = session.publish
        for topic, payload in items:
            publish(topic, payload, qos)
        written = session.take_output(0.0)
        if first:
            session.receive(first, 0.0)
        if last:
            written += session.take_output(0.0)
            session.receive(last, 0.0)
        assert not session.unfinished
        return written

    return send


def sending_by_codec(qos: int, version: int) -> Callable[[Decoder], list[bytes]]:
    items = [(message.topic, message.payload, message.packet_id) for message in messages_of(qos, version)]
    first = answers(PubAck if qos == 1 else PubRec, version) if qos else b""
    last = answers(PubComp, version) if qos == 2 else b""

    def send(decoder: Decoder) -> list[bytes]:
        written = [
            encode_publish(topic, payload, qos, False, number, False, version) for topic, payload, number in items
        ]
        decoder.feed(first)
        if last:
            written += [PubRel(number).encode(version) for number in IDS]
            decoder.feed(last)
        return written

    return send


def receiving(qos: int, version: int) -> Callable[[Session], list[bytes]]:
    """Take a stream, acknowledge each message, and let the server release it; what went out."""
    stream, releases = wire_of(messages_of(qos, version)), answers(PubRel, version)

    def take(session: Session) -> list[bytes]:
        for message in session.receive(stream, 0.0):
            if qos:
                session.acknowledge(message)  # type: ignore[arg-type]
        written = session.take_output(0.0)
        if qos == 2:
            session.receive(releases, 0.0)
            written += session.take_output(0.0)
        return written

    return take


def receiving_by_codec(qos: int, version: int) -> Callable[[Decoder], list[bytes]]:
    stream, releases = wire_of(messages_of(qos, version)), answers(PubRel, version)
    answer = PubAck if qos == 1 else PubRec

    def take(decoder: Decoder) -> list[bytes]:
        packets = decoder.feed(stream)
        written = [answer(packet.packet_id).encode(version) for packet in packets] if qos else []  # type: ignore[attr-defined]
        if qos == 2:
            written += [PubComp(packet.packet_id).encode(version) for packet in decoder.feed(releases)]  # type: ignore[attr-defined]
        return written

    return take


def time_both(
    benchmark: Any, group: str, who: str, version: int, session_way: Callable[..., Any], codec_way: Callable[..., Any]
) -> None:
    """Time one of the two, after both have written the same bytes."""
    assert b"".join(session_way(connected(version))) == b"".join(codec_way(Decoder(version)))
    make, way = (connected, session_way) if who == "iotwire" else (Decoder, codec_way)
    benchmark.group = group
    benchmark.extra_info["executions"] = 1
    benchmark.pedantic(way, setup=lambda: ((make(version),), {}), rounds=ROUNDS, warmup_rounds=WARM_UP)


@timed
@pytest.mark.parametrize("who", ["iotwire", "codec"])
@pytest.mark.parametrize(("qos", "version"), CASES)
def test_what_sending_costs(benchmark: Any, qos: int, version: int, who: str) -> None:
    ways = sending(qos, version), sending_by_codec(qos, version)
    time_both(benchmark, f"session-send-qos-{qos}-v{version}", who, version, *ways)


@timed
@pytest.mark.parametrize("who", ["iotwire", "codec"])
@pytest.mark.parametrize(("qos", "version"), CASES)
def test_what_receiving_costs(benchmark: Any, qos: int, version: int, who: str) -> None:
    ways = receiving(qos, version), receiving_by_codec(qos, version)
    time_both(benchmark, f"session-receive-qos-{qos}-v{version}", who, version, *ways)
