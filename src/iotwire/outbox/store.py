"""The file of an outbox: an SQLite database that one process has open, and one thread at a time uses.

Messages are rows, in the order in which they leave: the row's id has the priority above and a number that only grows
below it, so no index is needed, what is stored next is written beside what was stored last, and what leaves is deleted
at the other end. Small pages and few transactions are what spares an SD card; docs/decisions.md has the figures.
"""

from __future__ import annotations

import os
import sqlite3
from binascii import crc32
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from .._lock import ForkSafeLock
from ..errors import OutboxError
from .state import Change, SessionState

__all__ = [
    "IN_USE",
    "PRIORITIES",
    "Row",
    "Store",
    "SyncMode",
    "checksum",
    "claim",
    "examine",
    "explain",
    "is_damage",
    "make_id",
    "number_of",
    "priority_of",
    "read_rows",
    "read_rows_backwards",
    "release",
    "totals_of",
]

SyncMode = Literal["always", "interval", "os"]

# 0 to 9, of which the higher leave first; as in AMQP and JMS, 4 is the usual one.
PRIORITIES = 10
SEQUENCE_BITS = 56

APPLICATION_ID = 0x494F5457  # "IOTW", in the header of the file
SCHEMA_VERSION = 1
TABLES = {
    "messages": """CREATE TABLE messages (
    id INTEGER PRIMARY KEY,        -- (9 - priority) << 56 | number
    stored_ms INTEGER NOT NULL,    -- since 1970
    expires_ms INTEGER,            -- likewise; NULL for never
    crc INTEGER NOT NULL,          -- CRC-32 of the others: SQLite would not notice a bit that has tipped over
    packet BLOB NOT NULL           -- a PUBLISH of MQTT 5.0
)""",
    # Of an outbox that was closed as it should be: "messages" and "bytes", which take long to count.
    "totals": "CREATE TABLE totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    # What `SessionState` has.
    "session": "CREATE TABLE session (name TEXT NOT NULL)",
    "sent": """CREATE TABLE sent (
    number INTEGER PRIMARY KEY,    -- in the order in which they were sent
    packet_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    is_released INTEGER NOT NULL   -- PUBREC has come
)""",
    "received": "CREATE TABLE received (packet_id INTEGER PRIMARY KEY)",
}
# How a change of a session's state is written.
CHANGES = {
    "sent": (
        "DELETE FROM sent WHERE packet_id = :packet_id",
        "INSERT INTO sent (packet_id, message_id, is_released) VALUES (:packet_id, :message_id, 0)",
    ),
    "released": ("UPDATE sent SET is_released = 1 WHERE packet_id = :packet_id",),
    "received": ("INSERT OR IGNORE INTO received VALUES (:packet_id)",),
    "completed": ("DELETE FROM received WHERE packet_id = :packet_id",),
    "begun": ("DELETE FROM sent", "DELETE FROM received"),
}
# Bytes. A transaction writes whole pages, and three usual messages have room in one of these.
PAGE_SIZE = 1024
# Bytes of the log at which its pages move to the database: each page once, however often it was written.
CHECKPOINT_BYTES = 4 * 1024 * 1024
CACHE_KIB = 512

SYNCHRONOUS: dict[SyncMode, str] = {"always": "FULL", "interval": "NORMAL", "os": "OFF"}


class Row(NamedTuple):
    """A stored message. stored_ms, expires_ms: since 1970; expires_ms is None for never. packet: a PUBLISH of 5.0."""

    id: int
    stored_ms: int
    expires_ms: int | None
    crc: int
    packet: bytes

    @property
    def is_whole(self) -> bool:
        """Whether it is what was stored. A damaged file may give values of any type."""
        return (
            type(self.packet) is bytes
            and type(self.stored_ms) is int
            and (self.expires_ms is None or type(self.expires_ms) is int)
            and checksum(self.stored_ms, self.expires_ms, self.packet) == self.crc
        )


def checksum(stored_ms: int, expires_ms: int | None, packet: bytes) -> int:
    return crc32(packet, crc32(b"%d %d" % (stored_ms, -1 if expires_ms is None else expires_ms)))


def make_id(priority: int, number: int) -> int:
    return (PRIORITIES - 1 - priority) << SEQUENCE_BITS | number


def priority_of(message_id: int) -> int:
    return PRIORITIES - 1 - (message_id >> SEQUENCE_BITS)


def number_of(message_id: int) -> int:
    return message_id & ((1 << SEQUENCE_BITS) - 1)


class Store:
    """See above. Raises OutboxError where the file cannot be used, sqlite3.DatabaseError where it is damaged."""

    def __init__(self, path: Path, sync: SyncMode) -> None:
        self._path = path
        self._has_totals = True  # maybe
        self._log: int | None = None  # the descriptor by which the log is forced to the disk
        is_new = _make_private(path)
        self._claim: tuple[int, int] | None = claim(path)
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        except BaseException:
            release(self._claim)
            raise
        self._connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            self._prepare(sync)
        except BaseException as error:
            self.close()
            if isinstance(error, UnicodeDecodeError):  # a text in the file that an error quotes
                raise sqlite3.DatabaseError("its tables cannot be read") from None
            if isinstance(error, sqlite3.Error) and not is_damage(error):
                raise OutboxError(f"{path}: {explain(error)}") from error
            raise
        if is_new:
            _sync_folder(path.parent)

    def _prepare(self, sync: SyncMode) -> None:
        ask = self._connection.execute
        ask("PRAGMA locking_mode = EXCLUSIVE")  # no other process, and no file of memory shared with one
        is_empty = examine(self._connection, self._path)
        ask(f"PRAGMA page_size = {PAGE_SIZE}")
        [mode] = ask("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise OutboxError(f"{self._path}: the file system there does not let SQLite keep a log (WAL)")
        ask(f"PRAGMA synchronous = {SYNCHRONOUS[sync]}")
        ask(f"PRAGMA cache_size = -{CACHE_KIB}")
        ask(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // PAGE_SIZE}")
        ask(f"PRAGMA journal_size_limit = {2 * CHECKPOINT_BYTES}")
        ask("BEGIN EXCLUSIVE")
        if is_empty:
            for statement in TABLES.values():
                ask(statement)
            ask(f"PRAGMA application_id = {APPLICATION_ID}")
            ask(f"PRAGMA user_version = {SCHEMA_VERSION}")
        ask("COMMIT")

    def write(
        self,
        added: Sequence[Row],
        removed: Iterable[int],
        changes: Iterable[Change] = (),
        *,
        name: str | None = None,
        settled: Iterable[int] = (),
    ) -> None:
        """All of it or, where this raises, nothing.

        name: of another session from here on, which begins with nothing. changes: of the session's state. settled:
        packet ids, after those, whose messages are among the removed.
        """
        ask = self._connection.execute
        ask("BEGIN")
        try:
            if self._has_totals:
                ask("DELETE FROM totals")
            self._connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?)", added)
            self._connection.executemany("DELETE FROM messages WHERE id = ?", ((message_id,) for message_id in removed))
            if name is not None:
                for statement in ("DELETE FROM session", *CHANGES["begun"]):
                    ask(statement)
                ask("INSERT INTO session VALUES (?)", (name,))
            for change in changes:
                for statement in CHANGES[change.what]:
                    ask(statement, change._asdict())
            self._connection.executemany("DELETE FROM sent WHERE packet_id = ?", ((each,) for each in settled))
            ask("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has rolled it back already
                ask("ROLLBACK")
            raise
        self._has_totals = False

    def force(self) -> None:
        """Have the disk take what was written, where `write` leaves that to the system."""
        if self._log is None:
            self._log = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(self._log)

    def read(self, priority: int, after: int, limit: int) -> list[Row]:
        """As `read_rows`."""
        return read_rows(self._connection, priority, after, limit)

    def read_one(self, message_id: int) -> Row | None:
        """A message by its id."""
        rows = _select(self._connection, message_id - 1, message_id + 1, "ASC", 1)
        return rows[0] if rows else None

    def state(self) -> SessionState:
        """Of the session that was last."""
        ask = self._connection.execute
        found = SessionState()
        for (name,) in ask("SELECT name FROM session"):
            found.name = str(name)
        for packet_id, message_id, is_released in ask(
            "SELECT packet_id, message_id, is_released FROM sent ORDER BY number"
        ):
            found.sent[packet_id] = (message_id, bool(is_released))
        found.received.update(packet_id for (packet_id,) in ask("SELECT packet_id FROM received"))
        ids = [*found.sent, *found.received]
        if not all(type(each) is int and 1 <= each <= 0xFFFF for each in ids):
            raise sqlite3.DatabaseError("a packet id is none")
        return found

    def numbers(self, priority: int) -> tuple[int, int] | None:
        """The first and the last number of a priority; None where it has no message."""
        first, last = (
            self._connection.execute(
                f"SELECT {which}(id) FROM messages WHERE id > ? AND id < ?",  # noqa: S608 -- of two words
                (make_id(priority, 0), make_id(priority - 1, 0)),
            ).fetchone()[0]
            for which in ("min", "max")
        )
        if first is None or last is None:
            return None
        if first > last:
            raise sqlite3.DatabaseError("its messages are in no order")
        return number_of(first), number_of(last)

    def totals(self) -> tuple[int, int]:
        """How many messages there are, and the bytes of their packets. Reads the whole file, if it was not closed."""
        known = totals_of(self._connection)
        if known is not None:
            return known
        count, size = self._connection.execute("SELECT count(*), total(length(packet)) FROM messages").fetchone()
        return count, int(size)

    def keep_totals(self, messages: int, size: int) -> None:
        """For the next one who opens the file; anything written after it makes them void."""
        if not messages:  # a file of free pages gives them back
            self._connection.execute("VACUUM")
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "INSERT OR REPLACE INTO totals VALUES (?, ?)", (("messages", messages), ("bytes", size))
        )
        self._connection.execute("COMMIT")

    def sizes(self, priority: int, after: int, limit: int) -> list[tuple[int, int, int]]:
        """Id, time of storing and bytes of messages of one priority whose numbers are above `after`, in order."""
        return self._connection.execute(
            "SELECT id, stored_ms, length(packet) FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
            (make_id(priority, after), make_id(priority - 1, 0), limit),
        ).fetchall()

    def move_times(self, before_ms: int, by_ms: int) -> None:
        """Of the messages that were stored before a time: the clock that said so was wrong by this much."""
        self._connection.create_function("checksum", 3, checksum)
        self._connection.execute(
            "UPDATE messages SET stored_ms = stored_ms + ?1, expires_ms = expires_ms + ?1,"
            " crc = checksum(stored_ms + ?1, expires_ms + ?1, packet) WHERE stored_ms < ?2",
            (by_ms, before_ms),
        )

    def close(self) -> None:
        if self._log is not None:
            os.close(self._log)
            self._log = None
        self._connection.close()
        if self._claim is not None:
            release(self._claim)
            self._claim = None


def examine(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether nothing is in the file yet.

    Raises OutboxError for a file that is not for us to use, sqlite3.DatabaseError where it is damaged.
    """
    application, version, tables = (
        connection.execute(question).fetchone()[0]
        for question in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if not tables and not application and not version:
        return True
    if application != APPLICATION_ID:
        raise OutboxError(f"{path} is a database, but no outbox")
    if version != SCHEMA_VERSION and 0 < version < 1000:
        raise OutboxError(
            f"{path} is an outbox of layout {version}, and this release of iotwire knows {SCHEMA_VERSION}"
        )
    made = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
    if version != SCHEMA_VERSION or made != TABLES:
        raise sqlite3.DatabaseError("its tables are not those of an outbox")
    return False


def totals_of(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """How many messages there are, and the bytes of their packets; None where the file was not closed."""
    known = dict(connection.execute("SELECT name, value FROM totals").fetchall())
    return (known["messages"], known["bytes"]) if {"messages", "bytes"} <= known.keys() else None


def read_rows(connection: sqlite3.Connection, priority: int, after: int, limit: int) -> list[Row]:
    """Messages of one priority whose numbers are above `after`, in order."""
    return _select(connection, make_id(priority, after), make_id(priority - 1, 0), "ASC", limit)


def read_rows_backwards(connection: sqlite3.Connection, priority: int, before: int, limit: int) -> list[Row]:
    """Those whose numbers are below `before`, the last one first."""
    return _select(connection, make_id(priority, 0), make_id(priority, before), "DESC", limit)


def _select(connection: sqlite3.Connection, above: int, below: int, order: str, limit: int) -> list[Row]:
    columns = ", ".join(Row._fields)
    rows = connection.execute(
        f"SELECT {columns} FROM messages WHERE id > ? AND id < ? ORDER BY id {order} LIMIT ?",  # noqa: S608 -- all ours
        (above, below, limit),
    )
    return [Row(*row) for row in rows]


def _make_private(path: Path) -> bool:
    """Make the file where there is none, for this user alone: messages may be nobody else's business."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise OutboxError(f"{path}: {error.strerror}") from error
    os.close(descriptor)
    return True


# The files that this process uses, by device and inode, and its number: a child of fork uses none of them. The locks of
# POSIX keep other processes off alone, and are gone when their process closes any other descriptor of the file.
_claimed: dict[tuple[int, int], int] = {}
_claiming = ForkSafeLock()


def claim(path: Path) -> tuple[int, int]:
    """Begin to use a file that is there; `release` takes the result. Raises OutboxError where this process does so."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise OutboxError(f"{path}: {error.strerror}") from error
    file = found.st_dev, found.st_ino
    with _claiming.of_process():
        if _claimed.get(file) == os.getpid():
            raise OutboxError(f"{path}: this process has this outbox open already, and an outbox has one writer")
        _claimed[file] = os.getpid()
    return file


def release(file: tuple[int, int]) -> None:
    _claimed.pop(file, None)


def _sync_folder(folder: Path) -> None:
    """Have the disk take the name of a new file. Some systems know no such thing of folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


IN_USE = "another process has this outbox open, and an outbox has one writer"
NO_MEMORY = "there is no memory for it"
# Of SQLite's errors, those that a file is not to blame for; what is said of them, or None for SQLite's own words.
CIRCUMSTANCES = {
    sqlite3.SQLITE_BUSY: IN_USE,
    sqlite3.SQLITE_LOCKED: IN_USE,
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: None,
    sqlite3.SQLITE_IOERR: None,
    sqlite3.SQLITE_NOMEM: NO_MEMORY,
    sqlite3.SQLITE_PERM: None,
    sqlite3.SQLITE_READONLY: None,
}


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is not what it was, rather than that it cannot be used now."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in CIRCUMSTANCES


def explain(error: sqlite3.Error | MemoryError) -> str:
    if isinstance(error, MemoryError):  # as Python's sqlite3 raises it, too
        return NO_MEMORY
    return CIRCUMSTANCES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF) or str(error)
