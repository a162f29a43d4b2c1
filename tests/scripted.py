"""A server that does exactly what a test tells it to, byte for byte, and the loop that such tests run in."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from iotwire import Backoff, Broker, Client, Tls
from iotwire.mqtt import ConnAck, Connect, Decoder, Packet, PingReq, PingResp, PubAck, PubComp, Publish, PubRec, PubRel

TEST_TIMEOUT_S = 20.0

P = TypeVar("P", bound=Packet)


MakeLoop = Callable[[], asyncio.AbstractEventLoop]


def _loops() -> dict[str, MakeLoop | None]:
    try:
        import uvloop
    except ImportError:  # no wheel for this interpreter or architecture
        return {"asyncio": None}
    return {"asyncio": None, "uvloop": uvloop.new_event_loop}


LOOPS = _loops()
# For a test that takes `make_loop`.
ON_EVERY_LOOP = pytest.mark.parametrize("make_loop", list(LOOPS.values()), ids=list(LOOPS))


def asynchronous_on(make_loop: MakeLoop | None) -> Callable[..., Any]:
    """Run a test on an event loop of its own; what the loop had to complain about fails the test too."""

    def decorate(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*arguments: Any, **keywords: Any) -> None:
            complaints: list[dict[str, Any]] = []

            async def bounded() -> None:
                asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
                async with asyncio.timeout(TEST_TIMEOUT_S):
                    await test(*arguments, **keywords)

            with asyncio.Runner(loop_factory=keywords.get("make_loop", make_loop)) as runner:
                runner.run(bounded())
            assert not complaints, complaints

        return run

    return decorate


asynchronous = asynchronous_on(None)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something is so, for what nobody announces. The time limit of the test is the bound."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


# A client that ends with its connection, at once: for tests of one connection.
one_connection = functools.partial(Client, reconnect=None, drain_timeout_s=0.0)
# A client that is back within milliseconds: for tests of several connections.
reconnecting = functools.partial(Client, reconnect=Backoff(base_s=0.001, max_s=0.008), drain_timeout_s=0.0)


class Peer:
    """The server's end of one connection: reads the client's packets, and sends packets or any bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int) -> None:
        self.reader = reader
        self.writer = writer
        self.version = version
        self._decoder = Decoder(version)
        self._packets: list[Packet] = []

    async def receive(self) -> Packet | None:
        """The next packet, or None where the client has closed."""
        while not self._packets:
            data = await self.reader.read(65536)
            if not data:
                return None
            self._packets += self._decoder.feed(data)
        return self._packets.pop(0)

    async def expect(self, kind: type[P]) -> P:
        packet = await self.receive()
        assert isinstance(packet, kind), packet
        return packet

    async def expect_close(self) -> None:
        assert await self.receive() is None

    def send(self, *items: Packet | bytes) -> None:
        """All in one write."""
        self.writer.write(b"".join(each if isinstance(each, bytes) else each.encode(self.version) for each in items))

    async def accept(self, **connack: Any) -> Connect:
        """Take the CONNECT and send a CONNACK."""
        connect = await self.expect(Connect)
        self.send(ConnAck(**connack))
        return connect

    async def answer_pings_until_close(self) -> None:
        while (packet := await self.receive()) is not None:
            if isinstance(packet, PingReq):
                self.send(PingResp())


Script = Callable[[Peer], Awaitable[None]]


def in_turn(*scripts: Script) -> Script:
    """A script for each connection, in order; the last one for all that come after it."""
    waiting = list(scripts)

    async def script(peer: Peer) -> None:
        await (waiting.pop(0) if len(waiting) > 1 else waiting[0])(peer)

    return script


class Taking:
    """The script of a server that notes the messages it is sent, and acknowledges them while it may."""

    def __init__(self, **connack: Any) -> None:
        self.seen: list[Publish] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._connack = connack

    @property
    def payloads(self) -> list[bytes]:
        return [bytes(each.payload) for each in self.seen]

    async def __call__(self, peer: Peer) -> None:
        await peer.accept(**self._connack)
        while (packet := await peer.receive()) is not None:
            if isinstance(packet, Publish):
                self.seen.append(packet)
            await self.may_answer.wait()
            if isinstance(packet, Publish) and packet.qos:
                peer.send(PubAck(packet.packet_id) if packet.qos == 1 else PubRec(packet.packet_id))
            elif isinstance(packet, PubRel):
                peer.send(PubComp(packet.packet_id))
            elif isinstance(packet, PingReq):
                peer.send(PingResp())


@asynccontextmanager
async def scripted(
    script: Script, *, version: int = 5, context: ssl.SSLContext | None = None, tls: Tls | None = None
) -> AsyncIterator[Broker]:
    """A server on 127.0.0.1 that runs the script for each connection. A failure in the script fails the test.

    context: the server's end of TLS, tls: the client's.
    """
    failures: list[BaseException] = []
    running: set[asyncio.Task[None]] = set()
    test = asyncio.current_task()
    assert test is not None

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(Peer(reader, writer, version))
        except Exception as error:  # noqa: BLE001 -- raised below
            failures.append(error)
            test.cancel()  # nothing that it waits for will come
        finally:
            writer.close()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(run(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield Broker("127.0.0.1", server.sockets[0].getsockname()[1], tls=tls)
        if running:
            await asyncio.wait(running, timeout=5)
    except BaseException:
        if failures:
            test.uncancel()
            raise failures[0] from None
        raise
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()
