"""Bring an archived study back into a registry, in one transaction."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Table, select

from crossover.errors import RegistryError
from crossover.files import digest_of_file, read_json
from crossover.registry import schema as s
from crossover.registry.archive.study_tables import (
    FORMAT,
    MANIFEST,
    REFERENCES,
    TABLES,
    ArchiveManifest,
    not_an_archive,
    parquet_schema,
    table_of,
)
from crossover.registry.backup.portable_rows import PortableTable
from crossover.registry.transactions import Transactions
from crossover.registry.write_statements import quality_tier

_BATCH = 2_000
_SHARED = {"run": ("namespace", "digest"), "metric_def": ("name", "unit", "direction", "estimator", "draws")}
"""Tables whose rows may be there already, and what names such a row."""


def unarchive(registry: Transactions, folder: Path) -> ArchiveManifest:
    """Restore a study that `archive` wrote, into the registry's namespace; also one of an older schema.

    A run that the registry has already, since another study uses it, stays as it is. A study that was deleted when it
    was archived is there again.

    Args:
        registry: open to write.
        folder: the archive.

    Returns:
        What the archive holds.

    Raises:
        RegistryError: the folder is no archive, altered or of a newer schema, or the registry has the study already;
            nothing has been restored then.
    """
    manifest = _manifest(folder)
    tables = [_ArchivedTable(folder, table_of(row)) for row in TABLES]
    with registry.writing() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        _refuse_study(connection, registry.namespace, tables[0])
        done = _Restored()
        for table in tables:
            try:
                table.restore(connection, registry.namespace, done)
            except (ValueError, KeyError) as error:
                raise not_an_archive(folder, f"{table.name}.parquet: {error}") from error
    return manifest


def _manifest(folder: Path) -> ArchiveManifest:
    file = folder / MANIFEST
    if not file.is_file():
        raise not_an_archive(folder, f"has no {MANIFEST}")
    try:
        manifest = ArchiveManifest.model_validate(read_json(file))
    except ValidationError as error:
        raise not_an_archive(folder, f"{MANIFEST} is of another kind ({error.error_count()} faults)") from error
    if manifest.format != FORMAT:
        raise not_an_archive(folder, f"its format is {manifest.format}; this version reads {FORMAT}")
    for row in TABLES:
        name = table_of(row).name
        path, held = folder / f"{name}.parquet", manifest.files.get(name)
        if held is None or not path.is_file():
            raise not_an_archive(folder, f"{name}.parquet is not there")
        if digest_of_file(path) != held.digest:
            raise not_an_archive(folder, f"{name}.parquet is not as it was written")
    return manifest


def _refuse_study(connection: Connection, namespace: str, studies: _ArchivedTable) -> None:
    digests = [row[studies.portable.names.index("digest")] for row in studies.rows()]
    taken = select(s.StudyRow.name).where(s.StudyRow.namespace == namespace, s.StudyRow.digest.in_(digests))
    if (name := connection.scalar(taken.limit(1))) is not None:
        raise RegistryError(
            "registry.study-exists",
            field="DIR",
            problem=f"the namespace {namespace} has a revision of this study, {name}, already",
            remedy="restore into another namespace, or delete and purge that study first",
        )


@dataclass
class _Restored:
    """What was inserted so far."""

    ids: dict[str, dict[int, int]] = field(default_factory=dict)
    """Table to ids in the archive to those in the registry."""
    shared_runs: set[int] = field(default_factory=set)
    """Ids in the archive of runs that the registry had already."""

    def is_new(self, table: str, values: Mapping[str, Any]) -> bool:
        """Whether a row is to be inserted: what is known of a shared run is there, but not the study's links to it."""
        if "series_id" in values:
            return values["series_id"] in self.ids.get("series", {})
        return table in ("study_run", "deployment") or values.get("run_id") not in self.shared_runs


class _ArchivedTable:
    """One table's file."""

    def __init__(self, folder: Path, table: Table) -> None:
        from pyarrow import parquet

        self.name, self.table = table.name, table
        self._file = parquet.ParquetFile(folder / f"{table.name}.parquet")
        names = [name for name in self._file.schema_arrow.names]
        unknown = sorted(set(names) - set(table.c.keys()))
        if unknown:
            problem = f"{table.name} has a column {unknown[0]!r}, which this version does not know"
            raise not_an_archive(folder, problem)
        if not self._file.schema_arrow.equals(parquet_schema(table, names)):
            raise not_an_archive(folder, f"{table.name}.parquet has columns of other types")
        self._ids = "id" in names
        self.portable = PortableTable(table, names)

    def rows(self) -> Iterator[list[Any]]:
        """Rows as values of JSON."""
        for batch in self._file.iter_batches(batch_size=_BATCH):
            columns = [column.to_pylist() for column in batch.columns]
            yield from ([_json(value) for value in row] for row in zip(*columns, strict=True))

    def restore(self, connection: Connection, namespace: str, done: _Restored) -> None:
        """Insert the rows that are not there yet, with the ids of this registry."""
        names = self.portable.names
        untiered = self.name == "run" and "quality_tier" not in names  # from before schema 0010
        columns = [name for name in names if name != "id"] + ["quality_tier"] * untiered
        new = PortableTable(self.table, columns) if self._ids else self.portable
        fixed = {"namespace": namespace, "deleted_at": None}
        batch: list[list[Any]] = []
        for row in self.rows():
            values = dict(zip(names, row, strict=True)) | {name: fixed[name] for name in fixed if name in names}
            if not done.is_new(self.name, values):
                continue
            if untiered:
                values["quality_tier"] = quality_tier(json.loads(values["config"]))
            archived = values.get("id")
            values |= {name: done.ids[table][values[name]] for name, table in REFERENCES.items() if name in values}
            if archived is None:
                batch.append([values[name] for name in names])
                if len(batch) == _BATCH:
                    self.portable.insert_rows(connection, batch)
                    batch = []
                continue
            there = self._existing(connection, values)
            if there and self.name == "run":
                done.shared_runs.add(archived)
            number = there or new.insert_row(connection, [values[name] for name in new.names])
            done.ids.setdefault(self.name, {})[archived] = number
        self.portable.insert_rows(connection, batch)

    def _existing(self, connection: Connection, values: dict[str, Any]) -> int:
        """The id of the same row in the registry; 0 where it is not there."""
        if self.name not in _SHARED:
            return 0
        same = [self.table.c[name] == values[name] for name in _SHARED[self.name]]
        return int(connection.scalar(select(self.table.c.id).where(*same)) or 0)


def _json(value: Any) -> Any:  # noqa: ANN401 - see PortableTable.rows
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
