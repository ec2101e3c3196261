"""Disks that are full, read-only, or somebody else's; and where the scratch folder is then."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from crossover.errors import StorageError
from crossover.settings import Settings
from crossover.storage import open_store
from tests.crossover.storage.conftest import Place, write_files

BEGIN = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
assert libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24)) == 0, ctypes.get_errno()
from pathlib import Path
from crossover.errors import StorageError
from crossover.settings import Settings
from crossover.storage import open_store
"""


def run_unprivileged(program: str, **environment: str) -> str:
    """What a program prints that has no capabilities: permissions count for it even if it is root's."""
    result = subprocess.run(
        [sys.executable, "-c", BEGIN + program], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def read_only(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o555)
    return folder


def writable(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    return folder


def test_scratch_is_in_the_home_where_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSOVER_SCRATCH", "")
    home = tmp_path / "not" / "yet" / "there"
    settings = Settings(home=home)
    assert settings.scratch_folder == home / ".scratch"
    assert settings.registry == f"sqlite:///{home / 'registry.sqlite'}"
    assert Settings(home=home, scratch=tmp_path / "elsewhere").scratch_folder == tmp_path / "elsewhere"


def test_a_read_only_home_needs_only_a_temporary_folder(tmp_path: Path) -> None:
    home, temporary = read_only(tmp_path / "root"), writable(tmp_path / "tmp")
    program = "print(Settings().scratch_folder, Settings().registry)"
    for place in (home, home / "studies"):
        scratch, registry = run_unprivileged(program, CROSSOVER_HOME=str(place), TMPDIR=str(temporary)).split()
        assert scratch == f"{temporary}/crossover-{os.getuid()}"
        assert registry == f"sqlite:///{scratch}/registry.sqlite"


def test_a_read_only_home_needs_only_a_scratch_folder(tmp_path: Path) -> None:
    home, scratch = read_only(tmp_path / "root"), writable(tmp_path / "scratch")
    program = "print(Settings().scratch_folder, Settings().registry)"
    printed = run_unprivileged(program, CROSSOVER_HOME=str(home), CROSSOVER_SCRATCH=str(scratch))
    assert printed.split() == [str(scratch), f"sqlite:///{scratch}/registry.sqlite"]


def test_an_object_store_works_from_a_read_only_root(bucket: Place, tmp_path: Path) -> None:
    temporary = writable(tmp_path / "tmp")
    program = f"""
store = open_store({bucket.uri!r})
path = store.path("a")
path.mkdir(parents=True)
(path / "file").write_text("1")
store.publish("a")
store.write_document("d.json", 1, replaces=None)
print(store.fetch("a"))
"""
    names = {"ENDPOINT": bucket.endpoint, "SECURE": "false", "ACCESS_KEY": "any", "SECRET_KEY": "any"}
    environment = {f"CROSSOVER_S3_{name}": value for name, value in names.items()}
    home = str(read_only(tmp_path / "root"))
    path = Path(run_unprivileged(program, CROSSOVER_HOME=home, TMPDIR=str(temporary), **environment))
    assert path.is_relative_to(temporary)
    assert temporary.joinpath(path.relative_to(temporary).parts[0]).stat().st_mode & 0o777 == 0o700
    assert bucket.open().names("") == ["a", "d.json"]


def test_a_folder_that_may_only_be_read(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    write_files(store.path("a"), {"file": b"1"})
    digest = store.publish("a")
    read_only(tmp_path / "store" / "a")
    read_only(tmp_path / "store")
    program = f"""
store = open_store({store.uri!r})
print(store.names(""), store.digest("a"), store.fetch("a").name)
for write in (
    lambda: store.write_document("d.json", 1, replaces=None),
    lambda: store.delete("a"),
):
    try:
        write()
    except StorageError as error:
        print(error.code)
"""
    lines = run_unprivileged(program).splitlines()
    assert lines == [f"['a'] {digest} a", "storage.unwritable", "storage.unwritable"]
    assert store.fetch("a", digest).is_dir()


@pytest.mark.parametrize(
    ("number", "message", "code"),
    [
        (errno.ENOSPC, "the disk is full", "storage.full"),
        (errno.EDQUOT, "the disk is full", "storage.full"),
        (errno.EFBIG, "ulimit -f", "storage.unwritable"),
    ],
)
def test_a_full_disk(place: Place, monkeypatch: pytest.MonkeyPatch, number: int, message: str, code: str) -> None:
    store = place.open()
    write_files(store.path("a"), {"file": b"1"})
    store.publish("a")
    write_files(store.path("b"), {"file": b"1"})

    def full(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=message) as caught:
            store.publish("b")
        assert caught.value.code == code
        if place.endpoint:
            with pytest.raises(StorageError, match=message):
                place.open("two").fetch("a")
        else:
            with pytest.raises(StorageError, match=message):
                store.write_document("d.json", 1, replaces=None)
    assert store.names("") == ["a"]
    assert not [key for key in place.keys() if key.startswith(("b/manifest", "d.json"))]
    store.publish("b")
    place.open("two").fetch("a")


def test_a_scratch_folder_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    place = Place("s3://crossover-tests/x", tmp_path, endpoint)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(StorageError, match="another user's") as caught:
        place.open("crossover-12345")
    assert caught.value.code == "storage.unwritable"


def test_a_file_where_a_folder_should_be(place: Place, tmp_path: Path) -> None:
    store = place.open()
    store.path("a").parent.mkdir(parents=True, exist_ok=True)
    store.path("a").write_text("a file")
    if place.endpoint:
        write_files(place.open("two").path("a/b"), {"file": b"1"})
        place.open("two").publish("a/b")
    with pytest.raises(StorageError):
        store.fetch("a/b")
    with pytest.raises(StorageError) as caught:
        open_store(str(store.path("a"))).write_document("d.json", 1, replaces=None)
    assert caught.value.code == "storage.unwritable"
