"""Writes are idempotent, attempts supersede, concurrent writers lose nothing, and a query cannot write."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from crossover.errors import RegistryError
from crossover.registry import MetricDef, Point, Registry, SavedCheckpoint, upgrade
from crossover.registry import read_queries as query_module
from crossover.registry.connections import make_engine
from crossover.registry.registry_url import parse_url
from crossover.registry.schema import Base, ItemScoresRow
from crossover.study.identity import RunId
from tests.crossover.registry.conftest import BPB, RUN, RUN_ID, STUDY, points, register

CURVE = "SELECT step, value, attempt FROM v_curves WHERE metric = 'validation_bpb' ORDER BY step"


def test_upgrade_from_empty_then_nothing_to_do(empty_url: str) -> None:
    assert upgrade(empty_url) == (None, "0010")
    assert upgrade(empty_url) == ("0010", "0010")


def test_models_match_the_migrated_schema(url: str) -> None:
    engine = make_engine(parse_url(url))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6), min_size=1, max_size=5))
def test_points_are_neither_lost_nor_doubled(registry: Registry, batches: list[list[int]]) -> None:
    run = RunId("cell", "ar", hash(str(batches)) % 2**31)
    attempt = registry.start_attempt(register(registry, run), started_step=0)
    for batch in batches:
        attempt.record(BPB, points(*batch))
    rows = registry.query(f"SELECT step FROM v_curves WHERE seed = {run.seed} ORDER BY step").rows
    assert [step for (step,) in rows] == sorted({step for batch in batches for step in batch})


def test_a_later_attempt_supersedes_what_lies_beyond_its_start(registry: Registry) -> None:
    first = registry.start_attempt(RUN, started_step=0)
    first.record(BPB, points(1, 2, 3, 4))
    second = registry.start_attempt(RUN, started_step=2)
    assert registry.query(CURVE).rows == ((1, 2.0, 1), (2, 3.0, 1))
    second.record(BPB, points(3, value=10.0))
    assert registry.query(CURVE).rows == ((1, 2.0, 1), (2, 3.0, 1), (3, 13.0, 2))
    second.finish("done")
    assert registry.query("SELECT status, attempts FROM v_runs").rows == (("done", 2),)
    assert registry.query("SELECT n, end_reason FROM attempt ORDER BY n").rows == ((1, "interrupted"), (2, "done"))


def test_a_step_that_is_trained_again_after_a_roll_back_has_its_newest_value(registry: Registry) -> None:
    attempt = registry.start_attempt(RUN, started_step=0)
    attempt.record(BPB, points(1, 2, 3))
    attempt.record(BPB, points(2, 3, 4, value=10.0))
    assert registry.query(CURVE).rows == ((1, 2.0, 1), (2, 12.0, 1), (3, 13.0, 1), (4, 14.0, 1))


def test_measuring_again_replaces_even_with_another_estimator(registry: Registry) -> None:
    registry.start_attempt(RUN, started_step=0).finish("done")
    registry.record_points(RUN, BPB, points(1, 2))
    registry.record_points(RUN, BPB, points(2, value=5.0))
    finer = MetricDef(BPB.name, BPB.unit, BPB.direction, BPB.estimator, 128)
    registry.record_points(RUN, finer, points(2, value=6.0))
    assert registry.query(CURVE).rows == ((1, 2.0, 1), (2, 8.0, 1))


def test_measuring_again_after_a_resume_leaves_one_value_a_step(registry: Registry) -> None:
    registry.start_attempt(RUN, started_step=0)
    registry.record_points(RUN, BPB, points(1, 2, 4))
    registry.start_attempt(RUN, started_step=2)
    registry.record_points(RUN, BPB, points(1, 2, 3, value=10.0))
    assert registry.query(CURVE).rows == ((1, 11.0, 2), (2, 12.0, 2), (3, 13.0, 2))
    assert registry.curves(STUDY, RUN_ID.cell)["value"] == [11.0, 12.0, 13.0]
    assert registry.query("SELECT seconds FROM v_runs").rows == ((1.5,),)


def test_an_attempt_that_a_later_one_replaced_does_not_end_the_run(registry: Registry) -> None:
    stale = registry.start_attempt(RUN, started_step=0)
    live = registry.start_attempt(RUN, started_step=0)
    stale.finish("failed")
    assert registry.query("SELECT status FROM v_runs").rows == (("running",),)
    live.finish("done")
    live.finish("failed")
    assert registry.query("SELECT status FROM v_runs").rows == (("done",),)


def test_attempts_that_start_at_once_are_numbered_apart(url: str) -> None:
    with Registry.open(url) as registry:
        registry.register_study(name="demo", digest=STUDY, config={})
        register(registry, RUN_ID)

    def start(_: int) -> int:
        with Registry.open(url) as own:
            together.wait(timeout=30)
            return own.start_attempt(RUN, started_step=0).n

    together = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(start, range(4))) == [1, 2, 3, 4]


def test_epochs_are_tokens_over_the_tokens_of_an_epoch(registry: Registry) -> None:
    register(registry, RUN_ID, epoch_tokens=8)
    register(registry, RUN_ID)
    registry.record_points(RUN, BPB, points(2))
    registry.record_points(register(registry, RunId("c", "ar", 0)), BPB, points(2))
    assert registry.query("SELECT epochs FROM v_curves ORDER BY arm DESC").rows == ((2.5,), (None,))


def test_revisions_of_a_study_share_a_run(registry: Registry) -> None:
    registry.start_attempt(RUN, started_step=0).record(BPB, points(1))
    registry.register_study(name="demo", digest="sha256:edited", config={"question": "why?"})
    for _ in range(2):
        registry.register_run("sha256:edited", RUN_ID, RUN, config={}, epoch_tokens=None)
    registry.record_points(RUN, BPB, points(2))
    for study in (STUDY, "sha256:edited"):
        assert registry.curves(study, RUN_ID.cell)["tokens"] == [10, 20]
        assert registry.attempts(study, RUN_ID.cell) == [(RUN_ID, 1)]
    assert registry.query("SELECT DISTINCT run_digest FROM v_runs").rows == ((RUN,),)
    assert registry.query("SELECT COUNT(*) FROM run").rows == ((1,),)


def test_a_study_has_one_run_of_a_cell_arm_and_seed(registry: Registry) -> None:
    """The same study over a corpus that has changed trains other runs: its curves must not mix the two."""
    registry.record_points(RUN, BPB, points(1, 2))
    registry.register_study(name="other", digest="sha256:other", config={})
    registry.register_run("sha256:other", RUN_ID, RUN, config={}, epoch_tokens=None)
    registry.register_run(STUDY, RUN_ID, "sha256:new corpus", config={}, epoch_tokens=None)
    registry.record_points("sha256:new corpus", BPB, points(2, value=7.0))
    assert registry.curves(STUDY, RUN_ID.cell)["value"] == [9.0]
    assert registry.curves("sha256:other", RUN_ID.cell)["value"] == [2.0, 3.0]
    assert registry.query("SELECT run_digest FROM v_runs WHERE study = 'demo'").rows == (("sha256:new corpus",),)


def test_the_configuration_of_a_trained_run_stays(registry: Registry) -> None:
    def configure(torch: str) -> object:
        registry.register_run(STUDY, RUN_ID, RUN, config={"torch": torch}, epoch_tokens=None)
        ((config,),) = registry.query("SELECT CAST(config AS VARCHAR) FROM run").rows
        return config

    assert configure("1") == '{"torch": "1"}'
    attempt = registry.start_attempt(RUN, started_step=0)
    assert configure("2") == '{"torch": "2"}'
    attempt.finish("done")
    assert configure("3") == '{"torch": "2"}'
    assert registry.query("SELECT status FROM v_runs").rows == (("done",),)


def test_a_run_with_all_its_checkpoints_is_done_however_its_attempts_ended(registry: Registry) -> None:
    """Rows that are missing or of other weights are written, the others stay; so does the configuration."""
    saved = [SavedCheckpoint(step, step * 10, f"uri-{step}", f"sha256:{step}") for step in (1, 2, 3)]
    registry.start_attempt(RUN, started_step=0)
    registry.record_checkpoint(RUN, 1, 10, "uri-1", "sha256:1")
    registry.record_checkpoint(RUN, 2, 20, "uri-2", "sha256:of an earlier attempt")
    everything = "SELECT step, tokens, uri, digest, created_at FROM checkpoint ORDER BY step"
    first = registry.query(everything).rows[0]
    for _ in range(2):
        registry.register_run(STUDY, RUN_ID, RUN, config={"other": 1}, epoch_tokens=None, checkpoints=saved)
        rows = registry.query(everything).rows
        assert [row[:4] for row in rows] == [(c.step, c.tokens, c.uri, c.digest) for c in saved]
        assert rows[0] == first
        assert registry.query("SELECT status FROM v_runs").rows == (("done",),)
        assert registry.query("SELECT end_reason FROM attempt").rows == (("interrupted",),)
        assert registry.query("SELECT CAST(config AS VARCHAR) FROM run").rows == (("{}",),)


def test_attempts_are_counted_per_run(registry: Registry) -> None:
    other = RunId(RUN_ID.cell, "ar", 3)
    register(registry, RunId("another-cell", "ar", 3))
    for _ in range(2):
        registry.start_attempt(register(registry, other), started_step=0)
    assert registry.attempts(STUDY, RUN_ID.cell) == [(other, 2), (RUN_ID, 0)]
    assert registry.attempts("sha256:nothing' OR '1'='1", RUN_ID.cell) == []


@pytest.mark.parametrize("field", ["tokens", "flops", "seconds"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_point_without_a_place_is_refused(registry: Registry, field: str, value: float) -> None:
    attempt = registry.start_attempt(RUN, started_step=0)
    with pytest.raises(RegistryError, match=field):
        attempt.record(BPB, [*points(1), replace(points(2)[0], **{field: value})])  # type: ignore[arg-type]  # wrong on purpose
    assert registry.query(CURVE).rows == ()


def test_an_unknown_standard_error_is_null(registry: Registry) -> None:
    registry.record_points(RUN, BPB, [replace(points(1)[0], stderr=math.nan)])
    assert registry.query("SELECT value, stderr FROM v_curves").rows == ((2.0, None),)


@pytest.mark.parametrize("field", ["direction", "estimator"])
def test_unknown_directions_and_estimators_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        replace(BPB, **{field: "sideways"})  # type: ignore[arg-type]  # wrong on purpose


def test_not_a_number_is_kept_as_what_it_is(registry: Registry) -> None:
    values = [math.nan, math.inf, -math.inf]
    registry.record_points(RUN, BPB, [Point(i, i, 1.0, 1.0, value) for i, value in enumerate(values)])
    assert registry.query("SELECT value, state FROM v_curves ORDER BY step").rows == (
        (None, "nan"),
        (None, "+inf"),
        (None, "-inf"),
    )
    curve = registry.curves(STUDY, RUN_ID.cell)["value"]
    assert math.isnan(curve[0])
    assert curve[1:] == values[1:]


def test_curves_are_the_columns_of_the_analysis(registry: Registry) -> None:
    registry.record_points(RUN, BPB, points(1, 2))
    columns = registry.curves(STUDY, RUN_ID.cell, ["validation_bpb"])
    assert columns == {
        "arm": ["dlm", "dlm"],
        "seed": [0, 0],
        "tokens": [10, 20],
        "flops": [1e6, 2e6],
        "seconds": [0.5, 1.0],
        "metric": ["validation_bpb"] * 2,
        "value": [2.0, 3.0],
        "stderr": [0.1, 0.1],
    }


def analysis(outcome: str) -> dict[str, object]:
    verdict = {
        **{"metric": "m", "axis": "epochs", "comparison": "matched", "baseline": "ar", "candidate": "dlm"},
        **{"outcome": outcome, "pairs": 5, "p_adjusted": 0.01, "reason": "because"},
        "crossing": {"direction": "baseline→candidate", "at": 3.0, "low": None, "high": 4.0},
    }
    return {"method": "m/1", "verdicts": [verdict]}


def test_the_newest_analysis_shows_and_recording_twice_changes_nothing(registry: Registry) -> None:
    first = registry.record_analysis(STUDY, "c", analysis("baseline"))
    assert registry.record_analysis(STUDY, "c", analysis("baseline")) == first
    assert registry.record_analysis(STUDY, "c", analysis("crossover")) != first
    rows = registry.query("SELECT outcome, verdict, direction, crossing_at, crossing_low FROM v_verdicts").rows
    assert rows == (("crossover", "crossover", "baseline→candidate", 3.0, None),)
    assert registry.query("SELECT COUNT(*) FROM analysis").rows == ((2,),)


def test_an_analysis_that_is_recorded_again_is_the_newest(registry: Registry) -> None:
    first, *_, last = [registry.record_analysis(STUDY, "c", analysis(o)) for o in ("baseline", "crossover", "baseline")]
    registry.record_analysis(STUDY, "other cell", analysis("equivalent"))
    assert first == last
    assert registry.query("SELECT outcome, analysis_digest FROM v_verdicts WHERE cell = 'c'").rows == (
        ("baseline", first),
    )
    assert registry.query("SELECT COUNT(*) FROM analysis WHERE cell = 'c'").rows == ((3,),)


def test_the_newest_of_a_study_is_the_newest_of_all_its_revisions(registry: Registry) -> None:
    registry.register_study(name="demo", digest="reworded", config={})
    registry.register_study(name="another", digest="another", config={})
    for step, study in enumerate((STUDY, "reworded", "another")):
        registry.record_deployment(study, RUN, step=step, uri="u", digest="d", analysis_digest="a", reason="r")
        registry.record_analysis(study, "c", analysis("baseline"))
    registry.record_analysis(STUDY, "other cell", analysis("equivalent"))
    current = "SELECT study, study_digest, step FROM v_deployments WHERE current = 1 ORDER BY step"
    newest = "SELECT study_digest, cell, newest FROM v_verdicts ORDER BY study, cell, study_digest"
    assert registry.query(current).rows == (("demo", "reworded", 1), ("another", "another", 2))
    assert registry.query(newest).rows == (
        ("another", "c", 1),
        ("reworded", "c", 1),
        (STUDY, "c", 0),
        (STUDY, "other cell", 1),
    )
    registry.record_deployment(STUDY, RUN, step=9, uri="u", digest="d", analysis_digest="a", reason="rolled back")
    assert registry.query(current).rows == (("another", "another", 2), ("demo", STUDY, 9))


def test_deployments_append_and_items_are_replaced(registry: Registry) -> None:
    for step in (3, 4):
        registry.record_deployment(STUDY, RUN, step=step, uri=f"u{step}", digest="d", analysis_digest="a", reason="r")
    assert registry.query("SELECT step, current FROM v_deployments ORDER BY step").rows == ((3, 0), (4, 1))
    reached: dict[str, Any] = {"endpoint": "kubeflow/winner", "revision": 7, "traffic": 100}
    registry.record_deployment(STUDY, RUN, step=5, uri="u", digest="d", analysis_digest="a", reason="r", **reached)
    places = "SELECT step, endpoint, revision, traffic FROM v_deployments ORDER BY step"
    assert registry.query(places).rows == ((3, None, None, None), (4, None, None, None), (5, *reached.values()))
    registry.record_items(RUN, 3, "cloze", {"ids": ["a"], "correct": [1.0]})
    registry.record_items(RUN, 3, "cloze", {"ids": ["b"], "correct": [0.5]})
    registry.record_items(RUN, 4, "cloze", {"margins": [-math.inf, 0.1]})
    with registry._engine.connect() as connection:
        items = connection.scalars(select(ItemScoresRow.items).order_by(ItemScoresRow.step)).all()
    assert items == [{"ids": ["b"], "correct": [0.5]}, {"margins": [-math.inf, 0.1]}]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO study (name) VALUES ('x')",
        "UPDATE study SET name = 'x'",
        "DELETE FROM study",
        "DROP TABLE study",
        "DROP VIEW v_runs",
        "PRAGMA journal_mode = DELETE",
        "ATTACH 'other.sqlite' AS other",
        "SELECT 1; DELETE FROM study",
        "WITH gone AS (SELECT 1) DELETE FROM study",
        "WITH gone AS (DELETE FROM study RETURNING 1) SELECT * FROM gone",
        "COMMIT",
        "",
        "SELECT * FROM nowhere",
        "SELECT 1; COMMIT; DELETE FROM study",
        "SELECT 1; COMMIT; DROP VIEW v_runs; BEGIN; DECLARE crossover_query CURSOR FOR SELECT 2",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "CREATE TEMP TABLE extra (a INTEGER)",
    ],
)
def test_a_query_cannot_write(registry: Registry, sql: str) -> None:
    with pytest.raises(RegistryError) as caught:
        registry.query(sql)
    assert caught.value.field == "SQL"
    assert registry.query("SELECT name FROM study").rows == (("demo",),)
    assert registry.query("SELECT status FROM v_runs").rows == (("planned",),)


def test_an_endless_query_is_stopped(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_module, "QUERY_SECONDS", 0.1)
    with pytest.raises(RegistryError, match="took longer than"):
        registry.query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n")


def test_a_query_may_hold_percent_and_semicolon_and_is_cut_at_the_limit(registry: Registry) -> None:
    assert registry.query("SELECT name FROM study WHERE name LIKE 'd%';").rows == (("demo",),)
    table = registry.query("SELECT 1 AS one UNION SELECT 2 ORDER BY one", limit=1)
    assert (table.columns, table.rows, table.truncated) == (("one",), ((1,),), True)


WRITER = """
import sys
from crossover.registry import MetricDef, Point, Registry
from crossover.study.identity import RunId
url, seed = sys.argv[1], int(sys.argv[2])
with Registry.open(url) as registry:
    registry.register_study(name="demo", digest="sha256:study", config={})
    run = RunId("c", "ar", seed)
    registry.register_run("sha256:study", run, run.key, config={}, epoch_tokens=None)
    attempt = registry.start_attempt(run.key, started_step=0)
    for batch in range(int(sys.argv[3])):
        points = [Point(batch * 50 + i, 1, 1.0, 1.0, 1.0) for i in range(50)]
        attempt.record(MetricDef("m", "1", "lower", "exact"), points)
        print(batch, flush=True)
    attempt.finish("done")
"""


def writer(url: str, seed: int, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, str(seed), str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_open_and_write_one_registry_at_once(empty_url: str) -> None:
    if empty_url.startswith("postgresql"):
        upgrade(empty_url)
    processes = [writer(empty_url, seed, 20) for seed in range(2)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    with Registry.open(empty_url) as registry:
        rows = registry.query("SELECT seed, COUNT(*) FROM v_curves GROUP BY seed ORDER BY seed").rows
    assert rows == ((0, 1000), (1, 1000))


def test_kill_9_of_a_writer_leaves_whole_batches(url: str) -> None:
    with writer(url, 0, 10_000) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 5:
                process.kill()
                break
        process.stdout.read()
    with Registry.open(url) as registry:
        ((count,),) = registry.query("SELECT COUNT(*) FROM v_curves").rows
        assert isinstance(count, int)
        assert count >= 300
        assert count % 50 == 0
        again = registry.start_attempt("c/ar/seed-0", started_step=100)
        again.finish("done")
        assert registry.query("SELECT n, end_reason FROM attempt ORDER BY n").rows == ((1, "lost"), (2, "done"))
