"""What all fuzzers here share: changes to bytes, with and without regard for their lengths, and runs told by a seed.

Input number N of seed S is the same wherever it is run. A failure prints the bytes and how to see it again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vectors.mqtt import LengthField, put_varint, read_varint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Input = TypeVar("Input")


@dataclass(frozen=True, slots=True)
class Seed:
    """Bytes to start from, and where their lengths are. version: of the protocol, where it has several."""

    wire: bytes
    version: int = 0
    lengths: tuple[LengthField, ...] = ()


class BrokenError(AssertionError):
    """Something that must be true of any input was not."""


# Changes.


def change_blindly(wire: bytes, chance: random.Random, morsels: Sequence[bytes]) -> bytes:
    """Any change, lengths or no lengths."""
    changed = bytearray(wire)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        at = chance.randrange(len(changed) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            changed[at:at] = chance.choice(morsels)
        elif kind == 1:
            del changed[at : at + chance.choice((1, 1, 2, 4, 16))]
        elif kind == 2:
            morsel = chance.choice(morsels)
            changed[at : at + len(morsel)] = morsel
        elif kind == 3 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 4 and at < len(changed):
            changed[at] = chance.randrange(256)
        elif at < len(changed):
            changed[at] = (changed[at] + chance.choice((-1, 1))) % 256
    return bytes(changed)


def change_inside(seed: Seed, chance: random.Random, morsels: Sequence[bytes]) -> bytes:
    """Bytes put into or taken out of a field, and all the lengths around it put right."""
    wire = seed.wire
    if not seed.lengths:
        return change_blindly(wire, chance, morsels)
    inner = chance.choice(seed.lengths)
    start = inner.offset + inner.size
    size = min(_value_of(inner, wire), len(wire) - start)
    at = start + chance.randint(0, max(size, 0))
    taken = chance.randint(0, start + size - at) if chance.random() < 0.5 else 0
    put = b"".join(chance.choice(morsels) for _ in range(chance.choice((0, 1, 1, 2))))
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
        if outer.is_varint:
            encoded = put_varint(min(value, 268435455))
        else:
            encoded = min(value, (1 << 8 * outer.size) - 1).to_bytes(outer.size, "big")
        wire = wire[: outer.offset] + encoded + wire[begin:]
        grown += len(encoded) - outer.size
    return wire


def _value_of(length: LengthField, wire: bytes) -> int:
    encoded = wire[length.offset : length.offset + length.size]
    return read_varint(encoded) if length.is_varint else int.from_bytes(encoded, "big")


# Runs.


def numbers_from(first: int, seconds: float | None, iterations: int | None) -> Iterable[int]:
    stop = None if seconds is None else time.monotonic() + seconds
    number = first
    while (iterations is None or number < first + iterations) and (stop is None or time.monotonic() < stop):
        yield number
        number += 1


def run_inputs(
    seed: int,
    numbers: Iterable[int],
    make: Callable[[random.Random], Input],
    check: Callable[[Input, random.Random], None],
    describe: Callable[[Input], str],
) -> None:
    """Try the inputs of these numbers. A failure is printed and raised."""
    for number in numbers:
        chance = random.Random(f"{seed}/{number}")
        made = make(chance)
        try:
            check(made, chance)
        except BaseException as failure:
            if not isinstance(failure, KeyboardInterrupt):
                traceback.print_exc()
                print(f"input {number} of seed {seed}, {describe(made)}", file=sys.stderr)
                print(f"again: python {sys.argv[0]} --seed {seed} --first {number} --inputs 1", file=sys.stderr)
            raise


def main(
    description: str,
    seeds_of: Callable[[Path | None], list[Seed]],
    run: Callable[[list[Seed], int, Iterable[int]], object],
) -> int:
    """A fuzzer as a program. seeds_of: from a corpus, where one is given. run: tells what it has seen."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, help="how long; without it and --inputs, 60")
    parser.add_argument("--inputs", type=int, help="how many inputs")
    parser.add_argument("--seed", type=int, default=1, help="which inputs (default 1)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input (default 0)")
    parser.add_argument(
        "--corpus", type=Path, help="a folder of files to start from as well, each the bytes of a stream"
    )
    options = parser.parse_args()
    seconds = 60.0 if options.seconds is None and options.inputs is None else options.seconds
    try:
        seen = run(seeds_of(options.corpus), options.seed, numbers_from(options.first, seconds, options.inputs))
    except Exception:  # noqa: BLE001  # printed with its input where it was caught
        return 1
    print(f"seed {options.seed}: {seen}, nothing broken")
    return 0
