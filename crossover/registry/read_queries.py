"""Reading: curves for the analysis, and anybody's SELECT, which the database itself keeps from writing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, bindparam, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from crossover.errors import RegistryError
from crossover.registry.registry_records import Table

CURVE_COLUMNS = ("arm", "seed", "tokens", "flops", "seconds", "metric", "value", "stderr")
QUERY_SECONDS = 60.0
_CURSOR = "crossover_query"
_TOO_LATE = ("interrupted", "canceling statement due to statement timeout")
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def curves(engine: Engine, study_digest: str, cell: str, metrics: Sequence[str] | None) -> dict[str, list[Any]]:
    """Current points of a cell, as columns; ordered by metric, arm, seed and step."""
    chosen = "" if metrics is None else "AND metric IN :metrics "
    statement = text(
        f"SELECT {', '.join(CURVE_COLUMNS)}, state FROM v_curves "  # noqa: S608 - constants only
        f"WHERE study_digest = :study AND cell = :cell {chosen}ORDER BY metric, arm, seed, step"
    )
    given: dict[str, object] = {"study": study_digest, "cell": cell}
    if metrics is not None:
        statement = statement.bindparams(bindparam("metrics", expanding=True))
        given["metrics"] = list(metrics)
    with engine.connect() as connection:
        rows = connection.execute(statement, given).all()
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in CURVE_COLUMNS}
    columns["value"] = [float(row.state) if row.value is None else row.value for row in rows]
    return columns


def read_only(url: URL, sql: str, limit: int) -> Table:
    """Run one SELECT.

    Raises:
        RegistryError: it is not one statement that only reads, or the database refuses it.
    """
    try:
        if url.get_backend_name() == "sqlite":
            return _read_sqlite(str(url.database), sql, limit)
        return _read_postgresql(url, sql, limit)
    except (sqlite3.Error, sqlite3.Warning, SQLAlchemyError, UnicodeError) as error:
        cause = getattr(error, "orig", None) or error
        problem = (str(cause).splitlines() or [type(cause).__name__])[0]
        late = problem in _TOO_LATE
        raise RegistryError(
            "registry.query",
            field="SQL",
            problem=f"it took longer than {QUERY_SECONDS:g} s" if late else problem,
            remedy="ask for less, one study, cell or metric at a time"
            if late
            else "give one SELECT over v_curves, v_runs, v_verdicts or v_deployments",
        ) from error


def _authorize(action: int, *_arguments: object) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _read_sqlite(path: str, sql: str, limit: int) -> Table:
    """Opened read-only with a time limit, and an authorizer refuses everything but reading."""
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=30)) as connection:
        connection.execute("PRAGMA query_only = ON").close()
        connection.set_authorizer(_authorize)
        until = time.monotonic() + QUERY_SECONDS
        connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
        with closing(connection.execute(sql)) as cursor:
            if cursor.description is None:
                raise sqlite3.ProgrammingError("the statement returns no rows")
            return _table([column[0] for column in cursor.description], cursor.fetchmany(limit + 1), limit)


def _read_postgresql(url: URL, sql: str, limit: int) -> Table:
    """In a read-only transaction with a time limit, which is rolled back.

    The statement goes by the extended protocol, which takes one statement only: by the simple one, `SELECT 1; COMMIT;
    DELETE …` would leave the read-only transaction. As a cursor's query it can be nothing but a SELECT.
    """
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{int(QUERY_SECONDS * 1000)}ms'")
        connection.exec_driver_sql("SET LOCAL timezone = 'UTC'")
        _declare(connection, sql)
        result = connection.exec_driver_sql(f"FETCH {limit + 1} FROM {_CURSOR}")
        table = _table(list(result.keys()), [tuple(row) for row in result.all()], limit)
        transaction.rollback()
        return table


def _declare(connection: Connection, sql: str) -> None:
    """Name the cursor; `binary` is how psycopg is told to use the extended protocol for a text without parameters."""
    import psycopg

    raw: Any = connection.connection.driver_connection
    try:
        with raw.cursor() as cursor:
            cursor.execute(f"DECLARE {_CURSOR} NO SCROLL CURSOR FOR {sql.strip().rstrip(';')}", binary=True)
    except psycopg.Error as error:
        raise DBAPIError(sql, None, error) from error


def _table(columns: Sequence[str], rows: Sequence[tuple[object, ...]], limit: int) -> Table:
    return Table(tuple(columns), tuple(rows[:limit]), truncated=len(rows) > limit)
