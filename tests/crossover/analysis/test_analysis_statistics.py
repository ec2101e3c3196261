"""The small pieces against published formulas, scipy, and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from crossover.analysis.across.gap_factors import fieller
from crossover.analysis.inference.confidence_bands import critical_value, mean_band
from crossover.analysis.inference.crossing_location import locate
from crossover.analysis.inference.further_evidence import further_pairs
from crossover.analysis.inference.window_tests import WindowTest, holm, inside, iut_p, sign_flip_p, tost_p, window_test
from tests.crossover.analysis.analysis_curves import PLAN

RNG = np.random.default_rng(3)
X = np.geomspace(1, 100, 21)


def made(values: list[float]) -> WindowTest:
    test = window_test(np.array([1.0, 2.0]), np.repeat(np.array(values)[:, None], 2, axis=1), (0.0, 1.0), 1.0)
    assert test is not None
    return test


def test_window_t_is_scipys() -> None:
    values = RNG.normal(0.3, 1.0, size=7)
    test = made(values.tolist())
    expected = stats.ttest_1samp(values, 0.0, alternative="greater")
    assert test.p_positive == pytest.approx(expected.pvalue)
    assert test.p_positive + test.p_negative == pytest.approx(1.0)
    both = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert test.interval(0.05) == pytest.approx((both.low, both.high))


def test_windows_are_fractions_of_the_log_range() -> None:
    assert inside(X, (0.0, 0.25)).sum() == 6
    assert inside(X * 10, (0.85, 1.0)).tolist() == inside(X, (0.85, 1.0)).tolist()
    assert inside(X, (0.85, 1.0)).sum() == 4


def test_iut_is_twice_the_larger_of_the_better_direction() -> None:
    early, late = made([1.0, 2.0, 1.5, 1.2]), made([-1.0, -0.2, -0.5, 0.1])
    assert iut_p(early, late) == 2 * max(early.p_positive, late.p_negative)
    assert iut_p(early, early) == 1.0


@pytest.mark.parametrize("pairs", [5, 6, 9])
def test_sign_flips_are_all_counted(pairs: int) -> None:
    values = RNG.normal(0.4, 1.0, size=pairs)
    sums = [np.dot(signs, values) for signs in itertools.product((1, -1), repeat=pairs)]
    assert sign_flip_p(values) == np.mean(np.array(sums) >= values.sum() - 1e-9)
    assert sign_flip_p(np.abs(values)) == 2.0**-pairs


def test_many_pairs_are_still_exact() -> None:
    assert sign_flip_p(np.ones(32)) == 2.0**-32
    assert sign_flip_p(np.zeros(20)) == 1.0


def test_holm_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_tost_is_two_one_sided_tests() -> None:
    values = RNG.normal(0.0, 0.1, size=8)
    upper = stats.ttest_1samp(values, 0.2, alternative="less").pvalue
    lower = stats.ttest_1samp(values, -0.2, alternative="greater").pvalue
    assert tost_p(made(values.tolist()), 0.2) == pytest.approx(max(upper, lower))


def test_fieller_ends_are_where_the_line_stops_being_significant() -> None:
    intercept, slope = RNG.normal(0.5, 0.3, size=6), RNG.normal(-2.0, 0.3, size=6)
    for end in fieller(intercept, slope, 0.05):
        assert end is not None
        assert stats.ttest_1samp(intercept + slope * end, 0.0).pvalue == pytest.approx(0.05)


def test_fieller_is_unbounded_when_the_slope_may_be_zero() -> None:
    assert fieller(RNG.normal(size=5), np.array([1.0, -1.0, 0.5, -0.6, 0.2]), 0.05) == (None, None)


def test_an_end_outside_of_the_range_is_unbounded() -> None:
    u = np.linspace(0, 1, 21)
    slopes = np.array([0.8, 1.0, 1.2, 0.9, 1.1])[:, None]
    shifts = np.array([-0.12, 0.1, 0.0, 0.13, -0.1])[:, None]
    crossing = locate(X, slopes * (u - 0.93) + shifts, falling=False, alpha=0.05, lower=True)
    assert crossing is not None
    assert crossing.direction == "candidate→baseline"
    assert crossing.low is not None
    assert crossing.high is None


def test_nothing_is_located_where_nothing_turns() -> None:
    assert locate(X, np.ones((5, 21)), falling=True, alpha=0.05, lower=True) is None


def test_further_pairs_say_nothing_when_it_is_hopeless_or_unknown() -> None:
    level = made([1.0, -1.0, 1.001, -1.0, 0.0])
    assert further_pairs(level, level, delta=1e-6, plan=PLAN) is None
    assert further_pairs(None, level, delta=1.0, plan=PLAN) is None
    assert further_pairs(made([1.0, 1.1]), made([1.0, 1.1]), delta=0.1, plan=PLAN) == 3


def test_bands_lie_between_pointwise_and_bonferroni() -> None:
    smooth = RNG.normal(size=(8, 1)) + np.linspace(0, 1, 30)
    rough = RNG.normal(size=(8, 30))
    pointwise, bonferroni = stats.t.ppf(0.975, 7), stats.t.ppf(1 - 0.05 / 60, 7)
    assert critical_value(smooth, 0.05) == pytest.approx(pointwise, rel=1e-6)
    assert pointwise < critical_value(rough, 0.05) <= bonferroni


def test_a_band_of_one_run_has_no_width() -> None:
    band = mean_band(X, np.ones((1, 21)), 0.05)
    assert band.low == band.mean == band.high
