"""Does the mean of few seeds hide a tail? Student's t needs symmetry when the pairs are few.

Where most pairs lie close together on one side and the tail points back to zero, the true mean is nearer to zero than t
believes, and t rejects true nulls in 8 to 18 % of studies. There Johnson's t (1978, J. Am. Stat. Assoc. 73), corrected
for skewness, must agree.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from crossover.analysis.curve_columns import FloatArray

TAIL = 0.8
"""Skewness towards zero from which on Johnson's t must agree; normal spread exceeds it in one study of eight."""


def doubtful(value_S: FloatArray, alpha: float) -> bool:
    """Whether a mean that Student's t finds clear of zero may be due to the tail of a skewed spread.

    Args:
        value_S: one value for each seed pair.
        alpha: two-sided level.
    """
    pairs = value_S.size
    centred_S = value_S - value_S.mean()
    sd = float(value_S.std(ddof=1))
    if pairs < 3 or sd == 0:
        return False
    towards_zero = -float(np.sign(value_S.mean())) * float(((centred_S / sd) ** 3).mean())
    return towards_zero > TAIL and johnson_p(value_S) > alpha


def johnson_p(value_S: FloatArray) -> float:
    """Two-sided p of a zero mean by Johnson's modified t."""
    pairs, mean, variance = value_S.size, float(value_S.mean()), float(value_S.var(ddof=1))
    third = float(((value_S - mean) ** 3).sum()) * pairs / ((pairs - 1) * (pairs - 2))
    t = (mean + third / (6 * variance * pairs) + third * mean**2 / (3 * variance**2)) / np.sqrt(variance / pairs)
    return float(2 * special.stdtr(pairs - 1, -abs(t)))
