# cython: language_level=3
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from iotwire._cursor cimport Cursor
from iotwire._recent cimport Recent

cdef enum:
    WILL = 0  # a will's properties follow rules of their own: it takes the packet type that nobody has

cdef enum Identifier:  # the few that the codec itself asks about; the table has them all
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    TOPIC_ALIAS = 0x23

cdef enum:
    COMES_AGAIN = 62  # in `seen`, far from any property: the block is one that a decoder has recognised

cdef bytes read_property_block(Cursor* body, int packet, uint64_t* seen, Recent* recent)
cdef object property_of(bytes block, int identifier, bint repeats)
cdef object known_property_of(bytes block, int identifier, bint repeats)
cdef bytes without_property(bytes block, int identifier)
cdef bytes encode_properties(int packet, tuple values, uint64_t* seen)
cdef bytes encode_property_array(int packet, PyObject** values, uint64_t* seen)
cdef tuple attributes_of(int packet)
cdef int refuse_properties(tuple attributes, uint64_t seen) except -1


cdef inline bint has(uint64_t seen, int identifier) noexcept:
    return (seen >> identifier) & 1


cdef inline bytes read_properties(Cursor* body, int packet, uint64_t* seen, Recent* recent=NULL):
    """The property block at the cursor: checked, and None where it is empty. `seen` gets a bit for each identifier.

    recent: blocks of this type of packet that were seen lately, or NULL.
    """
    if body.pos < body.end and body.pos[0] == 0:  # most packets have none
        body.pos += 1
        return None
    return read_property_block(body, packet, seen, recent)
