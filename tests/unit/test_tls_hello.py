"""What callers may ask a ClientHello to be, and what another stack makes of it."""

from __future__ import annotations

import ssl
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoding import anything
from iotwire.errors import EncodeError, IotwireError
from iotwire.tls import Alert, ClientHello, alpn_extension, is_grease, server_name_extension
from racing import run_together
from vectors.tls import put_body, put_extension, put_message, put_record, put_vector

HOST = "a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com"
RANDOM = bytes(range(32))


def again(hello: ClientHello) -> ClientHello:
    decoded = ClientHello.decode(hello.encode())
    assert decoded is not None
    return decoded


# What is offered where nothing is said.


def test_a_hello_of_a_name_and_a_protocol_offers_what_servers_take() -> None:
    hello = again(ClientHello(HOST, ["x-amzn-mqtt-ca"]))
    assert hello.server_name == HOST
    assert hello.alpn_protocols == ("x-amzn-mqtt-ca",)
    assert hello.versions == hello.supported_versions == (0x0304, 0x0303)
    assert hello.legacy_version == 0x0303
    assert hello.record_version == 0x0301
    assert {0x1301, 0x1302, 0xC02B, 0xC02F} <= set(hello.cipher_suites)
    assert hello.groups == (29, 23, 24)
    assert {0x0403, 0x0804, 0x0401} <= set(hello.signature_algorithms)
    assert hello.extended_master_secret
    assert hello.key_shares == ()
    assert (51, b"\0\0") in hello.extensions
    assert (hello.session_id, hello.compression_methods, hello.ec_point_formats) == (b"", (0,), (0,))


def test_a_hello_without_arguments_has_neither_name_nor_protocols() -> None:
    hello = again(ClientHello())
    assert hello.server_name is None
    assert hello.alpn_protocols == ()
    assert not {0, 16} & {kind for kind, _ in hello.extensions}


def test_every_hello_has_a_random_of_its_own() -> None:
    hellos = [ClientHello(HOST) for _ in range(100)]
    assert len({hello.random for hello in hellos}) == 100
    assert all(len(hello.random) == 32 for hello in hellos)
    assert hellos[0] != hellos[1]
    assert hellos[0].encode() == hellos[0].encode()


@pytest.mark.parametrize(
    ("versions", "legacy", "is_extension", "suites_of"),
    [
        ((0x0304, 0x0303), 0x0303, True, {0x1301, 0xC02B}),
        ((0x0304,), 0x0303, True, {0x1301}),
        ((0x0303,), 0x0303, False, {0xC02B}),
        ((0x0303, 0x0302), 0x0303, True, {0xC02B}),
        ((0x0301,), 0x0301, False, {0xC02B}),
        ((0x2A2A, 0x0304, 0x0303), 0x0303, True, {0x1301, 0xC02B}),
    ],
)
def test_versions_decide_on_what_goes_with_them(
    versions: tuple[int, ...], legacy: int, is_extension: bool, suites_of: set[int]
) -> None:
    hello = again(ClientHello(versions=versions))
    assert hello.versions == versions
    assert hello.legacy_version == legacy
    assert hello.supported_versions == (versions if is_extension else ())
    assert suites_of <= set(hello.cipher_suites)
    assert any(0x1300 <= suite < 0x1400 for suite in hello.cipher_suites) == (0x0304 in versions)
    assert (51 in dict(hello.extensions)) == (0x0304 in versions)


def test_every_argument_is_an_attribute_again() -> None:
    arguments: dict[str, Any] = {
        "server_name": "a.test",
        "alpn_protocols": ("mqtt", "h2"),
        "versions": (0x0304,),
        "cipher_suites": (0x1301, 0x0A0A),
        "groups": (23,),
        "signature_algorithms": (0x0403, 0x0804),
        "session_id": b"s" * 32,
        "random": RANDOM,
        "key_shares": ((23, b"k" * 65), (0x1A1A, b"\0")),
        "extended_master_secret": False,
        "max_fragment_length": 4096,
        "record_size_limit": 64,
        "ec_point_formats": (0, 1),
        "session_ticket": b"ticket",
        "psk_key_exchange_modes": (1, 0),
        "compression_methods": (0,),
        "legacy_version": 0x0302,
        "record_version": 0x0303,
    }
    hello = ClientHello(**arguments)
    for name, value in arguments.items():
        assert getattr(hello, name) == value, name
        assert getattr(again(hello), name) == value, name


def test_what_a_list_or_a_subclass_holds_is_taken_over() -> None:
    class Group(IntEnum):
        X25519 = 29

    class Name(StrEnum):
        HOST = "a.test"
        MQTT = "mqtt"

    plain = ClientHello("a.test", ("mqtt",), groups=(29,), key_shares=((29, b"key"),), random=RANDOM)
    fancy = ClientHello(
        Name.HOST,
        iter([Name.MQTT]),
        groups=[Group.X25519],
        key_shares=[[Group.X25519, bytearray(b"key")]],  # type: ignore[list-item]
        random=memoryview(RANDOM),
    )
    assert fancy == plain
    assert type(fancy.server_name) is str


def test_a_hello_matches_by_name_and_protocols() -> None:
    match ClientHello(HOST, ("mqtt",)):
        case ClientHello(name, (protocol,)):
            assert (name, protocol) == (HOST, "mqtt")
        case _:
            pytest.fail("no match")


def test_a_hello_cannot_be_changed_or_made_twice() -> None:
    hello = ClientHello(HOST)
    for name in ("server_name", "random", "extensions", "anything"):
        with pytest.raises(AttributeError):
            setattr(hello, name, None)
    with pytest.raises(IotwireError, match="immutable"):
        hello.__init__("other.test")  # type: ignore[misc]
    with pytest.raises(IotwireError, match="immutable"):
        again(hello).__init__()  # type: ignore[misc]
    assert hello.server_name == HOST
    unmade = ClientHello.__new__(ClientHello)
    with pytest.raises(IotwireError, match="never initialised"):
        unmade.encode()
    with pytest.raises(IotwireError, match="never initialised"):
        repr(unmade.server_name)


def test_hellos_are_equal_by_value() -> None:
    assert ClientHello(HOST, random=RANDOM) == ClientHello(HOST, random=RANDOM)
    assert ClientHello(HOST, random=RANDOM) != ClientHello(HOST, ("mqtt",), random=RANDOM)
    assert ClientHello(HOST, random=RANDOM) != ClientHello(HOST, random=RANDOM, record_version=0x0303)
    assert ClientHello(HOST, random=RANDOM) != HOST


# Names of hosts and protocols.


@pytest.mark.parametrize(
    "name",
    ["a", "a.b", HOST, "xn--mnchen-3ya.test", "1.test", "a_b.test", "A.Test", "a" * 63 + ".test", "a." * 127 + "b"],
)
def test_a_host_name_is_sent_as_it_is(name: str) -> None:
    assert again(ClientHello(name)).server_name == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "1 to 255 bytes"),
        ("a." * 127 + "bb", "1 to 255 bytes"),
        ("a.test.", "must not end with a dot"),
        (".", "must not end with a dot"),
        (".a", "empty label"),
        ("a..b", "empty label"),
        ("a" * 64 + ".test", "more than 63 bytes"),
        ("127.0.0.1", "not an IP address literal"),
        ("1.2.3", "not an IP address literal"),
        ("::1", "not an IP address literal"),
        ("fe80::1%eth0", "not an IP address literal"),
        ("[::1]", "letters, digits, hyphens"),
        ("a.test:8883", "not an IP address literal"),
        ("a b.test", "letters, digits, hyphens"),
        ("a\0.test", "letters, digits, hyphens"),
        ("a/b", "letters, digits, hyphens"),
        ("münchen.test", "A-label"),
        ("\ud800.test", "A-label"),
    ],
)
def test_a_name_that_is_no_host_name_is_refused(name: str, problem: str) -> None:
    for ask in (lambda: ClientHello(name), lambda: server_name_extension(name)):
        with pytest.raises(EncodeError, match=problem) as caught:
            ask()
        assert caught.value.clause == "RFC 6066 3"
        assert caught.value.field in ("server_name", "name")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_address_that_a_peer_sent_as_a_name_is_read(address: str) -> None:
    name = put_extension(0, put_vector(b"\0" + put_vector(address.encode())))
    hello = ClientHello.decode(put_record(put_message(put_body(name))))
    assert hello is not None
    assert hello.server_name == address
    assert address in repr(hello)


def test_a_name_of_a_kind_that_nobody_knows_is_passed_over() -> None:
    names = b"\7" + put_vector(b"?") + b"\0" + put_vector(b"a.test")
    for listed, expected in ((names, "a.test"), (names[:4], None)):
        hello = ClientHello.decode(put_record(put_message(put_body(put_extension(0, put_vector(listed))))))
        assert hello is not None
        assert hello.server_name == expected


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([""], "has 0 bytes; 1 to 255"),
        (["a" * 256], "has 256 bytes; 1 to 255"),
        (["mqtt", b""], "has 0 bytes; 1 to 255"),
        ([b"a" * 256], "has 256 bytes; 1 to 255"),
        (["\u0100"], "no character over U\\+00FF"),
        ([1], "bytes-like"),
        ([None], "bytes-like"),
        ("mqtt", "iterable of str or bytes"),
        (5, "iterable of str or bytes"),
        (["x" * 255] * 256, "more than its length can say"),
    ],
)
def test_protocol_names_that_cannot_be_sent_are_refused(names: Any, problem: str) -> None:
    for ask in (lambda: ClientHello(HOST, names), lambda: alpn_extension(names)):
        with pytest.raises(EncodeError, match=problem) as caught:
            ask()
        assert caught.value.field in ("alpn_protocols", "names")


def test_a_protocol_name_reads_back_whatever_its_bytes_are() -> None:
    names = (b"\x0a\x0a", b"\x8a\x8a", bytes(range(1, 256)))
    hello = again(ClientHello(HOST, names))
    assert hello.alpn_protocols == tuple(name.decode("latin-1") for name in names)
    assert again(ClientHello(HOST, hello.alpn_protocols, random=hello.random)) == hello


def test_extensions_can_be_had_alone() -> None:
    assert server_name_extension("a.test").hex() == "0000000b00090000066" + "12e74657374"
    assert alpn_extension(["mqtt", b"h2"]).hex() == "0010000a0008046d717474026832"
    hello = ClientHello("a.test", ["mqtt", b"h2"])
    assert server_name_extension("a.test") in hello.encode()
    assert alpn_extension(("mqtt", "h2")) in hello.encode()
    with pytest.raises(EncodeError, match="must not be empty"):
        alpn_extension([])


# Other arguments.


def released() -> memoryview:
    view = memoryview(bytes(32))
    view.release()
    return view


@pytest.mark.parametrize(
    ("arguments", "field", "problem"),
    [
        ({"server_name": 5}, "server_name", "must be str or None"),
        ({"server_name": b"a.test"}, "server_name", "must be str or None"),
        ({"versions": ()}, "versions", "must not be empty"),
        ({"versions": (0x10000,)}, "versions", "0 to 65535"),
        ({"versions": ("1.3",)}, "versions", "must be int"),
        ({"versions": 0x0304}, "versions", "iterable of int"),
        ({"versions": (0x0304,) * 128}, "supported_versions", "more than its length can say"),
        ({"cipher_suites": ()}, "cipher_suites", "1 to 32767"),
        ({"cipher_suites": (1,) * 32768}, "cipher_suites", "1 to 32767"),
        ({"cipher_suites": (-1,)}, "cipher_suites", "0 to 65535"),
        ({"groups": (65536,)}, "groups", "0 to 65535"),
        ({"groups": "x25519"}, "groups", "iterable of int"),
        ({"groups": (1,) * 32768}, "groups", "more than its length can say"),
        ({"signature_algorithms": (None,)}, "signature_algorithms", "must be int"),
        ({"session_id": bytes(33)}, "session_id", "0 to 32"),
        ({"session_id": "s"}, "session_id", "bytes-like"),
        ({"random": bytes(31)}, "random", "has 31 bytes"),
        ({"random": bytearray(33)}, "random", "has 33 bytes"),
        ({"key_shares": (29,)}, "key_shares", "a group and a key"),
        ({"key_shares": ((29,),)}, "key_shares", "a group and a key"),
        ({"key_shares": ((29, b""),)}, "key_shares", "1 to 65535"),
        ({"key_shares": ((70000, b"k"),)}, "key_shares", "0 to 65535"),
        ({"key_shares": ((29, b"k" * 40000), (23, b"k" * 40000))}, "key_shares", "more than its length can say"),
        ({"key_shares": ((29, bytes(65532)),) * 65536}, "key_shares", "takes 4294967298 bytes"),  # 2 in 32 bits
        ({"key_shares": ((29, b"k" * 65500),)}, "hello", "at most 65536"),
        ({"max_fragment_length": 1000}, "max_fragment_length", "512, 1024, 2048 or 4096"),
        ({"record_size_limit": 63}, "record_size_limit", "64 to 65535"),
        ({"ec_point_formats": (256,)}, "ec_point_formats", "0 to 255"),
        ({"ec_point_formats": (0,) * 256}, "ec_point_formats", "more than its length can say"),
        ({"psk_key_exchange_modes": (-1,)}, "psk_key_exchange_modes", "0 to 255"),
        ({"session_ticket": "t"}, "session_ticket", "bytes-like"),
        ({"extended_master_secret": 2}, "extended_master_secret", "0 to 1"),
        ({"compression_methods": (1,)}, "compression_methods", "must hold 0"),
        ({"compression_methods": (0, 1)}, "compression_methods", "must hold 0"),
        ({"compression_methods": ()}, "compression_methods", "must hold 0"),
        ({"legacy_version": 0x0200}, "legacy_version", "768 to 1023"),
        ({"record_version": 0x0400}, "record_version", "768 to 1023"),
        ({"extensions": 5}, "extensions", "pairs"),
        ({"extensions": ((5,),)}, "extensions", "a type and bytes"),
        ({"extensions": ((70000, b""),)}, "extensions", "0 to 65535"),
        ({"extensions": ((0x5555, "x"),)}, "extensions", "bytes-like"),
        ({"extensions": ((0x5555, bytes(65536)),)}, "extensions", "0 to 65535"),
        ({"extensions": ((0x5555, released()),)}, "extensions", "not released"),
        ({"extensions": "ab"}, "extensions", "pairs"),
        ({"random": released()}, "random", "C-contiguous"),
        ({"extensions": ((0x5555, bytes(65500)),)}, "hello", "at most 65536"),
        ({"extensions": ((0x5555, b""), (0x5555, b""))}, "extensions", "twice"),
        ({"extensions": ((10, b""),)}, "extensions", "supported_groups: a field runs past"),
        ({"extensions": ((16, b"\0\1\0"),)}, "extensions", "application_layer"),
        ({"extensions": ((41, bytes(8)),)}, "extensions", "pre_shared_key"),
        ({"extensions": (0x5555,)}, "extensions", "no argument makes it"),
        ({"extensions": (16,)}, "extensions", "no argument makes it"),
        ({"server_name": "a.test", "extensions": ((0, b"\0\4\0\0\1b"),)}, "extensions", "something else than"),
        ({"groups": (23,), "extensions": ((10, b"\0\2\0\x1d"),)}, "extensions", "something else than groups"),
    ],
)
def test_an_argument_that_cannot_be_sent_is_refused_by_its_name(
    arguments: dict[str, Any], field: str, problem: str
) -> None:
    with pytest.raises(EncodeError, match=problem) as caught:
        ClientHello(**arguments)
    assert caught.value.field == field


def test_compression_is_for_those_before_tls_1_3() -> None:
    hello = ClientHello(versions=(0x0303,), compression_methods=(1, 0))
    assert again(hello).compression_methods == (1, 0)


# Extensions as bytes.


def test_extensions_of_any_type_follow_the_others_in_order() -> None:
    hello = again(ClientHello(HOST, extensions=((0x5555, b"x"), (0x0A0A, b""), (0xFF01, b"\0"))))
    assert hello.extensions[-3:] == ((0x5555, b"x"), (0x0A0A, b""), (0xFF01, b"\0"))
    assert hello.server_name == HOST


def test_an_extension_as_bytes_stands_for_an_argument_that_was_left_to_its_default() -> None:
    hello = again(ClientHello(HOST, extensions=((10, b"\0\2\0\x17"), (43, b"\2\3\3"))))
    assert hello.groups == (23,)
    assert hello.versions == (0x0303,)
    assert not any(0x1300 <= suite < 0x1400 for suite in hello.cipher_suites)
    assert 51 not in dict(hello.extensions)


def test_a_type_alone_is_the_place_of_an_arguments_extension() -> None:
    usual = ClientHello(HOST, ("mqtt",), random=RANDOM)
    kinds = [kind for kind, _ in usual.extensions]
    turned = ClientHello(HOST, ("mqtt",), random=RANDOM, extensions=tuple(reversed(kinds)))
    assert turned.extensions == tuple(reversed(usual.extensions))
    assert eval(repr(turned), {"ClientHello": ClientHello}) == turned


def test_all_extensions_of_a_hello_make_it_again() -> None:
    hello = ClientHello(HOST, ("mqtt",), random=RANDOM, extensions=((0x5555, b"x"),))
    assert ClientHello(random=RANDOM, extensions=hello.extensions) == hello


# Long ones.


def test_a_long_hello_is_split_into_full_records_and_joined_again() -> None:
    for size in (16_100, 16_200, 16_384, 32_768, 40_000, 65_300):
        hello = ClientHello(HOST, extensions=((0x5555, bytes(size)),))
        records = hello.encode()
        lengths, rest = [], records
        while rest:
            lengths.append(int.from_bytes(rest[3:5], "big"))
            assert rest[:3] == b"\x16\x03\x01"
            rest = rest[5 + lengths[-1] :]
        assert sum(lengths) == len(hello.handshake)
        assert all(length == 16_384 for length in lengths[:-1])
        assert 1 <= lengths[-1] <= 16_384
        assert ClientHello.decode(records) == hello
        assert ClientHello.decode(records[:-1]) is None


def test_a_hello_of_exactly_one_record_is_one_record() -> None:
    without = len(ClientHello(HOST, extensions=((0x5555, b""),)).handshake)
    for extra in (-1, 0, 1):
        hello = ClientHello(HOST, extensions=((0x5555, bytes(16_384 - without + extra)),))
        assert len(hello.handshake) == 16_384 + extra
        assert len(hello.encode()) == 16_384 + extra + (10 if extra > 0 else 5)
        assert again(hello) == hello


def test_the_longest_hello_is_made_and_a_longer_one_is_not() -> None:
    without = len(ClientHello(HOST, extensions=((0x5555, b""),)).handshake)
    hello = ClientHello(HOST, extensions=((0x5555, bytes(65_536 - without)),))
    assert again(hello) == hello
    with pytest.raises(EncodeError, match="at most 65536"):
        ClientHello(HOST, extensions=((0x5555, bytes(65_537 - without)),))


def test_thousands_of_extensions_are_told_apart() -> None:
    many = tuple((kind, b"") for kind in range(100, 16_000))
    assert again(ClientHello(extensions=many)).extensions[-len(many) :] == many


# Round trips.

u16 = st.integers(0, 65535)
labels = st.from_regex(r"\A[a-z]([a-z0-9-]{0,20}[a-z])?\Z")
kinds = u16.filter(lambda kind: kind not in {0, 1, 5, 10, 11, 13, 16, 18, 22, 23, 27, 28, 35, *range(41, 52), 65281})


@given(
    st.none() | st.lists(labels, min_size=1, max_size=5).map(".".join),
    st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    st.lists(u16, min_size=1, max_size=20),
    st.lists(u16, max_size=20),
    st.lists(u16, max_size=20),
    st.dictionaries(u16, st.binary(min_size=1, max_size=70), max_size=4),
    st.binary(max_size=32),
    st.dictionaries(kinds, st.binary(max_size=50), max_size=5),
)
def test_what_is_encoded_decodes_to_the_same(
    name: str | None,
    protocols: list[bytes],
    suites: list[int],
    groups: list[int],
    algorithms: list[int],
    shares: dict[int, bytes],
    session_id: bytes,
    others: dict[int, bytes],
) -> None:
    hello = ClientHello(
        name,
        protocols,
        cipher_suites=suites,
        groups=groups,
        signature_algorithms=algorithms,
        key_shares=shares.items(),
        session_id=session_id,
        extensions=others.items(),
    )
    decoded = again(hello)
    assert decoded == hello
    assert decoded.server_name == name
    assert decoded.alpn_protocols == tuple(protocol.decode("latin-1") for protocol in protocols)
    assert decoded.cipher_suites == tuple(suites)
    assert decoded.groups == tuple(groups)
    assert decoded.signature_algorithms == tuple(algorithms)
    assert decoded.key_shares == tuple(shares.items())
    assert decoded.session_id == session_id
    assert dict(decoded.extensions).items() >= others.items()
    if " bytes>" not in repr(decoded):
        assert eval(repr(decoded), {"ClientHello": ClientHello}) == hello


# Another stack.


def hello_of_ssl(context: ssl.SSLContext, server_hostname: str | None) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=server_hostname).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("protocols", [[], ["x-amzn-mqtt-ca"], ["h2", "http/1.1"]])
def test_the_hello_of_pythons_ssl_is_read(maximum: ssl.TLSVersion, protocols: list[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, maximum
    if protocols:
        context.set_alpn_protocols(protocols)
    records = hello_of_ssl(context, HOST)
    hello = ClientHello.decode(records)
    assert hello is not None
    assert hello.encode() == records
    assert hello.server_name == HOST
    assert hello.alpn_protocols == tuple(protocols)
    assert max(hello.versions) == maximum
    assert 0x0303 in hello.versions
    assert bool(hello.key_shares) == (maximum == ssl.TLSVersion.TLSv1_3)
    assert hello.extended_master_secret
    if " bytes>" not in repr(hello):
        assert eval(repr(hello), {"ClientHello": ClientHello}) == hello


@pytest.mark.parametrize("versions", [(0x0304, 0x0303), (0x0303,), (0x0304,)])
@pytest.mark.parametrize("protocols", [(), ("x-amzn-mqtt-ca", "mqtt")])
def test_openssl_reads_our_hello(versions: tuple[int, ...], protocols: tuple[str, ...]) -> None:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate: it stops after it has read the hello
    context.set_servername_callback(lambda _, name, __: names.append(name))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(ClientHello(HOST, protocols, versions=versions).encode())
    with pytest.raises(ssl.SSLError, match=r"(?i)no[ _](shared[ _]cipher|suitable[ _]signature[ _]algorithm)"):
        server.do_handshake()
    assert names == [HOST]
    alert = Alert.decode(outgoing.read())
    assert alert == Alert(40)


def test_openssl_refuses_with_an_alert_that_is_read() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_servername_callback(lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(ClientHello(HOST).encode())
    with pytest.raises(ssl.SSLError):
        context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
    alert = Alert.decode(outgoing.read())
    assert alert is not None
    assert (alert.name, alert.level) == ("unrecognized_name", 2)


def test_a_client_takes_our_alert() -> None:
    context = ssl.create_default_context()
    for description, said in ((112, "unrecognized.name"), (120, "no.application.protocol")):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        incoming.write(Alert(description).encode())
        with pytest.raises(ssl.SSLError, match=rf"(?i){said}"):
            client.do_handshake()


# Shared between threads.


@pytest.mark.usefixtures("frequent_thread_switches")
def test_threads_may_read_one_hello() -> None:
    hello = again(ClientHello(HOST, ("mqtt",), key_shares=((29, b"k" * 32),)))

    def read() -> None:
        for _ in range(300):
            assert hello.server_name == HOST
            assert hello.alpn_protocols == ("mqtt",)
            assert hello.key_shares == ((29, b"k" * 32),)
            assert ClientHello.decode(hello.encode()) == hello

    run_together(read, read, read)


@pytest.mark.usefixtures("frequent_thread_switches")
def test_only_one_of_many_threads_makes_a_hello() -> None:
    for _ in range(100):
        hello = ClientHello.__new__(ClientHello)
        made: list[str] = []

        def make(name: str, hello: ClientHello = hello, made: list[str] = made) -> None:
            try:
                hello.__init__(name)  # type: ignore[misc]
            except IotwireError:
                return
            made.append(name)

        run_together(lambda: make("a.test"), lambda: make("b.test"))
        assert made == [hello.server_name]


@pytest.mark.usefixtures("frequent_thread_switches")
def test_a_buffer_that_another_thread_changes_is_read_once() -> None:
    wire = ClientHello(HOST, ("mqtt",)).encode()
    data = bytearray(wire)
    done: list[bool] = []

    def change() -> None:
        while not done:
            data[40:100] = b"\xff" * 60
            data[40:100] = wire[40:100]

    def decode() -> None:
        try:
            for _ in range(2000):
                try:
                    hello = ClientHello.decode(data)
                except IotwireError:
                    continue
                if hello is not None:
                    assert again(hello) == hello
        finally:
            done.append(True)

    run_together(change, decode)


def test_grease_is_told_from_other_numbers() -> None:
    found = [number for number in range(65536) if is_grease(number)]
    assert found == [0x0A0A + 0x1010 * step for step in range(16)]


def test_a_wrong_type_of_data_is_the_callers_mistake() -> None:
    for data in ("text", None, 5):
        with pytest.raises(EncodeError, match="bytes-like"):
            ClientHello.decode(anything(data))
