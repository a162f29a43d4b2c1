"""Proxies that open no tunnel, or only later. What is said to them byte for byte stands in test_proxy.py."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from typing import Any

import pytest

from emulated import an_emulator
from iotwire import Backoff, BlockingClient, Broker, Client, Endpoint, Proxy
from iotwire.client.backoff import is_refusal
from networks import (
    ON_EVERY_CLIENT,
    RelayingProxy,
    accept_mqtt,
    failure_of,
    read_exactly,
    read_until_closed,
    serving,
)
from scripted import asynchronous


def answer_http(head: bytes) -> Any:
    def answer(connected: socket.socket) -> None:
        while not connected.recv(4096).endswith(b"\r\n\r\n"):
            pass
        connected.sendall(head)
        read_until_closed(connected)

    return answer


def answer_socks(*answers: bytes) -> Any:
    def answer(connected: socket.socket) -> None:
        for each in answers:
            read_exactly(connected, 3)
            connected.sendall(each)
        read_until_closed(connected)

    return answer


def reset(connected: socket.socket) -> None:
    assert connected.recv(1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


PROXIES: dict[str, Any] = {
    "breaks off": ("http", reset, None, "Connection reset by peer", False),
    "wants to know who": ("http", RelayingProxy("http", ("me", "word")), 407, "check user name and password", True),
    "forbids": ("http", answer_http(b"HTTP/1.1 403 Forbidden\r\n\r\n"), 403, "403 Forbidden", True),
    "cannot": ("http", answer_http(b"HTTP/1.1 502 Secret words\r\n\r\n"), 502, "502 Bad Gateway", False),
    "has its own status": ("http", answer_http(b"HTTP/1.1 599 x\r\n\r\n"), 599, "599 no status of HTTP", False),
    "is none": ("http", answer_http(b"\x05\xff SSH-2.0-OpenSSH\r\n\r\n"), None, "not HTTP/1.1", False),
    "says too much": ("http", answer_http(b"HTTP/1.1 200 OK\r\n\r\nmore"), None, "more than its answer", False),
    "never ends": ("http", answer_http(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9000), None, "not HTTP/1.1", False),
    "wants a name": ("socks5", RelayingProxy("socks5", ("me", "word")), None, "wants user name and password", True),
    "has a rule": ("socks5", answer_socks(b"\x05\0", b"\x05\x02\0\1\0\0\0\0\0\0"), None, "not allowed", True),
    "finds nobody": ("socks5", answer_socks(b"\x05\0", b"\x05\x04\0\1\0\0\0\0\0\0"), None, "host unreachable", False),
    "speaks HTTP": ("socks5", answer_socks(b"HTTP/1.1 400\r\n\r\n"), None, "not SOCKS 5", False),
}


@ON_EVERY_CLIENT
@pytest.mark.parametrize("case", PROXIES)
def test_a_proxy_that_opens_no_tunnel(connect: Any, case: str) -> None:
    scheme, handler, status, message, refuses = PROXIES[case]
    with serving(handler) as port:
        route = Broker("gateway.example", 8883, proxy=Proxy(f"{scheme}://127.0.0.1:{port}"))
        error = failure_of(connect, route)
    assert (error.step, error.http_status) == ("proxy", status)
    assert message in str(error)
    assert "gateway.example:8883" in str(error)
    assert is_refusal(error) == refuses


@ON_EVERY_CLIENT
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_wrong_password_for_a_proxy_is_not_repeated(connect: Any, scheme: str) -> None:
    with serving(RelayingProxy(scheme, ("me", "word"))) as port:
        route = Broker("gateway.example", 8883, proxy=Proxy(f"{scheme}://me:secret@127.0.0.1:{port}"))
        error = failure_of(connect, route)
    assert error.step == "proxy"
    assert "check" in str(error)
    assert "secret" not in f"{error}{error!r}{route!r}{error.__cause__!r}"
    assert is_refusal(error)


def test_a_client_goes_on_until_the_proxy_is_there() -> None:
    """What fails in a step is tried again like everything else."""
    seen = threading.Event()
    relay = RelayingProxy("http")
    calls: list[int] = []

    def fail_first(connected: socket.socket) -> None:
        calls.append(1)
        if len(calls) < 3:
            answer_http(b"HTTP/1.1 503 Busy\r\n\r\n")(connected)
        else:
            relay(connected)

    def serve(connected: socket.socket) -> None:
        seen.set()
        accept_mqtt(connected)

    with serving(serve) as port, serving(fail_first) as proxy_port:
        route = Broker("127.0.0.1", port, proxy=Proxy(f"http://127.0.0.1:{proxy_port}"))
        backoff = Backoff(base_s=0.001, max_s=0.01)
        with BlockingClient(route, "c", wait_for_server=True, reconnect=backoff, drain_timeout_s=0.0):
            assert seen.wait(20)
    assert len(calls) == 3


@pytest.mark.parametrize("port", [8883, 443])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
@asynchronous
async def test_an_endpoint_is_reached_through_a_proxy_under_its_own_name(scheme: str, port: int) -> None:
    """Which nobody here can resolve, and which SNI, ALPN and the certificate have to agree with."""
    pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")
    relay = RelayingProxy(scheme)
    with serving(relay) as proxy_port:  # which waits for its connections to end: outside of what ends them
        async with an_emulator() as emulator:
            endpoint = Endpoint(emulator.host, ports=emulator.ports)
            proxy = Proxy(f"{scheme}://127.0.0.1:{proxy_port}")
            route = endpoint.route("mqtt", emulator.device, port=port, proxy=proxy)
            async with Client(route, "one") as client:
                messages = client.messages("readings/#")
                await client.subscribe("readings/#", 1)
                await asyncio.to_thread(publish_once, route)
                assert (await anext(messages)).payload == b"0.5"
            assert relay.asked == [(emulator.host, emulator.ports[port])] * 2


def publish_once(route: Any) -> None:
    with BlockingClient(route, "two") as client:
        client.publish("readings/load", b"0.5", qos=1)
