"""Fault runs: numbered messages through a real broker that fails again and again, and what has to be true afterwards.

A publisher with a lasting session sends numbers, QoS 1 on one topic and QoS 2 on another, by every way that a client
has to publish. A subscriber with a lasting session notes what comes. Meanwhile something goes wrong IOTWIRE_FAULTS
times (5, where it is not set). All chance is seeded; see tallies.py.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self

from brokers import RealBroker
from iotwire import Backoff, BlockingClient, Client, Outbox
from iotwire.errors import OutboxFullError
from iotwire.mqtt import ConnAck, Decoder, Packet, PubAck, PubComp, Publish, PubRec, PubRel, Subscription
from relays import Relay
from tallies import Tally, chance_of

FAULTS = int(os.environ.get("IOTWIRE_FAULTS", "5"))
# How long it may take until messages arrive again, once nothing is wrong any more. A machine may be busy.
RECOVERY_S = 30.0
BACKOFF = Backoff(base_s=0.05, max_s=0.5)
# Messages that wait for a broker that is away, before the publisher waits too.
MAX_QUEUED = 200


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def run_clean(test: Callable[[], Awaitable[None]], timeout_s: float) -> None:
    """Run it on an event loop of its own, and see that it leaves no task, no file and no complaint of the loop."""
    complaints: list[dict[str, Any]] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(timeout_s):
            await test()
        await settle()
        gc.collect()  # a future whose error nobody took says so when it goes
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    before = open_files()
    asyncio.run(bounded())
    gc.collect()
    assert not complaints, complaints
    assert open_files() == before


async def settle() -> None:
    """Let the loop close what was closed: a transport takes two turns."""
    for _ in range(5):
        await asyncio.sleep(0)


class Wire:
    """What a client said and heard over all its connections, and the rules that it has to keep with any broker."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.violations: list[str] = []

    def __call__(self) -> Connection:
        return Connection(self)

    def said(self, connection: Connection, packet: Packet) -> None:
        """The client did."""

    def heard(self, connection: Connection, packet: Packet) -> None:
        """The broker said it; whether it arrived is not known."""


class Connection:
    """One of them."""

    def __init__(self, wire: Wire) -> None:
        self.latest: dict[str, int] = {}
        self.unanswered: dict[int, dict[int, tuple[str, bytes]]] = {1: {}, 2: {}}
        self._wire = wire
        self._client = Decoder(wire.version)
        self._broker = Decoder(wire.version)
        self._topics: dict[int, str] = {}

    def from_client(self, data: bytes) -> None:
        for packet in self._client.feed(data):
            self._wire.said(self, packet)

    def from_broker(self, data: bytes) -> None:
        for packet in self._broker.feed(data):
            self._wire.heard(self, packet)

    def topic_of(self, packet: Publish) -> str:
        if packet.topic_alias is None:
            return packet.topic
        if packet.topic:
            self._topics[packet.topic_alias] = packet.topic
        return self._topics[packet.topic_alias]


class PublisherWire(Wire):
    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.answered: set[tuple[str, int]] = set()  # topic and number, where PUBACK or PUBREC has passed
        self._sent: dict[int, tuple[str, int]] = {}  # by packet id

    def said(self, connection: Connection, packet: Packet) -> None:
        if isinstance(packet, Publish) and packet.packet_id is not None:
            topic, number = which = connection.topic_of(packet), int(packet.payload)
            # What is sent again is sent in its order, and before all that is new [MQTT-4.6.0-1].
            if connection.latest.get(topic, -1) >= number:
                self.violations.append(f"{which} sent after {connection.latest[topic]}")
            connection.latest[topic] = number
            self._sent[packet.packet_id] = which

    def heard(self, connection: Connection, packet: Packet) -> None:
        if isinstance(packet, PubAck | PubRec):
            self.answered.add(self._sent[packet.packet_id])


class SubscriberWire(Wire):
    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.answered: set[tuple[str, bytes]] = set()
        # How often each message of QoS 2 was sent anew: under the packet id of an unfinished exchange it is the same.
        self.exchanges: Counter[tuple[str, bytes]] = Counter()
        # And how often it was sent again, as such, after its PUBREL had been: against MQTT-4.3.3-6, and new to any
        # client.
        self.revived: Counter[tuple[str, bytes]] = Counter()
        self._open: dict[int, tuple[str, bytes]] = {}
        self._released: set[int] = set()  # of those; the PUBCOMP may have met a connection that was down

    def said(self, connection: Connection, packet: Packet) -> None:
        if isinstance(packet, PubAck | PubRec):
            unanswered = connection.unanswered[1 if isinstance(packet, PubAck) else 2]
            first = next(iter(unanswered), None)
            if first != packet.packet_id:  # [MQTT-4.6.0-2, MQTT-4.6.0-3]
                self.violations.append(f"{packet} where {first} waited")
            if packet.packet_id in unanswered:
                self.answered.add(unanswered.pop(packet.packet_id))
        elif isinstance(packet, PubComp):
            self._open.pop(packet.packet_id, None)

    def heard(self, connection: Connection, packet: Packet) -> None:
        if isinstance(packet, ConnAck) and not packet.session_present:
            self._open.clear()
        elif isinstance(packet, PubRel):
            self._released.add(packet.packet_id)
        elif isinstance(packet, Publish) and packet.packet_id is not None:
            which = connection.topic_of(packet), bytes(packet.payload)
            # Another message under the packet id of an unfinished exchange (against MQTT-2.2.1-4) is, to any client,
            # the same.
            connection.unanswered[packet.qos].setdefault(packet.packet_id, self._open.get(packet.packet_id, which))
            if packet.qos == 2 and (packet.packet_id not in self._open or packet.packet_id in self._released):
                self._released.discard(packet.packet_id)
                self._open[packet.packet_id] = which
                self.exchanges[which] += 1
                self.revived[which] += packet.dup and self.exchanges[which] > 1


class InThreads:
    """A BlockingClient with the ways of a Client: each call that waits does so in a thread of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.client = BlockingClient(*arguments, **options)
        self._threads = ThreadPoolExecutor(max_workers=16)

    def __getattr__(self, name: str) -> Any:
        """What does not wait is the client's own."""
        return getattr(self.client, name)

    def call(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *arguments, **options))

    async def connect(self) -> None:
        await self.call(self.client.connect)

    async def disconnect(self) -> None:
        await self.call(self.client.disconnect)
        await asyncio.to_thread(self._threads.shutdown)  # every call has ended with the client

    async def subscribe(self, *arguments: Any) -> Any:
        return await self.call(self.client.subscribe, *arguments)

    async def publish(self, *arguments: Any, **options: Any) -> Any:
        return await self.call(self.client.publish, *arguments, **options)

    def publish_nowait(self, *arguments: Any, **options: Any) -> InThreadsReceipt:
        return InThreadsReceipt(self, self.client.publish_nowait(*arguments, **options))

    async def publish_many(self, *arguments: Any, **options: Any) -> Any:
        return await self.call(self.client.publish_many, *arguments, **options)

    async def drain(self) -> None:
        await self.call(self.client.drain)

    async def messages(self) -> AsyncIterator[Publish]:
        stream = self.client.messages()
        while (message := await self.call(stream.get)) is not None:
            yield message


class InThreadsReceipt:
    def __init__(self, client: InThreads, receipt: Any) -> None:
        self._client = client
        self._receipt = receipt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receipt, name)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._client.call(self._receipt.wait).__await__()


class FaultRun:
    """One run: `async with` starts both clients and the traffic, and `finish` ends it and judges.

    make_client: Client, or InThreads. levels: the qualities of service to send. keeps_all, keeps_order: whether the
    broker passes on all that it has acknowledged, over whatever the run does to it, and in the order in which it came.
    What the client owes is judged by what passes over the wire, and holds in any case. outbox: where the publisher
    keeps its messages; a message counts as sent when it is stored. pause_s: between the publisher's bursts at most.
    recovery_s: as RECOVERY_S, which it is otherwise.

    `publisher_way` and `subscriber_way` are the relays that the clients go through.
    """

    def __init__(
        self,
        broker: RealBroker,
        version: int,
        *,
        seed: str,
        make_client: Callable[..., Any] = Client,
        levels: tuple[int, ...] = (1, 2),
        keeps_all: bool = True,
        keeps_order: bool = True,
        keep_alive: int = 2,
        timeout_s: float = 2.0,
        outbox: Outbox | None = None,
        pause_s: float = 0.03,
        recovery_s: float = RECOVERY_S,
    ) -> None:
        self.random = chance_of(seed)
        self.tally = Tally(f"clients, {seed}", levels)
        self.levels = levels
        options: dict[str, Any] = {
            "version": version,
            "clean_start": False,
            "session_expiry_interval": 3600 if version == 5 else None,
            "keep_alive": keep_alive,
            "ping_timeout_s": timeout_s,
            "connect_timeout_s": timeout_s,
            "reconnect": BACKOFF,
            "wait_for_server": True,
            "drain_timeout_s": recovery_s,
        }
        # Names of this run alone: what another one has left in the broker is not its business.
        self.topic = f"faults/{seed.replace(' ', '-').replace('.', '-')}"
        self._keeps_all = keeps_all
        self._keeps_order = keeps_order
        self._outbox = outbox
        self._pause_s = pause_s
        self._recovery_s = recovery_s
        self._publisher_wire = PublisherWire(version)
        self._subscriber_wire = SubscriberWire(version)
        self.publisher_way = Relay(broker.port, self._publisher_wire)
        self.subscriber_way = Relay(broker.port, self._subscriber_wire)
        self.publisher = make_client(
            broker.route(self.publisher_way.port),
            f"{seed} out",
            max_queued=MAX_QUEUED,
            outbox=outbox,
            **options,
        )
        self.subscriber = make_client(broker.route(self.subscriber_way.port), f"{seed} in", **options)
        self._fresh = Client(broker.route(), f"{seed} fresh", version=version, wait_for_server=True, reconnect=BACKOFF)
        self.sent: dict[int, int] = dict.fromkeys(levels, 0)
        self.got: dict[int, list[int]] = {qos: [] for qos in levels}
        self.queued_while_away = 0
        self._receipts: list[Any] = []
        self._arrived = asyncio.Event()
        self._is_ending = False
        self._tasks: list[asyncio.Task[None]] = []
        self._fresh_arrived = asyncio.Event()

    async def __aenter__(self) -> Self:
        for way in (self.publisher_way, self.subscriber_way):
            await way.mend()
        await self.subscriber.connect()
        await self.subscriber.subscribe([Subscription(f"{self.topic}/{qos}", qos) for qos in self.levels])
        await self.subscriber.subscribe(f"{self.topic}/fresh", 1)
        await self.publisher.connect()
        # aedes takes a session without subscriptions for none (3.1.1, MQTT-3.2.2-2), and the client then sends as new
        # what aedes has already: a message of QoS 2 twice.
        await self.publisher.subscribe(f"{self.topic}/nothing")
        self._tasks = [asyncio.ensure_future(self._publish(qos)) for qos in self.levels]
        self._tasks.append(asyncio.ensure_future(self._read()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in (self.publisher, self.subscriber, self._fresh):
            getattr(client, "client", client)._drain_timeout_s = 0.0  # whatever is left was judged
            await client.disconnect()
        for way in (self.publisher_way, self.subscriber_way):
            await way.close()

    async def pause(self, least: float, most: float) -> None:
        """As long as a fault lasts."""
        await asyncio.sleep(self.random.uniform(least, most))

    async def progress(self) -> None:
        """Until some messages have arrived, or none: then the next fault meets a client that is just coming back."""
        await self._wait(self.count + self.random.choice((0, 1, 20, 100)))

    async def backlog(self) -> None:
        """Until the outbox has all that is put in without an answer from the broker."""
        async with asyncio.timeout(self._recovery_s):
            while self._in_outbox < MAX_QUEUED:
                self._must_live()
                await asyncio.sleep(0.01)

    async def passage(self) -> float:
        """Until a message that is sent from now on has arrived: how many seconds that takes."""
        began = time.monotonic()
        numbers = dict(self.sent)
        while not all(max(self.got[qos], default=-1) >= number for qos, number in numbers.items()):
            await self._wait(self.count + 1)
        return time.monotonic() - began

    @property
    def count(self) -> int:
        return sum(map(len, self.got.values()))

    async def finish(self) -> None:
        """Stop sending, wait until all of it has arrived, and see that it is what was promised."""
        self._is_ending = True
        async with asyncio.timeout(self._recovery_s):
            await asyncio.gather(*self._tasks[:-1])
            for receipt in self._receipts:
                assert await receipt < 0x80
            while self._in_outbox:
                self._must_read()
                await asyncio.sleep(0.01)
        assert not self.publisher.undelivered
        if self._keeps_all:
            await self._wait_for_all()
        # The subscription is there for others too, and whatever was on its way twice has come before this.
        try:
            async with asyncio.timeout(self._recovery_s):
                await self._fresh.connect()
                while not self._fresh_arrived.is_set():
                    await self._fresh.publish(f"{self.topic}/fresh", b"", qos=1)
                    if self._keeps_all:
                        await self._fresh_arrived.wait()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"the subscription is gone: {self.describe()}") from None
        self._must_read()
        self._count()
        self._check_wires()
        if self._keeps_all:
            self._check_arrivals()

    def _count(self) -> None:
        """Where the broker keeps all that it has acknowledged, and that is all that was sent, it counts as stored."""
        anew = self._subscriber_wire.revived
        for qos, counts in self.tally.counts.items():
            topic = f"{self.topic}/{qos}"
            counts.sent.update(range(self.sent[qos]))
            counts.acknowledged.update(number for name, number in self._publisher_wire.answered if name == topic)
            counts.arrived.update(self.got[qos])
            if qos == 2:
                counts.sent_anew.update(
                    int(number) for (name, number), times in anew.items() if name == topic and times
                )
            if self._keeps_all:
                counts.stored |= counts.sent
        self.tally.notes.append(self.describe())
        self.tally.report()

    def _check_wires(self) -> None:
        """What the client owes to any broker."""
        for wire in (self._publisher_wire, self._subscriber_wire):
            assert not wire.violations, wire.violations[:5]
        for qos in self.levels:
            topic = f"{self.topic}/{qos}"
            # No message counts as acknowledged that no broker has acknowledged.
            sent = {(topic, number) for number in range(self.sent[qos])}
            assert sent <= self._publisher_wire.answered, sorted(sent - self._publisher_wire.answered)[:20]
            # The application has all that the client has acknowledged, and QoS 2 no more often than it was sent.
            got = Counter(self.got[qos])
            missing = {int(number) for name, number in self._subscriber_wire.answered if name == topic} - set(got)
            assert not missing, f"acknowledged and not delivered: {sorted(missing)[:20]}"
            if qos == 2:
                for number, count in got.items():
                    assert count <= self._subscriber_wire.exchanges[topic, b"%d" % number], f"{number} came twice"

    def _check_arrivals(self) -> None:
        """Everything at least once, and QoS 2 not more than that; in the order in which it was sent."""
        for qos in self.levels:
            got = self.got[qos]
            first = list(dict.fromkeys(got))
            assert set(first) == set(range(self.sent[qos]))
            if self._keeps_order:
                assert first == sorted(first), disorder(first)
            if qos == 2:
                revived = self._subscriber_wire.revived
                for number, count in Counter(got).items():
                    assert count <= 1 + revived[f"{self.topic}/2", b"%d" % number], f"{number} came {count} times"

    @property
    def _in_outbox(self) -> int:
        """How many messages are in the outbox."""
        return 0 if self._outbox is None else self._outbox.stats().messages

    def describe(self) -> str:
        counts = []
        for qos, got in self.got.items():
            answered = sum(topic == f"{self.topic}/{qos}" for topic, _ in self._publisher_wire.answered)
            counts.append(
                f"QoS {qos}: {self.sent[qos]} sent, {answered} acknowledged, {len(set(got))} arrived, "
                f"{len(got) - len(set(got))} of them again"
            )
        return (
            f"{'; '.join(counts)}; {self.queued_while_away} queued while away, reconnects "
            f"{self.publisher.stats().reconnects} and {self.subscriber.stats().reconnects}"
        )

    async def _publish(self, qos: int) -> None:
        numbers = itertools.count()
        topic = f"{self.topic}/{qos}"
        publisher, chance = self.publisher, chance_of(f"{self.topic} {qos}")

        def message() -> tuple[str, bytes]:
            number = next(numbers)
            self.sent[qos] = number + 1
            return topic, b"%d" % number

        while not self._is_ending:
            if self._in_outbox >= MAX_QUEUED:  # an outbox holds more than a run can make up for
                await asyncio.sleep(0.01)
                continue
            count = chance.randint(1, 20)
            way = chance.choice(("publish", "publish_nowait", "publish_many"))
            if way == "publish":
                for _ in range(count):
                    assert await publisher.publish(*message(), qos=qos) < 0x80
            elif way == "publish_many":
                report = await publisher.publish_many((message() for _ in range(count)), qos=qos)
                assert (report.acknowledged, report.failures) == (count, [])
            else:
                for _ in range(count):
                    each = message()
                    while True:
                        try:
                            self._receipts.append(publisher.publish_nowait(*each, qos=qos))
                        except OutboxFullError:
                            await publisher.drain()
                        else:
                            break
                    self.queued_while_away += not publisher.is_connected
                self._receipts = [each for each in self._receipts if not each.is_done or each.reason_code]
            await asyncio.sleep(chance.uniform(0, self._pause_s))

    async def _read(self) -> None:
        numbered = {f"{self.topic}/{qos}": self.got[qos] for qos in self.levels}
        async for message in self.subscriber.messages():
            if message.topic in numbered:
                numbered[message.topic].append(int(message.payload))
            else:
                self._fresh_arrived.set()
            self._arrived.set()

    async def _wait(self, count: int) -> None:
        try:
            async with asyncio.timeout(self._recovery_s):
                while self.count < count:
                    self._must_live()
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"nothing arrives any more: {self.describe()}") from None

    async def _wait_for_all(self) -> None:
        missing = {qos: set(range(count)) - set(self.got[qos]) for qos, count in self.sent.items()}
        try:
            async with asyncio.timeout(self._recovery_s):
                while any(missing.values()):
                    self._arrived.clear()
                    await self._arrived.wait()
                    for qos, numbers in missing.items():
                        if numbers:
                            numbers.difference_update(self.got[qos])
        except TimeoutError:
            lost = {qos: sorted(numbers)[:20] for qos, numbers in missing.items() if numbers}
            raise AssertionError(f"lost: {lost}; {self.describe()}") from None

    def _must_live(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()
                raise AssertionError("a publisher or the reader has ended")

    def _must_read(self) -> None:
        if self._tasks[-1].done():
            self._tasks[-1].result()
            raise AssertionError("the reader has ended")


def disorder(numbers: list[int]) -> str:
    places = (at for at in range(1, len(numbers)) if numbers[at] < numbers[at - 1])
    return "; ".join(f"{numbers[max(0, at - 3) : at + 3]}" for at in itertools.islice(places, 5))
