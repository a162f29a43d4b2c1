# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""WebSocket frames [RFC 6455 5], as MQTT uses them [MQTT 5.0, 6]: a stream of bytes in binary frames, cut anywhere.

Where a message or a frame ends means nothing to MQTT, so nothing is put together here: `FrameReader` takes the frames
off in the very buffer that was received into, and what is left of it are the packets' bytes. Both ends of a connection
are here. Not here: the upgrade that comes before, sockets, and where masks come from.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

from iotwire._arguments cimport as_int, get_buffer, release
from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from iotwire._emit cimport put_bytes, put_u8, put_u16, put_u32
from iotwire._faults cimport Buffer, PyBuffer_Release, PyObject_GetBuffer, cannot_encode

cdef enum Opcode:  # [5.2]
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10

cdef enum:
    FIN = 0x80
    RESERVED = 0x70
    MASKED = 0x80
    MAX_HEAD = 14
    MAX_CONTROL = 125                # bytes that a control frame carries [5.5]
    DEFAULT_MAX_FRAME = 268_435_460  # the largest MQTT packet there can be

cdef enum Status:  # of a Close [7.4.1]
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    INVALID_DATA = 1007
    TOO_BIG = 1009


cdef inline uint32_t rotate(uint32_t mask, Py_ssize_t count) noexcept:
    """The mask as it is `count` bytes further on; its first byte is the highest of the number."""
    cdef int bits = <int> (count & 3) * 8
    return mask << bits | mask >> (32 - bits) if bits else mask


cdef inline void apply_mask(uint8_t* at, Py_ssize_t size, uint32_t mask) noexcept:
    """[5.3] Eight bytes at a time, by way of memcpy, because nothing is aligned."""
    cdef uint8_t pattern[8]
    cdef uint64_t wide, eight
    cdef Py_ssize_t index
    put_u32(put_u32(pattern, mask), mask)
    memcpy(&wide, pattern, 8)
    for index in range(size >> 3):
        memcpy(&eight, at + index * 8, 8)
        eight ^= wide
        memcpy(at + index * 8, &eight, 8)
    for index in range(size & ~7, size):
        at[index] ^= pattern[index & 7]


cdef inline uint32_t as_mask(object mask) except? 0:
    """The four bytes of a masking key as a number, the first one the highest."""
    cdef const uint8_t* raw
    if type(mask) is not bytes or PyBytes_GET_SIZE(mask) != 4:
        cannot_encode("mask", "must be four bytes, or None", "RFC 6455 5.3")
    raw = <const uint8_t*> PyBytes_AS_STRING(mask)
    return <uint32_t> raw[0] << 24 | <uint32_t> raw[1] << 16 | <uint32_t> raw[2] << 8 | raw[3]


def encode_frame(payload, mask=None, opcode=BINARY):
    """One whole frame, the last of its message. mask: the four bytes that a client's frames are masked with."""
    cdef int kind = <int> as_int(opcode, "opcode", 0, 15)
    cdef Buffer view
    cdef Py_ssize_t size
    cdef uint32_t key = 0
    cdef int masked = 0
    cdef int head
    cdef bytes frame
    cdef uint8_t* at
    if mask is not None:
        key = as_mask(mask)
        masked = MASKED
    get_buffer(payload, "payload", &view)
    try:
        size = view.len
        if kind >= CLOSE and size > MAX_CONTROL:
            cannot_encode("payload", f"has {size} bytes; a control frame carries at most 125", "RFC 6455 5.5")
        head = (2 if size < 126 else 4 if size < 65_536 else 10) + (4 if masked else 0)
        frame = PyBytes_FromStringAndSize(NULL, head + size)
        at = put_u8(<uint8_t*> PyBytes_AS_STRING(frame), FIN | kind)
        if size < 126:
            at = put_u8(at, masked | <uint32_t> size)
        elif size < 65_536:
            at = put_u16(put_u8(at, masked | 126), <uint32_t> size)
        else:
            at = put_u8(at, masked | 127)
            at = put_u32(put_u32(at, <uint32_t> (<uint64_t> size >> 32)), <uint32_t> size)
        if masked:
            at = put_u32(at, key)
        put_bytes(at, view.buf, size)
        if masked:
            apply_mask(at, size, key)
        return frame
    finally:
        release(&view)


@cython.final
cdef class FrameReader:
    """Takes the peer's frames off what it has sent.

    is_masked: whether its frames have to be masked, as a client's have and a server's must not be. max_frame: bytes
    that one frame may announce; nothing is stored of it, whatever it is.
    """

    cdef bint is_masked
    cdef uint64_t max_frame
    cdef uint8_t head[MAX_HEAD]
    cdef int head_size    # bytes of it that are here
    cdef int head_needed  # of how many, as far as is known
    cdef bint is_in_payload
    cdef bint is_in_message  # the last frame was not the last of its message
    cdef uint64_t left       # of the payload
    cdef int opcode
    cdef uint32_t mask
    cdef uint8_t control[MAX_CONTROL]
    cdef int control_size
    cdef bytes ping
    cdef readonly bint has_news
    cdef readonly object close_code
    cdef readonly str close_reason
    cdef readonly object fault

    def __cinit__(self, *, is_masked=False, max_frame=DEFAULT_MAX_FRAME):
        self.is_masked = bool(is_masked)
        self.max_frame = as_int(max_frame, "max_frame", 1, 0xFFFFFFFF)
        self.head_needed = 2
        self.close_reason = ""

    @property
    @cython.critical_section
    def is_over(self):
        """Whether the peer has closed, or broken a rule: what comes after that counts for nothing."""
        return self.close_code is not None or self.fault is not None

    @cython.critical_section
    def take_ping(self):
        """What the latest PING carried, for the PONG that answers it, or None. Earlier ones need no answer [5.5.3]."""
        ping, self.ping = self.ping, None
        self.has_news = self.close_code is not None or self.fault is not None
        return ping

    @cython.critical_section
    def strip(self, buffer, Py_ssize_t nbytes):
        """Move what binary frames carry, of the first `nbytes` of a writable buffer, to its start: its size."""
        cdef Buffer view
        cdef Py_ssize_t size
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        try:
            if nbytes < 0 or nbytes > view.len:
                cannot_encode("nbytes", f"must be 0 to {view.len}")
            size = self.read(<uint8_t*> view.buf, nbytes)
        finally:
            PyBuffer_Release(&view)
        return size

    cdef Py_ssize_t read(self, uint8_t* start, Py_ssize_t nbytes) except -1:
        cdef uint8_t* at = start
        cdef uint8_t* end = start + nbytes
        cdef uint8_t* kept = start
        cdef Py_ssize_t size
        if self.close_code is not None or self.fault is not None:
            return 0
        while at < end:
            if not self.is_in_payload:
                self.head[self.head_size] = at[0]
                self.head_size += 1
                at += 1
                if self.head_size <= 2:
                    self.read_head_byte()
                elif self.head_size == self.head_needed:
                    self.read_length()
                if self.head_size == self.head_needed and self.fault is None:
                    self.begin_payload()
            else:
                size = end - at
                if <uint64_t> size > self.left:
                    size = <Py_ssize_t> self.left
                if self.opcode >= CLOSE:
                    memcpy(self.control + self.control_size, at, size)
                    if self.is_masked:
                        apply_mask(self.control + self.control_size, size, self.mask)
                    self.control_size += <int> size
                else:
                    if kept != at:
                        memmove(kept, at, size)
                    if self.is_masked:
                        apply_mask(kept, size, self.mask)
                    kept += size
                self.mask = rotate(self.mask, size)
                at += size
                self.left -= <uint64_t> size
            if self.is_in_payload and self.left == 0:
                self.end_frame()
            if self.has_news and (self.close_code is not None or self.fault is not None):
                break
        return kept - start

    cdef int read_head_byte(self) except -1:
        """[5.2] What can be wrong with each of the first two bytes is said before the next one is waited for."""
        cdef int byte = self.head[self.head_size - 1]
        if self.head_size == 1:
            self.opcode = byte & 0x0F
            if byte & RESERVED:
                return self.refuse(PROTOCOL_ERROR, "a frame has a reserved bit set, and no extension was agreed on")
            if self.opcode == TEXT:
                return self.refuse(UNSUPPORTED_DATA, "a text frame came, and MQTT is in binary ones")
            if self.opcode in (BINARY, CONTINUATION):
                if self.is_in_message != (self.opcode == CONTINUATION):
                    return self.refuse(
                        PROTOCOL_ERROR, "a frame begins a message in another's midst" if self.is_in_message
                        else "a frame goes on with a message that was not begun",
                    )
            elif self.opcode not in (CLOSE, PING, PONG):
                return self.refuse(PROTOCOL_ERROR, f"a frame has the unknown opcode {self.opcode}")
            elif not byte & FIN:
                return self.refuse(PROTOCOL_ERROR, "a control frame is fragmented")
            return 0
        if bool(byte & MASKED) != self.is_masked:
            return self.refuse(
                PROTOCOL_ERROR, "a client's frame is not masked" if self.is_masked else "a server's frame is masked"
            )
        byte &= 0x7F
        if self.opcode >= CLOSE and byte > MAX_CONTROL:
            return self.refuse(PROTOCOL_ERROR, "a control frame carries more than 125 bytes")
        self.head_needed = (2 if byte < 126 else 4 if byte == 126 else 10) + (4 if self.is_masked else 0)
        self.left = byte
        return 0

    cdef int read_length(self) except -1:
        """The longer forms of a length, and the mask."""
        cdef uint8_t* at = self.head + 2
        cdef int form = self.head[1] & 0x7F
        cdef int index
        if form >= 126:
            self.left = 0
            for index in range(2 if form == 126 else 8):
                self.left = self.left << 8 | at[0]
                at += 1
            if self.left < (126 if form == 126 else 65_536) or self.left >> 63:
                return self.refuse(PROTOCOL_ERROR, "a frame's length is not in its shortest form, or of 64 bits")
        if self.is_masked:
            self.mask = <uint32_t> at[0] << 24 | <uint32_t> at[1] << 16 | <uint32_t> at[2] << 8 | at[3]
        return 0

    cdef int begin_payload(self) except -1:
        if self.left > self.max_frame:
            return self.refuse(TOO_BIG, f"a frame announces {self.left} bytes; at most {self.max_frame} are taken")
        self.is_in_payload = True
        self.control_size = 0
        if self.opcode < CLOSE:
            self.is_in_message = not self.head[0] & FIN
        return 0

    cdef int end_frame(self) except -1:
        self.is_in_payload = False
        self.head_size = 0
        self.head_needed = 2
        if self.opcode == PING:
            self.ping = (<char*> self.control)[:self.control_size]
            self.has_news = True
        elif self.opcode == CLOSE:
            self.read_close()
        return 0

    cdef int read_close(self) except -1:
        """[5.5.1]"""
        cdef int code
        if self.control_size == 1:
            return self.refuse(PROTOCOL_ERROR, "a Close carries one byte, which is no status")
        if self.control_size == 0:
            code = NO_STATUS
        else:
            code = self.control[0] << 8 | self.control[1]
            if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
                return self.refuse(PROTOCOL_ERROR, f"a Close has the status {code}, which is not for the wire")
            try:
                self.close_reason = (<char*> self.control)[2:self.control_size].decode()
            except UnicodeDecodeError:
                return self.refuse(INVALID_DATA, "the reason in a Close is not UTF-8")
        self.close_code = code
        self.has_news = True
        return 0

    cdef int refuse(self, int code, str text) except -1:
        self.fault = (code, text)
        self.has_news = True
        return 0
