"""The text for Prometheus, read again by a parser that was written from the description of the format alone."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from iotwire import Client, ClientStats, RouteStats, Traffic
from iotwire.errors import EncodeError, IotwireError
from iotwire.metrics import METRICS, prometheus_text, write_textfile
from iotwire.mqtt import PacketType
from iotwire.outbox import Outbox, OutboxStats
from scripted import Taking, asynchronous, scripted, until

Labels = frozenset[tuple[str, str]]


class Family(NamedTuple):
    help: str
    kind: str
    samples: dict[Labels, float]


METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def unescape(text: str, known: Mapping[str, str]) -> str:
    pieces = re.split(r"(\\.)", text, flags=re.DOTALL)
    assert not any("\\" in piece for piece in pieces[::2])
    return "".join(known[piece[1]] if index % 2 else piece for index, piece in enumerate(pieces))


def read_labels(text: str) -> tuple[Labels, str]:
    """The labels of a sample, and what comes after them."""
    found: list[tuple[str, str]] = []
    if not text.startswith("{"):
        return frozenset(), text
    text = text[1:]
    while not text.startswith("}"):
        if found:
            assert text[0] == ","
            text = text[1:]
        name = LABEL_NAME.match(text)
        assert name, text
        value = re.compile(r'="((?:[^"\\\n]|\\.)*)"').match(text, name.end())
        assert value, text
        found.append((name[0], unescape(value[1], {"\\": "\\", '"': '"', "n": "\n"})))
        text = text[value.end() :]
    assert len({name for name, _ in found}) == len(found), "a label twice"
    return frozenset(found), text[1:]


def parse(text: str) -> dict[str, Family]:
    """Strictly: HELP and TYPE once for each name, before its samples, which stand together and all differ."""
    assert text == "" or text.endswith("\n")
    found: dict[str, Family] = {}
    helped: dict[str, str] = {}
    current = ""
    for line in text.split("\n")[:-1]:
        if line.startswith("#"):
            _, word, name, rest = line.split(" ", 3)
            assert METRIC_NAME.fullmatch(name)
            if word == "HELP":
                assert name not in helped
                helped[name] = unescape(rest, {"\\": "\\", "n": "\n"})
            else:
                assert word == "TYPE"
                assert rest in ("counter", "gauge")
                assert name not in found
                assert list(helped)[-1] == name
                found[name] = Family(helped[name], rest, {})
                current = name
            continue
        sample = METRIC_NAME.match(line)
        assert sample, line
        assert sample[0] == current
        labels, rest = read_labels(line[sample.end() :])
        assert re.fullmatch(r" \d+", rest), line
        assert labels not in found[current].samples
        found[current].samples[labels] = float(rest)
    assert list(helped) == list(found)
    assert all(family.samples for family in found.values())
    return found


NOTHING = ClientStats(
    **{
        each.name: {} if "Mapping" in str(each.type) else 0
        for each in fields(ClientStats)
        if each.name not in ("outbox", "routes")
    }
)
# Every number another one, so that none is taken for its neighbour.
EVERYTHING = ClientStats(
    messages_sent=1,
    messages_received=2,
    bytes_sent=3,
    bytes_received=4,
    messages_dropped=5,
    messages_unclaimed=6,
    messages_queued=7,
    peak_queued=8,
    peak_unread=9,
    connections=10,
    reconnects=11,
    sent={PacketType.PUBLISH: Traffic(12, 13), PacketType.CONNECT: Traffic(14, 15)},
    received={PacketType.PUBACK: Traffic(16, 17)},
    sent_by_topic={"plant": Traffic(18, 19), None: Traffic(20, 21), "": Traffic(22, 23)},
    received_by_topic={"commands": Traffic(24, 25)},
    outbox=OutboxStats(*range(26, 26 + len(fields(OutboxStats)))),
    routes=(RouteStats("a", "eth0", 37, 38, 39, 40), RouteStats("a", None, 41, 42, 43, 44)),
)


def flat(text: str) -> dict[str, float]:
    """Each sample under its name without the prefix, with its labels in order."""
    return {
        " ".join([name.removeprefix("iotwire_"), *(f"{key}={value}" for key, value in sorted(labels))]): number
        for name, family in parse(text).items()
        for labels, number in family.samples.items()
    }


def test_all_that_stats_have_is_there() -> None:
    assert flat(prometheus_text(EVERYTHING)) == {
        "messages_sent_total": 1,
        "messages_received_total": 2,
        "bytes_sent_total": 3,
        "bytes_received_total": 4,
        "messages_dropped_total": 5,
        "messages_unclaimed": 6,
        "messages_queued": 7,
        "messages_queued_peak": 8,
        "messages_unread_peak": 9,
        "connections_total": 10,
        "reconnects_total": 11,
        "packets_sent_total type=PUBLISH": 12,
        "packet_bytes_sent_total type=PUBLISH": 13,
        "packets_sent_total type=CONNECT": 14,
        "packet_bytes_sent_total type=CONNECT": 15,
        "packets_received_total type=PUBACK": 16,
        "packet_bytes_received_total type=PUBACK": 17,
        "topic_messages_sent_total level=plant": 18,
        "topic_bytes_sent_total level=plant": 19,
        "topic_messages_sent_total level=#": 20,
        "topic_bytes_sent_total level=#": 21,
        "topic_messages_sent_total level=": 22,
        "topic_bytes_sent_total level=": 23,
        "topic_messages_received_total level=commands": 24,
        "topic_bytes_received_total level=commands": 25,
        "outbox_messages": 26,
        "outbox_bytes": 27,
        "outbox_stored_total": 28,
        "outbox_delivered_total": 29,
        "outbox_commits_total": 30,
        "outbox_forced_total": 31,
        "outbox_dropped_total reason=full": 32,
        "outbox_dropped_total reason=old": 33,
        "outbox_dropped_total reason=expired": 34,
        "outbox_refused_total": 35,
        "outbox_dropped_total reason=damaged": 36,
        "route_attempts_total route=1": 37,
        "route_connections_total route=1": 38,
        "route_bytes_sent_total route=1": 39,
        "route_bytes_received_total route=1": 40,
        "route_attempts_total route=2": 41,
        "route_connections_total route=2": 42,
        "route_bytes_sent_total route=2": 43,
        "route_bytes_received_total route=2": 44,
    }


def test_no_field_of_the_stats_was_forgotten() -> None:
    """A field that is added later, and not to the table, leaves its number out of the text."""
    numbers = {str(int(number)) for number in flat(prometheus_text(EVERYTHING)).values()}
    assert numbers == set(map(str, range(1, 45)))
    assert len(fields(ClientStats)) == 17
    assert len(fields(RouteStats)) == 6
    assert len(fields(OutboxStats)) == 11


def test_names_are_as_prometheus_wants_them() -> None:
    for name, family in parse(prometheus_text(EVERYTHING)).items():
        assert name.startswith("iotwire_")
        assert name.endswith("_total") == (family.kind == "counter")
        assert family.help.endswith(".")
    assert len({metric.help for metric in METRICS}) == len(METRICS)


def test_a_client_that_has_done_nothing_has_its_zeros() -> None:
    assert set(flat(prometheus_text(NOTHING)).values()) == {0}
    assert "outbox" not in prometheus_text(NOTHING)
    assert "route" not in prometheus_text(replace(NOTHING, routes=EVERYTHING.routes[:1]))
    assert "outbox_messages 0\n" in prometheus_text(replace(NOTHING, outbox=OutboxStats()))


def test_the_order_does_not_depend_on_what_came_first() -> None:
    turned = replace(
        EVERYTHING,
        sent=dict(reversed(EVERYTHING.sent.items())),
        sent_by_topic=dict(reversed(EVERYTHING.sent_by_topic.items())),
    )
    assert prometheus_text(turned) == prometheus_text(EVERYTHING)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("7", "7"),
        ("a b", "a b"),
        ('"', r"\""),
        ("\\", r"\\"),
        ("\n", r"\n"),
        ("\\n", r"\\n"),
        ('"} 1\nx{a="', r"\"} 1\nx{a=\""),
        ("\r\t é \u2028 \U0001f600", "\r\t é \u2028 \U0001f600"),
    ],
)
def test_labels_are_escaped(value: str, shown: str) -> None:
    text = prometheus_text(replace(NOTHING, sent_by_topic={value: Traffic(1, 2)}), {"site": value})
    assert f'iotwire_connections_total{{site="{shown}"}} 0\n' in text
    families = parse(text)
    assert families["iotwire_topic_messages_sent_total"].samples == {frozenset({("site", value), ("level", value)}): 1}
    assert all(("site", value) in labels for family in families.values() for labels in family.samples)


def test_several_clients_stand_in_one_text() -> None:
    text = prometheus_text({"local": NOTHING, "cloud": EVERYTHING}, {"site": "7"}, prefix="bridge")
    samples = parse(text)["bridge_connections_total"].samples
    assert samples == {
        frozenset({("site", "7"), ("client", name)}): count for name, count in (("local", 0), ("cloud", 10))
    }
    assert list(parse(text)["bridge_outbox_messages"].samples) == [frozenset({("site", "7"), ("client", "cloud")})]
    assert prometheus_text({}) == ""
    assert 'client="own"' in prometheus_text(NOTHING, {"client": "own"})


@pytest.mark.parametrize(
    ("stats", "options", "field"),
    [
        (NOTHING, {"labels": {"": "a"}}, "labels"),
        (NOTHING, {"labels": {"1a": "a"}}, "labels"),
        (NOTHING, {"labels": {"a-b": "a"}}, "labels"),
        (NOTHING, {"labels": {"a\n": "a"}}, "labels"),
        (NOTHING, {"labels": {"é": "a"}}, "labels"),
        (NOTHING, {"labels": {"__name__": "a"}}, "labels"),
        (NOTHING, {"labels": {"type": "a"}}, "labels"),
        (NOTHING, {"labels": {"level": "a"}}, "labels"),
        (NOTHING, {"labels": {"reason": "a"}}, "labels"),
        (NOTHING, {"labels": {3: "a"}}, "labels"),
        (NOTHING, {"labels": {"a": 3}}, "labels"),
        (NOTHING, {"labels": {"a": ""}}, "labels"),  # which would be no label at all
        (NOTHING, {"labels": {"a": "\ud800"}}, "labels"),
        ({"a": NOTHING}, {"labels": {"client": "a"}}, "labels"),
        ({"": NOTHING}, {}, "stats"),
        ({3: NOTHING}, {}, "stats"),
        (NOTHING, {"prefix": ""}, "prefix"),
        (NOTHING, {"prefix": "1"}, "prefix"),
        (NOTHING, {"prefix": "a b"}, "prefix"),
    ],
)
def test_what_no_text_can_carry_is_refused(stats: Any, options: dict[str, Any], field: str) -> None:
    with pytest.raises(EncodeError) as caught:
        prometheus_text(stats, **options)
    assert caught.value.field == field


@asynchronous
async def test_the_text_is_that_of_a_real_client(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    async with scripted(Taking()) as route, Client(route, "c", outbox=outbox) as client:
        await client.publish("plant/boiler", b"81.5", 1)
        await until(lambda: client.stats().outbox.delivered == 1)
        told = flat(prometheus_text(client.stats()))
    assert told["connections_total"] == told["messages_sent_total"] == told["outbox_delivered_total"] == 1
    assert told["packets_sent_total type=PUBLISH"] == told["packets_received_total type=PUBACK"] == 1
    assert told["topic_bytes_sent_total level=plant"] == told["packet_bytes_sent_total type=PUBLISH"] > 20


# The file.


def test_a_file_is_replaced_at_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "iotwire.prom"
    write_textfile(path, "first é\n")
    assert path.read_bytes() == "first é\n".encode()
    with path.open() as reading:
        write_textfile(str(path), "second\n")
        assert reading.read() == "first é\n"  # who reads it meanwhile reads it to its end
    assert path.read_text() == "second\n"
    assert os.listdir(tmp_path) == ["iotwire.prom"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask  # the collector is another user


def test_what_cannot_be_written_leaves_all_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(IotwireError, match="was not written"):
        write_textfile(tmp_path / "no such folder" / "iotwire.prom", "a\n")
    in_the_way = tmp_path / "iotwire.prom"
    in_the_way.mkdir()
    with pytest.raises(IotwireError, match="was not written"):
        write_textfile(in_the_way, "a\n")
    assert os.listdir(tmp_path) == ["iotwire.prom"]
