"""Early stopping without self-deception: a run's best checkpoint is chosen on other seeds of its arm.

A run's own running best is the smallest of many noisy values, so that it flatters the noisier arm and the one measured
more often. Here the seeds of an arm are halved, and the mean of one half chooses the checkpoint that stands for each
run of the other half until a place: no value has a part in its own choice. (To choose for each run on all other seeds
is no better than to choose on the mean of all: they mostly choose alike.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crossover.analysis.analysis_plan import MetricPlan
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.curves import Curve, CurveKey

_SMOOTHED = 3
"""The choosing half's mean is averaged over so many checkpoints, the last included."""


def best_checkpoints(runs: Mapping[CurveKey, Sequence[Curve]], metric: MetricPlan) -> dict[CurveKey, Curve]:
    """For each run, the value of the best checkpoint so far, chosen on the other half of the seeds.

    Args:
        runs: (arm, seed) to its curves: one, or one for each model size that it may choose among.
        metric: its direction.

    Returns:
        Curves over the places measured. An arm with one seed has nobody to choose for it: its own running best.
    """
    seeds = sorted({seed for _, seed in runs})
    half = {seed: i % 2 for i, seed in enumerate(seeds)}
    return {
        (arm, seed): _best_so_far(
            own,
            [
                curves
                for (a, s), curves in runs.items()
                if a == arm and half[s] != half[seed] and all(curve.x_P.size for curve in curves)
            ],
            metric,
        )
        for (arm, seed), own in runs.items()
    }


def running_best(curve: Curve, metric: MetricPlan) -> Curve:
    """The running best of one run by its own values; the standard error is the kept point's own."""
    return _best_so_far([curve], [], metric)


def _best_so_far(own: Sequence[Curve], others: Sequence[Sequence[Curve]], metric: MetricPlan) -> Curve:
    if not all(curve.x_P.size for curve in own):
        return Curve(np.empty(0), np.empty(0), np.empty(0))
    cost_P = np.concatenate([_cost(curve, [other[i] for other in others]) for i, curve in enumerate(own)])
    x_P, value_P, stderr_P = (
        np.concatenate([getattr(curve, name) for curve in own]) for name in ("x_P", "value_P", "stderr_P")
    )
    cost_P = cost_P if metric.direction == "lower" else -cost_P
    order = np.lexsort((cost_P, x_P))
    order = order[np.r_[True, np.diff(x_P[order]) > 0]]
    lowest_P = np.minimum.accumulate(cost_P[order])
    kept_P = np.maximum.accumulate(np.where(cost_P[order] == lowest_P, np.arange(order.size), 0))
    return Curve(x_P[order], value_P[order][kept_P], stderr_P[order][kept_P])


def _cost(curve: Curve, others: Sequence[Curve]) -> FloatArray:
    """What the choosing seeds say of each checkpoint of a run; the run itself where there are none."""
    if not others:
        return curve.value_P
    log_P = np.log(curve.x_P)
    mean_P = np.mean([np.interp(log_P, np.log(other.x_P), other.value_P) for other in others], axis=0)
    padded = np.pad(mean_P, (_SMOOTHED - 1, 0), mode="edge")
    return np.convolve(padded, np.full(_SMOOTHED, 1 / _SMOOTHED), mode="valid")
