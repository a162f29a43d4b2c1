"""The probe against servers of the wild: mosquitto with mutual TLS, and nginx, over IPv4 and IPv6."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import pytest

pytest.importorskip("cryptography")

from brokers import HOST, Mosquitto, free_ports, nginx_listens, start_nginx
from iotwire.emulator.pki import Authority
from iotwire.probe import TLS_1_2, TLS_1_3, ProbeResult, advise, probe_endpoint
from scripted import asynchronous

pytestmark = pytest.mark.broker

NAME = "broker.test"
ADDRESSES = pytest.mark.parametrize("address", ["127.0.0.1", "::1"])

HTTP = """\
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    server {{ {listen} server_name {name}; ssl_client_certificate {ca}; ssl_verify_client on; return 204; }}
    server {{ listen {host}:{plain}; return 204; }}
"""


def listen_addresses() -> list[str]:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "::1"]


@pytest.fixture(scope="module")
def mosquitto_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where mosquitto wants a client certificate."""
    folder = tmp_path_factory.mktemp("mosquitto")
    server = Authority(folder).issue_server([NAME])
    (port,) = free_ports(1)
    further = []
    for address in listen_addresses():
        further += [f"listener {port} {address}", "allow_anonymous true", "require_certificate true"]
        further += [f"cafile {server.ca}", f"certfile {server.cert}", f"keyfile {server.key}"]
    with Mosquitto(folder, further=further):
        yield port


@pytest.fixture(scope="module")
def nginx_ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Where nginx speaks TLS, and where it does not."""
    folder = tmp_path_factory.mktemp("nginx")
    server = Authority(folder).issue_server([NAME])
    port, plain = free_ports(2)
    http = HTTP.format(
        listen=nginx_listens(listen_addresses(), port),
        name=NAME,
        certificate=server.cert,
        key=server.key,
        ca=server.ca,
        host=HOST,
        plain=plain,
    )
    process = start_nginx(folder, http, plain)
    yield port, plain
    process.end(signal.SIGQUIT)


def outcomes(results: list[ProbeResult], alpn: tuple[str, ...] = ()) -> dict[int, set[str]]:
    """What hellos with that ALPN come to, by version."""
    return {
        version: {each.outcome for each in results if each.hello.version == version and each.hello.alpn == alpn}
        for version in (TLS_1_2, TLS_1_3)
    }


def needs(address: str) -> None:
    if address not in listen_addresses():
        pytest.skip("this machine has no IPv6")


@ADDRESSES
@asynchronous
async def test_mosquitto_answers_without_a_certificate_of_ours_and_knows_no_alpn(
    mosquitto_port: int, address: str
) -> None:
    needs(address)
    results = await probe_endpoint(address, mosquitto_port, server_name=NAME, alpn=["x-amzn-mqtt-ca"])
    assert outcomes(results) == {TLS_1_2: {"selected"}, TLS_1_3: {"selected"}}
    older = [each for each in results if each.hello.alpn and each.hello.version == TLS_1_2]
    assert {each.outcome for each in older} <= {"selected", "alert"}
    assert all(each.alpn is None for each in older)


@ADDRESSES
@asynchronous
async def test_nginx_selects_its_own_protocol_and_refuses_others(nginx_ports: tuple[int, int], address: str) -> None:
    needs(address)
    results = await probe_endpoint(address, nginx_ports[0], server_name=NAME, alpn=["http/1.1", "mqtt"])
    assert outcomes(results) == outcomes(results, ("http/1.1",)) == {TLS_1_2: {"selected"}, TLS_1_3: {"selected"}}
    assert outcomes(results, ("mqtt",)) == {TLS_1_2: {"alert"}, TLS_1_3: {"alert"}}
    assert {each.alert for each in results if each.outcome == "alert"} == {120}
    assert "http/1.1" in {each.alpn for each in results}
    (advice,) = advise(results)
    assert "does not accept ALPN mqtt" in advice


@asynchronous
async def test_a_port_of_nginx_that_speaks_http_is_told_as_such(nginx_ports: tuple[int, int]) -> None:
    results = await probe_endpoint(HOST, nginx_ports[1])
    assert {each.outcome for each in results} == {"not-tls"}
    assert results[0].text == 'not TLS: "HTTP/1.1 400 Bad Request"'
