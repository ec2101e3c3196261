"""SQLite on file systems without shared memory or locks: a rollback journal there, WAL elsewhere, and a clear error."""

from __future__ import annotations

import errno
import fcntl
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from crossover.errors import RegistryError
from crossover.registry import Registry, journal_mode
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
