"""What becomes of an outbox whose file is damaged: it is set aside, and what can be read of it is stored again."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from .store import PRIORITIES, SEQUENCE_BITS, TABLES, Row, make_id, read_rows, read_rows_backwards

__all__ = ["mend_schema", "read_damaged", "read_whole", "set_aside"]

READ_AT_ONCE = 100
END = 1 << SEQUENCE_BITS  # above every number


def set_aside(path: Path) -> Path:
    """Rename the file and its log, and tell the new name; whoever wants to look at it finds it beside the old one."""
    stem = f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    aside = path.with_name(stem)
    count = 1
    while aside.exists():
        count += 1
        aside = path.with_name(f"{stem}-{count}")
    with suppress(FileNotFoundError):
        os.rename(f"{path}-wal", f"{aside}-wal")
    os.rename(path, aside)
    return aside


def read_damaged(aside: Path) -> Iterator[Row]:
    """The messages that can be read and are as they were stored, each once."""
    with suppress(sqlite3.Error, UnicodeDecodeError):  # of a text in the file that an error quotes
        mend_schema(aside)
        connection = sqlite3.connect(aside, isolation_level=None)
        try:
            yield from read_whole(connection, lambda: None)
        finally:
            connection.close()


def read_whole(connection: sqlite3.Connection, note_damage: Callable[[], None]) -> Iterator[Row]:
    """The same of a database that is open, in the order in which they leave, but for those behind some damage.

    note_damage: called where something is not as it was stored, once or more often.
    """
    for priority in reversed(range(PRIORITIES)):
        for row in _readable_of(connection, priority, note_damage):
            if row.is_whole:
                yield row
            else:
                note_damage()


def mend_schema(aside: Path) -> None:
    """Write down again how the table of messages, which is the first one, was made: SQLite reads it by that."""
    connection = sqlite3.connect(aside, isolation_level=None)
    try:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE rootpage <> 2")
        connection.execute(
            "UPDATE sqlite_master SET type = 'table', name = 'messages', tbl_name = 'messages', sql = ?",
            (TABLES["messages"],),
        )
    finally:
        connection.close()


def _readable_of(connection: sqlite3.Connection, priority: int, note_damage: Callable[[], None]) -> Iterator[Row]:
    """From the beginning; and where that comes to an end that may be none, from the end back to there."""
    least, most = make_id(priority, 0), make_id(priority - 1, 0)
    reached = least

    def read_on(after: int, limit: int) -> list[Row]:
        return read_rows(connection, priority, after, limit)

    for row in _readable(read_on, lambda at: at - least, note_damage):
        reached = row.id
        yield row

    def read_back(after: int, limit: int) -> list[Row]:
        return read_rows_backwards(connection, priority, END - after, limit)

    for row in _readable(read_back, lambda at: most - at, note_damage):
        if row.id <= reached:
            return
        note_damage()
        yield row


def _readable(
    read: Callable[[int, int], list[Row]], place_of: Callable[[int], int], note_damage: Callable[[], None]
) -> Iterator[Row]:
    """All rows but those that lie on a damaged page: these are stepped over in strides that double, and then halve.

    read: rows behind a place, and at most how many. place_of: where a row with this id is.
    """

    def attempt(after: int, limit: int) -> list[Row] | None:
        try:
            rows = read(after, limit)
        except sqlite3.DatabaseError:
            return None
        # Pages that point to each other wrongly give rows out of their order, or for ever the same.
        places = [after, *(place_of(row.id) for row in rows)]
        return rows if all(earlier < later for earlier, later in itertools.pairwise(places)) else None

    after = 0
    limit = READ_AT_ONCE
    while True:
        rows = attempt(after, limit)
        if rows:
            yield from rows
            after = place_of(rows[-1].id)
            limit = READ_AT_ONCE
        elif rows is not None:
            return
        elif limit > 1:
            limit = 1
        else:
            note_damage()
            bad, good = 0, 1
            while attempt(after + good, 1) is None:
                bad, good = good, good * 2
                if after + good > END:
                    return
            while good - bad > 1:
                middle = (bad + good) // 2
                if attempt(after + middle, 1) is None:
                    bad = middle
                else:
                    good = middle
            after += good
