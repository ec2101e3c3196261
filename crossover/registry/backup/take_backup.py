"""Take a backup: one consistent state of all tables while others write."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

import crossover
from crossover.errors import RegistryError
from crossover.files import json_text, workspace_error, write_atomically
from crossover.registry.backup.manifest import FORMAT, MANIFEST, BackedUpTable, BackupManifest, member_of, tables
from crossover.registry.backup.portable_rows import PortableTable
from crossover.registry.connections import read_sqlite, registry_error
from crossover.registry.migrate_schema import check_schema, head_revision
from crossover.registry.registry_url import file_of, is_sqlite, parse_url

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every member: equal registries give equal tables in the file."""


def _now() -> datetime:
    return datetime.now(UTC)


def backup(url: str, file: Path, *, clock: Callable[[], datetime] = _now) -> BackupManifest:
    """Write all tables of a registry to a new file, as they were at one moment.

    Writers go on meanwhile. SQLite's file is copied first, beside the new one; PostgreSQL is read in one transaction
    of isolation level REPEATABLE READ.

    Args:
        url: SQLAlchemy URL of a registry of this version's schema.
        file: which must not exist yet; it appears when it is complete.
        clock: the current time, in UTC.

    Returns:
        What the file holds.

    Raises:
        RegistryError: the registry is missing, cannot be read or has another schema, or the file exists.
        WorkspaceError: the file cannot be written.
    """
    parsed = parse_url(url)
    check_schema(parsed)
    if file.exists():
        raise RegistryError(
            "registry.backup-exists",
            field="FILE",
            problem=f"{file} exists already",
            remedy="name a new file: a backup replaces nothing",
        )
    created_at = clock().astimezone(UTC).isoformat(timespec="seconds")
    written: list[BackupManifest] = []
    try:
        with _snapshot(parsed, file) as connection:
            write_atomically(file, lambda target: written.append(_write(connection, target, created_at)))
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise registry_error(parsed, error) from error
    return written[0]


@contextmanager
def _snapshot(url: URL, file: Path) -> Iterator[Connection]:
    """A connection that sees one state of the registry."""
    if is_sqlite(url):
        with _copied(file_of(url), file) as copy, _connected(url.set(database=str(copy))) as connection:
            yield connection
        return
    with _connected(url) as connection:
        yield connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


@contextmanager
def _connected(url: URL) -> Iterator[Connection]:
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _copied(source: Path, file: Path) -> Iterator[Path]:
    """A copy of an SQLite file by the online backup API, in one step: in many, each write would begin it anew."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent)
    except OSError as error:
        raise workspace_error(file, error) from error
    with folder as name:
        copy = Path(name) / "copy.sqlite"

        def copy_from(connection: sqlite3.Connection) -> None:
            copy.unlink(missing_ok=True)
            with closing(sqlite3.connect(copy)) as target:
                connection.backup(target)

        read_sqlite(source, copy_from)
        yield copy


def _write(connection: Connection, target: IO[bytes], created_at: str) -> BackupManifest:
    """The zip: a member for each table, and the manifest as the last one."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        held = {table.name: _write_table(connection, archive, PortableTable(table)) for table in tables()}
        manifest = BackupManifest(
            format=FORMAT,
            revision=head_revision(),
            version=crossover.__version__,
            created_at=created_at,
            tables=held,
        )
        archive.writestr(_member(MANIFEST), json_text(manifest.model_dump(mode="json")))
    return manifest


def _write_table(connection: Connection, archive: zipfile.ZipFile, table: PortableTable) -> BackedUpTable:
    rows, digest = 0, hashlib.sha256()
    with archive.open(_member(member_of(table.table.name)), "w", force_zip64=True) as member:
        for line in table.lines(connection):
            rows += 1
            digest.update(line)
            member.write(line)
    return BackedUpTable(columns=table.names, rows=rows, digest=f"sha256:{digest.hexdigest()}")


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info
