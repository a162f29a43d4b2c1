"""How a cost grows: fits to a few points, and the words for them.

All fits weigh relative errors, because costs of a curve may lie a thousand times apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import NamedTuple

Values = Sequence[float]


class Line(NamedTuple):
    """`base + slope * x`."""

    base: float
    slope: float

    def at(self, x: float) -> float:
        return self.base + self.slope * x


def exponent(xs: Values, ys: Values) -> float:
    """k of the y = c * x^k that comes nearest: 0 is flat, 1 linear."""
    if len(xs) < 2:
        return 0.0
    return fit_line([log(x) for x in xs], [log(y) for y in ys], [1.0] * len(xs)).slope


def line(xs: Values, ys: Values) -> Line:
    """The straight line that comes nearest, by relative error."""
    return fit_line(xs, ys, [1 / y**2 for y in ys])


def last_exponent(xs: Values, ys: Values) -> float:
    """The exponent between the last two points: how it goes on."""
    return exponent(xs[-2:], ys[-2:])


def fit_line(xs: Values, ys: Values, weights: Values) -> Line:
    """Weighted least squares."""
    total = sum(weights)
    x_mean = sum(w * x for w, x in zip(weights, xs, strict=True)) / total
    y_mean = sum(w * y for w, y in zip(weights, ys, strict=True)) / total
    spread = sum(w * (x - x_mean) ** 2 for w, x in zip(weights, xs, strict=True))
    if not spread:
        return Line(y_mean, 0.0)
    slope = sum(w * (x - x_mean) * (y - y_mean) for w, x, y in zip(weights, xs, ys, strict=True)) / spread
    return Line(y_mean - slope * x_mean, slope)
