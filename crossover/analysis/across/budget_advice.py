"""What to pretrain with U unique tokens, N parameters and C FLOPs: read off a cell that was run, or off the forecast.

Nothing here is a further test: the intervals are those of one place looked at by itself, at the plan's level.

Shapes: S seed pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from crossover.analysis.across.cross_cell_result import Advice, CellFacts, Choice
from crossover.analysis.across.crossing_regression import AnalysedCell, fit_movement
from crossover.analysis.analysis_plan import Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import Analysis, Figure, Verdict
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.curves import Curve, on_grid
from crossover.analysis.verdict_reasons import axis_place, signed
from crossover.progress import time_text

FLOPS_PER_PARAMETER = 6.0
"""Training FLOPs of a token for each parameter (Kaplan et al. 2020), where no run tells."""
BUDGET_STEP = 3
"""From one budget of a ladder to the next."""


class _Choice(NamedTuple):
    choose: Choice
    difference: float | None
    interval: tuple[float, float] | None
    because: str
    arm: str = ""
    """The arm that was compared; empty for the plan's baseline."""


def advise_all(cells: Sequence[AnalysedCell], *, flops: float | None = None) -> tuple[Advice, ...]:
    """Advice for every cell that was run, at a budget of training FLOPs; at its largest one by default."""
    return tuple(advise(cells, unique_tokens=f.unique_tokens, parameters=f.parameters, flops=flops) for f, _ in cells)


def advise(
    cells: Sequence[AnalysedCell],
    *,
    unique_tokens: int,
    parameters: int,
    flops: float | None = None,
) -> Advice:
    """Choose a family for a budget, by the plan's primary metric, early stopping allowed if that was planned.

    Args:
        cells: what was run, with its analyses.
        unique_tokens: U.
        parameters: N, those used by a token.
        flops: C, training FLOPs; None for the largest budget that was run.

    Returns:
        The choice with its expected difference and reason, `cannot say` where the interval holds both, and the cheapest
        experiment that could change it.
    """
    plan = cells[0][1].plan
    metric = plan.metrics[0]
    comparison: Comparison = "best-so-far" if "best-so-far" in plan.comparisons else "matched"
    here = [(f, a) for f, a in cells if (f.unique_tokens, f.parameters) == (unique_tokens, parameters)]
    if here:
        choice = _measured(here[0][1], metric, comparison, flops)
        untested = flops is not None and choice.difference is None
        if untested:
            cheapest = _at_budget(here[0], flops or 0.0)
        elif flops is not None and choice.choose == "baseline":
            cheapest = "Another recipe or model size: longer runs change nothing at this budget."
        else:
            cheapest = _cheapest(here[0], metric, comparison, choice)
    else:
        choice = _forecast(cells, metric, unique_tokens, parameters, flops)
        cost = _cost(cells, 2 * plan.minimum_pairs * flops if flops else None)
        cost = cost or "; a budget in FLOPs (--flops) gives its price"
        cheapest = f"Run this cell: {plan.minimum_pairs} seeds of both arms{cost}.{_smaller_step(cells, unique_tokens)}"
    return Advice(
        unique_tokens=unique_tokens,
        parameters=parameters,
        flops=flops,
        choose=choice.choose,
        baseline=choice.arm or plan.baseline,
        candidate=plan.candidate,
        metric=metric.name,
        comparison=comparison,
        difference=choice.difference,
        interval=choice.interval,
        because=choice.because,
        cheapest=cheapest,
    )


def _measured(analysis: Analysis, metric: MetricPlan, comparison: Comparison, flops: float | None) -> _Choice:
    """The difference of the pairs at the budget, with its t interval; where arms were tuned, against the hardest one.

    The candidate is chosen only if it wins against every arm, each tested by itself (intersection-union). An arm among
    k wins by an interval of alpha / k, which corrects for picking the hardest of them.
    """
    plan = analysis.plan
    axis: Axis = "flops" if "flops" in plan.axes else plan.axes[0]
    figure = next(f for f in analysis.figures if (f.metric, f.axis, f.comparison) == (metric.name, axis, comparison))
    arms = (plan.baseline, *plan.tuned)
    choices = [_against(arm, figure, metric, analysis, flops, tests=len(arms)) for arm in arms]
    ranked = [f for f in choices if f.difference is not None]
    if len(ranked) < len(choices):
        return next(f for f in choices if f.difference is None)
    sign = 1.0 if metric.direction == "lower" else -1.0
    return max(ranked, key=lambda f: (f.choose == "baseline", f.choose != "candidate", sign * (f.difference or 0.0)))


def _against(
    arm: str, figure: Figure, metric: MetricPlan, analysis: Analysis, flops: float | None, *, tests: int
) -> _Choice:
    """The candidate against one arm at the budget."""
    plan = analysis.plan
    baseline, candidate = _curves(figure, arm), _curves(figure, plan.candidate)
    seeds = sorted(set(baseline) & set(candidate))
    if len(seeds) < 2:
        return _Choice("cannot say", None, None, f"Fewer than two seeds were run in both arms, {arm} among them.")
    chosen = [side[seed] for side in (baseline, candidate) for seed in seeds]
    end = min(curve.x_P[-1] for curve in chosen)
    start = max(curve.x_P[0] for curve in chosen)
    budget = end if flops is None or figure.axis != "flops" else flops
    if not start <= budget <= end * (1 + 1e-9):
        problem = f"the runs were measured from {_count(start)} to {_count(end)}, and {_count(budget)} was not tested"
        return _Choice("cannot say", None, None, f"{problem[0].upper()}{problem[1:]}.")
    place = min(budget, end)
    value_AS = on_grid(chosen, np.array([place])).reshape(2, len(seeds))
    shared = float(np.hypot(_monte_carlo(baseline, seeds, place), _monte_carlo(candidate, seeds, place)))
    difference_S = value_AS[1] - value_AS[0]
    against_baseline = _judged(difference_S, shared, plan.alpha, arm, figure, metric, analysis)
    if against_baseline.choose != "baseline" or tests == 1:
        return against_baseline
    return _judged(difference_S, shared, plan.alpha / tests, arm, figure, metric, analysis)


def _monte_carlo(side: dict[int, Curve], seeds: Sequence[int], place: float) -> float:
    """The standard error of an arm's measurements there, taken as shared by all its seeds."""
    errors = [np.interp(np.log(place), np.log(side[seed].x_P), side[seed].stderr_P) for seed in seeds]
    return float(np.nan_to_num(np.mean(errors)))


def _curves(figure: Figure, arm: str) -> dict[int, Curve]:
    return {
        c.seed: Curve(np.array(c.x), np.array(c.value), np.array(c.stderr))
        for c in figure.seeds
        if c.arm == arm and c.x
    }


def _judged(
    difference_S: FloatArray,
    shared: float,
    alpha: float,
    arm: str,
    figure: Figure,
    metric: MetricPlan,
    analysis: Analysis,
) -> _Choice:
    pairs, mean = difference_S.size, float(difference_S.mean())
    error = float(np.hypot(difference_S.std(ddof=1) / np.sqrt(pairs), shared))
    half = float(special.stdtrit(pairs - 1, 1 - alpha / 2)) * error
    low, high = interval = (mean - half, mean + half)
    better_low = metric.direction == "lower"
    pair = f"{arm_label(analysis.plan.candidate)} − {arm_label(arm)}"
    words = (
        f"with {pairs} seed pairs the difference {pair} there is {signed(mean)} {metric.unit}".rstrip()
        + f" ({signed(low)} to {signed(high)}) by {metric.title}"
        + (", each run's best so far" if figure.comparison == "best-so-far" else "")
    )
    choose: Choice
    if pairs < analysis.plan.minimum_pairs:
        choose, words = "cannot say", f"{words}; a choice needs {analysis.plan.minimum_pairs} pairs"
    elif -metric.delta < low and high < metric.delta:
        choose, words = "either", f"{words}, inside ±δ = {metric.delta:g}"
    elif high < 0 or low > 0:
        choose = "candidate" if (high < 0) == better_low else "baseline"
        crossing = _crossing_words(analysis, metric, figure.axis) if arm == analysis.plan.baseline else ""
        words = f"{words}{crossing}"
    else:
        choose, words = "cannot say", f"{words}, which holds zero"
    return _Choice(choose, mean, interval, f"{words[0].upper()}{words[1:]}.", arm)


def _crossing_words(analysis: Analysis, metric: MetricPlan, axis: Axis) -> str:
    verdict = _verdict(analysis, metric, "matched") if "matched" in analysis.plan.comparisons else None
    if verdict is None or verdict.crossing is None or verdict.axis != axis:
        return ""
    return f"; trained on without stopping, the curves cross at {axis_place(axis, verdict.crossing.at)}"


def _verdict(analysis: Analysis, metric: MetricPlan, comparison: Comparison) -> Verdict:
    plan = analysis.plan
    axis: Axis = "flops" if "flops" in plan.axes else plan.axes[0]
    wanted = (metric.name, axis, comparison, plan.baseline)
    return next(v for v in analysis.verdicts if (v.metric, v.axis, v.comparison, v.baseline) == wanted)


def _at_budget(cell: AnalysedCell, flops: float) -> str:
    """What measures a cell at a budget at which its runs were not measured."""
    analysis, end = cell[1], _last(cell[1], "flops")
    if not end or flops < end:
        return "Earlier checkpoints of the same runs (evaluation.first_epoch): they go beyond this budget."
    pairs, epochs = analysis.plan.minimum_pairs, (_last(analysis, "epochs") or 0.0) * flops / end
    longer = f"Runs of {_count(flops)} FLOPs" + (f", about {epochs:.3g} epochs" if epochs else "")
    return f"{longer}: {pairs} seeds of both arms{_cost([cell], 2 * pairs * flops)}."


def _cheapest(cell: AnalysedCell, metric: MetricPlan, comparison: Comparison, choice: _Choice) -> str:
    """The cheapest experiment on a cell that was run."""
    analysis, run_flops = cell[1], _last(cell[1], "flops")
    plan, verdict = analysis.plan, _verdict(analysis, metric, comparison)

    def cost(runs: int) -> str:
        return _cost([cell], runs * run_flops if run_flops else None)

    if choice.choose == "cannot say":
        if verdict.further_pairs is not None:
            by = ", for the comparison of each run's best so far" if comparison == "best-so-far" else ""
            return f"About {verdict.further_pairs} more seed pairs{by}{cost(2 * verdict.further_pairs)}."
        if verdict.further_reach is not None:
            place = axis_place(verdict.axis, verdict.further_reach)
            return f"Longer runs, to {place} by the trend, with the same seeds."
        return "More masks for each measurement (evaluation.nelbo_draws): more seeds alone would not do."
    if not plan.tuned and choice.choose == "candidate":
        pairs = max(plan.minimum_pairs, verdict.pairs)
        tuned = f"A tuned {arm_label(plan.baseline)} arm"
        return f"{tuned} (weight decay, dropout), which was not tested: {pairs} seeds{cost(pairs)}."
    if choice.choose == "baseline":
        gain = f"{arm_label(plan.candidate)} may gain with epochs"
        return f"Longer runs of the same seeds: {gain}, and beyond the last one nothing was tested."
    return "A cell with more unique tokens, where the crossing comes later."


def _cost(cells: Sequence[AnalysedCell], flops: float | None) -> str:
    """What so many FLOPs cost, in hours at the median speed of the runs; empty where they are not known."""
    if flops is None:
        return ""
    ends = [(_last(analysis, "flops"), _last(analysis, "seconds")) for _, analysis in cells]
    speeds = [done / seconds for done, seconds in ends if done and seconds]
    if not speeds:
        return f", {_count(flops)} FLOPs"
    hours = time_text(flops / float(np.median(speeds)))
    return f", {_count(flops)} FLOPs, about {hours} of training at the speed of these runs"


def _smaller_step(cells: Sequence[AnalysedCell], unique_tokens: int) -> str:
    """A cell between those that were run and the requested one; empty where that is near."""
    facts, analysis = max(cells, key=lambda cell: (cell[0].unique_tokens, cell[0].parameters))
    step, epochs = BUDGET_STEP * facts.unique_tokens, _last(analysis, "epochs")
    if step >= unique_tokens or epochs is None:
        return ""
    flops = _rate(cells) * facts.parameters * step * epochs
    cost = _cost(cells, 2 * analysis.plan.minimum_pairs * flops)
    what = f"{step:,} unique tokens, {facts.parameters:,} parameters, {epochs:g} epochs"
    return f" A smaller step towards it: {what}{cost}."


def _forecast(
    cells: Sequence[AnalysedCell],
    metric: MetricPlan,
    unique_tokens: int,
    parameters: int,
    flops: float | None,
) -> _Choice:
    """Where the budget lies against the crossing forecast for a cell that was not run."""
    if flops is None:
        return _Choice("cannot say", None, None, "This cell was not run, and no budget of FLOPs was given.")
    facts = CellFacts(cell="", unique_tokens=unique_tokens, parameters=parameters)
    plan = cells[0][1].plan
    if "epochs" not in plan.axes or "matched" not in plan.comparisons:
        return _Choice("cannot say", None, None, "This cell was not run, and no crossing over epochs was analysed.")
    moved = fit_movement(cells, metric, "epochs", "matched", forecasts=[facts])
    if not moved.forecasts:
        return _Choice("cannot say", None, None, f"This cell was not run and cannot be forecast. {moved.reason}")
    forecast = moved.forecasts[0]
    epochs = flops / (_rate(cells) * parameters * unique_tokens)
    words = (
        f"this cell was not run; {_count(flops)} FLOPs are about {epochs:.3g} epochs; trained on without stopping, the "
        f"crossing by {metric.title} is forecast at epoch {forecast.at:.3g} ({forecast.low:.3g} to {forecast.high:.3g})"
    )
    choose: Choice = "baseline" if epochs < forecast.low else "candidate" if epochs > forecast.high else "cannot say"
    return _Choice(choose, None, None, f"{words[0].upper()}{words[1:]}.")


def _rate(cells: Sequence[AnalysedCell]) -> float:
    """FLOPs a token and parameter, as the runs had them."""
    rates = []
    for facts, analysis in cells:
        ends = {axis: _last(analysis, axis) for axis in ("flops", "tokens", "epochs")}
        tokens = ends["tokens"] or (ends["epochs"] or 0.0) * facts.unique_tokens
        if ends["flops"] and tokens:
            rates.append(ends["flops"] / (tokens * facts.parameters))
    return float(np.median(rates)) if rates else FLOPS_PER_PARAMETER


def _last(analysis: Analysis, axis: str) -> float | None:
    ends = [c.x[-1] for f in analysis.figures if f.axis == axis for c in f.seeds if c.x]
    return float(np.median(ends)) if ends else None


def _count(value: float) -> str:
    return f"{value:.3g}"
