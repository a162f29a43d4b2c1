# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""A stream of MQTT packets out of bytes that arrive in any pieces.

Bytes that hold whole packets are decoded where they are. What is left of a packet, and anything a caller could still
write to, is first copied into storage of the decoder's own, which grows with what really arrived, not with what a
header promises.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_CheckExact, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memmove

from iotwire._arguments cimport Buffer, as_int, as_version, get_buffer, release
from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from iotwire._cursor cimport Cursor, cursor_over
from iotwire._faults cimport cannot_encode, cursor_fault
from iotwire._frame cimport MAX_PACKET_SIZE, UNKNOWN_VERSION, Frame, read_frame
from iotwire._mqtt cimport Connect, Packet, PayloadSource, decode_body
from iotwire._recent cimport forget
from iotwire._threads cimport load_int, load_size, store_int, store_size, try_take

from iotwire.errors import IotwireError, WireError

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    DEFAULT_ROOM = 65_536  # what get_buffer offers when it is not told: a full socket read
    KEPT_STORAGE = 4_096   # an idle decoder holds at most this much


cdef class Window:
    """The writable end of a decoder's storage. It keeps the storage alive, so a late write hits no freed memory."""

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.at, self.size, False, flags)


cdef class Decoder:
    """Packets from a byte stream: `feed` it, or let a transport receive into it (asyncio.BufferedProtocol's names).

    version: 4, 5, or None to learn it from CONNECT (a server's side). max_packet_size: bytes of the largest packet to
    take, fixed header included, 2 to 268435460; a larger one is refused from its header. payload: "bytes", or "view"
    for read-only memoryviews of memory that is never written to again.

    An error carries in `packets` what was decoded before it in the same call; after it every call raises it again.
    For one thread at a time: a call during another's raises IotwireError. `version` and `buffered` may always be read,
    and say what the last call left.
    """

    def __cinit__(self, version=5, *, max_packet_size=MAX_PACKET_SIZE, payload="bytes"):
        self.version_ = UNKNOWN_VERSION if version is None else as_version(version)
        self.max_packet_size = as_int(max_packet_size, "max_packet_size", 2, MAX_PACKET_SIZE)
        if payload not in ("bytes", "view"):
            cannot_encode("payload", 'must be "bytes" or "view"')
        self.as_views = payload == "view"

    def __dealloc__(self):
        forget(&self.recent)

    @property
    def version(self):
        """4 or 5; None until CONNECT has said it."""
        return load_int(&self.version_) or None

    @property
    def buffered(self):
        """Bytes received that are not a whole packet yet."""
        return load_size(&self.waiting)

    def feed(self, data):
        """The packets that `data` completes, in order; an empty list means "not yet".

        data: any C-contiguous buffer; nothing of it is kept but bytes objects, which cannot change.
        Raises MalformedPacketError, ProtocolViolationError or PacketTooLargeError.
        """
        cdef list packets = []
        cdef Buffer view
        cdef Py_ssize_t used
        self.enter()
        try:
            self.offered = 0
            get_buffer(data, "data", &view)
            try:
                if PyBytes_CheckExact(data) and self.start == self.end:
                    used = self.decode_all(<const uint8_t*> view.buf, view.len, self.source_of(<bytes> data), packets)
                    if used < view.len:
                        self.append(<const uint8_t*> view.buf + used, view.len - used)
                    return packets
                self.append(view.buf, view.len)
            finally:
                release(&view)
            self.decode_storage(packets)
            return packets
        except WireError as error:
            self.fail(error, packets)
            raise
        finally:
            self.leave()

    def get_buffer(self, sizehint=-1):
        """Memory for a transport to receive into, as a writable memoryview of at least one byte.

        It belongs to the decoder again from the next call of `buffer_updated`, `feed` or `get_buffer` on.
        sizehint: bytes that the transport would like, -1 where it does not care; taken as a hint.
        """
        cdef Py_ssize_t room = DEFAULT_ROOM
        cdef Py_ssize_t missing
        cdef Window window
        self.enter()
        try:
            if type(sizehint) is int and 0 < sizehint < DEFAULT_ROOM:
                room = sizehint
            # A large packet gets large reads, but never more room than it has already earned by arriving.
            missing = self.needed - (self.end - self.start)
            if missing > room:
                room = min(missing, max(room, self.end - self.start))
            self.reserve(room)
            window = Window.__new__(Window)
            window.storage = self.storage
            window.at = <uint8_t*> PyBytes_AS_STRING(self.storage) + self.end
            window.size = self.offered = PyBytes_GET_SIZE(self.storage) - self.end
            return memoryview(window)
        finally:
            self.leave()

    def buffer_updated(self, nbytes):
        """The packets that `nbytes` bytes, written at the start of what `get_buffer` gave, complete.

        Raises as `feed` does, and EncodeError where `nbytes` is more than was offered.
        """
        cdef list packets = []
        cdef Py_ssize_t size
        self.enter()
        try:
            size = as_int(nbytes, "nbytes", 0, <uint32_t> self.offered)
            self.offered = 0
            self.end += size
            self.decode_storage(packets)
            return packets
        except WireError as error:
            self.fail(error, packets)
            raise
        finally:
            self.leave()

    cdef int enter(self) except -1:
        if not try_take(&self.busy):
            raise IotwireError("this Decoder is in the middle of another call")
        if self.failure is not None:
            failed = self.failure
            self.leave()
            raise type(failed)(
                failed.message, reason_code=failed.reason_code, offset=failed.offset, clause=failed.clause
            )
        return 0

    cdef void leave(self) noexcept:
        store_size(&self.waiting, self.end - self.start)
        store_int(&self.busy, 0)

    cdef int fail(self, object error, list packets) except -1:
        """A stream that is wrong once has no next packet to look for."""
        error.packets = packets
        self.failure = error.with_traceback(None)
        self.storage = None
        self.start = self.end = self.needed = 0
        forget(&self.recent)
        return 0

    cdef Py_ssize_t decode_all(self, const uint8_t* data, Py_ssize_t size, PayloadSource views, list packets) except -1:
        """Append every whole packet to `packets`; how many bytes they took."""
        cdef Py_ssize_t used = 0
        cdef Frame frame
        cdef Cursor body
        cdef Packet packet
        while read_frame(data + used, size - used, self.version_, self.max_packet_size, &frame):
            body = cursor_over(data + used + frame.header, frame.size - frame.header, frame.header, cursor_fault)
            packet = decode_body(frame.first, &body, self.version_, views, &self.recent)
            if self.version_ == UNKNOWN_VERSION:
                store_int(&self.version_, (<Connect> packet).level)  # read_frame let nothing but a CONNECT pass
            packet.wire_size = <uint32_t> frame.size
            packets.append(packet)
            used += frame.size
        self.needed = frame.size
        return used

    cdef int decode_storage(self, list packets) except -1:
        cdef uint8_t* data
        if self.storage is None:
            return 0
        data = <uint8_t*> PyBytes_AS_STRING(self.storage) + self.start
        self.start += self.decode_all(data, self.end - self.start, self.source_of(self.storage), packets)
        if self.start == self.end:
            self.start = self.end = 0
            if self.as_views or PyBytes_GET_SIZE(self.storage) > KEPT_STORAGE:
                self.storage = None
        return 0

    cdef PayloadSource source_of(self, bytes owner):
        cdef PayloadSource source
        if not self.as_views:
            return None
        source = PayloadSource.__new__(PayloadSource)
        source.owner = owner
        source.whole = memoryview(owner)
        source.start = <const uint8_t*> PyBytes_AS_STRING(owner)
        return source

    cdef int append(self, const void* data, Py_ssize_t size) except -1:
        if size == 0:  # then there need not be any storage
            return 0
        if size > PY_SSIZE_T_MAX - (self.end - self.start):  # 2 GiB where pointers have 32 bits
            raise MemoryError
        self.reserve(size)
        memcpy(PyBytes_AS_STRING(self.storage) + self.end, data, size)
        self.end += size
        return 0

    cdef int reserve(self, Py_ssize_t room) except -1:
        """Make `room` bytes free behind `end`."""
        cdef Py_ssize_t pending = self.end - self.start
        cdef Py_ssize_t capacity = 0 if self.storage is None else PyBytes_GET_SIZE(self.storage)
        cdef bytes larger
        cdef char* kept
        if capacity - self.end >= room and self.storage is not None:
            return 0
        if capacity >= pending + room and not self.as_views:
            kept = PyBytes_AS_STRING(self.storage)
            memmove(kept, kept + self.start, pending)
        else:
            # Doubling keeps a packet that trickles in linear; what the packet needs bounds it.
            capacity = pending + room
            if self.needed > capacity:
                capacity = min(self.needed, 2 * capacity)
            larger = PyBytes_FromStringAndSize(NULL, capacity)
            if pending:
                memcpy(PyBytes_AS_STRING(larger), PyBytes_AS_STRING(self.storage) + self.start, pending)
            self.storage = larger
        self.start = 0
        self.end = pending
        return 0
