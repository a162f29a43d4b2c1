"""The TLS context of a route, for clients that know a context and a host, and no more."""

from __future__ import annotations

import logging
import socket
import ssl
from typing import Any, Self

from ..errors import CredentialsError
from ..route import TlsPlan
from ..transport.tls import TlsContexts

__all__ = ["RouteContext"]

_log = logging.getLogger("iotwire.adapters")


class RouteContext(ssl.SSLContext):
    """An `ssl.SSLContext` that makes each connection as a route plans it: `RouteContext(attempt.tls)`.

    Hand it to a client in the place of any other context. Whatever host the client connects to and names, the route's
    name is in SNI and is what the certificate is checked for, and the route's ALPN name is offered: that is what an
    `Endpoint(address=...)`, a tunnel or a VPC endpoint needs. Files are read anew where they have changed, so that a
    certificate that was rotated is used by the next connection. TLS 1.2 at least; verification is always on.

    plan: `Attempt.tls`, of `Route.prepare`. Reads the files at once, and raises CredentialsError as `X509` says. Where
    they cannot be used later on, such as between the writing of a certificate and of its key, what was read before is,
    and the log `iotwire.adapters` says why.

    A context that is not wrapped, with no need for another name than the host's, is what
    `iotwire.transport.make_client_context(attempt.tls)` gives.
    """

    _plan: TlsPlan
    _contexts: TlsContexts
    _latest: ssl.SSLContext

    def __new__(cls, plan: TlsPlan) -> Self:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context._plan = plan
        context._contexts = TlsContexts()
        context._latest = context._contexts.get(plan)
        return context

    def __init__(self, plan: TlsPlan) -> None:
        pass  # `ssl.SSLContext` takes what it needs in `__new__`

    def wrap_socket(self, sock: socket.socket, *_: Any, **options: Any) -> ssl.SSLSocket:
        """As of `ssl.SSLContext`, for the route's own server name. A session of the client's is not gone on with."""
        kept = {name: options[name] for name in ("do_handshake_on_connect", "suppress_ragged_eofs") if name in options}
        return self._current().wrap_socket(sock, server_hostname=self._plan.server_name, **kept)

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *_: Any, **__: Any) -> ssl.SSLObject:
        """As of `ssl.SSLContext`, for the route's own server name."""
        return self._current().wrap_bio(incoming, outgoing, server_hostname=self._plan.server_name)

    def _current(self) -> ssl.SSLContext:
        """The context with the files as they are now, or else as they were."""
        try:
            self._latest = self._contexts.get(self._plan)
        except CredentialsError as error:  # clients do not expect it here, and some leave sockets open after it
            _log.warning("files are used as they were before: %s", error)
        return self._latest
