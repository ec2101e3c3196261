"""Beyond the other registry tests: order of arrival, what a query could leave behind, odd URLs, the analysis."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossover.analysis import AnalysisPlan, analyse
from crossover.errors import RegistryError
from crossover.registry import MetricDef, Point, Registry, upgrade
from crossover.registry.connections import make_engine
from crossover.registry.registry_url import parse_url
from crossover.registry.schema import Base
from crossover.study.identity import RunId
from tests.crossover.registry.conftest import BPB, RUN, RUN_ID, STUDY, points, register
from tests.crossover.registry.test_registry import writer

ALL_CURVES = "SELECT step, value, attempt FROM v_curves ORDER BY step"


def everything(url: str) -> dict[str, list[str]]:
    """All rows of all tables, in an order of their own."""
    engine = make_engine(parse_url(url))
    with engine.connect() as connection:
        rows = {
            table.name: sorted(map(repr, connection.execute(table.select()).all()))
            for table in Base.metadata.sorted_tables
        }
    engine.dispose()
    return rows


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_batches_in_any_order_and_repeated_give_the_same_curve(registry: Registry, data: st.DataObject) -> None:
    batches = [points(*range(first, first + 4)) for first in range(1, 13, 4)]
    sent = data.draw(st.permutations(batches + data.draw(st.lists(st.sampled_from(batches), max_size=3))))
    run = RunId("cell", "ar", data.draw(st.integers(0, 2**40)))
    attempt = registry.start_attempt(register(registry, run), started_step=0)
    for batch in sent:
        attempt.record(BPB, data.draw(st.permutations(batch)))
    rows = registry.query(f"SELECT step, value FROM v_curves WHERE seed = {run.seed} ORDER BY step").rows
    assert rows == tuple((step, 1.0 + step) for step in range(1, 13))


def test_three_attempts_never_show_a_step_twice(registry: Registry) -> None:
    for started, value in ((0, 0.0), (6, 100.0), (3, 200.0)):
        attempt = registry.start_attempt(RUN, started_step=started)
        attempt.record(BPB, points(*range(started + 1, 9), value=value))
    assert registry.query(ALL_CURVES).rows == (
        *((step, float(step), 1) for step in (1, 2, 3)),
        *((step, 200.0 + step, 3) for step in range(4, 9)),
    )
    reasons = registry.query("SELECT n, end_reason FROM attempt ORDER BY n").rows
    assert reasons == ((1, "interrupted"), (2, "interrupted"), (3, None))


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA writable_schema = ON",
        "PRAGMA query_only = OFF",
        "SELECT 1; PRAGMA query_only = OFF",
        "REPLACE INTO study (id, name) VALUES (1, 'x')",
        "ALTER TABLE study RENAME TO other",
        "VACUUM",
        "SELECT load_extension('x')",
        "SELECT * FROM study FOR UPDATE",
        "SELECT setval('study_id_seq', 99)",
        "SELECT query_to_xml('DELETE FROM study', true, true, '')",
        "COPY study TO STDOUT",
        "DO $$ BEGIN DELETE FROM study; END $$",
        "SELECT '\udcff'",
    ],
)
def test_a_query_leaves_every_row_as_it_was(registry: Registry, url: str, sql: str) -> None:
    registry.start_attempt(RUN, started_step=0).record(BPB, points(1, 2))
    before = everything(url)
    with pytest.raises(RegistryError) as caught:
        registry.query(sql)
    assert caught.value.field == "SQL"
    assert everything(url) == before


def test_what_a_function_writes_is_rolled_back(registry: Registry, url: str) -> None:
    if url.startswith("sqlite"):
        with pytest.raises(RegistryError, match="lo_create"):
            registry.query("SELECT lo_create(4711)")
        return
    # PostgreSQL before 16 lets a read-only transaction make large objects, later ones refuse
    try:
        registry.query("SELECT lo_create(4711)")
    except RegistryError as error:
        assert "read-only" in error.problem
    assert registry.query("SELECT COUNT(*) FROM pg_largeobject_metadata").rows == ((0,),)


@pytest.mark.parametrize(
    "sql", ["SELECT 1 AS a -- why", "-- why\nSELECT 1 AS a", "WITH x AS (SELECT 1 AS a) SELECT a FROM x ; "]
)
def test_a_query_may_hold_comments_and_with(registry: Registry, sql: str) -> None:
    table = registry.query(sql)
    assert (table.columns, table.rows, table.truncated) == (("a",), ((1,),), False)


def test_the_limit_is_not_reached_by_exactly_so_many_rows(registry: Registry) -> None:
    two = "SELECT 1 AS one UNION SELECT 2"
    assert (len(registry.query(two, limit=2).rows), registry.query(two, limit=2).truncated) == (2, False)
    assert (len(registry.query(two, limit=1).rows), registry.query(two, limit=1).truncated) == (1, True)


def test_curves_feed_the_analysis_and_its_verdicts_are_rows(registry: Registry) -> None:
    for arm, slope in (("ar", 0.1), ("dlm", 0.2)):
        for seed in range(5):
            run = register(registry, RunId(RUN_ID.cell, arm, seed))
            attempt = registry.start_attempt(run, started_step=0)
            attempt.record(BPB, points(*range(1, 11), value=slope * seed))
    curves = registry.curves(STUDY, RUN_ID.cell)
    analysis = analyse(curves, AnalysisPlan.model_validate(PLAN), unique_tokens=20)
    assert len(curves["value"]) == 100
    registry.record_analysis(STUDY, RUN_ID.cell, analysis.model_dump(mode="json"))
    rows = registry.query("SELECT metric, axis, comparison, outcome, pairs, reason FROM v_verdicts").rows
    assert sorted(rows) == sorted(
        (v.metric, v.axis, v.comparison, v.outcome, v.pairs, v.reason) for v in analysis.verdicts
    )
    assert rows


PLAN = {"baseline": "ar", "candidate": "dlm", "metrics": [{"name": BPB.name, "delta": 0.02, "direction": "lower"}]}


def test_upgrades_at_once_migrate_once(empty_url: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        revisions = list(pool.map(upgrade, [empty_url] * 3))
    head = revisions[0][1]
    assert sorted(revisions, key=str) == sorted([(None, head), (head, head), (head, head)], key=str)


def test_kill_9_leaves_a_file_that_sqlite_finds_sound(tmp_path: Path) -> None:
    with writer(f"sqlite:///{tmp_path}/registry.sqlite", 0, 10_000) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 3:
                process.kill()
                break
        process.stdout.read()
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


class TestUrls:
    @pytest.mark.parametrize("name", ["with space", "hash#tag", "ümlaut"])
    def test_odd_file_names(self, tmp_path: Path, name: str) -> None:
        with Registry.open(f"sqlite:///{tmp_path}/{name}/{name}.sqlite") as registry:
            assert registry.query("SELECT COUNT(*) FROM v_runs").rows == ((0,),)
        assert (tmp_path / name / f"{name}.sqlite").is_file()

    def test_a_percent_code_is_decoded_for_writing_and_for_reading(self, tmp_path: Path) -> None:
        with Registry.open(f"sqlite:///{tmp_path}/per%20cent.sqlite") as registry:
            assert registry.query("SELECT COUNT(*) FROM v_runs").rows == ((0,),)
        assert (tmp_path / "per cent.sqlite").is_file()

    def test_a_folder_is_not_a_registry(self, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match="unable to open") as caught:
            Registry.open(f"sqlite:///{tmp_path}")
        assert caught.value.field == "registry url"

    @pytest.mark.parametrize("url", ["postgresql+asyncpg://u@h/x", "postgresql://u@h:port/x"])
    def test_a_driver_that_is_not_there_or_a_port_that_is_no_number(self, url: str) -> None:
        with pytest.raises(RegistryError) as caught:
            Registry.open(url)
        assert caught.value.field == "registry url"

    @pytest.mark.parametrize(
        "url", ["mysql://u:secret@h/x", "postgresql+asyncpg://u:secret@h/x", "postgresql://u:secret@h:port/x"]
    )
    def test_an_error_hides_the_password(self, url: str) -> None:
        with pytest.raises(RegistryError) as caught:
            Registry.open(url)
        assert "secret" not in str(caught.value)


def test_estimators_of_one_name_do_not_double_a_step_of_an_evaluation(registry: Registry) -> None:
    registry.start_attempt(RUN, started_step=0).finish("done")
    for draws in (16, 128, 16):
        metric = MetricDef(BPB.name, BPB.unit, BPB.direction, BPB.estimator, draws)
        registry.record_points(RUN, metric, points(1, 2, value=float(draws)))
    assert registry.query(ALL_CURVES).rows == ((1, 17.0, 1), (2, 18.0, 1))
    assert registry.query("SELECT DISTINCT draws FROM v_curves").rows == ((16,),)


def test_numbers_of_numpy_are_kept_as_numbers(registry: Registry) -> None:
    steps: list[Any] = [np.int64(9), 10, np.int32(11)]
    values: list[Any] = [np.float32(1.5), np.float64(2.5), np.float32(0.5), np.float64(0.25)]
    numbers = [Point(step, step * 2, *values) for step in steps]
    attempt = registry.start_attempt(RUN, started_step=0)
    for _ in range(2):
        attempt.record(BPB, numbers)
        registry.record_points(RUN, BPB, numbers)
    rows = registry.query("SELECT step, tokens, flops, seconds, value, stderr FROM v_curves ORDER BY step").rows
    assert rows == tuple((step, step * 2, 1.5, 2.5, 0.5, 0.25) for step in (9, 10, 11))
    assert {type(row[0]) for row in rows} == {int}
