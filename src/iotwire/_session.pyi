"""The client side of MQTT as a state machine: commands and bytes in, events and bytes out."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, final

from typing_extensions import Buffer

from iotwire._mqtt import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from iotwire.errors import IotwireError, PublishError

@final
class Delivery:
    """A message of QoS 1 or 2 on its way. The session gives it as an event when it came to its end."""

    @property
    def topic(self) -> str: ...
    @property
    def qos(self) -> int: ...
    @property
    def packet_id(self) -> int | None:
        """1 to 65535; None while the message waits for its turn."""

    @property
    def is_done(self) -> bool:
        """Whether it came to its end."""

    @property
    def reason_code(self) -> int | None:
        """Of the PUBACK, PUBREC or PUBCOMP that ended it, or of `error`; None until then. From 0x80 on a refusal."""

    @property
    def error(self) -> PublishError | None:
        """Why it never left: CONNACK ruled out what had been accepted before it."""

    @property
    def may_be_duplicate(self) -> bool:
        """Whether the server may have it twice: it lost the session, or may have, and the message was sent anew."""
    context: Any
    """The caller's own."""

@final
class Request:
    """A SUBSCRIBE or UNSUBSCRIBE. The session gives it as an event when its answer came, or the connection ended."""

    @property
    def packet(self) -> Subscribe | Unsubscribe: ...
    @property
    def answer(self) -> SubAck | UnsubAck | None:
        """None until it came, and for ever where the connection ended first."""
    context: Any
    """The caller's own."""

@final
class ConnectionEnded:
    """The connection is over: write what `take_output` still gives, then close."""

    @property
    def error(self) -> IotwireError | None:
        """ConnectError before CONNACK, ConnectionLostError or a WireError after it; None where this side ended it."""

@final
class ServerLimits:
    """What the server's CONNACK allows (MQTT 5.0, 3.2.2.3). A 3.1.1 server names no limits."""

    @property
    def receive_maximum(self) -> int: ...
    @property
    def maximum_qos(self) -> int: ...
    @property
    def retain_available(self) -> bool: ...
    @property
    def maximum_packet_size(self) -> int | None: ...
    @property
    def topic_alias_maximum(self) -> int: ...
    @property
    def keep_alive(self) -> int:
        """Seconds: the server's where it named one, else CONNECT's."""

    @property
    def wildcard_subscription_available(self) -> bool: ...
    @property
    def subscription_identifier_available(self) -> bool: ...
    @property
    def shared_subscription_available(self) -> bool: ...

_Counts: TypeAlias = tuple[dict[int, tuple[int, int]], dict[str | None, tuple[int, int]]]
_Event: TypeAlias = ConnAck | Publish | Auth | Disconnect | Delivery | Request | ConnectionEnded

@final
class Session:
    """The client side of MQTT, without a socket and without a clock.

    version: 5, or 4 for 3.1.1. max_in_flight: QoS 1 and 2 messages sent and not acknowledged, 1 to 65535; a lower
    receive maximum of the server wins. max_waiting: messages that wait for a place among those. max_unacknowledged:
    messages of the server's that may go without an acknowledgement before the connection is ended with 0x93; None for
    twice the receive maximum of CONNECT. max_packet_size: bytes of the largest packet to take, which 3.1.1 cannot tell
    the server; a lower one of CONNECT wins. max_topic_aliases: how many topics this side gives an alias to, where the
    server allows it. Times are in seconds, on any clock that does not go back, the same for every call.

    A session outlives its connections: `connect` begins one, and what was not acknowledged goes out again, in order,
    when `take_output` is asked after the CONNACK, or with `send_waiting`. SUBSCRIBEs made until then go first.

    Threads may share one: each call is whole before the next begins. What `take_output` gives has to be written in the
    order of those calls, so writing is one thread's work, or under a lock of the caller's.
    """

    def __new__(
        cls,
        version: int = 5,
        *,
        max_in_flight: int = 65535,
        max_waiting: int = 65535,
        max_unacknowledged: int | None = None,
        max_packet_size: int = ...,
        max_topic_aliases: int = 16,
        connect_timeout_s: float = 30.0,
        ping_timeout_s: float = 10.0,
        payload: Literal["bytes", "view"] = "bytes",
        keeps_changes: bool = False,
    ) -> Session: ...
    is_reading: bool
    """To be False while the caller does not read: then silence is not the server's fault."""

    @property
    def version(self) -> int: ...
    @property
    def limits(self) -> ServerLimits | None:
        """Of the latest CONNACK; None from `connect` until it came."""

    @property
    def is_connected(self) -> bool:
        """Whether CONNACK has come and nothing has ended the connection since."""

    @property
    def client_id(self) -> str | None:
        """The server's choice where it was left to the server; None before `connect`."""

    @property
    def in_flight_now(self) -> int:
        """How many messages of QoS 1 and 2 are with the server, unacknowledged."""

    @property
    def unfinished(self) -> int:
        """How many messages of QoS 1 and 2 have no final answer yet, sent or not."""

    @property
    def unfinished_bytes(self) -> int:
        """Bytes of the PUBLISH packets that are kept for those."""

    @property
    def peak_unfinished(self) -> int:
        """The most that `unfinished` ever was."""

    @property
    def output_bytes(self) -> int:
        """Bytes that `take_output` would give, without what `send_waiting` adds to them."""

    @property
    def output_packets(self) -> int:
        """Packets that `take_output` would give."""

    @property
    def sent(self) -> _Counts:
        """What went out since the session was made: (packets, bytes) by packet type, and by the first level of topics.

        Bytes are those of MQTT packets, without what TLS and TCP add. A packet counts when it is ready to be written.
        The first 64 levels are told apart; under None stands all that came after them.
        """

    @property
    def received(self) -> _Counts:
        """What came in, likewise."""

    def deliveries(self) -> list[Delivery]:
        """The messages of QoS 1 and 2 that have no final answer yet, in order."""

    def undelivered(self, is_wanted: Callable[[Delivery], bool] | None = None) -> list[Publish]:
        """Copies, without packet ids, of the messages of QoS 1 and 2 that no server is known to have, in order.

        is_wanted: asked about each; None for all of them.
        """

    @property
    def unacknowledged(self) -> int:
        """How many messages of QoS 1 and 2 the application has not acknowledged."""

    def connect(self, connect: Connect, now: float) -> None:
        """Begin a connection with this CONNECT. The transport is open, or will be before `take_output` is asked.

        Raises IotwireError where there is one already, EncodeError for what this version cannot carry.
        """

    def disconnect(self, disconnect: Disconnect | None = None) -> None:
        """End the connection with a DISCONNECT: write what `take_output` gives, then close."""

    def connection_lost(self, reason: str = "") -> None:
        """The transport is closed. What was not acknowledged waits for the next connection."""

    def send_waiting(self) -> None:
        """Send what has waited for this connection, as far as the server takes it. `take_output` does it, too."""

    def take_output(self, now: float, max_bytes: int = ...) -> list[bytes]:
        """What is to be written, as a list of bytes objects; it is the caller's from here on.

        max_bytes: the packet that reaches it is the last one; the rest is for the next call.
        """

    @property
    def has_changes(self) -> bool:
        """Whether `take_changes` would give any."""

    def take_changes(self) -> list[tuple[str, Any]]:
        """With `keeps_changes`: what is to be stored before more may leave, in order; then call `changes_kept`.

        For QoS 2 to stay exactly once over the end of the process. ("sent", Delivery): it has its packet id now.
        ("released", Delivery): its PUBREC has come. ("received", packet id): the application has a message safe.
        ("completed", packet id): its PUBREL has come. ("begun", None): the server has no session, and nothing that was
        stored before counts any more. Not to be called again before `changes_kept`.
        """

    def changes_kept(self) -> None:
        """What `take_changes` gave is stored, or will not be: `take_output` gives what has waited for that."""

    def restore(
        self,
        packet_id: int,
        topic: str,
        payload: Buffer = b"",
        retain: bool = False,
        *,
        is_released: bool = False,
        **properties: Any,
    ) -> Delivery:
        """Before the first `connect`: a message of QoS 2 that another process has sent under this packet id.

        To be called in the order in which they were sent. is_released: its PUBREC has come. properties: as of
        `publish`. Raises IotwireError later than that, EncodeError for a packet id that is restored already.
        """

    def restore_received(self, packet_id: int) -> None:
        """Before the first `connect`: a QoS 2 message that another process has taken, and its PUBREL has not come."""

    def receive(self, data: Buffer, now: float) -> list[_Event]:
        """Take bytes from the server. The events up to now, in order.

        What the server does wrong is no exception but a ConnectionEnded with a WireError; DISCONNECT says so to it.
        """

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """As `Decoder.get_buffer`."""

    def buffer_updated(self, nbytes: int, now: float) -> list[_Event]:
        """As `receive`, for bytes that were written to what `get_buffer` gave."""

    def take_events(self) -> list[_Event]:
        """The events that no other call has given yet: those of commands."""

    def authenticate(self, auth: Auth) -> None:
        """Send an AUTH: the answer to the server's, or 0x19 to authenticate again (MQTT 5.0, 4.12).

        Raises ConnectionLostError; EncodeError for another method than CONNECT's, and for other reason codes.
        """

    def publish(
        self,
        topic: str,
        payload: Buffer = b"",
        qos: int = 0,
        retain: bool = False,
        *,
        payload_format_indicator: int | None = None,
        message_expiry_interval: int | None = None,
        response_topic: str | None = None,
        correlation_data: Buffer | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
        content_type: str | None = None,
    ) -> Delivery | None:
        """Send a message. QoS 0: None. Else its `Delivery`, which is sent now or as soon as there is a place for it.

        QoS 0 needs a connection; the others wait for one. Raises PublishError for what the server does not allow,
        OutboxFullError where too many wait, ConnectionLostError, EncodeError.
        """

    def publish_within(self, max_bytes: int, topic: str, payload: Any, qos: int = 0, retain: bool = False) -> bool:
        """`publish` of QoS 0 without properties. False, and nothing is sent, where so many bytes wait to be written."""

    def publish_pairs(self, items: list[Any], start: int = 0, retain: bool = False, max_bytes: int = 65536) -> int:
        """Send messages of QoS 0, (topic, payload) tuples in `items[start:]`, as `publish` does; faster.

        Stops at what is no such tuple, when `max_bytes` are to be written, and before what raises unless that is the
        first. The result is the index of the first item that was not sent.
        """

    def withdraw(self, delivery: Delivery) -> bool:
        """Take back a message that has not been sent. False where it is too late for that."""

    def acknowledge(self, message: Publish, reason_code: int = 0) -> None:
        """The application has a QoS 1 or 2 message safe. What may leave, leaves, in the order of arrival (4.6).

        reason_code: of the PUBACK or PUBREC, in 5.0. After the connection that a message came by, only QoS 2 remembers.
        """

    def subscribe(
        self,
        subscriptions: Sequence[Subscription],
        *,
        subscription_identifier: int | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> Request:
        """Send a SUBSCRIBE. Its `Request` is an event once SUBACK came, or the connection ended.

        Raises SubscribeError for what CONNACK ruled out, with the reason code of each filter; ConnectionLostError.
        """

    def unsubscribe(self, topic_filters: Sequence[str], *, user_properties: Sequence[tuple[str, str]] = ()) -> Request:
        """Send an UNSUBSCRIBE. Its `Request` is an event once UNSUBACK came, or the connection ended."""

    @property
    def deadline(self) -> float | None:
        """When `tick` has to be called at the latest, on the caller's clock; None for never. Any call may change it."""

    def tick(self, now: float) -> list[_Event]:
        """Let time have passed: PINGREQ, or the end of a connection that is silent. The events up to now, in order."""
