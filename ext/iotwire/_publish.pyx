# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""PUBLISH without a packet object: from arguments, and prepared for one that is sent again and again.

The bytes are those of `Publish(...).encode(version)`; the tests hold the two to each other.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t

from iotwire._arguments cimport Buffer, as_version, get_buffer, must_fit, release
from iotwire._capi cimport (
    PyBytes_AS_STRING, PyBytes_GET_SIZE, PyCFunction, PyMethodDef, Py_False, ascii_at, bytes_at, method_of, small_int_at,
)
from iotwire._emit cimport MAX_VARINT, put_binary, put_bytes, put_u8, put_u16, put_varint, size_varint
from iotwire._faults cimport cannot_encode
from iotwire._frame cimport MQTT_5, PUBLISH, new_wire
from iotwire._mqtt cimport Publish, put_properties, size_properties
from iotwire._properties cimport TOPIC_ALIAS, attributes_of, has, refuse_properties
from iotwire._publish cimport QOS, RETAIN, as_publish_id, publish_first_byte, publish_properties
from iotwire._text cimport TOPIC_NAME, as_text, checked_utf8, is_plain, put_text, size_text

cdef extern from "Python.h":
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
    cdef int first, version
    if names != NULL or count < 3 or count > 7:
        return parse_and_encode_publish(module, given, count, names)
    wire = encode_usual_publish(given, count)
    if wire is not None:
        return wire
    first = publish_first_byte(
        <object> given[2], <object> given[3] if count > 3 else False, <object> given[5] if count > 5 else False
    )
    version = as_version(<object> given[6]) if count > 6 else MQTT_5
    return build_publish(
        <object> given[0], <object> given[1], first, as_publish_id(<object> given[4] if count > 4 else None, first),
        version, None, 0, True,
    )


cdef inline bytes encode_usual_publish(PyObject** given, Py_ssize_t count):
    """A PUBLISH from what nearly every caller gives: ASCII text, bytes, small numbers. None for anything else.

    No reference is taken and no error is made: what is not usual, or not right, goes the long way.
    """
    cdef Py_ssize_t topic_size = 0, payload_size = 0
    cdef const char* topic = ascii_at(given[0], &topic_size)
    cdef const char* payload = bytes_at(given[1], &payload_size)
    cdef int64_t qos = small_int_at(given[2])
    cdef int64_t packet_id = 0
    cdef int first
    if topic == NULL or payload == NULL or payload_size > MAX_VARINT or not 0 < topic_size <= 65535:
        return None
    if not 0 <= qos <= 2 or count > 5 or (count > 3 and given[3] != Py_False):
        return None
    if count > 4 and not (qos == 0 and given[4] == <PyObject*> None):
        packet_id = small_int_at(given[4])
    if not (0 < packet_id <= 65535 if qos else packet_id == 0) or not is_plain(<const uint8_t*> topic, topic_size):
        return None
    first = PUBLISH << 4 | <int> qos << 1
    return put_publish(topic, topic_size, payload, payload_size, first, <int> packet_id, MQTT_5, None, True)


cdef int call_by_position() except -1:
    global parse_and_encode_publish
    cdef PyMethodDef* method = method_of(encode_publish)
    if method != NULL and method.ml_flags == METH_FASTCALL | METH_KEYWORDS:
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
    cdef bytes fields        # what stands before the packet identifier and after it: the topic, then the properties
    cdef const uint8_t* head  # into `fields`: the Topic Name with its length
    cdef const uint8_t* tail  # and the properties with theirs; in 3.1.1 nothing
    cdef Py_ssize_t head_size
    cdef Py_ssize_t tail_size

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
        self.head_size = size_text(model.topic)
        self.tail_size = size_properties(model, self.version)
        self.fields = PyBytes_FromStringAndSize(NULL, self.head_size + self.tail_size)
        self.head = <const uint8_t*> PyBytes_AS_STRING(self.fields)
        self.tail = self.head + self.head_size
        put_properties(model, put_text(<uint8_t*> PyBytes_AS_STRING(self.fields), model.topic), self.version)

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
        cdef int checked_id = as_publish_id(packet_id, self.first)
        cdef Buffer view
        get_buffer(payload, "payload", &view)
        if view.obj == NULL:
            return self.put(view.buf, view.len, checked_id)
        try:
            return self.put(view.buf, view.len, checked_id)
        finally:
            release(&view)

    cdef inline bytes put(self, const void* payload, Py_ssize_t payload_size, int packet_id):
        cdef int id_size = 2 if self.first & QOS else 0
        cdef bytes wire
        cdef uint8_t* at
        must_fit(payload_size, "payload")
        wire = new_wire(self.first, self.head_size + id_size + self.tail_size + payload_size, 0, &at)
        at = put_bytes(at, self.head, self.head_size)
        if id_size:
            at = put_u16(at, packet_id)
        if self.tail_size == 1:  # no properties: a byte costs less than a call
            at = put_u8(at, self.tail[0])
        else:
            at = put_bytes(at, self.tail, self.tail_size)
        at = put_bytes(at, payload, payload_size)
        assert at == <uint8_t*> PyBytes_AS_STRING(wire) + PyBytes_GET_SIZE(wire)
        return wire
