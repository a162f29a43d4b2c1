"""What commands that speak MQTT say in CONNECT, and the client that they speak by: the options of both."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from ..client import Backoff, BlockingClient
from ..endpoint import Broker, EndpointRoute
from ..mqtt import Will
from ..route import Route
from .arguments import positive, whole
from .printing import printable
from .properties import read_properties
from .settings import setting

__all__ = [
    "ANSWER_TIMEOUT_S",
    "STATUSES",
    "TIMED_OUT",
    "add_session_arguments",
    "connected",
    "end_on_sigterm",
    "log",
    "make_client",
    "show_log",
    "tell_route",
]

log = logging.getLogger("iotwire.cli")

TIMED_OUT = 27  # what mosquitto's commands leave with then
STATUSES = (
    "Exit status: 0 for success, 1 for failure (no connection, refused, the reader of a pipe has gone), 2 for wrong "
    f"arguments, {TIMED_OUT} where the time of -W is over, 130 after Ctrl-C, 143 after SIGTERM."
)
ANSWER_TIMEOUT_S = 30.0
VERSIONS = {"4": 4, "311": 4, "mqttv311": 4, "5": 5, "mqttv5": 5}


def add_session_arguments(
    parser: argparse.ArgumentParser,
    *,
    properties: str,
    timeout_s: float | None = ANSWER_TIMEOUT_S,
    timeout_help: str = f"for the connection, and each answer (default: {ANSWER_TIMEOUT_S:g})",
) -> None:
    """What `make_client` reads, but for the outbox; --timeout, in seconds, is the command's own to read."""
    group = parser.add_argument_group("MQTT")
    group.add_argument("-i", "--id", metavar="ID", help="client identifier (IOTWIRE_CLIENT_ID; default: a random one)")
    group.add_argument(
        "-V",
        "--mqtt-version",
        choices=tuple(VERSIONS),
        default="5",
        metavar="{4,5,mqttv311,mqttv5}",
        help="4 is 3.1.1 (default: 5)",
    )
    group.add_argument(
        "-k",
        "--keepalive",
        type=whole(0, 65535),
        default=60,
        metavar="S",
        help="of silence before a ping",
    )
    group.add_argument(
        "-c", "--disable-clean-session", action="store_true", help="go on with the session that the server has kept"
    )
    group.add_argument(
        "-x", "--session-expiry-interval", type=whole(0, 0xFFFFFFFF), metavar="S", help="how long it keeps it (MQTT 5)"
    )
    group.add_argument("--will-topic", metavar="TOPIC", help="what the server publishes if this client vanishes")
    group.add_argument("--will-payload", metavar="TEXT", help="(default: an empty one)")
    group.add_argument("--will-qos", type=int, choices=(0, 1, 2), default=0, help="(default: 0)")
    group.add_argument("--will-retain", action="store_true", help="and keeps for those who come later")
    group.add_argument(
        "-D",
        "--property",
        action="append",
        nargs="+",
        default=[],
        metavar=("PACKET", "NAME"),
        help=f"a property of MQTT 5, such as -D {properties}",
    )
    group.add_argument("--timeout", type=positive, default=timeout_s, metavar="S", help=timeout_help)
    group.add_argument("-d", "--debug", action="store_true", help="say what happens on the standard error output")


def make_client(
    options: argparse.Namespace, route: Route, *, name: str, reconnect: Backoff | None, **more: Any
) -> BlockingClient:
    """The client that the options mean. Leaves with a usage error for options that do not go together.

    more: arguments of the client that no option is for, or that win over one.
    """
    version = VERSIONS[options.mqtt_version]
    if version == 4 and (options.property or options.session_expiry_interval is not None):
        options.parser.error("--property and --session-expiry-interval are of MQTT 5, and -V 4 is 3.1.1")
    client_id = setting(options.id, "IOTWIRE_CLIENT_ID") or f"iotwire-{name}-{secrets.token_hex(4)}"
    connect: dict[str, Any] = dict(read_properties(options.parser, options.property, "CONNECT"))
    if options.session_expiry_interval is not None:
        connect["session_expiry_interval"] = options.session_expiry_interval
    return BlockingClient(
        route,
        client_id,
        version=version,
        keep_alive=options.keepalive,
        clean_start=not options.disable_clean_session,
        will=_make_will(options),
        reconnect=reconnect,
        **{"connect_timeout_s": options.timeout} | connect | more,
    )


def _make_will(options: argparse.Namespace) -> Will | None:
    properties = read_properties(options.parser, options.property, "WILL")
    if options.will_topic is None:
        if options.will_payload is not None or options.will_qos or options.will_retain or properties:
            options.parser.error("--will-topic: is needed for the other options of a will")
        return None
    payload = os.fsencode(options.will_payload or "")
    return Will(options.will_topic, payload, qos=options.will_qos, retain=options.will_retain, **properties)


class _SafeFormatter(logging.Formatter):
    """What servers say is in the log too."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), frozenset("\n"))


def show_log(*, is_debug: bool) -> None:
    """Warnings on the standard error output, with --debug all that the package says. No secret is among it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter("iotwire: %(message)s"))
    log = logging.getLogger("iotwire")
    for each in log.handlers[:]:
        log.removeHandler(each)
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.DEBUG if is_debug else logging.WARNING)


def tell_route(route: EndpointRoute | Broker) -> None:
    """What is about to be tried, for --debug."""
    if isinstance(route, EndpointRoute):
        log.info("row %d: %s; to %s, port %d", route.row.number, route.row, route.host, route.port)
    else:
        log.info("%s to %s, port %d", route.protocol, route.host, route.port)


@contextmanager
def connected(client: BlockingClient) -> Iterator[BlockingClient]:
    """The client, connected for the length of the block."""
    with client:
        log.info("connected as %s, security: %s", client.client_id, client.security)
        yield client
    stats = client.stats()
    log.info(
        "messages: %d sent, %d received; bytes of MQTT: %d sent, %d received",
        stats.messages_sent,
        stats.messages_received,
        stats.bytes_sent,
        stats.bytes_received,
    )


def end_on_sigterm() -> None:
    """Leave as after Ctrl-C, with DISCONNECT, so that the server does not publish the will."""

    def leave(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
