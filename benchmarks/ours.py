"""iotwire, in all the ways that its public API offers."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

from contenders import Contender, Read, arguments_of, each_of, packet_ids_of, same
from inputs import Message, wire_of


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
        names = arguments_of(message) | {"encode_publish_header": self._mqtt.encode_publish_header}
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
        return Contender(self.name, "result = decoder.feed(data)", names, each_of(self._fields))

    def decode_received(self, messages: list[Message]) -> Contender:
        """The way of asyncio.BufferedProtocol: the copy into the buffer stands for what the kernel does."""
        decoder, stream = self._mqtt.Decoder(messages[0].version), wire_of(messages)

        def receive() -> Any:
            decoder.get_buffer(len(stream))[: len(stream)] = stream
            return decoder.buffer_updated(len(stream))

        return Contender(self.name, "result = receive()", {"receive": receive}, each_of(self._fields))

    def decode_pieces(self, messages: list[Message], size: int) -> Contender:
        """A stream that arrives `size` bytes at a time."""
        feed, stream = self._mqtt.Decoder(messages[0].version).feed, wire_of(messages)
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        names = {"feed": feed, "pieces": pieces}
        statement = "result = [packet for piece in pieces for packet in feed(piece)]"
        return Contender(self.name, statement, names, each_of(self._fields))

    def encode_puback(self, packet_id: int) -> Contender:
        return Contender(self.name, f"result = PubAck({packet_id}).encode()", {"PubAck": self._mqtt.PubAck}, same)

    def decode_pubacks(self, stream: bytes) -> Contender:
        names = {"decoder": self._mqtt.Decoder(5), "data": stream}
        return Contender(self.name, "result = decoder.feed(data)", names, packet_ids_of("packet_id"))

    def _encoder(self, message: Message, call: str) -> Contender:
        names = arguments_of(message) | {
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
