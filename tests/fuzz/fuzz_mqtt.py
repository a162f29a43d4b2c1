"""A fuzzer of the MQTT codec that needs nothing but Python: `python tests/fuzz/fuzz_mqtt.py --seconds 60 --seed 1`.

It starts from the vectors (and a corpus, where one is given), changes them with and without regard for their lengths,
strings several together, and holds the codec to what must be true of any bytes at all:

- nothing but an IotwireError leaves it;
- `decode`, `feed` in any pieces, `get_buffer` and payloads as views tell the same story;
- a stream cut short tells the beginning of that story;
- what was decoded encodes to the same bytes (or to fewer, where some may be left off) and decodes to an equal packet;
- a session that is told them by a server answers in whole packets, counts what it says, and says nothing after its end.

How it is run is in `frame`.
"""

from __future__ import annotations

import pickle
import random
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from decoding import receive, story
from fuzz import frame
from fuzz.frame import BrokenError, Seed, change_blindly, change_inside
from iotwire.errors import IotwireError, WireError
from iotwire.mqtt import (
    ConnAck,
    Connect,
    ConnectionEnded,
    Decoder,
    Disconnect,
    Publish,
    Session,
    Subscription,
    decode,
)
from vectors.mqtt import CASES, MALFORMED_CASES, put_varint, read_annotated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iotwire.mqtt import Packet

# Bytes that have meant trouble in some decoder: edges of lengths, of UTF-8, and of the property table.
MORSELS = (
    *(bytes([value]) for value in (0x00, 0x01, 0x02, 0x03, 0x0B, 0x1F, 0x23, 0x26, 0x2B, 0x7F, 0x80, 0xFF)),
    b"\x00\x00",
    b"\xff\xff",
    b"\x80\x00",
    b"\x80\x01",
    b"\xff\x7f",
    b"\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x01",
    b"\x00\x01\x00",
    b"\x00\x03\xed\xa0\x80",
    b"\x00\x02\xc0\x80",
    b"\x00\x04\xf0\x9d\x84\x9e",
    b"\x00\x03\xef\xbb\xbf",
    b"\x01\x01",
    b"\x02\x00\x00\x00\x01",
    b"\x08\x00\x01t",
    b"\x0b\x01",
    b"\x15\x00\x01m",
    b"\x16\x00\x00",
    b"\x23\x00\x01",
    b"\x26\x00\x01k\x00\x01v",
    b"$share/g/",
    b"#",
    b"\xd0\x00",
)


@dataclass
class Tally:
    """What a run has seen."""

    inputs: int = 0
    packets: int = 0
    errors: int = 0
    clauses: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{self.inputs} inputs, {self.packets} packets, {self.errors} refused by {len(self.clauses)} clauses"


def seeds_of_vectors() -> list[Seed]:
    # Right ones twice: what is refused at once teaches little.
    annotated = [(vector.annotated, version) for vector, version in CASES] * 2
    annotated += [(vector.annotated, version) for vector, version in MALFORMED_CASES]
    seeds = [Seed(wire, version, lengths) for text, version in annotated for wire, lengths in [read_annotated(text)]]
    return [seed for seed in seeds if len(seed.wire) <= 1000]


def seeds_of_corpus(folder: Path) -> list[Seed]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [Seed(path.read_bytes(), version) for path in files for version in (4, 5)]


# Inputs.


def reframe(wire: bytes) -> bytes:
    """The remaining length put right, so that a decoder gets past it."""
    end = next((at for at in range(1, min(len(wire), 5)) if wire[at] < 0x80), None)
    return wire if end is None else wire[:1] + put_varint(len(wire) - end - 1) + wire[end + 1 :]


def make_input(seeds: list[Seed], chance: random.Random) -> tuple[bytes, int]:
    """Some bytes, and the version to read them as."""
    seed = chance.choice(seeds)
    version = seed.version if chance.random() < 0.95 else 9 - seed.version
    parts = []
    for _ in range(chance.choice((1, 1, 1, 1, 2, 3, 6))):
        kind = chance.random()
        if kind < 0.4:
            wire = seed.wire
        elif kind < 0.7:
            wire = change_inside(seed, chance, MORSELS)
        elif kind < 0.9:
            wire = reframe(change_blindly(seed.wire, chance, MORSELS))
        else:
            wire = change_blindly(seed.wire, chance, MORSELS)
        if chance.random() < 0.05:
            other = chance.choice(seeds).wire
            wire = reframe(wire[: chance.randrange(len(wire) + 1)] + other[chance.randrange(len(other) + 1) :])
        parts.append(wire)
        seed = chance.choice(seeds)
    return b"".join(parts), version


# What must be true.


def _in_pieces(data: bytes, version: int, payload: str, chance: random.Random) -> Iterator[Packet]:
    decoder = Decoder(version, payload="view" if payload == "view" else "bytes")
    at = 0
    while at < len(data):
        size = chance.choice((1, 2, 3, 5, 10, 50, 1000))
        piece = data[at : at + size]
        if chance.random() < 0.3:
            yield from receive(decoder, piece, chance.choice((1, 4, 100)))
        else:
            yield from decoder.feed(bytearray(piece) if chance.random() < 0.3 else piece)
        at += size


def check(data: bytes, version: int, chance: random.Random, tally: Tally) -> None:
    """Raise BrokenError (or whatever leaves the codec) where something is not as it must be."""
    tally.inputs += 1
    packets, failure = story(_whole(data, version))
    tally.packets += len(packets)
    if failure is not None:
        tally.errors += 1
        tally.clauses.add(str(failure[3]))
    for payload in ("bytes", "view"):
        told = story(_in_pieces(data, version, payload, chance))
        if told != (packets, failure):
            raise BrokenError(f"in pieces ({payload}): {told}, as a whole: {(packets, failure)}")
    at = 0
    for packet in packets:
        decoded = decode(data[at:], version)
        if decoded is None or decoded[0] != packet:
            raise BrokenError(f"decode: {decoded}, feed: {packet}")
        check_packet(packet, data[at : at + decoded[1]], version)
        at += decoded[1]
    check_end(data[at:], version, failed=failure is not None)
    cut = chance.randrange(len(data) + 1)
    beginning, early = story(_whole(data[:cut], version))
    if beginning != packets[: len(beginning)] or (early is not None and failure is None):
        raise BrokenError(f"cut at {cut}: {(beginning, early)}, as a whole: {(packets, failure)}")
    check_session(data, version, chance)


def check_session(data: bytes, version: int, chance: random.Random) -> None:
    """A session that is told these bytes by a server says nothing but packets, and nothing after its end."""
    session = Session(version, max_in_flight=3, max_waiting=5, max_unacknowledged=8)
    session.connect(Connect("fuzz", clean_start=False, keep_alive=5), 0.0)
    written = session.take_output(0.0)
    if chance.random() < 0.9:
        session.receive(ConnAck(session_present=chance.random() < 0.5).encode(version), 0.0)
    now, at, ended = 0.0, 0, False
    while at < len(data) and not ended:
        now += chance.random()
        size = chance.choice((1, 3, 10, 1000))
        with suppress(IotwireError):
            command_session(session, chance)
        events = session.receive(data[at : at + size], now) + session.tick(now)
        for event in events:
            if isinstance(event, Publish) and chance.random() < 0.7:
                session.acknowledge(event)
            ended = ended or isinstance(event, ConnectionEnded)
        written += session.take_output(now)
        at += size
    if ended and session.is_connected:
        raise BrokenError("a session is connected after its end")
    told = Decoder(version).feed(b"".join(written))
    if len(told) != len(written):
        raise BrokenError(f"{len(written)} packets written, {len(told)} read")
    counts, _ = session.sent
    if sum(size for _, size in counts.values()) != sum(map(len, written)):
        raise BrokenError(f"{counts} counted, {sum(map(len, written))} bytes written")
    if ended and any(isinstance(packet, Disconnect) for packet in told[:-1]):
        raise BrokenError("something follows a DISCONNECT")


def command_session(session: Session, chance: random.Random) -> None:
    """What an application may ask of it at any time."""
    kind = chance.randrange(6)
    if kind < 3:
        session.publish("a/topic", bytes(chance.randrange(4)), kind)
    elif kind == 3:
        session.subscribe([Subscription("a/#", 1), Subscription("b")])
    elif kind == 4:
        session.unsubscribe(["a/#"])
    else:
        session.publish_pairs([("a/topic", b""), ("", b""), ("b", b"1")])


def _whole(data: bytes, version: int) -> Iterator[Packet]:
    yield from Decoder(version).feed(data)


def check_end(rest: bytes, version: int, *, failed: bool) -> None:
    """What follows the last packet is an error for `decode` exactly if it was one for the decoder."""
    try:
        decoded = decode(rest, version)
    except WireError:
        if not failed:
            raise BrokenError("decode refuses what feed waits on") from None
    else:
        if failed or decoded is not None:
            raise BrokenError(f"decode gives {decoded} where feed does not")


def check_packet(packet: Packet, wire: bytes, version: int) -> None:
    encoded = packet.encode(version)
    if len(encoded) != packet.encoded_size(version):
        raise BrokenError(f"encoded_size {packet.encoded_size(version)}, encoded {len(encoded)} bytes")
    if encoded != wire and (len(encoded) >= len(wire) or wire[0] >> 4 not in (4, 5, 6, 7, 14, 15)):
        raise BrokenError(f"encodes to {encoded.hex()}")
    if decode(encoded, version) != (packet, len(encoded)):
        raise BrokenError(f"encodes to {encoded.hex()}, which is another packet")
    restored = pickle.loads(pickle.dumps(packet))
    if restored != packet or hash(restored) != hash(packet) or repr(restored) != repr(packet):
        raise BrokenError(f"pickled: {restored}")
    for name in dir(packet):
        if not name.startswith("_"):
            getattr(packet, name)
    if isinstance(packet, Publish) and packet.payload and not wire.endswith(packet.payload):
        raise BrokenError("the payload is not what stands at the end")


# Runs.


def run(seeds: list[Seed], seed: int, numbers: Iterable[int]) -> Tally:
    """Try the inputs of these numbers. A failure is printed and raised."""
    tally = Tally()
    frame.run_inputs(
        seed,
        numbers,
        lambda chance: make_input(seeds, chance),
        lambda made, chance: check(*made, chance, tally),
        lambda made: f"MQTT version {made[1]}: {made[0].hex()}",
    )
    return tally


def all_seeds(corpus: Path | None) -> list[Seed]:
    return seeds_of_vectors() + (seeds_of_corpus(corpus) if corpus else [])


if __name__ == "__main__":
    sys.exit(frame.main("Fuzz the MQTT codec.", all_seeds, run))
