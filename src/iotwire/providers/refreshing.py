"""Credentials that expire are renewed in time, by one thread, and kept while they are valid where that fails."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import NamedTuple

from .._lock import ForkSafeLock
from ..clock import show_time
from ..credentials import CredentialsProvider
from ..errors import CredentialsError, NoCredentialsError
from ..sigv4 import Credentials
from .document import is_expired, read_now

__all__ = ["REFRESH_BEFORE", "Refreshing", "RefreshingProvider", "told_again"]

_log = logging.getLogger("iotwire.credentials")

# Before they expire (AWS's SDKs take as long): what is signed now may take a while to arrive.
REFRESH_BEFORE = timedelta(minutes=5)
# While the old ones are valid, how soon another attempt may follow one that failed, or one that gave credentials which
# are about to expire. It doubles with each failure.
FIRST_PACE_S = 15
LAST_PACE_S = 60


class _State(NamedTuple):
    """What is known. Replaced as a whole, so that it can be read without a lock."""

    credentials: Credentials | None = None
    ask_at: datetime | None = None  # None for never, where there are credentials
    failures: int = 0  # in a row
    failure: CredentialsError | None = None  # the latest attempt's

    def valid(self, now: datetime) -> Credentials | None:
        """The credentials, where there are some that have not expired."""
        return None if self.credentials is None or is_expired(self.credentials, now) else self.credentials


def told_again(error: CredentialsError) -> CredentialsError:
    """The same error for another thread: what raises an error writes into it."""
    copied = (NoCredentialsError if isinstance(error, NoCredentialsError) else CredentialsError)(str(error))
    copied.__cause__ = error.__cause__
    return copied


class RefreshingProvider(ABC):
    """A provider that keeps what its source gives.

    It asks 5 minutes before the credentials expire. One thread does, and others go on with the old ones; where there
    are none that are valid they wait for what that thread gets, be it an error. While old ones are valid an attempt
    that fails is logged, and another one may follow after 15 s, then 30 s, then 60 s each. Credentials without an
    expiration are kept for good.
    """

    def __init__(self) -> None:
        self._state = _State()
        self._asking = ForkSafeLock()

    @abstractmethod
    def _fetch(self, now: datetime) -> Credentials:
        """Ask the source. Called by one thread at a time. Raises CredentialsError."""

    def get(self, now: datetime) -> Credentials:
        """Credentials that are valid at `now`, an aware time. May wait for the network, as long as the time-outs say.

        Raises CredentialsError where there are none.
        """
        state = self._state
        found = self._find(state, read_now(now))
        if found is not None:
            return found
        usable = state.valid(now)
        asking = self._asking.of_process()
        if not asking.acquire(blocking=usable is None):
            assert usable is not None
            return usable
        try:
            if self._state is state:
                return self._refresh(now, state)
            # Another thread has asked since this call began: what it was given holds for both.
            usable, failure = self._state.valid(now), self._state.failure
            if usable is not None:
                return usable
            if failure is not None:
                raise told_again(failure)
            return self._refresh(now, self._state)
        finally:
            asking.release()

    async def get_async(self, now: datetime) -> Credentials:
        """The same for asyncio: at once where nothing is to be asked, or else in a thread."""
        found = self._find(self._state, read_now(now))
        if found is not None:
            return found
        import asyncio

        return await asyncio.to_thread(self.get, now)

    @staticmethod
    def _find(state: _State, now: datetime) -> Credentials | None:
        """Valid ones, unless it is time to ask for others."""
        return state.valid(now) if state.ask_at is None or now < state.ask_at else None

    def _refresh(self, now: datetime, state: _State) -> Credentials:
        try:
            fresh = self._ask(now)
        except CredentialsError as error:
            failure = error
        else:
            ask_at: datetime | None = None
            if fresh.expiration is not None:
                # Not at every call, where the source gives what is about to expire.
                ask_at = max(fresh.expiration - REFRESH_BEFORE, now + timedelta(seconds=FIRST_PACE_S))
                _log.info("%r: credentials that expire at %s", self, show_time(fresh.expiration))
            self._state = _State(fresh, ask_at)
            return fresh
        pace_s = min(FIRST_PACE_S * 2 ** min(state.failures, 10), LAST_PACE_S)
        self._state = _State(
            state.credentials, now + timedelta(seconds=pace_s), state.failures + 1, told_again(failure)
        )
        usable = state.valid(now)
        if usable is None:
            raise failure
        assert usable.expiration is not None
        until = show_time(usable.expiration)
        _log.warning("the credentials are used until they expire, at %s; no others were given: %s", until, failure)
        return usable

    def _ask(self, now: datetime) -> Credentials:
        try:
            fresh = self._fetch(now)
        except CredentialsError:
            raise
        except Exception as error:  # of an application's own provider: its text may quote a secret
            raise CredentialsError(f"{self!r} failed: {type(error).__name__}") from error
        if not isinstance(fresh, Credentials):
            raise CredentialsError(f"{self!r} gave no Credentials, but {type(fresh).__name__}")
        if is_expired(fresh, now):
            raise CredentialsError(
                f"{self!r} gave credentials that expired at {show_time(fresh.expiration)}, and this machine's clock "
                f"says {show_time(now)}: is it right?"
            )
        return fresh


class Refreshing(RefreshingProvider):
    """Another provider, one of your own, with all that `RefreshingProvider` does: `Refreshing(provider)`."""

    def __init__(self, provider: CredentialsProvider) -> None:
        super().__init__()
        if not callable(getattr(provider, "get", None)):
            raise CredentialsError("provider: an object with a method get(now) is expected")
        self._provider = provider

    def __repr__(self) -> str:
        return f"Refreshing({self._provider!r})"

    def _fetch(self, now: datetime) -> Credentials:
        return self._provider.get(now)
