"""When a client connects, and over which route: what goes before a connection, and what becomes of it after one.

`Attempts` is the part of both clients that decides it, and neither waits nor touches a socket. Reasons for another
connection are: that one was lost, or refused; that its time at the service is over; that a better route is back; that
what its route may cost is spent; that the network of this machine has changed.
"""

from __future__ import annotations

import logging
import random
import socket
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..errors import ConnectError, IotwireError
from ..limits import AwsIotLimits
from ..mqtt import Disconnect, Session
from ..route import Attempt, Route
from ..transport import linkwatch
from ..transport.steps import Interruption
from .backoff import LASTING_S, Backoff, Retries, is_refusal
from .states import State, log_state
from .uplinks import Prober, Uplinks

if TYPE_CHECKING:
    from .stored import Feed

__all__ = ["Attempts"]

# HTTP statuses of a service that does not accept a signature.
CLOCK_STATUSES = frozenset({401, 403})
# Parts of the time that the service gives a connection, after which it is left for another one.
RENEW_AT = (0.95, 0.99)
# Where the network has changed, a client waits no longer, but for what comes with the change: the address after the
# link, the route after the address. An attempt that is younger than this is let alone: TCP repeats itself by then.
SETTLE_S = 0.2
LET_ALONE_S = 1.0
# Where all budgets are spent, the clock is looked at so often.
LONGEST_WAIT_S = 600.0
ALL_SPENT = "the budget of each route is spent"
# How long a route whose budget is spent is kept for acknowledgements that are to come.
SPENT_PATIENCE_S = 10.0


class Attempts(ABC):
    """What a client has, and does, for the sake of its next connection."""

    __slots__ = (
        "__weakref__",
        "_asked_at",
        "_backoff",
        "_clock",
        "_drained",
        "_feed",
        "_has_connected",
        "_interface_index",
        "_interruption",
        "_is_closing",
        "_is_renewing",
        "_is_running",
        "_lacks_link",
        "_limits",
        "_links_came",
        "_links_seen",
        "_made_progress",
        "_may_hurry",
        "_not_before",
        "_opened_at",
        "_prober",
        "_session",
        "_session_server",
        "_spent_at",
        "_stop_listening",
        "_tried_at",
        "_uplinks",
        "_wait_for_server",
    )

    def __init__(
        self, uplinks: Uplinks, reconnect: Backoff | None, limits: AwsIotLimits | None, *, wait_for_server: bool
    ) -> None:
        self._uplinks = uplinks
        self._backoff = reconnect
        self._limits = limits
        self._wait_for_server = wait_for_server
        self._session: Session
        self._feed: Feed | None = None
        self._clock = Clock()
        self._is_running = False
        self._is_closing = False
        self._drained: Any = None  # the Waiter of a disconnect that waits for acknowledgements
        self._is_renewing = False  # the connection is ended for another one
        self._made_progress = False  # the server has done more than to accept the latest connection
        self._asked_at: float | None = None  # when CONNECT left
        self._opened_at: float | None = None
        self._has_connected = False  # since it was started
        self._session_server: str | None = None  # with which the session is, as far as there has been one
        self._prober: Prober | None = None  # of better routes, while there is a connection over another one
        self._stop_listening: Callable[[], None] | None = None  # to changes of the network
        self._links_came = self._links_seen = 0  # changes for the better: so far, and when the latest attempt began
        self._lacks_link = False  # the interface of the connection has gone
        self._interface_index = 0  # of the connection's, where the route names it and others are there
        self._interruption: Interruption | None = None  # of the attempt under way
        self._may_hurry = False  # the network may be why there is no connection
        self._spent_at: float | None = None  # when the budget of this connection's route was found to be
        self._not_before = 0.0  # when the service allows the next attempt
        self._tried_at = 0.0  # when the latest attempt began

    # What the rest of the client does.

    @property
    @abstractmethod
    def client_id(self) -> str:
        """The id of this client."""

    @abstractmethod
    def _now(self) -> float:
        """On the clock that the session is told."""

    @abstractmethod
    def _handle(self, events: list[Any], own_error: IotwireError | None = None) -> None:
        """Take what the session tells."""

    @abstractmethod
    def _call_pump_in(self, seconds: float) -> None:
        """Have `_pump` called then."""

    @abstractmethod
    def _call_from_thread(self, function: Callable[[], None]) -> None:
        """Have it called where this client's own work is done; for other threads."""

    @abstractmethod
    def _wake_early(self) -> None:
        """Have it seen, where the client waits for its next attempt, that it may wait no longer."""

    @abstractmethod
    def _give_connection_up(self, message: str) -> None:
        """The connection is lost, for this reason, though nothing has told of it."""

    # One attempt.

    @property
    def _route(self) -> Route:
        """The one that the client is on, or tries next."""
        return self._uplinks.route

    @property
    def _is_leaving(self) -> bool:
        """Whether it is closing, and waits for no acknowledgement any more: there is no use in another connection."""
        return self._is_closing and self._drained is None

    def _note(
        self, level: int, state: State, reason: BaseException | None = None, delay_s: float | None = None
    ) -> None:
        """Log a change of state."""
        log_state(level, state, self.client_id, getattr(self._route, "host", None), delay_s, reason)

    def _make_attempt(self) -> Attempt:
        """What one connection needs. Reads files, or more: in a thread other than the event loop's."""
        uplinks = self._uplinks
        if uplinks.is_spent:
            uplinks.begin_round()  # another one may be usable by now
        if uplinks.is_spent:
            raise ConnectError(ALL_SPENT)
        self._note(logging.INFO, "connecting")
        uplinks.note_attempt()
        self._links_seen = self._links_came
        self._tried_at = self._now()
        self._interruption = Interruption()
        return self._route.prepare(self._clock.now() if self._route.is_signed else datetime.now(UTC))

    def _learns_from(self, error: ConnectError) -> bool:
        """Whether an attempt was refused for a clock that is wrong, and another one is worth trying at once."""
        return self._route.is_signed and error.http_status in CLOCK_STATUSES and self._clock.learn(error.server_time)

    # Reasons to leave a connection.

    def _renew_in(self) -> float | None:
        """After how many seconds a connection is to make way for the next one; None for never.

        A little before the service ends it, and not after the same time for all who connected together.
        """
        most = self._route.max_connection_s
        return None if most is None else most * random.uniform(*RENEW_AT)  # noqa: S311 -- jitter, not a secret

    def _renew(self) -> None:
        """End the connection for another one. What is not acknowledged is sent again on that."""
        if self._session.is_connected and not self._is_closing:
            self._note(logging.INFO, "renewing")  # before the service ends this connection
            self._uplinks.stay()
            self._make_way()

    def _make_way(self) -> None:
        """End the connection for another one, which is made at once."""
        self._is_renewing = True
        self._session.disconnect(Disconnect())
        self._handle(self._session.take_events())

    def _affords(self, size: int) -> bool:
        """Whether the route's budget has so many bytes left; else it is left for another one.

        Not before what is under way has its end: it would be sent, and paid for, once more.
        """
        budget = self._uplinks.budget
        if budget is None:
            return True
        self._count_route()
        if size <= budget.left:
            return True
        if self._session.is_connected and not self._is_renewing:
            now = self._now()
            if self._spent_at is None:
                self._spent_at = now
            if self._session.unfinished and now < self._spent_at + SPENT_PATIENCE_S:
                self._call_pump_in(self._spent_at + SPENT_PATIENCE_S - now)
            else:
                self._note(logging.WARNING, "spent")
                budget.spend(budget.left)  # what is left is of no use
                self._make_way()
        return False

    def _go_back(self, prober: Prober, index: int) -> None:
        """A better route has answered for long enough."""
        if prober is self._prober and self._session.is_connected and not self._is_closing:
            self._note(logging.INFO, "returning")
            self._stop_probing()
            self._uplinks.go_back_to(index)
            self._make_way()

    def _probe(self) -> None:
        """Look for a better route, if there is one."""

        def tell(index: int) -> None:
            self._call_from_thread(lambda: None if prober is None else self._go_back(prober, index))

        self._prober = prober = self._uplinks.make_prober(tell)

    def _stop_probing(self) -> None:
        if self._prober is not None:
            self._uplinks.note_probed(self._prober.silent)
            self._prober.stop()
            self._prober = None

    # The network of this machine.

    def _listen(self, *, wants: bool = True) -> None:
        """Hear of changes of the network, or no more."""
        if not wants or self._backoff is None:
            if self._stop_listening is not None:
                self._stop_listening()
                self._stop_listening = None
        elif self._stop_listening is None:
            reference = weakref.ref(self)  # nobody ends a client whose event loop is closed without it

            def tell(change: linkwatch.LinkChange) -> None:
                if (client := reference()) is not None:
                    client._call_from_thread(partial(client._note_link, change))

            self._stop_listening = linkwatch.listen(tell)

    def _note_link(self, change: linkwatch.LinkChange) -> None:
        """Something of this machine's network has come, or gone."""
        if not self._is_running:
            return
        if change.is_up:
            if self._prober is not None:
                self._prober.look_now()
            if not self._session.is_connected:
                self._links_came += 1
                if self._interruption is not None and self._now() - self._tried_at >= LET_ALONE_S:
                    self._interruption.come()
                self._wake_early()
        elif change.interface == self._interface_index != 0 and self._session.is_connected:
            self._lacks_link = True
            self._uplinks.note_silent()
            self._give_connection_up(f"the interface {self._route.interface} has no link")

    @property
    def _is_hurried(self) -> bool:
        """Whether to wait no longer for the next attempt."""
        return self._may_hurry and self._links_came != self._links_seen

    def _hurry_in(self, retries: Retries) -> float:
        """The network is another one: how many seconds later to try it, as if for the first time."""
        retries.note_progress()
        self._uplinks.begin()
        return max(SETTLE_S, self._not_before - self._now())

    # After one, and with one.

    def _next_attempt_in(self, retries: Retries, error: BaseException | None, began: float) -> float | None:
        """How many seconds to wait before the next attempt; None for none. began: when the latest one did."""
        now = self._now()
        was_open = self._opened_at is not None
        lasted_s = 0.0 if self._opened_at is None else now - self._opened_at
        self._opened_at = None
        self._count_route()
        uplinks = self._uplinks
        if uplinks.budget is not None:
            uplinks.budget.save()
        has_worked = was_open and (self._made_progress or self._is_renewing or lasted_s >= LASTING_S)
        is_next = uplinks.note_end(error, has_worked=has_worked, lasted_s=lasted_s)
        if self._made_progress:
            self._made_progress = False
            retries.note_progress()
        if self._is_leaving:
            return None
        was_renewed, self._is_renewing = self._is_renewing, False
        may_wait = self._has_connected or self._wait_for_server
        if may_wait and self._backoff is not None and (renews_in_s := uplinks.renews_in_s) is not None:
            self._may_hurry = False
            error = ConnectError(ALL_SPENT)
            self._note(logging.WARNING, "waiting", error, renews_in_s)
            return min(max(renews_in_s, 0.0), LONGEST_WAIT_S)  # the clock may be set meanwhile
        if was_renewed and error is None:
            return 0.0
        if self._has_connected and self._backoff is None:
            return None
        lacks_link, self._lacks_link = self._lacks_link, False
        delay_s = 0.0
        if not is_next:
            if not may_wait:
                return None
            if not has_worked:
                error = uplinks.failure
                uplinks.begin_round()
            if not lacks_link:  # else there is no doubt, and no herd that comes at once
                wait_s = retries.delay_s(error, lasted_s)
                if wait_s is None:
                    return None
                delay_s = wait_s
        self._not_before = 0.0
        if self._limits is not None and self._limits.connect_interval_s is not None:
            asked_at = self._asked_at or began
            self._not_before = (asked_at if is_next else max(began, asked_at)) + self._limits.connect_interval_s
            delay_s = max(delay_s, self._not_before - now)
        self._may_hurry = not is_refusal(error)
        if is_refusal(error):
            self._note(logging.ERROR, "refused", error, delay_s)
        else:
            self._note(logging.WARNING, "lost" if was_open else "waiting", error, delay_s)
        return delay_s

    def _settle_on_route(self) -> None:
        """There is a connection over this route."""
        uplinks = self._uplinks
        uplinks.note_connection()
        self._spent_at = self._interruption = None
        if uplinks.server != self._session_server:
            self._session_server = uplinks.server
            if self._feed is not None:
                self._feed.move_to(uplinks.server)
        self._interface_index = 0
        if len(uplinks) > 1 and self._route.interface is not None:
            with suppress(OSError):  # it has gone by now
                self._interface_index = socket.if_nametoindex(self._route.interface)
        self._probe()
        self._listen(wants=self._interface_index != 0 or self._prober is not None)

    def _leave_route(self) -> None:
        """The connection over it has ended."""
        self._stop_probing()
        if self._is_running and not self._is_leaving:
            self._listen()

    def _count_route(self) -> None:
        """What went over the wire by now, and was not counted yet, went over this route."""
        self._uplinks.count(
            sum(size for _, size in self._session.sent[0].values()),
            sum(size for _, size in self._session.received[0].values()),
        )
