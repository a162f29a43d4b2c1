"""The `iotwire` command. argparse alone: a gateway's image should not grow for a command line.

Each command is a room of its own: `add_parser` adds its arguments, and sets `run`, which takes them and returns the
exit status. Only the room of the command that is asked for is imported, for on a board that is what takes time.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ..errors import IotwireError

__all__ = ["main"]

# The rooms, in the order of the help.
COMMANDS = ("demo", "emulator", "outbox", "preflight", "probe", "pub", "routes", "sign", "sub")

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is its exit status: 0 for success, 1 for failure, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = _make_parser(_rooms_for(arguments)).parse_args(arguments)
        status: int = options.run(options)
        sys.stdout.flush()
    except IotwireError as error:
        from .printing import printable

        print(f"iotwire: {printable(str(error))}", file=sys.stderr)  # there may be a server's words in it
        return 1
    except KeyboardInterrupt:
        print("\niotwire: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever reads what is printed has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain when it ends
        return 1
    return status


def _rooms_for(arguments: Sequence[str]) -> Sequence[str]:
    """The command that is asked for; all of them for the help, and for a word that is none; none for `--version`."""
    words = [each for each in arguments if not each.startswith("-")]
    if words and words[0] in COMMANDS:
        return words[:1]
    return () if "--version" in arguments else COMMANDS


def _make_parser(rooms: Sequence[str]) -> argparse.ArgumentParser:
    from .. import __version__

    parser = argparse.ArgumentParser(prog="iotwire", description="The wire layer of AWS IoT devices.")
    parser.add_argument("--version", action="version", version=f"iotwire {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for room in rooms:
        import_module(f".{room}", __name__).add_parser(commands)
    return parser
