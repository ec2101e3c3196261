"""Early stopping without self-deception: a run's best checkpoint is chosen on other seeds of its arm.

A run's own running best is the smallest of many noisy values, so that it flatters the noisier arm and the one measured
more often. Here the seeds of an arm are halved, and the mean of one half chooses the checkpoint that stands for each
run of the other half until a place: no value has a part in its own choice. (To choose for each run on all other seeds
is no better than to choose on the mean of all: they mostly choose alike.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crossover.analysis.analysis_plan import Axis, MetricPlan
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.curves import Curve, CurveKey
from crossover.analysis.shared_grid import on_grid, shared_grid


def best_checkpoints(runs: Mapping[CurveKey, Sequence[Curve]], metric: MetricPlan) -> dict[CurveKey, Curve]:
    """For each run, the value of the best checkpoint so far, chosen on the other half of the seeds.

    Args:
        runs: (arm, seed) to its curves: one, or one for each model size that it may choose among.
        metric: its direction.

    Returns:
        Curves over the places measured. An arm with one seed has nobody to choose for it: its own running best.
    """
    best: dict[CurveKey, Curve] = {}
    for arm in {arm: None for arm, _ in runs}:
        seeds = sorted(seed for a, seed in runs if a == arm and all(curve.x_P.size for curve in runs[a, seed]))
        halves = [[runs[arm, seed] for seed in seeds[i::2]] for i in (0, 1)]
        for a, seed in runs:
            if a == arm and seed not in seeds:
                best[a, seed] = Curve(np.empty(0), np.empty(0), np.empty(0))
        for i, seed in enumerate(seeds):
            best[arm, seed] = _best_so_far(runs[arm, seed], halves[1 - i % 2], halves[i % 2], metric)
    return {key: best[key] for key in runs}


def with_equal_looks(runs: Mapping[CurveKey, Curve], arms: Sequence[str], axis: Axis) -> dict[CurveKey, Curve]:
    """The runs of some arms at their shared places, so that none has more checkpoints to choose from than another."""
    keys = [[key for key, curve in runs.items() if key[0] == arm and curve.x_P.size] for arm in arms]
    keys = [of_arm for of_arm in keys if of_arm]
    x_G = shared_grid([[runs[key] for key in of_arm] for of_arm in keys], axis)
    if not x_G.size:
        return dict(runs)
    there = [zip(of_arm, on_grid([runs[k] for k in of_arm], x_G).curves(x_G), strict=True) for of_arm in keys]
    return {**runs, **{key: curve for pairs in there for key, curve in pairs}}


def running_best(curve: Curve, metric: MetricPlan) -> Curve:
    """The running best of one run by its own values; the standard error is the kept point's own."""
    if not curve.x_P.size:
        return curve
    return _best_so_far([curve], [], [], metric)


Runs = Sequence[Sequence[Curve]]
"""Runs, each with its curves."""


def _best_so_far(own: Sequence[Curve], choosing: Runs, chosen: Runs, metric: MetricPlan) -> Curve:
    """One run's curve at the checkpoints that one half of the seeds chooses for the other.

    The choice is common to the runs of a half, so that its error does not show in their spread: how much the two
    halves' choices differ in value, on all seeds, is added to the standard error that runs share.
    """
    x_P, value_P, stderr_P, bend_P = (np.concatenate(column) for column in zip(*map(_columns, own), strict=True))
    cost_P, other_P = (_cost(own, half, metric) for half in (choosing or [own], chosen or [own]))
    order = np.lexsort((cost_P, x_P))
    order = order[np.r_[True, np.diff(x_P[order]) > 0]]
    best_P, else_P = (order[_running_argmin(cost[order])] for cost in (cost_P, other_P))
    mean_P = (cost_P * len(choosing) + other_P * len(chosen)) / max(1, len(choosing) + len(chosen))
    apart_P = np.abs(mean_P[best_P] - mean_P[else_P]) / np.sqrt(2)
    error_P = np.where(apart_P > 0, np.hypot(np.nan_to_num(stderr_P[best_P]), apart_P), stderr_P[best_P])
    return Curve(x_P[order], value_P[best_P], error_P, bend_P[best_P])


def _columns(curve: Curve) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    bend_P = np.zeros(curve.x_P.size) if curve.bend_P is None else curve.bend_P
    return curve.x_P, curve.value_P, curve.stderr_P, bend_P


def _cost(own: Sequence[Curve], runs: Runs, metric: MetricPlan) -> FloatArray:
    """The mean of some runs at each checkpoint of one run; lower is better."""
    parts = []
    for i, curve in enumerate(own):
        log_P = np.log(curve.x_P)
        parts.append(np.mean([np.interp(log_P, np.log(run[i].x_P), run[i].value_P) for run in runs], axis=0))
    cost_P = np.concatenate(parts)
    return cost_P if metric.direction == "lower" else -cost_P


def _running_argmin(cost_P: FloatArray) -> NDArray[np.intp]:
    lowest_P = np.minimum.accumulate(cost_P)
    return np.maximum.accumulate(np.where(cost_P == lowest_P, np.arange(cost_P.size), 0))
