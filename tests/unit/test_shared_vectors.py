"""The vectors that nobody in this project wrote (../shared/vectors/mqtt), run in place.

Most tests here walk through a whole file and report every line that disagrees, so that one bad vector hides no other.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from decoding import WAYS, changed_bytes, facts_of, outcome, positions, story
from iotwire.errors import EncodeError, IotwireError, WireError
from iotwire.mqtt import (
    Auth,
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
    decode,
    topic_matches,
    validate_topic_filter,
    validate_topic_name,
)
from support import IS_EMULATED
from vectors.mqtt import put_binary, put_frame, put_string, put_varint, read_varint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Line = dict[str, Any]


def read_lines(folder: Path, name: str) -> list[Line]:
    with (folder / "mqtt" / name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def packets(shared_vectors: Path) -> list[Line]:
    return read_lines(shared_vectors, "packets.jsonl")


def report(failures: list[str]) -> None:
    if failures:
        pytest.fail(f"{len(failures)} vectors disagree:\n" + "\n".join(failures), pytrace=False)


def name_of(line: Line) -> str:
    return f"{line['id']} {line['type']} v{line['version']} {line['hex'][:80]} ({line['why'] or line['source']})"


# Vectors whose label and the standard disagree; each with the clause.
LABELLED_VALID_BUT_REFUSED = {
    1688: "a PUBREL of 3.1.1 with a reason code and properties: 3.1.1 has a remaining length of 2 there (3.6.1)",
}
# Control characters are a SHOULD NOT (MQTT 5.0, 1.5.4): a codec takes them, and leaves the policy to a broker.
CONTROL_CHARACTER = re.compile(r"(U\+|0x)00(01|1F|7F|9F)")


def is_about_a_control_character(line: Line) -> bool:
    return line.get("layer") == "mixed" and CONTROL_CHARACTER.search(line["why"]) is not None


# Field by field.


def _properties(owner: Any) -> Line:
    """An object's properties as the vectors write them: standard names, binary as hex, user properties sorted."""
    found: Line = {}
    for name in PROPERTY_NAMES:
        value: Any = getattr(owner, name, None)
        if value is None or value == ():
            continue
        if isinstance(value, bytes):
            value = value.hex()
        elif isinstance(value, bool):
            value = int(value)
        if name == "user_properties":
            found["user_property"] = sorted([list(pair) for pair in value])
        elif name in ("subscription_identifiers", "subscription_identifier"):
            found["subscription_identifier"] = list(value) if isinstance(value, tuple) else [value]
        else:
            found[name] = value
    return found


PROPERTY_NAMES = [
    "payload_format_indicator",
    "message_expiry_interval",
    "content_type",
    "response_topic",
    "correlation_data",
    "subscription_identifiers",
    "subscription_identifier",
    "session_expiry_interval",
    "assigned_client_identifier",
    "server_keep_alive",
    "authentication_method",
    "authentication_data",
    "request_problem_information",
    "will_delay_interval",
    "request_response_information",
    "response_information",
    "server_reference",
    "reason_string",
    "receive_maximum",
    "topic_alias_maximum",
    "topic_alias",
    "maximum_qos",
    "retain_available",
    "user_properties",
    "maximum_packet_size",
    "wildcard_subscription_available",
    "subscription_identifier_available",
    "shared_subscription_available",
]


def _connect(packet: Connect, version: int) -> Line:
    will = packet.will
    return {
        "protocol_name": "MQTT",
        "level": version,
        "clean_start": packet.clean_start,
        "keepalive": packet.keep_alive,
        "client_id": packet.client_id,
        "username": packet.username,
        "password": None if packet.password is None else packet.password.hex(),
        "will": None
        if will is None
        else {
            "topic": will.topic,
            "payload": bytes(will.payload).hex(),
            "qos": will.qos,
            "retain": will.retain,
            "properties": _properties(will),
        },
    }


def _publish(packet: Publish) -> Line:
    return {
        "dup": packet.dup,
        "qos": packet.qos,
        "retain": packet.retain,
        "topic": packet.topic,
        "packet_id": packet.packet_id,
        "payload": bytes(packet.payload).hex(),
    }


def _subscribe(packet: Subscribe, version: int) -> Line:
    filters: list[Line] = []
    for subscription in packet.subscriptions:
        fields: Line = {"filter": subscription.topic_filter, "qos": subscription.qos}
        if version == 5:
            fields["no_local"] = subscription.no_local
            fields["retain_as_published"] = subscription.retain_as_published
            fields["retain_handling"] = subscription.retain_handling
        filters.append(fields)
    return {"packet_id": packet.packet_id, "filters": filters}


def fields_of(packet: Packet, version: int) -> Line:
    """A packet in the vectors' neutral names."""
    fields: Line = {"type": type(packet).__name__.upper()}
    match packet:
        case Connect():
            fields |= _connect(packet, version)
        case ConnAck():
            fields |= {"session_present": packet.session_present, "reason_code": packet.reason_code}
        case Publish():
            fields |= _publish(packet)
        case PubAck() | PubRec() | PubRel() | PubComp():
            fields |= {"packet_id": packet.packet_id, "reason_code": packet.reason_code}
        case Subscribe():
            fields |= _subscribe(packet, version)
        case SubAck() | UnsubAck():
            fields |= {"packet_id": packet.packet_id, "reason_codes": list(packet.reason_codes)}
        case Unsubscribe():
            fields |= {"packet_id": packet.packet_id, "filters": list(packet.topic_filters)}
        case Disconnect() | Auth():
            fields |= {"reason_code": packet.reason_code}
        case _:
            return fields
    if version == 5:
        fields["properties"] = _properties(packet)
    if version == 4 and isinstance(packet, UnsubAck):
        del fields["reason_codes"]  # 3.1.1 has none
    if version == 4 and isinstance(packet, Disconnect):
        del fields["reason_code"]
    return fields


def expected_fields(line: Line) -> Line:
    fields = dict(line["fields"])
    properties = fields.get("properties")
    if properties and "user_property" in properties:
        fields["properties"] = {**properties, "user_property": sorted(list(p) for p in properties["user_property"])}
    fields.pop("bridge_mode", None)
    return fields


# Canonical: no byte that the standard lets a sender leave off. That leaves out acknowledgements and DISCONNECTs that
# spell out success or an empty property length. The order of properties does not matter: a decoded packet keeps it.


def is_canonical(wire: bytes, version: int) -> bool:
    packet_type, body = wire[0] >> 4, wire[2:]
    if version == 4:
        return True
    if packet_type in (4, 5, 6, 7):
        return body[2:] not in (b"\0", b"\0\0") and not (len(body) == 4 and body[3] == 0)
    if packet_type == 14:
        return body not in (b"\0", b"\0\0") and not (len(body) == 2 and body[1] == 0)
    if packet_type == 15:
        return body != b"\0\0"
    return True


def valid_ones(packets: list[Line]) -> list[Line]:
    return [
        line
        for line in packets
        if line.get("valid") and not line["contested"] and line["id"] not in LABELLED_VALID_BUT_REFUSED
    ]


def test_valid_packets_decode_to_their_fields(packets: list[Line]) -> None:
    failures = []
    for line in valid_ones(packets):
        wire, version = bytes.fromhex(line["hex"]), line["version"]
        result = outcome(wire, version)
        if result is None or isinstance(result, IotwireError):
            failures.append(f"{name_of(line)}: {result!r}")
        elif "fields" in line:
            got, expected = fields_of(result, version), expected_fields(line)
            if got != expected:
                wrong = {
                    k: (got.get(k), expected.get(k))
                    for k in got.keys() | expected.keys()
                    if got.get(k) != expected.get(k)
                }
                failures.append(f"{name_of(line)}: got and expected {wrong}")
    report(failures)
    assert len(valid_ones(packets)) > 300


def test_valid_packets_decode_alike_however_they_arrive(packets: list[Line]) -> None:
    failures = []
    for line in valid_ones(packets):
        wire, version = bytes.fromhex(line["hex"]), line["version"]
        result = outcome(wire, version)
        failures += [
            f"{name_of(line)} {name}: {told}"
            for name, way in WAYS.items()
            if (told := story(way(wire, version))) != ([result], None)
        ]
    report(failures)


def test_canonical_packets_encode_back_to_the_same_bytes(packets: list[Line]) -> None:
    failures = []
    for line in valid_ones(packets):
        wire, version = bytes.fromhex(line["hex"]), line["version"]
        [packet] = Decoder(version).feed(wire)
        encoded = packet.encode(version)
        if is_canonical(wire, version):
            if encoded != wire:
                failures.append(f"{name_of(line)}: {encoded.hex()}")
        elif decode(encoded, version) != (packet, len(encoded)) or len(encoded) >= len(wire):
            failures.append(f"{name_of(line)}: not shorter, or not the same packet: {encoded.hex()}")
        if packet.encoded_size(version) != len(encoded):
            failures.append(f"{name_of(line)}: encoded_size {packet.encoded_size(version)}")
    report(failures)


def test_vectors_that_we_read_otherwise_are_refused_for_the_reason_given(packets: list[Line]) -> None:
    for line in packets:
        if line["id"] in LABELLED_VALID_BUT_REFUSED:
            assert isinstance(outcome(bytes.fromhex(line["hex"]), line["version"]), WireError), name_of(line)


def test_what_a_codec_must_refuse_is_refused(packets: list[Line]) -> None:
    failures = []
    for line in packets:
        if line.get("layer") == "codec":
            result = outcome(bytes.fromhex(line["hex"]), line["version"])
            # Bytes that are not a whole frame may also ask for more.
            if not isinstance(result, WireError) and (line["framed"] or result is not None):
                failures.append(f"{name_of(line)}: {result!r}")
    report(failures)


def test_what_some_decoders_tolerate_is_refused_by_the_strict_rules(packets: list[Line]) -> None:
    failures = []
    for line in packets:
        if line.get("layer") == "mixed" and not is_about_a_control_character(line):
            result = outcome(bytes.fromhex(line["hex"]), line["version"])
            if not isinstance(result, WireError) and (line["framed"] or result is not None):
                failures.append(f"{name_of(line)}: {result!r}")
    report(failures)


def test_control_characters_are_taken(packets: list[Line]) -> None:
    lines = [line for line in packets if is_about_a_control_character(line)]
    assert len(lines) >= 10
    report(
        [
            f"{name_of(line)}: {result!r}"
            for line in lines
            if isinstance(result := outcome(bytes.fromhex(line["hex"]), line["version"]), IotwireError | None)
        ]
    )


def test_incomplete_packets_ask_for_more(packets: list[Line]) -> None:
    lines = [line for line in packets if line.get("layer") == "incomplete"]
    assert lines
    for line in lines:
        wire = bytes.fromhex(line["hex"])
        assert decode(wire, line["version"]) is None, name_of(line)
        assert Decoder(line["version"]).feed(wire) == [], name_of(line)


def test_a_refusal_is_the_same_however_the_bytes_arrive(packets: list[Line]) -> None:
    failures = []
    for line in packets:
        wire, version = bytes.fromhex(line["hex"]), line["version"]
        result = outcome(wire, version)
        stories = {name: story(way(wire, version)) for name, way in WAYS.items()}
        if len({str(told) for told in stories.values()}) != 1:
            failures.append(f"{name_of(line)}: {stories}")
        elif isinstance(result, WireError) and stories["in one piece"] != ([], facts_of(result)):
            failures.append(f"{name_of(line)}: {facts_of(result)} / {stories['in one piece']}")
    report(failures)


def test_every_error_says_what_to_answer_and_where(packets: list[Line]) -> None:
    failures = []
    for line in packets:
        wire = bytes.fromhex(line["hex"])
        result = outcome(wire, line["version"])
        if isinstance(result, IotwireError):
            good = (
                isinstance(result, WireError)
                and result.clause
                and 0x80 <= result.reason_code <= 0xFF
                and 0 <= result.offset <= len(wire)
            )
            if not good:
                failures.append(f"{name_of(line)}: {result!r}")
    report(failures)


def test_no_vector_truncated_anywhere_does_worse_than_an_error(packets: list[Line]) -> None:
    for line in packets:
        wire, version = bytes.fromhex(line["hex"]), line["version"]
        whole = outcome(wire, version)
        for size in positions(len(wire)):
            cut = outcome(wire[:size], version)
            # What was refused early stays refused; a packet does not appear before its last byte.
            assert cut is None or isinstance(whole, WireError) or size >= len(whole_frame(wire)), name_of(line)


def whole_frame(wire: bytes) -> bytes:
    """The first packet of `wire` by its remaining length."""
    end = next((at for at in range(1, min(len(wire), 5)) if wire[at] < 0x80), None)
    return wire if end is None else wire[: end + 1 + read_varint(wire[1 : end + 1])]


@pytest.mark.slow
def test_no_vector_with_a_byte_changed_does_worse_than_an_error(packets: list[Line]) -> None:
    # `outcome` lets everything but our own errors through.
    for line in packets[:: 8 if IS_EMULATED else 1]:
        for wire in changed_bytes(bytes.fromhex(line["hex"])):
            outcome(wire, line["version"])


def test_whatever_a_changed_vector_decodes_to_encodes_and_decodes_again(packets: list[Line]) -> None:
    failures = []
    for line in valid_ones(packets):
        version = line["version"]
        wire = bytes.fromhex(line["hex"])
        if len(wire) > 200:
            continue
        for changed in changed_bytes(wire, exhaustive_up_to=0):
            result = outcome(changed, version)
            if result is None or isinstance(result, IotwireError):
                continue
            encoded = result.encode(version)
            if decode(encoded, version) != (result, len(encoded)) or len(encoded) != result.encoded_size(version):
                failures.append(f"{name_of(line)} {changed.hex()}: {encoded.hex()}")
    report(failures)


# strict.jsonl: who is strict, and who too strict.


def test_the_strict_file_is_answered_as_it_says(shared_vectors: Path) -> None:
    lines = read_lines(shared_vectors, "strict.jsonl")
    assert sum(not line["valid"] for line in lines) == 30
    failures = []
    for line in lines:
        result = outcome(bytes.fromhex(line["hex"]), line["version"])
        if (result is None or isinstance(result, IotwireError)) is line["valid"]:
            failures.append(f"{line['name']} {line['hex']}: {result!r}")
        elif not line["valid"] and not isinstance(result, WireError):
            failures.append(f"{line['name']} {line['hex']}: asks for more")
    report(failures)


# Topics.

TOPICS_READ_OTHERWISE = {
    "Share name must be at least one character long": "an error message in the place of a filter; as one, it is right",
    "$shared/group/abc/def": "not a shared subscription at all: its first level is not $share",
}


def test_topics_and_filters_are_judged_as_their_sources_judge_them(shared_vectors: Path) -> None:
    failures = []
    for line in read_lines(shared_vectors, "topics.jsonl"):
        if line["kind"] == "match":
            if topic_matches(line["filter"], line["topic"]) is not line["match"]:
                failures.append(str(line))
        elif line["input"] not in TOPICS_READ_OTHERWISE:
            validate: Callable[[str], None] = validate_topic_name if line["kind"] == "name" else validate_topic_filter
            try:
                validate(line["input"])
            except EncodeError:
                valid = False
            else:
                valid = True
            if valid is not line["valid"]:
                failures.append(str(line))
    report(failures)


# UTF-8.


def is_well_formed(data: bytes) -> bool:
    """The MUSTs of MQTT 5.0, 1.5.4: well-formed UTF-8 without U+0000."""
    try:
        return "\0" not in data.decode("utf-8", errors="strict")
    except UnicodeDecodeError:
        return False


def is_discouraged(text: str) -> bool:
    """What 1.5.4 says SHOULD NOT be sent: control characters and noncharacters."""
    return any(
        ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F or 0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE for c in text
    )


def test_strings_are_taken_and_refused_by_the_musts_of_the_standard(shared_vectors: Path) -> None:
    failures = []
    for line in read_lines(shared_vectors, "utf8.jsonl"):
        data = bytes.fromhex(line["hex"])
        if is_well_formed(data) is not line["valid"]:
            # A source may be stricter than the standard's MUSTs, and only in what the standard discourages.
            assert is_discouraged(data.decode()), line
        text = put_binary(data)
        client_id = put_frame(0x10, put_string("MQTT") + b"\x04\x02\x00\x3c" + text)
        pair = b"\x26" + text + put_string("v")
        user_property = put_frame(0xE0, b"\x00" + put_varint(len(pair)) + pair)
        for wire, version in ((client_id, 4), (user_property, 5)):
            result = outcome(wire, version)
            assert result is not None
            if isinstance(result, WireError) is is_well_formed(data) or (
                isinstance(result, WireError) and result.reason_code != 0x81
            ):
                failures.append(f"{line}: {result!r}")
            elif isinstance(result, Packet):
                assert result.encode(version) == wire
    report(failures)


# Variable byte integers.


def test_variable_byte_integers_are_read_as_their_sources_read_them(shared_vectors: Path) -> None:
    for line in read_lines(shared_vectors, "varint.jsonl"):
        encoded = bytes.fromhex(line["hex"])
        if line["valid"]:
            assert put_varint(line["value"]) == encoded, line
            assert read_varint(encoded) == line["value"], line
            decoder = Decoder()
            assert decoder.feed(b"\x30" + encoded) == [] if line["value"] else True
        else:
            with pytest.raises(WireError):
                Decoder().feed(b"\x30" + encoded)
        body = b"\x00\x01t" + put_varint(1 + len(encoded)) + b"\x0b" + encoded
        result = outcome(put_frame(0x30, body), 5)
        if line["valid"] and line["value"]:
            assert isinstance(result, Publish)
            assert result.subscription_identifiers == (line["value"],)
        else:
            assert isinstance(result, WireError)


# Streams, in mqtt-packet's words.


def _javascript(value: Any) -> Any:
    """mqtt-packet's JSON to Python: buffers as bytes."""
    if isinstance(value, dict):
        if "$hex" in value:
            return bytes.fromhex(value["$hex"])
        if "$len" in value:
            return bytes(value["$len"])
        return {key: _javascript(inner) for key, inner in value.items()}
    return [_javascript(inner) for inner in value] if isinstance(value, list) else value


def test_streams_in_chunks_hold_the_packets_they_should(shared_vectors: Path) -> None:
    for line in read_lines(shared_vectors, "streams.jsonl"):
        # As a server: CONNECT tells the version, which is not always the one that the line names.
        first = bytes.fromhex("".join(line["chunks"]))[0]
        version = None if first == 0x10 else line["version"]
        decoder = Decoder(version)
        seen: list[tuple[int, Packet | None]] = []
        for count, chunk in enumerate(line["chunks"], start=1):
            try:
                seen += [(count, packet) for packet in decoder.feed(bytes.fromhex(chunk))]
            except WireError as error:
                # The parser of the source starts afresh after an error; ours is a new one.
                seen += [*((count, packet) for packet in error.packets), (count, None)]
                decoder = Decoder(version)
        for (after, packet), event in zip(seen, line["events"], strict=True):
            assert after == event["after_chunk"], line["name"]
            assert (packet is None) is ("error" in event), line["name"]
            if packet is not None:
                expected = _javascript(event["packet"])
                assert type(packet).__name__.lower() == expected["cmd"]
                fields = fields_of(packet, 5)
                for name, source in (("topic", "topic"), ("client_id", "clientId"), ("keepalive", "keepalive")):
                    assert fields.get(name) == expected.get(source), line["name"]


# Objects that must not encode, in mqtt-packet's words.


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda found: f"_{found[1].lower()}", name)


def _publish_properties(properties: Line) -> Line:
    named = {_snake_case(name): value for name, value in properties.items()}
    if "user_properties" in named:
        named["user_properties"] = tuple(named["user_properties"].items())
    if "subscription_identifier" in named:
        named["subscription_identifiers"] = (named.pop("subscription_identifier"),)
    return named


def _make_connect(thing: Line) -> Packet:
    will = thing.get("will")
    if isinstance(will, dict):
        # A will without a topic has no constructor to call: its topic is not optional.
        topic: Any = will.get("topic")
        will = Will(topic, _bytes_of(will["payload"]), qos=will["qos"], retain=will["retain"])
    return Connect(
        thing.get("clientId", ""),
        clean_start=thing.get("clean", True),
        keep_alive=thing.get("keepalive", 0),
        username=thing.get("username"),
        password=_bytes_of(thing.get("password")),
        will=will,
    )


def _bytes_of(value: Any) -> Any:
    """JavaScript strings stand for their bytes; everything else is passed on as the mistake that it is."""
    return value.encode() if isinstance(value, str) else value


def _make(thing: Line) -> Packet:
    packet_id = thing.get("messageId")
    match thing.get("cmd"):
        case "connect":
            return _make_connect(thing)
        case "connack":
            return ConnAck(thing["returnCode"], session_present=thing["sessionPresent"])
        case "publish":
            return Publish(
                thing["topic"],
                thing.get("payload", b""),
                qos=thing["qos"],
                retain=thing.get("retain", False),
                dup=thing.get("dup", False),
                packet_id=packet_id,
                **_publish_properties(thing.get("properties", {})),
            )
        case "puback" | "pubrec" | "pubrel" | "pubcomp" as name:
            cls = {"puback": PubAck, "pubrec": PubRec, "pubrel": PubRel, "pubcomp": PubComp}[name]
            return cls(packet_id)  # type: ignore[arg-type]
        case "subscribe":
            return Subscribe(packet_id, (Subscription("t"),))  # type: ignore[arg-type]
        case "suback":
            return SubAck(packet_id, (0,))  # type: ignore[arg-type]
        case "unsubscribe":
            return Unsubscribe(packet_id, thing.get("unsubscriptions", ("t",)))  # type: ignore[arg-type]
        case "unsuback":
            return UnsubAck(packet_id, (0,))  # type: ignore[arg-type]
        case other:
            pytest.skip(f"we have no packet {other!r} to construct")


def test_objects_that_must_not_encode_do_not(shared_vectors: Path) -> None:
    tried = 0
    failures = []
    for line in read_lines(shared_vectors, "encode_errors.jsonl"):
        thing = _javascript(line["object"])
        # What cannot be asked of us: packets without a name, and MQTT 3.1, of which `encode` has no version.
        if line["version"] not in (4, 5):
            with pytest.raises(EncodeError):
                Connect("c").encode(line["version"])
        if thing.get("cmd") in (None, "invalid") or ("protocolId" in thing and thing["protocolId"] in (42, {})):
            continue
        tried += 1
        try:
            wire = _make(thing).encode(line["version"] if line["version"] in (4, 5) else 4)
        except EncodeError as error:
            if not error.field:
                failures.append(f"{line['name']} ({line['why']}): {error} names no field")
        else:
            if line["why"] not in ENCODES_ALL_THE_SAME:
                failures.append(f"{line['name']} ({line['why']}): {wire[:60].hex()}")
    report(failures)
    assert tried > 20


# Objects whose fault lies in MQTT 3.1, which needs a client identifier; as 3.1.1 they are right.
ENCODES_ALL_THE_SAME = {"clientId must be supplied before 3.1.1", "Invalid protocol version"}
