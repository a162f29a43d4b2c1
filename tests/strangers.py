"""What tests with other people's clients share: an emulator at one address, who sees what they send, and programs."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from iotwire import Client, ConnectError
from iotwire.emulator import Emulator, EmulatorLimits

TIME_LIMIT_S = 15.0


@asynccontextmanager
async def an_emulator_at(address: str, **options: Any) -> AsyncIterator[Emulator]:
    limits = replace(EmulatorLimits(), close_timeout_s=0.5)
    try:
        async with Emulator(addresses=[address], limits=limits, **options) as emulator:
            yield emulator
    except ConnectError as error:
        if "has none of" in str(error):
            pytest.skip(f"this machine has no {address}")
        raise


def localhost_at(address: str) -> str:
    """The one name that these clients can send as SNI and connect to, where it stands for this address too."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        found = {info[4][0] for info in socket.getaddrinfo("localhost", 1, family, socket.SOCK_STREAM)}
    except OSError:
        found = set()
    if address not in found:
        pytest.skip(f"localhost is not {address} on this machine")
    return "localhost"


@asynccontextmanager
async def a_display(emulator: Emulator) -> AsyncIterator[Callable[[], Any]]:
    """A client of ours that sees what the others publish; the value gives the next message."""
    async with Client(emulator.endpoint.route("mqtt", emulator.device), "display") as client:
        await client.subscribe("readings/#", 1)
        messages = client.messages("readings/#")
        yield lambda: asyncio.wait_for(anext(messages), TIME_LIMIT_S)


async def run(*command: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run a program to its end: exit status, output, errors.

    In a thread: where a program ends before it has read its input, asyncio complains of a pipe that nobody asked about.
    """
    done = await asyncio.to_thread(
        subprocess.run, command, input=stdin, capture_output=True, timeout=TIME_LIMIT_S, check=False
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def in_brackets(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def converse_by_awscrt_5(make_client: Callable[..., Any], topic: str) -> tuple[str, bytes]:
    """Have a client of awscrt's for MQTT 5.0 publish to itself: what came. make_client: takes its three callbacks."""
    from awscrt import mqtt5

    connected, stopped, arrived, got = threading.Event(), threading.Event(), threading.Event(), []

    def take(data: Any) -> None:
        got.append((data.publish_packet.topic, data.publish_packet.payload))
        arrived.set()

    client = make_client(take, lambda _: connected.set(), lambda _: stopped.set())
    client.start()
    try:
        assert connected.wait(TIME_LIMIT_S)
        subscription = mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE)
        client.subscribe(mqtt5.SubscribePacket([subscription])).result(TIME_LIMIT_S)
        packet = mqtt5.PublishPacket(topic=topic, qos=mqtt5.QoS.AT_LEAST_ONCE, payload=b"21.5")
        client.publish(packet).result(TIME_LIMIT_S)
        assert arrived.wait(TIME_LIMIT_S)
    finally:
        client.stop()
        assert stopped.wait(TIME_LIMIT_S)
    [message] = got
    return message


def converse_by_awscrt_4(connection: Any, topic: str) -> tuple[str, bytes]:
    """The same over a connection of awscrt's for MQTT 3.1.1."""
    from awscrt import mqtt

    arrived, got = threading.Event(), []

    def take(topic: str, payload: bytes, **_: object) -> None:
        got.append((topic, payload))
        arrived.set()

    connection.connect().result(TIME_LIMIT_S)
    try:
        connection.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE, take)[0].result(TIME_LIMIT_S)
        connection.publish(topic, b"21.5", mqtt.QoS.AT_LEAST_ONCE)[0].result(TIME_LIMIT_S)
        assert arrived.wait(TIME_LIMIT_S)
    finally:
        connection.disconnect().result(TIME_LIMIT_S)
    [message] = got
    return message
