"""The documented views as Parquet files, one a view, for tools that read columns: DuckDB, pandas, Spark.

pyarrow is not among the dependencies: `pip install 'crossover[curves]'`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select, text

import crossover
from crossover.files import sync_folder, workspace_error
from crossover.registry import schema as s
from crossover.registry.migrate_schema import head_revision
from crossover.registry.read_queries import VIEWS
from crossover.registry.reads.read_filters import no_such_study
from crossover.registry.registry_url import parse_url
from crossover.registry.snapshot import snapshot

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 1 << 15
"""Rows of a row group, which are in memory at once."""
WHOLE = frozenset(
    {
        *("seed", "draws", "step", "tokens", "attempt", "attempts", "last_step", "last_tokens", "pairs"),
        *("newest", "current", "pid", "started_step"),
        *("further_pairs", "concurrency", "requests", "revision", "traffic"),
        *("documents", "duplicates_dropped", "train_bytes", "validation_bytes", "available_tokens"),
    }
)
"""Columns of the views that are whole numbers, whichever view has them."""
FLOATING = frozenset(
    {
        *("flops", "seconds", "value", "stderr", "epochs", "p_adjusted"),
        *("crossing_at", "crossing_low", "crossing_high"),
        *("early_difference", "early_low", "early_high", "late_difference", "late_low", "late_high"),
        *("tokens_per_second", "first_token_p50", "first_token_p99", "quality", "quality_stderr", "agreement"),
    }
)
TIMES = frozenset(
    {"analysed_at", "deployed_at", "started_at", "heartbeat_at", "ended_at", "prepared_at", "measured_at"}
)


def export_views(url: str, folder: Path, *, study: str | None = None) -> dict[Path, int]:
    """Write every documented view of a registry, as it is at one moment, to `<folder>/<view>.parquet`.

    Whole numbers are int64, others float64, times are microseconds in UTC, the rest is text; NULL is null. A value that
    is NaN or infinite is null with its `state`, as in the view. Files that stand there are replaced, when all new ones
    are complete.

    Args:
        url: SQLAlchemy URL of a registry of this version's schema.
        folder: made when it is absent.
        study: name of a study, of which all revisions are exported; None exports all studies.

    Returns:
        The files, and the number of rows in each.

    Raises:
        RegistryError: the registry is missing, cannot be read or has another schema, or has no study of that name.
        WorkspaceError: the folder cannot be written.
    """
    with snapshot(parse_url(url), folder) as connection:
        if study is not None:
            _check_name(connection, study)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".export.", dir=folder) as place:
                rows = {view: _write(connection, view, study, Path(place) / f"{view}.parquet") for view in VIEWS}
                for view in VIEWS:
                    os.replace(Path(place) / f"{view}.parquet", folder / f"{view}.parquet")
            sync_folder(folder)
        except OSError as error:
            raise workspace_error(folder, error) from error
    return {folder / f"{view}.parquet": number for view, number in rows.items()}


def _check_name(connection: Connection, study: str) -> None:
    names = set(connection.scalars(select(s.StudyRow.name).where(s.StudyRow.deleted_at.is_(None))))
    if study not in names:
        raise no_such_study("--study", f"{study!r} is no study's name", study, names)


def _write(connection: Connection, view: str, study: str | None, file: Path) -> int:
    """Write one view; returns the number of its rows."""
    from pyarrow import parquet

    chosen = "" if study is None else " WHERE study = :study"
    statement = text(f"SELECT * FROM {view}{chosen}")  # noqa: S608 - names of our views only
    options = {"stream_results": True, "max_row_buffer": GROUP_ROWS}
    parameters = {} if study is None else {"study": study}
    number = 0
    with connection.execute(statement, parameters, execution_options=options) as result, file.open("wb") as target:
        columns = tuple(result.keys())
        schema = arrow_schema(columns)
        with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
            for rows in result.partitions(GROUP_ROWS):
                writer.write_batch(arrow_batch(rows, schema))
                number += len(rows)
        target.flush()
        os.fsync(target.fileno())
    return number


def arrow_schema(columns: Sequence[str]) -> pa.Schema:
    """The types of a view's columns in its file."""
    import pyarrow as pa

    kinds = {**dict.fromkeys(WHOLE, pa.int64()), **dict.fromkeys(FLOATING, pa.float64())}
    kinds |= dict.fromkeys(TIMES, pa.timestamp("us", tz="UTC"))
    about = {"crossover_version": crossover.__version__, "crossover_schema": head_revision()}
    return pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in columns], metadata=about)


def arrow_batch(rows: Sequence[Sequence[object]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows of a view as Arrow has them, in the types of its columns."""
    import pyarrow as pa

    columns = zip(*rows, strict=True)
    arrays = [
        pa.array(_moments(column) if field.name in TIMES else column, type=field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.record_batch(arrays, schema=schema)


def _moments(column: Sequence[object]) -> Iterator[datetime | None]:
    """Times with their zone; SQLite gives texts in UTC."""
    for value in column:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(moment, datetime):
            yield moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        else:
            yield None
