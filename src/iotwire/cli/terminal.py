"""How it looks: lines, places, and colours where the terminal has them and nobody has said no (https://no-color.org)."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

__all__ = ["LINE_WIDTH", "Style", "print_fact"]

LINE_WIDTH = 100  # of sentences


@dataclass(frozen=True, slots=True)
class Style:
    """How to mark words on this terminal; without colours each method gives its text as it is."""

    has_colours: bool

    @classmethod
    def of_terminal(cls) -> Style:
        return cls(sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb")

    def strong(self, text: str) -> str:
        return self._mark("1", text)

    def dim(self, text: str) -> str:
        return self._mark("2", text)

    def good(self, text: str) -> str:
        return self._mark("32", text)

    def bad(self, text: str) -> str:
        return self._mark("31", text)

    def _mark(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.has_colours else text


def print_fact(style: Style, name: str, value: str) -> None:
    """One line of a list of facts. Flushed, for someone may watch through a pipe."""
    print(f"  {style.dim(name.ljust(12))}  {value}", flush=True)
