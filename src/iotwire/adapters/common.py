"""What the adapters share: the client's package, and what of a route it cannot carry."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from types import ModuleType

from ..errors import IotwireError, RouteError
from ..route import Attempt, Route
from .context import RouteContext

__all__ = ["import_client", "make_context", "prepare", "websocket_headers"]


def import_client(module: str, package: str) -> ModuleType:
    """A client's module. Raises IotwireError, which says what to install, where it is not there."""
    try:
        return import_module(module)
    except ImportError as error:
        raise IotwireError(f"{package} is not installed here: pip install {package}") from error


def prepare(route: Route, client: str, *, has_websockets: bool = True) -> Attempt:
    """All for one connection, now. Raises RouteError where the client cannot connect so."""
    if route.protocol == "https":
        raise RouteError(f"{client} speaks MQTT, and this route HTTPS: HttpsPublisher publishes over it")
    attempt = route.prepare(datetime.now(UTC))
    if attempt.websocket_path is not None and not has_websockets:
        raise RouteError(f"{client} has no WebSockets: take a route with protocol mqtt, or paho-mqtt or aiomqtt")
    if attempt.proxy is not None:
        raise RouteError(f"proxy: {client} is not set up for one here; iotwire's own clients are")
    if attempt.interface is not None:
        raise RouteError(f"interface: {client} cannot choose one; source_address, or iotwire's own clients can")
    return attempt


def make_context(attempt: Attempt) -> RouteContext | None:
    """The TLS context of an attempt; None for plain TCP. Reads files."""
    return None if attempt.tls is None else RouteContext(attempt.tls)


def websocket_headers(attempt: Attempt) -> dict[str, str]:
    """The headers of an upgrade that are not the client's own; Host is what a signature was made for."""
    return {"Host": attempt.authority, **dict(attempt.headers)}
