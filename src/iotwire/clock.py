"""The time as the service has it: this machine's clock, and how far it was found to be off.

A signature of Signature Version 4 counts for some minutes around the time in it. Boards without a battery start in the
past, and the service that refuses their signatures says in its answer what time it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ._release import RELEASED
from .errors import CredentialsError

__all__ = ["Clock", "read_http_date", "read_system_clock", "show_time"]

_log = logging.getLogger("iotwire.clock")

EARLIEST = datetime.fromisoformat(RELEASED).replace(tzinfo=UTC)
# What a server may say the time is, at most: longer than this release is of use.
LATEST = EARLIEST + timedelta(days=20 * 366)
# Where the difference is no more than that, the clock is not why a signature was refused: the service allows 5 minutes.
TOLERANCE = timedelta(minutes=1)


def read_system_clock() -> datetime:
    return datetime.now(UTC)


def show_time(moment: datetime | None) -> str:
    """An aware time for people; None for one that never comes."""
    return "never" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


class Clock:
    """What a client signs its requests with. May be shared between threads.

    read: this machine's clock, as an aware time.
    """

    def __init__(self, read: Callable[[], datetime] = read_system_clock) -> None:
        self._read = read
        self._offset = timedelta()

    def now(self) -> datetime:
        """An aware time. Raises CredentialsError where that is earlier than this release, and so cannot be right."""
        now = self._read() + self._offset
        if now < EARLIEST:
            raise CredentialsError(
                f"this machine's clock says {show_time(now)}, which is before this release of iotwire was "
                f"made ({RELEASED}): a signature of that time counts for nothing. Set the clock (NTP)"
            )
        return now

    def learn(self, told: datetime | None) -> bool:
        """A server that has refused a signature said what time it is: whether another signature will be another one.

        Not where it gave no time, or none that can be right, and not where this clock is right.
        """
        if told is None or not EARLIEST <= told <= LATEST:
            return False
        offset = told - self._read()
        if abs(offset - self._offset) <= TOLERANCE:
            return False
        self._offset = offset if abs(offset) > TOLERANCE else timedelta()
        seconds = round(abs(offset).total_seconds())
        _log.warning(
            "the server's clock is %d s %s this machine's: requests are signed with its time",
            seconds,
            "behind" if offset < timedelta() else "ahead of",
        )
        return True


def read_http_date(text: str) -> datetime | None:
    """The time that a Date field gives (RFC 9110, 5.6.7), as an aware one; None for what is no date."""
    from email.utils import parsedate_to_datetime  # a megabyte that few need

    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
