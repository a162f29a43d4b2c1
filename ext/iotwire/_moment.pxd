# cython: language_level=3, cdivision=True
"""Moments as Signature Version 4 writes them: `20240102T030405Z`. Header-only.

`datetime` is not imported for it: that takes more memory than all of signing, and who passes a datetime has it already.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t

from iotwire._emit cimport put_u8
from iotwire._faults cimport cannot_encode

cdef extern from *:
    """
    #include <datetime.h>

    /* Year to second of a datetime whose time zone is `timezone.utc` itself, as nearly all are; 0 for any other object.
       The stable API has nothing of datetime.h. */
    static CYTHON_INLINE int iotwire_utc_fields(PyObject* now, int* fields) {
    #if defined(PyDateTime_IMPORT)
        static PyDateTime_CAPI* known = NULL; /* each thread that asks first finds the same */
        PyDateTime_CAPI* api;
        (void) PyDateTimeAPI;
        #if defined(Py_GIL_DISABLED)
        api = __atomic_load_n(&known, __ATOMIC_ACQUIRE);
        #else
        api = known;
        #endif
        if (api == NULL) {
            api = (PyDateTime_CAPI*) PyCapsule_Import(PyDateTime_CAPSULE_NAME, 0);
            if (api == NULL) {
                PyErr_Clear();
                return 0;
            }
            #if defined(Py_GIL_DISABLED)
            __atomic_store_n(&known, api, __ATOMIC_RELEASE);
            #else
            known = api;
            #endif
        }
        if (!Py_IS_TYPE(now, api->DateTimeType) || PyDateTime_DATE_GET_TZINFO(now) != api->TimeZone_UTC) return 0;
        fields[0] = PyDateTime_GET_YEAR(now);
        fields[1] = PyDateTime_GET_MONTH(now);
        fields[2] = PyDateTime_GET_DAY(now);
        fields[3] = PyDateTime_DATE_GET_HOUR(now);
        fields[4] = PyDateTime_DATE_GET_MINUTE(now);
        fields[5] = PyDateTime_DATE_GET_SECOND(now);
        return 1;
    #else
        (void) now;
        (void) fields;
        return 0;
    #endif
    }
    """
    bint utc_fields "iotwire_utc_fields"(object now, int* fields) noexcept

cdef enum:
    STAMP_SIZE = 16  # of 20240102T030405Z
    DAY_SIZE = 8     # of 20240102
    DAYS_BEFORE_1970 = 719_162  # since 1 January of the year 1 of the Gregorian calendar

cdef struct Moment:
    int day  # 20240102
    uint8_t[STAMP_SIZE] stamp


cdef inline uint8_t* put_decimal(uint8_t* to, int value, int digits) noexcept:
    cdef int at
    for at in range(digits - 1, -1, -1):
        to[at] = <uint8_t> (0x30 + value % 10)
        value //= 10
    return to + digits


cdef inline void set_moment(Moment* moment, int day, int hour, int minute, int second) noexcept:
    cdef uint8_t* to = moment.stamp
    moment.day = day
    to = put_u8(put_decimal(to, day, DAY_SIZE), 0x54)
    to = put_decimal(to, hour * 10_000 + minute * 100 + second, 6)
    put_u8(to, 0x5A)


cdef inline bint is_leap(int year) noexcept:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


cdef inline int days_before_year(int year) noexcept:
    """From the year 1 on."""
    cdef int past = year - 1
    return past * 365 + past // 4 - past // 100 + past // 400


cdef inline int days_before_month(int month, bint leap) noexcept:
    """Of a year: 0, 31, 59 and so on, for 1 to 13. Months have 31 and 30 days in turn, begun anew in August."""
    cdef int days = (month - 1) * 30 + (month if month < 9 else month + 1) // 2
    return days if month < 3 else days - 1 if leap else days - 2


cdef inline int moment_at(double since_1970, Moment* moment) except -1:
    """The moment so many seconds after 1970 began, UTC."""
    cdef int64_t seconds
    cdef int days, of_day, year
    cdef int month = 1
    if not -62_135_596_800 <= since_1970 < 253_402_300_800:  # nor is it infinite, or no number
        cannot_encode("now", "must be in the years 1 to 9999, as UTC")
    seconds = <int64_t> since_1970 + DAYS_BEFORE_1970 * <int64_t> 86_400
    days = <int> (seconds // 86_400)
    of_day = <int> (seconds % 86_400)
    year = <int> (days * <int64_t> 400 // 146_097) + 1  # or one more or less: there are 146 097 days in 400 years
    while days_before_year(year + 1) <= days:
        year += 1
    while days_before_year(year) > days:
        year -= 1
    days -= days_before_year(year)
    while days_before_month(month + 1, is_leap(year)) <= days:
        month += 1
    days -= days_before_month(month, is_leap(year))
    set_moment(moment, year * 10_000 + month * 100 + days + 1, of_day // 3600, of_day // 60 % 60, of_day % 60)
    return 0


cdef inline int refuse_now(object now, bint is_datetime) except -1:
    if is_datetime:
        return cannot_encode("now", "must be an aware datetime: this one has no time zone")
    return cannot_encode("now", f"must be an aware datetime, not {type(now).__name__}")


cdef inline int read_any_datetime(object now, Moment* moment) except -1:
    """Of any time zone, and of any class that is like datetime's."""
    cdef bint is_datetime = False
    cdef bint is_aware = False
    cdef double seconds = 0
    try:
        is_aware = now.utcoffset() is not None
        # Without its microseconds: a double would round the last one of a second up from the year 2242 on.
        seconds = now.replace(microsecond=0).timestamp() if is_aware else 0
        is_datetime = True
    except (AttributeError, TypeError):
        pass
    if not is_datetime or not is_aware:
        refuse_now(now, is_datetime)
    return moment_at(seconds, moment)


cdef inline int read_moment(object now, Moment* moment) except -1:
    cdef int[6] fields
    if utc_fields(now, fields):
        set_moment(moment, fields[0] * 10_000 + fields[1] * 100 + fields[2], fields[3], fields[4], fields[5])
        return 0
    return read_any_datetime(now, moment)
