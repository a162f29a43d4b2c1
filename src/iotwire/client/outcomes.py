"""What becomes of a call: answers, errors and reports, as they are told to those who wait."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

from .._message import PublishOptions, PublishProperties, properties_of
from ..errors import (
    ConnectError,
    ConnectionLostError,
    CredentialsError,
    EncodeError,
    IotwireError,
    PublishError,
    SubscribeError,
    WireError,
)
from ..mqtt import ConnectionEnded, Publish, ReasonCode
from ..transport.explain import alert_of

__all__ = [
    "REASONS",
    "Outcome",
    "Part",
    "Pending",
    "PublishOptions",
    "PublishProperties",
    "PublishReport",
    "as_lost",
    "as_refused",
    "describe_no_connack",
    "describe_reason",
    "make_refusal",
    "raise_for_refusals",
    "read_item",
    "with_cause",
]

# What `ReasonCode(code)` is, for a tenth of the time.
REASONS: dict[int, ReasonCode] = {int(code): code for code in ReasonCode}


def describe_reason(reason_code: int) -> str:
    """A reason code for people, such as "NOT_AUTHORIZED (0x87)"."""
    return f"{getattr(reason_code, 'name', 'reason code')} (0x{int(reason_code):02X})"


class Outcome:
    """What becomes of one message: the receipt of `publish_nowait`."""

    __slots__ = ("_waiters", "error", "reason_code")

    reason_code: ReasonCode | None
    """The server's, once it has answered; SUCCESS for QoS 0, once it is handed over to be written."""

    error: IotwireError | None
    """Why it failed, once it has: PublishError, ConnectionLostError."""

    def __init__(self) -> None:
        self.reason_code = None
        self.error = None
        self._waiters: list[Any] | None = None

    @property
    def is_done(self) -> bool:
        """Whether the message came to its end, good or bad."""
        return self.reason_code is not None or self.error is not None

    @property
    def is_stored(self) -> bool:
        """Whether the outbox has it on disk: then that is what awaiting it, or its end, is about."""
        return False

    # A Waiter, to whom the client tells the end.

    def done(self) -> bool:
        return self.is_done

    def set_result(self, reason_code: ReasonCode) -> None:
        self.reason_code = reason_code
        self._tell()

    def set_exception(self, error: IotwireError) -> None:
        self.error = error
        self._tell()

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, None
        for each in waiters or ():
            if not each.done():
                each.set_result(None)

    def __repr__(self) -> str:
        state = "waiting" if not self.is_done else repr(self.error) if self.error else repr(self.reason_code)
        return f"<{type(self).__name__} {state}>"


class PublishReport:
    """What `publish_many` has done.

    acknowledged: how many messages the server has acknowledged; for QoS 0, how many were handed over to be written.
    failures: the items that were not, each with its error, in the order in which they failed.
    """

    __slots__ = ("acknowledged", "failures")

    def __init__(self) -> None:
        self.acknowledged = 0
        self.failures: list[tuple[Any, IotwireError]] = []

    def __repr__(self) -> str:
        return f"<PublishReport acknowledged={self.acknowledged} failures={len(self.failures)}>"


class Pending:
    """The messages of one `publish_many` that have no answer yet."""

    def __init__(self, report: PublishReport) -> None:
        self.report = report
        self.count = 0
        self._most = 0
        self._waiter: Any = None

    def tell_at(self, most: int, waiter: Any) -> None:
        """Tell a Waiter when no more than `most` are left."""
        self._most = most
        self._waiter = waiter

    def note(self) -> None:
        """One has come to its end."""
        self.count -= 1
        if self.count <= self._most and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Part:
    """The Waiter of one message of many."""

    __slots__ = ("_item", "_pending")

    def __init__(self, pending: Pending, item: Any) -> None:
        self._pending = pending
        self._item = item

    def done(self) -> bool:
        return False

    def set_result(self, reason_code: ReasonCode) -> None:  # noqa: ARG002
        self._pending.report.acknowledged += 1
        self._pending.note()

    def set_exception(self, error: IotwireError) -> None:
        self._pending.report.failures.append((self._item, error))
        self._pending.note()


def read_item(item: Any, qos: int, retain: bool) -> tuple[str, Any, int, bool, dict[str, Any]]:
    """The arguments of `publish` that an item of `publish_many` stands for."""
    if isinstance(item, Publish):
        return item.topic, item.payload, item.qos, item.retain, properties_of(item)
    try:
        topic, payload = item
    except (TypeError, ValueError):
        raise EncodeError("must be a pair of topic and payload, or a Publish packet", field="items") from None
    return topic, payload, qos, retain, {}


def with_cause(events: list[Any], cause: Exception | None) -> list[Any]:
    """The events of a connection that the system ended, with its word for it: whether it is a refusal is seen there."""
    for event in events:
        if isinstance(event, ConnectionEnded) and event.error is not None:
            event.error.__cause__ = cause
            if isinstance(event.error, ConnectError) and isinstance(cause, ssl.SSLError):
                # In TLS 1.3 the client's handshake is over before the server has looked at its certificate.
                event.error.step, event.error.alert = "tls", alert_of(cause)
    return events


def as_lost(error: IotwireError | None) -> IotwireError | None:
    """What ended a connection, as it is told to those who wait."""
    if not isinstance(error, WireError):
        return error
    lost = ConnectionLostError(f"the server broke the protocol: {error}")
    lost.__cause__ = error
    return lost


def as_refused(error: IotwireError | None) -> ConnectError | CredentialsError:
    """The same where the connection was not made yet."""
    if isinstance(error, (ConnectError, CredentialsError)):
        return error
    text = "this client closed the connection" if error is None else str(as_lost(error))
    refused = ConnectError(text, step=None if error is None else "mqtt")
    refused.__cause__ = error
    return refused


def describe_no_connack(timeout_s: float) -> str:
    """The server has accepted the connection, and then said nothing."""
    return f"no CONNACK within {timeout_s:g} s: the server took the connection, and does not answer in MQTT"


def raise_for_refusals(filters: Sequence[str], reason_codes: Sequence[int]) -> None:
    """Raise SubscribeError where a SUBACK or UNSUBACK refuses one of these."""
    codes: dict[str, int] = {}
    for topic_filter, reason_code in zip(filters, reason_codes, strict=False):
        codes[topic_filter] = max(reason_code, codes.get(topic_filter, 0))
    refused = [f"{name}: {describe_reason(code)}" for name, code in codes.items() if code >= 0x80]
    if refused:
        raise SubscribeError(f"the server refused {', '.join(refused)}", reason_codes=codes)


def make_refusal(code: int) -> PublishError:
    reason = describe_reason(ReasonCode(code))
    return PublishError(f"the server refused the message: {reason}", reason_code=ReasonCode(code))
