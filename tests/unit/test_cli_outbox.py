"""`iotwire outbox`: what is on disk is listed, exported and put back; and a file that is no outbox stays as it is."""

from __future__ import annotations

import json
import os
import pty
import random
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_outbox import PROPERTIES, TIMEOUT_S, fill, tip_a_bit

from iotwire.cli import main
from iotwire.cli.outbox_list import _span, _start_of
from iotwire.cli.outbox_messages import describe_stored, read_stored
from iotwire.cli.printing import PROPERTY_NAMES
from iotwire.client import PublishProperties
from iotwire.errors import EncodeError, OutboxError
from iotwire.outbox import Outbox, OutboxView, StoredMessage, ViewedMessage

TIME_LIMIT_S = 60

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Exit status, standard output, error output of a command in this process."""

    def run(*words: object) -> tuple[int, str, str]:
        status: Any
        try:
            status = main(["outbox", *map(str, words)])
        except SystemExit as leaving:  # of argparse
            status = leaving.code
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def put_three(path: Path) -> None:
    with Outbox(path) as outbox:
        outbox.put("plant/boiler/set", b"on", 2, True, message_expiry_interval=3600)
        outbox.put("plant/oven/log", b"\xff\x00", 0, priority=1, **PROPERTIES)
        outbox.put("alarm", "zu heiß".encode(), priority=9)


def put_numbers(path: Path, count: int, qos: int = 1) -> None:
    with Outbox(path) as outbox:
        for number in range(count):
            outbox.put("t", b"%d" % number, qos)


def messages_in(path: Path) -> list[ViewedMessage]:
    with OutboxView(path) as view:
        return list(view.messages())


def unnumbered(path: Path) -> list[ViewedMessage]:
    return [each._replace(message=each.message._replace(id=0)) for each in messages_in(path)]


# ---- list


@pytest.mark.parametrize("words", [(), ("list",)], ids=["by itself", "list"])
def test_a_list_has_a_summary_and_the_messages_in_the_order_in_which_they_leave(
    path: Path, run: Run, words: tuple[str, ...]
) -> None:
    put_three(path)
    size = sum(each.size for each in messages_in(path))
    status, out, err = run(path, *words)
    assert (status, err) == (0, "")
    summary, _, table = out.partition("\n\n")
    facts = {line[:14].strip(): line[16:] for line in summary.splitlines()[1:]}
    assert summary.startswith(f"{path}\n")
    assert facts["messages"] == "3"
    assert facts["bytes"] == str(size)
    assert facts["by priority"] == "9: 1, 4: 1, 1: 1"
    assert facts["oldest"].endswith(" s ago")
    assert facts["newest"].endswith(" s ago")
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == ["priority", "age", "expires", "QoS", "retain", "bytes", "topic", "payload"]
    assert [(row[0], row[-2]) for row in rows[1:]] == [
        ("9", "zu"),
        ("4", "plant/boiler/set"),
        ("1", "plant/oven/log"),
    ]
    assert rows[2][3:7] == ["59", "min", "2", "yes"]
    assert rows[3][-1] == r"\xff\x00"


def test_a_list_ends_where_it_is_told_and_says_how_many_are_left(path: Path, run: Run) -> None:
    put_numbers(path, 30)
    for words, shown, more in (
        ((), 20, "and 10 more"),
        (("--limit", "28"), 28, "and 2 more"),
        (("list", "--limit", "30"), 30, ""),
    ):
        status, out, _ = run(path, *words)
        assert status == 0
        assert "messages      30" in out
        assert sum(line.split()[-2:-1] == ["t"] for line in out.splitlines()) == shown
        assert more in out
        assert more or "more" not in out
    assert "\n\n" not in run(path, "--limit", "0")[1]


def test_a_topic_filter_says_which_messages_are_meant(path: Path, run: Run) -> None:
    put_three(path)
    for words in (("-t", "plant/#"), ("--topic", "plant/#", "list"), ("list", "-t", "plant/#")):
        _, out, _ = run(path, "--json", *words)
        summary, *lines = map(json.loads, out.splitlines())
        assert summary["summary"]["messages"] == 2
        assert [line["topic"] for line in lines] == ["plant/boiler/set", "plant/oven/log"]
    status, out, err = run(path, "-t", "a/#/b")
    assert (status, out) == (2, "")
    assert "--topic: a topic filter may have '#' only as its whole last level" in err


def test_a_list_as_json_has_all_of_each_message(path: Path, run: Run) -> None:
    put_three(path)
    _, out, _ = run(path, "--json", "--limit", "2")
    summary, first, second = map(json.loads, out.splitlines())
    assert summary["summary"] | {"oldest": "", "newest": ""} == {
        "messages": 3,
        "expired": 0,
        "bytes": sum(each.size for each in messages_in(path)),
        "oldest": "",
        "newest": "",
        "by_priority": {"9": 1, "4": 1, "1": 1},
    }
    assert summary["summary"]["oldest"] <= first["stored_at"] <= summary["summary"]["newest"]
    assert (first["payload"], second["payload"]) == ("zu heiß", "on")
    assert first["bytes"] == messages_in(path)[0].size


def test_an_empty_outbox_is_a_summary_of_nothing(path: Path, run: Run) -> None:
    put_numbers(path, 0)
    assert run(path)[1] == f"{path}\n  messages      0\n  bytes         0\n"
    assert json.loads(run(path, "--json")[1])["summary"]["oldest"] is None


def test_what_has_expired_is_said(path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with Outbox(path) as outbox:
        outbox.put("a", message_expiry_interval=100)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 300 * 10**9)
    out = run(path)[1]
    assert "messages      1, of which 1 expired" in out
    assert out.splitlines()[-1].split()[:5] == ["4", "5", "min", "over", "1"]


@pytest.mark.slow  # it starts the command
def test_a_terminal_is_given_no_orders_by_an_outbox(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[2Jout\nbox"
    with Outbox(path) as outbox:
        outbox.put("tty/\x1b[2J", "\x1b]0;owned\x07\x9b2Jé\u202e\r\n\t".encode() + b"\xff")
    for words in ((), ("--json",), ("export",)):
        leader, follower = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "iotwire", "outbox", str(path), *words],
            stdout=follower,
            env={**os.environ, "NO_COLOR": "1"},
        ) as process:
            os.close(follower)
            assert process.wait(TIME_LIMIT_S) == 0
        shown = os.read(leader, 65536).decode()
        os.close(leader)
        assert all(each.isprintable() or each in "\r\n" for each in shown)
        if not words:
            assert r"tty/\x1b[2J  \x1b]0;owned\x07\x9b2Jé\u202e\r\n\t\xff" in shown
            assert r"\x1b[2Jout\nbox" in shown


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"", ""),
        (b"x" * 32, "x" * 32),
        (b"x" * 33, "x" * 32 + "..."),
        ("é" * 500, "é" * 32 + "..."),
        ("\U0001f525" * 33, "\U0001f525" * 32 + "..."),
        ("ab" + "\U0001f525" * 33, "ab" + "\U0001f525" * 30 + "..."),
    ],
)
def test_the_start_of_a_payload_is_whole_characters(payload: bytes | str, shown: str) -> None:
    assert _start_of(payload.encode() if isinstance(payload, str) else payload) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_a_length_of_time_is_in_the_largest_unit_that_fits(seconds: int, shown: str) -> None:
    assert _span(seconds * 1000) == shown


# ---- what is wrong

BARE = {name: value for name, value in os.environ.items() if not name.startswith(("IOTWIRE_", "AWS_"))}


ACTIONS: tuple[tuple[str, ...], ...] = ((), ("export",), ("import",), ("drain", "--broker", "-h", "127.0.0.1"))


@pytest.mark.slow  # it starts the command
@pytest.mark.parametrize("words", ACTIONS, ids=lambda words: words[0] if words else "list")
@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "outbox.db: "), (b"", "is no outbox: it is empty"), (b"[sensor]\n", "is no outbox")],
)
def test_a_mistyped_path_makes_no_file_and_changes_none(
    path: Path, content: bytes | None, message: str, words: tuple[str, ...]
) -> None:
    if content is not None:
        path.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "iotwire", "outbox", str(path), *words],
        input=b'{"topic": "a", "payload": ""}\n',
        capture_output=True,
        timeout=TIME_LIMIT_S,
        check=False,
        env=BARE,
    )
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert message.encode() in done.stderr
    assert [file.name for file in path.parent.iterdir()] == ([] if content is None else ["outbox.db"])
    assert content is None or path.read_bytes() == content


@pytest.mark.slow  # it starts the command
@pytest.mark.parametrize("words", ACTIONS, ids=lambda words: words[0] if words else "list")
def test_an_outbox_that_a_client_has_open_is_said(path: Path, words: tuple[str, ...]) -> None:
    with Outbox(path) as outbox:
        outbox.put("a", urgent=True).wait(TIMEOUT_S)
        done = subprocess.run(
            [sys.executable, "-m", "iotwire", "outbox", str(path), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIME_LIMIT_S,
            check=False,
            env=BARE,
        )
    assert (done.returncode, done.stdout) == (1, b"")
    assert (
        done.stderr == f"iotwire: {path}: another process has this outbox open, and an outbox has one writer\n".encode()
    )


@pytest.mark.parametrize("words", [("--limit", "400"), ("export",)], ids=["list", "export"])
def test_of_a_damaged_outbox_the_rest_is_shown_and_the_status_says_it(
    path: Path, run: Run, words: tuple[str, ...]
) -> None:
    fill(path)
    data = bytearray(path.read_bytes())
    tip_a_bit(data)
    path.write_bytes(data)
    status, out, err = run(path, *words)
    assert status == 1
    assert out.count("t/") >= 399
    assert "t/200" not in out
    assert err.startswith(f"iotwire: {path} is damaged: this is what can be read of it")
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("dance",), "invalid choice: 'dance'"),
        (("--limit", "-1"), "a number from 0 to"),
        (("--limit", "3", "export"), "--limit: has no use with export"),
        (("--json", "import"), "--json: has no use with import"),
        (("--topic", "a", "drain", "-h", "b"), "--topic: has no use with drain"),
        (("export", "--force"), "--force: belongs to --output"),
        (("drain",), "no host: give -h HOST"),
        (("drain", "-h", "b", "--password", "x"), "every user of this machine can read arguments"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_that_make_no_sense_are_a_usage_error(
    path: Path, run: Run, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IOTWIRE_ENDPOINT", raising=False)
    put_numbers(path, 1)
    status, out, err = run(path, *words)
    assert (status, out) == (2, "")
    assert message in err


# ---- export and import


def test_what_is_exported_says_which_form_its_payload_has(path: Path, run: Run) -> None:
    put_three(path)
    status, out, err = run(path, "export")
    assert (status, err) == (0, "")
    alarm, boiler, oven = map(json.loads, out.splitlines())
    times = [(line.pop("stored_at"), line.pop("expires_at")) for line in (alarm, boiler, oven)]
    assert [expires is None for _, expires in times] == [True, False, True]
    assert all(stored.endswith("Z") and len(stored) == 24 for stored, _ in times)
    assert alarm == {
        "topic": "alarm",
        "payload": "zu heiß",
        "qos": 1,
        "retain": False,
        "properties": {},
        "priority": 9,
    }
    assert (boiler["qos"], boiler["retain"], boiler["properties"]) == (2, True, {"message_expiry_interval": 3600})
    assert oven["payload_base64"] == "/wA="
    assert oven["properties"] == {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": "answers/7",
        "correlation_data_base64": "AP8=",
        "user_properties": [["unit", "C"], ["unit", "K"]],
    }


def test_what_is_exported_and_imported_is_the_same(path: Path, run: Run) -> None:
    put_three(path)
    file, other = path.with_name("lines"), path.with_name("other.db")
    assert run(path, "export", "--output", file) == (0, "3 exported\n", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run(other, "import", "--input", file, "--create") == (0, "3 stored, 0 expired, 0 refused\n", "")
    assert unnumbered(other) == unnumbered(path)
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
    assert run(other, "import", "--input", file)[0] == 0
    assert [each.message.topic for each in messages_in(other)] == [
        topic for each in messages_in(path) for topic in [each.message.topic] * 2
    ]


def test_messages_of_any_kind_survive_a_line_of_json() -> None:
    dice = random.Random(7)
    for _ in range(300):
        properties = {name: value for name, value in PROPERTIES.items() if dice.random() < 0.5}
        message = StoredMessage(
            0,
            "".join(chr(dice.choice((0x20, 0x7F, 0x1B, 0xE9, 0x202E, 0x1F525))) for _ in range(5)),
            dice.randbytes(dice.randrange(3)),
            dice.randrange(3),
            dice.random() < 0.5,
            properties,
        )
        viewed = ViewedMessage(message, dice.randrange(10), dice.randrange(1 << 41), dice.choice((None, 1 << 41)), 0)
        assert read_stored(json.dumps(describe_stored(viewed)).encode()) == viewed


def test_no_property_of_a_message_is_left_out() -> None:
    assert set(PROPERTY_NAMES) == set(PublishProperties.__annotations__)


def test_a_file_that_is_there_is_replaced_only_when_told(path: Path, run: Run) -> None:
    put_three(path)
    file = path.with_name("lines")
    file.write_text("precious")
    file.chmod(0o644)
    status, out, err = run(path, "export", "-o", file)
    assert (status, out) == (1, "")
    assert err == f"iotwire: --output: {file} is there already; --force replaces it\n"
    assert file.read_text() == "precious"
    assert run(path, "export", "-o", file, "--force")[0] == 0
    assert file.read_text().count("\n") == 3
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = path.read_bytes()
    status, _, err = run(path, "export", "-o", path, "--force")
    assert (status, err) == (1, "iotwire: --output: is the outbox itself\n")
    assert path.read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir()) == ["lines", "outbox.db"]


def test_an_export_that_fails_leaves_no_half_of_a_file(path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    put_three(path)
    file = path.with_name("lines")
    file.write_text("precious")
    _, _, err = run(path, "export", "-o", path.parent / "nowhere" / "lines")
    assert "nowhere/lines: No such file or directory" in err

    def fail(*_: object) -> None:
        raise OutboxError("the disk is gone")

    monkeypatch.setattr("iotwire.cli.outbox_export.describe_stored", fail)
    for words in (("-o", file, "--force"), ("-o", path.with_name("new"))):
        assert run(path, "export", *words) == (1, "", "iotwire: the disk is gone\n")
    assert file.read_text() == "precious"
    assert sorted(each.name for each in path.parent.iterdir()) == ["lines", "outbox.db"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "an object of JSON is expected"),
        ("[1]", "an object of JSON is expected"),
        ("[" * 100_000, "an object of JSON is expected"),
        ('{"summary": {}}', "summary: is no key of a message"),
        ('{"topic": "a"}', "payload: either this or payload_base64 is expected"),
        ('{"topic": "a", "payload": "", "payload_base64": ""}', "payload: either this or payload_base64 is expected"),
        ('{"topic": "a", "payload": 7}', "payload: a text is expected"),
        (r'{"topic": "a", "payload": "\ud800"}', "payload: a text is expected"),
        ('{"topic": "a", "payload_base64": "?"}', "payload_base64: base64 is expected"),
        ('{"topic": "a", "payload_base64": 7}', "payload_base64: base64 is expected"),
        ('{"topic": "a", "payload": "", "retain": 1}', "retain: true or false is expected"),
        ('{"topic": "a", "payload": "", "stored_at": "soon"}', "stored_at: a time such as"),
        ('{"topic": "a", "payload": "", "stored_at": "2026-01-31T12:00:00"}', "stored_at: a time such as"),
        ('{"topic": "a", "payload": "", "expires_at": 7}', "expires_at: a time such as"),
        ('{"topic": "a", "payload": "", "properties": []}', "properties: an object of JSON is expected"),
        ('{"topic": "a", "payload": "", "properties": {"x": 1}}', "x: is no property of a PUBLISH"),
        ('{"topic": "a", "payload": "", "properties": {"user_properties": [["a"]]}}', "user_properties: pairs"),
        (
            '{"topic": "a", "payload": "", "properties": {"correlation_data_base64": 1}}',
            "correlation_data_base64: base64",
        ),
    ],
)
def test_a_line_that_is_no_message_is_told_by_its_key(line: str, said: str) -> None:
    with pytest.raises(EncodeError) as caught:
        read_stored(line.encode())
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"topic": "a/#"}, "topic"),
        ({"topic": ""}, "topic"),
        ({"topic": 7}, "topic"),
        ({"topic": None}, "topic"),
        ({"topic": "\ud800"}, "topic"),
        ({"qos": 3}, "qos"),
        ({"qos": "1"}, "qos"),
        ({"qos": None}, "qos"),
        ({"priority": 10}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": None}, "priority"),
        ({"properties": {"message_expiry_interval": "soon"}}, "message_expiry_interval"),
        ({"properties": {"message_expiry_interval": 1 << 40}}, "message_expiry_interval"),
        ({"properties": {"content_type": 7}}, "content_type"),
        ({"properties": {"payload_format_indicator": 9}}, "payload_format_indicator"),
        ({"properties": {"user_properties": [[1, 2]]}}, "user_properties"),
        ({"properties": {"response_topic": "a/#"}}, "response_topic"),
    ],
)
def test_lines_that_are_refused_are_named_and_the_others_stored(
    path: Path, run: Run, changed: dict[str, Any], field: str
) -> None:
    good = {"topic": "a", "payload": "1"}
    file = path.with_name("lines")
    file.write_text("".join(json.dumps(line) + "\n" for line in (good, good | changed, good)))
    status, out, err = run(path, "import", "-i", file, "--create")
    assert (status, out) == (1, "2 stored, 0 expired, 1 refused\n")
    assert err.startswith("iotwire: line 2: ")
    assert field in err
    assert err.count("\n") == 1
    assert len(messages_in(path)) == 2


def test_what_a_line_leaves_out_is_as_in_put(path: Path, run: Run) -> None:
    file = path.with_name("lines")
    file.write_text(
        '{"topic":"a","payload":"1"}\n\n{"topic":"b","payload":"","properties":{"message_expiry_interval":60}}'
    )
    assert run(path, "import", "-i", file, "--create") == (0, "2 stored, 0 expired, 0 refused\n", "")
    first, second = messages_in(path)
    assert first[:2] == (StoredMessage(first.message.id, "a", b"1", 1, False, {}), 4)
    assert abs(first.stored_ms - time.time() * 1000) < TIME_LIMIT_S * 1000
    assert second.expires_ms is not None
    assert abs(second.expires_ms - second.stored_ms - 60_000) < 1000


def test_what_has_expired_meanwhile_is_left_out(path: Path, run: Run) -> None:
    put_numbers(path, 1)
    file = path.with_name("lines")
    file.write_text('{"topic": "a", "payload": "1", "expires_at": "2020-01-01T00:00:00Z"}\n')
    assert run(path, "import", "-i", file) == (0, "0 stored, 1 expired, 0 refused\n", "")
    assert len(messages_in(path)) == 1


def test_many_lines_are_stored_in_their_order(path: Path, run: Run) -> None:
    put_numbers(path, 3500)
    other, file = path.with_name("other.db"), path.with_name("lines")
    assert run(path, "export", "-o", file)[0] == 0
    assert run(other, "import", "-i", file, "--create")[1] == "3500 stored, 0 expired, 0 refused\n"
    assert unnumbered(other) == unnumbered(path)


@pytest.mark.slow  # it starts the command
def test_a_pipe_from_one_outbox_to_another(path: Path) -> None:
    put_three(path)
    other = path.with_name("other.db")
    command = [sys.executable, "-m", "iotwire", "outbox"]
    with subprocess.Popen([*command, str(path), "export"], stdout=subprocess.PIPE) as export:
        done = subprocess.run(
            [*command, str(other), "import", "--create"],
            stdin=export.stdout,
            capture_output=True,
            timeout=TIME_LIMIT_S,
            check=True,
        )
    assert done.stdout == b"3 stored, 0 expired, 0 refused\n"
    assert unnumbered(other) == unnumbered(path)
