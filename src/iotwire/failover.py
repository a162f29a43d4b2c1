"""Several routes of one client, the better ones first: interfaces, nodes of a cluster, regions; and their budgets."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from pathlib import Path

from .errors import EncodeError, RouteError
from .route import Route

__all__ = ["Budget", "Failover", "Metered"]

_log = logging.getLogger("iotwire.client")

# What was spent is written to a budget's file whenever another part of it is gone.
WRITTEN_PART = 100
_WRITTEN = re.compile(r"(?P<spent>[0-9]{1,18}) bytes since (?P<began>[0-9]{1,12})\n")


class Budget:
    """So many bytes for each period, for routes that cost: `Metered(lte, Budget(50_000_000, file="/var/lib/gw/lte"))`.

    The bytes are those of MQTT packets, in both directions, and exact: a message that does not fit into what is left is
    not sent. TLS and TCP add some 6 kB to each connection and some 100 bytes to each packet on its way, which are not
    counted: leave room for them.

    max_bytes: from 1 on. period_s: of one period, from 1 second on; the first one begins with the first byte.
    file: where to keep what was spent, over the end of this process; None for nowhere. It is written now and then: a
    process that is killed forgets a hundredth of max_bytes at most.

    Clients, and threads, may share one. Raises EncodeError for values out of range, RouteError where the file is there
    and is no such file.
    """

    def __init__(
        self, max_bytes: int, period_s: float = 30 * 86400, *, file: str | os.PathLike[str] | None = None
    ) -> None:
        if type(max_bytes) is not int or max_bytes < 1:
            raise EncodeError("must be an int of at least 1", field="max_bytes")
        if type(period_s) not in (int, float) or not 1 <= period_s < 1e9:
            raise EncodeError("must be a number of seconds, at least 1", field="period_s")
        self.max_bytes = max_bytes
        self.period_s = period_s
        self._lock = threading.Lock()
        self._file = None if file is None else Path(file)
        self._began: float | None = None  # of the period, in seconds since 1970
        self._spent = self._written = 0
        self._read()

    def __repr__(self) -> str:
        return f"Budget({self.max_bytes}, {self.period_s!r}, spent={self.spent})"

    @property
    def spent(self) -> int:
        """Bytes of this period so far. More than `max_bytes` where the server has sent more than was left."""
        with self._lock:
            self._turn_over()
            return self._spent

    @property
    def left(self) -> int:
        """Bytes that may be spent yet."""
        return max(0, self.max_bytes - self.spent)

    @property
    def renews_in_s(self) -> float:
        """Seconds until the next period."""
        with self._lock:
            self._turn_over()
            return self.period_s if self._began is None else self._began + self.period_s - time.time()

    def spend(self, nbytes: int) -> None:
        """They have gone over the route. More than is left is spent all the same."""
        with self._lock:
            self._turn_over()
            if nbytes and self._began is None:
                self._began = time.time()
            self._spent += nbytes
            if (self._spent - self._written) * WRITTEN_PART >= self.max_bytes:
                self._write()

    def save(self) -> None:
        """Write what was spent, where there is a file. Clients do, with the end of each connection."""
        with self._lock:
            if self._spent != self._written:
                self._write()

    def _turn_over(self) -> None:
        """A clock that was set back makes no period longer than one."""
        if self._began is not None and not -self.period_s < time.time() - self._began < self.period_s:
            self._began = None
            self._spent = self._written = 0

    def _read(self) -> None:
        if self._file is None:
            return
        try:
            text = self._file.read_text("latin-1")
        except FileNotFoundError:
            return
        except OSError as error:
            raise RouteError(f"file: {self._file} cannot be read: {error.strerror}") from error
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise RouteError(f"file: {self._file} is not what a Budget has written")
        self._began, self._spent = float(found["began"]), int(found["spent"])
        self._written = self._spent

    def _write(self) -> None:
        self._written = self._spent
        if self._file is None:
            return
        passing = self._file.with_name(f"{self._file.name}.new")
        try:
            passing.write_text(f"{self._spent} bytes since {self._began or time.time():.0f}\n", "ascii")
            passing.replace(self._file)
        except OSError as error:  # the budget counts on; a restart may forget
            _log.error("what was spent of a budget cannot be written to %s: %s", self._file, error.strerror or error)


class Metered:
    """A route of a `Failover` that may cost no more than its budget.

    Where a message does not fit into what is left, or the server has spent it, the route is left for the next one, and
    not used until its next period begins. Where there is no other, the client waits for that, and what is published
    waits in its outbox, or its queue. What was under way then is sent again.
    """

    __slots__ = ("budget", "route")

    def __init__(self, route: Route, budget: Budget) -> None:
        self.route = _read_route(route)
        if not isinstance(budget, Budget):
            raise RouteError(f"budget: Budget(...) is expected, not {type(budget).__name__}")
        self.budget = budget

    def __repr__(self) -> str:
        return f"Metered({self.route!r}, {self.budget!r})"


def _read_route(route: object) -> Route:
    if not isinstance(route, Route):
        raise RouteError(f"routes: a route of an Endpoint, or a Broker, is expected, not {type(route).__name__}")
    return route


class Failover:
    """Routes in the order in which they are wanted: `Client(Failover(ethernet, Metered(lte, budget)), "gateway-7")`.

    A client begins with the first one. Where a route fails it tries the next one at once, and only when all have failed
    in a row does it wait, as its `reconnect` says; all of them together are one attempt of those that `Backoff` counts.
    Where a connection is lost it begins with the first one again. While it is on another one it tries the better ones
    every few seconds, as far as TLS, beside its connection; one that has answered for a while is gone back to. What is
    not acknowledged by then is sent again over it.

    return_after_s: how long that while is, 0 to 86400 seconds; None leaves a connection alone until it is lost. Where
        the better route does not last as long as this, the next return takes twice as long, up to sixteen times.
    shares_session: whether what all routes lead to is one server, or a cluster whose nodes know each other's sessions.
        Routes to one host and port, and to one endpoint of AWS IoT, are one server in any case. Between others each
        connection begins a session of its own: subscriptions are made again, what was not acknowledged is published
        again as new (a message of QoS 2 too, so it may reach both servers), and what the server that was left still
        had for this client is not received.

    Raises RouteError for no route, or for what is none; EncodeError for a time out of range. Do not change it.
    """

    __slots__ = ("budgets", "return_after_s", "routes", "shares_session")

    def __init__(
        self, *routes: Route | Metered, return_after_s: float | None = 60.0, shares_session: bool = False
    ) -> None:
        if not routes:
            raise RouteError("routes: at least one route is expected")
        if return_after_s is not None and (
            type(return_after_s) not in (int, float) or not 0 <= return_after_s <= 86400
        ):
            raise EncodeError("must be 0 to 86400 seconds, or None", field="return_after_s")
        self.routes = tuple(each.route if isinstance(each, Metered) else _read_route(each) for each in routes)
        self.budgets = tuple(each.budget if isinstance(each, Metered) else None for each in routes)
        self.return_after_s = return_after_s
        self.shares_session = shares_session

    def __repr__(self) -> str:
        routes = ", ".join(
            repr(route if budget is None else Metered(route, budget))
            for route, budget in zip(self.routes, self.budgets, strict=True)
        )
        return f"Failover({routes}, return_after_s={self.return_after_s!r}, shares_session={self.shares_session!r})"
