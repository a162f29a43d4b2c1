"""`iotwire outbox`: what a client has kept on disk. Each thing to do with it is a room of its own."""

from __future__ import annotations

from importlib import import_module

from .arguments import Commands
from .outbox_list import add_list_arguments, run

__all__ = ["add_parser"]

# The rooms, `outbox_` and one of these, in the order of the help.
ACTIONS = ("list", "export", "import", "drain")


def add_parser(commands: Commands) -> None:
    parser = commands.add_parser(
        "outbox",
        help="list, export or drain what a client has kept on disk",
        description="Show what is in the outbox of a client that is not running, take a copy of it as lines of JSON, "
        "put such lines back, or deliver it. Without an action it is listed. To list and to export change nothing; "
        "while they read, no client can open the outbox.",
        epilog="Exit status: 0 for success, 1 for failure, as where the file is damaged, 2 for wrong arguments.",
        usage="%(prog)s [-h] [--limit N] [-t FILTER] [--json] PATH [ACTION ...]",
        allow_abbrev=False,
    )
    parser.add_argument("path", metavar="PATH", help="the file of the outbox")
    add_list_arguments(parser)
    parser.set_defaults(run=run, parser=parser)
    actions = parser.add_subparsers(
        title="what to do with it", dest="action", metavar="ACTION", prog=f"{parser.prog} PATH"
    )
    for action in ACTIONS:
        import_module(f".outbox_{action}", __package__).add_parser(actions)
