"""The server of MQTT 5.0 and 3.1.1 that a session is tried against: one client, messages of QoS 1 and 2 both ways.

It keeps to the standard and is as forgetful as it is told to be. What it took from the client is in `taken`, in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from iotwire.mqtt import (
    ConnAck,
    Connect,
    Decoder,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)


@dataclass
class ModelServer:
    """A connection begins with `open` and ends with `close`; `forget` loses the session, as an expiry does."""

    version: int = 5
    receive_maximum: int = 65535
    topic_alias_maximum: int = 0
    last_packet_id: int = 65535
    taken: list[bytes] = field(default_factory=list)
    acknowledged: list[bytes] = field(default_factory=list)
    output: list[bytes] = field(default_factory=list)
    has_session: bool = False

    def __post_init__(self) -> None:
        self.decoder = Decoder(self.version)
        self.received: set[int] = set()  # QoS 2 of the client's: taken, and not released
        self.sent: dict[int, Publish] = {}  # ours, without a final answer, in order
        self.released: set[int] = set()
        self.queue: list[Publish] = []
        self.is_open = False
        self.last_id = 0
        self.unanswered = 0  # of the client's QoS 1 and 2: for its own limit
        self.aliases: dict[int, str] = {}

    def open(self) -> None:
        """A new network connection."""
        self.decoder = Decoder(self.version)
        self.output = []
        self.aliases = {}
        self.is_open = False

    def forget(self) -> None:
        """The session expires; what was not acknowledged is sent to the next one anew, as a retained copy would be."""
        self.has_session = False
        self.received.clear()
        self.released.clear()
        self.sent.clear()

    def send(self, topic: str, payload: bytes, qos: int) -> None:
        """A message for the client, now or when it is there."""
        self.queue.append(Publish(topic, payload, qos=qos))
        self.flush()

    def flush(self) -> None:
        if not self.is_open:
            return
        while self.queue and len(self.sent) < self.last_packet_id:
            message = self.queue.pop(0)
            self.last_id = self.last_id % self.last_packet_id + 1
            while self.last_id in self.sent:
                self.last_id = self.last_id % self.last_packet_id + 1
            packet = Publish(message.topic, message.payload, qos=message.qos, packet_id=self.last_id)
            self.sent[self.last_id] = packet
            self.put(packet)

    def put(self, packet: Packet) -> None:
        self.output.append(packet.encode(self.version))

    def receive(self, data: bytes) -> None:
        """Take bytes of the client's, and answer."""
        for packet in self.decoder.feed(data):
            self.handle(packet)

    def handle(self, packet: Packet) -> None:
        match packet:
            case Connect():
                if packet.clean_start:
                    self.forget()
                present, self.has_session, self.is_open = self.has_session, True, True
                limits = {"receive_maximum": self.receive_maximum, "topic_alias_maximum": self.topic_alias_maximum}
                self.put(ConnAck(0, session_present=present, **(limits if self.version == 5 else {})))
                for packet_id, message in self.sent.items():
                    if packet_id in self.released:
                        self.put(PubRel(packet_id))
                    else:
                        again = Publish(message.topic, message.payload, qos=message.qos, dup=True, packet_id=packet_id)
                        self.put(again)
                self.flush()
            case Publish():
                self.take(packet)
            case PubRel(packet_id):
                self.received.discard(packet_id)
                self.put(PubComp(packet_id))
            case PubAck(packet_id):
                self.acknowledged.append(self.sent.pop(packet_id).payload)
                self.flush()
            case PubRec(packet_id):
                assert packet_id in self.sent
                self.released.add(packet_id)
                self.put(PubRel(packet_id))
            case PubComp(packet_id):
                self.released.discard(packet_id)
                if packet_id in self.sent:
                    self.acknowledged.append(self.sent.pop(packet_id).payload)
                    self.flush()
            case Subscribe(packet_id, subscriptions):
                self.put(SubAck(packet_id, [each.qos for each in subscriptions]))
            case Unsubscribe(packet_id, topic_filters):
                self.put(UnsubAck(packet_id, [0] * len(topic_filters) if self.version == 5 else ()))
            case PingReq():
                self.put(PingResp())
            case _:
                raise AssertionError(f"a server does not expect {packet}")

    def take(self, packet: Publish) -> None:
        if packet.topic_alias is not None:
            assert packet.topic_alias <= self.topic_alias_maximum
            if packet.topic:
                self.aliases[packet.topic_alias] = packet.topic
        topic = packet.topic or self.aliases[packet.topic_alias or 0]
        assert topic.startswith("to/server")
        if packet.qos == 2:
            assert packet.packet_id is not None
            if packet.packet_id not in self.received:
                self.received.add(packet.packet_id)
                self.taken.append(packet.payload)
            self.put(PubRec(packet.packet_id))
            return
        self.taken.append(packet.payload)
        if packet.qos == 1:
            assert packet.packet_id is not None
            self.put(PubAck(packet.packet_id))
