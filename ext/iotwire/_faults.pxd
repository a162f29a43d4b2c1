# cython: language_level=3
from libc.stdint cimport uint32_t

from iotwire._cursor cimport Cursor, Fault

cdef extern from "Python.h":
    ctypedef struct Buffer "Py_buffer":  # Cython's own Py_buffer does not let `obj` be NULL
        void* obj
        void* buf
        Py_ssize_t len
    int PyObject_GetBuffer(object value, Buffer* view, int flags) except -1
    void PyBuffer_Release(Buffer* view)

cdef int malformed(const Cursor* at, str message, str clause, int reason_code=*) except -1
cdef int violation(const Cursor* at, str message, str clause, int reason_code=*) except -1
cdef int cursor_fault(const Cursor* at, Fault fault) except -1
cdef int cannot_encode(str field, str message, str clause=*) except -1
cdef uint32_t as_int_slow(object value, str field, uint32_t least, uint32_t most) except? 0xFFFFFFFF
cdef int get_buffer_slow(object value, str field, Buffer* view) except -1
cdef int refuse_bytes(Py_ssize_t size, str field) except -1
cdef int too_long(Py_ssize_t body_size) except -1
cdef int refuse_first_byte(int first, int version) except -1
cdef int refuse_remaining_length(int length_bytes) except -1
cdef int refuse_size(Py_ssize_t size, Py_ssize_t max_packet_size) except -1
cdef int refuse_tls(const Cursor* at, int alert, str message, str clause, Py_ssize_t number=*) except -1
cdef int tls_fault(const Cursor* at, Fault fault) except -1
cdef int refuse_length(str field, Py_ssize_t size, int least, int most) except -1
