"""What benchmarks compute beside measuring: fits, labels that do not touch, commands that name no machine's folders."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from iotwire.mqtt import Publish
from support import CHECKOUT


def load(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """A module of benchmarks/, which are not on the path of tests; nothing of them stays behind."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "benchmarks"))
    known = set(sys.modules)
    module = importlib.import_module(name)
    for added in set(sys.modules) - known:
        if getattr(sys.modules[added], "__file__", None) and "benchmarks" in str(sys.modules[added].__file__):
            monkeypatch.delitem(sys.modules, added)
    return module


def test_a_flat_cost_has_the_exponent_0_and_a_linear_one_1(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = load(monkeypatch, "growth")
    xs = [10.0, 100.0, 1000.0]
    assert growth.exponent(xs, [3.0, 3.0, 3.0]) == pytest.approx(0)
    assert growth.exponent(xs, [x * 7 for x in xs]) == pytest.approx(1)
    assert growth.exponent(xs, [x**1.5 for x in xs]) == pytest.approx(1.5)
    assert growth.exponent([5.0], [2.0]) == 0


def test_a_line_is_fitted_by_relative_error(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = load(monkeypatch, "growth")
    xs = [1.0, 10.0, 100.0, 100_000.0]
    base, slope = growth.line(xs, [5 + 0.25 * x for x in xs])
    assert (base, slope) == (pytest.approx(5), pytest.approx(0.25))
    # The largest is off by a twentieth; by absolute error it would leave nothing of the base.
    base, _ = growth.line(xs, [5.25, 7.5, 30.0, 25_005.0 * 1.05])
    assert base == pytest.approx(5, rel=0.1)


def test_how_it_goes_on_is_told_by_the_last_two_points(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = load(monkeypatch, "growth")
    assert growth.last_exponent([1.0, 10.0, 100.0], [1.0, 1.0, 100.0]) == pytest.approx(2)


def test_a_spread_lies_within_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    timing = load(monkeypatch, "timing")
    assert timing.Spread.of([1.0, 2.0, 3.0]) == (2.0, pytest.approx(1.2), pytest.approx(2.8))
    assert timing.Spread.of([4.0]) == (4.0, 4.0, 4.0)
    assert str(timing.Spread(9.834, 9.0, 120.4)) == "9.83 (9.00-120)"


def test_a_command_names_files_from_the_checkout_on(monkeypatch: pytest.MonkeyPatch) -> None:
    provenance = load(monkeypatch, "provenance")
    words = [str(CHECKOUT / "benchmarks" / "curves.py"), "--only", "start", "--json", "/elsewhere/of/mine.json"]
    assert provenance.command(words) == "python benchmarks/curves.py --only start --json mine.json"


def test_a_witness_refuses_what_is_missing_or_twice_or_of_another_qos(monkeypatch: pytest.MonkeyPatch) -> None:
    witness = load(monkeypatch, "witness")

    def check(seen: list[Publish], qos: int) -> None:
        one = witness.Witness.__new__(witness.Witness)
        one._seen, one._ask = seen, lambda *_: None
        one.check("somebody", [b"a", b"b"], qos)

    a, b = (Publish("t", payload, qos=1, packet_id=1) for payload in (b"a", b"b"))
    check([b, a], 1)
    for seen, qos in (([a], 1), ([a, b, b], 1), ([a, a], 1), ([a, b], 0)):
        with pytest.raises(witness.DifferentWorkError, match="somebody"):
            check(seen, qos)


def test_labels_move_apart_and_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("matplotlib")
    plots = load(monkeypatch, "plots")
    assert plots.spread_out([0.1, 0.9], 0.2) == [0.1, 0.9]
    places = plots.spread_out([0.52, 0.5, 0.51], 0.1)
    assert places[1] < places[2] < places[0]
    assert min(places[2] - places[1], places[0] - places[2]) == pytest.approx(0.1, abs=1e-3)
