"""The client against a real mosquitto: plain TCP and mutual TLS, both versions, all three qualities of service."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto, find_program, free_ports
from iotwire import X509, Broker, Client, ConnectError, ConnectionLostError, Endpoint, Route, Tls
from iotwire.mqtt import Subscription, Will
from scripted import asynchronous

pytestmark = pytest.mark.broker

HOST = "a1b2c3-ats.iot.local.test"

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])
EVERY_ROUTE = pytest.mark.parametrize("way", ["tcp", "tls", "tls by name", "endpoint"])


@dataclass(frozen=True)
class Listeners:
    """Those of a running mosquitto. addresses: the ones of 127.0.0.1 and ::1 that it listens on."""

    plain_port: int
    tls_port: int
    password_port: int
    device: X509
    stranger: X509
    addresses: tuple[str, ...]

    def route(self, way: str, address: str = "127.0.0.1") -> Route:
        if way == "tcp":
            return Broker(address, self.plain_port)
        if way == "tls":
            return Broker(address, self.tls_port, tls=self.device)
        if way == "tls by name":
            return Broker(address, self.tls_port, tls=Tls(certificate=self.device, server_name=HOST))
        return Endpoint(HOST, ports={8883: self.tls_port}, address=address).route("mqtt", self.device)


def has_ipv6_loopback() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listeners]:
    pytest.importorskip("cryptography", reason="the broker's certificates are made with the package cryptography")
    from iotwire.emulator.pki import Authority

    folder = tmp_path_factory.mktemp("mosquitto")
    authority = Authority(folder)
    server = authority.issue_server([HOST, "localhost", "127.0.0.1", "::1"])
    (other := folder / "other").mkdir()
    stranger = Authority(other).issue_device("stranger")
    addresses = ("127.0.0.1", "::1") if has_ipv6_loopback() else ("127.0.0.1",)
    tls, password = free_ports(2)
    further = []
    for address in addresses:
        further += [
            f"listener {tls} {address}",
            "allow_anonymous true",
            f"cafile {server.ca}",
            f"certfile {server.cert}",
            f"keyfile {server.key}",
            "require_certificate true",
        ]
    passwords = folder / "passwords"
    subprocess.run([find_program("mosquitto_passwd"), "-b", "-c", str(passwords), "gateway", "secret-word"], check=True)
    passwords.chmod(0o644)
    further += [f"listener {password} 127.0.0.1", "allow_anonymous false", f"password_file {passwords}"]
    with Mosquitto(folder, addresses=addresses, further=further) as broker:
        device = authority.issue_device("device")
        yield Listeners(broker.port, tls, password, device, X509(stranger.cert, stranger.key, ca=server.ca), addresses)


def seen(message: Any) -> tuple[str, bytes, int, bool]:
    return message.topic, message.payload, message.qos, message.retain


@BOTH_VERSIONS
@EVERY_ROUTE
@asynchronous
async def test_messages_of_every_quality_of_service_arrive_once(mosquitto: Listeners, way: str, version: int) -> None:
    for address in mosquitto.addresses:
        async with Client(mosquitto.route(way, address), f"every-{version}", version=version, limits=None) as client:
            prefix = f"every/{way}/{version}/{address}"
            assert await client.subscribe([f"{prefix}/+/0", Subscription(f"{prefix}/#", 2)]) == (0, 2)
            for qos in (0, 1, 2):
                await client.publish(f"{prefix}/x/{qos}", b"payload %d" % qos, qos=qos)
            messages = client.messages(f"{prefix}/x/1")
            assert seen(await anext(messages)) == (f"{prefix}/x/1", b"payload 1", 1, False)
            assert seen(await anext(client.messages(f"{prefix}/x/2"))) == (f"{prefix}/x/2", b"payload 2", 2, False)
            assert (await anext(client.messages(f"{prefix}/x/0"))).payload == b"payload 0"
            assert client.security.startswith("TLSv1.3") == (way != "tcp")
            await client.unsubscribe([f"{prefix}/+/0", f"{prefix}/#"])


@BOTH_VERSIONS
@asynchronous
async def test_many_messages_in_flight_arrive_in_order(mosquitto: Listeners, version: int) -> None:
    count = 500
    async with (
        Client(mosquitto.route("tls"), "many-out", version=version, max_in_flight=50) as sender,
        Client(mosquitto.route("tcp"), "many-in", version=version, receive_maximum=10) as receiver,
    ):
        await receiver.subscribe("many", 2)
        messages = receiver.messages("many", max_messages=20)
        # mosquitto 2.0.11, the one of Debian 12, forgets QoS 2 messages that it had to queue for a 3.1.1 client: there
        # no more are under way at once than it sends at once.
        for qos, at_once in ((1, count), (2, 10)):
            for start in range(0, count, at_once):
                payloads = [b"%d" % i for i in range(start, start + at_once)]
                sending = asyncio.gather(*(sender.publish("many", payload, qos=qos) for payload in payloads))
                assert [(await anext(messages)).payload for _ in payloads] == payloads
                await sending
        assert messages.dropped == 0
        assert sender.stats().messages_sent == receiver.stats().messages_received == 2 * count


@BOTH_VERSIONS
@asynchronous
async def test_large_messages_cross_in_both_directions(mosquitto: Listeners, version: int) -> None:
    payload = os.urandom(200_000)
    async with Client(mosquitto.route("endpoint"), "large", version=version, limits=None) as client:
        await client.subscribe("large/#", 1)
        await asyncio.gather(*(client.publish(f"large/{i}", payload, qos=1) for i in range(20)))
        messages = client.messages()
        assert {(await anext(messages)).payload for _ in range(20)} == {payload}


@BOTH_VERSIONS
@asynchronous
async def test_retained_messages_come_with_the_subscription(mosquitto: Listeners, version: int) -> None:
    topic = f"retained/{version}"
    async with Client(mosquitto.route("tcp"), "retained", version=version) as client:
        await client.publish(topic, b"state", qos=1, retain=True)
        await client.subscribe("retained/+", 1)
        assert seen(await anext(client.messages(topic))) == (topic, b"state", 1, True)
        await client.publish(topic, b"", qos=1, retain=True)


@asynchronous
async def test_properties_and_aliases_cross_the_broker(mosquitto: Listeners) -> None:
    properties: dict[str, Any] = {
        "payload_format_indicator": 1,
        "response_topic": "answers",
        "correlation_data": b"\x00\x01",
        "user_properties": (("k", "1"), ("k", "2"), ("a", "")),
        "content_type": "application/json",
    }
    async with Client(mosquitto.route("tls"), "properties") as client:
        await client.subscribe("properties/#", 1, subscription_identifier=77)
        messages = client.messages()
        await client.publish("properties/a", b"{}", qos=1, message_expiry_interval=60, **properties)
        await client.publish("properties/a", b"[]", qos=1)
        first, second = await anext(messages), await anext(messages)
        assert {name: getattr(first, name) for name in properties} == properties
        assert first.message_expiry_interval in (59, 60)
        assert first.subscription_identifiers == (77,)
        assert seen(second) == ("properties/a", b"[]", 1, False)


@BOTH_VERSIONS
@asynchronous
async def test_a_will_is_published_when_the_connection_breaks(mosquitto: Listeners, version: int) -> None:
    async with Client(mosquitto.route("tcp"), "watcher", version=version) as watcher:
        await watcher.subscribe("wills/#", 1)
        messages = watcher.messages()
        async with Client(mosquitto.route("tcp"), "polite", version=version, will=Will("wills/polite", b"?")):
            pass
        lost = Client(mosquitto.route("tls"), "lost", version=version, will=Will("wills/lost", b"gone", qos=1))
        await lost.connect()
        assert lost._link is not None
        lost._link.abort()
        assert seen(await anext(messages)) == ("wills/lost", b"gone", 1, False)
        assert messages.waiting == 0


@asynchronous
async def test_a_client_id_that_is_taken_over_tells_the_earlier_one(mosquitto: Listeners) -> None:
    earlier = Client(mosquitto.route("tcp"), "twice", reconnect=None)
    async with earlier, Client(mosquitto.route("tcp"), "twice"):
        with pytest.raises(ConnectionLostError) as caught:
            await anext(earlier.messages())
        assert caught.value.reason_code in (0x8E, None)  # 2.0.11 closes without a word


@BOTH_VERSIONS
@asynchronous
async def test_a_user_name_and_password_are_checked(mosquitto: Listeners, version: int) -> None:
    right = Broker("127.0.0.1", mosquitto.password_port, username="gateway", password="secret-word")
    async with Client(right, "known", version=version) as client:
        await client.publish("a", b"", qos=1)
    for wrong in (
        Broker("127.0.0.1", mosquitto.password_port, username="gateway", password=b"another"),
        Broker("127.0.0.1", mosquitto.password_port),
    ):
        with pytest.raises(ConnectError) as caught:
            await Client(wrong, "unknown", version=version).connect()
        assert caught.value.reason_code == (5 if version == 4 else 0x87)
        assert "another" not in str(caught.value)


@asynchronous
async def test_mutual_tls_is_mutual(mosquitto: Listeners, tmp_path: Path) -> None:
    from iotwire.emulator.pki import Authority

    with pytest.raises(ConnectError, match="client certificate"):
        await Client(Broker("127.0.0.1", mosquitto.tls_port, tls=mosquitto.stranger), "stranger").connect()
    device = mosquitto.device
    wrong_ca = X509(device.cert, device.key, ca=Authority(tmp_path).ca)
    with pytest.raises(ConnectError, match="certificate is not accepted"):
        await Client(Broker("127.0.0.1", mosquitto.tls_port, tls=wrong_ca), "device").connect()
    wrong_name = Tls(certificate=device, server_name="another.test")
    with pytest.raises(ConnectError, match="certificate is not accepted"):
        await Client(Broker("127.0.0.1", mosquitto.tls_port, tls=wrong_name), "device").connect()


@asynchronous
async def test_topics_are_shortened_by_aliases_as_far_as_the_broker_allows(mosquitto: Listeners) -> None:
    topics = [f"aliases/a/rather/long/topic/{i}" for i in range(12)]
    async with Client(mosquitto.route("tcp"), "aliases") as client:
        assert client.server_limits.topic_alias_maximum == 10
        await client.subscribe("aliases/#", 1)
        for _ in range(3):
            for topic in topics:
                await client.publish(topic, b"x", qos=1)
        messages = client.messages()
        assert [(await anext(messages)).topic for _ in range(36)] == topics * 3


@asynchronous
async def test_an_idle_connection_is_kept_alive(mosquitto: Listeners) -> None:
    async with Client(mosquitto.route("tcp"), "idle", keep_alive=1) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(client.messages()), 2.5)
        assert client.is_connected
        await client.publish("a", b"", qos=1)


@BOTH_VERSIONS
@pytest.mark.parametrize("way", ["tcp", "tls"])
@asynchronous
async def test_paho_at_the_other_end(mosquitto: Listeners, way: str, version: int) -> None:
    paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
    enums = pytest.importorskip("paho.mqtt.enums")
    loop = asyncio.get_running_loop()
    is_subscribed = loop.create_future()
    at_paho: asyncio.Queue[tuple[str, bytes, int]] = asyncio.Queue()

    peer = paho.Client(
        enums.CallbackAPIVersion.VERSION2,
        client_id=f"paho-{version}",
        protocol=enums.MQTTProtocolVersion.MQTTv5 if version == 5 else enums.MQTTProtocolVersion.MQTTv311,
    )
    if way == "tls":
        peer.tls_set(
            ca_certs=mosquitto.device.ca, certfile=str(mosquitto.device.cert), keyfile=str(mosquitto.device.key)
        )
    # Through its argument: a callback that refers to `peer` makes a cycle, and paho closes its sockets in `__del__`.
    peer.on_connect = lambda client, *_: client.subscribe("to/paho/#", 2)
    peer.on_subscribe = lambda *_: loop.call_soon_threadsafe(is_subscribed.set_result, None)
    peer.on_message = lambda _client, _data, message: loop.call_soon_threadsafe(
        at_paho.put_nowait, (message.topic, message.payload, message.qos)
    )
    await asyncio.to_thread(peer.connect, "localhost", mosquitto.tls_port if way == "tls" else mosquitto.plain_port, 60)
    peer.loop_start()
    try:
        await is_subscribed
        async with Client(mosquitto.route(way), f"beside-paho-{version}", version=version) as client:
            await client.subscribe("to/iotwire/#", 2)
            messages = client.messages()
            for qos in (0, 1, 2):
                await client.publish(f"to/paho/{qos}", "Grüße".encode(), qos=qos)
                peer.publish(f"to/iotwire/{qos}", b"hello", qos)
            assert sorted([await at_paho.get() for _ in range(3)]) == [
                (f"to/paho/{qos}", "Grüße".encode(), qos) for qos in (0, 1, 2)
            ]
            assert sorted([seen(await anext(messages)) for _ in range(3)]) == [
                (f"to/iotwire/{qos}", b"hello", qos, False) for qos in (0, 1, 2)
            ]
    finally:
        peer.disconnect()
        await asyncio.to_thread(peer.loop_stop)
