"""Reading: curves for the analysis, and anybody's SELECT, which the database itself keeps from writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from crossover.errors import RegistryError
from crossover.registry.records import Table

CURVE_COLUMNS = ("arm", "seed", "tokens", "flops", "seconds", "metric", "value", "stderr")
QUERY_SECONDS = 60
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def curves(engine: Engine, study_digest: str, cell: str, metrics: Sequence[str] | None) -> dict[str, list[Any]]:
    """Current points of a cell, as columns; ordered by metric, arm, seed and step."""
    statement = text(
        f"SELECT {', '.join(CURVE_COLUMNS)} FROM v_curves WHERE study_digest = :study AND cell = :cell "  # noqa: S608
        "ORDER BY metric, arm, seed, step"
    )
    with engine.connect() as connection:
        rows = connection.execute(statement, {"study": study_digest, "cell": cell}).all()
    kept = [row for row in rows if metrics is None or row.metric in metrics]
    columns = {name: [getattr(row, name) for row in kept] for name in CURVE_COLUMNS}
    columns["value"] = [float("nan") if value is None else value for value in columns["value"]]
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
    except (sqlite3.Error, sqlite3.Warning, SQLAlchemyError) as error:
        cause = getattr(error, "orig", None) or error
        raise RegistryError(
            "registry.query",
            field="SQL",
            problem=str(cause).splitlines()[0],
            remedy="give one SELECT over v_curves, v_runs, v_verdicts or v_deployments",
        ) from error


def _authorize(action: int, *_arguments: object) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _read_sqlite(path: str, sql: str, limit: int) -> Table:
    """Opened read-only, and an authorizer refuses everything but reading."""
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=30)) as connection:
        connection.set_authorizer(_authorize)
        with closing(connection.execute(sql)) as cursor:
            if cursor.description is None:
                raise sqlite3.ProgrammingError("the statement returns no rows")
            return _table([column[0] for column in cursor.description], cursor.fetchmany(limit + 1), limit)


def _read_postgresql(url: URL, sql: str, limit: int) -> Table:
    """In a read-only transaction with a time limit; the extended protocol takes one statement only."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{QUERY_SECONDS}s'")
        connection.exec_driver_sql(
            "DECLARE crossover_query NO SCROLL CURSOR FOR " + sql.strip().rstrip(";").replace("%", "%%")
        )
        result = connection.exec_driver_sql(f"FETCH {limit + 1} FROM crossover_query")
        return _table(list(result.keys()), [tuple(row) for row in result.all()], limit)


def _table(columns: Sequence[str], rows: Sequence[tuple[object, ...]], limit: int) -> Table:
    return Table(tuple(columns), tuple(rows[:limit]), truncated=len(rows) > limit)
