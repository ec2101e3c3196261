"""Opened to read, a registry is neither made, nor migrated, nor changed, and nothing appears beside it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from crossover.cli import main
from crossover.errors import RegistryError
from crossover.registry import Registry
from crossover.registry.connections import read_sqlite
from tests.crossover.registry.conftest import BPB, RUN, RUN_ID, STUDY, points


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_can_be_read(registry: Registry, url: str) -> None:
    registry.start_attempt(RUN, started_step=0).record(BPB, points(1, 2))
    with Registry.open_read_only(url) as reader:
        assert reader.query("SELECT COUNT(*) FROM v_curves").rows == ((2,),)
        assert reader.curves(STUDY, RUN_ID.cell) == registry.curves(STUDY, RUN_ID.cell)
        assert reader.attempts(STUDY, RUN_ID.cell) == [(RUN_ID, 1)]
        registry.record_points(RUN, BPB, points(3))
        assert reader.query("SELECT COUNT(*) FROM v_curves").rows == ((3,),)
        assert len(reader.curves(STUDY, RUN_ID.cell)["value"]) == 3


def test_nothing_can_be_written(registry: Registry, url: str) -> None:
    with (
        Registry.open_read_only(url) as reader,
        pytest.raises(RegistryError, match=r"readonly|read-only|ReadOnly"),
    ):
        reader.register_study(name="other", digest="sha256:other", config={})
    assert registry.query("SELECT COUNT(*) FROM study").rows == ((1,),)


def test_an_absent_file_is_refused_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/deep/er/r.sqlite"
    with pytest.raises(RegistryError, match="crossover run") as caught:
        Registry.open_read_only(url)
    assert (caught.value.code, caught.value.field) == ("registry.missing", "registry url")
    assert main(["registry", "query", "SELECT 1", "--registry", url]) == 2
    assert "[registry.missing]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_refused_and_stays_empty(empty_url: str, tmp_path: Path) -> None:
    if empty_url.startswith("sqlite"):
        (tmp_path / "registry.sqlite").touch()
    for _ in range(2):
        with pytest.raises(RegistryError, match=r"its schema is empty.*crossover registry upgrade"):
            Registry.open_read_only(empty_url)
    assert contents(tmp_path) in ({"registry.sqlite": b""}, {})


def test_another_programs_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE notes (a)")
    before = contents(tmp_path)
    for open_registry in (Registry.open_read_only, Registry.open):
        with pytest.raises(RegistryError, match="another program's database"):
            open_registry(f"sqlite:///{tmp_path}/other.sqlite")
    assert contents(tmp_path) == before


def test_a_query_leaves_no_file_beside_a_closed_registry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/r.sqlite"
    Registry.open(url).close()
    before = contents(tmp_path)
    assert main(["registry", "query", "SELECT COUNT(*) AS studies FROM study", "--registry", url]) == 0
    assert "studies" in capsys.readouterr().out
    assert contents(tmp_path) == before


READ = """
import os, sys
from crossover.registry import Registry
url = f"sqlite:///{sys.argv[1]}/r.sqlite"
Registry.open_read_only(url).close()  # as root, which then gives up its rights: lazy imports happen now
if os.getuid() == 0:
    os.setuid(65534)
assert not os.access(sys.argv[1], os.W_OK)
with Registry.open_read_only(url) as registry:
    print(registry.query("SELECT name FROM study").rows)
"""


def test_a_registry_in_a_folder_without_write_permission_is_read() -> None:
    with tempfile.TemporaryDirectory() as name:
        with Registry.open(f"sqlite:///{name}/r.sqlite") as registry:
            registry.register_study(name="demo", digest=STUDY, config={})
        Path(name).chmod(0o555)
        process = subprocess.run([sys.executable, "-c", READ, name], capture_output=True, text=True, check=False)
        Path(name).chmod(0o755)
    assert process.stdout == "(('demo',),)\n", process.stderr


def test_a_file_that_is_written_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    """A reader that takes the file as immutable could see half of a write."""
    path = tmp_path / "r.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE n (a)")
    calls = []

    def read(connection: sqlite3.Connection) -> int:
        calls.append(connection)
        if len(calls) == 1:
            with closing(sqlite3.connect(path)) as writer:
                writer.execute("INSERT INTO n VALUES (1)")
                writer.commit()
            os.utime(path, ns=(1, 1))  # the clock of the file system may be too coarse for a fast test
        (count,) = connection.execute("SELECT COUNT(*) FROM n").fetchone()
        return int(count)

    assert read_sqlite(path, read) == 1
    assert len(calls) == 2
