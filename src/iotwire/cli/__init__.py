"""The `iotwire` command. argparse alone: a gateway's image should not grow for a command line."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from ..errors import IotwireError

__all__ = ["main"]

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is its exit status: 0 for success, 1 for failure, 130 for Ctrl-C."""
    options = _make_parser().parse_args(arguments)
    from .demo import run_demo

    try:
        return asyncio.run(
            run_demo(
                seconds=options.seconds, interval_s=options.interval, version=options.version, payload=options.payload
            )
        )
    except IotwireError as error:
        print(f"iotwire: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\niotwire: interrupted", file=sys.stderr)
        return INTERRUPTED


def _make_parser() -> argparse.ArgumentParser:
    from .. import __version__

    parser = argparse.ArgumentParser(prog="iotwire", description="The wire layer of AWS IoT devices.")
    parser.add_argument("--version", action="version", version=f"iotwire {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="send readings of this machine through a local endpoint",
        description="Start a local endpoint, connect two clients to it over mutual TLS, and send readings of this "
        "machine from one to the other with QoS 1. The exit status is not 0 if one of them is missing.",
    )
    demo.add_argument("--seconds", type=_positive, default=5.0, metavar="N", help="how long to send (default: 5)")
    demo.add_argument(
        "--interval", type=_positive, default=1.0, metavar="S", help="seconds between rounds (default: 1)"
    )
    demo.add_argument("--version", type=int, choices=(4, 5), default=5, help="4 is MQTT 3.1.1 (default: 5)")
    demo.add_argument("--payload", metavar="TEXT", help="send this text instead of readings")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"a number greater than 0 is expected, not {text}")
    return value
