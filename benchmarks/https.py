"""Publishing over HTTPS against `requests` and botocore: `make bench-https`, or `python benchmarks/https.py`.

What is compared is the processor time of the client's process, user and system, for one message of QoS 1 on a
connection that stays open, under TLS 1.3 with a client certificate. The server is another process, which answers as
AWS IoT does. Every contender gets a fresh interpreter for each turn, and they take turns; a peer's time is divided by
that of each of ours in the same round, and the table shows the median over the rounds.

botocore signs each message, as its users' do, and is shown without that too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time, time
from typing import Any

from iotwire import X509, BlockingHttpsPublisher, Endpoint, HttpsPublisher

NAME = "localhost"
TOPIC = "sensors/room1/temperature"
TARGET = "/topics/sensors%2Froom1%2Ftemperature?qos=1"
TOKEN = b'{"message":"OK","traceId":"d3f1a2b4-0000-4000-8000-5e1c3b2a1908"}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
    b"x-amzn-RequestId: d3f1a2b4-0000-4000-8000-5e1c3b2a1908\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n"
) % len(TOKEN) + TOKEN
TIMEOUT_S = 300.0

# By contender: how many times each of ours it is to cost at least.
AIMS = {"requests": 2.0, "botocore": 3.0}
OURS = ("asyncio", "blocking")


class Turn:
    """One contender's turn. port: of the server. device: a certificate that it accepts."""

    def __init__(self, port: int, device: X509, messages: int, size: int) -> None:
        self.port = port
        self.device = device
        self.payload = bytes(size)
        self._messages = messages
        self._warm_up = max(1, messages // 4)

    def measure(self, publish: Callable[[], object]) -> None:
        """Publish, one message after another, and print what that took."""
        for _ in range(self._warm_up):
            publish()
        cpu, wall = process_time(), time()
        for _ in range(self._messages):
            publish()
        self.report(cpu, wall)

    async def measure_async(self, publisher: HttpsPublisher) -> None:
        for _ in range(self._warm_up):
            await publisher.publish(TOPIC, self.payload, 1)
        cpu, wall = process_time(), time()
        for _ in range(self._messages):
            await publisher.publish(TOPIC, self.payload, 1)
        self.report(cpu, wall)

    def report(self, cpu: float, wall: float) -> None:
        spent = {"cpu": process_time() - cpu, "wall": time() - wall}
        print(json.dumps({name: seconds / self._messages * 1e6 for name, seconds in spent.items()}))

    @property
    def route(self) -> Any:
        endpoint = Endpoint(NAME, address="127.0.0.1", ports={8443: self.port})
        return endpoint.route("https", self.device, port=8443)

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"


def run_asyncio(turn: Turn) -> None:
    async def work() -> None:
        async with HttpsPublisher(turn.route) as publisher:
            await turn.measure_async(publisher)

    asyncio.run(work())


def run_blocking(turn: Turn) -> None:
    with BlockingHttpsPublisher(turn.route) as publisher:
        turn.measure(lambda: publisher.publish(TOPIC, turn.payload, 1))


def run_requests(turn: Turn) -> None:
    import requests

    with requests.Session() as session:
        session.cert = (str(turn.device.cert), str(turn.device.key))
        session.verify = str(turn.device.ca)
        session.trust_env = False  # or it looks for proxies and passwords with each message

        def publish() -> None:
            session.post(turn.url + TARGET, data=turn.payload, timeout=30).raise_for_status()

        turn.measure(publish)


def run_botocore(turn: Turn, *, signed: bool = True) -> None:
    import botocore
    import botocore.session
    from botocore.config import Config

    options: dict[str, Any] = {
        "client_cert": (str(turn.device.cert), str(turn.device.key)),
        "retries": {"mode": "standard"},
    }
    if not signed:
        options["signature_version"] = botocore.UNSIGNED
    client = botocore.session.get_session().create_client(
        "iot-data",
        region_name="eu-central-1",
        endpoint_url=turn.url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        verify=str(turn.device.ca),
        config=Config(**options),
    )
    turn.measure(lambda: client.publish(topic=TOPIC, payload=turn.payload, qos=1))


CONTENDERS: dict[str, Callable[[Turn], None]] = {
    "asyncio": run_asyncio,
    "blocking": run_blocking,
    "requests": run_requests,
    "botocore": run_botocore,
    "botocore, unsigned": lambda turn: run_botocore(turn, signed=False),
}


def serve(cert: str, key: str, ca: str) -> None:
    """Take messages, in a thread for each connection, until stdin is closed. Prints its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED

    def answer(connected: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(connected, server_side=True) as tls:
            received = b""
            while data := tls.recv(65536):
                received += data
                while (end := received.find(b"\r\n\r\n") + 4) > 3:
                    head = received[:end].lower()
                    size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                    if len(received) < end + size:
                        break
                    received = received[end + size :]
                    tls.sendall(ANSWER)

    def accept() -> None:
        while True:
            connected, _ = listener.accept()
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(connected,), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


def take_turn(who: str, arguments: list[str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--turn", who, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{who} failed: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def compare(rounds: int, messages: int, size: int) -> bool:
    """Measure all, and print the table. Whether the aims are reached."""
    from iotwire.emulator.pki import Authority

    with TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        server, device = authority.issue_server([NAME]), authority.issue_device("device")
        command = [sys.executable, __file__, "--serve", str(server.cert), str(server.key), str(authority.ca)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            arguments = [process.stdout.readline().strip(), str(device.cert), str(device.key), str(authority.ca)]
            arguments += [str(messages), str(size)]
            turns: dict[str, list[dict[str, float]]] = {who: [] for who in CONTENDERS}
            for _ in range(rounds):
                for who, figures in turns.items():
                    figures.append(take_turn(who, arguments))
                print(".", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            process.communicate("")

    print(f"publish QoS 1, {size} bytes, one by one; {messages} messages, {rounds} rounds; microseconds for one")
    print(f"{'':20} {'cpu':>8} {'wall':>8}" + "".join(f"{'of ' + our:>14}" for our in OURS))
    reached = True
    for who, figures in turns.items():
        cells = "".join(f"{median(each[name] for each in figures):9.1f}" for name in ("cpu", "wall"))
        ratios = [
            median(his["cpu"] / our["cpu"] for his, our in zip(figures, turns[name], strict=True)) for name in OURS
        ]
        shown = "" if who in OURS else "".join(f"{ratio:13.2f}x" for ratio in ratios)
        if who in AIMS:
            is_reached = min(ratios) >= AIMS[who]
            reached = reached and is_reached
            shown += f"  {AIMS[who]:g}x {'reached' if is_reached else 'BELOW'}"
        print(f"{who:20}{cells}{shown}")
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256, help="bytes of a message")
    parser.add_argument("--turn", nargs=7, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return 0
    if options.turn:
        who, port, cert, key, ca, messages, size = options.turn
        CONTENDERS[who](Turn(int(port), X509(cert, key, ca=ca), int(messages), int(size)))
        return 0
    return 0 if compare(options.rounds, options.messages, options.size) else 1


if __name__ == "__main__":
    raise SystemExit(main())
