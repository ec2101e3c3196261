"""Runs as curves over an axis: points that cannot be used left out and counted; seed pairs on one grid.

Shapes: S runs or seed pairs, G points of the common grid, P points of one run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossover.analysis.analysis_plan import Axis
from crossover.analysis.curve_columns import Columns, FloatArray

LARGEST = 1e100
"""A value beyond this has diverged and counts as not finite: its square would overflow."""
CurveKey = tuple[str, int]
"""(arm, seed)."""


@dataclass(frozen=True)
class Curve:
    """One run on one metric and one axis: x_P rises strictly and is positive; values are finite; stderr may be NaN."""

    x_P: FloatArray
    value_P: FloatArray
    stderr_P: FloatArray
    bend_P: FloatArray | None = None
    """By how much straight lines between checkpoints would change interpolated values; None where none are."""


@dataclass(frozen=True)
class Paired:
    """Both arms of the complete seed pairs on one grid, in the metric's unit."""

    seeds: tuple[int, ...]
    x_G: FloatArray
    baseline_SG: FloatArray
    candidate_SG: FloatArray
    error_SG: FloatArray
    """Monte Carlo standard error of the difference; what is not known counts as 0."""
    bend_SG: FloatArray
    """By how much straight lines between checkpoints would change the difference; 0 where both arms were measured."""
    span: tuple[float, float]
    """The stretch of the axis that windows are shares of."""

    @property
    def difference_SG(self) -> FloatArray:
        """Candidate minus baseline."""
        return self.candidate_SG - self.baseline_SG


@dataclass(frozen=True)
class Dropped:
    """Points of one metric that could not be used."""

    arm: str
    not_finite: int
    at_zero: int


def runs_of(columns: Columns, metric: str, axis: Axis) -> dict[CurveKey, Curve]:
    """Every run's curve of a metric on an axis; runs without a usable point are there, empty.

    Args:
        columns: sorted rows.
        metric: the metric's name.
        axis: where to place the points. Points at x = 0 have no place on a log axis and are left out, as are values
            that are not finite. Of points at one x (a coarse clock) the last counts.

    Returns:
        (arm, seed) to its curve, in order of arms and seeds.
    """
    rows = np.flatnonzero(columns.metric == metric)
    arms, seeds = columns.arm[rows], columns.seed[rows]
    starts = np.flatnonzero(np.r_[True, (arms[1:] != arms[:-1]) | (seeds[1:] != seeds[:-1])])
    return {
        (str(columns.arm[i[0]]), int(columns.seed[i[0]])): _curve(columns, i, axis) for i in np.split(rows, starts[1:])
    }


def _curve(columns: Columns, rows: NDArray[np.intp], axis: Axis) -> Curve:
    x, value = columns.x[axis][rows], columns.value[rows]
    kept = rows[_usable(value) & np.isfinite(x) & (x > 0)]
    x = columns.x[axis][kept]
    kept = kept[np.r_[x[1:] > x[:-1], True]] if kept.size else kept
    stderr_P = columns.stderr[kept]
    return Curve(columns.x[axis][kept], columns.value[kept], np.where(_usable(stderr_P), stderr_P, np.nan))


def _usable(value: FloatArray) -> NDArray[np.bool_]:
    return np.asarray(np.abs(value) < LARGEST)


def dropped_points(columns: Columns, metric: str, axes: Sequence[Axis]) -> tuple[Dropped, ...]:
    """How many points of a metric are unusable, per arm that has any: not finite, or at zero on one of the axes."""
    counts = []
    of_metric = columns.metric == metric
    for arm in np.unique(columns.arm[of_metric]).tolist():
        rows = of_metric & (columns.arm == arm)
        finite = _usable(columns.value[rows])
        at_zero = np.zeros(finite.size, dtype=bool)
        for axis in axes:
            finite &= np.isfinite(columns.x[axis][rows])
            at_zero |= columns.x[axis][rows] == 0
        counts.append(Dropped(arm, int(np.sum(~finite)), int(np.sum(finite & at_zero))))
    return tuple(c for c in counts if c.not_finite or c.at_zero)


def complete_seeds(runs: Mapping[CurveKey, Curve], baseline: str, candidate: str) -> tuple[int, ...]:
    """Seeds that both arms have with a usable point, sorted."""
    having = [
        {seed for (arm, seed), curve in runs.items() if arm == name and curve.x_P.size}
        for name in (baseline, candidate)
    ]
    return tuple(sorted(having[0] & having[1]))
