"""A TCP connection to the first address that answers (RFC 8305), over the uplink that was asked for.

asyncio's own race (`happy_eyeballs_delay`) loses a connected socket when it is cancelled at the wrong moment, and runs
into an assertion when two attempts win at once; it stands here for that reason, and is short.

A link that has died without a word is found by TCP itself, long before a server's silence would tell.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Any

from .resolver import resolve
from .steps import Progress

__all__ = ["Uplink", "connect_tcp", "interleave", "pick_addresses", "watch_link"]

# Seconds before the next address is tried beside those under way (RFC 8305, 5): what a dead IPv6 route costs.
NEXT_ADDRESS_S = 0.25
# Probes of an idle link that go unanswered before it counts as dead.
PROBES = 3


@dataclass(frozen=True, slots=True)
class Uplink:
    """What a connection leaves this machine by: see `Endpoint.route`. None leaves it to the routing table."""

    interface: str | None = None
    source_address: str | None = None

    @property
    def family(self) -> int | None:
        """The only family of addresses that can be tried; None for any."""
        if self.source_address is None:
            return None
        return socket.AF_INET if ip_address(self.source_address).version == 4 else socket.AF_INET6

    def open_socket(self, family: int) -> socket.socket:
        """A TCP socket that leaves by it, and does not block. Raises OSError, whose text names what is wrong."""
        # The protocol is named because asyncio sets TCP_NODELAY only where it is.
        opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            opened.setblocking(False)
            if self.interface is not None:
                self._bind_to_interface(opened)
            if self.source_address is not None:
                self._bind_to_address(opened)
        except BaseException:
            opened.close()
            raise
        return opened

    def _bind_to_interface(self, opened: socket.socket) -> None:
        assert self.interface is not None
        if not hasattr(socket, "SO_BINDTODEVICE"):
            raise OSError(
                errno.ENOPROTOOPT, "interface: only Linux can bind to one (SO_BINDTODEVICE); source_address may do"
            )
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode() + b"\0")
        except PermissionError as error:
            raise PermissionError(
                error.errno,
                f"interface: binding to {self.interface} needs the capability CAP_NET_RAW on this kernel "
                "(any user may from Linux 5.7 on); source_address may do instead",
            ) from error
        except OSError as error:
            wrong = "there is no such interface" if error.errno == errno.ENODEV else error.strerror
            raise OSError(error.errno, f"interface: cannot bind to {self.interface}: {wrong}") from error

    def _bind_to_address(self, opened: socket.socket) -> None:
        # As the resolver writes it: the zone of a link-local address ("fe80::1%eth0") is a number in it.
        try:
            found = socket.getaddrinfo(self.source_address, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            opened.bind(found[0][4])
        except OSError as error:
            wrong = "this machine does not have it" if error.errno == errno.EADDRNOTAVAIL else error.strerror
            raise OSError(error.errno, f"source_address: cannot use {self.source_address}: {wrong}") from error


_ANY_UPLINK = Uplink()


async def connect_tcp(host: str, port: int, progress: Progress, uplink: Uplink = _ANY_UPLINK) -> socket.socket:
    """A connected socket, not blocking. Raises OSError, of which socket.gaierror is one.

    progress: is told of the steps "dns" and "tcp", limits them, and may have them interrupted.
    """
    async with _step(progress, "dns"):
        found = await resolve(host, port)
    addresses = pick_addresses(found, host, uplink)
    async with _step(progress, "tcp"):
        return await _race(addresses, uplink, progress)


@asynccontextmanager
async def _step(progress: Progress, name: str) -> AsyncIterator[None]:
    """Do it within its time, unless it is interrupted before. Raises TimeoutError."""
    progress.enter(name)
    now = asyncio.get_running_loop().time
    async with asyncio.timeout(progress.left()) as limit:
        with progress.interruption.calling(lambda: limit.reschedule(now())):
            yield


async def _race(addresses: list[tuple[int, Any]], uplink: Uplink, progress: Progress) -> socket.socket:
    loop = asyncio.get_running_loop()
    waiting = deque(addresses)
    running: dict[asyncio.Task[socket.socket], str] = {}
    failures: list[OSError] = []
    try:
        while waiting or running:
            if waiting:
                family, address = waiting.popleft()
                running[loop.create_task(_connect(uplink, family, address))] = address[0]
                progress.tried[address[0]] = None
            done, _ = await asyncio.wait(
                running, timeout=NEXT_ADDRESS_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                name = running.pop(task)
                if error is None:
                    progress.address = name
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                failures.append(error)
                progress.tried[name] = error
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_result)
    raise failures[0]


async def _connect(uplink: Uplink, family: int, address: Any) -> socket.socket:
    attempt = uplink.open_socket(family)
    try:
        try:
            await asyncio.get_running_loop().sock_connect(attempt, address)
        except OSError as error:
            if error.errno is None:
                raise
            raise OSError(error.errno, os.strerror(error.errno)) from error  # the system's word, not asyncio's
    except BaseException:
        attempt.close()
        raise
    return attempt


def pick_addresses(found: list[Any], host: str, uplink: Uplink) -> list[tuple[int, Any]]:
    """Which addresses to try, in order, of what the resolver says. Raises OSError where none can be."""
    addresses = interleave([(family, address) for family, _, _, _, address in found])
    if not addresses:
        raise OSError(f"{host} has no address")
    if uplink.family is None:
        return addresses
    of_family = [each for each in addresses if each[0] == uplink.family]
    if not of_family:
        name = "IPv4" if uplink.family == socket.AF_INET else "IPv6"
        raise OSError(
            errno.EAFNOSUPPORT, f"source_address: {uplink.source_address} is of {name}, and {host} has no such address"
        )
    return of_family


def watch_link(connected: socket.socket, timeout_s: float) -> None:
    """Have TCP give up a link on which nothing has come back for about `timeout_s` seconds, rather than for 15 minutes.

    On a link with unacknowledged bytes that is TCP_USER_TIMEOUT (RFC 5482), on an idle one keep-alive probes (RFC 9293,
    3.8.4): a few packets without payload, the first after half of the time. Where the system lacks an option, its own
    default stays.
    """
    idle_s = max(1, round(timeout_s / 2))
    interval_s = max(1, round((timeout_s - idle_s) / PROBES))
    idle_option = "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE"  # the latter on macOS
    wanted = {
        idle_option: idle_s,
        "TCP_KEEPINTVL": interval_s,
        "TCP_KEEPCNT": PROBES,
        # Last: with it the number of probes no longer counts, and the time does [Linux, tcp(7)].
        "TCP_USER_TIMEOUT": max(1, round(timeout_s * 1000)),
    }
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in wanted.items():
        if hasattr(socket, name):
            with suppress(OSError):  # the headers knew it, this kernel does not
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    """The race is over: whoever comes in after the winner is sent home."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def interleave(addresses: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Alternate between the families, in the resolver's order otherwise: one dead family costs one delay."""
    by_family: dict[int, list[tuple[int, Any]]] = {}
    for each in addresses:
        by_family.setdefault(each[0], []).append(each)
    return [each for each in chain.from_iterable(zip_longest(*by_family.values())) if each is not None]
