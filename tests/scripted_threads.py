"""A server that does exactly what a test tells it to, for tests without an event loop: a thread for each connection."""

from __future__ import annotations

import functools
import gc
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from iotwire import BlockingClient, Broker
from iotwire.mqtt import (
    ConnAck,
    Connect,
    Decoder,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)

# What a test waits for comes within this, or never.
BOUND_S = 10.0

P = TypeVar("P", bound=Packet)

# A client that ends with its connection, at once: for tests of one connection.
one_connection = functools.partial(BlockingClient, reconnect=None, drain_timeout_s=0.0)


def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for what nobody announces."""
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, what or "it never came to be so"
        time.sleep(0.0005)


def happened(event: threading.Event) -> None:
    """Wait for it."""
    assert event.wait(BOUND_S), "it never happened"


class InThread:
    """A call in a thread of its own, and what becomes of it."""

    def __init__(self, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        self._call = functools.partial(call, *arguments, **keywords)
        self._value: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 -- raised in `result`
            self._error = error

    @property
    def is_done(self) -> bool:
        return not self.thread.is_alive()

    def result(self, bound_s: float = BOUND_S) -> Any:
        self.thread.join(bound_s)
        assert self.is_done, "the call hangs"
        if self._error is not None:
            raise self._error
        return self._value


class Peer:
    """The server's end of one connection: reads the client's packets, and sends packets or any bytes.

    number: 0 for the first connection of the server.
    """

    def __init__(self, connected: socket.socket, version: int, number: int) -> None:
        self.socket = connected
        self.version = version
        self.number = number
        self._decoder = Decoder(version)
        self._packets: list[Packet] = []
        self._sending = threading.Lock()

    def receive(self) -> Packet | None:
        """The next packet, or None where the client has closed."""
        while not self._packets:
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                return None
            self._packets += self._decoder.feed(data)
        return self._packets.pop(0)

    def expect(self, kind: type[P]) -> P:
        packet = self.receive()
        assert isinstance(packet, kind), packet
        return packet

    def expect_close(self) -> None:
        packet = self.receive()
        assert packet is None, packet

    def send(self, *items: Packet | bytes) -> None:
        """All in one write."""
        data = b"".join(each if isinstance(each, bytes) else each.encode(self.version) for each in items)
        with self._sending:
            self.socket.sendall(data)

    def accept(self, **connack: Any) -> Connect:
        """Take the CONNECT and send a CONNACK."""
        connect = self.expect(Connect)
        self.send(ConnAck(**connack))
        return connect

    def answer_until_close(self, *, echoes: bool = False) -> list[Packet]:
        """Be a server that takes everything. echoes: and sends every message back, with QoS 0."""
        taken: list[Packet] = []
        with suppress(ConnectionError, ssl.SSLError):
            while (packet := self.receive()) is not None:
                taken.append(packet)
                self.answer(packet, echoes=echoes)
        return taken

    def answer(self, packet: Packet, *, echoes: bool = False) -> None:
        match packet:
            case Publish(qos=1):
                self.send(PubAck(packet.packet_id))
            case Publish(qos=2):
                self.send(PubRec(packet.packet_id))
            case PubRel():
                self.send(PubComp(packet.packet_id))
            case Subscribe():
                self.send(SubAck(packet.packet_id, [each.qos for each in packet.subscriptions]))
            case Unsubscribe():
                self.send(UnsubAck(packet.packet_id, [0] * len(packet.topic_filters) if self.version == 5 else ()))
            case PingReq():
                self.send(PingResp())
        if echoes and isinstance(packet, Publish):
            self.send(Publish(packet.topic, packet.payload))

    def close(self) -> None:
        """Say nothing more, and go."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def reset(self) -> None:
        """Go as if the machine had crashed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


Script = Callable[[Peer], Any]


class Server:
    """A listener that runs the script for each connection, in a thread of its own."""

    def __init__(
        self,
        script: Script,
        version: int,
        context: ssl.SSLContext | None,
        receive_buffer: int,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._script = script
        self._version = version
        self._context = context
        self._listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was one before it
        self._listener.bind((address, port))
        self._listener.listen(128)
        self.port: int = self._listener.getsockname()[1]
        self.failures: list[BaseException] = []
        self.peers: list[Peer] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                connected, _ = self._listener.accept()
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=self._run, args=(connected, len(self._threads) - 1), daemon=True)
                thread.start()
                self._threads.append(thread)  # once it can be joined

    def _run(self, connected: socket.socket, number: int) -> None:
        try:
            if self._context is not None:
                connected = self._context.wrap_socket(connected, server_side=True)
            with connected:
                peer = Peer(connected, self._version, number)
                self.peers.append(peer)
                self._script(peer)
        except BaseException as error:  # noqa: BLE001 -- raised by `close`
            if not (isinstance(error, ssl.SSLError) and "Closed before TLS handshake" in str(error)):
                self.failures.append(error)  # else the client had gone before this thread came to ask who it is

    def close(self) -> None:
        for thread in self._threads[1:]:
            thread.join(5)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers:
            with suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(BOUND_S)
            assert not thread.is_alive(), "the script hangs"


@contextmanager
def scripted(
    script: Script,
    *,
    version: int = 5,
    context: ssl.SSLContext | None = None,
    receive_buffer: int = 0,
    address: str = "127.0.0.1",
) -> Iterator[Broker]:
    """A server that runs the script for each connection. A failure in the script fails the test.

    context: for TLS. receive_buffer: bytes of the socket's, 0 for the system's choice. address: "127.0.0.1" or "::1".
    """
    server = Server(script, version, context, receive_buffer, address)
    with closing_and_judging(server):
        yield Broker(address, server.port)


@contextmanager
def closing_and_judging(server: Server) -> Iterator[None]:
    """Close a server at the end, and raise what its script has."""
    try:
        yield
    except BaseException:
        server.close()
        if server.failures:
            raise server.failures[0] from None
        raise
    server.close()
    if server.failures:
        raise server.failures[0]


def serve_all(peer: Peer) -> None:
    """The script of a server that takes everything."""
    peer.accept()
    peer.answer_until_close()


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("iotwire")]


@contextmanager
def nothing_left() -> Iterator[None]:
    """What is done within leaves no thread and no descriptor. The first use of a thing may keep one: do that before."""
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    until(lambda: not our_threads(), "threads are left")
    until(lambda: descriptors() <= before, "descriptors are left")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
