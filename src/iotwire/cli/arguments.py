"""Kinds of arguments that several commands have. Each takes a word of the command line, and says what it expected."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from textwrap import fill
from typing import TypeAlias

from ..errors import RouteError
from ..route import read_host, read_port
from .secrets import explain_refusal

__all__ = ["Commands", "aws_region", "place", "port_or_pair", "positive", "proxy_url", "username", "whole", "wrapped"]

# What a room's `add_parser` is given.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def wrapped(text: str) -> str:
    """A paragraph of a help that argparse is to leave as it is."""
    return fill(text, 80)


def positive(text: str) -> float:
    """A number of seconds, greater than 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"a number greater than 0 is expected, not {text}")
    return value


def place(text: str) -> tuple[str, int | None]:
    """HOST or HOST:PORT; an IPv6 address with a port stands in brackets, "[::1]:443"."""
    host, colon, port = text.rpartition(":")
    try:
        if not colon or (":" in host and not host.endswith("]")):  # the last colon is one of an IPv6 address
            return read_host(text), None
        return read_host(host), read_port(int(port))
    except (RouteError, ValueError):
        raise argparse.ArgumentTypeError(f"HOST or HOST:PORT is expected, not {text}") from None


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"a number from {least} to {most} is expected, not {text}")
        return int(text)

    return number


def port_or_pair(text: str) -> int | tuple[int, int]:
    """A port; or two, the service's and the local one that stands for it, "8883=18883"."""
    service, separator, local = text.partition("=")
    try:
        return (read_port(int(service)), read_port(int(local))) if separator else read_port(int(service))
    except (RouteError, ValueError):
        raise argparse.ArgumentTypeError(f"a port, or two such as 8883=18883, is expected, not {text}") from None


def proxy_url(text: str) -> str:
    """The URL of a proxy, without a password."""
    if "@" in text:
        raise argparse.ArgumentTypeError(explain_refusal("set IOTWIRE_PROXY for a URL with user name and password"))
    return text


def username(text: str) -> str:
    """A user name, without what custom authorizers read after its question mark: a token."""
    if "?" in text:
        raise argparse.ArgumentTypeError(explain_refusal("set IOTWIRE_USERNAME for a user name with a token"))
    return text


def aws_region(text: str) -> str:
    """The name of a region."""
    if not re.fullmatch(r"[a-z0-9-]{1,64}", text):
        raise argparse.ArgumentTypeError("the name of a region is expected, such as eu-central-1")
    return text
