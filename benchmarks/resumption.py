"""What a resumed TLS session saves a client: `make bench-resumption`, or `python benchmarks/resumption.py`.

A client with a certificate connects to a mosquitto of this machine again and again, by turns with nothing remembered (a
full handshake) and with the session of the connection before (RFC 8446, 2.2; RFC 5077). What is compared is the
processor time of the client's process, user and system; the broker is a process of its own. A ratio is taken within a
round, and the table shows the medians over the rounds. Three things are timed:

- the handshake alone: `ssl` wraps a connected socket, until the client has said its last word;
- `BlockingClient` and `Client`: from the name to CONNACK, with all that a client does for a connection. Most of that
  is the same for both kinds, so the aim is held against the handshake.

CPython's `ssl` copies a session whenever one is set or taken, through its DER form, and with it decodes the server's
certificate anew. OpenSSL 3.0 takes longer for that than for all else of a resumed TLS 1.2 handshake. What a copy costs
is shown in a column of its own; one is part of each resumed handshake, and none of a full one.

Keys are EC P-256, and RSA 2048 as AWS IoT makes them for devices.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time_ns

from broker import HOST, mosquitto, mosquitto_program
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from iotwire import X509, BlockingClient, Broker, Client, Tls
from iotwire.mqtt import Connect
from iotwire.route import TlsPlan
from iotwire.transport.tls import ClientContext, TlsContexts

AIM = 0.5  # of the processor time of a full handshake, at most
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
KEYS = ("EC P-256", "RSA 2048")
HANDSHAKE = "handshake alone"
WARM_UP = 5

# Connects once, resumed or not, and says what it took: nanoseconds, and whether the server went on with the session.
Connection = Callable[[bool], tuple[int, bool]]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Certificates:
    """An authority of this kind of key in a folder, with a certificate for the broker and one for the device."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._kind = kind
        self._authority = self._make_key()
        self.ca = self._issue("authority", self._authority, is_authority=True)[0]
        self.broker = self._issue("broker", self._make_key())
        self.device = self._issue("device", self._make_key())

    def _make_key(self) -> Key:
        if self._kind.startswith("EC"):
            return ec.generate_private_key(ec.SECP256R1())
        return rsa.generate_private_key(65537, 2048)

    def _issue(self, name: str, key: Key, *, is_authority: bool = False) -> tuple[str, str]:
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
            .sign(self._authority, hashes.SHA256())
        )
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(paths[0]), str(paths[1])


@contextmanager
def a_broker(program: str, folder: Path, certificates: Certificates) -> Iterator[int]:
    """A mosquitto that speaks TLS and wants a certificate; the value is its port."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    cert, key = certificates.broker
    settings = f"""\
listener {port} {HOST}
cafile {certificates.ca}
certfile {cert}
keyfile {key}
require_certificate true
allow_anonymous true
"""
    with mosquitto(program, settings):
        yield port


class Ways:
    """The three ways to connect, each with a context of its own that is limited to one version of TLS."""

    def __init__(self, port: int, certificates: Certificates, version: ssl.TLSVersion) -> None:
        self._port = port
        self._version = version
        device = X509(*certificates.device, ca=certificates.ca)
        self._plan = TlsPlan(HOST, certificate=device, ca=certificates.ca)
        self._route = Broker(HOST, port, tls=Tls(certificate=device, ca=certificates.ca))
        self._runner = asyncio.Runner()
        self.copies: list[float] = []  # microseconds

    def all(self) -> dict[str, Connection]:
        return {HANDSHAKE: self._handshake(), "BlockingClient": self._blocking(), "Client": self._asyncio()}

    def close(self) -> None:
        self._runner.close()

    def _prepare(self, contexts: TlsContexts) -> ClientContext:
        context = contexts.get(self._plan)
        context.maximum_version = context.minimum_version = self._version
        return context

    def _handshake(self) -> Connection:
        context = self._prepare(TlsContexts())
        connect = Connect("handshake", keep_alive=60).encode(5)

        def run(resumes: bool) -> tuple[int, bool]:
            session = context.session if resumes else None
            with socket.create_connection((HOST, self._port)) as plain:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                started = process_time_ns()
                tls = context.wrap_socket(plain, server_hostname=HOST, session=session)
                took = process_time_ns() - started
                with tls:
                    tls.sendall(connect)
                    tls.recv(4096)  # with CONNACK come the tickets of TLS 1.3
                    started = process_time_ns()
                    context.session = tls.session
                    self.copies.append((process_time_ns() - started) / 1000)
                    return took, bool(tls.session_reused)

        return run

    def _blocking(self) -> Connection:
        client = BlockingClient(self._route, "blocking", reconnect=None)
        context = self._prepare(client._contexts)

        def run(resumes: bool) -> tuple[int, bool]:
            if not resumes:
                context.session = None
            started = process_time_ns()
            client.connect()
            took = process_time_ns() - started
            wire = client._wire
            assert wire is not None
            was_resumed = bool(wire.socket.session_reused)
            client.disconnect()
            return took, was_resumed

        return run

    def _asyncio(self) -> Connection:
        client = Client(self._route, "asyncio", reconnect=None)
        context = self._prepare(client._contexts)

        async def connect() -> tuple[int, bool]:
            started = process_time_ns()
            await client.connect()
            took = process_time_ns() - started
            link = client._link
            assert link is not None
            was_resumed = bool(link._tls_session.session_reused)
            await client.disconnect()
            return took, was_resumed

        def run(resumes: bool) -> tuple[int, bool]:
            if not resumes:
                context.session = None
            return self._runner.run(connect())

        return run


def compare(connection: Connection, rounds: int) -> tuple[float, float, float]:
    """Microseconds of a full and of a resumed connection, and the ratio: medians over the rounds."""
    full: list[float] = []
    resumed: list[float] = []
    for number in range(WARM_UP + rounds):
        for resumes, figures in ((False, full), (True, resumed)):
            took, was_resumed = connection(resumes)
            if was_resumed != resumes:
                raise SystemExit("a session was not resumed" if resumes else "a session was resumed that should not be")
            if number >= WARM_UP:
                figures.append(took / 1000)
    return median(full), median(resumed), median(two / one for one, two in zip(full, resumed, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=200, metavar="N", help="connections of each kind (default: 200)")
    options = parser.parse_args(arguments)
    program = mosquitto_program()
    if program is None:
        print("mosquitto is not installed: make brokers", file=sys.stderr)
        return 1
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, CPython {platform.python_version()}, {ssl.OPENSSL_VERSION}")
    print(f"client CPU of a connection with a client certificate, medians of {options.rounds} rounds, microseconds\n")
    print(f"{'TLS':<5}{'keys':<10}{'what':<18}{'full':>7}{'resumed':>9}{'of it a copy':>14}{'ratio':>8}  at most {AIM}")
    for kind in KEYS:
        with TemporaryDirectory() as folder:
            certificates = Certificates(Path(folder), kind)
            with a_broker(program, Path(folder), certificates) as port:
                for name, version in VERSIONS.items():
                    ways = Ways(port, certificates, version)
                    try:
                        for what, connection in ways.all().items():
                            figures = compare(connection, options.rounds)
                            cells = _cells(*figures, median(ways.copies), has_aim=what == HANDSHAKE)
                            print(f"{name:<5}{kind:<10}{what:<18}{cells}", flush=True)
                    finally:
                        ways.close()
    return 0


def _cells(full: float, resumed: float, ratio: float, copy: float, *, has_aim: bool) -> str:
    verdict = ("  reached" if ratio <= AIM else "  missed") if has_aim else ""
    return f"{full:>7.0f}{resumed:>9.0f}{copy:>14.0f}{ratio:>8.2f}{verdict}"


if __name__ == "__main__":
    sys.exit(main())
