"""The client for threads over mutual TLS, against the emulator."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("cryptography", reason="the emulator's certificates are made with the package cryptography")

from emulated import an_emulator
from iotwire import BlockingClient
from iotwire.emulator import Emulator

BOTH_PORTS = pytest.mark.parametrize("port", [8883, 443])
BOUND_S = 20.0


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One in a thread of its own: this one blocks."""
    started, stop = threading.Event(), asyncio.Event()
    running: list[Emulator] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with an_emulator() as emulator:
            running.append(emulator)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(BOUND_S)
    yield running[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(BOUND_S)
    loop.close()


@BOTH_PORTS
def test_readings_go_both_ways(emulator: Emulator, port: int) -> None:
    route = emulator.endpoint.route("mqtt", emulator.device, port=port)
    with BlockingClient(route, f"tls-{port}") as client:
        assert client.security.startswith("TLSv1.3")
        client.subscribe("tls/#", 1, timeout_s=BOUND_S)
        messages = client.messages("tls/#")
        for size in (0, 1, 1000, 100_000):  # the last one takes several records
            client.publish("tls/size", bytes(size), 1, timeout_s=BOUND_S)
            message = messages.get(BOUND_S)
            assert message is not None
            assert len(message.payload) == size


def test_threads_share_a_connection_under_tls(emulator: Emulator) -> None:
    route = emulator.endpoint.route("mqtt", emulator.device)
    with BlockingClient(route, "tls-threads", limits=None) as client:
        failures: list[BaseException] = []

        def publish() -> None:
            try:
                for _ in range(50):
                    client.publish("nobody/listens", bytes(2000), 1, timeout_s=BOUND_S)
            except BaseException as error:  # noqa: BLE001 -- raised below
                failures.append(error)

        threads = [threading.Thread(target=publish) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND_S)
            assert not thread.is_alive()
        assert not failures
        assert client.stats().messages_sent == 250
