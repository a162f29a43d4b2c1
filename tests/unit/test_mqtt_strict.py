"""What the codec refuses, in both directions: malformed packets, and what a caller may not ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from decoding import anything, calls, facts_of, feed_bytewise, refused, story
from iotwire.errors import EncodeError, ProtocolViolationError, WireError
from iotwire.mqtt import (
    ConnAck,
    Connect,
    ConnectReturnCode,
    Decoder,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    QoS,
    ReasonCode,
    RetainHandling,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
    decode,
    encode_publish,
)
from vectors.mqtt import CASES, MALFORMED, MALFORMED_CASES, Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotwire.mqtt import Packet


# Malformed vectors.

each_malformed = pytest.mark.parametrize(
    ("malformed", "version"),
    [pytest.param(*case, id=f"{case[0].id}, version {case[1]}") for case in MALFORMED_CASES],
)


def test_no_two_malformed_vectors_share_an_id() -> None:
    assert len({malformed.id for malformed in MALFORMED}) == len(MALFORMED)


@each_malformed
def test_a_malformed_packet_is_refused(malformed: Malformed, version: int) -> None:
    error = refused(malformed.wire, version, malformed.error)
    if malformed.reason_codes:
        assert error.reason_code in malformed.reason_codes, error


@each_malformed
def test_a_malformed_packet_is_refused_byte_by_byte(malformed: Malformed, version: int) -> None:
    packets, error = story(feed_bytewise(malformed.wire, version))
    assert packets == []
    assert error == facts_of(refused(malformed.wire, version))


@each_malformed
def test_a_malformed_packet_does_not_hide_behind_a_good_one(malformed: Malformed, version: int) -> None:
    with pytest.raises(malformed.error) as caught:
        Decoder(version).feed(b"\xd0\x00\xc0\x00" + malformed.wire)
    assert caught.value.packets == [PingResp(), PingReq()]
    # From the first byte of the packet that is wrong, not of the stream.
    assert caught.value.offset <= len(malformed.wire)


@each_malformed
def test_an_error_says_where_and_by_which_clause(malformed: Malformed, version: int) -> None:
    error = refused(malformed.wire, version)
    assert error.clause in str(error)
    assert str(error.offset) in str(error)


# Fixed headers: which flags a type must have (MQTT 5.0, Table 2-2).

FIXED_FLAGS = {1: 0, 2: 0, 4: 0, 5: 0, 6: 2, 7: 0, 8: 2, 9: 0, 10: 2, 11: 0, 12: 0, 13: 0, 14: 0, 15: 0}


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("packet_type", FIXED_FLAGS)
def test_reserved_flags_of_a_type_must_be_as_the_standard_has_them(packet_type: int, version: int) -> None:
    good = {vector.wire[0] for vector, of in CASES if of == version and vector.wire[0] >> 4 == packet_type}
    if (packet_type, version) == (15, 4):
        assert good == set()
    else:
        assert good == {packet_type << 4 | FIXED_FLAGS[packet_type]}
    samples = [vector.wire for vector, of in CASES if of == version and vector.wire[0] >> 4 == packet_type][:3]
    for wire in samples or [bytes([packet_type << 4, 0])]:
        for flags in range(16):
            if flags != FIXED_FLAGS[packet_type] or not samples:
                error = refused(bytes([packet_type << 4 | flags]) + wire[1:], version)
                assert error.offset == 0


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("flags", range(16))
def test_type_zero_is_no_packet(flags: int, version: int) -> None:
    refused(bytes([flags, 0]), version)


def test_the_first_byte_alone_is_enough_to_refuse() -> None:
    # Nothing that follows can mend it, and waiting would let a peer hold the connection for nothing.
    for first_byte in (0x00, 0x0F, 0x36, 0x38, 0x60, 0x81, 0xC1):
        with pytest.raises(WireError):
            Decoder(5).feed(bytes([first_byte, 0x02]))


# Rules of the encoder: what a caller may not ask for, by field.


class Refusal(NamedTuple):
    id: str
    make: Callable[[], Packet]
    field: str
    versions: tuple[int, ...] = (4, 5)


REFUSALS = [
    Refusal("a topic of the wrong type", lambda: Publish(anything(b"t")), "topic"),
    Refusal("no topic at all", lambda: Publish(anything(None)), "topic"),
    Refusal("an empty topic without an alias", lambda: Publish(""), "topic"),
    Refusal("an empty topic in MQTT 3.1.1", lambda: Publish("", b"x"), "topic", (4,)),
    Refusal("a topic with a number sign", lambda: Publish("a/#"), "topic"),
    Refusal("a topic with a plus sign", lambda: Publish("a/+/b"), "topic"),
    Refusal("a topic with a plus sign inside a level", lambda: Publish("a+b"), "topic"),
    Refusal("a topic with U+0000", lambda: Publish("a\0b"), "topic"),
    Refusal("a topic with a lone surrogate", lambda: Publish("a\ud800"), "topic"),
    Refusal("a topic of 65536 bytes", lambda: Publish("t" * 65536), "topic"),
    Refusal("a topic of 65536 bytes in fewer characters", lambda: Publish("ü" * 32768), "topic"),
    Refusal("a payload of str", lambda: Publish("t", anything("text")), "payload"),
    Refusal("a payload of None", lambda: Publish("t", anything(None)), "payload"),
    Refusal("a payload of int", lambda: Publish("t", anything(7)), "payload"),
    Refusal("a payload that is a list", lambda: Publish("t", anything([1, 2])), "payload"),
    Refusal("a QoS of 3", lambda: Publish("t", qos=3, packet_id=1), "qos"),
    Refusal("a QoS of -1", lambda: Publish("t", qos=-1), "qos"),
    Refusal("a QoS of 2**80", lambda: Publish("t", qos=1 << 80), "qos"),
    Refusal("a QoS of str", lambda: Publish("t", qos=anything("1")), "qos"),
    Refusal("a QoS of float", lambda: Publish("t", qos=anything(1.0), packet_id=1), "qos"),
    Refusal("QoS 1 without a packet identifier", lambda: Publish("t", qos=1), "packet_id"),
    Refusal("QoS 2 without a packet identifier", lambda: Publish("t", qos=2), "packet_id"),
    Refusal("QoS 0 with a packet identifier", lambda: Publish("t", packet_id=1), "packet_id"),
    Refusal("QoS 0 sent again", lambda: Publish("t", dup=True), "dup"),
    Refusal("packet identifier 0 of a PUBLISH", lambda: Publish("t", qos=1, packet_id=0), "packet_id"),
    Refusal("packet identifier 65536 of a PUBLISH", lambda: Publish("t", qos=1, packet_id=65536), "packet_id"),
    Refusal("packet identifier -1 of a PUBLISH", lambda: Publish("t", qos=1, packet_id=-1), "packet_id"),
    Refusal("packet identifier 2**80 of a PUBLISH", lambda: Publish("t", qos=1, packet_id=1 << 80), "packet_id"),
    Refusal("a packet identifier of str", lambda: Publish("t", qos=1, packet_id=anything("1")), "packet_id"),
    Refusal(
        "subscription identifiers that are no tuple of them",
        lambda: Publish("t", subscription_identifiers=anything(7)),
        "subscription_identifiers",
        (5,),
    ),
    Refusal("packet identifier 0 of a PUBACK", lambda: PubAck(0), "packet_id"),
    Refusal("packet identifier 65536 of a PUBREC", lambda: PubRec(65536), "packet_id"),
    Refusal("packet identifier -1 of a PUBREL", lambda: PubRel(-1), "packet_id"),
    Refusal("packet identifier None of a PUBCOMP", lambda: PubComp(anything(None)), "packet_id"),
    Refusal("packet identifier of str of a PUBACK", lambda: PubAck(anything("1")), "packet_id"),
    Refusal("a reason code of str", lambda: PubAck(1, anything("0")), "reason_code", (5,)),
    Refusal("a reason code of -1", lambda: PubAck(1, -1), "reason_code", (5,)),
    Refusal("a reason code of 256", lambda: PubAck(1, 256), "reason_code", (5,)),
    Refusal("a reason code of 2**80", lambda: Disconnect(1 << 80), "reason_code", (5,)),
    Refusal("a reason code of None", lambda: ConnAck(anything(None)), "reason_code"),
    Refusal("a session present with a failure", lambda: ConnAck(0x87, session_present=True), "session_present", (5,)),
    Refusal("a session present with a return code", lambda: ConnAck(5, session_present=True), "session_present", (4,)),
    Refusal("a client identifier of bytes", lambda: Connect(anything(b"c")), "client_id"),
    Refusal("a client identifier of None", lambda: Connect(anything(None)), "client_id"),
    Refusal("a client identifier with U+0000", lambda: Connect("a\0"), "client_id"),
    Refusal("a client identifier with a lone surrogate", lambda: Connect("\udfff"), "client_id"),
    Refusal("a client identifier of 65536 bytes", lambda: Connect("c" * 65536), "client_id"),
    Refusal("no client identifier for a session kept", lambda: Connect(clean_start=False), "client_id", (4,)),
    Refusal("a keep alive of -1", lambda: Connect("c", keep_alive=-1), "keep_alive"),
    Refusal("a keep alive of 65536", lambda: Connect("c", keep_alive=65536), "keep_alive"),
    Refusal("a keep alive of str", lambda: Connect("c", keep_alive=anything("60")), "keep_alive"),
    Refusal("a keep alive of float", lambda: Connect("c", keep_alive=anything(3.1416)), "keep_alive"),
    Refusal("a keep alive of None", lambda: Connect("c", keep_alive=anything(None)), "keep_alive"),
    Refusal("a username of bytes", lambda: Connect("c", username=anything(b"u")), "username"),
    Refusal("a username with U+0000", lambda: Connect("c", username="\0"), "username"),
    Refusal("a username of 65536 bytes", lambda: Connect("c", username="u" * 65536), "username"),
    Refusal("a password of str", lambda: Connect("c", username="u", password=anything("p")), "password"),
    Refusal("a password of int", lambda: Connect("c", username="u", password=anything(5)), "password"),
    Refusal("a password of 65536 bytes", lambda: Connect("c", username="u", password=b"p" * 65536), "password"),
    Refusal("a password without a username", lambda: Connect("c", password=b"p"), "password", (4,)),
    Refusal("a will that is none", lambda: Connect("c", will=anything("w")), "will"),
    Refusal("a will without a topic", lambda: Connect("c", will=Will("")), "topic"),
    Refusal("a will with a wildcard", lambda: Connect("c", will=Will("w/#")), "topic"),
    Refusal("a will topic of bytes", lambda: Connect("c", will=Will(anything(b"w"))), "topic"),
    Refusal("a will payload of str", lambda: Connect("c", will=Will("w", anything("x"))), "payload"),
    Refusal("a will payload of 65536 bytes", lambda: Connect("c", will=Will("w", b"x" * 65536)), "payload"),
    Refusal("a will of QoS 3", lambda: Connect("c", will=Will("w", qos=3)), "qos"),
    Refusal(
        "authentication data without a method",
        lambda: Connect("c", authentication_data=b"d"),
        "authentication_data",
        (5,),
    ),
    Refusal("no subscription", lambda: Subscribe(1, ()), "subscriptions"),
    Refusal("subscriptions that are strings", lambda: Subscribe(1, anything(("a",))), "subscriptions"),
    Refusal("subscriptions that are one string", lambda: Subscribe(1, anything("abc")), "subscriptions"),
    Refusal("subscriptions that are a number", lambda: Subscribe(1, anything(7)), "subscriptions"),
    Refusal(
        "subscriptions that are one subscription", lambda: Subscribe(1, anything(Subscription("a"))), "subscriptions"
    ),
    Refusal("packet identifier 0 of a SUBSCRIBE", lambda: Subscribe(0, (Subscription("a"),)), "packet_id"),
    Refusal("an empty filter", lambda: Subscribe(1, (Subscription(""),)), "topic_filter"),
    Refusal("a filter of bytes", lambda: Subscribe(1, (Subscription(anything(b"a")),)), "topic_filter"),
    Refusal("a filter with U+0000", lambda: Subscribe(1, (Subscription("a\0"),)), "topic_filter"),
    Refusal("a filter of 65536 bytes", lambda: Subscribe(1, (Subscription("f" * 65536),)), "topic_filter"),
    Refusal("a filter with a number sign too early", lambda: Subscribe(1, (Subscription("#/a"),)), "topic_filter"),
    Refusal("a filter with a plus sign beside others", lambda: Subscribe(1, (Subscription("a+"),)), "topic_filter"),
    Refusal("a shared subscription of nothing", lambda: Subscribe(1, (Subscription("$share/g"),)), "topic_filter"),
    Refusal("a shared subscription of no name", lambda: Subscribe(1, (Subscription("$share//a"),)), "topic_filter"),
    Refusal("a subscription of QoS 3", lambda: Subscribe(1, (Subscription("a", 3),)), "qos"),
    Refusal("a subscription of QoS -1", lambda: Subscribe(1, (Subscription("a", -1),)), "qos"),
    Refusal(
        "retain handling 3", lambda: Subscribe(1, (Subscription("a", retain_handling=3),)), "retain_handling", (5,)
    ),
    Refusal(
        "no local on a shared subscription",
        lambda: Subscribe(1, (Subscription("$share/g/a", no_local=True),)),
        "no_local",
        (5,),
    ),
    Refusal("no local in MQTT 3.1.1", lambda: Subscribe(1, (Subscription("a", no_local=True),)), "no_local", (4,)),
    Refusal(
        "retain as published in MQTT 3.1.1",
        lambda: Subscribe(1, (Subscription("a", retain_as_published=True),)),
        "retain_as_published",
        (4,),
    ),
    Refusal(
        "retain handling in MQTT 3.1.1",
        lambda: Subscribe(1, (Subscription("a", retain_handling=1),)),
        "retain_handling",
        (4,),
    ),
    Refusal("no filter", lambda: Unsubscribe(1, ()), "topic_filters"),
    Refusal("filters that are one string", lambda: Unsubscribe(1, anything("abc")), "topic_filters"),
    Refusal("filters of bytes", lambda: Unsubscribe(1, anything((b"a",))), "topic_filters"),
    Refusal("filters that are a number", lambda: Unsubscribe(1, anything(7)), "topic_filters"),
    Refusal("an empty filter of an UNSUBSCRIBE", lambda: Unsubscribe(1, ("a", "")), "topic_filters"),
    Refusal("a malformed filter of an UNSUBSCRIBE", lambda: Unsubscribe(1, ("a/#/b",)), "topic_filters"),
    Refusal("packet identifier 0 of an UNSUBSCRIBE", lambda: Unsubscribe(0, ("a",)), "packet_id"),
    Refusal("no reason codes of a SUBACK", lambda: SubAck(1, ()), "reason_codes"),
    Refusal("reason codes that are a number", lambda: SubAck(1, anything(0)), "reason_codes"),
    Refusal("reason codes that are strings", lambda: SubAck(1, anything(("0",))), "reason_codes"),
    Refusal("a reason code of 256 of a SUBACK", lambda: SubAck(1, (256,)), "reason_codes"),
    Refusal("packet identifier 0 of a SUBACK", lambda: SubAck(0, (0,)), "packet_id"),
    Refusal("no reason codes of an UNSUBACK", lambda: UnsubAck(1, ()), "reason_codes", (5,)),
    Refusal("reason codes of an UNSUBACK of MQTT 3.1.1", lambda: UnsubAck(1, (0,)), "reason_codes", (4,)),
    Refusal("packet identifier 0 of an UNSUBACK", lambda: UnsubAck(0, (0,)), "packet_id"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.id)
def test_the_encoder_refuses_and_names_the_field(refusal: Refusal) -> None:
    for version in refusal.versions:
        with pytest.raises(EncodeError) as caught:
            refusal.make().encode(version)
        field = caught.value.field
        named = {refusal.field, *(("subscriptions",) if "MQTT 3.1.1" in refusal.id else ())}
        assert field.split("[")[0] in named or field.rpartition(".")[2] == refusal.field, (field, str(caught.value))
        assert field in str(caught.value)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.id)
def test_encoded_size_refuses_what_encode_refuses(refusal: Refusal) -> None:
    for version in refusal.versions:
        with pytest.raises(EncodeError):
            refusal.make().encoded_size(version)


@pytest.mark.parametrize("version", [0, 3, 6, -1, 1 << 80, "5", None, 5.0])
def test_a_version_that_is_neither_4_nor_5_is_refused(version: object) -> None:
    for call in calls(
        lambda: PingReq().encode(anything(version)),
        lambda: PingReq().encoded_size(anything(version)),
        lambda: Publish("t").encode(anything(version)),
        lambda: Connect().encode(anything(version)),
        lambda: encode_publish("t", version=anything(version)),
    ):
        with pytest.raises(EncodeError) as caught:
            call()
        assert caught.value.field == "version"
    if version is not None:
        with pytest.raises(EncodeError):
            Decoder(anything(version))
        with pytest.raises(EncodeError):
            decode(b"", anything(version))


def test_unknown_and_missing_arguments_are_pythons_own_type_error() -> None:
    with pytest.raises(TypeError):
        Publish("t", colour="blue")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        PubAck()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Subscribe(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Publish("t", b"", 1)  # type: ignore[call-arg]


def test_enums_are_taken_where_numbers_are() -> None:
    assert Publish("t", qos=QoS.AT_LEAST_ONCE, packet_id=1) == Publish("t", qos=1, packet_id=1)
    assert Subscription("a", QoS.EXACTLY_ONCE, retain_handling=RetainHandling.SEND_IF_NEW) == Subscription(
        "a", 2, retain_handling=1
    )
    assert PubAck(1, ReasonCode.QUOTA_EXCEEDED) == PubAck(1, 0x97)
    assert ConnAck(ConnectReturnCode.NOT_AUTHORIZED).encode(4) == b"\x20\x02\x00\x05"


def test_decoded_fields_have_the_types_of_the_contract() -> None:
    [publish] = Decoder(5).feed(Publish("t", b"x", qos=1, packet_id=1, retain=True).encode())
    assert isinstance(publish, Publish)
    assert (type(publish.qos), type(publish.packet_id), type(publish.retain), type(publish.dup)) == (
        int,
        int,
        bool,
        bool,
    )
    assert type(publish.payload) is bytes
    [connect] = Decoder(5).feed(Connect("c", username="u", password=b"p", will=Will("w", b"x")).encode())
    assert isinstance(connect, Connect)
    assert (type(connect.password), type(connect.clean_start), type(connect.keep_alive)) == (bytes, bool, int)
    assert isinstance(connect.will, Will)
    assert type(connect.will.payload) is bytes
    [subscribe] = Decoder(5).feed(Subscribe(1, [Subscription("a")]).encode())
    assert isinstance(subscribe, Subscribe)
    assert type(subscribe.subscriptions) is tuple
    [unsubscribe] = Decoder(5).feed(Unsubscribe(1, ["a"]).encode())
    assert isinstance(unsubscribe, Unsubscribe)
    assert type(unsubscribe.topic_filters) is tuple
    [suback] = Decoder(5).feed(SubAck(1, [0]).encode())
    assert isinstance(suback, SubAck)
    assert type(suback.reason_codes) is tuple
    assert isinstance(suback.reason_codes[0], ReasonCode)


# The version that CONNECT names.


def test_a_connect_of_another_version_than_the_decoders_is_refused_with_0x84() -> None:
    for level, version in ((4, 5), (5, 4)):
        assert refused(Connect("c").encode(level), version, ProtocolViolationError).reason_code == 0x84


@pytest.mark.parametrize("level", [0, 1, 2, 3, 6, 7, 0x83, 0x84, 0x85, 255])
def test_a_connect_of_an_unknown_version_is_refused_with_0x84(level: int) -> None:
    wire = bytearray(Connect("c").encode(4))
    wire[8] = level
    for version in (4, 5, None):
        assert refused(bytes(wire), version, ProtocolViolationError).reason_code == 0x84


def test_a_first_packet_that_is_no_connect_cannot_tell_the_version() -> None:
    for vector, version in CASES:
        if version == 5 and vector.wire[0] != 0x10 and len(vector.wire) < 100:
            refused(vector.wire, None, ProtocolViolationError)
