"""The steps of a connection: how long each may take, and what is known of them when one fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ..errors import EncodeError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Interruption", "Progress", "StepTimeouts", "UpgradeError"]

# HTTP statuses that say "not you", or "not so": the same again would be answered so again.
REFUSALS = frozenset({400, 401, 403, 404, 405, 407, 426})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimeouts:
    """How many seconds each step of a connection may take; None for what the connect time-out leaves, which bounds all.

    dns_s: to resolve the name. tcp_s: for the first of all addresses to answer. proxy_s: for what is said to a proxy.
    tls_s: for the TLS handshake. websocket_s: for the answer to the request for a WebSocket.

    Raises EncodeError for what is not more than 0.
    """

    dns_s: float | None = None
    tcp_s: float | None = None
    proxy_s: float | None = None
    tls_s: float | None = None
    websocket_s: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and (type(value) not in (int, float) or not 0 < value < float("inf")):
                raise EncodeError("must be more than 0 seconds, or None", field=each.name)


_UNBOUNDED = StepTimeouts()


class Interruption:
    """A way to tell an attempt that waits for an answer from the network that there is another network now.

    What waits for DNS, or for TCP's answer, would wait for seconds more: both repeat themselves ever more slowly. Later
    steps have an answer, and are not interrupted.
    """

    __slots__ = ("_interrupt", "_is_for_good", "_lock", "has_come")

    def __init__(self) -> None:
        self.has_come = False
        self._is_for_good = False
        self._interrupt: Callable[[], object] | None = None
        self._lock = threading.Lock()

    def come(self, *, for_good: bool = False) -> None:
        """For the thread of the event loop, or, where the attempt blocks, for any other one.

        for_good: and what would wait later is not to begin.
        """
        with self._lock:
            self._is_for_good = self._is_for_good or for_good
            if self._interrupt is not None and not self.has_come:
                self.has_come = True
                self._interrupt()

    @contextmanager
    def calling(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """What is done within can be interrupted, by this call. Raises TimeoutError where it has been, for good."""
        with self._lock:
            if self._is_for_good:
                raise TimeoutError
            self._interrupt = interrupt
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None


class Progress:
    """How far one attempt has come. The clock starts with it.

    timeout_s: for all steps together. interruption: what it can be told by.
    """

    def __init__(
        self, timeout_s: float, timeouts: StepTimeouts | None = None, interruption: Interruption | None = None
    ) -> None:
        self._timeouts = timeouts or _UNBOUNDED
        self._timeout_s = timeout_s
        self.interruption = interruption or Interruption()
        self._by = self._deadline = time.monotonic() + timeout_s
        self.step: str | None = None  # "dns", "tcp", "proxy", "tls", "websocket"; None before
        self.limit_s = timeout_s  # what the step runs out of
        self.tried: dict[str, OSError | None] = {}  # addresses, and why they failed
        self.address: str | None = None  # the one that answered

    def enter(self, step: str) -> None:
        """The next step begins."""
        self.step = step
        bound: float | None = getattr(self._timeouts, f"{step}_s")
        now = time.monotonic()
        if bound is None or now + bound >= self._by:
            self._deadline, self.limit_s = self._by, self._timeout_s
        else:
            self._deadline, self.limit_s = now + bound, bound

    def left(self) -> float:
        """Seconds that the step still has. Raises TimeoutError where that is none."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class UpgradeError(Exception):
    """The server makes no WebSocket of the connection. Becomes a ConnectError with the step "websocket".

    status: of its HTTP answer, or None. date: what time it says it is, or None.
    """

    def __init__(self, message: str, *, status: int | None = None, date: datetime | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.date = date

    @property
    def is_refusal(self) -> bool:
        """Whether it has refused who asks, or what for."""
        return self.status in REFUSALS
