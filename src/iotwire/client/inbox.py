"""Where received messages wait for the application, and which of them wait where. Nothing here waits by itself.

Memory is bounded in two ways. A QoS 0 message that finds no room is dropped, or pushes out the oldest one, and is
counted; or the client stops reading, as the application chose. A QoS 1 or 2 message is always taken, but while it
stands beyond the bound its acknowledgement is withheld (its `Hold` is held); the server may have only so many messages
unacknowledged, so it stops sending.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias

from ..errors import ConnectionLostError, EncodeError
from ..mqtt import Publish, TopicTree, topic_matches, validate_topic_filter
from .options import in_range

__all__ = ["Callback", "Distributor", "Hold", "Inbox", "WhenFull"]

_log = logging.getLogger("iotwire.client")

WhenFull: TypeAlias = Literal["drop_oldest", "drop_newest", "pause"]

# What a message occupies beside its topic and payload, roughly: the packet, its strings, its place in a queue.
MESSAGE_OVERHEAD_BYTES = 256
# Topics whose takers are remembered.
KNOWN_TOPICS = 1024


class Waiter(Protocol):
    """Whoever waits for something: an asyncio.Future, or what a thread waits on."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...


class Hold:
    """The acknowledgement of one message: due as soon as nobody holds it."""

    __slots__ = ("_acknowledge", "_distributor", "holders", "is_manual", "message", "size")

    def __init__(self, message: Publish, acknowledge: Callable[[Publish], None], distributor: Distributor) -> None:
        self.message = message
        self.holders = 1  # whoever made it
        self.is_manual = False
        self.size = 0  # as it counts in the distributor's `withheld_bytes`
        self._acknowledge = acknowledge
        self._distributor = distributor

    def release(self) -> None:
        self.holders -= 1
        if not self.holders:
            self.uncount()
            self._acknowledge(self.message)

    def uncount(self) -> None:
        self._distributor.withheld_bytes -= self.size
        self.size = 0


class Taker(Protocol):
    """Where a message may go."""

    topic_filter: str | None
    is_manual: bool
    is_abandoned: bool

    def put(self, message: Publish, hold: Hold | None) -> None:
        """Take a message. hold: None for QoS 0."""


class Callback:
    """A function that is called with each message, at once."""

    def __init__(self, topic_filter: str | None, function: Callable[[Publish], Any], *, is_manual: bool) -> None:
        if topic_filter is not None:
            validate_topic_filter(topic_filter)
        self.topic_filter = topic_filter
        self.is_manual = is_manual
        self.is_abandoned = False
        self._function = function

    def put(self, message: Publish, hold: Hold | None) -> None:  # noqa: ARG002 -- it is done with when this returns
        try:
            self._function(message)
        except Exception:  # noqa: BLE001 -- the application's own
            _log.exception("the callback for a message on %s failed", message.topic)


_Entry: TypeAlias = tuple[int, int, Publish, Hold | None]  # number, size, message, what it holds back
_EMPTY: deque[_Entry] = deque()  # of an inbox that never had any


class Inbox:
    """A bounded queue of messages for one reader or several."""

    __slots__ = (
        "__weakref__",
        "_assured",
        "_best_effort",
        "_beyond",
        "_bytes",
        "_distributor",
        "_full_since",
        "_is_ended",
        "_make_error",
        "_max_bytes",
        "_max_messages",
        "_messages",
        "_next_number",
        "_when_full",
        "dropped",
        "is_abandoned",
        "is_manual",
        "on_arrival",
        "peak",
        "readers",
        "topic_filter",
    )

    def __init__(
        self,
        distributor: Distributor,
        topic_filter: str | None,
        max_messages: int,
        max_bytes: int,
        when_full: WhenFull = "drop_oldest",
        *,
        is_manual: bool = False,
    ) -> None:
        self.topic_filter = topic_filter
        self.is_manual = is_manual
        self.dropped = 0
        self.peak = 0
        self.is_abandoned = False
        self.readers: deque[Waiter] | None = None
        self.on_arrival: Callable[[], None] | None = None  # called where no reader waits
        self._distributor = distributor
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._full_since = 0  # the batch of messages that filled it, where reading pauses for it; 0 while there is room
        self._messages = 0  # within the bound
        self._bytes = 0
        self._next_number = 0
        # Two queues, ordered together by number, so that the oldest QoS 0 message is at hand.
        self._best_effort: deque[_Entry] = deque()
        self._assured = _EMPTY
        self._beyond = 0  # how many of _assured, its last ones, hold their acknowledgements
        self._is_ended = False
        self._make_error: Callable[[], ConnectionLostError] | None = None

    def __len__(self) -> int:
        return len(self._best_effort) + (len(self._assured) if self._assured else 0)

    def put(self, message: Publish, hold: Hold | None) -> None:
        """Take a message. hold: None for QoS 0, which is dropped where neither room nor an older one is found."""
        size = len(message.topic) + len(message.payload) + MESSAGE_OVERHEAD_BYTES
        if self._messages and (self._messages >= self._max_messages or self._bytes + size > self._max_bytes):
            # A message larger than the whole bound still gets through an empty queue.
            if hold is not None:
                self._hold_back(message, size, hold)
                return
            if not self._make_room(size):
                return
        elif hold is not None and self._beyond:
            self._hold_back(message, size, hold)
            return
        number = self._next_number
        self._next_number = number + 1
        self._messages += 1
        self._bytes += size
        if self._messages > self.peak:
            self.peak = self._messages
        if hold is None:
            self._best_effort.append((number, size, message, None))
        else:
            self._append_assured((number, size, message, None))
        if self.readers or self.on_arrival is not None:
            self._announce()

    def pop(self) -> Publish | None:
        """The oldest message, or None. Makes room, so that acknowledgements held back may leave."""
        if self._assured and (not self._best_effort or self._assured[0][0] < self._best_effort[0][0]):
            _, size, message, hold = self._assured.popleft()
        elif self._best_effort:
            _, size, message, hold = self._best_effort.popleft()
        else:
            return None
        if hold is None:
            self._messages -= 1
            self._bytes -= size
        else:
            self._beyond -= 1
            hold.release()
        if self._beyond:
            self._admit()
        if self._full_since and self._has_room(0):
            self._full_since = 0
            self._distributor.note_room()
        return message

    def end_error(self) -> ConnectionLostError | None:
        """Asked where `pop` gave None and `is_ended`: what to raise, None for a plain end."""
        return None if self._make_error is None else self._make_error()

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._is_ended

    def adopt(self, other: Inbox) -> None:
        """Take over, in their order, the messages of another inbox that this one would have got."""
        if other._assured is not _EMPTY and self._assured is _EMPTY:
            self._assured = deque()
        for queue, other_queue in ((self._best_effort, other._best_effort), (self._assured, other._assured)):
            kept = []
            for entry in other_queue:
                if self.topic_filter is not None and not topic_matches(self.topic_filter, entry[2].topic):
                    kept.append(entry)
                    continue
                queue.append(entry)
                for inbox, change in ((other, -1), (self, 1)):
                    if entry[3] is None:
                        inbox._messages += change
                        inbox._bytes += change * entry[1]
                    else:
                        inbox._beyond += change
            other_queue.clear()
            other_queue.extend(kept)
        self._next_number = other._next_number
        for inbox in (self, other):
            if inbox._beyond:
                inbox._admit()
        if len(self):
            self._announce()

    def begin(self) -> None:
        """A new connection: messages may come again."""
        self._is_ended = False
        self._make_error = None

    def end(self, make_error: Callable[[], ConnectionLostError] | None) -> None:
        """Nothing more will come. What is here can still be read; then comes the error, or a plain end for None."""
        self._is_ended = True
        self._make_error = make_error
        while self.readers:
            self.wake_reader()

    def discard(self) -> None:
        """Drop, and count, all that is here, and let go of the acknowledgements held back."""
        self.dropped += len(self)
        self._best_effort.clear()
        held = [entry[3] for entry in self._assured]
        self._assured.clear()
        self._messages = self._bytes = self._beyond = 0
        for hold in held:
            if hold is not None:
                hold.release()
        if self._full_since:
            self._full_since = 0
            self._distributor.note_room()

    def forget_resent(self) -> None:
        """Let go of the QoS 1 messages whose acknowledgements are held back, without acknowledging them."""
        if self._beyond:
            kept = []
            for entry in self._assured:
                hold = entry[3]
                if hold is None or hold.message.qos == 2:
                    kept.append(entry)
                else:
                    hold.uncount()
                    self._beyond -= 1
            self._assured = deque(kept)

    def wake_reader(self) -> None:
        """Let the next reader look."""
        while self.readers:
            reader = self.readers.popleft()
            if not reader.done():
                reader.set_result(None)
                return

    def _announce(self) -> None:
        if self.readers:
            self.wake_reader()
        if self.on_arrival is not None:
            self.on_arrival()

    def _has_room(self, size: int) -> bool:
        return self._messages == 0 or (self._messages < self._max_messages and self._bytes + size <= self._max_bytes)

    def _make_room(self, size: int) -> bool:
        """Whether a QoS 0 message is to be taken though there is no room for it."""
        if self._when_full == "pause":
            batch = self._distributor.batch
            if not self._full_since:
                self._full_since = batch
                self._distributor.note_full(self)
            # What one read has brought is taken whole. More comes only where reading has to go on, because a call
            # waits for an answer of the server.
            if self._full_since == batch or (
                self._messages < 2 * self._max_messages and self._bytes + size <= 2 * self._max_bytes
            ):
                return True
        if self._when_full != "drop_newest":
            while self._best_effort:
                self.dropped += 1
                self._messages -= 1
                self._bytes -= self._best_effort.popleft()[1]
                if self._when_full == "pause" or self._has_room(size):
                    return True
        self.dropped += 1
        return False

    def _hold_back(self, message: Publish, size: int, hold: Hold) -> None:
        hold.holders += 1
        self._append_assured((self._next_number, size, message, hold))
        self._next_number += 1
        self._beyond += 1
        self._announce()

    def _append_assured(self, entry: _Entry) -> None:
        if self._assured is _EMPTY:
            self._assured = deque()
        self._assured.append(entry)

    def _admit(self) -> None:
        """Let those beyond the bound in for whom there is room: they stand at the end of the queue."""
        first = len(self._assured) - self._beyond
        for at in range(first, len(self._assured)):
            number, size, message, hold = self._assured[at]
            if not self._has_room(size):
                return
            self._assured[at] = (number, size, message, None)
            self._messages += 1
            self._bytes += size
            self._beyond -= 1
            if hold is not None:
                hold.release()


class Distributor:
    """Which takers a message goes to. What nobody asked for is kept too, until somebody does.

    An inbox without a filter gets every message, also those whose topic begins with `$`, which "#" does not match.
    acknowledge: called with a QoS 1 or 2 message that nobody holds any more.
    reading_changed: called where `wants_pause` has changed.
    """

    def __init__(
        self,
        acknowledge: Callable[[Publish], None],
        reading_changed: Callable[[], None],
        max_messages: int,
        max_bytes: int,
    ) -> None:
        self.batch = 1  # counts what was read at once
        self.withheld_bytes = 0  # of the messages whose acknowledgements are held back
        self._acknowledge = acknowledge
        self._reading_changed = reading_changed
        self._tree: TopicTree[Taker] = TopicTree()
        self._known: dict[str, tuple[Taker, ...]] = {}
        self._catch_all: list[Taker] = []
        self._takers: set[Taker] = set()
        self._full: set[Inbox] = set()
        self._unclaimed: Inbox | None = None  # made when the first message comes that nobody has asked for
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._on_unmatched: Taker | None = None
        self._manual: dict[int, Hold] = {}
        self._end_error: Callable[[], ConnectionLostError] | None = None
        self._is_ended = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Messages dropped so far: QoS 0 for want of room, and what inboxes still held when they were closed."""
        return self._dropped + sum(inbox.dropped for inbox in self._inboxes())

    @property
    def unclaimed(self) -> int:
        """Messages here that nobody has asked for yet."""
        return 0 if self._unclaimed is None else len(self._unclaimed)

    @property
    def peak(self) -> int:
        """The most messages that any one inbox ever held."""
        return max((inbox.peak for inbox in self._inboxes()), default=0)

    @property
    def wants_pause(self) -> bool:
        """Whether an inbox is full whose owner would rather have the client stop reading."""
        return bool(self._full)

    def make_inbox(
        self,
        topic_filter: str | None,
        max_messages: int,
        max_bytes: int,
        when_full: WhenFull = "drop_oldest",
        *,
        is_manual: bool = False,
    ) -> Inbox:
        """An inbox for all that matches, once it is added. Raises EncodeError for what cannot be."""
        in_range("max_messages", max_messages, 1, 1 << 31)
        in_range("max_bytes", max_bytes, 1, 1 << 40)
        if when_full not in ("drop_oldest", "drop_newest", "pause"):
            raise EncodeError('must be "drop_oldest", "drop_newest" or "pause"', field="when_full")
        if topic_filter is not None:
            validate_topic_filter(topic_filter)
        return Inbox(self, topic_filter, max_messages, max_bytes, when_full, is_manual=is_manual)

    def add(self, taker: Taker) -> None:
        """Give it what it matches from now on, and what of that nobody had asked for."""
        if taker.topic_filter is None:
            self._catch_all.append(taker)
        else:
            self._tree.add(taker.topic_filter, taker)
        self._takers.add(taker)
        self._known.clear()
        self._give_unclaimed(taker)
        if self._is_ended and isinstance(taker, Inbox):
            taker.end(self._end_error)

    def close(self, taker: Taker) -> None:
        if taker is self._on_unmatched:
            self._on_unmatched = None
        elif taker not in self._takers:
            return
        else:
            self._takers.remove(taker)
            self._known.clear()
            if taker.topic_filter is None:
                self._catch_all.remove(taker)
            else:
                self._tree.remove(taker.topic_filter, taker)
        if isinstance(taker, Inbox):
            taker.discard()
            taker.end(None)
            self._dropped += taker.dropped

    def set_unmatched(self, taker: Taker) -> None:
        """Who gets what nobody else has asked for, and what is kept of it. Replaces the one before."""
        if self._on_unmatched is not None:
            self.close(self._on_unmatched)
        self._on_unmatched = taker
        self._give_unclaimed(taker)

    def deliver(self, message: Publish) -> None:
        """Give a message to all who asked for it."""
        takers = self._known.get(message.topic)
        if takers is None:
            takers = self._find_takers(message.topic)
        hold = None
        if message.packet_id is not None:
            hold = Hold(message, self._acknowledge, self)
        taken = False
        for taker in takers:
            if taker.is_abandoned:
                self.close(taker)
                continue
            taken = True
            if hold is not None and taker.is_manual and not hold.is_manual:
                hold.is_manual = True
                hold.holders += 1
                self._manual[id(message)] = hold
            taker.put(message, hold)
        if not taken:
            self._put_unmatched(message, hold)
        if hold is not None:
            hold.release()
            if hold.holders:
                hold.size = len(message.topic) + len(message.payload) + MESSAGE_OVERHEAD_BYTES
                self.withheld_bytes += hold.size

    def acknowledge(self, message: Publish) -> None:
        """The application has a message safe that was to be acknowledged by hand. Any other one: nothing."""
        hold = self._manual.pop(id(message), None)
        if hold is not None:
            hold.release()

    def forget_manual(self) -> None:
        """The connection has ended: what was not acknowledged comes again, but QoS 2 is not delivered again then."""
        for hold in self._manual.values():
            if hold.message.qos == 1:
                hold.uncount()
        self._manual = {key: hold for key, hold in self._manual.items() if hold.message.qos == 2}

    def forget_resent(self) -> None:
        """The server goes on with the session: what stands beyond a bound with QoS 1 comes again, and would pile up."""
        for inbox in self._inboxes():
            inbox.forget_resent()

    def note_full(self, inbox: Inbox) -> None:
        self._full.add(inbox)
        self._reading_changed()

    def note_room(self) -> None:
        self._full = {inbox for inbox in self._full if inbox._full_since}
        self._reading_changed()

    def begin(self) -> None:
        """The client connects: inboxes wait for messages."""
        self._is_ended = False
        self._end_error = None
        for inbox in self._inboxes():
            inbox.begin()

    def end(self, make_error: Callable[[], ConnectionLostError] | None) -> None:
        self._is_ended = True
        self._end_error = make_error
        for inbox in self._inboxes():
            inbox.end(make_error)

    def _inboxes(self) -> list[Inbox]:
        takers = [*self._takers, self._unclaimed, self._on_unmatched]
        return [taker for taker in takers if isinstance(taker, Inbox)]

    def _give_unclaimed(self, taker: Taker) -> None:
        if self._unclaimed is None or not len(self._unclaimed):
            return
        inbox = taker if isinstance(taker, Inbox) else Inbox(self, taker.topic_filter, 1 << 31, 1 << 40)
        inbox.adopt(self._unclaimed)
        if inbox is not taker:
            while (message := inbox.pop()) is not None:
                taker.put(message, None)

    def _find_takers(self, topic: str) -> tuple[Taker, ...]:
        takers = (*self._tree.match(topic), *self._catch_all)
        if len(self._known) >= KNOWN_TOPICS:
            self._known.clear()
        self._known[topic] = takers
        return takers

    def _put_unmatched(self, message: Publish, hold: Hold | None) -> None:
        taker = self._on_unmatched
        if taker is None:
            taker = self._unclaimed
            if taker is None:
                taker = self._unclaimed = Inbox(self, None, self._max_messages, self._max_bytes)
                _log.warning("a message on %s arrived that nobody has asked for: kept", message.topic)
        if hold is not None and taker.is_manual:
            hold.is_manual = True
            hold.holders += 1
            self._manual[id(message)] = hold
        taker.put(message, hold)
