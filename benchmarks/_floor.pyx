# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, binding=False
"""What a decode and an encode cost when nothing is left to find out: the floor under the codec.

Each maker holds offsets that were worked out beforehand and makes the very objects that the decoder makes: the str, the
bytes, the packet of the same class, the list. No byte of a header is looked at, no length, no flag, no text checked.
(`binding=False` makes them plain builtins, which are the cheapest to call.) Built by floor.py for the benchmarks; no part
of the library.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy

from iotwire._mqtt cimport PubAck, Publish

cdef extern from "Python.h":
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void* PyUnicode_DATA(str text)


cdef struct PublishSpan:
    Py_ssize_t topic
    Py_ssize_t topic_size
    Py_ssize_t properties
    Py_ssize_t properties_size
    Py_ssize_t payload
    Py_ssize_t payload_size
    uint64_t seen
    uint16_t packet_id
    uint8_t first
    bint ascii


cdef class PublishMaker:
    """Makes the packets of a stream again and again, from spans given once."""
    cdef bytes stream
    cdef PublishSpan* spans
    cdef Py_ssize_t count

    def __cinit__(self, bytes stream, list spans):
        cdef Py_ssize_t i
        self.stream = stream
        self.count = len(spans)
        self.spans = <PublishSpan*> PyMem_Malloc(self.count * sizeof(PublishSpan))
        if self.spans == NULL:
            raise MemoryError
        for i in range(self.count):
            self.spans[i] = spans[i]

    def __dealloc__(self):
        PyMem_Free(self.spans)

    def make(self):
        cdef const char* data = PyBytes_AS_STRING(self.stream)
        cdef list packets = PyList_New(self.count)
        cdef Publish packet
        cdef PublishSpan* span
        cdef Py_ssize_t i
        for i in range(self.count):
            span = &self.spans[i]
            packet = Publish.__new__(Publish)
            if span.ascii:
                packet.topic = PyUnicode_New(span.topic_size, 0x7F)
                memcpy(PyUnicode_DATA(packet.topic), data + span.topic, span.topic_size)
            else:
                packet.topic = PyUnicode_DecodeUTF8(data + span.topic, span.topic_size, NULL)
            packet.packet_id_ = span.packet_id
            if span.properties_size:
                packet.properties = PyBytes_FromStringAndSize(data + span.properties, span.properties_size)
                packet.seen = span.seen
            packet.payload = PyBytes_FromStringAndSize(data + span.payload, span.payload_size)
            packet.first = span.first
            Py_INCREF(packet)
            PyList_SET_ITEM(packets, i, packet)
        return packets


cdef class PubAckMaker:
    """Makes the acknowledgements of a stream again and again, from packet identifiers given once."""
    cdef uint16_t* packet_ids
    cdef Py_ssize_t count

    def __cinit__(self, list packet_ids):
        cdef Py_ssize_t i
        self.count = len(packet_ids)
        self.packet_ids = <uint16_t*> PyMem_Malloc(self.count * sizeof(uint16_t))
        if self.packet_ids == NULL:
            raise MemoryError
        for i in range(self.count):
            self.packet_ids[i] = packet_ids[i]

    def __dealloc__(self):
        PyMem_Free(self.packet_ids)

    def make(self):
        cdef list packets = PyList_New(self.count)
        cdef PubAck packet
        cdef Py_ssize_t i
        for i in range(self.count):
            packet = PubAck.__new__(PubAck)
            packet.packet_id_ = self.packet_ids[i]
            packet.first = 0x40
            Py_INCREF(packet)
            PyList_SET_ITEM(packets, i, packet)
        return packets


def exact_copy(image):
    """A bytes object of exactly the image's size, filled from it."""
    cdef bytes copied = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(image))
    memcpy(PyBytes_AS_STRING(copied), PyBytes_AS_STRING(image), PyBytes_GET_SIZE(image))
    return copied
