"""Credentials that expire: asked for anew in time, by one thread, and kept while they are valid."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("h11")  # of the chain

from forking import in_child, needs_fork
from iotwire import (
    BotocoreCredentials,
    CredentialsError,
    NoCredentialsError,
    ProviderChain,
    Refreshing,
    StaticCredentials,
)
from iotwire.sigv4 import Credentials
from providing import (
    KEY_ID,
    NOW,
    SECRET,
    TOKEN,
    Source,
    after,
    credentials,
    nothing_secret_is_logged,  # noqa: F401 -- a fixture
    refused,
)
from racing import run_together
from scripted_threads import BOUND_S, InThread, happened, until

pytestmark = pytest.mark.usefixtures("nothing_secret_is_logged")

FIRST, SECOND = credentials(3600, key_id="FIRST"), credentials(7200, key_id="SECOND")
BROKEN = CredentialsError("the source is broken")


def test_they_are_asked_for_once_until_five_minutes_before_they_expire() -> None:
    source = Source(FIRST, SECOND)
    provider = Refreshing(source)
    for seconds in (0, 1, 3299, 3299.999):
        assert provider.get(after(seconds)) is FIRST
    assert source.asked == [NOW]
    assert provider.get(after(3300)) is SECOND
    assert provider.get(after(3301)) is SECOND
    assert source.asked == [NOW, after(3300)]


def test_the_time_of_another_zone_is_the_same_time() -> None:
    source = Source(FIRST, SECOND)
    provider = Refreshing(source)
    east = timezone(timedelta(hours=14))
    assert provider.get(NOW.astimezone(east)) is FIRST
    assert provider.get(after(3299).astimezone(east)) is FIRST
    assert provider.get(after(3300).astimezone(east)) is SECOND


def test_those_without_an_expiration_are_kept_for_good() -> None:
    source = Source(credentials(None), SECOND)
    provider = Refreshing(source)
    assert provider.get(NOW) is provider.get(datetime(9999, 1, 1, tzinfo=UTC))
    assert len(source.asked) == 1


def test_old_ones_are_kept_while_they_are_valid_and_the_source_is_asked_ever_more_seldom(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source(FIRST, BROKEN)
    provider = Refreshing(source)
    provider.get(NOW)
    for second in range(3300, 3600):
        assert provider.get(after(second)) is FIRST
    asked = [(each - NOW).total_seconds() for each in source.asked]
    assert asked == [0, 3300, 3315, 3345, 3405, 3465, 3525, 3585]
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 7
    assert "until they expire, at 2026-11-21 13:00:00 UTC" in warnings[0]
    assert "the source is broken" in warnings[0]
    # From then on there are none: the error is raised at once, each time.
    for second in (3600, 3600.5, 3601):
        with refused("the source is broken"):
            provider.get(after(second))
    assert len(source.asked) == 8 + 3
    source.given = [SECOND]
    assert provider.get(after(3602)) is SECOND


def test_the_pace_starts_anew_once_there_are_new_ones() -> None:
    source = Source(FIRST, BROKEN, BROKEN, SECOND, BROKEN)
    provider = Refreshing(source)
    for second in (0, 3300, 3315, 3345):
        provider.get(after(second))
    assert provider.get(after(3346)) is SECOND
    for second in range(6900, 6940):
        assert provider.get(after(second)) is SECOND
    assert [(each - NOW).total_seconds() for each in source.asked[4:]] == [6900, 6915]


def test_a_source_whose_credentials_expire_soon_is_not_asked_at_each_call() -> None:
    soon = credentials(60)
    source = Source(soon)
    provider = Refreshing(source)
    for second in range(60):
        assert provider.get(after(second)) is soon
    assert len(source.asked) == 4


BAD_SOURCES: dict[str, tuple[Any, str]] = {
    "has expired ones": (credentials(-1), r"expired at 2026-11-21 11:59:59 UTC, and this machine's clock says .*"),
    "has ones that expire now": (credentials(0), "is it right"),
    "has something else": (("a", SECRET), "gave no Credentials, but tuple"),
    "has nothing": (lambda: None, "gave no Credentials, but NoneType"),
    "fails by a mistake of its own": (KeyError("x"), "failed: KeyError"),
}


@pytest.mark.parametrize(("given", "match"), BAD_SOURCES.values(), ids=list(BAD_SOURCES))
def test_a_source_that_gives_none_is_an_error_and_old_ones_stay(given: Any, match: str) -> None:
    with refused(match):
        Refreshing(Source(given)).get(NOW)
    old = credentials(100)
    provider = Refreshing(Source(old, given))
    provider.get(after(-3600))
    assert provider.get(after(0)) is old
    with refused(match if not isinstance(given, Credentials) else "expired"):
        provider.get(after(100))


@pytest.mark.parametrize("now", [NOW.replace(tzinfo=None), None, 1.0])
def test_a_time_that_is_no_moment_is_refused(now: Any) -> None:
    for provider in (Refreshing(Source(FIRST)), StaticCredentials(FIRST)):
        with refused("now: an aware datetime"):
            provider.get(now)


def test_what_cannot_be_asked_is_no_provider() -> None:
    with refused("provider: "):
        Refreshing(FIRST)  # type: ignore[arg-type]
    with refused("credentials: "):
        StaticCredentials((KEY_ID, SECRET))  # type: ignore[arg-type]


def test_those_that_were_given_are_given_until_they_expire() -> None:
    assert StaticCredentials(FIRST).get(after(3599)) is FIRST
    with refused("expired at 2026-11-21 13:00:00"):
        StaticCredentials(FIRST).get(after(3600))
    forever = credentials(None)
    assert StaticCredentials(forever).get(after(1e9)) is forever
    assert SECRET not in repr(StaticCredentials(FIRST))
    assert TOKEN not in repr(StaticCredentials(FIRST))


# Threads.


class Gate:
    """A source that gives what it has once it is opened."""

    def __init__(self, given: Any) -> None:
        self.asked = threading.Event()
        self.open = threading.Event()
        self.source = Source(given)

    def __call__(self) -> Credentials:
        self.asked.set()
        assert self.open.wait(BOUND_S)
        return self.source.get(NOW)


class CountingLock:
    """A lock that tells how many have wanted it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self.wanted = 0

    def of_process(self) -> CountingLock:
        return self

    def acquire(self, blocking: bool = True) -> bool:
        with self._counting:
            self.wanted += 1
        return self._lock.acquire(blocking)

    def release(self) -> None:
        self._lock.release()


def waiting_for(provider: Refreshing, count: int, now: datetime) -> list[InThread]:
    return [InThread(provider.get, now) for _ in range(count)]


def test_one_thread_asks_and_the_others_go_on_with_the_old_ones() -> None:
    gate = Gate(SECOND)
    source = Source(FIRST, gate)
    provider = Refreshing(source)
    provider.get(NOW)
    asking = InThread(provider.get, after(3400))
    happened(gate.asked)
    for each in waiting_for(provider, 8, after(3401)):
        assert each.result() is FIRST
    assert not asking.is_done
    gate.open.set()
    assert asking.result() is SECOND
    assert provider.get(after(3402)) is SECOND
    assert len(source.asked) == 2


@pytest.mark.parametrize("given", [FIRST, BROKEN, NoCredentialsError("not here")], ids=["given", "failed", "absent"])
def test_without_valid_ones_all_wait_for_what_one_thread_is_given(given: Any) -> None:
    gate = Gate(given)
    source = Source(gate)
    provider = Refreshing(source)
    lock = provider._asking = CountingLock()  # type: ignore[assignment]
    asking = InThread(provider.get, NOW)
    happened(gate.asked)
    others = waiting_for(provider, 8, NOW)
    until(lambda: lock.wanted == 9, "the threads do not wait")
    gate.open.set()
    errors = []
    for each in (asking, *others):
        if given is FIRST:
            assert each.result() is FIRST
        else:
            with refused(str(given), type(given)) as caught:
                each.result()
            errors.append(caught.value)
    assert len({id(error) for error in errors}) == len(errors)  # what a thread raises is its own
    assert len(source.asked) == 1


@pytest.mark.usefixtures("frequent_thread_switches")
def test_threads_that_race_through_many_expirations_always_have_valid_ones() -> None:
    asked = []
    clock = [0.0]

    def give() -> Credentials:
        asked.append(clock[0])
        return credentials(clock[0] + 600, key_id=f"K{len(asked)}")

    provider = Refreshing(Source(give))

    def use() -> None:
        for step in range(0, 6000, 10):
            clock[0] = max(clock[0], float(step))
            now = after(step)
            found = provider.get(now)
            assert found.expiration is not None
            assert found.expiration > now

    run_together(*[use] * 6)
    assert 10 <= len(asked) <= 40


def test_a_thread_that_is_interrupted_leaves_the_provider_usable() -> None:
    source = Source(KeyboardInterrupt(), FIRST)
    provider = Refreshing(source)
    with pytest.raises(KeyboardInterrupt):
        provider.get(NOW)
    assert InThread(provider.get, NOW).result() is FIRST


@needs_fork
def test_a_child_of_fork_asks_by_itself_though_a_thread_of_its_parent_was_asking() -> None:
    given: list[Any] = []
    gate = Gate(FIRST)
    source = Source(lambda: given[0] if given else gate())
    refreshing = Refreshing(source)
    chain = ProviderChain([refreshing])
    botocore = BotocoreCredentials(SimpleNamespace(get_frozen_credentials=None, load=lambda: refreshing.get(NOW)))
    asking = [InThread(chain.get, NOW), InThread(botocore.get, NOW)]
    happened(gate.asked)
    locks = [each._asking.of_process() for each in (botocore, chain)]
    until(lambda: all(lock.locked() for lock in locks), "the locks are not held")

    def in_the_child() -> list[str]:
        given.append(SECOND)
        botocore._ask = None
        botocore._found = SimpleNamespace(
            get_frozen_credentials=lambda: SimpleNamespace(access_key=KEY_ID, secret_key=SECRET, token=None)
        )
        return [each.get(NOW).access_key_id for each in (chain, refreshing, botocore)]

    assert in_child(in_the_child) == repr(["SECOND", "SECOND", KEY_ID])
    gate.open.set()
    assert asking[0].result() is FIRST
    with refused("botocore gives no credentials: AttributeError"):
        asking[1].result()


# asyncio.


def test_an_event_loop_goes_on_while_a_thread_asks() -> None:
    gate = Gate(FIRST)
    source = Source(gate, SECOND)
    provider = Refreshing(source)

    async def main() -> None:
        asking = asyncio.create_task(provider.get_async(NOW))
        async with asyncio.timeout(BOUND_S):
            await asyncio.to_thread(happened, gate.asked)
            gate.open.set()
            assert await asking is FIRST
            assert await provider.get_async(NOW) is FIRST
            assert await provider.get_async(after(3300)) is SECOND
        with pytest.raises(CredentialsError, match="now"):
            await provider.get_async(datetime(2026, 1, 1))  # noqa: DTZ001

    asyncio.run(main())
    assert len(source.asked) == 2
