"""Several routes of one client, the better ones first: interfaces, brokers of a cluster, regions."""

from __future__ import annotations

from .errors import EncodeError, RouteError
from .route import Route

__all__ = ["Failover"]


class Failover:
    """Routes in the order in which they are wanted: `Client(Failover(ethernet, lte), "gateway-7")`.

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

    __slots__ = ("return_after_s", "routes", "shares_session")

    def __init__(self, *routes: Route, return_after_s: float | None = 60.0, shares_session: bool = False) -> None:
        if not routes:
            raise RouteError("routes: at least one route is expected")
        for route in routes:
            if not isinstance(route, Route):
                raise RouteError(
                    f"routes: a route of an Endpoint, or a Broker, is expected, not {type(route).__name__}"
                )
        if return_after_s is not None and (
            type(return_after_s) not in (int, float) or not 0 <= return_after_s <= 86400
        ):
            raise EncodeError("must be 0 to 86400 seconds, or None", field="return_after_s")
        self.routes = routes
        self.return_after_s = return_after_s
        self.shares_session = shares_session

    def __repr__(self) -> str:
        routes = ", ".join(map(repr, self.routes))
        return f"Failover({routes}, return_after_s={self.return_after_s!r}, shares_session={self.shares_session!r})"
