"""No read of pages, steps and the API reads all points: the plans of their own statements, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from crossover.registry import MetricDef, Registry
from crossover.registry.closed_runs import compact
from crossover.registry.live_points import new_points
from crossover.registry.reads.run_detail import run_detail
from crossover.registry.reads.study_list import list_studies
from crossover.registry.reads.study_results import study_runs
from crossover.registry.reads.study_revisions import study_revisions
from crossover.registry.reads.thin_curves import thin_curves
from crossover.registry.view_reads import read_page
from crossover.study.identity import RunId
from tests.crossover.registry.conftest import migrated_file, points
from tests.postgres import server

__all__ = ["migrated_file"]  # a fixture
RUNS, STEPS = 400, 1_000
STUDY, CELL = "sha256:plans", "c0"
LOSS = MetricDef("loss", "nats", "lower", "exact", 0)
MANY = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {steps})
INSERT INTO point (series_id, step, attempt_n, tokens, flops, seconds, value, state)
SELECT s.id, n.i, 1, n.i * 10, n.i * 1e6, n.i / 2.0, 1.0 / n.i, '' FROM n CROSS JOIN series s
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def many(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, migrated_file: bytes
) -> Iterator[Registry]:
    """400,000 points of 400 runs of ten studies, some closed; PostgreSQL has statistics, SQLite has none."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("plans") / "registry.sqlite"
        path.write_bytes(migrated_file)
        yield from _filled(f"sqlite:///{path}")
    else:
        from crossover.registry import upgrade

        with server() as template:
            upgrade(template.format(database="postgres"))
            yield from _filled(template.format(database="postgres"))


def _filled(url: str) -> Iterator[Registry]:
    with Registry.open(url) as registry:
        for i in range(RUNS):
            study = STUDY if i < RUNS // 10 else f"sha256:study {i * 10 // RUNS}"
            registry.register_study(name="plans", digest=study, config={})
            run, digest = RunId(f"c{i % 4}", ("ar", "dlm")[i // 4 % 2], i // 8), f"sha256:{i}"
            registry.register_run(study, run, digest, config={}, epoch_tokens=1000)
            attempt = registry.start_attempt(digest, started_step=0)
            attempt.record(LOSS, points(0))
            if i % 16 == 3:
                attempt.finish("done")
        with registry.writing() as connection:
            connection.exec_driver_sql(MANY.format(steps=STEPS))
        assert compact(registry, closed_for=timedelta(seconds=-5)).runs == RUNS // 16
        if not url.startswith("sqlite"):  # whose registries nobody analyses
            with registry._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("ANALYZE")
        yield registry


@contextmanager
def _statements(registry: Registry) -> Iterator[list[tuple[str, Any]]]:
    """What is sent to the database meanwhile, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_c: object, _k: object, statement: str, parameters: object, *_rest: object) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            seen.append((statement, parameters))

    event.listen(registry._engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(registry._engine, "before_cursor_execute", note)


def _plan(registry: Registry, statement: str, parameters: Any) -> str:  # noqa: ANN401 - of the driver
    on_sqlite = registry.url.startswith("sqlite")
    explain = "EXPLAIN QUERY PLAN" if on_sqlite else "EXPLAIN"
    with registry._engine.connect() as connection:
        cursor = connection.exec_driver_sql(f"{explain} {statement}", parameters)
        return "\n".join(str(row[-1]) for row in cursor.all())


def _page(view: str, **filters: object) -> Callable[[Registry], object]:
    return lambda r: r.reading(lambda e: read_page(e, view, filters, namespaces=None, cursor=None, limit=100))


READS: dict[str, Callable[[Registry], object]] = {
    "curves of a cell": lambda r: r.curves(STUDY, CELL, ["loss"]),
    "curves of a closed cell": lambda r: r.curves(STUDY, "c3", ["loss"]),
    "attempts of a cell": lambda r: r.attempts(STUDY, CELL),
    "a study's runs": lambda r: study_runs(r, None, study_revisions(r, None, "default", "plans").chosen.id),
    "the list of studies": lambda r: list_studies(r, None, search="plan"),
    "a run": lambda r: run_detail(r, None, "sha256:1"),
    "thin curves": lambda r: thin_curves(r, None, [1, 2, 4], ["loss"]),
    "a live tail": lambda r: r.reading(
        lambda e: new_points(e, STUDY, "loss", {f"{CELL}/ar/0": STEPS - 5}, namespaces=["default"], most=100)
    ),
    "a page of runs": _page("v_runs", arm="ar"),
    "a page of a run's curve": _page("v_curves", study_digest=STUDY, cell=CELL, arm="ar", seed=0),
    "a batch of points": lambda r: r.append_points("sha256:0", 1, [(LOSS, points(10_000), True)]),
    "measuring again": lambda r: r.record_points("sha256:1", LOSS, points(7)),
}


@pytest.mark.parametrize("read", READS)
def test_no_statement_reads_every_point(many: Registry, read: str) -> None:
    with _statements(many) as sent:
        READS[read](many)
    assert sent
    for statement, parameters in sent:
        plan = _plan(many, statement, parameters)
        scans = [line for line in plan.splitlines() if _reads_all(line)]
        assert not scans, f"{scans}\n{plan}\n{statement}"


def _reads_all(line: str) -> bool:
    """Whether a line of a plan reads the table of points from one end to the other; on SQLite also that of chunks.

    PostgreSQL rightly scans the few chunks that are here: it goes by sizes.
    """
    words = line.split()
    if "Seq" in words:  # PostgreSQL: Seq Scan on point p
        return words[words.index("on") + 1] == "point"
    return words[:1] == ["SCAN"] and words[1:2] in (["point"], ["p"], ["again"], ["k"], ["point_chunk"])


def test_this_test_sees_a_scan(many: Registry) -> None:
    plan = _plan(many, "SELECT COUNT(*) FROM point p WHERE p.value > 3", None or {})
    assert any(map(_reads_all, plan.splitlines())), plan


def test_the_registry_was_as_large_as_it_says(many: Registry, tmp_path: Path) -> None:
    assert many.query("SELECT COUNT(*) FROM v_curves").rows[0][0] >= RUNS * STEPS
