# cython: language_level=3
"""The record layer [RFC 8446 5.1]: a handshake message out of its records, wherever they are split, and into them.

Header-only. Nothing is stored between calls: who waits for the rest of a hello keeps the bytes, and asks again with more.
"""

from cpython.bytes cimport PyBytes_CheckExact, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memset

from iotwire._arguments cimport Buffer, get_buffer, release
from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from iotwire._cursor cimport Cursor, cursor_over, offset_of, read_u8, read_u16, read_u24, remaining, take
from iotwire._emit cimport put_bytes, put_u8, put_u16
from iotwire._faults cimport refuse_tls, tls_fault
from iotwire._vectors cimport ILLEGAL_PARAMETER, PROTOCOL_VERSION, RECORD_OVERFLOW, UNEXPECTED_MESSAGE, whole_cursor

cdef enum:
    RECORD_HEADER = 5
    MESSAGE_HEADER = 4
    MAX_FRAGMENT = 16_384                          # bytes in a record
    MAX_HELLO = 65_536                             # bytes of a message with its header; real ones have 200 to 2000
    MAX_RECORDS = MAX_HELLO * (RECORD_HEADER + 1)  # the same in records of one byte each

cdef enum Content:  # the type of a record
    ALERT = 21
    HANDSHAKE = 22

cdef enum Kind:  # the type of a handshake message [RFC 8446 4]
    CLIENT_HELLO = 1
    SERVER_HELLO = 2


cdef struct Message:
    Py_ssize_t size     # with its header; 0 while that is not known
    Py_ssize_t records  # how many it is spread over
    Py_ssize_t end      # where the last of them ends
    bint alone          # nothing else is in them


cdef inline int read_record_header(Cursor* c, int content) except -1:
    """The length of the record that begins here, -2 where its header is not whole. What is wrong is refused at once."""
    cdef Cursor at = c[0]
    cdef int kind, size
    if remaining(c) == 0:
        return -2
    kind = read_u8(c)
    if kind != content:
        refuse_tls(&at, UNEXPECTED_MESSAGE, "a record of type {}, which is not expected here", "RFC 8446 5.1", kind)
    if remaining(c) == 0:
        return -2
    at = c[0]
    if read_u8(c) != 3:
        refuse_tls(&at, PROTOCOL_VERSION, "the record's version is not one of TLS", "RFC 8446 5.1")
    if remaining(c) < 3:
        return -2
    c.pos += 1  # the minor version says nothing [RFC 8446 5.1]
    at = c[0]
    size = read_u16(c)
    if size == 0:
        refuse_tls(&at, UNEXPECTED_MESSAGE, "a record without content", "RFC 8446 5.1")
    if size > MAX_FRAGMENT:
        refuse_tls(&at, RECORD_OVERFLOW, "a record of {} bytes; at most 16384 are allowed", "RFC 8446 5.1", size)
    return size


cdef inline int read_records(Cursor* c, int kind, Message* message) except -1:
    """1 where the records at the cursor hold a whole handshake message of this kind, 0 for "not yet"."""
    cdef uint8_t[MESSAGE_HEADER] header
    cdef Cursor head, at
    cdef int got = 0       # bytes of the message's header
    cdef Py_ssize_t held = 0
    cdef Py_ssize_t here
    cdef int size
    memset(message, 0, sizeof(Message))
    while True:
        size = read_record_header(c, HANDSHAKE)
        if size < 0:
            return 0
        message.records += 1
        here = min(<Py_ssize_t> size, remaining(c))
        at = c[0]
        while got < MESSAGE_HEADER and at.pos < c.pos + here:
            if got == 0 and at.pos[0] != kind:
                refuse_tls(
                    &at, UNEXPECTED_MESSAGE, "a handshake message of type {}, which is not expected here", "RFC 8446 4",
                    at.pos[0],
                )
            header[got] = at.pos[0]
            got += 1
            at.pos += 1
            if got == MESSAGE_HEADER:
                head = cursor_over(&header[1], 3, 0, tls_fault)
                message.size = MESSAGE_HEADER + read_u24(&head)
                if message.size > MAX_HELLO:
                    refuse_tls(
                        &at, ILLEGAL_PARAMETER, "a hello of {} bytes; at most 65536 are taken", "RFC 8446 4",
                        message.size,
                    )
        held += size
        if message.size and held > message.size and kind == CLIENT_HELLO:
            at = c[0]
            at.pos -= 2  # the record's length: what follows may not be here yet
            refuse_tls(&at, UNEXPECTED_MESSAGE, "something follows the ClientHello in its record", "RFC 8446 5.1")
        if here < size and (message.size == 0 or held - size + here < message.size):
            return 0
        c.pos += here
        if message.size and held >= message.size:
            message.alone = held == message.size
            message.end = offset_of(c)
            return 1


cdef inline bytes join_records(bytes source, Message* message):
    """The message with the header of a single record before it."""
    cdef bytes wire = PyBytes_FromStringAndSize(NULL, RECORD_HEADER + message.size)
    cdef uint8_t* start = <uint8_t*> PyBytes_AS_STRING(wire)
    cdef uint8_t* at = start
    cdef uint8_t* end = start + RECORD_HEADER + message.size
    cdef Cursor c = whole_cursor(source)
    cdef Py_ssize_t size
    at = put_record_header(at, c.pos[1] << 8 | c.pos[2], message.size)
    while at < end:
        size = read_record_header(&c, HANDSHAKE)
        size = min(size, end - at)
        at = put_bytes(at, take(&c, size), size)
    return wire


cdef inline Py_ssize_t offset_in_records(bytes source, Message* message, Py_ssize_t offset) except -1:
    """Where in its records a byte stands that is at this offset of what `join_records` gave."""
    cdef Cursor c = whole_cursor(source)
    cdef Py_ssize_t rest = offset - RECORD_HEADER
    cdef Py_ssize_t size = read_record_header(&c, HANDSHAKE)
    while rest >= size and offset_of(&c) + size < message.end:
        rest -= size
        c.pos += size
        size = read_record_header(&c, HANDSHAKE)
    return offset_of(&c) + rest


cdef inline uint8_t* put_record_header(uint8_t* at, int version, Py_ssize_t size) noexcept:
    return put_u16(put_u16(put_u8(at, HANDSHAKE), version), <uint16_t> min(size, MAX_FRAGMENT))


cdef inline bytes split_into_records(bytes wire):
    """Records of a message that is too long for one."""
    cdef Py_ssize_t rest = PyBytes_GET_SIZE(wire) - RECORD_HEADER
    cdef Py_ssize_t count = (rest + MAX_FRAGMENT - 1) // MAX_FRAGMENT
    cdef bytes records = PyBytes_FromStringAndSize(NULL, rest + RECORD_HEADER * count)
    cdef const uint8_t* source = <const uint8_t*> PyBytes_AS_STRING(wire)
    cdef int version = source[1] << 8 | source[2]
    cdef uint8_t* at = <uint8_t*> PyBytes_AS_STRING(records)
    cdef Py_ssize_t size
    source += RECORD_HEADER
    while rest:
        size = min(rest, <Py_ssize_t> MAX_FRAGMENT)
        at = put_bytes(put_record_header(at, version, size), source, size)
        source += size
        rest -= size
    assert at == <uint8_t*> PyBytes_AS_STRING(records) + PyBytes_GET_SIZE(records)
    return records


cdef inline bytes as_source(object data):
    """A caller's buffer as bytes of our own: another thread may write to the caller's."""
    cdef Buffer view
    if PyBytes_CheckExact(data):
        return <bytes> data
    get_buffer(data, "data", &view)
    try:
        return (<const char*> view.buf)[:min(view.len, <Py_ssize_t> MAX_RECORDS)]
    finally:
        release(&view)
