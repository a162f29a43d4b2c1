"""What a client is subscribed to, the requests that make it so, and how it is made so again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import EncodeError, IotwireError
from ..limits import AwsIotLimits
from ..mqtt import Request, Session, Subscription
from .outcomes import describe_reason

__all__ = ["Subscriptions"]

_log = logging.getLogger("iotwire.client")

# Bytes of one SUBSCRIBE or UNSUBSCRIBE, roughly: longer lists of filters are split.
REQUEST_BYTES = 16 * 1024


class _Wanted:
    """A subscription, and what is needed to make it again."""

    __slots__ = ("identifier", "is_granted", "subscription", "user_properties")

    def __init__(self, subscription: Subscription, identifier: int | None, user_properties: Any) -> None:
        self.subscription = subscription
        self.identifier = identifier
        self.user_properties = user_properties
        self.is_granted = False


class Subscriptions:
    """Of one client, over all its connections."""

    __slots__ = ("_limits", "_session", "_wanted")

    def __init__(self, session: Session, limits: AwsIotLimits | None) -> None:
        self._session = session
        self._limits = limits
        self._wanted: dict[str, _Wanted] = {}

    def __contains__(self, topic_filter: str) -> bool:
        """Whether the server has granted it; a request of another call may be under way."""
        wanted = self._wanted.get(topic_filter)
        return wanted is not None and wanted.is_granted

    def read(self, filters: str | Subscription | Iterable[str | Subscription], qos: int) -> tuple[Subscription, ...]:
        """What `subscribe` was given. Raises EncodeError, and SubscribeError for what the service does not allow."""
        several = (filters,) if isinstance(filters, (str, Subscription)) else tuple(filters)
        wanted = tuple(each if isinstance(each, Subscription) else Subscription(each, qos) for each in several)
        if not wanted:
            raise EncodeError("at least one topic filter is needed", field="subscriptions", clause="MQTT-3.8.3-2")
        if self._limits is not None:
            self._limits.check_subscriptions(wanted, set(self._wanted), self._session.version)
        return wanted

    def split(self, subscriptions: Iterable[Subscription]) -> list[list[Subscription]]:
        """Lists short enough for one SUBSCRIBE each."""
        return self._split(subscriptions, lambda each: 3 + len(each.topic_filter.encode()))

    def split_filters(self, topic_filters: Iterable[str]) -> list[list[str]]:
        """Lists short enough for one UNSUBSCRIBE each."""
        return self._split(topic_filters, lambda each: 2 + len(each.encode()))

    def _split(self, items: Iterable[Any], size_of: Callable[[Any], int]) -> list[list[Any]]:
        limits = self._session.limits
        most_bytes = REQUEST_BYTES
        if limits is not None and limits.maximum_packet_size is not None:
            most_bytes = min(most_bytes, limits.maximum_packet_size - 32)
        most = None if self._limits is None else self._limits.max_filters_per_subscribe
        parts: list[list[Any]] = [[]]
        size = 0
        for item in items:
            grown = size + size_of(item)
            if parts[-1] and (len(parts[-1]) == most or grown > most_bytes):
                parts.append([])
                grown = size_of(item)
            parts[-1].append(item)
            size = grown
        return parts

    def subscribe(self, part: list[Subscription], identifier: int | None, user_properties: Any) -> Request:
        """Send a SUBSCRIBE. From here on these are restored, unless `note_answer` says that they were refused."""
        request = self._session.subscribe(part, subscription_identifier=identifier, user_properties=user_properties)
        for each in part:
            self._wanted[each.topic_filter] = _Wanted(each, identifier, user_properties)
        return request

    def unsubscribe(self, part: list[str], user_properties: Any) -> Request:
        request = self._session.unsubscribe(part, user_properties=user_properties)
        for topic_filter in part:
            self._wanted.pop(topic_filter, None)
        return request

    def note_answer(self, part: list[Subscription], reason_codes: Sequence[int]) -> None:
        for each, code in zip(part, reason_codes, strict=True):
            if code >= 0x80:
                self._wanted.pop(each.topic_filter, None)
            elif each.topic_filter in self._wanted:
                self._wanted[each.topic_filter].is_granted = True

    def restore(self) -> None:
        """The server has lost the session: subscribe again, with all that each was made with."""
        groups: dict[Any, list[Subscription]] = {}
        for wanted in self._wanted.values():
            groups.setdefault((wanted.identifier, tuple(wanted.user_properties)), []).append(wanted.subscription)
        for (identifier, user_properties), subscriptions in groups.items():
            for part in self.split(subscriptions):
                topic_filters = [each.topic_filter for each in part]
                try:
                    request = self._session.subscribe(
                        part, subscription_identifier=identifier, user_properties=user_properties
                    )
                except IotwireError as error:
                    _log.error("cannot restore the subscriptions %s: %s", ", ".join(topic_filters), error)
                else:
                    request.context = _Restored(topic_filters)


class _Restored:
    """The Waiter of a SUBSCRIBE that restores: nobody else looks at its answer."""

    def __init__(self, topic_filters: list[str]) -> None:
        self._topic_filters = topic_filters

    def done(self) -> bool:
        return False

    def set_result(self, answer: Any) -> None:
        if answer is None:
            return  # the connection ended: the next one does it again
        for topic_filter, code in zip(self._topic_filters, answer.reason_codes, strict=False):
            if code >= 0x80:
                _log.error("the server refused to restore the subscription %s: %s", topic_filter, describe_reason(code))
