"""How a package makes its names when they are first asked for (PEP 562)."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in `typing`, which costs more memory to import than the whole codec
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, rooms: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package: each name comes from its room, a module of that package, and then stays."""
    room_of = {name: room for room, names in rooms.items() for name in names}

    def find(name: str) -> Any:
        if name not in room_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f".{room_of[name]}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
