"""The compiled pipeline makes the sweep of a study itself: with kfp.local, training in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crossover.cli import main
from tests.conftest import write_corpus
from tests.pipelines.test_end_to_end import query, run

STUDY = """
name: swept
data: {{source: "text:{corpus}/*.txt", sequence_length: 16, validation_fraction: 0.3, validation_tokens: 128}}
grid: {{unique_tokens: [512], models: [pico]}}
seeds: 2
training: {{epochs: 2, batch_size: 8, warmup_steps: 2}}
tuning: {{learning_rates: {rates}, seeds: [7]}}
evaluation: {{points: 2, nelbo_draws: 2, chain_rule_examples: 0, tasks: [], samples: 0, passages: 0}}
analysis: {{metrics: [validation_bpb]}}
"""


def test_the_pipeline_makes_the_sweep_and_every_later_step_takes_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROSSOVER_RESTARTS", "1")  # a run that diverges does so in a child of the step's process
    study = tmp_path / "study.yaml"
    corpus = write_corpus(tmp_path / "corpus")
    study.write_text(STUDY.format(corpus=corpus, rates="[0.003, 1.0e+30]"))
    first = run(study, tmp_path, "--seeds-per-task", "2")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "trained 8/8, evaluated 8/8" in first.stdout, "the runs of the sweep are counted, also those that diverged"
    tried = query(tmp_path, "SELECT arm, status FROM v_runs WHERE study = 'swept-tuning' ORDER BY arm")
    assert dict(tried) == {f"{a}-tried-{n}": ("done", "failed")[n] for a in ("ar", "dlm") for n in (0, 1)}  # type: ignore[arg-type]  # rows are of objects
    chosen = "ar learning rate 0.003; dlm learning rate 0.003."
    assert chosen in (tmp_path / "ws" / "analysis" / "report.md").read_text("utf-8")

    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "ws").rglob("checkpoints/**/*") if p.is_file()}
    assert stamps
    again = run(study, tmp_path, "--json", "--seeds-per-task", "2")
    assert again.returncode == 0, again.stderr
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps, "neither the sweep nor the study is trained again"

    monkeypatch.setenv("CROSSOVER_HOME", str(tmp_path))
    place = [str(study), "--out", str(tmp_path / "ws")]
    for verb in ("pretrain", "evaluate", "analyse"):
        assert main([verb, *place]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["plan", *place, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["artifacts"]["runs"] == {"reused": 4, "new": 0}
    assert plan["artifacts"]["analysis"] == {"reused": 1, "new": 0}


def test_a_sweep_of_which_every_setting_diverges_fails_before_the_study_is_trained(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(STUDY.format(corpus=write_corpus(tmp_path / "corpus"), rates="[1.0e+30]"))
    result = run(study, tmp_path)
    assert result.returncode == 2
    assert "stage tuning_summary: tuning.learning_rates: ar diverged with every one of them" in result.stderr
    assert not (tmp_path / "ws" / "runs").exists()
