"""`iotwire sub`: subscribe, and print what arrives."""

from __future__ import annotations

import argparse
import sys
from time import monotonic

from ..client import Backoff, BlockingClient, BlockingMessageStream
from ..errors import RequestTimeoutError, RouteError
from ..mqtt import Publish
from .arguments import Commands, positive, whole, wrapped
from .printing import as_json, as_text, describe_message, printable, write_out
from .proofs import check_stdin
from .properties import read_properties
from .routing import VARIABLES, add_host_option, add_route_arguments, add_route_parser, make_route
from .session_options import (
    STATUSES,
    TIMED_OUT,
    add_session_arguments,
    connected,
    end_on_sigterm,
    make_client,
    show_log,
    tell_route,
)

__all__ = ["add_parser", "run"]

SAFETY = (
    "Payloads are written as they are into files and pipes; to a terminal without what would be an order to it. A "
    "message of QoS 1 or 2 is acknowledged when it is written."
)


def add_parser(commands: Commands) -> None:
    parser = add_route_parser(
        commands,
        "sub",
        run,
        summary="subscribe at an endpoint of AWS IoT Core, or at any MQTT broker",
        description="Subscribe, and print what arrives, each message on a line of its own, until Ctrl-C. Options are "
        "those of mosquitto_sub where it has them. Keys, passwords and tokens are read from files and environment "
        "variables, never from arguments.",
        epilog=f"{wrapped(SAFETY)}\n\n{VARIABLES}\n\n{wrapped(STATUSES)}",
    )
    add_host_option(parser)
    parser.add_argument(
        "-t", "--topic", action="append", required=True, metavar="FILTER", help="a topic filter; may be repeated"
    )
    parser.add_argument("-q", "--qos", type=int, choices=(0, 1, 2), default=0, help="(default: 0)")
    parser.add_argument("-C", "--count", type=whole(1, 1 << 62), metavar="N", help="end after so many messages")
    parser.add_argument("-W", "--wait", type=positive, metavar="S", help=f"end after so many seconds, with {TIMED_OUT}")
    parser.add_argument("-v", "--verbose", action="store_true", help="print topics too")
    parser.add_argument("-R", "--no-retained", action="store_true", help="leave out messages that were kept")
    parser.add_argument("-N", "--no-newline", action="store_true", help="no line end after a message")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: all of a message on one line (default: text)"
    )
    add_route_arguments(parser)
    add_session_arguments(parser, properties="SUBSCRIBE subscription-identifier 7")


def run(options: argparse.Namespace) -> int:
    ends_at = None if options.wait is None else monotonic() + options.wait
    check_stdin(options)
    show_log(is_debug=options.debug)
    end_on_sigterm()
    read_properties(
        options.parser, options.property, "SUBSCRIBE"
    )  # which says what is wrong before a connection is made
    route = make_route(options)
    tell_route(route)
    if route.protocol == "https":
        raise RouteError("--protocol https: the service lets nobody subscribe over it; take mqtt or wss")
    client = make_client(options, route, name="sub", reconnect=Backoff())
    # Asked for before there is a connection, with which a session that is kept begins to flow. A message is
    # acknowledged when it is printed; one that was not comes again. So the stream stays open: to close it would
    # acknowledge the rest.
    messages = client.messages(when_full="pause", manual_acknowledgement=True)
    with connected(client):
        return _print_messages(options, client, messages, ends_at)


def _print_messages(
    options: argparse.Namespace, client: BlockingClient, messages: BlockingMessageStream, ends_at: float | None
) -> int:
    is_terminal = sys.stdout.isatty()
    subscribing = read_properties(options.parser, options.property, "SUBSCRIBE")
    left = options.count
    client.subscribe(options.topic, options.qos, timeout_s=options.timeout, **subscribing)
    while left is None or left > 0:
        try:
            message = messages.get(None if ends_at is None else max(0.001, ends_at - monotonic()))
        except RequestTimeoutError:
            print(f"iotwire: {options.wait:g} s are over", file=sys.stderr)
            return TIMED_OUT
        if message is None:
            return 1
        if not (options.no_retained and message.retain):
            write_out(_shown(options, message, is_terminal=is_terminal))
            left = None if left is None else left - 1
        client.acknowledge(message)
    return 0


def _shown(options: argparse.Namespace, message: Publish, *, is_terminal: bool) -> bytes:
    if options.format == "json":
        return as_json(describe_message(message)).encode("ascii") + b"\n"
    topic = printable(message.topic).encode() + b" " if options.verbose else b""
    return topic + as_text(message.payload, is_terminal=is_terminal) + (b"" if options.no_newline else b"\n")
