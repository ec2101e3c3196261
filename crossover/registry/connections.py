"""Connections to a registry: SQLite or PostgreSQL; to write, or to read only."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from crossover.errors import RegistryError, first_line
from crossover.registry.journal_mode import LOCAL_REMEDY
from crossover.registry.registry_url import UNWRITABLE_REMEDY, file_of, is_sqlite, masked

BUSY_SECONDS = 5
"""Longest wait within SQLite, which no signal interrupts."""
LOCK_SECONDS = 600
"""Longest wait of a writer for another process's transaction."""
WRITES = "crossover_writes"
"""Execution option of a transaction that will write. On SQLite it takes the lock at its start: a transaction that asks
for the lock later may have read what another one has changed since, and fail."""
_DEADLOCK = "40P01"
T = TypeVar("T")


def make_engine(url: URL, *, foreign_keys: bool = True) -> Engine:
    """An engine that may write.

    Args:
        url: of the registry.
        foreign_keys: whether SQLite enforces them; off while a migration rebuilds tables that others refer to.
    """
    if not is_sqlite(url):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # transactions begin in `_begin`, not in the driver
        cursor = connection.cursor()
        (journal,) = cursor.execute("PRAGMA journal_mode").fetchone()
        cursor.execute(f"PRAGMA synchronous = {'NORMAL' if journal == 'wal' else 'FULL'}")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(WRITES, False):
            _begin_to_write(connection, masked(url))
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _begin_to_write(connection: Connection, registry: str) -> None:
    """Take SQLite's lock, and say so when another process holds it.

    The lock keeps readers out of a file with a rollback journal, so that the commit need not wait for them.
    """
    until, waiting = time.monotonic() + LOCK_SECONDS, False
    while True:
        try:
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
            return
        except OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() >= until:
                raise
            if not waiting:
                text = f"{registry} is locked by another process: waiting, {LOCK_SECONDS // 60} minutes at most"
                print(f"crossover: {text}", file=sys.stderr, flush=True)
                waiting = True


def make_read_only_engine(url: URL) -> Engine:
    """An engine on which the database refuses every write."""
    if not is_sqlite(url):
        return create_engine(url, pool_pre_ping=True, execution_options={"postgresql_readonly": True})
    return create_engine(url, creator=lambda: _connect_read_only(file_of(url)))


def _connect_read_only(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode=ro{'&immutable=1' if immutable else ''}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)


def read_sqlite(path: Path, read: Callable[[sqlite3.Connection], T]) -> T:
    """Read an SQLite file and leave nothing beside it.

    Even a read-only connection to a file in WAL mode makes a `-wal` and a `-shm` file where there are none. Without a
    `-wal` or `-journal` file no process writes the database, so it is read as immutable; when a process opens it in the
    meantime, the result is thrown away and the file is read again with SQLite's locks.

    Args:
        path: an existing file.
        read: reads from the connection; called once or twice.

    Raises:
        sqlite3.Error: as SQLite raises it.
    """
    before = _state(path)
    in_use = before[0]
    if not in_use:
        try:
            with closing(_connect_read_only(path, immutable=True)) as connection:
                result = read(connection)
            if _state(path) == before:
                return result
        except sqlite3.Error:
            if _state(path) == before:
                raise
    with closing(_connect_read_only(path)) as connection:
        return read(connection)


def _state(path: Path) -> tuple[bool, int, int]:
    """Whether a process writes the file or has it open in WAL mode, and what changes when the file is written."""
    try:
        status = path.stat()
    except OSError as error:
        raise sqlite3.OperationalError(f"unable to open database file ({error.strerror})") from error
    journals = (Path(f"{path}-{kind}") for kind in ("wal", "journal"))
    return any(journal.exists() for journal in journals), status.st_mtime_ns, status.st_size


def repeated(transaction: Callable[[], T], tries: int = 5) -> T:
    """What a whole transaction returns.

    PostgreSQL ends one of several transactions that wait for each other, such as a migration and a read of the tables
    that it changes, in another order; it is done again.

    Args:
        transaction: begins and ends it.
        tries: largest number.
    """
    while True:
        tries -= 1
        try:
            return transaction()
        except DBAPIError as error:
            if not tries or getattr(error.orig, "sqlstate", None) != _DEADLOCK:
                raise


def registry_error(url: URL, error: Exception) -> RegistryError:
    """An error of the database as one that names the registry and the remedy."""
    cause = getattr(error, "orig", None) or error
    text = first_line(cause)
    if isinstance(error, DataError):
        return RegistryError(
            "registry.bad-value",
            field="value",
            problem=f"the database takes no such value: {text}",
            remedy="give texts without zero bytes, and numbers of at most 64 bits",
        )
    if str(getattr(cause, "sqlite_errorname", "")).startswith("SQLITE_IOERR_SHM"):
        text += " (its file system has no shared memory, which SQLite's WAL mode needs)"
    remedies = {
        "WAL": LOCAL_REMEDY,
        "disk I/O error": f"check the disk and its file system, or {LOCAL_REMEDY}",
        "disk is full": "free some space and run again; what was recorded is kept",
        "unable to open": UNWRITABLE_REMEDY,
        "readonly": UNWRITABLE_REMEDY,
        "not a database": "name another file: this one is not a registry",
        "malformed": "restore the file from a backup, or move it away to start a new registry",
        "deadlock": "run again: transactions waited for each other, and the database ended this one",
        "locked": "wait for the process that holds it, then run again",
    }
    remedy = next((r for sign, r in remedies.items() if sign in text), "check that the database runs and the URL")
    return RegistryError("registry.unusable", field="registry url", problem=f"{masked(url)}: {text}", remedy=remedy)
