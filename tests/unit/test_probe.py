"""The probe: every kind of answer that an endpoint, or something on the way to it, can give to a hello."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from iotwire import ConnectError, EncodeError, Proxy, RouteError
from iotwire.probe import TLS_1_2, TLS_1_3, ProbeHello, ProbeResult, plan_hellos, probe_endpoint
from iotwire.probe.certificate import find_certificate
from iotwire.tls import Alert, ClientHello
from scripted import asynchronous

HOST = "127.0.0.1"
NAME = "a1b2c3d4e5-ats.iot.eu-central-1.amazonaws.com"

# What stands as `random` in a HelloRetryRequest (RFC 8446, 4.1.3).
RETRY_RANDOM = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"


def server_hello(version: int = TLS_1_2, suite: int = 0xC02F, *, alpn: str = "", random: str = "5a" * 32) -> bytes:
    """A ServerHello as one record. A version of 1.3 stands in supported_versions (43)."""
    extensions = b""
    if version == TLS_1_3:
        extensions += struct.pack("!HHH", 43, 2, version)
    if alpn:
        extensions += struct.pack("!HHHB", 16, len(alpn) + 3, len(alpn) + 1, len(alpn)) + alpn.encode()
    body = struct.pack("!H", 0x0303) + bytes.fromhex(random) + b"\0" + struct.pack("!HB", suite, 0)
    body += struct.pack("!H", len(extensions)) + extensions
    message = b"\2" + len(body).to_bytes(3, "big") + body
    return struct.pack("!BHH", 22, 0x0303, len(message)) + message


Script = Callable[[ClientHello, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A server on a free port, which is the value. Its connections end before the block does."""
    running: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.ensure_future(run(reader, writer)))

    server = await asyncio.start_server(accept, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        server.close()
        if running:
            _, late = await asyncio.wait(running, timeout=10)
            for task in late:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def a_server(script: Script) -> AsyncIterator[int]:
    """A server that reads the hello and then does what the script says. The value is its port."""
    failures: list[Exception] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        try:
            while (hello := ClientHello.decode(data)) is None:
                piece = await reader.read(65536)
                if not piece:
                    return  # who only looked whether something listens
                data += piece
            await script(hello, reader, writer)
        except ConnectionError:
            pass
        except Exception as error:  # noqa: BLE001 -- raised below
            failures.append(error)

    async with serving(serve) as port:
        yield port
    assert not failures, failures


def saying(*pieces: bytes) -> Script:
    """Say these bytes, one write for each, and wait until the other side closes."""

    async def script(_: ClientHello, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    return script


async def hang_up(_: ClientHello, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(_: ClientHello, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def ask(script: Script, *, timeout_s: float = 20.0, version: int = TLS_1_2, **options: Any) -> ProbeResult:
    """What the script's server is found to answer to the hello of that version, without SNI and ALPN."""
    async with a_server(script) as port:
        results = await probe_endpoint(HOST, port, timeout_s=timeout_s, **options)
    return next(result for result in results if result.hello.version == version)


# What is sent.


def test_every_offer_is_made_in_both_versions_with_sni_and_without() -> None:
    hellos = plan_hellos(NAME, 443)
    assert len(hellos) == len(set(hellos)) == 16
    assert {hello.version for hello in hellos} == {TLS_1_2, TLS_1_3}
    assert {hello.server_name for hello in hellos} == {NAME, None}
    assert {hello.alpn for hello in hellos} == {(), ("x-amzn-mqtt-ca",), ("mqtt",), ("x-amzn-http-ca",)}


@pytest.mark.parametrize(
    ("arguments", "names", "alpn"),
    [
        ({"host": NAME, "port": 8883}, {NAME, None}, {()}),
        ({"host": NAME, "port": 8883, "alpn": ["a", "b", "a"]}, {NAME, None}, {(), ("a",), ("b",)}),
        ({"host": NAME, "port": 443, "alpn": []}, {NAME, None}, {()}),
        ({"host": "127.0.0.1", "port": 8883}, {None}, {()}),
        ({"host": "::1", "port": 8883, "server_name": "a.test"}, {"a.test", None}, {()}),
    ],
)
def test_what_is_offered_goes_by_port_and_arguments(
    arguments: dict[str, Any], names: set[str | None], alpn: set[tuple[str, ...]]
) -> None:
    hellos = plan_hellos(**arguments)
    assert {hello.server_name for hello in hellos} == names
    assert {hello.alpn for hello in hellos} == alpn


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_a_hello_offers_what_it_says_and_no_other_version(version: int) -> None:
    sent = ClientHello.decode(ProbeHello(version, NAME, ("mqtt",)).encode())
    assert sent is not None
    assert (sent.server_name, sent.alpn_protocols, sent.versions) == (NAME, ("mqtt",), (version,))
    assert sent.random != ClientHello.decode(ProbeHello(version, NAME).encode()).random  # type: ignore[union-attr]
    assert len(sent.key_shares or ()) == (version == TLS_1_3)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"host": "https://a.test/"}, RouteError),
        ({"host": HOST, "port": 0}, RouteError),
        ({"host": HOST, "server_name": "10.0.0.1"}, RouteError),
        ({"host": HOST, "server_name": "a.test."}, EncodeError),
        ({"host": HOST, "alpn": [""]}, EncodeError),
        ({"host": HOST, "alpn": "mqtt"}, EncodeError),
        ({"host": HOST, "timeout_s": 0}, EncodeError),
        ({"host": HOST, "concurrency": 0}, EncodeError),
        ({"host": HOST, "alpn": ["x" * 256]}, EncodeError),
    ],
)
@asynchronous
async def test_what_no_hello_can_carry_is_refused_before_a_packet_is_sent(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await probe_endpoint(**arguments)


# What comes back.


@pytest.mark.parametrize(
    ("pieces", "outcome", "text"),
    [
        ((server_hello(),), "selected", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        ((server_hello(suite=0xABCD),), "selected", "cipher suite 0xabcd"),
        ((server_hello(alpn="mqtt"),), "selected", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, ALPN mqtt"),
        ((server_hello(TLS_1_3, 0x1301),), "selected", "TLS 1.3, TLS_AES_128_GCM_SHA256"),
        (tuple(bytes([each]) for each in server_hello()), "selected", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        ((server_hello() + bytes(3000),), "selected", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        ((Alert(40).encode(),), "alert", "alert handshake_failure (40)"),
        ((Alert(112).encode(),), "alert", "alert unrecognized_name (112)"),
        (tuple(bytes([each]) for each in Alert(70).encode()), "alert", "alert protocol_version (70)"),
        ((Alert(0, 1).encode(),), "alert", "alert close_notify (0)"),
        ((Alert(99).encode(),), "alert", " (99)"),
        (
            (Alert(112, 1).encode(), server_hello()),
            "selected",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, after the warning unrecognized_name",
        ),
        ((Alert(112, 1).encode() + Alert(40).encode(),), "alert", "after the warning unrecognized_name"),
        ((Alert(112, 1).encode() * 1000,), "alert", "alert unrecognized_name (112), after the warning "),
        ((server_hello(alpn="\x1b[31m"),), "selected", "ALPN \\x1b[31m"),
        ((b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n",), "not-tls", 'not TLS: "HTTP/1.1 400 Bad Request"'),
        ((b"\x20\x02\x00\x01",), "not-tls", "not TLS: 20 02 00 01"),
        ((b"\x15\x03\x03\x00\x03\x02\x28\x00",), "not-tls", "not well-formed TLS: "),
        ((b"\x16\x03\x03\x00\x04\x0b\x00\x00\x00",), "not-tls", "not well-formed TLS: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@asynchronous
async def test_each_answer_is_told(pieces: tuple[bytes, ...], outcome: str, text: str) -> None:
    result = await ask(saying(*pieces))
    assert result.outcome == outcome
    assert text in result.text
    assert result.is_accepted == (outcome == "selected")


@asynchronous
async def test_a_server_that_wants_another_key_share_is_told_with_what_it_selects() -> None:
    result = await ask(saying(server_hello(TLS_1_3, 0x1302, random=RETRY_RANDOM)), version=TLS_1_3)
    assert (result.outcome, result.version, result.cipher_suite) == ("retry", TLS_1_3, 0x1302)
    assert result.text == "TLS_AES_256_GCM_SHA384, wants another key share"
    assert result.is_accepted


@pytest.mark.parametrize(
    ("script", "outcome", "text"),
    [
        (hang_up, "closed", "closed without an answer"),
        (reset, "reset", "the connection ended: "),
        (saying(), "silent", "no answer within 1.5 s"),
        (saying(server_hello()[:20]), "silent", "no answer within 1.5 s, after 20 bytes"),
    ],
    ids=["close", "reset", "silence", "half a hello"],
)
@asynchronous
async def test_no_answer_is_told_too(script: Script, outcome: str, text: str) -> None:
    result = await ask(script, timeout_s=1.5)
    assert result.outcome == outcome
    assert result.text.startswith(text)
    assert result.is_dropped
    assert not result.is_accepted


@asynchronous
async def test_a_server_that_talks_without_end_is_cut_short() -> None:
    async def babble(_: ClientHello, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One handshake message of 16 MB, in records of one byte.
        writer.write(b"\x16\x03\x03\x00\x04\x02\xff\xff\xff")
        while True:
            writer.write(b"\x16\x03\x03\x00\x01\x00" * 1000)
            await writer.drain()

    assert (await ask(babble)).outcome == "not-tls"


@asynchronous
async def test_connections_are_made_a_few_at_a_time() -> None:
    now = most = 0

    async def count(_: ClientHello, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)  # so that others would have come by now
        now -= 1
        writer.write(Alert(40).encode())
        await reader.read()

    async with a_server(count) as port:
        results = await probe_endpoint(HOST, port, alpn=list("abcdefgh"), server_name="a.test", concurrency=3)
    assert len(results) == 2 * 9 * 2
    assert most == 3


# Where no connection is made.


@asynchronous
async def test_a_port_where_nothing_listens_is_said_once() -> None:
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectError, match=f"{HOST}:{port}"):
        await probe_endpoint(HOST, port)


@asynchronous
async def test_a_name_that_has_no_address_of_that_family_is_said() -> None:
    with pytest.raises(ConnectError, match="::1"):
        await probe_endpoint("::1", 1, family=socket.AF_INET)


@asynchronous
async def test_a_service_that_stops_to_listen_meanwhile_is_told_for_each_hello() -> None:
    async def stop(_: ClientHello, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.close()
        writer.write(Alert(40).encode())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if data := await reader.read(65536):
            await stop(ClientHello.decode(data), reader, writer)  # type: ignore[arg-type]
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        results = await probe_endpoint(HOST, port, concurrency=1)
    assert [result.outcome for result in results] == ["alert", "unreachable"]
    assert results[1].text.startswith(f"cannot connect to {HOST}:{port}: ")


# The certificate that TLS 1.2 shows.


def records(content: bytes, size: int) -> bytes:
    """A handshake's bytes in records of so many bytes."""
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(struct.pack("!BHH", 22, 0x0303, len(piece)) + piece for piece in pieces)


def certificate_message(*certificates: bytes) -> bytes:
    chain = b"".join(len(each).to_bytes(3, "big") + each for each in certificates)
    body = len(chain).to_bytes(3, "big") + chain
    return b"\x0b" + len(body).to_bytes(3, "big") + body


HELLO_MESSAGE = server_hello()[5:]
CHAIN = certificate_message(b"first certificate", b"second")


@pytest.mark.parametrize("size", [1, 2, 7, 50, 16384])
def test_a_certificate_is_found_in_records_of_any_size_and_not_before_it_is_there(size: int) -> None:
    data = records(HELLO_MESSAGE + CHAIN, size)
    assert find_certificate(data) == b"first certificate"
    whole = next(end for end in range(len(data) + 1) if find_certificate(data[:end]) is not None)
    assert all(find_certificate(data[:end]) is None for end in range(whole))
    assert b"first certificate" not in data[: whole - 1]


@pytest.mark.parametrize(
    "data",
    [
        records(HELLO_MESSAGE + b"\x0e\0\0\0", 100),
        records(HELLO_MESSAGE, 100) + Alert(40).encode(),
        records(HELLO_MESSAGE + CHAIN[:12], 100) + Alert(40).encode(),
    ],
    ids=["another message", "an alert", "an alert within"],
)
def test_where_no_certificate_comes_none_is_waited_for(data: bytes) -> None:
    assert find_certificate(data) == b""


@pytest.fixture
def certificate(tmp_path: Path) -> bytes:
    pytest.importorskip("cryptography")
    from iotwire.emulator.pki import Authority

    return ssl.PEM_cert_to_DER_cert(Path(Authority(tmp_path).issue_server(["a.test"]).cert).read_text())


@asynchronous
async def test_who_signed_the_certificate_is_told(certificate: bytes) -> None:
    flight = records(HELLO_MESSAGE + certificate_message(certificate), 100)
    for pieces in ([flight], [flight[:70], flight[70:]], [flight[:-1], flight[-1:] + Alert(40).encode()]):
        result = await ask(saying(*pieces))
        assert (result.outcome, result.issuer) == ("selected", "CN=iotwire emulator CA")


@pytest.mark.parametrize(
    "rest", [b"", CHAIN, CHAIN[:-1], b"\x0e\0\0\0", certificate_message(b"\x30\x03\x02\x01\x05")], ids=repr
)
@asynchronous
async def test_an_answer_stands_without_a_certificate_that_can_be_read(rest: bytes) -> None:
    result = await ask(saying(records(HELLO_MESSAGE + rest, 1000)))
    assert (result.outcome, result.issuer) == ("selected", None)


@asynchronous
async def test_an_end_after_a_server_hello_does_not_hide_it() -> None:
    async def hello_and_end(_: ClientHello, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(server_hello())

    assert (await ask(hello_and_end)).outcome == "selected"


# Through a proxy.


@asynccontextmanager
async def a_proxy(answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> AsyncIterator[tuple[Proxy, list[bytes]]]:
    """An HTTP proxy that notes what it is asked, and opens a tunnel where it answers with 200."""
    asked: list[bytes] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head)
        writer.write(answer)
        if b" 200 " in answer:
            host, _, port = head.split()[1].decode().rpartition(":")
            outer = await asyncio.open_connection(host, int(port))
            await asyncio.gather(pass_on(reader, outer[1]), pass_on(outer[0], writer))

    async with serving(serve) as port:
        yield Proxy(f"http://someone:hidden@{HOST}:{port}"), asked


@asynchronous
async def test_a_proxy_is_gone_through_for_each_hello() -> None:
    async with a_server(saying(Alert(40).encode())) as port, a_proxy() as (proxy, asked):
        results = await probe_endpoint(HOST, port, proxy=proxy, alpn=["mqtt"])
    assert [result.outcome for result in results] == ["alert"] * 4
    assert {result.peer for result in results} == {f"{HOST}:{port} through {proxy.place}"}
    assert len(asked) == 5  # one looked whether it opens tunnels at all
    assert all(head.startswith(f"CONNECT {HOST}:{port} ".encode()) for head in asked)


@asynchronous
async def test_a_proxy_that_opens_no_tunnel_is_said_once() -> None:
    async with a_proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as (proxy, asked):
        with pytest.raises(ConnectError, match="407") as caught:
            await probe_endpoint("a.test", 443, proxy=proxy)
    assert len(asked) == 1
    assert "hidden" not in str(caught.value)


@asynchronous
async def test_over_which_family_a_proxy_connects_is_its_own_affair() -> None:
    with pytest.raises(RouteError, match="family"):
        await probe_endpoint("a.test", proxy=Proxy(f"http://{HOST}:1"), family=socket.AF_INET)
