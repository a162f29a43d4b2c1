"""A clock for tests that measure time, which a busy machine cannot make late."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class Leaping(asyncio.SelectorEventLoop):
    """An event loop whose time, once it is told to, stands still except that it leaps to the next timer when idle.

    Seconds then take none, and what happens in a second does not depend on how fast the machine is.
    """

    def __init__(self) -> None:
        self._stands_at: float | None = None
        super().__init__(_LeapingSelector(self))

    def time(self) -> float:
        return super().time() if self._stands_at is None else self._stands_at

    def stand(self) -> None:
        self._stands_at = self.time()

    def leap(self, seconds: float) -> bool:
        """Whether these seconds are over."""
        if self._stands_at is None:
            return False
        self._stands_at += seconds + 1e-9  # or rounding could leave a timer due and not due, for ever
        return True


class _LeapingSelector(selectors.DefaultSelector):
    def __init__(self, loop: Leaping) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None or timeout >= 60 or not self._loop.leap(timeout):  # asyncio gives its threads 300 s
            return super().select(timeout)
        return []


def leap() -> None:
    """From here on, the time of the running loop, a `Leaping` one, leaps."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Leaping)
    loop.stand()


async def until_leaping(condition: Any) -> None:
    """As `until`, but with turns that let the clock leap."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
