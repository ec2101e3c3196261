"""Types of columns that both databases have in their own way."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import JSON, LargeBinary, TypeDecorator
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine


class CompressedJson(TypeDecorator[dict[str, object]]):
    """JSON, compressed by zlib. Unlike a column of JSON it holds NaN and infinities, on every database."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: dict[str, object] | None, dialect: Dialect) -> bytes | None:
        """To bytes."""
        return None if value is None else zlib.compress(json.dumps(value, separators=(",", ":")).encode())

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> dict[str, object] | None:
        """From bytes."""
        return None if value is None else dict(json.loads(zlib.decompress(value)))


class ArrayOf(TypeDecorator[list[Any]]):
    """An array of numbers or texts, any of which may be null: PostgreSQL's own, and JSON on SQLite.

    Args:
        item: type of an element.
    """

    impl = JSON
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__(none_as_null=True)
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's own type."""
        kind = ARRAY(self.item) if dialect.name == "postgresql" else JSON(none_as_null=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> list[Any] | None:
        """As it is."""
        return None if value is None else list(value)
