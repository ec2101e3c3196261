"""A finished study is analysed again by its verb, under its own plan or another, and nothing is trained or measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from crossover.analysis import analyse
from crossover.analysis.analysis_plan import AnalysisPlan, MetricPlan
from crossover.cli import main
from crossover.commands.analyse_command import _print_changes
from crossover.files import read_json
from crossover.stages.analyse_stage import UNPLANNED_NOTE
from crossover.study.study_config import StudyConfig


@pytest.fixture
def finished(trained: tuple[StudyConfig, Path], tmp_path: Path) -> list[str]:
    """Arguments that name a finished study, its workspace, and a registry that has never seen it."""
    study, workspace = trained
    shutil.copytree(workspace, tmp_path / "ws")
    (tmp_path / "reuse.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json")))
    registry = f"sqlite:///{tmp_path}/new.sqlite"
    return [str(tmp_path / "reuse.yaml"), "--out", str(tmp_path / "ws"), "--registry", registry]


def test_a_finished_study_is_analysed_again_without_manifests(
    finished: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not (tmp_path / "ws" / "manifests").exists()
    assert main(["analyse", *finished]) == 0
    output, progress = capsys.readouterr()
    assert "evaluate" not in progress, "nothing is measured"
    assert main(["report", str(tmp_path / "ws")]) == 0
    report = capsys.readouterr().out
    assert report.startswith("ANSWER: ")
    assert "\nTRAINED TO THE END: " in report
    assert output.startswith(report), "what `crossover report` prints"
    assert output.splitlines()[-1].startswith("Decision:  hold (")
    for sql, expected in (
        ("SELECT COUNT(*) AS n FROM v_runs WHERE status = 'done'", [{"n": 4}]),
        ("SELECT COUNT(DISTINCT study_digest) AS n FROM v_verdicts", [{"n": 1}]),
    ):
        assert main(["registry", "query", sql, "--json", *finished[3:]]) == 0
        assert json.loads(capsys.readouterr().out) == expected


def test_another_plan_gives_a_report_of_its_own(
    finished: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = {path: path.read_bytes() for path in (tmp_path / "ws" / "analysis").iterdir()}
    flags = ["--metric", "validation_bpb:lower:9", "--metric", "domain-cloze_margin:higher:0.1", "--late", "0.7:1"]
    assert main(["analyse", *finished, *flags]) == 0
    output = capsys.readouterr().out
    assert "same outcome under the study's plan" in output
    assert "not in the study's plan" in output
    assert UNPLANNED_NOTE in output
    folder = Path(output.rstrip().rpartition(" ")[2]).parent
    assert folder.parent == tmp_path / "ws" / "other-plans"
    plan = read_json(folder / "analysis.json")["u512-pico"]["plan"]
    assert (plan["late_window"], plan["metrics"][0]["delta"], len(plan["metrics"])) == ([0.7, 1.0], 9.0, 2)
    assert plan["metrics"][1]["unit"] == "nats/token", "completed from the catalogue"
    assert UNPLANNED_NOTE in (folder / "report.md").read_text("utf-8")
    assert {path: path.read_bytes() for path in planned} == planned, "the study's own report stays"
    assert main(["registry", "query", "SELECT * FROM v_verdicts", "--json", *finished[3:]]) == 0
    assert json.loads(capsys.readouterr().out) == [], "only the study's own verdicts are recorded"


def test_to_look_under_another_plan_first_is_no_way_to_make_it_the_planned_one(
    finished: list[str], tmp_path: Path
) -> None:
    workspace = tmp_path / "ws"
    (workspace / "analyses.json").unlink()
    shutil.rmtree(workspace / "analysis")
    assert main(["analyse", *finished, "--late", "0.7:1"]) == 0
    file = Path(finished[0])
    study = yaml.safe_load(file.read_text())
    study["analysis"]["late_window"] = [0.7, 1.0]
    file.write_text(yaml.safe_dump(study))
    assert main(["analyse", *finished]) == 0
    assert UNPLANNED_NOTE in read_json(workspace / "analysis" / "analysis.json")["u512-pico"]["notes"]


def test_a_verdict_that_changes_is_shown_beside_the_planned_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps = [(arm, seed, tokens) for arm in ("ar", "dlm") for seed in range(5) for tokens in range(100, 2000, 100)]
    curves = {
        "arm": [arm for arm, _, _ in steps],
        "seed": [seed for _, seed, _ in steps],
        "tokens": [tokens for _, _, tokens in steps],
        "metric": ["loss"] * len(steps),
        "value": [3 + 0.1 * (arm == "dlm") + 0.001 * seed * (arm == "dlm") for arm, seed, _ in steps],
    }
    plans = [MetricPlan(name="loss", direction=direction, delta=0.02) for direction in ("lower", "higher")]
    planned, other = (analyse(curves, AnalysisPlan(metrics=(metric,), axes=("tokens",))) for metric in plans)
    _print_changes({"c": planned}, {"c": other}, "report.html", as_json=False)
    answered, first, second = capsys.readouterr().out.splitlines()[:3]
    assert answered == "[c] ANSWER: Choose DLM, whether you may stop early or train to the end."
    assert first.startswith("[c] DLM is better")
    before = "    CHANGED; under the study's plan: insufficient evidence: AR's loss is below the DLM's upper bound"
    assert second.startswith(before)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tuned", "ar-decay"], "'ar-decay' is not an arm of this study"),
        (["--late", "0.1:1"], "--early and --late: must be increasing, disjoint"),
        (["--comparisons", "frontier"], "--comparisons and grid.models: 'frontier' compares model sizes"),
        (["--wide"], "is for --curves"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    flags: list[str], message: str, finished: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyse", *finished, *flags]) == 2
    assert message in capsys.readouterr().err


def test_an_unfinished_study_says_what_is_missing(
    finished: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(next((tmp_path / "ws" / "runs" / "u512-pico" / "dlm" / "seed-1").iterdir()))
    assert main(["analyse", *finished]) == 2
    error = capsys.readouterr().err
    assert "is not finished" in error
    assert "missing: runs 1, evaluations 7;" in error
