# cython: language_level=3
"""The fixed header [2.1]: one byte of type and flags, then the remaining length. Header-only."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t

from iotwire._capi cimport PyBytes_AS_STRING
from iotwire._emit cimport MAX_VARINT, put_u8, put_varint, size_varint
from iotwire._faults cimport refuse_first_byte, refuse_remaining_length, refuse_size, too_long

cdef enum PacketKind:  # the packet type, the high four bits of the first byte [2.1.2]
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15

cdef enum Version:
    UNKNOWN_VERSION = 0  # a server's, before CONNECT
    MQTT_3_1_1 = 4
    MQTT_5 = 5

cdef enum:
    MAX_PACKET_SIZE = MAX_VARINT + 5  # the largest remaining length and the fixed header before it


cdef struct Frame:
    int first           # type and flags
    Py_ssize_t header   # bytes before the body
    Py_ssize_t size     # of the whole packet; 0 while the header is incomplete


cdef inline int required_flags(int kind) noexcept:
    """The low four bits of the first byte [MQTT-2.1.3-1]. PUBLISH has rules of its own."""
    return 0b0010 if kind == PUBREL or kind == SUBSCRIBE or kind == UNSUBSCRIBE else 0


cdef inline bytes new_wire(int first, Py_ssize_t body_size, Py_ssize_t left_out, uint8_t** body):
    """Bytes of exactly the packet's size, less what the caller leaves out, with the fixed header in place.

    `body` is where the rest goes.
    """
    cdef bytes wire
    if body_size > MAX_VARINT:
        too_long(body_size)
    wire = PyBytes_FromStringAndSize(NULL, 1 + size_varint(body_size) + body_size - left_out)
    body[0] = put_varint(put_u8(<uint8_t*> PyBytes_AS_STRING(wire), first), body_size)
    return wire


cdef inline int read_frame(
    const uint8_t* data, Py_ssize_t available, int version, Py_ssize_t max_packet_size, Frame* frame
) except -1:
    """1 where a whole packet is there, 0 for "not yet"; either way `frame` holds what is known.

    What cannot become right is refused as soon as its byte is there: a first byte, a remaining length, a size.
    """
    cdef int first, kind, byte
    cdef int length_bytes = 0
    cdef Py_ssize_t length = 0
    frame.first = frame.header = frame.size = 0
    if available == 0:
        return 0
    first = data[0]
    kind = first >> 4
    if kind == PUBLISH:
        if (first & 0b0110) == 0b0110 or (first & 0b1110) == 0b1000 or version == UNKNOWN_VERSION:
            return refuse_first_byte(first, version)
    elif (
        kind == 0
        or first & 0x0F != required_flags(kind)
        or (version == UNKNOWN_VERSION and kind != CONNECT)
        or (version == MQTT_3_1_1 and kind == AUTH)
    ):
        return refuse_first_byte(first, version)
    while True:
        if length_bytes == 4:
            return refuse_remaining_length(5)
        if length_bytes + 1 >= available:
            return 0
        byte = data[1 + length_bytes]
        length |= <Py_ssize_t> (byte & 0x7F) << 7 * length_bytes
        length_bytes += 1
        if byte < 0x80:
            break
    if byte == 0 and length_bytes > 1:
        return refuse_remaining_length(length_bytes)
    frame.first = first
    frame.header = 1 + length_bytes
    frame.size = frame.header + length
    if frame.size > max_packet_size:
        return refuse_size(frame.size, max_packet_size)
    return frame.size <= available
