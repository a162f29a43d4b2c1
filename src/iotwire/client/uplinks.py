"""Which of its routes a client takes next, and when it goes back to a better one.

Routes are tried in rounds: each of them once, the better ones first, without a pause in between. A round ends with a
connection that works, or with the last route; then the client waits, and begins another one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ..errors import IotwireError
from ..failover import Budget, Failover
from ..mqtt import ReasonCode
from ..route import Route, is_ip_literal
from ..transport.blocking import open_connection
from ..transport.steps import Interruption
from ..transport.tls import TlsContexts
from .backoff import is_refusal
from .options import LARGEST_PACKET
from .stats import RouteStats

__all__ = ["Prober", "Uplinks", "read_server_reference"]

# What the time before a return is multiplied by at most, where returns do not last.
MOST_PATIENCE = 16
# A better route is tried so often while the client is on another one, in seconds, and may take so long to answer.
PROBE_EVERY_S = 10.0
PROBE_TIMEOUT_S = 10.0


class _Uplink:
    """One route, and what became of it."""

    __slots__ = ("attempts", "budget", "connections", "moved_to", "patience", "received", "route", "sent")

    def __init__(self, route: Route, budget: Budget | None) -> None:
        self.route = route
        self.budget = budget
        self.moved_to: Route | None = None  # where its server has said that it is, for good
        self.patience = 1  # how many times `return_after_s` it has to answer before it is gone back to
        self.attempts = self.connections = self.sent = self.received = 0

    @property
    def is_spent(self) -> bool:
        return self.budget is not None and not self.budget.left


class Uplinks:
    """The routes of one client, and the one that it is on, or that it tries next.

    max_references: Server References that are followed in a row (MQTT 5.0, 4.13).
    """

    __slots__ = (
        "_counted",
        "_detours",
        "_failover",
        "_failures",
        "_is_return",
        "_max_references",
        "_references",
        "_returns",
        "_silent",
        "_tried",
        "_uplinks",
        "_wanted",
        "index",
        "is_metered",
        "largest_message",
        "route",
    )

    def __init__(self, routes: Route | Failover, max_references: int) -> None:
        self._failover = routes if isinstance(routes, Failover) else None
        if isinstance(routes, Failover):
            self._uplinks = [_Uplink(*each) for each in zip(routes.routes, routes.budgets, strict=True)]
        else:
            self._uplinks = [_Uplink(routes, None)]
        budgets = [each.budget for each in self._uplinks]
        self.is_metered = any(budgets)
        self.largest_message = min(
            max(LARGEST_PACKET if each is None else each.max_bytes for each in budgets), LARGEST_PACKET
        )
        self._max_references = max_references
        self._references = 0  # that were followed in a row
        self._detours: tuple[Route, ...] = ()  # where a server has sent this client
        self._tried: frozenset[int] = frozenset()  # in this round
        self._failures: tuple[BaseException | None, ...] = ()  # of this round
        self._silent: frozenset[int] = frozenset()  # routes that have not answered lately: those are tried last
        self._wanted: int | None = None  # what is tried first in the next round
        self._returns = self._is_return = False  # whether that is to be, and the attempt under way is, a return
        self._counted = (0, 0)
        self.index = 0
        self.route: Route = self._uplinks[0].route

    def __len__(self) -> int:
        return len(self._uplinks)

    @property
    def server(self) -> str:
        """What a session on this route belongs to: with another server it is another one."""
        failover = self._failover
        return (self._uplinks[0].route if failover is not None and failover.shares_session else self.route).server

    @property
    def has_another(self) -> bool:
        """Whether another route is to be tried if this attempt fails, before the client waits or gives up."""
        return bool(self._detours or self._untried(self._tried | {self.index}))

    @property
    def failure(self) -> BaseException | None:
        """What to make of a round in which all have failed: the network, if it was that for one of them."""
        return next((each for each in reversed(self._failures) if not is_refusal(each)), self._failures[-1])

    def begin(self) -> None:
        """The client begins, or the network is another one."""
        self._silent = frozenset()
        self.begin_round()

    def begin_round(self) -> None:
        """All routes may be tried again."""
        self._tried = frozenset()
        self._failures = self._detours = ()
        self._references = 0
        self._choose()

    def _choose(self) -> None:
        if self._detours:
            self.route, *others = self._detours
            self._detours = tuple(others)
            return
        wanted, self._wanted = self._wanted, None
        self._is_return, self._returns = self._returns, False
        untried = self._untried(self._tried)
        if wanted is not None and wanted in untried:
            self.index = wanted
        elif untried:
            self.index = next((index for index in untried if index not in self._silent), untried[0])
        uplink = self._uplinks[self.index]
        self.route = uplink.moved_to or uplink.route

    def _untried(self, tried: frozenset[int]) -> list[int]:
        return [index for index, each in enumerate(self._uplinks) if index not in tried and not each.is_spent]

    @property
    def budget(self) -> Budget | None:
        """Of this route."""
        return self._uplinks[self.index].budget

    @property
    def is_spent(self) -> bool:
        """Whether this route may not be used now."""
        return self._uplinks[self.index].is_spent

    @property
    def renews_in_s(self) -> float | None:
        """Seconds until there is a route that may be used; None where there is one."""
        budgets = [each.budget for each in self._uplinks if each.budget is not None and each.is_spent]
        return min(each.renews_in_s for each in budgets) if len(budgets) == len(self._uplinks) else None

    def note_attempt(self) -> None:
        self._uplinks[self.index].attempts += 1

    def note_connection(self) -> None:
        self._uplinks[self.index].connections += 1
        self._silent -= {self.index}

    def note_reference(self, reason_code: int, reference: str | None) -> None:
        """The server has refused, or ended, a connection, and may have said where else to go."""
        if reason_code not in (ReasonCode.USE_ANOTHER_SERVER, ReasonCode.SERVER_MOVED) or not reference:
            return
        if self._references >= self._max_references:
            return
        places = read_server_reference(reference)[: self._max_references - self._references]
        routes = [self.route.moved_to(*place) for place in places]
        self._detours = tuple(each for each in routes if each is not None)
        self._references += len(self._detours)
        if self._detours and reason_code == ReasonCode.SERVER_MOVED:
            self._uplinks[self.index].moved_to = self._detours[0]

    def note_end(self, error: BaseException | None, *, has_worked: bool, lasted_s: float) -> bool:
        """An attempt, or a connection, is over. Whether another route is to be tried at once.

        has_worked: whether it was a connection that was of use. lasted_s: how long it was open.
        """
        self._judge_return(lasted_s)
        if has_worked:
            self._tried = frozenset()
            self._failures = ()
            self._references = len(self._detours)
            is_sent_on = bool(self._detours)
            self._choose()
            return is_sent_on
        if not self._detours:
            uplink = self._uplinks[self.index]
            if self.route is uplink.moved_to:
                uplink.moved_to = None  # it is not there: where it came from may know better
            self._tried |= {self.index}
            self._failures += (error,)
            if not self._untried(self._tried):
                return False
        self._choose()
        return True

    def _judge_return(self, lasted_s: float) -> None:
        """A route that was gone back to, and does not last, has to answer for longer the next time."""
        after_s = None if self._failover is None else self._failover.return_after_s
        if after_s is None:
            return
        uplink = self._uplinks[self.index]
        if lasted_s >= after_s:
            uplink.patience = 1
        elif self._is_return:
            uplink.patience = min(2 * uplink.patience, MOST_PATIENCE)

    def stay(self) -> None:
        """The next connection is to be over this route, too."""
        self._wanted = self.index

    def go_back_to(self, index: int) -> None:
        """The next connection is to be over that one, which is better."""
        self._wanted = index
        self._returns = True

    def note_silent(self) -> None:
        """It is known that this route does not answer."""
        self._silent |= {self.index}

    def note_probed(self, silent: set[int]) -> None:
        """Of those that are better than this one, these do not answer."""
        self._silent = frozenset(index for index in self._silent if index >= self.index) | silent

    def make_prober(self, tell: Callable[[int], None]) -> Prober | None:
        """What tries the routes that are better than this one; None where there is none, or no wish to go back."""
        if self._failover is None or self._failover.return_after_s is None or not self.index:
            return None
        after_s = self._failover.return_after_s
        better = self._uplinks[: self.index]
        return Prober([(each.moved_to or each.route, each.patience * after_s, each.budget) for each in better], tell)

    def count(self, sent: int, received: int) -> None:
        """So many bytes in all by now: what is new is this route's."""
        uplink = self._uplinks[self.index]
        uplink.sent += sent - self._counted[0]
        uplink.received += received - self._counted[1]
        if uplink.budget is not None:
            uplink.budget.spend(sent + received - sum(self._counted))
        self._counted = (sent, received)

    def stats(self) -> tuple[RouteStats, ...]:
        return tuple(
            RouteStats(
                server=each.route.server,
                interface=each.route.interface,
                attempts=each.attempts,
                connections=each.connections,
                bytes_sent=each.sent,
                bytes_received=each.received,
            )
            for each in self._uplinks
        )


class Prober:
    """Tries routes from time to time, beside a connection, in a thread of its own: as far as TLS, and no further.

    routes: the better ones first, and for each how long it has to have answered, and what it may spend. tell: called in
    that thread, once, with the index of the first one that has answered for so long.
    """

    def __init__(self, routes: Sequence[tuple[Route, float, Budget | None]], tell: Callable[[int], None]) -> None:
        self._routes = routes
        self._tell = tell
        self._contexts = TlsContexts()
        self._interruption = Interruption()
        self._is_over = False
        self._wakeup = threading.Event()
        self.silent: set[int] = set(range(len(routes)))
        thread = threading.Thread(target=self._run, name="iotwire uplinks", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no thread: then this route is left when it is lost
            self._is_over = True

    def stop(self) -> None:
        self._is_over = True
        self._wakeup.set()
        self._interruption.come(for_good=True)

    def look_now(self) -> None:
        """The network has changed."""
        self._wakeup.set()

    def _run(self) -> None:
        since: dict[int, float] = {}
        wait_s = 0.0
        while True:
            self._wakeup.wait(wait_s)
            self._wakeup.clear()
            wait_s = PROBE_EVERY_S
            for index, (route, after_s, budget) in enumerate(self._routes):
                answers = (budget is None or budget.left > 0) and self._try(route)
                if self._is_over:
                    return
                if not answers:
                    since.pop(index, None)
                    self.silent.add(index)
                    continue
                now = time.monotonic()
                left_s = since.setdefault(index, now) + after_s - now
                self.silent.discard(index)
                if left_s <= 0:
                    self._tell(index)
                    return
                wait_s = min(wait_s, left_s)

    def _try(self, route: Route) -> bool:
        try:
            attempt = replace(route.prepare(datetime.now(UTC)), websocket_path=None)
            connected, _ = open_connection(
                attempt,
                timeout_s=PROBE_TIMEOUT_S,
                dead_link_timeout_s=None,
                contexts=self._contexts,
                interruption=self._interruption,
            )
        except IotwireError:
            return False
        connected.close()
        return True


def read_server_reference(reference: str) -> list[tuple[str, int | None]]:
    """Hosts, and ports where they are given: "a.example b.example:8883 [fe80::1]:1883" (MQTT 5.0, 4.13).

    The standard does not say more of their form; what is none of these is left out.
    """
    found: list[tuple[str, int | None]] = []
    for each in reference.split():
        host, colon, port = each.rpartition(":")
        if not colon or is_ip_literal(each) or each.endswith("]"):
            found.append((each, None))
        elif port.isascii() and port.isdecimal() and len(port) <= 5:
            found.append((host, int(port)))
    return found
