"""What it takes to have messages on disk until they are acknowledged: bytes written, waits for the disk, CPU.

Each client publishes messages of 256 bytes, QoS 1, at an even pace to a mosquitto on this machine, with its store on a
disk; each in a process of its own, in turn. Bytes are write_bytes of /proc/self/io, which counts what is on its way to
the disk in pages; waits are calls of fsync and fdatasync. Then, ours alone: how many messages a second can be stored,
and what a backlog costs.

What the stores promise differs, and is said in the table: "power" is to survive a pulled plug once publish has
returned, "process" to survive SIGKILL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from broker import HOST, mosquitto, mosquitto_program

PAYLOAD_BYTES = 256
TOPIC = "sites/berlin/rooms/e4/temperature"
HERE = Path(__file__).parent


class Contender(NamedTuple):
    """A client with a store. promise: what outlives what, once a message is published."""

    package: str
    promise: str


CONTENDERS = {
    "iotwire always": Contender("iotwire", "power"),
    "iotwire interval": Contender("iotwire", "process; power after 1 s"),
    "iotwire os": Contender("iotwire", "process"),
    "mqttium": Contender("mqttium", "process (WAL, synchronous=NORMAL)"),
    "ohmqtt": Contender("ohmqtt", "power"),
    "ohmqtt db_fast": Contender("ohmqtt", "process (WAL, synchronous=NORMAL)"),
}


def payloads(count: int) -> list[bytes]:
    return [b"%08d" % number + b"x" * (PAYLOAD_BYTES - 8) for number in range(count)]


async def at_pace(count: int, rate: int, publish: Callable[[bytes], Any]) -> None:
    """`rate` calls a second; what each gives is awaited together with the others'."""
    began, waiting = time.monotonic(), []
    for number, payload in enumerate(payloads(count)):
        waiting.append(asyncio.ensure_future(publish(payload)))
        await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))
    await asyncio.gather(*waiting)


async def run_iotwire(port: int, path: str, count: int, rate: int, mode: Any) -> None:
    from iotwire import Broker, Client, Outbox

    async with Client(Broker(HOST, port), "publisher", outbox=Outbox(path, sync=mode)) as client:
        await at_pace(count, rate, lambda payload: client.publish(TOPIC, payload, 1))
        while client.stats().outbox.messages:  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def run_mqttium(port: int, path: str, count: int, rate: int) -> None:
    from mqttium import MQTTProtocolVersion
    from mqttium.api import AsyncClient
    from mqttium.persistence.sqlite import SqliteInflightStore

    client = AsyncClient("publisher", protocol=MQTTProtocolVersion.MQTTv5, store=SqliteInflightStore(path))
    await client.connect(HOST, port)

    async def publish(payload: bytes) -> None:
        await (await client.publish(TOPIC, payload, qos=1)).wait()

    await at_pace(count, rate, publish)
    await client.disconnect()


def run_ohmqtt(port: int, path: str, count: int, rate: int, *, is_fast: bool) -> None:
    from ohmqtt.client import Client

    with Client(path, db_fast=is_fast) as client:
        client.connect(f"mqtt://{HOST}:{port}", client_id="publisher")
        client.wait_for_connect(10)
        began, handles = time.monotonic(), []
        for number, payload in enumerate(payloads(count)):
            handles.append(client.publish(TOPIC, payload, qos=1))
            time.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))
        for handle in handles:
            handle.wait_for_ack(10)
        client.disconnect()


def run(name: str, port: int, path: str, count: int, rate: int) -> None:
    """In a process of its own: publish, and say what it took."""
    before, cpu = written_bytes(), time.process_time()
    package, _, mode = name.partition(" ")
    if package == "iotwire":
        asyncio.run(run_iotwire(port, path, count, rate, mode))
    elif package == "mqttium":
        asyncio.run(run_mqttium(port, path, count, rate))
    else:
        run_ohmqtt(port, path, count, rate, is_fast=bool(mode))
    print(json.dumps({"written": written_bytes() - before, "cpu_s": time.process_time() - cpu}))


def written_bytes() -> int:
    text = Path("/proc/self/io").read_text()
    return int(text.partition("\nwrite_bytes: ")[2].partition("\n")[0])


def measure(name: str, port: int, folder: Path, counter: Path, count: int, rate: int) -> dict[str, float]:
    syncs, path = folder / "syncs", folder / "store.db"
    done = subprocess.run(
        [sys.executable, __file__, "--run", name, str(port), str(path), str(count), str(rate)],
        env={**os.environ, "LD_PRELOAD": str(counter), "COUNT_SYNCS": str(syncs)},
        stdout=subprocess.PIPE,
        check=True,
    )
    figures = json.loads(done.stdout)
    for file in folder.glob("store.db*"):
        file.unlink()
    stored = count * PAYLOAD_BYTES
    return {
        "bytes_per_byte": figures["written"] / stored,
        "syncs_per_message": int(syncs.read_text()) / count,
        "cpu_us": figures["cpu_s"] / count * 1e6,
    }


def compile_counter(folder: Path) -> Path:
    library = folder / "count_syncs.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, HERE / "count_syncs.c", "-ldl"], check=True)
    return library


def compare(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    program = mosquitto_program()
    if program is None:
        raise SystemExit("mosquitto is not installed: make brokers")
    counter, found = compile_counter(folder), {}
    print(f"{options.count} messages of {PAYLOAD_BYTES} bytes at {options.rate} a second, QoS 1, until acknowledged")
    print(f"{'client':18} {'written/byte':>12} {'waits/message':>13} {'CPU us':>8}  survives the end of")
    for name, contender in CONTENDERS.items():
        try:
            version(contender.package)
        except PackageNotFoundError:
            print(f"{name:18} is not installed")
            continue
        with mosquitto(program) as port:
            figures = found[name] = measure(name, port, folder, counter, options.count, options.rate)
        cells = f"{figures['bytes_per_byte']:12.1f} {figures['syncs_per_message']:13.3f} {figures['cpu_us']:8.0f}"
        print(f"{name:18} {cells}  {contender.promise}")
    return found


async def store(path: str, count: int) -> dict[str, float]:
    """Ours: messages stored a second by publish_many."""
    from iotwire import Broker, Client, Outbox

    async with Client(Broker(HOST, 1), "publisher", outbox=Outbox(path)) as client:
        began = time.monotonic()
        report = await client.publish_many(((TOPIC, payload) for payload in payloads(count)), qos=1)
        assert report.acknowledged == count
        return {"stored_per_s": count / (time.monotonic() - began)}


async def deliver(path: str, port: int) -> dict[str, float]:
    """Ours: messages of a backlog delivered a second, and the memory that takes beyond that of an idle client."""
    from iotwire import Broker, Client, Outbox

    async def drain(path: str) -> float:
        async with Client(Broker(HOST, port), "publisher", outbox=Outbox(path)) as client:
            await client.publish(TOPIC, b"", 1)
            count, began = client.stats().outbox.messages, time.monotonic()  # type: ignore[union-attr]
            while client.stats().outbox.messages:  # type: ignore[union-attr]  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            return count / (time.monotonic() - began)

    await drain(f"{path}-empty")
    before = peak_kb()
    rate = await drain(path)
    return {"delivered_per_s": rate, "backlog_mb": (peak_kb() - before) / 1024}


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_backlog(folder: Path, count: int) -> dict[str, float]:
    program = mosquitto_program()
    assert program is not None

    def ask(*words: object) -> dict[str, float]:
        done = subprocess.run([sys.executable, __file__, *map(str, words)], stdout=subprocess.PIPE, check=True)
        found: dict[str, float] = json.loads(done.stdout)
        return found

    path = folder / "backlog.db"
    with mosquitto(program) as port:
        return {**ask("--store", path, count), **ask("--deliver", path, port)}


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--run"]:
        name, port, path, count, rate = sys.argv[2:]
        run(name, int(port), path, int(count), int(rate))
        return
    if sys.argv[1:2] in (["--store"], ["--deliver"]):
        part = store if sys.argv[1] == "--store" else deliver
        print(json.dumps(asyncio.run(part(sys.argv[2], int(sys.argv[3])))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="messages of each client (default: 2000)")
    parser.add_argument("--rate", type=int, default=100, help="messages a second (default: 100)")
    parser.add_argument("--backlog", type=int, default=100_000, help="messages of the backlog (default: 100000)")
    parser.add_argument("--folder", type=Path, help="on the disk that is meant (default: the system's for such files)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.folder) as folder:
        found: dict[str, Any] = dict(compare(options, Path(folder)))
        found["backlog"] = figures = measure_backlog(Path(folder), options.backlog)
    print(
        f"iotwire, {options.backlog} messages: {figures['stored_per_s']:.0f} a second stored, "
        f"{figures['delivered_per_s']:.0f} a second delivered, {figures['backlog_mb']:.1f} MB more memory meanwhile"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
