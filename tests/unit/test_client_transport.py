"""Connections: which address is taken, and what is left behind when nobody wants it any more."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import pytest

from iotwire.transport.steps import Progress
from iotwire.transport.tcp import connect_tcp, interleave, watch_link
from scripted import Peer, asynchronous, one_connection, scripted


def listen(family: int, address: str, port: int = 0) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((address, port))
    listener.listen()
    listener.setblocking(False)
    return listener


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
@asynchronous
async def test_localhost_is_found_on_whichever_family_listens(family: int, address: str) -> None:
    try:
        listener = listen(family, address)
    except OSError:
        pytest.skip(f"this machine has no {address}")
    with listener:
        if address not in {info[4][0] for info in socket.getaddrinfo("localhost", 0)}:
            pytest.skip(f"localhost is not {address} here")
        with await connect_tcp("localhost", listener.getsockname()[1], Progress(20)) as connected:
            assert connected.getpeername()[0] == address
            assert connected.proto == socket.IPPROTO_TCP  # or asyncio would leave Nagle's algorithm on


@asynchronous
async def test_a_failure_on_every_address_is_the_first_ones() -> None:
    with listen(socket.AF_INET, "127.0.0.1") as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await connect_tcp("127.0.0.1", port, Progress(20))
    with pytest.raises(socket.gaierror):
        await connect_tcp("no-such-host.invalid", port, Progress(20))


@pytest.mark.parametrize("turns", range(8))
@asynchronous
async def test_a_connect_that_is_cancelled_leaves_no_socket(turns: int) -> None:
    """An unclosed socket is a ResourceWarning, and those are errors here."""
    with listen(socket.AF_INET, "127.0.0.1") as listener:
        connecting = asyncio.create_task(connect_tcp("127.0.0.1", listener.getsockname()[1], Progress(20)))
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        (outcome,) = await asyncio.gather(connecting, return_exceptions=True)
        if isinstance(outcome, socket.socket):
            outcome.close()


def test_families_alternate_in_the_order_of_the_resolver() -> None:
    found = [(6, "a"), (6, "b"), (6, "c"), (4, "x"), (4, "y")]
    assert interleave(found) == [(6, "a"), (4, "x"), (6, "b"), (4, "y"), (6, "c")]


def watch_of(connected: socket.socket) -> dict[str, int]:
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    found = {name: connected.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names}
    return {"SO_KEEPALIVE": connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), **found}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other options")
@pytest.mark.parametrize(
    ("timeout_s", "idle_s", "interval_s"), [(30.0, 15, 5), (1, 1, 1), (3600, 1800, 600), (7.5, 4, 1)]
)
def test_a_watched_link_is_given_up_in_time(timeout_s: float, idle_s: int, interval_s: int) -> None:
    with socket.socket() as watched:
        watch_link(watched, timeout_s)
        assert watch_of(watched) == {
            "SO_KEEPALIVE": 1,
            "TCP_KEEPIDLE": idle_s,
            "TCP_KEEPINTVL": interval_s,
            "TCP_KEEPCNT": 3,
            "TCP_USER_TIMEOUT": round(timeout_s * 1000),
        }


def test_a_system_without_the_options_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"):
        monkeypatch.delattr(socket, name, raising=False)
    with socket.socket() as watched:
        watch_link(watched, 30)
        assert watched.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0


def test_an_option_that_the_kernel_refuses_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "TCP_USER_TIMEOUT", 9999, raising=False)
    with socket.socket() as watched:
        watch_link(watched, 30)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other options")
@pytest.mark.parametrize(("options", "expected"), [({}, 30_000), ({"dead_link_timeout_s": None}, 0)])
@asynchronous
async def test_a_client_watches_its_link_unless_told_otherwise(options: dict[str, Any], expected: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.answer_pings_until_close()

    async with scripted(script) as route, one_connection(route, "c", **options) as client:
        assert client._link is not None
        assert client._link._transport is not None
        watched = client._link._transport.get_extra_info("socket")
        assert watch_of(watched)["TCP_USER_TIMEOUT"] == expected
