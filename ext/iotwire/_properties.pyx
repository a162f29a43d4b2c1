# cython: language_level=3, boundscheck=False, wraparound=False
"""The MQTT 5.0 properties: one table, and what reads it.

A packet keeps its properties as the bytes of the wire, checked when it was decoded or made. So a decoded packet encodes
to the bytes it came from, a property that nobody reads costs no object, and there is one form to check, not two.
Values become Python objects when they are read.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_New
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from iotwire._arguments cimport as_binary, as_flag, as_int, as_tuple
from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE, PyTuple_SET_ITEM, tuple_items
from iotwire._cursor cimport (
    Cursor, cursor_over, read_u8, read_u16, read_u32, read_varint, sub_cursor, take,
)
from iotwire._emit cimport MAX_VARINT, put_binary, put_u8, put_u16, put_u32, put_varint, size_varint
from iotwire._faults cimport cannot_encode, cursor_fault, malformed, violation
from iotwire._frame cimport (
    AUTH, CONNACK, CONNECT, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE,
    UNSUBACK,
)
from iotwire._recent cimport (
    BLOCK_PLACES, LONGEST_KEPT, SHORTEST_KEPT, Recent, RecentBlock, is_same, place_of,
)
from iotwire._text cimport ANY_TEXT, TOPIC_NAME, TextRule, as_text, check_text, put_text, read_text, skip_text
from iotwire._threads cimport FREE_THREADED

cdef enum Kind:  # the data types of 1.5, told apart where their values have rules of their own
    UNKNOWN
    BYTE
    FLAG     # a Byte that is 0 or 1 and means no or yes: bool in Python
    TWO_BYTES
    FOUR_BYTES
    VARINT
    TEXT
    TOPIC    # a UTF-8 string that is a topic name
    BINARY
    PAIR

cdef struct Row:
    Kind kind
    uint16_t packets  # bit n: it may stand in packets of type n
    uint16_t repeats  # bit n: and there more than once
    uint32_t least
    uint32_t most
    uint8_t reason_code  # what to answer to a value out of range

cdef enum:
    IDENTIFIERS = 0x2B  # identifiers run to 0x2A; all fit one byte, and one bit each of 64

cdef Row[IDENTIFIERS] table


# A list, and no generator: the code object of one would bring 128 KB of CPython into memory at import.
_CONNECT, _CONNACK, _PUBLISH, _SUBSCRIBE, _DISCONNECT, _AUTH, _WILL = [
    1 << packet_type for packet_type in (CONNECT, CONNACK, PUBLISH, SUBSCRIBE, DISCONNECT, AUTH, WILL)
]
_ACKNOWLEDGEMENTS = 1 << PUBACK | 1 << PUBREC | 1 << PUBREL | 1 << PUBCOMP | 1 << SUBACK | 1 << UNSUBACK
_REASONED = _CONNACK | _ACKNOWLEDGEMENTS | _DISCONNECT | _AUTH
_NO_PINGS = 0xFFFF & ~(1 << PINGREQ | 1 << PINGRESP)
_U16, _U32 = 0xFFFF, 0xFFFF_FFFF

# MQTT 5.0, 2.2.2.2, Table 2-4.
ROWS = (
    # id   name                                 type        packets                              least  most        clause
    (0x01, "payload_format_indicator",          BYTE,       _PUBLISH | _WILL,                    0,     1,          "3.3.2.3.2"),
    (0x02, "message_expiry_interval",           FOUR_BYTES, _PUBLISH | _WILL,                    0,     _U32,       "3.3.2.3.3"),
    (0x03, "content_type",                      TEXT,       _PUBLISH | _WILL,                    0,     0,          "3.3.2.3.9"),
    (0x08, "response_topic",                    TOPIC,      _PUBLISH | _WILL,                    0,     0,          "MQTT-3.3.2-14"),
    (0x09, "correlation_data",                  BINARY,     _PUBLISH | _WILL,                    0,     0,          "3.3.2.3.6"),
    (0x0B, "subscription_identifier",           VARINT,     _PUBLISH | _SUBSCRIBE,               1,     MAX_VARINT, "3.8.2.1.2"),
    (0x11, "session_expiry_interval",           FOUR_BYTES, _CONNECT | _CONNACK | _DISCONNECT,   0,     _U32,       "3.1.2.11.2"),
    (0x12, "assigned_client_identifier",        TEXT,       _CONNACK,                            0,     0,          "3.2.2.3.7"),
    (0x13, "server_keep_alive",                 TWO_BYTES,  _CONNACK,                            0,     _U16,       "3.2.2.3.14"),
    (0x15, "authentication_method",             TEXT,       _CONNECT | _CONNACK | _AUTH,         0,     0,          "3.1.2.11.9"),
    (0x16, "authentication_data",               BINARY,     _CONNECT | _CONNACK | _AUTH,         0,     0,          "3.1.2.11.10"),
    (0x17, "request_problem_information",       FLAG,       _CONNECT,                            0,     1,          "3.1.2.11.7"),
    (0x18, "will_delay_interval",               FOUR_BYTES, _WILL,                               0,     _U32,       "3.1.3.2.2"),
    (0x19, "request_response_information",      FLAG,       _CONNECT,                            0,     1,          "3.1.2.11.6"),
    (0x1A, "response_information",              TEXT,       _CONNACK,                            0,     0,          "3.2.2.3.15"),
    (0x1C, "server_reference",                  TEXT,       _CONNACK | _DISCONNECT,              0,     0,          "3.2.2.3.16"),
    (0x1F, "reason_string",                     TEXT,       _REASONED,                           0,     0,          "3.2.2.3.9"),
    (0x21, "receive_maximum",                   TWO_BYTES,  _CONNECT | _CONNACK,                 1,     _U16,       "3.1.2.11.3"),
    (0x22, "topic_alias_maximum",               TWO_BYTES,  _CONNECT | _CONNACK,                 0,     _U16,       "3.1.2.11.5"),
    (0x23, "topic_alias",                       TWO_BYTES,  _PUBLISH,                            1,     _U16,       "MQTT-3.3.2-8"),
    (0x24, "maximum_qos",                       BYTE,       _CONNACK,                            0,     1,          "3.2.2.3.4"),
    (0x25, "retain_available",                  FLAG,       _CONNACK,                            0,     1,          "3.2.2.3.5"),
    (0x26, "user_property",                     PAIR,       _NO_PINGS,                           0,     0,          "2.2.2.2"),
    (0x27, "maximum_packet_size",               FOUR_BYTES, _CONNECT | _CONNACK,                 1,     _U32,       "3.1.2.11.4"),
    (0x28, "wildcard_subscription_available",   FLAG,       _CONNACK,                            0,     1,          "3.2.2.3.11"),
    (0x29, "subscription_identifier_available", FLAG,       _CONNACK,                            0,     1,          "3.2.2.3.12"),
    (0x2A, "shared_subscription_available",     FLAG,       _CONNACK,                            0,     1,          "3.2.2.3.13"),
)

# Where a property may stand more than once: in which packets, and what it is called there.
REPEATED = {0x0B: (_PUBLISH, "subscription_identifiers"), 0x26: (_NO_PINGS, "user_properties")}

# What to answer to a value out of range, where it is not 0x82.
RANGE_REASON_CODES = {TOPIC_ALIAS: 0x94}

cdef list names = [None] * IDENTIFIERS    # by identifier
cdef list clauses = [None] * IDENTIFIERS

# For each packet type, the identifiers it may carry in ascending order: the order of `values` in `encode_properties`.
cdef uint8_t[16][IDENTIFIERS] allowed
cdef int[16] allowed_count

cdef int fill_tables() except -1:
    cdef int packet, packets
    for identifier, name, kind, packets, least, most, clause in ROWS:
        repeats, _ = REPEATED.get(identifier, (0, name))
        reason_code = RANGE_REASON_CODES.get(identifier, 0x82)
        names[identifier] = name
        clauses[identifier] = clause
        table[<int> identifier] = Row(kind, packets, repeats, least, most, reason_code)
        for packet in range(16):
            if packets >> packet & 1:
                allowed[packet][allowed_count[packet]] = identifier
                allowed_count[packet] += 1
    return 0

fill_tables()


cdef tuple attributes_of(int packet):
    """What the packet's properties are called in Python: (identifier, name, repeats, clause) in ascending order."""
    cdef list attributes = []
    cdef int packets, where
    cdef bint repeats
    for identifier, name, _, packets, _, _, clause in ROWS:
        if packets >> packet & 1:
            where, plural = REPEATED.get(identifier, (0, name))
            repeats = where >> packet & 1
            attributes.append((identifier, plural if repeats else name, repeats, clause))
    return tuple(attributes)


cdef int refuse_properties(tuple attributes, uint64_t seen) except -1:
    """Raise that MQTT 3.1.1 cannot carry the first of these properties."""
    for identifier, name, _, _ in attributes:
        if has(seen, identifier):
            cannot_encode(name, "is a property, which needs MQTT 5.0", "2.2.2")
    return 0


# ---- decode

cdef bytes read_property_block(Cursor* body, int packet, uint64_t* seen, Recent* recent):
    """What `read_properties` gives for a block that is not empty."""
    cdef Py_ssize_t size = read_varint(body)
    if size == 0:
        return None
    cdef Cursor outer = sub_cursor(body, size)
    cdef RecentBlock* place = NULL
    if recent != NULL and SHORTEST_KEPT <= size <= LONGEST_KEPT:
        place = &recent.blocks[place_of(outer.pos, size) % BLOCK_PLACES]
        # What is known was checked when it was made, as with topics.
        if place.block != NULL and is_same_block(<bytes> place.block, outer.pos, size):
            seen[0] = place.seen | <uint64_t> 1 << COMES_AGAIN
            return <bytes> place.block
    # Copied first, then checked: nobody else can write to the copy.
    cdef bytes block = PyBytes_FromStringAndSize(<const char*> outer.pos, size)
    cdef Cursor inner = cursor_over(<const uint8_t*> PyBytes_AS_STRING(block), size, outer.base, body.fail)
    seen[0] = check_properties(&inner, packet)
    if place != NULL:
        Py_INCREF(block)
        Py_XDECREF(place.block)
        place.block = <PyObject*> block
        place.seen = seen[0]
    return block


cdef inline bint is_same_block(bytes block, const uint8_t* source, Py_ssize_t size) noexcept:
    return PyBytes_GET_SIZE(block) == size and is_same(<const uint8_t*> PyBytes_AS_STRING(block), source, size)


cdef uint64_t check_properties(Cursor* block, int packet) except? 0:
    cdef uint64_t seen = 0
    cdef const uint8_t* at
    cdef int identifier
    cdef const Row* row
    while block.pos < block.end:
        at = block.pos
        identifier = read_u8(block)
        if identifier >= 0x80:  # longer than a byte: either no property, or not written as short as it could be
            block.pos = at
            identifier = read_varint(block)
        row = &table[identifier] if identifier < IDENTIFIERS else NULL
        if row == NULL or not row.packets >> packet & 1 or (has(seen, identifier) and not row.repeats >> packet & 1):
            block.pos = at
            refuse_identifier(block, identifier, row, packet)
        seen |= <uint64_t> 1 << identifier
        skip_value(block, identifier, row)
    if has(seen, AUTHENTICATION_DATA) and not has(seen, AUTHENTICATION_METHOD):
        violation(block, "authentication data without an authentication method", "3.1.2.11.10")
    return seen


cdef int refuse_identifier(Cursor* block, int identifier, const Row* row, int packet) except -1:
    if row == NULL or row.kind == UNKNOWN:
        return malformed(block, f"there is no property 0x{identifier:02X}", "2.2.2.2")
    if not row.packets >> packet & 1:
        return malformed(block, f"{names[identifier]} is not allowed here", "2.2.2.2")
    return violation(block, f"{names[identifier]} stands more than once", clauses[identifier])


cdef inline int skip_value(Cursor* block, int identifier, const Row* row) except -1:
    """Check one value and step over it."""
    if row.kind == PAIR:
        skip_text(block)
        skip_text(block)
    elif row.kind == TEXT:
        skip_text(block)
    elif row.kind == BINARY:
        take(block, read_u16(block))
    elif row.kind == TOPIC:
        if skip_text(block, TOPIC_NAME) == 0:
            violation(block, f"{names[identifier]} is empty", "MQTT-4.7.3-1", row.reason_code)
    else:
        read_number(block, identifier, row)
    return 0


cdef inline int64_t read_number(Cursor* block, int identifier, const Row* row) except -1:
    cdef Cursor at = block[0]
    cdef int64_t number
    if row.kind == TWO_BYTES:
        number = read_u16(block)
    elif row.kind == FOUR_BYTES:
        number = read_u32(block)
    elif row.kind == VARINT:
        number = read_varint(block)
    else:
        number = read_u8(block)
    if number < row.least or number > row.most:
        violation(
            &at, f"{names[identifier]} is {<object> number}; {<object> row.least} to {<object> row.most} are allowed",
            clauses[identifier], row.reason_code,
        )
    return number


cdef object property_of(bytes block, int identifier, bint repeats):
    """A property that the block is known to hold, as a Python object: a tuple of all its values where it may repeat."""
    cdef Cursor c = cursor_over(<const uint8_t*> PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block), 0, cursor_fault)
    if repeats:
        return all_values(c, identifier)
    find_next(&c, identifier)
    return read_value(&c, identifier)


# Values of blocks that come again, each in the one place that block and property choose. A reference to the block keeps
# its address from being another's. The GIL guards them.
cdef struct KnownValue:
    PyObject* block
    PyObject* value
    int identifier

cdef KnownValue[16] known_values


cdef object known_property_of(bytes block, int identifier, bint repeats):
    """`property_of` for a block that a decoder has recognised: its values are the same objects each time."""
    cdef KnownValue* place = &known_values[((<size_t> <PyObject*> block >> 4) + identifier) & 15]
    cdef KnownValue before
    if FREE_THREADED:
        return property_of(block, identifier, repeats)
    if place.block == <PyObject*> block and place.identifier == identifier:
        return <object> place.value
    value = property_of(block, identifier, repeats)
    before = place[0]
    Py_INCREF(block)
    Py_INCREF(value)
    place[0] = KnownValue(<PyObject*> block, <PyObject*> value, identifier)
    Py_XDECREF(before.block)
    Py_XDECREF(before.value)
    return value


cdef tuple all_values(Cursor c, int identifier):
    """The values of a property that repeats, in wire order: counted first, to make no list on the way."""
    cdef Cursor again = c
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t i
    cdef tuple values
    while find_next(&c, identifier):
        step_over(&c, table[identifier].kind)
        count += 1
    values = PyTuple_New(count)
    for i in range(count):
        find_next(&again, identifier)
        value = read_value(&again, identifier)
        Py_INCREF(value)
        PyTuple_SET_ITEM(values, i, value)
    return values


cdef inline bint find_next(Cursor* c, int identifier) except -1:
    """Go to the next value of a property, behind its identifier. False at the end of the block."""
    cdef int here
    while c.pos < c.end:
        here = read_u8(c)
        if here == identifier:
            return True
        step_over(c, table[here].kind)
    return False


cdef inline int step_over(Cursor* block, Kind kind) except -1:
    """Step over a value that was checked when the block was made; the bounds are checked all the same."""
    if kind == PAIR:
        take(block, read_u16(block))
        take(block, read_u16(block))
    elif kind == TEXT or kind == TOPIC or kind == BINARY:
        take(block, read_u16(block))
    elif kind == TWO_BYTES:
        take(block, 2)
    elif kind == FOUR_BYTES:
        take(block, 4)
    elif kind == VARINT:
        read_varint(block)
    else:
        take(block, 1)
    return 0


cdef bytes without_property(bytes block, int identifier):
    """The block without a property that it is known to hold, once. None where nothing is left."""
    cdef const uint8_t* start = <const uint8_t*> PyBytes_AS_STRING(block)
    cdef Cursor c = cursor_over(start, PyBytes_GET_SIZE(block), 0, cursor_fault)
    cdef Py_ssize_t before
    find_next(&c, identifier)
    before = c.pos - start - 1
    step_over(&c, table[identifier].kind)
    return block[:before] + block[c.pos - start:] or None


cdef object read_value(Cursor* block, int identifier):
    cdef const Row* row = &table[identifier]
    cdef Py_ssize_t size
    if row.kind == PAIR:
        return (read_text(block), read_text(block))
    if row.kind == TEXT or row.kind == TOPIC:
        return read_text(block)
    if row.kind == BINARY:
        size = read_u16(block)
        return PyBytes_FromStringAndSize(<const char*> take(block, size), size)
    if row.kind == FLAG:
        return read_u8(block) == 1
    return read_number(block, identifier, row)


# ---- encode

cdef bytes encode_properties(int packet, tuple values, uint64_t* seen):
    """`encode_property_array` for the values of a tuple."""
    cdef (PyObject*)[IDENTIFIERS] room
    assert len(values) == allowed_count[packet]
    return encode_property_array(packet, tuple_items(values, room), seen)


cdef bytes encode_property_array(int packet, PyObject** values, uint64_t* seen):
    """The property block for `values`, one for each property the packet may carry, in ascending order of identifier.

    None where all are absent. Each value is first brought to an exact immutable type, then measured, then put: nothing
    that another thread does to a caller's list can change the size in between. `seen` gets its bits when all is well.
    """
    cdef Py_ssize_t size = 0
    cdef uint64_t found = 0
    cdef int i, identifier
    cdef (PyObject*)[IDENTIFIERS] ready  # borrowed from `values`, or from `kept` where a value had to be converted
    cdef list kept = None
    cdef uint8_t* at
    cdef bytes block
    for i in range(allowed_count[packet]):
        if values[i] == <PyObject*> None or values[i] == <PyObject*> ():
            continue
        value = <object> values[i]
        identifier = allowed[packet][i]
        exact = as_property(packet, identifier, value, &size)
        if exact is ():
            continue
        if exact is not value:
            kept = [] if kept is None else kept
            kept.append(exact)
        ready[identifier] = <PyObject*> exact
        found |= <uint64_t> 1 << identifier
    if size == 0:
        return None
    if has(found, AUTHENTICATION_DATA) and not has(found, AUTHENTICATION_METHOD):
        cannot_encode("authentication_data", "needs an authentication_method", "3.1.2.11.10")
    must_fit_all(size)
    block = PyBytes_FromStringAndSize(NULL, size)
    at = <uint8_t*> PyBytes_AS_STRING(block)
    for i in range(allowed_count[packet]):
        identifier = allowed[packet][i]
        if has(found, identifier):
            at = put_property(at, packet, identifier, <object> ready[identifier])
    assert at == <uint8_t*> PyBytes_AS_STRING(block) + size
    seen[0] |= found
    return block


cdef object as_property(int packet, int identifier, object value, Py_ssize_t* size):
    """A caller's value checked and of an exact immutable type; its encoded size, identifiers included, is added."""
    cdef const Row* row = &table[identifier]
    if row.kind == PAIR:
        return as_pairs(value, size)
    if row.repeats >> packet & 1:
        return as_identifiers(value, size)
    size[0] += 1
    if row.kind == TEXT or row.kind == TOPIC:
        return as_text_value(row, names[identifier], value, size)
    if row.kind == BINARY:
        value = as_binary(value, names[identifier])
        size[0] += 2 + PyBytes_GET_SIZE(value)
    elif row.kind == FLAG:
        value = as_flag(value, names[identifier])
        size[0] += 1
    else:
        value = as_int(value, names[identifier], row.least, row.most)
        size[0] += size_number(row.kind, value)
    return value


cdef inline str as_text_value(const Row* row, str name, object value, Py_ssize_t* size):
    cdef TextRule rule = TOPIC_NAME if row.kind == TOPIC else ANY_TEXT
    if type(value) is not str:
        value = as_text(value, name, rule)
    if row.kind == TOPIC and not value:
        cannot_encode(name, "is a topic name, which must not be empty", "MQTT-4.7.3-1")
    size[0] += 2 + check_text(<str> value, name, rule)
    return value


cdef int size_number(Kind kind, uint32_t number) noexcept:
    return 4 if kind == FOUR_BYTES else 2 if kind == TWO_BYTES else size_varint(number) if kind == VARINT else 1


cdef tuple as_pairs(object value, Py_ssize_t* size):
    """User properties as a tuple of (str, str) tuples: the caller's own where it is that already."""
    cdef tuple pairs = value if type(value) is tuple else as_tuple(value, "user_properties", "(str, str) pairs")
    for pair in pairs:
        if type(pair) is not tuple or len(<tuple> pair) != 2 or type((<tuple> pair)[0]) is not str \
                or type((<tuple> pair)[1]) is not str:
            pairs = tuple([as_pair(pair) for pair in pairs])
            break
    for pair in pairs:
        size[0] += 1 + 2 + check_text(<str> (<tuple> pair)[0], "user_properties", ANY_TEXT)
        size[0] += 2 + check_text(<str> (<tuple> pair)[1], "user_properties", ANY_TEXT)
        must_fit_all(size[0])
    return pairs


cdef inline int must_fit_all(Py_ssize_t size) except -1:
    """Asked after each pair: one text may stand in all of them, and a sum that wraps would allocate too little."""
    if size > MAX_VARINT:
        cannot_encode("user_properties", f"take at least {size} bytes; at most {MAX_VARINT} fit", "2.2.2.1")
    return 0


cdef tuple as_pair(object item):
    cdef tuple pair = tuple(item) if isinstance(item, (tuple, list)) else ()
    if len(pair) != 2:
        cannot_encode("user_properties", "must hold (str, str) pairs")
    return (as_text(pair[0], "user_properties", ANY_TEXT), as_text(pair[1], "user_properties", ANY_TEXT))


cdef tuple as_identifiers(object value, Py_ssize_t* size):
    cdef list numbers = []
    cdef uint32_t number
    for item in as_tuple(value, "subscription_identifiers", "int"):
        number = as_int(item, "subscription_identifiers", 1, MAX_VARINT)
        size[0] += 1 + size_varint(number)
        numbers.append(number)
    return tuple(numbers)


cdef uint8_t* put_property(uint8_t* at, int packet, int identifier, object value) except NULL:
    """One property, or one after another where it may repeat."""
    cdef const Row* row = &table[identifier]
    if row.kind == PAIR:
        for name, text in <tuple> value:
            at = put_text(put_text(put_u8(at, identifier), <str> name), <str> text)
    elif row.repeats >> packet & 1:
        for number in <tuple> value:
            at = put_varint(put_u8(at, identifier), number)
    else:
        at = put_value(put_u8(at, identifier), row.kind, value)
    return at


cdef uint8_t* put_value(uint8_t* at, Kind kind, object value) except NULL:
    if kind == TEXT or kind == TOPIC:
        return put_text(at, <str> value)
    if kind == BINARY:
        return put_binary(at, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    if kind == TWO_BYTES:
        return put_u16(at, value)
    if kind == FOUR_BYTES:
        return put_u32(at, value)
    if kind == VARINT:
        return put_varint(at, value)
    return put_u8(at, value)
