"""Preflight: the hello that the transport will send is the one that is looked at, and what is wrong has its finding."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from iotwire import X509, Broker, Client, ConnectError, Endpoint, Proxy, SigV4, Tls
from iotwire import preflight as room
from iotwire.emulator.pki import Authority
from iotwire.preflight import Finding, Preflight
from iotwire.tls import ClientHello
from scripted import asynchronous

HOST = "a1b2c3d4e5-ats.iot.eu-central-1.amazonaws.com"
NOW = datetime.now(UTC)


@pytest.fixture
def device(tmp_path: Path) -> X509:
    return Authority(tmp_path).issue_device("device")


def finding_of(report: Preflight, subject: str) -> Finding:
    (found,) = [finding for finding in report.findings if finding.subject == subject]
    return found


def levels(report: Preflight) -> dict[str, str]:
    return {finding.subject: finding.level for finding in report.findings}


# The hello.


@pytest.mark.parametrize(
    ("row", "protocol", "port", "alpn"),
    [
        (1, "mqtt", 8883, ()),
        (2, "mqtt", 443, ("x-amzn-mqtt-ca",)),
        (7, "https", 443, ("x-amzn-http-ca",)),
        (8, "https", 8443, ()),
    ],
)
def test_the_hello_of_a_row_has_its_name_and_its_alpn(
    device: X509, row: int, protocol: str, port: int, alpn: tuple[str, ...]
) -> None:
    report = Endpoint(HOST).route(protocol, device, port=port).preflight()
    assert report.is_ok
    assert report.description.startswith(f"row {row} of the matrix: ")
    assert report.hello is not None
    assert (report.hello.server_name, report.hello.alpn_protocols) == (HOST, alpn)
    assert report.hello.encode() == report.hello_bytes
    assert (report.host, report.port) == (HOST, port)
    assert levels(report) == dict.fromkeys(["port", "CA", "certificate", "SNI", "ALPN", "versions", "size"], "ok")


def essence(hello: ClientHello) -> Any:
    """All of a hello but its random values and keys. What pads it to a fixed size is as long as the rest lets it be."""
    shares = hello.key_shares or ()
    others = [each for each in hello.extensions if each[0] != 51]
    return hello.cipher_suites, hello.compression_methods, others, [(group, len(key)) for group, key in shares]


@pytest.mark.parametrize("alpn", [None, "mqtt"])
@asynchronous
async def test_it_is_the_hello_that_a_client_sends(device: X509, alpn: str | None) -> None:
    sent: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        while ClientHello.decode(data) is None:
            data += await reader.read(65536)
        sent.append(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        tls = Tls(certificate=device, server_name="broker.test", alpn=alpn)
        route = Broker("127.0.0.1", port, tls=tls)
        report = route.preflight()
        with pytest.raises(ConnectError):
            await Client(route, "c", reconnect=None).connect()
    hello = ClientHello.decode(sent[0])
    assert hello is not None
    assert report.hello is not None
    assert essence(hello) == essence(report.hello)
    assert hello.server_name == "broker.test"


def test_no_packet_is_sent(device: X509, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a socket was made")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert Endpoint(HOST).route("mqtt", device).preflight().is_ok


# Brokers.


def test_a_broker_without_tls_says_so_and_what_that_means() -> None:
    report = Broker("broker.test", 1883, username="u", password="hidden").preflight()
    assert report.is_ok
    assert (report.hello, report.hello_bytes) == (None, b"")
    assert levels(report) == {"TLS": "warning"}
    assert "user name and password" in finding_of(report, "TLS").text
    assert "user name" not in finding_of(Broker("broker.test", 1883).preflight(), "TLS").text


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7", "fe80::1%eth0"])
def test_an_address_of_a_broker_is_not_in_sni(host: str) -> None:
    report = Broker(host, 8883, tls=True).preflight()
    assert report.hello is not None
    assert report.hello.server_name is None
    assert finding_of(report, "SNI").level == "ok"
    assert "IP address" in finding_of(report, "SNI").text


def test_a_broker_that_has_a_name_has_it_in_sni() -> None:
    report = Broker("broker.test", 8883, tls=Tls(alpn="mqtt")).preflight()
    assert finding_of(report, "SNI") == Finding("ok", "SNI", "broker.test")
    assert finding_of(report, "ALPN") == Finding("ok", "ALPN", "mqtt")


# What is not as the service has it.


def test_what_is_overridden_is_told(device: X509) -> None:
    endpoint = Endpoint(HOST, ports={443: 44300}, address="127.0.0.1")
    report = endpoint.route("mqtt", device, port=443, alpn=None).preflight()
    assert report.is_ok
    assert {subject for subject, level in levels(report).items() if level == "warning"} == {"port", "address", "ALPN"}
    assert "44300 in place of the service's 443" in finding_of(report, "port").text
    assert "none in place of x-amzn-mqtt-ca, which row 2 has" in finding_of(report, "ALPN").text
    assert report.hello is not None
    assert report.hello.server_name == HOST


@pytest.mark.parametrize(
    ("host", "is_old"),
    [
        ("a1b2c3d4e5.iot.eu-central-1.amazonaws.com", True),
        (HOST, False),
        ("a1b2c3d4e5.ats.iot.cn-north-1.amazonaws.com.cn", False),
        ("iot.example.com", False),
    ],
)
def test_an_endpoint_of_the_old_authority_is_told(device: X509, host: str, is_old: bool) -> None:
    assert ("endpoint" in levels(Endpoint(host).route("mqtt", device).preflight())) == is_old


def test_a_hello_of_another_ssl_is_found_out(device: X509, monkeypatch: pytest.MonkeyPatch) -> None:
    make = room.make_client_context

    def make_another(*arguments: Any, **keywords: Any) -> ssl.SSLContext:
        context = make(*arguments, **keywords)
        context.set_alpn_protocols(["http/1.1"])
        return context

    monkeypatch.setattr(room, "make_client_context", make_another)
    report = Endpoint(HOST).route("mqtt", device, port=443).preflight()
    assert not report.is_ok
    assert finding_of(report, "ALPN").text == "http/1.1, and x-amzn-mqtt-ca is expected"


def test_a_version_that_is_left_out_is_told(device: X509, monkeypatch: pytest.MonkeyPatch) -> None:
    make = room.make_client_context

    def make_another(*arguments: Any, **keywords: Any) -> ssl.SSLContext:
        context = make(*arguments, **keywords)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    monkeypatch.setattr(room, "make_client_context", make_another)
    report = Endpoint(HOST).route("mqtt", device).preflight()
    assert finding_of(report, "versions").level == "warning"
    assert finding_of(report, "versions").text == "TLS 1.2"


def test_an_openssl_that_is_set_up_to_send_nothing_is_told(device: X509, monkeypatch: pytest.MonkeyPatch) -> None:
    make = room.make_client_context

    def make_another(*arguments: Any, **keywords: Any) -> ssl.SSLContext:
        context = make(*arguments, **keywords)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2
        return context

    monkeypatch.setattr(room, "make_client_context", make_another)
    report = Endpoint(HOST).route("mqtt", device).preflight()
    assert finding_of(report, "TLS").level == "error"
    assert report.hello is None


@pytest.mark.parametrize("name", ["A1B2C3D4E5-ATS.iot.eu-central-1.amazonaws.com", "under_score.example"])
def test_a_name_is_sent_as_it_is_written(device: X509, name: str) -> None:
    assert finding_of(Endpoint(name).route("mqtt", device).preflight(), "SNI") == Finding("ok", "SNI", name)


def test_a_clock_that_was_never_set_is_told(device: X509) -> None:
    report = Endpoint(HOST).route("mqtt", device).preflight(now=datetime(1970, 1, 1, 0, 1, tzinfo=UTC))
    assert "1970-01-01 00:01 UTC" in finding_of(report, "clock").text
    assert not report.is_ok


def test_a_hello_that_is_too_big_for_one_packet_is_told(device: X509, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SEGMENT_BYTES", 100)
    assert finding_of(Endpoint(HOST).route("mqtt", device).preflight(), "size").level == "warning"


# Files.


def test_a_file_that_is_missing_is_told_and_the_rest_looked_at(device: X509) -> None:
    os.remove(device.key)
    report = Endpoint(HOST).route("mqtt", device, port=443).preflight()
    assert not report.is_ok
    assert "device.key" in finding_of(report, "certificate").text
    assert levels(report) == {
        "port": "ok",
        "CA": "ok",
        "certificate": "error",
        "SNI": "ok",
        "ALPN": "ok",
        "versions": "ok",
        "size": "ok",
    }


def test_a_key_of_another_certificate_is_told(device: X509, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other").issue_device("other")
    report = Endpoint(HOST).route("mqtt", X509(device.cert, other.key, ca=device.ca)).preflight()
    assert "does not belong" in finding_of(report, "certificate").text


def test_an_authority_that_is_missing_is_told(device: X509, tmp_path: Path) -> None:
    auth = X509(device.cert, device.key, ca=tmp_path / "nothing.pem")
    report = Endpoint(HOST).route("mqtt", auth).preflight()
    assert finding_of(report, "CA").level == "error"
    assert "nothing.pem" in finding_of(report, "CA").text
    assert finding_of(report, "SNI").level == "ok"


def test_files_that_are_missing_are_told_of_together(device: X509, tmp_path: Path) -> None:
    auth = X509(tmp_path / "no-cert", tmp_path / "no-key", ca=tmp_path / "no-ca")
    report = Endpoint(HOST).route("mqtt", auth).preflight()
    assert {subject for subject, level in levels(report).items() if level == "error"} == {"CA", "certificate"}


def test_a_system_that_trusts_nobody_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert finding_of(Broker("broker.test", 8883, tls=True).preflight(), "CA").level == "error"


def test_no_secret_is_in_a_report(device: X509) -> None:
    key = Path(device.key).read_text()
    auth = X509(device.cert, device.key, password="hidden-password", ca=device.ca)
    for route in (
        Endpoint(HOST).route("mqtt", auth),
        Broker("broker.test", 8883, tls=auth, username="hidden-name", password="hidden-password"),
    ):
        report = route.preflight()
        for text in (str(report), repr(report)):
            assert "hidden" not in text
            assert key.splitlines()[1] not in text


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [
        (0, "ok", "it and its key belong together; valid until "),
        (20, "warning", "it and its key belong together; valid until "),
        (31, "error", "device.pem"),
        (-5, "error", "device.pem"),
    ],
)
def test_a_certificate_is_judged_by_its_dates(device: X509, days: int, level: str, words: str) -> None:
    report = Endpoint(HOST).route("mqtt", device).preflight(now=NOW + timedelta(days=days))
    assert finding_of(report, "certificate").level == level
    assert words in finding_of(report, "certificate").text
    assert finding_of(report, "SNI").level == "ok"


def test_what_the_connection_goes_through_is_told_without_a_password(device: X509) -> None:
    proxy = Proxy("http://someone:hidden@proxy.test:3128")
    route = Endpoint(HOST).route("mqtt", device, proxy=proxy, interface="eth0", source_address="192.0.2.1")
    report = route.preflight()
    assert finding_of(report, "proxy").text == "http://proxy.test:3128"
    assert finding_of(report, "interface").text == "eth0"
    assert finding_of(report, "source").text == "192.0.2.1"
    assert "hidden" not in str(report) + repr(report)


@pytest.mark.parametrize(("protocol", "number"), [("wss", 4), ("https", 6)])
def test_credentials_that_cannot_be_had_are_a_finding(protocol: str, number: int) -> None:
    def fail() -> Any:
        raise OSError("not here")

    found = Endpoint(HOST).route(protocol, SigV4(fail)).preflight(now=NOW)
    assert not found.is_ok
    assert found.description.startswith(f"row {number} of the matrix")
    assert (found.host, found.port, found.hello) == (HOST, 443, None)
    assert [(each.level, each.subject) for each in found.findings] == [("ok", "port"), ("error", "credentials")]


def test_a_broker_over_websockets_is_called_so() -> None:
    found = Broker("broker.example", 8080, websocket_path="/mqtt?token=secret-word").preflight(now=NOW)
    assert found.description == "a broker over WebSockets"
    assert "secret-word" not in str(found)
