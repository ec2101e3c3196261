"""Where the difference changes sign for good: the stretch between what is clearly before and clearly after.

A checkpoint is clearly after the crossing if the mean over the checkpoints just before it has the late sign by a t
test over seed pairs: then the sign has changed before, wherever the difference bends or jumps. A line through the
checkpoints to both sides is more precise, and decides where a parabola and the checkpoint alone do not contradict it.
Mirrored, so are those clearly before. It is the inverted test of Fieller (1954, J. R. Stat. Soc. B 16) without an
assumed shape. How often the interval holds the truth is in docs/benchmarks/calibration.md.

Shapes: S seed pairs, G points of the common grid, E places among them, B points between two places.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import optimize, special

from crossover.analysis.analysis_result import Crossing, Direction, Turn
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.local_means import FITS, Local, Values, local_values
from crossover.analysis.inference.window_tests import shared_error

_LENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Length scales of the Gaussian process that are tried, as shares of the log range."""
_FINE = 512
_PROCESS_POINTS = 200
"""More points than this are averaged in stretches of equal log range before the Gaussian process sees them."""


def locate(
    x_G: FloatArray,
    difference_SG: FloatArray,
    *,
    falling: bool,
    alpha: float,
    lower: bool,
    error_SG: FloatArray | None = None,
    near: float | None = None,
    bound_G: FloatArray | None = None,
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
        bound_G: an upper bound of the interpolation bias of the mean difference at each grid point, at least 0; a mean
            is clear of zero only beyond its t limit plus this. Default: no bias.

    Returns:
        The crossing, None when the fitted mean never changes its sign in that direction. An end of the interval
        that is outside of the measured range is None. The interval holds the two checkpoints around the crossing.
    """
    local = local_values(np.log(x_G), difference_SG, alpha, shared_error(error_SG), bound_G)
    sign = -1.0 if falling else 1.0
    place = None if near is None else float(np.log(near))
    located: tuple[float, Values, int] | None = None
    for (reach, _), fit, holds_E in zip(FITS, local.fits, local.holds, strict=True):
        turn = _turn(local.place_E, sign * fit.mean_E, place)
        if turn is None:
            break
        located, place = (reach, fit, turn), float(local.place_E[turn])
        if holds_E[turn] and holds_E[turn + 1]:
            break
    if located is None:
        return None
    half_share, fit, turn = located
    at = _root(local.place_E, fit.mean_E, turn)
    low, high = _interval(local, sign, turn)
    half = half_share * float(np.log(x_G[-1] / x_G[0]))
    return Crossing(
        direction="baseline→candidate" if falling == lower else "candidate→baseline",
        at=clipped_exp(at, x_G),
        low=None if low is None else clipped_exp(low, x_G),
        high=None if high is None else clipped_exp(high, x_G),
        bracket=(clipped_exp(at - half, x_G), clipped_exp(at + half, x_G)),
        per_seed=tuple(_own_root(local.place_E, sign * value_E, turn, x_G) for value_E in fit.value_SE),
    )


def _interval(local: Local, sign: float, turn: int) -> tuple[float | None, float | None]:
    """In log x, from the last place clearly before the turn to the first clearly after; None where there is none."""
    line, holds_E = local.fits[0], local.holds[0]
    before_E = local.after.clear(-sign) | (holds_E & line.clear(-sign))
    after_E = local.before.clear(sign) | (holds_E & line.clear(sign))
    first, last = np.flatnonzero(before_E[: turn + 1]), np.flatnonzero(after_E[turn + 1 :])
    low = _end(local, int(first[-1]), 1, turn) if first.size else None
    high = _end(local, int(last[0]) + turn + 1, -1, turn + 1) if last.size else None
    return low, high


def _end(local: Local, place: int, step: int, turn: int) -> float:
    """The end itself, or where the line's own limit lies on the way to the next place, if the line holds at both."""
    end, inner = float(local.place_E[place]), place + step
    if place == turn or not (local.holds[0][place] and local.holds[0][inner]):
        return end
    excess, next_excess = (float(local.fits[0].excess_E[i]) for i in (place, inner))
    if excess <= 0 or next_excess > 0:
        return end
    return end + (float(local.place_E[inner]) - end) * excess / (excess - next_excess)


def clear_signs(difference_SG: FloatArray, alpha: float) -> FloatArray:
    """Sign of the mean at each point; 0 where the point's own two-sided 1 - alpha t interval holds zero."""
    mean_G, pairs = difference_SG.mean(axis=0), difference_SG.shape[0]
    t = float(special.stdtrit(pairs - 1, 1 - alpha / 2))
    limit_G = t * difference_SG.std(axis=0, ddof=1) / np.sqrt(pairs)
    return np.where(np.abs(mean_G) > limit_G, np.sign(mean_G), 0.0)


def _turn(place_E: FloatArray, rising_E: FloatArray, near: float | None) -> int | None:
    """The step in which the mean takes the late sign: the last one, or the one nearest to a place."""
    turns = np.flatnonzero((rising_E[:-1] <= 0) & (rising_E[1:] > 0))
    if not turns.size:
        return None
    return int(turns[-1] if near is None else turns[np.argmin(np.abs(place_E[turns] - near))])


def _root(place_E: FloatArray, value_E: FloatArray, turn: int) -> float:
    share = value_E[turn] / (value_E[turn] - value_E[turn + 1])
    return float(place_E[turn] + share * (place_E[turn + 1] - place_E[turn]))


def _own_root(place_E: FloatArray, rising_E: FloatArray, turn: int, x_G: FloatArray) -> float | None:
    """The sign change of one pair's own lines that is nearest to the mean's; None if it has none."""
    turns = np.flatnonzero((rising_E[:-1] <= 0) & (rising_E[1:] > 0))
    if not turns.size:
        return None
    return clipped_exp(_root(place_E, rising_E, int(turns[np.argmin(np.abs(turns - turn))])), x_G)


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
    bound_G: FloatArray | None = None,
) -> tuple[Turn, ...]:
    """Where the mean difference changes its sign, each between two points that are clear of zero.

    Args:
        x_G: the grid of the tested range, positive and rising.
        difference_SG: candidate minus baseline.
        changes: from `sign_changes`.
        alpha: one minus the coverage of each interval.
        lower: whether lower values of the metric are better.
        error_SG: Monte Carlo standard errors, taken as shared.
        bound_G: as `locate` takes it.

    Returns:
        The turns in order along the axis. They describe the mean; none is tested, and their intervals hold one by one.
    """
    mean_G = difference_SG.mean(axis=0)
    turns = []
    for a, b in changes:
        falling, near = bool(mean_G[a] > 0), _middle_change(x_G[a : b + 1], mean_G[a : b + 1])
        crossing = locate(
            x_G,
            difference_SG,
            falling=falling,
            alpha=alpha,
            lower=lower,
            error_SG=error_SG,
            near=near,
            bound_G=bound_G,
        )
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
    fine, smooth = _process(*_averaged(log_G, rising_SG))
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


def _averaged(log_G: FloatArray, value_SG: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Many points averaged in stretches of equal log range, so that the process stays small."""
    if log_G.size <= _PROCESS_POINTS:
        return log_G, value_SG
    share_G = (log_G - log_G[0]) / (log_G[-1] - log_G[0])
    stretch_G = np.minimum((share_G * _PROCESS_POINTS).astype(int), _PROCESS_POINTS - 1)
    starts = np.flatnonzero(np.diff(stretch_G, prepend=-1))
    points = np.diff(starts, append=log_G.size)
    return np.add.reduceat(log_G, starts) / points, np.add.reduceat(value_SG, starts, axis=1) / points


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
