"""The moving average of the weights: its rule, that it is what is measured, and that it is resumed to the bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from crossover.errors import StudyError
from crossover.settings import get_settings
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from crossover.training.batch_order import batch_at
from crossover.training.checkpoint_info import step_folder
from crossover.training.distributed import World
from crossover.training.memory_estimate import step_memory
from crossover.training.planner import plan_study
from crossover.training.recorder import NoRecorder
from crossover.training.run_schedule import run_schedule
from crossover.training.run_spec import RunSpec, cell_model, pair_generator
from crossover.training.train_engine import TrainEngine
from crossover.training.trainer import Trainer
from tests.crossover.training.saved import saved_milestones
from tests.crossover.training.test_distributed import trace, weights, with_training
from tests.crossover.training.test_trainer import Trace

DECAY = 0.5


def test_the_average_follows_its_rule(tiny_study: StudyConfig, examples: np.ndarray) -> None:
    study = with_training(tiny_study, ema=DECAY)
    engine = TrainEngine(
        study.training, cell_model(study, study.cells[1]), study.arm("ar"), seed=0, length=16, world=World()
    )
    engine.set_weights(engine.model.draws(pair_generator(0)))
    engine.reset_optimizers()
    expected = {name: p.detach().double() for name, p in engine.parameters.items()}
    for step in range(12):
        engine.gradients(step, batch_at(0, step, batch_size=8, examples=64), examples)
        engine.apply(0.01, step)
        kept = min(DECAY, (1 + step) / (10 + step))
        for name, p in engine.parameters.items():
            expected[name] = kept * expected[name] + (1 - kept) * p.detach().double()
    raw, _ = engine.snapshot()
    averaged = engine.measured_weights(raw)
    for name, value in expected.items():
        torch.testing.assert_close(averaged[name].double(), value, rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(averaged[name], raw[name]) for name in raw)


@pytest.mark.parametrize("arm", ["ar", "dlm"])
@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_only_what_is_measured_changes_and_a_resumed_run_has_the_same_bits(
    arm: str, schedule: str, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    def train(folder: str, ema: float, stop_at: int = 0) -> tuple[dict[int, float], list[dict[str, torch.Tensor]]]:
        def interrupt(step: int, total: int, loss: float) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        study, losses = with_training(tiny_study, ema=ema, schedule=schedule), Trace()
        spec = RunSpec(study=study, cell=study.cells[1], arm=arm, seed=0)
        Trainer(spec, examples, tmp_path / folder, losses, interrupt).run()
        saved = [load_file(place / "model.safetensors") for place in saved_milestones(spec, tmp_path / folder)]
        return losses.losses, saved

    plain_losses, plain = train("plain", 0.0)
    losses, averaged = train("ema", DECAY)
    assert losses == plain_losses
    assert len(averaged) == len(plain) == 4
    for ours, theirs in zip(averaged, plain, strict=True):
        assert not torch.equal(ours["lm_head.weight"], theirs["lm_head.weight"])
    with pytest.raises(KeyboardInterrupt):
        train("cut", DECAY, stop_at=run_schedule(tiny_study.training, (32,)).steps - 9)
    _, resumed = train("cut", DECAY)
    for ours, theirs in zip(resumed, averaged, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_sharded_averages_are_the_same_up_to_rounding(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    study = with_training(tiny_study, ema=DECAY)
    trace(study, "dlm", examples, tmp_path / "1", 1)
    trace(with_training(study, data_parallel="shard"), "dlm", examples, tmp_path / "2", 2)
    for name, value in weights(tmp_path / "1").items():
        np.testing.assert_allclose(weights(tmp_path / "2")[name], value, rtol=1e-3, atol=1e-5)


def test_a_resume_point_holds_both_and_the_plan_counts_it(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    study = with_training(tiny_study, ema=DECAY)
    spec = RunSpec(study=study, cell=study.cells[1], arm="ar", seed=0)
    Trainer(spec, examples, tmp_path, NoRecorder()).run()
    tensors = load_file(step_folder(tmp_path / "resume", 32) / "training_state.safetensors")
    measured = load_file(step_folder(tmp_path / "checkpoints", 32) / "model.safetensors")
    assert torch.equal(tensors["average.lm_head.weight"], measured["lm_head.weight"])
    with_ema, without = (plan_study(each, get_settings()).runs[0] for each in (study, tiny_study))
    assert with_ema.disk_bytes - without.disk_bytes == 4 * with_ema.parameters
    state = [
        step_memory(each.training, cell_model(each, each.cells[0]), each.arm("ar"), length=16).state
        for each in (study, tiny_study)
    ]
    assert state[0] - state[1] == 4 * with_ema.parameters


def test_no_arm_has_an_average_of_its_own() -> None:
    with pytest.raises(StudyError, match=r"recipes\.dlm\.ema"):
        parse_study("recipes: {dlm: {ema: 0.99}}")
