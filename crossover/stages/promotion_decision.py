"""Which checkpoint is served after an analysis, and whether it is: a pure function of verdicts and evaluated runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crossover.analysis.analysis_result import Analysis, Verdict
from crossover.analysis.arm_labels import arm_label, outcome_label
from crossover.evaluation.evaluation_records import Evaluation
from crossover.stages.stage_manifests import Candidate, RunRef
from crossover.study.study_config import Cell, StudyConfig

PROMOTIONS = ("verdict", "always", "never")


class PromotionDecision(NamedTuple):
    """What is served, and why."""

    promote: bool
    winner: Candidate
    best: dict[str, Candidate]
    """Arm to its best checkpoint in the winner's cell."""
    verdict: Verdict
    """The verdict that decided."""
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

    In each cell the deciding verdict names the side whose best checkpoint is served: the candidate, or the baseline
    with the tuned arms, of which the best counts. A crossover serves the side that is better late. Where the verdict
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
        verdict = deciding_verdict(analyses[cell.name])
        winner = min((best[arm] for arm in _served_arms(study, verdict)), key=lambda c: _cost(study, c))
        options.append((winner, best, verdict))
    winner, best, verdict = min(options, key=lambda option: _cost(study, option[0]))
    settled = verdict.outcome != "insufficient evidence"
    reason = (
        f"{arm_label(verdict.candidate)} against {arm_label(verdict.baseline)} on {verdict.metric} "
        f"({verdict.comparison}): {outcome_label(verdict.outcome, verdict.baseline, verdict.candidate)}. The best "
        f"checkpoint is that of {winner.run.arm}, seed {winner.run.seed}, at step {winner.checkpoint.step}, "
        f"{winner.metric} {winner.value:.4f}. Promotion: {promotion}."
    )
    promote = promotion == "always" or (promotion == "verdict" and settled)
    return PromotionDecision(promote, winner, best, verdict, reason)


def deciding_verdict(analysis: Analysis) -> Verdict:
    """The verdict that promotion follows: primary metric, first axis, early stopping if analysed, tuned arms if any."""
    plan = analysis.plan
    same = [v for v in analysis.verdicts if (v.metric, v.axis) == (plan.metrics[0].name, plan.axes[0])]
    early = [v for v in same if v.comparison == "best-so-far"] or same
    return next((v for v in early if v.baseline == plan.tuned_name), early[0])


def _served_arms(study: StudyConfig, verdict: Verdict) -> tuple[str, ...]:
    """The arms of the side that a verdict favours; those of both sides where it favours neither."""
    plan = study.analysis
    tuned = plan.tuned if verdict.baseline == plan.tuned_name else ()
    baseline, candidate = (plan.baseline, *tuned), (plan.candidate,)
    if verdict.crossing is not None:
        return candidate if verdict.crossing.direction == "baseline→candidate" else baseline
    sides = {"baseline": baseline, "candidate": candidate}
    return sides.get(verdict.outcome, (*baseline, *candidate))


def _cost(study: StudyConfig, candidate: Candidate) -> float:
    """The candidate's value, lower is better."""
    return candidate.value if study.analysis.metrics[0].direction == "lower" else -candidate.value
