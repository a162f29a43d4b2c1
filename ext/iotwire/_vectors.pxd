# cython: language_level=3
"""Vectors, of which all of TLS is made [RFC 8446 3.4]: a length of one or two bytes, then as many bytes. Header-only."""

from cpython.bytes cimport PyBytes_CheckExact, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t

from iotwire._arguments cimport Buffer, get_buffer, release
from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from iotwire._cursor cimport Cursor, cursor_over, read_u8, read_u16, remaining, sub_cursor
from iotwire._faults cimport refuse_length, refuse_tls, tls_fault

cdef enum AlertCode:  # those that the codec answers with [RFC 8446 6]
    UNEXPECTED_MESSAGE = 10
    RECORD_OVERFLOW = 22
    ILLEGAL_PARAMETER = 47
    DECODE_ERROR = 50
    PROTOCOL_VERSION = 70


cdef inline Cursor whole_cursor(bytes source) noexcept:
    return cursor_over(<const uint8_t*> PyBytes_AS_STRING(source), PyBytes_GET_SIZE(source), 0, tls_fault)


cdef inline Cursor read_vector(Cursor* c, int length_bytes, int least, int most) except *:
    """A cursor over a vector's content, of `least` to `most` bytes."""
    cdef Cursor at = c[0]
    cdef int size = read_u8(c) if length_bytes == 1 else read_u16(c)
    if size < least:
        refuse_tls(&at, DECODE_ERROR, "a vector is shorter than the {} bytes it needs", "RFC 8446 3.4", least)
    if size > most:
        refuse_tls(&at, DECODE_ERROR, "a vector is longer than the {} bytes it may have", "RFC 8446 3.4", most)
    return sub_cursor(c, size)


cdef inline Cursor read_u16s(Cursor* c, int length_bytes) except *:
    """A cursor over a vector of at least one two-byte number."""
    cdef Cursor at = c[0]
    cdef Cursor numbers = read_vector(c, length_bytes, 2, 65_535)
    if remaining(&numbers) & 1:
        refuse_tls(&at, DECODE_ERROR, "a list of two-byte numbers has an odd length", "RFC 8446 3.4")
    return numbers


cdef inline bytes read_rest(const Cursor* c):
    return PyBytes_FromStringAndSize(<const char*> c.pos, remaining(c))


cdef inline bytes as_opaque(object value, str field, int least, int most):
    """A caller's bytes or other C-contiguous buffer of so many bytes as bytes of our own."""
    cdef Buffer view
    cdef Py_ssize_t size
    cdef bytes copy = None
    if PyBytes_CheckExact(value):
        copy = <bytes> value
        size = PyBytes_GET_SIZE(copy)
    else:
        get_buffer(value, field, &view)
        try:
            size = view.len
            if size <= most:
                copy = (<const char*> view.buf)[:size]
        finally:
            release(&view)
    if not least <= size <= most:
        refuse_length(field, size, least, most)
    return copy
