"""What to pretrain with U unique tokens, N parameters and C FLOPs: read off a cell that was run, or off the forecast.

At the end of the runs the plan's verdicts decide. At a budget before it, the interval of the pairs there, at the level
of the verdicts and for all budgets of the range at once. Nothing here is a further test.
"""

from __future__ import annotations

from collections.abc import Sequence

from crossover.analysis.across import next_experiments
from crossover.analysis.across.choice_at_budget import BudgetChoice, choice_at_budget
from crossover.analysis.across.choice_by_forecast import choice_by_forecast
from crossover.analysis.across.choice_by_verdicts import VerdictChoice, choice_by_verdicts, choice_of
from crossover.analysis.across.cross_cell_result import Advice, TrainedToEnd
from crossover.analysis.across.crossing_regression import AnalysedCell
from crossover.analysis.across.measured_range import MeasuredRange, measured_range, number_on, on_axis, place_words
from crossover.analysis.across.next_experiments import OpenHalf, Scope, StudyRuns, rate, with_experiments
from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison
from crossover.analysis.analysis_result import Analysis
from crossover.analysis.arm_labels import arm_label, outcome_label
from crossover.analysis.axis_text import axis_place
from crossover.analysis.further_words import further_words
from crossover.errors import StudyError

_WHEN: dict[Comparison, str] = {"best-so-far": "Stopped early", "matched": "Trained to the end"}


def advise_all(
    cells: Sequence[AnalysedCell],
    *,
    flops: float | None = None,
    epochs: float | None = None,
    study: StudyRuns | None = None,
    draws: int = 0,
) -> tuple[Advice, ...]:
    """Advice for every cell that was run, at a budget as of `advise`; at the end of its runs by default."""
    return tuple(
        advise(
            cells,
            unique_tokens=facts.unique_tokens,
            parameters=facts.parameters,
            quality=facts.quality,
            flops=flops,
            epochs=epochs,
            study=study,
            draws=draws,
        )
        for facts, _ in cells
    )


def advise(
    cells: Sequence[AnalysedCell],
    *,
    unique_tokens: int,
    parameters: int,
    quality: str = "",
    flops: float | None = None,
    epochs: float | None = None,
    study: StudyRuns | None = None,
    draws: int = 0,
) -> Advice:
    """Choose a family for a budget by the plan's primary metric, with early stopping and without if both were planned.

    Args:
        cells: what was run, with its analyses.
        unique_tokens: U.
        parameters: N, those used by a token.
        quality: tier of the data; the cells of other tiers are left aside.
        flops: C, training FLOPs of one run; None for the end of the runs.
        epochs: the budget in epochs, in place of `flops`.
        study: what all runs took, for the price of training them anew and the length of an optimizer step.
        draws: masks an example; 0 is not known.

    Returns:
        The choice with its reason, `cannot say` where it is not known, and the experiments that could change it.

    Raises:
        StudyError: the plan has no axis for this budget, or a cell that was not run gets less than one epoch.
    """
    cells = [cell for cell in cells if cell[0].quality == quality]
    here = next((c for c in cells if (c[0].unique_tokens, c[0].parameters) == (unique_tokens, parameters)), None)
    if here is None:
        if epochs is not None:
            flops = epochs * rate(cells) * parameters * unique_tokens
        return _of_other_cell(cells, unique_tokens, parameters, flops, epochs)
    facts, analysis = here
    scope = Scope(tuple(sorted({known.unique_tokens for known, _ in cells})), draws)
    axis, asked = _asked(analysis.plan, analysis.headline.axis, flops, epochs)
    known = measured_range(analysis, analysis.plan.metrics[0], axis)
    advice = Advice(
        unique_tokens=unique_tokens,
        parameters=parameters,
        quality=quality,
        flops=flops if epochs is None else max(on_axis(analysis, "epochs", epochs, "flops").values(), default=None),
        epochs=epochs,
        choose="cannot say",
        baseline=analysis.plan.baseline,
        candidate=analysis.plan.candidate,
        metric=analysis.plan.metrics[0].name,
        comparison=_comparisons(analysis.plan)[0],
        difference=None,
        interval=None,
        because="",
        cheapest="",
    )
    if asked is None or known is None or known.at_end(asked):
        return _by_verdicts(advice, analysis, _at_end_words(axis, asked, known), scope)
    if not known.holds(asked):
        return _not_tested(advice, analysis, axis, asked, known, study, facts.cell)
    return _by_interval(advice, analysis, axis, max(asked, known.start), scope)


def _at_end_words(axis: Axis, asked: float | None, known: MeasuredRange | None) -> list[str]:
    """That a budget which is not quite the end of the range is taken for it."""
    if asked is None or known is None or f"{asked:.3g}" == f"{known.end:.3g}":
        return []
    off = 100 * abs(asked / known.end - 1)
    return [f"{number_on(axis, asked)} is within {off:.1g} % of the end of the runs, {number_on(axis, known.end)}."]


def _asked(plan: AnalysisPlan, headline: Axis, flops: float | None, epochs: float | None) -> tuple[Axis, float | None]:
    axis: Axis = headline if flops is epochs is None else "flops" if epochs is None else "epochs"
    if axis not in plan.axes:
        raise StudyError(
            "advise.bad-budget",
            field=axis,
            problem=f"the study's analysis plan has no axis {axis}",
            remedy=f"leave it out, to ask for the end of the runs, or add {axis} to analysis.axes and analyse again",
        )
    return axis, flops if epochs is None else epochs


def _comparisons(plan: AnalysisPlan) -> tuple[Comparison, ...]:
    """With early stopping first."""
    wanted: tuple[Comparison, ...] = ("best-so-far", "matched")
    return tuple(comparison for comparison in wanted if comparison in plan.comparisons) or plan.comparisons[:1]


def _by_verdicts(advice: Advice, analysis: Analysis, place: list[str], scope: Scope) -> Advice:
    """At the end of the runs."""
    metric, axis = analysis.plan.metrics[0], analysis.headline.axis
    comparisons = _comparisons(analysis.plan)
    halves = [choice_by_verdicts(analysis, metric.name, axis, comparison) for comparison in comparisons]
    headline = VerdictChoice(choice_of(analysis, analysis.headline), analysis.headline)
    known = [half for half in halves if half is not None] or [headline]
    words = [
        (f"{_WHEN.get(v.comparison, 'By verdict')}, {outcome_label(v.outcome, v.baseline, v.candidate)}: {v.reason}")
        for _, v in known
    ]
    open_halves = [
        OpenHalf(v.comparison, choose, v.pairs, v.further_pairs, v.further_reach, v.drawn_pairs) for choose, v in known
    ]
    experiments = next_experiments.of_measured(analysis, axis, open_halves, None, scope, advice.unique_tokens)
    ends = [r.end for a in ("flops",) if (r := measured_range(analysis, metric, a)) is not None]
    early, *late = [
        TrainedToEnd(
            choose=choose,
            baseline=v.baseline,
            difference=v.late.mean if v.late else None,
            interval=v.late.interval if v.late else None,
        )
        for choose, v in known
    ]
    chosen = advice.model_copy(
        update=early.model_dump()
        | {
            "basis": "verdict",
            "flops": advice.flops if advice.epochs is not None else next(iter(ends), None),
            "trained_to_end": next(iter(late), None),
            "because": " ".join(
                (*place, *words, *_crossing_words(analysis), *_other_axes(analysis), *_look_words(analysis, known))
            ),
        }
    )
    return with_experiments(chosen, experiments)


def _look_words(analysis: Analysis, known: Sequence[VerdictChoice]) -> list[str]:
    """The planned look that is still to come, where an answer is open."""
    pairs = analysis.headline.pairs
    look = next((look for look in analysis.plan.looks if look > pairs), None)
    if look is None or all(choose != "cannot say" for choose, _ in known):
        return []
    return [f"A planned look is still to come, at {look} seed pairs."]


def _by_interval(advice: Advice, analysis: Analysis, axis: Axis, place: float, scope: Scope) -> Advice:
    """At a budget before the end of the runs."""
    metric = analysis.plan.metrics[0]
    halves: dict[Comparison, BudgetChoice] = {
        comparison: choice_at_budget(analysis, metric, axis, comparison, place)
        for comparison in _comparisons(analysis.plan)
    }
    open_halves = [OpenHalf(c, h.choose, h.pairs, h.further, None, h.drawn) for c, h in halves.items()]
    experiments = next_experiments.of_measured(analysis, axis, open_halves, place, scope, advice.unique_tokens)
    pairs = min(half.pairs for half in halves.values())
    when = {"best-so-far": "stopped early", "matched": "trained until there"}
    words = "; ".join(f"{when.get(c, c)}, {half.words}" for c, half in halves.items())
    because = (
        f"At {place_words(analysis, axis, place)}, with {pairs} seed pairs by {metric.title}, in intervals for all "
        f"budgets of the range at once at the level of the verdicts: {words}."
    )
    early, *late = [
        TrainedToEnd(choose=h.choose, baseline=h.arm, difference=h.difference, interval=h.interval)
        for h in halves.values()
    ]
    chosen = advice.model_copy(
        update=early.model_dump()
        | {
            "basis": "interval",
            "flops": place if axis == "flops" else advice.flops,
            "trained_to_end": next(iter(late), None),
            "because": " ".join((because, *_crossing_words(analysis))),
            "cheapest": f"None is known: {further_words(pairs, None, analysis.plan)}.",
        }
    )
    return with_experiments(chosen, experiments)


def _not_tested(
    advice: Advice,
    analysis: Analysis,
    axis: Axis,
    asked: float,
    known: MeasuredRange,
    study: StudyRuns | None,
    cell: str,
) -> Advice:
    """At a budget outside of the range."""
    measured = f"The runs were measured from {number_on(axis, known.start)} to {number_on(axis, known.end)}"
    steps = study.steps.get(cell, 0) if study else 0
    if steps and asked < known.end / steps:
        least = number_on(axis, known.end / steps)
        because = f"{number_on(axis, asked)} is less than one optimizer step, {least}."
        cheapest = f"None: the least budget is {least}."
        return advice.model_copy(update={"basis": "no budget", "because": because, "cheapest": cheapest})
    if asked < known.start:
        because = f"{measured}, and {place_words(analysis, axis, asked)} was not tested."
        experiment = next_experiments.before(analysis, axis, asked, study, steps)
    else:
        excess = asked / known.end - 1
        how_far = f"{100 * excess:.2g} % beyond the end" if excess < 1 else f"{1 + excess:.3g} times the end"
        because = f"{measured}, and {place_words(analysis, axis, asked)}, {how_far}, was not tested."
        experiment = next_experiments.beyond(analysis, axis, asked)
    return with_experiments(advice.model_copy(update={"basis": "not tested", "because": because}), [experiment])


def _of_other_cell(
    cells: Sequence[AnalysedCell], unique_tokens: int, parameters: int, flops: float | None, epochs: float | None
) -> Advice:
    plan = cells[0][1].plan
    choice = choice_by_forecast(cells, plan.metrics[0], unique_tokens, parameters, flops, epochs)
    experiments = next_experiments.of_other_cell(cells, unique_tokens, parameters, flops, crossed=choice.crossed)
    advice = Advice(
        unique_tokens=unique_tokens,
        parameters=parameters,
        quality=cells[0][0].quality,
        flops=flops,
        epochs=epochs,
        basis="not tested" if choice.choose == "cannot say" else "forecast",
        choose=choice.choose,
        baseline=plan.baseline,
        candidate=plan.candidate,
        metric=plan.metrics[0].name,
        comparison="matched",
        difference=None,
        interval=None,
        because=choice.because,
        cheapest="",
    )
    return with_experiments(advice, experiments)


def _crossing_words(analysis: Analysis) -> list[str]:
    """Where the curves cross if runs are trained on, in epochs and FLOPs, with intervals."""
    metric = analysis.plan.metrics[0].name
    axes: tuple[Axis, ...] = (
        ("epochs", "flops") if {"epochs", "flops"} & {*analysis.plan.axes} else analysis.plan.axes[:1]
    )
    places = []
    for axis in axes:
        found = choice_by_verdicts(analysis, metric, axis, "matched")
        if found is not None and found.verdict.crossing is not None:
            crossing = found.verdict.crossing
            low, high = ("unbounded" if end is None else f"{end:.3g}" for end in (crossing.low, crossing.high))
            places.append(f"{axis_place(axis, crossing.at)} ({low} to {high})")
    return [f"Trained on without stopping, the curves cross at {' and '.join(places)}."] if places else []


def _other_axes(analysis: Analysis) -> list[str]:
    """Where the same question, counted on another axis, has another answer."""
    metric, words = analysis.plan.metrics[0].name, []
    for axis in analysis.plan.axes:
        for comparison in _comparisons(analysis.plan):
            head = choice_by_verdicts(analysis, metric, analysis.headline.axis, comparison)
            other = choice_by_verdicts(analysis, metric, axis, comparison)
            if head is None or other is None or head.choose == other.choose:
                continue
            labels = {
                "baseline": arm_label(other.verdict.baseline),
                "candidate": arm_label(other.verdict.candidate),
                "cannot say": "not known yet",
            }
            counted = {"flops": "FLOPs"}.get(axis, axis)
            when = _WHEN.get(comparison, comparison).lower()
            words.append(f"Counted in {counted}, {when}: {labels.get(other.choose, other.choose)}.")
    return words
