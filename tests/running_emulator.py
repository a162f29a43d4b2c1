"""An emulator in a thread, for programs and clients that block; and what the environment says of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from iotwire.emulator import Emulator, EmulatorLimits
from tokens import FOLDER, pem

__all__ = ["AUTHORIZER", "SIGNING_KEY", "TOKEN_KEY_NAME", "a_running_emulator", "environment_of"]

# An authorizer of the running emulator, and the key that its tokens are signed with.
AUTHORIZER, TOKEN_KEY_NAME = "Door", "DoorToken"
SIGNING_KEY = FOLDER / "rsa-2048.key"

TIME_LIMIT_S = 60.0


def allow_all(event: dict[str, Any]) -> dict[str, Any]:
    """The answer of an authorizer that knows every token but "wrong"."""
    everything = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
    return {
        "isAuthenticated": event.get("token") != "wrong",
        "principalId": "tests",
        "disconnectAfterInSeconds": 3600,
        "refreshAfterInSeconds": 300,
        "policyDocuments": [{"Version": "2012-10-17", "Statement": [everything]}],
    }


@contextmanager
def a_running_emulator(address: str = "127.0.0.1") -> Iterator[Emulator]:
    """An emulator that runs in a thread of its own until the end of the block."""
    emulator = Emulator(addresses=[address], limits=replace(EmulatorLimits(), close_timeout_s=0.5))
    loop = asyncio.new_event_loop()
    ready, ended = threading.Event(), asyncio.Event()

    async def work() -> None:
        async with emulator:
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[work()])
    thread.start()
    try:
        assert ready.wait(TIME_LIMIT_S), "the emulator did not start"
        emulator.add_authorizer(AUTHORIZER, allow_all, token_key_name=TOKEN_KEY_NAME, public_keys=[pem("rsa-2048.pem")])
        _ = emulator.device  # made here, and not by two threads at once
        yield emulator
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(TIME_LIMIT_S)
        loop.close()


def environment_of(emulator: Emulator) -> dict[str, str]:
    """As `emulator.env` has it."""
    device = emulator.device
    ports = {f"IOTWIRE_PORT_{service}": str(local) for service, local in emulator.ports.items()}
    return {
        "IOTWIRE_ENDPOINT": emulator.host,
        "IOTWIRE_ADDRESS": emulator.addresses[0],
        "IOTWIRE_CA": str(device.ca),
        "IOTWIRE_CERT": str(device.cert),
        "IOTWIRE_KEY": str(device.key),
        **ports,
    }
