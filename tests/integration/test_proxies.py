"""Both clients through real proxies, tinyproxy and microsocks, to a server of TLS with a certificate for its name."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto, Process, find_program, free_ports, wait_until_it_listens
from iotwire import X509, Broker, Proxy
from networks import ON_EVERY_CLIENT, failure_of

pytestmark = pytest.mark.broker

NAME = "localhost"  # the one that both proxies can resolve on every machine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, X509]]:
    """A mosquitto that wants a client certificate: its port, and a device that it accepts."""
    pytest.importorskip("cryptography", reason="the broker's certificates are made with the package cryptography")
    from iotwire.emulator.pki import Authority

    folder = tmp_path_factory.mktemp("server")
    authority = Authority(folder)
    issued = authority.issue_server([NAME])
    (port,) = free_ports(1)
    further = [f"listener {port} 127.0.0.1", "allow_anonymous true", "require_certificate true"]
    further += [f"cafile {issued.ca}", f"certfile {issued.cert}", f"keyfile {issued.key}"]
    with Mosquitto(folder, further=further):
        yield port, authority.issue_device("device")


@contextmanager
def running(folder: Path, port: int, *command: str) -> Iterator[None]:
    process = Process(command, {"PATH": os.environ.get("PATH", os.defpath)}, folder / "log")
    try:
        wait_until_it_listens(port, process, folder / "log")
        yield
    finally:
        process.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where they are, with and without asking for user name and password."""
    folder = tmp_path_factory.mktemp("proxies")
    http, http_asking, socks, socks_asking = free_ports(4)
    for port, further in ((http, ""), (http_asking, "BasicAuth me word\n")):
        (folder / str(port)).write_text(f"Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\n{further}")
    tinyproxy, microsocks = find_program("tinyproxy"), find_program("microsocks")
    with (
        running(folder, http, tinyproxy, "-d", "-c", str(folder / str(http))),
        running(folder, http_asking, tinyproxy, "-d", "-c", str(folder / str(http_asking))),
        running(folder, socks, microsocks, "-i", "127.0.0.1", "-p", str(socks)),
        running(folder, socks_asking, microsocks, "-i", "127.0.0.1", "-p", str(socks_asking), "-u", "me", "-P", "word"),
    ):
        yield {
            "tinyproxy": f"http://127.0.0.1:{http}",
            "tinyproxy that asks": f"http://me:word@127.0.0.1:{http_asking}",
            "microsocks": f"socks5://127.0.0.1:{socks}",
            "microsocks that asks": f"socks5h://me:word@127.0.0.1:{socks_asking}",
        }


@ON_EVERY_CLIENT
@pytest.mark.parametrize("which", ["tinyproxy", "tinyproxy that asks", "microsocks", "microsocks that asks"])
def test_a_client_connects_through_a_proxy(
    server: tuple[int, X509], proxies: dict[str, str], connect: Any, which: str
) -> None:
    port, device = server
    assert connect(Broker(NAME, port, tls=device, proxy=Proxy(proxies[which]))).startswith("TLSv1.3")


@ON_EVERY_CLIENT
@pytest.mark.parametrize(("which", "status"), [("tinyproxy that asks", 407), ("microsocks that asks", None)])
@pytest.mark.parametrize("credentials", ["", "me:wrong@"])
def test_a_proxy_that_asks_refuses_whoever_cannot_answer(
    server: tuple[int, X509], proxies: dict[str, str], connect: Any, which: str, status: int | None, credentials: str
) -> None:
    port, device = server
    url = proxies[which].replace("me:word@", credentials)
    error = failure_of(connect, Broker(NAME, port, tls=device, proxy=Proxy(url)))
    assert error.step == "proxy"
    # tinyproxy has 401 for it where no credentials came, and 407 is what the standard has (RFC 9110, 15.5.8).
    assert error.http_status in ((401, 407) if status else (None,))
    assert "wrong" not in str(error)


@ON_EVERY_CLIENT
@pytest.mark.parametrize("which", ["tinyproxy", "microsocks"])
def test_an_endpoint_that_the_proxy_does_not_reach(proxies: dict[str, str], connect: Any, which: str) -> None:
    (port,) = free_ports(1)
    error = failure_of(connect, Broker("127.0.0.1", port, proxy=Proxy(proxies[which])))
    assert error.step == "proxy"
    assert error.http_status == (500 if which == "tinyproxy" else None)
