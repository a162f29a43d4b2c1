# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""Signature Version 4 of AWS: keys, signed headers and presigned URLs. The canonical form is in `_canonical.pxd`.

A signature takes four steps: the canonical request, its hash in a string to sign, a key derived from the secret for a
day, a region and a service, and the HMAC of the one by the other. The canonical request is written once, into memory of
exactly its size, and hashed there; a key is derived once a day. What is secret is wiped before its memory is freed.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, strlen

from iotwire._arguments cimport Buffer, as_int, get_buffer, release
from iotwire._canonical cimport (
    AMPERSAND, EQUALS, LINE_FEED, SLASH, Canonical, Field, Span, Target, between, check_authority, compare_names,
    count_parameters, find_first, is_normal, is_text, is_token, means, measure_value, normalized, put_canonical,
    put_signed_headers, put_span, read_parameters, size_canonical, size_signed_headers, sort_headers, span_of,
    take_apart,
)
from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE, copy_ascii, utf8_at_hand
from iotwire._cpu cimport enabled
from iotwire._emit cimport put_bytes, put_u8
from iotwire._faults cimport cannot_encode
from iotwire._moment cimport DAY_SIZE, STAMP_SIZE, Moment, moment_at, put_decimal, read_moment
from iotwire._percent cimport UNRESERVED, put_percent, size_percent

from iotwire.errors import CredentialsError

cdef extern from "_sha256.h" nogil:
    enum:
        DIGEST_SIZE "IOTWIRE_DIGEST_SIZE"
    ctypedef struct Sha256 "iotwire_sha256":
        pass
    ctypedef struct HmacKey "iotwire_hmac_key":
        pass
    void sha256_begin "iotwire_sha256_begin"(Sha256* hash, int features)
    void sha256_add "iotwire_sha256_add"(Sha256* hash, const uint8_t* data, size_t size)
    void sha256_end "iotwire_sha256_end"(Sha256* hash, uint8_t* digest)
    void hmac_prepare "iotwire_hmac_prepare"(HmacKey* prepared, const uint8_t* key, size_t size, int features)
    void hmac_of "iotwire_hmac"(const HmacKey* key, const uint8_t* data, size_t size, uint8_t* code, int features)
    void wipe "iotwire_wipe"(void* secret, size_t size)
    bint differ "iotwire_differ"(const uint8_t* one, const uint8_t* other, size_t size)

cdef enum:
    HEX_SIZE = 64               # of a SHA-256
    LONGEST_KEY_ID = 128        # the limit of the IAM API
    LONGEST_SECRET = 1024
    LONGEST_TOKEN = 32_768
    LONGEST_SCOPE_PART = 128
    LONGEST_TEXT = 131_072      # of a URL, its host, its path, a method, a header; far from what servers take
    LONGEST_HEADER_NAME = 1_024
    MOST_HEADERS = 1_000        # these keep every sum within 31 bits
    LONGEST_EXPIRY_S = 604_800  # a week, as AWS has it
    FEW = 12                    # headers or parameters that need no memory of their own
    KEPT_KEYS = 8
    KEPT_SIGNERS = 16
    WITHOUT_GIL = 32_768        # a hash of so many bytes takes as long as giving the lock away and taking it back

# What botocore leaves unsigned: headers that proxies and HTTP clients add, change or drop.
UNSIGNED_HEADERS = frozenset([
    "authorization", "baggage", "connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization", "te",
    "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "user-agent", "x-amzn-trace-id",
])
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

# Services that sign a path as it stands, and want to see the hash of a payload: S3 and what is built like it.
cdef frozenset like_s3 = frozenset(["s3", "s3-object-lambda", "s3-outposts", "s3express"])
# Headers that a signature brings itself: what a request has of these is replaced.
cdef frozenset replaced = frozenset(["authorization", "x-amz-date", "x-amz-security-token"])

cdef const char* ALGORITHM = "AWS4-HMAC-SHA256"
cdef const char* EMPTY_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
cdef const char* HEX_DIGITS = "0123456789abcdef"


cdef inline uint8_t* put_text(uint8_t* to, const char* text) noexcept:
    return put_bytes(to, text, <Py_ssize_t> strlen(text))


cdef inline uint8_t* put_hex(uint8_t* to, const uint8_t* digest) noexcept:
    cdef int at
    for at in range(DIGEST_SIZE):
        to[0] = <uint8_t> HEX_DIGITS[digest[at] >> 4]
        to[1] = <uint8_t> HEX_DIGITS[digest[at] & 15]
        to += 2
    return to


cdef inline void hash_of(const uint8_t* data, Py_ssize_t size, uint8_t* digest) noexcept nogil:
    cdef Sha256 hash
    sha256_begin(&hash, enabled)
    sha256_add(&hash, data, size)
    sha256_end(&hash, digest)


cdef int wrong_type(str field, str wanted, object value) except -1:
    return cannot_encode(field, f"must be {wanted}, not {type(value).__name__}")


cdef Span utf8_span(str text, str field) except *:
    """The UTF-8 form of a str, which keeps it alive."""
    cdef Py_ssize_t size = 0
    cdef const char* utf8 = utf8_at_hand(text, &size)
    if utf8 == NULL:
        try:
            utf8 = PyUnicode_AsUTF8AndSize(text, &size)
        except UnicodeEncodeError:
            pass
        if utf8 == NULL:  # out here: a UnicodeEncodeError as context would carry the text, which may be secret
            cannot_encode(field, "must not hold a surrogate code point")
    return span_of(utf8, size)


cdef str as_str(object value, str field):
    """An exact str, which no code but ours is called for."""
    if type(value) is str:
        return <str> value
    if not isinstance(value, str):
        wrong_type(field, "str", value)
    return "".join(["", value])


cdef inline bint is_printable(Span text, const char* without) noexcept:
    """Whether all is ASCII that shows, and none of `without`."""
    cdef Py_ssize_t at
    cdef const char* forbidden
    for at in range(text.size):
        if not 0x20 < text.at[at] < 0x7F:
            return False
        forbidden = without
        while forbidden[0]:
            if text.at[at] == <uint8_t> forbidden[0]:
                return False
            forbidden += 1
    return True


cdef inline uint8_t* put_escaped(uint8_t* to, Span span) noexcept:
    return put_percent(to, span.at, span.size, UNRESERVED)


cdef inline Py_ssize_t size_escaped(Span span) noexcept:
    return size_percent(span.at, span.size, UNRESERVED)


# ---- who signs

cdef str credential(object value, str field, Py_ssize_t longest, const char* without):
    """A part of credentials, checked. Nothing of it is in any message."""
    cdef str text
    cdef Span span
    cdef Py_ssize_t size = 0
    if not isinstance(value, str):
        raise CredentialsError(f"{field}: must be str, not {type(value).__name__}")
    text = as_str(value, field)
    span = span_of(utf8_at_hand(text, &size), 0)
    span.size = size if span.at != NULL else 0  # what is not ASCII is refused as well
    if not 0 < span.size <= longest or not is_printable(span, without):
        raise CredentialsError(
            f"{field}: must be 1 to {longest} visible ASCII characters: no space, no line break"
            f"{' and no / or comma' if without[0] else ''}"
        )
    return text


cdef bytes escaped_bytes(Span text):
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size_escaped(text))
    put_escaped(<uint8_t*> PyBytes_AS_STRING(made), text)
    return made


@cython.final
cdef class Credentials:
    """What a request is signed with: an access key id, its secret, for temporary ones a session token.

    expiration: an aware datetime, or None where they do not expire. Immutable, equal by value; the secret and the token
    are not in the repr. Raises CredentialsError that names what is wrong.
    """

    cdef readonly str access_key_id
    cdef readonly str secret_access_key
    cdef readonly str session_token
    cdef readonly object expiration
    cdef bytes escaped_token  # as it stands in every URL that is presigned with it: made once

    __match_args__ = ("access_key_id", "secret_access_key", "session_token", "expiration")

    def __cinit__(self, access_key_id, secret_access_key, session_token=None, expiration=None):
        self.access_key_id = credential(access_key_id, "access_key_id", LONGEST_KEY_ID, b"/,")
        self.secret_access_key = credential(secret_access_key, "secret_access_key", LONGEST_SECRET, b"")
        if session_token is not None:
            self.session_token = credential(session_token, "session_token", LONGEST_TOKEN, b"")
            self.escaped_token = escaped_bytes(utf8_span(self.session_token, "session_token"))
        if expiration is not None and (not hasattr(expiration, "timestamp") or expiration.utcoffset() is None):
            raise CredentialsError("expiration: must be an aware datetime or None")
        self.expiration = expiration

    def __eq__(self, other):
        if type(other) is not Credentials:
            return NotImplemented
        return self.values() == (<Credentials> other).values()

    def __hash__(self):
        return hash(self.values())

    def __reduce__(self):
        return Credentials, self.values()

    def __repr__(self):
        token = "" if self.session_token is None else ", session_token=***"
        expiration = "" if self.expiration is None else f", expiration={self.expiration!r}"
        return f"Credentials(access_key_id={self.access_key_id!r}, secret_access_key=***{token}{expiration})"

    cdef tuple values(self):
        return self.access_key_id, self.secret_access_key, self.session_token, self.expiration


# ---- keys

@cython.final
cdef class SigningKey:
    """A key derived from a secret for a day, a region and a service. Nothing of it changes once it is made."""

    cdef str secret, region, service
    cdef int day
    cdef HmacKey key

    def __dealloc__(self):
        wipe(&self.key, sizeof(HmacKey))


cdef SigningKey derive_key(str secret, Moment* moment, str region, str service):
    cdef SigningKey made = SigningKey.__new__(SigningKey)
    cdef int features = enabled
    cdef uint8_t[4 + LONGEST_SECRET] first
    cdef uint8_t[DIGEST_SIZE] code
    cdef Span parts
    made.secret = secret
    made.region = region
    made.service = service
    made.day = moment.day
    parts = utf8_span(secret, "secret_access_key")
    put_span(put_text(first, "AWS4"), parts)
    hmac_prepare(&made.key, first, 4 + parts.size, features)
    wipe(first, sizeof(first))
    hmac_of(&made.key, moment.stamp, DAY_SIZE, code, features)
    hmac_prepare(&made.key, code, DIGEST_SIZE, features)
    parts = utf8_span(region, "region")
    hmac_of(&made.key, parts.at, parts.size, code, features)
    hmac_prepare(&made.key, code, DIGEST_SIZE, features)
    parts = utf8_span(service, "service")
    hmac_of(&made.key, parts.at, parts.size, code, features)
    hmac_prepare(&made.key, code, DIGEST_SIZE, features)
    hmac_of(&made.key, <const uint8_t*> b"aws4_request", 12, code, features)
    hmac_prepare(&made.key, code, DIGEST_SIZE, features)
    wipe(code, sizeof(code))
    return made


@cython.final
cdef class Keys:
    """The last few keys that were derived. Any number of threads may ask; two that miss the same one both derive it."""

    cdef list kept
    cdef int oldest

    def __cinit__(self):
        self.kept = []

    cdef SigningKey find(self, str secret, Moment* moment, str region, str service):
        cdef SigningKey key
        with cython.critical_section(self):
            for key in self.kept:
                if key.day == moment.day and key.secret == secret and key.region == region and key.service == service:
                    return key
        key = derive_key(secret, moment, region, service)
        with cython.critical_section(self):
            if len(self.kept) < KEPT_KEYS:
                self.kept.append(key)
            else:
                self.kept[self.oldest] = key
                self.oldest = (self.oldest + 1) % KEPT_KEYS
        return key


# ---- a request at work

@cython.final
cdef class Work:
    """One request: its spans, what keeps their memory alive, and the memory that it is written into."""

    cdef Canonical request
    cdef list kept
    cdef Field[FEW] few_headers
    cdef Field[FEW] few_parameters
    cdef Field* headers
    cdef Field* parameters
    cdef Py_ssize_t header_count, header_room
    cdef uint8_t* written
    cdef Py_ssize_t written_size
    cdef uint8_t* url
    cdef Py_ssize_t url_size
    cdef uint8_t[HEX_SIZE] payload_hash

    def __cinit__(self):
        self.kept = []
        self.headers = self.few_headers
        self.header_room = FEW
        self.parameters = self.few_parameters

    def __dealloc__(self):
        if self.written != NULL:
            wipe(self.written, self.written_size)
            PyMem_Free(self.written)
        if self.url != NULL:
            wipe(self.url, self.url_size)
            PyMem_Free(self.url)
        if self.headers != self.few_headers:
            PyMem_Free(self.headers)
        if self.parameters != self.few_parameters:
            PyMem_Free(self.parameters)

    cdef int set_method(self, object method) except -1:
        text = as_str(method, "method")
        self.kept.append(text)
        self.request.method = bounded_span(text, "method")
        if not is_token(self.request.method):
            cannot_encode("method", "must be the name of an HTTP method")
        return 0

    cdef int set_path(self, Span path, bint normalize, bint double_encode) except -1:
        cdef bytes room
        self.request.encode_path = double_encode
        self.request.path = path
        if normalize and not is_normal(path):
            room = PyBytes_FromStringAndSize(NULL, path.size)
            self.kept.append(room)
            self.request.path = normalized(path, <uint8_t*> PyBytes_AS_STRING(room))
        return 0

    cdef int set_query(self, Span query) except -1:
        cdef Py_ssize_t most = count_parameters(query)
        self.request.query = span_of(NULL, 0)
        if most > FEW:
            self.parameters = <Field*> PyMem_Malloc(most * sizeof(Field))
            if self.parameters == NULL:
                self.parameters = self.few_parameters
                raise MemoryError
        self.request.parameters = self.parameters
        self.request.parameter_count = read_parameters(query, self.parameters)
        return 0

    cdef bint take_payload_hash(self, object payload_hash) except -1:
        """Take what the headers say. False where they say nothing; what is given besides must be the same."""
        cdef Field* given = self.header("x-amz-content-sha256")
        cdef Span text
        if given == NULL:
            return False
        if not given.is_canonical or given.value.size == 0:
            cannot_encode("headers", "has an X-Amz-Content-SHA256 with white space, or without a value")
        self.request.payload_hash = given.value
        if payload_hash is not None:
            text = utf8_span(as_str(payload_hash, "payload_hash"), "payload_hash")
            if not is_text(text, <const char*> given.value.at, given.value.size):
                cannot_encode("payload_hash", "must be that of the headers' X-Amz-Content-SHA256, or None")
        return True

    cdef int set_payload_hash(self, object payload_hash, object body) except -1:
        """A given one, or that of the body."""
        if payload_hash is None:
            hash_body(body, self.payload_hash)
            self.request.payload_hash = span_of(self.payload_hash, HEX_SIZE)
            return 0
        text = as_str(payload_hash, "payload_hash")
        self.kept.append(text)
        self.request.payload_hash = utf8_span(text, "payload_hash")
        if not 0 < self.request.payload_hash.size <= 128 or not is_printable(self.request.payload_hash, b""):
            cannot_encode("payload_hash", "must be a SHA-256 in hexadecimal, or a word such as UNSIGNED-PAYLOAD")
        return 0

    cdef Field* new_header(self, Span name, Span value) except NULL:
        """Room for one more, which is signed as it stands until somebody has measured it."""
        cdef Field* moved
        cdef Field* field
        if self.header_count == self.header_room:
            moved = <Field*> PyMem_Malloc(2 * self.header_room * sizeof(Field))
            if moved == NULL:
                raise MemoryError
            memcpy(moved, self.headers, self.header_count * sizeof(Field))
            if self.headers != self.few_headers:
                PyMem_Free(self.headers)
            self.headers = moved
            self.header_room *= 2
        field = &self.headers[self.header_count]
        field.name = name
        field.value = value
        field.place = self.header_count
        field.is_canonical = True
        field.canonical_size = value.size
        self.header_count += 1
        return field

    cdef int add_header(self, Span name, Span value) except -1:
        """One that a caller gave."""
        if self.header_count >= MOST_HEADERS:
            cannot_encode("headers", "must be at most a thousand")
        if name.size > LONGEST_HEADER_NAME or value.size > LONGEST_TEXT:
            cannot_encode("headers", "must be at most 131072 bytes each, and their names 1024")
        if not is_token(name):
            cannot_encode("headers", "has a name that no header can have (RFC 9110, 5.1)")
        if not measure_value(self.new_header(name, value)):
            cannot_encode("headers", "has a value with a line break or another control character")
        return 0

    cdef int add_text(self, const char* name, Span value) except -1:
        """One of our own, of letters that show."""
        self.new_header(span_of(name, strlen(name)), value)
        return 0

    cdef Span header_text(self, object value) except *:
        """Of a name or a value that a caller gave, and that is kept."""
        if type(value) is str:
            return utf8_span(<str> value, "headers")
        if type(value) is bytes:
            return span_of(PyBytes_AS_STRING(<bytes> value), PyBytes_GET_SIZE(<bytes> value))
        if not isinstance(value, str):
            wrong_type("headers", "of str or bytes", value)
        value = as_str(value, "headers")
        self.kept.append(value)
        return utf8_span(<str> value, "headers")

    cdef int add_headers(self, object headers, frozenset left_out) except -1:
        """A mapping, or pairs, in which names may repeat."""
        if headers is None:
            return 0
        try:
            pairs = list(headers.items() if hasattr(headers, "items") else headers)
        except TypeError:
            pairs = None
        if pairs is None or isinstance(headers, (str, bytes)):
            wrong_type("headers", "a mapping or an iterable of pairs", headers)
        self.kept.append(pairs)
        for pair in pairs:
            if type(pair) is not tuple or len(<tuple> pair) != 2:
                pair = self.pair_of(pair)
            name = (<tuple> pair)[0]
            lowered = (<str> name).lower() if type(name) is str else self.lowered(name)
            if lowered not in left_out:
                self.add_header(self.header_text(name), self.header_text((<tuple> pair)[1]))
        return 0

    cdef tuple pair_of(self, object given):
        try:
            pair = tuple(given)
        except TypeError:
            pair = ()
        if len(pair) != 2 or isinstance(given, (str, bytes)):
            cannot_encode("headers", "must hold pairs of a name and a value")
        self.kept.append(pair)
        return pair

    cdef str lowered(self, object name):
        self.header_text(name)
        return name.decode("latin-1").lower() if type(name) is bytes else as_str(name, "headers").lower()

    cdef Field* header(self, const char* name) noexcept:
        cdef Py_ssize_t at
        for at in range(self.header_count):
            if compare_names(self.headers[at].name, span_of(name, strlen(name))) == 0:
                return &self.headers[at]
        return NULL

    cdef int need_host(self, Span host) except -1:
        """Sign the host of the URL, where the headers name none."""
        if self.header("host") == NULL:
            if host.size == 0:
                cannot_encode("url", "must name a host, where no Host header is given")
            self.add_text("host", host)
        return 0

    cdef int write(self) except -1:
        """The canonical request, into memory of its size."""
        cdef uint8_t* end
        self.request.headers = self.headers
        self.request.header_count = self.header_count
        self.written_size = size_canonical(&self.request)
        self.written = <uint8_t*> PyMem_Malloc(self.written_size)
        if self.written == NULL:
            raise MemoryError
        end = put_canonical(self.written, &self.request)
        assert end == self.written + self.written_size
        return 0


cdef int hash_body(object body, uint8_t* to) except -1:
    """The SHA-256 of a payload, in hexadecimal."""
    cdef Buffer view
    cdef uint8_t[DIGEST_SIZE] digest
    if body is None or (type(body) is bytes and PyBytes_GET_SIZE(<bytes> body) == 0):
        put_text(to, EMPTY_HASH)
        return 0
    get_buffer(body, "body", &view)
    try:
        if view.len > WITHOUT_GIL:
            with nogil:
                hash_of(<const uint8_t*> view.buf, view.len, digest)
        else:
            hash_of(<const uint8_t*> view.buf, view.len, digest)
    finally:
        release(&view)
    put_hex(to, digest)
    return 0


cdef inline uint8_t* put_string_to_sign(
    uint8_t* to, const uint8_t* canonical, Py_ssize_t size, Moment* moment, Span region, Span service,
) noexcept:
    cdef uint8_t[DIGEST_SIZE] digest
    hash_of(canonical, size, digest)
    to = put_u8(put_text(to, ALGORITHM), LINE_FEED)
    to = put_u8(put_bytes(to, moment.stamp, STAMP_SIZE), LINE_FEED)
    to = put_u8(put_scope(to, moment, region, service), LINE_FEED)
    return put_hex(to, digest)


cdef inline uint8_t* put_scope(uint8_t* to, Moment* moment, Span region, Span service) noexcept:
    """20240102/us-west-2/iotdata/aws4_request"""
    to = put_u8(put_bytes(to, moment.stamp, DAY_SIZE), SLASH)
    to = put_u8(put_span(to, region), SLASH)
    to = put_span(to, service)
    return put_text(to, "/aws4_request")


cdef enum:
    STRING_TO_SIGN_ROOM = 16 + 1 + STAMP_SIZE + 1 + DAY_SIZE + 1 + 2 * (LONGEST_SCOPE_PART + 1) + 12 + 1 + HEX_SIZE


cdef int put_signature(
    uint8_t* to, const uint8_t* canonical, Py_ssize_t size, Moment* moment, Span region, Span service, SigningKey key,
) except -1:
    """The signature, in hexadecimal."""
    cdef uint8_t[STRING_TO_SIGN_ROOM] text
    cdef uint8_t[DIGEST_SIZE] code
    cdef uint8_t* end = put_string_to_sign(text, canonical, size, moment, region, service)
    hmac_of(&key.key, text, end - text, code, enabled)
    put_hex(to, code)
    return 0


cdef str scope_part(object value, str field):
    """A region or a service: it becomes a part of a path, of a header and of a URL."""
    cdef str text = as_str(value, field)
    cdef Span span = utf8_span(text, field)
    if not 0 < span.size <= LONGEST_SCOPE_PART or not is_printable(span, b"/,"):
        cannot_encode(field, "must be 1 to 128 visible ASCII characters, without '/' and ','")
    return text


cdef Credentials as_credentials(object value):
    if type(value) is not Credentials:
        wrong_type("credentials", "Credentials", value)
    return <Credentials> value


cdef Span bounded_span(str text, str field) except *:
    cdef Span span = utf8_span(text, field)
    if span.size > LONGEST_TEXT:
        cannot_encode(field, "must be at most 131072 bytes")
    return span


# ---- the signer

cdef int refuse_signed(Span query) except -1:
    """Refuse to sign a URL that is signed already: a name that comes twice means what each server takes it for."""
    cdef const uint8_t* end = query.at + query.size
    cdef const uint8_t* at = query.at
    cdef const uint8_t* stop
    cdef Span name
    while at < end:
        stop = find_first(between(at, end), AMPERSAND)
        name = between(at, find_first(between(at, stop), EQUALS))
        if (
            means(name, b"X-Amz-Algorithm", 15) or means(name, b"X-Amz-Credential", 16)
            or means(name, b"X-Amz-Date", 10) or means(name, b"X-Amz-Expires", 13)
            or means(name, b"X-Amz-SignedHeaders", 19) or means(name, b"X-Amz-Security-Token", 20)
            or means(name, b"X-Amz-Signature", 15)
        ):
            cannot_encode("url", "is signed already: it has a parameter of a signature")
        at = stop + 1
    return 0


@cython.final
cdef class Signer:
    """Signs requests to one service in one region. The keys it derives are kept, and it may be shared between threads.

    double_encode_path: whether a path is percent-encoded once more than on the wire, as all services but S3 want it.
    normalize_path: whether `.`, `..` and empty segments are resolved first, as all but S3 do.
    content_sha256_header: whether `sign_headers` adds X-Amz-Content-SHA256, which S3 needs. None means what is usual
    for `service`. unsigned_headers: names of headers that are not signed.
    Raises EncodeError for a region or a service that cannot be part of a scope.
    """

    cdef readonly str region
    cdef readonly str service
    cdef bint double_encode, normalize, content_header, is_like_s3
    cdef frozenset unsigned, unsigned_or_replaced
    cdef Keys keys

    def __cinit__(
        self, region, service, *, double_encode_path=None, normalize_path=None, content_sha256_header=None,
        unsigned_headers=UNSIGNED_HEADERS,
    ):
        self.region = scope_part(region, "region")
        self.service = scope_part(service, "service")
        self.is_like_s3 = self.service in like_s3
        self.double_encode = not self.is_like_s3 if double_encode_path is None else bool(double_encode_path)
        self.normalize = not self.is_like_s3 if normalize_path is None else bool(normalize_path)
        self.content_header = self.is_like_s3 if content_sha256_header is None else bool(content_sha256_header)
        self.unsigned = as_names(unsigned_headers)
        self.unsigned_or_replaced = self.unsigned | replaced
        self.keys = Keys.__new__(Keys)

    def __repr__(self):
        return f"Signer(region={self.region!r}, service={self.service!r})"

    def sign_headers(
        self, method, url, headers, body, credentials, *, now, sign_session_token=True, payload_hash=None,
    ):
        """The headers to add to a request: Authorization, X-Amz-Date, and with a session token X-Amz-Security-Token.

        url: as it is sent, percent-encoded; its host is signed where `headers` has none. headers: a mapping, or pairs,
        in which names may repeat; all are signed but the signer's `unsigned_headers`, and an X-Amz-Date or
        X-Amz-Security-Token among them is for the caller to replace. An X-Amz-Content-SHA256 stands for the body's
        hash. body: bytes-like, or None. now: an aware datetime. sign_session_token: whether the token's header is
        signed.
        payload_hash: the body's SHA-256 in hexadecimal, or `UNSIGNED_PAYLOAD`, where the body is not at hand; it is
        added as X-Amz-Content-SHA256. Raises EncodeError that names the argument.
        """
        cdef Credentials who = as_credentials(credentials)
        cdef Work work = Work.__new__(Work)
        cdef str text = as_str(url, "url")
        cdef Target target
        cdef Moment moment
        cdef dict added
        take_apart(bounded_span(text, "url"), &target, "url")
        read_moment(now, &moment)
        work.set_method(method)
        work.set_path(target.path, self.normalize, self.double_encode)
        work.set_query(target.query)
        work.add_headers(headers, self.unsigned_or_replaced)
        work.need_host(target.host)
        work.add_text("x-amz-date", span_of(moment.stamp, STAMP_SIZE))
        added = {"X-Amz-Date": ascii_of(moment.stamp, STAMP_SIZE)}
        if who.session_token is not None:
            added["X-Amz-Security-Token"] = who.session_token
            if sign_session_token:
                work.add_text("x-amz-security-token", utf8_span(who.session_token, "session_token"))
        if not work.take_payload_hash(payload_hash):
            work.set_payload_hash(payload_hash, body)
            if self.content_header or payload_hash is not None:
                work.add_text("x-amz-content-sha256", work.request.payload_hash)
                added["X-Amz-Content-SHA256"] = ascii_of(work.request.payload_hash.at, work.request.payload_hash.size)
        sort_headers(work.headers, work.header_count)
        work.write()
        added["Authorization"] = self.authorization(work, who, &moment)
        return added

    cdef str authorization(self, Work work, Credentials who, Moment* moment):
        cdef Span access_key = utf8_span(who.access_key_id, "access_key_id")
        cdef Span region = utf8_span(self.region, "region")
        cdef Span service = utf8_span(self.service, "service")
        cdef SigningKey key = self.keys.find(who.secret_access_key, moment, self.region, self.service)
        cdef uint8_t* to
        work.url_size = (
            <Py_ssize_t> strlen("AWS4-HMAC-SHA256 Credential=////aws4_request, SignedHeaders=, Signature=")
            + access_key.size + DAY_SIZE + region.size + service.size
            + size_signed_headers(work.headers, work.header_count, False) + HEX_SIZE
        )
        work.url = <uint8_t*> PyMem_Malloc(work.url_size)
        if work.url == NULL:
            raise MemoryError
        to = put_text(put_text(work.url, ALGORITHM), " Credential=")
        to = put_u8(put_span(to, access_key), SLASH)
        to = put_text(put_scope(to, moment, region, service), ", SignedHeaders=")
        to = put_text(put_signed_headers(to, work.headers, work.header_count, False), ", Signature=")
        assert to + HEX_SIZE == work.url + work.url_size
        put_signature(to, work.written, work.written_size, moment, region, service, key)
        return ascii_of(work.url, work.url_size)

    def presign_url(
        self, method, url, credentials, *, now, expires=None, sign_session_token=True, headers=(), body=b"",
        payload_hash=None,
    ):
        """`url` with a signature in its query, which whoever has it may use: keep it as secret as a password.

        url: as it is sent, percent-encoded; it may have a query. now: an aware datetime. expires: 1 to 604800 seconds
        from then on, or None to leave it to the service. sign_session_token: whether a session token is signed like
        the rest, or appended after the signature, as AWS IoT wants it for WebSockets.
        headers: what the request will be sent with and has to be signed besides Host. body, payload_hash: as of
        `sign_headers`; S3 does not sign the payload. Raises EncodeError that names the argument.
        """
        cdef Work work = Work.__new__(Work)
        cdef str text = as_str(url, "url")
        cdef Span span = bounded_span(text, "url")
        cdef Target target
        cdef Moment moment
        take_apart(span, &target, "url")
        if target.host.size == 0:
            cannot_encode("url", "must begin with https://, http://, wss:// or ws://")
        refuse_signed(target.query)
        read_moment(now, &moment)
        work.set_method(method)
        work.add_headers(headers, self.unsigned)
        work.need_host(target.host)
        work.set_payload_hash(UNSIGNED_PAYLOAD if payload_hash is None and self.is_like_s3 else payload_hash, body)
        return self.presign(
            work, &span, 1, &target, as_credentials(credentials), &moment, expiry(expires), bool(sign_session_token)
        )

    cdef str presign(
        self, Work work, Span* pieces, int count, Target* target, Credentials who, Moment* moment, int expires,
        bint sign_token,
    ):
        """The URL that `pieces` make, and its signature."""
        cdef Span access_key = utf8_span(who.access_key_id, "access_key_id")
        cdef Span region = utf8_span(self.region, "region")
        cdef Span service = utf8_span(self.service, "service")
        cdef Span token = span_of(NULL, 0)
        cdef SigningKey key
        cdef Py_ssize_t size
        cdef uint8_t* to
        cdef uint8_t* query
        cdef uint8_t* signed
        cdef int digits = 1 if expires < 10 else 2 if expires < 100 else 3 if expires < 1000 else 4
        cdef int at
        if expires >= 10_000:
            digits = 5 if expires < 100_000 else 6
        if who.session_token is not None:
            token = span_of(PyBytes_AS_STRING(who.escaped_token), PyBytes_GET_SIZE(who.escaped_token))
        sort_headers(work.headers, work.header_count)
        size = (
            <Py_ssize_t> strlen("?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%2F%2F%2F%2Faws4_request")
            + <Py_ssize_t> strlen("&X-Amz-Date=&X-Amz-SignedHeaders=&X-Amz-Signature=")
            + size_escaped(access_key) + DAY_SIZE + size_escaped(region) + size_escaped(service) + STAMP_SIZE
            + size_signed_headers(work.headers, work.header_count, True) + HEX_SIZE
        )
        for at in range(count):
            size += pieces[at].size
        if expires:
            size += <Py_ssize_t> strlen("&X-Amz-Expires=") + digits
        if token.size:
            size += <Py_ssize_t> strlen("&X-Amz-Security-Token=") + token.size
        if target.has_query and target.query.size == 0:
            size -= 1  # a "?" is there, and nothing that a "&" would be needed for
        work.url_size = size
        work.url = <uint8_t*> PyMem_Malloc(size)
        if work.url == NULL:
            raise MemoryError
        to = work.url
        for at in range(count):
            to = put_span(to, pieces[at])
        query = to - target.query.size
        if not target.has_query:
            to = put_u8(to, 0x3F)
            query = to
        elif target.query.size:
            to = put_u8(to, AMPERSAND)
        to = put_text(put_text(put_text(to, "X-Amz-Algorithm="), ALGORITHM), "&X-Amz-Credential=")
        to = put_text(put_escaped(to, access_key), "%2F")
        to = put_text(put_bytes(to, moment.stamp, DAY_SIZE), "%2F")
        to = put_text(put_escaped(to, region), "%2F")
        to = put_text(put_escaped(to, service), "%2Faws4_request&X-Amz-Date=")
        to = put_bytes(to, moment.stamp, STAMP_SIZE)
        if expires:
            to = put_decimal(put_text(to, "&X-Amz-Expires="), expires, digits)
        to = put_text(to, "&X-Amz-SignedHeaders=")
        to = put_signed_headers(to, work.headers, work.header_count, True)
        if token.size and sign_token:
            to = put_span(put_text(to, "&X-Amz-Security-Token="), token)
        signed = to
        work.set_path(target.path, self.normalize, self.double_encode)
        if target.query.size == 0 and not (token.size and sign_token):
            work.request.query = between(query, signed)  # these are in order and encoded as they have to be
        else:
            work.set_query(between(query, signed))
        work.write()
        key = self.keys.find(who.secret_access_key, moment, self.region, self.service)
        to = put_text(to, "&X-Amz-Signature=")
        put_signature(to, work.written, work.written_size, moment, region, service, key)
        to += HEX_SIZE
        if token.size and not sign_token:
            to = put_span(put_text(to, "&X-Amz-Security-Token="), token)
        assert to == work.url + work.url_size
        return PyUnicode_DecodeUTF8(<const char*> work.url, work.url_size, NULL)


cdef inline str ascii_of(const uint8_t* source, Py_ssize_t size):
    cdef const uint8_t* copy = NULL
    return copy_ascii(source, size, &copy)


cdef frozenset as_names(object names):
    """Names of headers in small letters."""
    if type(names) is frozenset and names is UNSIGNED_HEADERS:
        return <frozenset> names
    if isinstance(names, (str, bytes)) or not hasattr(names, "__iter__"):
        wrong_type("unsigned_headers", "an iterable of str", names)
    return frozenset([as_str(name, "unsigned_headers").lower() for name in names])


cdef inline int expiry(object expires) except -1:
    """0 where there is none."""
    return 0 if expires is None else <int> as_int(expires, "expires", 1, LONGEST_EXPIRY_S)


# ---- AWS IoT's own URL

# There is no clock in here: `iotwire.sigv4` lends one, once, for those who give no `now`.
cdef object clock = None


def lend_clock(given):
    """Take a function without arguments that gives the seconds since 1970."""
    global clock
    clock = given


# By (region, service). A dict may be shared between threads; the variable is set once.
cdef dict mqtt_signers = {}


cdef Signer mqtt_signer(str region, str service):
    found = mqtt_signers.get((region, service))
    if found is None:
        found = Signer(region, service)
        if len(mqtt_signers) >= KEPT_SIGNERS:
            mqtt_signers.clear()
        mqtt_signers[(region, service)] = found
    return <Signer> found


def presign_mqtt_url(
    host, region, credentials, *, now=None, port=443, path="/mqtt", service="iotdevicegateway", expires=86400,
):
    """The wss:// URL of MQTT over WebSockets, signed: whoever has it may connect, so keep it as secret as a password.

    host: a name or an IP address, signed as it stands; where `port` is not 443, the Host header has to have it too.
    now: an aware datetime; None means now, by this machine's clock. path: as it is sent, percent-encoded, no query.
    expires: 1 to 604800 seconds, or None to leave it to the service. A session token is appended unsigned, as AWS IoT
    wants it. Make a new one for each attempt to connect. Raises EncodeError that names the argument.
    """
    cdef Credentials who = as_credentials(credentials)
    cdef Signer signer = mqtt_signer(as_str(region, "region"), as_str(service, "service"))
    cdef Work work = Work.__new__(Work)
    cdef str host_text = as_str(host, "host")
    cdef str path_text = as_str(path, "path")
    cdef int port_number = <int> as_int(port, "port", 1, 65535)
    cdef Span[3] pieces
    cdef Target target
    cdef Moment moment
    if ":" in host_text and not host_text.startswith("["):
        host_text = f"[{host_text}]"
    pieces[1] = bounded_span(host_text, "host")
    check_authority(pieces[1], 443, &target.host, "host")
    if host_text.startswith("[") and not host_text.endswith("]"):
        cannot_encode("host", "must be without a port, which is an argument of its own")
    if port_number != 443:
        host_text = f"{host_text}:{port_number}"
        pieces[1] = utf8_span(host_text, "host")
    target.host = pieces[1]
    pieces[0] = span_of(b"wss://", 6)
    pieces[2] = bounded_span(path_text, "path")
    if not path_text.startswith("/") or "?" in path_text:
        cannot_encode("path", "must begin with '/' and have no query")
    if now is None:
        moment_at(clock(), &moment)
    else:
        read_moment(now, &moment)
    take_apart(pieces[2], &target, "path")
    target.host = pieces[1]
    work.request.method = span_of(b"GET", 3)
    work.add_text("host", target.host)
    work.request.payload_hash = span_of(EMPTY_HASH, HEX_SIZE)
    return signer.presign(work, pieces, 3, &target, who, &moment, expiry(expires), False)


# ---- the stages, for tests, for support, and for the side that verifies

def canonical_request(
    method, url, headers=(), body=b"", *, payload_hash=None, double_encode_path=True, normalize_path=True,
    unsigned_headers=UNSIGNED_HEADERS,
):
    """The canonical request as text, which a server that refuses a signature may show too, to be compared.

    url: whole, or as in a request line, where `headers` have a Host. All headers are signed but `unsigned_headers`, and
    an X-Amz-Signature in the query is left out. The other arguments are those of `Signer`. Raises EncodeError that
    names the argument.
    """
    cdef Work work = Work.__new__(Work)
    cdef str text = as_str(url, "url")
    cdef Target target
    take_apart(bounded_span(text, "url"), &target, "url")
    work.set_method(method)
    work.set_path(target.path, bool(normalize_path), bool(double_encode_path))
    work.set_query(target.query)
    work.add_headers(headers, as_names(unsigned_headers))
    work.need_host(target.host)
    if not work.take_payload_hash(payload_hash):
        work.set_payload_hash(payload_hash, body)
    sort_headers(work.headers, work.header_count)
    work.write()
    return PyUnicode_DecodeUTF8(<const char*> work.written, work.written_size, "surrogateescape")


cdef bytes text_to_sign(object canonical, object now, object region, object service, Moment* moment):
    cdef bytes request = as_str(canonical, "canonical").encode("utf-8", "surrogateescape")
    cdef uint8_t[STRING_TO_SIGN_ROOM] text
    cdef uint8_t* end
    read_moment(now, moment)
    end = put_string_to_sign(
        text, <const uint8_t*> PyBytes_AS_STRING(request), PyBytes_GET_SIZE(request), moment,
        utf8_span(scope_part(region, "region"), "region"), utf8_span(scope_part(service, "service"), "service"),
    )
    return PyBytes_FromStringAndSize(<const char*> text, end - text)


def string_to_sign(canonical, now, region, service):
    """The string to sign of a canonical request: algorithm, time, scope and the request's hash.

    now: an aware datetime. Raises EncodeError that names the argument.
    """
    cdef Moment moment
    return text_to_sign(canonical, now, region, service, &moment).decode()


cdef Keys server_keys = Keys()  # of the side that verifies


def is_signature(signature, credentials, canonical, now, region, service):
    """Whether `signature`, 64 hexadecimal digits, is that of the canonical request. The right one is never shown."""
    cdef Moment moment
    cdef Credentials who = as_credentials(credentials)
    cdef Span given = utf8_span(as_str(signature, "signature"), "signature")
    cdef bytes text = text_to_sign(canonical, now, region, service, &moment)
    cdef uint8_t[DIGEST_SIZE] code
    cdef uint8_t[HEX_SIZE] right
    cdef SigningKey key = server_keys.find(
        who.secret_access_key, &moment, as_str(region, "region"), as_str(service, "service")
    )
    hmac_of(&key.key, <const uint8_t*> PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), code, enabled)
    put_hex(right, code)
    same = given.size == HEX_SIZE and not differ(right, given.at, HEX_SIZE)
    wipe(right, HEX_SIZE)
    wipe(code, DIGEST_SIZE)
    return same


def sha256(*pieces):
    """The SHA-256 of the pieces together, each bytes-like: for tests of every path, and benchmarks."""
    cdef uint8_t[DIGEST_SIZE] digest
    cdef Buffer view
    cdef Sha256 hash
    sha256_begin(&hash, enabled)
    for piece in pieces:
        get_buffer(piece, "pieces", &view)
        sha256_add(&hash, <const uint8_t*> view.buf, view.len)
        release(&view)
    sha256_end(&hash, digest)
    return PyBytes_FromStringAndSize(<const char*> digest, DIGEST_SIZE)


def hmac_sha256(key, data):
    """The HMAC of `data`: for tests of every path."""
    cdef uint8_t[DIGEST_SIZE] code
    cdef Buffer view
    cdef HmacKey prepared
    get_buffer(key, "key", &view)
    hmac_prepare(&prepared, <const uint8_t*> view.buf, view.len, enabled)
    release(&view)
    get_buffer(data, "data", &view)
    hmac_of(&prepared, <const uint8_t*> view.buf, view.len, code, enabled)
    release(&view)
    wipe(&prepared, sizeof(HmacKey))
    return PyBytes_FromStringAndSize(<const char*> code, DIGEST_SIZE)
