"""How many seed pairs would settle it, from the means and variances seen so far."""

from __future__ import annotations

import numpy as np
from scipy import special

from crossover.analysis.columns import FloatArray
from crossover.analysis.inference.windows import WindowTest

MOST_FURTHER_PAIRS = 200
"""Beyond so many further pairs it is not said."""
POWER = 0.8


def further_pairs(
    early: WindowTest | None, late: WindowTest | None, *, delta: float, alpha: float, minimum_pairs: int
) -> int | None:
    """Seed pairs to add until one of the questions is answered with 80 % power, were the truth what was seen.

    The questions: do they cross (both one-sided tests at alpha / 2, power taken as the product of the two), which is
    better late (two-sided t at alpha), is the late difference within ±delta (TOST at alpha). Power is that of the
    noncentral t distribution with noncentrality |mean| / sd · √n.

    Args:
        early: the early window's test.
        late: the late window's test.
        delta: differences smaller than this do not matter.
        alpha: the level.
        minimum_pairs: never fewer pairs than this in all.

    Returns:
        Pairs to add, at least 1; None when the variance is unknown or more than `MOST_FURTHER_PAIRS` would be needed.
    """
    if early is None or late is None:
        return None
    first = max(minimum_pairs, late.pairs + 1)
    pairs_N = np.arange(first, late.pairs + MOST_FURTHER_PAIRS + 1, dtype=np.float64)
    power_N = np.maximum(_one_sided(late, pairs_N, alpha / 2), _equivalence(late, pairs_N, delta, alpha))
    if early.mean * late.mean < 0:
        crossing_N = _one_sided(early, pairs_N, alpha / 2) * _one_sided(late, pairs_N, alpha / 2)
        power_N = np.maximum(power_N, crossing_N)
    enough = np.flatnonzero(power_N >= POWER)
    return int(pairs_N[enough[0]]) - late.pairs if enough.size else None


def _one_sided(test: WindowTest, pairs_N: FloatArray, level: float) -> FloatArray:
    return _power(abs(test.mean) / test.sd * np.sqrt(pairs_N), pairs_N, level)


def _equivalence(test: WindowTest, pairs_N: FloatArray, delta: float, level: float) -> FloatArray:
    """Power of TOST, by the Bonferroni bound: one minus both chances to miss."""
    if abs(test.mean) >= delta:
        return np.zeros_like(pairs_N)
    near, far = ((delta + side * abs(test.mean)) / test.sd * np.sqrt(pairs_N) for side in (-1.0, 1.0))
    return np.maximum(0.0, _power(near, pairs_N, level) + _power(far, pairs_N, level) - 1)


def _power(noncentrality_N: FloatArray, pairs_N: FloatArray, level: float) -> FloatArray:
    """Chance of a one-sided t test to reject; certain beyond a noncentrality of 30."""
    critical_N = special.stdtrit(pairs_N - 1, 1 - level)
    power_N = 1 - special.nctdtr(pairs_N - 1, np.minimum(noncentrality_N, 30.0), critical_N)
    return np.asarray(np.where(noncentrality_N >= 30.0, 1.0, power_N), dtype=np.float64)
