"""The outbox by itself: what is stored is there, in order, until it is done; and what a file may have gone through."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import iotwire.outbox.outbox
from forking import in_child, needs_fork
from iotwire.errors import EncodeError, OutboxError, OutboxFullError
from iotwire.outbox import Change, Outbox, StoredMessage
from iotwire.outbox.store import Store

TIMEOUT_S = 20

PROPERTIES: dict[str, Any] = {
    "payload_format_indicator": 1,
    "content_type": "text/plain",
    "response_topic": "answers/7",
    "correlation_data": b"\x00\xff",
    "user_properties": (("unit", "C"), ("unit", "K")),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def take(outbox: Outbox, count: int, max_bytes: int = 1 << 30) -> list[StoredMessage]:
    """The next messages, `count` of them; a bound on time is the bound."""
    found: list[StoredMessage] = []
    while len(found) < count:
        arrived = threading.Event()

        def deliver(messages: list[StoredMessage], arrived: threading.Event = arrived) -> None:
            found.extend(messages)
            arrived.set()

        outbox.fetch(count - len(found), max_bytes, deliver)
        assert arrived.wait(TIMEOUT_S), f"{len(found)} of {count} messages came"
    return found


def topics_of(messages: list[StoredMessage]) -> list[str]:
    return [message.topic for message in messages]


def put_all(outbox: Outbox, topics: list[str], **keywords: Any) -> None:
    for topic in topics[:-1]:
        outbox.put(topic, b"x" * 20, **keywords)
    outbox.put(topics[-1], b"x" * 20, urgent=True, **keywords).wait(TIMEOUT_S)


def until(condition: Callable[[], bool]) -> None:
    by = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < by
        time.sleep(0.001)


# In and out.


@pytest.mark.parametrize("is_opened_again", [False, True], ids=["at once", "after a restart"])
@pytest.mark.parametrize("properties", [{}, PROPERTIES], ids=["bare", "with properties"])
@pytest.mark.parametrize("payload", [b"", b"81.5", b"\x00" * 70_000], ids=len)
@pytest.mark.parametrize(("qos", "retain"), [(0, False), (1, True), (2, False)])
def test_what_is_put_is_what_is_taken(
    path: Path, qos: int, retain: bool, payload: bytes, properties: dict[str, Any], is_opened_again: bool
) -> None:
    outbox = Outbox(path, commit_window_s=0)
    with outbox:
        ticket = outbox.put("plant/ofen/°C", payload, qos, retain, **properties)
        ticket.wait(TIMEOUT_S)
        assert ticket.is_stored
        if is_opened_again:
            outbox.close()
            outbox.open()
        assert take(outbox, 1) == [(ticket.id, "plant/ofen/°C", payload, qos, retain, properties)]


def test_messages_leave_by_priority_and_then_in_the_order_in_which_they_came(path: Path) -> None:
    with Outbox(path) as outbox:
        for at, priority in enumerate([4, 0, 9, 4, 9, 0]):
            ticket = outbox.put(f"{priority}/{at}", priority=priority)
        ticket.wait(TIMEOUT_S)
        assert topics_of(take(outbox, 6)) == ["9/2", "9/4", "4/0", "4/3", "0/1", "0/5"]


def test_a_higher_priority_overtakes_a_backlog(path: Path) -> None:
    with Outbox(path) as outbox:
        put_all(outbox, [f"log/{at}" for at in range(5)])
        assert topics_of(take(outbox, 2)) == ["log/0", "log/1"]
        put_all(outbox, ["alarm"], priority=9)
        assert topics_of(take(outbox, 4)) == ["alarm", "log/2", "log/3", "log/4"]


def test_messages_that_come_later_are_waited_for(path: Path) -> None:
    with Outbox(path, commit_window_s=0) as outbox:
        arrived: list[StoredMessage] = []
        outbox.fetch(10, 1 << 20, arrived.extend)
        outbox.put("a").wait(TIMEOUT_S)
        until(lambda: bool(arrived))
        assert topics_of(arrived) == ["a"]


@pytest.mark.parametrize(("limit", "max_bytes", "expected"), [(3, 1 << 20, 3), (10, 1, 1), (10, 100, 4)])
def test_no_more_is_taken_than_is_asked_for(path: Path, limit: int, max_bytes: int, expected: int) -> None:
    with Outbox(path) as outbox:
        put_all(outbox, ["topic"] * 10)
        taken: list[StoredMessage] = []
        outbox.fetch(limit, max_bytes, taken.extend)
        until(lambda: bool(taken))
        assert len(taken) == expected
        assert len(take(outbox, 10 - expected)) == 10 - expected


def test_what_is_done_is_gone_and_what_is_not_comes_again(path: Path) -> None:
    outbox = Outbox(path)
    with outbox:
        put_all(outbox, list("abcdef"))
        outbox.attach("client")
        messages = take(outbox, 4)
        outbox.done(messages[1].id)
        outbox.done(messages[3].id)
        outbox.done(messages[3].id)  # once is enough
        outbox.detach("client")
        assert topics_of(take(outbox, 4)) == list("acef")
        assert (outbox.stats().messages, outbox.stats().delivered) == (4, 2)
    with outbox:
        assert outbox.stats().messages == 4
        assert topics_of(take(outbox, 4)) == list("acef")
        for message in messages:
            outbox.done(message.id)
        until(lambda: outbox.stats().messages == 2)


def test_bytes_and_messages_are_counted_to_nothing(path: Path) -> None:
    outbox = Outbox(path)
    with outbox:
        put_all(outbox, ["a", "b/c"])
        for message in take(outbox, 2):
            outbox.done(message.id)
        assert (outbox.stats().messages, outbox.stats().bytes) == (0, 0)
    with outbox:
        assert (outbox.stats().messages, outbox.stats().bytes) == (0, 0)


def test_an_outbox_that_was_emptied_takes_little_room(path: Path) -> None:
    with Outbox(path) as outbox:
        put_all(outbox, ["a"] * 5000)
        for message in take(outbox, 5000):
            outbox.done(message.id)
    assert path.stat().st_size < 20_000


# Transactions.


def test_what_comes_in_a_window_is_one_transaction(path: Path) -> None:
    with Outbox(path, commit_window_s=60) as outbox:
        tickets = [outbox.put(f"t/{at}") for at in range(100)]
        assert not any(ticket.is_stored for ticket in tickets)
        outbox.put("alarm", urgent=True).wait(TIMEOUT_S)
        assert all(ticket.is_stored for ticket in tickets)
        assert (outbox.stats().commits, outbox.stats().forced) == (1, 1)


def test_a_window_is_over_by_itself(path: Path) -> None:
    with Outbox(path, commit_window_s=0.02) as outbox:
        outbox.put("a").wait(TIMEOUT_S)


def test_closing_writes_what_waits(path: Path) -> None:
    outbox = Outbox(path, commit_window_s=60)
    with outbox:
        ticket = outbox.put("a")
    assert ticket.is_stored
    with outbox:
        assert topics_of(take(outbox, 1)) == ["a"]


@pytest.mark.parametrize(("sync", "forced"), [("always", 3), ("interval", 1), ("os", 0)])
def test_the_disk_is_waited_for_as_often_as_was_chosen(path: Path, sync: Any, forced: int) -> None:
    outbox = Outbox(path, sync=sync, commit_window_s=0, sync_interval_s=3600)
    with outbox:
        for _ in range(3):
            outbox.put("a").wait(TIMEOUT_S)
    assert outbox.stats().forced == forced


def test_an_interval_is_over_by_itself(path: Path) -> None:
    with Outbox(path, sync="interval", commit_window_s=0, sync_interval_s=0.01) as outbox:
        outbox.put("a").wait(TIMEOUT_S)
        until(lambda: outbox.stats().forced == 1)


def test_tasks_and_threads_wait_for_the_same_transaction(path: Path) -> None:
    with Outbox(path, commit_window_s=60) as outbox:
        tickets = [outbox.put(f"t/{at}") for at in range(30)]

        async def wait_for_all() -> None:
            async with asyncio.timeout(TIMEOUT_S):
                cancelled = asyncio.ensure_future(tickets[0])
                waiting = [asyncio.ensure_future(ticket) for ticket in tickets]
                await asyncio.sleep(0)
                cancelled.cancel()
                outbox.put("alarm", urgent=True)
                await asyncio.gather(*waiting)
                await tickets[3]

        threads = [threading.Thread(target=tickets[at].wait, args=(TIMEOUT_S,)) for at in range(3)]
        threads += [threading.Thread(target=asyncio.run, args=(wait_for_all(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert all(ticket.is_stored for ticket in tickets)


def test_a_wait_has_a_bound(path: Path) -> None:
    with Outbox(path, commit_window_s=60) as outbox, pytest.raises(TimeoutError, match=r"0\.01 s"):
        outbox.put("a").wait(0.01)


# Bounds.


def test_a_full_outbox_refuses_and_takes_again_when_something_is_done(path: Path) -> None:
    with Outbox(path, max_messages=2) as outbox:
        put_all(outbox, ["a", "b"])
        with pytest.raises(OutboxFullError, match="2 messages"):
            outbox.put("c")
        outbox.done(take(outbox, 1)[0].id)
        put_all(outbox, ["c"])
        assert topics_of(take(outbox, 2)) == ["b", "c"]


def test_bytes_are_a_bound_too(path: Path) -> None:
    with Outbox(path, max_bytes=1024) as outbox:
        outbox.put("a", b"x" * 900, urgent=True).wait(TIMEOUT_S)
        with pytest.raises(OutboxFullError, match="max_bytes=1024"):
            outbox.put("a", b"x" * 200)
    for policy in ("drop_oldest", "drop_lowest_priority"):
        with Outbox(path, max_bytes=1024, when_full=policy) as outbox, pytest.raises(OutboxFullError):
            outbox.put("a", b"x" * 1100)


@pytest.mark.parametrize(
    ("policy", "left"),
    [("drop_oldest", ["9/1", "4/2", "0/3"]), ("drop_lowest_priority", ["9/1", "4/0", "4/2"])],
)
def test_room_is_made_by_the_chosen_policy_and_what_is_dropped_is_counted_and_told(
    path: Path, policy: Any, left: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with Outbox(path, max_messages=3, when_full=policy) as outbox:
        for at, priority in enumerate([4, 9, 4]):
            outbox.put(f"{priority}/{at}", priority=priority)
        outbox.put("0/3", priority=0, urgent=True).wait(TIMEOUT_S)
        until(lambda: outbox.stats().dropped_full == 1)
        assert topics_of(take(outbox, 3)) == left
        assert outbox.stats().messages == 3
    assert "1 messages were dropped: the outbox was full" in caplog.text


def test_what_is_with_the_server_already_is_not_dropped(path: Path) -> None:
    with Outbox(path, max_messages=2, when_full="drop_oldest") as outbox:
        put_all(outbox, ["a", "b"])
        [taken] = take(outbox, 1)
        put_all(outbox, ["c"])
        until(lambda: outbox.stats().dropped_full == 1)
        assert taken.topic == "a"
        assert topics_of(take(outbox, 1)) == ["c"]


def test_a_message_expiry_is_counted_down_and_kept_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(path)
    with outbox:
        outbox.put("short", message_expiry_interval=60)
        outbox.put("long", message_expiry_interval=3600, urgent=True).wait(TIMEOUT_S)
    later(monkeypatch, 600)
    with outbox:
        [message] = take(outbox, 1)
        assert message.topic == "long"
        assert 2990 <= message.properties["message_expiry_interval"] <= 3000
        assert (outbox.stats().dropped_expired, outbox.stats().messages) == (1, 1)


def test_what_is_too_old_is_dropped_whether_or_not_anybody_asks_for_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(path, max_age_s=3600)
    with outbox:
        put_all(outbox, ["a", "b"])
    later(monkeypatch, 4000)
    with outbox:
        put_all(outbox, ["c"])
        until(lambda: outbox.stats().dropped_old == 2)
        assert topics_of(take(outbox, 1)) == ["c"]


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + int(seconds * 1e9))


@pytest.mark.parametrize("years", [-56, -1 / 12], ids=["a board without a battery", "a clock that was set back"])
def test_a_clock_that_was_wrong_makes_no_message_expire(
    path: Path, monkeypatch: pytest.MonkeyPatch, years: float
) -> None:
    outbox = Outbox(path, max_age_s=3600)
    with monkeypatch.context() as earlier:
        if years < -1:
            later(earlier, years * 365 * 86400)
        with outbox:
            outbox.put("a", message_expiry_interval=600, urgent=True).wait(TIMEOUT_S)
    with monkeypatch.context() as now:
        if years > -1:
            later(now, years * 365 * 86400)
        with outbox:
            [message] = take(outbox, 1)
            assert 590 <= message.properties["message_expiry_interval"] <= 600
            assert outbox.stats().dropped_old == 0


# The file.


def test_the_file_is_for_its_user_alone(path: Path) -> None:
    with Outbox(path) as outbox:
        put_all(outbox, ["a"])
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


HOLD = """
import sys
from iotwire.outbox import Outbox
with Outbox(sys.argv[1]) as outbox:
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_the_first_goes_on(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        with pytest.raises(OutboxError, match="another process has this outbox open"):
            Outbox(path).open()
        first.communicate(timeout=TIMEOUT_S)
    with Outbox(path) as outbox:
        put_all(outbox, ["a"])


@needs_fork
def test_a_child_of_fork_is_refused(path: Path) -> None:
    with Outbox(path) as outbox:
        put_all(outbox, ["a"])
        assert "opened before a fork" in in_child(lambda: outbox.put("b"))
        put_all(outbox, ["c"])


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("sync", "never", "always, interval, os"),
        ("when_full", "drop", "refuse"),
        ("commit_window_s", -1, "0 to 60"),
        ("sync_interval_s", 0, "0.01"),
        ("max_bytes", 10, "1024"),
        ("max_messages", 0, "1 to"),
        ("max_age_s", "1", "1 to"),
    ],
)
def test_an_option_out_of_range_is_named_with_what_is_allowed(path: Path, name: str, value: Any, allowed: str) -> None:
    with pytest.raises(EncodeError, match=allowed) as caught:
        Outbox(path, **{name: value})
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"topic": "a/#"}, "topic"),
        ({"topic": "a", "qos": 3}, "qos"),
        ({"topic": "a", "priority": 10}, "priority"),
        ({"topic": "a", "payload": "text"}, "payload"),
        ({"topic": "a", "message_expiry_interval": -1}, "message_expiry_interval"),
    ],
)
def test_what_no_packet_can_carry_is_refused_before_it_is_stored(
    path: Path, arguments: dict[str, Any], field: str
) -> None:
    with Outbox(path) as outbox:
        with pytest.raises(EncodeError) as caught:
            outbox.put(**arguments)
        assert caught.value.field == field
        assert outbox.stats().messages == 0


def test_an_outbox_that_is_not_open_says_so(path: Path) -> None:
    outbox = Outbox(path)
    with pytest.raises(OutboxError, match="is not open"):
        outbox.put("a")
    with outbox, pytest.raises(OutboxError, match="is open already"):
        outbox.open()
    with pytest.raises(OutboxError, match="is not open"):
        outbox.put("a")
    outbox.close()


def test_a_folder_that_is_not_there_is_an_error_that_names_it(path: Path) -> None:
    with pytest.raises(OutboxError, match=r"nowhere.*No such file or directory"):
        Outbox(path.parent / "nowhere" / "outbox.db").open()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE TABLE t (x)", "is a database, but no outbox"),
        ("PRAGMA application_id = 7", "is a database, but no outbox"),
        ("PRAGMA user_version = 99; PRAGMA application_id = 1229935703", "is an outbox of layout 99"),
    ],
)
def test_a_file_of_something_else_is_left_alone(path: Path, statement: str, message: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(statement)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(OutboxError, match=message):
        Outbox(path).open()
    assert path.read_bytes() == before


# What may happen to a file.


def fill(path: Path, count: int = 400) -> None:
    with Outbox(path) as outbox:
        put_all(outbox, [f"t/{at}" for at in range(count)])


def spoil_header(data: bytearray) -> None:
    data[:16] = bytes(16)


def spoil_a_page(data: bytearray) -> None:
    page = 1024 * (len(data) // 1024 // 2)
    data[page : page + 1024] = b"\xa5" * 1024


def tip_a_bit(data: bytearray) -> None:
    at = data.index(b"t/200") + 10  # in its payload
    data[at] ^= 0x10


def cut_off_the_end(data: bytearray) -> None:
    del data[len(data) * 3 // 4 :]


@pytest.mark.parametrize(
    ("spoil", "least"),
    [(spoil_header, 0), (spoil_a_page, 350), (tip_a_bit, 399), (cut_off_the_end, 0)],
    ids=["no header", "a page", "one bit", "cut off"],
)
def test_a_damaged_file_is_set_aside_and_what_can_be_read_is_stored_again(
    path: Path, spoil: Callable[[bytearray], None], least: int, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path)
    data = bytearray(path.read_bytes())
    spoil(data)
    path.write_bytes(data)
    with Outbox(path) as outbox:
        put_all(outbox, ["new"])  # as if nothing were wrong
        topics: list[str] = []
        while "new" not in topics:
            topics += topics_of(take(outbox, 1))
        assert least <= len(topics) - 1 <= 400
        assert topics[:-1] == sorted(set(topics[:-1]), key=lambda topic: int(topic[2:]))
        assert outbox.stats().messages == len(topics)
        assert list(path.parent.glob("outbox.db.damaged-*")) != []
    assert "is damaged" in caplog.text
    with Outbox(path) as outbox:
        assert outbox.stats().messages == len(topics)


def test_any_bytes_changed_are_no_crash(path: Path) -> None:
    fill(path)
    good = path.read_bytes()
    dice = random.Random(5)
    refusals: list[str] = []
    read = 0
    for _ in range(100):
        data = bytearray(good)
        for _ in range(dice.choice((1, 10, 200))):
            data[dice.randrange(len(data))] = dice.randrange(256)
        path.write_bytes(data)
        outbox = Outbox(path)
        try:
            outbox.open()
        except OutboxError as error:  # bytes that say what the file is
            refusals.append(str(error))
        else:
            with closing(outbox):
                put_all(outbox, ["new"])
                topics: list[str] = []
                arrived = threading.Event()
                arrived.set()

                def deliver(messages: list[StoredMessage], into: list[str] = topics, told: Any = arrived) -> None:
                    into.extend(topics_of(messages))
                    told.set()

                while len(topics) < outbox.stats().messages:  # which becomes less where damage is found
                    if arrived.wait(0.01):
                        arrived.clear()
                        outbox.fetch(100, 1 << 20, deliver)
            assert len(set(topics)) == len(topics)
            assert set(topics) <= {"new", *(f"t/{at}" for at in range(400))}
            assert "new" in topics or outbox.stats().damaged
            read += len(topics)
        for file in path.parent.iterdir():
            file.unlink()
    assert read > 20_000
    assert all("no outbox" in refusal or "layout" in refusal for refusal in refusals)


def test_a_disk_that_is_full_is_an_error_and_what_was_stored_stays(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Outbox(path, commit_window_s=0) as outbox:
        put_all(outbox, ["a", "b"])
        assert outbox._store is not None
        limit = outbox._store._connection
        limit.execute("PRAGMA max_page_count = 8")
        with pytest.raises(OutboxError, match="disk is full"):
            outbox.put("c", b"x" * 100_000).wait(TIMEOUT_S)
        assert outbox.stats().messages == 2
        limit.execute("PRAGMA max_page_count = 1000000")
        put_all(outbox, ["d"])
        assert topics_of(take(outbox, 3)) == ["a", "b", "d"]
    assert "disk is full" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_ever_whatever_happens_to_the_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Outbox(path, commit_window_s=60) as outbox:
        waiting = outbox.put("a")
        monkeypatch.setattr(outbox._store, "write", lambda *_, **__: 1 / 0)
        with pytest.raises(OutboxError, match="ZeroDivisionError"):
            outbox.put("b", urgent=True).wait(TIMEOUT_S)
        with pytest.raises(OutboxError, match="ZeroDivisionError"):
            waiting.wait(TIMEOUT_S)
        with pytest.raises(OutboxError, match="is not open"):
            outbox.put("c")


def test_a_disk_that_fails_while_it_is_read_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR

    def fail(_: Store) -> tuple[int, int]:
        raise error

    with monkeypatch.context() as failing:
        failing.setattr(Store, "totals", fail)
        with pytest.raises(OutboxError, match="disk I/O error"):
            Outbox(path).open()
    assert list(path.parent.glob("*damaged*")) == []
    with Outbox(path) as outbox:
        assert outbox.stats().messages == 400


def once_without_memory(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    real = getattr(owner, name)

    def fail(*arguments: Any, **keywords: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        raise MemoryError

    monkeypatch.setattr(owner, name, fail)


def test_an_outbox_that_has_no_memory_to_write_says_so_and_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Outbox(path) as outbox:
        put_all(outbox, ["a"])
        once_without_memory(monkeypatch, Store, "write")
        with pytest.raises(OutboxError, match="there is no memory for it"):
            outbox.put("b", urgent=True).wait(TIMEOUT_S)
        put_all(outbox, ["c"])
        assert topics_of(take(outbox, 2)) == ["a", "c"]


@pytest.mark.parametrize(
    ("owner", "name"), [(Store, "read"), (iotwire.outbox.outbox, "message_of")], ids=["a row", "a message"]
)
def test_an_outbox_that_has_no_memory_to_read_reads_again_and_in_order(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, owner: Any, name: str
) -> None:
    with Outbox(path) as outbox:
        put_all(outbox, ["a", "b", "c"])
        once_without_memory(monkeypatch, owner, name)
        assert topics_of(take(outbox, 3)) == ["a", "b", "c"]
    assert "there is no memory for it" in caplog.text


def test_what_was_given_back_is_taken_again_before_what_comes_after_it(path: Path) -> None:
    with Outbox(path) as outbox:
        put_all(outbox, ["a", "b", "c", "d"])
        first, *rest = take(outbox, 3)
        outbox.give_back([each.id for each in rest])
        assert topics_of(take(outbox, 3)) == ["b", "c", "d"]
        outbox.done(first.id)
        outbox.give_back([first.id])  # which is nobody's any more
        assert outbox.stats().messages == 3


PUBLISH = """
import sys
from iotwire.outbox import Outbox
with Outbox(sys.argv[1], commit_window_s=0.002) as outbox:
    for at in range(1_000_000):
        ticket = outbox.put("t", b"%d" % at, urgent=at % 7 == 0)
        if at % 5 == 0:
            ticket.wait()
            print(at, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["always", "interval", "os"])
def test_a_process_that_is_killed_loses_nothing_that_was_said_to_be_stored(path: Path, sync: str) -> None:
    dice = random.Random(sync)
    program = PUBLISH.replace("sys.argv[1],", f"sys.argv[1], sync={sync!r},")
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [int(process.stdout.readline()) for _ in range(dice.randrange(1, 60))]
            process.send_signal(signal.SIGKILL)
            told += [int(line) for line in process.stdout.read().splitlines()]
        with Outbox(path) as outbox:
            count = outbox.stats().messages
            messages = take(outbox, count)
            assert [int(message.payload) for message in messages] == list(range(count))
            assert count > told[-1]
            for message in messages:
                outbox.done(message.id)


def test_a_log_that_is_no_longer_there_to_write_is_no_crash(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    with Outbox(path, commit_window_s=0) as outbox:
        put_all(outbox, ["a"])
        assert outbox._store is not None
        outbox._store._connection.execute("PRAGMA query_only = 1")
        with pytest.raises(OutboxError, match="readonly"):
            outbox.put("b").wait(TIMEOUT_S)
        outbox._store._connection.execute("PRAGMA query_only = 0")
        put_all(outbox, ["c"])
        assert topics_of(take(outbox, 2)) == ["a", "c"]


def test_a_link_to_the_file_is_as_good_as_its_name(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    with Outbox(link, sync="interval", sync_interval_s=0.01) as outbox:
        put_all(outbox, ["a"])
        until(lambda: outbox.stats().forced > 0)
    with Outbox(path) as outbox:
        assert topics_of(take(outbox, 1)) == ["a"]


@pytest.mark.parametrize("column", ["stored_ms", "expires_ms", "packet"])
def test_a_bit_that_has_tipped_over_is_noticed_wherever_it_is(path: Path, column: str) -> None:
    with Outbox(path) as outbox:
        put_all(outbox, ["a", "b"], message_expiry_interval=60)
    with closing(sqlite3.connect(path)) as file, file:
        change = "substr(packet, 1, length(packet) - 1) || x'00'" if column == "packet" else f"{column} + (1 << 20)"
        file.execute(f"UPDATE messages SET {column} = {change} WHERE id = (SELECT min(id) FROM messages)")
    with Outbox(path) as outbox:
        assert topics_of(take(outbox, 1)) == ["b"]
        assert outbox.stats().damaged == 1


# What a session has to remember.


def keep(outbox: Outbox, *changes: Change) -> None:
    told = threading.Event()
    errors: list[OutboxError | None] = []

    def tell(error: OutboxError | None) -> None:
        errors.append(error)
        told.set()

    outbox.keep(list(changes), tell)
    assert told.wait(TIMEOUT_S)
    if errors[0] is not None:
        raise errors[0]


def put_three(outbox: Outbox) -> list[int]:
    tickets = [outbox.put(topic, b"", 2) for topic in ("a", "b", "c")]
    outbox.flush().wait(TIMEOUT_S)
    return [ticket.id for ticket in tickets]


@pytest.mark.parametrize("is_opened_again", [False, True], ids=["at once", "after a restart"])
def test_what_was_kept_of_a_session_is_there_for_it_again(path: Path, is_opened_again: bool) -> None:
    outbox = Outbox(path)
    with outbox:
        first, second, third = put_three(outbox)
        assert outbox.attach("client", "c at s") == ([], [])
        take(outbox, 3)
        keep(outbox, Change("sent", 9, second), Change("sent", 2, first), Change("received", 5), Change("received", 4))
        keep(outbox, Change("released", 9), Change("completed", 4))
        outbox.detach("client")
        if is_opened_again:
            outbox.close()
            outbox.open()
        saved = outbox.attach("client", "c at s")
        assert [(packet_id, is_released, each.id) for packet_id, is_released, each in saved.sent] == [
            (9, True, second),
            (2, False, first),
        ]
        assert saved.received == [5]
        assert [message.id for message in take(outbox, 1)] == [third]


def test_of_another_session_what_was_released_is_done_and_the_rest_is_new(path: Path) -> None:
    outbox = Outbox(path)
    with outbox:
        first, second, third = put_three(outbox)
        outbox.attach("client", "c at s")
        take(outbox, 3)
        keep(outbox, Change("sent", 1, first), Change("sent", 2, second), Change("received", 5), Change("released", 1))
    with outbox:
        assert outbox.attach("client", "d at s") == ([], [])
        assert [message.id for message in take(outbox, 2)] == [second, third]
        assert outbox.stats().delivered == 1
    with outbox:
        assert outbox.attach("client", "c at s") == ([], [])


def test_a_message_that_is_done_takes_its_packet_id_with_it(path: Path) -> None:
    outbox = Outbox(path)
    with outbox:
        first, second, _ = put_three(outbox)
        outbox.attach("client", "c at s")
        take(outbox, 3)
        keep(outbox, Change("sent", 1, first))
        outbox.done(first)
        keep(outbox, Change("sent", 1, second))
        # The one process is killed here, as far as the file is concerned.
        with closing(sqlite3.connect(path.with_name("copy"))) as copy:
            assert outbox._store is not None
            outbox._store._connection.backup(copy)
    with Outbox(path.with_name("copy")) as outbox:
        assert [(packet_id, each.id) for packet_id, _, each in outbox.attach("client", "c at s").sent] == [(1, second)]


def test_begun_voids_what_was_kept_before(path: Path) -> None:
    with Outbox(path) as outbox:
        first, second, _ = put_three(outbox)
        outbox.attach("client", "c at s")
        keep(outbox, Change("sent", 1, first), Change("received", 5))
        keep(outbox, Change("begun"), Change("sent", 7, second))
        outbox.close()
        outbox.open()
        saved = outbox.attach("client", "c at s")
        assert [packet_id for packet_id, _, _ in saved.sent] == [7]
        assert saved.received == []


def test_what_was_kept_outlives_damage_to_the_file(path: Path) -> None:
    outbox = Outbox(path)
    with outbox:
        first, *_ = put_three(outbox)
        outbox.attach("client", "c at s")
        keep(outbox, Change("sent", 1, first), Change("received", 5))
        assert outbox._store is not None
        with outbox._lock:
            outbox._replace_damaged(sqlite3.DatabaseError("for a test"))
    with outbox:
        saved = outbox.attach("client", "c at s")
        assert [each.id for _, _, each in saved.sent] == [first]
        assert saved.received == [5]


def test_changes_that_could_not_be_written_go_with_what_is_written_next(path: Path) -> None:
    outbox = Outbox(path)
    with outbox:
        first, *_ = put_three(outbox)
        outbox.attach("client", "c at s")
        outbox.flush().wait(TIMEOUT_S)
        assert outbox._store is not None
        write = outbox._store.write

        def fail(*_: Any, **__: Any) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        outbox._store.write = fail  # type: ignore[method-assign]
        with pytest.raises(OutboxError, match="disk is full"):
            keep(outbox, Change("sent", 1, first))
        outbox._store.write = write  # type: ignore[method-assign]
        outbox.put("d", urgent=True).wait(TIMEOUT_S)
    with outbox:
        assert [packet_id for packet_id, _, _ in outbox.attach("client", "c at s").sent] == [1]


@pytest.mark.parametrize("fails", [False, True], ids=["that succeeds", "that fails"])
def test_a_session_that_begins_in_the_midst_of_a_write_is_written_next(path: Path, fails: bool) -> None:
    outbox = Outbox(path)
    with outbox:
        first, second, _ = put_three(outbox)
        outbox.attach("client", "c at s")
        outbox.flush().wait(TIMEOUT_S)
        assert outbox._store is not None
        write = outbox._store.write
        writes, may_go_on = threading.Event(), threading.Event()

        def write_slowly(*arguments: Any, **options: Any) -> None:
            assert outbox._store is not None
            outbox._store.write = write  # type: ignore[method-assign]
            writes.set()
            assert may_go_on.wait(TIMEOUT_S)
            if fails:
                raise sqlite3.OperationalError("database is locked")
            write(*arguments, **options)

        outbox._store.write = write_slowly  # type: ignore[method-assign]
        outbox.keep([Change("sent", 1, first), Change("received", 5)], lambda _: None)
        assert writes.wait(TIMEOUT_S)
        outbox.begin_session("c at t")
        may_go_on.set()
        keep(outbox, Change("sent", 2, second))
    with outbox:
        saved = outbox.attach("client", "c at t")
        assert [(packet_id, each.id) for packet_id, _, each in saved.sent] == [(2, second)]
        assert saved.received == []


def test_one_at_a_time_takes_messages(path: Path) -> None:
    with Outbox(path) as outbox:
        outbox.attach("one")
        with pytest.raises(OutboxError, match="another client takes"):
            outbox.attach("two")
        outbox.detach("two")
        with pytest.raises(OutboxError, match="another client takes"):
            outbox.attach("two")
        outbox.detach("one")
        outbox.attach("two")
