"""`iotwire demo`: readings of this machine through a local endpoint, by each of the nine routes of the matrix."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from time import perf_counter
from typing import Any

from .. import __version__
from ..client import Client, MessageStream
from ..credentials import X509, SigV4
from ..custom_auth import CustomAuth, TokenSigner
from ..emulator import ConnectionInfo, Emulator
from ..emulator.pki import make_token_key
from ..endpoint import ROUTES, EndpointRoute
from ..errors import IotwireError, PublishError
from ..https import HttpsPublisher
from ..route import PROTOCOL_NAMES, join_host_port
from .arguments import Commands, positive
from .readings import Reading, gateway_name, read_machine
from .terminal import Style, print_fact

__all__ = ["add_parser", "run", "run_demo"]

# How long to wait, after the last reading was sent, for those that are still under way.
ARRIVAL_TIMEOUT_S = 10.0
# How many messages go back to each route that can subscribe.
ANSWERS = 3
_LATENCY_WIDTH = 8
AUTHORIZER, TOKEN_KEY = "gateways", "GatewayToken"


def add_parser(commands: Commands) -> None:
    parser = commands.add_parser(
        "demo",
        help="send readings of this machine through a local endpoint",
        description="Start a local endpoint, and send readings of this machine to it by each of the nine routes that "
        "AWS IoT Core has: MQTT, MQTT over WebSockets and HTTPS, with a certificate, a signature or an authorizer, "
        "over IPv4 and IPv6 by turns. All go with QoS 1 to one client that shows them, and those that can subscribe "
        "get an answer. The exit status is not 0 if anything is missing.",
    )
    parser.add_argument("--seconds", type=positive, default=5.0, metavar="N", help="how long to send (default: 5)")
    parser.add_argument(
        "--interval", type=positive, default=1.0, metavar="S", help="seconds between rounds (default: 1)"
    )
    parser.add_argument("--version", type=int, choices=(4, 5), default=5, help="4 is MQTT 3.1.1 (default: 5)")
    parser.add_argument("--payload", metavar="TEXT", help="send this text instead of readings")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    return asyncio.run(
        run_demo(seconds=options.seconds, interval_s=options.interval, version=options.version, payload=options.payload)
    )


@dataclass(slots=True)
class _Line:
    """A reading, and how long it took by each route, in seconds by the number of the route's row."""

    reading: Reading
    latencies_s: dict[int, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Sender:
    """One route, what was sent by it, and what became of that."""

    route: EndpointRoute
    publisher: Client | HttpsPublisher
    prefix: str
    sent: int = 0
    acknowledged: int = 0
    received: int = 0  # at the other end
    answers: int | None = None  # what came back to it; None where it cannot subscribe
    wire_bytes: int | None = None  # of all that was sent, with its acknowledgements
    info: ConnectionInfo | None = None
    latencies_s: list[float] = field(default_factory=list)
    under_way: dict[str, deque[tuple[_Line, float]]] = field(default_factory=dict)

    async def send(self, lines: Sequence[_Line]) -> None:
        """Send readings one after another, each when the one before it was acknowledged."""
        for line in lines:
            topic = f"{self.prefix}/reading/{line.reading.name}"
            self.under_way.setdefault(topic, deque()).append((line, perf_counter()))
            self.sent += 1
            with contextlib.suppress(PublishError):  # refused: then it is missing among the acknowledged
                await self.publisher.publish(topic, line.reading.payload, qos=1)
                self.acknowledged += 1

    def count_bytes(self, before: Mapping[int, ConnectionInfo], after: Mapping[int, ConnectionInfo]) -> None:
        """What went over its connection between two looks at the endpoint's, where that was one connection."""
        number = self.route.row.number
        self.info = after.get(number)
        if self.info is not None and number in before and before[number].peer == self.info.peer:
            totals = [(info.bytes_received, info.bytes_sent) for info in (before[number], self.info)]
            counts = [received + sent for received, sent in totals if received is not None and sent is not None]
            self.wire_bytes = counts[1] - counts[0] if len(counts) == 2 else None

    @property
    def missing(self) -> int:
        answers = 0 if self.answers is None else ANSWERS - self.answers
        return max(self.sent - self.acknowledged, self.sent - self.received, answers)

    @property
    def fault(self) -> str | None:
        """What is wrong with it, for the table; None where all is right."""
        row = self.route.row
        if self.missing or not self.sent:
            return f"{self.missing} missing"
        if self.info is None or (self.info.row, self.info.alpn) != (row.number, row.alpn):
            return "came another way"
        return None

    def take(self, topic: str, payload: bytes | memoryview, now: float) -> _Line | None:
        """Note an arrival; None where nothing of the kind was sent."""
        expected = self.under_way.get(topic)
        if not expected or expected[0][0].reading.payload != payload:
            return None
        line, sent_at = expected.popleft()
        self.received += 1
        self.latencies_s.append(now - sent_at)
        line.latencies_s[self.route.row.number] = now - sent_at
        return line


@dataclass(slots=True)
class _Tally:
    """All senders, and what was seen at the other end."""

    senders: list[_Sender]
    lines: list[_Line] = field(default_factory=list)  # that are not complete yet
    wrong: int = 0  # arrived, but not as it was sent, or not in its order
    has_arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def sent(self) -> int:
        return sum(sender.sent for sender in self.senders)

    @property
    def acknowledged(self) -> int:
        return sum(sender.acknowledged for sender in self.senders)

    @property
    def received(self) -> int:
        return sum(sender.received for sender in self.senders)

    @property
    def is_complete(self) -> bool:
        return not self.wrong and all(sender.fault is None for sender in self.senders)

    async def wait_until_all_arrived(self) -> None:
        while self.received + self.wrong < self.sent:
            self.has_arrived.clear()
            await self.has_arrived.wait()


async def run_demo(*, seconds: float, interval_s: float, version: int, payload: str | None) -> int:
    """Run it, print what happens, and return the exit status: 0 only if every reading has arrived as it was sent."""

    def take_readings() -> list[Reading]:
        return read_machine() if payload is None else [Reading.of_text(payload)]

    first_readings = take_readings()
    if not first_readings:
        raise IotwireError("this machine shows no readings in /proc and /sys: send one with --payload TEXT")
    style = Style.of_terminal()
    name = gateway_name()
    name_width = max(len("reading"), *(len(reading.name) for reading in first_readings))

    async with Emulator() as emulator, contextlib.AsyncExitStack() as stack:
        auth = await asyncio.to_thread(_make_authorizer, emulator, name)  # an RSA key takes a board seconds
        display = Client(emulator.endpoint.route("mqtt", emulator.device), f"{name}-display", version=version)
        await stack.enter_async_context(display)
        tally = _Tally([])
        for sender in _make_senders(emulator, auth, name, version):
            await stack.enter_async_context(sender.publisher)
            tally.senders.append(sender)
        _print_head(style, emulator, tally.senders, display, version)
        await display.subscribe(f"gateways/{name}/+/reading/#", qos=1)
        for sender in tally.senders:
            if isinstance(sender.publisher, Client):
                await sender.publisher.subscribe(f"{sender.prefix}/answer", qos=1)
            else:  # it connects with its first request
                with contextlib.suppress(PublishError):
                    await sender.publisher.publish(f"{sender.prefix}/hello", b"", qos=1)
        _print_columns(style, tally.senders, name_width)
        arrivals = display.messages(f"gateways/{name}/+/reading/#")
        printing = asyncio.create_task(_print_arrivals(arrivals, tally, style, name_width))
        try:
            before = _measure(emulator, tally.senders)
            await _send_readings(tally, take_readings, seconds, interval_s)
            with contextlib.suppress(TimeoutError):  # what is missing then shows in the summary
                async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
                    await tally.wait_until_all_arrived()
            after = _measure(emulator, tally.senders)
            for sender in tally.senders:
                sender.count_bytes(before, after)
        finally:
            printing.cancel()
            await asyncio.gather(printing, return_exceptions=True)
        await asyncio.gather(*(_answer(display, sender) for sender in tally.senders))
        for line in tally.lines:
            _print_line(line, tally.senders, style, name_width)
    _print_summary(style, tally)
    return 0 if tally.is_complete else 1


def _make_senders(emulator: Emulator, auth: CustomAuth, name: str, version: int) -> list[_Sender]:
    """One for each row of the matrix, over IPv4 and IPv6 by turns."""
    ways: dict[str, X509 | SigV4 | CustomAuth] = {
        "x509": emulator.device,
        "sigv4": SigV4(emulator.credentials[0]),
        "custom": auth,
    }
    senders: list[_Sender] = []
    for row in ROUTES:
        endpoint = emulator.endpoint_at(emulator.addresses[len(senders) % len(emulator.addresses)])
        route = endpoint.route(row.protocol, ways[row.authentication], port=row.port, ca=emulator.ca)
        publisher = (
            HttpsPublisher(route)
            if row.protocol == "https"
            else Client(route, f"{name}-row{row.number}", version=version)
        )
        senders.append(_Sender(route, publisher, f"gateways/{name}/row{row.number}"))
    return senders


def _make_authorizer(emulator: Emulator, name: str) -> CustomAuth:
    """A custom authorizer for this gateway's topics, and what opens it: a token that is signed for each connection."""
    private_key, public_key = make_token_key()
    prefix = f"arn:aws:iot:{emulator.region}:*"

    def authorize(event: dict[str, Any]) -> dict[str, Any]:
        resources = [f"{prefix}:{kind}/gateways/{name}/*" for kind in ("topic", "topicfilter")]
        allowed = {
            "Effect": "Allow",
            "Action": ["iot:Connect", "iot:Publish", "iot:Subscribe", "iot:Receive"],
            "Resource": [f"{prefix}:client/{name}-row?", *resources],
        }
        return {
            "isAuthenticated": event["signatureVerified"] and event["token"].startswith(f"{name}/"),
            "principalId": "gateway",
            "disconnectAfterInSeconds": 3600,
            "refreshAfterInSeconds": 600,
            "policyDocuments": [{"Version": "2012-10-17", "Statement": [allowed]}],
        }

    emulator.add_authorizer(AUTHORIZER, authorize, token_key_name=TOKEN_KEY, public_keys=[public_key])
    signer = TokenSigner(private_key)
    return CustomAuth(AUTHORIZER, token_key_name=TOKEN_KEY, token=lambda: f"{name}/{uuid.uuid4()}", signer=signer)


def _measure(emulator: Emulator, senders: Sequence[_Sender]) -> dict[int, ConnectionInfo]:
    """Each sender's connection, as the endpoint sees it now, by the number of its row."""
    numbers = {}
    for sender in senders:
        if isinstance(sender.publisher, Client):
            numbers[sender.publisher.client_id] = sender.route.row.number
    found = {}
    for info in emulator.connections():
        if info.client_id in numbers:
            found[numbers[info.client_id]] = info
        elif not info.client_id:  # over HTTPS; what has another one is the display
            found[info.row] = info
    return found


async def _answer(display: Client, sender: _Sender) -> None:
    """Send a few messages back by a route that can subscribe, and count what arrives."""
    if not isinstance(sender.publisher, Client):
        return
    sender.answers = 0
    messages = sender.publisher.messages(f"{sender.prefix}/answer")
    with contextlib.suppress(TimeoutError, PublishError):
        async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
            for number in range(ANSWERS):
                await display.publish(f"{sender.prefix}/answer", f"interval {number}".encode(), qos=1)
                message = await anext(messages)
                sender.answers += message.payload == f"interval {number}".encode()


async def _send_readings(
    tally: _Tally, take_readings: Callable[[], list[Reading]], seconds: float, interval_s: float
) -> None:
    """A round of readings by all routes at once, and another after each interval, until the time is over."""
    loop = asyncio.get_running_loop()
    next_round = loop.time()
    end = next_round + seconds
    while next_round < end:
        lines = [_Line(reading) for reading in take_readings()]
        tally.lines += lines
        await asyncio.gather(*(sender.send(lines) for sender in tally.senders))
        next_round += interval_s
        await asyncio.sleep(min(next_round, end) - loop.time())


async def _print_arrivals(arrivals: MessageStream, tally: _Tally, style: Style, name_width: int) -> None:
    """Print a reading when it has come by every route."""
    senders = {sender.prefix: sender for sender in tally.senders}
    async for message in arrivals:
        now = perf_counter()
        sender = senders.get("/".join(message.topic.split("/")[:3]))
        line = None if sender is None else sender.take(message.topic, message.payload, now)
        if line is None:
            tally.wrong += 1
            print(style.bad(f"  {message.topic} has brought something that was not sent"), flush=True)
        elif len(line.latencies_s) == len(senders):
            tally.lines.remove(line)
            _print_line(line, tally.senders, style, name_width)
        tally.has_arrived.set()


def _print_line(line: _Line, senders: Sequence[_Sender], style: Style, name_width: int) -> None:
    clock = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
    latencies = ""
    for sender in senders:
        latency_s = line.latencies_s.get(sender.route.row.number)
        shown = "missing" if latency_s is None else f"{latency_s * 1000:.2f}"
        latencies += shown.rjust(_LATENCY_WIDTH) if latency_s is not None else style.bad(shown.rjust(_LATENCY_WIDTH))
    name, text = line.reading.name.ljust(name_width), style.strong(line.reading.text)
    print(f"  {style.dim(clock)}  {name}{latencies}  {text}", flush=True)  # someone may watch through a pipe


def _print_columns(style: Style, senders: Sequence[_Sender], name_width: int) -> None:
    rows = "".join(f"row {sender.route.row.number}".rjust(_LATENCY_WIDTH) for sender in senders)
    print(f"\n  {style.dim('time'.ljust(10) + 'reading'.ljust(name_width) + rows + '  ms until it was there')}")


def _print_head(style: Style, emulator: Emulator, senders: Sequence[_Sender], display: Client, version: int) -> None:
    print(style.strong(f"iotwire {__version__}: readings of this machine through a local endpoint"))
    print()
    print_fact(style, "endpoint", f"{emulator.host} at {', '.join(emulator.addresses)}")
    for sender in senders:
        route = sender.route
        print_fact(style, f"row {route.row.number}", f"{route.row}, here {join_host_port(route.host, route.port)}")
    print_fact(style, "topics", f"{senders[0].prefix.rpartition('/')[0]}/row.../reading/..., QoS 1")
    print_fact(style, "display", f"row 1, {'MQTT 5.0' if version == 5 else 'MQTT 3.1.1'}, {display.security}")


_COLUMNS = (
    ("row", 3), ("protocol", 14), ("authentication", 14), ("port", 4), ("ALPN", 14), ("TLS", 7), ("IP", 4),
    ("handshake", 9), ("sent", 5), ("arrived", 7), ("back", 5), ("median", 9), ("bytes each", 10),
)  # fmt: skip


_AUTHENTICATIONS = {"x509": "certificate", "sigv4": "signature", "custom": "authorizer"}


def _print_summary(style: Style, tally: _Tally) -> None:
    """The table of all rows. Right of what was agreed on stand numbers, and they are set to the right."""
    print(f"\n  {style.dim('  '.join(_align(title, width, title) for title, width in _COLUMNS) + '  verdict')}")
    for sender in tally.senders:
        row, info = sender.route.row, sender.info
        each = None if sender.wire_bytes is None or not sender.sent else sender.wire_bytes / sender.sent
        cells = {
            "row": str(row.number),
            "protocol": PROTOCOL_NAMES[row.protocol],
            "authentication": _AUTHENTICATIONS[row.authentication],
            "port": str(row.port),
            "ALPN": (info.alpn if info else None) or "none",
            "TLS": info.security.partition(",")[0] if info else "-",
            "IP": "IPv6" if ":" in sender.route.host else "IPv4",
            "handshake": f"{info.handshake_s * 1000:.1f} ms" if info else "-",
            "sent": str(sender.sent),
            "arrived": str(sender.received),
            "back": "-" if sender.answers is None else str(sender.answers),
            "median": f"{median(sender.latencies_s) * 1000:.2f} ms" if sender.latencies_s else "-",
            "bytes each": "-" if each is None else f"{each:.0f}",
        }
        fault = sender.fault
        verdict = style.good("ok") if fault is None else style.bad(fault)
        print(f"  {'  '.join(_align(title, width, cells[title]) for title, width in _COLUMNS)}  {verdict}")
    print(
        style.dim(
            "\n  handshake, ALPN, TLS and bytes are as the endpoint has seen them. bytes each: for one reading and\n"
            "  its acknowledgement, TLS records included, without the handshake and without the headers of TCP and IP"
        )
    )
    if tally.wrong:
        print_fact(style, "wrong", style.bad(f"{tally.wrong:>6}"))
    print()
    if tally.is_complete:
        print(style.good("  every reading has arrived by every route, and was acknowledged"))
    else:
        print(style.bad("  not every reading has arrived and was acknowledged"))


def _align(title: str, width: int, text: str) -> str:
    is_number = title in ("handshake", "sent", "arrived", "back", "median", "bytes each")
    return text.rjust(width) if is_number else text.ljust(width)
