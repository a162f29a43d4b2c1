# cython: language_level=3
"""What the modules use of CPython's C API that its stable part lacks, and what stands in for it there. Header-only.

The same sources make two kinds of module: one for a single version of Python, the fast one, and one that every later
Python loads (`Py_LIMITED_API`, PEP 384), for which setup.py's IOTWIRE_LIMITED_API asks. The second kind sees no macro that
looks into an object and no field of a type. All that it needs in their place is in this file; no other one asks which
kind it is in.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* ---- objects that are known to be of their type: in the stable API a call, which checks that again */

    #if defined(Py_LIMITED_API)
        #define PyBytes_AS_STRING(value) PyBytes_AsString(value)
        #define PyBytes_GET_SIZE(value) PyBytes_Size(value)
        #define PyTuple_SET_ITEM(tuple, index, item) ((void) PyTuple_SetItem(tuple, index, item))
    #endif

    /* The items of a tuple, borrowed: where they are, or copied to `room` by who may not know where they are. */
    static CYTHON_INLINE PyObject** iotwire_tuple_items(PyObject* tuple, PyObject** room) {
    #if defined(Py_LIMITED_API)
        Py_ssize_t index, count = PyTuple_Size(tuple);
        for (index = 0; index < count; index++) room[index] = PyTuple_GetItem(tuple, index);
        return room;
    #else
        (void) room;
        return ((PyTupleObject*) tuple)->ob_item;
    #endif
    }

    /* The value of an int of one digit, and so of every argument here but a large interval; less than 0 for anything
       else. */
    static CYTHON_INLINE int64_t iotwire_small_int(PyObject* value) {
        if (!PyLong_CheckExact(value)) return -1;
    #if defined(Py_LIMITED_API)
        int overflow;
        return PyLong_AsLongAndOverflow(value, &overflow);  /* -1 where it overflows, and no exception */
    #elif PY_VERSION_HEX >= 0x030C0000
        return PyUnstable_Long_IsCompact((PyLongObject*) value) ? PyUnstable_Long_CompactValue((PyLongObject*) value) : -1;
    #else
        return Py_SIZE(value) == 1 ? (int64_t) ((PyLongObject*) value)->ob_digit[0] : Py_SIZE(value) == 0 ? 0 : -1;
    #endif
    }

    /* ---- the characters of a str: the stable API gives them as UTF-8 alone, which an ASCII str is already */

    /* A str of our own made from bytes that should be ASCII, and in `copy` what is in it. Where a byte is not ASCII the
       str is of no use, and the first such byte of `copy` is where it is in `source`. */
    static CYTHON_INLINE PyObject* iotwire_copy_ascii(const uint8_t* source, Py_ssize_t size, const uint8_t** copy) {
    #if defined(Py_LIMITED_API)
        PyObject* text = PyUnicode_DecodeLatin1((const char*) source, size, NULL);
        if (text == NULL) return NULL;
        *copy = (const uint8_t*) PyUnicode_AsUTF8AndSize(text, NULL);
        if (*copy == NULL) Py_CLEAR(text);
        return text;
    #else
        PyObject* text = PyUnicode_New(size, 0x7F);
        if (text == NULL) return NULL;
        *copy = (const uint8_t*) PyUnicode_DATA(text);
        memcpy(PyUnicode_DATA(text), source, size);  /* no byte for the empty str, which everybody shares */
        return text;
    #endif
    }

    /* The UTF-8 form of a str where it is at hand; NULL, without an exception, where `PyUnicode_AsUTF8AndSize` has to
       make it or to say why it cannot. */
    static CYTHON_INLINE const char* iotwire_utf8_at_hand(PyObject* text, Py_ssize_t* size) {
    #if defined(Py_LIMITED_API)
        const char* utf8 = PyUnicode_AsUTF8AndSize(text, size);
        if (utf8 == NULL) PyErr_Clear();
        return utf8;
    #else
        if (!PyUnicode_IS_COMPACT_ASCII(text)) return NULL;
        *size = PyUnicode_GET_LENGTH(text);
        return (const char*) ((PyASCIIObject*) text + 1);  /* PyUnicode_DATA would ask again what kind of str it is */
    #endif
    }

    /* ---- borrowed pointers of an argument array: what is in the usual object, and NULL for any other */

    static CYTHON_INLINE const char* iotwire_ascii_at(PyObject* value, Py_ssize_t* size) {
        return PyUnicode_CheckExact(value) ? iotwire_utf8_at_hand(value, size) : NULL;
    }
    static CYTHON_INLINE const char* iotwire_bytes_at(PyObject* value, Py_ssize_t* size) {
        if (!PyBytes_CheckExact(value)) return NULL;
        *size = PyBytes_GET_SIZE(value);
        return PyBytes_AS_STRING(value);
    }

    /* ---- classes and functions that Cython made, changed while their module is imported */

    typedef void (*iotwire_free)(void*);

    #if defined(Py_LIMITED_API)
        /* Classes are made from a spec here, and open to anyone's assignments. */
        static CYTHON_INLINE int iotwire_set_in_class(PyTypeObject* cls, PyObject* name, PyObject* value) {
            return PyObject_SetAttr((PyObject*) cls, name, value);
        }
        #define iotwire_set_doc(cls, doc) ((void) (cls), (void) (doc))  /* inspect.signature then knows no signature */
        #define iotwire_set_memory(cls, allocate, release) ((void) (cls), (void) (allocate), (void) (release))
        #define iotwire_method_of(function) ((void) (function), (PyMethodDef*) NULL)
    #else
        static CYTHON_INLINE int iotwire_set_in_class(PyTypeObject* cls, PyObject* name, PyObject* value) {
            int result = PyDict_SetItem(cls->tp_dict, name, value);
            PyType_Modified(cls);
            return result;
        }
        static CYTHON_INLINE void iotwire_set_doc(PyTypeObject* cls, const char* doc) {
            cls->tp_doc = doc;
        }
        static CYTHON_INLINE void iotwire_set_memory(PyTypeObject* cls, allocfunc allocate, iotwire_free release) {
            cls->tp_alloc = allocate;
            cls->tp_free = release;
        }
        static CYTHON_INLINE PyMethodDef* iotwire_method_of(PyObject* function) {
            return ((PyCFunctionObject*) function)->m_ml;
        }
    #endif
    """
    char* PyBytes_AS_STRING(object value)
    Py_ssize_t PyBytes_GET_SIZE(object value)
    void PyTuple_SET_ITEM(object tuple, Py_ssize_t index, object item)  # takes over a reference
    PyObject** tuple_items "iotwire_tuple_items"(tuple items, PyObject** room) noexcept
    int64_t small_int "iotwire_small_int"(object value) noexcept

    str copy_ascii "iotwire_copy_ascii"(const uint8_t* source, Py_ssize_t size, const uint8_t** copy)
    const char* utf8_at_hand "iotwire_utf8_at_hand"(str text, Py_ssize_t* size) noexcept

    PyObject* Py_False  # `<PyObject*> False` is a zero in C
    const char* ascii_at "iotwire_ascii_at"(PyObject* value, Py_ssize_t* size) noexcept
    const char* bytes_at "iotwire_bytes_at"(PyObject* value, Py_ssize_t* size) noexcept
    int64_t small_int_at "iotwire_small_int"(PyObject* value) noexcept

    ctypedef struct PyTypeObject:
        pass
    ctypedef PyObject* (*allocfunc)(PyTypeObject* cls, Py_ssize_t items) noexcept
    ctypedef void (*freefunc "iotwire_free")(void* memory) noexcept
    ctypedef void* PyCFunction
    ctypedef struct PyMethodDef:
        PyCFunction ml_meth
        int ml_flags

    void set_doc "iotwire_set_doc"(type cls, const char* doc) noexcept
    void set_memory "iotwire_set_memory"(type cls, allocfunc allocate, freefunc release) noexcept
    int set_in_class "iotwire_set_in_class"(type cls, str name, object value) except -1
    PyMethodDef* method_of "iotwire_method_of"(object function) noexcept  # NULL where it is hidden
