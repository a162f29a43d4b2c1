"""What a program of threads reads messages from, and what it waits for a message's end with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..errors import RequestTimeoutError
from ..mqtt import Publish, ReasonCode
from .inbox import Inbox
from .outcomes import Outcome
from .wire import ThreadWaiter

if TYPE_CHECKING:
    from ..outbox import Ticket
    from .blocking import BlockingClient

__all__ = [
    "BlockingMessageHandler",
    "BlockingMessageStream",
    "BlockingReceipt",
    "BlockingStoredReceipt",
    "wait_stored",
]


class BlockingReceipt(Outcome):
    """What becomes of a message of `publish_nowait`: look at it, or `wait` for it. Not waiting is no mistake."""

    __slots__ = ("_client",)

    def __init__(self, client: BlockingClient | None = None) -> None:
        super().__init__()
        self._client = client

    def wait(self, timeout_s: float | None = None) -> ReasonCode:
        """The server's reason code. Raises PublishError, ConnectionLostError, or RequestTimeoutError."""
        if not self.is_done and self._client is not None:
            self._client._wait_for_outcome(self, timeout_s)
        if self.error is not None:
            raise self.error
        assert self.reason_code is not None
        return self.reason_code


class BlockingStoredReceipt(BlockingReceipt):
    """What an outbox tells of a message."""

    __slots__ = ("_ticket",)

    def __init__(self, ticket: Ticket) -> None:
        super().__init__()
        self._ticket = ticket
        ticket.tell(self, None)

    @property
    def is_stored(self) -> bool:
        return self.reason_code is not None

    def wait(self, timeout_s: float | None = None) -> ReasonCode:
        """SUCCESS, once it is stored. Raises OutboxError, RequestTimeoutError."""
        wait_stored(self._ticket, timeout_s)
        return ReasonCode.SUCCESS


def wait_stored(ticket: Ticket, timeout_s: float | None) -> None:
    """Wait until a message is on disk. Raises OutboxError, RequestTimeoutError."""
    try:
        ticket.wait(timeout_s)
    except TimeoutError as error:
        raise RequestTimeoutError(str(error)) from None


class BlockingMessageStream:
    """Messages as they arrive: `for message in client.messages("sensors/#")`. Made by `BlockingClient.messages`.

    Several threads may read one stream; each message goes to one of them.
    """

    def __init__(self, client: BlockingClient, inbox: Inbox) -> None:
        self._client = client
        self._inbox = inbox

    def __iter__(self) -> Iterator[Publish]:
        return self

    def __next__(self) -> Publish:
        message = self.get()
        if message is None:
            raise StopIteration
        return message

    def get(self, timeout_s: float | None = None) -> Publish | None:
        """The next message; None at the end of the stream. Raises ConnectionLostError and RequestTimeoutError."""
        client, inbox = self._client, self._inbox
        deadline = None if timeout_s is None else monotonic() + timeout_s
        while True:
            waiter = ThreadWaiter()
            with client._lock, client._turn:
                message = inbox.pop()
                if message is not None:
                    return message
                if inbox.is_ended:
                    error = inbox.end_error()
                    if error is not None:
                        raise error
                    return None
                if inbox.readers is None:
                    inbox.readers = deque()
                inbox.readers.append(waiter)
            try:
                client._wait(waiter, deadline)
            except BaseException:
                with client._lock, client._turn:
                    if waiter in inbox.readers:
                        inbox.readers.remove(waiter)
                    elif len(inbox):
                        inbox.wake_reader()
                raise

    @property
    def waiting(self) -> int:
        """How many messages are here, not yet read."""
        with self._client._lock, self._client._turn:
            return len(self._inbox)

    @property
    def dropped(self) -> int:
        """How many messages were dropped: QoS 0 for want of room, and those left unread by `close`."""
        return self._inbox.dropped

    def close(self) -> None:
        """Take no more messages. Those not yet read are dropped and counted, and count as acknowledged."""
        with self._client._lock, self._client._turn:
            self._client._distributor.close(self._inbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BlockingMessageHandler:
    """A callback that is called with messages until `close`."""

    def __init__(self, client: BlockingClient, inbox: Inbox) -> None:
        self._client = client
        self._inbox = inbox

    def close(self) -> None:
        """Call it no more. What waits for it is dropped and counted."""
        with self._client._lock, self._client._turn:
            self._client._distributor.close(self._inbox)
