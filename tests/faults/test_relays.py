"""The relay that the fault runs go through does what they take it to do: else they would show nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from brokers import HOST
from relays import BREAKING, SLOWING, BlackHole, Corrupt, Delay, Fault, Pause, Relay, Tear, Throttle, relay
from scripted import asynchronous

DATA = random.Random("bytes").randbytes(20_000)


class End:
    """What a server has got, and whether its connection is over."""

    def __init__(self) -> None:
        self.got = b""
        self.over = asyncio.Event()
        self.changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.got += data
                self.changed.set()
        except OSError:
            pass
        finally:
            writer.close()
            self.over.set()

    async def has(self, size: int) -> None:
        while len(self.got) < size:
            self.changed.clear()
            await self.changed.wait()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Relay, End, asyncio.StreamReader, asyncio.StreamWriter]]:
    end = End()
    server = await asyncio.start_server(end.serve, HOST, 0)
    async with server, relay(server.sockets[0].getsockname()[1]) as way:
        reader, writer = await asyncio.open_connection(HOST, way.port)
        yield way, end, reader, writer
        writer.close()


@pytest.mark.parametrize("make", [lambda: Delay(random.Random(1), 0.05), lambda: Throttle(100_000)])
@asynchronous
async def test_a_slow_way_passes_on_everything_once(make: Callable[[], Fault]) -> None:
    async with connected() as (way, end, _, writer):
        way.impose(make(), "broker")
        begun = asyncio.get_running_loop().time()
        for at in range(0, len(DATA), 1000):
            writer.write(DATA[at : at + 1000])
            await writer.drain()
            await asyncio.sleep(0)
        await end.has(len(DATA))
        assert end.got == DATA
        assert asyncio.get_running_loop().time() - begun > 0.005


@asynchronous
async def test_a_throttled_way_takes_its_time() -> None:
    async with connected() as (way, end, _, writer):
        way.impose(Throttle(100_000), "broker")
        begun = asyncio.get_running_loop().time()
        writer.write(DATA)
        await end.has(len(DATA))
        assert asyncio.get_running_loop().time() - begun > 0.19


@asynchronous
async def test_a_torn_way_passes_on_so_many_bytes_and_no_more() -> None:
    async with connected() as (way, end, reader, writer):
        way.impose(Tear(777), "broker")
        writer.write(DATA)
        await end.over.wait()
        assert end.got == DATA[:777]
        with suppress(OSError):
            assert not await reader.read()


@asynchronous
async def test_what_a_paused_way_held_back_comes_later() -> None:
    async with connected() as (way, end, _, writer):
        way.impose(Pause(), "broker", "client")
        writer.write(DATA)
        await asyncio.sleep(0.05)
        assert end.got == b""
        await way.mend()
        await end.has(len(DATA))
        assert end.got == DATA


@asynchronous
async def test_a_black_hole_keeps_connections_and_swallows_what_is_sent_and_spoils_them() -> None:
    async with connected() as (way, end, _, writer):
        writer.write(b"before")
        await end.has(6)
        way.impose(BlackHole(), "broker", "client")
        writer.write(DATA)
        await asyncio.sleep(0.05)
        _, another = await asyncio.open_connection(HOST, way.port)  # is accepted
        another.close()
        assert not end.over.is_set()
        await way.mend()
        await end.over.wait()
        assert end.got == b"before"


@asynchronous
async def test_a_bit_that_tips_over_is_one() -> None:
    async with connected() as (way, end, _, writer):
        fault = Corrupt(random.Random(3), 4321)
        way.impose(fault, "broker")
        writer.write(DATA)
        await end.has(len(DATA))
        assert fault.struck in way.connections
        [(was, became)] = [pair for pair in zip(DATA, end.got, strict=True) if pair[0] != pair[1]]
        assert (was ^ became).bit_count() == 1


@asynchronous
async def test_a_way_that_refuses_keeps_the_connections_that_it_has() -> None:
    async with connected() as (way, end, _, writer):
        writer.write(b"1")
        await end.has(1)
        way.refuse()
        with pytest.raises(OSError):
            await asyncio.open_connection(HOST, way.port)
        writer.write(b"2")
        await end.has(2)
        await way.mend()
        _, another = await asyncio.open_connection(HOST, way.port)
        another.close()


@pytest.mark.parametrize("name", [*BREAKING, *SLOWING])
@asynchronous
async def test_a_way_is_as_before_when_it_was_mended(name: str) -> None:
    async with connected() as (way, end, _, writer):
        way.impose({**BREAKING, **SLOWING}[name](random.Random(5)), "broker", "client")
        writer.write(DATA)
        await asyncio.sleep(0.02)
        await way.mend()
        writer.close()
        await end.over.wait()
        end.got = b""
        _, another = await asyncio.open_connection(HOST, way.port)
        another.write(DATA)
        await end.has(len(DATA))
        assert end.got == DATA
        another.close()
