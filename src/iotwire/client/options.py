"""Numbers that an application gives as options, checked where they come in."""

from __future__ import annotations

from ..errors import EncodeError
from ..transport.steps import StepTimeouts

__all__ = ["LARGEST_PACKET", "dead_link_timeout", "in_range", "positive", "times_of_steps"]

# Bytes of the largest packet there can be [2.1.4].
LARGEST_PACKET = 268_435_460


def in_range(field: str, value: int, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise EncodeError(f"must be an int from {least} to {most}", field=field)
    return value


def positive(field: str, seconds: float, *, least: float | None = None) -> float:
    if type(seconds) not in (int, float) or not 0 <= seconds < 1e9 or (seconds == 0 and least is None):
        raise EncodeError("must be a number of seconds greater than 0", field=field)
    return seconds


def dead_link_timeout(seconds: float | None) -> float | None:
    if seconds is not None and (type(seconds) not in (int, float) or not 1 <= seconds <= 3600):
        raise EncodeError("must be 1 to 3600 seconds, or None", field="dead_link_timeout_s")
    return seconds


def times_of_steps(timeouts: StepTimeouts | None) -> StepTimeouts | None:
    if timeouts is not None and not isinstance(timeouts, StepTimeouts):
        raise EncodeError("must be StepTimeouts(...) or None", field="step_timeouts")
    return timeouts
