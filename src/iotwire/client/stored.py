"""Between an outbox and a client: what is published goes to the disk, and from there, as it finds room, to the session.

A message that was taken from the outbox is *held*: by the session, or by the line before it. It stays on disk until
its handshake is complete, whatever becomes of connections meanwhile. Where the client ends before, the outbox forgets
that it was taken; the session does not. So when the same client begins again, it is given messages that it holds
already, and knows them by their ids.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ConnectionLostError, IotwireError, OutboxError
from ..mqtt import encode_publish
from ..outbox import Change, Outbox, SavedSession, StoredMessage, Ticket
from .outcomes import PublishReport, read_item

if TYPE_CHECKING:
    from .base import ClientBase

__all__ = ["Feed", "Held", "StoredMany"]

# What one `publish_many` has put at most before it waits for the disk.
BATCH_MESSAGES = 2000
BATCH_BYTES = 1024 * 1024

_log = logging.getLogger("iotwire.client")


class Held:
    """The Waiter of a message that was taken from the outbox."""

    __slots__ = ("_feed", "id", "is_over", "is_refused", "is_taken", "topic")

    def __init__(self, feed: Feed, message: StoredMessage) -> None:
        self._feed = feed
        self.id = message.id
        self.topic = message.topic
        self.is_taken = True  # as far as the outbox knows
        self.is_over = False
        self.is_refused = False

    def done(self) -> bool:
        return self.is_over

    def set_result(self, reason_code: int) -> None:  # noqa: ARG002 -- a server's word that it has it is enough
        self._feed.note_end(self)

    def set_exception(self, error: IotwireError) -> None:
        if isinstance(error, ConnectionLostError):
            return  # which is no end for what is on disk
        _log.error("a stored message on %s is given up: %s", self.topic, error)
        self.is_refused = True
        self._feed.note_end(self)


class Feed:
    """The outbox of one client. `open`, `close` and `put` are for any thread, the rest is for the client's own.

    most: messages to hold at once, besides those that wait on disk. server: whose the session is.
    """

    __slots__ = (
        "_client",
        "_held",
        "_is_asked",
        "_is_owner",
        "_is_taking",
        "_lives",
        "_most",
        "_name",
        "_saved",
        "is_keeping",
        "outbox",
    )

    def __init__(self, outbox: Outbox, client: ClientBase, most: int, server: str) -> None:
        self.outbox = outbox
        self._client = client
        self._name = self._make_name(server)
        self._saved: SavedSession | None = None
        self._is_taking = False
        self.is_keeping = False  # changes of the session are being written
        self._most = most
        self._held: dict[int, Held] = {}
        self._is_asked = False  # the outbox is to call when it has messages
        self._is_owner = False
        self._lives = 0  # which of the client's lives this is, for what still comes from the one before

    def open(self) -> None:
        """Open the outbox, unless it is open, and take what is in it. Raises OutboxError."""
        self._is_owner = not self.outbox.is_open
        if self._is_owner:
            self.outbox.open()
        try:
            self._saved = self.outbox.attach(self, self._name)
        except BaseException:
            if self._is_owner:
                self.outbox.close()
            raise

    def _make_name(self, server: str) -> str:
        """Of a session; "" for one that no server will know again."""
        client_id = self._client._client_id
        return f"{client_id} at {server}" if client_id else ""

    def move_to(self, server: str) -> None:
        """The session that has begun is with this server."""
        name = self._make_name(server)
        if name != self._name:
            self._name = name
            self.outbox.begin_session(name)

    def close(self) -> None:
        """The client is over. What it holds stays in the outbox."""
        self._lives += 1
        self._is_asked = self.is_keeping = False
        self.outbox.detach(self)
        for held in self._held.values():
            held.is_taken = False
        if self._is_owner:
            self._is_owner = False
            self.outbox.close()

    def begin(self) -> None:
        """The client begins: its session goes on where that of another process was."""
        saved, self._saved = self._saved, None
        session = self._client._session
        is_first = not self._lives
        self._lives += 1
        session.changes_kept()  # those of the life before: the outbox had its time for them
        if saved is None:
            return
        for packet_id, is_released, message in saved.sent:
            held = self._held.get(message.id)
            if held is not None:
                held.is_taken = True
                if held.is_over:
                    self.note_end(held)
            elif is_first:
                self._held[message.id] = held = Held(self, message)
                delivery = session.restore(
                    packet_id, message.topic, message.payload, message.retain,
                    is_released=is_released, **self._properties_of(message),
                )  # fmt: skip
                delivery.context = held
            elif not self._submit(message):
                self.outbox.give_back([message.id])
        if is_first:
            for packet_id in saved.received:
                session.restore_received(packet_id)

    def put(self, topic: str, payload: Any, qos: int, retain: bool, options: Any) -> Ticket:
        """Store a message, unless it is known already that its server will not take it."""
        properties = {name: value for name, value in options.items() if name not in ("priority", "urgent")}
        self._client._check(topic, payload, qos, properties)
        if self._client._version != 5:  # the outbox would take properties
            encode_publish(topic, payload, qos, retain, 1 if qos else None, False, self._client._version, **properties)
        return self.outbox.put(topic, payload, qos, retain, **options)

    def holds(self, waiter: Any) -> bool:
        """Whether this is the Waiter of a message that is on disk, too."""
        return type(waiter) is Held

    def ask(self) -> None:
        """Have the outbox give more messages, if there is room for a good number of them."""
        client = self._client
        if self._is_asked or not client.is_connected or client._is_closing:
            return
        queued = client._session.unfinished + len(client._line)
        max_bytes = client._max_queued_bytes - client._session.unfinished_bytes - client._line_bytes
        if queued <= self._most // 2 and max_bytes > 0:
            self._is_asked = True
            self.outbox.fetch(self._most - queued, max_bytes, partial(self._arrive, self._lives))

    def _arrive(self, life: int, messages: list[StoredMessage]) -> None:
        self._client._call_from_thread(partial(self._take, life, messages))

    def _take(self, life: int, messages: list[StoredMessage]) -> None:
        client = self._client
        if life != self._lives or not client._is_running:
            return
        self._is_asked = False
        self._is_taking = True
        try:
            for at, message in enumerate(messages):
                held = self._held.get(message.id)
                if held is not None:
                    held.is_taken = True
                    if held.is_over:
                        self.note_end(held)
                elif not self._submit(message):
                    self.outbox.give_back([each.id for each in messages[at:]])
                    break
        finally:
            self._is_taking = False
        self.keep_changes()
        client._update_reading()
        self.ask()

    def _submit(self, message: StoredMessage) -> bool:
        """False where there was no memory for it, and it is with nobody."""
        held = self._held[message.id] = Held(self, message)
        before = self._submitted
        try:
            self._client._submit(
                message.topic, message.payload, message.qos, message.retain, self._properties_of(message), held
            )
        except IotwireError as error:
            held.set_exception(error)
        except MemoryError:
            _log.error("%s: there is no memory to send a stored message now", self._client.client_id)
            if self._submitted == before:
                del self._held[message.id]
                return False
        return True

    @property
    def _submitted(self) -> int:
        """Messages that the session has, or that wait for it."""
        return self._client._session.unfinished + len(self._client._line)

    def _properties_of(self, message: StoredMessage) -> dict[str, Any]:
        return message.properties if self._client._version == 5 else {}

    def keep_changes(self) -> None:
        """What has changed in the session is to be on disk before it says more."""
        if self.is_keeping or self._is_taking:
            return
        session = self._client._session
        changes = []
        for what, about in session.take_changes():
            if what in ("sent", "released"):
                held = about.context
                if type(held) is Held and about.packet_id is not None:
                    changes.append(Change(what, about.packet_id, held.id))
            else:
                changes.append(Change(what, about or 0))
        if not changes:
            session.changes_kept()
            return
        try:
            self.outbox.keep(changes, partial(self._tell_kept, self._lives))
        except OutboxError as error:
            self._note_kept(error)
        else:
            self.is_keeping = True

    def _tell_kept(self, life: int, error: OutboxError | None) -> None:
        def tell() -> None:
            if life == self._lives:
                self.is_keeping = False
                self._note_kept(error)
                self.keep_changes()
                self._client._look_whether_drained()

        self._client._call_from_thread(tell)

    def _note_kept(self, error: OutboxError | None) -> None:
        client = self._client
        if error is not None:
            _log.error("%s: messages of QoS 2 may come twice if this process ends now: %s", client.client_id, error)
        client._session.changes_kept()
        client._flush_soon()

    def note_end(self, held: Held) -> None:
        """A message has come to its end, good or bad."""
        held.is_over = True
        if held.is_taken:
            del self._held[held.id]
            self.outbox.done(held.id, is_refused=held.is_refused)


class StoredMany:
    """What one `publish_many` puts into an outbox, batch by batch: `put`, and wait for `latest` where it says so."""

    def __init__(self, feed: Feed, qos: int, retain: bool) -> None:
        self.report = PublishReport()
        self._feed = feed
        self._qos = qos
        self._retain = retain
        self._waiting: list[tuple[Any, Ticket]] = []
        self._bytes = 0

    @property
    def latest(self) -> Ticket | None:
        """Of the message that was put last, and is written last."""
        return self._waiting[-1][1] if self._waiting else None

    def put(self, item: Any) -> bool:
        """Put one of many. Whether to wait before the next one."""
        try:
            topic, payload, qos, retain, properties = read_item(item, self._qos, self._retain)
            ticket = self._feed.put(topic, payload, qos, retain, properties)
        except IotwireError as error:
            self.report.failures.append((item, error))
            return False
        self._waiting.append((item, ticket))
        self._bytes += len(payload)
        return len(self._waiting) >= BATCH_MESSAGES or self._bytes >= BATCH_BYTES

    def settle(self) -> None:
        """The latest one has its end, and so have all."""
        for item, ticket in self._waiting:
            if ticket.error is None:
                self.report.acknowledged += 1
            else:
                self.report.failures.append((item, ticket.error))
        self._waiting.clear()
        self._bytes = 0

    @property
    def is_over(self) -> bool:
        """Whether there is no use in going on."""
        return not self._feed.outbox.is_open
