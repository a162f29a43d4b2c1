# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""The query of a custom authorizer: its name, a token's signature and the token, percent-encoded.

It is the same text in an MQTT user name and in a URL. A token may be another one for each connection attempt, all the
rest is constant: that is checked and encoded once. What the fields may hold is for `custom_auth.py` to say; no key is in
here, and nothing is signed.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t

from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE, utf8_at_hand
from iotwire._emit cimport put_bytes
from iotwire._percent cimport UNRESERVED, put_percent, size_percent

from iotwire.errors import CredentialsError

cdef enum:
    # Of a value, before it is encoded: more does not fit into a user name, and sizes can be added up without a look at
    # each sum, on a 32-bit machine too.
    MAX_BYTES = 65535


cdef const uint8_t* utf8_of(object value, str field, Py_ssize_t* size) except NULL:
    """The UTF-8 form of a caller's str, kept alive by it."""
    cdef const char* utf8
    if not isinstance(value, str):
        raise CredentialsError(f"{field}: str is expected, not {type(value).__name__}")
    utf8 = utf8_at_hand(<str> value, size)
    if utf8 == NULL:
        try:
            utf8 = PyUnicode_AsUTF8AndSize(value, size)
        except UnicodeEncodeError:
            pass
    if utf8 == NULL:  # raised out here: a UnicodeEncodeError as context would carry the text, which may be a secret
        raise CredentialsError(f"{field}: must not hold a surrogate code point, which UTF-8 has no bytes for")
    if size[0] > MAX_BYTES:
        raise CredentialsError(f"{field}: takes {size[0]} bytes as UTF-8; at most {MAX_BYTES} are allowed")
    return <const uint8_t*> utf8


cdef bytes encoded(object value, str field):
    cdef Py_ssize_t size = 0
    cdef const uint8_t* utf8 = utf8_of(value, field, &size)
    cdef bytes text = PyBytes_FromStringAndSize(NULL, size_percent(utf8, size, UNRESERVED))
    put_percent(<uint8_t*> PyBytes_AS_STRING(text), utf8, size, UNRESERVED)
    return text


cdef inline uint8_t* put_all(uint8_t* at, bytes text) noexcept:
    return put_bytes(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


@cython.final
cdef class PreparedQuery:
    """A query of which all but the token and its signature is encoded once. Immutable; may be shared between threads."""
    cdef bytes without_token     # the whole text, where there is no token
    cdef bytes before_token      # of one that is not signed
    cdef bytes before_signature
    cdef bytes after_signature   # up to the token

    def __cinit__(self, before, authorizer_name, token_key_name):
        cdef Py_ssize_t size = 0
        cdef const uint8_t* utf8 = utf8_of(before, "username", &size)
        cdef bytes start = (<const char*> utf8)[:size]
        cdef bytes key = b"" if token_key_name is None else encoded(token_key_name, "token_key_name") + b"="
        if authorizer_name is not None:
            start += b"x-amz-customauthorizer-name=" + encoded(authorizer_name, "authorizer_name")
        self.without_token = start
        if authorizer_name is not None:
            start += b"&"
        self.before_token = start + key
        self.before_signature = start + b"x-amz-customauthorizer-signature="
        self.after_signature = b"&" + key

    def fill(self, token=None, signature=None):
        """The whole text with this token, and with its signature in base64 if it has one.

        Raises CredentialsError that names the argument, where one is not a str, has no UTF-8 form or is over 65535 bytes.
        """
        cdef Py_ssize_t token_size = 0, signature_size = 0, size
        cdef const uint8_t* token_utf8
        cdef const uint8_t* signature_utf8 = NULL
        cdef bytes text
        cdef uint8_t* at
        if token is None:
            return self.without_token.decode()
        token_utf8 = utf8_of(token, "token", &token_size)
        size = size_percent(token_utf8, token_size, UNRESERVED)
        if signature is None:
            size += PyBytes_GET_SIZE(self.before_token)
        else:
            signature_utf8 = utf8_of(signature, "token_signature", &signature_size)
            size += PyBytes_GET_SIZE(self.before_signature) + PyBytes_GET_SIZE(self.after_signature)
            size += size_percent(signature_utf8, signature_size, UNRESERVED)
        text = PyBytes_FromStringAndSize(NULL, size)
        at = <uint8_t*> PyBytes_AS_STRING(text)
        if signature is None:
            at = put_all(at, self.before_token)
        else:
            at = put_all(at, self.before_signature)
            at = put_percent(at, signature_utf8, signature_size, UNRESERVED)
            at = put_all(at, self.after_signature)
        at = put_percent(at, token_utf8, token_size, UNRESERVED)
        assert at == <uint8_t*> PyBytes_AS_STRING(text) + size
        return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(text), size, NULL)


cdef inline bint is_base64_digit(uint8_t byte) noexcept:
    return 0x41 <= byte <= 0x5A or 0x61 <= byte <= 0x7A or 0x2F <= byte <= 0x39 or byte == 0x2B  # A-Z a-z /0-9 +


def is_base64(text):
    """Whether this looks like standard base64 on one line: `[A-Za-z0-9+/]+={0,2}`, as AWS's API wants a signature.

    Raises CredentialsError for what is not a str, has no UTF-8 form or is over 65535 bytes.
    """
    cdef Py_ssize_t size = 0, at
    cdef const uint8_t* utf8 = utf8_of(text, "token_signature", &size)
    for _ in range(2):
        if size and utf8[size - 1] == 0x3D:
            size -= 1
    for at in range(size):
        if not is_base64_digit(utf8[at]):
            return False
    return size > 0
