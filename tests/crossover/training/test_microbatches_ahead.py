"""The first microbatch of a step is made before the losses of the step before it are waited for."""

import numpy as np
import pytest
import torch

from crossover.model.model_presets import preset
from crossover.study.arms import ARMS
from crossover.study.study_parts import TrainingConfig
from crossover.training.batch_order import Batch, batch_at
from crossover.training.distributed import World
from crossover.training.train_engine import TrainEngine
from crossover.training.training_objectives import Microbatch

EXAMPLES = np.random.default_rng(0).integers(0, 256, (40, 16), dtype=np.uint16)


def batch_of(step: int, seed: int = 0) -> Batch:
    return batch_at(seed, step, batch_size=8, examples=len(EXAMPLES), random_lengths=0.5)


@pytest.fixture
def engine() -> TrainEngine:
    shape, config = preset("pico", vocab_size=259, max_length=16), TrainingConfig(batch_size=8, microbatch_size=4)
    engine = TrainEngine(config, shape, ARMS["dlm"], seed=0, length=16, world=World())
    engine.set_weights(engine.model.draws(torch.Generator().manual_seed(0)))
    return engine


def test_a_step_begins_with_the_microbatch_that_was_made_ahead(
    engine: TrainEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, int, int]] = []
    make, wait = engine.microbatch, torch.Tensor.tolist

    def noted(step: int, batch: Batch, slots: slice, tokens: np.ndarray) -> Microbatch:
        calls.append(("made", step, slots.start))
        return make(step, batch, slots, tokens)

    def waited(tensor: torch.Tensor) -> object:
        calls.append(("waited", 0, 0))
        return wait(tensor)

    monkeypatch.setattr(engine, "microbatch", noted)
    monkeypatch.setattr(torch.Tensor, "tolist", waited)
    engine.gradients(0, batch_of(0), EXAMPLES, batch_of(1))
    engine.gradients(1, batch_of(1), EXAMPLES)
    assert calls == [
        ("made", 0, 0),
        ("made", 0, 4),
        ("made", 1, 0),
        ("waited", 0, 0),
        ("made", 1, 4),
        ("waited", 0, 0),
    ]


@pytest.mark.parametrize(("step", "seed"), [(1, 0), (5, 0), (1, 7)])
def test_another_step_or_batch_than_expected_is_made_anew(engine: TrainEngine, step: int, seed: int) -> None:
    """As after a roll-back, or at the end of a decay branch."""
    alone = engine.gradients(step, batch_of(step, seed), EXAMPLES)
    engine.discard()
    engine.gradients(0, batch_of(0), EXAMPLES, batch_of(1))
    engine.discard()
    after = engine.gradients(step, batch_of(step, seed), EXAMPLES)
    assert (after.nll, after.gradient_norm) == (alone.nll, alone.gradient_norm)
