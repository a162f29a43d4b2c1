"""A fuzzer of the TLS codec that needs nothing but Python: `python tests/fuzz/fuzz_tls.py --seconds 60 --seed 1`.

It starts from the vectors, the shared ones where they are there, and answers of servers, and holds the codec to what
must be true of any bytes at all:

- nothing but a TlsDecodeError leaves it, with a known alert, an offset into the bytes and a clause;
- what was decoded encodes to the same handshake bytes, decodes to an equal hello, and is read without an error;
- however the message is split into records, it is the same hello, or the same error;
- a stream cut short asks for more, or is refused; a whole one that was right stays so with anything after it.

How it is run is in `frame`.
"""

from __future__ import annotations

import json
import pickle
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fuzz import frame
from fuzz.frame import BrokenError, Seed, change_blindly, change_inside
from iotwire.errors import EncodeError, TlsDecodeError
from iotwire.tls import ALERTS, Alert, ClientHello, ServerHello
from support import find_shared_vectors
from vectors.tls import MALFORMED, SERVER_MALFORMED, VECTORS, put_extension, put_message, put_record, put_vector

if TYPE_CHECKING:
    from collections.abc import Iterable

# Bytes that have meant trouble: edges of lengths and of the ranges that extensions know.
MORSELS = (
    *(bytes([value]) for value in (0x00, 0x01, 0x02, 0x03, 0x10, 0x15, 0x16, 0x20, 0x21, 0x2E, 0x33, 0x40, 0x7F, 0xFF)),
    b"\x00\x00",
    b"\xff\xff",
    b"\x03\x04",
    b"\x0a\x0a",
    b"\x00\x00\x00\x00",
    b"\x00\x10\x00\x05\x00\x03\x02h2",
    b"\x00\x00\x00\x06\x00\x04\x00\x00\x01a",
    b"\x00\x17\x00\x00",
    b"\x00\x29\x00\x00",
    b"\x00\x2b\x00\x03\x02\x03\x04",
    b"\x16\x03\x01\x00\x01\x01",
    b"\x15\x03\x03\x00\x02\x02\x28",
    b".",
    b"..",
    b"127.0.0.1",
)

RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


@dataclass
class Tally:
    """What a run has seen."""

    inputs: int = 0
    hellos: int = 0
    errors: int = 0
    clauses: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{self.inputs} inputs, {self.hellos} hellos, {self.errors} refused by {len(self.clauses)} clauses"


def answers() -> list[bytes]:
    """Messages of a server, in records."""
    protocol = put_extension(16, b"\0\5\4mqtt")
    share, retry = put_extension(51, b"\0\x1d" + put_vector(b"k" * 32)), put_extension(51, b"\0\x17")
    found = []
    for extensions, value in ((protocol, bytes(32)), (share, bytes(32)), (retry, RETRY)):
        block = put_vector(extensions + put_extension(43, b"\3\4") + put_extension(23, b""))
        found.append(put_record(put_message(b"\3\3" + value + b"\0\x13\1\0" + block, 2)))
    return found


def seeds_of_vectors() -> list[Seed]:
    seeds = [Seed(vector.wire, lengths=vector.lengths) for vector in VECTORS] * 6
    seeds += [Seed(wire) for wire in answers()] * 6
    seeds += [Seed(case.wire) for case in (*MALFORMED, *SERVER_MALFORMED)]
    folder = find_shared_vectors()
    if folder is not None:
        lines = (folder / "tls" / "client_hellos.jsonl").read_text(encoding="utf-8").splitlines()
        seeds += [Seed(bytes.fromhex(json.loads(line)["records"])) for line in lines if len(line) < 8000]
    return seeds


def all_seeds(corpus: Path | None) -> list[Seed]:
    files = sorted(path for path in corpus.iterdir() if path.is_file()) if corpus else []
    return seeds_of_vectors() + [Seed(path.read_bytes()) for path in files]


def reframe(wire: bytes) -> bytes:
    """The lengths of the record and of the message put right, so that a decoder gets past them."""
    if len(wire) < 9:
        return wire
    size = min(len(wire) - 5, 65535)
    return wire[:3] + size.to_bytes(2, "big") + wire[5:6] + (size - 4).to_bytes(3, "big") + wire[9 : 5 + size]


def make_input(seeds: list[Seed], chance: random.Random) -> bytes:
    seed = chance.choice(seeds)
    kind = chance.random()
    if kind < 0.1:
        wire = seed.wire
    elif kind < 0.5:
        wire = change_inside(seed, chance, MORSELS)
    elif kind < 0.9:
        wire = reframe(change_blindly(seed.wire, chance, MORSELS))
    else:
        wire = change_blindly(seed.wire, chance, MORSELS)
    return wire if chance.random() < 0.9 else in_records(wire, chance)


def in_records(wire: bytes, chance: random.Random) -> bytes:
    """What follows the first header, in records of any sizes."""
    content, records = wire[5:], b""
    while content:
        size = chance.choice((1, 2, 3, 4, 5, 20, 100, 500))
        records += put_record(content[:size])
        content = content[size:]
    return records


# What must be true.


def outcome(decode: Any, data: bytes) -> Any:
    try:
        return decode(data)
    except TlsDecodeError as error:
        return error


def check(data: bytes, chance: random.Random, tally: Tally) -> None:
    """Raise BrokenError (or whatever leaves the codec) where something is not as it must be."""
    tally.inputs += 1
    for decode in (ClientHello.decode, ServerHello.decode, Alert.decode):
        found = outcome(decode, data)
        if isinstance(found, TlsDecodeError):
            check_error(found, data)
            if decode is ClientHello.decode:
                tally.errors += 1
                tally.clauses.add(found.clause)
        elif isinstance(found, ClientHello | ServerHello):
            tally.hellos += 1
            check_hello(found, data, chance)
        elif found is not None and found.encode(0x0300 | data[2])[5:] != data[5:7]:
            raise BrokenError(f"an alert: {found}")
        check_cut(decode, found, data, chance)


def check_error(error: TlsDecodeError, data: bytes) -> None:
    if error.alert not in ALERTS or not error.clause.startswith("RFC "):
        raise BrokenError(f"alert {error.alert}, clause {error.clause}")
    if error.offset is None or not 0 <= error.offset <= len(data):
        raise BrokenError(f"offset {error.offset} of {len(data)} bytes")
    if str(pickle.loads(pickle.dumps(error))) != str(error):
        raise BrokenError(f"pickled: {error}")


def check_cut(decode: Any, found: Any, data: bytes, chance: random.Random) -> None:
    """A beginning is refused only if the whole is; what follows changes nothing."""
    early = outcome(decode, data[: chance.randrange(len(data) + 1)])
    if isinstance(early, TlsDecodeError):
        if not isinstance(found, TlsDecodeError) or facts(early) != facts(found):
            raise BrokenError(f"cut: {early}, as a whole: {found}")
    elif early not in (None, found):
        raise BrokenError(f"cut: {early}, as a whole: {found}")
    if found is not None and not isinstance(found, TlsDecodeError):
        after = outcome(decode, bytearray(data) + chance.choice(MORSELS))
        if after != found:
            raise BrokenError(f"with something after it: {after}, alone: {found}")


def facts(error: TlsDecodeError) -> tuple[object, ...]:
    return error.alert, error.offset, error.clause, str(error)


def check_hello(hello: ClientHello | ServerHello, data: bytes, chance: random.Random) -> None:
    message = hello.handshake
    content, rest = b"", data
    while rest:
        size = int.from_bytes(rest[3:5], "big")
        content, rest = content + rest[5 : 5 + size], rest[5 + size :]
    if not content.startswith(message):
        raise BrokenError(f"the message is {message.hex()}")
    restored = pickle.loads(pickle.dumps(hello))
    if type(hello).decode(hello.encode()) != hello or restored != hello or hash(restored) != hash(hello):
        raise BrokenError(f"encodes to {hello.encode().hex()}, which is another hello")
    for name in dir(hello):
        if not name.startswith("_"):
            getattr(hello, name)
    shown = repr(hello)
    if isinstance(hello, ClientHello):
        split = ClientHello.decode(in_records(hello.encode(), chance))
        if split is None or split.handshake != message:
            raise BrokenError(f"in other records: {split}")
        check_remade(hello, shown)


def check_remade(hello: ClientHello, shown: str) -> None:
    """The repr is the call that makes it, unless a peer sent what we would not."""
    if " bytes>" in shown or not hello.extensions:
        return
    try:
        again = eval(shown, {"ClientHello": ClientHello})
    except EncodeError as error:
        if error.field not in ("server_name", "legacy_version"):
            raise
        return
    if again != hello:
        raise BrokenError(f"{shown} makes {again.encode().hex()}")


# Runs.


def run(seeds: list[Seed], seed: int, numbers: Iterable[int]) -> Tally:
    """Try the inputs of these numbers. A failure is printed and raised."""
    tally = Tally()
    frame.run_inputs(
        seed,
        numbers,
        lambda chance: make_input(seeds, chance),
        lambda data, chance: check(data, chance, tally),
        lambda data: data.hex(),
    )
    return tally


if __name__ == "__main__":
    sys.exit(frame.main("Fuzz the TLS codec.", all_seeds, run))
