"""The frontier over model sizes: the best that any model has reached for so many FLOPs, seconds or epochs (Pareto).

This is the crossing of Prabhudesai et al. (arXiv 2507.15857): with C FLOPs to spend, and free choice of the size, which
family is better? The curves of one seed under all models become one curve; the rest is the same test as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossover.analysis.analyse_cell import METHOD, judge_all_contrasts
from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import Analysis
from crossover.analysis.curve_columns import read_columns
from crossover.analysis.curves import Curve, CurveKey, best_so_far, runs_of
from crossover.analysis.figure_data import summaries


def analyse_frontier(
    curves: Mapping[str, Any], plan: AnalysisPlan, *, unique_tokens: int | None = None, notes: Sequence[str] = ()
) -> Analysis | None:
    """Compare the frontiers of the plan's arms over model sizes.

    Args:
        curves: model's name to its table of curves, all of one budget of unique tokens; columns as `analyse` takes.
        plan: metrics, axes, arms, windows, alpha.
        unique_tokens: tokens in one epoch; needed when the plan asks for the axis `epochs`.
        notes: put first in the notes.

    Returns:
        An analysis whose one comparison is `frontier`; None with fewer than two models. A seed counts for an arm if it
        was run with every model, so that no frontier has more tries than another.

    Raises:
        CurvesError: a table is malformed.
    """
    if len(curves) < 2:
        return None
    frontier_plan = plan.model_copy(update={"comparisons": ("frontier",)})
    tables = {model: read_columns(table, frontier_plan, unique_tokens) for model, table in curves.items()}

    def runs(metric: MetricPlan, axis: Axis, _: Comparison) -> dict[CurveKey, Curve]:
        return frontier_curves([runs_of(columns, metric.name, axis) for columns in tables.values()], metric)

    verdicts, figures, contrasts = judge_all_contrasts(runs, frontier_plan)
    primary = contrasts[0]
    return Analysis(
        method=METHOD,
        plan=frontier_plan,
        seeds=primary.paired.seeds if primary.paired else (),
        verdicts=verdicts,
        figures=figures,
        summaries=tuple(
            row for m in plan.metrics for row in summaries(runs(m, plan.axes[0], "frontier"), m, axis=None)
        ),
        notes=(
            *notes,
            f"Frontier over {len(curves)} models: {', '.join(curves)}. Each seed's best value so far over all of them.",
        ),
    )


def frontier_curves(models: Sequence[Mapping[CurveKey, Curve]], metric: MetricPlan) -> dict[CurveKey, Curve]:
    """One curve for each (arm, seed) that every model has: the best of all models until each measured place.

    Args:
        models: for each model its runs.
        metric: its direction.

    Returns:
        Curves over the union of the measured places, from where the first model begins.
    """
    shared = [key for key in models[0] if all(key in runs and runs[key].x_P.size for runs in models)]
    return {key: _frontier([runs[key] for runs in models], metric) for key in shared}


def _frontier(curves: Sequence[Curve], metric: MetricPlan) -> Curve:
    x_P = np.concatenate([curve.x_P for curve in curves])
    order = np.lexsort((np.concatenate([_cost(curve, metric) for curve in curves]), x_P))
    first = np.r_[True, np.diff(x_P[order]) > 0]
    kept = order[first]
    merged = Curve(
        x_P[kept],
        np.concatenate([curve.value_P for curve in curves])[kept],
        np.concatenate([curve.stderr_P for curve in curves])[kept],
    )
    return best_so_far(merged, metric)


def _cost(curve: Curve, metric: MetricPlan) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return curve.value_P if metric.direction == "lower" else -curve.value_P
