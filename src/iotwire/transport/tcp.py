"""A TCP connection to the first address that answers (RFC 8305).

asyncio's own race (`happy_eyeballs_delay`) loses a connected socket when it is cancelled at the wrong moment, and runs
into an assertion when two attempts win at once; it stands here for that reason, and is short.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from itertools import chain, zip_longest
from typing import Any

__all__ = ["connect_tcp"]

# Seconds before the next address is tried beside those under way (RFC 8305, 5): what a dead IPv6 route costs.
NEXT_ADDRESS_S = 0.25


async def connect_tcp(host: str, port: int) -> socket.socket:
    """A connected socket, not blocking. Raises OSError, of which socket.gaierror is one; waits without a limit."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    waiting = deque(_interleave([(family, address) for family, _, _, _, address in found]))
    running: set[asyncio.Task[socket.socket]] = set()
    failures: list[OSError] = []
    try:
        while waiting or running:
            if waiting:
                running.add(loop.create_task(_connect(*waiting.popleft())))
            done, _ = await asyncio.wait(
                running, timeout=NEXT_ADDRESS_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    running.discard(task)
                    return task.result()
                running.discard(task)
                if not isinstance(error, OSError):
                    raise error
                failures.append(error)
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_result)
    raise failures[0] if failures else OSError(f"{host} has no address")


async def _connect(family: int, address: Any) -> socket.socket:
    # The protocol is named because asyncio sets TCP_NODELAY only where it is.
    attempt = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        attempt.setblocking(False)
        await asyncio.get_running_loop().sock_connect(attempt, address)
    except BaseException:
        attempt.close()
        raise
    return attempt


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    """The race is over: whoever comes in after the winner is sent home."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _interleave(addresses: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Alternate between the families, in the resolver's order otherwise: one dead family costs one delay."""
    by_family: dict[int, list[tuple[int, Any]]] = {}
    for each in addresses:
        by_family.setdefault(each[0], []).append(each)
    return [each for each in chain.from_iterable(zip_longest(*by_family.values())) if each is not None]
