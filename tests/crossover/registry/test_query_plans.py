"""No typical query reads all points, closed runs included: plans of what the service really sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from crossover.registry import MetricDef, Point, Registry, upgrade
from crossover.registry.closed_runs import compact
from crossover.registry.live_points import new_points
from crossover.registry.reads.run_detail import run_detail
from crossover.registry.reads.study_list import list_studies
from crossover.registry.reads.study_results import study_runs
from crossover.registry.reads.thin_curves import thin_curves
from crossover.registry.view_reads import read_page
from tests.crossover.registry.conftest import new_schema

STUDIES, RUNS, STEPS = 50, 8, 400  # of two metrics: 320,000 points
DAY = "2026-01-02 03:04:05+00:00"
NUMBERS = "WITH RECURSIVE {0}(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM {0} WHERE i < {1}) "
ROWS = (
    "study (id, name, digest, config, plan_digest, created_at) "
    f"SELECT i, 'study ' || i, 's' || i, '{{}}', 'p', '{DAY}' FROM studies",
    "run (id, digest, cell, arm, seed, status, config) SELECT i, 'r' || i, 'c', CASE i % 2 WHEN 0 THEN 'ar' ELSE 'dlm' "
    f"END, (i - 1) % {RUNS} / 2, 'running', '{{}}' FROM runs",
    f"study_run (study_id, run_id) SELECT (i - 1) / {RUNS} + 1, i FROM runs",
    "attempt (run_id, n, started_step, host, pid, started_at, heartbeat_at, holder) "
    f"SELECT i, 1, 0, 'h', 1, '{DAY}', '{DAY}', 'h/1/1' FROM runs",
    "attempt (run_id, n, started_step, host, pid, started_at, heartbeat_at, holder) "
    f"SELECT i, 2, 350, 'h', 2, '{DAY}', '{DAY}', 'h/2/1' FROM runs WHERE i % 3 = 0",
    "metric_def (id, name, unit, direction, estimator, draws) SELECT i, 'm' || i, '1', 'lower', 'exact', 0 "
    "FROM studies WHERE i < 3",
    "series (id, run_id, metric_id) SELECT 2 * i - 1, i, 1 FROM runs",
    "series (id, run_id, metric_id) SELECT 2 * i, i, 2 FROM runs",
    "point (series_id, step, attempt_n, tokens, flops, seconds, value, state) "
    "SELECT r.i, s.i, 1, s.i, s.i, s.i, 1.5, '' FROM series_ids r, steps s",
)
LISTS = {"studies": STUDIES, "runs": STUDIES * RUNS, "series_ids": 2 * STUDIES * RUNS, "steps": STEPS}
METRIC = MetricDef("m1", "1", "lower", "exact")
Read = Callable[[Registry], object]


def _sql(number: int) -> Read:
    """Questions of docs/registry.md and of people, as SQL."""

    def read(engine: Engine) -> object:
        with engine.connect() as connection:
            return connection.exec_driver_sql(SQL[number]).all()

    return lambda registry: registry.reading(read)


SQL = (
    "SELECT step, value FROM v_curves WHERE study_digest = 's7' AND arm = 'ar' AND seed = 1 AND metric = 'm1'",
    "SELECT MAX(step) FROM v_curves WHERE study_digest = 's7' AND arm = 'ar' AND seed = 1 AND metric = 'm1'",
    "SELECT arm, seed, metric, MAX(step) FROM v_curves WHERE study_digest = 's7' GROUP BY arm, seed, metric",
    "SELECT study, cell, arm, seed, status, seconds FROM v_runs WHERE status = 'lost'",
    "SELECT step, value FROM v_curves WHERE study = 'study 7' AND arm = 'ar' AND seed = 1 AND metric = 'm1'",
)


def page(view: str, **filters: object) -> Read:
    def read(registry: Registry) -> object:
        return registry.reading(lambda e: read_page(e, view, filters, namespaces={"default"}, cursor=None, limit=100))

    return read


READS: dict[str, Read] = {
    "a run's curve": page("v_curves", study_digest="s7", cell="c", arm="ar", seed=1, metric="m1"),
    "a study's curves": page("v_curves", study_digest="s7"),
    "a study's curves by name": page("v_curves", study="study 7"),
    "a cell's curves for the analysis": lambda registry: registry.curves("s7", "c"),
    "curves of closed runs": lambda registry: registry.curves("s1", "c"),
    "curves of a page, of closed runs": lambda registry: thin_curves(registry, None, range(1, 9), ["m1"]),
    "runs of a study's page, closed": lambda registry: study_runs(registry, None, 1),
    "a metric's curves for the analysis": lambda registry: registry.curves("s7", "c", ["m1"]),
    "curves of a page": lambda registry: thin_curves(registry, None, range(49, 57), ["m1"]),
    "runs": page("v_runs"),
    "a study's runs": page("v_runs", study_digest="s7"),
    "a run by its digest": page("v_runs", run_digest="r50"),
    "runs by status": page("v_runs", status="lost"),
    "attempts of a run": page("v_attempts", run_digest="r50"),
    "runs of a study's page": lambda registry: study_runs(registry, None, 7),
    "a run's page": lambda registry: run_detail(registry, None, "r50"),
    "studies": lambda registry: list_studies(registry, {"default"}),
    "search": lambda registry: list_studies(registry, {"default"}, search="study 7"),
    "a live tail from the start": lambda r: r.reading(lambda e: new_points(e, "s7", "m1", {}, namespaces=None)),
    "a live tail": lambda r: r.reading(lambda e: new_points(e, "s7", "m1", {"c/ar/1": 390}, namespaces=None)),
    "the last step of a series, and more points": lambda registry: registry.append_points(
        "r50", 1, [(METRIC, [Point(STEPS + 1, 1, 1.0, 1.0, 1.0)], True)]
    ),
    **{sql: _sql(number) for number, sql in enumerate(SQL)},
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with many points, loaded by one INSERT a table, and analysed."""
    url = f"sqlite:///{tmp_path_factory.mktemp('many')}/r.sqlite"
    if request.param == "postgresql":
        url = new_schema(request.getfixturevalue("postgres"))
        upgrade(url)
    with Registry.open(url) as registry:
        with registry.writing() as connection:
            load(connection)
        with registry.writing() as connection:
            connection.exec_driver_sql(f"UPDATE run SET status = 'done' WHERE id <= {RUNS}")
            connection.exec_driver_sql(f"UPDATE attempt SET ended_at = started_at WHERE run_id <= {RUNS}")
        assert compact(registry, closed_for=timedelta(0)).points == 2 * RUNS * STEPS
        if request.param == "postgresql":  # whose own process does so; nothing does for SQLite
            with registry.writing() as connection:
                connection.exec_driver_sql("ANALYZE")
        yield registry


def load(connection: Connection) -> None:
    lists = ", ".join(
        NUMBERS.format(name, most).removeprefix("WITH RECURSIVE ").strip() for name, most in LISTS.items()
    )
    for rows in ROWS:
        table, select = rows.split(" SELECT ", 1)
        statement = f"INSERT INTO {table} WITH RECURSIVE {lists} SELECT {select}"
        connection.exec_driver_sql(statement.replace("%", "%%" if connection.dialect.name == "postgresql" else "%"))


def statements(registry: Registry, read: Read) -> list[tuple[str, Any]]:
    """What a read sends to the database, with its parameters."""
    sent: list[tuple[str, Any]] = []

    def keep(_connection: Connection, _cursor: object, sql: str, parameters: object, *_others: object) -> None:
        if sql.lstrip().startswith("SELECT"):
            sent.append((sql, parameters))

    event.listen(registry._engine, "before_cursor_execute", keep)
    try:
        read(registry)
    finally:
        event.remove(registry._engine, "before_cursor_execute", keep)
    return sent


def scans_of_points(engine: Engine, sql: str, parameters: Any) -> list[str]:  # noqa: ANN401 - of the driver
    """Where the plan of a statement goes through all points, be it by an index."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
            details = [str(row.detail).split() for row in plan]
            return [" ".join(d) for d in details if d[0] == "SCAN" and d[1] in ("point", "p", "again", "point_1")]
        (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}", parameters).scalar_one()
        return [json.dumps(node) for node in nodes(plan["Plan"]) if is_whole(node)]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {name: value for name, value in plan.items() if name != "Plans"}
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def is_whole(node: dict[str, Any]) -> bool:
    of_points = node.get("Relation Name") == "point" or node.get("Index Name") == "pk_point"
    return of_points and "Scan" in node["Node Type"] and "Index Cond" not in node and "Recheck Cond" not in node


@pytest.mark.parametrize("name", READS)
def test_no_typical_query_goes_through_all_points(many: Registry, name: str) -> None:
    sent = statements(many, READS[name])
    assert sent
    found = [(sql, scan) for sql, values in sent for scan in scans_of_points(many._engine, sql, values)]
    assert found == []


def test_a_query_of_all_points_is_found(many: Registry) -> None:
    """The check sees a scan where there is one."""
    assert many.query("SELECT COUNT(*) FROM point").rows[0][0] >= 310_000  # type: ignore[operator]  # a column of any type
    assert scans_of_points(many._engine, "SELECT SUM(value) FROM point", ())
