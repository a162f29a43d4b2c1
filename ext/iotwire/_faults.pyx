# cython: language_level=3
"""Where the MQTT codec's errors are made, and the slow turns of `_arguments.pxd`: cold code, kept out of the paths it guards.

A `malformed` packet cannot be parsed, a `violation` parses and breaks a rule, and `cannot_encode` is the caller's mistake.
Clauses are numbered as in MQTT 5.0; a rule that only 3.1.1 has says so.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyObject_CheckBuffer
from libc.stdint cimport uint32_t

from iotwire._cursor cimport LEFT_OVER, PAST_END, VARINT_TOO_LONG, Cursor, Fault, offset_of

from iotwire.errors import EncodeError, MalformedPacketError, ProtocolViolationError


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
