"""Publishing over TLS: what is on the wire for rows 7 and 8, certificates, sessions, and handshakes that fail."""

from __future__ import annotations

import fcntl
import os
import socket
import ssl
import struct
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")
pytest.importorskip("h11")

from iotwire import X509, ConnectError, CredentialsError, Endpoint, Proxy
from iotwire.emulator.pki import Authority
from iotwire.route import TlsPlan
from networks import RelayingProxy, serving
from scripted_http import BOTH, OK, HttpPeer, HttpRoute, Taking, http_server
from scripted_threads import happened, until

HOST = "a1b2c3d4e5-ats.iot.eu-central-1.amazonaws.com"
BOTH_VERSIONS = pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=["1.3", "1.2"])
Make = Callable[..., Any]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def server_context(
    authority: Authority, *, alpn: str | None = None, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """The service's end: it wants a certificate of the same authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = authority.issue_server([HOST, "127.0.0.1"])
    context.load_cert_chain(server.cert, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca)
    context.maximum_version = newest
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    return context


class Watching(Taking):
    """The script of a TLS server that notes what it sees of each connection. Over plain TCP up to its first byte."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._context = context
        self._context.sni_callback = lambda _, name, __: self.names.append(name)
        self.hellos: list[bytes] = []
        self.names: list[str | None] = []
        self.alpn: list[str | None] = []
        self.reused: list[bool | None] = []
        self.subjects: list[str] = []

    def __call__(self, peer: HttpPeer) -> None:
        plain = peer.socket
        size = 5
        while len(seen := plain.recv(65536, socket.MSG_PEEK)) < size:
            if len(seen) >= 5:  # the record's header: its length comes last (RFC 8446, 5.1)
                size = 5 + int.from_bytes(seen[3:5], "big")
        self.hellos.append(seen)
        with self._context.wrap_socket(plain, server_side=True) as tls:
            self.alpn.append(tls.selected_alpn_protocol())
            self.reused.append(tls.session_reused)
            certificate = tls.getpeercert()
            assert certificate is not None
            ((_, subject),) = certificate["subject"][-1]
            self.subjects.append(subject)
            peer.socket = tls
            super().__call__(peer)


def alpn_extension(*names: bytes) -> bytes:
    """RFC 7301, 3.1: type 16, and three lengths."""
    listed = b"".join(bytes([len(name)]) + name for name in names)
    return b"\0\x10" + (len(listed) + 2).to_bytes(2, "big") + len(listed).to_bytes(2, "big") + listed


@BOTH
@BOTH_VERSIONS
@pytest.mark.parametrize(("port", "alpn"), [(443, "x-amzn-http-ca"), (8443, None)], ids=["443", "8443"])
def test_rows_7_and_8_are_on_the_wire_as_the_matrix_says(
    make: Make, authority: Authority, newest: ssl.TLSVersion, port: int, alpn: str | None
) -> None:
    server = Watching(server_context(authority, alpn="x-amzn-http-ca", newest=newest))
    with http_server(server) as local:
        endpoint = Endpoint(HOST, address="127.0.0.1", ports={port: local.port})
        with make(endpoint.route("https", authority.issue_device("device"), port=port)) as publisher:
            for _ in range(3):
                publisher.publish("a/b", b"reading", 1)
    assert server.connections == [0, 0, 0]
    assert server.names == [HOST]
    assert server.alpn == [alpn]
    assert server.subjects == ["device"]
    assert {request.headers["host"] for _, request in server.seen} == {HOST if port == 443 else f"{HOST}:8443"}
    (hello,) = server.hellos
    if alpn is None:
        assert b"http" not in hello
    else:
        assert hello.count(alpn_extension(b"x-amzn-http-ca")) == 1  # this name, and no other one
        assert hello.count(b"http") == 1


@BOTH
def test_alpn_can_be_left_out_for_configurable_endpoints(make: Make, authority: Authority) -> None:
    server = Watching(server_context(authority))
    with http_server(server) as local:
        endpoint = Endpoint(HOST, address="127.0.0.1", ports={443: local.port})
        with make(endpoint.route("https", authority.issue_device("device"), port=443, alpn=None)) as publisher:
            publisher.publish("a")
    assert alpn_extension(b"x-amzn-http-ca") not in server.hellos[0]
    assert server.alpn == [None]


@BOTH
def test_a_message_goes_over_ipv6(make: Make, authority: Authority) -> None:
    context = server_context(authority)
    taken = threading.Event()

    def serve() -> None:
        connected, _ = listener.accept()
        with context.wrap_socket(connected, server_side=True) as tls:
            while not tls.recv(65536).endswith(b"over six"):
                pass
            tls.sendall(OK)
            taken.set()
            tls.recv(1)

    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        thread = threading.Thread(target=serve)
        thread.start()
        endpoint = Endpoint(HOST, address="[::1]", ports={8443: listener.getsockname()[1]})
        with make(endpoint.route("https", authority.issue_device("device"), port=8443)) as publisher:
            publisher.publish("a", b"over six")
        happened(taken)
        thread.join(10)


@BOTH
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_message_goes_through_a_proxy(make: Make, authority: Authority, scheme: str) -> None:
    server = Watching(server_context(authority, alpn="x-amzn-http-ca"))
    relay = RelayingProxy(scheme, ("me", "word"))
    with http_server(server) as local, serving(relay) as proxy_port:
        route = Endpoint(HOST, ports={443: local.port}).route(  # whose name is the proxy's to resolve
            "https",
            authority.issue_device("device"),
            port=443,
            proxy=Proxy(f"{scheme}://me:word@127.0.0.1:{proxy_port}"),
        )
        with make(route) as publisher:
            publisher.publish("a", b"1")
            publisher.publish("a", b"2")
    assert relay.asked == [(HOST, local.port)]
    assert server.alpn == ["x-amzn-http-ca"]
    assert [request.body for _, request in server.seen] == [b"1", b"2"]


# Connections that come after another.


@BOTH
@BOTH_VERSIONS
def test_the_next_connection_goes_on_with_the_tls_session(
    make: Make, authority: Authority, newest: ssl.TLSVersion
) -> None:
    server = Watching(server_context(authority, newest=newest))
    tls = TlsPlan(HOST, certificate=authority.issue_device("device"), ca=authority.ca)
    with http_server(server, tls=tls) as route, make(route, max_idle_s=0) as publisher:
        for _ in range(3):
            publisher.publish("a")
    assert server.connections == [0, 1, 2]
    assert server.reused == [False, True, True]


@BOTH
@BOTH_VERSIONS
def test_a_ticket_of_tls_1_3_is_used_once_and_a_session_of_tls_1_2_is_not_copied_again(
    make: Make, authority: Authority, newest: ssl.TLSVersion
) -> None:
    server = Watching(server_context(authority, newest=newest))
    tls = TlsPlan(HOST, certificate=authority.issue_device("device"), ca=authority.ca)
    kept: list[Any] = []
    with http_server(server, tls=tls) as route, make(route, max_idle_s=0) as publisher:
        for _ in range(3):
            publisher.publish("a")
            context = getattr(publisher, "_publisher", publisher)._contexts._context
            kept.append(context.session)
    assert server.reused == [False, True, True]
    assert None not in kept
    assert len({id(session) for session in kept}) == (1 if newest == ssl.TLSVersion.TLSv1_2 else 3)


def unacknowledged(connected: socket.socket) -> int:
    """Bytes of what was said that the other side's system has not confirmed, its end among them (tcp(7), SIOCOUTQ)."""
    (count,) = struct.unpack("i", fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(count)


@BOTH
@BOTH_VERSIONS
@pytest.mark.parametrize("how", ["orderly", "abrupt"])
def test_a_connection_that_the_server_closed_meanwhile_is_made_again(
    make: Make, authority: Authority, newest: ssl.TLSVersion, how: str
) -> None:
    context = server_context(authority, newest=newest)
    gone = threading.Event()
    taken: list[int] = []

    def script(peer: HttpPeer) -> None:
        with context.wrap_socket(peer.socket, server_side=True) as peer.socket:
            while peer.receive() is not None:
                taken.append(peer.number)
                peer.send(OK)
                if peer.number == 0:
                    if how == "orderly":  # close_notify, without waiting for the other one
                        peer.socket.setblocking(False)
                        with suppress(ssl.SSLWantReadError, ssl.SSLEOFError):  # it may have closed by now, too
                            peer.socket.unwrap()
                    with suppress(OSError):
                        peer.socket.shutdown(socket.SHUT_WR)
                        until(lambda: unacknowledged(peer.socket) == 0)  # the client's system has it
                    break
        gone.set()

    tls = TlsPlan(HOST, certificate=authority.issue_device("device"), ca=authority.ca)
    with http_server(script, tls=tls) as route, make(route, retries=None) as publisher:
        publisher.publish("a", qos=1)
        happened(gone)
        for _ in range(2):
            publisher.publish("a", qos=1)
    assert taken == [0, 1, 1]


@BOTH
def test_a_certificate_that_was_rotated_is_used_by_the_next_connection(make: Make, authority: Authority) -> None:
    server = Watching(server_context(authority))
    device = authority.issue_device("device")
    renewed = authority.issue_device("renewed")
    tls = TlsPlan(HOST, certificate=device, ca=authority.ca)
    with http_server(server, tls=tls) as route, make(route, max_idle_s=0) as publisher:
        publisher.publish("a")
        os.replace(renewed.cert, device.cert)
        os.replace(renewed.key, device.key)
        publisher.publish("a")
    assert server.subjects == ["device", "renewed"]


@BOTH
@BOTH_VERSIONS
def test_large_messages_pass_through_tls(make: Make, authority: Authority, newest: ssl.TLSVersion) -> None:
    server = Watching(server_context(authority, newest=newest))
    tls = TlsPlan(HOST, certificate=authority.issue_device("device"), ca=authority.ca)
    payload = os.urandom(128 * 1024)
    with http_server(server, tls=tls) as route, make(route) as publisher:
        for _ in range(5):
            publisher.publish("a", payload)
    assert [request.body for _, request in server.seen] == [payload] * 5
    assert server.connections == [0] * 5


# Handshakes that fail.


@BOTH
@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_a_server_that_is_not_the_one_is_refused_before_anything_is_sent(
    make: Make, authority: Authority, tmp_path: Path, wrong: str
) -> None:
    (tmp_path / "strange").mkdir()
    ca = authority.ca if wrong == "name" else Authority(tmp_path / "strange").ca
    name = "another.test" if wrong == "name" else HOST
    tls = TlsPlan(name, certificate=authority.issue_device("device"), ca=ca)

    def script(peer: HttpPeer) -> None:
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            server_context(authority).wrap_socket(peer.socket, server_side=True) as served,
        ):
            served.recv(1)

    with (
        http_server(script, tls=tls) as route,
        make(route) as publisher,
        pytest.raises(ConnectError, match="the server's certificate is not accepted"),
    ):
        publisher.publish("a")


@BOTH
@BOTH_VERSIONS
@pytest.mark.parametrize("has_one", [False, True], ids=["none", "of another authority"])
def test_a_device_that_is_not_accepted_is_told_so_with_the_servers_word_for_it(
    make: Make, authority: Authority, tmp_path: Path, newest: ssl.TLSVersion, has_one: bool
) -> None:
    (tmp_path / "strange").mkdir()
    certificate = Authority(tmp_path / "strange").issue_device("device") if has_one else None
    context = server_context(authority, newest=newest)

    def script(peer: HttpPeer) -> None:
        tls = context.wrap_socket(peer.socket, server_side=True, do_handshake_on_connect=False)
        with pytest.raises(ssl.SSLError):
            tls.do_handshake()
        with socket.socket(fileno=tls.detach()) as plain:  # its alert is sent: wait for the client to close
            plain.settimeout(10)
            while plain.recv(4096):
                pass

    tls = TlsPlan(HOST, certificate=certificate, ca=authority.ca)
    with (
        http_server(script, tls=tls) as route,
        make(route) as publisher,
        pytest.raises(ConnectError, match='the server sent the alert "') as caught,
    ):
        publisher.publish("a")
    assert caught.value.step == "tls"
    assert caught.value.alert in (40, 48, 116)  # handshake failure, unknown CA, certificate required


@BOTH
def test_a_server_that_stalls_in_the_handshake_is_not_waited_for(make: Make, authority: Authority) -> None:
    over = threading.Event()
    tls = TlsPlan(HOST, certificate=authority.issue_device("device"), ca=authority.ca)
    with (
        http_server(lambda _: happened(over), tls=tls) as route,
        make(route, connect_timeout_s=0.5) as publisher,
    ):
        with pytest.raises(ConnectError, match=r"within 0\.5 s"):
            publisher.publish("a")
        over.set()


@BOTH
def test_files_that_are_missing_are_named(make: Make, tmp_path: Path) -> None:
    certificate = X509(tmp_path / "no.pem", tmp_path / "no.key")
    route = HttpRoute(1, tls=TlsPlan(HOST, certificate=certificate))
    with make(route) as publisher, pytest.raises(CredentialsError, match=r"no\.pem"):
        publisher.publish("a")
