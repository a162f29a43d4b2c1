"""A second opinion from `mqtt5`, a codec of MQTT 5.0 in Rust: what both take must agree field by field.

Where the two disagree on whether bytes are a packet at all, the clause says who is right: what it takes and we refuse
is listed by clause, what we take and it refuses by packet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from decoding import changed_bytes, outcome
from iotwire.errors import IotwireError, WireError
from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
    decode,
)
from strategies import packets
from vectors.mqtt import CASES, MALFORMED_CASES, Vector

if TYPE_CHECKING:
    from collections.abc import Callable

# Its panics leave an unraisable exception behind as well.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
mqtt5 = pytest.importorskip(
    "mqtt5", reason="mqtt5 is not installed: it has wheels for x86_64, aarch64 and armv7l (extra: test)"
)

Fields = dict[str, Any]

# What mqtt5 gives for a property that is absent, where the standard has a default.
DEFAULTS: Fields = {
    "payload_format_indicator": 0,
    "will_delay_interval": 0,
    "request_problem_info": True,
    "request_response_info": False,
    "receive_max": 65535,
    "topic_alias_max": 0,
    "max_qos": 2,
    "retain_available": True,
    "wildcard_subscription_available": True,
    "subscription_id_available": True,
    "shared_subscription_available": True,
}
THEIR_NAMES = {
    "request_problem_information": "request_problem_info",
    "request_response_information": "request_response_info",
    "response_information": "response_info",
    "receive_maximum": "receive_max",
    "topic_alias_maximum": "topic_alias_max",
    "maximum_packet_size": "max_packet_size",
    "maximum_qos": "max_qos",
    "assigned_client_identifier": "assigned_client_id",
    "reason_string": "reason_str",
    "subscription_identifier": "subscription_id",
    "subscription_identifiers": "subscription_ids",
    "subscription_identifier_available": "subscription_id_available",
}
ACKNOWLEDGEMENT = ("packet_id", "reason_code", "reason_string", "user_properties")
SUBSCRIPTION_ACKNOWLEDGEMENT = ("packet_id", "reason_codes", "reason_string", "user_properties")
FIELDS: dict[type, tuple[str, ...]] = {
    Connect: (
        "client_id",
        "username",
        "password",
        "clean_start",
        "keep_alive",
        "session_expiry_interval",
        "authentication_method",
        "authentication_data",
        "request_problem_information",
        "request_response_information",
        "receive_maximum",
        "topic_alias_maximum",
        "maximum_packet_size",
        "user_properties",
    ),
    ConnAck: (
        "session_present",
        "reason_code",
        "session_expiry_interval",
        "assigned_client_identifier",
        "server_keep_alive",
        "authentication_method",
        "authentication_data",
        "response_information",
        "server_reference",
        "reason_string",
        "receive_maximum",
        "topic_alias_maximum",
        "maximum_qos",
        "retain_available",
        "maximum_packet_size",
        "wildcard_subscription_available",
        "subscription_identifier_available",
        "shared_subscription_available",
        "user_properties",
    ),
    Publish: (
        "topic",
        "payload",
        "qos",
        "retain",
        "packet_id",
        "payload_format_indicator",
        "message_expiry_interval",
        "content_type",
        "response_topic",
        "correlation_data",
        "subscription_identifiers",
        "topic_alias",
        "user_properties",
    ),
    Will: (
        "topic",
        "payload",
        "qos",
        "retain",
        "payload_format_indicator",
        "message_expiry_interval",
        "content_type",
        "response_topic",
        "correlation_data",
        "will_delay_interval",
        "user_properties",
    ),
    PubAck: ACKNOWLEDGEMENT,
    PubRec: ACKNOWLEDGEMENT,
    PubRel: ACKNOWLEDGEMENT,
    PubComp: ACKNOWLEDGEMENT,
    Subscribe: ("packet_id", "subscription_identifier", "user_properties"),
    SubAck: SUBSCRIPTION_ACKNOWLEDGEMENT,
    Unsubscribe: ("packet_id", "user_properties"),
    UnsubAck: SUBSCRIPTION_ACKNOWLEDGEMENT,
    Disconnect: ("reason_code", "session_expiry_interval", "server_reference", "reason_string", "user_properties"),
    Auth: ("reason_code", "authentication_method", "authentication_data", "reason_string", "user_properties"),
}


def our_fields(packet: Any) -> Fields:
    """A packet of ours in mqtt5's names, absent properties as mqtt5's defaults."""
    fields: Fields = {}
    for name in FIELDS.get(type(packet), ()):
        theirs = THEIR_NAMES.get(name, name)
        value = getattr(packet, name)
        if value is None:
            value = DEFAULTS.get(theirs)
        fields[theirs] = list(value) if isinstance(value, tuple) else value
    if isinstance(packet, Connect):
        fields["session_expiry_interval"] = fields["session_expiry_interval"] or 0
        fields["will"] = None if packet.will is None else our_fields(packet.will)
    if isinstance(packet, Publish):
        fields["duplicate"] = packet.dup
    if isinstance(packet, Subscribe):
        fields["topic_filters"] = [
            (s.topic_filter, s.qos, s.no_local, s.retain_as_published, s.retain_handling) for s in packet.subscriptions
        ]
    if isinstance(packet, Unsubscribe):
        fields["patterns"] = list(packet.topic_filters)
    return fields


def their_fields(packet: Any, like: Any) -> Fields:
    """The same fields of a packet of mqtt5's."""
    fields = {
        THEIR_NAMES.get(name, name): getattr(packet, THEIR_NAMES.get(name, name)) for name in FIELDS.get(like, ())
    }
    if "payload" in fields:
        fields["payload"] = fields["payload"] or b""
    if like is Connect:
        fields["will"] = None if packet.will is None else their_fields(packet.will, Will)
    if like is Publish:
        fields["duplicate"] = packet.duplicate
    if like is Subscribe:
        fields["topic_filters"] = [
            (t.pattern, t.max_qos, t.no_local, t.retain_as_published, t.retain_handling) for t in packet.topic_filters
        ]
    if like is Unsubscribe:
        fields["patterns"] = packet.patterns
    return fields


def their_packet(packet: Any) -> Any:
    """A packet of ours built anew with mqtt5's constructors."""
    name = type(packet).__name__
    fields = our_fields(packet)
    if "reason_code" in fields:
        codes = getattr(mqtt5, f"{name}ReasonCode")
        fields["reason_code"] = codes(fields["reason_code"])
    if "reason_codes" in fields:
        codes = getattr(mqtt5, f"{name}ReasonCode")
        fields["reason_codes"] = [codes(code) for code in fields["reason_codes"]]
    if "qos" in fields:
        fields["qos"] = mqtt5.QoS(fields["qos"])
    if "max_qos" in fields:
        fields["max_qos"] = mqtt5.QoS(fields["max_qos"])
    if fields.get("will") is not None:
        will = fields["will"]
        fields["will"] = mqtt5.Will(will.pop("topic"), **{**will, "qos": mqtt5.QoS(will["qos"])})
    if "topic_filters" in fields:
        fields["topic_filters"] = [
            mqtt5.TopicFilter(
                pattern,
                max_qos=mqtt5.QoS(qos),
                no_local=no_local,
                retain_as_published=retain_as_published,
                retain_handling=mqtt5.RetainHandling(retain_handling),
            )
            for pattern, qos, no_local, retain_as_published, retain_handling in fields["topic_filters"]
        ]
    positional = [
        fields.pop(n)
        for n in ("client_id", "topic", "packet_id", "payload", "reason_codes", "topic_filters", "patterns")
        if n in fields and not (n == "packet_id" and name == "Publish")
    ]
    make: Callable[..., Any] = getattr(mqtt5, f"{name}Packet")
    return make(*positional, **fields)


# Clauses that mqtt5 does not hold its packets to. Ill-formed UTF-8 it answers with a panic, which no `except Exception`
# stops; those bytes are not even shown to it.
NOT_CHECKED_BY_MQTT5 = {
    "3.1.2.11.10",  # authentication data without a method
    "3.2.2.3.4",  # a maximum QoS of 2
    "3.3.2.3.2",  # a payload format indicator other than 0 and 1
    "4.13.1",  # bytes left over, or a length past its container
    "MQTT-1.5.4-2",  # U+0000
    "MQTT-2.2.1-3",  # packet identifier 0
    "MQTT-3.1.2-3",  # the reserved connect flag
    "MQTT-3.1.2-11",  # will bits without a will
    "MQTT-3.2.2-6",  # session present with a failure
    "MQTT-3.3.1-2",  # DUP with QoS 0
    "MQTT-3.3.2-2",  # wildcards in a topic name or a response topic
    "MQTT-3.8.3-2",  # no filter at all
    "MQTT-3.8.3-4",  # no local on a shared subscription
    "MQTT-3.8.3-5",  # reserved option bits
    "MQTT-3.10.3-2",
    "3.9.3",  # no reason code at all
    "3.11.3",
    "MQTT-4.7.1-1",  # malformed filters
    "MQTT-4.7.1-2",
    "MQTT-4.7.3-1",  # empty topics and filters
    "MQTT-4.8.2-1",  # malformed shared subscriptions
    "MQTT-4.8.2-2",
}
PANICS = "MQTT-1.5.4-1"
# And what it refuses that is right.
REFUSED_BY_MQTT5 = (
    Auth(),  # without a body it means success [3.15.2.1]; mqtt5 misses the property length
    # Table 2-6 gives this code to DISCONNECT as well; 3.14.2.1 has forgotten it.
    Disconnect(0x8C),
)


def their_opinion(wire: bytes) -> Any:
    """What mqtt5 reads: (packet, size), or None where it refuses, panics or wants more."""
    try:
        return mqtt5.read(memoryview(wire))
    except Exception:  # noqa: BLE001  # it raises ValueError, IndexError and others
        return None
    except BaseException as panic:
        if type(panic).__name__ != "PanicException":
            raise
        return None


def compare(wire: bytes) -> str | None:
    """What the two disagree on, or None."""
    ours = outcome(wire, 5)
    if isinstance(ours, WireError) and ours.clause == PANICS:
        return None
    theirs = their_opinion(wire)
    if theirs is None:
        known = ours is None or isinstance(ours, IotwireError) or any(ours == packet for packet in REFUSED_BY_MQTT5)
        return None if known else f"we take {ours}"
    if ours is None:
        return "mqtt5 sees a packet where we want more"
    if isinstance(ours, WireError):
        return None if ours.clause in NOT_CHECKED_BY_MQTT5 else f"mqtt5 takes what we refuse: {ours}"
    assert isinstance(ours, Packet)
    assert type(theirs[0]).__name__ == type(ours).__name__ + "Packet"
    got, expected = our_fields(ours), their_fields(theirs[0], type(ours))
    return None if got == expected else f"we read {got}, mqtt5 {expected}"


@given(packets)
def test_mqtt5_reads_what_we_encode(packet: Packet) -> None:
    wire = packet.encode()
    if wire == b"\xf0\x00":
        return  # [MQTT-3.15.2.1]: an AUTH of success may have no body; mqtt5 wants one
    theirs, size = mqtt5.read(memoryview(wire))
    assert size == len(wire)
    assert their_fields(theirs, type(packet)) == our_fields(packet)


@given(packets)
def test_we_read_what_mqtt5_encodes(packet: Packet) -> None:
    wire = their_packet(packet).write()
    decoded = decode(wire)
    assert decoded is not None
    assert decoded[1] == len(wire)
    assert our_fields(decoded[0]) == our_fields(packet)


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector.id) for vector, version in CASES if version == 5])
def test_a_vector_with_a_byte_changed_is_read_alike(vector: Vector) -> None:
    wires = [vector.wire]
    if len(vector.wire) <= 300:
        wires += changed_bytes(vector.wire, exhaustive_up_to=8)
    disagreements = [f"{wire.hex()}: {found}" for wire in wires if (found := compare(wire))]
    assert disagreements == []


def test_malformed_vectors_are_read_alike_or_refused_by_a_clause_that_mqtt5_does_not_check() -> None:
    disagreements = [
        f"{vector.id}: {found}"
        for vector, version in MALFORMED_CASES
        if version == 5 and (found := compare(vector.wire))
    ]
    assert disagreements == []
