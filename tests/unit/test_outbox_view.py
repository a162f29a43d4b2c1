"""An outbox that is looked at: all of it is told, and nothing is changed; and its messages put into another one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_outbox import (
    HOLD,
    PROPERTIES,
    TIMEOUT_S,
    cut_off_the_end,
    fill,
    put_all,
    spoil_a_page,
    spoil_header,
    take,
    tip_a_bit,
    topics_of,
)

from iotwire.errors import EncodeError, OutboxError
from iotwire.outbox import Outbox, OutboxView, StoredMessage, ViewedMessage
from iotwire.outbox.store import Store

KILLED = """
import os, sys
from iotwire.outbox import Outbox
outbox = Outbox(sys.argv[1])
outbox.open()
for at in range(50):
    outbox.put("t/%d" % at, b"x" * 20)
outbox.flush().wait()
os._exit(0)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "an outbox? 100%"  # which a URI has other names for
    folder.mkdir()
    return folder / "outbox.db"


def viewed(path: Path) -> list[ViewedMessage]:
    with OutboxView(path) as view:
        return list(view.messages())


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}


def leave_a_log(path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=True, timeout=TIMEOUT_S)
    assert Path(f"{path}-wal").stat().st_size


def test_all_that_was_put_is_told_in_the_order_in_which_it_leaves(path: Path) -> None:
    before_ms = time.time_ns() // 1_000_000
    with Outbox(path) as outbox:
        outbox.put("low", b"1", 0, priority=0)
        outbox.put("usual", b"\xff" * 5000, 2, True, message_expiry_interval=60, **PROPERTIES)
        outbox.put("high", priority=9)
        stats = outbox.stats()
    found = viewed(path)
    after_ms = time.time_ns() // 1_000_000
    high, usual, low = found
    assert [each.priority for each in found] == [9, 4, 0]
    assert high.message == StoredMessage(high.message.id, "high", b"", 1, False, {})
    assert usual.message[1:5] == ("usual", b"\xff" * 5000, 2, True)
    assert usual.message.properties == {"message_expiry_interval": 60, **PROPERTIES}
    assert low.message[1:] == ("low", b"1", 0, False, {})
    assert all(before_ms <= each.stored_ms <= after_ms for each in found)
    assert [each.expires_ms for each in found] == [None, usual.stored_ms + 60_000, None]
    assert sum(each.size for each in found) == stats.bytes


@pytest.mark.parametrize("leave", [fill, leave_a_log], ids=["closed", "killed"])
def test_looking_changes_nothing_and_leaves_nothing(
    path: Path, leave: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(path)
    copies = path.parent.parent / "copies"
    copies.mkdir()
    monkeypatch.setenv("TMPDIR", str(copies))
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = files(path.parent)
    with OutboxView(path) as view:
        assert len(list(view.messages())) == (50 if leave is leave_a_log else 400)
        assert len(list(view.messages())) == (50 if leave is leave_a_log else 400)  # and again
        assert not view.is_damaged
        assert bool(view.copied_bytes) == (leave is leave_a_log)
        assert files(path.parent) == before
    assert files(path.parent) == before
    assert list(copies.iterdir()) == []


def test_a_link_to_an_outbox_is_followed_to_its_log(path: Path) -> None:
    leave_a_log(path)
    link = path.parent.parent / "link.db"
    link.symlink_to(path)
    assert len(viewed(link)) == 50


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write whatever the mode says")
def test_the_right_to_read_is_enough(path: Path) -> None:
    fill(path)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        assert len(viewed(path)) == 400
    finally:
        path.parent.chmod(0o700)


def test_another_process_that_has_it_open_is_told_and_not_disturbed(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        for _ in range(2):
            with pytest.raises(OutboxError, match="another process has this outbox open, and an outbox has one writer"):
                OutboxView(path).open()
        first.communicate(timeout=TIMEOUT_S)
    assert viewed(path) == []


def test_while_somebody_looks_nobody_writes(path: Path) -> None:
    fill(path)
    with OutboxView(path) as view:
        done = subprocess.run(
            [sys.executable, "-c", HOLD, str(path)],
            input="",
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert "another process has this outbox open" in done.stderr
        assert len(list(view.messages())) == 400
    with Outbox(path) as outbox:
        assert outbox.stats().messages == 400


def test_an_outbox_of_this_process_keeps_its_lock(path: Path) -> None:
    # To close any descriptor of a file is to lose this process's locks of it.
    with Outbox(path):
        with pytest.raises(OutboxError, match="this process has this outbox open already"):
            OutboxView(path).open()
        done = subprocess.run(
            [sys.executable, "-c", HOLD, str(path)],
            input="",
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert "another process has this outbox open" in done.stderr
    with OutboxView(path):
        for second in (Outbox(path), OutboxView(path)):
            with pytest.raises(OutboxError, match="this process has this outbox open already"):
                second.open()
    with Outbox(path) as outbox:
        put_all(outbox, ["a"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"outbox\.db: No such file or directory"),
        (b"", "is no outbox: it is empty"),
        (b"[sensor]\nname = boiler\n", "is no outbox"),
    ],
)
def test_a_file_that_is_none_is_said_and_left_as_it_is(path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        path.write_bytes(content)
    before = files(path.parent)
    with pytest.raises(OutboxError, match=message):
        OutboxView(path).open()
    assert files(path.parent) == before


def test_a_folder_and_a_pipe_are_no_outbox(path: Path) -> None:
    os.mkfifo(path)
    for each in (path, path.parent):
        with pytest.raises(OutboxError, match="is no outbox: it is no file"):
            OutboxView(each).open()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE TABLE t (x)", "is a database, but no outbox"),
        ("CREATE TABLE t (x); DROP TABLE t", "is no outbox: it is an empty database"),
        ("PRAGMA user_version = 99; PRAGMA application_id = 1229935703", "is an outbox of layout 99"),
    ],
)
def test_a_database_of_something_else_is_no_outbox(path: Path, statement: str, message: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(statement)
    connection.close()
    with pytest.raises(OutboxError, match=message):
        OutboxView(path).open()


def spoil_the_tables(data: bytearray) -> None:
    at = data.index(b"CREATE TABLE messages")
    data[at : at + 6] = b"\xff" * 6


def take_the_newest_away(data: bytearray) -> None:
    at = data.rindex(b"t/399")
    data[at : at + 5] = b"t/398"


@pytest.mark.parametrize(
    ("spoil", "least"),
    [(spoil_a_page, 350), (tip_a_bit, 399), (take_the_newest_away, 399), (spoil_the_tables, 400), (cut_off_the_end, 0)],
)
def test_of_a_damaged_file_all_that_can_be_read_is_told_and_that_it_is_damaged(
    path: Path, spoil: Callable[[bytearray], None], least: int
) -> None:
    fill(path)
    data = bytearray(path.read_bytes())
    spoil(data)
    path.write_bytes(data)
    before = files(path.parent)
    with OutboxView(path) as view:
        found = list(view.messages())
        assert view.is_damaged
    assert least <= len(found) <= 400
    assert len({each.message.id for each in found}) == len(found)
    assert files(path.parent) == before
    with Outbox(path) as outbox:  # which reads by the same code
        assert outbox.stats().messages in (len(found), 400)


def test_a_file_without_its_beginning_may_be_a_damaged_one(path: Path) -> None:
    fill(path, 3)
    data = bytearray(path.read_bytes())
    spoil_header(data)
    path.write_bytes(data)
    with pytest.raises(OutboxError, match="is no outbox, or its beginning is damaged"):
        OutboxView(path).open()


def test_messages_that_are_lost_without_a_trace_are_damage(path: Path) -> None:
    fill(path, 3)
    store = Store(path, "always")
    store._connection.execute("DELETE FROM messages WHERE id = (SELECT max(id) FROM messages)")
    store.close()
    with OutboxView(path) as view:
        assert len(list(view.messages())) == 2
        assert view.is_damaged


def test_a_view_that_is_not_open_says_so(path: Path) -> None:
    with pytest.raises(OutboxError, match="is not open"):
        list(OutboxView(path).messages())
    fill(path, 3)
    with OutboxView(path) as view:
        messages = view.messages()
        next(messages)
    with pytest.raises(OutboxError, match="is not open any more"):
        next(messages)
    assert not view.is_damaged


# Put into another one.


def test_what_was_viewed_is_restored_with_its_age_and_its_expiry(path: Path) -> None:
    with Outbox(path) as outbox:
        outbox.put("a", b"1", 2, True, priority=7, message_expiry_interval=600, **PROPERTIES)
        put_all(outbox, ["b", "c"])
    found = viewed(path)
    other = path.with_name("other.db")
    with Outbox(other) as outbox:
        for each in found:
            outbox.restore(each._replace(stored_ms=each.stored_ms - 5000)).wait(TIMEOUT_S)
        assert topics_of(take(outbox, 3)) == ["a", "b", "c"]
    again = viewed(other)
    assert [each._replace(message=each.message._replace(id=0)) for each in again] == [
        each._replace(message=each.message._replace(id=0), stored_ms=each.stored_ms - 5000) for each in found
    ]


def test_what_another_clock_stored_in_the_future_is_as_old_as_now(path: Path) -> None:
    message = StoredMessage(0, "a", b"", 1, False, {})
    now_ms = time.time_ns() // 1_000_000
    with Outbox(path) as outbox:
        outbox.restore(ViewedMessage(message, 4, now_ms + 10**9, None, 0)).wait(TIMEOUT_S)
    [found] = viewed(path)
    assert now_ms <= found.stored_ms < now_ms + TIMEOUT_S * 1000


@pytest.mark.parametrize(
    ("changed", "field"), [({"topic": "a/#"}, "topic"), ({"qos": 3}, "qos"), ({"priority": 10}, "priority")]
)
def test_what_cannot_be_a_message_is_not_restored(path: Path, changed: dict[str, Any], field: str) -> None:
    priority = changed.pop("priority", 4)
    message = StoredMessage(0, "a", b"", 1, False, {})._replace(**changed)
    with Outbox(path) as outbox, pytest.raises(EncodeError) as caught:
        outbox.restore(ViewedMessage(message, priority, 0, None, 0))
    assert caught.value.field == field
