# cython: language_level=3, boundscheck=False, wraparound=False
"""What Cython does not do for an extension class: attributes and signatures made from tables, members that CPython
reads quickly, and memory that is used again. Done once, while the class's module is imported, before anyone sees it.
"""

from cpython.object cimport PyObject
from libc.string cimport memset

from iotwire._capi cimport PyBytes_AS_STRING, PyMethodDef, PyTypeObject, method_of, set_doc, set_in_class, set_memory

cdef extern from "Python.h":
    PyObject* PyType_GenericAlloc(PyTypeObject* cls, Py_ssize_t items) noexcept
    PyObject* PyObject_Init(PyObject* memory, PyTypeObject* cls) noexcept
    void PyObject_Free(void* memory) noexcept

    ctypedef struct PyGetSetDef:
        const char* name
        Getter get
        void* set
        const char* doc
        void* closure
    object PyDescr_NewMethod(PyTypeObject* cls, PyMethodDef* method)
    object PyDescr_NewGetSet(PyTypeObject* cls, PyGetSetDef* attribute)

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        const char* name
        int type
        Py_ssize_t offset
        int flags
        const char* doc
    int T_OBJECT_EX, READONLY
    object PyDescr_NewMember(PyTypeObject* cls, PyMemberDef* member)

cdef extern from *:
    """
    #if defined(Py_GIL_DISABLED) || defined(__SANITIZE_ADDRESS__)
        #define IOTWIRE_KEEPS_SPARES 0  /* no lock guards the spares; a sanitizer wants to see every free */
    #else
        #define IOTWIRE_KEEPS_SPARES 1
    #endif
    """
    bint KEEPS_SPARES "IOTWIRE_KEEPS_SPARES"

REQUIRED = object()  # in a class's `_fields`: an argument without a default

cdef enum:
    ATTRIBUTES = 128  # over all classes, with some room
    MEMBERS = 8
    SPARES = 256

# CPython keeps pointers to these; they live as long as the classes, for ever.
cdef Attribute[ATTRIBUTES] attributes
cdef PyGetSetDef[ATTRIBUTES] getters
cdef int attribute_count = 0
cdef PyMemberDef[MEMBERS] members
cdef int member_count = 0
cdef list kept_texts = []


cdef const char* kept(str text) except NULL:
    cdef bytes encoded = text.encode()
    kept_texts.append(encoded)
    return PyBytes_AS_STRING(encoded)


cdef int add_attributes(type cls, tuple rows, Getter getter) except -1:
    """An attribute for each (identifier, name, repeats, clause), and the rows as `_properties`."""
    cdef int identifier  # formatted by C: Python's way would bring 64 KB of CPython into memory at import
    set_in_class(cls, "_properties", rows)
    for identifier, name, repeats, clause in rows:
        absent = "()" if repeats else "None"
        doc = f"Property 0x{identifier:02X} [{clause}]; {absent} where it is absent."
        add_attribute(cls, name, doc, Attribute(identifier, repeats), getter)
    return 0


cdef int add_attribute(type cls, str name, str doc, Attribute told, Getter getter) except -1:
    """A read-only attribute; `getter` gets a pointer to what it is told."""
    global attribute_count
    assert attribute_count < ATTRIBUTES
    attributes[attribute_count] = told
    getters[attribute_count] = PyGetSetDef(kept(name), getter, NULL, kept(doc), &attributes[attribute_count])
    set_in_class(cls, name, PyDescr_NewGetSet(<PyTypeObject*> cls, &getters[attribute_count]))
    attribute_count += 1
    return 0


cdef int add_signature(type cls) except -1:
    """What `inspect.signature` shows of the class, from its `__match_args__`, `_fields` and `_properties`."""
    cdef list parameters = []
    for name, default in cls._fields.items():
        if name not in cls.__match_args__ and "*" not in parameters:
            parameters.append("*")
        parameters.append(name if default is REQUIRED else f"{name}={default!r}")
    if cls._properties and "*" not in parameters:
        parameters.append("*")
    parameters.extend([f"{name}={'()' if repeats else 'None'}" for _, name, repeats, _ in cls._properties])
    set_doc(cls, kept(f"{cls.__name__}({', '.join(parameters)})\n--\n\n{cls.__doc__}"))
    return 0


cdef int add_own_method(type cls, str name) except -1:
    """Let a method that is inherited be found in the class: CPython specialises the call of that, and not of a base's."""
    cdef PyMethodDef* method = method_of(getattr(cls, name))
    if method != NULL:
        set_in_class(cls, name, PyDescr_NewMethod(<PyTypeObject*> cls, method))
    return 0


cdef int add_member(object sample, str name) except -1:
    """Let an object field be read as a slot is: CPython specialises that, and not the call of a getter.

    Cython gives no offset of a field, so it is looked for in `sample`, in which nothing else may be the same object.
    """
    global member_count
    cdef type cls = type(sample)
    cdef PyObject** words = <PyObject**> <void*> sample
    cdef Py_ssize_t count = cls.__basicsize__ // <Py_ssize_t> sizeof(PyObject*)
    cdef Py_ssize_t i
    value = getattr(sample, name)
    assert member_count < MEMBERS
    for i in range(<Py_ssize_t> sizeof(PyObject) // <Py_ssize_t> sizeof(PyObject*), count):
        if words[i] == <PyObject*> value:
            members[member_count] = PyMemberDef(kept(name), T_OBJECT_EX, i * sizeof(PyObject*), READONLY, NULL)
            set_in_class(cls, name, PyDescr_NewMember(<PyTypeObject*> cls, &members[member_count]))
            member_count += 1
            break
    return 0


# ---- memory of objects that come and go by the thousand

# PUBLISH and its acknowledgements are made and freed for every message: keeping the memory of the last ones saves a
# tenth of a decode. 256 of each are 16 KB; more gave nothing. The GIL guards them.
cdef struct Spares:
    Py_ssize_t size  # of one object
    int count
    (PyObject*)[SPARES] memory

cdef Spares publish_spares, acknowledgement_spares


cdef inline PyObject* take_spare(Spares* spares, PyTypeObject* cls) noexcept:
    cdef PyObject* memory
    if spares.count == 0:
        return PyType_GenericAlloc(cls, 0)
    spares.count -= 1
    memory = spares.memory[spares.count]
    memset(memory, 0, spares.size)
    return PyObject_Init(memory, cls)


cdef inline void keep_spare(Spares* spares, void* memory) noexcept:
    if spares.count < SPARES:
        spares.memory[spares.count] = <PyObject*> memory
        spares.count += 1
    else:
        PyObject_Free(memory)


cdef PyObject* allocate_publish(PyTypeObject* cls, Py_ssize_t items) noexcept:
    return take_spare(&publish_spares, cls)


cdef void free_publish(void* memory) noexcept:
    keep_spare(&publish_spares, memory)


cdef PyObject* allocate_acknowledgement(PyTypeObject* cls, Py_ssize_t items) noexcept:
    return take_spare(&acknowledgement_spares, cls)


cdef void free_acknowledgement(void* memory) noexcept:
    keep_spare(&acknowledgement_spares, memory)


cdef int reuse_memory(type publish, tuple acknowledgements) except -1:
    """Both must be final and without GC; the acknowledgements share their spares, so they must be of one size."""
    if not KEEPS_SPARES:
        return 0
    publish_spares.size = publish.__basicsize__
    acknowledgement_spares.size = acknowledgements[0].__basicsize__
    set_memory(publish, allocate_publish, free_publish)
    for acknowledgement in acknowledgements:
        assert acknowledgement.__basicsize__ == acknowledgement_spares.size
        set_memory(acknowledgement, allocate_acknowledgement, free_acknowledgement)
    return 0
