"""The rows of the tables: which operations are compared, on which packets, with which targets.

A `Comparison` is one set of contenders that make the same thing from the same inputs and are timed in the same rounds:
one or more of ours (each a row), the peers, and where it makes sense the floor. `TARGETS` of issue rows are times that
mqtt5 takes for the same result; `FLOOR_LIMIT` is how many times the floor we may take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from contenders import Contender, Entry, Missing, Peer, Read, one_by_one
from floor import Floor
from inputs import (
    CONTENT_TYPE,
    NON_ASCII_TOPIC,
    STREAM_LENGTH,
    USER_PROPERTIES,
    Message,
    puback,
    stream_of,
)
from ours import Iotwire
from peers import Mqtt5

REFERENCE = "mqtt5"
NO_FLOOR = Missing("floor", "none for this operation")


@dataclass(frozen=True)
class Row:
    """One of our ways to do an operation. Targets are None where none was set."""

    label: str
    contender: Contender
    target: float | None = None
    floor_limit: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Contenders that make the same thing. Times are divided by `operations`: the packets in a stream, else one."""

    name: str
    rows: tuple[Row, ...]
    peers: tuple[Entry, ...]
    expected: object
    floor: Entry = NO_FLOOR
    operations: int = 1

    @property
    def unroll(self) -> int:
        return 10 if self.operations == 1 else 1

    def contenders(self) -> Iterator[Contender]:
        """Everybody who takes part: ours, the peers, the floor."""
        for entry in chain((row.contender for row in self.rows), self.peers, (self.floor,)):
            if isinstance(entry, Contender):
                yield entry

    def check(self) -> None:
        """Everybody makes the same, or nothing is timed."""
        for contender in self.contenders():
            contender.check(self.expected)


class Comparisons:
    """Builds the comparisons out of the libraries that are there."""

    def __init__(self, ours: Iotwire, peers: list[Peer], floor: Floor | Missing) -> None:
        self._ours = ours
        self._peers = peers
        self._floor = floor

    def main(self) -> Iterator[Comparison]:
        """The figures that were promised: PUBLISH of QoS 1 in version 5, 33-character topic, 256 B payload."""
        ours, message = self._ours, Message()
        described = Message(content_type=CONTENT_TYPE, user_properties=USER_PROPERTIES)
        yield self._encode(
            "encode",
            message,
            Row("encode_publish, positional", ours.encode_positional(message), 7),
            Row("encode_publish, options by keyword", ours.encode_by_keyword(message), 4),
            Row("encode_publish, all by keyword", ours.encode_all_by_keyword(message), 4),
            Row("Publish(...).encode()", ours.encode_object(message), 3),
            Row("PreparedPublish.encode", ours.encode_prepared(message), 8),
        )
        yield self._stream("stream", "decode a stream of 200", stream_of(message), target=6, floor_limit=1.35)
        yield self._decode("decode", "decode one, read topic, payload, qos", message, Read.MAIN, 2.5)
        yield self._decode_view("decode-view", message, Read.MAIN, 2.5)
        yield self._encode(
            "properties-encode",
            described,
            Row("content type + 2 user properties: encode", ours.encode_positional(described), 3.5),
        )
        yield self._decode("properties-decode", "  decode one, reading nothing", described, Read.NOTHING, 5)
        yield self._decode_view("properties-decode-view", described, Read.NOTHING, 5)
        yield self._stream(
            "properties-stream", "  decode a stream of 200, reading nothing", stream_of(described), target=5
        )
        yield self._decode("properties-read", "  decode one and read all", described, Read.ALL, 2.5)
        yield self._decode_view("properties-read-view", described, Read.ALL, 2.5)
        yield self._puback_stream()
        yield self._puback_encode()

    def further(self) -> Iterator[Comparison]:
        """The same on other packets, and the ways that have no counterpart: no target was set for these."""
        ours, message = self._ours, Message()
        described = Message(content_type=CONTENT_TYPE, user_properties=USER_PROPERTIES)
        distinct = stream_of(message, distinct_topics=True)
        yield self._stream("distinct-stream", "decode a stream of 200 different topics", distinct)
        never_again = stream_of(described, distinct_topics=True, distinct_properties=True)
        yield self._stream("never-again-stream", "  with different properties too", never_again)
        yield self._each("never-again-decode", "  the same one by one, reading nothing", never_again, Read.NOTHING)
        yield self._each("never-again-read", "  the same one by one, read all", never_again, Read.ALL)
        for name, title, variant in (
            ("16B", "16 B payload", replace(message, payload=message.payload[:16])),
            ("4KiB", "4 KiB payload", replace(message, payload=message.payload * 16)),
            ("qos0", "QoS 0", replace(message, qos=0, packet_id=None)),
            ("v311", "version 3.1.1", replace(message, version=4)),
            ("non-ascii", "non-ASCII topic", replace(message, topic=NON_ASCII_TOPIC)),
        ):
            row = Row(f"{title}: encode_publish, positional", ours.encode_positional(variant))
            yield self._encode(f"{name}-encode", variant, row)
            yield self._stream(f"{name}-stream", "  decode a stream of 200", stream_of(variant))
            yield self._decode(f"{name}-decode", "  decode one, read topic, payload, qos", variant, Read.MAIN)
        yield self._encode(
            "properties-ways",
            described,
            Row("content type + 2 user properties: Publish(...).encode()", ours.encode_object(described)),
            Row("  PreparedPublish.encode", ours.encode_prepared(described)),
        )
        yield self._encode(
            "header", message, Row("encode_publish_header (its payload apart)", ours.encode_header(message))
        )
        yield self._other_ways_to_receive(message)
        yield from self._ways_to_decode_one(message)

    def _encode(self, name: str, message: Message, *rows: Row) -> Comparison:
        return Comparison(
            name,
            rows,
            tuple(peer.encode(message) for peer in self._peers),
            message.wire,
            self._floor if isinstance(self._floor, Missing) else self._floor.copy(message.wire),
        )

    def _decode(self, name: str, label: str, message: Message, read: Read, target: float | None = None) -> Comparison:
        return Comparison(
            name,
            (Row(label, self._ours.decode(message, read), target),),
            tuple(peer.decode(message, read) for peer in self._peers),
            message.fields,
        )

    def _decode_view(self, name: str, message: Message, read: Read, target: float) -> Comparison:
        # The most that can be done for mqtt5: in the row before, all get the bytes that were received, and it has to
        # make the memoryview that its `read` asks for.
        row = Row("    the same, mqtt5's memoryview made beforehand", self._ours.decode(message, read), target)
        rivals = tuple(peer.decode(message, read, given="view") for peer in self._peers if isinstance(peer, Mqtt5))
        return Comparison(name, (row,), rivals, message.fields)

    def _each(self, name: str, label: str, messages: list[Message], read: Read) -> Comparison:
        decoders = (peer.decode(messages[0], read) for peer in self._peers if peer.name == REFERENCE)
        return Comparison(
            name,
            (Row(label, one_by_one(self._ours.decode(messages[0], read), messages)),),
            tuple(one_by_one(decoder, messages) for decoder in decoders),
            messages[-1].fields,
            operations=len(messages),
        )

    def _stream(
        self,
        name: str,
        label: str,
        messages: list[Message],
        target: float | None = None,
        floor_limit: float | None = None,
    ) -> Comparison:
        return Comparison(
            name,
            (Row(label, self._ours.decode_stream(messages), target, floor_limit),),
            tuple(peer.decode_stream(messages) for peer in self._peers),
            [message.fields for message in messages],
            self._floor if isinstance(self._floor, Missing) else self._floor.publishes(messages),
            operations=len(messages),
        )

    def _puback_stream(self) -> Comparison:
        packet_ids = list(range(1, STREAM_LENGTH + 1))
        stream = b"".join(puback(packet_id) for packet_id in packet_ids)
        return Comparison(
            "puback-stream",
            (Row("PUBACK: decode a stream of 200", self._ours.decode_pubacks(stream), 8),),
            tuple(peer.decode_pubacks(stream) for peer in self._peers),
            packet_ids,
            self._floor if isinstance(self._floor, Missing) else self._floor.pubacks(packet_ids),
            operations=STREAM_LENGTH,
        )

    def _puback_encode(self) -> Comparison:
        return Comparison(
            "puback-encode",
            (Row("PUBACK: encode", self._ours.encode_puback(1234), 2.5),),
            tuple(peer.encode_puback(1234) for peer in self._peers),
            puback(1234),
            self._floor if isinstance(self._floor, Missing) else self._floor.copy(puback(1234)),
        )

    def _other_ways_to_receive(self, message: Message) -> Comparison:
        messages = stream_of(message)
        return Comparison(
            "receive",
            (
                Row("get_buffer, copy, buffer_updated of 200", self._ours.decode_received(messages)),
                Row('Decoder(payload="view").feed of 200', self._ours.decode_stream(messages, payload="view")),
            ),
            tuple(peer.decode_stream(messages) for peer in self._peers if peer.name == REFERENCE),
            [message.fields for message in messages],
            operations=len(messages),
        )

    def _ways_to_decode_one(self, message: Message) -> Iterator[Comparison]:
        rivals = tuple(peer.decode(message, Read.MAIN) for peer in self._peers if isinstance(peer, Mqtt5))
        row = Row("decode one and read by Decoder.feed", self._ours.decode_by_feed(message, Read.MAIN))
        yield Comparison("by-feed", (row,), rivals, message.fields)
        rivals = tuple(peer.decode(message, Read.MAIN, given="data") for peer in self._peers if isinstance(peer, Mqtt5))
        row = Row("decode one and read, mqtt5 given bytes (undocumented)", self._ours.decode(message, Read.MAIN))
        yield Comparison("mqtt5-bytes", (row,), rivals, message.fields)
