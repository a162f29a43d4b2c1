"""An emulator to test against, and devices that connect to it by hand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from iotwire import (
    X509,
    Client,
)
from iotwire.emulator import Emulator, EmulatorLimits
from iotwire.mqtt import (
    ConnAck,
    Connect,
)
from iotwire.route import TlsPlan
from iotwire.transport import make_client_context
from scripted import Peer

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
