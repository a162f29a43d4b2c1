"""Connections: which address is taken, and what is left behind when nobody wants it any more."""

from __future__ import annotations

import asyncio
import socket

import pytest

from iotwire.transport.tcp import _interleave, connect_tcp
from scripted import asynchronous


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
        with await connect_tcp("localhost", listener.getsockname()[1]) as connected:
            assert connected.getpeername()[0] == address
            assert connected.proto == socket.IPPROTO_TCP  # or asyncio would leave Nagle's algorithm on


@asynchronous
async def test_a_failure_on_every_address_is_the_first_ones() -> None:
    with listen(socket.AF_INET, "127.0.0.1") as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await connect_tcp("127.0.0.1", port)
    with pytest.raises(socket.gaierror):
        await connect_tcp("no-such-host.invalid", port)


@pytest.mark.parametrize("turns", range(8))
@asynchronous
async def test_a_connect_that_is_cancelled_leaves_no_socket(turns: int) -> None:
    """An unclosed socket is a ResourceWarning, and those are errors here."""
    with listen(socket.AF_INET, "127.0.0.1") as listener:
        connecting = asyncio.create_task(connect_tcp("127.0.0.1", listener.getsockname()[1]))
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        (outcome,) = await asyncio.gather(connecting, return_exceptions=True)
        if isinstance(outcome, socket.socket):
            outcome.close()


def test_families_alternate_in_the_order_of_the_resolver() -> None:
    found = [(6, "a"), (6, "b"), (6, "c"), (4, "x"), (4, "y")]
    assert _interleave(found) == [(6, "a"), (4, "x"), (6, "b"), (4, "y"), (6, "c")]
