"""The probe against servers that nobody here wrote: those of the `ssl` module, and `openssl s_server`."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from iotwire.credentials import X509
from iotwire.emulator import Emulator
from iotwire.emulator.pki import Authority
from iotwire.probe import TLS_1_2, TLS_1_3, ProbeResult, probe_endpoint
from scripted import asynchronous

HOSTS = ["127.0.0.1", *(["::1"] if socket.has_ipv6 else [])]
NAME = "broker.test"
MATRIX_ALPN = ("x-amzn-mqtt-ca", "x-amzn-http-ca", "mqtt")
START_TIMEOUT_S = 60.0


@pytest.fixture
def certificate(tmp_path: Path) -> X509:
    return Authority(tmp_path).issue_server([NAME])


def by_offer(results: list[ProbeResult]) -> dict[tuple[int, bool, str], ProbeResult]:
    """Results by version, whether SNI was sent, and the ALPN name that was offered."""
    return {
        (result.hello.version, result.hello.server_name is not None, "".join(result.hello.alpn)): result
        for result in results
    }


@asynccontextmanager
async def a_tls_server(certificate: X509, host: str, **settings: Any) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    if "alpn" in settings:
        context.set_alpn_protocols(settings.pop("alpn"))
    for name, value in settings.items():
        setattr(context, name, value)
    asyncio.get_running_loop().set_exception_handler(None)  # handshakes that are never finished are what it is for
    server = await asyncio.start_server(lambda *_: None, host, 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("host", HOSTS)
@asynchronous
async def test_a_server_of_the_ssl_module_selects(certificate: X509, host: str) -> None:
    async with a_tls_server(certificate, host, alpn=["mqtt"]) as port:
        results = by_offer(await probe_endpoint(host, port, alpn=["mqtt", "other"], server_name=NAME))
    assert len(results) == 12
    assert all(result.is_accepted for result in results.values())
    assert {result.version for offer, result in results.items() if offer[0] == TLS_1_3} == {TLS_1_3}
    assert {result.version for offer, result in results.items() if offer[0] == TLS_1_2} == {TLS_1_2}
    assert results[TLS_1_2, True, "mqtt"].alpn == "mqtt"
    assert results[TLS_1_2, True, "mqtt"].issuer == "CN=iotwire emulator CA"
    assert results[TLS_1_2, True, "other"].alpn is None
    assert results[TLS_1_2, True, "other"].text.endswith(", no ALPN")
    assert results[TLS_1_3, True, "mqtt"].text.endswith(", ALPN encrypted in 1.3")
    assert results[TLS_1_3, True, "mqtt"].peer in (f"{host}:{port}", f"[{host}]:{port}")


@pytest.mark.parametrize("only", [TLS_1_2, TLS_1_3])
@asynchronous
async def test_a_server_of_one_version_refuses_the_other(certificate: X509, only: int) -> None:
    version = ssl.TLSVersion(only)
    async with a_tls_server(certificate, "127.0.0.1", minimum_version=version, maximum_version=version) as port:
        results = await probe_endpoint("127.0.0.1", port)
    accepted = {result.hello.version for result in results if result.is_accepted}
    assert accepted == {only}


@asynchronous
async def test_a_group_of_the_servers_own_is_told_as_a_retry(certificate: X509) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    context.set_ecdh_curve("secp384r1")
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        results = by_offer(await probe_endpoint("127.0.0.1", server.sockets[0].getsockname()[1]))
    assert results[TLS_1_3, False, ""].outcome == "retry"
    assert "wants another key share" in results[TLS_1_3, False, ""].text
    assert results[TLS_1_2, False, ""].outcome == "selected"


@asynchronous
async def test_the_emulator_refuses_hellos_without_sni_as_the_service_does() -> None:
    async with Emulator() as emulator:
        port = emulator.endpoint.ports[8883]
        results = by_offer(await probe_endpoint("127.0.0.1", port, server_name=emulator.host))
    for version in (TLS_1_2, TLS_1_3):
        assert results[version, True, ""].outcome == "selected"
        assert results[version, False, ""].text == "alert unrecognized_name (112)"


@asynchronous
async def test_the_emulator_knows_the_alpn_names_of_the_matrix_alone() -> None:
    async with Emulator() as emulator:
        results = await probe_endpoint(
            "127.0.0.1", emulator.endpoint.ports[443], server_name=emulator.host, alpn=[*MATRIX_ALPN, "h2"]
        )
    for result in results:
        if result.hello.server_name is not None and set(result.hello.alpn) <= set(MATRIX_ALPN):
            assert result.outcome == "selected"
            assert result.alpn == ("".join(result.hello.alpn) or None if result.version == TLS_1_2 else None)
        else:
            assert result.alert == (112 if result.hello.server_name is None else 120)


@contextmanager
def s_server(certificate: X509, host: str, *options: str) -> Iterator[int]:
    """`openssl s_server`; the value is its port."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    place = f"[{host}]" if ":" in host else host
    command = [program, "s_server", "-accept", f"{place}:0", "-cert", certificate.cert, "-key", certificate.key]
    # It ends when there is nothing more to read for it: so it gets something that never comes.
    process = subprocess.Popen(
        [*map(str, command), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    watch = threading.Timer(START_TIMEOUT_S, process.kill)
    watch.start()
    said = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.startswith(b"ACCEPT"):
                break
        else:
            pytest.fail(f"openssl s_server did not start: {b''.join(said)!r}")
        watch.cancel()
        # It writes about each connection, and would wait for somebody to read that.
        drain = threading.Thread(target=process.stdout.read)
        drain.start()
        yield int(said[-1].rpartition(b":")[2])
        process.terminate()
        drain.join()
    finally:
        watch.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


@pytest.mark.parametrize("host", HOSTS)
@asynchronous
async def test_openssl_s_server_selects_and_refuses(certificate: X509, host: str) -> None:
    with s_server(certificate, host, "-alpn", "x-amzn-mqtt-ca,mqtt") as port:
        results = by_offer(await probe_endpoint(host, port, alpn=["mqtt", "x-amzn-http-ca"], server_name=NAME))
    for version in (TLS_1_2, TLS_1_3):
        for has_sni in (True, False):
            assert results[version, has_sni, ""].outcome == "selected"
            assert results[version, has_sni, "mqtt"].outcome == "selected"
            refused = results[version, has_sni, "x-amzn-http-ca"]
            assert (refused.outcome, refused.alert) == ("alert", 120)
            assert refused.text == "alert no_application_protocol (120)"
    assert results[TLS_1_2, True, "mqtt"].alpn == "mqtt"


@pytest.mark.parametrize(("option", "only"), [("-tls1_2", TLS_1_2), ("-tls1_3", TLS_1_3)])
@asynchronous
async def test_openssl_s_server_of_one_version_answers_the_other_with_an_alert(
    certificate: X509, option: str, only: int
) -> None:
    with s_server(certificate, "127.0.0.1", option) as port:
        results = await probe_endpoint("127.0.0.1", port)
    for result in results:
        assert result.outcome == ("selected" if result.hello.version == only else "alert")
        assert result.alert in (None, 70, 40)


@asynchronous
async def test_a_warning_about_the_name_does_not_hide_the_answer(certificate: X509) -> None:
    # s_server sends a warning, and goes on, where SNI has another name than -servername.
    options = ("-servername", "another.test", "-cert2", str(certificate.cert), "-key2", str(certificate.key))
    with s_server(certificate, "127.0.0.1", *options) as port:
        results = by_offer(await probe_endpoint("127.0.0.1", port, server_name=NAME))
    assert results[TLS_1_2, True, ""].outcome == "selected"
    assert "after the warning unrecognized_name" in results[TLS_1_2, True, ""].text
    assert "warning" not in results[TLS_1_2, False, ""].text
