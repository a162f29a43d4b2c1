"""The adapters: other people's clients over our routes, against the emulator and a broker's WebSockets."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from brokers import Mosquitto
from iotwire import (
    X509,
    Broker,
    Client,
    CredentialsError,
    CustomAuth,
    IotwireError,
    Proxy,
    Route,
    RouteError,
    SigV4,
)
from iotwire.adapters import RouteContext
from iotwire.custom_auth import TokenSigner
from iotwire.emulator import Emulator
from iotwire.endpoint import EndpointRoute
from iotwire.route import TlsPlan
from iotwire.sigv4 import Credentials
from running_emulator import AUTHORIZER, SIGNING_KEY, TOKEN_KEY_NAME, a_running_emulator

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

TIME_LIMIT_S = 60.0

Exchange = Callable[[Route, str, int], tuple[str, bytes]]


def exchange_by_paho(route: Route, client_id: str, version: int) -> tuple[str, bytes]:
    """Subscribe, publish, and wait for what comes back."""
    from iotwire.adapters.paho import make_client

    arrived: Queue[Any] = Queue()
    client = make_client(route, client_id, version=version)
    client.on_connect = lambda client, *_: client.subscribe("adapters/#", 1)
    client.on_subscribe = lambda client, *_: client.publish("adapters/paho", b"21.5", 1)
    client.on_message = lambda _client, _userdata, message: arrived.put(message)
    client.loop_start()
    try:
        message = arrived.get(timeout=TIME_LIMIT_S)
    finally:
        client.disconnect()
        client.loop_stop()
    return message.topic, bytes(message.payload)


def exchange_by_aiomqtt(route: Route, client_id: str, version: int) -> tuple[str, bytes]:
    from iotwire.adapters.aiomqtt import open_client

    async def exchange() -> tuple[str, bytes]:
        async with asyncio.timeout(TIME_LIMIT_S), open_client(route, client_id, version=version) as client:
            await client.subscribe("adapters/#", 1)
            await client.publish("adapters/aiomqtt", b"21.5", 1)
            message = await anext(aiter(client.messages))
        assert isinstance(message.payload, bytes)
        return str(message.topic), message.payload

    return asyncio.run(exchange())


def exchange_by_gmqtt(route: Route, client_id: str, version: int) -> tuple[str, bytes]:
    from iotwire.adapters.gmqtt import make_client

    async def exchange() -> tuple[str, bytes]:
        arrived: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        client = make_client(route, client_id, version=version)
        client.on_subscribe = lambda client, *_: client.publish("adapters/gmqtt", b"21.5", qos=1)
        client.on_message = lambda _client, topic, payload, *_: arrived.put_nowait((topic, payload)) or 0
        async with asyncio.timeout(TIME_LIMIT_S):
            await client.connect_by_route()
            client.subscribe("adapters/#", qos=1)
            found = await arrived.get()
            await client.disconnect()
        return found

    return asyncio.run(exchange())


EXCHANGES: dict[str, Exchange] = {
    "paho": exchange_by_paho,
    "aiomqtt": exchange_by_aiomqtt,
    "gmqtt": exchange_by_gmqtt,
}
EACH_CLIENT = pytest.mark.parametrize("name", EXCHANGES)


@pytest.fixture(scope="module")
def emulator() -> Any:
    with a_running_emulator() as running:
        yield running


def installed(name: str) -> Exchange:
    pytest.importorskip({"paho": "paho.mqtt"}.get(name, name))
    return EXCHANGES[name]


@EACH_CLIENT
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("port", [8883, 443])
def test_each_client_carries_the_rows_of_a_certificate(emulator: Emulator, name: str, version: int, port: int) -> None:
    # Rows 1 and 2: the name in SNI and in the certificate is not that of the address.
    route = emulator.endpoint.route("mqtt", emulator.device, port=port)
    assert route.host != route.server_name
    assert installed(name)(route, f"{name}-{version}-{port}", version) == (f"adapters/{name}", b"21.5")


@EACH_CLIENT
def test_each_client_connects_over_ipv6(name: str) -> None:
    exchange = installed(name)
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    with a_running_emulator("::1") as emulator:
        route = emulator.endpoint.route("mqtt", emulator.device, port=443)
        assert route.host == "::1"
        assert exchange(route, name, 5) == (f"adapters/{name}", b"21.5")


def custom_auth(token: Any = "a token") -> CustomAuth:
    signer = TokenSigner(SIGNING_KEY.read_bytes())
    return CustomAuth(AUTHORIZER, token_key_name=TOKEN_KEY_NAME, token=token, signer=signer, username="gateway")


@EACH_CLIENT
@pytest.mark.parametrize("version", [4, 5])
def test_each_client_carries_row_3_a_token_in_connect(emulator: Emulator, name: str, version: int) -> None:
    route = emulator.endpoint.route("mqtt", custom_auth(), ca=emulator.device.ca)
    assert route.row.number == 3
    assert installed(name)(route, f"{name}-3", version) == (f"adapters/{name}", b"21.5")


def signed_route(emulator: Emulator) -> EndpointRoute:
    return emulator.endpoint.route("wss", SigV4(emulator.credentials[0]), ca=emulator.device.ca)


@pytest.mark.parametrize("name", ["paho", "aiomqtt"])
def test_clients_with_websockets_carry_row_4_a_signed_url(emulator: Emulator, name: str) -> None:
    assert installed(name)(signed_route(emulator), f"{name}-4", 5) == (f"adapters/{name}", b"21.5")


@pytest.mark.parametrize("name", ["paho", "aiomqtt"])
@pytest.mark.parametrize("place", ["headers", "query", "connect"])
def test_clients_with_websockets_carry_row_5_a_token_in_each_place(emulator: Emulator, name: str, place: Any) -> None:
    route = emulator.endpoint.route("wss", custom_auth(), ca=emulator.device.ca, place=place)
    assert installed(name)(route, f"{name}-5", 5) == (f"adapters/{name}", b"21.5")


@pytest.mark.broker
@EACH_CLIENT
def test_each_client_reaches_another_broker_with_user_name_and_password(tmp_path: Path, name: str) -> None:
    exchange = installed(name)
    with Mosquitto(tmp_path) as broker:
        route = Broker("127.0.0.1", broker.port, username="gateway", password="sesame")
        assert exchange(route, name, 5) == (f"adapters/{name}", b"21.5")


# ---- fresh credentials


def test_paho_has_a_fresh_token_for_each_connection(emulator: Emulator) -> None:
    pytest.importorskip("paho.mqtt")
    from iotwire.adapters.paho import make_client

    asked: list[str] = []
    told: list[object] = []

    def token() -> str:
        asked.append("wrong" if len(asked) == 1 else "right")
        return asked[-1]

    route = emulator.endpoint.route("wss", custom_auth(token), ca=emulator.device.ca)
    connected: Queue[None] = Queue()
    client = make_client(route, "fresh", on_pre_connect=lambda _, userdata: told.append(userdata), userdata="mine")
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda _client, _userdata, _flags, reason, _properties: (
        None if reason.is_failure else connected.put(None)
    )
    client.loop_start()
    try:
        connected.get(timeout=TIME_LIMIT_S)
    finally:
        client.disconnect()
        client.loop_stop()
    # The first is asked for when the client is made, and shows what the route needs; the second is refused.
    assert asked == ["right", "wrong", "right"]
    assert told == ["mine", "mine"]


def test_paho_tries_again_where_there_are_no_credentials_for_a_moment(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("paho.mqtt")
    from iotwire.adapters.paho import make_client

    asked: list[None] = []

    def credentials() -> Credentials:
        asked.append(None)
        if len(asked) == 2:
            raise CredentialsError("the vault is closed")
        return emulator.credentials[0]

    route = emulator.endpoint.route("wss", SigV4(credentials), ca=emulator.device.ca)
    connected: Queue[None] = Queue()
    client = make_client(route, "patient")
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda *_: connected.put(None)
    client.loop_start()
    try:
        connected.get(timeout=TIME_LIMIT_S)
    finally:
        client.disconnect()
        client.loop_stop()
    assert "the vault is closed" in caplog.text


def test_gmqtt_has_a_fresh_token_for_each_connection(emulator: Emulator) -> None:
    pytest.importorskip("gmqtt")
    from iotwire.adapters.gmqtt import make_client

    asked: list[None] = []

    def token() -> str:
        asked.append(None)
        return f"token {len(asked)}"

    async def reconnect() -> None:
        connected: asyncio.Queue[None] = asyncio.Queue()
        client = make_client(emulator.endpoint.route("mqtt", custom_auth(token), ca=emulator.device.ca), "fresh")
        client.set_config({"reconnect_delay": 0.1})
        client.on_connect = lambda *_: connected.put_nowait(None)
        async with asyncio.timeout(TIME_LIMIT_S):
            await client.connect_by_route()
            await connected.get()
            before = len(asked)
            # Another device of that name, which takes the session over and goes.
            route = emulator.endpoint.route("mqtt", emulator.device)
            async with Client(route, "fresh", reconnect=None):
                await connected.get()
            assert len(asked) > before
            await client.disconnect()

    asyncio.run(reconnect())


# ---- the context


def test_a_context_reads_files_anew_that_were_rotated_once_they_fit(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = tmp_path / "cert", tmp_path / "key"

    def write(source: X509, *names: str) -> None:
        for name in names:
            (tmp_path / name).write_bytes(Path(str(getattr(source, name))).read_bytes())

    write(emulator.device, "cert", "key")
    attempt = emulator.endpoint.route("mqtt", X509(cert, key, ca=emulator.device.ca)).prepare(datetime.now(UTC))
    assert attempt.tls is not None
    context = RouteContext(attempt.tls)

    def connect() -> str:
        """By the name of the server that was asked for."""
        with (
            socket.create_connection((attempt.host, attempt.port), TIME_LIMIT_S) as connected,
            context.wrap_socket(connected, server_hostname="another.test") as tls,
        ):
            return str(tls.server_hostname)

    assert connect() == emulator.host
    first = context._latest
    pump = emulator.issue_device("pump")
    write(pump, "cert")  # and the key a moment later
    assert connect() == emulator.host
    assert context._latest is first
    assert "the key does not belong to the certificate" in caplog.text
    write(pump, "key")
    assert connect() == emulator.host
    assert context._latest is not first


def test_a_context_says_at_once_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="nothing"):
        RouteContext(TlsPlan("a.test", ca=tmp_path / "nothing"))


# ---- what they cannot carry


def call(name: str, route: Route) -> None:
    """What a program calls first, of each adapter."""
    if name == "paho":
        from iotwire.adapters.paho import make_client

        make_client(route)
    elif name == "aiomqtt":
        from iotwire.adapters.aiomqtt import open_client

        async def work() -> None:
            async with open_client(route):
                pass

        asyncio.run(work())
    else:
        from iotwire.adapters.gmqtt import make_client as make_gmqtt

        asyncio.run(make_gmqtt(route).connect_by_route())


@EACH_CLIENT
def test_what_a_client_cannot_carry_is_refused_before_anything_is_sent(emulator: Emulator, name: str) -> None:
    installed(name)
    endpoint, device = emulator.endpoint, emulator.device
    before = emulator.stats().accepted_connections + emulator.stats().refused_connections
    routes = {
        "HttpsPublisher": endpoint.route("https", device),
        "proxy: ": endpoint.route("mqtt", device, proxy=Proxy("http://127.0.0.1:9")),
        "interface: ": endpoint.route("mqtt", device, interface="lo"),
    }
    if name == "gmqtt":
        routes["no WebSockets"] = signed_route(emulator)
        routes["source_address: "] = endpoint.route("mqtt", device, source_address="127.0.0.1")
    for message, route in routes.items():
        with pytest.raises(RouteError, match=message):
            call(name, route)
    assert emulator.stats().accepted_connections + emulator.stats().refused_connections == before


@EACH_CLIENT
def test_a_client_that_is_not_installed_is_named(
    emulator: Emulator, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, {"paho": "paho.mqtt.client"}.get(name, name), None)
    package = {"paho": "paho-mqtt"}.get(name, name)
    with pytest.raises(IotwireError, match=f"pip install {package}"):
        call(name, emulator.endpoint.route("mqtt", emulator.device))


def test_no_client_is_imported_before_it_is_asked_for() -> None:
    program = """
import sys
import iotwire.adapters.aiomqtt, iotwire.adapters.gmqtt, iotwire.adapters.paho
print([name for name in ("paho", "aiomqtt", "gmqtt") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"[]\n"
