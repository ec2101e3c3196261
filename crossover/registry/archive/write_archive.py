"""Write one study to Parquet files, as it is at one moment."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, Table, select

import crossover
from crossover.errors import RegistryError
from crossover.files import digest_of_file, sync_folder, workspace_error, write_json
from crossover.registry import schema as s
from crossover.registry.archive.study_tables import (
    FORMAT,
    MANIFEST,
    TABLES,
    ArchivedFile,
    ArchiveManifest,
    belongs,
    parquet_schema,
    table_of,
)
from crossover.registry.backup.portable_rows import PortableTable
from crossover.registry.closed_runs import closed_point
from crossover.registry.migrate_schema import head_revision
from crossover.registry.reads.read_filters import no_such_study
from crossover.registry.registry_url import parse_url
from crossover.registry.snapshot import snapshot

GROUP_ROWS = 1 << 15


def archive(url: str, study: str, folder: Path, *, namespace: str = s.DEFAULT_NAMESPACE) -> ArchiveManifest:
    """Write all revisions of a study, also of a deleted one, with all runs that they use; the registry stays as it is.

    Args:
        url: SQLAlchemy URL of a registry of this version's schema.
        study: name of the study.
        folder: which must not exist yet; it appears when it is complete.
        namespace: of the study.

    Raises:
        RegistryError: the registry cannot be read or has no such study, or the folder exists.
        WorkspaceError: the folder cannot be written.
    """
    if folder.exists():
        raise RegistryError(
            "registry.archive-exists",
            field="DIR",
            problem=f"{folder} exists already",
            remedy="name a new folder: an archive replaces nothing",
        )
    with snapshot(parse_url(url), folder.parent) as connection:
        ids = select(s.StudyRow.id).where(s.StudyRow.namespace == namespace, s.StudyRow.name == study)
        if connection.scalar(ids.limit(1)) is None:
            names = connection.scalars(select(s.StudyRow.name).where(s.StudyRow.namespace == namespace))
            raise no_such_study("study", f"{study!r} is no study of the namespace {namespace}", study, names)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".archive.", dir=folder.parent) as name:
                place = Path(name) / "files"
                place.mkdir()
                files = {table_of(row).name: _write(connection, row, ids, place) for row in TABLES}
                manifest = ArchiveManifest(
                    format=FORMAT,
                    study=study,
                    namespace=namespace,
                    revision=head_revision(),
                    version=crossover.__version__,
                    created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                    files=files,
                )
                write_json(place / MANIFEST, manifest.model_dump(mode="json"))
                place.rename(folder)
            sync_folder(folder.parent)
        except OSError as error:
            raise workspace_error(folder, error) from error
    return manifest


def _write(connection: Connection, row: type[s.Base], studies: Select[Any], folder: Path) -> ArchivedFile:
    from pyarrow import parquet

    table = table_of(row)
    portable = PortableTable(table)
    schema = parquet_schema(table, portable.names)
    file = folder / f"{table.name}.parquet"
    rows = _rows(connection, portable, row, studies)
    number = 0
    with file.open("wb") as target:
        with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
            while group := list(islice(rows, GROUP_ROWS)):
                writer.write_batch(_batch(table, portable, group))
                number += len(group)
        target.flush()
        os.fsync(target.fileno())
    return ArchivedFile(rows=number, digest=digest_of_file(file))


def _rows(
    connection: Connection, portable: PortableTable, row: type[s.Base], studies: Select[Any]
) -> Iterator[list[Any]]:
    """Rows as values of JSON; those of points also out of the chunks of closed runs."""
    rows = portable.rows(connection, belongs(row, studies))
    if row is not s.PointRow:
        return rows
    series = select(s.SeriesRow.id).where(belongs(s.SeriesRow, studies))
    columns = [closed_point.c[name] for name in portable.names]
    order = ("series_id", "attempt_n", "step")
    closed = select(*columns).where(closed_point.c.series_id.in_(series)).order_by(*(closed_point.c[n] for n in order))
    options = {"stream_results": True, "max_row_buffer": GROUP_ROWS}
    return chain(rows, (list(values) for values in connection.execute(closed, execution_options=options)))


def _batch(table: Table, portable: PortableTable, rows: list[list[Any]]) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa

    schema = parquet_schema(table, portable.names)
    columns = zip(*rows, strict=True)
    arrays = []
    for field, column in zip(schema, columns, strict=True):
        values: list[Any] = list(column)
        if field.type == pa.binary():
            values = [None if value is None else base64.b64decode(value) for value in column]
        elif field.type == pa.float64():
            values = [None if value is None else float(value) for value in column]
        arrays.append(pa.array(values, type=field.type))
    return pa.record_batch(arrays, schema=schema)
