"""The overview of a study: everything that needs several cells, or several arms of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crossover.analysis.across.budget_advice import advise_all
from crossover.analysis.across.cross_cell_result import CellFacts, Factor, Frontier, LawFit, NextRun, Overview
from crossover.analysis.across.crossing_regression import fit_movements
from crossover.analysis.across.gap_factors import Kind, factors
from crossover.analysis.across.model_size_frontier import analyse_frontier
from crossover.analysis.across.quality_shift import quality_shifts
from crossover.analysis.across.scaling_law_fits import LawInput, fit_laws
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Analysis
from crossover.analysis.curve_columns import read_columns
from crossover.analysis.curves import runs_of


@dataclass(frozen=True)
class CellInput:
    """One cell of a study: its facts, its curves and its analysis."""

    facts: CellFacts
    curves: Any
    """A table as `analyse` takes it, of all arms."""
    analysis: Analysis
    tokens: int
    """Tokens of one epoch."""
    ablations: Mapping[str, Kind] = field(default_factory=dict)
    """Arms that isolate a factor of the candidate's advantage."""


AHEAD = 2.0
"""Forecasts go so many times beyond the most unique tokens, and the most parameters, that were run."""
_PLACES = 5


def overview(
    cells: Sequence[CellInput], plan: AnalysisPlan, *, next_runs: Sequence[NextRun] = (), draws: int = 0
) -> Overview:
    """How the crossing moves, also with quality, the frontiers, the factors, the laws, and what to choose.

    Args:
        cells: the study's cells, budgets ascending.
        plan: the study's analysis plan.
        next_runs: what the sequential design would start next, if the study goes on.
        draws: masks an example; 0 is not known.

    Returns:
        The overview; what could not be computed has a reason in its place.
    """
    analysed = [(cell.facts, cell.analysis) for cell in cells]
    return Overview(
        cells=tuple(cell.facts for cell in cells),
        movements=fit_movements(
            analysed, forecasts=[ahead for tier in _by_tier(cells) for ahead in _ahead([cell.facts for cell in tier])]
        ),
        quality=quality_shifts(analysed),
        advice=advise_all(analysed, draws=draws),
        laws=tuple(law for tier in _by_tier(cells) for law in _laws(tier, plan)),
        next_runs=tuple(next_runs),
        factors=tuple(
            _in_cell(cell, factor, several=len(cells) > 1) for cell in cells for factor in _factors(cell, plan)
        ),
        frontiers=tuple(_frontiers(cells, plan)),
    )


def _by_tier(cells: Sequence[CellInput]) -> list[list[CellInput]]:
    """The cells of each tier of quality: fits over cells are within one."""
    tiers: dict[str, list[CellInput]] = {}
    for cell in cells:
        tiers.setdefault(cell.facts.quality, []).append(cell)
    return list(tiers.values())


def _ahead(facts: Sequence[CellFacts]) -> list[CellFacts]:
    """Cells to forecast in a tier: a line over unique tokens for each model, to twice the most, and a larger model."""
    budgets, tier = [f.unique_tokens for f in facts], facts[0].quality
    models = sorted({(f.parameters, f.sparse) for f in facts})
    places = np.geomspace(min(budgets), AHEAD * max(budgets), _PLACES).round().astype(int).tolist()
    if len(set(budgets)) == 1:
        places = budgets[:1]
    parameters, sparse = models[-1]
    if len({model[0] for model in models}) > 1:
        models.append((round(AHEAD * parameters), sparse))
    return [
        CellFacts(cell="", unique_tokens=tokens, parameters=n, sparse=is_sparse, quality=tier)
        for n, is_sparse in models
        for tokens in places
    ]


def _laws(cells: Sequence[CellInput], plan: AnalysisPlan) -> tuple[LawFit, ...]:
    """Laws of the two families' primary metric in one tier of quality, if that is a loss."""
    metric = plan.metrics[0]
    if metric.direction != "lower":
        return ()
    inputs = []
    for cell in cells:
        runs = runs_of(read_columns(cell.curves, plan, cell.tokens), metric.name, "tokens")
        curves = {a: [c for (arm, _), c in runs.items() if arm == a] for a in (plan.baseline, plan.candidate)}
        inputs.append(LawInput(cell.facts.model_copy(update={"unique_tokens": cell.tokens}), curves))
    fits = fit_laws(inputs, (plan.baseline, plan.candidate), alpha=plan.alpha)
    return tuple(fit.model_copy(update={"quality": cells[0].facts.quality}) for fit in fits)


def _factors(cell: CellInput, plan: AnalysisPlan) -> tuple[Factor, ...]:
    return factors(cell.curves, plan, cell.ablations, unique_tokens=cell.tokens)


def _in_cell(cell: CellInput, factor: Factor, *, several: bool) -> Factor:
    return factor.model_copy(update={"cell": cell.facts.cell}) if several else factor


def _frontiers(cells: Sequence[CellInput], plan: AnalysisPlan) -> list[Frontier]:
    """One for each budget of a tier that several models were run with, if the plan asks for frontiers."""
    if "frontier" not in plan.comparisons:
        return []
    frontiers = []
    budgets = {(cell.facts.unique_tokens, cell.facts.quality): None for cell in cells}
    for budget, tier in sorted(budgets, key=lambda key: key[0]):
        same_budget = [c for c in cells if (c.facts.unique_tokens, c.facts.quality) == (budget, tier)]
        analysis = analyse_frontier(
            {cell.facts.cell: cell.curves for cell in same_budget}, plan, unique_tokens=same_budget[0].tokens
        )
        if analysis is not None:
            names = tuple(cell.facts.cell for cell in same_budget)
            frontiers.append(Frontier(unique_tokens=budget, quality=tier, cells=names, analysis=analysis))
    return frontiers
