"""What time a client signs with: its own clock's, or the server's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from iotwire import CredentialsError
from iotwire._release import RELEASED
from iotwire.clock import EARLIEST, LATEST, Clock, read_http_date

LATER = EARLIEST + timedelta(days=100)


def test_the_date_of_this_release_is_a_day_in_the_past() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", RELEASED)
    assert datetime.now(UTC) >= EARLIEST


def test_a_clock_before_this_release_is_an_error_that_says_so() -> None:
    clock = Clock(lambda: datetime(1970, 1, 1, 0, 5, tzinfo=UTC))
    with pytest.raises(
        CredentialsError, match=rf"1970-01-01 00:05:00 UTC, which is before .* \({RELEASED}\).* Set the"
    ):
        clock.now()


@pytest.mark.parametrize("off", [timedelta(hours=-3), timedelta(minutes=7), timedelta(days=99)])
def test_a_clock_that_is_off_is_set_right_by_what_the_server_says(off: timedelta) -> None:
    clock = Clock(lambda: LATER - off)
    assert clock.learn(LATER)
    assert clock.now() == LATER
    assert not clock.learn(LATER + timedelta(seconds=59)), "known already: the clock is not why it is refused"


@pytest.mark.parametrize(
    "told",
    [
        *(None, LATER, LATER + timedelta(seconds=60), EARLIEST - timedelta(seconds=1), LATEST + timedelta(seconds=1)),
        *(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_what_a_server_says_is_not_believed_where_it_tells_nothing_or_cannot_be_right(told: datetime | None) -> None:
    clock = Clock(lambda: LATER)
    assert not clock.learn(told)
    assert clock.now() == LATER


def test_a_clock_that_was_set_meanwhile_is_believed_again() -> None:
    times = [LATER - timedelta(hours=1)]
    clock = Clock(lambda: times[-1])
    assert clock.learn(LATER)
    times.append(LATER)
    assert clock.learn(LATER)
    assert clock.now() == LATER


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tue, 02 Jan 2024 03:04:05 GMT", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("Tue, 02 Jan 2024 03:04:05 -0000", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("", None),
        ("now", None),
        ("Tue, 99 Jan 2024 03:04:05 GMT", None),
        ("Tue, 02 Jan 2024 03:04:05 +9999999999", None),
        ("\0" * 5000, None),
    ],
)
def test_dates_of_http(text: str, expected: datetime | None) -> None:
    assert read_http_date(text) == expected
