# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""MQTT packets and their bytes, 3.1.1 and 5.0, both directions.

The packets stand in the order of their type numbers. Under each class come its encoder and its decoder, field by field
in wire order, so that either can be read with the standard open beside it. Numbers in brackets are clauses of MQTT 5.0.

What is not here: the property table (`_properties`), topic rules (`_topics`), the fixed header (`_frame`), the stream of
packets (`_decoder`), and PUBLISH without a packet object (`_publish`). No packet is ever half checked: __init__ and the
decoder refuse what the standard forbids, so an encoder has only to ask what its version can carry.

One long room, because Cython gives a class a quick constructor only where all its bases stand in the same module.

Packets are immutable and may be shared between threads.
"""

cimport cython
from cpython.bytes cimport PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcmp

from iotwire._arguments cimport Buffer, as_binary, as_bytes, as_flag, as_int, as_tuple, as_version, get_buffer, release
from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from iotwire._classes cimport Attribute, add_attributes, add_member, add_own_method, add_signature, reuse_memory
from iotwire._cursor cimport Cursor, cursor_over, expect_end, offset_of, read_u8, read_u16, remaining, take
from iotwire._emit cimport MAX_VARINT, put_binary, put_bytes, put_u8, put_u16, put_varint, size_varint
from iotwire._faults cimport cannot_encode, cursor_fault, malformed, too_long, violation
from iotwire._frame cimport (
    AUTH, CONNACK, CONNECT, DISCONNECT, MAX_PACKET_SIZE, MQTT_3_1_1, MQTT_5, PINGREQ, PINGRESP, PUBACK, PUBCOMP,
    PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNKNOWN_VERSION, UNSUBACK, UNSUBSCRIBE, Frame, new_wire, read_frame,
)
from iotwire._properties cimport (
    COMES_AGAIN, TOPIC_ALIAS, WILL, attributes_of, encode_properties, has, known_property_of, property_of, read_properties,
    refuse_properties,
)
from iotwire._publish cimport DUP, QOS, RETAIN, as_publish_id, publish_first_byte, publish_properties
from iotwire._recent cimport Recent, read_topic_name
from iotwire._text cimport ANY_TEXT, TOPIC_NAME, as_text, put_text, read_text, size_text, utf8_of
from iotwire._threads cimport FREE_THREADED, load_pointer, load_u8, store_pointer, store_u8, try_mark
from iotwire._topics cimport NO_FAULT, FilterFault, as_topic_filter, describe, filter_fault, is_shared

from iotwire._codes import REASON_CODES
from iotwire._classes import REQUIRED
from iotwire.errors import IotwireError


# ---- what all packets share -------------------------------------------------------------------------------------------

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


cdef object read_attribute(PyObject* packet, void* closure):
    """The getter of every property's attribute."""
    cdef const Attribute* attribute = <const Attribute*> closure
    cdef Record record = <Record> packet
    if not has(record.seen, attribute.identifier) or record.properties is None:  # None: its __init__ is not done
        return () if attribute.repeats else None
    if has(record.seen, COMES_AGAIN):
        return known_property_of(record.properties, attribute.identifier, attribute.repeats)
    return property_of(record.properties, attribute.identifier, attribute.repeats)


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
        must_fit_all(body_size)
        return 1 + size_varint(body_size) + body_size


cdef inline int must_fit_all(Py_ssize_t body_size) except -1:
    """Asked after each item of a list, which may name one text many times: a sum that wraps would allocate too little."""
    return too_long(body_size) if body_size > MAX_VARINT else 0


cdef enum:
    BEGUN = 63  # in `seen`, far from any property: an __init__ has begun

cdef inline int must_be_new(Record record, const uint8_t* made) except -1:
    """The first step of every __init__: what is made once never changes, and two may run at once.

    So each field is set at most once, and whoever reads one finds what stays in it. `made` is a byte that is not 0 in
    a whole object. Under the GIL it is enough: a mark costs 1 % of a Publish.
    """
    if (FREE_THREADED and not try_mark(&record.seen, <uint64_t> 1 << BEGUN)) or made[0]:
        refuse_state(record, "is immutable: it was made before")
    return 0


cdef inline int must_be_made(Packet packet) except -1:
    return refuse_state(packet, "was never initialised") if load_u8(&packet.first) == 0 else 0


cdef int refuse_state(Record record, str problem) except -1:
    raise IotwireError(f"{type(record).__name__} {problem}")


cdef int refuse_before_5(str field, str what) except -1:
    return cannot_encode(field, f"{what} needs MQTT 5.0: 3.1.1 cannot carry it", "2.2.2")


cdef Py_ssize_t size_properties(Record record, int version) except -1:
    """The size of the property length and the properties; 3.1.1 has neither."""
    cdef Py_ssize_t size
    if version < MQTT_5:
        if record.properties is not None:
            refuse_properties(record._properties, record.seen)
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


# ---- fields that many packets have -----------------------------------------------------------------------------------

cdef enum:
    RETURN_CODES = 6         # of a 3.1.1 CONNACK: 0 to 5
    SUBACK_3_1_1_CODES = 3   # of a 3.1.1 SUBACK: 0 to 2, and 0x80

# Which packets may carry a reason code (bit n: packets of type n), and the requirement that says so.
cdef uint16_t[256] packets_of_code
# Members of the enums by value, NULL until they are made; see `reason`. Each is set once, and kept for ever.
cdef (PyObject*)[256] reason_of_code
cdef (PyObject*)[RETURN_CODES] return_code_of
cdef dict code_clauses = {
    CONNACK: "MQTT-3.2.2-8", PUBACK: "MQTT-3.4.2-1", PUBREC: "MQTT-3.5.2-1", PUBREL: "MQTT-3.6.2-1",
    PUBCOMP: "MQTT-3.7.2-1", SUBACK: "MQTT-3.9.3-2", UNSUBACK: "MQTT-3.11.3-2", DISCONNECT: "MQTT-3.14.2-1",
    AUTH: "MQTT-3.15.2-1",
}

cdef int fill_tables() except -1:
    cdef int value
    for value, packets, _ in REASON_CODES:
        packets_of_code[value] = packets
    return 0

fill_tables()


cdef inline object reason(int code):
    """The enum member of a reason code."""
    return member_of(reason_of_code, code)


cdef inline object member_of(PyObject** members, int code):
    cdef PyObject* member = load_pointer(&members[code])
    if member == NULL:
        member = load_enums(members, code)
    return <object> member


cdef PyObject* load_enums(PyObject** members, int code) except NULL:
    """The enums are made when the first code is read: many a program never asks.

    Several threads may do this at once: they write the same members, and none is ever given back.
    """
    from iotwire._enums import ConnectReturnCode, ReasonCode

    for member in ReasonCode:
        Py_INCREF(member)
        store_pointer(&reason_of_code[<int> member], <PyObject*> member)
    for member in ConnectReturnCode:
        Py_INCREF(member)
        store_pointer(&return_code_of[<int> member], <PyObject*> member)
    return load_pointer(&members[code])


cdef inline bint allows_code(int kind, int code, int version) noexcept:
    if version == MQTT_3_1_1:
        if kind == CONNACK:
            return code < RETURN_CODES
        if kind == SUBACK:
            return code < SUBACK_3_1_1_CODES or code == 0x80
        return code == 0
    return packets_of_code[code] >> kind & 1


cdef inline int read_code(Cursor* body, int kind, int version) except -1:
    """A reason code [2.4], or the return code that 3.1.1 has in its place."""
    cdef int code = read_u8(body)
    if not allows_code(kind, code, version):
        body.pos -= 1
        malformed(body, f"reason code 0x{code:02X} is not allowed in this packet", code_clauses[kind])
    return code


cdef int as_code(object value, int kind, str field) except -1:
    """A caller's reason code: one that 5.0 or 3.1.1 has for this packet. `encode` knows which of them it is to be."""
    cdef int code = as_int(value, field, 0, 255)
    if code and not allows_code(kind, code, MQTT_5) and not allows_code(kind, code, MQTT_3_1_1):
        cannot_encode(field, f"0x{code:02X} is not a reason code of this packet", code_clauses[kind])
    return code


cdef int must_allow_code(int kind, int code, int version, str field) except -1:
    if not allows_code(kind, code, version):
        if version == MQTT_3_1_1:
            refuse_before_5(field, f"code 0x{code:02X}")
        cannot_encode(field, f"0x{code:02X} is a return code of MQTT 3.1.1, not a reason code", code_clauses[kind])
    return 0


cdef inline int read_packet_id(Cursor* body) except -1:
    cdef int packet_id = read_u16(body)
    if packet_id == 0:
        body.pos -= 2
        violation(body, "packet identifier 0", "MQTT-2.2.1-3")
    return packet_id


cdef inline int as_packet_id(object value) except -1:
    return as_int(value, "packet_id", 1, 65535)


cdef inline bytes read_binary(Cursor* body):
    cdef Py_ssize_t size = read_u16(body)
    return PyBytes_FromStringAndSize(<const char*> take(body, size), size)


cdef str read_topic_filter(Cursor* body):
    cdef Cursor at = body[0]
    cdef str topic_filter = read_text(body)
    cdef Py_ssize_t size = 0
    cdef const char* utf8 = utf8_of(topic_filter, "topic_filter", &size)
    cdef FilterFault fault = filter_fault(utf8, size)
    if fault != NO_FAULT:
        message, clause = describe(fault)
        malformed(&at, f"a topic filter {message}", clause)
    return topic_filter


# ---- CONNECT [3.1] ---------------------------------------------------------------------------------------------------

cdef enum ConnectFlag:  # [3.1.2.3]
    RESERVED = 0x01
    CLEAN_START = 0x02
    WILL_FLAG = 0x04
    WILL_QOS = 0x18
    WILL_RETAIN = 0x20
    PASSWORD = 0x40
    USERNAME = 0x80


@cython.final
cdef class Will(Record):
    """What the server publishes when the connection ends without DISCONNECT [3.1.2.5]."""

    __match_args__ = ("topic", "payload")
    _fields = {"topic": REQUIRED, "payload": b"", "qos": 0, "retain": False}

    def __init__(
        self, topic, payload=b"", *, qos=0, retain=False, payload_format_indicator=None, message_expiry_interval=None,
        content_type=None, response_topic=None, correlation_data=None, will_delay_interval=None, user_properties=(),
    ):
        must_be_new(self, &self.flags)
        self.topic = as_text(topic, "topic", TOPIC_NAME)
        if not self.topic:
            cannot_encode("topic", "is a topic name, which must not be empty", "MQTT-4.7.3-1")
        self.payload = as_binary(payload, "payload")
        self.properties = encode_properties(WILL, (
            payload_format_indicator, message_expiry_interval, content_type, response_topic, correlation_data,
            will_delay_interval, user_properties,
        ), &self.seen)
        store_u8(&self.flags, WILL_FLAG | as_int(qos, "qos", 0, 2) << 3 | as_flag(retain, "retain") << 5)

    @property
    def qos(self):
        return (self.flags & WILL_QOS) >> 3

    @property
    def retain(self):
        return bool(self.flags & WILL_RETAIN)


@cython.final
@cython.no_gc  # it holds immutable leaves: no cycle can run through it
cdef class Connect(Packet):
    """CONNECT [3.1]; the protocol level is the version it is encoded with."""

    __match_args__ = ("client_id",)
    _fields = {
        "client_id": "", "clean_start": True, "keep_alive": 60, "username": None, "password": None, "will": None,
    }

    def __init__(
        self, client_id="", *, clean_start=True, keep_alive=60, username=None, password=None, will=None,
        session_expiry_interval=None, authentication_method=None, authentication_data=None,
        request_problem_information=None, request_response_information=None, receive_maximum=None,
        topic_alias_maximum=None, user_properties=(), maximum_packet_size=None,
    ):
        must_be_new(self, &self.first)
        self.client_id = as_text(client_id, "client_id", ANY_TEXT)
        self.clean_start = as_flag(clean_start, "clean_start")
        self.keep_alive = as_int(keep_alive, "keep_alive", 0, 65535)
        self.username = None if username is None else as_text(username, "username", ANY_TEXT)
        self.password = None if password is None else as_binary(password, "password")
        if will is not None and (not isinstance(will, Will) or not load_u8(&(<Will> will).flags)):
            cannot_encode("will", f"must be Will or None, not {type(will).__name__}")
        self.will = will
        self.properties = encode_properties(CONNECT, (
            session_expiry_interval, authentication_method, authentication_data, request_problem_information,
            request_response_information, receive_maximum, topic_alias_maximum, user_properties, maximum_packet_size,
        ), &self.seen)
        store_u8(&self.first, CONNECT << 4)

    cdef Py_ssize_t size_body(self, int version) except -1:
        cdef Py_ssize_t size = 10 + size_properties(self, version) + size_text(self.client_id)
        if version == MQTT_3_1_1:
            if not self.client_id and not self.clean_start:
                cannot_encode("client_id", "must not be empty without clean_start in 3.1.1", "3.1.1: MQTT-3.1.3-7")
            if self.password is not None and self.username is None:
                cannot_encode("password", "needs a username in 3.1.1", "3.1.1: MQTT-3.1.2-22")
        if self.will is not None:
            size += size_properties(self.will, version) + size_text(self.will.topic)
            size += 2 + PyBytes_GET_SIZE(self.will.payload)
        if self.username is not None:
            size += size_text(self.username)
        if self.password is not None:
            size += 2 + PyBytes_GET_SIZE(self.password)
        return size

    cdef uint8_t* put_body(self, uint8_t* at, int version) except NULL:
        cdef int flags = CLEAN_START if self.clean_start else 0
        if self.will is not None:
            flags |= self.will.flags
        if self.username is not None:
            flags |= USERNAME
        if self.password is not None:
            flags |= PASSWORD
        at = put_binary(at, b"MQTT", 4)
        at = put_u8(at, version)
        at = put_u8(at, flags)
        at = put_u16(at, self.keep_alive)
        at = put_properties(self, at, version)
        at = put_text(at, self.client_id)
        if self.will is not None:
            at = put_properties(self.will, at, version)
            at = put_text(at, self.will.topic)
            at = put_binary(at, PyBytes_AS_STRING(self.will.payload), PyBytes_GET_SIZE(self.will.payload))
        if self.username is not None:
            at = put_text(at, self.username)
        if self.password is not None:
            at = put_binary(at, PyBytes_AS_STRING(self.password), PyBytes_GET_SIZE(self.password))
        return at


cdef Packet decode_connect(Cursor* body, int expected):
    """`expected` is the version the connection is known to have; a server that knows none learns it here."""
    cdef Connect packet = Connect.__new__(Connect)
    cdef Cursor at = body[0]
    cdef int version, flags
    cdef Py_ssize_t name_size = read_u16(body)
    cdef const uint8_t* name = take(body, name_size)
    if name_size != 4 or memcmp(name, b"MQTT", 4) != 0:
        violation(&at, "the protocol name is not MQTT", "MQTT-3.1.2-1", 0x84)
    at = body[0]
    version = read_u8(body)
    if version not in (MQTT_3_1_1, MQTT_5):
        violation(&at, f"protocol level {version} is neither 4 nor 5", "MQTT-3.1.2-2", 0x84)
    if expected not in (UNKNOWN_VERSION, version):
        violation(&at, f"protocol level {version} on a connection of level {expected}", "MQTT-3.1.2-2", 0x84)
    packet.level = version
    flags = read_connect_flags(body, version)
    packet.clean_start = flags & CLEAN_START
    packet.keep_alive = read_u16(body)
    if version == MQTT_5:
        packet.properties = read_properties(body, CONNECT, &packet.seen)
    at = body[0]
    packet.client_id = read_text(body)
    if version == MQTT_3_1_1 and not packet.client_id and not packet.clean_start:
        violation(&at, "an empty client identifier without a clean session", "3.1.1: MQTT-3.1.3-7", 0x85)
    if flags & WILL_FLAG:
        packet.will = decode_will(body, flags, version)
    if flags & USERNAME:
        packet.username = read_text(body)
    if flags & PASSWORD:
        packet.password = read_binary(body)
    expect_end(body)
    packet.first = CONNECT << 4
    return packet


cdef int read_connect_flags(Cursor* body, int version) except -1:
    cdef Cursor at = body[0]
    cdef int flags = read_u8(body)
    if flags & RESERVED:
        malformed(&at, "the reserved connect flag is set", "MQTT-3.1.2-3")
    if flags & WILL_FLAG:
        if flags & WILL_QOS == WILL_QOS:
            malformed(&at, "Will QoS 3", "MQTT-3.1.2-12")
    elif flags & (WILL_QOS | WILL_RETAIN):
        malformed(&at, "Will QoS or Will Retain without Will Flag", "MQTT-3.1.2-11")
    if version == MQTT_3_1_1 and flags & PASSWORD and not flags & USERNAME:
        malformed(&at, "a password without a user name", "3.1.1: MQTT-3.1.2-22")
    return flags


cdef Will decode_will(Cursor* body, int connect_flags, int version):
    cdef Will will = Will.__new__(Will)
    cdef Cursor at
    if version == MQTT_5:
        will.properties = read_properties(body, WILL, &will.seen)
    at = body[0]
    will.topic = read_text(body, TOPIC_NAME)
    if not will.topic:
        violation(&at, "the will's topic is empty", "MQTT-4.7.3-1")
    will.payload = read_binary(body)
    will.flags = connect_flags & (WILL_FLAG | WILL_QOS | WILL_RETAIN)
    return will


# ---- CONNACK [3.2] ---------------------------------------------------------------------------------------------------

@cython.final
cdef class ConnAck(Packet):
    """CONNACK [3.2]."""

    __match_args__ = ("reason_code",)
    _fields = {"reason_code": 0, "session_present": False}

    def __init__(
        self, reason_code=0, *, session_present=False, session_expiry_interval=None, assigned_client_identifier=None,
        server_keep_alive=None, authentication_method=None, authentication_data=None, response_information=None,
        server_reference=None, reason_string=None, receive_maximum=None, topic_alias_maximum=None, maximum_qos=None,
        retain_available=None, user_properties=(), maximum_packet_size=None, wildcard_subscription_available=None,
        subscription_identifier_available=None, shared_subscription_available=None,
    ):
        must_be_new(self, &self.first)
        self.code = as_code(reason_code, CONNACK, "reason_code")
        self.session_present = as_flag(session_present, "session_present")
        if self.session_present and self.code:
            cannot_encode("session_present", "must be False with a reason code that refuses", "MQTT-3.2.2-6")
        self.properties = encode_properties(CONNACK, (
            session_expiry_interval, assigned_client_identifier, server_keep_alive, authentication_method,
            authentication_data, response_information, server_reference, reason_string, receive_maximum,
            topic_alias_maximum, maximum_qos, retain_available, user_properties, maximum_packet_size,
            wildcard_subscription_available, subscription_identifier_available, shared_subscription_available,
        ), &self.seen)
        store_u8(&self.first, CONNACK << 4)

    @property
    def reason_code(self):
        if self.of_3_1_1 or 0 < self.code < RETURN_CODES:
            return member_of(return_code_of, self.code)
        return reason(self.code)

    cdef Py_ssize_t size_body(self, int version) except -1:
        must_allow_code(CONNACK, self.code, version, "reason_code")
        return 2 + size_properties(self, version)

    cdef uint8_t* put_body(self, uint8_t* at, int version) except NULL:
        at = put_u8(at, self.session_present)
        at = put_u8(at, self.code)
        return put_properties(self, at, version)


cdef Packet decode_connack(Cursor* body, int version):
    cdef ConnAck packet = ConnAck.__new__(ConnAck)
    cdef Cursor at = body[0]
    cdef int flags = read_u8(body)
    if flags & 0xFE:
        malformed(&at, "a reserved connect acknowledge flag is set", "MQTT-3.2.2-1")
    packet.session_present = flags
    packet.code = read_code(body, CONNACK, version)
    packet.of_3_1_1 = version == MQTT_3_1_1
    if packet.session_present and packet.code:
        violation(&at, "session present in a CONNACK that refuses", "MQTT-3.2.2-6")
    if version == MQTT_5:
        packet.properties = read_properties(body, CONNACK, &packet.seen)
    expect_end(body)
    packet.first = CONNACK << 4
    return packet


# ---- PUBLISH [3.3] ---------------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc  # a payload is bytes or a view of bytes: no cycle can run through it
cdef class Publish(Packet):
    """PUBLISH [3.3]."""

    __match_args__ = ("topic", "payload")
    _fields = {"topic": REQUIRED, "payload": b"", "qos": 0, "retain": False, "dup": False, "packet_id": None}

    def __init__(
        self, topic, payload=b"", *, qos=0, retain=False, dup=False, packet_id=None, payload_format_indicator=None,
        message_expiry_interval=None, content_type=None, response_topic=None, correlation_data=None,
        subscription_identifiers=(), topic_alias=None, user_properties=(),
    ):
        must_be_new(self, &self.first)
        cdef int first = publish_first_byte(qos, retain, dup)
        self.topic = as_text(topic, "topic", TOPIC_NAME)
        self.payload = as_bytes(payload, "payload")
        if packet_id is not None:  # its sender may still have to choose one
            self.packet_id_ = as_publish_id(packet_id, first)
        self.properties = publish_properties(
            payload_format_indicator, message_expiry_interval, content_type, response_topic, correlation_data,
            subscription_identifiers, topic_alias, user_properties, &self.seen,
        )
        if not self.topic and not has(self.seen, TOPIC_ALIAS):
            cannot_encode("topic", "must not be empty without a topic_alias", "MQTT-4.7.3-1")
        store_u8(&self.first, first)

    @property
    def qos(self):
        return (self.first & QOS) >> 1

    @property
    def retain(self):
        return (self.first & RETAIN) != 0

    @property
    def dup(self):
        return (self.first & DUP) != 0

    @property
    def packet_id(self):
        return self.packet_id_ or None

    cdef Py_ssize_t size_body(self, int version) except -1:
        cdef Py_ssize_t size = size_text(self.topic) + size_properties(self, version) + len(self.payload)
        if self.first & QOS:
            if self.packet_id_ == 0:
                cannot_encode("packet_id", "must be 1 to 65535 with QoS 1 or 2, and is None", "MQTT-2.2.1-3")
            size += 2
        return size

    cdef uint8_t* put_body(self, uint8_t* at, int version) except NULL:
        cdef bytes payload
        if PyBytes_CheckExact(self.payload):
            payload = <bytes> self.payload
        else:
            payload = as_bytes(self.payload, "payload")
        at = put_text(at, self.topic)
        if self.first & QOS:
            at = put_u16(at, self.packet_id_)
        at = put_properties(self, at, version)
        return put_bytes(at, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))


cdef inline Packet decode_publish(int first, Cursor* body, int version, PayloadSource views, Recent* recent):
    cdef Publish packet = Publish.__new__(Publish)
    cdef const uint8_t* topic_at = body.pos
    cdef bint has_topic
    packet.topic = read_topic_name(body, recent)
    has_topic = body.pos > topic_at + 2  # its length alone takes two
    if first & QOS:
        packet.packet_id_ = read_packet_id(body)
    if version == MQTT_5:
        packet.properties = read_properties(body, PUBLISH, &packet.seen, recent)
    if not has_topic and not has(packet.seen, TOPIC_ALIAS):
        body.pos = topic_at
        violation(body, "an empty topic name without a topic alias", "MQTT-4.7.3-1")
    if views is None:
        packet.payload = PyBytes_FromStringAndSize(<const char*> body.pos, remaining(body))
    else:
        packet.payload = views.view(body.pos, remaining(body))
    packet.first = first
    return packet


@cython.final
cdef class PayloadSource:
    cdef object view(self, const uint8_t* at, Py_ssize_t size):
        cdef Py_ssize_t offset = at - self.start
        # CPython counts the views of one buffer without a lock: the last ones may be dropped by two threads at once
        # (gh-127716). So without the GIL each payload gets a buffer of its own.
        whole = memoryview(self.owner) if FREE_THREADED else self.whole
        return whole[offset:offset + size]


# ---- PUBACK, PUBREC, PUBREL, PUBCOMP [3.4 to 3.7]: an id, then a reason code and properties that may both be left off --

cdef class Acknowledgement(Packet):
    __match_args__ = ("packet_id", "reason_code")
    _fields = {"packet_id": REQUIRED, "reason_code": 0}

    @property
    def packet_id(self):
        return self.packet_id_

    @property
    def reason_code(self):
        return reason(self.code)

    cdef Py_ssize_t size_body(self, int version) except -1:
        if version == MQTT_3_1_1:
            must_allow_code(self.first >> 4, self.code, version, "reason_code")
            return 2 + size_properties(self, version)
        if self.properties is None:
            return 3 if self.code else 2
        return 3 + size_properties(self, version)

    cdef uint8_t* put_body(self, uint8_t* at, int version) except NULL:
        at = put_u16(at, self.packet_id_)
        if version == MQTT_5 and (self.code or self.properties is not None):
            at = put_u8(at, self.code)
            if self.properties is not None:
                at = put_properties(self, at, version)
        return at


cdef int make_acknowledgement(
    Acknowledgement self, int first, object packet_id, object reason_code, object reason_string, object user_properties
) except -1:
    must_be_new(self, &self.first)
    self.packet_id_ = as_packet_id(packet_id)
    self.code = as_code(reason_code, first >> 4, "reason_code")
    if reason_string is not None or user_properties is not ():
        self.properties = encode_properties(first >> 4, (reason_string, user_properties), &self.seen)
    store_u8(&self.first, first)
    return 0


cdef inline Packet decode_acknowledgement(Acknowledgement packet, int first, Cursor* body, int version):
    packet.packet_id_ = read_packet_id(body)
    if version == MQTT_5 and remaining(body):
        packet.code = read_code(body, first >> 4, version)
        if remaining(body):  # a remaining length under 4 means that there are no properties at all [3.4.2.2.1]
            packet.properties = read_properties(body, first >> 4, &packet.seen)
    expect_end(body)
    packet.first = first
    return packet


@cython.final
cdef class PubAck(Acknowledgement):
    """PUBACK: the answer to a PUBLISH of QoS 1 [3.4]."""

    def __init__(self, packet_id, reason_code=0, *, reason_string=None, user_properties=()):
        make_acknowledgement(self, PUBACK << 4, packet_id, reason_code, reason_string, user_properties)


@cython.final
cdef class PubRec(Acknowledgement):
    """PUBREC: the first answer to a PUBLISH of QoS 2 [3.5]."""

    def __init__(self, packet_id, reason_code=0, *, reason_string=None, user_properties=()):
        make_acknowledgement(self, PUBREC << 4, packet_id, reason_code, reason_string, user_properties)


@cython.final
cdef class PubRel(Acknowledgement):
    """PUBREL: the answer to PUBREC [3.6]."""

    def __init__(self, packet_id, reason_code=0, *, reason_string=None, user_properties=()):
        make_acknowledgement(self, PUBREL << 4 | 0b0010, packet_id, reason_code, reason_string, user_properties)


@cython.final
cdef class PubComp(Acknowledgement):
    """PUBCOMP: the answer to PUBREL, the end of a QoS 2 exchange [3.7]."""

    def __init__(self, packet_id, reason_code=0, *, reason_string=None, user_properties=()):
        make_acknowledgement(self, PUBCOMP << 4, packet_id, reason_code, reason_string, user_properties)


# ---- SUBSCRIBE [3.8] -------------------------------------------------------------------------------------------------

cdef enum SubscriptionOption:  # [3.8.3.1]
    MAXIMUM_QOS = 0x03
    NO_LOCAL = 0x04
    RETAIN_AS_PUBLISHED = 0x08
    RETAIN_HANDLING = 0x30
    RESERVED_OPTIONS = 0xC0


@cython.final
cdef class Subscription(Record):
    """A topic filter and its options, a part of SUBSCRIBE [3.8.3]."""

    __match_args__ = ("topic_filter", "qos")
    _fields = {
        "topic_filter": REQUIRED, "qos": 0, "no_local": False, "retain_as_published": False, "retain_handling": 0,
    }

    def __init__(self, topic_filter, qos=0, *, no_local=False, retain_as_published=False, retain_handling=0):
        if not try_mark(&self.seen, <uint64_t> 1 << BEGUN):  # no byte of it would say so
            refuse_state(self, "is immutable: it was made before")
        cdef str checked = as_topic_filter(topic_filter, "topic_filter")
        self.options = (
            as_int(qos, "qos", 0, 2)
            | as_flag(no_local, "no_local") << 2
            | as_flag(retain_as_published, "retain_as_published") << 3
            | as_int(retain_handling, "retain_handling", 0, 2) << 4
        )
        if self.options & NO_LOCAL and is_shared(checked):
            cannot_encode("no_local", "must be False on a shared subscription", "MQTT-3.8.3-4")
        self.topic_filter = checked

    @property
    def qos(self):
        return self.options & MAXIMUM_QOS

    @property
    def no_local(self):
        return (self.options & NO_LOCAL) != 0

    @property
    def retain_as_published(self):
        return (self.options & RETAIN_AS_PUBLISHED) != 0

    @property
    def retain_handling(self):
        return (self.options & RETAIN_HANDLING) >> 4


@cython.final
@cython.no_gc  # it holds immutable leaves: no cycle can run through it
cdef class Subscribe(Packet):
    """SUBSCRIBE [3.8]."""

    __match_args__ = ("packet_id", "subscriptions")
    _fields = {"packet_id": REQUIRED, "subscriptions": REQUIRED}

    def __init__(self, packet_id, subscriptions, *, subscription_identifier=None, user_properties=()):
        must_be_new(self, &self.first)
        self.packet_id_ = as_packet_id(packet_id)
        self.subscriptions = as_items(subscriptions, "subscriptions", "Subscription", "MQTT-3.8.3-2")
        for subscription in self.subscriptions:
            if not isinstance(subscription, Subscription) or (<Subscription> subscription).topic_filter is None:
                cannot_encode("subscriptions", f"must hold Subscription, not {type(subscription).__name__}")
        self.properties = encode_properties(SUBSCRIBE, (subscription_identifier, user_properties), &self.seen)
        store_u8(&self.first, SUBSCRIBE << 4 | 0b0010)

    @property
    def packet_id(self):
        return self.packet_id_

    cdef Py_ssize_t size_body(self, int version) except -1:
        cdef Py_ssize_t size = 2 + size_properties(self, version)
        cdef Subscription subscription
        for subscription in self.subscriptions:
            if version == MQTT_3_1_1 and subscription.options & ~MAXIMUM_QOS:
                refuse_before_5("subscriptions", "a subscription option")
            size += size_text(subscription.topic_filter) + 1
            must_fit_all(size)
        return size

    cdef uint8_t* put_body(self, uint8_t* at, int version) except NULL:
        cdef Subscription subscription
        at = put_u16(at, self.packet_id_)
        at = put_properties(self, at, version)
        for subscription in self.subscriptions:
            at = put_text(at, subscription.topic_filter)
            at = put_u8(at, subscription.options)
        return at


cdef Packet decode_subscribe(Cursor* body, int version):
    cdef Subscribe packet = Subscribe.__new__(Subscribe)
    cdef list subscriptions = []
    packet.packet_id_ = read_packet_id(body)
    if version == MQTT_5:
        packet.properties = read_properties(body, SUBSCRIBE, &packet.seen)
    if not remaining(body):
        violation(body, "a SUBSCRIBE without a topic filter", "MQTT-3.8.3-2")
    while remaining(body):
        subscriptions.append(decode_subscription(body, version))
    packet.subscriptions = tuple(subscriptions)
    packet.first = SUBSCRIBE << 4 | 0b0010
    return packet


cdef Subscription decode_subscription(Cursor* body, int version):
    cdef Subscription subscription = Subscription.__new__(Subscription)
    cdef Cursor at
    subscription.seen = <uint64_t> 1 << BEGUN
    subscription.topic_filter = read_topic_filter(body)
    at = body[0]
    subscription.options = read_u8(body)
    if subscription.options & (RESERVED_OPTIONS if version == MQTT_5 else ~MAXIMUM_QOS):
        malformed(&at, "a reserved subscription option bit is set", "MQTT-3.8.3-5")
    if subscription.options & MAXIMUM_QOS == MAXIMUM_QOS:
        malformed(&at, "a subscription with QoS 3", "3.8.3.1")
    if subscription.options & RETAIN_HANDLING == RETAIN_HANDLING:
        violation(&at, "a subscription with Retain Handling 3", "3.8.3.1")
    if subscription.options & NO_LOCAL and is_shared(subscription.topic_filter):
        violation(&at, "No Local on a shared subscription", "MQTT-3.8.3-4")
    return subscription


cdef tuple as_items(object items, str field, str of_what, str clause):
    """A caller's iterable as a tuple that is not empty."""
    cdef tuple checked = as_tuple(items, field, of_what)
    if not checked:
        cannot_encode(field, "must not be empty", clause)
    return checked


# ---- SUBACK, UNSUBACK [3.9, 3.11]: an id, properties, a reason code for each topic filter ------------------------------

cdef class SubscriptionAcknowledgement(Packet):
    __match_args__ = ("packet_id", "reason_codes")
    _fields = {"packet_id": REQUIRED, "reason_codes": ()}

    @property
    def packet_id(self):
        return self.packet_id_

    @property
    def reason_codes(self):
        return tuple([reason(code) for code in self.codes]) if self.codes else ()

    cdef Py_ssize_t size_body(self, int version) except -1:
        cdef int kind = self.first >> 4
        cdef Py_ssize_t size = 2 + size_properties(self, version)
        if kind == UNSUBACK and version == MQTT_3_1_1:  # its UNSUBACK ends with the id [3.1.1: 3.11]
            if self.codes:
                refuse_before_5("reason_codes", "a reason code in UNSUBACK")
            return size
        if not self.codes:
            cannot_encode("reason_codes", "must not be empty", "3.11.3" if kind == UNSUBACK else "3.9.3")
        for code in self.codes:
            must_allow_code(kind, code, version, "reason_codes")
        return size + PyBytes_GET_SIZE(self.codes)

    cdef uint8_t* put_body(self, uint8_t* at, int version) except NULL:
        at = put_u16(at, self.packet_id_)
        at = put_properties(self, at, version)
        return put_bytes(at, PyBytes_AS_STRING(self.codes), PyBytes_GET_SIZE(self.codes))


cdef int make_subscription_acknowledgement(
    SubscriptionAcknowledgement self, int kind, object packet_id, object reason_codes, object reason_string,
    object user_properties,
) except -1:
    must_be_new(self, &self.first)
    self.packet_id_ = as_packet_id(packet_id)
    self.codes = bytes([
        as_code(code, kind, "reason_codes") for code in as_tuple(reason_codes, "reason_codes", "reason codes")
    ])
    self.properties = encode_properties(kind, (reason_string, user_properties), &self.seen)
    store_u8(&self.first, kind << 4)
    return 0


cdef Packet decode_subscription_acknowledgement(
    SubscriptionAcknowledgement packet, int kind, Cursor* body, int version
):
    cdef Cursor codes
    cdef Py_ssize_t size
    packet.packet_id_ = read_packet_id(body)
    if version == MQTT_5:
        packet.properties = read_properties(body, kind, &packet.seen)
    size = remaining(body)
    if kind == UNSUBACK and version == MQTT_3_1_1:
        expect_end(body)
    elif not size:
        violation(body, "an acknowledgement without a reason code", "3.9.3" if kind == SUBACK else "3.11.3")
    # Copied first, then checked: nobody else can write to the copy.
    packet.codes = PyBytes_FromStringAndSize(<const char*> body.pos, size)
    codes = cursor_over(<const uint8_t*> PyBytes_AS_STRING(packet.codes), size, offset_of(body), body.fail)
    while remaining(&codes):
        read_code(&codes, kind, version)
    body.pos = body.end
    packet.first = kind << 4
    return packet


@cython.final
cdef class SubAck(SubscriptionAcknowledgement):
    """SUBACK [3.9]."""

    def __init__(self, packet_id, reason_codes=(), *, reason_string=None, user_properties=()):
        make_subscription_acknowledgement(self, SUBACK, packet_id, reason_codes, reason_string, user_properties)


@cython.final
cdef class UnsubAck(SubscriptionAcknowledgement):
    """UNSUBACK [3.11]; in 3.1.1 it has no reason codes."""

    def __init__(self, packet_id, reason_codes=(), *, reason_string=None, user_properties=()):
        make_subscription_acknowledgement(self, UNSUBACK, packet_id, reason_codes, reason_string, user_properties)


# ---- UNSUBSCRIBE [3.10] ----------------------------------------------------------------------------------------------

@cython.final
@cython.no_gc  # it holds immutable leaves: no cycle can run through it
cdef class Unsubscribe(Packet):
    """UNSUBSCRIBE [3.10]."""

    __match_args__ = ("packet_id", "topic_filters")
    _fields = {"packet_id": REQUIRED, "topic_filters": REQUIRED}

    def __init__(self, packet_id, topic_filters, *, user_properties=()):
        must_be_new(self, &self.first)
        self.packet_id_ = as_packet_id(packet_id)
        self.topic_filters = tuple([
            as_topic_filter(topic_filter, "topic_filters")
            for topic_filter in as_items(topic_filters, "topic_filters", "str", "MQTT-3.10.3-2")
        ])
        self.properties = encode_properties(UNSUBSCRIBE, (user_properties,), &self.seen)
        store_u8(&self.first, UNSUBSCRIBE << 4 | 0b0010)

    @property
    def packet_id(self):
        return self.packet_id_

    cdef Py_ssize_t size_body(self, int version) except -1:
        cdef Py_ssize_t size = 2 + size_properties(self, version)
        for topic_filter in self.topic_filters:
            size += size_text(<str> topic_filter)
            must_fit_all(size)
        return size

    cdef uint8_t* put_body(self, uint8_t* at, int version) except NULL:
        at = put_u16(at, self.packet_id_)
        at = put_properties(self, at, version)
        for topic_filter in self.topic_filters:
            at = put_text(at, <str> topic_filter)
        return at


cdef Packet decode_unsubscribe(Cursor* body, int version):
    cdef Unsubscribe packet = Unsubscribe.__new__(Unsubscribe)
    cdef list topic_filters = []
    packet.packet_id_ = read_packet_id(body)
    if version == MQTT_5:
        packet.properties = read_properties(body, UNSUBSCRIBE, &packet.seen)
    if not remaining(body):
        violation(body, "an UNSUBSCRIBE without a topic filter", "MQTT-3.10.3-2")
    while remaining(body):
        topic_filters.append(read_topic_filter(body))
    packet.topic_filters = tuple(topic_filters)
    packet.first = UNSUBSCRIBE << 4 | 0b0010
    return packet


# ---- PINGREQ, PINGRESP [3.12, 3.13]: no body -------------------------------------------------------------------------

@cython.final
cdef class PingReq(Packet):
    """PINGREQ [3.12]."""

    def __init__(self):
        must_be_new(self, &self.first)
        store_u8(&self.first, PINGREQ << 4)


@cython.final
cdef class PingResp(Packet):
    """PINGRESP [3.13]."""

    def __init__(self):
        must_be_new(self, &self.first)
        store_u8(&self.first, PINGRESP << 4)


cdef inline Packet decode_ping(Packet packet, int first, Cursor* body):
    expect_end(body)
    packet.first = first
    return packet


# ---- DISCONNECT [3.14] -----------------------------------------------------------------------------------------------

@cython.final
cdef class Disconnect(Packet):
    """DISCONNECT [3.14]; in 3.1.1 from the client only, and empty."""

    __match_args__ = ("reason_code",)
    _fields = {"reason_code": 0}

    def __init__(
        self, reason_code=0, *, session_expiry_interval=None, reason_string=None, server_reference=None,
        user_properties=(),
    ):
        must_be_new(self, &self.first)
        self.code = as_code(reason_code, DISCONNECT, "reason_code")
        self.properties = encode_properties(
            DISCONNECT, (session_expiry_interval, server_reference, reason_string, user_properties), &self.seen
        )
        store_u8(&self.first, DISCONNECT << 4)

    @property
    def reason_code(self):
        return reason(self.code)

    cdef Py_ssize_t size_body(self, int version) except -1:
        if version == MQTT_3_1_1:
            must_allow_code(DISCONNECT, self.code, version, "reason_code")
            return size_properties(self, version)
        if self.properties is None:
            return 1 if self.code else 0
        return 1 + size_properties(self, version)

    cdef uint8_t* put_body(self, uint8_t* at, int version) except NULL:
        if version == MQTT_5 and (self.code or self.properties is not None):
            at = put_u8(at, self.code)
            if self.properties is not None:
                at = put_properties(self, at, version)
        return at


cdef Packet decode_disconnect(Cursor* body, int version):
    cdef Disconnect packet = Disconnect.__new__(Disconnect)
    if version == MQTT_5 and remaining(body):
        packet.code = read_code(body, DISCONNECT, version)
        if remaining(body):  # a remaining length under 2 means that there are no properties [3.14.2.2.1]
            packet.properties = read_properties(body, DISCONNECT, &packet.seen)
    expect_end(body)
    packet.first = DISCONNECT << 4
    return packet


# ---- AUTH [3.15] -----------------------------------------------------------------------------------------------------

@cython.final
cdef class Auth(Packet):
    """AUTH [3.15]. MQTT 5.0."""

    __match_args__ = ("reason_code",)
    _fields = {"reason_code": 0}

    def __init__(
        self, reason_code=0, *, authentication_method=None, authentication_data=None, reason_string=None,
        user_properties=(),
    ):
        must_be_new(self, &self.first)
        self.code = as_code(reason_code, AUTH, "reason_code")
        self.properties = encode_properties(
            AUTH, (authentication_method, authentication_data, reason_string, user_properties), &self.seen
        )
        store_u8(&self.first, AUTH << 4)

    @property
    def reason_code(self):
        return reason(self.code)

    cdef Py_ssize_t size_body(self, int version) except -1:
        if version == MQTT_3_1_1:
            refuse_before_5("packet", "AUTH")
        if self.code == 0 and self.properties is None:
            return 0
        return 1 + size_properties(self, version)

    cdef uint8_t* put_body(self, uint8_t* at, int version) except NULL:
        if self.code or self.properties is not None:
            at = put_u8(at, self.code)
            at = put_properties(self, at, version)
        return at


cdef Packet decode_auth(Cursor* body, int version):
    cdef Auth packet = Auth.__new__(Auth)
    if remaining(body):  # without a body it means success and no properties [3.15.2.1]
        packet.code = read_code(body, AUTH, version)
        packet.properties = read_properties(body, AUTH, &packet.seen)
    expect_end(body)
    packet.first = AUTH << 4
    return packet


# ---- any packet ------------------------------------------------------------------------------------------------------

cdef Packet decode_body(int first, Cursor* body, int version, PayloadSource views, Recent* recent):
    """The packet of a first byte that `read_frame` has passed, and its body."""
    cdef int kind = first >> 4
    if kind == PUBLISH:
        return decode_publish(first, body, version, views, recent)
    if kind == PUBACK:
        return decode_acknowledgement(PubAck.__new__(PubAck), first, body, version)
    if kind == PUBREC:
        return decode_acknowledgement(PubRec.__new__(PubRec), first, body, version)
    if kind == PUBREL:
        return decode_acknowledgement(PubRel.__new__(PubRel), first, body, version)
    if kind == PUBCOMP:
        return decode_acknowledgement(PubComp.__new__(PubComp), first, body, version)
    if kind == CONNECT:
        return decode_connect(body, version)
    if kind == CONNACK:
        return decode_connack(body, version)
    if kind == SUBSCRIBE:
        return decode_subscribe(body, version)
    if kind == SUBACK:
        return decode_subscription_acknowledgement(SubAck.__new__(SubAck), kind, body, version)
    if kind == UNSUBSCRIBE:
        return decode_unsubscribe(body, version)
    if kind == UNSUBACK:
        return decode_subscription_acknowledgement(UnsubAck.__new__(UnsubAck), kind, body, version)
    if kind == PINGREQ:
        return decode_ping(PingReq.__new__(PingReq), first, body)
    if kind == PINGRESP:
        return decode_ping(PingResp.__new__(PingResp), first, body)
    if kind == DISCONNECT:
        return decode_disconnect(body, version)
    return decode_auth(body, version)


# What `decode` has seen lately, in this process. The GIL guards it; a program without one has decoders that keep their own.
cdef Recent recent_of_all

cdef enum:
    KNOWN_SIZES = 1024

cdef (PyObject*)[KNOWN_SIZES] known_sizes  # ints, each made when it is first asked for, and kept for ever


cdef inline object as_size(Py_ssize_t size):
    """A packet's size as an int: to make one (and CPython keeps those to 256) is a tenth of a decode."""
    cdef object made
    if FREE_THREADED or size >= KNOWN_SIZES:
        return size
    if known_sizes[size] == NULL:
        made = size
        Py_INCREF(made)
        known_sizes[size] = <PyObject*> made
    return <object> known_sizes[size]


def decode(data, version=5):
    """The first packet in `data` and its size in bytes, as (packet, size); None while it is incomplete.

    data: any C-contiguous buffer. version: 4, 5, or None for a CONNECT that says it itself.
    Raises MalformedPacketError or ProtocolViolationError, as soon as the bytes at hand cannot become right.
    """
    cdef int checked = UNKNOWN_VERSION if version is None else as_version(version)
    cdef Frame frame
    cdef Cursor body
    cdef Buffer view
    cdef bytes whole
    get_buffer(data, "data", &view)
    try:
        if not read_frame(<const uint8_t*> view.buf, view.len, checked, MAX_PACKET_SIZE, &frame):
            return None
        if PyBytes_CheckExact(data):
            whole = <bytes> data
        else:
            whole = (<const char*> view.buf)[:frame.size]  # ours: another thread may write to the caller's
    finally:
        release(&view)
    body = cursor_over(
        <const uint8_t*> PyBytes_AS_STRING(whole) + frame.header, frame.size - frame.header, frame.header, cursor_fault
    )
    packet = decode_body(frame.first, &body, checked, None, NULL if FREE_THREADED else &recent_of_all)
    return packet, as_size(frame.size)


# ---- at import -------------------------------------------------------------------------------------------------------

cdef int finish_class(type cls) except -1:
    add_signature(cls)
    if issubclass(cls, Packet):
        add_own_method(cls, "encode")
    return 0


cdef int finish_classes() except -1:
    for cls, packet in (
        (Will, WILL), (Connect, CONNECT), (ConnAck, CONNACK), (Publish, PUBLISH), (PubAck, PUBACK), (PubRec, PUBREC),
        (PubRel, PUBREL), (PubComp, PUBCOMP), (Subscribe, SUBSCRIBE), (SubAck, SUBACK), (Unsubscribe, UNSUBSCRIBE),
        (UnsubAck, UNSUBACK), (Disconnect, DISCONNECT), (Auth, AUTH),
    ):
        add_attributes(cls, attributes_of(packet), read_attribute)
        finish_class(cls)
    for cls in (Subscription, PingReq, PingResp):  # no properties
        finish_class(cls)
    sample = Publish("topic", b"payload")
    add_member(sample, "topic")
    add_member(sample, "payload")
    reuse_memory(Publish, (PubAck, PubRec, PubRel, PubComp))
    return 0

finish_classes()
