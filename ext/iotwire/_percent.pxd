# cython: language_level=3
"""Percent-encoding (RFC 3986, 2.1) of any bytes, and back. Header-only.

Signature Version 4 and custom authorizers leave the unreserved characters `A-Za-z0-9-._~` raw (2.3) and write all else
as `%` and two capital digits; a path keeps its `/` too. Which those are stands in one table. As everywhere here, the
size is worked out first: at most three times that of the source, so whoever adds sizes up bounds the source before.
"""

from libc.stdint cimport uint8_t

cdef extern from *:
    """
    #include <stdint.h>

    /* For each byte: whether it stays as it is, by bits of `keep`. ASCII from '-' on; the rest is never kept. */
    #define IOTWIRE_UNRESERVED 1
    #define IOTWIRE_SLASH 2
    static const uint8_t iotwire_raw[256] = {
        ['-'] = 1, ['.'] = 1, ['_'] = 1, ['~'] = 1, ['/'] = 2,
        ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1, ['9'] = 1,
        ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1, ['G'] = 1, ['H'] = 1, ['I'] = 1, ['J'] = 1,
        ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1, ['P'] = 1, ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1,
        ['U'] = 1, ['V'] = 1, ['W'] = 1, ['X'] = 1, ['Y'] = 1, ['Z'] = 1,
        ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1,
        ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1, ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1, ['t'] = 1,
        ['u'] = 1, ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1,
    };
    """
    const uint8_t* RAW "iotwire_raw"
    int UNRESERVED "IOTWIRE_UNRESERVED"             # keep `A-Za-z0-9-._~` alone
    int SLASH_TOO "(IOTWIRE_UNRESERVED | IOTWIRE_SLASH)"  # and the `/` between the segments of a path


cdef inline Py_ssize_t size_percent(const uint8_t* source, Py_ssize_t size, int keep) noexcept:
    """How many bytes `put_percent` will put."""
    cdef Py_ssize_t encoded = size
    cdef Py_ssize_t at
    for at in range(size):
        encoded += 0 if RAW[source[at]] & keep else 2
    return encoded


cdef inline uint8_t hex_digit(int value) noexcept:
    """0-15 as RFC 3986 wants it, in capitals."""
    return <uint8_t> (value + 0x30 if value < 10 else value + 0x37)


cdef inline uint8_t* put_percent(uint8_t* to, const uint8_t* source, Py_ssize_t size, int keep) noexcept:
    """Put `source` percent-encoded; the place after it."""
    cdef Py_ssize_t at
    for at in range(size):
        if RAW[source[at]] & keep:
            to[0] = source[at]
            to += 1
        else:
            to[0] = 0x25
            to[1] = hex_digit(source[at] >> 4)
            to[2] = hex_digit(source[at] & 15)
            to += 3
    return to


cdef inline int hex_value(uint8_t digit) noexcept nogil:
    """The value of a hexadecimal digit of either case, or -1."""
    if 0x30 <= digit <= 0x39:
        return digit - 0x30
    digit |= 0x20
    return digit - 0x57 if 0x61 <= digit <= 0x66 else -1


cdef inline int escaped_byte(const uint8_t* source, Py_ssize_t size) noexcept nogil:
    """The byte that `%` and two digits at the start of `source` stand for, or -1 where they do not stand there."""
    cdef int high, low
    if size < 3 or source[0] != 0x25:
        return -1
    high = hex_value(source[1])
    low = hex_value(source[2])
    return -1 if high < 0 or low < 0 else high << 4 | low
