"""The crossing by other methods than the lines that it is reported from. They differ: the shape of the curve matters.

All work on the mean difference over log x and give a place without an interval.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize

from crossover.analysis.columns import FloatArray

_LENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Length scales of the Gaussian process that are tried, as shares of the log range."""
_FINE = 512


def other_places(x_G: FloatArray, difference_SG: FloatArray, *, falling: bool) -> dict[str, float | None]:
    """The last change to the late sign by three other methods.

    Args:
        x_G: the grid, positive and rising.
        difference_SG: candidate minus baseline of S seed pairs.
        falling: whether the difference is positive early and negative late.

    Returns:
        `interpolated`: between two checkpoints; `isotonic`: in the best monotone curve from the largest early
        difference on; `gaussian process`: in the mean of a squared-exponential process whose length scale and noise
        have the greatest marginal likelihood. None where a method sees no crossing.
    """
    log_G = np.log(x_G)
    rising_SG = -difference_SG if falling else difference_SG
    mean_G = rising_SG.mean(axis=0)
    start = int(np.argmin(mean_G))
    isotonic_G = np.asarray(optimize.isotonic_regression(mean_G[start:]).x)
    fine, smooth = _process(log_G, rising_SG)
    found = {
        "interpolated": _last_root(log_G, mean_G),
        "isotonic": _last_root(log_G[start:], isotonic_G),
        "gaussian process": _last_root(fine, smooth),
    }
    return {name: None if place is None else float(np.exp(place)) for name, place in found.items()}


def _last_root(log_G: FloatArray, rising_G: FloatArray) -> float | None:
    turns = np.flatnonzero((rising_G[:-1] <= 0) & (rising_G[1:] > 0))
    if not turns.size or rising_G[-1] <= 0:
        return None
    i = int(turns[-1])
    share = -rising_G[i] / (rising_G[i + 1] - rising_G[i])
    return float(log_G[i] + share * (log_G[i + 1] - log_G[i]))


def _process(log_G: FloatArray, value_SG: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Posterior mean of a Gaussian process through the mean, on a fine grid (Rasmussen & Williams 2006, chapter 2)."""
    mean_G = value_SG.mean(axis=0)
    span, scale = float(log_G[-1] - log_G[0]), float(mean_G.std()) or 1.0
    target_G = mean_G / scale
    known = float(np.mean(value_SG.var(axis=0, ddof=1)) / value_SG.shape[0]) / scale**2
    best, greatest = (_LENGTHS[0] * span, 1.0), -np.inf
    for length in _LENGTHS:
        for noise in (max(known, 1e-6), max(known, 1e-6) / 4, 4 * max(known, 1e-6)):
            kernel_GG = _kernel(log_G, log_G, length * span) + noise * np.eye(log_G.size)
            factor_GG = np.linalg.cholesky(kernel_GG)
            white_G = np.linalg.solve(factor_GG, target_G)
            score = float(-0.5 * white_G @ white_G - np.log(np.diag(factor_GG)).sum())
            if score > greatest:
                best, greatest = (length * span, noise), score
    length, noise = best
    weights_G = np.linalg.solve(_kernel(log_G, log_G, length) + noise * np.eye(log_G.size), target_G)
    fine = np.linspace(log_G[0], log_G[-1], _FINE)
    return fine, np.asarray(_kernel(fine, log_G, length) @ weights_G)


def _kernel(a: FloatArray, b: FloatArray, length: float) -> FloatArray:
    """Squared exponential with a variance of 4: curves of unit spread may have a mean of that size."""
    return np.asarray(4.0 * np.exp(-0.5 * ((a[:, None] - b) / length) ** 2), dtype=np.float64)
