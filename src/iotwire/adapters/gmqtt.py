"""gmqtt over a route: `client = make_client(route, "gateway-7")`, then `await client.connect_by_route()`."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ..errors import IotwireError, RouteError
from ..route import Attempt, Route
from .common import import_client, make_context, prepare

__all__ = ["make_client"]

_log = logging.getLogger("iotwire.adapters")

NAME = "gmqtt"


def make_client(route: Route, client_id: str = "", *, version: int = 5, keep_alive: int = 60, **options: Any) -> Any:
    """A `gmqtt.Client` for this route, with one method more: `await client.connect_by_route()`.

    Set its callbacks before you call that. The client connects again by itself, and asks the route for fresh
    credentials before each attempt; where that fails it tries with those that it has, and the reason is in the log.

    version: 5, or 4 for MQTT 3.1.1. keep_alive: seconds. options: any others of `gmqtt.Client`, such as `will_message`
    and `clean_session`.

    Raises IotwireError without gmqtt; `connect_by_route` raises RouteError for what gmqtt cannot carry (WebSockets,
    HTTPS, a proxy, an interface, a source address), CredentialsError as the route does, and what gmqtt raises.
    """
    gmqtt = import_client("gmqtt", NAME)

    class RoutedClient(gmqtt.Client):  # type: ignore[misc, name-defined]
        """See `make_client`."""

        async def connect_by_route(self) -> None:
            attempt = await asyncio.to_thread(_prepare, route)
            context = await asyncio.to_thread(make_context, attempt)
            _set_credentials(self, attempt)
            await self.connect(
                attempt.host, attempt.port, ssl=context or False, keepalive=keep_alive, version=4 if version == 4 else 5
            )

        async def reconnect(self, delay: bool = False) -> None:
            try:
                _set_credentials(self, await asyncio.to_thread(_prepare, route))
            except IotwireError as error:
                _log.warning("the next connection has no fresh credentials: %s", error)
            await super().reconnect(delay)

    return RoutedClient(client_id, **options)


def _prepare(route: Route) -> Attempt:
    attempt = prepare(route, NAME, has_websockets=False)
    if attempt.source_address is not None:
        raise RouteError(f"source_address: {NAME} cannot choose one; iotwire's own clients can")
    return attempt


def _set_credentials(client: Any, attempt: Attempt) -> None:
    if attempt.username is not None:
        client.set_auth_credentials(attempt.username, attempt.password)
