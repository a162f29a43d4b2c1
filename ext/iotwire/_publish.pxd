# cython: language_level=3
"""What every way to a PUBLISH checks of its arguments: `Publish`, `encode_publish` and `PreparedPublish`."""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from iotwire._arguments cimport as_flag, as_int
from iotwire._faults cimport cannot_encode
from iotwire._frame cimport PUBLISH
from iotwire._properties cimport encode_property_array

cdef enum PublishFlag:  # of the first byte [3.3.1]
    RETAIN = 0x01
    QOS = 0x06
    DUP = 0x08


cdef inline int publish_first_byte(object qos, object retain, object dup) except -1:
    cdef int first = PUBLISH << 4 | as_int(qos, "qos", 0, 2) << 1
    if as_flag(retain, "retain"):
        first |= RETAIN
    if as_flag(dup, "dup"):
        if not first & QOS:
            cannot_encode("dup", "must be False with QoS 0", "MQTT-3.3.1-2")
        first |= DUP
    return first


cdef inline int as_publish_id(object packet_id, int first) except -1:
    """The packet identifier that goes with a first byte: none (0) with QoS 0 [MQTT-2.2.1-2], else 1 to 65535."""
    if first & QOS:
        return as_int(packet_id, "packet_id", 1, 65535)
    if packet_id is not None:
        cannot_encode("packet_id", "must be None with QoS 0", "MQTT-2.2.1-2")
    return 0


cdef inline bytes publish_properties(
    object payload_format_indicator, object message_expiry_interval, object content_type, object response_topic,
    object correlation_data, object subscription_identifiers, object topic_alias, object user_properties, uint64_t* seen,
):
    if (
        payload_format_indicator is None and message_expiry_interval is None and content_type is None
        and response_topic is None and correlation_data is None and subscription_identifiers is ()
        and topic_alias is None and user_properties is ()
    ):
        return None
    cdef (PyObject*)[8] values
    values[0] = <PyObject*> payload_format_indicator
    values[1] = <PyObject*> message_expiry_interval
    values[2] = <PyObject*> content_type
    values[3] = <PyObject*> response_topic
    values[4] = <PyObject*> correlation_data
    values[5] = <PyObject*> subscription_identifiers
    values[6] = <PyObject*> topic_alias
    values[7] = <PyObject*> user_properties
    return encode_property_array(PUBLISH, values, seen)
