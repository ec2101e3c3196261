"""Transactions of an open registry: reads, writes, and writes that are done once for a key."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, delete, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from crossover.errors import RegistryError
from crossover.registry import schema as s
from crossover.registry.connections import WRITES, registry_error, repeated
from crossover.registry.registry_url import masked
from crossover.registry.write_statements import insert_request

T = TypeVar("T")


def utc_now() -> datetime:
    """The current time."""
    return datetime.now(UTC)


def as_utc(at: datetime) -> datetime:
    """A time from the database; SQLite keeps no zone."""
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class Transactions:
    """Connections to a registry, in one namespace.

    Several processes and threads may use one at once, each with transactions of its own.

    Raises:
        RegistryError: from any method, when the database cannot be reached, read or written.
    """

    def __init__(
        self, url: URL, engine: Engine, clock: Callable[[], datetime] = utc_now, namespace: str = s.DEFAULT_NAMESPACE
    ) -> None:
        self._url, self._engine, self._clock, self.namespace = url, engine, clock, namespace
        self._open = threading.local()

    def within(self, namespace: str) -> Self:
        """The same registry for another namespace; it shares the connections."""
        return type(self)(self._url, self._engine, self._clock, namespace)

    @property
    def url(self) -> str:
        """The URL, without passwords."""
        return masked(self._url)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def now(self) -> datetime:
        """The current time, in UTC."""
        return self._clock()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction; the one that this thread has open, if there is one."""
        inner: Connection | None = getattr(self._open, "transaction", None)
        if inner is not None:
            yield inner
            return
        try:
            with self._engine.execution_options(**{WRITES: True}).begin() as self._open.transaction:
                yield self._open.transaction
        except SQLAlchemyError as error:
            raise registry_error(self._url, error) from error
        finally:
            self._open.transaction = None

    def once(
        self, key: str, body_digest: str, write: Callable[[], object], answer: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Write and answer once for a key, in one transaction: the same key and body get the same answer again.

        Args:
            key: names the request; from the client.
            body_digest: of all that the request says.
            write: does it, by methods of this registry; returns the answer (JSON) unless it is given.
            answer: the answer where it is known before.

        Raises:
            RegistryError: `registry.other-request` when the key was used for another body.
        """
        row = s.IngestRequestRow
        with self.writing() as connection:
            where = {"namespace": self.namespace, "key": key}
            request = where | {"body_digest": body_digest, "answer": answer or {}, "created_at": self.now()}
            if insert_request(connection, request):
                made = write()
                if answer is None and isinstance(made, dict):
                    connection.execute(update(row).filter_by(**where).values(answer=made))
                    return made
                return answer or {}
            stored = connection.execute(select(row.body_digest, row.answer).filter_by(**where)).one()
            if stored.body_digest != body_digest:
                raise RegistryError(
                    "registry.other-request",
                    field="Idempotency-Key",
                    problem=f"{key} was used for another request",
                    remedy="give every request a key of its own, and the same one only to repeat it unchanged",
                )
            return dict(stored.answer)

    def forget_requests(self, older: timedelta) -> int:
        """Drop keys of requests that no client repeats any more; points stay, and are upserts anyway.

        Args:
            older: than so much.

        Returns:
            How many.
        """
        row = s.IngestRequestRow
        with self.writing() as connection:
            return connection.execute(delete(row).where(row.created_at < self.now() - older)).rowcount

    def reading(self, read: Callable[[Engine], T]) -> T:
        """What a function reads; errors of the database as RegistryError."""
        try:
            return repeated(lambda: read(self._engine))
        except SQLAlchemyError as error:
            raise registry_error(self._url, error) from error
