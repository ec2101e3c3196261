"""The schema of a registry: which revision it has, and its migration to the one of this version."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from crossover.errors import RegistryError
from crossover.registry.connections import (
    WRITES,
    make_engine,
    make_read_only_engine,
    read_sqlite,
    registry_error,
    repeated,
)
from crossover.registry.journal_mode import check_locks, choose_journal
from crossover.registry.registry_url import UNWRITABLE_REMEDY, file_of, is_sqlite, make_folder, masked

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_KEY = 0x63726F73  # of PostgreSQL's advisory lock: any number, the same in all versions


def head_revision() -> str:
    """The newest revision that this version has."""
    return str(ScriptDirectory(str(MIGRATIONS)).get_current_head())


def check_schema(url: URL, *, in_use: bool = False) -> None:
    """Check that an existing registry has this version's schema; writes nothing.

    Args:
        url: of the registry.
        in_use: whether the schema was this version's when the registry was opened. It may then be one revision newer:
            migrations expand, so that a version works with the next revision until it is replaced.

    Raises:
        RegistryError: `registry.missing` when the SQLite file does not exist, `registry.old-schema` or
            `registry.unknown-schema` when the schema is another one.
    """
    if is_sqlite(url) and not file_of(url).exists():
        raise RegistryError(
            "registry.missing",
            field="registry url",
            problem=f"{masked(url)}: there is no such file",
            remedy="run a study first (`crossover run` makes its registry), or name another with --registry",
        )
    try:
        revision = _read_revision(url)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise registry_error(url, error) from error
    head = head_revision()
    if revision != head and not (in_use and revision == f"{int(head) + 1:04}"):
        raise _schema_error(url, revision)


def _read_revision(url: URL) -> str | None:
    """The revision of a database; None when it is empty."""
    if is_sqlite(url):
        if "alembic_version" not in _registry_tables(url):
            return None
        select = "SELECT version_num FROM alembic_version"
        (revision,) = read_sqlite(file_of(url), lambda connection: connection.execute(select).fetchone())
        return str(revision)
    engine = make_read_only_engine(url)
    try:
        return _current_revision(engine)
    finally:
        engine.dispose()


def _current_revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _registry_tables(url: URL) -> set[str]:
    """The tables of an SQLite file.

    Raises:
        RegistryError: it is another program's database.
    """
    select = "SELECT name FROM sqlite_master WHERE type = 'table'"
    rows = read_sqlite(file_of(url), lambda connection: connection.execute(select).fetchall())
    tables = {str(name) for (name,) in rows}
    if tables and "alembic_version" not in tables:
        raise RegistryError(
            "registry.other-file",
            field="registry url",
            problem=f"{masked(url)}: is another program's database (it has {', '.join(sorted(tables)[:3])})",
            remedy="name another file: this one is not a registry",
        )
    return tables


def _schema_error(url: URL, revision: str | None) -> RegistryError:
    """The schema is older than this version's, or not one of its revisions."""
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    if revision is None or revision in known:
        return RegistryError(
            "registry.old-schema",
            field="registry url",
            problem=f"{masked(url)}: its schema is {revision or 'empty'}, this version needs {head_revision()}",
            remedy="run `crossover registry upgrade`",
        )
    return RegistryError(
        "registry.unknown-schema",
        field="registry url",
        problem=f"{masked(url)}: its schema {revision} is unknown to this version",
        remedy="upgrade Crossover, or name another registry",
    )


def migrate(url: URL, target: str | None = None) -> tuple[str | None, str]:
    """Migrate a registry, in one transaction; an SQLite file is made when it is absent.

    Args:
        url: of the registry.
        target: revision; None is this version's.

    Returns:
        The revision before and after.

    Raises:
        RegistryError: the database is newer than this version, is not a registry, or cannot be migrated.
    """
    target = target or head_revision()
    if is_sqlite(url):
        make_folder(url)
    engine = make_engine(url, foreign_keys=False)
    try:
        if is_sqlite(url) and file_of(url).is_file():
            _registry_tables(url)
        with _migration_lock(url):
            if is_sqlite(url):
                choose_journal(file_of(url))
            if _current_revision(engine) == target:
                return target, target
            return repeated(lambda: _upgrade(engine, target)), target
    except CommandError as error:
        raise _schema_error(url, _current_revision(engine) or "of another program") from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise registry_error(url, error) from error
    finally:
        engine.dispose()


def _upgrade(engine: Engine, target: str) -> str | None:
    """Run the migrations in one transaction; returns the revision before."""
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
        before = MigrationContext.configure(connection).get_current_revision()
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, target)
        return before


@contextmanager
def _migration_lock(url: URL) -> Iterator[None]:
    """Two processes that open a new SQLite registry at once migrate it once."""
    if not is_sqlite(url):
        yield
        return
    try:
        file = Path(f"{url.database}.lock").open("w")
    except OSError as error:
        raise RegistryError(
            "registry.unwritable",
            field="registry url",
            problem=f"{masked(url)}: cannot be written ({error.strerror})",
            remedy=UNWRITABLE_REMEDY,
        ) from error
    with file:
        check_locks(file, masked(url))  # before flock, which is such a lock on NFS
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
