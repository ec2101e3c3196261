"""Which checkpoint is served after an analysis, and whether it is: a pure function of verdicts and evaluated runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crossover.analysis.across.choice_by_verdicts import VerdictChoice
from crossover.analysis.analysis_plan import Comparison
from crossover.analysis.analysis_result import Analysis, Verdict
from crossover.analysis.arm_labels import arm_label
from crossover.evaluation.evaluation_records import Evaluation
from crossover.report.answer import answer, deciding_half
from crossover.stages.stage_manifests import Candidate, RunRef
from crossover.study.study_config import Cell, StudyConfig

PROMOTIONS = ("verdict", "always", "never")
_HALF: dict[Comparison, str] = {
    "best-so-far": "with early stopping",
    "matched": "trained to the end",
    "frontier": "of the frontier",
}


class PromotionDecision(NamedTuple):
    """What is served, and why."""

    promote: bool
    winner: Candidate
    best: dict[str, Candidate]
    """Arm to its best checkpoint in the winner's cell."""
    verdict: Verdict
    """The verdict that decided: of the half of the answer that is followed."""
    reason: str


def best_candidate(
    study: StudyConfig, cell: Cell, runs: Sequence[tuple[RunRef, list[Evaluation]]], arm: str
) -> Candidate:
    """The arm's best checkpoint in a cell by the primary metric, over its seeds; early stopping allowed."""
    metric = study.analysis.metrics[0]
    candidates = [
        Candidate(
            run=run.id,
            run_digest=run.digest,
            checkpoint=run.checkpoint(result.step),
            metric=metric.name,
            value=measurement.value,
        )
        for run, results in runs
        if (run.id.cell, run.id.arm) == (cell.name, arm)
        for result in results
        for measurement in result.measurements
        if measurement.metric == metric.name
    ]
    return min(candidates, key=lambda candidate: _cost(study, candidate))


def decide_promotion(
    study: StudyConfig,
    runs: Sequence[tuple[RunRef, list[Evaluation]]],
    analyses: Mapping[str, Analysis],
    *,
    promotion: str,
) -> PromotionDecision:
    """Choose the checkpoint to serve, over all cells, and say whether it is promoted.

    In each cell the report's answer names the side whose best checkpoint is served, by its half with early stopping
    where that was planned: the candidate, or the baseline with the tuned arms, of which the best counts. Where it
    favours neither side, the best checkpoint of both is taken.

    Args:
        study: the study.
        runs: its evaluated runs.
        analyses: cell to analysis.
        promotion: `verdict` promotes unless the evidence is insufficient, `always` promotes, anything else holds.
    """
    options = []
    for cell in (study.cell(name) for name in analyses):
        best = {arm: best_candidate(study, cell, runs, arm) for arm in study.arms}
        half, choice = deciding_half(analyses[cell.name])
        winner = min((best[arm] for arm in _served_arms(study, choice)), key=lambda c: _cost(study, c))
        options.append((winner, best, half, choice))
    winner, best, half, choice = min(options, key=lambda option: _cost(study, option[0]))
    where = f"{winner.run.cell}: " if len(analyses) > 1 else ""
    verdict = choice.verdict
    reason = (
        f"{where}{answer(analyses[winner.run.cell])}. One checkpoint is served, so this follows the half {_HALF[half]} "
        f"({arm_label(verdict.candidate)} against {arm_label(verdict.baseline)} on {verdict.metric}): "
        f"the best is that of {winner.run.arm}, seed {winner.run.seed}, at step {winner.checkpoint.step}, "
        f"{winner.metric} {winner.value:.4f}. Promotion: {promotion}."
    )
    promote = promotion == "always" or (promotion == "verdict" and choice.choose != "cannot say")
    return PromotionDecision(promote, winner, best, verdict, reason)


def _served_arms(study: StudyConfig, choice: VerdictChoice) -> tuple[str, ...]:
    """The arms of the side that is chosen; those of both sides where neither is."""
    plan = study.analysis
    tuned = plan.tuned if choice.verdict.baseline == plan.tuned_name else ()
    baseline, candidate = (plan.baseline, *tuned), (plan.candidate,)
    sides = {"baseline": baseline, "candidate": candidate}
    return sides.get(choice.choose, (*baseline, *candidate))


def _cost(study: StudyConfig, candidate: Candidate) -> float:
    """The candidate's value, lower is better."""
    return candidate.value if study.analysis.metrics[0].direction == "lower" else -candidate.value
