"""Rows of a table as lines of JSON that are equal on SQLite and PostgreSQL, and back to rows.

A line is a JSON array of the table's columns in their order. Bytes are base64; timestamps are UTC in ISO 8601; a JSON
column is the database's own text of it, so that neither keys nor numbers are written anew; floats are the shortest
text that reads back to the same bits. Rows come in the order of the primary key, texts by their UTF-8 bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Float,
    Insert,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    cast,
    collate,
    insert,
    select,
    type_coerce,
)
from sqlalchemy.types import TypeEngine

from crossover.registry.column_types import ArrayOf

BATCH_ROWS = 2000
"""Rows in memory at once."""
_PARAMETER = "value_"


@dataclass(frozen=True)
class _Kind:
    """How values of one type are written in JSON; None stays null."""

    json_type: tuple[type, ...]
    encode: Callable[[Any], object] | None = None
    decode: Callable[[Any], object] | None = None


def _encode_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _decode_bytes(value: str) -> bytes:
    return base64.b64decode(value, validate=True)


def _encode_time(value: datetime) -> str:
    """SQLite gives times back without their zone, which is UTC."""
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")


def _encode_float(value: float) -> object:
    """SQLite holds no negative zero: it would make 0 of one that came from PostgreSQL."""
    return value + 0.0 if math.isfinite(value) else str(value)


def _encode_array(values: list[Any]) -> list[object]:
    return [value + 0.0 if isinstance(value, float) else value for value in values]


_KINDS: tuple[tuple[type[TypeEngine[Any]], _Kind], ...] = (
    (ArrayOf, _Kind((list,), _encode_array)),
    (JSON, _Kind((str,))),
    (LargeBinary, _Kind((str,), _encode_bytes, _decode_bytes)),
    (DateTime, _Kind((str,), _encode_time, datetime.fromisoformat)),
    (Float, _Kind((float, str), _encode_float, float)),
    (Boolean, _Kind((bool,))),
    (Integer, _Kind((int,))),
    (String, _Kind((str,))),
)


class PortableTable:
    """One table of the schema: its rows as lines, and lines as rows.

    Args:
        table: the table.
        names: of the columns to take; None takes all.

    Raises:
        TypeError: a column has a type that no line keeps: add it to _KINDS.
    """

    def __init__(self, table: Table, names: Sequence[str] | None = None) -> None:
        self.table = table
        self.columns = tuple(table.columns) if names is None else tuple(table.c[name] for name in names)
        self.names = tuple(column.name for column in self.columns)
        self._kinds = tuple(_kind_of(column) for column in self.columns)

    def lines(self, connection: Connection) -> Iterator[bytes]:
        """Every row as a line, with its newline.

        Args:
            connection: within a transaction; it reads in batches of BATCH_ROWS.
        """
        for values in self.rows(connection):
            text = json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
            yield text.encode() + b"\n"

    def rows(self, connection: Connection, where: ColumnElement[bool] | None = None) -> Iterator[list[Any]]:
        """Every row as values of JSON.

        Args:
            connection: within a transaction; it reads in batches of BATCH_ROWS.
            where: which rows; None takes all.
        """
        statement = self._select(connection) if where is None else self._select(connection).where(where)
        options = {"stream_results": True, "max_row_buffer": BATCH_ROWS}
        encoders = [kind.encode for kind in self._kinds]
        with connection.execute(statement, execution_options=options) as rows:
            for row in rows:
                yield [
                    value if value is None or encode is None else encode(value)
                    for value, encode in zip(row, encoders, strict=True)
                ]

    def insert(self, connection: Connection, lines: Sequence[bytes]) -> None:
        """Insert the rows of some lines.

        Raises:
            ValueError: a line is not a row of this table.
        """
        self.insert_rows(connection, [self._parsed(line) for line in lines])

    def insert_rows(self, connection: Connection, rows: Sequence[Sequence[object]]) -> None:
        """Insert rows, as `rows` gave them.

        Raises:
            ValueError: one is not a row of this table.
        """
        if rows:
            connection.execute(self._insert(connection), [self._parameters(row) for row in rows])

    def insert_row(self, connection: Connection, row: Sequence[object]) -> int:
        """Insert one row of a table whose ids the database gives; returns its id. Errors as `insert_rows`."""
        statement = self._insert(connection).returning(self.table.c.id)
        return int(connection.execute(statement, self._parameters(row)).scalar_one())

    def _parameters(self, values: Sequence[object]) -> dict[str, object]:
        names = [f"{_PARAMETER}{name}" for name in self.names]
        return {name: self._decoded(i, value) for i, (name, value) in enumerate(zip(names, values, strict=True))}

    def _parsed(self, line: bytes) -> list[object]:
        values = json.loads(line)
        if not isinstance(values, list) or len(values) != len(self.columns):
            raise ValueError(f"a row of {self.table.name} has other columns")
        return values

    def _decoded(self, index: int, value: object) -> object:
        kind = self._kinds[index]
        if value is None:
            return None
        if type(value) not in kind.json_type:
            raise ValueError(f"{self.table.name}.{self.names[index]} holds {type(value).__name__}")
        return value if kind.decode is None else kind.decode(value)

    def _select(self, connection: Connection) -> Select[*tuple[Any, ...]]:
        on_postgres = connection.dialect.name == "postgresql"
        keys: list[ColumnElement[Any]] = [
            collate(column, "C") if on_postgres and isinstance(column.type, String) else column
            for column in self.table.primary_key
        ]
        return select(*(_stored(column) for column in self.columns)).order_by(*keys)

    def _insert(self, connection: Connection) -> Insert:
        return insert(self.table).values({c.name: _parameter(c, connection.dialect.name) for c in self.columns})


def count_and_digest(lines: Iterable[bytes]) -> tuple[int, str]:
    """The number of lines, and their SHA-256 as `sha256:<64 hex digits>`."""
    number, digest = 0, hashlib.sha256()
    for line in lines:
        number += 1
        digest.update(line)
    return number, f"sha256:{digest.hexdigest()}"


def _storage_type(column: Column[object]) -> TypeEngine[object]:
    """The type that the database holds: what a decorated type makes of it is taken apart by nobody here."""
    kind = column.type
    return kind.impl_instance if isinstance(kind, TypeDecorator) and not isinstance(kind, ArrayOf) else kind


def _kind_of(column: Column[object]) -> _Kind:
    stored = _storage_type(column)
    for kind, described in _KINDS:
        if isinstance(stored, kind):
            return described
    raise TypeError(f"{column.table.name}.{column.name} has the type {stored!r}, which a backup cannot keep")


def _stored(column: Column[Any]) -> ColumnElement[Any]:
    """A column as the database holds it; JSON as its text."""
    stored = _storage_type(column)
    if isinstance(stored, JSON):
        return cast(column, Text)
    return type_coerce(column, stored)


def _parameter(column: Column[Any], dialect: str) -> ColumnElement[Any]:
    """The parameter of a column; on PostgreSQL the text of JSON must be cast, on SQLite it is stored as it is."""
    stored, name = _storage_type(column), f"{_PARAMETER}{column.name}"
    if not isinstance(stored, JSON):
        return bindparam(name, type_=stored)
    text = bindparam(name, type_=Text())
    return cast(text, JSON) if dialect == "postgresql" else text
