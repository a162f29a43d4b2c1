"""TLS: sessions that the next connection goes on with, when they must not be, and what a refusal is called."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from forking import in_child, needs_fork
from iotwire import X509, BlockingClient, Broker, ConnectError, CredentialsError, Tls
from iotwire.client.backoff import is_refusal
from iotwire.emulator.pki import Authority
from iotwire.mqtt import Disconnect, PubAck, Publish
from iotwire.route import TlsPlan
from iotwire.transport.tls import TlsContexts
from racing import run_together
from scripted import ON_EVERY_LOOP, Peer, asynchronous, one_connection, reconnecting, scripted, until
from scripted_threads import InThread


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def server_context(authority: Authority, *, asks: bool = False, newest: Any = None) -> ssl.SSLContext:
    """The server's end, which asks for a certificate of the same authority where it is told to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = authority.issue_server(["broker.test", "127.0.0.1"])
    context.load_cert_chain(server.cert, server.key)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.ca)
    if newest is not None:
        context.maximum_version = newest
    return context


class Resuming:
    """A server that notes which of its TLS sessions went on with an earlier one, and drops after each message."""

    def __init__(self) -> None:
        self.reused: list[bool] = []
        self.versions: list[str] = []

    async def __call__(self, peer: Peer) -> None:
        tls = peer.writer.get_extra_info("ssl_object")
        self.reused.append(tls.session_reused)
        self.versions.append(tls.version())
        await peer.accept()
        while (packet := await peer.receive()) is not None:
            if isinstance(packet, Publish):
                peer.send(PubAck(packet.packet_id))
                if packet.payload == b"drop":
                    return
            elif isinstance(packet, Disconnect):
                return  # else a client waits for it to close


def replace_with(certificate: X509, other: X509) -> None:
    for ours, theirs in ((certificate.cert, other.cert), (certificate.key, other.key)):
        os.replace(theirs, ours)


def rewrite(path: str | os.PathLike[str]) -> None:
    """Put another file in its place, which says the same."""
    copy = Path(path).with_suffix(".copy")
    copy.write_bytes(Path(path).read_bytes())
    os.replace(copy, path)


# Sessions.


@ON_EVERY_LOOP
@pytest.mark.parametrize("asks", [False, True], ids=["server only", "both"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=["1.3", "1.2"])
@asynchronous
async def test_a_reconnect_goes_on_with_the_tls_session(
    make_loop: Any, authority: Authority, asks: bool, newest: ssl.TLSVersion
) -> None:
    server = Resuming()
    tls = Tls(ca=authority.ca, certificate=authority.issue_device("device") if asks else None)
    context = server_context(authority, asks=asks, newest=newest)
    async with scripted(server, context=context, tls=tls) as route, reconnecting(route, "c") as client:
        for number in range(1, 4):
            await client.publish("a", b"drop", 1)
            await until(lambda: client.stats().connections > number)  # noqa: B023
        assert client.security.startswith(server.versions[0])
    assert server.reused == [False, True, True, True]


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=["1.3", "1.2"])
@asynchronous
async def test_a_ticket_of_tls_1_3_is_used_once_and_a_session_of_tls_1_2_is_not_copied_again(
    authority: Authority, newest: ssl.TLSVersion
) -> None:
    server = Resuming()
    tls = Tls(ca=authority.ca)
    kept: list[Any] = []
    async with scripted(server, context=server_context(authority, newest=newest), tls=tls) as route:
        client = one_connection(route, "c")
        for _ in range(3):
            async with client:
                assert client._contexts._context is not None
                kept.append(client._contexts._context.session)
    assert server.reused == [False, True, True]
    assert None not in kept
    assert len({id(session) for session in kept}) == (1 if newest == ssl.TLSVersion.TLSv1_2 else 3)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=["1.3", "1.2"])
@asynchronous
async def test_a_blocking_client_goes_on_with_the_tls_session_too(authority: Authority, newest: ssl.TLSVersion) -> None:
    server = Resuming()

    def use(route: Broker) -> list[Any]:
        client = BlockingClient(route, "c", reconnect=None)
        kept: list[Any] = []
        for _ in range(3):
            with client:
                client.publish("a", b"x", qos=1)
                assert client._contexts._context is not None
                kept.append(client._contexts._context.session)
        return kept

    async with scripted(server, context=server_context(authority, newest=newest), tls=Tls(ca=authority.ca)) as route:
        kept = await asyncio.to_thread(use, route)
    assert server.reused == [False, True, True]
    assert None not in kept
    assert len({id(session) for session in kept}) == (1 if newest == ssl.TLSVersion.TLSv1_2 else 3)


@asynchronous
async def test_a_client_that_is_started_again_goes_on_with_its_session_and_another_one_does_not(
    authority: Authority,
) -> None:
    server = Resuming()
    tls = Tls(ca=authority.ca)
    async with scripted(server, context=server_context(authority), tls=tls) as route:
        client = one_connection(route, "c")
        for _ in range(2):
            async with client:
                pass
        async with one_connection(route, "another"):
            pass
    assert server.reused == [False, True, False]


@pytest.mark.parametrize("changed", ["certificate", "ca"])
@asynchronous
async def test_a_session_ends_with_the_files_that_it_was_made_with(authority: Authority, changed: str) -> None:
    server = Resuming()
    device = authority.issue_device("device")
    tls = Tls(certificate=device, ca=authority.ca)
    context = server_context(authority, asks=True)
    peers: list[Any] = []

    async def script(peer: Peer) -> None:
        peers.append(peer.writer.get_extra_info("peercert")["serialNumber"])
        await server(peer)

    async with scripted(script, context=context, tls=tls) as route:
        client = one_connection(route, "c")
        for number in range(4):
            if number == 2 and changed == "certificate":
                replace_with(device, authority.issue_device("renewed"))
            elif number == 2:
                rewrite(authority.ca)
            async with client:
                pass
    assert server.reused == [False, True, False, True]
    assert (peers[0] == peers[3]) == (changed == "ca")


@asynchronous
async def test_a_server_without_tickets_costs_a_whole_handshake_each_time(authority: Authority) -> None:
    server = Resuming()
    context = server_context(authority)
    context.num_tickets = 0
    async with scripted(server, context=context, tls=Tls(ca=authority.ca)) as route:
        client = one_connection(route, "c")
        for _ in range(3):
            async with client:
                pass
    assert server.reused == [False, False, False]


@asynchronous
async def test_a_server_that_was_restarted_is_verified_anew(authority: Authority, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    strange.mkdir()
    server = Resuming()
    async with scripted(server, context=server_context(authority), tls=Tls(ca=authority.ca)) as route:
        client = one_connection(route, "c")
        async with client:
            pass
        for context, is_accepted in ((server_context(authority), True), (server_context(Authority(strange)), False)):
            async with scripted(server, context=context) as restarted:
                route.port = restarted.port
                if is_accepted:
                    async with client:
                        pass
                else:
                    with pytest.raises(ConnectError, match="certificate is not accepted"):
                        await client.connect()
    assert server.reused == [False, False]


# Contexts.


def test_a_context_lives_as_long_as_its_plan_and_its_files(authority: Authority) -> None:
    device = authority.issue_device("device")
    plan = TlsPlan("broker.test", certificate=device, ca=authority.ca)
    contexts = TlsContexts()
    first = contexts.get(plan)
    assert contexts.get(TlsPlan("broker.test", certificate=device, ca=authority.ca)) is first
    assert TlsContexts().get(plan) is not first
    assert contexts.get(TlsPlan("broker.test", alpn=("x",), certificate=device, ca=authority.ca)) is not first
    again = contexts.get(plan)
    assert again is not first
    for path in (device.cert, device.key, authority.ca):
        rewrite(path)
        renewed = contexts.get(plan)
        assert renewed is not again
        assert contexts.get(plan) is renewed
        again = renewed


def test_threads_that_ask_at_once_are_given_one_context(authority: Authority) -> None:
    plan = TlsPlan("broker.test", certificate=authority.issue_device("device"), ca=authority.ca)
    contexts = TlsContexts()
    given: list[ssl.SSLContext] = []
    run_together(*[lambda: given.append(contexts.get(plan))] * 8)
    assert len(given) == 8
    assert len(set(map(id, given))) == 1


@needs_fork
def test_a_child_of_fork_has_its_context_though_a_thread_of_its_parent_was_making_one(
    authority: Authority, tmp_path: Path
) -> None:
    slow = tmp_path / "slow.pem"
    os.mkfifo(slow)
    contexts = TlsContexts()
    making = InThread(contexts.get, TlsPlan("broker.test", ca=slow))
    with open(slow, "wb") as file:  # once it is being read
        told = in_child(lambda: contexts.get(TlsPlan("broker.test", ca=authority.ca)).verify_mode)
        file.write(Path(authority.ca).read_bytes())
    making.result()
    assert told == repr(ssl.CERT_REQUIRED)


def test_a_file_that_is_missing_for_a_moment_is_an_error_for_that_moment(authority: Authority, tmp_path: Path) -> None:
    device = authority.issue_device("device")
    plan = TlsPlan("broker.test", certificate=device, ca=authority.ca)
    contexts = TlsContexts()
    contexts.get(plan)
    os.rename(device.key, tmp_path / "away")
    for _ in range(2):
        with pytest.raises(CredentialsError, match=r"device\.key"):
            contexts.get(plan)
    os.rename(tmp_path / "away", device.key)
    assert contexts.get(plan) is contexts.get(plan)


@asynchronous
async def test_a_certificate_that_is_missing_for_a_moment_is_waited_for(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Resuming()
    device = authority.issue_device("device")
    tls = Tls(certificate=device, ca=authority.ca)
    async with (
        scripted(server, context=server_context(authority, asks=True), tls=tls) as route,
        reconnecting(route, "c") as client,
    ):
        os.rename(device.cert, tmp_path / "away")
        await client.publish("a", b"drop", 1)
        await until(lambda: "state=refused" in caplog.text)
        os.rename(tmp_path / "away", device.cert)
        await client.publish("a", b"here again", 1)
    assert "cannot use the certificate" in caplog.text


# Refusals.


@ON_EVERY_LOOP
@pytest.mark.parametrize("wrong", ["name", "authority"])
@asynchronous
async def test_a_server_that_is_not_the_one_is_refused(
    make_loop: Any, authority: Authority, tmp_path: Path, wrong: str
) -> None:
    (tmp_path / "strange").mkdir()
    tls = {
        "name": Tls(ca=authority.ca, server_name="another.test"),
        "authority": Tls(ca=Authority(tmp_path / "strange").ca),
    }[wrong]
    server = Resuming()
    async with scripted(server, context=server_context(authority), tls=tls) as route:
        with pytest.raises(ConnectError, match="the server's certificate is not accepted") as caught:
            await one_connection(route, "c").connect()
    assert is_refusal(caught.value)
    assert server.reused == []


@contextmanager
def a_tls_server(context: ssl.SSLContext) -> Iterator[tuple[str, int]]:
    """One that sends its alert and waits for the client to close, which asyncio's own does not."""

    def serve() -> None:
        with suppress(OSError):  # it is closed below
            while True:
                accepted, _ = listener.accept()
                accepted.settimeout(5)
                tls = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
                with suppress(ssl.SSLError):
                    tls.do_handshake()
                with socket.socket(fileno=tls.detach()) as plain:
                    plain.settimeout(5)
                    while plain.recv(1000):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@ON_EVERY_LOOP
@pytest.mark.parametrize("has_one", [False, True], ids=["none", "of another authority"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=["1.3", "1.2"])
@asynchronous
async def test_a_client_certificate_that_is_not_accepted_is_a_refusal_with_the_servers_word_for_it(
    make_loop: Any, authority: Authority, tmp_path: Path, has_one: bool, newest: ssl.TLSVersion
) -> None:
    (tmp_path / "strange").mkdir()
    certificate = Authority(tmp_path / "strange").issue_device("device") if has_one else None
    context = server_context(authority, asks=True, newest=newest)
    with a_tls_server(context) as (host, port):
        route = Broker(host, port, tls=Tls(ca=authority.ca, certificate=certificate))
        with pytest.raises(ConnectError, match='the server sent the alert "') as caught:
            await one_connection(route, "c").connect()
    assert is_refusal(caught.value)
