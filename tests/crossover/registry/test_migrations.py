"""What an older registry holds is still there after an upgrade."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, select, text

from crossover.errors import RegistryError
from crossover.registry import Registry, upgrade
from crossover.registry.connections import make_engine
from crossover.registry.migrate_schema import migrate
from crossover.registry.registry_url import parse_url
from crossover.registry.schema import ItemScoresRow
from crossover.study.identity import RunId
from tests.crossover.registry.conftest import BPB, points

NOW = "2026-01-02 03:04:05+00:00"
MANIFEST = {"budgets": [{"unique_tokens": 10, "tokens": 8}]}
BY_ATTEMPT = {"series_id": 1, "tokens": 16, "flops": 1.0, "seconds": 2.0, "value": 3.0, "state": ""}
CROSSING = {"crossing_at": 3.0, "crossing_low": None, "crossing_high": 4.0}
OLD_OUTCOMES = ("AR", "DLM", "no difference within δ", "crossover", "crossover", "insufficient evidence")
OLD_DIRECTIONS = (None, None, None, "AR→DLM", "DLM→AR", None)
RESULT = {"method": "m/1", "verdicts": [{"word": "AR"}]}


def _run(number: int, study: int, arm: str) -> dict[str, object]:
    config = json.dumps({"unique_tokens": 10})
    return {"id": number, "study_id": study, "cell": "c", "arm": arm, "seed": 0, "status": "done", "config": config}


def _study(number: int) -> dict[str, object]:
    return {"id": number, "name": "demo", "digest": f"d{number}", "config": "{}", "plan_digest": "p", "created_at": NOW}


def _analysis(study: int) -> dict[str, object]:
    row = {"id": study, "study_id": study, "cell": "c", "digest": "a", "method": "m/1"}
    return {**row, "result": json.dumps(RESULT), "created_at": NOW}


def _deployment(study: int, run: int) -> dict[str, object]:
    row = {"id": study, "study_id": study, "run_id": run, "analysis_digest": "a", "created_at": NOW}
    return {**row, "step": 1, "uri": "u", "digest": "w", "reason": "r"}


def _verdict(position: int) -> dict[str, object]:
    arms = {"baseline": "adamw", "candidate": "muon"}
    outcome = {"word": OLD_OUTCOMES[position], "direction": OLD_DIRECTIONS[position]}
    names = {"metric": f"m{position}", "axis": "tokens", "comparison": "matched", "reason": "because"}
    return {
        "analysis_id": 1,
        "position": position,
        "pairs": 5,
        "p_adjusted": 0.5,
        **arms,
        **outcome,
        **names,
        **CROSSING,
    }


ROWS: list[tuple[str, dict[str, object]]] = [
    *(("study", _study(number)) for number in (1, 2)),
    ("dataset", {"id": 1, "study_id": 1, "digest": "d", "manifest": json.dumps(MANIFEST), "created_at": NOW}),
    ("run", _run(1, 1, "ar")),
    ("run", _run(2, 1, "dlm")),
    ("run", _run(3, 2, "ar")),
    (
        "attempt",
        {"run_id": 1, "n": 1, "started_step": 0, "host": "h", "pid": 1, "started_at": NOW, "end_reason": "done"},
    ),
    ("metric_def", {"id": 1, "name": "m", "unit": "1", "direction": "lower", "estimator": "exact", "draws": 0}),
    ("series", {"id": 1, "run_id": 1, "metric_id": 1}),
    ("point", {"step": 1, "attempt_n": 1, **BY_ATTEMPT}),
    ("checkpoint", {"run_id": 1, "step": 1, "tokens": 16, "uri": "u", "digest": "w", "created_at": NOW}),
    *(("analysis", _analysis(study)) for study in (1, 2)),
    *(("verdict", _verdict(position)) for position in range(len(OLD_OUTCOMES))),
    *(("deployment", _deployment(study, run)) for study, run in ((1, 1), (2, 3))),
]
ITEMS = {"ids": ["a"]}
SAME = {"method": "m/1", "result": "{}"}
COPY = {"step": 1, "uri": "u", "digest": "w", "reason": "r"}


def _fill(engine: Engine, revision: str) -> None:
    """Rows as that revision keeps them: item scores are JSON in 0001, and epochs are filled in by 0002."""
    stored: Any = json.dumps(ITEMS) if revision == "0001" else zlib.compress(json.dumps(ITEMS).encode())
    items = ("item_scores", {"run_id": 1, "step": 1, "task": "cloze", "items": stored})
    with engine.begin() as connection:
        for table, row in [*ROWS, items]:
            values = row | ({"epoch_tokens": 8} if table == "run" and revision != "0001" else {})
            places = ", ".join(f":{name}" for name in values)
            connection.execute(text(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})"), values)
        if connection.dialect.name == "postgresql":  # ids were given by hand: let its sequences count on from them
            for table in ("study", "run", "metric_def", "series", "analysis", "deployment"):
                sequence = f"pg_get_serial_sequence('{table}', 'id')"
                connection.exec_driver_sql(f"SELECT setval({sequence}, MAX(id)) FROM {table}")


@pytest.fixture(params=["0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009"])
def old_url(request: pytest.FixtureRequest, empty_url: str) -> str:
    """The URL of a registry of an older revision, with rows in every table."""
    first = min(request.param, "0002")
    assert migrate(parse_url(empty_url), first) == (None, first)
    engine = make_engine(parse_url(empty_url))
    _fill(engine, first)
    engine.dispose()
    assert migrate(parse_url(empty_url), request.param) == (first, request.param)
    return empty_url


def test_everything_is_there_after_an_upgrade(old_url: str) -> None:
    assert upgrade(old_url)[1] == "0010"
    with Registry.open(old_url) as registry:
        assert registry.query("SELECT study_digest, value, epochs FROM v_curves").rows == (("d1", 3.0, 2.0),)
        runs = "SELECT study_digest, arm, status, attempts, seconds, checkpoint, run_digest FROM v_runs ORDER BY 1, 2"
        assert registry.query(runs).rows == (
            ("d1", "ar", "done", 1, 2.0, "u", "legacy:d1:c/ar/seed-0"),
            ("d1", "dlm", "done", 0, None, None, "legacy:d1:c/dlm/seed-0"),
            ("d2", "ar", "done", 0, None, None, "legacy:d2:c/ar/seed-0"),
        )
        verdicts = "SELECT outcome, verdict, direction FROM v_verdicts ORDER BY metric"
        assert registry.query(verdicts).rows == (
            ("baseline", "baseline", None),
            ("candidate", "candidate", None),
            ("equivalent", "equivalent", None),
            ("crossover", "crossover", "baseline→candidate"),
            ("crossover", "crossover", "candidate→baseline"),
            ("insufficient evidence", "insufficient evidence", None),
        )
        place = (
            "SELECT baseline, candidate, crossing_at, crossing_low, crossing_high FROM v_verdicts WHERE metric = 'm3'"
        )
        assert registry.query(place).rows == (("adamw", "muon", 3.0, None, 4.0),)
        deployments = "SELECT study_digest, arm, checkpoint_digest, current FROM v_deployments"
        assert registry.query(f"{deployments} ORDER BY study_digest").rows == (
            ("d1", "ar", "w", 0),
            ("d2", "ar", "w", 1),
        )
        assert registry.query("SELECT DISTINCT study_digest, newest FROM v_verdicts").rows == (("d1", 0),)
        assert json.loads(str(registry.query("SELECT CAST(result AS VARCHAR) FROM analysis").rows[0][0])) == RESULT
        with registry._engine.connect() as connection:
            assert connection.scalar(select(ItemScoresRow.items)) == ITEMS


def test_old_deployments_name_the_newest_analysis_of_their_cell_at_their_time(empty_url: str) -> None:
    migrate(parse_url(empty_url), "0003")
    study = _study(1)
    run = {"id": 1, "digest": "r", "cell": "c", "arm": "ar", "seed": 0, "status": "done", "config": "{}"}
    days = [f"2026-01-0{day} 00:00:00.000000" for day in (1, 2, 3)]
    analyses = [("c", "first", days[0]), ("other cell", "second", days[1]), ("c", "third", days[2])]
    deployments = [("of its inputs", days[1]), ("of its inputs", days[2]), ("first", days[2])]
    engine = make_engine(parse_url(empty_url))
    with engine.begin() as connection:
        for table, row in (
            ("study", study),
            ("run", run),
            *(
                ("analysis", {"id": i, "study_id": 1, "cell": cell, "digest": digest, "created_at": day} | SAME)
                for i, (cell, digest, day) in enumerate(analyses)
            ),
            *(
                (
                    "deployment",
                    {"id": i, "study_id": 1, "run_id": 1, "analysis_digest": digest, "created_at": day} | COPY,
                )
                for i, (digest, day) in enumerate(deployments)
            ),
        ):
            places = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"), row)
    engine.dispose()
    upgrade(empty_url)
    with Registry.open_read_only(empty_url) as registry:
        digests = registry.query("SELECT analysis_digest FROM v_deployments ORDER BY deployed_at, analysis_digest").rows
    assert digests == (("first",), ("first",), ("third",))


def test_an_upgraded_registry_takes_new_rows(old_url: str) -> None:
    """The rebuilt tables keep their keys: ids go on counting, and rows refer to them."""
    upgrade(old_url)
    run = RunId("c", "ar", 0)
    with Registry.open(old_url) as registry:
        registry.register_study(name="demo", digest="d3", config={})
        registry.register_run("d3", run, "sha256:new", config={}, epoch_tokens=None)
        registry.start_attempt("sha256:new", started_step=0).record(BPB, points(1))
        registry.record_analysis("d3", "c", RESULT | {"verdicts": []})
        registry.record_points("legacy:d1:c/ar/seed-0", BPB, points(2))
        assert registry.attempts("d3", "c") == [(run, 1)]
        assert registry.query("SELECT MAX(id) FROM run").rows == ((4,),)
        assert registry.query("SELECT COUNT(*) FROM v_curves").rows == ((3,),)
    engine = make_engine(parse_url(old_url))
    targets = {
        (table, key["constrained_columns"][0]): key["referred_table"]
        for table in ("attempt", "series", "checkpoint", "item_scores", "deployment", "study_run", "verdict")
        for key in inspect(engine).get_foreign_keys(table)
    }
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()
    assert {target for (_, column), target in targets.items() if column == "run_id"} == {"run"}
    assert targets["verdict", "analysis_id"] == "analysis"


def test_an_older_schema_is_read_by_no_one(old_url: str) -> None:
    with pytest.raises(RegistryError, match="crossover registry upgrade") as caught:
        Registry.open_read_only(old_url)
    assert caught.value.code == "registry.old-schema"
    with pytest.raises(RegistryError, match="crossover registry upgrade"):
        Registry.open_read_only(old_url)  # the first refusal migrated nothing
