"""A study in rounds, from step to step: what is kept between rounds, what is demanded, and when it ends."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from crossover.cli import main
from crossover.commands import rounds_command as commands
from crossover.errors import StorageError, StudyError, WorkspaceError
from crossover.files import read_json
from crossover.stages import analyse_stage as analyse
from crossover.stages import round_state
from crossover.stages.analyse_stage import analyse_stage
from crossover.stages.evaluated_runs import collect_runs
from crossover.stages.prepare_stage import plan_groups, prepare_stage
from crossover.stages.reuse import plan_reuse
from crossover.stages.round_state import DOCUMENT, HELD, missing_note, next_round, read_rounds, run_costs, write_rounds
from crossover.stages.stage_manifests import AnalysisRef, EvaluationsRef, RoundsRef
from crossover.stages.study_context import StudyContext, open_study
from crossover.stages.study_report import read_analyses
from crossover.stages.trained_seconds import trained_seconds
from crossover.storage import ANY, open_store
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from tests.crossover.stages.growing_study import CLEAR, NEAR, evaluated, study_of
from tests.crossover.stages.trained_study import edited, run_stages

FIRST = f"{CLEAR}:0,1,2,3,4;{NEAR}:0,1,2,3,4"


@pytest.fixture
def study(corpus: Path) -> StudyConfig:
    return study_of(corpus)


@pytest.fixture
def context(study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StudyContext]:
    """The study's workspace; reports show no samples, for there are no models."""
    monkeypatch.setattr(analyse, "draw_samples", lambda *_: {})
    with open_study(study, str(tmp_path / "ws")) as opened:
        yield opened


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(study="growing.yaml", out=str(tmp_path / "ws"), registry=None, json=False)


def one_round(context: StudyContext, selection: str) -> AnalysisRef:
    """What the pipeline does with a selection, without models."""
    groups = plan_groups(context, 8, selection)
    references = [evaluated(context, group.cell, group.arm, group.seeds) for group in groups]
    return analyse_stage(context, references, promotion="verdict", selected=selection)


def test_a_study_in_two_rounds(
    study: StudyConfig, context: StudyContext, options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_stage(context)
    selections: list[str] = []
    decisions: list[AnalysisRef] = []
    proposed: list[int] = []

    def start(selection: str) -> Path:
        selections.append(selection)
        decisions.append(one_round(context, selection))
        proposed.append(len(read_json(context.workspace.root / "analysis" / "overview.json")["next_runs"]))
        return context.workspace.root

    assert commands.run_rounds(options, study, start) == context.workspace.root
    assert selections == [FIRST, f"{NEAR}:5,6,7"], "the settled cell is left alone"
    assert [decision.decision for decision in decisions] == ["hold", "promote"]
    assert HELD in decisions[0].reason
    assert proposed == [6, 0]
    text = capsys.readouterr().out
    assert "Round 2" in text
    assert "Round 3" not in text
    assert f"{CLEAR}: settled (5 seed pairs judged): AR is better, at 5 seed pairs." in text
    assert f"{NEAR}: settled (8 seed pairs judged): AR is better, at 8 seed pairs." in text
    assert text.splitlines()[-2] == "Next:  nothing"
    assert text.splitlines()[-1].startswith("Spent: 4.2 of 4.8 hours of the full grid (8")

    state = read_rounds(study, context.store)
    assert (state.study, state.selection, state.next_selection) == (study.digest, selections[-1], "")
    assert len(state.runs) == 2 * (5 + 8)
    assert state.unit == "hours"
    assert (state.spent, state.full) == pytest.approx((4.2, 4.8))
    assert {cell.cell: cell.pairs for cell in state.cells} == {CLEAR: 5, NEAR: 8}
    analyses = read_json(context.workspace.root / "analysis" / "analysis.json")
    assert "5 of 8 planned seeds have run in this cell" in " ".join(analyses[CLEAR]["notes"])
    assert "planned seeds have run" not in " ".join(analyses[NEAR]["notes"])

    commands.run_rounds(options, study, start)
    assert selections[2:] == [f"{NEAR}:5,6,7"], "a settled study is only analysed again"
    assert decisions[-1] == decisions[1]


def test_a_round_that_is_repeated_changes_nothing(context: StudyContext) -> None:
    prepare_stage(context)
    one_round(context, FIRST)
    before = read_rounds(context.study, context.store)
    one_round(context, f" {FIRST} ")
    assert read_rounds(context.study, context.store) == before
    assert before.next_selection == f"{NEAR}:5,6,7"


def test_before_anything_has_run_every_cell_goes_to_its_first_look(context: StudyContext) -> None:
    state = read_rounds(context.study, context.store)
    assert state.next_selection == FIRST
    assert (state.runs, state.selection, state.unit, state.spent) == ((), "", "FLOPs", 0.0)
    assert [(run.cell, run.arm, run.seed) for run in state.next_runs[:2]] == [(CLEAR, "ar", 0), (CLEAR, "dlm", 0)]
    assert len(state.next_runs) == 20
    assert [cell.status for cell in state.cells] == ["open", "open"]


def test_a_revised_study_starts_its_rounds_anew(context: StudyContext) -> None:
    prepare_stage(context)
    before = read_rounds(context.study, context.store)
    one_round(context, FIRST)
    assert read_rounds(context.study, context.store) != before
    revised = context.study.model_copy(update={"question": "Reworded?"})
    state = read_rounds(revised, context.store)
    assert (state.runs, state.next_selection, state.study) == ((), FIRST, revised.digest)


def keep(context: StudyContext, state: RoundsRef) -> None:
    context.store.write_document(DOCUMENT, state.model_dump(mode="json"), replaces=ANY)


def test_a_round_demands_its_own_runs_and_brings_those_of_earlier_rounds(context: StudyContext) -> None:
    refs = [evaluated(context, CLEAR, arm, range(5)) for arm in ("ar", "dlm")]
    keys = [run.id.key for run, _ in collect_runs(context, refs, f"{CLEAR}:0,1,2,3,4")]
    assert keys == [f"{CLEAR}/{arm}/seed-{seed}" for arm in ("ar", "dlm") for seed in range(5)]
    with pytest.raises(WorkspaceError, match="no manifest names this run") as error:
        collect_runs(context, refs, f"{CLEAR}:0,1,2,3,4;{NEAR}:2")
    assert error.value.field == f"{NEAR}/ar/seed-2"
    with pytest.raises(WorkspaceError, match="no manifest names this run") as error:
        collect_runs(context, refs)
    assert error.value.field == f"{CLEAR}/ar/seed-5", "the whole study demands all"

    later = [evaluated(context, NEAR, arm, [2]) for arm in ("ar", "dlm")]
    state = read_rounds(context.study, context.store).model_copy(
        update={"runs": tuple(run for ref in refs for run in ref.runs)}
    )
    keep(context, state)
    joined = [run.id.key for run, _ in collect_runs(context, later, f"{NEAR}:2")]
    assert joined == [*keys, f"{NEAR}/ar/seed-2", f"{NEAR}/dlm/seed-2"]
    assert len(collect_runs(context, later, f"{CLEAR}:0;{NEAR}:2")) == 12, "an earlier round's run need not run again"


def test_an_altered_evaluation_of_an_earlier_round_is_seen(context: StudyContext) -> None:
    refs = [evaluated(context, CLEAR, arm, range(5)) for arm in ("ar", "dlm")]
    state = read_rounds(context.study, context.store).model_copy(
        update={"runs": tuple(run for ref in refs for run in ref.runs)}
    )
    keep(context, state)
    context.store.path(context.store.name_of(refs[0].runs[0].evaluations[0].uri)).write_text("{}")
    with pytest.raises(StorageError) as error:
        collect_runs(context, [evaluated(context, NEAR, "ar", [0])], f"{NEAR}:0")
    assert error.value.code == "storage.altered"


def test_costs_are_measured_hours_and_for_the_rest_follow_the_flops(study: StudyConfig, context: StudyContext) -> None:
    unit, planned = run_costs(study, [])
    assert unit == "FLOPs"
    assert planned[NEAR, "ar"] == pytest.approx(2 * planned[CLEAR, "ar"], rel=0.1)
    refs: list[EvaluationsRef] = [evaluated(context, CLEAR, arm, [0, 1]) for arm in ("ar", "dlm")]
    unit, costs = run_costs(study, collect_runs(context, refs, f"{CLEAR}:0,1"))
    assert unit == "hours"
    assert costs[CLEAR, "ar"] == pytest.approx(0.1)
    rate = 0.2 / (planned[CLEAR, "ar"] + planned[CLEAR, "dlm"])
    assert costs[NEAR, "dlm"] == pytest.approx(planned[NEAR, "dlm"] * rate)


def test_a_reader_is_told_of_seeds_that_have_not_run(study: StudyConfig, context: StudyContext) -> None:
    runs = evaluated(context, CLEAR, "ar", range(8)).runs
    (note,) = missing_note(study, runs[:5])
    assert "5 of 8 planned seeds have run in this cell, and it is judged at 5, 8 seed pairs only" in note
    assert missing_note(study, runs) == ()


def test_a_part_of_a_study_without_looks_is_neither_planned_nor_analysed(study: StudyConfig, tmp_path: Path) -> None:
    bare = study.model_copy(update={"analysis": study.analysis.model_copy(update={"looks": ()})})
    with open_study(bare, str(tmp_path / "bare")) as context:
        for part in (plan_groups, lambda c, _, s: analyse_stage(c, [], promotion="verdict", selected=s)):
            with pytest.raises(StudyError, match="looks only, and there are none"):
                part(context, 1, f"{CLEAR}:0,1")


def test_next_counts_the_runs_that_are_trained(
    trained: tuple[StudyConfig, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, workspace = trained
    shutil.copytree(workspace, tmp_path / "ws")
    grown = edited(study, lambda raw: (raw.update(seeds=8), raw["analysis"].update(looks=[5, 8])))
    file = tmp_path / "grown.json"
    file.write_text(grown.model_dump_json())
    command = ["next", str(file), "--out", str(tmp_path / "ws")]

    assert main(command) == 0
    text = capsys.readouterr().out
    assert "u512-pico: open (0 seed pairs judged, 2 trained): nothing is known of it yet" in text
    assert "Next:  6 runs, about " in text
    assert "nothing is known of it yet; 3 more seeds bring it to its look at 5." in text, "two of five are trained"
    assert "4 other runs of this selection are trained and reused" in text
    *_, spent, run = text.splitlines()
    assert spent.endswith("hours of the full grid (25%)"), "4 of 16 runs, of two arms at equal cost"
    assert run == f"Run:   crossover run {file} --rounds --out {tmp_path / 'ws'}", "there is something to train"
    assert main([*command, "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert f"Run:   {state['command']}" == run
    assert state["cost"] == pytest.approx(sum(run["cost"] for run in state["next_runs"]))
    assert "3 more seeds" in state["next_runs"][0]["reason"]
    assert len(state["untrained"]) == 12
    seconds = trained_seconds(
        grown, open_store(str(tmp_path / "ws")), plan_reuse(grown, open_store(str(tmp_path / "ws"))).trained
    )
    assert len(seconds) == 4
    assert f"Spent: {sum(seconds.values()) / 3600:.3g} of " in text

    part = edited(study, lambda raw: raw.update(seeds=[3, 4, 5, 6, 7, 0, 1]))
    run_stages(part, str(tmp_path / "ws"))
    capsys.readouterr()
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "u512-pico: open (0 seed pairs judged, 7 trained): enough seed pairs are trained for the look at 5" in text
    assert (
        "Next:  nothing to train; 10 runs are trained and not yet analysed under these looks: u512-pico:0,1,3,4,5"
        in text
    )
    assert f"Run:   crossover run {file} --rounds --out {tmp_path / 'ws'}" in text
    assert "hours of the full grid (8" in text, "14 of 16 runs: 87.5%"


def test_plan_speaks_of_looks_when_nothing_is_to_be_trained(
    trained: tuple[StudyConfig, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, workspace = trained
    file = tmp_path / "looks.json"
    file.write_text(edited(study, lambda raw: raw["analysis"].update(looks=[5])).model_dump_json())
    assert main(["plan", str(file), "--out", str(workspace), "--no-measure"]) == 0
    text = capsys.readouterr().out
    assert "nothing to train" in text
    assert "judged at 5 seed pairs; the study has 2 seeds, so that it never reaches 5" in text
    assert "up to the first" not in text


def test_hours_come_from_manifests_that_are_here_alone(trained: tuple[StudyConfig, Path], tmp_path: Path) -> None:
    study, workspace = trained
    shutil.copytree(workspace, tmp_path / "ws")
    grown = edited(study, lambda raw: (raw.update(seeds=5), raw["analysis"].update(looks=[5])))
    store = open_store(str(tmp_path / "ws"))
    assert next_round(grown, store).unit == "hours"
    for manifest in (tmp_path / "ws" / "runs").rglob("step-*/manifest.json"):
        manifest.unlink()
    assert trained_seconds(grown, store, [RunId("u512-pico", "ar", 0)]) == {}
    assert read_rounds(grown, store, [RunId("u512-pico", "ar", 0)]).unit == "FLOPs"


def test_a_later_round_proposes_only_runs_that_are_not_trained(
    study: StudyConfig, context: StudyContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_stage(context)
    one_round(context, FIRST)
    before = next_round(study, context.store)
    assert (len(before.next_runs), [cell.trained for cell in before.cells]) == (6, [5, 5])
    extra = (RunId(NEAR, "ar", 5), RunId(NEAR, "dlm", 5), RunId(CLEAR, "ar", 5))
    reuse = replace(plan_reuse(study, context.store), trained=extra)
    monkeypatch.setattr(round_state, "plan_reuse", lambda *_: reuse)
    state = next_round(study, context.store)
    assert [(run.arm, run.seed) for run in state.next_runs] == [("ar", 6), ("dlm", 6), ("ar", 7), ("dlm", 7)]
    assert state.next_selection == before.next_selection == f"{NEAR}:5,6,7"
    assert {cell.cell: (cell.pairs, cell.trained) for cell in state.cells} == {CLEAR: (5, 5), NEAR: (5, 6)}
    assert state.spent == pytest.approx(before.spent + 0.1 + 2 * 0.2)
    text = commands.lines(study, state, "crossover run growing.yaml")
    assert "2 other runs of this selection are trained and reused" in text[-2]


def test_next_prints_the_round_to_come(study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "growing.json"
    file.write_text(study.model_dump_json())
    assert main(["next", str(file), "--out", str(tmp_path / "ws")]) == 0
    text = capsys.readouterr().out
    assert f"{CLEAR}: open (0 seed pairs judged): nothing is known of it yet; 5 more seeds" in text
    assert "Next:  20 runs, about " in text
    assert text.splitlines()[-3].endswith(FIRST)
    assert text.splitlines()[-2].startswith("Spent: 0 of ")
    assert main(["next", str(file), "--out", str(tmp_path / "ws"), "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert state["next_selection"] == FIRST
    assert "runs" not in state
    assert main(["next", "demo", "--out", str(tmp_path / "other")]) == 2
    refused = capsys.readouterr().err
    assert "analysis.looks: a study in rounds is judged at the plan's looks only" in refused
    assert "`crossover run demo --print-study > mine.yaml` writes the preset to edit" in refused


def test_next_says_what_no_round_settles(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(analyse, "draw_samples", lambda *_: {})
    both = edited(study_of(corpus), lambda raw: raw["analysis"].update(comparisons=["matched", "best-so-far"]))
    study = edited(both, lambda raw: raw["grid"].update(unique_tokens=[512]))
    with open_study(study, str(tmp_path / "ws")) as context:
        prepare_stage(context)
        references = [evaluated(context, CLEAR, arm, range(5)) for arm in ("ar", "dlm")]
        analyse_stage(context, references, promotion="never", selected=f"{CLEAR}:0,1,2,3,4")
        analyses = read_analyses(tmp_path / "ws" / "analysis" / "analysis.json")
        command = argparse.Namespace(study="mine.yaml", out=str(tmp_path / "ws"), registry=None, json=False)
        monkeypatch.setattr(commands, "study_of", lambda _: study)
        assert commands.next(command) == 0
        assert "Open:" not in capsys.readouterr().out, "both halves of the answer are known"
        open_half = [
            v.model_copy(update={"outcome": "insufficient evidence"}) if v.comparison == "best-so-far" else v
            for v in analyses[CLEAR].verdicts
        ]
        unclear = {CLEAR: analyses[CLEAR].model_copy(update={"verdicts": tuple(open_half)})}
        write_rounds(context, collect_runs(context, references, f"{CLEAR}:0,1,2,3,4"), unclear, selection="")
    assert commands.next(command) == 0
    text = capsys.readouterr().out
    assert f"{CLEAR}: settled (5 seed pairs judged)" in text
    assert (
        f"Next:  nothing\nOpen:  {CLEAR}: still open: best so far (insufficient evidence); 6 planned runs not trained "
        f"(seeds 5, 6, 7, about 0.6 hours): `crossover run mine.yaml --out {tmp_path / 'ws'}` trains them\n"
        "       only the headline verdict closes a cell\n"
    ) in text
