"""Parquet to columns, by pyarrow, which is not among the dependencies: `pip install 'crossover[curves]'`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossover.curve_files.table import (
    CurveTable,
    FloatArray,
    NameColumn,
    Select,
    clean_names,
    error,
    header_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = b"PAR1"


def read_parquet(path: Path, select: Select) -> CurveTable:
    """Read the selected columns of a Parquet file.

    Args:
        path: the file.
        select: says which columns to read, given the columns' names.

    Raises:
        CurvesError: pyarrow is absent, the file is torn, or a column is of another type; says the column or the row.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as problem:
        raise error(
            "no-pyarrow",
            "--curves",
            f"{path.name} is Parquet, and pyarrow is not installed",
            "run: pip install 'crossover[curves]', or save the table as CSV",
        ) from problem
    try:
        schema = parquet.read_schema(path)
        selection = select(header_of(schema.names))
        stored = {name.strip(): name for name in schema.names}
        texts = [stored[name] for name in selection.names if pa.types.is_string(schema.field(stored[name]).type)]
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            wanted = [*selection.names, *selection.numbers]
            table = file.read(columns=[stored[name] for name in wanted])
            return CurveTable(
                {name: _names(name, table[stored[name]]) for name in selection.names},
                {name: _numbers(name, table[stored[name]]) for name in selection.numbers},
                _place,
                selection.unused,
            )
    except (pa.ArrowException, OSError, ValueError) as problem:
        text = " ".join(str(problem).split())[:200]
        raise error(
            "unreadable", "--curves", f"{path.name} is no whole Parquet file: {text}", "export it again"
        ) from problem


def _place(row: int) -> str:
    return f"row {row + 1}"


def _names(name: str, column: pa.ChunkedArray) -> NameColumn:
    """Text, dictionary-encoded or not."""
    import pyarrow as pa
    from pyarrow import compute

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise error("not-text", name, f"is of type {column.type}, not text", "give names as strings")
    if column.null_count:
        row = int(np.flatnonzero(compute.is_null(column).to_numpy())[0])
        raise error("bad-name", name, f"{_place(row)} has no name", "give every row a plain name")
    encoded = (column.cast(kind) if kind is not column.type else column).combine_chunks().dictionary_encode()
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int32)
    return clean_names(name, codes, encoded.dictionary.to_pylist(), _place)


def _numbers(name: str, column: pa.ChunkedArray) -> FloatArray:
    """Whole, floating and decimal numbers; null is NaN."""
    import pyarrow as pa

    types = pa.types
    if not any(test(column.type) for test in (types.is_integer, types.is_floating, types.is_decimal, types.is_null)):
        raise error(
            "not-a-number", name, f"is of type {column.type}, not numbers", "store numbers; leave unknown ones null"
        )
    numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, dtype=np.float64)
