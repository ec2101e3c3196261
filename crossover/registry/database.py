"""Connections and migrations. SQLite in WAL mode, embedded; PostgreSQL by URL."""

from __future__ import annotations

import fcntl
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from crossover.errors import RegistryError

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 30
WRITES = "crossover_writes"
_MIGRATION_KEY = 0x63726F73  # of PostgreSQL's advisory lock: any number, the same for all versions


def registry_error(url: object, error: Exception) -> RegistryError:
    """An error of the database as one that says what to do."""
    cause = getattr(error, "orig", None) or error
    text = (str(cause).splitlines() or [type(cause).__name__])[0]
    remedies = {
        "disk is full": "free some space and run again; what was recorded is kept",
        "unable to open": "give a URL in a folder that you may write to with --registry",
        "readonly": "give a URL in a folder that you may write to with --registry",
        "not a database": "name another file: this one is not a registry",
        "malformed": "restore the file from a backup, or move it away to start a new registry",
        "locked": "wait for the process that holds it, then run again",
    }
    remedy = next((r for sign, r in remedies.items() if sign in text), "check that the database runs and the URL")
    return RegistryError("registry.database", field="registry url", problem=f"{url}: {text}", remedy=remedy)


def parse_url(text: str) -> URL:
    """A registry's URL; the parent folder of an SQLite file is made.

    Raises:
        RegistryError: not a URL of SQLite or PostgreSQL.
    """
    try:
        url = make_url(text)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        raise _bad_url(text) from error
    if url.get_backend_name() not in ("sqlite", "postgresql") or (
        url.get_backend_name() == "sqlite"
        and (not url.database or url.database == ":memory:" or url.database.startswith("file:"))
    ):
        raise _bad_url(text)
    try:
        url.get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        raise RegistryError(
            "registry.no-driver",
            field="registry url",
            problem=f"{url.render_as_string()}: the driver {error.name} is not installed",
            remedy="write postgresql://user@host/name, and install its driver: pip install 'psycopg[binary]'",
        ) from error
    if url.get_backend_name() == "sqlite":
        try:
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryError(
                "registry.unwritable",
                field="registry url",
                problem=f"{text}: its folder cannot be made ({error.strerror})",
                remedy="give a URL in a folder that you may write to with --registry",
            ) from error
    return url


def _bad_url(text: str) -> RegistryError:
    return RegistryError(
        "registry.bad-url",
        field="registry url",
        problem=f"{_without_password(text)!r} is not the URL of an SQLite file or a PostgreSQL database",
        remedy="write for example sqlite:///studies/registry.sqlite or postgresql://user@host/name",
    )


def _without_password(text: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", text)


def make_engine(url: URL) -> Engine:
    """An engine; on SQLite with WAL, foreign keys, and patience with other writers.

    A transaction that will write says so with the execution option WRITES, and takes the lock at once: one that took it
    half-way could fail for want of it.
    """
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver begins nothing: `_begin` does
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def head_revision() -> str:
    """The newest revision that this version knows."""
    return str(ScriptDirectory(str(MIGRATIONS)).get_current_head())


def current_revision(engine: Engine) -> str | None:
    """The database's revision; None when it is empty."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def schema_error(url: str, found: str | None) -> RegistryError:
    """The schema is not this version's: older, or one that this version does not know."""
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    if found is None or found in known:
        return RegistryError(
            "registry.schema",
            field="registry url",
            problem=f"{url}: its schema is {found or 'empty'}, this version needs {head_revision()}",
            remedy="run `crossover registry upgrade`",
        )
    return RegistryError(
        "registry.unknown-schema",
        field="registry url",
        problem=f"{url}: its schema {found} is not one that this version knows",
        remedy="upgrade Crossover, or name another registry",
    )


def migrate(url: URL, engine: Engine, target: str | None = None) -> tuple[str | None, str]:
    """Bring the schema to this version, in one transaction; returns the revision before and after.

    Raises:
        RegistryError: the database is newer than this version, is not a registry, or cannot be migrated.
    """
    goal = target or head_revision()
    try:
        _refuse_other_files(url)
        with _migration_lock(url):
            if current_revision(engine) == goal:
                return goal, goal
            with engine.execution_options(**{WRITES: True}).begin() as connection:
                if url.get_backend_name() == "postgresql":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_KEY})")
                before = MigrationContext.configure(connection).get_current_revision()
                config = Config()
                config.set_main_option("script_location", str(MIGRATIONS))
                config.attributes["connection"] = connection
                command.upgrade(config, goal)
            return before, goal
    except CommandError as error:
        raise schema_error(url.render_as_string(), current_revision(engine) or "of another program") from error
    except SQLAlchemyError as error:
        raise registry_error(url.render_as_string(), error) from error


def _refuse_other_files(url: URL) -> None:
    """Another program's SQLite file is not made into a registry, nor touched. Anything else shows when it is opened."""
    path = Path(str(url.database))
    if url.get_backend_name() != "sqlite" or not path.is_file():
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        return
    if tables and "alembic_version" not in tables:
        raise RegistryError(
            "registry.other-file",
            field="registry url",
            problem=f"{url.render_as_string()}: is another program's database (it has {', '.join(sorted(tables)[:3])})",
            remedy="name another file: this one is not a registry",
        )


@contextmanager
def _migration_lock(url: URL) -> Iterator[None]:
    """Two processes that open a new SQLite registry at once migrate it once."""
    if url.get_backend_name() != "sqlite":
        yield
        return
    try:
        file = Path(f"{url.database}.lock").open("w")
    except OSError as error:
        raise RegistryError(
            "registry.unwritable",
            field="registry url",
            problem=f"{url.render_as_string()}: cannot be written ({error.strerror})",
            remedy="give a URL in a folder that you may write to with --registry",
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
