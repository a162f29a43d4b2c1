# cython: language_level=3
"""What stands in the extensions of a hello: for each layout its check, its reading and its writing. Header-only.

Which extension has which layout is in the one table of `_tls_tables.py`. What was checked is read without another look.
"""

from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memset

from iotwire._arguments cimport as_flag, as_int, as_tuple
from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE, ascii_at, bytes_at
from iotwire._cursor cimport Cursor, expect_end, read_u8, read_u16, read_u32, remaining
from iotwire._emit cimport put_binary, put_bytes, put_u8, put_u16
from iotwire._faults cimport cannot_encode, refuse_length, refuse_tls
from iotwire._vectors cimport ILLEGAL_PARAMETER, as_opaque, read_rest, read_u16s, read_vector

# ---- host names [RFC 6066 3] -----------------------------------------------------------------------------------------

cdef inline bint is_digit(int byte) noexcept:
    return 0x30 <= byte <= 0x39


cdef inline bint is_name_byte(int byte) noexcept:
    """Letters, digits, hyphen; and the underscore, which is in no host name and in many a record of the DNS."""
    return is_digit(byte) or 0x61 <= (byte | 0x20) <= 0x7A or byte == 0x2D or byte == 0x5F


cdef inline str fault_of_name(const uint8_t* name, Py_ssize_t size, bint strict):
    """What is wrong with a host name, None if nothing is.

    strict: as we write it. What peers write is taken with more kinds of bytes, and as the address that it must not be.
    """
    cdef Py_ssize_t at, label = 0
    cdef bint digits = True  # the last label is a number
    if size == 0 or size > 255:
        return "must have 1 to 255 bytes"
    for at in range(size):
        if name[at] == 0x2E:
            if at == size - 1:
                return "must not end with a dot"
            if label == 0:
                return "has an empty label"
            label = 0
            digits = True
            continue
        label += 1
        if label > 63:
            return "has a label of more than 63 bytes"
        if not is_digit(name[at]):
            digits = False
            if strict and not is_name_byte(name[at]):
                if name[at] >= 0x80:
                    return "must be ASCII: pass the A-label of an internationalised name (IDNA, xn--...)"
                if name[at] == 0x3A:
                    return "must be a host name, not an IP address literal"
                return "must be a host name: letters, digits, hyphens and dots"
            if not 0x21 <= name[at] <= 0x7E:
                return "holds a byte that is no printable ASCII"
    if strict and digits:
        return "must be a host name, not an IP address literal"
    return None


# ---- the extensions --------------------------------------------------------------------------------------------------

cdef enum Layout:
    RAW            # any bytes
    FLAG           # none
    OPAQUE         # any bytes, which are the value
    HOST           # server_name's list of names, of which one is that of a host
    NAMES          # a list of protocol names
    ONE_NAME       # such a list with one name
    U16S           # numbers of two bytes, length of two bytes
    SHORT_U16S     # numbers of two bytes, length of one byte
    U8S            # numbers of one byte, length of one byte
    U16            # a number of two bytes
    FRAGMENT_CODE  # 1 to 4: 2^9 to 2^12 bytes
    SIZE_LIMIT     # a number of two bytes, at least 64
    SHARES         # a list of (group, key)
    ONE_SHARE      # one of them, or a group alone
    VECTOR_8       # bytes, length of one byte
    VECTOR_16      # at least one byte, length of two bytes
    KEYS           # identities of pre-shared keys and their binders
    STATUS         # a kind of certificate status; for OCSP two vectors follow

cdef struct Seen:  # which two-byte numbers there were, in time that does not grow with them
    uint64_t low
    int count
    uint16_t[16] few
    uint8_t[8192] many


cdef inline bint is_new(Seen* seen, int number) noexcept:
    """Mark a number. False: it was there before."""
    cdef int i
    cdef uint64_t bit
    if number < 64:
        bit = <uint64_t> 1 << number
        if seen.low & bit:
            return False
        seen.low |= bit
        return True
    if seen.count < 16:
        for i in range(seen.count):
            if seen.few[i] == number:
                return False
        seen.few[seen.count] = number
        seen.count += 1
        if seen.count == 16:  # seldom; only now the bits are worth being cleared
            memset(seen.many, 0, sizeof(seen.many))
            for i in range(16):
                seen.many[seen.few[i] >> 3] |= 1 << (seen.few[i] & 7)
        return True
    if seen.many[number >> 3] & (1 << (number & 7)):
        return False
    seen.many[number >> 3] |= 1 << (number & 7)
    return True


# Check, read and put for each layout: the first leaves nothing that the other two would have to ask about.

cdef inline int check_value(int layout, Cursor* data, bint retry) except -1:
    """An extension's data, which ends with the cursor."""
    cdef Cursor items, at
    cdef int number
    if layout == RAW or layout == OPAQUE:
        return 0
    at = data[0]
    if layout == U16S:
        read_u16s(data, 2)
    elif layout == SHORT_U16S:
        read_u16s(data, 1)
    elif layout == U8S:
        read_vector(data, 1, 1, 255)
    elif layout == NAMES or layout == ONE_NAME:
        items = read_vector(data, 2, 2, 65_535)
        read_vector(&items, 1, 1, 255)
        if layout == ONE_NAME and remaining(&items):
            refuse_tls(&at, ILLEGAL_PARAMETER, "a server selects one protocol, not several", "RFC 7301 3.1")
        while remaining(&items):
            read_vector(&items, 1, 1, 255)
    elif layout == HOST:
        check_host(data)
    elif layout == SHARES:
        check_shares(data)
    elif layout == ONE_SHARE:
        read_u16(data)
        if not retry:
            read_vector(data, 2, 1, 65_535)
    elif layout == U16:
        read_u16(data)
    elif layout == FRAGMENT_CODE:
        number = read_u8(data)
        if not 1 <= number <= 4:
            refuse_tls(&at, ILLEGAL_PARAMETER, "code {} stands for no length; 1 to 4 do", "RFC 6066 4", number)
    elif layout == SIZE_LIMIT:
        number = read_u16(data)
        if number < 64:
            refuse_tls(&at, ILLEGAL_PARAMETER, "a limit of {} bytes; at least 64 are allowed", "RFC 8449 4", number)
    elif layout == VECTOR_8:
        read_vector(data, 1, 0, 255)
    elif layout == VECTOR_16:
        read_vector(data, 2, 1, 65_535)
    elif layout == KEYS:
        check_keys(data)
    elif layout == STATUS:
        if read_u8(data) != 1:
            data.pos = data.end  # kinds that nobody has defined
            return 0
        read_vector(data, 2, 0, 65_535)
        read_vector(data, 2, 0, 65_535)
    return expect_end(data)  # FLAG: no byte at all


cdef inline int check_host(Cursor* data) except -1:
    cdef Cursor names = read_vector(data, 2, 1, 65_535)
    cdef Cursor at, name
    cdef bint found = False
    while remaining(&names):
        at = names
        if read_u8(&names) != 0:  # kinds of names that nobody has defined, with the length that all must have
            read_vector(&names, 2, 0, 65_535)
            continue
        if found:
            refuse_tls(&at, ILLEGAL_PARAMETER, "a second name of a host", "RFC 6066 3")
        found = True
        name = read_vector(&names, 2, 1, 65_535)
        fault = fault_of_name(name.pos, remaining(&name), False)
        if fault is not None:
            refuse_tls(&name, ILLEGAL_PARAMETER, "the name " + fault, "RFC 6066 3")
    return 0


cdef inline int check_shares(Cursor* data) except -1:
    cdef Cursor shares = read_vector(data, 2, 0, 65_535)
    cdef Cursor at
    cdef Seen seen
    seen.low = 0
    seen.count = 0
    while remaining(&shares):
        at = shares
        if not is_new(&seen, read_u16(&shares)):
            refuse_tls(&at, ILLEGAL_PARAMETER, "two key shares of one group", "RFC 8446 4.2.8")
        read_vector(&shares, 2, 1, 65_535)
    return 0


cdef inline int check_keys(Cursor* data) except -1:
    cdef Cursor at = data[0]
    cdef Cursor items = read_vector(data, 2, 7, 65_535)
    cdef int count = 0
    while remaining(&items):
        read_vector(&items, 2, 1, 65_535)
        read_u32(&items)
        count += 1
    items = read_vector(data, 2, 33, 65_535)
    while remaining(&items):
        read_vector(&items, 1, 32, 255)
        count -= 1
    if count:
        refuse_tls(&at, ILLEGAL_PARAMETER, "not as many binders as identities", "RFC 8446 4.2.11")
    return 0


cdef inline tuple read_numbers(Cursor numbers, int size):
    cdef list found = []
    while remaining(&numbers):
        found.append(read_u8(&numbers) if size == 1 else read_u16(&numbers))
    return tuple(found)


cdef inline str text_of(const Cursor* c):
    return PyUnicode_DecodeLatin1(<const char*> c.pos, remaining(c), NULL)


cdef inline object read_value(int layout, Cursor* data):
    """An extension's data, which was checked, as a Python value."""
    cdef Cursor items, item
    cdef list found
    cdef int number
    if layout == FLAG:
        return True
    if layout == U16S:
        return read_numbers(read_u16s(data, 2), 2)
    if layout == SHORT_U16S:
        return read_numbers(read_u16s(data, 1), 2)
    if layout == U8S:
        return read_numbers(read_vector(data, 1, 1, 255), 1)
    if layout == NAMES or layout == ONE_NAME:
        items = read_vector(data, 2, 2, 65_535)
        found = []
        while remaining(&items):
            item = read_vector(&items, 1, 1, 255)
            found.append(text_of(&item))
        return tuple(found) if layout == NAMES else found[0]
    if layout == HOST:
        items = read_vector(data, 2, 1, 65_535)
        while remaining(&items):
            number = read_u8(&items)
            item = read_vector(&items, 2, 0, 65_535)
            if number == 0:
                return text_of(&item)
        return None
    if layout == SHARES:
        items = read_vector(data, 2, 0, 65_535)
        found = []
        while remaining(&items):
            number = read_u16(&items)
            item = read_vector(&items, 2, 1, 65_535)
            found.append((number, read_rest(&item)))
        return tuple(found)
    if layout == ONE_SHARE:
        number = read_u16(data)
        if remaining(data) == 0:
            return None
        item = read_vector(data, 2, 1, 65_535)
        return number, read_rest(&item)
    if layout == U16 or layout == SIZE_LIMIT:
        return read_u16(data)
    if layout == FRAGMENT_CODE:
        return 256 << read_u8(data)
    if layout == VECTOR_16:
        item = read_vector(data, 2, 1, 65_535)
        return read_rest(&item)
    return read_rest(data)


cdef inline tuple as_names(object value, str field):
    """Protocol names as a tuple of ASCII str and of bytes [RFC 7301 3.1]."""
    cdef tuple names = as_tuple(value, field, "str or bytes")
    cdef Py_ssize_t size = 0
    cdef list other = None
    cdef Py_ssize_t i
    cdef object name
    for i in range(len(names)):
        name = names[i]
        if ascii_at(<PyObject*> name, &size) == NULL or not name.isascii():
            if other is None:
                other = list(names)
            if isinstance(name, str):
                try:
                    name = str.encode(name, "latin-1")
                except UnicodeEncodeError:
                    name = None
                if name is None:
                    cannot_encode(field, "a str is its bytes: no character over U+00FF", "RFC 7301 3.1")
            other[i] = as_opaque(name, field, 1, 255)
        elif not 1 <= size <= 255:
            refuse_length(field, size, 1, 255)
    return names if other is None else tuple(other)


cdef inline tuple as_shares(object value, str field):
    """Key shares as a flat tuple: a group, its key, the next group."""
    cdef list shares = []
    for share in as_tuple(value, field, "(group, key) pairs"):
        pair = as_tuple(share, field, "a group and a key")
        if len(pair) != 2:
            cannot_encode(field, "each must be a pair of a group and a key", "RFC 8446 4.2.8")
        shares.append(as_int(pair[0], field, 0, 65_535))
        shares.append(as_opaque(pair[1], field, 1, 65_535))
    return tuple(shares)


cdef inline str as_host_name(object value, str field):
    """A host name as a client may send it, an exact ASCII str."""
    cdef bytes name
    if not isinstance(value, str):
        cannot_encode(field, "must be str or None")
    name = str.encode(value, "utf-8", "surrogatepass")
    fault = fault_of_name(<const uint8_t*> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), True)
    if fault is not None:
        cannot_encode(field, fault, "RFC 6066 3")
    return value if type(value) is str else str.__str__(value)


cdef inline object as_value(int layout, object value, str field):
    """A caller's value in an immutable form that `size_value` and `put_value` know, None where it is not to be sent."""
    cdef tuple items
    if layout == FLAG:
        return True if as_flag(value, field) else None
    if layout == U16S or layout == U8S or layout == SHORT_U16S:
        items = as_tuple(value, field, "int") if type(value) is not tuple else <tuple> value
        return items if len(items) else None
    if layout == NAMES:
        items = as_names(value, field)
        return items if len(items) else None
    if layout == SHARES:
        return as_shares(value, field)
    if value is None:
        return None
    if layout == HOST:
        return as_host_name(value, field)
    if layout == OPAQUE:
        return as_opaque(value, field, 0, 65_535)
    if layout == SIZE_LIMIT:
        return as_int(value, field, 64, 65_535)
    # FRAGMENT_CODE
    for code in range(1, 5):
        if value == 256 << code:
            return code
    cannot_encode(field, "must be 512, 1024, 2048 or 4096", "RFC 6066 4")


cdef inline Py_ssize_t size_of_name(object name) except -1:
    cdef Py_ssize_t size = 0
    if ascii_at(<PyObject*> name, &size) == NULL:
        bytes_at(<PyObject*> name, &size)
    return size


cdef inline int64_t size_value(int layout, object value) except -1:
    """How many bytes `put_value` writes. One key over and over again may come to more than a 32-bit size can say."""
    cdef int64_t size = 0
    cdef Py_ssize_t i
    cdef tuple items
    if layout == FLAG:
        return 0
    if layout == U16S:
        return 2 + 2 * len(<tuple> value)
    if layout == SHORT_U16S:
        return 1 + 2 * len(<tuple> value)
    if layout == U8S:
        return 1 + len(<tuple> value)
    if layout == HOST:
        return 5 + size_of_name(value)
    if layout == OPAQUE:
        return PyBytes_GET_SIZE(value)
    if layout == NAMES:
        items = <tuple> value
        for i in range(len(items)):
            size += 1 + size_of_name(items[i])
        return 2 + size
    if layout == SHARES:
        items = <tuple> value
        for i in range(1, len(items), 2):
            size += 4 + PyBytes_GET_SIZE(items[i])
        return 2 + size
    return 2 if layout == SIZE_LIMIT else 1


cdef inline uint8_t* put_numbers(uint8_t* at, tuple numbers, int size, str field) except NULL:
    cdef Py_ssize_t i
    for i in range(len(numbers)):
        if size == 1:
            at = put_u8(at, as_int(numbers[i], field, 0, 255))
        else:
            at = put_u16(at, as_int(numbers[i], field, 0, 65_535))
    return at


cdef inline uint8_t* put_name(uint8_t* at, object name, int length_bytes) noexcept:
    cdef Py_ssize_t size = 0
    cdef const char* source = ascii_at(<PyObject*> name, &size)
    if source == NULL:
        source = bytes_at(<PyObject*> name, &size)
    at = put_u8(at, size) if length_bytes == 1 else put_u16(at, size)
    return put_bytes(at, source, size)


cdef inline uint8_t* put_value(uint8_t* at, int layout, object value, Py_ssize_t size, str field) except NULL:
    """The data of an extension, `size` bytes of it."""
    cdef Py_ssize_t i
    cdef tuple items
    if layout == FLAG:
        return at
    if layout == U16S:
        return put_numbers(put_u16(at, size - 2), value, 2, field)
    if layout == SHORT_U16S:
        return put_numbers(put_u8(at, size - 1), value, 2, field)
    if layout == U8S:
        return put_numbers(put_u8(at, size - 1), value, 1, field)
    if layout == HOST:
        return put_name(put_u8(put_u16(at, size - 2), 0), value, 2)
    if layout == OPAQUE:
        return put_bytes(at, PyBytes_AS_STRING(value), size)
    if layout == NAMES:
        at = put_u16(at, size - 2)
        items = <tuple> value
        for i in range(len(items)):
            at = put_name(at, items[i], 1)
        return at
    if layout == SHARES:
        at = put_u16(at, size - 2)
        items = <tuple> value
        for i in range(0, len(items), 2):
            at = put_u16(at, <int> items[i])
            at = put_binary(at, PyBytes_AS_STRING(items[i + 1]), PyBytes_GET_SIZE(items[i + 1]))
        return at
    return put_u16(at, <int> value) if layout == SIZE_LIMIT else put_u8(at, <int> value)


cdef inline Py_ssize_t fitting_size(int layout, object value, str field) except -1:
    """`size_value`, if the lengths can say it."""
    cdef int64_t size = size_value(layout, value)
    if size > (256 if layout == SHORT_U16S or layout == U8S else 65_535):
        cannot_encode(field, f"takes {size} bytes, more than its length can say", "RFC 8446 3.4")
    return <Py_ssize_t> size
