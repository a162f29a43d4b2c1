"""One network connection of a client, from CONNECT to its end.

Everything that belongs to one connection is in here, and dies with it: packet ids, messages in flight, topic aliases,
keep alive. The `Client` outlives it. Whoever waits on anything here gets an answer or a ConnectionLostError, whatever
the server sends and however the connection ends.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import (
    ConnectError,
    ConnectionLostError,
    ProtocolViolationError,
    PublishError,
    WireError,
)
from ..mqtt import (
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode_publish,
)
from ..route import Attempt
from ..transport import PacketStream, open_stream
from ..transport.connect import describe_tls_error
from .inbox import Distributor
from .incoming import Incoming
from .keep_alive import KeepAlive
from .outgoing import Outgoing, PacketIds, describe_reason

__all__ = ["Connection", "ConnectionSettings", "ServerLimits"]

_log = logging.getLogger("iotwire.client")


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What the client's options mean for one connection; see `Client`."""

    version: int
    receive_maximum: int
    max_packet_size: int
    topic_alias_maximum: int
    max_in_flight: int
    connect_timeout_s: float
    ping_timeout_s: float
    close_timeout_s: float


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the server's CONNACK allows (MQTT 5.0, 3.2.2.3). A 3.1.1 server names no limits."""

    receive_maximum: int
    maximum_qos: int
    retain_available: bool
    maximum_packet_size: int | None
    topic_alias_maximum: int
    keep_alive_s: int
    wildcards_available: bool
    subscription_identifiers_available: bool
    shared_subscriptions_available: bool

    @classmethod
    def of(cls, connack: ConnAck, keep_alive_s: int) -> ServerLimits:
        def stated(value: Any, default: Any) -> Any:
            return default if value is None else value

        return cls(
            receive_maximum=stated(connack.receive_maximum, 0xFFFF),
            maximum_qos=stated(connack.maximum_qos, 2),
            retain_available=stated(connack.retain_available, True),
            maximum_packet_size=connack.maximum_packet_size,
            topic_alias_maximum=stated(connack.topic_alias_maximum, 0),
            keep_alive_s=stated(connack.server_keep_alive, keep_alive_s),
            wildcards_available=stated(connack.wildcard_subscription_available, True),
            subscription_identifiers_available=stated(connack.subscription_identifier_available, True),
            shared_subscriptions_available=stated(connack.shared_subscription_available, True),
        )


@dataclass(frozen=True, slots=True)
class _End:
    """Why a connection ended. reason_code: the server's own, if it gave one. is_wanted: this side closed it."""

    message: str
    reason_code: int | None = None
    cause: BaseException | None = None
    is_wanted: bool = False


@dataclass(frozen=True, slots=True)
class _Request:
    """A SUBSCRIBE or UNSUBSCRIBE that waits for its answer."""

    answer_type: type[SubAck | UnsubAck]
    filters: int
    answer: asyncio.Future[Any]


class Connection:
    """One connection: `open` it once; after `is_ended`, make another. The `PacketReceiver` of its stream.

    What may arrive is a table, `_handlers`: CONNACK alone at first, then everything a server may send to a client.
    """

    def __init__(self, settings: ConnectionSettings, distributor: Distributor) -> None:
        self._settings = settings
        self._version = settings.version
        self._distributor = distributor
        self._loop = asyncio.get_running_loop()
        self._stream = PacketStream(Decoder(settings.version, max_packet_size=settings.max_packet_size), self)
        self._handlers: dict[type, Callable[[Any], None]] = {ConnAck: self._on_connack}
        self._connack: asyncio.Future[ConnAck] = self._loop.create_future()
        self._limits: ServerLimits | None = None
        self._packet_ids = PacketIds()
        self._outgoing = Outgoing(settings.version, self._packet_ids, send=self._stream.write)
        self._incoming = Incoming(
            settings.version,
            settings.receive_maximum,
            settings.topic_alias_maximum,
            send=self._stream.write,
            deliver=distributor.deliver,
            pause_reading=lambda: self._stream.pause_reading("inbox"),
            resume_reading=lambda: self._stream.resume_reading("inbox"),
        )
        self._requests: dict[int, _Request] = {}
        self._established_aliases: set[int] = set()
        self._connect_keep_alive_s = 0
        self._presents_certificate = False
        self._keep_alive: KeepAlive | None = None
        self._end: _End | None = None
        self.messages_sent = 0
        self.messages_received = 0

    @property
    def stream(self) -> PacketStream:
        return self._stream

    def require_open(self) -> ServerLimits:
        """What the server allows. Raises ConnectionLostError unless the connection is open."""
        if self._end is not None or self._limits is None:
            raise self._make_lost_error()
        return self._limits

    # The beginning.

    async def open(self, attempt: Attempt, connect: Connect) -> ConnAck:
        """Connect, and wait for the CONNACK. Raises ConnectError; whatever it raises, nothing is left open."""
        deadline = self._loop.time() + self._settings.connect_timeout_s
        data = connect.encode(self._version)
        self._connect_keep_alive_s = connect.keep_alive
        self._presents_certificate = attempt.tls is not None and attempt.tls.certificate is not None
        try:
            await open_stream(attempt, lambda: self._stream, timeout_s=self._settings.connect_timeout_s)
            self._stream.write(data)
            async with asyncio.timeout_at(deadline):
                return await self._connack
        except TimeoutError:
            self._stream.abort()
            waited = f"{self._settings.connect_timeout_s:g} s"
            raise ConnectError(f"{self._stream.peer} sent no CONNACK within {waited}") from None
        except BaseException:
            self._stream.abort()
            raise

    def _on_connack(self, packet: ConnAck) -> None:
        if packet.reason_code != 0:
            reason = describe_reason(packet.reason_code)
            self._finish(_End(f"the server refused the connection: {reason}", packet.reason_code))
            return
        self._limits = ServerLimits.of(packet, self._connect_keep_alive_s)
        self._outgoing.open(min(self._limits.receive_maximum, self._settings.max_in_flight))
        if self._limits.keep_alive_s:
            self._keep_alive = KeepAlive(
                self._stream,
                self._limits.keep_alive_s,
                self._settings.ping_timeout_s,
                on_silence=self._on_silence,
                is_deaf=lambda: not self._stream.is_reading and not self._has_too_many,
            )
        self._handlers = {
            Publish: self._on_publish,
            PubAck: self._outgoing.on_puback,
            PubRec: self._outgoing.on_pubrec,
            PubRel: self._incoming.on_pubrel,
            PubComp: self._outgoing.on_pubcomp,
            SubAck: self._on_answer,
            UnsubAck: self._on_answer,
            PingResp: lambda _: None,  # that something came was noted when its bytes did
        }
        if self._version >= 5:
            self._handlers[Disconnect] = self._on_disconnect
        if not self._connack.done():
            self._connack.set_result(packet)

    # Messages and requests.

    async def publish(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview,
        qos: int,
        retain: bool,
        properties: dict[str, Any],
    ) -> ReasonCode:
        """Send a message; see `Client.publish`."""
        self.require_open()
        if qos == 0:
            await self._stream.writable()
            data = encode_publish(topic, payload, 0, retain, None, False, self._version, **properties)
            self._check_publish(topic, 0, retain, properties.get("topic_alias"), len(data))
            self._write_publish(data, properties)
            return ReasonCode.SUCCESS
        await self._outgoing.take_place()
        try:
            await self._stream.writable()
            packet_id = self._packet_ids.take()
            try:
                data = encode_publish(topic, payload, qos, retain, packet_id, False, self._version, **properties)
                self._check_publish(topic, qos, retain, properties.get("topic_alias"), len(data))
            except BaseException:
                self._packet_ids.give_back(packet_id)
                raise
        except BaseException:
            self._outgoing.free_place()
            raise
        # From here to the await nothing can be cancelled: the message is in flight, whoever waits for it.
        acknowledged = self._outgoing.begin(packet_id, qos)
        self._write_publish(data, properties)
        return await acknowledged

    async def request(self, make_packet: Callable[[int], Subscribe | Unsubscribe], filters: int) -> Any:
        """Send a SUBSCRIBE or UNSUBSCRIBE of so many filters, and wait for its SUBACK or UNSUBACK."""
        self.require_open()
        await self._stream.writable()
        packet_id = self._packet_ids.take()
        try:
            packet = make_packet(packet_id)
            data = packet.encode(self._version)
            self._check_size(len(data))
        except BaseException:
            self._packet_ids.give_back(packet_id)
            raise
        answer = self._loop.create_future()
        answer_type = SubAck if isinstance(packet, Subscribe) else UnsubAck
        self._requests[packet_id] = _Request(answer_type, filters, answer)
        self._stream.write(data)
        return await answer

    def _check_publish(self, topic: str, qos: int, retain: bool, alias: int | None, size: int) -> None:
        limits = self.require_open()
        if qos > limits.maximum_qos:
            raise PublishError(f"qos: the server allows {limits.maximum_qos} at most", reason_code=0x9B)
        if retain and not limits.retain_available:
            raise PublishError("retain: the server keeps no retained messages", reason_code=0x9A)
        if alias is not None:
            if alias > limits.topic_alias_maximum:
                raise PublishError(
                    f"topic_alias: the server allows {limits.topic_alias_maximum} at most", reason_code=0x94
                )
            if not topic and alias not in self._established_aliases:
                raise PublishError(f"topic_alias: {alias} was not yet sent with a topic", reason_code=0x94)
        self._check_size(size)

    def _check_size(self, size: int) -> None:
        limit = self.require_open().maximum_packet_size
        if limit is not None and size > limit:
            raise PublishError(f"a packet of {size} bytes: the server allows {limit} at most", reason_code=0x95)

    def _write_publish(self, data: bytes, properties: dict[str, Any]) -> None:
        if (alias := properties.get("topic_alias")) is not None:
            self._established_aliases.add(alias)
        self.messages_sent += 1
        self._stream.write(data)

    def _on_publish(self, packet: Publish) -> None:
        self.messages_received += 1
        self._incoming.on_publish(packet)

    def _on_answer(self, packet: SubAck | UnsubAck) -> None:
        request = self._requests.pop(packet.packet_id, None)
        if request is None:
            _log.debug("%s for packet id %d, which is not in use", type(packet).__name__, packet.packet_id)
            return
        self._packet_ids.give_back(packet.packet_id)
        # A 3.1.1 UNSUBACK has no codes.
        expected = 0 if self._version < 5 and isinstance(packet, UnsubAck) else request.filters
        if type(packet) is not request.answer_type or len(packet.reason_codes) != expected:
            self._requests[packet.packet_id] = request  # it fails with the connection
            came = f"{type(packet).__name__} with {len(packet.reason_codes)} reason codes"
            due = f"{request.answer_type.__name__} with {expected}"
            raise ProtocolViolationError(
                f"{came} for packet id {packet.packet_id}, where {due} is due", clause="MQTT-3.8.4-6"
            )
        if not request.answer.done():
            request.answer.set_result(packet)

    # The end.

    async def close(self, disconnect: Disconnect) -> None:
        """Send DISCONNECT and close. Returns when the connection has ended, within the close time-out."""
        data = disconnect.encode(self._version)
        if self._limits is None:  # still on the way to its CONNACK: `open` raises ConnectError
            self._finish(_End("this client closed the connection", is_wanted=True))
            self._stream.abort()
            return
        try:
            if self._end is None:
                self._stream.write(data)
                self._finish(_End("this client closed the connection", is_wanted=True))
                self._stream.close(self._settings.close_timeout_s, linger=True)
            await self._stream.wait_lost()
        except BaseException:
            self._stream.abort()
            raise

    @property
    def is_ended(self) -> bool:
        return self._end is not None

    def _finish(self, end: _End) -> None:
        """The one way to the end: everything that waits on this connection fails, once."""
        if self._end is not None:
            return
        self._end = end
        if self._keep_alive is not None:
            self._keep_alive.stop()
        if not self._connack.done():
            self._connack.set_exception(ConnectError(end.message, reason_code=end.reason_code))
            self._connack.exception()  # `open` may have been cancelled: then nobody asks, and asyncio would complain
        self._outgoing.fail(self._make_lost_error)
        for request in self._requests.values():
            if not request.answer.done():
                request.answer.set_exception(self._make_lost_error())
        self._requests.clear()
        if self._limits is not None:
            self._distributor.end(None if end.is_wanted else self._make_lost_error)

    def _make_lost_error(self) -> ConnectionLostError:
        """An error of its own for everyone who waits: a shared one would grow a traceback with each `raise`."""
        if self._end is None:
            return ConnectionLostError("not connected")
        error = ConnectionLostError(self._end.message, reason_code=self._end.reason_code)
        error.__cause__ = self._end.cause
        return error

    def _on_disconnect(self, packet: Disconnect) -> None:
        reason = describe_reason(packet.reason_code)
        self._finish(_End(f"the server disconnected: {reason}", packet.reason_code))
        self._stream.close(self._settings.close_timeout_s)

    @property
    def _has_too_many(self) -> bool:
        """Whether an MQTT 5 server has exceeded the Receive Maximum, and nobody reads what it has sent."""
        return self._version >= 5 and self._stream.is_held_by("inbox")

    def _on_silence(self) -> None:
        if self._has_too_many:
            self.peer_failed(
                ProtocolViolationError(
                    f"more than {self._settings.receive_maximum} messages, the Receive Maximum, are unacknowledged",
                    reason_code=ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
                    clause="MQTT-3.3.4-9",
                )
            )
            return
        self._finish(_End(f"the server did not answer PINGREQ within {self._settings.ping_timeout_s:g} s"))
        self._stream.abort()

    # What the stream calls.

    def packets_received(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            if self._end is not None:
                return  # what follows a DISCONNECT means nothing
            handler = self._handlers.get(type(packet))
            if handler is None and self._limits is None:
                raise ProtocolViolationError(f"{type(packet).__name__} before CONNACK", clause="MQTT-3.2.0-1")
            if handler is None:
                raise ProtocolViolationError(f"{type(packet).__name__} from a server", clause="2.1.2")
            handler(packet)

    def peer_failed(self, error: WireError) -> None:
        if self._version >= 5 and self._limits is not None:
            self._stream.write(Disconnect(error.reason_code).encode(5))
        self._finish(_End(f"the server broke the protocol: {error.message} [{error.clause}]", cause=error))
        self._stream.close(self._settings.close_timeout_s, linger=True)

    def stream_lost(self, error: Exception | None) -> None:
        if isinstance(error, ssl.SSLError):
            message = f"the connection ended: {describe_tls_error(error)}"
        elif error is not None:
            message = f"the connection ended: {error}"
        else:
            message = "the server closed the connection"
        if self._limits is None:
            message += " before its CONNACK"
            if self._presents_certificate:
                # In TLS 1.3 a client is done with the handshake before the server has seen its certificate, and the
                # alert may be lost in the reset that follows it.
                message += " (servers that do not accept the client certificate do that)"
        self._finish(_End(message, cause=error))
