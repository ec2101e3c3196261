"""When resume points are due, on a fake clock; and that the trainer tells the timer what saving costs."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from crossover.settings import Settings, get_settings
from crossover.study.study_config import StudyConfig
from crossover.training.recorder import NoRecorder
from crossover.training.resume_timer import ResumeTimer
from crossover.training.run_spec import RunSpec
from crossover.training.trainer import Trainer


class FakeClock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def saves_in_a_day(minutes: float | None, cost: float) -> int:
    """How many resume points a run saves in 24 hours of one-second steps, each saved in so many seconds."""
    clock = FakeClock()
    timer, saves = ResumeTimer(minutes, clock), 0
    while clock.seconds < 1000 + 86400:
        clock.seconds += 1.0
        if timer.due():
            timer.restart()
            clock.seconds += cost
            timer.saved(cost)
            saves += 1
    return saves


def test_by_default_every_three_minutes() -> None:
    assert saves_in_a_day(None, 0.0) == pytest.approx(86400 / 180, rel=0.02)
    assert saves_in_a_day(None, 3.0) == pytest.approx(86400 / 180, rel=0.02)


@pytest.mark.parametrize("cost", [5.0, 30.0, 120.0])
def test_saving_takes_at_most_two_percent_of_the_time(cost: float) -> None:
    saves = saves_in_a_day(None, cost)
    assert 0.015 < (saves - 1) * cost / 86400 <= 0.02, "but for the first, whose cost nobody knew"
    assert saves < 86400 / 180


def test_a_fixed_interval_is_kept_whatever_it_costs_and_zero_is_never() -> None:
    assert saves_in_a_day(10.0, 120.0) == pytest.approx(86400 / 601, rel=0.02)
    assert saves_in_a_day(0.0, 0.0) == 0


@pytest.mark.parametrize(("value", "minutes"), [("", None), ("0", 0.0), ("2.5", 2.5)])
def test_the_setting(value: str, minutes: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSOVER_RESUME_MINUTES", value)
    assert Settings().resume_minutes == minutes


def test_the_trainer_measures_what_saving_costs(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies, files and uploads count."""

    class SlowUploads(NoRecorder):
        def keep(self, folder: Path) -> None:
            if folder.parent.name == "resume":
                time.sleep(0.05)

    costs: list[float] = []
    monkeypatch.setattr(ResumeTimer, "saved", lambda self, seconds: costs.append(seconds))
    get_settings.cache_clear()
    spec = RunSpec(study=tiny_study, cell=tiny_study.cells[1], arm="ar", seed=0)
    Trainer(spec, examples, tmp_path, SlowUploads()).run()
    assert len(costs) == len(spec.milestones)
    assert min(costs) > 0.05
