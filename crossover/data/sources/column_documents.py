"""Documents in columns of Parquet and Arrow files, read by small batches, never a whole file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from crossover.data.optional_modules import optional_module
from crossover.data.sources.bad_documents import BadDocument, not_text, not_utf8
from crossover.data.sources.text_documents import Piece, with_score
from crossover.progress import MEBIBYTE
from crossover.study.data_config import DataConfig

if TYPE_CHECKING:
    from pyarrow import Array, RecordBatch, Scalar

BATCH_ROWS = 16
"""Rows decoded at once; each may be as long as the longest document."""


def parquet_rows(file: BinaryIO, config: DataConfig) -> Iterator[tuple[str, Piece]]:
    """A document of each row; only its columns are read, page by page."""
    parquet = optional_module("pyarrow.parquet")
    with _torn_is_oserror():
        table = parquet.ParquetFile(file, buffer_size=MEBIBYTE, pre_buffer=False, page_checksum_verification=True)
        names = table.schema_arrow.names
        fields = _read_fields(config)
        wanted = [field for field in fields if field in names or field.partition(".")[0] in names] or names[:1]
        yield from _rows(table.iter_batches(batch_size=BATCH_ROWS, columns=wanted), config, names)


def arrow_rows(file: BinaryIO, config: DataConfig) -> Iterator[tuple[str, Piece]]:
    """A document of each row of an Arrow file or stream (also those that `datasets` saves)."""
    with _torn_is_oserror():
        names, batches = _arrow_batches(file)
        yield from _rows(batches, config, names)


def first_row(file: BinaryIO, kind: str) -> dict[str, Any]:
    """All columns of the first row of a file of kind `parquet` or `arrow`; empty if there is no row.

    Raises:
        OSError: the file is torn, or of another kind.
    """
    with _torn_is_oserror():
        if kind == "parquet":
            batches = optional_module("pyarrow.parquet").ParquetFile(file).iter_batches(batch_size=1)
        else:
            batches = _arrow_batches(file)[1]
        rows = (row for batch in batches for row in batch.slice(0, 1).to_pylist())
        return dict(next(rows, {}))


def _arrow_batches(file: BinaryIO) -> tuple[list[str], Iterator[RecordBatch]]:
    """Names of the columns, and the batches, of an Arrow file or stream."""
    ipc = optional_module("pyarrow.ipc")
    if file.peek(6)[:6] != b"ARROW1":  # type: ignore[attr-defined]  # every stream here is buffered
        stream = ipc.open_stream(file)
        return stream.schema.names, iter(stream)
    reader = ipc.open_file(file)
    return reader.schema.names, (reader.get_batch(number) for number in range(reader.num_record_batches))


@contextmanager
def _torn_is_oserror() -> Iterator[None]:
    """What pyarrow says of a torn or foreign file, as other readers say it."""
    try:
        yield
    except (optional_module("pyarrow").ArrowException, UnicodeDecodeError, OverflowError) as error:
        raise OSError(str(error)) from error


def _rows(batches: Iterator[RecordBatch], config: DataConfig, names: list[str]) -> Iterator[tuple[str, Piece]]:
    row = 0
    for batch in batches:
        columns = [_column(batch, field) for field in _read_fields(config)]
        absent = next((number for number, column in enumerate(columns) if column is None), None)
        for index in range(batch.num_rows):
            row += 1
            values = [column[index] for column in columns if column is not None]
            yield f":{row}", _document(values, config) if absent is None else _no_column(absent, config, names)


def _read_fields(config: DataConfig) -> list[str]:
    """The columns that are read: the text's, and that of the scores if there is one."""
    return [config.text_field, *[config.quality.column] * (config.quality.scorer == "column")]


def _column(batch: RecordBatch, field: str) -> Array | None:
    """The column of a field; `a.b` is b within a, unless there is a column of that name. None unless there is one."""
    compute = optional_module("pyarrow.compute")
    if field in batch.schema.names:
        return batch.column(field) if batch.schema.names.count(field) == 1 else None
    first, *path = field.split(".")
    column = batch.column(first) if batch.schema.names.count(first) == 1 else None
    for name in path:
        kind = None if column is None else column.type
        if kind is None or not hasattr(kind, "get_field_index") or kind.get_field_index(name) < 0:
            return None
        column = compute.struct_field(column, name)
    return column


def _no_column(absent: int, config: DataConfig, names: list[str]) -> BadDocument:
    field, known = _read_fields(config)[absent], ", ".join(map(repr, names[:10]))
    count = names.count(field)
    has = f"{count} columns" if count else "no column"
    return BadDocument("no score" if absent else "no text", f"has {has} {field!r} (it has {known})")


def _document(values: list[Scalar], config: DataConfig) -> Piece:
    """The document of a row: its text, and its score if one is read."""
    try:
        text, *scores = map(_python, values)
    except UnicodeDecodeError as error:
        return not_utf8(error)
    if not isinstance(text, str | bytes):
        return not_text(config.text_field, text)
    return with_score(text, scores[0], config) if scores else text


def _python(value: Scalar) -> object:
    """A value as Python's; itself where Python has none for it, such as a date after the year 9999."""
    try:
        python: object = value.as_py()
    except UnicodeDecodeError:
        raise
    except (OverflowError, ValueError):
        return value
    return python
