"""Every MQTT packet as object and bytes, and bytes that are no packet: one list for tests, fuzzing and benchmarks."""

from __future__ import annotations

from vectors.mqtt import acknowledgements, connack, connect, publish, session, subscribe
from vectors.mqtt.malformed import MALFORMED
from vectors.mqtt.vector import (
    LengthField,
    Malformed,
    Vector,
    put_binary,
    put_frame,
    put_string,
    put_varint,
    read_annotated,
    read_varint,
)

__all__ = [
    "CASES",
    "MALFORMED",
    "MALFORMED_CASES",
    "VECTORS",
    "LengthField",
    "Malformed",
    "Vector",
    "put_binary",
    "put_frame",
    "put_string",
    "put_varint",
    "read_annotated",
    "read_varint",
]

VECTORS: tuple[Vector, ...] = (
    *connect.VECTORS,
    *connack.VECTORS,
    *publish.VECTORS,
    *acknowledgements.VECTORS,
    *subscribe.VECTORS,
    *session.VECTORS,
)

# A vector in each of its versions.
CASES: tuple[tuple[Vector, int], ...] = tuple((vector, version) for vector in VECTORS for version in vector.versions)
MALFORMED_CASES: tuple[tuple[Malformed, int], ...] = tuple(
    (malformed, version) for malformed in MALFORMED for version in malformed.versions
)
