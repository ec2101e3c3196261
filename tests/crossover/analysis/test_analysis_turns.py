"""Several crossings, other methods of location, Monte Carlo error, trends: the parts behind a verdict's fine print."""

from __future__ import annotations

import numpy as np
import pytest

from crossover.analysis import AnalysisPlan, analyse
from crossover.analysis.analysis_result import Turn
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.confidence_bands import mean_band
from crossover.analysis.inference.crossing_location import find_turns, locate, other_places, sign_changes
from crossover.analysis.inference.further_evidence import further_pairs, further_reach
from crossover.analysis.inference.window_tests import window_test
from tests.crossover.analysis.analysis_curves import LOSS, PLAN, crossing_value, noisy, table

X = np.geomspace(1, 100, 21)
U = np.linspace(0, 1, 21)
WOBBLE = 0.01 * np.random.default_rng(5).normal(size=(6, 21))


def turns_of(difference_SG: FloatArray, *, lower: bool = True) -> tuple[Turn, ...]:
    return find_turns(X, difference_SG, sign_changes(difference_SG, 0.05), alpha=0.05, lower=lower)


def test_turns_ignore_noise_and_come_in_order() -> None:
    wave = WOBBLE + np.cos(2 * np.pi * U)
    assert len(turns_of(WOBBLE + (U - 0.5))) == 1
    first, second = turns_of(wave)
    assert (first.direction, second.direction) == ("baseline→candidate", "candidate→baseline")
    for turn, share in ((first, 0.25), (second, 0.75)):
        assert turn.low is not None
        assert turn.high is not None
        assert turn.low < 100**share < turn.high
        assert turn.low < turn.at < turn.high
    assert [t.direction for t in turns_of(wave, lower=False)] == ["candidate→baseline", "baseline→candidate"]
    assert sign_changes((U - 0.5)[None, :], 0.05) == []


def test_several_crossings_are_said_and_placed() -> None:
    curves = table(noisy(lambda u: 0.2 * float(np.cos(3 * np.pi * u)), sd=0.002), seeds=range(6))
    verdict = analyse(curves, PLAN.model_copy(update={"early_window": (0.0, 0.1), "late_window": (0.9, 1.0)})).headline
    assert verdict.outcome == "crossover"
    assert [t.direction for t in verdict.turns] == ["baseline→candidate", "candidate→baseline", "baseline→candidate"]
    assert "several crossings" in verdict.reason
    assert verdict.crossing is not None
    assert verdict.turns[-1].at == pytest.approx(verdict.crossing.at, rel=0.1)


def test_other_methods_agree_on_a_straight_crossing_and_see_none_where_there_is_none() -> None:
    places = other_places(X, WOBBLE + 0.5 - U, falling=True)
    assert set(places) == {"interpolated", "isotonic", "gaussian process"}
    for place in places.values():
        assert place == pytest.approx(10, rel=0.15)
    assert set(other_places(X, WOBBLE + 1.0, falling=True).values()) == {None}
    assert analyse(table(crossing_value), PLAN).headline.crossing.sensitivity.keys() == places.keys()  # type: ignore[union-attr]  # there is a crossing


def test_monte_carlo_error_widens_everything_and_cannot_be_averaged_away() -> None:
    difference_SG = WOBBLE + 0.3 - U
    error_SG = np.full_like(difference_SG, 0.02)
    without = window_test(X, difference_SG, (0.0, 0.2), 1.0)
    with_it = window_test(X, difference_SG, (0.0, 0.2), 1.0, error_SG)
    assert without is not None
    assert with_it is not None
    assert with_it.standard_error == pytest.approx(np.hypot(without.standard_error, 0.02))
    assert with_it.p_positive > without.p_positive
    plain, loud = (locate(X, difference_SG, falling=True, alpha=0.05, lower=True, error_SG=e) for e in (None, error_SG))
    assert plain is not None
    assert loud is not None
    assert loud.low is not None
    assert plain.low is not None
    assert loud.low < plain.low
    plain_band, loud_band = mean_band(X, difference_SG, 0.05), mean_band(X, difference_SG, 0.05, error_SG)
    assert all(a > b for a, b in zip(loud_band.high, plain_band.high, strict=True))
    hopeless = window_test(X, difference_SG, (0.0, 0.2), 1.0, np.full_like(difference_SG, 0.3))
    assert further_pairs(hopeless, hopeless, delta=0.01, plan=PLAN) is None


def test_stderr_of_the_curves_reaches_the_verdict() -> None:
    value = noisy(lambda u: 0.05 - 0.1 * u, sd=0.004)
    quiet, loud = (analyse(table(value, stderr=e), PLAN).headline for e in (0.0, 0.05))
    assert quiet.outcome == "crossover"
    assert loud.outcome == "insufficient evidence"
    assert loud.p_crossover is not None
    assert quiet.p_crossover is not None
    assert loud.p_crossover > quiet.p_crossover


def test_a_trend_is_followed_to_where_it_would_settle() -> None:
    reach = further_reach(X, WOBBLE + 1.2 - U, 0.05)
    assert reach is not None
    assert 100**1.2 < reach < 100**1.24
    assert further_reach(X, WOBBLE + 1.0 + U, 0.05) is None
    assert further_reach(X, WOBBLE + 3.0 - U, 0.05) is None
    plan = PLAN.model_copy(update={"minimum_pairs": 12, "metrics": (LOSS,)})
    verdict = analyse(table(noisy(lambda u: 0.6 - 0.5 * u, sd=0.002), seeds=range(6)), plan).headline
    assert verdict.further_reach is not None
    assert verdict.outcome == "insufficient evidence"


def test_between_planned_looks_nothing_is_tested() -> None:
    plan = AnalysisPlan(metrics=(LOSS,), axes=("tokens",), comparisons=("matched",), looks=(5, 8))
    early, between, final = (
        analyse(table(noisy(lambda u: 0.3 - 0.6 * u), seeds=range(n)), plan).headline for n in (5, 7, 8)
    )
    assert early.outcome == final.outcome == "crossover"
    assert early.alpha < 0.05
    assert final.alpha < 0.05
    assert "the level of this look" in early.reason
    assert between.outcome == "insufficient evidence"
    assert between.p_crossover is None
    assert "looks at 5, 8 seed pairs, and there are 7: add 1 more" in between.reason
