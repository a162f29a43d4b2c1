"""The peers: where each has its codec, and the statements that use it as its authors would."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from typing import Any

from contenders import Entry, Missing, Peer, Read, arguments_of, each_of, packet_ids_of
from inputs import Message, wire_of

MQTT_5_ONLY = "speaks MQTT 5 only"


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
        names = arguments_of(message) | {
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
        return self._contender("result = read_all(view)", names, each_of(self._fields))

    def encode_puback(self, packet_id: int) -> Entry:
        names = {"PubAckPacket": self._mqtt5.PubAckPacket}
        return self._contender(f"result = PubAckPacket({packet_id}).write()", names)

    def decode_pubacks(self, stream: bytes) -> Entry:
        names = {"read_all": self._read_all, "view": memoryview(stream)}
        return self._contender("result = read_all(view)", names, packet_ids_of("packet_id"))

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
        names = arguments_of(message) | {
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
        return self._contender("result = decode_all(data)", names, each_of(self._fields))

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
        names = arguments_of(message) | {
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
        names = arguments_of(message) | {
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
        return self._contender("buffer.feed(data); result = list(buffer)", names, each_of(self._fields))

    def encode_puback(self, packet_id: int) -> Entry:
        names = {"encode": self._codec.encode, "PubAck": self._publish.PubAck}
        return self._contender(f"result = encode(PubAck(packet_id={packet_id}), version='5.0')", names)

    def decode_pubacks(self, stream: bytes) -> Entry:
        names = {"buffer": self._buffer_class("5.0"), "data": stream}
        return self._contender("buffer.feed(data); result = list(buffer)", names, packet_ids_of("packet_id"))

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
