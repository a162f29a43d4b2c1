# cython: language_level=3, boundscheck=False, wraparound=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""The client side of MQTT 3.1.1 and 5.0 as a state machine: commands and bytes in, events and bytes out.

Here are packet identifiers, acknowledgements and their order, both receive maximums, what the server's CONNACK allows, topic
aliases, keep alive, and what is sent again after a reconnect. Not here: sockets, clocks (every call that may need the time is
told it), threads, queues for the application, and when to connect again.

An event is a packet that the application has to see (CONNACK, PUBLISH, AUTH, DISCONNECT), a `Delivery` or a `Request` that
came to its end, or a `ConnectionEnded`. Numbers in brackets are clauses of MQTT 5.0.
"""

from collections import deque

cimport cython
from libc.stdint cimport uint8_t, uint64_t

from iotwire._arguments cimport as_int, as_version
from iotwire._capi cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from iotwire._decoder cimport Decoder
from iotwire._emit cimport put_u16
from iotwire._faults cimport cannot_encode
from iotwire._frame cimport (
    AUTH, CONNACK, CONNECT, DISCONNECT, MAX_PACKET_SIZE, MQTT_5, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK,
)
from iotwire._mqtt cimport (
    Auth, ConnAck, Connect, Disconnect, Packet, PingReq, PubAck, PubComp, Publish, PubRec, PubRel, SubAck,
    Subscribe, SubscriptionAcknowledgement, UnsubAck, Unsubscribe,
)
from iotwire._outgoing cimport ALIAS_BYTES, as_duplicate, by_alias, copy_of, parts_of, with_alias
from iotwire._properties cimport COMES_AGAIN, TOPIC_ALIAS, has, without_property
from iotwire._publish cimport QOS
from iotwire._text cimport TOPIC_NAME, as_text

from iotwire._mqtt import decode
from iotwire._publish import encode_publish
from iotwire.errors import (
    ConnectError, ConnectionLostError, EncodeError, IotwireError, OutboxFullError, ProtocolViolationError, PublishError,
    SubscribeError, WireError,
)

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef enum State:
    OFFLINE     # no connection, or none any more
    CONNECTING  # CONNECT is out, CONNACK is not in
    ONLINE

cdef enum Stage:  # of a Delivery
    WAITING   # for a place among those in flight; it has no packet identifier
    SENT      # PUBLISH is out
    RELEASED  # QoS 2: PUBREC is in, PUBREL is out [4.3.3]
    DONE

cdef enum Code:  # the reason codes that the session gives by itself
    SUCCESS = 0x00
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    PROTOCOL_ERROR = 0x82
    KEEP_ALIVE_TIMEOUT = 0x8D
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2

cdef enum:
    LAST_PACKET_ID = 65535
    COUNTED_LEVELS = 64  # first levels of topics that are counted one by one, in each direction
    KNOWN_TOPICS = 256   # topics whose first level need not be looked for

# PINGREQ has to leave within the keep alive [3.1.2.10], and takes a while to arrive.
cdef double PING_AFTER = 0.9


@cython.final
cdef class Delivery:
    """A message of QoS 1 or 2 on its way. The session gives it as an event when it came to its end.

    `reason_code` is None until then. `context` is the caller's own.
    """

    cdef readonly str topic
    cdef readonly int qos
    cdef readonly object reason_code
    cdef readonly object error  # why it was refused on this side, or None
    cdef readonly bint may_be_duplicate  # a lost session: the server may have had it already
    cdef public object context
    cdef Stage stage
    cdef bint retain
    cdef int reason_code_of_pubrec
    cdef int packet_id_
    cdef bytes wire  # the PUBLISH with its topic spelt out; of no use once it is released
    cdef Py_ssize_t id_at  # where in it the packet identifier stands

    @property
    def packet_id(self):
        """1 to 65535; None while the message waits for its turn."""
        return self.packet_id_ or None

    @property
    def is_done(self):
        return self.stage == DONE

    def __repr__(self):
        stage = ("waiting", "sent", "released", "done")[<int> self.stage]
        return f"<Delivery {self.topic!r} qos={self.qos} packet_id={self.packet_id} {stage}>"


@cython.final
cdef class Request:
    """A SUBSCRIBE or UNSUBSCRIBE that waits for its answer. The session gives it as an event when it came to its end.

    `answer` is the SUBACK or UNSUBACK, None where the connection ended first. `context` is the caller's own.
    """

    cdef readonly Packet packet
    cdef readonly Packet answer
    cdef public object context

    def __repr__(self):
        return f"<Request {self.packet!r}>"


@cython.final
cdef class ConnectionEnded:
    """The connection is over: `error` says why, None where this side disconnected. Write what is left, then close."""

    cdef readonly object error

    def __repr__(self):
        return f"<ConnectionEnded {self.error!r}>"


@cython.final
cdef class ServerLimits:
    """What the server's CONNACK allows [3.2.2.3]. A 3.1.1 server names no limits."""

    cdef readonly int receive_maximum
    cdef readonly int maximum_qos
    cdef readonly bint retain_available
    cdef readonly object maximum_packet_size  # None where there is none
    cdef readonly int topic_alias_maximum
    cdef readonly int keep_alive
    cdef readonly bint wildcard_subscription_available
    cdef readonly bint subscription_identifier_available
    cdef readonly bint shared_subscription_available


cdef ServerLimits limits_of(ConnAck connack, int keep_alive):
    cdef ServerLimits limits = ServerLimits.__new__(ServerLimits)
    limits.receive_maximum = stated(connack.receive_maximum, 65535)
    limits.maximum_qos = stated(connack.maximum_qos, 2)
    limits.retain_available = stated(connack.retain_available, True)
    limits.maximum_packet_size = connack.maximum_packet_size
    limits.topic_alias_maximum = stated(connack.topic_alias_maximum, 0)
    limits.keep_alive = stated(connack.server_keep_alive, keep_alive)
    limits.wildcard_subscription_available = stated(connack.wildcard_subscription_available, True)
    limits.subscription_identifier_available = stated(connack.subscription_identifier_available, True)
    limits.shared_subscription_available = stated(connack.shared_subscription_available, True)
    return limits


cdef inline object stated(object value, object default):
    return default if value is None else value


@cython.final
cdef class Aliases:
    """The topic aliases that this side has given out on a connection: the least recently used one is given anew."""

    cdef int maximum
    cdef dict by_topic  # in the order of their last use
    cdef str latest     # the topic used last, and its alias
    cdef int latest_alias

    def __cinit__(self, int maximum):
        self.maximum = maximum
        self.by_topic = {}

    cdef int alias_of(self, str topic) except -1:
        """The alias of a topic that has one; 0 for none."""
        if topic is self.latest:
            return self.latest_alias
        alias = self.by_topic.pop(topic, None)
        if alias is None:
            return 0
        self.by_topic[topic] = alias
        self.latest = topic
        self.latest_alias = alias
        return alias

    cdef bytes shorten(self, bytes wire, str topic):
        """A PUBLISH as short as an alias makes it; the next one on this topic will be."""
        cdef dict by_topic = self.by_topic
        cdef int known = self.alias_of(topic)
        if known:
            return with_alias(wire, known, False)
        if len(topic) <= ALIAS_BYTES:
            return wire
        self.latest = None
        if len(by_topic) < self.maximum:
            alias = len(by_topic) + 1
        else:
            oldest = next(iter(by_topic))
            alias = by_topic.pop(oldest)
        by_topic[topic] = alias
        return with_alias(wire, alias, True)


# ---- what went over the wire

cdef struct Count:
    uint64_t packets
    uint64_t bytes


@cython.final
cdef class LevelCount:
    """Messages whose topics share their first level."""

    cdef Count count


@cython.final
cdef class Traffic:
    """Whole packets of one direction, by packet type and, those that are messages, by the first level of their topic."""

    cdef Count by_type[16]
    cdef dict by_level  # None: what came after COUNTED_LEVELS others
    cdef dict by_topic  # topics seen lately -> the count of their level
    cdef str last_topic
    cdef LevelCount last

    def __cinit__(self):
        self.by_level = {}
        self.by_topic = {}

    cdef int add(self, int kind, Py_ssize_t size) noexcept:
        self.by_type[kind].packets += 1
        self.by_type[kind].bytes += size
        return 0

    cdef int add_message(self, str topic, Py_ssize_t size) except -1:
        if topic is not self.last_topic:
            self.last = self.count_of(topic)
            self.last_topic = topic
        self.last.count.packets += 1
        self.last.count.bytes += size
        return 0

    cdef LevelCount count_of(self, str topic):
        cdef LevelCount found = self.by_topic.get(topic)
        if found is not None:
            return found
        level = topic.partition("/")[0]
        if level not in self.by_level and len(self.by_level) >= COUNTED_LEVELS:
            level = None
        found = self.by_level.get(level)
        if found is None:
            found = self.by_level[level] = LevelCount.__new__(LevelCount)
        if len(self.by_topic) >= KNOWN_TOPICS:
            self.by_topic.clear()
        self.by_topic[topic] = found
        return found

    cdef tuple values(self):
        cdef LevelCount each
        cdef dict levels = {}
        for level, each in self.by_level.items():
            levels[level] = (each.count.packets, each.count.bytes)
        types = {
            kind: (self.by_type[kind].packets, self.by_type[kind].bytes) for kind in range(1, 16) if self.by_type[kind].packets
        }
        return types, levels


# ---- the session

@cython.final
cdef class Session:
    """The client side of MQTT, without a socket and without a clock.

    version: 5, or 4 for 3.1.1. max_in_flight: QoS 1 and 2 messages sent and not acknowledged, 1 to 65535; a lower receive
    maximum of the server wins. max_waiting: messages that wait for a place among those. max_unacknowledged: messages of the
    server's that the application may owe it an acknowledgement for, before the connection is ended; None for twice CONNECT's
    receive maximum. max_packet_size: bytes of the largest packet to take; a lower one of CONNECT wins. max_topic_aliases: how
    many topics this side gives an alias to, where the server allows it. keeps_changes: the caller stores what has to outlive
    this process, see `take_changes`. Times are in seconds.

    A session outlives its connections: `connect` begins one, and what was not acknowledged goes out again, in order.
    Threads may share one: each call is whole before the next begins. What `take_output` gives has to be written in the
    order of those calls, so writing is one thread's work, or under a lock of the caller's.
    """

    cdef readonly int version
    cdef ServerLimits limits_  # None before CONNACK
    cdef public bint is_reading  # False while the caller does not read: then silence is not the server's fault
    cdef State state
    cdef Connect connect_
    cdef bint is_held         # since CONNACK: what has waited for the connection is not sent yet
    cdef bint is_unsure       # a CONNECT was not answered: the server may have lost the session and begun another
    cdef object assigned      # the client identifier that the server chose
    cdef Decoder decoder
    cdef int max_packet_size
    cdef str payload
    cdef list output
    cdef readonly Py_ssize_t output_bytes  # what take_output would give
    cdef list events
    cdef Traffic sent_
    cdef Traffic received_
    # Messages to the server.
    cdef dict in_flight       # packet identifier -> Delivery, in the order they were first sent
    cdef list again           # those of them that this connection has not seen yet, the last one first
    cdef object waiting       # Deliveries without a place
    cdef readonly Py_ssize_t unfinished_bytes  # of the PUBLISH packets of all of them
    cdef readonly Py_ssize_t peak_unfinished
    cdef int quota            # how many more may be in flight [4.9]; less than 0 where a new connection allows fewer
    cdef int max_in_flight
    cdef Py_ssize_t max_waiting
    cdef int max_topic_aliases
    cdef Aliases aliases      # None where the server allows none
    cdef dict requests        # packet identifier -> Request
    cdef int last_id
    # Messages from the server.
    cdef dict held            # packet identifier -> the message, or the answer that may not leave yet; as they came
    cdef dict unreleased      # QoS 2, until PUBREL: packet identifier -> the message, None once it is acknowledged
    cdef Py_ssize_t max_unacknowledged  # 0 for twice the receive maximum
    cdef Py_ssize_t most_unacknowledged
    cdef list inbound_aliases  # topic by alias
    # What has to outlive the process.
    cdef list changes         # that nobody has taken yet; None where nothing is kept
    cdef bint is_guarded      # there are changes that are not kept
    cdef list guarded         # output that may not leave before they are
    cdef Py_ssize_t guarded_by_taken  # so much of it waits for those changes alone that were taken
    # Time.
    cdef double connect_timeout_s
    cdef double ping_timeout_s
    cdef double connect_by
    cdef double last_sent
    cdef double last_received
    cdef double pinged_at     # less than 0 where no PINGREQ is unanswered

    def __cinit__(
        self, version=5, *, max_in_flight=65535, max_waiting=65535, max_unacknowledged=None, max_packet_size=MAX_PACKET_SIZE,
        max_topic_aliases=16, connect_timeout_s=30.0, ping_timeout_s=10.0, payload="bytes", keeps_changes=False,
    ):
        self.version = as_version(version)
        self.max_in_flight = as_int(max_in_flight, "max_in_flight", 1, 65535)
        self.max_waiting = as_int(max_waiting, "max_waiting", 0, 0xFFFFFFFF)
        self.max_topic_aliases = as_int(max_topic_aliases, "max_topic_aliases", 0, 65535)
        if max_unacknowledged is not None:
            self.max_unacknowledged = as_int(max_unacknowledged, "max_unacknowledged", 1, 0xFFFFFFFF)
        self.max_packet_size = as_int(max_packet_size, "max_packet_size", 2, MAX_PACKET_SIZE)
        self.connect_timeout_s = as_seconds(connect_timeout_s, "connect_timeout_s")
        self.ping_timeout_s = as_seconds(ping_timeout_s, "ping_timeout_s")
        self.payload = payload
        self.decoder = Decoder(version, payload=payload)
        self.is_reading = True
        self.state = OFFLINE
        self.output = []
        self.events = []
        self.sent_ = Traffic()
        self.received_ = Traffic()
        self.in_flight = {}
        self.again = []
        self.waiting = deque()
        self.requests = {}
        self.held = {}
        self.unreleased = {}
        self.guarded = []
        self.changes = [] if keeps_changes else None

    @property
    @cython.critical_section
    def is_connected(self):
        """Whether CONNACK has come and nothing has ended the connection since."""
        return self.state == ONLINE

    @property
    @cython.critical_section
    def limits(self):
        """What the server's CONNACK allows; None before it came."""
        return self.limits_

    @property
    @cython.critical_section
    def client_id(self):
        """The server's choice where it was left to the server; None before `connect`."""
        return self.assigned if self.assigned is not None else None if self.connect_ is None else self.connect_.client_id

    @property
    @cython.critical_section
    def output_packets(self):
        """How many packets `take_output` would give."""
        return len(self.output)

    @property
    @cython.critical_section
    def in_flight_now(self):
        """How many messages of QoS 1 and 2 are with the server, unacknowledged."""
        return len(self.in_flight)

    @property
    @cython.critical_section
    def unfinished(self):
        """How many messages of QoS 1 and 2 have no final answer yet, sent or not."""
        return len(self.in_flight) + len(self.waiting)

    @cython.critical_section
    def deliveries(self):
        """The messages of QoS 1 and 2 that have no final answer yet, in order."""
        return [*self.in_flight.values(), *self.waiting]

    @cython.critical_section
    def undelivered(self, is_wanted=None):
        """Copies of the messages of QoS 1 and 2 that no server is known to have, in order.

        is_wanted: asked about each Delivery; None for all of them.
        """
        cdef Delivery delivery
        cdef Publish message
        messages = []
        for delivery in (*self.in_flight.values(), *self.waiting):
            if delivery.wire is not None and (is_wanted is None or is_wanted(delivery)):
                message = decode(delivery.wire, self.version)[0]
                message.packet_id_ = 0  # the session's business
                messages.append(message)
        return messages

    @property
    @cython.critical_section
    def sent(self):
        """What went out, by packet type and by the first level of messages' topics: {which: (packets, bytes)} of each."""
        return self.sent_.values()

    @property
    @cython.critical_section
    def received(self):
        """What came in, likewise."""
        return self.received_.values()

    @property
    @cython.critical_section
    def unacknowledged(self):
        """How many messages of QoS 1 and 2 the application has not acknowledged."""
        return len(self.held)

    # -- a connection, from its beginning to its end

    @cython.critical_section
    def connect(self, Connect connect not None, double now):
        """Begin a connection with this CONNECT. The transport is open, or will be before `take_output` is asked."""
        if self.state == CONNECTING or self.state == ONLINE:
            raise IotwireError("this session is connected, or connecting, already")
        wire = connect.encode(self.version)
        if connect.clean_start:
            for packet_id in self.unreleased:
                self.note("completed", packet_id)
            self.unreleased.clear()
        self.connect_ = connect
        self.limits_ = self.assigned = None
        largest = min(self.max_packet_size, stated(connect.maximum_packet_size, self.max_packet_size))
        self.decoder = Decoder(self.version, max_packet_size=largest, payload=self.payload)
        self.inbound_aliases = [None] * (1 + stated(connect.topic_alias_maximum, 0)) if self.version == MQTT_5 else [None]
        self.most_unacknowledged = self.max_unacknowledged or 2 * <int> stated(connect.receive_maximum, 65535)
        self.state = CONNECTING
        self.forget_output()
        self.put(wire)
        self.last_sent = self.last_received = now
        self.pinged_at = -1
        self.connect_by = now + self.connect_timeout_s

    @cython.critical_section
    def disconnect(self, Disconnect disconnect=None):
        """End the connection with a DISCONNECT: write what `take_output` gives, then close."""
        if self.state == ONLINE:
            self.put((Disconnect() if disconnect is None else disconnect).encode(self.version))
        if self.state != OFFLINE:
            self.end(None)

    @cython.critical_section
    def connection_lost(self, reason=""):
        """The transport is closed. What was not acknowledged waits for the next connection."""
        if self.state == CONNECTING:
            self.is_unsure = True
            self.end(ConnectError(reason or "the connection ended before CONNACK came"))
        elif self.state == ONLINE:
            self.end(ConnectionLostError(reason or "the connection ended"))
        self.forget_output()

    cdef int end(self, object error) except -1:
        """The one way to the end. Requests are over; deliveries are not."""
        cdef ConnectionEnded ended = ConnectionEnded.__new__(ConnectionEnded)
        cdef Request request
        self.state = OFFLINE
        requests, self.requests = self.requests, {}
        for request in requests.values():
            self.events.append(request)
        self.held.clear()
        ended.error = error
        self.events.append(ended)
        self.forget_guarded()
        return 0

    cdef int fail(self, object error, int reason_code) except -1:
        """The server broke a rule, or was silent: say so in 5.0, and end."""
        if self.state == ONLINE and self.version == MQTT_5:
            try:
                farewell = Disconnect(reason_code)
            except EncodeError:  # a server that sends a wrong CONNECT: the code for that is one of CONNACK's
                farewell = Disconnect(<int> PROTOCOL_ERROR)
            self.put(farewell.encode(5))
        return self.end(error)

    # -- bytes out

    @cython.critical_section
    def take_output(self, double now, Py_ssize_t max_bytes=PY_SSIZE_T_MAX):
        """What is to be written, as a list of bytes objects; it is the caller's from here on.

        max_bytes: the packet that reaches it is the last one.
        """
        cdef list output
        cdef Py_ssize_t count = 0
        cdef Py_ssize_t size = 0
        if self.is_held:
            self.pump()
        output = self.output
        if not output:
            return []  # not this one, which goes on filling: another thread may say something before it is written
        self.last_sent = now
        if self.output_bytes <= max_bytes:
            self.begin_output()
            return output
        while count < len(output) and size < max_bytes:
            size += PyBytes_GET_SIZE(<bytes> output[count])
            count += 1
        self.output = output[count:]
        self.output_bytes -= size
        del output[count:]
        return output

    cdef int begin_output(self) except -1:
        self.output = []
        self.output_bytes = 0
        return 0

    cdef int forget_output(self) except -1:
        """Its connection is over, and the next one says it again."""
        self.forget_guarded()
        return self.begin_output()

    cdef int forget_guarded(self) except -1:
        self.guarded.clear()
        self.guarded_by_taken = 0
        return 0

    cdef int put(self, bytes wire) except -1:
        """The one way out."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(wire)
        cdef int kind = (<uint8_t*> PyBytes_AS_STRING(wire))[0] >> 4
        self.sent_.add(kind, size)
        if self.is_guarded and kind != CONNECT and kind != DISCONNECT:
            self.guarded.append(wire)
            return 0
        self.output_bytes += size
        self.output.append(wire)
        return 0

    cdef int put_publish(self, bytes wire, str topic) except -1:
        self.sent_.add_message(topic, PyBytes_GET_SIZE(wire))
        return self.put(wire)

    # -- what has to outlive the process, for QoS 2 to be exactly once over its end

    cdef int note(self, str what, object value) except -1:
        """Something has changed. What is put from here on waits until that is kept."""
        if self.changes is not None:
            self.changes.append((what, value))
            self.is_guarded = True
        return 0

    @property
    @cython.critical_section
    def has_changes(self):
        """Whether `take_changes` would give any."""
        return bool(self.changes)

    @cython.critical_section
    def take_changes(self):
        """What has to be stored before more may leave, as pairs, in order; then call `changes_kept`.

        ("sent", Delivery): of QoS 2, it has its packet id now. ("released", Delivery): its PUBREC has come.
        ("received", packet id): the application has a QoS 2 message safe. ("completed", packet id): its PUBREL has come.
        ("begun", None): the server has no session; nothing that was stored before counts any more.
        """
        changes = self.changes
        if not changes:
            return []
        self.changes = []
        self.guarded_by_taken = len(self.guarded)
        return changes

    @cython.critical_section
    def changes_kept(self):
        """What `take_changes` gave is stored, or will not be: `take_output` gives what has waited for that."""
        cdef bytes wire
        cdef list ready = self.guarded
        if self.changes:
            ready = self.guarded[:self.guarded_by_taken]
            del self.guarded[:self.guarded_by_taken]
        else:
            self.guarded = []
            self.is_guarded = False
        self.guarded_by_taken = 0
        for wire in ready:
            self.output_bytes += PyBytes_GET_SIZE(wire)
            self.output.append(wire)

    @cython.critical_section
    def restore(self, packet_id, topic, payload=b"", retain=False, *, is_released=False, **properties):
        """Before the first connection: a message of QoS 2 that another process has sent under this packet id. Its `Delivery`.

        They are restored in the order in which they were sent. is_released: its PUBREC has come.
        """
        cdef Delivery delivery
        cdef int number = as_int(packet_id, "packet_id", 1, LAST_PACKET_ID)
        self.must_be_new(number not in self.in_flight)
        delivery = self.delivery_of(topic, payload, 2, retain, properties)
        delivery.packet_id_ = self.last_id = number
        put_u16(<uint8_t*> PyBytes_AS_STRING(delivery.wire) + delivery.id_at, number)
        delivery.stage = SENT
        self.in_flight[number] = delivery
        self.unfinished_bytes += PyBytes_GET_SIZE(delivery.wire)
        if is_released:
            delivery.stage = RELEASED
            self.forget_wire(delivery)
        return delivery

    @cython.critical_section
    def restore_received(self, packet_id):
        """Before the first connection: a message of QoS 2 that another process has received, and its PUBREL has not come."""
        cdef int number = as_int(packet_id, "packet_id", 1, LAST_PACKET_ID)
        self.must_be_new(number not in self.unreleased)
        self.unreleased[number] = None

    cdef int must_be_new(self, bint is_new) except -1:
        if self.connect_ is not None:
            raise IotwireError("a session is restored before its first connection")
        if not is_new:
            cannot_encode("packet_id", "is restored already")
        return 0

    # -- bytes in

    @cython.critical_section
    def receive(self, data, double now):
        """Take bytes from the server. The events up to now, in order."""
        try:
            packets = self.decoder.feed(data)
        except WireError as error:
            return self.receive_wrong(error, now)
        return self.receive_packets(packets, now)

    @cython.critical_section
    def get_buffer(self, sizehint=-1):
        """As `Decoder.get_buffer`."""
        return self.decoder.get_buffer(sizehint)

    @cython.critical_section
    def buffer_updated(self, nbytes, double now):
        """As `receive`, for bytes that were written to what `get_buffer` gave."""
        try:
            packets = self.decoder.buffer_updated(nbytes)
        except WireError as error:
            return self.receive_wrong(error, now)
        return self.receive_packets(packets, now)

    @cython.critical_section
    def take_events(self):
        """The events that no other call has given yet."""
        events, self.events = self.events, []
        return events

    cdef list receive_wrong(self, object error, double now):
        self.handle_packets(error.packets, now)
        if self.state != OFFLINE:
            self.fail(error, error.reason_code)
        return self.take_events()

    cdef list receive_packets(self, list packets, double now):
        self.handle_packets(packets, now)
        return self.take_events()

    cdef int handle_packets(self, list packets, double now) except -1:
        cdef Packet packet
        self.last_received = now
        for packet in packets:
            if self.state == OFFLINE:
                break  # what comes after the end is nobody's
            self.received_.add(packet.first >> 4, packet.wire_size)
            try:
                self.handle(packet)
            except ProtocolViolationError as error:
                self.fail(error, error.reason_code)
        return 0

    cdef int handle(self, Packet packet) except -1:
        cdef int kind = packet.first >> 4
        if self.state == CONNECTING:
            if kind == CONNACK:
                return self.handle_connack(<ConnAck> packet)
            if kind == AUTH:
                return self.handle_auth(<Auth> packet)
            return broken(f"{type(packet).__name__} came before CONNACK", "MQTT-3.2.0-1")
        if kind == PUBLISH:
            return self.handle_publish(<Publish> packet)
        if kind == PUBACK:
            return self.handle_puback(<PubAck> packet)
        if kind == PUBREC:
            return self.handle_pubrec(<PubRec> packet)
        if kind == PUBREL:
            return self.handle_pubrel(<PubRel> packet)
        if kind == PUBCOMP:
            return self.handle_pubcomp(<PubComp> packet)
        if kind == SUBACK or kind == UNSUBACK:
            return self.handle_answer(<SubscriptionAcknowledgement> packet)
        if kind == PINGRESP:
            return 0  # that something came is all that it says
        if kind == AUTH:
            return self.handle_auth(<Auth> packet)
        if kind == DISCONNECT and self.version == MQTT_5:
            return self.handle_disconnect(<Disconnect> packet)
        return broken(f"{type(packet).__name__} is not for a server to send now", "4.13.1")

    # -- CONNACK [3.2], AUTH [3.15, 4.12], DISCONNECT [3.14]

    cdef int handle_connack(self, ConnAck connack) except -1:
        if connack.code != SUCCESS:
            self.events.append(connack)
            return self.end(ConnectError(f"the server refused the connection: {reason_of(connack)}", reason_code=connack.code))
        if connack.session_present and self.connect_.clean_start:
            broken("a session is present, where a clean start was asked for", "MQTT-3.2.2-2")
        self.limits_ = limits_of(connack, self.connect_.keep_alive)
        self.assigned = connack.assigned_client_identifier
        self.aliases = None
        if self.version == MQTT_5:
            aliases = min(self.limits_.topic_alias_maximum, self.max_topic_aliases)
            self.aliases = Aliases(aliases) if aliases else None
        self.quota = min(self.limits_.receive_maximum, self.max_in_flight)
        self.state = ONLINE
        self.events.append(connack)
        if connack.session_present:
            self.resume()
        else:
            self.begin_anew()
        self.waiting = deque([delivery for delivery in self.waiting if self.is_still_allowed(delivery)])
        # Not sent yet: who sees this event may have subscriptions to make first, which what is sent may be answered over.
        self.is_held = True
        return 0

    @cython.critical_section
    def send_waiting(self):
        """Send what has waited for this connection, as far as the server takes it. `take_output` does it, too."""
        self.pump()

    cdef int handle_auth(self, Auth packet) except -1:
        method = self.connect_.authentication_method
        if method is None:
            broken("AUTH without an authentication method in CONNECT", "MQTT-4.12.0-6")
        if packet.authentication_method != method:
            broken("AUTH with another authentication method than CONNECT's", "MQTT-4.12.0-5")
        if packet.code == RE_AUTHENTICATE or (packet.code == SUCCESS and self.state != ONLINE):
            broken("AUTH with a reason code that is not the server's to send now", "3.15.2.1")
        self.events.append(packet)
        return 0

    @cython.critical_section
    def authenticate(self, Auth auth not None):
        """Send an AUTH: the answer to the server's, or 0x19 to authenticate again [4.12]."""
        if self.state == OFFLINE:
            raise ConnectionLostError("not connected")
        if self.connect_.authentication_method is None:
            cannot_encode("authentication_method", "must be in CONNECT before AUTH may be sent", "MQTT-4.12.0-7")
        if auth.authentication_method != self.connect_.authentication_method:
            cannot_encode("authentication_method", "must be that of CONNECT", "MQTT-4.12.0-5")
        if auth.code == SUCCESS or (auth.code == RE_AUTHENTICATE and self.state != ONLINE):
            cannot_encode("reason_code", "must be 0x18, or 0x19 on an open connection", "3.15.2.1")
        self.put(auth.encode(5))

    cdef int handle_disconnect(self, Disconnect packet) except -1:
        self.events.append(packet)
        return self.end(ConnectionLostError(f"the server disconnected: {reason_of(packet)}", reason_code=packet.code))

    # -- messages to the server

    @cython.critical_section
    def publish(self, topic, payload=b"", qos=0, retain=False, **properties):
        """Send a message. QoS 0: None. Else its `Delivery`, which is sent now or as soon as there is a place for it.

        QoS 0 needs a connection; the others wait for one. Raises PublishError for what the server does not allow,
        OutboxFullError where too many wait, ConnectionLostError, EncodeError.
        """
        cdef Delivery delivery
        if properties:
            if "subscription_identifiers" in properties:
                cannot_encode("subscription_identifiers", "is not for a client to send", "MQTT-3.3.4-6")
            if "topic_alias" in properties:
                cannot_encode("topic_alias", "is the session's own to choose")
        if type(topic) is not str:
            topic = as_text(topic, "topic", TOPIC_NAME)
        if not qos:
            self.publish_at_once(topic, payload, qos, retain, properties)
            return None
        delivery = self.delivery_of(topic, payload, qos, retain, properties)
        if self.limits_ is not None:
            self.must_allow(qos, retain, PyBytes_GET_SIZE(delivery.wire))
        if self.state == ONLINE and self.has_place() and not self.again and not self.waiting:
            self.send(delivery)
        elif len(self.waiting) >= self.max_waiting:
            raise OutboxFullError(f"{self.max_waiting} messages wait already")
        else:
            self.waiting.append(delivery)
        self.unfinished_bytes += PyBytes_GET_SIZE(delivery.wire)
        self.peak_unfinished = max(self.peak_unfinished, len(self.in_flight) + len(self.waiting))
        return delivery

    cdef Delivery delivery_of(self, topic, payload, qos, retain, dict properties):
        """A message of QoS 1 or 2 that has no packet identifier yet."""
        cdef Delivery delivery = Delivery.__new__(Delivery)
        if self.version == MQTT_5 and not properties:
            delivery.wire = encode_publish(topic, payload, qos, retain, LAST_PACKET_ID)
        else:
            delivery.wire = encode_publish(topic, payload, qos, retain, LAST_PACKET_ID, False, self.version, **properties)
        delivery.topic = topic
        delivery.qos = qos
        delivery.retain = retain
        delivery.id_at = parts_of(delivery.wire, self.version).id_at
        return delivery

    cdef int publish_at_once(self, str topic, object payload, object qos, object retain, dict properties) except -1:
        """A message of QoS 0."""
        cdef bytes wire
        cdef int alias = 0
        if self.state != ONLINE:
            raise ConnectionLostError("not connected")
        if self.is_held:
            self.pump()
        if not properties and self.version == MQTT_5 and retain is False and type(payload) is bytes and qos is 0:
            if self.aliases is not None:
                alias = self.aliases.alias_of(topic)
            if alias:
                wire = by_alias(alias, <bytes> payload)
            else:
                wire = encode_publish(topic, payload, 0, False, None)
        else:
            wire = encode_publish(topic, payload, qos, retain, None, False, self.version, **(properties or {}))
        self.must_allow(0, retain, PyBytes_GET_SIZE(wire))
        if self.aliases is not None and not alias:
            wire = self.shorten(wire, topic)
        return self.put_publish(wire, topic)

    @cython.critical_section
    def publish_within(self, Py_ssize_t max_bytes, topic, payload, qos=0, retain=False):
        """`publish` of QoS 0 without properties. False, and nothing is sent, where so many bytes wait to be written."""
        if self.output_bytes >= max_bytes:
            return False
        if type(topic) is not str:
            topic = as_text(topic, "topic", TOPIC_NAME)
        self.publish_at_once(topic, payload, qos, retain, None)
        return True

    @cython.critical_section
    def publish_pairs(self, list items not None, Py_ssize_t start=0, retain=False, Py_ssize_t max_bytes=65536):
        """Send messages of QoS 0, `items[start:]`, as `publish` does; faster, where there are many.

        Stops at what is no tuple of topic and payload, when `max_bytes` are to be written, and before what raises unless that
        is the first. The result is the index of the first item that was not sent.
        """
        cdef Py_ssize_t at = max(start, 0)
        while at < len(items) and self.output_bytes < max_bytes:
            item = items[at]
            if type(item) is not tuple or len(<tuple> item) != 2:
                break
            topic = (<tuple> item)[0]
            try:
                if type(topic) is not str:
                    topic = as_text(topic, "topic", TOPIC_NAME)
                self.publish_at_once(topic, (<tuple> item)[1], 0, retain, None)
            except IotwireError:
                if at == start:
                    raise
                break
            at += 1
        return at

    @cython.critical_section
    def withdraw(self, Delivery delivery not None):
        """Take back a message that has not been sent. False where it is too late for that."""
        if delivery.stage != WAITING or delivery.may_be_duplicate or delivery not in self.waiting:
            return False
        self.waiting.remove(delivery)
        self.forget_wire(delivery)
        return True

    cdef bint has_place(self) noexcept:
        """Whether one more message may be in flight. Ids are shared with requests, and all of them may be out."""
        return self.quota > 0 and len(self.in_flight) + len(self.requests) < LAST_PACKET_ID

    cdef int must_allow(self, int qos, bint retain, Py_ssize_t size) except -1:
        """Raise PublishError for what CONNACK ruled out, before a byte of it leaves."""
        cdef ServerLimits limits = self.limits_
        if qos > limits.maximum_qos:
            raise PublishError(f"qos: the server allows {limits.maximum_qos} at most", reason_code=<int> QOS_NOT_SUPPORTED)
        if retain and not limits.retain_available:
            raise PublishError("retain: the server keeps no retained messages", reason_code=<int> RETAIN_NOT_SUPPORTED)
        if limits.maximum_packet_size is not None and size > <Py_ssize_t> limits.maximum_packet_size:
            raise PublishError(
                f"a packet of {size} bytes: the server allows {limits.maximum_packet_size} at most",
                reason_code=<int> PACKET_TOO_LARGE,
            )
        return 0

    cdef bytes shorten(self, bytes wire, str topic):
        limit = self.limits_.maximum_packet_size
        if limit is not None and PyBytes_GET_SIZE(wire) + ALIAS_BYTES + 2 > <Py_ssize_t> limit:
            return wire  # 2: the lengths before it may grow by a byte each
        return self.aliases.shorten(wire, topic)

    cdef int send(self, Delivery delivery) except -1:
        """Its PUBLISH, for the first time. There is a place for it."""
        cdef int packet_id = self.take_packet_id()
        put_u16(<uint8_t*> PyBytes_AS_STRING(delivery.wire) + delivery.id_at, packet_id)
        delivery.packet_id_ = packet_id
        delivery.stage = SENT
        self.in_flight[packet_id] = delivery
        self.quota -= 1
        if delivery.qos == 2:
            self.note("sent", delivery)
        self.put_publish(
            delivery.wire if self.aliases is None else self.shorten(delivery.wire, delivery.topic), delivery.topic
        )
        return 0

    cdef int pump(self) except -1:
        """Send what waits, as long as there are places [4.9]."""
        cdef Delivery delivery
        self.is_held = False
        while self.quota > 0 and self.state == ONLINE:
            if self.again:  # those have their ids
                delivery = self.again.pop()
                self.quota -= 1
                self.put_publish(as_duplicate(delivery.wire), delivery.topic)
            elif self.waiting and self.has_place():
                self.send(self.waiting.popleft())
            else:
                break
        return 0

    cdef bint is_still_allowed(self, Delivery delivery) except -1:
        """False, and the end of it, for a message that a CONNACK has ruled out which came after it was accepted."""
        try:
            self.must_allow(delivery.qos, delivery.retain, PyBytes_GET_SIZE(delivery.wire))
        except PublishError as error:
            self.in_flight.pop(delivery.packet_id_, None)
            self.finish(delivery, error.reason_code, error)
            return False
        return True

    cdef int resume(self) except -1:
        """The server has kept the session: all that is unacknowledged goes out again, in its order [MQTT-4.4.0-1]."""
        cdef Delivery delivery
        self.again.clear()
        for delivery in list(self.in_flight.values()):
            if delivery.stage == RELEASED:
                # It keeps its place until PUBCOMP, which the standard leaves open and any server understands.
                self.quota -= 1
                self.put(PubRel(delivery.packet_id_).encode(self.version))
            elif self.is_still_allowed(delivery):
                delivery.may_be_duplicate |= self.is_unsure
                self.again.append(delivery)
        self.again.reverse()
        self.is_unsure = False
        return 0

    cdef int begin_anew(self) except -1:
        """The server has no session: what it may not have is published as new; past PUBREC it has it."""
        cdef Delivery delivery
        if self.in_flight or self.unreleased:
            self.note("begun", None)
        in_flight, self.in_flight = self.in_flight, {}
        self.again.clear()
        self.unreleased.clear()
        self.is_unsure = False
        lost = []
        for delivery in in_flight.values():
            if delivery.stage == RELEASED:
                self.finish(delivery, SUCCESS, None)
            else:
                delivery.stage = WAITING
                delivery.packet_id_ = 0
                delivery.may_be_duplicate = True
                delivery.wire = copy_of(delivery.wire)
                lost.append(delivery)
        self.waiting.extendleft(reversed(lost))
        return 0

    cdef int finish(self, Delivery delivery, int reason_code, object error) except -1:
        delivery.stage = DONE
        delivery.reason_code = reason_code
        delivery.error = error
        self.forget_wire(delivery)
        self.events.append(delivery)
        return 0

    cdef int forget_wire(self, Delivery delivery) noexcept:
        if delivery.wire is not None:
            self.unfinished_bytes -= PyBytes_GET_SIZE(delivery.wire)
            delivery.wire = None
        return 0

    cdef int take_packet_id(self) except -1:
        """One that nothing uses. They go round, so that a late answer to an old one hits nothing new [MQTT-2.2.1-3]."""
        if len(self.in_flight) + len(self.requests) >= LAST_PACKET_ID:
            raise OutboxFullError("all 65535 packet identifiers wait for an acknowledgement")
        while True:
            self.last_id = self.last_id % LAST_PACKET_ID + 1
            if self.last_id not in self.in_flight and self.last_id not in self.requests:
                return self.last_id

    cdef Delivery answered(self, int packet_id):
        """What an acknowledgement is for; None where nothing is in flight under that packet id."""
        cdef Delivery delivery = self.in_flight.get(packet_id)
        if delivery is not None and self.again and delivery in self.again:
            # Sent on an earlier connection, and not yet again: it need not be, and has a place until it is settled.
            self.again.remove(delivery)
            self.quota -= 1
        return delivery

    cdef int handle_puback(self, PubAck packet) except -1:
        cdef Delivery delivery = self.answered(packet.packet_id_)
        if delivery is None:
            return 0
        if delivery.qos != 1:
            broken(f"PUBACK for packet id {packet.packet_id_}, a QoS 2 message", "4.3.3")
        return self.settle(delivery, packet.code)

    cdef int handle_pubrec(self, PubRec packet) except -1:
        cdef Delivery delivery = self.answered(packet.packet_id_)
        if delivery is None:
            code = PACKET_IDENTIFIER_NOT_FOUND if self.version == MQTT_5 else SUCCESS
            self.put(PubRel(packet.packet_id_, <int> code).encode(self.version))
            return 0
        if delivery.qos != 2:
            broken(f"PUBREC for packet id {packet.packet_id_}, a QoS 1 message", "4.3.2")
        if packet.code >= UNSPECIFIED_ERROR:
            return self.settle(delivery, packet.code)
        delivery.stage = RELEASED
        self.forget_wire(delivery)
        delivery.reason_code_of_pubrec = packet.code
        self.note("released", delivery)
        self.put(PubRel(packet.packet_id_).encode(self.version))
        return 0

    cdef int handle_pubcomp(self, PubComp packet) except -1:
        cdef Delivery delivery = self.answered(packet.packet_id_)
        if delivery is None:
            return 0
        if delivery.stage != RELEASED:
            broken(f"PUBCOMP for packet id {packet.packet_id_}, which has not been released", "4.3.3")
        # PACKET_IDENTIFIER_NOT_FOUND: an earlier PUBREL had reached it, whose PUBCOMP was lost [3.7.2.1].
        code = SUCCESS if packet.code == PACKET_IDENTIFIER_NOT_FOUND else packet.code
        return self.settle(delivery, code or delivery.reason_code_of_pubrec)

    cdef int settle(self, Delivery delivery, int reason_code) except -1:
        """The server's last word on a message: its place and its packet identifier are free."""
        del self.in_flight[delivery.packet_id_]
        self.quota += 1
        self.finish(delivery, reason_code, None)
        return self.pump()

    # -- messages from the server

    cdef int handle_publish(self, Publish packet) except -1:
        cdef int packet_id = packet.packet_id_
        if self.version == MQTT_5 and has(packet.seen, TOPIC_ALIAS):
            self.resolve_alias(packet)
        self.received_.add_message(packet.topic, packet.wire_size)
        if packet_id == 0:
            self.events.append(packet)
            return 0
        if packet_id in self.unreleased and (packet.first & QOS) >> 1 != 2:
            broken(f"PUBLISH of QoS 1 with packet id {packet_id} of an unfinished QoS 2 message", "MQTT-2.2.1-4")
        if packet_id in self.held:
            return 0  # sent again while its acknowledgement is held back: that one answers both
        if packet_id in self.unreleased:
            first = self.unreleased[packet_id]
            if first is None:
                # Answered, in its turn [MQTT-4.6.0-3], and not delivered [MQTT-4.3.3-10].
                self.held[packet_id] = PubRec(packet_id).encode(self.version)
                self.release()
            else:
                self.held[packet_id] = first  # delivered on an earlier connection, and not acknowledged yet
            return 0
        if len(self.held) + len(self.unreleased) >= self.most_unacknowledged:
            broken("more unacknowledged messages than this client allows", "MQTT-3.3.4-9", RECEIVE_MAXIMUM_EXCEEDED)
        self.held[packet_id] = packet
        if (packet.first & QOS) >> 1 == 2:
            self.unreleased[packet_id] = packet
        self.events.append(packet)
        return 0

    cdef int resolve_alias(self, Publish packet) except -1:
        """Spell the topic out, and take away the alias, which means nothing to the application."""
        cdef int alias = packet.topic_alias
        if alias >= len(self.inbound_aliases):
            broken(
                f"topic alias {alias}, where this client allows {len(self.inbound_aliases) - 1}", "MQTT-3.3.2-9",
                TOPIC_ALIAS_INVALID,
            )
        if packet.topic:
            self.inbound_aliases[alias] = packet.topic
        elif self.inbound_aliases[alias] is None:
            broken(f"topic alias {alias} was never given a topic", "3.3.2.3.4")
        # Nobody else has seen the packet yet.
        packet.topic = self.inbound_aliases[alias]
        packet.properties = without_property(packet.properties, TOPIC_ALIAS)
        packet.seen &= ~(<uint64_t> 1 << TOPIC_ALIAS | <uint64_t> 1 << COMES_AGAIN)
        return 0

    @cython.critical_section
    def acknowledge(self, Publish message not None, reason_code=0):
        """The application has a QoS 1 or 2 message safe. What may leave, leaves, in the order of arrival [4.6].

        reason_code: of the PUBACK or PUBREC, in 5.0. After the connection that a message came by, only QoS 2 remembers.
        """
        cdef int packet_id = message.packet_id_
        cdef type answer = PubRec if message.first & QOS == 2 << 1 else PubAck
        if self.held.get(packet_id) is message:
            self.held[packet_id] = answer(packet_id, reason_code).encode(self.version)
        if self.unreleased.get(packet_id) is message:
            if reason_code < <int> UNSPECIFIED_ERROR:
                self.unreleased[packet_id] = None
                self.note("received", packet_id)
            else:
                del self.unreleased[packet_id]  # no PUBREL follows a refusal [4.3.3]
        self.release()

    cdef int release(self) except -1:
        while self.held:
            packet_id = next(iter(self.held))
            answer = self.held[packet_id]
            if type(answer) is not bytes:
                break
            del self.held[packet_id]
            self.put(answer)
        return 0

    cdef int handle_pubrel(self, PubRel packet) except -1:
        cdef int packet_id = packet.packet_id_
        cdef int code = SUCCESS
        if packet_id in self.held:
            broken(f"PUBREL for packet id {packet_id}, whose PUBLISH has not been answered", "4.3.3")
        if packet_id in self.unreleased:
            del self.unreleased[packet_id]
            self.note("completed", packet_id)
        elif self.version == MQTT_5:
            code = PACKET_IDENTIFIER_NOT_FOUND
        self.put(PubComp(packet_id, code).encode(self.version))
        return 0

    # -- SUBSCRIBE and UNSUBSCRIBE

    @cython.critical_section
    def subscribe(self, subscriptions, *, subscription_identifier=None, user_properties=()):
        """Send a SUBSCRIBE of `Subscription`s. Its `Request` is an event once SUBACK came, or the connection ended.

        Raises SubscribeError for what CONNACK ruled out, with the reason code of each filter; ConnectionLostError.
        """
        self.must_be_online()
        cdef int packet_id = self.take_packet_id()
        packet = Subscribe(
            packet_id, subscriptions, subscription_identifier=subscription_identifier, user_properties=user_properties
        )
        self.must_allow_subscriptions(packet, subscription_identifier is not None)
        return self.ask(packet, packet_id)

    @cython.critical_section
    def unsubscribe(self, topic_filters, *, user_properties=()):
        """Send an UNSUBSCRIBE. Its `Request` is an event once UNSUBACK came, or the connection ended."""
        self.must_be_online()
        cdef int packet_id = self.take_packet_id()
        return self.ask(Unsubscribe(packet_id, topic_filters, user_properties=user_properties), packet_id)

    cdef int must_be_online(self) except -1:
        if self.state != ONLINE:
            raise ConnectionLostError("not connected")
        return 0

    cdef Request ask(self, Packet packet, int packet_id):
        cdef Request request = Request.__new__(Request)
        wire = packet.encode(self.version)
        limit = self.limits_.maximum_packet_size
        if limit is not None and len(wire) > limit:
            filters = (
                [each.topic_filter for each in packet.subscriptions] if isinstance(packet, Subscribe) else packet.topic_filters
            )
            raise SubscribeError(
                f"a packet of {len(wire)} bytes: the server allows {limit} at most",
                reason_codes=dict.fromkeys(filters, <int> PACKET_TOO_LARGE),
            )
        request.packet = packet
        self.requests[packet_id] = request
        self.put(wire)
        return request

    cdef int must_allow_subscriptions(self, Subscribe packet, bint identified) except -1:
        cdef ServerLimits limits = self.limits_
        cdef dict refused = {}
        for subscription in packet.subscriptions:
            topic_filter = subscription.topic_filter
            if not limits.shared_subscription_available and topic_filter.startswith("$share/"):
                refused[topic_filter] = <int> SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
            elif not limits.wildcard_subscription_available and ("+" in topic_filter or "#" in topic_filter):
                refused[topic_filter] = <int> WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
            elif identified and not limits.subscription_identifier_available:
                refused[topic_filter] = <int> SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
        if refused:
            raise SubscribeError(f"the server does not allow {', '.join(refused)}", reason_codes=refused)
        return 0

    cdef int handle_answer(self, SubscriptionAcknowledgement packet) except -1:
        cdef Request request = self.requests.get(packet.packet_id_)
        cdef Py_ssize_t expected
        if request is None:
            return 0
        if isinstance(request.packet, Subscribe):
            expected = len((<Subscribe> request.packet).subscriptions)
            wanted = SubAck
        else:
            expected = len((<Unsubscribe> request.packet).topic_filters) if self.version == MQTT_5 else 0
            wanted = UnsubAck
        if type(packet) is not wanted or len(packet.reason_codes) != expected:
            broken(
                f"{type(packet).__name__} with {len(packet.reason_codes)} reason codes for packet id {packet.packet_id_}, "
                f"where {wanted.__name__} with {expected} is due", "MQTT-3.8.4-6",
            )
        del self.requests[packet.packet_id_]
        request.answer = packet
        self.events.append(request)
        return self.pump()  # a packet identifier is free

    # -- time

    @property
    @cython.critical_section
    def deadline(self):
        """When `tick` has to be called at the latest, on the caller's clock; None for never. Every call may change it."""
        if self.state == CONNECTING:
            return self.connect_by
        if self.state != ONLINE or self.limits_.keep_alive == 0:
            return None
        return min(self.last_sent + self.silence_s(), self.listen_until())

    @cython.critical_section
    def tick(self, double now):
        """Let time have passed: PINGREQ, or the end of a connection that is silent. The events up to now, in order."""
        if self.state == CONNECTING and now >= self.connect_by:
            self.is_unsure = True
            self.end(ConnectError(f"no CONNACK within {self.connect_timeout_s:g} s"))
        elif self.state == ONLINE and self.limits_.keep_alive:
            self.keep_alive(now)
        return self.take_events()

    cdef double silence_s(self) noexcept:
        return self.limits_.keep_alive * PING_AFTER

    cdef double listen_until(self) noexcept:
        return self.pinged_at + self.ping_timeout_s if self.pinged_at >= 0 else self.last_received + self.silence_s()

    cdef int keep_alive(self, double now) except -1:
        """Any byte is a sign of life: PINGRESP may stand behind a large message on a slow link."""
        if self.pinged_at >= 0:
            if self.last_received >= self.pinged_at:  # a coarse clock: the answer may come within its tick
                self.pinged_at = -1
            elif not self.is_reading:
                self.pinged_at = now  # silent because nobody listens
            elif now >= self.pinged_at + self.ping_timeout_s:
                error = ConnectionLostError(f"the server was silent for {self.ping_timeout_s:g} s after PINGREQ")
                return self.fail(error, KEEP_ALIVE_TIMEOUT)
        if now >= self.last_sent + self.silence_s() or (self.pinged_at < 0 and now >= self.last_received + self.silence_s()):
            self.put(PingReq().encode(self.version))
            self.last_sent = now
            if self.pinged_at < 0:
                self.pinged_at = now
        return 0


cdef double as_seconds(object value, str field) except -1:
    cdef double seconds = value if type(value) in (int, float) else -1
    if not 0 < seconds < 1e9:
        cannot_encode(field, "must be a number of seconds greater than 0")
    return seconds


cdef int broken(str message, str clause, int reason_code=PROTOCOL_ERROR) except -1:
    raise ProtocolViolationError(message, reason_code=reason_code, clause=clause)


cdef str reason_of(Packet packet):
    code = packet.reason_code
    return f"{getattr(code, 'name', 'reason code')} (0x{packet.code:02X})"
