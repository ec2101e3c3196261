"""The guard, the schedules, the writer, the planner."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from crossover.cli import main
from crossover.settings import Settings
from crossover.study import StudyConfig, TrainingConfig
from crossover.training import trainer as trainer_module
from crossover.training.engine import StepLosses
from crossover.training.guard import LossGuard
from crossover.training.planner import plan_study
from crossover.training.recorder import NoRecorder, Progress
from crossover.training.runs import DivergedError, RunSpec, is_finished
from crossover.training.schedule import learning_rate, path_of
from crossover.training.throughput import peak_flops
from crossover.training.trainer import Trainer
from crossover.training.writer import BackgroundWriter


def test_the_guard_objects_to_jumps_and_not_to_noise() -> None:
    guard, noise = LossGuard(20.0), np.random.default_rng(0).normal(3.0, 0.1, 200)
    assert all(guard.objection(loss, 1.0) is None for loss in noise)
    assert guard.objection(float("nan"), 1.0) == "the loss is nan"
    assert guard.objection(3.0, float("inf")) == "the gradient norm is inf"
    assert "jumped to 9.000" in (guard.objection(9.0, 1.0) or "")
    assert LossGuard(0.0).objection(1e9, 1.0) is None
    guard.forget()
    assert guard.objection(9.0, 1.0) is None


def test_schedules_end_where_they_say() -> None:
    constant = TrainingConfig(warmup_steps=4, learning_rate=1.0)
    assert [learning_rate(constant, step, 99) for step in (0, 3, 98)] == [0.25, 1.0, 1.0]
    cosine = TrainingConfig(warmup_steps=4, learning_rate=1.0, schedule="cosine", final_rate=0.1)
    rates = [learning_rate(cosine, step, 50) for step in range(50)]
    assert rates[-1] == pytest.approx(0.1)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    wsd = TrainingConfig(warmup_steps=0, learning_rate=1.0, schedule="wsd", decay_fraction=0.25)
    path = path_of(wsd, (4, 20, 40))
    assert (path.branch_starts, path.trunk_steps, path.steps) == ({4: 3, 20: 15, 40: 30}, 30, 46)
    assert (path.branches_at(15), path.steps_before(16)) == ((20,), 22)
    assert [learning_rate(wsd, step, 40, (15, 20)) for step in (15, 19)] == pytest.approx([0.8, 0.0])


def test_the_writer_follows_up_on_the_callers_thread_and_raises_there() -> None:
    writer, seen = BackgroundWriter(), []
    writer.submit(threading.get_ident, lambda thread: seen.append((thread, threading.get_ident())))
    writer.wait()
    assert seen[0][0] != seen[0][1] == threading.get_ident()

    def fail() -> None:
        raise OSError(28, "No space left on device")

    writer.submit(fail, lambda _: None)
    with pytest.raises(OSError, match="No space"):
        writer.submit(fail, lambda _: None)
    writer.close()


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
    real = trainer_module.Engine.gradients

    def gradients(self: object, step: int, *rest: object) -> StepLosses:
        found = real(self, step, *rest)  # type: ignore[arg-type]
        if step in bad_steps:
            bad_steps.remove(step)
            return found._replace(nll=float("nan"))
        return found

    monkeypatch.setattr(trainer_module.Engine, "gradients", gradients)


def test_a_roll_back_skips_the_batches_and_ends_the_run(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, [20])
    study, notes = with_training(tiny_study, on_divergence="roll-back"), Notes()
    spec = RunSpec(study=study, cell=study.cells[1], arm="dlm", seed=0)
    trainer = Trainer(spec, examples, tmp_path, notes)
    trainer.run()
    assert is_finished(spec, tmp_path)
    assert trainer.skipped == set(range(13, 21))
    assert "the loss is nan at step 21 (epoch 2, examples" in notes.notes[0]


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
    steps = path_of(study.training, study.evaluation_steps(spec.cell)).steps
    assert is_finished(spec, tmp_path)
    assert seen == [(step + 1, steps) for step in range(steps)]
    assert notes.rates[32] == pytest.approx(0.0, abs=1e-9)
    assert {"tokens_per_second", "data_wait", "peak_memory_gib"} <= notes.metrics


@pytest.mark.filterwarnings("ignore:.*script_method. is deprecated:DeprecationWarning")  # torch's own compiler
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
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    found = json.loads(capsys.readouterr().out)
    assert found["runs"][0]["step_seconds"] > 0
    assert main(["plan", str(tmp_path / "study.json")]) == 0
    assert "unknown device-hours" in capsys.readouterr().out


def test_peaks_are_looked_up_or_set() -> None:
    import torch

    assert peak_flops(torch.device("cpu"), "fp32") == 0.0
    assert peak_flops(torch.device("cpu"), "fp32", 0.5) == 5e11
