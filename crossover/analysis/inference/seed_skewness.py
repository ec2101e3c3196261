"""Does the mean of few seeds hide a tail? Student's t needs symmetry when the pairs are few.

Where most pairs lie close together on one side and the tail points back to zero, the true mean is nearer to zero than t
believes: with exponential spread it rejects 9 to 12 % of true nulls at 5 to 12 pairs. There a fifth of the level is
asked for. No rule on the values seen can do more: a tail from which nothing was drawn does not show.
"""

from __future__ import annotations

from crossover.analysis.inference.window_tests import WindowTest

MANY = 8
TAIL_OF_FEW, TAIL_OF_MANY = 0.8, 0.5
"""Skewness towards zero from which on the stricter level holds. Below eight pairs a sharper rule would cost more power
than it saves in errors (docs/benchmarks/calibration.md)."""
STRICTER = 0.2


def doubtful(test: WindowTest, alpha: float) -> bool:
    """Whether a mean that Student's t finds clear of zero may be due to the tail of a skewed spread.

    Args:
        test: of a window.
        alpha: two-sided level.
    """
    standard_S = (test.per_seed_S - test.mean) / test.sd
    towards_zero = -float((standard_S**3).mean()) * (1.0 if test.mean > 0 else -1.0)
    tail = TAIL_OF_MANY if test.pairs >= MANY else TAIL_OF_FEW
    return towards_zero > tail and 2 * min(test.p_positive, test.p_negative) > STRICTER * alpha
