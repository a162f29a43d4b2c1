"""What a program reads messages from, and what they are handed to."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from ..mqtt import Publish
from .inbox import Distributor, Inbox, Taker

__all__ = ["MessageHandler", "MessageStream"]

_log = logging.getLogger("iotwire.client")


class MessageStream:
    """Messages as they arrive: `async for message in client.messages("sensors/#")`. Made by `Client.messages`.

    Several tasks may read one stream; each message goes to one of them. The stream belongs to the event loop's thread.
    It is closed by `close`, at the end of a `with` block, or when nothing refers to it any more.
    """

    def __init__(self, distributor: Distributor, inbox: Inbox) -> None:
        self._distributor = distributor
        self._inbox = inbox
        self._pop = inbox.pop
        self._thread = threading.get_ident()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Publish:
        message = self._pop()
        while message is None:
            if self._inbox.is_ended:
                error = self._inbox.end_error()
                if error is not None:
                    raise error
                raise StopAsyncIteration
            await self._wait()
            message = self._pop()
        return message

    async def _wait(self) -> None:
        inbox = self._inbox
        reader = asyncio.get_running_loop().create_future()
        if inbox.readers is None:
            inbox.readers = deque()
        inbox.readers.append(reader)
        try:
            await reader
        except BaseException:
            if reader in inbox.readers:
                inbox.readers.remove(reader)
            elif len(inbox):
                inbox.wake_reader()  # woken and cancelled at once: the message is for the next reader
            raise

    @property
    def waiting(self) -> int:
        """How many messages are here, not yet read."""
        return len(self._inbox)

    @property
    def dropped(self) -> int:
        """How many messages were dropped: QoS 0 for want of room, and those left unread by `close`."""
        return self._inbox.dropped

    def close(self) -> None:
        """Take no more messages. Those not yet read are dropped and counted, and count as acknowledged."""
        self._distributor.close(self._inbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The garbage collector may run on any thread; there, only leave a note for the next delivery.
        self._inbox.is_abandoned = True
        if threading.get_ident() == self._thread:
            self.close()


class MessageHandler:
    """A callback that is called with messages until `close`. Made by `on_message` and `on_unmatched`."""

    def __init__(self, distributor: Distributor, taker: Taker) -> None:
        self._distributor = distributor
        self._taker = taker

    def close(self) -> None:
        """Call it no more. What waits for an async callback is dropped and counted."""
        self._distributor.close(self._taker)


class Consumer:
    """Calls an async callback with the messages of an inbox, one after another, in a task that lives while they do."""

    def __init__(
        self, inbox: Inbox, function: Callable[[Publish], Awaitable[Any]], tasks: set[asyncio.Task[None]]
    ) -> None:
        self._inbox = inbox
        self._function = function
        self._tasks = tasks
        self._is_running = False
        inbox.on_arrival = self._start

    def _start(self) -> None:
        if not self._is_running:
            self._is_running = True
            task = asyncio.get_running_loop().create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        try:
            while (message := self._inbox.pop()) is not None:
                try:
                    await self._function(message)
                except Exception:  # noqa: BLE001 -- the application's own
                    _log.exception("the callback for a message on %s failed", message.topic)
        finally:
            self._is_running = False
