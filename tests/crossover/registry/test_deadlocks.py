"""Of two transactions that wait for each other PostgreSQL ends one; it is done again, be it a read or a migration."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine

from crossover.registry import Registry, upgrade
from tests.crossover.registry.newer_revisions import newer_version, with_newer_revisions

pytestmark = pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)


@pytest.fixture
def other(url: str) -> Iterator[Connection]:
    """A connection that looks for deadlocks so late that it is never the one that is ended."""
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("SET LOCAL deadlock_timeout = '600s'")
        yield connection
    engine.dispose()


def wait_for_a_waiter(url: str) -> None:
    engine, until = create_engine(url), time.monotonic() + 30
    with engine.connect() as connection:
        while not connection.exec_driver_sql("SELECT 1 FROM pg_locks WHERE NOT granted").first():
            assert time.monotonic() < until
    engine.dispose()


def test_a_read(url: str, registry: Registry, other: Connection) -> None:
    tries = []

    def read(engine: Engine) -> int:
        tries.append(1)
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1 FROM run")
            return int(connection.exec_driver_sql("SELECT COUNT(*) FROM point").scalar_one())

    with ThreadPoolExecutor() as pool:
        other.exec_driver_sql("LOCK TABLE point")
        reading = pool.submit(registry.reading, read)
        wait_for_a_waiter(url)
        other.exec_driver_sql("LOCK TABLE run")  # waits until the read is ended
        other.commit()
        assert reading.result() == 0
    assert len(tries) == 2


def test_a_migration(url: str, other: Connection, tmp_path: Path) -> None:
    (revision,) = with_newer_revisions(tmp_path / "migrations", 1)
    with ThreadPoolExecutor() as pool, newer_version(tmp_path / "migrations"):
        other.exec_driver_sql("SELECT 1 FROM run")
        migrating = pool.submit(upgrade, url)
        wait_for_a_waiter(url)
        other.exec_driver_sql("SELECT 1 FROM point")  # waits until the migration is ended
        other.commit()
        assert migrating.result()[1] == revision
        assert upgrade(url) == (revision, revision)
