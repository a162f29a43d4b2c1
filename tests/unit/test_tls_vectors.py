"""Every hello of the vectors, tried every way: whole, in other records, truncated, bent; ours and those of others."""

from __future__ import annotations

import copy
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from decoding import changed_bytes, positions
from iotwire.errors import IotwireError, TlsDecodeError
from iotwire.tls import EXTENSIONS, MAX_HELLO_SIZE, ClientHello, ServerHello
from support import find_shared_vectors
from vectors.tls import MALFORMED, SERVER_MALFORMED, VECTORS, Malformed, Vector, put_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

each_vector = pytest.mark.parametrize("vector", [pytest.param(vector, id=vector.id) for vector in VECTORS])


def shared_hellos() -> list[Any]:
    folder = find_shared_vectors()
    file = None if folder is None else folder / "tls" / "client_hellos.jsonl"
    if file is None or not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


SHARED = shared_hellos()
SHARED_RIGHT = [row for row in SHARED if row["valid"]]
each_right_one = pytest.mark.parametrize("row", [pytest.param(row, id=row["source"]) for row in SHARED_RIGHT])


def outcome(wire: bytes) -> ClientHello | IotwireError | None:
    """What `decode` makes of any bytes at all; any other exception is let through."""
    try:
        return ClientHello.decode(wire)
    except IotwireError as error:
        return error


def split_at(wire: bytes, sizes: Iterator[int]) -> bytes:
    """The message of one record in records of these sizes."""
    content, records = wire[5:], b""
    while content:
        size = next(sizes)
        records += put_record(content[:size])
        content = content[size:]
    return records


def sizes_of(*sizes: int) -> Iterator[int]:
    yield from sizes
    while True:
        yield 16384


# Right ones.


@each_vector
def test_a_hello_encodes_to_its_bytes(vector: Vector) -> None:
    assert vector.hello.encode() == vector.wire


@each_vector
def test_bytes_decode_to_their_hello(vector: Vector) -> None:
    decoded = ClientHello.decode(vector.wire)
    assert decoded == vector.hello
    assert hash(decoded) == hash(vector.hello)
    assert decoded is not None
    assert decoded.encode() == vector.wire
    assert decoded.handshake == vector.wire[5:]


@each_vector
def test_the_repr_is_the_call_that_makes_it(vector: Vector) -> None:
    assert eval(repr(vector.hello), {"ClientHello": ClientHello}) == vector.hello
    assert len(repr(vector.hello)) < 700


@each_vector
def test_a_hello_survives_pickle_and_copy(vector: Vector) -> None:
    for restored in (pickle.loads(pickle.dumps(vector.hello)), copy.deepcopy(vector.hello), copy.copy(vector.hello)):
        assert restored == vector.hello
        assert restored.encode() == vector.wire


@each_vector
def test_every_truncation_asks_for_more(vector: Vector) -> None:
    for size in range(len(vector.wire)):
        assert ClientHello.decode(vector.wire[:size]) is None


@each_vector
def test_what_follows_the_hello_is_left_alone(vector: Vector) -> None:
    for rest in (b"\x16", b"\x17\x03\x03", b"\x14\x03\x03\x00\x01\x01", vector.wire, b"anything"):
        assert ClientHello.decode(vector.wire + rest) == vector.hello


@each_vector
@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_buffer_is_decoded_and_none_is_kept(vector: Vector, kind: Callable[[bytes], Any]) -> None:
    data = bytearray(vector.wire)
    decoded = ClientHello.decode(kind(data) if kind is memoryview else data)
    data[:] = bytes(len(data))
    assert decoded == vector.hello


@each_vector
def test_a_hello_in_two_records_is_joined_wherever_they_meet(vector: Vector) -> None:
    for first in range(1, len(vector.wire) - 5):
        records = split_at(vector.wire, sizes_of(first))
        decoded = ClientHello.decode(records)
        assert decoded is not None
        assert decoded.handshake == vector.hello.handshake
        assert ClientHello.decode(records[:-1]) is None


@each_vector
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 50])
def test_a_hello_in_many_records_is_joined(vector: Vector, size: int) -> None:
    records = split_at(vector.wire, iter([size] * len(vector.wire)))
    decoded = ClientHello.decode(records)
    assert decoded is not None
    assert decoded.handshake == vector.hello.handshake
    assert ClientHello.decode(decoded.encode()) == decoded
    for end in range(len(records)):
        assert ClientHello.decode(records[:end]) is None


# Wrong ones.


@pytest.mark.parametrize("malformed", [pytest.param(case, id=case.id) for case in MALFORMED])
def test_a_malformed_hello_is_refused_with_an_alert(malformed: Malformed) -> None:
    refused(ClientHello.decode, malformed)


@pytest.mark.parametrize("malformed", [pytest.param(case, id=case.id) for case in SERVER_MALFORMED])
def test_a_malformed_answer_is_refused_with_an_alert(malformed: Malformed) -> None:
    refused(ServerHello.decode, malformed)


def refused(decode: Callable[[bytes], object], malformed: Malformed) -> None:
    with pytest.raises(TlsDecodeError) as caught:
        decode(malformed.wire)
    error = caught.value
    assert (error.alert, error.clause) == (malformed.alert, malformed.clause)
    assert error.offset is not None
    assert 0 <= error.offset <= len(malformed.wire)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.alert, again.offset) == (str(error), error.alert, error.offset)
    # Never right before, and refused in the end however little is there.
    assert not any(isinstance(outcome(malformed.wire[:size]), ClientHello) for size in range(len(malformed.wire)))


def is_wrong_inside(malformed: Malformed) -> bool:
    """Whether it is the body of the message that is wrong, and neither its record nor its header."""
    return malformed.clause not in ("RFC 8446 4", "RFC 8446 5.1")


@pytest.mark.parametrize("malformed", [pytest.param(case, id=case.id) for case in MALFORMED if is_wrong_inside(case)])
def test_an_offset_is_one_into_the_records_however_they_are_split(malformed: Malformed) -> None:
    wire = malformed.wire
    whole = outcome(wire)
    assert isinstance(whole, TlsDecodeError)
    assert whole.offset is not None
    told = whole.offset - 5  # in the message
    for first in range(1, len(wire) - 5):
        error = outcome(split_at(wire, sizes_of(first)))
        assert isinstance(error, TlsDecodeError)
        assert (error.alert, error.clause, str(error.args)) == (whole.alert, whole.clause, str(whole.args))
        assert error.offset in (5 + told, 10 + told)
        if told not in (first, len(wire) - 5):
            assert error.offset == told + (5 if told < first else 10)


@each_vector
def test_a_length_that_is_off_is_noticed(vector: Vector) -> None:
    for length in vector.lengths:
        for by in (-2, -1, 1, 2, 255):
            bent = length.bent(vector.wire, by)
            if bent is not None:
                found = outcome(bent)
                if isinstance(found, ClientHello):  # data of an unknown extension that took the next one in
                    assert found.handshake == bent[5:]
                    assert 0x5555 in dict(found.extensions)
                else:
                    assert found is None or isinstance(found, TlsDecodeError), (length, by)


@each_vector
def test_any_changed_byte_gives_a_hello_none_or_an_error(vector: Vector) -> None:
    for changed in changed_bytes(vector.wire):
        found = outcome(changed)
        if isinstance(found, ClientHello):
            assert found.encode()[5:] == changed[5:]
            repr(found)


def test_every_truncation_of_a_message_is_refused() -> None:
    for vector in VECTORS:
        body = vector.wire[9:]
        for size in range(len(body)):
            found = outcome(put_record(b"\1" + size.to_bytes(3, "big") + body[:size]))
            if isinstance(found, ClientHello):  # before TLS 1.3 the extensions may be missing
                assert not found.extensions
            else:
                assert isinstance(found, TlsDecodeError)


def test_a_hello_that_is_too_long_is_refused_before_it_is_there() -> None:
    header = b"\1" + (MAX_HELLO_SIZE - 4).to_bytes(3, "big")
    assert ClientHello.decode(put_record(header)) is None
    header = b"\1" + (MAX_HELLO_SIZE - 3).to_bytes(3, "big")
    with pytest.raises(TlsDecodeError, match="at most 65536"):
        ClientHello.decode(put_record(header))
    one_byte_each = b"".join(put_record(header[at : at + 1]) for at in range(4))
    with pytest.raises(TlsDecodeError, match="at most 65536"):
        ClientHello.decode(one_byte_each)


# Those of others.


def test_the_shared_hellos_are_there_or_this_says_so(shared_vectors: object) -> None:
    assert shared_vectors
    assert len(SHARED_RIGHT) > 100


@each_right_one
def test_a_shared_hello_decodes_to_what_is_expected_and_encodes_back(row: Any) -> None:
    hello = ClientHello.decode(bytes.fromhex(row["records"]))
    assert hello is not None
    assert hello.handshake.hex() == row["handshake"]
    expected = row["expected"]
    assert hello.server_name == expected["sni"]
    assert list(hello.alpn_protocols) == expected["alpn"]
    assert list(hello.supported_versions) == expected["supported_versions"]
    assert hello.versions == (tuple(expected["supported_versions"]) or (expected["legacy_version"],))
    assert hello.legacy_version == expected["legacy_version"]
    assert hello.record_version == expected["record_version"]
    assert list(hello.cipher_suites) == expected["ciphers"]
    assert [kind for kind, _ in hello.extensions] == expected["extensions"]
    assert list(hello.groups) == expected["groups"]
    assert list(hello.signature_algorithms) == expected["sigalgs"]
    assert ClientHello.decode(hello.encode()) == hello
    assert pickle.loads(pickle.dumps(hello)) == hello


@each_right_one
def test_the_repr_of_a_shared_hello_is_the_call_that_makes_it(row: Any) -> None:
    hello = ClientHello.decode(bytes.fromhex(row["records"]))
    assert hello is not None
    shown = repr(hello)
    assert len(shown) < 4000 + 12 * len(hello.extensions)
    if (
        " bytes>" not in shown and hello.server_name != "127.0.0.1"
    ):  # bytes that are only measured; a name that we refuse
        assert eval(shown, {"ClientHello": ClientHello}) == hello


@each_right_one
def test_a_shared_hello_is_made_again_from_its_attributes(row: Any) -> None:
    hello = ClientHello.decode(bytes.fromhex(row["records"]))
    assert hello is not None
    names = ("cipher_suites", "session_id", "random", "compression_methods", "legacy_version", "record_version")
    again = ClientHello(
        extensions=hello.extensions,
        # Where a hello has none of these, there is no extension to stand for their default.
        **{name: getattr(hello, name) for name in names},
        **{name: getattr(hello, name) for name in ("versions", "groups", "signature_algorithms", "ec_point_formats")},
        extended_master_secret=hello.extended_master_secret,
        key_shares=hello.key_shares or (() if any(kind == 51 for kind, _ in hello.extensions) else None),
    )
    assert again.handshake == hello.handshake or not hello.extensions


@each_right_one
def test_a_truncated_shared_hello_asks_for_more(row: Any) -> None:
    records = bytes.fromhex(row["records"])
    for size in positions(len(records)):
        assert ClientHello.decode(records[:size]) is None


@pytest.mark.parametrize("row", [pytest.param(row, id=row["source"]) for row in SHARED if row["valid"] is not True])
def test_a_shared_hello_that_is_wrong_is_refused_and_a_contested_one_is_read(row: Any) -> None:
    found = outcome(bytes.fromhex(row["records"]))
    if row["valid"] is False:
        assert isinstance(found, TlsDecodeError)
    else:
        assert found is None or isinstance(found, TlsDecodeError | ClientHello)


def test_the_table_has_each_extension_once_with_the_place_that_defines_it() -> None:
    kinds = [kind for kind, _, _ in EXTENSIONS]
    assert len(set(kinds)) == len(kinds)
    for kind, name, clause in EXTENSIONS:
        assert 0 <= kind <= 65535
        assert name.isidentifier()
        assert clause.startswith("RFC ")
