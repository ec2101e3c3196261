"""How many more seed pairs, or how much longer runs, would settle it, from the means and variances seen so far."""

from __future__ import annotations

import numpy as np
from scipy import special

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.alpha_spending import nominal_alpha
from crossover.analysis.inference.window_tests import WindowTest

MOST_FURTHER_PAIRS = 200
"""With more further pairs than this, no number is reported."""
POWER = 0.8
FARTHEST = 4.0
"""Trends are followed to so many times the end of the range at most."""
_LEAST_POINTS = 3


def further_pairs(
    early: WindowTest | None, late: WindowTest | None, *, delta: float, plan: AnalysisPlan, tests: int = 1
) -> int | None:
    """Seed pairs to add until one of the tests rejects with 80 % power, were the truth what was seen.

    The tests: do they cross (both one-sided tests at alpha / 2, power taken as the product of the two), which is
    better late (two-sided t at alpha), is the late difference within ±delta (TOST at alpha). Power is that of the
    noncentral t distribution with noncentrality |mean| / standard error; Monte Carlo error stays whatever the pairs.

    Args:
        early: the early window's test.
        late: the late window's test.
        delta: differences smaller than this do not matter.
        plan: alpha, looks, fewest pairs.
        tests: what Holm multiplies this p value with.

    Returns:
        Pairs to add, at least 1, to a planned look if there are looks; None when the variance is unknown or more than
        `MOST_FURTHER_PAIRS` would be needed.
    """
    if early is None or late is None:
        return None
    first = max(plan.minimum_pairs, late.pairs + 1)
    counts = [n for n in range(first, late.pairs + MOST_FURTHER_PAIRS + 1) if not plan.looks or n in plan.looks]
    pairs_N = np.array(counts, dtype=np.float64)
    levels = [nominal_alpha(plan.looks, n, plan.alpha, spending=plan.spending) or 0.0 for n in counts]
    alpha_N = np.array(levels, dtype=np.float64) / tests
    power_N = np.maximum(_one_sided(late, pairs_N, alpha_N / 2), _equivalence(late, pairs_N, delta, alpha_N))
    if early.mean * late.mean < 0:
        crossing_N = _one_sided(early, pairs_N, alpha_N / 2) * _one_sided(late, pairs_N, alpha_N / 2)
        power_N = np.maximum(power_N, crossing_N)
    enough = np.flatnonzero(power_N >= POWER)
    return int(pairs_N[enough[0]]) - late.pairs if enough.size else None


def further_reach(x_G: FloatArray, difference_SG: FloatArray, alpha: float) -> float | None:
    """Where the runs would have to end for the trend of the difference to reach a clear opposite sign.

    Each pair gets a line in log x over the last third of the log range. If their mean slope heads towards zero, clear
    of zero by a one-sided t test, it is followed until the mean is as far beyond zero as its own 1 - alpha interval.

    Args:
        x_G: the grid, positive and rising.
        difference_SG: candidate minus baseline; two pairs or more.
        alpha: the level.

    Returns:
        A place beyond the range, at most `FARTHEST` times its end; None where the trend does not lead there. This is
        an extrapolation along a straight line, to plan by and not to conclude from.
    """
    log_G, pairs = np.log(x_G), difference_SG.shape[0]
    within_G = log_G >= log_G[-1] - (log_G[-1] - log_G[0]) / 3
    if pairs < 2 or within_G.sum() < _LEAST_POINTS:
        return None
    u_B = log_G[within_G] - log_G[-1]
    slope_S, end_S = np.polyfit(u_B, difference_SG[:, within_G].T, 1)
    t, root = float(special.stdtrit(pairs - 1, 1 - alpha / 2)), np.sqrt(pairs)
    slope, end = float(slope_S.mean()), float(end_S.mean())
    if slope * end >= 0 or abs(slope) <= t * float(slope_S.std(ddof=1)) / root:
        return None
    for step in np.linspace(0.0, np.log(FARTHEST), 200)[1:]:
        there_S = end_S + slope_S * step
        if float(there_S.mean()) * end < 0 and abs(float(there_S.mean())) > t * float(there_S.std(ddof=1)) / root:
            return float(x_G[-1] * np.exp(step))
    return None


def _one_sided(test: WindowTest, pairs_N: FloatArray, level_N: FloatArray) -> FloatArray:
    return _power(abs(test.mean) / _error(test, pairs_N), pairs_N, level_N)


def _error(test: WindowTest, pairs_N: FloatArray) -> FloatArray:
    """The standard error with so many pairs."""
    return np.asarray(np.hypot(test.sd / np.sqrt(pairs_N), test.monte_carlo), dtype=np.float64)


def _equivalence(test: WindowTest, pairs_N: FloatArray, delta: float, level_N: FloatArray) -> FloatArray:
    """Power of TOST, by the Bonferroni bound: one minus both chances to miss."""
    if abs(test.mean) >= delta:
        return np.zeros_like(pairs_N)
    near, far = ((delta + side * abs(test.mean)) / _error(test, pairs_N) for side in (-1.0, 1.0))
    return np.maximum(0.0, _power(near, pairs_N, level_N) + _power(far, pairs_N, level_N) - 1)


def _power(noncentrality_N: FloatArray, pairs_N: FloatArray, level_N: FloatArray) -> FloatArray:
    """Chance of a one-sided t test to reject; certain beyond a noncentrality of 30."""
    critical_N = special.stdtrit(pairs_N - 1, 1 - level_N)
    power_N = 1 - special.nctdtr(pairs_N - 1, np.minimum(noncentrality_N, 30.0), critical_N)
    return np.asarray(np.where(noncentrality_N >= 30.0, 1.0, power_N), dtype=np.float64)
