"""Publishing over HTTPS: `HttpsPublisher` for asyncio, `BlockingHttpsPublisher` for threads.

For devices that only ever send: there is no session, no keep alive and no subscription, and each message is a request
of its own over a connection that stays open. HTTP/1.1 is h11's, TLS is the transport's own, with its ALPN names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .blocking import BlockingHttpsPublisher
    from .publisher import HttpsPublisher
    from .request import MessageProperties

__all__ = ["BlockingHttpsPublisher", "HttpsPublisher", "MessageProperties"]

__getattr__ = lazy_names(
    __name__,
    {
        "blocking": ("BlockingHttpsPublisher",),
        "publisher": ("HttpsPublisher",),
        "request": ("MessageProperties",),
    },
)
