"""What promotion records names the analysis that it rests on, as the registry holds it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crossover.registry import Registry
from crossover.stages.analyse_stage import analyse_stage
from crossover.stages.promote_stage import promote_stage
from crossover.stages.stored_results import measured_runs
from crossover.stages.study_context import open_study
from crossover.study.study_config import StudyConfig


def test_a_deployment_joins_the_analysis_of_its_cell(
    url: str, trained: tuple[StudyConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, workspace = trained
    monkeypatch.setenv("CROSSOVER_HOME", str(tmp_path / "home"))
    shutil.copytree(workspace, tmp_path / "ws")
    with open_study(study, str(tmp_path / "ws"), url) as context:
        promote_stage(context, analyse_stage(context, measured_runs(context), promotion="always"))
    with Registry.open_read_only(url) as registry:
        joined = registry.query(
            "SELECT d.cell, a.cell, s.digest FROM v_deployments d "
            "LEFT JOIN analysis a ON a.digest = d.analysis_digest LEFT JOIN study s ON s.id = a.study_id"
        )
    assert joined.rows == (("u512-pico", "u512-pico", study.digest),)
