"""Both clients behind one face, for tests that do not care which it is: calls that wait, from a test without a loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from iotwire import BlockingClient, Client
from scripted_threads import BOUND_S

KINDS = ("asyncio", "blocking")


class _OnItsLoop:
    """A `Client` whose loop runs in a thread of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.client = Client(*arguments, **options)

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        async def run() -> Any:
            result = function(*arguments, **options)
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(2 * BOUND_S)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        return (lambda *arguments, **options: self.call(found, *arguments, **options)) if callable(found) else found

    def close(self) -> None:
        self.call(self.client.disconnect)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND_S)
        self._loop.close()


@contextmanager
def either(kind: str, *arguments: Any, starts: bool = False, **options: Any) -> Iterator[Any]:
    """A client of one of KINDS that is connected, or with `starts` just started; it is disconnected at the end."""
    options.setdefault("drain_timeout_s", 0.0)
    if kind == "blocking":
        client: Any = BlockingClient(*arguments, **options)
        try:
            (client.start if starts else client.connect)()
            yield client
        finally:
            client.disconnect()
    else:
        client = _OnItsLoop(*arguments, **options)
        try:
            (client.start if starts else client.connect)()
            yield client
        finally:
            client.close()
