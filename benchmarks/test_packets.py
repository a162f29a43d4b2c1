"""pytest-benchmark suite of every packet type, both ways, in both versions: `make bench`.

Packets are those of the tests' vectors: for each type and version the shortest, and the one with every property, or in
3.1.1 the longest. Under encoding lies one exact bytes object; the floor of decoding is made for PUBLISH and PUBACK
alone, and stands beside them in test_codec.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from contenders import Contender
from floor import Floor, load_floor
from suite import cases, present, take_time, timed

from iotwire.mqtt import decode
from vectors.mqtt import CASES, Vector

FLOOR = load_floor()
MOST_BYTES = 1000  # vectors of 64 KiB are there for their lengths


def chosen() -> dict[str, tuple[Vector, int]]:
    """The shortest and the fullest vector of each packet type and version, by name."""
    kinds: dict[tuple[str, int], list[Vector]] = {}
    for vector, version in CASES:
        if vector.form == "canonical" and len(vector.wire) <= MOST_BYTES:
            kinds.setdefault((type(vector.packet).__name__, version), []).append(vector)
    found: dict[str, tuple[Vector, int]] = {}
    for (kind, version), vectors in kinds.items():
        shortest = min(vectors, key=lambda vector: len(vector.wire))
        fullest = max(vectors, key=lambda vector: ("every property" in vector.id, len(vector.wire)))
        found[f"{kind}-v{version}"] = shortest, version
        if len(fullest.wire) > len(shortest.wire):
            found[f"{kind}-v{version}-{'properties' if version == 5 else 'longest'}"] = fullest, version
    return found


def encoders(vector: Vector, version: int) -> list[Contender]:
    names = {"encode": vector.packet.encode, "version": version}
    ours = Contender("iotwire", "result = encode(version)", names, lambda made: made)
    return [ours, *(present(FLOOR.copy(vector.wire)) if isinstance(FLOOR, Floor) else [])]


def decoders(vector: Vector, version: int) -> list[Contender]:
    names = {"decode": decode, "data": vector.wire, "version": version}
    return [Contender("iotwire", "result = decode(data, version)", names, lambda made: made[0])]


def test_every_packet_type_is_among_them() -> None:
    assert len({type(vector.packet) for vector, _ in chosen().values()}) == 15


@timed
@pytest.mark.parametrize(
    ("group", "expected", "contender"),
    cases(
        group
        for name, (vector, version) in chosen().items()
        for group in (
            (f"{name}-encode", vector.wire, encoders(vector, version)),
            (f"{name}-decode", vector.packet, decoders(vector, version)),
        )
    ),
)
def test_what_a_packet_costs(benchmark: Any, group: str, expected: object, contender: Contender) -> None:
    contender.check(expected)
    take_time(benchmark, group, contender, 1000)
