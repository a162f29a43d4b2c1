"""A second opinion from `paho-mqtt`, in MQTT 3.1.1 and 5.0.

Its packet decoder (a private module, at a pinned version) reads what a server sends; its client speaks to our codec
over a real socket, which shows what it makes of our bytes and we of its.
"""

from __future__ import annotations

import queue
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoding import changed_bytes, outcome
from iotwire.errors import IotwireError, WireError
from iotwire.mqtt import (
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from strategies import publishes, topics
from vectors.mqtt import CASES, Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHY = "paho-mqtt is not installed (extra: test)"
paho = pytest.importorskip("paho.mqtt.client", reason=WHY)
_packet = pytest.importorskip("paho.mqtt._packet", reason="this paho-mqtt has no packet module (extra: test pins one)")
exception = pytest.importorskip("paho.mqtt.exception", reason=WHY)
packettypes = pytest.importorskip("paho.mqtt.packettypes", reason=WHY).PacketTypes
_properties = pytest.importorskip("paho.mqtt.properties", reason=WHY)
Properties, VariableByteIntegers = _properties.Properties, _properties.VariableByteIntegers
SubscribeOptions = pytest.importorskip("paho.mqtt.subscribeoptions", reason=WHY).SubscribeOptions

Fields = dict[str, Any]

PROPERTY_NAMES = {
    "payload_format_indicator": "PayloadFormatIndicator",
    "message_expiry_interval": "MessageExpiryInterval",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation_data": "CorrelationData",
    "subscription_identifiers": "SubscriptionIdentifier",
    "session_expiry_interval": "SessionExpiryInterval",
    "assigned_client_identifier": "AssignedClientIdentifier",
    "server_keep_alive": "ServerKeepAlive",
    "authentication_method": "AuthenticationMethod",
    "authentication_data": "AuthenticationData",
    "request_problem_information": "RequestProblemInformation",
    "will_delay_interval": "WillDelayInterval",
    "request_response_information": "RequestResponseInformation",
    "response_information": "ResponseInformation",
    "server_reference": "ServerReference",
    "reason_string": "ReasonString",
    "receive_maximum": "ReceiveMaximum",
    "topic_alias_maximum": "TopicAliasMaximum",
    "topic_alias": "TopicAlias",
    "maximum_qos": "MaximumQoS",
    "retain_available": "RetainAvailable",
    "user_properties": "UserProperty",
    "maximum_packet_size": "MaximumPacketSize",
    "wildcard_subscription_available": "WildcardSubscriptionAvailable",
    "subscription_identifier_available": "SubscriptionIdentifierAvailable",
    "shared_subscription_available": "SharedSubscriptionAvailable",
}


def our_properties(packet: Any) -> Fields:
    values = {theirs: getattr(packet, ours, None) for ours, theirs in PROPERTY_NAMES.items()}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None and value != ()
    }


def their_properties(properties: Any) -> Fields:
    found = {name: getattr(properties, name) for name in PROPERTY_NAMES.values() if hasattr(properties, name)}
    if isinstance(found.get("SubscriptionIdentifier"), int):
        found["SubscriptionIdentifier"] = [found["SubscriptionIdentifier"]]
    return found


# Its decoder of what servers send.

DECODERS = {
    2: _packet.decode_connack,
    3: _packet.decode_publish,
    4: _packet.decode_puback,
    5: _packet.decode_pubrec,
    6: _packet.decode_pubrel,
    7: _packet.decode_pubcomp,
    9: _packet.decode_suback,
    11: _packet.decode_unsuback,
    14: _packet.decode_disconnect,
}


def their_opinion(wire: bytes, version: int) -> Any:
    """What paho reads, or None where it refuses. Framing is its client's business: the frame is taken as right."""
    end = next(at for at in range(1, len(wire)) if wire[at] < 0x80) + 1
    try:
        return DECODERS[wire[0] >> 4](wire[0], wire[end:], paho.MQTTv5 if version == 5 else paho.MQTTv311)
    except exception.MQTTException:
        return None


def fields_of(packet: Packet, version: int) -> Fields:
    match packet:
        case ConnAck():
            fields: Fields = {"flags": packet.session_present}
            fields |= {"rc": packet.reason_code} if version == 4 else {"reason": packet.reason_code}
        case Publish():
            fields = {
                "dup": packet.dup,
                "qos": packet.qos,
                "retain": packet.retain,
                "topic": packet.topic.encode(),
                "mid": packet.packet_id or 0,
                "payload": packet.payload,
            }
        case PubAck() | PubRec() | PubRel() | PubComp():
            fields = {"mid": packet.packet_id, "reason": packet.reason_code}
        case SubAck() | UnsubAck():
            fields = {"mid": packet.packet_id, "reason_codes": list(packet.reason_codes)}
        case Disconnect():
            fields = {"reason": packet.reason_code}
        case _:
            raise AssertionError(packet)
    return fields | ({"properties": our_properties(packet)} if version == 5 else {})


def their_fields(packet: Any, like: Fields) -> Fields:
    fields: Fields = {}
    for name in like:
        value = getattr(packet, name)
        if name == "reason":
            value = 0 if value is None else value.value
        elif name == "reason_codes":
            value = [code.value for code in value]
        elif name == "properties":
            value = {} if value is None else their_properties(value)
        fields[name] = value
    return fields


def compare(wire: bytes, version: int) -> str | None:
    """What the two disagree on, or None. What we refuse and paho takes is no disagreement: it checks little."""
    ours = outcome(wire, version)
    if ours is None or isinstance(ours, IotwireError) or ours.encode(version)[:1] != wire[:1]:
        return None
    theirs = their_opinion(wire, version)
    if theirs is None:
        return None if any(known(ours) for known in REFUSED_BY_PAHO.values()) else f"paho refuses {ours}"
    expected = fields_of(ours, version)
    got = their_fields(theirs, expected)
    return None if got == expected else f"we read {expected}, paho {got}"


def has_a_byte_order_mark(packet: Any) -> bool:
    properties = our_properties(packet)
    pairs = properties.pop("UserProperty", [])
    texts = [value for value in properties.values() if isinstance(value, str)]
    return any("\ufeff" in text for text in texts + [text for pair in pairs for text in pair])


# What paho refuses that is right.
REFUSED_BY_PAHO: dict[str, Callable[[Any], bool]] = {
    "U+FEFF in a property, which is to be kept [MQTT-1.5.4-3]": has_a_byte_order_mark,
    "a maximum packet size over 268435455, a Four Byte Integer [3.2.2.3.6]": lambda packet: (
        (getattr(packet, "maximum_packet_size", None) or 0) > 268435455
    ),
    "CONNACK with 0x99, payload format invalid [Table 2-6]": lambda packet: packet == ConnAck(0x99),
}


FROM_SERVERS = [
    pytest.param(vector, version, id=f"{vector.id}, version {version}")
    for vector, version in CASES
    if vector.wire[0] >> 4 in DECODERS and (version == 5 or vector.wire[0] >> 4 != 14)
]


@pytest.mark.parametrize(("vector", "version"), FROM_SERVERS)
def test_a_vector_with_a_byte_changed_after_its_header_is_read_alike(vector: Vector, version: int) -> None:
    wires = [vector.wire]
    if len(vector.wire) <= 300:
        # The header is not paho's decoder's business.
        wires += [wire for wire in changed_bytes(vector.wire, exhaustive_up_to=8) if wire[:3] == vector.wire[:3]]
    disagreements = [f"{wire.hex()}: {found}" for wire in wires if (found := compare(wire, version))]
    assert disagreements == []


# Its client at the other end of a socket.

TIMEOUT_S = 20


class Link:
    """A paho client, with the network thread it brings, connected to our codec."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.messages: queue.Queue[Any] = queue.Queue()
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id="paho-ü",
            protocol=paho.MQTTv5 if version == 5 else paho.MQTTv311,
            **({} if version == 5 else {"clean_session": True}),
        )
        self.client.on_message = lambda _client, _data, message: self.messages.put(message)
        self.decoder = Decoder(None)
        self.arrived: deque[Packet] = deque()

    def open(self) -> Connect:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(TIMEOUT_S)
            self.client.connect("127.0.0.1", listener.getsockname()[1], keepalive=77)
            self.socket, _ = listener.accept()
        self.socket.settimeout(TIMEOUT_S)
        self.client.loop_start()
        packet = self.receive()
        assert isinstance(packet, Connect)
        self.send(ConnAck(0))
        return packet

    def receive(self) -> Packet:
        """The next packet that the client has sent."""
        while not self.arrived:
            self.arrived.extend(self.decoder.feed(self.socket.recv(65536)))
        return self.arrived.popleft()

    def send(self, packet: Packet) -> None:
        self.socket.sendall(packet.encode(self.version))

    def close(self) -> None:
        # Not loop_stop: the thread forgets itself when it ends, maybe between its two looks at it.
        thread = self.client._thread
        self.client._thread_terminate = True
        self.socket.close()
        if thread is not None:
            thread.join()
        # Else only its finalizer would close them, which the collector of a free-threaded CPython may run after theirs.
        self.client._reset_sockets()


@pytest.fixture(scope="module", params=[4, 5], ids=["MQTT 3.1.1", "MQTT 5"])
def link(request: pytest.FixtureRequest) -> Iterator[Link]:
    link = Link(request.param)
    assert link.open() == Connect("paho-ü", keep_alive=77)
    assert link.decoder.version == request.param
    yield link
    link.close()


def their_publish_properties(packet: Publish) -> Any:
    properties = Properties(packettypes.PUBLISH)
    for name, value in our_properties(packet).items():
        setattr(properties, name, value)
    return properties


def test_we_read_what_a_paho_client_publishes(link: Link) -> None:
    @given(publishes(link.version))
    def agree(packet: Publish) -> None:
        if not packet.topic or packet.dup:
            return  # its API has neither
        properties = our_properties(packet)
        info = link.client.publish(
            packet.topic,
            packet.payload,
            packet.qos,
            packet.retain,
            properties=their_publish_properties(packet) if properties else None,
        )
        received = link.receive()
        assert isinstance(received, Publish)
        assert received.packet_id == (info.mid if packet.qos else None)
        expected = fields_of(packet, link.version) | {"mid": received.packet_id or 0}
        assert fields_of(received, link.version) == expected
        if packet.qos == 1:
            link.send(PubAck(info.mid))
        elif packet.qos == 2:
            link.send(PubRec(info.mid))
            assert link.receive() == PubRel(info.mid)
            link.send(PubComp(info.mid))
        info.wait_for_publish(TIMEOUT_S)
        assert info.is_published()

    agree()


def test_a_paho_client_reads_what_we_publish(link: Link) -> None:
    @given(publishes(link.version))
    def agree(packet: Publish) -> None:
        if has_a_byte_order_mark(packet):
            return
        link.send(packet)
        if packet.qos == 1:
            assert link.receive() == PubAck(packet.packet_id or 0)
        elif packet.qos == 2:
            assert link.receive() == PubRec(packet.packet_id or 0)
            link.send(PubRel(packet.packet_id or 0))
            assert link.receive() == PubComp(packet.packet_id or 0)
        message = link.messages.get(timeout=TIMEOUT_S)
        assert (message.topic, message.payload) == (packet.topic, packet.payload)
        assert (message.qos, bool(message.retain), bool(message.dup)) == (packet.qos, packet.retain, packet.dup)
        if link.version == 5:
            assert their_properties(message.properties) == our_properties(packet)

    agree()


def test_subscriptions_of_a_paho_client_are_read_and_answered(link: Link) -> None:
    granted: queue.Queue[list[int]] = queue.Queue()
    link.client.on_subscribe = lambda _client, _data, _mid, codes, _props: granted.put([c.value for c in codes])
    wanted = [("a/#", 0), ("+/b", 1), ("ü/€", 2), ("$share/g/a", 1)]
    if link.version == 5:
        options = [
            SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True, retainHandling=2),
            SubscribeOptions(qos=2),
        ]
        _, mid = link.client.subscribe([("a/#", options[0]), ("b", options[1])])
        assert link.receive() == Subscribe(
            mid,
            (
                Subscription("a/#", 1, no_local=True, retain_as_published=True, retain_handling=2),
                Subscription("b", 2),
            ),
        )
    else:
        _, mid = link.client.subscribe(wanted)
        assert link.receive() == Subscribe(mid, tuple(Subscription(name, qos) for name, qos in wanted))
    link.send(SubAck(mid, (1, 0x80)))
    assert granted.get(timeout=TIMEOUT_S) == [1, 0x80]
    left: queue.Queue[int] = queue.Queue()
    link.client.on_unsubscribe = lambda _client, _data, mid, _codes, _props: left.put(mid)
    _, mid = link.client.unsubscribe(["a/#", "b"])
    assert link.receive() == Unsubscribe(mid, ("a/#", "b"))
    link.send(UnsubAck(mid, (0, 0x11) if link.version == 5 else ()))
    assert left.get(timeout=TIMEOUT_S) == mid


@pytest.mark.parametrize("version", [4, 5])
def test_the_connect_of_a_paho_client_is_read_with_all_it_carries(version: int) -> None:
    link = Link(version)
    link.client.username_pw_set("pi", "raspberry")
    link.client.will_set("status/7", b"gone", qos=2, retain=True)
    will = Will("status/7", b"gone", qos=2, retain=True)
    assert link.open() == Connect("paho-ü", keep_alive=77, username="pi", password=b"raspberry", will=will)
    link.client.disconnect()
    assert link.receive() == Disconnect()
    link.close()


@given(topics, st.binary(max_size=100), st.lists(st.tuples(topics, topics), max_size=3))
def test_the_connect_properties_of_a_paho_client_are_read(
    topic: str, data: bytes, pairs: list[tuple[str, str]]
) -> None:
    properties = Properties(packettypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    properties.ReceiveMaximum = 20
    properties.UserProperty = pairs
    will_properties = Properties(packettypes.WILLMESSAGE)
    will_properties.WillDelayInterval = 30
    will_properties.ResponseTopic = topic
    will_properties.CorrelationData = data
    wire = (
        b"\x00\x04MQTT\x05\x06\x00\x3c"
        + properties.pack()
        + b"\x00\x01c"
        + will_properties.pack()
        + len(topic.encode()).to_bytes(2, "big")
        + topic.encode()
        + b"\x00\x00"
    )
    frame = b"\x10" + paho_varint(len(wire)) + wire
    [packet] = Decoder().feed(frame)
    assert packet == Connect(
        "c",
        session_expiry_interval=3600,
        receive_maximum=20,
        user_properties=tuple(pairs),
        will=Will(topic, will_delay_interval=30, response_topic=topic, correlation_data=data),
    )


def paho_varint(value: int) -> bytes:
    return bytes(VariableByteIntegers.encode(value))


def test_what_paho_takes_by_mistake_we_refuse() -> None:
    # Each of these its decoder reads without complaint.
    for wire, version in (
        (b"\x32\x06\x00\x01t\x00\x00\x00", 5),  # packet identifier 0 [MQTT-2.2.1-3]
        (b"\x40\x02\x00\x00", 4),
        (b"\x30\x04\x00\x01#x", 4),  # a wildcard in a topic name [MQTT-3.3.2-2]
        (b"\x30\x04\x00\x01\x00x", 4),  # U+0000 [MQTT-1.5.4-2]
        (b"\x30\x05\x00\x01t\x80\x00", 5),  # a property length longer than it has to be [MQTT-1.5.5-1]
        (b"\x20\x02\xfe\x00", 4),  # reserved acknowledge flags [MQTT-3.2.2-1]
    ):
        assert their_opinion(wire, version) is not None
        assert isinstance(outcome(wire, version), WireError)
