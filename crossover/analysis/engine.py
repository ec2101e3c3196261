"""The whole analysis of one cell: curves and a plan in, verdicts, figures and notes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossover.analysis.columns import Columns, read_columns
from crossover.analysis.curves import (
    Curve,
    Paired,
    RunKey,
    compared,
    complete_seeds,
    pair_up,
    runs_of,
)
from crossover.analysis.figures import figure, summaries
from crossover.analysis.inference.power import further_pairs
from crossover.analysis.inference.verdict import Evidence, PValues, decide, gather, scale_of, too_few
from crossover.analysis.inference.windows import WindowTest, holm
from crossover.analysis.notes import metric_notes, plan_notes
from crossover.analysis.plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.reasons import reason
from crossover.analysis.result import Analysis, ArmSummary, Figure, Verdict, Window

METHOD = "early-late-iut/1"


@dataclass(frozen=True)
class _Question:
    """One metric on one axis for one comparison, with its curves and its evidence."""

    metric: MetricPlan
    axis: Axis
    comparison: Comparison
    runs: Mapping[RunKey, Curve]
    paired: Paired | None
    evidence: Evidence


def analyse(
    curves: Any,  # noqa: ANN401 - any table that gives a column by name
    plan: AnalysisPlan,
    *,
    unique_tokens: int | None = None,
    notes: Sequence[str] = (),
) -> Analysis:
    """Say whether the plan's two arms cross, where, and how sure that is, on the curves of one cell.

    The unit of evidence is the seed pair: both arms run with one seed. A crossing must show as opposite signs of the
    mean difference in an early and a late window that were fixed beforehand (intersection-union t test, both
    directions, Holm over metrics per axis and comparison); `verdict.decide` has the rules, `crossing.locate` the place.

    Args:
        curves: one row per point, with columns `arm, seed, tokens, flops, seconds, metric, value, stderr`: a dict of
            columns, a pandas DataFrame, a pyarrow Table. `stderr` may be NaN or absent, `flops` and `seconds` absent
            when the plan does not ask for them. Rows may be in any order. Arms and metrics beyond the plan's are
            drawn and noted, not tested.
        plan: metrics, axes, comparisons, arms, windows, alpha.
        unique_tokens: tokens in one epoch; needed when the plan asks for the axis `epochs`.
        notes: put first in the notes of the result.

    Returns:
        The analysis: deterministic, the same to the byte for the same rows and plan.

    Raises:
        CurvesError: the table is malformed; says the column and the remedy.
    """
    columns = read_columns(curves, plan, unique_tokens)
    verdicts, figures, questions = [], [], []
    for axis in plan.axes:
        for comparison in plan.comparisons:
            family = [_question(columns, plan, metric, axis, comparison) for metric in plan.metrics]
            verdicts += _verdicts(family, plan)
            figures += [_figure(question, plan) for question in family]
            questions += family
    order = {metric.name: i for i, metric in enumerate(plan.metrics)}
    verdicts.sort(key=lambda v: order[v.metric])
    figures.sort(key=lambda f: order[f.metric])
    return Analysis(
        method=METHOD,
        plan=plan,
        seeds=_seeds(columns, plan),
        verdicts=tuple(verdicts),
        figures=tuple(figures),
        summaries=_summaries(columns, plan),
        notes=(*notes, *plan_notes(columns, plan), *_metric_notes(columns, plan, questions)),
    )


def _question(
    columns: Columns, plan: AnalysisPlan, metric: MetricPlan, axis: Axis, comparison: Comparison
) -> _Question:
    runs = compared(runs_of(columns, metric.name, axis), metric, comparison)
    paired = pair_up(runs, axis, plan.baseline, plan.candidate)
    if paired is None:
        none = np.empty((0, 0))
        pairs = len(complete_seeds(runs, plan.baseline, plan.candidate))
        evidence = Evidence(pairs, np.empty(0), none, problem=_unpaired(runs, plan, metric, axis))
    else:
        scale = scale_of(paired.baseline_SG, paired.candidate_SG)
        evidence = gather(paired.x_G, paired.difference_SG, metric, plan, scale=scale)
        if _constant(runs, plan):
            evidence = Evidence(
                evidence.pairs, evidence.x_G, evidence.difference_SG, problem=f"{metric.title} never changes in any run"
            )
    return _Question(metric, axis, comparison, runs, paired, evidence)


def _constant(runs: Mapping[RunKey, Curve], plan: AnalysisPlan) -> bool:
    of_plan = [c.value_P for (arm, _), c in runs.items() if arm in (plan.baseline, plan.candidate) and c.value_P.size]
    return len({value for values in of_plan for value in (values.min(), values.max())}) == 1


def _unpaired(runs: Mapping[RunKey, Curve], plan: AnalysisPlan, metric: MetricPlan, axis: Axis) -> str:
    """Why no seed pair can be compared."""
    seeds = {arm: sorted(s for (a, s), c in runs.items() if a == arm and c.x_P.size) for arm in _arms(plan)}
    for arm, having in seeds.items():
        if not having:
            return f"Arm {arm} has no usable point of {metric.title} on {axis}: every value is missing or not finite"
    if not complete_seeds(runs, plan.baseline, plan.candidate):
        listed = "; ".join(f"{arm} has {', '.join(map(str, having))}" for arm, having in seeds.items())
        return f"No seed was run in both arms ({listed}): {_lowered(too_few(0, plan.minimum_pairs))}"
    return f"The paired runs share no range of {axis}: one ends before another begins"


def _arms(plan: AnalysisPlan) -> tuple[str, str]:
    return plan.baseline, plan.candidate


def _lowered(text: str) -> str:
    return text[0].lower() + text[1:]


def _verdicts(family: Sequence[_Question], plan: AnalysisPlan) -> list[Verdict]:
    """Verdicts of all metrics on one axis and comparison: the family that Holm adjusts over."""
    adjusted = zip(
        holm([q.evidence.raw.crossover for q in family]),
        holm([q.evidence.raw.late for q in family]),
        holm([q.evidence.raw.same for q in family]),
        strict=True,
    )
    return [_verdict(question, PValues(*ps), plan) for question, ps in zip(family, adjusted, strict=True)]


def _verdict(question: _Question, adjusted: PValues, plan: AnalysisPlan) -> Verdict:
    evidence, metric = question.evidence, question.metric
    decision = decide(evidence, adjusted, metric, plan)
    further = None
    if decision.word == "insufficient evidence":
        further = further_pairs(
            evidence.early,
            evidence.late,
            delta=metric.delta,
            alpha=plan.alpha,
            minimum_pairs=plan.minimum_pairs,
        )
    return Verdict(
        metric=metric.name,
        axis=question.axis,
        comparison=question.comparison,
        baseline=plan.baseline,
        candidate=plan.candidate,
        word=decision.word,
        reason=reason(
            evidence,
            decision,
            adjusted,
            metric=metric,
            plan=plan,
            axis=question.axis,
            comparison=question.comparison,
            further=further,
        ),
        pairs=evidence.pairs,
        p_crossover=evidence.raw.crossover,
        p_adjusted=adjusted.crossover,
        early=_window(evidence.early, metric, plan),
        late=_window(evidence.late, metric, plan),
        crossing=decision.crossing,
        further_pairs=further,
        sign_changes=evidence.sign_changes,
    )


def _window(test: WindowTest | None, metric: MetricPlan, plan: AnalysisPlan) -> Window | None:
    if test is None:
        return None
    better, worse = test.p_negative, test.p_positive
    if metric.direction == "higher":
        better, worse = worse, better
    return Window(
        low=test.low,
        high=test.high,
        mean=test.mean,
        interval=test.interval(plan.alpha),
        p_candidate_better=better,
        p_baseline_better=worse,
        per_seed=tuple(test.per_seed_S.tolist()),
    )


def _figure(question: _Question, plan: AnalysisPlan) -> Figure:
    return figure(
        question.runs,
        question.paired,
        metric=question.metric,
        plan=plan,
        axis=question.axis,
        comparison=question.comparison,
    )


def _seeds(columns: Columns, plan: AnalysisPlan) -> tuple[int, ...]:
    return complete_seeds(runs_of(columns, plan.metrics[0].name, "tokens"), plan.baseline, plan.candidate)


def _summaries(columns: Columns, plan: AnalysisPlan) -> tuple[ArmSummary, ...]:
    axis: Axis = "epochs" if "epochs" in columns.x else "tokens"
    return tuple(row for metric in plan.metrics for row in summaries(runs_of(columns, metric.name, axis), metric))


def _metric_notes(columns: Columns, plan: AnalysisPlan, questions: Sequence[_Question]) -> list[str]:
    """Notes on each metric, from its first axis and comparison."""
    first = {
        q.metric.name: q for q in reversed(questions) if (q.axis, q.comparison) == (plan.axes[0], plan.comparisons[0])
    }
    notes: list[str] = []
    for metric in plan.metrics:
        question = first[metric.name]
        notes += metric_notes(
            columns, metric, plan, runs=question.runs, paired=question.paired, late=question.evidence.late
        )
    return notes
