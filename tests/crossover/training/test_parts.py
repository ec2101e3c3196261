"""Roll-backs, schedules and precisions through the whole trainer; the plan against the run."""

import json
from pathlib import Path

import numpy as np
import pytest

from crossover.cli import main
from crossover.settings import Settings, get_settings
from crossover.study.study_config import StudyConfig
from crossover.study.study_parts import TrainingConfig
from crossover.training import step_timing
from crossover.training import trainer as trainer_module
from crossover.training.device_metrics import peak_flops
from crossover.training.planner import plan_study
from crossover.training.recorder import NoRecorder, Progress
from crossover.training.run_schedule import run_schedule
from crossover.training.run_spec import DivergedError, RunSpec
from crossover.training.train_engine import StepLosses, TrainEngine
from crossover.training.trainer import Trainer
from tests.crossover.training.saved import saved_milestones


class Notes(NoRecorder):
    """Keeps the notes and the learning rates."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.rates: dict[int, float] = {}
        self.metrics: set[str] = set()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def point(self, at: Progress, metric: str, value: float) -> None:
        self.metrics.add(metric)
        if metric == "learning_rate":
            self.rates[at.step] = value


def with_training(study: StudyConfig, **changes: object) -> StudyConfig:
    training = TrainingConfig.model_validate(study.training.model_dump() | changes)
    return study.model_copy(update={"training": training})


def spoil(monkeypatch: pytest.MonkeyPatch, bad_steps: list[int]) -> None:
    """Make the loss of each of these steps NaN, once."""
    real = TrainEngine.gradients

    def gradients(self: object, step: int, *rest: object) -> StepLosses:
        result = real(self, step, *rest)  # type: ignore[arg-type]  # passed on as it came
        if step in bad_steps:
            bad_steps.remove(step)
            return result._replace(nll=float("nan"))
        return result

    monkeypatch.setattr(TrainEngine, "gradients", gradients)


def test_a_roll_back_skips_the_batches_and_ends_the_run(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, [20])
    study, notes = with_training(tiny_study, on_divergence="roll-back"), Notes()
    spec = RunSpec(study=study, cell=study.cells[1], arm="dlm", seed=0)
    trainer = Trainer(spec, examples, tmp_path, notes)
    trainer.run()
    assert len(saved_milestones(spec, tmp_path)) == len(spec.milestones)
    assert trainer.skipped == set(range(13, 21))
    assert "the loss is nan at step 21 (epoch 2, examples" in notes.notes[0]


def weights_of(spec: RunSpec, folder: Path) -> list[bytes]:
    return [(place / "model.safetensors").read_bytes() for place in saved_milestones(spec, folder)]


@pytest.mark.parametrize("schedule", ["constant", "wsd"])
@pytest.mark.parametrize("stop_at", [3, 18, 22, 27])
def test_a_resumed_run_rolls_back_as_an_uninterrupted_one(
    stop_at: int,
    schedule: str,
    tiny_study: StudyConfig,
    examples: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever resume points stand: the skipped batches are the same, and none of them was trained on."""

    def spoil_unless_skipped(bad_steps: tuple[int, ...]) -> None:
        real = TrainEngine.gradients

        def gradients(self: object, step: int, *rest: object) -> StepLosses:
            result = real(self, step, *rest)  # type: ignore[arg-type]  # passed on as it came
            return result._replace(nll=float("nan")) if step in bad_steps else result

        monkeypatch.setattr(TrainEngine, "gradients", gradients)

    study = with_training(tiny_study, on_divergence="roll-back", schedule=schedule)
    spec = RunSpec(study=study, cell=study.cells[1], arm="dlm", seed=0)
    spoil_unless_skipped((2, 20))
    full = Trainer(spec, examples, tmp_path / "full", Notes())
    full.run()
    assert full.skipped == {0, 1, 2, *range(13, 21)}

    def interrupt(step: int, *_: object) -> None:
        if step == stop_at:
            raise KeyboardInterrupt

    monkeypatch.setenv("CROSSOVER_RESUME_MINUTES", "1e-9")
    get_settings.cache_clear()
    with pytest.raises(KeyboardInterrupt):
        Trainer(spec, examples, tmp_path / "cut", Notes(), interrupt).run()
    resumed = Trainer(spec, examples, tmp_path / "cut", Notes())
    resumed.run()
    assert resumed.skipped == full.skipped
    assert weights_of(spec, tmp_path / "cut") == weights_of(spec, tmp_path / "full")


def test_skipped_batches_were_never_trained_on(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that rolled back has the weights of one that knew from the start which batches to skip."""
    study = with_training(tiny_study, on_divergence="roll-back")
    spec = RunSpec(study=study, cell=study.cells[1], arm="ar", seed=0)
    informed = Trainer(spec, examples, tmp_path / "informed", Notes())
    informed.skipped = set(range(13, 21))
    informed.run()
    spoil(monkeypatch, [20])
    Trainer(spec, examples, tmp_path / "rolled-back", Notes()).run()
    assert weights_of(spec, tmp_path / "rolled-back") == weights_of(spec, tmp_path / "informed")


@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_the_recent_losses_and_the_roll_backs_survive_a_restart(
    schedule: str, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard judges each step by the same losses, whether the run was interrupted or not."""
    judged: dict[tuple[int, object], tuple[float, ...]] = {}
    real = trainer_module.Trainer._advance

    def advance(self: Trainer, state: object) -> None:
        key = (state.step, state.branch)  # type: ignore[attr-defined]  # a trainer's state
        assert judged.setdefault(key, self._guard.recent) == self._guard.recent, key
        real(self, state)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(trainer_module.Trainer, "_advance", advance)
    study = with_training(tiny_study, schedule=schedule)
    spec = RunSpec(study=study, cell=study.cells[1], arm="ar", seed=0)
    Trainer(spec, examples, tmp_path / "full", Notes()).run()
    uninterrupted = len(judged)

    stops = [11, 23, 29]

    def interrupt(step: int, *_: object) -> None:
        if step == stops[0]:
            del stops[0]
            raise KeyboardInterrupt

    while stops:
        with pytest.raises(KeyboardInterrupt):
            Trainer(spec, examples, tmp_path / "cut", Notes(), interrupt).run()
    Trainer(spec, examples, tmp_path / "cut", Notes()).run()
    assert len(judged) == uninterrupted


def test_roll_backs_of_earlier_attempts_count(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, [1, 10, 19, 30])
    study = with_training(tiny_study, on_divergence="roll-back")
    spec = RunSpec(study=study, cell=study.cells[1], arm="ar", seed=0)

    def interrupt(step: int, *_: object) -> None:
        if step == 29:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(spec, examples, tmp_path, Notes(), interrupt).run()
    with pytest.raises(DivergedError, match="step 31"):
        Trainer(spec, examples, tmp_path, Notes()).run()


def test_roll_backs_have_an_end(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, [1, 10, 19, 28])
    study = with_training(tiny_study, on_divergence="roll-back")
    spec = RunSpec(study=study, cell=study.cells[1], arm="ar", seed=0)
    with pytest.raises(DivergedError, match="step 29"):
        Trainer(spec, examples, tmp_path, Notes()).run()


@pytest.mark.parametrize("schedule", ["wsd", "cosine"])
def test_a_schedule_trains_to_every_milestone(
    schedule: str, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    study, notes, seen = with_training(tiny_study, schedule=schedule), Notes(), []
    spec = RunSpec(study=study, cell=study.cells[1], arm="ar", seed=0)
    Trainer(spec, examples, tmp_path, notes, lambda done, total, loss: seen.append((done, total))).run()
    steps = run_schedule(study.training, study.evaluation_steps(spec.cell)).steps
    assert len(saved_milestones(spec, tmp_path)) == len(spec.milestones)
    assert seen == [(step + 1, steps) for step in range(steps)]
    assert notes.rates[32] == pytest.approx(0.0, abs=1e-9)
    assert {"tokens_per_second", "data_wait", "peak_memory_gib"} <= notes.metrics


@pytest.mark.filterwarnings("ignore:.*script_method. is deprecated:DeprecationWarning")  # torch's own compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # it hides it, which an error evades
@pytest.mark.parametrize(
    "changes",
    [{"precision": "bf16"}, {"optimizer": "muon"}, {"activation_checkpointing": True}, {"compile": True}],
    ids=lambda changes: next(iter(changes)),
)
def test_every_way_to_train_repeats_to_the_bit_and_learns(
    changes: dict[str, object], tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    study = with_training(tiny_study, **changes)
    spec, losses = RunSpec(study=study, cell=study.cells[1], arm="dlm", seed=0), []
    for place in ("a", "b"):
        Trainer(spec, examples, tmp_path / place, Notes(), lambda *step: losses.append(step[2])).run()
    half = len(losses) // 2
    assert losses[:half] == losses[half:]
    assert np.mean(losses[half - 4 : half]) < losses[0] - 0.2


def test_the_plan_is_what_a_run_then_measures(
    tiny_study: StudyConfig,
    examples: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CROSSOVER_PARALLELISM", "1")  # no other stage that trains while steps are timed
    study = with_training(tiny_study, schedule="wsd")
    planned = {run.arm: run for run in plan_study(study, Settings(peak_tflops=1.0)).runs if run.cell == "u1024-pico"}
    for arm in study.arms:
        spec = RunSpec(study=study, cell=study.cells[1], arm=arm, seed=0)
        trainer = Trainer(spec, examples, tmp_path / arm, NoRecorder())
        trainer.run()
        run = planned[arm]
        assert run.parameters == sum(p.numel() for p in trainer.engine.model.parameters())
        assert run.flops == pytest.approx(trainer.path.steps * trainer.engine.flops_per_step)
        files = [p.stat().st_size for p in (tmp_path / arm).rglob("*.safetensors")]
        assert run.disk_bytes == pytest.approx(sum(files), rel=0.1)
        assert run.device_hours == pytest.approx(run.flops / (1e12 * 0.4) / 3600)
    (tmp_path / "study.json").write_text(study.model_dump_json())
    assert main(["plan", str(tmp_path / "study.json"), "--measure", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["runs"][0]["step_seconds"] > 0
    assert main(["plan", str(tmp_path / "study.json"), "--no-measure"]) == 0
    assert "unknown device-hours" in capsys.readouterr().out
    for processes, words in (("3", "does not divide among 3 processes"), ("0", "0 processes train nothing")):
        assert main(["plan", str(tmp_path / "study.json"), "--processes", processes]) == 2
        assert words in capsys.readouterr().err


def test_peaks_are_looked_up_or_set() -> None:
    import torch

    assert peak_flops(torch.device("cpu"), "fp32") == 0.0
    assert peak_flops(torch.device("cpu"), "fp32", 0.5) == 5e11


@pytest.mark.filterwarnings("ignore:.*script_method. is deprecated:DeprecationWarning")  # torch's own compiler
def test_the_first_step_that_compiles_is_not_measured(tiny_study: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first step that takes longer than a turn may: not its time counts, but that of later steps."""
    clock = [0.0]

    def step(self: step_timing.Stepper) -> float:
        seconds = 1.0 if self.step else 2 * step_timing.MOST_SECONDS
        self.step += 1
        clock[0] += seconds
        return seconds

    monkeypatch.setattr(step_timing.Stepper, "time", step)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    arms = [tiny_study.arm("ar")]
    for compiled, expected in ((True, 1.0), (False, 2 * step_timing.MOST_SECONDS)):
        study = with_training(tiny_study, compile=compiled)
        assert step_timing.measured_steps(study, "pico", arms, print) == {("pico", "ar"): expected}
