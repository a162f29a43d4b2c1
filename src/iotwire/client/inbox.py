"""Where received messages wait for the application, and which of them wait where.

Memory is bounded in two ways. A QoS 0 message that finds no room pushes out the oldest QoS 0 message of the same queue,
and is counted. A QoS 1 or 2 message is always taken, but while it stands beyond the bound its acknowledgement is
withheld (it holds its `Receipt`); the server may have only so many messages unacknowledged, so it stops sending.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ..errors import ConnectionLostError
from ..mqtt import Publish, TopicTree, topic_matches, validate_topic_filter

__all__ = ["Distributor", "Inbox", "MessageStream", "Receipt"]

# What a message occupies beside its topic and payload, roughly: the packet, its strings, its place in a queue.
MESSAGE_OVERHEAD_BYTES = 256

_log = logging.getLogger("iotwire.client")


class Receipt:
    """The acknowledgement of one message: due as soon as no inbox holds it back."""

    __slots__ = ("_settle", "holders", "packet_id", "qos")

    def __init__(self, packet_id: int, qos: int, settle: Callable[[], None]) -> None:
        self.packet_id = packet_id
        self.qos = qos
        self.holders = 0
        self._settle = settle

    def hold(self) -> None:
        self.holders += 1

    def release(self) -> None:
        self.holders -= 1
        if not self.holders:
            self._settle()


class _Entry:
    __slots__ = ("message", "number", "receipt", "size")

    def __init__(self, number: int, message: Publish, size: int, receipt: Receipt | None) -> None:
        self.number = number
        self.message = message
        self.size = size
        self.receipt = receipt  # held back; None for what stands within the bound


class Inbox:
    """A bounded queue of messages for one reader or several."""

    def __init__(self, topic_filter: str | None, max_messages: int, max_bytes: int) -> None:
        self.topic_filter = topic_filter
        self.dropped = 0
        self.is_abandoned = False
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages = 0  # within the bound
        self._bytes = 0
        self._next_number = 0
        # Two queues, ordered together by number, so that the oldest QoS 0 message is at hand.
        self._best_effort: deque[_Entry] = deque()
        self._assured: deque[_Entry] = deque()
        self._beyond: deque[_Entry] = deque()  # those of _assured that hold their receipts
        self._readers: deque[asyncio.Future[None]] = deque()
        self._is_ended = False
        self._make_error: Callable[[], ConnectionLostError] | None = None

    def __len__(self) -> int:
        return len(self._best_effort) + len(self._assured)

    def put(self, message: Publish, receipt: Receipt | None) -> None:
        """Take a message. receipt: None for QoS 0, which is dropped where neither room nor an older one is found."""
        size = len(message.topic) + len(message.payload) + MESSAGE_OVERHEAD_BYTES
        if receipt is None:
            while not self._has_room(size) and self._best_effort:
                oldest = self._best_effort.popleft()
                self._leave(oldest)
                self.dropped += 1
            if not self._has_room(size):
                self.dropped += 1
                return
            self._append(self._best_effort, message, size, None)
        elif self._has_room(size) and not self._beyond:
            self._append(self._assured, message, size, None)
        else:
            receipt.hold()
            self._append(self._assured, message, size, receipt)
        self._wake_reader()

    def pop(self) -> Publish | None:
        """The oldest message, or None. Makes room, so that acknowledgements held back may leave."""
        if self._assured and (not self._best_effort or self._assured[0].number < self._best_effort[0].number):
            entry = self._assured.popleft()
        elif self._best_effort:
            entry = self._best_effort.popleft()
        else:
            return None
        receipt, entry.receipt = entry.receipt, None
        if receipt is None:
            self._leave(entry)
        else:
            self._beyond.popleft()
            receipt.release()
        while self._beyond and self._has_room(self._beyond[0].size):
            self._admit(self._beyond.popleft())
        return entry.message

    async def get(self) -> Publish | None:
        """The oldest message, waiting for one; None after the end. Raises ConnectionLostError after a bad end."""
        while (message := self.pop()) is None:
            if self._is_ended:
                if self._make_error is not None:
                    raise self._make_error()
                return None
            reader = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            try:
                await reader
            except BaseException:
                if reader in self._readers:
                    self._readers.remove(reader)
                elif len(self):
                    self._wake_reader()  # woken and cancelled at once: the message is for the next reader
                raise
        return message

    def adopt(self, other: Inbox) -> None:
        """Take over, in their order, the messages of another inbox that this one would have got."""
        for queue, other_queue in ((self._best_effort, other._best_effort), (self._assured, other._assured)):
            kept = []
            for entry in other_queue:
                if self.topic_filter is not None and not topic_matches(self.topic_filter, entry.message.topic):
                    kept.append(entry)
                    continue
                queue.append(entry)
                if entry.receipt is None:
                    other._leave(entry)
                    self._messages += 1
                    self._bytes += entry.size
                else:
                    other._beyond.remove(entry)
                    self._beyond.append(entry)
            other_queue.clear()
            other_queue.extend(kept)
        self._next_number = other._next_number
        for inbox in (self, other):
            while inbox._beyond and inbox._has_room(inbox._beyond[0].size):
                inbox._admit(inbox._beyond.popleft())

    def end(self, make_error: Callable[[], ConnectionLostError] | None) -> None:
        """Nothing more will come. What is here can still be read; then comes the error, or a plain end for None."""
        self._is_ended = True
        self._make_error = make_error
        while self._readers:
            self._wake_reader()

    def discard(self) -> None:
        """Drop, and count, all that is here, and let go of the acknowledgements held back."""
        self.dropped += len(self)
        self._best_effort.clear()
        self._assured.clear()
        self._messages = self._bytes = 0
        while self._beyond:
            receipt, self._beyond[0].receipt = self._beyond[0].receipt, None
            self._beyond.popleft()
            if receipt is not None:
                receipt.release()

    def _has_room(self, size: int) -> bool:
        # A message larger than the whole bound still gets through an empty queue.
        return self._messages == 0 or (self._messages < self._max_messages and self._bytes + size <= self._max_bytes)

    def _append(self, queue: deque[_Entry], message: Publish, size: int, receipt: Receipt | None) -> None:
        entry = _Entry(self._next_number, message, size, receipt)
        self._next_number += 1
        queue.append(entry)
        if receipt is None:
            self._messages += 1
            self._bytes += size
        else:
            self._beyond.append(entry)

    def _leave(self, entry: _Entry) -> None:
        self._messages -= 1
        self._bytes -= entry.size

    def _admit(self, entry: _Entry) -> None:
        receipt, entry.receipt = entry.receipt, None
        self._messages += 1
        self._bytes += entry.size
        if receipt is not None:
            receipt.release()

    def _wake_reader(self) -> None:
        while self._readers:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)
                return


class Distributor:
    """Which inboxes a message goes to. What no stream asked for is kept too, until one does.

    An inbox without a filter gets every message, also those whose topic begins with `$`, which "#" does not match.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._tree: TopicTree[Inbox] = TopicTree()
        self._catch_all: list[Inbox] = []
        self._inboxes: set[Inbox] = set()
        self._unclaimed = Inbox(None, max_messages, max_bytes)
        self._end_error: Callable[[], ConnectionLostError] | None = None
        self._is_ended = False
        self._dropped = 0
        self._has_warned = False

    @property
    def dropped(self) -> int:
        """Messages dropped so far: QoS 0 for want of room, and what streams still held when they were closed."""
        return self._dropped + self._unclaimed.dropped + sum(inbox.dropped for inbox in self._inboxes)

    @property
    def unclaimed(self) -> int:
        """Messages here that no stream has asked for yet."""
        return len(self._unclaimed)

    def open(self, topic_filter: str | None, max_messages: int, max_bytes: int) -> Inbox:
        if topic_filter is not None:
            validate_topic_filter(topic_filter)
        inbox = Inbox(topic_filter, max_messages, max_bytes)
        inbox.adopt(self._unclaimed)
        if self._is_ended:
            inbox.end(self._end_error)
        if topic_filter is None:
            self._catch_all.append(inbox)
        else:
            self._tree.add(topic_filter, inbox)
        self._inboxes.add(inbox)
        return inbox

    def close(self, inbox: Inbox) -> None:
        if inbox not in self._inboxes:
            return
        self._inboxes.remove(inbox)
        if inbox.topic_filter is None:
            self._catch_all.remove(inbox)
        else:
            self._tree.remove(inbox.topic_filter, inbox)
        inbox.discard()
        inbox.end(None)
        self._dropped += inbox.dropped

    def deliver(self, message: Publish, receipt: Receipt | None) -> None:
        """Give a message to all who asked for it. An acknowledgement that nobody holds back after this is due."""
        inboxes = self._tree.match(message.topic) + self._catch_all
        taken = False
        for inbox in inboxes:
            if inbox.is_abandoned:
                self.close(inbox)
            else:
                inbox.put(message, receipt)
                taken = True
        if not taken:
            if not self._has_warned:
                self._has_warned = True
                _log.warning("a message on %s arrived that no messages() stream has asked for: kept", message.topic)
            self._unclaimed.put(message, receipt)

    def begin(self) -> None:
        """A new connection: streams opened from now on wait for its messages."""
        self._is_ended = False
        self._end_error = None

    def end(self, make_error: Callable[[], ConnectionLostError] | None) -> None:
        self._is_ended = True
        self._end_error = make_error
        for inbox in self._inboxes:
            inbox.end(make_error)


class MessageStream:
    """Messages as they arrive: `async for message in client.messages("sensors/#")`. Made by `Client.messages`.

    Several tasks may read one stream; each message goes to one of them. The stream belongs to the event loop's thread.
    It is closed by `close`, at the end of a `with` block, or when nothing refers to it any more.
    """

    def __init__(self, distributor: Distributor, inbox: Inbox) -> None:
        self._distributor = distributor
        self._inbox = inbox
        self._thread = threading.get_ident()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Publish:
        message = await self._inbox.get()
        if message is None:
            raise StopAsyncIteration
        return message

    @property
    def waiting(self) -> int:
        """How many messages are here, not yet read."""
        return len(self._inbox)

    @property
    def dropped(self) -> int:
        """How many messages were dropped: QoS 0 for want of room, and those left unread by `close`."""
        return self._inbox.dropped

    def close(self) -> None:
        """Take no more messages. Those not yet read are dropped and counted, and count as acknowledged."""
        self._distributor.close(self._inbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The garbage collector may run on any thread; there, only leave a note for the next delivery.
        self._inbox.is_abandoned = True
        if threading.get_ident() == self._thread:
            self.close()
