"""Processor features: what is there is found, and every path that one opens answers as the path without it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from iotwire import _cpu
from iotwire.errors import EncodeError, IotwireError, MalformedPacketError
from iotwire.mqtt import Decoder, Publish, encode_publish, topic_matches
from support import IS_EMULATED

KNOWN = {"sse2", "neon", "sha_ni", "sha2"}

# What every processor of an architecture has.
BASELINE = {"x86_64": {"sse2"}, "AMD64": {"sse2"}, "aarch64": {"neon"}, "arm64": {"neon"}}


@pytest.fixture(autouse=True)
def all_features_again() -> Iterator[None]:
    yield
    _cpu.use(None)


def paths() -> list[frozenset[str]]:
    """Without any feature, with each by itself, with all."""
    each = [frozenset({name}) for name in sorted(_cpu.available())]
    return [frozenset(), *each, _cpu.available()]


def test_what_is_found_is_known_by_name() -> None:
    assert _cpu.available() <= KNOWN
    assert _cpu.in_use() == _cpu.available()


def test_what_every_processor_of_the_architecture_has_is_found() -> None:
    assert BASELINE.get(platform.machine(), set()) <= _cpu.available()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
@pytest.mark.skipif(IS_EMULATED, reason="/proc/cpuinfo is that of the machine that emulates")
def test_what_is_found_is_what_the_kernel_says() -> None:
    lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Features"))]
    if not lines:
        pytest.skip("this kernel lists no features")
    listed = set(lines[0].partition(":")[2].split())
    arm = {"neon": listed & {"neon", "asimd"}, "sha2": listed & {"sha2"}}
    intel = {"sse2": listed & {"sse2"}, "sha_ni": {"sha_ni", "ssse3", "sse4_1"} <= listed}
    expected = {name for name, there in (intel if "sse2" in listed else arm).items() if there}
    assert _cpu.available() == expected


@pytest.mark.skipif("IOTWIRE_EMULATED_NEON" not in os.environ, reason="says whether the emulated processor has NEON")
def test_neon_is_found_on_an_emulated_processor_that_has_it_and_on_no_other() -> None:
    assert ("neon" in _cpu.available()) == (os.environ["IOTWIRE_EMULATED_NEON"] == "yes")


@pytest.mark.parametrize("names", paths(), ids=lambda names: "+".join(sorted(names)) or "none")
def test_a_path_can_be_forced(names: frozenset[str]) -> None:
    _cpu.use(names)
    assert _cpu.in_use() == names
    _cpu.use()
    assert _cpu.in_use() == _cpu.available()


@pytest.mark.parametrize("name", [*sorted(KNOWN - _cpu.available()), "avx512", "", "NEON"])
def test_a_feature_that_is_not_there_cannot_be_forced(name: str) -> None:
    with pytest.raises(IotwireError, match="not a feature of this processor"):
        _cpu.use([name])
    assert _cpu.in_use() == _cpu.available()


# ---- text: each size around the widths of words and registers, each odd character at each place

SIZES = [*range(1, 36), 47, 48, 49, 63, 64, 65, 255, 256, 257]


@pytest.mark.parametrize("names", paths(), ids=lambda names: "+".join(sorted(names)) or "none")
def test_plain_text_of_every_size_passes_on_every_path(names: frozenset[str]) -> None:
    _cpu.use(names)
    # The first and the last characters around those that are looked for: '!' to '~' without '#' and '+', and DEL.
    letters = "".join(chr(code) for code in [*range(1, 0x23), 0x24, *range(0x25, 0x2B), *range(0x2C, 0x80)])
    for size in SIZES:
        topic = (letters * 3)[:size]
        wire = encode_publish(topic, b"")
        assert Decoder().feed(wire) == [Publish(topic)]


@pytest.mark.parametrize("names", paths(), ids=lambda names: "+".join(sorted(names)) or "none")
@pytest.mark.parametrize("odd", ["\0", "+", "#"], ids=["U+0000", "plus", "hash"])
def test_an_odd_character_is_found_at_every_place_on_every_path(names: frozenset[str], odd: str) -> None:
    _cpu.use(names)
    for size in SIZES:
        for place in range(size) if size < 70 else (0, size // 2, size - 17, size - 1):
            topic = "t" * place + odd + "t" * (size - place - 1)
            with pytest.raises(EncodeError):
                encode_publish(topic, b"")
            wire = encode_publish("t" * size, b"").replace(b"t" * size, topic.encode())
            with pytest.raises(MalformedPacketError):
                Decoder().feed(wire)


@pytest.mark.parametrize("names", paths(), ids=lambda names: "+".join(sorted(names)) or "none")
def test_text_that_is_not_ascii_is_decoded_at_every_place_on_every_path(names: frozenset[str]) -> None:
    _cpu.use(names)
    for size in SIZES:
        for place in range(size) if size < 70 else (0, size // 2, size - 17, size - 1):
            topic = "t" * place + "ü" + "t" * (size - place - 1)
            assert Decoder().feed(encode_publish(topic, b"")) == [Publish(topic)]
            assert topic_matches("#", topic)
            # One byte of the two alone is not UTF-8.
            broken = encode_publish("t" * size, b"").replace(
                b"t" * size, b"t" * place + b"\xc3" + b"t" * (size - place - 1)
            )
            with pytest.raises(MalformedPacketError):
                Decoder().feed(broken)
