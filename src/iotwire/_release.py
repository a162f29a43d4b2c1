"""When this release was made: no clock that says an earlier time can be right.

Whoever raises the version in pyproject.toml moves this date on with it.
"""

__all__ = ["RELEASED"]

RELEASED = "2026-11-30"
