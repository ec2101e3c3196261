"""Deleted studies are hidden, come back, and are purged with what they alone use, after their grace period."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from crossover.errors import RegistryError, StorageError
from crossover.registry import Registry
from crossover.registry.export_views import export_views
from crossover.registry.reads.data_and_deployments import datasets, deployments
from crossover.registry.reads.run_detail import run_detail
from crossover.registry.reads.study_list import list_studies
from crossover.registry.reads.study_revisions import study_revisions
from crossover.registry.study_deletion import delete_study, deleted_studies, restore_study
from crossover.registry.transactions import utc_now
from crossover.stages.purge_studies import purge_studies
from crossover.storage.open_store import open_store
from crossover.study.identity import RunId
from tests.crossover.registry.backups import contents, fill
from tests.crossover.registry.conftest import BPB, RUN, STUDY, points
from tests.crossover.registry.test_closed_runs import SetClock

VIEWS = "v_curves v_superseded v_runs v_verdicts v_deployments v_attempts v_datasets v_evaluations v_serving".split()
VIEWS.append("v_serving_crossovers")
NOW = utc_now()
MONTH = timedelta(days=30)


def test_a_deleted_study_is_nowhere_and_comes_back(registry: Registry) -> None:
    fill(registry)
    registry.query("SELECT 1")
    rows = {view: registry.query(f"SELECT COUNT(*) FROM {view}").rows for view in VIEWS}
    assert ((0,),) not in rows.values()
    with registry.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE attempt SET ended_at = started_at, end_reason = 'failed' WHERE ended_at IS NULL"
        )

    assert delete_study(registry, "demo", actor="ann") == 1
    assert [registry.query(f"SELECT COUNT(*) FROM {view}").rows for view in VIEWS] == [((0,),)] * len(VIEWS)
    assert list_studies(registry, None).studies == ()
    assert datasets(registry, None)[0] == () and deployments(registry, None)[0] == ()
    for read in (lambda: study_revisions(registry, None, "default", "demo"), lambda: run_detail(registry, None, RUN)):
        with pytest.raises(RegistryError, match=r"is not in the registry"):
            read()
    with pytest.raises(RegistryError, match=r"is no study of the namespace default"):
        delete_study(registry, "demo", actor="ann")

    assert restore_study(registry, "demo", actor="ben") == 1
    assert {view: registry.query(f"SELECT COUNT(*) FROM {view}").rows for view in VIEWS} == rows
    events = "SELECT actor, action, subject FROM event WHERE action LIKE 'study%' ORDER BY id"
    assert registry.query(events).rows == (("ann", "study.delete", "demo"), ("ben", "study.restore", "demo"))
    with pytest.raises(RegistryError, match=r"did you mean demo|there is none"):
        restore_study(registry, "demo", actor="ben")


def test_registering_a_deleted_study_brings_it_back(registry: Registry) -> None:
    delete_study(registry, "demo", actor="ann")
    registry.register_study(name="demo", digest=STUDY, config={})
    assert len(list_studies(registry, None).studies) == 1


def test_a_study_that_is_being_trained_or_of_another_namespace_is_not_deleted(registry: Registry) -> None:
    attempt = registry.start_attempt(RUN, started_step=0)
    with pytest.raises(RegistryError, match=r"registry.study-in-use"):
        delete_study(registry, "demo", actor="ann")
    attempt.finish("done")
    with pytest.raises(RegistryError, match=r"'dema' is no study .* did you mean demo"):
        delete_study(registry, "dema", actor="ann")
    with pytest.raises(RegistryError, match=r"namespace team-b"):
        delete_study(registry.within("team-b"), "demo", actor="ann")
    assert delete_study(registry, "demo", actor="ann") == 1


def _checkpoint(workspace: Path, name: str) -> tuple[str, str]:
    """A published artifact: its URI and digest."""
    store = open_store(str(workspace))
    folder = store.path(name)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(name)
    return store.uri_of(name), store.publish(name)


def test_a_purge_removes_rows_and_artifacts_that_nothing_else_uses(url: str, tmp_path: Path) -> None:
    clock = SetClock(NOW)
    with Registry.open(url, clock=clock) as registry:
        kept = _two_studies(registry, tmp_path)
        delete_study(registry, "gone", actor="ann")
        assert list(purge_studies(registry, older=MONTH, actor="cron")) == []
        clock.at = NOW + timedelta(days=29)
        assert deleted_studies(registry, older=MONTH) == []
        clock.at = NOW + timedelta(days=31)

        (purged,) = purge_studies(registry, older=MONTH, actor="cron")

        assert [Path(uri).name for uri in purged.artifacts] == ["own", "promoted"]
        assert [Path(uri).name for uri in purged.missing] == ["replaced"]
        assert sorted(path.name for path in tmp_path.glob("work/*")) == ["replaced", "shared"]
        after = contents(url)
        assert {table: len(rows) for table, rows in after.items() if table in kept} == kept
        assert list(purge_studies(registry, older=MONTH, actor="cron")) == []
        with pytest.raises(RegistryError, match=r"is no deleted study"):
            restore_study(registry, "gone", actor="ann")


def _two_studies(registry: Registry, folder: Path) -> dict[str, int]:
    """`kept`, and `gone` that shares a run with it; returns the numbers of rows of `kept` alone."""
    shared, own = RunId("c", "ar", 0), RunId("c", "dlm", 0)
    registry.register_study(name="kept", digest="sha256:kept", config={})
    registry.register_study(name="gone", digest="sha256:gone", config={})
    for study in ("sha256:kept", "sha256:gone"):
        registry.register_run(study, shared, "sha256:shared", config={}, epoch_tokens=None)
    registry.register_run("sha256:gone", own, "sha256:own", config={}, epoch_tokens=None)
    for run, names in (("shared", ["shared"]), ("own", ["own", "replaced"])):
        registry.record_points(f"sha256:{run}", BPB, points(1, 2))
        for step, name in enumerate(names):
            uri, digest = _checkpoint(folder / "work", name)
            registry.record_checkpoint(f"sha256:{run}", step, 1, uri, digest)
    (folder / "work" / "replaced" / "model.safetensors").write_text("another run's")
    (folder / "work" / "replaced" / "manifest.json").unlink()
    open_store(str(folder / "work")).publish("replaced")
    uri, digest = _checkpoint(folder / "work", "promoted")
    registry.record_deployment(
        "sha256:gone", "sha256:own", step=0, uri=uri, digest=digest, analysis_digest="sha256:a", reason="r"
    )
    return {"study": 1, "run": 1, "study_run": 1, "series": 1, "point": 2, "checkpoint": 1, "deployment": 0}


def test_rows_stay_until_their_artifacts_are_gone(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Registry.open(url) as registry:
        _two_studies(registry, tmp_path)
        delete_study(registry, "gone", actor="ann")
        at_once = timedelta(seconds=-5)

        def unreachable(_uri: str) -> None:
            raise StorageError("storage.unreachable", field="s3", problem="no answer", remedy="try again")

        monkeypatch.setattr("crossover.stages.purge_studies.open_store", unreachable)
        with pytest.raises(StorageError):
            list(purge_studies(registry, older=at_once, actor="cron"))
        assert restore_study(registry, "gone", actor="ann") == 1
        delete_study(registry, "gone", actor="ann")
        monkeypatch.undo()
        assert len(list(purge_studies(registry, older=at_once, actor="cron"))) == 1


def test_a_deleted_study_is_not_exported_by_its_name(registry: Registry, url: str, tmp_path: Path) -> None:
    delete_study(registry, "demo", actor="ann")
    with pytest.raises(RegistryError, match=r"registry.no-such-study"):
        export_views(url, tmp_path / "out", study="demo")
    assert not (tmp_path / "out" / "v_runs.parquet").exists()
