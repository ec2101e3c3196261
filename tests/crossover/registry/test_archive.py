"""One study out of a registry and back: the same rows, other ids, runs of others untouched; altered files refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from crossover.errors import RegistryError
from crossover.files import digest_of_file, read_json, write_json
from crossover.registry import MetricDef, Registry
from crossover.registry.archive import archive, unarchive
from crossover.registry.archive.study_tables import TABLES, table_of
from crossover.registry.closed_runs import compact
from crossover.registry.study_deletion import delete_study, deleted_studies, purge_study
from crossover.study.identity import RunId
from tests.crossover.registry.backups import execute, fill
from tests.crossover.registry.conftest import RUN, points

OTHER = "sha256:other"
OWN = RunId("u10-nano", "ar", 3)
VIEWS = {
    "v_curves": "arm, seed, metric, step",
    "v_superseded": "metric, step",
    "v_runs": "arm, seed",
    "v_verdicts": "metric",
    "v_deployments": "step",
    "v_attempts": "arm, seed, attempt",
    "v_datasets": "dataset_digest",
    "v_evaluations": "task, step",
    "v_serving": "step",
    "v_serving_crossovers": "measured_at",
}


def _views(registry: Registry, study: str) -> dict[str, list[dict[str, Any]]]:
    tables = {
        view: registry.query(f"SELECT * FROM {view} WHERE study = '{study}' ORDER BY {order}")
        for view, order in VIEWS.items()
    }
    return {
        view: [_comparable(dict(zip(table.columns, row, strict=True))) for row in table.rows]
        for view, table in tables.items()
    }


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value)[:19] if name.endswith("_at") else value for name, value in row.items()}


def _purge(registry: Registry, study: str) -> None:
    delete_study(registry, study, actor="test")
    for deleted in deleted_studies(registry, older=timedelta(seconds=-5)):
        assert purge_study(registry, deleted, lambda *_: None, actor="test") is not None


@pytest.fixture
def filled(registry: Registry) -> Registry:
    """A study with rows in every table, and another one that shares one of its runs."""
    fill(registry)
    registry.register_study(name="other", digest=OTHER, config={})
    registry.register_run(OTHER, RunId("u10-nano", "dlm", 0), RUN, config={}, epoch_tokens=None)
    registry.register_run(OTHER, OWN, "sha256:own", config={}, epoch_tokens=None)
    registry.record_points("sha256:own", MetricDef("loss", "nats", "lower", "exact", 0), points(1, 2))
    with registry.writing() as connection:  # its process has been gone for a while
        connection.exec_driver_sql("UPDATE attempt SET heartbeat_at = '2026-01-01 00:00:00' WHERE ended_at IS NULL")
    return registry


def test_a_study_comes_back_as_it_was_and_the_other_one_stays(filled: Registry, url: str, tmp_path: Path) -> None:
    before, other = _views(filled, "demo"), _views(filled, "other")
    assert all(before.values())
    manifest = archive(url, "demo", tmp_path / "demo")
    points_file = parquet.read_table(tmp_path / "demo" / "point.parquet")
    assert manifest.files["point"].rows == points_file.num_rows == 29
    assert points_file.schema.field("value").type == "double"

    _purge(filled, "demo")
    assert not any(_views(filled, "demo").values())
    assert _views(filled, "other") == other

    assert unarchive(filled, tmp_path / "demo") == manifest
    assert _views(filled, "demo") == before
    assert _views(filled, "other") == other
    with pytest.raises(RegistryError, match=r"registry.study-exists"):
        unarchive(filled, tmp_path / "demo")
    again = archive(url, "demo", tmp_path / "again")
    assert {n: f.rows for n, f in again.files.items()} == {n: f.rows for n, f in manifest.files.items()}


def test_into_another_registry_of_either_database_and_another_namespace(
    filled: Registry, url: str, target: str, tmp_path: Path
) -> None:
    before = _views(filled, "demo")
    archive(url, "demo", tmp_path / "demo")
    with Registry.open(target) as new:
        unarchive(new.within("team-a"), tmp_path / "demo")
        assert _views(new, "demo") == {
            view: [row | {"namespace": "team-a"} for row in rows] for view, rows in before.items()
        }
        unarchive(new, tmp_path / "demo")  # beside it
        compact(new, closed_for=timedelta(seconds=-5))
        assert len(_views(new, "demo")["v_curves"]) == 2 * len(before["v_curves"])


def test_every_table_of_a_study_is_archived() -> None:
    """A new table belongs to a study, and then into TABLES, or to the registry."""
    of_registry = {"ingest_request", "access_token", "event", "point_chunk"}
    every = set(table_of(TABLES[0]).metadata.tables)
    assert every - of_registry == {table_of(row).name for row in TABLES}


def test_an_archive_of_an_older_schema_restores(filled: Registry, url: str, tmp_path: Path) -> None:
    archive(url, "demo", tmp_path / "demo")
    _rewritten(tmp_path / "demo", "verdict", lambda table: table.drop_columns(["further_pairs"]))
    _purge(filled, "demo")
    unarchive(filled, tmp_path / "demo")
    assert filled.query("SELECT further_pairs FROM v_verdicts").rows == ((None,),)


def _rewritten(folder: Path, table: str, change: Callable[[Any], Any]) -> None:
    """Change a file, with its digest in the manifest."""
    file = folder / f"{table}.parquet"
    parquet.write_table(change(parquet.read_table(file)), file)
    manifest = read_json(folder / "manifest.json")
    manifest["files"][table]["digest"] = digest_of_file(file)
    write_json(folder / "manifest.json", manifest)


def test_what_is_no_archive_is_refused_and_nothing_changes(filled: Registry, url: str, tmp_path: Path) -> None:
    archive(url, "demo", tmp_path / "demo")
    _purge(filled, "demo")
    rows = execute(url, "SELECT COUNT(*) FROM run")
    point = (tmp_path / "demo" / "point.parquet").read_bytes()

    def refused() -> str:
        with pytest.raises(RegistryError) as caught:
            unarchive(filled, tmp_path / "demo")
        assert execute(url, "SELECT COUNT(*) FROM run") == rows
        return str(caught.value)

    with pytest.raises(RegistryError, match=r"has no manifest.json"):
        unarchive(filled, tmp_path)
    (tmp_path / "demo" / "point.parquet").write_bytes(point[:-1])
    assert "point.parquet is not as it was written" in refused()
    (tmp_path / "demo" / "point.parquet").unlink()
    assert "point.parquet is not there" in refused()
    (tmp_path / "demo" / "point.parquet").write_bytes(point)
    _rewritten(tmp_path / "demo", "deployment", lambda t: t.append_column("later", t["id"]))
    assert "a column 'later', which this version does not know" in refused()


def test_archives_replace_nothing_and_name_what_is_missing(filled: Registry, url: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"'demmo' is no study"):
        archive(url, "demmo", tmp_path / "demo")
    (tmp_path / "demo").mkdir()
    with pytest.raises(RegistryError, match=r"registry.archive-exists"):
        archive(url, "demo", tmp_path / "demo")
