# cython: language_level=3
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from iotwire._cursor cimport Cursor
from iotwire._recent cimport Recent


cdef class Record:
    """What packets and their parts share: properties as checked wire bytes, and value semantics over their fields."""
    cdef bytes properties  # without the length before them; None where there are none
    cdef uint64_t seen     # bit n: property n is among them; 62: the block comes again; 63: an __init__ has begun


cdef class Packet(Record):
    cdef uint16_t packet_id_
    cdef uint8_t code      # reason code or return code
    cdef uint8_t first     # the first byte on the wire, type and flags; 0 in an object that __init__ never saw
    cdef uint32_t wire_size  # of a packet from a Decoder: its bytes, fixed header included

    cdef Py_ssize_t size_body(self, int version) except -1
    cdef uint8_t* put_body(self, uint8_t* at, int version) except NULL


cdef class Will(Record):
    cdef readonly str topic
    cdef readonly bytes payload
    cdef uint8_t flags  # of CONNECT: Will Flag, Will QoS and Will Retain in their places


cdef class Connect(Packet):
    cdef readonly str client_id
    cdef readonly str username
    cdef readonly bytes password
    cdef readonly Will will
    cdef readonly bint clean_start
    cdef readonly uint16_t keep_alive
    cdef uint8_t level  # the protocol level it was decoded with


cdef class ConnAck(Packet):
    cdef readonly bint session_present
    cdef bint of_3_1_1  # decoded as 3.1.1: its code 0 is a return code too


cdef class Publish(Packet):
    cdef readonly str topic
    cdef readonly object payload


cdef class Acknowledgement(Packet):
    pass


cdef class PubAck(Acknowledgement):
    pass


cdef class PubRec(Acknowledgement):
    pass


cdef class PubRel(Acknowledgement):
    pass


cdef class PubComp(Acknowledgement):
    pass


cdef class Subscription(Record):
    cdef readonly str topic_filter
    cdef uint8_t options  # the Subscription Options byte [3.8.3.1]


cdef class Subscribe(Packet):
    cdef readonly tuple subscriptions


cdef class SubscriptionAcknowledgement(Packet):
    cdef bytes codes


cdef class SubAck(SubscriptionAcknowledgement):
    pass


cdef class UnsubAck(SubscriptionAcknowledgement):
    pass


cdef class Unsubscribe(Packet):
    cdef readonly tuple topic_filters


cdef class PingReq(Packet):
    pass


cdef class PingResp(Packet):
    pass


cdef class Disconnect(Packet):
    pass


cdef class Auth(Packet):
    pass


cdef class PayloadSource:
    """Memory of our own that payload views may point into, and keep alive."""
    cdef bytes owner
    cdef object whole          # a read-only memoryview of it
    cdef const uint8_t* start

    cdef object view(self, const uint8_t* at, Py_ssize_t size)


cdef Packet decode_body(int first, Cursor* body, int version, PayloadSource views, Recent* recent)
cdef Py_ssize_t size_properties(Record record, int version) except -1
cdef uint8_t* put_properties(Record record, uint8_t* at, int version) noexcept
cdef int refuse_before_5(str field, str what) except -1
