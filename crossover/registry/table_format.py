"""The result of a query as an aligned table, as JSON or as CSV."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from decimal import Decimal

from tabulate import tabulate

from crossover.registry.registry_records import QueryResult

NARROWEST_COLUMN = 12
_GAP, _PADDING = 2, 2  # tabulate's: between columns, and around a column's name


def format_table(table: QueryResult, *, width: int | None = None) -> str:
    """Aligned columns, numbers to the right.

    Args:
        table: the result of a query.
        width: of a line in characters, which the widest texts are cut to fit; None is the terminal's width, or no
            limit where the output is not a terminal.
    """
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    rows = [list(row) for row in table.rows]
    if width is not None:
        limits = _limits(table, width)
        rows = [[_cut(value, limit) for value, limit in zip(row, limits, strict=True)] for row in rows]
    return tabulate(rows, headers=table.columns, tablefmt="simple", floatfmt=".6g", missingval="")


def _limits(table: QueryResult, width: int) -> list[int]:
    """Greatest width of each column: the widest are cut first, none below its name or NARROWEST_COLUMN."""
    headers = [len(name) + _PADDING for name in table.columns]
    cells = [[_length(row[i]) for row in table.rows] for i in range(len(headers))]
    widths = [max([header, *column]) for header, column in zip(headers, cells, strict=True)]
    floors = [max(header, NARROWEST_COLUMN) for header in headers]
    while sum(widths) + _GAP * (len(widths) - 1) > width:
        excess, widest = max((w - floor, i) for i, (w, floor) in enumerate(zip(widths, floors, strict=True)))
        if excess <= 0:
            break
        widths[widest] -= 1
    return widths


def _length(value: object) -> int:
    return len(f"{value:.6g}" if isinstance(value, float) else str(value))


def _cut(value: object, limit: int) -> object:
    return value[: limit - 1] + "…" if isinstance(value, str) and len(value) > limit else value


def table_json(table: QueryResult) -> str:
    """A JSON array with one object a row."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return json.dumps(rows, indent=1, ensure_ascii=False, default=_plain)


def table_csv(table: QueryResult) -> str:
    """CSV with a header; NULL is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.columns, *table.rows])
    return text.getvalue().removesuffix("\n")


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else str(value)
