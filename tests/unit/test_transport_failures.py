"""Connections that cannot be made: whatever fails, it ends in time, in an error that says where and what to do."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from forking import in_child, needs_fork
from iotwire import BlockingClient, Broker, Client, ConnectError, EncodeError, Proxy, StepTimeouts, Tls
from iotwire.client.backoff import is_refusal
from iotwire.tls import ALERTS
from iotwire.transport import open_stream
from iotwire.transport import resolver as resolver_room
from iotwire.transport.explain import alert_of, describe_end
from iotwire.transport.resolver import MOST_THREADS, resolve_blocking
from iotwire.transport.steps import Progress
from iotwire.transport.tcp import Uplink
from iotwire.transport.tls import TlsContexts
from networks import (
    CERTIFICATE,
    ON_EVERY_CLIENT,
    accept_mqtt,
    black_hole,
    can_listen,
    connect_with_threads,
    failure_of,
    read_until_closed,
    serving,
)
from scripted import asynchronous
from scripted_threads import InThread, our_threads, until

# What the test of one step gives all others.
GENEROUS = {"connect_timeout_s": 30.0}


# Stalls, and the bounds of steps.


@pytest.fixture
def stalling_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """One that answers once it is told to. The event at its end is when nothing of it runs any more."""
    may_answer = threading.Event()

    def resolve(*arguments: Any, **keywords: Any) -> list[Any]:
        may_answer.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield may_answer
    may_answer.set()
    until(lambda: "iotwire resolver" not in our_threads())


# Seconds that run out, and the options for that. Other steps must not run out, on an emulated board neither.
BOUNDS: list[Any] = [
    pytest.param(0.05, lambda step: {"step_timeouts": StepTimeouts(**{f"{step}_s": 0.05}), **GENEROUS}, id="step"),
    pytest.param(0.5, lambda step: {"connect_timeout_s": 0.5}, id="all"),
]
STALLS = pytest.mark.parametrize(("seconds", "options"), BOUNDS)


@ON_EVERY_CLIENT
@STALLS
def test_a_resolver_that_stalls_is_left_to_itself(
    stalling_resolver: threading.Event, connect: Any, seconds: float, options: Any
) -> None:
    error = failure_of(connect, Broker("gateway.example", 1883), **options("dns"))
    assert not stalling_resolver.is_set()  # nobody waits for it, not even the event loop at its end
    assert error.step == "dns"
    assert str(error).startswith(f"no answer from the resolver for gateway.example within {seconds:g} s")


def test_lookups_that_stall_are_bounded_in_number_and_the_others_come_in_their_turn(
    stalling_resolver: threading.Event,
) -> None:
    callers = [InThread(resolve_blocking, "gateway.example", 1883, Progress(60.0)) for _ in range(3 * MOST_THREADS)]
    until(lambda: len(resolver_room._resolver._waiting) == 2 * MOST_THREADS)
    assert our_threads().count("iotwire resolver") == MOST_THREADS
    with pytest.raises(TimeoutError):
        resolve_blocking("gateway.example", 1883, Progress(0.01))
    assert len(resolver_room._resolver._waiting) == 2 * MOST_THREADS  # the one that was given up is not among them
    stalling_resolver.set()
    for each in callers:
        with pytest.raises(socket.gaierror, match="too late"):
            each.result(60)


def test_a_system_that_gives_no_thread_is_an_error_and_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="can't start new thread"):
            resolve_blocking("gateway.example", 1883, Progress(20.0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **keywords: ["found"])
    assert resolve_blocking("gateway.example", 1883, Progress(20.0)) == ["found"]


@needs_fork
def test_a_child_of_a_process_that_waits_for_the_resolver_resolves_by_itself(
    stalling_resolver: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers = [InThread(resolve_blocking, "gateway.example", 1883, Progress(60.0)) for _ in range(MOST_THREADS)]
    until(lambda: our_threads().count("iotwire resolver") == MOST_THREADS)

    def in_the_child() -> list[Any]:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **keywords: ["found"])
        return resolve_blocking("gateway.example", 1883, Progress(20.0))

    assert in_child(in_the_child) == "['found']"
    stalling_resolver.set()
    for each in callers:
        with pytest.raises(socket.gaierror):
            each.result(60)


@ON_EVERY_CLIENT
@STALLS
def test_an_address_where_nobody_answers(connect: Any, seconds: float, options: Any) -> None:
    with black_hole() as (host, port):
        error = failure_of(connect, Broker(host, port), **options("tcp"))
    assert error.step == "tcp"
    assert str(error) == f"no answer from {host}:{port} within {seconds:g} s"


@ON_EVERY_CLIENT
@STALLS
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_stalls(connect: Any, scheme: str, seconds: float, options: Any) -> None:
    with serving(read_until_closed) as port:
        route = Broker("gateway.example", 8883, proxy=Proxy(f"{scheme}://me:secret@127.0.0.1:{port}"))
        error = failure_of(connect, route, **options("proxy"))
    assert error.step == "proxy"
    assert str(error).startswith(f"no answer from the proxy {scheme}://127.0.0.1:{port} within {seconds:g} s")
    assert "gateway.example:8883" in str(error)


@ON_EVERY_CLIENT
@STALLS
def test_a_server_that_stalls_in_the_tls_handshake(connect: Any, seconds: float, options: Any) -> None:
    with serving(read_until_closed) as port:
        # The authorities of a system take an emulated board half a second.
        tls = Tls(ca=CERTIFICATE.encode())
        error = failure_of(connect, Broker("127.0.0.1", port, tls=tls), **options("tls"))
    assert error.step == "tls"
    assert str(error) == f"no answer from 127.0.0.1:{port} within {seconds:g} s in the TLS handshake"


@ON_EVERY_CLIENT
def test_a_server_that_stalls_before_its_connack(connect: Any) -> None:
    with serving(read_until_closed) as port:
        error = failure_of(connect, Broker("127.0.0.1", port), connect_timeout_s=0.5)
    assert error.step == "mqtt"
    assert str(error).startswith("no CONNACK within 0.5 s")


@pytest.mark.slow
def test_what_the_steps_take_is_taken_from_the_time_for_the_connack() -> None:
    """A proxy that takes most of the time, and then a server that says nothing."""
    stopped = threading.Event()

    def slow(connected: socket.socket) -> None:
        assert connected.recv(4096)
        stopped.wait(3.0)
        connected.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        read_until_closed(connected)

    with serving(slow) as port:
        route = Broker("gateway.example", 1883, proxy=Proxy(f"http://127.0.0.1:{port}"))
        began = time.monotonic()
        error = failure_of(connect_with_threads, route, connect_timeout_s=4.0)
        assert time.monotonic() - began < 6.5  # it would be 7 if the clock began anew
    assert error.step == "mqtt"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", True])
@pytest.mark.parametrize("name", ["dns_s", "tcp_s", "proxy_s", "tls_s"])
def test_a_bound_is_more_than_0(name: str, value: Any) -> None:
    with pytest.raises(EncodeError, match=name):
        StepTimeouts(**{name: value})


@pytest.mark.parametrize("kind", [Client, BlockingClient])
def test_bounds_are_a_value_of_their_own(kind: Any) -> None:
    with pytest.raises(EncodeError, match="step_timeouts"):
        kind(Broker("127.0.0.1", 1883), "c", step_timeouts={"dns_s": 1})


def test_an_error_keeps_what_it_knows_when_it_is_pickled() -> None:
    known = {"reason_code": 0x87, "step": "tls", "alert": 48, "http_status": 407, "server_time": datetime.now(UTC)}
    again = pickle.loads(pickle.dumps(ConnectError("refused", **known)))
    assert str(again) == "refused"
    assert vars(again) == known
    assert vars(ConnectError("x")) == dict.fromkeys(vars(again))


@pytest.mark.parametrize("turns", range(12))
@asynchronous
async def test_a_connect_that_is_cancelled_in_a_tunnel_leaves_no_socket(turns: int) -> None:
    """An unclosed socket is a ResourceWarning, and those are errors here."""
    with serving(read_until_closed) as port:
        route = Broker("gateway.example", 1883, proxy=Proxy(f"http://127.0.0.1:{port}"))
        connecting = asyncio.create_task(
            open_stream(route.prepare(datetime.now(UTC)), pytest.fail, timeout_s=20, contexts=TlsContexts())
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        (outcome,) = await asyncio.gather(connecting, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError)
    gc.collect()


# What is not there.


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@ON_EVERY_CLIENT
def test_a_port_where_nobody_listens(connect: Any) -> None:
    port = closed_port()
    error = failure_of(connect, Broker("127.0.0.1", port))
    assert error.step == "tcp"
    assert str(error) == f"cannot connect to 127.0.0.1:{port}: Connection refused"


@ON_EVERY_CLIENT
def test_a_name_that_does_not_resolve(connect: Any) -> None:
    error = failure_of(connect, Broker("no-such-host.invalid", 1883))
    assert error.step == "dns"
    assert str(error).startswith("cannot resolve no-such-host.invalid: ")


@ON_EVERY_CLIENT
def test_every_address_that_was_tried_is_named(monkeypatch: pytest.MonkeyPatch, connect: Any) -> None:
    port = closed_port()

    def resolve(*arguments: Any, **keywords: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in ("127.0.0.1", "127.0.0.3")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    error = failure_of(connect, Broker("gateway.example", 8883, tls=True))
    assert error.step == "tcp"
    assert "(tried 127.0.0.1: Connection refused; 127.0.0.3: Connection refused)" in str(error)
    assert "port 443 may be open" in str(error)


@ON_EVERY_CLIENT
@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT], ids=errno.errorcode.get)
def test_a_network_that_is_not_reached_may_be_one_that_blocks_the_port(
    monkeypatch: pytest.MonkeyPatch, connect: Any, number: int
) -> None:
    def refuse(self: Uplink, family: int) -> socket.socket:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Uplink, "open_socket", refuse)
    for port in (8883, 8443, 443):
        error = failure_of(connect, Broker("127.0.0.1", port, tls=True))
        assert error.step == "tcp"
        assert str(error).startswith(f"cannot connect to 127.0.0.1:{port}: {os.strerror(number)}")
        assert ("the route over port 443 may be open" in str(error)) == (port != 443)


@ON_EVERY_CLIENT
def test_an_address_where_nobody_answers_costs_a_moment_and_not_the_connection(
    monkeypatch: pytest.MonkeyPatch, connect: Any
) -> None:
    if not can_listen("127.0.0.2"):
        pytest.skip("this machine has no 127.0.0.2")
    with black_hole() as (_, port), serving(accept_mqtt, "127.0.0.2", port):

        def resolve(*arguments: Any, **keywords: Any) -> list[Any]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
                for address in ("127.0.0.1", "127.0.0.2")
            ]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        assert connect(Broker("gateway.example", port)) == "none"


@pytest.mark.parametrize(
    ("error", "has_connack", "presents_certificate", "expected"),
    [
        (None, True, True, "the server closed the connection"),
        (None, False, False, "the server closed the connection before its CONNACK"),
        (None, False, True, "the server closed the connection before its CONNACK (servers that"),
        (TimeoutError(110, "x"), True, False, "the connection ended: the link is dead, nothing came back over it"),
        (OSError(104, "reset"), False, False, "the connection ended before the CONNACK: [Errno 104] reset"),
    ],
)
def test_an_end_is_described(
    error: Exception | None, has_connack: bool, presents_certificate: bool, expected: str
) -> None:
    told = describe_end(error, has_connack=has_connack, presents_certificate=presents_certificate)
    assert told.startswith(expected)


@ON_EVERY_CLIENT
def test_a_proxy_that_is_not_there_is_named(connect: Any) -> None:
    port = closed_port()
    route = Broker("gateway.example", 8883, proxy=Proxy(f"http://me:secret@127.0.0.1:{port}"))
    error = failure_of(connect, route)
    assert error.step == "tcp"
    assert str(error) == f"cannot connect to the proxy http://127.0.0.1:{port}: Connection refused"


@ON_EVERY_CLIENT
def test_a_server_that_closes_in_each_step(connect: Any) -> None:
    def close(connected: socket.socket) -> None:
        connected.recv(4096)

    with serving(close) as port:
        assert failure_of(connect, Broker("127.0.0.1", port)).step == "mqtt"
        assert failure_of(connect, Broker("127.0.0.1", port, tls=True)).step == "tls"
        for scheme in ("http", "socks5"):
            route = Broker("gateway.example", 8883, proxy=Proxy(f"{scheme}://127.0.0.1:{port}"))
            error = failure_of(connect, route)
            assert error.step == "proxy"
            assert "it closed the connection" in str(error)


# TLS alerts.


def answer_with_alert(number: int) -> Any:
    def answer(connected: socket.socket) -> None:
        connected.recv(4096)
        connected.sendall(bytes([21, 3, 3, 0, 2, 2, number]))  # a record with a fatal alert (RFC 8446, 5.1 and 6)
        read_until_closed(connected)

    return answer


NAMELESS = {0, 52, 117, 121}  # close_notify is no error, and OpenSSL has no names for the others


@pytest.mark.parametrize("number", sorted(ALERTS.keys() - NAMELESS), ids=ALERTS.get)
def test_an_alert_of_the_server_has_its_number(number: int) -> None:
    """What OpenSSL calls them is asked of OpenSSL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with (
        serving(answer_with_alert(number)) as port,
        socket.create_connection(("127.0.0.1", port), 20) as connected,
        pytest.raises(ssl.SSLError) as caught,
    ):
        context.wrap_socket(connected, server_hostname="broker.test")
    assert alert_of(caught.value) == number, caught.value.reason


@ON_EVERY_CLIENT
@pytest.mark.parametrize(
    ("number", "advice"), [(112, "SNI"), (120, "ALPN"), (40, "ciphers"), (48, "registered"), (80, "internal error")]
)
def test_an_alert_is_told_with_what_can_be_done(connect: Any, number: int, advice: str) -> None:
    with serving(answer_with_alert(number)) as port:
        error = failure_of(connect, Broker("127.0.0.1", port, tls=True))
    assert (error.step, error.alert) == ("tls", number)
    assert advice in str(error)
    assert is_refusal(error)


@ON_EVERY_CLIENT
def test_a_server_that_does_not_speak_tls(connect: Any) -> None:
    def answer(connected: socket.socket) -> None:
        connected.recv(4096)
        connected.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        read_until_closed(connected)

    with serving(answer) as port:
        error = failure_of(connect, Broker("127.0.0.1", port, tls=True))
    assert (error.step, error.alert) == ("tls", None)
    assert str(error).startswith(f"TLS with 127.0.0.1:{port} failed")
