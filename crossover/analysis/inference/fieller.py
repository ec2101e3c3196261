"""Fieller's interval of a ratio of two means of paired samples."""

from __future__ import annotations

import numpy as np
from scipy import special

from crossover.analysis.columns import FloatArray


def fieller(intercept_S: FloatArray, slope_S: FloatArray, alpha: float) -> tuple[float | None, float | None]:
    """The interval of the root -mean(intercept) / mean(slope).

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
