"""The minutes of waiting that a plan tells: shared among parallel stages, measured while those are busy."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from crossover.cli import main
from crossover.evaluation.evaluation_timing import evaluation_rows
from crossover.settings import Settings
from crossover.stages import waiting_time as module
from crossover.stages.waiting_time import StageSeconds, contention, waiting_time
from crossover.study.identity import RunId
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from crossover.training.run_schedule import run_schedule

STUDY = """
name: waiting
grid: {unique_tokens: [2048], models: [pico]}
data: {sequence_length: 32, validation_tokens: 512}
seeds: 3
training: {epochs: 8, batch_size: 16}
evaluation:
  {points: 3, nelbo_draws: 4, chain_rule_examples: 2, chain_rule_points: 1, cloze_items: 8, cloze_draws: 2,
   samples: 2, passages: 1, writing_points: 1}
"""


@pytest.fixture
def study() -> StudyConfig:
    return parse_study(STUDY)


def test_rows_are_counted_by_family(study: StudyConfig) -> None:
    cell = study.cells[0]
    written = 2 * 32 + 2 * 1 * 32 / 2
    # likelihood of 16 examples and 8 items at 3 checkpoints; chain rule and writing at one
    assert evaluation_rows(study, cell, study.arm("ar")) == 3 * (16 + 8) + 2 + 0.5 * written
    assert evaluation_rows(study, cell, study.arm("dlm")) == 3 * (16 * 4 + 8 * 4 * 2) + 2 * 3 * 32 + written


@pytest.mark.parametrize(("parallel", "seeds_per_task", "groups"), [(1, 1, 6), (2, 1, 3), (2, 3, 1)])
def test_parallel_stages_share_the_work(parallel: int, seeds_per_task: int, groups: int, study: StudyConfig) -> None:
    """With equal costs of both arms: the groups of a slot, one after the other, then the single stages."""
    (cell,) = study.cells
    steps = run_schedule(study.training, study.evaluation_steps(cell)).steps
    seconds = StageSeconds(
        step={("pico", arm): 60 / steps for arm in study.arms},
        row={("pico", arm): 30 / evaluation_rows(study, cell, study.arm(arm)) for arm in study.arms},
        start=6.0,
        analysis=8.0,
    )
    new = [RunId(cell.name, arm, seed) for arm in study.arms for seed in study.seeds]
    waiting = waiting_time(study, seconds, new, parallel, seeds_per_task)
    slot = groups * (2 * 6 + seeds_per_task * (60 + 30))
    assert waiting.total == pytest.approx((slot + 7 * 6 + 8 + module.REPORT_SECONDS) / 60)
    parts = waiting.training + waiting.evaluation + waiting.starts + waiting.analysis
    assert waiting.total == pytest.approx(parts)
    assert waiting.training == pytest.approx(2 * waiting.evaluation)


def test_the_other_stage_is_busy_while_steps_are_timed(study: StudyConfig) -> None:
    with contention(study, Settings(parallelism=2)):
        (companion,) = multiprocessing.active_children()
        assert companion.is_alive(), "it has trained a step, and goes on"
    assert multiprocessing.active_children() == []


def test_a_plan_tells_the_minutes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "waiting.yaml"
    file.write_text(STUDY)
    arguments = ["plan", str(file), "--out", str(tmp_path / "ws")]
    assert main([*arguments, "--json"]) == 0
    minutes = json.loads(capsys.readouterr().out)["minutes"]
    parts = minutes["training"] + minutes["evaluation"] + minutes["starts"] + minutes["analysis"]
    assert minutes["total"] == pytest.approx(parts)
    assert min(minutes.values()) > 0
    assert main([*arguments, "--no-measure"]) == 0
    output = capsys.readouterr()
    assert "unknown: run with --measure" in output.out
    assert "waiting" not in output.out.replace("waiting.yaml", "")


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("stdlib:", 2, "[data.budget-too-large]"),
        ("text:absent/*.txt", 0, "note: whether the corpus yields the budgets is not known here"),
    ],
)
def test_a_plan_refuses_a_budget_that_the_corpus_does_not_yield(
    source: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "waiting.yaml"
    file.write_text(STUDY.replace("2048", "500000000").replace("{sequence", f'{{source: "{source}", sequence'))
    assert main(["plan", str(file), "--out", str(tmp_path / "ws"), "--no-measure"]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "ws").exists()
