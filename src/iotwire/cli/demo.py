"""`iotwire demo`: readings of this machine through a local endpoint, over mutual TLS, from one client to another."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from time import perf_counter

from .. import __version__
from ..client import Client, MessageStream
from ..emulator import Emulator
from ..endpoint import EndpointRoute
from ..errors import IotwireError, PublishError
from .readings import Reading, gateway_name, read_machine
from .terminal import Style

__all__ = ["run_demo"]

# How long to wait, after the last reading was sent, for those that are still under way.
ARRIVAL_TIMEOUT_S = 10.0


@dataclass(slots=True)
class _Tally:
    """What was sent, and what became of it."""

    sent: int = 0
    acknowledged: int = 0
    received: int = 0
    wrong: int = 0  # arrived, but not as it was sent, or not in its order
    latencies_s: list[float] = field(default_factory=list)
    under_way: dict[str, deque[tuple[Reading, float]]] = field(default_factory=dict)
    has_arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_complete(self) -> bool:
        return self.sent > 0 and self.sent == self.acknowledged == self.received and not self.wrong

    async def wait_until_all_arrived(self) -> None:
        while self.received < self.sent:
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
    tally = _Tally()
    prefix = f"gateways/{gateway_name()}"
    topic_width = max(len(f"{prefix}/{reading.name}") for reading in first_readings)

    async with Emulator() as emulator:
        route = emulator.endpoint.route("mqtt", emulator.device)
        publisher = Client(route, f"{gateway_name()}-sensors", version=version)
        subscriber = Client(route, f"{gateway_name()}-display", version=version)
        async with publisher, subscriber:
            _print_head(style, emulator, route, publisher, version)
            await subscriber.subscribe(f"{prefix}/#", qos=1)
            print(f"\n  {style.dim('time      ' + 'topic'.ljust(topic_width) + '    latency  reading')}")
            arrivals = subscriber.messages(f"{prefix}/#")
            printing = asyncio.create_task(_print_arrivals(arrivals, tally, style, topic_width))
            try:
                await _send_readings(publisher, prefix, take_readings, tally, seconds, interval_s)
                with contextlib.suppress(TimeoutError):  # what is missing then shows in the summary
                    async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
                        await tally.wait_until_all_arrived()
            finally:
                printing.cancel()
                await asyncio.gather(printing, return_exceptions=True)
    _print_summary(style, tally, publisher, subscriber)
    return 0 if tally.is_complete else 1


async def _send_readings(
    client: Client,
    prefix: str,
    take_readings: Callable[[], list[Reading]],
    tally: _Tally,
    seconds: float,
    interval_s: float,
) -> None:
    """A round of readings at once, and another after each interval, until the time is over."""
    loop = asyncio.get_running_loop()
    next_round = loop.time()
    end = next_round + seconds
    while next_round < end:
        for reading in take_readings():
            topic = f"{prefix}/{reading.name}"
            tally.under_way.setdefault(topic, deque()).append((reading, perf_counter()))
            tally.sent += 1
            with contextlib.suppress(PublishError):  # refused: then it is missing among the acknowledged
                await client.publish(topic, reading.payload, qos=1)
                tally.acknowledged += 1
        next_round += interval_s
        await asyncio.sleep(min(next_round, end) - loop.time())


async def _print_arrivals(arrivals: MessageStream, tally: _Tally, style: Style, topic_width: int) -> None:
    async for message in arrivals:
        now = perf_counter()
        tally.received += 1
        tally.has_arrived.set()
        expected = tally.under_way.get(message.topic)
        if not expected or expected[0][0].payload != message.payload:
            tally.wrong += 1
            print(style.bad(f"  {message.topic} has brought something that was not sent"))
            continue
        reading, sent_at = expected.popleft()
        tally.latencies_s.append(now - sent_at)
        clock = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
        latency = f"{(now - sent_at) * 1000:8.2f} ms"
        line = f"{style.dim(clock)}  {message.topic:<{topic_width}}{latency}  {style.strong(reading.text)}"
        print(f"  {line}", flush=True)  # someone may watch through a pipe


def _print_head(style: Style, emulator: Emulator, route: EndpointRoute, client: Client, version: int) -> None:
    places = ", ".join(
        f"[{address}]:{route.port}" if ":" in address else f"{address}:{route.port}" for address in emulator.addresses
    )
    print(style.strong(f"iotwire {__version__}: readings of this machine through a local endpoint"))
    print()
    _print_fact(style, "endpoint", f"{emulator.host} at {places}")
    _print_fact(style, "route", f"row {route.row.number} of the matrix: {route.row}")
    _print_fact(style, "security", f"{client.security}, client certificate")
    _print_fact(style, "protocol", f"{'MQTT 5.0' if version == 5 else 'MQTT 3.1.1'}, QoS 1")


def _print_summary(style: Style, tally: _Tally, publisher: Client, subscriber: Client) -> None:
    print()
    _print_fact(style, "sent", f"{tally.sent:>6}")
    for name, count in (("acknowledged", tally.acknowledged), ("received", tally.received)):
        missing = tally.sent - count
        _print_fact(style, name, f"{count:>6}" + (style.bad(f"  {missing} missing") if missing else ""))
    if tally.wrong:
        _print_fact(style, "wrong", style.bad(f"{tally.wrong:>6}"))
    if tally.latencies_s:
        middle, worst = median(tally.latencies_s) * 1000, max(tally.latencies_s) * 1000
        _print_fact(style, "latency", f"{middle:>9.2f} ms median, {worst:.2f} ms worst")
    for name, stats in (("publisher", publisher.stats()), ("subscriber", subscriber.stats())):
        _print_fact(style, name, f"{stats.bytes_sent:>6} bytes of MQTT sent, {stats.bytes_received} received")
    print()
    if tally.is_complete:
        print(style.good("  every reading has arrived, and was acknowledged"))
    else:
        print(style.bad("  not every reading has arrived and was acknowledged"))


def _print_fact(style: Style, name: str, value: str) -> None:
    print(f"  {style.dim(name.ljust(12))}  {value}", flush=True)
