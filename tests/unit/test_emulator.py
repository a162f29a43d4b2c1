"""The local endpoint: its TLS is as strict as the service's, and no device can make it misbehave."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import stat
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iotwire import (
    X509,
    Client,
    ConnectError,
    ConnectionLostError,
    CredentialsError,
    PublishError,
    RouteError,
    SubscribeError,
)
from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from iotwire.route import TlsPlan
from iotwire.transport import make_client_context
from scripted import Peer, asynchronous, until

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

from iotwire.emulator import Emulator, EmulatorLimits
from iotwire.emulator.pki import Authority

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


# The way in.


@BOTH_VERSIONS
@BOTH_PORTS
@pytest.mark.parametrize("family", ["127.0.0.1", "::1"])
@asynchronous
async def test_a_reading_arrives_over_every_route(version: int, port: int, family: str) -> None:
    async with an_emulator() as emulator:
        if family not in emulator.addresses:
            pytest.skip(f"this machine has no {family}")
        route = emulator.endpoint_at(family).route("mqtt", emulator.device, port=port)
        async with Client(route, "device", version=version) as client:
            await client.subscribe("readings/+", 1)
            await client.publish("readings/load", b"0.5", qos=1)
            await client.publish("readings/memory", b"12")
            messages = client.messages("readings/#")
            received = [await anext(messages) for _ in range(2)]
            assert client.security.startswith("TLSv1.3")
            assert await client.unsubscribe("readings/+") is not None
    assert [(m.topic, m.payload, m.qos) for m in received] == [
        ("readings/load", b"0.5", 1),
        ("readings/memory", b"12", 0),
    ]


@asynchronous
async def test_tls_1_2_is_served_and_nothing_older() -> None:
    async with an_emulator() as emulator:
        context = device_context(emulator)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        _, writer = await asyncio.open_connection(
            "127.0.0.1", emulator.ports[8883], ssl=context, server_hostname=emulator.host
        )
        session = writer.get_extra_info("ssl_object")
        assert session.version() == "TLSv1.2"
        assert not session.session.has_ticket
        writer.transport.abort()
        context.set_ciphers("ALL:@SECLEVEL=0")  # or this side would refuse by itself
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
            await asyncio.open_connection("127.0.0.1", emulator.ports[8883], ssl=context, server_hostname=emulator.host)


@pytest.mark.parametrize("name", ["", "another-ats.iot.local.test", "127.0.0.1"], ids=["no SNI", "another", "address"])
@BOTH_PORTS
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@asynchronous
async def test_a_client_hello_without_the_right_server_name_is_refused(
    name: str, port: int, newest: ssl.TLSVersion
) -> None:
    async with an_emulator() as emulator:
        context = device_context(emulator)
        context.check_hostname = False
        context.maximum_version = newest
        with pytest.raises(ssl.SSLError, match=r"(?i)alert|unrecognized"):
            await asyncio.open_connection("127.0.0.1", emulator.ports[port], ssl=context, server_hostname=name)
        assert emulator.stats().accepted_connections == 0


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "A1B2C3-ATS.iot.local.test"])
@asynchronous
async def test_the_right_server_name_is_accepted_in_any_case(name: str) -> None:
    async with an_emulator() as emulator:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", emulator.ports[8883], ssl=device_context(emulator), server_hostname=name
        )
        writer.transport.abort()


@asynchronous
async def test_a_device_without_a_certificate_of_this_authority_is_refused(tmp_path: Path) -> None:
    async with an_emulator() as emulator:
        ca = emulator.device.ca
        stranger = Authority(tmp_path).issue_device("stranger")
        own = X509(stranger.cert, stranger.key, ca=ca)
        with pytest.raises(ConnectError, match=r"alert.*client certificate"):
            await Client(emulator.endpoint.route("mqtt", own), "stranger").connect()
        context = make_client_context(TlsPlan(emulator.host, ca=ca))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", emulator.ports[8883], ssl=context, server_hostname=emulator.host
        )
        writer.write(Connect("nobody").encode())
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate required"):
            await reader.read(1)
        writer.transport.abort()
        assert emulator.stats().accepted_connections == 0


@asynchronous
async def test_a_client_refuses_an_endpoint_of_another_authority_or_name(tmp_path: Path) -> None:
    async with an_emulator() as emulator:
        device = emulator.device
        other = X509(device.cert, device.key, ca=Authority(tmp_path).ca)
        with pytest.raises(ConnectError, match="certificate is not accepted"):
            await Client(emulator.endpoint.route("mqtt", other), "device").connect()
        own = X509(device.cert, device.key)  # the operating system trusts no such authority
        with pytest.raises(ConnectError, match="certificate is not accepted"):
            await Client(emulator.endpoint.route("mqtt", own), "device").connect()


@asynchronous
async def test_port_443_wants_its_alpn_name() -> None:
    async with an_emulator() as emulator:
        for alpn in (None, "mqtt", "x-amzn-http-ca"):
            route = emulator.endpoint.route("mqtt", emulator.device, port=443, alpn=alpn)
            with pytest.raises(ConnectError):
                await Client(route, "device").connect()
        assert emulator.stats().accepted_connections == 0
        assert emulator.stats().refused_connections == 3


@asynchronous
async def test_keys_are_for_this_user_alone_and_go_away() -> None:
    async with an_emulator() as emulator:
        device = emulator.issue_device("another-device_2")
        folder = Path(device.key).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        keys = list(folder.glob("*.key"))
        assert len(keys) == 2
        assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)
        for name in ("", "../device", "ca", "server", "a b"):
            with pytest.raises(RouteError, match="name"):
                emulator.issue_device(name)
    assert not folder.exists()
    with pytest.raises(RouteError):
        emulator.issue_device("late")
    with pytest.raises(RouteError, match="not running"):
        _ = emulator.endpoint


@asynchronous
async def test_what_it_listens_on_can_be_chosen() -> None:
    async with Emulator(ports={8883: 0}, addresses=["127.0.0.1", "192.0.2.1"]) as emulator:
        assert emulator.addresses == ("127.0.0.1",)  # the other is not this machine's
        assert set(emulator.ports) == {8883}
        taken = emulator.ports[8883]
        with pytest.raises(ConnectError, match=f"cannot listen on port {taken}"):
            async with Emulator(ports={8883: taken}, addresses=["127.0.0.1"]):
                pass
    with pytest.raises(ConnectError, match="has none of"):
        async with Emulator(addresses=["192.0.2.1"]):
            pass
    with pytest.raises(RouteError, match="serves"):
        Emulator(ports={8443: 0})
    with pytest.raises(RouteError, match="host"):
        Emulator("127.0.0.1")


def test_without_cryptography_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(CredentialsError, match=r"pip install iotwire\[crypto\]"):
        Authority(tmp_path)


# CONNECT.


@BOTH_VERSIONS
@asynchronous
async def test_connack_states_the_limits_of_the_service(version: int) -> None:
    async with an_emulator() as emulator:
        async with raw_connection(emulator, version=version) as peer:
            peer.send(Connect("device", keep_alive=0))
            connack = await peer.expect(ConnAck)
        expected = ConnAck(
            receive_maximum=100,
            maximum_qos=1,
            maximum_packet_size=146 * 1024,
            topic_alias_maximum=8,
            subscription_identifier_available=False,
            shared_subscription_available=False,
            server_keep_alive=1200,
        )
        assert connack == (expected if version == 5 else ConnAck())


@asynchronous
async def test_a_session_ends_with_its_connection_and_connack_says_so() -> None:
    async with an_emulator() as emulator:
        for _ in range(2):
            async with raw_connection(emulator) as peer:
                peer.send(Connect("device", clean_start=False, session_expiry_interval=3600))
                connack = await peer.expect(ConnAck)
                assert connack.session_expiry_interval == 0
                assert not connack.session_present
                peer.send(Disconnect(session_expiry_interval=3600))
                assert await peer.receive() == Disconnect(0x82)


@asynchronous
async def test_an_empty_client_id_is_assigned() -> None:
    async with an_emulator() as emulator:
        async with a_client(emulator, "") as client:
            assert client.client_id.startswith("$GEN/")
        async with a_client(emulator, "", version=4) as client:
            assert client.is_connected


@pytest.mark.parametrize(
    ("connect", "code5", "code4"),
    [
        (Connect("$GEN/mine"), 0x85, 2),
        (Connect("x" * 129), 0x85, 2),
        (Connect("x", will=Will("a", b"", qos=2)), 0x9B, 5),
        (Connect("x", authentication_method="SCRAM"), 0x8C, None),
    ],
)
@asynchronous
async def test_a_connect_that_the_service_refuses(connect: Connect, code5: int, code4: int | None) -> None:
    async with an_emulator() as emulator:
        for version, code in ((5, code5), (4, code4)):
            if code is None:
                continue
            async with raw_connection(emulator, version=version) as peer:
                peer.send(connect)
                assert (await peer.expect(ConnAck)).reason_code == code
                await peer.expect_close()
        assert emulator.stats().accepted_connections == 0


@pytest.mark.parametrize("packet", [PingReq(), Publish("a"), Disconnect(), Auth(), ConnAck()])
@asynchronous
async def test_nothing_may_come_before_connect(packet: Any) -> None:
    async with an_emulator() as emulator, raw_connection(emulator) as peer:
        peer.send(packet)
        await peer.expect_close()


@BOTH_VERSIONS
@asynchronous
async def test_a_second_connect_ends_the_connection(version: int) -> None:
    async with an_emulator() as emulator, raw_device(emulator, Connect("device"), version=version) as peer:
        peer.send(Connect("device"))
        if version == 5:
            assert await peer.receive() == Disconnect(0x82)
        await peer.expect_close()


@asynchronous
async def test_a_connection_without_a_connect_is_closed_in_time() -> None:
    async with an_emulator(limits=EmulatorLimits(connect_timeout_s=0.05)) as emulator, raw_connection(emulator) as peer:
        await peer.expect_close()


@BOTH_VERSIONS
@asynchronous
async def test_a_client_id_is_taken_over(version: int) -> None:
    async with (
        an_emulator() as emulator,
        raw_device(emulator, Connect("device"), version=version) as earlier,
        a_client(emulator, "device", version=version) as later,
    ):
        if version == 5:
            assert await earlier.receive() == Disconnect(0x8E)
        await earlier.expect_close()
        await later.subscribe("a", 1)
        await later.publish("a", b"mine", qos=1)
        assert (await anext(later.messages("a"))).payload == b"mine"


@asynchronous
async def test_a_silent_device_is_dropped_at_one_and_a_half_times_its_keep_alive() -> None:
    async def be_silent(emulator: Emulator, version: int) -> None:
        connect = Connect(f"device-{version}", keep_alive=1)
        async with raw_device(emulator, connect, version=version) as peer:
            began = asyncio.get_running_loop().time()
            if version == 5:
                assert await peer.receive() == Disconnect(0x8D)
            await peer.expect_close()
            assert 1.4 < asyncio.get_running_loop().time() - began < 5

    async with an_emulator() as emulator:
        await asyncio.gather(be_silent(emulator, 4), be_silent(emulator, 5))


@asynchronous
async def test_a_client_with_a_short_keep_alive_stays_connected() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device", keep_alive=1) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(client.messages()), 2.0)
        assert client.is_connected
        assert client.stats().bytes_received > 0


# Messages.


@asynchronous
async def test_qos_2_is_refused_as_the_service_does() -> None:
    async with an_emulator() as emulator:
        async with a_client(emulator, "device") as client:
            with pytest.raises(PublishError) as caught:
                await client.publish("a", b"", qos=2)
            assert caught.value.reason_code == 0x9B
            assert await client.subscribe("a", 2) == (1,)
        async with raw_device(emulator, Connect("device")) as peer:
            peer.send(Publish("a", b"", qos=2, packet_id=1))
            assert await peer.receive() == Disconnect(0x9B)
            await peer.expect_close()
        async with raw_device(emulator, Connect("device"), version=4) as peer:
            peer.send(Subscribe(1, (Subscription("a", 2),)), Publish("a", b"", qos=2, packet_id=2), PingReq())
            assert await peer.receive() == PingResp()  # and no answer to the two before it


@BOTH_VERSIONS
@asynchronous
async def test_retained_messages_are_kept_replaced_and_deleted(version: int) -> None:
    async with an_emulator() as emulator, a_client(emulator, "device", version=version) as client:
        await client.publish("state/a", b"old", qos=1, retain=True)
        await client.publish("state/a", b"new", qos=1, retain=True)
        await client.publish("state/b", b"gone", qos=1, retain=True)
        await client.publish("state/b", b"", qos=1, retain=True)
        await client.publish("state/c", b"never retained", qos=1)
        await client.subscribe("state/+", 1)
        messages = client.messages()
        assert _seen(await anext(messages)) == ("state/a", b"new", 1, True)
        await client.publish("state/c", b"live", retain=True)
        assert _seen(await anext(messages)) == ("state/c", b"live", 0, False)
        assert messages.waiting == 0


def _seen(message: Publish) -> tuple[str, bytes, int, bool]:
    return message.topic, message.payload, message.qos, message.retain


@asynchronous
async def test_subscription_options_are_followed() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device") as client, a_client(emulator, "other") as other:
        await other.publish("r", b"retained", qos=1, retain=True)
        await client.subscribe(Subscription("r", 1, retain_handling=2, retain_as_published=True))
        await client.subscribe(Subscription("r", 1, retain_handling=1, retain_as_published=True))  # not new
        await client.subscribe(Subscription("own", 1, no_local=True))
        messages = client.messages()
        await client.publish("own", b"echo", qos=1)
        await other.publish("own", b"from the other", qos=1)
        await other.publish("r", b"as published", qos=1, retain=True)
        assert _seen(await anext(messages)) == ("own", b"from the other", 1, False)
        assert _seen(await anext(messages)) == ("r", b"as published", 1, True)
        await client.subscribe(Subscription("r", 1, retain_handling=0))
        assert _seen(await anext(messages)) == ("r", b"as published", 1, True)


@asynchronous
async def test_overlapping_subscriptions_bring_a_message_once_with_the_highest_qos() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device") as client:
        await client.subscribe([Subscription("a/b", 0), Subscription("a/+", 1), Subscription("#", 0)])
        await client.publish("a/b", b"1", qos=1)
        await client.publish("a/b", b"2", qos=0)
        messages = client.messages()
        assert _seen(await anext(messages)) == ("a/b", b"1", 1, False)
        assert _seen(await anext(messages)) == ("a/b", b"2", 0, False)
        await client.unsubscribe(["a/+", "#", "a/b"])
        await client.publish("a/b", b"3", qos=1)
        assert messages.waiting == 0
        assert await client.unsubscribe("a/b") == (0x11,)


@BOTH_VERSIONS
@asynchronous
async def test_shared_subscriptions_are_refused(version: int) -> None:
    async with an_emulator() as emulator:
        async with a_client(emulator, "device", version=version) as client:
            with pytest.raises(SubscribeError) as caught:
                await client.subscribe(["a", "$share/g/a"])
        assert caught.value.reason_codes["$share/g/a"] == (0x9E if version == 5 else 0x80)
        async with raw_device(emulator, Connect("device"), version=version) as peer:
            peer.send(Subscribe(1, (Subscription("a"), Subscription("$share/g/a"))))
            assert await peer.receive() == SubAck(1, (0, 0x9E if version == 5 else 0x80))


@asynchronous
async def test_subscription_identifiers_are_refused() -> None:
    async with an_emulator() as emulator:
        async with raw_device(emulator, Connect("device")) as peer:
            peer.send(Subscribe(1, (Subscription("a"),), subscription_identifier=7))
            assert await peer.receive() == Disconnect(0xA1)
        async with raw_device(emulator, Connect("device")) as peer:
            peer.send(Publish("a", b"", subscription_identifiers=(7,)))
            assert await peer.receive() == Disconnect(0x82)


@asynchronous
async def test_the_number_of_subscriptions_is_bounded() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device") as client:
        await client.subscribe([f"a/{i}" for i in range(50)])
        await client.subscribe("a/0", 1)  # one of them again
        with pytest.raises(SubscribeError) as caught:
            await client.subscribe("one/more")
        assert caught.value.reason_codes == {"one/more": 0x97}
        await client.unsubscribe("a/0")
        await client.subscribe("one/more")


@asynchronous
async def test_properties_travel_and_an_expiry_counts_down() -> None:
    properties: dict[str, Any] = {
        "payload_format_indicator": 0,
        "response_topic": "answers",
        "correlation_data": b"\x01",
        "user_properties": (("k", "1"), ("k", "2")),
        "content_type": "text/plain",
    }
    async with an_emulator() as emulator, a_client(emulator, "device") as client:
        await client.subscribe("a", 1)
        messages = client.messages()
        await client.publish("a", b"x", qos=1, message_expiry_interval=60, **properties)
        received = await anext(messages)
        assert received.message_expiry_interval in (59, 60)
        assert {name: getattr(received, name) for name in properties} == properties
        async with a_client(emulator, "old", version=4) as old:
            await old.subscribe("a", 1)
            await client.publish("a", b"y", qos=1, **properties)
            assert (await anext(old.messages())).payload == b"y"
            await old.publish("a", b"from 3.1.1", qos=1)
            assert [(await anext(messages)).payload for _ in range(2)] == [b"y", b"from 3.1.1"]


@asynchronous
async def test_a_retained_message_that_has_expired_is_not_sent() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device") as client:
        await client.publish("a", b"short-lived", qos=1, retain=True, message_expiry_interval=0)
        await client.publish("b", b"lasting", qos=1, retain=True)
        await client.subscribe(["a", "b"], 1)
        assert (await anext(client.messages())).payload == b"lasting"


@asynchronous
async def test_topic_aliases_of_a_device_are_resolved() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device") as client:
        await client.subscribe("#", 1)
        await client.publish("a/b", b"1", qos=1, topic_alias=8)
        await client.publish("", b"2", qos=1, topic_alias=8)
        messages = client.messages()
        assert [_seen(await anext(messages))[:2] for _ in range(2)] == [("a/b", b"1"), ("a/b", b"2")]
        for packet, code in ((Publish("a", b"", topic_alias=9), 0x94), (Publish("", b"", topic_alias=1), 0x82)):
            async with raw_device(emulator, Connect("bad")) as peer:
                peer.send(packet)
                assert await peer.receive() == Disconnect(code)


@pytest.mark.parametrize("ending", ["abort", "0x04", "bad bytes", "keep alive", "takeover"])
@asynchronous
async def test_a_will_is_published_for_a_device_that_vanishes(ending: str) -> None:
    will = Will("gone", b"device", qos=1, content_type="text/plain")
    async with an_emulator() as emulator, a_client(emulator, "watcher") as watcher:
        await watcher.subscribe("gone", 1)
        async with raw_device(emulator, Connect("device", will=will, keep_alive=1)) as peer:
            if ending == "abort":
                peer.writer.transport.abort()
            elif ending == "0x04":
                peer.send(Disconnect(4))
            elif ending == "bad bytes":
                peer.send(b"\x00\x00")
            elif ending == "takeover":
                async with a_client(emulator, "device"):
                    pass
            message = await anext(watcher.messages())
            assert (message.payload, message.content_type) == (b"device", "text/plain")


@asynchronous
async def test_a_will_is_not_published_for_a_device_that_says_goodbye() -> None:
    async with an_emulator() as emulator, a_client(emulator, "watcher") as watcher:
        await watcher.subscribe("gone", 1)
        async with a_client(emulator, "device", will=Will("gone", b"device")):
            pass
        await watcher.publish("gone", b"end", qos=1)
        assert (await anext(watcher.messages())).payload == b"end"


@asynchronous
async def test_a_stop_tells_the_devices() -> None:
    async with an_emulator() as emulator:
        client = a_client(emulator, "device", will=Will("gone", b""))
        await client.connect()
    with pytest.raises(ConnectionLostError) as caught:
        await anext(client.messages())
    assert caught.value.reason_code == 0x8B
    await client.disconnect()


# Bounds.


@asynchronous
async def test_a_device_gets_no_more_than_its_receive_maximum_at_once() -> None:
    async with (
        an_emulator() as emulator,
        a_client(emulator, "publisher") as publisher,
        raw_device(emulator, Connect("device", receive_maximum=2)) as peer,
    ):
        peer.send(Subscribe(1, (Subscription("a", 1),)))
        await peer.expect(SubAck)
        for i in range(5):
            await publisher.publish("a", b"%d" % i, qos=1)
        waiting = [await peer.expect(Publish), await peer.expect(Publish)]
        peer.send(PingReq())
        assert await peer.receive() == PingResp()
        payloads = []
        while waiting:
            done = waiting.pop(0)
            payloads.append(done.payload)
            peer.send(PubAck(done.packet_id))
            if len(payloads) + len(waiting) < 5:
                waiting.append(await peer.expect(Publish))
        assert payloads == [b"0", b"1", b"2", b"3", b"4"]


@asynchronous
async def test_a_device_that_does_not_acknowledge_is_disconnected_when_its_queue_is_full() -> None:
    limits = EmulatorLimits(max_queued_messages=10)
    async with (
        an_emulator(limits=limits) as emulator,
        a_client(emulator, "publisher") as publisher,
        raw_device(emulator, Connect("device", receive_maximum=1)) as peer,
    ):
        peer.send(Subscribe(1, (Subscription("a", 1),)))
        await peer.expect(SubAck)
        for _ in range(20):
            await publisher.publish("a", b"", qos=1)
        assert isinstance(await peer.receive(), Publish)
        assert await peer.receive() == Disconnect(0x97)


@asynchronous
async def test_a_device_that_does_not_read_loses_qos_0_messages_and_costs_no_memory() -> None:
    limits = EmulatorLimits(max_backlog_bytes=100_000)
    async with (
        an_emulator(limits=limits) as emulator,
        a_client(emulator, "publisher") as publisher,
        raw_device(emulator, Connect("device")) as peer,
    ):
        peer.send(Subscribe(1, (Subscription("a", 0),)))
        await peer.expect(SubAck)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while not emulator.stats().messages_dropped:
            await publisher.publish("a", bytes(100_000), qos=1)
        (device,) = (each for each in emulator._connections if each.client_id == "device")
        assert device.stream.backlog_bytes < 100_000 + 2 * 100_000


@asynchronous
async def test_a_device_gets_no_packet_larger_than_it_accepts() -> None:
    async with an_emulator() as emulator, a_client(emulator, "device", max_packet_size=1000) as client:
        await client.subscribe("a", 1)
        await client.publish("a", bytes(2000), qos=1)
        await client.publish("a", b"small", qos=1)
        assert (await anext(client.messages())).payload == b"small"
        assert emulator.stats().messages_dropped == 1


@asynchronous
async def test_retained_messages_are_bounded() -> None:
    limits = EmulatorLimits(max_retained_messages=2, max_retained_bytes=1000)
    async with an_emulator(limits=limits) as emulator, a_client(emulator, "device") as client:
        await client.publish("a", bytes(400), qos=1, retain=True)
        with pytest.raises(PublishError, match="0x97"):
            await client.publish("b", bytes(700), qos=1, retain=True, user_properties=[("k", "v" * 100)])
        await client.publish("b", bytes(100), qos=1, retain=True)
        with pytest.raises(PublishError, match="0x97"):
            await client.publish("c", b"third", qos=1, retain=True)
        await client.publish("a", b"", qos=1, retain=True)
        await client.publish("c", b"third", qos=1, retain=True)


@asynchronous
async def test_connections_are_bounded_before_their_handshake() -> None:
    async with an_emulator(limits=EmulatorLimits(max_connections=2)) as emulator:
        silent = [await asyncio.open_connection("127.0.0.1", emulator.ports[8883]) for _ in range(2)]
        with pytest.raises(ConnectError):
            await a_client(emulator, "device").connect()
        for _, writer in silent:
            writer.transport.abort()
        await asyncio.gather(*(reader.read() for reader, _ in silent), return_exceptions=True)
        await until(lambda: not emulator._connections)
        async with a_client(emulator, "device") as client:
            assert client.is_connected


@asynchronous
async def test_a_handshake_that_never_ends_is_given_up() -> None:
    async with an_emulator(limits=EmulatorLimits(handshake_timeout_s=0.1)) as emulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", emulator.ports[8883])
        writer.write(b"\x16\x03\x01\x02\x00")
        assert await reader.read() == b""
        writer.close()


@asynchronous
async def test_any_bytes_are_survived() -> None:
    generator = random.Random(2)
    packets = [
        Connect("x", will=Will("w", b"1")).encode(),
        Publish("a/b", b"hello", qos=1, packet_id=1, topic_alias=1, user_properties=[("a", "b")]).encode(),
        Publish("a/b", b"hello", qos=2, packet_id=1).encode(),
        Subscribe(3, (Subscription("a/+", 1), Subscription("$share/x/y"))).encode(),
        Unsubscribe(4, ("a/+",)).encode(),
        PubAck(1).encode() + PubRec(1).encode() + PubRel(1).encode() + PubComp(1).encode(),
        PingReq().encode() + UnsubAck(1, (0,)).encode(),
        Disconnect(4).encode(),
    ]
    async with an_emulator() as emulator:
        for attempt in range(60):
            async with raw_connection(emulator) as peer:
                data = bytearray(packets[0] if attempt % 3 else b"")
                data += b"".join(generator.choices(packets, k=20))
                for _ in range(generator.randrange(4)):
                    data[generator.randrange(len(data))] = generator.randrange(256)
                peer.send(bytes(data))
                peer.writer.close()
                await asyncio.gather(peer.writer.wait_closed(), return_exceptions=True)
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", emulator.ports[443])
            writer.write(generator.randbytes(300))
            writer.write_eof()
            await asyncio.gather(reader.read(), return_exceptions=True)
            writer.close()
        async with a_client(emulator, "device") as client:
            await client.publish("still/alive", b"", qos=1)


def test_the_folder_is_gone_even_when_listening_fails() -> None:
    before = set(os.listdir(tempfile.gettempdir()))

    async def fail() -> None:
        with pytest.raises(ConnectError):
            async with Emulator(addresses=["192.0.2.1"]):
                pass

    asyncio.run(fail())
    after = set(os.listdir(tempfile.gettempdir()))
    assert not {name for name in after - before if name.startswith("iotwire-emulator-")}
