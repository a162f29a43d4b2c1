"""`iotwire outbox PATH import`: lines that `export` has written become messages again."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ..errors import EncodeError, OutboxError
from ..outbox import Outbox, OutboxView, Ticket
from .arguments import Commands
from .outbox_messages import read_stored, refuse_list_options
from .printing import printable

__all__ = ["add_parser", "run"]

# What is put at most before the disk is waited for.
BATCH_MESSAGES = 1000
BATCH_BYTES = 1024 * 1024
UNBOUNDED = 1 << 50


def add_parser(actions: Commands) -> None:
    parser = actions.add_parser(
        "import",
        help="put exported messages into the outbox",
        description="Put the lines that export has written into the outbox, behind what is in it, with the age and the "
        "expiry that they have. Those that have expired are left out. Lines that are no messages are told, and the "
        "others stored.",
        epilog="Exit status: 0, or 1 where a line was refused. To do it twice is to have each message twice.",
        allow_abbrev=False,
    )
    parser.add_argument("-i", "--input", default="-", metavar="FILE", help="(default: the standard input)")
    parser.add_argument("--create", action="store_true", help="make the outbox where there is none")
    parser.set_defaults(run=run, parser=parser)


class _Import:
    """How far it has come."""

    def __init__(self, outbox: Outbox) -> None:
        self.expired = self.refused = 0
        self._outbox = outbox
        self._latest: Ticket | None = None
        self._waiting = 0
        self._bytes = 0

    def take(self, number: int, line: bytes) -> None:
        """Store a line, or tell why not. Raises OutboxError where nothing can be stored."""
        try:
            viewed = read_stored(line)
            if viewed.expires_ms is not None and viewed.expires_ms <= time.time_ns() // 1_000_000:
                self.expired += 1
                return
            self._latest = self._outbox.restore(viewed)
        except EncodeError as error:
            self.refused += 1
            print(f"iotwire: line {number}: {printable(str(error))}", file=sys.stderr)
            return
        self._waiting += 1
        self._bytes += len(line)
        if self._waiting >= BATCH_MESSAGES or self._bytes >= BATCH_BYTES:
            self.settle()

    def settle(self) -> None:
        """Wait until what was put is on disk."""
        if self._latest is not None:
            self._outbox.flush()
            self._latest.wait()
        self._latest = None
        self._waiting = self._bytes = 0


def run(options: argparse.Namespace) -> int:
    refuse_list_options(options, "limit", "json", "topic")
    with _input(options.input) as lines:
        _check_outbox(options)
        # Whoever asks for it has it stored; what is too much for its client, that one drops or refuses by its own rule.
        outbox = Outbox(options.path, max_bytes=UNBOUNDED)
        work = _Import(outbox)
        try:
            with outbox:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        work.take(number, line)
                work.settle()
        finally:  # what had been put is stored, too, where a later line or Ctrl-C has ended it
            print(f"{outbox.stats().stored} stored, {work.expired} expired, {work.refused} refused", flush=True)
    return 1 if work.refused else 0


@contextmanager
def _input(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 -- only opening it is to be explained
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise EncodeError(f"cannot read {path}: {reason}", field="--input") from None
    with file:
        yield file


def _check_outbox(options: argparse.Namespace) -> None:
    """Look before it is opened, which would make what is not there, and set aside what is none."""
    if not os.path.lexists(options.path):
        if not options.create:
            raise OutboxError(f"{options.path}: there is no outbox; --create makes one")
        return
    OutboxView(options.path).check()
