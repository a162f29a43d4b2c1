"""What a session has to remember over the end of its process, besides the messages: so QoS 2 stays exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Change", "SessionState"]


class Change(NamedTuple):
    """Of a session's state, as `Session.take_changes` names them.

    what: "sent", with the id of a stored message; "released", "received", "completed"; "begun", where nothing that was
    kept before counts any more. packet_id: 1 to 65535, 0 for "begun".
    """

    what: str
    packet_id: int = 0
    message_id: int = 0


@dataclass
class SessionState:
    """Of the session with one server under one client id.

    name: of both. sent: packet ids of QoS 2 messages whose handshake is not over, in the order in which they were sent,
    with the message's id and whether its PUBREC has come. received: packet ids that the server has not released yet.
    """

    name: str = ""
    sent: dict[int, tuple[int, bool]] = field(default_factory=dict)
    received: set[int] = field(default_factory=set)

    def apply(self, change: Change) -> None:
        what, packet_id, message_id = change
        if what == "sent":
            self.sent.pop(packet_id, None)
            self.sent[packet_id] = (message_id, False)
        elif what == "released":
            if packet_id in self.sent:
                self.sent[packet_id] = (self.sent[packet_id][0], True)
        elif what == "received":
            self.received.add(packet_id)
        elif what == "completed":
            self.received.discard(packet_id)
        else:
            self.sent.clear()
            self.received.clear()

    def forget(self, message_ids: Iterable[int]) -> None:
        """These messages are not stored any more."""
        gone = set(message_ids)
        for packet_id in [each for each, (message_id, _) in self.sent.items() if message_id in gone]:
            del self.sent[packet_id]

    def changes(self) -> Iterator[Change]:
        """What makes this state of an empty one."""
        for packet_id, (message_id, is_released) in self.sent.items():
            yield Change("sent", packet_id, message_id)
            if is_released:
                yield Change("released", packet_id)
        for packet_id in self.received:
            yield Change("received", packet_id)
