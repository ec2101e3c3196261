"""What a report says of a study as a whole, as the registry keeps it beside the analyses of its cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from crossover.analysis.across.cross_cell_result import Frontier, Overview
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.report.report_data import Reference, ReportContext, RunHealth

OVERVIEW = "(overview)"
"""Stands where an analysis has the name of its cell; no cell is named so."""
_METHOD = "overview of a study, 1"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FrontierName(_Record):
    """A frontier: its analysis is recorded under a name like that of a cell."""

    name: str
    unique_tokens: int
    quality: str = ""
    cells: tuple[str, ...]


class RecordedHealth(_Record):
    """How a run went."""

    cell: str
    arm: str
    seed: int
    health: RunHealth


class StudyRecord(_Record):
    """The parts of a report that are not of one cell. It has no verdicts: those of frontiers are in their analyses."""

    method: str = _METHOD
    verdicts: tuple[()] = ()
    plan: AnalysisPlan
    overview: Overview
    """Without its frontiers."""
    frontiers: tuple[FrontierName, ...]
    health: tuple[RecordedHealth, ...]
    references: tuple[Reference, ...]


def study_records(report: ReportContext) -> dict[str, Mapping[str, Any]]:
    """What `record_analysis` gets of a study as a whole: its frontiers by name, and the record of the rest."""
    named = {_name(frontier): frontier for frontier in report.overview.frontiers}
    record = StudyRecord(
        plan=report.cells[0].analysis.plan,
        overview=report.overview.model_copy(update={"frontiers": ()}),
        frontiers=tuple(
            FrontierName(name=name, unique_tokens=f.unique_tokens, quality=f.quality, cells=f.cells)
            for name, f in named.items()
        ),
        health=tuple(
            RecordedHealth(cell=cell.cell, arm=run.arm, seed=run.seed, health=run.health)
            for cell in report.cells
            for run in cell.runs
            if run.health is not None
        ),
        references=report.references,
    )
    frontiers = {name: frontier.analysis.model_dump(mode="json") for name, frontier in named.items()}
    return {**frontiers, OVERVIEW: record.model_dump(mode="json")}


def _name(frontier: Frontier) -> str:
    return "-".join(filter(None, (f"u{frontier.unique_tokens}", frontier.quality, "frontier")))
