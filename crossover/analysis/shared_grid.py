"""Runs on one grid: where all were measured, and between checkpoints with a bound on the error made there.

A run that lacks a place of the grid is interpolated by the cubic through its four nearest checkpoints in log x. How far
that lies from a straight line says how much the curve bends there; averaged over runs, so that noise cancels, it bounds
the error of the cubic, and every test and interval is widened by it.

Shapes: S runs or seed pairs, G points of the grid, P points of one run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossover.analysis.analysis_plan import Axis
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.curves import Curve, CurveKey, Paired, complete_seeds

BEYOND = 0.5
"""A run is continued beyond its ends by so many of the gap between its last two checkpoints."""
SAME_PLACE = 0.1
"""Checkpoints closer than this share of the gap between two count as measured at one place."""
_STENCIL = 4


@dataclass(frozen=True)
class OnGrid:
    """Runs at the places of a grid."""

    value_SG: FloatArray
    error_SG: FloatArray
    """Monte Carlo standard errors; unknown ones are 0."""
    bend_SG: FloatArray
    """Straight line minus value: 0 at a checkpoint, infinite where a run has too few points to see a bend."""

    def curves(self, x_G: FloatArray) -> list[Curve]:
        """The runs as if they had been measured at these places."""
        rows = zip(self.value_SG, self.error_SG, self.bend_SG, strict=True)
        return [Curve(x_G, value_G, error_G, bend_G) for value_G, error_G, bend_G in rows]


def shared_grid(arms: Sequence[Sequence[Curve]], axis: Axis) -> FloatArray:
    """The places that all runs are compared at.

    The places that every arm was planned to be measured at, when these are at least half of those of the arm with
    fewest; else the places of that arm, where the denser ones are interpolated. A place belongs to an arm's schedule
    if half of its runs have it; on seconds, where no two runs agree, the schedule is that of one run.

    Args:
        arms: the runs of each arm, each with a point.
        axis: what they stand on.

    Returns:
        x_G, strictly rising; only places that every run reaches. Empty when there is none.
    """
    if not arms or any(not runs or any(not c.x_P.size for c in runs) for runs in arms):
        return np.empty(0)
    low, high = zip(*(reach(curve) for runs in arms for curve in runs), strict=True)
    schedules = [_schedule(runs, axis, max(low), min(high)) for runs in arms]
    fewest = min(schedules, key=len)
    shared = fewest
    for schedule in schedules:
        shared = shared[_has(schedule, shared)]
    return shared if shared.size and 2 * shared.size >= fewest.size else fewest


def _has(schedule: FloatArray, x_G: FloatArray) -> NDArray[np.bool_]:
    """Which places a schedule has, but for a tenth of the gap to the next place."""
    log_P, log_G = np.log(schedule), np.log(x_G)
    if log_P.size < 2:
        return np.isin(x_G, schedule)
    after_G = np.clip(np.searchsorted(log_P, log_G), 1, log_P.size - 1)
    gap_G = log_P[after_G] - log_P[after_G - 1]
    distance_G = np.minimum(np.abs(log_P[after_G] - log_G), np.abs(log_G - log_P[after_G - 1]))
    return np.asarray(distance_G <= SAME_PLACE * gap_G)


def reach(curve: Curve) -> tuple[float, float]:
    """From where to where a run has values, continued a little beyond its ends."""
    x_P = curve.x_P
    if x_P.size < 2:
        return float(x_P[0]), float(x_P[-1])
    return float(x_P[0] * (x_P[0] / x_P[1]) ** BEYOND), float(x_P[-1] * (x_P[-1] / x_P[-2]) ** BEYOND)


def _schedule(runs: Sequence[Curve], axis: Axis, low: float, high: float) -> FloatArray:
    """The places of an arm in a range: those of half of its runs, or of the run with fewest where they disagree."""
    inside = [c.x_P[(c.x_P >= low) & (c.x_P <= high)] for c in runs]
    fewest = min(inside, key=len)
    if axis == "seconds":
        return fewest
    counts = Counter(x for x_P in inside for x in x_P.tolist())
    common = np.array(sorted(x for x, n in counts.items() if 2 * n >= len(runs)))
    return common if 2 * common.size > fewest.size else fewest


def on_grid(curves: Sequence[Curve], x_G: FloatArray) -> OnGrid:
    """Each run's values, errors and bends at the places of a grid that all of them reach."""
    log_G = np.log(x_G)
    values = [_on_grid(curve, log_G) for curve in curves]
    errors = [np.interp(log_G, np.log(c.x_P), np.nan_to_num(c.stderr_P, nan=0.0)) for c in curves]
    return OnGrid(np.stack([v for v, _ in values]), np.stack(errors), np.stack([b for _, b in values]))


def _on_grid(curve: Curve, log_G: FloatArray) -> tuple[FloatArray, FloatArray]:
    log_P, value_P = np.log(curve.x_P), curve.value_P
    value_G, bend_G = np.interp(log_G, log_P, value_P), np.zeros(log_G.size)
    nearest_G = np.clip(np.searchsorted(log_P, log_G), 0, log_P.size - 1)
    between = np.flatnonzero((log_P[nearest_G] != log_G) & (log_P[np.maximum(nearest_G - 1, 0)] != log_G))
    if not between.size:
        return value_G, bend_G if curve.bend_P is None else np.interp(log_G, log_P, curve.bend_P)
    if log_P.size < 3:
        bend_G[between] = np.inf
        return value_G, bend_G
    size = min(_STENCIL, log_P.size)
    first_E = np.clip(nearest_G[between] - size // 2, 0, log_P.size - size)
    index_EN = first_E[:, None] + np.arange(size)
    with np.errstate(divide="ignore", invalid="ignore"):  # checkpoints that no log tells apart
        curved_E = _lagrange(log_P[index_EN], value_P[index_EN], log_G[between])
    outside_E = (log_G[between] < log_P[0]) | (log_G[between] > log_P[-1])
    pair_E2 = np.where(log_G[between] < log_P[0], 0, log_P.size - 2)[:, None] + np.arange(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        line_E = np.where(outside_E, _lagrange(log_P[pair_E2], value_P[pair_E2], log_G[between]), value_G[between])
    known_E = np.isfinite(curved_E) & np.isfinite(line_E)
    value_G[between] = np.where(known_E, np.where(outside_E, line_E, curved_E), value_G[between])
    bend_G[between] = np.where(known_E, line_E - curved_E, np.inf)
    return value_G, bend_G


def _lagrange(node_EN: FloatArray, value_EN: FloatArray, place_E: FloatArray) -> FloatArray:
    """The polynomials through N nodes each, at one place each."""
    total_E = np.zeros(place_E.size)
    for i in range(node_EN.shape[1]):
        weight_E = np.ones(place_E.size)
        for j in range(node_EN.shape[1]):
            if i != j:
                weight_E *= (place_E - node_EN[:, j]) / (node_EN[:, i] - node_EN[:, j])
        total_E += weight_E * value_EN[:, i]
    return total_E


def pair_up(
    runs: Mapping[CurveKey, Curve],
    axis: Axis,
    baseline: str,
    candidate: str,
    span: tuple[float, float] | None = None,
) -> Paired | None:
    """Put the complete seed pairs on their grid.

    Args:
        runs: by (arm, seed).
        axis: what they stand on.
        baseline: the arm that is subtracted.
        candidate: the arm it is subtracted from.
        span: what windows are shares of; the range of the grid when absent.

    Returns:
        The pairs; None when there is no pair or no place that all reach.
    """
    seeds = complete_seeds(runs, baseline, candidate)
    sides = [[runs[arm, seed] for seed in seeds] for arm in (baseline, candidate)]
    x_G = shared_grid(sides, axis) if seeds else np.empty(0)
    if not x_G.size:
        return None
    one, other = (on_grid(side, x_G) for side in sides)
    known_SG = np.isfinite(one.bend_SG) & np.isfinite(other.bend_SG)
    return Paired(
        seeds=seeds,
        x_G=x_G,
        baseline_SG=one.value_SG,
        candidate_SG=other.value_SG,
        error_SG=np.hypot(one.error_SG, other.error_SG),
        bend_SG=np.subtract(other.bend_SG, one.bend_SG, where=known_SG, out=np.full(known_SG.shape, np.inf)),
        span=span or (float(x_G[0]), float(x_G[-1])),
    )
