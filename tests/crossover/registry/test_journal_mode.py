"""SQLite on file systems without shared memory or locks, and a file that another process has locked."""

from __future__ import annotations

import errno
import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from crossover.errors import RegistryError
from crossover.registry import Registry, connections, journal_mode
from crossover.registry.registry import upgrade


def journal_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


@pytest.mark.parametrize(("kind", "expected"), [("ext4", "wal"), ("nfs4", "delete"), ("lustre", "delete")])
def test_a_new_registry_gets_the_journal_that_its_file_system_allows(
    kind: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts_that_stand_for_the_machine"
    (tmp_path / "disk").mkdir()
    mounts.write_text(f"/dev/root / ext4 rw 0 0\nserver:/x {tmp_path / 'disk'} {kind} rw 0 0\n")
    monkeypatch.setattr(journal_mode, "MOUNTS", mounts)
    url = f"sqlite:///{tmp_path}/disk/r.sqlite"
    upgrade(url)
    assert journal_of(tmp_path / "disk" / "r.sqlite") == expected
    with Registry.open(url) as registry:
        registry.register_study(name="s", digest="sha256:s", config={})
        assert registry.query("SELECT COUNT(*) FROM study").rows[0][0] == 1
    assert journal_of(tmp_path / "disk" / "r.sqlite") == expected


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with pytest.raises(RegistryError, match="its file system has no file locks") as caught:
        upgrade(f"sqlite:///{tmp_path}/r.sqlite")
    assert "PostgreSQL" in caught.value.remedy


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Registry, sqlite3.Connection]]:
    """An open registry, and another program's connection that holds its lock."""
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.05)
    url = f"sqlite:///{tmp_path}/r.sqlite"
    upgrade(url)
    other = sqlite3.connect(tmp_path / "r.sqlite", isolation_level=None, check_same_thread=False)
    with closing(other), Registry.open(url) as registry:
        other.execute("BEGIN IMMEDIATE")
        yield registry, other


def test_a_writer_that_waits_for_another_says_so_and_goes_on(
    locked: tuple[Registry, sqlite3.Connection], capsys: pytest.CaptureFixture[str]
) -> None:
    registry, other = locked
    writer = Thread(target=partial(registry.register_study, name="s", digest="sha256:s", config={}))
    writer.start()
    seen = ""
    while "is locked by another process: waiting" not in seen:
        assert writer.is_alive()
        seen += capsys.readouterr().err
    other.execute("ROLLBACK")
    writer.join()
    assert registry.query("SELECT COUNT(*) FROM study").rows[0][0] == 1
    assert "is locked" not in capsys.readouterr().err, "it is said once"


def test_a_writer_that_has_waited_long_enough_fails_and_loses_nothing(
    locked: tuple[Registry, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, other = locked
    monkeypatch.setattr(connections, "LOCK_SECONDS", 0)
    with pytest.raises(RegistryError, match="database is locked"):
        registry.register_study(name="s", digest="sha256:s", config={})
    other.execute("ROLLBACK")
    registry.register_study(name="s", digest="sha256:s", config={})
    assert registry.query("SELECT COUNT(*) FROM study").rows[0][0] == 1
