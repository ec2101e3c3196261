"""The analysis stage records the study as a whole: once, however often it is analysed, as in the report's files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from crossover.analysis.across.cross_cell_result import Overview
from crossover.registry import Registry
from crossover.registry.reads.study_results import analysis_result, newest_analyses
from crossover.registry.reads.study_revisions import study_revisions
from crossover.report.study_record import OVERVIEW, StudyRecord
from crossover.study.study_config import StudyConfig
from tests.crossover.stages.trained_study import run_stages


def test_the_overview_is_in_the_registry_once(
    trained: tuple[StudyConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, done = trained
    workspace, url = tmp_path / "ws", f"sqlite:///{tmp_path}/registry.sqlite"
    shutil.copytree(done, workspace)
    monkeypatch.setenv("CROSSOVER_REGISTRY_URL", url)
    monkeypatch.setenv("CROSSOVER_THREADS", "1")
    for _ in range(2):
        run_stages(study, str(workspace))
    with Registry.open(url) as registry:
        (count,) = registry.query(f"SELECT COUNT(*) FROM analysis WHERE cell = '{OVERVIEW}'").rows[0]
        found = newest_analyses(registry, None, study_revisions(registry, None, "default", study.name).chosen.id)
        heads = {head.cell: head.digest for head in found}
        record = StudyRecord.model_validate(analysis_result(registry, None, heads[OVERVIEW]))
    assert count == 1 and list(heads) == [study.cells[0].name, OVERVIEW]
    written = json.loads((workspace / "analysis" / "overview.json").read_text())
    assert record.overview == Overview.model_validate(written).model_copy(update={"frontiers": ()})
    assert record.overview.advice and record.plan == study.analysis
    assert {(h.cell, h.arm, h.seed) for h in record.health} == {
        (study.cells[0].name, arm, seed) for arm in ("ar", "dlm") for seed in (0, 1)
    }
