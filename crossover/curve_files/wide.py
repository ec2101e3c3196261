"""Wide tables, as trackers export them: a column for each metric, a row for each checkpoint, gaps where unmeasured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossover.curve_files.table import (
    NAMES,
    NUMBERS,
    CurveTable,
    NameColumn,
    Selection,
    error,
    listing,
    metric_needed,
    missing,
)

STDERR = "_stderr"
"""A metric's standard error stands in the column that is named like it, with this behind."""


def metric_columns(header: list[str]) -> list[str]:
    """The columns of a wide table that may be metrics."""
    known = {*NAMES, *NUMBERS} - {"value"}
    others = [name for name in header if name and name not in known]
    return [name for name in others if not (name.endswith(STDERR) and name.removesuffix(STDERR) in others)]


def select_wide(header: list[str], metrics: Sequence[str]) -> Selection:
    """The columns of a wide table.

    Args:
        header: the file's.
        metrics: names of the columns that are read as metrics.

    Raises:
        CurvesError: a needed column or a metric is not there.
    """
    for name in ("arm", "seed", "tokens"):
        if name not in header:
            raise missing(name, header)
    if not metrics:
        raise metric_needed(metric_columns(header))
    for name in metrics:
        if name not in metric_columns(header):
            problem = f"no such column; those that may be metrics are {listing(metric_columns(header))}"
            raise error("unknown-metric", name, problem, "name one of them with --metric or in the plan")
    places = tuple(n for n in NUMBERS if n in header and n not in ("value", "stderr"))
    values = tuple(metrics)
    errors = tuple(name + STDERR for name in metrics if name + STDERR in header)
    used = {"arm", "cell", *places, *values, *errors}
    return Selection(
        names=tuple(name for name in ("arm", "cell") if name in header),
        numbers=(*places, *values, *errors),
        unused=tuple(name for name in header if name and name not in used),
    )


def melt(table: CurveTable, metrics: Sequence[str]) -> CurveTable:
    """A wide table as a long one; where a metric has no number there is no point, and a note counts these rows.

    Of an arm in whose column there is no number at all one row stays, so that the analysis can say so.

    Args:
        table: as read with `select_wide`.
        metrics: its metrics.
    """
    rows_M = [_points(table, name) for name in metrics]
    kept_R = np.concatenate([np.empty(0, np.intp), *rows_M])
    places = {n: c for n, c in table.numbers.items() if n in NUMBERS and n not in ("value", "stderr")}
    numbers = {name: column[kept_R] for name, column in places.items()}
    pairs = list(zip(metrics, rows_M, strict=True))
    numbers["value"] = np.concatenate([np.empty(0), *(table.numbers[name][rows] for name, rows in pairs)])
    if any(name + STDERR in table.numbers for name in metrics):
        unknown = np.full(table.rows, np.nan)
        errors = [table.numbers.get(name + STDERR, unknown)[rows] for name, rows in pairs]
        numbers["stderr"] = np.concatenate([np.empty(0), *errors])
    codes = np.repeat(np.arange(len(metrics), dtype=np.int32), [rows.size for rows in rows_M])
    names = {name: replace(column, code_R=column.code_R[kept_R]) for name, column in table.names.items()}
    names["metric"] = NameColumn(codes, tuple(metrics))
    notes = [
        f"{name}: {blank:,} of {table.rows:,} rows have no number in this column; they are no points."
        for name in metrics
        if (blank := int(np.isnan(table.numbers[name]).sum()))
    ]
    return CurveTable(names, numbers, lambda row: table.place(int(kept_R[row])), table.unused, (*table.notes, *notes))


def _points(table: CurveTable, metric: str) -> NDArray[np.intp]:
    """Rows with a number, and the first row of every arm of a cell that has none."""
    measured_R = ~np.isnan(table.numbers[metric])
    arms_R = table.names["arm"].code_R.astype(np.intp)
    if "cell" in table.names:
        cell = table.names["cell"]
        arms_R = arms_R * len(cell.names) + cell.code_R
    has_number = np.bincount(arms_R, weights=measured_R) > 0
    blank_rows = np.flatnonzero(~has_number[arms_R])
    _, first = np.unique(arms_R[blank_rows], return_index=True)
    return np.sort(np.r_[np.flatnonzero(measured_R), blank_rows[first]])
