"""What a service tells systemd: that it is ready, that it is stopping, how it is, and that it is alive.

The protocol is that of sd_notify(3): a datagram of VARIABLE=VALUE lines to the socket that NOTIFY_SOCKET names. Where
that is not set nothing is sent, so a program says the same in a container and on a terminal. Nothing here waits, and
nothing here raises for what the manager does: a gateway goes on without it.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable

__all__ = ["Watchdog", "notify", "ready", "status", "stopping", "watchdog", "watchdog_interval_s"]

_log = logging.getLogger("iotwire.systemd")

# What sd_watchdog_enabled(3) takes for no time at all.
ENDLESS_USEC = (1 << 64) - 1
DIGITS = frozenset("0123456789")


def notify(**fields: object) -> bool:
    """Tell the service manager: `notify(READY=1, STATUS="reading 12 meters")`. Whether it was sent.

    fields: as sd_notify(3) names them, in one datagram. A line break in a value becomes a space, for it would begin
    another field. False where there is no manager, or it cannot be told; what it could not be told is logged.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    lines = [f"{name}={' '.join(str(value).splitlines())}" for name, value in fields.items()]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            sending.sendto("\n".join(lines).encode(errors="replace"), _read_address(address))
    except OSError as error:  # a full queue among them: who waited for the manager would be taken for hung
        _log.warning("the service manager was not told %s: %s", ", ".join(fields), error)
        return False
    return True


def _read_address(address: str) -> bytes:
    """A path, or "@" and a name of Linux's abstract namespace, which begins with a zero byte."""
    if address[0] not in "/@":  # "vsock:" is for virtual machines as a whole
        raise OSError("NOTIFY_SOCKET names neither a path nor an abstract socket")
    return os.fsencode("\0" + address[1:] if address[0] == "@" else address)


def ready(text: str | None = None) -> bool:
    """The service does its work from now on. A unit of Type=notify counts as started then. text: as in `status`."""
    return notify(READY=1) if text is None else notify(READY=1, STATUS=text)


def stopping() -> bool:
    """The service is ending. `iotwire.service` says it by itself."""
    return notify(STOPPING=1)


def status(text: str) -> bool:
    """A line for `systemctl status`."""
    return notify(STATUS=text)


def watchdog() -> bool:
    """A sign of life. `Watchdog` gives it in time."""
    return notify(WATCHDOG=1)


def watchdog_interval_s() -> float | None:
    """After how many seconds without a sign of life the manager ends this process; None where it does not.

    WatchdogSec= of the unit. A child of the process that is watched is not, though it has the same environment.
    """
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if pid is not None and pid != str(os.getpid()):
        return None
    if not 0 < len(usec) <= 20 or not DIGITS.issuperset(usec) or not 0 < int(usec) < ENDLESS_USEC:
        return None
    return int(usec) / 1_000_000


class Watchdog:
    """Signs of life at half the interval, from whoever does the work: a thread of its own would say nothing of that.

    A program of asyncio runs `keep` beside its work, so that a loop that hangs is found; `iotwire.service.run` does it.
    One of threads calls `beat` in the round of the thread that matters.

    is_well: asked before each sign; where it says no, none is given. It must not block.
    """

    __slots__ = ("_due", "_is_well", "beat_s")

    beat_s: float | None
    """Seconds between two signs; None where nobody waits for them."""

    def __init__(self, is_well: Callable[[], bool] | None = None) -> None:
        interval_s = watchdog_interval_s() if os.environ.get("NOTIFY_SOCKET") else None
        self.beat_s = None if interval_s is None else interval_s / 2
        self._is_well = is_well
        self._due = float("-inf")

    def beat(self) -> None:
        """Give a sign if it is time for one. To be called each `beat_s` at least; oftener costs little."""
        if self.beat_s is None:
            return
        now = time.monotonic()
        if now >= self._due and (self._is_well is None or self._is_well()) and watchdog():
            self._due = now + self.beat_s / 2  # a caller who is a little early comes again before the interval is over

    async def keep(self) -> None:
        """Give signs from this event loop until cancelled. Returns at once where nobody waits for them."""
        import asyncio

        while self.beat_s is not None:
            self.beat()
            await asyncio.sleep(self.beat_s)
