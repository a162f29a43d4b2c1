"""One device's connection to the embedded hub: its subscriptions, and the messages on their way to it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ..mqtt import (
    Connect,
    PubAck,
    Publish,
    ReasonCode,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode_publish,
)
from .device import Admission, DeviceConnection
from .hub import Hub, Message

__all__ = ["HubConnection"]


class HubConnection(DeviceConnection):
    """A `Device` of the hub from its CONNECT on."""

    def __init__(self, hub: Hub, admission: Admission, *, on_gone: Callable[[DeviceConnection], None]) -> None:
        super().__init__(hub, admission, on_gone=on_gone)
        self._hub: Hub = hub
        self._in_flight: set[int] = set()
        self._last_packet_id = 0
        self._queue: deque[tuple[Message, bool]] = deque()
        self._queued_bytes = 0

    def _enter(self, packet: Connect, assigned: str | None) -> None:
        self._hub.attach(self)
        self._welcome(self._make_connack(packet, assigned))

    def take_over(self) -> None:
        self._end(ReasonCode.SESSION_TAKEN_OVER)

    def _part(self) -> None:
        """Its subscriptions go with it; the will is published unless a DISCONNECT has cancelled it."""
        self._queue.clear()
        self._queued_bytes = 0
        self._hub.detach(self)
        if self._will is not None and self._may_publish(self._will.topic, retain=self._will.retain):
            self._hub.publish(Message.of(self._will, self._will.topic, time.monotonic()), self)

    # From the device.

    def _take_message(self, packet: Publish, message: Message) -> None:
        reason_code = self._hub.publish(message, self)
        if packet.packet_id is not None and not self._is_over:
            self._send(PubAck(packet.packet_id, reason_code if self._version >= 5 else ReasonCode.SUCCESS))

    def _take_subscriptions(self, packet: Subscribe) -> None:
        reason_codes: list[ReasonCode] = []
        wants_retained: list[tuple[str, int]] = []
        for each in packet.subscriptions:
            qos = min(each.qos, 1)
            refusal = self._refuse_filter(each)
            reason_code, is_new = (refusal, False) if refusal is not None else self._hub.subscribe(self, each, qos)
            if reason_code >= 0x80 and self._version < 5:
                reason_code = ReasonCode.UNSPECIFIED_ERROR
            reason_codes.append(reason_code)
            if reason_code < 0x80 and (each.retain_handling == 0 or (each.retain_handling == 1 and is_new)):
                wants_retained.append((each.topic_filter, qos))
        self._send(SubAck(packet.packet_id, reason_codes))
        for topic_filter, qos in wants_retained:
            for message in self._hub.retained(topic_filter):
                self.deliver(message, min(message.qos, qos), retain=True)

    def _on_unsubscribe(self, packet: Unsubscribe) -> None:
        reason_codes = [self._hub.unsubscribe(self, each) for each in packet.topic_filters]
        self._send(UnsubAck(packet.packet_id, reason_codes if self._version >= 5 else ()))

    # To the device.

    def deliver(self, message: Message, qos: int, retain: bool) -> None:
        if self._is_over:
            return
        if not self._may("iot:Receive", f"topic/{message.topic}"):
            self._hub.stats.messages_dropped += 1
            return
        if qos == 0:
            if self.stream.backlog_bytes > self._limits.max_backlog_bytes:
                self._hub.stats.messages_dropped += 1
            else:
                self._send_message(message, None, retain)
            return
        self._queue.append((message, retain))
        self._queued_bytes += len(message.payload)
        self._send_queued()
        if len(self._queue) > self._limits.max_queued_messages or self._queued_bytes > self._limits.max_queued_bytes:
            self._end(ReasonCode.QUOTA_EXCEEDED)

    def _send_queued(self) -> None:
        while self._queue and len(self._in_flight) < self._window:
            # With something in flight there will be a PUBACK to go on from; without, the queue would stand still.
            if self._in_flight and self.stream.backlog_bytes > self._limits.max_backlog_bytes:
                return
            message, retain = self._queue.popleft()
            self._queued_bytes -= len(message.payload)
            packet_id = self._next_packet_id()
            if self._send_message(message, packet_id, retain):
                self._in_flight.add(packet_id)

    def _send_message(self, message: Message, packet_id: int | None, retain: bool) -> bool:
        """Send, unless the message has expired or is larger than this device accepts [MQTT-3.1.2-24, -25]."""
        properties = message.properties_at(time.monotonic())
        if properties is not None:
            data = encode_publish(
                message.topic,
                message.payload,
                0 if packet_id is None else 1,
                retain,
                packet_id,
                False,
                self._version,
                **(properties if self._version >= 5 else {}),
            )
            if self._max_packet_size is None or len(data) <= self._max_packet_size:
                self.stream.write(data)
                self._hub.stats.messages_delivered += 1
                return True
        self._hub.stats.messages_dropped += 1
        return False

    def _next_packet_id(self) -> int:
        while True:  # at most `receive_maximum` of 65535 are in use
            self._last_packet_id = self._last_packet_id % 0xFFFF + 1
            if self._last_packet_id not in self._in_flight:
                return self._last_packet_id

    def _on_puback(self, packet: PubAck) -> None:
        self._in_flight.discard(packet.packet_id)
        self._send_queued()
