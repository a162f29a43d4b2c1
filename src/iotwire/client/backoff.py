"""When to connect again."""

from __future__ import annotations

import random
import ssl
from dataclasses import dataclass

from ..errors import ConnectError, ConnectionLostError, CredentialsError, EncodeError, RequestTimeoutError, RouteError
from ..transport.explain import alert_of
from ..transport.proxies import ProxyError
from ..transport.steps import UpgradeError

__all__ = ["Backoff", "Retries", "is_refusal"]

# Codes that say "not with these": unsupported version, client id, user name or password, not authorized, banned,
# authentication method; of CONNACK (MQTT 5.0, 3.2.2.2; 3.1.1, 3.2.2.3). Of DISCONNECT: not authorized, banned, and
# session taken over, after which two devices with one client id would throw each other out as fast as they can.
REFUSALS = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 1, 2, 4, 5})
EXPULSIONS = frozenset({0x87, 0x8A, 0x8E})
# Seconds that a connection has to last to count as one that works, where the server has not shown it before.
LASTING_S = 10.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How a client connects again: exponential, with full jitter.

    The n-th attempt after a failure waits a random time from 0 to the least of `max_s` and `base_s` * 2 ** n seconds,
    so that a thousand gateways do not come back in the same second. Where the server has refused who this client is, or
    another one has taken over its id, it waits from half of `max_s` on: the same again at once would be refused again,
    and may be counted against the device.

    attempts: how many may fail in a row before the client gives up; None for never. It counts anew where the network of
        this machine has changed. 0 < base_s <= max_s <= 86400.
    Raises EncodeError for values out of range.
    """

    base_s: float = 1.0
    max_s: float = 60.0
    attempts: int | None = None

    def __post_init__(self) -> None:
        if type(self.base_s) not in (int, float) or not 0 < self.base_s <= 86400:
            raise EncodeError("must be more than 0 and at most 86400 seconds", field="base_s")
        if type(self.max_s) not in (int, float) or not self.base_s <= self.max_s <= 86400:
            raise EncodeError("must be from base_s to 86400 seconds", field="max_s")
        if self.attempts is not None and (type(self.attempts) is not int or self.attempts < 1):
            raise EncodeError("must be an int of at least 1, or None", field="attempts")


class Retries:
    """The attempts of one client, in a row."""

    def __init__(self, backoff: Backoff | None) -> None:
        self._backoff = backoff
        self._failures = 0

    def note_progress(self) -> None:
        """The server did what it is for: this connection is not one of those that are accepted and dropped."""
        self._failures = 0

    def delay_s(self, error: BaseException | None, lasted_s: float) -> float | None:
        """How long to wait after a connection that ended, or an attempt that failed; None to give up.

        lasted_s: how long the connection was open.
        """
        backoff = self._backoff
        if backoff is None:
            return None
        if lasted_s >= LASTING_S:
            self._failures = 0
        if self._failures == backoff.attempts:
            return None
        ceiling = min(backoff.max_s, backoff.base_s * 2 ** min(self._failures, 32))
        self._failures += 1
        if is_refusal(error):
            return random.uniform(backoff.max_s / 2, backoff.max_s)  # noqa: S311 -- jitter, not a secret
        return random.uniform(0, ceiling)  # noqa: S311


def is_refusal(error: BaseException | None) -> bool:
    """Whether who this client is was refused, rather than a link lost."""
    if isinstance(error, CredentialsError) and isinstance(
        error.__cause__, (ConnectError, ConnectionLostError, RequestTimeoutError)
    ):
        error = error.__cause__  # who gives the credentials was not reached, and nothing was said about this client
    if isinstance(error, (CredentialsError, RouteError)):
        return True
    if isinstance(error, ConnectionLostError):
        return error.reason_code in EXPULSIONS
    if not isinstance(error, ConnectError):
        return False
    if error.reason_code in REFUSALS:
        return True
    cause = error.__cause__
    if isinstance(cause, (ProxyError, UpgradeError)):
        return cause.is_refusal
    return isinstance(cause, ssl.SSLError) and (
        isinstance(cause, ssl.SSLCertVerificationError) or alert_of(cause) is not None
    )
