"""Several crossings, reported as several: each sign change of the mean difference with an interval of its own."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from crossover.analysis.columns import FloatArray
from crossover.analysis.inference.crossing import Differences, clear_signs, clipped_exp, end_of, narrowest
from crossover.analysis.inference.windows import shared_error
from crossover.analysis.result import Turn


def find_turns(
    x_G: FloatArray,
    difference_SG: FloatArray,
    *,
    alpha: float,
    lower: bool,
    error_SG: FloatArray | None = None,
) -> tuple[Turn, ...]:
    """Where the mean difference changes its sign, each between two points that are clear of zero.

    Args:
        x_G: the grid of the tested range, positive and rising.
        difference_SG: candidate minus baseline.
        alpha: one minus the coverage of each interval, and the level at which a point is clear of zero.
        lower: whether lower values of the metric are better.
        error_SG: Monte Carlo standard errors, taken as shared.

    Returns:
        The turns in order along the axis. They describe the mean; none is tested, and their intervals hold one by one.
        None with fewer than two pairs.
    """
    log_G = np.log(x_G)
    signs_G = clear_signs(difference_SG, alpha)
    clear = np.flatnonzero(signs_G)
    changes = [(a, b) for a, b in pairwise(clear.tolist()) if signs_G[a] != signs_G[b]]
    if difference_SG.shape[0] < 2 or not changes:
        return ()
    mean_G = difference_SG.mean(axis=0)
    places = [_root(log_G[a : b + 1], mean_G[a : b + 1]) for a, b in changes]
    edges = [-np.inf, *((p + q) / 2 for p, q in pairwise(places)), np.inf]
    data = Differences(log_G, difference_SG, alpha, shared_error(error_SG))
    turns = []
    for (a, _), place, low, high in zip(changes, places, edges[:-1], edges[1:], strict=True):
        lines = narrowest(data, place, (low, high))
        ends = data.interval(lines)
        slope = float(lines.slope_S.mean())
        root = lines.centre - float(lines.intercept_S.mean()) / slope if slope else place
        turns.append(
            Turn(
                direction="AR→DLM" if (signs_G[a] > 0) == lower else "DLM→AR",
                at=clipped_exp(root if lines.low <= root <= lines.high else place, x_G),
                low=end_of(ends[0], x_G),
                high=end_of(ends[1], x_G),
            )
        )
    return tuple(turns)


def _root(log_B: FloatArray, mean_B: FloatArray) -> float:
    """The middle sign change of a mean that begins with one sign and ends with the other, by interpolation."""
    flips = np.flatnonzero((mean_B[:-1] > 0) != (mean_B[1:] > 0))
    i = int(flips[flips.size // 2])
    share = mean_B[i] / (mean_B[i] - mean_B[i + 1])
    return float(log_B[i] + share * (log_B[i + 1] - log_B[i]))
