"""Every database test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from crossover.registry import MetricDef, Point, Registry, upgrade
from crossover.study.identity import RunId

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


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    return new_schema(request.getfixturevalue("postgres"))


def new_schema(url: str) -> str:
    """The URL of an empty schema of a PostgreSQL database."""
    schema = f"t{next(_NUMBER)}"  # in one database: a database of its own would be a thousand files
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    engine.dispose()
    return f"{url}&options=-csearch_path%3D{schema}"


@pytest.fixture
def url(empty_url: str, migrated_file: bytes, tmp_path: Path) -> str:
    """The URL of a migrated database."""
    if empty_url.startswith("sqlite"):
        (tmp_path / "registry.sqlite").write_bytes(migrated_file)
    else:
        upgrade(empty_url)
    return empty_url


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    """An open registry with one study and one run."""
    with Registry.open(url) as opened:
        opened.register_study(name="demo", digest=STUDY, config={"analysis": {"alpha": 0.05}})
        register(opened, RUN_ID)
        yield opened


@pytest.fixture(params=["to sqlite", "to postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty registry of either database, beside the one of `url`; SQLite's file is not there yet."""
    if request.param == "to sqlite":
        return f"sqlite:///{tmp_path}/target.sqlite"
    url = new_schema(request.getfixturevalue("postgres"))
    upgrade(url)
    return url
