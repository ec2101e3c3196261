"""What the tests of backups share: a registry with a row in every table, its contents, altered files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select, text

from crossover.errors import RegistryError
from crossover.registry import MetricDef, Point, Registry
from crossover.registry.access_tokens import create_token
from crossover.registry.backup import restore
from crossover.registry.backup.manifest import tables
from crossover.registry.closed_runs import compact
from crossover.registry.registry_records import ServingMeasurement
from crossover.registry.registry_url import parse_url
from crossover.study.identity import RunId
from tests.crossover.registry.conftest import BPB, RUN, RUN_ID, STUDY, points, register

ODD = [0.1 + 0.2, 1e16, 5e-324, 1.7976931348623157e308, 1 / 3, float("nan"), float("inf"), float("-inf")]
ANALYSIS = {
    "method": "iut",
    "verdicts": [
        {
            **{"metric": "validation_bpb", "axis": "tokens", "comparison": "matched", "baseline": "ar"},
            **{
                "candidate": "dlm",
                "outcome": "crossover",
                "pairs": 5,
                "p_adjusted": 0.1 + 0.2,
                "reason": 'a "reason"\n',
            },
            "crossing": {"direction": "baseline→candidate", "at": 1e6 / 3, "low": 1.0, "high": None},
        }
    ],
    "later keys": {"z": 1, "a": [1.0, 1, None, "ü\t", 12345678901234567890]},
}

CROSSOVER = {
    **{"device": "cpu", "agreement": 0.1 + 0.2, "crossing": {"outcome": "baseline overtakes", "at": 1e2 / 3}},
    **{name: {"arm": name, "checkpoint_digest": name, "setting": {"ü": 1}} for name in ("baseline", "candidate")},
    "later keys": [1.0, None],
}


def fill(registry: Registry) -> None:
    """A row in every table of the schema, with values that formats like to spoil."""
    registry.register_dataset(STUDY, "sha256:data", {"documents": 3, "größe": "ü\u2028"})
    attempt = registry.start_attempt(RUN, started_step=0)
    attempt.record(BPB, [Point(i, 2**53 + i, -0.0, 0.5, value, None) for i, value in enumerate(ODD)])
    attempt.finish("done")
    registry.start_attempt(RUN, started_step=2).record(BPB, points(3, 4))
    registry.record_checkpoint(RUN, 3, 30, "file:///c", "sha256:c")
    for task in ("Zorro", "arc", "ärgernis", "a_b", "B-c"):
        registry.record_items(RUN, 3, task, {"scores": [float("nan"), 1 / 3], "task": task})
    digest = registry.record_analysis(STUDY, RUN_ID.cell, ANALYSIS)
    registry.record_deployment(
        STUDY, RUN, step=3, uri="s3://b/c", digest="sha256:c", analysis_digest=digest, reason="it's good"
    )
    registry.record_points(RUN, MetricDef("arc_accuracy", "share", "higher", "exact", 0), points(3))
    cost = ServingMeasurement(3, "sha256:c", {"steps": 8, "ü": None}, "cpu", 4, 100, 1 / 3, quality=0.1 + 0.2)
    registry.record_serving(RUN, cost)
    registry.record_serving_crossover(STUDY, CROSSOVER)
    packed = register(registry, RunId("u10-nano", "ar", 7))
    registry.start_attempt(packed, started_step=0).finish("done")
    for metric in (BPB, MetricDef("loss", "nats", "lower", "exact", 0)):
        registry.record_points(packed, metric, [Point(i, i, i / 3, 0.5, v, 1 / 3) for i, v in enumerate(ODD)])
    registry.record_points(packed, BPB, points(100, 200))
    assert compact(registry, closed_for=timedelta(seconds=-5)).kept == 0
    registry.once("key", "body", lambda: {"points": 3})
    create_token(registry, "ci", scopes=["read"], namespaces=None, lifetime=timedelta(days=1), actor="test")


def execute(url: str, sql: str) -> list[Any]:
    engine = create_engine(parse_url(url))
    try:
        with engine.begin() as connection:
            result = connection.execute(text(sql))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def contents(url: str) -> dict[str, list[Any]]:
    """Every table through the schema's own types, which is another way than the backup's."""
    engine = create_engine(parse_url(url))
    with engine.connect() as connection:
        rows = {t.name: [tuple(row) for row in connection.execute(select(t))] for t in tables()}
    engine.dispose()
    return {name: sorted(repr([_comparable(v) for v in row]) for row in held) for name, held in rows.items()}


def _comparable(value: object) -> object:
    if value == 0.0:
        return abs(value)  # SQLite holds no negative zero
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    return value


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of a backup with other members, as a whole zip."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    copy = file.with_name("rewritten.zip")
    with zipfile.ZipFile(copy, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return copy


def refused(url: str, file: Path) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        restore(url, file)
    return caught.value


def rows_in(url: str) -> int:
    """Of all tables; 0 where the file does not exist."""
    if url.startswith("sqlite") and not Path(url.removeprefix("sqlite:///")).exists():
        return 0
    return sum(len(rows) for rows in contents(url).values())


def many_points(url: str, number: int) -> None:
    """Points of one series, by one statement: the rows are no matter here."""
    with Registry.open(url) as registry:
        registry.register_study(name="demo", digest=STUDY, config={})
        registry.register_run(STUDY, RUN_ID, RUN, config={}, epoch_tokens=None)
        registry.record_points(RUN, BPB, points(0))
        with registry.writing() as connection:
            connection.exec_driver_sql(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO point "
                "SELECT 1, i, 1, i * 10, i * 1e6, i / 2.0, 1.0 / i, '', NULL FROM n",
                (number,),
            )
