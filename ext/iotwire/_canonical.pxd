# cython: language_level=3
"""A request in the one form that both sides of Signature Version 4 make of it. Header-only, used by `_sigv4` alone.

Everything is a `Span` of memory that somebody else keeps: a URL is taken apart in place, query parameters and headers
are sorted as spans, and sizes are worked out before a byte is written. What a server undoes and does again (escapes in
a query) is compared and written byte by byte as it is read, so that nothing is stored in between.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport qsort
from libc.string cimport memchr, memcmp

from iotwire._emit cimport put_bytes, put_u8
from iotwire._faults cimport cannot_encode
from iotwire._percent cimport RAW, SLASH_TOO, UNRESERVED, escaped_byte, hex_value, put_percent, size_percent

cdef enum:
    HORIZONTAL_TAB = 0x09
    LINE_FEED = 0x0A
    CARRIAGE_RETURN = 0x0D
    SPACE = 0x20
    AMPERSAND = 0x26
    COMMA = 0x2C
    SLASH = 0x2F
    COLON = 0x3A
    SEMICOLON = 0x3B
    EQUALS = 0x3D
    DELETE = 0x7F

cdef struct Span:
    const uint8_t* at
    Py_ssize_t size

cdef struct Field:  # a query parameter, still escaped, or a header
    Span name
    Span value
    Py_ssize_t place           # among its like: headers of one name keep their order
    Py_ssize_t canonical_size  # of a header's value
    bint is_canonical          # a header's value needs no change

cdef struct Target:  # of a URL
    Span host      # with its port, where that is not the scheme's own: as clients write it into Host
    Span path
    Span query
    bint has_query  # a "?", even with nothing after it

cdef struct Canonical:
    Span method
    Span path
    bint encode_path
    Span query      # where it is canonical already; otherwise `at` is NULL, and it is made of `parameters`
    Field* parameters
    Py_ssize_t parameter_count
    Field* headers  # sorted
    Py_ssize_t header_count
    Span payload_hash


cdef inline Span span_of(const void* at, Py_ssize_t size) noexcept:
    cdef Span span
    span.at = <const uint8_t*> at
    span.size = size
    return span


cdef inline Span between(const uint8_t* start, const uint8_t* end) noexcept:
    return span_of(start, end - start)


cdef inline bint is_text(Span span, const char* text, Py_ssize_t size) noexcept:
    return span.size == size and memcmp(span.at, text, size) == 0


cdef inline const uint8_t* find_first(Span span, uint8_t byte) noexcept:
    """The first such byte, or the end."""
    cdef const void* found = memchr(span.at, byte, span.size) if span.size else NULL
    return <const uint8_t*> found if found != NULL else span.at + span.size


cdef inline uint8_t lower(uint8_t letter) noexcept nogil:
    return letter | 0x20 if 0x41 <= letter <= 0x5A else letter


cdef inline uint8_t* put_span(uint8_t* to, Span span) noexcept:
    return put_bytes(to, span.at, span.size)


cdef inline uint8_t* put_lower(uint8_t* to, Span span) noexcept:
    cdef Py_ssize_t at
    for at in range(span.size):
        to[at] = lower(span.at[at])
    return to + span.size


cdef inline uint8_t* put_upper(uint8_t* to, Span span) noexcept:
    cdef Py_ssize_t at
    for at in range(span.size):
        to[at] = span.at[at] & 0xDF if 0x61 <= span.at[at] <= 0x7A else span.at[at]
    return to + span.size


# ---- a URL taken apart

cdef inline int default_port(Span scheme) except 0:
    cdef uint8_t[5] name
    if scheme.size <= 5:
        put_lower(name, scheme)
        if (scheme.size == 5 and memcmp(name, b"https", 5) == 0) or (scheme.size == 3 and memcmp(name, b"wss", 3) == 0):
            return 443
        if (scheme.size == 4 and memcmp(name, b"http", 4) == 0) or (scheme.size == 2 and memcmp(name, b"ws", 2) == 0):
            return 80
    cannot_encode("url", "must begin with https://, http://, wss:// or ws://")


cdef inline bint is_host_byte(uint8_t byte, bint bracketed) noexcept:
    """Of a name or an IPv4 address, or of an IPv6 address between its brackets: what needs no escape and no IDNA."""
    if bracketed:
        return hex_value(byte) >= 0 or byte == COLON or byte == 0x2E
    return RAW[byte] & UNRESERVED and byte != 0x7E


cdef inline int check_authority(Span authority, int scheme_port, Span* host, str field) except -1:
    """host[:port], and of it what goes into a Host header."""
    cdef const uint8_t* at = authority.at
    cdef const uint8_t* end = authority.at + authority.size
    cdef bint bracketed = authority.size > 0 and at[0] == 0x5B
    cdef int colons = 0
    cdef int port = 0
    if bracketed:
        at += 1
    while at < end and is_host_byte(at[0], bracketed):
        colons += at[0] == COLON
        at += 1
    if bracketed:
        if colons < 2 or at == end or at[0] != 0x5D:
            cannot_encode(field, "must have an IPv6 address between brackets, and nothing else")
        at += 1
    if at == authority.at:
        cannot_encode(field, "has no host, or one with characters that no host name has")
    host[0] = between(authority.at, at)
    if at == end:
        return 0
    if at[0] != COLON or not 2 <= end - at <= 6:
        cannot_encode(field, "must name a host and at most a port (no user name, no character that no host name has)")
    at += 1
    while at < end:
        if not 0x30 <= at[0] <= 0x39:
            cannot_encode(field, "has a port that is no number")
        port = port * 10 + at[0] - 0x30
        at += 1
    if not 1 <= port <= 65535:
        cannot_encode(field, "has a port that is not 1 to 65535")
    if port != scheme_port:
        host[0] = authority
    return 0


cdef inline int take_apart(Span url, Target* target, str field) except -1:
    """scheme://host[:port][/path][?query], or what stands in a request line: /path[?query], which has no host."""
    cdef const uint8_t* end = url.at + url.size
    cdef const uint8_t* at = url.at
    cdef const uint8_t* start
    cdef int port
    while at < end:
        if at[0] < SPACE or at[0] == DELETE or at[0] == 0x23:
            cannot_encode(field, "must hold no control character and no fragment ('#')")
        at += 1
    at = url.at
    target.host = span_of(at, 0)
    if url.size == 0 or at[0] != SLASH:
        at = find_first(url, COLON)
        if end - at < 3 or at[1] != SLASH or at[2] != SLASH:
            cannot_encode(field, "must begin with https://, http://, wss:// or ws://")
        port = default_port(between(url.at, at))
        at += 3
        start = at
        while at < end and at[0] != SLASH and at[0] != 0x3F:
            at += 1
        check_authority(between(start, at), port, &target.host, field)
    start = at
    at = find_first(between(at, end), 0x3F)
    target.path = between(start, at)
    target.has_query = at < end
    target.query = between(at + 1, end) if at < end else span_of(end, 0)
    if target.path.size == 0:
        target.path = span_of(b"/", 1)
    return 0


# ---- the path

cdef inline bint is_dots(Span segment) noexcept:
    return is_text(segment, b".", 1) or is_text(segment, b"..", 2)


cdef inline bint is_normal(Span path) noexcept:
    """Whether no segment is empty, `.` or `..`."""
    cdef const uint8_t* end = path.at + path.size
    cdef const uint8_t* at = path.at + 1
    cdef const uint8_t* slash
    while at < end:
        slash = find_first(between(at, end), SLASH)
        if slash == at or is_dots(between(at, slash)):
            return False
        at = slash + 1
    return True


cdef inline Span normalized(Span path, uint8_t* room) noexcept:
    """RFC 3986, 5.2.4, and no empty segments; `room` is as large as the path. As AWS does it, `/a/b/..` is `/a`."""
    cdef const uint8_t* end = path.at + path.size
    cdef const uint8_t* at = path.at + 1
    cdef const uint8_t* slash
    cdef uint8_t* to = room
    while at < end:
        slash = find_first(between(at, end), SLASH)
        if is_text(between(at, slash), b"..", 2):
            while to > room:
                to -= 1
                if to[0] == SLASH:
                    break
        elif slash > at and not is_dots(between(at, slash)):
            to = put_u8(to, SLASH)
            to = put_bytes(to, at, slash - at)
        at = slash + 1
    if to == room or end[-1] == SLASH:
        to = put_u8(to, SLASH)
    return between(room, to)


# ---- the query: escapes are undone and, in capitals, done again

cdef inline int next_byte(Span* rest) noexcept nogil:
    """The next byte that is meant, or -1. A `%` that begins no escape means itself, and `+` is no space."""
    cdef int byte
    if rest.size == 0:
        return -1
    byte = escaped_byte(rest.at, rest.size)
    if byte >= 0:
        rest.at += 3
        rest.size -= 3
        return byte
    byte = rest.at[0]
    rest.at += 1
    rest.size -= 1
    return byte


cdef inline int rank(int byte) noexcept nogil:
    """Where its encoded form sorts: the end first, then `%` and two digits, then what stays as it is."""
    return byte if byte < 0 or not RAW[byte] & UNRESERVED else byte + 256


cdef inline int compare_encoded(Span one, Span other) noexcept nogil:
    cdef int byte, other_byte
    while True:
        byte = next_byte(&one)
        other_byte = next_byte(&other)
        if byte != other_byte or byte < 0:
            return rank(byte) - rank(other_byte)


cdef inline int compare_parameters(const void* one, const void* other) noexcept nogil:
    cdef const Field* field = <const Field*> one
    cdef const Field* other_field = <const Field*> other
    cdef int order = compare_encoded(field.name, other_field.name)
    return order if order else compare_encoded(field.value, other_field.value)


cdef inline bint means(Span escaped, const char* text, Py_ssize_t size) noexcept:
    """Whether this is how `text` may be written in a query."""
    cdef Py_ssize_t at
    for at in range(size):
        if next_byte(&escaped) != <uint8_t> text[at]:
            return False
    return escaped.size == 0


cdef inline Py_ssize_t count_parameters(Span query) noexcept:
    """How many there are at most."""
    cdef Py_ssize_t count = 1
    cdef Py_ssize_t at
    for at in range(query.size):
        count += query.at[at] == AMPERSAND
    return count


cdef inline Py_ssize_t read_parameters(Span query, Field* fields) noexcept:
    """The parameters in the order of their encoded forms, the signature left out; how many they are."""
    cdef const uint8_t* end = query.at + query.size
    cdef const uint8_t* at = query.at
    cdef const uint8_t* stop
    cdef const uint8_t* equals
    cdef Py_ssize_t count = 0
    cdef Field* field
    while at < end:
        stop = find_first(between(at, end), AMPERSAND)
        if stop > at:
            equals = find_first(between(at, stop), EQUALS)
            field = &fields[count]
            field.name = between(at, equals)
            field.value = between(equals + 1, stop) if equals < stop else span_of(stop, 0)
            if not means(field.name, b"X-Amz-Signature", 15):
                count += 1
        at = stop + 1
    if count > 1:
        qsort(fields, count, sizeof(Field), compare_parameters)
    return count


cdef inline Py_ssize_t size_encoded(Span escaped) noexcept:
    cdef Py_ssize_t size = 0
    cdef int byte
    while True:
        byte = next_byte(&escaped)
        if byte < 0:
            return size
        size += 1 if RAW[byte] & UNRESERVED else 3


cdef inline uint8_t* put_encoded(uint8_t* to, Span escaped) noexcept:
    cdef uint8_t byte
    while escaped.size:
        byte = <uint8_t> next_byte(&escaped)
        to = put_percent(to, &byte, 1, UNRESERVED)
    return to


# ---- headers

cdef inline bint is_token(Span name) noexcept:
    """A header's name (RFC 9110, 5.6.2)."""
    cdef Py_ssize_t at
    for at in range(name.size):
        if not RAW[name.at[at]] & UNRESERVED and memchr(b"!#$%&'*+^`|", name.at[at], 11) == NULL:
            return False
    return name.size > 0


cdef inline bint folds(Span rest) noexcept:
    """Whether the line break at the start only goes on with the value: white space follows it (RFC 9112, 5.2)."""
    cdef Py_ssize_t at = 1 if rest.at[0] == CARRIAGE_RETURN else 0
    return at + 1 < rest.size and rest.at[at] == LINE_FEED and rest.at[at + 1] in (SPACE, HORIZONTAL_TAB)


cdef inline bint measure_value(Field* field) noexcept:
    """What a header's value takes with its white space collapsed. False where it holds what no header may carry."""
    cdef Span value = field.value
    cdef Py_ssize_t size = 0
    cdef bint pending = False  # white space, which counts once something follows
    cdef Py_ssize_t at
    cdef uint8_t byte
    field.is_canonical = True
    for at in range(value.size):
        byte = value.at[at]
        if byte > SPACE and byte != DELETE:
            size += 1 + pending
            pending = False
            continue
        if byte == CARRIAGE_RETURN or (byte == LINE_FEED and not (at > 0 and value.at[at - 1] == CARRIAGE_RETURN)):
            if not folds(span_of(value.at + at, value.size - at)):
                return False
        elif byte != SPACE and byte != HORIZONTAL_TAB and byte != LINE_FEED:
            return False
        if byte != SPACE or pending or size == 0:
            field.is_canonical = False
        pending = size > 0
    field.is_canonical = field.is_canonical and not pending
    field.canonical_size = size
    return True


cdef inline uint8_t* put_value(uint8_t* to, const Field* field) noexcept:
    cdef uint8_t* start = to
    cdef bint pending = False
    cdef Py_ssize_t at
    if field.is_canonical:
        return put_span(to, field.value)
    for at in range(field.value.size):
        if field.value.at[at] <= SPACE:
            pending = to > start
        else:
            if pending:
                to = put_u8(to, SPACE)
                pending = False
            to = put_u8(to, field.value.at[at])
    return to


cdef inline int compare_names(Span one, Span other) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(min(one.size, other.size)):
        if lower(one.at[at]) != lower(other.at[at]):
            return <int> lower(one.at[at]) - <int> lower(other.at[at])
    return (one.size > other.size) - (one.size < other.size)


cdef inline int compare_headers(const void* one, const void* other) noexcept nogil:
    cdef const Field* field = <const Field*> one
    cdef const Field* other_field = <const Field*> other
    cdef int order = compare_names(field.name, other_field.name)
    return order if order else (field.place > other_field.place) - (field.place < other_field.place)


cdef inline void sort_headers(Field* headers, Py_ssize_t count) noexcept:
    if count > 1:
        qsort(headers, count, sizeof(Field), compare_headers)


cdef inline bint repeats(const Field* headers, Py_ssize_t at) noexcept:
    """Whether this sorted header has the name of the one before it."""
    return at > 0 and compare_names(headers[at].name, headers[at - 1].name) == 0


cdef inline Py_ssize_t size_signed_headers(const Field* headers, Py_ssize_t count, bint escaped) noexcept:
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t at
    for at in range(count):
        if not repeats(headers, at):
            size += 0 if at == 0 else 3 if escaped else 1
            if escaped:
                size += size_percent(headers[at].name.at, headers[at].name.size, UNRESERVED)
            else:
                size += headers[at].name.size
    return size


cdef inline uint8_t* put_signed_headers(uint8_t* to, const Field* headers, Py_ssize_t count, bint escaped) noexcept:
    """Their names in small letters, each once, between semicolons; for a query, percent-encoded."""
    cdef uint8_t separator = SEMICOLON
    cdef uint8_t letter
    cdef Py_ssize_t at, i
    for at in range(count):
        if repeats(headers, at):
            continue
        if not escaped:
            if at > 0:
                to = put_u8(to, SEMICOLON)
            to = put_lower(to, headers[at].name)
            continue
        if at > 0:
            to = put_percent(to, &separator, 1, UNRESERVED)
        for i in range(headers[at].name.size):
            letter = lower(headers[at].name.at[i])
            to = put_percent(to, &letter, 1, UNRESERVED)
    return to


# ---- all of it

cdef inline Py_ssize_t size_canonical(const Canonical* request) noexcept:
    cdef Py_ssize_t size = request.method.size + 5  # line breaks, those of the headers apart
    cdef Py_ssize_t at
    size += request.payload_hash.size
    if request.encode_path:
        size += size_percent(request.path.at, request.path.size, SLASH_TOO)
    else:
        size += request.path.size
    if request.query.at != NULL:
        size += request.query.size
    else:
        for at in range(request.parameter_count):
            size += 1 if at == 0 else 2  # "=", and "&" before all but the first
            size += size_encoded(request.parameters[at].name) + size_encoded(request.parameters[at].value)
    for at in range(request.header_count):
        size += request.headers[at].canonical_size + 1  # a comma, or a line break at the end
        if not repeats(request.headers, at):
            size += request.headers[at].name.size + 1
    return size + size_signed_headers(request.headers, request.header_count, False)


cdef inline uint8_t* put_canonical(uint8_t* to, const Canonical* request) noexcept:
    cdef Py_ssize_t at
    to = put_u8(put_upper(to, request.method), LINE_FEED)
    if request.encode_path:
        to = put_percent(to, request.path.at, request.path.size, SLASH_TOO)
    else:
        to = put_span(to, request.path)
    to = put_u8(to, LINE_FEED)
    if request.query.at != NULL:
        to = put_span(to, request.query)
    else:
        for at in range(request.parameter_count):
            if at > 0:
                to = put_u8(to, AMPERSAND)
            to = put_u8(put_encoded(to, request.parameters[at].name), EQUALS)
            to = put_encoded(to, request.parameters[at].value)
    to = put_u8(to, LINE_FEED)
    for at in range(request.header_count):
        if repeats(request.headers, at):
            to = put_u8(to, COMMA)
        else:
            if at > 0:
                to = put_u8(to, LINE_FEED)
            to = put_u8(put_lower(to, request.headers[at].name), COLON)
        to = put_value(to, &request.headers[at])
    if request.header_count > 0:
        to = put_u8(to, LINE_FEED)
    to = put_u8(to, LINE_FEED)
    to = put_u8(put_signed_headers(to, request.headers, request.header_count, False), LINE_FEED)
    return put_span(to, request.payload_hash)
