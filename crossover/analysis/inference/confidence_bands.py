"""Simultaneous confidence bands of a mean curve over few seeds, without resampling.

The band is mean ± c · sd / √S with one c for the whole curve. c is the smaller of two bounds that both hold:

- Bonferroni over the G grid points: P(|T| > c) = alpha / G, with S - 1 degrees of freedom;
- the tube (Kac-Rice) formula for a t process, P(|T| > c) + κ/π · (1 + c²/ν)^(-ν/2) = alpha, ν = S - 1, where κ is the
  length of the path of the standardised residuals on the unit sphere (Sun & Loader 1994; Liebl & Reimherr 2019,
  arXiv 1910.00131). κ is short when neighbouring points of a curve move together, thus it plays the part of an
  effective number of points; for rough curves Bonferroni is the smaller.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from crossover.analysis.analysis_result import Band
from crossover.analysis.curve_columns import FloatArray

_SAME = 1e-12


def mean_band(x_G: FloatArray, value_SG: FloatArray, alpha: float, error_SG: FloatArray | None = None) -> Band:
    """The mean over runs with its simultaneous 1 - alpha band.

    Args:
        x_G: the grid.
        value_SG: one run, or one seed pair's difference, a row.
        alpha: one minus the coverage of the whole curve.
        error_SG: Monte Carlo standard errors, taken as shared by all rows; none when absent.

    Returns:
        The band; a single run has no spread, and its band has no width.
    """
    mean_G = value_SG.mean(axis=0)
    half_G = np.zeros_like(mean_G)
    if value_SG.shape[0] > 1:
        sd_G = value_SG.std(axis=0, ddof=1)
        shared_G = 0.0 if error_SG is None else np.sqrt((error_SG**2).mean(axis=0))
        half_G = critical_value(value_SG, alpha) * np.hypot(sd_G / np.sqrt(value_SG.shape[0]), shared_G)
    return Band(
        x=tuple(x_G.tolist()),
        mean=tuple(mean_G.tolist()),
        low=tuple((mean_G - half_G).tolist()),
        high=tuple((mean_G + half_G).tolist()),
    )


def critical_value(value_SG: FloatArray, alpha: float) -> float:
    """The c of the band: how many standard errors it reaches to each side; see the head of this file."""
    runs, points = value_SG.shape
    degrees = runs - 1
    bonferroni = float(special.stdtrit(degrees, 1 - alpha / (2 * points)))
    length = _path_length(value_SG)

    def excess(c: float) -> float:
        tube = length / np.pi * (1 + c**2 / degrees) ** (-degrees / 2)
        return float(2 * special.stdtr(degrees, -c) + tube - alpha)

    if excess(bonferroni) >= 0:
        return bonferroni
    return float(optimize.brentq(excess, 0.0, bonferroni, xtol=1e-10))


def _path_length(value_SG: FloatArray) -> float:
    """Sum of the angles between the residual vectors of neighbouring grid points; points without spread are skipped."""
    residual_SG = value_SG - value_SG.mean(axis=0)
    norm_G = np.sqrt((residual_SG**2).sum(axis=0))
    spread_G = norm_G > _SAME * np.abs(value_SG).max(axis=0)
    unit_SG = residual_SG[:, spread_G] / norm_G[spread_G]
    cosine = np.clip((unit_SG[:, 1:] * unit_SG[:, :-1]).sum(axis=0), -1.0, 1.0)
    return float(np.arccos(cosine).sum())
