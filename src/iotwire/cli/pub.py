"""`iotwire pub`: a message, a file or the lines of the standard input, over any route."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from ..client import Backoff, BlockingClient, BlockingReceipt
from ..errors import EncodeError, IotwireError, OutboxFullError, PublishError
from ..route import Route
from .arguments import Commands, whole, wrapped
from .printing import printable
from .proofs import check_stdin
from .properties import read_properties
from .routing import VARIABLES, add_host_option, add_route_arguments, add_route_parser, make_route
from .session_options import (
    STATUSES,
    add_session_arguments,
    connected,
    end_on_sigterm,
    log,
    make_client,
    show_log,
    tell_route,
)

__all__ = ["add_parser", "run"]

# Bytes of the longest line and the largest file: more than AWS IoT Core takes, less than would hurt a board.
MAX_PAYLOAD = 16 * 1024 * 1024
# What HTTPS calls the properties of MQTT 5.
HTTPS_NAMES = {"message_expiry_interval": "message_expiry", "payload_format_indicator": "payload_format"}


def add_parser(commands: Commands) -> None:
    parser = add_route_parser(
        commands,
        "pub",
        run,
        summary="publish to an endpoint of AWS IoT Core, or to any MQTT broker",
        description="Publish a message to an endpoint of AWS IoT Core over any of its nine routes, or to any MQTT "
        "broker. Options are those of mosquitto_pub where it has them. Keys, passwords and tokens are read from "
        "files and environment variables, never from arguments.",
        epilog=f"{VARIABLES}\n\n{wrapped(STATUSES)}",
    )
    add_host_option(parser)
    parser.add_argument("-t", "--topic", required=True, metavar="TOPIC", help="where to publish")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-m", "--message", metavar="TEXT", help="a text")
    what.add_argument("-f", "--file", metavar="FILE", help="what is in a file; `-` is the standard input")
    what.add_argument("-l", "--stdin-line", action="store_true", help="each line of the standard input, as it comes")
    what.add_argument("-s", "--stdin-file", action="store_true", help="the whole standard input")
    what.add_argument("-n", "--null-message", action="store_true", help="an empty message")
    parser.add_argument(
        "-q",
        "--qos",
        type=int,
        choices=(0, 1, 2),
        default=0,
        help="with 0, the default, nobody says whether it arrived",
    )
    parser.add_argument("-r", "--retain", action="store_true", help="keep it for those who subscribe later")
    parser.add_argument("--repeat", type=whole(1, 1_000_000_000), default=1, metavar="N", help="how often (default: 1)")
    parser.add_argument(
        "--repeat-delay", type=_delay, default=0.0, metavar="S", help="seconds between them (default: 0)"
    )
    add_route_arguments(parser)
    add_session_arguments(parser, properties="PUBLISH content-type text/plain")


def _delay(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"a number of seconds is expected, not {text}")
    return value


def run(options: argparse.Namespace) -> int:
    wants_stdin = options.stdin_line or options.stdin_file or options.file == "-"
    check_stdin(options, "message" if wants_stdin else None)
    if options.stdin_line and options.repeat > 1:
        options.parser.error("--repeat: not with --stdin-line")
    show_log(is_debug=options.debug)
    end_on_sigterm()
    properties = read_properties(options.parser, options.property, "PUBLISH")
    route = make_route(options)
    tell_route(route)
    if route.protocol == "https":
        return _publish_by_https(options, route, properties)
    # A single message that fails is to fail at once; who sends lines wants them to survive a bad link.
    client = make_client(options, route, name="pub", reconnect=Backoff() if options.stdin_line else None)
    if options.stdin_line:
        return _publish_lines(options, client, properties)
    payload = _read_payload(options)
    with connected(client):
        for _ in _rounds(options):
            code = client.publish(
                options.topic, payload, options.qos, options.retain, timeout_s=options.timeout, **properties
            )
            log.info("%s: %d bytes, %s", options.topic, len(payload), code.name if options.qos else "handed over")
    return 0


def _rounds(options: argparse.Namespace) -> Iterator[int]:
    for number in range(options.repeat):
        if number:
            time.sleep(options.repeat_delay)
        yield number


def _read_payload(options: argparse.Namespace) -> bytes:
    if options.message is not None:
        return os.fsencode(options.message)  # the bytes of the argument, whatever the terminal's encoding is
    if options.null_message:
        return b""
    path = "-" if options.stdin_file else options.file
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_PAYLOAD + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_PAYLOAD + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise EncodeError(f"cannot read {path}: {reason}", field="--file") from None
    if len(data) > MAX_PAYLOAD:
        raise EncodeError(f"{path} has more than {MAX_PAYLOAD} bytes", field="--file")
    return data


def _read_lines() -> Iterator[bytes]:
    """The lines of the standard input without their ends, as they come."""
    while line := sys.stdin.buffer.readline(MAX_PAYLOAD + 1):
        if len(line) > MAX_PAYLOAD:
            raise EncodeError(f"a line has more than {MAX_PAYLOAD} bytes", field="--stdin-line")
        yield line.removesuffix(b"\n").removesuffix(b"\r") if line.endswith(b"\n") else line


class _Lines:
    """What becomes of the lines that were sent: those that were refused are told of, and counted."""

    def __init__(self) -> None:
        self.refused = 0
        self._waiting: deque[tuple[int, BlockingReceipt]] = deque()

    def add(self, number: int, receipt: BlockingReceipt) -> None:
        self._waiting.append((number, receipt))
        while self._waiting and self._waiting[0][1].is_done:
            self._take(None)

    def wait_for_all(self, timeout_s: float) -> None:
        while self._waiting:
            self._take(timeout_s)

    def _take(self, timeout_s: float | None) -> None:
        number, receipt = self._waiting.popleft()
        try:
            receipt.wait(timeout_s)
        except PublishError as error:
            self.note(number, error)

    def note(self, number: int, error: IotwireError) -> None:
        self.refused += 1
        print(f"iotwire: line {number}: {printable(str(error))}", file=sys.stderr)


def _publish_lines(options: argparse.Namespace, client: BlockingClient, properties: dict[str, Any]) -> int:
    lines = _Lines()
    with connected(client):
        for number, line in enumerate(_read_lines(), 1):
            while True:
                try:
                    receipt = client.publish_nowait(options.topic, line, options.qos, options.retain, **properties)
                except OutboxFullError:
                    client.drain(options.timeout)
                    continue
                except PublishError as error:  # such as one that is larger than the server takes
                    lines.note(number, error)
                else:
                    lines.add(number, receipt)
                break
        lines.wait_for_all(options.timeout)
    return 1 if lines.refused else 0


def _publish_by_https(options: argparse.Namespace, route: Route, properties: dict[str, Any]) -> int:
    from ..https import BlockingHttpsPublisher  # which MQTT does without

    if options.qos == 2:
        options.parser.error("--qos: HTTPS has 0 and 1")
    if options.will_topic is not None:
        options.parser.error("--will-topic: HTTPS has no wills")
    named = {HTTPS_NAMES.get(name, name): value for name, value in properties.items()}
    retain = True if options.retain else None
    lines = _Lines()
    with BlockingHttpsPublisher(
        route, connect_timeout_s=options.timeout, response_timeout_s=options.timeout
    ) as publisher:
        if options.stdin_line:
            for number, line in enumerate(_read_lines(), 1):
                try:
                    publisher.publish(options.topic, line, options.qos, retain, **named)
                except (PublishError, EncodeError) as error:
                    if isinstance(error, EncodeError) and error.field != "payload":  # none of them would do better
                        raise
                    lines.note(number, error)
        else:
            payload = _read_payload(options)
            for _ in _rounds(options):
                publisher.publish(options.topic, payload, options.qos, retain, **named)
                log.info("%s: %d bytes, taken", options.topic, len(payload))
    return 1 if lines.refused else 0
