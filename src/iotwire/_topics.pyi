"""Topic names and topic filters: their rules, and which matches which (MQTT 5.0, 4.7 and 4.8.2)."""

from typing import Generic, Self, TypeVar, final

_Value = TypeVar("_Value")

def validate_topic_name(topic: str) -> None:
    """Check a topic name [4.7]: 1 to 65535 bytes of UTF-8, no U+0000, no '+' and no '#'.

    Raises EncodeError that says which rule is broken.
    """

def validate_topic_filter(topic_filter: str) -> None:
    """Check a topic filter [4.7.1, 4.8.2]: wildcards only as whole levels, '#' only as the last one.

    A filter whose first level is `$share` must be `$share/{name}/{filter}`. Raises EncodeError that
    says which rule is broken.
    """

def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether `topic_filter` matches the topic name `topic` [4.7].

    The `$share/{name}/` of a shared subscription is not part of the match. A malformed filter matches nothing, and
    nothing matches a malformed name. Raises EncodeError where either is not text that MQTT can carry.
    """

@final
class TopicTree(Generic[_Value]):
    """Topic filters with a value each, and the values of all that match a topic name.

    Matching takes steps by the depth of the name, not by the number of filters. May be shared between threads: a
    call is one step to the others, but where `remove` compares values by Python code.
    """

    def __new__(cls) -> Self: ...
    def __len__(self) -> int: ...
    def add(self, topic_filter: str, value: _Value) -> None:
        """Keep `value` under `topic_filter`; the same pair may be kept more than once.

        Raises EncodeError for a malformed filter.
        """

    def remove(self, topic_filter: str, value: _Value) -> bool:
        """Take one `value` (by ==) from under `topic_filter`. False where it was not there."""

    def match(self, topic: str) -> list[_Value]:
        """The values of all filters that match: one entry for each that was added, in no set order.

        A malformed name matches nothing. Raises EncodeError where `topic` is not text that MQTT can carry.
        """
