"""Compiled blocks: one graph for all layers, whatever the arm, and never another one."""

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from crossover.model.model_config import ModelConfig
from crossover.study.arms import ARMS
from crossover.study.study_parts import TrainingConfig
from crossover.training.batch_order import batch_at
from crossover.training.distributed import World
from crossover.training.train_engine import TrainEngine

LAYERS = 12
"""More than the number of graphs that torch makes of one function before it stops compiling it."""


@pytest.mark.filterwarnings("ignore:.*script_method. is deprecated:DeprecationWarning")  # torch's own compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("arm", ["ar", "ar-dropout"])
def test_all_layers_and_steps_share_one_graph(arm: str, examples: np.ndarray) -> None:
    assert torch._dynamo.config.recompile_limit < LAYERS
    torch._dynamo.reset()
    counters.clear()
    shape = ModelConfig(
        vocab_size=259, hidden_size=16, num_layers=LAYERS, num_heads=2, intermediate_size=24, max_length=16
    )
    config = TrainingConfig(batch_size=4, compile=True)
    engine = TrainEngine(config, shape, ARMS[arm], seed=0, length=16, world=World())
    engine.set_weights(engine.model.draws(torch.Generator().manual_seed(0)))
    losses = []
    for step in range(20):
        batch = batch_at(0, step, batch_size=4, examples=len(examples))
        losses.append(engine.gradients(step, batch, examples).nll)
        engine.apply(0.003)
    assert counters["stats"]["unique_graphs"] == 1, dict(counters["stats"])
    assert losses[-1] < losses[0]
