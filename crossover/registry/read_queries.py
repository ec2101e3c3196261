"""Queries: curves and attempts of a study, and any SELECT of a user, which the database keeps from writing."""

from __future__ import annotations

import difflib
import re
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from crossover.errors import RegistryError, first_line
from crossover.registry.connections import read_sqlite, registry_error
from crossover.registry.registry_records import QueryResult
from crossover.registry.registry_url import file_of, is_sqlite
from crossover.study.identity import RunId

CURVE_COLUMNS = ("arm", "seed", "tokens", "flops", "seconds", "metric", "value", "stderr")
QUERY_SECONDS = 60.0
_CURSOR = "crossover_query"
VIEWS = (
    *("v_curves", "v_runs", "v_verdicts", "v_deployments", "v_attempts", "v_datasets"),
    *("v_evaluations", "v_serving", "v_superseded", "v_serving_crossovers"),
)
_TIMEOUTS = ("interrupted", "canceling statement due to statement timeout")
_UNKNOWN = re.compile(r"""(?:no such |^)(table|relation|column):? "?(.+?)"?(?: does not exist|$)""")
"""What SQLite and PostgreSQL say of a name that they do not know."""
_LISTING = frozenset({"SHOW", "DESCRIBE", "DESC", "PRAGMA", "EXPLAIN", ".TABLES", ".SCHEMA", "\\D", "\\DT", "\\DV"})
_WRITING = frozenset(
    {
        "INSERT",
        "UPDATE",
        "DELETE",
        "REPLACE",
        "MERGE",
        "DROP",
        "CREATE",
        "ALTER",
        "TRUNCATE",
        "GRANT",
        "VACUUM",
        "ATTACH",
    }
)
_QUOTED = re.compile(r"""'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/|`[^`]*`|\[[^]]*]|"((?:[^"]|"")*)\"""", re.DOTALL)
_HIDDEN = {"alembic_version", "access_token", "ingest_request"}
"""Tables that no remedy names; those with hashes and answers cannot be read either, on SQLite."""
_SECRET = re.compile("access_token|ingest_request", re.IGNORECASE)
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def curves(
    engine: Engine, namespace: str, study_digest: str, cell: str, metrics: Sequence[str] | None
) -> dict[str, list[Any]]:
    """Current points of a cell; see `Registry.curves`."""
    chosen = "" if metrics is None else "AND metric IN :metrics "
    statement = text(
        f"SELECT {', '.join(CURVE_COLUMNS)}, state FROM v_curves "  # noqa: S608 - constants only
        "WHERE namespace = :namespace AND study_digest = :study AND cell = :cell "
        f"{chosen}ORDER BY metric, arm, seed, step"
    )
    parameters: dict[str, object] = {"namespace": namespace, "study": study_digest, "cell": cell}
    if metrics is not None:
        statement = statement.bindparams(bindparam("metrics", expanding=True))
        parameters["metrics"] = list(metrics)
    with engine.connect() as connection:
        rows = connection.execute(statement, parameters).all()
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in CURVE_COLUMNS}
    columns["value"] = [float(row.state) if row.value is None else row.value for row in rows]
    return columns


def attempts(engine: Engine, namespace: str, study_digest: str, cell: str) -> list[tuple[RunId, int]]:
    """The runs of a cell with their numbers of attempts; ordered by arm and seed."""
    statement = text(
        "SELECT cell, arm, seed, attempts FROM v_runs "
        "WHERE namespace = :namespace AND study_digest = :study AND cell = :cell ORDER BY arm, seed"
    )
    with engine.connect() as connection:
        rows = connection.execute(statement, {"namespace": namespace, "study": study_digest, "cell": cell}).all()
    return [(RunId(row.cell, row.arm, row.seed), row.attempts) for row in rows]


def select_rows(url: URL, sql: str, limit: int) -> QueryResult:
    """Run one SELECT; see `Registry.query`.

    Raises:
        RegistryError: it is not one statement that only reads, or the database refuses it or does not answer.
    """
    try:
        if is_sqlite(url):
            return read_sqlite(file_of(url), lambda connection: _select_sqlite(connection, sql, limit))
        return _select_postgresql(url, sql, limit)
    except (sqlite3.Error, sqlite3.Warning, SQLAlchemyError, UnicodeError) as error:
        if getattr(error, "connection_invalidated", False):
            raise registry_error(url, error) from error
        cause = getattr(error, "orig", None) or error
        raise _explained(url, sql, first_line(cause)) from error


def _explained(url: URL, sql: str, problem: str) -> RegistryError:
    """What was wrong with a statement, and what to do."""
    word = next(iter(re.findall(r"[.\\]?\w+", sql)), "").upper()
    slow, unknown = problem in _TIMEOUTS, _UNKNOWN.search(problem)
    lists, writes = word in _LISTING, word in _WRITING
    return RegistryError(
        "registry.bad-query",
        field="SQL",
        problem=f"it took longer than {QUERY_SECONDS:g} s"
        if slow
        else f"{word} is not a SELECT"
        if lists
        else f"{word} would write, and a query only reads"
        if writes
        else problem,
        remedy="select less, one study, cell or metric at a time"
        if slow
        else _known_names(unknown[1], unknown[2], sql, _columns(url))
        if unknown and not (lists or writes)
        else f"give one SELECT over {', '.join(VIEWS)}",
    )


def _known_names(kind: str, name: str, sql: str, columns: Mapping[str, Sequence[str]]) -> str:
    """A remedy for an unknown name: the nearest one, and all columns of the tables in the statement, or all tables."""
    used = [table for table in columns if re.search(rf"\b{table}\b", sql, re.IGNORECASE)]
    if kind == "column" and used:
        names = sorted({column for table in used for column in columns[table]})
        listed = "; ".join(f"{table} has {', '.join(columns[table])}" for table in used)
    else:
        names = [*VIEWS, *sorted(set(columns) - {*VIEWS, *_HIDDEN, "closed_point"})]
        listed = f"there are {', '.join(names)}"
    close = difflib.get_close_matches(name.rpartition(".")[2], names, n=1)
    return f"did you mean {close[0]}? {listed}" if close else listed


def _columns(url: URL) -> dict[str, list[str]]:
    """The columns of every table and view."""
    if is_sqlite(url):
        select = "SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type <> 'index'"
        rows = read_sqlite(file_of(url), lambda connection: connection.execute(select).fetchall())
    else:
        select = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        rows = list(_select_postgresql(url, f"{select} ORDER BY table_name, ordinal_position", 10_000).rows)
    columns: dict[str, list[str]] = {}
    for table, column in rows:
        columns.setdefault(str(table), []).append(str(column))
    return columns


def _authorize(action: int, table: str | None, *_others: object) -> int:
    hidden = action == sqlite3.SQLITE_READ and table in _HIDDEN
    return sqlite3.SQLITE_OK if action in _ALLOWED and not hidden else sqlite3.SQLITE_DENY


def _select_sqlite(connection: sqlite3.Connection, sql: str, limit: int) -> QueryResult:
    """On a read-only connection with a time limit, where an authorizer refuses everything but reading.

    Names in double quotes become names in backquotes, for SQLite takes an unknown one in double quotes as a text.
    """
    connection.execute("PRAGMA query_only = ON").close()
    connection.set_authorizer(_authorize)
    until = time.monotonic() + QUERY_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    with closing(connection.execute(_QUOTED.sub(_backquoted, sql))) as cursor:
        if cursor.description is None:
            raise sqlite3.ProgrammingError("the statement returns no rows")
        return _result([column[0] for column in cursor.description], cursor.fetchmany(limit + 1), limit)


def _backquoted(match: re.Match[str]) -> str:
    """A name in double quotes in backquotes; comments, texts and other names as they are."""
    name = match[1]
    return match[0] if name is None else "`" + name.replace('""', '"').replace("`", "``") + "`"


def _select_postgresql(url: URL, sql: str, limit: int) -> QueryResult:
    """In a read-only transaction with a time limit, which is rolled back.

    The statement goes by the extended protocol, which takes one statement only: by the simple one, `SELECT 1; COMMIT;
    DELETE …` would leave the read-only transaction. As a cursor's query it can be nothing but a SELECT.
    """
    try:
        connected = create_engine(url, poolclass=NullPool).connect()
    except SQLAlchemyError as error:
        raise registry_error(url, error) from error
    with connected as connection, connection.begin() as transaction:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{int(QUERY_SECONDS * 1000)}ms'")
        connection.exec_driver_sql("SET LOCAL timezone = 'UTC'")
        if named := _SECRET.search(sql):  # a hint; what keeps people from them is a login of their own
            raise ProgrammingError(sql, None, Exception(f"access to {named[0].lower()} is prohibited"))
        _declare(connection, sql)
        result = connection.exec_driver_sql(f"FETCH {limit + 1} FROM {_CURSOR}")
        table = _result(list(result.keys()), [tuple(row) for row in result.all()], limit)
        transaction.rollback()
        return table


def _declare(connection: Connection, sql: str) -> None:
    """Name the cursor; `binary` makes psycopg use the extended protocol for a statement without parameters."""
    import psycopg

    raw: Any = connection.connection.driver_connection
    try:
        with raw.cursor() as cursor:
            cursor.execute(f"DECLARE {_CURSOR} NO SCROLL CURSOR FOR {sql.strip().rstrip(';')}", binary=True)
    except psycopg.Error as error:
        raise DBAPIError(sql, None, error, connection_invalidated=raw.broken) from error


def _result(columns: Sequence[str], rows: Sequence[tuple[object, ...]], limit: int) -> QueryResult:
    return QueryResult(tuple(columns), tuple(rows[:limit]), truncated=len(rows) > limit)
