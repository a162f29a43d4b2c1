# cython: language_level=3
from libc.stdint cimport uint8_t

from iotwire._mqtt cimport PayloadSource
from iotwire._recent cimport Recent


cdef class Window:
    """The writable end of a decoder's storage, as `get_buffer` hands it out."""
    cdef bytes storage
    cdef uint8_t* at
    cdef Py_ssize_t size


cdef class Decoder:
    cdef bytes storage           # received and not yet decoded: storage[start:end]; None while there is nothing
    cdef Py_ssize_t start
    cdef Py_ssize_t end
    cdef Py_ssize_t needed       # bytes that the packet at `start` takes in all, as far as is known
    cdef Py_ssize_t waiting      # `end - start` as the last call left it: what other threads may ask for
    cdef Py_ssize_t offered      # size of the window that get_buffer handed out last
    cdef Py_ssize_t max_packet_size
    cdef int version_
    cdef bint as_views
    cdef int busy                # 1 while a call has it; all of the above is that call's
    cdef object failure
    cdef Recent recent

    cdef int enter(self) except -1
    cdef void leave(self) noexcept
    cdef int fail(self, object error, list packets) except -1
    cdef int decode_storage(self, list packets) except -1
    cdef Py_ssize_t decode_all(self, const uint8_t* data, Py_ssize_t size, PayloadSource views, list packets) except -1
    cdef int reserve(self, Py_ssize_t room) except -1
    cdef int append(self, const void* data, Py_ssize_t size) except -1
    cdef PayloadSource source_of(self, bytes owner)
