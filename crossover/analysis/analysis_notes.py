"""Notes beside the verdicts: points left out, runs cut short, Monte Carlo error, arms and metrics not tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan, MetricPlan
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.curve_columns import Columns
from crossover.analysis.curves import Curve, CurveKey, Paired, dropped_points
from crossover.analysis.inference.window_tests import WindowTest
from crossover.analysis.run_coverage import Coverage

_LOUD_MONTE_CARLO = 0.5
_SHORT_RANGE = 0.8


def plan_notes(columns: Columns, plan: AnalysisPlan) -> list[str]:
    """Notes on what was not tested, and on how to read the p values and comparisons."""
    notes = []
    for noun, column, tested in (
        ("arm", columns.arm, {plan.baseline, plan.candidate}),
        ("metric", columns.metric, {metric.name for metric in plan.metrics}),
    ):
        others = sorted(set(np.unique(column).tolist()) - tested)
        if others:
            notes.append(f"Not tested, because the plan does not name it: {noun} {', '.join(others)}.")
    notes += _multiplicity(plan)
    if "best-so-far" in plan.comparisons:
        notes.append(
            "Best so far: the seeds of an arm are halved, and one half chooses the checkpoint that stands for each run "
            "of the other, among the places where both arms were measured. It is what early stopping gives on these "
            "held-out examples."
        )
    return notes


def _multiplicity(plan: AnalysisPlan) -> list[str]:
    """What Holm adjusts the p values over; empty for a single test."""
    metrics, axes = len(plan.metrics), len(plan.axes)
    comparison = "comparison and opponent" if plan.tuned else "comparison"
    if metrics * axes == 1:
        return []
    if plan.multiplicity == "none" or (plan.multiplicity == "metrics" and metrics == 1):
        return ["The p values are not adjusted over metrics and axes."]
    if plan.multiplicity == "metrics":
        adjusted, rest = f"{metrics} metrics within one axis and {comparison}", "Axes and comparisons"
    else:
        adjusted = f"{metrics * axes} tests, {metrics} metrics on {axes} axes, within one {comparison}"
        rest = "Comparisons"
    return [f"The p values are Holm-adjusted over {adjusted}. {rest} are views of the same runs and not adjusted for."]


def metric_notes(
    columns: Columns,
    metric: MetricPlan,
    plan: AnalysisPlan,
    *,
    runs: Mapping[CurveKey, Curve],
    paired: Paired | None,
    late: WindowTest | None,
    coverage: Coverage,
) -> list[str]:
    """Notes on one metric.

    Args:
        columns: all rows.
        metric: the metric.
        plan: the two arms.
        runs: its curves on the plan's first axis and comparison.
        paired: the same as pairs.
        late: the late window's test there.
        coverage: what became of its runs.

    Returns:
        Sentences, none when there is nothing to say.
    """
    notes = []
    for dropped in dropped_points(columns, metric.name, plan.axes):
        left_out = [f"{dropped.not_finite} not finite"] * bool(dropped.not_finite)
        left_out += [f"{dropped.at_zero} at zero, where a log axis has no place"] * bool(dropped.at_zero)
        notes.append(f"{metric.title}, arm {dropped.arm}: points left out: {', '.join(left_out)}.")
    notes += [f"{metric.title}: {note}" for note in coverage.notes]
    notes += _unpaired_seeds(metric, plan, runs, {run.seed for run in coverage.lost})
    if paired is not None:
        notes += _short_range(metric, plan, runs, paired)
    if paired is not None and late is not None:
        notes += _monte_carlo(metric, plan, runs, paired, late)
    return notes


def _unpaired_seeds(
    metric: MetricPlan, plan: AnalysisPlan, runs: Mapping[CurveKey, Curve], lost: set[int]
) -> list[str]:
    """Seeds that one arm was not run with. A run that failed before its first value looks the same."""
    baseline, candidate = (
        {seed for (arm, seed), curve in runs.items() if arm == name and curve.x_P.size}
        for name in (plan.baseline, plan.candidate)
    )
    alone = sorted((baseline ^ candidate) - lost)
    if not alone:
        return []
    return [f"{metric.title}: seeds with one arm only, not used: {', '.join(map(str, alone))}."]


def _short_range(metric: MetricPlan, plan: AnalysisPlan, runs: Mapping[CurveKey, Curve], paired: Paired) -> list[str]:
    """A note when the pairs share less than four fifths of the log range that a typical run of them covers."""
    curves = _of_pairs(plan, runs, paired)
    starts, ends = ({key: float(np.log(c.x_P[i])) for key, c in curves.items()} for i in (0, -1))
    typical = float(np.median([ends[key] - starts[key] for key in curves]))
    shared = float(np.log(paired.x_G[-1]) - np.log(paired.x_G[0]))
    if shared >= _SHORT_RANGE * typical:
        return []
    (late, at), (early, until) = max(starts, key=starts.__getitem__), min(ends, key=ends.__getitem__)
    return [
        f"{metric.title}: the runs share {100 * shared / typical:.0f} % of the log range of {plan.axes[0]} that a "
        f"typical run covers; the last to begin is {arm_label(late)} seed {at}, the first to end {arm_label(early)} "
        f"seed {until}."
    ]


def _monte_carlo(
    metric: MetricPlan, plan: AnalysisPlan, runs: Mapping[CurveKey, Curve], paired: Paired, late: WindowTest
) -> list[str]:
    """A note when the measurement's own error is more than half of the spread between seed pairs."""
    curves = _of_pairs(plan, runs, paired)
    squares = [
        _late_variance([curves[arm, seed] for arm in (plan.baseline, plan.candidate)], late) for seed in paired.seeds
    ]
    error = float(np.mean(np.sqrt(squares)))
    if error <= _LOUD_MONTE_CARLO * late.sd:
        return []
    amount = f"{error:.2g} {metric.unit}".rstrip()
    return [
        f"{metric.title}: the Monte Carlo standard error of a late difference ({amount}) is more than half of the "
        f"standard deviation between seed pairs ({late.sd:.2g}); more draws would sharpen it."
    ]


def _late_variance(pair: Sequence[Curve], late: WindowTest) -> float:
    """Mean Monte Carlo variance of a pair's difference at a point of the late window; unknown errors count as zero."""
    total = 0.0
    for curve in pair:
        stderr = curve.stderr_P[(curve.x_P >= late.low) & (curve.x_P <= late.high) & np.isfinite(curve.stderr_P)]
        total += float(np.mean(stderr**2)) if stderr.size else 0.0
    return total


def _of_pairs(plan: AnalysisPlan, runs: Mapping[CurveKey, Curve], paired: Paired) -> dict[CurveKey, Curve]:
    return {(arm, seed): runs[arm, seed] for arm in (plan.baseline, plan.candidate) for seed in paired.seeds}
