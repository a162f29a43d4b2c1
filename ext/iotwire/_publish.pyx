# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""PUBLISH without a packet object: from arguments, and prepared for one that is sent again and again.

The bytes are those of `Publish(...).encode(version)`; the tests hold the two to each other.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from iotwire._arguments cimport Buffer, as_version, get_buffer, must_fit, release
from iotwire._emit cimport put_binary, put_bytes, put_u16, put_varint, size_varint
from iotwire._faults cimport cannot_encode
from iotwire._frame cimport MQTT_5, PUBLISH, new_wire
from iotwire._mqtt cimport Publish, put_properties, size_properties
from iotwire._properties cimport TOPIC_ALIAS, attributes_of, has, refuse_properties
from iotwire._publish cimport QOS, RETAIN, as_publish_id, publish_first_byte, publish_properties
from iotwire._text cimport TOPIC_NAME, as_text, checked_utf8, put_text, size_text

cdef extern from "Python.h":
    ctypedef void* PyCFunction
    ctypedef struct PyMethodDef:
        PyCFunction ml_meth
        int ml_flags
    ctypedef struct PyCFunctionObject:
        PyMethodDef* m_ml
    int METH_FASTCALL, METH_KEYWORDS

ctypedef object (*FastCall)(PyObject* module, PyObject** given, Py_ssize_t count, PyObject* names)


cdef inline bytes put_publish(
    const char* topic, Py_ssize_t topic_size, const void* payload, Py_ssize_t payload_size, int first, int packet_id,
    int version, bytes properties, bint with_payload,
):
    """The fields of a PUBLISH, all checked, in wire order. Without the payload, the remaining length still counts it."""
    cdef Py_ssize_t property_size = 0 if properties is None else PyBytes_GET_SIZE(properties)
    cdef Py_ssize_t body_size = 2 + topic_size + payload_size
    cdef bytes wire
    cdef uint8_t* at
    if first & QOS:
        body_size += 2
    if version == MQTT_5:
        body_size += size_varint(property_size) + property_size
    wire = new_wire(first, body_size, 0 if with_payload else payload_size, &at)
    at = put_binary(at, topic, topic_size)
    if first & QOS:
        at = put_u16(at, packet_id)
    if version == MQTT_5:
        at = put_varint(at, property_size)
        if property_size:
            at = put_bytes(at, PyBytes_AS_STRING(properties), property_size)
    if with_payload:
        at = put_bytes(at, payload, payload_size)
    assert at == <uint8_t*> PyBytes_AS_STRING(wire) + PyBytes_GET_SIZE(wire)
    return wire


cdef inline bytes build_publish(
    object topic, object payload, int first, int packet_id, int version, bytes properties, uint64_t seen,
    bint with_payload,
):
    """A PUBLISH from a caller's topic and payload; all else is checked."""
    cdef str name = topic if type(topic) is str else as_text(topic, "topic", TOPIC_NAME)
    cdef Py_ssize_t topic_size = 0
    cdef const char* utf8 = checked_utf8(name, "topic", TOPIC_NAME, &topic_size)
    cdef Buffer view
    if topic_size == 0 and not has(seen, TOPIC_ALIAS):
        cannot_encode("topic", "must not be empty without a topic_alias", "MQTT-4.7.3-1")
    if properties is not None and version != MQTT_5:
        refuse_properties(attributes_of(PUBLISH), seen)
    get_buffer(payload, "payload", &view)
    if view.obj == NULL:
        must_fit(view.len, "payload")
        return put_publish(utf8, topic_size, view.buf, view.len, first, packet_id, version, properties, with_payload)
    try:
        must_fit(view.len, "payload")
        return put_publish(utf8, topic_size, view.buf, view.len, first, packet_id, version, properties, with_payload)
    finally:
        release(&view)


def encode_publish(
    topic, payload=b"", qos=0, retain=False, packet_id=None, dup=False, version=5, *, payload_format_indicator=None,
    message_expiry_interval=None, content_type=None, response_topic=None, correlation_data=None,
    subscription_identifiers=(), topic_alias=None, user_properties=(),
):
    """The bytes of a PUBLISH, without a packet object in between: `Publish(...).encode(version)`, faster.

    topic: 1 to 65535 bytes as UTF-8, no wildcards; may be empty with a topic_alias. payload: any C-contiguous buffer.
    packet_id: 1 to 65535 with qos 1 or 2, None with qos 0. Properties need version 5.
    Raises EncodeError that names the argument.
    """
    cdef uint64_t seen = 0
    cdef bytes properties = publish_properties(
        payload_format_indicator, message_expiry_interval, content_type, response_topic, correlation_data,
        subscription_identifiers, topic_alias, user_properties, &seen,
    )
    cdef int first = publish_first_byte(qos, retain, dup)
    return build_publish(
        topic, payload, first, as_publish_id(packet_id, first), as_version(version), properties, seen, True
    )


# A call by position needs none of the work of parsing fifteen parameters, which takes as long as the encoding itself. So
# the function that Cython made is called through this one, which takes such a call straight from the argument array.

cdef FastCall parse_and_encode_publish


cdef object encode_publish_by_position(PyObject* module, PyObject** given, Py_ssize_t count, PyObject* names):
    cdef int first
    cdef int packet_id = 0
    cdef int version = MQTT_5
    if names != NULL or count < 5 or count > 7:
        return parse_and_encode_publish(module, given, count, names)
    first = publish_first_byte(<object> given[2], <object> given[3], <object> given[5] if count > 5 else False)
    packet_id = as_publish_id(<object> given[4], first)
    if count > 6:
        version = as_version(<object> given[6])
    return build_publish(<object> given[0], <object> given[1], first, packet_id, version, None, 0, True)


cdef int call_by_position() except -1:
    global parse_and_encode_publish
    cdef PyMethodDef* method = (<PyCFunctionObject*> encode_publish).m_ml
    if method.ml_flags == METH_FASTCALL | METH_KEYWORDS:
        parse_and_encode_publish = <FastCall> <void*> method.ml_meth
        method.ml_meth = <PyCFunction> <void*> encode_publish_by_position
    return 0

call_by_position()


def encode_publish_header(
    topic, payload=b"", qos=0, retain=False, packet_id=None, dup=False, version=5, *, payload_format_indicator=None,
    message_expiry_interval=None, content_type=None, response_topic=None, correlation_data=None,
    subscription_identifiers=(), topic_alias=None, user_properties=(),
):
    """All of `encode_publish(...)` but the payload itself, for a scatter-gather write of the two.

    The payload is only measured. Arguments and errors are those of `encode_publish`.
    """
    cdef uint64_t seen = 0
    cdef bytes properties = publish_properties(
        payload_format_indicator, message_expiry_interval, content_type, response_topic, correlation_data,
        subscription_identifiers, topic_alias, user_properties, &seen,
    )
    cdef int first = publish_first_byte(qos, retain, dup)
    return build_publish(
        topic, payload, first, as_publish_id(packet_id, first), as_version(version), properties, seen, False
    )


cdef class PreparedPublish:
    """A PUBLISH of which everything but payload and packet identifier is constant: checked and encoded once.

    A sensor sends to one topic all its life. Immutable; may be shared between threads.
    """
    cdef readonly str topic
    cdef readonly int version
    cdef uint8_t first
    cdef bytes topic_field  # the Topic Name with its length
    cdef bytes tail         # the properties with their length

    def __cinit__(
        self, topic, qos=0, retain=False, version=5, *, payload_format_indicator=None, message_expiry_interval=None,
        content_type=None, response_topic=None, correlation_data=None, subscription_identifiers=(), topic_alias=None,
        user_properties=(),
    ):
        # All the checks are those of a packet: make one and take its encoded fields.
        cdef Publish model = Publish(
            topic, qos=qos, retain=retain, payload_format_indicator=payload_format_indicator,
            message_expiry_interval=message_expiry_interval, content_type=content_type, response_topic=response_topic,
            correlation_data=correlation_data, subscription_identifiers=subscription_identifiers,
            topic_alias=topic_alias, user_properties=user_properties,
        )
        self.version = as_version(version)
        self.topic = model.topic
        self.first = model.first
        self.topic_field = PyBytes_FromStringAndSize(NULL, size_text(model.topic))
        put_text(<uint8_t*> PyBytes_AS_STRING(self.topic_field), model.topic)
        self.tail = PyBytes_FromStringAndSize(NULL, size_properties(model, self.version))
        put_properties(model, <uint8_t*> PyBytes_AS_STRING(self.tail), self.version)

    @property
    def qos(self):
        return (self.first & QOS) >> 1

    @property
    def retain(self):
        return (self.first & RETAIN) != 0

    def __repr__(self):
        return f"PreparedPublish({self.topic!r}, {self.qos}, {self.retain}, {self.version})"

    def encode(self, payload, packet_id=None):
        """The bytes of the PUBLISH with this payload (any C-contiguous buffer).

        packet_id: 1 to 65535 with qos 1 or 2, None with qos 0. Raises EncodeError that names the argument.
        """
        cdef Py_ssize_t topic_size = PyBytes_GET_SIZE(self.topic_field)
        cdef Py_ssize_t tail_size = PyBytes_GET_SIZE(self.tail)
        cdef int id_size = 2 if self.first & QOS else 0
        cdef int checked_id = as_publish_id(packet_id, self.first)
        cdef Buffer view
        cdef bytes wire
        cdef uint8_t* at
        get_buffer(payload, "payload", &view)
        try:
            must_fit(view.len, "payload")
            wire = new_wire(self.first, topic_size + id_size + tail_size + view.len, 0, &at)
            at = put_bytes(at, PyBytes_AS_STRING(self.topic_field), topic_size)
            if id_size:
                at = put_u16(at, checked_id)
            at = put_bytes(at, PyBytes_AS_STRING(self.tail), tail_size)
            at = put_bytes(at, view.buf, view.len)
        finally:
            release(&view)
        assert at == <uint8_t*> PyBytes_AS_STRING(wire) + PyBytes_GET_SIZE(wire)
        return wire
