"""A warning in the reasons of verdicts that compare an arm whose settings a sweep chose with one that took no part."""

from __future__ import annotations

from crossover.analysis.analysis_result import Analysis, Verdict
from crossover.study.study_config import StudyConfig


def warned_of_sweep(study: StudyConfig, analysis: Analysis) -> Analysis:
    """The analysis, with the warning where it belongs: a study's own plan compares tuned arms, another plan may not.

    Args:
        study: with the results of its sweep, if it has one.
        analysis: of one cell, under the study's plan or another.
    """
    tuned = {result.arm for result in study.tuning.results}
    plan = analysis.plan

    def reason(verdict: Verdict) -> str:
        baselines = (plan.baseline, *plan.tuned) if verdict.baseline == plan.tuned_name else (verdict.baseline,)
        compared = (*baselines, verdict.candidate)
        chosen, left = [arm for arm in compared if arm in tuned], [arm for arm in compared if arm not in tuned]
        if not (chosen and left):
            return verdict.reason
        return (
            f"{verdict.reason} Warning: the sweep chose the settings of {' and '.join(chosen)}, and "
            f"{' and '.join(left)} took no part in it, so that this comparison favours what was tuned."
        )

    verdicts = tuple(verdict.model_copy(update={"reason": reason(verdict)}) for verdict in analysis.verdicts)
    return analysis.model_copy(update={"verdicts": verdicts})
