"""How many more seed pairs, or how much longer runs, would settle it, as far as the pairs seen so far tell.

Assurance (O'Hagan, Stevens & Campbell 2005): the power is averaged over what mean and variance may be after so few
pairs, and the test to come holds the pairs that are there. It is at the level that is left: a study that was judged
without declared looks has used up alpha (`inference.alpha_spending`, `added`).

Shapes: S seed pairs, G grid points, D draws, W windows (early, late).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.alpha_spending import next_level
from crossover.analysis.inference.predictive_pairs import OPEN, Truths, drawn_truths, generator, grown, judged
from crossover.analysis.inference.window_tests import WindowTest

MOST_FURTHER_PAIRS = 200
"""With more further pairs than this, no number is reported."""
POWER = 0.8
"""Of the studies that were told a number of pairs so many are settled by it: 75 to 95 % by the kind of noise, simulated
by `benchmarks.calibration.advice`."""
ASSURANCE = 0.65
"""The predictive chance that stands for it. It spreads wider than one truth does: at 0.8, 88 to 100 % were settled."""
FARTHEST = 4.0
"""Trends are followed to so many times the end of the range at most."""
_LEAST_POINTS = 3
_RANGE = (0.1, 0.9)
"""The range of further pairs leaves out so much on either side of what mean and variance may be."""

_BEYOND_REACH = 1e9
"""Pairs where no number is enough."""


def further_pairs(
    early: WindowTest | None, late: WindowTest | None, *, delta: float, plan: AnalysisPlan, tests: int = 1
) -> int | None:
    """Seed pairs to add until the verdict is settled with a chance of 80 %, mean and variance being as uncertain as is.

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
    seen_WS, pairs = np.array([early.per_seed_S, late.per_seed_S]), late.pairs
    shared_W = np.array([early.monte_carlo, late.monte_carlo])

    def chance(then: int) -> float:
        rng = generator(pairs)
        sums, truths = drawn_truths(seen_WS, rng)
        sums = grown(sums, truths, then - pairs, rng)
        level = next_level(plan, pairs, then)
        outcome_D = judged(sums, level=level, delta=delta, tests=tests, shared_W=shared_W)
        return float((outcome_D != OPEN).mean())

    then = _first(_counts(plan, pairs), chance)
    return None if then is None else then - pairs


def further_pairs_range(
    early: WindowTest, late: WindowTest, further: int, *, delta: float, plan: AnalysisPlan, tests: int = 1
) -> tuple[int, int | None]:
    """The pairs that it takes at a favourable and at an unfavourable mean and variance, of 80 % of what they may be.

    Args:
        early: the early window's test.
        late: the late window's test.
        further: from `further_pairs`, whose level is taken.
        delta: differences smaller than this do not matter.
        plan: alpha, looks, fewest pairs.
        tests: what Holm multiplies this p value with.

    Returns:
        The fewest and the most pairs to add; None for the latter beyond `MOST_FURTHER_PAIRS`. With looks in the plan
        they need not be looks.
    """
    pairs = late.pairs
    _, truths = drawn_truths(np.array([early.per_seed_S, late.per_seed_S]), generator(pairs))
    level = next_level(plan, pairs, pairs + further) / tests
    low, high = np.quantile(_needed(truths, level, delta, (early.monte_carlo, late.monte_carlo)), _RANGE) - pairs
    most = None if high > MOST_FURTHER_PAIRS else max(further, int(np.ceil(high)))
    return int(np.clip(np.ceil(low), 1, further)), most


def _counts(plan: AnalysisPlan, pairs: int) -> Sequence[int]:
    """Numbers of pairs at which a next test may be."""
    first, last = max(plan.minimum_pairs, pairs + 1), pairs + MOST_FURTHER_PAIRS
    planned = [n for n in plan.looks if first <= n <= last]
    return planned if planned or (plan.looks and plan.spending != "added") else range(first, last + 1)


def _first(counts: Sequence[int], chance: Callable[[int], float]) -> int | None:
    """The smallest number with the chance wanted, which rises with the number; by bisection."""
    if not counts or chance(counts[-1]) < ASSURANCE:
        return None
    low, high = -1, len(counts) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(counts[middle]) >= ASSURANCE else (middle, high)
    return counts[high]


def _needed(truths: Truths, level: float, delta: float, shared_W: tuple[float, float]) -> FloatArray:
    """Pairs in all for a power of 80 % at each truth, by the normal distribution."""
    if level <= 0:
        return np.full(truths.mean_DW.shape[0], _BEYOND_REACH)
    distance_DW, power = np.abs(truths.mean_DW), float(special.ndtri(POWER))
    strict, plain = (-float(special.ndtri(p)) for p in (level / 2, level))

    def needed_D(window: int, distance_D: FloatArray, wanted: float) -> FloatArray:
        room_D = np.square(np.maximum(distance_D, 0.0) / wanted) - shared_W[window] ** 2
        fewest_D = truths.sd_DW[:, window] ** 2 / _BEYOND_REACH
        enough_D = room_D > fewest_D
        pairs_D = truths.sd_DW[:, window] ** 2 / np.where(enough_D, room_D, 1.0)
        return np.where(enough_D, pairs_D, _BEYOND_REACH) + wanted**2 / 4

    early_D, late_D = (needed_D(w, distance_DW[:, w], strict + power) for w in (0, 1))
    crosses_D = truths.mean_DW[:, 0] * truths.mean_DW[:, 1] < 0
    same_D = needed_D(1, delta - distance_DW[:, 1], plain + float(special.ndtri((1 + POWER) / 2)))
    return np.minimum(np.where(crosses_D, np.maximum(early_D, late_D), late_D), same_D)


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
