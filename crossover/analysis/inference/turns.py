"""Several crossings, reported as several: each sign change of the mean difference with an interval of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from crossover.analysis.analysis_result import Direction, Turn
from crossover.analysis.columns import FloatArray
from crossover.analysis.inference.crossing import clear_signs, locate


def sign_changes(difference_SG: FloatArray, alpha: float) -> list[tuple[int, int]]:
    """Neighbouring grid points among those clear of zero whose mean differences have opposite signs.

    Args:
        difference_SG: candidate minus baseline.
        alpha: level at which a point is clear of zero, each by itself.

    Returns:
        Index of the last point of one sign and of the first of the other; none with fewer than two pairs.
    """
    if difference_SG.shape[0] < 2:
        return []
    signs_G = clear_signs(difference_SG, alpha)
    return [(a, b) for a, b in pairwise(np.flatnonzero(signs_G).tolist()) if signs_G[a] != signs_G[b]]


def find_turns(
    x_G: FloatArray,
    difference_SG: FloatArray,
    changes: Sequence[tuple[int, int]],
    *,
    alpha: float,
    lower: bool,
    error_SG: FloatArray | None = None,
) -> tuple[Turn, ...]:
    """Where the mean difference changes its sign, each between two points that are clear of zero.

    Args:
        x_G: the grid of the tested range, positive and rising.
        difference_SG: candidate minus baseline.
        changes: from `sign_changes`.
        alpha: one minus the coverage of each interval.
        lower: whether lower values of the metric are better.
        error_SG: Monte Carlo standard errors, taken as shared.

    Returns:
        The turns in order along the axis. They describe the mean; none is tested, and their intervals hold one by one.
    """
    mean_G = difference_SG.mean(axis=0)
    turns = []
    for a, b in changes:
        falling, near = bool(mean_G[a] > 0), _place(x_G[a : b + 1], mean_G[a : b + 1])
        found = locate(x_G, difference_SG, falling=falling, alpha=alpha, lower=lower, error_SG=error_SG, near=near)
        direction: Direction = "baseline→candidate" if falling == lower else "candidate→baseline"
        within = found is not None and x_G[a] <= found.at <= x_G[b]
        turns.append(
            Turn(direction=direction, at=found.at, low=found.low, high=found.high)
            if found is not None and within
            else Turn(direction=direction, at=near, low=float(x_G[a]), high=float(x_G[b]))
        )
    return tuple(turns)


def _place(x_B: FloatArray, mean_B: FloatArray) -> float:
    """The middle sign change of a mean that begins with one sign and ends with the other, by interpolation in log x."""
    flips = np.flatnonzero((mean_B[:-1] > 0) != (mean_B[1:] > 0))
    i = int(flips[flips.size // 2])
    share = mean_B[i] / (mean_B[i] - mean_B[i + 1])
    return float(x_B[i] * (x_B[i + 1] / x_B[i]) ** share)
