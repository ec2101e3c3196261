"""Values of a difference at checkpoints: by a fit over a stretch, the checkpoint alone, the mean before or after it.

A line over a stretch averages much noise away, but is wrong where the difference bends. The mean of what lies before
a checkpoint is never wrong in this sense: if it has the late sign, the sign has changed before the checkpoint, whatever
the difference does between checkpoints.

Shapes: S seed pairs, G points of the common grid, E checkpoints at which values are taken (all unless there are many).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from crossover.analysis.curve_columns import FloatArray

FITS = ((0.15, 1), (0.15, 2), (0.0, 0))
"""How far a fit reaches to both sides, as a share of the log range, and its degree: line, parabola, checkpoint."""
WINDOW = 0.1
"""The share of the log range before or after a checkpoint over which a mean is taken, nearer points weighing more."""
LEAST_POINTS = 5
"""Fits go through so many checkpoints at least, so that a line can be told from a bend."""
CONSISTENT = 1.75
"""A fit holds if those after it in FITS differ from it by no more standard errors than this."""
PLACES = 256
"""At most so many checkpoints, evenly in log x, are places; the others count in the fits and means."""


@dataclass(frozen=True)
class Values:
    """One kind of values at the places: those of each pair, their mean, and how far it may be from zero by chance."""

    value_SE: FloatArray
    mean_E: FloatArray
    limit_E: FloatArray

    def clear(self, sign: float) -> NDArray[np.bool_]:
        """Where the mean is clear of zero with a sign."""
        return np.asarray(sign * self.mean_E > self.limit_E)

    @property
    def excess_E(self) -> FloatArray:
        """By how much the mean is clear of zero; negative where it is not."""
        return np.asarray(np.abs(self.mean_E) - self.limit_E)


@dataclass(frozen=True)
class Local:
    """All values at the places, and where each fit is consistent with those after it."""

    place_E: FloatArray
    fits: tuple[Values, ...]
    holds: tuple[NDArray[np.bool_], ...]
    before: Values
    after: Values


@dataclass(frozen=True)
class _Weights:
    """Of each grid point in each value (rows are places), and of each place in an averaged variance."""

    place_E: FloatArray
    fits: tuple[FloatArray, ...]
    enough: tuple[NDArray[np.bool_], ...]
    before_EG: FloatArray
    after_EG: FloatArray
    share_EE: FloatArray


def local_values(
    log_G: FloatArray, difference_SG: FloatArray, alpha: float, monte_carlo: float, bound_G: FloatArray | None
) -> Local:
    """Take the values of a difference at the places.

    Args:
        log_G: log of the grid, rising.
        difference_SG: candidate minus baseline; two pairs or more.
        alpha: two-sided level of a single t test.
        monte_carlo: the standard error that all pairs share.
        bound_G: a bound of the bias of the mean difference at each grid point; None is none.

    Returns:
        The values. Variances are averaged over the places within the reach of the line: of many estimates with few
        degrees of freedom some are far too small.
    """
    weights = _weights(log_G.tobytes())
    pairs = difference_SG.shape[0]
    t = float(special.stdtrit(pairs - 1, 1 - alpha / 2))

    def standard_error(value_SE: FloatArray) -> FloatArray:
        return np.asarray(np.sqrt(weights.share_EE @ value_SE.var(axis=0, ddof=1) / pairs))

    def values(weight_EG: FloatArray) -> Values:
        value_SE = difference_SG @ weight_EG.T
        bias_E = 0.0 if bound_G is None else np.abs(weight_EG) @ bound_G
        return Values(value_SE, value_SE.mean(axis=0), t * np.hypot(standard_error(value_SE), monte_carlo) + bias_E)

    fits = tuple(values(weight_EG) for weight_EG in weights.fits)
    rounding = 1e-9 * float(np.abs(difference_SG).max())
    holds = []
    for i, (fit, enough_E) in enumerate(zip(fits, weights.enough, strict=True)):
        holds_E = enough_E.copy()
        for other in fits[i + 1 :]:
            apart_SE = fit.value_SE - other.value_SE
            holds_E &= np.abs(apart_SE.mean(axis=0)) <= CONSISTENT * standard_error(apart_SE) + rounding
        holds.append(holds_E)
    return Local(weights.place_E, fits, tuple(holds), values(weights.before_EG), values(weights.after_EG))


@lru_cache(maxsize=4)
def _weights(log_bytes: bytes) -> _Weights:
    log_G = np.frombuffer(log_bytes)
    share_G = (log_G - log_G[0]) / (log_G[-1] - log_G[0])
    chosen_E = _places(share_G)
    place_E = share_G[chosen_E]
    offset_EG = share_G - place_E[:, None]
    fitted = [_fit(offset_EG, reach, degree, chosen_E) for reach, degree in FITS]
    near_EE = (np.abs(place_E - place_E[:, None]) <= FITS[0][0] * (1 + 1e-9)).astype(float)
    return _Weights(
        place_E=log_G[chosen_E],
        fits=tuple(weight_EG for weight_EG, _ in fitted),
        enough=tuple(enough_E for _, enough_E in fitted),
        before_EG=_side(-offset_EG),
        after_EG=_side(offset_EG),
        share_EE=near_EE / near_EE.sum(axis=1, keepdims=True),
    )


def _places(share_G: FloatArray) -> NDArray[np.intp]:
    """Indices of at most PLACES checkpoints: all, or those next above an even division of the log range."""
    if share_G.size <= PLACES:
        return np.arange(share_G.size)
    return np.unique(np.searchsorted(share_G, np.linspace(0.0, 1.0, PLACES)))


def _fit(
    offset_EG: FloatArray, reach: float, degree: int, chosen_E: NDArray[np.intp]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Weights of a least-squares polynomial (Epanechnikov kernel); the checkpoint alone where too few are in reach."""
    alone_EG = np.zeros_like(offset_EG)
    alone_EG[np.arange(chosen_E.size), chosen_E] = 1.0
    if reach == 0:
        return alone_EG, np.ones(chosen_E.size, dtype=bool)
    offset_EG = offset_EG / reach
    kernel_EG = np.clip(1 - offset_EG**2, 0.0, None)
    enough_E = (kernel_EG > 0).sum(axis=1) >= LEAST_POINTS
    kernel_EG, offset_EG = kernel_EG[enough_E], offset_EG[enough_E]
    moment = [(kernel_EG * offset_EG**power).sum(axis=1) for power in range(2 * degree + 1)]
    normal = np.stack([np.stack(moment[i : i + degree + 1], axis=-1) for i in range(degree + 1)], axis=-1)
    unit = np.zeros((normal.shape[0], degree + 1, 1))
    unit[:, 0] = 1.0
    solved = np.linalg.solve(normal, unit)[..., 0]
    weight_EG = alone_EG
    weight_EG[enough_E] = kernel_EG * sum(solved[:, [power]] * offset_EG**power for power in range(degree + 1))
    return weight_EG, enough_E


def _side(ahead_EG: FloatArray) -> FloatArray:
    """Weights of the mean over a window to one side, falling linearly from the checkpoint on."""
    weight_EG = np.where(ahead_EG >= 0, np.clip(1 - ahead_EG / WINDOW, 0.0, None), 0.0)
    return np.asarray(weight_EG / weight_EG.sum(axis=1, keepdims=True))
