"""Experiments that could change an answer, each with its price, cheapest first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from crossover.analysis.across.cross_cell_result import Advice, Choice, Experiment
from crossover.analysis.across.crossing_regression import AnalysedCell
from crossover.analysis.across.measured_range import arm_ends, epochs_words, last, on_axis
from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison
from crossover.analysis.analysis_result import Analysis
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.axis_text import axis_place
from crossover.analysis.further_words import level_words, looks_edit, looks_used_up
from crossover.progress import time_text

BUDGET_STEP = 3
"""From one budget of a ladder to the next."""
FLOPS_PER_PARAMETER = 6.0
"""Training FLOPs of a token for each parameter (Kaplan et al. 2020), where no run tells."""
LEAST_CROSSINGS = 3
"""Cells that must cross for a forecast."""
TUNED = "ar-decay"
"""A tuned arm that Crossover has built in."""
MASKS = 8
"""So many times the masks leave a third of the Monte Carlo error."""
_LONGER = 2.0
"""Runs go on to so many times their end where no trend says how far."""


class OpenHalf(NamedTuple):
    """One half of an answer: with early stopping or to the end."""

    comparison: Comparison
    choose: Choice
    pairs: int
    further_pairs: int | None = None
    further_reach: float | None = None
    drawn_pairs: int | None = None
    """Pairs that would settle it if the measurements had no Monte Carlo error, where pairs alone do not."""


class Scope(NamedTuple):
    """What an edit of the study starts from."""

    budgets: tuple[int, ...]
    """Unique tokens of its cells, ascending."""
    draws: int = 0
    """Masks an example; 0 is not known."""


class StudyRuns(NamedTuple):
    """What a study trained, of all cells and arms."""

    number: int
    flops: float
    seconds: float
    steps: Mapping[str, int]
    """Cell to the optimizer steps of one of its runs."""


def price(flops: float | None, seconds: float | None) -> str:
    """Training FLOPs and hours as the end of a sentence; empty where none are known."""
    parts = [f"{flops:.3g} FLOPs"] if flops else []
    parts += [f"about {time_text(seconds)} of training at the speed of these runs"] if seconds else []
    return "".join(f", {part}" for part in parts)


def experiment(
    what: str, flops: float | None, seconds: float | None = None, note: str = "", *, edit: str = ""
) -> Experiment:
    """An experiment with its sentence."""
    how = f" ({' and '.join(f'`{line}`' for line in edit.splitlines())})" if edit else ""
    text = f"{what}{how}{price(flops, seconds)}{note}."
    return Experiment(what=what, edit=edit, flops=flops, seconds=seconds, note=note, text=text)


def without_edits(advice: Advice) -> Advice:
    """The same for curves that no study made: there is no file to edit."""
    return with_experiments(advice, [experiment(e.what, e.flops, e.seconds, e.note) for e in advice.experiments])


def with_experiments(advice: Advice, experiments: Iterable[Experiment]) -> Advice:
    """Advice with its experiments, cheapest first; without a price last, in the order given; as it is with none."""
    known = [(e.seconds if e.flops is None else e.flops, e) for e in experiments]
    ranked = [e for _, e in sorted(known, key=lambda pair: math.inf if pair[0] is None else pair[0])]
    if not ranked:
        return advice
    cheapest, *others = [e.text for e in ranked]
    update = {"cheapest": cheapest, "alternatives": tuple(others), "experiments": tuple(ranked)}
    return advice.model_copy(update=update)


def of_measured(
    analysis: Analysis, axis: Axis, halves: Sequence[OpenHalf], place: float | None, scope: Scope, unique_tokens: int
) -> list[Experiment]:
    """What could change an answer for a cell that was run.

    Args:
        analysis: of the cell.
        axis: that the answer was read off.
        halves: the answer.
        place: the budget; None for the end of the runs, where longer ones may help.
        scope: of the study.
        unique_tokens: of the cell.

    Returns:
        The experiments in no order; none where an answer is open that no number of pairs is expected to settle.
    """
    plan, both = analysis.plan, (analysis.plan.baseline, analysis.plan.candidate)
    chosen = {half.choose for half in halves}
    pairs = max(plan.minimum_pairs, *(half.pairs for half in halves))
    found = _more_pairs(analysis, halves, scope)
    arms = dict.fromkeys((*both, *(curve.arm for figure in analysis.figures for curve in figure.seeds)))
    if "candidate" in chosen and not plan.tuned:
        what = f"A tuned {arm_label(plan.baseline)} arm (weight decay, dropout), which was not tested: {pairs} seeds"
        edit = f"arms: [{', '.join((*arms, TUNED))}]\nanalysis: {{tuned: [{TUNED}]}}"
        found.append(_runs(analysis, what, both[:1], pairs, 1.0, edit=edit))
    if "baseline" in chosen:
        what = f"Another recipe of {arm_label(plan.candidate)} than those compared (its weight decay, say): "
        edit = f"recipes: {{{plan.candidate}: {{weight_decay: 1.0}}}}"
        found.append(_runs(analysis, f"{what}{pairs} seeds", both[1:], pairs, 1.0, edit=edit))
    if place is None and chosen & {"baseline", "cannot say"}:
        found.append(_longer(analysis, axis, halves, pairs))
    if not found and "cannot say" not in chosen:
        what = f"{BUDGET_STEP} times the unique tokens, where a crossing comes later: {pairs} seeds of both arms"
        edit = _budgets_edit(scope, BUDGET_STEP * unique_tokens)
        found.append(_runs(analysis, what, both, pairs, float(BUDGET_STEP), edit=edit))
    return found


def beyond(analysis: Analysis, axis: Axis, place: float) -> Experiment:
    """Runs that go as far as a place beyond the range, from zero."""
    plan = analysis.plan
    both, pairs = (plan.baseline, plan.candidate), plan.minimum_pairs
    needed, ends = on_axis(analysis, axis, place, "epochs"), arm_ends(analysis, "epochs")
    if not needed:
        share = place / min(arm_ends(analysis, axis).values())
        return _runs(
            analysis, f"Runs of {axis_place(axis, place)}, from zero: {pairs} seeds of both arms", both, pairs, share
        )
    arm, most = max(needed.items(), key=lambda item: item[1])
    epochs = math.ceil(most * (1 - 1e-9))
    why = f", which {arm_label(arm)} needs for {place:.3g} FLOPs" if axis == "flops" else ""
    what = f"Runs of {epochs_words(epochs)}{why}, from zero: {pairs} seeds of both arms"
    return _runs(analysis, what, both, pairs, epochs / ends[arm], edit=_epochs_edit(epochs))


def before(analysis: Analysis, axis: Axis, place: float, study: StudyRuns | None, steps: int) -> Experiment:
    """Checkpoints before the first one, for which every run of the study trains anew.

    Args:
        analysis: of the cell.
        axis: of the place.
        place: before the first checkpoint.
        study: what all its runs took; None where it is not known.
        steps: optimizer steps of a run of the cell; 0 is not known.
    """
    edit = ""
    if epochs := on_axis(analysis, axis, place, "epochs"):
        first, end = 0.95 * min(epochs.values()), last(analysis, "epochs")
        if steps and end:  # a checkpoint is at the first step from first_epoch on: the last step before the place
            first = (max(1, math.floor(min(epochs.values()) / end * steps * (1 + 1e-9))) - 0.5) * end / steps
        edit = f"evaluation: {{first_epoch: {first:.4g}}}"
    what = "Earlier checkpoints, for which every run of the study trains anew from zero"
    if study is None:
        runs = len({(c.arm, c.seed) for f in analysis.figures for c in f.seeds})
        return _runs(analysis, what, (analysis.plan.baseline, analysis.plan.candidate), runs // 2, 1.0, edit=edit)
    return experiment(f"{what}: {study.number} runs", study.flops, study.seconds or None, edit=edit)


def of_other_cell(
    cells: Sequence[AnalysedCell], unique_tokens: int, parameters: int, flops: float | None, *, crossed: int
) -> list[Experiment]:
    """What tells of a cell that was not run: running it, or a cell on the way.

    Args:
        cells: what was run.
        unique_tokens: of the cell.
        parameters: of the cell.
        flops: of one run; None for as many epochs as the others had.
        crossed: cells that cross; a further cell is offered only where it may make a forecast possible.
    """
    facts, analysis = max(cells, key=lambda cell: (cell[0].unique_tokens, cell[0].parameters))
    pairs, epochs = analysis.plan.minimum_pairs, last(analysis, "epochs")
    scope = Scope(tuple(sorted({known.unique_tokens for known, _ in cells})))
    what, length, wanted = f"Run this cell: {pairs} seeds of both arms", epochs, flops
    if flops is None and epochs:
        what = f"{what}, {epochs_words(epochs)}"
        wanted = rate(cells) * parameters * unique_tokens * epochs
    elif flops is not None:
        length = flops / (rate(cells) * parameters * unique_tokens)
        if epochs and length < epochs * (1 - 1e-9):  # the edit below trains as long as the others
            what, wanted = f"{what}, {epochs_words(epochs)}, which pass this budget", flops * epochs / length
    edit = _budgets_edit(scope, unique_tokens)
    own = ", in a study of its own"  # where the edit would train other cells or longer runs, too
    if all(known.parameters != parameters for known, _ in cells):
        what += f"{own}, with a model of {parameters:,} parameters under grid.models"
        own, edit = "", _budgets_edit(Scope(()), unique_tokens)
    if length and epochs and length > epochs * (1 + 1e-9):
        what += own
        edit = f"{_budgets_edit(Scope(()), unique_tokens)}\n{_epochs_edit(math.ceil(length * (1 - 1e-9)))}"
    run = _priced(cells, what, 2 * pairs * wanted if wanted else None, edit)
    step = BUDGET_STEP * facts.unique_tokens
    if crossed + 1 < LEAST_CROSSINGS or step >= unique_tokens or not epochs:
        return [run]
    words = f"{step:,} unique tokens, {facts.parameters:,} parameters, {epochs_words(epochs)}"
    total = 2 * pairs * rate(cells) * facts.parameters * step * epochs
    smaller = _priced(cells, f"A smaller step towards it: {words}", total, _budgets_edit(scope, step))
    cheaper = run.flops is not None and smaller.flops is not None and smaller.flops < run.flops
    return [run, smaller] if cheaper else [run]


def rate(cells: Sequence[AnalysedCell]) -> float:
    """FLOPs a token and parameter, as the runs had them."""
    rates = []
    for facts, analysis in cells:
        flops, tokens, epochs = (last(analysis, axis) for axis in ("flops", "tokens", "epochs"))
        tokens = tokens or (epochs or 0.0) * facts.unique_tokens
        if flops and tokens:
            rates.append(flops / (tokens * facts.parameters))
    return float(np.median(rates)) if rates else FLOPS_PER_PARAMETER


def _more_pairs(analysis: Analysis, halves: Sequence[OpenHalf], scope: Scope) -> list[Experiment]:
    """For each open half the pairs, with more masks or without, that would settle it."""
    plan = analysis.plan
    needs: dict[tuple[int, int, bool], list[str]] = {}
    open_halves = [half for half in halves if half.choose == "cannot say"]
    for half in open_halves:
        number = half.further_pairs or half.drawn_pairs or max(0, plan.minimum_pairs - half.pairs)
        if number:
            masks = not half.further_pairs and bool(half.drawn_pairs)
            needs.setdefault((half.pairs, to_look(plan, half.pairs, number), masks), []).append(
                "with early stopping" if half.comparison == "best-so-far" else "trained to the end"
            )
    found = [
        _pairs_experiment(analysis, pairs, number, whom, scope if masks else None)
        for (pairs, number, masks), whom in needs.items()
    ]
    if not open_halves or found or any(half.further_reach for half in open_halves):
        return found
    both, pairs = (plan.baseline, plan.candidate), max(half.pairs for half in open_halves)
    if looks_used_up(plan, pairs):
        what = f"A study of {pairs} other seeds, judged by itself: the looks of this one are used up, and α with them"
        return [_runs(analysis, what, both, pairs, 1.0, edit=f"seeds: {list(range(pairs, 2 * pairs))}")]
    return []


def to_look(plan: AnalysisPlan, pairs: int, number: int) -> int:
    """So many pairs to add, up to a planned look; as they are where no look has as many."""
    return next((look - pairs for look in plan.looks if look >= pairs + number), number)


def _pairs_experiment(
    analysis: Analysis, pairs: int, number: int, whom: Sequence[str], masks: Scope | None
) -> Experiment:
    """So many more pairs; with the scope of the study where masks must be added too."""
    plan, answer = analysis.plan, f"for the answer {' and '.join(whom)}"
    note, edit = level_words(pairs, number, plan), looks_edit(pairs, number, plan)
    more = f"{number} more seed pair{'s' * (number > 1)}"
    what = f"About {more}, {answer}"
    if masks is not None:
        what = f"More masks (evaluation.nelbo_draws) and about {more}, {answer}"
        edit = f"evaluation: {{nelbo_draws: {MASKS * (masks.draws or MASKS)}}}\n{edit}"
        note = f", and evaluates every checkpoint anew, for hours that are not known{note}"
    if plan.looks and pairs + number in plan.looks:
        what += f", up to the planned look at {pairs + number}"
    return _runs(analysis, what, (plan.baseline, plan.candidate), number, 1.0, note, edit=edit)


def _budgets_edit(scope: Scope, unique_tokens: int) -> str:
    budgets = sorted({*scope.budgets, unique_tokens})
    return f"grid: {{unique_tokens: [{', '.join(map(str, budgets))}]}}"


def _epochs_edit(epochs: float) -> str:
    return f"training: {{epochs: {epochs:.17g}}}"


def _longer(analysis: Analysis, axis: Axis, halves: Sequence[OpenHalf], pairs: int) -> Experiment:
    both = (analysis.plan.baseline, analysis.plan.candidate)
    reach = max((half.further_reach for half in halves if half.further_reach), default=None)
    end = min((end for arm, end in arm_ends(analysis, axis).items() if arm in both), default=None)
    share, how = _LONGER, "how long is not known"
    if reach and end:
        share, how = reach / end, f"to {axis_place(axis, reach)} by the trend"
    epochs = last(analysis, "epochs")
    wanted = math.ceil(share * epochs * (1 - 1e-9)) if epochs else 0
    length = f" of {wanted:,} epochs" if wanted else f", {share:.3g} times as long"
    what = f"Longer runs{length}, from zero ({how}): {pairs} seeds of both arms"
    return _runs(analysis, what, both, pairs, share, edit=_epochs_edit(wanted) if wanted else "")


def _runs(
    analysis: Analysis,
    what: str,
    arms: Sequence[str],
    seeds: int,
    share: float,
    note: str = "",
    *,
    edit: str = "",
) -> Experiment:
    """So many seeds of some arms, each run a share of the length that it had."""

    def total(axis: Axis) -> float | None:
        ends = arm_ends(analysis, axis)
        return seeds * share * sum(ends[arm] for arm in arms) if all(arm in ends for arm in arms) else None

    return experiment(what, total("flops"), total("seconds"), note, edit=edit)


def _priced(cells: Sequence[AnalysedCell], what: str, flops: float | None, edit: str) -> Experiment:
    """With hours at the median speed of all runs, where it is known."""
    ends = [(last(analysis, "flops"), last(analysis, "seconds")) for _, analysis in cells]
    speeds = [done / seconds for done, seconds in ends if done and seconds]
    return experiment(what, flops, flops / float(np.median(speeds)) if flops and speeds else None, edit=edit)
