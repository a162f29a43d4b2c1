"""One device's connection, seen from the service: MQTT 3.1.1 and 5.0, as AWS IoT Core speaks it.

QoS 2: an MQTT 5 device is told in CONNACK that the highest is 1, and one that publishes with 2 all the same is
disconnected with 0x9B; a subscription that asks for 2 gets 1. MQTT 3.1.1 has no way to say so, and the service does not
answer: neither a QoS 2 PUBLISH nor a SUBSCRIBE that asks for QoS 2 is acknowledged, and neither has an effect.
Subscription identifiers are refused, as by the service.

What differs from the service: sessions end with their connection (a session expiry is answered with 0, and session
present is never set); shared subscriptions are refused; there are no limits on topics, on rates and on the filters of
one SUBSCRIBE; and `a/#` matches `a`, as the standard has it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ProtocolViolationError, WireError
from ..mqtt import (
    ConnAck,
    Connect,
    ConnectReturnCode,
    Decoder,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    ReasonCode,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
    encode_publish,
)
from ..transport import PacketStream
from .hub import Hub, Message

__all__ = ["DeviceConnection"]

_log = logging.getLogger("iotwire.emulator")

# The 3.1.1 return codes for the refusals below that have one.
_RETURN_CODES: dict[ReasonCode, ConnectReturnCode] = {
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: ConnectReturnCode.IDENTIFIER_REJECTED,
    ReasonCode.QOS_NOT_SUPPORTED: ConnectReturnCode.NOT_AUTHORIZED,
}


class DeviceConnection:
    """The `PacketReceiver` of one accepted connection, and a `Device` of the hub from its CONNECT on.

    required_alpn: the ALPN name without which no CONNECT is accepted, or None. on_gone: called when it has ended.
    """

    def __init__(self, hub: Hub, required_alpn: str | None, *, on_gone: Callable[[DeviceConnection], None]) -> None:
        self._hub = hub
        self._on_gone = on_gone
        self._limits = hub.limits
        self._required_alpn = required_alpn
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder(None, max_packet_size=self._limits.max_packet_size)
        self.stream = PacketStream(self._decoder, self)
        self.client_id = ""
        self._version = 5
        self._is_attached = False
        self._is_over = False
        self._will: Will | None = None
        self._keep_alive_s = 0
        self._timer = self._loop.call_later(self._limits.connect_timeout_s, self._on_connect_timeout)
        self._topics_by_alias: dict[int, str] = {}
        # Towards the device.
        self._window = self._limits.receive_maximum
        self._max_packet_size: int | None = None
        self._in_flight: set[int] = set()
        self._last_packet_id = 0
        self._queue: deque[tuple[Message, bool]] = deque()
        self._queued_bytes = 0
        self._handlers: dict[type, Callable[[Any], None]] = {Connect: self._on_connect}

    # What the stream calls.

    def packets_received(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            if self._is_over:
                return
            handler = self._handlers.get(type(packet))
            if handler is None:
                where = "from a client" if self._is_attached else "before CONNECT"
                raise ProtocolViolationError(f"{type(packet).__name__} {where}", clause="MQTT-3.1.0-1")
            handler(packet)

    def peer_failed(self, error: WireError) -> None:
        _log.info("%s broke the protocol: %s", self._name, error)
        self._end(ReasonCode(error.reason_code))

    def stream_lost(self, error: Exception | None) -> None:
        _log.debug("%s is gone: %s", self._name, error or "closed")
        self._leave()
        self._on_gone(self)

    # CONNECT.

    def _on_connect(self, packet: Connect) -> None:
        self._version = self._decoder.version or 5
        if self._required_alpn is not None and self.stream.alpn != self._required_alpn:
            _log.info("a connection without ALPN %s is refused", self._required_alpn)
            self._end(None)
            return
        refusal = self._find_refusal(packet)
        if refusal is not None:
            self._refuse(refusal)
            return
        assigned = None if packet.client_id else f"$GEN/{uuid.uuid4()}"
        self.client_id = assigned or packet.client_id
        self._will = packet.will
        longest_s = self._limits.max_keep_alive_s
        self._keep_alive_s = min(packet.keep_alive or longest_s, longest_s)
        self._window = min(packet.receive_maximum or self._window, self._window)
        self._max_packet_size = packet.maximum_packet_size
        self._hub.attach(self)
        self._is_attached = True
        self._hub.stats.accepted_connections += 1
        self._handlers = {
            Publish: self._on_publish,
            PubAck: self._on_puback,
            Subscribe: self._on_subscribe,
            Unsubscribe: self._on_unsubscribe,
            PingReq: lambda _: self._send(PingResp()),
            Disconnect: self._on_disconnect,
        }
        self._send(self._make_connack(packet, assigned))
        self._watch_keep_alive()

    def _find_refusal(self, packet: Connect) -> ReasonCode | None:
        if packet.authentication_method is not None:
            return ReasonCode.BAD_AUTHENTICATION_METHOD
        if packet.client_id.startswith("$") or len(packet.client_id.encode()) > self._limits.max_client_id_bytes:
            return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
        if packet.will is not None and packet.will.qos == 2:
            return ReasonCode.QOS_NOT_SUPPORTED
        return None

    def _make_connack(self, packet: Connect, assigned: str | None) -> ConnAck:
        if self._version < 5:
            return ConnAck()
        return ConnAck(
            session_expiry_interval=0 if packet.session_expiry_interval else None,
            receive_maximum=self._limits.receive_maximum,
            maximum_qos=1,
            maximum_packet_size=self._limits.max_packet_size,
            assigned_client_identifier=assigned,
            topic_alias_maximum=self._limits.topic_alias_maximum,
            subscription_identifier_available=False,
            shared_subscription_available=False,
            server_keep_alive=None if packet.keep_alive == self._keep_alive_s else self._keep_alive_s,
        )

    def _refuse(self, reason_code: ReasonCode) -> None:
        code = reason_code if self._version >= 5 else _RETURN_CODES.get(reason_code)
        if code is not None:
            self._send(ConnAck(code))
        self._leave()
        self.stream.close(self._limits.close_timeout_s, linger=True)

    def _on_connect_timeout(self) -> None:
        _log.info("%s sent no CONNECT in time", self._name)
        self._end(None)

    def _watch_keep_alive(self) -> None:
        """End the connection after one and a half times the keep alive without a packet [MQTT-3.1.2-22]."""
        self._timer.cancel()
        deadline = self.stream.last_received_at + 1.5 * self._keep_alive_s
        if self._loop.time() < deadline:
            self._timer = self._loop.call_at(deadline, self._watch_keep_alive)
        else:
            self._end(ReasonCode.KEEP_ALIVE_TIMEOUT)

    # From the device.

    def _on_publish(self, packet: Publish) -> None:
        topic = self._read_topic(packet)
        if packet.subscription_identifiers:
            raise ProtocolViolationError("a client sent a subscription identifier", clause="MQTT-3.3.4-6")
        if packet.qos == 2:
            _log.info("%s published with QoS 2, which the service does not support", self._name)
            if self._version >= 5:
                self._end(ReasonCode.QOS_NOT_SUPPORTED)
            return
        reason_code = self._hub.publish(Message.of(packet, topic, time.monotonic()), self)
        if packet.packet_id is not None and not self._is_over:
            self._send(PubAck(packet.packet_id, reason_code if self._version >= 5 else ReasonCode.SUCCESS))

    def _read_topic(self, packet: Publish) -> str:
        alias = packet.topic_alias
        if alias is None:
            return packet.topic
        if alias > self._limits.topic_alias_maximum:
            raise ProtocolViolationError(
                f"topic alias {alias}", reason_code=ReasonCode.TOPIC_ALIAS_INVALID, clause="MQTT-3.3.2-9"
            )
        if packet.topic:
            self._topics_by_alias[alias] = packet.topic
        elif alias not in self._topics_by_alias:
            raise ProtocolViolationError(f"topic alias {alias} has no topic", clause="3.3.2.3.4")
        return self._topics_by_alias[alias]

    def _on_subscribe(self, packet: Subscribe) -> None:
        if packet.subscription_identifier is not None:
            self._end(ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED)
            return
        if self._version < 5 and any(each.qos == 2 for each in packet.subscriptions):
            _log.info("%s asked for QoS 2, which the service does not answer", self._name)
            return
        reason_codes: list[ReasonCode] = []
        wants_retained: list[tuple[str, int]] = []
        for each in packet.subscriptions:
            qos = min(each.qos, 1)
            reason_code, is_new = self._hub.subscribe(self, each, qos)
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

    def _on_disconnect(self, packet: Disconnect) -> None:
        if packet.session_expiry_interval:
            # It was 0 in effect, and must not be raised now [MQTT-3.14.2-2, 3.14.2.2.2].
            raise ProtocolViolationError("a session that ends with its connection is prolonged", clause="3.14.2.2.2")
        if packet.reason_code == ReasonCode.NORMAL_DISCONNECTION:
            self._will = None
        self._leave()
        self.stream.close(self._limits.close_timeout_s)

    # To the device.

    def deliver(self, message: Message, qos: int, retain: bool) -> None:
        if self._is_over:
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

    def _send(self, packet: Packet) -> None:
        self.stream.write(packet.encode(self._version))

    # The end.

    def take_over(self) -> None:
        self._end(ReasonCode.SESSION_TAKEN_OVER)

    def shut_down(self) -> None:
        """The emulator stops."""
        self._will = None
        self._end(ReasonCode.SERVER_SHUTTING_DOWN)

    def _end(self, reason_code: ReasonCode | None) -> None:
        """Close, saying why to an MQTT 5 device that is connected."""
        if self._is_over:
            return
        is_told = False
        if reason_code is not None and self._is_attached and self._version >= 5:
            self._send(Disconnect(reason_code))
            is_told = True
        self._leave()
        self.stream.close(self._limits.close_timeout_s, linger=is_told)

    def _leave(self) -> None:
        """The session ends, with its subscriptions; the will is published unless a DISCONNECT has cancelled it."""
        if self._is_over:
            return
        self._is_over = True
        self._timer.cancel()
        self._queue.clear()
        self._queued_bytes = 0
        if not self._is_attached:
            self._hub.stats.refused_connections += 1
            return
        self._hub.detach(self)
        if self._will is not None:
            self._hub.publish(Message.of(self._will, self._will.topic, time.monotonic()), self)

    @property
    def _name(self) -> str:
        return f"{self.client_id or 'a device'} at {self.stream.peer}"
