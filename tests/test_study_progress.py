"""What `crossover run` shows of a study: the arm, seed and loss that run now, and no time left before it is known."""

from __future__ import annotations

import io
import json

import pytest

from crossover.commands.local_run import _follow
from crossover.commands.study_progress import StudyProgress, cell_weights
from crossover.progress import EVENT_MARK, time_text
from crossover.study.identity import RunId
from crossover.study.load_study import load_study, parse_study

RUNS = [RunId("c", arm, seed) for arm in ("ar", "dlm") for seed in (0, 1)]


def event(phase: str, run: RunId, done: int, total: int, **facts: float) -> str:
    fields = {"event": "progress", "phase": phase, "label": run.key, "done": done, "total": total, **facts}
    return EVENT_MARK + json.dumps(fields)


def feed(progress: StudyProgress, run: RunId, phase: str, began: float, seconds: float, upto: float = 1.0) -> None:
    """Events of a phase that would take so many seconds in all."""
    for done in range(int(10 * upto) + 1):
        progress.take(event(phase, run, done, 10, loss=2.5), began + seconds * done / 10)


def test_the_time_left_is_not_shown_before_every_arm_is_timed() -> None:
    progress = StudyProgress(RUNS, {"c": 1.0})
    feed(progress, RUNS[0], "pretrain", 0, 100)
    feed(progress, RUNS[0], "evaluate", 110, 10)
    assert progress.seconds_left is None
    feed(progress, RUNS[2], "pretrain", 120, 200)
    feed(progress, RUNS[2], "evaluate", 330, 80, upto=0.5)
    assert progress.seconds_left == pytest.approx(100 + 10 + 40 + 200 + 80)


def test_parallel_stages_and_larger_cells_count() -> None:
    runs = [RunId(cell, "ar", 0) for cell in ("small", "large")]
    progress = StudyProgress(runs, {"small": 1.0, "large": 4.0}, parallel=2)
    feed(progress, runs[0], "pretrain", 0, 100)
    feed(progress, runs[0], "evaluate", 100, 20)
    assert progress.seconds_left == pytest.approx(4 * (100 + 20) / 2)
    assert progress.fraction == pytest.approx(0.2)


def test_runs_that_were_finished_before_do_not_make_the_rest_look_fast() -> None:
    progress = StudyProgress(RUNS[:2], {"c": 1.0})
    feed(progress, RUNS[0], "evaluate", 0, 0.01)
    assert (progress.seconds_left, progress.summary) == (None, "trained 1/2, evaluated 1/2")
    feed(progress, RUNS[1], "pretrain", 1, 100)
    feed(progress, RUNS[1], "evaluate", 101, 20, upto=0.5)
    assert progress.seconds_left == pytest.approx(10)


def test_progress_starts_at_what_is_reused() -> None:
    progress = StudyProgress(RUNS, {"c": 1.0}, trained=RUNS[:3], evaluated=RUNS[:2])
    assert progress.summary == "trained 3/4, evaluated 2/4"
    assert progress.fraction == pytest.approx(0.7 * 3 / 4 + 0.3 * 2 / 4)
    feed(progress, RUNS[0], "evaluate", 0, 0.01, upto=0.5)
    assert progress.summary == "trained 3/4, evaluated 2/4", "stored results are only read"
    assert progress.current(0.01) == ""
    feed(progress, RUNS[2], "evaluate", 1, 20)
    assert progress.seconds_left is None, "reused training does not say how fast the arm is"
    feed(progress, RUNS[3], "pretrain", 30, 100, upto=0.5)
    assert progress.seconds_left == pytest.approx(50 + 20)


def test_a_reused_run_whose_checkpoints_are_torn_is_trained_again() -> None:
    progress = StudyProgress(RUNS[:1], {"c": 1.0}, trained=RUNS[:1])
    feed(progress, RUNS[0], "pretrain", 0, 100, upto=0.5)
    assert progress.summary == "trained 0/1, evaluated 0/1"
    assert progress.trained[RUNS[0].key].seconds == pytest.approx(100)


def test_an_earlier_attempt_does_not_count_into_the_rate() -> None:
    progress = StudyProgress(RUNS[:1], {"c": 1.0})
    progress.take(event("pretrain", RUNS[0], 80, 100), 0)
    progress.take(event("pretrain", RUNS[0], 95, 100), 15)
    assert progress.trained[RUNS[0].key].seconds == pytest.approx(100)


def test_what_runs_now_is_shown_with_its_loss() -> None:
    progress = StudyProgress(RUNS, {"c": 1.0})
    progress.take("12:00:00.000 - INFO - Executing task \x1b[96m'data-preparation'\x1b[0m")
    assert progress.current(0) == "preparing the data"
    progress.take("12:00:00.000 - INFO - Executing task \x1b[96m'pretraining'\x1b[0m")
    progress.take(event("pretrain", RUNS[3], 1200, 4000, loss=2.3456), 0)
    progress.take(event("evaluate", RUNS[0], 3, 12), 1)
    assert progress.current(2) == "dlm seed 1 step 1,200/4,000 loss 2.346; ar seed 0 evaluating 3/12"
    assert progress.current(1000) == ""


def test_cells_weigh_by_tokens_and_parameters() -> None:
    weights = cell_weights(parse_study("grid: {unique_tokens: [10000, 20000], models: [nano, micro]}"))
    assert weights["u20000-nano"] == pytest.approx(2 * weights["u10000-nano"], rel=0.02)
    assert weights["u10000-micro"] > 4 * weights["u10000-nano"]
    assert set(cell_weights(load_study("demo"))) == {"u10000-nano"}


def test_durations_are_for_people() -> None:
    assert [time_text(s) for s in (5, 600, 41_142, 12_096_000, 3.12e9)] == [
        "5 s",
        "10 min",
        "11.4 h",
        "3,360 h",
        "98.9 years",
    ]


def test_a_note_of_a_stage_is_printed_even_without_progress(capsys: pytest.CaptureFixture[str]) -> None:
    note = EVENT_MARK + json.dumps({"event": "note", "text": "bad documents skipped (no text): 1"}) + "\n"
    log = io.StringIO()
    _follow(io.StringIO(f"INFO {note}"), log, StudyProgress(RUNS, {"c": 1.0}), quiet=True)
    assert capsys.readouterr().out == "bad documents skipped (no text): 1\n"
    assert log.getvalue() == f"INFO {note}"
