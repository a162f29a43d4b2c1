# cython: language_level=3
"""What callers give, checked once where it enters. Header-only.

Each `as_` gives the C value or the exact built-in type, or raises an EncodeError that names the argument: a codec whose
caller passes "5" for a packet id must say so, not raise OverflowError from somewhere below.
"""

from cpython.bytes cimport PyBytes_CheckExact
from libc.stdint cimport int64_t, uint32_t

from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE, small_int
from iotwire._emit cimport MAX_VARINT
from iotwire._faults cimport Buffer, PyBuffer_Release, as_int_slow, cannot_encode, get_buffer_slow, refuse_bytes


cdef inline uint32_t as_int(object value, str field, uint32_t least, uint32_t most) except? 0xFFFFFFFF:
    cdef int64_t number = small_int(value)
    if least <= number and number <= most:
        return <uint32_t> number
    return as_int_slow(value, field, least, most)


cdef inline bint as_flag(object value, str field) except -1:
    if value is False:
        return False
    if value is True:
        return True
    return as_int(value, field, 0, 1)


cdef inline int as_version(object version) except -1:
    """4 (MQTT 3.1.1) or 5 (MQTT 5.0): the protocol levels of the standards [3.1.2.2]."""
    return as_int(version, "version", 4, 5)


cdef inline int get_buffer(object value, str field, Buffer* view) except -1:
    """Fill `view`, which the caller gives to `release`. Not C-contiguous is an error, never a read past the end."""
    if PyBytes_CheckExact(value):  # bytes cannot change under us and outlive the call: nothing to hold or release
        view.obj = NULL
        view.buf = PyBytes_AS_STRING(value)
        view.len = PyBytes_GET_SIZE(value)
        return 0
    return get_buffer_slow(value, field, view)


cdef inline void release(Buffer* view) noexcept:
    if view.obj != NULL:
        PyBuffer_Release(view)


cdef inline int must_fit(Py_ssize_t size, str field) except -1:
    """Sizes are added up without a look at each sum: what none of them may exceed is refused where it comes in.

    On a 32-bit machine a Py_ssize_t ends at 2 GiB, and a caller's buffer may reach that far.
    """
    if size > MAX_VARINT:
        refuse_bytes(size, field)
    return 0


cdef inline bytes as_bytes(object value, str field):
    """Any C-contiguous buffer of at most 268435455 bytes as bytes of our own; bytes themselves are not copied."""
    cdef Buffer view
    if PyBytes_CheckExact(value):
        must_fit(PyBytes_GET_SIZE(value), field)
        return <bytes> value
    get_buffer(value, field, &view)
    try:
        must_fit(view.len, field)
        return (<char*> view.buf)[:view.len]
    finally:
        release(&view)


cdef inline bytes as_binary(object value, str field):
    """Binary Data [1.5.6]: at most 65535 bytes."""
    cdef bytes data = as_bytes(value, field)
    if PyBytes_GET_SIZE(data) > 65535:
        cannot_encode(field, f"has {PyBytes_GET_SIZE(data)} bytes; at most 65535 are allowed", "1.5.6")
    return data


cdef inline tuple as_tuple(object items, str field, str of_what):
    """A caller's iterable as a tuple, which nobody can change; a string is iterable but never meant."""
    if not isinstance(items, (str, bytes)):
        try:
            return tuple(items)
        except TypeError:
            pass
    cannot_encode(field, f"must be an iterable of {of_what}, not {type(items).__name__}")
