"""What a client's `stats()` say, as Prometheus reads it: the text format of version 0.0.4.

Counters end in `_total` and begin with 0 when a client is made. What a name means stands in METRICS, and in
the HELP lines that come of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import EncodeError, IotwireError

if TYPE_CHECKING:
    from .client import ClientStats, Traffic

__all__ = ["CONTENT_TYPE", "prometheus_text", "write_textfile"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What an HTTP answer with such a text says of it."""

# What stands for all topics beyond the levels that are told apart. No topic has it in its name [MQTT-3.3.2-2].
OTHER_TOPICS = "#"


class Metric(NamedTuple):
    """read: the samples of one client: the value of `label`, or None without one, and the number."""

    name: str
    kind: str
    help: str
    read: Callable[[ClientStats], Iterator[tuple[str | None, int]]]
    label: str | None = None


def _field(name: str) -> Callable[[ClientStats], Iterator[tuple[str | None, int]]]:
    def read(stats: ClientStats) -> Iterator[tuple[str | None, int]]:
        yield None, getattr(stats, name)

    return read


def _traffic(name: str, unit: str) -> Callable[[ClientStats], Iterator[tuple[str | None, int]]]:
    def read(stats: ClientStats) -> Iterator[tuple[str | None, int]]:
        counts: Mapping[object, Traffic] = getattr(stats, name)
        for key, traffic in counts.items():
            yield OTHER_TOPICS if key is None else getattr(key, "name", str(key)), getattr(traffic, unit)

    return read


def _route(name: str) -> Callable[[ClientStats], Iterator[tuple[str | None, int]]]:
    def read(stats: ClientStats) -> Iterator[tuple[str | None, int]]:
        if len(stats.routes) > 1:
            for number, route in enumerate(stats.routes, 1):
                yield str(number), getattr(route, name)

    return read


def _outbox(**names: str | None) -> Callable[[ClientStats], Iterator[tuple[str | None, int]]]:
    """names: fields of `OutboxStats`, and the value of the label for each."""

    def read(stats: ClientStats) -> Iterator[tuple[str | None, int]]:
        if stats.outbox is not None:
            for name, value in names.items():
                yield value, getattr(stats.outbox, name)

    return read


METRICS = (
    Metric(
        "messages_sent_total", "counter", "PUBLISH packets sent, those sent again included.", _field("messages_sent")
    ),
    Metric("messages_received_total", "counter", "PUBLISH packets received.", _field("messages_received")),
    Metric("bytes_sent_total", "counter", "Bytes of all MQTT packets sent.", _field("bytes_sent")),
    Metric("bytes_received_total", "counter", "Bytes of all MQTT packets received.", _field("bytes_received")),
    Metric(
        "messages_dropped_total",
        "counter",
        "Received QoS 0 messages that found no room, or that nobody read before their stream was closed.",
        _field("messages_dropped"),
    ),
    Metric(
        "messages_unclaimed", "gauge", "Received messages that nobody has asked for yet.", _field("messages_unclaimed")
    ),
    Metric("messages_queued", "gauge", "Messages that wait to leave or for their answer.", _field("messages_queued")),
    Metric("messages_queued_peak", "gauge", "The most messages that were queued at once.", _field("peak_queued")),
    Metric(
        "messages_unread_peak",
        "gauge",
        "The most messages that one stream or callback had waiting.",
        _field("peak_unread"),
    ),
    Metric("connections_total", "counter", "How often the server has accepted this client.", _field("connections")),
    Metric("reconnects_total", "counter", "How often that was not for the first time.", _field("reconnects")),
    Metric("packets_sent_total", "counter", "MQTT packets sent, by type.", _traffic("sent", "packets"), "type"),
    Metric(
        "packet_bytes_sent_total",
        "counter",
        "Bytes of the MQTT packets sent, by type.",
        _traffic("sent", "bytes"),
        "type",
    ),
    Metric(
        "packets_received_total", "counter", "MQTT packets received, by type.", _traffic("received", "packets"), "type"
    ),
    Metric(
        "packet_bytes_received_total",
        "counter",
        "Bytes of the MQTT packets received, by type.",
        _traffic("received", "bytes"),
        "type",
    ),
    Metric(
        "topic_messages_sent_total",
        "counter",
        "PUBLISH packets sent, by the first level of their topic; # is all others.",
        _traffic("sent_by_topic", "packets"),
        "level",
    ),
    Metric(
        "topic_bytes_sent_total",
        "counter",
        "Bytes of the PUBLISH packets sent, by the first level of their topic; # is all others.",
        _traffic("sent_by_topic", "bytes"),
        "level",
    ),
    Metric(
        "topic_messages_received_total",
        "counter",
        "PUBLISH packets received, by the first level of their topic; # is all others.",
        _traffic("received_by_topic", "packets"),
        "level",
    ),
    Metric(
        "topic_bytes_received_total",
        "counter",
        "Bytes of the PUBLISH packets received, by the first level of their topic; # is all others.",
        _traffic("received_by_topic", "bytes"),
        "level",
    ),
    Metric(
        "route_attempts_total",
        "counter",
        "Attempts to connect, by route, where there are several; 1 is the first.",
        _route("attempts"),
        "route",
    ),
    Metric(
        "route_connections_total",
        "counter",
        "Connections that were accepted, by route.",
        _route("connections"),
        "route",
    ),
    Metric("route_bytes_sent_total", "counter", "Bytes of MQTT packets sent, by route.", _route("bytes_sent"), "route"),
    Metric(
        "route_bytes_received_total",
        "counter",
        "Bytes of MQTT packets received, by route.",
        _route("bytes_received"),
        "route",
    ),
    Metric("outbox_messages", "gauge", "Messages on disk, or about to be.", _outbox(messages=None)),
    Metric("outbox_bytes", "gauge", "Bytes of the packets on disk, or about to be.", _outbox(bytes=None)),
    Metric("outbox_stored_total", "counter", "Messages written to the disk.", _outbox(stored=None)),
    Metric(
        "outbox_delivered_total",
        "counter",
        "Messages that left the disk because the server has them.",
        _outbox(delivered=None),
    ),
    Metric("outbox_commits_total", "counter", "Transactions of the outbox.", _outbox(commits=None)),
    Metric("outbox_forced_total", "counter", "How often the disk was waited for.", _outbox(forced=None)),
    Metric(
        "outbox_dropped_total",
        "counter",
        "Messages that made room (full), were too old, had expired, or could not be read any more (damaged).",
        _outbox(dropped_full="full", dropped_old="old", dropped_expired="expired", damaged="damaged"),
        "reason",
    ),
    Metric(
        "outbox_refused_total",
        "counter",
        "Messages that their server, or what it allows, ruled out.",
        _outbox(refused=None),
    ),
)

OWN_LABELS = frozenset(metric.label for metric in METRICS if metric.label)
LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


def prometheus_text(
    stats: ClientStats | Mapping[str, ClientStats], labels: Mapping[str, str] | None = None, *, prefix: str = "iotwire"
) -> str:
    """The text for what a client has done: `prometheus_text(client.stats(), {"gateway": "7"})`.

    stats: of one client, or of several by name; then each sample has its client's name in the label `client`.
    labels: that every sample has. prefix: of every name.

    Names, and the samples of a name, come in the same order each time. Without an outbox there are none of its names.
    Raises EncodeError for labels and a prefix that no text can carry.
    """
    if not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", prefix):
        raise EncodeError("must be letters, digits and _, and begin with no digit", field="prefix")
    given: tuple[tuple[Any, Any], ...] = tuple((labels or {}).items())
    for name, value in given:
        if not isinstance(name, str) or not LABEL_NAME.fullmatch(name):
            raise EncodeError(f"{name!r} is no name for a label", field="labels")
        if name in OWN_LABELS or (name == "client" and isinstance(stats, Mapping)):
            raise EncodeError(f"{name} has its meaning already", field="labels")
        _check_text(value, "labels")
    clients: list[tuple[tuple[tuple[str, str], ...], ClientStats]] = []
    if isinstance(stats, Mapping):
        for name, each in stats.items():
            _check_text(name, "stats")
            clients.append(((*given, ("client", name)), each))
    else:
        clients.append((given, stats))
    lines: list[str] = []
    for metric in METRICS:
        samples = [_samples(f"{prefix}_{metric.name}", metric, common, each) for common, each in clients]
        if any(samples):
            lines.append(f"# HELP {prefix}_{metric.name} {metric.help}")
            lines.append(f"# TYPE {prefix}_{metric.name} {metric.kind}")
            lines += [line for part in samples for line in part]
    return "".join(f"{line}\n" for line in lines)


def _samples(name: str, metric: Metric, common: tuple[tuple[str, str], ...], stats: ClientStats) -> list[str]:
    lines = []
    for value, number in sorted(metric.read(stats), key=lambda sample: sample[0] or ""):
        pairs = common if metric.label is None or value is None else (*common, (metric.label, value))
        shown = ",".join(f'{label}="{_escape(text)}"' for label, text in pairs)
        lines.append(f"{name}{{{shown}}} {number}" if shown else f"{name} {number}")
    return lines


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _check_text(value: object, field: str) -> None:
    try:
        if isinstance(value, str) and value.encode():
            return
    except UnicodeEncodeError:
        pass
    raise EncodeError("the value of a label must be a str of Unicode characters, and not empty", field=field)


def write_textfile(path: str | os.PathLike[str], text: str) -> None:
    """Put a text where node_exporter's textfile collector finds it, at once and whole: `iotwire.prom` in its folder.

    Whoever may read what this process writes may read it. Raises IotwireError where it cannot be written; what was
    there before is there still.
    """
    path = Path(path)
    passing = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # which the collector does not look at
    try:
        try:
            passing.write_text(text, encoding="utf-8", newline="\n")
            passing.replace(path)
        except BaseException:
            with suppress(OSError):
                passing.unlink()
            raise
    except OSError as error:
        raise IotwireError(f"{path} was not written: {error.strerror or error}") from error
