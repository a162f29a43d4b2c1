"""`iotwire outbox PATH`: how much waits there, and what, in the order in which it leaves."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import Any

from ..outbox import OutboxView, ViewedMessage
from .arguments import Commands, whole
from .outbox_messages import add_topic_argument, damage_status, describe_stored, matching, moment_of
from .printing import as_json, as_time, printable
from .terminal import Style, print_fact

__all__ = ["add_list_arguments", "add_parser", "run"]

DEFAULT_LIMIT = 20
TOPIC_WIDTH = 40  # longer ones are shown whole, and push what is right of them
PAYLOAD_WIDTH = 32  # characters of a payload that are shown
HEADING = ("priority", "age", "expires", "QoS", "retain", "bytes", "topic", "payload")


def add_parser(actions: Commands) -> None:
    parser = actions.add_parser(
        "list",
        help="show how much there is, and the messages that leave first",
        description="Show how much is in the outbox, and the messages in the order in which they leave. Nothing is "
        "changed.",
        allow_abbrev=False,
    )
    add_list_arguments(parser, default=argparse.SUPPRESS)  # the same may stand before the action
    parser.set_defaults(run=run, parser=parser)


def add_list_arguments(parser: argparse.ArgumentParser, default: Any = None) -> None:
    parser.add_argument(
        "--limit",
        type=whole(0, 1_000_000_000),
        default=default,
        metavar="N",
        help=f"how many messages to show; 0 for the summary alone (default: {DEFAULT_LIMIT})",
    )
    add_topic_argument(parser, default)
    parser.add_argument(
        "--json",
        action="store_true",
        default=default,
        help="a summary on the first line, and each message on one, with all of its payload",
    )


class _Summary:
    """What there is to say of all messages together."""

    def __init__(self) -> None:
        self.messages = self.bytes = self.expired = 0
        self.oldest_ms: int | None = None
        self.newest_ms: int | None = None
        self.by_priority: Counter[int] = Counter()

    def add(self, viewed: ViewedMessage, now_ms: int) -> None:
        self.messages += 1
        self.bytes += viewed.size
        self.expired += viewed.expires_ms is not None and viewed.expires_ms <= now_ms
        self.by_priority[viewed.priority] += 1
        at = viewed.stored_ms
        self.oldest_ms = at if self.oldest_ms is None else min(self.oldest_ms, at)
        self.newest_ms = at if self.newest_ms is None else max(self.newest_ms, at)

    def as_dict(self) -> dict[str, Any]:
        times = {
            name: None if at is None else as_time(moment_of(at))
            for name, at in (("oldest", self.oldest_ms), ("newest", self.newest_ms))
        }
        counts = {"messages": self.messages, "expired": self.expired, "bytes": self.bytes}
        return counts | times | {"by_priority": {str(each): count for each, count in self.by_priority.items()}}


def run(options: argparse.Namespace) -> int:
    limit = DEFAULT_LIMIT if options.limit is None else options.limit
    summary = _Summary()
    shown: list[ViewedMessage] = []
    now_ms = time.time_ns() // 1_000_000
    # Nothing is printed before the view is closed: a reader that takes its time must not keep a client waiting.
    with OutboxView(options.path) as view:
        for viewed in matching(view, options.topic):
            summary.add(viewed, now_ms)
            if len(shown) < limit:
                shown.append(viewed)
    if options.json:
        print(as_json({"summary": summary.as_dict()}))
        for viewed in shown:
            print(as_json(describe_stored(viewed) | {"bytes": viewed.size}))
    else:
        style = Style.of_terminal()
        _print_summary(style, options, summary, now_ms)
        _print_messages(style, shown, now_ms)
        if limit and len(shown) < summary.messages:
            print(style.dim(f"\n  and {summary.messages - len(shown)} more; --limit shows more, export all"))
    return damage_status(view)


def _print_summary(style: Style, options: argparse.Namespace, summary: _Summary, now_ms: int) -> None:
    print(style.strong(printable(options.path)))
    if options.topic is not None:
        print_fact(style, "topic", printable(options.topic))
    expired = f", of which {summary.expired} expired" if summary.expired else ""
    print_fact(style, "messages", f"{summary.messages}{expired}")
    print_fact(style, "bytes", str(summary.bytes))
    for name, at in (("oldest", summary.oldest_ms), ("newest", summary.newest_ms)):
        if at is not None:
            print_fact(style, name, f"{as_time(moment_of(at))}, {_span(now_ms - at)} ago")
    if summary.by_priority:
        counts = sorted(summary.by_priority.items(), reverse=True)
        print_fact(style, "by priority", ", ".join(f"{priority}: {count}" for priority, count in counts))


def _print_messages(style: Style, shown: list[ViewedMessage], now_ms: int) -> None:
    if not shown:
        return
    rows = [_cells(viewed, now_ms) for viewed in shown]
    widths = [max(len(row[column]) for row in (HEADING, *rows)) for column in range(len(HEADING) - 1)]
    widths[-1] = min(widths[-1], TOPIC_WIDTH)
    print()
    for row in (HEADING, *rows):
        line = "  ".join([*map(_justified, row, widths, range(len(widths))), row[-1]]).rstrip()
        print(f"  {style.dim(line) if row is HEADING else line}")


def _justified(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if HEADING[column] == "topic" else cell.rjust(width)


def _cells(viewed: ViewedMessage, now_ms: int) -> tuple[str, ...]:
    message = viewed.message
    left_ms = None if viewed.expires_ms is None else viewed.expires_ms - now_ms
    return (
        str(viewed.priority),
        _span(now_ms - viewed.stored_ms),
        "never" if left_ms is None else _span(left_ms) if left_ms > 0 else "over",
        str(message.qos),
        "yes" if message.retain else "no",
        str(viewed.size),
        printable(message.topic),
        _start_of(message.payload),
    )


def _start_of(payload: bytes) -> str:
    """The first characters of a payload, on one line; of a whole one they are all."""
    # Four bytes are one character at least: what is cut in the midst of one lies beyond the cut of characters.
    text = payload[: 4 * PAYLOAD_WIDTH].decode("utf-8", "backslashreplace")
    is_whole = len(payload) <= 4 * PAYLOAD_WIDTH and len(text) <= PAYLOAD_WIDTH
    return printable(text[:PAYLOAD_WIDTH]) + ("" if is_whole else "...")


def _span(milliseconds: int) -> str:
    """A length of time in its largest fitting unit; a clock that was set back makes none negative."""
    seconds = max(0, milliseconds) // 1000
    for unit_s, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s} {name}"
    return f"{seconds} s"
