"""`crossover run --rounds` through the compiled pipeline with kfp.local, on a tiny study of real models."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossover.cli import main
from crossover.stages.stage_manifests import AnalysisRef, RoundsRef
from tests.pipelines.test_end_to_end import query, run

STUDY = """
name: rounds
data: {sequence_length: 32, validation_tokens: 512}
grid: {unique_tokens: [2048], models: [pico]}
seeds: 6
training: {epochs: 4, batch_size: 16}
evaluation: {points: 3, nelbo_draws: 4, chain_rule_examples: 0, cloze_items: 8, cloze_draws: 1, samples: 0}
analysis: {looks: [5, 6]}
"""


def test_a_study_in_rounds_ends_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "rounds.yaml"
    study.write_text(STUDY)
    result = run(study, tmp_path, "--rounds", "--seeds-per-task", "6")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Round 1\nu2048-pico: open (0 seed pairs judged): nothing is known of it yet" in result.stdout
    assert "Next:  10 runs, about " in result.stdout
    assert "Next:  nothing\n" in result.stdout

    state = RoundsRef.read(tmp_path / "ws" / "rounds.json")
    pairs = state.cells[0].pairs
    assert pairs in {5, 6}, "judged at a look"
    assert state.next_selection == ""
    assert state.selection in {"u2048-pico:0,1,2,3,4", "u2048-pico:5"}
    assert {(run.id.arm, run.id.seed) for run in state.runs} == {
        (arm, seed) for arm in ("ar", "dlm") for seed in range(pairs)
    }
    assert query(tmp_path, "SELECT COUNT(*) FROM v_runs WHERE status = 'done'") == ((2 * pairs,),)
    assert state.unit == "hours"
    assert state.spent / state.full == pytest.approx(pairs / 6)
    assert state.study == AnalysisRef.read(tmp_path / "ws" / "analysis" / "decision.json").study

    place = ["--out", str(tmp_path / "ws"), "--registry", f"sqlite:///{tmp_path}/registry.sqlite"]
    assert main(["next", str(study), *place]) == 0
    assert "Next:  nothing\n" in capsys.readouterr().out


def test_a_study_without_looks_is_refused_before_anything_runs(tmp_path: Path) -> None:
    study = tmp_path / "whole.yaml"
    study.write_text(STUDY.replace("looks: [5, 6]", "looks: []"))
    result = run(study, tmp_path, "--rounds")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "analysis.looks: a study in rounds is judged at the plan's looks only, and there are none" in result.stderr
    assert not (tmp_path / "ws" / "runs").exists()
