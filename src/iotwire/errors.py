"""Every error that leaves iotwire.

Two families matter, because different people have to act on them: a `WireError` says that the peer sent bytes that
can never become right, an `EncodeError` says that the caller asked for bytes the protocol forbids. "Not enough bytes
yet" is neither: it is a value (None, or an empty list).

No message in here, and no attribute, carries a password, a token, a key or a payload.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `typing`, which costs more memory to import than the whole codec
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any

__all__ = [
    "ConnectError",
    "ConnectionLostError",
    "CredentialsError",
    "EncodeError",
    "IotwireError",
    "MalformedPacketError",
    "NoCredentialsError",
    "OutboxError",
    "OutboxFullError",
    "PacketTooLargeError",
    "ProtocolViolationError",
    "PublishError",
    "RequestTimeoutError",
    "RouteError",
    "SignatureError",
    "SubscribeError",
    "TlsDecodeError",
    "WireError",
]


class IotwireError(Exception):
    """The root: nothing else leaves the library on purpose."""


class WireError(IotwireError, ValueError):
    """The peer's bytes are wrong, and more bytes will not mend them.

    reason_code: the MQTT 5.0 reason code to answer with in DISCONNECT or CONNACK (0x80-0xFF).
    offset: bytes from the first byte of the packet to what is wrong; None where no one byte is.
    clause: the requirement that is broken, such as "MQTT-3.3.2-2", or a section of the standard, such as "2.2.2.2".
    packets: what the same `Decoder` call had decoded before it met the error, in order.
    """

    reason_code: int = 0x80
    default_reason_code = 0x80

    def __init__(
        self,
        message: str = "",
        *,
        reason_code: int | None = None,
        offset: int | None = None,
        clause: str = "",
        packets: Sequence[Any] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason_code = self.default_reason_code if reason_code is None else reason_code
        self.offset = offset
        self.clause = clause
        self.packets = list(packets)

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset}"
        return f"{self.message}{where} [{self.clause}]" if self.clause else f"{self.message}{where}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


class MalformedPacketError(WireError):
    """The bytes cannot be parsed as the standard lays them out: 0x81, unless the standard has a closer code."""

    default_reason_code = 0x81


class ProtocolViolationError(WireError):
    """The bytes parse but break a rule: 0x82, unless the standard has a closer code."""

    default_reason_code = 0x82


class PacketTooLargeError(WireError):
    """The header announces more bytes than `max_packet_size`: reason code 0x95. The body was never stored."""

    default_reason_code = 0x95


class TlsDecodeError(WireError):
    """A TLS record or handshake message is wrong.

    alert: the TLS alert to answer with (RFC 8446, 6.2), such as 47 for illegal_parameter.
    offset: bytes from the first byte of the first record to what is wrong.
    clause: the RFC and section that is broken, such as "RFC 8446 4.2".
    """

    def __init__(self, message: str = "", *, alert: int = 50, offset: int | None = None, clause: str = "") -> None:
        super().__init__(message, offset=offset, clause=clause)
        self.alert = alert


class EncodeError(IotwireError, ValueError):
    """The caller asked for something the protocol cannot carry.

    field: the name of the argument that is wrong.
    clause: the requirement or section it breaks, or "" where it is a matter of Python types.
    """

    def __init__(self, message: str = "", *, field: str = "", clause: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.clause = clause

    def __str__(self) -> str:
        named = f"{self.field}: {self.message}" if self.field else self.message
        return f"{named} [{self.clause}]" if self.clause else named

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


class RouteError(IotwireError):
    """The service does not accept this pair of protocol and authentication, port or ALPN; says what it does accept."""


class CredentialsError(IotwireError):
    """Credentials are missing, unreadable or expired."""


class SignatureError(IotwireError):
    """A request is not signed as it has to be: what a server answers with 403.

    check: which check failed, one of "missing", "malformed", "algorithm", "scope", "clock", "expired", "access_key",
        "session_token", "signed_headers", "payload" and "signature". The signature that would be right is nowhere.
    """

    def __init__(self, message: str = "", *, check: str = "") -> None:
        super().__init__(message)
        self.check = check


class NoCredentialsError(CredentialsError):
    """A source of credentials is not set up here: `ProviderChain` asks the next one. Other errors end its search."""


class ConnectError(IotwireError):
    """A connection was not made. The message says what was tried, and what can be done about it.

    step: where it failed: "dns", "tcp", "proxy", "tls", "websocket", and then "mqtt" or "http"; None for none of them.
    reason_code: of the CONNACK that refused it, or None where no CONNACK came.
    alert: the TLS alert that the server sent (RFC 8446, 6), such as 48 for "unknown ca", or None.
    http_status: of the answer of an HTTP proxy, or of the server where HTTP is spoken, or None.
    server_time: what time the server says it is, where it refused a WebSocket and said so; an aware datetime, or None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        reason_code: int | None = None,
        step: str | None = None,
        alert: int | None = None,
        http_status: int | None = None,
        server_time: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.step = step
        self.alert = alert
        self.http_status = http_status
        self.server_time = server_time


class ConnectionLostError(IotwireError):
    """The connection ended while something still waited on it.

    reason_code: of the DISCONNECT that the server sent, or None where it sent none.
    """

    def __init__(self, message: str = "", *, reason_code: int | None = None) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class PublishError(IotwireError):
    """The server answered a message with a failure.

    reason_code: the code of its PUBACK, PUBREC or PUBCOMP. http_status: of its answer to a message over HTTPS, and
    retry_after_s: the seconds that it asks to wait before another one. None where there is no such thing.
    """

    def __init__(
        self,
        message: str = "",
        *,
        reason_code: int | None = None,
        http_status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.http_status = http_status
        self.retry_after_s = retry_after_s


class SubscribeError(IotwireError):
    """The server refused topic filters. reason_codes: the code it gave for each, by filter."""

    def __init__(self, message: str = "", *, reason_codes: dict[str, int] | None = None) -> None:
        super().__init__(message)
        self.reason_codes = dict(reason_codes or {})


class RequestTimeoutError(IotwireError, TimeoutError):
    """No answer to a request came in time."""


class OutboxError(IotwireError):
    """An outbox could not be opened, read or written. What was stored before is where it was."""


class OutboxFullError(OutboxError):
    """A bounded queue has no room, and its policy is to refuse."""


def _restore(cls: type[IotwireError], args: tuple[Any, ...], state: dict[str, Any]) -> IotwireError:
    """Unpickle an error: keyword-only attributes do not survive `Exception.__reduce__` by themselves."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
