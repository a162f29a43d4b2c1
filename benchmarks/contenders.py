"""Each library's own best way to do each operation, as one statement.

A `Contender` is a statement with the names it uses; it leaves what it made in `result`, and `outcome` turns that into
plain values that must equal everybody else's before a clock starts. Everybody gets the same inputs, made beforehand in
the type that its documentation asks for. Where a library has no callable codec for an operation the answer is a
`Missing` that says why: nothing is pieced together on its behalf.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from inputs import Message, wire_of

MQTT_5_ONLY = "speaks MQTT 5 only"


class Read(Enum):
    """What is read from a packet once it is decoded."""

    NOTHING = "nothing"
    MAIN = "topic, payload and qos"
    ALL = "every field and property it carries"


@dataclass(frozen=True)
class Contender:
    """One library's way: `statement` is what is timed, exactly as it stands."""

    who: str
    statement: str
    names: Mapping[str, Any]
    outcome: Callable[[Any], Any]

    def check(self, expected: object) -> None:
        """Run the statement once and compare what it made."""
        namespace = dict(self.names)
        exec(self.statement, namespace)
        got = self.outcome(namespace["result"])
        if got != expected:
            raise AssertionError(f"{self.who}: {self.statement}\n   made {got!r}\nwanted {expected!r}")


@dataclass(frozen=True)
class Missing:
    """A library without such an operation, and why."""

    who: str
    why: str


Entry = Contender | Missing


def same(result: Any) -> Any:
    """The outcome of an encoder: its bytes."""
    return result


class Peer(ABC):
    """A library under comparison. One that is not installed fails in its constructor."""

    name: str
    distribution: str

    def __init__(self) -> None:
        self.version = version(self.distribution)

    @abstractmethod
    def encode(self, message: Message) -> Entry:
        """Make the bytes of one PUBLISH from its arguments."""

    @abstractmethod
    def decode(self, message: Message, read: Read) -> Entry:
        """Decode one complete PUBLISH from its bytes."""

    @abstractmethod
    def decode_stream(self, messages: list[Message]) -> Entry:
        """Decode one buffer of many PUBLISH packets into a list."""

    @abstractmethod
    def encode_puback(self, packet_id: int) -> Entry:
        """Make the bytes of one PUBACK of success."""

    @abstractmethod
    def decode_pubacks(self, stream: bytes) -> Entry:
        """Decode one buffer of many PUBACK packets into a list."""

    def _contender(self, statement: str, names: Mapping[str, Any], outcome: Callable[[Any], Any] = same) -> Contender:
        return Contender(self.name, statement, names, outcome)

    def _missing(self, why: str) -> Missing:
        return Missing(self.name, why)


def _arguments_of(message: Message) -> dict[str, Any]:
    """The values that encoding statements name."""
    return {
        "topic": message.topic,
        "payload": message.payload,
        "content_type": message.content_type,
        "user_properties": message.user_properties,
    }


class Mqtt5(Peer):
    """mqtt5 (Rust): packet classes with `write()`, and `read(memoryview)`, as its README and stub file show them."""

    name = distribution = "mqtt5"

    def __init__(self) -> None:
        super().__init__()
        self._mqtt5 = import_module("mqtt5")

    def encode(self, message: Message) -> Entry:
        if message.version != 5:
            return self._missing(MQTT_5_ONLY)
        options = f", qos=AT_LEAST_ONCE, packet_id={message.packet_id}" if message.qos else ""
        properties = ", content_type=content_type, user_properties=user_properties" if message.has_properties else ""
        names = _arguments_of(message) | {
            "PublishPacket": self._mqtt5.PublishPacket,
            "AT_LEAST_ONCE": self._mqtt5.QoS.AT_LEAST_ONCE,
            "user_properties": list(message.user_properties),
        }
        return self._contender(f"result = PublishPacket(topic, payload{options}{properties}).write()", names)

    def decode(self, message: Message, read: Read, *, given: str = "memoryview(data)") -> Entry:
        """`given` is what `read` is called with: a memoryview of what came, `view` made beforehand, or the bytes."""
        if message.version != 5:
            return self._missing(MQTT_5_ONLY)
        reads = {
            Read.NOTHING: "",
            Read.MAIN: "; result.topic; result.payload; result.qos",
            Read.ALL: "; result.topic; result.payload; result.qos; result.packet_id"
            "; result.content_type; result.user_properties",
        }[read]
        names = {"read": self._mqtt5.read, "view": memoryview(message.wire), "data": message.wire}
        return self._contender(f"result, _ = read({given}){reads}", names, self._fields)

    def decode_stream(self, messages: list[Message]) -> Entry:
        if messages[0].version != 5:
            return self._missing(MQTT_5_ONLY)
        names = {"read_all": self._read_all, "view": memoryview(wire_of(messages))}
        return self._contender("result = read_all(view)", names, _each(self._fields))

    def encode_puback(self, packet_id: int) -> Entry:
        names = {"PubAckPacket": self._mqtt5.PubAckPacket}
        return self._contender(f"result = PubAckPacket({packet_id}).write()", names)

    def decode_pubacks(self, stream: bytes) -> Entry:
        names = {"read_all": self._read_all, "view": memoryview(stream)}
        return self._contender("result = read_all(view)", names, _packet_ids("packet_id"))

    def _read_all(self, view: memoryview) -> list[Any]:
        # A caller's shortest loop over `read`: it takes one packet and says how long that was.
        read = self._mqtt5.read
        packets = []
        while view:
            packet, size = read(view)
            packets.append(packet)
            view = view[size:]
        return packets

    @staticmethod
    def _fields(packet: Any) -> tuple[object, ...]:
        return (
            packet.topic,
            packet.payload,
            packet.qos,
            packet.packet_id,
            packet.content_type,
            tuple(packet.user_properties),
        )


class Mqttium(Peer):
    """mqttium: the primitives its own client calls for each packet; provisional, but callable without a socket."""

    name = distribution = "mqttium"

    def __init__(self) -> None:
        super().__init__()
        self._publish = import_module("mqttium.packets._publish")
        self._acks = import_module("mqttium.packets._ack")
        self._types = import_module("mqttium.types")
        self._decoder_class = import_module("mqttium.codec").IncrementalDecoder
        enums = import_module("mqttium.enums")
        self._qos = enums.QoS

    def encode(self, message: Message) -> Entry:
        encoder = "encode_publish_item_v5" if message.version == 5 else "encode_publish_item_v311"
        # Properties are made anew each time, as for everybody: an instance used twice remembers its bytes.
        properties = (
            "Properties({'content_type': content_type, 'user_property': user_properties})"
            if message.has_properties
            else "None"
        )
        names = _arguments_of(message) | {
            "encode": getattr(self._publish, encoder),
            "QOS": self._qos(message.qos),
            "Properties": self._types.Properties,
        }
        return self._contender(
            "result = encode(topic, payload, qos=QOS, retain=False, dup=False, "
            f"mid={message.packet_id}, properties={properties})",
            names,
        )

    def decode(self, message: Message, read: Read) -> Entry:
        reads = {
            Read.NOTHING: "",
            Read.MAIN: "; result.topic; result.payload; result.qos",
            Read.ALL: "; result.topic; result.payload; result.qos; result.mid"
            "; result.properties.get('content_type'); result.properties.get('user_property')",
        }[read]
        names = {"decode_one": self._one_decoder(message), "data": message.wire}
        return self._contender(f"result = decode_one(data){reads}", names, self._fields)

    def decode_stream(self, messages: list[Message]) -> Entry:
        names = {"decode_all": self._stream_decoder(messages[0]), "data": wire_of(messages)}
        return self._contender("result = decode_all(data)", names, _each(self._fields))

    def encode_puback(self, packet_id: int) -> Entry:
        names = {"encode_puback": self._acks.encode_puback_success}
        return self._contender(f"result = encode_puback({packet_id})", names)

    def decode_pubacks(self, stream: bytes) -> Entry:
        decoder, decode_puback = self._decoder_class(), self._acks.decode_puback_v5

        def decode_all(data: bytes) -> list[tuple[int, int, Any]]:
            decoder.feed(data)
            acknowledgements = []
            while (raw := decoder.next_packet()) is not None:
                acknowledgements.append(decode_puback(raw.remaining))
            return acknowledgements

        names = {"decode_all": decode_all, "data": stream}
        return self._contender("result = decode_all(data)", names, lambda found: [mid for mid, _, _ in found])

    def _message_decoder(self, message: Message) -> Callable[[Any], Any]:
        """From a framed packet to the message its client delivers."""
        make_message, qos_class = self._types._decoded_message, self._qos
        decode_v5, decode_v311 = self._publish.decode_publish_fields_v5, self._publish.decode_qos12_fields_v311

        def from_v5(raw: Any) -> Any:
            qos = qos_class(raw.flags >> 1 & 3)
            topic, payload, mid, retain, dup, properties, _ = decode_v5(raw, qos)
            return make_message(topic, payload, qos, retain, dup, mid, properties)

        def from_v311(raw: Any) -> Any:
            qos = qos_class(raw.flags >> 1 & 3)
            topic, payload, mid, retain, dup = decode_v311(raw)
            return make_message(topic, payload, qos, retain, dup, mid, None)

        return from_v5 if message.version == 5 else from_v311

    def _one_decoder(self, message: Message) -> Callable[[bytes], Any]:
        decoder, decode_message = self._decoder_class(), self._message_decoder(message)

        def decode_one(data: bytes) -> Any:
            decoder.feed(data)
            return decode_message(decoder.next_packet())

        return decode_one

    def _stream_decoder(self, message: Message) -> Callable[[bytes], list[Any]]:
        decoder, decode_message = self._decoder_class(), self._message_decoder(message)

        def decode_all(data: bytes) -> list[Any]:
            decoder.feed(data)
            messages = []
            while (raw := decoder.next_packet()) is not None:
                messages.append(decode_message(raw))
            return messages

        return decode_all

    @staticmethod
    def _fields(message: Any) -> tuple[object, ...]:
        found = {} if message.properties is None else message.properties.values
        return (
            message.topic,
            message.payload,
            message.qos,
            message.mid,
            found.get("content_type"),
            found.get("user_property", ()),
        )


class Ohmqtt(Peer):
    """ohmqtt: packet classes with `encode()`, and `decode_packet(bytes)` for one framed packet."""

    name = distribution = "ohmqtt"
    _NO_STREAM = "its stream decoder reads from a socket"

    def __init__(self) -> None:
        super().__init__()
        self._packet = import_module("ohmqtt.packet")
        self._property = import_module("ohmqtt.property")
        self._qos = import_module("ohmqtt.mqtt_spec").MQTTQoS

    def encode(self, message: Message) -> Entry:
        if message.version != 5:
            return self._missing(MQTT_5_ONLY)
        options = f", qos=QOS, packet_id={message.packet_id}" if message.qos else ""
        properties = (
            ", properties=MQTTPublishProps(ContentType=content_type, UserProperty=user_properties)"
            if message.has_properties
            else ""
        )
        names = _arguments_of(message) | {
            "MQTTPublishPacket": self._packet.MQTTPublishPacket,
            "MQTTPublishProps": self._property.MQTTPublishProps,
            "QOS": self._qos(message.qos),
        }
        return self._contender(f"result = MQTTPublishPacket(topic, payload{options}{properties}).encode()", names)

    def decode(self, message: Message, read: Read) -> Entry:
        if message.version != 5:
            return self._missing(MQTT_5_ONLY)
        reads = {
            Read.NOTHING: "",
            Read.MAIN: "; result.topic; result.payload; result.qos",
            Read.ALL: "; result.topic; result.payload; result.qos; result.packet_id"
            "; result.properties.ContentType; result.properties.UserProperty",
        }[read]
        names = {"decode_packet": self._packet.decode_packet, "data": message.wire}
        return self._contender(f"result = decode_packet(data){reads}", names, self._fields)

    def decode_stream(self, messages: list[Message]) -> Entry:
        return self._missing(self._NO_STREAM)

    def encode_puback(self, packet_id: int) -> Entry:
        names = {"MQTTPubAckPacket": self._packet.MQTTPubAckPacket}
        return self._contender(f"result = MQTTPubAckPacket({packet_id}).encode()", names)

    def decode_pubacks(self, stream: bytes) -> Entry:
        return self._missing(self._NO_STREAM)

    @staticmethod
    def _fields(packet: Any) -> tuple[object, ...]:
        found = packet.properties
        return (
            packet.topic,
            packet.payload,
            packet.qos,
            packet.packet_id or None,
            getattr(found, "ContentType", None),
            tuple(getattr(found, "UserProperty", None) or ()),
        )


class Zmqtt(Peer):
    """zmqtt: `encode`, `decode` and `PacketBuffer` of its internal codec package, sans-IO and callable."""

    name = distribution = "zmqtt"

    def __init__(self) -> None:
        super().__init__()
        self._codec = import_module("zmqtt._internal.packets.codec")
        self._publish = import_module("zmqtt._internal.packets.publish")
        self._properties = import_module("zmqtt._internal.packets.properties")
        self._buffer_class = import_module("zmqtt._internal.packets.reader").PacketBuffer
        self._qos = import_module("zmqtt").QoS

    def encode(self, message: Message) -> Entry:
        properties = (
            ", properties=PublishProperties(content_type=content_type, user_properties=user_properties)"
            if message.has_properties
            else ""
        )
        names = _arguments_of(message) | {
            "encode": self._codec.encode,
            "Publish": self._publish.Publish,
            "PublishProperties": self._properties.PublishProperties,
            "QOS": self._qos(message.qos),
            "VERSION": self._version_name(message),
        }
        return self._contender(
            "result = encode(Publish(topic=topic, payload=payload, qos=QOS, retain=False, dup=False, "
            f"packet_id={message.packet_id}{properties}), version=VERSION)",
            names,
        )

    def decode(self, message: Message, read: Read) -> Entry:
        reads = {
            Read.NOTHING: "",
            Read.MAIN: "; result.topic; result.payload; result.qos",
            Read.ALL: "; result.topic; result.payload; result.qos; result.packet_id"
            "; result.properties.content_type; result.properties.user_properties",
        }[read]
        names = {"decode": self._codec.decode, "data": message.wire, "VERSION": self._version_name(message)}
        return self._contender(f"result, _ = decode(data, version=VERSION){reads}", names, self._fields)

    def decode_stream(self, messages: list[Message]) -> Entry:
        names = {"buffer": self._buffer_class(self._version_name(messages[0])), "data": wire_of(messages)}
        return self._contender("buffer.feed(data); result = list(buffer)", names, _each(self._fields))

    def encode_puback(self, packet_id: int) -> Entry:
        names = {"encode": self._codec.encode, "PubAck": self._publish.PubAck}
        return self._contender(f"result = encode(PubAck(packet_id={packet_id}), version='5.0')", names)

    def decode_pubacks(self, stream: bytes) -> Entry:
        names = {"buffer": self._buffer_class("5.0"), "data": stream}
        return self._contender("buffer.feed(data); result = list(buffer)", names, _packet_ids("packet_id"))

    @staticmethod
    def _version_name(message: Message) -> str:
        return "5.0" if message.version == 5 else "3.1.1"

    @staticmethod
    def _fields(packet: Any) -> tuple[object, ...]:
        found = packet.properties
        return (
            packet.topic,
            packet.payload,
            packet.qos,
            packet.packet_id,
            None if found is None else found.content_type,
            () if found is None else tuple(found.user_properties),
        )


class Paho(Peer):
    """paho-mqtt: internal functions that decode a body already framed, which is less work than the others do."""

    name = "paho"
    distribution = "paho-mqtt"
    _NO_ENCODER = "its encoders are methods of the client that queue for a socket"
    _NO_STREAM = "its framing reads from a socket"

    def __init__(self) -> None:
        super().__init__()
        self._packet = import_module("paho.mqtt._packet")
        self._versions = import_module("paho.mqtt.enums").MQTTProtocolVersion

    def encode(self, message: Message) -> Entry:
        return self._missing(self._NO_ENCODER)

    def decode(self, message: Message, read: Read) -> Entry:
        reads = {
            Read.NOTHING: "",
            Read.MAIN: "; result.topic; result.payload; result.qos",
            Read.ALL: "; result.topic; result.payload; result.qos; result.mid"
            "; result.properties.ContentType; result.properties.UserProperty",
        }[read]
        names = {
            "decode_publish": self._packet.decode_publish,
            "body": message.body,
            "VERSION": self._versions.MQTTv5 if message.version == 5 else self._versions.MQTTv311,
        }
        header = message.wire[0]
        return self._contender(f"result = decode_publish({header}, body, VERSION){reads}", names, self._fields)

    def decode_stream(self, messages: list[Message]) -> Entry:
        return self._missing(self._NO_STREAM)

    def encode_puback(self, packet_id: int) -> Entry:
        return self._missing(self._NO_ENCODER)

    def decode_pubacks(self, stream: bytes) -> Entry:
        return self._missing(self._NO_STREAM)

    @staticmethod
    def _fields(packet: Any) -> tuple[object, ...]:
        found = packet.properties
        return (
            packet.topic.decode(),
            packet.payload,
            packet.qos,
            packet.mid or None,
            getattr(found, "ContentType", None),
            tuple(getattr(found, "UserProperty", ())),
        )


class Iotwire:
    """Ours, in all the ways the public API offers."""

    name = "iotwire"

    def __init__(self) -> None:
        self._mqtt = import_module("iotwire.mqtt")

    @property
    def version(self) -> str:
        return version("iotwire")

    def encode_positional(self, message: Message) -> Contender:
        options = f", {message.qos}, False, {message.packet_id}" if message.qos or message.version != 5 else ""
        protocol = "" if message.version == 5 else f", False, {message.version}"
        properties = ", content_type=content_type, user_properties=user_properties" if message.has_properties else ""
        return self._encoder(message, f"encode_publish(topic, payload{options}{protocol}{properties})")

    def encode_by_keyword(self, message: Message) -> Contender:
        return self._encoder(message, f"encode_publish(topic, payload, {self._options(message)})")

    def encode_all_by_keyword(self, message: Message) -> Contender:
        return self._encoder(message, f"encode_publish(topic=topic, payload=payload, {self._options(message)})")

    def encode_object(self, message: Message) -> Contender:
        return self._encoder(message, f"Publish(topic, payload, {self._options(message)}).encode()")

    def encode_prepared(self, message: Message) -> Contender:
        properties: dict[str, Any] = (
            {"content_type": message.content_type, "user_properties": message.user_properties}
            if message.has_properties
            else {}
        )
        prepared = self._mqtt.PreparedPublish(message.topic, message.qos, False, message.version, **properties)
        statement = f"result = prepared.encode(payload, {message.packet_id})"
        return Contender(self.name, statement, {"prepared": prepared, "payload": message.payload}, same)

    def encode_header(self, message: Message) -> Contender:
        """All but the payload, for a caller that writes the two with `writelines`."""
        statement = f"result = encode_publish_header(topic, payload, {message.qos}, False, {message.packet_id})"
        names = _arguments_of(message) | {"encode_publish_header": self._mqtt.encode_publish_header}
        return Contender(self.name, statement, names, lambda header: header + message.payload)

    def decode(self, message: Message, read: Read) -> Contender:
        reads = {
            Read.NOTHING: "",
            Read.MAIN: "; result.topic; result.payload; result.qos",
            Read.ALL: "; result.topic; result.payload; result.qos; result.packet_id"
            "; result.content_type; result.user_properties",
        }[read]
        names = {"decode": self._mqtt.decode, "data": message.wire}
        protocol = "" if message.version == 5 else f", {message.version}"
        return Contender(self.name, f"result, _ = decode(data{protocol}){reads}", names, self._fields)

    def decode_by_feed(self, message: Message, read: Read) -> Contender:
        decoded = self.decode(message, read)
        statement = decoded.statement.replace("result, _ = decode(data)", "[result] = decoder.feed(data)")
        names = {"decoder": self._mqtt.Decoder(message.version), "data": message.wire}
        return Contender(self.name, statement, names, self._fields)

    def decode_stream(self, messages: list[Message], *, payload: str = "bytes") -> Contender:
        decoder = self._mqtt.Decoder(messages[0].version, payload=payload)
        names = {"decoder": decoder, "data": wire_of(messages)}
        return Contender(self.name, "result = decoder.feed(data)", names, _each(self._fields))

    def decode_received(self, messages: list[Message]) -> Contender:
        """The way of asyncio.BufferedProtocol: the copy into the buffer stands for what the kernel does."""
        decoder, stream = self._mqtt.Decoder(messages[0].version), wire_of(messages)

        def receive() -> Any:
            decoder.get_buffer(len(stream))[: len(stream)] = stream
            return decoder.buffer_updated(len(stream))

        return Contender(self.name, "result = receive()", {"receive": receive}, _each(self._fields))

    def encode_puback(self, packet_id: int) -> Contender:
        return Contender(self.name, f"result = PubAck({packet_id}).encode()", {"PubAck": self._mqtt.PubAck}, same)

    def decode_pubacks(self, stream: bytes) -> Contender:
        names = {"decoder": self._mqtt.Decoder(5), "data": stream}
        return Contender(self.name, "result = decoder.feed(data)", names, _packet_ids("packet_id"))

    def _encoder(self, message: Message, call: str) -> Contender:
        names = _arguments_of(message) | {
            "encode_publish": self._mqtt.encode_publish,
            "Publish": self._mqtt.Publish,
        }
        return Contender(self.name, f"result = {call}", names, same)

    @staticmethod
    def _options(message: Message) -> str:
        properties = ", content_type=content_type, user_properties=user_properties" if message.has_properties else ""
        return f"qos={message.qos}, packet_id={message.packet_id}{properties}"

    @staticmethod
    def _fields(packet: Any) -> tuple[object, ...]:
        return (
            packet.topic,
            bytes(packet.payload),
            packet.qos,
            packet.packet_id,
            packet.content_type,
            packet.user_properties,
        )


def installed_peers() -> tuple[list[Peer], list[Missing]]:
    """The peers that are here, and those that are not."""
    present: list[Peer] = []
    absent: list[Missing] = []
    for peer_class in (Mqtt5, Mqttium, Ohmqtt, Zmqtt, Paho):
        try:
            present.append(peer_class())
        except (ImportError, PackageNotFoundError) as error:
            absent.append(Missing(peer_class.name, f"not installed ({error})"))
    return present, absent


def _each(fields: Callable[[Any], tuple[object, ...]]) -> Callable[[Iterable[Any]], list[tuple[object, ...]]]:
    return lambda packets: [fields(packet) for packet in packets]


def _packet_ids(attribute: str) -> Callable[[Iterable[Any]], list[int]]:
    return lambda packets: [getattr(packet, attribute) for packet in packets]
