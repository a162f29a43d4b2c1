# cython: language_level=3
from cpython.object cimport PyObject


cdef struct Attribute:  # what the getter of an attribute is told
    int identifier
    bint repeats

ctypedef object (*Getter)(PyObject* instance, void* closure)

cdef int add_attributes(type cls, tuple rows, Getter getter) except -1
cdef int add_attribute(type cls, str name, str doc, Attribute told, Getter getter) except -1
cdef int add_signature(type cls) except -1
cdef int add_own_method(type cls, str name) except -1
cdef int add_member(object sample, str name) except -1
cdef int reuse_memory(type publish, tuple acknowledgements) except -1
