"""Keep alive: say something in time, and notice when the server no longer does (MQTT 5.0, 3.1.2.10 and 4.13)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..mqtt import PingReq
from ..transport import PacketStream

__all__ = ["KeepAlive"]

# The part of the keep alive after which PINGREQ is sent: the standard wants it to leave within the whole.
PING_AFTER = 0.9


class KeepAlive:
    """Sends PINGREQ when either direction was silent for most of `keep_alive_s`.

    on_silence: called where, `timeout_s` seconds after it, not a single byte has come. is_deaf: whether that is because
        this side does not read, for a reason that is not the server's fault.
    Any byte counts as an answer: PINGRESP may stand behind a large message on a slow link.
    """

    def __init__(
        self,
        stream: PacketStream,
        keep_alive_s: float,
        timeout_s: float,
        *,
        on_silence: Callable[[], None],
        is_deaf: Callable[[], bool],
    ) -> None:
        self._stream = stream
        self._is_deaf = is_deaf
        self._silence_s = keep_alive_s * PING_AFTER
        self._timeout_s = timeout_s
        self._on_silence = on_silence
        self._loop = asyncio.get_running_loop()
        self._pinged_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._check()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        now = self._loop.time()
        sent_at, received_at = self._stream.last_sent_at, self._stream.last_received_at
        if self._pinged_at is not None:
            if received_at > self._pinged_at:
                self._pinged_at = None
            elif self._is_deaf():
                self._pinged_at = now
            elif now >= self._pinged_at + self._timeout_s:
                self._on_silence()
                return
        has_asked = self._pinged_at is not None
        if now >= sent_at + self._silence_s or (not has_asked and now >= received_at + self._silence_s):
            self._stream.write(PingReq().encode())
            sent_at = now
            if self._pinged_at is None:
                self._pinged_at = now
        listen_until = self._pinged_at + self._timeout_s if self._pinged_at else received_at + self._silence_s
        self._timer = self._loop.call_at(min(sent_at + self._silence_s, listen_until), self._check)
