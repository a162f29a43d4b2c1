# cython: language_level=3
"""Where the codecs' errors are made, and the slow turns of `_arguments.pxd`: cold code, kept apart from what it guards.

A `malformed` packet cannot be parsed, a `violation` parses and breaks a rule, `cannot_encode` is the caller's mistake.
Clauses are numbered as in MQTT 5.0; a rule that only 3.1.1 has says so. What is wrong in TLS is refused with an alert.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyObject_CheckBuffer
from libc.stdint cimport uint8_t, uint32_t

from iotwire._cursor cimport LEFT_OVER, PAST_END, VARINT_TOO_LONG, Cursor, Fault, cursor_over, offset_of
from iotwire._emit cimport MAX_VARINT
from iotwire._frame cimport AUTH, CONNECT, MQTT_3_1_1, PUBLISH, UNKNOWN_VERSION, required_flags

from iotwire.errors import (
    EncodeError, MalformedPacketError, PacketTooLargeError, ProtocolViolationError, TlsDecodeError,
)


cdef int malformed(const Cursor* at, str message, str clause, int reason_code=0x81) except -1:
    raise MalformedPacketError(message, reason_code=reason_code, offset=offset_of(at), clause=clause)


cdef int violation(const Cursor* at, str message, str clause, int reason_code=0x82) except -1:
    raise ProtocolViolationError(message, reason_code=reason_code, offset=offset_of(at), clause=clause)


cdef int cursor_fault(const Cursor* at, Fault fault) except -1:
    """The `Fail` of every MQTT cursor."""
    if fault == PAST_END:
        return malformed(at, "a field runs past the end of its container", "4.13.1")
    if fault == LEFT_OVER:
        return malformed(at, "bytes are left over after the last field", "4.13.1")
    if fault == VARINT_TOO_LONG:
        return malformed(at, "a variable byte integer is longer than four bytes", "1.5.5")
    return malformed(at, "a variable byte integer is longer than its value needs", "MQTT-1.5.5-1")


cdef int cannot_encode(str field, str message, str clause="") except -1:
    raise EncodeError(message, field=field, clause=clause)


cdef uint32_t as_int_slow(object value, str field, uint32_t least, uint32_t most) except? 0xFFFFFFFF:
    """An integer that is not a plain int in range: an IntEnum or a bool, or the caller's mistake."""
    if not isinstance(value, int):
        cannot_encode(field, f"must be int, not {type(value).__name__}")
    if value < least or value > most:
        cannot_encode(field, f"must be {least} to {most}")
    return int(value)


cdef int get_buffer_slow(object value, str field, Buffer* view) except -1:
    """The buffer of something that is not bytes, or the caller's mistake."""
    if not PyObject_CheckBuffer(value):
        cannot_encode(field, f"must be bytes-like, not {type(value).__name__}")
    try:
        return PyObject_GetBuffer(value, view, PyBUF_SIMPLE)
    except (BufferError, ValueError) as error:  # ValueError: a memoryview that was released, a closed mmap
        cannot_encode(field, f"must be a C-contiguous buffer: {error}")


cdef int refuse_bytes(Py_ssize_t size, str field) except -1:
    return cannot_encode(field, f"has {size} bytes; a packet holds at most {MAX_VARINT}", "2.1.4")


# ---- the fixed header [2.1]

cdef int too_long(Py_ssize_t body_size) except -1:
    return cannot_encode("packet", f"takes at least {body_size} bytes; a remaining length is at most {MAX_VARINT}", "2.1.4")


cdef int refuse_first_byte(int first, int version) except -1:
    """Raise what is wrong with a packet's first byte."""
    cdef uint8_t byte = first
    cdef Cursor at = cursor_over(&byte, 1, 0, cursor_fault)
    cdef int kind = first >> 4
    if kind == 0:
        return malformed(&at, "packet type 0 is reserved", "2.1.2")
    if kind == AUTH and version == MQTT_3_1_1:
        return malformed(&at, "packet type 15 is reserved in MQTT 3.1.1", "3.1.1: 2.2.1")
    if kind != PUBLISH and first & 0x0F != required_flags(kind):
        return malformed(&at, f"the flags of packet type {kind} are 0x{first & 0x0F:X}: reserved", "MQTT-2.1.3-1")
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


# ---- TLS

cdef int refuse_tls(const Cursor* at, int alert, str message, str clause, Py_ssize_t number=0) except -1:
    """`message` may have a {} for `number`."""
    raise TlsDecodeError(message.format(number), alert=alert, offset=offset_of(at), clause=clause)


cdef int tls_fault(const Cursor* at, Fault fault) except -1:
    """The `Fail` of every TLS cursor."""
    if fault == PAST_END:
        return refuse_tls(at, 50, "a field runs past the end of its container", "RFC 8446 3.4")
    return refuse_tls(at, 50, "bytes are left over after the last field", "RFC 8446 3.4")


cdef int refuse_length(str field, Py_ssize_t size, int least, int most) except -1:
    return cannot_encode(field, f"has {size} bytes; {least} to {most} are allowed", "RFC 8446 3.4")
