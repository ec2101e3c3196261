"""The verbs that delete, keep and pack studies of the registry, as people type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossover.cli import main
from crossover.registry import Registry
from tests.crossover.registry.backups import fill
from tests.crossover.registry.conftest import RUN_ID, STUDY, register


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A registry with a study whose runs ended long ago."""
    url = f"sqlite:///{tmp_path}/registry.sqlite"
    with Registry.open(url) as registry:
        registry.register_study(name="demo", digest=STUDY, config={})
        register(registry, RUN_ID)
        fill(registry)
        with registry.writing() as connection:
            connection.exec_driver_sql("UPDATE attempt SET heartbeat_at = '2026-01-01 00:00:00', ended_at = started_at")
            connection.exec_driver_sql("UPDATE run SET status = 'done'")
    return url


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["registry", *arguments])
    seen = capsys.readouterr()
    return code, seen.out + seen.err


def test_delete_archive_purge_and_back(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "kept" / "demo")
    assert "would remove" not in _run(capsys, "purge", "--dry-run", "--registry", url)[1]
    code, text = _run(capsys, "delete", "demo", "--registry", url)
    assert code == 0 and "deleted demo (1 revision)" in text and "registry undelete demo" in text
    code, text = _run(capsys, "delete", "demo", "--registry", url)
    assert code == 2 and "is no study of the namespace default" in text
    assert "nothing to remove: no study was deleted 30 days ago" in _run(capsys, "purge", "--registry", url)[1]
    code, text = _run(capsys, "archive", "demo", folder, "--registry", url)
    assert code == 0 and "15 tables, schema 0010" in text
    code, text = _run(capsys, "purge", "--older-than", "0", "--dry-run", "--registry", url)
    assert "would remove default/demo: 2 runs" in text and "s3://b/c" in text
    assert _run(capsys, "undelete", "demo", "--registry", url)[1].startswith("demo is there again (1 revision)")


def test_compact(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "packed 0 points of 0 runs" in _run(capsys, "compact", "--closed-for", "999999", "--registry", url)[1]
    assert "packed 11 points of 1 run\n" in _run(capsys, "compact", "--closed-for", "0", "--registry", url)[1]


def test_wrong_input_is_named(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb, flag in (("purge", "--older-than"), ("compact", "--closed-for")):
        for number in ("-1", "nan", "inf"):
            code, text = _run(capsys, verb, f"{flag}={number}", "--registry", url)
            assert code == 2 and flag in text and "give a number from 0 on" in text
    code, text = _run(capsys, "compact", "--registry", "http://127.0.0.1:1")
    assert code == 2 and "SQLAlchemy URL of its database" in text
    code, text = _run(capsys, "unarchive", str(tmp_path), "--registry", url)
    assert code == 2 and "has no manifest.json" in text
