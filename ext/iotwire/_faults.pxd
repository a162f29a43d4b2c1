# cython: language_level=3
from libc.stdint cimport uint32_t

from iotwire._cursor cimport Cursor, Fault

cdef int malformed(const Cursor* at, str message, str clause, int reason_code=*) except -1
cdef int violation(const Cursor* at, str message, str clause, int reason_code=*) except -1
cdef int cursor_fault(const Cursor* at, Fault fault) except -1
cdef int cannot_encode(str field, str message, str clause=*) except -1
cdef uint32_t as_int_slow(object value, str field, uint32_t least, uint32_t most) except? 0xFFFFFFFF
