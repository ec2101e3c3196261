"""`crossover import` on both databases: what it records, that it may be repeated, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crossover.cli import main
from crossover.registry import Registry
from crossover.registry.registry_records import QueryResult
from crossover.stages import imported_runs
from tests.crossover.curve_files.curve_tables import Row, changed, rows, table, write
from tests.crossover.curve_files.tracker_files import PER_STEP, mlruns, tensorboard

METRIC = ["--metric", "loss:lower:0.02"]
TRACKED = ["--metric", "eval/loss:lower:0.02", "--tokens-per-step", str(PER_STEP)]
PATTERN = ["--run-pattern", r"(?P<arm>ar|dlm)-seed(?P<seed>\d+)"]
Capture = pytest.CaptureFixture[str]


class Importing:
    """Runs the verb into one registry and one workspace."""

    def __init__(self, url: str, out: Path) -> None:
        self.url, self.out = url, out

    def __call__(self, *arguments: object, code: int = 0, name: str = "theirs") -> None:
        given = ["import", *map(str, arguments), "--study", name, "--registry", self.url, "--out", str(self.out)]
        assert main(given) == code

    def query(self, sql: str) -> QueryResult:
        with Registry.open_read_only(self.url) as registry:
            return registry.query(sql)

    def count(self, table: str) -> int:
        ((number,),) = self.query(f"SELECT COUNT(*) FROM {table}").rows
        assert isinstance(number, int)
        return number

    def everything(self) -> dict[str, object]:
        names = ("study", "run", "study_run", "attempt", "point", "analysis", "verdict", "series", "metric_def")
        return {name: sorted(map(repr, self.query(f"SELECT * FROM {name}").rows)) for name in names} | {
            path.name: path.read_bytes() for path in sorted((self.out / "analysis").iterdir())
        }


@pytest.fixture
def importing(url: str, tmp_path: Path) -> Importing:
    return Importing(url, tmp_path / "ws")


def own(tmp_path: Path, given: list[Row] | None = None, name: str = "runs.csv") -> Path:
    return write(tmp_path / name, table(given or rows()))


def test_a_table_becomes_a_study_with_runs_curves_and_verdicts(importing: Importing, tmp_path: Path) -> None:
    given = [row | {"flops": float(str(row["tokens"])) * 6e3, "stderr": 0.001} for row in rows()]
    importing(own(tmp_path, given), *METRIC)
    curves = importing.query("SELECT arm, seed, tokens, flops, seconds, value, stderr, direction, study FROM v_curves")
    written = {(r["arm"], r["seed"], r["tokens"], r["flops"], 0.0, r["value"], 0.001, "lower", "theirs") for r in given}
    assert set(curves.rows) == written
    assert importing.query("SELECT DISTINCT status, attempts FROM v_runs").rows == (("done", 1),)
    assert importing.count("v_runs") == 10
    verdicts = importing.query("SELECT axis, comparison, outcome, pairs, newest FROM v_verdicts WHERE axis = 'tokens'")
    assert set(verdicts.rows) == {
        ("tokens", comparison, "crossover", 5, 1) for comparison in ("matched", "best-so-far")
    }


def test_report_and_advise_read_the_workspace(importing: Importing, tmp_path: Path, capsys: Capture) -> None:
    facts = {"unique_tokens": 10_000, "parameters": 9000}
    importing(own(tmp_path, [row | facts for row in rows()]), *METRIC)
    printed = capsys.readouterr().out
    assert "Runs:    10, of which 10 new; study theirs, sha256:" in printed
    assert f"Report:  {importing.out}/analysis/report.html" in printed
    assert main(["report", str(importing.out)]) == 0
    assert "loss" in capsys.readouterr().out
    assert main(["advise", str(importing.out)]) == 0
    assert "10,000 unique tokens, 9,000 parameters" in capsys.readouterr().out
    assert "v_verdicts WHERE study = &#39;theirs&#39;" in (importing.out / "analysis" / "report.html").read_text(
        "utf-8"
    )
    assert importing.query("SELECT DISTINCT cell FROM v_runs").rows == (("u10000-n9000",),)
    ((epochs,),) = importing.query("SELECT MAX(epochs) FROM v_curves").rows
    assert epochs == 100.0


def test_importing_again_changes_nothing(importing: Importing, tmp_path: Path) -> None:
    importing(own(tmp_path), *METRIC)
    before = importing.everything()
    importing(own(tmp_path), *METRIC)
    assert importing.everything() == before
    importing(own(tmp_path, list(reversed(rows())), "other-name.csv"), *METRIC)
    assert importing.everything() == before, "neither the order of rows nor the file's name decides"


def test_a_changed_file_is_another_revision_that_shares_what_is_equal(importing: Importing, tmp_path: Path) -> None:
    importing(own(tmp_path), *METRIC)
    first = importing.query("SELECT digest FROM study").rows
    more = changed(rows(), lambda row: row | {"value": 2.5} if (row["arm"], row["seed"]) == ("ar", 0) else row)
    importing(own(tmp_path, more), *METRIC)
    assert importing.count("study") == 2
    assert importing.count("run") == 11, "one run has changed"
    newest = importing.query("SELECT DISTINCT study_digest FROM v_verdicts WHERE newest = 1").rows
    assert len(newest) == 1 and newest != first
    assert importing.count("v_runs") == 20
    importing(own(tmp_path, more), "--metric", "loss:lower:0.03")
    assert (importing.count("study"), importing.count("run")) == (3, 11), "another plan, the same runs"


def test_an_import_that_was_killed_goes_on(
    importing: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """The process dies while the fourth run is written: the next import has every point once."""

    class Killed(BaseException):
        pass

    whole, calls = imported_runs._points, []

    def dying(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 4:
            raise Killed
        return whole(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(imported_runs, "_points", dying)
    with pytest.raises(Killed):
        importing(own(tmp_path), *METRIC)
    monkeypatch.undo()
    importing(own(tmp_path), *METRIC)
    assert importing.count("v_curves") == importing.count("point") == len(rows())
    assert importing.query("SELECT DISTINCT status FROM v_runs").rows == (("done",),)
    assert importing.count("v_verdicts") == 2


@pytest.mark.parametrize("form", ["mlruns", "tensorboard"])
def test_trackers_give_the_same_study_as_a_table(
    importing: Importing, tmp_path: Path, form: str, capsys: Capture
) -> None:
    place = mlruns(tmp_path / "t") if form == "mlruns" else tensorboard(tmp_path / "t", "simple")
    importing(place, *TRACKED, *PATTERN)
    assert "DLM if you train past" in capsys.readouterr().out
    assert importing.query("SELECT COUNT(*), MIN(step), MAX(step), MAX(seconds) FROM v_curves").rows == (
        (len(rows()), 100, 10_000, 11.0),
    )
    assert importing.query("SELECT DISTINCT axis FROM v_verdicts").rows == (("tokens",),)
    before = importing.everything()
    importing(place, *TRACKED, *PATTERN)
    assert importing.everything() == before


def test_several_files_are_one_study(importing: Importing, tmp_path: Path, capsys: Capture) -> None:
    halves = [own(tmp_path, [r for r in rows() if r["arm"] == arm], f"{arm}.csv") for arm in ("ar", "dlm")]
    importing(*halves, *METRIC, "--json")
    (analysis,) = json.loads(capsys.readouterr().out).values()
    assert analysis["verdicts"][0]["pairs"] == 5
    importing(own(tmp_path), *METRIC)
    assert importing.count("study") == 1, "the same curves as in one file"
    bad = own(tmp_path, [r | {"tokens": "x"} for r in rows() if r["arm"] == "dlm"], "bad.csv")
    importing(halves[0], bad, *METRIC, code=2)
    assert "line 2 has 'x'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ([], "[curves.no-metric]"),
        ([*METRIC, "--tokens-per-step", "4"], "--tokens-per-step: is for files of trackers"),
        ([*METRIC, "--baseline", "gpt"], "[curves.unknown-arm]"),
        ([*METRIC, "--unique-tokens", "-1"], "[analyse.bad-unique-tokens]"),
    ],
)
def test_what_is_refused_records_nothing(
    importing: Importing, tmp_path: Path, flags: list[str], text: str, capsys: Capture
) -> None:
    importing(own(tmp_path), *flags, code=2)
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert (importing.count("study"), importing.count("run")) == (0, 0)
    assert not importing.out.exists()


def test_names_files_and_workspaces_that_do_not_fit(importing: Importing, tmp_path: Path, capsys: Capture) -> None:
    tracked = mlruns(tmp_path / "t")
    importing(own(tmp_path), *METRIC, code=2, name="no blanks please")
    assert "[import.bad-name]" in capsys.readouterr().err
    importing(tmp_path / "ws.csv", *METRIC, code=2)
    assert "FILE: " in capsys.readouterr().err
    write(tmp_path / "empty.csv", "")
    importing(tmp_path / "empty.csv", *METRIC, code=2)
    assert "FILE: empty.csv is empty" in capsys.readouterr().err
    importing(own(tmp_path), tracked, *METRIC, code=2)
    assert "[import.mixed-files]" in capsys.readouterr().err
    importing(tracked, *TRACKED, code=2)
    assert "--run-pattern: is missing" in capsys.readouterr().err
    importing(tracked, *TRACKED, *PATTERN, "--runs", "runs.csv", code=2)
    assert "[import.two-run-rules]" in capsys.readouterr().err
    importing(tracked, *TRACKED, "--run-pattern", "(?P<arm>ar)-seed(?P<seed>[0-9]+)", code=2)
    assert "'dlm-seed0'" in capsys.readouterr().err
    importing(tracked, *PATTERN, "--metric", "eval/loss:lower:0.1", code=2)
    assert "[curves.bad-token-rule]" in capsys.readouterr().err
    importing(own(tmp_path), *METRIC)
    importing(own(tmp_path), *METRIC, code=2, name="others")
    assert "holds the study 'theirs'" in capsys.readouterr().err
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "study.json").write_text('{"name": "demo"}')
    importing.out = tmp_path / "trained"
    importing(own(tmp_path), *METRIC, code=2)
    assert "[workspace.not-an-import]" in capsys.readouterr().err


def test_a_trained_studys_name_is_not_taken(
    importing: Importing, registry: Registry, tmp_path: Path, capsys: Capture
) -> None:
    importing(own(tmp_path), *METRIC, code=2, name="demo")
    assert "[registry.name-taken]" in capsys.readouterr().err
    assert importing.count("study") == 1
