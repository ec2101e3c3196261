"""Student t and sign flips on the mean difference inside a window of the axis. The seed pair is the unit of evidence.

Shapes: S seed pairs, G points of the common grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from crossover.analysis.curve_columns import FloatArray

_SAME = 1e-12
"""A spread below this share of the values' size is rounding, not variance."""
_EDGE = 1e-9
"""A grid point this close to a window's edge, as a share of the log range, is inside."""
EXACT_PAIRS = 32
"""Up to this many pairs the sign-flip distribution is enumerated."""


@dataclass(frozen=True)
class WindowTest:
    """Seed pairs' mean differences in a window, in the metric's unit, with one-sided t tests of either sign."""

    low: float
    high: float
    per_seed_S: FloatArray
    mean: float
    sd: float
    p_positive: float
    p_negative: float
    monte_carlo: float = 0.0
    """Standard error that all pairs share, from frozen masks; no number of pairs averages it away."""
    bend: float = 0.0
    """Bound on the error of interpolation between checkpoints: the mean may be off by so much to either side."""

    @property
    def pairs(self) -> int:
        """Seed pairs in the test."""
        return int(self.per_seed_S.size)

    @property
    def standard_error(self) -> float:
        """Of the mean: the spread between seed pairs, and the Monte Carlo error that they share."""
        return float(np.hypot(self.sd / np.sqrt(self.pairs), self.monte_carlo))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Two-sided 1 - alpha interval of the mean (Student t, S - 1 degrees of freedom)."""
        half = float(special.stdtrit(self.pairs - 1, 1 - alpha / 2)) * self.standard_error + self.bend
        return self.mean - half, self.mean + half


def inside(x_G: FloatArray, window: tuple[float, float], span: tuple[float, float] | None = None) -> NDArray[np.bool_]:
    """Which grid points lie in a window given as fractions of a span in log space, by default that of the grid."""
    low, high = np.log(span if span is not None else (x_G[0], x_G[-1]))
    if high <= low:
        return np.zeros(x_G.size, dtype=bool)
    fraction_G = np.clip((np.log(x_G) - low) / (high - low), 0.0, 1.0)
    return np.asarray((fraction_G >= window[0] - _EDGE) & (fraction_G <= window[1] + _EDGE))


def window_test(
    x_G: FloatArray,
    difference_SG: FloatArray,
    window: tuple[float, float],
    scale: float,
    error_SG: FloatArray | None = None,
    *,
    span: tuple[float, float] | None = None,
    bend_SG: FloatArray | None = None,
) -> WindowTest | None:
    """Test the mean difference in a window.

    Args:
        x_G: the grid, positive and rising.
        difference_SG: candidate minus baseline of each seed pair.
        window: fractions of the log range, e.g. (0.0, 0.4).
        scale: the size of the values that were subtracted; spreads below 1e-12 of it count as zero.
        error_SG: Monte Carlo standard error of each difference; none when absent.
        span: what the window is a share of; the range of the grid when absent.
        bend_SG: by how much straight lines would change each difference (`shared_grid`); none when absent.

    Returns:
        The test; None when the window holds no grid point, there are fewer than two pairs, or their variance is zero.
    """
    within_G = inside(x_G, window, span)
    pairs = difference_SG.shape[0]
    if pairs < 2 or not within_G.any():
        return None
    per_seed_S = difference_SG[:, within_G].mean(axis=1)
    mean, sd = float(per_seed_S.mean()), float(per_seed_S.std(ddof=1))
    if sd <= _SAME * scale:
        return None
    monte_carlo = shared_error(error_SG[:, within_G] if error_SG is not None else None)
    error = np.hypot(sd / np.sqrt(pairs), monte_carlo)
    bend = 0.0 if bend_SG is None else bend_bound(bend_SG[:, within_G].mean(axis=1))
    x_inside = x_G[within_G]
    return WindowTest(
        low=float(x_inside[0]),
        high=float(x_inside[-1]),
        per_seed_S=per_seed_S,
        mean=mean,
        sd=sd,
        p_positive=float(special.stdtr(pairs - 1, -(mean - bend) / error)),
        p_negative=float(special.stdtr(pairs - 1, (mean + bend) / error)),
        monte_carlo=monte_carlo,
        bend=bend,
    )


def bend_bound(bend_S: FloatArray) -> float:
    """A bound on the mean error of interpolation, from each pair's bend: its mean and two standard errors."""
    return float(bend_bounds(bend_S[:, None])[0])


def bend_bounds(bend_SG: FloatArray) -> FloatArray:
    """The same at each place: infinite where a run has too few checkpoints to tell."""
    if not bend_SG.any():
        return np.zeros(bend_SG.shape[1])
    known_G = np.isfinite(bend_SG).all(axis=0) & (bend_SG.shape[0] > 1)
    finite_SG = np.where(known_G, bend_SG, 0.0)
    error_G = finite_SG.std(axis=0, ddof=1) / np.sqrt(bend_SG.shape[0]) if bend_SG.shape[0] > 1 else 0.0
    return np.where(known_G, np.abs(finite_SG.mean(axis=0)) + 2 * error_G, np.inf)


def shared_error(error_SG: FloatArray | None) -> float:
    """The Monte Carlo standard error of a mean over pairs and points that were measured with the same draws.

    Masks are frozen: the same for all checkpoints, arms and runs, so that their error is common to all differences
    and does not show in the spread between pairs. The root mean square takes it as wholly shared, an upper bound.
    """
    return float(np.sqrt(np.mean(error_SG**2))) if error_SG is not None and error_SG.size else 0.0


def iut_p(early: WindowTest, late: WindowTest) -> float:
    """The p of 'the difference has one sign early and the other late', in either direction.

    Intersection-union test (Berger 1982): for one direction both one-sided tests must reject, so its p is the larger
    of the two and needs no correction; two directions are tried, hence the factor 2 (Bonferroni).
    """
    falling, rising = max(early.p_positive, late.p_negative), max(early.p_negative, late.p_positive)
    return min(1.0, 2.0 * min(falling, rising))


def sign_flip_iut_p(early: WindowTest, late: WindowTest) -> float | None:
    """The same by exact sign flips instead of Student t; None above `EXACT_PAIRS` pairs."""
    if early.pairs > EXACT_PAIRS:
        return None
    falling = max(sign_flip_p(early.per_seed_S), sign_flip_p(-late.per_seed_S))
    rising = max(sign_flip_p(-early.per_seed_S), sign_flip_p(late.per_seed_S))
    return min(1.0, 2.0 * min(falling, rising))


def sign_flip_p(values_S: FloatArray) -> float:
    """Exact one-sided p of 'the mean is positive': the share of the 2^S sign patterns with a sum at least as large.

    Every pattern is counted, by sums of two halves (meet in the middle), so up to 32 pairs are cheap.
    """
    half = values_S.size // 2
    left, right = np.sort(_signed_sums(values_S[:half])), _signed_sums(values_S[half:])
    least = values_S.sum() - 1e-9 * np.abs(values_S).sum()
    at_least = left.size - np.searchsorted(left, least - right, side="left")
    return float(at_least.sum() / (float(left.size) * float(right.size)))


def _signed_sums(values: FloatArray) -> FloatArray:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate((sums + value, sums - value))
    return sums


def holm(p_values: list[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Holm 1979) over those that were tested; None stays None."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[i] = largest
    return adjusted


def tost_p(test: WindowTest, delta: float) -> float:
    """The p of 'the mean lies inside ±delta' by two one-sided t tests (Schuirmann 1987): the larger of the two."""
    return max(tost_sides(test, delta))


def tost_sides(test: WindowTest, delta: float) -> tuple[float, float]:
    """The p of 'the mean is above -delta' and of 'the mean is below delta'."""
    above = (delta + test.mean - test.bend) / test.standard_error
    below = (delta - test.mean - test.bend) / test.standard_error
    return float(special.stdtr(test.pairs - 1, -above)), float(special.stdtr(test.pairs - 1, -below))
