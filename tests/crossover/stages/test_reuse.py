"""A study that is edited redoes only what it must: five edits, through the stages, of a study that was trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossover.commands import local_run
from crossover.commands.study_progress import StudyProgress
from crossover.errors import WorkspaceError
from crossover.files import read_json
from crossover.stages.analyse_stage import BOUND_NOTE, GROWN_NOTE, UNPLANNED_NOTE, _notes
from crossover.stages.reuse import plan_reuse
from crossover.stages.study_context import open_study
from crossover.storage import open_store
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from tests.crossover.stages.trained_study import edited, run_stages


def snapshot(workspace: Path) -> dict[str, set[str]]:
    """The payload files of each kind of artifact, with their content."""
    kinds = {
        "dataset": "datasets/*/*.bin",
        "tasks": "tasks/*/*/*",
        "runs": "runs/*/*/*/*/checkpoints/*/model.safetensors",
        "evaluations": "runs/*/*/*/*/evaluations/*/*.json",
    }
    return {
        kind: {f"{path} {path.stat().st_mtime_ns}" for path in workspace.glob(pattern)}
        for kind, pattern in kinds.items()
    }


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], dict[str, int]]] = {
    "question": (lambda raw: raw.update(question="Reworded?"), {}),
    "+seed": (lambda raw: raw.update(seeds=[0, 1, 2]), {"runs": 6, "evaluations": 14}),
    "+task": (lambda raw: raw["evaluation"].update(cloze_items=12), {"tasks": 2, "evaluations": 12}),
    "+budget": (
        lambda raw: raw["grid"].update(unique_tokens=[512, 1024]),
        {"dataset": 2, "runs": 12, "evaluations": 28},
    ),
    "+metric": (
        lambda raw: raw["analysis"].update(metrics=["validation_bpb", "domain-cloze_margin"]),
        {},
    ),
}
"""What is edited, and how many new files of each kind come of it: 3 checkpoints, 7 parts of an evaluation a run."""


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_makes_only_what_it_must(name: str, trained: tuple[StudyConfig, Path], tmp_path: Path) -> None:
    study, workspace = trained
    copy = tmp_path / "ws"
    shutil.copytree(workspace, copy)
    edit, expected = EDITS[name]
    after = edited(study, edit)
    before = snapshot(copy)
    plan = plan_reuse(after, open_store(str(copy)))
    run_stages(after, str(copy))
    now = snapshot(copy)
    for kind, files in before.items():
        assert files <= now[kind], f"{kind} of before are as they were"
        assert len(now[kind] - files) == expected.get(kind, 0), kind
    rows = {row.artifact: (row.reused, row.new) for row in plan.rows}
    assert rows["runs"][1] == expected.get("runs", 0) / 3
    assert rows["evaluations"][1] == expected.get("evaluations", 0)
    done = plan_reuse(after, open_store(str(copy)))
    assert [row.new for row in done.rows] == [0, 0, 0, 0, 0]


def test_the_progress_of_a_run_starts_at_what_is_reused(
    trained: tuple[StudyConfig, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, workspace = trained
    shutil.copytree(workspace, tmp_path / "ws")
    started: list[str] = []

    def pipeline(*arguments: object, quiet: bool) -> int:
        started.extend(part.summary for part in arguments if isinstance(part, StudyProgress))
        return 0

    monkeypatch.setattr(local_run, "_run_logged", pipeline)
    after = edited(study, EDITS["+seed"][0])
    local_run.run_study(after, str(tmp_path / "ws"), registry="", promotion="never", seeds_per_task=None, quiet=False)
    assert started == ["trained 4/6, evaluated 4/6"]
    assert "new: u512-pico/dlm, seeds 2\n" in capsys.readouterr().out


def test_another_plan_is_marked_as_written_after_the_results(trained: tuple[StudyConfig, Path], tmp_path: Path) -> None:
    study, workspace = trained
    copy = tmp_path / "ws"
    shutil.copytree(workspace, copy)
    run_stages(edited(study, EDITS["+metric"][0]), str(copy))
    notes = [analysis["notes"] for analysis in read_json(copy / "analysis" / "analysis.json").values()]
    assert all(UNPLANNED_NOTE in lines for lines in notes)
    run_stages(study, str(copy))
    notes = [analysis["notes"] for analysis in read_json(copy / "analysis" / "analysis.json").values()]
    assert not any(UNPLANNED_NOTE in lines for lines in notes)


def test_a_workspace_belongs_to_one_study(trained: tuple[StudyConfig, Path], tmp_path: Path) -> None:
    study, workspace = trained
    copy = tmp_path / "ws"
    shutil.copytree(workspace, copy)
    with pytest.raises(WorkspaceError, match="holds the study 'reuse', and this one is named 'other'"):
        run_stages(edited(study, lambda raw: raw.update(name="other")), str(copy))


def test_a_corpus_whose_files_changed_is_trained_on_anew(trained: tuple[StudyConfig, Path], tmp_path: Path) -> None:
    study, workspace = trained
    copy, corpus = tmp_path / "ws", tmp_path / "corpus"
    shutil.copytree(workspace, copy)
    shutil.copytree(Path(study.data.source.removeprefix("text:")).parent, corpus)
    moved = edited(study, lambda raw: raw["data"].update(source=f"text:{corpus}/*.txt"))
    (corpus / "000.txt").write_text("another first document, long enough to be cut into examples " * 5)
    before = snapshot(copy)
    run_stages(moved, str(copy))
    now = snapshot(copy)
    assert len(now["runs"] - before["runs"]) == 12
    assert before["runs"] <= now["runs"]


def test_a_study_that_was_analysed_is_not_analysed_again(
    trained: tuple[StudyConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossover.stages import analyse_stage as module

    study, workspace = trained
    copy = tmp_path / "ws"
    shutil.copytree(workspace, copy)
    before = read_json(copy / "analysis" / "analysis.json")
    monkeypatch.setattr(module, "analyse", lambda *_, **__: pytest.fail("analysed again"))
    run_stages(edited(study, EDITS["question"][0]), str(copy))
    assert read_json(copy / "analysis" / "analysis.json") == before
    assert "Reworded?" in (copy / "analysis" / "report.md").read_text("utf-8")


def test_the_note_on_bounds_is_for_studies_that_compare_a_dlm(tmp_path: Path) -> None:
    for candidate, expected in (("dlm", (BOUND_NOTE,)), ("ar-decay", ())):
        study = parse_study(f"arms: [ar, {candidate}]\nanalysis: {{candidate: {candidate}, metrics: [validation_bpb]}}")
        with open_study(study, str(tmp_path / candidate)) as context:
            assert _notes(context) == expected


@pytest.mark.parametrize(("schedule", "notes"), [("constant", 1), ("wsd", 2), ("cosine", 2)])
def test_a_learning_rate_that_decays_is_said(schedule: str, notes: int, tmp_path: Path) -> None:
    study = parse_study(f"training: {{schedule: {schedule}}}\nanalysis: {{metrics: [validation_bpb]}}")
    with open_study(study, str(tmp_path)) as context:
        said = _notes(context)
    assert len(said) == notes
    assert all("learning rate decays" in note for note in said[1:])


@pytest.mark.parametrize(("looks", "marked"), [("", True), (", looks: [5, 6]", False)])
def test_seeds_that_are_added_after_an_analysis_are_marked_unless_looks_were_planned(
    looks: str, marked: bool, tmp_path: Path
) -> None:
    for seeds, expected in ((5, False), (6, marked), (6, marked)):
        study = parse_study(f"seeds: {seeds}\nanalysis: {{metrics: [validation_bpb]{looks}}}")
        with open_study(study, str(tmp_path)) as context:
            assert (GROWN_NOTE in _notes(context)) == expected
