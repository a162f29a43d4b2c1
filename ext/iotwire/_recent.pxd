# cython: language_level=3
"""Topic names and property blocks seen lately, so that what comes again is not made and checked again. Header-only.

A device hears from a few topics all its life, and a publisher describes its messages alike. To recognise bytes takes a
comparison; to make an object of them takes memory, a copy and a check. Only ASCII names and blocks of up to 256 bytes are
kept (AWS IoT allows no longer topics), each in the one place that a few of its bytes choose: a flood of different ones
costs a miss each, and holds 16 short strings and 8 short blocks at most.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from iotwire._capi cimport utf8_at_hand
from iotwire._cursor cimport Cursor, read_u16, take
from iotwire._text cimport TOPIC_NAME, read_text

cdef enum:
    PLACES = 16
    BLOCK_PLACES = 8
    LONGEST_KEPT = 256
    SHORTEST_KEPT = 8  # as many as a place is chosen by; what is shorter costs little to make


cdef struct RecentBlock:
    PyObject* block  # bytes that were checked as the properties of a PUBLISH
    uint64_t seen    # what that check has found


cdef struct Recent:
    # References of the owner's, who gives them back with `forget`; NULL where there is none.
    (PyObject*)[PLACES] names
    RecentBlock[BLOCK_PLACES] blocks


cdef inline int place_of(const uint8_t* source, Py_ssize_t size) noexcept:
    """Chosen by the middle and the end: topics of one device begin alike."""
    cdef uint64_t middle, end
    memcpy(&middle, source + (size - 8) // 2, 8)
    memcpy(&end, source + size - 8, 8)
    return <int> (((middle ^ end << 1) * <uint64_t> 0x9E3779B97F4A7C15) >> 60)


cdef inline bint is_same(const uint8_t* name, const uint8_t* other, Py_ssize_t size) noexcept:
    """What memcmp says, of eight bytes and more; on armv7 memcmp itself was a sixth of all that a PUBLISH takes."""
    cdef uint64_t word, other_word
    cdef Py_ssize_t at = 0
    while at < size - 8:
        memcpy(&word, name + at, 8)
        memcpy(&other_word, other + at, 8)
        if word != other_word:
            return False
        at += 8
    memcpy(&word, name + size - 8, 8)  # the last word overlaps the one before it
    memcpy(&other_word, other + size - 8, 8)
    return word == other_word


cdef inline str read_topic_name(Cursor* body, Recent* recent):
    """A Topic Name [3.3.2.1], made anew or the one that is known. `recent` may be NULL."""
    cdef const uint8_t* start = body.pos
    cdef Py_ssize_t size = read_u16(body)
    cdef Py_ssize_t known_size = 0
    cdef const uint8_t* source
    cdef const char* known
    cdef PyObject** place
    if recent == NULL or size < SHORTEST_KEPT or size > LONGEST_KEPT:
        body.pos = start
        return read_text(body, TOPIC_NAME)
    source = take(body, size)
    place = &recent.names[place_of(source, size)]
    if place[0] != NULL:
        known = utf8_at_hand(<str> place[0], &known_size)
        # What is known was checked when it was made: whatever another thread does to the source, that is what is given.
        if known_size == size and is_same(<const uint8_t*> known, source, size):
            return <str> place[0]
    body.pos = start
    name = read_text(body, TOPIC_NAME)
    if utf8_at_hand(name, &known_size) != NULL:
        Py_INCREF(name)
        Py_XDECREF(place[0])
        place[0] = <PyObject*> name
    return name


cdef inline void forget(Recent* recent) noexcept:
    cdef int place
    for place in range(PLACES):
        Py_XDECREF(recent.names[place])
        recent.names[place] = NULL
    for place in range(BLOCK_PLACES):
        Py_XDECREF(recent.blocks[place].block)
        recent.blocks[place].block = NULL
