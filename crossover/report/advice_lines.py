"""Advice as text: what to choose, why, and what could change it; the same on the page and in a terminal."""

from __future__ import annotations

from crossover.analysis.across.cross_cell_result import Advice
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.upper_bounds import upper_bound_arm
from crossover.report import number_formats as fmt
from crossover.report.answer import answer, at_a_budget
from crossover.report.report_data import ReportContext
from crossover.report.report_tables import Row, Table


def advice(context: ReportContext) -> Table:
    """What to choose for each cell."""
    rows: list[Row] = []
    for a in context.overview.advice:
        facts = f"{fmt.count(a.unique_tokens)} unique tokens, {fmt.count(a.parameters)} parameters{fmt.tier(a.quality)}"
        rows.append((facts, choice_sentence(context, a), because(context, a), experiments(a)))
    head = ("With", "Choose", "Because", "What could change this, cheapest first")
    return Table("What to choose", head, tuple(rows), figures_from=9, strong=1)


def choice_sentence(context: ReportContext, advice: Advice) -> str:
    """What to choose: the report's answer, or at a budget what was found there."""
    cell = (advice.unique_tokens, advice.parameters, advice.quality)
    names = [f.cell for f in context.overview.cells if (f.unique_tokens, f.parameters, f.quality) == cell]
    analysis = next((cell.analysis for cell in context.cells if cell.cell in names), None)
    if advice.basis == "verdict" and analysis is not None:
        return f"{answer(analysis)}."
    end = advice.trained_to_end
    late, late_baseline = (end.choose, end.baseline) if end is not None else (None, "")
    return f"{at_a_budget(advice.choose, late, advice.baseline, advice.candidate, late_baseline)}."


def because(context: ReportContext, advice: Advice) -> str:
    """Why, and what the candidate's loss is an upper bound of."""
    metric = next((m for cell in context.cells for m in cell.analysis.plan.metrics if m.name == advice.metric), None)
    arm = "" if metric is None else upper_bound_arm(metric, context.cells[0].analysis.plan)
    if advice.basis == "not tested" or metric is None or not arm:
        return advice.because
    bound = f"{arm_label(arm)}'s {metric.title.lower()} is an upper bound (NELBO)"
    return f"{advice.because} {bound}: the exact one is as low or lower."


def experiments(advice: Advice) -> str:
    """All experiments in one text, cheapest first."""
    return " ".join((advice.cheapest, *(f"Or: {text}" for text in advice.alternatives)))
