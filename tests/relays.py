"""Ways to a server that fail as links do: cut, torn, slow, still, dead, or with a bit that tips over.

A `Relay` passes on what comes, and counts nothing. A `Fault` that is imposed on it decides, until the relay is mended,
what becomes of each piece. Whatever happens, bytes come in their order and none comes again: that is TCP's to promise,
and a relay keeps it. What is chance comes from a `random.Random` of the test's.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from brokers import HOST, free_ports


class Tap(Protocol):
    """Sees what passes over one connection of a relay, in any pieces, before it is passed on."""

    def from_client(self, data: bytes) -> None: ...
    def from_broker(self, data: bytes) -> None: ...


class CutError(Exception):
    """The connection is to end here."""


class Connection:
    """From a client through a relay to its target. is_spoilt: something that was sent over it never arrives."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = [client]
        self.is_spoilt = False

    def abort(self) -> None:
        for each in self.writers:
            each.transport.abort()


class Fault(ABC):
    """For one relay, once.

    spoils: whether a connection that met it cannot go on, and is cut when the relay is mended.
    """

    spoils = False

    def __init__(self) -> None:
        self._is_over = asyncio.Event()

    def end(self) -> None:
        self._is_over.set()

    async def wait(self, seconds: float | None) -> None:
        """So long, or until it is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_over.wait()

    @abstractmethod
    def meet(self, data: bytes, connection: Connection) -> AsyncIterator[bytes]:
        """What is passed on, each piece when its time has come. Raises CutError."""


class Delay(Fault):
    """Each piece comes late."""

    def __init__(self, chance: random.Random, most_s: float) -> None:
        super().__init__()
        self._chance = chance
        self._most_s = most_s

    async def meet(self, data: bytes, connection: Connection) -> AsyncIterator[bytes]:
        await self.wait(self._chance.uniform(0, self._most_s))
        yield data


class Throttle(Fault):
    """A line that takes no more than so many bytes in a second, in small pieces."""

    PIECE = 100

    def __init__(self, bytes_per_s: int) -> None:
        super().__init__()
        self._bytes_per_s = bytes_per_s

    async def meet(self, data: bytes, connection: Connection) -> AsyncIterator[bytes]:
        for at in range(0, len(data), self.PIECE):
            piece = data[at : at + self.PIECE]
            await self.wait(len(piece) / self._bytes_per_s)
            yield piece


class Tear(Fault):
    """Every connection ends when so many bytes have passed, which is in the middle of a packet as a rule."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._left = size

    async def meet(self, data: bytes, connection: Connection) -> AsyncIterator[bytes]:
        piece = data[: self._left]
        self._left -= len(piece)
        if piece:
            yield piece
        if len(piece) < len(data):
            raise CutError


class Pause(Fault):
    """Nothing passes; what was held back comes later."""

    async def meet(self, data: bytes, connection: Connection) -> AsyncIterator[bytes]:
        await self.wait(None)
        yield data


class BlackHole(Fault):
    """Connections stay, also new ones come about, and whatever is sent is gone."""

    spoils = True

    async def meet(self, data: bytes, connection: Connection) -> AsyncIterator[bytes]:
        for nothing in ():
            yield nothing


class Corrupt(Fault):
    """One bit tips over, of a byte that is so many bytes ahead. struck: the connection over which it passed."""

    def __init__(self, chance: random.Random, ahead: int) -> None:
        super().__init__()
        self._bit = 1 << chance.randrange(8)
        self._ahead = ahead
        self.struck: Connection | None = None

    async def meet(self, data: bytes, connection: Connection) -> AsyncIterator[bytes]:
        if self.struck is None and self._ahead < len(data):
            self.struck = connection
            changed = bytearray(data)
            changed[self._ahead] ^= self._bit
            data = bytes(changed)
        self._ahead -= len(data)
        yield data


# Faults that a connection over plain TCP has to live with. Those of the second kind it may not even notice.
BREAKING: dict[str, Callable[[random.Random], Fault]] = {
    "tear": lambda chance: Tear(chance.choice((chance.randrange(1, 40), chance.randrange(1, 5000)))),
    "black hole": lambda _: BlackHole(),
}
SLOWING: dict[str, Callable[[random.Random], Fault]] = {
    "delay": lambda chance: Delay(chance, 0.05),
    "throttle": lambda chance: Throttle(chance.randrange(2_000, 200_000)),
    "pause": lambda _: Pause(),
}
DIRECTIONS = ("broker", "client")


class Relay:
    """A way to a server. port: where clients connect.

    make_tap: called for each connection. context: of TLS, which clients then have to speak, and the target does not.
    connections: that there are.
    """

    def __init__(
        self, target: int, make_tap: Callable[[], Tap] | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        (self.port,) = free_ports(1)
        self.target = target
        self._make_tap = make_tap
        self._context = context
        self._server: asyncio.Server | None = None
        self._faults: dict[str, Fault] = {}
        self.connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def refuse(self) -> None:
        """Accept no connection until `mend`."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def cut(self) -> None:
        """Reset every connection, on both sides, and accept none until `mend`."""
        self.refuse()
        for each in self.connections:
            each.abort()

    def impose(self, fault: Fault, *directions: str) -> None:
        """From now on until `mend`; what goes to the "broker", to the "client", or both."""
        for each in directions:
            self._faults[each] = fault

    async def mend(self) -> None:
        """Be as a link should be."""
        faults, self._faults = self._faults, {}
        for fault in faults.values():
            fault.end()
        for each in self.connections:
            if each.is_spoilt:
                each.abort()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, HOST, self.port, ssl=self._context)

    async def close(self) -> None:
        self.cut()
        for fault in self._faults.values():
            fault.end()
        await asyncio.gather(*self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(writer)
        self.connections.add(connection)
        task = asyncio.create_task(self._serve(reader, writer, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: Connection) -> None:
        try:
            there, onward = await asyncio.open_connection(HOST, self.target)
            connection.writers.append(onward)
            if writer.transport.is_closing():  # cut meanwhile
                onward.transport.abort()
            tap = None if self._make_tap is None else self._make_tap()
            await asyncio.gather(
                self._pass_on("broker", reader, onward, connection, None if tap is None else tap.from_client),
                self._pass_on("client", there, writer, connection, None if tap is None else tap.from_broker),
            )
        except OSError:  # the broker is down: so is this connection
            connection.abort()
        finally:
            self.connections.discard(connection)

    async def _pass_on(
        self,
        direction: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: Connection,
        see: Callable[[bytes], None] | None,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if see is not None:
                    see(data)
                fault = self._faults.get(direction)
                if fault is None:
                    writer.write(data)
                    await writer.drain()
                    continue
                connection.is_spoilt |= fault.spoils
                try:
                    async for piece in fault.meet(data, connection):
                        writer.write(piece)
                        await writer.drain()
                except CutError:
                    connection.abort()
        if (fault := self._faults.get(direction)) is not None and fault.spoils:
            await fault.wait(None)  # nor does the other end hear that this one has closed
        writer.close()


@asynccontextmanager
async def relay(
    target: int, make_tap: Callable[[], Tap] | None = None, context: ssl.SSLContext | None = None
) -> AsyncIterator[Relay]:
    """A relay to a port of 127.0.0.1."""
    made = Relay(target, make_tap, context)
    await made.mend()
    try:
        yield made
    finally:
        await made.close()
