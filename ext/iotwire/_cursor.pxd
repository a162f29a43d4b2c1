# cython: language_level=3
"""Bounded reads: the only way this project takes bytes apart. Header-only.

A `Cursor` knows where its container ends, which is seldom where the buffer ends: a nested length makes a cursor of its
own (`sub_cursor`). Every read goes through `need`, the one bounds check. What a short or over-full container means is
the codec's business (an MQTT reason code, a TLS alert), so the codec gives the cursor a `fail` that raises its error.
Bytes are put together by shifts, never through a cast pointer: ARM faults on unaligned words, and C calls it undefined.
"""

from libc.stdint cimport int64_t, uint8_t


cdef enum Fault:
    PAST_END             # a length or field runs past the end of its container
    LEFT_OVER            # bytes stay in a container that should be used up
    VARINT_TOO_LONG      # a variable byte integer of more than four bytes
    VARINT_NOT_SHORTEST  # a variable byte integer with a needless last byte


cdef struct Cursor
ctypedef int (*Fail)(const Cursor* at, Fault fault) except -1


cdef struct Cursor:
    const uint8_t* start  # the first byte this cursor may look at
    const uint8_t* pos    # the next byte to read
    const uint8_t* end    # one past the last byte of the container
    Py_ssize_t base       # offset of `start` in its packet, so that errors can say where
    Fail fail


cdef inline Cursor cursor_over(const uint8_t* start, Py_ssize_t size, Py_ssize_t base, Fail fail) noexcept:
    cdef Cursor cursor
    cursor.start = start
    cursor.pos = start
    cursor.end = start + size
    cursor.base = base
    cursor.fail = fail
    return cursor


cdef inline Py_ssize_t offset_of(const Cursor* c) noexcept:
    return c.base + (c.pos - c.start)


cdef inline Py_ssize_t remaining(const Cursor* c) noexcept:
    return c.end - c.pos


cdef inline int need(Cursor* c, Py_ssize_t size) except -1:
    if c.end - c.pos < size:
        return c.fail(c, PAST_END)
    return 0


cdef inline int expect_end(Cursor* c) except -1:
    if c.pos != c.end:
        return c.fail(c, LEFT_OVER)
    return 0


cdef inline const uint8_t* take(Cursor* c, Py_ssize_t size) except NULL:
    """The next `size` bytes in place. The pointer is good as long as the buffer is."""
    cdef const uint8_t* bytes_at
    need(c, size)
    bytes_at = c.pos
    c.pos += size
    return bytes_at


cdef inline Cursor sub_cursor(Cursor* c, Py_ssize_t size) except *:
    """A cursor over the next `size` bytes, which the outer cursor steps over."""
    need(c, size)
    cdef Cursor inner = cursor_over(c.pos, size, offset_of(c), c.fail)
    c.pos += size
    return inner


cdef inline int read_u8(Cursor* c) except -1:
    need(c, 1)
    cdef int value = c.pos[0]
    c.pos += 1
    return value


cdef inline int read_u16(Cursor* c) except -1:
    need(c, 2)
    cdef int value = c.pos[0] << 8 | c.pos[1]
    c.pos += 2
    return value


cdef inline int read_u24(Cursor* c) except -1:
    need(c, 3)
    cdef int value = c.pos[0] << 16 | c.pos[1] << 8 | c.pos[2]
    c.pos += 3
    return value


cdef inline int64_t read_u32(Cursor* c) except -1:
    need(c, 4)
    cdef int64_t value = <int64_t> c.pos[0] << 24 | c.pos[1] << 16 | c.pos[2] << 8 | c.pos[3]
    c.pos += 4
    return value


cdef inline int read_varint(Cursor* c) except -1:
    """A variable byte integer: at most four bytes [1.5.5] and no longer than it has to be [MQTT-1.5.5-1]."""
    cdef int value = 0
    cdef int shift = 0
    cdef int byte
    while True:
        byte = read_u8(c)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 21:
            return c.fail(c, VARINT_TOO_LONG)
    if byte == 0 and shift > 0:
        return c.fail(c, VARINT_NOT_SHORTEST)
    return value
