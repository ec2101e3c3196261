"""Backups: equal after all four ways between the databases, and consistent while others write."""

from __future__ import annotations

import threading
import zipfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert

from crossover.cli import main
from crossover.errors import RegistryError, UserError
from crossover.registry import MetricDef, QueryResult, Registry
from crossover.registry import schema as s
from crossover.registry.backup import backup, restore
from crossover.registry.backup.manifest import member_of, tables
from crossover.registry.backup.portable_rows import PortableTable
from tests.crossover.registry.backups import ANALYSIS, ODD, contents, fill, refused
from tests.crossover.registry.conftest import RUN, STUDY, points


@pytest.fixture
def filled(registry: Registry) -> Registry:
    fill(registry)
    return registry


def test_every_table_has_rows_in_these_tests_and_every_type_is_kept(filled: Registry, url: str) -> None:
    """A new table needs a row in `fill`; a new type of column needs a line in the backup's _KINDS."""
    assert [name for name, rows in contents(url).items() if not rows] == []
    assert len([PortableTable(table) for table in tables()]) == len(tables())


def test_a_restored_registry_is_equal_on_either_database(
    filled: Registry, url: str, target: str, tmp_path: Path
) -> None:
    before = contents(url)
    held = backup(url, tmp_path / "b.zip")
    assert restore(target, tmp_path / "b.zip") == held
    assert contents(target) == before
    assert {name: table.rows for name, table in held.tables.items()} == {n: len(rows) for n, rows in before.items()}
    backup(target, tmp_path / "again.zip")
    names = [member_of(table.name) for table in tables()]
    with zipfile.ZipFile(tmp_path / "b.zip") as one, zipfile.ZipFile(tmp_path / "again.zip") as two:
        assert [one.read(name) for name in names] == [two.read(name) for name in names]
    with Registry.open_read_only(url) as first, Registry.open_read_only(target) as second:
        for view in ("v_curves ORDER BY arm, metric, step", "v_runs", "v_verdicts", "v_deployments"):
            sql = f"SELECT * FROM {view}"
            times = [c for c in first.query(sql).columns if c.endswith("_at")]
            assert _but(times, first.query(sql)) == _but(times, second.query(sql)), view


def _but(columns: list[str], result: QueryResult) -> list[dict[str, object]]:
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    return [{name: value for name, value in row.items() if name not in columns} for row in rows]


def test_a_restored_registry_takes_new_rows(filled: Registry, url: str, target: str, tmp_path: Path) -> None:
    backup(url, tmp_path / "b.zip")
    restore(target, tmp_path / "b.zip")
    with Registry.open(target) as registry:
        registry.register_study(name="another", digest="sha256:another", config={})
        registry.record_points(RUN, MetricDef("loss", "nats", "lower", "exact"), points(1))
        registry.record_analysis("sha256:another", "cell", ANALYSIS)
        assert len(registry.query("SELECT id FROM study").rows) == 2


def test_numbers_are_kept_to_the_bit(filled: Registry, url: str, target: str, tmp_path: Path) -> None:
    backup(url, tmp_path / "b.zip")
    restore(target, tmp_path / "b.zip")
    with Registry.open_read_only(target) as registry:
        rows = registry.query("SELECT value, state, tokens FROM point WHERE attempt_n = 1 ORDER BY step").rows
    assert [repr(float(str(state or value))) for value, state, _ in rows] == [repr(v) for v in ODD]
    assert [tokens for *_, tokens in rows] == [2**53 + i for i in range(len(ODD))]


def test_only_an_empty_registry_is_restored_into(filled: Registry, url: str, tmp_path: Path) -> None:
    backup(url, tmp_path / "b.zip")
    before = contents(url)
    error = refused(url, tmp_path / "b.zip")
    assert error.code == "registry.not-empty"
    assert "study" in error.problem
    assert contents(url) == before


def test_the_wrong_file_is_named(url: str, tmp_path: Path) -> None:
    assert "there is no such file" in refused(url, tmp_path / "nowhere.zip").problem
    (tmp_path / "text.zip").write_text("no zip")
    assert "is another file" in refused(url, tmp_path / "text.zip").problem
    assert "Is a directory" in refused(url, tmp_path).problem


def test_a_backup_replaces_no_file(registry: Registry, url: str, tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_text("precious")
    with pytest.raises(RegistryError) as caught:
        backup(url, tmp_path / "b.zip")
    assert caught.value.code == "registry.backup-exists"
    assert (tmp_path / "b.zip").read_text() == "precious"


def test_a_place_that_cannot_be_written(registry: Registry, url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        backup(url, tmp_path / "file" / "b.zip")
    assert caught.value.code == "workspace.unwritable"


def test_a_backup_holds_one_moment_while_a_writer_writes(registry: Registry, url: str, tmp_path: Path) -> None:
    """The writer adds a study and then its run in two transactions; no backup may hold the run without the study.

    Both series grow by one value in each transaction: in every backup they have equally many.
    """
    ended = threading.Event()

    def write() -> None:
        with Registry.open(url) as writer, writer._engine.connect() as connection:
            number = 0
            while not ended.is_set():
                number += 1
                row = {"config": {}, "plan_digest": "", "created_at": datetime.now(UTC), "name": f"{number}"}
                with connection.begin():
                    for half in ("first", "second"):
                        connection.execute(insert(s.StudyRow).values(**row, digest=f"{half} {number}"))

    thread = threading.Thread(target=write)
    thread.start()
    counts = []
    try:
        for number in range(8):
            backup(url, tmp_path / f"{number}.zip")
            with zipfile.ZipFile(tmp_path / f"{number}.zip") as archive:
                study = archive.read("tables/study.jsonl")
            assert study.count(b'"first ') == study.count(b'"second ')
            counts.append(study.count(b'"first '))
    finally:
        ended.set()
        thread.join()
    assert counts == sorted(counts)
    assert counts[-1] > counts[0], "the writer was not kept waiting"


def test_the_verbs_say_what_they_did(
    filled: Registry, url: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "b.zip")
    assert main(["registry", "backup", file, "--registry", url]) == 0
    assert f"{file}: " in capsys.readouterr().out
    assert main(["registry", "restore", file, "--registry", target]) == 0
    assert "digests and foreign keys agree" in capsys.readouterr().out
    assert main(["registry", "restore", file, "--registry", target]) == 2
    assert "[registry.not-empty]" in capsys.readouterr().err


def test_sqlite_is_left_as_it_was(tmp_path: Path) -> None:
    """A backup makes no file beside a registry that nobody has open, and works on one that cannot be written."""
    url = f"sqlite:///{tmp_path}/home/r.sqlite"
    with Registry.open(url) as registry:
        registry.register_study(name="demo", digest=STUDY, config={})
    before = {path.name: path.read_bytes() for path in (tmp_path / "home").iterdir()}
    backup(url, tmp_path / "b.zip")
    assert {path.name: path.read_bytes() for path in (tmp_path / "home").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.zip", "home"]
    assert (tmp_path / "b.zip").stat().st_mode & 0o777 == 0o600
    with closing(zipfile.ZipFile(tmp_path / "b.zip")) as archive:
        assert archive.testzip() is None
