"""MQTT by hand, with as little in it as there can be: what the clients are held against."""

from __future__ import annotations

import asyncio
import socket
from typing import Self

from task import HOST

from iotwire.mqtt import Connect


class Link:
    """A blocking socket that is connected to the broker."""

    def __init__(self, port: int, client_id: str) -> None:
        self._socket = socket.create_connection((HOST, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(Connect(client_id, keep_alive=0).encode(5))
        self._read_packet()

    def exchange(self, packet: bytes) -> None:
        """Send a QoS 1 message and wait for what answers it."""
        self._socket.sendall(packet)
        self._read_packet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _read_packet(self) -> None:
        data = self._socket.recv(4096)
        while len(data) < 2 or len(data) < 2 + data[1]:  # no answer is longer than 127 bytes
            more = self._socket.recv(4096)
            assert more
            data += more
        assert len(data) == 2 + data[1]


class Idle(asyncio.Protocol):
    """A connection of asyncio's that has said CONNECT and heard CONNACK."""

    __slots__ = ("connected",)

    def __init__(self) -> None:
        self.connected: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        assert data[0] == 0x20
        if self.connected is not None:
            self.connected.set_result(None)


class Counting(asyncio.Protocol):
    """What receiving takes at least: it counts bytes, and looks at none."""

    def __init__(self) -> None:
        self._left = 0
        self._taken = asyncio.Event()

    async def take(self, size: int) -> None:
        """Wait for so many bytes more than were waited for before."""
        self._left += size
        while self._left > 0:
            self._taken.clear()
            await self._taken.wait()

    async def take_answer(self) -> None:
        """Wait for a packet, of whatever length, after which nothing comes unasked."""
        await self.take(1)
        self._left = 0

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left <= 0:
            self._taken.set()


async def connect(port: int, number: int) -> asyncio.Transport:
    """One more idle connection."""
    transport, protocol = await asyncio.get_running_loop().create_connection(Idle, HOST, port)
    transport.write(Connect(f"bare-{number}", keep_alive=60).encode(5))
    assert protocol.connected is not None
    await protocol.connected
    protocol.connected = None
    return transport


class Answering(asyncio.Protocol):
    """A connection whose answers are counted by their bytes: all are as long as the first."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._unread = 0
        self._answer_size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.write = transport.write

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        if not self._answer_size:
            self._answer_size = 2 + data[1]
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error or ConnectionError("the broker ended the connection"))

    async def answers(self) -> int:
        """How many have come since the last call: one or more."""
        while self._unread < max(2, self._answer_size):
            self._waiter = self._loop.create_future()
            await self._waiter
        count, self._unread = divmod(self._unread, self._answer_size)
        return count

    async def exchange(self, packet: bytes) -> None:
        """Send a QoS 1 message and wait for what answers it."""
        self.write(packet)
        await self.answers()

    def forget(self) -> None:
        """What comes next may be of another length."""
        self._answer_size = 0


async def connect_answering(port: int, number: int) -> Answering:
    """One more connection for QoS 1."""
    _, link = await asyncio.get_running_loop().create_connection(Answering, HOST, port)
    await link.exchange(Connect(f"answering-{number}", keep_alive=0).encode(5))
    link.forget()
    return link
