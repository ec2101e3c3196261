"""Backups that are not whole, and processes that are killed: refused by name, and nothing is restored."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from crossover.errors import RegistryError
from crossover.registry import Registry, upgrade
from crossover.registry.backup import backup, restore
from crossover.registry.backup.manifest import MANIFEST
from crossover.registry.registry_url import parse_url
from tests.crossover.registry.backups import contents, fill, many_points, refused, rewritten, rows_in
from tests.crossover.registry.conftest import RUN, RUN_ID, STUDY


@pytest.fixture
def filled(registry: Registry) -> Registry:
    fill(registry)
    return registry


def test_a_backup_of_another_schema_is_refused(filled: Registry, url: str, target: str, tmp_path: Path) -> None:
    backup(url, tmp_path / "b.zip")
    file = rewritten(tmp_path / "b.zip", lambda m: m.update({MANIFEST: _edited(m[MANIFEST], revision="0001")}))
    error = refused(target, file)
    assert error.code == "registry.backup-schema"
    assert "0001" in error.problem
    assert rows_in(target) == 0


def _edited(manifest: bytes, **fields: object) -> bytes:
    return json.dumps(json.loads(manifest) | fields).encode()


def _other_value(members: dict[str, bytes]) -> None:
    members["tables/study.jsonl"] = members["tables/study.jsonl"].replace(b"demo", b"dome")


def _a_row_less(members: dict[str, bytes]) -> None:
    members["tables/point.jsonl"] = members["tables/point.jsonl"].split(b"\n", 1)[1]


def _a_table_less(members: dict[str, bytes]) -> None:
    del members["tables/verdict.jsonl"]


def _a_table_less_in_both(members: dict[str, bytes]) -> None:
    _a_table_less(members)
    manifest = json.loads(members[MANIFEST])
    del manifest["tables"]["verdict"]
    members[MANIFEST] = json.dumps(manifest).encode()


def _no_manifest(members: dict[str, bytes]) -> None:
    del members[MANIFEST]


def _another_format(members: dict[str, bytes]) -> None:
    members[MANIFEST] = _edited(members[MANIFEST], format=99)


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (_other_value, "damaged-backup", "the rows of study are not those that were written"),
        (_a_row_less, "damaged-backup", "the rows of point are not"),
        (_a_table_less, "damaged-backup", "the table verdict is missing"),
        (_a_table_less_in_both, "damaged-backup", "its tables are not those"),
        (_no_manifest, "not-a-backup", "holds no manifest.json"),
        (_another_format, "not-a-backup", "the format 99"),
        (lambda m: m.update({MANIFEST: b"{}"}), "damaged-backup", "manifest.json cannot be read"),
    ],
)
def test_an_altered_backup_is_refused(
    filled: Registry,
    url: str,
    target: str,
    tmp_path: Path,
    change: Callable[[dict[str, bytes]], None],
    code: str,
    text: str,
) -> None:
    backup(url, tmp_path / "b.zip")
    error = refused(target, rewritten(tmp_path / "b.zip", change))
    assert error.code == f"registry.{code}"
    assert text in error.problem
    assert rows_in(target) == 0


def test_a_backup_that_is_cut_short_or_has_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    url, target = f"sqlite:///{tmp_path}/r.sqlite", f"sqlite:///{tmp_path}/target.sqlite"
    with Registry.open(url) as registry:
        registry.register_study(name="demo", digest=STUDY, config={})
        registry.register_run(STUDY, RUN_ID, RUN, config={}, epoch_tokens=None)
        fill(registry)
    file = tmp_path / "b.zip"
    backup(url, file)
    whole, broken, seeded = file.read_bytes(), tmp_path / "broken.zip", random.Random(0)  # noqa: S311  # faults that can be repeated
    for length in [0, 1, 22, *seeded.sample(range(len(whole)), 40), len(whole) - 1]:
        broken.write_bytes(whole[:length])
        assert refused(target, broken).code == "registry.not-a-backup"
    version = whole.index(b"PK\x01\x02") + 6  # of the zip format that is needed, in the first entry of the directory
    broken.write_bytes(whole[:version] + b"\x6d" + whole[version + 1 :])
    assert refused(target, broken).code == "registry.not-a-backup"
    lenient = 0
    for place in seeded.sample(range(len(whole)), 60):
        broken.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << seeded.randrange(8)]) + whole[place + 1 :])
        try:
            restore(target, broken)
        except RegistryError:
            assert not Path(target.removeprefix("sqlite:///")).exists()
        else:  # a bit of the zip that nobody reads, such as a time
            lenient += 1
            assert contents(target) == contents(url)
            Path(target.removeprefix("sqlite:///")).unlink()
    assert lenient < 45


def test_rows_that_refer_to_nothing_are_not_restored(filled: Registry, url: str, target: str, tmp_path: Path) -> None:
    """A forged backup, whose digests are those of its rows."""

    def orphan(members: dict[str, bytes]) -> None:
        from hashlib import sha256

        rows = members["tables/point.jsonl"] + b'[99,1,1,10,1.0,0.5,1.0,"",null]\n'
        manifest = json.loads(members[MANIFEST])
        manifest["tables"]["point"] |= {"rows": rows.count(b"\n"), "digest": f"sha256:{sha256(rows).hexdigest()}"}
        members |= {"tables/point.jsonl": rows, MANIFEST: json.dumps(manifest).encode()}

    backup(url, tmp_path / "b.zip")
    assert refused(target, rewritten(tmp_path / "b.zip", orphan)).code == "registry.not-restored"
    assert rows_in(target) == 0


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "crossover.cli", *arguments], stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_kill_9_of_a_restore_leaves_the_registry_empty(target: str, tmp_path: Path) -> None:
    number = 90_000 if target.startswith("sqlite") else 30_000  # more than SQLite's cache holds
    many_points(f"sqlite:///{tmp_path}/r.sqlite", number)
    backup(f"sqlite:///{tmp_path}/r.sqlite", tmp_path / "b.zip")
    upgrade(target)
    engine = create_engine(parse_url(target))
    locks = "SELECT COUNT(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'point'::regclass"

    def restoring() -> bool:
        if engine.dialect.name == "sqlite":
            with suppress(FileNotFoundError):  # it comes and goes
                return (tmp_path / "target.sqlite-wal").stat().st_size > 100_000  # its cache has overflowed: it writes
            return False
        with engine.connect() as connection:
            return bool(connection.execute(text(locks)).scalar())

    with started("registry", "restore", str(tmp_path / "b.zip"), "--registry", target) as process:
        until = time.monotonic() + 60
        while not restoring():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < until
        process.send_signal(signal.SIGKILL)
        process.wait()
    engine.dispose()
    assert rows_in(target) == 0
    restore(target, tmp_path / "b.zip")
    assert len(contents(target)["point"]) == number + 1


def test_kill_9_of_a_backup_leaves_no_file_of_its_name(tmp_path: Path) -> None:
    many_points(f"sqlite:///{tmp_path}/r.sqlite", 30_000)
    with started("registry", "backup", f"{tmp_path}/b.zip", "--registry", f"sqlite:///{tmp_path}/r.sqlite") as process:
        until = time.monotonic() + 60
        while not any(path.is_file() for path in tmp_path.glob(".b.zip.*")):
            assert process.poll() is None
            assert time.monotonic() < until
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "b.zip").exists()
    backup(f"sqlite:///{tmp_path}/r.sqlite", tmp_path / "b.zip")


def test_memory_does_not_grow_with_the_points(tmp_path: Path) -> None:
    peaks = []
    for number in (6_000, 36_000):
        url = f"sqlite:///{tmp_path}/{number}.sqlite"
        many_points(url, number)
        tracemalloc.start()
        backup(url, tmp_path / f"{number}.zip")
        restore(f"sqlite:///{tmp_path}/{number}-restored.sqlite", tmp_path / f"{number}.zip")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
