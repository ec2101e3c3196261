"""Every database test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from crossover.registry import MetricDef, Point, Registry, upgrade
from crossover.study.identity import RunId
from tests.postgres import server

STUDY = "sha256:study"
RUN_ID = RunId("u10-nano", "dlm", 0)
RUN = f"sha256:{RUN_ID.key}"
BPB = MetricDef("validation_bpb", "bits/byte", "lower", "upper bound", 16)
_NUMBER = itertools.count()


def points(*steps: int, value: float = 1.0) -> list[Point]:
    return [Point(step=s, tokens=s * 10, flops=s * 1e6, seconds=s / 2, value=value + s, stderr=0.1) for s in steps]


def register(registry: Registry, run: RunId, *, epoch_tokens: int | None = None) -> str:
    """Register a run of the study; returns its digest."""
    digest = f"sha256:{run.key}"
    registry.register_run(STUDY, run, digest, config={}, epoch_tokens=epoch_tokens)
    return digest


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with server() as template:
        yield template


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    template: str = request.getfixturevalue("postgres")
    name = f"t{next(_NUMBER)}"
    engine = create_engine(template.format(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return template.format(database=name)


@pytest.fixture
def url(empty_url: str) -> str:
    """The URL of a migrated database."""
    upgrade(empty_url)
    return empty_url


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    """An open registry with one study and one run."""
    with Registry.open(url) as opened:
        opened.register_study(name="demo", digest=STUDY, config={"analysis": {"alpha": 0.05}})
        register(opened, RUN_ID)
        yield opened
