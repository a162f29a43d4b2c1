# cython: language_level=3
"""Big-endian puts and variable byte integers. Header-only.

Nothing here checks a bound: an encoder works out the exact size first, allocates once, and fills. Each `put_` returns
the place after what it put, so an encoder that ends at the end of its allocation has proved its arithmetic.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

cdef enum:
    MAX_VARINT = 268_435_455  # the largest variable byte integer, and so the largest remaining length [1.5.5]


cdef inline uint8_t* put_u8(uint8_t* at, uint32_t value) noexcept:
    at[0] = <uint8_t> value
    return at + 1


cdef inline uint8_t* put_u16(uint8_t* at, uint32_t value) noexcept:
    at[0] = <uint8_t> (value >> 8)
    at[1] = <uint8_t> value
    return at + 2


cdef inline uint8_t* put_u24(uint8_t* at, uint32_t value) noexcept:
    return put_u16(put_u8(at, value >> 16), value)


cdef inline uint8_t* put_u32(uint8_t* at, uint32_t value) noexcept:
    at[0] = <uint8_t> (value >> 24)
    at[1] = <uint8_t> (value >> 16)
    at[2] = <uint8_t> (value >> 8)
    at[3] = <uint8_t> value
    return at + 4


cdef inline uint8_t* put_bytes(uint8_t* at, const void* source, Py_ssize_t size) noexcept:
    memcpy(at, source, size)
    return at + size


cdef inline uint8_t* put_binary(uint8_t* at, const void* source, Py_ssize_t size) noexcept:
    """Two bytes of length, then the bytes: the layout of Binary Data [1.5.6] and of UTF-8 strings [1.5.4]."""
    return put_bytes(put_u16(at, <uint32_t> size), source, size)


cdef inline int size_varint(Py_ssize_t value) noexcept:
    return 1 if value < 128 else 2 if value < 16_384 else 3 if value < 2_097_152 else 4


cdef inline uint8_t* put_varint(uint8_t* at, Py_ssize_t value) noexcept:
    while value >= 128:
        at[0] = <uint8_t> (value & 0x7F | 0x80)
        at += 1
        value >>= 7
    at[0] = <uint8_t> value
    return at + 1
