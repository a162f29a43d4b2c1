"""`iotwire outbox PATH drain`: a client that has nothing else to do than to deliver what is there."""

from __future__ import annotations

import argparse
import sys
from time import monotonic, sleep

from ..client import Backoff, BlockingClient
from ..errors import RouteError
from ..outbox import Outbox, OutboxStats, OutboxView
from .arguments import Commands, wrapped
from .outbox_messages import refuse_list_options
from .proofs import check_stdin
from .routing import VARIABLES, add_host_option, add_route_arguments, add_route_parser, make_route
from .session_options import (
    ANSWER_TIMEOUT_S,
    TIMED_OUT,
    add_session_arguments,
    end_on_sigterm,
    log,
    make_client,
    show_log,
    tell_route,
)

__all__ = ["add_parser", "run"]

STATUSES = (
    "Exit status: 0 where all is delivered or expired, 1 where something is left or was refused, 2 for wrong "
    f"arguments, {TIMED_OUT} where the time of --timeout is over, 130 after Ctrl-C, 143 after SIGTERM. What is left "
    "stays in the outbox."
)
FAREWELL_S = 1.0  # for what is on its way when the drain is ended; it is not lost
LOOK_EVERY_S = 0.02
TELL_EVERY_S = 0.2


def add_parser(actions: Commands) -> None:
    parser = add_route_parser(
        actions,
        "drain",
        run,
        summary="deliver all messages, and end",
        description="Connect, deliver what is in the outbox, and end. A first connection that fails ends it too; a "
        "later one that is lost is made again. With -V 4 messages leave without their properties. Options are those "
        "of `iotwire pub`.",
        epilog=f"{VARIABLES}\n\n{wrapped(STATUSES)}",
    )
    add_host_option(parser)
    add_route_arguments(parser)
    add_session_arguments(
        parser,
        properties="CONNECT receive-maximum 20",
        timeout_s=None,
        timeout_help="end after so many seconds, whatever is left (default: none)",
    )


def run(options: argparse.Namespace) -> int:
    refuse_list_options(options, "limit", "json", "topic")
    ends_at = None if options.timeout is None else monotonic() + options.timeout
    check_stdin(options)
    show_log(is_debug=options.debug)
    end_on_sigterm()
    route = make_route(options)
    if route.protocol == "https":
        raise RouteError("--protocol https: an outbox is drained over MQTT; take mqtt or wss")
    OutboxView(options.path).check()  # to open an outbox is to make what is not there, and to set aside what is none
    outbox = Outbox(options.path)
    client = make_client(
        options,
        route,
        name="drain",
        reconnect=Backoff(),
        connect_timeout_s=min(ANSWER_TIMEOUT_S, options.timeout or ANSWER_TIMEOUT_S),
        outbox=outbox,
        wait_for_server=False,  # a wrong name is to be told at once
        drain_timeout_s=FAREWELL_S,
    )
    is_in_time = True
    with outbox:
        try:
            if outbox.stats().messages:
                tell_route(route)
                try:
                    client.connect()
                    log.info("connected as %s, security: %s", client.client_id, client.security)
                    is_in_time = _watch(client, outbox, ends_at)
                finally:
                    client.disconnect()
        finally:
            stats = outbox.stats()
            print(_told(stats), flush=True)
    if not is_in_time and stats.messages:
        print(f"iotwire: {options.timeout:g} s are over", file=sys.stderr)
        return TIMED_OUT
    return 1 if stats.messages or stats.refused or stats.damaged else 0


def _watch(client: BlockingClient, outbox: Outbox, ends_at: float | None) -> bool:
    """Until the outbox is empty or the client over, and False where it is the time that is."""
    is_terminal = sys.stderr.isatty()
    tell_at = 0.0
    try:
        while (stats := outbox.stats()).messages and client.is_running:
            now = monotonic()
            if ends_at is not None and now >= ends_at:
                return False
            if is_terminal and now >= tell_at:
                tell_at = now + TELL_EVERY_S
                print(f"{_told(stats)}\x1b[K\r", end="", file=sys.stderr, flush=True)
            sleep(LOOK_EVERY_S)
    finally:
        if is_terminal:
            print("\x1b[K", end="", file=sys.stderr, flush=True)
    return True


def _told(stats: OutboxStats) -> str:
    damaged = f"{stats.damaged} damaged, " if stats.damaged else ""
    return (
        f"{stats.delivered} delivered, {stats.refused} refused, {stats.dropped_expired} expired, {damaged}"
        f"{stats.messages} left"
    )
