"""What must not be told a command in an argument, which every user of the machine can read: files and variables."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import CredentialsError

__all__ = ["RefuseSecret", "explain_refusal", "read_file", "read_secret"]

MAXIMUM_SIZE = 1 << 20  # no key and no token is larger, and a wrong file may be


def explain_refusal(instead: str) -> str:
    """Why an argument that has a secret in it is not taken, and how the secret is given instead."""
    return f"every user of this machine can read arguments: {instead}"


class RefuseSecret(argparse.Action):
    """An option that is never taken, for a secret that somebody may try to give: `instead` says how it is given.

    Without it argparse would answer that it does not know the option, and print the secret after it.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, *, instead: str) -> None:
        super().__init__(option_strings, dest, nargs="?", help=argparse.SUPPRESS)
        self._instead = instead

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        parser.error(explain_refusal(self._instead))


def read_file(path: str, option: str) -> bytes:
    """What is in a file; `-` is the standard input. Raises CredentialsError that names the option."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAXIMUM_SIZE + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAXIMUM_SIZE + 1)
    except (OSError, ValueError) as error:  # ValueError: U+0000 in the path
        if "-----BEGIN" in path:  # a PEM text in the place of its file must not be shown
            raise CredentialsError(f"{option}: the path of a file is expected, not its contents") from None
        reason = getattr(error, "strerror", None) or "not a path"
        raise CredentialsError(f"{option}: cannot read {path}: {reason}") from None
    if len(data) > MAXIMUM_SIZE:
        raise CredentialsError(f"{option}: {path} is larger than {MAXIMUM_SIZE} bytes")
    return data


def read_secret(path: str | None, option: str, variable: str) -> str | None:
    """A text from a file, or else from an environment variable; None where neither is given.

    One line end at the end of a file is not part of it, because editors and `echo` put it there.
    Raises CredentialsError that names the option or the variable, where it cannot be read or is not UTF-8.
    """
    if path is None:
        text = os.environ.get(variable) or None
        if text is not None and not text.isascii():
            text = _decode(os.fsencode(text), variable)  # bytes that are not text come as lone surrogates
        return text
    data = read_file(path, option)
    return _decode(data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data, option)


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    # Raised out here: a UnicodeDecodeError as context would carry the bytes.
    raise CredentialsError(f"{name}: text in UTF-8 is expected")
