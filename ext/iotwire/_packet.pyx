# cython: language_level=3, boundscheck=False, wraparound=False
# cython: embedsignature=True, embedsignature.format=clinic
"""What all packets share: value semantics, the property attributes, and the fixed header in front of every body."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t

from iotwire._arguments cimport as_version
from iotwire._cursor cimport Cursor, cursor_over
from iotwire._emit cimport MAX_VARINT, put_bytes, put_u8, put_varint, size_varint
from iotwire._faults cimport cannot_encode, cursor_fault, malformed, violation
from iotwire._properties cimport attributes_of, has, property_of

from iotwire.errors import IotwireError, PacketTooLargeError

cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        PyObject* tp_dict
    void PyType_Modified(PyTypeObject* cls)

REQUIRED = object()  # in a class's `_fields`: an argument without a default
_SECRETS = frozenset({"password", "authentication_data"})
_SHOWN_PAYLOAD = 256  # bytes of a payload that a repr shows; of a longer one it says the size


cdef class Record:
    """Equality, hash, repr and pickling over the fields a class names in `_fields` and the properties installed on it."""

    _fields = {}      # argument name -> its default, or REQUIRED, in the order of the signature
    _properties = ()  # (identifier, name, repeats, clause) for each MQTT 5 property it may carry
    __match_args__ = ()

    def _arguments(self):
        """The arguments that make this object again: {name: value} of all that differ from their default."""
        cdef dict given = {}
        for name, default in self._fields.items():
            value = getattr(self, name)
            if default is REQUIRED or value != default:
                given[name] = value
        for identifier, name, _, _ in self._properties:
            if has(self.seen, identifier):
                given[name] = getattr(self, name)
        return given

    def __eq__(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return self._arguments() == (<Record> other)._arguments()

    def __hash__(self):
        return hash((type(self), tuple(self._arguments().items())))

    def __repr__(self):
        cdef list shown = []
        cdef tuple positional = self.__match_args__
        given = self._arguments()
        for name, value in given.items():
            text = show(name, value)
            if len(shown) < len(positional) and name == positional[len(shown)]:
                shown.append(text)
            else:
                shown.append(f"{name}={text}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self):
        given = self._arguments()
        if isinstance(given.get("payload"), memoryview):
            given["payload"] = bytes(given["payload"])
        return _restore, (type(self), given)


def _restore(cls, given):
    return cls(**given)


cdef str show(str name, object value):
    if name in _SECRETS:
        return "<masked>"
    if name == "username" and "?" in value:  # AWS IoT custom authorizers: the token and its signature follow
        return repr(value.partition("?")[0] + "?<masked>")
    if name == "payload":
        return repr(bytes(value)) if len(value) <= _SHOWN_PAYLOAD else f"<{len(value)} bytes>"
    if isinstance(value, int) and hasattr(value, "name"):
        return f"{type(value).__name__}.{value.name}"
    if name == "reason_codes":
        codes = ", ".join([show("", code) for code in value])
        return f"({codes},)" if len(value) == 1 else f"({codes})"
    return repr(value)


cdef class Property:
    """The attribute of one MQTT 5 property: made from its row of the table, put on every class that may carry it."""
    cdef int identifier
    cdef bint repeats
    cdef readonly str __name__
    cdef readonly str __doc__

    def __init__(self, int identifier, str name, bint repeats, str clause):
        self.identifier = identifier
        self.repeats = repeats
        self.__name__ = name
        self.__doc__ = f"Property 0x{identifier:02X} [{clause}]; {'()' if repeats else 'None'} where it is absent."

    def __get__(self, instance, owner):
        if instance is None:
            return self
        return property_of((<Record?> instance).properties, (<Record> instance).seen, self.identifier, self.repeats)

    def __set__(self, instance, value):
        raise AttributeError(f"{self.__name__} cannot be set: packets are immutable")


cdef int install_properties(type cls, int packet) except -1:
    """Put an attribute on `cls` for each property that `packet` may carry. Done once, before anyone sees the class."""
    cdef tuple rows = attributes_of(packet)
    cdef dict attributes = <dict> (<PyTypeObject*> cls).tp_dict
    attributes["_properties"] = rows
    for identifier, name, repeats, clause in rows:
        attributes[name] = Property(identifier, name, repeats, clause)
    PyType_Modified(<PyTypeObject*> cls)
    return 0


cdef class Packet(Record):
    """An MQTT control packet: immutable, equal by value."""

    cdef Py_ssize_t size_body(self, int version) except -1:
        return 0

    cdef uint8_t* put_body(self, uint8_t* at, int version) except NULL:
        return at

    def encode(self, version=5):
        """The packet's bytes in MQTT `version` (4 is 3.1.1, 5 is 5.0).

        Raises EncodeError, naming the field, where that version cannot carry what the packet holds.
        """
        cdef int checked = as_version(version)
        cdef uint8_t* at
        cdef bytes wire
        must_be_made(self)
        wire = new_wire(self.first, self.size_body(checked), 0, &at)
        at = self.put_body(at, checked)
        assert at == <uint8_t*> PyBytes_AS_STRING(wire) + PyBytes_GET_SIZE(wire)
        return wire

    def encoded_size(self, version=5):
        """How many bytes `encode(version)` gives, without making them. Raises EncodeError as `encode` does."""
        cdef int checked = as_version(version)
        must_be_made(self)
        cdef Py_ssize_t body_size = self.size_body(checked)
        if body_size > MAX_VARINT:
            too_long(body_size)
        return 1 + size_varint(body_size) + body_size


cdef int must_be_new(Record record, bint made) except -1:
    """The first step of every __init__: what is made once never changes."""
    if made:
        raise IotwireError(f"{type(record).__name__} is immutable: it was made before")
    return 0


cdef int must_be_made(Packet packet) except -1:
    if packet.first == 0:
        raise IotwireError(f"{type(packet).__name__} was never initialised")
    return 0


cdef int refuse_before_5(str field, str what) except -1:
    return cannot_encode(field, f"{what} needs MQTT 5.0: 3.1.1 cannot carry it", "2.2.2")


cdef Py_ssize_t size_properties(Record record, int version) except -1:
    """The size of the property length and the properties; 3.1.1 has neither."""
    cdef Py_ssize_t size
    if version < MQTT_5:
        if record.properties is not None:
            for identifier, name, _, _ in record._properties:
                if has(record.seen, identifier):
                    refuse_before_5(name, "a property")
        return 0
    if record.properties is None:
        return 1
    size = PyBytes_GET_SIZE(record.properties)
    return size_varint(size) + size


cdef uint8_t* put_properties(Record record, uint8_t* at, int version) noexcept:
    cdef Py_ssize_t size
    if version < MQTT_5:
        return at
    if record.properties is None:
        return put_u8(at, 0)
    size = PyBytes_GET_SIZE(record.properties)
    return put_bytes(put_varint(at, size), PyBytes_AS_STRING(record.properties), size)


# ---- the fixed header [2.1]: one byte of type and flags, the remaining length

required_flags[<int> PUBREL] = required_flags[<int> SUBSCRIBE] = required_flags[<int> UNSUBSCRIBE] = 0b0010


cdef int too_long(Py_ssize_t body_size) except -1:
    return cannot_encode("packet", f"a remaining length of {body_size} bytes; at most {MAX_VARINT} fit", "2.1.4")


cdef int refuse_first_byte(int first, int version) except -1:
    """Raise what is wrong with a packet's first byte."""
    cdef uint8_t byte = first
    cdef Cursor at = cursor_over(&byte, 1, 0, cursor_fault)
    cdef int kind = first >> 4
    if kind == 0:
        return malformed(&at, "packet type 0 is reserved", "2.1.2")
    if kind == AUTH and version == MQTT_3_1_1:
        return malformed(&at, "packet type 15 is reserved in MQTT 3.1.1", "3.1.1: 2.2.1")
    if kind != PUBLISH and first & 0x0F != required_flags[kind]:
        return malformed(&at, f"the flags of packet type {kind} are 0x{first & 0x0F:X}, which is reserved", "MQTT-2.1.3-1")
    if version == UNKNOWN_VERSION and kind != CONNECT:
        return violation(&at, f"the first packet is of type {kind}, not CONNECT", "MQTT-3.1.0-1")
    if kind == PUBLISH and first & 0b0110 == 0b0110:
        return malformed(&at, "a PUBLISH with QoS 3", "MQTT-3.3.1-4")
    return violation(&at, "a PUBLISH with QoS 0 and DUP", "MQTT-3.3.1-2")


cdef int refuse_remaining_length(int length_bytes) except -1:
    """Raise that a remaining length is over four bytes, or (its last byte being zero) longer than it has to be."""
    cdef uint8_t byte = 0
    cdef Cursor at = cursor_over(&byte, 1, 1, cursor_fault)
    if length_bytes > 4:
        return malformed(&at, "the remaining length is longer than four bytes", "2.1.4")
    return malformed(&at, "the remaining length is longer than its value needs", "MQTT-1.5.5-1")


cdef int refuse_size(Py_ssize_t size, Py_ssize_t max_packet_size) except -1:
    raise PacketTooLargeError(
        f"the header announces a packet of {size} bytes; at most {max_packet_size} are allowed",
        offset=1, clause="MQTT-3.1.2-24",
    )
