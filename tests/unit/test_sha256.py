"""SHA-256 and HMAC of our own: every path against hashlib, whose OpenSSL has passed NIST's own tests."""

from __future__ import annotations

import array
import hashlib
import hmac
import random
from collections.abc import Iterator

import pytest

from iotwire import _cpu
from iotwire._sigv4 import hmac_sha256, sha256
from iotwire.errors import EncodeError
from support import IS_EMULATED

# FIPS 180-4's own examples, and the shortest of NIST's short messages (CAVP, SHA256ShortMsg.rsp).
KNOWN = [
    (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ),
    (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (b"\xd3", "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"),
    (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
]

# RFC 4231, cases 1, 2, 3 and 6: a short key, a text, a key of a block's worth, and a key longer than a block.
KNOWN_HMAC = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
]


def paths() -> list[frozenset[str]]:
    """Portable code, and each feature by itself that has code of its own."""
    return [frozenset(), *(frozenset({name}) for name in sorted(_cpu.available() & {"sha_ni", "sha2"}))]


@pytest.fixture(params=paths(), ids=lambda names: "+".join(sorted(names)) or "portable", autouse=True)
def path(request: pytest.FixtureRequest) -> Iterator[None]:
    _cpu.use(request.param)
    yield
    _cpu.use(None)


@pytest.mark.parametrize(("message", "digest"), KNOWN, ids=["abc", "two blocks", "empty", "a byte", "a million"])
def test_the_standards_examples(message: bytes, digest: str) -> None:
    assert sha256(message).hex() == digest


def test_every_length_up_to_300() -> None:
    data = random.Random(1).randbytes(300)
    for size in range(301):
        assert sha256(data[:size]) == hashlib.sha256(data[:size]).digest(), size


def test_lengths_around_each_block_up_to_a_few_kilobytes() -> None:
    # NIST's long messages: one more block each time.
    data = random.Random(2).randbytes(6400)
    for block in range(1, 100):
        for size in (64 * block - 9, 64 * block - 8, 64 * block - 1, 64 * block):
            assert sha256(data[:size]) == hashlib.sha256(data[:size]).digest(), size


def test_random_lengths_at_every_alignment() -> None:
    chance = random.Random(3)
    data = chance.randbytes(70_000)
    for _ in range(200):
        start, size = chance.randrange(64), chance.randrange(60_000)
        piece = memoryview(data)[start : start + size]
        assert sha256(piece) == hashlib.sha256(piece).digest()


def test_pieces_are_one_message_however_it_is_split() -> None:
    data = random.Random(4).randbytes(200)
    whole = hashlib.sha256(data).digest()
    for first in range(201):
        for second in range(first, 201, 13):
            assert sha256(data[:first], data[first:second], data[second:]) == whole
    assert sha256(*(data[at : at + 1] for at in range(200))) == whole


def test_many_random_splits() -> None:
    chance = random.Random(5)
    for _ in range(100):
        pieces = [chance.randbytes(chance.choice((0, 1, 55, 56, 63, 64, 65, 127, 128, 1000))) for _ in range(9)]
        assert sha256(*pieces) == hashlib.sha256(b"".join(pieces)).digest()


def test_the_monte_carlo_chain_of_nist() -> None:
    # SHAVS 6.4, a tenth as long: a message is the last three digests, and each checkpoint the seed of the next round.
    def chain(digest: object, seed: bytes) -> bytes:
        for _ in range(10):
            digests = [seed, seed, seed]
            for _ in range(1000):
                digests = [*digests[1:], digest(b"".join(digests))]  # type: ignore[operator]
            seed = digests[-1]
        return seed

    seed = bytes.fromhex("6d1e72ad03ddeb5de891e572e2396f8da015d899ef0e79503152d6010a3fe691")
    assert chain(sha256, seed) == chain(lambda data: hashlib.sha256(data).digest(), seed)


def test_more_than_four_gigabits_are_counted() -> None:
    # The size in bits no longer fits 32 bits from 512 MiB on.
    if IS_EMULATED or not _cpu.in_use():
        pytest.skip("takes too long without SHA instructions")
    chunk = bytes(8 * 1024 * 1024)
    other = hashlib.sha256()
    for _ in range(65):
        other.update(chunk)
    assert sha256(*[chunk] * 65) == other.digest()


@pytest.mark.parametrize(("key", "data", "code"), KNOWN_HMAC, ids=["short key", "text", "20 bytes", "long key"])
def test_the_hmac_examples_of_rfc_4231(key: bytes, data: bytes, code: str) -> None:
    assert hmac_sha256(key, data).hex() == code


def test_hmac_with_keys_of_every_length_up_to_200() -> None:
    data = random.Random(6).randbytes(400)
    for size in range(201):
        for length in (0, 1, 55, 64, 147, 200):
            expected = hmac.digest(data[:size], data[-length or 400 :], "sha256")
            assert hmac_sha256(data[:size], data[-length or 400 :]) == expected, size


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda data: array.array("B", data)])
def test_any_buffer_is_taken(kind: object) -> None:
    data = kind(b"some bytes")  # type: ignore[operator]
    assert sha256(data) == hashlib.sha256(b"some bytes").digest()
    assert hmac_sha256(data, data) == hmac.digest(b"some bytes", b"some bytes", "sha256")


@pytest.mark.parametrize("wrong", ["text", None, 5, memoryview(b"abcd")[::2]])
def test_what_is_no_buffer_is_refused(wrong: object) -> None:
    with pytest.raises(EncodeError, match=r"buffer|bytes-like"):
        sha256(wrong)  # type: ignore[arg-type]
    with pytest.raises(EncodeError, match="key"):
        hmac_sha256(wrong, b"")  # type: ignore[arg-type]
    with pytest.raises(EncodeError, match="data"):
        hmac_sha256(b"", wrong)  # type: ignore[arg-type]
