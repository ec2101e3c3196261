"""Which kind of file it is, and the whole way from its bytes to a long table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossover.curve_files.csv_file import read_csv
from crossover.curve_files.parquet_file import PARQUET, read_parquet
from crossover.curve_files.table import CurveTable, check_table, error, select_long
from crossover.curve_files.wide import melt, select_wide

_SUFFIXES = (".parquet", ".pq")


def read_curves(path: Path, *, wide: Sequence[str] | None = None) -> CurveTable:
    """Read a file of curves.

    Args:
        path: CSV, gzipped CSV, or Parquet; told apart by their first bytes.
        wide: None for a long table: columns `arm, seed, tokens, metric, value`, and if there are any `flops, seconds,
            stderr, step, cell, unique_tokens, parameters`. For a table with a column for each metric, the metrics.

    Returns:
        A long table; rows in the order of the file, for a wide one metric after metric.

    Raises:
        CurvesError: no such file, or it is not a table of curves; says the column, the row and the remedy.
    """
    if not path.is_file():
        problem = f"{path} is {'a folder' if path.is_dir() else 'not a file'}"
        raise error("not-a-file", "--curves", problem, "name a CSV or Parquet file")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as problem:
        raise error("unreadable", "--curves", f"{path.name}: {problem.strerror}", "name a readable file") from problem
    if not magic:
        raise error("empty", "--curves", f"{path.name} is empty", "give a header and a row per arm, seed and point")
    parquet = magic == PARQUET or path.suffix.lower() in _SUFFIXES
    read = read_parquet if parquet else read_csv
    if wide is None:
        return check_table(read(path, select_long))
    return check_table(melt(check_table(read(path, lambda header: select_wide(header, wide))), wide))
