"""Networks that a test makes up: servers that do one thing, proxies that relay, and both clients to try them with."""

from __future__ import annotations

import asyncio
import base64
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from iotwire import BlockingClient, Client, ConnectError
from scripted import LOOPS, MakeLoop

# Made with `openssl req -new -x509`: P-256, CN=a. A certificate authority that has signed nothing.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBbTCCAROgAwIBAgIUEA5W6cjrQpHFa8sZOZYbPvWyLmkwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYTAeFw0yNjExMzAyMDIyMDVaFw0yNjEyMDEyMDIyMDVaMAwx
CjAIBgNVBAMMAWEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQe4q5HzFU648ky
wR9b1i6xB0bXO3S0WmywtIAlc1HXHVetTEnq84uRafQQmm1u5Vca8mFuN471SkNS
a2plpAYgo1MwUTAdBgNVHQ4EFgQUoGS7sYIwb9m1kggLnKHpqUzuSjEwHwYDVR0j
BBgwFoAUoGS7sYIwb9m1kggLnKHpqUzuSjEwDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNIADBFAiEA26qGTepLexefbi5NdE4JFpI0DKBNpfIauZ/y/ho4xx8C
ICwnlSlpm5hpydMWVXHL/3oNgqjAYXyIaDswR87zaWKS
-----END CERTIFICATE-----
"""

# What a server waits for comes within this, or never.
BOUND_S = 20.0


def connect_with_asyncio(make_loop: MakeLoop | None) -> Callable[..., str]:
    def connect(route: Any, **options: Any) -> str:
        async def run() -> str:
            async with Client(route, "c", reconnect=None, drain_timeout_s=0.0, **options) as client:
                return client.security

        with asyncio.Runner(loop_factory=make_loop) as runner:
            return runner.run(run())

    return connect


def connect_with_threads(route: Any, **options: Any) -> str:
    with BlockingClient(route, "c", reconnect=None, drain_timeout_s=0.0, **options) as client:
        return client.security


CONNECTS = {**{name: connect_with_asyncio(make) for name, make in LOOPS.items()}, "threads": connect_with_threads}
# For a test that takes `connect`: connects, disconnects, and says how the connection was protected.
ON_EVERY_CLIENT = pytest.mark.parametrize("connect", CONNECTS.values(), ids=CONNECTS)


def failure_of(connect: Any, route: Any, **options: Any) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        connect(route, **options)
    return caught.value


Handler = Callable[[socket.socket], Any]


def can_listen(host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


@contextmanager
def serving(handler: Handler, host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A listener whose port this is, with a thread for each connection. What ends a connection ends its handler."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    threads: list[threading.Thread] = []
    accepted: list[socket.socket] = []
    failures: list[BaseException] = []

    def run(connected: socket.socket) -> None:
        with connected, suppress(OSError):  # of a client that has gone
            connected.settimeout(BOUND_S)
            try:
                handler(connected)
            except OSError:
                raise
            except BaseException as error:  # noqa: BLE001 -- raised below
                failures.append(error)

    def accept() -> None:
        with suppress(OSError):  # it is closed below
            while True:
                connected, _ = listener.accept()
                accepted.append(connected)
                threads.append(threading.Thread(target=run, args=(connected,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(BOUND_S)
        for each in accepted:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(BOUND_S)
            assert not thread.is_alive(), "a handler hangs"
    if failures:
        raise failures[0]


@contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """An address where nobody answers: the queue of its listener is full, so the system drops what comes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        try:
            for _ in range(4):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(listener.getsockname())
            yield listener.getsockname()
        finally:
            for each in waiting:
                each.close()


def read_until_closed(connected: socket.socket) -> bytes:
    """Say nothing."""
    data = b""
    while piece := connected.recv(4096):
        data += piece
    return data


def accept_mqtt(connected: socket.socket) -> None:
    """Take one CONNECT of MQTT 5, in one piece, and whatever follows, until DISCONNECT."""
    assert connected.recv(4096)[:1] == b"\x10"
    connected.sendall(b"\x20\x03\x00\x00\x00")
    while connected.recv(4096)[:1] not in (b"\xe0", b""):
        pass


def read_exactly(connected: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connected.recv(size - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


class RelayingProxy:
    """An HTTP or SOCKS 5 proxy that relays to 127.0.0.1 or ::1 whatever name it is asked for.

    credentials: user name and password that it wants, or None. asked: what it was asked for, in order.
    """

    def __init__(self, scheme: str, credentials: tuple[str, str] | None = None, to: str = "127.0.0.1") -> None:
        self.scheme = scheme
        self.credentials = credentials
        self.to = to
        self.asked: list[tuple[str, int]] = []

    def __call__(self, connected: socket.socket) -> None:
        opened = self._take_http(connected) if self.scheme == "http" else self._take_socks(connected)
        if opened:
            self._relay(connected, self.asked[-1][1])

    def _take_http(self, connected: socket.socket) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += read_exactly(connected, 1)
        request, *lines = head.decode().rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, target, version = request.split()
        assert (method, version) == ("CONNECT", "HTTP/1.1")
        assert headers["host"] == target
        if self.credentials is not None:
            expected = base64.b64encode(":".join(self.credentials).encode()).decode()
            if headers.get("proxy-authorization") != f"Basic {expected}":
                connected.sendall(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n"
                    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return False
        host, _, port = target.rpartition(":")
        self.asked.append((host.strip("[]"), int(port)))
        connected.sendall(b"HTTP/1.1 200 Connection established\r\nX-Odd: \xe9\r\n\r\n")
        return True

    def _take_socks(self, connected: socket.socket) -> bool:
        version, count = read_exactly(connected, 2)
        methods = read_exactly(connected, count)
        assert version == 5
        method = 0 if self.credentials is None else 2
        if method not in methods:
            connected.sendall(b"\x05\xff")
            return False
        connected.sendall(bytes([5, method]))
        if self.credentials is not None:
            version, size = read_exactly(connected, 2)
            name = read_exactly(connected, size).decode()
            word = read_exactly(connected, read_exactly(connected, 1)[0]).decode()
            is_right = (version, name, word) == (1, *self.credentials)
            connected.sendall(b"\x01" + (b"\0" if is_right else b"\1"))
            if not is_right:
                return False
        head = read_exactly(connected, 4)
        assert head[:3] == b"\x05\x01\0"
        if head[3] == 3:
            host = read_exactly(connected, read_exactly(connected, 1)[0]).decode()
        else:
            family, size = (socket.AF_INET, 4) if head[3] == 1 else (socket.AF_INET6, 16)
            host = socket.inet_ntop(family, read_exactly(connected, size))
        self.asked.append((host, struct.unpack("!H", read_exactly(connected, 2))[0]))
        connected.sendall(b"\x05\0\0\x03\x05proxy\x04\x38")  # an address by name, which few proxies send
        return True

    def _relay(self, connected: socket.socket, port: int) -> None:
        with socket.create_connection((self.to, port), timeout=BOUND_S) as onward:

            def copy(source: socket.socket, sink: socket.socket) -> None:
                with suppress(OSError):
                    while data := source.recv(65536):
                        sink.sendall(data)
                with suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)

            back = threading.Thread(target=copy, args=(onward, connected), daemon=True)
            back.start()
            copy(connected, onward)
            back.join(BOUND_S)
