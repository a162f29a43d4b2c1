"""Programs that run as a service, each a process of its own that is sent signals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import scripted_threads
from iotwire import service
from iotwire.errors import EncodeError, IotwireError
from iotwire.mqtt import Disconnect, Publish
from scripted import LOOPS
from service_manager import Manager

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals as they are on Linux")

TIME_LIMIT_S = 30.0
BOTH_SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])

HEAD = """
import asyncio, logging, os, signal, sys, threading, time
from contextlib import suppress
from iotwire import BlockingClient, Broker, Client, service, systemd

def say(*words):
    print(*words, flush=True)
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    with made.socket:
        yield made


@contextmanager
def program(manager: Manager, text: str, *arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A program that runs, and has said "ready"."""
    command = [sys.executable, "-c", HEAD + text, *map(str, arguments)]
    variables = {**os.environ, "NOTIFY_SOCKET": manager.address, **environment}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=variables) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line == "ready\n", (line, process.stderr and process.stderr.read())
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    """Its status, what else it said, and its errors."""
    assert process.stdout is not None
    assert process.stderr is not None
    guard = threading.Timer(TIME_LIMIT_S, process.kill)
    guard.start()
    output, errors = process.stdout.read(), process.stderr.read()  # `communicate` would lose what came with "ready"
    guard.cancel()
    return process.wait(TIME_LIMIT_S), output.splitlines(), errors


@pytest.mark.parametrize("loop", list(LOOPS))
@BOTH_SIGNALS
def test_a_signal_ends_a_program_in_an_orderly_way(manager: Manager, number: signal.Signals, loop: str) -> None:
    text = """
async def main():
    try:
        systemd.ready()
        say("ready")
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.05)
        say("closed")

if sys.argv[1] == "uvloop":
    import uvloop
    say("result", service.run(main, loop_factory=uvloop.new_event_loop))
else:
    say("result", service.run(main))
"""
    with program(manager, text, loop) as process:
        process.send_signal(number)
        assert ended(process) == (0, ["closed", "result None"], "")
    assert manager.told() == ["READY=1", "STOPPING=1"]


@BOTH_SIGNALS
def test_a_signal_ends_a_program_of_threads_as_an_interrupt_does(manager: Manager, number: signal.Signals) -> None:
    text = """
def main():
    try:
        systemd.ready()
        say("ready")
        threading.Event().wait()
    finally:
        say("closed")

say("result", service.run_blocking(main))
"""
    with program(manager, text) as process:
        process.send_signal(number)
        assert ended(process) == (0, ["closed", "result None"], "")
    assert manager.told() == ["READY=1", "STOPPING=1"]


# A client that has a message to deliver. What it says after "ready" comes at its end.
SENDING = {
    "asyncio": """
async def main():
    async with Client(Broker("127.0.0.1", int(sys.argv[1])), "c") as client:
        client.publish_nowait("a", b"1", 1)
        say("ready")
        async for _ in client.messages():
            pass

service.run(main)
""",
    "threads": """
def main():
    with BlockingClient(Broker("127.0.0.1", int(sys.argv[1])), "c") as client:
        client.publish_nowait("a", b"1", 1)
        say("ready")
        for _ in client.messages():
            pass

service.run_blocking(main)
""",
}


@pytest.mark.parametrize("kind", SENDING)
def test_a_client_delivers_what_it_has_and_says_goodbye(manager: Manager, kind: str) -> None:
    """A thread that is interrupted in the midst of reading or writing goes on with another connection."""
    seen: list[Any] = []
    may_answer = threading.Event()

    def script(peer: scripted_threads.Peer) -> None:
        peer.accept()
        if peer.number == 0:
            publish = peer.expect(Publish)
            scripted_threads.happened(may_answer)
            with suppress(ConnectionError):
                peer.answer(publish)
        seen.extend(peer.answer_until_close())

    with scripted_threads.scripted(script) as route, program(manager, SENDING[kind], route.port) as process:
        process.send_signal(signal.SIGTERM)
        scripted_threads.until(lambda: "STOPPING=1" in manager.told())
        may_answer.set()
        status, _, errors = ended(process)
        assert (status, "before" in errors) == (0, False), errors  # "... was closed before 1 messages were delivered"
    assert isinstance(seen[-1], Disconnect)
    assert len(seen) == 1 or kind == "threads"


# Programs that do not end, each in a way of its own.
STUBBORN = {
    "a loop that hangs": """
async def main():
    say("ready")
    while True:
        time.sleep(0.01)

service.run(main, stop_timeout_s=float(sys.argv[1]))
""",
    "a task that will not be cancelled": """
async def main():
    say("ready")
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

service.run(main, stop_timeout_s=float(sys.argv[1]))
""",
    "a thread that never ends": """
async def main():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    say("ready")
    await asyncio.sleep(60)

service.run(main, stop_timeout_s=float(sys.argv[1]))
""",
    "what comes afterwards": """
async def main():
    say("ready")
    await asyncio.sleep(60)

service.run(main, stop_timeout_s=float(sys.argv[1]))
time.sleep(60)
""",
    "a call that goes on": """
def main():
    words = ["ready"]
    while True:
        with suppress(KeyboardInterrupt):
            if words:
                say(words.pop())
            time.sleep(60)

service.run_blocking(main, stop_timeout_s=float(sys.argv[1]))
""",
}


@pytest.mark.parametrize("name", STUBBORN)
def test_the_bound_holds_whatever_does_not_end(manager: Manager, name: str) -> None:
    with program(manager, STUBBORN[name], 0.3) as process:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 1
        assert time.monotonic() - began >= 0.25
    assert "STOPPING=1" in manager.told()


@pytest.mark.parametrize("name", STUBBORN)
def test_a_second_signal_ends_it_at_once(manager: Manager, name: str) -> None:
    with program(manager, STUBBORN[name], 600) as process:
        process.send_signal(signal.SIGINT)
        scripted_threads.until(lambda: "STOPPING=1" in manager.told())
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 128 + signal.SIGTERM


@pytest.mark.parametrize("runner", ["service.run(main)", "service.run_blocking(lambda: asyncio.run(main()))"])
@pytest.mark.parametrize(
    ("ending", "status", "output", "error"),
    [
        ("return 7", 0, ["7"], ""),
        ("raise ValueError('of its own')", 1, [], "ValueError: of its own"),
        ("sys.exit(3)", 3, [], ""),
    ],
)
def test_a_program_that_ends_by_itself_does_so_as_ever(
    manager: Manager, runner: str, ending: str, status: int, output: list[str], error: str
) -> None:
    text = f"""
async def main():
    say("ready")
    await asyncio.sleep(0)
    {ending}

say({runner})
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""
    with program(manager, text) as process:
        told = ended(process)
        assert told[:2] == (status, output)
        assert error in told[2]
    assert manager.told() == ["STOPPING=1"]


def test_what_goes_wrong_while_stopping_is_raised(manager: Manager) -> None:
    text = """
async def main():
    try:
        say("ready")
        await asyncio.sleep(60)
    finally:
        raise OSError("the disk is full")

service.run(main)
"""
    with program(manager, text) as process:
        process.send_signal(signal.SIGTERM)
        status, _, errors = ended(process)
        assert (status, "OSError: the disk is full" in errors) == (1, True)


@pytest.mark.parametrize(
    "runner",
    [
        "service.run(main)",
        "service.run_blocking(lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(60)))",
    ],
)
def test_a_signal_that_comes_before_anything_has_begun_is_not_lost(manager: Manager, runner: str) -> None:
    text = f"""
def signalled():
    os.kill(os.getpid(), signal.SIGTERM)
    return asyncio.new_event_loop()

async def main():
    say("begun")

run = service.run
service.run = lambda main: run(main, loop_factory=signalled)
say("ready")
{runner}
"""
    with program(manager, text) as process:
        assert ended(process) == (0, [], "")
    assert manager.told() == ["STOPPING=1"]


def test_the_watchdog_gets_its_signs_while_a_program_runs_and_while_it_stops(manager: Manager) -> None:
    text = """
async def main():
    try:
        say("ready")
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.3)

service.run(main)
"""
    with program(manager, text, WATCHDOG_USEC="100000") as process:
        scripted_threads.until(lambda: "WATCHDOG=1" in manager.told())
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0
    told = manager.told()
    assert told.index("STOPPING=1") < len(told) - 1
    assert set(told) == {"STOPPING=1", "WATCHDOG=1"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to make a namespace")
@pytest.mark.parametrize("kind", ["ends", "goes on"])
def test_it_is_fine_as_process_1_of_a_container(kind: str) -> None:
    """There a signal that nobody handles does nothing at all, and so does one that is sent to oneself again."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no namespaces can be made here")
    text = """
async def main():
    say("ready" if os.getpid() == 1 else "not 1")
    while True:
        with suppress(*([asyncio.CancelledError] if sys.argv[1] == "goes on" else [])):
            await asyncio.sleep(60)

service.run(main, stop_timeout_s=0.3)
"""
    command = [*unshare, sys.executable, "-c", HEAD + text, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
            os.kill(int(child), signal.SIGTERM)
            assert ended(process)[0] == (0 if kind == "ends" else 1)
        finally:
            process.kill()


def wakeup_fd() -> int:
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return descriptor


@pytest.mark.parametrize("loop_factory", list(LOOPS.values()), ids=list(LOOPS))
def test_a_signal_wakes_a_loop_that_was_about_to_wait(loop_factory: Any) -> None:
    """Without a descriptor to write to, one that comes at that moment waited for whatever else would wake the loop."""

    async def main() -> int:
        return wakeup_fd()

    assert service.run(main, loop_factory=loop_factory) not in (None, -1)
    assert wakeup_fd() == -1


# How it is called.


async def nothing() -> None:
    pass


@pytest.mark.parametrize(
    "call",
    [
        lambda **options: service.run(nothing, **options),
        lambda **options: service.run_blocking(lambda: None, **options),
    ],
)
def test_it_is_for_the_main_thread_and_for_a_time(call: Callable[..., Any]) -> None:
    for seconds in (0, -1, 1e9, float("nan"), True, "1"):
        with pytest.raises(EncodeError, match="seconds"):
            call(stop_timeout_s=seconds)
    before = signal.getsignal(signal.SIGTERM)
    call()
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(IotwireError, match="main thread"):
        scripted_threads.InThread(call).result()
