# cython: language_level=3, boundscheck=False, wraparound=False
"""The fixed header in front of every packet [2.1], where it is wrong. Where it is right, `_frame.pxd` reads and writes it."""

from libc.stdint cimport uint8_t

from iotwire._cursor cimport Cursor, cursor_over
from iotwire._emit cimport MAX_VARINT
from iotwire._faults cimport cannot_encode, cursor_fault, malformed, violation

from iotwire.errors import PacketTooLargeError

required_flags[<int> PUBREL] = required_flags[<int> SUBSCRIBE] = required_flags[<int> UNSUBSCRIBE] = 0b0010


cdef int too_long(Py_ssize_t body_size) except -1:
    return cannot_encode("packet", f"a remaining length of {body_size} bytes; at most {MAX_VARINT} fit", "2.1.4")


cdef int refuse_first_byte(int first, int version) except -1:
    """Raise what is wrong with a packet's first byte."""
    cdef uint8_t byte = first
    cdef Cursor at = cursor_over(&byte, 1, 0, cursor_fault)
    cdef int kind = first >> 4
    if kind == 0:
        return malformed(&at, "packet type 0 is reserved", "2.1.2")
    if kind == AUTH and version == MQTT_3_1_1:
        return malformed(&at, "packet type 15 is reserved in MQTT 3.1.1", "3.1.1: 2.2.1")
    if kind != PUBLISH and first & 0x0F != required_flags[kind]:
        return malformed(&at, f"the flags of packet type {kind} are 0x{first & 0x0F:X}, which is reserved", "MQTT-2.1.3-1")
    if version == UNKNOWN_VERSION and kind != CONNECT:
        return violation(&at, f"the first packet is of type {kind}, not CONNECT", "MQTT-3.1.0-1")
    if kind == PUBLISH and first & 0b0110 == 0b0110:
        return malformed(&at, "a PUBLISH with QoS 3", "MQTT-3.3.1-4")
    return violation(&at, "a PUBLISH with QoS 0 and DUP", "MQTT-3.3.1-2")


cdef int refuse_remaining_length(int length_bytes) except -1:
    """Raise that a remaining length is over four bytes, or (its last byte being zero) longer than it has to be."""
    cdef uint8_t byte = 0
    cdef Cursor at = cursor_over(&byte, 1, 1, cursor_fault)
    if length_bytes > 4:
        return malformed(&at, "the remaining length is longer than four bytes", "2.1.4")
    return malformed(&at, "the remaining length is longer than its value needs", "MQTT-1.5.5-1")


cdef int refuse_size(Py_ssize_t size, Py_ssize_t max_packet_size) except -1:
    raise PacketTooLargeError(
        f"the header announces a packet of {size} bytes; at most {max_packet_size} are allowed",
        offset=1, clause="MQTT-3.1.2-24",
    )
