"""What a registry refuses: wrong URLs, other files, unknown runs, damaged databases."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from crossover.errors import RegistryError
from crossover.registry import Registry
from crossover.registry.connections import make_engine
from crossover.registry.registry_url import parse_url
from tests.crossover.registry.conftest import BPB, RUN, RUN_ID, STUDY, points, register


class TestBadInput:
    @pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite://", "oracle://x", "sqlite:///:memory:"])
    def test_bad_url(self, url: str) -> None:
        with pytest.raises(RegistryError, match="is not the URL"):
            Registry.open(url)

    def test_not_a_database(self, tmp_path: Path) -> None:
        (tmp_path / "x.sqlite").write_bytes(b"plain text, long enough to have a header" * 10)
        with pytest.raises(RegistryError, match="name another file"):
            Registry.open(f"sqlite:///{tmp_path}/x.sqlite")

    def test_another_programs_database_is_not_touched(self, tmp_path: Path) -> None:
        path = tmp_path / "other.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE notes (a)")
        before = path.read_bytes()
        with pytest.raises(RegistryError, match="another program's database"):
            Registry.open(f"sqlite:///{path}")
        assert path.read_bytes() == before

    def test_full_disk(self, tmp_path: Path) -> None:
        with Registry.open(f"sqlite:///{tmp_path}/x.sqlite") as registry:
            registry.register_study(name="demo", digest=STUDY, config={})
            register(registry, RUN_ID)
            attempt = registry.start_attempt(RUN, started_step=0)
            attempt.record(BPB, points(1))
            with registry._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA max_page_count = 1")
            with pytest.raises(RegistryError, match="free some space"):
                attempt.record(BPB, points(*range(2, 9000)))
            assert registry.query("SELECT step, value, attempt FROM v_curves ORDER BY step").rows == ((1, 2.0, 1),)

    def test_folder_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "taken").write_text("")
        with pytest.raises(RegistryError) as caught:
            Registry.open(f"sqlite:///{tmp_path}/taken/x.sqlite")
        assert caught.value.field == "registry url"

    def test_newer_schema(self, url: str) -> None:
        engine = make_engine(parse_url(url))
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'ffff'")
        engine.dispose()
        with pytest.raises(RegistryError, match="upgrade Crossover"):
            Registry.open(url)

    def test_postgresql_must_be_migrated_by_hand(self, empty_url: str) -> None:
        if empty_url.startswith("sqlite"):
            Registry.open(empty_url).close()
            return
        with pytest.raises(RegistryError, match="crossover registry upgrade"):
            Registry.open(empty_url)

    def test_unknown_study_or_run(self, registry: Registry) -> None:
        with pytest.raises(RegistryError, match="register the study first"):
            registry.register_run("sha256:other", RUN_ID, RUN, config={}, epoch_tokens=None)
        with pytest.raises(RegistryError, match="register the run first"):
            registry.start_attempt("sha256:other", started_step=0)

    def test_no_server(self, tmp_path: Path) -> None:
        with pytest.raises(RegistryError) as caught:
            Registry.open(f"postgresql://x@/y?host={tmp_path}")
        assert caught.value.field == "registry url"
