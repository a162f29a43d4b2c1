"""Topic names that a decoder recognises: the right one is given, whatever came before it and whatever is sent."""

from __future__ import annotations

import gc
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotwire.errors import WireError
from iotwire.mqtt import Decoder, Publish, decode, encode_publish

# Of one size, and alike in many bytes: such names compete for one place.
RIVALS = [f"{head}/rooms/{room}/temperature" for head in ("a", "b", "ü") for room in ("e4", "e5", "f4")]
SIZES = [1, 7, 8, 9, 15, 16, 17, 33, 255, 256, 257, 65535]


def topics_of(decoder: Decoder, wire: bytes) -> list[str]:
    return [packet.topic for packet in decoder.feed(wire) if isinstance(packet, Publish)]


@pytest.mark.parametrize("size", SIZES)
def test_a_topic_of_any_size_comes_out_right_each_time(size: int) -> None:
    decoder = Decoder()
    for letter in "ab":
        topic = letter * size
        for _ in range(3):
            assert topics_of(decoder, encode_publish(topic, b"")) == [topic]


def test_topics_that_compete_for_a_place_are_not_taken_for_each_other() -> None:
    decoder = Decoder()
    for topic in RIVALS * 3:
        assert topics_of(decoder, encode_publish(topic, b"")) == [topic]


@pytest.mark.parametrize("size", [8, 9, 15, 16, 17, 24, 33])
def test_a_topic_that_differs_in_any_one_byte_is_another(size: int) -> None:
    known = "a" * size
    for place in range(size):
        other = known[:place] + "b" + known[place + 1 :]
        wire = b"".join(encode_publish(topic, b"") for topic in (known, other, known))
        assert topics_of(Decoder(), wire) == [known, other, known]


@given(st.lists(st.text(st.sampled_from("ab/ü0"), min_size=1, max_size=20), min_size=1, max_size=60))
def test_any_sequence_of_topics_comes_out_as_it_went_in(topics: list[str]) -> None:
    decoder = Decoder()
    assert topics_of(decoder, b"".join(encode_publish(topic, b"") for topic in topics)) == topics


def test_a_topic_that_comes_again_is_the_same_object() -> None:
    first, second = topics_of(Decoder(), encode_publish("plant/boiler/temperature", b"") * 2)
    assert first is second


def test_one_decoder_knows_nothing_of_another() -> None:
    wire = encode_publish("plant/boiler/temperature", b"")
    assert topics_of(Decoder(), wire)[0] is not topics_of(Decoder(), wire)[0]
    one = decode(wire)
    assert one is not None


@pytest.mark.parametrize("odd", [b"\0", b"+", b"#", b"\xff"], ids=["U+0000", "plus", "hash", "not UTF-8"])
@pytest.mark.parametrize("place", range(0, 24, 5))
def test_a_topic_one_byte_from_a_known_one_is_checked_like_any_other(odd: bytes, place: int) -> None:
    good = encode_publish("plant/boiler/temperature", b"")
    at = good.index(b"plant") + place
    decoder = Decoder()
    assert len(decoder.feed(good * 3)) == 3
    with pytest.raises(WireError):
        decoder.feed(good[:at] + odd + good[at + 1 :])


def test_names_are_given_back_with_the_decoder() -> None:
    decoder = Decoder()
    [topic] = topics_of(decoder, encode_publish("plant/boiler/temperature/kept", b""))
    held = sys.getrefcount(topic)
    del decoder
    gc.collect()
    assert sys.getrefcount(topic) == held - 1


def test_names_are_given_back_when_a_decoder_fails() -> None:
    decoder = Decoder()
    [topic] = topics_of(decoder, encode_publish("plant/boiler/temperature/kept", b""))
    held = sys.getrefcount(topic)
    with pytest.raises(WireError):
        decoder.feed(b"\x00\x00")
    assert sys.getrefcount(topic) == held - 1


def test_a_flood_of_topics_holds_a_few_names_only() -> None:
    decoder = Decoder()
    for number in range(2000):
        decoder.feed(encode_publish(f"flood/{number:08}/{'x' * 200}", b""))
    gc.collect()
    # The decoder is no container that the collector knows; what it holds shows in its memory alone.
    before = sys.getallocatedblocks()
    del decoder
    assert before - sys.getallocatedblocks() <= 40
