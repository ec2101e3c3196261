"""The tier of quality of a cell is a column of the views: of new runs, of those of older schemas, and of archives."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from pyarrow import parquet
from sqlalchemy import text

from crossover.files import digest_of_file, read_json, write_json
from crossover.registry import Registry, upgrade
from crossover.registry.archive import archive, unarchive
from crossover.registry.connections import make_engine
from crossover.registry.migrate_schema import migrate
from crossover.registry.registry_url import parse_url
from crossover.registry.study_deletion import delete_study, deleted_studies, purge_study
from crossover.registry.write_statements import QUALITY_TIERS
from crossover.study.identity import RunId
from crossover.study.study_parts import GRID_TIERS
from tests.crossover.registry.backups import ANALYSIS
from tests.crossover.registry.conftest import BPB, STUDY, points

TIERED = "sha256:tiered"
RUNS = tuple(RunId(f"u10-{tier}-{model}", "ar", 0) for tier in ("high", "low") for model in ("nano", "pico"))
OF_RUNS = tuple((run.cell, run.cell.split("-")[1]) for run in RUNS)


def fill(registry: Registry) -> None:
    """A study of two tiers and two models, beside the one that compares none."""
    registry.register_study(name="tiered", digest=TIERED, config={})
    for run, (_, tier) in zip(RUNS, OF_RUNS, strict=True):
        registry.register_run(TIERED, run, f"sha256:{run.key}", config={"quality": tier}, epoch_tokens=None)
        registry.start_attempt(f"sha256:{run.key}", started_step=0).record(BPB, points(1))


def test_the_registry_knows_the_tiers_of_a_study() -> None:
    assert QUALITY_TIERS == GRID_TIERS


def test_views_have_the_tier_of_a_cell_and_of_a_frontier(registry: Registry) -> None:
    fill(registry)
    for study, cell in ((TIERED, "u10-low-nano"), (TIERED, "u10-high-frontier"), (STUDY, "u10-frontier")):
        registry.record_analysis(study, cell, ANALYSIS)
    for view in ("v_curves", "v_attempts"):
        assert registry.query(f"SELECT cell, quality_tier FROM {view} ORDER BY cell").rows == OF_RUNS
    assert registry.query("SELECT cell, quality_tier FROM v_runs ORDER BY cell").rows == (*OF_RUNS, ("u10-nano", ""))
    assert set(registry.query("SELECT cell, quality_tier FROM v_verdicts").rows) == {
        ("u10-frontier", ""),
        ("u10-high-frontier", "high"),
        ("u10-low-nano", "low"),
    }
    for config in ({"quality": 0.5}, {"quality": "x" * 300}):
        run = RunId("other", "ar", len(str(config)))
        registry.register_run(STUDY, run, f"sha256:{run.key}", config=config, epoch_tokens=None)
    assert registry.query("SELECT DISTINCT quality_tier FROM v_runs WHERE cell = 'other'").rows == (("",),)


def test_tiers_of_older_runs_come_from_their_configuration(empty_url: str) -> None:
    migrate(parse_url(empty_url), "0009")
    study = {"name": "demo", "digest": "d1", "config": "{}", "plan_digest": "p", "created_at": "2026-01-02 03:04:05"}
    rows: list[tuple[str, dict[str, object]]] = [("study", {"id": 1, **study})]
    for seed, config in enumerate(({"quality": "high"}, {"quality": 0.5}, {"quality": "x" * 300}, {})):
        run = {"id": seed, "digest": f"r{seed}", "cell": "c", "arm": "ar", "seed": seed, "status": "done"}
        rows += [("run", run | {"config": json.dumps(config)}), ("study_run", {"study_id": 1, "run_id": seed})]
    engine = make_engine(parse_url(empty_url))
    with engine.begin() as connection:
        for table, row in rows:
            places = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"), row)
    engine.dispose()
    upgrade(empty_url)
    with Registry.open_read_only(empty_url) as registry:
        found = registry.query("SELECT seed, quality_tier FROM v_runs ORDER BY seed").rows
    assert found == ((0, "high"), (1, ""), (2, ""), (3, ""))


def test_an_archive_of_before_tiers_restores_them_from_the_configuration(
    registry: Registry, url: str, tmp_path: Path
) -> None:
    fill(registry)
    folder = tmp_path / "tiered"
    with registry.writing() as connection:
        connection.exec_driver_sql("UPDATE attempt SET heartbeat_at = '2026-01-01 00:00:00'")
    archive(url, "tiered", folder)
    parquet.write_table(
        parquet.read_table(folder / "run.parquet").drop_columns(["quality_tier"]), folder / "run.parquet"
    )
    manifest = read_json(folder / "manifest.json")
    manifest["files"]["run"]["digest"] = digest_of_file(folder / "run.parquet")
    write_json(folder / "manifest.json", manifest)
    delete_study(registry, "tiered", actor="test")
    for deleted in deleted_studies(registry, older=timedelta(seconds=-5)):
        purge_study(registry, deleted, lambda *_: None, actor="test")
    unarchive(registry, folder)
    assert registry.query("SELECT cell, quality_tier FROM v_runs ORDER BY cell").rows == (*OF_RUNS, ("u10-nano", ""))
