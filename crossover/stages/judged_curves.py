"""Curves that somebody else measured, judged cell by cell, and the report of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import crossover
from crossover.analysis.across.cross_cell_result import CellFacts, Overview
from crossover.analysis.across.next_experiments import without_edits
from crossover.analysis.across.study_overview import CellInput, overview
from crossover.analysis.analyse_cell import analyse
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Analysis
from crossover.curve_files import CellCurves, CurveTable, listing
from crossover.errors import CurvesError
from crossover.files import write_json

if TYPE_CHECKING:
    from crossover.report import ReportContext

Judged = tuple[CellCurves, Analysis]


def judge_cells(table: CurveTable, cells: Sequence[CellCurves], plan: AnalysisPlan) -> list[Judged]:
    """The analysis of each cell of a table.

    Args:
        table: from which the cells were split.
        cells: of `split_cells`.
        plan: of the analysis.

    Raises:
        CurvesError: the curves of a cell are malformed; of several cells the message says which.
    """
    return [(cell, _judge(cell, plan, _notes(table, cell), several=len(cells) > 1)) for cell in cells]


def write_judged(
    folder: Path, name: str, digest: str, plan: AnalysisPlan, judged: Sequence[Judged], *, sql: str = ""
) -> ReportContext:
    """Write analysis.json, overview.json and the report in its three forms.

    Args:
        folder: of the report; files that stand there are replaced.
        name: of the file or the study.
        digest: of the curves and the plan.
        plan: of the analysis.
        judged: the cells and their analyses.
        sql: a command that shows the verdicts in a registry; empty where they are in none.

    Returns:
        What the report says.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    from crossover.report import CellReport, ReportContext, write_report

    summary = _overview(judged, plan)
    write_json(folder / "analysis.json", {cell.cell: a.model_dump(mode="json") for cell, a in judged})
    write_json(folder / "overview.json", summary.model_dump(mode="json"))
    report = ReportContext(
        study=name,
        study_digest=digest,
        question=f"Do the curves in {name} cross?",
        cells=tuple(
            CellReport(cell=c.cell, unique_tokens=c.unique_tokens, parameters=c.parameters, analysis=analysis)
            for c, analysis in judged
        ),
        overview=summary,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=crossover.__version__,
        sql=sql,
    )
    write_report(report, folder)
    return report


def _judge(cell: CellCurves, plan: AnalysisPlan, notes: Sequence[str], *, several: bool) -> Analysis:
    """One cell's analysis; of several cells, what is wrong in one says which."""
    try:
        return analyse(cell.curves, plan, unique_tokens=cell.unique_tokens, notes=notes)
    except CurvesError as error:
        if not several:
            raise
        problem = f"in cell {cell.cell!r}, {error.problem}"
        raise CurvesError(error.code, field=error.field, problem=problem, remedy=error.remedy) from error


def _notes(table: CurveTable, cell: CellCurves) -> tuple[str, ...]:
    unused = (f"Columns of the file that were not used: {listing(table.unused)}.",) if table.unused else ()
    return (*table.notes, *cell.notes, *unused)


def _overview(judged: Sequence[Judged], plan: AnalysisPlan) -> Overview:
    """What the cells say together, where each has its unique tokens and parameters."""
    cells = []
    for cell, analysis in judged:
        if cell.unique_tokens is None or cell.parameters is None:
            return Overview()
        facts = CellFacts(cell=cell.cell, unique_tokens=cell.unique_tokens, parameters=cell.parameters)
        cells.append(CellInput(facts, cell.curves, analysis, cell.unique_tokens))
    summary = overview(cells, plan)
    return summary.model_copy(update={"advice": tuple(map(without_edits, summary.advice))})
