# cython: language_level=3, boundscheck=False, wraparound=False
"""The slow paths of `_text.pxd`: text that is not ASCII, text that is refused, and text that a caller gives."""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t

from iotwire._cursor cimport Cursor
from iotwire._faults cimport cannot_encode, malformed


cdef str decode_not_ascii(Cursor* c, const uint8_t* source, Py_ssize_t size, TextRule rule):
    # Of a copy: CPython's decoder counts the characters first and then writes as many as it finds, and another thread may
    # write to the source in between.
    cdef bytes copy = source[:size]
    cdef str text = None
    try:
        text = PyUnicode_DecodeUTF8(<const char*> copy, size, NULL)
    except UnicodeDecodeError:
        pass
    if text is None:  # raised out here: a UnicodeDecodeError as context would carry the bytes, which may be a secret
        refuse_text(c, ILL_FORMED)
    if "\0" in text:
        refuse_text(c, HAS_NUL)
    if rule == TOPIC_NAME and ("+" in text or "#" in text):
        refuse_text(c, HAS_WILDCARD)
    return text


cdef int refuse_text(Cursor* c, int traits) except -1:
    if traits & ILL_FORMED:
        return malformed(c, "a string is not well-formed UTF-8", "MQTT-1.5.4-1")
    if traits & HAS_NUL:
        return malformed(c, "a string holds U+0000", "MQTT-1.5.4-2")
    return malformed(c, "a topic name holds a wildcard character", "MQTT-3.3.2-2")


cdef int scan_utf8(const uint8_t* source, Py_ssize_t size) noexcept:
    """Well-formed UTF-8 by Table 3-7 of the Unicode Standard: no overlong form, no surrogate, nothing over U+10FFFF."""
    cdef const uint8_t* end = source + size
    cdef int traits = 0
    cdef int lead, least, most, following
    while source < end:
        lead = source[0]
        source += 1
        if lead < 0x80:
            if lead == 0:
                traits |= HAS_NUL
            elif lead == 0x2B or lead == 0x23:
                traits |= HAS_WILDCARD
            continue
        traits |= NOT_ASCII
        if lead < 0xC2 or lead > 0xF4:
            return ILL_FORMED
        following = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
        if end - source < following:
            return ILL_FORMED
        least = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
        most = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        if not least <= source[0] <= most:
            return ILL_FORMED
        source += 1
        following -= 1
        while following:
            if source[0] & 0xC0 != 0x80:
                return ILL_FORMED
            source += 1
            following -= 1
    return traits


cdef const char* utf8_of_not_ascii(str text, str field, Py_ssize_t* size) except NULL:
    try:
        return PyUnicode_AsUTF8AndSize(text, size)
    except UnicodeEncodeError:
        pass
    cannot_encode(field, "must not hold a surrogate code point", "MQTT-1.5.4-1")


cdef str as_text_slow(object value, str field, TextRule rule):
    """Text that is not an exact str: a StrEnum, or the caller's mistake."""
    if not isinstance(value, str):
        cannot_encode(field, f"must be str, not {type(value).__name__}")
    cdef str text = str.__str__(value)
    check_text(text, field, rule)
    return text


cdef int refuse_argument(str text, str field, TextRule rule) except -1:
    """Raise what `check_text` found."""
    cdef Py_ssize_t size = 0
    utf8_of(text, field, &size)
    if size > 65535:
        cannot_encode(field, f"takes {size} bytes as UTF-8; at most 65535 are allowed", "1.5.4")
    if "\0" in text:
        cannot_encode(field, "must not hold U+0000", "MQTT-1.5.4-2")
    return cannot_encode(field, "is a topic name, which must not hold '+' or '#'", "MQTT-3.3.2-2")
