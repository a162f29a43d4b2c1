"""aiomqtt over a route: `async with open_client(route, "gateway-7") as client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..route import Route
from .common import import_client, make_context, prepare, websocket_headers

if TYPE_CHECKING:
    from aiomqtt import Client

__all__ = ["make_options", "open_client"]

NAME = "aiomqtt"


@asynccontextmanager
async def open_client(
    route: Route, client_id: str = "", *, version: int = 5, keep_alive: int = 60, **options: Any
) -> AsyncIterator[Client]:
    """A client of aiomqtt that is connected by this route for the length of the block.

    A signature and a token count for one connection, and aiomqtt leaves it to its user to connect again: open a block
    anew for each connection, as its documentation shows, and each has fresh credentials.

    version: 5, or 4 for MQTT 3.1.1. keep_alive: seconds. options: any others of `aiomqtt.Client`, such as `will`.

    Raises IotwireError without aiomqtt, RouteError for what it cannot carry (HTTPS, a proxy, an interface),
    CredentialsError as the route does; and what aiomqtt raises, aiomqtt.MqttError.
    """
    aiomqtt = import_client("aiomqtt", NAME)
    found = await asyncio.to_thread(make_options, route, client_id, version=version)
    async with aiomqtt.Client(**(found | {"keepalive": keep_alive} | options)) as client:
        yield client


def make_options(route: Route, client_id: str = "", *, version: int = 5) -> dict[str, Any]:
    """The arguments of `aiomqtt.Client` for one connection by this route, for programs that make it themselves.

    Reads files and may ask for credentials, so not to be called on the event loop's thread. Raises as `open_client`.
    """
    aiomqtt = import_client("aiomqtt", NAME)
    attempt = prepare(route, NAME)
    options: dict[str, Any] = {
        "hostname": attempt.host,
        "port": attempt.port,
        "username": attempt.username,
        "password": attempt.password,
        "identifier": client_id,
        "protocol": aiomqtt.ProtocolVersion.V5 if version == 5 else aiomqtt.ProtocolVersion.V311,
        "tls_context": make_context(attempt),
        "bind_address": attempt.source_address or "",
    }
    if attempt.websocket_path is not None:
        options |= {
            "transport": "websockets",
            "websocket_path": attempt.websocket_path,
            "websocket_headers": websocket_headers(attempt),
        }
    return options
