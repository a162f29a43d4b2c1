"""Who is connected, who has subscribed to what, and what is retained. No socket in here.

Everything a device can make this room store has a bound in `EmulatorLimits`.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..limits import AwsIotLimits, Fault
from ..mqtt import Publish, ReasonCode, Subscription, TopicTree, Will, topic_matches

__all__ = [
    "TRAVELLING",
    "Device",
    "EmulatorLimits",
    "EmulatorStats",
    "Exchange",
    "Hub",
    "Message",
    "properties_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorLimits:
    """What a device may ask of the emulator. Where AWS IoT Core states a figure, it is the default here.

    max_connections: open at once, handshakes included; more are closed as they come.
    max_packet_size: bytes. max_keep_alive_s: a larger keep alive, or none, becomes this. There is no least one.
    max_subscriptions: of one connection. receive_maximum: unacknowledged QoS 1 messages, each way.
    max_queued_messages, max_queued_bytes: waiting for one device; one that reads more slowly is disconnected.
    max_backlog_bytes: written to a device and not yet read by it; above it QoS 0 messages for it are dropped.
    max_retained_messages, max_retained_bytes: of all retained messages.
    service: the quotas of the service for one connection, as a client knows them: topics, payloads, filters.
    max_frame_bytes: of a WebSocket frame. max_websocket_s: how long one stays open.
    authorizer_timeout_s: what an authorizer's function has. least_authorizer_s: the least that it may say of times.
    max_http_head_bytes: request line and headers. max_http_body_bytes: the payload of a request.
    handshake_timeout_s: from the first moment to the end of the TLS handshake. connect_timeout_s: from there to the
        CONNECT, or to a request's first byte. http_request_timeout_s: from that byte to the last one.
    http_idle_timeout_s: between two requests. close_timeout_s: for the peer to take note of the end.
    """

    max_connections: int = 100
    max_packet_size: int = 146 * 1024
    max_keep_alive_s: int = 1200
    max_subscriptions: int = 50
    receive_maximum: int = 100
    topic_alias_maximum: int = 8
    max_client_id_bytes: int = 128
    max_queued_messages: int = 1000
    max_queued_bytes: int = 4 * 1024 * 1024
    max_backlog_bytes: int = 1024 * 1024
    max_retained_messages: int = 1000
    max_retained_bytes: int = 16 * 1024 * 1024
    service: AwsIotLimits = field(default_factory=AwsIotLimits)
    max_frame_bytes: int = 1024 * 1024
    max_websocket_s: float = 86_400.0
    authorizer_timeout_s: float = 5.0
    least_authorizer_s: int = 300
    max_http_head_bytes: int = 32 * 1024  # user properties and correlation data, 8 KiB each, in base64
    max_http_body_bytes: int = 128 * 1024
    handshake_timeout_s: float = 10.0
    connect_timeout_s: float = 10.0
    http_request_timeout_s: float = 10.0
    http_idle_timeout_s: float = 60.0
    close_timeout_s: float = 2.0


@dataclass(slots=True)
class EmulatorStats:
    """What has happened so far.

    accepted_connections: with a CONNECT that was accepted, or an HTTP request, whatever its answer.
    refused_connections: over the limit, failed before or in the TLS handshake, or without one of these.
    """

    accepted_connections: int = 0
    refused_connections: int = 0
    messages_received: int = 0
    messages_delivered: int = 0
    messages_dropped: int = 0


# The properties that travel with a message from one device to the others (MQTT 5.0, 3.3.2.3), beside its expiry.
TRAVELLING = ("payload_format_indicator", "response_topic", "correlation_data", "user_properties", "content_type")
_SIZED = ("response_topic", "correlation_data", "content_type")


def properties_of(packet: Publish | Will, names: Iterable[str] = TRAVELLING) -> dict[str, Any]:
    """Those that a packet has. One of MQTT 3.1.1 has none."""
    return {name: value for name in names if (value := getattr(packet, name)) not in (None, ())}


@dataclass(frozen=True, slots=True)
class Message:
    """A message on its way. expires_at: on the clock of `time.monotonic`."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: dict[str, Any] = field(default_factory=dict)
    expires_at: float | None = None

    @classmethod
    def of(cls, packet: Publish | Will, topic: str, now: float) -> Message:
        lifetime_s = packet.message_expiry_interval
        expires_at = None if lifetime_s is None else now + lifetime_s
        return cls(topic, bytes(packet.payload), packet.qos, packet.retain, properties_of(packet), expires_at)

    def find_fault(self, limits: AwsIotLimits) -> Fault | None:
        """What the service would not take of it."""
        return limits.fault_of_publish(self.topic, len(self.payload), self.qos, self.properties)

    def properties_at(self, now: float) -> dict[str, Any] | None:
        """The properties to send now, with what is left of the lifetime [MQTT-3.3.2-6]; None once it has expired."""
        if self.expires_at is None:
            return self.properties
        left_s = int(self.expires_at - now)
        return {**self.properties, "message_expiry_interval": left_s} if left_s > 0 else None


class Exchange(Protocol):
    """Where all messages go: the embedded `Hub`, or a `Relay` to a real broker."""

    @property
    def limits(self) -> EmulatorLimits: ...

    @property
    def stats(self) -> EmulatorStats: ...

    def take(self, message: Message) -> ReasonCode | Future[ReasonCode]:
        """A message that no connected device has sent. What is awaited raises RequestError where it cannot be had."""

    async def close(self) -> None:
        """The emulator has ended."""


class Device(Protocol):
    """A connected device, as the hub sees it."""

    @property
    def client_id(self) -> str: ...

    def deliver(self, message: Message, qos: int, retain: bool) -> None:
        """Send a message, or keep it for a moment, within this device's bounds."""

    def take_over(self) -> None:
        """Another connection has come with the same client id: this one ends."""


@dataclass(frozen=True, slots=True, eq=False)
class _Subscriber:
    device: Device
    subscription: Subscription
    qos: int


class Hub:
    """The one place all devices meet."""

    def __init__(self, limits: EmulatorLimits) -> None:
        self.limits = limits
        self.stats = EmulatorStats()
        self._devices: dict[str, Device] = {}
        self._tree: TopicTree[_Subscriber] = TopicTree()
        self._subscribers: dict[Device, dict[str, _Subscriber]] = {}
        self._retained: dict[str, Message] = {}
        self._retained_bytes = 0

    def attach(self, device: Device) -> None:
        """A device has connected. One with the same client id is taken over [MQTT-3.1.4-3]."""
        if (earlier := self._devices.get(device.client_id)) is not None:
            earlier.take_over()
        self._devices[device.client_id] = device
        self._subscribers[device] = {}

    def detach(self, device: Device) -> None:
        """A device has gone, and its subscriptions with it."""
        if self._devices.get(device.client_id) is device:
            del self._devices[device.client_id]
        for topic_filter, subscriber in self._subscribers.pop(device, {}).items():
            self._tree.remove(topic_filter, subscriber)

    def subscribe(self, device: Device, subscription: Subscription, qos: int) -> tuple[ReasonCode, bool]:
        """The reason code for one filter, and whether it is new. An existing subscription is replaced."""
        own = self._subscribers[device]
        topic_filter = subscription.topic_filter
        if topic_filter.startswith("$share/"):
            return ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, False
        earlier = own.get(topic_filter)
        if earlier is None and len(own) >= self.limits.max_subscriptions:
            return ReasonCode.QUOTA_EXCEEDED, False
        if earlier is not None:
            self._tree.remove(topic_filter, earlier)
        own[topic_filter] = _Subscriber(device, subscription, qos)
        self._tree.add(topic_filter, own[topic_filter])
        return ReasonCode.GRANTED_QOS_1 if qos else ReasonCode.GRANTED_QOS_0, earlier is None

    def unsubscribe(self, device: Device, topic_filter: str) -> ReasonCode:
        subscriber = self._subscribers[device].pop(topic_filter, None)
        if subscriber is None:
            return ReasonCode.NO_SUBSCRIPTION_EXISTED
        self._tree.remove(topic_filter, subscriber)
        return ReasonCode.SUCCESS

    def publish(self, message: Message, publisher: Device | None) -> ReasonCode:
        """Retain a message if it asks for that, and give it once to each device that has a matching subscription."""
        self.stats.messages_received += 1
        if message.retain and not self._retain(message):
            self.stats.messages_dropped += 1
            return ReasonCode.QUOTA_EXCEEDED
        chosen: dict[Device, _Subscriber] = {}
        for subscriber in self._tree.match(message.topic):
            if subscriber.device is publisher and subscriber.subscription.no_local:
                continue
            best = chosen.get(subscriber.device)
            # Overlapping subscriptions: once, with the highest QoS among them [MQTT-3.3.4-2].
            if best is None or subscriber.qos > best.qos:
                chosen[subscriber.device] = subscriber
        for device, subscriber in chosen.items():
            retain = message.retain and subscriber.subscription.retain_as_published
            device.deliver(message, min(message.qos, subscriber.qos), retain)
        return ReasonCode.SUCCESS

    def take(self, message: Message) -> ReasonCode:
        return self.publish(message, None)

    async def close(self) -> None:
        """There is nothing to close."""

    def retained(self, topic_filter: str) -> Iterator[Message]:
        for topic, message in list(self._retained.items()):
            if topic_matches(topic_filter, topic):
                yield message

    def _retain(self, message: Message) -> bool:
        """Keep the message in place of an earlier one on its topic; an empty payload keeps none. False without room."""
        earlier = self._retained.pop(message.topic, None)
        if earlier is not None:
            self._retained_bytes -= _stored_bytes(earlier)
        if not message.payload:
            return True
        size = _stored_bytes(message)
        limits = self.limits
        if len(self._retained) >= limits.max_retained_messages or (
            self._retained_bytes + size > limits.max_retained_bytes
        ):
            return False
        self._retained[message.topic] = message
        self._retained_bytes += size
        return True


def _stored_bytes(message: Message) -> int:
    properties = message.properties
    sized = (message.topic, message.payload, *(properties.get(name, "") for name in _SIZED))
    return sum(map(len, sized)) + sum(len(name) + len(value) for name, value in properties.get("user_properties", ()))
