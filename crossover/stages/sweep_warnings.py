"""Warnings of what a sweep chose: an arm that took no part in it, and cells in which it was not made.

They stand where a comparison is read: in the reasons of verdicts, those of frontiers too, and of maps, and in advice.
"""

from __future__ import annotations

from collections.abc import Sequence

from crossover.analysis.across.cross_cell_result import Overview
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Analysis
from crossover.study.study_config import StudyConfig


def warned_of_sweep(study: StudyConfig, analysis: Analysis, cells: Sequence[str]) -> Analysis:
    """The analysis, with the warnings in the reasons of its verdicts.

    Args:
        study: with the results of its sweep, if it has one.
        analysis: of one cell or of a frontier, under the study's plan or another.
        cells: names of the cells that it is of.
    """
    verdicts = tuple(
        v.model_copy(update={"reason": v.reason + _warnings(study, analysis.plan, v.baseline, v.candidate, cells)})
        for v in analysis.verdicts
    )
    return analysis.model_copy(update={"verdicts": verdicts})


def warned_overview(study: StudyConfig, plan: AnalysisPlan, overview: Overview) -> Overview:
    """The overview, with the warnings in its frontiers, maps, comparisons of tiers of quality, and advice.

    Args:
        study: with the results of its sweep, if it has one.
        plan: of the overview, the study's or another.
        overview: without warnings.
    """
    names = [facts.cell for facts in overview.cells]
    of_plan = _warnings(study, plan, plan.baseline, plan.candidate, names)
    movements = tuple(m.model_copy(update={"reason": m.reason + of_plan}) for m in overview.movements)
    shifts = []
    for shift in overview.quality:
        cells = [place.facts.cell for place in (shift.lower, shift.higher)]
        note = _warnings(study, plan, plan.baseline, plan.candidate, cells).strip()
        shifts.append(shift.model_copy(update={"note": note}))
    frontiers = tuple(
        frontier.model_copy(update={"analysis": warned_of_sweep(study, frontier.analysis, frontier.cells)})
        for frontier in overview.frontiers
    )
    advice = tuple(
        a.model_copy(update={"because": a.because + _warnings(study, plan, a.baseline, a.candidate, ())})
        for a in overview.advice
    )
    changes = {"movements": movements, "quality": tuple(shifts), "frontiers": frontiers, "advice": advice}
    return overview.model_copy(update=changes)


def _warnings(study: StudyConfig, plan: AnalysisPlan, baseline: str, candidate: str, cells: Sequence[str]) -> str:
    """What to append to the reason of a comparison in these cells; empty where there is nothing to warn of."""
    tuned = {result.arm for result in study.tuning.results}
    baselines = (plan.baseline, *plan.tuned) if baseline == plan.tuned_name else (baseline,)
    compared = (*baselines, candidate)
    chosen, left = [arm for arm in compared if arm in tuned], [arm for arm in compared if arm not in tuned]
    if not chosen:
        return ""
    of_sweep, said = study.cells[0].name, f"the sweep chose the settings of {' and '.join(chosen)}"
    words = ""
    if left:
        words = (
            f" Warning: {said}, and {' and '.join(left)} took no part in it, so that this comparison favours what was "
            "tuned."
        )
    if elsewhere := [cell for cell in cells if cell != of_sweep]:
        where = f"In {elsewhere[0]}" if len(elsewhere) == 1 else f"In {len(elsewhere)} other cells of this comparison"
        words += f" {where} other settings may be better: {said} in {of_sweep}."
    return words
