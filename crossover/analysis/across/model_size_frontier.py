"""The frontier over model sizes: the best that any model has reached for so many FLOPs, seconds or epochs (Pareto).

This is the crossing of Prabhudesai et al. (arXiv 2507.15857): with C FLOPs to spend, and free choice of the size, which
family is better? The curves of one seed under all models become one curve; the rest is the same test as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossover.analysis.analyse_cell import METHOD, judge_all_contrasts
from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import Analysis
from crossover.analysis.best_checkpoints import best_checkpoints
from crossover.analysis.curve_columns import read_columns
from crossover.analysis.curves import Curve, CurveKey, runs_of
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
    """One curve for each (arm, seed) that every model has: the best of all models so far, chosen on the other seeds.

    Args:
        models: for each model its runs.
        metric: its direction.

    Returns:
        Curves over the union of the measured places, from where the first model begins.
    """
    shared = [key for key in models[0] if all(key in runs and runs[key].x_P.size for runs in models)]
    return best_checkpoints({key: [runs[key] for runs in models] for key in shared}, metric)
