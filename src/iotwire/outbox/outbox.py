"""Messages that are on disk before anybody is told that they are safe, and stay there until their server has them.

One thread has the file. What is put in a short window is written by one transaction, with one wait for the disk; what
has been delivered is deleted by one of the next, a second's worth at a time. Callers of any thread and of any event
loop put messages and wait for that; one client takes them out again, in order, and says which are done.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from ..clock import EARLIEST
from ..errors import EncodeError, OutboxError, OutboxFullError
from ..mqtt import encode_publish
from .message import SavedSession, StoredMessage, ViewedMessage, message_of
from .recovery import read_damaged, set_aside
from .state import Change, SessionState
from .store import PRIORITIES, Row, Store, SyncMode, checksum, explain, is_damage, make_id, number_of, priority_of
from .window import Ticket, Window

__all__ = ["DEFAULT_PRIORITY", "FullPolicy", "Outbox", "OutboxStats"]

_log = logging.getLogger("iotwire.outbox")

T = TypeVar("T")

FullPolicy = Literal["refuse", "drop_oldest", "drop_lowest_priority"]

DEFAULT_PRIORITY = 4
# A window ends early when so much has come.
WINDOW_MESSAGES = 2000
WINDOW_BYTES = 1024 * 1024
# What has been delivered is deleted this long after the first of it, or when there is so much of it.
REMOVE_AFTER_S = 1.0
REMOVE_AT = 2000
SWEEP_EVERY_S = 1.0
# Numbers that a damaged file cannot have, from the last that was seen in it.
FAR = 1 << 40
# After a write that failed, because the disk is full for example.
RETRY_AFTER_S = 1.0
# A packet needs an identifier to be encoded; the one that counts is the session's to give.
ANY_PACKET_ID = 0xFFFF
# What OutboxStats has that is not counted up.
SUMS = frozenset({"messages", "bytes"})
# No clock that is right says an earlier time.
EARLIEST_MS = int(EARLIEST.timestamp() * 1000)


class Question:
    """What the thread that has the file is to do for another one."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.is_answered = False
        self.answer: Any = None
        self.error: BaseException | None = None

    def call(self) -> None:
        try:
            self.answer = self._function()
        except (sqlite3.Error, MemoryError, OutboxError) as error:
            self.error = error if isinstance(error, OutboxError) else OutboxError(explain(error))


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """What is in an outbox, and what became of what was, since it was opened.

    messages, bytes: what is stored, or about to be; bytes of MQTT 5.0 packets. commits: transactions; forced: how often
    the disk was waited for. dropped_full, dropped_old, dropped_expired: messages that made room, were older than
    `max_age_s`, had outlived their message expiry. refused: messages that their server, or what it allows, ruled out.
    damaged: messages that could not be read any more.
    """

    messages: int = 0
    bytes: int = 0
    stored: int = 0
    delivered: int = 0
    commits: int = 0
    forced: int = 0
    dropped_full: int = 0
    dropped_old: int = 0
    dropped_expired: int = 0
    refused: int = 0
    damaged: int = 0


class Outbox:
    """See the module. May be shared between threads; one client at a time takes from it.

    path: of the file; one process at a time has it open. Its folder must be there.
    sync: "always" waits for the disk in each transaction: what is stored survives a pulled plug. "interval" does so
        each `sync_interval_s`: a pulled plug takes at most that much, a killed process nothing. "os" leaves it to the
        system: a killed process loses nothing, a pulled plug what the system had not written yet.
    commit_window_s: how long the first message of a transaction waits for others; `urgent` ones do not.
    max_bytes: of the packets that are stored; the file is a sixth larger. max_messages: None for no bound.
    max_age_s: older messages are dropped; None for never.
    when_full: "refuse" raises OutboxFullError; "drop_oldest" makes room for new messages, as does
        "drop_lowest_priority", which takes the oldest of the lowest priority. What is with the server already stays.

    Raises EncodeError for options out of range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: SyncMode = "always",
        commit_window_s: float = 0.05,
        sync_interval_s: float = 1.0,
        max_bytes: int = 256 * 1024 * 1024,
        max_messages: int | None = None,
        max_age_s: float | None = None,
        when_full: FullPolicy = "refuse",
    ) -> None:
        self.path = Path(os.path.realpath(path))  # the log lies beside the file, not beside a link to it
        self._sync = _one_of("sync", sync, ("always", "interval", "os"))
        self._when_full = _one_of("when_full", when_full, ("refuse", "drop_oldest", "drop_lowest_priority"))
        self._commit_window_s = _in_range("commit_window_s", commit_window_s, 0, 60)
        self._sync_interval_s = _in_range("sync_interval_s", sync_interval_s, 0.01, 3600)
        self._max_bytes = int(_in_range("max_bytes", max_bytes, 1024, 1 << 50))
        self._max_messages = (
            1 << 62 if max_messages is None else int(_in_range("max_messages", max_messages, 1, 1 << 50))
        )
        self._max_age_s = None if max_age_s is None else _in_range("max_age_s", max_age_s, 1, 1e9)
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)  # the thread that has the file waits here
        self._written = threading.Condition(self._lock)  # and those who wait for it, here
        self._thread: threading.Thread | None = None
        self._forget()

    def _forget(self) -> None:
        self._store: Store | None = None
        self._is_closing = False
        self._window: Window | None = None  # that is open
        self._writing: Window | None = None  # that is over
        self._next_number = 1
        self._last_number = [0] * PRIORITIES  # that is written, by priority
        self._read_number = [0] * PRIORITIES  # that has been taken
        self._taken: dict[int, int] = {}  # id -> bytes
        self._removed: dict[int, None] = {}  # done, and still in the file
        self._remove_due = 0.0
        self._force_due: float | None = None
        self._sweep_due = 0.0
        self._paused_until = 0.0  # after a failure to read
        self._demand: tuple[int, int, Callable[[list[StoredMessage]], None]] | None = None
        self._rewinds = 0
        self._taker: object = None
        self._state = SessionState()  # as it is on disk, or about to be
        self._changes: list[Change] = []  # of it, to be written
        self._new_name: str | None = None
        self._is_awaited: list[Callable[[OutboxError | None], None]] = []  # to be told of those
        self._questions: list[Question] = []
        self._messages = self._bytes = 0
        self._counts = dict.fromkeys((each.name for each in fields(OutboxStats) if each.name not in SUMS), 0)

    def __repr__(self) -> str:
        return f"<Outbox {str(self.path)!r} {self._messages} messages>"

    # Open and closed.

    def open(self) -> None:
        """Open the file, or make it. Raises OutboxError where that cannot be, or another process has it.

        A file that is damaged is renamed, and what can be read of it stored in a new one.
        """
        with self._lock:
            if self._thread is not None:
                raise OutboxError(f"{self.path} is open already")
            self._forget()
            self._pid = os.getpid()
            self._wall_ms = time.time_ns() // 1_000_000
            self._wall_at = time.monotonic()
            try:
                self._open_file()
            except BaseException:
                self._close_file()
                raise
            self._thread = threading.Thread(target=self._run, name="iotwire-outbox", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what is to be written, and close the file. What is in it stays for the next one who opens it."""
        with self._lock:
            thread = self._thread
            if thread is None:
                return
            self._is_closing = True
            self._wake.notify()
        thread.join()
        with self._lock:
            self._thread = None
            if self._store is not None:
                self._keep_totals(self._store)
            self._close_file()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        return self._thread is not None and not self._is_closing

    def stats(self) -> OutboxStats:
        with self._lock:
            return OutboxStats(messages=self._messages, bytes=self._bytes, **self._counts)

    # Messages in.

    def put(
        self,
        topic: str,
        payload: Any = b"",
        qos: int = 1,
        retain: bool = False,
        *,
        priority: int = DEFAULT_PRIORITY,
        urgent: bool = False,
        **properties: Any,
    ) -> Ticket:
        """Store a message; it is safe once the ticket says so. Never waits.

        priority: 0 to 9; higher ones leave first, messages of one priority in the order in which they were put.
        urgent: to be written at once. properties: of PUBLISH; message_expiry_interval counts from now on.

        Raises EncodeError for what no PUBLISH can carry, OutboxFullError, OutboxError.
        """
        packet = _encode(topic, payload, qos, retain, priority, properties)
        expiry_s = properties.get("message_expiry_interval")
        return self._add(packet, priority, urgent, None if expiry_s is None else expiry_s * 1000, None)

    def restore(self, viewed: ViewedMessage) -> Ticket:
        """Store a message that an `OutboxView` has given: with the age and the expiry that it had there.

        Its id and size count for nothing. Raises what `put` raises.
        """
        message = viewed.message
        packet = _encode(
            message.topic, message.payload, message.qos, message.retain, viewed.priority, message.properties
        )
        return self._add(packet, viewed.priority, False, None, viewed)

    def _add(
        self, packet: bytes, priority: int, urgent: bool, expiry_ms: int | None, viewed: ViewedMessage | None
    ) -> Ticket:
        """Into the window. viewed: what tells its times; None for those of now."""
        with self._lock:
            self._must_be_open()
            self._must_have_room(len(packet))
            now = time.monotonic()
            now_ms = self._now_ms(now)
            message_id = make_id(priority, self._next_number)
            self._next_number += 1
            window = self._window
            if window is None:
                window = self._window = Window(now + self._commit_window_s, self._written)
                self._wake.notify()
            if viewed is None:
                stored_ms, expires_ms = now_ms, None if expiry_ms is None else now_ms + expiry_ms
            else:  # by another clock, maybe; but what is stored later than now would set the clock of this outbox
                stored_ms, expires_ms = min(viewed.stored_ms, now_ms), viewed.expires_ms
            crc = checksum(stored_ms, expires_ms, packet)
            window.rows.append(Row(message_id, stored_ms, expires_ms, crc, packet))
            window.size += len(packet)
            self._messages += 1
            self._bytes += len(packet)
            if urgent or len(window.rows) >= WINDOW_MESSAGES or window.size >= WINDOW_BYTES:
                window.due = now
                self._wake.notify()
        return Ticket(window, message_id)

    def flush(self) -> Ticket:
        """Have what was put so far written at once; the ticket tells when it is on disk. Raises OutboxError."""
        with self._lock:
            self._must_be_open()
            window = self._window or self._writing
            if window is None:
                window = Window(0.0, self._written)
                window.is_over = True
            elif window is self._window:
                window.due = time.monotonic()
                self._wake.notify()
        return Ticket(window, 0)

    def _must_be_open(self) -> None:
        if self._thread is None or self._is_closing:
            raise OutboxError(f"{self.path} is not open")
        if self._pid != os.getpid():
            raise OutboxError(f"{self.path} was opened before a fork: open it in the process that uses it")

    def _must_have_room(self, size: int) -> None:
        is_full = self._bytes + size > self._max_bytes or self._messages >= self._max_messages
        if size > self._max_bytes or (is_full and self._when_full == "refuse"):
            raise OutboxFullError(
                f"{self.path} is full: it holds {self._messages} messages of {self._bytes} bytes, and "
                f"max_bytes={self._max_bytes}"
                + ("" if self._max_messages >> 62 else f", max_messages={self._max_messages}")
            )
        if self._window is not None and self._window.size > 8 * WINDOW_BYTES:
            raise OutboxFullError(f"the disk under {self.path} does not take messages as fast as they come")

    # Messages out, for one client at a time.

    def attach(self, taker: object, session: str = "") -> SavedSession:
        """Somebody is to take messages. Raises OutboxError while somebody else does.

        session: whose state is kept, from the client id and the server. What was kept of it is what is returned; those
        messages are taken now. What was kept of another session counts no more: messages that its server has released
        are done, the others are to be sent as new.
        """
        return self._ask(lambda: self._attach(taker, session))

    def _attach(self, taker: object, session: str) -> SavedSession:
        with self._lock:
            if self._taker not in (None, taker):
                raise OutboxError(f"another client takes the messages from {self.path}, and an outbox has one")
            self._taker = taker
            state = self._state
            is_same = state.name == session
            sent = [(packet_id, *about) for packet_id, about in state.sent.items()]
            received = sorted(state.received) if is_same else []
        found = SavedSession([], received)
        for packet_id, message_id, is_released in sent:
            row = self._read_one(message_id)
            if row is None:
                continue
            with self._lock:
                if row.id in self._removed or row.id in self._taken:
                    continue
                if is_same or is_released:
                    self._taken[row.id] = len(row.packet)
            if is_same:
                found.sent.append((packet_id, is_released, self._message_of(row)))
            elif is_released:
                self.done(row.id)
        if not is_same:
            self.begin_session(session)
        return found

    def begin_session(self, name: str) -> None:
        """What is kept of a session counts no more; another one begins, of which `keep` is told from here on.

        It is written with what comes next, or by itself.
        """
        with self._lock:
            self._state = SessionState(name)
            self._new_name = name
            self._changes.clear()
            self._is_awaited.append(lambda _: None)

    def keep(self, changes: list[Change], tell: Callable[[OutboxError | None], None]) -> None:
        """Write changes of the session's state at once; `tell` is called from another thread when they are on disk.

        It is told why, where they are not. Changes that were written already, or overtaken, are no mistake.
        """
        with self._lock:
            self._must_be_open()
            for change in changes:
                self._state.apply(change)
            self._changes += changes
            self._is_awaited.append(tell)
            self._wake.notify()

    def detach(self, taker: object) -> None:
        """It takes none any more: what it has taken and is not done is for the next one."""
        with self._lock:
            if self._taker is taker:
                self._taker = None
                self._rewind()

    def fetch(self, limit: int, max_bytes: int, deliver: Callable[[list[StoredMessage]], None]) -> None:
        """Have `deliver` called once, from another thread, with the next messages as soon as there are any.

        Not to be called again before that. limit, max_bytes: of them together; the last one may go beyond max_bytes.
        """
        with self._lock:
            self._demand = (limit, max_bytes, deliver)
            self._wake.notify()

    def done(self, message_id: int, *, is_refused: bool = False) -> None:
        """A message that was taken is its server's from here on or, where it was refused, nobody's."""
        with self._lock:
            size = self._taken.pop(message_id, None)
            if size is None:
                return
            self._counts["refused" if is_refused else "delivered"] += 1
            self._forget_message(message_id, size)

    def give_back(self, message_ids: Iterable[int]) -> None:
        """These were taken and cannot be used now: they are read again in a second, before what comes after them."""
        with self._lock:
            for message_id in message_ids:
                if message_id in self._taken:
                    self._read_back(message_id)
            self._paused_until = time.monotonic() + RETRY_AFTER_S
            self._wake.notify()

    def _rewind(self) -> None:
        """What was taken and is not done is to be taken again; nobody waits for messages any more."""
        self._demand = None
        self._rewinds += 1
        for message_id in list(self._taken):
            self._read_back(message_id)

    def _forget_message(self, message_id: int, size: int) -> None:
        self._messages -= 1
        self._bytes -= size
        if not self._removed:
            self._remove_due = time.monotonic() + REMOVE_AFTER_S
            self._wake.notify()
        self._removed[message_id] = None
        if len(self._removed) == REMOVE_AT:
            self._remove_due = 0.0
            self._wake.notify()

    # The thread that has the file.

    def _ask(self, function: Callable[[], T]) -> T:
        """Have that thread call it, and wait."""
        question = Question(function)
        with self._lock:
            self._must_be_open()
            self._questions.append(question)
            self._wake.notify()
            self._written.wait_for(lambda: question.is_answered)
        if question.error is not None:
            raise question.error
        answer: T = question.answer
        return answer

    def _answer(self) -> None:
        with self._lock:
            questions, self._questions = self._questions, []
        for question in questions:
            question.call()
        if questions:
            with self._lock:
                for question in questions:
                    question.is_answered = True
                self._written.notify_all()

    def _run(self) -> None:
        try:
            while not self._work():
                pass
        except BaseException as failure:  # nothing is known to do that; whoever waits must not wait for ever
            error = OutboxError(f"{self.path} is not served any more: {type(failure).__name__}")
            error.__cause__ = failure
            with self._lock:
                self._is_closing = True
                for window in (self._writing, self._window):
                    if window is not None:
                        window.end(error)
                for question in self._questions:
                    question.error, question.is_answered = error, True
                self._written.notify_all()
            for tell in self._is_awaited:
                tell(error)
            raise

    def _work(self) -> bool:
        """Wait for something to do, and do it; whether that was the last."""
        with self._wake:
            while (wait_s := self._next_work_in()) is None or wait_s > 0:
                self._wake.wait(wait_s)
            is_last = self._is_closing
            now = time.monotonic()
            if self._window is not None and (self._window.due <= now or is_last):
                self._writing, self._window = self._window, None
            # A packet id is free for another message when this one's is gone from the disk: so both go at once.
            is_due = self._remove_due <= now or is_last or bool(self._changes)
            removed = list(self._removed) if is_due else []
        self._write(removed)
        self._answer()
        if self._force_due is not None and (self._force_due <= time.monotonic() or is_last):
            self._force()
        try:
            self._make_room()
            self._sweep()
            self._serve()
        except (sqlite3.Error, MemoryError, OutboxError) as error:
            _log.error("%s was not read: %s", self.path, error if isinstance(error, OutboxError) else explain(error))
            self._paused_until = time.monotonic() + RETRY_AFTER_S
        return is_last

    def _next_work_in(self) -> float | None:
        """Seconds; None where there is none before somebody comes."""
        if self._is_closing:
            return 0.0
        if self._questions or self._is_awaited:
            return 0.0
        times = []
        if self._demand is not None and self._has_unread():
            times.append(self._paused_until)
        if self._window is not None:
            times.append(self._window.due)
        if self._removed:
            times.append(self._remove_due)
        if self._force_due is not None:
            times.append(self._force_due)
        if self._max_age_s is not None and self._messages:
            times.append(max(self._sweep_due, self._paused_until))
        return min(times) - time.monotonic() if times else None

    def _write(self, removed: list[int]) -> None:
        """Write the window that is over, and remove messages that are done."""
        window = self._writing
        with self._lock:
            changes, self._changes = self._changes, []
            name = self._new_name
            state = self._state
            awaited = len(self._is_awaited)
            gone = set(removed)
            settled = [packet_id for packet_id, (message_id, _) in self._state.sent.items() if message_id in gone]
        if window is None and not (removed or changes or awaited):
            return
        rows = [] if window is None else window.rows
        error: OutboxError | None = None
        try:
            self._write_or_replace(rows, removed, changes, name, settled)
        except OutboxError as failure:
            error = failure
        except (sqlite3.Error, MemoryError) as failure:
            error = OutboxError(f"{self.path} was not written: {explain(failure)}")
            error.__cause__ = failure
        with self._lock:
            if error is None:
                self._counts["commits"] += 1
                self._counts["forced"] += self._sync == "always"
                if self._sync == "interval" and self._force_due is None:
                    self._force_due = time.monotonic() + self._sync_interval_s
                for message_id in removed:
                    self._removed.pop(message_id, None)
                if self._state is state:  # else another session has begun meanwhile, which is yet to be written
                    self._new_name = None
                self._state.forget(removed)
                self._remove_due = time.monotonic() + REMOVE_AFTER_S
                self._counts["stored"] += len(rows)
                for row in rows:
                    priority = priority_of(row.id)
                    self._last_number[priority] = max(self._last_number[priority], number_of(row.id))
            else:
                _log.error("%s", error)
                self._remove_due = time.monotonic() + RETRY_AFTER_S
                if self._state is state:
                    self._changes = [*changes, *self._changes]  # with what is written next
                if window is not None:
                    self._messages -= len(rows)
                    self._bytes -= window.size
            if window is not None:
                window.end(error)
                self._writing = None
            tell_all, self._is_awaited = self._is_awaited[:awaited], self._is_awaited[awaited:]
        for tell in tell_all:
            tell(error)

    def _write_or_replace(
        self, rows: list[Row], removed: list[int], changes: list[Change], name: str | None, settled: list[int]
    ) -> None:
        assert self._store is not None
        try:
            self._store.write(rows, removed, changes, name=name, settled=settled)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            with self._lock:
                self._replace_damaged(error, rows)
            self._store.write(rows, [])

    def _force(self) -> None:
        assert self._store is not None
        self._force_due = None
        try:
            self._store.force()
        except OSError as error:
            _log.error("%s was not forced to the disk: %s", self.path, error)
        else:
            self._counts["forced"] += 1

    def _serve(self) -> None:
        """Give who waits for messages the next ones."""
        with self._lock:
            if self._demand is None or not self._has_unread() or self._is_closing:
                return
            limit, max_bytes, deliver = self._demand
            rewinds = self._rewinds
        messages = self._read(limit, max_bytes)
        with self._lock:
            in_window = 0 if self._window is None else len(self._window.rows)
            if not self._has_unread() and self._messages > len(self._taken) + in_window:
                self._replace_damaged(sqlite3.DatabaseError("stored messages are not there"))
            if self._rewinds != rewinds:  # they are read again when they are wanted
                for message in messages:
                    self._read_back(message.id)
                return
            if not messages:
                return
            self._demand = None
        try:
            deliver(messages)
        except MemoryError:
            with self._lock:
                if self._rewinds == rewinds:
                    self._demand = limit, max_bytes, deliver
                    for message in messages:
                        self._read_back(message.id)
            raise

    def _read_back(self, message_id: int) -> None:
        priority = priority_of(message_id)
        self._read_number[priority] = min(self._read_number[priority], number_of(message_id) - 1)
        self._taken.pop(message_id, None)

    def _has_unread(self) -> bool:
        return self._read_number != self._last_number

    def _read(self, limit: int, max_bytes: int) -> list[StoredMessage]:
        found: list[StoredMessage] = []
        taken: list[int] = []
        try:
            self._read_into(found, taken, limit, max_bytes)
        except MemoryError:
            with self._lock:
                for message_id in taken:
                    self._read_back(message_id)
            raise
        return found

    def _read_into(self, found: list[StoredMessage], taken: list[int], limit: int, max_bytes: int) -> None:
        size = 0
        for priority in reversed(range(PRIORITIES)):
            while self._read_number[priority] < self._last_number[priority] and len(found) < limit and size < max_bytes:
                rows = self._read_rows(priority, limit - len(found))
                for row in rows:
                    with self._lock:
                        self._read_number[priority] = number_of(row.id)
                        if row.id in self._removed or row.id in self._taken:
                            continue
                        if self._drop_if_late(row):
                            continue
                        taken.append(row.id)
                        self._taken[row.id] = len(row.packet)
                    found.append(self._message_of(row))
                    size += len(row.packet)
                    if size >= max_bytes:
                        break
                if not rows:
                    with self._lock:
                        self._read_number[priority] = self._last_number[priority]

    def _read_one(self, message_id: int) -> Row | None:
        """None where it is not there, or is not what it was."""
        assert self._store is not None
        row = self._store.read_one(message_id)
        return row if row is not None and row.is_whole else None

    def _read_rows(self, priority: int, limit: int) -> list[Row]:
        assert self._store is not None
        after = self._read_number[priority]
        try:
            rows = self._store.read(priority, after, limit)
            if all(row.is_whole for row in rows):
                return rows
            error = sqlite3.DatabaseError("a stored message is not what it was")
        except sqlite3.DatabaseError as failure:
            if not is_damage(failure):
                raise
            error = failure
        with self._lock:
            self._replace_damaged(error)
        return self._store.read(priority, after, limit)

    def _drop_if_late(self, row: Row) -> bool:
        now_ms = self._now_ms(time.monotonic())
        if row.expires_ms is not None and row.expires_ms <= now_ms:
            reason = "dropped_expired"
        elif self._max_age_s is not None and row.stored_ms < now_ms - self._max_age_s * 1000:
            reason = "dropped_old"
        else:
            return False
        self._drop([(row.id, len(row.packet))], reason)
        return True

    def _drop(self, messages: list[tuple[int, int]], reason: str) -> None:
        for message_id, size in messages:
            self._forget_message(message_id, size)
        self._counts[reason] += len(messages)
        _log.warning("%s: %d messages were dropped: %s", self.path, len(messages), DROPPED[reason])

    def _message_of(self, row: Row) -> StoredMessage:
        message = message_of(row)
        if row.expires_ms is not None:
            left_ms = row.expires_ms - self._now_ms(time.monotonic())
            message.properties["message_expiry_interval"] = max(1, -(-left_ms // 1000))
        return message

    # Room.

    def _make_room(self) -> None:
        """Drop what has to go, where the policy is not to refuse."""
        if self._when_full == "refuse":
            return
        while True:
            with self._lock:
                messages = self._messages - self._max_messages
                size = self._bytes - self._max_bytes
            if messages <= 0 and size <= 0:
                return
            victims = []
            for victim in self._victims():
                if messages <= 0 and size <= 0:
                    break
                victims.append(victim)
                messages -= 1
                size -= victim[1]
            if not victims:
                return  # all that is left is with the server
            with self._lock:
                self._drop(victims, "dropped_full")

    def _victims(self) -> list[tuple[int, int]]:
        """Id and bytes of some messages that may be dropped, the first to go first."""
        assert self._store is not None
        found: list[tuple[int, int]] = []
        for priority in range(PRIORITIES):
            after = 0
            while rows := self._store.sizes(priority, after, WINDOW_MESSAGES):
                after = number_of(rows[-1][0])
                with self._lock:
                    free = [
                        (message_id, size)
                        for message_id, _, size in rows
                        if message_id not in self._taken and message_id not in self._removed
                    ]
                if free:
                    found += free
                    break
            if found and self._when_full == "drop_lowest_priority":
                return found
        return sorted(found, key=lambda victim: number_of(victim[0]))

    def _sweep(self) -> None:
        """Drop what is too old; the first ones of each priority are looked at."""
        now = time.monotonic()
        if self._max_age_s is None or now < self._sweep_due:
            return
        assert self._store is not None
        self._sweep_due = now + SWEEP_EVERY_S
        before_ms = self._now_ms(now) - int(self._max_age_s * 1000)
        for priority in range(PRIORITIES):
            after = 0
            while rows := self._store.sizes(priority, after, WINDOW_MESSAGES):
                after = number_of(rows[-1][0])
                with self._lock:
                    old = [
                        (message_id, size)
                        for message_id, stored_ms, size in rows
                        if stored_ms < before_ms and message_id not in self._taken and message_id not in self._removed
                    ]
                    if old:
                        self._drop(old, "dropped_old")
                if rows[-1][1] >= before_ms:
                    break

    # The file.

    def _open_file(self) -> None:
        try:
            self._store = Store(self.path, self._sync)
            self._look_around()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise OutboxError(f"{self.path} was not read: {explain(error)}") from error
            self._replace_damaged(error)

    def _close_file(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _look_around(self) -> None:
        """What is in the file that was opened."""
        assert self._store is not None
        self._state = self._store.state()
        self._messages, self._bytes = self._store.totals()
        newest_ms = self._find_numbers()
        # A board without a battery starts in the past. What it stored before it knew the time counts as stored now.
        if newest_ms and newest_ms < EARLIEST_MS <= self._wall_ms:
            self._store.move_times(EARLIEST_MS, self._wall_ms - newest_ms)
        else:
            self._wall_ms = max(self._wall_ms, newest_ms)

    def _find_numbers(self) -> int:
        """Where each priority begins and ends; all is to be read, but for what is taken. When the newest was stored."""
        assert self._store is not None
        newest_ms = 0
        for priority in range(PRIORITIES):
            first, last = self._store.numbers(priority) or (1, 0)
            self._read_number[priority] = first - 1
            self._last_number[priority] = last
            self._next_number = max(self._next_number, last + 1)
            if last:
                for _, stored_ms, _ in self._store.sizes(priority, last - 1, 1):
                    newest_ms = max(newest_ms, stored_ms)
        return newest_ms

    def _now_ms(self, now: float) -> int:
        """Milliseconds since 1970 by the clock as it was at the opening: setting it changes no message's age."""
        return self._wall_ms + int((now - self._wall_at) * 1000)

    def _replace_damaged(self, error: sqlite3.Error, pending: Sequence[Row] = ()) -> None:
        """Go on with a new file, and in it what can be read of this one. pending: rows that are to be written next."""
        if self._store is not None:
            self._store.close()
        aside = set_aside(self.path)
        _log.error(
            "%s is damaged (%s): it is %s now, and what can be read of it is stored again", self.path, error, aside
        )
        self._store = Store(self.path, self._sync)
        count = size = 0
        rows: list[Row] = []
        to_come = [*pending, *(() if self._window is None else self._window.rows)]
        ids_to_come = {row.id for row in to_come}
        for found in read_damaged(aside):
            row = found
            if row.id in self._removed:
                continue
            if row.id in ids_to_come:  # the damaged file had seemed to end before it
                self._next_number += FAR
                row = row._replace(id=make_id(priority_of(row.id), self._next_number))
            rows.append(row)
            if row.id not in self._taken:
                count += 1
                size += len(row.packet)
            if len(rows) >= WINDOW_MESSAGES:
                self._store.write(rows, [])
                rows = []
        self._store.write(rows, [], self._state.changes(), name=self._state.name)
        _log.error("%s: %d messages of %d bytes were read of the damaged file", self.path, count, size)
        self._removed.clear()
        messages = count + len(self._taken) + len(to_come)
        self._counts["damaged"] += max(0, self._messages - messages)
        self._messages = messages
        self._bytes = size + sum(self._taken.values()) + sum(len(row.packet) for row in to_come)
        self._find_numbers()

    def _keep_totals(self, store: Store) -> None:
        try:
            store.keep_totals(self._messages, self._bytes)
        except sqlite3.Error as error:
            _log.warning("%s: it will take longer to open: %s", self.path, error)


DROPPED = {
    "dropped_full": "the outbox was full",
    "dropped_old": "they were older than max_age_s",
    "dropped_expired": "their message expiry was over",
}


def _encode(topic: str, payload: Any, qos: int, retain: bool, priority: int, properties: dict[str, Any]) -> bytes:
    if type(priority) is not int or not 0 <= priority < PRIORITIES:
        raise EncodeError("must be an int from 0 to 9", field="priority")
    return encode_publish(topic, payload, qos, retain, ANY_PACKET_ID if qos else None, False, 5, **properties)


def _one_of(field: str, value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise EncodeError(f"must be one of {', '.join(known)}", field=field)
    return value


def _in_range(field: str, value: float, least: float, most: float) -> float:
    if type(value) not in (int, float) or not least <= value <= most:
        raise EncodeError(f"must be a number from {least} to {most}", field=field)
    return value
