"""Does one arm lead throughout a window, or does the difference change its sign inside it?

Each seed pair's difference in the window is fitted by a line in log x. A mean that is clear of zero is not enough to
say who wins: where the lines head for zero, the lead must still be clear at the end that they head for.

Shapes: S seed pairs, B grid points of the window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.window_tests import bend_bound, inside, shared_error

_ROUNDING = 1e-9
TREND_LEVEL = 0.05
"""A slope counts as heading somewhere at this one-sided level: lenient, for the cost is only a further test."""


@dataclass(frozen=True)
class Trend:
    """Lines through a window, one for each seed pair: their values at both ends and their slopes, with t tests."""

    start: float
    end: float
    slope: float
    start_error: float
    end_error: float
    slope_error: float
    degrees: int

    def heads_to_zero(self, *, at_end: bool, sign: float) -> bool:
        """Whether a lead of this sign shrinks towards an end of the window."""
        towards = -self.slope if at_end else self.slope
        return _p(sign * towards, self.slope_error, self.degrees) <= TREND_LEVEL

    def clear(self, *, at_end: bool, sign: float, alpha: float) -> bool:
        """Whether the lines have this sign at an end, by a one-sided t test."""
        value, error = (self.end, self.end_error) if at_end else (self.start, self.start_error)
        return _p(sign * value, error, self.degrees) <= alpha

    @property
    def beyond(self) -> float:
        """The largest of the lines' mean values at both ends, without its sign."""
        return max(abs(self.start), abs(self.end))

    def slopes(self, level: float) -> bool:
        """Whether the slope is clear of zero, two-sided."""
        return 2 * _p(abs(self.slope), self.slope_error, self.degrees) <= level


def window_trend(
    x_G: FloatArray,
    difference_SG: FloatArray,
    window: tuple[float, float],
    *,
    span: tuple[float, float] | None = None,
    error_SG: FloatArray | None = None,
    bend_SG: FloatArray | None = None,
) -> Trend | None:
    """Fit each pair's line in a window.

    Args:
        x_G: the grid.
        difference_SG: candidate minus baseline.
        window: as fractions of the span.
        span: what the window is a share of; the range of the grid when absent.
        error_SG: Monte Carlo standard errors; added at the ends, where they shift all pairs, and not to the slope.
        bend_SG: by how much straight lines between checkpoints would change each difference; widens all errors.

    Returns:
        The trend; None with fewer than two points or pairs, or without spread between the pairs.
    """
    within_G = inside(x_G, window, span)
    pairs = difference_SG.shape[0]
    if within_G.sum() < 2 or pairs < 2:
        return None
    log_B = np.log(x_G[within_G])
    u_B = log_B - log_B.mean()
    if not u_B @ u_B > 0:
        return None
    difference_SB = difference_SG[:, within_G]
    slope_S = difference_SB @ u_B / (u_B @ u_B)
    middle_S = difference_SB.mean(axis=1)
    bend = 0.0 if bend_SG is None else bend_bound(bend_SG[:, within_G].mean(axis=1))
    shared = shared_error(error_SG[:, within_G] if error_SG is not None else None)
    start_S, end_S = middle_S + slope_S * u_B[0], middle_S + slope_S * u_B[-1]
    errors = [float(value_S.std(ddof=1)) / np.sqrt(pairs) for value_S in (start_S, end_S, slope_S)]
    rounding = _ROUNDING * float(np.abs(difference_SB).max())
    if not min(*errors[:2], errors[2] * float(np.ptp(u_B))) > rounding or not np.isfinite(bend):
        return None
    return Trend(
        start=float(start_S.mean()),
        end=float(end_S.mean()),
        slope=float(slope_S.mean()),
        start_error=float(np.hypot(errors[0], shared)) + bend,
        end_error=float(np.hypot(errors[1], shared)) + bend,
        slope_error=errors[2] + bend / float(np.ptp(u_B)),
        degrees=pairs - 1,
    )


def learnt_from(difference_SG: FloatArray, delta: float) -> int:
    """The index of the grid point from which on the arms have learnt something that tells them apart.

    While they are untrained the mean difference stays inside half of delta, however long that lasts in log x. It ends
    with two neighbouring points beyond it on the same side; these two, chosen for their size, are left out as well. The
    rule is the same for both signs.

    Returns:
        0 where the arms differ from the start, or never.
    """
    mean_G = difference_SG.mean(axis=0)
    beyond_G = np.where(np.abs(mean_G) > delta / 2, np.sign(mean_G), 0.0)
    ends = np.flatnonzero((beyond_G[:-1] != 0) & (beyond_G[:-1] == beyond_G[1:]))
    return int(ends[0]) + 2 if ends.size and ends[0] > 0 else 0


def _p(value: float, error: float, degrees: int) -> float:
    return float(special.stdtr(degrees, -value / error))
