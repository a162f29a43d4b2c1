"""The fuzzers themselves: that they run, reach deep into the codecs, and can find a fault."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fuzz import fuzz_mqtt, fuzz_tls, fuzz_websocket
from fuzz.frame import BrokenError, Seed
from fuzz.fuzz_mqtt import (
    Tally,
    check,
    check_packet,
    make_input,
    run,
    seeds_of_corpus,
    seeds_of_vectors,
)
from iotwire.mqtt import PubAck
from iotwire.tls import ClientHello
from support import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def seeds() -> list[Seed]:
    return seeds_of_vectors()


def test_some_thousand_inputs_break_nothing(seeds: list[Seed]) -> None:
    tally = run(seeds, seed=20261121, numbers=range(6000))
    assert tally.inputs == 6000
    # A fuzzer that never gets past the header, or never past a packet, proves little.
    assert tally.packets > 2000
    assert tally.errors > 2000
    assert len(tally.clauses) > 30


def test_an_input_is_told_by_its_seed_and_number(seeds: list[Seed]) -> None:
    first = [make_input(seeds, random.Random(f"7/{number}")) for number in range(50)]
    assert first == [make_input(seeds, random.Random(f"7/{number}")) for number in range(50)]
    assert len(set(first)) > 40
    assert first != [make_input(seeds, random.Random(f"8/{number}")) for number in range(50)]


def test_a_packet_that_is_not_what_its_bytes_say_is_found() -> None:
    check_packet(PubAck(1), b"\x40\x02\x00\x01", 5)
    with pytest.raises(BrokenError):
        check_packet(PubAck(2), b"\x40\x02\x00\x01", 5)


def test_anything_but_our_own_errors_is_printed_with_its_input(
    seeds: list[Seed], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stumble(data: bytes, version: int, chance: random.Random, tally: Tally) -> None:
        check(data, version, chance, tally)
        if tally.inputs == 3:
            raise OverflowError

    monkeypatch.setattr(fuzz_mqtt, "check", stumble)
    with pytest.raises(OverflowError):
        run(seeds, seed=5, numbers=range(10))
    expected, version = make_input(seeds, random.Random("5/2"))
    printed = capsys.readouterr().err
    assert f"input 2 of seed 5, MQTT version {version}: {expected.hex()}" in printed
    assert "--seed 5 --first 2 --inputs 1" in printed


def test_a_corpus_is_read_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"\xd0\x00")
    assert seeds_of_corpus(tmp_path) == [Seed(b"\xd0\x00", 4), Seed(b"\xd0\x00", 5)]


@pytest.mark.parametrize("name", ["fuzz_mqtt.py", "fuzz_tls.py", "fuzz_websocket.py"])
def test_a_fuzzer_runs_as_a_program(tmp_path: Path, name: str) -> None:
    (tmp_path / "one").write_bytes(b"\xd0\x00")
    script = CHECKOUT / "tests" / "fuzz" / name
    arguments = ["--inputs", "50", "--seconds", "30", "--seed", "3", "--corpus", str(tmp_path)]
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "50 inputs" in done.stdout


# TLS.


def test_some_thousand_hellos_break_nothing() -> None:
    tally = fuzz_tls.run(fuzz_tls.seeds_of_vectors(), seed=20261130, numbers=range(3000))
    assert tally.inputs == 3000
    assert tally.hellos > 300
    assert tally.errors > 1000
    assert len(tally.clauses) > 15


def test_a_hello_that_is_not_what_its_bytes_say_is_found() -> None:
    hello, other = ClientHello("a.test"), ClientHello("b.test")
    fuzz_tls.check_hello(hello, hello.encode(), random.Random(1))
    with pytest.raises(BrokenError):
        fuzz_tls.check_hello(hello, other.encode(), random.Random(1))
    with pytest.raises(BrokenError):
        fuzz_tls.check_remade(hello, repr(other))


# WebSocket frames.


def test_some_thousand_streams_of_frames_break_nothing() -> None:
    tally = fuzz_websocket.run(seed=20261201, numbers=range(3000))
    assert tally.inputs == 3000
    assert tally.pings > 300
    assert tally.closes > 200
    assert tally.faults > 500
    assert tally.statuses == {1002, 1003, 1007, 1009}


def test_a_reader_of_another_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model_of = fuzz_websocket.model_of
    monkeypatch.setattr(fuzz_websocket, "model_of", lambda given: model_of(given)._replace(ping=None))
    with pytest.raises(BrokenError):
        fuzz_websocket.run(seed=5, numbers=range(100))
