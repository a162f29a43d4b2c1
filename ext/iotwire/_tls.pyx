# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""The first bytes of TLS: ClientHello, ServerHello and alerts, for TLS 1.2 and 1.3 (RFC 5246, RFC 8446).

The messages, field by field in wire order. What they are made of has rooms of its own: vectors (`_vectors`), records
(`_records`), and what stands in an extension (`_extensions`), of which the one table is in `_tls_tables.py`. No
cryptography is here, and no session: this is what can be read and said before there are keys.

A hello is its bytes. They are checked whole when it is made or decoded, and made into Python values where an attribute is
read: who routes by SNI and ALPN does not pay for forty cipher suites. It is immutable and may be shared between threads.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from iotwire._arguments cimport as_int, as_tuple
from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from iotwire._classes cimport Attribute, add_attribute, add_signature
from iotwire._cursor cimport Cursor, expect_end, offset_of, read_u8, read_u16, remaining, take
from iotwire._emit cimport put_bytes, put_u8, put_u16, put_u24
from iotwire._extensions cimport (
    FLAG, NAMES, RAW, SHARES, SHORT_U16S, U8S, U16S, Seen, as_host_name, as_names, as_value, check_value, fitting_size,
    is_new, put_numbers, put_value, read_numbers, read_value,
)
from iotwire._faults cimport cannot_encode, refuse_tls
from iotwire._records cimport (
    ALERT, CLIENT_HELLO, MAX_FRAGMENT, MAX_HELLO, MESSAGE_HEADER, RECORD_HEADER, SERVER_HELLO, Message,
    as_source, join_records, offset_in_records, put_record_header, read_record_header, read_records,
    split_into_records,
)
from iotwire._threads cimport load_int, store_int, try_take
from iotwire._vectors cimport (
    DECODE_ERROR, ILLEGAL_PARAMETER, PROTOCOL_VERSION, as_opaque, read_rest, read_u16s, read_vector, whole_cursor,
)

from os import urandom

from iotwire import _tls_tables as tables
from iotwire.errors import IotwireError, TlsDecodeError

MAX_HELLO_SIZE = MAX_HELLO
EXTENSIONS = tuple([row[:3] for row in tables.EXTENSIONS])

cdef enum:
    TLS_1_2 = 0x0303
    TLS_1_3 = 0x0304

# The SHA-256 of "HelloRetryRequest": a ServerHello with this as its random is one [RFC 8446 4.1.3].
cdef bytes RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


# ---- the table of extensions -----------------------------------------------------------------------------------------

cdef enum:
    ROWS = 32              # with some room
    WRITTEN = 12           # the first rows have an argument of ClientHello each
    KEY_SHARES = 9         # of these two the constructor knows more
    OFFERED_VERSIONS = 11

cdef enum:  # types of extensions that the code asks for
    SERVER_NAME = 0
    ALPN = 16
    PRE_SHARED_KEY = 41
    SUPPORTED_VERSIONS = 43
    KEY_SHARE = 51

cdef struct Row:
    int type
    int[2] layout  # in a ClientHello, in a ServerHello

cdef Row[ROWS] rows
cdef uint8_t[64] row_of_low_type  # index + 1; 0: there is none
cdef tuple argument_of = tuple([row[4] for row in tables.EXTENSIONS])


cdef int fill_table() except -1:
    cdef int index = 0
    assert len(tables.EXTENSIONS) <= ROWS
    for row in tables.EXTENSIONS:
        rows[index].type = row[0]
        rows[index].layout[0] = tables.LAYOUTS.index(row[3])
        rows[index].layout[1] = tables.LAYOUTS.index(row[5])
        index += 1
        if rows[index - 1].type < 64:
            row_of_low_type[rows[index - 1].type] = index
    return index

cdef int row_count = fill_table()


cdef int layout_of(int kind, int side) noexcept:
    cdef int index
    if kind < 64:
        index = row_of_low_type[kind]
        return rows[index - 1].layout[side] if index else <int> RAW
    for index in range(WRITTEN, row_count):
        if rows[index].type == kind:
            return rows[index].layout[side]
    return RAW


cdef bytes encode_extension(int kind, object value, str field):
    """A whole extension [RFC 8446 4.2]: type, length, data."""
    cdef int layout = layout_of(kind, 0)
    cdef Py_ssize_t size = fitting_size(layout, value, field)
    cdef bytes wire = PyBytes_FromStringAndSize(NULL, 4 + size)
    cdef uint8_t* at = put_u16(put_u16(<uint8_t*> PyBytes_AS_STRING(wire), kind), size)
    at = put_value(at, layout, value, size, field)
    assert at == <uint8_t*> PyBytes_AS_STRING(wire) + PyBytes_GET_SIZE(wire)
    return wire


def server_name_extension(name):
    """A server_name extension [RFC 6066 3] with its type and length.

    name: a host name of at most 255 bytes, ASCII, without a dot at its end. Raises EncodeError.
    """
    return encode_extension(SERVER_NAME, as_host_name(name, "name"), "name")


def alpn_extension(names):
    """An ALPN extension [RFC 7301 3.1] with its type and length.

    names: at least one protocol name of 1 to 255 bytes, in order of preference; a str is its bytes. Raises EncodeError.
    """
    cdef tuple checked = as_names(names, "names")
    if len(checked) == 0:
        cannot_encode("names", "must not be empty", "RFC 7301 3.1")
    return encode_extension(ALPN, checked, "names")


# ---- what both hellos are --------------------------------------------------------------------------------------------

cdef enum:  # offsets in `wire`
    VERSION_AT = RECORD_HEADER + MESSAGE_HEADER
    RANDOM_AT = VERSION_AT + 2
    SESSION_AT = RANDOM_AT + 32


cdef class Hello:
    """A hello message: immutable, equal by value."""

    cdef bytes wire                # the message as one record, even where it is longer than a record may be
    cdef Py_ssize_t extensions_at  # of the first extension in `wire`; its size where there is none
    cdef int begun
    cdef int made

    def encode(self):
        """The whole TLS records of this message, of at most 16384 bytes each [RFC 8446 5.1]."""
        must_be_made(self)
        if PyBytes_GET_SIZE(self.wire) <= RECORD_HEADER + MAX_FRAGMENT:
            return self.wire
        return split_into_records(self.wire)

    @property
    def handshake(self):
        must_be_made(self)
        return self.wire[RECORD_HEADER:]

    @property
    def record_version(self):
        must_be_made(self)
        return <uint8_t> self.wire[1] << 8 | <uint8_t> self.wire[2]

    @property
    def legacy_version(self):
        must_be_made(self)
        return <uint8_t> self.wire[VERSION_AT] << 8 | <uint8_t> self.wire[VERSION_AT + 1]

    @property
    def random(self):
        must_be_made(self)
        return self.wire[RANDOM_AT:SESSION_AT]

    @property
    def session_id(self):
        must_be_made(self)
        cdef Cursor session = after_random(self)
        session = read_vector(&session, 1, 0, 32)
        return read_rest(&session)

    @property
    def extensions(self):
        must_be_made(self)
        return extensions_of(self)

    def __eq__(self, other):
        if type(other) is not type(self):
            return NotImplemented
        must_be_made(self)
        must_be_made(other)
        return self.wire == (<Hello> other).wire

    def __hash__(self):
        must_be_made(self)
        return hash(self.wire)

    def __reduce__(self):
        return _restore, (type(self), self.encode())


cdef tuple extensions_of(Hello hello):
    cdef Cursor c = whole_cursor(hello.wire)
    cdef Cursor data
    cdef list found = []
    c.pos += hello.extensions_at
    while remaining(&c):
        kind = read_u16(&c)
        data = read_vector(&c, 2, 0, 65_535)
        found.append((kind, read_rest(&data)))
    return tuple(found)


def _restore(cls, wire):
    return cls.decode(wire)


cdef inline int must_be_made(Hello hello) except -1:
    return refuse_state("a hello was never initialised") if not load_int(&hello.made) else 0


cdef int refuse_state(str problem) except -1:
    raise IotwireError(problem)


cdef inline Cursor after_random(Hello hello) noexcept:
    cdef Cursor c = whole_cursor(hello.wire)
    c.pos += SESSION_AT
    return c


cdef Cursor after_session(Hello hello) except *:
    cdef Cursor c = after_random(hello)
    read_vector(&c, 1, 0, 32)
    return c


cdef bint find_extension(Hello hello, int kind, Cursor* data) except -1:
    cdef Cursor c = whole_cursor(hello.wire)
    cdef int found
    c.pos += hello.extensions_at
    while remaining(&c):
        found = read_u16(&c)
        data[0] = read_vector(&c, 2, 0, 65_535)
        if found == kind:
            return True
    return False


cdef object read_attribute(PyObject* instance, void* closure):
    """The getter of the attributes that the table gives."""
    cdef const Attribute* told = <const Attribute*> closure
    cdef Hello hello = <Hello> instance
    cdef Cursor data
    cdef const Row* row = &rows[told.identifier >> 1]
    cdef int layout = row.layout[told.identifier & 1]
    must_be_made(hello)
    if not find_extension(hello, row.type, &data):
        return False if layout == FLAG else () if told.repeats else None
    return read_value(layout, &data)


cdef int check_head(Cursor* message) except -1:
    """The version, random and session id that begin both hellos."""
    cdef Cursor at = message[0]
    if read_u16(message) >> 8 != 3:
        refuse_tls(&at, PROTOCOL_VERSION, "legacy_version is not one of TLS", "RFC 8446 4.1.2")
    take(message, 32)
    read_vector(message, 1, 0, 32)
    return 0


cdef int check_extensions(Cursor* block, int side, bint retry, int* current) except -1:
    """`current` is the type of the one that is looked at, -1 between them: an error is told with its name."""
    cdef Cursor at, data
    cdef Seen seen
    cdef int kind
    cdef bint ended = False
    seen.low = 0
    seen.count = 0
    while block.pos < block.end:
        at = block[0]
        kind = read_u16(block)
        data = read_vector(block, 2, 0, 65_535)
        if not is_new(&seen, kind):
            refuse_tls(&at, ILLEGAL_PARAMETER, "extension {} is there twice", "RFC 8446 4.2", kind)
        if ended:
            refuse_tls(&at, ILLEGAL_PARAMETER, "extension {} follows pre_shared_key", "RFC 8446 4.2.11", kind)
        ended = kind == PRE_SHARED_KEY and side == 0
        current[0] = kind
        check_value(layout_of(kind, side), &data, retry)
        current[0] = -1
    return 0


cdef int check_hello(Hello hello, int kind, int* current) except -1:
    """The message in `wire`, from its first byte to its last."""
    cdef Cursor message = whole_cursor(hello.wire)
    cdef Cursor compressions, at, block
    cdef bint retry = False
    message.pos += VERSION_AT
    check_head(&message)
    if kind == CLIENT_HELLO:
        read_u16s(&message, 2)
        at = message
        compressions = read_vector(&message, 1, 1, 255)
        check_compressions(&compressions)
    else:
        retry = memcmp(
            PyBytes_AS_STRING(hello.wire) + RANDOM_AT, PyBytes_AS_STRING(RETRY_RANDOM), 32
        ) == 0
        read_u16(&message)
        at = message
        if read_u8(&message) != 0:
            refuse_tls(&at, ILLEGAL_PARAMETER, "a compression method that nobody offers", "RFC 8446 4.1.3")
    hello.extensions_at = PyBytes_GET_SIZE(hello.wire)
    if message.pos < message.end:  # before TLS 1.3 they may be left off
        block = read_vector(&message, 2, 0, 65_535)
        hello.extensions_at = offset_of(&block)
        expect_end(&message)
        check_extensions(&block, 0 if kind == CLIENT_HELLO else 1, retry, current)
    if kind == CLIENT_HELLO and remaining(&compressions) != 1 and names_1_3(hello):
        refuse_tls(&at, ILLEGAL_PARAMETER, "a compression method that TLS 1.3 does not have", "RFC 8446 4.1.2")
    return 0


cdef bint names_1_3(Hello hello) except -1:
    cdef Cursor data, versions
    if find_extension(hello, SUPPORTED_VERSIONS, &data):
        versions = read_u16s(&data, 1)
        while remaining(&versions):
            if read_u16(&versions) == TLS_1_3:
                return True
    return False


cdef int check_compressions(Cursor* compressions) except -1:
    cdef Cursor c = compressions[0]
    while remaining(&c):
        if read_u8(&c) == 0:
            return 0
    return refuse_tls(compressions, ILLEGAL_PARAMETER, "the null compression method is missing", "RFC 5246 7.4.1.2")


cdef Hello decode_hello(Hello hello, object data, int kind):
    """Fill a hello that nobody else has seen; None while it is incomplete."""
    cdef bytes source = as_source(data)
    cdef Cursor c = whole_cursor(source)
    cdef Message message
    cdef Py_ssize_t size
    cdef int current = -1
    if not read_records(&c, kind, &message):
        return None
    size = RECORD_HEADER + message.size
    if message.records == 1 and message.alone:
        hello.wire = source if size == PyBytes_GET_SIZE(source) else source[:size]
    else:
        hello.wire = join_records(source, &message)
    try:
        check_hello(hello, kind, &current)
    except TlsDecodeError as error:
        problem = error
    else:
        problem = None
    if problem is not None:
        from iotwire._hellos import refuse_hello

        if message.records > 1:
            problem.offset = offset_in_records(source, &message, problem.offset)
        refuse_hello(problem, current)
    hello.begun = 1
    hello.made = 1
    return hello


# ---- ClientHello [RFC 8446 4.1.2] ------------------------------------------------------------------------------------

cdef tuple VERSIONS = tables.VERSIONS
cdef tuple SUITES_1_3 = tables.SUITES_1_3
cdef tuple SUITES_1_2 = tables.SUITES_1_2
cdef tuple SUITES_BOTH = SUITES_1_3 + SUITES_1_2
cdef tuple GROUPS = tables.GROUPS
cdef tuple SIGNATURE_ALGORITHMS = tables.SIGNATURE_ALGORITHMS
cdef tuple NULL_METHOD = (0,)


cdef tuple suites_for(tuple versions):
    if versions is VERSIONS:
        return SUITES_BOTH
    if TLS_1_3 not in versions:
        return SUITES_1_2
    return SUITES_BOTH if len(versions) > 1 else SUITES_1_3


cdef int legacy_version_for(tuple versions) except -1:
    """The highest version that may stand in legacy_version; 1.3 and later ones are named in supported_versions alone."""
    cdef int highest = 0
    cdef int version
    if versions is VERSIONS:
        return TLS_1_2
    for version in versions:
        if version > TLS_1_2 and version & 0x0F0F != 0x0A0A:
            return TLS_1_2
        if highest < version <= TLS_1_2 and version >= 0x0300:
            highest = version
    return highest or TLS_1_2


@cython.final
cdef class ClientHello(Hello):
    """The first message of a TLS client [RFC 8446 4.1.2], for TLS 1.2 and 1.3."""

    __match_args__ = ("server_name", "alpn_protocols")
    _properties = ()
    _fields = tables.ARGUMENTS

    def __init__(
        self, server_name=None, alpn_protocols=(), *, versions=VERSIONS, cipher_suites=None, groups=GROUPS,
        signature_algorithms=SIGNATURE_ALGORITHMS, session_id=b"", random=None, key_shares=(), extensions=(),
        extended_master_secret=True, max_fragment_length=None, record_size_limit=None, ec_point_formats=None,
        session_ticket=None, psk_key_exchange_modes=(), compression_methods=None, legacy_version=None,
        record_version=0x0301,
    ):
        if not try_take(&self.begun):
            refuse_state("a ClientHello is immutable: it was made before")
        cdef tuple raw = None
        cdef tuple offered = as_versions(versions)
        if extensions is not ():
            from iotwire._hellos import as_pairs, merge, versions_in

            raw = as_pairs(extensions)
            if offered is VERSIONS:
                offered = versions_in(raw) or VERSIONS
        cdef bint offers_1_3 = offered is VERSIONS or TLS_1_3 in offered
        cdef int lower = legacy_version_for(offered)
        cdef tuple suites = suites_for(offered)
        cdef tuple methods = NULL_METHOD
        cdef bytes session = as_opaque(session_id, "session_id", 0, 32)
        cdef bytes seed = urandom(32) if random is None else as_opaque(random, "random", 32, 32)
        if cipher_suites is not None:
            suites = as_tuple(cipher_suites, "cipher_suites", "int")
            if not 1 <= len(suites) <= 32_767:
                cannot_encode("cipher_suites", "must have 1 to 32767 items", "RFC 8446 4.1.2")
        if compression_methods is not None:
            methods = as_tuple(compression_methods, "compression_methods", "int")
            if 0 not in methods or len(methods) > (1 if offers_1_3 else 255):
                cannot_encode("compression_methods", "must hold 0, and with TLS 1.3 nothing else", "RFC 8446 4.1.2")

        # The extensions, in the order of the table.
        cdef list values = [
            server_name, extended_master_secret, max_fragment_length, record_size_limit, groups,
            NULL_METHOD if ec_point_formats is None else ec_point_formats, session_ticket, alpn_protocols,
            signature_algorithms, key_shares, psk_key_exchange_modes, offered,
        ]
        if key_shares is () and not offers_1_3:  # with 1.3 an empty list asks for a HelloRetryRequest [RFC 8446 4.2.8]
            values[KEY_SHARES] = None
        if len(offered) == 1 and offered[0] == lower:
            values[OFFERED_VERSIONS] = None
        cdef list given = values[:] if raw is not None else None
        cdef (Py_ssize_t)[WRITTEN] sizes
        cdef Py_ssize_t block = 0
        cdef Py_ssize_t i
        for i in range(WRITTEN):
            value = values[i]
            if value is not None:
                value = as_value(rows[i].layout[0], value, argument_of[i])
                values[i] = value
                if value is not None:
                    sizes[i] = fitting_size(rows[i].layout[0], value, argument_of[i])
                    block += 4 + sizes[i]

        cdef Py_ssize_t size = 2 + 32 + 1 + PyBytes_GET_SIZE(session) + 2 + 2 * len(suites) + 1 + len(methods)
        if block:
            size += 2 + block
        if MESSAGE_HEADER + size > MAX_HELLO:
            cannot_encode("hello", f"takes {MESSAGE_HEADER + size} bytes; at most {MAX_HELLO} are allowed", "RFC 8446 4")
        cdef bytes wire = PyBytes_FromStringAndSize(NULL, RECORD_HEADER + MESSAGE_HEADER + size)
        cdef uint8_t* at = <uint8_t*> PyBytes_AS_STRING(wire)
        at = put_record_header(at, as_int(record_version, "record_version", 0x0300, 0x03FF), MESSAGE_HEADER + size)
        at = put_u24(put_u8(at, CLIENT_HELLO), size)
        if legacy_version is not None:
            lower = as_int(legacy_version, "legacy_version", 0x0300, 0x03FF)
        at = put_u16(at, lower)
        at = put_bytes(at, PyBytes_AS_STRING(seed), 32)
        at = put_bytes(put_u8(at, PyBytes_GET_SIZE(session)), PyBytes_AS_STRING(session), PyBytes_GET_SIZE(session))
        at = put_numbers(put_u16(at, 2 * len(suites)), suites, 2, "cipher_suites")
        at = put_numbers(put_u8(at, len(methods)), methods, 1, "compression_methods")
        if block:
            at = put_u16(at, block)
        self.extensions_at = at - <uint8_t*> PyBytes_AS_STRING(wire)
        for i in range(WRITTEN):
            if values[i] is not None:
                at = put_u16(put_u16(at, rows[i].type), sizes[i])
                at = put_value(at, rows[i].layout[0], values[i], sizes[i], argument_of[i])
        assert at == <uint8_t*> PyBytes_AS_STRING(wire) + PyBytes_GET_SIZE(wire)
        self.wire = wire
        if raw is not None:
            self.wire = merge(wire, self.extensions_at, extensions_of(self), raw, given)
            must_decode(self)
        store_int(&self.made, 1)

    @staticmethod
    def decode(data):
        """The ClientHello that the TLS records in `data` begin with; None while it is incomplete.

        data: any C-contiguous buffer; what follows the last record of the hello is not looked at.
        Raises TlsDecodeError as soon as the records cannot become right, and at once for a message over 65536 bytes.
        """
        return decode_hello(ClientHello.__new__(ClientHello), data, CLIENT_HELLO)

    @property
    def cipher_suites(self):
        must_be_made(self)
        cdef Cursor c = after_session(self)
        return read_numbers(read_u16s(&c, 2), 2)

    @property
    def compression_methods(self):
        must_be_made(self)
        cdef Cursor c = after_session(self)
        read_u16s(&c, 2)
        return read_numbers(read_vector(&c, 1, 1, 255), 1)

    @property
    def versions(self):
        must_be_made(self)
        cdef Cursor data
        if find_extension(self, SUPPORTED_VERSIONS, &data):
            return read_value(SHORT_U16S, &data)
        return (min(<int> self.legacy_version, <int> TLS_1_2),)

    def __repr__(self):
        from iotwire._hellos import show_client_hello

        return show_client_hello(self)


cdef tuple as_versions(object value):
    cdef tuple versions = as_tuple(value, "versions", "int")
    if versions is VERSIONS:
        return versions
    if len(versions) == 0:
        cannot_encode("versions", "must not be empty", "RFC 8446 4.2.1")
    return tuple([as_int(version, "versions", 0, 65_535) for version in versions])


cdef int must_decode(ClientHello hello) except -1:
    """The last word on extensions that a caller gives as bytes is the decoder's."""
    cdef int current = -1
    try:
        return check_hello(hello, CLIENT_HELLO, &current)
    except TlsDecodeError as error:
        problem = error
    from iotwire._hellos import refuse_extensions

    return refuse_extensions(problem, current)


# ---- ServerHello [RFC 8446 4.1.3] ------------------------------------------------------------------------------------

@cython.final
cdef class ServerHello(Hello):
    """A server's answer to a ClientHello [RFC 8446 4.1.3]; a HelloRetryRequest is one too."""

    def __init__(self):
        refuse_state("a ServerHello is only decoded")

    @staticmethod
    def decode(data):
        """The ServerHello that the TLS records in `data` begin with; None while it is incomplete.

        data: any C-contiguous buffer; what follows the hello, in its record too, is not looked at.
        Raises TlsDecodeError as soon as the records cannot become right; an alert in its place is one, see `Alert`.
        """
        return decode_hello(ServerHello.__new__(ServerHello), data, SERVER_HELLO)

    @property
    def version(self):
        return self.supported_version or self.legacy_version

    @property
    def cipher_suite(self):
        must_be_made(self)
        cdef Cursor c = after_session(self)
        return read_u16(&c)

    @property
    def is_hello_retry_request(self):
        return self.random == RETRY_RANDOM

    @property
    def selected_group(self):
        must_be_made(self)
        cdef Cursor data
        return read_u16(&data) if find_extension(self, KEY_SHARE, &data) else None

    def __repr__(self):
        from iotwire._hellos import show_server_hello

        return show_server_hello(self)


# ---- alerts [RFC 8446 6] ---------------------------------------------------------------------------------------------

@cython.final
cdef class Alert:
    """An alert in the clear, as it is before there are keys [RFC 8446 6]."""

    __match_args__ = ("description", "level")

    cdef readonly int description
    cdef readonly int level

    def __cinit__(self, description, level=2):
        self.description = as_int(description, "description", 0, 255)
        self.level = as_int(level, "level", 1, 2)

    @property
    def name(self):
        return tables.ALERTS.get(self.description, "unassigned")

    def encode(self, record_version=0x0303):
        """The alert as a TLS record of seven bytes; record_version: 0x0300 to 0x03FF."""
        cdef bytes wire = PyBytes_FromStringAndSize(NULL, RECORD_HEADER + 2)
        cdef uint8_t* at = put_u8(<uint8_t*> PyBytes_AS_STRING(wire), ALERT)
        at = put_u16(put_u16(at, as_int(record_version, "record_version", 0x0300, 0x03FF)), 2)
        put_u8(put_u8(at, self.level), self.description)
        return wire

    @staticmethod
    def decode(data):
        """The alert that the TLS record in `data` holds; None while it is incomplete.

        data: any C-contiguous buffer; what follows the record is not looked at. Raises TlsDecodeError.
        """
        cdef bytes source = as_source(data)
        cdef Cursor c = whole_cursor(source)
        cdef Cursor at
        cdef int size = read_record_header(&c, ALERT)
        cdef int level
        if size < 0:
            return None
        if size != 2:
            refuse_tls(&c, DECODE_ERROR, "an alert of {} bytes; in the clear it has 2", "RFC 8446 6", size)
        if remaining(&c) < 2:
            return None
        at = c
        level = read_u8(&c)
        if level != 1 and level != 2:
            refuse_tls(&at, ILLEGAL_PARAMETER, "alert level {}; 1 and 2 are defined", "RFC 8446 6", level)
        return Alert(read_u8(&c), level)

    def __eq__(self, other):
        if type(other) is not Alert:
            return NotImplemented
        return self.description == (<Alert> other).description and self.level == (<Alert> other).level

    def __hash__(self):
        return self.level << 8 | self.description

    def __reduce__(self):
        return Alert, (self.description, self.level)

    def __repr__(self):
        return f"Alert({self.description}, {self.level})"


# ---- at import -------------------------------------------------------------------------------------------------------

cdef int finish_classes() except -1:
    cdef int index = 0
    cdef int side, layout
    for row in tables.EXTENSIONS:
        for side in range(2):
            name = row[4 + 2 * side]
            if name is None:
                continue
            layout = rows[index].layout[side]
            repeats = layout == U16S or layout == SHORT_U16S or layout == U8S or layout == NAMES or layout == SHARES
            absent = "()" if repeats else "False" if layout == FLAG else "None"
            add_attribute(
                ServerHello if side else ClientHello, name, f"{row[1]} [{row[2]}]; {absent} where it is absent.",
                Attribute(index << 1 | side, repeats), read_attribute,
            )
        index += 1
    add_signature(ClientHello)
    return 0

finish_classes()
