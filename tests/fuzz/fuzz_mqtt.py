"""A fuzzer of the MQTT codec that needs nothing but Python: `python tests/fuzz/fuzz_mqtt.py --seconds 60 --seed 1`.

It starts from the vectors (and a corpus, where one is given), changes them with and without regard for their lengths,
strings several together, and holds the codec to what must be true of any bytes at all:

- nothing but an IotwireError leaves it;
- `decode`, `feed` in any pieces, `get_buffer` and payloads as views tell the same story;
- a stream cut short tells the beginning of that story;
- what was decoded encodes to the same bytes (or to fewer, where some may be left off) and decodes to an equal packet.

A run is told by its seed: input number N of seed S is the same wherever it is run. A failure prints the bytes and how
to see it again.
"""

from __future__ import annotations

import argparse
import pickle
import random
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from decoding import receive, story
from iotwire.errors import WireError
from iotwire.mqtt import Decoder, Publish, decode
from vectors.mqtt import CASES, MALFORMED_CASES, LengthField, put_varint, read_annotated, read_varint

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


@dataclass(frozen=True, slots=True)
class Seed:
    """A packet to start from, and where its lengths are."""

    wire: bytes
    version: int
    lengths: tuple[LengthField, ...] = ()


@dataclass
class Tally:
    """What a run has seen."""

    inputs: int = 0
    packets: int = 0
    errors: int = 0
    clauses: set[str] = field(default_factory=set)


class BrokenError(AssertionError):
    """Something that must be true of any input was not."""


def seeds_of_vectors() -> list[Seed]:
    # Right ones twice: what is refused at once teaches little.
    annotated = [(vector.annotated, version) for vector, version in CASES] * 2
    annotated += [(vector.annotated, version) for vector, version in MALFORMED_CASES]
    seeds = [Seed(wire, version, lengths) for text, version in annotated for wire, lengths in [read_annotated(text)]]
    return [seed for seed in seeds if len(seed.wire) <= 1000]


def seeds_of_corpus(folder: Path) -> list[Seed]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [Seed(path.read_bytes(), version) for path in files for version in (4, 5)]


# Changes.


def change_blindly(wire: bytes, chance: random.Random) -> bytes:
    """Any change, lengths or no lengths."""
    changed = bytearray(wire)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        at = chance.randrange(len(changed) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            changed[at:at] = chance.choice(MORSELS)
        elif kind == 1:
            del changed[at : at + chance.choice((1, 1, 2, 4, 16))]
        elif kind == 2:
            morsel = chance.choice(MORSELS)
            changed[at : at + len(morsel)] = morsel
        elif kind == 3 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 4 and at < len(changed):
            changed[at] = chance.randrange(256)
        elif at < len(changed):
            changed[at] = (changed[at] + chance.choice((-1, 1))) % 256
    return bytes(changed)


def change_inside(seed: Seed, chance: random.Random) -> bytes:
    """Bytes put into or taken out of a field, and all the lengths around it put right."""
    wire = seed.wire
    if not seed.lengths:
        return change_blindly(wire, chance)
    inner = chance.choice(seed.lengths)
    start = inner.offset + inner.size
    size = min(_value_of(inner, wire), len(wire) - start)
    at = start + chance.randint(0, max(size, 0))
    taken = chance.randint(0, start + size - at) if chance.random() < 0.5 else 0
    put = b"".join(chance.choice(MORSELS) for _ in range(chance.choice((0, 1, 1, 2))))
    wire = wire[:at] + put + wire[at + taken :]
    # From the innermost length outwards: one that grows by a byte moves what is around it too.
    grown = len(put) - taken
    for outer in sorted(seed.lengths, key=lambda length: -length.offset):
        begin = outer.offset + outer.size
        old = _value_of(outer, seed.wire)
        if not (outer is inner or begin <= inner.offset < begin + old):
            continue
        value = max(old + grown, 0)
        if chance.random() < 0.05:
            value = max(value + chance.choice((-1, 1)), 0)
        encoded = put_varint(min(value, 268435455)) if outer.is_varint else min(value, 65535).to_bytes(2, "big")
        wire = wire[: outer.offset] + encoded + wire[begin:]
        grown += len(encoded) - outer.size
    return wire


def _value_of(length: LengthField, wire: bytes) -> int:
    encoded = wire[length.offset : length.offset + length.size]
    return read_varint(encoded) if length.is_varint else int.from_bytes(encoded, "big")


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
            wire = change_inside(seed, chance)
        elif kind < 0.9:
            wire = reframe(change_blindly(seed.wire, chance))
        else:
            wire = change_blindly(seed.wire, chance)
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


def numbers_from(first: int, seconds: float | None, iterations: int | None) -> Iterable[int]:
    stop = None if seconds is None else time.monotonic() + seconds
    number = first
    while (iterations is None or number < first + iterations) and (stop is None or time.monotonic() < stop):
        yield number
        number += 1


def run(seeds: list[Seed], seed: int, numbers: Iterable[int]) -> Tally:
    """Try the inputs of these numbers. A failure is printed and raised."""
    tally = Tally()
    for number in numbers:
        chance = random.Random(f"{seed}/{number}")
        data, version = make_input(seeds, chance)
        try:
            check(data, version, chance, tally)
        except BaseException as failure:
            if not isinstance(failure, KeyboardInterrupt):
                traceback.print_exc()
                print(f"input {number} of seed {seed}, MQTT version {version}: {data.hex()}", file=sys.stderr)
                print(f"again: python {sys.argv[0]} --seed {seed} --first {number} --inputs 1", file=sys.stderr)
            raise
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the MQTT codec.")
    parser.add_argument("--seconds", type=float, help="how long; without it and --inputs, 60")
    parser.add_argument("--inputs", type=int, help="how many inputs")
    parser.add_argument("--seed", type=int, default=1, help="which inputs (default 1)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input (default 0)")
    parser.add_argument(
        "--corpus", type=Path, help="a folder of files to start from as well, each the bytes of a stream"
    )
    options = parser.parse_args()
    seconds = 60.0 if options.seconds is None and options.inputs is None else options.seconds
    seeds = seeds_of_vectors() + (seeds_of_corpus(options.corpus) if options.corpus else [])
    try:
        tally = run(seeds, options.seed, numbers_from(options.first, seconds, options.inputs))
    except Exception:  # noqa: BLE001  # printed with its input where it was caught
        return 1
    print(
        f"seed {options.seed}: {tally.inputs} inputs, {tally.packets} packets, {tally.errors} refused "
        f"by {len(tally.clauses)} clauses, nothing broken"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
