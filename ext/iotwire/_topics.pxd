# cython: language_level=3

cdef enum FilterFault:
    NO_FAULT
    EMPTY
    MISPLACED_HASH
    MISPLACED_PLUS
    NO_SHARE_NAME
    WILDCARD_IN_SHARE_NAME
    NOTHING_SHARED

cdef FilterFault filter_fault(const char* topic_filter, Py_ssize_t size) noexcept
cdef tuple describe(FilterFault fault)
cdef str as_topic_filter(object value, str field)
cdef bint is_shared(str topic_filter) except -1


cdef class Node:
    cdef dict children  # level -> Node; '+' and '#' are levels like any other
    cdef list values


cdef class TopicTree:
    cdef Node root
    cdef Py_ssize_t count

    cdef Py_ssize_t put(self, list levels, object value, list spare) except -1
    cdef bint take_equal(self, list levels, object value) except -1
    cdef bint take(self, list levels, object value) except -1
    cdef list values_for(self, str name)
