"""One state of a whole registry to read from, for as long as it takes, while others write."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from crossover.files import workspace_error
from crossover.registry.connections import read_sqlite, registry_error
from crossover.registry.migrate_schema import check_schema
from crossover.registry.registry_url import file_of, is_sqlite


@contextmanager
def snapshot(url: URL, folder: Path) -> Iterator[Connection]:
    """A connection whose reads all see the registry as it was at the first of them.

    SQLite's file is copied by the online backup API, so that no long read keeps a writer waiting; PostgreSQL is read in
    one read-only transaction of isolation level REPEATABLE READ.

    Args:
        url: of a registry of this version's schema.
        folder: where a copy of the file may stand meanwhile; it is made when it is absent.

    Raises:
        RegistryError: the registry is missing, has another schema, or cannot be read.
        WorkspaceError: the folder cannot be written.
    """
    check_schema(url)
    try:
        if is_sqlite(url):
            with _copied(file_of(url), folder) as copy, _connected(url.set(database=str(copy))) as connection:
                yield connection
        else:
            with _connected(url) as connection:
                yield connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise registry_error(url, error) from error


@contextmanager
def _connected(url: URL) -> Iterator[Connection]:
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _copied(source: Path, folder: Path) -> Iterator[Path]:
    """A copy of an SQLite file, made in one step: in many, each write of another process would begin it anew."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(prefix=f".{source.name}.", dir=folder)
    except OSError as error:
        raise workspace_error(folder, error) from error
    with place as name:
        copy = Path(name) / "copy.sqlite"

        def copy_from(connection: sqlite3.Connection) -> None:
            copy.unlink(missing_ok=True)
            with closing(sqlite3.connect(copy)) as target:
                connection.backup(target)

        read_sqlite(source, copy_from)
        yield copy
