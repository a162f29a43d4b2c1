"""Publishing over HTTPS to servers that nobody here wrote: nginx and `openssl s_server`."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="the certificates are made with the package cryptography")

from brokers import HOST, START_TIMEOUT_S, find_program, free_ports, nginx_listens, start_nginx
from iotwire import BlockingHttpsPublisher, ConnectError, Endpoint, HttpsPublisher, PublishError
from iotwire.emulator.pki import Authority
from networks import can_listen
from scripted_http import BOTH, PUBLISHERS

pytestmark = pytest.mark.broker

NAME = "a1b2c3d4e5-ats.iot.eu-central-1.amazonaws.com"
ADDRESSES = [each for each in (HOST, "::1") if can_listen(each)]
PORTS = pytest.mark.parametrize("port", [443, 8443])
Make = Callable[..., Any]

# Connections are closed after three requests, or after a second without one, as a load balancer does it.
HTTP = """\
    client_max_body_size 128k;
    large_client_header_buffers 4 32k;
    keepalive_requests 3;
    keepalive_timeout 1s;
    log_format told escape=none '$connection $request_method $request_uri $http_host $ssl_client_s_dn '
                                '$ssl_alpn_protocol $content_length $http_x_amz_mqtt5_user_properties';
    server {{
        {listen}
        server_name {name};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_client_certificate {ca};
        ssl_verify_client on;
        ssl_protocols TLSv1.2 TLSv1.3;
        access_log {folder}/access.log told;
        location / {{ default_type application/json; return 200 '{{"message":"OK","traceId":"$connection"}}'; }}
        location = /topics/forbidden {{ return 403; }}
        location = /topics/busy {{ return 429; }}
        location /topics/taken-whole {{ proxy_pass http://127.0.0.1:{sink}; }}
    }}
    server {{ listen 127.0.0.1:{sink}; access_log off; location / {{ return 204; }} }}
"""


class Nginx:
    """An nginx with client certificates, on a port of 127.0.0.1 and the same one of ::1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.device = self.authority.issue_device("device")
        self.port, sink = free_ports(2)
        server = self.authority.issue_server([NAME])
        http = HTTP.format(
            folder=folder,
            listen=nginx_listens(ADDRESSES, self.port),
            name=NAME,
            certificate=server.cert,
            key=server.key,
            ca=self.authority.ca,
            sink=sink,
        )
        self._process = start_nginx(folder, http, self.port)

    def route(self, port: int, address: str = HOST) -> Any:
        """Without ALPN, as for configurable endpoints: an nginx refuses names that are not HTTP's own."""
        endpoint = Endpoint(NAME, address=address, ports={port: self.port})
        return endpoint.route("https", self.device, port=port, alpn=None)

    def forget(self) -> None:
        """Begin the log anew."""
        (self.folder / "access.log").write_text("")

    def requests(self, count: int) -> list[list[str]]:
        """What the log has, once it has so many lines: a request is noted after it was answered."""
        log = self.folder / "access.log"
        deadline = time.monotonic() + START_TIMEOUT_S
        while log.read_text().count("\n") < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return [line.split(" ") for line in log.read_text().splitlines()]

    def stop(self) -> None:
        self._process.end(signal.SIGQUIT)


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    server = Nginx(tmp_path_factory.mktemp("nginx"))
    yield server
    server.stop()


@BOTH
@PORTS
@pytest.mark.parametrize("address", ADDRESSES)
def test_nginx_takes_messages_from_a_device_with_a_certificate(
    nginx: Nginx, make: Make, port: int, address: str
) -> None:
    nginx.forget()
    with make(nginx.route(port, address)) as publisher:
        for number in range(7):
            publisher.publish(f"a/{number}", bytes(10 * number), 1, user_properties=[("a", "b")])
    seen = nginx.requests(7)
    host = NAME if port == 443 else f"{NAME}:8443"
    assert [fields[1:4] for fields in seen] == [["POST", f"/topics/a%2F{number}?qos=1", host] for number in range(7)]
    assert {fields[4] for fields in seen} == {"CN=device"}
    assert len({fields[0] for fields in seen}) == 3  # it closes a connection after three requests
    assert [fields[6] for fields in seen] == [str(10 * number) for number in range(7)]


@BOTH
def test_a_connection_that_nginx_has_closed_is_made_again(nginx: Nginx, make: Make) -> None:
    nginx.forget()
    with make(nginx.route(443), retries=None) as publisher:
        publisher.publish("a", b"before", 1)
        time.sleep(1.5)  # keepalive_timeout: nobody announces it
        publisher.publish("a", b"after", 1)
    before, after = nginx.requests(2)
    assert before[0] != after[0]


@BOTH
@pytest.mark.parametrize(("topic", "status"), [("forbidden", 403), ("busy", 429)])
def test_what_nginx_refuses_has_its_status(nginx: Nginx, make: Make, topic: str, status: int) -> None:
    with make(nginx.route(8443), retries=None) as publisher:
        with pytest.raises(PublishError, match=f"HTTP {status}"):
            publisher.publish(topic)
        publisher.publish("a")


@BOTH
def test_a_message_that_is_too_large_for_nginx_is_refused_before_it_has_read_it(nginx: Nginx, make: Make) -> None:
    with make(nginx.route(8443), limits=None) as publisher:
        with pytest.raises(PublishError, match="HTTP 413"):
            publisher.publish("a", bytes(8 * 1024 * 1024))
        publisher.publish("taken-whole", bytes(128 * 1024))


@BOTH
def test_nginx_wants_the_right_certificate(nginx: Nginx, make: Make, tmp_path: Path) -> None:
    stranger = Authority(tmp_path).issue_device("stranger")
    endpoint = Endpoint(NAME, address=HOST, ports={8443: nginx.port})
    with make(endpoint.route("https", stranger, port=8443)) as publisher, pytest.raises(ConnectError, match="accepted"):
        publisher.publish("a")  # the stranger does not know the server's authority either


@BOTH
def test_nginx_refuses_an_alpn_name_that_it_does_not_know(nginx: Nginx, make: Make) -> None:
    endpoint = Endpoint(NAME, address=HOST, ports={443: nginx.port})
    route = endpoint.route("https", nginx.device, port=443)
    with make(route) as publisher, pytest.raises(ConnectError, match="no application protocol") as caught:
        publisher.publish("a")
    assert caught.value.alert == 120


def test_tasks_share_a_few_connections_to_nginx(nginx: Nginx) -> None:
    nginx.forget()

    async def work() -> None:
        async with HttpsPublisher(nginx.route(443), max_connections=4) as publisher:
            await asyncio.gather(*(publisher.publish(f"t/{number}", qos=1) for number in range(100)))

    asyncio.run(work())
    seen = nginx.requests(100)
    assert sorted(fields[2] for fields in seen) == sorted(f"/topics/t%2F{number}?qos=1" for number in range(100))


def test_a_program_of_threads_publishes_to_nginx(nginx: Nginx) -> None:
    nginx.forget()
    with BlockingHttpsPublisher(nginx.route(8443), max_connections=2) as publisher:
        threads = [
            threading.Thread(target=lambda name=name: [publisher.publish(f"{name}/{each}") for each in range(10)])
            for name in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(START_TIMEOUT_S)
    assert len({fields[2] for fields in nginx.requests(40)}) == 40


# openssl s_server: what it is offered, and whether it selects it.


@pytest.mark.parametrize("make", list(PUBLISHERS.values()), ids=list(PUBLISHERS))
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@PORTS
def test_openssl_is_offered_the_alpn_name_of_the_row(make: Make, port: int, version: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, device = authority.issue_server([NAME]), authority.issue_device("device")
    (local,) = free_ports(1)
    command = [find_program("openssl"), "s_server", "-accept", f"{HOST}:{local}", version, "-naccept", "1"]
    command += ["-cert", str(server.cert), "-key", str(server.key), "-CAfile", str(authority.ca)]
    command += ["-Verify", "1", "-verify_return_error", "-alpn", "other,x-amzn-http-ca"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told: list[str] = []
        listening, asked = threading.Event(), threading.Event()

        def read() -> None:
            for line in process.stdout:  # type: ignore[union-attr]
                told.append(line.decode(errors="replace"))
                if "ACCEPT" in told[-1]:
                    listening.set()
                if "the message" in "".join(told[-3:]):
                    asked.set()

        def answer() -> None:
            assert asked.wait(START_TIMEOUT_S), told
            process.stdin.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]

        threads = [threading.Thread(target=each, daemon=True) for each in (read, answer)]
        for thread in threads:
            thread.start()
        assert listening.wait(START_TIMEOUT_S), told
        endpoint = Endpoint(NAME, address=HOST, ports={port: local})
        with make(endpoint.route("https", device, port=port)) as publisher:
            publisher.publish("a/b", b"the message\n", 1)
        process.stdin.close()
        process.terminate()
        for thread in threads:
            thread.join(START_TIMEOUT_S)
    output = "".join(told)
    offered = re.findall(r"ALPN protocols advertised by the client: (.*)", output)
    selected = re.findall(r"ALPN protocols selected: (.*)", output)
    assert (offered, selected) == ((["x-amzn-http-ca"],) * 2 if port == 443 else ([], []))
    assert "POST /topics/a%2Fb?qos=1 HTTP/1.1" in output
