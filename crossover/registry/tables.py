"""Rows of a query for people and for programs."""

from __future__ import annotations

import json
from decimal import Decimal

from tabulate import tabulate

from crossover.registry.records import Table

WIDEST_CELL = 60


def format_table(table: Table) -> str:
    """Aligned columns; long cells are cut, and a last line says when rows were left out."""
    rows = [[_cell(value) for value in row] for row in table.rows]
    text = tabulate(rows, headers=table.columns, tablefmt="simple", floatfmt=".6g", missingval="")
    return text + (f"\n({len(rows)} rows shown, there are more: raise --limit)" if table.truncated else "")


def _cell(value: object) -> object:
    if isinstance(value, str) and len(value) > WIDEST_CELL:
        return value[: WIDEST_CELL - 1] + "…"
    return value


def table_json(table: Table) -> str:
    """A JSON array of objects, one a row."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return json.dumps(rows, indent=1, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else str(value)
