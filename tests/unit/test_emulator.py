"""The local endpoint's way in: TLS as strict as the service's, CONNECT, and the end of a connection."""

from __future__ import annotations

import asyncio
import ssl
import stat
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest

from emulated import BOTH_PORTS, BOTH_VERSIONS, a_client, an_emulator, device_context, raw_connection, raw_device
from iotwire import (
    X509,
    Client,
    ConnectError,
    CredentialsError,
    RouteError,
)
from iotwire.emulator import Emulator, EmulatorLimits
from iotwire.emulator.pki import Authority
from iotwire.mqtt import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    Publish,
    Will,
)
from iotwire.route import TlsPlan
from iotwire.transport import make_client_context
from scripted import asynchronous

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")


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
        Emulator(ports={1883: 0})
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


def test_the_folder_is_gone_even_when_listening_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # other emulators may come and go beside this test

    async def fail() -> None:
        with pytest.raises(ConnectError):
            async with Emulator(addresses=["192.0.2.1"]):
                pass

    asyncio.run(fail())
    assert list(tmp_path.iterdir()) == []
