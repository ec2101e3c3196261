"""Where the difference changes sign for good: lines around every place, and the places that the seed pairs leave open.

Each seed pair's difference is fitted by a line in log x around a place (least squares, Epanechnikov weights). A place
belongs to the interval if the mean of the lines' values there is not clear of zero, by a t test over seed pairs. That
is Fieller's argument (1954, J. R. Stat. Soc. B 16), which inverts the test; the line is fitted anew around each place,
so that no bracket is centred by the data.

Shapes: S seed pairs, G points of the common grid, E places between them, B points around one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy import optimize, special

from crossover.analysis.analysis_result import Crossing, Direction, Turn
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.window_tests import shared_error

REACHES = ((0.15, 0.05), (0.075, 0.05), (0.0, 0.0))
"""How far a line reaches to both sides, as a share of the log range, and the level of a t test for a bend. The first is
taken unless the seed pairs agree that the difference bends there, since a line through a bend misplaces the root: then
the next. The last is interpolation by a cubic through four checkpoints. Coverage with this choice is in
docs/benchmarks/calibration.md."""
LEAST_POINTS = 4
"""A line reaches over so many grid points at least, if there are so many."""
PLACES = 320
"""About so many places over the whole range, and at least two between neighbouring checkpoints."""

_LENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Length scales of the Gaussian process that are tried, as shares of the log range."""
_FINE = 512


@dataclass(frozen=True)
class Smooth:
    """Values of each pair's lines at places in log x, their mean, and how far it may be from zero by chance."""

    place_E: FloatArray
    value_SE: FloatArray
    mean_E: FloatArray
    limit_E: FloatArray


@dataclass(frozen=True)
class Differences:
    """What a crossing is located in: the differences over log x, the level, the error that all pairs share."""

    log_G: FloatArray
    difference_SG: FloatArray
    alpha: float
    monte_carlo: float

    def smooth(self, reach: float) -> Smooth:
        """Lines around every place; reach is a share of the log range."""
        place_E, weight_EG = _weights(self.log_G.tobytes(), reach)
        value_SE = self.difference_SG @ weight_EG.T
        pairs = value_SE.shape[0]
        error_E = np.hypot(value_SE.std(axis=0, ddof=1) / np.sqrt(pairs), self.monte_carlo)
        t = float(special.stdtrit(pairs - 1, 1 - self.alpha / 2))
        return Smooth(place_E, value_SE, value_SE.mean(axis=0), t * error_E)

    def bent(self, place: float, reach: float, level: float) -> bool:
        """Whether the pairs agree that the difference is no line around a place (two-sided t test)."""
        distance_G = np.abs(self.log_G - place)
        half = max(
            reach * float(np.ptp(self.log_G)), float(np.sort(distance_G)[min(LEAST_POINTS, distance_G.size) - 1])
        )
        inside_G = distance_G <= half * (1 + 1e-12)
        u_B = self.log_G[inside_G] - self.log_G[inside_G].mean()
        return _bent(u_B, self.difference_SG[:, inside_G], level)


@lru_cache(maxsize=32)
def _weights(log_bytes: bytes, reach: float) -> tuple[FloatArray, FloatArray]:
    """Places, and of each grid point its weight in the value there of a weighted least-squares line: weight_EG."""
    log_G = np.frombuffer(log_bytes)
    between = np.linspace(0, 1, max(2, -(-PLACES // (log_G.size - 1))), endpoint=False)
    place_E = np.append((log_G[:-1, None] + between * np.diff(log_G)[:, None]).ravel(), log_G[-1])
    if log_G.size < LEAST_POINTS:
        return place_E, np.stack([np.interp(place_E, log_G, unit_G) for unit_G in np.eye(log_G.size)], axis=1)
    if reach == 0:
        return place_E, _cubic(log_G, place_E)
    offset_EG = log_G - place_E[:, None]
    distance_EG = np.abs(offset_EG)
    nearest_E = np.partition(distance_EG, LEAST_POINTS - 1, axis=1)[:, LEAST_POINTS - 1]
    half_E = np.maximum(reach * float(np.ptp(log_G)), nearest_E * 1.001)
    kernel_EG = np.clip(1 - (distance_EG / half_E[:, None]) ** 2, 0.0, None)
    s0, s1, s2 = ((kernel_EG * offset_EG**power).sum(axis=1)[:, None] for power in range(3))
    return place_E, np.asarray(kernel_EG * (s2 - s1 * offset_EG) / (s0 * s2 - s1 * s1))


def _cubic(log_G: FloatArray, place_E: FloatArray) -> FloatArray:
    """Of each grid point in the cubic through the two checkpoints to each side of a place (Lagrange): weight_EG."""
    first_E = np.clip(np.searchsorted(log_G, place_E, side="right") - 2, 0, log_G.size - 4)
    index_E4 = first_E[:, None] + np.arange(4)
    node_E4 = log_G[index_E4]
    weight_E4 = np.ones_like(node_E4)
    for i in range(4):
        for j in range(4):
            if i != j:
                weight_E4[:, i] *= (place_E - node_E4[:, j]) / (node_E4[:, i] - node_E4[:, j])
    weight_EG = np.zeros((place_E.size, log_G.size))
    np.put_along_axis(weight_EG, index_E4, weight_E4, axis=1)
    return weight_EG


def _bent(u_B: FloatArray, difference_SB: FloatArray, level: float) -> bool:
    """Whether the mean of the per-seed quadratic coefficients is clear of zero."""
    pairs, points = difference_SB.shape
    if points < 3 or pairs < 2:
        return False
    basis_B = u_B**2 - np.mean(u_B**2)
    basis_B = basis_B - u_B * float(basis_B @ u_B) / float(u_B @ u_B)
    square = float(basis_B @ basis_B)
    if square <= 1e-12 * float(u_B @ u_B) ** 2:
        return False
    bend_S = difference_SB @ basis_B / square
    limit = float(special.stdtrit(pairs - 1, 1 - level / 2)) * float(bend_S.std(ddof=1)) / np.sqrt(pairs)
    noise_floor = 1e-9 * float(np.abs(difference_SB).max())
    return bool(
        abs(float(bend_S.mean())) * float(np.abs(basis_B).max()) > max(limit * np.abs(basis_B).max(), noise_floor)
    )


def locate(
    x_G: FloatArray,
    difference_SG: FloatArray,
    *,
    falling: bool,
    alpha: float,
    lower: bool,
    error_SG: FloatArray | None = None,
    near: float | None = None,
) -> Crossing | None:
    """Locate the crossing on the axis.

    Args:
        x_G: the grid, positive and rising, two points or more.
        difference_SG: candidate minus baseline; two pairs or more.
        falling: whether the difference is positive early and negative late.
        alpha: one minus the coverage of the interval.
        lower: whether lower values of the metric are better.
        error_SG: Monte Carlo standard errors of the differences, taken as shared by all pairs and points.
        near: a place on the axis; the sign change nearest to it is located. Default: the last one.

    Returns:
        The crossing, None when the mean of the lines never changes its sign in that direction. An end of the interval
        that is outside of the measured range is None. The interval is the stretch of open places around the crossing.
    """
    data = Differences(np.log(x_G), difference_SG, alpha, shared_error(error_SG))
    sign = -1.0 if falling else 1.0
    place = None if near is None else float(np.log(near))
    located: tuple[Smooth, int] | None = None
    reach = 0.0
    for reach, level in REACHES:
        smooth = data.smooth(reach)
        turn = _turn(smooth, sign, place)
        if turn is None:
            break
        located, place = (smooth, turn), float(smooth.place_E[turn])
        if level == 0 or not data.bent(place, reach, level):
            break
    if located is None:
        return None
    smooth, turn = located
    at = _root(smooth.place_E, smooth.mean_E, turn)
    half = reach * float(np.ptp(data.log_G))
    return Crossing(
        direction="baseline→candidate" if falling == lower else "candidate→baseline",
        at=clipped_exp(at, x_G),
        low=_end(smooth, at, turn, -1, x_G),
        high=_end(smooth, at, turn + 1, 1, x_G),
        bracket=(clipped_exp(at - half, x_G), clipped_exp(at + half, x_G)),
        per_seed=tuple(_own_root(smooth, sign * value_E, turn, x_G) for value_E in smooth.value_SE),
    )


def clear_signs(difference_SG: FloatArray, alpha: float) -> FloatArray:
    """Sign of the mean at each point; 0 where the point's own two-sided 1 - alpha t interval holds zero."""
    mean_G, pairs = difference_SG.mean(axis=0), difference_SG.shape[0]
    t = float(special.stdtrit(pairs - 1, 1 - alpha / 2))
    limit_G = t * difference_SG.std(axis=0, ddof=1) / np.sqrt(pairs)
    return np.where(np.abs(mean_G) > limit_G, np.sign(mean_G), 0.0)


def _turn(smooth: Smooth, sign: float, place: float | None) -> int | None:
    """The step in which the mean takes the late sign: the last one, or the one nearest to a place."""
    rising_E = sign * smooth.mean_E
    turns = np.flatnonzero((rising_E[:-1] <= 0) & (rising_E[1:] > 0))
    if not turns.size:
        return None
    return int(turns[-1] if place is None else turns[np.argmin(np.abs(smooth.place_E[turns] - place))])


def _root(place_E: FloatArray, value_E: FloatArray, turn: int) -> float:
    share = value_E[turn] / (value_E[turn] - value_E[turn + 1])
    return float(place_E[turn] + share * (place_E[turn + 1] - place_E[turn]))


def _end(smooth: Smooth, at: float, start: int, step: int, x_G: FloatArray) -> float | None:
    """Where the stretch of open places around a root ends, by interpolation; None if it leaves the measured range."""
    place, excess = at, -float(np.interp(at, smooth.place_E, smooth.limit_E))
    for i in range(start, smooth.place_E.size if step > 0 else -1, step):
        next_place = float(smooth.place_E[i])
        next_excess = float(abs(smooth.mean_E[i]) - smooth.limit_E[i])
        if next_excess > 0:
            return clipped_exp(place + (next_place - place) * excess / (excess - next_excess), x_G)
        place, excess = next_place, next_excess
    return None


def _own_root(smooth: Smooth, rising_E: FloatArray, turn: int, x_G: FloatArray) -> float | None:
    """The sign change of one pair's own lines that is nearest to the mean's; None if it has none."""
    turns = np.flatnonzero((rising_E[:-1] <= 0) & (rising_E[1:] > 0))
    if not turns.size:
        return None
    return clipped_exp(_root(smooth.place_E, rising_E, int(turns[np.argmin(np.abs(turns - turn))])), x_G)


def clipped_exp(log_x: float, x_G: FloatArray) -> float:
    """Back from log x, with rounding at the ends of the grid undone."""
    return float(np.clip(np.exp(log_x), x_G[0], x_G[-1]))


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
        falling, near = bool(mean_G[a] > 0), _middle_change(x_G[a : b + 1], mean_G[a : b + 1])
        crossing = locate(x_G, difference_SG, falling=falling, alpha=alpha, lower=lower, error_SG=error_SG, near=near)
        direction: Direction = "baseline→candidate" if falling == lower else "candidate→baseline"
        within = crossing is not None and x_G[a] <= crossing.at <= x_G[b]
        turns.append(
            Turn(direction=direction, at=crossing.at, low=crossing.low, high=crossing.high)
            if crossing is not None and within
            else Turn(direction=direction, at=near, low=float(x_G[a]), high=float(x_G[b]))
        )
    return tuple(turns)


def _middle_change(x_B: FloatArray, mean_B: FloatArray) -> float:
    """The middle sign change of a mean that begins with one sign and ends with the other, by interpolation in log x."""
    flips = np.flatnonzero((mean_B[:-1] > 0) != (mean_B[1:] > 0))
    i = int(flips[flips.size // 2])
    share = mean_B[i] / (mean_B[i] - mean_B[i + 1])
    return float(x_B[i] * (x_B[i + 1] / x_B[i]) ** share)


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
    places = {
        "interpolated": _last_root(log_G, mean_G),
        "isotonic": _last_root(log_G[start:], isotonic_G),
        "gaussian process": _last_root(fine, smooth),
    }
    return {name: None if place is None else float(np.exp(place)) for name, place in places.items()}


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
