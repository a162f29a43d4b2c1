"""One device's connection, seen from the service: MQTT 3.1.1 and 5.0, as AWS IoT Core speaks it.

QoS 2: an MQTT 5 device is told in CONNACK that the highest is 1, and one that publishes with 2 all the same is
disconnected with 0x9B; a subscription that asks for 2 gets 1. MQTT 3.1.1 has no way to say so, and the service does not
answer: neither a QoS 2 PUBLISH nor a SUBSCRIBE that asks for QoS 2 is acknowledged, and neither has an effect.
Subscription identifiers are refused, as by the service.

What its grant does not allow: CONNECT is answered with "not authorized"; so is a filter in SUBACK; a PUBLISH ends the
connection, in MQTT 5 with 0x87; a message that may not be received is not delivered. Nine filters in a SUBSCRIBE, and a
message beyond the service's limits without a PUBACK to say so in, end the connection as well.

What differs from the service: there are no limits on rates. With the embedded hub, sessions end with their connection
(a session expiry is answered with 0, and session present is never set), shared subscriptions are refused, and `a/#`
matches `a`, as the standard has it. With a broker behind it, all of that is as the broker has it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ProtocolViolationError, WireError
from ..limits import Fault
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
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from ..transport import PacketStream, Stream
from .access import Asker, Gate, Grant, Pass
from .arrival import Arrival, ConnectionInfo
from .authorizers import Answer
from .hub import Exchange, Message
from .peek import Way
from .requests import RequestError, printable
from .websocket import FramedStream

__all__ = ["Admission", "DeviceConnection"]

_log = logging.getLogger("iotwire.emulator")

# The 3.1.1 return codes for the refusals below that have one.
_RETURN_CODES: dict[ReasonCode, ConnectReturnCode] = {
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: ConnectReturnCode.IDENTIFIER_REJECTED,
    ReasonCode.QOS_NOT_SUPPORTED: ConnectReturnCode.NOT_AUTHORIZED,
    ReasonCode.NOT_AUTHORIZED: ConnectReturnCode.NOT_AUTHORIZED,
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: ConnectReturnCode.UNACCEPTABLE_PROTOCOL_VERSION,
    ReasonCode.SERVER_UNAVAILABLE: ConnectReturnCode.SERVER_UNAVAILABLE,
}
# Packets that may come behind a CONNECT that is not answered yet. The service wants none.
MAX_EARLY_PACKETS = 100


@dataclass(frozen=True, slots=True)
class Admission:
    """How a connection came. arrival: what is known of it. way: its ALPN name must have been agreed on.

    shown: what an upgrade request has brought; None for MQTT without WebSockets.
    """

    gate: Gate
    arrival: Arrival
    way: Way
    shown: Pass | None = None

    def admit(self, packet: Connect, stream: Stream) -> Grant | Asker:
        """Raises RequestError."""
        shown = self.shown or Pass()
        if self.way.is_x509:
            shown = Pass(self.gate.admit_certificate(stream.peer_certificate_name))
        where = "port 8883" if self.way.alpn is None else f"ALPN {self.way.alpn}"
        where = where if self.shown is None else "a WebSocket that is signed"
        return self.gate.admit_connect(shown, packet, self.arrival.server_name, where)


class DeviceConnection(ABC):
    """The `PacketReceiver` of one accepted connection: who may connect, and what the service would take of it.

    What then becomes of it is for two others to say: `HubConnection` with the embedded hub, `RelayedConnection` with a
    real broker.

    admission: how it came, and who decides about its CONNECT. on_gone: called when it has ended.
    """

    def __init__(self, hub: Exchange, admission: Admission, *, on_gone: Callable[[DeviceConnection], None]) -> None:
        self._hub = hub
        self._admission = admission
        self._on_gone = on_gone
        self._limits = hub.limits
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder(None, max_packet_size=self._limits.max_packet_size)
        make_stream = PacketStream if admission.shown is None else FramedStream
        self.stream = make_stream(self._decoder, self)
        self.client_id = ""
        self._version = 5
        self._is_attached = False
        self._is_over = False
        self._will: Will | None = None
        self._keep_alive_s = 0
        self._timer: asyncio.TimerHandle | None = None
        self._grant: Grant | None = None
        self._asking: asyncio.Task[None] | None = None  # an authorizer, at CONNECT and to refresh
        self._early: list[Packet] = []
        self._is_asking = False
        self._end_timer: asyncio.TimerHandle | None = None
        self._refresh_timer: asyncio.TimerHandle | None = None
        self._topics_by_alias: dict[int, str] = {}
        # Towards the device.
        self._window = self._limits.receive_maximum
        self._max_packet_size: int | None = None
        self._handlers: dict[type, Callable[[Any], None]] = {Connect: self._on_connect}

    def begin(self) -> None:
        """The TLS handshake is over: from now on CONNECT is waited for."""
        if self._timer is None and not self._is_over:
            self._timer = self._loop.call_later(self._limits.connect_timeout_s, self._on_connect_timeout)

    def _set_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    # What becomes of what is in order.

    @abstractmethod
    def _enter(self, packet: Connect, assigned: str | None) -> None:
        """Connect: `_welcome`, or `_refuse`, now or later. assigned: the client id, where the service has made it."""

    @abstractmethod
    def _take_message(self, packet: Publish, message: Message) -> None:
        """Give the others what a PUBLISH has brought, and acknowledge it."""

    @abstractmethod
    def _take_subscriptions(self, packet: Subscribe) -> None:
        """Answer each filter, of which `_refuse_filter` knows the ones that are not in order."""

    @abstractmethod
    def _on_unsubscribe(self, packet: Unsubscribe) -> None:
        """Answer it."""

    @abstractmethod
    def _on_puback(self, packet: PubAck) -> None:
        """The device has taken a message."""

    @abstractmethod
    def _part(self) -> None:
        """A device that was let in has gone. `_will` is what is to be said of that."""

    # What the stream calls.

    def packets_received(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            if self._is_over:
                return
            if self._is_asking:
                self._early.append(packet)
                if len(self._early) > MAX_EARLY_PACKETS:
                    raise ProtocolViolationError("packets in a row behind CONNECT, without its answer", clause="3.1.4")
                continue
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
        way = self._admission.way
        if way.alpn is not None and self.stream.alpn != way.alpn:
            _log.info("a connection without ALPN %s is refused", way.alpn)
            self._end(None)
            return
        self.client_id = packet.client_id  # for the log, until there is another
        refusal = self._find_refusal(packet)
        if refusal is not None:
            self._refuse(*refusal)
            return
        try:
            grant = self._admission.admit(packet, self.stream)
        except RequestError as error:
            self._refuse(ReasonCode.NOT_AUTHORIZED, str(error))
            return
        if isinstance(grant, Grant):
            self._attach(packet, grant)
        else:
            self._wait("authorizer")
            self._asking = self._loop.create_task(self._attach_later(packet, grant))

    async def _attach_later(self, packet: Connect, ask: Asker) -> None:
        try:
            grant = await ask()
        except RequestError as error:
            self._is_asking = False
            if not self._is_over:
                self._refuse(ReasonCode.NOT_AUTHORIZED, str(error))
            return
        self._asking = None
        self._is_asking = False
        if self._is_over:
            return
        self._attach(packet, grant)
        self._read_on("authorizer")

    def _wait(self, reason: str) -> None:
        """The answer to CONNECT takes its time. Nothing more is read meanwhile, or it would have to be stored."""
        self._is_asking = True
        self.stream.pause_reading(reason)
        self._set_timer(None)

    def _read_on(self, reason: str) -> None:
        """Go on after `_wait`, with what has come behind CONNECT."""
        self.stream.last_received_at = self._loop.time()  # nothing was read meanwhile: that is no silence of the device
        self.stream.resume_reading(reason)
        early, self._early = self._early, []
        try:
            self.packets_received(early)
        except WireError as error:
            self.stream.discard_input()
            self.peer_failed(error)

    def _attach(self, packet: Connect, grant: Grant) -> None:
        if not grant.allows("iot:Connect", f"client/{packet.client_id}", packet.client_id):
            text = f"iot:Connect as {packet.client_id or 'a client without an id'} is not allowed for {grant.principal}"
            self._refuse(ReasonCode.NOT_AUTHORIZED, text)
            return
        self._grant = grant
        assigned = None if packet.client_id else f"$GEN/{uuid.uuid4()}"
        self.client_id = assigned or packet.client_id
        self._will = packet.will
        longest_s = self._limits.max_keep_alive_s
        self._keep_alive_s = min(packet.keep_alive or longest_s, longest_s)
        self._window = min(packet.receive_maximum or self._window, self._window)
        self._max_packet_size = packet.maximum_packet_size
        self._enter(packet, assigned)

    def _welcome(self, connack: ConnAck) -> None:
        """Say so, and take its packets from now on."""
        assert self._grant is not None
        self._is_attached = True
        self._hub.stats.accepted_connections += 1
        version = "5.0" if self._version >= 5 else "3.1.1"
        _log.info("%s has connected: MQTT %s, %s", self._name, version, self._grant.principal)
        self._handlers = {
            Publish: self._on_publish,
            PubAck: self._on_puback,
            Subscribe: self._on_subscribe,
            Unsubscribe: self._on_unsubscribe,
            PingReq: lambda _: self._send(PingResp()),
            Disconnect: self._on_disconnect,
        }
        self._send(connack)
        self._watch_keep_alive()
        self._watch_grant(self._grant)

    def _find_refusal(self, packet: Connect) -> tuple[ReasonCode, str] | None:
        if packet.authentication_method is not None:
            return ReasonCode.BAD_AUTHENTICATION_METHOD, "the service has no enhanced authentication"
        if packet.client_id.startswith("$") or len(packet.client_id.encode()) > self._limits.max_client_id_bytes:
            text = f"a client id has at most {self._limits.max_client_id_bytes} bytes, and does not begin with $"
            return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, text
        if packet.will is not None and packet.will.qos == 2:
            return ReasonCode.QOS_NOT_SUPPORTED, "a will with QoS 2, which the service does not support"
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

    def _refuse(self, reason_code: ReasonCode, text: str) -> None:
        _log.info("the CONNECT of %s is answered with %s: %s", self._name, reason_code.name, printable(text))
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
        deadline = self.stream.last_received_at + 1.5 * self._keep_alive_s
        if self._loop.time() < deadline:
            self._set_timer(self._loop.call_at(deadline, self._watch_keep_alive))
        else:
            self._end(ReasonCode.KEEP_ALIVE_TIMEOUT)

    def describe(self) -> ConnectionInfo | None:
        """None until it is connected."""
        if self._grant is None or not self._is_attached or self._is_over:
            return None
        admission, stream = self._admission, self.stream
        protocol = "mqtt" if admission.shown is None else "wss"
        return admission.arrival.describe(
            protocol, self._grant.authentication, self.client_id, stream.alpn, stream.security
        )

    # The grant.

    def _watch_grant(self, grant: Grant) -> None:
        """End the connection when its time is over, and ask the authorizer again when it wants that."""
        longest_s = self._limits.max_websocket_s if self._admission.shown is not None else None
        if grant.answer is not None:
            longest_s = min(grant.answer.disconnect_after_s, longest_s or grant.answer.disconnect_after_s)
            self._watch_refresh(grant.answer)
        if longest_s is not None:
            self._end_timer = self._loop.call_later(longest_s, self._end_for_time)

    def _watch_refresh(self, answer: Answer) -> None:
        self._refresh_timer = self._loop.call_later(answer.refresh_after_s, self._refresh_soon)

    def _end_for_time(self) -> None:
        _log.info("%s: the time of its connection is over", self._name)
        self._end(ReasonCode.ADMINISTRATIVE_ACTION)

    def _refresh_soon(self) -> None:
        if not self._is_over and self._asking is None:
            self._asking = self._loop.create_task(self._refresh())

    async def _refresh(self) -> None:
        assert self._grant is not None
        assert self._grant.refresh is not None
        try:
            grant = await self._grant.refresh()
        except RequestError as error:
            _log.info("%s is not authenticated any more: %s", self._name, error)
            self._asking = None
            self._end(ReasonCode.NOT_AUTHORIZED)
            return
        self._asking = None
        if self._is_over:
            return
        self._grant = grant
        assert grant.answer is not None
        self._watch_refresh(grant.answer)

    def _may(self, action: str, resource: str) -> bool:
        """Whether the grant allows it; where not, the log says so."""
        assert self._grant is not None
        if self._grant.allows(action, resource, self.client_id):
            return True
        _log.info("%s: %s on %s is not allowed for %s", self._name, action, printable(resource), self._grant.principal)
        return False

    def _may_publish(self, topic: str, *, retain: bool) -> bool:
        return self._may("iot:Publish", f"topic/{topic}") and (
            not retain or self._may("iot:RetainPublish", f"topic/{topic}")
        )

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
        if not self._may_publish(topic, retain=packet.retain):
            self._end(ReasonCode.NOT_AUTHORIZED)
            return
        message = Message.of(packet, topic, time.monotonic())
        fault = message.find_fault(self._limits.service)
        if fault is not None:
            self._refuse_message(packet, fault)
            return
        self._take_message(packet, message)

    def _refuse_message(self, packet: Publish, fault: Fault) -> None:
        """In PUBACK where there is one that can say why; a quota of size has no code of its own at the service."""
        _log.info("%s published what the service refuses: %s: %s", self._name, fault.field, fault.text)
        is_topic = fault.reason_code == ReasonCode.TOPIC_NAME_INVALID
        reason_code = ReasonCode.TOPIC_NAME_INVALID if is_topic else ReasonCode.QUOTA_EXCEEDED
        if packet.packet_id is not None and self._version >= 5:
            self._send(PubAck(packet.packet_id, reason_code))
        else:
            self._end(reason_code)

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
        most = self._limits.service.max_filters_per_subscribe
        if most is not None and len(packet.subscriptions) > most:
            _log.info(
                "%s subscribed to %d filters at once; %d are allowed", self._name, len(packet.subscriptions), most
            )
            self._end(ReasonCode.QUOTA_EXCEEDED)
            return
        self._take_subscriptions(packet)

    def _refuse_filter(self, wanted: Subscription) -> ReasonCode | None:
        """What a filter is refused with, by the service's limits or by the grant; None where it is allowed."""
        fault = self._limits.service.fault_of_topic(wanted.topic_filter)
        if fault is not None:
            _log.info("%s subscribed to what the service refuses: %s", self._name, fault)
            return ReasonCode.TOPIC_FILTER_INVALID
        if not self._may("iot:Subscribe", f"topicfilter/{wanted.topic_filter}"):
            return ReasonCode.NOT_AUTHORIZED
        return None

    def _on_disconnect(self, packet: Disconnect) -> None:
        if packet.session_expiry_interval:
            # It was 0 in effect, and must not be raised now [MQTT-3.14.2-2, 3.14.2.2.2].
            raise ProtocolViolationError("a session that ends with its connection is prolonged", clause="3.14.2.2.2")
        if packet.reason_code == ReasonCode.NORMAL_DISCONNECTION:
            self._will = None
        self._leave()
        self.stream.close(self._limits.close_timeout_s)

    def _send(self, packet: Packet) -> None:
        self.stream.write(packet.encode(self._version))

    # The end.

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
        self._set_timer(None)
        for timer in (self._end_timer, self._refresh_timer):
            if timer is not None:
                timer.cancel()
        if self._asking is not None and self._asking is not asyncio.current_task():
            self._asking.cancel()
        self._early.clear()
        if not self._is_attached:
            self._hub.stats.refused_connections += 1
            return
        self._part()

    @property
    def _name(self) -> str:
        return f"{printable(self.client_id) or 'a device'} at {self.stream.peer}"
