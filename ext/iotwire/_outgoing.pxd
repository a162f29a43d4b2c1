# cython: language_level=3
"""A PUBLISH that is encoded already: what a sender changes in it, without decoding it. Header-only.

The bytes are this side's own and well-formed; the cursor checks all the same.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t

from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from iotwire._cursor cimport Cursor, cursor_over, read_u16, read_u8, read_varint, remaining, take
from iotwire._emit cimport put_binary, put_bytes, put_u16, put_u8, put_varint, size_varint
from iotwire._faults cimport cursor_fault
from iotwire._frame cimport MQTT_5, PUBLISH, new_wire
from iotwire._properties cimport TOPIC_ALIAS
from iotwire._publish cimport DUP, QOS

cdef enum:
    ALIAS_BYTES = 3  # what a topic alias takes in a packet [3.3.2.3.4]

cdef struct Parts:  # of its bytes, behind the fixed header
    const uint8_t* topic
    Py_ssize_t topic_size
    int packet_id
    Py_ssize_t id_at        # from the first byte of the packet; 0 with QoS 0
    const uint8_t* properties
    Py_ssize_t properties_size
    const uint8_t* payload
    Py_ssize_t payload_size


cdef inline Parts parts_of(bytes wire, int version) except *:
    cdef Parts parts
    cdef const uint8_t* start = <const uint8_t*> PyBytes_AS_STRING(wire)
    cdef Cursor c = cursor_over(start, PyBytes_GET_SIZE(wire), 0, cursor_fault)
    cdef int first = read_u8(&c)
    read_varint(&c)
    parts.topic_size = read_u16(&c)
    parts.topic = take(&c, parts.topic_size)
    parts.packet_id = parts.id_at = 0
    if first & QOS:
        parts.id_at = c.pos - start
        parts.packet_id = read_u16(&c)
    parts.properties = c.pos
    parts.properties_size = 0
    if version == MQTT_5:
        parts.properties_size = read_varint(&c)
        parts.properties = take(&c, parts.properties_size)
    parts.payload = c.pos
    parts.payload_size = remaining(&c)
    return parts


cdef inline bytes with_alias(bytes wire, int alias, bint keeps_topic):
    """An MQTT 5.0 PUBLISH with a topic alias, before its other properties, and with its topic or an empty one."""
    cdef Parts parts = parts_of(wire, MQTT_5)
    cdef int first = PyBytes_AS_STRING(wire)[0]
    cdef Py_ssize_t topic_size = parts.topic_size if keeps_topic else 0
    cdef Py_ssize_t properties_size = ALIAS_BYTES + parts.properties_size
    cdef Py_ssize_t body_size = 2 + topic_size + size_varint(properties_size) + properties_size + parts.payload_size
    cdef uint8_t* at
    cdef bytes aliased
    if parts.id_at:
        body_size += 2
    aliased = new_wire(first & 0xFF, body_size, 0, &at)
    at = put_binary(at, parts.topic, topic_size)
    if parts.id_at:
        at = put_u16(at, parts.packet_id)
    at = put_varint(at, properties_size)
    at = put_u8(at, TOPIC_ALIAS)
    at = put_u16(at, alias)
    at = put_bytes(at, parts.properties, parts.properties_size)
    at = put_bytes(at, parts.payload, parts.payload_size)
    assert at == <uint8_t*> PyBytes_AS_STRING(aliased) + PyBytes_GET_SIZE(aliased)
    return aliased


cdef inline bytes by_alias(int alias, bytes payload):
    """An MQTT 5.0 PUBLISH of QoS 0 with a topic alias in place of its topic, and nothing else."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef uint8_t* at
    cdef bytes wire = new_wire(PUBLISH << 4, 2 + 1 + ALIAS_BYTES + size, 0, &at)
    at = put_u16(at, 0)
    at = put_u8(at, ALIAS_BYTES)
    at = put_u8(at, TOPIC_ALIAS)
    at = put_u16(at, alias)
    at = put_bytes(at, <const uint8_t*> PyBytes_AS_STRING(payload), size)
    assert at == <uint8_t*> PyBytes_AS_STRING(wire) + PyBytes_GET_SIZE(wire)
    return wire


cdef inline bytes copy_of(bytes wire):
    """The same bytes elsewhere, to be changed: the first ones may still be on their way out."""
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(wire), PyBytes_GET_SIZE(wire))


cdef inline bytes as_duplicate(bytes wire):
    """The same with DUP set [3.3.1.1]."""
    cdef bytes copy = copy_of(wire)
    PyBytes_AS_STRING(copy)[0] |= DUP
    return copy


