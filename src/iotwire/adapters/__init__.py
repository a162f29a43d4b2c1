"""Other people's MQTT clients over the routes of this package: one call each, with credentials that are fresh.

    from iotwire.adapters.paho import make_client      # paho-mqtt, threads
    from iotwire.adapters.aiomqtt import open_client   # aiomqtt, asyncio
    from iotwire.adapters.gmqtt import make_client     # gmqtt, asyncio

They carry the rows of the matrix that speak MQTT (gmqtt, without WebSockets, rows 1 to 3), and a `Broker`; HTTPS is for
`HttpsPublisher`. None of those clients is a dependency: each is imported when its adapter is called. For any other
client there are `Route.prepare`, which gives host, port, WebSocket path, headers, user name and password, and
`RouteContext`, the `ssl.SSLContext` that belongs to it.
"""

from __future__ import annotations

from .context import RouteContext

__all__ = ["RouteContext"]
