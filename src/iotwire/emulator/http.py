"""One connection to the HTTPS interface, seen from the service: requests in, answers out, by h11.

h11 has the syntax of HTTP/1.1 (RFC 9112) and its states, and this room the sockets' side: what is stored of a peer is
bounded, and so is the time a request may take. What a request means is read in `iotwire.emulator.requests`, and who may
make it is decided in `iotwire.emulator.access`. A connection that becomes a WebSocket is handed on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus

import h11

from ..mqtt import ReasonCode
from ..transport import GatheringStream
from .access import Gate, Grant, HttpRequest, Kept, Pass, forbidden
from .arrival import Arrival, ConnectionInfo
from .hub import Exchange, Message
from .peek import WEB_ALPN, Way
from .requests import RequestError, invalid, printable, read_publish, split_target
from .websocket import WEBSOCKET_PATH, judge_upgrade

__all__ = ["HttpConnection"]

_log = logging.getLogger("iotwire.emulator")

READ_BYTES = 16 * 1024


class _Buffer:
    """What is received into; h11 copies it."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_BYTES))

    def get_buffer(self, sizehint: int = -1) -> memoryview:  # noqa: ARG002 -- as large as it is
        return self.view


class _HttpStream(GatheringStream):
    """The bytes of one connection. on_bytes: called with what has arrived. on_lost: called once, at the end."""

    def __init__(self, on_bytes: Callable[[bytes], None], on_lost: Callable[[Exception | None], None]) -> None:
        self._buffer = _Buffer()
        super().__init__(self._buffer)
        self._on_bytes = on_bytes
        self._on_lost = on_lost

    def _receive(self, nbytes: int) -> None:
        self._on_bytes(bytes(self._buffer.view[:nbytes]))

    def eof_received(self) -> None:
        """The peer has said all it has to say, perhaps in the same bytes as its request: the answer leaves first."""
        self.flush()

    @property
    def transport(self) -> asyncio.Transport:
        """For whoever takes the connection over."""
        assert self._transport is not None
        return self._transport

    def _lose(self, error: Exception | None) -> None:
        self._take_written()
        self._on_lost(error)


class HttpConnection:
    """One accepted connection.

    arrival: what is known of it. way: how it came; its ALPN name must have been agreed on.
    on_device: called when it turns out to be a device's, with what has come of that: a WebSocket, with what the request
    for it has shown; or, on a way of MQTT, which WebSockets may use too, MQTT itself.
    on_gone: called when it has ended.
    """

    def __init__(
        self,
        hub: Exchange,
        gate: Gate,
        arrival: Arrival,
        way: Way,
        *,
        on_device: Callable[[HttpConnection, Pass | None, bytes], None],
        on_gone: Callable[[HttpConnection], None],
    ) -> None:
        self._hub = hub
        self._gate = gate
        self.way = way
        self.arrival = arrival
        self._grant: Grant | None = None
        self._on_device = on_device
        self._on_gone = on_gone
        self._kept = Kept()
        self._answering: asyncio.Task[None] | None = None
        self._limits = hub.limits
        self._loop = asyncio.get_running_loop()
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.max_http_head_bytes)
        self.stream = _HttpStream(self._on_bytes, self.stream_lost)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._has_begun = False
        self.is_handed_over = False  # whose it is from then on is another's business
        self._is_idle = True
        self._is_counted = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The TLS handshake is over: from now on a request is waited for."""
        if self._timer is None and not self.stream.is_closing and not self.is_handed_over:
            self._watch(self._limits.connect_timeout_s)

    # What the stream calls.

    def _hand_over(self, shown: Pass | None, rest: bytes) -> None:
        self._stop_watch()
        self.is_handed_over = self._is_counted = True  # as a device's connection, from now on
        self._on_device(self, shown, rest)

    def _on_bytes(self, data: bytes) -> None:
        if self.way.protocol == "mqtt" and not self._has_begun and not data.startswith(b"G"):
            self._hand_over(None, data)
            return
        self._has_begun = True
        if self._is_idle:
            self._watch(self._limits.http_request_timeout_s)
            self._is_idle = False
        self._parser.receive_data(data)
        self._read_events_again()

    def _read_events_again(self) -> None:
        try:
            self._read_events()
        except h11.RemoteProtocolError as error:
            # Not behind the colon: there h11 repeats the line, and a token may stand in it.
            _log.info("what %s sent is no HTTP/1.1: %s", self.stream.peer, str(error).partition(":")[0])
            self._refuse(invalid("HTTP/1.1 is expected", error.error_status_hint))

    def stream_lost(self, error: Exception | None) -> None:
        _log.debug("%s is gone: %s", self.stream.peer, error or "closed")
        self._stop_watch()
        self._stop_answering()
        self._count_as(accepted=False)
        self._on_gone(self)

    def _count_as(self, *, accepted: bool) -> None:
        if not self._is_counted:
            self._is_counted = True
            self._hub.stats.accepted_connections += accepted
            self._hub.stats.refused_connections += not accepted

    def _stop_answering(self) -> None:
        if self._answering is not None:
            self._answering.cancel()

    def _stop_watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _watch(self, seconds: float) -> None:
        self._stop_watch()
        self._timer = self._loop.call_later(seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        if self._is_idle:
            if not self._has_begun:
                _log.info("%s sent no request in time", self.stream.peer)
            self.stream.close(self._limits.close_timeout_s)
        else:  # a request that drips in would hold its place for ever
            self._refuse(invalid("the request did not come in time", 408))

    # Requests.

    def _read_events(self) -> None:
        while not self.stream.is_closing and self._parser.our_state is not h11.SWITCHED_PROTOCOL:
            event = self._parser.next_event()
            if event is h11.NEED_DATA:
                if self._parser.they_are_waiting_for_100_continue:
                    self.stream.write(self._parser.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                return
            if isinstance(event, h11.Request):
                self._on_request(event)
            elif isinstance(event, h11.Data):
                self._body += event.data
                self._check_size(len(self._body))
            elif isinstance(event, h11.EndOfMessage):
                self._on_end_of_request()
            elif event is h11.PAUSED:  # until the request before it is answered
                return
            else:  # closed
                self.stream.close(self._limits.close_timeout_s)

    def _on_request(self, request: h11.Request) -> None:
        if self.stream.alpn != self.way.alpn:
            _log.info("a connection without ALPN %s is refused", self.way.alpn)
            self.stream.abort()
            return
        if self.way.is_x509 or not request.target.startswith(WEBSOCKET_PATH.encode()):
            self._count_as(accepted=True)  # what becomes a device's connection is counted as one
        self._request = request
        if request.http_version not in (b"1.0", b"1.1"):
            self._refuse(invalid("HTTP/1.1 is expected", 505))
            return
        for name, value in request.headers:
            if name == b"content-length":
                self._check_size(int(value))  # before it is asked for with 100, or stored

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_http_body_bytes and not self.stream.is_closing:
            limit = f"the payload is larger than {self._limits.max_http_body_bytes} bytes"
            self._refuse(RequestError(413, "RequestEntityTooLargeException", limit))

    def _on_end_of_request(self) -> None:
        assert self._request is not None
        event, self._request = self._request, None
        headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers)
        request = HttpRequest(event.method.decode("ascii"), event.target.decode("latin-1"), headers, bytes(self._body))
        self._body.clear()
        if self.way.is_x509:
            self._publish_with_certificate(event, request)
        elif self._is_for_websocket(request):
            error: RequestError | None = invalid("HTTP/1.1 is expected", 505)
            if event.http_version == b"1.1":
                error = self._find_error(lambda: self._upgrade(request))
            if error is not None:
                self._count_as(accepted=False)
                self._finish(event, error)
        elif not request.target.startswith(("/topics/", "http")):  # whoever asks
            self._finish(event, RequestError(404, "ResourceNotFoundException", "/topics/{topic} and /mqtt are served"))
        else:
            self._answer_later(event, lambda: self._publish_with_proof(request))

    def _answer_later(self, event: h11.Request, publish: Callable[[], Awaitable[None]]) -> None:
        """An authorizer or a broker takes its time. Nothing more is read meanwhile, or it would have to be stored."""
        self._stop_watch()
        self.stream.pause_reading("request")
        self._answering = self._loop.create_task(self._answer_after(event, publish))

    async def _answer_after(self, event: h11.Request, publish: Callable[[], Awaitable[None]]) -> None:
        error: RequestError | None = None
        try:
            await publish()
        except RequestError as refusal:
            error = refusal
        self._answering = None
        self.stream.resume_reading("request")
        if not self.stream.is_closing:
            self._finish(event, error)
            self._read_events_again()

    @staticmethod
    def _find_error(action: Callable[[], None]) -> RequestError | None:
        try:
            action()
        except RequestError as error:
            return error
        return None

    def _finish(self, event: h11.Request, error: RequestError | None) -> None:
        """Answer a request, and wait for the next one or close."""
        self._count_as(accepted=True)
        if error is not None:
            text = printable(str(error))
            _log.info("a request of %s is answered with %d: %s", self.stream.peer, error.status, text)
        self._answer(event, error)
        if self._parser.our_state is h11.DONE:
            self._parser.start_next_cycle()
            self._is_idle = not self._parser.trailing_data[0]
            self._watch(self._limits.http_idle_timeout_s if self._is_idle else self._limits.http_request_timeout_s)
        else:  # either side wants no other; all of the request was read
            self._stop_watch()
            self.stream.close(self._limits.close_timeout_s)

    def _publish_with_certificate(self, event: h11.Request, request: HttpRequest) -> None:
        where = f"ALPN {self.way.alpn}" if self.way.alpn not in (None, WEB_ALPN) else "port 8443"
        try:
            self._gate.refuse_claims_with_certificate(request, where)
            outcome = self._publish(request, self._gate.admit_certificate(self.stream.peer_certificate_name))
            if isinstance(outcome, asyncio.Future):
                self._answer_later(event, lambda: self._judge_later(outcome))
                return
            self._judge_outcome(outcome)
        except RequestError as error:
            self._finish(event, error)
        else:
            self._finish(event, None)

    async def _publish_with_proof(self, request: HttpRequest) -> None:
        grant = await self._gate.admit_publish(request, self.arrival.server_name, self._kept)
        outcome = self._publish(request, grant)
        if isinstance(outcome, asyncio.Future):
            await self._judge_later(outcome)
        else:
            self._judge_outcome(outcome)

    async def _judge_later(self, outcome: asyncio.Future[ReasonCode]) -> None:
        self._judge_outcome(await outcome)

    def describe(self) -> ConnectionInfo | None:
        """None until a request was let in."""
        if self._grant is None:
            return None
        return self.arrival.describe("https", self._grant.authentication, "", self.stream.alpn, self.stream.security)

    def _publish(self, request: HttpRequest, grant: Grant) -> ReasonCode | asyncio.Future[ReasonCode]:
        self._grant = grant
        packet = read_publish(request.method, request.target, request.headers, request.body)
        message = Message.of(packet, packet.topic, time.monotonic())
        fault = message.find_fault(self._limits.service)
        if fault is not None:
            raise invalid(f"{fault.field}: {fault.text}")
        actions = ("iot:Publish", "iot:RetainPublish") if packet.retain else ("iot:Publish",)
        for action in actions:
            if not grant.allows(action, f"topic/{packet.topic}", None):
                raise forbidden(f"{action} on {packet.topic} is not allowed for {grant.principal}")
        return self._hub.take(message)

    @staticmethod
    def _judge_outcome(reason_code: ReasonCode) -> None:
        """Raises RequestError."""
        if reason_code == ReasonCode.QUOTA_EXCEEDED:
            raise RequestError(429, "ThrottlingException", "too many retained messages")

    # WebSockets.

    @staticmethod
    def _is_for_websocket(request: HttpRequest) -> bool:
        return split_target(request.target)[0] == WEBSOCKET_PATH and request.method in ("GET", "HEAD")

    def _upgrade(self, request: HttpRequest) -> None:
        """Agree to become a WebSocket, and hand the connection on. Raises RequestError."""
        headers = judge_upgrade(request)
        shown = self._gate.admit_upgrade(request)
        agreed = self._parser.send(
            h11.InformationalResponse(status_code=101, headers=headers, reason="Switching Protocols")
        )
        self.stream.write(agreed or b"")
        self.stream.flush()
        self._hand_over(shown, self._parser.trailing_data[0])

    # Answers.

    def _answer(self, request: h11.Request | None, error: RequestError | None, *, closes: bool = False) -> None:
        trace_id = str(uuid.uuid4())
        status = 200 if error is None else error.status
        text = "OK" if error is None else str(error)
        body = json.dumps({"message": text, "traceId": trace_id}).encode()
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("x-amzn-RequestId", trace_id),
        ]
        if error is not None:
            headers.append(("x-amzn-ErrorType", error.kind))
        if status == 405:
            headers.append(("Allow", "POST"))
        if status == 426:
            headers += [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
        if closes:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(status).phrase
        answer = [self._parser.send(h11.Response(status_code=status, headers=headers, reason=reason))]
        if request is None or request.method != b"HEAD":
            answer.append(self._parser.send(h11.Data(data=body)))
        answer.append(self._parser.send(h11.EndOfMessage()))
        self.stream.write(b"".join(filter(None, answer)))

    def _refuse(self, error: RequestError) -> None:
        """Answer before the request has ended, where that is still possible, and close."""
        if self.stream.is_closing:
            return
        if self._parser.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer(self._request, error, closes=True)
        self._close()

    def _close(self) -> None:
        self._stop_watch()
        self._stop_answering()
        self._count_as(accepted=False)
        self._body.clear()
        # The peer reads the answer first: a socket that is closed with unread input resets the connection.
        self.stream.close(self._limits.close_timeout_s, linger=True)

    def shut_down(self) -> None:
        """The emulator stops."""
        self._stop_answering()
        self.stream.close(self._limits.close_timeout_s)
