"""Several files as one table of curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossover.curve_files.table import CurveTable, NameColumn, error


def concatenate(tables: Sequence[tuple[str, CurveTable]]) -> CurveTable:
    """The rows of several tables, one behind the other; a number that a table does not have is unknown there.

    Args:
        tables: the name of each file, for messages, and its table; at least one.

    Raises:
        CurvesError: some have a column `cell`, `unique_tokens` or `parameters`, and some do not.
    """
    if len(tables) == 1:
        return tables[0][1]
    for column in ("cell", "unique_tokens", "parameters"):
        having = [name for name, table in tables if column in table.names or column in table.numbers]
        if having and len(having) < len(tables):
            other = next(name for name, _ in tables if name not in having)
            text = f"is a column of {having[0]} and not of {other}"
            raise error("uneven-files", column, text, "give all files the column, or none")
    ends = np.cumsum([table.rows for _, table in tables])

    def place(row: int) -> str:
        index = int(np.searchsorted(ends, row, side="right"))
        name, table = tables[index]
        return f"{table.place(row - (int(ends[index - 1]) if index else 0))} of {name}"

    columns = dict.fromkeys(name for _, table in tables for name in table.numbers)
    numbers = {
        name: np.concatenate([t.numbers.get(name, np.full(t.rows, np.nan)) for _, t in tables]) for name in columns
    }
    names = {name: _joined([table.names[name] for _, table in tables]) for name in tables[0][1].names}
    return CurveTable(
        names,
        numbers,
        place,
        tuple(dict.fromkeys(column for _, table in tables for column in table.unused)),
        tuple(dict.fromkeys(note for _, table in tables for note in table.notes)),
    )


def _joined(columns: Sequence[NameColumn]) -> NameColumn:
    codes = {name: code for code, name in enumerate(dict.fromkeys(name for c in columns for name in c.names))}
    parts = [np.array([codes[name] for name in c.names], dtype=np.int32)[c.code_R] for c in columns]
    return NameColumn(np.concatenate(parts), tuple(codes))
