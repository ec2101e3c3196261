"""What further seed pairs may bring, drawn from the predictive distribution of those seen.

Each window's variance is drawn from its scaled inverse chi square, its mean from the normal distribution around the
mean seen, then the new pairs: mean and variance are as uncertain as so few pairs leave them. Draws are fixed.

Shapes: D draws, W windows (early, late).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from crossover.analysis.curve_columns import FloatArray

DRAWS = 1000
LEAST_PAIRS = 3
"""With fewer pairs the variance is too little known to draw futures from."""
OPEN, CROSSOVER, FALLING, RISING, SAME = range(5)
"""Outcomes as numbers; the better arm by the sign of the late difference."""
_SEED = 20261123
_NEAR_THE_BEGINNING = 0.3


@dataclass(frozen=True)
class Sums:
    """Sufficient statistics of draws: pairs so far, mean_DW, sum of squares about it square_DW."""

    pairs: int
    mean_DW: FloatArray
    square_DW: FloatArray


@dataclass(frozen=True)
class Truths:
    """Draws of what may be true: sd_DW between pairs, mean_DW, and how windows of a pair go together."""

    sd_DW: FloatArray
    mean_DW: FloatArray
    correlation: float


def generator(pairs: int) -> np.random.Generator:
    """The same draws for the same number of pairs."""
    return np.random.default_rng([_SEED, pairs])


def drawn_truths(seen_WS: FloatArray, rng: np.random.Generator) -> tuple[Sums, Truths]:
    """What was seen, for every draw, and what may be true.

    Args:
        seen_WS: the mean difference of each pair in each window; two pairs or more that differ.
        rng: from `generator`.
    """
    pairs, square_W = seen_WS.shape[1], seen_WS.var(axis=1) * seen_WS.shape[1]
    correlation = float(np.asarray(np.corrcoef(seen_WS))[0, 1])
    sd_DW = np.sqrt(square_W / rng.chisquare(pairs - 1, (DRAWS, 2)))
    mean_DW = seen_WS.mean(axis=1) + sd_DW * _normals(rng, correlation) / np.sqrt(pairs)
    sums = Sums(pairs, *(np.broadcast_to(a, (DRAWS, 2)) for a in (seen_WS.mean(axis=1), square_W)))
    return sums, Truths(sd_DW, mean_DW, correlation)


def grown(sums: Sums, truths: Truths, new: int, rng: np.random.Generator) -> Sums:
    """The sums with `new` pairs added, each draw by its own truth (Chan, Golub & LeVeque 1983)."""
    added_DW = truths.mean_DW + truths.sd_DW * _normals(rng, truths.correlation) / np.sqrt(new)
    spread_DW = truths.sd_DW**2 * (rng.chisquare(new - 1, (DRAWS, 2)) if new > 1 else 0.0)
    total = sums.pairs + new
    gap_DW = added_DW - sums.mean_DW
    square_DW = sums.square_DW + spread_DW + gap_DW**2 * sums.pairs * new / total
    return Sums(total, sums.mean_DW + gap_DW * new / total, square_DW)


def judged(sums: Sums, *, level: float, delta: float, tests: int, shared_W: FloatArray) -> NDArray[np.int64]:
    """The outcome of each draw as `verdict_rules.decide` would say it, as a number.

    Args:
        sums: of all pairs.
        level: of this look, two-sided.
        delta: differences smaller than this do not matter.
        tests: what Holm multiplies p values with.
        shared_W: the standard error that all pairs share.
    """
    error_DW = errors(sums, shared_W)
    early_D, late_D = (sums.mean_DW / error_DW).T
    strict, plain = quantile(sums.pairs, level / tests), quantile(sums.pairs, level)
    crossing_D = (np.minimum(early_D, -late_D) >= strict) | (np.minimum(-early_D, late_D) >= strict)
    inside_D = (delta - np.abs(sums.mean_DW[:, 1])) / error_DW[:, 1]
    # a crossing near the beginning forbids a winner before its early window is clear
    opposite_D = (np.abs(early_D) >= min(plain, quantile(sums.pairs, _NEAR_THE_BEGINNING))) & (early_D * late_D < 0)
    better_D = (np.abs(late_D) >= strict) & ~opposite_D
    same_D = inside_D >= quantile(sums.pairs, 2 * level / tests)
    better_as_D = np.where(late_D < 0, FALLING, RISING)
    said = np.select([same_D, crossing_D, better_D], [SAME, CROSSOVER, better_as_D], OPEN)
    return np.asarray(said, dtype=np.int64)


def errors(sums: Sums, shared_W: FloatArray) -> FloatArray:
    """The standard errors error_DW of the means."""
    return np.asarray(np.hypot(np.sqrt(sums.square_DW / (sums.pairs - 1) / sums.pairs), shared_W))


def quantile(pairs: int, level: float) -> float:
    """The two-sided Student quantile of so many pairs; infinite at level 0."""
    return float(special.stdtrit(pairs - 1, 1 - level / 2)) if level > 0 else np.inf


def _normals(rng: np.random.Generator, correlation: float) -> FloatArray:
    """Standard normal draws of both windows, correlated as the pairs seen are."""
    normal_DW = rng.normal(size=(DRAWS, 2))
    normal_DW[:, 1] = correlation * normal_DW[:, 0] + np.sqrt(max(0.0, 1 - correlation**2)) * normal_DW[:, 1]
    return normal_DW
