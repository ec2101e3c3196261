"""Experiments that could change an answer, each with its price, cheapest first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from crossover.analysis.across.cross_cell_result import Choice
from crossover.analysis.across.crossing_regression import AnalysedCell
from crossover.analysis.across.measured_range import arm_ends, epochs_text, last, on_axis
from crossover.analysis.analysis_plan import Axis, Comparison
from crossover.analysis.analysis_result import Analysis
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.inference.further_evidence import MOST_FURTHER_PAIRS
from crossover.analysis.verdict_reasons import axis_place
from crossover.progress import time_text

BUDGET_STEP = 3
"""From one budget of a ladder to the next."""
FLOPS_PER_PARAMETER = 6.0
"""Training FLOPs of a token for each parameter (Kaplan et al. 2020), where no run tells."""
_LONGER = 2.0
"""Runs go on to so many times their end where no trend says how far."""
_ERRS = "; without looks in the plan a study that grows errs more often than its level says"


class Experiment(NamedTuple):
    """Something to run."""

    what: str
    flops: float | None
    """Training FLOPs of all its runs; 0.0 where nothing is trained, None where they are not known."""
    seconds: float | None = None
    note: str = ""

    @property
    def text(self) -> str:
        """One sentence with the price."""
        return f"{self.what}{price(self.flops, self.seconds)}{self.note}."


class OpenHalf(NamedTuple):
    """One half of an answer: with early stopping or to the end."""

    comparison: Comparison
    choose: Choice
    pairs: int
    further_pairs: int | None = None
    further_reach: float | None = None
    masks_help: bool = False
    """Whether pairs would settle it only if the measurements had no Monte Carlo error."""


class StudyRuns(NamedTuple):
    """What a study trained, of all cells and arms."""

    number: int
    flops: float
    seconds: float
    steps: Mapping[str, int]
    """Cell to the optimizer steps of one of its runs."""


def price(flops: float | None, seconds: float | None) -> str:
    """Training FLOPs and hours as the end of a sentence; empty where none are known."""
    if flops == 0.0:
        return ", nothing trains"
    parts = [f"{flops:.3g} FLOPs"] if flops else []
    parts += [f"about {time_text(seconds)} of training at the speed of these runs"] if seconds else []
    return "".join(f", {part}" for part in parts)


def ranked(experiments: Iterable[Experiment]) -> tuple[str, ...]:
    """Their sentences, cheapest first; without a price last, in the order given."""
    known = [(e.seconds if e.flops is None else e.flops, e) for e in experiments]
    return tuple(e.text for _, e in sorted(known, key=lambda pair: math.inf if pair[0] is None else pair[0]))


def of_measured(analysis: Analysis, axis: Axis, halves: Sequence[OpenHalf], place: float | None) -> list[Experiment]:
    """What could change an answer for a cell that was run.

    Args:
        analysis: of the cell.
        axis: that the answer was read off.
        halves: the answer.
        place: the budget; None for the end of the runs, where longer ones may help.

    Returns:
        One experiment or more, in no order.
    """
    plan, both = analysis.plan, (analysis.plan.baseline, analysis.plan.candidate)
    chosen = {half.choose for half in halves}
    pairs = max(plan.minimum_pairs, *(half.pairs for half in halves))
    found, ends = _more_pairs(analysis, halves), arm_ends(analysis, axis)
    share = {arm: place / ends[arm] if place and ends.get(arm) else 1.0 for arm in both}
    if "candidate" in chosen and not plan.tuned:
        what = f"A tuned {arm_label(plan.baseline)} arm (weight decay, dropout), which was not tested: {pairs} seeds"
        found.append(_runs(analysis, what, both[:1], pairs, share))
    if "baseline" in chosen:
        what = f"Another recipe of {arm_label(plan.candidate)} (learning rate, weight decay), which was not tested: "
        found.append(_runs(analysis, f"{what}{pairs} seeds", both[1:], pairs, share))
    if place is None and chosen & {"baseline", "cannot say"}:
        found.append(_longer(analysis, axis, halves, pairs))
    if not found:
        what = f"{BUDGET_STEP} times the unique tokens, where a crossing comes later: {pairs} seeds of both arms"
        found.append(_runs(analysis, what, both, pairs, {arm: BUDGET_STEP * part for arm, part in share.items()}))
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
    what = f"Runs of {epochs_text(epochs)} epochs{why}, from zero: {pairs} seeds of both arms"
    return _runs(analysis, what, both, pairs, epochs / ends[arm])


def before(analysis: Analysis, axis: Axis, place: float, study: StudyRuns | None) -> Experiment:
    """Checkpoints before the first one, for which every run of the study trains anew."""
    epochs = on_axis(analysis, axis, place, "epochs")
    where = f": {min(epochs.values()):.3g}" if epochs else ""
    what = (
        f"Earlier checkpoints (evaluation.first_epoch{where}), for which every run of the study trains anew from zero"
    )
    if study is None:
        runs = len({(c.arm, c.seed) for f in analysis.figures for c in f.seeds})
        return _runs(analysis, what, (analysis.plan.baseline, analysis.plan.candidate), runs // 2, 1.0)
    return Experiment(f"{what}: {study.number} runs", study.flops, study.seconds or None)


def of_other_cell(
    cells: Sequence[AnalysedCell], unique_tokens: int, parameters: int, flops: float | None
) -> list[Experiment]:
    """What tells of a cell that was not run: running it, or a cell on the way if that is cheaper."""
    facts, analysis = max(cells, key=lambda cell: (cell[0].unique_tokens, cell[0].parameters))
    pairs, epochs = analysis.plan.minimum_pairs, last(analysis, "epochs")
    what = f"Run this cell: {pairs} seeds of both arms"
    if flops is None and epochs:
        what, flops = f"{what}, {epochs_text(epochs)} epochs", rate(cells) * parameters * unique_tokens * epochs
    run = _priced(cells, what, 2 * pairs * flops if flops else None)
    step = BUDGET_STEP * facts.unique_tokens
    if step >= unique_tokens or not epochs:
        return [run]
    words = f"{step:,} unique tokens, {facts.parameters:,} parameters, {epochs_text(epochs)} epochs"
    smaller = _priced(
        cells, f"A smaller step towards it: {words}", 2 * pairs * rate(cells) * facts.parameters * step * epochs
    )
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


def _more_pairs(analysis: Analysis, halves: Sequence[OpenHalf]) -> list[Experiment]:
    plan, both = analysis.plan, (analysis.plan.baseline, analysis.plan.candidate)
    needs: dict[int, list[str]] = {}
    open_halves = [half for half in halves if half.choose == "cannot say"]
    for half in open_halves:
        number = half.further_pairs or max(0, plan.minimum_pairs - half.pairs)
        if number:
            needs.setdefault(number, []).append(
                "with early stopping" if half.comparison == "best-so-far" else "trained to the end"
            )
    note = "" if plan.looks else _ERRS
    found = [
        _runs(analysis, f"About {number} more seed pairs, for the answer {' and '.join(whom)}", both, number, 1.0, note)
        for number, whom in needs.items()
    ]
    if not open_halves or found or any(half.further_reach for half in open_halves):
        return found
    if any(half.masks_help for half in open_halves):
        what = "More masks for each measurement (evaluation.nelbo_draws): more seeds alone would not do"
        return [Experiment(what, 0.0)]
    what = f"More than {MOST_FURTHER_PAIRS} more seed pairs, at the variance seen"
    return [_runs(analysis, what, both, MOST_FURTHER_PAIRS, 1.0, note)]


def _longer(analysis: Analysis, axis: Axis, halves: Sequence[OpenHalf], pairs: int) -> Experiment:
    both = (analysis.plan.baseline, analysis.plan.candidate)
    reach = max((half.further_reach for half in halves if half.further_reach), default=None)
    end = min((end for arm, end in arm_ends(analysis, axis).items() if arm in both), default=None)
    share, how = _LONGER, "how long is not known"
    if reach and end:
        share, how = reach / end, f"to {axis_place(axis, reach)} by the trend"
    epochs = last(analysis, "epochs")
    length = f" of {math.ceil(share * epochs * (1 - 1e-9)):,} epochs" if epochs else f", {share:.3g} times as long"
    return _runs(analysis, f"Longer runs{length}, from zero ({how}): {pairs} seeds of both arms", both, pairs, share)


def _runs(
    analysis: Analysis, what: str, arms: Sequence[str], seeds: int, share: float | Mapping[str, float], note: str = ""
) -> Experiment:
    """So many seeds of some arms, each run a share of the length that it had."""
    part = dict.fromkeys(arms, share) if isinstance(share, float) else share

    def total(axis: Axis) -> float | None:
        ends = arm_ends(analysis, axis)
        return seeds * sum(part[arm] * ends[arm] for arm in arms) if all(arm in ends for arm in arms) else None

    return Experiment(what, total("flops"), total("seconds"), note)


def _priced(cells: Sequence[AnalysedCell], what: str, flops: float | None) -> Experiment:
    """With hours at the median speed of all runs, where it is known."""
    ends = [(last(analysis, "flops"), last(analysis, "seconds")) for _, analysis in cells]
    speeds = [done / seconds for done, seconds in ends if done and seconds]
    return Experiment(what, flops, flops / float(np.median(speeds)) if flops and speeds else None)
