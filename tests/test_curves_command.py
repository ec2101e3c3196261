"""`crossover analyse --curves`: verdicts on anybody's curves; bad input is named, never a traceback."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from crossover.analysis import Analysis, AnalysisPlan, MetricPlan, analyse
from crossover.cli import main
from tests.crossover.curve_files.curve_tables import Row, changed, rows, table, write

CELL = {"unique_tokens": 1000, "parameters": 9000}
METRIC = ["--metric", "loss:lower:0.02"]
Capture = pytest.CaptureFixture[str]


def run(path: Path, *flags: str) -> int:
    return main(["analyse", "--curves", str(path), *flags])


def test_a_file_gives_the_verdicts_of_analyse(tmp_path: Path, capsys: Capture) -> None:
    path = write(tmp_path / "runs.csv", table(rows()))
    assert run(path, *METRIC, "--json") == 0
    found = Analysis.model_validate(json.loads(capsys.readouterr().out)["curves"])
    plan = AnalysisPlan(metrics=(MetricPlan(name="loss", direction="lower", delta=0.02),), axes=("tokens",))
    given = {name: [row[name] for row in rows()] for name in rows()[0]}
    assert found.verdicts == analyse(given, plan).verdicts
    assert found.headline.outcome == "crossover"
    assert found.headline.crossing is not None
    assert found.headline.crossing.at == pytest.approx(1e5, rel=0.3)


@pytest.mark.parametrize("crossing", [1e5, 1.0, 1e12])
def test_results_name_the_arms_that_were_compared(tmp_path: Path, capsys: Capture, crossing: float) -> None:
    names = {"ar": "adamw", "dlm": "muon"}
    path = write(
        tmp_path / "runs.csv", table([row | {"arm": names[str(row["arm"])]} | CELL for row in rows(crossing=crossing)])
    )
    arms = ["--baseline", "adamw", "--candidate", "muon"]
    assert run(path, *METRIC, *arms, "--json") == 0
    text = capsys.readouterr().out
    (analysis,) = json.loads(text).values()
    head = Analysis.model_validate(analysis).headline
    assert head.outcome == {1e5: "crossover", 1.0: "candidate", 1e12: "baseline"}[crossing]
    assert (head.baseline, head.candidate) == ("adamw", "muon")
    assert head.crossing is None or head.crossing.direction == "baseline→candidate"
    assert run(path, *METRIC, *arms, "--out", str(tmp_path / "out")) == 0
    texts = [text, capsys.readouterr().out]
    texts += [file.read_text("utf-8") for file in sorted((tmp_path / "out").iterdir())]
    for text in texts:
        assert "adamw" in text and "muon" in text
        assert not re.search(r"\b(AR|DLM)\b", re.sub(r"[A-Za-z0-9+/=]{80,}", "", text))


def test_several_cells_have_a_report_with_a_map(tmp_path: Path, capsys: Capture) -> None:
    every: list[Row] = []
    for tokens, place in ((1000, 6e4), (2000, 1e5), (4000, 2e5)):
        every += [row | {"unique_tokens": tokens, "parameters": 9000} for row in rows(crossing=place)]
    path = write(tmp_path / "runs.csv", table(every))
    assert run(path, *METRIC, "--out", str(tmp_path / "out")) == 0
    assert "[u1000-n9000] the DLM's upper bound falls below AR's loss at epoch" in capsys.readouterr().out
    assert {"report.html", "report.md", "report.json", "analysis.json", "overview.json"} == {
        file.name for file in (tmp_path / "out").iterdir()
    }
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "log unique tokens" in text
    assert "Laws of the data-constrained regime" in text and "| AR | monotone" in text
    assert main(["report", str(tmp_path)]) == 2


def test_a_plan_may_be_a_file_or_part_of_a_study(tmp_path: Path, capsys: Capture) -> None:
    path = write(tmp_path / "runs.csv", table(rows()))
    plan = {"metrics": [{"name": "loss", "direction": "lower", "delta": 0.02}], "axes": ["tokens"], "alpha": 0.01}
    for name, whole in (("plan.yaml", plan), ("study.yaml", {"name": "s", "analysis": plan})):
        write(tmp_path / name, yaml.safe_dump(whole))
        assert run(path, "--plan", str(tmp_path / name)) == 0
        assert "99 % interval" in capsys.readouterr().out
    assert run(path, "--plan", str(tmp_path / "plan.yaml"), *METRIC) == 2
    assert "--metric: stands beside --plan" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "which side of one is better is never guessed"),
        (["--metric", "loss"], "is not NAME:lower:DELTA"),
        (["--metric", "loss:lower:0.1:bound"], "NAME:lower:DELTA:exact"),
        (["--metric", "loss:down:1"], "is not NAME:lower:DELTA"),
        (["--metric", "loss:lower:-1"], "is not NAME:lower:DELTA"),
        (["--metric", "bpb:lower:0.1"], "the plan's metric 'bpb' has no rows"),
        ([*METRIC, "--candidate", "mdm"], "mdm"),
        ([*METRIC, "--baseline", "dlm"], "are both 'dlm'"),
        ([*METRIC, "--tuned", "ar-decay"], "the plan's tuned 'ar-decay' has no rows; the arms are 'ar', 'dlm'"),
        ([*METRIC, "--axes", "epochs"], "epochs"),
        ([*METRIC, "--axes", "steps"], "--axes"),
        ([*METRIC, "--axes", "flops"], "flops: no such column"),
        ([*METRIC, "--comparisons", "best"], "--comparisons"),
        ([*METRIC, "--alpha", "2"], "--alpha"),
        ([*METRIC, "--alpha", "1e-20"], "--alpha: should be greater than or equal to 0.000001, found 1e-20"),
        ([*METRIC, "--early", "0"], "--early: '0' is no window"),
        ([*METRIC, "--late", "0.1:0.2"], "must be increasing"),
        ([*METRIC, "--unique-tokens", "0.5"], "--unique-tokens"),
        ([*METRIC, "--unique-tokens", "1e30"], "--unique-tokens: 1e+30 is no positive whole number below 2^53"),
        ([*METRIC, "--plan", "absent.yaml"], "--metric: stands beside --plan"),
        (["--plan", "absent.yaml"], "--plan: absent.yaml cannot be read"),
        (["--wide", "--metric", "nll:lower:0.1"], "nll: no such column"),
    ],
)
def test_wrong_flags_are_named(flags: list[str], said: str, tmp_path: Path, capsys: Capture) -> None:
    assert run(write(tmp_path / "runs.csv", table(rows())), *flags) == 2
    assert said in capsys.readouterr().err


def test_a_study_or_a_file_and_not_both(tmp_path: Path, capsys: Capture) -> None:
    assert main(["analyse"]) == 2
    assert "STUDY: is missing" in capsys.readouterr().err
    assert main(["analyse", "smoke", "--curves", "x.csv"]) == 2
    assert "stands beside --curves" in capsys.readouterr().err
    assert main(["analyse", "smoke", "--unique-tokens", "9"]) == 2
    assert "--unique-tokens: is for --curves" in capsys.readouterr().err
    assert run(tmp_path / "absent.csv", *METRIC) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "metrics: [{name: loss, direction: down, delta: 0.02}]",
            "metrics.0.direction: 'down' is not 'lower' or 'higher'",
        ),
        ("metrics: [{name: loss, direction: lower, delta: 0.02}]\nalfa: 1", "alfa: unknown field; did you mean alpha?"),
        ("metrics: [loss]", "metrics.0"),
        ("alpha: 0.01\nalpha: 0.05", "line 2, column 1: the key 'alpha' stands twice, first in line 1"),
        ("[1]", "plan.yaml holds no fields"),
        ("[" * 5000, "plan.yaml cannot be read"),
        ("", "plan.yaml holds no fields"),
        ("name: x\nanalysis:", "no metric is named"),
    ],
)
def test_wrong_plans_are_named(text: str, said: str, tmp_path: Path, capsys: Capture) -> None:
    path = write(tmp_path / "runs.csv", table(rows()))
    assert run(path, "--plan", str(write(tmp_path / "plan.yaml", text))) == 2
    assert said in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    path = write(tmp_path / "runs.csv", table(rows()))
    for out in (path, path / "below"):
        assert run(path, *METRIC, "--out", str(out)) == 2
        said = capsys.readouterr()
        assert "cannot be written" in said.err and not said.out


def test_cells_may_have_any_name(tmp_path: Path, capsys: Capture) -> None:
    names = ['a"b\\', "../c", "<script>"]
    path = write(tmp_path / "runs.csv", table([row | {"cell": name} for name in names for row in rows()]))
    assert run(path, *METRIC, "--json", "--out", str(tmp_path / "out")) == 0
    assert sorted(json.loads(capsys.readouterr().out)) == sorted(names)
    assert "<script>" not in (tmp_path / "out" / "report.md").read_text("utf-8")
    assert not (tmp_path / "c").exists()


def test_what_is_wrong_in_one_of_several_cells_says_which(tmp_path: Path, capsys: Capture) -> None:
    half = [row | {"cell": "b"} for row in rows() if row["arm"] == "ar"]
    path = write(tmp_path / "runs.csv", table([*(row | {"cell": "a"} for row in rows()), *half]))
    assert run(path, *METRIC) == 2
    assert "in cell 'b', the plan's candidate 'dlm' has no rows" in capsys.readouterr().err


DOUBTFUL: dict[str, Callable[[Row], Row | None]] = {
    "one seed": lambda row: row if row["seed"] == 0 else None,
    "unpaired seeds": lambda row: row | {"seed": int(str(row["seed"])) + 9 * (row["arm"] == "dlm")},
    "no overlap in tokens": lambda row: row | {"tokens": int(str(row["tokens"])) + 10**8 * (row["arm"] == "dlm")},
    "an arm all NaN": lambda row: row | {"value": "nan" if row["arm"] == "dlm" else row["value"]},
    "a constant metric": lambda row: row | {"value": 1.0},
    "four seeds": lambda row: row if int(str(row["seed"])) < 4 else None,
    "one point": lambda row: row if row["tokens"] == 10000 else None,
}
REFUSED: dict[str, Callable[[Row], Row | None]] = {
    "a point twice": lambda row: row | {"tokens": 20000 if row["tokens"] == 10000 else row["tokens"]},
    "an arm is missing": lambda row: row if row["arm"] == "ar" else None,
    "negative tokens": lambda row: row | {"tokens": -int(str(row["tokens"]))},
    "tokens fall while FLOPs rise": lambda row: row | {"flops": 1e12 / int(str(row["tokens"]))},
    "tokens fall while steps rise": lambda row: row | {"step": 10**7 - int(str(row["tokens"]))},
    "a count beyond all counting": lambda row: row | {"unique_tokens": 1e300},
    "FLOPs without end": lambda row: row | {"flops": "inf"},
    "half a seed": lambda row: row | {"seed": 0.5},
}


@pytest.mark.parametrize("what", DOUBTFUL)
def test_doubtful_curves_give_insufficient_evidence_with_a_reason(what: str, tmp_path: Path, capsys: Capture) -> None:
    path = write(tmp_path / "runs.csv", table(changed(rows(), DOUBTFUL[what])))
    assert run(path, *METRIC, "--json") == 0
    verdicts = json.loads(capsys.readouterr().out)["curves"]["verdicts"]
    assert {verdict["outcome"] for verdict in verdicts} == {"insufficient evidence"}
    assert all(verdict["reason"] for verdict in verdicts)


@pytest.mark.parametrize("what", REFUSED)
def test_curves_that_cannot_be_are_refused_by_name(what: str, tmp_path: Path, capsys: Capture) -> None:
    given = changed(rows(), REFUSED[what])
    if what == "a point twice":
        given += given[:1]
    assert run(write(tmp_path / "runs.csv", table(given)), *METRIC) == 2
    said = capsys.readouterr().err
    assert said.startswith("crossover: ") and "[curves." in said


def test_no_mutation_of_a_file_ends_in_a_traceback(tmp_path: Path, capsys: Capture) -> None:
    """Bytes dropped, doubled, swapped and replaced: an answer, or exit 2 with a named problem."""
    whole = table(rows(seeds=range(2)))
    draws = random.Random(5)  # noqa: S311 - a test's dice
    codes = []
    for _ in range(150):
        text = list(whole)
        for _ in range(draws.randint(1, 6)):
            i = draws.randrange(len(text))
            text[i] = draws.choice(["", text[i] * 2, ",", "\n", '"', "nan", "-", "\0", "1e999", ";", "é", " "])
        codes.append(run(write(tmp_path / "fuzz.csv", "".join(text)), *METRIC))
        said = capsys.readouterr()
        assert codes[-1] in (0, 2)
        assert codes[-1] == 0 or said.err.startswith("crossover: ")
    assert 0 < codes.count(2) < len(codes)


def test_a_loss_is_a_bound_unless_it_is_declared_exact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "runs.csv", table(rows(crossing=1e5)))
    for metric, words in (
        ("loss:lower:0.02", "the DLM's upper bound falls below"),
        ("loss:lower:0.02:exact", "AR→DLM"),
    ):
        assert run(path, "--metric", metric, "--comparisons", "matched") == 0
        assert words in capsys.readouterr().out
