"""The emulator in front of a real MQTT broker, so that a test bench outgrows one machine.

Each device has a connection of its own to the broker, with its client id and its version of MQTT, and packets go from
one to the other with the packet identifiers they have. So sessions and taking them over, retained messages, wills, the
order of messages and their delivery are the broker's, and a QoS 1 message is acknowledged when the broker has done so.
What a device may do stays the emulator's to say, with the service's codes: certificates, signatures, authorizers and
policies, QoS, topics, filters, sizes. A message that a device may not receive is taken from the broker and not passed
on. A will that it may not publish is left out of the CONNECT.

A broker that is away: CONNECT is answered with "server unavailable", a connected device gets DISCONNECT 0x8B (the
standard has 0x88 for CONNACK alone) or, with MQTT 3.1.1, the end of its connection; a request over HTTPS is answered
with 503, or with 504 where the broker says nothing in time. A broker has to speak the MQTT version of the devices.

Nothing is stored but what the streams hold: who does not read is not read for.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from ..client import Client
from ..endpoint import Broker
from ..errors import ConnectError, ConnectionLostError, IotwireError, ProtocolViolationError, PublishError, WireError
from ..mqtt import (
    ConnAck,
    Connect,
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
    Subscription,
    UnsubAck,
    Unsubscribe,
    encode_publish,
)
from ..route import join_host_port
from ..transport import PacketStream, Stream
from ..transport.connect import open_stream
from ..transport.tls import TlsContexts
from .device import Admission, DeviceConnection
from .hub import TRAVELLING, EmulatorLimits, EmulatorStats, Message, properties_of
from .requests import RequestError, printable

__all__ = ["Relay", "RelayedConnection"]

_log = logging.getLogger("iotwire.emulator")

# Seconds between two PINGREQ to the broker, and for its answer: its silence is found whatever the devices do.
PING_S = 15.0
KEEP_ALIVE_S = 60
# Seconds for a connection to the broker, CONNACK included, and for the PUBACK of a message over HTTPS.
CONNECT_TIMEOUT_S = 10.0
PUBLISH_TIMEOUT_S = 10.0
# SUBSCRIBEs that the broker has not answered yet.
MAX_ASKED = 100
# The broker counts down how long a message lives.
RELAYED = (*TRAVELLING, "message_expiry_interval")
# What a broker may refuse a CONNECT with that is the device's own affair; all else is not.
_REFUSALS = {
    1: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    2: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    0x84: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    0x85: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    0x97: ReasonCode.QUOTA_EXCEEDED,
}


def unavailable(message: str, status: int = 503) -> RequestError:
    return RequestError(status, "ServiceUnavailableException", message)


class Relay:
    """The broker that the devices of one emulator share. Its `Exchange`."""

    def __init__(self, broker: Broker, limits: EmulatorLimits) -> None:
        self.broker = broker
        self.limits = limits
        self.stats = EmulatorStats()
        self.contexts = TlsContexts()
        self._publisher: Client | None = None  # for what comes over HTTPS
        self._version = 5
        self._publishing: set[asyncio.Task[ReasonCode]] = set()
        self._opening = asyncio.Lock()
        self.streams: set[PacketStream] = set()  # to the broker

    @property
    def place(self) -> str:
        """Where it is, for the log."""
        return join_host_port(self.broker.host, self.broker.port)

    # Over HTTPS.

    def take(self, message: Message) -> asyncio.Future[ReasonCode]:
        self.stats.messages_received += 1
        publishing = asyncio.get_running_loop().create_task(self._publish(message))
        self._publishing.add(publishing)
        publishing.add_done_callback(self._publishing.discard)
        return publishing

    async def _publish(self, message: Message) -> ReasonCode:
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                client = await self._open()
                properties = (message.properties_at(time.monotonic()) or {}) if self._version >= 5 else {}
                await client.publish(message.topic, message.payload, message.qos, message.retain, **properties)
        except TimeoutError:
            raise unavailable(f"the broker {self.place} does not acknowledge the message", 504) from None
        except PublishError as error:
            if error.reason_code == ReasonCode.QUOTA_EXCEEDED:
                return ReasonCode.QUOTA_EXCEEDED
            raise unavailable(f"the broker {self.place} refuses the message: {error}") from error
        except (ConnectError, ConnectionLostError) as error:
            raise unavailable(f"the broker {self.place} is not there: {error}") from error
        except IotwireError as error:
            raise unavailable(f"the broker {self.place} cannot be used: {error}") from error
        return ReasonCode.SUCCESS

    async def _open(self) -> Client:
        """The connection for all of them, made when it is first needed, and again when it was lost."""
        async with self._opening:
            if self._publisher is not None and self._publisher.is_connected:
                return self._publisher
            if self._publisher is not None:
                await self._publisher.disconnect()
                self._publisher = None
            try:
                self._publisher = await self._connect(self._version)
            except IotwireError as error:
                # A broker of MQTT 3.1.1 answers in that version, or not at all. Then properties stay behind.
                if self._version < 5 or getattr(error, "step", "mqtt") != "mqtt":
                    raise
                self._publisher = await self._connect(4)
                self._version = 4
            return self._publisher

    async def _connect(self, version: int) -> Client:
        client = Client(
            self.broker,
            f"emulator-{secrets.token_hex(8)}",
            version=version,
            reconnect=None,
            connect_timeout_s=CONNECT_TIMEOUT_S,
        )
        await client.connect()
        return client

    async def close(self) -> None:
        for each in self._publishing:
            each.cancel()
        await asyncio.gather(*self._publishing, return_exceptions=True)
        if self._publisher is not None:
            await self._publisher.disconnect()
            self._publisher = None
        await asyncio.gather(*(stream.wait_lost() for stream in self.streams))
        self._opening = asyncio.Lock()  # the next start may be in another loop


class Line:
    """One device's connection to the broker: the `PacketReceiver` of its other end.

    on_packet: takes each packet. on_lost: told once, in a sentence and by a code, unless it is `close`d before.
    """

    def __init__(
        self,
        version: int,
        max_packet_size: int,
        *,
        on_packet: Callable[[Packet], None],
        on_lost: Callable[[str, ReasonCode], None],
    ) -> None:
        self._version = version
        self._on_packet = on_packet
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._is_open = False
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None
        self._pinged_at: float | None = None
        self._on_gone: Callable[[], None] = lambda: None
        self.answered: asyncio.Future[None] = self._loop.create_future()  # the CONNECT, or it never will be
        self.stream = PacketStream(Decoder(version, max_packet_size=max_packet_size), self)

    async def open(self, relay: Relay, connect: Connect) -> None:
        """Connect, and wait for the answer to CONNECT, which `on_packet` gets. Raises IotwireError, TimeoutError."""
        attempt = relay.broker.prepare(datetime.now(UTC))
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await open_stream(
                attempt,
                lambda: self.stream,
                timeout_s=CONNECT_TIMEOUT_S,
                dead_link_timeout_s=2 * PING_S,
                contexts=relay.contexts,
            )
            relay.streams.add(self.stream)
            self._on_gone = lambda: relay.streams.discard(self.stream)
            self._is_open = True
            if self.stream.is_lost:
                self._on_gone()
                raise ConnectError("it has closed the connection")
            self.send(connect)
            await self.answered

    def send(self, packet: Packet) -> None:
        self.stream.write(packet.encode(self._version))

    def keep_alive(self, interval_s: float) -> None:
        """Ask the broker for a sign of life every so many seconds, from now on."""
        self._timer = self._loop.call_later(interval_s, self._ping, interval_s)

    def _ping(self, interval_s: float) -> None:
        pinged_at, stream = self._pinged_at, self.stream
        # While nothing is read, because the device does not read, nothing can be said of the broker.
        if pinged_at is not None and stream.is_reading and stream.last_received_at < pinged_at:
            self._lose(f"it has said nothing for {interval_s:g} s", ReasonCode.SERVER_SHUTTING_DOWN)
            return
        self.send(PingReq())
        self._pinged_at = self._loop.time()
        self.keep_alive(interval_s)

    def close(self, timeout_s: float, last: Disconnect | None) -> None:
        """Say DISCONNECT and close; without one, which is what a broker publishes the will for."""
        if self._stop():
            return
        if last is not None:
            self.send(last)
        self.stream.close(timeout_s, linger=last is not None)

    def _stop(self) -> bool:
        was_over, self._is_over = self._is_over, True
        if self._timer is not None:
            self._timer.cancel()
        return was_over

    def _lose(self, text: str, reason_code: ReasonCode) -> None:
        if not self._stop():
            self.stream.abort()
            if not self.answered.done():
                self.answered.set_result(None)
            self._on_lost(text, reason_code)

    # What the stream calls.

    def packets_received(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            if self._is_over:
                return
            if not self.answered.done():
                if not isinstance(packet, ConnAck):
                    raise ProtocolViolationError(f"{type(packet).__name__} before CONNACK", clause="MQTT-3.2.0-1")
                self.answered.set_result(None)
            if isinstance(packet, Disconnect):
                # Why it ends the connection is as true for the device.
                self._lose(f"it disconnects with {packet.reason_code.name}", packet.reason_code)
            elif not isinstance(packet, PingResp):
                self._on_packet(packet)

    def peer_failed(self, error: WireError) -> None:
        hint = "" if self.answered.done() or self._version < 5 else "; does it know MQTT 5.0?"
        self._lose(f"it broke the protocol: {error}{hint}", ReasonCode.SERVER_SHUTTING_DOWN)

    def stream_lost(self, error: Exception | None) -> None:
        self._on_gone()
        if not self._is_open:  # whoever opens it is told why it cannot be
            return
        self._lose(str(error or "it has closed the connection"), ReasonCode.SERVER_SHUTTING_DOWN)


class RelayedConnection(DeviceConnection):
    """A device whose messages come from the broker, and go there."""

    def __init__(self, relay: Relay, admission: Admission, *, on_gone: Callable[[DeviceConnection], None]) -> None:
        super().__init__(relay, admission, on_gone=on_gone)
        self._relay = relay
        self._line: Line | None = None
        self._largest_packet: int | None = None  # that the broker takes
        self._entering: tuple[Connect, str | None] | None = None  # until the broker answers
        self._last: Disconnect | None = None  # the device's own
        self._keeps_session = False
        # SUBSCRIBEs without an answer, by packet identifier: what is refused here, and the filters that are not.
        self._asked: dict[int, tuple[list[ReasonCode | None], list[str]]] = {}
        self._filters: set[str] = set()
        self._in_flight: set[int] = set()  # towards the device
        self._held: set[str] = set()
        self._holders: set[asyncio.Task[None]] = set()

    # CONNECT.

    def _enter(self, packet: Connect, assigned: str | None) -> None:
        self._wait("broker")
        self._entering = packet, assigned
        self._asking = self._loop.create_task(self._open(packet))

    async def _open(self, packet: Connect) -> None:
        limits = self._limits
        self._line = line = Line(
            self._version,
            limits.max_packet_size,
            on_packet=self._on_broker_packet,
            on_lost=self._on_broker_lost,
        )
        try:
            await line.open(self._relay, self._make_connect(packet))
        except (IotwireError, OSError) as error:  # with TimeoutError
            self._is_asking = False
            self._on_broker_lost(str(error) or "no answer in time", ReasonCode.SERVER_UNAVAILABLE)
        finally:
            if not self._is_attached:
                line.close(0, None)
                line.stream.abort()

    def _make_connect(self, packet: Connect) -> Connect:
        """The device's own, as far as the service takes it, and with the broker's user name and password."""
        attempt = self._relay.broker.prepare(datetime.now(UTC))
        will = self._will
        if will is not None and not self._may_publish(will.topic, retain=will.retain):
            will = self._will = None
        more: dict[str, Any] = {}
        if self._version >= 5:
            largest = self._limits.max_packet_size
            more = {
                "session_expiry_interval": packet.session_expiry_interval,
                "receive_maximum": self._window,
                "maximum_packet_size": min(self._max_packet_size or largest, largest),
                "user_properties": packet.user_properties,
            }
        return Connect(
            self.client_id,
            clean_start=packet.clean_start,
            keep_alive=KEEP_ALIVE_S,
            username=attempt.username,
            password=attempt.password,
            will=will,
            **more,
        )

    def _on_connack(self, connack: ConnAck) -> None:
        assert self._line is not None
        assert self._entering is not None
        (packet, assigned), self._entering = self._entering, None
        self._is_asking = False
        if connack.reason_code:
            code = _REFUSALS.get(int(connack.reason_code), ReasonCode.SERVER_UNAVAILABLE)
            self._refuse(code, f"the broker {self._relay.place} answers with {connack.reason_code.name}")
            return
        self._asking = None
        self._largest_packet = connack.maximum_packet_size
        self._keeps_session = bool(
            packet.session_expiry_interval
            if connack.session_expiry_interval is None
            else connack.session_expiry_interval
        )
        self._line.keep_alive(min(PING_S, (connack.server_keep_alive or KEEP_ALIVE_S) / 2))
        self._welcome(self._merge(connack, self._make_connack(packet, assigned)))
        self._read_on("broker")

    def _merge(self, theirs: ConnAck, ours: ConnAck) -> ConnAck:
        """What both have."""
        if self._version < 5:
            return ConnAck(session_present=theirs.session_present)
        largest = self._limits.max_packet_size
        return ConnAck(
            session_present=theirs.session_present,
            session_expiry_interval=theirs.session_expiry_interval,
            receive_maximum=min(theirs.receive_maximum or 0xFFFF, self._limits.receive_maximum),
            maximum_qos=min(1 if theirs.maximum_qos is None else theirs.maximum_qos, 1),
            retain_available=theirs.retain_available,
            maximum_packet_size=min(theirs.maximum_packet_size or largest, largest),
            assigned_client_identifier=ours.assigned_client_identifier,
            topic_alias_maximum=ours.topic_alias_maximum,
            wildcard_subscription_available=theirs.wildcard_subscription_available,
            subscription_identifier_available=False,
            shared_subscription_available=theirs.shared_subscription_available,
            server_keep_alive=ours.server_keep_alive,
        )

    # From the device.

    def _take_message(self, packet: Publish, message: Message) -> None:
        data = self._encode(packet, message.topic)
        if self._largest_packet is not None and len(data) > self._largest_packet:
            self._end(ReasonCode.PACKET_TOO_LARGE)
            return
        assert self._line is not None
        self._relay.stats.messages_received += 1
        self._line.stream.write(data)
        self._hold(self.stream, self._line.stream, "to the broker")

    def _take_subscriptions(self, packet: Subscribe) -> None:
        if packet.packet_id in self._asked:
            raise ProtocolViolationError(
                f"packet identifier {packet.packet_id} is in use",
                reason_code=ReasonCode.PACKET_IDENTIFIER_IN_USE,
                clause="2.2.1",
            )
        if len(self._asked) >= MAX_ASKED:
            self._end(ReasonCode.QUOTA_EXCEEDED)
            return
        reason_codes: list[ReasonCode | None] = []
        passed: list[Subscription] = []
        for each in packet.subscriptions:
            reason_code = self._refuse_filter(each)
            if reason_code is None and not self._count(each.topic_filter):
                reason_code = ReasonCode.QUOTA_EXCEEDED
            if reason_code is None:
                passed.append(_with_qos(each, min(each.qos, 1)))
            reason_codes.append(reason_code)
        if not passed:
            self._answer_subscribe(packet.packet_id, reason_codes, ())
            return
        self._asked[packet.packet_id] = reason_codes, [each.topic_filter for each in passed]
        self._pass_on(Subscribe(packet.packet_id, passed, user_properties=packet.user_properties))

    def _count(self, topic_filter: str) -> bool:
        """Whether the connection may have one more, if it is one more. Those of an earlier connection do not count."""
        if topic_filter not in self._filters and len(self._filters) >= self._limits.max_subscriptions:
            return False
        self._filters.add(topic_filter)
        return True

    def _on_unsubscribe(self, packet: Unsubscribe) -> None:
        self._filters.difference_update(packet.topic_filters)
        self._pass_on(packet)

    def _on_puback(self, packet: PubAck) -> None:
        if packet.packet_id in self._in_flight:
            self._in_flight.discard(packet.packet_id)
            self._pass_on(packet)

    def _on_disconnect(self, packet: Disconnect) -> None:
        if packet.session_expiry_interval and not self._keeps_session:
            raise ProtocolViolationError("a session that ends with its connection is prolonged", clause="3.14.2.2.2")
        self._last = packet
        self._leave()
        self.stream.close(self._limits.close_timeout_s)

    def _encode(self, packet: Publish, topic: str) -> bytes:
        """A message as it came, for the other side. topic: in full, because an alias counts on one connection alone."""
        return encode_publish(
            topic,
            packet.payload,
            packet.qos,
            packet.retain,
            packet.packet_id,
            packet.dup,
            self._version,
            **properties_of(packet, RELAYED),
        )

    def _pass_on(self, packet: Packet) -> None:
        assert self._line is not None
        self._line.send(packet)
        self._hold(self.stream, self._line.stream, "to the broker")

    def _part(self) -> None:
        """Without the device's DISCONNECT there is none for the broker, which publishes the will then."""
        assert self._line is not None
        last = self._last
        if last is None and self._will is None:
            last = Disconnect()
        self._line.close(self._limits.close_timeout_s, last)

    # From the broker.

    def _on_broker_packet(self, packet: Packet) -> None:
        if self._is_over:
            return
        if isinstance(packet, ConnAck) and self._entering is not None:
            self._on_connack(packet)
        elif isinstance(packet, Publish) and packet.qos < 2:
            self._on_broker_publish(packet)
        elif isinstance(packet, PubAck):
            self._send(PubAck(packet.packet_id, packet.reason_code if self._version >= 5 else ReasonCode.SUCCESS))
        elif isinstance(packet, SubAck) and packet.packet_id in self._asked:
            reason_codes, passed = self._asked.pop(packet.packet_id)
            self._answer_subscribe(packet.packet_id, reason_codes, packet.reason_codes)
            refused = [each for each, code in zip(passed, packet.reason_codes, strict=True) if code >= 0x80]
            self._filters.difference_update(refused)
        elif isinstance(packet, UnsubAck):
            self._send(UnsubAck(packet.packet_id, packet.reason_codes if self._version >= 5 else ()))
        else:
            raise ProtocolViolationError(f"{type(packet).__name__} that nothing had asked for", clause="4.13")

    def _on_broker_publish(self, packet: Publish) -> None:
        assert self._line is not None
        stats = self._relay.stats
        if not self._may("iot:Receive", f"topic/{packet.topic}"):
            stats.messages_dropped += 1
            if packet.packet_id is not None:
                self._line.send(PubAck(packet.packet_id))
            return
        if packet.packet_id is not None:
            self._in_flight.add(packet.packet_id)
        elif self.stream.backlog_bytes > self._limits.max_backlog_bytes:
            stats.messages_dropped += 1
            return
        stats.messages_delivered += 1
        self.stream.write(self._encode(packet, packet.topic))
        self._hold(self._line.stream, self.stream, "to the device")

    def _answer_subscribe(
        self, packet_id: int, reason_codes: list[ReasonCode | None], of_broker: Sequence[ReasonCode]
    ) -> None:
        if reason_codes.count(None) != len(of_broker):
            raise ProtocolViolationError("a SUBACK for another number of filters", clause="MQTT-3.8.4-6")
        told = iter(of_broker)
        codes = [next(told) if each is None else each for each in reason_codes]
        if self._version < 5:
            codes = [ReasonCode.UNSPECIFIED_ERROR if each >= 0x80 else each for each in codes]
        self._send(SubAck(packet_id, codes))

    def _on_broker_lost(self, text: str, reason_code: ReasonCode) -> None:
        if self._is_over:
            return
        if self._is_attached:
            place = self._relay.place
            _log.info("%s: its connection to the broker %s has ended: %s", self._name, place, printable(text))
            self._end(reason_code)
        else:
            self._is_asking = False
            self._refuse(ReasonCode.SERVER_UNAVAILABLE, f"the broker {self._relay.place} is not there: {text}")

    # Whoever does not read is not read for.

    def _hold(self, reader: Stream, writer: Stream, way: str) -> None:
        """Stop reading here while there is no room to write there."""
        if writer.is_writable or way in self._held:
            return
        self._held.add(way)
        reader.pause_reading(way)
        holder = self._loop.create_task(self._let_go(reader, writer, way))
        self._holders.add(holder)
        holder.add_done_callback(self._holders.discard)

    async def _let_go(self, reader: Stream, writer: Stream, way: str) -> None:
        await writer.writable()
        self._held.discard(way)
        reader.resume_reading(way)


def _with_qos(wanted: Subscription, qos: int) -> Subscription:
    return Subscription(
        wanted.topic_filter,
        qos,
        no_local=wanted.no_local,
        retain_as_published=wanted.retain_as_published,
        retain_handling=wanted.retain_handling,
    )
