"""What a start costs: from nothing to the first message that a broker has acknowledged, in fresh interpreters.

Each entry is the shortest program of a library that publishes one message of QoS 1 over MQTT 5 and waits for its
PUBACK. At that moment it says what processor time its process has taken, the interpreter's own among it, and what the
kernel keeps in memory of it. Time on the wall is from before the process was started. Part of curves.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from import_cost import installed_bytes, stripped_sizes
from timing import Spread

TOPIC = "sites/berlin/rooms/e4/temperature"

# The first two publish nothing: they are what an interpreter takes, and what a client on asyncio with TLS begins with.
END = """
import json, time
with open("/proc/self/status") as status:
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(json.dumps([time.process_time(), time.monotonic(), resident]), flush=True)
import os
os._exit(0)
"""
IMPORTED = """
import time
imported = time.process_time()
"""


class Start(NamedTuple):
    """A program: the line that imports, and what publishes. distributions: what has to be installed for it."""

    imports: str
    publishes: str
    distributions: tuple[str, ...] = ()


def _asynchronous(body: str) -> str:
    return f"async def main():\n{body}\n    end()\nasyncio.run(main())"


STARTS = {
    "bare Python": Start("pass", "end()"),
    "asyncio and ssl alone": Start("import asyncio, ssl", "end()"),
    "iotwire.mqtt and a socket": Start(
        "import socket; from iotwire.mqtt import Connect, Decoder, Publish",
        f"""
link = socket.create_connection(("127.0.0.1", PORT))
decoder = Decoder(5)
for packet in Connect("start"), Publish({TOPIC!r}, b"1", qos=1, packet_id=1):
    link.sendall(packet.encode(5))
    while not decoder.feed(link.recv(4096)):
        pass
end()""",
        ("iotwire",),
    ),
    "iotwire BlockingClient": Start(
        "from iotwire import BlockingClient, Broker",
        f"""
with BlockingClient(Broker("127.0.0.1", PORT), "start") as client:
    client.publish({TOPIC!r}, b"1", qos=1)
    end()""",
        ("iotwire", "h11"),
    ),
    "iotwire Client": Start(
        "import asyncio; from iotwire import Client, Broker",
        _asynchronous(f"""
    async with Client(Broker("127.0.0.1", PORT), "start") as client:
        await client.publish({TOPIC!r}, b"1", qos=1)
        end()"""),
        ("iotwire", "h11"),
    ),
    "paho": Start(
        "from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5",
        f"""
client = Client(CallbackAPIVersion.VERSION2, "start", protocol=MQTTv5)
client.connect("127.0.0.1", PORT)
client.loop_start()
while not client.is_connected():
    time.sleep(0.0005)
client.publish({TOPIC!r}, b"1", qos=1).wait_for_publish(10)
end()""",
        ("paho-mqtt",),
    ),
    "aiomqtt": Start(
        "import asyncio; from aiomqtt import Client, ProtocolVersion",
        _asynchronous(f"""
    async with Client("127.0.0.1", PORT, protocol=ProtocolVersion.V5) as client:
        await client.publish({TOPIC!r}, b"1", qos=1)
        end()"""),
        ("aiomqtt", "paho-mqtt"),
    ),
    "gmqtt": Start(
        "import asyncio; from gmqtt import Client; from gmqtt.storage import PersistentStorage",
        _asynchronous(f"""
    storage = PersistentStorage()
    client = Client("start", persistent_storage=storage)
    await client.connect("127.0.0.1", PORT)
    client.publish({TOPIC!r}, b"1", qos=1)
    await storage.wait_empty()"""),
        ("gmqtt",),
    ),
    "mqttium": Start(
        "import asyncio; from mqttium import MQTTProtocolVersion; from mqttium.api import AsyncClient",
        _asynchronous(f"""
    client = AsyncClient("start", protocol=MQTTProtocolVersion.MQTTv5)
    await client.connect("127.0.0.1", PORT)
    await (await client.publish({TOPIC!r}, b"1", qos=1)).wait()"""),
        ("mqttium",),
    ),
    "zmqtt": Start(
        "import asyncio; from zmqtt import QoS, create_client",
        _asynchronous(f"""
    async with create_client("127.0.0.1", PORT, client_id="start", version="5.0") as client:
        await client.publish({TOPIC!r}, b"1", qos=QoS.AT_LEAST_ONCE)
        end()"""),
        ("zmqtt",),
    ),
    "awscrt": Start(
        "from threading import Event; from awscrt import io, mqtt5",
        f"""
connected = Event()
group = io.EventLoopGroup(1)
bootstrap = io.ClientBootstrap(group, io.DefaultHostResolver(group))
client = mqtt5.Client(mqtt5.ClientOptions(
    host_name="127.0.0.1", port=PORT, bootstrap=bootstrap, connect_options=mqtt5.ConnectPacket(client_id="start"),
    on_lifecycle_event_connection_success_fn=lambda data: connected.set()))
client.start()
connected.wait(10)
client.publish(mqtt5.PublishPacket(topic={TOPIC!r}, payload=b"1", qos=mqtt5.QoS.AT_LEAST_ONCE)).result(10)
end()""",
        ("awscrt",),
    ),
}


def program(start: Start, port: int) -> str:
    """The whole text: clocks before the import, after it, and at the end."""
    end = "def end():" + END.replace("\n", "\n    ").replace(
        "print(json.dumps([", "print(json.dumps([imported - began, "
    )
    return (
        f"import time\nbegan = time.process_time()\n{start.imports}{IMPORTED}PORT = {port}\n{end}\n{start.publishes}\n"
    )


def run_once(start: Start, port: int, bytecode: str) -> dict[str, float]:
    """One start. bytecode: where .pyc files go, whatever the environment says of them."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = bytecode
    words = [sys.executable, "-c", program(start, port)]
    began = time.monotonic()
    printed = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60, env=environment).stdout
    imported, cpu, ended, resident = json.loads(printed)
    return {
        "import_ms": imported * 1000,
        "cpu_ms": cpu * 1000,
        "wall_ms": (ended - began) * 1000,
        "resident_mb": resident / 1024,
    }


def installed_kb(start: Start) -> float | None:
    """Thousands of bytes on disk: ours with stripped modules, without bytecode; None where nothing is needed."""
    if not start.distributions:
        return None
    return sum(_own_bytes() if name == "iotwire" else installed_bytes(name) or 0 for name in start.distributions) / 1000


def _own_bytes() -> int:
    spec = find_spec("iotwire")
    assert spec is not None
    assert spec.submodule_search_locations
    total = 0
    for folder in map(Path, spec.submodule_search_locations):
        total += sum(stripped_sizes(folder).values())
        files = (path for path in folder.rglob("*") if path.suffix in (".py", ".pyi", ".typed"))
        total += sum(path.stat().st_size for path in files)
    return total


def measure_start(port: int, rounds: int) -> dict[str, Any]:
    """Every program in turns."""
    present = {name: start for name, start in STARTS.items() if all(map(_is_installed, start.distributions))}
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in present}
    with TemporaryDirectory() as bytecode:
        for start in present.values():
            run_once(start, port, bytecode)  # fills the page cache, and writes the bytecode, which a device has too
        for _ in range(rounds):
            for name, start in present.items():
                turns[name].append(run_once(start, port, bytecode))
    entries = [
        {
            "name": name,
            "installed_kb": installed_kb(present[name]),
            **{figure: Spread.of([turn[figure] for turn in found])._asdict() for figure in found[0]},
        }
        for name, found in turns.items()
    ]
    used = sorted({name for start in present.values() for name in start.distributions})
    return {"rounds": rounds, "entries": entries, "versions": {name: version(name) for name in used}}


def print_start(found: dict[str, Any]) -> None:
    print(f"\nstart: from nothing to the first PUBACK, QoS 1; {found['rounds']} rounds")
    heads = ("import, ms CPU", "PUBACK, ms CPU", "PUBACK, ms wall", "memory, MB")
    print(f"{'':28}{''.join(f'{head:>20}' for head in heads)}{'on disk, kB':>13}")
    for entry in found["entries"]:
        cells = "".join(
            f"{Spread(**entry[figure])!s:>20}" for figure in ("import_ms", "cpu_ms", "wall_ms", "resident_mb")
        )
        size = entry["installed_kb"]
        print(f"{entry['name']:28}{cells}{'-' if size is None else f'{size:,.0f}':>13}")


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
