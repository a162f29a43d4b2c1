"""The emulator's first look: where a ClientHello goes, and what hostile first bytes cannot do."""

from __future__ import annotations

import asyncio
import gc
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from emulated import a_client, an_emulator, device_context
from iotwire.emulator import Emulator, EmulatorLimits
from iotwire.emulator.peek import MAX_HELLO_BYTES, HelloRefusedError, Way, find_way, ways_of
from iotwire.tls import ClientHello
from scripted import ON_EVERY_LOOP, MakeLoop, asynchronous, asynchronous_on, until

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

NAMES = frozenset({"a1b2c3-ats.iot.local.test", "localhost"})
NAME = "a1b2c3-ats.iot.local.test"
HANDSHAKE_FAILURE, DECODE_ERROR, UNRECOGNIZED_NAME, NO_APPLICATION_PROTOCOL = 40, 50, 112, 120


# Where it goes.


@pytest.mark.parametrize(
    ("port", "alpn", "way"),
    [
        (8883, (), Way("mqtt", None, is_x509=True)),
        (443, ("x-amzn-mqtt-ca",), Way("mqtt", "x-amzn-mqtt-ca", is_x509=True)),
        (443, ("h2", "x-amzn-mqtt-ca"), Way("mqtt", "x-amzn-mqtt-ca", is_x509=True)),
        (443, ("x-amzn-http-ca",), Way("https", "x-amzn-http-ca", is_x509=True)),
        (443, ("x-amzn-http-ca", "http/1.1"), Way("https", "x-amzn-http-ca", is_x509=True)),
        (443, ("mqtt",), Way("mqtt", "mqtt", is_x509=False)),
        (443, (), Way("https", None, is_x509=False)),
        (443, ("h2", "http/1.1"), Way("https", "http/1.1", is_x509=False)),
        (8443, (), Way("https", None, is_x509=True)),
        (8443, ("h2", "http/1.1"), Way("https", "http/1.1", is_x509=True)),
    ],
)
def test_port_and_alpn_choose_a_row_of_the_matrix(port: int, alpn: tuple[str, ...], way: Way) -> None:
    for name in (NAME, "localhost", NAME.upper()):
        assert find_way(ClientHello(name, alpn), port, NAMES) == way
    assert way in ways_of(port)


@pytest.mark.parametrize(
    ("port", "alpn"),
    [
        (8883, ("x-amzn-mqtt-ca",)),
        (8883, ("mqtt",)),
        (8883, ("http/1.1",)),
        (443, ("h2",)),
        (443, ("X-AMZN-MQTT-CA",)),
        (443, ("x-amzn-mqtt-c",)),
        (8443, ("x-amzn-http-ca",)),
        (8443, ("h2",)),
    ],
)
def test_an_alpn_name_without_a_row_on_the_port_is_refused(port: int, alpn: tuple[str, ...]) -> None:
    with pytest.raises(HelloRefusedError) as caught:
        find_way(ClientHello(NAME, alpn), port, NAMES)
    assert caught.value.alert == NO_APPLICATION_PROTOCOL


@pytest.mark.parametrize("name", [None, "another-ats.iot.local.test", f"x.{NAME}"])
@pytest.mark.parametrize("port", [8883, 443, 8443])
def test_a_server_name_that_is_not_the_endpoints_is_refused_whatever_the_alpn(name: str | None, port: int) -> None:
    for alpn in ((), ("x-amzn-mqtt-ca",), ("unknown",)):
        with pytest.raises(HelloRefusedError) as caught:
            find_way(ClientHello(name, alpn), port, NAMES)
        assert caught.value.alert == UNRECOGNIZED_NAME


# What a client sees of it.


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("port", [8883, 443, 8443])
@asynchronous
async def test_the_alert_says_what_was_wrong_with_the_hello(port: int, newest: ssl.TLSVersion) -> None:
    async with an_emulator() as emulator:
        for address in emulator.addresses:
            for name, alpn, reason in (
                ("", None, "unrecognized name"),
                ("another-ats.iot.local.test", None, "unrecognized name"),
                (emulator.host, "unknown", "no application protocol"),
            ):
                context = device_context(emulator)
                context.check_hostname = False
                context.maximum_version = newest
                if alpn is not None:
                    context.set_alpn_protocols([alpn])
                with pytest.raises(ssl.SSLError, match=rf"(?i){reason.replace(' ', '.')}"):
                    await asyncio.open_connection(address, emulator.ports[port], ssl=context, server_hostname=name)
        assert emulator.stats().accepted_connections == 0
        assert emulator.stats().refused_connections == 3 * len(emulator.addresses)


# First bytes.


@asynccontextmanager
async def plain_connection(
    emulator: Emulator, port: int = 8883
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(emulator.addresses[0], emulator.ports[port])
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def client_session(emulator: Emulator) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = device_context(emulator).wrap_bio(incoming, outgoing, server_hostname=emulator.host)
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return session, incoming, outgoing


def in_records_of(hello: bytes, size: int) -> bytes:
    """The handshake message of one record, over several."""
    message = hello[5:]
    parts = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(hello[:3] + len(part).to_bytes(2, "big") + part for part in parts)


@ON_EVERY_LOOP
def test_a_hello_may_come_in_pieces_and_in_any_records(make_loop: MakeLoop | None) -> None:
    async def test() -> None:
        async with an_emulator() as emulator:
            for record, piece in ((None, 1), (None, 100_000), (1, 100_000), (100, 7)):
                session, incoming, outgoing = client_session(emulator)
                hello = outgoing.read()
                if record is not None:
                    hello = in_records_of(hello, record)
                async with plain_connection(emulator) as (reader, writer):
                    for start in range(0, len(hello), piece):
                        writer.write(hello[start : start + piece])
                        await writer.drain()
                        await asyncio.sleep(0)
                    while True:
                        received = await reader.read(4096)
                        assert received
                        incoming.write(received)
                        try:
                            session.do_handshake()
                            break
                        except ssl.SSLWantReadError:
                            continue
                    assert session.version() == "TLSv1.3"

    asynchronous_on(make_loop)(test)()


@ON_EVERY_LOOP
def test_hellos_that_come_together_do_not_mix(make_loop: MakeLoop | None) -> None:
    async def test() -> None:
        async with an_emulator() as emulator:
            clients = [a_client(emulator, f"device-{number}") for number in range(8)]
            await asyncio.gather(*(client.connect() for client in clients))
            assert emulator.stats().accepted_connections == 8
            await asyncio.gather(*(client.disconnect() for client in clients))

    asynchronous_on(make_loop)(test)()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        bytes(64),
        b"\xff" * 64,
        b"\x16\x03\x01\x00\x00" * 4,  # empty records
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # a ServerHello
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
        b"\x17\x03\x03\x00\x01\x00",  # application data
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",  # a ClientHello of one byte
        b"\x80\x2e\x01\x03\x01",  # SSL 2
    ],
)
@pytest.mark.parametrize("port", [8883, 443, 8443])
@asynchronous
async def test_first_bytes_that_are_no_hello_are_answered_with_an_alert_and_closed(port: int, sent: bytes) -> None:
    async with an_emulator() as emulator, plain_connection(emulator, port) as (reader, writer):
        writer.write(sent)
        answer = await reader.read()
        assert len(answer) == 7
        assert (answer[0], answer[3:6]) == (21, b"\x00\x02\x02")  # one fatal alert
        await until(lambda: emulator.stats().refused_connections == 1)


@asynchronous
async def test_no_damage_to_a_hello_upsets_the_emulator() -> None:
    chance = random.Random(443)
    async with an_emulator() as emulator:
        for number in range(200):
            hello = bytearray(client_session(emulator)[2].read())
            for _ in range(chance.choice((1, 1, 2, 8))):
                place = chance.randrange(len(hello))
                match chance.randrange(3):
                    case 0:
                        hello[place] = chance.randrange(256)
                    case 1:
                        del hello[place : place + chance.randrange(1, 9)]
                    case _:
                        hello[place:place] = chance.randbytes(chance.randrange(1, 9))
            async with plain_connection(emulator, chance.choice((8883, 443, 8443))) as (reader, writer):
                writer.write(hello)
                writer.write_eof()
                await reader.read()  # an alert, or a ServerHello for one that is still right
            await until(lambda count=number + 1: emulator.stats().refused_connections == count)
        async with a_client(emulator, "device"):
            pass
        gc.collect()  # a task that failed and that nobody asked is complained about when it goes


@asynchronous
async def test_a_hello_without_end_is_not_stored() -> None:
    async with an_emulator() as emulator, plain_connection(emulator) as (reader, writer):
        message = b"\x01\xff\xff\xff" + bytes(4 * MAX_HELLO_BYTES)
        hello = b"\x16\x03\x01\x00\x00" + message
        writer.write(in_records_of(hello, 2**14))
        answer = await reader.read()
        assert answer[:6] == b"\x15\x03\x03\x00\x02\x02"


@pytest.mark.parametrize("size", [0, 1, 4, 5, 100])
@asynchronous
async def test_a_hello_that_stops_is_not_waited_for(size: int) -> None:
    limits = EmulatorLimits(handshake_timeout_s=0.2)
    async with an_emulator(limits) as emulator, plain_connection(emulator) as (reader, writer):
        _, _, outgoing = client_session(emulator)
        writer.write(outgoing.read()[:size])
        assert await reader.read() == b""
        assert emulator.stats().refused_connections == 1


@asynchronous
async def test_a_handshake_that_stops_after_the_hello_is_not_waited_for() -> None:
    async with an_emulator(EmulatorLimits(handshake_timeout_s=1.0)) as emulator:
        _, _, outgoing = client_session(emulator)
        async with plain_connection(emulator) as (reader, writer):
            writer.write(outgoing.read())
            assert (await reader.read())[:1] == b"\x16"  # a ServerHello, and no more than the rest of its flight
            assert emulator.stats().refused_connections == 1


@pytest.mark.parametrize("size", [0, 1, 100, None], ids=["nothing", "a byte", "a part", "a hello"])
@asynchronous
async def test_a_peer_that_stops_sending_is_let_go_at_once(size: int | None) -> None:
    async with an_emulator() as emulator, plain_connection(emulator) as (reader, writer):
        _, _, outgoing = client_session(emulator)
        writer.write(outgoing.read()[:size])
        writer.write_eof()
        await reader.read()
        await until(lambda: emulator.stats().refused_connections == 1)


@asynchronous
async def test_connections_count_from_their_first_moment_on() -> None:
    async with an_emulator(EmulatorLimits(max_connections=2)) as emulator:
        async with plain_connection(emulator) as (_, silent):
            silent.write(b"\x16")
            async with a_client(emulator, "device"):
                async with plain_connection(emulator, 443) as (reader, _):
                    assert await reader.read() == b""
                assert emulator.stats().refused_connections == 1
        await until(lambda: emulator.stats().refused_connections == 2)
        async with a_client(emulator, "device"), a_client(emulator, "another"):
            pass


@asynchronous
async def test_the_end_of_the_emulator_ends_what_is_still_arriving() -> None:
    async with an_emulator() as emulator:
        reader, writer = await asyncio.open_connection(emulator.addresses[0], emulator.ports[8883])
        writer.write(b"\x16\x03")
        other_reader, other_writer = await asyncio.open_connection(emulator.addresses[0], emulator.ports[8443])
        _, _, outgoing = client_session(emulator)
        other_writer.write(outgoing.read())
        assert await other_reader.read(1) == b"\x16"
    assert await reader.read() == b""
    await other_reader.read()
    writer.close()
    other_writer.close()
