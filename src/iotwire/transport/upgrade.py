"""The request that makes a connection a WebSocket (RFC 6455, 4), without a socket: bytes in, bytes out.

As with a proxy's tunnel: begun with `start`, what the server answers goes to `receive`, until it `is_open`. What an
answer may take is bounded, and nothing that was secret in the request is repeated from it.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from hashlib import sha1
from typing import TYPE_CHECKING

from ..clock import read_http_date
from ..errors import RouteError
from ..route import Attempt
from .quoting import MAX_QUOTED, describe_status, quote_words, values_of_headers, values_of_query
from .steps import UpgradeError

if TYPE_CHECKING:
    import h11

__all__ = ["Upgrade"]

SUBPROTOCOL = "mqtt"  # [MQTT-6.0.0-3]
# Bytes of a head; of all that comes before one that counts; and of a body that explains a refusal.
MAX_HEAD_BYTES = 16 * 1024
MAX_ANSWER_BYTES = 64 * 1024
MAX_BODY_BYTES = 8 * 1024
KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3

ADVICE = {
    400: "what it was asked is not as it wants it",
    401: "check the credentials, or the token and its signature",
    403: "check that the clock of this device is right, that the credentials are valid and for this region, and that "
    "their policy, or the authorizer's, allows iot:Connect for this client id",
    404: "it has no WebSocket under this path",
    405: "what is there is no WebSocket",
    426: "it wants another protocol or version",
    429: "too many requests: connect less often",
    503: "it is not available: try again later",
}


class Upgrade:
    """One request for a WebSocket, and its answer. Raises RouteError where HTTP cannot carry what the attempt has."""

    def __init__(self, attempt: Attempt) -> None:
        import h11  # half a megabyte that a device without WebSockets does without

        assert attempt.websocket_path is not None
        self._h11 = h11
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._attempt = attempt
        self._key = b64encode(os.urandom(16))
        self._received = 0
        self._refusal: h11.Response | None = None
        self._body = b""
        self.is_open = False
        self.rest = b""  # what came behind the answer: frames
        self._request = self._make_request(attempt)

    def start(self) -> bytes:
        """What to say first."""
        return self._request

    def _make_request(self, attempt: Attempt) -> bytes:
        h11 = self._h11
        headers = [
            ("Host", attempt.authority or attempt.host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self._key),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Protocol", SUBPROTOCOL),
            *attempt.headers,
        ]
        try:
            request = h11.Request(method="GET", target=attempt.websocket_path or "/", headers=headers)
            return (self._connection.send(request) or b"") + (self._connection.send(h11.EndOfMessage()) or b"")
        except (h11.LocalProtocolError, UnicodeEncodeError):  # whose words would show what it is
            raise RouteError("the route's websocket_path, authority or headers are none that HTTP can carry") from None

    def receive(self, data: bytes) -> bytes:
        """What to say next, which is nothing. data: what has come; b"" at the end. Raises UpgradeError."""
        self._received += len(data)
        try:
            self._connection.receive_data(data)
            self._read(is_at_end=not data)
        except self._h11.RemoteProtocolError:
            pass
        else:
            return b""
        # Not in the `except`: its error quotes the answer, which may be an echo of the request, and would go along.
        self.give_up()
        if not data:
            how = "in the midst of its answer" if self._received else "without an answer"
            raise UpgradeError(f"it closed the connection {how}")
        raise UpgradeError("its answer is not HTTP/1.1, or too long for one")

    def give_up(self) -> None:
        """Wait no more. Raises UpgradeError where it is known that the server refuses."""
        if self._refusal is not None:
            raise self._make_refusal(self._refusal)

    def _read(self, *, is_at_end: bool) -> None:
        h11 = self._h11
        while not self.is_open:
            event = self._connection.next_event()
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    self._judge(event)
                    self.rest = self._connection.trailing_data[0]
                    self.is_open = True
            elif isinstance(event, h11.Response):
                self._refusal = event
            elif isinstance(event, h11.Data):
                self._body += bytes(event.data[:MAX_BODY_BYTES])
                if len(self._body) >= MAX_BODY_BYTES:
                    self.give_up()
            elif isinstance(event, h11.EndOfMessage):
                self.give_up()
            else:  # h11.NEED_DATA, or what comes where there is no more
                if is_at_end:
                    self.give_up()
                    raise UpgradeError("it closed the connection after interim answers")
                if self._received > MAX_ANSWER_BYTES:
                    self.give_up()
                    raise UpgradeError(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
                return

    def _judge(self, answer: h11.InformationalResponse) -> None:
        """RFC 6455, 4.1, and MQTT 5.0, 6."""
        told: dict[bytes, list[str]] = {}
        for name, value in answer.headers:
            told.setdefault(name, []).append(value.decode("latin-1"))
        if "websocket" not in _tokens(told.get(b"upgrade")):
            raise UpgradeError("it changed to another protocol than WebSocket", status=101)
        if "upgrade" not in _tokens(told.get(b"connection")):
            raise UpgradeError("its answer lacks `Connection: Upgrade`", status=101)
        accept = b64encode(sha1(self._key + KEY_SUFFIX, usedforsecurity=False).digest()).decode()
        if told.get(b"sec-websocket-accept") != [accept]:
            raise UpgradeError("its Sec-WebSocket-Accept is not for this request: is it an answer kept by a cache?")
        if told.get(b"sec-websocket-extensions"):
            raise UpgradeError("it wants an extension of WebSocket that was not offered", status=101)
        protocols = told.get(b"sec-websocket-protocol")
        if protocols is None:
            raise UpgradeError("it speaks no subprotocol, where `mqtt` was asked for [MQTT-6.0.0-4]", status=101)
        if protocols != [SUBPROTOCOL]:
            raise UpgradeError("it speaks another subprotocol than `mqtt` [MQTT-6.0.0-4]", status=101)

    def _make_refusal(self, answer: h11.Response) -> UpgradeError:
        status = answer.status_code
        advice = ADVICE.get(status)
        if advice is None:
            advice = {2: "what is there is no WebSocket", 3: "redirections are not followed"}.get(status // 100, "")
        text = f"it answered {describe_status(status)}" + (f": {advice}" if advice else "")
        if words := self._quote(self._body):
            text += f" ({words})"
        date = next((value.decode("latin-1") for name, value in answer.headers if name == b"date"), "")
        return UpgradeError(text, status=status, date=read_http_date(date))

    def _quote(self, body: bytes) -> str:
        text = re.sub(r"<[^>]*>", " ", body.decode("utf-8", "replace"))
        query = (self._attempt.websocket_path or "").partition("?")[2]
        secrets = values_of_query(query) + values_of_headers(self._attempt.headers)
        return quote_words(text, secrets, MAX_QUOTED)


def _tokens(values: list[str] | None) -> set[str]:
    return {token.strip().lower() for value in values or () for token in value.split(",")}
