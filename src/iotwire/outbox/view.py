"""An outbox to look at: its messages are read, and nothing is changed, neither the file nor what lies beside it.

SQLite would write even where it only reads: a log that a killed process has left is moved into the database by whoever
opens that. So a file without a log is read as one that never changes, under a lock that keeps writers off; one with a
log is copied together with it, and so is one whose tables have to be mended before anything can be read.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import OutboxError
from .message import ViewedMessage, view_of
from .recovery import mend_schema, read_whole
from .store import IN_USE, claim, examine, explain, is_damage, release, totals_of

__all__ = ["OutboxView"]

MAGIC = b"SQLite format 3\0"
# Where SQLite's locks are: a writer has an exclusive one of these bytes, which are beyond the end of most files.
LOCK_FIRST = 0x4000_0002
LOCK_BYTES = 510
# What a process that was killed leaves beside the file, and belongs to it.
LEFTOVERS = ("-wal", "-journal")


class OutboxView:
    """See the module.

    path: of the file; the right to read it is enough. While the view is open, no process can open the outbox.

    is_damaged: whether something in the file was found not to be as it was stored; known when all has been read.
    copied_bytes: how much had to be copied, to TMPDIR or /var/tmp, because the last writer was killed or the file is
    damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.is_damaged = False
        self.copied_bytes = 0
        self._connection: sqlite3.Connection | None = None
        self._closing = ExitStack()

    def open(self) -> None:
        """Raises OutboxError where there is no file or no outbox, where it cannot be read, or a process has it open."""
        self.is_damaged = False
        self.copied_bytes = 0
        with ExitStack() as closing:
            self._lock(closing)
            has_leftovers = any(map(_has_content, self._leftovers()))
            try:
                source = self._copy(closing) if has_leftovers else None
                self._connection = self._connect(closing, source)
            except sqlite3.Error as error:
                raise OutboxError(f"{self.path} was not read: {explain(error)}") from error
            except OSError as error:
                raise OutboxError(f"{self.path} was not copied, to be read: {error.strerror}") from error
            self._closing = closing.pop_all()

    def check(self) -> None:
        """Raise OutboxError where `open` would at first sight: whoever means to write looks before. Copies nothing.

        An `Outbox` makes a file that is not there, and takes one that is no database for a damaged outbox.
        """
        with ExitStack() as closing:
            self._lock(closing)

    def close(self) -> None:
        self._connection = None
        self._closing.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def messages(self) -> Iterator[ViewedMessage]:
        """All that can be read, in the order in which they leave; in a damaged file, those behind damage backwards.

        Those that have expired are among them, until an `Outbox` drops them. Raises OutboxError where the view is not
        open.
        """
        connection = self._connection
        if connection is None:
            raise OutboxError(f"{self.path} is not open")
        count = 0
        for row in read_whole(connection, self._note_damage):
            count += 1
            yield view_of(row)
            if self._connection is not connection:
                raise OutboxError(f"{self.path} is not open any more")
        try:
            known = totals_of(connection)
        except sqlite3.Error:
            known = (-1, 0)
        if known is not None and known[0] != count:
            self._note_damage()

    def _note_damage(self) -> None:
        self.is_damaged = True

    def _leftovers(self) -> list[Path]:
        """They lie beside the file itself, and not beside a link to it."""
        return [Path(f"{os.path.realpath(self.path)}{suffix}") for suffix in LEFTOVERS]

    def _lock(self, closing: ExitStack) -> None:
        """Keep writers off. Raises OutboxError where one is there, and for what is no outbox at first sight."""
        try:
            import fcntl
        except ImportError:  # Windows
            raise OutboxError("an outbox is looked at on systems with the locks of POSIX alone") from None
        file = claim(self.path)
        closing.callback(release, file)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            closing.callback(os.close, descriptor)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OutboxError(f"{self.path} is no outbox: it is no file")
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, LOCK_BYTES, LOCK_FIRST)
            except (BlockingIOError, PermissionError):
                raise OutboxError(f"{self.path}: {IN_USE}") from None
            beginning = os.pread(descriptor, len(MAGIC), 0)
        except OSError as error:
            raise OutboxError(f"{self.path}: {error.strerror}") from error
        if not beginning:
            raise OutboxError(f"{self.path} is no outbox: it is empty")
        if beginning != MAGIC:
            raise OutboxError(f"{self.path} is no outbox, or its beginning is damaged")

    def _connect(self, closing: ExitStack, copy: Path | None) -> sqlite3.Connection:
        """The database to read: the file itself, or a copy of it."""
        source = self.path if copy is None else copy
        options = "mode=ro&immutable=1" if copy is None else "mode=rw"
        connection = sqlite3.connect(f"{source.absolute().as_uri()}?{options}", uri=True, isolation_level=None)
        closing.callback(connection.close)
        connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            if examine(connection, self.path):
                raise OutboxError(f"{self.path} is no outbox: it is an empty database")
        except UnicodeDecodeError:  # of a text in the file that an error quotes
            pass
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
        else:
            return connection
        if self.is_damaged:  # and mended, as far as it goes
            return connection
        self.is_damaged = True
        connection.close()
        copy = copy or self._copy(closing)
        with suppress(sqlite3.Error, UnicodeDecodeError):
            mend_schema(copy)
        return self._connect(closing, copy)

    def _copy(self, closing: ExitStack) -> Path:
        """A copy for this user alone, in a folder that goes when the view is closed. Raises OSError."""
        # Not in /tmp, which is memory on many boards.
        place = None if os.environ.get("TMPDIR") or not os.access("/var/tmp", os.W_OK) else "/var/tmp"  # noqa: S108
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="iotwire-outbox-", dir=place)))
        copy = folder / "outbox.db"
        for source, target in zip(
            [self.path, *self._leftovers()], [copy, *(Path(f"{copy}{suffix}") for suffix in LEFTOVERS)], strict=True
        ):
            if source == self.path or _has_content(source):
                shutil.copyfile(source, target)
                self.copied_bytes += target.stat().st_size
        return copy


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
