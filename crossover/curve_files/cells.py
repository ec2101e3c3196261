"""One file, several cells: each cell's curves as the columns that `analyse` takes, made small enough for it.

Shapes: R rows of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.curve_files.table import CurveTable, NameColumn, error, listing
from crossover.curve_files.thinning import MOST_POINTS, thin

MOST_CELLS = 256
MOST_OTHERS = 16
"""Of arms, or metrics, that the plan does not name: with more, none of them is kept."""
COLUMNS = ("seed", "tokens", "flops", "seconds", "value", "stderr", "step")
_FACTS = ("unique_tokens", "parameters")
MOST_COUNT = 2**53
"""Beyond this a float64 does not hold every whole number."""
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class CellCurves:
    """The curves of one cell, as `analyse` takes them."""

    cell: str
    curves: dict[str, NDArray[np.float64] | NDArray[np.str_]]
    unique_tokens: int | None
    parameters: int | None
    notes: tuple[str, ...]


def split_cells(table: CurveTable, plan: AnalysisPlan, *, unique_tokens: int | None = None) -> list[CellCurves]:
    """The cells of a file, smallest budgets first.

    A cell is what the column `cell` names; without it, one combination of `unique_tokens` and `parameters`.

    Args:
        table: a long table.
        plan: names the arms and metrics that must be kept.
        unique_tokens: tokens of an epoch, when the file does not say.

    Raises:
        CurvesError: there are more than 256 cells, a cell has two budgets or sizes, `unique_tokens` is given twice, or
            a tuned arm has no rows in the whole file.
    """
    if unique_tokens is not None and "unique_tokens" in table.numbers:
        remedy = "leave --unique-tokens out, or drop the column"
        raise error(
            "bad-unique-tokens", "unique_tokens", "is a column of the file, and --unique-tokens is given too", remedy
        )
    absent = [arm for arm in plan.tuned if arm not in table.names["arm"].names]
    if absent:
        problem = f"the plan's tuned {absent[0]!r} has no rows; the arms are {listing(table.held('arm'))}"
        raise error("unknown-arm", "arm", problem, "name one of them with --tuned or as plan.tuned, or add its rows")
    cells = cell_column(table)
    if len(cells.names) > MOST_CELLS:
        problem = f"the file has {len(cells.names):,} cells, and {MOST_CELLS} is the most"
        raise error("bad-cells", "cell", problem, "look whether the column is what it should be, or split the file")
    kept, notes = _kept(table, plan)
    order = np.argsort(cells.code_R, kind="stable")
    bounds = np.searchsorted(cells.code_R[order], np.arange(len(cells.names) + 1))
    split = [
        _cell(table, name, np.sort(order[start:end]), kept, notes, unique_tokens)
        for name, start, end in zip(cells.names, bounds[:-1], bounds[1:], strict=True)
    ]
    return sorted(split, key=lambda cell: (cell.unique_tokens or 0, cell.parameters or 0, cell.cell))


def cell_column(table: CurveTable) -> NameColumn:
    """The cell of every row, as `split_cells` names it.

    Raises:
        CurvesError: unique tokens or parameters are no counts.
    """
    if "cell" in table.names:
        return table.names["cell"]
    facts = [name for name in _FACTS if name in table.numbers]
    if not facts:
        return NameColumn(np.zeros(table.rows, dtype=np.int32), ("curves",))
    columns = np.stack([_counts(table, name) for name in facts], axis=1)
    distinct, codes = np.unique(columns, axis=0, return_inverse=True)
    marks = {"unique_tokens": "u", "parameters": "n"}
    names = ["-".join(f"{marks[f]}{value:.0f}" for f, value in zip(facts, row, strict=True)) for row in distinct]
    return NameColumn(codes.ravel().astype(np.int32), tuple(names))


def _counts(table: CurveTable, name: str, rows: Rows | None = None) -> NDArray[np.float64]:
    """A column of counts: positive whole numbers below 2^53."""
    column = table.numbers[name] if rows is None else table.numbers[name][rows]
    good = (column >= 1) & (column < MOST_COUNT)
    good[good] = column[good] == np.floor(column[good])
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        problem = f"{table.place(row if rows is None else int(rows[row]))} has {column[row]:g}, which is no count"
        raise error(
            "not-a-count", name, problem, "give every row a positive whole number below 2^53, or drop the column"
        )
    return column


def _fact(table: CurveTable, name: str, rows: Rows, cell: str) -> int | None:
    if name not in table.numbers:
        return None
    distinct = np.unique(_counts(table, name, rows))
    if distinct.size > 1:
        problem = f"cell {cell!r} has several: {listing(f'{value:.0f}' for value in distinct)}"
        raise error("bad-cells", name, problem, "name a cell for each in the column `cell`, or drop that column")
    return int(distinct[0])


def _kept(table: CurveTable, plan: AnalysisPlan) -> tuple[NDArray[np.bool_], list[str]]:
    """Rows of the plan's arms and metrics, and of the others where these are few."""
    keep = np.ones(table.rows, dtype=bool)
    notes = []
    wanted: tuple[tuple[str, Sequence[str]], ...] = (
        ("arm", (plan.baseline, plan.candidate, *plan.tuned)),
        ("metric", [metric.name for metric in plan.metrics]),
    )
    for column, planned in wanted:
        names = table.names[column]
        others = sorted(set(names.names) - set(planned))
        if len(others) > MOST_OTHERS:
            keep &= np.isin(names.code_R, [i for i, name in enumerate(names.names) if name in planned])
            notes.append(f"Left out, because the plan does not name them: {column}s {listing(others)}.")
    return keep, notes


def _cell(
    table: CurveTable, cell: str, rows: Rows, kept: NDArray[np.bool_], notes: Sequence[str], unique_tokens: int | None
) -> CellCurves:
    facts = {name: _fact(table, name, rows, cell) for name in _FACTS}
    rows = rows[kept[rows]]
    messages = list(notes)
    thinned = thin(table, rows)
    if thinned.size < rows.size:
        messages.append(
            f"Runs with more than {MOST_POINTS} points of a metric were thinned to at most so many, evenly in log "
            f"tokens: {thinned.size:,} of {rows.size:,} rows are used. How good a value is took no part in the choice."
        )
        valueless = int(np.sum(~np.isfinite(table.numbers["value"][np.setdiff1d(rows, thinned)])))
        if valueless:
            messages.append(f"{valueless:,} of the rows that were thinned out have no finite value.")
    if "stderr" in table.numbers:
        messages += _without_error(table, thinned)
    curves: dict[str, NDArray[np.float64] | NDArray[np.str_]] = {}
    for name in ("arm", "metric"):
        column = table.names[name]
        curves[name] = NameColumn(column.code_R[thinned], column.names).text()
    curves |= {name: table.numbers[name][thinned] for name in COLUMNS if name in table.numbers}
    return CellCurves(cell, curves, facts["unique_tokens"] or unique_tokens, facts["parameters"], tuple(messages))


def _without_error(table: CurveTable, rows: Rows) -> list[str]:
    """Notes on metrics that have standard errors at some points only."""
    metric = table.names["metric"]
    unknown = np.isnan(table.numbers["stderr"][rows])
    notes = []
    for code, name in enumerate(metric.names):
        missing = unknown[metric.code_R[rows] == code]
        if missing.any() and not missing.all():
            counts = f"{int(missing.sum()):,} of {missing.size:,}"
            notes.append(f"{name}: {counts} points have no standard error; it counts as 0 there.")
    return notes
