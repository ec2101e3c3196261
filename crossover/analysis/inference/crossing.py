"""Where the difference changes sign for good: a bracket, a line per seed pair inside it, and Fieller's interval.

Shapes: S seed pairs, G points of the common grid, B those inside the bracket.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from crossover.analysis.columns import FloatArray
from crossover.analysis.result import Crossing

HALF_BRACKETS = (0.175, 0.3, 0.45)
"""The bracket reaches this share of the log range to both sides of the last sign change, cut off at the range's ends.

The narrowest that gives a bounded interval is taken: narrow, because lines fit curves there; wider when the slope is
not clear of zero. Coverage with this choice is in docs/benchmarks/calibration.md.
"""
BRACKET_POINTS = 4
"""It is widened until it holds so many grid points, if there are so many."""
NARROW_BRACKETS = (0.1, 0.05, 0.0)
"""Where the seed pairs agree that the difference bends inside the bracket, it is narrowed until they no longer do,
while the interval stays bounded.

The last of them holds just the two grid points around the sign change: interpolation between two checkpoints.
"""
BEND_LEVEL = 0.2
"""Level of the t test for a bend; lenient, since a line through a bend misplaces the root and widens no interval."""


@dataclass(frozen=True)
class Lines:
    """Per-seed least-squares lines `intercept + slope · (log x - centre)` inside a bracket."""

    centre: float
    low: float
    high: float
    intercept_S: FloatArray
    slope_S: FloatArray
    bent: bool
    """Whether the seed pairs agree that the difference is no line here."""


def sign_changes(difference_SG: FloatArray, alpha: float) -> int:
    """Sign changes of the mean difference along the grid, those of noise left out.

    Only points with a clear sign count (see `_clear_signs`); between them the sign is carried on.
    """
    signs_G = _clear_signs(difference_SG, alpha)
    signs = signs_G[signs_G != 0]
    return int(np.sum(signs[1:] != signs[:-1]))


def _clear_signs(difference_SG: FloatArray, alpha: float) -> FloatArray:
    """Sign of the mean at each point; 0 where the point's own two-sided 1 - alpha t interval holds zero.

    With one pair there is no interval, and every sign is clear.
    """
    mean_G = difference_SG.mean(axis=0)
    limit_G = np.zeros_like(mean_G)
    pairs = difference_SG.shape[0]
    if pairs > 1:
        t = float(special.stdtrit(pairs - 1, 1 - alpha / 2))
        limit_G = t * difference_SG.std(axis=0, ddof=1) / np.sqrt(pairs)
    return np.where(np.abs(mean_G) > limit_G, np.sign(mean_G), 0.0)


def locate(x_G: FloatArray, difference_SG: FloatArray, *, falling: bool, alpha: float, lower: bool) -> Crossing | None:
    """Locate the crossing on the axis.

    The mean difference, smoothed by a moving average over an eighth of the grid, changes to its late sign for the last
    time somewhere; the bracket is around that place, and stays clear of an earlier crossing. Each seed pair gets a
    least-squares line in log x inside it. The estimate is the root of the mean line; its interval is Fieller's (1954)
    for the ratio of the mean intercept and the mean slope over seed pairs, with S - 1 degrees of freedom.

    Args:
        x_G: the grid, positive and rising, two points or more.
        difference_SG: candidate minus baseline; two pairs or more.
        falling: whether the difference is positive early and negative late.
        alpha: one minus the coverage of the interval.
        lower: whether lower values of the metric are better.

    Returns:
        The crossing, None when the mean line has no root of that direction inside the bracket. An end of the interval
        that is outside the measured range, or does not exist, is None.
    """
    sign = -1.0 if falling else 1.0
    log_G = np.log(x_G)
    turn = _last_turn(log_G, sign * difference_SG.mean(axis=0))
    if turn is None:
        return None
    late_G = _clear_signs(difference_SG, alpha) == sign
    earlier = log_G[late_G & (log_G < turn)]
    lines = _narrowest(
        log_G, difference_SG, turn, floor=float((earlier[-1] + turn) / 2) if earlier.size else None, alpha=alpha
    )
    slope, intercept = float(lines.slope_S.mean()), float(lines.intercept_S.mean())
    if sign * slope <= 0:
        return None
    root = lines.centre - intercept / slope
    if not lines.low <= root <= lines.high:
        return None
    low, high = fieller(lines.intercept_S, lines.slope_S, alpha)
    return Crossing(
        direction="AR→DLM" if falling == lower else "DLM→AR",
        at=_clipped_exp(root, x_G),
        low=_end(low, lines.centre, x_G),
        high=_end(high, lines.centre, x_G),
        bracket=(_clipped_exp(lines.low, x_G), _clipped_exp(lines.high, x_G)),
        per_seed=tuple(_roots(lines, x_G)),
    )


def _last_turn(log_G: FloatArray, rising_G: FloatArray) -> float | None:
    """Where a curve that ends positive turns positive for the last time, in log x.

    A curve that changes its sign once is taken as it is; else it is smoothed first.
    """
    changes = np.count_nonzero(np.diff(np.sign(rising_G[rising_G != 0])))
    for curve_G in (rising_G,) if changes == 1 else (_smoothed(rising_G), rising_G):
        turns = np.flatnonzero((curve_G[:-1] <= 0) & (curve_G[1:] > 0))
        if turns.size:
            i = int(turns[-1])
            share = -curve_G[i] / (curve_G[i + 1] - curve_G[i])
            return float(log_G[i] + share * (log_G[i + 1] - log_G[i]))
    return None


def _smoothed(curve_G: FloatArray) -> FloatArray:
    """Centred moving average over an odd number of points, about an eighth of them; shorter at the ends."""
    reach = curve_G.size // 16
    total = np.concatenate((np.zeros(1), np.cumsum(curve_G)))
    index = np.arange(curve_G.size)
    reach_G = np.minimum(reach, np.minimum(index, curve_G.size - 1 - index))
    smoothed: FloatArray = (total[index + reach_G + 1] - total[index - reach_G]) / (2 * reach_G + 1)
    return smoothed


def _narrowest(
    log_G: FloatArray, difference_SG: FloatArray, turn: float, *, floor: float | None, alpha: float
) -> Lines:
    """Lines in the narrowest bracket with a bounded Fieller interval inside the range, narrowed on while it bends."""
    for share in HALF_BRACKETS:
        lines = fit_lines(log_G, difference_SG, turn, share, floor)
        if _bounded(lines, log_G, alpha):
            break
    for share in NARROW_BRACKETS:
        narrower = fit_lines(log_G, difference_SG, turn, share, floor, points=2)
        if not lines.bent or not _bounded(narrower, log_G, alpha):
            break
        lines = narrower
    return lines


def _bounded(lines: Lines, log_G: FloatArray, alpha: float) -> bool:
    """Whether both ends of Fieller's interval exist and are inside the measured range."""
    low, high = fieller(lines.intercept_S, lines.slope_S, alpha)
    if low is None or high is None:
        return False
    return bool(log_G[0] <= lines.centre + low <= lines.centre + high <= log_G[-1])


def fit_lines(
    log_G: FloatArray,
    difference_SG: FloatArray,
    turn: float,
    share: float,
    floor: float | None = None,
    *,
    points: int = BRACKET_POINTS,
) -> Lines:
    """Least-squares lines per seed pair inside a bracket around a place in log x.

    Args:
        log_G: the grid in log x.
        difference_SG: candidate minus baseline.
        turn: the middle of the bracket, in log x.
        share: its half width as a share of the log range.
        floor: where it begins at the earliest, in log x, so that an earlier crossing stays outside.
        points: it is widened until it holds so many grid points, and with two until they stand around the turn.

    Returns:
        The lines.
    """
    distance_G = np.abs(log_G - turn)
    if floor is not None and np.sum(log_G >= floor) >= BRACKET_POINTS:
        distance_G = np.where(log_G >= floor, distance_G, np.inf)
    needed = np.sort(distance_G)[min(points, log_G.size) - 1]
    if points == 2:
        needed = max(distance_G[log_G <= turn].min(initial=np.inf), distance_G[log_G > turn].min(initial=np.inf))
    half = max(share * (log_G[-1] - log_G[0]), float(needed))
    inside_G = distance_G <= half * (1 + 1e-12)
    log_B, difference_SB = log_G[inside_G], difference_SG[:, inside_G]
    centre = float(log_B.mean())
    u_B = log_B - centre
    return Lines(
        centre=centre,
        low=float(log_B[0]),
        high=float(log_B[-1]),
        intercept_S=difference_SB.mean(axis=1),
        slope_S=difference_SB @ u_B / float(u_B @ u_B),
        bent=_bent(u_B, difference_SB),
    )


def _bent(u_B: FloatArray, difference_SB: FloatArray) -> bool:
    """Whether the mean of the per-seed quadratic coefficients is clear of zero (two-sided t at BEND_LEVEL)."""
    pairs, points = difference_SB.shape
    if points < 3 or pairs < 2:
        return False
    basis_B = u_B**2 - np.mean(u_B**2)
    basis_B = basis_B - u_B * float(basis_B @ u_B) / float(u_B @ u_B)
    square = float(basis_B @ basis_B)
    if square <= 1e-12 * float(u_B @ u_B) ** 2:
        return False
    bend_S = difference_SB @ basis_B / square
    limit = float(special.stdtrit(pairs - 1, 1 - BEND_LEVEL / 2)) * float(bend_S.std(ddof=1)) / np.sqrt(pairs)
    noise_floor = 1e-9 * float(np.abs(difference_SB).max())
    return bool(
        abs(float(bend_S.mean())) * float(np.abs(basis_B).max()) > max(limit * np.abs(basis_B).max(), noise_floor)
    )


def fieller(intercept_S: FloatArray, slope_S: FloatArray, alpha: float) -> tuple[float | None, float | None]:
    """Fieller's interval of the root -mean(intercept) / mean(slope), from paired samples.

    The set of roots θ with |ā + b̄θ| <= t · se(ā + b̄θ), a quadratic in θ (Fieller 1954, J. R. Stat. Soc. B 16).

    Args:
        intercept_S: one per seed pair.
        slope_S: one per seed pair.
        alpha: one minus the coverage.

    Returns:
        Both ends; (None, None) when the mean slope is not clear of zero and the set is unbounded.
    """
    pairs = intercept_S.size
    weight = float(special.stdtrit(pairs - 1, 1 - alpha / 2)) ** 2 / (pairs * (pairs - 1))
    a, b = float(intercept_S.mean()), float(slope_S.mean())
    da, db = intercept_S - a, slope_S - b
    square = b * b - weight * float(db @ db)
    middle = a * b - weight * float(da @ db)
    constant = a * a - weight * float(da @ da)
    if square <= 0:
        return None, None
    root = float(np.sqrt(max(0.0, middle * middle - square * constant)))
    return (-middle - root) / square, (-middle + root) / square


def _end(end: float | None, centre: float, x_G: FloatArray) -> float | None:
    """An end of the interval on the axis; None outside of the measured range, where no line is supported."""
    if end is None:
        return None
    place, low, high = centre + end, float(np.log(x_G[0])), float(np.log(x_G[-1]))
    slack = 1e-9 * (high - low)
    return _clipped_exp(place, x_G) if low - slack <= place <= high + slack else None


def _clipped_exp(log_x: float, x_G: FloatArray) -> float:
    """Back from log x, with rounding at the ends of the grid undone."""
    return float(np.clip(np.exp(log_x), x_G[0], x_G[-1]))


def _roots(lines: Lines, x_G: FloatArray) -> list[float | None]:
    """The root of each seed pair's own line, None when it is outside of the bracket."""
    roots: list[float | None] = []
    for intercept, slope in zip(lines.intercept_S.tolist(), lines.slope_S.tolist(), strict=True):
        inside = abs(intercept) <= abs(slope) * (lines.high - lines.low)
        place = lines.centre - intercept / slope if inside and slope != 0 else lines.high + 1
        roots.append(_clipped_exp(place, x_G) if lines.low <= place <= lines.high else None)
    return roots
