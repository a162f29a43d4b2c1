# cython: language_level=3, boundscheck=False, wraparound=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""Topic names and topic filters: their rules, and which matches which (MQTT 5.0, 4.7 and 4.8.2)."""

cimport cython
from cpython.object cimport PyObject
from libc.string cimport memchr, memcmp

from iotwire._capi cimport PyTypeObject, set_in_class
from iotwire._faults cimport cannot_encode
from iotwire._text cimport ANY_TEXT, TOPIC_NAME, as_text, utf8_of

cdef extern from "Python.h":
    PyTypeObject Py_GenericAliasType

cdef enum:
    HASH = 0x23
    PLUS = 0x2B
    SLASH = 0x2F
    DOLLAR = 0x24

cdef dict descriptions = {
    EMPTY: ("is a topic filter, which must not be empty", "MQTT-4.7.3-1"),
    MISPLACED_HASH: ("may have '#' only as its whole last level", "MQTT-4.7.1-1"),
    MISPLACED_PLUS: ("may have '+' only as a whole level", "MQTT-4.7.1-2"),
    NO_SHARE_NAME: ("is a shared subscription, $share/{name}/{filter}, without a name", "MQTT-4.8.2-1"),
    WILDCARD_IN_SHARE_NAME: ("is a shared subscription whose name holds a wildcard", "MQTT-4.8.2-2"),
    NOTHING_SHARED: ("is a shared subscription, $share/{name}/{filter}, without a filter", "MQTT-4.8.2-2"),
}


cdef tuple describe(FilterFault fault):
    """(what is wrong, clause)"""
    return <tuple> descriptions[fault]


cdef Py_ssize_t shared_prefix(const char* topic_filter, Py_ssize_t size) noexcept:
    """The length of "$share/{name}/", 0 where the filter is not shared, -1 where its name or its filter is missing."""
    cdef const char* slash
    if size < 6 or memcmp(topic_filter, b"$share", 6) != 0 or (size > 6 and topic_filter[6] != SLASH):
        return 0
    slash = <const char*> memchr(topic_filter + 7, SLASH, size - 7) if size > 7 else NULL
    if slash == NULL:
        return -1
    return slash - topic_filter + 1


cdef FilterFault filter_fault(const char* topic_filter, Py_ssize_t size) noexcept:
    """What is wrong with a topic filter: well-formed text without U+0000, checked before."""
    cdef Py_ssize_t prefix = shared_prefix(topic_filter, size)
    cdef Py_ssize_t i
    cdef bint starts, ends
    if prefix < 0:
        return NO_SHARE_NAME if size <= 7 else NOTHING_SHARED
    if prefix > 0:
        if prefix == 8:
            return NO_SHARE_NAME
        for i in range(7, prefix - 1):
            if topic_filter[i] == PLUS or topic_filter[i] == HASH:
                return WILDCARD_IN_SHARE_NAME
        if prefix == size:
            return NOTHING_SHARED
        topic_filter += prefix
        size -= prefix
    if size == 0:
        return EMPTY
    for i in range(size):
        if topic_filter[i] != PLUS and topic_filter[i] != HASH:
            continue
        starts = i == 0 or topic_filter[i - 1] == SLASH
        ends = i == size - 1
        if topic_filter[i] == HASH:
            if not (starts and ends):
                return MISPLACED_HASH
        elif not (starts and (ends or topic_filter[i + 1] == SLASH)):
            return MISPLACED_PLUS
    return NO_FAULT


cdef str as_topic_filter(object value, str field):
    """A caller's topic filter, checked."""
    cdef str topic_filter = as_text(value, field, ANY_TEXT)
    cdef Py_ssize_t size = 0
    cdef const char* utf8 = utf8_of(topic_filter, field, &size)
    cdef FilterFault fault = filter_fault(utf8, size)
    if fault != NO_FAULT:
        message, clause = describe(fault)
        cannot_encode(field, message, clause)
    return topic_filter


cdef bint is_shared(str topic_filter) except -1:
    cdef Py_ssize_t size = 0
    cdef const char* utf8 = utf8_of(topic_filter, "topic_filter", &size)
    return shared_prefix(utf8, size) > 0


cdef bint name_matches(const char* wanted, Py_ssize_t wanted_size, const char* topic, Py_ssize_t size) noexcept:
    """Whether a well-formed filter (its share prefix cut off) matches a well-formed name, a level at a time."""
    cdef Py_ssize_t f = 0  # where the next level starts in the filter
    cdef Py_ssize_t t = 0  # and in the name
    if topic[0] == DOLLAR and (wanted[0] == PLUS or wanted[0] == HASH):
        return False  # [MQTT-4.7.2-1]
    while True:
        if f < wanted_size and wanted[f] == HASH:
            return True
        if f < wanted_size and wanted[f] == PLUS:
            f += 1
            while t < size and topic[t] != SLASH:
                t += 1
        else:
            while f < wanted_size and wanted[f] != SLASH and t < size and topic[t] == wanted[f]:
                f += 1
                t += 1
        if f == wanted_size or t == size:
            break
        if wanted[f] != SLASH or topic[t] != SLASH:
            return False
        f += 1
        t += 1
    if t < size:
        return False
    # "a/#" also matches its parent "a" [4.7.1.2].
    return f == wanted_size or (wanted_size - f == 2 and wanted[f] == SLASH and wanted[f + 1] == HASH)


def validate_topic_name(topic):
    """Check a topic name (MQTT 5.0, 4.7): 1 to 65535 bytes of UTF-8, no U+0000, no '+' and no '#'.

    Raises EncodeError that says which rule is broken.
    """
    if not as_text(topic, "topic", TOPIC_NAME):
        cannot_encode("topic", "is a topic name, which must not be empty", "MQTT-4.7.3-1")


def validate_topic_filter(topic_filter):
    """Check a topic filter (MQTT 5.0, 4.7.1 and 4.8.2): wildcards only as whole levels, '#' only as the last one.

    A filter whose first level is `$share` must be `$share/{name}/{filter}`. Raises EncodeError that says which rule is
    broken.
    """
    as_topic_filter(topic_filter, "topic_filter")


def topic_matches(topic_filter, topic):
    """Whether `topic_filter` matches the topic name `topic` (MQTT 5.0, 4.7).

    The `$share/{name}/` of a shared subscription is not part of the match. A malformed filter matches nothing, and
    nothing matches a malformed name. Raises EncodeError where either is not text that MQTT can carry.
    """
    cdef str wanted = as_text(topic_filter, "topic_filter", ANY_TEXT)
    cdef str name = as_text(topic, "topic", ANY_TEXT)
    cdef Py_ssize_t wanted_size = 0, size = 0, prefix
    cdef const char* wanted_utf8 = utf8_of(wanted, "topic_filter", &wanted_size)
    cdef const char* utf8 = utf8_of(name, "topic", &size)
    if size == 0 or memchr(utf8, PLUS, size) != NULL or memchr(utf8, HASH, size) != NULL:
        return False
    if filter_fault(wanted_utf8, wanted_size) != NO_FAULT:
        return False
    prefix = shared_prefix(wanted_utf8, wanted_size)
    return name_matches(wanted_utf8 + prefix, wanted_size - prefix, utf8, size)


cdef class Node:
    """A level of a filter. Its parent has the only lasting reference to it, and Python code never sees it.

    Freeing a node frees the nodes below it. A filter may have 65536 levels and a thread's stack may be small, so that is
    done in a loop: before a node dies, its children are taken from it.
    """

    def __cinit__(self):
        self.children = {}
        self.values = []

    def __dealloc__(self):
        cdef list doomed
        cdef dict children
        cdef Node child
        if not self.children:
            return
        doomed = [self.children]
        self.children = None
        while doomed:
            children = <dict> doomed.pop()
            for child in children.values():
                if child.children:
                    doomed.append(child.children)
                    child.children = None
            # The children die with their dict, and have nothing below them any more.


cdef class TopicTree:
    """Topic filters with a value each, and the values of all that match a topic name.

    Matching takes steps by the depth of the name, not by the number of filters: at each level the literal one, '+' and
    '#' are looked up. May be shared between threads: a call is one step to the others, but where
    `remove` compares values by Python code.
    """

    def __cinit__(self):
        self.root = Node()

    def __len__(self):
        with cython.critical_section(self):
            return self.count

    def add(self, topic_filter, value):
        """Keep `value` under `topic_filter`; the same pair may be kept more than once.

        Raises EncodeError for a malformed filter.
        """
        cdef list levels = levels_of(topic_filter)
        cdef list spare = []
        cdef Py_ssize_t missing
        with cython.critical_section(self):
            missing = self.put(levels, value, spare)
            while missing:
                # Up to CPython 3.11 making an object may start a garbage collection, which may run Python code and let
                # other threads in: so nodes are made where nothing of the tree is held, and then looked for again.
                spare.extend([Node() for _ in range(missing)])
                missing = self.put(levels, value, spare)

    cdef Py_ssize_t put(self, list levels, object value, list spare) except -1:
        """Put the value in its place with nodes from `spare`, or say how many are missing. Makes no object."""
        cdef Node node = self.root
        cdef Node child
        cdef Py_ssize_t depth = 0
        cdef Py_ssize_t i
        while depth < len(levels):
            child = <Node> node.children.get(levels[depth])
            if child is None:
                break
            node = child
            depth += 1
        if len(levels) - depth > len(spare):
            return len(levels) - depth - len(spare)
        for i in range(depth, len(levels)):
            child = <Node> spare.pop()
            node.children[levels[i]] = child
            node = child
        node.values.append(value)
        self.count += 1
        return 0

    def remove(self, topic_filter, value):
        """Take one `value` (by ==) from under `topic_filter`. False where it was not there."""
        cdef list levels = levels_of(topic_filter)
        with cython.critical_section(self):
            return self.take_equal(levels, value)

    cdef bint take_equal(self, list levels, object value) except -1:
        cdef Node node = self.root
        cdef list values
        cdef Py_ssize_t i = 0
        for level in levels:
            node = <Node> node.children.get(level)
            if node is None:
                return False
        values = node.values
        while i < len(values):
            kept = values[i]
            # Comparing may run Python code, and that may change the tree, as may other threads meanwhile.
            if (kept is value or kept == value) and self.take(levels, kept):
                return True
            i += 1
        return False

    cdef bint take(self, list levels, object value) except -1:
        """Take this very object away, and the nodes that hold nothing without it. False where it is gone."""
        cdef list path = [self.root]
        cdef Node node = self.root
        cdef Py_ssize_t i
        for level in levels:
            node = <Node> node.children.get(level)
            if node is None:
                return False
            path.append(node)
        for i in range(len(node.values)):
            if node.values[i] is value:
                break
        else:
            return False
        del node.values[i]
        self.count -= 1
        for i in range(len(levels) - 1, -1, -1):
            if node.values or node.children:
                break
            node = <Node> path[i]
            del node.children[levels[i]]
        return True

    def match(self, topic):
        """The values of all filters that match `topic`: one entry for each that was added, in no set order.

        A malformed name matches nothing. Raises EncodeError where `topic` is not text that MQTT can carry.
        """
        cdef str name = as_text(topic, "topic", ANY_TEXT)
        if not name or "+" in name or "#" in name:
            return []
        with cython.critical_section(self):
            return self.values_for(name)

    cdef list values_for(self, str name):
        cdef list matched = []
        cdef list reached = [self.root]
        cdef list following
        cdef bint wildcards_apply = not name.startswith("$")  # at the first level [MQTT-4.7.2-1]
        cdef Node node, child
        for level in name.split("/"):
            following = []
            for node in reached:
                if wildcards_apply:
                    child = <Node> node.children.get("#")
                    if child is not None:
                        matched.extend(child.values)
                    child = <Node> node.children.get("+")
                    if child is not None:
                        following.append(child)
                child = <Node> node.children.get(level)
                if child is not None:
                    following.append(child)
            wildcards_apply = True
            if not following:
                return matched
            reached = following
        for node in reached:
            matched.extend(node.values)
            child = <Node> node.children.get("#")  # "a/#" also matches its parent "a" [4.7.1.2]
            if child is not None:
                matched.extend(child.values)
        return matched


cdef list levels_of(object topic_filter):
    """The levels of a checked filter, its share prefix cut off."""
    cdef str checked = as_topic_filter(topic_filter, "topic_filter")
    cdef list levels = checked.split("/")
    return levels[2:] if levels[0] == "$share" else levels


# `TopicTree[Handler]`, for type checkers.
set_in_class(TopicTree, "__class_getitem__", classmethod(<object> <PyObject*> &Py_GenericAliasType))
