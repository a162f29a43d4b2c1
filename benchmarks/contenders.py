"""What takes part: one statement for each operation that a library can do, in the library's own best way.

A `Contender` is a statement with the names it uses; it leaves what it made in `result`, and `outcome` turns that into
plain values that must equal everybody else's before a clock starts. Everybody gets the same inputs. Where a library has
no callable codec for an operation the answer is a `Missing` that says why: nothing is pieced together on its behalf.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from importlib.metadata import version
from typing import Any, TypeVar

from inputs import Message


class Read(Enum):
    """What is read from a packet once it is decoded."""

    NOTHING = "nothing"
    MAIN = "topic, payload and qos"
    ALL = "every field and property it carries"


@dataclass(frozen=True)
class Contender:
    """One library's way: `statement` is what is timed, exactly as it stands."""

    who: str
    statement: str
    names: Mapping[str, Any]
    outcome: Callable[[Any], Any]

    def check(self, expected: object) -> None:
        """Run the statement once and compare what it made."""
        namespace = dict(self.names)
        exec(self.statement, namespace)
        got = self.outcome(namespace["result"])
        if got != expected:
            raise AssertionError(f"{self.who}: {self.statement}\n   made {got!r}\nwanted {expected!r}")


@dataclass(frozen=True)
class Missing:
    """A library without such an operation, and why."""

    who: str
    why: str


Entry = Contender | Missing
EntryT = TypeVar("EntryT", Contender, Entry)


def same(result: Any) -> Any:
    """The outcome of an encoder: its bytes."""
    return result


class Peer(ABC):
    """A library under comparison. One that is not installed fails in its constructor."""

    name: str
    distribution: str

    def __init__(self) -> None:
        self.version = version(self.distribution)

    @abstractmethod
    def encode(self, message: Message) -> Entry:
        """Make the bytes of one PUBLISH from its arguments."""

    @abstractmethod
    def decode(self, message: Message, read: Read) -> Entry:
        """Decode one complete PUBLISH from its bytes."""

    @abstractmethod
    def decode_stream(self, messages: list[Message]) -> Entry:
        """Decode one buffer of many PUBLISH packets into a list."""

    @abstractmethod
    def encode_puback(self, packet_id: int) -> Entry:
        """Make the bytes of one PUBACK of success."""

    @abstractmethod
    def decode_pubacks(self, stream: bytes) -> Entry:
        """Decode one buffer of many PUBACK packets into a list."""

    def _contender(self, statement: str, names: Mapping[str, Any], outcome: Callable[[Any], Any] = same) -> Contender:
        return Contender(self.name, statement, names, outcome)

    def _missing(self, why: str) -> Missing:
        return Missing(self.name, why)


def arguments_of(message: Message) -> dict[str, Any]:
    """The values that encoding statements name."""
    return {
        "topic": message.topic,
        "payload": message.payload,
        "content_type": message.content_type,
        "user_properties": message.user_properties,
    }


def one_by_one(decoder: EntryT, messages: list[Message]) -> EntryT:
    """A decoder of one packet, `data`, given each of these in turn. What it made of the last one is looked at."""
    if isinstance(decoder, Missing):
        return decoder
    names = {**decoder.names, "wires": [message.wire for message in messages]}
    return replace(decoder, statement=f"for data in wires: {decoder.statement}", names=names)


def each_of(fields: Callable[[Any], tuple[object, ...]]) -> Callable[[Iterable[Any]], list[tuple[object, ...]]]:
    return lambda packets: [fields(packet) for packet in packets]


def packet_ids_of(attribute: str) -> Callable[[Iterable[Any]], list[int]]:
    return lambda packets: [getattr(packet, attribute) for packet in packets]
