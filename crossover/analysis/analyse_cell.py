"""The analysis of one cell: curves and a plan in, verdicts, figures and notes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crossover.analysis.analysis_notes import metric_notes, plan_notes
from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import Analysis, ArmSummary, Figure, Verdict
from crossover.analysis.best_checkpoints import best_checkpoints, with_equal_looks
from crossover.analysis.chain_rule import chain_rule_agrees
from crossover.analysis.contrast_verdicts import Confirmed, judge_contrasts
from crossover.analysis.contrasts import Contrast, RunsOf, gather_contrast
from crossover.analysis.curve_columns import Columns, read_columns
from crossover.analysis.curves import Curve, CurveKey, complete_seeds, runs_of
from crossover.analysis.figure_data import figure, summaries
from crossover.analysis.inference.item_tests import ItemTable, item_tests
from crossover.analysis.run_coverage import Coverage, cover
from crossover.errors import CurvesError

GetRuns = Callable[[MetricPlan, Axis, Comparison], RunsOf]
"""The curves of a metric on an axis for a comparison."""
METHOD = "early-late-iut/4"


def analyse(
    curves: Any,  # noqa: ANN401 - any table that gives a column by name
    plan: AnalysisPlan,
    *,
    unique_tokens: int | None = None,
    notes: Sequence[str] = (),
    items: Sequence[ItemTable] = (),
) -> Analysis:
    """Test whether the plan's two arms cross on the curves of one cell, and locate the crossing.

    The unit of evidence is the seed pair: both arms run with one seed. A crossing must show as opposite signs of the
    mean difference in an early and a late window that were fixed beforehand (intersection-union t test, both
    directions, Holm over metrics and axes); `verdict.decide` has the rules, `crossing.locate` the place. With
    tuned arms in the plan every contrast is judged a second time, against the best of them.

    Args:
        curves: one row per point, with columns `arm, seed, tokens, flops, seconds, metric, value, stderr`: a dict of
            columns, a pandas DataFrame, a pyarrow Table. `stderr` is the Monte Carlo error of a value; it may be NaN
            or absent, `flops` and `seconds` absent when the plan does not ask for them. Rows may be in any order.
            Arms and metrics beyond the plan's are drawn and noted, not tested.
        plan: metrics, axes, comparisons, arms, windows, alpha. Its comparison `frontier` is for several model sizes:
            `across.frontier.analyse_frontier`.
        unique_tokens: tokens in one epoch; needed when the plan asks for the axis `epochs`.
        notes: put first in the notes of the result.
        items: per-item scores of tasks, tested over seed pairs and clusters of items.

    Returns:
        The analysis: deterministic, the same to the byte for the same rows and plan.

    Raises:
        CurvesError: the table is malformed; says the column and the remedy.
    """
    comparisons = tuple(c for c in plan.comparisons if c != "frontier")
    if not comparisons:
        raise CurvesError(
            "curves.frontier",
            field="comparisons",
            problem="'frontier' compares model sizes, and these are the curves of one",
            remedy="add 'matched' or 'best-so-far' to the plan's comparisons",
        )
    columns = read_columns(curves, plan, unique_tokens)

    coverages = {metric.name: cover(columns, metric.name, plan) for metric in plan.metrics}

    def runs(metric: MetricPlan, axis: Axis, comparison: Comparison) -> RunsOf:
        kept = coverages[metric.name].kept(runs_of(columns, metric.name, axis))
        if comparison == "matched":
            return kept
        equal = with_equal_looks(kept, (plan.baseline, plan.candidate, *plan.tuned), axis)
        return best_checkpoints({key: [curve] for key, curve in equal.items()}, metric)

    def left_out(metric: MetricPlan, axis: Axis, comparison: Comparison) -> dict[CurveKey, Curve]:
        lost = {(run.arm, run.seed) for run in coverages[metric.name].lost} if comparison == "matched" else set()
        return {key: curve for key, curve in runs_of(columns, metric.name, axis).items() if key in lost}

    verdicts, figures, contrasts = judge_all_contrasts(
        runs,
        plan.model_copy(update={"comparisons": comparisons}),
        coverages=coverages,
        left_out=left_out,
        confirmed=lambda contrast: chain_rule_agrees(columns, plan, contrast),
    )
    return Analysis(
        method=METHOD,
        plan=plan,
        seeds=_seeds(columns, plan),
        verdicts=verdicts,
        figures=figures,
        summaries=_summaries(columns, plan),
        items=item_tests(items, plan),
        notes=(*notes, *plan_notes(columns, plan), *_metric_notes(columns, plan, contrasts)),
    )


def judge_all_contrasts(
    runs: GetRuns,
    plan: AnalysisPlan,
    *,
    coverages: Mapping[str, Coverage] | None = None,
    left_out: GetRuns = lambda metric, axis, comparison: {},
    confirmed: Confirmed = lambda contrast: False,
) -> tuple[tuple[Verdict, ...], tuple[Figure, ...], list[Contrast]]:
    """Judge every contrast of the plan, against the default baseline and then against the best tuned one.

    Args:
        runs: gives the curves of a metric on an axis for a comparison.
        plan: the metrics, axes, comparisons and arms.
        coverages: metric to what became of its runs; nothing was lost when absent.
        left_out: gives the curves that are drawn and not compared.
        confirmed: whether an exact measure confirms a winner over an upper bound.

    Returns:
        Verdicts by metric, opponent, axis and comparison; figures by metric, axis and comparison; the contrasts.
    """
    verdicts: list[Verdict] = []
    figures: list[Figure] = []
    contrasts: list[Contrast] = []
    for tuned in (False, True)[: 1 + bool(plan.tuned)]:
        for comparison in plan.comparisons:
            group = [
                gather_contrast(
                    runs(metric, axis, comparison),
                    metric,
                    plan,
                    axis,
                    comparison,
                    coverage=(coverages or {}).get(metric.name),
                    lost_runs=left_out(metric, axis, "matched"),
                    tuned=tuned,
                )
                for axis in plan.axes
                for metric in plan.metrics
            ]
            for family in _families(group, plan):
                verdicts += judge_contrasts(family, plan, confirmed)
            if not tuned:
                figures += [_figure(q, plan, left_out(q.metric, q.axis, q.comparison)) for q in group]
            contrasts += group
    rank = {name: i for i, name in enumerate((*(m.name for m in plan.metrics), *plan.axes, *plan.comparisons))}
    verdicts.sort(key=lambda v: (rank[v.metric], v.baseline != plan.baseline, rank[v.axis], rank[v.comparison]))
    figures.sort(key=lambda f: (rank[f.metric], rank[f.axis], rank[f.comparison]))
    return tuple(verdicts), tuple(figures), contrasts


def _families(group: Sequence[Contrast], plan: AnalysisPlan) -> list[list[Contrast]]:
    """The contrasts of one comparison and opponent, in the groups that Holm adjusts over."""
    if plan.multiplicity == "none":
        return [[contrast] for contrast in group]
    if plan.multiplicity == "metrics":
        return [[contrast for contrast in group if contrast.axis == axis] for axis in plan.axes]
    return [list(group)]


def _figure(contrast: Contrast, plan: AnalysisPlan, left_out: RunsOf) -> Figure:
    return figure(
        contrast.runs,
        contrast.paired,
        metric=contrast.metric,
        plan=plan,
        axis=contrast.axis,
        comparison=contrast.comparison,
        left_out=left_out,
    )


def _seeds(columns: Columns, plan: AnalysisPlan) -> tuple[int, ...]:
    return complete_seeds(runs_of(columns, plan.metrics[0].name, "tokens"), plan.baseline, plan.candidate)


def _summaries(columns: Columns, plan: AnalysisPlan) -> tuple[ArmSummary, ...]:
    axis: Axis = "epochs" if "epochs" in columns.x else "tokens"
    return tuple(
        row for metric in plan.metrics for row in summaries(runs_of(columns, metric.name, axis), metric, axis=axis)
    )


def _metric_notes(columns: Columns, plan: AnalysisPlan, contrasts: Sequence[Contrast]) -> list[str]:
    """Notes on each metric, from its first axis and comparison."""
    first = {
        q.metric.name: q
        for q in reversed(contrasts)
        if (q.axis, q.comparison, q.baseline) == (plan.axes[0], contrasts[0].comparison, plan.baseline)
    }
    notes: list[str] = []
    for metric in plan.metrics:
        contrast = first[metric.name]
        notes += metric_notes(
            columns,
            metric,
            plan,
            runs=contrast.runs,
            paired=contrast.paired,
            late=contrast.evidence.late,
            coverage=contrast.coverage,
        )
    return notes
