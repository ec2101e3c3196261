"""Where the difference changes sign for good: a bracket, a line per seed pair inside it, and Fieller's interval.

Shapes: S seed pairs, G points of the common grid, B those inside the bracket.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from crossover.analysis.columns import FloatArray
from crossover.analysis.inference.windows import shared_error
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


def clear_signs(difference_SG: FloatArray, alpha: float) -> FloatArray:
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


def locate(
    x_G: FloatArray,
    difference_SG: FloatArray,
    *,
    falling: bool,
    alpha: float,
    lower: bool,
    error_SG: FloatArray | None = None,
) -> Crossing | None:
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
        error_SG: Monte Carlo standard errors of the differences, taken as shared by all pairs and points.

    Returns:
        The crossing, None when the mean line has no root of that direction inside the bracket. An end of the interval
        that is outside the measured range, or does not exist, is None.
    """
    sign = -1.0 if falling else 1.0
    log_G = np.log(x_G)
    turn = _last_turn(log_G, sign * difference_SG.mean(axis=0))
    if turn is None:
        return None
    late_G = clear_signs(difference_SG, alpha) == sign
    earlier = log_G[late_G & (log_G < turn)]
    floor = float((earlier[-1] + turn) / 2) if earlier.size else -np.inf
    data = Differences(log_G, difference_SG, alpha, shared_error(error_SG))
    lines = narrowest(data, turn, (floor, np.inf))
    slope, intercept = float(lines.slope_S.mean()), float(lines.intercept_S.mean())
    if sign * slope <= 0:
        return None
    root = lines.centre - intercept / slope
    if not lines.low <= root <= lines.high:
        return None
    low, high = data.interval(lines)
    return Crossing(
        direction="AR→DLM" if falling == lower else "DLM→AR",
        at=clipped_exp(root, x_G),
        low=end_of(low, x_G),
        high=end_of(high, x_G),
        bracket=(clipped_exp(lines.low, x_G), clipped_exp(lines.high, x_G)),
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


@dataclass(frozen=True)
class Differences:
    """What a crossing is located in: the differences over log x, the level, the error that all share."""

    log_G: FloatArray
    difference_SG: FloatArray
    alpha: float
    monte_carlo: float

    def interval(self, lines: Lines) -> tuple[float | None, float | None]:
        """Fieller's interval of the root, in log x."""
        low, high = fieller(lines.intercept_S, lines.slope_S, self.alpha, self.monte_carlo)
        return (None, None) if low is None or high is None else (lines.centre + low, lines.centre + high)

    def bounded(self, lines: Lines) -> bool:
        """Whether both ends of Fieller's interval exist and are inside the measured range."""
        low, high = self.interval(lines)
        return low is not None and high is not None and bool(self.log_G[0] <= low <= high <= self.log_G[-1])


def narrowest(data: Differences, turn: float, limits: tuple[float, float]) -> Lines:
    """Lines in the narrowest bracket with a bounded Fieller interval inside the range, narrowed on while it bends.

    Args:
        data: the differences.
        turn: where the mean changes its sign, in log x.
        limits: where a bracket begins at the earliest and ends at the latest, so that other crossings stay outside.

    Returns:
        The lines.
    """
    for share in HALF_BRACKETS:
        lines = fit_lines(data, turn, share, limits)
        if data.bounded(lines):
            break
    for share in NARROW_BRACKETS:
        narrower = fit_lines(data, turn, share, limits, points=2)
        if not lines.bent or not data.bounded(narrower):
            break
        lines = narrower
    return lines


def fit_lines(
    data: Differences, turn: float, share: float, limits: tuple[float, float], *, points: int = BRACKET_POINTS
) -> Lines:
    """Least-squares lines per seed pair inside a bracket around a place in log x.

    Args:
        data: the differences over log x.
        turn: the middle of the bracket, in log x.
        share: its half width as a share of the log range.
        limits: where it begins at the earliest and ends at the latest.
        points: it is widened until it holds so many grid points, and with two until they stand around the turn.

    Returns:
        The lines.
    """
    log_G = data.log_G
    distance_G = np.abs(log_G - turn)
    allowed_G = (log_G >= limits[0]) & (log_G <= limits[1])
    if np.sum(allowed_G) >= BRACKET_POINTS:
        distance_G = np.where(allowed_G, distance_G, np.inf)
    needed = np.sort(distance_G)[min(points, log_G.size) - 1]
    if points == 2:
        needed = max(distance_G[log_G <= turn].min(initial=np.inf), distance_G[log_G > turn].min(initial=np.inf))
    half = max(share * (log_G[-1] - log_G[0]), float(needed))
    inside_G = distance_G <= half * (1 + 1e-12)
    log_B, difference_SB = log_G[inside_G], data.difference_SG[:, inside_G]
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


def fieller(
    intercept_S: FloatArray, slope_S: FloatArray, alpha: float, monte_carlo: float = 0.0
) -> tuple[float | None, float | None]:
    """Fieller's interval of the root -mean(intercept) / mean(slope), from paired samples.

    The set of roots θ with |ā + b̄θ| <= t · se(ā + b̄θ), a quadratic in θ (Fieller 1954, J. R. Stat. Soc. B 16).

    Args:
        intercept_S: one per seed pair.
        slope_S: one per seed pair.
        alpha: one minus the coverage.
        monte_carlo: standard error that all intercepts share.

    Returns:
        Both ends; (None, None) when the mean slope is not clear of zero and the set is unbounded.
    """
    pairs = intercept_S.size
    square_t = float(special.stdtrit(pairs - 1, 1 - alpha / 2)) ** 2
    weight = square_t / (pairs * (pairs - 1))
    a, b = float(intercept_S.mean()), float(slope_S.mean())
    da, db = intercept_S - a, slope_S - b
    square = b * b - weight * float(db @ db)
    middle = a * b - weight * float(da @ db)
    constant = a * a - weight * float(da @ da) - square_t * monte_carlo**2
    if square <= 0:
        return None, None
    root = float(np.sqrt(max(0.0, middle * middle - square * constant)))
    return (-middle - root) / square, (-middle + root) / square


def end_of(place: float | None, x_G: FloatArray) -> float | None:
    """An end of an interval in log x on the axis; None outside of the measured range, where no line is supported."""
    if place is None:
        return None
    low, high = float(np.log(x_G[0])), float(np.log(x_G[-1]))
    slack = 1e-9 * (high - low)
    return clipped_exp(place, x_G) if low - slack <= place <= high + slack else None


def clipped_exp(log_x: float, x_G: FloatArray) -> float:
    """Back from log x, with rounding at the ends of the grid undone."""
    return float(np.clip(np.exp(log_x), x_G[0], x_G[-1]))


def _roots(lines: Lines, x_G: FloatArray) -> list[float | None]:
    """The root of each seed pair's own line, None when it is outside of the bracket."""
    roots: list[float | None] = []
    for intercept, slope in zip(lines.intercept_S.tolist(), lines.slope_S.tolist(), strict=True):
        inside = abs(intercept) <= abs(slope) * (lines.high - lines.low)
        place = lines.centre - intercept / slope if inside and slope != 0 else lines.high + 1
        roots.append(clipped_exp(place, x_G) if lines.low <= place <= lines.high else None)
    return roots
