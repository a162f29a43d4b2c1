"""What the asyncio client and the blocking one share: all that neither waits nor touches a socket.

A `ClientBase` owns the `Session`, which outlives every connection, and what belongs to it: messages that wait for a
place or for their turn, subscriptions to be restored, inboxes, answers to requests. It is told what happens (`_handle`
takes the session's events) and says what is to be done through a few methods that each client writes for itself.
Whatever waits here waits on a `Waiter`: an asyncio.Future for one client, a lock for the other.
"""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import (
    ConnectError,
    ConnectionLostError,
    EncodeError,
    IotwireError,
    RouteError,
)
from ..failover import Failover
from ..limits import AwsIotLimits, Pacer
from ..mqtt import (
    Auth,
    ConnAck,
    Connect,
    ConnectionEnded,
    Delivery,
    Disconnect,
    PacketType,
    Publish,
    ReasonCode,
    Request,
    ServerLimits,
    Session,
    Will,
    encode_publish,
)
from ..route import Attempt, Route
from ..transport.steps import StepTimeouts
from ..transport.tls import TlsContexts
from .attempts import Attempts
from .authentication import AuthenticationExchange, EnhancedAuthentication
from .backoff import Backoff
from .inbox import Distributor
from .options import LARGEST_PACKET, dead_link_timeout, in_range, positive, times_of_steps
from .outcomes import REASONS, describe_reason, make_refusal
from .stats import ClientStats, Traffic
from .subscriptions import Subscriptions
from .uplinks import Uplinks

if TYPE_CHECKING:
    from types import EllipsisType

    from ..outbox import Outbox
    from .stored import Feed

__all__ = ["DEFAULT_MAX_BYTES", "DEFAULT_MAX_MESSAGES", "ClientBase"]

_log = logging.getLogger("iotwire.client")

DEFAULT_MAX_MESSAGES = 1000
DEFAULT_MAX_BYTES = 8 * 1024 * 1024
# QoS 1 and 2 messages beyond the receive maximum that a server may send before it is disconnected with 0x93: more than
# one read can bring, for reading stops at the receive maximum. mosquitto 2.0.11, the one of Debian 12, exceeds it by a
# burst with each acknowledgement; and a 3.1.1 server knows of none.
UNACKNOWLEDGED_SLACK = 16_384
# Bytes of them beyond receive_maximum packets of the largest size: as many as such a burst of small messages is.
WITHHELD_SLACK_BYTES = 4 * 1024 * 1024
FLOODED = ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


class _Queued:
    """A message that waits on this side: for a connection, or for its turn at the service's pace."""

    __slots__ = ("arguments", "properties", "size", "waiter")

    def __init__(self, arguments: tuple[str, bytes, int, bool], properties: Any, size: int, waiter: Any) -> None:
        self.arguments = arguments
        self.properties = properties
        self.size = size
        self.waiter = waiter


_EMPTY_LINE: deque[_Queued] = deque()  # of a client that has had nothing to queue


class ClientBase(Attempts):
    """See `Client` and `BlockingClient`, whose keyword arguments these are.

    route: where to and with which credentials, from `Endpoint.route`, or a `Broker`; or several, as a `Failover`.
    client_id: "" lets the server choose; see `client_id` for what it chose.
    version: 5, or 4 for MQTT 3.1.1.
    keep_alive: seconds of silence after which PINGREQ is sent, 0 for never. A server's own value wins.
    clean_start: False continues the session that the server has kept, if any. Reconnects always do, where there can be
        one: for 3.1.1 with clean_start=False, for 5.0 with a session_expiry_interval.
    will: what the server publishes if this client vanishes.
    session_expiry_interval: seconds that an MQTT 5 server keeps the session, None for not at all.
    max_packet_size: bytes of the largest packet to accept. With receive_maximum it bounds the memory that a server
        can make this client use. AWS IoT sends 146 KiB at most.
    receive_maximum: QoS 1 and 2 messages that the server may have unacknowledged at once.
    topic_alias_maximum: topic aliases that an MQTT 5 server may use.
    max_topic_aliases: topics that this client gives an alias to, where an MQTT 5 server allows it; least recently used.
    max_in_flight: QoS 1 and 2 messages that this client has unacknowledged at once; a lower limit of the server wins.
    max_queued, max_queued_bytes: messages that have no final answer yet, or wait to leave. Beyond it `publish` waits,
        and `publish_nowait` raises OutboxFullError.
    user_properties: of the CONNECT packet.
    authentication: what is said in AUTH packets, MQTT 5 only.
    reconnect: when to connect again, see `Backoff`; None for never: then the client ends with its connection. Where the
        network of this machine changes while it waits (a link, an address, a default route), it waits no longer.
    wait_for_server: whether the first connection is tried again like the later ones; else its failure is raised.
    limits: what the service allows; `...` means the route's own, which is `AwsIotLimits()` for an `Endpoint` and None
        for a `Broker`. Of several routes the first one that has limits is meant.
    max_server_references: how often in a row the client goes where a server sends it, with "use another server" or
        "server moved" (MQTT 5.0, 4.13), 0 to 100. It goes to a `Broker` alone, with the same credentials, and the same
        settings of TLS, where the certificate is to be for the new name.
    connect_timeout_s: for the whole way from the name's resolution to the CONNACK.
    step_timeouts: for single steps of that way: DNS, TCP, proxy, TLS, WebSocket.
    ping_timeout_s: how long after PINGREQ a server may be wholly silent.
    dead_link_timeout_s: 1 to 3600, how long TCP waits for a sign of life before a link counts as dead, where the system
        has options for it. An idle link costs two packets without payload in each half of it. None leaves it to the
        system, which waits some 15 minutes.
    drain_timeout_s: how long `disconnect` waits for what is queued to be acknowledged.
    close_timeout_s: how long a close may take after that.
    outbox: where messages are kept on disk until their handshake is complete, whatever becomes of connections, of the
        session and of this process. `publish` then stores; that is when it returns. It implies wait_for_server, unless
        that is False. The client opens it and closes it, unless it is open already.

    Raises EncodeError for options that no CONNECT packet can carry.
    """

    __slots__ = (
        "_answers",
        "_clean_start",
        "_client_id",
        "_close_timeout_s",
        "_connack",
        "_connect_timeout_s",
        "_connection_waiters",
        "_connections",
        "_contexts",
        "_dead_link_timeout_s",
        "_distributor",
        "_drain_timeout_s",
        "_end_cause",
        "_end_code",
        "_end_message",
        "_ending",
        "_enhanced",
        "_is_direct",
        "_is_paused",
        "_keep_alive",
        "_line",
        "_line_bytes",
        "_max_in_flight",
        "_max_packet_size",
        "_max_pending",
        "_max_queued",
        "_max_queued_bytes",
        "_max_withheld_bytes",
        "_pacer",
        "_peak_line",
        "_pending_requests",
        "_receive_maximum",
        "_reconnects",
        "_room_waiters",
        "_session_expiry_interval",
        "_step_timeouts",
        "_subscriptions",
        "_tasks",
        "_topic_alias_maximum",
        "_user_properties",
        "_version",
        "_will",
    )

    def __init__(
        self,
        route: Route | Failover,
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
        max_topic_aliases: int = 16,
        max_in_flight: int = 100,
        max_queued: int = 10_000,
        max_queued_bytes: int = 8 * 1024 * 1024,
        user_properties: Sequence[tuple[str, str]] = (),
        authentication: EnhancedAuthentication | None = None,
        reconnect: Backoff | None = Backoff(),  # noqa: B008 -- a value, and frozen
        wait_for_server: bool | None = None,
        limits: AwsIotLimits | EllipsisType | None = ...,
        max_server_references: int = 3,
        connect_timeout_s: float = 30.0,
        step_timeouts: StepTimeouts | None = None,
        ping_timeout_s: float = 10.0,
        dead_link_timeout_s: float | None = 30.0,
        drain_timeout_s: float = 5.0,
        close_timeout_s: float = 2.0,
        outbox: Outbox | None = None,
    ) -> None:
        routes = route.routes if isinstance(route, Failover) else (route,)
        if any(getattr(each, "protocol", "mqtt") == "https" for each in routes):
            raise RouteError(
                f"{type(self).__name__} speaks MQTT, and this route HTTPS: HttpsPublisher and BlockingHttpsPublisher "
                'publish over it; to subscribe, make a route with protocol "mqtt"'
            )
        super().__init__(
            Uplinks(route, in_range("max_server_references", max_server_references, 0, 100)),
            reconnect,
            next((each.limits for each in routes if each.limits), None) if limits is ... else limits,
            wait_for_server=outbox is not None if wait_for_server is None else wait_for_server,
        )
        self._client_id = client_id
        self._version = version
        self._keep_alive = keep_alive
        self._clean_start = clean_start
        self._will = will
        self._session_expiry_interval = session_expiry_interval
        self._user_properties = tuple(user_properties)
        self._max_packet_size = in_range("max_packet_size", max_packet_size, 16, LARGEST_PACKET)
        self._receive_maximum = in_range("receive_maximum", receive_maximum, 1, 0xFFFF)
        self._topic_alias_maximum = in_range("topic_alias_maximum", topic_alias_maximum, 0, 0xFFFF)
        self._max_withheld_bytes = receive_maximum * max_packet_size + WITHHELD_SLACK_BYTES
        self._max_queued = in_range("max_queued", max_queued, 1, 1 << 31)
        self._max_queued_bytes = in_range("max_queued_bytes", max_queued_bytes, 1, 1 << 40)
        self._connect_timeout_s = positive("connect_timeout_s", connect_timeout_s)
        self._step_timeouts = times_of_steps(step_timeouts)
        self._dead_link_timeout_s = dead_link_timeout(dead_link_timeout_s)
        self._drain_timeout_s = positive("drain_timeout_s", drain_timeout_s, least=0)
        self._close_timeout_s = positive("close_timeout_s", close_timeout_s)
        max_in_flight = in_range("max_in_flight", max_in_flight, 1, 0xFFFF)
        if self._limits is not None:
            self._limits.check_client_id(client_id)
            self._keep_alive = self._limits.allowed_keep_alive(keep_alive)
            max_in_flight = min(max_in_flight, self._limits.max_in_flight or max_in_flight)
            self._receive_maximum = min(self._receive_maximum, self._limits.max_in_flight or self._receive_maximum)
            max_topic_aliases = min(max_topic_aliases, self._limits.max_topic_aliases or max_topic_aliases)
        self._max_in_flight = max_in_flight
        self._session = Session(
            version,
            max_in_flight=max_in_flight,
            max_waiting=max_queued,
            max_unacknowledged=self._receive_maximum + UNACKNOWLEDGED_SLACK,
            max_packet_size=max_packet_size,
            max_topic_aliases=max_topic_aliases,
            connect_timeout_s=connect_timeout_s,
            ping_timeout_s=positive("ping_timeout_s", ping_timeout_s),
            keeps_changes=outbox is not None and client_id != "",
        )
        self._distributor = Distributor(
            self._acknowledge, self._update_reading, DEFAULT_MAX_MESSAGES, DEFAULT_MAX_BYTES
        )
        self._enhanced = None if authentication is None else AuthenticationExchange(self._session, authentication)
        self._pacer = None if self._limits is None else Pacer(self._limits)
        self._line = _EMPTY_LINE
        self._line_bytes = 0
        self._subscriptions = Subscriptions(self._session, self._limits)
        self._pending_requests = 0
        self._answers: dict[bytes, Any] = {}
        self._room_waiters: list[Any] = []
        self._connection_waiters: list[Any] = []
        self._connack: ConnAck | None = None
        self._connections = 0
        self._reconnects = 0
        self._peak_line = 0
        self._is_direct = False  # whether a message may go to the session at once
        self._end_message = "not connected"
        self._end_code: int | None = None
        self._end_cause: BaseException | None = None
        self._contexts = TlsContexts()
        self._tasks: set[Any] = set()
        self._ending: IotwireError | None = None  # why the latest connection ended
        self._is_paused = False
        self._max_pending = max(1, min(max_queued, 4 * max_in_flight))  # of one publish_many
        self._feed = None if outbox is None else self._make_feed(outbox, min(2 * max_in_flight, max_queued))
        self._prepare()
        self._make_connect(None).encode(version)  # what is wrong with the options is known now, not when connecting

    def _make_feed(self, outbox: Outbox, most: int) -> Feed:
        from .stored import Feed  # SQLite is for who has an outbox

        return Feed(outbox, self, most, self._uplinks.server)

    def __repr__(self) -> str:
        state = "connected" if self.is_connected else "not connected"
        return f"<{type(self).__name__} {self.client_id!r} version={self._version} {state}>"

    # What each client does in its own way.

    @abstractmethod
    def _prepare(self) -> None:
        """Set what is the client's own."""

    @abstractmethod
    def _flush_soon(self) -> None:
        """The session has something to write."""

    @abstractmethod
    def _update_reading(self) -> None:
        """Stop or go on reading, as `_wants_pause` says."""

    @abstractmethod
    def _close_connection(self, error: IotwireError | None) -> None:
        """The session has ended the connection: write what it still has to say, and close. error: None if wanted."""

    # What is known.

    @property
    def is_connected(self) -> bool:
        """Whether the server has accepted this client and nothing has ended the connection since."""
        return self._session.is_connected

    @property
    def is_running(self) -> bool:
        """Whether it has been started and is not over: it is connected, or will be again by itself."""
        return self._is_running

    @property
    def connack(self) -> ConnAck:
        """The server's CONNACK of the latest connection. Raises ConnectionLostError before the first one."""
        if self._connack is None:
            raise ConnectionLostError("not connected")
        return self._connack

    @property
    def client_id(self) -> str:
        """The id of this client: the server's choice where it was left to the server."""
        return self._session.client_id or self._client_id

    @property
    def server_limits(self) -> ServerLimits:
        """What the server allows, from its CONNACK. Raises ConnectionLostError unless connected."""
        limits = self._session.limits
        if limits is None or not self._session.is_connected:
            raise self._make_lost_error()
        return limits

    @property
    def undelivered(self) -> list[Publish]:
        """The messages that have not come to their end: for QoS 1 and 2, those that no server is known to have.

        They stay with this client, and go out when it connects again. Those of an outbox are not among them.
        """
        messages = self._session.undelivered(lambda each: not self._is_on_disk(each.context))
        for queued in self._line:
            if self._is_on_disk(queued.waiter):
                continue
            topic, payload, qos, retain = queued.arguments
            messages.append(Publish(topic, payload, qos=qos, retain=retain, **queued.properties))
        return messages

    def stats(self) -> ClientStats:
        """Messages and bytes so far."""
        sent, sent_by_topic = self._session.sent
        received, received_by_topic = self._session.received
        nothing = (0, 0)
        self._count_route()
        return ClientStats(
            messages_sent=sent.get(PacketType.PUBLISH, nothing)[0],
            messages_received=received.get(PacketType.PUBLISH, nothing)[0],
            bytes_sent=sum(size for _, size in sent.values()),
            bytes_received=sum(size for _, size in received.values()),
            messages_dropped=self._distributor.dropped,
            messages_unclaimed=self._distributor.unclaimed,
            messages_queued=self._session.unfinished + len(self._line),
            peak_queued=max(self._session.peak_unfinished, self._peak_line),
            peak_unread=self._distributor.peak,
            connections=self._connections,
            reconnects=self._reconnects,
            sent={PacketType(kind): Traffic(*count) for kind, count in sent.items()},
            received={PacketType(kind): Traffic(*count) for kind, count in received.items()},
            sent_by_topic={level: Traffic(*count) for level, count in sent_by_topic.items()},
            received_by_topic={level: Traffic(*count) for level, count in received_by_topic.items()},
            routes=self._uplinks.stats(),
            outbox=None if self._feed is None else self._feed.outbox.stats(),
        )

    # Connections.

    def _make_connect(self, attempt: Attempt | None) -> Connect:
        is_mqtt5 = self._version == 5
        if attempt is not None:
            self._asked_at = self._now()
        enhanced = self._enhanced
        clean_start = self._clean_start
        client_id = self._client_id
        if self._session_server not in (None, self._uplinks.server):
            # What that server may remember of this client is of an earlier session: a new message under a packet id of
            # then would be taken for one that it has.
            clean_start = True
        elif self._has_connected:
            client_id = self.client_id  # the session stands under what was assigned
            if is_mqtt5 and self._session_expiry_interval:
                clean_start = False  # go on with the session of the connection before
        return Connect(  # what is the standard's default goes without a property
            client_id,
            clean_start=clean_start,
            keep_alive=self._keep_alive,
            username=attempt.username if attempt else None,
            password=attempt.password if attempt else None,
            will=self._will,
            session_expiry_interval=self._session_expiry_interval,
            receive_maximum=self._receive_maximum if is_mqtt5 and self._receive_maximum < 0xFFFF else None,
            maximum_packet_size=self._max_packet_size if is_mqtt5 and self._max_packet_size < LARGEST_PACKET else None,
            topic_alias_maximum=self._topic_alias_maximum or None if is_mqtt5 else None,
            authentication_method=enhanced.method if enhanced else None,
            authentication_data=enhanced.begin() if enhanced and attempt else None,
            user_properties=self._user_properties,
        )

    def _begin(self) -> None:
        """The client starts: from here on calls wait for a connection instead of failing for want of one."""
        self._is_running = True
        self._is_closing = self._is_renewing = False
        self._has_connected = False
        self._distributor.begin()
        self._lacks_link = False
        self._uplinks.begin()
        self._listen()
        if self._feed is not None:
            self._feed.begin()

    def _end(self, error: IotwireError | None) -> None:
        """The client is over, and everything that waits fails. None: this side wanted it."""
        if error is None:
            self._note(logging.INFO, "closed")
        else:  # `connect` raises what keeps a client from its first connection: no need to alarm twice
            was_started = self._has_connected or self._wait_for_server
            self._note(logging.ERROR if was_started else logging.INFO, "gave_up", error)
        self._is_running = self._is_direct = False
        self._listen(wants=False)
        self._stop_probing()
        self._end_message = "this client closed the connection" if error is None else str(error)
        self._end_code = getattr(error, "reason_code", None) if isinstance(error, ConnectionLostError) else None
        self._end_cause = None if error is None else error.__cause__
        for delivery in self._session.deliveries():
            waiter = delivery.context
            if waiter is None or self._is_on_disk(waiter):
                continue
            delivery.context = None
            if not waiter.done():
                waiter.set_exception(self._make_lost_error())
        for queued in self._line:
            waiter = queued.waiter
            if waiter is None or self._is_on_disk(waiter):
                continue
            queued.waiter = None
            if not waiter.done():
                waiter.set_exception(self._make_lost_error())
        waiters = [*self._room_waiters, *self._connection_waiters, *self._answers.values()]
        if self._enhanced is not None and self._enhanced.waiter is not None:
            waiters.append(self._enhanced.waiter)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(self._make_lost_error())
        self._room_waiters.clear()
        self._connection_waiters.clear()
        self._answers.clear()
        self._distributor.end(None if error is None else self._make_lost_error)
        self._tell_drained()  # nothing more is acknowledged

    def _is_on_disk(self, waiter: Any) -> bool:
        """Whether the message that this waits for is in the outbox: then it outlives the client."""
        return self._feed is not None and self._feed.holds(waiter)

    @property
    def _is_drained(self) -> bool:
        """Whether there is nothing that a close would have to wait for."""
        return not (self._session.unfinished or self._line or (self._feed is not None and self._feed.is_keeping))

    def _look_whether_drained(self) -> None:
        if self._is_closing and self._is_drained:
            self._tell_drained()

    def _tell_drained(self) -> None:
        """There is nothing, or no use, to wait for any more."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _make_lost_error(self) -> ConnectionLostError:
        """An error of its own for everyone who waits: a shared one would grow a traceback with each `raise`."""
        if self._is_closing and self._is_running:
            return ConnectionLostError("this client is closing")
        error = ConnectionLostError(self._end_message, reason_code=self._end_code)
        error.__cause__ = self._end_cause
        return error

    def _must_run(self) -> None:
        if not self._is_running or self._is_closing:
            raise self._make_lost_error()

    def _on_connack(self, connack: ConnAck) -> None:
        self._connack = connack
        self._opened_at = self._now()
        self._connections += 1
        if self._has_connected:
            self._reconnects += 1
        self._has_connected = True
        self._note(logging.INFO, "connected")
        self._settle_on_route()
        if self._pacer is not None and (again := self._session.unfinished):
            for _ in range(again):  # they have left already
                self._pacer.spend(self._session.unfinished_bytes // again, self._now())
        if connack.session_present:
            self._distributor.forget_resent()
        else:
            self._subscriptions.restore()
        self._session.send_waiting()
        if self._feed is not None:
            self._feed.ask()
        waiting, self._connection_waiters = self._connection_waiters, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._pump()

    def _on_lost(self) -> None:
        """The connection is over; the client may not be."""
        self._is_direct = False
        self._distributor.forget_manual()
        self._leave_route()

    # What the session tells.

    def _handle(self, events: list[Any], own_error: IotwireError | None = None) -> None:
        """own_error: why this side has ended the connection."""
        distributor = self._distributor
        distributor.batch += 1
        is_flooded = False
        distrust: IotwireError | None = None
        for event in events:
            kind = type(event)
            if kind is Publish:
                if distrust is not None:
                    continue  # neither taken nor acknowledged
                if self._pacer is not None:
                    self._pacer.spend(len(event.payload), self._now())
                if self._answers and event.correlation_data in self._answers:
                    self._answer(event)
                elif distributor.withheld_bytes > self._max_withheld_bytes and event.qos == 1:
                    is_flooded = True  # neither kept nor acknowledged: an honest server sends it again
                else:
                    distributor.deliver(event)
                self._made_progress = True
            elif kind is Delivery:
                waiter, code = event.context, event.reason_code
                if waiter is not None and code < 0x80 and not waiter.done():
                    waiter.set_result(REASONS[code])
                else:
                    self._settle(event, waiter)
                self._made_progress = True
            elif kind is Request:
                waiter = event.context
                if waiter is not None and not waiter.done():
                    waiter.set_result(event.answer)
            elif kind is ConnAck:
                if event.reason_code != 0:
                    self._uplinks.note_reference(event.reason_code, event.server_reference)
                else:
                    distrust = None if self._enhanced is None else self._enhanced.handle(event)
                    if distrust is None:
                        self._on_connack(event)
            elif kind is Auth:
                assert self._enhanced is not None  # the session lets none through otherwise
                distrust = distrust or self._enhanced.handle(event)
            elif kind is Disconnect:
                self._uplinks.note_reference(event.reason_code, event.server_reference)
            elif kind is ConnectionEnded:
                if isinstance(event.error, ConnectError) and event.error.step is None:
                    event.error.step = "mqtt"
                self._on_lost()
                self._close_connection(event.error or own_error)
        if self._line and (self._pacer is not None or self._uplinks.is_metered):
            self._pump()  # one may have waited for the place of another
        if self._room_waiters:
            self._give_room()
        if self._feed is not None:
            self._feed.keep_changes()
            self._feed.ask()
        if is_flooded and self._session.is_connected:
            error = ConnectionLostError("the server has sent more unacknowledged bytes than this client allows")
            self._session.disconnect(Disconnect(FLOODED) if self._version == 5 else Disconnect())
            self._handle(self._session.take_events(), error)
        elif distrust is not None:
            self._session.disconnect(Disconnect(ReasonCode.UNSPECIFIED_ERROR))
            self._handle(self._session.take_events(), distrust)
        self._update_reading()
        if self._uplinks.is_metered:
            self._affords(1)
        if self._session.output_bytes:
            self._flush_soon()
        self._look_whether_drained()

    def _settle(self, delivery: Delivery, waiter: Any) -> None:
        """A message that was refused, or that nobody waits for any more."""
        code = delivery.reason_code
        assert code is not None
        if code < 0x80:
            return
        if waiter is None or waiter.done():
            _log.warning("a message on %s failed: %s", delivery.topic, describe_reason(ReasonCode(code)))
        else:
            waiter.set_exception(delivery.error or make_refusal(code))

    def _acknowledge(self, message: Publish) -> None:
        self._session.acknowledge(message)
        if self._feed is not None:
            self._feed.keep_changes()
        if self._is_paused:
            self._update_reading()
        self._flush_soon()

    @property
    def _wants_pause(self) -> bool:
        """Whether to stop reading. Never while a call waits for an answer, or for CONNACK, behind what is not read."""
        if not self._session.is_connected:
            return False
        if self._session.unfinished or self._pending_requests or self._answers:
            return False
        if self._enhanced is not None and self._enhanced.waiter is not None:
            return False
        return self._distributor.wants_pause or self._session.unacknowledged > self._receive_maximum

    # Messages to the server.

    def _has_room(self) -> bool:
        session = self._session
        return (
            session.unfinished + len(self._line) < self._max_queued
            and session.unfinished_bytes + self._line_bytes < self._max_queued_bytes
        )

    def _give_room(self) -> None:
        places = self._max_queued - self._session.unfinished - len(self._line)
        while self._room_waiters and places > 0 and self._has_room():
            waiter = self._room_waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)
                places -= 1

    def _submit(self, topic: str, payload: Any, qos: int, retain: bool, properties: Any, waiter: Any) -> None:
        """Send a message, now or in its turn, and tell `waiter` of its end. There is room for it."""
        is_kept = False
        try:
            self._take(topic, payload, qos, retain, properties, waiter)
            is_kept = qos > 0
        finally:
            if not is_kept and self._room_waiters:  # it took no place, and no answer will come to give that to the next
                self._give_room()

    def _check(self, topic: str, payload: Any, qos: int, properties: Any) -> None:
        """Raise EncodeError for what no client may send, or what the service does not take."""
        if "subscription_identifiers" in properties:
            raise EncodeError("is not for a client to send", field="subscription_identifiers", clause="MQTT-3.3.4-6")
        if self._limits is not None:
            self._limits.check_publish(topic, _size_of(payload), qos, properties)

    def _take(self, topic: str, payload: Any, qos: int, retain: bool, properties: Any, waiter: Any) -> None:
        self._check(topic, payload, qos, properties)
        if not self._line and self._may_leave(qos) and not self._uplinks.is_metered:
            self._send(topic, payload, qos, retain, properties, waiter)
            return
        # Whatever is wrong with it is said now, and the caller may reuse its buffer.
        size = len(encode_publish(topic, payload, qos, retain, 1 if qos else None, False, self._version, **properties))
        if self._uplinks.is_metered and size > self._uplinks.largest_message:
            raise EncodeError(f"a message of {size} bytes is more than any route's budget allows", field="payload")
        if self._line is _EMPTY_LINE:
            self._line = deque()
        self._line.append(_Queued((topic, bytes(payload), qos, retain), properties, size, waiter))
        self._line_bytes += size
        self._peak_line = max(self._peak_line, len(self._line) + self._session.unfinished)
        self._is_direct = False
        self._pump()

    def _send(self, topic: str, payload: Any, qos: int, retain: bool, properties: Any, waiter: Any) -> None:
        delivery = self._session.publish(topic, payload, qos, retain, **properties)
        if self._pacer is not None:
            self._pacer.spend(_size_of(payload), self._now())
        if delivery is not None:
            delivery.context = waiter
        elif waiter is not None and not waiter.done():
            waiter.set_result(ReasonCode.SUCCESS)
        if self._feed is not None:
            self._feed.keep_changes()
        self._flush_soon()

    def _may_leave(self, qos: int) -> bool:
        """Whether a message may go to the session now. Without a pacer the session itself keeps QoS 1 and 2."""
        if self._pacer is None and not self._uplinks.is_metered:
            return qos != 0 or self._session.is_connected
        session = self._session
        if not session.is_connected or (self._pacer is not None and self._pacer.wait_s(self._now()) > 0):
            return False
        # One that waited within the session would leave when an acknowledgement comes, whatever the pace.
        assert session.limits is not None
        return qos == 0 or session.unfinished < min(self._max_in_flight, session.limits.receive_maximum)

    def _pump(self) -> None:
        """Send what waits in line, as far as it may leave."""
        while self._line and self._may_leave(self._line[0].arguments[2]) and self._affords(self._line[0].size):
            queued = self._line.popleft()
            self._line_bytes -= queued.size
            try:
                self._send(*queued.arguments, queued.properties, queued.waiter)
            except IotwireError as error:  # CONNACK rules it out
                if queued.waiter is None or queued.waiter.done():
                    _log.warning("a message on %s failed: %s", queued.arguments[0], error)
                else:
                    queued.waiter.set_exception(error)
        if self._line:
            if self._pacer is not None and self._session.is_connected:
                wait_s = self._pacer.wait_s(self._now())
                if wait_s > 0:  # else it waits for an acknowledgement
                    self._call_pump_in(wait_s)
        else:
            self._is_direct = (
                self._limits is None
                and self._feed is None
                and not self._uplinks.is_metered
                and self._session.is_connected
                and not self._is_closing
            )
            self._look_whether_drained()
        if self._room_waiters:
            self._give_room()

    def _withdraw(self, waiter: Any) -> None:
        """The call for a message was cancelled: if it was not sent yet, it is not to be sent."""
        for queued in self._line:
            if queued.waiter is waiter:
                self._line.remove(queued)
                self._line_bytes -= queued.size
                break
        else:
            for delivery in self._session.deliveries():
                if delivery.context is waiter:
                    self._session.withdraw(delivery)
        self._give_room()

    # Enhanced authentication.

    def _must_authenticate(self) -> AuthenticationExchange:
        """Raise unless `reauthenticate` may be called now."""
        self._must_run()
        if self._enhanced is None:
            raise EncodeError("is needed to authenticate again", field="authentication", clause="MQTT-4.12.0-7")
        if self._enhanced.waiter is not None:
            raise IotwireError("this client is authenticating again already")
        return self._enhanced

    # Requests over response topics.

    def _make_correlation(self) -> bytes:
        if self._version != 5:
            raise EncodeError("a request needs MQTT 5.0", field="version")
        return os.urandom(16)

    def _answer(self, message: Publish) -> None:
        waiter = self._answers.pop(message.correlation_data or b"")
        if message.packet_id is not None:
            self._acknowledge(message)
        if not waiter.done():
            waiter.set_result(message)

    def _make_response_topic(self) -> str:
        """Where answers come: under what the server suggests in CONNACK, else under "responses"."""
        suggested = None if self._connack is None else self._connack.response_information
        return f"{suggested or 'responses'}/{self.client_id}"


def _size_of(payload: Any) -> int:
    """Bytes of a payload; what has none is for the encoder to refuse."""
    try:
        return payload.nbytes if isinstance(payload, memoryview) else len(payload)
    except TypeError:
        return 0
