# cython: language_level=3
"""UTF-8 Encoded Strings [1.5.4] in both directions.

Most topics are ASCII and shorter than a cache line, so the fast path looks at eight bytes at a time. Everything
else takes the slow path in `_text.pyx`.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from iotwire._capi cimport copy_ascii, utf8_at_hand
from iotwire._cpu cimport NEON, SSE2, enabled
from iotwire._cursor cimport Cursor, read_u16, take
from iotwire._emit cimport put_binary

cdef enum Trait:  # what a look at some bytes found; bits of an int
    NOT_ASCII = 1
    HAS_NUL = 2        # U+0000
    HAS_WILDCARD = 4   # '+' or '#'
    ILL_FORMED = 8     # not UTF-8

cdef enum TextRule:
    ANY_TEXT          # well-formed, no U+0000 [MQTT-1.5.4-1, MQTT-1.5.4-2]
    TOPIC_NAME        # and no wildcard [MQTT-3.3.2-2]; whether it may be empty is for the packet to say

cdef str decode_not_ascii(Cursor* c, const uint8_t* source, Py_ssize_t size, TextRule rule)
cdef int refuse_text(Cursor* c, int traits) except -1
cdef int scan_utf8(const uint8_t* source, Py_ssize_t size) noexcept
cdef const char* utf8_of_not_ascii(str text, str field, Py_ssize_t* size) except NULL
cdef str as_text_slow(object value, str field, TextRule rule)
cdef int refuse_argument(str text, str field, TextRule rule) except -1

cdef extern from *:
    """
    #define IOTWIRE_EACH_BYTE(value) (UINT64_C(0x0101010101010101) * (value))

    /* Sixteen bytes in one go, a tenth of an encode. Every x86-64 and aarch64 has the registers for it, and the compiler
       may use them anywhere; on armv7 it may do so in these functions alone, and who calls them has asked the processor. */
    #if defined(__GNUC__) && (defined(__SSE2__) || defined(__ARM_NEON))
        #define IOTWIRE_HAS_VECTORS 1
        #define IOTWIRE_VECTOR_CODE
    #elif defined(__GNUC__) && defined(__arm__) && defined(__ARM_ARCH) && __ARM_ARCH >= 7 && defined(__ARM_PCS_VFP)
        #define IOTWIRE_HAS_VECTORS 1
        #if defined(__clang__)
            #define IOTWIRE_VECTOR_CODE __attribute__((target("neon,d32")))  /* d32: its registers, if -mcpu denied them */
        #else
            #define IOTWIRE_VECTOR_CODE __attribute__((target("fpu=neon")))
        #endif
    #endif
    #if defined(IOTWIRE_HAS_VECTORS)
        typedef uint8_t iotwire_vector __attribute__((vector_size(16)));

        #define IOTWIRE_ODD_IN(here) \
            ((iotwire_vector) ((here) == 0) | (iotwire_vector) (((here) & 0xF7) == 0x23) | ((here) & 0x80))

        IOTWIRE_VECTOR_CODE static CYTHON_INLINE int iotwire_is_plain(const uint8_t* source, Py_ssize_t size) {
            iotwire_vector here, odd;
            uint64_t halves[2];
            Py_ssize_t at;
            memcpy(&here, source + size - 16, 16);  /* overlaps the sixteen before it */
            odd = IOTWIRE_ODD_IN(here);
            for (at = 0; at < size - 16; at += 16) {
                memcpy(&here, source + at, 16);
                odd |= IOTWIRE_ODD_IN(here);
            }
            memcpy(halves, &odd, 16);
            return (halves[0] | halves[1]) == 0;
        }
    #else
        #define IOTWIRE_HAS_VECTORS 0
        #define iotwire_is_plain(source, size) 0
    #endif
    """
    uint64_t EACH_BYTE "IOTWIRE_EACH_BYTE"(uint64_t value) noexcept
    bint HAS_VECTORS "IOTWIRE_HAS_VECTORS"
    bint is_plain_vectors "iotwire_is_plain"(const uint8_t* source, Py_ssize_t size) noexcept  # from 16 bytes on


cdef inline uint64_t plain_lanes(uint64_t word) noexcept:
    """Bit 7 of a lane is set where its byte is plain: ASCII, and neither U+0000 nor a wildcard.

    For a byte under 0x80, byte + 0x7F has bit 7 exactly when the byte is not zero, and nothing carries; where something
    does carry, the first factor has a zero. '+' (0x2B) and '#' (0x23) differ in one bit: one comparison does for both.
    """
    return ~word & (word + EACH_BYTE(0x7F)) & (((word & EACH_BYTE(0xF7)) ^ EACH_BYTE(0x23)) + EACH_BYTE(0x7F))


cdef inline uint64_t short_word(const uint8_t* source, Py_ssize_t size) noexcept:
    """Up to seven bytes as one word, filled up with a plain letter."""
    cdef uint32_t head, tail
    if size >= 4:  # two halves that overlap
        memcpy(&head, source, 4)
        memcpy(&tail, source + size - 4, 4)
        return <uint64_t> head << 32 | tail
    if size == 0:
        return EACH_BYTE(0x61)
    # The first, the middle and the last byte are all there are.
    return EACH_BYTE(0x61) << 24 | <uint64_t> source[0] << 16 | <uint64_t> source[size >> 1] << 8 | source[size - 1]


cdef inline bint is_plain(const uint8_t* source, Py_ssize_t size) noexcept:
    """Whether all is plain: what hardly any text is not, and needs no second look."""
    cdef uint64_t plain = EACH_BYTE(0x80)
    cdef uint64_t word
    cdef Py_ssize_t at = 0
    if size < 8:
        return plain_lanes(short_word(source, size)) & plain == plain
    if HAS_VECTORS and size >= 16 and enabled & (SSE2 | NEON):
        return is_plain_vectors(source, size)
    while at < size - 8:
        memcpy(&word, source + at, 8)
        plain &= plain_lanes(word)
        at += 8
    memcpy(&word, source + size - 8, 8)  # the last word overlaps the one before it
    return plain_lanes(word) & plain == EACH_BYTE(0x80)


cdef inline int scan_text(const uint8_t* source, Py_ssize_t size) noexcept:
    """The traits of a text, for bytes that nobody else can write to."""
    return 0 if is_plain(source, size) else scan_utf8(source, size)


cdef inline int forbidden_by(TextRule rule) noexcept:
    return HAS_NUL | HAS_WILDCARD if rule == TOPIC_NAME else HAS_NUL


cdef inline str read_text(Cursor* c, TextRule rule=ANY_TEXT):
    """A UTF-8 Encoded String as a str."""
    cdef Py_ssize_t size = read_u16(c)
    cdef const uint8_t* source = take(c, size)
    cdef const uint8_t* copy = NULL
    # Copied, then checked: whatever another thread does to the source, what is in the str is what was looked at.
    cdef str text = copy_ascii(source, size, &copy)
    cdef int traits = scan_text(copy, size)
    if traits:
        if traits & (NOT_ASCII | ILL_FORMED):
            return decode_not_ascii(c, source, size, rule)
        if traits & forbidden_by(rule):
            refuse_text(c, traits)
    return text


cdef inline Py_ssize_t skip_text(Cursor* c, TextRule rule=ANY_TEXT) except -1:
    """Check a UTF-8 Encoded String in memory of our own and step over it. Its size in bytes."""
    cdef Py_ssize_t size = read_u16(c)
    cdef const uint8_t* source = take(c, size)
    cdef int traits = scan_text(source, size)
    if traits & (forbidden_by(rule) | ILL_FORMED):
        refuse_text(c, traits)
    return size


cdef inline const char* utf8_of(str text, str field, Py_ssize_t* size) except NULL:
    """The UTF-8 form of a str, kept alive by it. Raises EncodeError for a lone surrogate."""
    cdef const char* utf8 = utf8_at_hand(text, size)
    return utf8 if utf8 != NULL else utf8_of_not_ascii(text, field, size)


cdef inline const char* checked_utf8(str text, str field, TextRule rule, Py_ssize_t* size) except NULL:
    """The UTF-8 form of a caller's str: what it may hold, and at most 65535 bytes [1.5.4]."""
    cdef const char* utf8 = utf8_of(text, field, size)
    if size[0] > 65535 or scan_text(<const uint8_t*> utf8, size[0]) & forbidden_by(rule):
        refuse_argument(text, field, rule)
    return utf8


cdef inline Py_ssize_t check_text(str text, str field, TextRule rule) except -1:
    """As `checked_utf8`. Its size in bytes."""
    cdef Py_ssize_t size = 0
    checked_utf8(text, field, rule, &size)
    return size


cdef inline str as_text(object value, str field, TextRule rule):
    """A caller's text as an exact str, checked."""
    if type(value) is not str:
        return as_text_slow(value, field, rule)
    check_text(<str> value, field, rule)
    return <str> value


cdef inline Py_ssize_t size_text(str text) except -1:
    """The encoded size of a str that was checked before, its length included."""
    cdef Py_ssize_t size = 0
    utf8_of(text, "text", &size)
    return 2 + size


cdef inline uint8_t* put_text(uint8_t* at, str text) except NULL:
    cdef Py_ssize_t size = 0
    cdef const char* utf8 = utf8_of(text, "text", &size)
    return put_binary(at, utf8, size)
