"""Every vector, tried every way: whole, split, truncated, bent, and as a Python object."""

from __future__ import annotations

import contextlib
import copy
import pickle

import pytest

import iotwire.mqtt
from decoding import WAYS, changed_bytes, feed_split, outcome, positions, story
from iotwire.errors import IotwireError, WireError
from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
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
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
    decode,
)
from vectors.mqtt import CASES, VECTORS, Vector

PUBLIC_NAMES = {name: getattr(iotwire.mqtt, name) for name in iotwire.mqtt.__all__}  # the enums are made when asked for

each_case = pytest.mark.parametrize(
    ("vector", "version"), [pytest.param(*case, id=f"{case[0].id}, version {case[1]}") for case in CASES]
)
each_short_case = pytest.mark.parametrize(
    ("vector", "version"),
    [pytest.param(*case, id=f"{case[0].id}, version {case[1]}") for case in CASES if len(case[0].wire) < 3000],
)
each_vector = pytest.mark.parametrize("vector", [pytest.param(vector, id=vector.id) for vector in VECTORS])


def test_no_two_vectors_share_an_id() -> None:
    assert len({vector.id for vector in VECTORS}) == len(VECTORS)


def test_every_packet_type_of_both_versions_has_a_vector() -> None:
    first_nibbles = {version: {v.wire[0] >> 4 for v, of in CASES if of == version} for version in (4, 5)}
    assert first_nibbles == {4: set(range(1, 15)), 5: set(range(1, 16))}


# Bytes in, packets out.


@each_case
def test_a_vector_decodes_to_its_packet(vector: Vector, version: int) -> None:
    assert decode(vector.wire, version) == (vector.packet, len(vector.wire))


@each_case
@pytest.mark.parametrize("way", WAYS)
def test_a_vector_decodes_to_its_packet_however_it_arrives(vector: Vector, version: int, way: str) -> None:
    assert list(WAYS[way](vector.wire, version)) == [vector.packet]


@each_case
def test_a_vector_decodes_wherever_it_lies_in_memory(vector: Vector, version: int) -> None:
    # On 32-bit ARM a load of eight bytes faults where it is not aligned. A PUBLISH before the vector moves it on.
    for shift in range(16):
        before = Publish("t", bytes(shift))
        wire = before.encode(version) + vector.wire
        assert Decoder(version).feed(wire) == [before, vector.packet], f"moved by {shift}"
        assert decode(memoryview(bytes(shift) + vector.wire)[shift:], version) == (vector.packet, len(vector.wire))


@each_case
def test_a_vector_may_be_split_anywhere(vector: Vector, version: int) -> None:
    for at in positions(len(vector.wire)):
        assert list(feed_split(vector.wire, version, at)) == [vector.packet], f"split at {at}"


@each_case
def test_a_vector_decodes_to_its_packet_with_payloads_as_views(vector: Vector, version: int) -> None:
    [packet] = Decoder(version, payload="view").feed(vector.wire)
    assert packet == vector.packet
    assert hash(packet) == hash(vector.packet)
    assert packet.encode(version) == decode(vector.wire, version)[0].encode(version)  # type: ignore[index]
    if isinstance(packet, Publish):
        assert isinstance(packet.payload, memoryview)
        assert packet.payload.readonly


@each_case
def test_a_truncated_vector_asks_for_more(vector: Vector, version: int) -> None:
    decoder = Decoder(version)
    fed = 0
    for size in positions(len(vector.wire)):
        assert decode(vector.wire[:size], version) is None, f"{size} bytes"
        assert decoder.feed(vector.wire[fed:size]) == [], f"{size} bytes"
        assert decoder.buffered == size
        fed = size


@each_case
def test_a_byte_after_a_vector_is_left_for_the_next_packet(vector: Vector, version: int) -> None:
    assert decode(vector.wire + b"\x30", version) == (vector.packet, len(vector.wire))
    decoder = Decoder(version)
    assert decoder.feed(vector.wire + b"\xd0") == [vector.packet]
    assert decoder.buffered == 1
    assert decoder.feed(b"\x00") == [PingResp()]
    assert decoder.buffered == 0


@each_case
def test_a_vector_may_be_followed_by_itself(vector: Vector, version: int) -> None:
    assert Decoder(version).feed(vector.wire * 3) == [vector.packet] * 3


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("way", WAYS)
def test_all_vectors_of_a_version_decode_as_one_stream(version: int, way: str) -> None:
    # A server-side decoder meets one CONNECT; here each of them opens a stream of its own.
    cases = [vector for vector, of in CASES if of == version and len(vector.wire) < 3000]
    stream = b"".join(vector.wire for vector in cases)
    assert list(WAYS[way](stream, version)) == [vector.packet for vector in cases]


# Packets in, bytes out.


@each_case
def test_a_packet_encodes_to_its_vector(vector: Vector, version: int) -> None:
    if vector.form == "canonical":
        assert vector.packet.encode(version) == vector.wire
    else:
        # The same packet in other bytes: as long, but for what may be left off.
        assert decode(vector.packet.encode(version), version) == (vector.packet, vector.packet.encoded_size(version))


@each_case
def test_a_decoded_packet_encodes_back(vector: Vector, version: int) -> None:
    [packet] = Decoder(version).feed(vector.wire)
    encoded = packet.encode(version)
    if vector.form == "long":
        assert len(encoded) <= len(vector.wire)
        assert decode(encoded, version) == (packet, len(encoded))
    else:
        assert encoded == vector.wire


@each_case
def test_encoded_size_is_the_size_of_what_encodes(vector: Vector, version: int) -> None:
    assert vector.packet.encoded_size(version) == len(vector.packet.encode(version))
    [decoded] = Decoder(version).feed(vector.wire)
    assert decoded.encoded_size(version) == len(decoded.encode(version))


# Bytes that are a little wrong.


@each_case
def test_a_length_bent_by_one_ends_in_a_packet_not_yet_or_an_error(vector: Vector, version: int) -> None:
    for field in vector.lengths:
        for by in (-1, 1):
            wire = field.bent(vector.wire, by)
            if wire is not None:
                outcome(wire, version)
                outcome(wire + vector.wire, version)


@each_case
def test_a_length_inside_a_vector_bent_by_one_is_never_the_same_packet(vector: Vector, version: int) -> None:
    for field in vector.lengths[1:]:
        for by in (-1, 1):
            wire = field.bent(vector.wire, by)
            if wire is not None and len(wire) == len(vector.wire):
                assert outcome(wire, version) != vector.packet, f"length at {field.offset} {by:+}"


@each_case
def test_a_length_in_more_bytes_than_it_needs_is_refused(vector: Vector, version: int) -> None:
    for field in vector.lengths:
        wire = field.stretched(vector.wire)
        if wire is None:
            continue
        if field.offset > 1:
            # The packet has grown by the byte, and says so, so that nothing but the stretched length is wrong.
            grown = vector.lengths[0].bent(wire, 1)
            assert grown is not None
            wire = grown
        with pytest.raises(WireError) as caught:
            decode(wire, version)
        assert caught.value.reason_code == 0x81


@each_case
def test_any_byte_changed_ends_in_a_packet_not_yet_or_an_error(vector: Vector, version: int) -> None:
    for wire in changed_bytes(vector.wire):
        outcome(wire, version)


@each_short_case
def test_an_error_is_the_same_however_the_bytes_arrive(vector: Vector, version: int) -> None:
    # Fifty positions will do for a long one: what is wrong in its middle is wrong alike.
    for at in positions(len(vector.wire), limit=50):
        wire = vector.wire[:at] + bytes([vector.wire[at] ^ 0x84]) + vector.wire[at + 1 :]
        stories = [story(way(wire, version)) for way in WAYS.values()]
        assert stories == [stories[0]] * len(stories), wire.hex()


# Packets as Python objects.


@each_vector
def test_packets_made_twice_are_equal_and_hash_alike(vector: Vector) -> None:
    first, second = vector.make(), vector.make()
    assert first == second
    assert not (first != second)  # noqa: SIM202  # the operator itself
    assert hash(first) == hash(second)
    assert len({first, second}) == 1


@each_vector
def test_a_decoded_packet_hashes_like_a_made_one(vector: Vector) -> None:
    [decoded] = Decoder(vector.versions[0]).feed(vector.wire)
    assert hash(decoded) == hash(vector.packet)


def test_packets_are_equal_exactly_if_they_encode_to_the_same_bytes() -> None:
    for vector, version in CASES:
        for other, other_version in CASES:
            if version == other_version:
                same_bytes = vector.packet.encode(version) == other.packet.encode(version)
                assert (vector.packet == other.packet) is same_bytes, f"{vector.id} / {other.id}"


@each_vector
def test_a_packet_equals_nothing_of_another_type(vector: Vector) -> None:
    assert vector.packet != vector.wire
    assert vector.packet != object()
    assert vector.packet is not None
    with pytest.raises(TypeError):
        vector.packet < vector.packet  # type: ignore[operator]  # noqa: B015


def test_properties_equal_by_value_whatever_their_order() -> None:
    one = Decoder(5).feed(bytes.fromhex("300e000161 0a 23 0001 26 0001 6b 0001 76".replace(" ", "")))
    other = Decoder(5).feed(bytes.fromhex("300e000161 0a 26 0001 6b 0001 76 23 0001".replace(" ", "")))
    assert one == other
    assert hash(one[0]) == hash(other[0])


def test_the_order_of_user_properties_is_part_of_the_value() -> None:
    pairs = (("a", "1"), ("b", "2"))
    assert Publish("t", user_properties=pairs) != Publish("t", user_properties=pairs[::-1])
    assert Publish("t", user_properties=pairs) != Publish("t", user_properties=pairs + pairs)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_packets_survive_pickling(protocol: int) -> None:
    for vector in VECTORS:
        for packet in (vector.packet, Decoder(vector.versions[0]).feed(vector.wire)[0]):
            restored = pickle.loads(pickle.dumps(packet, protocol))
            assert restored == packet, vector.id
            assert type(restored) is type(packet)


@each_vector
def test_packets_decoded_with_views_survive_pickling(vector: Vector) -> None:
    [packet] = Decoder(vector.versions[0], payload="view").feed(vector.wire)
    assert pickle.loads(pickle.dumps(packet)) == vector.packet


@each_vector
def test_packets_survive_copying(vector: Vector) -> None:
    for copied in (copy.copy(vector.packet), copy.deepcopy(vector.packet)):
        assert copied == vector.packet
        assert type(copied) is type(vector.packet)


def has_secret(packet: Packet) -> bool:
    """Whether a packet carries what its repr must mask."""
    if isinstance(packet, Connect):
        will = packet.will
        hidden = (packet.username, packet.password, packet.authentication_data, will and (will.payload or None))
        return any(value is not None for value in hidden)
    if isinstance(packet, Publish):
        return bool(packet.payload)
    return isinstance(packet, ConnAck | Auth) and packet.authentication_data is not None


@each_vector
def test_a_repr_reads_as_the_call_that_makes_the_packet(vector: Vector) -> None:
    text = repr(vector.packet)
    assert text.startswith(f"{type(vector.packet).__name__}(")
    assert "\n" not in text
    if not has_secret(vector.packet):
        assert eval(text, dict(PUBLIC_NAMES)) == vector.packet


@each_vector
def test_a_decoded_packet_reads_like_a_made_one(vector: Vector) -> None:
    [decoded] = Decoder(vector.versions[0]).feed(vector.wire)
    if not has_secret(vector.packet):
        assert eval(repr(decoded), dict(PUBLIC_NAMES)) == vector.packet


MATCH_ARGS: dict[type, tuple[str, ...]] = {
    Connect: ("client_id",),
    ConnAck: ("reason_code",),
    Publish: ("topic", "payload"),
    PubAck: ("packet_id", "reason_code"),
    PubRec: ("packet_id", "reason_code"),
    PubRel: ("packet_id", "reason_code"),
    PubComp: ("packet_id", "reason_code"),
    Subscribe: ("packet_id", "subscriptions"),
    SubAck: ("packet_id", "reason_codes"),
    Unsubscribe: ("packet_id", "topic_filters"),
    UnsubAck: ("packet_id", "reason_codes"),
    PingReq: (),
    PingResp: (),
    Disconnect: ("reason_code",),
    Auth: ("reason_code",),
    Will: ("topic", "payload"),
    Subscription: ("topic_filter", "qos"),
}


@pytest.mark.parametrize("cls", MATCH_ARGS, ids=lambda cls: cls.__name__)
def test_packets_match_by_their_positional_fields(cls: type) -> None:
    assert cls.__match_args__ == MATCH_ARGS[cls]  # type: ignore[attr-defined]


def test_a_publish_can_be_taken_apart_by_match() -> None:
    match Publish("a/b", b"x", qos=1, packet_id=7):
        case Publish("a/b", payload, qos=1, packet_id=packet_id):
            assert (payload, packet_id) == (b"x", 7)
        case other:
            pytest.fail(f"did not match: {other}")


def public_names(packet: object) -> list[str]:
    return [name for name in dir(packet) if not name.startswith("_") and not callable(getattr(packet, name))]


@each_vector
def test_no_field_of_a_packet_can_be_set(vector: Vector) -> None:
    packet = vector.make()
    for name in (*public_names(packet), "something_new", "__dict__"):
        with pytest.raises(AttributeError):
            setattr(packet, name, getattr(packet, name, 0))
        with pytest.raises((AttributeError, TypeError)):
            object.__setattr__(packet, name, 0)
    assert packet == vector.packet


def test_no_field_of_a_packet_can_be_deleted() -> None:
    for packet in {type(vector.packet): vector.make() for vector in VECTORS}.values():
        before = repr(packet)
        for name in (*public_names(packet), "something_new"):
            with pytest.raises(AttributeError):
                delattr(packet, name)
        assert repr(packet) == before


@each_vector
def test_calling_init_again_changes_nothing(vector: Vector) -> None:
    packet = vector.make()
    before = repr(packet)
    for other in VECTORS:
        if type(other.packet) is type(packet):
            positional = [getattr(other.packet, name) for name in MATCH_ARGS[type(packet)]]
            with contextlib.suppress(IotwireError, TypeError, AttributeError):
                packet.__init__(*positional)  # type: ignore[misc]
            assert packet == vector.packet
            assert repr(packet) == before
            assert packet.encode(vector.versions[0]) == vector.packet.encode(vector.versions[0])


@pytest.mark.parametrize(
    ("part", "field"),
    [(Will("w", b"x"), "topic"), (Subscription("a", 1), "topic_filter")],
    ids=["a will", "a subscription"],
)
def test_parts_of_packets_are_values_too(part: Will | Subscription, field: str) -> None:
    assert part == copy.deepcopy(part) == pickle.loads(pickle.dumps(part))
    assert hash(part) == hash(copy.deepcopy(part))
    with pytest.raises(AttributeError):
        setattr(part, field, "other")
    for name in public_names(part):
        with pytest.raises(AttributeError):
            setattr(part, name, None)
    assert part != object()


def test_a_subscription_reads_as_the_call_that_makes_it() -> None:
    subscription = Subscription("a/#", 1, no_local=True, retain_as_published=True, retain_handling=2)
    assert eval(repr(subscription), dict(PUBLIC_NAMES)) == subscription
    will = Will("w", qos=1, content_type="t", user_properties=(("a", "b"),))
    assert eval(repr(will), dict(PUBLIC_NAMES)) == will
