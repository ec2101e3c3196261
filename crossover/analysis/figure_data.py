"""What a report draws and tabulates: seed curves, mean bands, and a row for each arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import ArmSummary, Band, Figure, SeedCurve
from crossover.analysis.best_checkpoints import running_best
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.curves import Curve, CurveKey, Paired
from crossover.analysis.inference.confidence_bands import mean_band
from crossover.analysis.shared_grid import on_grid, shared_grid


def figure(
    runs: Mapping[CurveKey, Curve],
    paired: Paired | None,
    *,
    metric: MetricPlan,
    plan: AnalysisPlan,
    axis: Axis,
    comparison: Comparison,
    left_out: Mapping[CurveKey, Curve],
) -> Figure:
    """All that one figure needs; every arm that was measured is in it, compared or not.

    Args:
        runs: curves of the comparison; for `best-so-far` they are running bests.
        paired: the two compared arms on their grid; None when there is none.
        metric: what the curves show.
        plan: alpha, and the arms compared.
        axis: what x is.
        comparison: which comparison the curves belong to.
        left_out: runs that are drawn and not compared.

    Returns:
        The figure. A band of one run has no width; a missing standard error is 0.
    """
    used = {key: curve for key, curve in runs.items() if curve.x_P.size}
    difference = None
    if paired is not None and len(paired.seeds) > 1:
        difference = mean_band(paired.x_G, paired.difference_SG, plan.alpha, paired.error_SG)
    return Figure(
        metric=metric.name,
        axis=axis,
        comparison=comparison,
        seeds=tuple(_seed_curve(*key, curve) for key, curve in sorted({**used, **left_out}.items()) if curve.x_P.size),
        arms=_arm_bands(used, axis, plan.alpha),
        difference=difference,
    )


def _seed_curve(arm: str, seed: int, curve: Curve) -> SeedCurve:
    stderr: FloatArray = np.nan_to_num(curve.stderr_P, nan=0.0, posinf=0.0)
    return SeedCurve(
        arm=arm,
        seed=seed,
        x=tuple(curve.x_P.tolist()),
        value=tuple(curve.value_P.tolist()),
        stderr=tuple(stderr.tolist()),
    )


def _arm_bands(runs: Mapping[CurveKey, Curve], axis: Axis, alpha: float) -> dict[str, Band]:
    """Each arm's mean band on the grid that its own runs share; arms whose runs share no range are left out."""
    bands = {}
    for arm in sorted({arm for arm, _ in runs}):
        curves = [curve for (name, _), curve in runs.items() if name == arm]
        x_G = shared_grid([curves], axis)
        if x_G.size:
            there = on_grid(curves, x_G)
            bands[arm] = mean_band(x_G, there.value_SG, alpha, there.error_SG)
    return bands


def summaries(runs: Mapping[CurveKey, Curve], metric: MetricPlan, *, axis: Axis | None) -> tuple[ArmSummary, ...]:
    """A row for each arm that has a usable point.

    Args:
        runs: the metric's curves over epochs, or over tokens when the length of an epoch is unknown.
        metric: its direction.
        axis: of the curves, to place the best value on; None leaves the place out.

    Returns:
        Rows in order of arms.
    """
    rows = []
    for arm in sorted({arm for (arm, _), curve in runs.items() if curve.x_P.size}):
        curves = [curve for (name, _), curve in runs.items() if name == arm and curve.x_P.size]
        rows.append(_summary(arm, curves, metric, axis))
    return tuple(rows)


def _summary(arm: str, curves: Sequence[Curve], metric: MetricPlan, axis: Axis | None) -> ArmSummary:
    best = [running_best(curve, metric).value_P[-1] for curve in curves]
    at = [curve.x_P[int(np.argmax(curve.value_P == value))] for curve, value in zip(curves, best, strict=True)]
    final = np.array([curve.value_P[-1] for curve in curves])
    return ArmSummary(
        metric=metric.name,
        arm=arm,
        seeds=len(curves),
        best_mean=float(np.mean(best)),
        best_at_epoch=float(np.median(at)) if axis == "epochs" else None,
        best_at_tokens=float(np.median(at)) if axis == "tokens" else None,
        final_mean=float(final.mean()),
        final_sd=float(final.std(ddof=1)) if len(curves) > 1 else 0.0,
    )
