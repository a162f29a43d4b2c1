"""What WebSockets add to a message: client CPU of publish_many over WSS, against the same over plain TLS.

    python benchmarks/wss.py

The server is a process of its own, which acknowledges each QoS 1 message in a frame of its own, as brokers do: the most
work that a WebSocket can make of it. The two ways take turns, and the best of each counts. Exit status 1 where WSS adds
more than AIM_US.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import multiprocessing
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iotwire import BlockingClient, Broker, Client, Tls
from iotwire._websocket import FrameReader, encode_frame
from iotwire.emulator.pki import Authority
from iotwire.mqtt import ConnAck, Connect, Decoder, PubAck, Publish

AIM_US = 1.0
MESSAGES = 40_000
TURNS = 7
ITEMS = [("sensors/room1", bytes(256))] * MESSAGES


class Server(asyncio.Protocol):
    """Takes everything. is_websocket: whether what it is sent is in frames, behind an upgrade."""

    def __init__(self, *, is_websocket: bool) -> None:
        self._is_open = not is_websocket
        self._reader = FrameReader(is_masked=True) if is_websocket else None
        self._decoder = Decoder(5)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            key = next(line for line in data.decode().split("\r\n") if line.startswith("Sec-WebSocket-Key")).split()[1]
            accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
            self._transport.write(
                b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Protocol: mqtt\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            self._is_open = True
            return
        frame: Callable[[bytes], bytes] = bytes
        if self._reader is not None:
            frame = encode_frame
            buffer = bytearray(data)
            data = bytes(buffer[: self._reader.strip(buffer, len(buffer))])
        answers = []
        for packet in self._decoder.feed(data):
            if isinstance(packet, Publish) and packet.qos:
                answers.append(frame(PubAck(packet.packet_id).encode()))
            elif isinstance(packet, Connect):
                answers.append(frame(ConnAck().encode()))
        self._transport.write(b"".join(answers))


def serve(folder: str, pipe: Any) -> None:
    async def main() -> None:
        issued = Authority(Path(folder)).issue_server(["127.0.0.1"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.cert, issued.key)
        loop = asyncio.get_running_loop()
        ports = []
        for is_websocket in (False, True):
            make = lambda is_websocket=is_websocket: Server(is_websocket=is_websocket)  # noqa: E731
            server = await loop.create_server(make, "127.0.0.1", 0, ssl=context)
            ports.append(server.sockets[0].getsockname()[1])
        pipe.send((ports, issued.ca))
        await asyncio.Event().wait()

    asyncio.run(main())


def cpu_of_asyncio(route: Broker, qos: int) -> float:
    async def main() -> float:
        async with Client(route, "bench", max_queued=MESSAGES) as client:
            await client.publish_many(ITEMS[:1000], qos=qos)
            began = time.process_time()
            await client.publish_many(ITEMS, qos=qos)
            return time.process_time() - began

    return asyncio.run(main())


def cpu_of_threads(route: Broker, qos: int) -> float:
    with BlockingClient(route, "bench", max_queued=MESSAGES) as client:
        client.publish_many(ITEMS[:1000], qos=qos)
        began = time.process_time()
        client.publish_many(ITEMS, qos=qos)
        return time.process_time() - began


def main() -> int:
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(folder, theirs), daemon=True)
        server.start()
        theirs.close()  # so that its end is seen
        try:
            (tls_port, wss_port), ca = ours.recv()
            tls = Broker("127.0.0.1", tls_port, tls=Tls(ca=ca))
            wss = Broker("127.0.0.1", wss_port, tls=Tls(ca=ca), websocket_path="/mqtt")
            return report(tls, wss)
        finally:
            server.terminate()


def report(tls: Broker, wss: Broker) -> int:
    worst = 0.0
    print("client     QoS     TLS     WSS   added (us of CPU for a message of 256 B)")
    for name, cpu in (("asyncio", cpu_of_asyncio), ("threads", cpu_of_threads)):
        for qos in (0, 1):
            pairs = [(cpu(tls, qos), cpu(wss, qos)) for _ in range(TURNS)]
            over_tls, over_wss = (min(each) / MESSAGES * 1e6 for each in zip(*pairs, strict=True))
            worst = max(worst, over_wss - over_tls)
            print(f"{name:10} {qos:3} {over_tls:7.2f} {over_wss:7.2f} {over_wss - over_tls:7.2f}")
    return int(worst > AIM_US)


if __name__ == "__main__":
    sys.exit(main())
