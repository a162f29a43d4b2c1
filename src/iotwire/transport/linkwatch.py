"""Word of this machine's network: a cable that is plugged in, an address that DHCP gives, a modem that has dialled.

A client that waits to connect again need not wait any longer then. Linux says so by itself, over rtnetlink (RFC 3549;
rtnetlink(7)): nothing runs meanwhile. Where there is no such word, what the system says of its interfaces and of its
ways out is compared twice a second, as long as somebody listens.

One thread does it for all clients of a process. It is there while somebody listens.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["LinkChange", "listen", "read_changes"]

# How often the network is looked at where the system tells of no change.
POLL_S = 0.5

# rtnetlink(7), linux/rtnetlink.h, linux/if.h, linux/if_addr.h.
GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE
NEWLINK, DELLINK, NEWADDR, NEWROUTE = 16, 17, 20, 24
IS_UP, IS_LOOPBACK, IS_RUNNING = 0x1, 0x8, 0x40
TENTATIVE = 0x40  # an IPv6 address that is being looked for on the link
SCOPE_UNIVERSE, SCOPE_SITE = 0, 200
HEADER = struct.Struct("=IHHII")
LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths of destination and source, ...


class LinkChange(NamedTuple):
    """Something of the network is there (is_up), or gone. interface: its index, 0 where that is not known."""

    is_up: bool
    interface: int = 0


Listener = Callable[[LinkChange], None]


def read_changes(data: bytes, running: dict[int, bool]) -> Iterator[LinkChange]:
    """What messages of rtnetlink tell that is of interest here. running: of each interface, and kept up to date.

    Wireless interfaces are spoken of all the time: what is no change is none here.
    """
    position = 0
    while position + HEADER.size <= len(data):
        length, kind, _, _, _ = HEADER.unpack_from(data, position)
        if not HEADER.size <= length <= len(data) - position:
            return
        body = data[position + HEADER.size : position + length]
        position += (length + 3) & ~3
        if kind in (NEWLINK, DELLINK) and len(body) >= LINK.size:
            _, _, index, flags, _ = LINK.unpack_from(body)
            is_running = kind == NEWLINK and flags & (IS_UP | IS_RUNNING) == IS_UP | IS_RUNNING
            was_running = running.get(index)
            if kind == DELLINK:
                running.pop(index, None)
            else:
                running[index] = is_running
            if is_running != was_running and not flags & IS_LOOPBACK:
                yield LinkChange(is_running, index)
        elif kind == NEWADDR and len(body) >= ADDRESS.size:
            _, _, address_flags, scope, index = ADDRESS.unpack_from(body)
            if scope in (SCOPE_UNIVERSE, SCOPE_SITE) and not address_flags & TENTATIVE:
                yield LinkChange(True, index)
        elif kind == NEWROUTE and len(body) >= ROUTE.size and not ROUTE.unpack_from(body)[1]:
            yield LinkChange(True)  # a default route


class _Netlink:
    """Raises OSError where this system, or what confines this process, has no rtnetlink."""

    def __init__(self) -> None:
        if not hasattr(socket, "AF_NETLINK"):
            raise OSError("no rtnetlink here")
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            self.socket.bind((0, GROUPS))
            self.socket.setblocking(False)
        except BaseException:
            self.socket.close()
            raise
        self.poll_s: float | None = None
        self._running: dict[int, bool] = {}

    def read(self) -> list[LinkChange]:
        try:
            data, sender = self.socket.recvfrom(65536)
        except BlockingIOError:
            return []
        except OSError:  # ENOBUFS: more was said than fits, and some of it is lost
            return [LinkChange(True)]
        if sender[0] != 0:  # any process may send to a netlink socket; this did not come from the kernel
            return []
        return list(read_changes(data, self._running))


class _Polling:
    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.poll_s: float | None = POLL_S
        self._seen = self._look()

    def read(self) -> list[LinkChange]:
        now = self._look()
        was, self._seen = self._seen, now
        return [LinkChange(True)] if now - was else []

    @staticmethod
    def _look() -> frozenset[tuple[str, str]]:
        """What speaks for a network. A link that is gone takes something away from it, and one that comes adds."""
        found: set[tuple[str, str]] = set()
        for _, name in socket.if_nameindex():
            try:
                state = Path(f"/sys/class/net/{name}/operstate").read_text("ascii").strip()
            except OSError:  # Linux alone has such files
                state = "unknown"
            if state in ("up", "unknown"):  # the latter of a modem, or a tunnel, that is up
                found.add(("interface", name))
        # Which address would be used to go out, if at all: connecting UDP sends nothing. Addresses: RFC 5737, RFC 3849.
        for family, anywhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
            with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.connect((anywhere, 9))
                found.add(("out", asking.getsockname()[0]))
        return frozenset(found)


class _Watch:
    """The thread, and who listens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._waker: socket.socket | None = None  # of the thread that runs

    def add(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.append(listener)
            if self._waker is None:
                woken, waker = socket.socketpair()
                thread = threading.Thread(target=self._run, args=(woken,), name="iotwire links", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the system gives no thread: then nobody tells, and clients wait as long as ever
                    woken.close()
                    waker.close()
                else:
                    self._waker = waker

    def remove(self, listener: Listener) -> None:
        with self._lock, suppress(ValueError):
            self._listeners.remove(listener)
            if not self._listeners and self._waker is not None:
                self._waker.close()
                self._waker = None

    def _run(self, woken: socket.socket) -> None:
        source: _Netlink | _Polling
        try:
            source = _Netlink()
        except OSError:
            source = _Polling()
        waiting = select.poll()
        waiting.register(woken, select.POLLIN)
        if source.socket is not None:
            waiting.register(source.socket, select.POLLIN)
        with woken, source.socket or nullcontext():
            while True:
                ready = waiting.poll(None if source.poll_s is None else source.poll_s * 1000)
                if any(descriptor == woken.fileno() for descriptor, _ in ready):
                    return
                for change in source.read():
                    with self._lock:
                        listeners = list(self._listeners)
                    for listener in listeners:
                        listener(change)


_watch = _Watch()


def _begin_anew() -> None:
    """The thread is not in a child of this process, and its clients are the parent's."""
    global _watch  # noqa: PLW0603
    _watch = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def listen(listener: Listener) -> Callable[[], None]:
    """Have it called with each change, from another thread, until what is returned is called.

    It is to return at once. A call that is under way may come to its end after that.
    """
    watch = _watch
    watch.add(listener)
    return lambda: watch.remove(listener)
