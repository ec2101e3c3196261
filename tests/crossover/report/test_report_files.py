"""The files of a report: all three, complete, and readable again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from crossover.errors import WorkspaceError
from crossover.report import ReportContext, write_report
from tests.crossover.report import report_samples as samples


@pytest.fixture
def small() -> ReportContext:
    return samples.context(samples.cell(the_analysis=samples.analysis(figures=samples.analysis().figures[:1])))


def test_it_writes_three_files_and_the_json_reads_back(small: ReportContext, tmp_path: Path) -> None:
    files = write_report(small, tmp_path / "new" / "folder")
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]
    assert ReportContext.model_validate_json(files.json.read_text("utf-8")) == small
    assert files.html.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert files.markdown.read_text("utf-8").startswith("# For one million tokens")


def test_the_same_context_gives_the_same_bytes(small: ReportContext, tmp_path: Path) -> None:
    one, two = write_report(small, tmp_path / "1"), write_report(small, tmp_path / "2")
    assert one.html.read_bytes() == two.html.read_bytes()
    assert one.markdown.read_bytes() == two.markdown.read_bytes()


def test_a_failure_leaves_the_former_report(
    small: ReportContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_report(small, tmp_path)
    before = files.html.read_bytes()

    def fail(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WorkspaceError, match="cannot be written"):
        write_report(small.model_copy(update={"question": "Another?"}), tmp_path)
    assert files.html.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]
