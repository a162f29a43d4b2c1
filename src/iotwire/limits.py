"""What AWS IoT Core allows one connection, beyond what MQTT says and CONNACK can tell.

The service disconnects, or discards without a word, what goes beyond its quotas; a client that knows them refuses or
waits instead. The figures are the service's defaults (AWS IoT Core endpoints and quotas, "message broker and protocol
limits"); an account may have others, so every one can be set, and None takes it away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import EncodeError, PublishError, SubscribeError

if TYPE_CHECKING:
    from .mqtt import Subscription

__all__ = ["AwsIotLimits", "Fault", "Pacer"]


class Fault(NamedTuple):
    """Which argument goes beyond a limit, and how; and the MQTT 5.0 reason code that the service would answer with."""

    field: str
    text: str
    reason_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsIotLimits:
    """The service's quotas for one connection. None takes a limit away.

    max_qos: of messages, and with 3.1.1 of subscriptions: the service leaves those of QoS 2 without an answer.
    max_keep_alive_s: a longer keep alive, or none, becomes this one, as the service has it.
    max_payload_bytes: of a message. max_topic_bytes, max_topic_slashes: of topics and topic filters, not counting
        `$aws/rules/<name>/` and `$share/<name>/`. max_client_id_bytes.
    max_filters_per_subscribe: a longer list is split. max_subscriptions: of one connection.
    max_in_flight: QoS 1 messages without acknowledgement, in each direction.
    publishes_per_s: PUBLISH packets in any second, those received included. bytes_per_s: of them, as an average.
    max_content_type_bytes, max_correlation_data_bytes, max_user_properties_bytes: of MQTT 5 properties.
    max_message_expiry_s: 1 is the least. max_topic_aliases: of this client's.
    connect_interval_s: the least time between two CONNECTs of one client id.

    Raises EncodeError for a limit that is not a number above 0.
    """

    max_qos: int | None = 1
    max_keep_alive_s: int | None = 1200
    max_payload_bytes: int | None = 128 * 1024
    max_topic_bytes: int | None = 256
    max_topic_slashes: int | None = 7
    max_client_id_bytes: int | None = 128
    max_filters_per_subscribe: int | None = 8
    max_subscriptions: int | None = 50
    max_in_flight: int | None = 100
    publishes_per_s: int | None = 100
    bytes_per_s: int | None = 512 * 1024
    max_content_type_bytes: int | None = 256
    max_correlation_data_bytes: int | None = 8 * 1024
    max_user_properties_bytes: int | None = 8 * 1024
    max_message_expiry_s: int | None = 604_800
    max_topic_aliases: int | None = 8
    connect_interval_s: float | None = 1.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            allowed = (int, float) if each.name.endswith("interval_s") else (int,)
            if value is not None and (type(value) not in allowed or not value > 0):
                raise EncodeError("must be a number above 0, or None", field=each.name)

    def check_client_id(self, client_id: str) -> None:
        """Raise EncodeError for an id that the service refuses."""
        if self.max_client_id_bytes is not None:
            if len(client_id.encode()) > self.max_client_id_bytes:
                raise EncodeError(f"AWS IoT allows {self.max_client_id_bytes} bytes at most", field="client_id")
            if client_id.startswith("$"):
                raise EncodeError("AWS IoT keeps ids that begin with $ for itself", field="client_id")

    def allowed_keep_alive(self, keep_alive: int) -> int:
        """What the service makes of a keep alive in seconds, where 0 is none."""
        if self.max_keep_alive_s is None:
            return keep_alive
        return min(keep_alive or self.max_keep_alive_s, self.max_keep_alive_s)

    def check_publish(self, topic: str, payload_size: int, qos: int, properties: dict[str, Any]) -> None:
        """Raise PublishError, which names the limit, for a message that the service would not take."""
        if (fault := self.fault_of_publish(topic, payload_size, qos, properties)) is not None:
            raise PublishError(f"{fault.field}: {fault.text}", reason_code=fault.reason_code)

    def fault_of_publish(self, topic: str, payload_size: int, qos: int, properties: dict[str, Any]) -> Fault | None:
        """What the service would not take of a message, or None."""
        if self.max_qos is not None and qos in (1, 2) and qos > self.max_qos:
            return Fault("qos", f"AWS IoT allows {self.max_qos} at most (max_qos)", 0x9B)
        if self.max_payload_bytes is not None and payload_size > self.max_payload_bytes:
            allowed = f"AWS IoT allows {self.max_payload_bytes} at most (max_payload_bytes)"
            return Fault("payload", f"{payload_size} bytes, and {allowed}", 0x95)
        if (text := self.fault_of_topic(topic)) is not None:
            return Fault("topic", text, 0x90)
        return self._fault_of_properties(properties) if properties else None

    def check_subscriptions(self, wanted: Sequence[Subscription], subscribed: set[str], version: int) -> None:
        """Raise SubscribeError, with the reason code of each filter that goes beyond a limit."""
        topic_filters = [each.topic_filter for each in wanted]
        beyond = [each.topic_filter for each in wanted if self.max_qos is not None and each.qos > self.max_qos]
        if beyond and version < 5:  # an MQTT 5.0 SUBACK grants less
            raise SubscribeError(
                f"qos: AWS IoT allows {self.max_qos} at most (max_qos)", reason_codes=dict.fromkeys(beyond, 0x9B)
            )
        faults = {name: fault for name in topic_filters if (fault := self.fault_of_topic(name)) is not None}
        if faults:
            text = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
            raise SubscribeError(text, reason_codes=dict.fromkeys(faults, 0x8F))
        if self.max_subscriptions is not None and len(subscribed.union(topic_filters)) > self.max_subscriptions:
            raise SubscribeError(
                f"AWS IoT allows {self.max_subscriptions} subscriptions at most on a connection (max_subscriptions)",
                reason_codes=dict.fromkeys((name for name in topic_filters if name not in subscribed), 0x97),
            )

    def fault_of_topic(self, topic: str) -> str | None:
        """What the service would not take of a topic or a topic filter, or None."""
        counted = topic
        for prefix in ("$share/", "$aws/rules/"):
            if topic.startswith(prefix):
                counted = topic[len(prefix) :].partition("/")[2]
        if (
            self.max_topic_bytes is not None
            and (size := len(counted.encode("utf-8", "replace"))) > self.max_topic_bytes
        ):
            return f"{size} bytes, and AWS IoT allows {self.max_topic_bytes} at most (max_topic_bytes)"
        if self.max_topic_slashes is not None and (slashes := counted.count("/")) > self.max_topic_slashes:
            return f"{slashes} slashes, and AWS IoT allows {self.max_topic_slashes} at most (max_topic_slashes)"
        return None

    def _fault_of_properties(self, properties: dict[str, Any]) -> Fault | None:
        sizes = {
            "content_type": (_size_of(properties.get("content_type")), self.max_content_type_bytes),
            "correlation_data": (_size_of(properties.get("correlation_data")), self.max_correlation_data_bytes),
            "user_properties": (
                sum(_size_of(part) for pair in properties.get("user_properties") or () for part in pair),
                self.max_user_properties_bytes,
            ),
        }
        for name, (size, limit) in sizes.items():
            if limit is not None and size > limit:
                return Fault(name, f"{size} bytes, and AWS IoT allows {limit} at most (max_{name}_bytes)", 0x95)
        expiry = properties.get("message_expiry_interval")
        most = self.max_message_expiry_s
        if most is not None and isinstance(expiry, int) and not 1 <= expiry <= most:
            text = f"AWS IoT allows 1 to {most} s (max_message_expiry_s)"
            return Fault("message_expiry_interval", text, 0x83)
        return None


def _size_of(value: Any) -> int:
    if value is None:
        return 0
    return len(value.encode("utf-8", "replace")) if isinstance(value, str) else len(value)


class Pacer:
    """When the next message may leave. The service discards the excess, and some of it without a word.

    Messages are counted over each second exactly; bytes are a bucket that a second fills.
    """

    def __init__(self, limits: AwsIotLimits) -> None:
        self._sent_at: deque[float] | None = None
        if limits.publishes_per_s is not None:
            self._sent_at = deque(maxlen=limits.publishes_per_s)
        self._bytes_per_s = limits.bytes_per_s
        self._bytes_free = float(limits.bytes_per_s or 0)
        self._filled_at = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until another message may leave; 0 for now."""
        wait = 0.0
        if self._sent_at is not None and len(self._sent_at) == self._sent_at.maxlen:
            wait = self._sent_at[0] + 1.0 - now
        if self._bytes_per_s is not None:
            self._fill(now)
            # A message larger than a whole second's share leaves from a full bucket, and those after it wait longer.
            wait = max(wait, -self._bytes_free / self._bytes_per_s)
        return max(wait, 0.0)

    def spend(self, size: int, now: float) -> None:
        """A message of so many bytes has left, or come."""
        if self._sent_at is not None:
            self._sent_at.append(now)
        if self._bytes_per_s is not None:
            self._fill(now)
            self._bytes_free -= size

    def _fill(self, now: float) -> None:
        assert self._bytes_per_s is not None
        earned = (now - self._filled_at) * self._bytes_per_s
        self._bytes_free = min(float(self._bytes_per_s), self._bytes_free + earned)
        self._filled_at = now
