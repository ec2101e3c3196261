"""All that several cells, or several arms of one, say together: one call over a study's analyses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crossover.analysis.across.factors import Kind, factors
from crossover.analysis.across.frontier import analyse_frontier
from crossover.analysis.across.result import CellFacts, Factor, Frontier, Overview
from crossover.analysis.plan import AnalysisPlan
from crossover.analysis.result import Analysis


@dataclass(frozen=True)
class Cell:
    """One cell of a study: what it is, its curves, and what was found in it."""

    facts: CellFacts
    curves: Any
    """A table as `analyse` takes it, of all arms."""
    analysis: Analysis
    tokens: int
    """Tokens of one epoch."""
    ablations: Mapping[str, Kind] = field(default_factory=dict)
    """Arms that isolate a factor of the candidate's advantage."""


def overview(cells: Sequence[Cell], plan: AnalysisPlan) -> Overview:
    """How the crossing moves, the frontiers, the factors, the laws, and what to choose.

    Args:
        cells: the study's cells, budgets ascending.
        plan: the study's analysis plan.

    Returns:
        The overview. What cannot be said says why.
    """
    return Overview(
        factors=tuple(
            _in_cell(cell, factor, several=len(cells) > 1) for cell in cells for factor in _factors(cell, plan)
        ),
        frontiers=tuple(_frontiers(cells, plan)),
    )


def _factors(cell: Cell, plan: AnalysisPlan) -> tuple[Factor, ...]:
    return factors(cell.curves, plan, cell.ablations, unique_tokens=cell.tokens)


def _in_cell(cell: Cell, factor: Factor, *, several: bool) -> Factor:
    return factor.model_copy(update={"cell": cell.facts.cell}) if several else factor


def _frontiers(cells: Sequence[Cell], plan: AnalysisPlan) -> list[Frontier]:
    """One for each budget that several models were run with, if the plan asks for frontiers."""
    if "frontier" not in plan.comparisons:
        return []
    found = []
    for budget in sorted({cell.facts.unique_tokens for cell in cells}):
        mine = [cell for cell in cells if cell.facts.unique_tokens == budget]
        analysis = analyse_frontier({cell.facts.cell: cell.curves for cell in mine}, plan, unique_tokens=mine[0].tokens)
        if analysis is not None:
            names = tuple(cell.facts.cell for cell in mine)
            found.append(Frontier(unique_tokens=budget, cells=names, analysis=analysis))
    return found
