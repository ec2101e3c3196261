"""`crossover advise` on a study that was run: the same answer in every form, and what is no budget or no study."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossover.cli import main
from crossover.files import read_json, write_json
from crossover.model.model_presets import preset
from crossover.report import ReportContext
from crossover.stages.workspace import Workspace
from crossover.storage import open_store
from crossover.study.study_config import StudyConfig
from tests.crossover.stages.trained_study import edited


@pytest.fixture
def workspace(trained: tuple[StudyConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSOVER_HOME", str(tmp_path))
    return Path(shutil.copytree(trained[1], tmp_path / "reuse"))


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["advise", *arguments, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    return dict(row)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    return capsys.readouterr().err


def test_no_budget_and_the_end_of_the_runs_are_one_question(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = answer(capsys, str(workspace))
    assert plain["choose"] == plain["trained_to_end"]["choose"] == "cannot say"
    assert plain["text"] == "Insufficient evidence."
    assert plain["because"].endswith(
        "DLM's validation loss is an upper bound (NELBO): the exact one is as low or lower."
    )
    assert answer(capsys, str(workspace), "--flops", f"{plain['flops']:.3g}") == plain
    epochs = answer(capsys, str(workspace), "--epochs", "4")
    assert {**epochs, "flops": 0, "epochs": None} == {**plain, "flops": 0}
    assert main(["report", str(workspace)]) == 0
    assert f"ANSWER: {plain['text']}" in capsys.readouterr().out
    report = ReportContext.model_validate_json((workspace / "analysis" / "report.json").read_text("utf-8"))
    assert report.overview.advice[0].choose == plain["choose"]
    assert plain["text"] in (workspace / "analysis" / "report.html").read_text("utf-8")


def test_an_experiment_has_its_price(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", str(workspace)]) == 0
    lines = capsys.readouterr().out.splitlines()
    because = lines.index(next(text for text in lines if text.startswith("  Because: ")))
    assert lines[because + 1].startswith("    "), "one sentence a line"
    assert all(text.endswith(".") for text in lines[because:])
    experiments = [text for text in lines if text.startswith(("  Cheapest experiment that could change", "  Or: "))]
    assert len(experiments) > 1
    assert all(" FLOPs, about " in text for text in experiments)
    before = answer(capsys, str(workspace), "--epochs", "0.3")
    assert (
        "for which every run of the study trains anew from zero: 4 runs (`evaluation: {first_epoch: 0.125}`), "
        in before["cheapest"]
    )
    (experiment,) = before["experiments"]
    assert set(experiment) == {"what", "edit", "flops", "seconds", "note", "text"}
    assert (experiment["edit"], experiment["text"]) == ("evaluation: {first_epoch: 0.125}", before["cheapest"])
    assert "of training at the speed of these runs" in before["cheapest"]


def test_a_model_may_be_named(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = answer(capsys, str(workspace))
    size = ("--unique-tokens", "512", "--parameters")
    assert answer(capsys, str(workspace), *size, "pico") == plain
    assert answer(capsys, str(workspace), *size, "nano")["parameters"] == 133_888
    assert "did you mean nano?" in refusal(capsys, "advise", str(workspace), *size, "nno")


def test_a_named_model_has_the_rows_of_the_study_s_tokenizer(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = read_json(workspace / "study.json")
    study["study"]["data"]["tokenizer"] = "bpe:8192"
    write_json(workspace / "study.json", study)
    found = answer(capsys, str(workspace), "--unique-tokens", "512", "--parameters", "nano")["parameters"]
    assert found == preset("nano", vocab_size=8192, max_length=1).active_parameters > 133_888


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--flops -1", "--flops: is -1, which is no budget; give a positive number of training FLOPs"),
        ("--flops nan", "--flops: is nan"),
        ("--epochs 0", "--epochs: is 0, which is no budget; give a positive number of epochs"),
        ("--flops 1e9 --epochs 2", "leave one of them out"),
        ("--flops 1", "less than one optimizer step"),
        ("--unique-tokens 1.5 --parameters 9", "--unique-tokens: is 1.5, which is no number of tokens"),
        ("--unique-tokens 512 --parameters 0.5", "--parameters: is 0.5"),
        ("--unique-tokens 512", "--parameters: is missing"),
        ("--unique-tokens 1024 --parameters pico --epochs 0.5", "epochs: is 0.5, less than one epoch of 1,024 tokens"),
        ("--unique-tokens 1024 --parameters pico --epochs 0.5", "give a budget of 1 epoch or more"),
        ("--parameters nano", "--unique-tokens: is missing"),
        ("--unique-tokens 1e6 --parameters 1e6 --flops 1e9", "less than one epoch of 1,000,000 tokens"),
    ],
)
def test_what_is_no_budget_is_refused(
    workspace: Path, capsys: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    error = refusal(capsys, "advise", str(workspace), *arguments.split())
    assert said in error
    assert "[advise.bad-budget]" in error


@pytest.mark.parametrize("verb", ["advise", "report"])
def test_what_is_no_study_is_told_where_one_is(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    (tmp_path / "README.md").touch()
    for place, said in (
        (tmp_path / "README.md", f"is a file, not the folder of a study; name the folder of a study: {workspace}"),
        ("", f"is no name of a folder; name the folder of a study: {workspace}"),
        ("demo", "is a preset, not the folder of a study; run `crossover run demo` first"),
        (tmp_path, f"it is a folder of studies; name one: {workspace}"),
        (workspace / "study.json", f"is a result of a study, not its folder; name its folder: {workspace}"),
        (workspace / "analysis" / "report.json", f"name its folder: {workspace}"),
        ("nowhere", "holds no report"),
    ):
        assert said in refusal(capsys, verb, str(place))
    (tmp_path / "demo").mkdir()
    assert f"name its folder: {tmp_path / 'demo'} " in refusal(capsys, verb, "demo")


def test_a_result_is_no_study_either(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"name its folder: {workspace}" in refusal(capsys, "next", str(workspace / "study.json"))
    own = tmp_path / "mine" / "study.json"
    own.parent.mkdir()
    own.write_text(StudyConfig(name="reuse").model_dump_json())
    assert main(["advise", str(own)]) == 0, "a file of that name which no study wrote"
    assert "Insufficient evidence" in capsys.readouterr().out


def test_a_misspelt_preset_is_corrected(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean demo?" in refusal(capsys, "next", "dmo")


def test_a_report_from_before_halves_were_recorded_is_read(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = answer(capsys, str(workspace))
    context = ReportContext.model_validate_json((workspace / "analysis" / "report.json").read_text("utf-8"))
    raw = context.model_dump(mode="json")
    for advice in raw["overview"]["advice"]:
        for field in ("epochs", "basis", "trained_to_end", "alternatives"):
            del advice[field]
    older = ReportContext.model_validate(raw)
    assert older.cells == context.cells
    assert older.overview.advice[0].trained_to_end is None
    assert plain["trained_to_end"] is not None


def test_an_analysis_of_an_earlier_revision_is_told_first(
    workspace: Path, trained: tuple[StudyConfig, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = edited(trained[0], lambda raw: (raw.update(seeds=8), raw["analysis"].update(looks=[5, 8])))
    file = tmp_path / "later.json"
    file.write_text(later.model_dump_json())
    for verb in ("advise", "report"):
        assert main([verb, str(workspace)]) == 0
        assert "earlier revision" not in capsys.readouterr().out
        assert main([verb, str(file)]) == 0
        assert capsys.readouterr().out.startswith(
            "The analysis is of an earlier revision of this study: 2 seeds, no looks (now 8 seeds, looks 5, 8); "
            f"`crossover run {file} --rounds` trains what is missing and analyses it anew (`crossover plan` has the "
            "price).\n"
        )
    Workspace(str(workspace)).claim(later)
    assert main(["advise", str(workspace), "--json"]) == 0
    streams = capsys.readouterr()
    assert json.loads(streams.out)
    assert streams.err.startswith(
        "The analysis is of an earlier revision of this study: 2 seeds, no looks (now 8 seeds"
    )


@pytest.mark.parametrize("verb", ["advise", "report"])
def test_a_page_of_before_experiments_were_recorded_is_told_to_be_renewed(
    workspace: Path, trained: tuple[StudyConfig, Path], capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    path = workspace / "analysis" / "report.json"
    raw = json.loads(path.read_text("utf-8"))
    for advice in raw["overview"]["advice"]:
        del advice["experiments"]
    path.write_text(json.dumps(raw))
    (path.parent / "manifest.json").unlink()
    open_store(str(workspace)).publish("analysis")
    assert main([verb, str(workspace)]) == 0
    said = f"Written by an earlier version of the advice: run `crossover analyse {workspace}` to renew the page.\n"
    assert capsys.readouterr().out.startswith(said)
    assert main(["analyse", str(workspace)]) == 0
    capsys.readouterr()
    assert main([verb, str(workspace)]) == 0
    assert "earlier version" not in capsys.readouterr().out, "it was renewed"


def test_next_names_the_studies_of_a_folder(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"is a folder of studies, not a study; name one: {workspace}" in refusal(capsys, "next", str(tmp_path))


def test_the_advised_first_epoch_gives_a_checkpoint_at_the_budget(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is saved at the first step from first_epoch on."""
    from crossover.training.run_schedule import run_schedule

    study = StudyConfig.model_validate(read_json(workspace / "study.json")["study"])
    cell = study.cells[0]
    steps = run_schedule(study.training, study.evaluation_steps(cell)).steps
    for epoch in (0.26, 0.3):
        edit = yaml.safe_load(answer(capsys, str(workspace), "--epochs", str(epoch))["experiments"][0]["edit"])
        raw = study.model_dump(mode="json")
        raw["evaluation"] |= edit["evaluation"]
        first = StudyConfig.model_validate(raw).evaluation_steps(cell)[0]
        assert 0 < first * study.training.epochs / steps <= epoch


def test_a_refused_analysis_leaves_the_workspace_to_its_study(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (workspace / "study.json").read_bytes()
    raw = read_json(workspace / "study.json")["study"] | {"seeds": 6}
    (tmp_path / "grown.yaml").write_text(yaml.safe_dump(raw))
    assert main(["analyse", str(tmp_path / "grown.yaml"), "--out", str(workspace)]) == 2
    assert "workspace.unfinished-study" in capsys.readouterr().err
    assert (workspace / "study.json").read_bytes() == before
