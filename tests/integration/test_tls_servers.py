"""Hellos of this codec, answered by servers that know nothing of it, and hellos of clients that do not either."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from brokers import Mosquitto, Process, find_program, free_ports, wait_until_it_listens
from iotwire.errors import TlsDecodeError
from iotwire.tls import Alert, ClientHello, ServerHello

pytestmark = pytest.mark.broker

HOST = "a1b2c3-ats.iot.local.test"
BOUND_S = 60.0


@dataclass(frozen=True)
class Server:
    """A port of 127.0.0.1 that speaks TLS. takes_alpn: x-amzn-mqtt-ca and mqtt, and nothing else."""

    port: int
    takes_alpn: bool


def ask(port: int, hello: ClientHello) -> ServerHello | Alert:
    """What a server says to a hello."""
    with socket.create_connection(("127.0.0.1", port), timeout=BOUND_S) as connection:
        connection.sendall(hello.encode())
        received = b""
        while True:
            kind = Alert if received[:1] == b"\x15" else ServerHello
            answer = kind.decode(received)
            if answer is not None:
                assert isinstance(answer, ServerHello | Alert)
                return answer
            piece = connection.recv(65536)
            assert piece, f"closed after {received!r}"
            received += piece


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """Paths of a server's certificate and key, and of the authority's certificate."""
    pytest.importorskip("cryptography", reason="the servers' certificates are made with the package cryptography")
    from iotwire.emulator.pki import Authority

    authority = Authority(tmp_path_factory.mktemp("pki"))
    server = authority.issue_server([HOST, "127.0.0.1"])
    return str(server.cert), str(server.key), str(authority.ca)


def s_server(folder: Path, certificate: tuple[str, str, str], *further: str) -> Iterator[int]:
    openssl = find_program("openssl")
    (port,) = free_ports(1)
    command = [openssl, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate[0], "-key", certificate[1]]
    process = Process([*command, "-quiet", "-no_ign_eof", *further], dict(os.environ), folder / "s_server.log")
    try:
        wait_until_it_listens(port, process, folder / "s_server.log")
        yield port
    finally:
        process.end(signal.SIGTERM)


@pytest.fixture(scope="module", params=["openssl s_server", "openssl s_server -alpn", "mosquitto"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: tuple[str, str, str]
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    if request.param == "mosquitto":
        (port,) = free_ports(1)
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true"]
        lines += [f"certfile {certificate[0]}", f"keyfile {certificate[1]}"]
        with Mosquitto(folder, further=lines):
            yield Server(port, takes_alpn=False)
    elif request.param.endswith("-alpn"):
        for port in s_server(folder, certificate, "-alpn", "x-amzn-mqtt-ca,mqtt"):
            yield Server(port, takes_alpn=True)
    else:
        for port in s_server(folder, certificate):
            yield Server(port, takes_alpn=False)


@pytest.mark.parametrize("protocols", [(), ("x-amzn-mqtt-ca",), ("h2", "mqtt")])
@pytest.mark.parametrize("name", [HOST, None])
def test_a_hello_of_tls_1_2_is_answered(server: Server, name: str | None, protocols: Sequence[str]) -> None:
    answer = ask(server.port, ClientHello(name, protocols, versions=(0x0303,)))
    assert isinstance(answer, ServerHello)
    assert answer.version == 0x0303
    assert answer.cipher_suite in ClientHello(versions=(0x0303,)).cipher_suites
    assert not answer.is_hello_retry_request
    assert answer.extended_master_secret
    if server.takes_alpn:
        assert answer.alpn_protocol == (protocols[-1] if protocols else None)


@pytest.mark.parametrize("protocols", [(), ("x-amzn-mqtt-ca",), ("h2", "mqtt")])
@pytest.mark.parametrize("versions", [(0x0304, 0x0303), (0x0304,), (0x3A3A, 0x0304, 0x0303)])
def test_a_hello_of_tls_1_3_without_a_key_is_asked_for_one(
    server: Server, versions: Sequence[int], protocols: Sequence[str]
) -> None:
    hello = ClientHello(HOST, protocols, versions=versions)
    answer = ask(server.port, hello)
    assert isinstance(answer, ServerHello)
    assert answer.is_hello_retry_request
    assert answer.version == 0x0304
    assert answer.cipher_suite in hello.cipher_suites
    assert answer.selected_group in hello.groups
    assert answer.key_share is None


def test_a_hello_of_tls_1_3_with_a_key_is_answered_with_one(server: Server) -> None:
    # Any 32 bytes are a public key of X25519; nobody here computes the secret that goes with it.
    answer = ask(server.port, ClientHello(HOST, key_shares=((29, b"\x09" * 32),), session_id=bytes(32)))
    assert isinstance(answer, ServerHello)
    assert not answer.is_hello_retry_request
    assert answer.version == 0x0304
    assert answer.session_id == bytes(32)
    assert answer.key_share is not None
    assert (answer.selected_group, len(answer.key_share[1])) == (29, 32)


def test_what_small_boards_ask_for_is_answered(server: Server) -> None:
    answer = ask(server.port, ClientHello(HOST, versions=(0x0303,), max_fragment_length=1024, session_ticket=b""))
    assert isinstance(answer, ServerHello)
    assert answer.max_fragment_length == 1024
    assert answer.session_ticket == b""


@pytest.mark.parametrize("versions", [(0x0304, 0x0303), (0x0303,)])
def test_a_hello_over_several_records_is_answered(server: Server, versions: Sequence[int]) -> None:
    padding = (21, bytes(17_000))
    answer = ask(server.port, ClientHello(HOST, versions=versions, extensions=(padding,)))
    assert isinstance(answer, ServerHello)


def test_what_a_server_does_not_speak_is_an_alert(server: Server) -> None:
    refused = ask(server.port, ClientHello(HOST, versions=(0x0303,), cipher_suites=(0x0005,)))
    assert isinstance(refused, Alert)
    assert (refused.level, refused.name) == (2, "handshake_failure")
    refused = ask(server.port, ClientHello(HOST, versions=(0x0300,)))
    assert isinstance(refused, Alert)
    assert refused.name in ("protocol_version", "handshake_failure")


def test_a_protocol_that_a_server_does_not_take_is_an_alert(server: Server) -> None:
    for versions in ((0x0303,), (0x0304,)):
        answer = ask(server.port, ClientHello(HOST, ("coap",), versions=versions, key_shares=((29, b"\x09" * 32),)))
        if server.takes_alpn:
            assert answer == Alert(120)
        else:
            assert isinstance(answer, ServerHello)


# Hellos of others.


def first_bytes_of(command: Sequence[str], folder: Path, port: int) -> bytes:
    """The hello of a client that connects to this port."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(BOUND_S)
        process = Process(command, dict(os.environ), folder / "client.log")
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(BOUND_S)
                received = b""
                while True:
                    piece = connection.recv(65536)
                    assert piece, f"closed after {received!r}"
                    received += piece
                    try:
                        if ClientHello.decode(received) is not None:
                            return received
                    except TlsDecodeError:
                        return received
        finally:
            process.end(signal.SIGKILL)


@pytest.mark.parametrize(
    ("arguments", "highest"),
    [
        ([], 0x0304),
        (["-tls1_2"], 0x0303),
        (["-tls1_3"], 0x0304),
        (["-alpn", "x-amzn-mqtt-ca,mqtt"], 0x0304),
        (["-tls1_2", "-alpn", "x-amzn-mqtt-ca,mqtt", "-maxfraglen", "1024"], 0x0303),
    ],
)
def test_the_hello_of_openssl_s_client_is_read(tmp_path: Path, arguments: list[str], highest: int) -> None:
    (port,) = free_ports(1)
    command = [find_program("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-servername", HOST]
    records = first_bytes_of([*command, *arguments], tmp_path, port)
    hello = ClientHello.decode(records)
    assert hello is not None
    assert hello.encode() == records
    assert hello.server_name == HOST
    assert hello.alpn_protocols == (("x-amzn-mqtt-ca", "mqtt") if "-alpn" in arguments else ())
    assert max(hello.versions) == highest
    assert hello.max_fragment_length == (1024 if "-maxfraglen" in arguments else None)
    assert bool(hello.key_shares) == (highest == 0x0304)


def test_the_hello_of_mosquittos_client_is_read(tmp_path: Path, certificate: tuple[str, str, str]) -> None:
    (port,) = free_ports(1)
    command = [find_program("mosquitto_pub"), "-h", "localhost", "-p", str(port), "--cafile", certificate[2]]
    command += ["--tls-alpn", "x-amzn-mqtt-ca", "-t", "a", "-m", "b"]
    hello = ClientHello.decode(first_bytes_of(command, tmp_path, port))
    assert hello is not None
    assert hello.server_name == "localhost"
    assert hello.alpn_protocols == ("x-amzn-mqtt-ca",)
