"""`Client`: MQTT 3.1.1 and 5.0 for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from ..errors import ConnectError, IotwireError, OutboxError, OutboxFullError, RequestTimeoutError
from ..mqtt import ConnAck, Disconnect, Publish, ReasonCode, Request, SubAck, Subscription, UnsubAck
from ..transport import open_stream
from ..transport.stream import GATHER_BYTES
from .backoff import Retries
from .base import DEFAULT_MAX_BYTES, DEFAULT_MAX_MESSAGES, ClientBase
from .inbox import Callback, Inbox, WhenFull
from .link import Link
from .outcomes import (
    Outcome,
    Part,
    Pending,
    PublishOptions,
    PublishReport,
    as_lost,
    as_refused,
    describe_no_connack,
    raise_for_refusals,
    read_item,
)
from .streams import Consumer, MessageHandler, MessageStream

if TYPE_CHECKING:
    from .stored import Feed

__all__ = ["Client", "Receipt"]

_log = logging.getLogger("iotwire.client")

# Items that `publish_many` takes at once.
CHUNK = 64


class Receipt(Outcome):
    """What becomes of a message of `publish_nowait`: look at it, or await it.

    Awaiting gives the server's reason code, or raises PublishError or ConnectionLostError. Not awaiting is no mistake.
    """

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, ReasonCode]:
        while not self.is_done:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters = [*(self._waiters or ()), waiter]
            yield from waiter
        if self.error is not None:
            raise self.error
        assert self.reason_code is not None
        return self.reason_code


class _StoredReceipt(Receipt):
    """What an outbox tells of a message."""

    __slots__ = ()

    @property
    def is_stored(self) -> bool:
        return self.reason_code is not None


# What there is to know of a QoS 0 message that was handed over.
_WRITTEN = Receipt()
_WRITTEN.set_result(ReasonCode.SUCCESS)


class Client(ClientBase):
    """An MQTT client for asyncio: `async with Client(route, "gateway-7") as client`.

    For the keyword arguments see `ClientBase`, whose they are.

    The client connects again by itself, with fresh credentials for each attempt, and makes its subscriptions again
    where the server has lost them. Calls that wait go on waiting meanwhile: a QoS 1 or 2 message is sent again until
    the server has acknowledged it. They end with ConnectionLostError when the client is closed or gives up.
    A client belongs to one event loop. A call that is cancelled leaves it usable; a message that had been sent by then
    may still arrive, one that had not is withdrawn.
    """

    # A thousand idle clients of one process are to cost little: no dict for each, and no queue before it is needed.
    __slots__ = ("_gather_bytes", "_is_starting", "_link", "_loop", "_opened", "_pump_timer", "_supervisor", "_waking")

    def _prepare(self) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._link: Link | None = None
        self._gather_bytes = min(GATHER_BYTES, self._max_queued_bytes)
        self._is_starting = False  # the outbox is being opened
        self._supervisor: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[ConnAck] | None = None
        self._pump_timer: asyncio.TimerHandle | None = None
        self._waking: asyncio.Future[None] | None = None  # told when the client need not wait for its next attempt

    # The connection.

    async def __aenter__(self) -> Self:
        if self._feed is None:
            await self.connect()
        else:
            await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    async def connect(self) -> ConnAck:
        """Start the client, and wait until it is connected for the first time; the CONNACK is the result.

        `async with` does this, unless there is an outbox. Raises ConnectError where no connection was made (with
        `reason_code` where the server gave one), RouteError and CredentialsError where none could be tried: after the
        first attempt, or, with `wait_for_server`, where the client gives up. Raises OutboxError.
        """
        first = await self._start()
        try:
            return await first
        except BaseException:
            await self._abandon()
            raise

    async def start(self) -> None:
        """Start the client, and do not wait until it is connected: what is published is stored, or queued.

        With an outbox `async with` does this: a gateway that starts without an uplink takes readings all the same.
        Attempts go on as `reconnect` says, with `wait_for_server` or an outbox; what they meet is logged. Raises
        OutboxError where the outbox cannot be opened.
        """
        await self._start()

    async def _start(self) -> asyncio.Future[ConnAck]:
        """Start the client; what is returned has the first CONNACK, or why there was none."""
        if self._is_starting or (self._supervisor is not None and not self._supervisor.done()):
            raise ConnectError("this client is connected, or connecting, already")
        self._loop = asyncio.get_running_loop()
        if self._feed is not None:
            self._is_starting = True
            try:
                await self._open_feed(self._feed)
            finally:
                self._is_starting = False
        self._begin()
        first: asyncio.Future[ConnAck] = self._loop.create_future()
        self._supervisor = self._loop.create_task(self._supervise(first))
        return first

    async def _abandon(self) -> None:
        """End what was started and is not wanted any more."""
        assert self._supervisor is not None
        self._is_closing = True
        await self._stop(self._supervisor)
        await self._close_feed()

    async def _stop(self, supervisor: asyncio.Task[None]) -> None:
        supervisor.cancel()
        await asyncio.wait([supervisor])
        if self._is_running:  # it was cancelled before its first step
            self._end(None)

    async def _open_feed(self, feed: Feed) -> None:
        opening = asyncio.ensure_future(asyncio.to_thread(feed.open))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:  # the thread goes on all the same
            await asyncio.wait([opening])
            if opening.exception() is None:
                await self._close_feed()
            raise

    async def _close_feed(self) -> None:
        if self._feed is not None:
            await asyncio.to_thread(self._feed.close)

    async def disconnect(self, reason_code: int = ReasonCode.NORMAL_DISCONNECTION) -> list[Publish]:
        """Wait until all that is queued is acknowledged, send DISCONNECT, and close. `async with` does this at its end.

        reason_code: MQTT 5 only; 0x04 asks the server to publish the will.

        The result is what was not delivered within `drain_timeout_s`, without packet ids: see `undelivered`. Calls of
        other tasks that still wait then raise ConnectionLostError; streams of `messages` come to their end.
        """
        supervisor = self._supervisor
        if supervisor is None or supervisor.done():
            await self._close_feed()
            return self.undelivered
        farewell = Disconnect(reason_code)
        farewell.encode(self._version)  # what is wrong with it is said before anything ends
        try:
            was_closing, self._is_closing, self._is_direct = self._is_closing, True, False
            if self._has_connected and not was_closing:
                await self._drain()
            link = self._link
            if link is not None and self._session.is_connected:
                self._session.disconnect(farewell)
                self._handle(self._session.take_events())
                await link.wait_lost()
        finally:
            supervisor.cancel()
        await self._stop(supervisor)
        if running := self._tasks - {asyncio.current_task()}:  # callbacks have what is left of the time
            await asyncio.wait(running, timeout=self._close_timeout_s)
            for task in running:
                task.cancel()
        await self._close_feed()
        if undelivered := self.undelivered:
            _log.warning("%s was closed before %d messages were delivered", self.client_id, len(undelivered))
        return undelivered

    async def _drain(self) -> None:
        """Wait until nothing is queued, within the bound."""
        if not self._is_drained:
            self._drained = self._loop.create_future()
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._drain_timeout_s):
                        await self._drained
            finally:
                self._drained = None

    async def _supervise(self, first: asyncio.Future[ConnAck]) -> None:
        """Connect, and again, until the client is closed or gives up."""
        retries = Retries(self._backoff)
        error: IotwireError | None = None
        try:
            while True:
                began = self._loop.time()
                try:
                    error = await self._live(first)
                except IotwireError as failure:
                    error = failure
                delay = self._next_attempt_in(retries, error, began)
                if delay is None:
                    return
                if delay > 0 and await self._is_woken_in(delay):
                    await asyncio.sleep(self._hurry_in(retries))
        except Exception as failure:  # noqa: BLE001 -- a route of the application's own may raise anything
            error = ConnectError(f"the route failed: {type(failure).__name__}")
            error.__cause__ = failure
        finally:
            if self._is_closing:
                error = None
            if not first.done():
                first.set_exception(error or ConnectError("this client closed the connection"))
                first.exception()  # `connect` may have been cancelled: then nobody asks, and asyncio would complain
            self._end(error)

    async def _is_woken_in(self, seconds: float) -> bool:
        """Wait for so long, or until `_wake_early`: whether it was that."""
        self._waking = self._loop.create_future()
        if not self._is_hurried:
            await asyncio.wait([self._waking], timeout=seconds)
        return self._is_hurried

    async def _live(self, first: asyncio.Future[ConnAck]) -> IotwireError | None:
        """One connection, from its first packet to its end: why it ended. Raises IotwireError where there was none."""
        try:
            return await self._live_once(first)
        except ConnectError as error:
            if not self._learns_from(error):
                raise
        return await self._live_once(first)

    async def _live_once(self, first: asyncio.Future[ConnAck]) -> IotwireError | None:
        # In a thread: a route may read files or ask for credentials.
        attempt = await asyncio.to_thread(self._make_attempt)
        by = self._loop.time() + self._connect_timeout_s
        link = Link(self._session, self, presents_certificate=attempt.presents_certificate)
        self._opened = opened = self._loop.create_future()
        self._ending = None
        renewal: asyncio.TimerHandle | None = None
        try:
            await open_stream(
                attempt,
                lambda: link,
                timeout_s=self._connect_timeout_s,
                dead_link_timeout_s=self._dead_link_timeout_s,
                contexts=self._contexts,
                step_timeouts=self._step_timeouts,
                interruption=self._interruption,
            )
            self._link = link
            link.begin(self._make_connect(attempt))
            try:
                async with asyncio.timeout_at(by):
                    connack = await opened
            except TimeoutError:
                raise ConnectError(describe_no_connack(self._connect_timeout_s), step="mqtt") from None
            link.remember_tls_session()
            link.keep_deadline()
            if not first.done():
                first.set_result(connack)
            if (renew_in := self._renew_in()) is not None:
                renewal = self._loop.call_later(renew_in, self._renew)
            await link.wait_lost()
        finally:
            if renewal is not None:
                renewal.cancel()
            link.drop()
            self._link = None
        return self._ending

    def _wake_early(self) -> None:
        if self._waking is not None and not self._waking.done() and self._is_hurried:
            self._waking.set_result(None)

    def _give_connection_up(self, message: str) -> None:
        if self._link is not None:
            self._link.drop(message)

    def _on_connack(self, connack: ConnAck) -> None:
        super()._on_connack(connack)
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(connack)

    def _close_connection(self, error: IotwireError | None) -> None:
        self._ending = as_lost(error)
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(as_refused(error))
            self._opened.exception()
        if self._link is not None:
            self._link.end_session(error, self._close_timeout_s)

    @property
    def security(self) -> str:
        """How the connection is protected, such as "TLSv1.3, TLS_AES_256_GCM_SHA384"; "none" on plain TCP."""
        return "none" if self._link is None else self._link.security

    # What the shared part asks for.

    def _now(self) -> float:
        return self._loop.time()

    def _flush_soon(self) -> None:
        if self._link is not None:
            self._link.flush_soon()

    def _update_reading(self) -> None:
        if self._link is not None:
            if self._wants_pause:
                self._link.pause_reading("inbox")
                self._is_paused = True
            elif self._is_paused:
                self._link.resume_reading("inbox")
                self._is_paused = False

    def _call_from_thread(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop was closed, and the client with it
            self._loop.call_soon_threadsafe(function)

    def _call_pump_in(self, seconds: float) -> None:
        if self._pump_timer is None:
            self._pump_timer = self._loop.call_later(seconds, self._pump_now)

    def _pump_now(self) -> None:
        self._pump_timer = None
        self._pump()

    async def reauthenticate(self) -> None:
        """Authenticate again on the open connection (MQTT 5.0, 4.12.1), and wait until the server is content.

        Where the connection ends meanwhile, being authenticated on the next one is as good. Raises
        ConnectionLostError where the client ends, EncodeError without `authentication`, and what that raises.
        """
        self._must_authenticate()
        await self._wait_connected()
        exchange = self._must_authenticate()  # another call may have begun
        waiter: asyncio.Future[None] = self._loop.create_future()
        exchange.begin_again(waiter)
        self._update_reading()
        self._flush_soon()
        try:
            await waiter
        finally:
            exchange.waiter = None
            self._update_reading()

    # Messages to the server.

    async def publish(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview = b"",
        qos: int = 0,
        retain: bool = False,
        **properties: Unpack[PublishOptions],
    ) -> ReasonCode:
        """Publish a message, and wait until it is safe.

        That is, for QoS 0, when there is room to write it; for QoS 1 its PUBACK; for QoS 2 its PUBCOMP; over as many
        connections as it takes. payload: any C-contiguous buffer, not to be changed before the call returns.
        properties: of MQTT 5, by the standard's names.

        With an outbox: until it is on disk; the result is SUCCESS then. It leaves when its turn comes, and the disk
        when its handshake is complete: for QoS 0, when it is written to a connection. `priority` and `urgent` are as
        in `Outbox.put`; OutboxFullError and OutboxError are raised where it was not stored.

        The result is otherwise the server's reason code, such as SUCCESS or NO_MATCHING_SUBSCRIBERS. Raises
        PublishError with `reason_code` where the server refuses the message, or its CONNACK or the limits of the
        service rule it out; ConnectionLostError where the client is closed or gives up before, and then a message of
        QoS 1 or 2 may or may not have arrived; EncodeError.
        """
        link = self._link
        if not self._is_direct or link is None or self._room_waiters:
            return await self._publish_in_turn(topic, payload, qos, retain, properties)
        if not qos:
            if not link.is_writable:
                return await self._publish_in_turn(topic, payload, qos, retain, properties)
            self._session.publish(topic, payload, qos, retain, **properties)  # type: ignore[misc]
            link.flush_soon()
            return ReasonCode.SUCCESS
        session = self._session
        if session.unfinished >= self._max_queued or session.unfinished_bytes >= self._max_queued_bytes:
            return await self._publish_in_turn(topic, payload, qos, retain, properties)
        if properties:
            delivery = session.publish(topic, payload, qos, retain, **properties)  # type: ignore[misc]
        else:
            delivery = session.publish(topic, payload, qos, retain)
        assert delivery is not None
        acknowledged: asyncio.Future[ReasonCode] = self._loop.create_future()
        delivery.context = acknowledged
        if self._is_paused:
            self._update_reading()
        if not link.flush_is_due:
            link.flush_soon()
        try:
            return await acknowledged
        except asyncio.CancelledError:
            self._withdraw(acknowledged)
            raise

    async def _publish_in_turn(
        self, topic: str, payload: bytes | bytearray | memoryview, qos: int, retain: bool, properties: Any
    ) -> ReasonCode:
        """As `publish`, where a message may have to wait before it goes to the session."""
        if self._feed is not None:
            await self._feed.put(topic, payload, qos, retain, properties)
            return ReasonCode.SUCCESS
        return await self._send_in_turn(topic, payload, qos, retain, properties)

    async def _send_in_turn(
        self, topic: str, payload: bytes | bytearray | memoryview, qos: int, retain: bool, properties: Any
    ) -> ReasonCode:
        self._must_run()
        await self._wait_for_room(qos)
        acknowledged: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._submit(topic, payload, qos, retain, properties, acknowledged)
        if self._is_paused:
            self._update_reading()
        try:
            return await acknowledged
        except asyncio.CancelledError:
            self._withdraw(acknowledged)
            raise

    def publish_nowait(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview = b"",
        qos: int = 0,
        retain: bool = False,
        **properties: Unpack[PublishOptions],
    ) -> Receipt:
        """Publish a message without waiting. What becomes of it is in the receipt, which may be awaited.

        With an outbox the receipt is about storing: its `is_stored` says when the message is on disk.

        Raises OutboxFullError where `max_queued` messages or `max_queued_bytes` are queued: see `drain`. Raises
        ConnectionLostError before `connect` and after the end; PublishError and EncodeError as `publish` does.
        """
        link = self._link
        if not qos and self._is_direct and link is not None:
            session = self._session
            if properties or not session.publish_within(self._gather_bytes, topic, payload, qos, retain):
                if session.output_bytes >= self._gather_bytes and not link.make_room(self._max_queued_bytes):
                    raise OutboxFullError(
                        f"max_queued_bytes: {self._max_queued_bytes} or more bytes wait to be written"
                    )
                session.publish(topic, payload, qos, retain, **properties)  # type: ignore[misc]
            if not link.flush_is_due:
                link.flush_soon()
            return _WRITTEN
        if self._feed is not None:
            stored = _StoredReceipt()
            self._feed.put(topic, payload, qos, retain, properties).tell(stored, asyncio.get_running_loop())
            return stored
        self._must_run()
        if not self._has_room():
            raise OutboxFullError(f"{self._session.unfinished + len(self._line)} messages are queued")
        receipt = Receipt()
        self._submit(topic, payload, qos, retain, properties, receipt)
        if self._is_paused:
            self._update_reading()
        return receipt

    async def drain(self) -> None:
        """Wait until there is room for another message. Raises ConnectionLostError where the client ends.

        With an outbox: until what was published so far is on disk. Raises OutboxError.
        """
        if self._feed is not None:
            await self._feed.outbox.flush()
            return
        self._must_run()
        await self._wait_for_room(0)
        await asyncio.sleep(0)
        self._give_room()  # this call takes none, and there may be more

    async def publish_many(
        self,
        items: Iterable[tuple[str, Any] | Publish] | AsyncIterable[tuple[str, Any] | Publish],
        *,
        qos: int = 0,
        retain: bool = False,
    ) -> PublishReport:
        """Publish many messages, as fast as they are taken, and wait until all of them are safe.

        items: (topic, payload) pairs, or `Publish` packets, whose own qos, retain and properties count; from any
            iterable or async iterable, which is read only as there is room. qos, retain: for pairs.

        The result says how many were acknowledged, and which were not and why. Where the client ends, nothing more is
        taken from `items`. With an outbox it says how many are on disk.
        """
        if self._feed is not None:
            return await self._store_many(self._feed, items, qos, retain)
        self._must_run()
        report = PublishReport()
        pending = Pending(report)
        try:
            if isinstance(items, AsyncIterable):
                async for item in items:
                    if not await self._publish_item(item, qos, retain, pending):
                        break
            else:
                await self._publish_all(items, qos, retain, pending)
            if self._link is not None:
                self._link.flush()
            await self._wait_for(pending, 0)
        except asyncio.CancelledError:
            pending.report = PublishReport()  # what is still under way is nobody's
            raise
        return report

    async def _store_many(
        self, feed: Feed, items: Iterable[Any] | AsyncIterable[Any], qos: int, retain: bool
    ) -> PublishReport:
        from .stored import StoredMany

        many = StoredMany(feed, qos, retain)

        async def settle() -> None:
            if many.latest is not None:
                with suppress(OutboxError):  # it is in the report
                    await many.latest
            many.settle()

        if isinstance(items, AsyncIterable):
            async for item in items:
                if many.put(item):
                    await settle()
                if many.is_over:
                    break
        else:
            for item in items:
                if many.put(item):
                    await settle()
                if many.is_over:
                    break
        await settle()
        return many.report

    async def _publish_all(self, items: Iterable[Any], qos: int, retain: bool, pending: Pending) -> None:
        report = pending.report
        remaining = iter(items)
        failure: Exception | None = None
        while failure is None:
            chunk: list[Any] = []
            try:
                # What is not handed over in lists is taken one by one, as there is room.
                chunk.extend(islice(remaining, CHUNK if not qos and self._is_direct else 1))
            except Exception as error:  # noqa: BLE001 -- the application's own: raised when what came before it has left
                failure = error
            if not chunk:
                break
            at = 0
            while at < len(chunk):
                done = at
                if qos and self._publish_at_once(chunk[at], qos, retain, pending):
                    at += 1
                    continue
                try:
                    if not qos and self._is_direct:
                        done = self._session.publish_pairs(chunk, at, retain, GATHER_BYTES)
                        report.acknowledged += done - at
                except IotwireError as error:
                    report.failures.append((chunk[at], error))
                    done = at + 1
                if done == at:
                    if not await self._publish_item(chunk[at], qos, retain, pending):
                        report.failures += [(item, self._make_lost_error()) for item in chunk[at + 1 :]]
                        return
                    done = at + 1
                elif self._link is not None:
                    self._link.flush_soon()
                    if self._session.output_bytes >= GATHER_BYTES:
                        await self._link.writable()
                at = done
        if failure is not None:
            raise failure

    def _publish_at_once(self, item: Any, qos: int, retain: bool, pending: Pending) -> bool:
        """One of many, of QoS 1 or 2; False where it has to wait, or is not as usual."""
        link = self._link
        if (
            type(item) is not tuple
            or len(item) != 2
            or not self._is_direct
            or link is None
            or pending.count >= self._max_pending
            or self._room_waiters
            or not self._has_room()
        ):
            return False
        try:
            delivery = self._session.publish(item[0], item[1], qos, retain)
        except IotwireError as error:
            pending.report.failures.append((item, error))
            return True
        assert delivery is not None
        delivery.context = Part(pending, item)
        pending.count += 1
        if self._is_paused:
            self._update_reading()
        if not link.flush_is_due:
            link.flush_soon()
        return True

    async def _publish_item(self, item: Any, qos: int, retain: bool, pending: Pending) -> bool:
        """One of many; False where there is no use in going on."""
        part = Part(pending, item)
        try:
            topic, payload, qos, retain, properties = read_item(item, qos, retain)
            await self._wait_for_room(qos)
            if pending.count >= self._max_pending:
                await self._wait_for(pending, self._max_pending // 2)
            self._must_run()
            pending.count += 1
            try:
                self._submit(topic, payload, qos, retain, properties, part)
            except IotwireError:
                pending.count -= 1
                raise
            if self._is_paused:
                self._update_reading()
        except IotwireError as error:
            pending.report.failures.append((item, error))
            return self._is_running and not self._is_closing
        return True

    async def _wait_for(self, pending: Pending, most: int) -> None:
        while pending.count > most:
            waiter = self._loop.create_future()
            pending.tell_at(most, waiter)
            await waiter

    async def _wait_for_room(self, qos: int) -> None:
        comes_late = bool(self._room_waiters)
        try:
            while comes_late or not self._has_room():
                comes_late = False
                waiter = self._loop.create_future()
                self._room_waiters.append(waiter)
                try:
                    await waiter
                finally:
                    with suppress(ValueError):
                        self._room_waiters.remove(waiter)
                self._must_run()
            if not qos and self._link is not None and not self._link.is_writable:
                await self._link.writable()
                self._must_run()
        except asyncio.CancelledError:
            self._give_room()  # given and cancelled at once: it is for the next one
            raise

    # Subscriptions.

    async def subscribe(
        self,
        filters: str | Subscription | Iterable[str | Subscription],
        qos: int = 0,
        *,
        subscription_identifier: int | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> tuple[ReasonCode, ...]:
        """Subscribe to topic filters, and wait for the SUBACK. The result is the granted QoS of each, in order.

        filters: one or several. qos: the highest wanted, for those given as str; a `Subscription` has its own options.
        A long list goes out as several SUBSCRIBE packets. What is granted is subscribed again whenever the server has
        lost the session.

        Raises SubscribeError where the server refuses one of them, with `reason_codes` of all of them by filter (what
        it granted stays granted), or where its CONNACK or the limits of the service rule one out, and then nothing is
        sent; ConnectionLostError; EncodeError.
        """
        self._must_run()
        wanted = self._subscriptions.read(filters, qos)
        codes: list[ReasonCode] = []
        for part in self._subscriptions.split(wanted):
            answer: SubAck = await self._ask(
                partial(self._subscriptions.subscribe, part, subscription_identifier, user_properties)
            )
            self._subscriptions.note_answer(part, answer.reason_codes)
            codes += answer.reason_codes
        raise_for_refusals([each.topic_filter for each in wanted], codes)
        return tuple(codes)

    async def unsubscribe(
        self, filters: str | Iterable[str], *, user_properties: Sequence[tuple[str, str]] = ()
    ) -> tuple[ReasonCode, ...]:
        """End subscriptions, and wait for the UNSUBACK. The result is the reason code of each; 3.1.1 has none.

        Raises SubscribeError where the server refuses, ConnectionLostError, EncodeError.
        """
        self._must_run()
        topic_filters = (filters,) if isinstance(filters, str) else tuple(filters)
        codes: list[ReasonCode] = []
        for part in self._subscriptions.split_filters(topic_filters):
            answer: UnsubAck = await self._ask(partial(self._subscriptions.unsubscribe, part, user_properties))
            codes += answer.reason_codes
        raise_for_refusals(topic_filters, codes)
        return tuple(codes)

    async def _ask(self, make_request: Callable[[], Request]) -> Any:
        """The answer to a SUBSCRIBE or UNSUBSCRIBE, asked again on the next connection where one ends before it."""
        while True:
            await self._wait_connected()
            request = make_request()
            request.context = answered = self._loop.create_future()
            self._pending_requests += 1
            self._update_reading()
            self._flush_soon()
            try:
                answer = await answered
            finally:
                self._pending_requests -= 1
                self._update_reading()
            if answer is not None:
                return answer

    async def _wait_connected(self) -> None:
        while not self._session.is_connected:
            self._must_run()
            waiter = self._loop.create_future()
            self._connection_waiters.append(waiter)
            try:
                await waiter
            finally:
                with suppress(ValueError):
                    self._connection_waiters.remove(waiter)

    # Messages from the server.

    def messages(
        self,
        topic_filter: str | None = None,
        *,
        max_messages: int = DEFAULT_MAX_MESSAGES,
        max_bytes: int = DEFAULT_MAX_BYTES,
        when_full: WhenFull = "drop_oldest",
        manual_acknowledgement: bool = False,
    ) -> MessageStream:
        """A stream of the messages that arrive on matching topics: `async for message in client.messages("a/#")`.

        topic_filter: None means every message, also on topics never subscribed to. Subscribing is `subscribe`'s work.
        max_messages, max_bytes: the bound of this stream's own queue.
        when_full: what happens to a QoS 0 message then. "drop_oldest" and "drop_newest" count it in `dropped`; "pause"
            stops reading from the server until there is room. Where a call waits for an answer of the server, reading
            goes on all the same; beyond twice the bound the oldest messages are dropped then, and counted.
        manual_acknowledgement: leave it to `acknowledge` to acknowledge QoS 1 and 2 messages.

        There may be several streams at once; a message goes to each that it matches. One that matches none is kept,
        within the default bound, for the first stream that asks for it: nothing is lost between `subscribe` and this.
        A QoS 1 or 2 message is never dropped. Where the queue is full its acknowledgement is withheld until there is
        room: the server stops sending when `receive_maximum` messages are unacknowledged, and that bounds memory. As
        acknowledgements leave in order, a stream that nobody reads then holds up all QoS 1 and 2 messages. An
        acknowledged message is one that this client has in a queue, not one that the application has read; with
        manual_acknowledgement it is one that the application has acknowledged.

        A stream goes on over reconnects. It ends when this client is closed, and raises ConnectionLostError after its
        last message where the client has given up. Raises EncodeError for a malformed filter.
        """
        inbox = self._distributor.make_inbox(
            topic_filter, max_messages, max_bytes, when_full, is_manual=manual_acknowledgement
        )
        self._distributor.add(inbox)
        return MessageStream(self._distributor, inbox)

    def on_message(
        self,
        topic_filter: str,
        callback: Callable[[Publish], Any] | Callable[[Publish], Awaitable[Any]],
        *,
        max_messages: int = DEFAULT_MAX_MESSAGES,
        max_bytes: int = DEFAULT_MAX_BYTES,
        when_full: WhenFull = "drop_oldest",
        manual_acknowledgement: bool = False,
    ) -> MessageHandler:
        """Have a function called with each message on matching topics, until the result is closed.

        callback: a plain function is called as soon as a message is read, and the message is acknowledged when it
            returns; it must not block. An async one is awaited for one message after another, which meanwhile wait in
            a queue of its own: max_messages, max_bytes, when_full and manual_acknowledgement are those of `messages`.
            What a callback raises is logged, with its traceback.

        Raises EncodeError for a malformed filter.
        """
        return self._handle_with(
            callback, topic_filter, max_messages, max_bytes, when_full, is_manual=manual_acknowledgement
        )

    def on_unmatched(
        self,
        callback: Callable[[Publish], Any] | Callable[[Publish], Awaitable[Any]],
        *,
        max_messages: int = DEFAULT_MAX_MESSAGES,
        max_bytes: int = DEFAULT_MAX_BYTES,
        when_full: WhenFull = "drop_oldest",
        manual_acknowledgement: bool = False,
    ) -> MessageHandler:
        """Have a function called with what no stream and no other callback takes. There is one at most.

        Servers may send messages on topics never subscribed to (AWS IoT: direct messages). As `on_message` otherwise.
        """
        return self._handle_with(
            callback, None, max_messages, max_bytes, when_full, is_manual=manual_acknowledgement, is_unmatched=True
        )

    def _handle_with(
        self,
        callback: Callable[[Publish], Any],
        topic_filter: str | None,
        max_messages: int,
        max_bytes: int,
        when_full: WhenFull,
        *,
        is_manual: bool,
        is_unmatched: bool = False,
    ) -> MessageHandler:
        taker: Callback | Inbox
        if inspect.iscoroutinefunction(callback):
            taker = self._distributor.make_inbox(topic_filter, max_messages, max_bytes, when_full, is_manual=is_manual)
            Consumer(taker, callback, self._tasks)
        else:
            taker = Callback(topic_filter, callback, is_manual=is_manual)
        if is_unmatched:
            self._distributor.set_unmatched(taker)
        else:
            self._distributor.add(taker)
        return MessageHandler(self._distributor, taker)

    def acknowledge(self, message: Publish) -> None:
        """The application has a message safe that was taken with manual_acknowledgement. Others, or once more: nothing.

        Acknowledgements leave in the order of arrival (MQTT 5.0, 4.6). What was not acknowledged when a connection ends
        comes again on the next one.
        """
        self._distributor.acknowledge(message)

    async def request(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview = b"",
        qos: int = 1,
        *,
        response_topic: str | None = None,
        timeout_s: float = 30.0,
        **properties: Any,
    ) -> Publish:
        """Publish a request, and wait for the answer that carries its correlation data (MQTT 5.0, 4.10).

        response_topic: where the answer is to come. None means "responses/" and this client's id, or what the server
            suggests in CONNACK in place of "responses"; it is subscribed to when it is first used, with QoS 1.
        timeout_s: for the whole call.

        Raises RequestTimeoutError; PublishError, SubscribeError and ConnectionLostError as the calls do that it makes;
        EncodeError with MQTT 3.1.1, which has neither response topics nor correlation data.
        """
        self._must_run()
        correlation = self._make_correlation()
        answered: asyncio.Future[Publish] = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait_connected()
                wanted = response_topic or self._make_response_topic()
                if wanted not in self._subscriptions:
                    await self.subscribe(Subscription(wanted, 1))
                self._answers[correlation] = answered
                self._update_reading()
                await self._send_in_turn(
                    topic,
                    payload,
                    qos,
                    False,
                    {**properties, "response_topic": wanted, "correlation_data": correlation},
                )
                return await answered
        except TimeoutError:
            raise RequestTimeoutError(f"no answer on a request to {topic} within {timeout_s:g} s") from None
        finally:
            self._answers.pop(correlation, None)
            self._update_reading()
