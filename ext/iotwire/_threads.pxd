# cython: language_level=3
"""What a thread may read or write while another does. Header-only.

Under the GIL nothing runs in between, so all of these are plain reads and writes there. A free-threaded CPython has no
such lock: there they are atomic, and who reads what a `store_` or a `try_` wrote sees all that was written before it.
Objects that are never changed once they are made need none of this, and most of the codec is such objects.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

cdef extern from *:
    """
    #if defined(Py_GIL_DISABLED)
        #define IOTWIRE_FREE_THREADED 1
        #define iotwire_load(at) __atomic_load_n(at, __ATOMIC_ACQUIRE)
        #define iotwire_store(at, value) __atomic_store_n(at, value, __ATOMIC_RELEASE)
        #define iotwire_exchange(at, value) __atomic_exchange_n(at, value, __ATOMIC_ACQ_REL)
        #define iotwire_fetch_or(at, bits) __atomic_fetch_or(at, bits, __ATOMIC_ACQ_REL)
    #else
        #define IOTWIRE_FREE_THREADED 0
        #define iotwire_load(at) (*(at))
        #define iotwire_store(at, value) ((void) (*(at) = (value)))
        static CYTHON_INLINE int iotwire_exchange(int* at, int value) {
            int before = *at;
            *at = value;
            return before;
        }
        static CYTHON_INLINE uint64_t iotwire_fetch_or(uint64_t* at, uint64_t bits) {
            uint64_t before = *at;
            *at = before | bits;
            return before;
        }
    #endif
    """
    bint FREE_THREADED "IOTWIRE_FREE_THREADED"
    int load_int "iotwire_load"(const int* at) noexcept
    void store_int "iotwire_store"(int* at, int value) noexcept
    uint8_t load_u8 "iotwire_load"(const uint8_t* at) noexcept
    void store_u8 "iotwire_store"(uint8_t* at, uint8_t value) noexcept
    Py_ssize_t load_size "iotwire_load"(const Py_ssize_t* at) noexcept
    void store_size "iotwire_store"(Py_ssize_t* at, Py_ssize_t value) noexcept
    PyObject* load_pointer "iotwire_load"(PyObject** at) noexcept
    void store_pointer "iotwire_store"(PyObject** at, PyObject* value) noexcept
    int exchange_int "iotwire_exchange"(int* at, int value) noexcept
    uint64_t fetch_or_u64 "iotwire_fetch_or"(uint64_t* at, uint64_t bits) noexcept


cdef inline bint try_take(int* taken) noexcept:
    """Take what only one at a time may have. False: somebody has it. It is given back by storing 0."""
    return exchange_int(taken, 1) == 0


cdef inline bint try_mark(uint64_t* bits, uint64_t mark) noexcept:
    """Set a bit that is never taken back. False: somebody was first."""
    return (fetch_or_u64(bits, mark) & mark) == 0
