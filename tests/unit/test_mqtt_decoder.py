"""The Decoder as a machine: limits, failure, version, and memory that a transport receives into."""

from __future__ import annotations

import gc
import pickle
from typing import TYPE_CHECKING

import pytest

from decoding import anything, calls, receive
from iotwire.errors import EncodeError, IotwireError, PacketTooLargeError, WireError
from iotwire.mqtt import (
    Connect,
    Decoder,
    PingReq,
    PingResp,
    Publish,
    decode,
    encode_publish,
)
from vectors.mqtt import put_frame, put_string, put_varint

if TYPE_CHECKING:
    pass

PING = b"\xd0\x00"


# The largest packet taken.


@pytest.mark.parametrize("version", [4, 5])
def test_a_packet_of_exactly_the_maximum_size_is_taken_and_one_byte_more_is_not(version: int) -> None:
    for size in (2, 10, 129, 131, 200, 16386, 16388, 20000):
        wire = PING if size == 2 else _publish_of(size, version)
        assert len(wire) == size
        assert len(Decoder(version, max_packet_size=size).feed(wire)) == 1
        if size > 2:
            with pytest.raises(PacketTooLargeError) as caught:
                Decoder(version, max_packet_size=size - 1).feed(wire)
            assert caught.value.reason_code == 0x95
            assert caught.value.clause


def _publish_of(size: int, version: int) -> bytes:
    """A PUBLISH of `size` bytes in all."""
    head = put_string("t") + (b"\0" if version == 5 else b"")
    for length_bytes in (1, 2, 3, 4):
        body = head + b"x" * (size - 1 - length_bytes - len(head))
        if len(put_varint(len(body))) == length_bytes:
            return put_frame(0x30, body)
    raise AssertionError(size)


@pytest.mark.parametrize("first_byte", [0x10, 0x20, 0x30, 0x40, 0x82, 0xE0, 0xF0])
def test_a_packet_too_large_is_refused_from_its_header(first_byte: int) -> None:
    decoder = Decoder(max_packet_size=1000)
    assert decoder.feed(bytes([first_byte])) == []
    assert decoder.feed(b"\xff") == []
    with pytest.raises(PacketTooLargeError):
        decoder.feed(b"\x07")


def test_a_header_that_announces_the_largest_packet_of_all_is_waited_on_by_default() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\x30\xff\xff\xff\x7f") == []
    assert decoder.buffered == 5


def test_a_too_large_packet_after_good_ones_gives_the_good_ones() -> None:
    for way in (lambda decoder, wire: decoder.feed(wire), lambda decoder, wire: list(receive(decoder, wire, 65536))):
        with pytest.raises(PacketTooLargeError) as caught:
            way(Decoder(max_packet_size=100), PING + b"\xc0\x00" + b"\x30\x80\x01")
        assert caught.value.packets == [PingResp(), PingReq()]


@pytest.mark.parametrize("size", [-1, 0, 1, 268_435_461, 1 << 80, "100", None, 100.0])
def test_a_maximum_size_that_makes_no_sense_is_refused(size: object) -> None:
    with pytest.raises(EncodeError) as caught:
        Decoder(max_packet_size=anything(size))
    assert caught.value.field == "max_packet_size"


@pytest.mark.parametrize("payload", ["View", "", b"view", None, 1])
def test_a_form_of_payload_that_is_neither_bytes_nor_view_is_refused(payload: object) -> None:
    with pytest.raises(EncodeError) as caught:
        Decoder(payload=anything(payload))
    assert caught.value.field == "payload"


# Failure.


def test_a_decoder_that_failed_stays_failed() -> None:
    decoder = Decoder()
    with pytest.raises(WireError) as first:
        decoder.feed(PING + b"\x00\x00" + PING)
    assert first.value.packets == [PingResp()]
    for call in calls(
        lambda: decoder.feed(PING),
        lambda: decoder.feed(b""),
        lambda: decoder.get_buffer(-1),
        lambda: decoder.buffer_updated(0),
    ):
        with pytest.raises(WireError) as again:
            call()
        assert type(again.value) is type(first.value)
        assert again.value.reason_code == first.value.reason_code
        assert again.value.packets == []
    assert decoder.buffered == 0


def test_the_failure_of_one_decoder_is_not_anothers() -> None:
    with pytest.raises(WireError):
        Decoder().feed(b"\x00\x00")
    assert Decoder().feed(PING) == [PingResp()]


def test_an_error_survives_pickling_with_all_it_says() -> None:
    with pytest.raises(WireError) as caught:
        Decoder().feed(PING + b"\x30\x05\x00\x03a/#")
    restored = pickle.loads(pickle.dumps(caught.value))
    assert type(restored) is type(caught.value)
    assert str(restored) == str(caught.value)
    assert vars(restored) == vars(caught.value)
    assert restored.packets == [PingResp()]


def test_an_error_keeps_its_packets_apart_from_later_errors() -> None:
    decoder = Decoder()
    with pytest.raises(WireError) as first:
        decoder.feed(PING + b"\x00\x00")
    with pytest.raises(WireError) as second:
        decoder.feed(PING)
    assert first.value is not second.value
    assert first.value.packets == [PingResp()]


def test_packets_of_an_earlier_call_are_not_in_the_error() -> None:
    decoder = Decoder()
    assert decoder.feed(PING) == [PingResp()]
    assert decoder.feed(b"\xd0") == []
    with pytest.raises(WireError) as caught:
        decoder.feed(b"\x00\xc0\x00\x00\x00")
    assert caught.value.packets == [PingResp(), PingReq()]


def test_a_callers_mistake_does_not_break_the_decoder() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\xd0") == []
    for data in ("text", None, 7, [0xD0], memoryview(bytes(4))[::2]):
        with pytest.raises(EncodeError) as caught:
            decoder.feed(anything(data))
        assert caught.value.field == "data"
    with pytest.raises(IotwireError):
        decoder.buffer_updated(1)
    assert decoder.feed(b"\x00") == [PingResp()]


def test_a_released_memoryview_is_refused_as_any_other_wrong_argument() -> None:
    view = memoryview(bytearray(PING))
    view.release()
    for call in calls(
        lambda: decode(view),
        lambda: Decoder().feed(view),
        lambda: encode_publish("t", view),
        lambda: Publish("t", view).encode(),
    ):
        with pytest.raises(EncodeError):
            call()


# The version.


@pytest.mark.parametrize("version", [4, 5])
def test_the_version_is_learned_from_connect(version: int) -> None:
    decoder = Decoder(None)
    assert (decoder.version,) == (None,)
    publish = encode_publish("t", b"x", version=version)
    assert decoder.feed(Connect("c").encode(version) + publish) == [Connect("c"), Publish("t", b"x")]
    assert decoder.version == version
    assert decoder.feed(publish) == [Publish("t", b"x")]


@pytest.mark.parametrize("version", [4, 5])
def test_the_version_is_learned_byte_by_byte_too(version: int) -> None:
    decoder = Decoder(None)
    wire = Connect("c").encode(version)
    for at in range(len(wire) - 1):
        assert decoder.feed(wire[at : at + 1]) == []
        assert (decoder.version,) == (None,)
    assert decoder.feed(wire[-1:]) == [Connect("c")]
    assert decoder.version == version


def test_a_fixed_version_reads_as_given() -> None:
    assert (Decoder().version, Decoder(5).version, Decoder(4).version) == (5, 5, 4)


def test_decode_learns_the_version_of_a_connect() -> None:
    for version in (4, 5):
        wire = Connect("c", username="u").encode(version)
        assert decode(wire, None) == (Connect("c", username="u"), len(wire))
        assert decode(wire[:-1], None) is None


def test_the_version_of_a_decoder_cannot_be_set() -> None:
    decoder = Decoder(5)
    for name in ("version", "buffered", "something_new"):
        with pytest.raises(AttributeError):
            setattr(decoder, name, 4)


# Receiving into the decoder's own memory.


def test_get_buffer_gives_a_writable_view_of_bytes() -> None:
    for sizehint in (-1, 0, 1, 10, 1000, 65536, 1 << 20):
        buffer = Decoder().get_buffer(sizehint)
        assert isinstance(buffer, memoryview)
        assert len(buffer) >= 1
        assert not buffer.readonly
        assert (buffer.format, buffer.itemsize, buffer.ndim, buffer.c_contiguous) == ("B", 1, 1, True)


@pytest.mark.parametrize("sizehint", [1 << 62, 1 << 80, -(1 << 80), None, "10", 1.5, b""])
def test_a_wild_sizehint_is_survived(sizehint: object) -> None:
    decoder = Decoder()
    try:
        buffer = decoder.get_buffer(anything(sizehint))
    except IotwireError:
        buffer = decoder.get_buffer(-1)
    assert len(buffer) < 1 << 26
    buffer[:2] = PING
    assert decoder.buffer_updated(2) == [PingResp()]


def test_get_buffer_may_be_called_without_a_sizehint_used_or_again() -> None:
    decoder = Decoder()
    first = decoder.get_buffer(10)
    second = decoder.get_buffer(10)
    second[:2] = PING
    assert decoder.buffer_updated(2) == [PingResp()]
    first[:1] = b"x"
    assert decoder.feed(PING) == [PingResp()]


@pytest.mark.parametrize("nbytes", [-1, -(1 << 40), 1 << 40, 1 << 80, "2", None, 2.0])
def test_a_number_of_bytes_that_cannot_have_been_written_is_an_error(nbytes: object) -> None:
    decoder = Decoder()
    decoder.get_buffer(10)
    with pytest.raises(EncodeError) as caught:
        decoder.buffer_updated(anything(nbytes))
    assert caught.value.field == "nbytes"
    assert decoder.buffered == 0


def test_one_byte_more_than_was_offered_is_an_error() -> None:
    decoder = Decoder()
    buffer = decoder.get_buffer(100)
    with pytest.raises(EncodeError):
        decoder.buffer_updated(len(buffer) + 1)


def test_bytes_that_were_never_offered_cannot_have_been_written() -> None:
    decoder = Decoder()
    assert decoder.buffer_updated(0) == []
    with pytest.raises(EncodeError):
        decoder.buffer_updated(1)
    buffer = decoder.get_buffer(10)
    buffer[:2] = PING
    assert decoder.buffer_updated(2) == [PingResp()]
    # What was offered has been used up.
    with pytest.raises(EncodeError):
        decoder.buffer_updated(1)


def test_an_offer_does_not_outlive_a_feed() -> None:
    decoder = Decoder()
    buffer = decoder.get_buffer(1 << 16)
    buffer[:4] = b"\x30\x7f\x00\x01"
    assert decoder.feed(b"\xd0") == []
    with pytest.raises(EncodeError):
        decoder.buffer_updated(4)
    assert decoder.feed(b"\x00") == [PingResp()]


def test_feeding_and_receiving_may_alternate() -> None:
    wire = encode_publish("t", b"x" * 300, 1, False, 7)
    decoder = Decoder()
    packets = []
    for at in range(0, len(wire), 20):
        packets += decoder.feed(wire[at : at + 10])
        packets += list(receive(decoder, wire[at + 10 : at + 20], 4))
    assert packets == [Publish("t", b"x" * 300, qos=1, packet_id=7)]


def test_writing_late_into_an_old_buffer_is_harmless() -> None:
    decoder = Decoder(payload="view")
    old = decoder.get_buffer(1000)
    old[:2] = PING
    assert decoder.buffer_updated(2) == [PingResp()]
    for _ in range(10):
        list(receive(decoder, encode_publish("t", bytes(5000)), 1000))
        old[:] = b"\xff" * len(old)
    del decoder
    gc.collect()
    old[:] = b"\x00" * len(old)
