"""`Client`: MQTT 3.1.1 and 5.0 for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypedDict, Unpack

from ..errors import ConnectError, ConnectionLostError, EncodeError, SubscribeError
from ..mqtt import (
    ConnAck,
    Connect,
    Disconnect,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from ..route import Attempt, Route
from .connection import Connection, ConnectionSettings, ServerLimits
from .inbox import Distributor, MessageStream
from .outgoing import describe_reason

__all__ = ["Client", "ClientStats", "PublishProperties"]


class PublishProperties(TypedDict, total=False):
    """The MQTT 5 properties that a client may give a message (MQTT 5.0, 3.3.2.3)."""

    payload_format_indicator: int | None
    message_expiry_interval: int | None
    topic_alias: int | None
    response_topic: str | None
    correlation_data: bytes | None
    user_properties: Sequence[tuple[str, str]]
    content_type: str | None


@dataclass(frozen=True, slots=True)
class ClientStats:
    """What a client has sent and received since it was made, over all its connections.

    bytes_sent, bytes_received: MQTT packets whole, without what TLS and TCP add to them.
    messages_dropped: QoS 0 messages that found no room, and those that a stream still held when it was closed.
    messages_unclaimed: messages that are kept because no stream has asked for them yet.
    """

    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    messages_dropped: int = 0
    messages_unclaimed: int = 0


class Client:
    """An MQTT client for asyncio: `async with Client(route, "gateway-7") as client`.

    route: where to and with which credentials, from `Endpoint.route`, or a `Broker`.
    client_id: "" lets the server choose; see `client_id` for what it chose.
    version: 5, or 4 for MQTT 3.1.1.
    keep_alive: seconds of silence after which PINGREQ is sent, 0 for never. A server's own value wins.
    clean_start: False continues the session that the server has kept, if any.
    will: what the server publishes if this client vanishes.
    session_expiry_interval: seconds that an MQTT 5 server keeps the session, None for not at all.
    max_packet_size: bytes of the largest packet to accept. With receive_maximum it bounds the memory that a server
        can make this client use. AWS IoT sends 146 KiB at most.
    receive_maximum: QoS 1 and 2 messages that the server may have unacknowledged at once.
    topic_alias_maximum: topic aliases that an MQTT 5 server may use.
    max_in_flight: QoS 1 and 2 messages that this client has unacknowledged at once; a lower limit of the server wins.
    user_properties: of the CONNECT packet.
    connect_timeout_s: for the whole way from the name's resolution to the CONNACK.
    ping_timeout_s: how long after PINGREQ a server may be wholly silent.
    close_timeout_s: how long a close may take.

    There is no reconnect yet. When the connection ends, every call that waits on it raises ConnectionLostError, and so
    does every stream of `messages` once it is read to its end; then `async with` may be entered again.
    A client belongs to one event loop. A call that is cancelled leaves it usable; a message that had been sent by then
    may still arrive.

    Raises EncodeError for options that no CONNECT packet can carry.
    """

    def __init__(
        self,
        route: Route,
        client_id: str,
        *,
        version: int = 5,
        keep_alive: int = 60,
        clean_start: bool = True,
        will: Will | None = None,
        session_expiry_interval: int | None = None,
        max_packet_size: int = 256 * 1024,
        receive_maximum: int = 100,
        topic_alias_maximum: int = 16,
        max_in_flight: int = 100,
        user_properties: Sequence[tuple[str, str]] = (),
        connect_timeout_s: float = 30.0,
        ping_timeout_s: float = 10.0,
        close_timeout_s: float = 2.0,
    ) -> None:
        self._route = route
        self._client_id = client_id
        self._version = version
        self._keep_alive = keep_alive
        self._clean_start = clean_start
        self._will = will
        self._session_expiry_interval = session_expiry_interval
        self._user_properties = tuple(user_properties)
        self._settings = ConnectionSettings(
            version=version,
            receive_maximum=_in_range("receive_maximum", receive_maximum, 1, 0xFFFF),
            max_packet_size=_in_range("max_packet_size", max_packet_size, 16, 268_435_460),
            topic_alias_maximum=_in_range("topic_alias_maximum", topic_alias_maximum, 0, 0xFFFF),
            max_in_flight=_in_range("max_in_flight", max_in_flight, 1, 0xFFFF),
            connect_timeout_s=_positive("connect_timeout_s", connect_timeout_s),
            ping_timeout_s=_positive("ping_timeout_s", ping_timeout_s),
            close_timeout_s=_positive("close_timeout_s", close_timeout_s),
        )
        if version not in (4, 5):
            raise EncodeError("must be 4 (MQTT 3.1.1) or 5", field="version")
        self._make_connect(None).encode(version)  # what is wrong with the options is known now, not when connecting
        self._distributor = Distributor(DEFAULT_MAX_MESSAGES, DEFAULT_MAX_BYTES)
        self._connection: Connection | None = None
        self._connack: ConnAck | None = None
        self._past = ClientStats()

    def __repr__(self) -> str:
        state = "connected" if self.is_connected else "not connected"
        return f"<Client {self.client_id!r} version={self._version} {state}>"

    # The connection.

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    async def connect(self) -> ConnAck:
        """Connect; the CONNACK is the result. `async with` does this.

        Raises ConnectError where no connection was made (with `reason_code` where the server gave one), RouteError
        and CredentialsError where none could be tried.
        """
        if self._connection is not None and not self._connection.is_ended:
            raise ConnectError("this client is connected, or connecting, already")
        self._put_by()
        connection = self._connection = Connection(self._settings, self._distributor)
        try:
            # In a thread: a route may read files or ask for credentials.
            attempt = await asyncio.to_thread(self._route.prepare, datetime.now(UTC))
            self._distributor.begin()
            self._connack = await connection.open(attempt, self._make_connect(attempt))
        except BaseException:
            self._connection = None
            raise
        return self._connack

    async def disconnect(self, reason_code: int = ReasonCode.NORMAL_DISCONNECTION) -> None:
        """Send DISCONNECT and close, within `close_timeout_s`. `async with` does this at its end.

        reason_code: MQTT 5 only; 0x04 asks the server to publish the will.
        Calls of other tasks that still wait raise ConnectionLostError; streams of `messages` come to their end.
        """
        if self._connection is not None:
            await self._connection.close(Disconnect(reason_code))

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and self._connack is not None and not self._connection.is_ended

    @property
    def connack(self) -> ConnAck:
        """The server's CONNACK of the latest connection. Raises ConnectionLostError before the first one."""
        if self._connack is None:
            raise ConnectionLostError("not connected")
        return self._connack

    @property
    def client_id(self) -> str:
        """The id of this client: the server's choice where it was left to the server."""
        assigned = None if self._connack is None else self._connack.assigned_client_identifier
        return self._client_id if assigned is None else assigned

    @property
    def server_limits(self) -> ServerLimits:
        """What the server allows, from its CONNACK. Raises ConnectionLostError unless connected."""
        return self._require_connection().require_open()

    @property
    def security(self) -> str:
        """How the latest connection is protected, such as "TLSv1.3, TLS_AES_256_GCM_SHA384"; "none" on plain TCP."""
        return "none" if self._connection is None else self._connection.stream.security

    def stats(self) -> ClientStats:
        """Messages and bytes so far."""
        now, past = self._connection, self._past
        return ClientStats(
            messages_sent=past.messages_sent + (now.messages_sent if now else 0),
            messages_received=past.messages_received + (now.messages_received if now else 0),
            bytes_sent=past.bytes_sent + (now.stream.bytes_sent if now else 0),
            bytes_received=past.bytes_received + (now.stream.bytes_received if now else 0),
            messages_dropped=self._distributor.dropped,
            messages_unclaimed=self._distributor.unclaimed,
        )

    # Messages.

    async def publish(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview = b"",
        qos: int = 0,
        retain: bool = False,
        **properties: Unpack[PublishProperties],
    ) -> ReasonCode:
        """Publish a message, and wait until it is safe.

        That is, for QoS 0, when there is room to write it; for QoS 1 its PUBACK; for QoS 2 its PUBCOMP.
        payload: any C-contiguous buffer, not to be changed before the call returns.
        properties: of MQTT 5, by the standard's names.

        The result is the server's reason code, such as SUCCESS or NO_MATCHING_SUBSCRIBERS. Raises PublishError with
        `reason_code` where the server refuses the message or its CONNACK rules it out; ConnectionLostError where the
        connection ends first, and then a message of QoS 1 or 2 may or may not have arrived; EncodeError.
        """
        if "subscription_identifiers" in properties:
            raise EncodeError("is not for a client to send", field="subscription_identifiers", clause="MQTT-3.3.4-6")
        return await self._require_connection().publish(topic, payload, qos, retain, dict(properties))

    async def subscribe(
        self,
        filters: str | Subscription | Iterable[str | Subscription],
        qos: int = 0,
        *,
        subscription_identifier: int | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> tuple[ReasonCode, ...]:
        """Subscribe to topic filters, and wait for the SUBACK. The result is the granted QoS of each, in order.

        filters: one or several. qos: the highest wanted, for those given as str; a `Subscription` has its own options.

        Raises SubscribeError where the server refuses one of them, with `reason_codes` of all of them by filter (what
        it granted stays granted); ConnectionLostError; EncodeError.
        """
        several = (filters,) if isinstance(filters, (str, Subscription)) else tuple(filters)
        subscriptions = tuple(each if isinstance(each, Subscription) else Subscription(each, qos) for each in several)
        connection = self._require_connection()
        _check_subscriptions(connection.require_open(), subscriptions, subscription_identifier)
        suback: SubAck = await connection.request(
            lambda packet_id: Subscribe(
                packet_id,
                subscriptions,
                subscription_identifier=subscription_identifier,
                user_properties=user_properties,
            ),
            len(subscriptions),
        )
        _raise_for_refusals([each.topic_filter for each in subscriptions], suback.reason_codes)
        return tuple(suback.reason_codes)

    async def unsubscribe(
        self, filters: str | Iterable[str], *, user_properties: Sequence[tuple[str, str]] = ()
    ) -> tuple[ReasonCode, ...]:
        """End subscriptions, and wait for the UNSUBACK. The result is the reason code of each; 3.1.1 has none.

        Raises SubscribeError where the server refuses, ConnectionLostError, EncodeError.
        """
        topic_filters = (filters,) if isinstance(filters, str) else tuple(filters)
        unsuback: UnsubAck = await self._require_connection().request(
            lambda packet_id: Unsubscribe(packet_id, topic_filters, user_properties=user_properties),
            len(topic_filters),
        )
        _raise_for_refusals(topic_filters, unsuback.reason_codes)
        return tuple(unsuback.reason_codes)

    def messages(
        self, topic_filter: str | None = None, *, max_messages: int = 1000, max_bytes: int = 8 * 1024 * 1024
    ) -> MessageStream:
        """A stream of the messages that arrive on matching topics: `async for message in client.messages("a/#")`.

        topic_filter: None means every message, also on topics never subscribed to. Subscribing is `subscribe`'s work.
        max_messages, max_bytes: the bound of this stream's own queue.

        There may be several streams at once; a message goes to each that it matches. One that matches none is kept,
        within the default bound, for the first stream that asks for it: nothing is lost between `subscribe` and this.
        When the queue is full, a QoS 0 message pushes out the oldest QoS 0 message, and is counted in `dropped`. A QoS
        1 or 2 message is kept, and its acknowledgement is withheld until there is room: the server stops sending when
        `receive_maximum` messages are unacknowledged, and that bounds memory. (One that sends more all the same is not
        read any further; MQTT 5 servers are disconnected with 0x93 if that lasts for a keep alive.) As acknowledgements
        leave in order, a stream that nobody reads then holds up all QoS 1 and 2 messages. An acknowledged message is
        one that this client has in a queue, not one that the application has read.

        The stream ends when this client disconnects, and raises ConnectionLostError after its last message when the
        connection ends otherwise. Raises EncodeError for a malformed filter.
        """
        _in_range("max_messages", max_messages, 1, 1 << 31)
        _in_range("max_bytes", max_bytes, 1, 1 << 40)
        return MessageStream(self._distributor, self._distributor.open(topic_filter, max_messages, max_bytes))

    # Helpers.

    def _require_connection(self) -> Connection:
        if self._connection is None:
            raise ConnectionLostError("not connected")
        return self._connection

    def _make_connect(self, attempt: Attempt | None) -> Connect:
        is_mqtt5 = self._version == 5
        return Connect(
            self._client_id,
            clean_start=self._clean_start,
            keep_alive=self._keep_alive,
            username=attempt.username if attempt else None,
            password=attempt.password if attempt else None,
            will=self._will,
            session_expiry_interval=self._session_expiry_interval,
            receive_maximum=self._settings.receive_maximum if is_mqtt5 else None,
            maximum_packet_size=self._settings.max_packet_size if is_mqtt5 else None,
            topic_alias_maximum=self._settings.topic_alias_maximum if is_mqtt5 else None,
            user_properties=self._user_properties,
        )

    def _put_by(self) -> None:
        """Keep the counts of the connection that is about to be replaced."""
        if self._connection is not None:
            self._past = self.stats()
            self._connection = None


DEFAULT_MAX_MESSAGES = 1000
DEFAULT_MAX_BYTES = 8 * 1024 * 1024


def _in_range(field: str, value: int, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise EncodeError(f"must be an int from {least} to {most}", field=field)
    return value


def _positive(field: str, seconds: float) -> float:
    if type(seconds) not in (int, float) or not 0 < seconds < 1e9:
        raise EncodeError("must be a number of seconds greater than 0", field=field)
    return seconds


def _check_subscriptions(
    limits: ServerLimits, subscriptions: tuple[Subscription, ...], subscription_identifier: int | None
) -> None:
    """Raise SubscribeError for what the server's CONNACK rules out: it would disconnect."""
    refused: dict[str, int] = {}
    for topic_filter in (each.topic_filter for each in subscriptions):
        if not limits.wildcards_available and ("+" in topic_filter or "#" in topic_filter):
            refused[topic_filter] = ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
        elif not limits.shared_subscriptions_available and topic_filter.startswith("$share/"):
            refused[topic_filter] = ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        elif not limits.subscription_identifiers_available and subscription_identifier is not None:
            refused[topic_filter] = ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
    if refused:
        _raise_for_refusals(list(refused), list(refused.values()))


def _raise_for_refusals(filters: Sequence[str], reason_codes: Sequence[int]) -> None:
    codes: dict[str, int] = {}
    for topic_filter, reason_code in zip(filters, reason_codes, strict=False):
        codes[topic_filter] = max(reason_code, codes.get(topic_filter, 0))
    refused = [f"{name}: {describe_reason(code)}" for name, code in codes.items() if code >= 0x80]
    if refused:
        raise SubscribeError(f"the server refused {', '.join(refused)}", reason_codes=codes)
