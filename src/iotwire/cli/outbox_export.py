"""`iotwire outbox PATH export`: its messages as lines of JSON, which `import` puts back."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ..errors import EncodeError
from ..outbox import OutboxView
from .arguments import Commands
from .outbox_messages import add_topic_argument, damage_status, describe_stored, matching, refuse_list_options
from .printing import as_json

__all__ = ["add_parser", "run"]


def add_parser(actions: Commands) -> None:
    parser = actions.add_parser(
        "export",
        help="write all messages as lines of JSON",
        description="Write each message on a line, in the order in which they leave: topic, payload, qos, retain, "
        "properties, priority, stored_at and expires_at. A payload that is no UTF-8 is payload_base64. Nothing in the "
        "outbox is changed; until all is written, no client can open it.",
        allow_abbrev=False,
    )
    add_topic_argument(parser, argparse.SUPPRESS)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="for this user alone, where it is not there yet (default: print them)"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE, once all is written")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    refuse_list_options(options, "limit", "json")
    if options.force and options.output is None:
        options.parser.error("--force: belongs to --output")
    with OutboxView(options.path) as view, _output(options) as file:
        count = 0
        for viewed in matching(view, options.topic):
            file.write(as_json(describe_stored(viewed)) + "\n")
            count += 1
    if options.output is not None:
        print(f"{count} exported")
    return damage_status(view)


@contextmanager
def _output(options: argparse.Namespace) -> Iterator[TextIO]:
    """Where to write: a file that is there as a whole when the block has ended well, and else as it was."""
    path = options.output
    if path is None:
        yield sys.stdout
        return
    if os.path.exists(path):
        if not options.force:
            raise EncodeError(f"{path} is there already; --force replaces it", field="--output")
        if os.path.samefile(path, options.path):
            raise EncodeError("is the outbox itself", field="--output")
    written = f"{path}.{secrets.token_hex(4)}" if options.force else path
    try:
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if options.force:
                os.replace(written, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(written)
            raise
    except OSError as error:
        raise EncodeError(f"cannot write {path}: {error.strerror}", field="--output") from error
