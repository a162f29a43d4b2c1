"""What an answer means, what the user can do about it, and whether the message may be sent again.

A request that was not answered, or was answered with a failure of the server's, may have been published all the same.
To send it again could publish it twice, so that is left to the caller (`retry_ambiguous`). 429 and 503 say that the
service has not begun.
"""

from __future__ import annotations

import json
import logging
import ssl
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from ..client.backoff import Backoff, Retries
from ..clock import read_http_date
from ..errors import (
    ConnectError,
    ConnectionLostError,
    IotwireError,
    PublishError,
    RequestTimeoutError,
    WireError,
)
from ..transport.explain import MAY_BE_THE_CERTIFICATE, alert_of, describe_tls_error
from ..transport.quoting import MAX_QUOTED, mask_secrets, printable
from .conversation import MAYBE, Answer, Conversation

if TYPE_CHECKING:
    from .authorization import Authorization

__all__ = ["CLOSED_MEANWHILE", "Attempts", "end_of", "error_of", "no_answer"]

_log = logging.getLogger("iotwire.https")


class Repeat(Enum):
    """Whether the same request may be sent again."""

    USELESS = "it would be refused again"
    SAFE = "the service has not begun with it"
    AMBIGUOUS = "it may have been published"


class Status(NamedTuple):
    """A status of the service's: what it means and what to do, in words, and whether to send again."""

    meaning: str
    advice: str
    repeat: Repeat = Repeat.USELESS


STATUSES = {
    400: Status(
        "the service cannot use this request", "check the topic and the properties against the service's rules"
    ),
    401: Status(
        "the service does not know who this is",
        "check that the device's certificate is registered and active in this account and region",
    ),
    403: Status(
        "not allowed",
        "check that the certificate is active, that its policy allows iot:Publish on this topic (iot:RetainPublish too "
        "with retain), and that the clock of this device is right",
    ),
    404: Status(
        "the service has nothing at this address",
        "check the endpoint's name (the data endpoint, ...-ats.iot.<region>.amazonaws.com) and the port",
    ),
    405: Status(
        "this endpoint does not take messages",
        "check that its name is that of a data endpoint whose domain configuration allows HTTPS",
    ),
    408: Status("the service waited too long for the request", "check the link", Repeat.AMBIGUOUS),
    413: Status("the message is too large", "send smaller ones: AWS IoT allows 128 KiB"),
    429: Status("too many requests", "publish less often, or ask for higher quotas", Repeat.SAFE),
    500: Status("the service failed", "try again later", Repeat.AMBIGUOUS),
    502: Status("the service failed", "try again later", Repeat.AMBIGUOUS),
    503: Status("the service is not available", "try again later", Repeat.SAFE),
    504: Status("the service took too long", "try again later", Repeat.AMBIGUOUS),
}
OTHERS = {
    3: Status("the server sends requests elsewhere", "check the endpoint's name: redirections are not followed"),
    4: Status("the service refuses this request", "check the endpoint, the topic and the properties"),
    5: Status("the service failed", "try again later", Repeat.AMBIGUOUS),
}
# What to do about 401 and 403 where no certificate says who asks.
SIGNED_ADVICE = (
    "check that the credentials are valid now, that their policy allows iot:Publish on this topic (iot:RetainPublish "
    "too with retain), and that the clock of this device and the region are right"
)
CUSTOM_ADVICE = (
    "check the authorizer's name, the token and its signature, and that the policy that the authorizer answers with "
    "allows iot:Publish on this topic (iot:RetainPublish too with retain)"
)
UNKNOWN = Status("a status that HTTP does not have", "check that this is the service", Repeat.AMBIGUOUS)

CLOSED_MEANWHILE = f"this publisher was closed. {MAYBE}"

# Seconds that clocks may differ before that is worth telling. The service's signatures allow 5 minutes.
CLOCK_TOLERANCE_S = 60


def error_of(answer: Answer, now: datetime, authorization: Authorization | None = None) -> PublishError | None:
    """None where the message was taken (any 2xx); what to raise otherwise. now: an aware time.

    authorization: what the request had to say who asks, of which nothing is told.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    row = _row_of(status)
    advice = row.advice
    if status in (401, 403) and authorization is not None:
        advice = SIGNED_ADVICE if authorization.is_signed else CUSTOM_ADVICE
    text = f"HTTP {status}, {row.meaning}: {advice}"
    if status in (401, 403) and (offset := _clock_offset_s(answer, now)):
        text += f". The server's clock is {abs(offset)} s {'ahead of' if offset > 0 else 'behind'} this device's"
    if row.repeat is Repeat.AMBIGUOUS:
        text += f". {MAYBE}"
    if told := _words_of(answer.body, [] if authorization is None else authorization.secrets):
        text += f" ({told})"
    return PublishError(text, http_status=status, retry_after_s=_retry_after_s(answer, now))


class Attempts:
    """The attempts at one message.

    backoff: how long to wait between them; None for one attempt alone. retry_ambiguous: whether to send again what may
    have been published. max_retry_after_s: how long the server may ask to wait.
    """

    def __init__(self, backoff: Backoff | None, *, retry_ambiguous: bool, max_retry_after_s: float) -> None:
        self._retries = Retries(backoff)
        self._retry_ambiguous = retry_ambiguous
        self._max_retry_after_s = max_retry_after_s

    def wait_s(self, error: IotwireError) -> float:
        """How long to wait before the message is sent again. Raises the error where it is not to be."""
        repeat = _repeat_after(error)
        if repeat is Repeat.USELESS or (repeat is Repeat.AMBIGUOUS and not self._retry_ambiguous):
            raise error
        asked = error.retry_after_s or 0.0 if isinstance(error, PublishError) else 0.0
        if asked > self._max_retry_after_s:
            raise error
        delay = self._retries.delay_s(error, 0.0)
        if delay is None:
            raise error
        delay += asked  # on top of it: all who were told the same time would come at once
        _log.info("a message is sent again in %.1f s: %s", delay, error)
        return delay


def end_of(
    conversation: Conversation, error: Exception | None, *, was_sent: bool, presents_certificate: bool
) -> ConnectError | ConnectionLostError:
    """What to raise where a connection ended instead of an answer: error is None where the server just closed it.

    was_sent: whether the whole request may have reached the server. presents_certificate: for a better word.
    """
    is_new = not conversation.answers and not conversation.has_begun_answer
    end: ConnectError | ConnectionLostError
    if isinstance(error, ssl.SSLError) and (alert := alert_of(error)) is not None and is_new:
        # In TLS 1.3 a client is done with the handshake before the server has seen its certificate.
        end = ConnectError(f"TLS failed: {describe_tls_error(error)}", step="tls", alert=alert)
    else:
        text = "the server closed the connection" if error is None else f"the connection ended: {_name_of(error)}"
        text += " in the midst of its answer" if conversation.has_begun_answer else " without an answer"
        if is_new and presents_certificate:
            text += MAY_BE_THE_CERTIFICATE
        end = ConnectionLostError(f"{text}. {MAYBE}") if was_sent else ConnectError(text, step="http")
    end.__cause__ = error
    return end


def no_answer(timeout_s: float) -> RequestTimeoutError:
    """What to raise where an answer did not come in time."""
    return RequestTimeoutError(f"no answer within {timeout_s:g} s. {MAYBE}")


def _name_of(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return describe_tls_error(error)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _repeat_after(error: IotwireError) -> Repeat:
    if isinstance(error, PublishError) and error.http_status is not None:
        return _row_of(error.http_status).repeat
    if isinstance(error, (ConnectionLostError, RequestTimeoutError, WireError)):
        return Repeat.AMBIGUOUS
    return Repeat.USELESS  # no connection was made: it is the caller who knows how long to go on trying


def _row_of(status: int) -> Status:
    return STATUSES.get(status) or OTHERS.get(status // 100, UNKNOWN)


def _retry_after_s(answer: Answer, now: datetime) -> float | None:
    """RFC 9110, 10.2.3: seconds, or a date."""
    told = answer.header(b"retry-after")
    if told is None:
        return None
    if told.isascii() and told.isdigit():
        return float(told[:12])
    date = read_http_date(told)
    return None if date is None else max(0.0, (date - now).total_seconds())


def _clock_offset_s(answer: Answer, now: datetime) -> int:
    """Seconds that the server's clock is ahead of ours; 0 where that is no more than a request may take."""
    date = read_http_date(answer.header(b"date") or "")
    offset = 0 if date is None else round((date - now).total_seconds())
    return offset if abs(offset) > CLOCK_TOLERANCE_S else 0


def _words_of(body: bytes, secrets: list[str]) -> str:
    """What a body such as {"message": "Forbidden", "traceId": "..."} says: the trace is what support asks for."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(told, dict):
        return ""
    words = []
    for name, title in (("message", ""), ("traceId", "trace id ")):
        value = told.get(name)
        if isinstance(value, str) and value:
            words.append(title + printable(mask_secrets(value, secrets), MAX_QUOTED))
    return "; ".join(words)
