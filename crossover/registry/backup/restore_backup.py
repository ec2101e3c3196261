"""Restore a backup into an empty registry, in one transaction, and check what was written."""

from __future__ import annotations

import sqlite3
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from crossover.errors import RegistryError
from crossover.registry import schema as s
from crossover.registry.backup.manifest import BackedUpTable, BackupManifest, damaged, tables
from crossover.registry.backup.portable_rows import BATCH_ROWS, PortableTable, count_and_digest
from crossover.registry.backup.read_backup import BackupFile
from crossover.registry.connections import WRITES, make_engine, registry_error
from crossover.registry.migrate_schema import check_schema, head_revision, migrate
from crossover.registry.registry_url import is_sqlite, masked, parse_url


def restore(url: str, file: Path) -> BackupManifest:
    """Fill an empty registry with a backup of this version's schema.

    The whole file is checked before the registry is touched. Afterwards every table is read back within the
    transaction: it must have the rows and the digest of the manifest, and its foreign keys must hold.

    Args:
        url: SQLAlchemy URL; an SQLite file is made, a PostgreSQL database must have been migrated by `upgrade`.
        file: that `backup` wrote, of either database.

    Returns:
        What the file holds.

    Raises:
        RegistryError: the file is no backup, damaged, or of another schema; the registry is not empty, or cannot be
            written. Nothing has been restored then.
    """
    parsed = parse_url(url)
    with BackupFile(file) as backup:
        _check_revision(file, backup.manifest)
        backup.verify()
        if is_sqlite(parsed):
            migrate(parsed)
        else:
            check_schema(parsed)
        engine = make_engine(parsed)
        try:
            with engine.execution_options(**{WRITES: True}).begin() as connection:
                _lock(connection)
                _refuse_rows(connection, parsed)
                for table in map(PortableTable, tables()):
                    _fill(connection, table, backup)
                    _check(connection, table, backup.manifest.tables[table.table.name], parsed)
                _check_references(connection, parsed)
                _advance_sequences(connection)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise registry_error(parsed, error) from error
        finally:
            engine.dispose()
        return backup.manifest


def _check_revision(file: Path, manifest: BackupManifest) -> None:
    if manifest.revision != head_revision():
        raise RegistryError(
            "registry.backup-schema",
            field="FILE",
            problem=f"{file}: has the schema {manifest.revision}, and this version's is {head_revision()}",
            remedy=f"restore it with Crossover {manifest.version}, then run `crossover registry upgrade` with this one",
        )


def _lock(connection: Connection) -> None:
    """Keep writers out of PostgreSQL's tables until the end; SQLite's file is locked as a whole."""
    if connection.dialect.name == "postgresql":
        quote = connection.dialect.identifier_preparer.format_table
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(map(quote, tables()))} IN EXCLUSIVE MODE")


def _refuse_rows(connection: Connection, url: URL) -> None:
    filled = [table.name for table in tables() if connection.execute(select(1).select_from(table).limit(1)).first()]
    if filled:
        raise RegistryError(
            "registry.not-empty",
            field="registry url",
            problem=f"{masked(url)}: has rows already, in {', '.join(sorted(filled))}",
            remedy="name a new registry with --registry: a backup is restored into an empty one only",
        )


def _fill(connection: Connection, table: PortableTable, backup: BackupFile) -> None:
    with backup.lines(table.table.name) as lines:
        while batch := list(islice(lines, BATCH_ROWS)):
            try:
                table.insert(connection, batch)
            except ValueError as error:  # of a line; the database's own errors are none
                raise damaged(backup.file, f"{table.table.name}: {error}") from error


def _check(connection: Connection, table: PortableTable, expected: BackedUpTable, url: URL) -> None:
    """The table as it can be read back is the one of the backup."""
    rows, digest = count_and_digest(table.lines(connection))
    if (rows, digest) != (expected.rows, expected.digest):
        what = f"{rows} rows of {expected.rows}" if rows != expected.rows else "other values than the backup holds"
        raise _not_restored(url, f"{table.table.name} has {what} when it is read back")


def _not_restored(url: URL, problem: str) -> RegistryError:
    return RegistryError(
        "registry.not-restored",
        field="registry url",
        problem=f"{masked(url)}: {problem}",
        remedy="nothing has been restored; report it, with the version of the database",
    )


def _check_references(connection: Connection, url: URL) -> None:
    """Points, whose series no database looks up; on SQLite, which had not enforced them meanwhile, all references."""
    point, series = s.PointRow, s.SeriesRow
    unknown = ~select(series.id).where(series.id == point.series_id).exists()
    if connection.scalar(select(point.series_id).where(unknown).limit(1)) is not None:
        raise _not_restored(url, "a row of point refers to a row of series that is not there")
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchone()
        if broken is not None:
            raise _not_restored(url, f"a row of {broken[0]} refers to a row of {broken[2]} that is not there")


def _advance_sequences(connection: Connection) -> None:
    """The next rows get ids behind the restored ones; SQLite takes the greatest id and 1."""
    if connection.dialect.name == "postgresql":
        for table in tables():
            _advance(connection, table)


def _advance(connection: Connection, table: Table) -> None:
    for column in table.primary_key:
        name = connection.dialect.identifier_preparer.format_table(table)
        sequence = connection.scalar(select(func.pg_get_serial_sequence(name, column.name)))
        greatest = connection.scalar(select(func.max(column))) if sequence else None
        if greatest is not None:
            connection.execute(select(func.setval(sequence, greatest)))
