"""paho-mqtt over a route: `make_client(route, "gateway-7")`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import IotwireError
from ..route import Attempt, Route
from .common import import_client, make_context, prepare, websocket_headers

if TYPE_CHECKING:
    from paho.mqtt.client import Client

__all__ = ["make_client"]

_log = logging.getLogger("iotwire.adapters")

NAME = "paho-mqtt"


def make_client(
    route: Route,
    client_id: str = "",
    *,
    version: int = 5,
    keep_alive: int = 60,
    on_pre_connect: Callable[[Client, Any], None] | None = None,
    **options: Any,
) -> Client:
    """A client of paho-mqtt 2 that connects by this route: call its `loop_start()`, or `reconnect()` and loop yourself.

    version: 5, or 4 for MQTT 3.1.1. keep_alive: seconds. options: any others of `paho.mqtt.client.Client`, such as
    `clean_session` and `userdata`; the callbacks are those of its second API.
    on_pre_connect: called before each attempt, after this adapter's own, which takes the place of that callback: it
    asks the route for fresh credentials, so that each reconnect has a signature, a token and a certificate of its own.
    Where that fails, the attempt does (as an OSError, which paho tries again), and the reason is in the log.

    Reads files and may ask for credentials. Raises IotwireError without paho-mqtt 2, RouteError for what it cannot
    carry (HTTPS, a proxy, an interface), CredentialsError as the route does.
    """
    mqtt = import_client("paho.mqtt.client", NAME)
    if not hasattr(mqtt, "CallbackAPIVersion"):
        raise IotwireError(f"{NAME} 2 or later is expected: pip install -U {NAME}")
    attempt = prepare(route, NAME)
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2,
        client_id,
        protocol=mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311,
        transport="tcp" if attempt.websocket_path is None else "websockets",
        **options,
    )
    context = make_context(attempt)
    if context is not None:
        client.tls_set_context(context)

    def refresh(asking: Client, userdata: Any) -> None:
        try:
            _set_up(asking, prepare(route, NAME))
        except IotwireError as error:
            _log.warning("no connection is tried: %s", error)
            raise ConnectionError(str(error)) from error
        if on_pre_connect is not None:
            on_pre_connect(asking, userdata)

    client.on_pre_connect = refresh
    client.connect_async(attempt.host, attempt.port, keep_alive, bind_address=attempt.source_address or "")
    return client  # type: ignore[no-any-return]


def _set_up(client: Client, attempt: Attempt) -> None:
    """What belongs to one attempt alone."""
    if attempt.websocket_path is not None:
        client.ws_set_options(attempt.websocket_path, websocket_headers(attempt))
    password: Any = attempt.password  # bytes are taken as they are
    client.username_pw_set(attempt.username, password)
