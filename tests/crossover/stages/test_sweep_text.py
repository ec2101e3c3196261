"""A sweep over text that has changed under the same names: its results are not taken for those of the new text."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossover.errors import StudyError
from crossover.stages.prepare_stage import prepare_stage
from crossover.stages.study_context import open_study
from crossover.stages.sweep_results import tuned_study
from crossover.stages.tune_stage import tune_stage
from crossover.storage import open_store
from crossover.study.study_config import StudyConfig
from tests.crossover.stages.test_tuning import changed, with_tuning


def test_results_of_other_text_are_dropped_and_measured_again(
    tiny_study: StudyConfig, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, workspace = with_tuning(tiny_study, learning_rates=(0.01,), seeds=(7,)), str(tmp_path / "ws")
    first = tune_stage(study, workspace)
    larger = {"grid": tiny_study.grid.model_dump() | {"unique_tokens": (512, 768)}}
    assert tune_stage(changed(study, **larger), workspace).tuning == first.tuning, "a budget changes no examples"
    assert capsys.readouterr().err.count("have changed since the sweep") == 0

    for file in corpus.glob("*.txt"):
        file.write_text(file.read_text().swapcase())
    assert tune_stage(study, workspace) == first, "the dataset is not prepared anew, and neither is the sweep"
    another = {"grid": tiny_study.grid.model_dump() | {"unique_tokens": (512, 896)}}
    with (
        open_study(changed(first, **another), workspace) as context,
        pytest.raises(StudyError, match=r"tuning\.results: were measured on other text.*tune again"),
    ):
        prepare_stage(context)

    grown = changed(study, **another)
    again = tune_stage(grown, workspace)
    assert "have changed since the sweep: its results are dropped" in capsys.readouterr().err
    assert again.tuning.results == tune_stage(grown, str(tmp_path / "fresh")).tuning.results
    assert again.tuning.results != first.tuning.results
    assert tuned_study(grown, open_store(workspace)) == again
