"""Files of trackers: each gives the curves that were written, and what is wrong in one is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from crossover.analysis import AnalysisPlan, MetricPlan, analyse
from crossover.curve_files import split_cells
from crossover.curve_files.table import CurveTable
from crossover.curve_files.trackers import (
    RunList,
    RunNames,
    Source,
    TokenRule,
    curves_of_runs,
    is_tracked,
    read_tracked,
    source_of,
)
from crossover.curve_files.trackers.event_file import masked_crc, read_events
from crossover.errors import CurvesError
from tests.crossover.curve_files.curve_tables import rows, table, write
from tests.crossover.curve_files.mlflow_stand_in import mlflow_stand_in
from tests.crossover.curve_files.tracker_files import (
    PER_STEP,
    mlflow_csv,
    mlflow_run,
    mlruns,
    record,
    runs,
    tensorboard,
    wandb_histories,
    wandb_panel,
    write_events,
)

PATTERN = r"(?P<arm>ar|dlm)-seed(?P<seed>\d+)"
TOKEN = "t"  # noqa: S105 - of the stand-in
PLAN = AnalysisPlan(metrics=(MetricPlan(name="eval/loss", direction="lower", delta=0.02),), axes=("tokens",))
FORMS: dict[str, Callable[[Path], list[Path]]] = {
    "mlruns": lambda folder: [mlruns(folder / "mlruns")],
    "an experiment of mlruns": lambda folder: [mlruns(folder / "mlruns") / "7"],
    "mlflow csv": lambda folder: [mlflow_csv(folder)],
    "wandb panel": lambda folder: [wandb_panel(folder)],
    "wandb jsonl": lambda folder: wandb_histories(folder / "h", "jsonl"),
    "wandb parquet": lambda folder: wandb_histories(folder / "h", "parquet"),
    "tensorboard": lambda folder: [tensorboard(folder / "logs", "simple")],
    "tensorboard 2": lambda folder: [tensorboard(folder / "logs", "tensor")],
    "tensorboard, doubles": lambda folder: [tensorboard(folder / "logs", "double")],
}


def read(
    paths: Sequence[Source], pattern: str = PATTERN, *, skip: bool = False, rule: TokenRule | None = None
) -> CurveTable:
    rule = rule or TokenRule(per_step=PER_STEP)
    wanted = ["eval/loss", *([rule.metric] if rule.metric else [])]
    series = [one for path in paths for one in read_tracked(path, wanted)]
    return curves_of_runs(series, RunNames(pattern, skip_others=skip), rule)


def refused(call: Callable[[], object]) -> CurvesError:
    with pytest.raises(CurvesError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("form", FORMS)
def test_every_tracker_gives_the_curves_that_were_written(form: str, tmp_path: Path) -> None:
    paths = FORMS[form](tmp_path)
    assert all(is_tracked(path) for path in paths)
    found = read(paths)
    (cell,) = split_cells(found, PLAN)
    keys = zip(cell.curves["arm"], cell.curves["seed"], cell.curves["step"], strict=True)
    held = {(f"{a}-seed{int(s)}", int(t)): float(v) for (a, s, t), v in zip(keys, cell.curves["value"], strict=True)}
    written = {(name, step): value for name, points in runs() for step, value in points}
    assert held == pytest.approx(written, rel=1e-7)
    assert np.array_equal(found.numbers["tokens"], found.numbers["step"] * PER_STEP)
    own = {name: [row[name] for row in rows(metric="eval/loss")] for name in rows()[0]}
    verdict = analyse(cell.curves, PLAN).headline
    assert (verdict.outcome, verdict.pairs) == ("crossover", 5)
    assert verdict.crossing and (expected := analyse(own, PLAN).headline.crossing)
    assert verdict.crossing.at == pytest.approx(expected.at, rel=0.02)


def test_tables_of_curves_are_no_trackers(tmp_path: Path) -> None:
    assert not is_tracked(write(tmp_path / "runs.csv", table(rows())))
    with_more = [row | {"_step": 1, "run": "x", "step": 1} for row in rows()]
    assert not is_tracked(write(tmp_path / "more.csv", table(with_more)))


@pytest.mark.parametrize("form", ["mlruns", "mlflow csv", "wandb jsonl", "tensorboard"])
def test_wall_time_counts_from_the_first_record(form: str, tmp_path: Path) -> None:
    seconds = read(FORMS[form](tmp_path)).numbers["seconds"]
    assert sorted(set(np.round(seconds, 2))) == [float(i) for i in range(12)]


def test_tokens_of_a_metric(tmp_path: Path) -> None:
    paths = [mlruns(tmp_path / "mlruns")]
    found = read(paths, rule=TokenRule(metric="tokens_seen"))
    assert np.array_equal(found.numbers["tokens"], found.numbers["step"] * PER_STEP)
    assert found.held("metric") == ("eval/loss",)
    counts = next(iter((tmp_path / "mlruns" / "7").glob("*/metrics/tokens_seen")))
    counts.write_text("".join(counts.read_text().splitlines(keepends=True)[:-1]))
    assert "has 'tokens_seen' up to step" in refused(lambda: read(paths, rule=TokenRule(metric="tokens_seen"))).problem
    counts.unlink()
    assert "has no metric 'tokens_seen'" in refused(lambda: read(paths, rule=TokenRule(metric="tokens_seen"))).problem


@pytest.mark.parametrize("rule", [{}, {"per_step": 1.0, "metric": "t"}, {"per_step": -1.0}, {"per_step": float("nan")}])
def test_tokens_are_never_guessed(rule: dict[str, float]) -> None:
    assert refused(lambda: TokenRule(**rule)).code == "curves.bad-token-rule"  # type: ignore[arg-type]  # wrong on purpose


class TestRunNames:
    def test_those_that_do_not_match_are_listed_or_left_out(self, tmp_path: Path) -> None:
        folder = mlruns(tmp_path / "mlruns")
        for number, name in enumerate(("debug", "ar-seed0-old")):
            mlflow_run(folder / "7" / f"other{number}", name, [(1, 1.0)])
        error = refused(lambda: read([folder]))
        assert error.code == "curves.unmatched-runs"
        assert "2 of 12 runs are not covered: 'debug', 'ar-seed0-old'" in error.problem
        found = read([folder], skip=True)
        assert found.rows == read([mlruns(tmp_path / "again")]).rows
        assert any("'debug'" in note for note in found.notes)

    def test_two_runs_of_one_arm_and_seed(self, tmp_path: Path) -> None:
        folder = mlruns(tmp_path / "mlruns")
        mlflow_run(folder / "7" / "third", "ar-seed00", [(1, 1.0)])
        error = refused(lambda: read([folder]))
        assert error.code == "curves.twin-runs"
        assert "'ar-seed00' are all arm 'ar', seed 0" in error.problem
        mlflow_run(folder / "7" / "twin", "ar-seed0", [(1, 1.0)])
        error = refused(lambda: read([folder]))
        assert error.code == "curves.twin-runs"
        assert "two runs are named 'ar-seed0'" in error.problem and "7/twin" in error.problem

    def test_cells(self, tmp_path: Path) -> None:
        folder = mlruns(tmp_path / "mlruns")
        mlflow_run(folder / "7" / "big", "big-ar-seed0", [(1, 1.0)])
        found = read([folder], r"(?P<cell>big)?-?(?P<arm>ar|dlm)-seed(?P<seed>\d)")
        assert found.held("cell") == ("big", "curves")
        assert "cell" not in read([mlruns(tmp_path / "one cell")]).names

    @pytest.mark.parametrize("pattern", [None, "", "(", "(?P<arm>ar)", r"(?P<arm>\w+)-seed(?P<seed>\w+)x?"])
    def test_a_pattern_that_says_too_little(self, pattern: str | None) -> None:
        error = refused(lambda: RunNames(pattern).split(["ar-seedone"]))
        assert error.code == "curves.bad-run-pattern"


class TestRunLists:
    def test_ids_become_arms_and_seeds(self, tmp_path: Path) -> None:
        ids = {name: f"{number:032x}" for number, (name, _) in enumerate(runs())}
        path = mlflow_csv(tmp_path)
        text = path.read_text()
        for name, number in ids.items():
            text = text.replace(f"{name},", f"{number},")
        write(path, text)
        lines = [f"{number},{','.join(name.split('-seed'))}" for name, number in ids.items()]
        listed = write(tmp_path / "runs.csv", "\n".join(["run,arm,seed", *lines]))
        series = read_tracked(path, ["eval/loss"])
        found = curves_of_runs(series, RunList(listed), TokenRule(per_step=PER_STEP))
        (cell,) = split_cells(found, PLAN)
        (expected,) = split_cells(read([mlruns(tmp_path / "mlruns")]), PLAN)
        assert analyse(cell.curves, PLAN) == analyse(expected.curves, PLAN)
        write(listed, "\n".join(["run,arm,seed", *lines[1:]]))
        error = refused(lambda: curves_of_runs(series, RunList(listed), TokenRule(per_step=PER_STEP)))
        assert (error.code, error.field) == ("curves.unmatched-runs", "--runs")
        assert ids["ar-seed0"] in error.problem

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("run,arm\nx,ar", "row 1 lacks its run, arm or seed"),
            ("run,arm,seed\nx,ar,0\nx,ar,1", "row 2 has the run 'x' a second time"),
            ("run,arm,seed\nx,ar,one", "'x' gives the seed 'one'"),
        ],
    )
    def test_a_list_that_says_too_little(self, text: str, problem: str, tmp_path: Path) -> None:
        assert problem in refused(lambda: RunList(write(tmp_path / "runs.csv", text))).problem
        assert refused(lambda: RunList(tmp_path / "nowhere.csv")).code == "curves.bad-run-list"


class TestResumedRuns:
    def test_a_step_that_is_written_again_supersedes_what_follows(self, tmp_path: Path) -> None:
        folder = mlruns(tmp_path / "mlruns")
        file = next(iter((folder / "7").glob("*/metrics/eval/loss")))
        file.write_text("1000 5.0 10\n2000 4.0 20\n3000 3.0 30\n4000 3.5 20\n5000 2.5 40\n")
        series = next(s for s in read_tracked(folder, ["eval/loss"]) if s.superseded)
        assert series.step_P.tolist() == [10, 20, 40]
        assert series.value_P.tolist() == [5.0, 3.5, 2.5]
        assert any("2 points were left out" in note for note in read([folder]).notes)

    def test_event_files_in_the_order_of_their_start(self, tmp_path: Path) -> None:
        write_events(tmp_path / "events.out.tfevents.1700000100.h", [(20, 2.0), (40, 1.0)])
        write_events(tmp_path / "events.out.tfevents.1700000000.h", [(10, 5.0), (20, 4.0), (30, 3.0)])
        (series,) = read_tracked(tmp_path, ["eval/loss"])
        assert (series.step_P.tolist(), series.value_P.tolist()) == ([10, 20, 40], [5.0, 2.0, 1.0])
        assert series.run == tmp_path.name


class TestFaults:
    def test_deleted_runs_of_mlflow_are_passed_over(self, tmp_path: Path) -> None:
        folder = mlruns(tmp_path / "mlruns")
        mlflow_run(folder / "7" / "gone", "ar-seed0", [(1, 1.0)], stage="deleted")
        assert read([folder]).rows == 120

    def test_a_line_of_mlflow(self, tmp_path: Path) -> None:
        folder = mlruns(tmp_path / "mlruns")
        file = next(iter((folder / "7").glob("*/metrics/eval/loss")))
        file.write_text("1000 5.0 10\n2000 five 20\n")
        assert re.search(r"loss, line 2 is not .* '2000 five 20'", refused(lambda: read([folder])).problem)

    def test_a_field_of_a_table(self, tmp_path: Path) -> None:
        path = mlflow_csv(tmp_path)
        path.write_text(path.read_text().replace(",eval/loss,", ",eval/loss,x", 1))
        assert "metrics.csv, row 1: could not convert" in refused(lambda: read([path])).problem

    def test_nothing_there(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert "neither runs of MLflow" in refused(lambda: read([tmp_path / "empty"])).problem
        assert refused(lambda: is_tracked(tmp_path / "nowhere.csv")).code == "curves.unreadable"
        folder = mlruns(tmp_path / "mlruns")
        assert "no run with any of the metrics 'acc'" in refused(lambda: read_tracked(folder, ["acc"])).problem


class TestEventFiles:
    def test_the_checksum_is_castagnolis(self) -> None:
        plain = 0xE3069283  # of "123456789", as every definition of CRC-32C gives it
        assert masked_crc(b"123456789") == (((plain >> 15) | (plain << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    def test_a_last_record_that_is_cut_short_is_left_out(self, tmp_path: Path) -> None:
        path = write_events(tmp_path / "events.out.tfevents.1.h", [(1, 1.0), (2, 2.0)])
        whole = path.read_bytes()
        counts = []
        for length in range(len(whole) + 1):
            path.write_bytes(whole[:length])
            counts.append(len(list(read_events(path))))
        assert counts == sorted(counts)
        assert (counts[0], counts[-2], counts[-1]) == (0, 1, 2)

    def test_every_flipped_bit_is_found(self, tmp_path: Path) -> None:
        path = write_events(tmp_path / "events.out.tfevents.1.h", [(1, 1.0)])
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            error = refused(lambda: list(read_events(path)))
            assert "is no event file of TensorBoard, or is damaged at byte" in error.problem

    def test_a_record_that_is_no_event(self, tmp_path: Path) -> None:
        path = tmp_path / "events.out.tfevents.1.h"
        for content in (b"\xff" * 9, b"\x0f", b"\x0a\x7f"):
            path.write_bytes(record(content))
            assert refused(lambda: list(read_events(path))).code == "curves.unreadable"

    def test_negative_steps_and_other_values(self, tmp_path: Path) -> None:
        path = write_events(tmp_path / "events.out.tfevents.1.h", [(-1, float("nan")), (2**40, float("inf"))])
        assert [scalar.step for scalar in read_events(path)] == [-1, 2**40]


def test_a_server_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    with mlflow_stand_in(token=TOKEN) as address:
        assert "answers 401" in refused(lambda: read([source_of(address)])).problem
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
        found = read([source_of(f"{address}/#/experiments/7/runs")])
        for name in ("", "/", "/#curves"):
            assert np.array_equal(read([source_of(f"{address}{name}")]).numbers["value"], found.numbers["value"])
    written = sorted(value for _, points in runs() for _, value in points)
    assert sorted(found.numbers["value"]) == pytest.approx(written)
    assert sorted(set(np.round(found.numbers["seconds"], 2))) == [float(i) for i in range(12)]


def test_what_is_wrong_with_a_server_is_named() -> None:
    with mlflow_stand_in(experiments=("0", "7", "8")) as address:
        for fragment, problem in (("", "has several experiments"), ("#curve", "has no experiment 'curve'")):
            fault = refused(partial(read, [source_of(f"{address}/{fragment}")]))
            assert problem in fault.problem and "Default, curves, others" in fault.remedy
        assert "has no run with any of the metrics" in refused(lambda: read([source_of(f"{address}/#others")])).problem
    fault = refused(lambda: read([source_of(address.replace("http://", "http://me:secret@"))]))
    assert "Connection refused" in fault.problem and "secret" not in str(fault) and "MLFLOW_TRACKING" in fault.remedy
