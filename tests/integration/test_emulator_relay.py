"""The emulator as a relay: devices of all nine rows, and a real mosquitto behind it that others see them at."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brokers import HOST, Aedes, Mosquitto, find_program, free_ports
from emulated import BOTH_VERSIONS, a_client, add_authorizer, custom_auth, http_connection, raw_connection, raw_device
from iotwire import Broker, Client, ConnectError, HttpsPublisher, PublishError, SigV4, SubscribeError
from iotwire.emulator import Emulator, EmulatorLimits
from iotwire.emulator.pki import Authority
from iotwire.endpoint import ROUTES
from iotwire.mqtt import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    Will,
)
from scripted import Peer, asynchronous, one_connection, until
from strangers import TIME_LIMIT_S, run

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")
pytestmark = pytest.mark.broker

SECRET = "a password of the broker"


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


def an_emulator(broker: Broker, **limits: Any) -> Emulator:
    quick = replace(EmulatorLimits(), close_timeout_s=0.2, **limits)
    emulator = Emulator(addresses=[HOST], broker=broker, limits=quick)
    add_authorizer(emulator)
    return emulator


@asynccontextmanager
async def at_the_broker(broker: Mosquitto, *filters: str) -> AsyncIterator[AsyncIterator[Publish]]:
    """Somebody who is connected to the broker itself, and the messages that arrive there."""
    async with Client(broker.route(), "") as client:
        for each in filters:
            await client.subscribe(each, 1)
        yield client.messages()


def route_of(emulator: Emulator, number: int) -> Any:
    row = ROUTES[number - 1]
    assert row.number == number
    proofs: dict[str, Any] = {
        "x509": emulator.device,
        "sigv4": SigV4(emulator.credentials[0]),
        "custom": custom_auth(),
    }
    more = {} if row.authentication == "x509" else {"ca": emulator.ca}
    return emulator.endpoint.route(row.protocol, proofs[row.authentication], port=row.port, **more)


@pytest.mark.parametrize("number", range(1, 10))
@BOTH_VERSIONS
@asynchronous
async def test_every_row_publishes_and_subscribes_at_the_broker(
    mosquitto: Mosquitto, number: int, version: int
) -> None:
    topic = f"row{number}/{version}"
    async with an_emulator(mosquitto.route()) as emulator, at_the_broker(mosquitto, f"{topic}/up") as seen:
        route = route_of(emulator, number)
        if ROUTES[number - 1].protocol == "https":
            async with HttpsPublisher(route) as publisher:
                await publisher.publish(f"{topic}/up", b"21.5", qos=1)
        else:
            async with Client(route, f"row{number}-{version}", version=version) as device:
                await device.subscribe(f"{topic}/down", qos=1)
                await device.publish(f"{topic}/up", b"21.5", qos=1)
                async with Client(mosquitto.route(), "") as other:
                    await other.publish(f"{topic}/down", b"on", qos=1)
                    message = await anext(device.messages(f"{topic}/down"))
                assert (message.payload, message.qos) == (b"on", 1)
                [info] = emulator.connections()
                assert (info.row, info.client_id) == (number, f"row{number}-{version}")
        message = await anext(seen)
        assert (message.topic, message.payload, message.qos) == (f"{topic}/up", b"21.5", 1)
        assert emulator.stats().messages_received == 1


@BOTH_VERSIONS
@asynchronous
async def test_devices_of_two_emulators_meet_at_the_broker(mosquitto: Mosquitto, version: int) -> None:
    async with (
        an_emulator(mosquitto.route()) as first,
        an_emulator(mosquitto.route()) as second,
        a_client(first, "here", version=version) as here,
        a_client(second, "there", version=version) as there,
    ):
        await there.subscribe("bench/#", qos=1)
        await here.publish("bench/a", b"1", qos=1)
        await here.publish("bench/b", b"2")
        messages = there.messages()
        assert [((await anext(messages)).topic) for _ in range(2)] == ["bench/a", "bench/b"]


@asynchronous
async def test_a_command_of_mosquitto_at_the_broker_sees_a_device(mosquitto: Mosquitto) -> None:
    words = [find_program("mosquitto_sub"), "-h", HOST, "-p", str(mosquitto.port), "-t", "seen/+", "-C", "1", "-v"]
    async with an_emulator(mosquitto.route()) as emulator, a_client(emulator, "device") as device:
        await device.publish("seen/a", b"21.5", qos=1, retain=True)  # there for one who comes later
        status, output, errors = await run(*words, "-W", str(int(TIME_LIMIT_S)))
        assert (status, output) == (0, "seen/a 21.5\n"), errors
        await device.publish("seen/a", b"", retain=True)


@asynchronous
async def test_properties_travel_through_it(mosquitto: Mosquitto) -> None:
    told = {
        "content_type": "text/plain",
        "correlation_data": b"\x00\x01",
        "response_topic": "answers",
        "user_properties": (("a", "1"), ("a", "2")),
        "payload_format_indicator": 1,
    }
    async with an_emulator(mosquitto.route()) as emulator, a_client(emulator, "device") as device:
        await device.subscribe("properties/#", qos=1)
        messages = device.messages()
        await device.publish("properties/mqtt", b"x", qos=1, message_expiry_interval=60, **told)  # type: ignore[arg-type]
        async with HttpsPublisher(route_of(emulator, 7)) as publisher:
            await publisher.publish("properties/https", b"x", qos=1, content_type="text/plain")
        message = await anext(messages)
        assert {name: getattr(message, name) for name in told} == told
        assert message.message_expiry_interval in (59, 60)
        assert (await anext(messages)).content_type == "text/plain"


@BOTH_VERSIONS
@asynchronous
async def test_a_session_outlives_its_connection_and_the_emulator(mosquitto: Mosquitto, version: int) -> None:
    name = f"sleeper-{version}"
    options: dict[str, Any] = {"version": version, "clean_start": False}
    if version == 5:
        options["session_expiry_interval"] = 300
    async with an_emulator(mosquitto.route()) as emulator, a_client(emulator, name, **options) as device:
        assert not device.connack.session_present
        await device.subscribe(f"{name}/#", qos=1)
    async with Client(mosquitto.route(), "") as other:
        for number in range(3):
            await other.publish(f"{name}/a", b"%d" % number, qos=1)
    async with an_emulator(mosquitto.route()) as another, a_client(another, name, **options) as device:
        assert device.connack.session_present
        messages = device.messages()
        assert [bytes((await anext(messages)).payload) for _ in range(3)] == [b"0", b"1", b"2"]


@BOTH_VERSIONS
@asynchronous
async def test_the_broker_publishes_the_will_of_a_device_that_vanishes(mosquitto: Mosquitto, version: int) -> None:
    will = Will(f"wills/{version}", b"gone", qos=1)
    async with an_emulator(mosquitto.route()) as emulator, at_the_broker(mosquitto, f"wills/{version}") as seen:
        async with raw_device(emulator, Connect("orderly", will=will), version=version) as peer:
            peer.send(Disconnect())
            await peer.expect_close()
        async with raw_device(emulator, Connect("vanishing", will=will), version=version):
            pass
        assert bytes((await anext(seen)).payload) == b"gone"
        await until(lambda: not emulator.connections())
        async with Client(mosquitto.route(), "") as other:
            await other.publish(f"wills/{version}", b"the only one", qos=1)
        assert bytes((await anext(seen)).payload) == b"the only one"


@asynchronous
async def test_the_same_client_id_takes_over_across_emulators(mosquitto: Mosquitto) -> None:
    async with (
        an_emulator(mosquitto.route()) as first,
        an_emulator(mosquitto.route()) as second,
        raw_device(first, Connect("twin")) as peer,
        raw_device(second, Connect("twin")),
    ):
        # mosquitto 2.0.11 closes without a word; what a broker says of it is passed on.
        told = (ReasonCode.SERVER_SHUTTING_DOWN, ReasonCode.SESSION_TAKEN_OVER)
        assert (await peer.expect(Disconnect)).reason_code in told
        await peer.expect_close()


# What a device may do is still the emulator's to say.


def policy(*statements: tuple[str, str]) -> dict[str, Any]:
    allowed = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in statements]
    return {"Version": "2012-10-17", "Statement": allowed}


@BOTH_VERSIONS
@asynchronous
async def test_policies_hold(mosquitto: Mosquitto, version: int) -> None:
    async with an_emulator(mosquitto.route()) as emulator, at_the_broker(mosquitto, "policy/#") as seen:
        emulator.set_policy(
            policy(
                ("iot:Connect", "*"),
                ("iot:Publish", "*:topic/policy/mine"),
                ("iot:Subscribe", "*:topicfilter/policy/#"),
                ("iot:Receive", "*:topic/policy/mine"),
            ),
            authentication="x509",
        )
        will = Will("policy/others", b"a will that is not allowed", qos=1)
        async with raw_device(emulator, Connect("held", will=will), version=version) as peer:
            peer.send(Subscribe(1, [Subscription("policy/#", 1), Subscription("other/#", 1)]))
            refused = 0x87 if version == 5 else 0x80
            assert (await peer.expect(SubAck)).reason_codes == (1, refused)
            async with Client(mosquitto.route(), "") as other:
                await other.publish("policy/others", b"not for it", qos=1)
                await other.publish("policy/mine", b"for it", qos=1)
            message = await peer.expect(Publish)
            assert (message.topic, bytes(message.payload)) == ("policy/mine", b"for it")
            peer.send(Publish("policy/others", b"refused", qos=1, packet_id=2))
            if version == 5:
                assert (await peer.expect(Disconnect)).reason_code == ReasonCode.NOT_AUTHORIZED
            await peer.expect_close()
        async with Client(mosquitto.route(), "") as other:
            await other.publish("policy/last", qos=1)
        topics = [(await anext(seen)).topic for _ in range(3)]
        assert topics == ["policy/others", "policy/mine", "policy/last"]


@asynchronous
async def test_limits_hold(mosquitto: Mosquitto) -> None:
    async with an_emulator(mosquitto.route(), max_subscriptions=2) as emulator:
        async with a_client(emulator, "limited", limits=None) as device:
            assert device.server_limits.maximum_qos == 1
            await device.subscribe("a")
            await device.subscribe("b")
            with pytest.raises(SubscribeError) as caught:
                await device.subscribe("c")
            assert caught.value.reason_codes == {"c": ReasonCode.QUOTA_EXCEEDED}
            await device.unsubscribe("a")
            await device.subscribe("c")
            with pytest.raises(PublishError) as refused:
                await device.publish("1/2/3/4/5/6/7/8/9", qos=1)
            assert refused.value.reason_code == ReasonCode.TOPIC_NAME_INVALID
        async with raw_device(emulator, Connect("q2")) as peer:
            peer.send(Subscribe(1, [Subscription("q2", 2)]))
            assert (await peer.expect(SubAck)).reason_codes == (1,)
            peer.send(Publish("q2", qos=2, packet_id=2))
            assert (await peer.expect(Disconnect)).reason_code == ReasonCode.QOS_NOT_SUPPORTED


@BOTH_VERSIONS
@asynchronous
async def test_what_comes_behind_connect_waits_for_the_broker(mosquitto: Mosquitto, version: int) -> None:
    async with an_emulator(mosquitto.route()) as emulator, raw_connection(emulator, version=version) as peer:
        subscribe = Subscribe(1, [Subscription(f"early/{version}", 1)])
        peer.send(Connect("hasty"), subscribe, Publish(f"early/{version}", b"x", qos=1, packet_id=2), PingReq())
        assert (await peer.expect(ConnAck)).reason_code == 0
        found = [await peer.receive() for _ in range(4)]
        assert {type(each) for each in found} == {SubAck, PubAck, Publish, PingResp}


@asynchronous
async def test_a_broker_that_knows_3_1_1_alone(tmp_path: Path) -> None:
    with Aedes(tmp_path) as aedes:
        async with an_emulator(aedes.route()) as emulator, a_client(emulator, "old", version=4) as device:
            await device.subscribe("old/#", qos=1)
            messages = device.messages()
            await device.publish("old/mqtt", b"1", qos=1)
            async with HttpsPublisher(route_of(emulator, 8)) as publisher:
                await publisher.publish("old/https", b"2", qos=1, content_type="text/plain")
            assert [(await anext(messages)).topic for _ in range(2)] == ["old/mqtt", "old/https"]
            with pytest.raises(ConnectError) as caught:
                await one_connection(emulator.endpoint.route("mqtt", emulator.device), "new").connect()
            assert caught.value.reason_code in (0x84, 0x88)


# A broker that a test plays itself.


@asynccontextmanager
async def a_played_broker(version: int) -> AsyncIterator[tuple[Broker, asyncio.Queue[Peer]]]:
    """Where to connect, and the broker's end of each connection."""
    peers: asyncio.Queue[Peer] = asyncio.Queue()
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.put_nowait(Peer(reader, writer, version))
        await ended.wait()
        writer.transport.abort()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield Broker(HOST, port, username="emulator", password=SECRET), peers
    finally:
        ended.set()
        server.close()


@asynccontextmanager
async def both_ends(
    emulator: Emulator, peers: asyncio.Queue[Peer], connect: Connect, version: int = 5
) -> AsyncIterator[tuple[Peer, Peer, Connect]]:
    """A device's end, the broker's end, and the CONNECT that the broker has had."""
    async with raw_connection(emulator, version=version) as device:
        device.send(connect)
        broker = await peers.get()
        seen = await broker.accept()
        assert (await device.expect(ConnAck)).reason_code == 0
        yield device, broker, seen


@BOTH_VERSIONS
@asynchronous
async def test_qos_1_is_acknowledged_when_the_broker_has_done_so(
    version: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        a_played_broker(version) as (broker, peers),
        an_emulator(broker) as emulator,
        both_ends(emulator, peers, Connect("waiting"), version) as (device, peer, connect),
    ):
        assert (connect.client_id, connect.username, connect.password) == ("waiting", "emulator", SECRET.encode())
        device.send(Publish("a", b"1", qos=1, packet_id=7))
        message = await peer.expect(Publish)
        assert (message.topic, bytes(message.payload), message.qos, message.packet_id) == ("a", b"1", 1, 7)
        # What the broker says before its PUBACK comes before it: nobody else has acknowledged.
        peer.send(Publish("b", b"2", qos=1, packet_id=7))
        assert (await device.expect(Publish)).packet_id == 7
        peer.send(PubAck(7))
        assert (await device.expect(PubAck)).packet_id == 7
        # And the same the other way; an acknowledgement of nothing goes nowhere.
        device.send(PubAck(99), PubAck(7), Disconnect())
        assert (await peer.expect(PubAck)).packet_id == 7
        await peer.expect(Disconnect)
    assert SECRET not in caplog.text


@asynchronous
async def test_https_answers_when_the_broker_has_acknowledged() -> None:
    async with (
        a_played_broker(5) as (broker, peers),
        an_emulator(broker) as emulator,
        http_connection(emulator) as http,
    ):
        head = f"POST /topics/a?qos=1 HTTP/1.1\r\nHost: {emulator.host}\r\nContent-Length: 1\r\n\r\n"
        peer: Peer | None = None
        for reason_code, expected in ((0, 200), (0x10, 200), (0x97, 429), (0x87, 503), (0, 200)):
            asking = asyncio.create_task(http.ask(f"{head}1".encode()))
            if peer is None:  # one connection for all of them
                peer = await peers.get()
                await peer.accept()
            message = await peer.expect(Publish)
            assert not asking.done()
            assert message.packet_id is not None
            peer.send(PubAck(message.packet_id, reason_code))
            status, _, body = await asking
            assert status == expected, body


@pytest.mark.parametrize(
    ("of_broker", "of_device"), [(0x86, 0x88), (0x87, 0x88), (0x85, 0x85), (0x89, 0x88), (0x84, 0x84)]
)
@asynchronous
async def test_what_the_broker_holds_against_the_emulator_is_not_the_devices_affair(
    of_broker: int, of_device: int
) -> None:
    async with a_played_broker(5) as (broker, peers), an_emulator(broker) as emulator:
        connecting = asyncio.create_task(
            one_connection(emulator.endpoint.route("mqtt", emulator.device), "x").connect()
        )
        await (await peers.get()).accept(reason_code=of_broker)
        with pytest.raises(ConnectError) as caught:
            await connecting
        assert caught.value.reason_code == of_device


@asynchronous
async def test_why_the_broker_disconnects_is_passed_on() -> None:
    async with (
        a_played_broker(5) as (broker, peers),
        an_emulator(broker) as emulator,
        both_ends(emulator, peers, Connect("twin")) as (device, peer, _),
    ):
        peer.send(Disconnect(ReasonCode.SESSION_TAKEN_OVER))
        assert (await device.expect(Disconnect)).reason_code == ReasonCode.SESSION_TAKEN_OVER
        await device.expect_close()


@asynchronous
async def test_a_broker_that_breaks_the_protocol_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "iotwire.emulator")
    async with a_played_broker(5) as (broker, peers), an_emulator(broker) as emulator:
        for nonsense in (b"\x00\x00", Publish("a", qos=2, packet_id=1), SubAck(1, [0]), ConnAck()):
            async with both_ends(emulator, peers, Connect("device")) as (device, peer, _):
                peer.send(nonsense)
                assert (await device.expect(Disconnect)).reason_code == ReasonCode.SERVER_SHUTTING_DOWN
                await peer.expect_close()
    assert caplog.text.count("it broke the protocol") == 4


@asynchronous
async def test_who_leaves_before_the_broker_has_answered_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is read of a device meanwhile, and so its end is seen when the broker's time is over."""
    monkeypatch.setattr("iotwire.emulator.relay.CONNECT_TIMEOUT_S", 0.5)
    async with a_played_broker(5) as (broker, peers), an_emulator(broker) as emulator:
        async with raw_connection(emulator) as device:
            device.send(Connect("impatient"))
            peer = await peers.get()
            await peer.expect(Connect)
        await peer.expect_close()
        await until(lambda: emulator.stats().refused_connections == 1)


@BOTH_VERSIONS
@asynchronous
async def test_the_emulators_end_is_an_orderly_one_for_the_broker(version: int) -> None:
    """So no will is published, and a session stays that is to stay."""
    async with a_played_broker(version) as (broker, peers), AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(an_emulator(broker))
        will = Will("will", b"gone")
        device, peer, _ = await stack.enter_async_context(both_ends(emulator, peers, Connect("d", will=will), version))
        ending = asyncio.create_task(emulator.__aexit__(None, None, None))
        assert (await peer.expect(Disconnect)).reason_code == 0
        if version == 5:
            assert (await device.expect(Disconnect)).reason_code == ReasonCode.SERVER_SHUTTING_DOWN
        # A broker that does not close does not hold it up.
        await ending


# A broker that is not there.


@BOTH_VERSIONS
@asynchronous
async def test_a_broker_that_dies_ends_its_devices_connections_and_those_come_back_with_it(
    tmp_path: Path, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "iotwire.emulator")
    with Mosquitto(tmp_path) as broker:
        async with an_emulator(broker.route()) as emulator:
            connect = Connect("device")
            async with HttpsPublisher(route_of(emulator, 8)) as publisher:
                await publisher.publish("a", b"1", qos=1)
                async with raw_device(emulator, connect, version=version) as peer:
                    broker.kill()
                    if version == 5:
                        assert (await peer.expect(Disconnect)).reason_code == ReasonCode.SERVER_SHUTTING_DOWN
                    await peer.expect_close()
                route = emulator.endpoint.route("mqtt", emulator.device)
                with pytest.raises(ConnectError) as caught:
                    await one_connection(route, "device", version=version).connect()
                assert caught.value.reason_code == (0x88 if version == 5 else 3)
                with pytest.raises(PublishError) as refused:
                    await publisher.publish("a", b"1", qos=1)
                assert refused.value.http_status == 503
                broker.start()
                await publisher.publish("a", b"1", qos=1)
            async with a_client(emulator, "device", version=version) as device:
                await device.publish("a", b"2", qos=1)
    assert f"its connection to the broker {HOST}:{broker.port} has ended" in caplog.text
    assert f"the broker {HOST}:{broker.port} is not there" in caplog.text


@asynchronous
async def test_a_broker_that_says_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iotwire.emulator.relay.PING_S", 0.1)
    monkeypatch.setattr("iotwire.emulator.relay.PUBLISH_TIMEOUT_S", 0.5)
    async with a_played_broker(5) as (broker, peers), an_emulator(broker) as emulator:
        async with both_ends(emulator, peers, Connect("quiet")) as (device, _, _):
            assert (await device.expect(Disconnect)).reason_code == ReasonCode.SERVER_SHUTTING_DOWN
        async with HttpsPublisher(route_of(emulator, 7)) as publisher:
            with pytest.raises(PublishError) as caught:
                await publisher.publish("a", b"1", qos=1)
            assert caught.value.http_status == 504


@asynchronous
async def test_who_does_not_read_is_not_read_for() -> None:
    """Little is stored between a device that publishes and a broker that does not read, and nothing is lost."""
    async with (
        a_played_broker(5) as (broker, peers),
        an_emulator(broker) as emulator,
        both_ends(emulator, peers, Connect("writer")) as (device, peer, _),
    ):
        sent = 0
        while device.writer.transport.get_write_buffer_size() < 1 << 20:
            device.send(Publish("a", bytes(100_000)))
            sent += 1
            assert sent < 1000, "the emulator reads on"
            await asyncio.sleep(0.005)
        assert emulator.stats().messages_received < sent
        for _ in range(sent):
            assert len((await peer.expect(Publish)).payload) == 100_000


@asynchronous
async def test_a_broker_is_not_read_for_a_device_that_does_not_read() -> None:
    async with (
        a_played_broker(5) as (broker, peers),
        an_emulator(broker) as emulator,
        both_ends(emulator, peers, Connect("reader")) as (device, peer, _),
    ):
        sent = 0
        while peer.writer.transport.get_write_buffer_size() < 1 << 20:
            sent += 1
            peer.send(Publish("a", bytes(100_000), qos=1, packet_id=sent))
            assert sent < 1000, "the emulator reads on"
            await asyncio.sleep(0.005)
        assert emulator.stats().messages_delivered < sent
        for number in range(sent):
            assert (await device.expect(Publish)).packet_id == number + 1


# On the command line.


@asynchronous
async def test_iotwire_emulator_relays_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue_server(["localhost", HOST])
    (port,) = free_ports(1)
    further = [f"listener {port} {HOST}", "allow_anonymous true"]
    further += [f"cafile {issued.ca}", f"certfile {issued.cert}", f"keyfile {issued.key}"]
    with Mosquitto(tmp_path, further=further) as broker:
        folder = tmp_path / "emulator"
        words = ["--folder", str(folder), "--address", HOST, "--broker", f"mqtts://{HOST}:{port}"]
        emulator = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iotwire", "emulator", *words, "--broker-ca", str(issued.ca)),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert emulator.stdout is not None
            head = b""
            while b"Ctrl-C" not in head:
                line = await emulator.stdout.readline()
                assert line, head
                head += line
            assert f"mqtts://{HOST}:{port}".encode() in head
            async with at_the_broker(broker, "cli/#") as seen:
                publish = 'set -a; . "$1"; exec "$2" -m iotwire pub -t cli/a -m 21.5 -q 1'
                status, _, errors = await run("sh", "-c", publish, "sh", str(folder / "emulator.env"), sys.executable)
                assert status == 0, errors
                assert bytes((await anext(seen)).payload) == b"21.5"
            emulator.send_signal(signal.SIGTERM)
            rest = await emulator.stdout.read()
            assert b"1 received" in rest
            assert await emulator.wait() == 0
        finally:
            if emulator.returncode is None:
                emulator.kill()
                await emulator.wait()
