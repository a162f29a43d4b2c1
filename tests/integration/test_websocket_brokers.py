"""Both clients over WebSockets with real servers: mosquitto (3.1.1 and 5, with and without TLS), aedes, Python's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_proxies import proxies  # noqa: F401 -- a fixture

from brokers import Aedes, Mosquitto, free_ports
from iotwire import X509, Backoff, BlockingClient, Broker, ConnectError, Proxy, Route, Tls
from iotwire.mqtt import Subscription
from scripted_websocket import LoopClient, ThreadClient, Wrapped

pytestmark = pytest.mark.broker

NAME = "localhost"
ON_BOTH = pytest.mark.parametrize("make_client", [LoopClient, ThreadClient], ids=["asyncio", "threads"])


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Route]]:
    """Ways to a mosquitto: ws, wss with a client certificate, and the port where it speaks MQTT without WebSockets."""
    pytest.importorskip("cryptography", reason="the broker's certificates are made with the package cryptography")
    from iotwire.emulator.pki import Authority

    folder = tmp_path_factory.mktemp("mosquitto")
    authority = Authority(folder)
    issued = authority.issue_server([NAME, "127.0.0.1"])
    device: X509 = authority.issue_device("device")
    plain, tls = free_ports(2)
    further = [f"listener {plain} 127.0.0.1", "protocol websockets", "allow_anonymous true"]
    further += [f"listener {tls} 127.0.0.1", "protocol websockets", "allow_anonymous true", "require_certificate true"]
    further += [f"cafile {issued.ca}", f"certfile {issued.cert}", f"keyfile {issued.key}"]
    with Mosquitto(folder, further=further) as broker:
        yield {
            "ws": Broker("127.0.0.1", plain, websocket_path="/mqtt"),
            "wss": Broker("127.0.0.1", tls, tls=Tls(certificate=device), websocket_path="/mqtt"),
            "wss by name": Broker(NAME, tls, tls=device, websocket_path="/"),
            "stranger": Broker("127.0.0.1", tls, tls=Tls(ca=device.ca), websocket_path="/mqtt"),
            "no websocket": Broker("127.0.0.1", broker.port, websocket_path="/mqtt"),
        }


@pytest.fixture(scope="module")
def aedes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Aedes(tmp_path_factory.mktemp("aedes")) as broker:
        yield Broker("127.0.0.1", broker.websocket_port, websocket_path="/mqtt")


# mosquitto 2.0.11, the one of Debian 12, takes 1.5 s for each 64 KiB over WebSockets, whoever sends them.
SMALL = (0, 1, 117, 125, 126, 4000, 6000)
LARGE = (*SMALL, 65_530, 65_536, 200_000)


def exchange(client: Any, prefix: str, highest: int, sizes: tuple[int, ...] = SMALL) -> None:
    """Send messages of all sizes and qualities to oneself."""
    expected = [(f"{prefix}/{qos}/{size}", size) for qos in range(highest + 1) for size in sizes]
    client.subscribe(Subscription(f"{prefix}/#", highest))
    for number, (topic, size) in enumerate(expected):
        client.publish(topic, bytes(size), number // len(sizes))
    received = []
    for _ in expected:
        message = client.next_message()
        received.append((message.topic, len(message.payload)))
    assert received == expected


@ON_BOTH
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("way", ["ws", "wss", "wss by name"])
def test_mosquitto(mosquitto: dict[str, Route], make_client: Any, version: int, way: str) -> None:
    with make_client(mosquitto[way], f"{make_client.__name__}-{version}", version=version) as client:
        assert client.security.startswith("none" if way == "ws" else "TLSv1.")
        exchange(client, f"{make_client.__name__}/{version}/{way}", 2)


@ON_BOTH
def test_many_messages_at_once_arrive_in_order(mosquitto: dict[str, Route], make_client: Any) -> None:
    with make_client(mosquitto["wss"], make_client.__name__, max_queued=20_000) as client:
        client.subscribe("many", 1)
        report = client.publish_many([("many", b"%d" % n) for n in range(3000)], qos=1)
        assert not report.failures
        assert [int(client.next_message().payload) for _ in range(900)] == list(range(900))


@ON_BOTH
def test_no_message_is_lost_when_a_connection_makes_way_for_the_next_one(
    mosquitto: dict[str, Route], make_client: Any
) -> None:
    """In either direction: the server keeps its side of the session meanwhile."""
    broker = mosquitto["wss"]
    assert isinstance(broker, Broker)
    route = Wrapped(broker, max_connection_s=0.3)
    name = f"renewed-{make_client.__name__}"
    options = {"session_expiry_interval": 60, "clean_start": False, "reconnect": Backoff(base_s=300, max_s=300)}
    with make_client(route, name, **options) as client, BlockingClient(broker, f"{name}-sender") as sender:
        client.subscribe(name, 1)
        seen: set[int] = set()
        sent = 0
        while len(route.prepared) < 5:
            (client if sent % 2 else sender).publish(name, b"%d" % sent, 1)
            sent += 1
            while len(seen) < sent - 50:  # mosquitto keeps a thousand for a client, and drops the rest
                seen.add(int(client.next_message().payload))
        while len(seen) < sent:
            seen.add(int(client.next_message().payload))
    assert seen == set(range(sent))


@ON_BOTH
def test_aedes(aedes: Broker, make_client: Any) -> None:
    with make_client(aedes, make_client.__name__, version=4) as client:
        exchange(client, make_client.__name__, 2, LARGE)


@ON_BOTH
def test_what_speaks_no_websockets_is_told_so(mosquitto: dict[str, Route], make_client: Any) -> None:
    with pytest.raises(ConnectError) as caught:
        make_client(mosquitto["no websocket"], "c", reconnect=None).__enter__()
    assert caught.value.step == "websocket"


@ON_BOTH
def test_a_path_that_the_server_does_not_have_is_told_with_its_status(aedes: Broker, make_client: Any) -> None:
    route = Broker("127.0.0.1", aedes.port, websocket_path="/elsewhere")
    with pytest.raises(ConnectError, match="400") as caught:
        make_client(route, "c", reconnect=None).__enter__()
    assert (caught.value.step, caught.value.http_status) == ("websocket", 400)


@ON_BOTH
def test_a_client_without_the_certificate_that_is_wanted_is_told_so(
    mosquitto: dict[str, Route], make_client: Any
) -> None:
    with pytest.raises(ConnectError) as caught:
        make_client(mosquitto["stranger"], "c", reconnect=None).__enter__()
    assert caught.value.step in ("tls", "websocket")


@ON_BOTH
@pytest.mark.parametrize("kind", ["tinyproxy", "microsocks that asks"])
def test_through_proxies(
    mosquitto: dict[str, Route],
    proxies: dict[str, str],  # noqa: F811
    make_client: Any,
    kind: str,
) -> None:
    direct = mosquitto["wss by name"]
    assert isinstance(direct, Broker)
    tls = direct.prepare(None).tls  # type: ignore[arg-type]
    assert tls is not None
    route = Broker(NAME, direct.port, tls=tls.certificate, websocket_path="/mqtt", proxy=Proxy(proxies[kind]))
    with make_client(route, make_client.__name__) as client:
        exchange(client, f"proxy/{make_client.__name__}/{kind}", 1)


@contextmanager
def relay_of_python(broker_port: int, host: str) -> Iterator[int]:
    """The server of the package websockets, which passes what it carries on to a broker, in pieces of its own."""
    server = pytest.importorskip("websockets.asyncio.server")
    started = threading.Event()
    found: list[int] = []
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def handle(socket: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", broker_port)

        async def from_broker() -> None:
            while data := await reader.read(100):
                await socket.send(iter([data[:1], data[1:]]))  # a message of several frames
            await socket.close()

        task = asyncio.ensure_future(from_broker())
        async for message in socket:
            writer.write(message)
        writer.close()
        await task

    async def main() -> None:
        async with server.serve(handle, host, 0, subprotocols=["mqtt"], max_size=None, ping_interval=0.02) as serving:
            found.append(next(iter(serving.sockets)).getsockname()[1])
            started.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
        loop.close()


@ON_BOTH
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_server_of_another_package_with_fragments_and_pings(tmp_path: Path, make_client: Any, host: str) -> None:
    with Mosquitto(tmp_path) as broker, relay_of_python(broker.port, host) as port:
        route = Broker(host, port, websocket_path="/mqtt")
        with make_client(route, "c", reconnect=Backoff(base_s=0.01, max_s=0.1)) as client:
            exchange(client, "t", 2, LARGE)
