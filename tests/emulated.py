"""An emulator to test against, and devices that connect to it by hand."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import h11
import pytest

from iotwire import X509, Client, CustomAuth
from iotwire._websocket import encode_frame
from iotwire.custom_auth import TokenSigner
from iotwire.emulator import Emulator, EmulatorLimits
from iotwire.emulator.pki import make_token_key
from iotwire.mqtt import ConnAck, Connect, Decoder
from iotwire.route import TlsPlan
from iotwire.sigv4 import Credentials, Signer, presign_mqtt_url
from iotwire.transport import make_client_context
from scripted import Peer

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])
BOTH_PORTS = pytest.mark.parametrize("port", [8883, 443])


def an_emulator(limits: EmulatorLimits | None = None) -> Emulator:
    """An emulator that does not wait long for raw connections, which do not close by themselves."""
    return Emulator(limits=replace(limits or EmulatorLimits(), close_timeout_s=0.1))


def device_context(emulator: Emulator, *, certificate: X509 | None = None) -> ssl.SSLContext:
    """What a device's own TLS would be, to be bent by a test."""
    plan = TlsPlan(emulator.host, certificate=certificate or emulator.device, ca=emulator.device.ca)
    return make_client_context(plan)


@asynccontextmanager
async def raw_connection(emulator: Emulator, *, version: int = 5) -> AsyncIterator[Peer]:
    """A TLS connection to the emulator, and bytes and packets over it as a test likes."""
    reader, writer = await asyncio.open_connection(
        emulator.addresses[0], emulator.ports[8883], ssl=device_context(emulator), server_hostname=emulator.host
    )
    try:
        yield Peer(reader, writer, version)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def raw_device(emulator: Emulator, connect: Connect, *, version: int = 5) -> AsyncIterator[Peer]:
    """The same, connected."""
    async with raw_connection(emulator, version=version) as peer:
        peer.send(connect)
        assert (await peer.expect(ConnAck)).reason_code == 0
        yield peer


def a_client(emulator: Emulator, client_id: str, **options: Any) -> Client:
    return Client(emulator.endpoint.route("mqtt", emulator.device), client_id, **options)


class HttpPeer:
    """An HTTP client by hand: bytes out, and answers in as h11 reads them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._parser = h11.Connection(h11.CLIENT)

    async def ask(self, request: bytes, *, method: bytes = b"POST") -> tuple[int, dict[str, str], Any]:
        """Send a request as it stands, and read what comes back: status, headers and the JSON of the body."""
        self.writer.write(request)
        return await self.answer(method=method)

    async def answer(self, *, method: bytes = b"POST") -> tuple[int, dict[str, str], Any]:
        parser = self._parser
        if parser.our_state is h11.DONE:
            parser.start_next_cycle()
        if parser.our_state is h11.IDLE:  # h11 reads answers to questions it knows of
            parser.send(h11.Request(method=method, target=b"/", headers=[("Host", "x")]))
            parser.send(h11.EndOfMessage())
        response, body = None, b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await self.reader.read(4096))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert response is not None
                headers = {name.decode(): value.decode() for name, value in response.headers}
                return response.status_code, headers, json.loads(body) if body else None

    async def expect_close(self) -> None:
        assert await self.reader.read(1) == b""


@asynccontextmanager
async def http_connection(
    emulator: Emulator,
    *,
    port: int = 8443,
    alpn: str | None = None,
    certificate: bool = True,
    receive_buffer: int | None = None,
) -> AsyncIterator[HttpPeer]:
    """A TLS connection to the HTTPS interface. receive_buffer: of the socket, in bytes; None for what is usual."""
    plan = TlsPlan(
        emulator.host,
        alpn=() if alpn is None else (alpn,),
        certificate=emulator.device if certificate else None,
        ca=emulator.device.ca,
    )
    connecting = socket.socket(socket.AF_INET6 if ":" in emulator.addresses[0] else socket.AF_INET)
    connecting.setblocking(False)
    if receive_buffer is not None:
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(connecting, (emulator.addresses[0], emulator.ports[port]))
    reader, writer = await asyncio.open_connection(
        sock=connecting, ssl=make_client_context(plan), server_hostname=emulator.host
    )
    try:
        yield HttpPeer(reader, writer)
    finally:
        writer.transport.abort()


# Signatures, custom authorizers and WebSockets, by hand.

ALLOW_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
TOKEN = "a secret token+/=%?&"
TOKEN_KEY = "TokenKey"


@functools.cache
def token_keys() -> tuple[bytes, bytes]:
    """A private key and its public key, for the tokens of a custom authorizer."""
    return make_token_key()


def an_answer(**changes: Any) -> dict[str, Any]:
    """What an authorizer says who lets anyone do anything."""
    answer = {
        "isAuthenticated": True,
        "principalId": "somebody",
        "disconnectAfterInSeconds": 3600,
        "refreshAfterInSeconds": 300,
        "policyDocuments": [ALLOW_ALL],
    }
    return {**answer, **changes}


def add_authorizer(
    emulator: Emulator, function: Any = lambda event: an_answer(), name: str = "gate", **more: Any
) -> None:
    emulator.add_authorizer(name, function, token_key_name=TOKEN_KEY, public_keys=[token_keys()[1]], **more)


def custom_auth(name: str | None = "gate", **more: Any) -> CustomAuth:
    return CustomAuth(name, token_key_name=TOKEN_KEY, token=TOKEN, signer=TokenSigner(token_keys()[0]), **more)


class WebSocketPeer:
    """A device over a WebSocket by hand: packets in frames of its own making."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int) -> None:
        self.reader = reader
        self.writer = writer
        self.version = version
        self._decoder = Decoder(version)
        self._packets: list[Any] = []

    async def take_answer(self) -> tuple[int, dict[str, str], bytes]:
        """The answer to an upgrade: status, headers, and the body of a refusal."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split()[1]), headers, body

    def send_frame(self, payload: bytes, opcode: int = 2, *, mask: bytes | None = b"mask") -> None:
        self.writer.write(encode_frame(payload, mask, opcode))

    def send(self, *packets: Any) -> None:
        """All in one frame."""
        self.send_frame(b"".join(each.encode(self.version) for each in packets))

    async def take_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame, which a server never masks nor, here, splits."""
        first, second = await self.reader.readexactly(2)
        assert first & 0xF0 == 0x80
        size = second
        if size >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    async def take_packet(self) -> Any:
        while not self._packets:
            opcode, payload = await self.take_frame()
            assert opcode == 2, (opcode, payload)
            self._packets += self._decoder.feed(payload)
        return self._packets.pop(0)

    async def expect_close(self, code: int) -> None:
        """The server's Close, with this status, and then the end of the connection."""
        while True:
            opcode, payload = await self.take_frame()
            if opcode == 8:
                break
        assert int.from_bytes(payload[:2], "big") == code
        assert await self.reader.read() == b""


def upgrade_request(
    emulator: Emulator, target: str = "/mqtt", *more: str, leave_out: str = "", method: str = "GET"
) -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: {emulator.host}",
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==",
        "Sec-WebSocket-Protocol: mqttv3.1, mqtt",
    ]
    names = {line.partition(":")[0].lower() for line in more} | {leave_out.lower()}
    kept = [line for line in lines if line.partition(":")[0].lower() not in names]
    return "\r\n".join([*kept, *(line for line in more if line.partition(":")[2]), "", ""]).encode()


@asynccontextmanager
async def websocket_connection(emulator: Emulator, request: bytes, *, version: int = 5) -> AsyncIterator[WebSocketPeer]:
    """A TLS connection on 443 that has sent a request; the answer is for the test to read."""
    context = make_client_context(TlsPlan(emulator.host, ca=emulator.ca))
    reader, writer = await asyncio.open_connection(
        emulator.addresses[0], emulator.ports[443], ssl=context, server_hostname=emulator.host
    )
    try:
        peer = WebSocketPeer(reader, writer, version)
        writer.write(request)
        yield peer
    finally:
        writer.transport.abort()


def presigned_target(emulator: Emulator, **changes: Any) -> str:
    """Path and query of a signed WebSocket."""
    arguments = {"credentials": emulator.credentials[0], "region": emulator.region, **changes}
    url = presign_mqtt_url(
        arguments.pop("host", emulator.host), arguments.pop("region"), arguments.pop("credentials"), **arguments
    )
    return url[url.index("/", len("wss://")) :]


def signed_request(
    emulator: Emulator,
    target: str = "/topics/readings%2Fa?qos=1",
    body: bytes = b"21.5",
    *more: tuple[str, str],
    method: str = "POST",
    now: datetime | None = None,
    region: str | None = None,
    service: str = "iotdata",
    credentials: Credentials | None = None,
) -> bytes:
    """A request of the HTTPS interface with a signature. more: other headers, which are signed too."""
    headers = [("host", emulator.host), *more]
    signer = Signer(region or emulator.region, service)
    added = signer.sign_headers(
        method,
        f"https://{emulator.host}{target}",
        headers,
        body,
        credentials or emulator.credentials[0],
        now=now or datetime.now(UTC),
    )
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in (*headers, *added.items()))]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body
