"""What the asyncio publisher and the blocking one share: their options, and what a connection is made from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..client.backoff import Backoff
from ..client.options import dead_link_timeout, in_range, positive, times_of_steps
from ..clock import Clock, read_http_date
from ..errors import ConnectError, ConnectionLostError, IotwireError, RouteError
from ..limits import AwsIotLimits
from ..route import Attempt, Route
from ..transport.steps import StepTimeouts
from ..transport.tls import TlsContexts
from .authorization import Authorization
from .conversation import Answer, Conversation
from .policy import Attempts, error_of

if TYPE_CHECKING:
    from types import EllipsisType

__all__ = ["PublisherBase"]


class PublisherBase(ABC):
    """See `HttpsPublisher` and `BlockingHttpsPublisher`, whose keyword arguments these are.

    route: of protocol "https", from `Endpoint.route`. It is asked for credentials for each connection anew.
    retries: how long to wait before a message that the service has not begun with (429, 503) is sent again, and how
        often; see `Backoff`. None for never.
    retry_ambiguous: whether to send again, too, what may have been published already: after another failure of the
        service (5xx), an answer that is not HTTP or did not come in time, and a connection that ended before it. The
        message may then be published twice.
    max_retry_after_s: how long the service may ask to wait (Retry-After) before another attempt. Where it asks for
        more, the error is raised at once, with `retry_after_s`.
    max_connections: requests under way at once, each over a connection of its own; further calls wait in a line.
    max_idle_s: a connection that was not used for so long is not used again: what is between here and the service may
        have forgotten it, and a request that is lost with it may have been published or not.
    max_answer_bytes: 1024 at least, of one answer, its head included.
    limits: what the service allows; `...` means the route's own, None nothing but what MQTT and HTTPS can carry.
    connect_timeout_s: from the name's resolution to the end of the TLS handshake. step_timeouts: for its steps.
    response_timeout_s: from the first byte of a request to the last one of its answer.
    dead_link_timeout_s: as of `Client`.
    close_timeout_s: how long `close` may take.

    Raises RouteError for a route that is not HTTPS, EncodeError for options out of range.
    """

    def __init__(
        self,
        route: Route,
        *,
        retries: Backoff | None = Backoff(base_s=0.5, max_s=10.0, attempts=3),  # noqa: B008 -- a value, and frozen
        retry_ambiguous: bool = False,
        max_retry_after_s: float = 30.0,
        max_connections: int = 4,
        max_idle_s: float = 50.0,
        max_answer_bytes: int = 64 * 1024,
        limits: AwsIotLimits | EllipsisType | None = ...,
        connect_timeout_s: float = 30.0,
        step_timeouts: StepTimeouts | None = None,
        response_timeout_s: float = 30.0,
        dead_link_timeout_s: float | None = 30.0,
        close_timeout_s: float = 2.0,
    ) -> None:
        if (protocol := getattr(route, "protocol", "nothing")) != "https":
            raise RouteError(
                f"{type(self).__name__} speaks HTTPS, and this route {protocol}: Client and BlockingClient are for "
                'MQTT; to publish over HTTPS, make a route with protocol "https"'
            )
        self._route = route
        self._retries = retries
        self._retry_ambiguous = bool(retry_ambiguous)
        self._max_retry_after_s = positive("max_retry_after_s", max_retry_after_s, least=0)
        self._max_connections = in_range("max_connections", max_connections, 1, 1000)
        self._max_idle_s = positive("max_idle_s", max_idle_s, least=0)
        self._max_answer_bytes = in_range("max_answer_bytes", max_answer_bytes, 1024, 1 << 30)
        self._limits = route.limits if limits is ... else limits
        self._connect_timeout_s = positive("connect_timeout_s", connect_timeout_s)
        self._step_timeouts = times_of_steps(step_timeouts)
        self._response_timeout_s = positive("response_timeout_s", response_timeout_s)
        self._dead_link_timeout_s = dead_link_timeout(dead_link_timeout_s)
        self._close_timeout_s = positive("close_timeout_s", close_timeout_s)
        self._contexts = TlsContexts()
        self._clock = Clock()
        self._prepare()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._route!r}>"

    @abstractmethod
    def _prepare(self) -> None:
        """Set what is the publisher's own."""

    @property
    @abstractmethod
    def _is_closed(self) -> bool:
        """Whether `close` was called, and not followed by `with`."""

    def _attempts(self) -> Attempts:
        return Attempts(self._retries, retry_ambiguous=self._retry_ambiguous, max_retry_after_s=self._max_retry_after_s)

    def _make_attempt(self) -> Attempt:
        """What one connection needs. Reads files, or more: in a thread other than the event loop's."""
        try:
            return self._route.prepare(self._clock.now() if self._route.is_signed else datetime.now(UTC))
        except IotwireError:
            raise
        except Exception as failure:  # a route of the application's own may raise anything
            raise ConnectError(f"the route failed: {type(failure).__name__}") from failure

    def _make_conversation(self, attempt: Attempt) -> Conversation:
        authorization = Authorization.of(attempt, self._clock.now)
        return Conversation(attempt.authority or attempt.host, self._max_answer_bytes, authorization)

    def _can_mend(self, conversation: Conversation, answer: Answer) -> bool:
        """Whether who asks was refused, and the same message over another connection would be asked by who is not.

        So it is where the clock was wrong, and the answer says what time it is; and where the connection is an old one:
        the next one is prepared with a fresh token or fresh credentials.
        """
        authorization = conversation.authorization
        if authorization is None or answer.status not in (401, 403):
            return False
        conversation.is_over = True
        has_learned = authorization.is_signed and self._clock.learn(read_http_date(answer.header(b"date") or ""))
        return has_learned or conversation.answers > 1

    def _raise_if_closed(self) -> None:
        if self._is_closed:
            raise ConnectionLostError("this publisher is closed")

    @staticmethod
    def _error_of(answer: Answer, conversation: Conversation) -> IotwireError | None:
        return error_of(answer, datetime.now(UTC), conversation.authorization)
