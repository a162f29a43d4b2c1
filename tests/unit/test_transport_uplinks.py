"""Interfaces and addresses that a connection leaves by."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from iotwire import Broker
from networks import (
    ON_EVERY_CLIENT,
    accept_mqtt,
    can_listen,
    failure_of,
    serving,
)


def address_of_peer(connect: Any, host: str, **way: Any) -> str:
    seen: list[str] = []

    def serve(connected: socket.socket) -> None:
        seen.append(connected.getpeername()[0])
        accept_mqtt(connected)

    with serving(serve, host) as port:
        connect(Broker(host, port, **way))
    return seen[0]


@ON_EVERY_CLIENT
@pytest.mark.parametrize(
    ("host", "source"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "127.0.0.2"), ("::1", "::1"), ("::1", "[::1]")]
)
def test_a_connection_leaves_from_the_address_that_is_asked_for(connect: Any, host: str, source: str) -> None:
    if not can_listen(host) or not can_listen(source.strip("[]")):
        pytest.skip(f"this machine has no {host} or {source}")
    assert address_of_peer(connect, host, source_address=source) == source.strip("[]")


@ON_EVERY_CLIENT
def test_only_addresses_of_the_family_of_the_source_are_tried(connect: Any) -> None:
    error = failure_of(connect, Broker("127.0.0.1", 1883, source_address="::1"))
    assert error.step == "dns"
    assert "source_address: ::1 is of IPv6, and 127.0.0.1 has no such address" in str(error)


@ON_EVERY_CLIENT
def test_an_address_that_this_machine_does_not_have(connect: Any) -> None:
    error = failure_of(connect, Broker("127.0.0.1", 1883, source_address="192.0.2.77"))
    assert error.step == "tcp"
    assert "source_address: cannot use 192.0.2.77: this machine does not have it" in str(error)


@pytest.mark.skipif(not hasattr(socket, "SO_BINDTODEVICE"), reason="only Linux binds to interfaces")
@ON_EVERY_CLIENT
def test_a_connection_leaves_by_the_interface_that_is_asked_for(connect: Any) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    except OSError as error:
        pytest.skip(f"this machine does not let its users bind to an interface: {error}")
    assert address_of_peer(connect, "127.0.0.1", interface="lo") == "127.0.0.1"


@pytest.mark.skipif(not hasattr(socket, "SO_BINDTODEVICE"), reason="only Linux binds to interfaces")
@ON_EVERY_CLIENT
def test_an_interface_that_is_not_there(connect: Any) -> None:
    error = failure_of(connect, Broker("127.0.0.1", 1883, interface="nosuch0"))
    assert error.step == "tcp"
    assert "interface: cannot bind to nosuch0: there is no such interface" in str(error)


@ON_EVERY_CLIENT
@pytest.mark.parametrize("lacks", ["permission", "option"])
def test_a_system_that_does_not_bind_to_interfaces_says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, connect: Any, lacks: str
) -> None:
    real = socket.socket.setsockopt

    def set_option(self: socket.socket, level: int, option: int, *value: Any) -> None:
        if value == (b"eth0\0",):
            raise PermissionError(1, "Operation not permitted")
        real(self, level, option, *value)

    if lacks == "permission":
        monkeypatch.setattr(socket, "SO_BINDTODEVICE", 25, raising=False)
        monkeypatch.setattr(socket.socket, "setsockopt", set_option)
    else:
        monkeypatch.delattr(socket, "SO_BINDTODEVICE", raising=False)
    error = failure_of(connect, Broker("127.0.0.1", 1883, interface="eth0"))
    assert error.step == "tcp"
    assert ("CAP_NET_RAW" if lacks == "permission" else "only Linux") in str(error)
