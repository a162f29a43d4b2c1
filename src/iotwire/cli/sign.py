"""`iotwire sign`: what proves who one is, made by hand. Each kind is a room of its own, as each command is."""

from __future__ import annotations

from importlib import import_module

from .arguments import Commands

__all__ = ["add_parser"]

# The rooms, `sign_` and one of these, in the order of the help.
KINDS = ("token", "url", "request")


def add_parser(commands: Commands) -> None:
    parser = commands.add_parser(
        "sign",
        help="sign a token for a custom authorizer, a URL or a request",
        description="Make by hand what a client makes by itself for each connection. Secrets are read from files or "
        "from environment variables, never from arguments, which every user of the machine can read.",
    )
    kinds = parser.add_subparsers(title="what to sign", dest="kind", required=True, metavar="KIND")
    for kind in KINDS:
        import_module(f".sign_{kind}", __package__).add_parser(kinds)
